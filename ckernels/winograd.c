/* winograd.c: Winograd convolution on any CPU, with the tile of gemm_f32.c. */
#define MR 4
#define NR 8
#define VL 4
#define NAME ck_f32_winograd_4x8__scalar
#include "winograd.h"
