/* test_native.c - the native engine: the result of a node depends on its path alone.
 *
 * For every kernel table, precision and cache type, over decoders of several shapes: nodes reached
 * through random batches, cuts, branches, evictions and teams of threads have the same bits as the
 * path evaluated alone, in one call, by one thread, in a fresh tree. So have nodes of trees that
 * several threads use at once, and those of passes that are done in parts. Heads that are turned
 * when weights are packed give what plain C gives, which turns nothing. */
#include "support_forest.h"
#include "support_plan.h"

#include "native/native.h"
#include "rng.h"

#include <dirent.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { VOCAB = FOREST_VOCAB, PATHS = FOREST_PATHS, LENGTH = 90, WIDTH = FOREST_WIDTH };

/* A team for every pass, however short it is and whatever else the machine does; apart where a
 * pass can be cut so, or always meeting. */
static void in_teams(const kvf_model *model, bool apart)
{
    native_engine *e = model->engine;
    e->alone_below = 0;
    e->apart_bytes = apart ? UINT64_MAX : 0;
    kvf_pool_be_patient(e->pool);
}

static const test_variant shapes[] = {
    {"gpt2 8x8", false, 8, 8, 8, TEST_LEARNED, false, false, 0},
    {"gpt2 3x20", false, 3, 3, 20, TEST_LEARNED, false, false, 0},
    {"llama 4/2x64", true, 4, 2, 64, TEST_ROTARY_HALF, false, false, 0},
    {"llama 4/1x24 interleaved", true, 4, 1, 24, TEST_ROTARY_INTERLEAVED, true, false, 0},
    {"llama 2x16 frequencies", true, 2, 2, 16, TEST_ROTARY_FREQUENCIES, true, false, 0},
    {"gpt-neox 3x32, 4 pairs", false, 3, 3, 32, TEST_ROTARY_HALF, false, true, 4},
};

static test_shape shape_of(size_t i)
{
    test_shape s = test_shape_of(&shapes[i], 2, VOCAB);
    s.context = 256;
    return s;
}

static kvf_model *load(const test_shape *shape, const kvf_model_options *options)
{
    kvf_error err;
    kvf_model *model = test_model_create(shape, 7, options, &err);
    if (!model) fail_msg("%s", err.msg);
    return model;
}

/* ThreadSanitizer has nothing to find where there is one thread, and takes its time. */
#ifdef KVF_SANITIZE_THREAD
static const bool one_thread_too = false;
#else
static const bool one_thread_too = true;
#endif

static const char *const cpus[] = {"c", "avx2", "avx512", "avx512v", "avx512x"};
static const char *const precisions[] = {"f32", "bf16", "q8", "q4"};

static void same_bits(void **unused)
{
    (void)unused;
    static forest f = {.length = LENGTH};
    kvf_rng rng;
    uint64_t seed = 11;
    print_message("seed %llu\n", (unsigned long long)seed);
    kvf_rng_seed(&rng, seed);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t c = 0; c < sizeof cpus / sizeof *cpus; c++)
            for (size_t p = 0; p < 4; p++) {
                kvf_cpu level;
                if (kvf_cpu_pick(&level, cpus[c], NULL)) { /* this machine cannot run it */
                    if (!s && !p) print_message("not here: %s\n", cpus[c]);
                    continue;
                }
                if (c == 0 && p != s % 4) continue; /* plain C is slow: one precision per shape */
                test_shape shape = shape_of(s);
                const char *kv = (s + c + p) % 2 ? "bf16" : "f32";
                kvf_model_options o = {.threads = 1,
                                       .cpu = cpus[c],
                                       .precision = precisions[p],
                                       .kv = kv};
                kvf_model *one = load(&shape, &o);
                o.threads = 2 + (uint32_t)(s + p) % 2;
                kvf_model *many = load(&shape, &o);
                in_teams(many, c % 2 == p / 2);
                char what[100];
                snprintf(what, sizeof what, "%s, %s, %s, cache %s", shapes[s].name, cpus[c],
                         precisions[p], kv);
                forest_draw(&f, &rng);
                forest_expect(&f, one);
                if (one_thread_too) forest_wander(&f, one, false, 40, &rng, what);
                forest_wander(&f, many, false, 40, &rng, what);
                if (c && one_thread_too) forest_wander(&f, one, true, 40, &rng, what);
                test_model_free(one);
                test_model_free(many);
            }
}

