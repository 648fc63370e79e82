/* gemm_pack.c: B and bias into the panels that the GEMM tiles read front to back.
 *
 *      n = 0        nr       2 nr
 *      +--------+--------+-----        a panel: bias[nr], then for each group of kr rows nr columns of kr
 * elements; k   |panel 0 |panel 1 | ...         columns past n and rows past k are zero
 */
#include "kernels.h"

void ck_f32_pack(const ck_gemm *p, int32_t nr, char *const *bases) {
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

void ck_q8_pack_c2(const ck_gemm *p, int32_t nr, char *const *bases) {
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
            for (int64_t k = 0; k < p->k; k += 2)
                for (int64_t j = 0; j < nr; j++)
                    for (int64_t x = k; x < k + 2; x++) {
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
