/* forward.c - one pass over rows of the token tree, in model order.
 *
 * Every member of the team runs the same text; work is divided by rows, heads or panels of
 * outputs, never within a sum, and members meet where one needs what another wrote. With few
 * rows each member makes the rows ready for a product by itself, which costs less than meeting.
 *
 * In the last layer only rows with outputs go on behind their K and V: `active` lists them, and
 * from there on buffers are indexed by their place in that list; x keeps the pass's order. */
#include "native.h"

#include <string.h>

/* What one member carries along. */
typedef struct team {
    native_part *f;
    const kvf_member *me;
    native_state *s;
    const native_engine *e;
    const kvf_plan *plan;
    native_own *own;
    const uint32_t *active;
    uint32_t n;
    const kvf_tile *tiles;
    uint32_t n_tiles;
} team;

static float *x_row(const team *t, uint32_t i)
{
    return t->s->x + t->active[i] * t->s->hidden_stride;
}

/* ---- products -------------------------------------------------------------------------------- */

/* Make rows of x ready for the product: rows come from x, which is shared and finished. */
static void prepare(const team *t, kvf_product *p)
{
    if (!kvf_prepared_bytes(p->w, 1)) return;
    size_t begin = 0, end = p->rows;
    bool alone = p->rows <= FEW_ROWS;
    p->prepared = alone ? t->own->prepared : t->s->prepared;
    if (!alone) kvf_share(t->me, p->rows, &begin, &end);
    kvf_prepare(t->e->linear, p, begin, end);
    if (!alone) kvf_meet(t->me);
}

/* Normed rows of the residual stream, as x of a product. */
static void normed(const team *t, const kvf_norm *norm, kvf_product *p)
{
    size_t begin = 0, end = t->n;
    bool alone = t->n <= FEW_ROWS;
    float *h = alone ? t->own->h : t->s->h;
    if (!alone) kvf_share(t->me, t->n, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        float *row = h + i * t->s->hidden_stride;
        if (norm->kind == KVF_NORM_NONE)
            memcpy(row, x_row(t, (uint32_t)i), t->plan->hidden * sizeof *row);
        else
            t->e->vector->norm(norm, x_row(t, (uint32_t)i), row, t->plan->hidden);
    }
    p->x = h;
    p->x_stride = t->s->hidden_stride;
    p->rows = t->n;
    if (!alone) kvf_meet(t->me);
}

/* This member's panels of y = x W + b; returns its range of outputs. */
static void multiply(const team *t, const kvf_product *p, size_t *first, size_t *end)
{
    size_t begin_panel, end_panel;
    kvf_share(t->me, p->w->panels, &begin_panel, &end_panel);
    kvf_multiply(t->e->linear, p, (uint32_t)begin_panel, (uint32_t)end_panel);
    *first = begin_panel * KVF_PANEL;
    *end = end_panel * KVF_PANEL < p->w->out ? end_panel * KVF_PANEL : p->w->out;
}

/* x += h W + b */
static void add_product(const team *t, kvf_product *p)
{
    size_t first, end;
    p->y = t->s->y;
    p->y_stride = t->s->hidden_stride;
    prepare(t, p);
    multiply(t, p, &first, &end);
    if (first < end)
        for (uint32_t i = 0; i < t->n; i++)
            t->e->vector->add(x_row(t, i) + first, p->y + i * p->y_stride + first, end - first);
    kvf_meet(t->me);
}

/* ---- the story, in order --------------------------------------------------------------------- */

/* The first write to a row of the cache waits for memory, unless its lines are asked for ahead. */
static void ask_for(const uint8_t *row, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 1);
}

static void embed(const team *t)
{
    const kvf_plan *plan = t->plan;
    const size_t bytes = t->e->kv_dim * native_element(t->e);
    const kvf_vector *v = t->e->vector;
    size_t begin, end;
    kvf_share(t->me, t->f->pass.n_rows, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        const kvf_row *row = &t->f->pass.rows[i];
        for (uint32_t j = 0; j < 2; j++)
            ask_for(native_rows(t->s, 0, j) + row->slot * bytes, bytes);
        float *x = t->s->x + i * t->s->hidden_stride, *p = t->s->y + i * t->s->hidden_stride;
        kvf_matrix_row(&plan->token_embedding, (uint32_t)row->token, x);
        if (plan->embedding_scale != 1.0f) v->scale(x, plan->embedding_scale, x, plan->hidden);
        if (!plan->position_embedding.data) continue;
        kvf_matrix_row(&plan->position_embedding, row->position + plan->position_offset, p);
        v->add(x, p, plan->hidden);
    }
    kvf_meet(t->me);
}

