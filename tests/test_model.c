/* test_model.c - opening models: options, files, heads, engines by name, and what is then known.
 *
 * What engines compute is not asked here; engine "none" reads all there is to read without one. */
#include "engine.h"
#include "support_onnx.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#define ADDER  KVF_SOURCE_DIR "/models/adder/adder.onnx"
#define TRIGO  KVF_SOURCE_DIR "/models/trigo/"
#define GOOD   CORPUS "/broken/control-good-base/model.onnx"
#define FILE_A KVF_BUILD_DIR "/test_model_a.onnx"

static kvf_model_options options(const char *engine)
{
    return (kvf_model_options){.struct_size = sizeof(kvf_model_options), .engine = engine};
}

static void refused(const char *path, const kvf_model_options *opt, kvf_status want,
                    const char *words)
{
    kvf_model *m = (kvf_model *)1;
    kvf_error err = {0};
    kvf_status status = kvf_model_open(&m, path, opt, &err);
    if (status != want || m || !strstr(err.msg, words))
        fail_msg("%s \"%s\", but should be %s \"%s\"", kvf_status_name(status), err.msg,
                 kvf_status_name(want), words);
    assert_int_equal(err.status, want);
    assert_int_equal(kvf_model_open(&m, path, opt, NULL), want);
}

static kvf_model *opened(const char *path, const kvf_model_options *opt)
{
    kvf_model *m;
    kvf_error err = {0};
    if (kvf_model_open(&m, path, opt, &err)) fail_msg("%s", err.msg);
    return m;
}

/* ---- what is known of a model ---------------------------------------------------------------- */

static void adder_is_described(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    kvf_model *m = opened(ADDER, &o);
    const kvf_model_info *i = kvf_model_get_info(m);
    assert_int_equal(i->layers, 4);
    assert_int_equal(i->kv_heads, 4);
    assert_int_equal(i->head_dim, 32);
    assert_int_equal(i->hidden, 128);
    assert_int_equal(i->vocab, 128);
    assert_int_equal(i->context, 256);
    assert_int_equal(i->width[KVF_LOGITS], 128);
    assert_int_equal(i->width[KVF_HIDDEN], 0);
    assert_int_equal(i->parameters, 842496 + 128 * 128); /* the tied head is there twice */
    assert_int_equal(i->file_bytes, 3481248);
    assert_int_equal(i->bytes_per_token, 2 * 4 * 4 * 32 * 4);
    assert_string_equal(i->kv_type, "float32");
    assert_string_equal(i->logits_type, "float32");
    assert_string_equal(i->layout, "[batch, kv_heads, length, head_dim]");
    assert_string_equal(i->precision, "f32");
    assert_string_equal(i->engine, "none");
    assert_string_equal(i->engine_version, kvf_version());
    assert_string_equal(i->device, "cpu");
    assert_string_equal(i->exporter, "pytorch 2.15.0");
    assert_string_equal(i->tokenizer, "ascii");
    assert_int_equal(i->eos, 10);
    assert_true(i->caches);
    assert_true(i->why[0]);
    assert_int_equal(i->n_files, 1);
    assert_string_equal(kvf_model_file(m, 0), ADDER);
    assert_null(kvf_model_file(m, 1));
    assert_string_equal(kvf_model_metadata(m, "kvfork.eos"), "10");
    assert_null(kvf_model_metadata(m, "nothing"));
    assert_int_equal(i->n_opsets, 1);
    assert_string_equal(kvf_model_opset(m, 0)->name, "ai.onnx");
    assert_int_equal(kvf_model_opset(m, 0)->count, 17);
    assert_null(kvf_model_opset(m, 1));
    uint64_t nodes = 0;
    for (uint32_t k = 0; k < i->n_operators; k++) nodes += kvf_model_operator(m, k)->count;
    assert_int_equal(nodes, 795);
    assert_null(kvf_model_operator(m, i->n_operators));
    kvf_model_close(m);
    kvf_model_close(NULL);
}

