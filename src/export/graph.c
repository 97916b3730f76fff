/* graph.c - norm, projections, rotary, attention, MLP and heads as nodes.
 *
 * Opset 17 spells everything out in operators that any runtime has, in the forms that ONNX
 * Runtime fuses: RMS norm from Pow, GELU from Tanh, and products whose right side is transposed
 * right before. Opset 23 has one operator for each. Query heads that share a key head meet it by
 * broadcasting over an axis of groups, so K and V are never repeated. */
#include "export/graph.h"

#include <float.h>

/* ---- constants ------------------------------------------------------------------------------- */

typedef enum made {
    MADE_TOKENS,
    MADE_SPLIT,
    MADE_Q_HEADS,
    MADE_KV_HEADS,
    MADE_Q_GROUPS,
    MADE_Q_ROWS,
    MADE_KV_ROWS,
    MADE_AXIS_2,
    MADE_SCALE,
    MADE_EPS,
    MADE_HALF,
    MADE_ONE,
    MADE_TWO,
    MADE_THREE,
    MADE_CUBIC,
    MADE_TANH_SCALE,
    MADE_SQRT_2,
} made;

/* True the first time. */
static bool first(kvf_build *b, made what)
{
    bool is = !(b->made >> what & 1);
    b->made |= (uint64_t)1 << what;
    return is;
}

static const char *scalar(kvf_build *b, const char *name, kvf_type type, float value)
{
    uint16_t half = kvf_to_f16(value);
    return kvf_writer_constant(b->w, name, type, 0, NULL,
                               type == KVF_F16 ? (const void *)&half : &value);
}

static const char *shared_scalar(kvf_build *b, made what, const char *name, float value)
{
    return first(b, what) ? scalar(b, name, b->type, value) : name;
}

const char *kvf_build_i64(kvf_build *b, const char *name, int64_t value)
{
    return kvf_writer_constant(b->w, name, KVF_I64, 0, NULL, &value);
}

const char *kvf_build_i64s(kvf_build *b, const char *name, const int64_t *values, int64_t n)
{
    return kvf_writer_constant(b->w, name, KVF_I64, 1, &n, values);
}

static const char *shared_i64s(kvf_build *b, made what, const char *name, const int64_t *values,
                               int64_t n)
{
    return first(b, what) ? kvf_build_i64s(b, name, values, n) : name;
}

const char *kvf_build_dim(kvf_build *b, const char *name, const char *of, int64_t axis)
{
    const char *shape =
        kvf_writer_node(b->w, "Shape", kvf_writer_name(b->w, "%s.shape", name), of, NULL);
    const char *index = kvf_build_i64(b, kvf_writer_name(b->w, "%s.axis", name), axis);
    return kvf_writer_node(b->w, "Gather", name, shape, index, NULL);
}

/* ---- weights and products -------------------------------------------------------------------- */

static const char *of_layer(kvf_build *b, uint32_t layer, const char *name)
{
    return kvf_writer_name(b->w, "layers.%u.%s", layer, name);
}

static bool has(const kvf_build *b, kvf_weight weight)
{
    int64_t dims[2];
    return kvf_weight_shape(b->d, weight, dims) > 0;
}

static const char *add_weight(kvf_build *b, kvf_weight weight, uint32_t layer)
{
    int64_t dims[2];
    uint32_t rank = kvf_weight_shape(b->d, weight, dims);
    const char *name = kvf_weight_name(weight);
    if (kvf_weight_of_layer(weight)) name = of_layer(b, layer, name);
    return kvf_writer_weight(b->w, name, b->type, rank, dims, kvf_weight_tag(weight, layer));
}

static const char *token_embedding(kvf_build *b)
{
    return first(b, MADE_TOKENS) ? add_weight(b, KVF_W_TOKENS, 0) : kvf_weight_name(KVF_W_TOKENS);
}

/* x W + bias, the bias being the weight after W in the list, if the decoder has it. */
static const char *linear(kvf_build *b, kvf_weight weight, uint32_t layer, const char *x,
                          const char *output)
{
    kvf_weight bias = weight + 1;
    bool biased = has(b, bias);
    const char *product = biased ? kvf_writer_name(b->w, "%s.product", output) : output;
    const char *w = add_weight(b, weight, layer);
    kvf_writer_node(b->w, "MatMul", product, x, w, NULL);
    if (biased) kvf_writer_node(b->w, "Add", output, product, add_weight(b, bias, layer), NULL);
    return output;
}

