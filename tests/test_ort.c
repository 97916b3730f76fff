/* test_ort.c - the ort engine over all decoders of the corpus and those made for other conventions:
 * recorded logits, any cutting into calls against no cache, repeats, memory, threads. */
#include "support_expected.h"
#include "support_walk.h"

#include "base.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_TOKENS = 96, MAX_ROWS = 64 };

/* fp32 of another implementation; the same engine in another order; few bits or half floats. */
static const double RECORDED = 1e-3, REORDERED = 2e-5, COARSE = 5e-2;

static kvf_model *open_model(const char *path, uint32_t threads)
{
    kvf_model_options o = {.struct_size = sizeof o, .engine = "ort", .threads = threads};
    kvf_model *m;
    kvf_error err;
    if (kvf_model_open(&m, path, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

static kvf_tree *open_tree(const kvf_model *m, uint32_t max_tokens, bool no_cache)
{
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = max_tokens, .no_cache = no_cache};
    kvf_tree *t;
    kvf_error err;
    if (kvf_tree_create(&t, m, &o, &err)) fail_msg("%s", err.msg);
    return t;
}

static void eval(kvf_tree *t, const kvf_entry *entries, size_t n, kvf_node *nodes, float *logits)
{
    kvf_outputs out = {{logits}};
    kvf_error err;
    if (kvf_eval(t, entries, n, nodes, &out, &err)) fail_msg("%s", err.msg);
}

/* Runs what over every recorded model. */
static void for_all(void (*what)(const expected *e, const kvf_model *m))
{
    static const char *const where[] = {"corpus/valid", "made"};
    for (int w = 0; w < 2; w++) {
        size_t n;
        char **folders = expected_folders(where[w], &n);
        assert_true(n >= 13);
        for (size_t i = 0; i < n; i++) {
            expected e;
            if (!expected_read(&e, folders[i])) fail_msg("cannot read %s", folders[i]);
            kvf_model *m = open_model(e.model, 1);
            what(&e, m);
            kvf_model_close(m);
            expected_free(&e);
            free(folders[i]);
        }
        free(folders);
    }
}

static bool is_coarse(const expected *e, const kvf_model *m)
{
    return !e->exact || !strcmp(kvf_model_get_info(m)->kv_type, "float16");
}

/* ---- recorded logits ------------------------------------------------------------------------- */

static void matches_recorded(const expected *e, const kvf_model *m)
{
    static const struct {
        uint32_t chunk;
        bool no_cache;
    } ways[] = {{1, false}, {7, false}, {0, false}, {1, true}, {0, true}};
    float *logits = calloc((size_t)e->n * e->vocab, sizeof *logits);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        kvf_tree *t = open_tree(m, MAX_TOKENS, ways[i].no_cache);
        expected_run(e, t, ways[i].chunk, logits);
        double most = largest_difference(logits, e->logits, (size_t)e->n * e->vocab);
        if (!(most <= (is_coarse(e, m) ? COARSE : RECORDED)))
            fail_msg("%s in calls of %u%s: off by %g", e->name, ways[i].chunk,
                     ways[i].no_cache ? " without cache" : "", most);
        kvf_tree_destroy(t);
    }
    free(logits);
}

static void recorded_logits(void **state)
{
    (void)state;
    for_all(matches_recorded);
}

/* ---- any cutting ----------------------------------------------------------------------------- */

static void any_cutting(const expected *e, const kvf_model *m)
{
    double worst =
        walk_and_compare(e->name, m, m, KVF_LOGITS, is_coarse(e, m) ? COARSE : REORDERED);
    print_message("%s: worst %.1e\n", e->name, worst);
}

static void any_cutting_gives_the_same(void **state)
{
    (void)state;
    for_all(any_cutting);
}

/* ---- repeats, threads ------------------------------------------------------------------------ */

static void repeats(const expected *e, const kvf_model *m)
{
    size_t n = (size_t)e->n * e->vocab;
    float *first = calloc(n, sizeof *first), *second = calloc(n, sizeof *second);
    for (uint32_t chunk = 0; chunk < 2; chunk++) {
        for (int i = 0; i < 2; i++) {
            kvf_tree *t = open_tree(m, MAX_TOKENS, false);
            expected_run(e, t, chunk, i ? second : first);
            kvf_tree_destroy(t);
        }
        if (memcmp(first, second, n * sizeof *first)) fail_msg("%s differs from itself", e->name);
    }
    free(first);
    free(second);
}

static void equal_calls_give_equal_bits(void **state)
{
    (void)state;
    for_all(repeats);
}

typedef struct job {
    const expected *e;
    kvf_tree *tree;
    float *logits;
} job;

static void *run_job(void *arg)
{
    job *j = arg;
    expected_run(j->e, j->tree, 3, j->logits);
    return NULL;
}

static void two_threads_on_two_trees(void **state)
{
    (void)state;
    expected e;
    assert_true(expected_read(&e, KVF_SOURCE_DIR "/tests/data/corpus/valid/optimum-llama-gqa"));
    kvf_model *m = open_model(e.model, 2);
    size_t n = (size_t)e.n * e.vocab;
    for (int round = 0; round < 4; round++) {
        job jobs[3];
        pthread_t threads[2];
        for (int i = 0; i < 3; i++)
            jobs[i] = (job){&e, open_tree(m, MAX_TOKENS, false), calloc(n, sizeof(float))};
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, run_job, &jobs[i]), 0);
        for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        run_job(&jobs[2]);
        for (int i = 0; i < 3; i++) {
            assert_memory_equal(jobs[i].logits, jobs[2].logits, n * sizeof(float));
            kvf_tree_destroy(jobs[i].tree);
            free(jobs[i].logits);
        }
    }
    kvf_model_close(m);
    expected_free(&e);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* One token after the other, again and again from the root: nothing moves, nothing grows, and no
 * byte is copied but the new rows. */
