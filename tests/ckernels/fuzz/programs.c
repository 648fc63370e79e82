/* programs.c: programs made of fuzzer input, under AddressSanitizer and UBSan: what `runtime.verify` lets through
 * never leaves its memory.
 *
 * An input is a list of decisions. Every value is an allocation of exactly its size; every view, size and type
 * is legal by the rules of `verify`, and within them as odd as the input asks for. What a program reads at run
 * time (indices, conditions, data) is the input's own bytes, unchecked. Built and run by `make fuzz`.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ck.h"

enum { VALUES = 64, STEPS = 8, RANK = 6, REGIONS = 3, PROGRAM = 40, OPERANDS = 3, LARGEST = 4096, TRIPS = 3 };

/* ---------------------------------------------------------------- the input, a decision at a time */

typedef struct {
    const uint8_t *at, *end;
} input;

/* A number below `limit`; 0 when the input is used up. */
static int64_t pick(input *in, int64_t limit) {
    uint32_t number = 0;
    for (int i = 0; i < (limit > 256 ? 3 : 1) && in->at < in->end; i++) number = number << 8 | *in->at++;
    return number % limit;
}

/* ---------------------------------------------------------------- one program */

typedef struct {
    input in;
    char *bases[VALUES];
    int32_t count;
    void *kept[64 * STEPS]; /* parameters, and what they point to */
    int32_t n_kept;
} program;

static void *keep(program *p, size_t size) {
    void *memory = calloc(1, size);
    if (!memory || p->n_kept == (int32_t)(sizeof p->kept / sizeof *p->kept)) abort();
    return p->kept[p->n_kept++] = memory;
}

/* A value of exactly `bytes`, whose content is drawn from the input. */
static ck_operand value(program *p, int64_t bytes) {
    char *memory = malloc((size_t)bytes);
    if (!memory || p->count == VALUES) abort();
    const int64_t some = p->in.end - p->in.at;
    for (int64_t i = 0; i < bytes; i++) memory[i] = some > 0 ? (char)p->in.at[i % some] : 0;
    p->bases[p->count] = memory;
    return (ck_operand){p->count++, 0};
}

static ck_operand absent(void) { return (ck_operand){-1, 0}; }

static int64_t size_of(int32_t dtype) {
    switch (dtype) {
        case CK_F16: case CK_I16: case CK_U16: case CK_X16: return 2;
        case CK_F32: case CK_I32: case CK_U32: case CK_X32: return 4;
        case CK_I64: case CK_F64: case CK_U64: case CK_X64: return 8;
        default: return 1;
    }
}

static int32_t any_type(program *p) { return (int32_t)pick(&p->in, CK_U64 + 1); }

/* ---------------------------------------------------------------- sizes and views */

static int64_t sizes(program *p, int64_t *out) {
    int64_t count = 1;
    for (int d = 0; d < RANK; d++) {
        const int64_t most = d == RANK - 1 ? 300 : 4;
        out[d] = 1 + pick(&p->in, most * count < LARGEST ? most : LARGEST / count);
        count *= out[d];
    }
    return count;
}

/* A view of any strides, and in *elements the fewest that hold it, and some more. */
static ck_view view(program *p, const int64_t *sizes, int64_t *elements) {
    ck_view out = {0};
    int64_t low = 0, high = 0;
    for (int d = 0; d < RANK; d++) {
        out.strides[d] = pick(&p->in, 24) - 8;
        const int64_t reach = out.strides[d] * (sizes[d] - 1);
        if (high - low + llabs(reach) > LARGEST) out.strides[d] = 0;
        else if (reach < 0) low += reach;
        else high += reach;
    }
    out.offset = pick(&p->in, 3) - low;
    *elements = out.offset + high + 1 + pick(&p->in, 3);
    return out;
}

/* The same for a matrix view over three sizes, which stand in the first three strides. */
static ck_view matrix(program *p, int64_t batch, int64_t rows, int64_t columns, int64_t *elements) {
    const int64_t of[RANK] = {batch, rows, columns, 1, 1, 1};
    return view(p, of, elements);
}

/* ---------------------------------------------------------------- one maker per operator */