static void norm_and_turn(const team *t, const kvf_norm *norm, uint32_t position, float *head)
{
    const kvf_plan *plan = t->plan;
    if (norm->kind != KVF_NORM_NONE) t->e->vector->norm(norm, head, head, plan->head_dim);
    uint32_t pairs = plan->rotary.pairs;
    if (!pairs) return;
    const float *cosines = plan->rotary.rows ? plan->rotary.cos : t->s->cos;
    const float *sines = plan->rotary.rows ? plan->rotary.sin : t->s->sin;
    t->e->vector->rotate(head, cosines + (size_t)position * pairs, sines + (size_t)position * pairs,
                         pairs, plan->rotary.interleaved);
}

/* Norm and turn q and k of some heads of K and V of one row, where the plan does. */
static void turn_heads(const team *t, const kvf_layer *l, const kvf_row *row, uint32_t first,
                       uint32_t n, float *q, float *k)
{
    const kvf_plan *plan = t->plan;
    uint32_t group = plan->heads / plan->kv_heads, d = plan->head_dim;
    if (!plan->rotary.pairs && !l->q_norm.kind && !l->k_norm.kind) return;
    for (uint32_t h = first * group; h < (first + n) * group; h++)
        norm_and_turn(t, &l->q_norm, row->position, q + (size_t)h * d);
    for (uint32_t h = first; h < first + n && !row->stored; h++)
        norm_and_turn(t, &l->k_norm, row->position, k + (size_t)h * d);
}

/* Make q of some bundles of one row ready, and store their K and V. */
static void store_bundles(const team *t, uint32_t layer, native_bundle_range bundles, uint32_t r)
{
    const native_engine *e = t->e;
    const kvf_row *row = &t->f->pass.rows[r];
    uint32_t d = t->plan->head_dim, first = bundles.first * e->side;
    float *q = t->s->qkv + r * t->s->qkv_stride, *k = q + e->q_dim, *v = k + e->kv_dim;
    turn_heads(t, &t->plan->layer[layer], row, first, bundles.n * e->side, q, k);
    if (row->stored) return;
    uint32_t side = e->turned ? 1 : e->side, width = e->side * d / side;
    size_t at = (size_t)first * d, element = native_element(e),
           bytes = ((size_t)row->slot * e->kv_dim + at) * element;
    for (uint32_t i = 0; i < 2; i++) { /* K, V */
        uint8_t *to = native_rows(t->s, layer, i) + bytes;
        e->vector->store[e->bf16_cache]((i ? v : k) + at, to, bundles.n, side, width);
        if (layer + 1 < t->plan->layers)
            ask_for(native_rows(t->s, layer + 1, i) + bytes, bundles.n * e->side * d * element);
    }
}

/* Parts of a pass, done apart: K and V of this one are there for later ones, and those of earlier
 * ones, from which rows of this one may descend, are waited for. */
static void exchange(const team *t, uint32_t layer)
{
    native_part *p = t->f;
    atomic_store_explicit(&p->stored, layer + 1, memory_order_release);
    for (uint32_t i = 1; i <= p->before; i++) kvf_await(p->by, &p[-(ptrdiff_t)i].stored, layer + 1);
}

/* Store K and V of all rows, and attend for the active ones. Bundles of heads are independent of
 * each other: where they divide evenly, a member does its own from beginning to end. */
