/* cmd_gtp.c - trigo gtp: a player behind the Go Text Protocol. */
#include "trigo/cmd.h"

#include <stdio.h>

#include "trigo/gtp.h"

static void print_usage(FILE *out)
{
    fputs(
        "usage: trigo gtp [PLAYER] [--seed N]\n"
        "\n"
        "Answers commands of the Go Text Protocol, version 2, on standard input, so that programs of\n"
        "the Go world (kigo and gomill were tried) can play with it on boards without layers.\n"
        "\n" TRIGO_PLAYER_USAGE "\n"
        "  PLAYER             whoever chooses moves (default uniform)\n"
        "  --seed N           of what the player draws (default 0)\n"
        "\n"
        "commands:\n",
        out);
    const char *line;
    for (size_t i = 0; trigo_gtp_command(i, &line); i++)
        fprintf(out, "  %-19s %s\n", trigo_gtp_command(i, &line), line);
    fputs(
        "\n"
        "A1 is the cell aa of this game, letters go along the first axis, numbers along the second.\n"
        "Commands that begin with trigo- take any board, and moves as they are written here: 00a, Pass.\n"
        "\n"
        "The rules are this game's, not Go's: no suicide; ko forbids to take one stone back for one at\n"
        "once, but longer cycles are allowed (no superko); colours alternate, so a pass is put in for\n"
        "the other side if a colour plays out of turn, and taken back with it; two passes end the game,\n"
        "and nothing may be played then but after undo; the score is area and prisoners, without\n"
        "removing dead stones. Handicap stones, and those that a file sets up, are drops in a row with\n"
        "such passes between; undo does not take a handicap back.\n"
        "\n"
        "  printf 'boardsize 5\\ngenmove b\\nshowboard\\n' | trigo gtp uniform:sims=1000\n",
        out);
}

static kvf_status run(const trigo_kind *kind, uint64_t seed, kvf_error *err)
{
    trigo_player *player;
    kvf_status status = trigo_player_create(&player, kind, err);
    if (status) return status;
    status = trigo_gtp(player, seed, stdin, stdout, stderr, err);
    trigo_player_destroy(player);
    return status;
}

static bool take(void *seed, int code, const char *argument)
{
    return code == 's' && trigo_parse_count(argument, 0, UINT64_MAX, seed);
}

int cmd_gtp(int argc, char **argv)
{
    static const struct option longs[] = {{"seed", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"gtp", "h", longs, 1, take, NULL, print_usage};
    uint64_t seed = 0;
    int exit_status = trigo_options_read(&command, &seed, argc, argv);
    if (exit_status >= 0) return exit_status;
    kvf_error err;
    trigo_kind *kind;
    kvf_status status = trigo_kind_read(&kind, optind < argc ? argv[optind] : "uniform", &err);
    exit_status = status ? 2 : 1;
    if (!status) status = trigo_kind_open(kind, 0, &err);
    if (!status) status = run(kind, seed, &err);
    trigo_kind_close(kind);
    if (!status) return 0;
    fprintf(stderr, "trigo gtp: %s: %s\n", kvf_status_name(status), err.msg);
    return exit_status;
}