static const void *raster(program *p, const ck_row *row) {
    ck_raster *out = keep(p, sizeof *out);
    ck_operand *inputs = keep(p, OPERANDS * sizeof *inputs);
    ck_region *regions = keep(p, REGIONS * sizeof *regions);
    int64_t width = size_of(row->dtype), most = 1;
    out->n_regions = (int32_t)pick(&p->in, REGIONS + 1);
    for (int32_t i = 0; i < out->n_regions; i++) {
        int64_t elements, held;
        regions[i].input = i;
        sizes(p, regions[i].sizes);
        regions[i].source = view(p, regions[i].sizes, &elements);
        regions[i].destination = view(p, regions[i].sizes, &held);
        inputs[i] = value(p, elements * width);
        if (held > most) most = held;
    }
    out->inputs = inputs, out->regions = regions;
    out->out = value(p, most * width), out->elements = most, out->filled = (int32_t)pick(&p->in, 2);
    for (int i = 0; i < 8; i++) out->fill[i] = (char)pick(&p->in, 256);
    return out;
}

/* The constants of an instruction: any of the compute type, but of `mulq` a multiplier and a shift. */
static void constants(program *p, ck_instruction *out, const char *name, int32_t type) {
    for (int i = 0; i < 2; i++) {
        const uint64_t bits = (uint64_t)pick(&p->in, 1 << 16) << pick(&p->in, 64);
        out->integer[i] = type == 2 ? (int32_t)(bits >> 32 | bits) : (int64_t)bits;
        out->real[i] = (double)out->integer[i] / 64;
    }
    if (strcmp(name, "mulq")) return;
    out->integer[0] &= INT32_MAX;
    out->integer[1] = (out->integer[1] & 0xffff) % 62 - 31;
}

/* A program that leaves one scalar, and never holds more than the kernels keep. A primitive that has no place
 * where it is drawn is a load, or where the stack is full the first one, which takes two and is of every type.
 */
static int32_t instructions(program *p, ck_instruction *out, int32_t inputs, int32_t type) {
    int32_t count, depth = 0, length = 0;
    const ck_primitive *rows = ck_primitives(&count);
    for (int32_t drawn = 1 + (int32_t)pick(&p->in, PROGRAM); drawn > 0 || depth > 1; drawn--) {
        ck_instruction *next = &out[length++];
        next->op = drawn > 0 ? (int32_t)pick(&p->in, count + 2) - 2 : 0;
        if (next->op >= 0 && !(rows[next->op].types & type && rows[next->op].arity <= depth))
            next->op = CK_MAP_LOAD;
        if (next->op < 0 && depth == ck_map_stack()) next->op = 0;
        const char *name = next->op < 0 ? "" : rows[next->op].name;
        if (next->op == CK_MAP_LOAD) next->input = (int32_t)pick(&p->in, inputs);
        else if (next->op == CK_MAP_CONST || !strcmp(name, "clamp") || !strcmp(name, "mulq"))
            constants(p, next, name, type);
        depth += next->op < 0 ? 1 : 1 - rows[next->op].arity;
    }
    return length;
}

static const void *map(program *p, const ck_row *row) {
    ck_map *out = keep(p, sizeof *out);
    ck_operand *inputs = keep(p, OPERANDS * sizeof *inputs);
    int32_t *dtypes = keep(p, OPERANDS * sizeof *dtypes), type = 1;
    ck_view *views = keep(p, OPERANDS * sizeof *views);
    ck_instruction *steps = keep(p, 2 * PROGRAM * sizeof *steps);
    int64_t elements;
    sizes(p, out->sizes);
    const int32_t count = 1 + (int32_t)pick(&p->in, OPERANDS);
    for (int32_t i = 0; i < count; i++) {
        dtypes[i] = any_type(p);
        views[i] = view(p, out->sizes, &elements);
        inputs[i] = value(p, elements * size_of(dtypes[i]));
    }
    out->out_dtype = any_type(p);
    out->output = view(p, out->sizes, &elements);
    out->out = value(p, elements * size_of(out->out_dtype));
    if (row->dtype == CK_I32) type = 2;
    if (row->dtype == CK_I64) type = 4;
    if (row->dtype == CK_F64) type = 8;
    out->n_instructions = instructions(p, steps, count, type);
    out->inputs = inputs, out->dtypes = dtypes, out->views = views, out->program = steps;
    return out;
}

/* Where each chunk of a row starts among `elements`, or nowhere. */
static const int32_t *table(program *p, int64_t entries, int64_t chunk, int64_t elements) {
    int32_t *rows = keep(p, (size_t)entries * 4);
    for (int64_t i = 0; i < entries; i++)
        rows[i] = pick(&p->in, 5) == 0 ? -1 : (int32_t)pick(&p->in, elements - chunk + 1);
    return rows;
}

