/* ops_linear.c - products with matrices, norms, softmax, and the activations that have
 * operators. */
#include "far.h"
#include "product.h"
#include "trace.h"

#include <math.h>
#include <string.h>

/* ---- products -------------------------------------------------------------------------------- */

kvf_matrix kvf_matrix_of(const kvf_cells *c)
{
    bool known = c->form == KVF_KNOWN && c->rank == 2 && c->dims[0] > 0 && c->dims[1] > 0 &&
                 c->dims[0] <= INT32_MAX && c->dims[1] <= INT32_MAX && kvf_is_float(c->held);
    if (!known) return (kvf_matrix){0};
    return (kvf_matrix){.data = c->data,
                        .type = c->held,
                        .in = (uint32_t)c->dims[0],
                        .out = (uint32_t)c->dims[1],
                        .stride_in = c->strides[0],
                        .stride_out = c->strides[1]};
}

/* Leading axes of size 1 are dropped down to rank 2. */
static kvf_cells flat_matrix(kvf_cells b)
{
    while (b.rank > 2 && b.dims[0] == 1) {
        for (uint32_t a = 0; a + 1 < b.rank; a++) {
            b.dims[a] = b.dims[a + 1];
            b.strides[a] = b.strides[a + 1];
        }
        b.rank--;
    }
    return b;
}

static kvf_cells product_with(kvf_ev *ev, kvf_cells a, const kvf_matrix *w)
{
    int64_t dims[KVF_MAX_RANK];
    memcpy(dims, a.dims, sizeof dims);
    dims[a.rank - 1] = w->out;
    bool moving = a.moving;
    if (a.form == KVF_SYMBOL) return kvf_trace_linear(ev, a, w);
    a = kvf_dense(ev, a);
    kvf_cells out = kvf_new(ev, a.form, a.type, a.rank, dims);
    uint64_t rows = ev->status ? 0 : a.count / w->in;
    if (!rows || a.form == KVF_SHAPE || !kvf_spend(ev, rows * w->out * (ev->thin ? 8 : w->in)))
        return ev->status ? (kvf_cells){0} : out;
    out.moving = moving;
    kvf_product(w, kvf_floats(&a), kvf_floats(&out), rows, ev->thin);
    for (uint64_t i = 0; ev->round && i < out.count; i++)
        kvf_floats(&out)[i] = (float)kvf_floats(&out)[i];
    return out;
}

kvf_cells kvf_linear_q(kvf_ev *ev, kvf_cells a, const kvf_matrix *w)
{
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    if (!a.rank || a.dims[a.rank - 1] != w->in)
        return kvf_ev_fail(ev, "its input does not have %u columns", w->in);
    return product_with(ev, a, w);
}

/* [m, k] by [k, n] of cells with any strides. */
static void multiply(const kvf_ev *ev, const kvf_cells *a, int64_t at_a, const kvf_cells *b,
                     int64_t at_b, double *out)
{
    uint32_t ra = a->rank, rb = b->rank;
    int64_t m = a->dims[ra - 2], k = a->dims[ra - 1], n = b->dims[rb - 1];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++)
                sum += kvf_floats(a)[at_a + i * a->strides[ra - 2] + l * a->strides[ra - 1]] *
                       kvf_floats(b)[at_b + l * b->strides[rb - 2] + j * b->strides[rb - 1]];
            *out++ = ev->round ? (float)sum : sum;
        }
}

