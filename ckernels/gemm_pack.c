/* gemm_pack.c: B and bias into the panels that the GEMM tiles read front to back.
 *
 *      n = 0        nr       2 nr
 *      +--------+--------+-----   a panel: bias[nr], then for each group of kr rows
 *   k  |panel 0 |panel 1 | ...    nr columns of kr elements; columns past n and
 *      +--------+--------+-----   rows past k are zero
 */
#include "kernels.h"

ck_status ck_f32_pack(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const float *b = (const float *)ck_at(p->b, bases), *bias = (const float *)ck_at(p->bias, bases);
    float *out = (float *)ck_at(p->packed, bases) + begin * p->nr * (1 + p->k);
    const int64_t *s = p->b_view.strides, nr = p->nr;
    for (int64_t unit = begin; unit < end; unit++) {
        const ck_panel at = ck_panel_of(p, unit);
        const float *from = b + p->b_view.offset + at.batch * s[0] + at.n0 * s[2];
        for (int64_t j = 0; j < nr; j++) *out++ = bias && j < at.columns ? bias[at.n0 + j] : 0.0f;
        for (int64_t k = 0; k < p->k; k++, out += nr) {
            for (int64_t j = 0; j < at.columns; j++) out[j] = from[k * s[1] + j * s[2]];
            for (int64_t j = at.columns; j < nr; j++) out[j] = 0.0f;
        }
    }
    return CK_OK;
}

/* Groups of kr elements of s16, their zero point taken off. */
static ck_status pack_s16(const ck_gemm *p, int64_t kr, int64_t begin, int64_t end, char *const *bases) {
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases);
    const int32_t *bias = (const int32_t *)ck_at(p->bias, bases);
    const int64_t *s = p->b_view.strides, nr = p->nr, depth = (p->k + kr - 1) / kr * kr;
    char *out = ck_at(p->packed, bases) + begin * nr * (4 + depth * 2);
    for (int64_t unit = begin; unit < end; unit++) {
        const ck_panel at = ck_panel_of(p, unit);
        const uint8_t *from = b + p->b_view.offset + at.batch * s[0] + at.n0 * s[2];
        int32_t *head = (int32_t *)out;
        int16_t *body = (int16_t *)(head + nr);
        for (int64_t j = 0; j < nr; j++) head[j] = bias && j < at.columns ? bias[at.n0 + j] : 0;
        for (int64_t k = 0; k < p->k; k += kr)
            for (int64_t j = 0; j < nr; j++)
                for (int64_t x = k; x < k + kr; x++) {
                    int32_t value = 0;
                    if (j < at.columns && x < p->k) {
                        uint8_t raw = from[x * s[1] + j * s[2]];
                        value = (p->b_dtype == CK_I8 ? (int8_t)raw : raw) - p->b_zero;
                    }
                    *body++ = (int16_t)value;
                }
        out = (char *)body;
    }
    return CK_OK;
}

ck_status ck_q8_pack_c1(const void *params, int64_t begin, int64_t end, char *const *bases) {
    return pack_s16(params, 1, begin, end, bases);
}

ck_status ck_q8_pack_c2(const void *params, int64_t begin, int64_t end, char *const *bases) {
    return pack_s16(params, 2, begin, end, bases);
}

/* A group of up to four rows of B, side by side in a word for each of n columns, signed; `sums` gains what they
 * are. */
static inline __attribute__((always_inline)) void group(uint32_t *restrict to, uint32_t *restrict sums,
                                                        const uint8_t *from, int64_t rows, int64_t down,
                                                        int64_t right, int64_t n, uint8_t turn) {
    for (int64_t j = 0; j < n; j++) {
        uint32_t word = 0;
        for (int64_t x = 0; x < rows; x++) {
            const uint8_t byte = from[x * down + j * right] ^ turn;
            word |= (uint32_t)byte << 8 * x;
            sums[j] += (uint32_t)(int8_t)byte;
        }
        to[j] = word;
    }
}

/* The n columns of a panel of zeros: groups of each chunk of k, behind the sums of the columns. */
static void groups(const ck_gemm *p, const uint8_t *from, int64_t n, uint8_t turn, uint32_t *sums) {
    const int64_t *s = p->b_view.strides, chunk = p->k / p->taps;
    uint32_t *to = sums + p->nr;
    for (int64_t t = 0; t < p->taps; t++, from += chunk * s[1])
        for (int64_t k = 0; k < chunk; k += 4, to += p->nr) {
            const int64_t rows = ck_min(4, chunk - k);
            if (rows == 4 && s[2] == 1) group(to, sums, from + k * s[1], 4, s[1], 1, n, turn);
            else group(to, sums, from + k * s[1], rows, s[1], s[2], n, turn);
        }
}

/* Groups of four bytes of each chunk of k, signed, and a bias that has in it what the zero points add: with a'
 * and b' as the tiles have them, of zero points za and zb, sum (a' - za)(b' - zb) is the sum of a'b', less
 * za sum b', plus k za zb, less zb sum a', which alone is not known yet. */
static ck_status pack_c4(const ck_gemm *p, int32_t a_zero, int64_t begin, int64_t end, char *const *bases) {
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases);
    const int32_t *bias = (const int32_t *)(const void *)ck_at(p->bias, bases);
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const int64_t *s = p->b_view.strides, nr = p->nr, words = nr * (1 + ck_c4_depth(p) / 4);
    uint32_t *head = (uint32_t *)(void *)ck_at(p->packed, bases) + begin * words;
    memset(head, 0, (size_t)((end - begin) * words) * sizeof *head);
    for (int64_t unit = begin; unit < end; unit++, head += words) {
        const ck_panel at = ck_panel_of(p, unit);
        const uint8_t *from = b + p->b_view.offset + at.batch * s[0] + at.n0 * s[2];
        groups(p, from, at.columns, p->b_dtype == CK_U8 ? 0x80 : 0, head);
        for (int64_t j = 0; j < nr; j++) {
            const uint32_t first = bias && j < at.columns ? (uint32_t)bias[at.n0 + j] : 0;
            head[j] = first + (uint32_t)a_zero * ((uint32_t)p->k * (uint32_t)b_zero - head[j]);
        }
    }
    return CK_OK;
}

ck_status ck_q8_pack_c4u(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    return pack_c4(p, p->a_zero + (p->a_dtype == CK_I8 ? 128 : 0), begin, end, bases);
}

ck_status ck_q8_pack_c4t(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    return ck_worth_tiles(p) ? pack_c4(p, p->a_zero, begin, end, bases) : ck_q8_pack_c4u(p, begin, end, bases);
}

ck_status ck_q8_pack_c4s(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    return pack_c4(p, p->a_zero - (p->a_dtype == CK_U8 ? 128 : 0), begin, end, bases);
}

void ck_gemm_room(const ck_row *row, const ck_gemm *p, int64_t *packed, int64_t *scratch) {
    const int64_t panels = (p->n + row->nr - 1) / row->nr, depth = (p->k + row->kr - 1) / row->kr * row->kr;
    const int64_t wide = row->dtype == CK_F32 ? 4 : 2; /* of an element in a panel */
    if (row->kr == 4) *packed = p->batch * panels * row->nr * (4 + ck_c4_depth(p));
    else *packed = p->batch * panels * row->nr * (4 + depth * wide);
    const int64_t copy = (row->kr == 4 ? ck_c4_depth(p) : depth * wide) + CK_ASIDE;
    *scratch = row->mr * (p->taps * 8 + copy * (p->a_view.strides[2] == 1 ? 1 : 2)); /* gathered, and copied */
}
