/* reduce_avx2.c: REDUCE for AVX2. */
#define ISA avx2
#include "reduce.h"
