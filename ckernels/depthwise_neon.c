/* depthwise_neon.c: depthwise convolution for NEON. */
#define VL 4
#define REAL_NAME ck_f32_depthwise__neon
#define WHOLE_NAME ck_q8_depthwise__neon
#include "depthwise.h"
