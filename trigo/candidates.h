/* candidates.h - the moves that a policy chooses from, and the tree that their characters make.
 *
 *     moves  aa ab b0 Pass     prompt ─┬─ a    leaf of aa, ab      the model reads a move character
 *                                      ├─ b    leaf of b0          by character, and two moves that
 *                                      └─ P ── a ── s    of Pass   begin alike share what it read
 *
 * Each move gives all its characters but the last to the tree; what the model says at the leaf of
 * the last character is the move's own. Nodes are numbered depth first, a parent before its
 * children, and siblings in order of the moves. */
#ifndef TRIGO_CANDIDATES_H
#define TRIGO_CANDIDATES_H

#include "trigo/board.h"

typedef struct trigo_candidates {
    trigo_shape shape;
    uint32_t n;       /* moves */
    trigo_move *move; /* [n] legal drops in order of cells, then a pass unless the game has ended */
    int32_t *last;    /* [n] token of the last character */
    int32_t *leaf;    /* [n] node of the last character but one; -1: the prompt's end */
    uint32_t m;       /* nodes; at most X + X*Y + 3 */
    int32_t *token;   /* [m] */
    int32_t *parent;  /* [m] an earlier node; -1: the prompt's end */
} trigo_candidates;

/* Take the room for the candidates of any position of a shape. out is set on KVF_OK, else NULL;
 * free it with trigo_candidates_destroy. Errors: KVF_ERR_ARG (shape), KVF_ERR_NOMEM. */
kvf_status trigo_candidates_create(trigo_candidates **out, trigo_shape shape, kvf_error *err);
void trigo_candidates_destroy(trigo_candidates *candidates); /* NULL is fine */

/* List the candidates of a position; the board has the shape that was created for. */
void trigo_candidates_list(trigo_candidates *candidates, const trigo_board *board);

#endif
