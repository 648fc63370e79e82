/* pair_neon.c: functions of two bytes, sixteen at a time, in the integers of their definition. */
#include "pair.h"

enum { BLOCK = 16 };

/* A multiplier and a shift in every lane. */
typedef struct {
    int32x4_t multiplier, shift;
} scale;

/* What is the same for all elements. */
typedef struct {
    scale a, b, out;
    int16x8_t a_zero, b_zero;
    int32x4_t left, sign, zero, low, high;
} constants;

static inline scale scale_of(int32_t multiplier, int32_t shift) {
    return (scale){vdupq_n_s32(multiplier), vdupq_n_s32(shift < -31 ? -31 : shift > 31 ? 31 : shift)};
}

static inline constants constants_of(const ck_pair *p) {
    return (constants){
        .a = scale_of(p->a_multiplier, p->a_shift),
        .b = scale_of(p->b_multiplier, p->b_shift),
        .out = scale_of(p->multiplier, p->shift),
        .a_zero = vdupq_n_s16((int16_t)p->a_zero),
        .b_zero = vdupq_n_s16((int16_t)p->b_zero),
        .left = vdupq_n_s32(p->left),
        .sign = vdupq_n_s32(p->sign),
        .zero = vdupq_n_s32(p->zero),
        .low = vdupq_n_s32(p->low),
        .high = vdupq_n_s32(p->high),
    };
}

/* Sixteen bytes without their zero point. */
static inline __attribute__((always_inline)) int16x8x2_t moved(const uint8_t *from, int16x8_t zero,
                                                               const int is_signed) {
    const uint8x16_t bytes = vld1q_u8(from);
    const int8x16_t whole = vreinterpretq_s8_u8(bytes);
    const int16x8_t low = is_signed ? vmovl_s8(vget_low_s8(whole)) : (int16x8_t)vmovl_u8(vget_low_u8(bytes));
    const int16x8_t high = is_signed ? vmovl_high_s8(whole) : (int16x8_t)vmovl_high_u8(bytes);
    return (int16x8x2_t){{vsubq_s16(low, zero), vsubq_s16(high, zero)}};
}

static inline __attribute__((always_inline)) int32x4_t rescaled(int32x4_t x, const scale *by) {
    return ck_requantised(x, by->multiplier, by->shift, 1);
}

/* The function of four bytes of each side. */
static inline __attribute__((always_inline)) int32x4_t four(const constants *c, int16x4_t a, int16x4_t b,
                                                            const int is_sum) {
    int32x4_t x = vmull_s16(a, b);
    if (is_sum) {
        const int32x4_t second = rescaled(vshlq_s32(vmovl_s16(b), c->left), &c->b);
        x = vmlaq_s32(rescaled(vshlq_s32(vmovl_s16(a), c->left), &c->a), second, c->sign);
    }
    return vminq_s32(vmaxq_s32(vaddq_s32(rescaled(x, &c->out), c->zero), c->low), c->high);
}

static inline __attribute__((always_inline)) uint8x16_t block(const constants *c, const uint8_t *a, const uint8_t *b,
                                                              const int is_signed, const int is_sum) {
    const int16x8x2_t x = moved(a, c->a_zero, is_signed), y = moved(b, c->b_zero, is_signed);
    int16x8_t half[2];
    UNROLLED(h, 2) {
        const int32x4_t low = four(c, vget_low_s16(x.val[h]), vget_low_s16(y.val[h]), is_sum);
        const int32x4_t high = four(c, vget_high_s16(x.val[h]), vget_high_s16(y.val[h]), is_sum);
        half[h] = vmovn_high_s32(vmovn_s32(low), high);
    }
    return vreinterpretq_u8_s8(vmovn_high_s16(vmovn_s16(half[0]), half[1]));
}

static inline __attribute__((always_inline)) ck_status rows(const ck_pair *p, int64_t begin, int64_t end,
                                                            char *const *bases, const int is_signed,
                                                            const int is_sum) {
    const constants c = constants_of(p);
    const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + begin * p->a_step;
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases) + begin * p->b_step;
    uint8_t *out = (uint8_t *)ck_at(p->out, bases) + begin * p->out_step;
    for (int64_t row = begin; row < end; row++, a += p->a_step, b += p->b_step, out += p->out_step) {
        int64_t i = 0;
        for (; i + BLOCK <= p->width; i += BLOCK) vst1q_u8(out + i, block(&c, a + i, b + i, is_signed, is_sum));
        if (i < p->width) {
            const size_t rest = (size_t)(p->width - i);
            uint8_t x[BLOCK] = {0}, y[BLOCK] = {0};
            memcpy(x, a + i, rest), memcpy(y, b + i, rest);
            vst1q_u8(x, block(&c, x, y, is_signed, is_sum));
            memcpy(out + i, x, rest);
        }
    }
    return CK_OK;
}

ck_status ck_q8_add__neon(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    return p->dtype == CK_I8 ? rows(p, begin, end, bases, 1, 1) : rows(p, begin, end, bases, 0, 1);
}

ck_status ck_q8_mul__neon(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_pair *p = params;
    return p->dtype == CK_I8 ? rows(p, begin, end, bases, 1, 0) : rows(p, begin, end, bases, 0, 0);
}
