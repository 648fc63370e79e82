"""`make conformance`: every case against TFLite's reference kernels or onnxruntime, printed by operator.

`python -m tests.conformance SVDF LSTM` takes the cases of these operators only.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from typing import Any

from runtime.backends.tflite import interpreter_module
from runtime.operators import OPERATORS
from tests.conformance import CASES
from tests.conformance.judge import judge


def tflite_interpreter(model: bytes, resolver: str = "BUILTIN_REF") -> Any:
    module = interpreter_module()
    kind = module.OpResolverType[resolver]
    made = module.Interpreter(model_content=model, experimental_op_resolver_type=kind, num_threads=1)
    made.allocate_tensors()
    return made


def main(names: list[str]) -> int:
    return tflite(names) | onnx(names)


def tflite(names: list[str]) -> int:
    operators = [op for op in sorted(OPERATORS) if not names or op in names]
    cases, failed, types = Counter[str](), Counter[str](), dict[str, set[str]]()
    for case in CASES:
        for dtype in case.types if case.op in operators else ():
            cases[case.op] += 1
            types.setdefault(case.op, set()).add(dtype)
            try:
                judge(case, dtype, tflite_interpreter)
            except Exception as error:
                failed[case.op] += 1
                print(f"{case} {dtype}: {error}", file=sys.stderr)
    print(f"{'operator':32} {'cases':>6} {'failed':>6}  element types")
    for op in operators:
        print(f"{op:32} {cases[op]:6} {failed[op]:6}  {' '.join(sorted(types.get(op, ())))}")
    print(f"{len(operators)} operators, {cases.total()} cases, {failed.total()} failed")
    return 1 if failed or set(cases) != set(operators) else 0


def onnx(names: list[str]) -> int:
    """The operators of ONNX, against onnxruntime. Those that need an operator which is not there yet wait."""
    if missing := [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]:
        print(f"ONNX: skipped, {' and '.join(missing)} not installed")
        return 0
    from runtime.importers.onnx.translate import ROWS
    from tests.conformance import onnx as table
    from tests.conformance.onnx.judge import WaitingError
    from tests.conformance.onnx.judge import judge as judge_onnx

    operators = [op for op in sorted(ROWS) if not names or op in names]
    cases, failed, waiting = Counter[str](), Counter[str](), Counter[str]()
    for case in table.CASES:
        for opset in case.opsets if case.op in operators else ():
            cases[case.op] += 1
            try:
                judge_onnx(case, opset)
            except WaitingError:
                waiting[case.op] += 1
            except Exception as error:
                failed[case.op] += 1
                print(f"{case} opset {opset}: {error}", file=sys.stderr)
    print(f"{'ONNX operator':32} {'cases':>6} {'failed':>6} {'waiting':>7}")
    for op in operators:
        print(f"{op:32} {cases[op]:6} {failed[op]:6} {waiting[op]:7}")
    done = f"{len(operators)} operators, {cases.total()} cases, {failed.total()} failed"
    print(f"{done}, {waiting.total()} waiting")
    return 1 if failed or set(cases) != set(operators) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
