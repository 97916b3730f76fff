/* play.h - a game in the terminal: people and players, in turn, over a drawn board. */
#ifndef TRIGO_PLAY_H
#define TRIGO_PLAY_H

#include <stdio.h>

#include "trigo/player.h"

typedef struct trigo_play_options {
    trigo_player *side[3];  /* by colour; NULL: a person, whose commands come from `in` */
    trigo_player *adviser;  /* gives hints */
    FILE *in, *out, *words; /* words: what is wrong with a command */
    const char *save;       /* the game is kept in this file after every move; NULL: it is not */
    bool prompt;            /* say whose turn it is before reading */
    bool colour;            /* `out` is a terminal that shows colours */
} trigo_play_options;

/* Play on from a game until it is over, a person quits, or the input ends.
 *
 * game    may be replaced by another (load), which is the caller's then
 * Errors  KVF_ERR_IO (writing, saving), those of the players */
kvf_status trigo_play(const trigo_play_options *options, trigo_game **game, kvf_error *err);

extern const char trigo_play_help[]; /* the commands of a person */

#endif
