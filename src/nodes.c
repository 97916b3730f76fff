/* nodes.c - the nodes of a tree: look-up, the lists and rings they are on, holds, eviction.
 *
 * Everything here costs the same however large the tree is, but for the walk up a path that
 * becomes kept or idle. Nothing here fails: whoever adds has seen to it that there is room. The
 * words kept, idle and discarded are explained in tree.h. */
#include "tree.h"

static const uint32_t none = KVF_NO_NODE;

/* ---- lists and rings ------------------------------------------------------------------------- */

static void list_remove(kvf_tree *t, kvf_node_list *list, uint32_t i)
{
    kvf_tree_node *n = &t->nodes[i];
    if (n->prev == none)
        list->head = n->next;
    else
        t->nodes[n->prev].next = n->next;
    if (n->next == none)
        list->tail = n->prev;
    else
        t->nodes[n->next].prev = n->prev;
}

static void list_append(kvf_tree *t, kvf_node_list *list, uint32_t i)
{
    t->nodes[i].prev = list->tail;
    t->nodes[i].next = none;
    if (list->tail == none)
        list->head = i;
    else
        t->nodes[list->tail].next = i;
    list->tail = i;
}

static void list_prepend(kvf_tree *t, kvf_node_list *list, uint32_t i)
{
    t->nodes[i].prev = none;
    t->nodes[i].next = list->head;
    if (list->head == none)
        list->tail = i;
    else
        t->nodes[list->head].prev = i;
    list->head = i;
}

static void ring_append(kvf_tree *t, uint32_t *first, uint32_t i)
{
    kvf_tree_node *n = &t->nodes[i];
    if (*first == none) {
        *first = n->left = n->right = i;
        return;
    }
    kvf_tree_node *head = &t->nodes[*first];
    n->left = head->left;
    n->right = *first;
    t->nodes[head->left].right = i;
    head->left = i;
}

static void ring_remove(kvf_tree *t, uint32_t *first, uint32_t i)
{
    kvf_tree_node *n = &t->nodes[i];
    t->nodes[n->left].right = n->right;
    t->nodes[n->right].left = n->left;
    if (*first == i) *first = n->right == i ? none : n->right;
}

/* ---- look-up --------------------------------------------------------------------------------- */

static uint32_t hash_of(uint32_t parent, int32_t token)
{
    uint64_t x = (uint64_t)parent << 32 | (uint32_t)token;
    x = (x ^ x >> 32) * 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
    return (uint32_t)(x >> 32);
}

/* The bucket of a child, or the empty one where the search for it ends. */
static uint32_t bucket_of(const kvf_tree *t, uint32_t hash, uint32_t parent, int32_t token)
{
    uint32_t mask = t->n_buckets - 1, b = hash & mask;
    for (; t->buckets[b].node; b = (b + 1) & mask) {
        if (t->buckets[b].hash != hash) continue;
        const kvf_tree_node *n = &t->nodes[t->buckets[b].node];
        if (n->parent == parent && n->token == token) break;
    }
    return b;
}

uint32_t kvf_nodes_child(const kvf_tree *t, uint32_t parent, int32_t token)
{
    uint32_t node = t->buckets[bucket_of(t, hash_of(parent, token), parent, token)].node;
    return node ? node : none;
}

/* Empty a bucket. What was pushed on by it moves back, so that a search never has to step over
 * the dead and look-ups stay as quick after any number of evictions. */
static void clear_bucket(kvf_tree *t, uint32_t hole)
{
    uint32_t mask = t->n_buckets - 1;
    for (uint32_t b = (hole + 1) & mask; t->buckets[b].node; b = (b + 1) & mask) {
        uint32_t home = t->buckets[b].hash & mask;
        if (((b - home) & mask) < ((b - hole) & mask)) continue;
        t->buckets[hole] = t->buckets[b];
        hole = b;
    }
    t->buckets[hole] = (kvf_tree_bucket){0};
}

uint32_t kvf_nodes_find(const kvf_tree *t, kvf_node handle)
{
    if (handle == KVF_ROOT) return 0;
    uint32_t i = (uint32_t)handle;
    if (i == 0 || i > t->max_tokens) return none;
    const kvf_tree_node *n = &t->nodes[i];
    return n->depth && n->generation == handle >> 32 ? i : none;
}

kvf_node kvf_nodes_handle(const kvf_tree *t, uint32_t node)
{
    return (kvf_node)t->nodes[node].generation << 32 | node;
}

/* ---- paths ----------------------------------------------------------------------------------- */

