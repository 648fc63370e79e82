/* map_neon.c: MAP for NEON. */
#define ISA neon
#include "map.h"