static const void *reduce(program *p, const ck_row *row) {
    ck_reduce *out = keep(p, sizeof *out);
    out->outer = 1 + pick(&p->in, 5), out->axis = 1 + pick(&p->in, 300), out->inner = 1 + pick(&p->in, 70);
    if (out->outer * out->axis * out->inner > 4 * LARGEST) out->inner = out->outer = 1;
    out->op = (int32_t)pick(&p->in, CK_ARGMIN + 1);
    out->out_dtype = row->dtype;
    if (out->op == CK_ARGMAX || out->op == CK_ARGMIN) out->out_dtype = pick(&p->in, 2) ? CK_I32 : CK_I64;
    else if (out->op == CK_ANY || out->op == CK_ALL) out->out_dtype = CK_BOOL;
    else if (out->op == CK_SUM && size_of(row->dtype) == 1) out->out_dtype = CK_I32;
    const int64_t elements = out->outer * out->axis * out->inner;
    out->pad = absent();
    if (pick(&p->in, 2)) {
        out->rows = table(p, out->outer * out->axis, out->inner, elements);
        out->pad = value(p, out->inner * size_of(row->dtype));
    }
    out->in = value(p, elements * size_of(row->dtype));
    out->out = value(p, out->outer * out->inner * size_of(out->out_dtype));
    return out;
}

/* Indices are the input's bytes: mostly outside of the rows, and then nothing may be touched. */
static ck_operand indices(program *p, int32_t dtype, int64_t count, int64_t rows) {
    const ck_operand at = value(p, count * size_of(dtype));
    if (pick(&p->in, 4) == 0) return at;
    for (int64_t i = 0; i < count; i++) {
        const int64_t index = pick(&p->in, rows);
        if (dtype == CK_I32) ((int32_t *)p->bases[at.base])[i] = (int32_t)index;
        else ((int64_t *)p->bases[at.base])[i] = index;
    }
    return at;
}

static const void *gather(program *p, const ck_row *row) {
    ck_gather *out = keep(p, sizeof *out);
    const int64_t width = size_of(row->dtype);
    out->rows = 1 + pick(&p->in, 9), out->width = 1 + pick(&p->in, 40), out->count = 1 + pick(&p->in, 9);
    out->index_dtype = pick(&p->in, 2) ? CK_I32 : CK_I64;
    out->rows_in = value(p, out->rows * out->width * width);
    out->index = indices(p, out->index_dtype, out->count, out->rows);
    out->out = value(p, out->count * out->width * width);
    return out;
}

static const void *scatter(program *p, const ck_row *row) {
    ck_scatter *out = keep(p, sizeof *out);
    const int64_t width = size_of(row->dtype);
    out->rows = 1 + pick(&p->in, 9), out->width = 1 + pick(&p->in, 40), out->count = 1 + pick(&p->in, 9);
    out->mode = (int32_t)pick(&p->in, CK_SCATTER_MAX + 1);
    out->index_dtype = pick(&p->in, 2) ? CK_I32 : CK_I64;
    out->base = value(p, out->rows * out->width * width);
    out->index = indices(p, out->index_dtype, out->count, out->rows);
    out->update = value(p, out->count * out->width * width);
    out->out = value(p, out->rows * out->width * width);
    return out;
}

static const void *sort(program *p, const ck_row *row) {
    ck_sort *out = keep(p, sizeof *out);
    out->rows = 1 + pick(&p->in, 4), out->width = 1 + pick(&p->in, 300), out->k = 1 + pick(&p->in, out->width);
    out->in = value(p, out->rows * out->width * size_of(row->dtype));
    out->values = value(p, out->rows * out->k * size_of(row->dtype));
    out->indices = value(p, out->rows * out->k * 4);
    out->scratch = value(p, 2 * out->width * 4);
    return out;
}

static const void *rng(program *p, const ck_row *row) {
    ck_rng *out = keep(p, sizeof *out);
    (void)row;
    out->elements = 1 + pick(&p->in, 300), out->seed = (uint64_t)pick(&p->in, 1 << 16) << 40;
    out->stream = UINT64_MAX - (uint64_t)pick(&p->in, 300);
    out->out = value(p, out->elements * 4);
    return out;
}

