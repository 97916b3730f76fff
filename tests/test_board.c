/* test_board.c - the rules, held to a plain slow twin that knows nothing but colours.
 *
 * The twin is written from the rules' sentences: every question is a flood fill over the whole
 * board, and nothing is kept between steps but the last captures. Random games on shapes of every
 * kind are played on both, and everything that a position has to say is compared after each step;
 * then every game is undone, and the board must be what it was, byte for byte. */
#include "trigo/board.h"
#include "trigo/game.h"

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
#include "trigo/notation.h"

enum { SEED = 20 };

/* ---- the twin -------------------------------------------------------------------------------- */

typedef struct twin {
    trigo_shape shape;
    int cells, to_move, passes, resigned, ply;
    int last[TRIGO_MAX_CELLS], n_last; /* cells captured by the last step */
    int captured[3];
    char at[TRIGO_MAX_CELLS]; /* 0 empty, 1 black, 2 white */
} twin;

typedef struct cell_set {
    int cell[TRIGO_MAX_CELLS], n;
} cell_set;

static int beside(const twin *t, int p, int way)
{
    static const int dx[] = {1, -1, 0, 0, 0, 0}, dy[] = {0, 0, 1, -1, 0, 0},
                     dz[] = {0, 0, 0, 0, 1, -1};
    int X = t->shape.x, Y = t->shape.y, Z = t->shape.z;
    int x = p / (Y * Z) + dx[way], y = p / Z % Y + dy[way], z = p % Z + dz[way];
    if (x < 0 || x >= X || y < 0 || y >= Y || z < 0 || z >= Z) return -1;
    return (x * Y + y) * Z + z;
}

/* All cells connected to p through its own colour; touches[c]: whether colour c is beside them. */
static void connected(const twin *t, int p, cell_set *set, bool touches[3])
{
    static char seen[TRIGO_MAX_CELLS]; /* all zero between calls */
    memset(touches, 0, 3 * sizeof *touches);
    set->n = 0;
    set->cell[set->n++] = p;
    seen[p] = 1;
    for (int i = 0; i < set->n; i++)
        for (int way = 0; way < 6; way++) {
            int q = beside(t, set->cell[i], way);
            if (q < 0) continue;
            if (t->at[q] != t->at[p]) touches[(int)t->at[q]] = true;
            if (t->at[q] != t->at[p] || seen[q]) continue;
            seen[q] = 1;
            set->cell[set->n++] = q;
        }
    for (int i = 0; i < set->n; i++) seen[set->cell[i]] = 0;
}

/* Put a stone at p and list what it captures. Returns the number of groups. */
static int captures(twin *t, int p, cell_set *taken)
{
    static cell_set group;
    int groups = 0;
    taken->n = 0;
    t->at[p] = (char)t->to_move;
    for (int way = 0; way < 6; way++) {
        int q = beside(t, p, way);
        bool touches[3], known = false;
        if (q < 0 || t->at[q] != 3 - t->to_move) continue;
        for (int i = 0; i < taken->n; i++) known |= taken->cell[i] == q;
        if (known) continue;
        connected(t, q, &group, touches);
        if (touches[0]) continue;
        groups++;
        for (int i = 0; i < group.n; i++) taken->cell[taken->n++] = group.cell[i];
    }
    return groups;
}

static trigo_verdict twin_drop(twin *t, int p)
{
    static cell_set taken, group;
    if (t->at[p]) return TRIGO_OCCUPIED;
    bool touches[3];
    int groups = captures(t, p, &taken);
    connected(t, p, &group, touches);
    t->at[p] = 0;
    if (t->n_last == 1 && t->last[0] == p && groups == 1 && taken.n == 1) return TRIGO_KO;
    return taken.n == 0 && !touches[0] ? TRIGO_SUICIDE : TRIGO_LEGAL;
}

static bool twin_ended(const twin *t)
{
    return t->passes >= 2 || t->resigned;
}

