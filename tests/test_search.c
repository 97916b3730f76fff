/* test_search.c - the search against a plain twin, a worked example, and its limits. No model. */
#include "trigo/search.h"

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
#include "support_trigo.h"
#include "trigo/notation.h"

static void must(kvf_status status, const kvf_error *err)
{
    if (status) fail_msg("%s: %s", kvf_status_name(status), err->msg);
}

static trigo_search *search_of(const trigo_game *game, trigo_evaluator e, trigo_search_options o)
{
    kvf_error err;
    trigo_search *s;
    must(trigo_search_create(&s, game, &e, &o, &err), &err);
    return s;
}

static void run(trigo_search *s, uint32_t visits)
{
    kvf_error err;
    must(trigo_search_run(s, visits, 0, &err), &err);
}

/* ---- the twin -------------------------------------------------------------------------------- */

/* The search as it is told in a book: every node expanded at once, recursion, a game undone. */
typedef struct twin_node {
    double total, *priors;
    uint32_t visits, n;
    trigo_move *moves;
    struct twin_node **children;
} twin_node;

typedef struct twin {
    double c_puct;
    uint32_t most_plies;
    trigo_game *game;
    trigo_candidates *candidates;
} twin;

static twin_node *twin_new(void)
{
    return calloc(1, sizeof(twin_node));
}

static void twin_free(twin_node *n)
{
    if (!n) return;
    for (uint32_t i = 0; i < n->n; i++) twin_free(n->children[i]);
    free(n->children);
    free(n->moves);
    free(n->priors);
    free(n);
}

static double twin_evaluate(twin *t, twin_node *n)
{
    const trigo_board *b = t->game->board;
    double value;
    if (trigo_board_terminal(b, &value)) return value;
    if (t->most_plies && t->game->plies > t->most_plies)
        return trigo_area_value(trigo_board_area(b));
    trigo_move moves[4096];
    for (uint32_t i = 0; i < t->game->plies; i++) moves[i] = t->game->steps[i].move;
    if (n->n == 0) {
        trigo_candidates_list(t->candidates, b);
        n->n = t->candidates->n;
        n->moves = malloc(n->n * sizeof *n->moves);
        n->priors = malloc(n->n * sizeof *n->priors);
        n->children = calloc(n->n, sizeof(twin_node *));
        memcpy(n->moves, t->candidates->move, n->n * sizeof *n->moves);
        hash_priors(moves, t->game->plies, t->candidates, n->priors);
    }
    return hash_value(moves, t->game->plies);
}

static uint32_t twin_pick(const twin *t, const twin_node *n)
{
    double s = t->game->board->now.to_move == TRIGO_WHITE ? 1 : -1, best_u = -INFINITY;
    uint32_t best = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        const twin_node *c = n->children[i];
        uint32_t visits = c ? c->visits : 0;
        double q = visits ? c->total / visits : 0;
        double u = s * q + t->c_puct * n->priors[i] * sqrt(n->visits + 1.0) / (1.0 + visits);
        if (u > best_u) {
            best_u = u;
            best = i;
        }
    }
    return best;
}

static double twin_simulate(twin *t, twin_node *n)
{
    double value;
    if (n->n) {
        uint32_t i = twin_pick(t, n);
        if (!n->children[i]) n->children[i] = twin_new();
        assert_int_equal(trigo_game_play(t->game, n->moves[i], NULL), KVF_OK);
        value = twin_simulate(t, n->children[i]);
        trigo_game_undo(t->game);
    } else {
        value = twin_evaluate(t, n);
    }
    n->visits++;
    n->total += value;
    return value;
}

/* Root, children, and what lies below the most visited ones, as deep as it goes. */
static void check_against_twin(const trigo_search *s, const twin_node *want)
{
    trigo_search_root root = trigo_search_get_root(s);
    assert_int_equal(root.visits, want->visits);
    if (root.total != want->total)
        fail_msg("visits %u total %.17g %.17g", root.visits, root.total, want->total);
    if (root.moves == 0) { /* not expanded yet, or never to be */
        for (uint32_t i = 0; i < want->n; i++) assert_null(want->children[i]);
        return;
    }
    assert_int_equal(root.moves, want->n);
    trigo_search_child *children = calloc(root.moves, sizeof *children);
    trigo_search_children(s, children);
    for (uint32_t i = 0; i < want->n; i++) {
        const twin_node *c = want->children[i];
        assert_int_equal(children[i].move, want->moves[i]);
        assert_true(children[i].prior == want->priors[i]);
        assert_int_equal(children[i].visits, c ? c->visits : 0);
        assert_true(children[i].total == (c ? c->total : 0));
    }
    free(children);
}

