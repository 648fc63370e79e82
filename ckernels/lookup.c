/* lookup.c: bytes through a table, for any CPU. */
#include "kernels.h"

ck_status ck_x8_lookup__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_lookup *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *table = (const uint8_t *)ck_at(p->table, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    for (int64_t i = begin; i < end; i++) out[i] = table[in[i]];
    return CK_OK;
}
