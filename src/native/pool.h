/* pool.h - threads that run one function together and wait for each other cheaply.
 *
 * A forward pass is a few hundred microseconds with dozens of joints, so workers meet at
 * barriers by spinning. Between passes they spin for a moment, since the next pass usually
 * comes at once, and then sleep. A pool serves one caller at a time; whoever finds it taken
 * runs alone, which gives the same bits: several trees do not fight over the processors. So does,
 * for a while, who finds that other processes keep its workers from coming. */
#ifndef KVF_POOL_H
#define KVF_POOL_H

#include "base.h"

#include <stdatomic.h>

typedef struct kvf_pool kvf_pool;

/* A member of a running team: who it is, and of how many. */
typedef struct kvf_member {
    kvf_pool *pool; /* NULL: alone */
    uint32_t id, size;
} kvf_member;

/* threads  >= 1, the caller included
 * pin      each worker stays on a processor of its own, of those that the calling thread may use;
 *          the first of them is left to whoever calls kvf_pool_run
 * Errors   KVF_ERR_NOMEM, KVF_ERR_ENGINE (no more threads), KVF_ERR_ARG (no processor for each) */
kvf_status kvf_pool_create(kvf_pool **out, uint32_t threads, bool pin, kvf_error *err);
void kvf_pool_destroy(kvf_pool *pool); /* NULL is fine */
uint32_t kvf_pool_threads(const kvf_pool *pool);

/* Run job(arg, member) on the team, the caller as member 0, and return when all are done. Alone
 * if together is false, the pool has one thread or serves somebody else, or workers do not come. */
void kvf_pool_run(kvf_pool *pool, bool together, void (*job)(void *arg, const kvf_member *me),
                  void *arg);

/* Wait for the workers however long they take: for tests of teams on busy machines. */
void kvf_pool_be_patient(kvf_pool *pool);

/* All members meet here before any goes on; what each wrote before, all see after. */
void kvf_meet(const kvf_member *me);

/* Wait until *count is n or more; what its writer wrote before, this member sees after. */
void kvf_await(const kvf_member *me, const _Atomic uint32_t *count, uint32_t n);

/* The part of n things that is this member's: [*begin, *end), in order of id. */
static inline void kvf_share(const kvf_member *me, size_t n, size_t *begin, size_t *end)
{
    *begin = n * me->id / me->size;
    *end = n * (me->id + 1) / me->size;
}
#endif