static uint32_t twin_best(const twin_node *n)
{
    uint32_t best = 0, most = 0;
    for (uint32_t i = 0; i < n->n; i++) {
        uint32_t visits = n->children[i] ? n->children[i]->visits : 0;
        if (visits > most) {
            most = visits;
            best = i;
        }
    }
    return best;
}

typedef struct trial {
    trigo_shape shape;
    uint32_t plies, visits, most_plies;
    double c_puct;
    uint32_t batch;
    bool eager;
    uint64_t seed;
} trial;

/* Search, play the best move, search on, and so on; the twin does the same and drops what the
 * search drops. */
static void play_beside_twin(const trial *r)
{
    trigo_game *game = random_game(r->shape, r->plies, r->seed);
    hash_evaluator h = {.most_plies = r->most_plies};
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.c_puct = r->c_puct;
    o.batch = r->batch;
    o.eager = r->eager;
    trigo_search *s = search_of(game, hash_evaluator_of(&h), o);
    twin t = {.c_puct = r->c_puct, .most_plies = r->most_plies, .game = game};
    kvf_error err;
    must(trigo_candidates_create(&t.candidates, r->shape, &err), &err);
    twin_node *root = twin_new();
    for (int move = 0; move < 5; move++) {
        uint32_t visits = root->visits + r->visits;
        run(s, visits);
        while (root->visits < visits) twin_simulate(&t, root);
        check_against_twin(s, root);
        if (!root->n || trigo_board_terminal(game->board, NULL)) break;
        if (r->most_plies && game->plies > r->most_plies) break;
        uint32_t best = twin_best(root);
        if (root->visits > 1) assert_int_equal(trigo_search_best(s), root->moves[best]);
        trigo_move m = root->moves[best];
        must(trigo_search_play(s, m, &err), &err);
        must(trigo_game_play(game, m, &err), &err);
        twin_node *child = root->children[best];
        root->children[best] = NULL;
        twin_free(root);
        root = child ? child : twin_new();
    }
    twin_free(root);
    trigo_search_destroy(s);
    trigo_candidates_destroy(t.candidates);
    trigo_game_destroy(game);
}

static void equals_the_twin(void **state)
{
    (void)state;
    static const trigo_shape shapes[] = {{1, 1, 1}, {1, 1, 2}, {2, 1, 1}, {3, 1, 1}, {2, 2, 1},
                                         {5, 1, 1}, {3, 3, 1}, {2, 2, 2}, {5, 5, 1}, {3, 3, 3}};
    static const double c_pucts[] = {0, 0.3, 1, 4};
    static const uint32_t batches[] = {1, 1, 2, 3, 8, 32, 200};
    kvf_rng rng;
    kvf_rng_seed(&rng, 7);
    for (uint64_t seed = 0; seed < 400; seed++) {
        trial r = {.shape = shapes[kvf_rng_below(&rng, 10)],
                   .c_puct = c_pucts[kvf_rng_below(&rng, 4)],
                   .batch = batches[kvf_rng_below(&rng, 7)],
                   .eager = kvf_rng_below(&rng, 4) == 0,
                   .seed = seed};
        r.plies = kvf_rng_below(&rng, trigo_cells(r.shape));
        r.visits = 1 + kvf_rng_below(&rng, kvf_rng_below(&rng, 3) ? 60 : 400);
        if (kvf_rng_below(&rng, 3) == 0) r.most_plies = r.plies + kvf_rng_below(&rng, 5);
        play_beside_twin(&r);
    }
}

/* ---- the worked example ---------------------------------------------------------------------- */

/* 7x1x1 after b y 0, White to move; cells a b c 0 x y z. Values and priors as a network gave
 * them. */
static const struct {
    const char *moves; /* from there */
    double value;
    const char *candidates;
    double priors[4];
} example[] = {
    {"", -0.1410029, "xzP", {0.4238640, 0.5761352, 0.0000008}},
    {"z", 0.4922247, "acxP", {0.0106965, 0.7071000, 0.2822033, 0.0000001}},
    {"zc", 0.1307767, "P", {1}},
    {"zx", 0.1240122, "", {0}},
    {"zcP", 0.5553324, "", {0}},
};

