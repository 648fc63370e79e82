/* gemm_q16.c: the GEMM of 16-bit A and 8-bit or 16-bit B, exact in s64; it writes bare sums, s64 or their low
 * 32 bits. Zero points are 0, products fit s32.
 */
#include "kernels.h"

enum { MR = 4, NR = 8 };

ck_status ck_q16_pack(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const char *b = ck_at(p->b, bases);
    int16_t *out = (int16_t *)ck_at(p->packed, bases) + begin * p->nr * p->k;
    const int64_t *s = p->b_view.strides;
    for (int64_t unit = begin; unit < end; unit++) {
        const ck_panel panel = ck_panel_of(p, unit);
        const int64_t from = p->b_view.offset + panel.batch * s[0] + panel.n0 * s[2];
        for (int64_t k = 0; k < p->k; k++)
            for (int64_t j = 0; j < p->nr; j++) {
                const int64_t at = from + k * s[1] + j * s[2];
                *out++ = j >= panel.columns      ? 0
                         : p->b_dtype == CK_I16 ? ((const int16_t *)b)[at]
                                                : ((const int8_t *)b)[at];
            }
    }
    return CK_OK;
}

/* Rows m0 .. m0 + used of A, k apart. */
static void rows_of(const ck_gemm *p, const int16_t *a, const int16_t *pad, int64_t m0, int used,
                    int16_t *scratch) {
    const int64_t step_m = p->a_view.strides[1], step_k = p->a_view.strides[2], chunk = p->k / p->taps;
    for (int i = 0; i < used; i++, scratch += p->k) {
        if (p->rows) {
            for (int64_t t = 0; t < p->taps; t++) {
                const int32_t at = p->rows[(m0 + i) * p->taps + t];
                memcpy(scratch + t * chunk, at < 0 ? pad : a + at, (size_t)chunk * sizeof *scratch);
            }
        } else {
            for (int64_t k = 0; k < p->k; k++) scratch[k] = a[(m0 + i) * step_m + k * step_k];
        }
    }
}

static void tile(const int16_t *a, int64_t depth, const int16_t *b, int64_t *acc) {
    for (int j = 0; j < NR; j++) acc[j] = 0;
    for (int64_t k = 0; k < depth; k++, b += NR)
        for (int j = 0; j < NR; j++) acc[j] += (int32_t)a[k] * b[j];
}

ck_status ck_q16_gemm_4x8__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    const int64_t *step = p->c_view.strides;
    int16_t *scratch = (int16_t *)ck_at(p->scratch, bases);
    char *c = ck_at(p->c, bases);
    const int64_t panels = (p->n + NR - 1) / NR;
    const ck_range batches = ck_batches(p, begin, end), across = ck_panels_of(p, begin, end);
    for (int64_t batch = batches.begin; batch < batches.end; batch++) {
        const ck_range of = ck_rows_of(p, batch, begin, end);
        const int16_t *a = (const int16_t *)ck_at(p->a, bases) + p->a_view.offset + batch * p->a_view.strides[0];
        for (int64_t m = of.begin; m < of.end; m += MR) {
            const int used = (int)ck_min(MR, of.end - m);
            const int16_t *panel = (const int16_t *)ck_at(p->packed, bases) + (batch * panels + across.begin) * p->k * NR;
            rows_of(p, a, (const int16_t *)ck_at(p->pad, bases), m, used, scratch);
            for (int64_t n0 = across.begin * NR; n0 < ck_min(across.end * NR, p->n); n0 += NR, panel += p->k * NR)
                for (int i = 0; i < used; i++) {
                    int64_t acc[NR], at = p->c_view.offset + batch * step[0] + (m + i) * step[1] + n0 * step[2];
                    tile(scratch + i * p->k, p->k, panel, acc);
                    for (int64_t j = 0; j < ck_min(NR, p->n - n0); j++, at += step[2]) {
                        if (p->c_dtype == CK_I64) ((int64_t *)c)[at] = acc[j];
                        else ((int32_t *)c)[at] = (int32_t)acc[j];
                    }
                }
        }
    }
    return CK_OK;
}
