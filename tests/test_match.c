/* test_match.c - Elo differences and their tests against figures worked out apart, and matches: the
 * same for any number of threads, fair to both sides, and stopped when they should be. */
#include "trigo/match.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base.h"
#include "rng.h"
#include "trigo/tgn.h"

static void must(kvf_status status, const kvf_error *err)
{
    if (status) fail_msg("%s: %s", kvf_status_name(status), err->msg);
}

/* ---- Elo ------------------------------------------------------------------------------------- */

/* Figures by Python: mean and variance of the list of scores by its module statistics; for the test
 * the largest value of sum n log(1 + t (score - s)) by golden section, for Elo 0 less for Elo 30. */
static const struct {
    trigo_pairs pairs;
    double score, elo, low, high, llr;
} figures[] = {
    {{{0, 0, 0, 0, 0}}, 0.5, 0, -INFINITY, INFINITY, 0},
    {{{1, 0, 0, 0, 0}}, 0, -INFINITY, -INFINITY, INFINITY, -0.0902571154},
    {{{0, 0, 7, 0, 0}}, 0.5, 0, -INFINITY, INFINITY, -0.623765128},
    {{{0, 0, 0, 0, 5}}, 1, INFINITY, -INFINITY, INFINITY, 0.413275973},
    {{{3, 10, 40, 12, 5}}, 0.521428571, 14.899223, -20.9652223, 51.0849874, -0.00276637124},
    {{{10, 20, 300, 40, 30}}, 0.5375, 26.1066926, 13.6846125, 38.5957809, 8.26930628},
    {{{0, 1, 0, 1, 0}}, 0.5, 0, -798.254078, 798.254078, -0.0300890567},
    {{{100, 0, 5, 0, 250}}, 0.711267606, 156.615007, 118.694278, 198.407347, 11.7995378},
    {{{0, 0, 0, 1, 20}}, 0.988095238, 767.631237, 574.963089, INFINITY, 1.7351691},
};

static void assert_near(const char *what, size_t row, double got, double want)
{
    if (isinf(want) ? got != want : !(fabs(got - want) <= 1e-6 * (1 + fabs(want))))
        fail_msg("row %zu, %s: %.9g, want %.9g", row, what, got, want);
}

static void elo_is_right(void **state)
{
    (void)state;
    const trigo_sprt test = {.elo0 = 0, .elo1 = 30, .alpha = 0.05, .beta = 0.1};
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++) {
        trigo_elo e = trigo_elo_of(&figures[i].pairs);
        assert_near("score", i, e.score, figures[i].score);
        assert_near("elo", i, e.elo, figures[i].elo);
        assert_near("low", i, e.low, figures[i].low);
        assert_near("high", i, e.high, figures[i].high);
        trigo_sprt_state s = trigo_sprt_of(&test, &figures[i].pairs);
        assert_near("llr", i, s.llr, figures[i].llr);
        assert_near("lower", i, s.lower, log(0.1 / 0.95));
        assert_near("upper", i, s.upper, log(0.9 / 0.05));
    }
}

/* Pairs of independent games that A wins with chance p; returns whether elo1 is accepted. */
static bool accepts(const trigo_sprt *test, double p, uint64_t seed)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    trigo_pairs pairs = {0};
    for (;;) {
        int won = (kvf_rng_uniform(&rng) < p) + (kvf_rng_uniform(&rng) < p);
        pairs.n[2 * won]++;
        trigo_sprt_state s = trigo_sprt_of(test, &pairs);
        if (s.llr <= s.lower || s.llr >= s.upper) return s.llr >= s.upper;
    }
}

/* A test errs as seldom as it was told to, also where few pairs decide: a normal approximation takes
 * the first pair for proof. */
static void test_errs_as_told(void **state)
{
    (void)state;
    const trigo_sprt tests[] = {{0, 100, 0.05, 0.05}, {-50, 150, 0.1, 0.05}};
    enum { RUNS = 1000 };
    for (int i = 0; i < 2; i++) {
        const trigo_sprt *t = &tests[i];
        double p0 = 1 / (1 + pow(10, -t->elo0 / 400)), p1 = 1 / (1 + pow(10, -t->elo1 / 400));
        int wrong0 = 0, wrong1 = 0;
        for (uint64_t seed = 0; seed < RUNS; seed++) {
            wrong0 += accepts(t, p0, seed);
            wrong1 += !accepts(t, p1, seed + RUNS);
        }
        /* three standard deviations, some 0.02 and 0.03 */
        if (wrong0 > RUNS * (t->alpha + 3 * sqrt(t->alpha / RUNS)) ||
            wrong1 > RUNS * (t->beta + 3 * sqrt(t->beta / RUNS)))
            fail_msg("test %d errs %d and %d times of %d", i, wrong0, wrong1, RUNS);
    }
}

