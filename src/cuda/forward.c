/* forward.c - one pass over rows of the token tree, in model order.
 *
 * The same text issues the kernels of a pass or records them: passes of few rows run as graphs, whose
 * kernels find the numbers of rows and all lists on the device. A kernel that normed rows are made
 * for, but which has few of them, makes them itself.
 *
 * In the last layer only rows with outputs go on behind their K and V: the list `active` has them,
 * and from there on buffers are indexed by their place in it; x keeps the pass's order. */
#include "cuda.h"

#include <string.h>

enum {
    OWN_NORM_ROWS = 8,   /* that a product norms itself, at most */
    OWN_MERGE_ROWS = 16, /* whose spans the blocks of attention merge themselves, at most */
};

typedef struct issue {
    cuda_state *s;
    const cuda_engine *e;
    const kvf_plan *plan;
    cuda_list active;
    uint32_t rows; /* at most so many active rows */
} issue;

/* ---- kernels --------------------------------------------------------------------------------- */

static void launch(cuda_state *s, const char *doing, const void *kernel, dim3 grid,
                   uint32_t threads, size_t shared, void *args)
{
    cudaLaunchAttribute overlap = {.id = cudaLaunchAttributeProgrammaticStreamSerialization};
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {.gridDim = grid,
                                 .blockDim = {threads, 1, 1},
                                 .dynamicSmemBytes = shared,
                                 .stream = s->stream,
                                 .attrs = &overlap,
                                 .numAttrs = s->engine->overlap};
    void *all[] = {args};
    if (s->failed) return;
    cuda_did(s, doing, cudaLaunchKernelExC(&config, kernel, all));
}

static void change_rows(const issue *f, const char *doing, cuda_rowwise *p)
{
    dim3 grid = {(f->rows + KVF_CUDA_WARPS - 1) / KVF_CUDA_WARPS, 1, 1};
    launch(f->s, doing, kvf_cuda_rowwise_kernel(), grid, KVF_CUDA_WARPS * 32, 0, p);
}

/* Norm of the active rows of the residual stream, to y by place. */
static void norm_rows(const issue *f, const cuda_norm *norm, void *y, uint32_t y_stride, bool bf16)
{
    cuda_rowwise p = {.list = f->active,
                      .x = f->s->x,
                      .y = y,
                      .x_stride = f->s->hidden_stride,
                      .y_stride = y_stride,
                      .x_by_row = true,
                      .y_bf16 = bf16,
                      .norm = *norm};
    p.norm.width = f->plan->hidden;
    change_rows(f, "norm", &p);
}

/* Of rows that a product norms itself: shared memory. */
static size_t own_norm_bytes(const cuda_weights *w, uint32_t rows)
{
    return (size_t)rows * (w->units + 1) * KVF_UNIT * (cuda_reads_bf16(w->precision) ? 2 : 4);
}

static void multiply(const issue *f, const char *doing, cuda_product *p)
{
    uint32_t tile, columns, threads;
    const void *kernel = kvf_cuda_product_kernel(&p->w, f->rows, &tile, &columns, &threads);
    size_t shared = p->norm.kind ? own_norm_bytes(&p->w, f->rows < tile ? f->rows : tile) : 0;
    dim3 grid = {(p->w.panels + columns - 1) / columns, (f->rows + tile - 1) / tile, 1};
    launch(f->s, doing, kernel, grid, threads, shared, p);
}

/* y = norm(x) W + b of the active rows of the residual stream. */
static void multiply_normed(const issue *f, const char *doing, const cuda_norm *norm,
                            cuda_product *p)
{
    cuda_state *s = f->s;
    p->list = f->active;
    if (norm->kind && f->rows <= OWN_NORM_ROWS &&
        own_norm_bytes(&p->w, f->rows) <= KVF_OWN_NORM_BYTES) {
        p->norm = *norm;
        p->x = s->x;
        p->x_stride = s->hidden_stride;
    } else {
        norm_rows(f, norm, s->h, s->h_stride, cuda_reads_bf16(p->w.precision));
        p->x = s->h;
        p->x_stride = s->h_stride;
    }
    multiply(f, doing, p);
}

