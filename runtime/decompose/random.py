"""Random numbers: RNG gives TFLite's stream of words, MAP makes a distribution of them.

The stream starts anew in every run, so that a replay gives the same numbers. TFLite's first run gives these
numbers too, and its later runs go on in the stream; with both seeds 0, where TFLite takes a seed from the
system, the stream is that of seed 0. Source: TFLite's random_ops.cc, TSL's random_distributions_utils.h.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Map, Reduce, Region, Rng, View
from runtime.decompose.rule import Lowering, call, const, load
from runtime.decompose.scan import running_sums
from runtime.graph import DType
from runtime.strides import dense

LOWEST = float(np.finfo(np.float32).min)


def words(low: Lowering, count: int) -> int:
    """The first `count` words of the operator's stream; of a seed TFLite keeps the low 32 bits, as signed."""
    seed, stream = (_signed(int(low.x.attr(name))) % 2**64 for name in ("seed", "seed2"))
    return low.emit(Rng(seed, stream), [], low.temp((count,), DType.I32))


def _signed(seed: int) -> int:
    return (seed + 2**31) % 2**32 - 2**31


def unit(low: Lowering, count: int, output: int) -> int:
    """`count` numbers in [0, 1): the low 23 bits of each word."""
    bits = call("floor_mod", load(0), const(1 << 23))
    whole = low.map(bits, [words(low, count)], low.temp((count,), DType.I32), "i32")
    return low.map(call("mul", load(0), const(2.0**-23)), [whole], output, sizes=(count,))


def uniform(low: Lowering) -> None:
    if low.out.dtype is not DType.F32:
        low.types()
    unit(low, low.out.elements, low.node.outputs[0])


def normal(low: Lowering) -> None:
    """Box-Muller: of each pair of numbers the sine and the cosine of one angle."""
    if low.out.dtype is not DType.F32:
        low.types()
    count = low.out.elements
    pairs = -(-count // 2)
    numbers = unit(low, 2 * pairs, low.temp((2 * pairs,), DType.F32))
    radius = call("sqrt", call("mul", const(-2.0), call("log", call("max", load(0), const(1e-7)))))
    angle = call("mul", const(2 * math.pi), load(1))
    waves, regions = [], []
    for i, wave in enumerate(("sin", "cos")):
        views = View(0, (2,)), View(1, (2,))
        atom = Map((pairs,), views, View(0, (1,)), call("mul", call(wave, angle), radius))
        waves.append(low.emit(atom, [numbers, numbers], low.temp((pairs,), DType.F32)))
        regions.append(Region(i, View(0, (1,)), View(i, (2,)), ((count + 1 - i) // 2,)))
    low.raster([region for region in regions if region.sizes != (0,)], waves)


def multinomial(low: Lowering) -> None:
    """How many cumulative weights are not above a random part of their total.

    TFLite does this in double precision: a sample differs where the part lies within float rounding of a
    weight.
    """
    batch, classes = low.x.shape(0)
    samples = low.out.shape[1]
    if low.x.value(0).dtype is not DType.F32 or low.out.dtype not in (DType.I32, DType.I64):
        low.types()
    sums = _cumulative(low, batch, classes)
    sizes = (batch, samples, classes)
    views = (
        View(0, (classes, 0, 1)),
        View(classes - 1, (classes, 0, 0)),
        View(0, (samples, 1, 0)),
    )
    passed = call("le", load(0), call("mul", load(2), load(1)))
    inputs = [sums, sums, _fine_unit(low, batch * samples)]
    found = low.emit(Map(sizes, views, dense(sizes), passed), inputs, low.temp(sizes, low.out.dtype))
    low.emit(Reduce("sum", batch * samples, classes, 1), [found])


def _cumulative(low: Lowering, batch: int, classes: int) -> int:
    """exp(logits - greatest) added up along each row; what is not finite weighs nothing."""
    finite = call("lt", call("abs", load(0)), const(math.inf))
    logits, sizes = low.node.inputs[0], (batch, classes)
    bounded = low.map(call("select", finite, load(0), const(LOWEST)), [logits], low.temp(sizes, DType.F32))
    greatest = low.emit(Reduce("max", batch, classes, 1), [bounded], low.temp((batch, 1), DType.F32))
    weight = call("select", finite, call("exp", call("sub", load(0), load(1))), const(0.0))
    weights = low.map(weight, [logits, greatest], low.temp(sizes, DType.F32))
    if classes == 1:
        return weights
    sums = low.temp(sizes, DType.F32)
    running_sums(low, weights, (batch, classes, 1), False, sums)
    return sums


def _fine_unit(low: Lowering, count: int) -> int:
    """(count,) numbers in [0, 1) of two words each: 20 bits of the first, then 4 of the second."""
    high = call("mul", call("floor_mod", load(0), const(1 << 20)), const(16))
    nibble = call("floor_mod", call("floor_div", load(1), const(1 << 28)), const(16))
    stream, views = words(low, 2 * count), (View(0, (2,)), View(1, (2,)))
    atom = Map((count,), views, View(0, (1,)), call("add", high, nibble), "i32")
    whole = low.emit(atom, [stream, stream], low.temp((count,), DType.I32))
    return low.map(call("mul", load(0), const(2.0**-24)), [whole], low.temp((count,), DType.F32))


RULES = {"RANDOM_UNIFORM": uniform, "RANDOM_STANDARD_NORMAL": normal, "MULTINOMIAL": multinomial}