uint32_t kvf_nodes_ancestor(const kvf_tree *t, uint32_t node, uint32_t depth)
{
    for (;;) {
        const kvf_tree_node *n = &t->nodes[node];
        if (n->depth == depth) return node;
        const kvf_tree_node *head = &t->nodes[n->run_head];
        if (head->depth <= depth) return n->run_head + (depth - head->depth);
        node = head->parent;
    }
}

uint32_t kvf_nodes_runs(const kvf_tree *t, uint32_t node, kvf_run *runs, uint32_t most)
{
    uint32_t n = 0;
    for (uint32_t i = node; i; i = t->nodes[t->nodes[i].run_head].parent) {
        uint32_t head = t->nodes[i].run_head;
        if (n == most) return most + 1;
        runs[n++] = (kvf_run){.first = kvf_tree_slot(head), .count = i - head + 1};
    }
    for (uint32_t i = 0; i < n / 2; i++) {
        kvf_run swap = runs[i];
        runs[i] = runs[n - 1 - i];
        runs[n - 1 - i] = swap;
    }
    return n;
}

/* ---- kept and idle --------------------------------------------------------------------------- */

static bool childless(const kvf_tree_node *n)
{
    return n->idle_child == none && n->kept_child == none;
}

bool kvf_nodes_kept(const kvf_tree *t, uint32_t node)
{
    return node == 0 || t->nodes[node].holds || t->nodes[node].kept_child != none;
}

/* An idle leaf is on one of two lists. */
static void leave_list(kvf_tree *t, uint32_t leaf)
{
    kvf_tree_node *n = &t->nodes[leaf];
    list_remove(t, n->discarded ? &t->discarded : &t->leaves, leaf);
    n->discarded = 0;
}

void kvf_nodes_hold(kvf_tree *t, uint32_t node)
{
    bool kept = kvf_nodes_kept(t, node);
    if (!kept && childless(&t->nodes[node])) leave_list(t, node);
    t->nodes[node].holds++;
    while (!kept) {
        kvf_tree_node *n = &t->nodes[node], *parent = &t->nodes[n->parent];
        t->evictable--;
        kept = kvf_nodes_kept(t, n->parent);
        ring_remove(t, &parent->idle_child, node);
        ring_append(t, &parent->kept_child, node);
        node = n->parent;
    }
}

/* Only changes between kept and idle go up: hold and release cost the same however deep the node
 * lies, as long as something near it is held, and a long path pays once when it falls idle. */
void kvf_nodes_release(kvf_tree *t, uint32_t node)
{
    t->nodes[node].holds--;
    while (!kvf_nodes_kept(t, node)) {
        kvf_tree_node *n = &t->nodes[node], *parent = &t->nodes[n->parent];
        n->used = t->clock;
        t->evictable++;
        ring_remove(t, &parent->kept_child, node);
        ring_append(t, &parent->idle_child, node);
        if (n->idle_child == none) list_append(t, &t->leaves, node);
        node = n->parent;
    }
}

/* ---- what goes first ------------------------------------------------------------------------- */

static void make_discarded(kvf_tree *t, uint32_t node, uint64_t when)
{
    kvf_tree_node *n = &t->nodes[node];
    if (n->discarded)
        list_remove(t, &t->discarded, node);
    else if (childless(n) && !kvf_nodes_kept(t, node))
        list_remove(t, &t->leaves, node);
    if (when > n->discarded) n->discarded = when;
    list_prepend(t, &t->discarded, node);
}

void kvf_nodes_discard(kvf_tree *t, uint32_t node)
{
    if (node && t->nodes[node].holds) return; /* it shields itself and what lies below */
    if (node == 0 && childless(&t->nodes[0])) return;
    make_discarded(t, node, ++t->clock);
}

/* The kept children that are only on the way to a held node are discarded in their parent's place;
 * those that are held are not. */
static void pass_down(kvf_tree *t, uint32_t root)
{
    uint32_t first = t->nodes[root].kept_child, child = first;
    if (first == none) return;
    do {
        if (!t->nodes[child].holds) make_discarded(t, child, t->nodes[root].discarded);
        child = t->nodes[child].right;
    } while (child != first);
}

/* An idle leaf below a discarded root, or that root itself; KVF_NO_NODE if there is none. */
static uint32_t discarded_leaf(kvf_tree *t)
{
    while (t->discarded.head != none) {
        uint32_t root = t->discarded.head;
        kvf_tree_node *n = &t->nodes[root];
        bool shields = root && n->holds;
        uint32_t child = shields ? none : n->idle_child;
        if (child != none && t->nodes[child].used <= n->discarded) {
            if (childless(&t->nodes[child])) return child;
            make_discarded(t, child, n->discarded);
        } else if (root && childless(n)) {
            return root;
        } else {
            if (!shields) pass_down(t, root);
            list_remove(t, &t->discarded, root);
            n->discarded = 0;
        }
    }
    return none;
}

