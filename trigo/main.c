/* main.c - the program trigo: a table of what it does. */
#include <stdio.h>
#include <string.h>

#include "trigo/cmd.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *line;
} commands[] = {
    {"replay", cmd_replay, "play recorded games again and write every position in full"},
    {"analyze", cmd_analyze, "evaluate and search positions, as JSON lines"},
    {"play", cmd_play, "play in the terminal"},
    {"gtp", cmd_gtp, "play with programs that speak the Go Text Protocol"},
    {"match", cmd_match, "play games between two players and say who is stronger"},
    {"view", cmd_view, "a game as a page: boards, curves, and what a search thinks of it"},
    {"selfplay", cmd_selfplay, "play a model against itself, to train the next one"},
    {"collect", cmd_collect, "check the games of self-play, and bring them together"},
    {"bench", cmd_bench, "measure the rules and the search"},
};

static const char introduction[] =
    "trigo - Go on boards of two and three dimensions, each axis from 1 to 27 cells\n"
    "\n"
    "usage: trigo COMMAND [ARGUMENTS]\n"
    "\n";

static const char rules[] =
    "\n"
    "`trigo COMMAND --help` tells more. Data goes to stdout, words to stderr; the exit status is 0 if\n"
    "the work was done, 1 if it failed, 2 if it was asked for wrongly, 3 if what was checked is wrong.\n"
    "\n"
    "The game in short: Black begins; a stone is dropped on an empty cell, or one passes or resigns.\n"
    "Stones of a colour that touch along an axis are a group; a group without an empty cell beside it\n"
    "is taken off. A drop that leaves its own group without one is suicide and forbidden; so is ko,\n"
    "taking one stone back for one at once. Two passes end the game.\n"
    "\n"
    "A cell is written with one character for each axis: `a` `b` ... from the low end, `0` in the\n"
    "middle, ... `y` `z` at the high end. On 5x5 the centre is 00 and the last corner zz; on 5x5x5\n"
    "they are 000 and zzz.\n";

static void print_help(FILE *out)
{
    fputs(introduction, out);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].line);
    fputs(rules, out);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_help(stdout);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (!strcmp(argv[1], commands[i].name)) return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "trigo: there is no command '%s'; trigo --help lists those there are\n",
            argv[1]);
    return 2;
}
