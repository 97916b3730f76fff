/* gtp.c - the protocol: lines to commands, commands to answers.
 *
 * A command writes its answer to a stream in memory and says whether it is one or a failure; the
 * frame (`=`, `?`, the id, the empty line behind) is put around it here, once.
 *
 * In the protocol either colour may move at any time, in this game they alternate: a colour that
 * moves out of turn finds a pass put in for the other one. Such a pass is remembered, since undo
 * takes it back with the move that it was put in for. */
#include "trigo/gtp.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base.h"
#include "rng.h"
#include "trigo/draw.h"
#include "trigo/lines.h"
#include "trigo/notation.h"

enum {
    MAX_SIDE = 25, /* letters of the alphabet without I */
    LINE_ROOM = 4096,
    WORDS = 8,
    MOVES_LEFT = 25, /* that the main time is to last for */
};

/* What a colour has: time, and if stones is not 0, that it is for so many moves. */
typedef struct trigo_clock {
    double seconds;
    uint32_t stones;
} trigo_clock;

typedef struct gtp {
    trigo_player *player;
    trigo_game *game;
    uint8_t *put_in; /* [put_in_room] by ply: a pass that nobody played */
    uint32_t put_in_room;
    uint64_t seed, boards; /* boards begun */
    double komi;
    bool timed, quit;
    trigo_clock clock[3]; /* by colour */
    trigo_clock extra;    /* of the byo-yomi to come */
    FILE *log;
    char **words; /* [n_words] the arguments */
    size_t n_words;
    FILE *out; /* the answer */
} gtp;

/* ---- small things ---------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool fails(gtp *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(g->out, format, args);
    va_end(args);
    return false;
}

static bool syntax_error(gtp *g)
{
    return fails(g, "syntax error");
}

static bool has_layers(const gtp *g)
{
    return g->game->board->shape.z > 1;
}

/* Vertices name the cells of boards without layers up to 25 x 25. */
static bool has_vertices(const gtp *g)
{
    trigo_shape s = g->game->board->shape;
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
    trigo_shape s = g->game->board->shape;
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
    trigo_xyz at = trigo_cell_xyz(g->game->board->shape, move);
    fprintf(g->out, "%c%d", 'A' + at.x + (at.x >= 8), at.y + 1);
}

static void write_move(gtp *g, trigo_move move)
{
    char text[TRIGO_MOVE_TEXT];
    trigo_move_write(g->game->board->shape, move, text);
    fputs(text, g->out);
}

/* ---- the game -------------------------------------------------------------------------------- */

static kvf_status begin_board(gtp *g, trigo_shape shape, kvf_error *err)
{
    trigo_game *game;
    kvf_status status = trigo_game_create(&game, shape, err);
    if (status) return status;
    trigo_game_destroy(g->game);
    g->game = game;
    trigo_player_begin(g->player, kvf_rng_derive(g->seed, g->boards++));
    return KVF_OK;
}

static bool change_board(gtp *g, trigo_shape shape)
{
    kvf_error err;
    return !begin_board(g, shape, &err) || fails(g, "%s", err.msg);
}

/* Note of the next ply whether it is a pass that is put in. */
static kvf_status mark(gtp *g, bool put_in, kvf_error *err)
{
    uint32_t ply = g->game->plies;
    if (ply >= g->put_in_room) {
        uint8_t *bigger = kvf_resize(g->put_in, 2 * ply + 64, 1);
        if (!bigger) return kvf_fail(err, KVF_ERR_NOMEM, "a game of %u plies", ply);
        g->put_in = bigger;
        g->put_in_room = 2 * ply + 64;
    }
    g->put_in[ply] = put_in;
    return KVF_OK;
}

static kvf_status play(gtp *g, trigo_move move, bool put_in, kvf_error *err)
{
    kvf_status status = mark(g, put_in, err);
    return status ? status : trigo_game_play(g->game, move, err);
}

/* Let a colour be to move. */
static kvf_status give_turn(gtp *g, trigo_colour colour, kvf_error *err)
{
    const trigo_board *b = g->game->board;
    if (trigo_board_ended(b)) return kvf_fail(err, KVF_ERR_ARG, "the game is over");
    if (b->now.to_move == colour) return KVF_OK;
    if (b->now.passes)
        return kvf_fail(err, KVF_ERR_ARG,
                        "out of turn behind a pass: putting a second one in would end the game");
    return play(g, TRIGO_PASS, true, err);
}

/* Take back what was played since, without a word. */
static void return_to(gtp *g, uint32_t plies)
{
    while (g->game->plies > plies) trigo_game_undo(g->game);
}

