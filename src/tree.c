/* tree.c - a tree as its callers see it: creation within a budget, and the calls about single
 * nodes. What happens inside is in nodes.c, batches are in eval.c.
 *
 * All arrays lie in one block, and one function gives each its place: once without a block, for
 * its size, and once with it. So what kvf_tree_bytes says is what kvf_tree_create takes. */
#include "tree.h"

/* ---- size ------------------------------------------------------------------------------------ */

static void place_arrays(kvf_tree *t, kvf_block *b)
{
    kvf_pass_buffers *p = &t->pass;
    uint64_t n = (uint64_t)t->max_tokens + 1, rows = t->limits.rows;
    t->nodes = kvf_place(b, n, sizeof *t->nodes);
    t->buckets = kvf_place(b, t->n_buckets, sizeof *t->buckets);
    t->at = kvf_place(b, t->max_tokens, sizeof *t->at);
    t->chain = kvf_place(b, t->max_chain, sizeof *t->chain);
    p->rows = kvf_place(b, rows, sizeof *p->rows);
    p->row_node = kvf_place(b, rows, sizeof *p->row_node);
    p->extended = kvf_place(b, rows, sizeof *p->extended);
    p->runs = kvf_place(b, t->limits.runs, sizeof *p->runs);
    p->path = kvf_place(b, t->no_cache ? t->limits.depth : 0, sizeof *p->path);
    p->mark = kvf_place(b, t->n_buckets, sizeof *p->mark);
    for (int h = 0; h < KVF_HEADS; h++) {
        p->head[h] = kvf_place(b, rows, sizeof *p->head[h]);
        if (t->model->info.width[h]) p->first[h] = kvf_place(b, n, sizeof *p->first[h]);
    }
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Everything about a tree that follows from its options. */
static void set_sizes(kvf_tree *t, const kvf_model *model, uint32_t max_tokens, bool no_cache)
{
    uint32_t context = model->info.context;
    *t = (kvf_tree){.model = model, .max_tokens = max_tokens};
    t->no_cache = no_cache || !model->info.caches;
    t->limits.depth = context ? smaller(context, max_tokens) : max_tokens;
    t->limits.rows = smaller(max_tokens, KVF_PASS_ROWS);
    /* A graph without a past cannot go on from rows of another pass. */
    if (!model->info.caches && t->limits.rows < t->limits.depth) t->limits.rows = t->limits.depth;
    t->limits.slots = max_tokens;
    if (t->no_cache)
        t->limits.slots = t->limits.rows > t->limits.depth ? t->limits.rows : t->limits.depth;
    /* A pass, or without cache a whole path, which would else be computed again for every part. */
    t->max_chain = t->no_cache ? t->limits.depth : t->limits.rows;
    /* Any one path fits; beyond that, branches of this many pieces on average. */
    enum { RUNS_PER_ROW = 64 };
    t->limits.runs = t->limits.depth + RUNS_PER_ROW * t->limits.rows;
    t->n_buckets = 4;
    while (t->n_buckets < 2 * ((uint64_t)max_tokens + 1)) t->n_buckets *= 2;
}

/* Bytes of a tree without and with what the engine takes for it. */
static uint64_t bookkeeping(const kvf_model *model, uint32_t max_tokens, bool no_cache,
                            uint64_t *with_engine)
{
    kvf_tree t;
    kvf_block b = {0};
    set_sizes(&t, model, max_tokens, no_cache);
    place_arrays(&t, &b);
    uint64_t bytes = b.used + sizeof t;
    if (!kvf_add(bytes, model->ops->bytes(model->engine, &t.limits), with_engine))
        *with_engine = UINT64_MAX;
    return bytes;
}

/* The most tokens, up to max_tokens, that fit into max_bytes: 0 if not even one does. */
static uint32_t tokens_within(const kvf_model *model, uint32_t max_tokens, uint64_t max_bytes,
                              bool no_cache)
{
    uint32_t fits = 0, too_many = max_tokens + 1;
    while (too_many - fits > 1) {
        uint32_t middle = fits + (too_many - fits) / 2;
        uint64_t bytes;
        bookkeeping(model, middle, no_cache, &bytes);
        if (bytes <= max_bytes)
            fits = middle;
        else
            too_many = middle;
    }
    return fits;
}

/* Fill the defaults in, and see that the tree is possible. */
static kvf_status check_options(kvf_tree_options *o, const kvf_model *model,
                                const kvf_tree_options *opt, kvf_error *err)
{
    kvf_status status = kvf_take_options(o, sizeof *o, opt, err);
    if (status) return status;
    if (!model->ops)
        return kvf_fail(err, KVF_ERR_ENGINE,
                        "the model was opened with engine \"none\", which computes nothing");
    uint32_t context = model->info.context;
    if (o->max_tokens > KVF_MAX_TOKENS)
        return kvf_fail(err, KVF_ERR_ARG, "max_tokens is %u, but should be at most %d",
                        o->max_tokens, KVF_MAX_TOKENS);
    if (!o->max_tokens)
        o->max_tokens = o->max_bytes ? KVF_MAX_TOKENS
                        : context    ? smaller(context, KVF_MAX_TOKENS)
                                     : 4096;
    if (o->max_bytes) {
        o->max_tokens = tokens_within(model, o->max_tokens, o->max_bytes, o->no_cache);
        uint64_t least;
        bookkeeping(model, 1, o->no_cache, &least);
        if (!o->max_tokens)
            return kvf_fail(err, KVF_ERR_ARG,
                            "max_bytes is %llu, but a tree of one token takes %llu",
                            (unsigned long long)o->max_bytes, (unsigned long long)least);
    }
    return KVF_OK;
}

uint64_t kvf_tree_bytes(const kvf_model *model, const kvf_tree_options *opt)
{
    kvf_tree_options o = {0};
    if (check_options(&o, model, opt, NULL)) return 0;
    uint64_t bytes;
    bookkeeping(model, o.max_tokens, o.no_cache, &bytes);
    return bytes;
}

/* ---- creation -------------------------------------------------------------------------------- */

kvf_status kvf_tree_create(kvf_tree **out, const kvf_model *model, const kvf_tree_options *opt,
                           kvf_error *err)
{
    kvf_tree_options o = {0};
    *out = NULL;
    kvf_status status = check_options(&o, model, opt, err);
    if (status) return status;

    kvf_tree *t = kvf_array(1, sizeof *t);
    if (!t) goto no_memory;
    set_sizes(t, model, o.max_tokens, o.no_cache);
    kvf_block arrays = {0};
    place_arrays(t, &arrays);
    t->memory_bytes = arrays.used;
    t->memory = kvf_pages(arrays.used);
    if (!t->memory) goto no_memory;
    kvf_touch_pages(t->memory, arrays.used);
    arrays = (kvf_block){.base = t->memory};
    place_arrays(t, &arrays);
    status = model->ops->open(&t->engine, model->engine, &t->limits, err);
    if (status) goto fail;

    kvf_nodes_reset(t);
    *out = t;
    return KVF_OK;

no_memory:
    status = kvf_fail(err, KVF_ERR_NOMEM, "no memory for a tree of %u tokens", o.max_tokens);
fail:
    kvf_tree_destroy(t);
    return status;
}

void kvf_tree_destroy(kvf_tree *t)
{
    if (!t) return;
    t->model->ops->close(t->engine);
    kvf_free_pages(t->memory, t->memory_bytes);
    kvf_free(t);
}

const kvf_model *kvf_tree_model(const kvf_tree *t)
{
    return t->model;
}

/* ---- single nodes ---------------------------------------------------------------------------- */

static kvf_status find(const kvf_tree *t, kvf_node handle, uint32_t *node, kvf_error *err)
{
    *node = kvf_nodes_find(t, handle);
    if (*node != KVF_NO_NODE) return KVF_OK;
    return kvf_fail(err, KVF_ERR_STALE, "node %u of generation %u has gone, or never was",
                    (uint32_t)handle, (uint32_t)(handle >> 32));
}

kvf_status kvf_match(kvf_tree *t, kvf_node from, const int32_t *tokens, size_t n, kvf_node *deepest,
                     size_t *matched, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, from, &node, err);
    if (status) return status;
    size_t i = 0;
    for (uint32_t child; i < n; i++, node = child) {
        child = kvf_nodes_child(t, node, tokens[i]);
        if (child == KVF_NO_NODE) break;
    }
    t->clock++;
    kvf_nodes_hold(t, node); /* that is use: the path is now the last to be evicted */
    kvf_nodes_release(t, node);
    t->matched += i;
    *deepest = kvf_nodes_handle(t, node);
    *matched = i;
    return KVF_OK;
}

