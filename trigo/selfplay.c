/* selfplay.c - see selfplay.h.
 *
 *   list     which games are missing: block by block, given out one by one under a lock
 *   game     one search after the other; each step ends with a question, a move or the end
 *   worker   steps all its games, has their questions answered, and so on
 *
 * The first failure stops all workers. */
#include "trigo/selfplay.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base.h"
#include "trigo/tgn.h"

enum {
    SPARE_TOKENS = 2048, /* of a worker's cache, beyond its games' prompts: the largest question */
    TOKENS_OF_PLY = 6,   /* of a prompt, about: for models without a limit */
    PROGRESS_NS = 200000000, /* between two reports */
};

/* A block with how much of it is out. */
typedef struct part {
    trigo_block *block;
    uint32_t next;    /* game to look at */
    uint32_t missing; /* games not finished */
    struct part *after;
} part;

typedef struct pool {
    const trigo_selfplay_options *o;
    pthread_mutex_t lock; /* of all that follows but the counters */
    pthread_cond_t changed;
    uint64_t next_first; /* first game of the next block to open */
    uint64_t of;         /* games of the shard */
    double start;
    part *parts, *now; /* open blocks; the one that games are taken from */
    uint32_t running;  /* workers */
    kvf_status status; /* of the first failure */
    kvf_error err;
    atomic_bool stop;
    atomic_uint_fast64_t found, games, moves, simulations, questions, calls;
} pool;

/* One game that is being played. */
typedef struct table {
    part *part;
    trigo_played *played; /* NULL: none */
    trigo_search *search;
} table;

typedef struct worker {
    pool *pool;
    pthread_t thread;
    trigo_policy *policy;
    trigo_evaluator evaluator;
    table *tables;    /* [n_tables] */
    trigo_ask **asks; /* [n_tables] */
    uint32_t n_tables;
} worker;

/* ---- list ------------------------------------------------------------------------------------ */

/* Open the shard's next block of which something is missing; *out is NULL if there is none. */
static kvf_status open_part(pool *p, part **out, kvf_error *err)
{
    const trigo_generation *g = p->o->generation;
    trigo_block *block = NULL;
    kvf_status status = KVF_OK;
    *out = NULL;
    while (!status && !block && p->next_first < g->games) {
        status = trigo_block_open(&block, p->o->folder, g, p->next_first, err);
        if (!status) p->found += trigo_block_count(g, p->next_first) - (block ? block->missing : 0);
        p->next_first += (uint64_t)g->games_per_file * p->o->shards;
    }
    if (status || !block) return status;
    part *t = kvf_array(1, sizeof *t);
    if (!t) {
        trigo_block_close(block);
        return kvf_fail(err, KVF_ERR_NOMEM, "a block of games");
    }
    *t = (part){.block = block, .missing = block->missing, .after = p->parts};
    p->parts = *out = t;
    return KVF_OK;
}

