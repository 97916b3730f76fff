/* played.h - a finished game of self-play, and the line of JSON that it is kept as.
 *
 *     {"id":"7-17","index":17,"seed":7,"model":"3f1c...","options":{...},"shape":[5,5,1],
 *      "moves":[{"move":"00","N":50,"W":-3.25,"value":-0.1,"visits":{"a0":3,"00":46}}, ...],
 *      "end":"passes","score":-3}
 *
 * A move was chosen from a search: N and W of its root (W is White's), the network's value of the
 * position, and the visits of the candidates that have any, in their order. score is White's lead
 * by area when the game ended, as in its text. */
#ifndef TRIGO_PLAYED_H
#define TRIGO_PLAYED_H

#include "trigo/generation.h"

typedef struct trigo_played_move {
    uint32_t visits;     /* N of the root */
    double total, value; /* W of the root; the network's value */
    size_t first;        /* its candidates' visits: played.visits[first ... first + n) */
    uint32_t n;
} trigo_played_move;

typedef struct trigo_played {
    uint64_t index;
    trigo_game *game;         /* after the last move */
    trigo_played_move *moves; /* [game->plies] */
    uint32_t *visits;         /* [n_visits] of all moves' candidates, in their order */
    size_t n_visits;
    trigo_end end;
    /* room */
    uint32_t moves_room;
    size_t visits_room;
} trigo_played;

/* Begin a game of a generation. out is set on KVF_OK, else NULL; free it with trigo_played_destroy.
 * Errors: KVF_ERR_NOMEM. */
kvf_status trigo_played_create(trigo_played **out, const trigo_generation *g, uint64_t index,
                               kvf_error *err);
void trigo_played_destroy(trigo_played *played); /* NULL is fine */

/* Play a move and keep what the search knows of the position before it; the search has listed its
 * candidates, which all legal moves are. Errors: KVF_ERR_ARG (an illegal move), KVF_ERR_NOMEM. */
kvf_status trigo_played_add(trigo_played *played, const trigo_search *search, trigo_move move,
                            kvf_error *err);

/* Make the line, with its end, for a file. text is set on KVF_OK, free it with free.
 * Errors: KVF_ERR_NOMEM. */
kvf_status trigo_played_line(const trigo_played *played, const trigo_generation *g, char **text,
                             kvf_error *err);

/* Read a line, and check all that can be known without the model: that it is this game of this
 * generation, every move legal and chosen from the search's candidates, the visits adding up, the
 * end and the score right. Errors: KVF_ERR_ARG (which field or move, counted from 1, and what is
 * wrong), KVF_ERR_NOMEM. */
kvf_status trigo_played_read(trigo_played **out, const trigo_generation *g, uint64_t index,
                             const char *line, size_t len, kvf_error *err);

/* White's lead by area. */
int32_t trigo_played_score(const trigo_played *played);

#endif
