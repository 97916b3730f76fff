/* test_lift.c - graphs of real exporters become plans, and the plans compute what was recorded.
 *
 * The recorded logits come from ONNX Runtime and PyTorch; the plan is run in double. Branches are
 * rows of one tree, as the engine has them. */
#include "export/export.h"
#include "lift/check.h"
#include "lift/plan_run.h"
#include "model.h"
#include "support_expected.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define TRIGO KVF_SOURCE_DIR "/models/trigo/"

static kvf_model *open_model(const char *path, const char *policy, const char *value)
{
    kvf_model_options o = {.struct_size = sizeof o,
                           .engine = "none",
                           .policy_head = policy,
                           .value_head = value};
    kvf_model *m;
    kvf_error err;
    if (kvf_model_open(&m, path, &o, &err)) fail_msg("%s: %s", path, err.msg);
    if (!m->plan) fail_msg("%s was not lifted: %s", path, m->why);
    assert_int_equal(m->plan->accounted, m->onnx->graph->n_ops);
    return m;
}

/* Run a tree of tokens through a plan; parent -1 is the start. */
static void run_tree(const kvf_plan *p, uint32_t n, const int32_t *token, const int32_t *parent,
                     const kvf_plan_result *out)
{
    uint32_t *position = calloc(n, sizeof *position);
    uint8_t *sees = calloc(n, n);
    kvf_error err;
    assert_true(position && sees);
    for (uint32_t r = 0; r < n; r++) {
        position[r] = parent[r] < 0 ? 0 : position[parent[r]] + 1;
        for (int32_t k = (int32_t)r; k >= 0; k = parent[k]) sees[(size_t)r * n + (size_t)k] = 1;
    }
    kvf_plan_rows rows = {.n = n, .token = token, .position = position, .sees = sees};
    if (kvf_plan_run(p, &rows, out, &err)) fail_msg("%s", err.msg);
    free(position);
    free(sees);
}

static void gives_recorded_logits(const char *folder)
{
    expected e;
    assert_true(expected_read(&e, folder));
    kvf_model *m = open_model(e.model, NULL, NULL);
    size_t n = (size_t)e.n * e.vocab;
    double *got = calloc(n, sizeof *got), most = 0;
    kvf_plan_result out = {.head = {[KVF_LOGITS] = got}};
    assert_true(expected_take_exact(&e, folder));
    run_tree(m->plan, e.n, e.tokens, e.parent, &out);
    for (size_t i = 0; i < n; i++) most = fmax(most, fabs(got[i] - (double)e.logits[i]));
    print_message("%s: %s, %u operators, logits differ by %.1e\n", e.name, m->plan->family,
                  m->plan->accounted, most);
    if (!(most <= 5e-5)) fail_msg("%s: logits differ by %g", e.name, most);
    free(got);
    kvf_model_close(m);
    expected_free(&e);
}

static void recorded_models(void **state)
{
    (void)state;
    size_t n;
    char **folders = expected_folders("corpus/valid", &n);
    assert_int_equal(n, 14);
    for (size_t i = 0; i < n; i++) {
        gives_recorded_logits(folders[i]);
        free(folders[i]);
    }
    free(folders);
}

/* What no plan says, and what is said of it: the layer, the operator, the reason. */
static void refusals(void **state)
{
    (void)state;
    static const struct {
        const char *name, *where, *why;
    } rows[] = {
        {"alibi", "layer 0, Add '", "adds numbers to scores that are no mask"},
        {"softcap", "layer 0, Tanh '", "scores are soft-capped"},
        {"window", "layer 0, Softmax '", "a window"},
        {"window-wide", "layer 0, Softmax '", "with 67 tokens its mask is not the causal mask"},
        {"merged", "layer 0, If '", "is not known to the native plan"},
        {"last-row-only", "", "logits are not one line per token"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/tests/data/made/%s/model.onnx", KVF_SOURCE_DIR,
                 rows[i].name);
        kvf_model_options o = {.struct_size = sizeof o, .engine = "none"};
        kvf_model *m;
        kvf_error err;
        if (kvf_model_open(&m, path, &o, &err)) fail_msg("%s", err.msg);
        if (m->plan || !strstr(m->why, rows[i].where) || !strstr(m->why, rows[i].why))
            fail_msg("%s: %s", rows[i].name, m->plan ? "was lifted" : m->why);
        kvf_model_close(m);
    }
}

/* Four files of one network, by two exporters and with three contracts, are one plan; so the same
 * position gives the same hidden state. */
