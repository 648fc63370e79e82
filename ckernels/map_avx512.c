/* map_avx512.c: MAP for AVX-512. */
#define ISA avx512
#define VL 16
#include "map.h"
