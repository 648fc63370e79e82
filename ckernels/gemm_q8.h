/* gemm_q8.h: the 8-bit GEMM (either sign), exact in s32, written once; each gemm_q8_*.c names a tile.
 *
 * Both sides are widened to s16 with their zero points taken off (B when it is packed, A one tile of rows at
 * a time), so that one "multiply pairs, add neighbours" instruction does two products per lane. PAIRS(a, b)
 * is that instruction: for s32 lanes of two s16 each, a.lo * b.lo + a.hi * b.hi. VL is the number of s32
 * lanes. Without PAIRS, NEON's products of s16 are added to s32, and nothing lies in pairs. KR says how many
 * elements of a column a panel has side by side.
 */
#include "kernels.h"

enum { L2_BYTES = 192 * 1024 };
enum { VECTORS = NR / VL };

typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* sums wrap */
#include "lanes.h"

static inline void store(const ck_gemm *p, const int32_t *acc, char *c, int64_t at, int64_t n0, int64_t n) {
    const int64_t step = p->c_view.strides[2];
    if (!p->multiplier) {
        for (int64_t j = 0; j < n; j++) ((int32_t *)c)[at + j * step] = acc[j];
        return;
    }
    int32_t out[NR];
    ck_epilogue(acc, p->multiplier + n0, p->shift + n0, p->c_ties_away, p->c_zero, p->c_low, p->c_high, out, NR);
    if (n == NR && step == 1)
        for (int j = 0; j < NR; j++) ((uint8_t *)c)[at + j] = (uint8_t)out[j];
    else
        for (int64_t j = 0; j < n; j++) ((uint8_t *)c)[at + j * step] = (uint8_t)out[j];
}

#ifdef PAIRS
/* acc[i,:] += a[i][0..depth] . the panel's rows, which begin at b. */
static inline __attribute__((always_inline)) void add_products(uvec acc[MR][VECTORS], const int rows, const int16_t *a,
                                                               int64_t depth, const vec *b) {
    for (int64_t k = 0; k < depth; k += 2, b += VECTORS)
        UNROLLED(i, rows) {
            int32_t pair;
            memcpy(&pair, a + i * depth + k, sizeof pair);
            vec both = pair - (vec){0};
            UNROLLED(j, VECTORS) acc[i][j] += (uvec)PAIRS(both, b[j]);
        }
}
#else
/* The same. Eight elements of each row are in a register, of which an instruction takes one. */
static inline __attribute__((always_inline)) void add_products(uvec acc[MR][VECTORS], const int rows, const int16_t *a,
                                                               int64_t depth, const vec *panel) {
    const int16_t *b = (const int16_t *)(const void *)panel;
    int64_t k = 0;
    for (; k + 8 <= depth; k += 8) {
        int16x8_t x[MR];
        UNROLLED(i, rows) x[i] = vld1q_s16(a + i * depth + k);
#define LANE(lane)                                                                                               \
    do {                                                                                                         \
        const int16x8_t eight = vld1q_s16(b);                                                                    \
        UNROLLED(i, rows) {                                                                                      \
            acc[i][0] = (uvec)vmlal_laneq_s16((int32x4_t)acc[i][0], vget_low_s16(eight), x[i], lane);             \
            acc[i][1] = (uvec)vmlal_high_laneq_s16((int32x4_t)acc[i][1], eight, x[i], lane);                      \
        }                                                                                                        \
        b += NR;                                                                                                 \
    } while (0)
        LANE(0); LANE(1); LANE(2); LANE(3); LANE(4); LANE(5); LANE(6); LANE(7);
#undef LANE
    }
    for (; k < depth; k++, b += NR)
        UNROLLED(i, rows) {
            const int16x8_t eight = vld1q_s16(b);
            acc[i][0] = (uvec)vmlal_n_s16((int32x4_t)acc[i][0], vget_low_s16(eight), a[i * depth + k]);
            acc[i][1] = (uvec)vmlal_high_n_s16((int32x4_t)acc[i][1], eight, a[i * depth + k]);
        }
}
#endif

