/* team.c: a program on several threads: the caller's, and workers that all programs of the process share.
 *
 * A stage's calls are dealt out in a share for each thread, front to back. A thread takes calls of its own share
 * by adding to its ticket, then those of the others. Who finishes the last call of a stage runs the stages of one
 * call that follow, and opens the next. Whoever finds nothing to do waits: it looks for news for a while, then
 * sleeps. So a thread that the system takes away delays no more than the call that it is in.
 *
 * No more threads are at work than there are cores: a worker joins where one is free, and leaves between two calls
 * where several programs run.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "kernel.h"

enum { LINE = 64, PATIENCE = 50000 /* ns of looking for news before a thread sleeps */, LOOKS = 64 };

/* ---------------------------------------------------------------- news, and waiting for them */

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    _Atomic uint32_t news;
    _Atomic int32_t sleepers;
} gate;

#define GATE {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0}

static void ring(gate *g) {
    atomic_fetch_add(&g->news, 1);
    if (atomic_load(&g->sleepers) == 0) return;
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static int64_t nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void breathe(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

/* Until there are news that were not there when `seen` was read. */
static void await(gate *g, uint32_t seen) {
    for (int64_t end = nanoseconds() + PATIENCE; nanoseconds() < end;)
        for (int i = 0; i < LOOKS; i++, breathe())
            if (atomic_load(&g->news) != seen) return;
    pthread_mutex_lock(&g->lock);
    atomic_fetch_add(&g->sleepers, 1);
    while (atomic_load(&g->news) == seen) pthread_cond_wait(&g->changed, &g->lock);
    atomic_fetch_sub(&g->sleepers, 1);
    pthread_mutex_unlock(&g->lock);
}

/* ---------------------------------------------------------------- a team, and the stages of its program */

/* stage << 32 | the next call of the share. */
typedef struct {
    _Alignas(LINE) _Atomic uint64_t next;
} ticket;

struct ck_team {
    ck_program program;
    int32_t threads;
    char **tables; /* of base addresses, one for each thread but the first */
    ticket *tickets;
    gate news;                  /* a stage is open, or the run has ended */
    _Atomic int64_t failure;    /* call << 8 | status of the first call that failed, or NONE */
    _Alignas(LINE) _Atomic int32_t left; /* calls of the open stage that are not done, and one while it is opened */
    _Atomic int32_t running;
    /* The rest is the pool's. */
    struct ck_team *next;
    int core;       /* the caller's */
    uint64_t taken; /* bit t: thread t is here */
    uint32_t pool;  /* in which it was posted */
};

#define NONE INT64_MAX
enum { BEHIND_ALL = 1 << 30 }; /* a ticket before any stage is open: no call, however often it is taken */

static int32_t first_of(const ck_program *p, int32_t stage) { return stage ? p->ends[stage - 1] : 0; }

/* Where the share of a thread begins: shares differ by no more than a call. */
static int32_t share(const ck_team *team, int32_t stage, int32_t thread) {
    const int32_t first = first_of(&team->program, stage);
    return first + (int32_t)((int64_t)(team->program.ends[stage] - first) * thread / team->threads);
}

static void run_call(ck_team *team, int32_t call, char *const *bases) {
    const ck_step *step = &team->program.steps[call];
    const ck_status status = step->kernel(step->params, step->begin, step->end, bases);
    int64_t failure = (int64_t)call << 8 | status, known = atomic_load(&team->failure);
    while (status != CK_OK && failure < known)
        if (atomic_compare_exchange_weak(&team->failure, &known, failure)) break;
}

/* Runs the stages of one call from this one on, and opens the next of several or ends the run. */
static void advance(ck_team *team, int32_t stage) {
    const ck_program *p = &team->program;
    do {
        for (; stage < p->n_stages && p->ends[stage] - first_of(p, stage) == 1; stage++)
            if (atomic_load(&team->failure) == NONE) run_call(team, first_of(p, stage), p->bases);
        if (stage == p->n_stages || atomic_load(&team->failure) != NONE) {
            atomic_store(&team->running, 0);
            ring(&team->news);
            return;
        }
        atomic_store(&team->left, p->ends[stage] - first_of(p, stage) + 1);
        for (int32_t t = 0; t < team->threads; t++)
            atomic_store(&team->tickets[t].next, (uint64_t)stage << 32 | (uint32_t)share(team, stage, t));
        ring(&team->news);
        stage++;
    } while (atomic_fetch_sub(&team->left, 1) == 1);
}

/* The base addresses of a thread, as the open stage has them. */
static char *const *table_of(ck_team *team, int32_t thread) {
    const ck_program *p = &team->program;
    if (thread == 0) return p->bases;
    char **table = team->tables + (thread - 1) * p->n_bases;
    memcpy(table, p->bases, (size_t)p->n_bases * sizeof *table);
    table[p->scratch] += thread * p->scratch_bytes;
    return table;
}

/* Takes a call and runs it; 0 where none is left. */
static int take(ck_team *team, int32_t thread) {
    for (int32_t i = 0; i < team->threads; i++) {
        const int32_t of = (thread + i) % team->threads;
        const uint64_t ticket = atomic_fetch_add(&team->tickets[of].next, 1);
        const int32_t stage = (int32_t)(ticket >> 32), call = (int32_t)(uint32_t)ticket;
        if (call >= share(team, stage, of + 1)) continue;
        run_call(team, call, table_of(team, thread));
        if (atomic_fetch_sub(&team->left, 1) == 1) advance(team, stage + 1);
        return 1;
    }
    return 0;
}

/* ---------------------------------------------------------------- the pool */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t left; /* a worker has left a team */
    gate news;           /* a team is posted */
    ck_team *teams;      /* that run */
    int32_t workers, cores;
    _Atomic int32_t active; /* threads in teams */
    uint32_t number;        /* a forked process has a pool of its own */
    cpu_set_t where;        /* of the workers */
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = PTHREAD_COND_INITIALIZER, .news = GATE, .cores = 1};

/* No thread but the one that forked is there. */
static void reset(void) {
    pool.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pool.left = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    pool.news = (gate)GATE;
    pool.teams = NULL;
    pool.workers = 0;
    atomic_store(&pool.active, 0);
    pool.number++;
}

static void watch_forks(void) { pthread_atfork(NULL, NULL, reset); }

/* A team with work for one more thread, the thread's number in it, and where its caller is; under the lock. */
static ck_team *join(int32_t *thread, int *core) {
    if (atomic_load(&pool.active) >= pool.cores) return NULL;
    for (ck_team *team = pool.teams; team; team = team->next)
        for (int32_t t = 1; t < team->threads; t++)
            if (!(team->taken >> t & 1)) {
                team->taken |= (uint64_t)1 << t;
                atomic_fetch_add(&pool.active, 1);
                *thread = t, *core = team->core;
                return team;
            }
    return NULL;
}

/* Keeps a worker off the caller's core, where they would wait for each other: the system likes to wake threads
 * where they are called. `avoided` is the core that it keeps off already. */
static void keep_off(int core, int *avoided) {
    if (core == *avoided || core < 0) return;
    cpu_set_t others = pool.where;
    CPU_CLR((size_t)core, &others);
    if (CPU_COUNT(&others) && pthread_setaffinity_np(pthread_self(), sizeof others, &others) == 0) *avoided = core;
}

/* Until the run has ended, or others need the core. */
static void help(ck_team *team, int32_t thread) {
    while (atomic_load(&team->running) && atomic_load(&pool.active) <= pool.cores) {
        const uint32_t seen = atomic_load(&team->news.news);
        if (!take(team, thread) && atomic_load(&team->running)) await(&team->news, seen);
    }
}

static void *work(void *unused) {
    (void)unused;
    for (int avoided = -1;;) {
        const uint32_t seen = atomic_load(&pool.news.news);
        int32_t thread;
        int core;
        pthread_mutex_lock(&pool.lock);
        ck_team *team = join(&thread, &core);
        pthread_mutex_unlock(&pool.lock);
        if (!team) {
            await(&pool.news, seen);
            continue;
        }
        keep_off(core, &avoided);
        help(team, thread);
        pthread_mutex_lock(&pool.lock);
        team->taken &= ~((uint64_t)1 << thread);
        atomic_fetch_sub(&pool.active, 1);
        pthread_cond_broadcast(&pool.left);
        pthread_mutex_unlock(&pool.lock);
    }
    return NULL;
}

/* As many workers as a team wants, or as can be had; under the lock. They take no signals. */
static void hire(int32_t wanted) {
    sigset_t all, before;
    pthread_attr_t detached;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    if (CPU_COUNT(&pool.where)) pthread_attr_setaffinity_np(&detached, sizeof pool.where, &pool.where);
    for (pthread_t worker; pool.workers < ck_min(wanted, pool.cores - 1); pool.workers++)
        if (pthread_create(&worker, &detached, work, NULL) != 0) break;
    pthread_attr_destroy(&detached);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void post(ck_team *team) {
    pthread_mutex_lock(&pool.lock);
    if (team->pool != pool.number) team->taken = 0, team->news = (gate)GATE, team->pool = pool.number;
    team->core = sched_getcpu();
    team->next = pool.teams;
    pool.teams = team;
    atomic_fetch_add(&pool.active, 1);
    hire(team->threads - 1);
    pthread_mutex_unlock(&pool.lock);
    ring(&pool.news);
}

static void withdraw(ck_team *team) {
    pthread_mutex_lock(&pool.lock);
    ck_team **link = &pool.teams;
    while (*link != team) link = &(*link)->next;
    *link = team->next;
    atomic_fetch_sub(&pool.active, 1);
    pthread_mutex_unlock(&pool.lock);
}

/* ---------------------------------------------------------------- what ck.h says */

void ck_team_cores(const int32_t *cores, int32_t count) {
    pthread_mutex_lock(&pool.lock);
    CPU_ZERO(&pool.where);
    for (int32_t i = 0; i < count; i++) CPU_SET((size_t)cores[i], &pool.where);
    pool.cores = count;
    pthread_mutex_unlock(&pool.lock);
}

ck_team *ck_team_new(const ck_program *program, int32_t threads) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    const int64_t tickets = threads * (int64_t)sizeof(ticket), ends = program->n_stages * (int64_t)sizeof(int32_t);
    const int64_t tables = (threads - 1) * program->n_bases * (int64_t)sizeof(char *);
    ck_team *team = ck_alloc((int64_t)sizeof *team + tickets + tables + ends);
    if (!team) return NULL;
    memset(team, 0, sizeof *team + (size_t)tickets);
    team->tickets = (ticket *)(team + 1);
    team->tables = (char **)(team->tickets + threads);
    int32_t *copy = (int32_t *)(void *)((char *)team->tables + tables);
    memcpy(copy, program->ends, (size_t)ends);
    team->program = *program, team->program.ends = copy; /* which a worker may look at behind the last run */
    team->threads = threads;
    team->news = (gate)GATE;
    for (int32_t t = 0; t < threads; t++) atomic_init(&team->tickets[t].next, BEHIND_ALL);
    return team;
}

ck_status ck_team_run(ck_team *team, int32_t *failed) {
    atomic_store(&team->failure, NONE);
    atomic_store(&team->running, 1);
    post(team);
    advance(team, 0);
    while (atomic_load(&team->running)) {
        const uint32_t seen = atomic_load(&team->news.news);
        if (!take(team, 0) && atomic_load(&team->running)) await(&team->news, seen);
    }
    withdraw(team);
    const int64_t failure = atomic_load(&team->failure);
    if (failure == NONE) return CK_OK;
    *failed = (int32_t)(failure >> 8);
    return (ck_status)(failure & 255);
}

void ck_team_free(ck_team *team) {
    if (!team) return;
    pthread_mutex_lock(&pool.lock);
    while (team->pool == pool.number && team->taken) pthread_cond_wait(&pool.left, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
    ck_free(team);
}
