/* test_policy.c - the network as evaluator: every reference evaluation, on every engine and set
 * that is here; and what happens when the cache, the context or the numbers give out. */
#include "trigo/policy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base.h"
#include "support_fake.h"
#include "support_trigo.h"
#include "trigo/json.h"
#include "trigo/models.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

#define MODELS KVF_SOURCE_DIR "/models/trigo"
#define EVALS  KVF_SOURCE_DIR "/tests/data/trigo/evals_A.jsonl"

static void must(kvf_status status, const kvf_error *err)
{
    if (status) fail_msg("%s: %s", kvf_status_name(status), err->msg);
}

/* ---- models ---------------------------------------------------------------------------------- */

static const struct {
    const char *engine;
    trigo_set set;
    bool no_cache;
    const char *cpu;
} ways[] = {
    {"native", TRIGO_SET_CACHED, false, NULL},   {"native", TRIGO_SET_CACHED, true, NULL},
    {"native", TRIGO_SET_BASE, false, NULL},     {"native", TRIGO_SET_CACHED, false, "c"},
    {"native", TRIGO_SET_CACHED, false, "avx2"}, {"ort", TRIGO_SET_CACHED, false, NULL},
    {"ort", TRIGO_SET_CACHED, true, NULL},       {"ort", TRIGO_SET_BASE, true, NULL},
};
enum { WAYS = sizeof ways / sizeof ways[0] };

/* NULL if this machine has not this engine or its instructions. */
static kvf_model *open_model(const char *engine, trigo_set set, const char *cpu)
{
    kvf_model *model;
    kvf_error err;
    kvf_model_options o = {.struct_size = sizeof o, .threads = 1, .engine = engine, .cpu = cpu};
    kvf_status status = trigo_models_open(&model, MODELS, &set, &o, &err);
    if (!status) return model;
    print_message("%s, set %s: %s\n", engine, trigo_set_name(set), err.msg);
    assert_int_equal(status, cpu ? KVF_ERR_ARG : KVF_ERR_ENGINE);
    assert_true(cpu || strcmp(engine, "native"));
    return NULL;
}

/* Any engine that runs the set with a cache. */
static kvf_model *any_model(void)
{
    kvf_model *model = open_model("native", TRIGO_SET_CACHED, NULL);
    if (!model) model = open_model("ort", TRIGO_SET_CACHED, NULL);
    if (!model) skip();
    return model;
}

static trigo_policy *policy_of(const kvf_model *model, uint32_t cache_tokens, bool no_cache)
{
    kvf_error err;
    trigo_policy *policy;
    trigo_policy_options o = {.cache_tokens = cache_tokens, .no_cache = no_cache};
    must(trigo_policy_create(&policy, model, &o, &err), &err);
    return policy;
}

/* ---- one evaluation -------------------------------------------------------------------------- */

/* A question about the root of a game, and room for the answer. */
typedef struct question {
    trigo_ask ask;
    trigo_candidates *candidates;
    void *root;
} question;

static void prepare(question *q, const trigo_game *game, trigo_evaluator e)
{
    kvf_error err;
    must(trigo_candidates_create(&q->candidates, game->board->shape, &err), &err);
    trigo_candidates_list(q->candidates, game->board);
    must(e.open(e.state, game, &q->root, &err), &err);
    q->ask = (trigo_ask){.root = q->root,
                         .want_value = true,
                         .candidates = q->candidates->n ? q->candidates : NULL,
                         .value = NAN,
                         .priors = calloc(q->candidates->n + 1, sizeof(double)),
                         .scores = calloc(q->candidates->n + 1, sizeof(double))};
}

static void dismiss(question *q, trigo_evaluator e)
{
    e.close(e.state, q->root);
    free(q->ask.priors);
    free(q->ask.scores);
    trigo_candidates_destroy(q->candidates);
}

/* ---- the reference evaluations --------------------------------------------------------------- */

typedef struct largest {
    double prior, score, value;
} largest;

