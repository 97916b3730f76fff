/* native.c - the native engine: a model made ready, and a tree's memory. */
#include "native.h"
#include "probe.h"

#include "model.h"

#include <string.h>

/* ---- a model made ready ---------------------------------------------------------------------- */

/* One packed tensor to be: its parts, and where it goes. */
typedef struct pack_task {
    kvf_packed *out;
    const kvf_linear *parts[3];
    size_t n;
    kvf_precision precision;
} pack_task;

typedef struct packing {
    const pack_task *tasks;
    size_t n;
} packing;

static void pack_job(void *arg, const kvf_member *me)
{
    const packing *p = arg;
    for (size_t i = 0; i < p->n; i++) {
        size_t begin, end;
        kvf_share(me, p->tasks[i].out->panels, &begin, &end);
        kvf_pack_panels(p->tasks[i].out, p->tasks[i].parts, (uint32_t)begin, (uint32_t)end);
    }
}

static kvf_status add_task(packing *p, pack_task *tasks, pack_task task, int precision,
                           native_engine *e, kvf_error *err)
{
    task.precision = precision < 0 ? kvf_precision_of(&task.parts[0]->w) : (kvf_precision)precision;
    for (task.n = 0; task.n < 3 && task.parts[task.n]; task.n++)
        if (precision < 0 && kvf_precision_of(&task.parts[task.n]->w) != task.precision)
            task.precision = KVF_W_F32;
    kvf_status status = kvf_pack_begin(task.out, task.parts, task.n, task.precision, err);
    if (status) return status;
    e->weight_bytes += task.out->bytes;
    if (task.precision > e->precision) e->precision = task.precision;
    tasks[p->n++] = task;
    return KVF_OK;
}

static kvf_status list_tasks(packing *p, pack_task *tasks, native_engine *e, int precision,
                             kvf_error *err)
{
    const kvf_plan *plan = e->plan;
    kvf_status status = KVF_OK;
    for (uint32_t i = 0; !status && i < plan->layers; i++) {
        const kvf_layer *l = &plan->layer[i];
        native_layer *w = &e->layer[i];
        const pack_task of_layer[] = {{.out = &w->qkv, .parts = {&l->q, &l->k, &l->v}},
                                      {.out = &w->o, .parts = {&l->o}},
                                      {.out = &w->up, .parts = {&l->up}},
                                      {.out = &w->down, .parts = {&l->down}},
                                      {.out = &w->gate, .parts = {&l->gate}}};
        for (size_t t = 0; !status && t < (l->gate.w.data ? 5 : 4); t++) {
            status = add_task(p, tasks, of_layer[t], precision, e, err);
            if (!status)
                e->layer_parameters += (uint64_t)of_layer[t].out->in * of_layer[t].out->out;
        }
        w->qkv.side = e->turned ? e->side : 0;
        w->qkv.head_dim = plan->head_dim;
    }
    for (int h = 0; h < KVF_HEADS; h++) {
        const kvf_stack *stack = &plan->head[h];
        for (uint32_t i = 0; !status && i < stack->n_stages; i++) {
            if (stack->stages[i].kind != KVF_STAGE_LINEAR) continue;
            /* A stack is small, and its stages add their errors up: it stays in f32. */
            status =
                add_task(p, tasks,
                         (pack_task){.out = &e->head[h][i], .parts = {&stack->stages[i].linear}},
                         stack->n_stages > 1 ? KVF_W_F32 : precision, e, err);
        }
    }
    return status;
}

/* Pack everything, each tensor divided among the team, a few at a time so that progress shows. */
static kvf_status pack_weights(native_engine *e, const struct kvf_model *model, int precision,
                               kvf_error *err)
{
    packing all = {0};
    pack_task *tasks =
        kvf_array((size_t)e->plan->layers * 5 + KVF_HEADS * KVF_MAX_STAGES, sizeof *tasks);
    if (!tasks) return kvf_fail(err, KVF_ERR_NOMEM, "packing %u layers", e->plan->layers);
    kvf_status status = list_tasks(&all, tasks, e, precision, err);
    for (size_t i = 0; !status && i < all.n; i += 8) {
        packing some = {.tasks = tasks + i, .n = all.n - i < 8 ? all.n - i : 8};
        if (model->options.progress)
            model->options.progress(model->options.user, "packing weights", i, all.n);
        kvf_pool_run(e->pool, true, pack_job, &some);
    }
    if (!status && model->options.progress)
        model->options.progress(model->options.user, "packing weights", all.n, all.n);
    kvf_free(tasks);
    return status;
}