/* n multipliers and n shifts, as `verify` has them, and as many zeros as a group of `group` lacks. */
static void epilogue(program *p, int64_t n, int64_t group, const int32_t **multiplier, const int32_t **shift) {
    const int64_t room = (n + group - 1) / group * group;
    int32_t *factors = keep(p, (size_t)room * 4), *powers = keep(p, (size_t)room * 4);
    for (int64_t i = 0; i < n; i++) {
        factors[i] = (int32_t)((pick(&p->in, 1 << 16) << 15) & INT32_MAX);
        powers[i] = (int32_t)pick(&p->in, 62) - 31;
    }
    *multiplier = factors, *shift = powers;
}

static const void *gemm(program *p, const ck_row *row) {
    ck_gemm *out = keep(p, sizeof *out);
    const int q8 = row->dtype == CK_Q8, q16 = row->dtype == CK_Q16;
    const int64_t batch = 1 + pick(&p->in, 3), m = 1 + pick(&p->in, 20), n = 1 + pick(&p->in, 40);
    int64_t k = 1 + pick(&p->in, 40), a, b, c;
    out->taps = 1;
    const int indirect = batch == 1 && pick(&p->in, 2);
    if (indirect) out->taps = 1 + pick(&p->in, 4), k *= out->taps;
    out->batch = batch, out->m = m, out->n = n, out->k = k;
    out->a_dtype = q8 ? (pick(&p->in, 2) ? CK_I8 : CK_U8) : q16 ? CK_I16 : CK_F32;
    out->b_dtype = q8 ? (pick(&p->in, 2) ? CK_I8 : CK_U8) : q16 ? (pick(&p->in, 2) ? CK_I16 : CK_I8) : CK_F32;
    out->c_dtype = q8 ? (int32_t[]){CK_I8, CK_U8, CK_I32}[pick(&p->in, 3)]
                      : q16 ? (pick(&p->in, 2) ? CK_I64 : CK_I32) : CK_F32;
    out->a_view = matrix(p, batch, m, k, &a);
    out->b_view = matrix(p, batch, k, n, &b);
    out->c_view = matrix(p, batch, m, n, &c);
    if (indirect) { /* the table stands for the view */
        a = k + pick(&p->in, 50), out->a_view = (ck_view){0};
        out->rows = table(p, m * out->taps, k / out->taps, a);
    }
    int64_t packed, scratch;
    ck_gemm_room(row, out, &packed, &scratch);
    const int64_t behind = q8 ? 3 : 0;
    out->a = value(p, a * size_of(out->a_dtype) + behind);
    out->b = value(p, b * size_of(out->b_dtype));
    out->c = value(p, c * size_of(out->c_dtype));
    out->bias = q16 || pick(&p->in, 2) ? absent() : value(p, n * 4);
    out->packed = value(p, packed), out->scratch = value(p, scratch);
    out->pad = out->rows ? value(p, k / out->taps * size_of(out->a_dtype) + behind) : absent();
    out->nr = row->nr, out->by_columns = batch == 1 && pick(&p->in, 2);
    out->a_zero = q8 ? (int32_t)pick(&p->in, 128) : 0, out->b_zero = q8 ? (int32_t)pick(&p->in, 128) : 0;
    out->low = -100, out->high = 100;
    out->c_low = out->c_dtype == CK_U8 ? 0 : -128, out->c_high = out->c_dtype == CK_U8 ? 255 : 127;
    out->c_zero = (int32_t)pick(&p->in, 128), out->c_ties_away = (int32_t)pick(&p->in, 2);
    if (q8 && out->c_dtype != CK_I32) epilogue(p, n, row->nr, &out->multiplier, &out->shift);
    row->pack(out, 0, ck_units(CK_PACK, out), p->bases);
    return out;
}

