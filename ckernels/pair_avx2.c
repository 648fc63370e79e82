/* pair_avx2.c: functions of two bytes for AVX2 with FMA. */
#define VL 8
#define ADD_NAME ck_q8_add__avx2
#define MUL_NAME ck_q8_mul__avx2
#include "pair_wide.h"
