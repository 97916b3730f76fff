/* candidates.c - candidates and their tree, in one pass over the moves.
 *
 * Moves come in order of cells, so moves that begin alike are neighbours: the path of the move
 * before is all that has to be remembered, and nodes are made in depth-first order. */
#include "trigo/candidates.h"

#include <assert.h>
#include <string.h>

#include "base.h"
#include "trigo/notation.h"

kvf_status trigo_candidates_create(trigo_candidates **out, trigo_shape shape, kvf_error *err)
{
    *out = NULL;
    kvf_status status = trigo_shape_set(&shape, shape.x, shape.y, shape.z, err);
    if (status) return status;
    size_t moves = trigo_cells(shape) + 1u, nodes = shape.x + shape.x * shape.y + 3u;
    trigo_candidates *c = kvf_array(1, sizeof *c);
    if (!c) goto no_memory;
    c->shape = shape;
    c->move = kvf_array(moves, sizeof *c->move);
    c->last = kvf_array(moves, sizeof *c->last);
    c->leaf = kvf_array(moves, sizeof *c->leaf);
    c->token = kvf_array(nodes, sizeof *c->token);
    c->parent = kvf_array(nodes, sizeof *c->parent);
    if (!c->move || !c->last || !c->leaf || !c->token || !c->parent) goto no_memory;
    *out = c;
    return KVF_OK;

no_memory:
    trigo_candidates_destroy(c);
    return kvf_fail(err, KVF_ERR_NOMEM, "room for %zu candidates", moves);
}

void trigo_candidates_destroy(trigo_candidates *candidates)
{
    if (!candidates) return;
    kvf_free(candidates->move);
    kvf_free(candidates->last);
    kvf_free(candidates->leaf);
    kvf_free(candidates->token);
    kvf_free(candidates->parent);
    kvf_free(candidates);
}

/* The path in the tree of the move that came last. */
typedef struct trail {
    uint32_t depth;
    int32_t node[TRIGO_MOVE_TEXT]; /* [depth] */
} trail;

/* Follow text[length] from the prompt's end as far as it goes along the trail, and make nodes for
 * the rest. Returns the last node. */
static int32_t extend(trigo_candidates *c, trail *t, const char *text, uint32_t length)
{
    uint32_t depth = 0;
    while (depth < length && depth < t->depth && c->token[t->node[depth]] == text[depth]) depth++;
    for (; depth < length; depth++) {
        c->token[c->m] = text[depth];
        c->parent[c->m] = depth ? t->node[depth - 1] : -1;
        t->node[depth] = (int32_t)c->m++;
    }
    t->depth = length;
    return length ? t->node[length - 1] : -1;
}

void trigo_candidates_list(trigo_candidates *candidates, const trigo_board *board)
{
    trigo_candidates *c = candidates;
    assert(!memcmp(&c->shape, &board->shape, sizeof c->shape));
    c->n = (uint32_t)trigo_board_drops(board, c->move);
    if (!trigo_board_ended(board)) c->move[c->n++] = TRIGO_PASS;
    c->m = 0;
    trail t = {0};
    for (uint32_t i = 0; i < c->n; i++) {
        char text[TRIGO_MOVE_TEXT];
        uint32_t length = (uint32_t)trigo_move_write(c->shape, c->move[i], text);
        c->last[i] = text[length - 1]; /* no legal drop has an empty name */
        c->leaf[i] = extend(c, &t, text, length - 1);
    }
}