/* ---- several trees --------------------------------------------------------------------------- */

/* A thread with a tree of its own on a model that others use as well. */
typedef struct walker {
    pthread_t thread;
    const forest *f;
    const kvf_model *model;
    uint64_t seed;
    const char *wrong; /* what went wrong, or NULL: cmocka's failures belong to the main thread */
} walker;

/* One path in pieces, from where it leaves the one before; its logits as they were alone. */
static const char *walk_path(const walker *w, kvf_seq *seq, int p, kvf_rng *rng)
{
    float logits[LENGTH * VOCAB];
    uint32_t at = 0;
    while (p && at < LENGTH && w->f->token[p][at] == w->f->token[p - 1][at]) at++;
    kvf_error err;
    if (kvf_seq_rewind(seq, at, &err)) return "it cannot go back";
    for (uint32_t n; at < LENGTH; at += n) {
        n = 1 + kvf_rng_below(rng, kvf_rng_below(rng, 2) ? LENGTH - at : 2);
        if (n > LENGTH - at) n = LENGTH - at;
        if (kvf_seq_forward(seq, w->f->token[p] + at, n, KVF_ALL_ROWS, logits, &err))
            return "a call failed";
        for (uint32_t i = 0; i < n; i++)
            if (memcmp(logits + i * VOCAB, w->f->want[p][at + i], VOCAB * sizeof *logits))
                return "logits differ";
    }
    return NULL;
}

static void *walk(void *arg)
{
    walker *w = arg;
    kvf_tree *tree = NULL;
    kvf_seq *seq = NULL;
    kvf_rng rng;
    kvf_rng_seed(&rng, w->seed);
    kvf_tree_options o = {.struct_size = sizeof o, .max_tokens = LENGTH + 20};
    if (kvf_tree_create(&tree, w->model, &o, NULL) || kvf_seq_create(&seq, tree, NULL))
        w->wrong = "no tree";
    for (int p = 0; p < PATHS && !w->wrong; p++) w->wrong = walk_path(w, seq, p, &rng);
    kvf_seq_destroy(seq);
    kvf_tree_destroy(tree);
    return NULL;
}

/* Threads that share a model take its team in turn and run alone where it is taken, with the same
 * bits. */
static void several_trees(void **unused)
{
    (void)unused;
    enum { WALKERS = 3 };
    static forest f = {.length = LENGTH};
    kvf_rng rng;
    kvf_rng_seed(&rng, 23);
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        test_shape shape = shape_of(s);
        kvf_model_options o = {.threads = 1, .precision = s % 2 ? "q8" : "f32"};
        kvf_model *one = load(&shape, &o);
        o.threads = 2;
        kvf_model *many = load(&shape, &o);
        in_teams(many, s / 2 % 2);
        forest_draw(&f, &rng);
        forest_expect(&f, one);
        walker w[WALKERS];
        for (size_t i = 0; i < WALKERS; i++) {
            w[i] = (walker){.f = &f, .model = many, .seed = 100 * s + i};
            assert_int_equal(pthread_create(&w[i].thread, NULL, walk, &w[i]), 0);
        }
        for (size_t i = 0; i < WALKERS; i++) pthread_join(w[i].thread, NULL);
        for (size_t i = 0; i < WALKERS; i++)
            if (w[i].wrong) fail_msg("%s, thread %zu: %s", shapes[s].name, i, w[i].wrong);
        test_model_free(one);
        test_model_free(many);
    }
}

/* ---- random trees ---------------------------------------------------------------------------- */

enum { BATCHES = 5, BATCH = 90, TREE = BATCHES * BATCH };

/* Batches that are trees: rows go on from the row before, or from any row of the batch or of an
 * earlier one, so that paths cross wherever a pass is cut. Few tokens, so that some nodes are
 * there already. All that rows want, one batch behind the other: got is [TREE][WIDTH]. */
