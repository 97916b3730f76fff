/* play.c - turns, what is shown after each, and the commands of a person.
 *
 * A game that is over stays on the table as long as a person sits there, who may undo or save it.
 * What was typed wrongly is answered and asked for again; only files and players can fail. */
#include "trigo/play.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base.h"
#include "trigo/draw.h"
#include "trigo/lines.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

enum { LINE_ROOM = 4096, HINTS = 8, WIDTH = 80 };

typedef struct play {
    const trigo_play_options *o;
    trigo_game *game;
    bool too_long; /* for the player that is to move: by area, the game is over */
    bool quit;
} play;

static const char *name_of(trigo_colour colour)
{
    return colour == TRIGO_BLACK ? "Black" : "White";
}

static trigo_colour to_move(const play *p)
{
    return p->game->board->now.to_move;
}

static bool is_over(const play *p)
{
    return p->too_long || trigo_board_ended(p->game->board);
}

static bool has_person(const play *p)
{
    return !p->o->side[TRIGO_BLACK] || !p->o->side[TRIGO_WHITE];
}

/* ---- showing --------------------------------------------------------------------------------- */

static uint32_t width_of(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) || !size.ws_col) return WIDTH;
    return size.ws_col;
}

static void show_board(const play *p)
{
    const trigo_board *b = p->game->board;
    trigo_move last = p->game->plies ? p->game->steps[p->game->plies - 1].move : TRIGO_NONE;
    trigo_drawing how = {.last = last, .width = width_of(p->o->out), .colour = p->o->colour};
    putc('\n', p->o->out);
    trigo_draw(p->o->out, b, &how);
    fprintf(p->o->out, "X Black, O White; taken so far: %u black, %u white\n",
            b->now.captured[TRIGO_BLACK], b->now.captured[TRIGO_WHITE]);
}

static void show_score(const play *p)
{
    const trigo_board *b = p->game->board;
    trigo_area area = trigo_board_area(b);
    fprintf(p->o->out, "area: %u black, %u white, %u neutral; with prisoners Black %u, White %u\n",
            area.black, area.white, area.neutral, area.black + b->now.captured[TRIGO_WHITE],
            area.white + b->now.captured[TRIGO_BLACK]);
}

static void show_end(const play *p)
{
    const trigo_board *b = p->game->board;
    trigo_area area = trigo_board_area(b);
    trigo_colour winner = trigo_board_winner(b);
    if (b->now.resigned) {
        fprintf(p->o->out, "%s resigned: %s wins\n", name_of(b->now.resigned), name_of(winner));
        return;
    }
    if (p->too_long) {
        fprintf(p->o->out, "the game is too long for the network of %s: it ends by area\n",
                name_of(to_move(p)));
        winner = area.black == area.white  ? TRIGO_EMPTY
                 : area.black > area.white ? TRIGO_BLACK
                                           : TRIGO_WHITE;
    } else {
        fprintf(p->o->out, "two passes: the game is over\n");
    }
    show_score(p);
    if (winner == TRIGO_EMPTY)
        fprintf(p->o->out, "a draw\n");
    else
        fprintf(p->o->out, "%s wins\n", name_of(winner));
}

/* A value as words: White's are above 0. */
static void write_value(FILE *out, double value)
{
    if (value == 0)
        fprintf(out, "even");
    else
        fprintf(out, "%s ahead by %.2f", value > 0 ? "White" : "Black", value > 0 ? value : -value);
}

/* Which stones the last step took, as far as they fit. */
static void show_taken(const play *p, const trigo_step *step)
{
    enum { SHOWN = 12 };
    uint16_t *cells = kvf_array(step->captured, sizeof *cells);
    fprintf(p->o->out, ", takes %u", step->captured);
    if (!cells) return;
    trigo_board_captured(p->game->board, step, cells);
    for (uint32_t i = 0; i < step->captured && i < SHOWN; i++) {
        char text[TRIGO_MOVE_TEXT];
        trigo_move_write(p->game->board->shape, cells[i], text);
        fprintf(p->o->out, "%s%s", i ? " " : ": ", text);
    }
    if (step->captured > SHOWN) fputs(" ...", p->o->out);
    kvf_free(cells);
}

