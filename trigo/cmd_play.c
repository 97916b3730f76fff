/* cmd_play.c - trigo play: a game in the terminal. */
#include "trigo/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rng.h"
#include "trigo/notation.h"
#include "trigo/play.h"
#include "trigo/tgn.h"

enum { SEATS = 4 }; /* by colour, and the adviser's */
static const int ADVISER = 3;

typedef struct options {
    const char *board, *load, *save, *player[SEATS];
    uint64_t seed;
} options;

static void print_usage(FILE *out)
{
    fputs(
        "usage: trigo play [options]\n"
        "\n"
        "Draws the board, layer by layer, and lets people and players move in turn. Commands are read\n"
        "from standard input.\n"
        "\n"
        "  --board XxYxZ      or XxY (default 5x5)\n"
        "  --black PLAYER     (default human)\n"
        "  --white PLAYER     (default uniform:sims=2000)\n"
        "  --adviser PLAYER   who is asked for a hint (default: the player at the table)\n"
        "  --load FILE        go on from a game's text, on its board\n"
        "  --save FILE        keep the game's text in this file, after every move\n"
        "  --seed N           of what players draw (default 0)\n"
        "\n" TRIGO_PLAYER_USAGE "or human, who types\n",
        out);
    fputs(trigo_play_help, out);
    fputs("\n"
          "  trigo play --board 3x3x3 --white models/trigo:sims=400\n"
          "  trigo play --black random --white uniform:time=0.2 --save game.tgn\n",
          out);
}

/* ---- seats ----------------------------------------------------------------------------------- */

typedef struct seats {
    trigo_kind *kind[SEATS];
    trigo_player *player[SEATS];
} seats;

static kvf_status seat(seats *s, const options *o, kvf_error *err)
{
    kvf_status status = KVF_OK;
    for (int i = 0; i < SEATS && !status; i++) {
        if (!s->kind[i]) continue;
        status = trigo_kind_open(s->kind[i], 0, err);
        if (!status) status = trigo_player_create(&s->player[i], s->kind[i], err);
        if (!status) trigo_player_begin(s->player[i], kvf_rng_derive(o->seed, (uint64_t)i));
    }
    return status;
}

static kvf_status read_seats(seats *s, const options *o, kvf_error *err)
{
    kvf_status status = KVF_OK;
    for (int i = 0; i < SEATS && !status; i++)
        if (o->player[i] && strcmp(o->player[i], "human"))
            status = trigo_kind_read(&s->kind[i], o->player[i], err);
    return status;
}

static void clear(seats *s)
{
    for (int i = 0; i < SEATS; i++) {
        trigo_player_destroy(s->player[i]);
        trigo_kind_close(s->kind[i]);
    }
}

/* ---- the command ----------------------------------------------------------------------------- */

static bool shows_colour(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb");
}

static kvf_status run(const options *o, trigo_shape shape, seats *s, kvf_error *err)
{
    trigo_game *game;
    kvf_status status = seat(s, o, err);
    if (status) return status;
    status = o->load ? trigo_tgn_load(&game, o->load, err) : trigo_game_create(&game, shape, err);
    if (status) return status;
    trigo_play_options p = {.adviser = s->player[ADVISER],
                            .in = stdin,
                            .out = stdout,
                            .words = stderr,
                            .save = o->save,
                            .prompt = isatty(STDIN_FILENO),
                            .colour = shows_colour()};
    for (int i = TRIGO_BLACK; i <= TRIGO_WHITE; i++) {
        p.side[i] = s->player[i];
        if (!p.adviser) p.adviser = s->player[i];
    }
    status = trigo_play(&p, &game, err);
    trigo_game_destroy(game);
    return status;
}

static bool take(void *options_read, int c, const char *argument)
{
    options *o = options_read;
    switch (c) {
    case 'o': o->board = argument; return true;
    case 'b': o->player[TRIGO_BLACK] = argument; return true;
    case 'w': o->player[TRIGO_WHITE] = argument; return true;
    case 'a': o->player[ADVISER] = argument; return strcmp(argument, "human") != 0;
    case 'l': o->load = argument; return true;
    case 's': o->save = argument; return true;
    case 'r': return trigo_parse_count(argument, 0, UINT64_MAX, &o->seed);
    default: return false;
    }
}

/* Read argv. Returns -1 to go on, else the exit status. */
static int read_options(options *o, int argc, char **argv)
{
    static const struct option longs[] = {{"board", required_argument, NULL, 'o'},
                                          {"black", required_argument, NULL, 'b'},
                                          {"white", required_argument, NULL, 'w'},
                                          {"adviser", required_argument, NULL, 'a'},
                                          {"load", required_argument, NULL, 'l'},
                                          {"save", required_argument, NULL, 's'},
                                          {"seed", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"play", "h", longs, 0, take, NULL, print_usage};
    int exit_status = trigo_options_read(&command, o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (o->board && o->load)
        return trigo_usage_error(&command, "--load brings its board, so --board has no say");
    return -1;
}

int cmd_play(int argc, char **argv)
{
    options o = {.player = {[TRIGO_WHITE] = "uniform:sims=2000"}};
    int exit_status = read_options(&o, argc, argv);
    if (exit_status >= 0) return exit_status;
    bool people = !o.player[TRIGO_BLACK] || !strcmp(o.player[TRIGO_BLACK], "human");
    if (people && !strcmp(o.player[TRIGO_WHITE], "human") && !o.player[ADVISER])
        o.player[ADVISER] = "uniform:sims=2000";
    kvf_error err;
    seats s = {0};
    trigo_shape shape = {5, 5, 1};
    kvf_status status = o.board ? trigo_shape_read(o.board, strlen(o.board), &shape, &err) : KVF_OK;
    if (!status) status = read_seats(&s, &o, &err);
    exit_status = status ? 2 : 1;
    if (!status) status = run(&o, shape, &s, &err);
    clear(&s);
    if (!status) return 0;
    fprintf(stderr, "trigo play: %s: %s\n", kvf_status_name(status), err.msg);
    return exit_status;
}
