/* test_cuda.c - the cuda engine: the result of a node depends on its path alone, is near what the
 * native engine gives, and nothing moves that need not.
 *
 * Built twice: with a stand-in for the device, which runs the kernels thread by thread on the host in
 * any order, counts what is copied and fails as told; and, as test cuda_device, for a device. */
#include "support_expected.h"
#include "support_forest.h"
#include "support_plan.h"
#include "support_walk.h"
#include "tree.h"

#ifdef KVF_STAND_IN
#include "device/device.h"
#endif

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { VOCAB = FOREST_VOCAB, SPAN = 256 /* positions that a block attends to */ };

static const test_variant shapes[] = {
    {"gpt2 4x8", false, 4, 4, 8, TEST_LEARNED, false, false, 0},
    {"gpt2 3x20", false, 3, 3, 20, TEST_LEARNED, false, false, 0},
    {"llama 4/2x64", true, 4, 2, 64, TEST_ROTARY_HALF, false, false, 0},
    {"llama 9/1x12 interleaved", true, 9, 1, 12, TEST_ROTARY_INTERLEAVED, true, false, 0},
    {"llama 1x128 frequencies", true, 1, 1, 128, TEST_ROTARY_FREQUENCIES, true, false, 0},
    {"gpt-neox 3x32, 4 pairs", false, 3, 3, 32, TEST_ROTARY_HALF, false, true, 4},
    {"llama 1x200", true, 1, 1, 200, TEST_ROTARY_HALF, false, false, 0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };
static const char *const precisions[] = {"f32", "bf16", "q8"}, *const caches[] = {"f32", "bf16"};

static test_shape shape_of(size_t i, uint32_t layers)
{
    test_shape s = test_shape_of(&shapes[i], layers, VOCAB);
    s.inner = 100;
    s.context = 2 * FOREST_LENGTH;
    return s;
}

static kvf_model *load(const kvf_engine_ops *engine, const test_shape *shape, const char *precision,
                       const char *kv)
{
    kvf_error err;
    kvf_model_options o = {.threads = 1, .precision = precision, .kv = kv};
    kvf_model *model = test_model_create_for(engine, shape, 7, &o, &err);
    if (!model) fail_msg("%s", err.msg);
    return model;
}

static uint64_t sent_bytes(const kvf_tree *tree, uint64_t *received)
{
    kvf_tree_stats stats;
    kvf_tree_get_stats(tree, &stats);
    if (received) *received = stats.received_bytes;
    return stats.sent_bytes;
}

/* ---- bits ------------------------------------------------------------------------------------ */

static void same_bits(void **unused)
{
    (void)unused;
    static forest f;
    kvf_rng rng;
    kvf_rng_seed(&rng, 11);
    for (size_t s = 0; s < SHAPES; s++)
        for (size_t p = 0; p < 3; p++) {
            const char *kv = caches[(s + p) % 2];
            test_shape shape = shape_of(s, 1 + s % 2);
            kvf_model *m = load(&kvf_engine_cuda, &shape, precisions[p], kv);
            char what[100];
            snprintf(what, sizeof what, "%s, %s, cache %s", shapes[s].name, precisions[p], kv);
            f.length = 24;
            forest_draw(&f, &rng);
            forest_expect(&f, m);
            forest_wander(&f, m, false, 8, &rng, what);
            if (p == s % 3) forest_wander(&f, m, true, 0, &rng, what);
            test_model_free(m);
        }
}

/* Against the native engine, with the same precisions: f32 differs by the order of sums; bf16 also by
 * numbers next to a boundary, q and weights of positions that are rounded; q8 by rows that native
 * cuts into groups of integers. */
static const double near[3][2] = {{1e-4, 0.1}, {0.03, 0.15}, {0.4, 0.4}};

enum { TRUNK = 2 * SPAN + 20, BRANCHES = 65, TAIL = 3 };

/* Branches of one trunk, many from its end and some from either side of the end of a span: each in a
 * call of its own, or all in one. */
static void grow_branches(kvf_model *m, bool alone, uint32_t tokens, float logits[BRANCHES][VOCAB],
                          uint64_t seed)
{
    static kvf_entry entries[TRUNK];
    static kvf_node nodes[TRUNK], leaves[BRANCHES * TAIL];
    kvf_tree *tree = forest_tree(m, tokens, false);
    kvf_error err;
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    for (int i = 0; i < TRUNK; i++)
        entries[i] = (kvf_entry){.token = (int32_t)kvf_rng_below(&rng, VOCAB), .after = i - 1};
    if (kvf_eval(tree, entries, TRUNK, nodes, NULL, &err)) fail_msg("%s", err.msg);
    assert_int_equal(kvf_hold(tree, nodes[TRUNK - 1], &err), KVF_OK);
    for (int b = 0, n = 0; b < BRANCHES; b++) {
        uint32_t leave = b % 7 ? TRUNK - 1 : SPAN - 2 + (uint32_t)b;
        for (int t = 0; t < TAIL; t++, n++)
            entries[n] = (kvf_entry){.token = (b + t) % VOCAB,
                                     .after = t ? n - 1 : -1,
                                     .parent = nodes[leave],
                                     .want = t + 1 == TAIL ? KVF_WANT(KVF_LOGITS) : 0};
        if (!alone && b + 1 < BRANCHES) continue;
        kvf_outputs out = {{logits[alone ? b : 0]}};
        if (kvf_eval(tree, entries, (size_t)n, leaves, &out, &err)) fail_msg("%s", err.msg);
        n = 0;
    }
    kvf_tree_destroy(tree);
}

/* Paths of several spans: read together where branches share them, and merged in their order; in a
 * tree for long paths, so many of them that rows are merged in groups. */
static void deep_down(void **unused)
{
    (void)unused;
    enum { TOKENS = TRUNK + BRANCHES * TAIL, LONG = 32000 };
    static float alone[BRANCHES][VOCAB], together[BRANCHES][VOCAB], native[BRANCHES][VOCAB];
    for (size_t s = 0; s < 4; s++) {
        bool is_long = s == 2; /* rotary positions need no table of them */
        test_shape shape = shape_of(s, is_long ? 2 : 1);
        size_t p = s % 3, c = s != 1;
        if (is_long) shape.context = LONG;
        kvf_model *m = load(&kvf_engine_cuda, &shape, precisions[p], caches[c]),
                  *host = load(&kvf_engine_native, &shape, precisions[p], caches[c]);
        grow_branches(m, true, TOKENS, alone, 3 + s);
        grow_branches(m, false, is_long ? LONG : TOKENS, together, 3 + s);
        grow_branches(host, false, TOKENS, native, 3 + s);
        for (int b = 0; b < BRANCHES; b++)
            if (memcmp(together[b], alone[b], sizeof alone[b]))
                fail_msg("%s, cache %s: branch %d of %d differs", shapes[s].name, caches[c], b,
                         BRANCHES);
        double off = largest_difference(alone[0], native[0], (size_t)BRANCHES * VOCAB);
        print_message("%s, %s, cache %s: off by %.2g\n", shapes[s].name, precisions[p], caches[c],
                      off);
        if (!(off <= near[p][c])) fail_msg("off by %g from native", off);
        test_model_free(m);
        test_model_free(host);
    }
}

static void near_native(void **unused)
{
    (void)unused;
    for (size_t s = 0; s < SHAPES; s++)
        for (size_t p = 0; p < 3; p++)
            for (size_t c = 0; c < 2; c++) {
                test_shape shape = shape_of(s, 2);
                if ((s + p + c) % 2) continue;
                kvf_model *device = load(&kvf_engine_cuda, &shape, precisions[p], caches[c]),
                          *host = load(&kvf_engine_native, &shape, precisions[p], caches[c]);
                char what[100];
                snprintf(what, sizeof what, "%s, %s, cache %s", shapes[s].name, precisions[p],
                         caches[c]);
                double off = walk_and_compare(what, device, host, KVF_LOGITS, near[p][c]);
                print_message("%s: off by %.2g\n", what, off);
                walk_and_compare(what, device, host, KVF_VALUE, near[p][c]);
                test_model_free(device);
                test_model_free(host);
            }
}

static const struct {
    const char *precision, *kv;
    double most;
} held[] = {{"f32", "f32", 5e-4}, {"bf16", "bf16", 0.8}, {"q8", "bf16", 3}};
enum { HELD = sizeof held / sizeof *held };

/* How far one decoder is from its record: in one call and in pieces. */
static double off_the_record(const expected *e, size_t row)
{
    kvf_model_options o = {.struct_size = sizeof o,
                           .engine = "cuda",
                           .threads = 1,
                           .precision = held[row].precision,
                           .kv = held[row].kv};
    size_t n = (size_t)e->n * e->vocab;
    float *got = calloc(n, sizeof *got);
    double worst = 0, most = held[row].most;
    kvf_model *m;
    kvf_error err;
    assert_non_null(got);
    if (!strcmp(e->name, "fp16")) most += 5e-3; /* its scale of scores has 11 bits */
    if (kvf_model_open(&m, e->model, &o, &err)) fail_msg("%s: %s", e->name, err.msg);
    for (uint32_t chunk = 0; chunk < 8; chunk += 7) {
        kvf_tree *tree = forest_tree(m, 64, false);
        expected_run(e, tree, chunk, got);
        kvf_tree_destroy(tree);
        double off = largest_difference(got, e->logits, n);
        if (!(off <= most))
            fail_msg("%s, weights %s, cache %s, calls of %u: off by %g", e->name,
                     held[row].precision, held[row].kv, chunk, off);
        if (off > worst) worst = off;
    }
    kvf_model_close(m);
    free(got);
    return worst;
}

/* Decoders of real exporters and of other conventions, against their recorded logits. */
static void recorded_decoders(void **unused)
{
    (void)unused;
    static const char *const where[] = {"corpus/valid", "made"};
    double worst[HELD] = {0};
    uint32_t models = 0;
    for (int w = 0; w < 2; w++) {
        size_t n;
        char **folders = expected_folders(where[w], &n);
        for (size_t k = 0; k < n; k++) {
            expected e;
            if (!expected_read(&e, folders[k])) fail_msg("cannot read %s", folders[k]);
            if (expected_lifts(&e)) {
                assert_true(expected_take_exact(&e, folders[k]));
                for (size_t r = 0; r < HELD; r++) {
                    double off = off_the_record(&e, r);
                    if (off > worst[r]) worst[r] = off;
                }
                models++;
            }
            expected_free(&e);
            free(folders[k]);
        }
        free(folders);
    }
    assert_in_range(models, 14 + 10, 100);
    for (size_t r = 0; r < HELD; r++)
        print_message("%u models, weights %s, cache %s: off by %.2g\n", models, held[r].precision,
                      held[r].kv, worst[r]);
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* A step sends its token, slot and place, not the path; a fork nothing at all; and what comes back is
 * what was wanted. */
static void only_what_is_new_moves(void **unused)
{
    (void)unused;
    test_shape shape = shape_of(0, 2);
    kvf_model *m = load(&kvf_engine_cuda, &shape, "bf16", "bf16");
    kvf_tree *tree = forest_tree(m, 400, false);
    kvf_seq *seq, *fork;
    kvf_error err;
    float row[VOCAB];
    int32_t prompt[300] = {0};
    assert_int_equal(kvf_seq_create(&seq, tree, &err), KVF_OK);
#ifdef KVF_STAND_IN
    kvf_device_reset_counts();
#endif
    assert_int_equal(kvf_seq_forward(seq, prompt, 300, KVF_NO_ROWS, NULL, &err), KVF_OK);
    uint64_t received, sent = sent_bytes(tree, &received);
    assert_int_equal(received, 0);
    for (int i = 0; i < 4; i++) {
        int32_t token = i + 1;
        assert_int_equal(kvf_seq_forward(seq, &token, 1, KVF_LAST_ROW, row, &err), KVF_OK);
        uint64_t now = sent_bytes(tree, &received);
        if (i > 1) assert_in_range(now - sent, 1, 10 << 10);
        assert_int_equal(received, (i + 1) * sizeof row);
        sent = now;
    }
    assert_int_equal(kvf_seq_fork(&fork, seq, &err), KVF_OK);
    assert_int_equal(sent_bytes(tree, NULL), sent);
#ifdef KVF_STAND_IN
    kvf_device_counts counts = kvf_device_count();
    assert_int_equal(counts.to_device_bytes, sent);
    assert_int_equal(counts.to_host_bytes, received);
    assert_int_equal(counts.on_device_bytes, 0);
    assert_int_equal(counts.graphs, 3); /* each step after the first is one */
#endif
    kvf_seq_destroy(fork);
    kvf_seq_destroy(seq);
    kvf_tree_destroy(tree);
    test_model_free(m);
}

/* ---- what can go wrong ----------------------------------------------------------------------- */

#ifdef KVF_STAND_IN
static void refused(const kvf_model_options *o, kvf_status status, const char *words)
{
    test_shape shape = shape_of(0, 1);
    kvf_error err = {0};
    kvf_model *m = test_model_create_for(&kvf_engine_cuda, &shape, 7, o, &err);
    if (m) fail_msg("taken, but should say: %s", words);
    if (err.status != status || !strstr(err.msg, words))
        fail_msg("status %d, \"%s\", want %d and \"%s\"", (int)err.status, err.msg, (int)status,
                 words);
    assert_int_equal(kvf_device_count().device_bytes, 0);
}

static void devices_that_will_not_do(void **unused)
{
    (void)unused;
    kvf_model_options o = {.threads = 1};
    kvf_device_set_no_driver(1);
    refused(&o, KVF_ERR_ENGINE, "there is no CUDA driver on this machine");
    kvf_device_reset();
    kvf_device_set_devices(0);
    refused(&o, KVF_ERR_ENGINE, "there is no device cuda:0: this machine has 0");
    kvf_device_set_devices(2);
    o.device = "cuda:2";
    refused(&o, KVF_ERR_ENGINE, "there is no device cuda:2: this machine has 2");
    o.device = "cuda:1";
    kvf_device_set_no_image(1);
    refused(&o, KVF_ERR_ENGINE, "cudaErrorNoKernelImageForDevice");
    kvf_device_set_no_image(0);
    kvf_device_set_capability(6, 1);
    refused(&o, KVF_ERR_ENGINE, "compute capability 6.1, but the cuda engine needs 7.0");
    kvf_device_reset();
    o = (kvf_model_options){.threads = 1, .precision = "q4"};
    refused(&o, KVF_ERR_ARG, "the cuda engine has f32, bf16 and q8");
    o.precision = NULL;
    kvf_device_set_memory(1000);
    refused(&o, KVF_ERR_NOMEM, "bytes of the device, 1000 are free");
    kvf_device_reset();
    for (uint64_t n = 1; n < 4; n++) { /* host memory */
        kvf_error err;
        test_shape shape = shape_of(0, 1);
        kvf_fail_allocations(n);
        kvf_model *m = test_model_create_for(&kvf_engine_cuda, &shape, 7, &o, &err);
        kvf_fail_allocations(0);
        if (m) fail_msg("allocation %llu was not needed", (unsigned long long)n);
        assert_int_equal(err.status, KVF_ERR_NOMEM);
        assert_int_equal(kvf_device_count().device_bytes, 0);
    }
}

static kvf_status make_tree(kvf_tree **tree, const kvf_model *m, uint64_t bytes, kvf_error *err)
{
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = 1000, .max_bytes = bytes};
    return kvf_tree_create(tree, m, &o, err);
}

/* A tree that does not fit takes nothing, says how much there is, and a smaller one is taken. All
 * that a tree takes of the device is in its formula. */
static void memory_of_the_device(void **unused)
{
    (void)unused;
    test_shape shape = shape_of(2, 2);
    kvf_model *m = load(&kvf_engine_cuda, &shape, "bf16", "bf16");
    uint64_t weights = kvf_device_count().device_bytes;
    assert_int_equal(weights, kvf_model_get_info(m)->weight_bytes);
    kvf_tree *tree;
    kvf_error err;
    kvf_tree_stats stats;
    assert_int_equal(make_tree(&tree, m, 0, &err), KVF_OK);
    kvf_tree_get_stats(tree, &stats);
    kvf_device_counts counts = kvf_device_count();
    assert_int_equal(stats.device_bytes, counts.device_bytes);
    assert_int_equal(stats.cache_bytes, 1000 * kvf_model_get_info(m)->bytes_per_token);
    assert_in_range(counts.device_bytes - weights + counts.host_bytes, stats.cache_bytes,
                    stats.cache_bytes + stats.tree_bytes);
    kvf_tree_options all = {.struct_size = sizeof all, .max_tokens = 1000};
    assert_int_equal(kvf_tree_bytes(m, &all), stats.cache_bytes + stats.tree_bytes);
    kvf_tree_destroy(tree);
    kvf_device_set_memory(weights + stats.cache_bytes);
    assert_int_equal(make_tree(&tree, m, 0, &err), KVF_ERR_NOMEM);
    assert_non_null(strstr(err.msg, "1000 rows of cache"));
    assert_int_equal(kvf_device_count().device_bytes, weights);
    assert_int_equal(make_tree(&tree, m, stats.cache_bytes, &err), KVF_OK);
    kvf_tree_destroy(tree);
    kvf_device_reset();
    test_model_free(m);
    assert_int_equal(kvf_device_count().device_bytes, 0);
    assert_int_equal(kvf_device_count().host_bytes, 0);
}

/* Where the driver has no memory for a graph, passes run kernel by kernel, to the same bits. */
static void graphs_that_cannot_be_made(void **unused)
{
    (void)unused;
    enum { STEPS = 4 };
    float row[2][STEPS][VOCAB];
    test_shape shape = shape_of(2, 2);
    kvf_model *m = load(&kvf_engine_cuda, &shape, "bf16", "bf16");
    for (int without = 0; without < 2; without++) {
        kvf_tree *tree = forest_tree(m, 50, false);
        kvf_seq *seq;
        kvf_error err;
        kvf_device_reset();
        kvf_device_set_no_graphs(without);
        assert_int_equal(kvf_seq_create(&seq, tree, &err), KVF_OK);
        for (int32_t i = 0; i < STEPS; i++)
            assert_int_equal(kvf_seq_forward(seq, &i, 1, KVF_LAST_ROW, row[without][i], &err),
                             KVF_OK);
        assert_int_equal(kvf_device_count().graphs, without ? 0 : STEPS - 1);
        kvf_seq_destroy(seq);
        kvf_tree_destroy(tree);
    }
    assert_memory_equal(row[0], row[1], sizeof row[0]);
    kvf_device_reset();
    test_model_free(m);
}

/* A device that goes in the middle of a run: that call fails, and so do later ones, and nothing else
 * happens. Another thread's device stays its own. */
static void a_device_is_lost(void **unused)
{
    (void)unused;
    test_shape shape = shape_of(0, 2);
    float row[VOCAB];
    for (uint64_t at = 1; at < 30; at += 4) {
        kvf_model *m = load(&kvf_engine_cuda, &shape, "f32", "f32");
        kvf_tree *tree = forest_tree(m, 50, false);
        kvf_entry e = {.token = 1, .after = -1, .want = KVF_WANT(KVF_LOGITS)};
        kvf_outputs out = {{row}};
        kvf_node first, second;
        kvf_error err = {0};
        assert_int_equal(kvf_eval(tree, &e, 1, &first, &out, &err), KVF_OK);
        kvf_hold(tree, first, &err);
        kvf_device_lose_at(at);
        kvf_status status = KVF_OK;
        e.parent = first;
        for (int i = 0; i < 4 && !status; i++, e.token++)
            status = kvf_eval(tree, &e, 1, &second, &out, &err);
        assert_int_equal(status, KVF_ERR_ENGINE);
        assert_non_null(strstr(err.msg, "cudaErrorLaunchFailure"));
        assert_int_equal(kvf_eval(tree, &e, 1, &second, &out, &err), KVF_ERR_ENGINE);
        assert_true(kvf_node_exists(tree, first));
        const char *reason;
        if (!kvf_tree_validate(tree, &reason)) fail_msg("%s", reason);
        kvf_tree_destroy(tree);
        test_model_free(m);
        kvf_device_reset();
        assert_int_equal(kvf_device_count().device_bytes, 0);
    }
}
#endif

int main(void)
{
#ifndef KVF_STAND_IN
    test_shape shape = shape_of(0, 1);
    kvf_error err;
    kvf_model *m = test_model_create_for(&kvf_engine_cuda, &shape, 7, NULL, &err);
    if (!m && (strstr(err.msg, "no CUDA driver") || strstr(err.msg, "this machine has 0"))) {
        fprintf(stderr, "skipped: %s\n", err.msg);
        return 77;
    }
    if (!m) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    test_model_free(m);
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(deep_down),
        cmocka_unit_test(near_native),
        cmocka_unit_test(recorded_decoders),
        cmocka_unit_test(only_what_is_new_moves),
#ifdef KVF_STAND_IN
        cmocka_unit_test(devices_that_will_not_do),
        cmocka_unit_test(memory_of_the_device),
        cmocka_unit_test(graphs_that_cannot_be_made),
        cmocka_unit_test(a_device_is_lost),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
