/* gtp_commands.c - see gtp_commands.h.
 *
 * A command writes its answer to a stream in memory and says whether it is one or a failure. Those
 * of the protocol's own list come first, then some that programs ask GNU Go for, since they hope for
 * them everywhere, then this game's own. */
#include "trigo/gtp_commands.h"

#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "output.h"
#include "rng.h"
#include "trigo/draw.h"
#include "trigo/gtp.h"
#include "trigo/notation.h"

enum {
    MAX_SIDE = 25,   /* letters of the alphabet without I */
    MOVES_LEFT = 25, /* that the main time is to last for */
    TOP_MOVES = 10,
};

/* ---- small things ---------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool fails(gtp *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(g->out, format, args);
    va_end(args);
    return false;
}

static const trigo_game *game_of(const gtp *g)
{
    return g->record.turns.game;
}

static bool syntax_error(gtp *g)
{
    return fails(g, "syntax error");
}

static bool has_layers(const gtp *g)
{
    return game_of(g)->board->shape.z > 1;
}

/* Vertices name the cells of boards without layers up to 25 x 25. */
static bool has_vertices(const gtp *g)
{
    trigo_shape s = game_of(g)->board->shape;
    return !has_layers(g) && s.x <= MAX_SIDE && s.y <= MAX_SIDE;
}

static bool no_vertices(gtp *g)
{
    return fails(g, "cells of this board have no vertices: use the trigo- commands");
}

static bool read_colour(const char *word, trigo_colour *colour)
{
    bool black = !strcasecmp(word, "b") || !strcasecmp(word, "black");
    bool white = !strcasecmp(word, "w") || !strcasecmp(word, "white");
    *colour = black ? TRIGO_BLACK : TRIGO_WHITE;
    return black || white;
}

static bool read_vertex(const gtp *g, const char *word, trigo_move *move)
{
    trigo_shape s = game_of(g)->board->shape;
    uint64_t row;
    if (!strcasecmp(word, "pass")) return *move = TRIGO_PASS, true;
    int letter = toupper((unsigned char)word[0]);
    if (letter < 'A' || letter > 'Z' || letter == 'I') return false;
    uint32_t column = (uint32_t)(letter - 'A' - (letter > 'I'));
    if (!trigo_parse_count(word + 1, 1, s.y, &row) || column >= s.x) return false;
    *move = (trigo_move)(column * s.y + (uint32_t)row - 1);
    return true;
}

static void write_vertex(gtp *g, trigo_move move)
{
    if (move == TRIGO_PASS) {
        fputs("PASS", g->out);
        return;
    }
    trigo_xyz at = trigo_cell_xyz(game_of(g)->board->shape, move);
    fprintf(g->out, "%c%d", 'A' + at.x + (at.x >= 8), at.y + 1);
}

/* Write the n-th of a list of vertices. */
static void write_listed(gtp *g, size_t n, trigo_move move)
{
    if (n) putc(' ', g->out);
    write_vertex(g, move);
}

static void write_move(gtp *g, trigo_move move)
{
    char text[TRIGO_MOVE_TEXT];
    trigo_move_write(game_of(g)->board->shape, move, text);
    fputs(text, g->out);
}

/* ---- the game -------------------------------------------------------------------------------- */

/* Go on with another game. */
static void take_game(gtp *g, const trigo_turns *turns, uint32_t handicap)
{
    trigo_turns_end(&g->record.turns);
    g->record.turns = *turns;
    g->record.handicap = handicap;
    trigo_player_begin(g->player, kvf_rng_derive(g->seed, g->boards++));
}

kvf_status trigo_gtp_begin(gtp *g, trigo_shape shape, kvf_error *err)
{
    trigo_turns turns;
    kvf_status status = trigo_turns_begin(&turns, shape, err);
    if (!status) take_game(g, &turns, 0);
    return status;
}

static bool change_board(gtp *g, trigo_shape shape)
{
    kvf_error err;
    return !trigo_gtp_begin(g, shape, &err) || fails(g, "%s", err.msg);
}

/* ---- time ------------------------------------------------------------------------------------ */