static void twin_play(twin *t, trigo_move move) /* a legal one */
{
    static cell_set taken;
    taken.n = 0;
    if (move == TRIGO_PASS) {
        t->passes++;
    } else if (move == TRIGO_RESIGN) {
        t->resigned = t->to_move;
    } else {
        captures(t, move, &taken);
        t->passes = 0;
    }
    for (int i = 0; i < taken.n; i++) t->at[taken.cell[i]] = 0;
    memcpy(t->last, taken.cell, sizeof *t->last * (size_t)taken.n);
    t->n_last = taken.n;
    t->captured[3 - t->to_move] += taken.n;
    t->to_move = 3 - t->to_move;
    t->ply++;
}

static trigo_area twin_area(const twin *t)
{
    static cell_set region;
    static char counted[TRIGO_MAX_CELLS];
    memset(counted, 0, sizeof counted);
    trigo_area area = {0};
    for (int p = 0; p < t->cells; p++) {
        if (counted[p]) continue;
        bool touches[3];
        connected(t, p, &region, touches);
        for (int i = 0; i < region.n; i++) counted[region.cell[i]] = 1;
        bool black = t->at[p] == 1 || (!t->at[p] && touches[1] && !touches[2]);
        bool white = t->at[p] == 2 || (!t->at[p] && touches[2] && !touches[1]);
        *(black ? &area.black : white ? &area.white : &area.neutral) += (uint32_t)region.n;
    }
    return area;
}

static bool twin_terminal(const twin *t, trigo_area area)
{
    int stones[3] = {0};
    for (int p = 0; p < t->cells; p++) stones[(int)t->at[p]]++;
    return twin_ended(t) ||
           (stones[1] && stones[2] && 2 * (stones[1] + stones[2]) > t->cells && !area.neutral);
}

static int twin_winner(const twin *t, trigo_area area)
{
    if (t->resigned) return 3 - t->resigned;
    int lead = (int)area.black + t->captured[2] - (int)area.white - t->captured[1];
    return t->passes < 2 || lead == 0 ? 0 : lead > 0 ? 1 : 2;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* What the random games have met, so that a change of the sample cannot lose it unseen. */
static struct {
    long plies, ko, suicide, big_captures, several_groups, joins, covered, resigned, ko_lifted;
} met;

#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            print_error("game %d on %ux%ux%u, ply %u: ", game_number, b->shape.x, b->shape.y,      \
                        b->shape.z, b->now.ply);                                                   \
            fail_msg(__VA_ARGS__);                                                                 \
        }                                                                                          \
    } while (0)

static int game_number;

/* Every group's head and sums, counted anew. */
static void compare_groups(const trigo_board *b, const twin *t)
{
    static cell_set group;
    static bool in_group[TRIGO_MAX_CELLS];
    for (int p = 0; p < t->cells; p++) {
        int room = 0, libs = 0;
        bool touches[3];
        for (int way = 0; way < 6; way++) {
            int q = beside(t, p, way);
            room += q >= 0 && !t->at[q];
        }
        CHECK(b->room[p] == room, "cell %d has room %d, want %d", p, b->room[p], room);
        if (!t->at[p] || b->stone[p].head != p) continue;
        connected(t, p, &group, touches);
        for (int i = 0; i < group.n; i++) {
            CHECK(b->stone[group.cell[i]].head == p, "cell %d is of group %d, want %d",
                  group.cell[i], b->stone[group.cell[i]].head, p);
            in_group[group.cell[i]] = true;
            for (int way = 0; way < 6; way++) {
                int q = beside(t, group.cell[i], way);
                libs += q >= 0 && !t->at[q];
            }
        }
        int ring = 0;
        for (int q = p; ring <= group.n && (q != p || !ring); q = b->stone[q].next, ring++)
            CHECK(in_group[q], "cell %d is in the ring of group %d", q, p);
        for (int i = 0; i < group.n; i++) in_group[group.cell[i]] = false;
        CHECK(ring == group.n, "ring of %d stones, want %d", ring, group.n);
        CHECK(b->stone[p].size == group.n, "size %d, want %d", b->stone[p].size, group.n);
        CHECK(b->stone[p].libs == libs, "libs %d, want %d", b->stone[p].libs, libs);
    }
}

