"""Random bits of a state that the model keeps: Salmon's generators in plain integers, block by block."""

from __future__ import annotations

from itertools import chain

import numpy as np

from tests.conformance.case import Array, Case, X

DEFAULT, PHILOX, THREEFRY = 0, 1, 2
WORD = 2**32


def philox(key: list[int], counter: list[int]) -> list[int]:
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            second // WORD ^ counter[1] ^ key[0], second % WORD,
            first // WORD ^ counter[3] ^ key[1], first % WORD,
        ]  # fmt: skip
        key = [(key[0] + 0x9E3779B9) % WORD, (key[1] + 0xBB67AE85) % WORD]
    return counter


def threefry(key: list[int], counter: list[int]) -> list[int]:
    keys = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    a, b = ((word + add) % WORD for word, add in zip(counter[:2], key, strict=True))
    for i in range(20):
        turn = (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]
        a = (a + b) % WORD
        b = (b << turn | b >> (32 - turn)) % WORD ^ a
        if i % 4 == 3:
            count = i // 4 + 1
            a, b = (a + keys[count % 3]) % WORD, (b + keys[(count + 1) % 3] + count) % WORD
    return [a, b]


def random_bits(algorithm: int, shape: tuple[int, ...], dtype: str, state: Array) -> list[Array]:
    words = [int(word) for word in state.view(np.uint32)]
    key, counter, upper = words[:2], int(state[1]), words[4:] or words[:2]
    block, lanes = (threefry, 2) if algorithm == THREEFRY else (philox, 4)
    blocks = -(-int(np.prod(shape)) * np.dtype(dtype).itemsize // (4 * lanes))
    made = [block(key, [(counter + i) % WORD, (counter + i) // WORD % WORD, *upper]) for i in range(blocks)]
    bits = np.array([*chain(*made)], np.uint32).tobytes()
    after = state.copy()
    after[1] += np.uint64(blocks)
    return [after, np.frombuffer(bits, dtype, int(np.prod(shape))).reshape(shape)]


CASES = [
    Case(
        "STABLEHLO_RNG_BIT_GENERATOR",
        (X((numbers,), (2.0**32 - 5, 2.0**62), "uint64"),),
        {"algorithm": number},
        types=(dtype,),
        outputs=2,
        out_type=("uint64", dtype),
        out_shape=shape,
        late=True,
        expect=lambda state, algorithm, shape=shape, dtype=dtype: random_bits(algorithm, shape, dtype, state),
    )
    for number, numbers in ((DEFAULT, 2), (PHILOX, 2), (PHILOX, 3), (THREEFRY, 2))
    for shape in ((1,), (2,), (3, 5), (4, 8, 3))
    for dtype in ("int32", "uint32", "int64", "uint64")
]
