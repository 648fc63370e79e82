/* gemm_q8_neon.c: the 8-bit tile for NEON of ARMv8.0: 16 of the 32 registers accumulate. */
#define MR 8
#define NR 8
#define VL 4
#define KR 1
#define NAME ck_q8_gemm_8x8__neon
#include "gemm_q8.h"
