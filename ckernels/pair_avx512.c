/* pair_avx512.c: functions of two bytes.
 *
 * Sums are made in floats, which come within `doubt` of the exact number before it is rounded; where they come
 * as near as that to the middle between two integers, and only there, integers decide. Products are integers.
 */
#include <immintrin.h>
#include <math.h>

#include "pair.h"

#define VL 16
typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
#include "lanes.h"

enum { BLOCK = 4 * VL };

/* a x + b y + c */
typedef struct {
    float a, b, c, doubt;
} line;

/* Integers round twice for a term and twice for the sum. All but the last time that is by less than 1 of what
 * `last` and the last shift then make small. Floats lose 2^-24 of some 1500 a and 1500 b. */
static line line_of(const ck_pair *p) {
    const double last = ldexp(p->multiplier, p->shift - 31);
    const double a = ldexp(p->a_multiplier, p->a_shift + p->left - 31) * last;
    const double b = ldexp(p->b_multiplier, p->b_shift + p->left - 31) * last * (p->sign < 0 ? -1 : 1);
    const double doubt = 3 * last + ldexp(1, p->shift) + (a + fabs(b)) * 0x1p-13;
    return (line){(float)a, (float)b, (float)(-a * p->a_zero - b * p->b_zero), (float)doubt};
}

static inline __attribute__((always_inline)) __m512i sums(const ck_pair *p, const line *l, const uint8_t *a,
                                                          const uint8_t *b, const int is_signed) {
    const __m512 x = _mm512_cvtepi32_ps((__m512i)lanes_of(a, is_signed));
    const __m512 y = _mm512_cvtepi32_ps((__m512i)lanes_of(b, is_signed));
    const __m512 first = _mm512_fmadd_ps(x, _mm512_set1_ps(l->a), _mm512_set1_ps(l->c));
    const __m512 sum = _mm512_fmadd_ps(y, _mm512_set1_ps(l->b), first);
    const __m512 part = _mm512_abs_ps(_mm512_reduce_ps(sum, _MM_FROUND_TO_NEAREST_INT));
    const __mmask16 open = _mm512_cmp_ps_mask(part, _mm512_set1_ps(0.5f - l->doubt), _CMP_GT_OQ);
    const __m512i whole = _mm512_cvtps_epi32(sum);
    if (open == 0) return whole;
    int32_t out[VL];
    memcpy(out, &whole, sizeof out);
    for (int i = 0; i < VL; i++)
        if (open >> i & 1) out[i] = sum_of(p, byte_at(a, i, p->dtype), byte_at(b, i, p->dtype)) - p->zero;
    return _mm512_loadu_si512(out);
}

static inline __attribute__((always_inline)) __m512i products(const ck_pair *p, const rescaling *r,
                                                              const uint8_t *a, const uint8_t *b,
                                                              const int is_signed) {
    const __m512i x = _mm512_sub_epi32((__m512i)lanes_of(a, is_signed), _mm512_set1_epi32(p->a_zero));
    const __m512i y = _mm512_sub_epi32((__m512i)lanes_of(b, is_signed), _mm512_set1_epi32(p->b_zero));
    return rescaled((vec)_mm512_mullo_epi32(x, y), r, 1);
}

/* What is the same for all elements: of a sum, or of a product. */
typedef struct {
    line sum;
    rescaling product;
    narrowing last;
} constants;

static inline __attribute__((always_inline)) __m512i block(const ck_pair *p, const constants *c, const uint8_t *a,
                                                           const uint8_t *b, const int is_signed,
                                                           const int is_sum) {
    __m512i four[4];
    UNROLLED(q, 4)
        four[q] = is_sum ? sums(p, &c->sum, a + q * VL, b + q * VL, is_signed)
                         : products(p, &c->product, a + q * VL, b + q * VL, is_signed);
    return in_order(bytes_of(four, &c->last));
}

static inline __attribute__((always_inline)) void rows(const ck_pair *p, int64_t count, const constants *c,
                                                       const uint8_t *a, const uint8_t *b, uint8_t *out,
                                                       const int is_signed, const int is_sum) {
    for (int64_t row = 0; row < count; row++, a += p->a_step, b += p->b_step, out += p->out_step) {
        int64_t i = 0;
        for (; i + BLOCK <= p->width; i += BLOCK)
            _mm512_storeu_si512(out + i, block(p, c, a + i, b + i, is_signed, is_sum));
        if (i < p->width) {
            const __mmask64 rest = ~(__mmask64)0 >> (BLOCK - (p->width - i));
            uint8_t x[BLOCK], y[BLOCK];
            _mm512_storeu_si512(x, _mm512_maskz_loadu_epi8(rest, a + i));
            _mm512_storeu_si512(y, _mm512_maskz_loadu_epi8(rest, b + i));
            _mm512_mask_storeu_epi8(out + i, rest, block(p, c, x, y, is_signed, is_sum));
        }
    }
}

static inline __attribute__((always_inline)) ck_status run(const ck_pair *p, int64_t begin, int64_t end,
                                                           char *const *bases, const constants *c,
                                                           const int is_sum) {
    const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + begin * p->a_step;
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases) + begin * p->b_step;
    uint8_t *out = (uint8_t *)ck_at(p->out, bases) + begin * p->out_step;
    if (p->dtype == CK_I8) rows(p, end - begin, c, a, b, out, 1, is_sum);
    else rows(p, end - begin, c, a, b, out, 0, is_sum);
    return CK_OK;
}

ck_status ck_q8_add__avx512(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    const constants c = {.sum = line_of(p), .last = narrowing_of(p->zero, p->low, p->high, p->dtype == CK_I8)};
    const int narrow = p->left <= 20 && p->a_shift <= 0 && p->b_shift <= 0 && p->shift <= 0;
    return narrow && c.sum.doubt < 0.125f ? run(p, begin, end, bases, &c, 1) : each_pair(p, begin, end, bases, sum_of);
}

ck_status ck_q8_mul__avx512(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    int32_t multiplier[VL], shift[VL];
    for (int i = 0; i < VL; i++) multiplier[i] = p->multiplier, shift[i] = p->shift;
    const constants c = {.product = rescaling_of(multiplier, shift),
                         .last = narrowing_of(p->zero, p->low, p->high, p->dtype == CK_I8)};
    return c.product.quick ? run(p, begin, end, bases, &c, 0) : each_pair(p, begin, end, bases, product_of);
}
