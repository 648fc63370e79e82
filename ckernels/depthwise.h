/* depthwise.h: depthwise convolution in vector extensions; each depthwise_*.c sets VL, the lanes of a vector,
 * and names; without WHOLE_NAME it is for floats alone.
 *
 * Channels are the lanes. A block of channels stays in registers while all taps are added, then goes through
 * the epilogue; the channels that fill no vector are done one by one.
 */
#include "kernels.h"

enum { BLOCK = 4, PIXELS = 2 }; /* vectors of a row that are summed side by side, and rows of floats */

#include "floats.h"

typedef int32_t vec __attribute__((vector_size(VL * 4), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(VL * 4), aligned(4), may_alias)); /* sums wrap */
#include "lanes.h"

/* How many vectors of sums of bytes stand side by side: at most, and in turn until no vector is left. */
#ifdef EIGHTS
enum { SUMS = 8 };
#define WIDTHS(block) block(SUMS) block(4) block(2) block(1)
#else
enum { SUMS = BLOCK };
#define WIDTHS(block) block(SUMS) block(1)
#endif

static inline float clamp(const ck_depthwise *p, float x) {
    x = x < p->low ? p->low : x;
    return x > p->high ? p->high : x;
}

/* `vectors` vectors of channels from c on, of each of `pixels` rows, which share the weights. */
static inline __attribute__((always_inline)) void real_block(const ck_depthwise *p, const int pixels,
                                                             const int vectors, int64_t c, const float *in,
                                                             const float *pad, const float *weights,
                                                             const float *bias, const int32_t *rows,
                                                             float *out) {
    real acc[PIXELS][BLOCK];
    UNROLLED(i, pixels)
        UNROLLED(j, vectors) acc[i][j] = *(const real *)(bias + c + j * VL);
    for (int64_t t = 0; t < p->taps; t++) {
        const float *from[PIXELS], *w = weights + t * p->channels + c;
        UNROLLED(i, pixels) {
            const int32_t at = rows[i * p->taps + t];
            from[i] = (at < 0 ? pad : in + at) + c;
        }
        UNROLLED(j, vectors) {
            const real weight = *(const real *)(w + j * VL);
            UNROLLED(i, pixels) acc[i][j] += *(const real *)(from[i] + j * VL) * weight;
        }
    }
    const real low = p->low - (real){0}, high = p->high - (real){0};
    UNROLLED(i, pixels)
        UNROLLED(j, vectors) *(real *)(out + i * p->channels + c + j * VL) = clamped(acc[i][j], low, high);
}

/* All channels of `pixels` rows; of the last vector some may be done twice. */
static inline __attribute__((always_inline)) void real_rows(const ck_depthwise *p, const int pixels,
                                                            const float *in, const float *pad,
                                                            const float *weights, const float *bias,
                                                            const int32_t *rows, float *out) {
    int64_t c = 0;
#define VECTORS(count) real_block(p, pixels, count, c, in, pad, weights, bias, rows, out), c += (count)*VL
    while (c + BLOCK * VL <= p->channels) VECTORS(BLOCK);
    switch ((p->channels - c) / VL) {
        case 3: VECTORS(3); break;
        case 2: VECTORS(2); break;
        case 1: VECTORS(1); break;
    }
    if (c < p->channels && p->channels >= VL) c = p->channels - VL, VECTORS(1);
#undef VECTORS
    for (; c < p->channels; c++)
        for (int i = 0; i < pixels; i++) {
            float sum = bias[c];
            for (int64_t t = 0; t < p->taps; t++) {
                const int32_t at = rows[i * p->taps + t];
                sum += (at < 0 ? pad : in + at)[c] * weights[t * p->channels + c];
            }
            out[i * p->channels + c] = clamp(p, sum);
        }
}

/* Windows of three columns by three that slide by a column: SLID neighbours have SLID + 2 columns between them. */
enum { SIDE = 3, SLID = 4, COLUMNS = SLID + SIDE - 1 };

