/* trigo.c - ids, positions and masks of the six graphs around the layers of graph.c. */
#include "export/trigo.h"

#include "export/graph.h"

/* A scalar as a list of one, to build shapes from. */
static const char *listed(kvf_build *b, const char *size)
{
    const char *axis =
        kvf_build_i64s(b, kvf_writer_name(b->w, "%s.list_axis", size), (const int64_t[]){0}, 1);
    return kvf_writer_node(b->w, "Unsqueeze", kvf_writer_name(b->w, "%s.list", size), size, axis,
                           NULL);
}

/* A tensor of one value; its shape comes in two or three lists (the last may be NULL). */
static const char *filled(kvf_build *b, const char *name, const char *value, const char *first,
                          const char *second, const char *third)
{
    const char *shape = kvf_writer_name(b->w, "%s.shape", name);
    kvf_writer_node(b->w, "Concat", shape, first, second, third, NULL);
    kvf_writer_int(b->w, "axis", 0);
    return kvf_writer_node(b->w, "Expand", name, value, shape, NULL);
}

static const char *joined(kvf_build *b, const char *name, const char *one, const char *two,
                          int64_t axis)
{
    kvf_writer_node(b->w, "Concat", name, one, two, NULL);
    kvf_writer_int(b->w, "axis", axis);
    return name;
}

/* bool [batch, rows, width], all true, for ids [batch, rows]. */
static const char *all_visible(kvf_build *b, const char *ids, const char *width)
{
    const bool yes = true;
    kvf_writer_constant(b->w, "yes", KVF_BOOL, 0, NULL, &yes);
    kvf_writer_node(b->w, "Shape", "rows", ids, NULL);
    return filled(b, "before.visible", "yes", "rows", listed(b, width), NULL);
}

/* Evaluated tokens: bool [batch, m, before + m] (all that is before, and where mask is exactly 1),
 * and positions [batch, m], of which `before` are taken. */
static void evaluated(kvf_build *b, const char *ids, const char *mask, const char *before,
                      const char **visible, const char **positions)
{
    kvf_writer *w = b->w;
    const float one = 1;
    kvf_writer_constant(w, "exactly", KVF_F32, 0, NULL, &one);
    kvf_writer_node(w, "Equal", "mask.visible", mask, "exactly", NULL);
    const char *block = all_visible(b, ids, before);
    *visible = joined(b, "evaluated.visible", block, "mask.visible", 2);

    kvf_build_i64s(b, "row.axis", (const int64_t[]){2}, 1);
    kvf_build_i64(b, "itself", 1);
    kvf_writer_node(w, "ReduceSum", "row.sum", mask, "row.axis", NULL);
    kvf_writer_int(w, "keepdims", 0);
    kvf_writer_node(w, "Cast", "row.seen", "row.sum", NULL);
    kvf_writer_int(w, "to", KVF_I64);
    kvf_writer_node(w, "Add", "row.length", "row.seen", before, NULL);
    *positions = kvf_writer_node(w, "Sub", "evaluated.positions", "row.length", "itself", NULL);
}

/* positions [batch, n] = 0 .. n - 1 for ids [batch, n]. */
static const char *count_up(kvf_build *b, const char *ids, const char *n)
{
    kvf_writer *w = b->w;
    kvf_build_i64(b, "count.zero", 0);
    kvf_build_i64(b, "count.one", 1);
    kvf_writer_node(w, "Range", "count", "count.zero", n, "count.one", NULL);
    kvf_writer_node(w, "Shape", "count.shape", ids, NULL);
    return kvf_writer_node(w, "Expand", "prefix.positions", "count", "count.shape", NULL);
}

/* bool [batch, n, n + m]: the prefix sees itself as a text, and nothing evaluated. */
static const char *prefix_visible(kvf_build *b, const char *ids, const char *n, const char *m)
{
    kvf_writer *w = b->w;
    kvf_build_i64s(b, "prefix.column", (const int64_t[]){1}, 1);
    kvf_writer_node(w, "Add", "total", n, m, NULL);
    kvf_writer_node(w, "Range", "keys", "count.zero", "total", "count.one", NULL);
    kvf_writer_node(w, "Unsqueeze", "rows.column", "count", "prefix.column", NULL);
    kvf_writer_node(w, "LessOrEqual", "causal", "keys", "rows.column", NULL);
    kvf_writer_node(w, "Shape", "prefix.shape", ids, NULL);
    return filled(b, "prefix.visible", "causal", "prefix.shape", listed(b, "total"), NULL);
}

