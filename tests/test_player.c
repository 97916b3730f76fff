/* test_player.c - how players are named, and that each kind plays as its name says. */
#include "trigo/player.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base.h"
#include "support_trigo.h"

#define MODELS KVF_SOURCE_DIR "/models/trigo"

static void must(kvf_status status, const kvf_error *err)
{
    if (status) fail_msg("%s: %s", kvf_status_name(status), err->msg);
}

typedef struct seated {
    trigo_kind *kind;
    trigo_player *player;
} seated;

static seated seat(const char *text)
{
    kvf_error err;
    seated s;
    must(trigo_kind_read(&s.kind, text, &err), &err);
    must(trigo_kind_open(s.kind, 1, &err), &err);
    must(trigo_player_create(&s.player, s.kind, &err), &err);
    return s;
}

static void leave(seated s)
{
    trigo_player_destroy(s.player);
    trigo_kind_close(s.kind);
}

static trigo_choice choose(seated s, const trigo_game *game)
{
    kvf_error err;
    trigo_choice choice;
    must(trigo_player_choose(s.player, game, 0, &choice, &err), &err);
    return choice;
}

static trigo_game *empty_game(trigo_shape shape)
{
    kvf_error err;
    trigo_game *game;
    must(trigo_game_create(&game, shape, &err), &err);
    return game;
}

static void play(trigo_game *game, trigo_move move)
{
    kvf_error err;
    must(trigo_game_play(game, move, &err), &err);
}

/* ---- names ----------------------------------------------------------------------------------- */

static const struct {
    const char *text, *words;
} wrong[] = {
    {"", "random, uniform or a folder is missing"},
    {":sims=3", "random, uniform or a folder is missing"},
    {"random:sims=3", "random has no options"},
    {"uniform:sims", "sims should be a whole number from 0 to"},
    {"uniform:sims=", "sims should be a whole number"},
    {"uniform:sims=1", "but not 1"},
    {"uniform:sims=1.5", "sims should be a whole number"},
    {"uniform:sims=-2", "sims should be"},
    {"uniform:sims=1e30", "sims should be"},
    {"uniform:sims=2x", "sims should be"},
    {"uniform:sims= 2", "sims should be"},
    {"uniform:time=0", "time should be a number from 0.001"},
    {"uniform:time=nan", "time should be"},
    {"uniform:temperature=hot", "temperature should be"},
    {"uniform:temperature-plies=3", "temperature-plies comes without a temperature"},
    {"uniform:noise-share=2", "noise-share should be a number from 0 to 1"},
    {"uniform:batch=0", "batch should be"},
    {"uniform:sims=4,", "there is no option ''"},
    {"uniform:,sims=4", "there is no option ''"},
    {"uniform:simms=4", "there is no option 'simms'"},
    {"uniform:models=x", "there is no option 'models'"},
    {"uniform:engine=ort", "engine is an option of networks"},
    {"folder:threads=0", "threads cannot be '0'"},
    {"folder:engine", "engine cannot be ''"},
    {"folder:no-cache=1", "no-cache takes no value"},
    {"folder:set=second", "set cannot be 'second'"},
};

static void names_are_strict(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kvf_error err = {0};
        trigo_kind *kind;
        if (trigo_kind_read(&kind, wrong[i].text, &err) != KVF_ERR_ARG)
            fail_msg("'%s' is taken", wrong[i].text);
        if (!strstr(err.msg, wrong[i].words)) fail_msg("'%s': %s", wrong[i].text, err.msg);
        assert_null(kind);
    }
}

static void names_are_taken(void **state)
{
    (void)state;
    static const char *const right[] = {
        "random",
        "uniform",
        "uniform:",
        "uniform:sims=0",
        "uniform:sims=2,time=0.5,c-puct=0,batch=1,noise=0.3,noise-share=1",
        "folder:with:colons:",
        "./random:engine=native,no-cache,cache-tokens=99,set=base,precision=bf16,threads=3",
        "folder:temperature=0.5,temperature-plies=10,sims=0",
    };
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        kvf_error err;
        trigo_kind *kind;
        must(trigo_kind_read(&kind, right[i], &err), &err);
        assert_string_equal(trigo_kind_text(kind), right[i]);
        trigo_kind_close(kind);
    }
    trigo_kind *kind;
    kvf_error err;
    must(trigo_kind_read(&kind, "/no/such:folder:", &err), &err);
    assert_int_equal(trigo_kind_open(kind, 0, &err), KVF_ERR_IO);
    assert_non_null(strstr(err.msg, "/no/such:folder: no complete set")); /* the last colon went */
    trigo_kind_close(kind);
}

