/* ck.h: the whole interface of the C kernels.
 *
 * The lines that do not begin with '#' are also the cffi cdef, as they stand: plain declarations only.
 * A program is a flat array of `ck_step`; `ck_run` walks it once over one arena, `ck_team_run` on several threads.
 * Kernels allocate nothing, keep no state and never touch Python, so any number of programs may run side by side.
 */
#ifndef CK_H
#define CK_H
#include <stddef.h>
#include <stdint.h>

typedef enum {
    CK_OK = 0,
    CK_BAD_INDEX = 1, /* GATHER or SCATTER met an index outside its rows */
    CK_NO_END = 2,    /* a WHILE ran for more trips than it may */
} ck_status;

/* Element types. CK_X8..CK_X64 stand for any type of that many bits: kernels that only move data. */
typedef enum {
    CK_F32,
    CK_F16,
    CK_I8,
    CK_U8,
    CK_I16,
    CK_I32,
    CK_I64,
    CK_BOOL,
    CK_F64,
    CK_U16,
    CK_U32,
    CK_U64,
    CK_X8,
    CK_X16,
    CK_X32,
    CK_X64,
    CK_Q8,
    CK_Q16,
    CK_S8,
} ck_dtype;

/* Instruction sets, as bits: a kernel may run where all of its bits are present. */
typedef enum {
    CK_ISA_SCALAR = 0,
    CK_ISA_AVX2 = 1, /* AVX2 and FMA */
    CK_ISA_NEON = 2,
    CK_ISA_AVX512 = 4, /* F, BW, DQ and VL, beside AVX2 */
    CK_ISA_VNNI = 8,   /* of AVX-512 */
    CK_ISA_VBMI = 16,  /* of AVX-512 */
    CK_ISA_DOTPROD = 32, /* of ARMv8.2, beside NEON */
    CK_ISA_AMX = 64,     /* tiles of bytes, beside VNNI */
} ck_isa;

typedef enum {
    CK_RASTER,
    CK_RASTER_ADD,
    CK_GEMM,
    CK_PACK, /* as a step: of a GEMM, whose parameters it takes */
    CK_MAP,
    CK_REDUCE,
    CK_GATHER,
    CK_SCATTER,
    CK_SORT,
    CK_RNG,
    CK_DEPTHWISE,
    CK_WINOGRAD,
    CK_ADD,
    CK_MUL,
    CK_LOOKUP,
    CK_IF,
    CK_WHILE,
    CK_LOOP,
    CK_TURN,
} ck_operator;

/* Where an operand lives: bases[base] + offset bytes. base -1: the operand is absent. */
typedef struct {
    int32_t base;
    int64_t offset;
} ck_operand;

/* Address of index i: offset + sum(i[d] * strides[d]), in elements. Unused leading dims have size 1. */
typedef struct {
    int64_t offset;
    int64_t strides[6];
} ck_view;

typedef struct {
    int32_t input;       /* which operand the data comes from */
    ck_view source;      /* into that operand */
    ck_view destination; /* into the output */
    int64_t sizes[6];    /* the index space, shared by both views */
} ck_region;

/* out = fill everywhere (if filled), then every region in order is copied or added. */
typedef struct {
    ck_operand out;
    const ck_operand *inputs;
    const ck_region *regions;
    int32_t n_regions;
    int32_t filled;   /* 0: the regions cover the output, `fill` is not used */
    int32_t any_order; /* 1: not filled, and no element is copied to twice */
    int64_t elements; /* of the output */
    char fill[8];     /* one element, in its own type, at the front */
} ck_raster;

/* Kernels of 8-bit GEMMs may read up to 3 bytes behind A and `pad`, which change nothing.
 *
 * C[b,m,n] = epilogue(sum_k (A[b,m,k] - a_zero) * (B[b,k,n] - b_zero) + bias[n]).
 * A is either a view over (batch, m, k), or indirect (batch 1): k is cut into `taps` chunks of equal length,
 * contiguous in memory, and rows[m * taps + t] says at which element chunk t of row m starts; a negative
 * entry reads `pad`.
 */