/* ---- norms ----------------------------------------------------------------------------------- */

static const char *layer_norm(kvf_build *b, const char *x, const char *weight, const char *bias,
                              float eps, const char *output)
{
    kvf_writer_node(b->w, "LayerNormalization", output, x, weight, bias, NULL);
    kvf_writer_float(b->w, "epsilon", eps);
    return output;
}

/* In float32, since the squares of half floats leave their range; the weight comes after. */
static const char *rms_norm(kvf_build *b, const char *x, const char *weight, const char *output)
{
    kvf_writer *w = b->w;
    if (b->opset >= 23) {
        kvf_writer_node(w, "RMSNormalization", output, x, weight, NULL);
        kvf_writer_float(w, "epsilon", b->d->eps);
        return output;
    }
    if (first(b, MADE_TWO)) scalar(b, "square", KVF_F32, 2);
    if (first(b, MADE_EPS)) scalar(b, "eps", KVF_F32, b->d->eps);
    const char *wide = x;
    if (b->type != KVF_F32) {
        wide = kvf_writer_node(w, "Cast", kvf_writer_name(w, "%s.wide", output), x, NULL);
        kvf_writer_int(w, "to", KVF_F32);
    }
    const char *name = kvf_writer_name(w, "%s.squares", output);
    const char *v = kvf_writer_node(w, "Pow", name, wide, "square", NULL);
    v = kvf_writer_node(w, "ReduceMean", kvf_writer_name(w, "%s.mean", output), v, NULL);
    kvf_writer_ints(w, "axes", (const int64_t[]){-1}, 1);
    v = kvf_writer_node(w, "Add", kvf_writer_name(w, "%s.above_zero", output), v, "eps", NULL);
    v = kvf_writer_node(w, "Sqrt", kvf_writer_name(w, "%s.root", output), v, NULL);
    v = kvf_writer_node(w, "Div", kvf_writer_name(w, "%s.even", output), wide, v, NULL);
    if (b->type != KVF_F32) {
        v = kvf_writer_node(w, "Cast", kvf_writer_name(w, "%s.narrow", output), v, NULL);
        kvf_writer_int(w, "to", b->type);
    }
    return kvf_writer_node(w, "Mul", output, v, weight, NULL);
}

static const char *norm(kvf_build *b, kvf_weight weight, uint32_t layer, const char *x,
                        const char *output)
{
    const char *scale = add_weight(b, weight, layer);
    if (b->d->norm == KVF_NORM_RMS) return rms_norm(b, x, scale, output);
    return layer_norm(b, x, scale, add_weight(b, weight + 1, layer), b->d->eps, output);
}

/* ---- positions and masks --------------------------------------------------------------------- */

const char *kvf_build_embed(kvf_build *b, const char *ids, const char *positions)
{
    const char *tokens = token_embedding(b);
    if (!b->d->positions) return kvf_writer_node(b->w, "Gather", "embedded", tokens, ids, NULL);
    kvf_writer_node(b->w, "Gather", "embedded.tokens", tokens, ids, NULL);
    kvf_writer_node(b->w, "Gather", "embedded.positions", add_weight(b, KVF_W_POSITIONS, 0),
                    positions, NULL);
    return kvf_writer_node(b->w, "Add", "embedded", "embedded.tokens", "embedded.positions", NULL);
}

static const char *turn(kvf_build *b, const char *op, const char *angles, const char *name)
{
    kvf_writer *w = b->w;
    const char *v = kvf_writer_node(w, op, kvf_writer_name(w, "%s.wide", name), angles, NULL);
    if (b->type != KVF_F32) {
        v = kvf_writer_node(w, "Cast", kvf_writer_name(w, "%s.narrow", name), v, NULL);
        kvf_writer_int(w, "to", b->type);
    }
    if (b->opset >= 23) return v; /* [batch, new, head_dim / 2] */
    return kvf_writer_node(w, "Unsqueeze", name, v, "axis_2", NULL); /* for all heads */
}

