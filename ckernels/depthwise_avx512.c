/* depthwise_avx512.c: for AVX-512. */
#define VL 16
#define REAL_NAME ck_f32_depthwise__avx512
#define WHOLE_NAME ck_q8_depthwise__avx512
#include "depthwise.h"