kvf_cells kvf_matmul(kvf_ev *ev, kvf_cells a, kvf_cells b)
{
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    b = flat_matrix(b);
    if (a.rank < 2 || b.rank < 2 || a.dims[a.rank - 1] != b.dims[b.rank - 2] ||
        !kvf_is_float(a.type) || !kvf_is_float(b.type))
        return kvf_ev_fail(ev, "its inputs are no matrices that can be multiplied");
    kvf_matrix w = kvf_matrix_of(&b);
    if (w.data && (a.form != KVF_KNOWN || !b.moving || ev->thin)) {
        kvf_cells loaded = b.moving ? kvf_load(ev, b) : b;
        w = kvf_matrix_of(&loaded);
        if (a.form != KVF_SYMBOL || !b.moving) return product_with(ev, a, &w);
    }
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    kvf_cells ba = a, bb = b; /* batches */
    ba.rank -= 2;
    bb.rank -= 2;
    if (!kvf_broadcast(ev, &ba, &bb, &rank, dims)) return (kvf_cells){0};
    if (rank + 2 > KVF_MAX_RANK) return kvf_ev_fail(ev, "the result has rank %u", rank + 2);
    int64_t da[KVF_MAX_RANK], db[KVF_MAX_RANK], k = a.dims[a.rank - 1];
    memcpy(da, dims, sizeof da);
    memcpy(db, dims, sizeof db);
    da[rank] = dims[rank] = a.dims[a.rank - 2];
    da[rank + 1] = db[rank] = k;
    db[rank + 1] = dims[rank + 1] = b.dims[b.rank - 1];
    a = kvf_expand(ev, kvf_load(ev, a), rank + 2, da);
    b = kvf_expand(ev, kvf_load(ev, b), rank + 2, db);
    if (ev->status) return (kvf_cells){0};
    if (a.form == KVF_SHAPE || b.form == KVF_SHAPE)
        return kvf_new(ev, KVF_SHAPE, a.type, rank + 2, dims);
    if (a.form == KVF_SYMBOL || b.form == KVF_SYMBOL) return kvf_trace_matmul(ev, a, b);
    kvf_cells out = kvf_new(ev, KVF_KNOWN, a.type, rank + 2, dims);
    uint64_t each = (uint64_t)(dims[rank] * dims[rank + 1]);
    if (ev->status || !each || !kvf_spend(ev, out.count * (uint64_t)k))
        return ev->status ? (kvf_cells){0} : out;
    out.moving = a.moving || b.moving;
    kvf_walk walk = {.rank = rank, .n = 2, .dims = dims, .strides = {a.strides, b.strides}};
    for (uint64_t i = 0; i < out.count / each; i++, kvf_step(&walk))
        multiply(ev, &a, walk.offset[0], &b, walk.offset[1], kvf_floats(&out) + i * each);
    return out;
}

static void op_matmul(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells a = in[0], b = in[1];
    int64_t dims[KVF_MAX_RANK];
    bool row = a.rank == 1, column = b.rank == 1;
    if (row) a = kvf_reshape(ev, a, 2, (int64_t[]){1, a.dims[0]});
    if (column) b = kvf_reshape(ev, b, 2, (int64_t[]){b.dims[0], 1});
    out[0] = kvf_matmul(ev, a, b);
    uint32_t rank = 0, last = out[0].rank;
    if (!row && !column) return;
    for (uint32_t i = 0; i < last; i++)
        if (!(row && i + 2 == last) && !(column && i + 1 == last)) dims[rank++] = out[0].dims[i];
    out[0] = kvf_reshape(ev, out[0], rank, dims);
}

static void op_gemm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells a = in[0], b = in[1], c = in[2];
    double alpha = kvf_op_float(ev->op, "alpha", 1), beta = kvf_op_float(ev->op, "beta", 1);
    if (a.rank != 2 || b.rank != 2) {
        kvf_ev_fail(ev, "its inputs are no matrices");
        return;
    }
    if (kvf_ev_flag(ev, "transA", false)) a = kvf_swap(ev, a, 0, 1);
    if (kvf_ev_flag(ev, "transB", false)) b = kvf_swap(ev, b, 0, 1);
    out[0] = kvf_matmul(ev, a, b);
    if (alpha != 1) out[0] = kvf_binary(ev, KVF_MUL, out[0], kvf_number(ev, a.type, alpha));
    if (!kvf_given(&c) || beta == 0) return;
    if (beta != 1) c = kvf_binary(ev, KVF_MUL, c, kvf_number(ev, a.type, beta));
    out[0] = kvf_binary(ev, KVF_ADD, out[0], c);
}

