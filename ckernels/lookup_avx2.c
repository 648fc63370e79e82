/* lookup_avx2.c: bytes through a table, by lookups of sixteen entries, which give 0 for what is negative.
 *
 * Step k looks up x - 16 k. The first eight subtractions wrap, which leaves x - 128: not negative for what was
 * above 127. Further ones saturate: what is negative stays so. Of the sixteen entries of number n, then, steps 0 .. n
 * are not negative if n < 8, else n - 7 .. n. The tables of the steps are such that these, by XOR, give entry x.
 */
#include <immintrin.h>

#include "kernels.h"

enum { WIDTH = 32, SIXTEENS = 16, HALF = 8 };

static void steps_of(const uint8_t *table, __m256i steps[SIXTEENS]) {
    __m256i before = _mm256_setzero_si256();
    for (int k = 0; k < SIXTEENS; k++) {
        const __m256i sixteen = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(table + k * 16)));
        steps[k] = _mm256_xor_si256(sixteen, before);
        if (k >= HALF) steps[k] = _mm256_xor_si256(steps[k], steps[k - HALF]);
        before = sixteen;
    }
}

static inline __attribute__((always_inline)) __m256i entries(const __m256i steps[SIXTEENS], __m256i x) {
    const __m256i less = _mm256_set1_epi8(16);
    __m256i y = _mm256_shuffle_epi8(steps[0], x);
    UNROLLED(k, SIXTEENS) {
        if (k == 0) continue;
        x = k <= HALF ? _mm256_sub_epi8(x, less) : _mm256_subs_epi8(x, less);
        y = _mm256_xor_si256(y, _mm256_shuffle_epi8(steps[k], x));
    }
    return y;
}

ck_status ck_x8_lookup__avx2(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_lookup *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *table = (const uint8_t *)ck_at(p->table, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    __m256i steps[SIXTEENS];
    steps_of(table, steps);
    int64_t i = begin;
    for (; i + WIDTH <= end; i += WIDTH)
        _mm256_storeu_si256((void *)(out + i), entries(steps, _mm256_loadu_si256((const void *)(in + i))));
    for (; i < end; i++) out[i] = table[in[i]];
    return CK_OK;
}
