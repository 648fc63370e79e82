/* gemm_q8c4.h: the 8-bit GEMM for instructions that add four products of bytes to an s32 lane, exact in s32;
 * each gemm_q8_*.c names a tile. DOT(sums, a, b) is that instruction, of A_SIGNED a and signed b.
 *
 * Both sides are brought to those signs by turning their highest bit, which moves a zero point by 128. What
 * the zero points add is known beforehand but for b_zero times the sum of a row of A: the rest is in the
 * panels' bias (gemm_pack.c). VL is the number of s32 lanes.
 */
#include "kernels.h"
#define ELEMENT uint8_t
#include "gemm_rows.h"

enum { L2_BYTES = 384 * 1024 };
enum { VECTORS = NR / VL };

typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
#include "lanes.h"

/* VL lanes to C, or their first n. */
static inline __attribute__((always_inline)) void store(const ck_gemm *p, vec lanes, char *c, int64_t at,
                                                        int64_t n) {
    const int64_t step = p->c_view.strides[2];
    if (p->multiplier && n >= VL && step == 1) {
        bytes_to((uint8_t *)c + at, lanes);
        return;
    }
    int32_t out[VL];
    memcpy(out, &lanes, sizeof out);
    for (int64_t j = 0; j < ck_min(n, VL); j++)
        if (p->multiplier) c[at + j * step] = (char)out[j];
        else ((int32_t *)(void *)c)[at + j * step] = out[j];
}

/* One group of four elements of each row. Behind the last there may be up to three that do not belong to it:
 * the panel has zeros for them. */
static inline __attribute__((always_inline)) void group(vec acc[MR][VECTORS], const int rows, const int vectors,
                                                        const uint8_t *const *row, int64_t k, vec turn,
                                                        const char *panel) {
    vec b[VECTORS];
    for (int j = 0; j < vectors; j++) b[j] = ((const vec *)(const void *)panel)[j];
    for (int i = 0; i < rows; i++) {
        int32_t four;
        memcpy(&four, row[i] + k, 4);
        const vec x = (four - (vec){0}) ^ turn;
        for (int j = 0; j < vectors; j++) acc[i][j] = DOT(acc[i][j], x, b[j]);
    }
}

/* C[m + i, n0 ..] for i < rows, in the first `vectors` of the panel; n columns are stored. less[i] is what
 * b_zero takes from each sum of row i. */
static inline __attribute__((always_inline)) void tile(const ck_gemm *p, const int rows, const int vectors,
                                                       const uint8_t *const *a, const int32_t *less,
                                                       const char *panel, char *c, int64_t at, int64_t n0,
                                                       int64_t n) {
    vec acc[MR][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) acc[i][j] = ((const vec *)(const void *)panel)[j] - less[i];
    panel += NR * 4;
    const int64_t chunk = p->k / p->taps;
    const vec turn = (int32_t)((p->a_dtype == CK_I8) != A_SIGNED ? 0x80808080u : 0) - (vec){0};
    for (int64_t t = 0; t < p->taps; t++, a += MR) {
        const uint8_t *row[MR];
        for (int i = 0; i < rows; i++) row[i] = a[i];
        for (int64_t k = 0; k < chunk; k += 4, panel += NR * 4) group(acc, rows, vectors, row, k, turn, panel);
    }
    __asm__ volatile("" ::: "memory"); /* or the epilogue would take registers from the loop */
    const epilogue last = {p->c_zero - (vec){0}, p->c_low - (vec){0}, p->c_high - (vec){0}, p->c_ties_away};
    const int64_t *step = p->c_view.strides;
    for (int j = 0; j < vectors; j++) {
        vec multiplier = {0}, shift = {0};
        if (p->multiplier) {
            memcpy(&multiplier, p->multiplier + n0 + j * VL, sizeof multiplier);
            memcpy(&shift, p->shift + n0 + j * VL, sizeof shift);
        }
        for (int i = 0; i < rows; i++) {
            if (p->multiplier) acc[i][j] = requantised(acc[i][j], multiplier, shift, &last);
            store(p, acc[i][j], c, at + i * step[1] + j * VL * step[2], n - j * VL);
        }
    }
}

static void tile_of(const ck_gemm *p, int rows, const uint8_t *const *a, const int32_t *less,
                    const char *panel, char *c, int64_t at, int64_t n0) {
    const int64_t n = p->n - n0;
#define ROWS(count)                                                           \
    case count:                                                               \
        if (n > VL) tile(p, count, VECTORS, a, less, panel, c, at, n0, n);    \
        else tile(p, count, 1, a, less, panel, c, at, n0, n);                 \
        return;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if MR > 4
        ROWS(5) ROWS(6) ROWS(7) ROWS(8)
#endif
#if MR > 8
        ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
    }
#undef ROWS
}

/* b_zero times the sum of each row. */
static void sums_of(const ck_gemm *p, int rows, const uint8_t *const *a, int32_t b_zero, int32_t *less) {
    const uint8_t turn = (p->a_dtype == CK_I8) != A_SIGNED ? 0x80 : 0;
    for (int i = 0; i < rows; i++) {
        uint32_t sum = 0;
        for (int64_t t = 0; b_zero && t < p->taps; t++)
            for (int64_t k = 0; k < p->k / p->taps; k++) {
                const uint8_t x = a[t * MR + i][k] ^ turn;
                sum += (uint32_t)(A_SIGNED ? (int8_t)x : x);
            }
        less[i] = (int32_t)(sum * (uint32_t)b_zero);
    }
}

ck_status NAME(const void *params, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t panel = NR * (4 + ck_c4_depth(p)), panels = (p->n + NR - 1) / NR;
    const int64_t block = panel < L2_BYTES ? L2_BYTES / panel : 1, step = tile_rows(p->m);
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const char *packed = ck_at(p->packed, bases);
    const uint8_t *pad = (const uint8_t *)ck_at(p->pad, bases);
    char *scratch = ck_at(p->scratch, bases), *c = ck_at(p->c, bases);
    const uint8_t **rows = (const uint8_t **)(void *)scratch;
    uint8_t *gathered = (uint8_t *)scratch + MR * p->taps * 8;
    if (p->pack_now) PACK(p, NR, bases);
    for (int64_t b = 0; b < p->batch; b++) {
        const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        for (int64_t first = 0; first < panels; first += block)
            for (int64_t m = 0; m < p->m; m += step) {
                const int used = (int)ck_min(step, p->m - m);
                int32_t less[MR];
                rows_of(p, a, pad, m, used, gathered, rows);
                sums_of(p, used, rows, b_zero, less);
                for (int64_t j = first; j < ck_min(first + block, panels); j++) {
                    const int64_t *s = p->c_view.strides;
                    tile_of(p, used, rows, less, packed + (b * panels + j) * panel, c,
                            p->c_view.offset + b * s[0] + m * s[1] + j * NR * s[2], j * NR);
                }
            }
    }
    return CK_OK;
}
