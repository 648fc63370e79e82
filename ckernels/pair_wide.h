/* pair_wide.h: functions of two bytes, 4 * VL at a time; each pair_avx*.c sets VL and names.
 *
 * Sums are made in floats, which come within `doubt` of the exact number before it is rounded; where they come
 * as near as that to the middle between two integers, and only there, integers decide. Products are integers.
 */
#include <immintrin.h>
#include <math.h>

#include "pair.h"

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

/* Sums rounded to integers, and the lanes of them that are too near to the middle. */
typedef struct {
    wide whole;
    uint32_t open;
} rounding;

#if VL == 16
static inline __attribute__((always_inline)) rounding rounding_of(const line *l, wide a, wide b) {
    const __m512 x = _mm512_cvtepi32_ps(a), y = _mm512_cvtepi32_ps(b);
    const __m512 first = _mm512_fmadd_ps(x, _mm512_set1_ps(l->a), _mm512_set1_ps(l->c));
    const __m512 sum = _mm512_fmadd_ps(y, _mm512_set1_ps(l->b), first);
    const __m512 part = _mm512_abs_ps(_mm512_reduce_ps(sum, _MM_FROUND_TO_NEAREST_INT));
    const __mmask16 open = _mm512_cmp_ps_mask(part, _mm512_set1_ps(0.5f - l->doubt), _CMP_GT_OQ);
    return (rounding){_mm512_cvtps_epi32(sum), open};
}

static inline void put(uint8_t *to, wide bytes) { _mm512_storeu_si512(to, bytes); }

/* The first n bytes, of fewer than BLOCK. */
static inline wide few(const uint8_t *from, int64_t n) { return _mm512_maskz_loadu_epi8(~0ull >> (BLOCK - n), from); }

static inline void put_few(uint8_t *to, wide bytes, int64_t n) {
    _mm512_mask_storeu_epi8(to, ~0ull >> (BLOCK - n), bytes);
}
#else
static inline __attribute__((always_inline)) rounding rounding_of(const line *l, wide a, wide b) {
    const __m256 x = _mm256_cvtepi32_ps(a), y = _mm256_cvtepi32_ps(b);
    const __m256 first = _mm256_fmadd_ps(x, _mm256_set1_ps(l->a), _mm256_set1_ps(l->c));
    const __m256 sum = _mm256_fmadd_ps(y, _mm256_set1_ps(l->b), first);
    const __m256i whole = _mm256_cvtps_epi32(sum);
    const __m256 part = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), _mm256_sub_ps(sum, _mm256_cvtepi32_ps(whole)));
    const __m256 open = _mm256_cmp_ps(part, _mm256_set1_ps(0.5f - l->doubt), _CMP_GT_OQ);
    return (rounding){whole, (uint32_t)_mm256_movemask_ps(open)};
}

static inline void put(uint8_t *to, wide bytes) { _mm256_storeu_si256((void *)to, bytes); }

static inline wide few(const uint8_t *from, int64_t n) {
    uint8_t bytes[BLOCK] = {0};
    memcpy(bytes, from, (size_t)n);
    return _mm256_loadu_si256((const void *)bytes);
}

static inline void put_few(uint8_t *to, wide bytes, int64_t n) { memcpy(to, &bytes, (size_t)n); }
#endif

static inline __attribute__((always_inline)) wide sums(const ck_pair *p, const line *l, const uint8_t *a,
                                                       const uint8_t *b, const int is_signed) {
    const rounding found = rounding_of(l, (wide)lanes_of(a, is_signed), (wide)lanes_of(b, is_signed));
    if (found.open == 0) return found.whole;
    int32_t out[VL];
    memcpy(out, &found.whole, sizeof out);
    for (int i = 0; i < VL; i++)
        if (found.open >> i & 1) out[i] = sum_of(p, byte_at(a, i, p->dtype), byte_at(b, i, p->dtype)) - p->zero;
    return (wide)*(const vec *)out;
}

static inline __attribute__((always_inline)) wide products(const ck_pair *p, const rescaling *r, const uint8_t *a,
                                                           const uint8_t *b, const int is_signed) {
    const wide x = WIDE(sub_epi32)((wide)lanes_of(a, is_signed), WIDE(set1_epi32)(p->a_zero));
    const wide y = WIDE(sub_epi32)((wide)lanes_of(b, is_signed), WIDE(set1_epi32)(p->b_zero));
    return rescaled((vec)WIDE(mullo_epi32)(x, y), r, 1);
}

/* What is the same for all elements: of a sum, or of a product. */
typedef struct {
    line sum;
    rescaling product;
    narrowing last;
} constants;

static inline __attribute__((always_inline)) wide block(const ck_pair *p, const constants *c, const uint8_t *a,
                                                           const uint8_t *b, const int is_signed,
                                                           const int is_sum) {
    wide four[4];
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
        for (; i + BLOCK <= p->width; i += BLOCK) put(out + i, block(p, c, a + i, b + i, is_signed, is_sum));
        if (i < p->width) {
            const int64_t rest = p->width - i;
            const wide x = few(a + i, rest), y = few(b + i, rest);
            put_few(out + i, block(p, c, (const uint8_t *)&x, (const uint8_t *)&y, is_signed, is_sum), rest);
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

ck_status ADD_NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    const constants c = {.sum = line_of(p), .last = narrowing_of(p->zero, p->low, p->high, p->dtype == CK_I8)};
    const int narrow = p->left <= 20 && p->a_shift <= 0 && p->b_shift <= 0 && p->shift <= 0;
    return narrow && c.sum.doubt < 0.125f ? run(p, begin, end, bases, &c, 1) : each_pair(p, begin, end, bases, sum_of);
}

ck_status MUL_NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    int32_t multiplier[VL], shift[VL];
    for (int i = 0; i < VL; i++) multiplier[i] = p->multiplier, shift[i] = p->shift;
    const constants c = {.product = rescaling_of(multiplier, shift),
                         .last = narrowing_of(p->zero, p->low, p->high, p->dtype == CK_I8)};
    return c.product.quick ? run(p, begin, end, bases, &c, 0) : each_pair(p, begin, end, bases, product_of);
}
