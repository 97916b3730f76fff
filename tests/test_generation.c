/* test_generation.c - self-play from inside: what games of a generation have in common, threads
 * that play them, arrays, and what happens when memory runs out anywhere. tests/test_selfplay.py
 * looks at the files. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base.h"
#include "trigo/collect.h"
#include "trigo/selfplay.h"

static char folder[] = "/tmp/test_generation.XXXXXX"; /* all else is below it */
static char names[4][64];

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    for (int i = 0; i < 4; i++) snprintf(names[i], sizeof names[i], "%s/%c", folder, 'a' + i);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return trigo_folder_remove(folder, NULL);
}

static void must(kvf_status status, const kvf_error *err)
{
    if (status) fail_msg("%s: %s", kvf_status_name(status), err->msg);
}

static trigo_generation small_generation(void)
{
    trigo_generation g = TRIGO_GENERATION_DEFAULTS;
    g.games = 20;
    g.games_per_file = 8;
    g.seed = 3;
    g.shapes[1] = (trigo_shape){3, 3, 3};
    g.n_shapes = 2;
    g.sims = 20;
    kvf_error err;
    must(trigo_generation_describe(&g, NULL, TRIGO_SET_FIRST, &err), &err);
    return g;
}

static trigo_selfplay_progress play(const char *out, const trigo_generation *g, uint32_t threads,
                                    uint32_t games)
{
    kvf_error err;
    trigo_selfplay_progress done;
    trigo_selfplay_options o = {
        .folder = out, .generation = g, .threads = threads, .games = games, .shards = 1};
    must(trigo_selfplay(&o, &done, &err), &err);
    return done;
}

static void same_file(const char *a, const char *b, const char *name, uint64_t number)
{
    char *paths[] = {trigo_folder_path(a, name, number), trigo_folder_path(b, name, number)};
    kvf_file files[2];
    kvf_error err;
    for (int i = 0; i < 2; i++) must(kvf_file_open(&files[i], paths[i], &err), &err);
    assert_int_equal(files[0].size, files[1].size);
    assert_memory_equal(files[0].data, files[1].data, files[0].size);
    for (int i = 0; i < 2; i++) {
        kvf_file_close(&files[i]);
        kvf_free(paths[i]);
    }
}

static void same_folders(const char *a, const char *b, const trigo_generation *g)
{
    same_file(a, b, "generation.json", 0);
    for (uint64_t i = 0; i < g->games; i++) same_file(a, b, "tgn/%08llu.tgn", i);
    for (uint64_t i = 0; i < g->games; i += g->games_per_file) {
        same_file(a, b, "%08llu.jsonl", i);
        same_file(a, b, "%08llu.npz", i);
    }
}

/* ---- generations ----------------------------------------------------------------------------- */

static void games_differ(void **state)
{
    (void)state;
    enum { GAMES = 2000 };
    static uint64_t seeds[2][GAMES];
    trigo_generation g = small_generation();
    uint32_t of_shape[2] = {0};
    for (uint64_t s = 0; s < 2; s++, g.seed++)
        for (uint64_t i = 0; i < GAMES; i++) {
            trigo_search_options o = trigo_generation_search(&g, i);
            uint32_t cells = trigo_cells(trigo_generation_shape(&g, i));
            of_shape[cells == 27]++;
            assert_true(o.noise_alpha == 10.0 / cells);
            assert_int_equal(o.temperature_plies, 7);
            seeds[s][i] = o.seed;
            for (uint64_t k = 0; k < i; k++) assert_true(seeds[s][k] != o.seed);
            for (uint64_t k = 0; s && k < GAMES; k++) assert_true(seeds[0][k] != o.seed);
        }
    assert_in_range(of_shape[0], GAMES - 200, GAMES + 200);
    trigo_generation_free(&g);
}

/* Options as they are written are read as they were. */
static void options_come_back(void **state)
{
    (void)state;
    trigo_generation g = small_generation(), again;
    kvf_error err;
    g.c_puct = 1 / 3.0;
    g.noise_alpha = 0.1;
    g.temperature_plies = 5;
    g.seed = INT64_MAX;
    must(trigo_generation_describe(&g, NULL, TRIGO_SET_FIRST, &err), &err);
    must(trigo_folder_open(names[3], &g, &err), &err);
    char *path = trigo_folder_path(names[3], "generation.json", 0);
    must(trigo_generation_read(&again, path, &err), &err);
    must(trigo_generation_compare(&g, "a", &again, "b", &err), &err);
    assert_true(again.c_puct == g.c_puct && again.noise_alpha == g.noise_alpha);
    assert_int_equal(again.temperature_plies, 5);
    assert_int_equal(again.seed, INT64_MAX);
    assert_memory_equal(again.shapes, g.shapes, sizeof g.shapes);
    trigo_search_options o = trigo_generation_search(&again, 0);
    assert_true(o.c_puct == g.c_puct && o.noise_alpha == 0.1 && o.temperature_plies == 5);
    trigo_generation_free(&again);
    trigo_generation_free(&g);
    kvf_free(path);
}

/* ---- threads --------------------------------------------------------------------------------- */

