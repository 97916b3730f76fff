/* arena.h - the nodes and edges of a search: two arrays that grow to a limit, and no pointers.
 *
 *     nodes   0: N 6  W 0.16 ── edges 0..2      1: N 4 ── edges 3..6      2: N 1, terminal     ...
 *     edges   0: z  P .58 ── node 1             3: c  P .71 ── node 3
 *             1: x  P .42 ── node 2             4: x  P .28 ── node 4
 *             2: Pass  P .00, no child          5: a ...
 *
 * The edges of a node with a child come first; the first without one has the largest prior of all
 * that have none. A new child is always that one's. */
#ifndef TRIGO_ARENA_H
#define TRIGO_ARENA_H

#include "trigo/board.h"

/* What is known of a node. */
enum {
    TRIGO_VALUED = 1,   /* its value */
    TRIGO_EXPANDED = 2, /* its edges */
    TRIGO_TERMINAL = 4, /* that it will never have any */
    TRIGO_OUTSIDE = 8,  /* terminal because the evaluator cannot look at it */
    TRIGO_ASKED = 16,   /* value or priors are among the questions out now */
};

typedef struct trigo_node {
    double total; /* W */
    double value; /* of the position by itself */
    uint64_t note;
    uint32_t visits; /* N */
    uint32_t edges;  /* the first one */
    uint16_t n_edges, n_children;
    uint8_t state;
} trigo_node;

typedef struct trigo_edge {
    float prior;
    uint32_t child; /* 0: none; the root is nobody's child */
    trigo_move move;
} trigo_edge;

typedef struct trigo_arena {
    trigo_node *nodes; /* [n_nodes]; 0 is the root */
    trigo_edge *edges; /* [n_edges] */
    uint32_t n_nodes, n_edges, nodes_room, edges_room;
    uint64_t max_bytes;
    bool full; /* something did not fit */
} trigo_arena;

/* Start with a root of which nothing is known. False if there is no memory for one node. */
bool trigo_arena_init(trigo_arena *arena, uint64_t max_bytes);
void trigo_arena_free(trigo_arena *arena); /* zeroed is fine */

/* Give a node its edges: moves and priors [n], n >= 1. by_move: priors are not to be compared; the
 * untried edge with the first move is the best. False (and full) if they do not fit. */
bool trigo_arena_expand(trigo_arena *arena, uint32_t node, const trigo_move *moves,
                        const double *priors, uint32_t n, bool by_move);

/* Put the best of the edges that have no child in front of the others. */
void trigo_arena_order(trigo_arena *arena, uint32_t node, bool by_move);

/* Make a child for the first edge of a node that has none. Returns it; 0 (and full) if it does not
 * fit. */
uint32_t trigo_arena_child(trigo_arena *arena, uint32_t node, bool by_move);

/* Keep what lies below a node, which becomes the root; 0: nothing but a new root. False if memory
 * for a copy is out: then nothing is kept. */
bool trigo_arena_keep(trigo_arena *arena, uint32_t node);

static inline uint64_t trigo_arena_bytes(const trigo_arena *a)
{
    return (uint64_t)a->nodes_room * sizeof *a->nodes + (uint64_t)a->edges_room * sizeof *a->edges;
}

#endif
