/* run.c: walks a program, and owns the registry array that kernels.inc fills. */
#include "kernels.h"

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

ck_status ck_run(const ck_step *steps, int32_t n_steps, char *const *bases, int32_t *failed) {
    for (int32_t i = 0; i < n_steps; i++) {
        ck_status status = steps[i].kernel(steps[i].params, bases);
        if (status != CK_OK) {
            *failed = i;
            return status;
        }
    }
    return CK_OK;
}
