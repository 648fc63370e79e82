/* map.h: MAP, the element-wise atom, for one instruction set: each map*.c names it by ISA, and its flags make
 * vector code of the loops. map.inc lists the primitives, map_body.h is the machine that runs them.
 */
#include "kernels.h"
#include "quantized.h"
#include "real.h"

enum { BLOCK = 512, STACK = 32, KEPT = 8 };

/* A loop whose operands are the same elements or others, never their neighbours. */
#define SIDE_BY_SIDE _Pragma("GCC ivdep")

static const ck_primitive primitives[] = {
#define BOTH(name, arity, real, whole) {#name, arity, 15},
#define REAL(name, arity, real) {#name, arity, 9},
#define SMOOTH REAL
#define WHOLE(name, arity, whole) {#name, arity, 6},
#define NARROW(name, arity, whole) {#name, arity, 2},
#include "map.inc"
#undef BOTH
#undef REAL
#undef SMOOTH
#undef WHOLE
#undef NARROW
};

#define KERNEL(type, isa) KERNEL_(type, isa)
#define KERNEL_(type, isa) ck_##type##_map__##isa

/* Python's floor division and modulo of floats: the remainder takes the sign of b, the quotient is consistent
 * with it. */
#define FLOOR(T, F)                                                                           \
    static T F(floor_div)(T a, T b) {                                                         \
        if (b == 0) return a / b;                                                             \
        T remainder = F(fmod)(a, b), quotient = (a - remainder) / b;                          \
        if (remainder != 0 && (b < 0) != (remainder < 0)) quotient -= 1;                      \
        if (quotient == 0) return F(copysign)(0, a / b);                                      \
        T below = F(floor)(quotient);                                                         \
        return quotient - below > (T)0.5 ? below + 1 : below;                                 \
    }                                                                                         \
    static T F(floor_mod)(T a, T b) {                                                         \
        T remainder = F(fmod)(a, b);                                                          \
        if (b == 0) return remainder;                                                         \
        if (remainder == 0) return F(copysign)(0, b);                                         \
        return (b < 0) != (remainder < 0) ? remainder + b : remainder;                        \
    }
#define SINGLE(name) name##f
#define DOUBLE(name) name
FLOOR(float, SINGLE)
FLOOR(double, DOUBLE)

static double logistic(double x) { return 1 / (1 + exp(-x)); }

static int32_t saturated(int64_t x) {
    return x < INT32_MIN ? INT32_MIN : x > INT32_MAX ? INT32_MAX : (int32_t)x;
}

static int32_t leading_zeros(uint32_t x) { return x == 0 ? 32 : __builtin_clz(x); }

/* a^b with the low bits of any integer type; b < 0 counts as 0. */
static uint64_t power(uint64_t a, int64_t b) {
    uint64_t out = 1;
    for (; b > 0; b >>= 1, a *= a) out *= b & 1 ? a : 1;
    return out;
}

static void advance(const int64_t *sizes, int64_t *index, int64_t n) {
    for (int d = 5; d >= 0 && n > 0; d--) {
        index[d] += n;
        if (index[d] < sizes[d]) return;
        n = index[d] / sizes[d];
        index[d] %= sizes[d];
    }
}

/* Which element of a view an index is. */
static int64_t element(const ck_view *view, const int64_t *index) {
    int64_t at = view->offset;
    for (int d = 0; d < 6; d++) at += index[d] * view->strides[d];
    return at;
}

/* How many elements of a view follow each other in memory, from every multiple of them on. */
static int64_t span_of(const int64_t *sizes, const ck_view *view) {
    int64_t span = 1;
    for (int d = 5; d >= 0; d--) {
        if (sizes[d] == 1) continue;
        if (view->strides[d] != span) break;
        span *= sizes[d];
    }
    return span;
}

/* The innermost rows that n elements from an index on are, where they are whole and a step of strides[4] apart; or
 * 0. */
static int64_t rows_of(const int64_t *sizes, const int64_t *index, int n) {
    const int64_t rows = n / sizes[5];
    return index[5] == 0 && n == rows * sizes[5] && index[4] + rows <= sizes[4] ? rows : 0;
}

/* Whether n elements of a view follow each other in memory from element `done` of the space on. */
static int follow(const int64_t *sizes, const ck_view *view, int64_t done, int64_t n) {
    const int64_t span = span_of(sizes, view);
    return done + n <= span || done % span + n <= span;
}

/* The elements of a block: all n that there are, within a row; whole innermost rows, where they begin with one
 * and one fits. */
static int64_t block_of(const ck_map *p, const int64_t *index, int64_t n) {
    const int64_t row = p->sizes[5];
    if (n <= ck_min(row - index[5], BLOCK)) return n;
    return row < 1 || row > BLOCK || index[5] ? BLOCK : BLOCK / row * row;
}