/* x += h W + b */
static void add_product(const issue *f, const char *doing, const cuda_weights *w, const void *h,
                        uint32_t h_stride)
{
    cuda_product p = {.w = *w,
                      .list = f->active,
                      .x = h,
                      .x_stride = h_stride,
                      .y = f->s->x,
                      .y_stride = f->s->hidden_stride,
                      .todo = CUDA_ADD,
                      .y_by_row = true};
    multiply(f, doing, &p);
}

/* ---- the story, in order --------------------------------------------------------------------- */

static void embed(const issue *f)
{
    const cuda_engine *e = f->e;
    cuda_embed args = {.list = f->active,
                       .rows = cuda_list_on_device(f->s, CUDA_ROWS),
                       .token = e->token_table,
                       .position = e->position_table,
                       .token_bf16 = e->token_bf16,
                       .position_bf16 = e->position_bf16,
                       .offset = f->plan->position_offset,
                       .hidden = f->plan->hidden,
                       .x_stride = f->s->hidden_stride,
                       .scale = f->plan->embedding_scale,
                       .x = f->s->x};
    launch(f->s, "embedding", kvf_cuda_embed_kernel(), (dim3){f->rows, 1, 1}, KVF_CUDA_WARPS * 32,
           0, &args);
}

static uint8_t *cache_rows(const cuda_state *s, uint32_t layer, uint32_t v)
{
    return s->cache + ((size_t)layer * 2 + v) * s->limits.slots * s->engine->row_bytes;
}

static void store(const issue *f, uint32_t layer)
{
    const cuda_engine *e = f->e;
    const kvf_rotary *r = &f->plan->rotary;
    const cuda_layer *l = &e->layer[layer];
    bool q_too = r->pairs || l->q_norm.kind;
    cuda_store args = {.list = f->active,
                       .rows = cuda_list_on_device(f->s, CUDA_ROWS),
                       .qkv = f->s->qkv,
                       .k = cache_rows(f->s, layer, 0),
                       .v = cache_rows(f->s, layer, 1),
                       .qkv_stride = f->s->qkv_stride,
                       .heads = f->plan->heads,
                       .kv_heads = f->plan->kv_heads,
                       .head_dim = f->plan->head_dim,
                       .head_stride = e->head_stride,
                       .bf16 = e->bf16_cache,
                       .first_head = q_too ? 0 : f->plan->heads,
                       .q_norm = l->q_norm,
                       .k_norm = l->k_norm,
                       .cos = r->rows ? e->cos : f->s->cos,
                       .sin = r->rows ? e->sin : f->s->sin,
                       .pairs = r->pairs,
                       .interleaved = r->interleaved};
    uint32_t heads = f->plan->heads + f->plan->kv_heads - args.first_head;
    dim3 grid = {(heads + KVF_CUDA_WARPS - 1) / KVF_CUDA_WARPS, f->rows, 1};
    launch(f->s, "storing K and V", kvf_cuda_store_kernel(), grid, KVF_CUDA_WARPS * 32, 0, &args);
}

/* Attention of the active rows: in as many launches as there are groups of rows whose spans wait for
 * each other. */
