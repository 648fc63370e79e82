/* team_stress.c: teams of several programs at once, on kernels that check whoever runs them (test_team.py). Ends with
 * 0 if all is well; with an argument it forks, too.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ck.h"

enum { STAGES = 40, MOST = 7, RUNS = 300, CALLERS = 3, THREADS = 4, WORDS = STAGES * MOST };

/* Words of the first memory, one for each call: how often it was run, each a run behind the one before. */
typedef struct {
    int32_t at, before, count; /* its word; those of the stage before */
    int32_t fails;             /* in which run, or -1 */
} params;

static ck_status call(const void *given, int64_t begin, int64_t end, char *const *bases) {
    const params *p = given;
    int32_t *words = (int32_t *)(void *)bases[0], *scratch = (int32_t *)(void *)bases[1];
    for (int32_t i = 0; i < p->count; i++)
        if (words[p->before + i] != words[p->at] + 1) abort(); /* the stage before is not done */
    *scratch = p->at; /* ours alone */
    for (volatile int64_t i = begin; i < end; i++) continue;
    if (*scratch != p->at) abort();
    words[p->at]++;
    return words[p->at] == p->fails ? CK_BAD_INDEX : CK_OK;
}

/* A stage of one call: the second memory moves, and back. */
static ck_status move(const void *given, int64_t begin, int64_t end, char *const *bases) {
    (void)begin, (void)end;
    ((char **)(uintptr_t)bases)[2] = bases[0] + ((const params *)given)->at;
    return CK_OK;
}

typedef struct {
    params params[WORDS];
    ck_step steps[WORDS];
    int32_t ends[STAGES], words[WORDS], scratch[THREADS * 16];
    char *bases[3];
    ck_program program;
} made;

static made *make(unsigned seed, int32_t fails) {
    made *m = calloc(1, sizeof *m);
    int32_t count = 0, before = 0, widest = 0;
    for (int32_t s = 0; s < STAGES; s++) {
        const int32_t width = s == 0 ? 1 : 1 + (int32_t)((seed = seed * 1103515245 + 12345) >> 16) % MOST, first = count;
        for (int32_t i = 0; i < width; i++, count++) {
            m->params[count] = (params){count, before, widest, fails >= 0 && i == width - 1 ? fails : -1};
            m->steps[count] = (ck_step){s % 5 == 4 && width == 1 ? move : call, &m->params[count], 0, 50 * (count % 9)};
        }
        m->ends[s] = count, before = first;
        widest = m->steps[first].kernel == move ? 0 : width; /* who moves has not counted */
    }
    m->bases[0] = (char *)m->words, m->bases[1] = (char *)m->scratch;
    m->program = (ck_program){m->steps, m->ends, STAGES, 3, m->bases, 1, 64};
    return m;
}

static void *caller(void *number) {
    for (int32_t round = 0; round < 3; round++) {
        made *m = make((unsigned)(uintptr_t)number * 7 + (unsigned)round, -1);
        ck_team *team = ck_team_new(&m->program, THREADS);
        int32_t failed;
        for (int32_t run = 0; run < RUNS; run++)
            if (ck_team_run(team, &failed) != CK_OK) abort();
        ck_team_free(team);
        for (int32_t i = 0; i < m->ends[STAGES - 1]; i++)
            if (m->steps[i].kernel == call && m->words[i] != RUNS) abort();
        free(m);
    }
    return NULL;
}

/* Of the calls that fail in run number 1, the last of each stage, the first is told, and no later stage is run. */
static void failure(void) {
    made *m = make(3, 1);
    ck_team *team = ck_team_new(&m->program, THREADS);
    int32_t failed = -1;
    if (ck_team_run(team, &failed) != CK_BAD_INDEX || failed != 0 || m->words[1] != 0) abort();
    ck_team_free(team);
    free(m);
}

static void in_a_child(void) {
    const pid_t child = fork();
    if (child == 0) {
        caller((void *)9);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0) abort();
}

int main(int argc, char **argv) {
    (void)argv;
    const int32_t cores[] = {0, 0, 0};
    ck_team_cores(cores, 3);
    pthread_t callers[CALLERS];
    for (intptr_t i = 0; i < CALLERS; i++) pthread_create(&callers[i], NULL, caller, (void *)i);
    for (int i = 0; i < CALLERS; i++) pthread_join(callers[i], NULL);
    failure();
    if (argc > 1) in_a_child(); /* whatever stands there */
    puts("well");
    return 0;
}
