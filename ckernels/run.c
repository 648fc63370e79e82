/* run.c: walks a program, and owns the registry array that kernels.inc fills. */
#include "kernels.h"
#include "winograd_tiles.h"

static const ck_row registry[] = {
#define ROW(OP, DTYPE, ISA, MR, NR, KR, NAME, PACK) \
    {#NAME, CK_##OP, CK_##DTYPE, CK_ISA_##ISA, MR, NR, KR, NAME, PACK},
#include "kernels.inc"
#undef ROW
};

const ck_row *ck_rows(int32_t *count) {
    *count = (int32_t)(sizeof registry / sizeof *registry);
    return registry;
}

int64_t ck_units(int32_t op, const void *params) {
    const ck_gemm *gemm = params;
    const ck_winograd *winograd = params;
    const ck_raster *raster = params;
    const ck_reduce *reduce = params;
    int64_t elements = 1;
    switch (op) {
        case CK_GEMM: return gemm->by_columns ? gemm->n : gemm->batch * gemm->m;
        case CK_PACK: return gemm->batch * ((gemm->n + gemm->nr - 1) / gemm->nr);
        case CK_DEPTHWISE: return ((const ck_depthwise *)params)->m;
        case CK_WINOGRAD: return winograd->by_columns ? winograd->n : ck_tiles_of(params, 1).down;
        case CK_MAP:
            for (int d = 0; d < 6; d++) elements *= ((const ck_map *)params)->sizes[d];
            return elements;
        case CK_RASTER:
            elements = raster->any_order ? 0 : 1;
            for (int32_t i = 0; raster->any_order && i < raster->n_regions; i++)
                elements += ck_rows_of_region(&raster->regions[i]);
            return elements;
        case CK_REDUCE: return reduce->outer == 1 ? reduce->inner : reduce->outer;
        case CK_ADD:
        case CK_MUL: return ((const ck_pair *)params)->rows;
        case CK_LOOKUP: return ((const ck_lookup *)params)->elements;
        case CK_GATHER: return ((const ck_gather *)params)->count;
        case CK_SORT: return ((const ck_sort *)params)->rows;
        default: return 1;
    }
}

ck_status ck_run(const ck_step *steps, int32_t n_steps, char *const *bases, int32_t *failed) {
    for (int32_t i = 0; i < n_steps; i++) {
        ck_status status = steps[i].kernel(steps[i].params, steps[i].begin, steps[i].end, bases);
        if (status != CK_OK) {
            *failed = i;
            return status;
        }
    }
    return CK_OK;
}
