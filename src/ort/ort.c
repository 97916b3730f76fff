/* ort.c - the engine `ort` behind engine.h: any decoder graph, run by ONNX Runtime.
 *
 * Its memory is taken when a tree is opened: the store, the sides, and room for inputs. What ONNX
 * Runtime takes for its own results is counted apart, by an allocator of ours (library.c). */
#include "ort/ort.h"

#include <string.h>

/* ---- sizes ----------------------------------------------------------------------------------- */

/* Units x length of a batch: any path alone, and as many branches as the tree itself has room for.
 * The first token of a path of a graph that extends takes two places (run.c). */
static uint32_t tokens_of(const kvf_ort *e, const kvf_limits *limits)
{
    uint32_t most = limits->slots > limits->depth ? limits->slots : limits->depth;
    if (limits->rows > most) most = limits->rows;
    if (e->fixed_length > most) most = e->fixed_length;
    return most < 2 ? 2 : most;
}

static uint64_t input_bytes_of(const kvf_ort *e, const kvf_limits *limits)
{
    uint64_t ids = 8 * (uint64_t)tokens_of(e, limits);
    uint64_t mask = e->contract->tree ? 4 * (uint64_t)limits->rows * limits->rows : 0;
    return ((ids > mask ? ids : mask) + 63) & ~(uint64_t)63;
}

static uint32_t inputs_of(const kvf_ort *e)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < e->contract->n_inputs; i++)
        n += e->contract->inputs[i].role != KVF_ROLE_PAST_KEY &&
             e->contract->inputs[i].role != KVF_ROLE_PAST_VALUE &&
             e->contract->inputs[i].role != KVF_ROLE_PAST_FUSED;
    return n;
}

static void place_arrays(kvf_ort_state *s, const kvf_ort *e, const kvf_limits *limits, kvf_block *b)
{
    bool heads = e->heads[KVF_ORT_POLICY].session || e->heads[KVF_ORT_VALUE].session;
    s->input_bytes = input_bytes_of(e, limits);
    s->inputs = kvf_place(b, inputs_of(e), s->input_bytes);
    s->bound = kvf_place(b, e->contract->n_outputs, sizeof *s->bound);
    s->plan.units = kvf_place(b, limits->rows, sizeof *s->plan.units);
    s->plan.order = kvf_place(b, limits->rows, sizeof *s->plan.order);
    s->plan.unit_of = kvf_place(b, limits->rows, sizeof *s->plan.unit_of);
    s->plan.place = kvf_place(b, limits->rows, sizeof *s->plan.place);
    s->batch.units = s->chosen = kvf_place(b, limits->rows, sizeof *s->chosen);
    s->batch.slots = kvf_place(b, tokens_of(e, limits), sizeof *s->batch.slots);
    s->hidden = kvf_place(b, heads ? limits->rows : 0,
                          (uint64_t)e->contract->width[KVF_HIDDEN] * sizeof *s->hidden);
}

/* What open would take: the store, and all else. */
static uint64_t sizes(const kvf_ort *e, const kvf_limits *limits, uint64_t *buffers)
{
    kvf_ort_state s;
    kvf_block b = {0};
    place_arrays(&s, e, limits, &b);
    *buffers = b.used;
    if (!kvf_add(*buffers, sizeof s, buffers)) *buffers = UINT64_MAX;
    return kvf_ort_cache_bytes(e, limits->slots, tokens_of(e, limits), buffers);
}

static uint64_t ort_bytes(const void *engine, const kvf_limits *limits)
{
    uint64_t buffers, store = sizes(engine, limits, &buffers), sum;
    return kvf_add(store, buffers, &sum) ? sum : UINT64_MAX;
}

/* ---- open and close -------------------------------------------------------------------------- */

static void ort_close(void *state)
{
    kvf_ort_state *s = state;
    if (!s) return;
    if (s->binding) s->engine->api->ReleaseIoBinding(s->binding);
    kvf_ort_cache_close(&s->cache);
    kvf_free_pages(s->memory, s->memory_bytes);
    kvf_free(s);
}

