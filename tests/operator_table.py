"""The README's tables of operators, custom ones too, and of atoms: `python -m tests.operator_table`."""

from __future__ import annotations

import ckernels
from runtime.atoms import ATOMS
from runtime.control import CONTROL
from runtime.importers import schema
from runtime.operators import CUSTOM, OPERATORS

COLUMNS = 4
NOT_NUMERIC = frozenset(
    {
        "CONCAT_EMBEDDINGS", "CUSTOM", "DELEGATE", "HASHTABLE", "HASHTABLE_FIND", "HASHTABLE_IMPORT",
        "HASHTABLE_SIZE", "LSH_PROJECTION", "PLACEHOLDER_FOR_GREATER_OP_CODES", "SKIP_GRAM",
    }
)  # fmt: skip
"""On texts and tables of texts, without a kernel in TFLite, or no operators."""

REGISTERED = ("AudioSpectrogram", "Mfcc", "NumericVerify", "TFLite_Detection_PostProcess")
"""The custom operators that TFLite's Python package has kernels for."""


def operators() -> str:
    """Every builtin operator of the schema on numbers, with a mark where the engine has it."""
    names = sorted(name for name in vars(schema.BuiltinOperator))
    cells = [f"{'✓' if name in OPERATORS else '·'} {name}" for name in names if name not in NOT_NUMERIC]
    cells += [""] * (-len(cells) % COLUMNS)
    height = len(cells) // COLUMNS
    rows = [cells[i::height] for i in range(height)]
    return "\n".join(["| " + " | ".join(row) + " |" for row in (*[[""] * COLUMNS, ["---"] * COLUMNS], *rows)])


def custom() -> str:
    """The custom operators with a kernel in TFLite, with a mark where the engine has it."""
    names = sorted({*REGISTERED, *CUSTOM})
    return "|  |  |\n|---|---|\n" + "\n".join(
        f"| {'✓' if name in CUSTOM else '·'} | `{name}` |" for name in names
    )


def atoms() -> str:
    """What a backend writes: one kernel for each atom. The cpu backend has one for each element type."""
    kinds: dict[str, set[str]] = {}
    for row in ckernels.rows():
        kinds.setdefault(row.operator.removesuffix("_ADD"), set()).add(row.dtype.lower())
    lines = ["| atom | `reference` | `cpu`: kernels for |", "|---|---|---|"]
    for kind in (*ATOMS, *CONTROL):
        types = " ".join(sorted(kinds.get(kind.NAME, ())))
        lines.append(f"| {kind.NAME} | ✓ | {types if kind in ATOMS else '✓'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print("\n\n".join([operators(), custom(), atoms()]))