/* B [out, blocks, bytes], scales [out * blocks], zero points as bytes of 4 or 8 bits. */
static void op_matmul_nbits(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t k = kvf_op_int(ev->op, "K", 0), n = kvf_op_int(ev->op, "N", 0),
            bits = kvf_op_int(ev->op, "bits", 4), block = kvf_op_int(ev->op, "block_size", 0);
    bool sane = k > 0 && n > 0 && k < (1 << 24) && n < (1 << 24) && (bits == 4 || bits == 8) &&
                block >= 16 && block <= 4096 && !(block & (block - 1));
    if (!sane || kvf_given(&in[4])) {
        kvf_ev_fail(ev, sane ? "reorders its groups (g_idx)" : "has sizes that are not known");
        return;
    }
    uint64_t blocks = (uint64_t)((k + block - 1) / block);
    const kvf_cells *b = &in[1], *scales = &in[2], *zeros = &in[3];
    bool plain = b->held == KVF_U8 && !b->store && kvf_cells_dense(b) && !scales->store &&
                 kvf_cells_dense(scales) && kvf_is_float(scales->held) &&
                 b->count == (uint64_t)n * blocks * (uint64_t)(block * bits / 8) &&
                 scales->count == (uint64_t)n * blocks;
    if (kvf_given(zeros))
        plain = plain && zeros->held == KVF_U8 && !zeros->store && kvf_cells_dense(zeros) &&
                zeros->count == (uint64_t)n * ((blocks * (uint64_t)bits + 7) / 8);
    if (!plain) {
        kvf_ev_fail(ev, "its weights, scales or zero points are not as the file's format says");
        return;
    }
    kvf_matrix w = {.data = b->data,
                    .type = KVF_U8,
                    .in = (uint32_t)k,
                    .out = (uint32_t)n,
                    .block = (uint32_t)block,
                    .bits = (uint32_t)bits,
                    .scales = scales->data,
                    .scale_type = scales->held,
                    .zeros = kvf_given(zeros) ? zeros->data : NULL};
    out[0] = kvf_linear_q(ev, in[0], &w);
    if (kvf_given(&in[5])) out[0] = kvf_binary(ev, KVF_ADD, out[0], in[5]);
}

/* (x - zero) * scale of integers; scale per tensor, per axis or per block along it. */
static void op_dequantize(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_cells x = kvf_dense(ev, in[0]), s = kvf_dense(ev, in[1]), z = kvf_dense(ev, in[2]);
    int64_t block = kvf_op_int(ev->op, "block_size", 0);
    uint32_t axis = 0;
    if (s.count > 1 && !kvf_take_axis(ev, kvf_op_int(ev->op, "axis", 1), x.rank, &axis)) return;
    bool blocked = block > 0 && s.rank == x.rank && s.count > 1;
    if (x.form != KVF_KNOWN || s.form != KVF_KNOWN || !kvf_is_float(s.type) ||
        (kvf_given(&z) && (z.form != KVF_KNOWN || z.count != s.count)) ||
        (s.count > 1 && !blocked && (s.rank != 1 || s.dims[0] != x.dims[axis]))) {
        kvf_ev_fail(ev, "its scales or zero points are not known in this form");
        return;
    }
    for (uint32_t a = 0; blocked && a < x.rank; a++)
        if (s.dims[a] != (a == axis ? (x.dims[a] + block - 1) / block : x.dims[a])) {
            kvf_ev_fail(ev, "its blocks do not fit");
            return;
        }
    kvf_cells o = kvf_new(ev, KVF_KNOWN, s.type, x.rank, x.dims);
    int64_t none[KVF_MAX_RANK] = {0};
    kvf_walk w = {.rank = x.rank, .n = 1, .dims = x.dims, .strides = {none}};
    for (uint64_t i = 0; i < o.count && !ev->status; i++, kvf_step(&w)) {
        int64_t at = s.count > 1 ? w.at[axis] : 0;
        if (blocked) {
            at = 0;
            for (uint32_t a = 0; a < x.rank; a++)
                at += (a == axis ? w.at[a] / block : w.at[a]) * s.strides[a];
        }
        int64_t zero = kvf_given(&z) ? kvf_ints(&z)[at] : 0;
        double v = (double)(kvf_ints(&x)[i] - zero) * kvf_floats(&s)[at];
        kvf_floats(&o)[i] = ev->round ? (float)v : v;
    }
    out[0] = o;
}

