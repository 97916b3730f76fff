/* arena.c - see arena.h. */
#include "trigo/arena.h"

#include <string.h>

#include "base.h"

enum { FIRST_NODES = 256, FIRST_EDGES = 1024 };

/* ---- room ------------------------------------------------------------------------------------ */

/* Have room for `more` items of an array; others are the bytes of the other one. It grows by
 * doubling, and by less when the limit is near. */
static bool reserve(trigo_arena *a, void **array, uint32_t n, uint32_t *room, uint32_t more,
                    size_t size, uint64_t others)
{
    uint64_t need = (uint64_t)n + more, want = 2 * (uint64_t)*room;
    if (need <= *room) return true;
    uint64_t most = a->max_bytes > others ? (a->max_bytes - others) / size : 0;
    if (most > UINT32_MAX) most = UINT32_MAX;
    if (want < need) want = need;
    if (want > most) want = most;
    void *bigger = want >= need ? kvf_resize(*array, want, size) : NULL;
    if (!bigger) {
        a->full = true;
        return false;
    }
    *array = bigger;
    *room = (uint32_t)want;
    return true;
}

static bool reserve_nodes(trigo_arena *a, uint32_t more)
{
    void *array = a->nodes;
    bool ok = reserve(a, &array, a->n_nodes, &a->nodes_room, more, sizeof *a->nodes,
                      (uint64_t)a->edges_room * sizeof *a->edges);
    a->nodes = array;
    return ok;
}

static bool reserve_edges(trigo_arena *a, uint32_t more)
{
    void *array = a->edges;
    bool ok = reserve(a, &array, a->n_edges, &a->edges_room, more, sizeof *a->edges,
                      (uint64_t)a->nodes_room * sizeof *a->nodes);
    a->edges = array;
    return ok;
}

bool trigo_arena_init(trigo_arena *arena, uint64_t max_bytes)
{
    *arena = (trigo_arena){.max_bytes = max_bytes};
    arena->nodes = kvf_array(FIRST_NODES, sizeof *arena->nodes);
    arena->edges = kvf_array(FIRST_EDGES, sizeof *arena->edges);
    if (!arena->nodes || !arena->edges) {
        trigo_arena_free(arena);
        return false;
    }
    arena->nodes_room = FIRST_NODES;
    arena->edges_room = FIRST_EDGES;
    arena->n_nodes = 1;
    return true;
}

void trigo_arena_free(trigo_arena *arena)
{
    kvf_free(arena->nodes);
    kvf_free(arena->edges);
    *arena = (trigo_arena){0};
}

/* ---- growth ---------------------------------------------------------------------------------- */

void trigo_arena_order(trigo_arena *arena, uint32_t node, bool by_move)
{
    const trigo_node *n = &arena->nodes[node];
    trigo_edge *e = arena->edges + n->edges;
    uint32_t best = n->n_children;
    if (best >= n->n_edges) return;
    for (uint32_t i = best + 1; i < n->n_edges; i++) {
        bool equal = by_move || e[i].prior == e[best].prior;
        if (equal ? e[i].move < e[best].move : e[i].prior > e[best].prior) best = i;
    }
    trigo_edge first = e[n->n_children];
    e[n->n_children] = e[best];
    e[best] = first;
}

bool trigo_arena_expand(trigo_arena *arena, uint32_t node, const trigo_move *moves,
                        const double *priors, uint32_t n, bool by_move)
{
    if (!reserve_edges(arena, n)) return false;
    trigo_edge *e = arena->edges + arena->n_edges;
    for (uint32_t i = 0; i < n; i++)
        e[i] = (trigo_edge){.prior = (float)priors[i], .move = moves[i]};
    trigo_node *at = &arena->nodes[node];
    at->edges = arena->n_edges;
    at->n_edges = (uint16_t)n;
    at->n_children = 0;
    at->state |= TRIGO_EXPANDED;
    arena->n_edges += n;
    trigo_arena_order(arena, node, by_move);
    return true;
}

uint32_t trigo_arena_child(trigo_arena *arena, uint32_t node, bool by_move)
{
    if (!reserve_nodes(arena, 1)) return 0;
    trigo_node *n = &arena->nodes[node];
    uint32_t child = arena->n_nodes++;
    arena->nodes[child] = (trigo_node){0};
    arena->edges[n->edges + n->n_children++].child = child;
    trigo_arena_order(arena, node, by_move);
    return child;
}

/* ---- a new root ------------------------------------------------------------------------------ */

/* Nodes and edges of a subtree: a list of nodes would not fit anywhere, but children always come
 * after their parents, so one sweep finds them. */
static void count_below(const trigo_arena *a, uint32_t root, uint8_t *kept, uint32_t *n_nodes,
                        uint32_t *n_edges)
{
    kept[root] = 1;
    *n_nodes = *n_edges = 0;
    for (uint32_t i = root; i < a->n_nodes; i++) {
        if (!kept[i]) continue;
        const trigo_node *n = &a->nodes[i];
        ++*n_nodes;
        *n_edges += n->n_edges;
        for (uint32_t k = 0; k < n->n_children; k++) kept[a->edges[n->edges + k].child] = 1;
    }
}

/* The copies of a node's children go behind all that were copied, and wait there for their turn,
 * still with their old edges. */
static void copy_below(trigo_arena *to, const trigo_arena *from, uint32_t root)
{
    to->nodes[0] = from->nodes[root];
    to->n_nodes = 1;
    for (uint32_t i = 0; i < to->n_nodes; i++) {
        trigo_node *n = &to->nodes[i];
        trigo_edge *edges = to->edges + to->n_edges;
        if (n->n_edges) memcpy(edges, from->edges + n->edges, n->n_edges * sizeof *edges);
        n->edges = to->n_edges;
        to->n_edges += n->n_edges;
        for (uint32_t k = 0; k < n->n_children; k++) {
            to->nodes[to->n_nodes] = from->nodes[edges[k].child];
            edges[k].child = to->n_nodes++;
        }
    }
}

/* Start anew in the same memory. */
static void drop_all(trigo_arena *a)
{
    a->nodes[0] = (trigo_node){0};
    a->n_nodes = 1;
    a->n_edges = 0;
    a->full = false;
}

bool trigo_arena_keep(trigo_arena *arena, uint32_t node)
{
    if (!node) {
        drop_all(arena);
        return true;
    }
    trigo_arena copy = {.max_bytes = arena->max_bytes};
    uint32_t n_nodes = 0, n_edges = 0;
    uint8_t *kept = kvf_array(arena->n_nodes, 1);
    if (kept) count_below(arena, node, kept, &n_nodes, &n_edges);
    kvf_free(kept);
    if (!kept || !reserve_nodes(&copy, n_nodes) || !reserve_edges(&copy, n_edges + 1)) {
        trigo_arena_free(&copy);
        drop_all(arena);
        return false;
    }
    copy_below(&copy, arena, node);
    trigo_arena_free(arena);
    *arena = copy;
    return true;
}
