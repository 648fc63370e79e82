/* control.c: steps that run other steps of the same program, on the same bases. */
#include "kernel.h"

static ck_status block(const ck_block *steps, char *const *bases) {
    int32_t failed;
    return ck_run(steps->steps, steps->n_steps, bases, &failed);
}

static int holds(ck_operand test, char *const *bases) { return *ck_at(test, bases) != 0; }

/* Through integers, for the address lies outside of what it is of. */
ck_status ck_turn__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_turn *p = params;
    (void)end;
    ((char **)(uintptr_t)bases)[p->base] = (char *)((uintptr_t)ck_at(p->origin, bases) + (uintptr_t)begin);
    return CK_OK;
}

ck_status ck_if__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_if *p = params;
    (void)begin, (void)end;
    return block(holds(p->test, bases) ? &p->then : &p->orelse, bases);
}

ck_status ck_while__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_while *p = params;
    (void)begin, (void)end;
    for (int64_t trip = 0;; trip++) {
        ck_status status = block(&p->cond, bases);
        if (status != CK_OK || !holds(p->test, bases)) return status;
        if (trip == p->most_trips) return CK_NO_END;
        if ((status = block(&p->body, bases)) != CK_OK) return status;
    }
}

ck_status ck_loop__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_loop *p = params;
    (void)begin, (void)end;
    for (int64_t i = 0; i < p->trips; i++) {
        int64_t trip = p->reverse ? p->trips - 1 - i : i;
        for (int32_t s = 0; s < p->n_slices; s++) {
            const ck_slice *slice = &p->slices[s];
            memcpy(ck_at(slice->part, bases), ck_at(slice->whole, bases) + trip * slice->bytes,
                   (size_t)slice->bytes);
        }
        ck_status status = block(&p->body, bases);
        if (status != CK_OK) return status;
        for (int32_t s = 0; s < p->n_stacked; s++) {
            const ck_slice *slice = &p->stacked[s];
            memcpy(ck_at(slice->whole, bases) + trip * slice->bytes, ck_at(slice->part, bases),
                   (size_t)slice->bytes);
        }
    }
    return CK_OK;
}
