/* winograd_avx2.c: Winograd convolution with the tile of gemm_f32_avx2.c. */
#define MR 6
#define NR 16
#define VL 8
#define NAME ck_f32_winograd_6x16__avx2
#include "winograd.h"
