/* depthwise.h: depthwise convolution in vector extensions; each depthwise_*.c sets VL, the lanes of a vector,
 * and names.
 *
 * Channels are the lanes. A block of channels stays in registers while all taps are added, then goes through
 * the epilogue; the channels that fill no vector are done one by one.
 */
#include "kernels.h"

enum { BLOCK = 4 }; /* vectors that are summed side by side */

typedef float real __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* sums wrap */
#include "lanes.h"

static inline float clamp(const ck_depthwise *p, float x) {
    x = x < p->low ? p->low : x;
    return x > p->high ? p->high : x;
}

static inline __attribute__((always_inline)) int64_t real_block(const ck_depthwise *p, const int vectors,
                                                                int64_t c, const float *in, const float *pad,
                                                                const float *weights, const float *bias,
                                                                const int32_t *rows, float *out) {
    const int64_t wide = vectors * VL;
    for (; c + wide <= p->channels; c += wide) {
        real acc[BLOCK];
        float sums[BLOCK * VL];
        UNROLLED(j, vectors) acc[j] = *(const real *)(bias + c + j * VL);
        for (int64_t t = 0; t < p->taps; t++) {
            const float *from = (rows[t] < 0 ? pad : in + rows[t]) + c, *w = weights + t * p->channels + c;
            UNROLLED(j, vectors)
                acc[j] += *(const real *)(from + j * VL) * *(const real *)(w + j * VL);
        }
        memcpy(sums, acc, (size_t)wide * sizeof *sums);
        for (int64_t j = 0; j < wide; j++) out[c + j] = clamp(p, sums[j]);
    }
    return c;
}

ck_status REAL_NAME(const void *params, char *const *bases) {
    const ck_depthwise *p = params;
    const float *in = (const float *)ck_at(p->in, bases), *pad = (const float *)ck_at(p->pad, bases);
    const float *weights = (const float *)ck_at(p->weights, bases),
                *bias = (const float *)ck_at(p->bias, bases);
    float *out = (float *)ck_at(p->out, bases);
    for (int64_t m = 0; m < p->m; m++, out += p->channels) {
        const int32_t *rows = p->rows + m * p->taps;
        int64_t c = real_block(p, BLOCK, 0, in, pad, weights, bias, rows, out);
        for (c = real_block(p, 1, c, in, pad, weights, bias, rows, out); c < p->channels; c++) {
            float sum = bias[c];
            for (int64_t t = 0; t < p->taps; t++)
                sum += (rows[t] < 0 ? pad : in + rows[t])[c] * weights[t * p->channels + c];
            out[c] = clamp(p, sum);
        }
    }
    return CK_OK;
}

static inline __attribute__((always_inline)) int64_t whole_block(const ck_depthwise *p, const int is_signed,
                                                                 const int vectors, int64_t c,
                                                                 const uint8_t *in, const uint8_t *pad,
                                                                 const int32_t *weights, const int32_t *bias,
                                                                 const int32_t *rows, uint8_t *out) {
    const int64_t wide = vectors * VL;
    const vec zero = p->in_zero - (vec){0};
    const epilogue last = {p->out_zero - (vec){0}, p->out_low - (vec){0}, p->out_high - (vec){0}, p->out_ties_away};
    for (; c + wide <= p->channels; c += wide) {
        uvec acc[BLOCK];
        UNROLLED(j, vectors) acc[j] = *(const uvec *)(bias + c + j * VL);
        for (int64_t t = 0; t < p->taps; t++) {
            const uint8_t *from = (rows[t] < 0 ? pad : in + rows[t]) + c;
            const int32_t *w = weights + t * p->channels + c;
            UNROLLED(j, vectors)
                acc[j] += (uvec)((lanes_of(from + j * VL, is_signed) - zero) * *(const vec *)(w + j * VL));
        }
        UNROLLED(j, vectors) {
            const rescaling lanes = rescaling_of(p->multiplier + c + j * VL, p->shift + c + j * VL);
            bytes_to(out + c + j * VL, requantised((vec)acc[j], &lanes, &last));
        }
    }
    return c;
}

ck_status WHOLE_NAME(const void *params, char *const *bases) {
    const ck_depthwise *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *pad = (const uint8_t *)ck_at(p->pad, bases);
    const int32_t *weights = (const int32_t *)ck_at(p->weights, bases),
                  *bias = (const int32_t *)ck_at(p->bias, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases);
    const int is_signed = p->dtype == CK_I8;
    for (int64_t m = 0; m < p->m; m++, out += p->channels) {
        const int32_t *rows = p->rows + m * p->taps;
        int64_t c = 0;
        if (is_signed) {
            c = whole_block(p, 1, BLOCK, c, in, pad, weights, bias, rows, out);
            c = whole_block(p, 1, 1, c, in, pad, weights, bias, rows, out);
        } else {
            c = whole_block(p, 0, BLOCK, c, in, pad, weights, bias, rows, out);
            c = whole_block(p, 0, 1, c, in, pad, weights, bias, rows, out);
        }
        for (; c < p->channels; c++) {
            uint32_t sum = (uint32_t)bias[c];
            for (int64_t t = 0; t < p->taps; t++) {
                const uint8_t raw = (rows[t] < 0 ? pad : in + rows[t])[c];
                const int32_t x = (is_signed ? (int8_t)raw : raw) - p->in_zero;
                sum += (uint32_t)(x * weights[t * p->channels + c]);
            }
            int32_t value;
            ck_epilogue(&(const int32_t){(int32_t)sum}, p->multiplier + c, p->shift + c, p->out_ties_away,
                        p->out_zero, p->out_low, p->out_high, &value, 1);
            out[c] = (uint8_t)value;
        }
    }
    return CK_OK;
}
