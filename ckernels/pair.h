/* pair.h: what the kernels of two bytes compute, as ck_pair says it: the definition. */
#include "kernels.h"
#include "quantized.h"

static inline int32_t byte_at(const uint8_t *from, int64_t at, int32_t dtype) {
    return dtype == CK_I8 ? (int8_t)from[at] : from[at];
}

static inline int32_t rescaled_pair(const ck_pair *p, uint32_t x) {
    const int32_t scaled = ck_requantise((int32_t)x, p->multiplier, p->shift);
    const int32_t out = (int32_t)((uint32_t)scaled + (uint32_t)p->zero);
    return out < p->low ? p->low : out > p->high ? p->high : out;
}

static inline int32_t sum_of(const ck_pair *p, int32_t a, int32_t b) {
    const uint32_t x = (uint32_t)(a - p->a_zero) << p->left, y = (uint32_t)(b - p->b_zero) << p->left;
    const uint32_t first = (uint32_t)ck_requantise((int32_t)x, p->a_multiplier, p->a_shift);
    const uint32_t second = (uint32_t)ck_requantise((int32_t)y, p->b_multiplier, p->b_shift);
    return rescaled_pair(p, p->sign < 0 ? first - second : first + second);
}

static inline int32_t product_of(const ck_pair *p, int32_t a, int32_t b) {
    return rescaled_pair(p, (uint32_t)(a - p->a_zero) * (uint32_t)(b - p->b_zero));
}

typedef int32_t (*pair_function)(const ck_pair *, int32_t, int32_t);

static inline __attribute__((always_inline)) ck_status each_pair(const ck_pair *p, int64_t begin, int64_t end, char *const *bases,
                                                                 pair_function function) {
    const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + begin * p->a_step;
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases) + begin * p->b_step;
    uint8_t *out = (uint8_t *)ck_at(p->out, bases) + begin * p->out_step;
    for (int64_t row = begin; row < end; row++, a += p->a_step, b += p->b_step, out += p->out_step)
        for (int64_t i = 0; i < p->width; i++)
            out[i] = (uint8_t)function(p, byte_at(a, i, p->dtype), byte_at(b, i, p->dtype));
    return CK_OK;
}
