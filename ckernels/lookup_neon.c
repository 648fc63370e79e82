/* lookup_neon.c: bytes through a table that lies in sixteen registers. */
#include <arm_neon.h>

#include "kernels.h"

enum { WIDTH = 16 };

/* An index past its quarter of the table leaves what is there. */
static inline __attribute__((always_inline)) uint8x16_t looked_up(const uint8x16x4_t quarter[4], uint8x16_t x) {
    uint8x16_t y = vqtbl4q_u8(quarter[0], x);
    UNROLLED(q, 3) y = vqtbx4q_u8(y, quarter[q + 1], vsubq_u8(x, vdupq_n_u8((uint8_t)(64 * (q + 1)))));
    return y;
}

ck_status ck_x8_lookup__neon(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_lookup *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *table = (const uint8_t *)ck_at(p->table, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    uint8x16x4_t quarter[4];
    UNROLLED(q, 4) quarter[q] = vld1q_u8_x4(table + q * 64);
    int64_t i = begin;
    for (; i + WIDTH <= end; i += WIDTH) vst1q_u8(out + i, looked_up(quarter, vld1q_u8(in + i)));
    for (; i < end; i++) out[i] = table[in[i]];
    return CK_OK;
}
