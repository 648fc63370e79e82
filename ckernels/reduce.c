/* reduce.c: REDUCE for any CPU. */
#define ISA scalar
#include "reduce.h"
