"""Places that are known only at run time: one that leaves its tensor stops the run and names the operator."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.compile import load
from runtime.errors import RunError
from tests.conformance.case import Case, Maker, X, ints

ROWS = Case(
    "REVERSE_SEQUENCE", (X((3, 4, 5)), X((3,), dtype="int32")), {"seq_dim": 1, "batch_dim": 0}, ("float32",)
)
PART = Case("SLICE", (X((4, 5)), X((2,), dtype="int32"), ints(2, 3)), types=("float32",))
ROW = Case(
    "STRIDED_SLICE",
    (X((4, 5)), X((1,), dtype="int32"), ints(0), ints(1)),
    {"shrink_axis_mask": 1},
    ("float32",),
)
UPDATE = Case("DYNAMIC_UPDATE_SLICE", (X((4, 5)), X((2, 3)), X((2,), dtype="int32")), types=("float32",))
FAR = 2**31 - 1


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("case", "places"),
    [
        (ROWS, (1, 5, 2)),
        (ROWS, (1, -1, 2)),
        (ROWS, (FAR, 0, 0)),
        (ROW, (4,)),
        (ROW, (-5,)),
        (PART, (3, 0)),
        (PART, (0, -1)),
        (PART, (FAR, 0)),
        (PART, (0, -FAR - 1)),
    ],
)
def test_a_place_outside_is_refused(case: Case, places: tuple[int, ...], backend: str) -> None:
    maker = Maker(case, "float32")
    program = load(maker.model(), backend)
    data = maker.inputs()[0]
    with pytest.raises(RunError, match=f"{case.op}#0"):
        program.run([data, np.array(places, np.int32)])
    program.run([data, np.zeros(len(places), np.int32)])


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("start", "held"), [((FAR, FAR), (2, 2)), ((-FAR - 1, -1), (0, 0)), ((1, 9), (1, 2))]
)
def test_an_update_is_held_inside(start: tuple[int, int], held: tuple[int, int], backend: str) -> None:
    maker = Maker(UPDATE, "float32")
    program = load(maker.model(), backend)
    data, update, _ = maker.inputs()
    (out,) = program.run([data, update, np.array(start, np.int32)]).values()
    data[held[0] : held[0] + 2, held[1] : held[1] + 3] = update
    np.testing.assert_array_equal(out, data)
