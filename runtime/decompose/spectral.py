"""RFFT2D as matrix products, and REAL, IMAG, COMPLEX_ABS on its pairs of floats (`runtime.pairs`).

A transform of n numbers is a product with an n x n table of cosines and sines, the best there is while n is
small. A longer one, n = a * b, is the four steps of Bailey (FFTs in external or hierarchical memory, 1990):
b transforms of length a, a turn of each number, a transforms of length b, a transposition:
X[i + a k] = sum_l w_b^(l k) w_n^(l i) sum_j w_a^(j i) x[b j + l]. Of floats half of the i are enough.
"""

from __future__ import annotations

import math

import numpy as np

from runtime.atoms import Clamp, Gemm, Map, Region, View
from runtime.decompose.rule import Lowering, call, const, load
from runtime.graph import Array, DType
from runtime.pairs import seen
from runtime.shapes.operands import MAX_MADE
from runtime.shapes.spectral import lengths
from runtime.strides import dense

LONGEST = 64
"""Numbers of a transform of a row that one product makes; along columns it is always one."""


def rfft2d(low: Lowering) -> None:
    """Rows first, of floats, by their first half of frequencies; then columns, of pairs."""
    if low.x.value(0).dtype is not DType.F32 or low.out.pairs is None:
        low.types()
    (height, width), (rows, columns) = lengths(low.x), low.x.shape(0)[-2:]
    images = math.prod(low.x.shape(0)[:-2])
    rows = min(rows, height)
    if max(4 * width, 2 * height * rows) > MAX_MADE:
        raise low.lacking(f"a transform of {height} x {width} needs more than {MAX_MADE} waves")
    x = fitted(low, images, rows, columns, width)
    one = height == 1
    shape = (images * rows, 2 * (width // 2 + 1))
    spectra = low.node.outputs[0] if one else low.temp(shape, DType.F32)
    along_rows(low, x, images * rows, width, spectra)
    if not one:
        along_columns(low, spectra, images, rows, height, shape[1])


def fitted(low: Lowering, images: int, rows: int, columns: int, width: int) -> int:
    """The operand with as many rows, and rows as long, as the transform takes; zeros at their ends."""
    source = low.x.shape(0)
    if source[-2:] == (rows, width):
        return low.node.inputs[0]
    kept = (images, rows, min(columns, width))
    from_, to = (dense((images, *shape)).strides for shape in (source[-2:], (rows, width)))
    out = low.temp((images, rows, width), DType.F32)
    return low.raster([Region(0, View(0, from_), View(0, to), kept)], [low.node.inputs[0]], out, fill=0)


def along_rows(low: Lowering, x: int, rows: int, n: int, out: int) -> None:
    """[rows, n] floats -> [rows, n // 2 + 1] pairs."""
    if n <= LONGEST:
        table = low.constant(pairs_of(waves(n, n, n // 2 + 1), -1).reshape(n, -1))
        product(low, (1, rows, n, table), x, View(0, (0, n, 1)), out)
        return
    a = 2 ** (n.bit_length() // 2)
    b, half = n // a, a // 2 + 1
    table = low.constant(pairs_of(waves(a, a, half), -2).reshape(a, 2 * half))
    first = product(low, (rows, b, a, table), x, View(0, (n, 1, b)), low.temp((rows, b, 2 * half), DType.F32))
    between = turned(low, first, rows, n, b, half)
    second = low.temp((rows, half, 2 * b), DType.F32)
    table = low.constant(turning(waves(b, b, b)))
    product(low, (rows, half, 2 * b, table), between, View(0, (2 * b * half, 1, half)), second)
    in_order(low, second, rows, a, b, out)


def turned(low: Lowering, x: int, rows: int, n: int, b: int, half: int) -> int:
    """[rows, l, part, i], each number times w^(l i), as [rows, part, l, i]."""
    angles = waves(n, b, half)
    across = np.stack((-angles.imag, angles.imag), 1)
    operands = [x, x, *(low.constant(table.astype(np.float32)) for table in (angles.real, across))]
    row = 2 * b * half
    views = (
        View(0, (row, 2 * half, half, 1)),
        View(half, (row, 2 * half, -half, 1)),
        View(0, (0, half, 0, 1)),
        View(0, (0, 2 * half, half, 1)),
    )
    program = call("add", call("mul", load(0), load(2)), call("mul", load(1), load(3)))
    target = low.temp((rows, 2, b, half), DType.F32)
    by_parts = View(0, (row, half, b * half, 1))
    return low.emit(Map((rows, b, 2, half), views, by_parts, program), operands, target)


def in_order(low: Lowering, x: int, rows: int, a: int, b: int, out: int) -> None:
    """[rows, i, k] pairs to their place i + a k, up to n / 2.

    Of the i there are those up to a / 2: the others are conjugates of what is as far from the end, and
    `turning` has made conjugates of the upper half of k.
    """
    line, row, length = 2 * b, (a // 2 + 1) * 2 * b, a * b + 2
    regions = [
        Region(0, View(0, (row, 2, line, 1)), View(0, (length, 2 * a, 2, 1)), (rows, b // 2, a // 2 + 1, 2)),
        Region(
            0,
            View((a // 2) * line - 2, (row, -2, -line, 1)),
            View(a + 2, (length, 2 * a, 2, 1)),
            (rows, b // 2, a // 2 - 1, 2),
        ),
        Region(0, View(b, (row, 1)), View(length - 2, (length, 1)), (rows, 2)),
    ]
    low.raster(regions, [x], out)


def along_columns(low: Lowering, x: int, images: int, rows: int, height: int, width: int) -> None:
    """[images, rows, width / 2] pairs -> [images, height, width / 2] pairs, by cosines and by sines."""
    angles = waves(height, height, rows)
    table = low.constant(np.concatenate((angles.real, -angles.imag)).astype(np.float32))
    both = low.temp((images, 2, height, width), DType.F32)
    a, b = View(0, (0, rows, 1)), View(0, (rows * width, width, 1))
    c = dense((images, 2 * height, width))
    low.emit(Gemm(images, 2 * height, width, rows, a, b, c, Clamp()), [table, x], both)
    signs = low.constant(np.array((1, -1), np.float32))
    sizes, half = (images, height, width // 2, 2), height * width
    views = (
        View(0, (2 * half, width, 2, 1)),
        View(half + 1, (2 * half, width, 2, -1)),
        View(0, (0, 0, 0, 1)),
    )
    program = call("add", load(0), call("mul", load(1), load(2)))
    low.emit(Map(sizes, views, dense(sizes), program), [both, both, signs])


def product(low: Lowering, sizes: tuple[int, int, int, int], x: int, view: View, out: int) -> int:
    """GEMM with a table [k, n], of sizes (batch, m, k, the table); dense."""
    batch, m, k, table = sizes
    n = low.values[table].shape[1]
    atom = Gemm(batch, m, n, k, view, View(0, (0, n, 1)), dense((batch, m, n)), Clamp())
    return low.emit(atom, [x, table], out)


def waves(n: int, rows: int, columns: int) -> Array:
    """exp(-2 pi i j k / n) for j below `rows` and k below `columns`; the angle is reduced exactly."""
    turns = np.outer(np.arange(rows), np.arange(columns)) % n
    result: Array = np.exp(-2j * np.pi / n * turns)
    return result


def pairs_of(numbers: Array, axis: int) -> Array:
    """By what a float is multiplied for the two parts of its product with each number."""
    parts: Array = np.stack((numbers.real, numbers.imag), axis).astype(np.float32)
    return parts


def turning(numbers: Array) -> Array:
    """[2 rows, 2 columns]: pairs times it, by parts, are products of complex numbers, and the upper half of
    the columns their conjugates.
    """
    both = np.concatenate((numbers, 1j * numbers))
    half = numbers.shape[1] // 2
    both = np.concatenate((both[:, :half], both[:, half:].conj()), 1)
    return pairs_of(both, -1).reshape(len(both), -1)


def expect_pairs(low: Lowering) -> None:
    if low.x.value(0).pairs is None or seen(low.out)[1] is not DType.F32:
        low.types()


def real(low: Lowering) -> None:
    expect_pairs(low)
    low.copy(View(0, (2,)), (low.out.elements,))


def imag(low: Lowering) -> None:
    expect_pairs(low)
    low.copy(View(1, (2,)), (low.out.elements,))


def absolute(low: Lowering) -> None:
    """As C's hypotf: in double, so that no square overflows; infinite if a part is, even beside a NaN."""
    expect_pairs(low)
    elements = (low.out.elements,)
    length = call("sqrt", call("add", call("square", load(0)), call("square", load(1))))
    infinite = [call("eq", call("abs", load(i)), const(math.inf)) for i in (0, 1)]
    program = call("select", call("or", *infinite), const(math.inf), length)
    atom = Map(elements, (View(0, (2,)), View(1, (2,))), dense(elements), program, "f64")
    low.emit(atom, [low.node.inputs[0]] * 2)


RULES = {"RFFT2D": rfft2d, "REAL": real, "IMAG": imag, "COMPLEX_ABS": absolute}
