/* map_body.h: MAP for one compute type. T is the type, U its unsigned twin (or T), C its prefix, OWN its
 * ck_dtype, NAME the kernel.
 *
 * A program runs on a stack of blocks: each instruction is one simple loop over up to BLOCK elements, which
 * the compiler turns into vector code, so the cost of dispatch is paid once per block and not once per
 * element. What is on the stack may lie elsewhere: an input that needs no conversion is read where it stands,
 * what is the same in every block is made once, and the last result goes straight to the output.
 */
#define JOIN(a, b) a##_##b
#define NAMED(prefix, name) JOIN(prefix, name)

typedef T NAMED(C, block)[BLOCK];

#define DEFINE(name, arity, expression)                                                               \
    static void NAMED(C, name)(T *to, const T *const *from, int n, const ck_instruction *instruction) { \
        const T arg0 = (T)instruction->ARGS[0], arg1 = (T)instruction->ARGS[1];                       \
        const T *first = from[0], *second = from[arity > 1], *third = from[arity > 2 ? 2 : 0];        \
        (void)arg0, (void)arg1;                                                                       \
        SIDE_BY_SIDE for (int i = 0; i < n; i++) {                                                    \
            const T a = first[i], b = second[i], c = third[i];                                        \
            (void)a, (void)b, (void)c;                                                                \
            to[i] = (T)(expression);                                                                  \
        }                                                                                             \
    }
/* A function of one vector; the last may be a part of one. */
#define DEFINE_VECTORS(name, arity, expression)                                                         \
    static inline __attribute__((always_inline)) real NAMED(name, of)(const real a) { return expression; } \
    static void NAMED(C, name)(T *to, const T *const *from, int n, const ck_instruction *instruction) { \
        const T *first = from[0];                                                                       \
        int i = 0;                                                                                      \
        (void)instruction;                                                                              \
        for (; i + VL <= n; i += VL) *(real *)(to + i) = NAMED(name, of)(*(const real *)(first + i));   \
        if (i == n) return;                                                                             \
        real last = {0};                                                                                \
        memcpy(&last, first + i, (size_t)(n - i) * sizeof(T));                                          \
        last = NAMED(name, of)(last);                                                                   \
        memcpy(to + i, &last, (size_t)(n - i) * sizeof(T));                                             \
    }
#define args(i) arg##i
#if IS_REAL
#define SMOOTH(name, arity, real) DEFINE_SMOOTH(name, arity, real)
#define BOTH(name, arity, real, whole) DEFINE(name, arity, real)
#define REAL(name, arity, real) DEFINE(name, arity, real)
#define WHOLE(name, arity, whole)
#define NARROW(name, arity, whole)
#else
#define BOTH(name, arity, real, whole) DEFINE(name, arity, whole)
#define REAL(name, arity, real)
#define SMOOTH(name, arity, real)
#define WHOLE(name, arity, whole) DEFINE(name, arity, whole)
#if IS_NARROW
#define NARROW(name, arity, whole) DEFINE(name, arity, whole)
#else
#define NARROW(name, arity, whole)
#endif
#endif
#include "map.inc"
#undef BOTH
#undef REAL
#undef SMOOTH
#undef WHOLE
#undef NARROW

static void (*const NAMED(C, functions)[])(T *, const T *const *, int, const ck_instruction *) = {
#define HERE(name) NAMED(C, name),
#define BOTH(name, arity, real, whole) HERE(name)
#define SMOOTH REAL
#if IS_REAL
#define REAL(name, arity, real) HERE(name)
#define WHOLE(name, arity, whole) NULL,
#define NARROW(name, arity, whole) NULL,
#else
#define REAL(name, arity, real) NULL,
#define WHOLE(name, arity, whole) HERE(name)
#if IS_NARROW
#define NARROW(name, arity, whole) HERE(name)
#else
#define NARROW(name, arity, whole) NULL,
#endif
#endif
#include "map.inc"
#undef BOTH
#undef REAL
#undef SMOOTH
#undef WHOLE
#undef NARROW
};

