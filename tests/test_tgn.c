/* test_tgn.c - notation on axes of every size, the game's text both ways, and its prompt. */
#include "trigo/tgn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base.h"
#include "rng.h"
#include "trigo/notation.h"

enum { SEED = 6 };

/* ---- notation -------------------------------------------------------------------------------- */

/* The characters of an axis of every size, written out. */
static const char *const axes[] = {"",
                                   "0",
                                   "0z",
                                   "a0z",
                                   "a0yz",
                                   "ab0yz",
                                   "ab0xyz",
                                   "abc0xyz",
                                   "abc0wxyz",
                                   "abcd0wxyz",
                                   "abcd0vwxyz",
                                   "abcde0vwxyz",
                                   "abcde0uvwxyz",
                                   "abcdef0uvwxyz",
                                   "abcdef0tuvwxyz",
                                   "abcdefg0tuvwxyz",
                                   "abcdefg0stuvwxyz",
                                   "abcdefgh0stuvwxyz",
                                   "abcdefgh0rstuvwxyz",
                                   "abcdefghi0rstuvwxyz",
                                   "abcdefghi0qrstuvwxyz",
                                   "abcdefghij0qrstuvwxyz",
                                   "abcdefghij0pqrstuvwxyz",
                                   "abcdefghijk0pqrstuvwxyz",
                                   "abcdefghijk0opqrstuvwxyz",
                                   "abcdefghijkl0opqrstuvwxyz",
                                   "abcdefghijkl0nopqrstuvwxyz",
                                   "abcdefghijklm0nopqrstuvwxyz"};

static trigo_shape shape_of(int x, int y, int z)
{
    return (trigo_shape){(uint8_t)x, (uint8_t)y, (uint8_t)z};
}

/* Every byte on an axis of every size, the axis alone, before, between and behind others. */
static void axes_of_every_size(void **state)
{
    (void)state;
    for (int size = 1; size <= TRIGO_MAX_AXIS; size++) {
        const struct {
            trigo_shape shape;
            const char *before, *behind;
            int cell, stride;
        } places[] = {
            {shape_of(size, 1, 1), "", "", 0, 1},
            {shape_of(size, 3, 1), "", "z", 2, 3},
            {shape_of(1, size, 1), "0", "", 0, 1},
            {shape_of(2, size, 1), "z", "", size, 1},
            {shape_of(1, 1, size), "00", "", 0, 1},
            {shape_of(3, 2, size), "az", "", size, 1},
            {shape_of(2, size, 5), "0", "0", 2, 5},
            {shape_of(size, 1, 2), "", "0z", 1, 2},
            {shape_of(27, 27, size), "zz", "", 728 * size, 1},
        };
        assert_int_equal(strlen(axes[size]), size);
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
            for (int c = 0; c < 256; c++) {
                trigo_shape s = places[i].shape;
                char text[8], back[TRIGO_MOVE_TEXT];
                size_t len = (size_t)snprintf(text, sizeof text, "%s%c%s", places[i].before, c,
                                              places[i].behind);
                if (!c) len = strlen(places[i].before) + 1 + strlen(places[i].behind);
                const char *at = c ? strchr(axes[size], c) : NULL;
                int index = at ? (int)(at - axes[size]) : -1;
                bool alias = size % 2 == 0 && c == 'a' + (size - 1) / 2;
                if (alias) index = (size - 1) / 2;
                /* an axis of one cell at the end has no character at all */
                bool written = size > 1 || (s.z > 1) || (s.y > 1 && s.x == size);
                if (!written) index = -1;
                trigo_move move = TRIGO_NONE;
                kvf_status status = trigo_move_read(s, text, len, &move, NULL);
                if (index < 0) {
                    if (!status) fail_msg("axis of %d took '%s'", size, text);
                    continue;
                }
                if (status || move != places[i].cell + index * places[i].stride)
                    fail_msg("'%s' on %ux%ux%u is cell %d", text, s.x, s.y, s.z, move);
                if (alias) text[strlen(places[i].before)] = '0';
                assert_int_equal(trigo_move_write(s, move, back), len);
                assert_string_equal(back, text);
            }
    }
}

static void cells_of_one(void **state)
{
    (void)state;
    trigo_move move;
    char text[TRIGO_MOVE_TEXT];
    trigo_shape one = {1, 1, 1};
    assert_int_equal(trigo_move_read(one, "", 0, &move, NULL), KVF_OK);
    assert_int_equal(move, 0);
    assert_int_equal(trigo_move_write(one, 0, text), 0);
    assert_int_equal(trigo_move_read(one, "0", 1, &move, NULL), KVF_ERR_ARG);
}