/* ---- kinds ----------------------------------------------------------------------------------- */

/* Every candidate of a position is drawn about equally often, and equal seeds draw equally. */
static void random_draws_evenly(void **state)
{
    (void)state;
    enum { CELLS = 9, DRAWS = 10000 };
    seated s = seat("random");
    trigo_game *game = empty_game((trigo_shape){3, 3, 1});
    uint32_t drawn[CELLS + 1] = {0};
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        trigo_player_begin(s.player, seed);
        trigo_move move = choose(s, game).move;
        drawn[move == TRIGO_PASS ? CELLS : move]++;
        trigo_player_begin(s.player, seed);
        assert_int_equal(choose(s, game).move, move);
    }
    for (int i = 0; i <= CELLS; i++) /* 1000 on average, standard deviation 30 */
        if (drawn[i] < 850 || drawn[i] > 1150) fail_msg("candidate %d: %u times", i, drawn[i]);
    trigo_game_destroy(game);
    leave(s);
}

/* A player follows the game by itself; it searches as a search does that is told of each move. */
static void search_goes_on_with_its_tree(void **state)
{
    (void)state;
    kvf_error err;
    seated s = seat("uniform:sims=300,c-puct=1.5");
    trigo_game *game = empty_game((trigo_shape){3, 3, 2});
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.c_puct = 1.5;
    trigo_evaluator e = trigo_uniform();
    trigo_search *twin;
    must(trigo_search_create(&twin, game, &e, &o, &err), &err);
    bool kept = false;
    for (int i = 0; i < 12 && !trigo_board_ended(game->board); i++) {
        trigo_choice choice = choose(s, game);
        kept |= choice.visits > 0 && trigo_search_get_root(twin).visits > 0;
        must(trigo_search_run(twin, 300, 0, &err), &err);
        trigo_search_root root = trigo_search_get_root(twin);
        assert_int_equal(choice.visits, root.visits);
        assert_true(choice.value == root.total / root.visits);
        uint32_t n, visits = 0;
        const trigo_search_child *children = trigo_player_children(s.player, &n);
        assert_int_equal(n, root.moves);
        for (uint32_t k = 0; k < n; k++) visits += children[k].visits;
        assert_true(root.terminal || visits >= root.visits - 1 - 1);
        trigo_move move = root.terminal ? TRIGO_PASS : trigo_search_best(twin);
        assert_int_equal(choice.move, move);
        play(game, move);
        must(trigo_search_play(twin, move, &err), &err);
        if (i % 3 != 2 || trigo_board_ended(game->board)) continue;
        /* a move of the other side that it did not choose */
        play(game, TRIGO_PASS);
        must(trigo_search_play(twin, TRIGO_PASS, &err), &err);
    }
    assert_true(kept);
    trigo_search_destroy(twin);
    trigo_game_destroy(game);
    leave(s);
}

static void begins_anew_where_it_must(void **state)
{
    (void)state;
    seated s = seat("uniform:sims=200"), fresh = seat("uniform:sims=200");
    trigo_game *game = random_game((trigo_shape){4, 4, 1}, 6, 3);
    trigo_game *other = random_game((trigo_shape){3, 2, 2}, 2, 3);
    choose(s, game);
    for (int i = 0; i < 3; i++) { /* undone, another game of another shape, and back */
        trigo_game_undo(game);
        trigo_choice a = choose(s, game);
        trigo_player_begin(fresh.player, 0);
        trigo_choice b = choose(fresh, game);
        assert_int_equal(a.move, b.move);
        assert_int_equal(a.visits, 200);
        assert_true(a.value == b.value);
        assert_int_not_equal(trigo_board_drop(game->board, a.move), TRIGO_OFF_BOARD);
        choose(s, other);
    }
    trigo_game_destroy(game);
    trigo_game_destroy(other);
    leave(s);
    leave(fresh);
}

