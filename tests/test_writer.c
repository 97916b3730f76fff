/* test_writer.c - what the writer writes, read back by the reader; and what it leaves behind when
 * it fails: nothing. */
#include "onnx/writer.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64], model[96], data[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_writer.XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(model, sizeof model, "%s/m.onnx", folder);
    snprintf(data, sizeof data, "%s/m.onnx.data", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(model);
    unlink(data);
    return rmdir(folder); /* fails if anything else was left there */
}

static size_t files_in_folder(void)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static float element(uint64_t tag, uint64_t i)
{
    return (float)(1000 * tag + i);
}

static kvf_status fill(void *user, uint64_t tag, void *bytes, uint64_t size, kvf_error *err)
{
    const uint64_t *broken = user;
    if (broken && *broken == tag) return kvf_fail(err, KVF_ERR_MODEL, "weight %d is broken", 2);
    for (uint64_t i = 0; i < size / sizeof(float); i++) ((float *)bytes)[i] = element(tag, i);
    return KVF_OK;
}

static const int64_t large[] = {30, 20}, small[] = {20};

/* y = relu(x W) + b, with a node that has every kind of attribute. */
static kvf_status build(kvf_writer **w)
{
    kvf_error err;
    kvf_status status = kvf_writer_create(w, "test", 17, &err);
    if (status) return status;
    kvf_writer_input(*w, "x", KVF_F32, "batch, %u", 30u);
    kvf_writer_output(*w, "y", KVF_F32, "batch, 20");
    kvf_writer_output(*w, "free", KVF_F16, "a + b, 0");
    kvf_writer_property(*w, "key", "value");
    const char *m = kvf_writer_weight(*w, "w", KVF_F32, 2, large, 1);
    m = kvf_writer_node(*w, "MatMul", "product", "x", m, NULL);
    kvf_writer_node(*w, "Relu", "positive", m, NULL);
    kvf_writer_also(*w, "second");
    kvf_writer_int(*w, "i", -5);
    kvf_writer_float(*w, "f", 0.5f);
    kvf_writer_string(*w, "s", "text");
    kvf_writer_ints(*w, "ints", large, 2);
    const char *b = kvf_writer_weight(*w, "b", KVF_F32, 1, small, 2);
    kvf_writer_constant(*w, "c", KVF_I64, 1, (const int64_t[]){2}, large);
    kvf_writer_node(*w, "Add", "y", "positive", b, NULL);
    kvf_writer_node(*w, "Clip", "free", "positive", "", "c", NULL);
    return KVF_OK;
}

static kvf_status save(uint64_t largest_graph, const uint64_t *broken, const char *path,
                       kvf_error *err)
{
    kvf_writer *w;
    kvf_status status = build(&w);
    if (status) return status;
    uint64_t none = 0;
    kvf_writer_options options = {.fill = fill,
                                  .fill_user = (void *)(uintptr_t)(broken ? broken : &none),
                                  .largest_graph = largest_graph};
    status = kvf_writer_save(w, path, &options, err);
    kvf_writer_destroy(w);
    return status;
}

static const kvf_tensor *initializer(const kvf_onnx *onnx, const char *name)
{
    uint32_t v = kvf_graph_find(onnx->graph, name);
    assert_true(v != KVF_NO_VALUE);
    assert_non_null(onnx->graph->values[v].initializer);
    return onnx->graph->values[v].initializer;
}

static void check_weight(const kvf_onnx *onnx, const char *name, uint64_t tag, uint32_t rank,
                         const int64_t *dims)
{
    const kvf_tensor *t = initializer(onnx, name);
    assert_int_equal(t->type, KVF_F32);
    assert_int_equal(t->rank, rank);
    for (uint32_t i = 0; i < rank; i++) assert_int_equal(t->dims[i], dims[i]);
    for (uint64_t i = 0; i < t->count; i++) assert_true(kvf_tensor_f32(t, i) == element(tag, i));
}

static void check_model(const kvf_onnx *onnx)
{
    assert_string_equal(onnx->producer, "kvfork");
    assert_string_equal(onnx->producer_version, kvf_version());
    assert_string_equal(kvf_onnx_property(onnx, "key"), "value");
    assert_int_equal(kvf_onnx_opset(onnx, ""), 17);
    const kvf_graph *g = onnx->graph;
    assert_int_equal(g->n_ops, 4);
    assert_int_equal(g->n_inputs, 1);
    assert_int_equal(g->n_outputs, 2);
    const kvf_shape *x = g->values[g->inputs[0]].shape, *y = g->values[g->outputs[1]].shape;
    assert_int_equal(x->dims[0], -1);
    assert_string_equal(x->names[0], "batch");
    assert_int_equal(x->dims[1], 30);
    assert_int_equal(y->type, KVF_F16);
    assert_string_equal(y->names[0], "a + b");
    assert_int_equal(y->dims[1], 0);
    const kvf_op *relu = &g->ops[1];
    assert_true(kvf_op_is(relu, "", "Relu"));
    assert_string_equal(relu->name, "positive");
    assert_int_equal(relu->n_outputs, 2);
    assert_int_equal(kvf_op_int(relu, "i", 0), -5);
    assert_true(kvf_op_float(relu, "f", 0) == 0.5f);
    assert_string_equal(kvf_op_attr(relu, "s")->s, "text");
    assert_int_equal(kvf_op_attr(relu, "ints")->n, 2);
    assert_int_equal(kvf_op_attr(relu, "ints")->ints[1], 20);
    assert_int_equal(g->ops[3].inputs[1], KVF_NO_VALUE);
    check_weight(onnx, "w", 1, 2, large);
    check_weight(onnx, "b", 2, 1, small);
    assert_int_equal(kvf_tensor_i64(initializer(onnx, "c"), 1), 20);
}

