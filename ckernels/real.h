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

/* 1.3: a polynomial about 0 (Cephes), further out 1 - 2 / (e^2x + 1). */
static inline float ck_tanh(float x) {
    const float z = x * x, size = fabsf(x);
    float p = -5.70498872745e-3f;
    p = p * z + 2.06390887954e-2f;
    p = p * z - 5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z - 3.33332819422e-1f;
    const float near = x + x * (z * p), far = copysignf(1.0f - 2.0f / (ck_exp(2.0f * size) + 1.0f), x);
    return size < 0.625f ? near : far;
}

/* 1.3: x + x p(x^2) about 0, further out 1 - e^q(x); p and q are least squares on Chebyshev's points. */
static inline float ck_erf(float x) {
    const float z = x * x, size = fabsf(x), t = size > 4.0f ? 4.0f : size;
    float p = 8.314348815474659e-5f;
    p = p * z - 8.127520559355617e-4f;
    p = p * z + 5.199451465159655e-3f;
    p = p * z - 2.68586166203022e-2f;
    p = p * z + 1.1283677071332932e-1f;
    p = p * z - 3.7612631916999817e-1f;
    p = p * z + 1.2837916612625122e-1f;
    float q = -6.935432566024247e-7f;
    q = q * t - 1.2026970580336638e-5f;
    q = q * t + 3.8371607661247253e-4f;
    q = q * t - 4.0122466161847115e-3f;
    q = q * t + 2.4815261363983154e-2f;
    q = q * t - 1.0791482776403427e-1f;
    q = q * t - 6.336156725883484e-1f;
    q = q * t - 1.129404067993164f;
    q = q * t + 1.5503924805670977e-4f;
    return size < 0.921875f ? x + x * p : copysignf(1.0f - ck_exp(q), x);
}

/* To the nearest integer, ties away from zero, exactly. */
static inline float ck_round(float x) {
    const float whole = truncf(x);
    return fabsf(x - whole) >= 0.5f ? whole + copysignf(1.0f, x) : whole;
}
#endif
