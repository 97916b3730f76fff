/* state.c - a tree on the device: all of its memory is taken once, in one piece. */
#include "cuda.h"

#include <string.h>

enum { PARTIAL_SPANS = 16384 }; /* of rows and spans that wait to be merged, about */

/* ---- sizes ----------------------------------------------------------------------------------- */

static void set_sizes(cuda_state *s)
{
    const cuda_engine *e = s->engine;
    const kvf_plan *plan = e->plan;
    s->spans = (s->limits.depth + KVF_SPAN - 1) / KVF_SPAN;
    s->group_rows = PARTIAL_SPANS / s->spans;
    if (s->group_rows < 1) s->group_rows = 1;
    if (s->group_rows > s->limits.rows) s->group_rows = s->limits.rows;
    s->pieces = (s->limits.rows + CUDA_OUT_ROWS - 1) / CUDA_OUT_ROWS;
    s->hidden_stride = cuda_up_to(plan->hidden, KVF_UNIT);
    s->qkv_stride = cuda_up_to(e->q_dim + 2 * e->kv_dim, KVF_UNIT);
    s->h_stride = s->hidden_stride;
    s->a_stride = cuda_up_to(e->q_dim, KVF_UNIT);
    s->up_stride = cuda_up_to(e->inner, KVF_UNIT);
    s->stack_stride = cuda_up_to(e->widest_stage, KVF_UNIT);
}

/* Where lists of a pass begin; returns their bytes. */
static uint64_t lay_out_lists(cuda_state *s)
{
    const uint64_t rows = s->limits.rows,
                   size[CUDA_LISTS] = {
                       [CUDA_COUNTS] = sizeof(cuda_counts),
                       [CUDA_PIECES] = (uint64_t)KVF_HEADS * s->pieces * sizeof(uint32_t),
                       [CUDA_WANTED] = rows * sizeof(uint32_t),
                       [CUDA_OUTS] = KVF_HEADS * rows * sizeof(uint32_t),
                       [CUDA_ROWS] = rows * sizeof(cuda_row),
                       [CUDA_RUNS] = (uint64_t)s->limits.runs * sizeof(kvf_run),
                       [CUDA_ITEMS] = 2 * rows * s->spans * sizeof(cuda_item),
                       [CUDA_WANTED_ITEMS] = 2 * rows * s->spans * sizeof(cuda_item),
                   };
    uint64_t at = 0;
    for (int i = 0; i < CUDA_LISTS; i++) {
        s->at[i] = at;
        at += (size[i] + 63) & ~(uint64_t)63;
    }
    s->at[CUDA_LISTS] = at;
    return at;
}

static uint64_t cache_bytes(const cuda_engine *e, const kvf_limits *limits)
{
    uint64_t bytes;
    if (!kvf_mul(e->row_bytes, (uint64_t)2 * e->plan->layers, &bytes) ||
        !kvf_mul(bytes, limits->slots, &bytes))
        return UINT64_MAX;
    return bytes;
}

/* Place all of a tree's memory on the device behind base, or only count it: NULL. */
static uint64_t lay_out(cuda_state *s, uint8_t *base)
{
    const cuda_engine *e = s->engine;
    const kvf_plan *plan = e->plan;
    const uint64_t rows = s->limits.rows, group = s->group_rows, f = sizeof(float);
    const uint64_t turns = plan->rotary.pairs && !plan->rotary.rows
                               ? (uint64_t)s->limits.depth * plan->rotary.pairs
                               : 0;
    kvf_block b = {.base = base};
    s->cache_bytes = cache_bytes(e, &s->limits);
    s->cache = kvf_place(&b, s->cache_bytes, 1);
    uint64_t zeros = b.used;
    s->a = kvf_place(&b, rows * s->a_stride, f);
    s->arrived = kvf_place(&b, group * plan->kv_heads * e->parts, sizeof *s->arrived);
    s->pass = kvf_place(&b, lay_out_lists(s), 1);
    s->zero_bytes = b.used - zeros;
    s->x = kvf_place(&b, rows * s->hidden_stride, f);
    s->h = kvf_place(&b, rows * s->h_stride, f);
    s->qkv = kvf_place(&b, rows * s->qkv_stride, f);
    s->up = kvf_place(&b, rows * s->up_stride, f);
    for (int i = 0; i < 2; i++)
        s->stack[i] = kvf_place(&b, (uint64_t)CUDA_OUT_ROWS * s->stack_stride, f);
    s->cos = kvf_place(&b, turns, f);
    s->sin = kvf_place(&b, turns, f);
    s->partial = kvf_place(&b, group * s->spans * plan->heads * (plan->head_dim + 2), f);
    for (int h = 0; h < KVF_HEADS; h++)
        s->out[h] = kvf_place(&b, (uint64_t)CUDA_OUT_ROWS * plan->head[h].width, f);
    return b.used;
}

/* The host's part: what is sent, what comes back, and bookkeeping of a pass. */
static uint64_t lay_out_host(cuda_state *s, uint8_t *base)
{
    const uint64_t rows = s->limits.rows, groups = (rows + s->group_rows - 1) / s->group_rows;
    kvf_block b = {.base = base};
    s->next = kvf_place(&b, s->at[CUDA_LISTS], 1);
    s->all = kvf_place(&b, rows, sizeof *s->all);
    s->tiles = kvf_place(&b, rows, sizeof *s->tiles);
    for (int i = 0; i < 2; i++)
        s->group_items[i] = kvf_place(&b, groups + 1, sizeof *s->group_items[i]);
    return b.used;
}

