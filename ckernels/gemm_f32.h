/* gemm_f32.h: the f32 GEMM, written once in vector extensions; each gemm_f32_*.c names a tile, its ISA gives
 * the flags.
 *
 * MR x NR is the register tile, VL the floats of a vector, NAME the registry's name. Rows of A are read in
 * place when they are contiguous, else (transposed, or the rows of an indirect convolution) gathered into
 * `scratch` one tile at a time. B comes as packed panels; the outer loop keeps a block of them in L2 while
 * all of A passes by.
 */
#include "kernels.h"

enum { L2_FLOATS = 48 * 1024 }; /* a block of panels: 192 KiB */
enum { VECTORS = NR / VL };

typedef float vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));

/* c[i,:] = clamp(bias + a[i,:] . panel) for i < rows; `used` rows and n columns of it are stored. */
static inline __attribute__((always_inline)) void tile(const ck_gemm *p, const int rows,
                                                       const float *const *a, const float *panel, float *c,
                                                       int used, int64_t n) {
    vec acc[MR][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < VECTORS; j++) acc[i][j] = ((const vec *)panel)[j];
    for (int64_t k = 0; k < p->k; k++) {
        vec b[VECTORS];
        panel += NR;
        for (int j = 0; j < VECTORS; j++) b[j] = ((const vec *)panel)[j];
        for (int i = 0; i < rows; i++) {
            const vec x = a[i][k] - (vec){0};
            for (int j = 0; j < VECTORS; j++) acc[i][j] += x * b[j];
        }
    }
    __asm__ volatile("" ::: "memory"); /* or the bounds would take registers from the loop */
    const float low = p->low, high = p->high;
    const int64_t step_m = p->c_view.strides[1], step_n = p->c_view.strides[2];
    for (int i = 0; i < rows; i++) {
        float row[NR];
        if (i >= used) break;
        memcpy(row, acc[i], sizeof row);
        for (int j = 0; j < NR; j++) {
            row[j] = row[j] < low ? low : row[j];
            row[j] = row[j] > high ? high : row[j];
        }
        if (n == NR && step_n == 1) {
            memcpy(c + i * step_m, row, sizeof row);
        } else {
            for (int64_t j = 0; j < n; j++) c[i * step_m + j * step_n] = row[j];
        }
    }
}

/* Where rows m0 .. m0 + MR of A stand, contiguous: in A itself, or gathered into scratch. Past the end: the
 * last row. */
static void rows_of(const ck_gemm *p, const float *a, float *scratch, const float *pad, int64_t m0,
                    const float **rows) {
    const int64_t step_m = p->a_view.strides[1], step_k = p->a_view.strides[2], chunk = p->k / p->taps;
    for (int i = 0; i < MR; i++) {
        int64_t m = m0 + i;
        if (m >= p->m) {
            rows[i] = rows[i - 1];
            continue;
        }
        rows[i] = scratch + i * p->k;
        if (p->rows) {
            for (int64_t t = 0; t < p->taps; t++) {
                int32_t at = p->rows[m * p->taps + t];
                const float *from = at < 0 ? pad : a + at;
                for (int64_t x = 0; x < chunk; x++) scratch[i * p->k + t * chunk + x] = from[x];
            }
        } else if (step_k == 1) {
            rows[i] = a + m * step_m;
        } else {
            for (int64_t k = 0; k < p->k; k++) scratch[i * p->k + k] = a[m * step_m + k * step_k];
        }
    }
}

ck_status NAME(const void *params, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t panel = (p->k + 1) * NR, panels = (p->n + NR - 1) / NR;
    const int64_t block = panel < L2_FLOATS ? L2_FLOATS / panel : 1;
    const float *packed = (const float *)ck_at(p->packed, bases), *pad = (const float *)ck_at(p->pad, bases);
    float *scratch = (float *)ck_at(p->scratch, bases);
    if (p->pack_now) ck_f32_pack(p, NR, bases);
    for (int64_t b = 0; b < p->batch; b++) {
        const float *a = (const float *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        float *c = (float *)ck_at(p->c, bases) + p->c_view.offset + b * p->c_view.strides[0];
        for (int64_t first = 0; first < panels; first += block)
            for (int64_t m = 0; m < p->m; m += MR) {
                const float *rows[MR];
                const int used = (int)ck_min(MR, p->m - m);
                rows_of(p, a, scratch, pad, m, rows);
                for (int64_t j = first; j < ck_min(first + block, panels); j++) {
                    const float *from = packed + (b * panels + j) * panel;
                    float *to = c + m * p->c_view.strides[1] + j * NR * p->c_view.strides[2];
                    const int64_t n = ck_min(NR, p->n - j * NR);
                    if (used == 1) tile(p, 1, rows, from, to, 1, n);
                    else tile(p, MR, rows, from, to, used, n);
                }
            }
    }
    return CK_OK;
}