static void attention(const team *t, uint32_t layer)
{
    uint32_t bundles = t->e->bundles, rows = t->f->pass.n_rows;
    size_t begin, end;
    if (bundles % t->me->size == 0) {
        kvf_share(t->me, bundles, &begin, &end);
        native_bundle_range mine = {(uint32_t)begin, (uint32_t)(end - begin)};
        for (uint32_t r = 0; r < rows; r++) store_bundles(t, layer, mine, r);
        if (t->me->size == 1) exchange(t, layer);
        for (uint32_t i = 0; i < t->n_tiles; i++)
            kvf_native_attend(t->s, &t->f->pass, t->active, &t->tiles[i], layer, mine, t->own);
    } else {
        kvf_share(t->me, rows, &begin, &end);
        for (size_t r = begin; r < end; r++)
            store_bundles(t, layer, (native_bundle_range){0, bundles}, (uint32_t)r);
        kvf_meet(t->me);
        kvf_share(t->me, (size_t)bundles * t->n_tiles, &begin, &end);
        for (size_t unit = begin; unit < end; unit++)
            kvf_native_attend(t->s, &t->f->pass, t->active, &t->tiles[unit % t->n_tiles], layer,
                              (native_bundle_range){(uint32_t)(unit / t->n_tiles), 1}, t->own);
    }
    kvf_meet(t->me);
}

static void mlp(const team *t, uint32_t layer)
{
    const native_layer *w = &t->e->layer[layer];
    const kvf_layer *l = &t->plan->layer[layer];
    native_state *s = t->s;
    size_t first, end;
    kvf_product up = {.w = &w->up, .y = s->up, .y_stride = s->up_stride};
    normed(t, &l->mlp_norm, &up);
    prepare(t, &up);
    multiply(t, &up, &first, &end);
    if (l->gate.w
            .data) { /* over the same inputs and the same outputs, so ready and undivided too */
        kvf_product gate = up;
        gate.w = &w->gate;
        gate.y = s->gate;
        multiply(t, &gate, &first, &end);
    }
    for (uint32_t i = 0; i < t->n && first < end; i++) {
        float *x = s->up + i * s->up_stride + first;
        if (l->gate.w.data)
            t->e->vector->act_mul(l->act, s->gate + i * s->up_stride + first, x, end - first);
        else
            t->e->vector->act(l->act, x, end - first);
    }
    kvf_meet(t->me);
    kvf_product down = {.w = &w->down, .x = s->up, .x_stride = s->up_stride, .rows = t->n};
    add_product(t, &down);
}

