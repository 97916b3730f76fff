/* test_safetensors.c - checkpoints that lie about what they hold: each gets an error that names
 * it. */
#include "export/safetensors.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_safetensors.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *const files[] = {"model.safetensors", "model.safetensors.index.json",
                                    "a.safetensors", "b.safetensors"};

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static int remove_folder(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) unlink(in_folder(files[i]));
    return rmdir(folder);
}

static void write_bytes(const char *name, const void *data, size_t n)
{
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
}

/* A file of this header and n bytes of tensors: 0, 1, 2, ... Returns its size. */
static size_t compose(uint8_t *out, const char *header, size_t n)
{
    size_t length = strlen(header);
    for (unsigned i = 0; i < 8; i++) out[i] = (uint8_t)((uint64_t)length >> (8 * i));
    for (size_t i = 0; i < length; i++) out[8 + i] = (uint8_t)header[i];
    for (size_t i = 0; i < n; i++) out[8 + length + i] = (uint8_t)i;
    return 8 + length + n;
}

static void write_file(const char *name, const char *header, size_t n)
{
    uint8_t data[4096];
    write_bytes(name, data, compose(data, header, n));
}

static kvf_status open_and_close(kvf_error *err)
{
    kvf_safetensors *st;
    kvf_status status = kvf_safetensors_open(&st, folder, err);
    assert_true(!status == (st != NULL));
    kvf_safetensors_close(st);
    return status;
}

static void refused(const char *what, const char *words)
{
    kvf_error err;
    kvf_status status = open_and_close(&err);
    if (status != KVF_ERR_MODEL || !strstr(err.msg, words))
        fail_msg("%s: '%s' should say '%s'", what, status ? err.msg : "accepted", words);
}

#define T(name, dtype, shape, begin, end)                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end \
    "]}"

static const char valid[] =
    "{\"__metadata__\":{\"format\":\"pt\"}," T("w", "F32", "2,2", "0", "16") "," T(
        "e", "F32", "0", "16", "16") "," T("h", "BF16", "3", "16", "22") "}  ";

static void reads_what_is_there(void **state)
{
    (void)state;
    kvf_safetensors *st;
    kvf_error err;
    write_file("model.safetensors", valid, 22);
    assert_int_equal(kvf_safetensors_open(&st, folder, &err), KVF_OK);
    const kvf_tensor *w = kvf_safetensors_find(st, "w"), *h = kvf_safetensors_find(st, "h");
    assert_null(kvf_safetensors_find(st, "__metadata__"));
    assert_null(kvf_safetensors_find(st, ""));
    assert_int_equal(w->type, KVF_F32);
    assert_int_equal(w->rank, 2);
    assert_int_equal(w->dims[1], 2);
    assert_int_equal(((const uint8_t *)w->data)[15], 15);
    assert_int_equal(h->type, KVF_BF16);
    assert_int_equal(((const uint8_t *)h->data)[0], 16);
    kvf_safetensors_release(w);
    assert_int_equal(((const uint8_t *)w->data)[15], 15);
    size_t i = 0;
    assert_string_equal(kvf_safetensors_unused(st, &i)->name, "e");
    assert_null(kvf_safetensors_unused(st, &i));
    kvf_safetensors_close(st);
    /* One file by its own path, not by its folder. */
    assert_int_equal(kvf_safetensors_open(&st, in_folder("model.safetensors"), &err), KVF_OK);
    kvf_safetensors_close(st);
}

