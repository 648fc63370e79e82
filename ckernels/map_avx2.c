/* map_avx2.c: MAP for AVX2. */
#define ISA avx2
#define VL 8
#include "map.h"