static void ports_are_shown(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    kvf_model *m = opened(ADDER, &o);
    const kvf_model_info *i = kvf_model_get_info(m);
    assert_int_equal(i->n_inputs, 10);
    assert_int_equal(i->n_outputs, 9);
    const kvf_port *ids = kvf_model_input(m, 0), *past = kvf_model_input(m, 5);
    const kvf_port *present = kvf_model_output(m, 8);
    assert_string_equal(ids->name, "input_ids");
    assert_string_equal(ids->role, "input_ids");
    assert_string_equal(ids->type, "int64");
    assert_int_equal(ids->rank, 2);
    assert_int_equal(ids->dims[1], -1);
    assert_string_equal(ids->dim_names[1], "sequence");
    assert_string_equal(past->name, "past_value_1");
    assert_string_equal(past->role, "past_value");
    assert_int_equal(past->layer, 1);
    assert_int_equal(past->dims[3], 32);
    assert_string_equal(past->dim_names[3], "");
    assert_string_equal(present->role, "present_value");
    assert_int_equal(present->layer, 3);
    assert_string_equal(kvf_model_output(m, 0)->role, "logits");
    assert_null(kvf_model_input(m, 10));
    assert_null(kvf_model_output(m, 9));
    kvf_model_close(m);
    /* A port without shape, and an output without a role. */
    pb g = graph_of("input_ids i64 b,n", "logits f32 b,n,9; attentions f32");
    pb model = onnx_model(g);
    pb_write(&model, FILE_A);
    pb_free(&model);
    m = opened(FILE_A, &o);
    assert_string_equal(kvf_model_output(m, 1)->role, "");
    assert_int_equal(kvf_model_output(m, 1)->rank, 0);
    assert_non_null(kvf_model_output(m, 1)->dims);
    assert_string_equal(kvf_model_get_info(m)->exporter, "kvfork-tests");
    assert_string_equal(kvf_model_get_info(m)->tokenizer, "");
    assert_int_equal(kvf_model_get_info(m)->eos, -1);
    kvf_model_close(m);
}

static void external_files_are_listed(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    kvf_model *m = opened(CORPUS "/valid/genai-llama-int4/model.onnx", &o);
    const kvf_model_info *i = kvf_model_get_info(m);
    assert_int_equal(i->n_files, 2);
    assert_string_equal(kvf_model_file(m, 1), CORPUS "/valid/genai-llama-int4/model.onnx.data");
    assert_int_equal(i->file_bytes, 18235 + 185088);
    assert_int_equal(i->n_opsets, 2);
    assert_int_equal(i->heads, 2);
    kvf_model_close(m);
}

static void metadata_that_is_wrong(void **state)
{
    (void)state;
    static const char *const wrong[] = {"9", "-1", "x", "", "1x", "99999999999999999999"};
    kvf_model_options o = options("none");
    for (int i = 0; i < 6; i++) {
        pb model = onnx_model(graph_of("input_ids i64 b,n", "logits f32 b,n,9"));
        model_property(&model, "kvfork.eos", wrong[i]);
        pb_write(&model, FILE_A);
        pb_free(&model);
        refused(FILE_A, &o, KVF_ERR_MODEL, "kvfork.eos");
    }
}

/* ---- options --------------------------------------------------------------------------------- */

