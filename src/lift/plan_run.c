/* plan_run.c - the model order of plan.h, told in plain loops. */
#include "plan_run.h"
#include "product.h"

#include <math.h>
#include <string.h>

/* ---- pieces ---------------------------------------------------------------------------------- */

static void linear(const kvf_linear *l, const double *x, double *y, uint32_t n, uint32_t thin)
{
    kvf_product(&l->w, x, y, n, thin);
    for (uint32_t r = 0; r < n && l->bias; r++)
        for (uint32_t o = 0; o < l->w.out; o++) y[(size_t)r * l->w.out + o] += l->bias[o];
}

/* In place, width columns at a time. */
static void norm(const kvf_norm *m, double *x, size_t count)
{
    for (size_t i = 0; m->kind && i < count; i += m->width) {
        double mean = 0, square = 0;
        for (uint32_t c = 0; c < m->width && m->kind == KVF_NORM_LAYER; c++)
            mean += x[i + c] / m->width;
        for (uint32_t c = 0; c < m->width; c++)
            square += (x[i + c] - mean) * (x[i + c] - mean) / m->width;
        for (uint32_t c = 0; c < m->width; c++) {
            double v = (x[i + c] - mean) / sqrt(square + (double)m->eps);
            x[i + c] = v * (m->weight ? m->weight[c] : 1) + (m->bias ? m->bias[c] : 0);
        }
    }
}

static double act(kvf_act a, double x)
{
    switch (a) {
    case KVF_ACT_GELU_ERF: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case KVF_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case KVF_ACT_RELU: return x > 0 ? x : 0;
    case KVF_ACT_SILU: return x / (1 + exp(-x));
    case KVF_ACT_TANH: return tanh(x);
    case KVF_ACT_SIGMOID: return 1 / (1 + exp(-x));
    default: return x;
    }
}

static void turn(const kvf_rotary *r, double *head, uint32_t position)
{
    for (uint32_t j = 0; j < r->pairs; j++) {
        double c, s, *a = head + (r->interleaved ? 2 * j : j),
                     *b = r->interleaved ? a + 1 : a + r->pairs, x = *a;
        if (r->rows) {
            c = r->cos[(size_t)position * r->pairs + j];
            s = r->sin[(size_t)position * r->pairs + j];
        } else {
            float angle = (float)position * r->frequencies[j];
            c = cos((double)angle) * r->scale;
            s = sin((double)angle) * r->scale;
        }
        *a = x * c - *b * s;
        *b = *b * c + x * s;
    }
}

/* ---- a layer --------------------------------------------------------------------------------- */

typedef struct run { /* one pass: the plan, its rows, and room for every step */
    const kvf_plan *p;
    const kvf_plan_rows *in;
    double *x, *h, *q, *a, *up,
        *gate;     /* [n][hidden], [n][hidden], [n][heads * head_dim] twice, [n][inner] twice */
    double *k, *v; /* [past + n][kv_heads * head_dim] of the layer at hand */
    double *score; /* [past + n] */
} run;

static void attend(const run *r, uint32_t row, uint32_t head, float scale)
{
    const kvf_plan *p = r->p;
    uint32_t d = p->head_dim, kv_dim = p->kv_heads * d, keys = r->in->past + r->in->n;
    uint32_t from = head / (p->heads / p->kv_heads) * d;
    const double *q = r->q + ((size_t)row * p->heads + head) * d;
    double *a = r->a + ((size_t)row * p->heads + head) * d, top = -INFINITY, sum = 0;
    const uint8_t *sees = r->in->sees + (size_t)row * keys;
    for (uint32_t t = 0; t < keys; t++) {
        if (!sees[t]) continue;
        double s = 0;
        for (uint32_t c = 0; c < d; c++) s += q[c] * r->k[(size_t)t * kv_dim + from + c];
        r->score[t] = s * (double)scale;
        if (r->score[t] > top) top = r->score[t];
    }
    memset(a, 0, d * sizeof *a);
    for (uint32_t t = 0; t < keys; t++) {
        if (!sees[t]) continue;
        double w = exp(r->score[t] - top);
        sum += w;
        for (uint32_t c = 0; c < d; c++) a[c] += w * r->v[(size_t)t * kv_dim + from + c];
    }
    for (uint32_t c = 0; c < d; c++) a[c] /= sum;
}