static void words_of_notation(void **state)
{
    (void)state;
    static const struct {
        trigo_shape shape;
        const char *text, *want;
    } rows[] = {
        {{5, 5, 1},
         "c0",
         "'c0' is no move on 5x5: that is Pass, Resign or 2 characters, one of each "
         "[ab0yz] [ab0yz]"},
        {{5, 5, 1},
         "000",
         "'000' is no move on 5x5: that is Pass, Resign or 2 characters, one of "
         "each [ab0yz] [ab0yz]"},
        {{2, 1, 1},
         "\033[2J",
         "'\\x1b[2J' is no move on 2x1: that is Pass, Resign or 1 character, "
         "one of each [0z]"},
        {{1, 3, 4},
         "pass",
         "'pass' is no move on 1x3x4: that is Pass, Resign or 3 characters, one "
         "of each [0] [a0z] [a0yz]"},
        {{5, 5, 1},
         "0123456789abcdef",
         "'0123456789ab...' is no move on 5x5: that is Pass, Resign or "
         "2 characters, one of each [ab0yz] [ab0yz]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_error err;
        trigo_move move;
        assert_int_equal(trigo_move_read(rows[i].shape, rows[i].text, strlen(rows[i].text), &move,
                                         &err),
                         KVF_ERR_ARG);
        assert_string_equal(err.msg, rows[i].want);
    }
    kvf_error err;
    trigo_shape shape = {27, 27, 27};
    trigo_move move;
    assert_int_equal(trigo_move_read(shape, "", 0, &move, &err), KVF_ERR_ARG);
    assert_non_null(strstr(err.msg, axes[27]));
    assert_int_equal(trigo_shape_set(&shape, 5, 28, 1, &err), KVF_ERR_ARG);
    assert_string_equal(err.msg, "axis Y of the board is 28, but must be 1 to 27");
    assert_int_equal(trigo_shape_set(&shape, 5, 5, INT64_MIN, &err), KVF_ERR_ARG);
    assert_int_equal(trigo_shape_set(&shape, 0, 5, 5, &err), KVF_ERR_ARG);
}

/* ---- text, written --------------------------------------------------------------------------- */

static trigo_game *game_of(trigo_shape shape, const char *moves)
{
    trigo_game *game;
    assert_int_equal(trigo_game_create(&game, shape, NULL), KVF_OK);
    for (const char *at = moves; *at;) {
        size_t n = strcspn(at, " ");
        trigo_move move;
        assert_int_equal(trigo_move_read(shape, at, n, &move, NULL), KVF_OK);
        assert_int_equal(trigo_game_play(game, move, NULL), KVF_OK);
        at += n + strspn(at + n, " ");
    }
    return game;
}

static void texts_written(void **state)
{
    (void)state;
    static const struct {
        trigo_shape shape;
        const char *moves, *plain, *scored;
    } rows[] = {
        {{5, 5, 1}, "", "[Board 5x5]\n\n", "[Board 5x5]\n\n; 0\n"},
        {{5, 1, 1}, "0", "[Board 5x1]\n\n1. 0 ", "[Board 5x1]\n\n1. 0\n; -5\n"},
        {{1, 1, 5}, "000", "[Board 1x1x5]\n\n1. 000 ", "[Board 1x1x5]\n\n1. 000\n; -5\n"},
        {{5, 5, 1},
         "Pass Pass",
         "[Board 5x5]\n\n1. Pass Pass\n",
         "[Board 5x5]\n\n1. Pass Pass\n; 0\n"},
        {{5, 5, 5},
         "Pass zz0",
         "[Board 5x5x5]\n\n1. Pass zz0\n",
         "[Board 5x5x5]\n\n1. Pass zz0\n; +125\n"},
        {{27, 27, 1},
         "aa zz Resign",
         "[Board 27x27]\n\n1. aa zz\n2. Resign ",
         "[Board 27x27]\n\n1. aa zz\n2. Resign\n; 0\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        trigo_game *game = game_of(rows[i].shape, rows[i].moves);
        char *text;
        size_t len;
        assert_int_equal(trigo_tgn_write(game, false, &text, &len, NULL), KVF_OK);
        assert_string_equal(text, rows[i].plain);
        assert_int_equal(len, strlen(text));
        kvf_free(text);
        assert_int_equal(trigo_tgn_write(game, true, &text, NULL, NULL), KVF_OK);
        assert_string_equal(text, rows[i].scored);
        kvf_free(text);
        trigo_game_destroy(game);
    }
}

/* ---- text, read ------------------------------------------------------------------------------ */

/* Read a copy that ends with the block it lies in. */
static kvf_status read_exact(trigo_game **game, const char *text, size_t len, kvf_error *err)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    kvf_status status = trigo_tgn_read(game, len ? copy : copy + 1, len, err);
    free(copy);
    return status;
}

/* Every failure names a place that the text has. */
static void check_place(const char *text, size_t len, const kvf_error *err)
{
    size_t line = 0, column = 0, at = 0;
    int words = 0;
    if (sscanf(err->msg, "line %zu, column %zu: %n", &line, &column, &words) != 2 || !words)
        fail_msg("no place in '%s'", err->msg);
    for (size_t k = 1; k < line; k++) {
        const char *end = memchr(text + at, '\n', len - at);
        if (!end) fail_msg("no line %zu: %s", line, err->msg);
        at = (size_t)(end - text) + 1;
    }
    if (column < 1 || at + column - 1 > len) fail_msg("no column %zu: %s", column, err->msg);
    for (const char *c = err->msg; *c; c++) assert_in_range(*c, 32, 126);
}

static void texts_that_are_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", "line 1, column 1: the text ends, but here should be [Board XxYxZ]"},
        {"Board 5x5", "line 1, column 1: here is 'Board', but should be [Board XxYxZ]"},
        {"[Bored 5x5]", "line 1, column 2: here is 'Bored', but should be the word Board"},
        {"[Board5x5]", "line 1, column 7: here is '5x5]', but should be a space"},
        {"[Board x5]", "line 1, column 8: here is 'x5]', but should be the size of an axis"},
        {"[Board 5]", "line 1, column 9: here is ']', but should be 'x'"},
        {"[Board 5x5x5x5]", "line 1, column 13: here is 'x5]', but should be ']'"},
        {"[Board 5x5", "line 1, column 11: the text ends, but here should be 'x' or ']'"},
        {"[Board 05x5]", "line 1, column 8: here is '05x5]', but should be the size of an axis"},
        {"[Board 5x-5]", "line 1, column 10: here is '-5]', but should be the size of an axis"},
        {"[Board 28x5]", "line 1, column 8: axis X of the board is 28, but must be 1 to 27"},
        {"[Board 5x0]", "line 1, column 8: axis Y of the board is 0, but must be 1 to 27"},
        {"[Board 5x9999999999]",
         "line 1, column 10: here is '9999999999]', but should be the size of an axis"},
        {"[Board 5x5]\n\n00 zz",
         "line 3, column 1: here is '00', but should be '1.', the number of the round, or ';'"},
        {"[Board 5x5]\n\n2. 00",
         "line 3, column 1: here is '2.', but should be '1.', the number of the round, or ';'"},
        {"[Board 5x5]\n\n1 00",
         "line 3, column 2: here is ' ', but should be '.' behind the number of the round"},
        {"[Board 5x5]\n\n1. ", "line 3, column 4: the text ends, but here should be a move"},
        {"[Board 5x5]\n\n1. 00 zz\n1. yy",
         "line 4, column 1: here is '1.', but should be '2.', the number of the round, or ';'"},
        {"[Board 5x5]\n\n1. 00 2. zz",
         "line 3, column 7: '2.' is no move on 5x5: that is Pass, Resign or 2 characters, one of "
         "each [ab0yz] [ab0yz]"},
        {"[Board 5x5]\n\n1. 00\n   00", "line 4, column 4: '00' is on a stone"},
        {"[Board 2x1]\n\n1. 0 z\n2. 0", "line 4, column 4: '0' is forbidden by ko"},
        {"[Board 1x2]\n\n1. 00 Pass\n2. 0z", "line 4, column 4: '0z' is suicide"},
        {"[Board 5x5]\n\n1. Pass Pass\n2. 00",
         "line 4, column 4: '00' comes after the end of the game"},
        {"[Board 5x5]\n\n1. Resign Pass",
         "line 3, column 11: 'Pass' comes after the end of the game"},
        {"[Board 5x5]\n\n1. 00\n; 25", "line 4, column 3: here is '25', but should be -25"},
        {"[Board 5x5]\n\n1. 00\n; -025", "line 4, column 3: here is '-025', but should be -25"},
        {"[Board 5x5]\n\n1. 00\n;", "line 4, column 2: the text ends, but here should be -25"},
        {"[Board 5x5]\n\n1. 00\n; -25 1",
         "line 4, column 7: here is '1', but should be the end of the text, behind the score"},
        {"[Board 5x5]\n\n1. 00\x01", "line 3, column 4: '00\\x01' is no move on 5x5: that is Pass, "
                                     "Resign or 2 characters, one of "
                                     "each [ab0yz] [ab0yz]"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_error err;
        trigo_game *game;
        size_t len = strlen(rows[i].text);
        assert_int_equal(read_exact(&game, rows[i].text, len, &err), KVF_ERR_ARG);
        assert_null(game);
        assert_string_equal(err.msg, rows[i].want);
        check_place(rows[i].text, len, &err);
        assert_int_equal(read_exact(&game, rows[i].text, len, NULL), KVF_ERR_ARG);
    }
}