static void headers_that_lie(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t bytes;
        const char *words, *why;
    } rows[] = {
        {"", 0, "line 1", "no JSON"},
        {"[]", 0, "object", "not an object"},
        {"{} x", 0, "line 1", "something behind the JSON"},
        {"{", 0, "line 1", "cut"},
        {"{}", 4, "behind the last tensor", "tensors that nobody names"},
        {"{\"w\":1}", 0, "w: should be an object", "a number for a tensor"},
        {"{" T("w", "F32", "1", "0", "4") "," T("w", "F32", "1", "4", "8") "}", 8, "duplicate",
         "the same name twice"},
        {"{" T("w", "F33", "1", "0", "4") "}", 4, "dtype is 'F33'", "no such type"},
        {"{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype is 'not said'", "no type"},
        {"{\"w\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype", "type 7"},
        {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape should be", "no shape"},
        {"{" T("w", "F32", "1,1,1,1,1,1,1,1,1", "0", "4") "}", 4, "shape should be", "rank 9"},
        {"{" T("w", "F32", "-1", "0", "4") "}", 4, "dimension 0", "negative"},
        {"{" T("w", "F32", "1.0", "0", "4") "}", 4, "dimension 0", "a real number"},
        {"{" T("w", "F32", "null", "0", "4") "}", 4, "dimension 0", "null"},
        {"{" T("w", "F32", "4294967296,4294967296", "0", "4") "}", 4, "dimension 1",
         "the product wraps to 0"},
        {"{" T("w", "F32", "4611686018427387905", "0", "4") "}", 4, "need", "the bytes wrap to 4"},
        {"{" T("w", "F32", "99999999999999999999", "0", "4") "}", 4, "too big", "beyond 64 bits"},
        {"{" T("w", "F32", "2", "0", "4") "}", 4, "need 8 bytes", "more elements than bytes"},
        {"{" T("w", "F16", "1", "0", "4") "}", 4, "need 2 bytes", "a smaller type than bytes"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets should", "no place"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 4,
         "data_offsets should", "three offsets"},
        {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4.0]}}", 4,
         "data_offsets should", "a real offset"},
        {"{" T("w", "F32", "1", "-4", "0") "}", 4, "data_offsets are", "before the data"},
        {"{" T("w", "F32", "1", "4", "0") "}", 4, "data_offsets are", "backwards"},
        {"{" T("w", "F32", "1", "0", "4") "}", 3, "data_offsets are", "past the end"},
        {"{" T("w", "F32", "1", "9223372036854775800", "9223372036854775804") "}", 4,
         "data_offsets are", "far past the end"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "2", "6") "}", 6, "begins at byte",
         "overlap"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "0", "4") "}", 4, "begins at byte",
         "the same place"},
        {"{" T("a", "F32", "1", "0", "4") "," T("b", "F32", "1", "6", "10") "}", 10,
         "begins at byte 6", "a gap"},
        {"{" T("a", "F32", "1", "4", "8") "}", 8, "begins at byte 4", "a gap at the start"},
        {"{\"a\\u0000b\":{}}", 0, "line 1", "a name with a zero byte"},
        {"{\"\xff\":{}}", 0, "line 1", "a name that is no UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file("model.safetensors", rows[i].header, rows[i].bytes);
        refused(rows[i].why, rows[i].words);
    }
}

static void header_lengths(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {3, 100, 1000000, UINT64_MAX - 7, UINT64_MAX, 1ull << 63};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        uint8_t data[10] = "xxxxxxxx{}";
        for (unsigned j = 0; j < 8; j++) data[j] = (uint8_t)(lengths[i] >> (8 * j));
        write_bytes("model.safetensors", data, sizeof data);
        refused("a wrong header length", "its header should have");
    }
}

static void deep_json(void **state)
{
    (void)state;
    enum { DEPTH = 100000 };
    uint8_t *data = malloc(DEPTH + 16);
    char *header = malloc(DEPTH + 1);
    memset(header, '[', DEPTH);
    memcpy(header, "{\"w\":", 5);
    header[DEPTH] = 0;
    write_bytes("model.safetensors", data, compose(data, header, 0));
    refused("deep JSON", "maximum parsing depth");
    free(header);
    free(data);
}

static void every_truncation(void **state)
{
    (void)state;
    uint8_t data[1024];
    size_t size = compose(data, valid, 22);
    kvf_error err;
    for (size_t n = 0; n < size; n++) {
        write_bytes("model.safetensors", data, n);
        if (open_and_close(&err) != KVF_ERR_MODEL)
            fail_msg("the first %zu of %zu bytes are accepted", n, size);
    }
    write_bytes("model.safetensors", data, size);
    assert_int_equal(open_and_close(&err), KVF_OK);
}

/* Each byte changed in a few ways: whatever is accepted must be inside the file. */
static void every_mutation(void **state)
{
    (void)state;
    static const uint8_t flips[] = {0x01, 0x02, 0x10, 0x20, 0x80, 0xff};
    uint8_t data[1024];
    size_t size = compose(data, valid, 22), accepted = 0;
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j < sizeof flips; j++) {
            kvf_safetensors *st;
            kvf_error err;
            data[i] ^= flips[j];
            write_bytes("model.safetensors", data, size);
            data[i] ^= flips[j];
            if (kvf_safetensors_open(&st, folder, &err)) {
                assert_int_equal(err.status, KVF_ERR_MODEL);
                continue;
            }
            accepted++;
            const kvf_tensor *t;
            for (size_t k = 0; (t = kvf_safetensors_unused(st, &k));)
                for (uint64_t b = 0; b < t->bytes; b++)
                    assert_in_range(((const uint8_t *)t->data)[b], 0, 255);
            kvf_safetensors_close(st);
        }
    assert_true(accepted > 22 * sizeof flips); /* the tensors' own bytes, and names */
}

#define INDEX(map) "{\"metadata\":{},\"weight_map\":{" map "}}"

