/* quantized.h: fixed-point arithmetic with the rounding of TFLite's kernels (gemmlowp fixedpoint.h).
 *
 * runtime/quantized.py is the definition. Shifts of negative numbers are arithmetic in every compiler we
 * build with.
 */
#ifndef CK_QUANTIZED_H
#define CK_QUANTIZED_H
#include <stdint.h>

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

/* The integer epilogue of n sums (a constant, so that this is vector code): rescale, add the zero point,
 * clamp; sums wrap. Multipliers are not negative, so the high product cannot saturate and its low 32 bits are all of it.
 * `away`: 1 takes halves away from zero, 0 up.
 */
static inline __attribute__((always_inline)) void ck_epilogue(const int32_t *restrict sums,
                                                              const int32_t *restrict multiplier,
                                                              const int32_t *restrict shift, int32_t away,
                                                              int32_t zero, int32_t low, int32_t high,
                                                              int32_t *restrict out, const int n) {
    for (int j = 0; j < n; j++) {
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
