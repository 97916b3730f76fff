/* tree.h - the inside of a tree: nodes, what keeps them, what goes first, and the pass being built.
 *
 * A prompt, two branches, and a batch of three entries in flight (index:token, [h] held):
 *
 *   0 ── 1:the ── 2:cat ── 3:sat ── 4:down [h]        slots   0    1    2    3   ..   60
 *                    │                                       the  cat  sat  down      ran
 *                    └──── 61:ran ┄┄ 62:off           node i has slot i - 1 today, but node and
 *                                └┄┄ 5:home           slot are different numbers: see
 *                                                     kvf_tree_slot
 * Nodes 1 to 4 are one run: each took the place behind its parent's. 61 starts a run of its own,
 * and 62 goes on with it; 5 starts a third. Places to start at are handed out far from each other,
 * so that branches which grow in turn do not take each other's next place.
 *
 * Kept and idle. A node is kept if it is held or has a kept child; all others are idle, mere
 * cache. Both kinds of children are in rings of their own, so "has a kept child" is one look and
 * the walk up from hold and release ends where nothing changes. An idle node has idle
 * descendants only, so every idle node can be evicted, leaves first, and their number (evictable)
 * is known at all times. Above, 1 to 4 are kept; while the batch runs it holds what it names and
 * what it adds, so that making room cannot take these away. After it:
 *
 *   0 ── 1:the ── 2:cat ── 3:sat ── 4:down [h]        idle: 61, 62, 5; leaves: 5, 62
 *                    └──── 61:ran ─── 62:off          the list of leaves: 5, 62 (old to new:
 *                                 └── 5:home         the later of a batch go first)
 *
 * Room for one more node evicts 5, for two 62, for three 61, which became a leaf. Every idle node
 * knows when it was last used (a clock of calls; when it became idle), a parent never earlier
 * than its children, and rings of idle children are in that order.
 *
 * Discarding puts a node on a list of discarded roots with the time, and nothing else. Victims
 * are taken from there first: the oldest idle child of the newest root, if it was not used since;
 * a child with children of its own becomes a discarded root before it. When only kept children
 * are left, those that are on the path to a held node, but not held, take their parent's place.
 * So what was used after it was discarded is normal cache again, and a held node shields what lies
 * below it. Every step removes a node or moves one down once.
 *
 * Who is where: nodes.c nodes, rings and lists; tree.c creation and the calls about single nodes;
 * eval.c from batches to nodes; pass.c from nodes to rows; tree_check.c the rules above, for
 * tests. */
#ifndef KVF_TREE_H
#define KVF_TREE_H

#include "model.h"

#define KVF_NO_NODE UINT32_MAX

enum {
    KVF_MAX_TOKENS = 1 << 30, /* of one tree: indices and bucket counts stay in 32 bits */
    KVF_PASS_ROWS = 512,      /* of one pass at most; a batch of more runs as several */
};

typedef struct kvf_tree_node { /* 64 bytes: one line of cache */
    uint32_t parent;
    int32_t token;
    uint32_t depth;      /* position + 1; 0: the root, or not in use */
    uint32_t generation; /* grows when the node goes */
    uint32_t holds;      /* of callers, and of the batch that runs */
    uint32_t run_head;   /* the first node of the run of neighbouring slots up to here */
    uint32_t idle_child, kept_child; /* the first of each ring; idle: the least recently used */
    uint32_t left, right;            /* in the ring of siblings */
    uint32_t prev, next;             /* in the one list that it is on: free, leaves or discarded */
    uint64_t used;      /* clock when it became idle; 0: the batch that runs added it */
    uint64_t discarded; /* clock when it was; 0: not on the list of discarded roots */
} kvf_tree_node;

typedef struct kvf_node_list {
    uint32_t head, tail;
} kvf_node_list;

typedef struct kvf_tree_bucket {
    uint32_t node; /* 0: empty */
    uint32_t hash; /* of parent and token, so that most look-ups touch one node only */
} kvf_tree_bucket;

