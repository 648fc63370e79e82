/* quantized.h: fixed-point arithmetic with the rounding of TFLite's kernels (gemmlowp fixedpoint.h).
 *
 * runtime/quantized.py is the definition. Shifts of negative numbers are arithmetic in every compiler we
 * build with.
 */
#ifndef CK_QUANTIZED_H
#define CK_QUANTIZED_H
#include <stdint.h>
#if defined(__aarch64__)
#include <arm_neon.h>
#endif

/* The high half of 2ab, rounded to nearest, halves towards plus infinity at the last bit kept, saturating. */
static inline int32_t ck_high_product(int32_t a, int32_t b) {
    int64_t high = ((int64_t)a * b + (1 << 30)) >> 31;
    return high > INT32_MAX ? INT32_MAX : (int32_t)high;
}

/* Exponents are held within 0..31: operands that are computed at run time may be anything. */
static inline int32_t ck_held(int32_t exponent) {
    return exponent < 0 ? 0 : exponent > 31 ? 31 : exponent;
}

/* x / 2^exponent, rounded to nearest, halves away from zero. */
static inline int32_t ck_shift_right(int32_t x, int32_t exponent) {
    const int32_t right = ck_held(exponent), mask = (int32_t)((1u << right) - 1u);
    return (x >> right) + ((x & mask) > (mask >> 1) + (x < 0));
}

/* x * multiplier * 2^(shift - 31): a wrapping left shift, the high product, a rounding right shift. */
static inline int32_t ck_requantise(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t right = shift < -31 ? 31 : -shift;
    return ck_shift_right(ck_high_product((int32_t)((uint32_t)x << ck_held(shift)), multiplier), right);
}

#if defined(__aarch64__)
/* Four of ck_requantise, for shifts of -31 to 31. SQRDMULH is the high product, SRSHL takes halves up: negative
 * numbers are made less by one before it where `away` is 1. */
static inline __attribute__((always_inline)) int32x4_t ck_requantised(int32x4_t x, int32x4_t multiplier,
                                                                      int32x4_t shift, int32_t away) {
    const int32x4_t none = vdupq_n_s32(0), right = vminq_s32(shift, none);
    const int32x4_t high = vqrdmulhq_s32(vshlq_s32(x, vmaxq_s32(shift, none)), multiplier);
    const int32x4_t down = vandq_s32(high, vandq_s32(right, vdupq_n_s32(-away)));
    return vrshlq_s32(vqaddq_s32(high, vshrq_n_s32(down, 31)), right);
}
#endif

/* The integer epilogue of n sums (a constant, so that this is vector code): rescale, add the zero point,
 * clamp; sums wrap. Multipliers are not negative, so the high product cannot saturate and its low 32 bits are all of it.
 * `away`: 1 takes halves away from zero, 0 up.
 */
static inline __attribute__((always_inline)) void ck_epilogue(const int32_t *restrict sums,
                                                              const int32_t *restrict multiplier,
                                                              const int32_t *restrict shift, int32_t away,
                                                              int32_t zero, int32_t low, int32_t high,
                                                              int32_t *restrict out, const int n) {
    int j = 0;
#if defined(__aarch64__)
    for (; j + 4 <= n; j += 4) {
        const int32x4_t factors = vld1q_s32(multiplier + j), powers = vld1q_s32(shift + j);
        const int32x4_t scaled = ck_requantised(vld1q_s32(sums + j), factors, powers, away);
        const int32x4_t x = vmaxq_s32(vaddq_s32(scaled, vdupq_n_s32(zero)), vdupq_n_s32(low));
        vst1q_s32(out + j, vminq_s32(x, vdupq_n_s32(high)));
    }
#endif
    for (; j < n; j++) {
        const int32_t left = shift[j] > 0 ? shift[j] : 0, right = shift[j] < 0 ? -shift[j] : 0;
        const int64_t product = (int64_t)(int32_t)((uint32_t)sums[j] << left) * multiplier[j];
        const int32_t scaled = (int32_t)((uint64_t)(product + (1 << 30)) >> 31);
        const int32_t mask = (int32_t)((1u << right) - 1u);
        const int32_t up = (scaled & mask) > (mask >> 1) + ((scaled < 0) & away);
        int32_t x = (int32_t)((uint32_t)(scaled >> right) + (uint32_t)up + (uint32_t)zero);
        x = x < low ? low : x;
        out[j] = x > high ? high : x;
    }
}
#endif
