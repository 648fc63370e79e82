/* floats.h: vectors of VL floats, and what their minimum and maximum are where one is a NaN. */
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef float real __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t truths __attribute__((vector_size(VL * 4), aligned(4), may_alias));

/* max(x, low) and min(x, high); a NaN stays. */
static inline __attribute__((always_inline)) real floored(real x, real low) {
#if VL == 16 && defined(__AVX512F__)
    return _mm512_max_ps(low, x);
#elif VL == 8 && defined(__AVX2__)
    return _mm256_max_ps(low, x);
#elif VL == 4 && defined(__aarch64__)
    return vmaxq_f32((float32x4_t)low, (float32x4_t)x);
#else
    const truths less = x < low;
    return (real)(((truths)low & less) | ((truths)x & ~less));
#endif
}

static inline __attribute__((always_inline)) real capped(real x, real high) {
#if VL == 16 && defined(__AVX512F__)
    return _mm512_min_ps(high, x);
#elif VL == 8 && defined(__AVX2__)
    return _mm256_min_ps(high, x);
#elif VL == 4 && defined(__aarch64__)
    return vminq_f32((float32x4_t)high, (float32x4_t)x);
#else
    const truths more = x > high;
    return (real)(((truths)high & more) | ((truths)x & ~more));
#endif
}

static inline __attribute__((always_inline)) real clamped(real x, real low, real high) {
    return capped(floored(x, low), high);
}
