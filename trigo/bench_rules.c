/* bench_rules.c - boards at work: random games, single calls, and counting every line of play. */
#include "trigo/bench_rules.h"

#include "base.h"
#include "rng.h"
#include "trigo/board.h"
#include "trigo/notation.h"

enum { SEED = 1, RUNS = 5, MAX_DEPTH = 8, PERFT_LINES = 2000000 };

/* One shape, and what the work on it needs. */
typedef struct scene {
    trigo_board *board, *copy;
    trigo_move *drops; /* [MAX_DEPTH][cells] */
    kvf_rng rng;
} scene;

/* ---- the work: each does something once or more and says how often --------------------------- */

/* Play a random drop, or pass where there is none. Random play fills and empties a board for ever:
 * after three stones for every cell a new game begins. */
static uint64_t play_step(scene *s)
{
    if (trigo_board_ended(s->board) || s->board->now.ply >= 3u * s->board->cells)
        trigo_board_clear(s->board);
    uint32_t n = (uint32_t)trigo_board_drops(s->board, s->drops);
    trigo_board_play(s->board, n ? s->drops[kvf_rng_below(&s->rng, n)] : TRIGO_PASS, NULL);
    return 1;
}

/* Go on until half of the cells are taken. */
static void play_half(scene *s)
{
    const uint16_t *stones = s->board->now.stones;
    trigo_board_clear(s->board);
    while (stones[TRIGO_BLACK] + stones[TRIGO_WHITE] < s->board->cells / 2) play_step(s);
}

static uint64_t list_drops(scene *s)
{
    trigo_board_drops(s->board, s->drops);
    return 1;
}

static uint64_t play_and_undo(scene *s)
{
    trigo_step step;
    size_t n = trigo_board_drops(s->copy, s->drops);
    for (size_t i = 0; i < n; i++) {
        trigo_board_play(s->board, s->drops[i], &step);
        trigo_board_undo(s->board, &step);
    }
    return n;
}

static uint64_t copy(scene *s)
{
    trigo_board_copy(s->copy, s->board);
    return 1;
}

static uint64_t count_area(scene *s)
{
    trigo_board_area(s->board);
    return 1;
}

/* Seconds for each thing done, in the fastest of RUNS runs. */
static double seconds_each(scene *s, uint64_t (*work)(scene *), double seconds)
{
    double best = 0;
    for (int run = 0; run < RUNS; run++) {
        uint64_t n = 0;
        double start = kvf_now(), took;
        do {
            for (int i = 0; i < 8; i++) n += work(s);
            took = kvf_now() - start;
        } while (took < seconds / RUNS);
        if (run == 0 || took / (double)n < best) best = took / (double)n;
    }
    return best;
}

/* ---- perft ----------------------------------------------------------------------------------- */

uint64_t trigo_perft(trigo_board *board, uint32_t depth, trigo_move *drops)
{
    if (depth == 0) return 1;
    if (trigo_board_ended(board)) return 0;
    size_t n = trigo_board_drops(board, drops);
    if (depth == 1) return n + 1;
    uint64_t lines = 0;
    for (size_t i = 0; i <= n; i++) {
        trigo_step step;
        trigo_board_play(board, i < n ? drops[i] : TRIGO_PASS, &step);
        lines += trigo_perft(board, depth - 1, drops + board->cells);
        trigo_board_undo(board, &step);
    }
    return lines;
}

/* The greatest depth that is counted in a moment. */
static uint32_t perft_depth(const trigo_board *b)
{
    uint32_t depth = 1;
    double lines = b->cells;
    while (depth < MAX_DEPTH && (lines *= b->cells) <= PERFT_LINES) depth++;
    return depth;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static json_t *measure(scene *s, double seconds)
{
    char shape[TRIGO_SHAPE_TEXT];
    trigo_shape_write(s->board->shape, shape);
    double played = seconds_each(s, play_step, seconds);
    play_half(s);
    trigo_board_copy(s->copy, s->board);
    double drops = seconds_each(s, list_drops, seconds);
    double step = seconds_each(s, play_and_undo, seconds);
    double copied = seconds_each(s, copy, seconds);
    double area = seconds_each(s, count_area, seconds);

    uint32_t depth = perft_depth(s->board);
    trigo_board_clear(s->board);
    double start = kvf_now();
    uint64_t lines = trigo_perft(s->board, depth, s->drops);
    double took = kvf_now() - start;
    return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:i, s:I, s:f}", "shape", shape, "moves_per_s",
                     1 / played, "drops_us", 1e6 * drops, "play_undo_ns", 1e9 * step, "copy_ns",
                     1e9 * copied, "area_us", 1e6 * area, "perft_depth", (int)depth, "perft",
                     (json_int_t)lines, "perft_per_s", (double)lines / took);
}

static kvf_status measure_shape(trigo_shape shape, double seconds, json_t *rows, kvf_error *err)
{
    scene s = {0};
    kvf_rng_seed(&s.rng, SEED);
    kvf_status status = trigo_board_create(&s.board, shape, err);
    if (!status) status = trigo_board_create(&s.copy, shape, err);
    if (!status) {
        s.drops = kvf_array((size_t)MAX_DEPTH * trigo_cells(shape), sizeof *s.drops);
        if (!s.drops || json_array_append_new(rows, measure(&s, seconds)))
            status = kvf_fail(err, KVF_ERR_NOMEM, "a row of the benchmark");
    }
    kvf_free(s.drops);
    trigo_board_destroy(s.copy);
    trigo_board_destroy(s.board);
    return status;
}

kvf_status trigo_bench_rules(double seconds, json_t **rows, kvf_error *err)
{
    static const trigo_shape shapes[] = {{5, 5, 1}, {9, 9, 1}, {13, 13, 1}, {19, 19, 1},
                                         {3, 3, 3}, {5, 5, 5}, {9, 9, 9},   {27, 27, 27}};
    *rows = json_array();
    if (!*rows) return kvf_fail(err, KVF_ERR_NOMEM, "a table");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        kvf_status status = measure_shape(shapes[i], seconds, *rows, err);
        if (!status) continue;
        json_decref(*rows);
        *rows = NULL;
        return status;
    }
    return KVF_OK;
}
