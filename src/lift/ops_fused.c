/* ops_fused.c - operators that are several at once, told in terms of the small ones.
 *
 * Sources: the operator documentation of ONNX (Attention-23 and -24, RotaryEmbedding-23) and
 * ContribOperators.md of ONNX Runtime. What an operator offers beyond what is told here
 * (windows, sinks, quantised caches) is refused, by attribute and by input. */
#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- helpers --------------------------------------------------------------------------------- */

/* Attributes that this code knows; another one would change what the operator does. */
static bool only_attributes(kvf_ev *ev, const char *known)
{
    for (uint32_t i = 0; i < ev->op->n_attrs; i++) {
        const kvf_attr *a = &ev->op->attrs[i];
        char name[64];
        snprintf(name, sizeof name, " %.60s ", a->name);
        if (!strstr(known, name)) {
            kvf_ev_fail(ev, "attribute %.60s is not known", a->name);
            return false;
        }
    }
    return true;
}

static bool only_inputs(kvf_ev *ev, const kvf_cells *in, uint32_t n)
{
    for (uint32_t i = n; i < 16; i++)
        if (kvf_given(&in[i])) {
            kvf_ev_fail(ev, "its input %u is not known", i);
            return false;
        }
    if (ev->op->n_inputs > 16) kvf_ev_fail(ev, "has more inputs than are known");
    return !ev->status;
}

static bool wanted(const kvf_ev *ev, uint32_t i)
{
    return i < ev->op->n_outputs && ev->op->outputs[i] != KVF_NO_VALUE &&
           ev->last_use[ev->op->outputs[i]] > ev->op_index;
}

/* [batch, rows, heads * size] as [batch, heads, rows, size] */
static kvf_cells split_heads(kvf_ev *ev, kvf_cells x, int64_t heads)
{
    if (ev->status) return x;
    if (x.rank != 3 || heads <= 0 || x.dims[2] % heads)
        return kvf_ev_fail(ev, "%lld heads do not divide its input", (long long)heads);
    x = kvf_reshape(ev, x, 4, (int64_t[]){x.dims[0], x.dims[1], heads, x.dims[2] / heads});
    return kvf_swap(ev, x, 1, 2);
}

static kvf_cells join_heads(kvf_ev *ev, kvf_cells x)
{
    if (ev->status) return x;
    x = kvf_swap(ev, x, 1, 2);
    return kvf_reshape(ev, x, 3, (int64_t[]){x.dims[0], x.dims[1], x.dims[2] * x.dims[3]});
}

/* [1, 1, rows, keys]: 0 where key <= row + offset, else -inf */
static kvf_cells causal_bias(kvf_ev *ev, kvf_type type, int64_t rows, int64_t keys, int64_t offset)
{
    kvf_cells c = kvf_new(ev, KVF_KNOWN, type, 4, (int64_t[]){1, 1, rows, keys});
    c.moving = true;
    for (int64_t r = 0; r < rows && !ev->status; r++)
        for (int64_t k = 0; k < keys; k++)
            kvf_floats(&c)[r * keys + k] = k <= r + offset ? 0 : -INFINITY;
    return c;
}

/* 0 where a boolean (or 0 / 1) mask is set, else `hidden`. */
static kvf_cells bias_of(kvf_ev *ev, kvf_cells mask, kvf_type type, double hidden)
{
    kvf_cells zero = kvf_number(ev, type, 0), low = kvf_number(ev, type, hidden);
    return kvf_where(ev, kvf_cast(ev, mask, KVF_BOOL), zero, low);
}

static kvf_cells add_bias(kvf_ev *ev, kvf_cells a, kvf_cells b)
{
    return !kvf_given(&a) ? b : !kvf_given(&b) ? a : kvf_binary(ev, KVF_ADD, a, b);
}

static kvf_cells append(kvf_ev *ev, kvf_cells past, kvf_cells fresh)
{
    if (!kvf_given(&past) || ev->status) return fresh;
    if (past.rank != 4) return kvf_ev_fail(ev, "its past has rank %u", past.rank);
    return kvf_concat(ev, 2, (kvf_cells[]){past, fresh}, 2);
}

