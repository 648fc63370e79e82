"""Host telemetry for the autoencoder: the eight features, how they are scaled, how `telemetry.csv` is measured.

The features live in `FEATURES` and nowhere else; a spec that feeds the model computes the same eight numbers from
`host` samples. Training is left to `train.py`.
"""

import csv
import hashlib
import os
import random
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psutil

Rows = npt.NDArray[np.float64]
Scale = Callable[[Rows], Rows]


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model: what a window of samples gives (`raw`, the unit of the CSV), and the map to about 0..1."""

    name: str
    raw: str
    scale: Scale


def _same(x: Rows) -> Rows:
    return x


def _log8(x: Rows) -> Rows:
    return np.log1p(x) / 8.0


FEATURES: tuple[Feature, ...] = (
    Feature("cpu_mean", "mean over the window of the busy fraction of all cores, 0..1", _same),
    Feature("cpu_max", "largest busy fraction of all cores in the window, 0..1", _same),
    Feature("mem", "used memory / total memory, 0..1", _same),
    Feature("disk_mb", "bytes read + written per second, in MB/s", _log8),
    Feature("net_mb", "bytes received + sent per second, loopback included, in MB/s", _log8),
    Feature("load1", "1-minute load average / number of cores", lambda x: np.clip(x, 0.0, 2.0) / 2.0),
    Feature("temp", "hottest sensor in degrees Celsius, 0 when there is none", lambda x: x / 100.0),
    Feature("procs", "number of processes", _log8),
)
NAMES = tuple(feature.name for feature in FEATURES)


def scaled(raw: Rows) -> Rows:
    """[n, 8] raw units, columns in the order of `FEATURES` -> [n, 8] model inputs, about 0..1."""
    return np.stack([feature.scale(raw[:, i]) for i, feature in enumerate(FEATURES)], axis=1)


def read_csv(path: Path) -> Rows:
    """[n, 8] raw rows of a file that `measure` wrote; comment lines start with `#`."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return np.array([[float(row[name]) for name in NAMES] for row in csv.DictReader(lines)])


# ---------------------------------------------------------------- measuring

WINDOW_S, SAMPLES, PHASE_S = 0.5, 5, 12.0
HEADER = """\
# host telemetry measured by `train.py --measure`: one row per {window} s window of {samples} samples, raw units of
# telemetry.FEATURES. The phases take turns, {phase:.0f} s each: idle, then a moderate load that the script makes itself
# (cpu: hashing at 10..60 % of one core, disk: written files, net: loopback TCP, mixed: all three).
"""


def measure(seconds: float, out: Path, seed: int = 7) -> int:
    """Sample this machine for `seconds`, in phases of idle and generated load; write the windows, return their number."""
    rng, rows, end = random.Random(seed), 0, time.monotonic() + seconds
    phases = ((), (_burn_cpu,), (_write_disk,), (_send_loopback,), (_burn_cpu, _write_disk, _send_loopback))
    with out.open("w", newline="") as file:
        file.write(HEADER.format(window=WINDOW_S, samples=SAMPLES, phase=PHASE_S))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*NAMES, "phase"))
        while time.monotonic() < end:
            for loads in phases:
                phase = (
                    "mixed"
                    if len(loads) > 1
                    else (*(load.__name__.split("_")[-1] for load in loads), "idle")[0]
                )
                with _under(loads, rng):
                    phase_end = min(end, time.monotonic() + PHASE_S)
                    while time.monotonic() < phase_end:
                        writer.writerow((*(f"{value:.4g}" for value in _window()), phase))
                        rows += 1
    return rows


def _window() -> tuple[float, ...]:
    """One window of this machine in raw units, ordered as `FEATURES`."""
    start, disk, net = time.monotonic(), _disk_bytes(), _net_bytes()
    busy = [psutil.cpu_percent(WINDOW_S / SAMPLES) / 100 for _ in range(SAMPLES)]
    took = (time.monotonic() - start) * 1e6
    disk_mb, net_mb = (_disk_bytes() - disk) / took, (_net_bytes() - net) / took
    load1 = psutil.getloadavg()[0] / (psutil.cpu_count() or 1)
    memory = psutil.virtual_memory().percent / 100
    return (
        sum(busy) / SAMPLES, max(busy), memory, disk_mb, net_mb, load1, _hottest(), float(len(psutil.pids()))
    )  # fmt: skip


def _disk_bytes() -> int:
    counters = psutil.disk_io_counters()
    return counters.read_bytes + counters.write_bytes if counters else 0


def _net_bytes() -> int:
    counters = psutil.net_io_counters()
    return int(counters.bytes_recv + counters.bytes_sent)


def _hottest() -> float:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return max((sensor.current for group in sensors.values() for sensor in group), default=0.0)


Load = Callable[[float, threading.Event], None]


@contextmanager
def _under(loads: tuple[Load, ...], rng: random.Random) -> Iterator[None]:
    """Run every load on its own thread, each at a duty drawn from 0.1..0.6, until the block ends."""
    stop = threading.Event()
    threads = [threading.Thread(target=load, args=(rng.uniform(0.1, 0.6), stop)) for load in loads]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _burn_cpu(duty: float, stop: threading.Event) -> None:
    while not stop.is_set():
        until = time.monotonic() + 0.05 * duty
        while time.monotonic() < until:
            hashlib.sha256(bytes(65536)).digest()
        stop.wait(0.05 * (1 - duty))


def _write_disk(duty: float, stop: threading.Event) -> None:
    with tempfile.NamedTemporaryFile(dir=".") as file:
        while not stop.is_set():
            file.seek(0)
            file.write(bytes(int(4e6 * duty)))
            file.flush()
            os.fsync(file.fileno())
            stop.wait(0.1)


def _send_loopback(duty: float, stop: threading.Event) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        peer, _ = server.accept()
        with peer:
            while not stop.is_set():
                client.sendall(bytes(1 << 16))
                peer.recv(1 << 16, socket.MSG_WAITALL)
                stop.wait(0.02 * (1 - duty))