#ifdef FOURS
/* One row of a panel to C, of n columns `step` bytes apart. */
static inline __attribute__((always_inline)) void put_row(char *c, __m128i bytes, int64_t n, int64_t step) {
    uint8_t row[NR];
    if (n == NR && step == 1) {
        _mm_storeu_si128((void *)c, bytes);
        return;
    }
    memcpy(row, &bytes, NR);
    for (int64_t j = 0; j < n; j++) c[j * step] = (char)row[j];
}

/* The first `used` rows of sums to C, two at a time, where the quick rescaling is enough; or 0. */
static inline __attribute__((always_inline)) int quickly(const ck_gemm *p, const int rows, const int away,
                                                         uvec acc[MR][VECTORS], char *c, int used, int64_t n0,
                                                         int64_t n) {
    const narrowing last = narrowing_of(p->c_zero, p->c_low, p->c_high, p->c_dtype == CK_I8);
    const int64_t down = p->c_view.strides[1], step = p->c_view.strides[2];
    rescaling by[VECTORS];
    UNROLLED(j, VECTORS) by[j] = rescaling_of(p->multiplier + n0 + j * VL, p->shift + n0 + j * VL);
    UNROLLED(j, VECTORS) if (!by[j].quick) return 0;
    UNROLLED(i, rows) {
        if (i % 2 || i >= used) continue;
        wide four[4];
        UNROLLED(q, 4) four[q] = rescaled((vec)acc[ck_min(i + q / 2, rows - 1)][q % 2], &by[q % 2], away);
        const wide bytes = in_order(bytes_of(four, &last));
        put_row(c + i * down, _mm256_castsi256_si128(bytes), n, step);
        if (i + 1 < used) put_row(c + (i + 1) * down, _mm256_extracti128_si256(bytes, 1), n, step);
    }
    return 1;
}
#endif

static inline __attribute__((always_inline)) void tile(const ck_gemm *p, const int rows, const int16_t *a,
                                                       int64_t depth, const char *panel, char *c, int64_t at,
                                                       int used, int64_t n0, int64_t n) {
    uvec acc[MR][VECTORS];
    const vec *b = (const vec *)panel;
    UNROLLED(i, rows)
        UNROLLED(j, VECTORS) acc[i][j] = (uvec)b[j];
    add_products(acc, rows, a, depth, b + VECTORS);
#ifdef FOURS
    if (p->multiplier && p->c_ties_away && quickly(p, rows, 1, acc, c + at, used, n0, n)) return;
    if (p->multiplier && !p->c_ties_away && quickly(p, rows, 0, acc, c + at, used, n0, n)) return;
#endif
#ifdef EIGHTS
    if (p->multiplier && n == NR && p->c_view.strides[2] == 1) {
        const eight_columns by = eight_columns_of(p->multiplier + n0, p->shift + n0);
        const narrowing last = narrowing_of(p->c_zero, p->c_low, p->c_high, p->c_dtype == CK_I8, p->c_ties_away);
        const int64_t step = p->c_view.strides[1];
        UNROLLED(i, rows)
            if (by.quick && i < used) put_eight((uint8_t *)c + at + i * step, (vec)acc[i][0], (vec)acc[i][1], &by, &last);
        if (by.quick) return;
    }
#endif
    UNROLLED(i, rows) {
        int32_t row[NR];
        if (i >= used) break;
        memcpy(row, acc[i], sizeof row);
        store(p, row, c, at + i * p->c_view.strides[1], n0, n);
    }
}