static void attention(const run *r, const kvf_layer *y, uint32_t layer)
{
    const kvf_plan *p = r->p;
    const kvf_plan_rows *in = r->in;
    uint32_t n = in->n, d = p->head_dim, kv_dim = p->kv_heads * d;
    double *k = r->k + (size_t)in->past * kv_dim, *v = r->v + (size_t)in->past * kv_dim;
    for (size_t i = 0; i < (size_t)in->past * kv_dim; i++) {
        r->k[i] = in->k[(size_t)layer * in->past * kv_dim + i];
        r->v[i] = in->v[(size_t)layer * in->past * kv_dim + i];
    }
    linear(&y->q, r->h, r->q, n, in->thin);
    linear(&y->k, r->h, k, n, in->thin);
    linear(&y->v, r->h, v, n, in->thin);
    norm(&y->q_norm, r->q, (size_t)n * p->heads * d);
    norm(&y->k_norm, k, (size_t)n * kv_dim);
    for (uint32_t row = 0; row < n; row++) {
        for (uint32_t h = 0; h < p->heads; h++)
            turn(&p->rotary, r->q + ((size_t)row * p->heads + h) * d, in->position[row]);
        for (uint32_t h = 0; h < p->kv_heads; h++)
            turn(&p->rotary, k + ((size_t)row * p->kv_heads + h) * d, in->position[row]);
    }
    for (uint32_t row = 0; row < n; row++)
        for (uint32_t h = 0; h < p->heads; h++) attend(r, row, h, y->scale);
}

static void mlp(const run *r, const kvf_layer *y)
{
    uint32_t n = r->in->n;
    size_t inner = (size_t)n * y->up.w.out;
    linear(&y->up, r->h, r->up, n, r->in->thin);
    if (y->gate.w.data) linear(&y->gate, r->h, r->gate, n, r->in->thin);
    for (size_t i = 0; i < inner; i++)
        r->up[i] = y->gate.w.data ? act(y->act, r->gate[i]) * r->up[i] : act(y->act, r->up[i]);
    linear(&y->down, r->up, r->h, n, r->in->thin);
}

/* h = norm(x), and what comes of h is added to x. */
static void start(const run *r, const kvf_norm *n)
{
    size_t count = (size_t)r->in->n * r->p->hidden;
    memcpy(r->h, r->x, count * sizeof *r->h);
    norm(n, r->h, count);
}

static void add(const run *r)
{
    for (size_t c = 0; c < (size_t)r->in->n * r->p->hidden; c++) r->x[c] += r->h[c];
}

