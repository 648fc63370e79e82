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

enum { RUN = 5 }; /* the innermost loop; those around it count the rows of a region */

/* The loops around the runs at row number `row`, which is returned. */
static int64_t start(const ck_region *r, int64_t row, int64_t *at) {
    int64_t left = row;
    for (int d = RUN - 1; d >= 0; d--) at[d] = left % r->sizes[d], left /= r->sizes[d];
    return row;
}

/* Behind the last of the innermost of them. */
static void advance(const ck_region *r, int64_t *at) {
    at[RUN - 1] = 0;
    for (int d = RUN - 2; d >= 0 && ++at[d] == r->sizes[d]; d--) at[d] = 0;
}

static int64_t place(const ck_view *view, const int64_t *at) {
    int64_t offset = view->offset;
    for (int d = 0; d < RUN; d++) offset += at[d] * view->strides[d];
    return offset;
}

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
    static void region_##NAME(T *out, const T *in, const ck_region *r, int64_t begin, int64_t end) {     \
        const int64_t *n = r->sizes, *s = r->source.strides, *d = r->destination.strides;                \
        for (int64_t at[RUN], row = start(r, begin, at); row < end; advance(r, at)) {                    \
            const int64_t count = ck_min(n[RUN - 1] - at[RUN - 1], end - row);                           \
            const T *from = in + place(&r->source, at);                                                  \
            T *to = out + place(&r->destination, at);                                                    \
            for (int64_t i = 0; i < count; i++, from += s[RUN - 1], to += d[RUN - 1])                    \
                run_##NAME(to, from, n[RUN], d[RUN], s[RUN]);                                            \
            row += count;                                                                                \
        }                                                                                                \
    }                                                                                                    \
    ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {                 \
        const ck_raster *p = params;                                                                     \
        T *out = (T *)ck_at(p->out, bases), fill;                                                        \
        if (p->filled) {                                                                                 \
            memcpy(&fill, p->fill, sizeof fill);                                                         \
            for (int64_t i = 0; i < p->elements; i++) out[i] = fill;                                     \
        }                                                                                                \
        int64_t first = 0; /* row of the region, counted through all */                                  \
        for (int32_t i = 0; i < p->n_regions; i++) {                                                     \
            const ck_region *r = &p->regions[i];                                                         \
            const int64_t rows = ck_rows_of_region(r);                                                   \
            const int64_t low = p->any_order ? ck_max(begin - first, 0) : 0;                             \
            const int64_t high = p->any_order ? ck_min(end - first, rows) : rows;                        \
            if (low < high) region_##NAME(out, (const T *)ck_at(p->inputs[r->input], bases), r, low, high); \
            first += rows;                                                                               \
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