static void white_space_may_be_any(void **state)
{
    (void)state;
    static const char *const same[] = {
        "[Board 5x5]\n\n1. 00 b0\n2. Pass ",
        "[Board 5x5]\n\n1. 00 b0\n2. Pass\n; +0",
        "\r\n [ Board\t5 x 5 ] 1.00\r\n\r\n b0 2.\vPass\f\n\n",
        "[Board 5x5x1]1.00 b0 2.Pass",
        "[Board 5x5]\n1.\n00\nb0\n2.\nPass\n;\n0\n\n",
    };
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        trigo_game *game;
        kvf_error err;
        kvf_status status = read_exact(&game, same[i], strlen(same[i]), &err);
        if (strstr(same[i], "+0")) { /* a score has one spelling */
            assert_int_equal(status, KVF_ERR_ARG);
            continue;
        }
        if (status) fail_msg("'%s': %s", same[i], err.msg);
        char *text;
        assert_int_equal(trigo_tgn_write(game, false, &text, NULL, NULL), KVF_OK);
        assert_string_equal(text, same[0]);
        kvf_free(text);
        trigo_game_destroy(game);
    }
}

/* ---- random games ---------------------------------------------------------------------------- */

static trigo_game *random_game(kvf_rng *rng)
{
    static trigo_move drops[TRIGO_MAX_CELLS];
    trigo_shape shape = {(uint8_t)(1 + kvf_rng_below(rng, 6)), (uint8_t)(1 + kvf_rng_below(rng, 6)),
                         (uint8_t)(1 + kvf_rng_below(rng, 3))};
    trigo_game *game;
    assert_int_equal(trigo_game_create(&game, shape, NULL), KVF_OK);
    for (uint32_t plies = kvf_rng_below(rng, 60); plies; plies--) {
        uint32_t n = (uint32_t)trigo_board_drops(game->board, drops);
        trigo_move move = n && kvf_rng_below(rng, 20) ? drops[kvf_rng_below(rng, n)] : TRIGO_PASS;
        if (!kvf_rng_below(rng, 100)) move = TRIGO_RESIGN;
        if (trigo_game_play(game, move, NULL)) break;
    }
    return game;
}

