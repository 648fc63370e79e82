/* reduce_body.h: REDUCE for one element type T with accumulator A; NAME is the kernel.
 *
 * A slice of the axis is a run of the input, or what an entry of a table points to (see ck_reduce).
 * Columns of `inner` are reduced side by side, up to LANES at a time, so the innermost loop is a vector loop.
 * When inner is 1, PARTS interleaved parts of the axis stand in for the columns and are put together at the
 * end.
 */
#define JOIN(a, b) a##_##b
#define NAMED(name, suffix) JOIN(name, suffix)

#define EACH(INIT, UPDATE)                                   \
    do {                                                     \
        for (int64_t i = 0; i < width; i++) acc[i] = (INIT); \
        for (int64_t a = 0; a < axis; a++) {                 \
            const T *from = SLICE(a);                        \
            for (int64_t i = 0; i < width; i++) {            \
                const A v = from[i];                         \
                acc[i] = (UPDATE);                           \
            }                                                \
        }                                                    \
    } while (0)

/* acc[i] = index of the best of column i, the first of equals; BETTER(x, y) says that x replaces y. */
#define WHERE(BETTER)                                                                      \
    for (int64_t i = 0; i < width; i++) {                                                  \
        T best = SLICE(0)[i];                                                              \
        where[i] = 0;                                                                      \
        for (int64_t a = 1; a < axis; a++)                                                 \
            if (BETTER(SLICE(a)[i], best)) best = SLICE(a)[i], where[i] = a;               \
    }
#define HIGHER(x, y) ((x) > (y))
#define LOWER(x, y) ((x) < (y))
#define SLICE(a) (rows == NULL ? in + (a) * stride : rows[a] < 0 ? pad : in + rows[a])

/* Never inlined: on its own the compiler makes vector code of it, for a known width it unrolls it instead. */
static __attribute__((noinline)) void NAMED(NAME, columns)(int32_t op, const T *in, const int32_t *rows, const T *pad, int64_t axis,
                                 int64_t stride, int64_t width, A *acc, int64_t *where) {
    switch (op) {
        case CK_SUM: EACH(0, SUM(acc[i], v)); break;
        case CK_PROD: EACH(1, PRODUCT(acc[i], v)); break;
        case CK_MAX: EACH(SLICE(0)[i], v > acc[i] || IS_NAN(acc[i]) ? v : acc[i]); break;
        case CK_MIN: EACH(SLICE(0)[i], v < acc[i] || IS_NAN(acc[i]) ? v : acc[i]); break;
        case CK_ANY: EACH(0, acc[i] != 0 || v != 0); break;
        case CK_ALL: EACH(1, acc[i] != 0 && v != 0); break;
        case CK_ARGMAX: WHERE(HIGHER); break;
        case CK_ARGMIN: WHERE(LOWER); break;
    }
}

/* The greatest or the least of as many columns as are in BYTES, at every step of the axis. */
#define EXTREMES(name, BYTES)                                                                                \
    static inline __attribute__((always_inline)) void NAMED(NAME, name)(                                     \
        const int most, const T *in, const int32_t *rows, const T *pad, int64_t axis, int64_t stride, T *out) { \
        typedef T lanes __attribute__((vector_size(BYTES), aligned(1), may_alias));                          \
        typedef __typeof__((lanes){0} > (lanes){0}) truths;                                                  \
        lanes best = *(const lanes *)SLICE(0);                                                               \
        for (int64_t a = 1; a < axis; a++) {                                                                 \
            const lanes v = *(const lanes *)SLICE(a);                                                        \
            const truths better = (most ? v > best : v < best) | IS_NAN(best);                               \
            best = (lanes)(((truths)v & better) | ((truths)best & ~better));                                 \
        }                                                                                                    \
        *(lanes *)out = best;                                                                                \
    }
EXTREMES(wide, 64)
EXTREMES(narrow, 16)
#undef EXTREMES

/* The columns [begin, end) of one `outer`, at least as many as are in 16 bytes; of the last ones some may be done
 * twice. */
