/* lookup_vbmi.c: bytes through a table that lies in four registers. */
#include <immintrin.h>

#include "kernels.h"

enum { WIDTH = 64 };

ck_status ck_x8_lookup__vbmi(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_lookup *p = params;
    const char *in = ck_at(p->in, bases), *table = ck_at(p->table, bases);
    char *out = ck_at(p->out, bases);
    __m512i quarter[4];
    UNROLLED(q, 4) quarter[q] = _mm512_loadu_si512(table + q * WIDTH);
    for (int64_t i = begin; i < end; i += WIDTH) {
        const __mmask64 here = ~(__mmask64)0 >> (WIDTH - ck_min(WIDTH, end - i));
        const __m512i x = _mm512_maskz_loadu_epi8(here, in + i);
        const __m512i low = _mm512_permutex2var_epi8(quarter[0], x, quarter[1]);
        const __m512i high = _mm512_permutex2var_epi8(quarter[2], x, quarter[3]);
        const __m512i y = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
        if (here == ~(__mmask64)0) _mm512_storeu_si512(out + i, y);
        else _mm512_mask_storeu_epi8(out + i, here, y);
    }
    return CK_OK;
}
