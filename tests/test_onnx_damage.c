/* test_onnx_damage.c - the reader on files that are cut, damaged or hostile, and what it costs.
 *
 * Bytes lie in heap blocks of exactly their size, so that a sanitizer sees every byte read beyond
 * them; without one, most of these tests still ask for the right answer. */
#include "rng.h"
#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define LARGE KVF_BUILD_DIR "/test_onnx_large.onnx"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* ---- cut and damaged files ------------------------------------------------------------------- */

/* Where the fields of a message end, by a reading of the format that shares no code with ours. */
static size_t varint_at(const uint8_t *data, size_t *at)
{
    size_t v = 0;
    for (int shift = 0;; shift += 7) {
        v |= (size_t)(data[*at] & 0x7f) << shift;
        if (data[(*at)++] < 0x80) return v;
    }
}

typedef struct top { /* what of a model's own fields lies before a point */
    size_t end, graph_begin, graph_end;
    bool whole; /* ir_version, graph and an operator set */
} top;

/* The first field that ends beyond `from`. */
static top next_top(const uint8_t *data, top t, unsigned *seen)
{
    size_t at = t.end, key = varint_at(data, &at), field = key >> 3, size = varint_at(data, &at);
    if (field == 7) {
        t.graph_begin = at;
        t.graph_end = at + size;
    }
    t.end = (key & 7) == 2 ? at + size : at;
    *seen |= field == 1 ? 1 : field == 7 ? 2 : field == 8 ? 4 : 0;
    t.whole = *seen == 7;
    return t;
}

static void every_prefix_of(const char *path, size_t step)
{
    size_t size;
    uint8_t *data = read_whole(path, &size), *block;
    unsigned seen = 0, parsed = 0;
    top t = {0};
    for (size_t n = 0; n <= size; n += n + step > size && n < size ? size - n : step) {
        kvf_onnx *o;
        kvf_error err = {0};
        while (t.end < n) t = next_top(data, t, &seen);
        bool right = t.end == n && t.whole;
        kvf_status status = parse_exactly(&o, &block, data, n, &err);
        if (right != (status == KVF_OK) || (status && (status != KVF_ERR_MODEL || !err.msg[0])))
            fail_msg("%s cut to %zu of %zu bytes: %s %s", path, n, size, kvf_status_name(status),
                     err.msg);
        parsed += !status;
        kvf_onnx_close(o);
        free(block);
    }
    assert_true(parsed >= 1);
    free(data);
}

static void every_prefix(void **state)
{
    (void)state;
    every_prefix_of(CORPUS "/broken/control-good-base/model.onnx", 1);
    every_prefix_of(KVF_SOURCE_DIR "/models/trigo/policy_head.onnx", 1);
    every_prefix_of(CORPUS "/broken/add-two-inputs/model.onnx", 1);
    every_prefix_of(KVF_SOURCE_DIR "/models/trigo/value_head.onnx", 97);
}

/* The model's own length would catch every cut; so the graph alone is cut here, and all around it
 * is right. Between two fields such a graph is sound, and then something in it must be missing. */
static void every_cut_of_the_graph(void **state)
{
    (void)state;
    size_t size;
    uint8_t *data = read_whole(CORPUS "/broken/control-good-base/model.onnx", &size), *block;
    unsigned seen = 0;
    top t = {0};
    while (!t.graph_end) t = next_top(data, t, &seen);
    for (size_t n = 0; n < t.graph_end - t.graph_begin; n += 3) {
        pb model = {0};
        kvf_onnx *o;
        kvf_error err = {0};
        pb_number(&model, 1, 8);
        pb_bytes(&model, 7, data + t.graph_begin, n);
        pb_raw(&model, data + t.graph_end, size - t.graph_end);
        kvf_status status = parse_exactly(&o, &block, model.data, model.size, &err);
        if (status == KVF_OK)
            touch_all(o);
        else if (status != KVF_ERR_MODEL || !err.msg[0])
            fail_msg("graph cut to %zu bytes: %s %s", n, kvf_status_name(status), err.msg);
        kvf_onnx_close(o);
        free(block);
        pb_free(&model);
    }
    free(data);
}

