/* depthwise_vnni.c: depthwise convolution of bytes by weights of 8 bits: one instruction adds four taps of 16
 * channels.
 *
 * Four taps of 64 channels are interleaved within each 128 bits; sum q, lane 4 l + i, is then of channel
 * 16 l + 4 q + i, and packing the sums to bytes brings the channels back in order. Weights, bias, multipliers
 * and shifts come in that order, 64 of each per block, the weights as [block][taps / 4][sum][lane][4]
 * (runtime/backends/depthwise_blocks.py). A rest of up to 32 channels is done for two rows at once.
 */
#include <immintrin.h>

#include "kernels.h"

#define VL 16
typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
#include "lanes.h"

enum { BLOCK = 64 };

/* What a vector of 64 bytes is. */
typedef enum { WHOLE, PART, TWO_ROWS } shape;

/* Chunk t of the row of each half of a vector. */
typedef struct {
    const uint8_t *in, *pad;
    const int32_t *rows[2];
    __mmask64 mask;
    __m512i turn;
} source;

static inline __attribute__((always_inline)) __m512i bytes_at(const source *s, int64_t t, const shape is) {
    const uint8_t *at = s->rows[0][t] < 0 ? s->pad : s->in + s->rows[0][t];
    if (is == WHOLE) return _mm512_xor_si512(_mm512_loadu_si512(at), s->turn);
    if (is == PART) return _mm512_xor_si512(_mm512_maskz_loadu_epi8(s->mask, at), s->turn);
    const uint8_t *next = s->rows[1][t] < 0 ? s->pad : s->in + s->rows[1][t];
    const __mmask32 mask = (__mmask32)s->mask;
    const __m512i first = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(mask, at));
    return _mm512_xor_si512(_mm512_inserti64x4(first, _mm256_maskz_loadu_epi8(mask, next), 1), s->turn);
}

/* Four taps are added to the four sums. */
static inline __attribute__((always_inline)) void group(__m512i sums[4], const __m512i x[4], const int8_t *weights) {
    const __m512i low = _mm512_unpacklo_epi8(x[0], x[1]), high = _mm512_unpackhi_epi8(x[0], x[1]);
    const __m512i low2 = _mm512_unpacklo_epi8(x[2], x[3]), high2 = _mm512_unpackhi_epi8(x[2], x[3]);
    const __m512i taps[4] = {_mm512_unpacklo_epi16(low, low2), _mm512_unpackhi_epi16(low, low2),
                             _mm512_unpacklo_epi16(high, high2), _mm512_unpackhi_epi16(high, high2)};
    UNROLLED(q, 4) sums[q] = _mm512_dpbusd_epi32(sums[q], taps[q], _mm512_loadu_si512(weights + q * BLOCK));
}

/* A block of channels of the rows [begin, end) of the output. */
static inline __attribute__((always_inline)) void block(const ck_depthwise *p, int64_t begin, int64_t end,
                                                        source s, const int8_t *weights,
                                                        const int32_t *bias, int64_t at, uint8_t *out,
                                                        const shape is, const int away) {
    const narrowing last = narrowing_of(p->out_zero, p->out_low, p->out_high, p->dtype == CK_I8);
    const int step = is == TWO_ROWS ? 2 : 1;
    rescaling lanes[4];
    UNROLLED(q, 4) lanes[q] = rescaling_of(p->multiplier + at + q * VL, p->shift + at + q * VL);
    for (int64_t m = begin; m < end; m += step, out += step * p->channels) {
        const int both = m + step <= end;
        __m512i sums[4];
        const int8_t *from = weights;
        int64_t t = 0;
        s.rows[0] = p->rows + m * p->taps, s.rows[1] = s.rows[0] + (both ? p->taps : 0);
        UNROLLED(q, 4) sums[q] = _mm512_loadu_si512(bias + q * VL);
        for (; t + 4 <= p->taps; t += 4, from += 4 * BLOCK) {
            __m512i x[4];
            UNROLLED(j, 4) x[j] = bytes_at(&s, t + j, is);
            group(sums, x, from);
        }
        if (t < p->taps) { /* the weights of what is missing are 0 */
            __m512i x[4];
            UNROLLED(j, 4) x[j] = bytes_at(&s, ck_min(t + j, p->taps - 1), is);
            group(sums, x, from);
        }
        UNROLLED(q, 4) sums[q] = rescaled((vec)sums[q], &lanes[q], away);
        const __m512i bytes = bytes_of(sums, &last);
        if (is == WHOLE) _mm512_storeu_si512(out, bytes);
        else if (is == PART) _mm512_mask_storeu_epi8(out, s.mask, bytes);
        else {
            _mm256_mask_storeu_epi8(out, (__mmask32)s.mask, _mm512_castsi512_si256(bytes));
            if (both)
                _mm256_mask_storeu_epi8(out + p->channels, (__mmask32)s.mask, _mm512_extracti64x4_epi64(bytes, 1));
        }
    }
}

/* Only for shifts of -2 and below. */
ck_status ck_s8_depthwise__vnni(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_depthwise *p = params;
    const int8_t *weights = (const int8_t *)ck_at(p->weights, bases);
    const int32_t *bias = (const int32_t *)(const void *)ck_at(p->bias, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases) + begin * p->channels;
    source s = {(const uint8_t *)ck_at(p->in, bases), (const uint8_t *)ck_at(p->pad, bases), {0}, 0,
                _mm512_set1_epi8(p->dtype == CK_I8 ? (char)0x80 : 0)};
    for (int64_t c = 0; c < p->channels; c += BLOCK, s.in += BLOCK, s.pad += BLOCK, out += BLOCK) {
        const int64_t rest = ck_min(BLOCK, p->channels - c);
        s.mask = ~(__mmask64)0 >> (BLOCK - rest);
#define BLOCK_OF(shape)                                                                     \
    (p->out_ties_away ? block(p, begin, end, s, weights, bias, c, out, shape, 1)            \
                      : block(p, begin, end, s, weights, bias, c, out, shape, 0))
        if (rest == BLOCK) BLOCK_OF(WHOLE);
        else if (rest > BLOCK / 2) BLOCK_OF(PART);
        else BLOCK_OF(TWO_ROWS);
        weights += (p->taps + 3) / 4 * 4 * BLOCK, bias += BLOCK;
    }
    return CK_OK;
}