/* Each of the kv heads `times` times, beside each other. */
static kvf_cells repeat_heads(kvf_ev *ev, kvf_cells x, int64_t times)
{
    if (ev->status || times == 1) return x;
    int64_t b = x.dims[0], g = x.dims[1], t = x.dims[2], d = x.dims[3];
    x = kvf_reshape(ev, x, 5, (int64_t[]){b, g, 1, t, d});
    x = kvf_expand(ev, x, 5, (int64_t[]){b, g, times, t, d});
    return kvf_reshape(ev, x, 4, (int64_t[]){b, g * times, t, d});
}

kvf_cells kvf_attend(kvf_ev *ev, kvf_cells q, kvf_cells k, kvf_cells v, kvf_cells bias,
                     double scale, double cap)
{
    if (ev->status) return (kvf_cells){0};
    if (q.rank != 4 || k.rank != 4 || v.rank != 4 || k.dims[1] <= 0 || q.dims[1] % k.dims[1] ||
        k.dims[1] != v.dims[1])
        return kvf_ev_fail(ev, "its heads do not fit each other");
    int64_t times = q.dims[1] / k.dims[1];
    k = repeat_heads(ev, k, times);
    v = repeat_heads(ev, v, times);
    kvf_cells s = kvf_matmul(ev, q, kvf_swap(ev, k, 2, 3));
    s = kvf_binary(ev, KVF_MUL, s,
                   kvf_number(ev, q.type, scale ? scale : 1 / sqrt((double)q.dims[3])));
    if (cap) {
        s = kvf_binary(ev, KVF_DIV, s, kvf_number(ev, q.type, cap));
        s = kvf_binary(ev, KVF_MUL, kvf_unary(ev, KVF_TANH, s), kvf_number(ev, q.type, cap));
    }
    s = add_bias(ev, s, bias);
    return kvf_matmul(ev, kvf_softmax(ev, s), v);
}

kvf_cells kvf_rotate(kvf_ev *ev, kvf_cells x, kvf_cells cos, kvf_cells sin, bool interleaved)
{
    if (ev->status) return (kvf_cells){0};
    int64_t pairs = cos.rank ? cos.dims[cos.rank - 1] : 0, size = x.dims[3];
    if (cos.rank != 3 || sin.rank != 3 || !pairs || 2 * pairs > size || x.rank != 4)
        return kvf_ev_fail(ev, "its cosines do not fit heads of %lld", (long long)size);
    cos = kvf_reshape(ev, cos, 4, (int64_t[]){cos.dims[0], 1, cos.dims[1], pairs});
    sin = kvf_reshape(ev, sin, 4, (int64_t[]){sin.dims[0], 1, sin.dims[1], pairs});
    kvf_cells a = kvf_slice(ev, x, 3, 0, pairs, interleaved ? 2 : 1);
    kvf_cells b = kvf_slice(ev, x, 3, interleaved ? 1 : pairs, pairs, interleaved ? 2 : 1);
    kvf_cells turned[3];
    turned[0] =
        kvf_binary(ev, KVF_SUB, kvf_binary(ev, KVF_MUL, a, cos), kvf_binary(ev, KVF_MUL, b, sin));
    turned[1] =
        kvf_binary(ev, KVF_ADD, kvf_binary(ev, KVF_MUL, b, cos), kvf_binary(ev, KVF_MUL, a, sin));
    turned[2] = kvf_slice(ev, x, 3, 2 * pairs, size - 2 * pairs, 1);
    if (ev->status || !interleaved) return kvf_concat(ev, 3, turned, 3);
    for (int i = 0; i < 2; i++) {
        int64_t *d = turned[i].dims;
        turned[i] = kvf_reshape(ev, turned[i], 5, (int64_t[]){d[0], d[1], d[2], d[3], 1});
    }
    a = kvf_concat(ev, 2, turned, 4);
    turned[1] = kvf_reshape(ev, a, 4, (int64_t[]){a.dims[0], a.dims[1], a.dims[2], 2 * pairs});
    return kvf_concat(ev, 2, turned + 1, 3);
}

/* ---- norms with a sum before them ------------------------------------------------------------ */