static double far(double a, double b, double *most)
{
    double d = fabs(a - b);
    if (!(d <= *most)) *most = d; /* and NaN */
    return d;
}

static void compare(const json_t *record, const question *q, const trigo_board *board, largest *d)
{
    const json_t *names = json_object_get(record, "candidates");
    assert_int_equal(json_array_size(names), q->candidates->n);
    assert_int_equal(json_integer_value(json_object_get(record, "m")), q->candidates->m);
    far(json_number_value(json_object_get(record, "value")), q->ask.value, &d->value);
    for (uint32_t i = 0; i < q->candidates->n; i++) {
        char name[TRIGO_MOVE_TEXT];
        trigo_move_write(board->shape, q->candidates->move[i], name);
        assert_string_equal(name, json_string_value(json_array_get(names, i)));
        const json_t *p = json_array_get(json_object_get(record, "priors"), i);
        const json_t *s = json_array_get(json_object_get(record, "scores"), i);
        far(json_number_value(p), q->ask.priors[i], &d->prior);
        far(json_number_value(s), q->ask.scores[i], &d->score);
    }
}

/* All lines of the file, as many in a call as `together`. */
static void evaluate_all(trigo_policy *policy, size_t together, int every, largest *d)
{
    FILE *file = fopen(EVALS, "r");
    assert_non_null(file);
    trigo_evaluator e = trigo_policy_evaluator(policy);
    question *q = calloc(together, sizeof *q);
    trigo_ask **asks = calloc(together, sizeof *asks);
    json_t **records = calloc(together, sizeof *records);
    trigo_game **games = calloc(together, sizeof *games);
    char *line = NULL;
    size_t room = 0, n = 0, lines = 0;
    kvf_error err;
    for (bool more = true; more;) {
        ssize_t len = getline(&line, &room, file);
        more = len > 0;
        if (more && lines % every) { /* a sample */
            lines++;
            continue;
        }
        if (more) {
            must(trigo_json_object(&records[n], line, (size_t)len, &err), &err);
            must(trigo_json_game(&games[n], records[n], &err), &err);
            prepare(&q[n], games[n], e);
            asks[n] = &q[n].ask;
            n++;
            lines++;
        }
        if (n < together && more) continue;
        if (n) must(e.ask(e.state, asks, n, &err), &err);
        for (size_t i = 0; i < n; i++) {
            assert_false(q[i].ask.out_of_context);
            compare(records[i], &q[i], games[i]->board, d);
            dismiss(&q[i], e);
            trigo_game_destroy(games[i]);
            json_decref(records[i]);
        }
        n = 0;
    }
    assert_int_equal(lines, 164);
    free(line);
    free(q);
    free(asks);
    free(records);
    free(games);
    fclose(file);
}

