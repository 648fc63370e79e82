/* driver.c: `ck_run` as a service, for kernels of a machine on which no Python runs (`_ckernels.py` is its client).
 *
 * At first it writes what it is, as text: the CPU's features, a line per registry row and per parameter struct, an
 * empty line. Then, until its input ends, it reads a request, an image of everything that a program touches and the
 * places in it that are pointers, to data or to kernels; it runs the program and writes a reply and the memories back. Numbers have the
 * layout of this machine, which the client compares with its own.
 */
#include <stdio.h>
#include <stdlib.h>

#include "ck.h"

/* Offsets are from the start of the image; the memories are its first `memory` bytes. */
typedef struct {
    int64_t size, memory, links, calls, steps, n_steps, bases;
} request;

typedef struct {
    int64_t at, target;
} link;

typedef struct {
    int64_t status, failed;
} reply;

/* Of every row the packer's name: what another machine knows it by. */
static const char *const packers[] = {
#define ROW(OP, DTYPE, ISA, MR, NR, KR, NAME, PACK) #PACK,
#include "kernels.inc"
#undef ROW
};

static void introduce(const ck_row *rows, int32_t count) {
    printf("features %d\n", (int)ck_cpu_features());
    for (const ck_row *row = rows; row < rows + count; row++)
        printf("row %s %d %d %d %d %d %d %s\n", row->name, (int)row->op, (int)row->dtype, (int)row->isa,
               (int)row->mr, (int)row->nr, (int)row->kr, packers[row - rows]);
#define SIZE(type) printf("size %s %d\n", #type, (int)sizeof(type))
    SIZE(ck_step), SIZE(ck_raster), SIZE(ck_region), SIZE(ck_gemm), SIZE(ck_depthwise), SIZE(ck_winograd), SIZE(ck_pair), SIZE(ck_lookup), SIZE(ck_map);
    SIZE(ck_instruction), SIZE(ck_view), SIZE(ck_operand), SIZE(ck_reduce), SIZE(ck_gather), SIZE(ck_scatter);
    SIZE(ck_sort), SIZE(ck_rng), SIZE(ck_block), SIZE(ck_if), SIZE(ck_while), SIZE(ck_loop), SIZE(ck_slice), SIZE(ck_turn);
    printf("\n");
    fflush(stdout);
}

/* Exits where the input ends early: there is nobody to tell. */
static void take(void *to, size_t size) {
    if (size && fread(to, size, 1, stdin) != 1) exit(1);
}

static void *room(int64_t size) {
    void *memory = ck_alloc(size);
    if (!memory) exit(1);
    return memory;
}

int main(void) {
    int32_t count;
    const ck_row *rows = ck_rows(&count);
    introduce(rows, count);
    for (request asked; fread(&asked, sizeof asked, 1, stdin) == 1;) {
        char *image = room(asked.size);
        link *links = room(asked.links * (int64_t)sizeof *links);
        int64_t *calls = room(asked.calls * (int64_t)sizeof *calls);
        take(image, (size_t)asked.size);
        take(links, (size_t)asked.links * sizeof *links);
        take(calls, (size_t)asked.calls * sizeof *calls);
        for (link *l = links; l < links + asked.links; l++) *(char **)(image + l->at) = image + l->target;
        for (int64_t *call = calls; call < calls + asked.calls; call++) {
            ck_step *step = (ck_step *)(image + *call); /* its kernel arrives as its row's number, from 1, or */
            const intptr_t number = (intptr_t)step->kernel; /* less than 0: the row's packer */
            step->kernel = number > 0 ? rows[number - 1].kernel : rows[-number - 1].pack;
        }
        const ck_step *steps = (const ck_step *)(image + asked.steps);
        int32_t failed = 0;
        reply given = {0};
        given.status = ck_run(steps, (int32_t)asked.n_steps, (char *const *)(image + asked.bases), &failed);
        given.failed = failed;
        fwrite(&given, sizeof given, 1, stdout);
        fwrite(image, 1, (size_t)asked.memory, stdout);
        fflush(stdout);
        ck_free(calls);
        ck_free(links);
        ck_free(image);
    }
    return 0;
}
