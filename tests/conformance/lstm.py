"""LSTM layers: every option of the cell, over time in both layouts; states go from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from tests.conformance.case import FLOAT, B, Case, Operand, Options, V, W, X
from tests.conformance.conv import REFINED

PARTS = ("cifg", "peephole", "projection", "projection bias", "norm")
TANH = {"fused_activation_function": "TANH"}
SMALL = (-0.2, 0.6)
"""A span for levels, in which no number lies so near half-way between two that kernels differ about it."""
FULL, BASIC = range(2)


def cell(depth: int, cells: int, units: int, parts: Sequence[str], kind: str = "") -> list[Operand]:
    """The weights of one direction in TFLite's order, of type `kind`, up to the bias of the projection."""
    coupled = "cifg" in parts

    def gate(operand: Operand, *others: Operand) -> list[Operand]:
        return [None if coupled else operand, *others]

    def weights(*shape: int) -> list[Operand]:
        return gate(*(W(shape, None, kind, zero=0) for _ in range(4)))

    peephole = (
        gate(*(W((cells,), None, kind, zero=0) for _ in range(3))) if "peephole" in parts else [None] * 3
    )
    projection = W((units, cells), None, kind, zero=0) if "projection" in parts else None
    return [
        *weights(cells, depth), *weights(cells, units), *peephole, *gate(*(B(cells) for _ in range(4))),
        projection, B(units) if "projection bias" in parts else None,
    ]  # fmt: skip


def norm(cells: int, parts: Sequence[str]) -> list[Operand]:
    if "norm" not in parts:
        return [None] * 4
    return [None if "cifg" in parts else W((cells,), None), *(W((cells,), None) for _ in range(3))]


