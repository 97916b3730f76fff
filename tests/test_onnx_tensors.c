/* test_onnx_tensors.c - tensors: shapes against bytes, numbers spelled out, data in other files. */
#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define FOLDER KVF_BUILD_DIR "/test_onnx_tensors"

static void with_initializer(const char *what, pb tensor, const char *words)
{
    pb g = small_graph();
    graph_initializer(&g, tensor);
    check_model(what, onnx_model(g), words);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static void tensors(void **state)
{
    (void)state;
    static const uint8_t zeros[64];
    with_initializer("control", onnx_tensor("w", KVF_F32, "2,3", zeros, 24), NULL);
    with_initializer("a byte short", onnx_tensor("w", KVF_F32, "2,3", zeros, 23), "has 23 bytes");
    with_initializer("a byte long", onnx_tensor("w", KVF_F32, "2,3", zeros, 25), "has 25 bytes");
    with_initializer("scalar", onnx_tensor("w", KVF_F64, "", zeros, 8), NULL);
    with_initializer("empty", onnx_tensor("w", KVF_F32, "0,3", zeros, 0), NULL);
    with_initializer("an empty one that overflows",
                     onnx_tensor("w", KVF_F32, "0,4611686018427387904,8", zeros, 0), "overflow");
    with_initializer("three nibbles", onnx_tensor("w", KVF_I4, "3", zeros, 2), NULL);
    with_initializer("three nibbles in three bytes", onnx_tensor("w", KVF_U4, "3", zeros, 3),
                     "has 3 bytes, but its shape and type ask for 2");
    with_initializer("eight dimensions", onnx_tensor("w", KVF_U8, "1,1,1,1,1,1,1,1", zeros, 1),
                     NULL);
    with_initializer("nine dimensions", onnx_tensor("w", KVF_U8, "1,1,1,1,1,1,1,1,1", zeros, 1),
                     "more than 8 dimensions");
    with_initializer("a type from the future", onnx_tensor("w", (kvf_type)99, "1", zeros, 4),
                     "of type 99");
    with_initializer("complex", onnx_tensor("w", (kvf_type)14, "1", zeros, 8), "complex64");
    with_initializer("no name", onnx_tensor("", KVF_U8, "1", zeros, 1), "has no name");
    pb t = onnx_tensor("w", KVF_U8, "1", zeros, 1);
    pb_message(&t, 3, (pb){0});
    with_initializer("segments", t, "segments");
    t = onnx_tensor("w", KVF_U8, "1", zeros, 1);
    pb_number(&t, 14, 2);
    with_initializer("nowhere", t, "data location is 2");
    pb g = small_graph();
    graph_initializer(&g, onnx_tensor("w", KVF_U8, "1", zeros, 1));
    graph_initializer(&g, onnx_tensor("w", KVF_U8, "1", zeros, 1));
    check_model("twice", onnx_model(g), "initializer \"w\" is there twice");
    g = small_graph();
    pb_message(&g, 15, (pb){0});
    check_model("sparse", onnx_model(g), "sparse initializer");

    /* An initializer that is an input too, as old files have it, needs no feeding. */
    g = small_graph();
    graph_input(&g, onnx_port("w", KVF_U8, "1"));
    graph_initializer(&g, onnx_tensor("w", KVF_U8, "1", zeros, 1));
    uint8_t *block;
    kvf_onnx *o = expect_model("input and initializer", onnx_model(g), NULL, &block);
    assert_int_equal(o->graph->n_inputs, 1);
    assert_string_equal(o->graph->values[o->graph->inputs[0]].name, "x");
    assert_non_null(o->graph->values[kvf_graph_find(o->graph, "w")].initializer);
    kvf_onnx_close(o);
    free(block);
}

/* Elements spelled out one by one. */
static const struct {
    const char *what;
    kvf_type type;
    const char *dims;
    uint32_t field; /* of TensorProto */
    bool packed;
    int64_t numbers[4];
    uint32_t n;
    const char *words;
    double want[4];
} typed[] = {
    {"int64", KVF_I64, "3", 7, true, {-1, 0, INT64_MAX}, 3, NULL, {-1, 0, (double)INT64_MAX}},
    {"int64, one by one", KVF_I64, "3", 7, false, {5, -6, 7}, 3, NULL, {5, -6, 7}},
    {"int32", KVF_I32, "2", 5, true, {INT32_MIN, 9}, 2, NULL, {INT32_MIN, 9}},
    {"int32 that is none", KVF_I32, "1", 5, true, {INT64_C(1) << 33}, 1, "is no int32", {0}},
    {"int8", KVF_I8, "2", 5, true, {-128, 127}, 2, NULL, {-128, 127}},
    {"int8 that is none", KVF_I8, "2", 5, true, {-128, -129}, 2, "element 1 is -129", {0}},
    {"uint8", KVF_U8, "2", 5, true, {0, 255}, 2, NULL, {0, 255}},
    {"uint8 that is none", KVF_U8, "2", 5, true, {0, 256}, 2, "element 1 is 256", {0}},
    {"bool", KVF_BOOL, "2", 5, true, {0, 1}, 2, NULL, {0, 1}},
    {"bool that is none", KVF_BOOL, "2", 5, true, {0, 2}, 2, "is no bool", {0}},
    {"float16", KVF_F16, "2", 5, true, {0x3c00, 0xc000}, 2, NULL, {1, -2}},
    {"bfloat16", KVF_BF16, "2", 5, true, {0x3f80, 0xc000}, 2, NULL, {1, -2}},
    {"uint16", KVF_U16, "1", 5, true, {65535}, 1, NULL, {65535}},
    {"uint32", KVF_U32, "1", 11, true, {UINT32_MAX}, 1, NULL, {(double)UINT32_MAX}},
    {"int4, two in one", KVF_I4, "3", 5, true, {0xf7, 0x08}, 2, NULL, {7, -1, -8}},
    {"too few", KVF_I64, "3", 7, true, {1, 2}, 2, "has 2 elements, but its shape asks for 3", {0}},
    {"too many", KVF_I64, "1", 7, true, {1, 2}, 2, "has 2 elements", {0}},
    {"none", KVF_I64, "1", 7, true, {0}, 0, "has 0 elements", {0}},
    {"in the wrong field", KVF_I64, "1", 5, true, {1}, 1, "has 0 elements", {0}},
};

static void typed_data(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof typed / sizeof typed[0]; i++) {
        pb t = {0}, packed = {0}, g = small_graph();
        for (uint32_t k = 0; k < typed[i].n; k++) {
            if (typed[i].packed)
                pb_varint(&packed, (uint64_t)typed[i].numbers[k]);
            else
                pb_number(&t, typed[i].field, (uint64_t)typed[i].numbers[k]);
        }
        if (typed[i].packed) pb_message(&t, typed[i].field, packed);
        pb_number(&t, 1, (uint64_t)(typed[i].dims[0] - '0'));
        pb_number(&t, 2, typed[i].type);
        pb_text(&t, 8, "w");
        graph_initializer(&g, t);
        uint8_t *block;
        kvf_onnx *o = expect_model(typed[i].what, onnx_model(g), typed[i].words, &block);
        for (uint64_t k = 0; o && k < o->graph->initializers[0].count; k++) {
            const kvf_tensor *w = &o->graph->initializers[0];
            if ((double)kvf_tensor_f32(w, k) != (double)(float)typed[i].want[k])
                fail_msg("%s: element %d", typed[i].what, (int)k);
            if (typed[i].want[k] < 9e18 && kvf_tensor_i64(w, k) != (int64_t)typed[i].want[k])
                fail_msg("%s: element %d as an integer", typed[i].what, (int)k);
        }
        kvf_onnx_close(o);
        free(block);
    }
}

