/* test_ort_errors.c - the ort engine without ONNX Runtime, with the wrong one, and with models that
 * it cannot run: each gets words that name the cause, and nothing crashes or takes much memory. */
#include "support_expected.h"

#include "base.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define PLAIN KVF_SOURCE_DIR "/tests/data/made/plain/model.onnx"

static kvf_status try_open(const char *path, const kvf_model_options *opt, kvf_error *err)
{
    kvf_model_options o = opt ? *opt : (kvf_model_options){0};
    o.struct_size = sizeof o;
    o.engine = "ort";
    o.threads = 1;
    kvf_model *m;
    kvf_status status = kvf_model_open(&m, path, &o, err);
    kvf_model_close(m);
    return status;
}

static void says(const kvf_error *err, const char *words)
{
    if (!strstr(err->msg, words)) fail_msg("\"%s\" does not say \"%s\"", err->msg, words);
}

/* ---- the library ----------------------------------------------------------------------------- */

static void libraries_that_are_none(void **state)
{
    (void)state;
    static const struct {
        const char *file, *words;
    } rows[] = {
        {"/nowhere/libonnxruntime.so", "no such file"},
        {PLAIN, "cannot be loaded"},
        {KVF_BUILD_DIR "/libkvfork.so", "is not ONNX Runtime"},
        {KVF_BUILD_DIR "/tests/libmodule_old_ort.so", "is ONNX Runtime 1.10.0, but 1."},
        {KVF_BUILD_DIR "/tests/libmodule_old_ort.so", "scripts/setup.sh"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_error err = {0};
        kvf_model_options o = {.ort_library = rows[i].file};
        assert_int_equal(try_open(PLAIN, &o, &err), KVF_ERR_ENGINE);
        says(&err, rows[i].words);
        says(&err, rows[i].file);
    }
}

static void options_that_it_cannot_take(void **state)
{
    (void)state;
    kvf_error err = {0};
    kvf_model_options cuda = {.device = "cuda:0"}, q8 = {.precision = "q8"}, kv = {.kv = "bf16"},
                      cpu = {.cpu = "avx2"};
    assert_int_equal(try_open(PLAIN, &cuda, &err), KVF_ERR_ENGINE);
    says(&err, "cuda:0");
    assert_int_equal(try_open(PLAIN, &q8, &err), KVF_ERR_ARG);
    says(&err, "q8");
    assert_int_equal(try_open(PLAIN, &kv, &err), KVF_ERR_ARG);
    says(&err, "bf16");
    assert_int_equal(try_open(PLAIN, &cpu, &err), KVF_ERR_ARG);
    says(&err, "avx2");
}

/* ---- models ---------------------------------------------------------------------------------- */

/* Open and run a few tokens. */
static kvf_status try_model(const char *path, kvf_error *err)
{
    kvf_model_options o = {.struct_size = sizeof o, .engine = "ort", .threads = 1};
    kvf_tree_options to = {.struct_size = sizeof to, .max_tokens = 16};
    kvf_model *m = NULL;
    kvf_tree *t = NULL;
    kvf_status status = kvf_model_open(&m, path, &o, err);
    if (!status) status = kvf_tree_create(&t, m, &to, err);
    if (!status) {
        uint32_t vocab = kvf_model_get_info(m)->vocab;
        float *logits = calloc(4 * (size_t)vocab, sizeof *logits);
        kvf_entry e[4];
        for (int i = 0; i < 4; i++) e[i] = (kvf_entry){i, i - 1, KVF_ROOT, KVF_WANT(KVF_LOGITS)};
        kvf_outputs out = {{logits}};
        status = kvf_eval(t, e, 4, NULL, &out, err);
        free(logits);
    }
    kvf_tree_destroy(t);
    kvf_model_close(m);
    return status;
}

/* Files that read well: only who runs them can tell what is wrong. */
static void broken_graphs_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *words;
    } rows[] = {
        {"unknown-op", "FrobnicateV2"},       {"constantofshape-huge", "Add"},
        {"range-delta-zero", "Range"},        {"reshape-wrong-count", "Reshape"},
        {"matmul-shapes-mismatch", "MatMul"}, {"gather-constant-out-of-range", "Gather"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[600];
        kvf_error err = {0};
        snprintf(path, sizeof path, "%s/tests/data/corpus/broken/%s/model.onnx", KVF_SOURCE_DIR,
                 rows[i].name);
        uint64_t before = kvf_resident_bytes(NULL), peak;
        kvf_status status = try_model(path, &err);
        if (status != KVF_ERR_MODEL && status != KVF_ERR_ENGINE)
            fail_msg("%s: %s %s", rows[i].name, kvf_status_name(status), err.msg);
        says(&err, rows[i].words);
        kvf_resident_bytes(&peak);
        assert_true(peak < before + (128u << 20));
    }
}

static void everything_broken_is_refused(void **state)
{
    (void)state;
    static const char folder[] = KVF_SOURCE_DIR "/tests/data/corpus/broken";
    DIR *dir = opendir(folder);
    uint32_t n = 0;
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir));) {
        char path[600];
        kvf_error err = {0};
        snprintf(path, sizeof path, "%s/%.200s/model.onnx", folder, d->d_name);
        if (d->d_name[0] == '.' || !strchr(d->d_name, '-')) continue;
        bool good = strstr(d->d_name, "control") != NULL;
        kvf_status status = try_model(path, &err);
        if ((status == KVF_OK) != good)
            fail_msg("%s: %s %s", d->d_name, kvf_status_name(status), err.msg);
        if (!good) assert_true(err.status == status && err.msg[0]);
        n++;
    }
    closedir(dir);
    assert_int_equal(n, 28);
}

/* These ran, and gave numbers that depended on how a sequence was cut into calls. */
static void encoders_are_no_decoders(void **state)
{
    (void)state;
    static const char *const names[] = {"no-past", "past"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[600];
        kvf_error err = {0};
        snprintf(path, sizeof path, "%s/tests/data/encoders/%s/model.onnx", KVF_SOURCE_DIR,
                 names[i]);
        assert_int_equal(try_open(path, NULL, &err), KVF_ERR_MODEL);
        says(&err, path);
        says(&err, "an encoder, and no decoder");
    }
}

/* A set of operators that no library knows yet. */
static void newer_than_the_library(void **state)
{
    (void)state;
    static const uint8_t set_17[] = {0x42, 4, 0x0a, 0, 0x10, 17}; /* opset_import {"", 17} */
    kvf_file file;
    kvf_error err = {0};
    char path[] = "/tmp/kvfork-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(kvf_file_open(&file, PLAIN, &err), KVF_OK);
    uint8_t *bytes = malloc(file.size);
    memcpy(bytes, file.data, file.size);
    uint8_t *set = memmem(bytes, file.size, set_17, sizeof set_17);
    assert_non_null(set);
    set[5] = 120;
    assert_int_equal(write(fd, bytes, file.size), file.size);
    close(fd);
    assert_int_equal(try_open(path, NULL, &err), KVF_ERR_MODEL);
    says(&err, "operator set 120 of ai.onnx");
    says(&err, "is too old");
    unlink(path);
    free(bytes);
    kvf_file_close(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(libraries_that_are_none),  cmocka_unit_test(options_that_it_cannot_take),
        cmocka_unit_test(broken_graphs_are_named),  cmocka_unit_test(everything_broken_is_refused),
        cmocka_unit_test(encoders_are_no_decoders), cmocka_unit_test(newer_than_the_library),
    };
    return ort_is_here() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