/* No cell is neutral, and most are taken: whoever searches passes. */
static void passes_when_decided(void **state)
{
    (void)state;
    seated s = seat("uniform:sims=50");
    trigo_game *game = empty_game((trigo_shape){7, 1, 1});
    play(game, 1), play(game, 5), play(game, 3), play(game, 4);
    assert_true(trigo_board_terminal(game->board, NULL));
    trigo_choice choice = choose(s, game);
    assert_true(choice.decided);
    assert_int_equal(choice.move, TRIGO_PASS);
    play(game, TRIGO_PASS), play(game, TRIGO_PASS);
    kvf_error err;
    assert_int_equal(trigo_player_choose(s.player, game, 0, &choice, &err), KVF_ERR_ARG);
    trigo_game_destroy(game);
    leave(s);
}

static void clock_ends_a_search(void **state)
{
    (void)state;
    seated s = seat("uniform:time=0.05");
    trigo_game *game = empty_game((trigo_shape){5, 5, 1});
    double start = kvf_now();
    trigo_choice choice = choose(s, game);
    double taken = kvf_now() - start;
    assert_true(choice.visits >= 2 && choice.move != TRIGO_NONE);
    if (taken > 5) fail_msg("%g seconds instead of 0.05", taken);
    trigo_game_destroy(game);
    leave(s);
}

/* ---- networks -------------------------------------------------------------------------------- */

static void first_thought_is_the_likeliest(void **state)
{
    (void)state;
    kvf_error err;
    seated greedy = seat(MODELS ":sims=0"), hot = seat(MODELS ":sims=0,temperature=1000"),
           cooled = seat(MODELS ":sims=0,temperature=1000,temperature-plies=4");
    trigo_game *game = random_game((trigo_shape){5, 5, 1}, 4, 9);
    trigo_choice choice = choose(greedy, game);
    uint32_t n, best = 0;
    const trigo_search_child *c = trigo_player_children(greedy.player, &n);
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        sum += c[i].prior;
        if (c[i].prior > c[best].prior) best = i;
    }
    assert_true(n > 15 && fabs(sum - 1) < 1e-9);
    assert_int_equal(choice.move, c[best].move);
    assert_int_equal(choice.visits, 0);
    assert_int_equal(choose(cooled, game).move, choice.move); /* the fifth ply is beyond them */
    bool others = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        trigo_player_begin(hot.player, seed);
        others |= choose(hot, game).move != choice.move;
    }
    assert_true(others);
    (void)err;
    trigo_game_destroy(game);
    leave(greedy), leave(hot), leave(cooled);
}

static void says_when_a_game_is_too_long(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){9, 9, 9}, 420, 5); /* some 2,300 tokens */
    static const char *const texts[] = {MODELS ":sims=0", MODELS ":sims=8"};
    for (int i = 0; i < 2; i++) {
        seated s = seat(texts[i]);
        trigo_choice choice = choose(s, game);
        assert_true(choice.out_of_context && choice.move == TRIGO_NONE && !choice.decided);
        leave(s);
    }
    trigo_game_destroy(game);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_may_be_refused(void **state)
{
    (void)state;
    trigo_game *game = random_game((trigo_shape){3, 3, 1}, 3, 1);
    for (uint64_t nth = 1;; nth++) {
        kvf_error err;
        trigo_kind *kind = NULL;
        trigo_player *player = NULL;
        trigo_choice choice;
        kvf_fail_allocations(nth);
        kvf_status status = trigo_kind_read(&kind, "uniform:sims=60", &err);
        if (!status) status = trigo_player_create(&player, kind, &err);
        if (!status) status = trigo_player_choose(player, game, 0, &choice, &err);
        if (!status) trigo_game_undo(game);
        if (!status) status = trigo_player_choose(player, game, 0, &choice, &err);
        kvf_fail_allocations(0);
        if (status) assert_int_equal(status, KVF_ERR_NOMEM);
        trigo_player_destroy(player);
        trigo_kind_close(kind);
        if (!status) break;
        assert_true(nth < 10000);
        while (game->plies < 3) play(game, TRIGO_PASS);
    }
    trigo_game_destroy(game);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_strict),
        cmocka_unit_test(names_are_taken),
        cmocka_unit_test(random_draws_evenly),
        cmocka_unit_test(search_goes_on_with_its_tree),
        cmocka_unit_test(begins_anew_where_it_must),
        cmocka_unit_test(passes_when_decided),
        cmocka_unit_test(clock_ends_a_search),
        cmocka_unit_test(first_thought_is_the_likeliest),
        cmocka_unit_test(says_when_a_game_is_too_long),
        cmocka_unit_test(memory_may_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
