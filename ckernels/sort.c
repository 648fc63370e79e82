/* sort.c: SORT, the k largest of each row: a stable merge sort of indices, descending, a NaN above every
 * number. */
#include "kernels.h"

#define SORT(NAME, T)                                                                                     \
    static int NAME##_above(const T *row, int32_t x, int32_t y) {                                         \
        return row[x] > row[y] || (row[x] != row[x] && row[y] == row[y]);                                 \
    }                                                                                                     \
    static int32_t *NAME##_order(const T *row, int32_t *from, int32_t *to, int64_t n) {                   \
        for (int64_t i = 0; i < n; i++) from[i] = (int32_t)i;                                             \
        for (int64_t run = 1; run < n; run *= 2) {                                                        \
            for (int64_t start = 0; start < n; start += 2 * run) {                                        \
                int64_t a = start, middle = ck_min(start + run, n), b = middle,                           \
                        end = ck_min(start + 2 * run, n);                                                 \
                for (int64_t i = start; i < end; i++)                                                     \
                    to[i] = a < middle && (b == end || !NAME##_above(row, from[b], from[a])) ? from[a++]  \
                                                                                             : from[b++]; \
            }                                                                                             \
            int32_t *sorted = to;                                                                         \
            to = from;                                                                                    \
            from = sorted;                                                                                \
        }                                                                                                 \
        return from;                                                                                      \
    }                                                                                                     \
    ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {                                              \
        const ck_sort *p = params;                                                                        \
        const T *row = (const T *)ck_at(p->in, bases) + begin * p->width;                                 \
        T *values = (T *)ck_at(p->values, bases) + begin * p->k;                                          \
        int32_t *indices = (int32_t *)ck_at(p->indices, bases) + begin * p->k,                            \
                *scratch = (int32_t *)ck_at(p->scratch, bases);                                           \
        for (int64_t r = begin; r < end; r++, row += p->width, values += p->k, indices += p->k) {         \
            const int32_t *order = NAME##_order(row, scratch, scratch + p->width, p->width);              \
            for (int64_t i = 0; i < p->k; i++) {                                                          \
                indices[i] = order[i];                                                                    \
                values[i] = row[order[i]];                                                                \
            }                                                                                             \
        }                                                                                                 \
        return CK_OK;                                                                                     \
    }

SORT(ck_f32_sort__scalar, float)
SORT(ck_i8_sort__scalar, int8_t)
SORT(ck_u8_sort__scalar, uint8_t)
SORT(ck_i16_sort__scalar, int16_t)
SORT(ck_i32_sort__scalar, int32_t)
SORT(ck_i64_sort__scalar, int64_t)
