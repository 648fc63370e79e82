/* gemm_q8c4.h: the 8-bit GEMM for instructions that add four products of bytes to an s32 lane, exact in s32;
 * each gemm_q8_*.c names a tile. DOT(sums, a, b) is that instruction, of A_SIGNED a and signed b.
 *
 * Both sides are brought to those signs by turning their highest bit, which moves a zero point by 128. What
 * the zero points add is known beforehand but for b_zero times the sum of a row of A: the rest is in the
 * panels' bias (gemm_pack.c). VL is the number of s32 lanes. Where there is DOT_LANE(sums, x, b, lane), it takes
 * the a that is in this lane of x.
 */
#include "kernels.h"
#define ELEMENT uint8_t
#include "gemm_rows.h"

enum { L2_BYTES = 384 * 1024 };
enum { VECTORS = NR / VL, BESIDE = 4 };

typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* sums wrap */
#include "lanes.h"

/* One group of four elements of each row. Behind the last there may be up to three that do not belong to it:
 * the panel has zeros for them. */
static inline __attribute__((always_inline)) void group(vec acc[MR][VECTORS], const int rows, const int vectors,
                                                        const uint8_t *const *row, int64_t k, vec turn,
                                                        const char *panel) {
    vec b[VECTORS];
    UNROLLED(j, vectors) b[j] = ((const vec *)(const void *)panel)[j];
    UNROLLED(i, rows) {
        int32_t four;
        memcpy(&four, row[i] + k, 4);
        const vec x = (four - (vec){0}) ^ turn;
        UNROLLED(j, vectors) acc[i][j] = DOT(acc[i][j], x, b[j]);
    }
}

#ifdef DOT_LANE
/* VL groups of each row, each group in a lane of a register; the same. */
static inline __attribute__((always_inline)) void groups(vec acc[MR][VECTORS], const int rows, const int vectors,
                                                         const uint8_t *const *row, int64_t k, vec turn,
                                                         const char *panel) {
    vec x[MR];
    UNROLLED(i, rows) x[i] = *(const vec *)(const void *)(row[i] + k) ^ turn;
    UNROLLED(lane, VL) {
        vec b[VECTORS];
        UNROLLED(j, vectors) b[j] = ((const vec *)(const void *)(panel + lane * NR * 4))[j];
        UNROLLED(i, rows)
            UNROLLED(j, vectors) acc[i][j] = DOT_LANE(acc[i][j], x[i], b[j], lane);
    }
}
#endif

/* sums[i, :] for i < rows, in the first `vectors` of the panel. less[i] is what b_zero takes from each sum of
 * row i. Where not `turned`, A has its sign already. */
static inline __attribute__((always_inline)) void tile(const ck_gemm *p, const int turned, const int rows,
                                                       const int vectors, const uint8_t *const *a,
                                                       const int32_t *less, const char *panel, int32_t *sums) {
    vec acc[MR][VECTORS];
    UNROLLED(i, rows)
        UNROLLED(j, vectors) acc[i][j] = (vec)(((const uvec *)(const void *)panel)[j] - (uint32_t)less[i]);
    panel += NR * 4;
    const int64_t chunk = p->k / p->taps;
    vec turn = (int32_t)(turned && (p->a_dtype == CK_I8) != A_SIGNED ? 0x80808080u : 0) - (vec){0};
    if (turned) __asm__("" : "+m"(turn)); /* not a number to the compiler: A is turned in vectors, not before */
    for (int64_t t = 0; t < p->taps; t++, a += MR) {
        const uint8_t *row[MR];
        UNROLLED(i, rows) row[i] = a[i];
        int64_t k = 0;
#ifdef DOT_LANE
        for (; k + 4 * VL < chunk + 4; k += 4 * VL, panel += NR * 4 * VL) groups(acc, rows, vectors, row, k, turn, panel);
#endif
        for (; k < chunk; k += 4, panel += NR * 4) group(acc, rows, vectors, row, k, turn, panel);
    }
    UNROLLED(i, rows)
        UNROLLED(j, vectors) *(vec *)(sums + i * NR + j * VL) = acc[i][j];
}

/* The sums of a single row in BESIDE panels at once: as many as hide how long an addition takes. */
static void sums_of_row(const ck_gemm *p, const uint8_t *const *a, const int32_t *less, const char *panels,
                        int64_t size, int32_t *sums) {
    vec acc[BESIDE][VECTORS], turn = (int32_t)((p->a_dtype == CK_I8) != A_SIGNED ? 0x80808080u : 0) - (vec){0};
    const int64_t chunk = p->k / p->taps;
    UNROLLED(q, BESIDE)
        UNROLLED(j, VECTORS)
            acc[q][j] = (vec)(((const uvec *)(const void *)(panels + q * size))[j] - (uint32_t)*less);
    for (int64_t t = 0; t < p->taps; t++, a += MR)
        for (int64_t k = 0; k < chunk; k += 4) {
            int32_t four;
            memcpy(&four, *a + k, 4);
            const vec x = (four - (vec){0}) ^ turn;
            panels += NR * 4;
            UNROLLED(q, BESIDE)
                UNROLLED(j, VECTORS) acc[q][j] = DOT(acc[q][j], x, ((const vec *)(const void *)(panels + q * size))[j]);
        }
    UNROLLED(q, BESIDE)
        UNROLLED(j, VECTORS) *(vec *)(sums + q * NR + j * VL) = acc[q][j];
}