static void memory_stays(const char *folder, bool in_place)
{
    expected e;
    assert_true(expected_read(&e, folder));
    kvf_model *m = open_model(e.model, 1);
    kvf_tree *t = open_tree(m, 32, false);
    uint64_t row = kvf_model_get_info(m)->bytes_per_token, runtime = 0;
    float *logits = calloc(e.vocab, sizeof *logits);
    kvf_tree_stats s;
    for (uint32_t round = 0; round < 100; round++) {
        kvf_node node = KVF_ROOT;
        for (uint32_t i = 0; i < e.trunk; i++) {
            /* Another first token each time, so that no node is found again. */
            int32_t token = i ? e.tokens[i] : (int32_t)(round % e.vocab);
            kvf_entry entry = {token, -1, node, KVF_WANT(KVF_LOGITS)};
            eval(t, &entry, 1, &node, logits);
        }
        kvf_tree_get_stats(t, &s);
        if (round == 1) runtime = s.runtime_bytes;
    }
    assert_true(s.evaluated_tokens >= 2000);
    assert_int_equal(s.moved_buffers, 0);
    assert_int_equal(s.copied_bytes, s.evaluated_tokens * row);
    assert_int_equal(s.runtime_bytes, runtime);
    assert_true(runtime > 0);
    assert_int_equal(s.cache_bytes, 32 * row);
    assert_int_equal(s.graph_copied_bytes == 0, in_place);
    free(logits);
    kvf_tree_destroy(t);
    kvf_model_close(m);
    expected_free(&e);
}

static void memory_stays_over_thousands_of_tokens(void **state)
{
    (void)state;
    memory_stays(KVF_SOURCE_DIR "/tests/data/corpus/valid/torchscript-gpt", false);
    memory_stays(KVF_SOURCE_DIR "/tests/data/corpus/valid/ort-gpt2-fused-past", false);
    memory_stays(KVF_SOURCE_DIR "/tests/data/corpus/valid/genai-qwen2-fp32", true);
    memory_stays(KVF_SOURCE_DIR "/tests/data/made/scatter", true);
    memory_stays(KVF_SOURCE_DIR "/tests/data/made/length-first", false);
}

/* What a tree gives for tokens after nodes, against the whole paths without cache. */
typedef struct pair {
    kvf_tree *tree, *twin;
    uint32_t vocab;
    uint64_t row; /* bytes */
} pair;

static pair open_pair(const kvf_model *m, uint32_t max_tokens)
{
    const kvf_model_info *info = kvf_model_get_info(m);
    return (pair){open_tree(m, max_tokens, false), open_tree(m, MAX_TOKENS, true), info->vocab,
                  info->bytes_per_token};
}

static void close_pair(pair *p)
{
    kvf_tree_destroy(p->tree);
    kvf_tree_destroy(p->twin);
}

