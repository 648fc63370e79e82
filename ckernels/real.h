/* real.h: functions of vectors of floats (floats.h) without branches and calls.
 *
 * Errors are the greatest seen over the range, in units in the last place. A NaN gives a NaN.
 */
#ifndef CK_REAL_H
#define CK_REAL_H
#include <math.h>
#include <stdint.h>

#include "floats.h"

static inline real ck_all(float x) { return x - (real){0}; }

static inline real ck_abs(real x) { return (real)((truths)x & 0x7fffffff); }

/* The size of x, which is not negative, with the sign of the other. */
static inline real ck_signed(real x, real sign) { return (real)((truths)x | ((truths)sign & INT32_MIN)); }

/* 1 / x for a normal x whose reciprocal is normal; with AVX-512 an estimate of 14 bits and a step of Newton's. */
static inline real ck_reciprocal(real x) {
#if VL == 16 && defined(__AVX512F__)
    const real estimate = _mm512_rcp14_ps(x);
    return estimate + estimate * (1.0f - x * estimate);
#else
    return 1.0f / x;
#endif
}

/* e^x = y 2^n for -104 <= x <= 89: x = n ln 2 + r, and 1 + r + r^2 P(r), where P is the polynomial of least relative
 * error. Adding 1.5 * 2^23 rounds to the integer n, and leaves it in the low bits of `shifted`. */
static inline real ck_exp_parts(real x, real *shifted) {
    *shifted = x * 0x1.715476p0f + 0x1.8p23f;
    const real n = *shifted - 0x1.8p23f, r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    real p = r * 0.00138145394f + 0.00836874545f;
    p = p * r + 0.041668389f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    p = p * r + 1.0f;
    return p * r + 1.0f;
}

/* e^x, 1.2: 2^n in two factors, for results without a normal exponent. */
static inline real ck_exp(real x) {
    real shifted;
    const real y = ck_exp_parts(clamped(x, ck_all(-104.0f), ck_all(89.0f)), &shifted);
#if VL == 16 && defined(__AVX512F__)
    return _mm512_scalef_ps(y, shifted - 0x1.8p23f);
#else
    const truths power = (truths)shifted - (truths)ck_all(0x1.8p23f), half = power >> 1;
    return y * (real)((half + 127) << 23) * (real)((power - half + 127) << 23);
#endif
}

/* e^x for x <= 0, but 0 where that has no normal exponent. */
static inline real ck_exp_down(real x) {
    real shifted;
    const real y = ck_exp_parts(floored(x, ck_all(-104.0f)), &shifted);
#if VL == 16 && defined(__AVX512F__)
    return _mm512_scalef_ps(y, shifted - 0x1.8p23f);
#else
    const truths power = (truths)shifted - (truths)ck_all(0x1.8p23f) + 127;
    return y * (real)((power & (power > 0)) << 23);
#endif
}

/* 1 / (1 + e^-x), 2.7: by z = e^-|x|, which is 1 at most, 1 / (1 + z) or z / (1 + z). */
static inline real ck_logistic(real x) {
    const real z = ck_exp_down((real)((truths)x | INT32_MIN));
    const truths below = (truths)x < 0;
    const real top = (real)(((truths)z & below) | ((truths)ck_all(1.0f) & ~below));
    return top * ck_reciprocal(1.0f + z);
}

/* 6: x P(x^2) / Q(x^2), a bit more than 1, and cut, where x is held. Here and in ck_erf P and Q are the quotient
 * of least relative error, by Lawson's weights on Chebyshev's points. */
static inline real ck_tanh(real x) {
    const real t = capped(ck_abs(x), ck_all(9.3f)), z = t * t;
    real p = z * 1.33194327e-08f + 2.05839315e-05f;
    p = p * z + 0.00349407084f;
    p = p * z + 0.133797511f;
    p = p * z + 1.0f;
    real q = z * 7.76222237e-07f + 0.000328314578f;
    q = q * z + 0.025871221f;
    q = q * z + 0.467130661f;
    q = q * z + 1.0f;
    return ck_signed(capped(t * p * ck_reciprocal(q), ck_all(1.0f)), x);
}

/* 6.1: the same. */
static inline real ck_erf(real x) {
    const real t = capped(ck_abs(x), ck_all(4.05f)), z = t * t;
    real p = z * 2.04191838e-06f + 0.000284764654f;
    p = p * z + 0.00377845881f;
    p = p * z + 0.0527866632f;
    p = p * z + 0.190759525f;
    p = p * z + 1.12837911f;
    real q = z * 3.80012389e-05f + 0.00116490037f;
    q = q * z + 0.0149951428f;
    q = q * z + 0.114247106f;
    q = q * z + 0.502388954f;
    q = q * z + 1.0f;
    return ck_signed(capped(t * p * ck_reciprocal(q), ck_all(1.0f)), x);
}

/* To the nearest integer, ties away from zero, exactly. */
static inline float ck_round(float x) {
    const float whole = truncf(x);
    return fabsf(x - whole) >= 0.5f ? whole + copysignf(1.0f, x) : whole;
}
#endif
