/* pair_avx512.c: functions of two bytes in floats, which come within `doubt` of the exact number before it is
 * rounded. Where they come as near as that to the middle between two integers, and only there, integers
 * decide.
 */
#include <immintrin.h>
#include <math.h>

#include "pair.h"

#define VL 16
typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
#include "lanes.h"

enum { BLOCK = 4 * VL };

/* A sum as a x + b y + c, or a product as a (x - a_zero) (y - b_zero). */
typedef struct {
    float a, b, c, doubt;
} formula;

/* Integers round twice for a term and twice for the sum. All but the last time that is by less than 1 of what
 * `last` and the last shift then make small. Floats lose 2^-24 of some 1500 a and 1500 b. */
static formula sum_formula(const ck_pair *p) {
    const double last = ldexp(p->multiplier, p->shift - 31);
    const double a = ldexp(p->a_multiplier, p->a_shift + p->left - 31) * last;
    const double b = ldexp(p->b_multiplier, p->b_shift + p->left - 31) * last * (p->sign < 0 ? -1 : 1);
    const double doubt = 3 * last + ldexp(1, p->shift) + (a + fabs(b)) * 0x1p-13;
    const int narrow = p->left <= 20 && p->a_shift <= 0 && p->b_shift <= 0;
    return (formula){(float)a, (float)b, (float)(-a * p->a_zero - b * p->b_zero), narrow ? (float)doubt : 1};
}

/* A product has 18 bits at most; floats lose 2^-24 of it twice. */
static formula product_formula(const ck_pair *p) {
    const double a = ldexp(p->multiplier, p->shift - 31);
    return (formula){(float)a, 0, 0, (float)(ldexp(1, p->shift) + a * 0x1p-5)};
}

static inline __attribute__((always_inline)) __m512i lanes(const ck_pair *p, const formula *f, const uint8_t *a,
                                                           const uint8_t *b, const int is_signed,
                                                           const int is_sum) {
    __m512 x = _mm512_cvtepi32_ps((__m512i)lanes_of(a, is_signed)), exact;
    __m512 y = _mm512_cvtepi32_ps((__m512i)lanes_of(b, is_signed));
    if (is_sum) {
        x = _mm512_fmadd_ps(x, _mm512_set1_ps(f->a), _mm512_set1_ps(f->c));
        exact = _mm512_fmadd_ps(y, _mm512_set1_ps(f->b), x);
    } else {
        x = _mm512_mul_ps(_mm512_sub_ps(x, _mm512_set1_ps((float)p->a_zero)), _mm512_set1_ps(f->a));
        exact = _mm512_mul_ps(x, _mm512_sub_ps(y, _mm512_set1_ps((float)p->b_zero)));
    }
    const __m512 part = _mm512_abs_ps(_mm512_reduce_ps(exact, _MM_FROUND_TO_NEAREST_INT));
    const __mmask16 open = _mm512_cmp_ps_mask(part, _mm512_set1_ps(0.5f - f->doubt), _CMP_GT_OQ);
    const __m512i whole = _mm512_cvtps_epi32(exact);
    if (open == 0) return whole;
    int32_t out[VL];
    memcpy(out, &whole, sizeof out);
    for (int i = 0; i < VL; i++) {
        const int32_t first = byte_at(a, i, p->dtype), second = byte_at(b, i, p->dtype);
        if (open >> i & 1) out[i] = (is_sum ? sum_of(p, first, second) : product_of(p, first, second)) - p->zero;
    }
    return _mm512_loadu_si512(out);
}

/* Returns how many elements are done. `b` goes on for a block behind its period. */
static inline __attribute__((always_inline)) int64_t blocks(const ck_pair *p, const formula *f, const uint8_t *a,
                                                            const uint8_t *b, uint8_t *out,
                                                            const int is_signed, const int is_sum) {
    const narrowing last = narrowing_of(p->zero, p->low, p->high, is_signed);
    const int64_t step = BLOCK % p->period;
    int64_t i = 0, j = 0;
    for (; i + BLOCK <= p->elements; i += BLOCK) {
        __m512i four[4];
        UNROLLED(q, 4) four[q] = lanes(p, f, a + i + q * VL, b + j + q * VL, is_signed, is_sum);
        _mm512_storeu_si512(out + i, in_order(bytes_of(four, &last)));
        j = j + step < p->period ? j + step : j + step - p->period;
    }
    return i;
}

/* b, and again b, and so on. */
static const uint8_t *repeated(const ck_pair *p, const uint8_t *b, uint8_t *scratch) {
    if (p->period == p->elements) return b;
    for (int64_t at = 0; at < p->period + BLOCK; at += p->period)
        memcpy(scratch + at, b, (size_t)ck_min(p->period, p->period + BLOCK - at));
    return scratch;
}

static inline __attribute__((always_inline)) ck_status run(const ck_pair *p, char *const *bases, formula f,
                                                           const int is_sum) {
    const uint8_t *a = (const uint8_t *)ck_at(p->a, bases);
    const uint8_t *b = repeated(p, (const uint8_t *)ck_at(p->b, bases), (uint8_t *)ck_at(p->scratch, bases));
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    int64_t done = 0;
    if (p->shift <= 0 && f.doubt < 0.125f) {
        if (p->dtype == CK_I8) done = blocks(p, &f, a, b, out, 1, is_sum);
        else done = blocks(p, &f, a, b, out, 0, is_sum);
    }
    one_by_one(p, bases, done, is_sum ? sum_of : product_of);
    return CK_OK;
}

ck_status ck_q8_add__avx512(const void *params, char *const *bases) {
    return run(params, bases, sum_formula(params), 1);
}

ck_status ck_q8_mul__avx512(const void *params, char *const *bases) {
    return run(params, bases, product_formula(params), 0);
}
