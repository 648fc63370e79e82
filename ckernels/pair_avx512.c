/* pair_avx512.c: functions of two bytes for AVX-512. */
#define VL 16
#define ADD_NAME ck_q8_add__avx512
#define MUL_NAME ck_q8_mul__avx512
#include "pair_wide.h"