static void compare(const trigo_board *b, twin *t)
{
    static trigo_move drops[TRIGO_MAX_CELLS];
    size_t n = trigo_board_drops(b, drops), at = 0;
    int stones[3] = {0};
    for (int p = 0; p < t->cells; p++) {
        trigo_verdict want = twin_drop(t, p), got = trigo_board_drop(b, (uint32_t)p);
        CHECK(b->colour[p] == t->at[p], "cell %d has colour %d, want %d", p, b->colour[p],
              t->at[p]);
        CHECK(got == want, "cell %d %s, but %s", p, trigo_verdict_text(got),
              trigo_verdict_text(want));
        if (want == TRIGO_LEGAL)
            CHECK(at < n && drops[at++] == p, "cell %d is missing or late in the list", p);
        met.ko += want == TRIGO_KO;
        met.suicide += want == TRIGO_SUICIDE;
        met.ko_lifted += want == TRIGO_LEGAL && b->now.ko == p;
        stones[(int)t->at[p]]++;
    }
    CHECK(at == n, "%zu drops, want %zu", n, at);
    int ko = t->n_last == 1 ? t->last[0] : TRIGO_NONE;
    CHECK(b->now.ko == ko, "ko memory %d, want %d", b->now.ko, ko);
    CHECK(b->now.to_move == t->to_move && b->now.ply == (uint32_t)t->ply, "whose move");
    CHECK(b->now.passes == t->passes && b->now.resigned == t->resigned, "passes, resignation");
    CHECK(trigo_board_ended(b) == twin_ended(t), "end");
    for (int c = 1; c < 3; c++) {
        CHECK(b->now.stones[c] == stones[c], "stones[%d]", c);
        CHECK(b->now.captured[c] == (uint32_t)t->captured[c], "captured[%d]", c);
    }
    trigo_area got = trigo_board_area(b), want = twin_area(t);
    CHECK(!memcmp(&got, &want, sizeof got), "area %u %u %u, want %u %u %u", got.black, got.white,
          got.neutral, want.black, want.white, want.neutral);
    CHECK((int)trigo_board_winner(b) == twin_winner(t, want), "winner %d", trigo_board_winner(b));
    double value = 7, d = (double)want.white - want.black;
    double worth = d > 0 ? 1 + log(d) : d < 0 ? -1 - log(-d) : 0;
    bool terminal = trigo_board_terminal(b, &value);
    CHECK(terminal == twin_terminal(t, want), "terminal is %d", terminal);
    CHECK(!terminal || fabs(value - worth) < 1e-12, "value %g, want %g", value, worth);
    met.covered += terminal && !twin_ended(t);
    compare_groups(b, t);
}

static void compare_captured(const trigo_board *b, const twin *t, const trigo_step *step)
{
    static uint16_t cells[TRIGO_MAX_CELLS];
    CHECK(step->captured == t->n_last, "captured %d, want %d", step->captured, t->n_last);
    trigo_board_captured(b, step, cells);
    for (int i = 0; i < t->n_last; i++) {
        bool found = false;
        for (int k = 0; k < t->n_last; k++) found |= cells[k] == t->last[i];
        CHECK(found, "cell %d is missing in the list of captures", t->last[i]);
        CHECK(i == 0 || cells[i - 1] < cells[i], "the captures are not in order");
    }
    met.big_captures += step->captured > 2;
    met.several_groups += step->n_taken > 1;
    met.joins += step->n_joined > 2;
}

/* ---- random games ---------------------------------------------------------------------------- */

static size_t position_bytes(const trigo_board *b)
{
    return (size_t)(b->edges - (uint8_t *)b->stone);
}

static trigo_move random_move(const trigo_board *b, kvf_rng *rng)
{
    static trigo_move drops[TRIGO_MAX_CELLS];
    uint32_t n = (uint32_t)trigo_board_drops(b, drops);
    uint32_t pick = kvf_rng_below(rng, 400);
    if (pick == 0) return TRIGO_RESIGN;
    if (n == 0 || pick < 8) return TRIGO_PASS;
    /* take back where it is allowed: ko fights are rare otherwise */
    if (b->now.ko != TRIGO_NONE && pick < 200 && trigo_board_drop(b, b->now.ko) == TRIGO_LEGAL)
        return b->now.ko;
    return drops[kvf_rng_below(rng, n)];
}