static void skip_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out, kvf_norm_kind kind)
{
    bool layer = kind == KVF_NORM_LAYER;
    const kvf_cells *beta = layer ? &in[3] : &(kvf_cells){0}, *bias = layer ? &in[4] : &in[3];
    double eps = kvf_op_float(ev->op, "epsilon", 1e-12f);
    if (!only_attributes(ev, " epsilon ")) return;
    if (wanted(ev, 1) || wanted(ev, 2)) {
        kvf_ev_fail(ev, "its mean or deviation is used");
        return;
    }
    kvf_cells sum = kvf_binary(ev, KVF_ADD, in[0], in[1]);
    if (kvf_given(bias)) sum = kvf_binary(ev, KVF_ADD, sum, *bias);
    out[0] = kvf_binary(ev, KVF_MUL, kvf_normalise(ev, kind, sum, eps), in[2]);
    if (kvf_given(beta)) out[0] = kvf_binary(ev, KVF_ADD, out[0], *beta);
    out[3] = sum;
}

static void op_skip_layer_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    skip_norm(ev, in, out, KVF_NORM_LAYER);
}

static void op_skip_rms_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    skip_norm(ev, in, out, KVF_NORM_RMS);
}

/* inputs: ids, segments, words, positions, segment table, gamma, beta, mask, position ids */
static void op_embed_layer_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    if (!only_attributes(ev, " epsilon mask_index_type ") || !only_inputs(ev, in, 9)) return;
    if (kvf_given(&in[1]) || kvf_given(&in[4]) || kvf_given(&in[7]) || wanted(ev, 1)) {
        kvf_ev_fail(ev, "has segments or a mask, as an encoder does");
        return;
    }
    kvf_cells at = in[8];
    if (!kvf_given(&at)) { /* positions start at 0, whatever the past is */
        if (in[0].rank != 2) return;
        at = kvf_new(ev, KVF_KNOWN, KVF_I64, 2, (int64_t[]){1, in[0].dims[1]});
        at.moving = true;
        for (uint64_t i = 0; i < at.count && !ev->status; i++) kvf_ints(&at)[i] = (int64_t)i;
    }
    kvf_cells sum =
        kvf_binary(ev, KVF_ADD, kvf_gather(ev, in[2], in[0], 0), kvf_gather(ev, in[3], at, 0));
    double eps = kvf_op_float(ev->op, "epsilon", 1e-12f);
    out[0] = kvf_binary(ev, KVF_MUL, kvf_normalise(ev, KVF_NORM_LAYER, sum, eps), in[5]);
    out[0] = kvf_binary(ev, KVF_ADD, out[0], in[6]);
    out[2] = sum;
}

/* ---- rotary positions ------------------------------------------------------------------------ */

/* Rows of a cache by position; without positions it has one row per token already. */
static kvf_cells rows_of_cache(kvf_ev *ev, kvf_cells cache, kvf_cells positions, int64_t first,
                               int64_t rows)
{
    if (ev->status) return cache;
    if (!kvf_given(&positions)) {
        positions = kvf_new(ev, KVF_KNOWN, KVF_I64, 2, (int64_t[]){1, rows});
        positions.moving = true;
        for (int64_t i = 0; i < rows && !ev->status; i++) kvf_ints(&positions)[i] = first + i;
    }
    return kvf_gather(ev, cache, positions, 0);
}

static void rotary(kvf_ev *ev, kvf_cells x, kvf_cells cos, kvf_cells sin, kvf_cells *out)
{
    int64_t heads = kvf_op_int(ev->op, "num_heads", 0),
            size = 2 * (cos.rank ? cos.dims[cos.rank - 1] : 0);
    int64_t dim = kvf_op_int(ev->op, "rotary_embedding_dim", 0);
    if (ev->status) return;
    if (dim && dim != size) {
        kvf_ev_fail(ev, "rotary_embedding_dim is %lld, but the cosines have %lld", (long long)dim,
                    (long long)size);
        return;
    }
    bool flat = x.rank == 3;
    if (flat && !heads && size) heads = x.dims[2] / size;
    if (flat) x = split_heads(ev, x, heads);
    if (!ev->status && x.rank != 4) kvf_ev_fail(ev, "its input has rank %u", x.rank);
    x = kvf_rotate(ev, x, cos, sin, kvf_ev_flag(ev, "interleaved", false));
    *out = flat ? join_heads(ev, x) : x;
}

static void op_rotary(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells cos = in[1], sin = in[2];
    if (!only_attributes(ev, " interleaved num_heads rotary_embedding_dim ")) return;
    if (kvf_given(&in[3])) {
        cos = kvf_gather(ev, cos, in[3], 0);
        sin = kvf_gather(ev, sin, in[3], 0);
    }
    rotary(ev, in[0], cos, sin, out);
}