/* Converts n elements, `step` apart, to the compute type. */
static void NAMED(C, load)(T *restrict to, const char *from, int32_t dtype, int64_t at, int64_t step,
                           int64_t n) {
#define LOAD(ENUM, S, CONVERT)                                                    \
    case ENUM: {                                                                  \
        const S *source = (const S *)from + at;                                   \
        if (step == 1)                                                            \
            for (int64_t i = 0; i < n; i++) to[i] = (T)CONVERT(source[i]);        \
        else                                                                      \
            for (int64_t i = 0; i < n; i++) to[i] = (T)CONVERT(source[i * step]); \
        break;                                                                    \
    }
    switch (dtype) {
        LOAD(CK_F32, float, FROM_REAL)
        LOAD(CK_F16, uint16_t, FROM_HALF)
        LOAD(CK_I8, int8_t, )
        LOAD(CK_U8, uint8_t, )
        LOAD(CK_BOOL, uint8_t, )
        LOAD(CK_I16, int16_t, )
        LOAD(CK_I32, int32_t, )
        LOAD(CK_I64, int64_t, )
        LOAD(CK_F64, double, FROM_REAL)
        LOAD(CK_U16, uint16_t, )
        LOAD(CK_U32, uint32_t, )
        LOAD(CK_U64, uint64_t, )
    }
#undef LOAD
}

/* Converts n results to the output's type: integers saturate, a NaN becomes 0; a u64 takes the bits
 * of an i64. */
static void NAMED(C, store)(char *to, int32_t dtype, int64_t at, int64_t step, const T *restrict from,
                            int64_t n) {
#define STORE(ENUM, S, VALUE)                  \
    case ENUM: {                               \
        S *target = (S *)to + at;              \
        if (step == 1) {                       \
            for (int64_t i = 0; i < n; i++) {  \
                const T x = from[i];           \
                target[i] = (S)(VALUE);        \
            }                                  \
        } else {                               \
            for (int64_t i = 0; i < n; i++) {  \
                const T x = from[i];           \
                target[i * step] = (S)(VALUE); \
            }                                  \
        }                                      \
        break;                                 \
    }
    switch (dtype) {
        STORE(CK_F32, float, x)
        STORE(CK_F16, uint16_t, ck_f16_of_f32((float)x))
        STORE(CK_I8, int8_t, TO_WHOLE(x, INT8_MIN, INT8_MAX))
        STORE(CK_U8, uint8_t, TO_WHOLE(x, 0, UINT8_MAX))
        STORE(CK_BOOL, uint8_t, x != 0)
        STORE(CK_I16, int16_t, TO_WHOLE(x, INT16_MIN, INT16_MAX))
        STORE(CK_I32, int32_t, TO_I32(x))
        STORE(CK_I64, int64_t, TO_I64(x))
        STORE(CK_F64, double, x)
        STORE(CK_U16, uint16_t, TO_WHOLE(x, 0, UINT16_MAX))
        STORE(CK_U32, uint32_t, TO_U32(x))
        STORE(CK_U64, uint64_t, TO_U64(x))
    }
#undef STORE
}

/* Rows of `width` elements. */
static void NAMED(C, rows)(T *to, int64_t to_step, const T *from, int64_t from_step, int64_t rows, int64_t width) {
    for (int64_t row = 0; row < rows; row++, to += to_step, from += from_step)
        for (int64_t i = 0; i < width; i++) to[i] = from[i];
}

/* n elements of input j from `index` on, the element `done` of the space: where they stand, or converted to
 * `room`. */
