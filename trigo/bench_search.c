/* bench_search.c - see bench_search.h. */
#include "trigo/bench_search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/machine.h"
#include "rng.h"
#include "trigo/notation.h"
#include "trigo/search.h"

enum { MOVES = 6 }; /* of one measurement */

static const struct row {
    trigo_shape shape;
    uint32_t from; /* the first ply */
} positions[] = {
    {{5, 5, 1}, 0},    {{5, 5, 1}, 20}, {{9, 9, 1}, 0},  {{9, 9, 1}, 40}, {{13, 13, 1}, 0},
    {{13, 13, 1}, 60}, {{3, 3, 3}, 0},  {{3, 3, 3}, 12}, {{5, 5, 5}, 0},  {{5, 5, 5}, 40},
};
enum { POSITIONS = sizeof positions / sizeof positions[0] };
static const uint32_t simulations[] = {50, 400};
enum { COUNTS = sizeof simulations / sizeof simulations[0] };

bool trigo_bench_has_rows(const char *board, uint32_t sims)
{
    bool has_board = !board, has_sims = !sims;
    for (size_t p = 0; p < POSITIONS; p++) {
        char shape[TRIGO_SHAPE_TEXT];
        trigo_shape_write(positions[p].shape, shape);
        has_board |= board && !strcmp(board, shape);
    }
    for (size_t i = 0; i < COUNTS; i++) has_sims |= sims == simulations[i];
    return has_board && has_sims;
}

static const struct way {
    const char *name, *line, *engine;
    bool no_cache, eager, fast;
    uint32_t threads;
} ways[] = {
    {"ort, no cache", "two calls for every simulation: prompt and VALUE, prompt and candidates",
     "ort", true, true, false, 1},
    {"ort", "with cache, priors only where they are needed", "ort", false, false, false, 1},
    {"native", "the same", "native", false, false, false, 1},
    {"native, fast", "asking in batches, two threads", "native", false, false, true, 2},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

const char *trigo_bench_way(size_t i, const char **line)
{
    if (i >= WAYS) return NULL;
    *line = ways[i].line;
    return ways[i].name;
}

/* What one measurement gives. */
typedef struct figures {
    double ms, logic;
    uint64_t tokens, matched, calls, cache_bytes;
} figures;

typedef struct bench {
    const trigo_bench_search_options *options;
    json_t *rows;
    kvf_model *models[WAYS]; /* NULL: not to be had */
    figures *taken;          /* [WAYS][repeats] */
} bench;

static bool stopped(const bench *b)
{
    return b->options->stop && *b->options->stop;
}

static void tell(const bench *b, const char *words)
{
    if (b->options->progress) b->options->progress(words);
}

/* ---- one measurement ------------------------------------------------------------------------- */

/* Play a random move, a drop as long as there is one. */
static kvf_status play_random(trigo_game *game, kvf_rng *rng, trigo_move *drops, kvf_error *err)
{
    size_t n = trigo_board_drops(game->board, drops);
    trigo_move move = n ? drops[kvf_rng_below(rng, (uint32_t)n)] : TRIGO_PASS;
    return trigo_game_play(game, move, err);
}

/* A fresh search of the game's position, its costs added to f. */
static kvf_status search_once(const trigo_game *game, const trigo_evaluator *e,
                              const struct way *way, uint32_t sims, figures *f, kvf_error *err)
{
    trigo_search *s;
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.eager = way->eager;
    if (!way->fast) o.batch = 1;
    kvf_status status = trigo_search_create(&s, game, e, &o, err);
    if (status) return status;
    double start = kvf_now();
    status = trigo_search_run(s, sims, 0, err);
    double seconds = kvf_now() - start;
    trigo_search_stats stats = trigo_search_get_stats(s);
    f->ms += 1e3 * seconds / MOVES;
    f->logic += 1e3 * (seconds - stats.asking_s) / MOVES;
    f->calls += stats.calls;
    trigo_search_destroy(s);
    return status;
}

static kvf_status search_moves(const struct row *row, trigo_policy *policy, const struct way *way,
                               uint32_t sims, figures *f, kvf_error *err)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, row->from + 1);
    trigo_evaluator e = trigo_policy_evaluator(policy);
    trigo_game *game = NULL;
    trigo_move *drops = kvf_array(trigo_cells(row->shape), sizeof *drops);
    kvf_status status = drops ? trigo_game_create(&game, row->shape, err)
                              : kvf_fail(err, KVF_ERR_NOMEM, "a list of moves");
    for (uint32_t i = 0; i < row->from && !status; i++)
        status = play_random(game, &rng, drops, err);
    for (uint32_t i = 0; i < MOVES && !status; i++) {
        status = search_once(game, &e, way, sims, f, err);
        if (!status) status = play_random(game, &rng, drops, err);
    }
    trigo_game_destroy(game);
    kvf_free(drops);
    return status;
}