static void NAMED(NAME, extremes)(const ck_reduce *p, const T *in, const int32_t *rows, const T *pad, int64_t begin,
                                  int64_t end, T *out) {
    const int64_t width = ((end - begin) * (int64_t)sizeof(T) < 64 ? 16 : 64) / (int64_t)sizeof(T);
    for (int64_t i = begin; i < end; i += width) {
        const int64_t at = ck_min(i, end - width);
        const T *outside = pad ? pad + at : NULL;
#define EXTREMES(name, most) NAMED(NAME, name)(most, in + at, rows, outside, p->axis, p->inner, out + at)
        if (width * sizeof(T) == 64 && p->op == CK_MAX) EXTREMES(wide, 1);
        else if (width * sizeof(T) == 64) EXTREMES(wide, 0);
        else if (p->op == CK_MAX) EXTREMES(narrow, 1);
        else EXTREMES(narrow, 0);
#undef EXTREMES
    }
}

/* A row of at least PARTS elements: PARTS sums side by side, what is left behind the last whole part, and the sums
 * by halves. */
static A NAMED(NAME, row)(int32_t op, const T *in, int64_t axis) {
    A acc[PARTS] = {0};
    NAMED(NAME, columns)(op, in, NULL, NULL, axis / PARTS, PARTS, PARTS, acc, NULL);
    const T *left = in + axis / PARTS * PARTS;
#define TOGETHER(UPDATE)                               \
    do {                                               \
        for (int64_t i = 0; i < axis % PARTS; i++) {   \
            const A v = left[i];                       \
            acc[i] = (UPDATE);                         \
        }                                              \
        for (int width = PARTS / 2; width; width /= 2) \
            for (int i = 0; i < width; i++) {          \
                const A v = acc[i + width];            \
                acc[i] = (UPDATE);                     \
            }                                          \
    } while (0)
    switch (op) {
        case CK_SUM: TOGETHER(SUM(acc[i], v)); break;
        case CK_PROD: TOGETHER(PRODUCT(acc[i], v)); break;
        case CK_MAX: TOGETHER(v > acc[i] || IS_NAN(acc[i]) ? v : acc[i]); break;
        case CK_MIN: TOGETHER(v < acc[i] || IS_NAN(acc[i]) ? v : acc[i]); break;
        case CK_ANY: TOGETHER(acc[i] != 0 || v != 0); break;
        case CK_ALL: TOGETHER(acc[i] != 0 && v != 0); break;
    }
#undef TOGETHER
    return acc[0];
}

ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_reduce *p = params;
    const T *in = (const T *)ck_at(p->in, bases), *pad = (const T *)ck_at(p->pad, bases);
    char *out = ck_at(p->out, bases);
    const int indices = p->op == CK_ARGMAX || p->op == CK_ARGMIN;
    const int real = (A)0.5 != 0 && p->op != CK_ANY && p->op != CK_ALL;
    const int64_t first = p->outer == 1 ? begin : 0, last = p->outer == 1 ? end : p->inner; /* columns */
    if (p->outer == 1) begin = 0, end = 1;
    const int extreme = (p->op == CK_MAX || p->op == CK_MIN) && (last - first) * (int64_t)sizeof(T) >= 16;
    for (int64_t o = begin; extreme && o < end; o++)
        NAMED(NAME, extremes)(p, in + (p->rows ? 0 : o * p->axis * p->inner), p->rows ? p->rows + o * p->axis : NULL, pad,
                              first, last, (T *)(void *)out + o * p->inner);
    for (int64_t o = begin; !extreme && o < end; o++)
        for (int64_t i = first; i < last; i += LANES) {
            A acc[LANES] = {0};
            int64_t where[LANES] = {0};
            const int64_t width = ck_min(LANES, last - i), at = o * p->inner + i;
            const int32_t *rows = p->rows ? p->rows + o * p->axis : NULL;
            const T *from = in + (rows ? 0 : o * p->axis * p->inner) + i, *outside = pad ? pad + i : NULL;
            if (p->inner == 1 && !rows && p->axis >= PARTS && !indices)
                acc[0] = NAMED(NAME, row)(p->op, from, p->axis);
            else NAMED(NAME, columns)(p->op, from, rows, outside, p->axis, p->inner, width, acc, where);
            for (int64_t j = 0; j < width; j++) {
                if (indices) put(out, p->out_dtype, at + j, where[j]);
                else if (real) ((float *)out)[at + j] = (float)acc[j];
                else put(out, p->out_dtype, at + j, (int64_t)acc[j]);
            }
        }
    return CK_OK;
}

#undef T
#undef NAME
#undef JOIN
#undef NAMED
#undef EACH
#undef WHERE
#undef HIGHER
#undef LOWER
#undef SLICE