void kvf_build_rotary(kvf_build *b, const char *positions, kvf_build_shared *shared)
{
    if (b->d->positions) return;
    kvf_writer *w = b->w;
    int64_t pairs = b->d->head_dim / 2;
    kvf_writer_constant(w, "frequencies", KVF_F32, 1, &pairs, b->d->frequencies);
    shared_i64s(b, MADE_AXIS_2, "axis_2", (const int64_t[]){2}, 1);
    kvf_writer_node(w, "Cast", "positions", positions, NULL);
    kvf_writer_int(w, "to", KVF_F32);
    kvf_writer_node(w, "Unsqueeze", "positions.column", "positions", "axis_2", NULL);
    const char *angles =
        kvf_writer_node(w, "Mul", "angles", "positions.column", "frequencies", NULL);
    if (b->opset < 23) { /* both elements of a pair turn by the same angle */
        angles = kvf_writer_node(w, "Concat", "angles.twice", angles, angles, NULL);
        kvf_writer_int(w, "axis", -1);
    }
    shared->cos = turn(b, "Cos", angles, "cos");
    shared->sin = turn(b, "Sin", angles, "sin");
}

static bool grouped(const kvf_build *b)
{
    return b->opset < 23 && b->d->heads != b->d->kv_heads;
}

const char *kvf_build_causal(kvf_build *b, const char *name, const char *fresh, const char *past)
{
    kvf_writer *w = b->w;
    const char *zero = kvf_build_i64(b, kvf_writer_name(w, "%s.zero", name), 0);
    const char *one = kvf_build_i64(b, kvf_writer_name(w, "%s.one", name), 1);
    const char *axis = kvf_build_i64s(b, kvf_writer_name(w, "%s.axis", name), (int64_t[]){1}, 1);
    const char *total = kvf_writer_name(w, "%s.total", name);
    kvf_writer_node(w, "Add", total, past, fresh, NULL);
    const char *keys = kvf_writer_name(w, "%s.keys", name);
    kvf_writer_node(w, "Range", keys, zero, total, one, NULL);
    const char *rows = kvf_writer_name(w, "%s.rows", name);
    kvf_writer_node(w, "Range", rows, past, total, one, NULL);
    const char *column = kvf_writer_name(w, "%s.column", name);
    kvf_writer_node(w, "Unsqueeze", column, rows, axis, NULL);
    return kvf_writer_node(w, "LessOrEqual", name, keys, column, NULL);
}

/* Very low and yet finite: a row that may look nowhere (padding) gets an average instead of NaN,
 * which would spread from its V to every row. In half floats a sum with a score must stay finite
 * too. */
