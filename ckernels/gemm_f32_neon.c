/* gemm_f32_neon.c: the f32 tile for NEON: 16 of the 32 registers accumulate, 8 hold four elements of a row each. */
#define MR 8
#define NR 8
#define VL 4
#define A_IN_LANES
#define NAME ck_f32_gemm_8x8__neon
#include "gemm_f32.h"
