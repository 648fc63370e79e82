/* floats.h: vectors of VL floats, and what their minimum and maximum are where one is a NaN. */
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef float real __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t truths __attribute__((vector_size(VL * 4), aligned(4), may_alias));

/* min(max(x, low), high); a NaN stays. */
static inline __attribute__((always_inline)) real clamped(real x, real low, real high) {
#if VL == 16 && defined(__AVX512F__)
    return _mm512_min_ps(high, _mm512_max_ps(low, x));
#elif VL == 8 && defined(__AVX2__)
    return _mm256_min_ps(high, _mm256_max_ps(low, x));
#elif VL == 4 && defined(__aarch64__)
    return (real)vminq_f32((float32x4_t)high, vmaxq_f32((float32x4_t)low, (float32x4_t)x));
#else
    truths less = x < low;
    x = (real)(((truths)low & less) | ((truths)x & ~less));
    truths more = x > high;
    return (real)(((truths)high & more) | ((truths)x & ~more));
#endif
}