static void show_move(const play *p, const trigo_choice *choice)
{
    const trigo_step *s = &p->game->steps[p->game->plies - 1];
    char text[TRIGO_MOVE_TEXT];
    trigo_move_write(p->game->board->shape, s->move, text);
    trigo_colour mover = p->game->plies % 2 ? TRIGO_BLACK : TRIGO_WHITE;
    fprintf(p->o->out, "\n%u. %s %s", (p->game->plies + 1) / 2, name_of(mover), text);
    if (s->captured) show_taken(p, s);
    if (choice && choice->decided) fprintf(p->o->out, "  (all is decided)");
    if (choice && !choice->decided) {
        fprintf(p->o->out, "  (");
        if (choice->visits) fprintf(p->o->out, "%u visits, ", choice->visits);
        write_value(p->o->out, choice->value);
        putc(')', p->o->out);
    }
    putc('\n', p->o->out);
    show_board(p);
}

/* ---- moving ---------------------------------------------------------------------------------- */

static kvf_status keep(const play *p, kvf_error *err)
{
    return p->o->save ? trigo_tgn_save(p->game, p->o->save, err) : KVF_OK;
}

static kvf_status after_move(play *p, const trigo_choice *choice, kvf_error *err)
{
    show_move(p, choice);
    if (is_over(p)) show_end(p);
    return keep(p, err);
}

static kvf_status let_player_move(play *p, kvf_error *err)
{
    trigo_choice choice;
    kvf_status status = trigo_player_choose(p->o->side[to_move(p)], p->game, 0, &choice, err);
    if (status) return status;
    if (choice.out_of_context) {
        p->too_long = true;
        show_end(p);
        return KVF_OK;
    }
    status = trigo_game_play(p->game, choice.move, err);
    return status ? status : after_move(p, &choice, err);
}

/* ---- commands -------------------------------------------------------------------------------- */

const char trigo_play_help[] =
    "  b0 (a cell)        drop a stone there; the characters stand at the board's edges\n"
    "  pass, resign\n"
    "  undo               take moves back until it is a person's turn again\n"
    "  hint               what the adviser thinks\n"
    "  show               the board\n"
    "  score              area and prisoners as they are\n"
    "  save FILE          write the game's text\n"
    "  load FILE          go on from a game's text\n"
    "  help, quit\n";

static void complain(const play *p, const kvf_error *err)
{
    fprintf(p->o->words, "%s\n", err->msg);
}

static kvf_status do_undo(play *p, kvf_error *err)
{
    p->too_long = false;
    if (!trigo_game_undo(p->game)) {
        fprintf(p->o->words, "there is no move to take back\n");
        return KVF_OK;
    }
    while (p->o->side[to_move(p)] && trigo_game_undo(p->game)) {}
    show_board(p);
    return keep(p, err);
}

static int by_visits(const void *a, const void *b)
{
    const trigo_search_child *x = a, *y = b;
    if (x->visits != y->visits) return x->visits < y->visits ? 1 : -1;
    if (x->prior != y->prior) return x->prior < y->prior ? 1 : -1;
    return (x->move > y->move) - (x->move < y->move);
}

static kvf_status show_hints(const play *p, kvf_error *err)
{
    uint32_t n;
    const trigo_search_child *children = trigo_player_children(p->o->adviser, &n);
    trigo_search_child *best = kvf_array(n + 1, sizeof *best);
    if (!best) return kvf_fail(err, KVF_ERR_NOMEM, "%u candidates", n);
    memcpy(best, children, n * sizeof *best);
    qsort(best, n, sizeof *best, by_visits);
    fprintf(p->o->out, "%-6s  %7s  %6s  value\n", "move", "visits", "prior");
    for (uint32_t i = 0; i < n && i < HINTS; i++) {
        char text[TRIGO_MOVE_TEXT];
        trigo_move_write(p->game->board->shape, best[i].move, text);
        fprintf(p->o->out, "%-6s  %7u  %4.1f %%  ", text, best[i].visits, 100 * best[i].prior);
        if (best[i].visits) write_value(p->o->out, best[i].total / best[i].visits);
        putc('\n', p->o->out);
    }
    kvf_free(best);
    return KVF_OK;
}

static kvf_status do_hint(play *p, kvf_error *err)
{
    trigo_choice choice;
    kvf_error why;
    if (trigo_player_choose(p->o->adviser, p->game, 0, &choice, &why)) {
        complain(p, &why);
        return KVF_OK;
    }
    if (choice.out_of_context || choice.decided) {
        fprintf(p->o->out, choice.decided ? "all is decided: pass\n"
                                          : "the game is too long for the adviser's network\n");
        return KVF_OK;
    }
    char text[TRIGO_MOVE_TEXT];
    trigo_move_write(p->game->board->shape, choice.move, text);
    fprintf(p->o->out, "%s; ", text);
    write_value(p->o->out, choice.value);
    putc('\n', p->o->out);
    return show_hints(p, err);
}

