/* gemm_f32_avx512.c: the f32 tile for AVX-512: 24 of the 32 registers accumulate. */
#include <immintrin.h>
#define MR 12
#define NR 32
#define VL 16
#define NAME ck_f32_gemm_12x32__avx512
#define CLAMP(x, low, high) _mm512_min_ps(high, _mm512_max_ps(low, x))
#include "gemm_f32.h"