typedef struct {
    ck_operand a, b, bias, c;
    ck_operand packed;   /* B and bias as panels: [batch][ceil(n / nr)]{bias[nr], [ceil(k / kr)][nr][kr]}; the
                          * elements are f32, or for CK_Q8 s32 bias and s16 with b_zero taken off, or for
                          * groups of 4 bytes (see gemm_q8c4.h), or for CK_Q16 s16 and no bias */
    ck_operand scratch;  /* for one tile of A; how much, and how much `packed`, is in ck_gemm_room */
    ck_operand pad;      /* k / taps elements that stand for the padding; absent without `rows` */
    const int32_t *rows; /* m * taps entries, or NULL */
    int64_t taps;        /* 1 without `rows` */
    int64_t batch, m, n, k;
    ck_view a_view, b_view;   /* strides[0..2] are those of (batch, m, k), of (batch, k, n), */
    ck_view c_view;           /* and of (batch, m, n) */
    int32_t nr;               /* columns of a panel: those of the row of the registry */
    int32_t by_columns;       /* 1, of a single batch: units are columns of C, cut between panels */
    int32_t a_dtype, b_dtype; /* CK_F32, or CK_I8 / CK_U8 for CK_Q8, CK_I16 and CK_I8 / CK_I16 for CK_Q16 */
    int32_t a_zero, b_zero;
    float low, high; /* the float epilogue: clamp */
    int32_t c_dtype; /* CK_Q8 kernels: CK_I8 / CK_U8, or CK_I32 for bare sums; CK_Q16: CK_I64, or CK_I32 for
                      * the low 32 bits of bare sums */
    const int32_t *multiplier; /* the integer epilogue: Q31 multipliers, not negative, and powers of two; */
    const int32_t *shift;      /* n of each, rounded up to a multiple of nr */
    int32_t c_zero, c_low, c_high;
    int32_t c_ties_away;         /* 1: halves are rounded away from zero, 0: up */
} ck_gemm;

/* Depthwise convolution, a fused GEMM of one column per channel: for row m and channel c
 *   out[m,c] = epilogue(sum_t (in[rows[m * taps + t] + c] - in_zero) * weights[t,c] + bias[c])
 * A negative entry of rows reads `pad` (one element per channel). Weights and bias are f32, or for CK_Q8 s32
 * with the weights' zero point taken off; the epilogue is that of ck_gemm. For CK_S8 the weights are bytes, all
 * of it in the order of depthwise_vnni.c, and the bias has what in_zero adds.
 */
typedef struct {
    ck_operand in, weights, bias, pad, out;
    const int32_t *rows;   /* m * taps */
    const uint8_t *slides; /* m, or NULL: of 9 taps, whether the last 6 of each of the rows m .. m + 2 are the first 6
                            * of the next */
    int64_t m, taps, channels;
    int32_t dtype; /* CK_F32, or CK_I8 / CK_U8, of input and output alike */
    int32_t in_zero;
    float low, high;
    const int32_t *multiplier; /* one per channel */
    const int32_t *shift;
    int32_t out_zero, out_low, out_high;
    int32_t out_ties_away;
} ck_depthwise;

/* Convolution by 3x3 with a stride of 1, in tiles of `tile` x `tile` pixels of the output (winograd.h):
 *   out[y,x,n] = min(max(sum_i sum_j sum_c image(y + i, x + j, c) * B[(i * 3 + j) * channels + c, n] + bias[n],
 *                        low), high)
 * Row i of what tile row r reads begins at element rows[r * (tile + 2) + i] of `in`, or is all `pad` where that
 * is negative; it has `width` pixels, `in_step` elements apart, and `pad` on both sides of them: image(., x, .)
 * is pixel x - left. Pixels of the output are out_step elements apart.
 */
typedef struct {
    ck_operand in, b, bias, out;
    ck_operand packed;   /* B transformed, and bias: [ceil(n / nr)]{bias[nr], [(tile + 2)^2][channels][nr]} */
    ck_operand scratch;  /* for `block` tiles; how much, and how much `packed`, is in ck_winograd_room */
    ck_operand pad;      /* `channels` zeros */
    const int32_t *rows; /* (tile + 2) of each tile row */
    int64_t tile;        /* 2 or 4 */
    int64_t block;       /* tiles that are transformed at a time */
    int64_t width, left, in_step, channels;
    int64_t height, columns, n, out_step; /* of the output */
    ck_view b_view;                       /* strides[1..2] are those of (k, n) */
    int32_t nr;                           /* as in ck_gemm */
    int32_t by_columns;                   /* 1: units are columns, cut between panels */
    float low, high;
} ck_winograd;

