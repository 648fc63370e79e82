"""What a step costs: how often its kernel does what, from its parameters alone, times what each takes here.

Every operator has a row in COUNTS: a function that says how often the loops of its kernels run, how many
tiles they begin, how many numbers they convert. The same counts of small steps, and their times, are what
`runtime.machine` finds the nanoseconds from, so that the two cannot drift apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import ckernels
from ckernels import ffi, lib
from runtime.backends.flat import CONSTANTS, Step

Counts = dict[str, float]
"""What is counted -> how often; "step" once in every step."""
Rates = Mapping[str, float]
"""What is counted -> nanoseconds of one."""
FAR, MOVED = "weights", "moved"
"""The counts of bytes that no step before has left in a cache, and of those that steps hand to each other."""
KEPT, HALF = 1 << 18, 0.5
"""Bytes that are still in the inner caches, and the share of what the others cost that is not hidden."""
BESIDE = 4
"""Panels that a GEMM reads side by side for a single row: so many sums hide how long an addition takes."""
BLOCK_BYTES, WIDE = 384 * 1024, 32 * 1024
"""Of panels that a GEMM goes through for each row of tiles; of a tile of A that fills the first cache."""
CROWD, CRITICAL = 8, 4096
"""More rows than this, so many bytes apart, drive each other out of the first cache."""
MAP_BLOCK, REDUCED = 512, 64
"""Elements of a block of the MAP kernels, and columns that the REDUCE kernels go through side by side."""
UNKNOWN = 1.0
"""Nanoseconds of what nobody has measured."""
PRIOR_PRODUCT, PRIOR_BYTE, PRIOR_MOVED, PRIOR_VECTOR = 1.1, 0.19, 0.55, 6.0
"""The same of a Cortex-A72 at 1.8 GHz: of a row of a panel, of a byte of weights (5 GB/s), of a number that
is transformed or summed from a transform, and of a vector of whatever else.
"""


@dataclass(frozen=True)
class Machine:
    """What one core was measured to do, by the names of kernels. `far` has, for programs with so many bytes
    of weights and more, what a step costs that no cache remembers, and what one of those bytes costs.
    """

    fingerprint: str
    rates: Mapping[str, Rates]
    far: tuple[tuple[int, float, float], ...] = ()
    times: Mapping[str, float] = field(default_factory=dict)
    """What steps took that were measured themselves, by their `key`."""
    weights: int = 0
    """Bytes of weights of the program in question."""
    unknown: float = UNKNOWN
    """Nanoseconds of what nobody has measured."""

    @property
    def cold(self) -> tuple[float, float]:
        """Nanoseconds of a step, and of a byte of weights, that are not in a cache."""
        found = [(start, byte) for size, start, byte in self.far if size <= self.weights]
        return found[-1] if found else (0.0, 0.0)

    @property
    def near(self) -> float:
        """Nanoseconds of a byte in the outer caches, where the program does not fit into the inner ones."""
        return self.far[0][2] if self.far and self.far[0][0] <= self.weights else 0.0


def nanoseconds(step: Step, machine: Machine) -> float:
    """The cost of a step, and of those inside it, in a program whose weights are `machine.weights` bytes."""
    return _cost(step.row, step.params, machine)


def _cost(row: ckernels.Row, params: Any, machine: Machine) -> float:
    if not row.units(params):
        return 0.0
    own = of_counts(row.name, counts(row, params), machine)
    blocks = BLOCKS[row.operator](params) if row.operator in BLOCKS else []
    return own + sum(trips * sum(_inner(block, machine)) for trips, block in blocks)


def _inner(block: Any, machine: Machine) -> Iterator[float]:
    for i in range(block.n_steps):
        row = _ROWS[block.steps[i].kernel]
        struct = STRUCTS.get(row.operator, f"ck_{row.operator.lower()}")
        yield _cost(row, ffi.cast(f"const {struct} *", block.steps[i].params), machine)


def of_counts(kernel: str, found: Counts, machine: Machine) -> float:
    """A single row takes as long as its weights need to come, all others wait for them."""
    rates, (start, byte) = machine.rates.get(kernel, {}), machine.cold
    if machine.times and (time := machine.times.get(key(kernel, found, machine))) is not None:
        return time
    far = found.get(FAR, 0) * byte
    start += HALF * machine.near * max(found.get(MOVED, 0) - KEPT, 0)
    work = found.keys() - {FAR, MOVED}
    each = {name: found[name] * rates.get(name, machine.unknown) for name in work}
    single = each.pop("single", 0.0)
    return start + sum(each.values()) + max(single, far)


def key(kernel: str, found: Counts, machine: Machine) -> str:
    """Of all steps that are counted to do the same, with weights that are as far away."""
    far = sum(size <= machine.weights for size, _, _ in machine.far)
    return f"{kernel} {far} {sorted((name, times) for name, times in found.items() if times)}"


def counts(row: ckernels.Row, params: Any) -> Counts:
    """Of a parameter struct, or whatever has those of its fields that count."""
    moved = TRAFFIC[row.operator](params) * SIZES.get(row.dtype, 1) if row.operator in TRAFFIC else 0
    return {**COUNTS[row.operator](row, params), MOVED: moved}


def unmeasured(rows: Iterable[ckernels.Row]) -> Machine:
    """A core like a Cortex-A72, with as many lanes as the kernels want."""
    rows = list(rows)
    rates = {row.name: _prior(row) for row in rows if row.operator in ("GEMM", "WINOGRAD")}
    depthwise = [row for row in rows if row.operator == "DEPTHWISE"]  # of nr channels, eight at a time
    rates |= {row.name: {"products": PRIOR_PRODUCT * max(row.nr // 8, 1)} for row in depthwise}
    unknown = PRIOR_VECTOR / max(map(lanes_of, rows), default=4)
    return Machine("none", rates, ((0, 0.0, PRIOR_BYTE),), unknown=unknown)


def _prior(row: ckernels.Row) -> dict[str, float]:
    moved = {
        f"{way}{tile}": (tile + 2) ** 2 * row.nr / 2 * PRIOR_MOVED for tile in (2, 4) for way in ("in", "out")
    }
    rest = ("wide", "ends", "read", "pointers", "copied", "again")
    return {**dict.fromkeys(rest, 0.0), "products": PRIOR_PRODUCT, "single": PRIOR_PRODUCT, **moved}


# -------------------------------------------------------------------- matrix products


def panels_of(n: int, nr: int) -> float:
    """Of n columns; a last one that is at most half full is half the work."""
    whole, rest = divmod(n, nr)
    return whole + (0 if not rest else 0.5 if 2 * rest <= nr else 1)


def rows_of(m: int, mr: int) -> tuple[int, int, int]:
    """Tiles of m rows, the rows of each, and those of the last."""
    tiles = -(-m // mr)
    rows = -(-m // tiles)
    return -(-m // rows), rows, m - (-(-m // rows) - 1) * rows


def sums_of(m: int, n: int, row: ckernels.Row) -> float:
    """Rows of panels that are summed; those in tiles of few rows take as long as BESIDE."""
    panels, (tiles, rows, last) = panels_of(n, row.nr), rows_of(m, row.mr)
    if rows == 1:
        beside = n // row.nr // BESIDE * BESIDE
        return tiles * (beside + BESIDE * (panels - beside))
    return panels * ((tiles - 1) * max(rows, BESIDE) + max(last, BESIDE))


def gemm(row: ckernels.Row, p: Any) -> Counts:
    size = {"F32": 4, "Q8": 1}.get(row.dtype, 2)
    depth, panels = p.taps * -(-(p.k // p.taps) // row.kr), panels_of(p.n, row.nr)
    tiles, rows, _ = rows_of(p.m, row.mr)
    products = p.batch * sums_of(p.m, p.n, row) * depth
    weights = math.ceil(panels) * row.nr * depth * row.kr * (2 if row.kr == 2 else size)
    again = max(1, -(-weights // BLOCK_BYTES))
    return {
        "step": 1,
        "single" if rows == 1 else "products": products,
        "wide": products if rows * p.k * size >= WIDE else 0,
        "tiles": p.batch * tiles * math.ceil(panels),
        "ends": p.batch * p.m * panels,
        _rows_found(p, rows, size): p.m * p.taps * again if p.rows else p.batch * p.m * p.k * again,
        "spread": p.batch * p.m * p.n if p.c_view.strides[2] != 1 else 0,
        FAR: weights if p.packed.base == CONSTANTS else 0,
    }


def pack(row: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "packed": p.batch * p.k * (p.n + -p.n % row.nr)}


def _rows_found(p: Any, rows: int, size: int) -> str:
    """What a tile does for its rows of A: see ckernels/gemm_rows.h."""
    if p.rows:
        return "pointers"
    if p.a_view.strides[2] != 1:
        return "gathered"
    return "copied" if rows > CROWD and p.a_view.strides[1] * size % CRITICAL == 0 else "read"


def winograd(row: ckernels.Row, p: Any) -> Counts:
    positions, panels = (p.tile + 2) ** 2, panels_of(p.n, row.nr)
    tiles = -(-p.height // p.tile) * -(-p.columns // p.tile)
    blocks, lanes = -(-tiles // p.block), row.nr // 2
    weights = 4 * positions * p.channels * math.ceil(panels) * row.nr
    return {
        "step": 1,
        "products": positions * p.channels * tiles * panels,
        "ends": positions * tiles * panels,
        f"in{p.tile}": tiles * -(-p.channels // lanes),
        f"out{p.tile}": tiles * 2 * panels,
        "again": weights * (blocks - 1),
        FAR: weights,
    }


# -------------------------------------------------------------------- the others


def lanes_of(row: ckernels.Row) -> int:
    """Floats of a vector of its instruction set."""
    return 16 if row.isa & lib.CK_ISA_AVX512 else 8 if row.isa & lib.CK_ISA_AVX2 else 4


def depthwise(row: ckernels.Row, p: Any) -> Counts:
    if row.dtype == "S8":
        blocks = panels_of(p.channels, row.nr)
        return {"step": 1, "products": p.m * -(-p.taps // 4) * blocks, "ends": p.m * blocks, "rows": p.m}
    vectors, lanes = divmod(p.channels, lanes_of(row))
    slid = slid_rows(p) if p.slides else 0
    whole = vectors + (lanes > 0 and row.dtype == "F32" and vectors > 0)
    single = 0 if whole > vectors else lanes
    return {
        "step": 1,
        "slid": slid * whole * p.taps,
        "products": (p.m - slid) * whole * p.taps,
        "one by one": p.m * single * p.taps,
        "ends": p.m * whole,
        "rows": p.m - slid,
        "slides": slid,
    }


def slid_rows(p: Any) -> float:
    """The rows that are done by four, where one can begin."""
    starts = np.flatnonzero(np.diff(np.frombuffer(ffi.buffer(p.slides, p.m), np.int8), prepend=0, append=0))
    return float(sum(-(-int(run) // 4) * 4 for run in starts[1::2] - starts[::2]))


def pair(_: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "rows": p.rows, "elements": p.rows * (p.width + -p.width % 16)}


def reduce(row: ckernels.Row, p: Any) -> Counts:
    """The greatest and the least are found in whole vectors; sums of bytes are of wider numbers."""
    extreme = p.op in (lib.CK_MAX, lib.CK_MIN)
    indices = p.op in (lib.CK_ARGMAX, lib.CK_ARGMIN)
    kind = "extreme" if extreme else "index" if indices else "sum"
    slices = p.outer * p.axis
    if p.inner == 1:
        return {"step": 1, f"{kind}s in rows": slices, "rows": p.outer}
    if extreme:
        vectors = -(-p.inner * int(row.dtype[1:]) // 8 // 64)
        return {"step": 1, "extreme slices": slices * vectors, "extremes": p.outer * vectors}
    whole, rest = divmod(p.inner, REDUCED)
    return {
        "step": 1,
        f"{kind} slices": slices * whole,
        f"{kind} rests": slices * (rest > 0),
        f"{kind} columns": slices * rest,
        f"{kind}s": p.outer * p.inner,
    }


def raster(row: ckernels.Row, p: Any) -> Counts:
    size = int(row.dtype[1:]) // 8
    found = {"step": 1, "runs": 0.0, "bytes": 0.0, "strided": 0.0}
    found["filled"] = p.elements * size if p.filled else 0
    for i in range(p.n_regions):
        region = p.regions[i]
        sizes = list(region.sizes)
        found["runs"] += math.prod(sizes[:5])
        strides = region.source.strides[5], region.destination.strides[5]
        if sizes[5] == 1 or strides == (1, 1):
            found["bytes"] += math.prod(sizes) * size
        else:
            found["strided"] += math.prod(sizes)
    return found


def gather(row: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "rows": p.count, "bytes": p.count * p.width * int(row.dtype[1:]) // 8}


def scatter(_: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "rows": p.count, "updates": p.count * p.width, "elements": p.rows * p.width}


def sort(_: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "compared": p.rows * p.width * math.log2(max(p.width, 2))}


def elements(_: ckernels.Row, p: Any) -> Counts:
    return {"step": 1, "elements": p.elements}


def once(_row: ckernels.Row, _: Any) -> Counts:
    return {"step": 1}


# -------------------------------------------------------------------- MAP

OWN = {"F32": lib.CK_F32, "F64": lib.CK_F64, "I32": lib.CK_I32, "I64": lib.CK_I64}
_PRIMITIVES = {code: name for name, code in ckernels.primitives().items()}


def map_(row: ckernels.Row, p: Any) -> Counts:
    """Each instruction goes through all elements; a load only where they do not stand as they are wanted."""
    sizes = list(p.sizes)
    elements, width = math.prod(sizes), sizes[5]
    block = MAP_BLOCK // width * width if width <= MAP_BLOCK else MAP_BLOCK
    found: Counts = {"step": 1, "blocks": -(-elements // block)}
    for name in (*_instructions(row, p, sizes, block), *_stored(row, p, sizes, block)):
        found[name] = found.get(name, 0) + (elements / min(width, block) if name == "runs" else elements)
    return found


def _instructions(row: ckernels.Row, p: Any, sizes: list[int], block: int) -> Iterator[str]:
    for i in range(p.n_instructions):
        instruction = p.program[i]
        if instruction.op >= 0:
            yield _PRIMITIVES[instruction.op]
        elif instruction.op == lib.CK_MAP_LOAD:
            view, own = p.views[instruction.input], p.dtypes[instruction.input] == OWN[row.dtype]
            if not _same_in_blocks(view, sizes) and not (own and _span(view, sizes) >= block):
                yield "converted" if not own else "copied" if view.strides[5] in (0, 1) else "strided"
                yield "runs"


def _stored(row: ckernels.Row, p: Any, sizes: list[int], block: int) -> Iterator[str]:
    own = p.out_dtype == OWN[row.dtype]
    if own and _span(p.output, sizes) >= min(block, math.prod(sizes)):
        return
    yield "copied" if own else "stored"
    yield "runs"


def _same_in_blocks(view: Any, sizes: list[int]) -> bool:
    """Whether a load is done once, for the first block."""
    return not any(list(view.strides)[:5]) and (view.strides[5] == 0 or sizes[5] <= MAP_BLOCK)


def _span(view: Any, sizes: list[int]) -> int:
    """How many elements of a view follow each other in memory."""
    span = 1
    for d in reversed(range(6)):
        if sizes[d] > 1 and view.strides[d] != span:
            break
        span *= sizes[d]
    return span


TRAFFIC: Mapping[str, Callable[[Any], float]] = {
    "GEMM": lambda p: p.batch * p.m * (p.k // p.taps + p.n),
    "WINOGRAD": lambda p: p.height * p.columns * (p.channels + p.n),
    "DEPTHWISE": lambda p: 2 * p.m * p.channels,
    "MAP": lambda p: 2 * math.prod(p.sizes),
    "REDUCE": lambda p: p.outer * (p.axis + 1) * p.inner,
    "RASTER": lambda p: 2 * sum(math.prod(p.regions[i].sizes) for i in range(p.n_regions)),
    "ADD": lambda p: 3 * p.rows * p.width,
    "MUL": lambda p: 3 * p.rows * p.width,
    "LOOKUP": lambda p: 2 * p.elements,
}
"""About how many elements a step takes from others and leaves to them."""
SIZES = {"F32": 4, "F64": 8, "I64": 8, "I32": 4, "X64": 8, "X32": 4, "X16": 2, "I16": 2, "Q16": 2}
"""Bytes of an element, where they are more than one."""
BLOCKS: Mapping[str, Callable[[Any], list[tuple[float, Any]]]] = {
    "IF": lambda p: [(0.5, p.then), (0.5, p.orelse)],
    "WHILE": lambda p: [(1, p.cond), (1, p.body)],
    "LOOP": lambda p: [(p.trips, p.body)],
}
"""What is inside, how often; nobody knows how often a WHILE goes round."""
STRUCTS = {"PACK": "ck_gemm", "RASTER_ADD": "ck_raster", "ADD": "ck_pair", "MUL": "ck_pair"}
_ROWS = {row.kernel: row for row in ckernels.rows()}
_ROWS |= {row.pack: row.packing for row in ckernels.rows() if row.pack}
COUNTS: Mapping[str, Callable[[ckernels.Row, Any], Counts]] = {
    "RASTER": raster,
    "RASTER_ADD": raster,
    "GEMM": gemm,
    "PACK": pack,
    "MAP": map_,
    "REDUCE": reduce,
    "GATHER": gather,
    "SCATTER": scatter,
    "SORT": sort,
    "RNG": elements,
    "DEPTHWISE": depthwise,
    "WINOGRAD": winograd,
    "ADD": pair,
    "MUL": pair,
    "LOOKUP": elements,
    "TURN": once,
    "IF": once,
    "WHILE": once,
    "LOOP": once,
}
