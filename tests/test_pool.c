/* test_pool.c - a team runs a job once each or the caller does alone; what members write before they
 * meet or tell, others see after; whoever sleeps is woken; callers take the team in turn.
 *
 * What is written and read here is not atomic, so that ThreadSanitizer sees where order is lacking. */
#include "native/pool.h"

#include "rng.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { MOST = 7, PHASES = 4, RUNS = 120, CALLERS = 3 };

typedef struct task {
    uint32_t size, ran[MOST], at[MOST], told[PHASES + 1][MOST];
    _Atomic uint32_t done[MOST];
    _Atomic uint32_t wrong;
} task;

/* As threads do a pass together: all meet in each phase. And apart: each tells those behind it how
 * far it is. */
static void job(void *arg, const kvf_member *me)
{
    task *t = arg;
    t->ran[me->id]++;
    if (!me->id) t->size = me->size;
    for (uint32_t phase = 1; phase <= PHASES; phase++) {
        t->at[me->id] = phase;
        kvf_meet(me);
        for (uint32_t i = 0; i < me->size; i++) t->wrong += t->at[i] != phase;
        kvf_meet(me);
    }
    for (uint32_t phase = 1; phase <= PHASES; phase++) {
        t->told[phase][me->id] = phase;
        atomic_store_explicit(&t->done[me->id], phase, memory_order_release);
        for (uint32_t i = 0; i < me->id; i++) {
            kvf_await(me, &t->done[i], phase);
            t->wrong += t->told[phase][i] != phase;
        }
    }
}

static bool run(kvf_pool *pool, bool must)
{
    task t = {0};
    kvf_pool_run(pool, true, job, &t);
    uint32_t threads = kvf_pool_threads(pool);
    if (t.wrong || (t.size != threads && (must || t.size != 1))) return false;
    for (uint32_t i = 0; i < MOST; i++)
        if (t.ran[i] != (i < t.size)) return false;
    return true;
}

/* At once one behind the other, or so late that workers sleep; waiting for them, or not. */
static void all_or_one(void **unused)
{
    (void)unused;
    kvf_rng rng;
    kvf_error err;
    kvf_rng_seed(&rng, 5);
    for (uint32_t threads = 1; threads <= MOST; threads += threads < 4 ? 1 : 3) {
        kvf_pool *pool;
        if (kvf_pool_create(&pool, threads, false, &err)) fail_msg("%s", err.msg);
        for (int i = 0; i < RUNS; i++) {
            if (i == RUNS / 2) kvf_pool_be_patient(pool);
            if (!kvf_rng_below(&rng, 3)) usleep(kvf_rng_below(&rng, 1500));
            if (!run(pool, i >= RUNS / 2)) fail_msg("%u threads, run %d", threads, i);
        }
        kvf_pool_destroy(pool);
    }
}

static void *call(void *pool)
{
    for (int i = 0; i < RUNS; i++)
        if (!run(pool, false)) return pool;
    return NULL;
}

static void callers_in_turn(void **unused)
{
    (void)unused;
    kvf_pool *pool;
    pthread_t callers[CALLERS];
    void *wrong;
    assert_int_equal(kvf_pool_create(&pool, 3, false, NULL), KVF_OK);
    kvf_pool_be_patient(pool);
    for (int i = 0; i < CALLERS; i++)
        assert_int_equal(pthread_create(&callers[i], NULL, call, pool), 0);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(callers[i], &wrong);
        assert_null(wrong);
    }
    kvf_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_or_one),
                                       cmocka_unit_test(callers_in_turn)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
