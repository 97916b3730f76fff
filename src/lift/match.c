/* match.c - from the expressions of the outputs to the plan.
 *
 * Expressions hold everything that the outputs depend on, so matching them whole accounts for the
 * whole graph: what is not in the plan cannot have been there. Each part is recognised from its
 * end, and taken apart down to the residual it started from, which must be the same expression
 * for all of a layer's inputs. */
#include "lift.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef kvf_expr expr;
static expr at(const kvf_lift *l, uint32_t e)
{
    return l->x.x[e];
}

void *kvf_lift_take(kvf_lift *l, uint64_t n, size_t size)
{
    uint64_t bytes;
    kvf_store *store;
    return kvf_mul(n, size, &bytes) ? kvf_pool_take(l->memory, bytes, &store) : NULL;
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* The first thing that no decoder has: what comes after it is only its consequence. */
static uint32_t first_strange(const kvf_lift *l)
{
    for (uint32_t i = 1; i < l->x.n; i++) {
        kvf_expr_kind kind = at(l, i).kind;
        if (kind == KVF_X_OPAQUE) return i;
    }
    return 0;
}

/* Is there anything strange below e? Operands are older than what is made of them. */
static bool is_strange(const kvf_lift *l, uint32_t e)
{
    bool *strange = kvf_array((size_t)e + 1, sizeof *strange), found;
    for (uint32_t i = 1; strange && i <= e; i++) {
        expr x = at(l, i);
        strange[i] = x.kind == KVF_X_OPAQUE || x.kind == KVF_X_CONSTANT || x.kind == KVF_X_COMBO ||
                     strange[x.a] || strange[x.b];
    }
    found = strange && strange[e];
    kvf_free(strange);
    return found;
}

uint32_t kvf_lift_layer_of(const kvf_lift *l, uint32_t op)
{
    uint32_t layer = 0;
    for (uint32_t i = 1; i < l->x.n; i++)
        layer += at(l, i).kind == KVF_X_ATTEND && at(l, i).op < op;
    return layer;
}

kvf_status kvf_lift_refuse(kvf_lift *l, uint32_t e, const char *fmt, ...)
{
    char why[256];
    uint32_t strange = is_strange(l, e) ? first_strange(l) : 0;
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof why, fmt, args);
    va_end(args);
    if (l->x.full)
        return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: memory for its expressions", l->onnx->path);
    expr x = at(l, strange ? strange : e);
    if (!e || x.op >= l->onnx->graph->n_ops)
        return kvf_fail(l->err, KVF_ERR_MODEL, "%s: %s", l->onnx->path, why);
    const kvf_op *op = &l->onnx->graph->ops[x.op];
    return kvf_fail(l->err, KVF_ERR_MODEL, "%s: layer %u, %s '%.120s': %s", l->onnx->path,
                    kvf_lift_layer_of(l, x.op), op->type, op->name, strange && x.why ? x.why : why);
}

/* ---- constants ------------------------------------------------------------------------------- */

/* Numbers of an ADD_ or MUL_ expression by column, owned by the plan; NULL: see l->err. */
static float *numbers(kvf_lift *l, uint32_t e, uint32_t n)
{
    expr x = at(l, e);
    bool scalar = x.kind == KVF_X_ADD_SCALAR || x.kind == KVF_X_MUL_SCALAR;
    float *v = kvf_lift_take(l, n, sizeof *v);
    if (!v) kvf_fail(l->err, KVF_ERR_NOMEM, "%s: memory for its plan", l->onnx->path);
    for (uint32_t i = 0; v && i < n; i++) {
        double d = scalar ? x.s : l->x.vector[x.n].v[i];
        if (d != d) {
            kvf_lift_refuse(l, e, "applies numbers to a part of the columns");
            return NULL;
        }
        v[i] = (float)d;
    }
    return v;
}

static bool is_add(expr x)
{
    return x.kind == KVF_X_ADD_VECTOR || x.kind == KVF_X_ADD_SCALAR;
}
static bool is_mul(expr x)
{
    return x.kind == KVF_X_MUL_VECTOR || x.kind == KVF_X_MUL_SCALAR;
}

