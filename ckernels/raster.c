/* raster.c: RASTER, the atom that moves data. One body per element size for copies, one per type for sums.
 *
 * A region is six nested loops; the caller has merged what can be merged, so the innermost run is as long as
 * the views allow and a contiguous one is a memcpy.
 */
#include "kernels.h"

typedef uint16_t f16; /* storage only; sums go through f32 */

#define COPY(to, from) (to) = (from)
#define ADD(to, from) (to) = (__typeof__(to))((to) + (from))
#define ADD_F16(to, from) (to) = ck_f16_of_f32(ck_f32_of_f16(to) + ck_f32_of_f16(from))

#define RASTER(NAME, T, STORE, CONTIGUOUS)                                                               \
    static void run_##NAME(T *restrict to, const T *restrict from, int64_t n, int64_t ds, int64_t ss) {  \
        if (ds == 1 && ss == 1) {                                                                        \
            CONTIGUOUS;                                                                                  \
        } else if (ds == 1) {                                                                            \
            for (int64_t i = 0; i < n; i++) STORE(to[i], from[i * ss]);                                  \
        } else if (ss == 1) {                                                                            \
            for (int64_t i = 0; i < n; i++) STORE(to[i * ds], from[i]);                                  \
        } else {                                                                                         \
            for (int64_t i = 0; i < n; i++) STORE(to[i * ds], from[i * ss]);                             \
        }                                                                                                \
    }                                                                                                    \
    static void region_##NAME(T *out, const T *in, const ck_region *r) {                                 \
        const int64_t *n = r->sizes, *s = r->source.strides, *d = r->destination.strides;                \
        for (int64_t i0 = 0; i0 < n[0]; i0++)                                                            \
            for (int64_t i1 = 0; i1 < n[1]; i1++)                                                        \
                for (int64_t i2 = 0; i2 < n[2]; i2++)                                                    \
                    for (int64_t i3 = 0; i3 < n[3]; i3++)                                                \
                        for (int64_t i4 = 0; i4 < n[4]; i4++)                                            \
                            run_##NAME(out + r->destination.offset + i0 * d[0] + i1 * d[1] + i2 * d[2] + \
                                           i3 * d[3] + i4 * d[4],                                        \
                                       in + r->source.offset + i0 * s[0] + i1 * s[1] + i2 * s[2] +       \
                                           i3 * s[3] + i4 * s[4],                                        \
                                       n[5], d[5], s[5]);                                                \
    }                                                                                                    \
    ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {                                             \
        const ck_raster *p = params;                                                                     \
        (void)begin, (void)end;                                                                          \
        T *out = (T *)ck_at(p->out, bases), fill;                                                        \
        if (p->filled) {                                                                                 \
            memcpy(&fill, p->fill, sizeof fill);                                                         \
            for (int64_t i = 0; i < p->elements; i++) out[i] = fill;                                     \
        }                                                                                                \
        for (int32_t i = 0; i < p->n_regions; i++) {                                                     \
            const ck_region *r = &p->regions[i];                                                         \
            region_##NAME(out, (const T *)ck_at(p->inputs[r->input], bases), r);                         \
        }                                                                                                \
        return CK_OK;                                                                                    \
    }

#define RASTER_COPY(NAME, T) RASTER(NAME, T, COPY, memcpy(to, from, (size_t)n * sizeof(T)))
#define RASTER_ADD(NAME, T, STORE) \
    RASTER(NAME, T, STORE, for (int64_t i = 0; i < n; i++) STORE(to[i], from[i]))

RASTER_COPY(ck_x8_raster__scalar, uint8_t)
RASTER_COPY(ck_x16_raster__scalar, uint16_t)
RASTER_COPY(ck_x32_raster__scalar, uint32_t)
RASTER_COPY(ck_x64_raster__scalar, uint64_t)
RASTER_ADD(ck_f32_raster_add__scalar, float, ADD)
RASTER_ADD(ck_f16_raster_add__scalar, f16, ADD_F16)
RASTER_ADD(ck_f64_raster_add__scalar, double, ADD)
RASTER_ADD(ck_x8_raster_add__scalar, uint8_t, ADD) /* unsigned: integers of either sign wrap alike */
RASTER_ADD(ck_x16_raster_add__scalar, uint16_t, ADD)
RASTER_ADD(ck_x32_raster_add__scalar, uint32_t, ADD)
RASTER_ADD(ck_x64_raster_add__scalar, uint64_t, ADD)