/* Seconds for the next move; 0: as many as it takes. */
static double time_for(const gtp *g, trigo_colour colour)
{
    if (!g->timed) return 0;
    const trigo_clock *c = &g->clock[colour];
    double share = c->stones ? c->seconds / c->stones : c->seconds / MOVES_LEFT;
    if (!c->stones && g->extra.stones) share += g->extra.seconds / g->extra.stones;
    return fmax(0.9 * share, 0.01); /* a tenth for whoever measures */
}

/* Let the player choose for a colour. Out of turn a pass is put in before. */
static kvf_status choose(gtp *g, trigo_colour colour, trigo_choice *choice, kvf_error *err)
{
    trigo_turns *turns = &g->record.turns;
    kvf_status status = trigo_turns_give(turns, colour, err);
    if (!status)
        status = trigo_player_choose(g->player, turns->game, time_for(g, colour), choice, err);
    if (!status && choice->out_of_context) {
        fprintf(g->log, "trigo gtp: the game is too long for the network: it passes\n");
        choice->move = TRIGO_PASS;
    }
    return status;
}

/* Let the player move for a colour; keep says whether the move is played. */
static bool generate(gtp *g, bool keep, bool as_vertex)
{
    trigo_colour colour;
    trigo_choice choice;
    kvf_error err;
    if (g->n_words != 1 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    if (as_vertex && !has_vertices(g)) return no_vertices(g);
    uint32_t before = game_of(g)->plies;
    kvf_status status = choose(g, colour, &choice, &err);
    if (!status && keep) status = trigo_turns_play(&g->record.turns, colour, choice.move, &err);
    if (status || !keep) trigo_turns_return(&g->record.turns, before);
    if (status) return fails(g, "%s", err.msg);
    if (as_vertex)
        write_vertex(g, choice.move);
    else
        write_move(g, choice.move);
    return true;
}

/* ---- administration -------------------------------------------------------------------------- */

static bool do_protocol_version(gtp *g)
{
    return fputs("2", g->out) >= 0;
}

static bool do_name(gtp *g)
{
    return fputs("trigo", g->out) >= 0;
}

static bool do_version(gtp *g)
{
    return fputs(kvf_version(), g->out) >= 0;
}

static bool do_quit(gtp *g)
{
    return g->quit = true;
}

static bool do_known_command(gtp *g); /* these two read the table of all commands */
static bool do_list_commands(gtp *g);

/* ---- the standard commands ------------------------------------------------------------------- */

static bool do_boardsize(gtp *g)
{
    uint64_t side;
    if (g->n_words != 1 || !trigo_parse_count(g->words[0], 0, INT32_MAX, &side))
        return syntax_error(g);
    if (side < 1 || side > MAX_SIDE) return fails(g, "unacceptable size");
    return change_board(g, (trigo_shape){(uint8_t)side, (uint8_t)side, 1});
}

static bool do_clear_board(gtp *g)
{
    return change_board(g, game_of(g)->board->shape);
}

static bool do_komi(gtp *g)
{
    double komi;
    if (g->n_words != 1 || !trigo_parse_real(g->words[0], -1e6, 1e6, &komi)) return syntax_error(g);
    g->record.komi = komi;
    if (komi != 0)
        fprintf(
            g->log,
            "trigo gtp: this game has no komi: final_score counts the %g points, but players do not know of them\n",
            komi);
    return true;
}

static bool do_play(gtp *g)
{
    trigo_colour colour;
    trigo_move move;
    if (g->n_words != 2 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    if (!read_vertex(g, g->words[1], &move)) return syntax_error(g);
    return !trigo_turns_play(&g->record.turns, colour, move, NULL) || fails(g, "illegal move");
}

static bool do_genmove(gtp *g)
{
    return generate(g, true, true);
}

static bool do_reg_genmove(gtp *g)
{
    return generate(g, false, true);
}

static bool do_undo(gtp *g)
{
    bool can =
        game_of(g)->plies > trigo_sgf_first_ply(&g->record) && trigo_turns_undo(&g->record.turns);
    return can || fails(g, "cannot undo");
}

static trigo_move last_move(const trigo_game *game)
{
    return game->plies ? game->steps[game->plies - 1].move : TRIGO_NONE;
}

static bool do_showboard(gtp *g)
{
    trigo_drawing how = {.last = last_move(game_of(g)), .vertices = has_vertices(g)};
    putc('\n', g->out);
    trigo_draw(g->out, game_of(g)->board, &how);
    return true;
}

static bool do_final_score(gtp *g)
{
    const trigo_board *b = game_of(g)->board;
    if (b->now.resigned)
        return fprintf(g->out, b->now.resigned == TRIGO_BLACK ? "W+Resign" : "B+Resign") > 0;
    trigo_area area = trigo_board_area(b);
    double lead = (double)area.white + b->now.captured[TRIGO_BLACK] + g->record.komi - area.black -
                  b->now.captured[TRIGO_WHITE];
    if (lead == 0) return fputs("0", g->out) >= 0;
    return fprintf(g->out, "%c+%.10g", lead > 0 ? 'W' : 'B', fabs(lead)) > 0;
}

static bool do_time_settings(gtp *g)
{
    uint64_t n[3];
    if (g->n_words != 3) return syntax_error(g);
    for (int i = 0; i < 3; i++)
        if (!trigo_parse_count(g->words[i], 0, INT32_MAX, &n[i])) return syntax_error(g);
    g->timed = n[1] == 0 || n[2] > 0; /* byo-yomi without stones means no limit */
    g->extra = (trigo_clock){(double)n[1], (uint32_t)n[2]};
    for (int i = 0; i < 3; i++) g->clock[i] = n[0] ? (trigo_clock){(double)n[0], 0} : g->extra;
    return true;
}

static bool do_time_left(gtp *g)
{
    trigo_colour colour;
    uint64_t seconds, stones;
    if (g->n_words != 3 || !read_colour(g->words[0], &colour) ||
        !trigo_parse_count(g->words[1], 0, INT32_MAX, &seconds) ||
        !trigo_parse_count(g->words[2], 0, INT32_MAX, &stones))
        return syntax_error(g);
    g->clock[colour] = (trigo_clock){(double)seconds, (uint32_t)stones};
    return true;
}

/* ---- handicap -------------------------------------------------------------------------------- */

/* A handicap is black stones in a row: White's passes are put in. */
static bool place(gtp *g, const trigo_move *cells, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!trigo_turns_play(&g->record.turns, TRIGO_BLACK, cells[i], NULL)) continue;
        trigo_turns_return(&g->record.turns, 0);
        return fails(g, "bad vertex list");
    }
    g->record.handicap = (uint32_t)n;
    return true;
}