/* Packed floats lie in the file as they are needed, so they stay there; in pieces they cannot. */
static void floats_stay_where_they_are(void **state)
{
    (void)state;
    static const float f[] = {1, -2, 3};
    static const double d[] = {1e300, -2.5};
    pb one = {0}, pieces = {0}, doubles = {0}, g = small_graph();
    pb_number(&one, 1, 3);
    pb_number(&one, 2, KVF_F32);
    pieces = (pb){0};
    pb_raw(&pieces, one.data, one.size);
    pb_bytes(&one, 4, f, 12);
    pb_text(&one, 8, "one");
    pb_float(&pieces, 4, f[0]);
    pb_bytes(&pieces, 4, f + 1, 8);
    pb_text(&pieces, 8, "pieces");
    pb_number(&doubles, 1, 2);
    pb_number(&doubles, 2, KVF_F64);
    pb_bytes(&doubles, 10, d, 16);
    pb_text(&doubles, 8, "doubles");
    graph_initializer(&g, one);
    graph_initializer(&g, pieces);
    graph_initializer(&g, doubles);
    pb m = onnx_model(g);
    size_t size = m.size;
    uint8_t *block;
    kvf_onnx *o = expect_model("floats", m, NULL, &block);
    const kvf_tensor *t = o->graph->initializers;
    assert_memory_equal(t[0].data, f, 12);
    assert_in_range((uintptr_t)t[0].data, (uintptr_t)block, (uintptr_t)block + size);
    assert_memory_equal(t[1].data, f, 12);
    assert_memory_equal(t[2].data, d, 16);
    assert_in_range((uintptr_t)t[2].data, (uintptr_t)block, (uintptr_t)block + size);
    assert_int_equal(kvf_tensor_i64(&t[2], 0), INT64_MAX);
    assert_int_equal(kvf_tensor_i64(&t[2], 1), -2);
    kvf_onnx_close(o);
    free(block);
}

/* ---- external data --------------------------------------------------------------------------- */

static void make_folder(void)
{
    static const uint8_t bytes[64] = {1, 2, 3, 4};
    const pb data = {(uint8_t *)(uintptr_t)bytes, sizeof bytes, 0};
    mkdir(FOLDER, 0777);
    mkdir(FOLDER "/m", 0777);
    mkdir(FOLDER "/m/sub", 0777);
    pb_write(&data, FOLDER "/outside.bin");
    pb_write(&data, FOLDER "/m/data.bin");
    pb_write(&data, FOLDER "/m/sub/data.bin");
    pb_write(&data, FOLDER "/m/..data");
    unlink(FOLDER "/m/link.bin");
    unlink(FOLDER "/m/fifo");
    if (symlink("../outside.bin", FOLDER "/m/link.bin")) fail_msg("symlink");
    if (mkfifo(FOLDER "/m/fifo", 0666)) fail_msg("mkfifo");
}