static void options_are_checked(void **state)
{
    (void)state;
    static const struct {
        kvf_model_options o;
        const char *words;
    } rows[] = {
        {{.engine = "tpu"}, "engine is \"tpu\", but should be one of auto, native"},
        {{.engine = ""}, "engine is \"\""},
        {{.device = "gpu"}, "device is \"gpu\", but should be cpu or cuda:N"},
        {{.device = "cuda"}, "device is \"cuda\""},
        {{.device = "cuda:"}, "device is \"cuda:\""},
        {{.device = "cuda:1x"}, "device is \"cuda:1x\""},
        {{.device = "cuda:-1"}, "device is \"cuda:-1\""},
        {{.device = "cuda:64"}, "N from 0 to 63"},
        {{.precision = "fp8"}, "precision is \"fp8\", but should be one of f32, bf16"},
        {{.kv = "q4"}, "kv is \"q4\""},
        {{.cpu = "sse"}, "cpu is \"sse\", but should be one of c, avx2, avx512, avx512v, avx512x"},
        {{.threads = 100000}, "threads is 100000"},
        {{.names = "logits"}, "is no ROLE=NAME"},
        {{.names = "input_ids=x,nothing=x"}, "there is no role \"nothing\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_model_options o = rows[i].o;
        o.struct_size = sizeof o;
        if (!o.engine) o.engine = "none";
        refused(GOOD, &o, KVF_ERR_ARG, rows[i].words);
        /* and without a file, in the same words */
        kvf_error err;
        assert_int_equal(kvf_model_options_check(&o, &err), KVF_ERR_ARG);
        assert_non_null(strstr(err.msg, rows[i].words));
    }
    kvf_model_options o = options("none");
    refused(NULL, &o, KVF_ERR_ARG, "no path");
    refused(CORPUS, &o, KVF_ERR_IO, "is a folder");
    refused(CORPUS "/nothing.onnx", &o, KVF_ERR_IO, "nothing.onnx");
    assert_int_equal(kvf_model_options_check(NULL, NULL), KVF_OK);
    o.names = "input_ids=elsewhere"; /* the file's to say */
    assert_int_equal(kvf_model_options_check(&o, NULL), KVF_OK);
    refused(GOOD, &o, KVF_ERR_ARG, "the graph has no such input");
    o.names = NULL;
    if (!kvf_engine_find("cuda")) {
        o.engine = "cuda";
        assert_int_equal(kvf_model_options_check(&o, NULL), KVF_OK);
        refused(GOOD, &o, KVF_ERR_ENGINE, "engine cuda is not built into this library; it has:");
    }
    if (kvf_engine_find("native")) {
        o = options("native");
        o.device = "cuda:0";
        refused(GOOD, &o, KVF_ERR_ENGINE, "runs on the cpu, not on cuda:0");
    }
}

/* A program built with another version of the header has fewer fields, or more. */
static void options_of_other_versions(void **state)
{
    (void)state;
    struct {
        kvf_model_options known;
        uint64_t later;
    } o = {.known = options("none")};
    o.known.struct_size = offsetof(kvf_model_options, names);
    o.known.names = (const char *)(uintptr_t)1; /* beyond what this caller knows: not read */
    kvf_model_close(opened(GOOD, &o.known));
    o.known.names = NULL;
    o.known.struct_size = sizeof o;
    kvf_model_close(opened(GOOD, &o.known));
    o.later = UINT64_C(1) << 40;
    refused(GOOD, &o.known, KVF_ERR_ARG, "this version does not know");
    o.known.struct_size = 0;
    refused(GOOD, &o.known, KVF_ERR_ARG, "struct_size is 0");
}

static void strings_are_copied(void **state)
{
    (void)state;
    char engine[] = "none", device[] = "cpu", path[] = GOOD;
    kvf_model_options o = options(engine);
    o.device = device;
    kvf_model *m = opened(path, &o);
    memset(engine, 'x', sizeof engine - 1);
    memset(device, 'x', sizeof device - 1);
    memset(path, 'x', sizeof path - 1);
    assert_string_equal(kvf_model_get_info(m)->device, "cpu");
    assert_string_equal(kvf_model_file(m, 0), GOOD);
    kvf_model_close(m);
}

static void threads_follow_the_affinity(void **state)
{
    (void)state;
    cpu_set_t all, one;
    kvf_model_options o = options("none");
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; cpu < CPU_SETSIZE && !CPU_COUNT(&one); cpu++)
        if (CPU_ISSET(cpu, &all)) CPU_SET(cpu, &one);
    kvf_model *m = opened(GOOD, &o);
    assert_int_equal(kvf_model_get_info(m)->threads, CPU_COUNT(&all));
    kvf_model_close(m);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    m = opened(GOOD, &o);
    assert_int_equal(kvf_model_get_info(m)->threads, 1);
    kvf_model_close(m);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
    o.threads = 3;
    m = opened(GOOD, &o);
    assert_int_equal(kvf_model_get_info(m)->threads, 3);
    kvf_model_close(m);
}

/* ---- heads in files of their own ------------------------------------------------------------- */

