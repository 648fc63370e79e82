/* floats.h: vectors of VL floats, and what their minimum and maximum are where one is a NaN. */
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

typedef float real __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t truths __attribute__((vector_size(VL * 4), aligned(4), may_alias));

/* max(x, low) and min(x, high); a NaN stays. */
#if VL == 16 && defined(__AVX512F__)
#define FLOORED(x, low) _mm512_max_ps(low, x)
#define CAPPED(x, high) _mm512_min_ps(high, x)
#elif VL == 8 && defined(__AVX2__)
#define FLOORED(x, low) _mm256_max_ps(low, x)
#define CAPPED(x, high) _mm256_min_ps(high, x)
#elif VL == 4 && defined(__aarch64__)
#define FLOORED(x, low) vmaxq_f32((float32x4_t)(low), (float32x4_t)(x))
#define CAPPED(x, high) vminq_f32((float32x4_t)(high), (float32x4_t)(x))
#else
#define FLOORED(x, low) chosen((x) < (low), low, x)
#define CAPPED(x, high) chosen((x) > (high), high, x)
static inline real chosen(truths which, real yes, real no) {
    return (real)(((truths)yes & which) | ((truths)no & ~which));
}
#endif

static inline __attribute__((always_inline)) real floored(real x, real low) { return FLOORED(x, low); }

static inline __attribute__((always_inline)) real capped(real x, real high) { return CAPPED(x, high); }

static inline __attribute__((always_inline)) real clamped(real x, real low, real high) {
    return capped(floored(x, low), high);
}
