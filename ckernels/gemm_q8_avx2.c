/* gemm_q8_avx2.c: the 8-bit tile for AVX2. */
#include <immintrin.h>
#define MR 6
#define NR 16
#define VL 8
#define KR 2
#define NAME ck_q8_gemm_6x16c2__avx2
#define PAIRS(a, b) ((vec)_mm256_madd_epi16((__m256i)(a), (__m256i)(b)))
#include "gemm_q8.h"
