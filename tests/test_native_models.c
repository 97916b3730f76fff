/* test_native_models.c - the native engine over every recorded decoder that lifts: those of real
 * exporters and those made for other conventions, with each level of instructions that this machine
 * runs, each precision and each type of cache.
 *
 * Weights and cache in f32 are held against the recorded logits. Fewer bits give other numbers, which
 * plain C defines (test_linear.c): there the levels are held against each other, and against the
 * record no nearer than the bits allow. */
#include "support_expected.h"

#include "native/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const cpus[] = {"c", "avx2", "avx512", "avx512v", "avx512x"};

/* How far logits may be from the record, and the levels from each other. Two levels round exp or
 * tanh differently; a number next to a boundary of a coarser type then falls to either side. */
static const struct {
    const char *precision, *kv;
    double recorded, levels;
} rows[] = {
    {"f32", "f32", 5e-4, 1e-4}, {"f32", "bf16", 0.3, 0.02}, {"bf16", "f32", 0.8, 0.1},
    {"q8", "bf16", 3, 0.2},     {"q4", "f32", 20, 0.4},
};
enum { ROWS = sizeof rows / sizeof *rows, LEVELS = sizeof cpus / sizeof *cpus };

typedef struct worst {
    double recorded, levels;
    uint32_t models;
} worst;

/* The rows of one model with one level, in small calls, one call and without cache. */
static void run_level(const expected *e, size_t row, size_t c, const float *first, float *got,
                      worst *w)
{
    static const struct {
        uint32_t chunk;
        bool no_cache;
    } ways[] = {{1, false}, {7, false}, {0, false}, {0, true}};
    size_t n = (size_t)e->n * e->vocab;
    kvf_model_options o = {.struct_size = sizeof o,
                           .engine = "native",
                           .threads = 1,
                           .cpu = cpus[c],
                           .precision = rows[row].precision,
                           .kv = rows[row].kv};
    kvf_model *m;
    kvf_error err;
    if (kvf_model_open(&m, e->model, &o, &err)) fail_msg("%s: %s", e->name, err.msg);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        kvf_tree_options size = {.struct_size = sizeof size,
                                 .max_tokens = 64,
                                 .no_cache = ways[i].no_cache};
        kvf_tree *t;
        if (kvf_tree_create(&t, m, &size, &err)) fail_msg("%s: %s", e->name, err.msg);
        expected_run(e, t, ways[i].chunk, got);
        kvf_tree_destroy(t);
        double recorded = largest_difference(got, e->logits, n),
               levels = first ? largest_difference(got, first, n) : 0;
        double may = rows[row].recorded; /* "fp16" has its scale of scores rounded to 11 bits */
        if (!strcmp(e->name, "fp16")) may += 5e-3;
        if (!(recorded <= may) || !(levels <= rows[row].levels))
            fail_msg("%s, %s, weights %s, cache %s, calls of %u: off by %g, and by %g from %s",
                     e->name, cpus[c], rows[row].precision, rows[row].kv, ways[i].chunk, recorded,
                     levels, cpus[0]);
        w->recorded = fmax(w->recorded, recorded);
        w->levels = fmax(w->levels, levels);
    }
    w->models++;
    kvf_model_close(m);
}

static void run_model(const char *folder, worst all[ROWS][LEVELS])
{
    expected e;
    if (!expected_read(&e, folder)) fail_msg("cannot read %s", folder);
    if (expected_lifts(&e)) {
        size_t n = (size_t)e.n * e.vocab;
        float *got = calloc(2 * n, sizeof *got), *first = got + n;
        assert_true(got && expected_take_exact(&e, folder));
        for (size_t r = 0; r < ROWS; r++)
            for (size_t c = 0; c < LEVELS; c++) {
                kvf_cpu level;
                if (kvf_cpu_pick(&level, cpus[c], NULL)) continue;
                run_level(&e, r, c, c ? first : NULL, got, &all[r][c]);
                if (!c) memcpy(first, got, n * sizeof *got);
            }
        free(got);
    }
    expected_free(&e);
}

static void every_level_and_precision(void **state)
{
    (void)state;
    static const char *const where[] = {"corpus/valid", "made"};
    worst all[ROWS][LEVELS] = {0};
    for (int i = 0; i < 2; i++) {
        size_t n;
        char **folders = expected_folders(where[i], &n);
        assert_true(n >= 14);
        for (size_t k = 0; k < n; k++) {
            run_model(folders[k], all);
            free(folders[k]);
        }
        free(folders);
    }
    for (size_t c = 0; c < LEVELS; c++) {
        kvf_cpu level;
        kvf_error err;
        if (kvf_cpu_pick(&level, cpus[c], &err)) {
            print_message("%s: %s\n", cpus[c], err.msg);
            continue;
        }
        for (size_t r = 0; r < ROWS; r++) {
            assert_true(all[r][c].models >= 14 + 10);
            print_message("%s, weights %s, cache %s: %u models, off by %.2g, from c by %.2g\n",
                          cpus[c], rows[r].precision, rows[r].kv, all[r][c].models,
                          all[r][c].recorded, all[r][c].levels);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_level_and_precision)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
