/* reduce_avx512.c: REDUCE for AVX-512. */
#define ISA avx512
#include "reduce.h"