static void check_node(const pair *p, kvf_node node, const float *logits)
{
    kvf_entry path[MAX_TOKENS];
    float *want = calloc(p->vocab, sizeof *want);
    uint32_t depth;
    assert_int_equal(kvf_node_depth(p->tree, node, &depth, NULL), KVF_OK);
    for (uint32_t i = depth; i-- > 0; kvf_node_parent(p->tree, node, &node, NULL)) {
        path[i] =
            (kvf_entry){.after = (int32_t)i - 1, .want = i + 1 == depth ? KVF_WANT(KVF_LOGITS) : 0};
        assert_int_equal(kvf_node_token(p->tree, node, &path[i].token, NULL), KVF_OK);
    }
    eval(p->twin, path, depth, NULL, want);
    double off = largest_difference(logits, want, p->vocab);
    if (!(off <= REORDERED)) fail_msg("at depth %u off by %g", depth, off);
    free(want);
}

/* Children of some nodes, in one call: *node becomes each child. Returns the bytes copied. */
static uint64_t grow(const pair *p, kvf_node *node, uint32_t n, int32_t token)
{
    kvf_entry e[MAX_ROWS];
    kvf_tree_stats before, after;
    float *logits = calloc((size_t)n * p->vocab, sizeof *logits);
    for (uint32_t i = 0; i < n; i++)
        e[i] = (kvf_entry){token + (int32_t)i, -1, node[i], KVF_WANT(KVF_LOGITS)};
    kvf_tree_get_stats(p->tree, &before);
    eval(p->tree, e, n, node, logits);
    kvf_tree_get_stats(p->tree, &after);
    for (uint32_t i = 0; i < n; i++) check_node(p, node[i], logits + (size_t)i * p->vocab);
    free(logits);
    return after.copied_bytes - before.copied_bytes;
}

/* Branches that run in one batch go on as one batch, and each alone, without a copy of their past;
 * children of one parent do not need it copied twice. A fused layout has keys and values of all
 * branches apart, so that one alone needs a copy. */
static void branches_go_on(const char *model, bool fused)
{
    enum { BRANCHES = 4, TRUNK = 8 };
    kvf_model *m = open_model(model, 1);
    pair p = open_pair(m, MAX_TOKENS);
    kvf_node node[BRANCHES] = {0};
    for (int i = 0; i < TRUNK; i++) assert_int_equal(grow(&p, node, 1, i), p.row);
    for (int i = 1; i < BRANCHES; i++) node[i] = node[0];
    grow(&p, node, BRANCHES, 10);
    for (int step = 0; step < 3; step++)
        assert_int_equal(grow(&p, node, BRANCHES, step), BRANCHES * p.row);
    kvf_node one = node[2], sibling = node[2], again;
    uint64_t copied = grow(&p, &one, 1, 9) / p.row;
    assert_int_equal(copied, fused ? TRUNK + 4 + 1 : 1);
    assert_int_equal(grow(&p, &sibling, 1, 7), p.row);
    again = node[2];
    assert_int_equal(grow(&p, &again, 1, 7), 0); /* it is stored: only its output is wanted */
    assert_true(again == sibling);
    close_pair(&p);
    kvf_model_close(m);
}

static void branches_go_on_without_copies(void **state)
{
    (void)state;
    branches_go_on(KVF_SOURCE_DIR "/tests/data/made/plain/model.onnx", false);
    branches_go_on(KVF_SOURCE_DIR "/tests/data/made/length-first/model.onnx", false);
    branches_go_on(KVF_SOURCE_DIR "/tests/data/corpus/valid/ort-gpt2-fused-past/model.onnx", true);
}

/* In a tree with room for two paths every new one takes the slots of an old one. */
static void slots_are_used_again(void **state)
{
    (void)state;
    static const char *const models[] = {KVF_SOURCE_DIR "/tests/data/made/plain/model.onnx",
                                         KVF_SOURCE_DIR
                                         "/tests/data/corpus/valid/genai-llama-fp32/model.onnx"};
    for (int i = 0; i < 2; i++) {
        kvf_model *m = open_model(models[i], 1);
        pair p = open_pair(m, 16);
        kvf_tree_stats s;
        for (int round = 0; round < 12; round++) {
            kvf_node node[2] = {KVF_ROOT, KVF_ROOT};
            for (int step = 0; step < 8; step++) grow(&p, node, 2, (round * 5 + step) % 30);
        }
        kvf_tree_get_stats(p.tree, &s);
        assert_true(s.evicted > 100);
        close_pair(&p);
        kvf_model_close(m);
    }
}