/* Forbidden moves are refused and change nothing. */
static void try_forbidden(trigo_board *b)
{
    struct trigo_state before = b->now;
    for (uint32_t p = 0; p < b->cells + 2u; p++) {
        trigo_verdict verdict = trigo_board_drop(b, p);
        if (trigo_board_ended(b)) verdict = TRIGO_ENDED;
        if (verdict != TRIGO_LEGAL)
            CHECK(trigo_board_play(b, (trigo_move)p, NULL) == verdict, "cell %u was played", p);
    }
    CHECK(!memcmp(&before, &b->now, sizeof before), "a refused move changed the position");
}

/* Play one game on both, comparing every `every` plies, then undo it. */
static void play_both(trigo_shape shape, int max_plies, int every, kvf_rng *rng)
{
    static twin t;
    trigo_board *b, *copy;
    assert_int_equal(trigo_board_create(&b, shape, NULL), KVF_OK);
    assert_int_equal(trigo_board_create(&copy, shape, NULL), KVF_OK);
    memset(&t, 0, sizeof t);
    t.shape = shape;
    t.cells = b->cells;
    t.to_move = 1;
    trigo_step *steps = calloc((size_t)max_plies, sizeof *steps);
    size_t bytes = position_bytes(b);
    uint8_t *positions = malloc(bytes * (size_t)max_plies);
    struct trigo_state *states = calloc((size_t)max_plies, sizeof *states);
    assert_true(steps && positions && states);
    compare(b, &t);
    int n = 0;
    while (n < max_plies && !twin_ended(&t)) {
        trigo_move move = random_move(b, rng);
        memcpy(positions + bytes * (size_t)n, b->stone, bytes);
        states[n] = b->now;
        trigo_board_copy(copy, b);
        trigo_verdict verdict = trigo_board_play(b, move, &steps[n]);
        CHECK(verdict == TRIGO_LEGAL, "move %d %s", move, trigo_verdict_text(verdict));
        CHECK(trigo_board_play(copy, move, NULL) == TRIGO_LEGAL, "the copy refuses");
        CHECK(!memcmp(copy->stone, b->stone, bytes), "the copy differs");
        twin_play(&t, move);
        compare_captured(b, &t, &steps[n++]);
        if (n % every == 0 || twin_ended(&t)) {
            compare(b, &t);
            try_forbidden(b);
        }
    }
    CHECK(trigo_board_play(b, TRIGO_PASS, NULL) == (twin_ended(&t) ? TRIGO_ENDED : TRIGO_LEGAL),
          "pass at the end");
    if (!twin_ended(&t)) trigo_board_copy(b, copy);
    met.plies += n;
    met.resigned += t.resigned != 0;
    while (n-- > 0) {
        trigo_board_undo(b, &steps[n]);
        CHECK(!memcmp(b->stone, positions + bytes * (size_t)n, bytes), "undo left other stones");
        CHECK(!memcmp(&b->now, &states[n], sizeof b->now), "undo left another state");
    }
    free(states);
    free(positions);
    free(steps);
    trigo_board_destroy(copy);
    trigo_board_destroy(b);
}

static void random_games(void **state)
{
    (void)state;
    static const struct {
        trigo_shape shape; /* x = 0: a random one of at most 30 cells */
        int games, plies, every;
    } rows[] = {
        {{0, 0, 0}, 6000, 100, 1}, {{2, 2, 2}, 500, 80, 1},     {{3, 3, 1}, 500, 100, 1},
        {{5, 5, 1}, 300, 150, 1},  {{3, 3, 3}, 300, 150, 1},    {{5, 5, 5}, 10, 400, 5},
        {{9, 9, 1}, 20, 300, 5},   {{19, 19, 1}, 3, 900, 30},   {{27, 1, 1}, 100, 100, 1},
        {{1, 27, 1}, 20, 100, 1},  {{1, 1, 27}, 20, 100, 1},    {{2, 27, 2}, 5, 400, 10},
        {{7, 7, 7}, 2, 900, 50},   {{27, 27, 27}, 1, 300, 100},
    };
    kvf_rng rng;
    kvf_rng_seed(&rng, SEED);
    print_message("random games from seed %d\n", SEED);
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (game_number = 0; game_number < rows[r].games; game_number++) {
            trigo_shape s = rows[r].shape;
            while (!s.x || trigo_cells(s) > (rows[r].shape.x ? TRIGO_MAX_CELLS : 30u))
                s = (trigo_shape){(uint8_t)(1 + kvf_rng_below(&rng, 7)),
                                  (uint8_t)(1 + kvf_rng_below(&rng, 7)),
                                  (uint8_t)(1 + kvf_rng_below(&rng, 4))};
            play_both(s, rows[r].plies, rows[r].every, &rng);
        }
    print_message(
        "%ld plies; forbidden by ko %ld, suicide %ld; retaken in spite of ko %ld; captures "
        "of more than two %ld, of several groups %ld; joins of three or more %ld; covered "
        "boards %ld; resignations %ld\n",
        met.plies, met.ko, met.suicide, met.ko_lifted, met.big_captures, met.several_groups,
        met.joins, met.covered, met.resigned);
    assert_true(met.ko > 100 && met.suicide > 1000 && met.ko_lifted > 100);
    assert_true(met.big_captures > 1000 && met.several_groups > 100 && met.joins > 100);
    assert_true(met.covered > 100 && met.resigned > 100);
}