static void grow_trees(const kvf_model *m, uint64_t seed, float *got)
{
    kvf_tree *tree = forest_tree(m, TREE, false);
    kvf_node nodes[TREE];
    kvf_rng rng;
    kvf_error err;
    kvf_rng_seed(&rng, seed);
    memset(got, 0, TREE * WIDTH * sizeof *got);
    for (uint32_t b = 0, n = 0; b < BATCHES; b++, got += BATCH * WIDTH) {
        kvf_entry entries[BATCH];
        uint32_t size = 1 + kvf_rng_below(&rng, BATCH), chain = 1 + kvf_rng_below(&rng, 12);
        for (uint32_t i = 0; i < size; i++) {
            kvf_entry *e = &entries[i];
            *e = (kvf_entry){.token = (int32_t)kvf_rng_below(&rng, 12), .after = (int32_t)i - 1};
            if (!kvf_rng_below(&rng, chain))
                e->after = kvf_rng_below(&rng, 2) ? -1 : (int32_t)kvf_rng_below(&rng, i + 1) - 1;
            if (n && kvf_rng_below(&rng, 4)) e->parent = nodes[kvf_rng_below(&rng, n)];
            if (kvf_rng_below(&rng, 3)) e->want = KVF_WANT(KVF_LOGITS) | KVF_WANT(KVF_VALUE);
        }
        kvf_outputs out = {{[KVF_LOGITS] = got, [KVF_VALUE] = got + BATCH * VOCAB}};
        if (kvf_eval(tree, entries, size, nodes + n, &out, &err)) fail_msg("%s", err.msg);
        n += size;
    }
    kvf_tree_destroy(tree);
}

/* ---- parts of a pass ------------------------------------------------------------------------- */

static test_shape random_shape(kvf_rng *rng)
{
    static const uint32_t heads[] = {1, 2, 3, 4, 6, 8, 16}, dims[] = {4, 8, 12, 16, 20, 24, 64};
    uint32_t layers = 1 + kvf_rng_below(rng, 4), h, d;
    do {
        h = heads[kvf_rng_below(rng, 7)];
        d = dims[kvf_rng_below(rng, 7)];
    } while (h * d > 128);
    bool llama = kvf_rng_below(rng, 2);
    test_shape s = llama ? test_llama(layers, h, h % 2 ? h : h >> kvf_rng_below(rng, 2), d, VOCAB)
                         : test_gpt2(layers, h, d, VOCAB);
    s.context = TREE;
    s.positions = (test_positions)kvf_rng_below(rng, 4);
    s.qk_norm = !kvf_rng_below(rng, 3);
    s.parallel = !kvf_rng_below(rng, 3);
    s.value_head = true;
    return s;
}

/* A pass of a small model is done in parts by as many threads: later parts wait for K and V of
 * earlier ones. More often than once, with more threads than processors: so their order varies. */
static void parts_give_the_same(void **unused)
{
    (void)unused;
    static const uint32_t threads[] = {2, 3, 4, 7};
    static float want[TREE * WIDTH], got[TREE * WIDTH];
    kvf_rng rng;
    kvf_rng_seed(&rng, 31);
    for (uint64_t i = 0; i < 20; i++) {
        test_shape shape = random_shape(&rng);
        kvf_cpu level;
        kvf_model_options o = {.threads = 1,
                               .cpu = cpus[i % 5],
                               .precision = precisions[i % 4],
                               .kv = i % 2 ? "bf16" : "f32"};
        if (kvf_cpu_pick(&level, o.cpu, NULL)) o.cpu = "c";
        kvf_model *one = load(&shape, &o);
        grow_trees(one, i, want);
        test_model_free(one);
        for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
            o.threads = threads[t];
            kvf_model *many = load(&shape, &o);
            native_engine *e = many->engine;
            assert_true(e->weight_bytes <= e->apart_bytes);
            in_teams(many, true);
            for (int again = 0; again < 3; again++) {
                grow_trees(many, i, got);
                if (memcmp(got, want, sizeof got))
                    fail_msg("shape %llu, %s, %s, cache %s, %u threads: differs, run %d",
                             (unsigned long long)i, o.cpu, o.precision, o.kv, o.threads, again);
            }
            test_model_free(many);
        }
    }
}