/* All layers over x without a past, and the final norm. */
static void run_layers(kvf_build *b, const char *ids, const char *positions, const char *visible)
{
    kvf_build_shared shared = {.mask = kvf_build_mask(b, visible, true)};
    const char *x = kvf_build_embed(b, ids, positions);
    for (uint32_t i = 0; i < b->d->layers; i++)
        x = kvf_build_layer(b, i, x, &shared, NULL, &(kvf_build_kv){0});
    kvf_build_final_norm(b, x, "hidden_states");
}

static void build_base(kvf_build *b)
{
    kvf_writer *w = b->w;
    kvf_writer_input(w, "prefix_ids", KVF_I64, "batch_size, n");
    kvf_writer_input(w, "evaluated_ids", KVF_I64, "batch_size, m");
    kvf_writer_input(w, "evaluated_mask", KVF_F32, "batch_size, m, m");
    kvf_writer_output(w, "hidden_states", KVF_F32, "batch_size, n_plus_m, hidden_dim");
    const char *n = kvf_build_dim(b, "n", "prefix_ids", 1);
    const char *m = kvf_build_dim(b, "m", "evaluated_ids", 1), *visible, *positions;
    evaluated(b, "evaluated_ids", "evaluated_mask", n, &visible, &positions);
    const char *first = count_up(b, "prefix_ids", n);
    const char *ids = joined(b, "ids", "prefix_ids", "evaluated_ids", 1);
    positions = joined(b, "positions", first, positions, 1);
    visible = joined(b, "visible", prefix_visible(b, "prefix_ids", n, m), visible, 1);
    run_layers(b, ids, positions, visible);
}

static void build_prefix(kvf_build *b)
{
    kvf_writer *w = b->w;
    kvf_writer_input(w, "prefix_ids", KVF_I64, "batch_size, prefix_len");
    const char *n = kvf_build_dim(b, "n", "prefix_ids", 1);
    const char *positions = count_up(b, "prefix_ids", n), *x;
    const char *visible = kvf_build_causal(b, "causal", n, "count.zero");
    kvf_build_shared shared = {.mask = kvf_build_mask(b, visible, false)};
    x = kvf_build_embed(b, "prefix_ids", positions);
    for (uint32_t i = 0; i < b->d->layers; i++) {
        kvf_build_kv kv = {kvf_writer_name(w, "cache_key_%u", i),
                           kvf_writer_name(w, "cache_value_%u", i)};
        for (int j = 0; j < 2; j++)
            kvf_writer_output(w, j ? kv.value : kv.key, KVF_F32, "batch_size, %u, prefix_len, %u",
                              b->d->kv_heads, b->d->head_dim);
        if (i + 1 < b->d->layers)
            x = kvf_build_layer(b, i, x, &shared, NULL, &kv);
        else
            kvf_build_keys(b, i, x, &shared, &kv); /* nobody asks for more of the last layer */
    }
}

/* past, and the rows of all from first on, which are behind the dummy, under the name present. */
static void skip_dummy(kvf_build *b, const char *first, const char *past, const char *all,
                       const char *present)
{
    kvf_writer *w = b->w;
    const char *fresh = kvf_writer_name(w, "%s.new", present);
    kvf_writer_node(w, "Slice", fresh, all, first, "skip.last", "skip.axis", NULL);
    joined(b, present, past, fresh, 2);
}

static const char *prepare_skip(kvf_build *b, const char *past)
{
    kvf_build_i64s(b, "skip.axis", (const int64_t[]){2}, 1);
    kvf_build_i64s(b, "skip.last", (const int64_t[]){INT64_MAX}, 1);
    kvf_writer_node(b->w, "Add", "skip", past, "itself", NULL);
    return listed(b, "skip");
}

static void eval_ports(kvf_build *b, bool extend)
{
    kvf_writer *w = b->w;
    uint32_t heads = b->d->kv_heads, head_dim = b->d->head_dim;
    kvf_writer_input(w, "evaluated_ids", KVF_I64, "batch_size, eval_len");
    kvf_writer_input(w, "evaluated_mask", KVF_F32, "batch_size, eval_len, eval_len");
    kvf_writer_output(w, "hidden_states", KVF_F32, "batch_size, eval_len_plus_1, %u", b->d->hidden);
    for (uint32_t i = 0; i < b->d->layers; i++)
        for (int value = 0; value < 2; value++) {
            const char *what = value ? "value" : "key";
            kvf_writer_input(w, kvf_writer_name(w, "past_%s_%u", what, i), KVF_F32,
                             "batch_size, %u, prefix_len, %u", heads, head_dim);
            if (extend)
                kvf_writer_output(w, kvf_writer_name(w, "present_%s_%u", what, i), KVF_F32,
                                  "batch_size, %u, new_prefix_len, %u", heads, head_dim);
        }
}