const char *kvf_build_mask(kvf_build *b, const char *visible, bool batched)
{
    scalar(b, "mask.seen", b->type, 0);
    scalar(b, "mask.unseen", b->type, b->type == KVF_F16 ? -3e4f : -FLT_MAX);
    const char *flat = batched ? "mask.flat" : "mask";
    kvf_writer_node(b->w, "Where", flat, visible, "mask.seen", "mask.unseen", NULL);
    if (!batched) return "mask";
    kvf_build_i64s(b, "mask.axes", (const int64_t[]){1, 2}, grouped(b) ? 2 : 1);
    return kvf_writer_node(b->w, "Unsqueeze", "mask", flat, "mask.axes", NULL);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* x [batch, new, heads, head_dim]: every pair (j, j + head_dim / 2) turned by its angle. */
static const char *rotate(kvf_build *b, const kvf_build_shared *shared, const char *x,
                          const char *output)
{
    kvf_writer *w = b->w;
    const char *low = kvf_writer_name(w, "%s.low", output);
    kvf_writer_node(w, "Split", low, x, NULL);
    const char *high = kvf_writer_also(w, kvf_writer_name(w, "%s.high", output));
    kvf_writer_int(w, "axis", -1);
    high = kvf_writer_node(w, "Neg", kvf_writer_name(w, "%s.minus", output), high, NULL);
    const char *other = kvf_writer_name(w, "%s.other", output);
    kvf_writer_node(w, "Concat", other, high, low, NULL);
    kvf_writer_int(w, "axis", -1);
    const char *name = kvf_writer_name(w, "%s.straight", output);
    const char *straight = kvf_writer_node(w, "Mul", name, x, shared->cos, NULL);
    name = kvf_writer_name(w, "%s.across", output);
    const char *across = kvf_writer_node(w, "Mul", name, other, shared->sin, NULL);
    return kvf_writer_node(w, "Add", output, straight, across, NULL);
}

static const char *to_heads(kvf_build *b, const char *x, bool query, const char *output)
{
    int64_t shape[] = {0, 0, query ? b->d->heads : b->d->kv_heads, b->d->head_dim};
    made what = query ? MADE_Q_HEADS : MADE_KV_HEADS;
    const char *target = shared_i64s(b, what, query ? "q_heads" : "kv_heads", shape, 4);
    return kvf_writer_node(b->w, "Reshape", output, x, target, NULL);
}

static const char *to_rows(kvf_build *b, const char *x, bool query, const char *output)
{
    int64_t heads = query ? b->d->heads : b->d->kv_heads, shape[] = {0, 0, heads * b->d->head_dim};
    made what = query ? MADE_Q_ROWS : MADE_KV_ROWS;
    const char *target = shared_i64s(b, what, query ? "q_rows" : "kv_rows", shape, 3);
    return kvf_writer_node(b->w, "Reshape", output, x, target, NULL);
}

/* Norm of heads and rotary positions: rows of q or k [batch, new, heads * head_dim] -> with plain
 * operators [batch, new, heads, head_dim], else rows again. */
static const char *position_heads(kvf_build *b, uint32_t layer, const kvf_build_shared *shared,
                                  const char *x, bool query)
{
    kvf_writer *w = b->w;
    const char *name = of_layer(b, layer, query ? "q" : "k");
    bool rows = b->opset >= 23, normed = b->d->qk_norm;
    if (!rows || normed) x = to_heads(b, x, query, kvf_writer_name(w, "%s.heads", name));
    if (normed) {
        const char *scale = add_weight(b, query ? KVF_W_Q_NORM : KVF_W_K_NORM, layer);
        x = rms_norm(b, x, scale, kvf_writer_name(w, "%s.normed", name));
    }
    if (rows && normed) x = to_rows(b, x, query, kvf_writer_name(w, "%s.rows", name));
    if (!shared->cos) return x;
    name = kvf_writer_name(w, "%s.turned", name);
    if (!rows) return rotate(b, shared, x, name);
    kvf_writer_node(w, "RotaryEmbedding", name, x, shared->cos, shared->sin, NULL);
    kvf_writer_int(w, "num_heads", query ? b->d->heads : b->d->kv_heads);
    return name;
}

/* Rows of q, k and v out of x. */
static void project(kvf_build *b, uint32_t layer, const char *x, const char **q, const char **k,
                    const char **v)
{
    kvf_writer *w = b->w;
    int64_t rows = (int64_t)b->d->heads * b->d->head_dim;
    int64_t kv = (int64_t)b->d->kv_heads * b->d->head_dim, parts[] = {rows, kv, kv};
    x = norm(b, KVF_W_ATTN_NORM, layer, x, of_layer(b, layer, "attn_norm"));
    const char *qkv = linear(b, KVF_W_QKV, layer, x, of_layer(b, layer, "qkv"));
    const char *split = shared_i64s(b, MADE_SPLIT, "qkv.parts", parts, 3);
    *q = kvf_writer_node(w, "Split", of_layer(b, layer, "q"), qkv, split, NULL);
    *k = kvf_writer_also(w, of_layer(b, layer, "k"));
    *v = kvf_writer_also(w, of_layer(b, layer, "v"));
    kvf_writer_int(w, "axis", -1);
}

static const char *transpose(kvf_build *b, const char *x, const char *output, const int64_t *order,
                             size_t n)
{
    kvf_writer_node(b->w, "Transpose", output, x, NULL);
    kvf_writer_ints(b->w, "perm", order, n);
    return output;
}

/* New rows [batch, new, kv_heads, head_dim] behind the past, as [batch, kv_heads, total, head_dim]
 * under the name present. */
static const char *append(kvf_build *b, const char *rows, const char *past, const char *present)
{
    const char *fresh = past ? kvf_writer_name(b->w, "%s.new", present) : present;
    transpose(b, rows, fresh, (const int64_t[]){0, 2, 1, 3}, 4);
    if (!past) return present;
    kvf_writer_node(b->w, "Concat", present, past, fresh, NULL);
    kvf_writer_int(b->w, "axis", 2);
    return present;
}

static void append_both(kvf_build *b, uint32_t layer, const char *k, const char *v,
                        const kvf_build_kv *past, kvf_build_kv *present)
{
    if (!present->key) present->key = of_layer(b, layer, "keys");
    if (!present->value) present->value = of_layer(b, layer, "values");
    append(b, k, past ? past->key : NULL, present->key);
    v = to_heads(b, v, false, of_layer(b, layer, "v.heads"));
    append(b, v, past ? past->value : NULL, present->value);
}

static float score_scale(const kvf_build *b, uint32_t layer)
{
    return b->d->scale_by_layer ? b->d->scale / (float)(layer + 1) : b->d->scale;
}

static const char *scaled(kvf_build *b, uint32_t layer, const char *q)
{
    const char *scale;
    if (b->d->scale_by_layer)
        scale = scalar(b, of_layer(b, layer, "scale"), b->type, score_scale(b, layer));
    else
        scale = shared_scalar(b, MADE_SCALE, "scale", b->d->scale);
    return kvf_writer_node(b->w, "Mul", of_layer(b, layer, "q.scaled"), q, scale, NULL);
}

/* softmax(q K^T + mask) V -> rows. Grouped heads: [batch, kv_heads, group, ...] against
 * [batch, kv_heads, 1, ...]. */
static const char *attend(kvf_build *b, uint32_t layer, const char *q, kvf_build_kv kv,
                          const char *mask)
{
    kvf_writer *w = b->w;
    bool groups = grouped(b);
    if (groups) {
        int64_t shape[] = {0, 0, b->d->kv_heads, b->d->heads / b->d->kv_heads, b->d->head_dim};
        const char *target = shared_i64s(b, MADE_Q_GROUPS, "q_groups", shape, 5);
        shared_i64s(b, MADE_AXIS_2, "axis_2", (const int64_t[]){2}, 1);
        q = kvf_writer_node(w, "Reshape", of_layer(b, layer, "q.groups"), q, target, NULL);
        const char *name = of_layer(b, layer, "keys.grouped");
        kv.key = kvf_writer_node(w, "Unsqueeze", name, kv.key, "axis_2", NULL);
        name = of_layer(b, layer, "values.grouped");
        kv.value = kvf_writer_node(w, "Unsqueeze", name, kv.value, "axis_2", NULL);
    }
    static const int64_t heads_out[2][5] = {{0, 2, 1, 3}, {0, 2, 3, 1, 4}};
    static const int64_t heads_in[2][5] = {{0, 2, 1, 3}, {0, 3, 1, 2, 4}};
    static const int64_t columns[2][5] = {{0, 1, 3, 2}, {0, 1, 2, 4, 3}};
    size_t rank = groups ? 5 : 4;
    q = transpose(b, q, of_layer(b, layer, "q.by_head"), heads_out[groups], rank);
    q = scaled(b, layer, q);
    const char *keys =
        transpose(b, kv.key, of_layer(b, layer, "keys.columns"), columns[groups], rank);
    const char *s = kvf_writer_node(w, "MatMul", of_layer(b, layer, "scores"), q, keys, NULL);
    s = kvf_writer_node(w, "Add", of_layer(b, layer, "scores.masked"), s, mask, NULL);
    s = kvf_writer_node(w, "Softmax", of_layer(b, layer, "weights"), s, NULL);
    kvf_writer_int(w, "axis", -1);
    s = kvf_writer_node(w, "MatMul", of_layer(b, layer, "mixed"), s, kv.value, NULL);
    s = transpose(b, s, of_layer(b, layer, "mixed.by_row"), heads_in[groups], rank);
    return to_rows(b, s, true, of_layer(b, layer, "mixed.rows"));
}

/* The operator: takes rows, appends the past itself. */
static const char *attend_operator(kvf_build *b, uint32_t layer, const char *q, const char *k,
                                   const char *v, const char *mask, const kvf_build_kv *past,
                                   const kvf_build_kv *present)
{
    kvf_writer *w = b->w;
    const char *rows = of_layer(b, layer, "mixed.rows");
    kvf_writer_node(w, "Attention", rows, q, k, v, mask, past->key, past->value, NULL);
    kvf_writer_also(w, present->key);
    kvf_writer_also(w, present->value);
    kvf_writer_int(w, "q_num_heads", b->d->heads);
    kvf_writer_int(w, "kv_num_heads", b->d->kv_heads);
    kvf_writer_float(w, "scale", score_scale(b, layer));
    return rows;
}

/* ---- the MLP --------------------------------------------------------------------------------- */

/* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) */
static const char *gelu_tanh(kvf_build *b, const char *x, const char *output)
{
    kvf_writer *w = b->w;
    if (b->opset >= 20) {
        kvf_writer_node(w, "Gelu", output, x, NULL);
        kvf_writer_string(w, "approximate", "tanh");
        return output;
    }
    const char *three = shared_scalar(b, MADE_THREE, "gelu.three", 3);
    const char *cubic = shared_scalar(b, MADE_CUBIC, "gelu.cubic", 0.044715f);
    const char *scale = shared_scalar(b, MADE_TANH_SCALE, "gelu.scale", 0.7978845608028654f);
    const char *one = shared_scalar(b, MADE_ONE, "gelu.one", 1);
    const char *half = shared_scalar(b, MADE_HALF, "gelu.half", 0.5f);
    const char *v =
        kvf_writer_node(w, "Pow", kvf_writer_name(w, "%s.cube", output), x, three, NULL);
    v = kvf_writer_node(w, "Mul", kvf_writer_name(w, "%s.bend", output), v, cubic, NULL);
    v = kvf_writer_node(w, "Add", kvf_writer_name(w, "%s.sum", output), x, v, NULL);
    v = kvf_writer_node(w, "Mul", kvf_writer_name(w, "%s.inner", output), v, scale, NULL);
    v = kvf_writer_node(w, "Tanh", kvf_writer_name(w, "%s.tanh", output), v, NULL);
    v = kvf_writer_node(w, "Add", kvf_writer_name(w, "%s.gate", output), v, one, NULL);
    const char *halved = kvf_writer_name(w, "%s.half", output);
    kvf_writer_node(w, "Mul", halved, x, half, NULL);
    return kvf_writer_node(w, "Mul", output, halved, v, NULL);
}

/* 0.5 x (1 + erf(x / sqrt(2))) */
static const char *gelu_erf(kvf_build *b, const char *x, const char *output)
{
    kvf_writer *w = b->w;
    if (b->opset >= 20) return kvf_writer_node(w, "Gelu", output, x, NULL);
    const char *root = shared_scalar(b, MADE_SQRT_2, "gelu.sqrt_2", 1.4142135623730951f);
    const char *one = shared_scalar(b, MADE_ONE, "gelu.one", 1);
    const char *half = shared_scalar(b, MADE_HALF, "gelu.half", 0.5f);
    const char *v =
        kvf_writer_node(w, "Div", kvf_writer_name(w, "%s.inner", output), x, root, NULL);
    v = kvf_writer_node(w, "Erf", kvf_writer_name(w, "%s.erf", output), v, NULL);
    v = kvf_writer_node(w, "Add", kvf_writer_name(w, "%s.gate", output), v, one, NULL);
    v = kvf_writer_node(w, "Mul", kvf_writer_name(w, "%s.twice", output), x, v, NULL);
    return kvf_writer_node(w, "Mul", output, v, half, NULL);
}

static const char *activate(kvf_build *b, const char *x, const char *output)
{
    switch (b->d->act) {
    case KVF_ACT_GELU_TANH: return gelu_tanh(b, x, output);
    case KVF_ACT_GELU_ERF: return gelu_erf(b, x, output);
    case KVF_ACT_RELU: return kvf_writer_node(b->w, "Relu", output, x, NULL);
    default: break;
    }
    const char *gate = kvf_writer_name(b->w, "%s.sigmoid", output); /* SiLU: x sigmoid(x) */
    kvf_writer_node(b->w, "Sigmoid", gate, x, NULL);
    return kvf_writer_node(b->w, "Mul", output, x, gate, NULL);
}

static const char *mlp(kvf_build *b, uint32_t layer, const char *x)
{
    x = norm(b, KVF_W_MLP_NORM, layer, x, of_layer(b, layer, "mlp_norm"));
    const char *up = linear(b, KVF_W_UP, layer, x, of_layer(b, layer, "up"));
    const char *active = of_layer(b, layer, "active");
    if (b->d->gated) {
        const char *gate = linear(b, KVF_W_GATE, layer, x, of_layer(b, layer, "gate"));
        gate = activate(b, gate, active);
        up = kvf_writer_node(b->w, "Mul", of_layer(b, layer, "gated"), gate, up, NULL);
    } else {
        up = activate(b, up, active);
    }
    return linear(b, KVF_W_DOWN, layer, up, of_layer(b, layer, "down"));
}

/* ---- layers and heads ------------------------------------------------------------------------ */

const char *kvf_build_layer(kvf_build *b, uint32_t layer, const char *x,
                            const kvf_build_shared *shared, const kvf_build_kv *past,
                            kvf_build_kv *present)
{
    const char *q, *k, *v;
    project(b, layer, x, &q, &k, &v);
    q = position_heads(b, layer, shared, q, true);
    k = position_heads(b, layer, shared, k, false);
    if (b->opset >= 23) {
        q = attend_operator(b, layer, q, k, v, shared->mask, past, present);
    } else {
        append_both(b, layer, k, v, past, present);
        q = attend(b, layer, q, *present, shared->mask);
    }
    const char *out = linear(b, KVF_W_OUT, layer, q, of_layer(b, layer, "out"));
    x = kvf_writer_node(b->w, "Add", of_layer(b, layer, "attended"), x, out, NULL);
    out = mlp(b, layer, x);
    return kvf_writer_node(b->w, "Add", of_layer(b, layer, "output"), x, out, NULL);
}

void kvf_build_keys(kvf_build *b, uint32_t layer, const char *x, const kvf_build_shared *shared,
                    kvf_build_kv *present)
{
    const char *q, *k, *v;
    project(b, layer, x, &q, &k, &v);
    append_both(b, layer, position_heads(b, layer, shared, k, false), v, NULL, present);
}

const char *kvf_build_final_norm(kvf_build *b, const char *x, const char *output)
{
    return norm(b, KVF_W_FINAL_NORM, 0, x, output);
}

const char *kvf_build_logits(kvf_build *b, const char *hidden, const char *output)
{
    const char *head;
    if (b->d->tied)
        head = transpose(b, token_embedding(b), kvf_weight_name(KVF_W_HEAD),
                         (const int64_t[]){1, 0}, 2);
    else
        head = add_weight(b, KVF_W_HEAD, 0);
    return kvf_writer_node(b->w, "MatMul", output, hidden, head, NULL);
}

/* The value head's norms have PyTorch's own eps. */
static const char *value_stage(kvf_build *b, kvf_weight weight, const char *x, const char *name)
{
    kvf_writer *w = b->w;
    x = linear(b, weight, 0, x, kvf_writer_name(w, "%s.linear", name));
    const char *scale = add_weight(b, weight + 2, 0), *bias = add_weight(b, weight + 3, 0);
    x = layer_norm(b, x, scale, bias, 1e-5f, kvf_writer_name(w, "%s.norm", name));
    return kvf_writer_node(w, "Relu", kvf_writer_name(w, "%s.relu", name), x, NULL);
}

const char *kvf_build_values(kvf_build *b, const char *hidden, const char *output)
{
    const char *x = value_stage(b, KVF_W_VALUE_1, hidden, "value.1");
    x = value_stage(b, KVF_W_VALUE_2, x, "value.2");
    x = linear(b, KVF_W_VALUE_OUT, 0, x, "value.out");
    kvf_build_i64s(b, "value.axis", (const int64_t[]){-1}, 1);
    x = kvf_writer_node(b->w, "Squeeze", "value.raw", x, "value.axis", NULL);
    return kvf_writer_node(b->w, "Tanh", output, x, NULL);
}
