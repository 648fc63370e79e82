/* gemm_f32.h: the f32 GEMM, written once in vector extensions; each gemm_f32_*.c names a tile, its ISA gives
 * the flags.
 *
 * MR x NR is the register tile, VL the floats of a vector, NAME the registry's name. Rows of A are read where
 * they stand, in chunks that follow each other along k; only a transposed A is gathered, a tile at a time. B
 * comes as packed panels; the outer loop keeps a block of them in L2 while all of A passes by.
 */
#include "kernels.h"
#ifndef L2_FLOATS
#define L2_FLOATS (96 * 1024) /* of a block of panels: 384 KiB */
#endif
#define ELEMENT float
#include "gemm_rows.h"

enum { VECTORS = NR / VL, BESIDE = 4 };

#include "floats.h"

static inline __attribute__((always_inline)) void store(real x, float *c, int64_t n, int64_t step) {
    if (step == 1 && n >= VL) {
        *(real *)c = x;
        return;
    }
    float lanes[VL];
    memcpy(lanes, &x, sizeof lanes);
    for (int64_t j = 0; j < ck_min(n, VL); j++) c[j * step] = lanes[j];
}

/* c[i,:] = clamp(bias + sum over taps t of a[t * MR + i][0..chunk] . panel) for i < rows, in the first
 * `vectors` of the panel; n columns are stored. */
static inline __attribute__((always_inline)) void tile(const ck_gemm *p, const int rows, const int vectors,
                                                       const float *const *a, const float *panel, float *c,
                                                       int64_t n) {
    real acc[MR][VECTORS];
    UNROLLED(i, rows)
        UNROLLED(j, vectors) acc[i][j] = ((const real *)panel)[j];
    const int64_t chunk = p->k / p->taps;
    for (int64_t t = 0; t < p->taps; t++, a += MR) {
        const float *row[MR];
        UNROLLED(i, rows) row[i] = a[i];
        int64_t k = 0;
#ifdef A_IN_LANES
        for (; k + VL <= chunk; k += VL) {
            real x[MR];
            UNROLLED(i, rows) x[i] = *(const real *)(row[i] + k);
            UNROLLED(lane, VL) {
                real b[VECTORS];
                panel += NR;
                UNROLLED(j, vectors) b[j] = ((const real *)panel)[j];
                UNROLLED(i, rows)
                    UNROLLED(j, vectors) acc[i][j] += x[i][lane] * b[j];
            }
        }
#endif
        for (; k < chunk; k++) {
            real b[VECTORS];
            panel += NR;
            UNROLLED(j, vectors) b[j] = ((const real *)panel)[j];
            UNROLLED(i, rows) {
                const real x = row[i][k] - (real){0};
                UNROLLED(j, vectors) acc[i][j] += x * b[j];
            }
        }
    }
    __asm__ volatile("" ::: "memory"); /* or the bounds would take registers from the loop */
    const real low = p->low - (real){0}, high = p->high - (real){0};
    const int64_t step = p->c_view.strides[2];
    const int64_t down = p->c_view.strides[1];
    UNROLLED(i, rows)
        UNROLLED(j, vectors)
            store(clamped(acc[i][j], low, high), c + i * down + j * VL * step, n - j * VL, step);
}

/* A tile of as many rows and vectors as there are. */
static void tile_of(const ck_gemm *p, int rows, const float *const *a, const float *panel, float *c,
                    int64_t n) {
#define ROWS(count)                                                  \
    case count:                                                      \
        if (n > VL) tile(p, count, VECTORS, a, panel, c, n);         \
        else tile(p, count, 1, a, panel, c, n);                      \
        return;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if MR > 4
        ROWS(5) ROWS(6)
#endif
#if MR > 6
        ROWS(7) ROWS(8)
#endif
#if MR > 8
        ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
    }
#undef ROWS
}

/* A single row of C in BESIDE panels at once: as many sums as hide how long an addition takes. */
static void one_row(const ck_gemm *p, const float *const *a, const float *panels, int64_t size, float *c) {
    real acc[BESIDE][VECTORS];
    const int64_t chunk = p->k / p->taps, step = p->c_view.strides[2];
    UNROLLED(q, BESIDE)
        UNROLLED(j, VECTORS) acc[q][j] = ((const real *)(panels + q * size))[j];
    for (int64_t t = 0; t < p->taps; t++, a += MR)
        for (int64_t k = 0; k < chunk; k++) {
            const real x = (*a)[k] - (real){0};
            panels += NR;
            UNROLLED(q, BESIDE)
                UNROLLED(j, VECTORS) acc[q][j] += x * ((const real *)(panels + q * size))[j];
        }
    const real low = p->low - (real){0}, high = p->high - (real){0};
    UNROLLED(q, BESIDE)
        UNROLLED(j, VECTORS) store(clamped(acc[q][j], low, high), c + (q * NR + j * VL) * step, VL, step);
}

ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t panel = (p->k + 1) * NR, panels = (p->n + NR - 1) / NR;
    const int64_t block = panel < L2_FLOATS ? L2_FLOATS / panel : 1;
    const float *packed = (const float *)ck_at(p->packed, bases), *pad = (const float *)ck_at(p->pad, bases);
    char *scratch = ck_at(p->scratch, bases);
    const float **rows = (const float **)(void *)scratch;
    float *gathered = (float *)(void *)(scratch + MR * p->taps * 8);
    const ck_range batches = ck_batches(p, begin, end), across = ck_panels_of(p, begin, end);
    for (int64_t b = batches.begin; b < batches.end; b++) {
        const ck_range of = ck_rows_of(p, b, begin, end);
        const int64_t step = tile_rows(of.end - of.begin);
        const float *a = (const float *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        float *c = (float *)ck_at(p->c, bases) + p->c_view.offset + b * p->c_view.strides[0];
        for (int64_t first = across.begin; first < across.end; first += block)
            for (int64_t m = of.begin; m < of.end; m += step) {
                const int used = (int)ck_min(step, of.end - m);
                rows_of(p, a, pad, m, used, block >= WORTH, gathered, rows);
                const int64_t end = ck_min(first + block, across.end), whole = p->n / NR;
                float *row = c + m * p->c_view.strides[1];
                int64_t j = first;
                for (; used == 1 && j + BESIDE <= ck_min(end, whole); j += BESIDE)
                    one_row(p, rows, packed + (b * panels + j) * panel, panel, row + j * NR * p->c_view.strides[2]);
                for (; j < end; j++)
                    tile_of(p, used, rows, packed + (b * panels + j) * panel, row + j * NR * p->c_view.strides[2],
                            p->n - j * NR);
            }
    }
    return CK_OK;
}