static void native_unload(void *engine)
{
    native_engine *e = engine;
    if (!e) return;
    for (uint32_t i = 0; e->layer && i < e->plan->layers; i++) {
        native_layer *w = &e->layer[i];
        kvf_packed *const all[] = {&w->qkv, &w->o, &w->gate, &w->up, &w->down};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++) kvf_packed_free(all[t]);
    }
    for (int h = 0; h < KVF_HEADS; h++)
        for (int i = 0; i < KVF_MAX_STAGES; i++) kvf_packed_free(&e->head[h][i]);
    kvf_pool_destroy(e->pool);
    kvf_free(e->layer);
    kvf_free(e);
}

/* Whether heads of a bundle may be turned when weights are packed: nothing happens to a single head
 * between the product and attention. */
static bool turns_at_packing(const native_engine *e)
{
    const kvf_plan *plan = e->plan;
    bool turns = e->side > 1 && plan->heads == plan->kv_heads && !plan->rotary.pairs;
    for (uint32_t i = 0; i < plan->layers; i++)
        turns &= !plan->layer[i].q_norm.kind && !plan->layer[i].k_norm.kind;
    return turns;
}

/* Bytes of a row made ready for whichever product takes most. */
static uint64_t prepared_stride(const native_engine *e)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < e->plan->layers; i++) {
        const native_layer *w = &e->layer[i];
        const kvf_packed *const all[] = {&w->qkv, &w->o, &w->up, &w->down};
        for (size_t t = 0; t < sizeof all / sizeof *all; t++) {
            uint64_t bytes = kvf_prepared_bytes(all[t], 1);
            if (bytes > most) most = bytes;
        }
    }
    for (int h = 0; h < KVF_HEADS; h++)
        if (e->plan->head[h].n_stages == 1) {
            uint64_t bytes = kvf_prepared_bytes(&e->head[h][0], 1);
            if (bytes > most) most = bytes;
        }
    return most;
}

static kvf_status native_load(void **engine, struct kvf_model *model, kvf_error *err)
{
    *engine = NULL;
    const kvf_plan *plan = model->plan;
    kvf_cpu cpu;
    int precision;
    bool bf16_cache;
    kvf_status status = kvf_cpu_pick(&cpu, model->options.cpu, err);
    if (!status)
        status =
            kvf_precision_read(&precision, model->options.precision, "native", KVF_PRECISIONS, err);
    if (!status)
        status = kvf_cache_type_read(&bf16_cache, model->options.kv, model->contract.kv_type,
                                     "native", err);
    if (status) return status;

    native_engine *e = kvf_array(1, sizeof *e);
    if (!e) return kvf_fail(err, KVF_ERR_NOMEM, "the native engine");
    e->plan = plan;
    e->linear = kvf_linear_table_of(cpu);
    e->vector = kvf_vector_of(cpu);
    e->bf16_cache = bf16_cache;
    e->alone_below = 30e-6; /* some ten microseconds go into waking and meeting */
    e->apart_bytes = 4 << 20;
    e->q_dim = plan->heads * plan->head_dim;
    e->kv_dim = plan->kv_heads * plan->head_dim;
    e->side = e->vector->side(plan->kv_heads, plan->head_dim);
    e->bundles = plan->kv_heads / e->side;
    e->turned = turns_at_packing(e);
    e->widest_stage = kvf_plan_widest_stage(plan);
    e->layer = kvf_array(plan->layers, sizeof *e->layer);
    status = e->layer ? kvf_pool_create(&e->pool, model->info.threads, model->options.pin, err)
                      : kvf_fail(err, KVF_ERR_NOMEM, "%u layers", plan->layers);
    if (!status) status = pack_weights(e, model, precision, err);
    if (status) {
        native_unload(e);
        return status;
    }
    e->prepared_stride = prepared_stride(e);
    kvf_model_info *info = &model->info;
    info->weight_bytes = e->weight_bytes;
    info->precision = kvf_precision_names[precision < 0 ? e->precision : (kvf_precision)precision];
    info->kv_type = bf16_cache ? "bfloat16" : "float32";
    info->bytes_per_token = (uint64_t)plan->layers * 2 * e->kv_dim * native_element(e);
    info->cpu = kvf_cpu_name(cpu);
    info->engine_version = kvf_version();
    *engine = e;
    return KVF_OK;
}