/* ---- matches --------------------------------------------------------------------------------- */

enum { TEXT = 1 << 20 };

/* What a match told, game by game. */
typedef struct told {
    char text[TEXT];
    size_t used;
    uint32_t games, fail_at; /* the n-th game fails; 0: none */
    uint32_t stop_at;        /* as if the user stopped it at the n-th */
    atomic_bool stop;
} told;

static kvf_status hear(void *user, const trigo_match_game *g, const trigo_match_result *r,
                       kvf_error *err)
{
    told *t = user;
    char *text;
    /* In order, without a gap but for games that a stop has lost. */
    assert_true(atomic_load(&t->stop) ? g->number >= t->games : g->number == t->games);
    t->games++;
    if (t->games == t->fail_at) return kvf_fail(err, KVF_ERR_IO, "the disk is full");
    if (t->games == t->stop_at) atomic_store(&t->stop, true);
    assert_int_equal(trigo_tgn_write(g->game, true, &text, NULL, err), KVF_OK);
    t->used += (size_t)snprintf(t->text + t->used, TEXT - t->used, "%u %u %d %s %d %u\n%s\n",
                                g->number, g->opening, g->swapped, trigo_end_name(g->end),
                                g->winner, r->pairs.n[2], text);
    assert_true(t->used < TEXT);
    kvf_free(text);
    return KVF_OK;
}

typedef struct played {
    kvf_status status;
    kvf_error err;
    trigo_match_result result;
} played;

static played match(const char *a, const char *b, trigo_match_options o, told *t)
{
    played p;
    trigo_kind *kinds[2];
    const char *texts[] = {a, b};
    for (int i = 0; i < 2; i++) {
        must(trigo_kind_read(&kinds[i], texts[i], &p.err), &p.err);
        must(trigo_kind_open(kinds[i], 1, &p.err), &p.err);
        o.kinds[i] = kinds[i];
    }
    if (t) {
        t->used = t->games = 0;
        atomic_store(&t->stop, false);
        o.played = hear;
        o.user = t;
        o.stop = &t->stop;
    }
    p.status = trigo_match(&o, &p.result, &p.err);
    for (int i = 0; i < 2; i++) trigo_kind_close(kinds[i]);
    return p;
}

static const trigo_match_options small = {
    .shape = {4, 4, 1}, .games = 40, .opening_plies = 3, .max_plies = 200, .threads = 1};

static uint32_t games_of(const trigo_match_result *r)
{
    uint32_t n = 0;
    for (int i = 0; i < 2; i++) n += r->won[i] + r->drawn[i] + r->lost[i];
    return n;
}

/* Two equal players without chance: what one gains by the opening it loses in the second game. */
static void equals_are_equal(void **state)
{
    (void)state;
    static told t;
    played p = match("uniform:sims=40", "uniform:sims=40", small, &t);
    must(p.status, &p.err);
    assert_int_equal(games_of(&p.result), 40);
    assert_int_equal(p.result.pairs.n[2], 20);
    assert_int_equal(p.result.won[0], p.result.lost[1]);
    assert_int_equal(p.result.won[1], p.result.lost[0]);
    assert_true(p.result.won[0] > 0 && p.result.won[1] > 0); /* openings differ */
    assert_int_equal(t.games, 40);
}

/* With chance in it, half of the points within three standard deviations. */
static void chance_is_fair(void **state)
{
    (void)state;
    trigo_match_options o = small;
    o.games = 2000;
    played p = match("random", "random", o, NULL);
    must(p.status, &p.err);
    trigo_elo e = trigo_elo_of(&p.result.pairs);
    if (e.score < 0.465 || e.score > 0.535) fail_msg("random against random: %g", e.score);
    assert_true(e.low < 0 && e.high > 0);
}

static void search_beats_random(void **state)
{
    (void)state;
    trigo_match_options o = small;
    o.shape = (trigo_shape){5, 5, 1};
    o.games = 200;
    played p = match("uniform:sims=500", "random", o, NULL);
    must(p.status, &p.err);
    trigo_elo e = trigo_elo_of(&p.result.pairs);
    if (!(e.low > 50)) fail_msg("Elo %g from %g", e.elo, e.low);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    static told one, many;
    for (int test = 0; test < 2; test++) {
        trigo_match_options o = small;
        const trigo_sprt sprt = {.elo0 = 0, .elo1 = 300, .alpha = 0.05, .beta = 0.05};
        o.seed = 5;
        o.games = 200;
        if (test) o.sprt = &sprt;
        played a = match("uniform:sims=300,temperature=0.5", "random", o, &one);
        o.threads = 5;
        played b = match("uniform:sims=300,temperature=0.5", "random", o, &many);
        must(a.status, &a.err);
        must(b.status, &b.err);
        assert_string_equal(one.text, many.text);
        assert_memory_equal(&a.result, &b.result, sizeof a.result);
        assert_int_equal(a.result.decided, test);
        assert_int_equal(games_of(&a.result) < 200, test);
        assert_int_equal(one.games, games_of(&a.result));
        o.seed = 6;
        b = match("uniform:sims=300,temperature=0.5", "random", o, &many);
        must(b.status, &b.err);
        assert_string_not_equal(one.text, many.text);
    }
}