static void attend(const issue *f, uint32_t layer, bool wanted, uint32_t items)
{
    cuda_state *s = f->s;
    const cuda_engine *e = f->e;
    const uint32_t *begin = s->group_items[wanted];
    const cuda_item *all = cuda_list_on_device(s, wanted ? CUDA_WANTED_ITEMS : CUDA_ITEMS);
    const void *kernel = kvf_cuda_attend_kernel(e->bf16_cache, f->plan->head_dim);
    cuda_attend args = {.list = f->active,
                        .rows = cuda_list_on_device(s, CUDA_ROWS),
                        .runs = cuda_list_on_device(s, CUDA_RUNS),
                        .qkv = s->qkv,
                        .k = cache_rows(s, layer, 0),
                        .v = cache_rows(s, layer, 1),
                        .a = s->a,
                        .partial = s->partial,
                        .arrived = s->arrived,
                        .spans = s->spans,
                        .qkv_stride = s->qkv_stride,
                        .a_stride = s->a_stride,
                        .a_bf16 = cuda_reads_bf16(e->precision),
                        .heads = f->plan->heads,
                        .kv_heads = f->plan->kv_heads,
                        .head_dim = f->plan->head_dim,
                        .head_stride = e->head_stride,
                        .parts = e->parts,
                        .merged_apart = f->rows > OWN_MERGE_ROWS && s->spans > 1,
                        .scale = f->plan->layer[layer].scale * 1.44269504f};
    for (uint32_t g = 0; g < s->n_groups[wanted]; g++) {
        bool only = s->n_groups[wanted] == 1; /* then with items that do nothing */
        args.first_place = g * s->group_rows;
        args.items = all + (only ? 0 : begin[g]);
        dim3 grid = {only ? items : begin[g + 1] - begin[g], f->plan->kv_heads * e->parts, 1};
        launch(s, "attention", kernel, grid, KVF_CUDA_WARPS * 32, 0, &args);
        if (!args.merged_apart) continue;
        uint32_t left = f->rows - args.first_place;
        grid = (dim3){(args.heads + KVF_CUDA_WARPS - 1) / KVF_CUDA_WARPS,
                      left < s->group_rows ? left : s->group_rows, 1};
        launch(s, "merging spans", kvf_cuda_merge_kernel(), grid, KVF_CUDA_WARPS * 32, 0, &args);
    }
}

static void mlp(const issue *f, uint32_t layer)
{
    const cuda_layer *w = &f->e->layer[layer];
    cuda_product up = {.w = w->up,
                       .y = f->s->up,
                       .y_stride = f->s->up_stride,
                       .act = f->plan->layer[layer].act,
                       .y_bf16 = cuda_reads_bf16(f->e->precision)};
    multiply_normed(f, "up", &w->mlp_norm, &up);
    add_product(f, "down", &w->down, f->s->up, f->s->up_stride);
}

static void layer(issue *f, uint32_t i, const cuda_shape *shape)
{
    cuda_state *s = f->s;
    const cuda_layer *w = &f->e->layer[i];
    cuda_product qkv = {.w = w->qkv, .y = s->qkv, .y_stride = s->qkv_stride};
    multiply_normed(f, "q, k and v", &w->attn_norm, &qkv);
    store(f, i);
    bool last = i + 1 == f->plan->layers;
    if (last) { /* K and V are all that the others were needed for */
        const cuda_counts *counts = cuda_list_on_device(s, CUDA_COUNTS);
        f->active = (cuda_list){&counts->wanted, cuda_list_on_device(s, CUDA_WANTED)};
        f->rows = shape->wanted;
        if (!f->rows) return;
    }
    attend(f, i, last, last ? shape->wanted_items : shape->items);
    if (f->plan->parallel) mlp(f, i); /* both start from x as it is */
    add_product(f, "o", &w->o, s->a, s->a_stride);
    if (!f->plan->parallel) mlp(f, i);
}

