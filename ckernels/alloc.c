/* alloc.c: aligned memory, with an allocator that can be told to fail (so that tests walk every error path).
 */
#define _POSIX_C_SOURCE 200112L
#include <stdatomic.h>
#include <stdlib.h>

#include "ck.h"

static _Atomic int64_t countdown = 0;

void ck_fail_alloc(int64_t calls) { atomic_store(&countdown, calls); }

void *ck_alloc(int64_t size) {
    if (atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1) return NULL;
    void *memory;
    if (size < 0 || (uint64_t)size > SIZE_MAX) return NULL;
    return posix_memalign(&memory, 64, size ? (size_t)size : 1) == 0 ? memory : NULL;
}

void ck_free(void *memory) { free(memory); }