static void heads(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    o.policy_head = TRIGO "policy_head.onnx";
    o.value_head = TRIGO "value_head.onnx";
    kvf_model *m = opened(TRIGO "base_model.onnx", &o);
    const kvf_model_info *i = kvf_model_get_info(m);
    assert_int_equal(i->width[KVF_LOGITS], 128); /* its output is called logits */
    assert_int_equal(i->width[KVF_POLICY], 0);
    assert_int_equal(i->width[KVF_VALUE], 1);
    assert_int_equal(i->width[KVF_HIDDEN], 64);
    assert_int_equal(i->n_files, 3);
    assert_string_equal(kvf_model_file(m, 1), TRIGO "policy_head.onnx");
    assert_string_equal(kvf_model_file(m, 2), TRIGO "value_head.onnx");
    assert_int_equal(i->file_bytes, 1974521 + 33022 + 270864);
    kvf_model_close(m);
    refused(ADDER, &o, KVF_ERR_MODEL, "needs hidden states, but the model has no such output");
    o.value_head = TRIGO "nothing.onnx";
    refused(TRIGO "base_model.onnx", &o, KVF_ERR_IO, "nothing.onnx");
    o.value_head = NULL;
    o.policy_head = TRIGO "base_model.onnx";
    refused(TRIGO "base_model.onnx", &o, KVF_ERR_MODEL, "a head has one input and one output");
}

static void write_trunk(const char *outputs)
{
    pb model = onnx_model(graph_of("input_ids i64 b,n", outputs));
    pb_write(&model, FILE_A);
    pb_free(&model);
}

static void heads_that_do_not_fit(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    o.policy_head = TRIGO "policy_head.onnx";
    write_trunk("hidden_states f32 b,n,5; logits f32 b,n,9");
    refused(FILE_A, &o, KVF_ERR_MODEL, "takes hidden states of width 64, but the model gives 5");
    write_trunk("hidden_states f32 b,n,64; policy f32 b,n,9; logits f32 b,n,9");
    refused(FILE_A, &o, KVF_ERR_MODEL, "the model has such an output itself");
    o.policy_head = NULL;
    o.value_head = TRIGO "value_head.onnx";
    refused(CORPUS "/valid/optimum-gpt2/model.onnx", &o, KVF_ERR_MODEL, "needs hidden states");
    /* Logits of its own leave the policy to the file. */
    o.value_head = NULL;
    o.policy_head = TRIGO "policy_head.onnx";
    write_trunk("hidden_states f32 b,n,64; logits f32 b,n,9");
    kvf_model *m = opened(FILE_A, &o);
    assert_int_equal(kvf_model_get_info(m)->width[KVF_POLICY], 128);
    assert_int_equal(kvf_model_get_info(m)->width[KVF_LOGITS], 9);
    kvf_model_close(m);
    /* A trunk without logits has the vocabulary of its table of tokens. */
    static const float zeros[31 * 64];
    pb g = graph_of("input_ids i64 b,n", "hidden_states f32 b,n,64");
    graph_initializer(&g, onnx_tensor("table", KVF_F32, "31,64", zeros, sizeof zeros));
    graph_node(&g, onnx_node("Gather", "", "table,input_ids", "x"));
    pb model = onnx_model(g);
    pb_write(&model, FILE_A);
    pb_free(&model);
    refused(FILE_A, &o, KVF_ERR_MODEL, "gives 128 logits, but the model has a vocabulary of 31");
    model = onnx_model(graph_of("hidden_states i64 b,n,64", "y f32 b,n,9"));
    pb_write(&model, KVF_BUILD_DIR "/test_model_head.onnx");
    pb_free(&model);
    o.policy_head = KVF_BUILD_DIR "/test_model_head.onnx";
    refused(FILE_A, &o, KVF_ERR_MODEL, "a head takes hidden states");
}

/* ---- engines --------------------------------------------------------------------------------- */

/* Whatever is built in: an engine that was asked for is the one that is used, or the error names
 * it; auto names the one it took, and why begins with its name. */
static void engines_by_name(void **state)
{
    (void)state;
    for (size_t i = 0; kvf_engine_list(i); i++) {
        kvf_model_options o = options(kvf_engine_list(i)->name);
        kvf_model *m;
        kvf_error err = {0};
        if (kvf_model_open(&m, GOOD, &o, &err)) {
            assert_non_null(strstr(err.msg, o.engine));
            continue;
        }
        const kvf_model_info *info = kvf_model_get_info(m);
        assert_string_equal(info->engine, o.engine);
        assert_ptr_equal(strstr(info->why, o.engine), info->why);
        kvf_model_close(m);
    }
    kvf_model *m;
    kvf_error err = {0};
    if (kvf_model_open(&m, GOOD, NULL, &err)) {
        assert_non_null(strstr(err.msg, "no engine of this build takes it"));
        return;
    }
    const kvf_model_info *info = kvf_model_get_info(m);
    assert_ptr_equal(strstr(info->why, info->engine), info->why);
    char would[64];
    snprintf(would, sizeof would, "auto would take %s", info->engine);
    kvf_model_options none = options("none");
    kvf_model *other = opened(GOOD, &none);
    assert_ptr_equal(strstr(kvf_model_get_info(other)->why, would), kvf_model_get_info(other)->why);
    kvf_model_close(other);
    kvf_model_close(m);
}

