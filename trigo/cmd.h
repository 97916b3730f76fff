/* cmd.h - the subcommands of the program trigo, one file each.
 *
 * Each takes its own name as argv[0] and returns the exit status: 0 done, 1 failed, 2 wrong usage, 3
 * verification failed.
 * Data goes to stdout, words to stderr. */
#ifndef TRIGO_CMD_H
#define TRIGO_CMD_H

int cmd_analyze(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_collect(int argc, char **argv);
int cmd_gtp(int argc, char **argv);
int cmd_match(int argc, char **argv);
int cmd_play(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_selfplay(int argc, char **argv);
int cmd_view(int argc, char **argv);

#endif