/* Whether an instruction pushes the same in every block, the first of which is at the index. */
static int is_constant(const ck_map *p, const ck_instruction *instruction, const int64_t *index, int64_t block) {
    if (instruction->op == CK_MAP_CONST) return 1;
    const int64_t *strides = p->views[instruction->input].strides;
    for (int d = 0; d < 5; d++)
        if (strides[d]) return 0;
    return !strides[5] || (index[5] == 0 && block % p->sizes[5] == 0);
}

/* Runs BODY for each innermost run of the n elements from `index` on: `run` elements, `step` apart, from
 * element `at` of the view; `filled` elements came before. */
#define RUNS(P, VIEW, INDEX, N, BODY)                                      \
    do {                                                                   \
        int64_t here[6], run;                                              \
        memcpy(here, INDEX, sizeof here);                                  \
        for (int64_t filled = 0; filled < (N); filled += run) {            \
            const int64_t step = (VIEW).strides[5];                        \
            int64_t at = (VIEW).offset;                                    \
            for (int d = 0; d < 6; d++) at += here[d] * (VIEW).strides[d]; \
            run = ck_min((P)->sizes[5] - here[5], (N) - filled);           \
            BODY;                                                          \
            if (filled + run < (N)) advance((P)->sizes, here, run);        \
        }                                                                  \
    } while (0)

static int64_t whole_of_real(double x, int64_t low, int64_t high) {
    if (x != x) return 0;
    return x <= (double)low ? low : x >= (double)high ? high : (int64_t)x;
}

static uint64_t unsigned_of_real(double x) {
    if (!(x > 0)) return 0;
    return x >= 0x1p64 ? UINT64_MAX : (uint64_t)x;
}

#define T float
#define U float
#define C f32
#define OWN CK_F32
#define F SINGLE
#define V(name) ck_##name
#define DEFINE_SMOOTH DEFINE_VECTORS
#define NAME KERNEL(f32, ISA)
#define ARGS real
#define IS_REAL 1
#define IS_NARROW 0
#define FROM_REAL(x) (x)
#define FROM_HALF(x) ck_f32_of_f16(x)
#define TO_WHOLE(x, low, high) (x != x ? 0 : x<(low) ? (low) : x>(high) ? (high) : (int32_t)x)
#define TO_I32(x) whole_of_real(x, INT32_MIN, INT32_MAX)
#define TO_U32(x) whole_of_real(x, 0, UINT32_MAX)
#define TO_I64(x) whole_of_real(x, INT64_MIN, INT64_MAX)
#define TO_U64(x) unsigned_of_real(x)
#include "map_body.h"

#define T double
#define U double
#define C f64
#define OWN CK_F64
#define F DOUBLE
#define V(name) name
#define DEFINE_SMOOTH DEFINE
#define NAME KERNEL(f64, ISA)
#define ARGS real
#define IS_REAL 1
#define IS_NARROW 0
#define FROM_REAL(x) (x)
#define FROM_HALF(x) ck_f32_of_f16(x)
#define TO_WHOLE(x, low, high) (x != x ? 0 : x<(low) ? (low) : x>(high) ? (high) : (int32_t)x)
#define TO_I32(x) whole_of_real(x, INT32_MIN, INT32_MAX)
#define TO_U32(x) whole_of_real(x, 0, UINT32_MAX)
#define TO_I64(x) whole_of_real(x, INT64_MIN, INT64_MAX)
#define TO_U64(x) unsigned_of_real(x)
#include "map_body.h"

#define T int32_t
#define U uint32_t
#define C i32
#define OWN CK_I32
#define NAME KERNEL(i32, ISA)
#define ARGS integer
#define IS_REAL 0
#define IS_NARROW 1
#define FROM_REAL(x) whole_of_real(x, INT32_MIN, INT32_MAX)
#define FROM_HALF(x) whole_of_real(ck_f32_of_f16(x), INT32_MIN, INT32_MAX)
#define TO_WHOLE(x, low, high) (x<(low) ? (low) : x>(high) ? (high) : x)
#define TO_I32(x) (x)
#define TO_U32(x) (x < 0 ? 0 : x)
#define TO_I64(x) (x)
#define TO_U64(x) (x)
#include "map_body.h"

#define T int64_t
#define U uint64_t
#define C i64
#define OWN CK_I64
#define NAME KERNEL(i64, ISA)
#define ARGS integer
#define IS_REAL 0
#define IS_NARROW 0
#define FROM_REAL(x) whole_of_real(x, INT64_MIN, INT64_MAX)
#define FROM_HALF(x) whole_of_real(ck_f32_of_f16(x), INT64_MIN, INT64_MAX)
#define TO_WHOLE(x, low, high) (x<(low) ? (low) : x>(high) ? (high) : x)
#define TO_I32(x) saturated(x)
#define TO_U32(x) (x < 0 ? 0 : x > UINT32_MAX ? UINT32_MAX : x)
#define TO_I64(x) (x)
#define TO_U64(x) (x)
#include "map_body.h"