static void threads_share_games(void **state)
{
    (void)state;
    trigo_generation g = small_generation();
    trigo_selfplay_progress one = play(names[0], &g, 1, 32), many = play(names[1], &g, 5, 3);
    assert_int_equal(one.games, 20);
    assert_int_equal(many.games, 20);
    assert_int_equal(one.moves, many.moves);
    assert_int_equal(one.simulations, many.simulations);
    assert_int_equal(one.questions, many.questions);
    same_folders(names[0], names[1], &g);
    many = play(names[1], &g, 2, 3);
    assert_int_equal(many.games, 0);
    assert_int_equal(many.found, 20);
    trigo_generation_free(&g);
}

static void never(const char *words)
{
    fail_msg("%s", words);
}

/* Wherever memory runs out: it is said, what was finished stays, and the next one goes on. */
static void survives_lack_of_memory(void **state)
{
    (void)state;
    trigo_generation g = small_generation();
    g.games = 3;
    g.games_per_file = 2;
    g.max_plies = 3;
    g.sims = 4;
    kvf_error err;
    must(trigo_generation_describe(&g, NULL, TRIGO_SET_FIRST, &err), &err);
    trigo_selfplay_options o = {
        .folder = names[2], .generation = &g, .threads = 1, .games = 2, .shards = 1};
    const char *const folders[] = {names[2]};
    trigo_selfplay_progress done;
    trigo_collection c;
    uint32_t failures = 0;
    for (uint64_t nth = 1, step = 1;; nth += step) { /* every one at first; later ones repeat */
        must(trigo_folder_remove(names[2], &err), &err);
        kvf_fail_allocations(nth);
        kvf_status status = trigo_selfplay(&o, &done, &err);
        bool all = kvf_fail_allocations(0) < nth;
        if (status) assert_int_equal(status, KVF_ERR_NOMEM);
        failures += status != KVF_OK;
        assert_true(!all || !status);
        must(trigo_selfplay(&o, &done, &err), &err);
        must(trigo_collect(folders, 1, NULL, never, &c, &err), &err);
        assert_int_equal(c.games, 3);
        if (all) break;
        step = 1 + nth / 50;
    }
    assert_true(failures > 50);
    must(trigo_folder_remove(names[3], &err), &err);
    for (uint64_t nth = 1, all = 0; !all; nth++) {
        kvf_fail_allocations(nth);
        kvf_status status = trigo_collect(folders, 1, names[3], never, &c, &err);
        all = kvf_fail_allocations(0) < nth;
        if (status) assert_int_equal(status, KVF_ERR_NOMEM);
        assert_true(access(names[3], F_OK) == (status ? -1 : 0));
        if (!status) must(trigo_folder_remove(names[3], &err), &err);
    }
    trigo_generation_free(&g);
}

/* ---- arrays ---------------------------------------------------------------------------------- */

static void arrays_are_compared(void **state)
{
    (void)state;
    static uint8_t rows[300000];
    trigo_array a[] = {{.name = "one", .type = "i8"},
                       {.name = "none", .type = "f4", .columns = 3},
                       {.name = "large", .type = "u1", .columns = 3}};
    kvf_error err;
    uint8_t *bytes;
    uint64_t size;
    for (size_t i = 0; i < sizeof rows; i++) rows[i] = (uint8_t)(i * i / 7);
    must(trigo_array_add(&a[0], rows, 1, &err), &err);
    must(trigo_array_add(&a[2], rows, 1, &err), &err);
    must(trigo_array_add(&a[2], rows + 3, sizeof rows / 3 - 1, &err), &err);
    must(trigo_npz_pack(a, 3, &bytes, &size, &err), &err);
    char path[80];
    snprintf(path, sizeof path, "%s/arrays.npz", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
    kvf_free(bytes);
    must(trigo_npz_compare(path, a, 3, &err), &err);
    assert_int_equal(trigo_npz_compare(path, a, 2, &err), KVF_ERR_ARG);
    for (int i = 0; i < 3; i++) { /* a byte, a shape, a type */
        trigo_array other[] = {a[0], a[1], a[2]};
        uint8_t *changed = &a[2].data[sizeof rows - 1];
        if (i == 0) *changed ^= 1;
        if (i == 1) other[1].columns = 2;
        if (i == 2) other[1].type = "i4";
        assert_int_equal(trigo_npz_compare(path, other, 3, &err), KVF_ERR_ARG);
        assert_non_null(strstr(err.msg, i ? "'none.npy' is not" : "'large.npy' is not"));
        if (i == 0) *changed ^= 1;
    }
    for (uint64_t nth = 1, all = 0; !all; nth++) {
        kvf_fail_allocations(nth);
        kvf_status status = trigo_npz_pack(a, 3, &bytes, &size, &err);
        all = kvf_fail_allocations(0) < nth;
        assert_int_equal(status, all ? KVF_OK : KVF_ERR_NOMEM);
        assert_true(all || !bytes);
        kvf_free(bytes);
    }
    for (int i = 0; i < 3; i++) trigo_array_free(&a[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(games_differ),
        cmocka_unit_test(options_come_back),
        cmocka_unit_test(threads_share_games),
        cmocka_unit_test(arrays_are_compared),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