/* Half the range is left to the batch that runs, which holds a node once per entry. */
static const uint32_t most_holds = UINT32_MAX / 2;

kvf_status kvf_hold(kvf_tree *t, kvf_node handle, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (status || node == 0) return status;
    if (t->nodes[node].holds == most_holds)
        return kvf_fail(err, KVF_ERR_ARG, "the node is held %u times, and cannot be held again",
                        most_holds);
    kvf_nodes_hold(t, node);
    return KVF_OK;
}

kvf_status kvf_release(kvf_tree *t, kvf_node handle, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (status || node == 0) return status;
    if (!t->nodes[node].holds)
        return kvf_fail(err, KVF_ERR_ARG, "the node is released, but nobody holds it");
    t->clock++;
    kvf_nodes_release(t, node);
    return KVF_OK;
}

kvf_status kvf_discard(kvf_tree *t, kvf_node handle, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (!status) kvf_nodes_discard(t, node);
    return status;
}

bool kvf_node_exists(const kvf_tree *t, kvf_node handle)
{
    return kvf_nodes_find(t, handle) != KVF_NO_NODE;
}

kvf_status kvf_node_parent(const kvf_tree *t, kvf_node handle, kvf_node *parent, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (!status) *parent = kvf_nodes_handle(t, t->nodes[node].parent);
    return status;
}