/* A function of two bytes, a MAP of its own. Rows of `width` elements begin a_step, b_step and out_step elements
 * apart: out = clamp(rescale(f(a, b)) + zero), where rescale(v) is v * multiplier * 2^(shift - 31), halves away
 * from zero. MUL's f is (a - a_zero) * (b - b_zero); ADD's is x + sign * y, where x = rescale((a - a_zero) << left)
 * by numbers of its own, y the same of b. */
typedef struct {
    ck_operand a, b, out;
    int64_t rows, width, a_step, b_step, out_step;
    int32_t dtype; /* CK_I8 or CK_U8, of all three */
    int32_t left, sign;
    int32_t a_zero, a_multiplier, a_shift;
    int32_t b_zero, b_multiplier, b_shift;
    int32_t multiplier, shift;
    int32_t zero, low, high;
} ck_pair;

/* out[i] = table[in[i]], of bytes; 256 entries. */
typedef struct {
    ck_operand in, table, out;
    int64_t elements;
} ck_lookup;

/* One instruction of a MAP program: CK_MAP_LOAD input, CK_MAP_CONST value, or a row of ck_primitives(). */
typedef struct {
    int32_t op;
    int32_t input;
    double real[2];     /* in f32 and f64: the value of CONST, the args of a primitive */
    int64_t integer[2]; /* the same in i32 and i64 */
} ck_instruction;

typedef enum { CK_MAP_LOAD = -2, CK_MAP_CONST = -1 } ck_map_op;

/* out[output(i)] = program(inputs[j][views[j](i)] ...) for every i below sizes, on a stack of blocks. */
typedef struct {
    ck_operand out;
    int32_t out_dtype;
    int32_t n_instructions;
    const ck_operand *inputs;
    const int32_t *dtypes; /* one per input */
    const ck_view *views;  /* one per input */
    const ck_instruction *program;
    ck_view output;
    int64_t sizes[6];
} ck_map;

typedef enum {
    CK_SUM,
    CK_MAX,
    CK_MIN,
    CK_PROD,
    CK_ANY,
    CK_ALL,
    CK_ARGMAX,
    CK_ARGMIN,
} ck_reduction;

/* out[o,i] = op over a of in[o,a,i]; or, indirect, of in[rows[o * axis + a] + i], where a negative entry reads
 * `pad`, of `inner` elements. */
typedef struct {
    ck_operand in, out, pad;
    const int32_t *rows; /* outer * axis entries, or NULL */
    int32_t op; /* a ck_reduction */
    int32_t out_dtype;
    int64_t outer, axis, inner;
} ck_reduce;

/* out[i,:] = rows[index[i],:]. */
typedef struct {
    ck_operand rows_in, index, out;
    int32_t index_dtype; /* CK_I32 or CK_I64 */
    int64_t rows, width, count;
} ck_gather;

typedef enum { CK_SCATTER_SET, CK_SCATTER_ADD, CK_SCATTER_MAX } ck_scatter_mode;

/* out = base; then for i in order out[index[i],:] = / += / max= update[i,:]. */
typedef struct {
    ck_operand base, index, update, out;
    int32_t index_dtype;
    int32_t mode; /* a ck_scatter_mode */
    int64_t rows, width, count;
} ck_scatter;

/* The k largest of each row, descending, equal values by lower index. */
typedef struct {
    ck_operand in, values, indices;
    ck_operand scratch; /* 2 * width int32 */
    int64_t rows, width, k;
} ck_sort;

/* Philox 4x32-10: element i is made of block counter + i; uniform takes word 0, normal words 0 and 1. */
typedef struct {
    ck_operand out;
    uint64_t seed, stream;
    int64_t elements;
} ck_rng;

/* Every kernel: its own parameter struct, the units of its output that it makes, and the table of base
 * addresses. Units are: of a GEMM rows of C, those of all batches counted through, or columns; of a PACK panels;
 * of a depthwise convolution rows; of a Winograd convolution rows of tiles, or columns; of a MAP, a LOOKUP and a
 * GATHER what `out` is indexed by; of a REDUCE `outer`, or `inner` where `outer` is 1; of a RASTER in any order runs
 * of the innermost loop, those of all regions counted through; of a pair and a SORT rows; of all others the step is
 * one.
 * In any cuts, none of them empty, they give the same, in any order, and side by side where each has a scratch of
 * its own.
 */
typedef ck_status (*ck_kernel)(const void *params, int64_t begin, int64_t end, char *const *bases);

/* bases[base] = origin + begin bytes, for the steps that follow: where a step that goes through a ring from front
 * to back would have begun, had it not turned. */
typedef struct {
    ck_operand origin;
    int32_t base;
} ck_turn;

