/* winograd_avx512.c: Winograd convolution with the tile of gemm_f32_avx512.c. */
#define MR 12
#define NR 32
#define VL 16
#define NAME ck_f32_winograd_12x32__avx512
#include "winograd.h"
