"""RNG_BIT_GENERATOR: blocks of random words of a key and a counter that the model keeps.

Unlike those of `runtime.decompose.random`, whose key is in the file, these are computed in MAPs, a LOOP over
the rounds. Source: Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (SC 2011), §3; what is key and
what is counter in the state is from TFLite's rng_bit_generator.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.atoms import Map, Region, View
from runtime.decompose.bitcast import bitcast
from runtime.decompose.rule import Lowering, Program, call, const, load
from runtime.decompose.steps import Step, over_time
from runtime.graph import Array, DType

PHILOX_ROUNDS = 10
PHILOX_FACTORS = (0xD2511F53, 0xCD9E8D57)
PHILOX_KEYS = (0x9E3779B9, 0xBB67AE85)
"""What a round adds to the two words of the key."""
THREEFRY_ROUNDS = 20
THREEFRY_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
"""Of the rounds in turn."""
THREEFRY_PARITY = 0x1BD11BDA
WORD = 2**32


def bit_generator(low: Lowering) -> None:
    """The bits that are asked for, and the state with its counter behind the blocks that were made."""
    state, bits = low.x.value(0), low.values[low.node.outputs[1]]
    known = (DType.I32, DType.U32, DType.I64, DType.U64)
    if {state.dtype, low.out.dtype} != {DType.U64} or bits.dtype not in known:
        low.types()
    rounds, lanes = (threefry, 2) if low.x.attr("algorithm") == "THREEFRY" else (philox, 4)
    words = bits.elements * bits.dtype.size // 4
    blocks = -(-words // lanes)
    regions = [Region(i, View(0, (1,)), View(i, (lanes,)), (-(-(words - i) // lanes),)) for i in range(lanes)]
    filled = [region for region in regions if region.sizes[0] > 0]
    shape = (bits.elements, 2) if bits.dtype.size == 8 else (words,)
    whole = low.raster(filled, rounds(low, blocks)[: len(filled)], low.temp(shape, DType.U32))
    low.by(bitcast, "BITCAST", [whole], output=low.node.outputs[1])
    moved = np.zeros(state.shape, np.int64)
    moved[1] = blocks
    low.map(call("add", load(0), load(1)), [low.node.inputs[0], low.constant(moved)], compute="i64")


def philox(low: Lowering, blocks: int) -> list[int]:
    """Philox 4x32-10. The upper half of the counter is the state's last number, or its key."""
    upper = 2 if low.x.shape(0) == (3,) else 0
    keys = words_of(low, 0, 1, counting=False)
    counter = [*words_of(low, 1, blocks), *words_of(low, upper, blocks, counting=False)]
    rounds = np.arange(PHILOX_ROUNDS, dtype=np.uint64)
    added = [low.constant((rounds * np.uint64(key) % WORD).astype(np.uint32)) for key in PHILOX_KEYS]

    def step(body: Lowering, slices: Sequence[int], x: Sequence[int]) -> tuple[list[int], list[int]]:
        after = []
        for i, factor in enumerate(reversed(PHILOX_FACTORS)):
            product = call("mul", load(0), const(factor))
            key = low_word(call("add", load(2), load(3)))
            mixed = call("xor", call("xor", high_word(product), load(1)), key)
            operands = [x[2 - 2 * i], x[1 + 2 * i], body.use(keys[i]), slices[i]]
            after += [
                words(body, mixed, operands, blocks),
                words(body, low_word(product), operands[:1], blocks),
            ]
        return [], after

    return after_rounds(low, PHILOX_ROUNDS, added, counter, step)


def threefry(low: Lowering, blocks: int) -> list[int]:
    """Threefry 2x32-20: every fourth round ends with an addition of two of the three words of the key."""
    keys = words_of(low, 0, 1, counting=False)
    parity = call("xor", call("xor", load(0), load(1)), const(THREEFRY_PARITY))
    keys.append(words(low, parity, keys, 1))
    whitened = low_word(call("add", load(0), load(1)))
    counter = [
        words(low, whitened, [word, key], blocks)
        for word, key in zip(words_of(low, 1, blocks), keys, strict=False)
    ]
    rotations = np.resize(THREEFRY_ROTATIONS, THREEFRY_ROUNDS).astype(np.int64)
    sequences = [low.constant(2**rotations), low.constant(32 - rotations), *injected(low, keys)]

    def step(body: Lowering, slices: Sequence[int], x: Sequence[int]) -> tuple[list[int], list[int]]:
        total = call("add", load(0), load(1))
        left, right = call("mul", load(1), load(2)), call("shift_floor", load(1), load(3))
        mixed = call("xor", call("add", low_word(left), right), low_word(total))
        first, second = (low_word(call("add", number, load(i))) for number, i in ((total, 2), (mixed, 4)))
        power, shift, *key = slices
        return [], [
            words(body, first, [*x, key[0]], blocks),
            words(body, second, [*x, power, shift, key[1]], blocks),
        ]

    return after_rounds(low, THREEFRY_ROUNDS, sequences, counter, step)


def injected(low: Lowering, keys: Sequence[int]) -> list[int]:
    """What each round adds to either word: nothing, or a word of the key, to the second one a count too."""
    chosen, counts = np.zeros((2, THREEFRY_ROUNDS, 3), np.int32), np.zeros((2, THREEFRY_ROUNDS), np.int32)
    for count in range(1, THREEFRY_ROUNDS // 4 + 1):
        for word in range(2):
            chosen[word, 4 * count - 1, (count + word) % 3] = 1
            counts[word, 4 * count - 1] = count * word
    total: Program = load(6)
    for i in range(3):
        total = call("add", total, call("mul", load(i), load(3 + i)))
    return [
        words(
            low,
            low_word(total),
            [*keys, *(low.constant(np.ascontiguousarray(c)) for c in (*chosen[word].T, counts[word]))],
            THREEFRY_ROUNDS,
        )
        for word in range(2)
    ]


def after_rounds(
    low: Lowering, rounds: int, sequences: list[int], states: list[int], step: Step
) -> list[int]:
    finals = [low.temp(low.values[i].shape, DType.U32) for i in states]
    over_time(low, rounds, sequences, states, finals, step)
    return finals


def words(low: Lowering, program: Program, operands: Sequence[int], count: int) -> int:
    """[count] words by a program of 64 bits; operands of one element are the same for each."""
    return low.map(program, operands, low.temp((count,), DType.U32), "i64")


def words_of(low: Lowering, position: int, count: int, counting: bool = True) -> list[int]:
    """[count] low and high words of a number of the state, or of it plus 0, 1, 2 and so on."""
    added: Array = np.arange(count, dtype=np.int64) if counting else np.zeros(1, np.int64)
    number, views = call("add", load(0), load(1)), (View(position, (0,)), View(0, (int(counting),)))
    operands = [low.node.inputs[0], low.constant(added)]
    return [
        low.emit(
            Map((count,), views, View(0, (1,)), half(number), "i64"), operands, low.temp((count,), DType.U32)
        )
        for half in (low_word, high_word)
    ]


def low_word(number: Program) -> Program:
    return call("bit_and", number, const(WORD - 1))


def high_word(number: Program) -> Program:
    return low_word(call("shift_floor", number, const(32)))


RULES = {"STABLEHLO_RNG_BIT_GENERATOR": bit_generator}
