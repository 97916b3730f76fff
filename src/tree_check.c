/* tree_check.c - the rules of tree.h, looked at from outside the code that keeps them.
 *
 * Counts and walks with bounds, so that a broken tree is reported and not followed for ever. */
#include "tree.h"

static const uint32_t none = KVF_NO_NODE;

/* Say what is broken; false, so that it can be returned. */
static bool broken(const char **reason, const char *what)
{
    *reason = what;
    return false;
}

/* How many nodes are on a list, or UINT32_MAX if it is not one. */
static uint32_t list_length(const kvf_tree *t, kvf_node_list list)
{
    uint32_t n = 0, last = none;
    for (uint32_t i = list.head; i != none; i = t->nodes[i].next) {
        if (i > t->max_tokens || t->nodes[i].prev != last || n > t->max_tokens) return UINT32_MAX;
        last = i;
        n++;
    }
    return last == list.tail ? n : UINT32_MAX;
}

static bool on_list(const kvf_tree *t, kvf_node_list list, uint32_t node)
{
    const kvf_tree_node *n = &t->nodes[node];
    return (n->prev == none ? list.head == node : t->nodes[n->prev].next == node) &&
           (n->next == none ? list.tail == node : t->nodes[n->next].prev == node);
}

/* Every child of one ring: whose it is, kept or idle as the ring says, idle ones in order of use
 * and never used after an idle parent. */
static bool check_ring(const kvf_tree *t, uint32_t parent, uint32_t first, bool kept,
                       uint32_t *children, const char **reason)
{
    uint64_t used = 0;
    uint32_t i = first;
    if (first == none) return true;
    do {
        if (i == 0 || i > t->max_tokens || ++*children > t->n_nodes)
            return broken(reason, "a ring of children does not close");
        const kvf_tree_node *n = &t->nodes[i];
        if (t->nodes[n->right].left != i) return broken(reason, "a ring of children is torn");
        if (!n->depth || n->parent != parent) return broken(reason, "a ring has another's child");
        if (kvf_nodes_kept(t, i) != kept) return broken(reason, "a child is in the wrong ring");
        if (!kept && n->used < used) return broken(reason, "idle children are out of order");
        if (!kept && !kvf_nodes_kept(t, parent) && n->used > t->nodes[parent].used)
            return broken(reason, "an idle node was used after its idle parent");
        used = n->used;
        i = n->right;
    } while (i != first);
    return true;
}

static bool check_lists(const kvf_tree *t, uint32_t node, const char **reason)
{
    const kvf_tree_node *n = &t->nodes[node];
    bool leaf = n->idle_child == none && n->kept_child == none;
    bool idle_leaf = leaf && !kvf_nodes_kept(t, node);
    if (n->discarded && !on_list(t, t->discarded, node))
        return broken(reason, "a discarded root is not on its list");
    if (node && n->discarded && leaf && (!idle_leaf || n->used > n->discarded))
        return broken(reason, "a leaf that is kept, or was used since, is a discarded root");
    if (idle_leaf && !n->discarded && !on_list(t, t->leaves, node))
        return broken(reason, "an idle leaf is not on the list of leaves");
    return true;
}

static bool check_node(const kvf_tree *t, uint32_t node, const char **reason)
{
    const kvf_tree_node *n = &t->nodes[node], *p = &t->nodes[n->parent];
    if (n->parent > t->max_tokens || n->depth != p->depth + 1 || (n->parent && !p->depth))
        return broken(reason, "a node and its parent do not fit");
    if (kvf_nodes_child(t, n->parent, n->token) != node)
        return broken(reason, "a node is not found by parent and token");
    bool goes_on = n->parent && node == n->parent + 1;
    if (n->run_head != (goes_on ? p->run_head : node))
        return broken(reason, "a node names the wrong first node of its run");
    if (n->depth > t->limits.depth) return broken(reason, "a path is too long");
    if (n->used > t->clock || n->discarded > t->clock)
        return broken(reason, "a node was used in the future");
    if (!n->used) return broken(reason, "a node outlived a batch that nobody finished");
    for (int h = 0; h < KVF_HEADS; h++)
        if (t->pass.first[h] && t->pass.first[h][node])
            return broken(reason, "what a batch wanted was not forgotten");
    return true;
}

bool kvf_tree_validate(const kvf_tree *t, const char **reason)
{
    uint32_t nodes = 0, children = 0, idle = 0, idle_leaves = 0, discarded = 0, filled = 0;
    for (uint32_t i = 0; i <= t->max_tokens; i++) {
        const kvf_tree_node *n = &t->nodes[i];
        if (i && !n->depth) {
            if (!on_list(t, t->free, i)) return broken(reason, "an unused node is not free");
            continue;
        }
        nodes++;
        if (i && !check_node(t, i, reason)) return false;
        if (!check_ring(t, i, n->idle_child, false, &children, reason)) return false;
        if (!check_ring(t, i, n->kept_child, true, &children, reason)) return false;
        if (!check_lists(t, i, reason)) return false;
        bool is_idle = !kvf_nodes_kept(t, i), leaf = n->idle_child == none;
        idle += is_idle;
        idle_leaves += is_idle && leaf && !n->discarded;
        discarded += n->discarded != 0;
    }
    for (uint32_t i = 0; i < t->n_buckets; i++) filled += t->buckets[i].node != 0;
    if (nodes != t->n_nodes + 1) return broken(reason, "nodes are miscounted");
    if (children != t->n_nodes) return broken(reason, "a node is in no ring");
    if (filled != t->n_nodes) return broken(reason, "the table holds nodes that are not there");
    if (idle != t->evictable) return broken(reason, "evictable nodes are miscounted");
    if (list_length(t, t->leaves) != idle_leaves)
        return broken(reason, "the list of leaves holds others");
    if (list_length(t, t->discarded) != discarded)
        return broken(reason, "the list of discarded roots holds others");
    if (list_length(t, t->free) != t->max_tokens - t->n_nodes)
        return broken(reason, "the list of free nodes holds others");
    return true;
}
