/* eval.c - kvf_eval: from the entries of a batch to nodes of the tree, and back on failure.
 *
 *   check      every entry, before anything changes
 *   find       nodes that are there: hold them, so that making room cannot take them away
 *   count      what is missing: refuse the batch if it cannot fit
 *   add        the missing nodes, evicting others; equal entries find the first one's node
 *   note       who wants what: one row serves all entries of a node
 *   run        rows in the order of the entries, pass by pass (pass.c)
 *   copy       outputs to the entries whose node another entry had first
 *   finish     let go of everything; after a failure take the added nodes out again
 *
 * One word per entry is remembered between the steps: in the caller's array of nodes if there is
 * one, else in the tree's. Everything else is kept per node. So memory does not grow with the
 * batch. */
#include "tree.h"

#include <string.h>

typedef struct batch {
    const kvf_entry *entries;
    size_t n;
    const kvf_outputs *out; /* NULL if nothing is wanted */
    kvf_node *at; /* [n] first the depth, then the node and these flags, at last handles */
} batch;

#define ADDED   ((kvf_node)1 << 32) /* the entry that brought the node */
#define ROW     ((kvf_node)1 << 33) /* the row of the node runs when this entry's turn comes */
#define MISSING ((kvf_node)1 << 34) /* not a node yet, but the first entry that is equal */

static uint32_t node_at(const batch *b, size_t i)
{
    return (uint32_t)b->at[i];
}

/* The parent that an entry names by handle. */
static uint32_t named_parent(const kvf_tree *t, const kvf_entry *e)
{
    return kvf_nodes_find(t, e->parent);
}

/* ---- check ----------------------------------------------------------------------------------- */

static kvf_status check_wants(const kvf_tree *t, const batch *b, size_t i, kvf_error *err)
{
    static const char *const names[KVF_HEADS] = {"logits", "policy", "value", "hidden"};
    uint32_t want = b->entries[i].want;
    if (want >> KVF_HEADS)
        return kvf_fail(err, KVF_ERR_ARG, "entries[%zu].want is 0x%x, but there are %d heads", i,
                        want, KVF_HEADS);
    for (int h = 0; h < KVF_HEADS; h++) {
        if (!(want & KVF_WANT(h))) continue;
        if (!t->model->info.width[h])
            return kvf_fail(err, KVF_ERR_ARG, "entries[%zu] wants %s, which the model has not", i,
                            names[h]);
        if (!b->out || !b->out->head[h])
            return kvf_fail(err, KVF_ERR_ARG, "entries[%zu] wants %s, but out has no place for it",
                            i, names[h]);
    }
    return KVF_OK;
}

static kvf_status check_entry(const kvf_tree *t, const batch *b, size_t i, kvf_error *err)
{
    const kvf_entry *e = &b->entries[i];
    uint32_t vocab = t->model->info.vocab, context = t->model->info.context;
    if (e->token < 0 || (uint32_t)e->token >= vocab)
        return kvf_fail(err, KVF_ERR_ARG, "entries[%zu].token is %d, but vocab is %u", i, e->token,
                        vocab);
    if (e->after < -1 || (e->after >= 0 && (size_t)e->after >= i))
        return kvf_fail(err, KVF_ERR_ARG,
                        "entries[%zu].after is %d, but should be an earlier entry or -1", i,
                        e->after);
    uint64_t depth;
    if (e->after >= 0) {
        depth = b->at[e->after] + 1;
    } else {
        uint32_t parent = named_parent(t, e);
        if (parent == KVF_NO_NODE)
            return kvf_fail(err, KVF_ERR_STALE, "entries[%zu].parent is a node that has gone", i);
        depth = (uint64_t)t->nodes[parent].depth + 1;
    }
    if (context && depth > context)
        return kvf_fail(err, KVF_ERR_ARG,
                        "entries[%zu] is token %llu of its path, but the context is %u", i,
                        (unsigned long long)depth, context);
    if (depth > t->limits.depth)
        return kvf_fail(err, KVF_ERR_ARG,
                        "entries[%zu] is token %llu of its path, but the tree stores %u tokens", i,
                        (unsigned long long)depth, t->max_tokens);
    b->at[i] = depth;
    return check_wants(t, b, i, err);
}

