"""Recurrent layers."""

from __future__ import annotations

import numpy as np

from tests.conformance.case import X
from tests.conformance.onnx.case import Array, Case, weights

INPUT = X((4, 2, 3))
"""Steps, batch, depth."""
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(op: str, directions: int = 1) -> tuple[X | Array, ...]:
    """Input, W, R and B of five units."""
    gates = GATES[op] * 5
    shapes = (directions, gates, 3), (directions, gates, 5), (directions, 2 * gates)
    return INPUT, *(weights(*shape, seed=i) for i, shape in enumerate(shapes))


def outputs(op: str) -> int:
    return 3 if op == "LSTM" else 2


CASES = [
    *(Case(op, layer(op)[:3], {"hidden_size": 5}, (14, 22), outputs(op)) for op in GATES),
    *(
        Case(
            op,
            layer(op, 1 + (way == "bidirectional")),
            {"hidden_size": 5, "direction": way},
            (14, 22),
            outputs(op),
        )
        for op in GATES
        for way in ("forward", "reverse", "bidirectional")
    ),
    *(Case(op, (*layer(op), None, X((1, 2, 5))), {"hidden_size": 5}, (14, 22), outputs(op)) for op in GATES),
    Case("LSTM", (*layer("LSTM"), None, X((1, 2, 5)), X((1, 2, 5))), {"hidden_size": 5}, (14, 22), 3),
    Case("LSTM", (*layer("LSTM"), weights(2).astype("int32") * 0 + 4), {"hidden_size": 5}, (14, 22), 1),
    Case("GRU", layer("GRU"), {"hidden_size": 5, "linear_before_reset": 1}, (14, 22), 2),
    Case(
        "GRU",
        layer("GRU", 2),
        {"hidden_size": 5, "linear_before_reset": 1, "direction": "bidirectional"},
        (14, 22),
        2,
    ),
    *(
        Case(
            op,
            (*layer(op, 1 + (way == "bidirectional")), lengths),
            {"hidden_size": 5, "direction": way},
            (14, 22),
            outputs(op),
        )
        for op in GATES
        for way in ("forward", "reverse", "bidirectional")
        for lengths in (np.array([2, 4], np.int32), np.array([4, 1], np.int32), X((2,), (1, 4), "int32"))
    ),
    *(
        Case(
            "LSTM",
            (*layer("LSTM", 1 + (way == "bidirectional")), None, *states, peepholes),
            {"hidden_size": 5, "direction": way},
            (14, 22),
            3,
        )
        for way in ("forward", "reverse", "bidirectional")
        for peepholes in (weights(1 + (way == "bidirectional"), 15, seed=9),)
        for states in ((None, None), (X((1 + (way == "bidirectional"), 2, 5)),) * 2)
    ),
    *(
        Case(op, (X((steps, 2, 3)), *layer(op)[1:]), {"hidden_size": 5}, (14, 22), outputs(op))
        for op in GATES
        for steps in (1, 40)
    ),
    Case("RNN", layer("RNN"), {"hidden_size": 5, "activations": ["Relu"]}, (14, 22), 2),
]
