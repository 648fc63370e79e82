"""Host telemetry for the autoencoder: eight features, their scaling, and how `telemetry.csv` is measured.

`FEATURES` is their one definition: a spec that feeds the model computes the same eight numbers per
window from samples of the host. Training is left to `train.py`.
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
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model: what a window gives (`raw`, as in the CSV) and its map to about 0..1."""

    name: str
    raw: str
    scale: Callable[[Rows], Rows]


def _as_it_is(x: Rows) -> Rows:
    return x


def _log8(x: Rows) -> Rows:
    return np.log1p(x) / 8.0


FEATURES = (
    Feature("cpu_mean", "mean over the window of the busy fraction of all cores, 0..1", _as_it_is),
    Feature("cpu_max", "largest sample of that fraction in the window, 0..1", _as_it_is),
    Feature("mem", "used memory / all memory, 0..1", _as_it_is),
    Feature("disk_mb", "read + written, MB/s", _log8),
    Feature("net_mb", "received + sent, loopback included, MB/s", _log8),
    Feature("load1", "1-minute load average / number of cores", lambda x: np.clip(x, 0.0, 2.0) / 2.0),
    Feature("temp", "hottest sensor, degrees Celsius, 0 when there is none", lambda x: x / 100.0),
    Feature("procs", "number of processes", _log8),
)
NAMES = tuple(feature.name for feature in FEATURES)


def scaled(raw: Rows) -> Rows:
    """[n, 8] raw units, columns as `FEATURES` -> [n, 8] model inputs, about 0..1."""
    return np.stack([feature.scale(raw[:, i]) for i, feature in enumerate(FEATURES)], axis=1)


def read_csv(path: Path) -> Rows:
    """[n, 8] raw rows of a file that `measure` wrote."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return np.array([[float(row[name]) for name in NAMES] for row in csv.DictReader(lines)])


# ---------------------------------------------------------------- measuring

WINDOW_S, SAMPLES, PHASE_S = 0.5, 5, 12.0
HEADER = f"""\
# host telemetry measured by `train.py --measure`: one row per {WINDOW_S} s window of {SAMPLES} samples,
# raw units of telemetry.FEATURES. Phases take turns, {PHASE_S:.0f} s each: idle, then a moderate load that
# the script makes itself (cpu: hashing on 10..60 % of a core, disk: writing, net: loopback, mixed: all).
"""


def measure(seconds: float, out: Path, seed: int = 7) -> int:
    """Measure this machine for `seconds`, idle and loaded in turn; write the windows, return their number."""
    rng, count, end = random.Random(seed), 0, time.monotonic() + seconds
    with out.open("w", newline="") as file:
        file.write(HEADER)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow((*NAMES, "phase"))
        while time.monotonic() < end:
            for phase, loads in PHASES.items():
                phase_end = min(end, time.monotonic() + PHASE_S)
                with _under(loads, rng):
                    while time.monotonic() < phase_end:
                        writer.writerow((*(f"{value:.4g}" for value in _window()), phase))
                        count += 1
    return count


def _window() -> tuple[float, ...]:
    """One window of this machine in raw units, ordered as `FEATURES`."""
    start, disk, net = time.monotonic(), _disk_bytes(), _net_bytes()
    busy = [psutil.cpu_percent(WINDOW_S / SAMPLES) / 100 for _ in range(SAMPLES)]
    megaseconds = (time.monotonic() - start) * 1e6
    return (
        sum(busy) / SAMPLES,
        max(busy),
        psutil.virtual_memory().percent / 100,
        (_disk_bytes() - disk) / megaseconds,
        (_net_bytes() - net) / megaseconds,
        psutil.getloadavg()[0] / (psutil.cpu_count() or 1),
        _hottest(),
        float(len(psutil.pids())),
    )


def _disk_bytes() -> int:
    counters = psutil.disk_io_counters()
    return counters.read_bytes + counters.write_bytes if counters else 0


def _net_bytes() -> int:
    counters = psutil.net_io_counters()
    return counters.bytes_recv + counters.bytes_sent


def _hottest() -> float:
    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return max((sensor.current for group in sensors.values() for sensor in group), default=0.0)


# ---------------------------------------------------------------- load

Load = Callable[[float, threading.Event], None]  # (duty in 0..1, stop)


@contextmanager
def _under(loads: tuple[Load, ...], rng: random.Random) -> Iterator[None]:
    """Run every load on a thread of its own, at a duty drawn from 0.1..0.6, until the block ends."""
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


def _hash(duty: float, stop: threading.Event) -> None:
    while not stop.is_set():
        until = time.monotonic() + 0.05 * duty
        while time.monotonic() < until:
            hashlib.sha256(bytes(65536)).digest()
        stop.wait(0.05 * (1 - duty))


def _write_files(duty: float, stop: threading.Event) -> None:
    with tempfile.NamedTemporaryFile(dir=HERE) as file:  # beside this file: /tmp may be memory
        while not stop.is_set():
            file.seek(0)
            file.write(bytes(int(4e6 * duty)))
            file.flush()
            os.fsync(file.fileno())
            stop.wait(0.1)


def _talk(duty: float, stop: threading.Event) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as peer,
    ):
        while not stop.is_set():
            client.sendall(bytes(1 << 16))
            peer.recv(1 << 16, socket.MSG_WAITALL)
            stop.wait(0.02 * (1 - duty))


PHASES: dict[str, tuple[Load, ...]] = {
    "idle": (),
    "cpu": (_hash,),
    "disk": (_write_files,),
    "net": (_talk,),
    "mixed": (_hash, _write_files, _talk),
}
