/* gemm_f32_avx512.c: the f32 tile for AVX-512: 24 of the 32 registers accumulate. */
#define MR 12
#define NR 32
#define VL 16
#define L2_FLOATS (176 * 1024) /* of 1 MiB that a core has with AVX-512, but for the smallest */
#define NAME ck_f32_gemm_12x32__avx512
#include "gemm_f32.h"
