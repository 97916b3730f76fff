/* cmd_match.c - trigo match: two players, many games, and what follows from them. */
#include "trigo/cmd.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "trigo/match.h"
#include "trigo/notation.h"
#include "trigo/tgn.h"

static const char usage[] =
    "usage: trigo match A B [options]\n"
    "\n"
    "Plays games between two players and says who is stronger, and by how much. Games come in\n"
    "pairs: both begin with the same random opening, and the players swap sides. Equal seeds give\n"
    "equal games, for any number of threads.\n"
    "\n" TRIGO_PLAYER_USAGE "\n"
    "options:\n"
    "  --board XxYxZ      or XxY (default 5x5)\n"
    "  --games N          at most so many, an even number (default 100)\n"
    "  --opening-plies N  random drops that a game begins with (default 4, less on tiny boards)\n"
    "  --max-plies N      a game that is so long ends by area (default 500)\n"
    "  --seed N           of openings and of what players draw (default 0)\n"
    "  --threads N        games at once, each with its own caches (default 1); with more than one a\n"
    "                     forward pass has one thread, unless the player says threads=\n"
    "  --sprt E0,E1[,ALPHA,BETA]\n"
    "                     stop as soon as it is clear whether A is E0 or E1 Elo stronger: a\n"
    "                     sequential test with these chances to err (default 0.05,0.05)\n"
    "  --records FILE     write each game as a JSON line: id (seed and number), seed, black, white, A\n"
    "                     (its side), shape, moves, opening (plies drawn), end, score (White's lead\n"
    "                     by area), winner (A, B or draw); `trigo replay` reads them\n"
    "  --tgn DIR          write each game's text as DIR/00001.tgn, ...\n"
    "  --json             the result as JSON\n"
    "\n"
    "Ctrl-C ends the match and keeps what was played.\n"
    "\n"
    "A game ends by two passes: the rules then count area and prisoners. It ends by area alone if\n"
    "the search takes it for decided, at --max-plies, or if a network that is to move has no room\n"
    "for it in its context.\n"
    "\n"
    "The Elo difference is 400 log10(s / (1 - s)) of A's mean score s. Its interval, of 95 %, takes a\n"
    "pair of games for one sample of a normal distribution (\"pentanomial\": pairs have five results).\n"
    "The test is the generalised one of Michel Van den Bergh, \"A practical introduction to the\n"
    "GSPRT\", over the same five results.\n"
    "\n"
    "  trigo match uniform:sims=100 random --games 20\n"
    "  trigo match new old --board 9x9 --games 2000 --threads 2 --sprt 0,20\n";

typedef struct options {
    const char *board, *tgn, *records;
    trigo_match_options match;
    trigo_sprt sprt;
    bool json, opening_given;
} options;

static atomic_bool interrupted;
static void interrupt(int signal)
{
    (void)signal;
    atomic_store(&interrupted, true);
}

/* ---- what is written as games are counted ---------------------------------------------------- */

typedef struct writer {
    const options *o;
    kvf_output records;
    bool terminal; /* stderr is one */
} writer;

static const char *winner_text(const trigo_match_game *g)
{
    if (g->winner == TRIGO_EMPTY) return "draw";
    return (g->winner == TRIGO_WHITE) == g->swapped ? "A" : "B";
}

static json_t *make_moves(const trigo_game *game)
{
    json_t *moves = json_array();
    for (uint32_t i = 0; i < game->plies; i++) {
        char text[TRIGO_MOVE_TEXT];
        trigo_move_write(game->board->shape, game->steps[i].move, text);
        json_array_append_new(moves, json_string(text));
    }
    return moves;
}