static void expect_prompt(const trigo_game *game, const char *text, size_t len)
{
    static int32_t want[4096], got[4096];
    char number[16] = "";
    if (game->plies % 2 == 0) sprintf(number, "%u. ", game->plies / 2 + 1);
    size_t n = 0;
    want[n++] = TRIGO_TOKEN_START;
    for (size_t i = 0; i < len; i++) want[n++] = text[i];
    for (const char *c = number; *c; c++) want[n++] = *c;
    assert_int_equal(trigo_prompt(game, got, 4096), n);
    assert_memory_equal(got, want, n * sizeof *want);
    memset(got, 0, sizeof got);
    assert_int_equal(trigo_prompt(game, got, n / 2), n); /* no more than there is room for */
    assert_memory_equal(got, want, n / 2 * sizeof *want);
    assert_int_equal(got[n / 2], 0);
}

static void games_there_and_back(void **state)
{
    (void)state;
    kvf_rng rng;
    kvf_rng_seed(&rng, SEED);
    print_message("random games from seed %d\n", SEED);
    for (int g = 0; g < 1000; g++) {
        trigo_game *game = random_game(&rng), *back;
        for (int score = 0; score < 2; score++) {
            char *text, *again;
            size_t len;
            kvf_error err;
            assert_int_equal(trigo_tgn_write(game, score, &text, &len, NULL), KVF_OK);
            if (!score) expect_prompt(game, text, len);
            if (read_exact(&back, text, len, &err)) fail_msg("game %d: %s", g, err.msg);
            assert_int_equal(trigo_tgn_write(back, score, &again, NULL, NULL), KVF_OK);
            assert_string_equal(again, text);
            kvf_free(again);
            kvf_free(text);
            trigo_game_destroy(back);
        }
        trigo_game_destroy(game);
    }
}