static kvf_status check_batch(const kvf_tree *t, batch *b, kvf_node *nodes, kvf_error *err)
{
    if (b->n == 0 || b->n > INT32_MAX)
        return kvf_fail(err, KVF_ERR_ARG, "a batch of %zu entries; it should have 1 to %d", b->n,
                        INT32_MAX);
    if (!nodes && b->n > t->max_tokens)
        return kvf_fail(err, KVF_ERR_ARG,
                        "%zu entries without an array for their nodes; of a tree of %u tokens that "
                        "many may do without",
                        b->n, t->max_tokens);
    b->at = nodes ? nodes : t->at;
    for (size_t i = 0; i < b->n; i++) {
        kvf_status status = check_entry(t, b, i, err);
        if (status) return status;
    }
    return KVF_OK;
}

/* ---- find and count -------------------------------------------------------------------------- */

/* Hold what the batch names and the tree has; returns the number of entries that it has not. */
static size_t hold_existing(kvf_tree *t, batch *b)
{
    size_t missing = 0;
    for (size_t i = 0; i < b->n; i++) {
        const kvf_entry *e = &b->entries[i];
        kvf_node parent = e->after < 0 ? named_parent(t, e) : b->at[e->after];
        if (e->after < 0) kvf_nodes_hold(t, (uint32_t)parent);
        uint32_t node =
            parent & MISSING ? KVF_NO_NODE : kvf_nodes_child(t, (uint32_t)parent, e->token);
        if (node == KVF_NO_NODE) {
            missing++;
            b->at[i] = MISSING | i;
        } else {
            kvf_nodes_hold(t, node);
            b->at[i] = node;
        }
    }
    return missing;
}

/* Whether the missing entries are more than room, counting equal ones once. They are equal if
 * their tokens are and their parents, which are nodes or missing entries themselves: at then
 * names the first of the equal ones. The set of first ones is an open table of entries in
 * pass.mark, which is at least twice as large as room. */
static bool more_than(kvf_tree *t, batch *b, uint32_t room)
{
    uint32_t *set = t->pass.mark, mask = t->n_buckets - 1;
    size_t bytes = (size_t)t->n_buckets * sizeof *set, count = 0;
    memset(set, 0, bytes);
    for (size_t i = 0; i < b->n && count <= room; i++) {
        if (!(b->at[i] & MISSING)) continue;
        const kvf_entry *e = &b->entries[i];
        kvf_node parent = e->after < 0 ? named_parent(t, e) : b->at[e->after];
        uint32_t slot = (uint32_t)((parent * 31 + (uint32_t)e->token) * 0x9e3779b97f4a7c15u >> 32);
        for (slot &= mask; set[slot]; slot = (slot + 1) & mask) {
            const kvf_entry *other = &b->entries[set[slot] - 1];
            kvf_node others = other->after < 0 ? named_parent(t, other) : b->at[other->after];
            if (others == parent && other->token == e->token) break;
        }
        if (!set[slot]) {
            set[slot] = (uint32_t)i + 1;
            count++;
        }
        b->at[i] = MISSING | (set[slot] - 1);
    }
    memset(set, 0, bytes);
    return count > room;
}

static kvf_status check_room(kvf_tree *t, batch *b, size_t missing, kvf_error *err)
{
    uint32_t room = t->max_tokens - t->n_nodes + t->evictable;
    if (missing <= room || !more_than(t, b, room)) return KVF_OK;
    return kvf_fail(err, KVF_ERR_FULL,
                    "the batch adds more nodes than the %u, of %u, that are free or neither held "
                    "nor named by the batch itself",
                    room, t->max_tokens);
}

/* ---- add and note ---------------------------------------------------------------------------- */

static void add_missing(kvf_tree *t, batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        if (!(b->at[i] & MISSING)) continue;
        const kvf_entry *e = &b->entries[i];
        uint32_t parent = e->after < 0 ? named_parent(t, e) : node_at(b, (size_t)e->after);
        uint32_t node = kvf_nodes_child(t, parent, e->token);
        if (node != KVF_NO_NODE) {
            kvf_nodes_hold(t, node);
            b->at[i] = node;
        } else {
            b->at[i] = ADDED | kvf_nodes_add(t, parent, e->token);
        }
    }
}

/* Whether an entry so far wants an output of this node. */
static bool wanted(const kvf_tree *t, uint32_t node)
{
    for (int h = 0; h < KVF_HEADS; h++)
        if (t->pass.first[h] && t->pass.first[h][node]) return true;
    return false;
}

/* Remember for every node which entry wants each head first, and choose the entry at which its row
 * runs. An added node runs with the entry that brought it, since later ones may go on from it; a
 * node that was there, or has no row to store, only if something is wanted. */
