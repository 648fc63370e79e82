/* gemm_f32_avx2.c: the f32 tile for AVX2 with FMA: 12 of the 16 registers accumulate. */
#define MR 6
#define NR 16
#define VL 8
#define NAME ck_f32_gemm_6x16__avx2
#include "gemm_f32.h"