static const void *depthwise(program *p, const ck_row *row) {
    ck_depthwise *out = keep(p, sizeof *out);
    const int real = row->dtype == CK_F32;
    out->m = 1 + pick(&p->in, 9), out->taps = 1 + pick(&p->in, 9), out->channels = 1 + pick(&p->in, 150);
    out->dtype = real ? CK_F32 : pick(&p->in, 2) ? CK_I8 : CK_U8;
    const int64_t elements = out->channels + pick(&p->in, 300), width = size_of(out->dtype);
    const int64_t room = (out->channels + row->nr - 1) / row->nr * row->nr;
    const int64_t deep = (out->taps + row->kr - 1) / row->kr * row->kr;
    out->rows = table(p, out->m * out->taps, out->channels, elements);
    out->in = value(p, elements * width), out->pad = value(p, out->channels * width);
    if (real && out->taps == 9 && pick(&p->in, 2)) {
        uint8_t *slides = keep(p, (size_t)out->m);
        for (int64_t m = 0; m + 3 < out->m; m++) slides[m] = (uint8_t)pick(&p->in, 2);
        out->slides = slides;
    }
    out->weights = value(p, deep * room * (row->dtype == CK_S8 ? 1 : 4)), out->bias = value(p, room * 4);
    out->out = value(p, out->m * out->channels * width);
    out->in_zero = real ? 0 : (int32_t)pick(&p->in, 128), out->low = -100, out->high = 100;
    if (row->dtype == CK_Q8) { /* weights are bytes less a zero point */
        int32_t *weights = (int32_t *)p->bases[out->weights.base];
        for (int64_t i = 0; i < out->taps * out->channels; i++) weights[i] %= 256;
    }
    if (!real) epilogue(p, out->channels, row->nr, &out->multiplier, &out->shift);
    out->out_low = out->dtype == CK_U8 ? 0 : -128, out->out_high = out->dtype == CK_U8 ? 255 : 127;
    out->out_zero = (int32_t)pick(&p->in, 128), out->out_ties_away = (int32_t)pick(&p->in, 2);
    return out;
}

/* An image whose rows stand anywhere, of pixels and to pixels that are any distance apart. */
static const void *winograd(program *p, const ck_row *row) {
    ck_winograd *out = keep(p, sizeof *out);
    out->tile = pick(&p->in, 2) ? 4 : 2, out->block = 1 + pick(&p->in, 20);
    out->height = 1 + pick(&p->in, 9), out->columns = 1 + pick(&p->in, 9);
    out->channels = 1 + pick(&p->in, 40), out->n = 1 + pick(&p->in, 40);
    out->width = 1 + pick(&p->in, 12), out->left = pick(&p->in, 3);
    out->in_step = pick(&p->in, 50), out->out_step = out->n + pick(&p->in, 20);
    const int64_t reach = (out->width - 1) * out->in_step + out->channels, elements = reach + pick(&p->in, 300);
    out->rows = table(p, (out->height + out->tile - 1) / out->tile * (out->tile + 2), reach, elements);
    out->in = value(p, elements * 4), out->pad = value(p, out->channels * 4);
    out->out = value(p, ((out->height * out->columns - 1) * out->out_step + out->n) * 4);
    int64_t packed, scratch;
    ck_winograd_room(row, out, &packed, &scratch);
    out->packed = value(p, packed), out->scratch = value(p, scratch);
    int64_t b;
    out->b_view = matrix(p, 1, 9 * out->channels, out->n, &b);
    out->b = value(p, b * 4), out->bias = pick(&p->in, 2) ? absent() : value(p, out->n * 4);
    out->nr = row->nr, out->by_columns = (int32_t)pick(&p->in, 2);
    row->pack(out, 0, (out->n + row->nr - 1) / row->nr, p->bases);
    out->low = -100, out->high = 100;
    return out;
}

static const void *lookup(program *p, const ck_row *row) {
    (void)row;
    ck_lookup *out = keep(p, sizeof *out);
    out->elements = 1 + pick(&p->in, 300), out->table = value(p, 256);
    out->in = value(p, out->elements), out->out = value(p, out->elements);
    return out;
}

static const void *pair(program *p, const ck_row *row) {
    (void)row;
    ck_pair *out = keep(p, sizeof *out);
    out->rows = 1 + pick(&p->in, 9), out->width = 1 + pick(&p->in, 150), out->dtype = pick(&p->in, 2) ? CK_I8 : CK_U8;
    int64_t *steps[] = {&out->a_step, &out->b_step, &out->out_step};
    ck_operand *operands[] = {&out->a, &out->b, &out->out};
    for (int i = 0; i < 3; i++) {
        *steps[i] = i < 2 && pick(&p->in, 4) == 0 ? 0 : out->width + pick(&p->in, 20);
        *operands[i] = value(p, (out->rows - 1) * *steps[i] + out->width);
    }
    out->left = (int32_t)pick(&p->in, 31), out->sign = pick(&p->in, 2) ? 1 : -1;
    out->a_zero = (int32_t)pick(&p->in, 256), out->b_zero = (int32_t)pick(&p->in, 256) - 128;
    int32_t *factors[] = {&out->a_multiplier, &out->b_multiplier, &out->multiplier};
    int32_t *powers[] = {&out->a_shift, &out->b_shift, &out->shift};
    for (int i = 0; i < 3; i++)
        *factors[i] = (int32_t)pick(&p->in, INT32_MAX), *powers[i] = (int32_t)pick(&p->in, 62) - 31;
    out->low = out->dtype == CK_U8 ? 0 : -128, out->high = out->dtype == CK_U8 ? 255 : 127;
    out->zero = (int32_t)pick(&p->in, 128);
    return out;
}