static inline void widen(int16_t *to, const uint8_t *from, int64_t n, int64_t step, int32_t dtype,
                         int32_t zero) {
    int64_t x = 0;
#ifdef FOURS
    for (; step == 1 && x + 8 <= n; x += 8) {
        const __m128i eight = _mm_loadl_epi64((const void *)(from + x));
        const __m128i words = dtype == CK_I8 ? _mm_cvtepi8_epi16(eight) : _mm_cvtepu8_epi16(eight);
        _mm_storeu_si128((void *)(to + x), _mm_sub_epi16(words, _mm_set1_epi16((int16_t)zero)));
    }
#endif
#ifdef EIGHTS
    for (; step == 1 && x + 8 <= n; x += 8)
        vst1q_s16(to + x, dtype == CK_I8 ? eight_of(from + x, zero, 1) : eight_of(from + x, zero, 0));
#endif
    if (dtype == CK_I8 && step == 1) {
        for (; x < n; x++) to[x] = (int16_t)((int8_t)from[x] - zero);
    } else if (dtype == CK_I8) {
        for (; x < n; x++) to[x] = (int16_t)((int8_t)from[x * step] - zero);
    } else if (step == 1) {
        for (; x < n; x++) to[x] = (int16_t)(from[x] - zero);
    } else {
        for (; x < n; x++) to[x] = (int16_t)(from[x * step] - zero);
    }
}

/* Rows m0 .. m0 + used of A, widened to s16, `depth` (k in whole KR) apart. */
static void rows_of(const ck_gemm *p, const uint8_t *a, const uint8_t *pad, int64_t m0, int used,
                    int64_t depth, int16_t *scratch) {
    const int64_t step_m = p->a_view.strides[1], step_k = p->a_view.strides[2], chunk = p->k / p->taps;
    for (int i = 0; i < used; i++) {
        int16_t *to = scratch + i * depth;
        if (p->rows) {
            for (int64_t t = 0; t < p->taps; t++) {
                int32_t at = p->rows[(m0 + i) * p->taps + t];
                widen(to + t * chunk, at < 0 ? pad : a + at, chunk, 1, p->a_dtype, p->a_zero);
            }
        } else {
            widen(to, a + (m0 + i) * step_m, p->k, step_k, p->a_dtype, p->a_zero);
        }
        if (depth > p->k) to[p->k] = 0;
    }
}

ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t depth = (p->k + KR - 1) / KR * KR, panel = NR * 4 + depth * NR * 2, panels = (p->n + NR - 1) / NR;
    const int64_t block = panel < L2_BYTES ? L2_BYTES / panel : 1;
    const char *packed = ck_at(p->packed, bases);
    int16_t *scratch = (int16_t *)ck_at(p->scratch, bases);
    memset(scratch, 0, (size_t)(MR * depth) * sizeof *scratch);
    const ck_range batches = ck_batches(p, begin, end), across = ck_panels_of(p, begin, end);
    for (int64_t b = batches.begin; b < batches.end; b++) {
        const ck_range of = ck_rows_of(p, b, begin, end);
        const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        for (int64_t first = across.begin; first < across.end; first += block)
            for (int64_t m = of.begin; m < of.end; m += MR) {
                const int used = (int)ck_min(MR, of.end - m);
                rows_of(p, a, (const uint8_t *)ck_at(p->pad, bases), m, used, depth, scratch);
                for (int64_t j = first; j < ck_min(first + block, across.end); j++) {
                    const int64_t n = ck_min(NR, p->n - j * NR), *step = p->c_view.strides;
                    const int64_t at = p->c_view.offset + b * step[0] + m * step[1] + j * NR * step[2];
                    const char *from = packed + (b * panels + j) * panel;
                    if (used == 1) tile(p, 1, scratch, depth, from, ck_at(p->c, bases), at, 1, j * NR, n);
                    else if (MR > 6 && used <= MR / 2)
                        tile(p, MR / 2, scratch, depth, from, ck_at(p->c, bases), at, used, j * NR, n);
                    else tile(p, MR, scratch, depth, from, ck_at(p->c, bases), at, used, j * NR, n);
                }
            }
    }
    return CK_OK;
}