static char letter_of(trigo_move move)
{
    return move == TRIGO_PASS ? 'P' : "abc0xyz"[move];
}

static kvf_status answer_example(void *state, trigo_ask *const *asks, size_t n, kvf_error *err)
{
    (void)state, (void)err;
    for (size_t i = 0; i < n; i++) {
        trigo_ask *a = asks[i];
        char moves[8] = "";
        size_t row = 0;
        assert_true(a->n_moves < 7);
        for (uint32_t k = 0; k < a->n_moves; k++) moves[k] = letter_of(a->moves[k]);
        while (row < 5 && strcmp(example[row].moves, moves)) row++;
        a->out_of_context = false;
        a->value = 0; /* looking ahead may ask for more than the search comes to */
        for (uint32_t k = 0; a->candidates && k < a->candidates->n; k++) a->priors[k] = 0;
        if (row == 5 || (a->candidates && !*example[row].candidates)) continue;
        a->value = example[row].value;
        for (uint32_t k = 0; a->candidates && k < a->candidates->n; k++) {
            assert_int_equal(letter_of(a->candidates->move[k]), example[row].candidates[k]);
            a->priors[k] = example[row].priors[k];
        }
    }
    return KVF_OK;
}

static void worked_example(void **state)
{
    (void)state;
    static const struct {
        trigo_move move;
        uint32_t visits;
        double total;
    } want[] = {{4, 1, -1}, {6, 4, 1.3023459}, {TRIGO_PASS, 0, 0}};
    kvf_error err;
    for (uint32_t batch = 1; batch < 6; batch++) {
        trigo_game *game;
        must(trigo_game_create(&game, (trigo_shape){7, 1, 1}, &err), &err);
        for (size_t i = 0; i < 3; i++)
            must(trigo_game_play(game, (trigo_move[]){1, 5, 3}[i], &err), &err);
        trigo_evaluator e = trigo_uniform();
        e.ask = answer_example;
        trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
        o.batch = batch;
        trigo_search *s = search_of(game, e, o);
        run(s, 6);
        trigo_search_root root = trigo_search_get_root(s);
        assert_int_equal(root.visits, 6);
        assert_true(fabs(root.total - 0.1613430) < 1e-6);
        assert_int_equal(root.moves, 3);
        trigo_search_child children[3];
        trigo_search_children(s, children);
        for (size_t i = 0; i < 3; i++) {
            assert_int_equal(children[i].move, want[i].move);
            assert_int_equal(children[i].visits, want[i].visits);
            assert_true(fabs(children[i].total - want[i].total) < 1e-6);
        }
        assert_int_equal(trigo_search_best(s), 6);
        trigo_search_destroy(s);
        trigo_game_destroy(game);
    }
}

/* ---- limits ---------------------------------------------------------------------------------- */

/* Both colours, more than half the cells, nothing neutral: every simulation counts the area. */
static void terminal_root(void **state)
{
    (void)state;
    trigo_game *game;
    kvf_error err;
    must(trigo_game_create(&game, (trigo_shape){3, 1, 1}, &err), &err);
    must(trigo_game_play(game, 0, &err), &err);
    must(trigo_game_play(game, 2, &err), &err);
    assert_false(trigo_board_terminal(game->board, NULL)); /* the middle is neutral */
    must(trigo_game_play(game, TRIGO_PASS, &err), &err);
    must(trigo_game_play(game, TRIGO_PASS, &err), &err);
    hash_evaluator h = {0};
    trigo_search *s = search_of(game, hash_evaluator_of(&h), TRIGO_SEARCH_DEFAULTS);
    run(s, 10);
    trigo_search_root root = trigo_search_get_root(s);
    assert_true(root.terminal && !root.out_of_context);
    assert_int_equal(root.visits, 10);
    assert_true(root.total == 0 && root.value == 0);
    assert_int_equal(root.moves, 0);
    assert_int_equal(trigo_search_best(s), TRIGO_NONE);
    assert_int_equal(trigo_search_choose(s), TRIGO_NONE);
    assert_int_equal(h.calls, 0);
    assert_int_equal(trigo_search_play(s, TRIGO_PASS, &err), KVF_ERR_ARG);
    trigo_search_destroy(s);
    trigo_game_destroy(game);
}