/* The pass being built; sized at creation, used again by every pass. */
typedef struct kvf_pass_buffers {
    uint32_t n_rows, n_runs;
    kvf_row *rows;              /* [limits.rows] */
    uint32_t *row_node;         /* [limits.rows] */
    bool *extended;             /* [limits.rows] another row goes on with the row's list of runs */
    float **head[KVF_HEADS];    /* [limits.rows] where outputs go */
    kvf_run *runs;              /* [limits.runs] */
    uint32_t *path;             /* [limits.depth] nodes of one path; no-cache trees only */
    uint32_t *mark;             /* [n_buckets] see pass.c; eval.c counts with it before a pass */
    uint32_t *first[KVF_HEADS]; /* [max_tokens + 1] 1 + rank of the first entry of the batch that
                                   wants this head of the node, 0: none; NULL: no such head */
} kvf_pass_buffers;

struct kvf_tree {
    const struct kvf_model *model; /* borrowed */
    void *engine;                  /* the K and V rows themselves; state of model->ops */
    kvf_limits limits;
    uint32_t max_tokens, n_nodes, evictable;
    bool no_cache;
    uint64_t clock; /* of calls that use nodes */
    kvf_node_list free;
    kvf_node_list leaves;    /* idle, old to new; not those that are discarded roots */
    kvf_node_list discarded; /* roots of what goes first, newest first */
    uint32_t n_buckets;      /* a power of two >= 2 * (max_tokens + 1) */
    kvf_tree_node *nodes;    /* [max_tokens + 1] node 0 is the root */
    kvf_tree_bucket *buckets;
    kvf_node *at; /* [max_tokens] what eval.c knows of entries if the caller gives no array */
    uint32_t max_chain;
    kvf_entry *chain; /* [max_chain] what a cursor appends in one batch */
    kvf_pass_buffers pass;
    void *memory; /* all arrays above */
    uint64_t memory_bytes;
    uint64_t evicted, matched, evaluated, calls, passes;
};

static inline uint32_t kvf_tree_slot(uint32_t node)
{
    return node - 1;
}

/* ---- nodes.c --------------------------------------------------------------------------------- */

void kvf_nodes_reset(kvf_tree *t); /* from zeroed arrays to an empty tree */
/* The index behind a handle, or KVF_NO_NODE if it is stale; and back. */
uint32_t kvf_nodes_find(const kvf_tree *t, kvf_node handle);
kvf_node kvf_nodes_handle(const kvf_tree *t, uint32_t node);
/* The child of that token, or KVF_NO_NODE. */
uint32_t kvf_nodes_child(const kvf_tree *t, uint32_t parent, int32_t token);
/* Add a child that is not there, held once. The parent is kept; a node is free or idle. */
uint32_t kvf_nodes_add(kvf_tree *t, uint32_t parent, int32_t token);
/* Take an idle leaf out. */
void kvf_nodes_remove(kvf_tree *t, uint32_t node);
void kvf_nodes_hold(kvf_tree *t, uint32_t node);
void kvf_nodes_release(kvf_tree *t, uint32_t node);
void kvf_nodes_discard(kvf_tree *t, uint32_t node);
bool kvf_nodes_kept(const kvf_tree *t, uint32_t node);
/* The ancestor at that depth, or the node itself. */
uint32_t kvf_nodes_ancestor(const kvf_tree *t, uint32_t node, uint32_t depth);
/* Runs of the path to a node, in order of depth; returns how many, or most + 1 for more. */
uint32_t kvf_nodes_runs(const kvf_tree *t, uint32_t node, kvf_run *runs, uint32_t most);

/* ---- pass.c ---------------------------------------------------------------------------------- */

/* Add the row of a node to the pass; one that is full runs first. */
kvf_status kvf_pass_add(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err);
/* Without cache: add the whole path of a node, in slots of its own. Outputs are written by the
 * first path of a batch that a node is on. */
kvf_status kvf_pass_add_path(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err);
/* Without cache: say that a node is wanted, so that its ancestors need no path of their own; ask
 * that; forget it. */
void kvf_pass_cover(kvf_tree *t, uint32_t node);
bool kvf_pass_covered(const kvf_tree *t, uint32_t node);
void kvf_pass_uncover(kvf_tree *t, uint32_t node);
/* Run what was added. */
kvf_status kvf_pass_run(kvf_tree *t, bool keep, kvf_error *err);

/* ---- tree_check.c ---------------------------------------------------------------------------- */

/* Whether every rule above holds between two calls; if not, reason says which is broken. Walks the
 * whole tree: for tests. */
bool kvf_tree_validate(const kvf_tree *t, const char **reason);
#endif