/* The dummy: a first id of 0, and a first row and column of zeros in the mask. */
static void put_dummy_before(kvf_build *b, const char *ids, const char *mask)
{
    kvf_writer *w = b->w;
    const float unseen = 0;
    kvf_build_i64(b, "dummy.id", 0);
    kvf_build_i64s(b, "dummy.one", (const int64_t[]){1}, 1);
    kvf_writer_constant(w, "dummy.unseen", KVF_F32, 0, NULL, &unseen);
    const char *batch = listed(b, kvf_build_dim(b, "batch", "evaluated_ids", 0));
    const char *m = listed(b, kvf_build_dim(b, "m", "evaluated_ids", 1));
    filled(b, "dummy.ids", "dummy.id", batch, "dummy.one", NULL);
    joined(b, ids, "dummy.ids", "evaluated_ids", 1);
    filled(b, "dummy.column", "dummy.unseen", batch, m, "dummy.one");
    joined(b, "mask.wide", "dummy.column", "evaluated_mask", 2);
    kvf_writer_node(w, "Add", "dummy.width", m, "dummy.one", NULL);
    filled(b, "dummy.row", "dummy.unseen", batch, "dummy.one", "dummy.width");
    joined(b, mask, "dummy.row", "mask.wide", 1);
}

static void build_eval(kvf_build *b, bool extend)
{
    kvf_writer *w = b->w;
    eval_ports(b, extend);
    put_dummy_before(b, "ids", "mask.whole");
    const char *past = kvf_build_dim(b, "past", "past_key_0", 2), *visible, *positions;
    evaluated(b, "ids", "mask.whole", past, &visible, &positions);
    const char *first = extend ? prepare_skip(b, past) : NULL;
    kvf_build_shared shared = {.mask = kvf_build_mask(b, visible, true)};
    const char *x = kvf_build_embed(b, "ids", positions);
    for (uint32_t i = 0; i < b->d->layers; i++) {
        kvf_build_kv before = {kvf_writer_name(w, "past_key_%u", i),
                               kvf_writer_name(w, "past_value_%u", i)};
        kvf_build_kv all = {0};
        x = kvf_build_layer(b, i, x, &shared, &before, &all);
        if (!extend) continue;
        skip_dummy(b, first, before.key, all.key, kvf_writer_name(w, "present_key_%u", i));
        skip_dummy(b, first, before.value, all.value, kvf_writer_name(w, "present_value_%u", i));
    }
    kvf_build_final_norm(b, x, "hidden_states");
}

static void build_cached(kvf_build *b)
{
    build_eval(b, false);
}

static void build_extend(kvf_build *b)
{
    build_eval(b, true);
}

static void build_policy(kvf_build *b)
{
    kvf_writer_input(b->w, "hidden_states", KVF_F32, "batch_size, seq_len, hidden_dim");
    kvf_writer_output(b->w, "logits", KVF_F32, "batch_size, seq_len, vocab_size");
    kvf_build_logits(b, "hidden_states", "logits");
}

static void build_value(kvf_build *b)
{
    kvf_writer_input(b->w, "hidden_states", KVF_F32, "batch_size, hidden_dim");
    kvf_writer_output(b->w, "values", KVF_F32, "batch_size");
    kvf_build_values(b, "hidden_states", "values");
}

static const struct {
    const char *name;
    void (*build)(kvf_build *b);
} graphs[KVF_TRIGO_GRAPHS] = {
    {"base_model", build_base},
    {"policy_head", build_policy},
    {"value_head", build_value},
    {"base_model_prefix", build_prefix},
    {"base_model_eval_cached", build_cached},
    {"base_model_eval_extend", build_extend},
};

const char *kvf_trigo_name(int graph)
{
    return graphs[graph].name;
}

kvf_status kvf_trigo_build(kvf_writer **out, const kvf_decoder *d, int graph, kvf_error *err)
{
    kvf_status status = kvf_writer_create(out, graphs[graph].name, 17, err);
    if (status) return status;
    kvf_build b = {.w = *out, .d = d, .type = KVF_F32, .opset = 17};
    graphs[graph].build(&b);
    return KVF_OK;
}