kvf_status kvf_node_token(const kvf_tree *t, kvf_node handle, int32_t *token, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (!status) *token = node ? t->nodes[node].token : -1;
    return status;
}

kvf_status kvf_node_depth(const kvf_tree *t, kvf_node handle, uint32_t *depth, kvf_error *err)
{
    uint32_t node;
    kvf_status status = find(t, handle, &node, err);
    if (!status) *depth = t->nodes[node].depth;
    return status;
}

/* ---- statistics ------------------------------------------------------------------------------ */

void kvf_tree_get_stats(const kvf_tree *t, kvf_tree_stats *stats)
{
    kvf_engine_stats engine = {0};
    t->model->ops->stats(t->engine, &engine);
    uint64_t asked = t->matched + t->evaluated;
    *stats = (kvf_tree_stats){
        .max_tokens = t->max_tokens,
        .nodes = t->n_nodes,
        .held = t->n_nodes - t->evictable,
        .evictable = t->evictable,
        .evicted = t->evicted,
        .matched_tokens = t->matched,
        .evaluated_tokens = t->evaluated,
        .hit_rate = asked ? (double)t->matched / (double)asked : 0,
        .calls = t->calls,
        .passes = t->passes,
        .cache_bytes = engine.cache_bytes,
        .tree_bytes = sizeof *t + t->memory_bytes + engine.buffer_bytes,
        .runtime_bytes = engine.runtime_bytes,
        .copied_bytes = engine.copied_bytes,
        .graph_copied_bytes = engine.graph_copied_bytes,
        .moved_buffers = engine.moved_buffers,
        .sent_bytes = engine.sent_bytes,
        .received_bytes = engine.received_bytes,
        .device_bytes = engine.device_bytes,
        .no_cache = t->no_cache,
    };
}
