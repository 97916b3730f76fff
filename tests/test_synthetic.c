/* test_synthetic.c - specs are read strictly, and equal specs give equal bytes. */
#include "export/export.h"
#include "export/synthetic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static const char prototype[] =
    "gpt2:layers=4,heads=4,head_dim=64,vocab=1000,context=512,tied=0,seed=1";

/* The file of a spec, mapped; its name is gone already. */
static kvf_file export(const char *spec, kvf_type type)
{
    kvf_synthetic s;
    kvf_writer *w;
    kvf_file file;
    kvf_error err;
    char path[] = "/tmp/test_synthetic.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    kvf_export_format format = {.opset = 17, .type = type};
    kvf_writer_options options = {.fill = kvf_synthetic_fill, .fill_user = &s};
    assert_int_equal(kvf_synthetic_parse(&s, spec, &err), KVF_OK);
    s.type = type;
    assert_int_equal(kvf_export_model(&w, &s.decoder, &format, &err), KVF_OK);
    assert_int_equal(kvf_writer_save(w, path, &options, &err), KVF_OK);
    kvf_writer_destroy(w);
    assert_int_equal(kvf_file_open(&file, path, &err), KVF_OK);
    unlink(path);
    return file;
}

static bool same(kvf_file a, kvf_file b)
{
    return a.size == b.size && !memcmp(a.data, b.data, (size_t)a.size);
}

static void equal_specs_equal_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        kvf_type type;
    } rows[] = {{"gpt2:layers=2,heads=2,head_dim=8,vocab=50,context=16", KVF_F32},
                {"gpt2:layers=2,heads=2,head_dim=8,vocab=50,context=16", KVF_F16},
                {"gpt2:layers=2,heads=2,head_dim=8,vocab=50,context=16,seed=2", KVF_F32},
                {"llama:layers=2,heads=4,kv_heads=2,head_dim=8,vocab=50", KVF_F32},
                {"qwen3:layers=1,heads=4,kv_heads=2,head_dim=8,hidden=24,vocab=50", KVF_F32}};
    enum { N = sizeof rows / sizeof *rows };
    kvf_file files[N];
    for (size_t i = 0; i < N; i++) {
        files[i] = export(rows[i].spec, rows[i].type);
        kvf_file again = export(rows[i].spec, rows[i].type);
        assert_true(same(files[i], again));
        kvf_file_close(&again);
        for (size_t j = 0; j < i; j++) assert_false(same(files[i], files[j]));
    }
    for (size_t i = 0; i < N; i++) kvf_file_close(&files[i]);
}

/* Data beside the file, as for models beyond 2 GB: the same weights. */
static void weights_beside(void **state)
{
    (void)state;
    static const char spec[] = "qwen2:layers=1,heads=4,kv_heads=2,head_dim=8,vocab=90,tied=1";
    char folder[] = "/tmp/test_synthetic.XXXXXX", paths[2][64], data[64];
    kvf_onnx *onnx[2];
    kvf_error err;
    assert_non_null(mkdtemp(folder));
    for (uint64_t i = 0; i < 2; i++) {
        kvf_export_options o = {.format = {.opset = 17, .type = KVF_F32}, .largest_graph = i};
        snprintf(paths[i], sizeof paths[i], "%s/%d.onnx", folder, (int)i);
        assert_int_equal(kvf_export_synthetic(spec, paths[i], &o, &err), KVF_OK);
        assert_int_equal(kvf_onnx_open(&onnx[i], paths[i], &err), KVF_OK);
        assert_int_equal(onnx[i]->n_files, 1 + i);
    }
    assert_int_equal(onnx[0]->graph->n_initializers, onnx[1]->graph->n_initializers);
    for (uint32_t i = 0; i < onnx[0]->graph->n_initializers; i++) {
        const kvf_tensor *a = &onnx[0]->graph->initializers[i];
        const kvf_tensor *b = &onnx[1]->graph->initializers[i];
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->bytes, b->bytes);
        assert_memory_equal(a->data, b->data, (size_t)a->bytes);
    }
    for (int i = 0; i < 2; i++) {
        kvf_onnx_close(onnx[i]);
        unlink(paths[i]);
    }
    snprintf(data, sizeof data, "%s/1.onnx.data", folder);
    assert_int_equal(unlink(data), 0);
    assert_int_equal(rmdir(folder), 0);
}

