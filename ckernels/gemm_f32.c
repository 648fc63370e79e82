/* gemm_f32.c: the f32 tile for any CPU: 8 vectors of 4 floats, which SSE2, NEON and plain registers all hold.
 */
#define MR 4
#define NR 8
#define VL 4
#define NAME ck_f32_gemm_4x8__scalar
#include "gemm_f32.h"