static void shards(void **state)
{
    (void)state;
    static const struct {
        const char *index, *words, *why;
    } rows[] = {
        {INDEX("\"x\":\"a.safetensors\",\"y\":\"b.safetensors\""), NULL, "right"},
        {"{}", "no weight_map", "no map"},
        {"{\"weight_map\":[]}", "no weight_map", "a list for a map"},
        {INDEX("\"x\":1"), "plain name", "a number for a file"},
        {INDEX("\"x\":\"\""), "plain name", "an empty name"},
        {INDEX("\"x\":\"..\""), "plain name", "the folder above"},
        {INDEX("\"x\":\"../a.safetensors\""), "plain name", "a file of the folder above"},
        {INDEX("\"x\":\"/etc/passwd\""), "plain name", "an absolute path"},
        {INDEX("\"x\":\"sub/a.safetensors\""), "plain name", "a folder below"},
        {INDEX("\"x\":\"a.safetensors\",\"y\":\"a.safetensors\""), "y should be in a.safetensors",
         "a tensor in another shard"},
        {INDEX("\"x\":\"a.safetensors\",\"y\":\"b.safetensors\",\"z\":\"a.safetensors\""),
         "z should be in", "a tensor in no shard"},
        {INDEX("\"y\":\"b.safetensors\",\"w\":\"a.safetensors\""), "w should be in",
         "a shard holds another name"},
        {INDEX("\"y\":\"b.safetensors\",\"y\":\"b.safetensors\""), "duplicate", "a name twice"},
    };
    kvf_error err;
    write_file("a.safetensors", "{" T("x", "F32", "1", "0", "4") "}", 4);
    write_file("b.safetensors", "{" T("y", "F32", "1", "0", "4") "}", 4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_bytes("model.safetensors.index.json", rows[i].index, strlen(rows[i].index));
        if (rows[i].words)
            refused(rows[i].why, rows[i].words);
        else
            assert_int_equal(open_and_close(&err), KVF_OK);
    }
    const char *missing = INDEX("\"x\":\"c.safetensors\"");
    write_bytes("model.safetensors.index.json", missing, strlen(missing));
    assert_int_equal(open_and_close(&err), KVF_ERR_IO);
    assert_non_null(strstr(err.msg, "c.safetensors"));
}

static void shards_disagree(void **state)
{
    (void)state;
    static const char both[] = INDEX("\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"");
    write_bytes("model.safetensors.index.json", both, sizeof both - 1);
    write_file("a.safetensors", "{" T("x", "F32", "1", "0", "4") "}", 4);
    write_file("b.safetensors",
               "{" T("y", "F32", "1", "0", "4") "," T("z", "F32", "1", "4", "8") "}", 8);
    refused("a tensor that the index does not know", "does not know z");
    write_file("b.safetensors",
               "{" T("y", "F32", "1", "0", "4") "," T("x", "F32", "1", "4", "8") "}", 8);
    refused("a tensor in two shards", "x is in two shards");
}

static void no_checkpoint(void **state)
{
    (void)state;
    kvf_error err;
    assert_int_equal(open_and_close(&err), KVF_ERR_IO);
    assert_non_null(strstr(err.msg, "holds neither"));
    write_bytes("model.safetensors", "", 0);
    refused("an empty file", "too few");
}

static void *checked_malloc(size_t n)
{
    return kvf_array(n, 1);
}

static void no_memory(void **state)
{
    (void)state;
    kvf_error err;
    kvf_status status = KVF_ERR_NOMEM;
    json_set_alloc_funcs(checked_malloc, kvf_free);
    write_file("a.safetensors", "{" T("x", "F32", "1", "0", "4") "}", 4);
    write_file("b.safetensors", "{" T("y", "F32", "1", "0", "4") "}", 4);
    static const char both[] = INDEX("\"x\":\"a.safetensors\",\"y\":\"b.safetensors\"");
    write_bytes("model.safetensors.index.json", both, sizeof both - 1);
    uint64_t nth = 1;
    for (; status; nth++) {
        assert_true(nth < 1000);
        kvf_fail_allocations(nth);
        status = open_and_close(&err);
        kvf_fail_allocations(0);
        /* jansson calls running out of memory a syntax error at some places */
        assert_true(status == KVF_OK || status == KVF_ERR_NOMEM || status == KVF_ERR_MODEL);
    }
    assert_true(nth > 10);
    json_set_alloc_funcs(malloc, free);
}

static void hash_of_all_shards(void **state)
{
    (void)state;
    kvf_safetensors *st;
    kvf_error err;
    char hex[65];
    static const char both[] = INDEX("\"x\":\"b.safetensors\",\"y\":\"a.safetensors\"");
    write_bytes("model.safetensors.index.json", both, sizeof both - 1);
    write_file("a.safetensors", "{" T("y", "F32", "1", "0", "4") "}", 4);
    write_file("b.safetensors", "{" T("x", "F32", "1", "0", "4") "}", 4);
    assert_int_equal(kvf_safetensors_open(&st, folder, &err), KVF_OK);
    kvf_safetensors_sha256(st, hex, NULL, NULL);
    kvf_safetensors_close(st);
    /* cat a.safetensors b.safetensors | sha256sum */
    assert_string_equal(hex, "4f00f87390d31f1ec8eec55abef642d8c8a003e4e5ffac178450260ec86dc43c");
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(reads_what_is_there),
        IN_FOLDER(headers_that_lie),
        IN_FOLDER(header_lengths),
        IN_FOLDER(deep_json),
        IN_FOLDER(every_truncation),
        IN_FOLDER(every_mutation),
        IN_FOLDER(shards),
        IN_FOLDER(shards_disagree),
        IN_FOLDER(no_checkpoint),
        IN_FOLDER(no_memory),
        IN_FOLDER(hash_of_all_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