def sequence(
    steps: int,
    batch: int,
    depth: int,
    cells: int,
    parts: Sequence[str] = (),
    major: bool | None = False,
    kind: str = "",
    **options: object,
) -> Case:
    """UNIDIRECTIONAL_SEQUENCE_LSTM on floats, of 3 units where it projects; LSTM where `major` is None."""
    units = 3 if "projection" in parts else cells
    shape = (batch, depth) if major is None else (steps, batch, depth) if major else (batch, steps, depth)
    span = SMALL if kind else X.span
    operands = (
        X(shape, span), *cell(depth, cells, units, parts, kind), V((batch, units)), V((batch, cells)),
        *norm(cells, parts),
    )  # fmt: skip
    every: Options = {**TANH, **options}
    if major is None:
        return Case("LSTM", operands, {**every, "kernel_type": FULL}, FLOAT, runs=3)
    return Case("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, {**every, "time_major": major}, FLOAT, runs=3)


SMALLER = () if REFINED else (0.001, 0.0001)
"""Scales of unsigned weights whose products are shifted to the right: ties are gemmlowp's, not those of ruy,
which LiteRT 2 takes for them."""
OUT, CELL_SCALE = (0.008, -3), 2.0**-11
"""Of integers: (scale, zero point) of the output."""


def integer(
    steps: int,
    batch: int,
    depth: int,
    cells: int,
    parts: Sequence[str] = (),
    major: bool | None = False,
    units: int = 0,
    scales: tuple[float, float] = (0.01, CELL_SCALE),
    hidden: tuple[float, int] = (0.007, 5),
    **options: object,
) -> Case:
    """The same on int8, of `units` units; `scales` are the weights' and the cell's."""
    units, (scale, cell_scale) = units or cells, scales
    shape = (batch, depth) if major is None else (steps, batch, depth) if major else (batch, steps, depth)
    weights = [
        replace(
            w, scale=scale if len(w.shape) == 2 else 2.0**-14, dtype="int8" if len(w.shape) == 2 else "int16"
        )
        if isinstance(w, W)
        else w
        for w in (*cell(depth, cells, units, parts), *norm(cells, parts))
    ]
    states = V((batch, units), stored=OUT), V((batch, cells), "int16", (cell_scale, 0))
    operands = (X(shape), *weights[:-4], *states, *weights[-4:])
    gates = [(2.0**-12 * (1 + i / 3), 0) for i in range(4)]
    op = "LSTM" if major is None else "UNIDIRECTIONAL_SEQUENCE_LSTM"
    every: Options = {
        **TANH,
        **options,
        **({"kernel_type": FULL} if major is None else {"time_major": major}),
    }
    return Case(op, operands, every, ("int8",), out_scale=OUT, runs=3, between=(*gates, hidden))


def basic(batch: int, depth: int, cells: int, dtype: str, scale: float) -> Case:
    """LSTM of the basic kernel, on floats or on bytes with a cell of 16 bits and weights of this scale."""
    cell = "int16" if dtype == "uint8" else dtype
    operands = (
        X((batch, depth)), V((batch, cells)), W((4 * cells, depth + cells), None, scale=scale), B(4 * cells),
        V((batch, cells), cell, (CELL_SCALE, 0) if cell == "int16" else None),
    )  # fmt: skip
    types = (dtype, cell, dtype, cell)
    scales = (CELL_SCALE * 256, 0)  # of 16 bits they are 256 times finer
    options = {"kernel_type": BASIC}
    return Case("LSTM", operands, options, (dtype,), outputs=4, out_type=types, out_scale=scales, runs=3)


def both_ways(
    sizes: tuple[int, int, int, int], parts: Sequence[str], aux: str, kind: str, **options: object
) -> Case:
    """Two directions of one size, as TFLite demands; an auxiliary input is read as well ("crossed"), or
    by the backward direction instead ("alone").
    """
    steps, batch, depth, cells = sizes
    shape = (steps, batch, depth) if options["time_major"] else (batch, steps, depth)
    x = X(shape, SMALL if kind else X.span)
    units = 2 if "projection" in parts else cells
    states = [V((batch, n)) for n in (units, cells)] * 2
    extra: list[Operand] = [None] * 9
    if aux == "alone":
        extra[0] = x
    elif aux == "crossed":
        extra = [x, *cell(depth, cells, units, parts, kind)[:4] * 2]
    operands = (x, *cell(depth, cells, units, parts, kind) * 2, *states, *extra)
    outputs = 1 if options["merge_outputs"] else 2
    every: Options = {**TANH, **options}
    return Case("BIDIRECTIONAL_SEQUENCE_LSTM", operands, every, FLOAT, outputs=outputs, runs=3)


CASES = [
    *(
        integer(*sizes, parts, major)
        for sizes, parts, major in product(
            ((1, 1, 3, 4), (3, 1, 2, 5), (4, 2, 3, 4)),
            (
                (), ("cifg",), ("peephole",), ("norm",), ("projection",), ("projection", "projection bias"),
                ("cifg", "peephole"), ("cifg", "norm"), ("peephole", "norm"), PARTS, PARTS[1:],
            ),
            (True, False, None),
        )
        if major is not None or sizes[0] == 1
    ),
    *(
        integer(3, batch, 3, 4, parts, major, units)
        for batch, units, major, parts in product(
            (1, 3), (2, 3), (True, False, None), (PARTS[2:4], PARTS[1:4], ("cifg", "projection"), PARTS)
        )
    ),
    *(
        integer(3, 2, 3, 4, parts, major, cell_clip=cell_clip, proj_clip=proj_clip)
        for cell_clip, proj_clip in ((0.5, 0.0), (0.0, 0.3), (2.0, 0.5), (100.0, 5.0))
        for parts, major in product(((), ("projection",), PARTS), (True, None))
    ),
    *(
        integer(4, 2, 3, 4, parts, True, scales=(scale, 2.0**power))
        for scale, power, parts in product((0.0005, 0.05), range(-15, -8), ((), PARTS))
    ),
    *(
        integer(4, 2, 3, 4, parts, True, hidden=hidden)
        for hidden in ((0.004, -128), (0.004, 127), (0.01, 0), (0.02, -128))
        for parts in ((), ("projection",), PARTS)
    ),
    *(  # one cell has no variance
        integer(3, 2, 3, cells, ("norm", *more), True)
        for cells, more in product((1, 2, 3, 7, 33), ((), ("cifg",), ("peephole",)))
    ),
    integer(2, 2, 40, 33, PARTS[2:4], True, 17),
    integer(2, 2, 40, 16, PARTS[2:4], True, 40),
    *(
        sequence(*sizes, parts, major)
        for sizes, parts, major in product(
            ((1, 1, 3, 4), (3, 1, 2, 5), (4, 2, 3, 4)),
            (
                (), ("cifg",), ("peephole",), ("norm",), ("projection",), ("projection", "projection bias"),
                ("cifg", "peephole"), ("cifg", "norm"), ("peephole", "norm"), PARTS, PARTS[1:],
            ),
            (True, False),
        )
    ),
    *(
        sequence(3, 2, 3, 4, parts, cell_clip=cell_clip, proj_clip=proj_clip)
        for parts in ((), ("projection", "projection bias"), PARTS)
        for cell_clip, proj_clip in ((0.5, 0.0), (0.0, 0.3), (0.8, 0.4))
    ),
    *(
        sequence(3, 2, 3, 4, parts, fused_activation_function=name, cell_clip=4.0)
        for name in ("RELU", "RELU6", "RELU_N1_TO_1", "SIGN_BIT")
        for parts in ((), PARTS)
    ),
    *(  # one step
        sequence(1, *sizes, parts, None, kind, **clips)
        for sizes, parts, kind in product(
            ((1, 3, 4), (2, 2, 5)), ((), ("cifg",), ("norm",), PARTS, PARTS[1:]), ("", "int8", "uint8")
        )
        for clips in ({}, {"cell_clip": 0.6, "proj_clip": 0.3})
    ),
    *(
        basic(*sizes, dtype, scale)
        for sizes in ((1, 3, 4), (2, 1, 3), (3, 5, 1), (2, 20, 16))
        for dtype, scale in (("float32", 0.0), *(("uint8", scale) for scale in (0.03, 0.007, *SMALLER)))
    ),
    *(
        sequence(*sizes, parts, major, kind, asymmetric_quantize_inputs=asymmetric)
        for sizes, parts, major, kind, asymmetric in product(
            ((1, 1, 3, 4), (4, 2, 3, 4)),
            ((), ("cifg", "peephole"), ("norm",), ("projection",), PARTS, PARTS[1:]),
            (True, False),
            ("int8", "uint8"),
            (False, True),
        )
    ),
    *(
        both_ways(sizes, parts, aux, kind, time_major=major, merge_outputs=merged, **levels)
        for sizes, parts, aux, kind, major, merged in product(
            ((4, 1, 2, 5), (3, 2, 3, 4)),
            ((), ("cifg", "peephole"), PARTS[:-1]),
            ("", "alone", "crossed"),
            ("", "int8", "uint8"),
            (True, False),
            (True, False),
        )
        for levels in (({}, {"asymmetric_quantize_inputs": True}) if kind else ({},))
        # TFLite looks for the state of the second batch where it stands in merged outputs, beyond the end
        if (sizes[1] == 1 or major or not merged) and not (kind == "uint8" and parts)
    ),
]  # fmt: skip