typedef struct {
    ck_kernel kernel;
    const void *params;
    int64_t begin, end;
} ck_step;

/* Control flow: steps that run blocks of other steps. A block leaves its results where the step says. */
typedef struct {
    const ck_step *steps;
    int32_t n_steps;
} ck_block;

typedef struct {
    ck_operand test; /* one byte: not 0 runs `then` */
    ck_block then, orelse;
} ck_if;

/* cond; while *test is not 0: body, cond. */
typedef struct {
    ck_operand test; /* one byte, which `cond` writes */
    ck_block cond, body;
    int64_t most_trips;
} ck_while;

/* `part` is the slice number t of `whole`, in trip t. */
typedef struct {
    ck_operand whole, part;
    int64_t bytes; /* of the part */
} ck_slice;

/* For t = 0..trips-1, or from the end if `reverse`: take the slices, run body, store what is stacked. */
typedef struct {
    ck_block body;
    int64_t trips;
    int32_t reverse;
    int32_t n_slices, n_stacked;
    const ck_slice *slices;
    const ck_slice *stacked;
} ck_loop;

/* The registry: one row per micro-kernel, slow before fast; tests, benches and the choice are made from it.
 */
typedef struct {
    const char *name;
    int32_t op;         /* a ck_operator */
    int32_t dtype;      /* a ck_dtype */
    int32_t isa;        /* bits of ck_isa */
    int32_t mr, nr, kr; /* GEMM and WINOGRAD: tile rows, tile columns, depth of a packed group; else 1 */
    ck_kernel kernel;
    ck_kernel pack; /* GEMM and WINOGRAD only: fills panels of `packed` from B and bias; else NULL */
} ck_row;

/* How many units a step of this ck_operator has. */
int64_t ck_units(int32_t op, const void *params);

/* The bytes of `packed` and of `scratch` for a GEMM by a row of the registry. */
void ck_gemm_room(const ck_row *row, const ck_gemm *gemm, int64_t *packed, int64_t *scratch);

/* The same for a Winograd convolution. */
void ck_winograd_room(const ck_row *row, const ck_winograd *winograd, int64_t *packed, int64_t *scratch);

/* The MAP primitives, in the order of ck_instruction.op. */
typedef struct {
    const char *name;
    int32_t arity;
    int32_t types; /* bits 1, 2, 4, 8: defined for f32, i32, i64, f64 */
} ck_primitive;

const ck_row *ck_rows(int32_t *count);
const ck_primitive *ck_primitives(int32_t *count);
int32_t ck_map_stack(void); /* deepest stack that a MAP program may need */

/* Instruction sets that this process may use, as bits of ck_isa. Asks Linux for the tiles of AMX: without that
 * their kernels must not run. */
int32_t ck_cpu_features(void);

/* Runs the steps in order; stops at the first that fails and writes its index to *failed. */
ck_status ck_run(const ck_step *steps, int32_t n_steps, char *const *bases, int32_t *failed);

/* A program for several threads: its steps in stages, of which number s is [ends[s - 1], ends[s]). The steps of a
 * stage are done in any order and side by side, those of different stages one stage after the other. Every thread
 * but the first has a copy of `bases` with a scratch of its own, `scratch_bytes` behind that of the thread before.
 * Stages of one step alone may change `bases`. */
typedef struct {
    const ck_step *steps;
    const int32_t *ends;
    int32_t n_stages;
    int32_t n_bases;
    char **bases;
    int32_t scratch; /* its base */
    int64_t scratch_bytes;
} ck_program;

/* Threads that run a program: the caller of ck_team_run, and up to threads - 1 (at most 63) workers, which all teams
 * of the process share. NULL without memory. What the program points to is there as long as it runs. */
typedef struct ck_team ck_team;
ck_team *ck_team_new(const ck_program *program, int32_t threads);
void ck_team_free(ck_team *team);

/* The same as ck_run, by one caller at a time. Of a stage in which steps fail all are run, and the first is told. */
ck_status ck_team_run(ck_team *team, int32_t *failed);

/* At most as many threads as cores are in teams at a time; workers yet to come run on these cores alone. */
void ck_team_cores(const int32_t *cores, int32_t count);

/* Memory aligned to 64 bytes, or NULL. After ck_fail_alloc(n) the n-th call from now fails (0: none does). */
void *ck_alloc(int64_t size);
void ck_free(void *memory);
void ck_fail_alloc(int64_t countdown);

#endif