/* The points that Go has for a handicap, in their order. cells [9]; returns how many there are. */
static size_t star_points(trigo_shape s, trigo_move *cells)
{
    static const int8_t order[9][2] = {{-1, -1}, {1, 1}, {-1, 1}, {1, -1}, {0, 0},
                                       {-1, 0},  {1, 0}, {0, -1}, {0, 1}};
    const int sides[2] = {s.x, s.y};
    size_t n = s.x < 7 || s.y < 7 ? 0 : s.x % 2 && s.y % 2 && s.x > 7 && s.y > 7 ? 9 : 4;
    for (size_t i = 0; i < n; i++) {
        int at[2];
        for (int axis = 0; axis < 2; axis++) {
            int from_edge = sides[axis] < 13 ? 2 : 3, middle = (sides[axis] - 1) / 2;
            int low = order[i][axis] < 0, centre = order[i][axis] == 0;
            at[axis] = centre ? middle : low ? from_edge : sides[axis] - 1 - from_edge;
        }
        cells[i] = (trigo_move)(at[0] * s.y + at[1]);
    }
    return n;
}

static bool place_points(gtp *g, bool fewer_are_fine)
{
    trigo_move cells[9];
    uint64_t n;
    if (g->n_words != 1 || !trigo_parse_count(g->words[0], 0, INT32_MAX, &n))
        return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    if (game_of(g)->plies) return fails(g, "board not empty");
    size_t points = star_points(game_of(g)->board->shape, cells);
    if (n > points && fewer_are_fine) n = points;
    if (n < 2 || n > points) return fails(g, "invalid number of stones");
    /* The middle is for an odd number: without it the next ones are the sides, in pairs. */
    if (n >= 6 && n % 2 == 0) memmove(cells + 4, cells + 5, (n - 4) * sizeof *cells);
    if (!place(g, cells, (size_t)n)) return false;
    for (size_t i = 0; i < n; i++) write_listed(g, i, cells[i]);
    return true;
}