/* Both games of a pair begin with one opening, pairs with different ones; the sides swap. */
static void openings_come_in_pairs(void **state)
{
    (void)state;
    static told t;
    trigo_match_options o = small;
    o.shape = (trigo_shape){3, 3, 3};
    o.max_plies = 3; /* the opening, and no more */
    played p = match("random", "uniform", o, &t);
    must(p.status, &p.err);
    char *rest = t.text, before[64] = "";
    for (int i = 0; i < 40; i++) {
        unsigned number, opening, swapped;
        assert_int_equal(sscanf(rest, "%u %u %u plies", &number, &opening, &swapped), 3);
        assert_true(opening == 3 && swapped == number % 2);
        char *text = strstr(rest, "1. "), *end = strstr(text, "; ");
        bool same = !strncmp(before, text, (size_t)(end - text));
        assert_int_equal(same, number % 2);
        snprintf(before, sizeof before, "%.*s", (int)(end - text), text);
        rest = strstr(end, "\n\n") + 2;
    }
}

static void stops_when_told(void **state)
{
    (void)state;
    static told t;
    for (uint32_t threads = 1; threads < 4; threads += 2) {
        trigo_match_options o = small;
        o.games = 100000;
        o.threads = threads;
        t.stop_at = 21;
        played p = match("random", "random", o, &t);
        must(p.status, &p.err);
        assert_true(p.result.stopped && !p.result.decided);
        uint32_t n = games_of(&p.result), pairs = 0;
        for (int i = 0; i < 5; i++) pairs += p.result.pairs.n[i];
        assert_true(n >= 21 && n < 1000 && pairs >= 10 && pairs <= n / 2);
    }
    t.stop_at = 0;
}

static void failures_end_it(void **state)
{
    (void)state;
    static told t;
    trigo_match_options o = small;
    o.threads = 3;
    t.fail_at = 7;
    played p = match("random", "random", o, &t);
    assert_int_equal(p.status, KVF_ERR_IO);
    assert_string_equal(p.err.msg, "the disk is full");
    assert_int_equal(t.games, 7);
    o.shape = (trigo_shape){27, 27, 27};
    o.opening_plies = 1000, o.max_plies = 1001; /* beyond the 2,048 tokens of the model */
    p = match("random", KVF_SOURCE_DIR "/models/trigo:sims=0", o, NULL);
    assert_int_equal(p.status, KVF_ERR_ARG);
    assert_non_null(strstr(p.err.msg, "already the opening is too long for " KVF_SOURCE_DIR));

    const trigo_sprt sprt = {.elo0 = 5, .elo1 = 5, .alpha = 0.05, .beta = 0.05};
    const trigo_match_options wrong[] = {
        {.games = 3, .max_plies = 9, .threads = 1},
        {.games = 0, .max_plies = 9, .threads = 1},
        {.games = 2, .max_plies = 0, .threads = 1},
        {.games = 2, .max_plies = 9, .threads = 0},
        {.games = 2, .max_plies = 9, .threads = 1, .sprt = &sprt},
        {.games = 2, .max_plies = 9, .threads = 1, .opening_plies = 10}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        o = wrong[i];
        o.shape = small.shape;
        assert_int_equal(match("random", "random", o, NULL).status, KVF_ERR_ARG);
    }
}

/* A game that grows beyond a network's context ends by area. */
static void long_games_end_by_area(void **state)
{
    (void)state;
    static told t;
    trigo_match_options o = small;
    o.shape = (trigo_shape){27, 27, 1};
    o.games = 2;
    o.opening_plies = 340;
    o.max_plies = 2000;
    t.fail_at = 0;
    played p = match("random", KVF_SOURCE_DIR "/models/trigo:sims=0", o, &t);
    must(p.status, &p.err);
    assert_non_null(strstr(t.text, " context "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elo_is_right),           cmocka_unit_test(test_errs_as_told),
        cmocka_unit_test(equals_are_equal),       cmocka_unit_test(chance_is_fair),
        cmocka_unit_test(search_beats_random),    cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(openings_come_in_pairs), cmocka_unit_test(stops_when_told),
        cmocka_unit_test(failures_end_it),        cmocka_unit_test(long_games_end_by_area),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