static void root_out_of_context(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 9, 3);
    hash_evaluator h = {.most_plies = 5};
    trigo_search *s = search_of(game, hash_evaluator_of(&h), TRIGO_SEARCH_DEFAULTS);
    run(s, 10);
    trigo_search_root root = trigo_search_get_root(s);
    assert_true(root.terminal && root.out_of_context);
    assert_int_equal(root.visits, 10);
    double value = trigo_area_value(trigo_board_area(game->board));
    assert_true(root.value == value);
    assert_true(fabs(root.total - 10 * value) < 1e-12);
    trigo_search_destroy(s);
    trigo_game_destroy(game);
}

static void million_simulations(void **state)
{
    (void)state;
    static const struct {
        trigo_shape shape;
        uint64_t max_bytes;
        bool full;
        const char *why;
    } rows[] = {
        {{5, 5, 1}, (uint64_t)1 << 30, false, "with room for all"},
        {{5, 5, 5}, (uint64_t)32 << 20, true, "with room for a part"},
        {{19, 19, 1}, (uint64_t)1 << 20, true, "with hardly any room"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        trigo_game *game = random_game(rows[i].shape, 4, i);
        trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
        o.max_bytes = rows[i].max_bytes;
        trigo_search *s = search_of(game, trigo_uniform(), o);
        double start = kvf_now();
        run(s, 1000000);
        trigo_search_stats stats = trigo_search_get_stats(s);
        trigo_search_root root = trigo_search_get_root(s);
        print_message("%s: %u nodes, %u edges, %.1f MB, %.2f s\n", rows[i].why, stats.nodes,
                      stats.edges, (double)stats.bytes / 1e6, kvf_now() - start);
        assert_int_equal(root.visits, 1000000);
        assert_int_equal(stats.simulations, 1000000);
        assert_true(stats.bytes <= rows[i].max_bytes);
        assert_int_equal(stats.full, rows[i].full);
        trigo_search_child children[1000];
        trigo_search_children(s, children);
        uint64_t below = 0;
        for (uint32_t k = 0; k < root.moves; k++) below += children[k].visits;
        assert_true(rows[i].full ? below <= 999999 : below == 999999);
        kvf_error err;
        must(trigo_search_play(s, trigo_search_best(s), &err), &err);
        run(s, trigo_search_get_root(s).visits + 100); /* and on, with the room that was won */
        trigo_search_destroy(s);
        trigo_game_destroy(game);
    }
}

/* Words for whoever gives options that make no sense. */
static void refuses_options(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 0, 0);
    trigo_evaluator e = trigo_uniform();
    for (int i = 0; i < 12; i++) {
        trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
        switch (i) {
        case 0: o.c_puct = -1; break;
        case 1: o.c_puct = NAN; break;
        case 2: o.c_puct = INFINITY; break;
        case 3: o.batch = 0; break;
        case 4: o.batch = 1 << 20; break;
        case 5: o.noise_alpha = -1; break;
        case 6: o.noise_alpha = NAN; break;
        case 7: o.noise_share = 1.5; break;
        case 8: o.noise_share = NAN; break;
        case 9: o.temperature = -1; break;
        case 10: o.temperature = NAN; break;
        case 11: o.max_bytes = 1000; break;
        }
        kvf_error err = {0};
        trigo_search *s = (trigo_search *)1;
        assert_int_equal(trigo_search_create(&s, game, &e, &o, &err), KVF_ERR_ARG);
        assert_null(s);
        assert_true(strlen(err.msg) > 20);
    }
    trigo_game_destroy(game);
}

/* ---- failures -------------------------------------------------------------------------------- */

