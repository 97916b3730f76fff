/* test_ort_trigo.c - the policy's graphs in the ort engine: the whole model, the one that extends a
 * cache by a tree of rows, and heads in files of their own. */
#include "support_expected.h"
#include "support_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define TRIGO KVF_SOURCE_DIR "/models/trigo/"

enum { VOCAB = 128, HIDDEN = 64, ROWS = 48 };

/* Two graphs of one network, computed in different orders. */
static const double SAME = 1e-5;

static kvf_model *open_model(const char *file, bool heads)
{
    kvf_model_options o = {.struct_size = sizeof o,
                           .engine = "ort",
                           .threads = 1,
                           .policy_head = heads ? TRIGO "policy_head.onnx" : NULL,
                           .value_head = heads ? TRIGO "value_head.onnx" : NULL};
    kvf_model *m;
    kvf_error err;
    if (kvf_model_open(&m, file, &o, &err)) fail_msg("%s", err.msg);
    return m;
}

static void extending_matches_the_whole_model(void **state)
{
    (void)state;
    kvf_model *whole = open_model(TRIGO "base_model.onnx", true);
    kvf_model *extend = open_model(TRIGO "base_model_eval_extend.onnx", true);
    assert_false(kvf_model_get_info(whole)->caches);
    assert_true(kvf_model_get_info(extend)->caches);
    static const kvf_head heads[] = {KVF_LOGITS, KVF_VALUE, KVF_HIDDEN};
    for (int i = 0; i < 3; i++) {
        double worst =
            walk_and_compare("eval_extend", extend, whole, heads[i], i ? SAME : 2 * SAME);
        print_message("head %d: worst %.1e\n", (int)heads[i], worst);
    }
    walk_and_compare("eval_extend without cache", whole, extend, KVF_HIDDEN, SAME);
    kvf_model_close(whole);
    kvf_model_close(extend);
}

static void both_exports_of_the_whole_model_agree(void **state)
{
    (void)state;
    kvf_model *script = open_model(TRIGO "base_model.onnx", false);
    kvf_model *dynamo = open_model(TRIGO "base_model.dynamo.onnx", false);
    walk_and_compare("dynamo", dynamo, script, KVF_HIDDEN, SAME);
    kvf_model_close(script);
    kvf_model_close(dynamo);
}

/* A prefix, then a tree of rows over it: one run of the graph, and one pass of the engine. */
static void a_tree_of_rows_is_one_run(void **state)
{
    (void)state;
    kvf_model *m = open_model(TRIGO "base_model_eval_extend.onnx", true);
    const kvf_model_info *info = kvf_model_get_info(m);
    assert_int_equal(info->width[KVF_LOGITS], VOCAB);
    assert_int_equal(info->width[KVF_VALUE], 1);
    assert_int_equal(info->width[KVF_HIDDEN], HIDDEN);
    assert_int_equal(info->width[KVF_POLICY], 0);
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = 2 * ROWS};
    kvf_tree *t;
    kvf_error err;
    assert_int_equal(kvf_tree_create(&t, m, &o, &err), KVF_OK);
    kvf_entry e[ROWS];
    kvf_node nodes[ROWS];
    for (int i = 0; i < ROWS; i++) e[i] = (kvf_entry){i, i - 1, KVF_ROOT, 0};
    assert_int_equal(kvf_eval(t, e, ROWS, nodes, NULL, &err), KVF_OK);
    kvf_tree_stats before, after;
    kvf_tree_get_stats(t, &before);
    for (int i = 0; i < ROWS; i++) /* a heap: each has two children */
        e[i] = (kvf_entry){i, i ? (i - 1) / 2 : -1, nodes[ROWS - 1], KVF_WANT(KVF_VALUE)};
    float values[ROWS];
    kvf_outputs out = {.head[KVF_VALUE] = values};
    assert_int_equal(kvf_eval(t, e, ROWS, NULL, &out, &err), KVF_OK);
    kvf_tree_get_stats(t, &after);
    assert_int_equal(after.passes - before.passes, 1);
    assert_int_equal(after.graph_copied_bytes - before.graph_copied_bytes,
                     ROWS * info->bytes_per_token); /* the past once, not once per branch */
    kvf_tree_destroy(t);
    kvf_model_close(m);
}

static void halves_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *file, *words;
    } rows[] = {{TRIGO "base_model_prefix.onnx", "first half of a tree model"},
                {TRIGO "base_model_eval_cached.onnx", "gives no present"}};
    for (int i = 0; i < 2; i++) {
        kvf_model_options o = {.struct_size = sizeof o, .engine = "ort"};
        kvf_model *m;
        kvf_error err;
        assert_int_equal(kvf_model_open(&m, rows[i].file, &o, &err), KVF_ERR_MODEL);
        if (!strstr(err.msg, rows[i].words)) fail_msg("%s", err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extending_matches_the_whole_model),
        cmocka_unit_test(both_exports_of_the_whole_model_agree),
        cmocka_unit_test(a_tree_of_rows_is_one_run),
        cmocka_unit_test(halves_are_refused),
    };
    return ort_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