/* com.microsoft: input, positions ([1]: of the first row), cosines, sines */
static void op_rotary_ms(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells at = in[1];
    int64_t first = 0;
    uint32_t n;
    if (!only_attributes(ev,
                         " interleaved num_heads rotary_embedding_dim scale is_packed_batching "))
        return;
    if (kvf_op_float(ev->op, "scale", 1) != 1 || kvf_op_int(ev->op, "is_packed_batching", 0) ||
        in[0].rank < 3) {
        kvf_ev_fail(ev, "scales, or packs its batch");
        return;
    }
    if (at.rank == 1) {
        if (!kvf_take_ints(ev, &at, "position_ids", 1, &first, &n)) return;
        at = (kvf_cells){0};
    }
    int64_t rows = in[0].dims[in[0].rank - 2];
    rotary(ev, in[0], rows_of_cache(ev, in[2], at, first, rows),
           rows_of_cache(ev, in[3], at, first, rows), out);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* ai.onnx, opset 23 and 24: q, k, v, mask, past key, past value, nonpad_kv_seqlen */
static void op_attention(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    if (!only_inputs(ev, in, 7) ||
        !only_attributes(ev, " is_causal kv_num_heads q_num_heads qk_matmul_output_mode scale "
                             "softcap softmax_precision "))
        return;
    kvf_cells q = in[0], k = in[1], v = in[2], bias = {0}, length = in[6];
    bool flat = q.rank == 3;
    if (flat) {
        int64_t kv = kvf_op_int(ev->op, "kv_num_heads", 0);
        q = split_heads(ev, q, kvf_op_int(ev->op, "q_num_heads", 0));
        k = split_heads(ev, k, kv);
        v = split_heads(ev, v, kv);
    }
    if (wanted(ev, 3) || (kvf_given(&length) && kvf_given(&in[4]))) {
        kvf_ev_fail(ev, "gives its scores, or has lengths beside a past");
        return;
    }
    k = append(ev, in[4], k);
    v = append(ev, in[5], v);
    if (ev->status) return;
    int64_t rows = q.dims[2], keys = k.dims[2], offset = kvf_given(&in[4]) ? in[4].dims[2] : 0,
            valid = keys;
    uint32_t n;
    if (kvf_given(&length)) {
        if (!kvf_take_ints(ev, &length, "nonpad_kv_seqlen", 1, &valid, &n)) return;
        offset = valid - rows;
        bias = causal_bias(ev, q.type, 1, keys, valid - 1);
    }
    if (kvf_given(&in[3]))
        bias = add_bias(ev, bias,
                        in[3].type == KVF_BOOL ? bias_of(ev, in[3], q.type, -INFINITY) : in[3]);
    if (kvf_ev_flag(ev, "is_causal", false))
        bias = add_bias(ev, bias, causal_bias(ev, q.type, rows, keys, offset));
    out[0] = kvf_attend(ev, q, k, v, bias, kvf_op_float(ev->op, "scale", 0),
                        kvf_op_float(ev->op, "softcap", 0));
    if (flat) out[0] = join_heads(ev, out[0]);
    out[1] = k;
    out[2] = v;
}

/* A padding mask of com.microsoft: [batch, keys] or [batch, rows, keys], 1 where a token is. */
static kvf_cells padding_bias(kvf_ev *ev, kvf_cells mask, kvf_type type)
{
    double hidden = kvf_op_float(ev->op, "mask_filter_value", -10000);
    if (!kvf_given(&mask) || ev->status) return (kvf_cells){0};
    if (mask.rank == 2)
        mask = kvf_reshape(ev, mask, 4, (int64_t[]){mask.dims[0], 1, 1, mask.dims[1]});
    else if (mask.rank == 3)
        mask = kvf_reshape(ev, mask, 4, (int64_t[]){mask.dims[0], 1, mask.dims[1], mask.dims[2]});
    else
        return kvf_ev_fail(ev, "its mask has rank %u", mask.rank);
    return bias_of(ev, mask, type, hidden);
}

/* com.microsoft: x, weights, bias, mask, past [2, batch, heads, rows, size], attention bias */
static void op_attention_ms(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    if (!only_inputs(ev, in, 6) ||
        !only_attributes(ev, " num_heads unidirectional mask_filter_value scale "))
        return;
    kvf_cells x = kvf_matmul(ev, in[0], in[1]), part[3], past[2] = {{0}};
    int64_t heads = kvf_op_int(ev->op, "num_heads", 0);
    if (kvf_given(&in[2])) x = kvf_binary(ev, KVF_ADD, x, in[2]);
    if (!ev->status && (x.rank != 3 || x.dims[2] % 3))
        kvf_ev_fail(ev, "its weights are not of q, k and v");
    for (int i = 0; i < 3 && !ev->status; i++)
        part[i] =
            split_heads(ev, kvf_slice(ev, x, 2, i * (x.dims[2] / 3), x.dims[2] / 3, 1), heads);
    if (ev->status) return;
    for (int i = 0; i < 2 && kvf_given(&in[4]); i++) {
        if (in[4].rank != 5 || in[4].dims[0] != 2) {
            kvf_ev_fail(ev, "its past is not of keys and values");
            return;
        }
        past[i] = kvf_slice(ev, in[4], 0, i, 1, 1);
        past[i] = kvf_reshape(ev, past[i], 4, in[4].dims + 1);
    }
    kvf_cells k = append(ev, past[0], part[1]), v = append(ev, past[1], part[2]);
    if (ev->status) return;
    int64_t rows = x.dims[1], keys = k.dims[2];
    kvf_cells bias = padding_bias(ev, in[3], x.type);
    if (kvf_ev_flag(ev, "unidirectional", false))
        bias = add_bias(ev, bias, causal_bias(ev, x.type, rows, keys, keys - rows));
    bias = add_bias(ev, bias, in[5]);
    out[0] =
        join_heads(ev, kvf_attend(ev, part[0], k, v, bias, kvf_op_float(ev->op, "scale", 0), 0));
    if (!wanted(ev, 1) || ev->status) return;
    kvf_cells both[2] = {k, v};
    for (int i = 0; i < 2; i++)
        both[i] =
            kvf_reshape(ev, both[i], 5, (int64_t[]){1, k.dims[0], k.dims[1], k.dims[2], k.dims[3]});
    out[1] = kvf_concat(ev, 2, both, 0);
}

/* com.microsoft: q, k, v, bias, key padding mask, attention bias, past key, past value */
static void op_multi_head(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    if (!only_inputs(ev, in, 8) ||
        !only_attributes(ev, " num_heads unidirectional mask_filter_value scale "))
        return;
    int64_t heads = kvf_op_int(ev->op, "num_heads", 0), width = in[0].rank == 3 ? in[0].dims[2] : 0;
    kvf_cells part[3];
    for (int i = 0; i < 3; i++) {
        part[i] = in[i];
        if (!kvf_given(&in[i]) || in[i].rank != 3 || in[i].dims[2] != width) {
            kvf_ev_fail(ev, "its queries, keys and values are not of one width");
            return;
        }
        if (kvf_given(&in[3]))
            part[i] =
                kvf_binary(ev, KVF_ADD, part[i], kvf_slice(ev, in[3], 0, i * width, width, 1));
        part[i] = split_heads(ev, part[i], heads);
    }
    kvf_cells k = append(ev, in[6], part[1]), v = append(ev, in[7], part[2]);
    kvf_cells bias = add_bias(ev, padding_bias(ev, in[4], in[0].type), in[5]);
    if (ev->status) return;
    int64_t rows = in[0].dims[1], keys = k.dims[2];
    if (kvf_ev_flag(ev, "unidirectional", false))
        bias = add_bias(ev, bias, causal_bias(ev, in[0].type, rows, keys, keys - rows));
    out[0] =
        join_heads(ev, kvf_attend(ev, part[0], k, v, bias, kvf_op_float(ev->op, "scale", 0), 0));
    out[1] = k;
    out[2] = v;
}

/* q, k and v apart, or packed in q. */
static void group_query_parts(kvf_ev *ev, const kvf_cells *in, int64_t heads, int64_t kv,
                              kvf_cells part[3])
{
    for (int i = 0; i < 3; i++) part[i] = in[i];
    if (!kvf_given(&in[1])) {
        if (in[0].rank != 3 || heads <= 0 || kv <= 0 || in[0].dims[2] % (heads + 2 * kv)) {
            kvf_ev_fail(ev, "its packed input does not hold %lld and twice %lld heads",
                        (long long)heads, (long long)kv);
            return;
        }
        int64_t size = in[0].dims[2] / (heads + 2 * kv);
        part[0] = kvf_slice(ev, in[0], 2, 0, heads * size, 1);
        part[1] = kvf_slice(ev, in[0], 2, heads * size, kv * size, 1);
        part[2] = kvf_slice(ev, in[0], 2, (heads + kv) * size, kv * size, 1);
    }
    for (int i = 0; i < 3; i++) part[i] = split_heads(ev, part[i], i ? kv : heads);
}

/* seqlens_k and total_sequence_length must say that all rows of past and new count: another
 * length would be a batch with padding. */
static void group_query_lengths(kvf_ev *ev, const kvf_cells *in, int64_t keys)
{
    int64_t last, total;
    uint32_t n;
    kvf_cells l = in[5], t = in[6];
    l.rank = l.count == 1 ? 0 : l.rank;
    t.rank = t.count == 1 ? 0 : t.rank;
    if (!kvf_take_ints(ev, &l, "seqlens_k", 1, &last, &n) || !n ||
        !kvf_take_ints(ev, &t, "total_sequence_length", 1, &total, &n) || !n)
        return;
    if (last != keys - 1 || total != keys)
        kvf_ev_fail(ev, "its lengths are %lld and %lld where there are %lld keys",
                    (long long)last + 1, (long long)total, (long long)keys);
}

/* q, k, v, past key, past value, seqlens_k, total length, cosines, sines, positions, bias */
static void op_group_query(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    if (!only_inputs(ev, in, 11) ||
        !only_attributes(ev, " num_heads kv_num_heads scale softcap local_window_size do_rotary "
                             "rotary_interleaved smooth_softmax qk_output "))
        return;
    if (kvf_op_int(ev->op, "local_window_size", -1) != -1 ||
        kvf_op_int(ev->op, "smooth_softmax", 0) > 0 || kvf_op_int(ev->op, "qk_output", 0) ||
        wanted(ev, 3)) {
        kvf_ev_fail(ev, "has a sliding window, a smooth softmax or gives its scores");
        return;
    }
    kvf_cells part[3];
    group_query_parts(ev, in, kvf_op_int(ev->op, "num_heads", 0),
                      kvf_op_int(ev->op, "kv_num_heads", 0), part);
    if (ev->status) return;
    int64_t rows = part[0].dims[2], past = kvf_given(&in[3]) && in[3].rank == 4 ? in[3].dims[2] : 0;
    group_query_lengths(ev, in, past + rows);
    if (kvf_ev_flag(ev, "do_rotary", false)) {
        kvf_cells cos = rows_of_cache(ev, in[7], in[9], past, rows),
                  sin = rows_of_cache(ev, in[8], in[9], past, rows);
        for (int i = 0; i < 2; i++)
            part[i] =
                kvf_rotate(ev, part[i], cos, sin, kvf_ev_flag(ev, "rotary_interleaved", false));
    }
    kvf_cells k = append(ev, in[3], part[1]), v = append(ev, in[4], part[2]);
    kvf_cells bias = add_bias(ev, causal_bias(ev, in[0].type, rows, past + rows, past), in[10]);
    out[0] = join_heads(ev, kvf_attend(ev, part[0], k, v, bias, kvf_op_float(ev->op, "scale", 0),
                                       kvf_op_float(ev->op, "softcap", 0)));
    out[1] = k;
    out[2] = v;
}

const kvf_operator_row kvf_ops_fused[] = {
    {"com.microsoft", "SkipLayerNormalization", op_skip_layer_norm},
    {"com.microsoft", "SkipSimplifiedLayerNormalization", op_skip_rms_norm},
    {"com.microsoft", "EmbedLayerNormalization", op_embed_layer_norm},
    {"", "RotaryEmbedding", op_rotary},
    {"com.microsoft", "RotaryEmbedding", op_rotary_ms},
    {"", "Attention", op_attention},
    {"com.microsoft", "Attention", op_attention_ms},
    {"com.microsoft", "MultiHeadAttention", op_multi_head},
    {"com.microsoft", "GroupQueryAttention", op_group_query},
    {0},
};