static void trunk(cuda_state *s, const cuda_shape *shape)
{
    const cuda_counts *counts = cuda_list_on_device(s, CUDA_COUNTS);
    issue f = {.s = s,
               .e = s->engine,
               .plan = s->engine->plan,
               .active = {&counts->rows, NULL},
               .rows = shape->rows};
    embed(&f);
    for (uint32_t i = 0; i < f.plan->layers; i++) layer(&f, i, shape);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* A stack of stages over normed rows, from one buffer into the other and at last to out. */
static void run_stack(const issue *f, kvf_head head)
{
    cuda_state *s = f->s;
    const kvf_stack *stack = &f->plan->head[head];
    cuda_list rows = {f->active.n, NULL};
    uint32_t width = f->plan->hidden, from = 0;
    for (uint32_t i = 0; i < stack->n_stages; i++) {
        const kvf_stage *stage = &stack->stages[i];
        bool last = i + 1 == stack->n_stages;
        float *x = s->stack[from], *y = last ? s->out[head] : s->stack[1 - from];
        uint32_t y_stride = last ? stack->width : s->stack_stride;
        if (stage->kind == KVF_STAGE_LINEAR) {
            cuda_product p = {.w = f->e->head[head][i].linear,
                              .list = rows,
                              .x = x,
                              .y = y,
                              .x_stride = s->stack_stride,
                              .y_stride = y_stride};
            multiply(f, "a head", &p);
            width = p.w.out;
        } else {
            cuda_rowwise p = {.list = rows,
                              .x = x,
                              .y = y,
                              .x_stride = s->stack_stride,
                              .y_stride = y_stride,
                              .width = width,
                              .act = stage->kind == KVF_STAGE_ACT ? stage->act : KVF_ACT_NONE,
                              .norm = f->e->head[head][i].norm};
            p.norm.width = width;
            change_rows(f, "a head", &p);
        }
        from = 1 - from;
    }
}

/* One piece of the rows that want a head: at most `rows`. */
static void run_head(cuda_state *s, kvf_head head, uint32_t piece, uint32_t rows)
{
    const cuda_engine *e = s->engine;
    const kvf_stack *stack = &e->plan->head[head];
    const uint32_t *counts = cuda_list_on_device(s, CUDA_PIECES),
                   *index = cuda_list_on_device(s, CUDA_OUTS);
    issue f = {.s = s, .e = e, .plan = e->plan, .rows = rows};
    f.active = (cuda_list){counts + head * s->pieces + piece,
                           index + (size_t)head * s->limits.rows + piece * CUDA_OUT_ROWS};
    if (head == KVF_HIDDEN) {
        norm_rows(&f, &e->final_norm, s->out[head], e->plan->hidden, false);
    } else if (stack->n_stages == 1 && stack->stages[0].kind == KVF_STAGE_LINEAR) {
        cuda_product p = {.w = e->head[head][0].linear,
                          .y = s->out[head],
                          .y_stride = stack->width};
        multiply_normed(&f, "logits", &e->final_norm, &p);
    } else {
        norm_rows(&f, &e->final_norm, s->stack[0], s->stack_stride, false);
        run_stack(&f, head);
    }
}

static uint32_t rows_of_piece(uint32_t rows, uint32_t piece)
{
    uint32_t before = piece * CUDA_OUT_ROWS, left = rows > before ? rows - before : 0;
    return left < CUDA_OUT_ROWS ? left : CUDA_OUT_ROWS;
}

static void run_heads(cuda_state *s, const cuda_shape *shape, uint32_t piece)
{
    for (int h = 0; h < KVF_HEADS; h++) {
        uint32_t rows = rows_of_piece(shape->outs[h], piece);
        if (rows) run_head(s, (kvf_head)h, piece, rows);
    }
}

/* Bring a piece of all heads, and give rows to whom they belong. */
static void receive(cuda_state *s, const kvf_pass_outputs *out, uint32_t piece)
{
    const uint32_t *pieces = cuda_list_on_host(s, CUDA_PIECES),
                   *rows = cuda_list_on_host(s, CUDA_OUTS);
    for (int h = 0; h < KVF_HEADS && !s->failed; h++) {
        uint64_t bytes = (uint64_t)pieces[h * s->pieces + piece] * s->engine->plan->head[h].width *
                         sizeof(float);
        if (bytes && cuda_did(s, "bringing outputs back",
                              cudaMemcpyAsync(s->received[h], s->out[h], bytes,
                                              cudaMemcpyDeviceToHost, s->stream)))
            s->received_bytes += bytes;
    }
    if (!cuda_did(s, "waiting for a pass", cudaStreamSynchronize(s->stream))) return;
    for (int h = 0; h < KVF_HEADS; h++) {
        const uint32_t *row = rows + (size_t)h * s->limits.rows + piece * CUDA_OUT_ROWS,
                       width = s->engine->plan->head[h].width;
        for (uint32_t i = 0; i < pieces[h * s->pieces + piece]; i++)
            memcpy(out->head[h][row[i]], s->received[h] + (size_t)i * width, width * sizeof(float));
    }
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static void record(cuda_state *s, const cuda_shape *shape, cudaGraphExec_t *exec)
{
    cudaGraph_t graph = NULL;
    if (!cuda_did(s, "recording a pass",
                  cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeRelaxed)))
        return;
    trunk(s, shape);
    run_heads(s, shape, 0);
    cudaError_t code = cudaStreamEndCapture(s->stream, &graph); /* also after a failure */
    if (cuda_did(s, "recording a pass", code))
        cuda_did(s, "making a graph", cudaGraphInstantiate(exec, graph, 0));
    if (graph) (void)cudaGraphDestroy(graph);
    if (s->failed) *exec = NULL;
}

/* What is known of a shape; a new one takes the place of the least recently used. */
static cuda_graph *find_shape(cuda_state *s, const cuda_shape *shape)
{
    cuda_graph *oldest = &s->graphs[0];
    for (int i = 0; i < CUDA_GRAPHS; i++) {
        cuda_graph *g = &s->graphs[i];
        if (g->used && !memcmp(&g->shape, shape, sizeof *shape)) return g;
        if (g->used < oldest->used) oldest = g;
    }
    if (oldest->exec) (void)cudaGraphExecDestroy(oldest->exec);
    *oldest = (cuda_graph){.shape = *shape};
    return oldest;
}

/* The graph of a shape that was seen before. NULL: it was not, or no graph can be made, for which the
 * driver needs memory of its own; the pass runs kernel by kernel then. */
static cudaGraphExec_t graph_of(cuda_state *s, const cuda_shape *shape)
{
    cuda_graph *g = find_shape(s, shape);
    if (g->used && !g->exec) {
        record(s, shape, &g->exec);
        if (s->failed) (void)cudaGetLastError();
        s->failed = cudaSuccess; /* where the device is lost, the next call says so too */
    }
    g->used = ++s->clock;
    return g->exec;
}

/* ---- the pass -------------------------------------------------------------------------------- */

static void run(cuda_state *s, const kvf_pass *pass, const kvf_pass_outputs *out)
{
    cuda_shape shape;
    cudaGraphExec_t graph = NULL;
    uint32_t most = 0;
    kvf_cuda_send_pass(s, pass, out, &shape);
    for (int h = 0; h < KVF_HEADS; h++)
        if (shape.outs[h] > most) most = shape.outs[h];
    if (!s->failed && shape.small) graph = graph_of(s, &shape);
    if (graph) {
        cuda_did(s, "running a pass", cudaGraphLaunch(graph, s->stream));
        receive(s, out, 0);
        return;
    }
    trunk(s, &shape);
    for (uint32_t piece = 0; piece == 0 || piece * CUDA_OUT_ROWS < most; piece++) {
        run_heads(s, &shape, piece);
        receive(s, out, piece);
    }
}

kvf_status kvf_cuda_forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                            kvf_error *err)
{
    cuda_state *s = state;
    cuda_before before;
    s->failed = cudaSuccess;
    s->doing = "taking the device";
    if (cuda_did(s, s->doing, kvf_cuda_enter(s->engine, &before))) run(s, pass, out);
    kvf_cuda_leave(before);
    if (!s->failed) return KVF_OK;
    s->unknown = true;
    return kvf_cuda_fail(err, s->failed, s->doing);
}
