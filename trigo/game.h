/* game.h - a position and the steps that led to it, to be taken back one by one. */
#ifndef TRIGO_GAME_H
#define TRIGO_GAME_H

#include "trigo/board.h"

typedef struct trigo_game {
    trigo_board *board; /* after the last step; play and undo through the game only */
    trigo_step *steps;  /* [plies] from the first */
    uint32_t plies, room;
} trigo_game;

/* Create a game that has not begun. out is set on KVF_OK, else NULL; free it with
 * trigo_game_destroy. Errors: KVF_ERR_ARG (shape), KVF_ERR_NOMEM. */
kvf_status trigo_game_create(trigo_game **out, trigo_shape shape, kvf_error *err);
void trigo_game_destroy(trigo_game *game); /* NULL is fine */

/* Play a move.
 *
 * Memory  the list of steps doubles when it is full
 * Errors  KVF_ERR_ARG: the move is not legal, in words ("'a0' is forbidden by ko");
 * KVF_ERR_NOMEM */
kvf_status trigo_game_play(trigo_game *game, trigo_move move, kvf_error *err);

bool trigo_game_undo(trigo_game *game); /* false: there is no step to take back */

/* Why a game of players ended. */
typedef enum trigo_end {
    TRIGO_END_PASSES,  /* two in a row */
    TRIGO_END_DECIDED, /* the search takes it for decided: see trigo_board_terminal */
    TRIGO_END_PLIES,   /* it is as long as a game may be */
    TRIGO_END_CONTEXT, /* the next position is too long for the model */
} trigo_end;
enum { TRIGO_ENDS = 4 };
const char *trigo_end_name(trigo_end end); /* "passes"; never NULL */

#endif