/* Take a game that nobody plays; *out is NULL if there is none left. */
static kvf_status take_game(pool *p, part **out, uint64_t *index, kvf_error *err)
{
    kvf_status status = KVF_OK;
    pthread_mutex_lock(&p->lock);
    for (*out = NULL; !*out && !status;) {
        part *t = p->now;
        if (!t) {
            status = open_part(p, &p->now, err);
            if (!p->now) break;
            continue;
        }
        while (t->next < t->block->count && t->block->finished[t->next]) t->next++;
        if (t->next < t->block->count) {
            *out = t;
            *index = t->block->first + t->next++;
        } else {
            p->now = NULL;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return status;
}

static void drop_part(pool *p, part *t)
{
    part **at = &p->parts;
    while (*at != t) at = &(*at)->after;
    *at = t->after;
    trigo_block_close(t->block);
    kvf_free(t);
}

/* Keep a game that has ended; whose last one it is gives the block its files. */
static kvf_status keep_game(pool *p, part *t, const trigo_played *played, kvf_error *err)
{
    kvf_status status = trigo_block_add(t->block, played, err);
    if (status) return status;
    pthread_mutex_lock(&p->lock);
    bool last = --t->missing == 0;
    pthread_mutex_unlock(&p->lock);
    if (last) status = trigo_block_finish(t->block, err);
    if (status) return status;
    p->games++;
    if (!last) return KVF_OK;
    pthread_mutex_lock(&p->lock);
    if (p->now == t) p->now = NULL;
    drop_part(p, t);
    pthread_mutex_unlock(&p->lock);
    return KVF_OK;
}

/* ---- game ------------------------------------------------------------------------------------ */

static void clear_table(table *t)
{
    trigo_search_destroy(t->search);
    trigo_played_destroy(t->played);
    *t = (table){0};
}

static kvf_status begin_game(worker *w, table *t, kvf_error *err)
{
    const trigo_generation *g = w->pool->o->generation;
    uint64_t index = 0;
    kvf_status status = take_game(w->pool, &t->part, &index, err);
    if (status || !t->part) return status;
    trigo_search_options o = trigo_generation_search(g, index);
    status = trigo_played_create(&t->played, g, index, err);
    return status ? status
                  : trigo_search_create(&t->search, t->played->game, &w->evaluator, &o, err);
}

static kvf_status end_game(worker *w, table *t, trigo_end end, kvf_error *err)
{
    t->played->end = end;
    w->pool->simulations += trigo_search_get_stats(t->search).simulations;
    kvf_status status = keep_game(w->pool, t->part, t->played, err);
    clear_table(t);
    return status;
}

/* The search of a position is over: play the move that it chooses, or end the game. */
static kvf_status end_search(worker *w, table *t, kvf_error *err)
{
    trigo_search_root root = trigo_search_get_root(t->search);
    const trigo_board *board = t->played->game->board;
    if (root.terminal)
        return end_game(w, t,
                        trigo_board_ended(board) ? TRIGO_END_PASSES
                        : root.out_of_context    ? TRIGO_END_CONTEXT
                                                 : TRIGO_END_DECIDED,
                        err);
    trigo_move move = trigo_search_choose(t->search);
    kvf_status status = trigo_played_add(t->played, t->search, move, err);
    if (!status) status = trigo_search_play(t->search, move, err);
    w->pool->moves++;
    if (status || t->played->game->plies < w->pool->o->generation->max_plies) return status;
    return trigo_board_terminal(board, NULL) ? KVF_OK : end_game(w, t, TRIGO_END_PLIES, err);
}

/* Go on until there is a question, or no game any more. */
static kvf_status step(worker *w, table *t, size_t *n_asks, kvf_error *err)
{
    uint32_t sims = w->pool->o->generation->sims;
    for (kvf_status status = KVF_OK;;) {
        trigo_ask *const *asks;
        size_t n = 0;
        if (!t->played) status = begin_game(w, t, err);
        if (status || !t->played) return status;
        status = trigo_search_next(t->search, sims, &asks, &n, err);
        for (size_t i = 0; i < n; i++) w->asks[(*n_asks)++] = asks[i];
        if (status || n) return status;
        status = end_search(w, t, err);
        if (status) return status;
    }
}

/* ---- worker ---------------------------------------------------------------------------------- */

static kvf_status play(worker *w, kvf_error *err)
{
    pool *p = w->pool;
    kvf_status status = KVF_OK;
    while (!status && !p->stop) {
        size_t n = 0;
        for (uint32_t i = 0; i < w->n_tables && !status; i++)
            status = step(w, &w->tables[i], &n, err);
        if (status || !n) break;
        status = w->evaluator.ask(w->evaluator.state, w->asks, n, err);
        p->questions += n;
        p->calls++;
    }
    return status;
}

static void *work(void *arg)
{
    worker *w = arg;
    pool *p = w->pool;
    kvf_error err;
    kvf_status status = play(w, &err);
    pthread_mutex_lock(&p->lock);
    if (status && !p->status) {
        p->status = status;
        p->err = err;
        p->stop = true;
    }
    p->running--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* What the games of a worker hold are the prompts of their positions, which all may grow to the
 * model's context; a cache that is too small for them has to serve fewer games. */
static kvf_status create_worker(worker *w, kvf_error *err)
{
    const trigo_selfplay_options *o = w->pool->o;
    w->n_tables = o->games;
    w->evaluator = trigo_uniform();
    if (o->model) {
        uint64_t most = TRIGO_PROMPT_START + (uint64_t)o->generation->max_plies * TOKENS_OF_PLY;
        uint32_t context = kvf_model_get_info(o->model)->context;
        if (context && context < most) most = context;
        trigo_policy_options policy = o->policy;
        uint64_t tokens = policy.cache_tokens;
        if (!tokens) tokens = most * w->n_tables + SPARE_TOKENS;
        uint64_t fits = tokens > SPARE_TOKENS ? (tokens - SPARE_TOKENS) / most : 0;
        if (fits < w->n_tables) w->n_tables = fits ? (uint32_t)fits : 1;
        policy.cache_tokens = (uint32_t)(tokens < UINT32_MAX ? tokens : UINT32_MAX);
        kvf_status status = trigo_policy_create(&w->policy, o->model, &policy, err);
        if (status) return status;
        w->evaluator = trigo_policy_evaluator(w->policy);
    }
    w->tables = kvf_array(w->n_tables, sizeof *w->tables);
    w->asks = kvf_array(w->n_tables, sizeof(trigo_ask *));
    if (!w->tables || !w->asks) return kvf_fail(err, KVF_ERR_NOMEM, "%u games", w->n_tables);
    return KVF_OK;
}

static void destroy_worker(worker *w)
{
    for (uint32_t i = 0; w->tables && i < w->n_tables; i++) clear_table(&w->tables[i]);
    kvf_free(w->tables);
    kvf_free(w->asks);
    trigo_policy_destroy(w->policy);
}

/* ---- all together ---------------------------------------------------------------------------- */

static trigo_selfplay_progress progress_of(pool *p)
{
    return (trigo_selfplay_progress){.games = p->games,
                                     .found = p->found,
                                     .of = p->of,
                                     .moves = p->moves,
                                     .simulations = p->simulations,
                                     .questions = p->questions,
                                     .calls = p->calls,
                                     .seconds = kvf_now() - p->start};
}

/* Wait for the workers, and report meanwhile. */
static void watch(pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->running) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += PROGRESS_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&p->changed, &p->lock, &until);
        trigo_selfplay_progress now = progress_of(p);
        if (p->o->progress) p->o->progress(p->o->user, &now);
    }
    pthread_mutex_unlock(&p->lock);
}

