/* gemm_q8_dotprod.c: the 8-bit tile for NEON with dot products: 16 of the 32 registers accumulate, 8 hold 16 elements
 * of a row each.
 */
#include <arm_neon.h>
#define MR 8
#define NR 8
#define VL 4
#define NAME ck_q8_gemm_8x8c4__dotprod
#define A_SIGNED 1
#define DOT(sums, a, b) ((vec)vdotq_s32((int32x4_t)(sums), (int8x16_t)(a), (int8x16_t)(b)))
#define DOT_LANE(sums, x, b, lane) ((vec)vdotq_laneq_s32((int32x4_t)(sums), (int8x16_t)(b), (int8x16_t)(x), lane))
#include "gemm_q8c4.h"
