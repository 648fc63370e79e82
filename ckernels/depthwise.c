/* depthwise.c: depthwise convolution for any CPU. */
#define VL 4
#define REAL_NAME ck_f32_depthwise__scalar
#define WHOLE_NAME ck_q8_depthwise__scalar
#include "depthwise.h"
