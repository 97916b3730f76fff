/* pool.c - a team of threads with spinning barriers. */
#include "pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long to spin before giving the processor away, in turns of some twenty nanoseconds: at a
 * barrier the others are at work and will be here within microseconds, unless they have lost their
 * processor; between passes the caller samples a token or walks a search tree. A worker that sleeps
 * comes within some hundred microseconds, which is worth waiting for before a long run; on a busy
 * machine it may take milliseconds, and then the caller is sooner done alone. */
enum { BARRIER_SPINS = 2000, IDLE_SPINS = 10000, JOIN_SPINS = 4000, MOST_ALONE = 255 };
static const double JOIN_SHARE = 0.1; /* of the time that the last run took */

struct kvf_pool {
    uint32_t threads;
    pthread_t *workers; /* [threads - 1] */
    uint32_t started;
    void (*job)(void *arg, const kvf_member *me);
    void *arg;
    atomic_bool taken, quit;
    bool patient;
    uint32_t alone, alone_next; /* runs to do alone, since others were in the way; the next time */
    double waited;              /* seconds that the caller gave away, waiting for others */
    double lasted;              /* seconds that the last run took */
    _Alignas(64) _Atomic uint32_t round; /* one more for each run; workers wait for it to change */
    _Atomic uint64_t joined;             /* (round << 32) + workers that are there for it */
    _Atomic uint32_t decided;            /* 2 * round + whether the run is done together */
    _Atomic uint32_t sleepers;
    _Alignas(64) _Atomic uint32_t arrived; /* at the barrier under way */
    _Alignas(64) _Atomic uint32_t barrier; /* barriers passed */
};

typedef struct worker_start {
    kvf_pool *pool;
    uint32_t id;
} worker_start;

static inline void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Whether *count becomes n or more while that many turns are spun. */
static bool spin(const _Atomic uint32_t *count, uint32_t n, uint32_t turns)
{
    for (uint32_t i = 0; i < turns; i++) {
        if ((int32_t)(atomic_load_explicit(count, memory_order_acquire) - n) >= 0) return true;
        relax();
    }
    return false;
}

void kvf_await(const kvf_member *me, const _Atomic uint32_t *count, uint32_t n)
{
    if (spin(count, n, BARRIER_SPINS)) return;
    double start = kvf_now();
    while (!spin(count, n, 1)) sched_yield();
    if (me->pool && !me->id) me->pool->waited += kvf_now() - start;
}

void kvf_meet(const kvf_member *me)
{
    kvf_pool *p = me->pool;
    if (!p) return;
    uint32_t now = atomic_load_explicit(&p->barrier, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) + 1 == p->threads) {
        atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
        atomic_store_explicit(&p->barrier, now + 1, memory_order_release);
        return;
    }
    kvf_await(me, &p->barrier, now + 1);
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wait_for_round(kvf_pool *p, uint32_t seen)
{
    if (spin(&p->round, seen + 1, IDLE_SPINS)) return;
    while (atomic_load_explicit(&p->round, memory_order_acquire) == seen) {
        /* The count is raised before the word is looked at again, and kvf_pool_run looks at the
         * count after it changed the word: one of the two sees the other. */
        atomic_fetch_add(&p->sleepers, 1);
        if (atomic_load(&p->round) == seen) sleep_while(&p->round, seen);
        atomic_fetch_sub(&p->sleepers, 1);
    }
}

