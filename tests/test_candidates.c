/* test_candidates.c - candidates and their tree, and the positions of the reference evaluations. */
#include "trigo/candidates.h"

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
#include "trigo/json.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

/* The characters from the prompt's end to a node. */
static size_t path_text(const trigo_candidates *c, int32_t node, char *out)
{
    if (node < 0) return 0;
    assert_true(c->parent[node] < node);
    size_t n = path_text(c, c->parent[node], out);
    out[n] = (char)c->token[node];
    return n + 1;
}

/* What the tree is for: each move's characters are its leaf's path and its last token. No two nodes
 * say the same, all are needed, and a node follows the subtree of its elder sibling at once. */
static void check_tree(const trigo_candidates *c)
{
    static bool used[1000];
    memset(used, 0, sizeof used);
    assert_true(c->m <= c->shape.x + c->shape.x * c->shape.y + 3u);
    for (uint32_t i = 0; i < c->n; i++) {
        char want[TRIGO_MOVE_TEXT], got[TRIGO_MOVE_TEXT] = "";
        trigo_move_write(c->shape, c->move[i], want);
        got[path_text(c, c->leaf[i], got)] = (char)c->last[i];
        assert_string_equal(got, want);
        for (int32_t node = c->leaf[i]; node >= 0; node = c->parent[node]) used[node] = true;
    }
    for (int32_t i = 0; i < (int32_t)c->m; i++) {
        assert_true(used[i]);
        if (i == 0) {
            assert_int_equal(c->parent[i], -1);
            continue;
        }
        int32_t up = i - 1; /* the parent is the node before, or one above it: depth first */
        while (up >= 0 && up != c->parent[i]) up = c->parent[up];
        assert_int_equal(up, c->parent[i]);
        for (int32_t k = 0; k < i; k++)
            assert_true(c->parent[k] != c->parent[i] || c->token[k] != c->token[i]);
    }
}

static void trees_of_random_positions(void **state)
{
    (void)state;
    static const trigo_shape shapes[] = {{1, 1, 1},   {1, 1, 2}, {2, 1, 1},  {27, 1, 1}, {1, 27, 1},
                                         {1, 1, 27},  {5, 5, 1}, {5, 1, 5},  {3, 3, 3},  {4, 6, 2},
                                         {19, 19, 1}, {5, 5, 5}, {27, 27, 2}};
    kvf_rng rng;
    kvf_rng_seed(&rng, 3);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        trigo_board *board;
        trigo_candidates *c;
        assert_int_equal(trigo_board_create(&board, shapes[s], NULL), KVF_OK);
        assert_int_equal(trigo_candidates_create(&c, shapes[s], NULL), KVF_OK);
        for (int ply = 0; ply < 200; ply++) {
            trigo_candidates_list(c, board);
            check_tree(c);
            bool ended = trigo_board_ended(board);
            assert_int_equal(ended, c->n == 0 || c->move[c->n - 1] != TRIGO_PASS);
            if (ended) break;
            trigo_move move = c->move[kvf_rng_below(&rng, c->n)];
            assert_int_equal(trigo_board_play(board, move, NULL), TRIGO_LEGAL);
        }
        trigo_candidates_destroy(c);
        trigo_board_destroy(board);
    }
}

/* ---- the reference evaluations --------------------------------------------------------------- */

static bool same_ints(const json_t *want, const int32_t *got, size_t n)
{
    bool same = json_array_size(want) == n;
    for (size_t i = 0; same && i < n; i++)
        same = json_integer_value(json_array_get(want, i)) == got[i];
    return same;
}

static bool same_moves(const json_t *want, const trigo_candidates *c)
{
    bool same = json_array_size(want) == c->n;
    for (size_t i = 0; same && i < c->n; i++) {
        char text[TRIGO_MOVE_TEXT];
        trigo_move_write(c->shape, c->move[i], text);
        same = !strcmp(json_string_value(json_array_get(want, i)), text);
    }
    return same;
}

static void compare_position(const json_t *want)
{
    static int32_t tokens[4096];
    const char *id = json_string_value(json_object_get(want, "id"));
    trigo_game *game;
    trigo_candidates *c;
    kvf_error err;
    if (trigo_json_game(&game, want, &err)) fail_msg("%s: %s", id, err.msg);
    assert_int_equal(trigo_candidates_create(&c, game->board->shape, NULL), KVF_OK);
    trigo_candidates_list(c, game->board);
    size_t n = trigo_prompt(game, tokens, 4096);
    if (!same_ints(json_object_get(want, "tokens"), tokens, n)) fail_msg("%s: tokens", id);
    if (json_integer_value(json_object_get(want, "m")) != c->m) fail_msg("%s: m is %u", id, c->m);
    if (!same_moves(json_object_get(want, "candidates"), c)) fail_msg("%s: candidates", id);
    if (json_is_true(json_object_get(want, "active")) == trigo_board_ended(game->board))
        fail_msg("%s: active", id);
    double value;
    const json_t *terminal = json_object_get(want, "terminal_value");
    if (trigo_board_terminal(game->board, &value) == json_is_null(terminal))
        fail_msg("%s: terminal", id);
    if (!json_is_null(terminal) && fabs(value - json_number_value(terminal)) > 1e-12)
        fail_msg("%s: terminal value %.17g", id, value);
    trigo_candidates_destroy(c);
    trigo_game_destroy(game);
}

static void reference_evaluations(void **state)
{
    (void)state;
    FILE *file = fopen(KVF_SOURCE_DIR "/tests/data/trigo/evals_A.jsonl", "r");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0;
    int lines = 0;
    for (ssize_t len; (len = getline(&line, &room, file)) >= 0; lines++) {
        json_t *want;
        kvf_error err;
        if (trigo_json_object(&want, line, (size_t)len, &err))
            fail_msg("line %d: %s", lines, err.msg);
        compare_position(want);
        json_decref(want);
    }
    assert_true(lines > 100);
    free(line);
    fclose(file);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void memory_runs_out(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        trigo_candidates *c;
        kvf_error err = {0};
        kvf_fail_allocations(nth);
        kvf_status status = trigo_candidates_create(&c, (trigo_shape){5, 5, 5}, &err);
        kvf_fail_allocations(0);
        trigo_candidates_destroy(c);
        if (!status) break;
        assert_int_equal(status, KVF_ERR_NOMEM);
        assert_null(c);
    }
    assert_int_equal(nth, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trees_of_random_positions),
                                       cmocka_unit_test(reference_evaluations),
                                       cmocka_unit_test(memory_runs_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