static bool do_fixed_handicap(gtp *g)
{
    return place_points(g, false);
}

static bool do_place_free_handicap(gtp *g)
{
    return place_points(g, true);
}

static bool do_set_free_handicap(gtp *g)
{
    trigo_move cells[TRIGO_GTP_WORDS];
    if (g->n_words < 2) return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    if (game_of(g)->plies) return fails(g, "board not empty");
    for (size_t i = 0; i < g->n_words; i++)
        if (!read_vertex(g, g->words[i], &cells[i])) return syntax_error(g);
    return place(g, cells, g->n_words);
}

/* ---- files ----------------------------------------------------------------------------------- */

static bool do_loadsgf(gtp *g)
{
    trigo_sgf sgf;
    uint64_t before = 0;
    kvf_error err;
    if (g->n_words < 1 || g->n_words > 2 ||
        (g->n_words == 2 && !trigo_parse_count(g->words[1], 0, INT32_MAX, &before)))
        return syntax_error(g);
    if (trigo_sgf_load(&sgf, g->words[0], before, &err))
        return fails(g, "cannot load file: %s", err.msg);
    take_game(g, &sgf.turns, sgf.handicap);
    g->record.komi = sgf.komi;
    return fputs(sgf.to_move == TRIGO_BLACK ? "black" : "white", g->out) >= 0;
}

static bool do_printsgf(gtp *g)
{
    char *text;
    kvf_error err;
    kvf_output file;
    if (g->n_words > 1) return syntax_error(g);
    if (has_layers(g)) return fails(g, "this board has layers, which such files have not");
    kvf_status status = trigo_sgf_write(&g->record, &text, &err);
    if (!status && !g->n_words) fputs(text, g->out);
    if (!status && g->n_words) status = kvf_output_open(&file, g->words[0], &err);
    if (!status && g->n_words) {
        kvf_output_write(&file, text, strlen(text));
        status = kvf_output_commit(&file, &err);
    }
    free(text);
    return !status || fails(g, "%s", err.msg);
}

/* ---- the position, as programs ask GNU Go for it --------------------------------------------- */

static bool do_query_boardsize(gtp *g)
{
    trigo_shape s = game_of(g)->board->shape;
    if (has_layers(g) || s.x != s.y) return fails(g, "this board is not square");
    return fprintf(g->out, "%d", s.x) > 0;
}

static bool do_get_komi(gtp *g)
{
    return fprintf(g->out, "%.10g", g->record.komi) > 0;
}

static bool do_get_handicap(gtp *g)
{
    return fprintf(g->out, "%u", g->record.handicap) > 0;
}

