/* probe.c - the loops of the probe tables, run on pinned threads and timed. */
#include "native/probe.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

/* ---- threads --------------------------------------------------------------------------------- */

enum { MAX_THREADS = 256 };

/* All threads enter a call together and leave it together: they spin, since a round may be
 * shorter than waking a thread. The first thread, the caller, keeps the time. */
typedef struct team {
    kvf_probe_run run;
    void *context;
    uint32_t threads;
    _Atomic uint32_t arrived, round;
    _Atomic bool stop;
    cpu_set_t allowed;
} team;

typedef struct member {
    team *team;
    uint32_t thread;
    pthread_t id;
} member;

static void pin(const team *t, uint32_t thread)
{
    int n = CPU_COUNT(&t->allowed), nth = n ? (int)(thread % (uint32_t)n) : 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &t->allowed) && nth-- == 0) {
            cpu_set_t one;
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one);
            return;
        }
}

static void meet(team *t)
{
    uint32_t round = atomic_load(&t->round);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->threads) {
        atomic_store(&t->arrived, 0);
        atomic_store(&t->round, round + 1);
        return;
    }
    for (unsigned spins = 1; atomic_load(&t->round) == round; spins++)
        if (spins % 4096 == 0) sched_yield();
}

static void *work(void *arg)
{
    member *m = arg;
    pin(m->team, m->thread);
    for (;;) {
        meet(m->team);
        if (atomic_load(&m->team->stop)) return NULL;
        m->team->run(m->team->context, m->thread, m->team->threads);
        meet(m->team);
    }
}

/* Of one thread the time of its processor, since others may want that too. */
static double now(const team *t)
{
    struct timespec spent;
    if (t->threads > 1 || clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent)) return kvf_now();
    return (double)spent.tv_sec + (double)spent.tv_nsec * 1e-9;
}

static double best_round(team *t, double budget)
{
    double begin = kvf_now(), best = 0;
    for (unsigned round = 0; round < 3 || kvf_now() - begin < budget; round++) {
        meet(t);
        double from = now(t);
        t->run(t->context, 0, t->threads);
        meet(t);
        double took = now(t) - from;
        if (!round || took < best) best = took;
    }
    atomic_store(&t->stop, true);
    meet(t);
    return best;
}

double kvf_probe_time(kvf_probe_run run, void *context, uint32_t threads, double budget)
{
    if (threads < 1 || threads > MAX_THREADS) return 0;
    team t = {.run = run, .context = context, .threads = threads};
    member *members = kvf_array(threads, sizeof *members);
    if (!members || sched_getaffinity(0, sizeof t.allowed, &t.allowed)) {
        kvf_free(members);
        return 0;
    }
    pin(&t, 0);
    uint32_t started = 1;
    for (; started < threads; started++) {
        members[started] = (member){.team = &t, .thread = started};
        if (pthread_create(&members[started].id, NULL, work, &members[started])) break;
    }
    double best = 0;
    if (started == threads) {
        best = best_round(&t, budget);
    } else { /* let those go that wait for the others */
        atomic_store(&t.stop, true);
        atomic_fetch_add(&t.round, 1);
    }
    for (uint32_t i = 1; i < started; i++) pthread_join(members[i].id, NULL);
    pthread_setaffinity_np(pthread_self(), sizeof t.allowed, &t.allowed);
    kvf_free(members);
    return best;
}

/* ---- the two probes -------------------------------------------------------------------------- */

static const kvf_probe_table *table_of(kvf_cpu cpu)
{
    static const kvf_probe_table *const tables[KVF_CPU_LEVELS] = {
        [KVF_CPU_C] = &kvf_probe_c,
#if defined(__x86_64__)
        [KVF_CPU_AVX2] = &kvf_probe_avx2,
        [KVF_CPU_AVX512] = &kvf_probe_avx512,
        [KVF_CPU_AVX512V] = &kvf_probe_avx512v,
        [KVF_CPU_AVX512X] = &kvf_probe_avx512x,
#endif
    };
    return tables[cpu];
}

typedef struct probe {
    const kvf_probe_table *table;
    kvf_precision precision;
    uint8_t *data;
    size_t part, passes; /* bytes of each thread, and how often a call reads them */
    size_t steps;
    _Atomic uint32_t sink, per_step;
} probe;

static void read_part(void *context, uint32_t thread, uint32_t threads)
{
    (void)threads;
    probe *p = context;
    for (size_t i = 0; i < p->passes; i++)
        atomic_fetch_xor(&p->sink, p->table->read(p->data + thread * p->part, p->part));
}

double kvf_probe_read_bandwidth(kvf_cpu cpu, size_t bytes, uint32_t threads)
{
    enum { UNIT = 1024, CALL = 4 << 20 }; /* a call reads enough to outlast the clock's grain */
    if (!threads) return 0;
    probe p = {.table = table_of(cpu), .part = (bytes / threads + UNIT - 1) / UNIT * UNIT};
    if (!p.part) p.part = UNIT;
    p.passes = p.part < CALL ? CALL / p.part : 1;
    p.data = kvf_pages(p.part * threads);
    if (!p.data) return 0;
    for (size_t i = 0; i < p.part * threads; i += 64)
        p.data[i] = (uint8_t)i; /* not the zero page */
    double seconds = kvf_probe_time(read_part, &p, threads, 0.1);
    kvf_free_pages(p.data, p.part * threads);
    return seconds > 0 ? (double)(p.part * p.passes * threads) / seconds : 0;
}

static void do_steps(void *context, uint32_t thread, uint32_t threads)
{
    (void)thread, (void)threads;
    probe *p = context;
    float out[16];
    atomic_store(&p->per_step, p->table->peak[p->precision](p->steps, out));
    atomic_fetch_xor(&p->sink, (uint32_t)out[0]);
}

double kvf_probe_peak(kvf_cpu cpu, kvf_precision precision, uint32_t threads)
{
    probe p = {.table = table_of(cpu), .precision = precision, .steps = 100000};
    double seconds = kvf_probe_time(do_steps, &p, threads, 0.1);
    return seconds > 0 ? 2.0 * (double)p.per_step * (double)p.steps * threads / seconds : 0;
}