/* ---- softmax and norms ----------------------------------------------------------------------- */

kvf_cells kvf_softmax(kvf_ev *ev, kvf_cells a)
{
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    if (!a.rank) return kvf_ev_fail(ev, "needs an axis");
    if (a.form == KVF_SYMBOL) return kvf_trace_softmax(ev, a);
    if (a.form == KVF_SHAPE && ev->far) kvf_far_softmax(ev, &a);
    bool moving = a.moving;
    a = kvf_dense(ev, a);
    kvf_cells out = kvf_new(ev, a.form, a.type, a.rank, a.dims);
    if (ev->status || a.form == KVF_SHAPE) return out;
    out.moving = moving;
    uint64_t n = (uint64_t)a.dims[a.rank - 1];
    for (uint64_t i = 0; n && i < a.count / n; i++) {
        const double *x = kvf_floats(&a) + i * n;
        double *y = kvf_floats(&out) + i * n, top = -INFINITY, sum = 0;
        for (uint64_t j = 0; j < n; j++) top = x[j] > top ? x[j] : top;
        for (uint64_t j = 0; j < n; j++) sum += y[j] = exp(x[j] - top);
        for (uint64_t j = 0; j < n; j++) y[j] /= sum;
    }
    return out;
}

kvf_cells kvf_normalise(kvf_ev *ev, kvf_norm_kind kind, kvf_cells a, double eps)
{
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    if (!a.rank) return kvf_ev_fail(ev, "needs an axis");
    if (a.form == KVF_SYMBOL) return kvf_trace_normalise(ev, kind, a, eps);
    bool moving = a.moving;
    a = kvf_dense(ev, a);
    kvf_cells out = kvf_new(ev, a.form, a.type, a.rank, a.dims);
    if (ev->status || a.form == KVF_SHAPE) return out;
    out.moving = moving;
    uint64_t n = (uint64_t)a.dims[a.rank - 1];
    for (uint64_t i = 0; n && i < a.count / n; i++) {
        const double *x = kvf_floats(&a) + i * n;
        double mean = 0, square = 0;
        for (uint64_t j = 0; j < n && kind == KVF_NORM_LAYER; j++) mean += x[j] / (double)n;
        for (uint64_t j = 0; j < n; j++) square += (x[j] - mean) * (x[j] - mean) / (double)n;
        for (uint64_t j = 0; j < n; j++)
            kvf_floats(&out)[i * n + j] = (x[j] - mean) / sqrt(square + eps);
    }
    return out;
}

static void op_softmax(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    uint32_t axis;
    bool old = kvf_ev_opset(ev) < 13; /* then all axes from this one on were one */
    if (!kvf_take_axis(ev, kvf_op_int(ev->op, "axis", old ? 1 : -1), in[0].rank, &axis)) return;
    uint32_t last = in[0].rank - 1;
    if (axis == last)
        out[0] = kvf_softmax(ev, in[0]);
    else if (old)
        kvf_ev_fail(ev, "over several axes is not known");
    else
        out[0] = kvf_swap(ev, kvf_softmax(ev, kvf_swap(ev, in[0], axis, last)), axis, last);
}