static kvf_status native_accepts(const struct kvf_model *model, kvf_error *err)
{
    if (!model->plan) return kvf_fail(err, KVF_ERR_MODEL, "%s", model->why);
    return KVF_OK;
}

/* ---- a tree's memory ------------------------------------------------------------------------- */

/* Cut a piece on a boundary of 64 bytes from memory, or only count it while memory is NULL. */
static void *cut(uint8_t *memory, uint64_t *used, uint64_t bytes)
{
    void *p = memory ? memory + *used : NULL;
    *used += (bytes + 63) & ~(uint64_t)63;
    return p;
}

/* Strides that are multiples of 1,024 floats would put all rows in the same few sets of a cache. */
static size_t stride_of(size_t width)
{
    size_t stride = (width + 15) / 16 * 16;
    return stride % 1024 ? stride : stride + 16;
}

/* Lay the buffers out in s->memory, or only count them; returns the bytes. */
static uint64_t lay_out(native_state *s)
{
    const native_engine *e = s->engine;
    const kvf_plan *plan = e->plan;
    uint64_t used = 0, rows = s->limits.rows, f = sizeof(float);
    uint8_t *m = s->memory;
    uint32_t threads = kvf_pool_threads(e->pool);
    s->hidden_stride = stride_of(plan->hidden);
    s->qkv_stride = stride_of(e->q_dim + 2 * e->kv_dim);
    s->q_stride = stride_of(e->q_dim);
    s->up_stride = stride_of(plan->layers ? plan->layer[0].up.w.out : 0);
    for (uint32_t i = 1; i < plan->layers; i++)
        if (stride_of(plan->layer[i].up.w.out) > s->up_stride)
            s->up_stride = stride_of(plan->layer[i].up.w.out);
    s->x = cut(m, &used, rows * s->hidden_stride * f);
    s->h = cut(m, &used, rows * s->hidden_stride * f);
    s->y = cut(m, &used, rows * s->hidden_stride * f);
    s->qkv = cut(m, &used, rows * s->qkv_stride * f);
    s->a = cut(m, &used, rows * s->q_stride * f);
    s->up = cut(m, &used, rows * s->up_stride * f);
    s->gate = cut(m, &used, rows * s->up_stride * f);
    s->prepared = cut(m, &used, rows * e->prepared_stride);
    uint64_t table = plan->rotary.pairs && !plan->rotary.rows
                         ? (uint64_t)s->limits.depth * plan->rotary.pairs
                         : 0;
    s->cos = cut(m, &used, table * f);
    s->sin = cut(m, &used, table * f);
    s->all = cut(m, &used, rows * sizeof *s->all);
    s->wanted = cut(m, &used, rows * sizeof *s->wanted);
    s->tiles = cut(m, &used, 2 * rows * sizeof *s->tiles);
    s->own = cut(m, &used, threads * sizeof *s->own);
    s->parts = cut(m, &used, threads * sizeof *s->parts);
    for (uint32_t i = 0; i < threads; i++) {
        native_own own = {.h = cut(m, &used, FEW_ROWS * s->hidden_stride * f),
                          .prepared = cut(m, &used, FEW_ROWS * e->prepared_stride),
                          .attend = cut(m, &used,
                                        (uint64_t)TILE_ROWS * (plan->heads / e->side) *
                                            e->vector->state_size(e->side, plan->head_dim) * f),
                          .block =
                              cut(m, &used, (uint64_t)2 * KVF_BLOCK * e->side * plan->head_dim * f),
                          .stack = cut(m, &used, (uint64_t)2 * TILE_ROWS * e->widest_stage * f)};
        if (m) s->own[i] = own;
    }
    return used;
}

