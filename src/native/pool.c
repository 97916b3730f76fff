/* pool.c - a team of threads with spinning barriers. */
#include "pool.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long to spin before giving the processor away: at a barrier the others are at work and
 * will be here within microseconds, unless they have lost their processor; between passes the
 * caller samples a token or walks a search tree. */
enum { BARRIER_SPINS = 2000, IDLE_SPINS = 500 };

struct kvf_pool {
    uint32_t threads;
    pthread_t *workers; /* [threads - 1] */
    uint32_t started;
    void (*job)(void *arg, const kvf_member *me);
    void *arg;
    atomic_bool taken, quit;
    _Alignas(64) _Atomic uint32_t round; /* one more for each run; workers wait for it to change */
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
    for (uint32_t spins = 0; atomic_load_explicit(&p->barrier, memory_order_acquire) == now;) {
        if (++spins < BARRIER_SPINS)
            relax();
        else
            sched_yield();
    }
}

static void sleep_while(_Atomic uint32_t *word, uint32_t value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void wait_for_round(kvf_pool *p, uint32_t seen)
{
    for (uint32_t i = 0; i < IDLE_SPINS; i++) {
        if (atomic_load_explicit(&p->round, memory_order_acquire) != seen) return;
        relax();
    }
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

static void *worker(void *arg)
{
    worker_start *start = arg;
    kvf_pool *p = start->pool;
    kvf_member me = {.pool = p, .id = start->id, .size = p->threads};
    kvf_free(start);
    for (uint32_t round = 0;; round++) {
        wait_for_round(p, round);
        if (atomic_load(&p->quit)) return NULL;
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
    if (status)
        kvf_pool_destroy(p);
    else
        *out = p;
    return status;

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

void kvf_pool_run(kvf_pool *p, bool together, void (*job)(void *arg, const kvf_member *me),
                  void *arg)
{
    bool free_now = false;
    if (!together || p->threads == 1 ||
        !atomic_compare_exchange_strong(&p->taken, &free_now, true)) {
        job(arg, &(kvf_member){.pool = NULL, .id = 0, .size = 1});
        return;
    }
    kvf_member me = {.pool = p, .id = 0, .size = p->threads};
    p->job = job;
    p->arg = arg;
    begin_round(p);
    job(arg, &me);
    kvf_meet(&me);
    atomic_store(&p->taken, false);
}