static void note_wants(kvf_tree *t, batch *b)
{
    uint32_t rank[KVF_HEADS] = {0};
    for (size_t i = 0; i < b->n; i++) {
        uint32_t node = node_at(b, i), want = b->entries[i].want;
        bool first_want = want && !wanted(t, node);
        for (int h = 0; h < KVF_HEADS; h++) {
            if (!(want & KVF_WANT(h))) continue;
            uint32_t *first = &t->pass.first[h][node];
            rank[h]++;
            if (!*first) *first = rank[h];
        }
        bool computed = !t->no_cache && !t->nodes[node].used;
        if (computed ? b->at[i] & ADDED : first_want) b->at[i] |= ROW;
    }
}

/* ---- run and copy ---------------------------------------------------------------------------- */

static kvf_status run_rows(kvf_tree *t, const batch *b, kvf_error *err)
{
    for (size_t i = 0; i < b->n; i++) {
        if (!(b->at[i] & ROW)) continue;
        kvf_status status = kvf_pass_add(t, node_at(b, i), b->out, err);
        if (status) return status;
    }
    return kvf_pass_run(t, true, err);
}

static kvf_status run_paths(kvf_tree *t, const batch *b, kvf_error *err)
{
    for (size_t i = 0; i < b->n; i++)
        if (b->at[i] & ROW) kvf_pass_cover(t, node_at(b, i));
    for (size_t i = 0; i < b->n; i++) {
        uint32_t node = node_at(b, i);
        if (!(b->at[i] & ROW) || kvf_pass_covered(t, node)) continue;
        kvf_status status = kvf_pass_add_path(t, node, b->out, err);
        if (status) return status;
    }
    return kvf_pass_run(t, false, err);
}

static void copy_outputs(const kvf_tree *t, const batch *b)
{
    uint32_t rank[KVF_HEADS] = {0};
    for (size_t i = 0; i < b->n; i++)
        for (int h = 0; h < KVF_HEADS; h++) {
            if (!(b->entries[i].want & KVF_WANT(h))) continue;
            size_t width = t->model->info.width[h];
            uint32_t first = t->pass.first[h][node_at(b, i)];
            float *rows = b->out->head[h];
            if (++rank[h] != first)
                memcpy(rows + (rank[h] - 1) * width, rows + (first - 1) * width,
                       width * sizeof *rows);
        }
}

/* ---- finish ---------------------------------------------------------------------------------- */

/* Backwards: children before parents, and all that are equal to an added one before it. So the
 * entries at the end of a batch are evicted before those at its start. */
static void finish(kvf_tree *t, batch *b, bool failed)
{
    uint64_t matched = 0;
    for (size_t i = b->n; i-- > 0;) {
        const kvf_entry *e = &b->entries[i];
        uint32_t node = node_at(b, i);
        bool added = b->at[i] & ADDED;
        if (t->no_cache) kvf_pass_uncover(t, node);
        for (int h = 0; h < KVF_HEADS; h++)
            if (e->want & KVF_WANT(h)) t->pass.first[h][node] = 0;
        b->at[i] = kvf_nodes_handle(t, node);
        kvf_nodes_release(t, node);
        if (e->after < 0) kvf_nodes_release(t, named_parent(t, e));
        if (failed && added) kvf_nodes_remove(t, node);
        matched += !added;
    }
    if (!failed) t->matched += matched;
}

/* A batch that cannot fit: let go of what was found. */
static void refuse(kvf_tree *t, const batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        const kvf_entry *e = &b->entries[i];
        if (!(b->at[i] & MISSING)) kvf_nodes_release(t, node_at(b, i));
        if (e->after < 0) kvf_nodes_release(t, named_parent(t, e));
    }
}

kvf_status kvf_eval(kvf_tree *t, const kvf_entry *entries, size_t n, kvf_node *nodes,
                    const kvf_outputs *out, kvf_error *err)
{
    batch b = {.entries = entries, .n = n, .out = out};
    kvf_status status = check_batch(t, &b, nodes, err);
    if (status) return status;
    t->calls++;
    t->clock++;
    size_t missing = hold_existing(t, &b);
    status = check_room(t, &b, missing, err);
    if (status) {
        refuse(t, &b);
        return status;
    }
    add_missing(t, &b);
    note_wants(t, &b);
    status = t->no_cache ? run_paths(t, &b, err) : run_rows(t, &b, err);
    if (!status) copy_outputs(t, &b);
    finish(t, &b, status != KVF_OK);
    return status;
}
