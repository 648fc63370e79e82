/* depthwise_avx2.c: depthwise convolution for AVX2 with FMA.
 *
 * Of bytes, two taps of 32 channels are laid in pairs of s16, which one instruction multiplies and adds. The
 * first two sums are then of channels 0 2 4 6 16 18 20 22 and 8 10 12 14 24 26 28 30, the others of the odd ones
 * after them. Weights, bias, multipliers and shifts are brought into that order once for some rows, the bytes
 * back from it by one shuffle. Sixteen channels are done for two rows at once: "channel" 16 is 0 of the second.
 * A rest of channels begins where it ends at the last one; some are done twice.
 */
#include "kernels.h"

static ck_status any_whole(const void *params, int64_t begin, int64_t end, char *const *bases);

#define VL 8
#define REAL_NAME ck_f32_depthwise__avx2
#define WHOLE_NAME any_whole
#include "depthwise.h"

enum { WHOLE = 32, HALF = 16, ROWS = 32, MOST_TAPS = 64 };

/* What is the same for some rows of the channels that are done at once, in the order of the sums. */
typedef struct {
    vec weights[MOST_TAPS / 2][4]; /* s16: of a tap, of the next */
    vec bias[4];                   /* with what the zero point of the bytes, which have no sign, adds */
    rescaling by[4];
    epilogue last;
    narrowing narrow; /* what the rescaling leaves: only if it is quick, the zero point */
    int quick;
    wide turn;
} numbers;

/* Numbers of 32 channels, or of 16 and the same 16, in the order of the sums. */
static inline __attribute__((always_inline)) void deal(vec to[4], const int32_t *from, const int two) {
    UNROLLED(i, 2) {
        const wide first = (wide)*(const vec *)(from + i * VL);
        const wide second = two ? first : (wide)*(const vec *)(from + HALF + i * VL);
        const __m256 low = (__m256)_mm256_permute2x128_si256(first, second, 0x20);
        const __m256 high = (__m256)_mm256_permute2x128_si256(first, second, 0x31);
        to[i] = (vec)_mm256_shuffle_ps(low, high, 0x88);
        to[i + 2] = (vec)_mm256_shuffle_ps(low, high, 0xdd);
    }
}

static void numbers_of(const ck_depthwise *p, const int32_t *weights, const int32_t *bias, int64_t c,
                       const int two, numbers *out) {
    const int is_signed = p->dtype == CK_I8;
    const wide zero = _mm256_set1_epi16((int16_t)(p->in_zero + 128 * is_signed));
    vec multiplier[4], shift[4];
    deal(multiplier, p->multiplier + c, two), deal(shift, p->shift + c, two), deal(out->bias, bias + c, two);
    UNROLLED(q, 4) out->by[q] = rescaling_of((const int32_t *)&multiplier[q], (const int32_t *)&shift[q]);
    for (int64_t t = 0; t < p->taps; t += 2) {
        vec even[4], odd[4] = {{0}};
        deal(even, weights + t * p->channels + c, two);
        if (t + 1 < p->taps) deal(odd, weights + (t + 1) * p->channels + c, two);
        UNROLLED(q, 4) {
            const vec both = (even[q] & 0xffff) | (vec)((uvec)odd[q] << 16);
            out->weights[t / 2][q] = both;
            out->bias[q] = (vec)((uvec)out->bias[q] - (uvec)_mm256_madd_epi16(zero, (wide)both));
        }
    }
    out->quick = out->by[0].quick && out->by[1].quick && out->by[2].quick && out->by[3].quick;
    out->last = (epilogue){p->out_zero - (vec){0}, p->out_low - (vec){0}, p->out_high - (vec){0}, p->out_ties_away};
    out->narrow = narrowing_of(out->quick ? p->out_zero : 0, p->out_low, p->out_high, is_signed);
    out->turn = _mm256_set1_epi8(is_signed ? (char)0x80 : 0);
}

/* A tap of 32 channels of a row, or of 16 of each of two. */
static inline __attribute__((always_inline)) wide tap_of(const uint8_t *in, const uint8_t *pad, int32_t row,
                                                         int32_t next, const int two) {
    const uint8_t *at = row < 0 ? pad : in + row;
    if (!two) return _mm256_loadu_si256((const void *)at);
    const __m128i first = _mm_loadu_si128((const void *)at);
    const __m128i second = _mm_loadu_si128((const void *)(next < 0 ? pad : in + next));
    return _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
}

