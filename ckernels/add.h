/* add.h: one sum of two rescaled bytes, as ck_add says it. */
#include "kernels.h"
#include "quantized.h"

static inline int32_t byte_at(const uint8_t *from, int64_t at, int32_t dtype) {
    return dtype == CK_I8 ? (int8_t)from[at] : from[at];
}

static inline int32_t sum_of(const ck_add *p, int32_t a, int32_t b) {
    const uint32_t x = (uint32_t)(a - p->a_zero) << p->left, y = (uint32_t)(b - p->b_zero) << p->left;
    const uint32_t first = (uint32_t)ck_requantise((int32_t)x, p->a_multiplier, p->a_shift);
    const uint32_t second = (uint32_t)ck_requantise((int32_t)y, p->b_multiplier, p->b_shift);
    const int32_t sum = (int32_t)(p->sign < 0 ? first - second : first + second);
    const int32_t out = (int32_t)((uint32_t)ck_requantise(sum, p->multiplier, p->shift) + (uint32_t)p->zero);
    return out < p->low ? p->low : out > p->high ? p->high : out;
}