/* What only an engine can find: an operator of a known set that does not exist. */
static bool needs_an_engine(const char *name)
{
    return !strcmp(name, "unknown-op");
}

static void broken_corpus(void **state)
{
    (void)state;
    json_t *manifest = json_load_file(CORPUS "/broken/manifest.json", 0, NULL), *entry;
    const char *name;
    kvf_model *m;
    bool runs = kvf_model_open(&m, GOOD, NULL, NULL) == KVF_OK;
    if (runs) kvf_model_close(m);
    assert_true(json_object_size(manifest) > 20);
    json_object_foreach(manifest, name, entry)
    {
        const char *expect = json_string_value(json_object_get(entry, "expect"));
        bool loads = !strcmp(expect, "loads");
        bool refuses = !loads && !strstr(expect, "fail at the first run");
        char path[512];
        snprintf(path, sizeof path, CORPUS "/broken/%s/model.onnx", name);
        for (int with = 0; with < 2; with++) {
            kvf_model_options o = options(with ? "auto" : "none");
            kvf_error err = {0};
            kvf_status status = kvf_model_open(&m, path, &o, &err);
            bool judged = with ? runs || refuses : !needs_an_engine(name);
            if (judged && ((loads && status) || (refuses && !status)))
                fail_msg("%s with engine %s: %s %s", name, o.engine, kvf_status_name(status),
                         err.msg);
            if (status && !strstr(err.msg, name)) fail_msg("%s: \"%s\"", name, err.msg);
            kvf_model_close(m);
        }
    }
    json_decref(manifest);
}

static void valid_corpus(void **state)
{
    (void)state;
    kvf_model_options o = options("none");
    for (int i = 0; i < N_VALID; i++) {
        char path[512];
        snprintf(path, sizeof path, CORPUS "/valid/%s/model.onnx", valid_models[i]);
        kvf_model *m = opened(path, &o);
        const kvf_model_info *info = kvf_model_get_info(m);
        assert_true(info->caches);
        assert_true(info->why[0]);
        assert_string_equal(info->precision, strstr(path, "int4") ? "q4" : "f32");
        kvf_model_close(m);
    }
}

/* One by one for the first few hundred, then ever fewer: a lift takes thousands. */
static void failing_allocations(void **state)
{
    (void)state;
    pb trunk =
        onnx_model(graph_of("input_ids i64 b,n", "hidden_states f32 b,n,64; logits f32 b,n,9"));
    pb_write(&trunk, FILE_A);
    pb_free(&trunk);
    const char *paths[] = {GOOD, FILE_A};
    for (int p = 0; p < 2; p++) {
        kvf_model_options o = options("none");
        o.names = "input_ids=input_ids";
        if (p) o.value_head = TRIGO "value_head.onnx";
        kvf_model *m;
        kvf_error err = {0};
        uint64_t n = 1;
        kvf_fail_allocations(n);
        for (kvf_status status; (status = kvf_model_open(&m, paths[p], &o, &err));
             n += 1 + n / 300) {
            kvf_fail_allocations(0);
            if (status != KVF_ERR_NOMEM) fail_msg("allocation %d: %s", (int)n, err.msg);
            assert_null(m);
            kvf_fail_allocations(n + 1 + n / 300);
        }
        kvf_fail_allocations(0);
        assert_true(n > 20);
        kvf_model_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adder_is_described),
        cmocka_unit_test(ports_are_shown),
        cmocka_unit_test(external_files_are_listed),
        cmocka_unit_test(metadata_that_is_wrong),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(options_of_other_versions),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(threads_follow_the_affinity),
        cmocka_unit_test(heads),
        cmocka_unit_test(heads_that_do_not_fit),
        cmocka_unit_test(engines_by_name),
        cmocka_unit_test(broken_corpus),
        cmocka_unit_test(valid_corpus),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