static void sum(const ck_gemm *p, int rows, const uint8_t *const *a, const int32_t *less, const char *panel,
                int64_t n, int32_t *sums) {
#ifdef DOT_LANE /* a vector of A makes but 2 * VL sums: turning is a tenth of the work */
#define TILE(rows, vectors)                                                   \
    if (p->a_dtype == CK_I8) tile(p, 0, rows, vectors, a, less, panel, sums); \
    else tile(p, 1, rows, vectors, a, less, panel, sums)
#else
#define TILE(rows, vectors) tile(p, 1, rows, vectors, a, less, panel, sums)
#endif
#define ROWS(count)                \
    case count:                    \
        if (n > VL) {              \
            TILE(count, VECTORS);  \
        } else {                   \
            TILE(count, 1);        \
        }                          \
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
#undef TILE
}

/* Lanes of bytes or of s32 to C, one by one. */
static void spread(const ck_gemm *p, vec lanes, char *c, int64_t at, int64_t n) {
    const int64_t step = p->c_view.strides[2];
    int32_t out[VL];
    memcpy(out, &lanes, sizeof out);
    for (int64_t j = 0; j < n; j++)
        if (p->multiplier) c[at + j * step] = (char)out[j];
        else ((int32_t *)(void *)c)[at + j * step] = out[j];
}

#ifdef FOURS
/* n columns in `vectors` vectors of each of `count` pieces of C, `step` bytes apart, by four vectors at a time.
 * The pieces are rows, of the same columns, or they are `across` a row, each of columns of its own. */
static inline __attribute__((always_inline)) void by_fours(const ck_gemm *p, int count, const int vectors,
                                                           const int away, const int across,
                                                           const int32_t *sums, const rescaling *columns,
                                                           char *c, int64_t step, int64_t n) {
    const narrowing last = narrowing_of(p->c_zero, p->c_low, p->c_high, p->c_dtype == CK_I8);
    for (int i = 0; i < count; i += 4 / vectors) {
        __m512i four[4];
        char bytes[64];
        for (int q = 0; q < 4; q++) {
            const int piece = i + q / vectors < count ? i + q / vectors : count - 1, j = q % vectors;
            const rescaling *column = columns + (across ? piece * vectors : 0) + j;
            four[q] = rescaled(((const vec *)(const void *)(sums + piece * NR))[j], column, away);
        }
        _mm512_storeu_si512(bytes, in_order(bytes_of(four, &last)));
        for (int q = 0; q < 4 / vectors && i + q < count; q++) {
            char *to = c + (i + q) * step, *from = bytes + q * vectors * VL;
            if (n == vectors * VL) memcpy(to, from, vectors * VL);
            else
                for (int64_t j = 0; j < n; j++) to[j] = from[j];
        }
    }
}

/* The rescaling of the first n columns from n0 on; 0 where one is not quick. */
static int quick_columns(const ck_gemm *p, int64_t n0, int64_t n, rescaling *columns) {
    if (!p->multiplier || p->c_view.strides[2] != 1) return 0;
    for (int64_t j = 0; j * VL < n; j++) {
        columns[j] = rescaling_of(p->multiplier + n0 + j * VL, p->shift + n0 + j * VL);
        if (!columns[j].quick) return 0;
    }
    return 1;
}

/* The same as `finish`, where the quick rescaling is enough; or 0. */
static int quickly(const ck_gemm *p, int rows, const int32_t *sums, char *c, int64_t n0) {
    const int64_t n = ck_min(NR, p->n - n0), step = p->c_view.strides[1];
    rescaling columns[VECTORS];
    if (!quick_columns(p, n0, n, columns)) return 0;
    if (n > VL && p->c_ties_away) by_fours(p, rows, VECTORS, 1, 0, sums, columns, c, step, n);
    else if (n > VL) by_fours(p, rows, VECTORS, 0, 0, sums, columns, c, step, n);
    else if (p->c_ties_away) by_fours(p, rows, 1, 1, 0, sums, columns, c, step, n);
    else by_fours(p, rows, 1, 0, 0, sums, columns, c, step, n);
    return 1;
}

/* The same for whole panels of one row. */
static int quickly_across(const ck_gemm *p, const int32_t *sums, char *c, int64_t n0) {
    rescaling columns[BESIDE * VECTORS];
    if (!quick_columns(p, n0, BESIDE * NR, columns)) return 0;
    if (p->c_ties_away) by_fours(p, BESIDE, VECTORS, 1, 1, sums, columns, c, NR, NR);
    else by_fours(p, BESIDE, VECTORS, 0, 1, sums, columns, c, NR, NR);
    return 1;
}
#endif