static kvf_status write_record(writer *w, const trigo_match_game *g, kvf_error *err)
{
    const trigo_match_options *m = &w->o->match;
    const char *a = trigo_kind_text(m->kinds[0]), *b = trigo_kind_text(m->kinds[1]);
    trigo_area area = trigo_board_area(g->game->board);
    trigo_shape s = m->shape;
    char id[48];
    snprintf(id, sizeof id, "%llu-%u", (unsigned long long)m->seed, g->number + 1);
    json_t *object =
        json_pack("{s:s, s:I, s:s, s:s, s:s, s:[iii], s:o, s:i, s:s, s:i, s:s}", "id", id, "seed",
                  (json_int_t)m->seed, "black", g->swapped ? b : a, "white", g->swapped ? a : b,
                  "A", g->swapped ? "white" : "black", "shape", s.x, s.y, s.z, "moves",
                  make_moves(g->game), "opening", (int)g->opening, "end", trigo_end_name(g->end),
                  "score", (int)area.white - (int)area.black, "winner", winner_text(g));
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!text) return kvf_fail(err, KVF_ERR_NOMEM, "a game's record");
    kvf_output_write(&w->records, text, strlen(text));
    kvf_output_write(&w->records, "\n", 1);
    free(text);
    return KVF_OK;
}

static kvf_status write_tgn(const char *folder, const trigo_match_game *g, kvf_error *err)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%05u.tgn", folder, g->number + 1) >= (int)sizeof path)
        return kvf_fail(err, KVF_ERR_ARG, "--tgn: the folder's name is too long");
    return trigo_tgn_save(g->game, path, err);
}

static void format_elo(const trigo_elo *e, char *text, size_t room)
{
    if (isinf(e->elo))
        snprintf(text, room, "Elo difference beyond measure: all games were %s",
                 e->elo > 0 ? "won" : "lost");
    else if (isinf(e->low) && isinf(e->high))
        snprintf(text, room, "Elo %+.1f, no interval", e->elo);
    else
        snprintf(text, room, "Elo %+.1f [%+.1f, %+.1f]", e->elo, e->low, e->high);
}

static void show_progress(const writer *w, const trigo_match_result *r)
{
    if (!w->terminal) return;
    char elo[96];
    trigo_elo e = trigo_elo_of(&r->pairs);
    format_elo(&e, elo, sizeof elo);
    uint32_t won = r->won[0] + r->won[1], drawn = r->drawn[0] + r->drawn[1],
             lost = r->lost[0] + r->lost[1];
    fprintf(stderr, "\r\033[Kgame %u of %u: +%u =%u -%u, %s", won + drawn + lost, w->o->match.games,
            won, drawn, lost, elo);
    if (w->o->match.sprt) {
        trigo_sprt_state s = trigo_sprt_of(w->o->match.sprt, &r->pairs);
        fprintf(stderr, ", LLR %.2f in (%.2f, %.2f)", s.llr, s.lower, s.upper);
    }
    fflush(stderr);
}

static kvf_status write_game(void *user, const trigo_match_game *game,
                             const trigo_match_result *result, kvf_error *err)
{
    writer *w = user;
    kvf_status status = KVF_OK;
    if (w->o->records) status = write_record(w, game, err);
    if (!status && w->o->tgn) status = write_tgn(w->o->tgn, game, err);
    show_progress(w, result);
    return status;
}

/* ---- the result ------------------------------------------------------------------------------ */

static const char *why_ended(const trigo_match_result *r)
{
    if (r->decided) return "test";
    if (r->stopped) return "interrupted";
    return "games";
}

static void print_row(const char *what, uint32_t won, uint32_t drawn, uint32_t lost)
{
    uint32_t n = won + drawn + lost;
    printf("%-12s %6u %6u %6u %6u", what, n, won, drawn, lost);
    if (n) printf("  %5.1f %%", 100 * (won + drawn / 2.0) / n);
    putchar('\n');
}

static void print_sprt(const trigo_sprt *t, const trigo_match_result *r)
{
    trigo_sprt_state s = trigo_sprt_of(t, &r->pairs);
    printf("test of Elo %g against %g (alpha %g, beta %g): LLR %.2f in (%.2f, %.2f), ", t->elo0,
           t->elo1, t->alpha, t->beta, s.llr, s.lower, s.upper);
    if (!r->decided)
        printf("not decided\n");
    else
        printf("%g is accepted\n", s.llr >= s.upper ? t->elo1 : t->elo0);
}