static bool do_captures(gtp *g)
{
    trigo_colour colour;
    if (g->n_words != 1 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    return fprintf(g->out, "%u", game_of(g)->board->now.captured[trigo_other(colour)]) > 0;
}

static bool do_list_stones(gtp *g)
{
    trigo_colour colour;
    const trigo_board *b = game_of(g)->board;
    if (g->n_words != 1 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    for (uint32_t cell = 0, n = 0; cell < b->cells; cell++)
        if (b->colour[cell] == colour) write_listed(g, n++, (trigo_move)cell);
    return true;
}

/* All stones are alive: nothing is taken off as dead before the area is counted. A group is a line. */
static bool do_final_status_list(gtp *g)
{
    const trigo_board *b = game_of(g)->board;
    const char *status = g->n_words == 1 ? g->words[0] : "";
    bool alive = !strcmp(status, "alive");
    if (!alive && strcmp(status, "dead") && strcmp(status, "seki")) return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    for (uint32_t head = 0; alive && head < b->cells; head++) {
        if (!b->colour[head] || b->stone[head].head != head) continue;
        uint32_t n = 0, cell = head;
        do {
            write_listed(g, n++, (trigo_move)cell);
            cell = b->stone[cell].next;
        } while (cell != head);
        putc('\n', g->out);
    }
    return true;
}

static bool do_all_legal(gtp *g)
{
    trigo_colour colour;
    kvf_error err;
    if (g->n_words != 1 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    if (!has_vertices(g)) return no_vertices(g);
    uint32_t before = game_of(g)->plies;
    if (trigo_turns_give(&g->record.turns, colour, &err)) return fails(g, "%s", err.msg);
    for (uint32_t cell = 0, n = 0; cell < game_of(g)->board->cells; cell++)
        if (!trigo_board_drop(game_of(g)->board, cell)) write_listed(g, n++, (trigo_move)cell);
    trigo_turns_return(&g->record.turns, before);
    return true;
}

static bool do_move_history(gtp *g)
{
    if (!has_vertices(g)) return no_vertices(g);
    for (uint32_t ply = game_of(g)->plies; ply-- > trigo_sgf_first_ply(&g->record);) {
        trigo_move move = game_of(g)->steps[ply].move;
        if (g->record.turns.put_in[ply] || move == TRIGO_RESIGN) continue;
        fputs(ply % 2 ? "white " : "black ", g->out);
        write_vertex(g, move);
        putc('\n', g->out);
    }
    return true;
}

/* The moves that the player thinks most of, each with its share in per cent: of the visits, or what
 * the network says of it. */
static bool top_moves(gtp *g, trigo_colour colour)
{
    trigo_choice choice;
    kvf_error err;
    uint32_t n, before = game_of(g)->plies;
    if (!has_vertices(g)) return no_vertices(g);
    kvf_status status = choose(g, colour, &choice, &err);
    trigo_turns_return(&g->record.turns, before);
    if (status) return fails(g, "%s", err.msg);
    const trigo_search_child *children = trigo_player_children(g->player, &n);
    struct {
        trigo_move move;
        double share;
    } best[TOP_MOVES + 1];
    uint32_t listed = 0;
    for (uint32_t i = 0; i < n; i++) {
        double share =
            choice.visits > 1 ? children[i].visits / (choice.visits - 1.0) : children[i].prior;
        if (children[i].move == TRIGO_PASS || share <= 0) continue;
        uint32_t at = listed;
        for (; at && best[at - 1].share < share; at--) best[at] = best[at - 1];
        best[at].move = children[i].move;
        best[at].share = share;
        if (listed < TOP_MOVES) listed++;
    }
    for (uint32_t i = 0; i < listed; i++) {
        write_listed(g, i, best[i].move);
        fprintf(g->out, " %.2f", 100 * best[i].share);
    }
    return true;
}

static bool do_top_moves_black(gtp *g)
{
    return top_moves(g, TRIGO_BLACK);
}

static bool do_top_moves_white(gtp *g)
{
    return top_moves(g, TRIGO_WHITE);
}

/* ---- this game's own ------------------------------------------------------------------------- */

static bool do_trigo_boardsize(gtp *g)
{
    uint64_t n[3] = {0, 0, 1};
    trigo_shape shape;
    kvf_error err;
    if (g->n_words < 2 || g->n_words > 3) return syntax_error(g);
    for (size_t i = 0; i < g->n_words; i++)
        if (!trigo_parse_count(g->words[i], 0, INT32_MAX, &n[i])) return syntax_error(g);
    if (trigo_shape_set(&shape, (int64_t)n[0], (int64_t)n[1], (int64_t)n[2], &err))
        return fails(g, "unacceptable size: %s", err.msg);
    return change_board(g, shape);
}

static bool do_trigo_play(gtp *g)
{
    trigo_colour colour;
    trigo_move move;
    kvf_error err;
    if (g->n_words != 2 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    const char *word = g->words[1];
    if (trigo_move_read(game_of(g)->board->shape, word, strlen(word), &move, &err))
        return fails(g, "syntax error: %s", err.msg);
    return !trigo_turns_play(&g->record.turns, colour, move, &err) ||
           fails(g, "illegal move: %s", err.msg);
}

static bool do_trigo_genmove(gtp *g)
{
    return generate(g, true, false);
}

static bool do_trigo_reg_genmove(gtp *g)
{
    return generate(g, false, false);
}

static bool do_trigo_moves(gtp *g)
{
    for (uint32_t i = 0; i < game_of(g)->plies; i++) {
        if (i) putc(' ', g->out);
        write_move(g, game_of(g)->steps[i].move);
    }
    return true;
}

static bool do_trigo_legal(gtp *g)
{
    const trigo_board *b = game_of(g)->board;
    for (uint32_t cell = 0, n = 0; cell < b->cells; cell++) {
        if (trigo_board_ended(b) || trigo_board_drop(b, cell)) continue;
        if (n++) putc(' ', g->out);
        write_move(g, (trigo_move)cell);
    }
    return true;
}

/* ---- commands -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool (*run)(gtp *g); /* false: what it wrote is what is wrong */
    const char *line;
} commands[] = {
    {"protocol_version", do_protocol_version, "2"},
    {"name", do_name, "trigo"},
    {"version", do_version, "of this program"},
    {"known_command", do_known_command, "true or false"},
    {"list_commands", do_list_commands, "these"},
    {"quit", do_quit, "end"},
    {"boardsize", do_boardsize, "N: a new board of N x N cells, N from 1 to 25"},
    {"clear_board", do_clear_board, "a new game on a board of the same shape"},
    {"komi", do_komi, "POINTS: final_score counts them, the players do not know of them"},
    {"play", do_play, "COLOUR VERTEX"},
    {"genmove", do_genmove, "COLOUR: choose and play"},
    {"reg_genmove", do_reg_genmove, "COLOUR: choose only"},
    {"undo", do_undo, "take the last move back"},
    {"showboard", do_showboard,
     "with coordinates of the protocol, or of this game if there are none"},
    {"final_score", do_final_score, "area, prisoners and komi"},
    {"final_status_list", do_final_status_list, "alive, dead or seki: all stones are alive"},
    {"fixed_handicap", do_fixed_handicap, "N: black stones on the points that Go has for them"},
    {"place_free_handicap", do_place_free_handicap, "N: the same, or as many as there are points"},
    {"set_free_handicap", do_set_free_handicap, "VERTEX VERTEX ...: black stones there"},
    {"loadsgf", do_loadsgf, "FILE [N]: the game in it, or what is before move N; who is to move"},
    {"time_settings", do_time_settings, "MAIN BYO_YOMI STONES: a search ends in time"},
    {"time_left", do_time_left, "COLOUR SECONDS STONES"},
    {"printsgf", do_printsgf, "[FILE]: write the game into it, or here"},
    {"query_boardsize", do_query_boardsize, "N"},
    {"get_komi", do_get_komi, "POINTS"},
    {"get_handicap", do_get_handicap, "stones; 0 if there are none"},
    {"captures", do_captures, "COLOUR: how many stones it took"},
    {"list_stones", do_list_stones, "COLOUR"},
    {"all_legal", do_all_legal, "COLOUR: the legal drops"},
    {"move_history", do_move_history, "the last move first"},
    {"top_moves_black", do_top_moves_black, "moves and their shares in per cent"},
    {"top_moves_white", do_top_moves_white, "the same for White"},
    {"estimate_score", do_final_score, "as final_score"},
    {"trigo-boardsize", do_trigo_boardsize, "X Y [Z]: a new board of any shape, axes from 1 to 27"},
    {"trigo-play", do_trigo_play, "COLOUR MOVE, in this game's notation; says why it is illegal"},
    {"trigo-genmove", do_trigo_genmove, "COLOUR: choose and play"},
    {"trigo-reg_genmove", do_trigo_reg_genmove, "COLOUR: choose only"},
    {"trigo-moves", do_trigo_moves, "those played so far"},
    {"trigo-legal", do_trigo_legal, "the legal drops of the side to move"},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

const char *trigo_gtp_command(size_t i, const char **line)
{
    if (i >= COMMANDS) return NULL;
    *line = commands[i].line;
    return commands[i].name;
}

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < COMMANDS && strcmp(name, commands[i].name)) i++;
    return i;
}

static bool do_known_command(gtp *g)
{
    if (g->n_words != 1) return syntax_error(g);
    return fputs(find(g->words[0]) < COMMANDS ? "true" : "false", g->out) >= 0;
}

static bool do_list_commands(gtp *g)
{
    for (size_t i = 0; i < COMMANDS; i++) fprintf(g->out, "%s\n", commands[i].name);
    return true;
}

bool trigo_gtp_run(gtp *g, const char *name)
{
    size_t i = find(name);
    return i < COMMANDS ? commands[i].run(g) : fails(g, "unknown command");
}