/* A call that fails costs nothing but itself: repeated, the search ends as if it had not. */
static void goes_on_after_a_failure(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 6, 11);
    hash_evaluator calm = {0}, moody = {0};
    trigo_search *a = search_of(game, hash_evaluator_of(&calm), TRIGO_SEARCH_DEFAULTS);
    trigo_search *b = search_of(game, hash_evaluator_of(&moody), TRIGO_SEARCH_DEFAULTS);
    run(a, 200);
    uint32_t failures = 0;
    kvf_error err;
    for (kvf_status status = KVF_ERR_ENGINE; status; failures += status != KVF_OK) {
        moody.fail_at = failures < 40 ? 1 + failures % 3 : 0;
        status = trigo_search_run(b, 200, 0, &err);
        if (status) assert_int_equal(status, KVF_ERR_ENGINE);
    }
    assert_int_equal(failures, 40);
    trigo_search_child x[26], y[26];
    assert_int_equal(trigo_search_get_root(a).visits, trigo_search_get_root(b).visits);
    trigo_search_children(a, x);
    trigo_search_children(b, y);
    for (uint32_t i = 0; i < trigo_search_get_root(a).moves; i++) {
        assert_int_equal(x[i].visits, y[i].visits);
        assert_true(x[i].total == y[i].total);
    }
    trigo_search_destroy(a);
    trigo_search_destroy(b);
    trigo_game_destroy(game);
}

static void survives_lack_of_memory(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){3, 3, 3}, 6, 11);
    trigo_evaluator e = trigo_uniform();
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    bool done = false;
    for (uint64_t nth = 1; !done; nth++) {
        assert_true(nth < 1000);
        trigo_search *s;
        kvf_error err = {0};
        kvf_fail_allocations(nth);
        kvf_status status = trigo_search_create(&s, game, &e, &o, &err);
        if (!status) status = trigo_search_run(s, 3000, 0, &err);
        bool whole = !status && !trigo_search_get_stats(s).full;
        if (!status) status = trigo_search_play(s, trigo_search_best(s), &err);
        done = kvf_fail_allocations(0) < nth && whole;
        if (status) assert_int_equal(status, KVF_ERR_NOMEM);
        if (s && trigo_search_get_root(s).visits) assert_true(trigo_search_get_stats(s).nodes > 0);
        trigo_search_destroy(s);
    }
    trigo_game_destroy(game);
}

/* ---- noise, temperature, time ---------------------------------------------------------------- */

static double priors_of(uint64_t seed, double alpha, double share, trigo_search_child *children)
{
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 6, 11);
    hash_evaluator h = {0};
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.noise_alpha = alpha;
    o.noise_share = share;
    o.seed = seed;
    trigo_search *s = search_of(game, hash_evaluator_of(&h), o);
    run(s, 100);
    double sum = 0;
    trigo_search_children(s, children);
    for (uint32_t i = 0; i < trigo_search_get_root(s).moves; i++) sum += children[i].prior;
    assert_true(fabs(sum - 1) < 1e-5);
    trigo_search_destroy(s);
    trigo_game_destroy(game);
    return sum;
}

static void noise_by_seed(void **state)
{
    (void)state;
    trigo_search_child none[26] = {0}, one[26] = {0}, same[26] = {0}, other[26] = {0};
    static const double alphas[] = {0.01, 0.3, 1, 10};
    for (size_t i = 0; i < 4; i++) {
        priors_of(1, 0, 0.25, none);
        priors_of(1, alphas[i], 0.25, one);
        priors_of(1, alphas[i], 0.25, same);
        priors_of(2, alphas[i], 0.25, other);
        assert_memory_equal(one, same, sizeof one);
        assert_memory_not_equal(one, other, sizeof one);
        for (size_t k = 0; k < 26; k++) /* no less than what is left of the prior */
            assert_true(one[k].prior >= 0.75 * none[k].prior - 1e-6);
    }
    priors_of(1, 0.3, 0, one);
    for (size_t k = 0; k < 26; k++) assert_true(one[k].prior == none[k].prior);
}

/* Noise was drawn in the order of edges, which looking ahead changes: the same seed gave other games
 * with another batch. */
static void noise_is_the_same_in_batches(void **state)
{
    (void)state;
    static const uint32_t batches[] = {1, 2, 8, 50};
    for (uint64_t seed = 0; seed < 20; seed++) {
        trigo_move first[8];
        for (size_t b = 0; b < 4; b++) {
            trigo_game *game = random_game((trigo_shape){5, 5, 1}, 4, seed);
            hash_evaluator h = {0};
            kvf_error err;
            trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
            o.batch = batches[b];
            o.noise_alpha = 0.4;
            o.temperature_plies = 100;
            o.seed = seed;
            trigo_search *s = search_of(game, hash_evaluator_of(&h), o);
            for (int i = 0; i < 8; i++) {
                run(s, 60);
                trigo_move m = trigo_search_choose(s);
                if (b == 0) first[i] = m;
                assert_int_equal(m, first[i]);
                if (m == TRIGO_NONE) break;
                must(trigo_search_play(s, m, &err), &err);
            }
            trigo_search_destroy(s);
            trigo_game_destroy(game);
        }
    }
}