/* A matrix of the file stays a view; one that was computed becomes the plan's. */
static kvf_status take_matrix(kvf_lift *l, uint32_t e, kvf_matrix *out)
{
    kvf_matrix w = l->x.matrix[at(l, e).n];
    if (w.type == KVF_F64) {
        uint64_t count = (uint64_t)w.in * w.out;
        float *v = kvf_lift_take(l, count, sizeof *v);
        if (!v) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: memory for its plan", l->onnx->path);
        for (uint64_t i = 0; i < count; i++)
            v[i] = (float)((const double *)w.data)[(int64_t)(i / w.out) * w.stride_in +
                                                   (int64_t)(i % w.out) * w.stride_out];
        w = (kvf_matrix){.data = v,
                         .type = KVF_F32,
                         .in = w.in,
                         .out = w.out,
                         .stride_in = w.out,
                         .stride_out = 1};
    }
    *out = w;
    return KVF_OK;
}

/* [+ bias] x W: *x is what W is applied to. more: a further bias from outside, or 0. */
static kvf_status take_linear(kvf_lift *l, uint32_t e, uint32_t more, const char *what,
                              kvf_linear *out, uint32_t *x)
{
    uint32_t bias = 0, width = at(l, e).width;
    if (is_add(at(l, e))) {
        bias = e;
        e = at(l, e).a;
    }
    if (at(l, e).kind != KVF_X_LINEAR)
        return kvf_lift_refuse(l, e, "%s is no product with a matrix", what);
    *x = at(l, e).a;
    kvf_status status = take_matrix(l, e, &out->w);
    float *b = NULL;
    uint32_t adds[2] = {bias, more};
    for (int i = 0; i < 2 && !status; i++) {
        if (!adds[i]) continue;
        float *v = numbers(l, adds[i], width);
        if (!v) return l->err->status;
        for (uint32_t c = 0; b && c < width; c++) v[c] += b[c];
        b = v;
    }
    out->bias = b;
    return status;
}

/* [+ bias] [* weight] norm(x), of groups of `group` columns; without a norm *x is e itself. */
static kvf_status take_norm(kvf_lift *l, uint32_t e, uint32_t group, kvf_norm *out, uint32_t *x)
{
    uint32_t top = e, add = 0, mul = 0;
    if (is_add(at(l, top))) {
        add = top;
        top = at(l, top).a;
    }
    if (is_mul(at(l, top))) {
        mul = top;
        top = at(l, top).a;
    }
    *out = (kvf_norm){0};
    *x = e;
    expr n = at(l, top);
    if (n.kind != KVF_X_NORM) return KVF_OK;
    if (n.n != group)
        return kvf_lift_refuse(l, top, "normalises %u columns at a time, not %u", n.n, group);
    *out = (kvf_norm){.kind = (kvf_norm_kind)n.m, .eps = (float)n.s, .width = group};
    *x = n.a;
    const float **to[2] = {&out->bias, &out->weight};
    uint32_t from[2] = {add, mul};
    for (int i = 0; i < 2; i++) {
        if (!from[i]) continue;
        float *v = numbers(l, from[i], n.width);
        if (!v) return l->err->status;
        for (uint32_t c = group; c < n.width; c++)
            if (v[c] != v[c - group])
                return kvf_lift_refuse(l, from[i], "normalises each head with weights of its own");
        *to[i] = v;
    }
    return KVF_OK;
}

/* ---- attention ------------------------------------------------------------------------------- */

static uint32_t unscaled(const kvf_lift *l, uint32_t e, double *scale)
{
    expr x = at(l, e);
    if (x.kind != KVF_X_MUL_SCALAR) return e;
    *scale *= x.s;
    return x.a;
}