static kvf_status run_workers(pool *p, worker *workers, kvf_error *err)
{
    uint32_t n = p->o->threads, started = 0;
    kvf_status status = KVF_OK;
    for (uint32_t i = 0; i < n && !status; i++) {
        workers[i].pool = p;
        status = create_worker(&workers[i], err);
    }
    p->running = status ? 0 : n;
    for (; started < n && !status; started++)
        if (pthread_create(&workers[started].thread, NULL, work, &workers[started])) break;
    if (!status && started < n) {
        status =
            kvf_fail(err, KVF_ERR_ENGINE, "this machine gives no more than %u threads", started);
        pthread_mutex_lock(&p->lock);
        p->running -= n - started;
        p->stop = true;
        pthread_mutex_unlock(&p->lock);
    }
    watch(p);
    for (uint32_t i = 0; i < started; i++) pthread_join(workers[i].thread, NULL);
    for (uint32_t i = 0; i < n; i++) destroy_worker(&workers[i]);
    return status;
}

static kvf_status check(const trigo_selfplay_options *o, kvf_error *err)
{
    if (!o->threads || !o->games)
        return kvf_fail(err, KVF_ERR_ARG, "%u threads with %u games each, but there should be one",
                        o->threads, o->games);
    if (o->shard >= o->shards)
        return kvf_fail(err, KVF_ERR_ARG, "shard %u of %u: they are counted from 0", o->shard,
                        o->shards);
    return trigo_generation_check(o->generation, err);
}

kvf_status trigo_selfplay(const trigo_selfplay_options *options, trigo_selfplay_progress *done,
                          kvf_error *err)
{
    const trigo_generation *g = options->generation;
    *done = (trigo_selfplay_progress){0};
    kvf_status status = check(options, err);
    if (!status) status = trigo_folder_open(options->folder, g, err);
    if (status) return status;
    worker *workers = kvf_array(options->threads, sizeof *workers);
    if (!workers) return kvf_fail(err, KVF_ERR_NOMEM, "%u threads", options->threads);
    pool p = {.o = options,
              .lock = PTHREAD_MUTEX_INITIALIZER,
              .changed = PTHREAD_COND_INITIALIZER,
              .next_first = (uint64_t)options->shard * g->games_per_file,
              .start = kvf_now()};
    for (uint64_t i = p.next_first; i < g->games;
         i += (uint64_t)g->games_per_file * options->shards)
        p.of += trigo_block_count(g, i);
    status = run_workers(&p, workers, err);
    if (!status && p.status) {
        status = p.status;
        if (err) *err = p.err;
    }
    while (p.parts) drop_part(&p, p.parts);
    *done = progress_of(&p);
    kvf_free(workers);
    return status;
}
