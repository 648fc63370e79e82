/* gemm_q8.c: the 8-bit tile for any CPU. */
#define MR 4
#define NR 8
#define VL 4
#define KR 2
#define NAME ck_q8_gemm_4x8c2__scalar
#if defined(__SSE2__)
#include <emmintrin.h>
#define PAIRS(a, b) ((vec)_mm_madd_epi16((__m128i)(a), (__m128i)(b)))
#else
/* The pair in memory order is (low address, high address); both sides split alike, so byte order does not
 * matter. */
#define PAIRS(a, b) (((a) << 16 >> 16) * ((b) << 16 >> 16) + ((a) >> 16) * ((b) >> 16))
#endif
#include "gemm_q8.h"
