/* selfplay.h - many games at once, their questions answered together.
 *
 *     worker   a thread with an evaluator of its own, and so many games:
 *         game ── search ── question ┐
 *         game ── search ── question ├── one call of the evaluator: one pass of the network
 *         game ── search ── question ┘
 *
 * Workers share nothing but the model and the list of games that are missing, so they run beside
 * each other as processes would. A game that ends makes room for the next one. */
#ifndef TRIGO_SELFPLAY_H
#define TRIGO_SELFPLAY_H

#include "trigo/folder.h"
#include "trigo/policy.h"

typedef struct trigo_selfplay_progress {
    uint64_t games;       /* finished by this call */
    uint64_t found, of;   /* games of the shard: finished before, as far as looked; all */
    uint64_t moves;       /* played, in unfinished games too */
    uint64_t simulations; /* counted when their game ends */
    uint64_t questions, calls;
    double seconds;
} trigo_selfplay_progress;

typedef struct trigo_selfplay_options {
    const char *folder;
    const trigo_generation *generation; /* described, its model is `model` */
    const kvf_model *model;             /* opened with one thread; NULL: the uniform evaluator */
    trigo_policy_options policy;        /* cache_tokens 0: enough for all games of a worker */
    uint32_t threads;                   /* workers */
    uint32_t games;                     /* of one worker at once; fewer if the cache is too small */
    uint32_t shard, shards;             /* play every shards-th block, from the shard-th on */
    void (*progress)(void *user, const trigo_selfplay_progress *p); /* now and then, from the
                                                                        calling thread; NULL: not */
    void *user;
} trigo_selfplay_options;

/* Play what is missing of a generation's shard, and write it to its folder (folder.h).
 *
 * done    set to what was played, also after a failure
 * Errors  those of folder.h and of the evaluator; what is finished by then stays */
kvf_status trigo_selfplay(const trigo_selfplay_options *options, trigo_selfplay_progress *done,
                          kvf_error *err);

#endif
