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

/* 1 / x for a normal x whose reciprocal is normal; with AVX-512 an estimate of 14 bits and a step of Newton's.
 */
static inline real ck_reciprocal(real x) {
#if VL == 16 && defined(__AVX512F__)
    const real estimate = _mm512_rcp14_ps(x);
    return estimate + estimate * (1.0f - x * estimate);
#else
    return 1.0f / x;
#endif
}

/* Below it e^x is 0: without a normal exponent it would be slow, and a mask leaves nothing else. */
#define CK_LEAST (-86.9f)

/* e^x for x <= 89, 1.2 from CK_LEAST on: x = n ln 2 + r, then 2^n (1 + r + r^2 P(r)), where P is the polynomial
 * of least relative error. Adding 1.5 * 2^23 rounds to the integer n, and leaves it in the low bits. */
static inline real ck_exp_below(real x) {
    const real least = ck_all(CK_LEAST), t = floored(x, least);
    const real shifted = t * 0x1.715476p0f + 0x1.8p23f, n = shifted - 0x1.8p23f;
    const real r = (t - n * 0.693359375f) - n * -2.12194440e-4f;
    real p = r * 0.00138145394f + 0.00836874545f;
    p = p * r + 0.041668389f;
    p = p * r + 0.166665211f;
    p = p * r + 0.49999994f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
#if VL == 16 && defined(__AVX512F__)
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, least, _CMP_NLT_UQ), p, n);
#else
    const truths half = (truths)shifted - ((truths)ck_all(0x1.8p23f) - 126); /* the exponent of 2^n / 2 */
    return (real)((truths)(p * (real)(half << 23) * 2.0f) & ~(x < least));
#endif
}

static inline real ck_exp(real x) { return ck_exp_below(capped(x, ck_all(89.0f))); }

/* 1 / (1 + e^-x), 2.7: by z = e^-|x|, which is 1 at most, 1 / (1 + z) or z / (1 + z). */
static inline real ck_logistic(real x) {
    const real z = ck_exp_below((real)((truths)x | INT32_MIN));
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