/* Rotary of queries or keys; all layers must have the same. */
static kvf_status take_rotary(kvf_lift *l, uint32_t e, bool first, uint32_t *x)
{
    expr r = at(l, e);
    bool has = r.kind == KVF_X_ROTARY;
    kvf_rotary *to = &l->plan->rotary;
    uint32_t pairs = has ? r.m / 2 : 0;
    bool interleaved = has && r.m % 2;
    *x = has ? r.a : e;
    if (first) {
        to->pairs = pairs;
        to->interleaved = interleaved;
    }
    if (to->pairs != pairs || (pairs && to->interleaved != interleaved))
        return kvf_lift_refuse(l, e, "its positions are not those of the layers before");
    if (has && r.n != l->plan->head_dim)
        return kvf_lift_refuse(l, e, "turns heads of %u columns", r.n);
    return KVF_OK;
}

/* What the graph does with rows of the past must be what it does with new ones. */
static kvf_status check_past(kvf_lift *l, uint32_t user, uint32_t layer, double scale,
                             kvf_expr_kind kind)
{
    for (uint32_t i = 0; i < l->trace.n_pasts; i++) {
        if (l->trace.pasts[i].user != user) continue;
        double s = 1;
        expr old = at(l, unscaled(l, l->trace.pasts[i].old, &s));
        if (old.kind != kind || old.n != layer || s != scale)
            return kvf_lift_refuse(
                l, l->trace.pasts[i].old,
                "keys or values of the past are not used as new ones of layer %u are", layer);
    }
    return KVF_OK;
}

static kvf_status check_present(kvf_lift *l, uint32_t stored, uint32_t made, const char *what,
                                uint32_t layer)
{
    if (!stored || stored == made) return KVF_OK;
    return kvf_lift_refuse(l, stored,
                           "present %s of layer %u are not those that the layer attends to", what,
                           layer);
}

/* Scores under their scale; masks were dealt with when the softmax was met. */
static kvf_status take_scores(kvf_lift *l, uint32_t e, double *scale, uint32_t *score)
{
    e = unscaled(l, e, scale);
    *score = e;
    expr s = at(l, e);
    if (s.kind == KVF_X_SCORE) return KVF_OK;
    bool cap = s.kind == KVF_X_UNARY && s.fn == KVF_TANH;
    return kvf_lift_refuse(l, e,
                           cap ? "scores are soft-capped"
                               : "computes something between scores and softmax");
}

static kvf_status set_heads(kvf_lift *l, uint32_t e, uint32_t layer, uint32_t heads, uint32_t kv,
                            uint32_t size)
{
    kvf_plan *p = l->plan;
    if (!layer) {
        p->heads = heads;
        p->kv_heads = kv;
        p->head_dim = size;
    }
    if (p->heads == heads && p->kv_heads == kv && p->head_dim == size) return KVF_OK;
    return kvf_lift_refuse(l, e,
                           "has %u heads and %u kv heads of %u, but the layers before %u, %u of %u",
                           heads, kv, size, p->heads, p->kv_heads, p->head_dim);
}

/* The attention of a layer; *x is what it starts from. */
static kvf_status take_attention(kvf_lift *l, uint32_t attended, uint32_t layer, kvf_layer *to,
                                 uint32_t *x)
{
    expr a = at(l, attended), soft = at(l, a.a);
    double scale = 1, stored_scale = 1;
    uint32_t score, q, k, from[3];
    kvf_status status = take_scores(l, soft.a, &scale, &score);
    if (status) return status;
    expr s = at(l, score);
    uint32_t size = a.width / a.n;
    status = set_heads(l, score, layer, s.n, s.m, at(l, s.a).width / s.n);
    if (!status && (a.m != s.m || size != l->plan->head_dim || a.n != s.n))
        status = kvf_lift_refuse(l, attended, "heads of values are not those of keys");
    if (status) return status;
    q = unscaled(l, s.a, &scale);
    k = unscaled(l, s.b, &stored_scale);
    status = check_past(l, score, layer, stored_scale, KVF_X_PAST_KEY);
    if (!status) status = check_past(l, attended, layer, 1, KVF_X_PAST_VALUE);
    if (!status && l->roots.key) status = check_present(l, l->roots.key[layer], k, "keys", layer);
    if (!status && l->roots.value)
        status = check_present(l, l->roots.value[layer], a.b, "values", layer);
    if (!status) status = take_rotary(l, q, !layer, &q);
    if (!status) status = take_rotary(l, k, false, &k);
    q = unscaled(l, q, &scale);
    if (!status) status = take_norm(l, q, size, &to->q_norm, &q);
    if (!status) status = take_norm(l, k, size, &to->k_norm, &k);
    if (!status) status = take_linear(l, q, 0, "a query projection", &to->q, &from[0]);
    if (!status) status = take_linear(l, k, 0, "a key projection", &to->k, &from[1]);
    if (!status) status = take_linear(l, a.b, 0, "a value projection", &to->v, &from[2]);
    if (!status && (from[0] != from[1] || from[0] != from[2]))
        status = kvf_lift_refuse(l, attended,
                                 "queries, keys and values are not of the same activations");
    to->scale = (float)(scale * stored_scale);
    *x = from[0];
    return status;
}