/* FNV-1a of the weights alone: the bytes must not change with the compiler or the machine. */
static void known_bytes(void **state)
{
    (void)state;
    kvf_synthetic s;
    kvf_error err;
    float weight[1001];
    uint64_t hash = 14695981039346656037u;
    assert_int_equal(kvf_synthetic_parse(&s, prototype, &err), KVF_OK);
    for (uint32_t layer = 0; layer < 4; layer++) {
        uint64_t tag = kvf_weight_tag(KVF_W_QKV, layer);
        assert_int_equal(kvf_synthetic_fill(&s, tag, weight, sizeof weight, &err), KVF_OK);
        for (size_t i = 0; i < sizeof weight; i++)
            hash = (hash ^ ((const uint8_t *)weight)[i]) * 1099511628211u;
    }
    if (hash != 0xc659fb68ab83fa88u)
        fail_msg("the weights hash to 0x%016llx", (unsigned long long)hash);
}

static void prototype_has_its_size(void **state)
{
    (void)state;
    kvf_file file = export(prototype, KVF_F32);
    if (file.size < 15200000 || file.size >= 15250000)
        fail_msg("the prototype has %llu bytes, but should have 15.2 MB",
                 (unsigned long long)file.size);
    kvf_file_close(&file);
}

static void specs(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *says; /* a word of the message; NULL: accepted */
    } rows[] = {
        {"gpt2", NULL},
        {"gpt2:", NULL},
        {"llama:kv_heads=4,intermediate=100,hidden=300", NULL},
        {"", "no family ''"},
        {"gpt3", "no family 'gpt3'"},
        {"gpt2:layers", "'layers' should be KEY=NUMBER"},
        {"gpt2:layers=", "layers is ''"},
        {"gpt2:layers=x", "layers is 'x'"},
        {"gpt2:layers=2x", "layers is '2x'"},
        {"gpt2:layers=-1", "layers is '-1'"},
        {"gpt2:layers=0", "number of layers is 0"},
        {"gpt2:layers=4294967296", "layers is '4294967296'"},
        {"gpt2:layers=1000000", "number of layers is 1000000"},
        {"gpt2:seed=18446744073709551616", "seed is"},
        {"gpt2:seed=18446744073709551615", NULL},
        {"gpt2:tied=2", "tied is '2'"},
        {"gpt2:depth=2", "no key 'depth'"},
        {"gpt2:layers=2,,heads=2", "'' should be"},
        {"llama:heads=4,kv_heads=3", "cannot share 3"},
        {"llama:head_dim=3", "head_dim is 3"},
        {"gpt2:head_dim=3", NULL},
        {"gpt2:heads=65536,head_dim=1024", "hidden size"},
        {"gpt2:vocab=4294967295", "vocabulary"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kvf_synthetic s;
        kvf_error err;
        kvf_status status = kvf_synthetic_parse(&s, rows[i].spec, &err);
        if (!rows[i].says) {
            if (status) fail_msg("%s: %s", rows[i].spec, err.msg);
        } else if (status != KVF_ERR_ARG || !strstr(err.msg, rows[i].says)) {
            fail_msg("%s: '%s' should say '%s'", rows[i].spec, status ? err.msg : "accepted",
                     rows[i].says);
        }
    }
    char longest[2000];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(kvf_synthetic_parse(&(kvf_synthetic){0}, longest, NULL), KVF_ERR_ARG);
}

/* The text that goes into the metadata is a spec of the same weights. */
static void text_is_a_spec(void **state)
{
    (void)state;
    kvf_synthetic s, again;
    kvf_error err;
    char text[256];
    assert_int_equal(kvf_synthetic_parse(&s, prototype, &err), KVF_OK);
    kvf_synthetic_text(&s, text, sizeof text);
    assert_int_equal(kvf_synthetic_parse(&again, text, &err), KVF_OK);
    assert_memory_equal(&s, &again, sizeof s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_specs_equal_bytes), cmocka_unit_test(known_bytes),
        cmocka_unit_test(prototype_has_its_size),  cmocka_unit_test(specs),
        cmocka_unit_test(text_is_a_spec),          cmocka_unit_test(weights_beside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
