/* add_avx512.c: the sum of two rescaled bytes in floats, which is within `doubt` of the exact one. Where it
 * comes as near as that to the middle between two numbers, and only there, integers decide.
 */
#include <immintrin.h>
#include <math.h>

#include "add.h"

#define VL 16
typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
#include "lanes.h"

enum { BLOCK = 4 * VL };

/* The sum as a * x + b * y + c. */
typedef struct {
    float a, b, c, doubt;
} line;

/* Integers round twice for a term and twice for the sum. All but the last time that is by less than 1 of what
 * `last` and the last shift then make small. Floats lose 2^-24 of some 1500 a and 1500 b. */
static line line_of(const ck_add *p) {
    const double last = ldexp(p->multiplier, p->shift - 31);
    const double a = ldexp(p->a_multiplier, p->a_shift + p->left - 31) * last;
    const double b = ldexp(p->b_multiplier, p->b_shift + p->left - 31) * last * (p->sign < 0 ? -1 : 1);
    const double doubt = 3 * last + ldexp(1, p->shift) + (a + fabs(b)) * 0x1p-13;
    return (line){(float)a, (float)b, (float)(-a * p->a_zero - b * p->b_zero), (float)doubt};
}

/* Whether no integer of sum_of wraps, and floats decide nearly always. */
static int quick(const ck_add *p, const line *l) {
    const int small = p->left <= 20 && p->a_shift <= 0 && p->b_shift <= 0 && p->shift <= 0;
    return small && abs(p->a_zero) <= 255 && abs(p->b_zero) <= 255 && l->doubt < 0.125f;
}

static inline __attribute__((always_inline)) __m512i sums_of(const ck_add *p, const line *l, const uint8_t *a,
                                                             const uint8_t *b, const int is_signed) {
    const __m512i x = (__m512i)lanes_of(a, is_signed), y = (__m512i)lanes_of(b, is_signed);
    const __m512 first = _mm512_fmadd_ps(_mm512_cvtepi32_ps(x), _mm512_set1_ps(l->a), _mm512_set1_ps(l->c));
    const __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(y), _mm512_set1_ps(l->b), first);
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

static inline __attribute__((always_inline)) int64_t blocks(const ck_add *p, const line *l, const uint8_t *a,
                                                            const uint8_t *b, uint8_t *out,
                                                            const int is_signed) {
    const narrowing last = narrowing_of(p->zero, p->low, p->high, is_signed);
    int64_t i = 0;
    for (; i + BLOCK <= p->elements; i += BLOCK) {
        __m512i four[4];
        UNROLLED(q, 4) four[q] = sums_of(p, l, a + i + q * VL, b + i + q * VL, is_signed);
        _mm512_storeu_si512(out + i, in_order(bytes_of(four, &last)));
    }
    return i;
}

ck_status ck_q8_add__avx512(const void *params, char *const *bases) {
    const ck_add *p = params;
    const uint8_t *a = (const uint8_t *)ck_at(p->a, bases), *b = (const uint8_t *)ck_at(p->b, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    const line l = line_of(p);
    int64_t i = 0;
    if (quick(p, &l)) i = p->dtype == CK_I8 ? blocks(p, &l, a, b, out, 1) : blocks(p, &l, a, b, out, 0);
    for (; i < p->elements; i++)
        out[i] = (uint8_t)sum_of(p, byte_at(a, i, p->dtype), byte_at(b, i, p->dtype));
    return CK_OK;
}