/* Play for a colour, or change nothing. */
static kvf_status play_for(gtp *g, trigo_colour colour, trigo_move move, kvf_error *err)
{
    uint32_t before = g->game->plies;
    kvf_status status = give_turn(g, colour, err);
    if (!status && move == TRIGO_PASS && g->game->plies > before)
        status = kvf_fail(err, KVF_ERR_ARG, "a pass out of turn would end the game");
    if (!status) status = play(g, move, false, err);
    if (status) return_to(g, before);
    return status;
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

/* Let the player move for a colour; keep says whether the move is played. */
static bool generate(gtp *g, bool keep, bool as_vertex)
{
    trigo_colour colour;
    trigo_choice choice;
    kvf_error err;
    if (g->n_words != 1 || !read_colour(g->words[0], &colour)) return syntax_error(g);
    if (as_vertex && !has_vertices(g)) return no_vertices(g);
    uint32_t before = g->game->plies;
    kvf_status status = give_turn(g, colour, &err);
    if (!status)
        status = trigo_player_choose(g->player, g->game, time_for(g, colour), &choice, &err);
    if (!status && choice.out_of_context) {
        fprintf(g->log, "trigo gtp: the game is too long for the network: it passes\n");
        choice.move = TRIGO_PASS;
    }
    if (!status && keep) status = play(g, choice.move, false, &err);
    if (status || !keep) return_to(g, before);
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
    return change_board(g, g->game->board->shape);
}

static bool do_komi(gtp *g)
{
    double komi;
    if (g->n_words != 1 || !trigo_parse_real(g->words[0], -1e6, 1e6, &komi)) return syntax_error(g);
    g->komi = komi;
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
    return !play_for(g, colour, move, NULL) || fails(g, "illegal move");
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
    if (!trigo_game_undo(g->game)) return fails(g, "cannot undo");
    if (g->game->plies && g->put_in[g->game->plies - 1]) trigo_game_undo(g->game);
    return true;
}

static trigo_move last_move(const trigo_game *game)
{
    return game->plies ? game->steps[game->plies - 1].move : TRIGO_NONE;
}

static bool do_showboard(gtp *g)
{
    trigo_drawing how = {.last = last_move(g->game), .vertices = has_vertices(g)};
    putc('\n', g->out);
    trigo_draw(g->out, g->game->board, &how);
    return true;
}

static bool do_final_score(gtp *g)
{
    const trigo_board *b = g->game->board;
    if (b->now.resigned)
        return fprintf(g->out, b->now.resigned == TRIGO_BLACK ? "W+Resign" : "B+Resign") > 0;
    trigo_area area = trigo_board_area(b);
    double lead = (double)area.white + b->now.captured[TRIGO_BLACK] + g->komi - area.black -
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
    if (trigo_move_read(g->game->board->shape, word, strlen(word), &move, &err))
        return fails(g, "syntax error: %s", err.msg);
    return !play_for(g, colour, move, &err) || fails(g, "illegal move: %s", err.msg);
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
    for (uint32_t i = 0; i < g->game->plies; i++) {
        if (i) putc(' ', g->out);
        write_move(g, g->game->steps[i].move);
    }
    return true;
}

static bool do_trigo_legal(gtp *g)
{
    const trigo_board *b = g->game->board;
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
    {"time_settings", do_time_settings, "MAIN BYO_YOMI STONES: a search ends in time"},
    {"time_left", do_time_left, "COLOUR SECONDS STONES"},
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

/* ---- lines ----------------------------------------------------------------------------------- */

/* Cut the id off a command's words. id is set to its digits, or to nothing. */
static bool take_id(char ***words, size_t *n, const char **id)
{
    const char *word = *n ? (*words)[0] : "";
    uint64_t number;
    *id = "";
    if (!*word || strspn(word, "0123456789") != strlen(word)) return true;
    if (!trigo_parse_count(word, 0, INT32_MAX, &number)) return false;
    *id = word;
    ++*words;
    --*n;
    return true;
}

/* Run a command and write its answer to g->out. */
static bool run(gtp *g, char **words, size_t n)
{
    if (!n) return fails(g, "unknown command");
    size_t i = find(words[0]);
    if (i == COMMANDS) return fails(g, "unknown command");
    if (n > WORDS) return syntax_error(g);
    g->words = words + 1;
    g->n_words = n - 1;
    return commands[i].run(g);
}

/* Write an answer in its frame: it ends with an empty line, and has none inside. */
static void write_answer(FILE *out, bool good, const char *id, const char *text)
{
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n') n--;
    fprintf(out, "%c%s %.*s\n\n", good ? '=' : '?', id, (int)n, text);
    fflush(out);
}

/* Answer one line, unless there is no command on it. */
static kvf_status answer(gtp *g, char *line, FILE *out, kvf_error *err)
{
    char *list[WORDS + 2], **words = list, *text = NULL, *comment = strchr(line, '#');
    size_t length;
    const char *id = "";
    if (comment) *comment = '\0';
    size_t n = trigo_line_words(line, list, WORDS + 1);
    if (!n) return KVF_OK;
    g->out = open_memstream(&text, &length);
    if (!g->out) return kvf_fail(err, KVF_ERR_NOMEM, "an answer");
    bool good = take_id(&words, &n, &id) ? run(g, words, n)
                                         : fails(g, "an id should be from 0 to %d", INT32_MAX);
    bool whole = !ferror(g->out);
    whole &= !fclose(g->out);
    if (whole) write_answer(out, good, id, text);
    free(text);
    return whole ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "an answer");
}

static kvf_status talk(gtp *g, FILE *in, FILE *out, kvf_error *err)
{
    char line[LINE_ROOM];
    trigo_line kind;
    kvf_status status = KVF_OK;
    while (!status && !g->quit &&
           (kind = trigo_line_read(in, line, sizeof line)) != TRIGO_LINE_END) {
        if (kind == TRIGO_LINE)
            status = answer(g, line, out, err);
        else
            write_answer(out, false, "", "the line is too long");
        if (!status && ferror(out))
            status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    }
    return status;
}

kvf_status trigo_gtp(trigo_player *player, uint64_t seed, FILE *in, FILE *out, FILE *log,
                     kvf_error *err)
{
    gtp g = {.player = player, .seed = seed, .log = log};
    kvf_status status = begin_board(&g, (trigo_shape){19, 19, 1}, err);
    if (!status) status = talk(&g, in, out, err);
    trigo_game_destroy(g.game);
    kvf_free(g.put_in);
    return status;
}
