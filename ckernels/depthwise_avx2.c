/* depthwise_avx2.c: depthwise convolution for AVX2 with FMA. */
#define VL 8
#define REAL_NAME ck_f32_depthwise__avx2
#define WHOLE_NAME ck_q8_depthwise__avx2
#include "depthwise.h"