/* ---------------------------------------------------------------- steps, and steps inside steps */

static void block(program *p, ck_block *out, int depth);

static const void *branch(program *p, int depth) {
    ck_if *out = keep(p, sizeof *out);
    out->test = value(p, 1);
    block(p, &out->then, depth), block(p, &out->orelse, depth);
    return out;
}

static const void *repeat(program *p, int depth) {
    ck_while *out = keep(p, sizeof *out);
    out->test = value(p, 1), out->most_trips = pick(&p->in, TRIPS);
    block(p, &out->cond, depth), block(p, &out->body, depth);
    return out;
}

static const void *loop(program *p, int depth) {
    ck_loop *out = keep(p, sizeof *out);
    ck_slice *slices = keep(p, 2 * sizeof *slices);
    out->trips = 1 + pick(&p->in, TRIPS), out->reverse = (int32_t)pick(&p->in, 2);
    out->n_slices = (int32_t)pick(&p->in, 2), out->n_stacked = (int32_t)pick(&p->in, 2);
    for (int i = 0; i < 2; i++) {
        slices[i].bytes = 1 + pick(&p->in, 40);
        slices[i].whole = value(p, out->trips * slices[i].bytes), slices[i].part = value(p, slices[i].bytes);
    }
    out->slices = slices, out->stacked = slices + 1;
    block(p, &out->body, depth);
    return out;
}

typedef const void *(*maker)(program *p, const ck_row *row);
static const maker MAKERS[] = {
    [CK_RASTER] = raster, [CK_RASTER_ADD] = raster, [CK_GEMM] = gemm,   [CK_MAP] = map,
    [CK_REDUCE] = reduce, [CK_GATHER] = gather,     [CK_SCATTER] = scatter, [CK_SORT] = sort,
    [CK_RNG] = rng,       [CK_DEPTHWISE] = depthwise, [CK_WINOGRAD] = winograd, [CK_ADD] = pair, [CK_MUL] = pair, [CK_LOOKUP] = lookup,
};
enum { MOST_VALUES = 12, MOST_DEPTH = 2 };

static ck_step whole(const ck_row *row, const void *params) {
    return (ck_step){row->kernel, params, 0, ck_units(row->op, params)};
}

static ck_step step(program *p, int depth) {
    int32_t count;
    const ck_row *rows = ck_rows(&count), *row;
    do row = &rows[pick(&p->in, count)], count = count ? count : 1;
    while ((row->isa & ck_cpu_features()) != row->isa && p->in.at < p->in.end);
    if ((row->isa & ck_cpu_features()) != row->isa || row->op == CK_TURN) row = rows;
    if (row->op == CK_IF || row->op == CK_WHILE || row->op == CK_LOOP) {
        if (depth == MOST_DEPTH) return whole(rows, raster(p, rows));
        const void *params = row->op == CK_IF      ? branch(p, depth + 1)
                             : row->op == CK_WHILE ? repeat(p, depth + 1)
                                                   : loop(p, depth + 1);
        return whole(row, params);
    }
    return whole(row, MAKERS[row->op](p, row));
}

static void block(program *p, ck_block *out, int depth) {
    ck_step *steps = keep(p, 4 * sizeof *steps);
    int64_t most = pick(&p->in, 3);
    out->n_steps = 0;
    if (p->count > VALUES - 2 * STEPS - MOST_VALUES) most = 0;
    for (; most && p->count <= VALUES - MOST_VALUES; most--) {
        ck_step whole = step(p, depth), *part = &steps[out->n_steps++];
        const int64_t cut = pick(&p->in, whole.end + 1);
        *part = whole;
        if (cut == 0 || cut == whole.end) continue;
        part->end = whole.begin = cut;
        steps[out->n_steps++] = whole;
    }
    out->steps = steps;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    program *p = calloc(1, sizeof *p);
    if (!p) return 0;
    p->in = (input){data, data + size};
    ck_block main;
    block(p, &main, 0);
    int32_t failed;
    ck_run(main.steps, main.n_steps, p->bases, &failed);
    for (int32_t i = 0; i < p->count; i++) free(p->bases[i]);
    for (int32_t i = 0; i < p->n_kept; i++) free(p->kept[i]);
    free(p);
    return 0;
}