/* ---- narrow heads ---------------------------------------------------------------------------- */

/* Heads of a bundle are turned when q, k and v are packed, unless something happens to a single head
 * behind the product, or several queries share a head. */
static void turned_heads(void **unused)
{
    (void)unused;
    static const struct {
        uint32_t heads, kv_heads, head_dim;
        test_positions positions;
        bool qk_norm, turned;
    } cases[] = {{8, 8, 8, TEST_LEARNED, false, true},
                 {16, 16, 8, TEST_LEARNED, false, true},
                 {4, 4, 20, TEST_LEARNED, false, true},
                 {12, 12, 12, TEST_LEARNED, false, true},
                 {8, 4, 8, TEST_LEARNED, false, false},
                 {8, 8, 8, TEST_ROTARY_HALF, false, false},
                 {4, 4, 20, TEST_ROTARY_INTERLEAVED, false, false},
                 {8, 8, 8, TEST_LEARNED, true, false}};
    static float want[TREE * WIDTH], got[TREE * WIDTH];
    for (size_t i = 0; i < sizeof cases / sizeof *cases && one_thread_too; i++)
        for (size_t p = 0; p < 8; p++) {
            test_shape shape =
                test_llama(2, cases[i].heads, cases[i].kv_heads, cases[i].head_dim, VOCAB);
            shape.biases = true;
            shape.value_head = true;
            shape.context = TREE;
            shape.positions = cases[i].positions;
            shape.qk_norm = cases[i].qk_norm;
            for (size_t c = 0; c < 3; c++) {
                kvf_cpu level;
                kvf_model_options o = {.threads = 1,
                                       .cpu = cpus[c],
                                       .precision = precisions[p % 4],
                                       .kv = p / 4 ? "bf16" : "f32"};
                if (kvf_cpu_pick(&level, o.cpu, NULL)) continue;
                kvf_model *m = load(&shape, &o);
                assert_int_equal(((native_engine *)m->engine)->turned, c && cases[i].turned);
                grow_trees(m, p, c ? got : want);
                test_model_free(m);
                /* Levels round 2^x differently; a number next to a boundary of a coarser type then
                 * falls to either side. Heads in disorder are off by more than 1. */
                const double most = p ? 0.3 : 1e-4;
                for (size_t k = 0; c && k < TREE * WIDTH; k++)
                    if (!(fabs((double)got[k] - want[k]) <= most))
                        fail_msg("case %zu, %s, %s, cache %s: at %zu %g, want %g", i, o.cpu,
                                 o.precision, o.kv, k, got[k], want[k]);
            }
        }
}

/* ---- pinning --------------------------------------------------------------------------------- */

/* Threads of this process that may run on one processor only. */
static int pinned_threads(void)
{
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *d; (d = readdir(tasks));) {
        cpu_set_t set;
        if (*d->d_name != '.' && !sched_getaffinity(atoi(d->d_name), sizeof set, &set))
            n += CPU_COUNT(&set) == 1;
    }
    closedir(tasks);
    return n;
}

static void threads_are_pinned_on_request(void **unused)
{
    (void)unused;
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    uint32_t processors = (uint32_t)CPU_COUNT(&all);
    int before = pinned_threads(); /* on a machine of one processor, all */
    test_shape shape = shape_of(0);
    kvf_model_options o = {.threads = processors, .pin = true};
    kvf_model *m = load(&shape, &o);
    if (processors > 1) assert_int_equal(pinned_threads(), before + (int)processors - 1);
    test_model_free(m);
    o.pin = false;
    m = load(&shape, &o);
    if (processors > 1) assert_int_equal(pinned_threads(), before);
    test_model_free(m);
    o.pin = true;
    o.threads = processors + 1;
    kvf_error err;
    assert_null(test_model_create(&shape, 7, &o, &err));
    assert_int_equal(err.status, KVF_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits), cmocka_unit_test(several_trees),
                                       cmocka_unit_test(parts_give_the_same),
                                       cmocka_unit_test(turned_heads),
                                       cmocka_unit_test(threads_are_pinned_on_request)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
