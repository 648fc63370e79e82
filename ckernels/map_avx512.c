/* map_avx512.c: MAP for AVX-512. */
#define ISA avx512
#include "map.h"
