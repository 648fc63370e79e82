"""The bench against the peers: what becomes of its figures; what it measures is not asserted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import bench_peers, peer_tables
from tests.peer_tables import BEGIN, END, Record


def figures(
    ms: float, mib: float = 40.0, load_ms: float = 1.0, wall_ms: float | None = None
) -> dict[str, float]:
    return {"cpu_ms": ms, "wall_ms": wall_ms or ms, "mib": mib, "load_ms": load_ms}


def record(models: dict[str, Any], peaks: dict[str, float] | None = None) -> Record:
    return {
        "date": "2026-01-02",
        "cpu": "a CPU, 2 cores",
        "extensions": ["fma", "avx2", "amx_int8"],
        "isas": ["avx2"],
        "others": 0.25,
        "versions": {"LiteRT": "2.0", "ncnn": "1.0"},
        "peaks": {"f32": 100.0, "int8": 400.0} if peaks is None else peaks,
        "gemm": {"f32": 90.0, "int8": 300.0},
        "models": models,
    }


def model(operations: int | None = None, **threads: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {"operations": operations, "threads": {name[1:]: found for name, found in threads.items()}}


ONE = {"Walle": figures(10.0, 30.0, 2.0), "LiteRT": figures(12.0, 40.0, 1.0), "ncnn": figures(11.0, 35.0)}
TWO = {"Walle": figures(5.0), "LiteRT": figures(6.0, wall_ms=4.0)}


# -------------------------------------------------------------------- tables

SECTION = """\
2026-01-02, a CPU, 2 cores; its vector and matrix extensions: fma avx2 amx_int8; our kernels use avx2. Peers
from their wheels: LiteRT 2.0, ncnn 1.0. Other work kept 0.2 cores busy meanwhile. Peak of one core's vector
units, measured in the same run: 100 GFLOP/s of float32, 400 GOP/s of int8 (matrix units, where an engine uses
them, have more). Our GEMM on matrices that stay in the caches: 90.0 GFLOP/s of float32, 300 GOP/s of int8.

Milliseconds of one inference as called from Python, inputs set and outputs read: medians of process CPU time
on 1 thread, of wall time on more. The best peer is bold; best / ours above 1: ours is faster. Of peak:
operations of the direct algorithm. Bars: a geometric mean of 1.10 for float32, 1.25 for int8, 2.00 for
recurrent and tiny; no model below 0.97 for f32, 1.00 for int8.

**float32, 1 thread**

| model | Walle | LiteRT | ncnn | best / ours | of peak |
| --- | --- | --- | --- | --- | --- |
| net_f32 | 10.0 | 12.0 | **11.0** | 1.10 | 50% |

Geometric mean 1.10, bar 1.10: met. Below the least of its kind: 0 of 1 models.

**int8, 1 thread**

| model | Walle | LiteRT | ncnn | best / ours | of peak |
| --- | --- | --- | --- | --- | --- |
| net_int8 | 5.00 | **6.00** | – | 1.20 | – |
| odd_int8 | – | **6.00** | – | – | – |

Geometric mean 1.20, bar 1.25: missed. Below the least of its kind: 0 of 1 models. 1 without a figure of ours
or of a peer.

**float32, 2 threads**

| model | Walle | LiteRT | ncnn | best / ours | gain |
| --- | --- | --- | --- | --- | --- |
| net_f32 | 5.00 | **4.00** | – | 0.80 | 2.00 |

Geometric mean 0.80, bar 1.10: missed. Below the least of its kind: 1 of 1 models. 0 of 1 models over 2 ms
gain less than 1.7; 0 of 1 are slower than on one thread.

**Peak memory of the whole process, Python and NumPy included, and load time, 1 thread**

| model | Walle MiB | leanest peer MiB | Walle load ms | LiteRT load ms |
| --- | --- | --- | --- | --- |
| net_f32 | 30.0 | 35.0 ncnn | 2.00 | 1.00 |
| net_int8 | 40.0 | 40.0 LiteRT | 1.00 | 1.00 |
| odd_int8 | – | 40.0 LiteRT | – | 1.00 |