static void reference_evaluations(void **state)
{
    (void)state;
    int tried = 0;
    for (size_t i = 0; i < WAYS; i++) {
        kvf_model *model = open_model(ways[i].engine, ways[i].set, ways[i].cpu);
        if (!model) continue;
        /* without a cache one at a time is the same work again */
        for (size_t together = ways[i].no_cache ? 32 : 1; together < 50; together += 31) {
            largest d = {0};
            trigo_policy *policy = policy_of(model, 0, ways[i].no_cache);
            evaluate_all(policy, together, ways[i].no_cache || ways[i].cpu ? 8 : 1, &d);
            kvf_tree_stats stats;
            kvf_tree_get_stats(trigo_policy_tree(policy), &stats);
            print_message("%s%s%s, set %s%s, %zu in a call: |dP| %.2g, |ds| %.2g, |dv| %.2g; %llu "
                          "tokens, %llu matched\n",
                          ways[i].engine, ways[i].cpu ? " " : "", ways[i].cpu ? ways[i].cpu : "",
                          trigo_set_name(ways[i].set), ways[i].no_cache ? " without cache" : "",
                          together, d.prior, d.score, d.value,
                          (unsigned long long)stats.evaluated_tokens,
                          (unsigned long long)stats.matched_tokens);
            assert_true(d.prior <= 1e-5 && d.score <= 3e-5 && d.value <= 2e-5);
            trigo_policy_destroy(policy);
        }
        tried++;
        kvf_model_close(model);
    }
    if (!tried) skip();
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* A position after its parent costs only what the parent's prompt and candidates did not have. */
static void nothing_is_evaluated_twice(void **state)
{
    (void)state;
    kvf_model *model = any_model();
    trigo_policy *policy = policy_of(model, 0, false);
    trigo_evaluator e = trigo_policy_evaluator(policy);
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 0, 0);
    question q;
    kvf_error err;
    kvf_tree_stats before, after;
    trigo_ask *asks[] = {&q.ask};
    prepare(&q, game, e);
    must(e.ask(e.state, asks, 1, &err), &err);
    kvf_tree_get_stats(trigo_policy_tree(policy), &before);
    /* START and "[Board 5x5]\n\n1. ", VALUE, and a b 0 y z P Pa Pas */
    if (!before.no_cache) assert_int_equal(before.evaluated_tokens, 17 + 1 + 8);

    trigo_move move = 12; /* 00: one `0` is there, the other and the space are new; and VALUE */
    q.ask.moves = &move;
    q.ask.n_moves = 1;
    q.ask.note_before = q.ask.note;
    q.ask.note = 0;
    q.ask.candidates = NULL;
    must(e.ask(e.state, asks, 1, &err), &err);
    kvf_tree_get_stats(trigo_policy_tree(policy), &after);
    if (!before.no_cache) assert_int_equal(after.evaluated_tokens - before.evaluated_tokens, 2 + 1);
    assert_int_equal(after.matched_tokens - before.matched_tokens, 1);

    double value = q.ask.value; /* and the node is enough to ask again */
    must(e.ask(e.state, asks, 1, &err), &err);
    assert_true(q.ask.value == value);
    dismiss(&q, e);
    trigo_game_destroy(game);
    trigo_policy_destroy(policy);
    kvf_model_close(model);
}

/* A note may go stale: in a cache that holds one position at a time, answers stay the same. */
static void evicted_positions(void **state)
{
    (void)state;
    kvf_model *model = any_model();
    trigo_policy *large = policy_of(model, 0, false), *small = policy_of(model, 90, false);
    trigo_policy *policies[] = {large, small};
    double values[2][12];
    for (int k = 0; k < 2; k++) {
        trigo_evaluator e = trigo_policy_evaluator(policies[k]);
        trigo_game *games[4];
        question q[4];
        kvf_error err;
        for (size_t i = 0; i < 12; i++) { /* in turn, so that each comes back to an old note */
            size_t g = i % 4;
            if (i < 4) {
                games[g] = random_game((trigo_shape){5, 5, 1}, 10 + (uint32_t)g, g);
                prepare(&q[g], games[g], e);
            }
            must(e.ask(e.state, (trigo_ask *[]){&q[g].ask}, 1, &err), &err);
            values[k][i] = q[g].ask.value + q[g].ask.priors[0];
            e.close(e.state, q[g].root); /* nothing held, or the small one could not go on */
            must(e.open(e.state, games[g], &q[g].root, &err), &err);
            q[g].ask.root = q[g].root;
        }
        for (size_t g = 0; g < 4; g++) {
            dismiss(&q[g], e);
            trigo_game_destroy(games[g]);
        }
    }
    kvf_tree_stats stats;
    kvf_tree_get_stats(trigo_policy_tree(small), &stats);
    assert_true(stats.evicted > 0 || stats.no_cache);
    bool bits = !strcmp(kvf_model_get_info(model)->engine, "native");
    for (size_t i = 0; i < 12; i++) {
        assert_true(fabs(values[0][i] - values[1][i]) < 1e-5);
        if (bits) assert_true(values[0][i] == values[1][i]);
    }
    trigo_policy_destroy(large);
    trigo_policy_destroy(small);
    kvf_model_close(model);
}

/* Several positions that do not fit together are asked about one by one; one that does not fit
 * alone is an error. */
