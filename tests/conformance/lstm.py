"""LSTM layers: every option of the cell, over time in both layouts; states go from run to run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from tests.conformance.case import B, Case, Operand, Options, V, W, X

PARTS = ("cifg", "peephole", "projection", "projection bias", "norm")
TANH = {"fused_activation_function": "TANH"}


def cell(depth: int, cells: int, units: int, parts: Sequence[str]) -> list[Operand]:
    """The weights of one direction in TFLite's order, up to the bias of the projection."""
    coupled = "cifg" in parts

    def gate(operand: Operand, *others: Operand) -> list[Operand]:
        return [None if coupled else operand, *others]

    def weights(width: int) -> list[Operand]:
        return gate(*(W((cells, width), None) for _ in range(4)))

    peephole = gate(*(W((cells,), None) for _ in range(3))) if "peephole" in parts else [None] * 3
    projection = W((units, cells), None) if "projection" in parts else None
    return [
        *weights(depth), *weights(units), *peephole, *gate(*(B(cells) for _ in range(4))), projection,
        B(units) if "projection bias" in parts else None,
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
    major: bool = False,
    **options: object,
) -> Case:
    """UNIDIRECTIONAL_SEQUENCE_LSTM on floats, of 3 units where it projects."""
    units = 3 if "projection" in parts else cells
    shape = (steps, batch, depth) if major else (batch, steps, depth)
    operands = (
        X(shape), *cell(depth, cells, units, parts), V((batch, units)), V((batch, cells)), *norm(cells, parts)
    )  # fmt: skip
    every: Options = {**TANH, "time_major": major, **options}
    return Case("UNIDIRECTIONAL_SEQUENCE_LSTM", operands, every, ("float32",), runs=3)


CASES = [
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
        for name in ("RELU", "RELU6", "RELU_N1_TO_1")
        for parts in ((), PARTS)
    ),
]  # fmt: skip
