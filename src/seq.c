/* seq.c - the cursor: a tree with one finger in it.
 *
 * A cursor holds the node it is at, and so the path to it. It appends tokens as chains of entries,
 * a pass's worth at a time; the buffer for them is the tree's, since a tree is used by one thread
 * at a time. So a fork is one small piece of memory and one hold. */
#include "metrics.h"
#include "tree.h"

struct kvf_seq {
    kvf_tree *tree; /* borrowed */
    kvf_node tip;   /* held */
    kvf_meter meter;
};

static kvf_status start_at(kvf_seq **out, kvf_tree *tree, kvf_node node, kvf_error *err)
{
    /* Not zeroed: most of it are samples that are written before they are read. */
    kvf_seq *s = kvf_resize(NULL, 1, sizeof *s);
    *out = NULL;
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for a cursor");
    s->tree = tree;
    s->tip = node;
    kvf_meter_reset(&s->meter);
    kvf_status status = kvf_hold(tree, node, err);
    if (status) {
        kvf_free(s);
        return status;
    }
    *out = s;
    return KVF_OK;
}

kvf_status kvf_seq_create(kvf_seq **out, kvf_tree *tree, kvf_error *err)
{
    return start_at(out, tree, KVF_ROOT, err);
}

kvf_status kvf_seq_fork(kvf_seq **out, const kvf_seq *s, kvf_error *err)
{
    return start_at(out, s->tree, s->tip, err);
}

void kvf_seq_destroy(kvf_seq *s)
{
    if (!s) return;
    kvf_release(s->tree, s->tip, NULL);
    kvf_free(s);
}

kvf_node kvf_seq_node(const kvf_seq *s)
{
    return s->tip;
}

size_t kvf_seq_length(const kvf_seq *s)
{
    return s->tree->nodes[kvf_nodes_find(s->tree, s->tip)].depth;
}

/* ---- moving ---------------------------------------------------------------------------------- */

/* Hold the new place before the old one is let go: they share a path. */
static kvf_status move_to(kvf_seq *s, kvf_node node, kvf_error *err)
{
    kvf_status status = kvf_hold(s->tree, node, err);
    if (status) return status;
    kvf_release(s->tree, s->tip, NULL);
    s->tip = node;
    return KVF_OK;
}

kvf_status kvf_seq_rewind(kvf_seq *s, size_t length, kvf_error *err)
{
    size_t now = kvf_seq_length(s);
    if (length > now)
        return kvf_fail(err, KVF_ERR_ARG, "rewind to %zu tokens, but the sequence has %zu", length,
                        now);
    uint32_t tip = kvf_nodes_find(s->tree, s->tip);
    uint32_t node = length ? kvf_nodes_ancestor(s->tree, tip, (uint32_t)length) : 0;
    return move_to(s, kvf_nodes_handle(s->tree, node), err);
}

void kvf_seq_reset(kvf_seq *s)
{
    kvf_release(s->tree, s->tip, NULL);
    s->tip = KVF_ROOT;
    kvf_meter_reset(&s->meter);
}

/* ---- appending ------------------------------------------------------------------------------- */

/* Append one chain of tokens to a node; the last one is held then. */
static kvf_status append(kvf_tree *t, kvf_node *tip, const int32_t *tokens, size_t n, bool want_all,
                         bool want_last, float *logits, kvf_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool wanted = want_all || (want_last && i + 1 == n);
        t->chain[i] = (kvf_entry){.token = tokens[i],
                                  .after = (int32_t)i - 1,
                                  .parent = *tip,
                                  .want = wanted ? KVF_WANT(KVF_LOGITS) : 0};
    }
    kvf_outputs out = {.head = {[KVF_LOGITS] = logits}};
    kvf_status status = kvf_eval(t, t->chain, n, NULL, &out, err);
    if (status) return status;
    *tip = t->at[n - 1];
    return kvf_hold(t, *tip, err);
}

static kvf_status check_forward(const kvf_seq *s, size_t n, kvf_rows rows, const float *logits,
                                kvf_error *err)
{
    size_t length = kvf_seq_length(s), most = s->tree->limits.depth;
    if (n == 0) return kvf_fail(err, KVF_ERR_ARG, "no tokens to append; there should be some");
    if (rows > KVF_ALL_ROWS)
        return kvf_fail(err, KVF_ERR_ARG, "rows is %d, which is none of kvf_rows", (int)rows);
    if (rows != KVF_NO_ROWS && !logits)
        return kvf_fail(err, KVF_ERR_ARG, "logits are wanted, but have no place to go to");
    if (n > most - length)
        return kvf_fail(err, KVF_ERR_ARG,
                        "%zu tokens after %zu, but context and tree allow %zu in all", n, length,
                        most);
    return KVF_OK;
}

