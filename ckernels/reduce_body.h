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

static void NAMED(NAME, columns)(int32_t op, const T *in, const int32_t *rows, const T *pad, int64_t axis,
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

/* Two partial results of the same op. */
static A NAMED(NAME, both)(int32_t op, A x, A y) {
    switch (op) {
        case CK_SUM: return SUM(x, y);
        case CK_PROD: return PRODUCT(x, y);
        case CK_MAX: return y > x || IS_NAN(x) ? y : x;
        case CK_MIN: return y < x || IS_NAN(x) ? y : x;
        case CK_ANY: return x != 0 || y != 0;
        default: return x != 0 && y != 0;
    }
}

static A NAMED(NAME, row)(int32_t op, const T *in, int64_t axis) {
    A acc[PARTS] = {0}, rest[1] = {0};
    const int64_t even = axis / PARTS;
    NAMED(NAME, columns)(op, in, NULL, NULL, even, PARTS, PARTS, acc, NULL);
    for (int i = 1; i < PARTS; i++) acc[0] = NAMED(NAME, both)(op, acc[0], acc[i]);
    if (axis > even * PARTS) {
        NAMED(NAME, columns)(op, in + even * PARTS, NULL, NULL, axis - even * PARTS, 1, 1, rest, NULL);
        acc[0] = NAMED(NAME, both)(op, acc[0], rest[0]);
    }
    return acc[0];
}

ck_status NAME(const void *params, char *const *bases) {
    const ck_reduce *p = params;
    const T *in = (const T *)ck_at(p->in, bases), *pad = (const T *)ck_at(p->pad, bases);
    char *out = ck_at(p->out, bases);
    const int indices = p->op == CK_ARGMAX || p->op == CK_ARGMIN;
    const int real = (A)0.5 != 0 && p->op != CK_ANY && p->op != CK_ALL;
    for (int64_t o = 0; o < p->outer; o++)
        for (int64_t i = 0; i < p->inner; i += LANES) {
            A acc[LANES] = {0};
            int64_t where[LANES] = {0};
            const int64_t width = ck_min(LANES, p->inner - i), at = o * p->inner + i;
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