static void layer(team *t, uint32_t i)
{
    const native_layer *w = &t->e->layer[i];
    native_state *s = t->s;
    size_t first, end;
    kvf_product qkv = {.w = &w->qkv, .y = s->qkv, .y_stride = s->qkv_stride};
    normed(t, &t->plan->layer[i].attn_norm, &qkv);
    prepare(t, &qkv);
    multiply(t, &qkv, &first, &end);
    kvf_meet(t->me);

    if (i + 1 == t->plan->layers) { /* K and V are all that the others were needed for */
        t->active = s->wanted;
        t->n = t->f->n_wanted;
        t->tiles = s->tiles + t->f->n_tiles;
        t->n_tiles = t->f->n_wanted_tiles;
    }
    attention(t, i);
    if (!t->n) return;
    kvf_product o = {.w = &w->o, .x = s->a, .x_stride = s->q_stride, .rows = t->n};
    if (t->plan->parallel) mlp(t, i); /* both start from x as it is */
    add_product(t, &o);
    if (!t->plan->parallel) mlp(t, i);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* The vocabulary: one wide product, straight into the caller's rows, as many at a time as lie
 * evenly spaced there. */
static void wide_head(const team *t, kvf_head head, const kvf_product *hidden)
{
    float *const *rows = t->f->out.head[head];
    for (uint32_t i = 0, n; i < t->n; i += n) {
        float *y = rows[t->active[i]];
        n = 1;
        if (!y) continue;
        ptrdiff_t stride = t->plan->head[head].width;
        while (i + n < t->n && rows[t->active[i + n]] &&
               rows[t->active[i + n]] - rows[t->active[i + n - 1]] == stride)
            n++;
        kvf_product p = *hidden;
        size_t first, end;
        p.w = &t->e->head[head][0];
        p.x += i * p.x_stride;
        p.y = y;
        p.y_stride = (size_t)stride;
        p.rows = n;
        prepare(t, &p);
        multiply(t, &p, &first, &end);
        if (p.rows > FEW_ROWS) kvf_meet(t->me); /* the shared buffer is used again */
    }
}

/* A stack of stages over n <= TILE_ROWS rows, whose inputs lie in own->stack, to the caller's rows. */
static void run_stack(const team *t, kvf_head head, float *const *y, uint32_t n)
{
    const kvf_stack *stack = &t->plan->head[head];
    const kvf_vector *v = t->e->vector;
    size_t wide = t->e->widest_stage;
    float *from = t->own->stack, *to = from + TILE_ROWS * wide;
    uint32_t width = t->plan->hidden;
    for (uint32_t i = 0; i < stack->n_stages; i++) {
        const kvf_stage *stage = &stack->stages[i];
        if (stage->kind == KVF_STAGE_LINEAR) {
            kvf_product p = {.w = &t->e->head[head][i],
                             .x = from,
                             .y = to,
                             .rows = n,
                             .x_stride = wide,
                             .y_stride = wide,
                             .prepared = NULL};
            kvf_prepare(t->e->linear, &p, 0, n);
            kvf_multiply(t->e->linear, &p, 0, p.w->panels);
            float *swap = from;
            from = to;
            to = swap;
            width = p.w->out;
            continue;
        }
        for (uint32_t r = 0; r < n; r++) {
            if (stage->kind == KVF_STAGE_NORM)
                v->norm(&stage->norm, from + r * wide, from + r * wide, width);
            else
                v->act(stage->act, from + r * wide, width);
        }
    }
    for (uint32_t r = 0; r < n; r++) memcpy(y[r], from + r * wide, width * sizeof *from);
}

/* Rows that want a stack's output are collected until there are enough. */
static void stacked_head(const team *t, kvf_head head, const kvf_product *hidden)
{
    float *const *rows = t->f->out.head[head], *y[TILE_ROWS];
    size_t begin, end, wide = t->e->widest_stage;
    uint32_t n = 0;
    kvf_share(t->me, t->n, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        if (!rows[t->active[i]]) continue;
        memcpy(t->own->stack + n * wide, hidden->x + i * hidden->x_stride,
               t->plan->hidden * sizeof *hidden->x);
        y[n++] = rows[t->active[i]];
        if (n == TILE_ROWS) {
            run_stack(t, head, y, n);
            n = 0;
        }
    }
    if (n) run_stack(t, head, y, n);
}

static void heads(const team *t)
{
    kvf_product hidden = {0};
    normed(t, &t->plan->final_norm, &hidden);
    for (int h = 0; h < KVF_HEADS; h++) {
        const kvf_stack *stack = &t->plan->head[h];
        float *const *rows = t->f->out.head[h];
        if (!rows) continue;
        if (h == KVF_HIDDEN) {
            size_t begin, end;
            kvf_share(t->me, t->n, &begin, &end);
            for (size_t i = begin; i < end; i++)
                if (rows[t->active[i]])
                    memcpy(rows[t->active[i]], hidden.x + i * hidden.x_stride,
                           t->plan->hidden * sizeof(float));
        } else if (stack->n_stages == 1 && stack->stages[0].kind == KVF_STAGE_LINEAR) {
            wide_head(t, (kvf_head)h, &hidden);
        } else {
            stacked_head(t, (kvf_head)h, &hidden);
        }
    }
}

/* ---- the pass -------------------------------------------------------------------------------- */

/* Rounding to nearest, no traps, denormals as zeros: whatever the caller's thread has set, a
 * pass computes the same. */
#if defined(__x86_64__)
enum { OUR_MXCSR = 0x9fc0 };
static uint32_t enter_float_mode(void)
{
    uint32_t before = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(OUR_MXCSR);
    return before;
}
static void leave_float_mode(uint32_t before)
{
    __builtin_ia32_ldmxcsr(before);
}
#else
static uint32_t enter_float_mode(void)
{
    return 0;
}
static void leave_float_mode(uint32_t before)
{
    (void)before;
}
#endif

static void run(native_part *p, const kvf_member *me)
{
    native_state *s = &p->s;
    team t = {.f = p,
              .me = me,
              .s = s,
              .e = s->engine,
              .plan = s->engine->plan,
              .own = &s->own[me->id],
              .active = s->all,
              .n = p->pass.n_rows,
              .tiles = s->tiles,
              .n_tiles = p->n_tiles};
    uint32_t before = enter_float_mode();
    embed(&t);
    for (uint32_t i = 0; i < t.plan->layers; i++) layer(&t, i);
    if (t.n) heads(&t);
    leave_float_mode(before);
}

static void run_together(void *arg, const kvf_member *me)
{
    run(arg, me);
}

/* A part waits for earlier ones only, and each member takes its own in their order: so none waits
 * for ever. The caller, who is the last to begin, takes the later ones. */
static void run_apart(void *arg, const kvf_member *me)
{
    native_state *s = arg;
    uint32_t members = me->size < s->n_parts ? me->size : s->n_parts; /* the others have none */
    for (uint32_t i = members - 1 - me->id; i < s->n_parts; i += me->size) {
        s->parts[i].by = me;
        run(&s->parts[i], &(kvf_member){.pool = NULL, .id = 0, .size = 1});
    }
}

/* ---- how a pass is divided ------------------------------------------------------------------- */

/* Whether a pass is long enough to be divided. The time it takes alone is guessed from the bytes
 * read and the operations done. */
static bool worth_a_team(const native_engine *e, uint32_t rows)
{
    double bytes = (double)e->weight_bytes / 100e9;
    double work = (double)e->layer_parameters * rows * 2 / 100e9;
    return (bytes > work ? bytes : work) >= e->alone_below;
}

/* Rows [begin, end) of a pass as a part, with the buffers of these rows and of a member. */
static void make_part(native_state *s, uint32_t part, const kvf_pass *pass,
                      const kvf_pass_outputs *out, uint32_t begin, uint32_t end, uint32_t most)
{
    native_part *p = &s->parts[part];
    *p = (native_part){.s = *s, .pass = *pass, .out = *out};
    native_state *own = &p->s;
    p->pass.rows += begin;
    p->pass.n_rows = end - begin;
    for (int h = 0; h < KVF_HEADS; h++)
        if (out->head[h]) p->out.head[h] += begin;
    own->x += begin * s->hidden_stride;
    own->h += begin * s->hidden_stride;
    own->y += begin * s->hidden_stride;
    own->qkv += begin * s->qkv_stride;
    own->a += begin * s->q_stride;
    own->up += begin * s->up_stride;
    own->gate += begin * s->up_stride;
    own->prepared += begin * s->engine->prepared_stride;
    own->wanted += begin;
    own->own += part;
    own->tiles += 2 * (size_t)begin;
    for (uint32_t i = 0; i < p->pass.n_rows; i++) {
        if (p->pass.rows[i].want) own->wanted[p->n_wanted++] = i;
        if (p->pass.rows[i].parent >= 0 && (uint32_t)p->pass.rows[i].parent < begin)
            p->before = part;
    }
    p->n_tiles = kvf_tiles_find(own->tiles, &p->pass, own->all, p->pass.n_rows, most, KVF_BLOCK);
    p->n_wanted_tiles = kvf_tiles_find(own->tiles + p->n_tiles, &p->pass, own->wanted, p->n_wanted,
                                       most, KVF_BLOCK);
}

/* Few tiles are more than one bundle can be divided into: then tiles are lower. */
static uint32_t rows_of_tile(const native_engine *e, bool together, uint32_t rows)
{
    uint32_t threads = kvf_pool_threads(e->pool);
    if (!together || e->bundles % threads == 0) return TILE_ROWS;
    uint32_t units = (4 * threads + e->bundles - 1) / e->bundles, most = (rows + units - 1) / units;
    return most < FEW_ROWS ? FEW_ROWS : most < TILE_ROWS ? most : TILE_ROWS;
}

kvf_status kvf_native_forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                              kvf_error *err)
{
    native_state *s = state;
    const native_engine *e = s->engine;
    (void)err; /* all memory was taken before: nothing here can fail */
    bool together = worth_a_team(e, pass->n_rows);
    uint32_t threads = kvf_pool_threads(e->pool), n = pass->n_rows;
    s->n_parts = n / FEW_ROWS < threads ? n / FEW_ROWS : threads;
    if (together && s->n_parts > 1 && e->weight_bytes <= e->apart_bytes) {
        for (uint64_t i = 0; i < s->n_parts; i++)
            make_part(s, (uint32_t)i, pass, out, (uint32_t)(n * i / s->n_parts),
                      (uint32_t)(n * (i + 1) / s->n_parts), TILE_ROWS);
        kvf_pool_run(e->pool, true, run_apart, s);
        return KVF_OK;
    }
    make_part(s, 0, pass, out, 0, n, rows_of_tile(e, together, n));
    kvf_pool_run(e->pool, together, run_together, &s->parts[0]);
    return KVF_OK;
}