More memory than the leanest peer: 0 of 2 models. Slower to load than LiteRT: 1 of 2."""


def test_a_record_becomes_tables() -> None:
    models = {
        "net_f32": model(500_000_000, t1=ONE, t2=TWO),
        "net_int8": model(t1=TWO),
        "odd_int8": model(1000, t1={"LiteRT": TWO["LiteRT"]}),
    }
    assert peer_tables.section(record(models)) == SECTION


def test_the_readme_has_the_tables_of_the_kept_record() -> None:
    section = peer_tables.section(json.loads(bench_peers.KEPT.read_text()))
    readme = bench_peers.README.read_text()
    assert peer_tables.written(readme, section) == readme, "make bench-peers ARGS=--write writes both"


def test_a_cpu_without_a_known_peak_has_no_shares() -> None:
    found = record({"net_f32": model(500_000_000, t1=ONE)}, peaks={})
    assert peer_tables.of_peak(found, "net_f32") == "–"
    assert "Peak of one core" not in peer_tables.section(found)


def test_only_what_is_between_the_markers_is_written_anew() -> None:
    text = f"a\n{BEGIN}\nold\n{END}\nb\n"
    assert peer_tables.written(text, "new") == f"a\n{BEGIN}\n\nnew\n\n{END}\nb\n"
    assert peer_tables.written(peer_tables.written(text, "new"), "new") == peer_tables.written(text, "new")
    for broken in ("a\nb\n", f"a\n{BEGIN}\nb\n", f"{END}\n"):
        with pytest.raises(ValueError, match="no place for the tables"):
            peer_tables.written(broken, "new")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mobilenet_v1_f32", "float32"),
        ("kws_dscnn_int8", "int8"),
        ("ae_mlp_f32", "recurrent and tiny"),
        ("din_int8", "recurrent and tiny"),
        ("lstm64_fused_int8", "recurrent and tiny"),
        ("gru64_unroll_f32", "recurrent and tiny"),
    ],
)
def test_a_model_has_one_bar(name: str, expected: str) -> None:
    assert peer_tables.group(name) == expected and expected in peer_tables.MEANS


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.004663, "0.00466"), (0.0999, "0.0999"), (1.0, "1.00"), (9.876, "9.88"), (1234.5, "1234"), (0.0, "0")],
)
def test_numbers_have_three_digits(value: float, expected: str) -> None:
    assert peer_tables.number(value) == expected


@pytest.mark.parametrize(
    ("ratios", "says"),
    [
        ({"a_f32": 1.21, "b_f32": 1.0}, "1.10, bar 1.10: met. Below the least of its kind: 0 of 2"),
        (
            {"a_f32": 0.96, "b_f32": None},
            "0.96, bar 1.10: missed. Below the least of its kind: 1 of 1 models. 1 wi",
        ),
        ({"b_f32": None}, "No model with figures of both sides."),
    ],
)
def test_the_verdict_counts_what_misses(ratios: dict[str, float | None], says: str) -> None:
    assert says in peer_tables.verdict("float32", ratios)


def test_the_gain_of_threads_is_judged_on_models_that_take_a_while() -> None:
    slow = {"Walle": figures(4.0)}
    models = {
        "a": model(t1=slow, t2={"Walle": figures(2.5)}),
        "b": model(t1=TWO),
        "c": model(t1={"Walle": figures(1.0)}),
    }
    models["c"]["threads"]["2"] = {"Walle": figures(1.25)}
    assert peer_tables.threads_verdict(models, "2") == (
        "1 of 1 models over 2 ms gain less than 1.7; 1 of 2 are slower than on one thread."
    )
    assert (
        peer_tables.threads_verdict({"b": models["b"]}, "2")
        == "No model that we ran on both 1 and 2 threads."
    )


# -------------------------------------------------------------------- the run


def test_the_output_of_the_bench_becomes_a_record() -> None:
    times = {
        "wall": {"med": 2.0000049},
        "cpu": {"med": 1.5},
        "peak_rss": 40.04,
        "load_ms": 3.004,
        "other": 0.5,
    }
    found = {
        "net_f32|1": {"walle": times, "litert": times, "mnn": {"error": "no converted model"}},
        "net_f32|2": {"walle": {"error": "no quiet visit"}},
    }
    expected = {"cpu_ms": 1.5, "wall_ms": 2.0, "mib": 40.0, "load_ms": 3.0}
    threads = {"1": {"Walle": expected, "LiteRT": expected}, "2": {}}
    assert bench_peers.others(found) == 0.5
    assert bench_peers.models_of(found) == {"net_f32": {"operations": None, "threads": threads}}


def test_a_rate_is_the_better_of_two() -> None:
    assert bench_peers.better({"f32": 1.04, "int8": 3.0}, {"f32": 2.0}) == {"f32": 2.0, "int8": 3.0}
    assert bench_peers.better({}, {"f32": 2.0}) == {}


def test_what_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_peers, "SHARED", tmp_path)
    assert bench_peers.main([]) == 1
    assert "bench of the peers is not here" in capsys.readouterr().err
    (tmp_path / "bench.py").touch()
    monkeypatch.setattr(bench_peers, "BUILT", tmp_path)
    assert bench_peers.main([]) == 1
    assert "setup.sh` makes them" in capsys.readouterr().err
    (tmp_path / bench_peers.PEERS["ncnn"].environment).mkdir()
    monkeypatch.setattr(bench_peers, "MODELS", tmp_path)
    assert bench_peers.main(["--models", "none", "nil_*"]) == 1
    assert "no model none, nil_* in" in capsys.readouterr().err


def test_the_cpu_has_a_name_and_the_version_is_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, extensions = bench_peers.cpu()
    assert name.endswith("cores") and set(extensions) <= bench_peers.EXTENSIONS
    peer = bench_peers.PEERS["litert"]
    wheel = (
        tmp_path
        / peer.environment
        / "lib"
        / "python3.11"
        / "site-packages"
        / "ai_edge_litert-2.3.0.dist-info"
    )
    wheel.mkdir(parents=True)
    (wheel / "METADATA").write_text("Metadata-Version: 2.1\nName: ai-edge-litert\nVersion: 2.3.0\n")
    monkeypatch.setattr(bench_peers, "BUILT", tmp_path)
    assert (bench_peers.installed(), bench_peers.version(peer)) == (["litert"], "2.3.0")
    with pytest.raises(SystemExit, match="tflite-runtime is not in it; install it there"):
        bench_peers.version(bench_peers.PEERS["tflite"])