/* ---- MLP ------------------------------------------------------------------------------------- */

static kvf_act act_of(expr x)
{
    if (x.kind != KVF_X_UNARY) return KVF_ACT_NONE;
    switch (x.fn) {
    case KVF_GELU: return KVF_ACT_GELU_ERF;
    case KVF_GELU_TANH: return KVF_ACT_GELU_TANH;
    case KVF_RELU: return KVF_ACT_RELU;
    case KVF_SILU: return KVF_ACT_SILU;
    case KVF_TANH: return KVF_ACT_TANH;
    case KVF_SIGMOID: return KVF_ACT_SIGMOID;
    default: return KVF_ACT_NONE;
    }
}

static kvf_status take_mlp(kvf_lift *l, uint32_t h, kvf_layer *to, uint32_t *x)
{
    expr top = at(l, h);
    uint32_t from;
    to->act = act_of(top);
    if (to->act) return take_linear(l, top.a, 0, "an MLP's first product", &to->up, x);
    if (top.kind != KVF_X_MUL || top.n)
        return kvf_lift_refuse(l, h,
                               top.kind == KVF_X_UNARY ? "the activation %s is not known"
                                                       : "is no MLP that is known (%s)",
                               top.kind == KVF_X_UNARY ? kvf_fn_name(top.fn)
                                                       : "neither act(up) nor act(gate) * up");
    uint32_t gate = act_of(at(l, top.a)) ? top.a : top.b, up = gate == top.a ? top.b : top.a;
    to->act = act_of(at(l, gate));
    if (!to->act)
        return kvf_lift_refuse(l, h, "is a gated MLP whose gate has no activation that is known");
    kvf_status status = take_linear(l, at(l, gate).a, 0, "an MLP's gate", &to->gate, x);
    if (!status) status = take_linear(l, up, 0, "an MLP's first product", &to->up, &from);
    if (!status && *x != from)
        status = kvf_lift_refuse(l, h, "gate and up are not of the same activations");
    return status;
}

/* ---- layers ---------------------------------------------------------------------------------- */

/* One sum of the residual stream: x + branch, with a bias that may have been added to the sum. */
typedef struct joint {
    uint32_t branch, bias, residual;
} joint;

static bool is_linear(const kvf_lift *l, uint32_t e)
{
    if (is_add(at(l, e))) e = at(l, e).a;
    return at(l, e).kind == KVF_X_LINEAR;
}

static bool read_joint(const kvf_lift *l, uint32_t e, joint *j)
{
    *j = (joint){0};
    if (is_add(at(l, e)) && at(l, at(l, e).a).kind == KVF_X_ADD) {
        j->bias = e;
        e = at(l, e).a;
    }
    expr sum = at(l, e);
    if (sum.kind != KVF_X_ADD || sum.n) return false;
    bool second = is_linear(l, sum.b);
    if (second == is_linear(l, sum.a)) return false;
    j->branch = second ? sum.b : sum.a;
    j->residual = second ? sum.a : sum.b;
    return true;
}

