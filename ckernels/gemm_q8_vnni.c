/* gemm_q8_vnni.c: the 8-bit tile for AVX-512 with VNNI: 24 of the 32 registers accumulate. */
#include <immintrin.h>
#define MR 12
#define NR 32
#define VL 16
#define NAME ck_q8_gemm_12x32c4__vnni
#define A_SIGNED 0
#define DOT(sums, a, b) ((vec)_mm512_dpbusd_epi32((__m512i)(sums), (__m512i)(a), (__m512i)(b)))
#include "gemm_q8c4.h"