#define ESCAPE "must be in the model's folder"
static const struct {
    const char *location, *offset, *length;
    kvf_status status;
    const char *words;
} places[] = {
    {"data.bin", NULL, NULL, KVF_OK, NULL},
    {"data.bin", "48", "16", KVF_OK, NULL},
    {"./data.bin", "0", NULL, KVF_OK, NULL},
    {"sub//./data.bin", "0", "16", KVF_OK, NULL},
    {"..data", "0", "16", KVF_OK, NULL},
    {"link.bin", "0", "16", KVF_OK, NULL}, /* the user's own folder may point anywhere */
    {"../outside.bin", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {"sub/../data.bin", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {"sub/..", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {"..", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {".", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {FOLDER "/m/data.bin", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {"/", NULL, NULL, KVF_ERR_MODEL, ESCAPE},
    {"", NULL, NULL, KVF_ERR_MODEL, "no location"},
    {"data\x01.bin", NULL, NULL, KVF_ERR_MODEL, "control character"},
    {"data.bin", "49", NULL, KVF_ERR_MODEL, "which has only 64"},
    {"data.bin", "64", NULL, KVF_ERR_MODEL, "which has only 64"},
    {"data.bin", "18446744073709551608", NULL, KVF_ERR_MODEL, "which has only 64"},
    {"data.bin", "18446744073709551616", NULL, KVF_ERR_MODEL, "offset of its external data"},
    {"data.bin", "-1", NULL, KVF_ERR_MODEL, "offset of its external data"},
    {"data.bin", "12x", NULL, KVF_ERR_MODEL, "offset of its external data"},
    {"data.bin", "", NULL, KVF_ERR_MODEL, "offset of its external data"},
    {"data.bin", NULL, "15", KVF_ERR_MODEL, "has 15 bytes, but its shape and type ask for 16"},
    {"data.bin", NULL, "64", KVF_ERR_MODEL, "has 64 bytes"},
    {"nothing.bin", NULL, NULL, KVF_ERR_IO, "nothing.bin: No such file"},
    {"sub", NULL, NULL, KVF_ERR_IO, "is a folder"},
    {"fifo", NULL, NULL, KVF_ERR_IO, "is not a regular file"},
};

static void external_data(void **state)
{
    (void)state;
    make_folder();
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        pb g = small_graph();
        graph_initializer(&g, onnx_external("w", KVF_F32, "4", places[i].location, places[i].offset,
                                            places[i].length));
        pb m = onnx_model(g);
        pb_write(&m, FOLDER "/m/model.onnx");
        kvf_onnx *o;
        kvf_error err = {0};
        kvf_status status = kvf_onnx_open(&o, FOLDER "/m/model.onnx", &err);
        if (status != places[i].status || (status && !strstr(err.msg, places[i].words)))
            fail_msg("\"%s\" %s: %s", places[i].location, kvf_status_name(status), err.msg);
        if (o) {
            assert_int_equal(o->n_files, 2);
            assert_int_equal(o->file_bytes, m.size + 64);
            touch_all(o);
        }
        kvf_onnx_close(o);
        /* A model in memory has no folder. */
        uint8_t *block;
        assert_int_equal(parse_exactly(&o, &block, m.data, m.size, &err), KVF_ERR_MODEL);
        free(block);
        pb_free(&m);
    }
}

static void one_file_is_mapped_once(void **state)
{
    (void)state;
    static const char *const spellings[] = {"data.bin", "./data.bin", ".//data.bin", "data.bin"};
    make_folder();
    pb g = small_graph();
    for (int i = 0; i < 4; i++) {
        char name[8] = {'w', (char)('0' + i)};
        graph_initializer(&g, onnx_external(name, KVF_F32, "4", spellings[i], NULL, NULL));
    }
    pb m = onnx_model(g);
    pb_write(&m, FOLDER "/m/model.onnx");
    pb_free(&m);
    kvf_onnx *o;
    assert_int_equal(kvf_onnx_open(&o, FOLDER "/m/model.onnx", NULL), KVF_OK);
    assert_int_equal(o->n_files, 2);
    for (int i = 1; i < 4; i++)
        assert_ptr_equal(o->graph->initializers[i].data, o->graph->initializers[0].data);
    kvf_onnx_close(o);
    /* The folder of a bare file name is where the process is. */
    char here[4096];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(FOLDER "/m"), 0);
    assert_int_equal(kvf_onnx_open(&o, "model.onnx", NULL), KVF_OK);
    kvf_onnx_close(o);
    assert_int_equal(chdir(here), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors),
        cmocka_unit_test(typed_data),
        cmocka_unit_test(floats_stay_where_they_are),
        cmocka_unit_test(external_data),
        cmocka_unit_test(one_file_is_mapped_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