static void layer(const run *r, uint32_t i, const kvf_plan_result *out)
{
    const kvf_plan *p = r->p;
    const kvf_layer *y = &p->layer[i];
    size_t kv = (size_t)p->kv_heads * p->head_dim;
    start(r, &y->attn_norm);
    attention(r, y, i);
    for (int mlps_turn = p->parallel, k = 0; k < 2; k++, mlps_turn = !mlps_turn) {
        if (mlps_turn) {
            start(r, &y->mlp_norm);
            mlp(r, y);
        } else {
            linear(&y->o, r->a, r->h, r->in->n, r->in->thin);
        }
        add(r);
    }
    size_t rows = r->in->n * kv, at = r->in->past * kv;
    if (out->k) memcpy(out->k + i * rows, r->k + at, rows * sizeof *out->k);
    if (out->v) memcpy(out->v + i * rows, r->v + at, rows * sizeof *out->v);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static kvf_status embed(const run *r, kvf_error *err)
{
    const kvf_plan *p = r->p;
    for (uint32_t row = 0; row < r->in->n; row++) {
        int32_t token = r->in->token[row];
        uint32_t position = r->in->position[row];
        if (token < 0 || (uint32_t)token >= p->vocab)
            return kvf_fail(err, KVF_ERR_ARG, "token %d, but vocab is %u", token, p->vocab);
        if (p->context && position >= p->context)
            return kvf_fail(err, KVF_ERR_ARG, "position %u, but the context is %u", position,
                            p->context);
        for (uint32_t c = 0; c < p->hidden; c++) {
            double v =
                kvf_matrix_at(&p->token_embedding, (uint32_t)token, c) * (double)p->embedding_scale;
            if (p->position_embedding.data)
                v += kvf_matrix_at(&p->position_embedding, position + p->position_offset, c);
            r->x[(size_t)row * p->hidden + c] = v;
        }
    }
    return KVF_OK;
}

kvf_status kvf_plan_run_stack(const kvf_stack *stack, uint32_t in, uint32_t n, const double *hidden,
                              double *out, uint32_t thin, kvf_error *err)
{
    size_t widest = in > stack->width ? in : stack->width;
    uint32_t width = in;
    for (uint32_t i = 0; i < stack->n_stages; i++)
        if (stack->stages[i].kind == KVF_STAGE_LINEAR && stack->stages[i].linear.w.out > widest)
            widest = stack->stages[i].linear.w.out;
    double *x = kvf_array(2 * widest, n * sizeof *x), *y = x ? x + widest * n : NULL;
    if (!x) return kvf_fail(err, KVF_ERR_NOMEM, "rows of a head");
    memcpy(x, hidden, (size_t)n * in * sizeof *x);
    for (uint32_t i = 0; i < stack->n_stages; i++) {
        const kvf_stage *s = &stack->stages[i];
        if (s->kind == KVF_STAGE_LINEAR) {
            linear(&s->linear, x, y, n, thin);
            width = s->linear.w.out;
            memcpy(x, y, (size_t)n * width * sizeof *x);
        } else if (s->kind == KVF_STAGE_NORM) {
            norm(&s->norm, x, (size_t)n * width);
        } else {
            for (size_t c = 0; c < (size_t)n * width; c++) x[c] = act(s->act, x[c]);
        }
    }
    memcpy(out, x, (size_t)n * width * sizeof *x);
    kvf_free(x);
    return KVF_OK;
}

kvf_status kvf_plan_run(const kvf_plan *plan, const kvf_plan_rows *rows, const kvf_plan_result *out,
                        kvf_error *err)
{
    size_t n = rows->n, keys = n + rows->past, q = (size_t)plan->heads * plan->head_dim,
           kv = (size_t)plan->kv_heads * plan->head_dim, inner = 0;
    for (uint32_t i = 0; i < plan->layers; i++)
        if (plan->layer[i].up.w.out > inner) inner = plan->layer[i].up.w.out;
    double *room =
        kvf_array(n * (2 * (plan->hidden + q + inner)) + keys * (2 * kv + 1), sizeof *room);
    if (!room) return kvf_fail(err, KVF_ERR_NOMEM, "rows of a plan");
    run r = {.p = plan, .in = rows, .x = room};
    r.h = r.x + n * plan->hidden;
    r.q = r.h + n * plan->hidden;
    r.a = r.q + n * q;
    r.up = r.a + n * q;
    r.gate = r.up + n * inner;
    r.k = r.gate + n * inner;
    r.v = r.k + keys * kv;
    r.score = r.v + keys * kv;
    kvf_status status = embed(&r, err);
    for (uint32_t i = 0; i < plan->layers && !status; i++) layer(&r, i, out);
    norm(&plan->final_norm, r.x, status ? 0 : n * plan->hidden);
    if (out->head[KVF_HIDDEN] && !status)
        memcpy(out->head[KVF_HIDDEN], r.x, n * plan->hidden * sizeof *r.x);
    for (int h = 0; h < KVF_HIDDEN && !status; h++)
        if (out->head[h] && plan->head[h].n_stages)
            status = kvf_plan_run_stack(&plan->head[h], plan->hidden, rows->n, r.x, out->head[h],
                                        rows->thin, err);
    kvf_free(room);
    return status;
}
