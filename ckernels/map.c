/* map.c: MAP for any CPU, and the table of its primitives. */
#define ISA scalar
#define VL 4
#include "map.h"

const ck_primitive *ck_primitives(int32_t *count) {
    *count = (int32_t)(sizeof primitives / sizeof *primitives);
    return primitives;
}

int32_t ck_map_stack(void) { return STACK; }
