"""The engine against its peers on models of the kinds they are made for: `python -m tests.bench_peers`
(`make bench-peers`).

The measuring is that of ../shared/peers, which also makes the models and the peers' environments ($PEERS_DIR,
default its folder `build`): every engine in a process and an environment of its own, in turns. Here is what
stands beside it (operations, peaks, CPU, versions) and what becomes of it: tables (`tests/peer_tables.py`),
which `--write` keeps in README.md, and the record that they are made of in tests/bench_peers.json.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ckernels
from runtime.bench import operations
from runtime.compile import read
from runtime.graph import DType
from runtime.step_times import gemm_peak
from tests.peer_tables import OURS, Record, section, written

ROOT = Path(__file__).parents[1]
README, KEPT = ROOT / "README.md", ROOT / "tests" / "bench_peers.json"
SHARED = ROOT.parent / "shared" / "peers"
BUILT = Path(os.environ.get("PEERS_DIR", SHARED / "build"))
MODELS = Path(os.environ.get("PEERS_MODELS", BUILT / "models"))

VISIT_MS, CAP_S = 50, 1.5
"""An engine's turn, and how long a model is measured at most once it has had eight of each."""
QUIET, QUIET_CAP_S = 0.25, 10
"""More threads than one are timed by the wall: a turn counts where others used less of a core than this, and
there is so much time for such turns.
"""
EXTENSIONS = {
    *("fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512vbmi", "avx512_bf16", "avx512_fp16"),
    *(
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimdhp",
        "asimddp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    ),
}
"""What decides how fast matrices can be multiplied, as Linux names it on x86 and on ARM."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Its name in the tables, the folder of its environment, and its wheel."""

    name: str
    environment: str
    wheel: str


PEERS = {
    "litert": Peer("LiteRT", "venv-litert", "ai-edge-litert"),
    "openvino": Peer("OpenVINO", "venv-ov", "openvino"),
    "ncnn": Peer("ncnn", "venv-ncnn", "ncnn"),
    "mnn": Peer("MNN", "venv-mnn", "MNN"),
    "ort": Peer("onnxruntime", "venv-ort", "onnxruntime"),
    "tflite": Peer("TFLite", "venv-tflite", "tflite-runtime"),
}


def installed() -> list[str]:
    return [key for key, peer in PEERS.items() if (BUILT / peer.environment).is_dir()]


def version(peer: Peer) -> str:
    """Of the wheel in its environment; ends the command where that lacks it."""
    folders = [str(path) for path in (BUILT / peer.environment).glob("lib/python*/site-packages")]
    for found in importlib.metadata.distributions(name=peer.wheel, path=folders):
        return found.version
    raise SystemExit(
        f"{BUILT / peer.environment}: {peer.wheel} is not in it; install it there, or leave it out: PEERS="
    )


def missing(models: Sequence[str]) -> str:
    """What has to be there first, empty when it is."""
    if not (SHARED / "bench.py").exists():
        return f"the bench of the peers is not here: expected {SHARED}/bench.py"
    if not installed():
        return f"no peers in {BUILT}: `{SHARED}/setup.sh` makes them; PEERS_DIR says where they lie"
    if not any(path for name in models for path in MODELS.glob(f"{name}.tflite")):
        return f"no model {', '.join(models)} in {MODELS}: `{SHARED}/setup.sh models` makes them"
    return ""


# -------------------------------------------------------------------- measuring


def peaks(threads: int = 1) -> dict[str, float]:
    """GFLOP/s and GOP/s of the vector units; nothing on a CPU that the program is not written for."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/peak"
        flags = ["-O3", "-march=native", "-o", program, str(SHARED / "peak.c"), "-lm", "-lpthread"]
        try:
            subprocess.run(["cc", *flags], check=True, capture_output=True)
            done = subprocess.run([program, str(threads)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return {}
    found = json.loads(done.stdout)
    return {
        kind: max(value for name, value in found.items() if name.startswith(start))
        for kind, start in (("f32", "fp32_"), ("int8", "int8_"))
    }


def cpu() -> tuple[str, list[str]]:
    """Its name and its extensions of vectors and matrices, as Linux has them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or fields.get("Model") or "a CPU without a name"
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return f"{name}, {os.cpu_count()} cores", [flag for flag in flags if flag in EXTENSIONS]


def bench(models: Sequence[str], peers: Sequence[str], threads: Sequence[int]) -> dict[str, Any]:
    """What the bench of the peers writes: "model|threads" -> engine -> its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, str(SHARED / "bench.py"), "--merge", "--json", str(out)]
        command += ["--visit-ms", str(VISIT_MS), "--cap-s", str(CAP_S), "--peers", "walle", *peers]
        command += ["--models", *models, "--threads"]
        for count in threads:
            quiet = ["--quiet", str(QUIET), "--cap-s", str(QUIET_CAP_S)] if count > 1 else []
            environment = {**os.environ, "WALLE_HOME": str(ROOT), "PEERS_DIR": str(BUILT)}
            subprocess.run([*command, str(count), *quiet], check=True, env=environment)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def models_of(found: dict[str, Any]) -> dict[str, Any]:
    """The bench's output as the `models` of a record; engines that did not run are left out."""
    models: dict[str, Any] = {}
    for key, engines in found.items():
        name, threads = key.split("|")
        model = models.setdefault(name, {"operations": None, "threads": {}})
        model["threads"][threads] = {
            PEERS[engine].name if engine in PEERS else OURS: {
                "cpu_ms": round(figures["cpu"]["med"], 5),
                "wall_ms": round(figures["wall"]["med"], 5),
                "mib": round(figures["peak_rss"], 1),
                "load_ms": round(figures["load_ms"], 2),
            }
            for engine, figures in engines.items()
            if "wall" in figures
        }
    return models


def others(found: dict[str, Any]) -> float:
    """How many cores other processes kept busy, in the median turn."""
    turns: list[float] = [
        figures["other"] for engines in found.values() for figures in engines.values() if "wall" in figures
    ]
    return round(max(statistics.median(turns or [0.0]), 0.0), 2)


def gemm() -> dict[str, float]:
    """GFLOP/s and GOP/s of our own."""
    return {"f32": gemm_peak(DType.F32), "int8": gemm_peak(DType.I8)}


def better(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {kind: round(max(value, after.get(kind, 0.0)), 1) for kind, value in before.items()}


def measured(models: Sequence[str], peers: Sequence[str], threads: Sequence[int]) -> Record:
    """A record; rates are the better of those before and after the bench."""
    before = peaks(), gemm()
    raw = bench(models, peers, threads)
    after = peaks(), gemm()
    found = models_of(raw)
    for name, model in found.items():
        model["operations"] = operations(read(MODELS / f"{name}.tflite").atoms)
    ran = {name for model in found.values() for figures in model["threads"].values() for name in figures}
    name, extensions = cpu()
    features = ckernels.cpu_features()
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": name,
        "extensions": extensions,
        "others": others(raw),
        "isas": [isa for isa, bit in ckernels.ISA_NAMES.items() if features & bit],
        "versions": {peer.name: version(peer) for peer in PEERS.values() if peer.name in ran},
        "peaks": better(before[0], after[0]),
        "gemm": better(before[1], after[1]),
        "models": found,
    }


# -------------------------------------------------------------------- all of it


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench_peers")
    parser.add_argument("--models", nargs="+", default=["*"], help="names or patterns; default: all")
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="default: all that are installed")
    parser.add_argument("--threads", nargs="+", type=int, default=[1], help="default: 1")
    parser.add_argument("--write", action="store_true", help=f"keep it in {README.name} and {KEPT.name}")
    options = parser.parse_args(arguments)
    if lacking := missing(options.models):
        print(lacking, file=sys.stderr)
        return 1
    record = measured(options.models, options.peers or installed(), options.threads)
    print(f"\n{section(record)}")
    if options.write:
        KEPT.write_text(json.dumps(record, indent=1) + "\n")
        README.write_text(written(README.read_text(), section(record)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