static void one_file(void **state)
{
    (void)state;
    kvf_error err;
    kvf_onnx *onnx;
    assert_int_equal(save(0, NULL, model, &err), KVF_OK);
    assert_int_equal(files_in_folder(), 1);
    assert_int_equal(kvf_onnx_open(&onnx, model, &err), KVF_OK);
    check_model(onnx);
    assert_int_equal(onnx->n_files, 1);
    kvf_onnx_close(onnx);
}

static void data_beside(void **state)
{
    (void)state;
    kvf_error err;
    kvf_onnx *onnx;
    kvf_file whole;
    assert_int_equal(save(1, NULL, model, &err), KVF_OK);
    assert_int_equal(files_in_folder(), 2);
    assert_int_equal(kvf_onnx_open(&onnx, model, &err), KVF_OK);
    check_model(onnx);
    assert_int_equal(onnx->n_files, 2);
    kvf_onnx_close(onnx);
    /* Only the matrix is worth a place of its own. */
    assert_int_equal(kvf_file_open(&whole, data, &err), KVF_OK);
    assert_int_equal(whole.size, 30 * 20 * sizeof(float));
    kvf_file_close(&whole);
}

/* Every prefix lacks the list of opsets, or is cut in the middle of it. */
static void truncated(void **state)
{
    (void)state;
    kvf_error err;
    kvf_file whole;
    kvf_onnx *onnx;
    assert_int_equal(save(0, NULL, model, &err), KVF_OK);
    assert_int_equal(kvf_file_open(&whole, model, &err), KVF_OK);
    for (uint64_t n = 0; n < whole.size; n++)
        if (kvf_onnx_parse(&onnx, whole.data, n, "prefix", &err) != KVF_ERR_MODEL)
            fail_msg("the first %llu of %llu bytes look like a model", (unsigned long long)n,
                     (unsigned long long)whole.size);
    kvf_file_close(&whole);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void check_untouched(void)
{
    kvf_file old;
    kvf_error err;
    assert_int_equal(kvf_file_open(&old, model, &err), KVF_OK);
    assert_int_equal(old.size, 3);
    assert_memory_equal(old.data, "old", 3);
    kvf_file_close(&old);
    assert_int_equal(files_in_folder(), 1);
}

static void failure_leaves_the_old_file(void **state)
{
    (void)state;
    kvf_error err;
    uint64_t broken = 2;
    write_text(model, "old");
    for (uint64_t largest = 0; largest < 2; largest++) {
        assert_int_equal(save(largest, &broken, model, &err), KVF_ERR_MODEL);
        assert_string_equal(err.msg, "weight 2 is broken");
        check_untouched();
    }
}

static void full_disk(void **state)
{
    (void)state;
    kvf_error err;
    struct rlimit old, tight = {0};
    write_text(model, "old");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){.rlim_cur = 1000, .rlim_max = old.rlim_max};
    for (uint64_t largest = 0; largest < 2; largest++) {
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
        kvf_status status = save(largest, NULL, model, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_int_equal(status, KVF_ERR_IO);
        assert_non_null(strstr(err.msg, folder));
        check_untouched();
    }
}

static void no_memory(void **state)
{
    (void)state;
    kvf_error err;
    kvf_status status = KVF_ERR_NOMEM;
    for (uint64_t nth = 1; status; nth++) {
        assert_true(nth < 1000);
        kvf_fail_allocations(nth);
        status = save(1, NULL, model, &err);
        kvf_fail_allocations(0);
        assert_true(status == KVF_OK || status == KVF_ERR_NOMEM);
        assert_int_equal(files_in_folder(), status ? 0 : 2);
    }
}

static void places_that_cannot_be_written(void **state)
{
    (void)state;
    kvf_error err;
    char missing[128];
    snprintf(missing, sizeof missing, "%s/no/m.onnx", folder);
    const char *const paths[] = {folder, "/dev/null", missing, ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        assert_int_equal(save(0, NULL, paths[i], &err), KVF_ERR_IO);
        assert_int_equal(files_in_folder(), 0);
    }
}

static void shapes_beyond_64_bits(void **state)
{
    (void)state;
    static const struct {
        int64_t dims[2];
        const char *why;
    } rows[] = {
        {{INT64_MAX, 2}, "the product wraps"},
        {{INT64_MAX, 1}, "the product of bytes wraps"},
        {{-1, 1}, "negative"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kvf_writer *w;
        kvf_error err;
        kvf_writer_options options = {.fill = fill};
        assert_int_equal(kvf_writer_create(&w, "test", 17, &err), KVF_OK);
        kvf_writer_weight(w, "w", KVF_F32, 2, rows[i].dims, 1);
        if (kvf_writer_save(w, model, &options, &err) != KVF_ERR_ARG)
            fail_msg("%s: should be refused", rows[i].why);
        kvf_writer_destroy(w);
    }
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(one_file),
        IN_FOLDER(data_beside),
        IN_FOLDER(truncated),
        IN_FOLDER(failure_leaves_the_old_file),
        IN_FOLDER(full_disk),
        IN_FOLDER(no_memory),
        IN_FOLDER(places_that_cannot_be_written),
        IN_FOLDER(shapes_beyond_64_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