/* A node that lost its last child. It joins the leaves where its last use says, as far as that
 * can be told at constant cost: a path falls idle at once, so its nodes, one after the other, are
 * mostly the oldest; a parent that was used since its child is not. */
static void lost_last_child(kvf_tree *t, uint32_t node)
{
    kvf_tree_node *n = &t->nodes[node];
    bool kept = kvf_nodes_kept(t, node);
    if (node && n->discarded) {
        if (!kept && n->used <= n->discarded) return; /* it is the next to go */
        list_remove(t, &t->discarded, node);
        n->discarded = 0;
    }
    if (kept) return;
    if (t->leaves.head == none || n->used <= t->nodes[t->leaves.head].used)
        list_prepend(t, &t->leaves, node);
    else
        list_append(t, &t->leaves, node);
}

void kvf_nodes_remove(kvf_tree *t, uint32_t node)
{
    kvf_tree_node *n = &t->nodes[node], *parent = &t->nodes[n->parent];
    leave_list(t, node);
    ring_remove(t, &parent->idle_child, node);
    clear_bucket(t, bucket_of(t, hash_of(n->parent, n->token), n->parent, n->token));
    n->generation++;
    n->depth = 0;
    t->evictable--;
    t->n_nodes--;
    list_prepend(t, &t->free, node);
    if (childless(parent)) lost_last_child(t, n->parent);
}

static void evict(kvf_tree *t)
{
    uint32_t node = discarded_leaf(t);
    kvf_nodes_remove(t, node == none ? t->leaves.head : node);
    t->evicted++;
}

/* A path falls from its end on. Taken back one by one, its places would be used again backwards,
 * and a new path would lie in pieces of one token; so some are taken at a time. */
static void make_room(kvf_tree *t)
{
    enum { MOST = 64, SHARE = 64 }; /* at most so many, and of the tree's tokens one in so many */
    uint32_t n = t->max_tokens / SHARE < MOST ? t->max_tokens / SHARE : MOST;
    do evict(t);
    while (n-- > 1 && t->evictable);
}

/* The place behind its parent's, if it is free. A first child else starts where the last node went,
 * with the places behind that one mostly free; further children, of which most never grow, start
 * at the other end of the list, so that they do not lie in a path's way. */
static uint32_t place_for_child(const kvf_tree *t, uint32_t parent)
{
    uint32_t next = parent + 1;
    if (next <= t->max_tokens && !t->nodes[next].depth) return next;
    return childless(&t->nodes[parent]) ? t->free.head : t->free.tail;
}

uint32_t kvf_nodes_add(kvf_tree *t, uint32_t parent, int32_t token)
{
    if (t->free.head == none) make_room(t);
    uint32_t node = place_for_child(t, parent);
    list_remove(t, &t->free, node);

    kvf_tree_node *n = &t->nodes[node], *p = &t->nodes[parent];
    bool goes_on = parent && kvf_tree_slot(node) == kvf_tree_slot(parent) + 1;
    *n = (kvf_tree_node){.parent = parent,
                         .token = token,
                         .depth = p->depth + 1,
                         .generation = n->generation,
                         .holds = 1,
                         .run_head = goes_on ? p->run_head : node,
                         .idle_child = none,
                         .kept_child = none};
    ring_append(t, &p->kept_child, node);
    uint32_t hash = hash_of(parent, token);
    t->buckets[bucket_of(t, hash, parent, token)] = (kvf_tree_bucket){.node = node, .hash = hash};
    t->n_nodes++;
    return node;
}

void kvf_nodes_reset(kvf_tree *t)
{
    t->free = t->leaves = t->discarded = (kvf_node_list){none, none};
    t->nodes[0].idle_child = t->nodes[0].kept_child = none;
    /* Places to start a branch at, far from each other first: every GAP-th, then between them. The
     * gap is prime, so that the K and V of branches do not fall into the same sets of the
     * processor's caches; 23 is 61 over the golden ratio squared, so each round halves the widest
     * gaps. One block of places after the other, so that nodes used together lie together. */
    enum { GAP = 61, SHARE = 23, BLOCK = GAP * 64 };
    for (uint32_t start = 1; start <= t->max_tokens; start += BLOCK)
        for (uint32_t round = 0; round < GAP; round++)
            for (uint32_t k = round * SHARE % GAP; k < BLOCK; k += GAP) {
                if (start + k > t->max_tokens) break;
                t->nodes[start + k].generation = 1;
                list_append(t, &t->free, start + k);
            }
}
