/* depthwise_avx512.c: of floats for AVX-512. Bytes are done by depthwise_vnni.c, else by depthwise_avx2.c. */
#define VL 16
#define REAL_NAME ck_f32_depthwise__avx512
#include "depthwise.h"