/* A vector of channels of SLID rows; from[x * SIDE + y] is the window at column x. Taps come in columns, and are
 * added in their order. */
static inline __attribute__((always_inline)) void slid_block(const ck_depthwise *p, int64_t c,
                                                             const float *const *from, const float *weights,
                                                             const float *bias, float *out) {
    real acc[SLID], w[SIDE * SIDE];
    UNROLLED(t, SIDE * SIDE) w[t] = *(const real *)(weights + t * p->channels + c);
    UNROLLED(i, SLID) acc[i] = *(const real *)(bias + c);
    UNROLLED(x, COLUMNS)
        UNROLLED(y, SIDE) {
            const real in = *(const real *)(from[x * SIDE + y] + c);
            UNROLLED(i, SLID)
                if (i <= x && x < i + SIDE) acc[i] += in * w[(x - i) * SIDE + y];
        }
    const real low = p->low - (real){0}, high = p->high - (real){0};
    UNROLLED(i, SLID) *(real *)(out + i * p->channels + c) = clamped(acc[i], low, high);
}

/* All channels, at least as many as a vector has, of SLID rows. */
static void slid_rows(const ck_depthwise *p, const float *in, const float *pad, const float *weights,
                      const float *bias, const int32_t *rows, float *out) {
    const float *from[COLUMNS * SIDE];
    for (int x = 0; x < COLUMNS; x++)
        for (int y = 0; y < SIDE; y++) {
            const int row = x < SLID ? x : SLID - 1;
            const int32_t at = rows[(row * SIDE + x - row) * SIDE + y];
            from[x * SIDE + y] = at < 0 ? pad : in + at;
        }
    int64_t c = 0;
    for (; c + VL <= p->channels; c += VL) slid_block(p, c, from, weights, bias, out);
    if (c < p->channels) slid_block(p, p->channels - VL, from, weights, bias, out);
}

ck_status REAL_NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_depthwise *p = params;
    const float *in = (const float *)ck_at(p->in, bases), *pad = (const float *)ck_at(p->pad, bases);
    const float *weights = (const float *)ck_at(p->weights, bases),
                *bias = (const float *)ck_at(p->bias, bases);
    float *out = (float *)ck_at(p->out, bases);
    int64_t m = begin;
    while (m < end) {
        const int32_t *rows = p->rows + m * p->taps;
        if (p->slides && p->channels >= VL && m + SLID <= end && p->slides[m]) {
            slid_rows(p, in, pad, weights, bias, rows, out + m * p->channels);
            m += SLID;
        } else if (m + PIXELS <= end) {
            real_rows(p, PIXELS, in, pad, weights, bias, rows, out + m * p->channels);
            m += PIXELS;
        } else {
            real_rows(p, 1, in, pad, weights, bias, rows, out + m * p->channels);
            m++;
        }
    }
    return CK_OK;
}

#ifdef WHOLE_NAME
/* acc[j] += (from - zero) * weights, of `vectors` vectors of channels. */
static inline __attribute__((always_inline)) void add_tap(uvec acc[SUMS], const int is_signed, const int vectors,
                                                          const uint8_t *from, vec zero, const int32_t *w) {
    int done = 0;
#ifdef EIGHTS /* differences of bytes, weights too, fit 16 bits */
    UNROLLED(j, vectors / 2) {
        const int16x8_t x = eight_of(from + j * 8, zero[0], is_signed);
        const int16x8_t low = vmovn_high_s32(vmovn_s32(vld1q_s32(w + j * 8)), vld1q_s32(w + j * 8 + 4));
        acc[2 * j] = (uvec)vmlal_s16((int32x4_t)acc[2 * j], vget_low_s16(x), vget_low_s16(low));
        acc[2 * j + 1] = (uvec)vmlal_high_s16((int32x4_t)acc[2 * j + 1], x, low);
    }
    done = vectors / 2 * 2;
#endif
    UNROLLED(j, vectors)
        if (j >= done) acc[j] += (uvec)((lanes_of(from + j * VL, is_signed) - zero) * *(const vec *)(w + j * VL));
}