/* A text cut anywhere is a game that begins alike, or an error with its place. */
static void cut_at_every_byte(void **state)
{
    (void)state;
    kvf_rng rng;
    kvf_rng_seed(&rng, SEED + 1);
    for (int g = 0; g < 40; g++) {
        trigo_game *game = random_game(&rng), *part;
        char *text;
        size_t len;
        assert_int_equal(trigo_tgn_write(game, true, &text, &len, NULL), KVF_OK);
        for (size_t cut = 0; cut < len; cut++) {
            kvf_error err;
            kvf_status status = read_exact(&part, text, cut, &err);
            if (status) {
                assert_int_equal(status, KVF_ERR_ARG);
                check_place(text, cut, &err);
                continue;
            }
            assert_true(part->plies <= game->plies);
            for (uint32_t i = 0; i < part->plies; i++)
                assert_int_equal(part->steps[i].move, game->steps[i].move);
            trigo_game_destroy(part);
        }
        kvf_free(text);
        trigo_game_destroy(game);
    }
}

/* Damaged texts, and bytes of no sense: an error with its place, or a game that writes and
 * reads. */
static void garbage(void **state)
{
    (void)state;
    static const char likely[] = "[]Boardx0123456789.;+- \nabzyPasResign\0\xff";
    kvf_rng rng;
    kvf_rng_seed(&rng, SEED + 2);
    long read = 0, refused = 0;
    for (int g = 0; g < 20000; g++) {
        char text[600];
        size_t len = 0;
        if (g % 4) {
            trigo_game *game = random_game(&rng);
            char *whole;
            assert_int_equal(trigo_tgn_write(game, g % 2, &whole, &len, NULL), KVF_OK);
            if (len > sizeof text) len = sizeof text;
            memcpy(text, whole, len);
            kvf_free(whole);
            trigo_game_destroy(game);
            for (uint32_t hits = 1 + kvf_rng_below(&rng, 3); hits; hits--)
                text[kvf_rng_below(&rng, (uint32_t)len)] =
                    likely[kvf_rng_below(&rng, sizeof likely)];
        } else {
            len = (size_t)sprintf(text, g % 8 ? "[Board 3x3]1." : "");
            for (uint32_t n = kvf_rng_below(&rng, 40); n; n--)
                text[len++] = g % 3 ? likely[kvf_rng_below(&rng, sizeof likely)]
                                    : (char)kvf_rng_below(&rng, 256);
        }
        trigo_game *game;
        kvf_error err;
        kvf_status status = read_exact(&game, text, len, &err);
        if (status) {
            refused++;
            assert_int_equal(status, KVF_ERR_ARG);
            check_place(text, len, &err);
        } else {
            read++;
            trigo_game_destroy(game);
        }
    }
    print_message("%ld damaged texts refused, %ld read\n", refused, read);
    assert_true(refused > 1000 && read > 100);
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Whichever allocation fails, the call says so and leaves nothing behind. */
static void memory_runs_out(void **state)
{
    (void)state;
    trigo_game *long_one;
    char *text;
    size_t len;
    assert_int_equal(trigo_game_create(&long_one, shape_of(19, 19, 1), NULL), KVF_OK);
    for (trigo_move i = 0; i < 70; i++) /* more plies than a game has room for at first */
        assert_int_equal(trigo_game_play(long_one, 2 * i, NULL), KVF_OK);
    assert_int_equal(trigo_tgn_write(long_one, true, &text, &len, NULL), KVF_OK);
    trigo_game_destroy(long_one);
    for (uint64_t nth = 1;; nth++) {
        kvf_error err = {0};
        trigo_game *game;
        char *out = NULL;
        kvf_fail_allocations(nth);
        kvf_status status = trigo_tgn_read(&game, text, len, &err);
        if (!status) status = trigo_tgn_write(game, true, &out, NULL, &err);
        kvf_fail_allocations(0);
        trigo_game_destroy(game);
        kvf_free(out);
        if (!status) {
            assert_true(nth > 4); /* game, board, steps twice, text */
            kvf_free(text);
            return;
        }
        assert_int_equal(status, KVF_ERR_NOMEM);
        assert_true(nth < 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(axes_of_every_size),
        cmocka_unit_test(cells_of_one),
        cmocka_unit_test(words_of_notation),
        cmocka_unit_test(texts_written),
        cmocka_unit_test(texts_that_are_wrong),
        cmocka_unit_test(white_space_may_be_any),
        cmocka_unit_test(games_there_and_back),
        cmocka_unit_test(cut_at_every_byte),
        cmocka_unit_test(garbage),
        cmocka_unit_test(memory_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