static void tree_contracts(void **state)
{
    (void)state;
    static const char *const files[] = {TRIGO "base_model.onnx", TRIGO "base_model.dynamo.onnx",
                                        TRIGO "base_model_eval_cached.onnx",
                                        TRIGO "base_model_eval_extend.onnx"};
    static const int32_t token[] = {1, 97, 98, 32, 99, 7}, parent[] = {-1, 0, 1, 1, 3, 1};
    enum { N = 6, HIDDEN = 64 };
    double first[N * HIDDEN], hidden[N * HIDDEN];
    for (int i = 0; i < 4; i++) {
        kvf_model *m = open_model(files[i], NULL, NULL);
        assert_int_equal(m->plan->layers, 6);
        assert_int_equal(m->plan->hidden, HIDDEN);
        assert_int_equal(m->plan->context, 2048);
        assert_true(m->plan->has_hidden);
        kvf_plan_result out = {.head = {[KVF_HIDDEN] = hidden}};
        run_tree(m->plan, N, token, parent, &out);
        if (!i) memcpy(first, hidden, sizeof first);
        for (int k = 0; k < N * HIDDEN; k++) assert_true(fabs(hidden[k] - first[k]) < 1e-12);
        kvf_model_close(m);
    }
}

static void heads_in_files(void **state)
{
    (void)state;
    kvf_model *m =
        open_model(TRIGO "base_model.onnx", TRIGO "policy_head.onnx", TRIGO "value_head.onnx");
    const kvf_stack *logits = &m->plan->head[KVF_LOGITS], *value = &m->plan->head[KVF_VALUE];
    assert_int_equal(logits->n_stages, 1);
    assert_int_equal(logits->width, 128);
    static const kvf_stage_kind kinds[] = {KVF_STAGE_LINEAR, KVF_STAGE_NORM, KVF_STAGE_ACT,
                                           KVF_STAGE_LINEAR, KVF_STAGE_NORM, KVF_STAGE_ACT,
                                           KVF_STAGE_LINEAR, KVF_STAGE_ACT};
    assert_int_equal(value->n_stages, 8);
    assert_int_equal(value->width, 1);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(value->stages[i].kind, kinds[i]);
    assert_int_equal(value->stages[2].act, KVF_ACT_RELU);
    assert_int_equal(value->stages[7].act, KVF_ACT_TANH);
    kvf_model_close(m);
}

/* Beyond the sizes that a lift itself compares: longer pasts, more rows, other trees. */
static void other_sizes(void **state)
{
    (void)state;
    static const char *const files[] = {KVF_SOURCE_DIR "/models/adder/adder.onnx",
                                        TRIGO "base_model.onnx",
                                        TRIGO "base_model_eval_extend.onnx",
                                        KVF_SOURCE_DIR
                                        "/tests/data/corpus/valid/optimum-llama-gqa/model.onnx",
                                        KVF_SOURCE_DIR
                                        "/tests/data/corpus/valid/genai-llama-int4/model.onnx"};
    static const uint32_t sizes[][2] = {{1, 1}, {7, 2}, {2, 30}, {5, 13}};
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        kvf_model *m = open_model(files[f], NULL, NULL);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            double worst = 1;
            kvf_error err;
            if (kvf_plan_compare(m, m->plan, NULL, sizes[i][0], sizes[i][1], 100 + i, &worst, &err))
                fail_msg("%s: %s", files[f], err.msg);
            if (!(worst < 1e-5))
                fail_msg("%s: %u rows behind %u differ by %g", files[f], sizes[i][0], sizes[i][1],
                         worst);
        }
        kvf_model_close(m);
    }
}

/* A lift once gave up beyond ten layers of GPT-2: what bounds a recursion into chains counted the
 * layers below them too. */
static void many_layers(void **state)
{
    (void)state;
    static const char *const specs[] = {
        "gpt2:layers=48,heads=2,head_dim=8,vocab=50,context=64,tied=1,seed=1",
        "llama:layers=80,heads=2,kv_heads=1,head_dim=8,vocab=50,context=64,tied=0,seed=1"};
    for (size_t i = 0; i < sizeof specs / sizeof specs[0]; i++) {
        char path[] = "/tmp/test_lift.XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        close(fd);
        kvf_error err;
        kvf_export_options o = {.format = {.opset = 17, .type = KVF_F32}};
        if (kvf_export_synthetic(specs[i], path, &o, &err)) fail_msg("%s", err.msg);
        kvf_model_close(open_model(path, NULL, NULL));
        unlink(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(recorded_models),
                                       cmocka_unit_test(refusals),
                                       cmocka_unit_test(many_layers),
                                       cmocka_unit_test(tree_contracts),
                                       cmocka_unit_test(heads_in_files),
                                       cmocka_unit_test(other_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
