/* winograd_neon.c: Winograd convolution for NEON, with the tile of gemm_f32_neon.c. */
#define MR 8
#define NR 8
#define VL 4
#define NAME ck_f32_winograd_8x8__neon
#include "winograd.h"