#ifdef EIGHTS
/* The same as `finish` of a whole panel, where the quick rescaling is enough; or 0. */
static int quickly(const ck_gemm *p, int rows, const int32_t *sums, char *c, int64_t n0) {
    if (NR != 8 || !p->multiplier || p->c_view.strides[2] != 1 || p->n - n0 < NR) return 0;
    const eight_columns by = eight_columns_of(p->multiplier + n0, p->shift + n0);
    const narrowing last = narrowing_of(p->c_zero, p->c_low, p->c_high, p->c_dtype == CK_I8, p->c_ties_away);
    const int64_t step = p->c_view.strides[1];
    for (int i = 0; by.quick && i < rows; i++, sums += NR, c += step)
        put_eight((uint8_t *)c, *(const vec *)sums, *(const vec *)(sums + VL), &by, &last);
    return by.quick;
}
#endif

/* C[m + i, n0 ..] of sums[i, :]. */
static void finish(const ck_gemm *p, int rows, const int32_t *sums, char *c, int64_t at, int64_t n0) {
    const epilogue last = {p->c_zero - (vec){0}, p->c_low - (vec){0}, p->c_high - (vec){0}, p->c_ties_away};
    const int64_t step_m = p->c_view.strides[1], step_n = p->c_view.strides[2], end = ck_min(NR, p->n - n0);
#if defined(FOURS) || defined(EIGHTS)
    if (quickly(p, rows, sums, c + at, n0)) return;
#endif
    for (int64_t j = 0; j < end; j += VL, sums += VL, at += VL * step_n) {
        const int64_t n = ck_min(VL, end - j);
        const int dense = step_n == 1 && n == VL;
        if (!p->multiplier) {
            for (int i = 0; i < rows; i++) spread(p, *(const vec *)(sums + i * NR), c, at + i * step_m, n);
            continue;
        }
        const rescaling columns = rescaling_of(p->multiplier + n0 + j, p->shift + n0 + j);
        for (int i = 0; i < rows; i++) {
            const vec lanes = requantised(*(const vec *)(sums + i * NR), &columns, &last);
            if (dense) bytes_to((uint8_t *)c + at + i * step_m, lanes);
            else spread(p, lanes, c, at + i * step_m, n);
        }
    }
}

/* The same for BESIDE whole panels of one row. */
static void finish_row(const ck_gemm *p, const int32_t *sums, char *c, int64_t at, int64_t n0) {
#ifdef FOURS
    if (quickly_across(p, sums, c + at, n0)) return;
#endif
    for (int64_t q = 0; q < BESIDE; q++) finish(p, 1, sums + q * NR, c, at + q * NR * p->c_view.strides[2], n0 + q * NR);
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

ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t panel = NR * (4 + ck_c4_depth(p)), panels = (p->n + NR - 1) / NR;
    const int64_t block = panel < L2_BYTES ? L2_BYTES / panel : 1;
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const char *packed = ck_at(p->packed, bases);
    const uint8_t *pad = (const uint8_t *)ck_at(p->pad, bases);
    char *scratch = ck_at(p->scratch, bases), *c = ck_at(p->c, bases);
    const uint8_t **rows = (const uint8_t **)(void *)scratch;
    uint8_t *gathered = (uint8_t *)scratch + MR * p->taps * 8;
    const ck_range batches = ck_batches(p, begin, end), across = ck_panels_of(p, begin, end);
    for (int64_t b = batches.begin; b < batches.end; b++) {
        const ck_range of = ck_rows_of(p, b, begin, end);
        const int64_t step = tile_rows(of.end - of.begin);
        const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        for (int64_t first = across.begin; first < across.end; first += block)
            for (int64_t m = of.begin; m < of.end; m += step) {
                const int used = (int)ck_min(step, of.end - m);
                int32_t less[MR];
                _Alignas(64) int32_t sums[MR * NR];
                rows_of(p, a, pad, m, used, block >= WORTH, gathered, rows);
                sums_of(p, used, rows, b_zero, less);
                const int64_t *s = p->c_view.strides, at = p->c_view.offset + b * s[0] + m * s[1];
                const int64_t end = ck_min(first + block, across.end), whole = ck_min(end, p->n / NR);
                const char *from = packed + b * panels * panel;
                int64_t j = first;
                for (; used == 1 && j + BESIDE <= whole; j += BESIDE) {
                    sums_of_row(p, rows, less, from + j * panel, panel, sums);
                    finish_row(p, sums, c, at + j * NR * s[2], j * NR);
                }
                for (; j < end; j++) {
                    sum(p, used, rows, less, from + j * panel, p->n - j * NR, sums);
                    finish(p, used, sums, c, at + j * NR * s[2], j * NR);
                }
            }
    }
    return CK_OK;
}