static void print_result(const options *o, const trigo_match_result *r)
{
    const trigo_match_options *m = &o->match;
    const uint32_t *p = r->pairs.n;
    char elo[96];
    printf("A: %s\nB: %s\n\n", trigo_kind_text(m->kinds[0]), trigo_kind_text(m->kinds[1]));
    printf("%-12s %6s %6s %6s %6s  %7s\n", "", "games", "won", "drawn", "lost", "score");
    print_row("A as Black", r->won[0], r->drawn[0], r->lost[0]);
    print_row("A as White", r->won[1], r->drawn[1], r->lost[1]);
    print_row("A", r->won[0] + r->won[1], r->drawn[0] + r->drawn[1], r->lost[0] + r->lost[1]);
    trigo_elo e = trigo_elo_of(&r->pairs);
    format_elo(&e, elo, sizeof elo);
    printf("\npairs by A's points, 0 to 2: %u %u %u %u %u\n%s\n", p[0], p[1], p[2], p[3], p[4],
           elo);
    if (m->sprt) print_sprt(m->sprt, r);
    if (r->stopped) printf("interrupted: games in flight are not counted\n");
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *make_side(const trigo_match_result *r, int side)
{
    return json_pack("{s:I, s:I, s:I}", "won", (json_int_t)r->won[side], "drawn",
                     (json_int_t)r->drawn[side], "lost", (json_int_t)r->lost[side]);
}

static json_t *make_sprt(const trigo_sprt *t, const trigo_match_result *r)
{
    if (!t) return json_null();
    trigo_sprt_state s = trigo_sprt_of(t, &r->pairs);
    double accepted = !r->decided ? NAN : s.llr >= s.upper ? t->elo1 : t->elo0;
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o}", "elo0", t->elo0, "elo1", t->elo1,
                     "alpha", t->alpha, "beta", t->beta, "llr", s.llr, "lower", s.lower, "upper",
                     s.upper, "accepted", number(accepted));
}

static kvf_status print_json(const options *o, const trigo_match_result *r, kvf_error *err)
{
    const trigo_match_options *m = &o->match;
    const uint32_t *p = r->pairs.n;
    trigo_elo e = trigo_elo_of(&r->pairs);
    trigo_shape s = m->shape;
    json_t *object = json_pack(
        "{s:s, s:s, s:[iii], s:I, s:i, s:i, s:o, s:o, s:[iiiii], s:f, s:o, s:o, s:o, s:s}", "A",
        trigo_kind_text(m->kinds[0]), "B", trigo_kind_text(m->kinds[1]), "shape", s.x, s.y, s.z,
        "seed", (json_int_t)m->seed, "opening_plies", (int)m->opening_plies, "max_plies",
        (int)m->max_plies, "as_black", make_side(r, 0), "as_white", make_side(r, 1), "pairs", p[0],
        p[1], p[2], p[3], p[4], "score", e.score, "elo", number(e.elo), "interval",
        json_pack("[oo]", number(e.low), number(e.high)), "sprt", make_sprt(m->sprt, r), "ended_by",
        why_ended(r));
    if (!object) return kvf_fail(err, KVF_ERR_NOMEM, "the result");
    json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10));
    putchar('\n');
    json_decref(object);
    return KVF_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

static kvf_status open_files(writer *w, kvf_error *err)
{
    const options *o = w->o;
    if (o->tgn && mkdir(o->tgn, 0777) && errno != EEXIST)
        return kvf_fail(err, KVF_ERR_IO, "%s: %s", o->tgn, strerror(errno));
    return o->records ? kvf_output_open(&w->records, o->records, err) : KVF_OK;
}

static kvf_status play(const options *o, kvf_error *err)
{
    writer w = {.o = o, .terminal = isatty(STDERR_FILENO)};
    trigo_match_result result;
    trigo_match_options m = o->match;
    m.stop = &interrupted;
    m.played = write_game;
    m.user = &w;
    kvf_status status = open_files(&w, err);
    if (status) return status;
    struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESTART | SA_RESETHAND};
    sigaction(SIGINT, &action, NULL); /* a second one ends it the hard way */
    status = trigo_match(&m, &result, err);
    if (w.terminal) fputs("\r\033[K", stderr);
    if (!status && o->records) status = kvf_output_commit(&w.records, err);
    kvf_output_abandon(&w.records);
    if (status) return status;
    if (o->json)
        status = print_json(o, &result, err);
    else
        print_result(o, &result);
    if (!status && (fflush(stdout) || ferror(stdout)))
        status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    return status;
}