static kvf_status ort_open(void **state, void *engine, const kvf_limits *limits, kvf_error *err)
{
    kvf_ort *e = engine;
    *state = NULL;
    kvf_ort_state *s = kvf_array(1, sizeof *s);
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for buffers of the ort engine");
    s->engine = e;
    s->limits = *limits;
    s->plan.rows = limits->rows;
    s->plan.tokens = tokens_of(e, limits);
    kvf_status status = kvf_ort_cache_open(&s->cache, e, limits->slots, s->plan.tokens, err);
    if (status) goto fail;
    kvf_block b = {0};
    place_arrays(s, e, limits, &b);
    s->memory_bytes = b.used;
    s->memory = kvf_pages(b.used);
    if (!s->memory) {
        s->memory_bytes = 0;
        status = kvf_fail(err, KVF_ERR_NOMEM, "no memory for inputs of the ort engine: %llu bytes",
                          (unsigned long long)b.used);
        goto fail;
    }
    b = (kvf_block){.base = s->memory};
    place_arrays(s, e, limits, &b);
    status = kvf_ort_check(e->lib, e->api->CreateIoBinding(e->session, &s->binding), KVF_ERR_ENGINE,
                           err);
    if (status) goto fail;
    *state = s;
    return KVF_OK;

fail:
    ort_close(s);
    return status;
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Some graphs have a dynamic batch by their shapes, and refuse more than one all the same. */
static kvf_status run_batch(kvf_ort_state *s, const kvf_pass *pass, const kvf_pass_outputs *out,
                            kvf_error *err)
{
    kvf_ort_batch *batch = &s->batch;
    kvf_status status = kvf_ort_run(s, batch, pass, out, err);
    uint32_t n = batch->n_units;
    if (!status || n == 1) return status;
    status = KVF_OK;
    for (uint32_t i = 0; i < n && !status && !s->again; i++) {
        batch->units = s->chosen + i;
        batch->n_units = 1;
        batch->past = batch->first ? 1 : batch->units[0]->past;
        status = kvf_ort_run(s, batch, pass, out, err);
    }
    batch->units = s->chosen;
    if (!status) s->engine->alone = true;
    return status;
}

static kvf_status run_pass(kvf_ort_state *s, const kvf_pass *pass, const kvf_pass_outputs *out,
                           kvf_error *err)
{
    kvf_status status = KVF_OK;
    kvf_ort_plan_pass(&s->plan, s->engine, pass);
    s->again = false;
    for (uint32_t level = 0; level < s->plan.levels; level++)
        while (!status && !s->again &&
               kvf_ort_next_batch(&s->plan, s->engine, pass, level, &s->batch)) {
            s->batch.write = pass->keep || s->plan.levels > 1;
            status = run_batch(s, pass, out, err);
        }
    return status;
}

static kvf_status ort_forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                              kvf_error *err)
{
    kvf_ort_state *s = state;
    if (s->engine->contract->cache == KVF_CACHE_NONE)
        for (uint32_t i = 0; i < pass->n_rows; i++)
            if (pass->rows[i].position &&
                (s->engine->contract->tree ? pass->rows[i].parent < 0
                                           : pass->rows[i].parent != (int32_t)i - 1))
                return kvf_fail(err, KVF_ERR_ENGINE,
                                "row %u goes on from elsewhere, but a graph without a past can "
                                "only run whole paths",
                                i);
    kvf_status status = run_pass(s, pass, out, err);
    if (!status && s->again) status = run_pass(s, pass, out, err);
    return status;
}

static void ort_stats(const void *state, kvf_engine_stats *stats)
{
    const kvf_ort_state *s = state;
    uint64_t bytes = s->engine->lib->most_bytes, weights = s->engine->lib->weight_bytes;
    *stats = (kvf_engine_stats){.runtime_bytes = bytes > weights ? bytes - weights : 0,
                                .copied_bytes = s->cache.copied_bytes,
                                .graph_copied_bytes = s->graph_copied_bytes,
                                .moved_buffers = s->moved_buffers};
    stats->cache_bytes = sizes(s->engine, &s->limits, &stats->buffer_bytes);
}

const kvf_engine_ops kvf_engine_ort = {.name = "ort",
                                       .accepts = kvf_ort_accepts,
                                       .load = kvf_ort_load,
                                       .unload = kvf_ort_unload,
                                       .open = ort_open,
                                       .close = ort_close,
                                       .bytes = ort_bytes,
                                       .forward = ort_forward,
                                       .stats = ort_stats};
