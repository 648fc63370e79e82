/* real.h: functions of floats without branches and calls, which loops over them make vector code of.
 *
 * Errors are the greatest seen over the range, in units in the last place. A NaN gives a NaN.
 */
#ifndef CK_REAL_H
#define CK_REAL_H
#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float ck_float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline uint32_t ck_bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* e^x, 1.0: x = n ln 2 + r, a polynomial in r (Cephes), and 2^n in two factors, for results without a normal
 * exponent. Adding 1.5 * 2^23 rounds to the integer n, and leaves it in the low bits. */
static inline float ck_exp(float x) {
    const float shift = 0x1.8p23f;
    float t = x < -104.0f ? -104.0f : x;
    t = t > 89.0f ? 89.0f : t;
    const float shifted = t * 0x1.715476p0f + shift, n = shifted - shift;
    const float r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = p * (r * r) + r + 1.0f;
    const int32_t power = (int32_t)(ck_bits_of(shifted) - ck_bits_of(shift)), half = power >> 1;
    return y * ck_float_of((uint32_t)(half + 127) << 23) * ck_float_of((uint32_t)(power - half + 127) << 23);
}

/* 1 / (1 + e^-x), 2.4: as above, but a power of 2 is normal or infinite. */
static inline float ck_logistic(float x) {
    const float shift = 0x1.8p23f;
    float t = x < -89.0f ? 89.0f : -x;
    t = t < -87.0f ? -87.0f : t;
    const float shifted = t * 0x1.715476p0f + shift, n = shifted - shift;
    const float r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = p * (r * r) + r + 1.0f;
    return 1.0f / (1.0f + y * ck_float_of((ck_bits_of(shifted) + 127) << 23));
}

/* 5.5: x P(x^2) / Q(x^2), a bit more than 1, and cut, where x is held. Here and in ck_erf P and Q are the quotient of least relative
 * error, by Lawson's weights on Chebyshev's points. */
static inline float ck_tanh(float x) {
    const float size = fabsf(x), t = size > 9.3f ? 9.3f : size, z = t * t;
    float p = 1.33194327e-08f;
    p = p * z + 2.05839315e-05f;
    p = p * z + 0.00349407084f;
    p = p * z + 0.133797511f;
    p = p * z + 1.0f;
    float q = 7.76222237e-07f;
    q = q * z + 0.000328314578f;
    q = q * z + 0.025871221f;
    q = q * z + 0.467130661f;
    q = q * z + 1.0f;
    const float y = t * p / q;
    return copysignf(y > 1.0f ? 1.0f : y, x);
}

/* The same. */
static inline float ck_erf(float x) {
    const float size = fabsf(x), t = size > 4.05f ? 4.05f : size, z = t * t;
    float p = 2.04191838e-06f;
    p = p * z + 0.000284764654f;
    p = p * z + 0.00377845881f;
    p = p * z + 0.0527866632f;
    p = p * z + 0.190759525f;
    p = p * z + 1.12837911f;
    float q = 3.80012389e-05f;
    q = q * z + 0.00116490037f;
    q = q * z + 0.0149951428f;
    q = q * z + 0.114247106f;
    q = q * z + 0.502388954f;
    q = q * z + 1.0f;
    const float y = t * p / q;
    return copysignf(y > 1.0f ? 1.0f : y, x);
}

/* To the nearest integer, ties away from zero, exactly. */
static inline float ck_round(float x) {
    const float whole = truncf(x);
    return fabsf(x - whole) >= 0.5f ? whole + copysignf(1.0f, x) : whole;
}
#endif
