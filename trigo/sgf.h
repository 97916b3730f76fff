/* sgf.h - games on boards without layers as files of the Go world: SGF, as its version 4 has it.
 *
 * Of a file the main line of the first game is read: board, komi, stones set up, moves. Whatever
 * else is there (names, comments, variations) is passed over. Stones that are set up are drops here,
 * and where a colour moves twice the other one passes between. */
#ifndef TRIGO_SGF_H
#define TRIGO_SGF_H

#include "trigo/turns.h"

typedef struct trigo_sgf {
    trigo_turns turns;
    double komi;
    uint32_t handicap;    /* black stones that were set up on the empty board, if two or more */
    trigo_colour to_move; /* which the file may say, whoever moved last */
} trigo_sgf;

/* The ply of the first move: those before it are the stones of the handicap, with White's passes. */
static inline uint32_t trigo_sgf_first_ply(const trigo_sgf *sgf)
{
    return sgf->handicap ? 2 * sgf->handicap - 1 : 0;
}

/* Read a game.
 *
 * text    [len] any bytes
 * before  stop before this move, counted from 1; 0: read all
 * sgf     zeroed on failure, else to be freed: trigo_turns_end(&sgf->turns)
 * Errors  KVF_ERR_ARG (no game of Go; a move that is not legal here; stones taken off by hand),
 *         KVF_ERR_NOMEM */
kvf_status trigo_sgf_read(trigo_sgf *sgf, const char *text, size_t len, uint64_t before,
                          kvf_error *err);

/* The same of a file. Errors: also KVF_ERR_IO; all name the file. */
kvf_status trigo_sgf_load(trigo_sgf *sgf, const char *path, uint64_t before, kvf_error *err);

/* Write a game on a board without layers. text is set on KVF_OK, free it with free. Errors:
 * KVF_ERR_NOMEM. */
kvf_status trigo_sgf_write(const trigo_sgf *sgf, char **text, kvf_error *err);

#endif
