"""Control flow and variables: models of several graphs, some of which remember from run to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from runtime.exporters.tflite import ModelSpec, OpSpec, TensorSpec
from tests.conformance.case import FLOAT, Case, X

SHAPE = (2, 3)
COUNT = ("float32", "int32")
"""The element types that the test of a loop here can count in."""


def graph(
    dtype: str,
    inputs: str,
    outputs: str,
    operators: list[tuple[str, str, str] | tuple[str, str, str, Mapping[str, Any]]],
    constants: Mapping[str, Any] | None = None,
    subgraphs: tuple[ModelSpec, ...] = (),
    shape: tuple[int, ...] = SHAPE,
) -> ModelSpec:
    """A graph of operators (kind, inputs, outputs), names apart by spaces.

    Tensors are of `dtype` and `shape`, but names that begin with n are scalars, with t booleans, with k
    scalars of int32, with h handles.
    """
    tensors = {
        name: TensorSpec.constant(name, np.asarray(data, dtype)) for name, data in (constants or {}).items()
    }
    for names in (inputs, *(text for op in operators for text in op[1:3]), outputs):
        for name in names.split():
            tensors.setdefault(name, _tensor(name, dtype, shape))
    ops = tuple(
        OpSpec(kind, tuple(a.split()), tuple(b.split()), *options) for kind, a, b, *options in operators
    )
    ends = tuple(inputs.split()), tuple(outputs.split())
    return ModelSpec(tuple(tensors.values()), ops, *ends, subgraphs=subgraphs)


def _tensor(name: str, dtype: str, shape: tuple[int, ...]) -> TensorSpec:
    kinds = {"n": ((), dtype), "t": ((), "bool"), "k": ((), "int32"), "h": ((), "resource")}
    return TensorSpec(name, *kinds.get(name[0], (shape, dtype)))


BRANCHES = {"then_subgraph_index": 1, "else_subgraph_index": 2}
LOOP = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
Build = Callable[[str], ModelSpec]


def _if(then: list[Any], orelse: list[Any], outputs: str = "y") -> Build:
    """y = then(a, b) or orelse(a, b)."""

    def build(dtype: str) -> ModelSpec:
        parts = tuple(graph(dtype, "a b", outputs, ops, {"c": np.full(SHAPE, 2)}) for ops in (then, orelse))
        results = " ".join(f"r{i}" for i, _ in enumerate(outputs.split()))
        operators = [("IF", "t a b", results, BRANCHES)]
        return graph(dtype, "t a b", results, operators, subgraphs=parts)

    return build


def call_model(op: str, field: str, parts: tuple[list[Any], ...], outputs: str = "y") -> Build:
    """r = part(a, b), s = part(r + a, b), where part is sub-graph 1."""

    def build(dtype: str) -> ModelSpec:
        names = outputs.split()
        graphs = tuple(
            graph(dtype, "a b", "y" if i else outputs, ops, {"c": np.full(SHAPE, 2)})
            for i, ops in enumerate(parts)
        )
        first, second = (" ".join(f"{letter}{i}" for i in range(len(names))) for letter in "rs")
        operators = [
            (op, "a b", first, {field: 1}),
            ("ADD", "r0 a", "u"),
            (op, "u b", second, {field: 1}),
        ]
        return graph(dtype, "a b", f"{first} {second}", operators, subgraphs=graphs)

    return build


CHOICES: tuple[tuple[list[Any], Callable[[Any, Any], Any]], ...] = (
    ([("ADD", "a b", "y")], lambda a, b: a + b),
    ([("SUB", "b a", "u"), ("MUL", "u c", "y")], lambda a, b: (b - a) * 2),
    ([("MAXIMUM", "a b", "y")], lambda a, b: np.maximum(a, b)),
    ([("SUB", "a c", "y")], lambda a, _: a - 2),
)


def case_model(count: int) -> Build:
    """y = the choice number k of the first `count`, the last one for a number that none has."""

    def build(dtype: str) -> ModelSpec:
        parts = tuple(graph(dtype, "a b", "y", ops, {"c": np.full(SHAPE, 2)}) for ops, _ in CHOICES[:count])
        choose = ("STABLEHLO_CASE", "k a b", "y", {"branch_subgraph_indices": tuple(range(1, count + 1))})
        return graph(dtype, "k a b", "z", [choose, ("ADD", "y a", "z")], subgraphs=parts)

    return build


def _chosen(k: Any, a: Any, b: Any, count: int) -> list[Any]:
    return [CHOICES[int(k) if 0 <= k < count else count - 1][1](a, b) + a]


def while_model(body: list[Any], carried: str, after: str, op: str = "WHILE") -> Build:
    """While n is not 0 carried = after, where the body takes one off n; `n` and `m` are scalars."""

    def build(dtype: str) -> ModelSpec:
        test = graph(dtype, f"n {carried}", "t", [("CAST", "n", "t")])
        take = [("SUB", "n none", "nn"), *body]
        step = graph(dtype, f"n {carried}", f"nn {after}", take, {"none": 1, "c": np.full(SHAPE, 2)})
        results = " ".join(f"r{i}" for i, _ in enumerate(after.split()))
        operators = [(op, f"n {carried}", f"nr {results}", LOOP)]
        return graph(dtype, f"n {carried}", f"nr {results}", operators, subgraphs=(test, step))

    return build


def _variable(operators: list[Any], inputs: str, outputs: str, *subgraphs: Build) -> Build:
    """A model with one resource variable v, which starts as a constant; h is its handle."""

    def build(dtype: str) -> ModelSpec:
        handle = ("VAR_HANDLE", "", "h", {"container": "", "shared_name": "v"})
        first = {"first": np.arange(6).reshape(SHAPE)}
        once = graph(dtype, "", "", [handle, ("ASSIGN_VARIABLE", "h first", "")], first)
        parts = (once, *(part(dtype) for part in subgraphs))
        call = ("CALL_ONCE", "", "", {"init_subgraph_index": 1})
        return graph(dtype, inputs, outputs, [call, handle, *operators], {"c": np.full(SHAPE, 2)}, parts)

    return build


def _part(inputs: str, outputs: str, operators: list[Any]) -> Build:
    return lambda dtype: graph(dtype, inputs, outputs, operators, {"c": np.full(SHAPE, 2)})


READ = ("READ_VARIABLE", "h", "v")
ADDED = [READ, ("ADD", "v a", "w"), ("ASSIGN_VARIABLE", "h w", "")]
"""v += a."""
AB = (X((), dtype="bool"), X(SHAPE), X(SHAPE))
NAB = (X((), (0, 5)), X(SHAPE), X(SHAPE))

IFS = {
    "add or multiply": ([("ADD", "a b", "y")], [("MUL", "a b", "y")], "y"),
    "an operand as it is": ([("ADD", "a c", "y")], [("RESHAPE", "b", "y", {"new_shape": SHAPE})], "y"),
    "two results": (
        [("ADD", "a b", "y"), ("SUB", "a b", "z")],
        [("SUB", "b a", "y"), ("ADD", "b c", "z")],
        "y z",
    ),
    "operands handed on": ([], [], "a b"),
    "a chain": (
        [("ADD", "a b", "u"), ("MUL", "u b", "y")],
        [("MAXIMUM", "a b", "u"), ("SUB", "u c", "y")],
        "y",
    ),
}
WHILES = {
    "a sum": ([("ADD", "a b", "y")], "a b", "y b"),
    "swapped": ([], "a b", "b a"),
    "both from both": ([("ADD", "a b", "y"), ("SUB", "a b", "z")], "a b", "y z"),
    "one from the other": ([("ADD", "a c", "y")], "a b", "y a"),
    "the same twice": ([("MAXIMUM", "a b", "y")], "a b", "y y"),
    "a constant": ([("ADD", "a c", "y")], "a b", "y c"),
}  # fmt: skip


def _crossed(n: Any, a: Any, b: Any, case: str) -> list[Any]:
    """TFLite computes sums in the place of an operand that the body still hands on."""
    for _ in range(int(n)):
        a, b = (b, a) if case == "swapped" else (a + 2, a)
    return [np.zeros_like(n), a, b]


def _repeated(n: Any, a: Any, b: Any, case: str) -> list[Any]:
    """What a loop of `WHILES` does; TFLite has no kernel of STABLEHLO_WHILE."""
    steps: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
        "a sum": lambda a, b: (a + b, b),
        "swapped": lambda a, b: (b, a),
        "both from both": lambda a, b: (a + b, a - b),
        "one from the other": lambda a, _: (a + 2, a),
        "the same twice": lambda a, b: (np.maximum(a, b),) * 2,
        "a constant": lambda a, _: (a + 2, np.full_like(a, 2)),
    }
    for _ in range(int(n)):
        a, b = steps[case](a, b)
    return [np.zeros_like(n), a, b]


CALLS: dict[str, tuple[tuple[list[Any], ...], str, Callable[[Any, Any], list[Any]]]] = {
    "one operator": (([("ADD", "a b", "y")],), "y", lambda a, b: [a + b]),
    "a chain": (
        ([("MUL", "a b", "u"), ("SUB", "u c", "v"), ("MAXIMUM", "v b", "y")],),
        "y",
        lambda a, b: [np.maximum(a * b - 2, b)],
    ),
    "two results": (
        ([("ADD", "a b", "y"), ("SUB", "y c", "z")],),
        "y z",
        lambda a, b: [a + b, a + b - 2],
    ),
    "an operand as it is": (([("ADD", "a b", "y")],), "y b", lambda a, b: [a + b, b]),
    "the same twice": (([("ADD", "a c", "y")],), "y y", lambda a, _: [a + 2, a + 2]),
    "a constant": (([("ADD", "a b", "y")],), "y c", lambda a, b: [a + b, np.full_like(a, 2)]),
    "a call in a call": (
        ([("CALL", "b a", "u", {"subgraph": 2}), ("ADD", "u a", "y")], [("SUB", "a c", "y")]),
        "y",
        lambda a, b: [b - 2 + a],
    ),
}


def _twice(part: Callable[[Any, Any], list[Any]]) -> Callable[..., list[Any]]:
    def called(a: Any, b: Any, case: str) -> list[Any]:  # noqa: ARG001
        first = part(a, b)
        return [*first, *part(first[0] + a, b)]

    return called


CROSSED = ("swapped", "one from the other")
CASES = [
    *(
        Case(
            "STABLEHLO_CASE",
            (X((), (k, k), "int32"), X(SHAPE), X(SHAPE)),
            {"count": count},
            types=COUNT,
            graphs=case_model(count),
            expect=_chosen,
            late=True,
        )
        for count in (1, 2, 3, 4)
        for k in range(-1, count + 1)
    ),
    *(
        Case(
            op,
            (X(SHAPE), X(SHAPE)),
            {"case": name},
            types=COUNT,
            graphs=call_model(op, field, parts, outputs),
            outputs=2 * len(outputs.split()),
            expect=_twice(part),
            late=op == "STABLEHLO_COMPOSITE" and name not in ("the same twice", "a call in a call"),
        )
        for op, field in (("CALL", "subgraph"), ("STABLEHLO_COMPOSITE", "decomposition_subgraph_index"))
        for name, (parts, outputs, part) in CALLS.items()
    ),  # TFLite has no kernel of CALL, and leaves one of two equal outputs of a COMPOSITE as it was
    *(
        Case(
            "STABLEHLO_WHILE",
            (X((), (trips, trips)), *NAB[1:]),
            {"case": name},
            types=("int32",),
            graphs=while_model(*build, op="STABLEHLO_WHILE"),
            outputs=3,
            expect=_repeated,
        )
        for name, build in WHILES.items()
        for trips in (0, 1, 2, 5)
    ),
    *(
        Case("IF", AB, {"case": name}, types=COUNT, graphs=_if(*build), outputs=len(build[2].split()), runs=4)
        for name, build in IFS.items()
    ),
    *(
        Case(
            "WHILE",
            (X((), (trips, trips)), *NAB[1:]),
            {"case": name},
            types=("int32",),
            graphs=while_model(*build),
            outputs=3,
            expect=_crossed if name in CROSSED else None,
        )
        for name, build in WHILES.items()
        for trips in (0, 1, 2, 5)
    ),
    Case(
        "CALL_ONCE",
        (X(SHAPE),),
        types=COUNT,
        graphs=_variable([READ, ("ADD", "v a", "y")], "a", "y"),
        runs=2,
    ),
    Case(
        "READ_VARIABLE",
        (X(SHAPE),),
        types=COUNT,
        graphs=_variable([*ADDED, ("MUL", "w c", "y")], "a", "y"),
        runs=3,
    ),
    Case("ASSIGN_VARIABLE", (X(SHAPE),), types=COUNT, graphs=_variable(ADDED, "a", "v"), runs=3),
    Case(
        "VAR_HANDLE",
        (X(SHAPE),),
        types=COUNT,
        graphs=_variable([*ADDED, *([("READ_VARIABLE", "h", "y")])], "a", "y"),
        runs=3,
    ),
    Case(
        "ASSIGN_VARIABLE",
        (X((), dtype="bool"), X(SHAPE)),
        {"case": "in a branch"},
        types=FLOAT,
        graphs=_variable(
            [
                ("IF", "t a", "y", {"then_subgraph_index": 2, "else_subgraph_index": 3}),
                ("READ_VARIABLE", "h", "z"),
            ],
            "t a",
            "y z",
            _part("a", "w", [("VAR_HANDLE", "", "h", {"container": "", "shared_name": "v"}), *ADDED]),
            _part("a", "y", [("MUL", "a c", "y")]),
        ),
        outputs=2,
        runs=5,
    ),
]