static void too_small_caches(void **state)
{
    (void)state;
    kvf_model *model = any_model();
    kvf_error err = {0};
    trigo_game *games[4];
    for (uint32_t i = 0; i < 4; i++) games[i] = random_game((trigo_shape){5, 5, 1}, 8, i);
    for (int tiny = 0; tiny < 2; tiny++) {
        trigo_policy *policy = policy_of(model, tiny ? 30 : 260, false);
        trigo_evaluator e = trigo_policy_evaluator(policy);
        question q[4];
        trigo_ask *asks[4];
        for (size_t i = 0; i < 4; i++) {
            prepare(&q[i], games[i], e);
            asks[i] = &q[i].ask;
        }
        kvf_status status = e.ask(e.state, asks, 4, &err);
        if (tiny) {
            assert_int_not_equal(status, KVF_OK);
            assert_non_null(strstr(err.msg, "30"));
        } else {
            must(status, &err);
        }
        for (size_t i = 0; i < 4; i++) dismiss(&q[i], e);
        trigo_policy_destroy(policy);
    }
    for (size_t i = 0; i < 4; i++) trigo_game_destroy(games[i]);
    kvf_model_close(model);
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* The model has 2,048 positions: prompts up to 2,045 tokens leave room for "Pas". */
static void long_games(void **state)
{
    (void)state;
    kvf_model *model = any_model();
    trigo_policy *policy = policy_of(model, 0, false);
    trigo_evaluator e = trigo_policy_evaluator(policy);
    uint32_t context = kvf_model_get_info(model)->context;
    assert_int_equal(context, 2048);
    trigo_game *game = random_game((trigo_shape){9, 9, 9}, 300, 5);
    static int32_t tokens[8192];
    bool was_in = false, was_out = false;
    kvf_error err;
    while (!was_out) {
        size_t n = trigo_prompt(game, tokens, 8192);
        question q;
        prepare(&q, game, e);
        must(e.ask(e.state, (trigo_ask *[]){&q.ask}, 1, &err), &err);
        assert_int_equal(q.ask.out_of_context, n + 3 > context);
        was_in |= !q.ask.out_of_context;
        was_out |= q.ask.out_of_context;
        dismiss(&q, e);
        trigo_move drops[729];
        assert_true(trigo_board_drops(game->board, drops) > 0);
        must(trigo_game_play(game, drops[0], &err), &err);
    }
    assert_true(was_in);
    trigo_game_destroy(game);
    trigo_policy_destroy(policy);
    kvf_model_close(model);
}

/* ---- numbers that are none ------------------------------------------------------------------- */

typedef struct broken {
    const char *what;
    kvf_head head;
    float number;
} broken;

/* An engine that answers with the same number everywhere. */
static const broken *breaking;

static kvf_status give_broken(void *engine, const kvf_pass *pass, const kvf_pass_outputs *out,
                              kvf_error *err)
{
    (void)engine, (void)err;
    for (int h = 0; h < KVF_HEADS; h++)
        for (uint32_t i = 0; i < pass->n_rows; i++)
            if (pass->rows[i].want & KVF_WANT(h))
                for (uint32_t k = 0; k < (h == KVF_LOGITS ? 128u : 1u); k++)
                    out->head[h][i][k] =
                        (int)breaking->head == h && k % 5 == 0 ? breaking->number : 0;
    return KVF_OK;
}

static void numbers_that_are_none(void **state)
{
    (void)state;
    static const broken rows[] = {
        {"value head", KVF_VALUE, NAN},
        {"value head", KVF_VALUE, INFINITY},
        {"policy head", KVF_LOGITS, NAN},
        {"policy head", KVF_LOGITS, INFINITY},
    };
    fake_model fake;
    fake_model_init(&fake, 128, 2048);
    kvf_engine_ops ops = *fake.model.ops;
    ops.forward = give_broken;
    fake.model.ops = &ops;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        breaking = &rows[i];
        trigo_policy *policy = policy_of(&fake.model, 0, false);
        trigo_evaluator e = trigo_policy_evaluator(policy);
        trigo_game *game = random_game((trigo_shape){5, 5, 1}, 7, 1);
        question q;
        kvf_error err = {0};
        prepare(&q, game, e);
        assert_int_equal(e.ask(e.state, (trigo_ask *[]){&q.ask}, 1, &err), KVF_ERR_NAN);
        assert_non_null(strstr(err.msg, rows[i].what));
        assert_non_null(strstr(err.msg, "ply 7"));
        dismiss(&q, e);
        trigo_game_destroy(game);
        trigo_policy_destroy(policy);
    }
}