/* A byte or a few, at random places outside of the weights' bulk, take random values. Nothing is
 * expected but an answer: sanitizers judge the rest. */
static void damaged_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {CORPUS "/broken/control-good-base/model.onnx",
                                        CORPUS "/broken/add-two-inputs/model.onnx",
                                        CORPUS "/broken/recursive-function/model.onnx",
                                        CORPUS "/broken/external-control-good/model.onnx",
                                        KVF_SOURCE_DIR "/models/trigo/value_head.onnx"};
    enum { ROUNDS = 4000 };
    kvf_rng rng;
    kvf_rng_seed(&rng, 20260101);
    for (size_t f = 0; f < sizeof files / sizeof files[0]; f++) {
        size_t size;
        uint8_t *data = read_whole(files[f], &size);
        double begin = kvf_now();
        for (int round = 0; round < ROUNDS && kvf_now() - begin < 8; round++) {
            uint8_t *block = malloc(size);
            assert_non_null(block);
            memcpy(block, data, size);
            for (uint64_t n = 1 + kvf_rng_next(&rng) % 4; n; n--)
                block[kvf_rng_next(&rng) % (kvf_rng_next(&rng) % 2 && size > 9000 ? 9000 : size)] =
                    (uint8_t)kvf_rng_next(&rng);
            kvf_onnx *o;
            if (!kvf_onnx_parse(&o, block, size, "damaged", NULL)) touch_all(o);
            kvf_onnx_close(o);
            free(block);
        }
        free(data);
    }
}

/* ---- memory and time ------------------------------------------------------------------------- */

static void failing_allocations(void **state)
{
    (void)state;
    static const char *const files[] = {KVF_SOURCE_DIR "/models/adder/adder.onnx",
                                        CORPUS "/valid/genai-qwen2-fp32/model.onnx",
                                        CORPUS "/broken/recursive-function/model.onnx"};
    for (size_t f = 0; f < 3; f++) {
        uint64_t n = 1;
        kvf_onnx *o;
        kvf_error err = {0};
        kvf_fail_allocations(n);
        while (kvf_onnx_open(&o, files[f], &err) == KVF_ERR_NOMEM) {
            assert_null(o);
            assert_non_null(strstr(err.msg, ".onnx"));
            kvf_fail_allocations(++n);
        }
        kvf_fail_allocations(0);
        assert_true(n > 5);
        assert_true((o != NULL) == (f < 2));
        kvf_onnx_close(o);
    }
}

/* Many tiny messages that ask for large structs: a count of them fills two megabytes. */
static pb swarm(uint32_t kind, size_t bytes)
{
    pb g = {0}, node = {0}, m;
    char name[32];
    for (uint32_t i = 0; (kind == 3 ? node.size : g.size) < bytes; i++) {
        snprintf(name, sizeof name, "%x", i);
        switch (kind) {
        case 0: pb_raw(&g, "\x0a\x00", 2); break; /* empty nodes */
        case 1: pb_raw(&g, "\x2a\x00", 2); break; /* empty initializers */
        case 2: graph_node(&g, onnx_node("N", "", "", name)); break;
        case 3: onnx_attr_int(&node, name, 1); break;
        case 4: graph_initializer(&g, onnx_tensor(name, KVF_U8, "0", "", 0)); break;
        case 5: { /* inputs of a type that says nothing: a dozen bytes, and a struct of 144 */
            pb port = {0};
            pb_text(&port, 1, name);
            pb_raw(&port, "\x12\x02\x0a", 4);
            graph_input(&g, port);
            break;
        }
        case 6: pb_raw(&g, "\x62\x03\x0a\x01x", 5); break; /* outputs */
        case 7: pb_raw(&g, "\x6a\x00", 2); break;          /* value_info */
        default: break;
        }
    }
    if (kind == 3) graph_node(&g, node);
    m = onnx_model(g);
    return m;
}

