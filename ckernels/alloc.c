/* alloc.c: aligned memory, with an allocator that can be told to fail (so that tests walk every error path). */
#include <stdatomic.h>
#include <stdlib.h>

#include "ck.h"

static _Atomic int64_t countdown = 0;

void ck_fail_alloc(int64_t calls) { atomic_store(&countdown, calls); }

void *ck_alloc(int64_t size) {
    if (atomic_load(&countdown) > 0 && atomic_fetch_sub(&countdown, 1) == 1) return NULL;
    if (size < 0 || (uint64_t)size > SIZE_MAX - 64) return NULL;
    return aligned_alloc(64, ((size_t)size + 64) / 64 * 64);   /* a multiple of 64, never 0 */
}

void ck_free(void *memory) { free(memory); }