static void norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out, kvf_norm_kind kind, float missing)
{
    uint32_t axis;
    int64_t dims[KVF_MAX_RANK];
    if (!kvf_take_axis(ev, kvf_op_int(ev->op, "axis", -1), in[0].rank, &axis)) return;
    memcpy(dims, in[0].dims, sizeof dims);
    for (uint32_t a = axis + 1; a < in[0].rank; a++) dims[axis] *= dims[a];
    kvf_cells x = kvf_reshape(ev, in[0], axis + 1, dims);
    x = kvf_normalise(ev, kind, x, kvf_op_float(ev->op, "epsilon", missing));
    out[0] = kvf_reshape(ev, x, in[0].rank, in[0].dims);
    if (kvf_given(&in[1])) out[0] = kvf_binary(ev, KVF_MUL, out[0], in[1]);
    if (kvf_given(&in[2])) out[0] = kvf_binary(ev, KVF_ADD, out[0], in[2]);
}

static void op_layer_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    norm(ev, in, out, KVF_NORM_LAYER, 1e-5f);
}

static void op_rms_norm(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    norm(ev, in, out, KVF_NORM_RMS, 1e-5f);
}

/* ---- activations ----------------------------------------------------------------------------- */

static void op_gelu(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *a = kvf_op_attr(ev->op, "approximate");
    bool tanh_form = a && a->s && !strcmp(a->s, "tanh");
    if (a && a->s && !tanh_form && strcmp(a->s, "none"))
        kvf_ev_fail(ev, "approximate is \"%.20s\"", a->s);
    else
        out[0] = kvf_unary(ev, tanh_form ? KVF_GELU_TANH : KVF_GELU, in[0]);
}

static kvf_cells with_bias(kvf_ev *ev, const kvf_cells *in)
{
    return kvf_given(&in[1]) ? kvf_binary(ev, KVF_ADD, in[0], in[1]) : in[0];
}

static void op_gelu_ms(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = kvf_unary(ev, KVF_GELU, with_bias(ev, in));
}

static void op_fast_gelu(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = kvf_unary(ev, KVF_GELU_TANH, with_bias(ev, in));
}

/* x * sigmoid(alpha * x) */
static kvf_cells swish(kvf_ev *ev, kvf_cells x, double alpha)
{
    kvf_cells y = alpha == 1 ? x : kvf_binary(ev, KVF_MUL, x, kvf_number(ev, x.type, alpha));
    return kvf_binary(ev, KVF_MUL, x, kvf_unary(ev, KVF_SIGMOID, y));
}

static void op_swish(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = swish(ev, in[0], kvf_op_float(ev->op, "alpha", 1));
}

static void op_quick_gelu(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = swish(ev, in[0], kvf_op_float(ev->op, "alpha", 1.702f));
}

const kvf_operator_row kvf_ops_linear[] = {
    {"", "MatMul", op_matmul},
    {"", "Gemm", op_gemm},
    {"com.microsoft", "MatMulNBits", op_matmul_nbits},
    {"", "DequantizeLinear", op_dequantize},
    {"com.microsoft", "DequantizeLinear", op_dequantize},
    {"", "Softmax", op_softmax},
    {"", "LayerNormalization", op_layer_norm},
    {"", "RMSNormalization", op_rms_norm},
    {"", "SimplifiedLayerNormalization", op_rms_norm},
    {"com.microsoft", "SimplifiedLayerNormalization", op_rms_norm},
    {"", "Gelu", op_gelu},
    {"com.microsoft", "Gelu", op_gelu_ms},
    {"com.microsoft", "BiasGelu", op_gelu_ms},
    {"com.microsoft", "FastGelu", op_fast_gelu},
    {"com.microsoft", "QuickGelu", op_quick_gelu},
    {"", "Swish", op_swish},
    {0},
};