static pb swarm_of_model(uint32_t kind, size_t bytes)
{
    pb m = onnx_model(small_graph());
    while (m.size < bytes) switch (kind) {
        case 8: pb_raw(&m, "\x72\x00", 2); break;      /* properties */
        case 9: pb_raw(&m, "\x42\x00", 2); break;      /* operator sets */
        default: pb_raw(&m, "\xca\x01\x00", 3); break; /* functions */
        }
    return m;
}

static void a_budget_ends_it(void **state)
{
    (void)state;
    check_model("inputs without end", swarm(5, 4 << 20), "would take more than 16 times the file");
}

/* In a child, so that its peak is its own; ASan's own memory would count too, so not under it. */
static void memory_is_bounded(void **state)
{
    (void)state;
    if (SANITIZED) skip();
    for (uint32_t kind = 0; kind <= 10; kind++) {
        pid_t child = fork();
        if (!child) {
            pb m = kind < 8 ? swarm(kind, 2 << 20) : swarm_of_model(kind, 2 << 20);
            m.data = realloc(m.data, m.size);
            uint64_t before, after;
            kvf_onnx *o;
            before = kvf_resident_bytes(NULL);
            double begin = kvf_now();
            kvf_onnx_parse(&o, m.data, m.size, "swarm", NULL);
            double took = kvf_now() - begin;
            kvf_resident_bytes(&after);
            _exit(took > 5 ? 2 : after - before > 18 * m.size + (3 << 20) ? 1 : 0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            fail_msg("swarm %u: %s", kind,
                     !WIFEXITED(status)         ? "crashed"
                     : WEXITSTATUS(status) == 1 ? "took more than 18 times its size"
                                                : "took more than 5 s");
    }
}

/* A model of 600 MB opens without a look at its weights: the file is a hole. */
static void large_files_open_at_once(void **state)
{
    (void)state;
    const uint64_t weights = UINT64_C(600) << 20;
    pb tensor = {0}, graph = {0}, model = {0}, rest = small_graph(), end = {0};
    pb_number(&tensor, 1, weights / 4);
    pb_number(&tensor, 2, KVF_F32);
    pb_text(&tensor, 8, "w");
    pb_varint(&tensor, 9 << 3 | 2);
    pb_varint(&tensor, weights);
    pb_raw(&graph, rest.data, rest.size);
    pb_varint(&graph, 5 << 3 | 2);
    pb_varint(&graph, tensor.size + weights);
    pb_raw(&graph, tensor.data, tensor.size);
    pb_number(&model, 1, 8);
    pb_varint(&model, 7 << 3 | 2);
    pb_varint(&model, graph.size + weights);
    pb_raw(&model, graph.data, graph.size);
    pb_write(&model, LARGE);
    pb opset = {0};
    pb_number(&opset, 2, 17);
    pb_message(&end, 8, opset);
    FILE *f = fopen(LARGE, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)(model.size + weights), SEEK_SET), 0);
    assert_int_equal(fwrite(end.data, 1, end.size, f), end.size);
    fclose(f);
    uint64_t before = kvf_resident_bytes(NULL);
    double begin = kvf_now();
    kvf_onnx *o;
    kvf_error err = {0};
    if (kvf_onnx_open(&o, LARGE, &err)) fail_msg("%s", err.msg);
    double took = kvf_now() - begin;
    assert_int_equal(o->parameters, weights / 4);
    assert_true(kvf_resident_bytes(NULL) < before + (4 << 20));
    if (took > 0.5) fail_msg("opening took %.3f s", took);
    kvf_onnx_close(o);
    unlink(LARGE);
    pb_free(&tensor);
    pb_free(&graph);
    pb_free(&model);
    pb_free(&rest);
    pb_free(&end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_cut_of_the_graph),
        cmocka_unit_test(damaged_bytes),
        cmocka_unit_test(failing_allocations),
        cmocka_unit_test(a_budget_ends_it),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(large_files_open_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
