/* gemm_q8_finish.h: what an 8-bit GEMM on groups of four bytes (gemm_pack.c) does beside the products: the
 * sums of rows of A, and the epilogue. Sums come in rows of NR; A_SIGNED is the sign that the tile gives to
 * A.
 */
enum { VECTORS = NR / VL };

typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* sums wrap */
#include "lanes.h"

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
/* The lanes of `mask` of piece q of four vectors of bytes, of which there are 4 / vectors. */
static inline __attribute__((always_inline)) void put_piece(char *to, __m512i bytes, const int q,
                                                            const int vectors, __mmask32 mask) {
    const int low = q * vectors < 2;
    const __m256i half = low ? _mm512_castsi512_si256(bytes) : _mm512_extracti64x4_epi64(bytes, 1);
    if (vectors == 2) _mm256_mask_storeu_epi8(to, mask, half);
    else if (q % 2) _mm_mask_storeu_epi8(to, (__mmask16)mask, _mm256_extracti128_si256(half, 1));
    else _mm_mask_storeu_epi8(to, (__mmask16)mask, _mm256_castsi256_si128(half));
}

/* n columns in `vectors` vectors of each of `count` pieces of C, `step` bytes apart, by four vectors at a
 * time. The pieces are rows, of the same columns, or they are `across` a row, each of columns of its own. Of
 * sums there is a whole number of fours. */
static inline __attribute__((always_inline)) void by_fours(const ck_gemm *p, int count, const int vectors,
                                                           const int away, const int across,
                                                           const int32_t *sums, const rescaling *columns,
                                                           char *c, int64_t step, int64_t n) {
    const narrowing last = narrowing_of(p->c_zero, p->c_low, p->c_high, p->c_dtype == CK_I8);
    const __mmask32 mask = (__mmask32)(~0ull >> (64 - n));
    for (; count > 0; count -= 4 / vectors, sums += 4 / vectors * NR, c += 4 / vectors * step) {
        __m512i four[4];
        UNROLLED(q, 4) {
            const int piece = q / vectors, j = q % vectors;
            const rescaling *column = columns + (across ? q : j);
            four[q] = rescaled(((const vec *)(const void *)(sums + piece * NR))[j], column, away);
        }
        const __m512i bytes = in_order(bytes_of(four, &last));
        for (int q = 0; q < 4 / vectors && q < count; q++) put_piece(c + q * step, bytes, q, vectors, mask);
        if (across) columns += 4;
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

/* b_zero times the sum of each row; chunk t of row i stands at a[t * next + i * apart]. */
static void sums_of(const ck_gemm *p, int rows, const uint8_t *const *a, int64_t next, int64_t apart,
                    int32_t b_zero, int32_t *less) {
    const uint8_t turn = (p->a_dtype == CK_I8) != A_SIGNED ? 0x80 : 0;
    for (int i = 0; i < rows; i++) {
        uint32_t sum = 0;
        for (int64_t t = 0; b_zero && t < p->taps; t++)
            for (int64_t k = 0; k < p->k / p->taps; k++) {
                const uint8_t x = a[t * next + i * apart][k] ^ turn;
                sum += (uint32_t)(A_SIGNED ? (int8_t)x : x);
            }
        less[i] = (int32_t)(sum * (uint32_t)b_zero);
    }
}