static kvf_status do_show(play *p, kvf_error *err)
{
    (void)err;
    show_board(p);
    return KVF_OK;
}

static kvf_status do_score(play *p, kvf_error *err)
{
    (void)err;
    show_score(p);
    return KVF_OK;
}

static kvf_status do_help(play *p, kvf_error *err)
{
    (void)err;
    fputs(trigo_play_help, p->o->out);
    return KVF_OK;
}

static kvf_status do_quit(play *p, kvf_error *err)
{
    (void)err;
    p->quit = true;
    return KVF_OK;
}

static void do_save(play *p, const char *path)
{
    kvf_error why;
    if (trigo_tgn_save(p->game, path, &why))
        complain(p, &why);
    else
        fprintf(p->o->out, "saved %s\n", path);
}

static kvf_status do_load(play *p, const char *path, kvf_error *err)
{
    kvf_error why;
    trigo_game *game;
    if (trigo_tgn_load(&game, path, &why)) {
        complain(p, &why);
        return KVF_OK;
    }
    trigo_game_destroy(p->game);
    p->game = game;
    p->too_long = false;
    show_board(p);
    if (is_over(p)) show_end(p);
    return keep(p, err);
}

static kvf_status do_move(play *p, const char *word, kvf_error *err)
{
    trigo_move move;
    kvf_error why;
    kvf_status status = KVF_OK;
    if (!strcasecmp(word, "pass"))
        move = TRIGO_PASS;
    else if (!strcasecmp(word, "resign"))
        move = TRIGO_RESIGN;
    else
        status = trigo_move_read(p->game->board->shape, word, strlen(word), &move, &why);
    if (!status) status = trigo_game_play(p->game, move, &why);
    if (!status) return after_move(p, NULL, err);
    complain(p, &why);
    return KVF_OK;
}

static kvf_status run_command(play *p, char **words, size_t n, kvf_error *err)
{
    static const struct {
        const char *name;
        kvf_status (*run)(play *p, kvf_error *err);
    } commands[] = {{"undo", do_undo},   {"hint", do_hint}, {"show", do_show},
                    {"score", do_score}, {"help", do_help}, {"quit", do_quit}};
    if (n == 2 && !strcasecmp(words[0], "load")) return do_load(p, words[1], err);
    if (n == 2 && !strcasecmp(words[0], "save")) return do_save(p, words[1]), KVF_OK;
    if (n > 1 || !strcasecmp(words[0], "load") || !strcasecmp(words[0], "save")) {
        fprintf(p->o->words, "one word, or save FILE or load FILE; help lists the commands\n");
        return KVF_OK;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (!strcasecmp(words[0], commands[i].name)) return commands[i].run(p, err);
    return do_move(p, words[0], err);
}

/* Read one command and do it. */
static kvf_status let_person_move(play *p, kvf_error *err)
{
    char line[LINE_ROOM], *words[2];
    if (p->o->prompt) {
        if (is_over(p))
            fprintf(p->o->out, "undo, save FILE, load FILE, quit> ");
        else
            fprintf(p->o->out, "%s> ", name_of(to_move(p)));
    }
    fflush(p->o->out);
    trigo_line kind = trigo_line_read(p->o->in, line, sizeof line);
    if (kind == TRIGO_LINE_TOO_LONG) fprintf(p->o->words, "the line is too long\n");
    p->quit = kind == TRIGO_LINE_END;
    size_t n = trigo_line_words(line, words, 2);
    return n && !p->quit ? run_command(p, words, n, err) : KVF_OK;
}

kvf_status trigo_play(const trigo_play_options *options, trigo_game **game, kvf_error *err)
{
    play p = {.o = options, .game = *game};
    kvf_status status = KVF_OK;
    show_board(&p);
    if (is_over(&p)) show_end(&p);
    while (!status && !p.quit && (!is_over(&p) || has_person(&p))) {
        if (is_over(&p) || !options->side[to_move(&p)])
            status = let_person_move(&p, err);
        else
            status = let_player_move(&p, err);
        if (!status && (fflush(options->out) || ferror(options->out)))
            status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    }
    *game = p.game;
    return status;
}
