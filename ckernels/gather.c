/* gather.c: GATHER and SCATTER, rows by run-time index. The only kernels that can fail: every index is
 * checked. */
#include "kernels.h"

static int64_t index_at(const char *index, int32_t dtype, int64_t i) {
    return dtype == CK_I64 ? ((const int64_t *)index)[i] : ((const int32_t *)index)[i];
}

#define GATHER(NAME, T)                                                               \
    ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {                          \
        const ck_gather *p = params;                                                  \
        const char *rows = ck_at(p->rows_in, bases), *index = ck_at(p->index, bases); \
        char *out = ck_at(p->out, bases);                                             \
        const int64_t bytes = p->width * (int64_t)sizeof(T);                          \
        for (int64_t i = begin; i < end; i++) {                                           \
            const int64_t row = index_at(index, p->index_dtype, i);                   \
            if (row < 0 || row >= p->rows) return CK_BAD_INDEX;                       \
            memcpy(out + i * bytes, rows + row * bytes, (size_t)bytes);               \
        }                                                                             \
        return CK_OK;                                                                 \
    }

GATHER(ck_x8_gather__scalar, uint8_t)
GATHER(ck_x16_gather__scalar, uint16_t)
GATHER(ck_x32_gather__scalar, uint32_t)
GATHER(ck_x64_gather__scalar, uint64_t)

/* ADD sums in W, wide enough or unsigned, so that integers wrap. A NaN wins a MAX, as in the definition. */
#define SCATTER(NAME, T, W)                                                                  \
    ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {                                 \
        const ck_scatter *p = params;                                                        \
        (void)begin, (void)end;                                                              \
        const char *index = ck_at(p->index, bases);                                          \
        const T *update = (const T *)ck_at(p->update, bases);                                \
        T *out = (T *)ck_at(p->out, bases);                                                  \
        memcpy(out, ck_at(p->base, bases), (size_t)(p->rows * p->width) * sizeof(T));        \
        for (int64_t i = 0; i < p->count; i++, update += p->width) {                         \
            const int64_t row = index_at(index, p->index_dtype, i);                          \
            if (row < 0 || row >= p->rows) return CK_BAD_INDEX;                              \
            T *to = out + row * p->width;                                                    \
            if (p->mode == CK_SCATTER_SET) memcpy(to, update, (size_t)p->width * sizeof(T)); \
            else if (p->mode == CK_SCATTER_ADD)                                              \
                for (int64_t j = 0; j < p->width; j++) to[j] = (T)((W)to[j] + (W)update[j]); \
            else                                                                             \
                for (int64_t j = 0; j < p->width; j++)                                       \
                    to[j] = update[j] > to[j] || update[j] != update[j] ? update[j] : to[j]; \
        }                                                                                    \
        return CK_OK;                                                                        \
    }

SCATTER(ck_f32_scatter__scalar, float, float)
SCATTER(ck_i8_scatter__scalar, int8_t, uint32_t)
SCATTER(ck_u8_scatter__scalar, uint8_t, uint32_t)
SCATTER(ck_i16_scatter__scalar, int16_t, uint32_t)
SCATTER(ck_i32_scatter__scalar, int32_t, uint32_t)
SCATTER(ck_i64_scatter__scalar, int64_t, uint64_t)