/* ---- further outputs, NaN -------------------------------------------------------------------- */

static void values_come_beside_logits(void **state)
{
    (void)state;
    expected e;
    float recorded[MAX_ROWS], values[MAX_ROWS];
    assert_true(expected_read(&e, KVF_SOURCE_DIR "/tests/data/made/values"));
    FILE *f = fopen(KVF_SOURCE_DIR "/tests/data/made/values/values.f32", "rb");
    assert_non_null(f);
    assert_int_equal(fread(recorded, sizeof(float), e.n, f), e.n);
    fclose(f);
    kvf_model *m = open_model(e.model, 1);
    assert_int_equal(kvf_model_get_info(m)->width[KVF_VALUE], 1);
    for (int no_cache = 0; no_cache < 2; no_cache++) {
        kvf_tree *t = open_tree(m, MAX_TOKENS, no_cache);
        kvf_entry entries[MAX_ROWS];
        for (uint32_t i = 0; i < e.n; i++)
            entries[i] = (kvf_entry){.token = e.tokens[i],
                                     .after = e.parent[i],
                                     .parent = KVF_ROOT,
                                     .want = KVF_WANT(KVF_VALUE)};
        kvf_outputs out = {.head[KVF_VALUE] = values};
        kvf_error err;
        if (kvf_eval(t, entries, e.n, NULL, &out, &err)) fail_msg("%s", err.msg);
        assert_true(largest_difference(values, recorded, e.n) < RECORDED);
        kvf_tree_destroy(t);
    }
    kvf_model_close(m);
    expected_free(&e);
}

static void nan_is_handed_on(void **state)
{
    (void)state;
    kvf_model *m = open_model(KVF_SOURCE_DIR "/tests/data/made/nan/model.onnx", 1);
    kvf_tree *t = open_tree(m, MAX_TOKENS, false);
    float logits[40];
    eval(t, &(kvf_entry){3, -1, KVF_ROOT, KVF_WANT(KVF_LOGITS)}, 1, NULL, logits);
    for (int i = 0; i < 40; i++) assert_int_equal(isnan(logits[i]) != 0, i == 7);
    kvf_tree_destroy(t);
    kvf_model_close(m);
}

/* ---- memory that runs out -------------------------------------------------------------------- */

static kvf_status open_and_run(const char *path)
{
    kvf_model_options o = {.struct_size = sizeof o, .engine = "ort", .threads = 1};
    kvf_tree_options to = {.struct_size = sizeof to, .max_tokens = 8};
    kvf_model *m = NULL;
    kvf_tree *t = NULL;
    kvf_error err = {0};
    kvf_status status = kvf_model_open(&m, path, &o, &err);
    if (!status) status = kvf_tree_create(&t, m, &to, &err);
    kvf_entry e = {3, -1, KVF_ROOT, 0};
    if (!status) status = kvf_eval(t, &e, 1, NULL, NULL, &err);
    kvf_tree_destroy(t);
    kvf_model_close(m);
    if (status) assert_true(err.status == status && err.msg[0]);
    return status;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char path[] = KVF_SOURCE_DIR "/tests/data/made/plain/model.onnx";
    kvf_fail_allocations(0);
    assert_int_equal(open_and_run(path), KVF_OK);
    uint64_t n = kvf_fail_allocations(0);
    for (uint64_t i = 1; i <= n; i++) {
        kvf_fail_allocations(i);
        kvf_status status = open_and_run(path);
        kvf_fail_allocations(0);
        if (status != KVF_ERR_NOMEM)
            fail_msg("allocation %llu of %llu fails, and the status is %s", (unsigned long long)i,
                     (unsigned long long)n, kvf_status_name(status));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_logits),
        cmocka_unit_test(any_cutting_gives_the_same),
        cmocka_unit_test(equal_calls_give_equal_bits),
        cmocka_unit_test(two_threads_on_two_trees),
        cmocka_unit_test(memory_stays_over_thousands_of_tokens),
        cmocka_unit_test(branches_go_on_without_copies),
        cmocka_unit_test(slots_are_used_again),
        cmocka_unit_test(values_come_beside_logits),
        cmocka_unit_test(nan_is_handed_on),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return ort_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