/* And what the device reads and writes there. */
static uint64_t lay_out_pinned(cuda_state *s, uint8_t *base)
{
    kvf_block b = {.base = base};
    s->sent = kvf_place(&b, s->at[CUDA_LISTS], 1);
    for (int h = 0; h < KVF_HEADS; h++)
        s->received[h] =
            kvf_place(&b, (uint64_t)CUDA_OUT_ROWS * s->engine->plan->head[h].width, sizeof(float));
    return b.used;
}

uint64_t kvf_cuda_state_bytes(const void *engine, const kvf_limits *limits)
{
    cuda_state s = {.engine = engine, .limits = *limits};
    set_sizes(&s);
    uint64_t total = lay_out(&s, NULL);
    return kvf_add(total, lay_out_host(&s, NULL), &total) &&
                   kvf_add(total, lay_out_pinned(&s, NULL), &total)
               ? total
               : UINT64_MAX;
}

/* ---- opening --------------------------------------------------------------------------------- */

static cudaError_t send_turns(cuda_state *s)
{
    const kvf_rotary *r = &s->engine->plan->rotary;
    uint64_t n = (uint64_t)s->limits.depth * r->pairs;
    if (!r->pairs || r->rows) return cudaSuccess;
    float *turns = kvf_array(2 * n, sizeof *turns);
    if (!turns) return cudaErrorMemoryAllocation;
    kvf_rotary_tabulate(r, s->limits.depth, turns, turns + n);
    cudaError_t code = cudaMemcpy(s->cos, turns, n * sizeof *turns, cudaMemcpyHostToDevice);
    if (!code) code = cudaMemcpy(s->sin, turns + n, n * sizeof *turns, cudaMemcpyHostToDevice);
    if (!code) code = cudaStreamSynchronize(NULL); /* no stream of ours waits for that */
    kvf_free(turns);
    return code;
}

static cudaError_t take_memory(cuda_state *s)
{
    uint8_t *pinned = NULL;
    cudaError_t code = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
    if (!code) code = cudaMalloc((void **)&s->memory, s->memory_bytes);
    if (!code) code = cudaMallocHost((void **)&pinned, lay_out_pinned(s, NULL));
    if (code) return code;
    lay_out_pinned(s, pinned);
    memset(s->sent, 0, s->at[CUDA_LISTS]);
    lay_out(s, s->memory);
    /* Attention writes no zeros behind its rows, spans are counted from zero, and nothing was sent. */
    code = cudaMemsetAsync(s->a, 0, s->zero_bytes, s->stream);
    if (!code) code = cudaStreamSynchronize(s->stream);
    if (!code) code = send_turns(s);
    return code;
}

kvf_status kvf_cuda_state_open(void **state, void *engine, const kvf_limits *limits, kvf_error *err)
{
    const cuda_engine *e = engine;
    cuda_before before;
    *state = NULL;
    cuda_state *s = kvf_array(1, sizeof *s);
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "a tree of the cuda engine");
    s->engine = e;
    s->limits = *limits;
    set_sizes(s);
    s->memory_bytes = lay_out(s, NULL);
    uint64_t host = lay_out_host(s, NULL);
    uint8_t *base = kvf_array(host, 1);
    cudaError_t code = cudaSuccess;
    kvf_status status = KVF_OK;
    size_t available = 0, total = 0;
    if (!base || s->memory_bytes > SIZE_MAX / 2) {
        kvf_free(base);
        kvf_free(s);
        return kvf_fail(err, KVF_ERR_NOMEM, "%u rows of cache and buffers for %u rows",
                        limits->slots, limits->rows);
    }
    lay_out_host(s, base);
    s->host_bytes = host + lay_out_pinned(s, NULL);
    for (uint32_t i = 0; i < limits->rows; i++) s->all[i] = i;
    code = kvf_cuda_enter(e, &before);
    if (!code) code = take_memory(s);
    if (code) {
        (void)cudaMemGetInfo(&available, &total);
        status = kvf_cuda_fail(err, code, "taking memory for a tree");
        status =
            kvf_prefix(err, status,
                       "%u rows of cache and buffers for %u rows take %llu bytes of the "
                       "device, %zu are free: ",
                       limits->slots, limits->rows, (unsigned long long)s->memory_bytes, available);
    }
    kvf_cuda_leave(before);
    if (status)
        kvf_cuda_state_close(s);
    else
        *state = s;
    return status;
}

void kvf_cuda_state_close(void *state)
{
    cuda_state *s = state;
    cuda_before before;
    if (!s) return;
    (void)kvf_cuda_enter(s->engine, &before);
    for (int i = 0; i < CUDA_GRAPHS; i++)
        if (s->graphs[i].exec) (void)cudaGraphExecDestroy(s->graphs[i].exec);
    if (s->stream) (void)cudaStreamDestroy(s->stream);
    if (s->sent) (void)cudaFreeHost(s->sent);
    if (s->memory) (void)cudaFree(s->memory);
    (void)cudaGetLastError();
    kvf_cuda_leave(before);
    kvf_free(s->next);
    kvf_free(s);
}

void kvf_cuda_state_stats(const void *state, kvf_engine_stats *stats)
{
    const cuda_state *s = state;
    cuda_before before;
    size_t available = 0, total = 0;
    if (kvf_cuda_enter(s->engine, &before) || cudaMemGetInfo(&available, &total))
        total = available = 0;
    (void)cudaGetLastError();
    kvf_cuda_leave(before);
    *stats = (kvf_engine_stats){
        .cache_bytes = s->cache_bytes,
        .buffer_bytes = s->memory_bytes - s->cache_bytes + s->host_bytes,
        .sent_bytes = s->sent_bytes,
        .received_bytes = s->received_bytes,
        .device_bytes = total - available,
    };
}