/* What a layer adds to its input x: one branch behind the other, with x + attention in the middle,
 * or, if the residual is parallel, both to x, in any order. */
typedef struct layer_sums {
    uint32_t x, middle; /* middle is 0 if the branches are added to each other first */
    joint attn, mlp;
} layer_sums;

static bool is_attention(const kvf_lift *l, uint32_t e)
{
    if (is_add(at(l, e))) e = at(l, e).a;
    return at(l, e).kind == KVF_X_LINEAR && at(l, at(l, e).a).kind == KVF_X_ATTEND;
}

/* x + (attention + MLP) */
static bool read_pair(const kvf_lift *l, uint32_t e, layer_sums *s)
{
    expr sum = at(l, e);
    uint32_t of[] = {sum.a, sum.b};
    for (int i = 0; i < 2 && sum.kind == KVF_X_ADD && !sum.n; i++) {
        expr pair = at(l, of[i]);
        if (pair.kind != KVF_X_ADD || pair.n || !is_linear(l, pair.a) || !is_linear(l, pair.b))
            continue;
        *s = (layer_sums){.x = of[1 - i], .attn.branch = pair.a, .mlp.branch = pair.b};
        return true;
    }
    return false;
}

static bool read_layer(const kvf_lift *l, uint32_t e, layer_sums *s)
{
    if (!read_pair(l, e, s)) {
        *s = (layer_sums){0};
        if (!read_joint(l, e, &s->mlp) || !read_joint(l, s->mlp.residual, &s->attn)) return false;
        s->middle = s->mlp.residual;
        s->x = s->attn.residual;
    }
    if (is_attention(l, s->mlp.branch)) {
        joint swap = s->attn;
        s->attn = s->mlp;
        s->mlp = swap;
    }
    return true;
}

static kvf_status take_layer(kvf_lift *l, const layer_sums *s, uint32_t layer)
{
    kvf_layer *to = &l->plan->layer[layer];
    uint32_t x, h, hidden = l->plan->hidden;
    kvf_status status =
        take_linear(l, s->mlp.branch, s->mlp.bias, "an MLP's last product", &to->down, &h);
    if (!status) status = take_mlp(l, h, to, &x);
    if (!status) status = take_norm(l, x, hidden, &to->mlp_norm, &x);
    if (!status && x != s->x && x != s->middle)
        status = kvf_lift_refuse(l, h, "the MLP does not start from the residual it is added to");
    if (!layer) l->plan->parallel = x == s->x;
    if (!status && l->plan->parallel != (x == s->x))
        status =
            kvf_lift_refuse(l, h, "its residual is parallel, or not, unlike the layers before");
    if (!status)
        status = take_linear(l, s->attn.branch, s->attn.bias, "an output projection", &to->o, &h);
    if (status) return status;
    if (at(l, h).kind != KVF_X_ATTEND)
        return kvf_lift_refuse(l, h, "is no attention where one should be");
    status = take_attention(l, h, layer, to, &x);
    if (!status) status = take_norm(l, x, hidden, &to->attn_norm, &x);
    if (!status && x != s->x)
        status = kvf_lift_refuse(l, h, "attention does not start from the residual it is added to");
    return status;
}

static kvf_status take_embedding(kvf_lift *l, uint32_t e)
{
    kvf_plan *p = l->plan;
    double scale = 1;
    expr table = at(l, e);
    if (table.kind == KVF_X_ADD_TABLE) {
        l->has_positions = true;
        l->position_site = table.n;
        e = table.a;
    }
    e = unscaled(l, e, &scale);
    expr embed = at(l, e);
    if (embed.kind != KVF_X_EMBED)
        return kvf_lift_refuse(l, e, "is neither a layer nor an embedding of tokens");
    p->embedding_scale = (float)scale;
    p->vocab = l->x.matrix[embed.n].in;
    return take_matrix(l, e, &p->token_embedding);
}