static void begin_round(kvf_pool *p)
{
    atomic_fetch_add(&p->round, 1);
    if (atomic_load(&p->sleepers))
        syscall(SYS_futex, &p->round, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

static uint64_t all_joined(const kvf_pool *p, uint32_t round)
{
    return ((uint64_t)round << 32) + p->threads - 1;
}

/* A worker says that it is there; false if the run goes on without it. The last one decides that it
 * is done together, the caller, by then no more waiting, that it is not. */
static bool join(const kvf_member *me, uint32_t round)
{
    kvf_pool *p = me->pool;
    uint64_t seen = atomic_load(&p->joined);
    do
        if ((uint32_t)(seen >> 32) != round) return false;
    while (!atomic_compare_exchange_weak(&p->joined, &seen, seen + 1));
    if (seen + 1 == all_joined(p, round)) {
        atomic_store_explicit(&p->decided, 2 * round + 1, memory_order_release);
        return true;
    }
    kvf_await(me, &p->decided, 2 * round);
    /* A decision about a later run means that this one was done alone. */
    return atomic_load_explicit(&p->decided, memory_order_acquire) == 2 * round + 1;
}

/* Call all workers; false if they are not there soon: then none takes part. */
static bool call_workers(kvf_pool *p)
{
    uint32_t round = atomic_load_explicit(&p->round, memory_order_relaxed) + 1;
    uint64_t all = all_joined(p, round), seen = (uint64_t)round << 32;
    atomic_store(&p->joined, seen);
    begin_round(p);
    double start = kvf_now();
    for (uint32_t i = 1; seen != all; i++) {
        if (p->patient && i > JOIN_SPINS)
            sched_yield();
        else if (i > JOIN_SPINS && i % 64 == 0 && kvf_now() - start > JOIN_SHARE * p->lasted)
            break;
        relax();
        seen = atomic_load_explicit(&p->joined, memory_order_acquire);
    }
    /* Closed under the number that is farthest away: no worker has it, also where rounds wrap. */
    uint64_t closed = (uint64_t)(round ^ 1u << 31) << 32;
    while (seen != all)
        if (atomic_compare_exchange_weak(&p->joined, &seen, closed)) {
            atomic_store_explicit(&p->decided, 2 * round, memory_order_release);
            return false;
        }
    return true;
}

static void *worker(void *arg)
{
    worker_start *start = arg;
    kvf_pool *p = start->pool;
    kvf_member me = {.pool = p, .id = start->id, .size = p->threads};
    kvf_free(start);
    for (uint32_t round = 0;;) {
        wait_for_round(p, round);
        if (atomic_load(&p->quit)) return NULL;
        round = atomic_load(&p->round); /* a late one may have missed some */
        if (!join(&me, round)) continue;
        p->job(p->arg, &me);
        kvf_meet(&me);
    }
}

/* Worker i on the i-th processor, from 0, that this thread may use. */
static kvf_status pin_workers(const kvf_pool *p, kvf_error *err)
{
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) CPU_ZERO(&allowed);
    if ((uint32_t)CPU_COUNT(&allowed) < p->threads)
        return kvf_fail(err, KVF_ERR_ARG,
                        "%u threads are to be pinned, but this process may use %d processors",
                        p->threads, CPU_COUNT(&allowed));
    for (uint32_t cpu = 0, i = 0; i < p->threads; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (i && pthread_setaffinity_np(p->workers[i - 1], sizeof one, &one))
            return kvf_fail(err, KVF_ERR_ENGINE, "thread %u cannot be pinned to processor %u", i,
                            cpu);
        i++;
    }
    return KVF_OK;
}

static void say_hello(void *arg, const kvf_member *me)
{
    (void)arg;
    (void)me;
}

kvf_status kvf_pool_create(kvf_pool **out, uint32_t threads, bool pin, kvf_error *err)
{
    *out = NULL;
    kvf_pool *p = kvf_pages(sizeof *p); /* on a boundary of a cache line */
    if (!p) return kvf_fail(err, KVF_ERR_NOMEM, "a pool of %u threads", threads);
    p->threads = threads;
    p->workers = kvf_array(threads, sizeof *p->workers);
    if (!p->workers) goto no_memory;
    for (uint32_t i = 1; i < threads; i++) {
        worker_start *start = kvf_array(1, sizeof *start);
        if (!start) goto no_memory;
        *start = (worker_start){.pool = p, .id = i};
        if (pthread_create(&p->workers[i - 1], NULL, worker, start)) {
            kvf_free(start);
            kvf_fail(err, KVF_ERR_ENGINE, "thread %u of %u cannot be started", i, threads);
            kvf_pool_destroy(p);
            return KVF_ERR_ENGINE;
        }
        p->started++;
    }
    kvf_status status = pin ? pin_workers(p, err) : KVF_OK;
    if (status) {
        kvf_pool_destroy(p);
        return status;
    }
    kvf_pool_be_patient(p);
    kvf_pool_run(p, true, say_hello, NULL); /* so that later runs find all of them started */
    p->patient = false;
    *out = p;
    return KVF_OK;

no_memory:
    kvf_pool_destroy(p);
    return kvf_fail(err, KVF_ERR_NOMEM, "a pool of %u threads", threads);
}

void kvf_pool_destroy(kvf_pool *p)
{
    if (!p) return;
    atomic_store(&p->quit, true);
    begin_round(p);
    for (uint32_t i = 0; i < p->started; i++) pthread_join(p->workers[i], NULL);
    kvf_free(p->workers);
    kvf_free_pages(p, sizeof *p);
}

uint32_t kvf_pool_threads(const kvf_pool *p)
{
    return p->threads;
}

void kvf_pool_be_patient(kvf_pool *p)
{
    p->patient = true;
}

/* Run a job together, if the workers come. Whoever had to wait much longer than it worked does some
 * of the next alone, and more if that does not help. */
static void run_together(kvf_pool *p, void (*job)(void *arg, const kvf_member *me), void *arg)
{
    const kvf_member first = {.pool = p, .id = 0, .size = p->threads}, only = {.size = 1};
    bool tries = !p->alone || p->patient;
    if (!tries && --p->alone == 0) begin_round(p); /* none joins, but they are awake for the next */
    p->job = job;
    p->arg = arg;
    p->waited = 0;
    bool came = tries && call_workers(p);
    double start = kvf_now();
    job(arg, came ? &first : &only);
    if (came) kvf_meet(&first);
    p->lasted = kvf_now() - start;
    if (!tries) return;
    if (!came || p->waited > p->lasted * 0.7) {
        p->alone = p->alone_next;
        if (p->alone_next < MOST_ALONE) p->alone_next = 2 * p->alone_next + 1;
    } else {
        p->alone_next /= 2;
    }
}

void kvf_pool_run(kvf_pool *pool, bool together, void (*job)(void *arg, const kvf_member *me),
                  void *arg)
{
    bool free_now = false;
    if (together && pool->threads > 1 &&
        atomic_compare_exchange_strong(&pool->taken, &free_now, true)) {
        run_together(pool, job, arg);
        atomic_store(&pool->taken, false);
        return;
    }
    job(arg, &(kvf_member){.size = 1});
}