/* ---- model sets ------------------------------------------------------------------------------ */

/* What opening a folder with these files says; each is a copy of a file of the models, or of
 * another one. */
static void folders_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *files; /* name=source, ... */
        trigo_set set;
        kvf_status status;
        const char *says;
    } rows[] = {
        {"", TRIGO_SET_FIRST, KVF_ERR_IO, "decoder.onnx"},
        {"", TRIGO_SET_BASE, KVF_ERR_IO, "base_model.onnx"},
        {"base_model.onnx=base_model.onnx,policy_head.onnx=policy_head.onnx", TRIGO_SET_FIRST,
         KVF_ERR_IO, "value_head.onnx"},
        {"base_model.onnx=base_model.onnx,policy_head.onnx=policy_head.onnx,"
         "value_head.onnx=value_head.onnx",
         TRIGO_SET_CACHED, KVF_ERR_IO, "base_model_eval_extend.onnx"},
        {"base_model.onnx=base_model.onnx,policy_head.onnx=policy_head.onnx,"
         "value_head.onnx=value_head.onnx",
         TRIGO_SET_FIRST, KVF_OK, ""},
        {"base_model.onnx=base_model.onnx,policy_head.onnx=value_head.onnx,"
         "value_head.onnx=value_head.onnx",
         TRIGO_SET_FIRST, KVF_ERR_MODEL, ""},
        {"base_model.onnx=base_model.onnx,policy_head.onnx=policy_head.onnx,"
         "value_head.onnx=policy_head.onnx",
         TRIGO_SET_FIRST, KVF_ERR_MODEL, ""},
        {"base_model.onnx=config.json,policy_head.onnx=policy_head.onnx,"
         "value_head.onnx=value_head.onnx",
         TRIGO_SET_FIRST, KVF_ERR_MODEL, "base_model.onnx"},
        {"decoder.onnx=base_model.onnx", TRIGO_SET_FIRST, KVF_ERR_MODEL, "decoder.onnx"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char folder[] = "/tmp/trigo-models-XXXXXX", command[1024];
        assert_non_null(mkdtemp(folder));
        char files[512], *rest = files;
        snprintf(files, sizeof files, "%s", rows[i].files);
        for (char *item; (item = strsep(&rest, ","));) {
            char *source = strchr(item, '=');
            if (!source) continue;
            *source++ = 0;
            snprintf(command, sizeof command, "%s/%s", folder, item);
            char from[512];
            snprintf(from, sizeof from, MODELS "/%s", source);
            assert_int_equal(symlink(from, command), 0);
        }
        kvf_model *model = (kvf_model *)1;
        kvf_error err = {0};
        trigo_set set = rows[i].set;
        kvf_model_options o = {.struct_size = sizeof o, .engine = "none"};
        kvf_status status = trigo_models_open(&model, folder, &set, &o, &err);
        if (status != rows[i].status || (status && !strstr(err.msg, rows[i].says)))
            fail_msg("row %zu: %s: %s", i, kvf_status_name(status), err.msg);
        if (status) print_message("%s\n", err.msg);
        kvf_model_close(model);
        snprintf(command, sizeof command, "rm -r %s", folder);
        assert_int_equal(system(command), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_that_do_not_fit),    cmocka_unit_test(reference_evaluations),
        cmocka_unit_test(nothing_is_evaluated_twice), cmocka_unit_test(evicted_positions),
        cmocka_unit_test(too_small_caches),           cmocka_unit_test(long_games),
        cmocka_unit_test(numbers_that_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
