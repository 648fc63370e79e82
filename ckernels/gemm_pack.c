/* gemm_pack.c: B and bias into the panels that the GEMM tiles read front to back.
 *
 *      n = 0        nr       2 nr
 *      +--------+--------+-----        a panel: bias[nr], then for each group of kr rows nr columns of kr
 * elements; k   |panel 0 |panel 1 | ...         columns past n and rows past k are zero
 */
#include "kernels.h"

void ck_f32_pack(const void *params, int32_t nr, char *const *bases) {
    const ck_gemm *p = params;
    const float *b = (const float *)ck_at(p->b, bases), *bias = (const float *)ck_at(p->bias, bases);
    float *out = (float *)ck_at(p->packed, bases);
    const int64_t *s = p->b_view.strides;
    for (int64_t batch = 0; batch < p->batch; batch++)
        for (int64_t n0 = 0; n0 < p->n; n0 += nr) {
            int64_t n = ck_min(nr, p->n - n0);
            const float *from = b + p->b_view.offset + batch * s[0] + n0 * s[2];
            for (int64_t j = 0; j < nr; j++) *out++ = bias && j < n ? bias[n0 + j] : 0.0f;
            for (int64_t k = 0; k < p->k; k++, out += nr) {
                for (int64_t j = 0; j < n; j++) out[j] = from[k * s[1] + j * s[2]];
                for (int64_t j = n; j < nr; j++) out[j] = 0.0f;
            }
        }
}

/* Groups of kr elements of s16, their zero point taken off. */
static void pack_s16(const ck_gemm *p, int32_t nr, int64_t kr, char *const *bases) {
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases);
    const int32_t *bias = (const int32_t *)ck_at(p->bias, bases);
    char *out = ck_at(p->packed, bases);
    const int64_t *s = p->b_view.strides;
    for (int64_t batch = 0; batch < p->batch; batch++)
        for (int64_t n0 = 0; n0 < p->n; n0 += nr) {
            int64_t n = ck_min(nr, p->n - n0);
            const uint8_t *from = b + p->b_view.offset + batch * s[0] + n0 * s[2];
            int32_t *head = (int32_t *)out;
            int16_t *body = (int16_t *)(head + nr);
            for (int64_t j = 0; j < nr; j++) head[j] = bias && j < n ? bias[n0 + j] : 0;
            for (int64_t k = 0; k < p->k; k += kr)
                for (int64_t j = 0; j < nr; j++)
                    for (int64_t x = k; x < k + kr; x++) {
                        int32_t value = 0;
                        if (j < n && x < p->k) {
                            uint8_t raw = from[x * s[1] + j * s[2]];
                            value = (p->b_dtype == CK_I8 ? (int8_t)raw : raw) - p->b_zero;
                        }
                        *body++ = (int16_t)value;
                    }
            out = (char *)body;
        }
}

void ck_q8_pack_c1(const void *p, int32_t nr, char *const *bases) { pack_s16(p, nr, 1, bases); }

void ck_q8_pack_c2(const void *p, int32_t nr, char *const *bases) { pack_s16(p, nr, 2, bases); }

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

/* Groups of four bytes of each chunk of k, signed, and a bias that has in it what the zero points add: with a'
 * and b' as the tiles have them, of zero points za and zb, sum (a' - za)(b' - zb) is the sum of a'b', less
 * za sum b', plus k za zb, less zb sum a', which alone is not known yet. The sums of the columns are made where
 * the bias will stand. */
static void pack_c4(const ck_gemm *p, int32_t nr, char *const *bases, int32_t a_zero) {
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases);
    const int32_t *bias = (const int32_t *)(const void *)ck_at(p->bias, bases);
    const uint8_t turn = p->b_dtype == CK_U8 ? 0x80 : 0;
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const int64_t *s = p->b_view.strides, chunk = p->k / p->taps, panels = (p->n + nr - 1) / nr;
    uint32_t *head = (uint32_t *)(void *)ck_at(p->packed, bases);
    memset(head, 0, (size_t)(p->batch * panels * nr * (4 + ck_c4_depth(p))));
    for (int64_t batch = 0; batch < p->batch; batch++)
        for (int64_t n0 = 0; n0 < p->n; n0 += nr) {
            const uint8_t *from = b + p->b_view.offset + batch * s[0] + n0 * s[2];
            const int64_t n = ck_min(nr, p->n - n0);
            uint32_t *to = head + nr;
            for (int64_t t = 0; t < p->taps; t++, from += chunk * s[1])
                for (int64_t k = 0; k < chunk; k += 4, to += nr) {
                    const int64_t rows = ck_min(4, chunk - k);
                    if (rows == 4 && s[2] == 1) group(to, head, from + k * s[1], 4, s[1], 1, n, turn);
                    else group(to, head, from + k * s[1], rows, s[1], s[2], n, turn);
                }
            for (int64_t j = 0; j < nr; j++) {
                const uint32_t first = bias && j < n ? (uint32_t)bias[n0 + j] : 0;
                head[j] = first + (uint32_t)a_zero * ((uint32_t)p->k * (uint32_t)b_zero - head[j]);
            }
            head = to;
        }
}

void ck_q8_pack_c4u(const void *params, int32_t nr, char *const *bases) {
    const ck_gemm *p = params;
    pack_c4(p, nr, bases, p->a_zero + (p->a_dtype == CK_I8 ? 128 : 0));
}

void ck_q8_pack_c4s(const void *params, int32_t nr, char *const *bases) {
    const ck_gemm *p = params;
    pack_c4(p, nr, bases, p->a_zero - (p->a_dtype == CK_U8 ? 128 : 0));
}

void ck_gemm_room(const ck_row *row, const ck_gemm *p, int64_t *packed, int64_t *scratch) {
    const int64_t panels = (p->n + row->nr - 1) / row->nr, depth = (p->k + row->kr - 1) / row->kr * row->kr;
    const int64_t wide = row->dtype == CK_F32 ? 4 : 2; /* of an element in a panel */
    if (row->kr == 4) *packed = p->batch * panels * row->nr * (4 + ck_c4_depth(p));
    else *packed = p->batch * panels * row->nr * (4 + depth * wide);
    *scratch = row->mr * (p->taps * 8 + depth * wide + CK_ASIDE);
}