/* The sums of a vector of channels, from c on, as bytes. */
static inline __attribute__((always_inline)) void put(const ck_depthwise *p, int64_t c, uvec sums,
                                                      const epilogue *last, uint8_t *out) {
    const rescaling lanes = rescaling_of(p->multiplier + c, p->shift + c);
    bytes_to(out + c, requantised((vec)sums, &lanes, last));
}

#ifdef EIGHTS
/* The same of two vectors. */
static inline __attribute__((always_inline)) void put_pair(const ck_depthwise *p, int64_t c, const uvec sums[2],
                                                           const narrowing *narrow, const epilogue *last,
                                                           uint8_t *out) {
    const eight_columns by = eight_columns_of(p->multiplier + c, p->shift + c);
    if (by.quick) put_eight(out + c, (vec)sums[0], (vec)sums[1], &by, narrow);
    else put(p, c, sums[0], last, out), put(p, c + VL, sums[1], last, out);
}
#endif

static inline __attribute__((always_inline)) int64_t whole_block(const ck_depthwise *p, const int is_signed,
                                                                 const int vectors, int64_t c,
                                                                 const uint8_t *in, const uint8_t *pad,
                                                                 const int32_t *weights, const int32_t *bias,
                                                                 const int32_t *rows, uint8_t *out) {
    const int64_t wide = vectors * VL;
    const vec zero = p->in_zero - (vec){0};
    const epilogue last = {p->out_zero - (vec){0}, p->out_low - (vec){0}, p->out_high - (vec){0}, p->out_ties_away};
#ifdef EIGHTS
    const narrowing narrow = narrowing_of(p->out_zero, p->out_low, p->out_high, is_signed, p->out_ties_away);
#endif
    for (; c + wide <= p->channels; c += wide) {
        uvec acc[SUMS];
        UNROLLED(j, vectors) acc[j] = *(const uvec *)(bias + c + j * VL);
        for (int64_t t = 0; t < p->taps; t++) {
            const uint8_t *from = (rows[t] < 0 ? pad : in + rows[t]) + c;
            const int32_t *w = weights + t * p->channels + c;
            add_tap(acc, is_signed, vectors, from, zero, w);
        }
#ifdef EIGHTS
        UNROLLED(j, vectors / 2) put_pair(p, c + j * 8, acc + 2 * j, &narrow, &last, out);
        UNROLLED(j, vectors % 2) put(p, c, acc[j], &last, out);
#else
        UNROLLED(j, vectors) put(p, c + j * VL, acc[j], &last, out);
#endif
    }
    return c;
}

#define SIGNED(vectors) c = whole_block(p, 1, vectors, c, in, pad, weights, bias, rows, out);
#define UNSIGNED(vectors) c = whole_block(p, 0, vectors, c, in, pad, weights, bias, rows, out);

ck_status WHOLE_NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_depthwise *p = params;
    const uint8_t *in = (const uint8_t *)ck_at(p->in, bases), *pad = (const uint8_t *)ck_at(p->pad, bases);
    const int32_t *weights = (const int32_t *)ck_at(p->weights, bases),
                  *bias = (const int32_t *)ck_at(p->bias, bases);
    uint8_t *out = (uint8_t *)ck_at(p->out, bases) + begin * p->channels;
    const int is_signed = p->dtype == CK_I8;
    for (int64_t m = begin; m < end; m++, out += p->channels) {
        const int32_t *rows = p->rows + m * p->taps;
        int64_t c = 0;
        if (is_signed) {
            WIDTHS(SIGNED)
        } else {
            WIDTHS(UNSIGNED)
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
#endif