static uint64_t cache_bytes(const native_engine *e, const kvf_limits *limits)
{
    uint64_t bytes = native_element(e), rows = 0;
    if (!kvf_mul(bytes * e->kv_dim, (uint64_t)2 * e->plan->layers, &bytes) ||
        !kvf_mul(bytes, limits->slots, &rows))
        return UINT64_MAX;
    return rows;
}

static uint64_t native_bytes(const void *engine, const kvf_limits *limits)
{
    native_state s = {.engine = engine, .limits = *limits};
    uint64_t total, cache = cache_bytes(engine, limits);
    return kvf_add(cache, lay_out(&s), &total) ? total : UINT64_MAX;
}

static void native_close(void *state)
{
    native_state *s = state;
    if (!s) return;
    kvf_free_pages(s->cache, s->cache_bytes);
    kvf_free_pages(s->memory, s->memory_bytes);
    kvf_free(s);
}

static kvf_status native_open(void **state, void *engine, const kvf_limits *limits, kvf_error *err)
{
    *state = NULL;
    native_state *s = kvf_array(1, sizeof *s);
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "a tree of the native engine");
    s->engine = engine;
    s->limits = *limits;
    s->cache_bytes = cache_bytes(engine, limits);
    s->memory_bytes = lay_out(s);
    s->cache = s->cache_bytes < SIZE_MAX / 2 ? kvf_pages(s->cache_bytes) : NULL;
    s->memory = s->cache ? kvf_pages(s->memory_bytes) : NULL;
    if (!s->memory) {
        kvf_status status =
            kvf_fail(err, KVF_ERR_NOMEM, "%u rows of cache and buffers for %u rows take %llu bytes",
                     limits->slots, limits->rows,
                     (unsigned long long)(s->cache_bytes + s->memory_bytes));
        native_close(s);
        return status;
    }
    kvf_touch_pages(s->cache, s->cache_bytes);
    kvf_touch_pages(s->memory, s->memory_bytes);
    lay_out(s);
    for (uint32_t i = 0; i < limits->rows; i++) s->all[i] = i;
    const kvf_rotary *r = &s->engine->plan->rotary;
    if (r->pairs && !r->rows) kvf_rotary_tabulate(r, s->limits.depth, s->cos, s->sin);
    *state = s;
    return KVF_OK;
}

static void native_stats(const void *state, kvf_engine_stats *stats)
{
    const native_state *s = state;
    *stats = (kvf_engine_stats){.cache_bytes = s->cache_bytes, .buffer_bytes = s->memory_bytes};
}

static kvf_peak native_peak(const struct kvf_model *model)
{
    const kvf_model_info *info = &model->info;
    kvf_peak peak = {.weights = info->weight_bytes};
    kvf_cpu cpu;
    int precision; /* of weights held in several there is none */
    if (kvf_cpu_pick(&cpu, info->cpu, NULL)) return peak;
    if (!kvf_precision_read(&precision, info->precision, "native", KVF_PRECISIONS, NULL))
        peak.operations = kvf_probe_peak(cpu, (kvf_precision)precision, info->threads);
    peak.bandwidth = kvf_probe_read_bandwidth(cpu, (size_t)info->weight_bytes, info->threads);
    return peak;
}

const kvf_engine_ops kvf_engine_native = {
    .name = "native",
    .accepts = native_accepts,
    .load = native_load,
    .unload = native_unload,
    .open = native_open,
    .close = native_close,
    .bytes = native_bytes,
    .forward = kvf_native_forward,
    .stats = native_stats,
    .peak = native_peak,
};