static inline __attribute__((always_inline)) void add_taps(wide sums[4], wide a, wide b, const vec weights[4]) {
    const wide low = _mm256_set1_epi16(255);
    const wide even_a = _mm256_and_si256(a, low), even_b = _mm256_and_si256(b, low);
    const wide odd_a = _mm256_srli_epi16(a, 8), odd_b = _mm256_srli_epi16(b, 8);
    const wide pairs[4] = {_mm256_unpacklo_epi16(even_a, even_b), _mm256_unpackhi_epi16(even_a, even_b),
                           _mm256_unpacklo_epi16(odd_a, odd_b), _mm256_unpackhi_epi16(odd_a, odd_b)};
    UNROLLED(q, 4) sums[q] = _mm256_add_epi32(sums[q], _mm256_madd_epi16(pairs[q], (wide)weights[q]));
}

/* The channels at in, pad and out of the rows [begin, end). */
static inline __attribute__((always_inline)) void some_rows(const ck_depthwise *p, const numbers *n, int64_t begin,
                                                            int64_t end, const uint8_t *in, const uint8_t *pad,
                                                            uint8_t *out, const int64_t taps,
                                                            const int two, const int away) {
    const wide order = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    for (int64_t m = begin; m < end; m += 1 + two) {
        const int32_t *row = p->rows + m * taps, *next = two && m + 1 < end ? row + taps : row;
        uint8_t *to = out + m * p->channels;
        wide sums[4];
        UNROLLED(q, 4) sums[q] = (wide)n->bias[q];
        for (int64_t t = 0; t < taps; t += 2) {
            const int64_t u = ck_min(t + 1, taps - 1); /* the weights of what is missing are 0 */
            const wide a = tap_of(in, pad, row[t], next[t], two), b = tap_of(in, pad, row[u], next[u], two);
            add_taps(sums, XOR(a, n->turn), XOR(b, n->turn), n->weights[t / 2]);
        }
        if (n->quick) UNROLLED(q, 4) sums[q] = rescaled((vec)sums[q], &n->by[q], away);
        else UNROLLED(q, 4) sums[q] = (wide)requantised_by_any((vec)sums[q], &n->by[q], &n->last);
        const wide bytes = _mm256_shuffle_epi8(bytes_of(sums, &n->narrow), order);
        if (two) {
            _mm_storeu_si128((void *)to, _mm256_castsi256_si128(bytes));
            if (m + 1 < end) _mm_storeu_si128((void *)(to + p->channels), _mm256_extracti128_si256(bytes, 1));
        } else {
            _mm256_storeu_si256((void *)to, bytes);
        }
    }
}

ck_status ck_q8_depthwise__avx2(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_depthwise *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *pad = (const uint8_t *)ck_at(p->pad, bases);
    const int32_t *weights = (const int32_t *)ck_at(p->weights, bases);
    const int32_t *bias = (const int32_t *)ck_at(p->bias, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    if (p->channels < HALF || p->taps > MOST_TAPS) return any_whole(params, begin, end, bases);
    for (int64_t m = begin; m < end; m += ROWS)
        for (int64_t done = 0; done < p->channels;) {
            const int64_t last = ck_min(m + ROWS, end);
            const int two = p->channels - done <= HALF || p->channels < WHOLE;
            const int64_t width = two ? HALF : WHOLE, c = ck_min(done, p->channels - width);
            numbers n;
            numbers_of(p, weights, bias, c, two, &n);
#define ROWS_OF(taps, two)                                                                \
    (p->out_ties_away ? some_rows(p, &n, m, last, in + c, pad + c, out + c, taps, two, 1) \
                      : some_rows(p, &n, m, last, in + c, pad + c, out + c, taps, two, 0))
            if (two && p->taps == SIDE * SIDE) ROWS_OF(SIDE * SIDE, 1);
            else if (two) ROWS_OF(p->taps, 1);
            else if (p->taps == SIDE * SIDE) ROWS_OF(SIDE * SIDE, 0);
            else ROWS_OF(p->taps, 0);
            done = c + width;
        }
    return CK_OK;
}
