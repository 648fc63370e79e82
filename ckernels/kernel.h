/* kernel.h: what every kernel file shares, and nobody outside sees. */
#ifndef CK_KERNEL_H
#define CK_KERNEL_H
#include <string.h>

#include "ck.h"

static inline char *ck_at(ck_operand operand, char *const *bases) {
    return operand.base < 0 ? NULL : bases[operand.base] + operand.offset;
}

/* A loop over registers: unrolled before the compiler decides which arrays of vectors live in memory. */
#define UNROLLED(i, n) _Pragma("GCC unroll 16") for (int i = 0; i < (n); i++)

static inline int64_t ck_min(int64_t a, int64_t b) { return a < b ? a : b; }

enum { CK_ASIDE = 64 }; /* bytes between copies of rows of A: a line of the cache */

static inline int64_t ck_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* The units [begin, end) of a GEMM are in these batches, and of one of them these rows and these panels. */
typedef struct {
    int64_t begin, end;
} ck_range;

static inline ck_range ck_batches(const ck_gemm *p, int64_t begin, int64_t end) {
    if (p->by_columns) return (ck_range){0, 1};
    return p->m ? (ck_range){begin / p->m, (end + p->m - 1) / p->m} : (ck_range){0, 0};
}

static inline ck_range ck_rows_of(const ck_gemm *p, int64_t batch, int64_t begin, int64_t end) {
    if (p->by_columns) return (ck_range){0, p->m};
    return (ck_range){ck_max(begin - batch * p->m, 0), ck_min(end - batch * p->m, p->m)};
}

static inline ck_range ck_panels_of(const ck_gemm *p, int64_t begin, int64_t end) {
    if (!p->by_columns) return (ck_range){0, (p->n + p->nr - 1) / p->nr};
    return (ck_range){begin / p->nr, (end + p->nr - 1) / p->nr};
}

/* Runs of the innermost loop of a region. */
static inline int64_t ck_rows_of_region(const ck_region *r) {
    int64_t rows = r->sizes[5] ? 1 : 0;
    for (int d = 0; d < 5; d++) rows *= r->sizes[d];
    return rows;
}

/* Panel number `unit`, counted through all batches, of `panels` in each. */
typedef struct {
    int64_t batch, n0, columns;
} ck_panel;

static inline ck_panel ck_panel_of(const ck_gemm *p, int64_t unit) {
    const int64_t panels = (p->n + p->nr - 1) / p->nr, n0 = unit % panels * p->nr;
    return (ck_panel){unit / panels, n0, ck_min(p->nr, p->n - n0)};
}

/* The k of a GEMM whose chunks are each filled up to groups of four. */
static inline int64_t ck_c4_depth(const ck_gemm *p) { return p->taps * ((p->k / p->taps + 3) & ~3); }

/* IEEE half <-> single without hardware support; the way down rounds to nearest even. */
static inline float ck_f32_of_f16(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = half & 0x7fffu, bits;
    float value;
    if (rest >= 0x7c00u) { /* infinity, NaN */
        bits = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
    } else if (rest >= 0x0400u) { /* normal */
        bits = sign | ((rest << 13) + 0x38000000u);
    } else { /* subnormal: rest * 2^-24 is exact */
        value = (float)rest * 0x1p-24f;
        memcpy(&bits, &value, 4);
        bits |= sign;
    }
    memcpy(&value, &bits, 4);
    return value;
}

static inline uint16_t ck_f16_of_f32(float value) {
    uint32_t bits, sign, rest;
    memcpy(&bits, &value, 4);
    sign = bits >> 16 & 0x8000u;
    rest = bits & 0x7fffffffu;
    if (rest > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (rest >> 13 & 0x3ffu));
    if (rest >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and above round to infinity */
    if (rest < 0x38800000u) { /* below 2^-14: let float addition round to 2^-24 */
        float shifted;
        memcpy(&shifted, &rest, 4);
        shifted += 0.5f;
        memcpy(&bits, &shifted, 4);
        return (uint16_t)(sign | (bits - 0x3f000000u));
    }
    rest += 0x0fffu + (rest >> 13 & 1u);
    return (uint16_t)(sign | (rest - 0x38000000u) >> 13);
}
#endif
