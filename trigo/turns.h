/* turns.h - a game in which either colour may move at any time, as in files and protocols of Go.
 *
 * In this game colours alternate: a colour that moves out of turn finds a pass put in for the other
 * one. Such a pass is remembered, since undo takes it back with the move that it was put in for. */
#ifndef TRIGO_TURNS_H
#define TRIGO_TURNS_H

#include "trigo/game.h"

typedef struct trigo_turns {
    trigo_game *game; /* for reading, and to be given to a player */
    uint8_t *put_in;  /* [put_in_room] by ply: a pass that nobody played */
    uint32_t put_in_room;
} trigo_turns;

/* Begin on an empty board. turns is zeroed if this fails. Errors: those of trigo_game_create. */
kvf_status trigo_turns_begin(trigo_turns *turns, trigo_shape shape, kvf_error *err);
void trigo_turns_end(trigo_turns *turns); /* zeroed is fine */

/* Let a colour be to move. Errors: KVF_ERR_ARG (the game is over; a second pass would be put in,
 * which is its end), KVF_ERR_NOMEM. */
kvf_status trigo_turns_give(trigo_turns *turns, trigo_colour colour, kvf_error *err);

/* Play for a colour, or change nothing. Errors: those of trigo_turns_give and trigo_game_play;
 * KVF_ERR_ARG too: a pass out of turn would be the second. */
kvf_status trigo_turns_play(trigo_turns *turns, trigo_colour colour, trigo_move move,
                            kvf_error *err);

bool trigo_turns_undo(trigo_turns *turns); /* false: there is no move to take back */

/* Take back what was played since there were so many plies. */
void trigo_turns_return(trigo_turns *turns, uint32_t plies);

#endif
