"""The record of a run of `tests.bench_peers` as the tables of the README: all of it pure.

A record holds models -> threads -> engines -> figures: `cpu_ms` and `wall_ms` of one inference (inputs set,
run, outputs read), `mib` that the process had at most, `load_ms`; and what they were measured on.
"""

from __future__ import annotations

import math
import re
import statistics
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Record = dict[str, Any]
Figures = dict[str, dict[str, float]]
"""Engine -> what was measured of it."""

OURS, LOADER = "Walle", "LiteRT"
"""Our name in a record, and the peer whose load time is the bar."""
MEANS = {"float32": 1.10, "int8": 1.25, "recurrent and tiny": 2.0}
LEAST = {"f32": 0.97, "int8": 1.0}
"""Bars of best peer / ours: the geometric mean of a group, and any model of a kind."""
GAIN, GAIN_FROM_MS = 1.7, 2.0
"""Bar of our 1 thread / our 2 threads, of models that take longer than this on one."""
SMALL = re.compile(r"ae_mlp|din|lstm|gru")
BEGIN, END = "<!-- written by make bench-peers -->", "<!-- the end of what make bench-peers wrote -->"
NONE, WIDTH = "–", 110


def written(readme: str, lines: str) -> str:
    """The text with `lines` between the two markers. Raises ValueError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the tables: expected the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{lines}\n\n{END}{after}"


def section(record: Record) -> str:
    """Everything that stands between the markers."""
    counts = sorted({threads for model in record["models"].values() for threads in model["threads"]}, key=int)
    parts = [head(record)]
    for threads in counts:
        parts += [part for group in MEANS for part in times(record, group, threads)]
    return "\n\n".join([*parts, *memory(record)])


def head(record: Record) -> str:
    """What was measured on what, and how to read it."""
    engines = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    machine = (
        f"{record['date']}, {record['cpu']}; its vector and matrix extensions: "
        f"{' '.join(record['extensions'])}; our kernels use {', '.join(record['isas'])}. Peers from their "
        f"wheels: {engines}. Other work kept {record['others']:.1f} cores busy meanwhile. {_peaks(record)}"
    )
    reading = (
        "Milliseconds of one inference as called from Python, inputs set and outputs read: medians of "
        "process CPU time on 1 thread, of wall time on more. The best peer is bold; best / ours above 1: "
        "ours is faster. Of peak: operations of the direct algorithm. "
        f"Bars: a geometric mean of {_bars(MEANS)}; no model below {_bars(LEAST)}."
    )
    return f"{_paragraph(machine)}\n\n{_paragraph(reading)}"


def _peaks(record: Record) -> str:
    ours = f"Our GEMM on matrices that stay in the caches: {_rates(record['gemm'])}."
    if not record["peaks"]:
        return ours
    vectors = f"Peak of one core's vector units, measured in the same run: {_rates(record['peaks'])}"
    return f"{vectors} (matrix units, where an engine uses them, have more). {ours}"


def _rates(found: dict[str, float]) -> str:
    return f"{number(found['f32'])} GFLOP/s of float32, {number(found['int8'])} GOP/s of int8"


def _bars(bars: dict[str, float]) -> str:
    return ", ".join(f"{bar:.2f} for {name}" for name, bar in bars.items())


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


# -------------------------------------------------------------------- time


def group(model: str) -> str:
    if SMALL.match(model):
        return "recurrent and tiny"
    return "int8" if kind(model) == "int8" else "float32"


def kind(model: str) -> str:
    return model.rsplit("_", 1)[1]


def times(record: Record, name: str, threads: str) -> list[str]:
    """A group's title, its table and what it says about the bars; nothing where the group has no model."""
    models = {model: found for model, found in record["models"].items() if group(model) == name}
    rows = {
        model: found["threads"][threads] for model, found in models.items() if threads in found["threads"]
    }
    if not rows:
        return []
    clock = "cpu_ms" if threads == "1" else "wall_ms"
    last = "of peak" if threads == "1" else "gain"
    cells = []
    for model, figures in rows.items():
        share = of_peak(record, model) if threads == "1" else _ratio(gain(models[model]["threads"], threads))
        cells.append([model, *_times(record, figures, clock), _ratio(ratio(figures, clock)), share])
    title = f"**{name}, {threads} thread{'' if threads == '1' else 's'}**"
    verdicts = [verdict(name, {model: ratio(figures, clock) for model, figures in rows.items()})]
    if threads != "1":
        verdicts.append(threads_verdict(models, threads))
    return [
        title,
        table(["model", *_engines(record), "best / ours", last], cells),
        _paragraph(" ".join(verdicts)),
    ]


def _engines(record: Record) -> list[str]:
    return [OURS, *record["versions"]]