static kvf_status measure(const bench *b, const struct row *row, size_t way, uint32_t sims,
                          figures *f, kvf_error *err)
{
    trigo_policy *policy;
    trigo_policy_options o = b->options->network.policy;
    o.no_cache |= ways[way].no_cache;
    *f = (figures){0};
    kvf_status status = trigo_policy_create(&policy, b->models[way], &o, err);
    if (status) return status;
    status = search_moves(row, policy, &ways[way], sims, f, err);
    kvf_tree_stats stats;
    kvf_tree_get_stats(trigo_policy_tree(policy), &stats);
    f->tokens = stats.evaluated_tokens;
    f->matched = stats.matched_tokens;
    if (!stats.no_cache)
        f->cache_bytes = stats.nodes * kvf_model_get_info(b->models[way])->bytes_per_token;
    trigo_policy_destroy(policy);
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int by_ms(const void *a, const void *b)
{
    const figures *x = a, *y = b;
    return (x->ms > y->ms) - (x->ms < y->ms);
}

static kvf_status add_rows(bench *b, const struct row *row, uint32_t sims, kvf_error *err)
{
    char shape[TRIGO_SHAPE_TEXT], plies[32];
    double first = 0, n = (double)MOVES * sims;
    uint32_t repeats = b->options->repeats;
    trigo_shape_write(row->shape, shape);
    snprintf(plies, sizeof plies, "%u to %u", row->from, row->from + MOVES - 1);
    for (size_t w = 0; w < WAYS; w++) {
        if (!b->models[w]) continue;
        figures *taken = b->taken + w * repeats, *f = &taken[repeats / 2];
        qsort(taken, repeats, sizeof *taken, by_ms);
        if (first == 0) first = f->ms;
        json_t *object =
            json_pack("{s:s, s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:I}", "board",
                      shape, "plies", plies, "sims", (int)sims, "way", ways[w].name, "ms", f->ms,
                      "times", first / f->ms, "sims_per_s", 1e3 * sims / f->ms, "tokens",
                      (double)f->tokens / n, "matched", (double)f->matched / n, "calls",
                      (double)f->calls / n, "logic", 100 * f->logic / f->ms, "cache_bytes",
                      (json_int_t)f->cache_bytes);
        if (json_array_append_new(b->rows, object))
            return kvf_fail(err, KVF_ERR_NOMEM, "a row of the table");
    }
    return KVF_OK;
}

static kvf_status measure_row(bench *b, const struct row *row, uint32_t sims, kvf_error *err)
{
    char words[96], shape[TRIGO_SHAPE_TEXT];
    trigo_shape_write(row->shape, shape);
    snprintf(words, sizeof words, "%s from ply %u, %u simulations", shape, row->from, sims);
    tell(b, words);
    uint32_t repeats = b->options->repeats;
    for (uint32_t i = 0; i < repeats; i++)
        for (size_t w = 0; w < WAYS; w++) {
            if (!b->models[w]) continue;
            if (stopped(b)) return KVF_OK;
            kvf_status status = measure(b, row, w, sims, &b->taken[w * repeats + i], err);
            if (status) return kvf_prefix(err, status, "%s, %s: ", ways[w].name, words);
        }
    return add_rows(b, row, sims, err);
}

static kvf_status measure_rows(bench *b, kvf_error *err)
{
    const trigo_bench_search_options *o = b->options;
    kvf_status status = KVF_OK;
    for (size_t p = 0; p < POSITIONS; p++) {
        char shape[TRIGO_SHAPE_TEXT];
        trigo_shape_write(positions[p].shape, shape);
        if (o->board && strcmp(o->board, shape)) continue;
        for (size_t i = 0; i < COUNTS && !status; i++)
            if (!stopped(b) && (!o->sims || o->sims == simulations[i]))
                status = measure_row(b, &positions[p], simulations[i], err);
    }
    if (!status && !json_array_size(b->rows))
        return kvf_fail(err, KVF_ERR_ARG, "interrupted before a row was whole");
    return status;
}

/* ---- models ---------------------------------------------------------------------------------- */

/* An engine that is not built or not installed, or does not take the models, is left out and said
 * so. The way without cache takes the set without cache if it is there. */
static kvf_status open_way(bench *b, size_t w, kvf_error *err)
{
    const trigo_network_options *n = &b->options->network;
    if (n->model.engine && strcmp(n->model.engine, ways[w].engine)) return KVF_OK;
    kvf_model_options o = n->model;
    o.struct_size = sizeof o;
    o.engine = ways[w].engine;
    o.threads = ways[w].threads;
    trigo_set set = ways[w].no_cache && !n->set ? TRIGO_SET_BASE : n->set;
    kvf_status status = trigo_models_open(&b->models[w], n->models, &set, &o, err);
    if (status == KVF_ERR_IO && ways[w].no_cache && !n->set) {
        set = TRIGO_SET_FIRST;
        status = trigo_models_open(&b->models[w], n->models, &set, &o, err);
    }
    if (status != KVF_ERR_ENGINE) return status;
    char words[640];
    snprintf(words, sizeof words, "%s is left out: %s", ways[w].name, err->msg);
    tell(b, words);
    return KVF_OK;
}

static kvf_status open_ways(bench *b, kvf_error *err)
{
    if (!b->options->network.models) return kvf_fail(err, KVF_ERR_ARG, "--models DIR is missing");
    bool any = false;
    for (size_t w = 0; w < WAYS; w++) {
        kvf_status status = open_way(b, w, err);
        if (status) return status;
        any |= b->models[w] != NULL;
    }
    return any ? KVF_OK : kvf_fail(err, KVF_ERR_ENGINE, "no engine of the table is there");
}

/* ---- the head --------------------------------------------------------------------------------- */

/* The files of a model, but those that are there already. */
static kvf_status add_files(json_t *files, const kvf_model *model, kvf_error *err)
{
    for (uint32_t i = 0; i < kvf_model_get_info(model)->n_files; i++) {
        const char *path = kvf_model_file(model, i), *name = kvf_file_name(path);
        char hash[MACHINE_HASH];
        bool known = false;
        size_t k;
        json_t *file;
        json_array_foreach(files, k, file) known |=
            !strcmp(json_string_value(json_object_get(file, "file")), name);
        if (known) continue;
        kvf_status status = machine_hash_file(path, hash, err);
        if (status) return status;
        if (json_array_append_new(files, json_pack("{s:s, s:s}", "file", name, "sha256", hash)))
            return kvf_fail(err, KVF_ERR_NOMEM, "a list of files");
    }
    return KVF_OK;
}

static kvf_status describe(const bench *b, json_t *head, kvf_error *err)
{
    json_t *files = json_array(), *list = json_array();
    kvf_status status = KVF_OK;
    for (size_t w = 0; w < WAYS && !status; w++) {
        if (!b->models[w]) continue;
        const kvf_model_info *i = kvf_model_get_info(b->models[w]);
        json_t *way =
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:i}", "way", ways[w].name, "line",
                      ways[w].line, "engine", i->engine, "version", i->engine_version, "precision",
                      i->precision, "kernels", i->cpu, "threads", (int)i->threads);
        if (json_array_append_new(list, way))
            status = kvf_fail(err, KVF_ERR_NOMEM, "a list of ways");
        else
            status = add_files(files, b->models[w], err);
    }
    if (json_object_set_new(head, "repeats", json_integer(b->options->repeats)) |
        json_object_set_new(head, "files", files) | json_object_set_new(head, "ways", list))
        return kvf_fail(err, KVF_ERR_NOMEM, "a head");
    return status;
}

kvf_status trigo_bench_search(const trigo_bench_search_options *options, json_t *head,
                              json_t **rows, kvf_error *err)
{
    bench b = {.options = options, .rows = json_array()};
    *rows = NULL;
    b.taken = kvf_array((size_t)WAYS * options->repeats, sizeof *b.taken);
    kvf_status status =
        b.rows && b.taken ? open_ways(&b, err) : kvf_fail(err, KVF_ERR_NOMEM, "a table");
    if (!status) status = describe(&b, head, err);
    if (!status) status = measure_rows(&b, err);
    for (size_t w = 0; w < WAYS; w++) kvf_model_close(b.models[w]);
    kvf_free(b.taken);
    if (status) {
        json_decref(b.rows);
        return status;
    }
    *rows = b.rows;
    return KVF_OK;
}
