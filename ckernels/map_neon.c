/* map_neon.c: MAP for NEON. */
#define ISA neon
#define VL 4
#include "map.h"