def _times(record: Record, figures: Figures, clock: str) -> list[str]:
    """A cell for each engine."""
    best = best_peer(figures, clock)
    cells = {name: number(found[clock]) for name, found in figures.items()}
    return [f"**{cells[name]}**" if name == best else cells.get(name, NONE) for name in _engines(record)]


def best_peer(figures: Figures, what: str) -> str | None:
    """The peer with the least of it."""
    peers = {name: found[what] for name, found in figures.items() if name != OURS}
    return min(peers, key=peers.__getitem__, default=None)


def ratio(figures: Figures, what: str) -> float | None:
    """Best peer / ours."""
    best = best_peer(figures, what)
    return figures[best][what] / figures[OURS][what] if best and OURS in figures else None


def gain(threads: dict[str, Figures], count: str) -> float | None:
    """Our wall time on one thread over that on `count`."""
    ours = [threads.get(each, {}).get(OURS) for each in ("1", count)]
    return ours[0]["wall_ms"] / ours[1]["wall_ms"] if ours[0] and ours[1] else None


def of_peak(record: Record, model: str) -> str:
    """Our share of it on one thread; a model whose operations are not known has none."""
    found = record["models"][model]
    ours, peak = found["threads"]["1"].get(OURS), record["peaks"].get(kind(model))
    if not (ours and peak and found["operations"]):
        return NONE
    return f"{found['operations'] / ours['cpu_ms'] / 1e6 / peak:.0%}"


def verdict(name: str, ratios: dict[str, float | None]) -> str:
    known = {model: value for model, value in ratios.items() if value is not None}
    if not known:
        return "No model with figures of both sides."
    mean = statistics.geometric_mean(known.values())
    below = sum(value < LEAST[kind(model)] for model, value in known.items())
    text = f"Geometric mean {mean:.2f}, bar {MEANS[name]:.2f}: {_met(mean >= MEANS[name])}."
    text += f" Below the least of its kind: {below} of {len(known)} models."
    missing = len(ratios) - len(known)
    return text + (f" {missing} without a figure of ours or of a peer." if missing else "")


def threads_verdict(models: dict[str, Any], count: str) -> str:
    gains = {model: gain(found["threads"], count) for model, found in models.items()}
    known = {model: value for model, value in gains.items() if value is not None}
    if not known:
        return f"No model that we ran on both 1 and {count} threads."
    large = [m for m in known if models[m]["threads"]["1"][OURS]["wall_ms"] > GAIN_FROM_MS]
    short = sum(known[model] < GAIN for model in large)
    slower = sum(value < 1 for value in known.values())
    return (
        f"{short} of {len(large)} models over {GAIN_FROM_MS:.0f} ms gain less than {GAIN:.1f}; "
        f"{slower} of {len(known)} are slower than on one thread."
    )


def _met(met: bool) -> str:
    return "met" if met else "missed"


# -------------------------------------------------------------------- memory and load


def memory(record: Record) -> list[str]:
    """The table of peak memory and load time on one thread, and what it says about the bars."""
    rows = {
        name: found["threads"]["1"] for name, found in record["models"].items() if "1" in found["threads"]
    }
    if not rows:
        return []
    cells = [[model, *_memory(figures)] for model, figures in rows.items()]
    names = ["model", f"{OURS} MiB", "leanest peer MiB", f"{OURS} load ms", f"{LOADER} load ms"]
    more = _count(rows.values(), lambda figures: ratio(figures, "mib"))
    slower = _count(rows.values(), _load_ratio)
    words = f"More memory than the leanest peer: {more} models. Slower to load than {LOADER}: {slower}."
    title = "**Peak memory of the whole process, Python and NumPy included, and load time, 1 thread**"
    return [title, table(names, cells), words]


def _memory(figures: Figures) -> list[str]:
    leanest = best_peer(figures, "mib")
    return [
        _figure(figures, OURS, "mib"),
        f"{_figure(figures, leanest, 'mib')} {leanest}" if leanest else NONE,
        _figure(figures, OURS, "load_ms"),
        _figure(figures, LOADER, "load_ms"),
    ]


def _figure(figures: Figures, engine: str, what: str) -> str:
    return number(figures[engine][what]) if engine in figures else NONE


def _load_ratio(figures: Figures) -> float | None:
    if OURS not in figures or LOADER not in figures:
        return None
    return figures[LOADER]["load_ms"] / figures[OURS]["load_ms"]


def _count(rows: Iterable[Figures], of: Callable[[Figures], float | None]) -> str:
    """How many of the known ratios are below 1."""
    known = [value for row in rows if (value := of(row)) is not None]
    return f"{sum(value < 1 for value in known)} of {len(known)}"


# -------------------------------------------------------------------- text


def number(value: float) -> str:
    """Three significant digits, never an exponent."""
    digits = 2 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{value:.{max(0, digits)}f}"


def _ratio(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
