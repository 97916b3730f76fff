/* gtp_commands.h - what trigo gtp can be told, behind the form of the protocol (gtp.c). */
#ifndef TRIGO_GTP_COMMANDS_H
#define TRIGO_GTP_COMMANDS_H

#include <stdio.h>

#include "trigo/player.h"
#include "trigo/sgf.h"

enum { TRIGO_GTP_WORDS = 640 }; /* of a command: it may name all cells of a board */

/* What a colour has: time, and if stones is not 0, that it is for so many moves. */
typedef struct trigo_clock {
    double seconds;
    uint32_t stones;
} trigo_clock;

typedef struct gtp {
    trigo_player *player;
    trigo_sgf record;      /* the game, its komi and handicap; to_move is not used */
    uint64_t seed, boards; /* boards begun */
    bool timed, quit;
    trigo_clock clock[3]; /* by colour */
    trigo_clock extra;    /* of the byo-yomi to come */
    FILE *log;
    char **words; /* [n_words] the arguments */
    size_t n_words;
    FILE *out; /* the answer */
} gtp;

/* Run a command, with words and out set. Returns whether what it wrote is an answer; else it is what
 * is wrong. */
bool trigo_gtp_run(gtp *g, const char *name);

/* Begin on an empty board. Errors: those of trigo_game_create. */
kvf_status trigo_gtp_begin(gtp *g, trigo_shape shape, kvf_error *err);

#endif