static bool read_sprt(const char *text, trigo_sprt *t)
{
    double *fields[] = {&t->elo0, &t->elo1, &t->alpha, &t->beta};
    char copy[128], *rest = copy;
    int n = 0;
    if (strlen(text) >= sizeof copy) return false;
    strcpy(copy, text);
    t->alpha = t->beta = 0.05;
    for (char *part; (part = strsep(&rest, ",")) != NULL; n++)
        if (n == 4 || !trigo_parse_real(part, -1e4, 1e4, fields[n])) return false;
    bool chances = t->alpha > 0 && t->alpha < 0.5 && t->beta > 0 && t->beta < 0.5;
    return (n == 2 || n == 4) && t->elo0 < t->elo1 && chances;
}

static bool take(void *options_read, int c, const char *argument)
{
    options *o = options_read;
    trigo_match_options *m = &o->match;
    uint64_t n = 0;
    bool ok = true;
    switch (c) {
    case 'b': o->board = argument; break;
    case 'r': o->records = argument; break;
    case 'd': o->tgn = argument; break;
    case 'j': o->json = true; break;
    case 's': ok = trigo_parse_count(argument, 0, INT64_MAX, &m->seed); break;
    case 'g':
        ok = trigo_parse_count(argument, 2, 10000000, &n) && n % 2 == 0;
        m->games = (uint32_t)n;
        break;
    case 'o':
        ok = o->opening_given = trigo_parse_count(argument, 0, TRIGO_MAX_CELLS, &n);
        m->opening_plies = (uint32_t)n;
        break;
    case 'm':
        ok = trigo_parse_count(argument, 1, 1000000, &n);
        m->max_plies = (uint32_t)n;
        break;
    case 't':
        ok = trigo_parse_count(argument, 1, 1024, &n);
        m->threads = (uint32_t)n;
        break;
    case 'p':
        ok = read_sprt(argument, &o->sprt);
        m->sprt = &o->sprt;
        break;
    default: ok = false;
    }
    return ok;
}

/* What the command line says; nothing is opened. */
static kvf_status read_match(options *o, trigo_kind *kinds[2], char **players, kvf_error *err)
{
    trigo_match_options *m = &o->match;
    kvf_status status = trigo_shape_read(o->board, strlen(o->board), &m->shape, err);
    for (int i = 0; i < 2 && !status; i++) {
        status = trigo_kind_read(&kinds[i], players[i], err);
        m->kinds[i] = kinds[i];
    }
    if (status) return status;
    uint32_t most = trigo_cells(m->shape) / 4;
    if (m->max_plies < most) most = m->max_plies;
    if (!o->opening_given && m->opening_plies > most) m->opening_plies = most;
    return trigo_match_check(m, err);
}

int cmd_match(int argc, char **argv)
{
    static const struct option longs[] = {{"board", required_argument, NULL, 'b'},
                                          {"games", required_argument, NULL, 'g'},
                                          {"opening-plies", required_argument, NULL, 'o'},
                                          {"max-plies", required_argument, NULL, 'm'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"sprt", required_argument, NULL, 'p'},
                                          {"records", required_argument, NULL, 'r'},
                                          {"tgn", required_argument, NULL, 'd'},
                                          {"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"match", "h", longs, 2, take, usage, NULL};
    options o = {.board = "5x5",
                 .match = {.games = 100, .opening_plies = 4, .max_plies = 500, .threads = 1}};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (argc - optind < 2) return trigo_usage_error(&command, "it takes two players");
    kvf_error err;
    trigo_kind *kinds[2] = {0};
    kvf_status status = read_match(&o, kinds, argv + optind, &err);
    exit_status = status ? 2 : 1;
    for (int i = 0; i < 2 && !status; i++)
        status = trigo_kind_open(kinds[i], o.match.threads > 1 ? 1 : 0, &err);
    if (!status) status = play(&o, &err);
    for (int i = 0; i < 2; i++) trigo_kind_close(kinds[i]);
    if (!status) return 0;
    fprintf(stderr, "trigo match: %s: %s\n", kvf_status_name(status), err.msg);
    if (exit_status == 2) fputs("try: trigo match --help\n", stderr);
    return exit_status;
}
