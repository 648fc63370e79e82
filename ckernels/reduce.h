/* reduce.h: REDUCE over [outer, axis, inner] for one instruction set: each reduce*.c names it by ISA.
 * reduce_body.h holds the loops, once for every element type.
 */
#include "kernels.h"

#define KERNEL(type, isa) KERNEL_(type, isa)
#define KERNEL_(type, isa) ck_##type##_reduce__##isa

enum { LANES = 64, PARTS = 32 };

static void put(char *out, int32_t dtype, int64_t at, int64_t value) {
    switch (dtype) {
        case CK_I64: ((int64_t *)out)[at] = value; break;
        case CK_I32: ((int32_t *)out)[at] = (int32_t)value; break;
        case CK_I16: ((int16_t *)out)[at] = (int16_t)value; break;
        default: ((int8_t *)out)[at] = (int8_t)value; /* i8, u8 and bool: the low 8 bits */
    }
}

#define T float
#define A float
#define NAME KERNEL(f32, ISA)
#define IS_NAN(x) ((x) != (x))
#define SUM(x, y) ((x) + (y))
#define PRODUCT(x, y) ((x) * (y))
#include "reduce_body.h"
#undef A
#undef IS_NAN
#undef SUM
#undef PRODUCT

/* Integers add up modulo 2^32 or 2^64 and keep the low bits of the output's type: what wrapping arithmetic
 * gives. No sum of less than 32 bits goes to more than 32. */
#define A int32_t
#define IS_NAN(x) 0
#define SUM(x, y) (int32_t)((uint32_t)(x) + (uint32_t)(y))
#define PRODUCT(x, y) (int32_t)((uint32_t)(x) * (uint32_t)(y))
#define T int8_t
#define NAME KERNEL(i8, ISA)
#include "reduce_body.h"
#define T uint8_t
#define NAME KERNEL(u8, ISA)
#include "reduce_body.h"
#define T int16_t
#define NAME KERNEL(i16, ISA)
#include "reduce_body.h"
#undef A
#undef SUM
#undef PRODUCT

#define A int64_t
#define SUM(x, y) (int64_t)((uint64_t)(x) + (uint64_t)(y))
#define PRODUCT(x, y) (int64_t)((uint64_t)(x) * (uint64_t)(y))
#define T int32_t
#define NAME KERNEL(i32, ISA)
#include "reduce_body.h"
#define T int64_t
#define NAME KERNEL(i64, ISA)
#include "reduce_body.h"