static kvf_status take_layers(kvf_lift *l, uint32_t x)
{
    layer_sums s;
    uint32_t n = 0, e = x;
    while (read_layer(l, e, &s)) {
        e = s.x;
        n++;
    }
    kvf_plan *p = l->plan;
    p->hidden = at(l, x).width;
    uint32_t wanted = l->roots.key ? l->contract->layers : n;
    kvf_status status = take_embedding(l, e);
    if (status) return status;
    if (!n || n != wanted)
        return kvf_lift_refuse(l, e, "adds %u times attention and MLP, which are no %u layers", n,
                               wanted);
    p->layers = n;
    p->layer = kvf_lift_take(l, n, sizeof *p->layer);
    layer_sums *sums = kvf_array(n, sizeof *sums); /* from the embedding on */
    if (!p->layer || !sums)
        status = kvf_fail(l->err, KVF_ERR_NOMEM, "%s: memory for its plan", l->onnx->path);
    for (uint32_t i = n; i-- > 0 && !status; x = sums[i].x) read_layer(l, x, &sums[i]);
    for (uint32_t i = 0; i < n && !status; i++) status = take_layer(l, &sums[i], i);
    kvf_free(sums);
    return status;
}

/* ---- heads ----------------------------------------------------------------------------------- */

kvf_status kvf_lift_stack(kvf_lift *l, uint32_t e, uint32_t base, const char *name, kvf_stack *out)
{
    kvf_stage stages[KVF_MAX_STAGES];
    uint32_t n = 0;
    *out = (kvf_stack){.width = at(l, e).width};
    while (e != base) {
        kvf_stage *s = &stages[n];
        uint32_t x = e;
        if (n++ == KVF_MAX_STAGES)
            return kvf_lift_refuse(l, e, "%s have more than %d stages", name, KVF_MAX_STAGES);
        *s = (kvf_stage){.kind = KVF_STAGE_ACT, .act = act_of(at(l, e))};
        if (s->act) {
            e = at(l, e).a;
            continue;
        }
        kvf_status status = take_norm(l, e, at(l, e).width, &s->norm, &x);
        s->kind = s->norm.kind ? KVF_STAGE_NORM : KVF_STAGE_LINEAR;
        if (!status && s->kind == KVF_STAGE_LINEAR)
            status = take_linear(l, e, 0, name, &s->linear, &x);
        if (status) return status;
        e = x;
    }
    for (uint32_t i = 0; i < n; i++) out->stages[i] = stages[n - 1 - i];
    out->n_stages = n;
    return KVF_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* What it looks like, for people. */
static const char *family_of(const kvf_plan *p)
{
    const kvf_layer *y = &p->layer[0];
    bool rms = y->attn_norm.kind == KVF_NORM_RMS, gated = y->gate.w.data != NULL;
    if (p->parallel && p->rotary.pairs && !gated)
        return p->rotary.interleaved ? "GPT-J" : "GPT-NeoX";
    if (!rms && !p->rotary.pairs && !gated && !p->parallel) return "GPT-2";
    if (rms && p->rotary.pairs && gated && y->act == KVF_ACT_SILU)
        return y->q_norm.kind ? "Qwen3" : y->q.bias ? "Qwen2" : "Llama";
    return "decoder";
}

kvf_status kvf_lift_match(kvf_lift *l)
{
    static const char *const names[] = {"logits", "the policy", "the value", "hidden states"};
    kvf_plan *p = l->plan;
    kvf_linear unused;
    uint32_t logits = l->roots.head[KVF_LOGITS], hidden = l->roots.head[KVF_HIDDEN], x;
    kvf_status status = KVF_OK;
    p->has_hidden = hidden != 0;
    if (!hidden) status = take_linear(l, logits, 0, "logits", &unused, &hidden);
    if (!status) status = take_norm(l, hidden, at(l, hidden).width, &p->final_norm, &x);
    if (!status) status = take_layers(l, x);
    for (int h = 0; h < KVF_HIDDEN && !status; h++)
        if (l->roots.head[h])
            status = kvf_lift_stack(l, l->roots.head[h], hidden, names[h], &p->head[h]);
    if (!status) p->family = family_of(p);
    return status;
}
