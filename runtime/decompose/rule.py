"""What every decomposition rule works with: one node's operands, and the atoms that replace it.

A rule is a function of one `Lowering`: it reads the operands and emits atoms whose last one writes the node's
outputs. Programs of MAP are written with `load`, `const` and `call`, and concatenate as tuples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import numpy as np

from runtime.atoms import MAX_RANK, Atom, Gather, Instruction, Map, Raster, Region, Scatter, View
from runtime.errors import UnsupportedError
from runtime.graph import Array, DType, Node, Shape, Value
from runtime.pairs import seen
from runtime.primitives import Compute
from runtime.quantized import I32_MAX, I32_MIN, float32_product, quantize_multiplier, round_half_away
from runtime.shapes.operands import MAX_ELEMENTS, Operands
from runtime.strides import broadcast, collapse, dense

Program = tuple[Instruction, ...]
BYTES = (DType.I8, DType.U8)
Kernels = Literal["reference", "builtin"]
"""TFLite's two sets of kernels (its `OpResolverType`). Measured on tflite-runtime 2.14: they agree but for
CONV_2D and FULLY_CONNECTED on int8, where the builtin ones round ties up and the reference away from zero,
and SUM and MEAN on bytes, which the builtin ones scale in floats, or with a bias in the mean of an image.
SOFTMAX and LOG_SOFTMAX on bytes are always the reference's: the builtin ones have tables of their own on
each kind of processor, which now and then give a neighbouring step.
"""
MAX_REGIONS = 4096
"""Of one RASTER, for what no view of MAX_RANK dimensions describes."""
MOVED: dict[type[Atom], tuple[int, ...]] = {Gather: (0,), Scatter: (0, 2)}
"""The operands of an atom that have the element type of its output."""
SMALLEST, LARGEST = 2.0**-126, 2.0**64
"""Scales whose float32 arithmetic neither loses bits nor overflows at once."""


def load(i: int) -> Program:
    return (Instruction("load", (i,)),)


def const(number: float) -> Program:
    return (Instruction("const", (number,)),)


def call(name: str, *operands: Program, args: tuple[float, ...] = ()) -> Program:
    """Push the operands, then apply the primitive."""
    return (*(step for operand in operands for step in operand), Instruction(name, args))


class Lowering:
    """One node being replaced. `x` answers questions about its operands; `nodes` collects the atoms."""

    def __init__(self, values: list[Value], node: Node, kernels: Kernels) -> None:
        self.values, self.node, self.kernels, self.nodes = values, node, kernels, list[Node]()
        self.x = Operands(node, tuple(None if i < 0 else values[i] for i in node.inputs))

    @property
    def out(self) -> Value:
        return self.values[self.node.outputs[0]]

    def lacking(self, what: str) -> UnsupportedError:
        return UnsupportedError(f"{self.node.source}: {what}; the tflite backend may run this model")

    def types(self) -> NoReturn:
        """Refuses a combination of element types for which there is no rule."""
        names = [seen(value)[1].value for value in (*self.x.values, self.out) if value is not None]
        raise self.lacking(f"no rule for element types {' '.join(names)}")

    def by(
        self,
        rule: Rule,
        op: str,
        inputs: Sequence[int],
        attrs: Mapping[str, Any] | None = None,
        output: int | None = None,
    ) -> int:
        """The atoms of another operator on these operands, to the node's own outputs or to another value."""
        outputs = self.node.outputs if output is None else (output,)
        node = Node(op, tuple(inputs), outputs, MappingProxyType(attrs or {}), self.node.source)
        inner = Lowering(self.values, node, self.kernels)
        rule(inner)
        self.nodes += inner.nodes
        return outputs[0]

    # ---------------------------------------------------------------- values and atoms

    def use(self, index: int) -> int:
        """A value of the node's graph, where the atoms go."""
        return index

    def temp(self, shape: Shape, dtype: DType) -> int:
        """A new value for something between two atoms."""
        if (elements := math.prod(shape)) > MAX_ELEMENTS:
            raise self.lacking(f"needs {elements} elements in between, at most {MAX_ELEMENTS}")
        self.values.append(Value(f"{self.out.name}/{len(self.nodes)}", shape, dtype))
        return len(self.values) - 1

    def constant(self, data: Array) -> int:
        value = Value(f"{self.out.name}/const", data.shape, DType.of(data), data=data)
        self.values.append(value)
        return len(self.values) - 1

    def emit(self, atom: Atom, inputs: Sequence[int], output: int | None = None) -> int:
        """Appends an atom that writes `output`, by default the node's first output; returns the value id."""
        target = self.node.outputs[0] if output is None else output
        moved = [self.values[inputs[i]].dtype for i in MOVED.get(type(atom), ())]
        if any(dtype is not self.values[target].dtype for dtype in moved):
            self.types()
        self.nodes.append(Node(atom.NAME, tuple(inputs), (target,), atom, self.node.source))
        return target

    def map(
        self,
        program: Program,
        inputs: Sequence[int],
        output: int | None = None,
        compute: Compute = "f32",
        sizes: Shape | None = None,
    ) -> int:
        """Element-wise over the output's shape, or `sizes` of as many elements; inputs broadcast to it."""
        target = self.node.outputs[0] if output is None else output
        sizes = self.values[target].shape if sizes is None else sizes
        views = [broadcast(self.values[i].shape, sizes) for i in inputs]
        merged, (out, *loads) = collapse(sizes, dense(sizes), *views)
        return self.emit(Map(merged, tuple(loads), out, program, compute), inputs, target)

    def raster(
        self,
        regions: Sequence[Region],
        inputs: Sequence[int],
        output: int | None = None,
        fill: float | None = None,
    ) -> int:
        """Moves data of one element type; each region with as few dimensions as it needs.

        A region of more than MAX_RANK dimensions becomes several.
        """
        target = self.node.outputs[0] if output is None else output
        if {self.values[i].dtype for i in inputs} != {self.values[target].dtype}:
            self.types()
        simple = list[Region]()
        for region in regions:
            sizes, (source, destination) = collapse(region.sizes, region.source, region.destination)
            simple += self.few_dimensions(Region(region.input, source, destination, sizes))
        return self.emit(Raster(tuple(simple), fill), inputs, target)

    def few_dimensions(self, region: Region) -> list[Region]:
        """The region as regions of MAX_RANK dimensions at most: the smallest ones are counted out."""
        if len(region.sizes) <= MAX_RANK:
            return [region]
        order = sorted(range(len(region.sizes)), key=lambda axis: region.sizes[axis])
        counted = order[: len(order) - MAX_RANK]
        if (count := math.prod(region.sizes[axis] for axis in counted)) > MAX_REGIONS:
            raise self.lacking(f"needs {count} regions, at most {MAX_REGIONS}")
        rest = [axis for axis in range(len(order)) if axis not in counted]
        sizes = tuple(region.sizes[axis] for axis in rest)
        regions = []
        for index in np.ndindex(*(region.sizes[axis] for axis in counted)):
            source, destination = (
                View(
                    view.offset + sum(i * view.strides[axis] for i, axis in zip(index, counted, strict=True)),
                    tuple(view.strides[axis] for axis in rest),
                )
                for view in (region.source, region.destination)
            )
            regions.append(Region(region.input, source, destination, sizes))
        return regions

    def given(self, data: Array, output: int | None = None) -> int:
        """An output that is known, in its element type."""
        target = self.node.outputs[0] if output is None else output
        constant = self.constant(np.ascontiguousarray(data, self.values[target].dtype.numpy))
        elements = (data.size,)
        return self.raster([Region(0, dense(elements), dense(elements), elements)], [constant], target)

    def copy(self, source: View, sizes: Shape, output: int | None = None, operand: int = 0) -> int:
        """A dense output that is one view of one input."""
        region = Region(0, source, dense(sizes), sizes)
        return self.raster([region], [self.node.inputs[operand]], output)

    def padded(
        self, index: int, pads: Sequence[tuple[int, int]], fill: float, output: int | None = None
    ) -> int:
        """A value with (before, after) more elements along each axis; the value itself for none."""
        value = self.values[index]
        shape = tuple(size + sum(pad) for size, pad in zip(value.shape, pads, strict=True))
        if output is None:
            if shape == value.shape:
                return index
            output = self.temp(shape, value.dtype)
        outer = dense(shape)
        start = sum(pad[0] * stride for pad, stride in zip(pads, outer.strides, strict=True))
        region = Region(0, dense(value.shape), View(start, outer.strides), value.shape)
        return self.raster([region], [index], output, fill)

    # ---------------------------------------------------------------- quantisation and activation

    def quantized(self, value: Value) -> tuple[float, int]:
        """(scale, zero point) of a tensor that is quantised as a whole."""
        scale, zero_point = self.scales(value)
        if len(scale) != 1:
            raise self.lacking(f"{value.name!r} is quantised per axis, expected one scale")
        return scale[0], zero_point[0]

    def scales(self, value: Value) -> tuple[tuple[float, ...], tuple[int, ...]]:
        q = value.quantization
        if q is None or not all(SMALLEST <= scale <= LARGEST for scale in q.scale):
            raise self.x.bad(f"{value.dtype.value} tensor {value.name!r} needs scales in 2^-126..2^64")
        if q.block:
            raise self.lacking(f"{value.name!r} is quantised by block")
        return q.scale, q.zero_point

    def float_range(self) -> tuple[float, float]:
        """Bounds of the fused activation on real numbers."""
        name = self.node.attrs.get("fused_activation_function", "NONE")
        if name not in ACTIVATIONS:
            raise self.lacking(f"no rule for the fused activation {name}")
        return ACTIVATIONS[name]

    def stored_range(self) -> tuple[int, int]:
        """The same bounds on what the output stores (TFLite's CalculateActivationRangeQuantized)."""
        limits = np.iinfo(self.out.dtype.numpy)
        return tuple(
            int(limit)
            if math.isinf(bound)
            else min(max(self.stored(bound, self.out), limits.min), limits.max)
            for limit, bound in zip((limits.min, limits.max), self.float_range(), strict=True)
        )  # type: ignore[return-value]

    def stored(self, real: float, value: Value) -> int:
        scale, zero_point = self.quantized(value)
        steps = float32_product(real, over=scale)
        return zero_point + round_half_away(min(max(steps, float(I32_MIN)), float(I32_MAX)))

    def factor(self, real: float) -> tuple[int, int]:
        """A ratio of scales as (multiplier, shift); refuses one that is beyond 2^30."""
        if real < 2.0**30:
            return quantize_multiplier(real)
        raise self.x.bad(f"scales are too far apart: their ratio is {real:.3g}, expected less than 2^30")


ACTIVATIONS = {
    "NONE": (-math.inf, math.inf),
    "RELU": (0.0, math.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
}
Rule = Callable[[Lowering], Any]


def bounded(program: Program, bounds: tuple[float, float]) -> Program:
    """The program, clamped where there is a bound."""
    return program if bounds == ACTIVATIONS["NONE"] else call("clamp", program, args=bounds)
