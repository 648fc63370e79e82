/* gemm_pack.c: B and bias into the panels that the GEMM tiles read front to back.
 *
 *      n = 0        nr       2 nr
 *      +--------+--------+-----        a panel: bias[nr], then for each group of kr rows nr columns of kr
 * elements; k   |panel 0 |panel 1 | ...         columns past n and rows past k are zero
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

/* A column of `chunk` bytes of each tap, groups of four 4 * nr bytes apart, zeros behind each chunk; their sum. */
static uint32_t pack_column(const ck_gemm *p, const uint8_t *from, uint8_t turn, char *to) {
    const int64_t chunk = p->k / p->taps, step = p->b_view.strides[1];
    uint32_t sum = 0;
    for (int64_t t = 0; t < p->taps; t++)
        for (int64_t k = 0; k < chunk; k += 4, to += p->nr * 4)
            for (int64_t x = 0; x < 4; x++) {
                const int8_t value = k + x < chunk ? (int8_t)(from[(t * chunk + k + x) * step] ^ turn) : 0;
                to[x] = (char)value;
                sum += (uint32_t)value;
            }
    return sum;
}

/* Groups of four bytes of each chunk of k, signed, and a bias that has in it what the zero points add: with a'
 * and b' as the tiles have them, of zero points za and zb, sum (a' - za)(b' - zb) is the sum of a'b', less
 * za sum b', plus k za zb, less zb sum a', which alone is not known yet. */
static ck_status pack_c4(const ck_gemm *p, int32_t a_zero, int64_t begin, int64_t end, char *const *bases) {
    const uint8_t *b = (const uint8_t *)ck_at(p->b, bases);
    const int32_t *bias = (const int32_t *)(const void *)ck_at(p->bias, bases);
    const uint8_t turn = p->b_dtype == CK_U8 ? 0x80 : 0;
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const int64_t *s = p->b_view.strides, nr = p->nr, size = nr * (4 + ck_c4_depth(p));
    char *out = ck_at(p->packed, bases) + begin * size;
    for (int64_t unit = begin; unit < end; unit++, out += size) {
        const ck_panel at = ck_panel_of(p, unit);
        const uint8_t *from = b + p->b_view.offset + at.batch * s[0] + at.n0 * s[2];
        memset(out, 0, (size_t)size);
        for (int64_t j = 0; j < nr; j++) {
            const int there = j < at.columns;
            const uint32_t sum = there ? pack_column(p, from + j * s[2], turn, out + nr * 4 + j * 4) : 0;
            uint32_t head = bias && there ? (uint32_t)bias[at.n0 + j] : 0;
            head += (uint32_t)a_zero * ((uint32_t)p->k * (uint32_t)b_zero - sum);
            memcpy(out + j * 4, &head, 4);
        }
    }
    return CK_OK;
}

ck_status ck_q8_pack_c4u(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    return pack_c4(p, p->a_zero + (p->a_dtype == CK_I8 ? 128 : 0), begin, end, bases);
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
    *scratch = row->mr * (p->taps * 8 + depth * wide + CK_ASIDE);
}