/* ---- single rules ---------------------------------------------------------------------------- */

/* A line of moves, and what the rules say of one more. */
static void single_rules(void **state)
{
    (void)state;
    static const struct {
        int64_t x, y, z;
        const char *moves, *next;
        trigo_verdict want;
        const char *why;
    } rows[] = {
        {5, 5, 1, "", "00", TRIGO_LEGAL, "first move"},
        {5, 5, 1, "00", "00", TRIGO_OCCUPIED, "on a stone"},
        {1, 1, 1, "", "", TRIGO_SUICIDE, "one cell has no liberty"},
        {2, 1, 1, "0", "z", TRIGO_LEGAL, "captures first, then looks for liberties"},
        {2, 1, 1, "0 z", "0", TRIGO_KO, "the only ko there can be"},
        {2, 1, 1, "0 z Pass Pass", "0", TRIGO_ENDED, "two passes"},
        {2, 1, 1, "0 z Pass", "0", TRIGO_SUICIDE, "the last cell, beside an own stone"},
        {3, 3, 1, "0a Pass a0", "aa", TRIGO_SUICIDE, "corner"},
        {3, 3, 1, "0a Pass a0 Pass", "aa", TRIGO_LEGAL, "the same corner, for its owner"},
        {5, 1, 1, "a 0 Pass y", "b", TRIGO_SUICIDE, "of two stones"},
        {5, 1, 1, "a 0 Pass Pass", "a", TRIGO_ENDED, "not even an occupied cell"},
        {5, 5, 1, "ab a0 0b 00 ba by zz bb b0", "bb", TRIGO_KO, "one for one"},
        {5, 5, 1, "ab a0 0b 00 ba by zz bb b0 zy yz", "bb", TRIGO_LEGAL, "another drop between"},
        {5, 5, 1, "ab a0 0b 00 ba by zz bb b0 Pass yz", "bb", TRIGO_LEGAL, "a pass between"},
        {5, 5, 1, "Resign", "Pass", TRIGO_ENDED, "resigned"},
        {5, 5, 1, "Pass 00 Pass", "Pass", TRIGO_LEGAL, "two passes, not in a row"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        trigo_shape shape;
        trigo_game *game;
        trigo_move move;
        kvf_error err = {0};
        assert_int_equal(trigo_shape_set(&shape, rows[i].x, rows[i].y, rows[i].z, &err), KVF_OK);
        assert_int_equal(trigo_game_create(&game, shape, &err), KVF_OK);
        for (const char *at = rows[i].moves; *at;) {
            size_t n = strcspn(at, " ");
            assert_int_equal(trigo_move_read(shape, at, n, &move, &err), KVF_OK);
            if (trigo_game_play(game, move, &err)) fail_msg("%s: %s", rows[i].moves, err.msg);
            at += n + strspn(at + n, " ");
        }
        assert_int_equal(trigo_move_read(shape, rows[i].next, strlen(rows[i].next), &move, &err),
                         KVF_OK);
        trigo_verdict got = trigo_board_play(game->board, move, NULL);
        if (got != rows[i].want)
            fail_msg("%s, then %s (%s): %s", rows[i].moves, rows[i].next, rows[i].why,
                     trigo_verdict_text(got));
        trigo_game_destroy(game);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(single_rules),
                                       cmocka_unit_test(random_games)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
