"""Control flow: graphs inside nodes, what they read around them, and trips known before and at run time."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, helper, numpy_helper

from tests.conformance.case import X
from tests.conformance.onnx.case import Array, Case, longs, number, weights

TYPES = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}
ROWS = X((2, 3))
OPSETS = (13, 17, 22)


def graph(inputs: str, nodes: list[Any], outputs: str, **constants: Array) -> GraphProto:
    """Inputs and outputs as "f:name i:name", by the first letter of their types; only floats have a shape."""
    ends = [
        [
            helper.make_tensor_value_info(name, TYPES[kind], None if kind == "f" else ())
            for kind, name in pairs
        ]
        for pairs in ([entry.split(":") for entry in text.split()] for text in (inputs, outputs))
    ]
    held = [numpy_helper.from_array(data, name) for name, data in constants.items()]
    made: GraphProto = helper.make_graph(nodes, "inside", *ends, held)
    return made


def does(op: str, inputs: str, output: str, **attrs: Any) -> Any:
    """A node whose inputs are separated by commas."""
    return helper.make_node(op, inputs.split(","), output.split(","), **attrs)


# ---------------------------------------------------------------- If

TWICE = graph("", [does("Add", "outer 0,outer 0", "y")], "f:y")
PLUS = graph("", [does("Add", "outer 0,outer 1", "y")], "f:y")
OUTSIDE = graph("", [does("Identity", "outer 1", "y")], "f:y")
ROW = graph("", [does("Mul", "outer 0,row", "z"), does("Neg", "z", "y")], "f:y", row=weights(3))
BOTH = graph("", [does("Neg", "outer 0", "y"), does("Exp", "y", "z")], "f:y f:z")
SWAPPED = graph("", [does("Abs", "outer 0", "z"), does("Sqrt", "z", "y")], "f:y f:z")
NESTED = graph(
    "", [does("If", "outer 2", "y", then_branch=TWICE, else_branch=PLUS), does("Neg", "y", "z")], "f:z"
)
NO, YES = (np.array(truth) for truth in (False, True))
ONE = np.ones(1, np.bool_)


def either(
    test: X | Array, then: GraphProto, orelse: GraphProto, *outer: X | Array, outputs: int = 1
) -> Case:
    branches = {"then_branch": then, "else_branch": orelse}
    return Case("If", (test,), branches, OPSETS, outputs, outer or (ROWS, weights(2, 3)))


IF = [
    *(
        either(test, then, orelse)
        for test in (X((), dtype="bool"), X((1,), dtype="bool"), NO, YES, ONE)
        for then, orelse in ((TWICE, PLUS), (PLUS, ROW), (OUTSIDE, ROW), (OUTSIDE, OUTSIDE))
    ),
    *(either(test, BOTH, SWAPPED, outputs=2) for test in (X((), dtype="bool"), YES)),
    *(
        either(test, NESTED, PLUS, ROWS, X((2, 3)), inner)
        for test in (X((), dtype="bool"), YES)
        for inner in (X((), dtype="bool"), NO)
    ),
    # branches of different shapes, of which one is known to be taken
    *(
        either(
            test,
            graph("", [does("Transpose", "outer 0", "y", perm=[1, 0])], "f:y"),
            graph("", [does("Flatten", "outer 0", "y")], "f:y"),
        )
        for test in (NO, YES)
    ),
]

# ---------------------------------------------------------------- Loop

GROW = graph(
    "i:trip b:on f:x",
    [does("Identity", "on", "again"), does("Mul", "x,outer 0", "m"), does("Add", "m,x", "y")],
    "b:again f:y",
)
COUNTED = graph(
    "i:trip b:on f:x",
    [
        does("Identity", "on", "again"),
        does("Cast", "trip", "t", to=TensorProto.FLOAT),
        does("Add", "x,t", "y"),
        does("Mul", "y,outer 0", "s"),
    ],
    "b:again f:y f:s f:y2",
)
COUNTED.node.append(does("Neg", "y", "y2"))
FIBONACCI = graph(
    "i:trip b:on f:a f:b",
    [does("Identity", "on", "again"), does("Add", "a,b", "c"), does("Identity", "b", "old")],
    "b:again f:old f:c f:old2",
)
FIBONACCI.node.append(does("Identity", "b", "old2"))
SWAP = graph(
    "i:trip b:on f:a f:b",
    [does("Identity", "on", "again"), does("Identity", "a", "a2"), does("Identity", "b", "b2")],
    "b:again f:b2 f:a2",
)
BELOW = graph(
    "i:trip b:on f:x",
    [
        does("Add", "x,outer 0", "y"),
        does("ReduceMax", "y", "most", keepdims=0),
        does("Less", "most,bound", "again"),
    ],
    "b:again f:y",
    bound=number(9.0),
)
BELOW_ONE = graph(
    "i:trip b:on f:x",
    [
        does("Add", "x,outer 0", "y"),
        does("ReduceMax", "y", "most", keepdims=0),
        does("Less", "most,bound", "again"),
    ],
    "b:again f:y",
    bound=np.array([4.0], np.float32),
)
ONCE = graph("i:trip b:on f:x", [does("Not", "on", "again"), does("Neg", "x", "y")], "b:again f:y f:z")
ONCE.node.append(does("Exp", "x", "z"))
INDEXED = graph(
    "i:trip b:on f:x",
    [
        does("Identity", "on", "again"),
        does("Gather", "outer 0,trip", "row", axis=0),
        does("Add", "x,row", "y"),
    ],
    "b:again f:y f:row",
)
CALLED = graph(
    "i:trip b:on f:x",
    [
        does("Identity", "on", "again"),
        does("Equal", "trip,one", "second"),
        does(
            "If",
            "second",
            "y",
            then_branch=graph("", [does("Add", "x,outer 0", "p")], "f:p"),
            else_branch=graph("", [does("Neg", "x", "n")], "f:n"),
        ),
    ],
    "b:again f:y",
    one=number(1, "int64"),
)
TABLE = graph(
    "i:outer_trip b:outer_on f:sum",
    [
        does("Identity", "outer_on", "outer_again"),
        does("Loop", "count,,sum", "total", body=GROW),
    ],
    "b:outer_again f:total",
    count=number(2, "int64"),
)

POSITIVE = X((2, 3), (0.5, 1.5))
LOOP = [
    *(
        Case("Loop", (limit, test, ROWS), {"body": GROW}, OPSETS, outer=(number(0.5),))
        for limit in (longs(3), number(1, "int64"), X((), (2, 4), "int64"), X((1,), (0, 3), "int64"))
        for test in (None, YES, X((), dtype="bool"))
    ),
    Case("Loop", (number(0, "int64"), None, ROWS), {"body": GROW}, OPSETS, outer=(number(0.5),)),
    Case("Loop", (number(4, "int64"), NO, ROWS), {"body": GROW}, OPSETS, outer=(number(0.5),)),
    *(
        Case("Loop", (number(n, "int64"), None, ROWS), {"body": COUNTED}, OPSETS, 3, (outer,))
        for n in (1, 2, 5)
        for outer in (X((2, 3)), weights(2, 3), X((3,)))
    ),
    *(Case("Loop", (number(5, "int64"), YES, ROWS, X((2, 3))), {"body": FIBONACCI}, OPSETS, 3) for _ in (0,)),
    *(
        Case("Loop", (limit, None, ROWS, X((2, 3))), {"body": SWAP}, OPSETS, 2)
        for limit in (number(3, "int64"), number(4, "int64"), X((), (1, 1), "int64"))
    ),
    *(
        Case("Loop", (limit, test, x), {"body": body}, OPSETS, outer=(POSITIVE,))
        for limit in (None, number(100, "int64"), number(2**63 - 1, "int64"), X((), (1, 3), "int64"))
        for test in (YES, X((), dtype="bool"))
        for x in (ROWS, weights(2, 3))
        for body in (BELOW, BELOW_ONE)
    ),
    *(Case("Loop", (n, YES, ROWS), {"body": ONCE}, OPSETS, 2) for n in (None, number(7, "int64"))),
    *(
        Case("Loop", (longs(4), None, X((3,))), {"body": INDEXED}, OPSETS, 2, (rows,))
        for rows in (X((4, 3)), weights(4, 3))
    ),
    Case("Loop", (X((), (0, 4), "int64"), None, X((3,))), {"body": CALLED}, OPSETS, outer=(X((3,)),)),
    Case("Loop", (number(3, "int64"), None, X((3,))), {"body": CALLED}, OPSETS, outer=(X((3,)),)),
    *(
        Case("Loop", (limit, None, ROWS), {"body": TABLE}, OPSETS, outer=(X((2, 3)),))
        for limit in (number(3, "int64"), X((), (1, 3), "int64"))
    ),
]

# ---------------------------------------------------------------- Scan

RUNNING = graph(
    "f:s f:x", [does("Add", "s,x", "sum"), does("Mul", "sum,outer 0", "scaled")], "f:sum f:scaled"
)
PAIR = graph("f:a f:b", [does("Sub", "a,b", "d"), does("Add", "a,b", "e")], "f:d f:e")
CELL = graph(
    "f:h f:x",
    [
        does("MatMul", "x,w", "p"),
        does("MatMul", "h,outer 0", "q"),
        does("Add", "p,q", "s"),
        does("Tanh", "s", "n"),
    ],
    "f:n f:n2",
    w=weights(3, 4),
)
CELL.node.append(does("Identity", "n", "n2"))

TURNED = {"scan_input_axes": [0, 1], "scan_output_axes": [1, 0], "scan_output_directions": [0, 1]}
SCAN = [
    *(
        Case(
            "Scan",
            (X((3,)), X((5, 3))),
            {"body": RUNNING, "num_scan_inputs": 1, **attrs},
            OPSETS,
            2,
            (outer,),
        )
        for outer in (number(0.5), X((3,)))
        for attrs in (
            {},
            {"scan_input_directions": [1]},
            {"scan_output_directions": [1]},
            {"scan_input_directions": [1], "scan_output_directions": [1], "scan_output_axes": [1]},
            {"scan_output_axes": [-1]},
        )
    ),
    *(
        Case(
            "Scan",
            (X((2, 3)), X((2, 4, 3))),
            {"body": RUNNING, "num_scan_inputs": 1, **attrs},
            OPSETS,
            2,
            (X((3,)),),
        )
        for attrs in (
            {"scan_input_axes": [1]},
            {"scan_input_axes": [-2], "scan_output_axes": [1]},
            {"scan_input_axes": [1], "scan_input_directions": [1], "scan_output_axes": [-1]},
        )
    ),
    *(
        Case("Scan", (X((4, 2)), X(shape)), {"body": PAIR, "num_scan_inputs": 2, **attrs}, OPSETS, 2)
        for shape, attrs in (
            ((4, 2), {}),
            ((2, 4), {"scan_input_axes": [0, 1], "scan_input_directions": [1, 0]}),
            ((2, 4), TURNED),
        )
    ),
    *(
        Case("Scan", (X((2, 4)), X((6, 2, 3))), {"body": CELL, "num_scan_inputs": 1}, OPSETS, 2, (w,))
        for w in (weights(4, 4), X((4, 4)))
    ),
    Case("Scan", (X((3,)), X((1, 3))), {"body": RUNNING, "num_scan_inputs": 1}, OPSETS, 2, (X((3,)),)),
]

CASES = [*IF, *LOOP, *SCAN]