/* The share of the second most visited of two moves, chosen often. */
static void temperature_by_visits(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 6, 11);
    hash_evaluator h = {0};
    static const double temperatures[] = {0, 0.5, 1, 3};
    for (size_t t = 0; t < 4; t++) {
        trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
        o.temperature = temperatures[t];
        o.temperature_plies = 7;
        trigo_search *s = search_of(game, hash_evaluator_of(&h), o);
        run(s, 60);
        trigo_search_child children[26];
        uint32_t n = trigo_search_get_root(s).moves, chosen[26] = {0};
        trigo_search_children(s, children);
        double sum = 0, most = 0;
        for (uint32_t i = 0; i < n; i++) most = fmax(most, children[i].visits);
        for (uint32_t i = 0; i < n && o.temperature > 0; i++)
            sum += pow(children[i].visits / most, 1 / o.temperature);
        for (int k = 0; k < 20000; k++) {
            trigo_move m = trigo_search_choose(s);
            for (uint32_t i = 0; i < n; i++) chosen[i] += children[i].move == m;
        }
        for (uint32_t i = 0; i < n; i++) {
            double want = o.temperature > 0
                              ? pow(children[i].visits / most, 1 / o.temperature) / sum
                              : children[i].move == trigo_search_best(s);
            assert_true(fabs(chosen[i] / 20000.0 - want) < 0.02);
        }
        kvf_error err; /* from ply 7 on the most visited is played */
        must(trigo_search_play(s, trigo_search_best(s), &err), &err);
        run(s, 60);
        for (int k = 0; k < 100; k++)
            assert_int_equal(trigo_search_choose(s), trigo_search_best(s));
        trigo_search_destroy(s);
    }
    trigo_game_destroy(game);
}

static void time_ends_a_search(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 6, 11);
    trigo_search *s = search_of(game, trigo_uniform(), TRIGO_SEARCH_DEFAULTS);
    kvf_error err;
    double start = kvf_now();
    must(trigo_search_run(s, UINT32_MAX, 0.05, &err), &err);
    assert_true(kvf_now() - start < 2);
    assert_true(trigo_search_get_root(s).visits > 0);
    trigo_search_destroy(s);
    trigo_game_destroy(game);
}

/* Looking ahead asks more than a search without, but in far fewer calls. */
static void looking_ahead_saves_calls(void **state)
{
    (void)state;
    uint64_t calls[2], values[2];
    for (int i = 0; i < 2; i++) {
        trigo_game *game = random_game((trigo_shape){9, 9, 1}, 6, 11);
        hash_evaluator h = {0};
        trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
        o.batch = i ? 8 : 1;
        trigo_search *s = search_of(game, hash_evaluator_of(&h), o);
        run(s, 400);
        assert_int_equal(h.widest, o.batch);
        calls[i] = h.calls;
        values[i] = h.values;
        trigo_search_destroy(s);
        trigo_game_destroy(game);
    }
    print_message("batch 1: %llu calls, %llu values; batch 8: %llu calls, %llu values\n",
                  (unsigned long long)calls[0], (unsigned long long)values[0],
                  (unsigned long long)calls[1], (unsigned long long)values[1]);
    assert_true(values[0] <= 400);
    assert_true(3 * calls[1] < calls[0]);
    assert_true(values[1] < 2 * values[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_example),
        cmocka_unit_test(equals_the_twin),
        cmocka_unit_test(terminal_root),
        cmocka_unit_test(root_out_of_context),
        cmocka_unit_test(million_simulations),
        cmocka_unit_test(refuses_options),
        cmocka_unit_test(goes_on_after_a_failure),
        cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(noise_is_the_same_in_batches),
        cmocka_unit_test(noise_by_seed),
        cmocka_unit_test(temperature_by_visits),
        cmocka_unit_test(time_ends_a_search),
        cmocka_unit_test(looking_ahead_saves_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