kvf_status kvf_seq_forward(kvf_seq *s, const int32_t *tokens, size_t n, kvf_rows rows,
                           float *logits, kvf_error *err)
{
    kvf_status status = check_forward(s, n, rows, logits, err);
    if (status) return status;
    double start = kvf_now();
    kvf_tree *t = s->tree;
    kvf_node tip = s->tip; /* stays held until all is done, so that a failure can go back to it */
    for (size_t done = 0, part; done < n && !status; done += part) {
        part = n - done < t->max_chain ? n - done : t->max_chain;
        kvf_node before = tip;
        bool all = rows == KVF_ALL_ROWS, last = rows == KVF_LAST_ROW && done + part == n;
        float *to = all ? logits + done * t->model->info.vocab : logits;
        status = append(t, &tip, tokens + done, part, all, last, to, err);
        if (before != s->tip) kvf_release(t, before, NULL);
    }
    if (status) return status;
    kvf_release(t, s->tip, NULL);
    s->tip = tip;
    kvf_meter_add(&s->meter, kvf_now() - start, n);
    return KVF_OK;
}

/* ---- metrics --------------------------------------------------------------------------------- */

void kvf_seq_get_metrics(const kvf_seq *s, kvf_metrics *metrics)
{
    kvf_tree_stats stats;
    kvf_tree_get_stats(s->tree, &stats);
    kvf_meter_read(&s->meter, metrics);
    metrics->cache_bytes = stats.cache_bytes;
    metrics->weight_bytes = s->tree->model->info.weight_bytes;
    metrics->process_bytes = kvf_resident_bytes(&metrics->peak_bytes);
}

/* What a measurement of the speed-up takes, for its time only. */
typedef struct comparison {
    kvf_tree *uncached;
    kvf_entry *path; /* [length] */
    float *logits;   /* [vocab] */
    double *times;   /* [2][repeats] without and with cache */
} comparison;

static void close_comparison(comparison *c)
{
    kvf_free(c->times);
    kvf_free(c->logits);
    kvf_free(c->path);
    kvf_tree_destroy(c->uncached);
}

static kvf_status open_comparison(comparison *c, const kvf_seq *s, size_t length, uint32_t repeats,
                                  kvf_error *err)
{
    const kvf_tree *t = s->tree;
    kvf_tree_options opt = {.struct_size = sizeof opt,
                            .max_tokens = (uint32_t)length,
                            .no_cache = true};
    kvf_status status = kvf_tree_create(&c->uncached, t->model, &opt, err);
    if (status) return status;
    c->path = kvf_array(length, sizeof *c->path);
    c->logits = kvf_array(t->model->info.vocab, sizeof *c->logits);
    c->times = kvf_array(repeats, 2 * sizeof *c->times);
    if (!c->path || !c->logits || !c->times)
        return kvf_fail(err, KVF_ERR_NOMEM, "no memory to measure %zu tokens %u times", length,
                        repeats);
    uint32_t node = kvf_nodes_find(t, s->tip);
    for (size_t i = length; i-- > 0; node = t->nodes[node].parent)
        c->path[i] = (kvf_entry){.token = t->nodes[node].token, .after = (int32_t)i - 1};
    c->path[length - 1].want = KVF_WANT(KVF_LOGITS);
    return KVF_OK;
}

static kvf_status timed(kvf_tree *t, const kvf_entry *entries, size_t n, float *logits,
                        double *seconds, kvf_error *err)
{
    kvf_outputs out = {.head = {[KVF_LOGITS] = logits}};
    double start = kvf_now();
    kvf_status status = kvf_eval(t, entries, n, NULL, &out, err);
    *seconds = kvf_now() - start;
    return status;
}

kvf_status kvf_seq_measure_speedup(kvf_seq *s, uint32_t repeats, kvf_error *err)
{
    size_t length = kvf_seq_length(s);
    if (length == 0 || repeats == 0)
        return kvf_fail(err, KVF_ERR_ARG,
                        "%u runs of a sequence of %zu tokens; both should be more", repeats,
                        length);
    comparison c = {0};
    kvf_status status = open_comparison(&c, s, length, repeats, err);
    /* The first run of each is not counted: it warms caches and finds pages. */
    for (size_t i = 0; i <= repeats && !status; i++) {
        kvf_entry last = c.path[length - 1];
        last.after = -1;
        kvf_node_parent(s->tree, s->tip, &last.parent, NULL);
        double without, with;
        status = timed(c.uncached, c.path, length, c.logits, &without, err);
        if (!status) status = timed(s->tree, &last, 1, c.logits, &with, err);
        if (status || i == 0) continue;
        c.times[i - 1] = without;
        c.times[repeats + i - 1] = with;
    }
    if (!status) {
        double with = kvf_quantile(c.times + repeats, repeats, 0.5);
        double without = kvf_quantile(c.times, repeats, 0.5);
        s->meter.speedup = without / (with > 0 ? with : 1e-9); /* a clock may stand still */
    }
    close_comparison(&c);
    return status;
}