static const T *NAMED(C, input)(const ck_map *p, int32_t j, const int64_t *index, int64_t done, int n,
                                char *const *bases, T *room) {
    const char *from = ck_at(p->inputs[j], bases);
    const ck_view *view = &p->views[j];
    const T *at = (const T *)(const void *)from + element(view, index);
    if (p->dtypes[j] == OWN && follow(p->sizes, view, done, n)) return at;
    const int64_t width = p->sizes[5], rows = p->dtypes[j] == OWN ? rows_of(p->sizes, index, n) : 0;
    if (rows && view->strides[5] == 1) {
        NAMED(C, rows)(room, width, at, view->strides[4], rows, width);
    } else if (rows && view->strides[5] == 0) {
        for (int64_t row = 0; row < rows; row++)
            for (int64_t i = 0; i < width; i++) room[row * width + i] = at[row * view->strides[4]];
    } else {
        RUNS(p, *view, index, n, NAMED(C, load)(room + filled, from, p->dtypes[j], at, step, run));
    }
    return room;
}

/* n results to where the output has them; `direct`: they follow each other there. */
static void NAMED(C, output)(const ck_map *p, const int64_t *index, int n, int direct, const T *from,
                             char *out) {
    const int64_t *steps = p->output.strides, width = p->sizes[5];
    const int64_t rows = !direct && p->out_dtype == OWN && steps[5] == 1 ? rows_of(p->sizes, index, n) : 0;
    if (rows) {
        T *to = (T *)(void *)out + element(&p->output, index);
        NAMED(C, rows)(to, steps[4], from, width, rows, width);
    } else {
        RUNS(p, p->output, index, n, NAMED(C, store)(out, p->out_dtype, at, step, from + filled, run));
    }
}

ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_map *p = params;
    NAMED(C, block) stack[STACK], kept[KEPT];
    const T *top[STACK + 2];
    struct {
        int32_t at; /* the instruction that pushes it */
        const T *block;
    } constant[KEPT];
    int32_t n_kept = 0;
    int64_t index[6] = {0};
    advance(p->sizes, index, begin);
    const int64_t block = block_of(p, index, end - begin);
    char *out = ck_at(p->out, bases);
    for (int64_t done = begin; done < end; done += block) {
        const int n = (int)ck_min(block, end - done);
        const int direct = p->out_dtype == OWN && follow(p->sizes, &p->output, done, n);
        T *target = (T *)(void *)out + (direct ? element(&p->output, index) : 0);
        int depth = 0, again = 0;
        for (int32_t i = 0; i < p->n_instructions; i++) {
            const ck_instruction *instruction = &p->program[i];
            T *room = stack[depth];
            if (instruction->op >= 0) {
                depth -= primitives[instruction->op].arity;
                room = direct && i == p->n_instructions - 1 ? target : stack[depth];
                NAMED(C, functions)[instruction->op](room, top + depth, n, instruction);
                top[depth++] = room;
                continue;
            }
            if (again < n_kept && constant[again].at == i) {
                top[depth++] = constant[again++].block;
                continue;
            }
            const int first = done == begin && n < end - begin;
            const int keep = first && n_kept < KEPT && is_constant(p, instruction, index, block);
            if (keep) room = kept[n_kept];
            top[depth] = room;
            if (instruction->op == CK_MAP_LOAD) {
                top[depth] = NAMED(C, input)(p, instruction->input, index, done, n, bases, room);
            } else {
                const T number = (T)instruction->ARGS[0];
                for (int x = 0; x < n; x++) room[x] = number;
            }
            if (keep) constant[n_kept++].at = i, constant[again++].block = top[depth];
            depth++;
        }
        if (!direct || top[0] != target) NAMED(C, output)(p, index, n, direct, top[0], out);
        if (n < end - done) advance(p->sizes, index, n);
    }
    return CK_OK;
}

#undef DEFINE
#undef DEFINE_VECTORS
#undef DEFINE_SMOOTH
#undef HERE
#undef args
#undef JOIN
#undef NAMED
#undef T
#undef U
#undef C
#undef F
#undef V
#undef OWN
#undef NAME
#undef ARGS
#undef IS_REAL
#undef IS_NARROW
#undef FROM_REAL
#undef FROM_HALF
#undef TO_WHOLE
#undef TO_I32
#undef TO_U32
#undef TO_I64
#undef TO_U64
