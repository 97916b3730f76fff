/* ops_math.c - elementwise arithmetic, comparison, reduction: numbers, and who else takes over.
 *
 * Integers wrap as in ONNX Runtime; a division by zero is a failure. Floats are computed in
 * double. In the lift they are rounded to their type after each operation (ev->round), so that
 * angles and masks are the numbers the model's authors saw; the interpreter does not round, so
 * that graph and plan can be compared more sharply than f32 would allow. */
#include "far.h"
#include "trace.h"

#include <math.h>
#include <string.h>

static const char *const names[] = {[KVF_FN_NONE] = "none",
                                    [KVF_ADD] = "add",
                                    [KVF_SUB] = "sub",
                                    [KVF_MUL] = "mul",
                                    [KVF_DIV] = "div",
                                    [KVF_POW] = "pow",
                                    [KVF_MOD] = "mod",
                                    [KVF_MAX] = "max",
                                    [KVF_MIN] = "min",
                                    [KVF_AND] = "and",
                                    [KVF_OR] = "or",
                                    [KVF_XOR] = "xor",
                                    [KVF_EQUAL] = "equal",
                                    [KVF_LESS] = "less",
                                    [KVF_LESS_EQUAL] = "less or equal",
                                    [KVF_GREATER] = "greater",
                                    [KVF_GREATER_EQUAL] = "greater or equal",
                                    [KVF_NEG] = "neg",
                                    [KVF_ABS] = "abs",
                                    [KVF_SQRT] = "sqrt",
                                    [KVF_RSQRT] = "1 / sqrt",
                                    [KVF_RECIPROCAL] = "1 / x",
                                    [KVF_EXP] = "exp",
                                    [KVF_LOG] = "log",
                                    [KVF_SIN] = "sin",
                                    [KVF_COS] = "cos",
                                    [KVF_TANH] = "tanh",
                                    [KVF_SIGMOID] = "sigmoid",
                                    [KVF_ERF] = "erf",
                                    [KVF_RELU] = "relu",
                                    [KVF_FLOOR] = "floor",
                                    [KVF_CEIL] = "ceil",
                                    [KVF_ROUND] = "round",
                                    [KVF_SIGN] = "sign",
                                    [KVF_NOT] = "not",
                                    [KVF_ISNAN] = "isnan",
                                    [KVF_ISINF] = "isinf",
                                    [KVF_GELU] = "gelu",
                                    [KVF_GELU_TANH] = "gelu (tanh)",
                                    [KVF_SILU] = "silu",
                                    [KVF_SOFTPLUS] = "softplus"};

const char *kvf_fn_name(kvf_fn fn)
{
    return names[fn];
}

static bool is_logic(kvf_fn fn)
{
    return fn >= KVF_AND && fn <= KVF_GREATER_EQUAL;
}

static double rounded(const kvf_ev *ev, kvf_type type, double v)
{
    if (!ev->round || type == KVF_F64) return v;
    if (type == KVF_F16) return kvf_from_f16(kvf_to_f16((float)v));
    if (type == KVF_BF16) return kvf_from_bf16(kvf_to_bf16((float)v));
    return (double)(float)v;
}

/* ---- of one number --------------------------------------------------------------------------- */

static double unary_f(kvf_fn fn, double x)
{
    switch (fn) {
    case KVF_NEG: return -x;
    case KVF_ABS: return fabs(x);
    case KVF_SQRT: return sqrt(x);
    case KVF_RSQRT: return 1 / sqrt(x);
    case KVF_RECIPROCAL: return 1 / x;
    case KVF_EXP: return exp(x);
    case KVF_LOG: return log(x);
    case KVF_SIN: return sin(x);
    case KVF_COS: return cos(x);
    case KVF_TANH: return tanh(x);
    case KVF_SIGMOID: return 1 / (1 + exp(-x));
    case KVF_ERF: return erf(x);
    case KVF_RELU: return x > 0 ? x : 0;
    case KVF_FLOOR: return floor(x);
    case KVF_CEIL: return ceil(x);
    case KVF_ROUND: return nearbyint(x);
    case KVF_SIGN: return (x > 0) - (x < 0);
    case KVF_GELU: return 0.5 * x * (1 + erf(x * M_SQRT1_2));
    case KVF_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
    case KVF_SILU: return x / (1 + exp(-x));
    case KVF_SOFTPLUS: return x > 30 ? x : log1p(exp(x));
    default: return NAN;
    }
}

static int64_t unary_i(kvf_fn fn, int64_t x)
{
    switch (fn) {
    case KVF_NEG: return (int64_t)(0 - (uint64_t)x);
    case KVF_ABS: return x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
    case KVF_SIGN: return (x > 0) - (x < 0);
    case KVF_NOT: return !x;
    case KVF_RELU: return x > 0 ? x : 0;
    default: return x;
    }
}

kvf_cells kvf_unary(kvf_ev *ev, kvf_fn fn, kvf_cells a)
{
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    if (a.form == KVF_SYMBOL) return kvf_trace_unary(ev, fn, a);
    bool test = fn == KVF_ISNAN || fn == KVF_ISINF;
    kvf_type type = test ? KVF_BOOL : a.type;
    if (a.form == KVF_SHAPE) return kvf_new(ev, KVF_SHAPE, type, a.rank, a.dims);
    a = kvf_dense(ev, a);
    kvf_cells out = kvf_new(ev, KVF_KNOWN, type, a.rank, a.dims);
    out.moving = a.moving;
    if (ev->status) return (kvf_cells){0};
    if (ev->far && fn == KVF_COS) kvf_far_angles(ev, &a);
    for (uint64_t i = 0; i < a.count; i++) {
        double x = a.held == KVF_F64 ? kvf_floats(&a)[i] : 0;
        if (test)
            kvf_ints(&out)[i] = fn == KVF_ISNAN ? x != x : isinf(x) != 0;
        else if (a.held == KVF_F64)
            kvf_floats(&out)[i] = rounded(ev, type, unary_f(fn, x));
        else
            kvf_ints(&out)[i] = unary_i(fn, kvf_ints(&a)[i]);
    }
    return out;
}

/* ---- of two ---------------------------------------------------------------------------------- */

static double binary_f(kvf_fn fn, double x, double y)
{
    switch (fn) {
    case KVF_ADD: return x + y;
    case KVF_SUB: return x - y;
    case KVF_MUL: return x * y;
    case KVF_DIV: return x / y;
    case KVF_POW: return pow(x, y);
    case KVF_MOD: return fmod(x, y);
    case KVF_MAX: return x > y ? x : y;
    default: return x < y ? x : y;
    }
}

static int64_t power(int64_t x, int64_t y)
{
    uint64_t result = 1, base = (uint64_t)x;
    if (y < 0) return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : 0;
    for (; y; y >>= 1, base *= base)
        if (y & 1) result *= base;
    return (int64_t)result;
}

static int64_t modulo(int64_t x, int64_t y, bool c_sign)
{
    int64_t r = y == -1 ? 0 : x % y;
    return r && !c_sign && (r < 0) != (y < 0) ? r + y : r;
}

static int64_t binary_i(kvf_ev *ev, kvf_fn fn, int64_t x, int64_t y)
{
    if ((fn == KVF_DIV || fn == KVF_MOD) && !y) {
        kvf_ev_fail(ev, "divides an integer by zero");
        return 0;
    }
    switch (fn) {
    case KVF_ADD: return (int64_t)((uint64_t)x + (uint64_t)y);
    case KVF_SUB: return (int64_t)((uint64_t)x - (uint64_t)y);
    case KVF_MUL: return (int64_t)((uint64_t)x * (uint64_t)y);
    case KVF_DIV: return y == -1 ? (int64_t)(0 - (uint64_t)x) : x / y;
    case KVF_POW: return power(x, y);
    case KVF_MOD: return modulo(x, y, kvf_op_int(ev->op, "fmod", 0));
    case KVF_MAX: return x > y ? x : y;
    default: return x < y ? x : y;
    }
}

/* Of two numbers of one kind: -1, 0, 1, or 2 where one is not a number. */
static bool logic(kvf_fn fn, int order, bool x, bool y)
{
    switch (fn) {
    case KVF_AND: return x && y;
    case KVF_OR: return x || y;
    case KVF_XOR: return x != y;
    case KVF_EQUAL: return order == 0;
    case KVF_LESS: return order == -1;
    case KVF_LESS_EQUAL: return order == -1 || order == 0;
    case KVF_GREATER: return order == 1;
    default: return order == 1 || order == 0;
    }
}

static int64_t cut(kvf_type type, int64_t v)
{
    switch (type) {
    case KVF_I32: return (int32_t)(uint32_t)(uint64_t)v;
    case KVF_U32: return (uint32_t)(uint64_t)v;
    case KVF_I16: return (int16_t)(uint16_t)(uint64_t)v;
    case KVF_U16: return (uint16_t)(uint64_t)v;
    case KVF_I8: return (int8_t)(uint8_t)(uint64_t)v;
    case KVF_U8: return (uint8_t)(uint64_t)v;
    case KVF_BOOL: return v != 0;
    default: return v;
    }
}

static kvf_cells compute_binary(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b, uint32_t rank,
                                const int64_t *dims)
{
    bool floats = kvf_is_float(a.type), moving = a.moving || b.moving;
    if (floats != kvf_is_float(b.type))
        return kvf_ev_fail(ev, "mixes %s and %s", kvf_type_name(a.type), kvf_type_name(b.type));
    kvf_type type = is_logic(fn) ? KVF_BOOL : a.type;
    kvf_cells out = kvf_new(ev, KVF_KNOWN, type, rank, dims);
    a = kvf_expand(ev, kvf_load(ev, a), rank, dims);
    b = kvf_expand(ev, kvf_load(ev, b), rank, dims);
    if (ev->status) return (kvf_cells){0};
    out.moving = moving;
    kvf_walk w = {.rank = rank, .n = 2, .dims = dims, .strides = {a.strides, b.strides}};
    for (uint64_t i = 0; i < out.count && !ev->status; i++, kvf_step(&w)) {
        if (floats) {
            double x = kvf_floats(&a)[w.offset[0]], y = kvf_floats(&b)[w.offset[1]];
            if (is_logic(fn))
                kvf_ints(&out)[i] = logic(fn,
                                          x < y    ? -1
                                          : x > y  ? 1
                                          : x == y ? 0
                                                   : 2,
                                          x != 0, y != 0);
            else
                kvf_floats(&out)[i] = rounded(ev, type, binary_f(fn, x, y));
        } else {
            int64_t x = kvf_ints(&a)[w.offset[0]], y = kvf_ints(&b)[w.offset[1]];
            kvf_ints(&out)[i] = is_logic(fn) ? logic(fn, x < y ? -1 : x > y, x != 0, y != 0)
                                             : cut(type, binary_i(ev, fn, x, y));
        }
    }
    return out;
}

kvf_cells kvf_binary(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b)
{
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    if (ev->status) return (kvf_cells){0};
    ev->calls++;
    if (!kvf_broadcast(ev, &a, &b, &rank, dims)) return (kvf_cells){0};
    if (a.form == KVF_SHAPE || b.form == KVF_SHAPE) {
        if (ev->far && a.form != b.form)
            kvf_far_operand(ev, a.form == KVF_KNOWN ? &a : &b, rank, dims);
        return kvf_new(ev, KVF_SHAPE, is_logic(fn) ? KVF_BOOL : a.type, rank, dims);
    }
    if (a.form == KVF_KNOWN && b.form == KVF_KNOWN) return compute_binary(ev, fn, a, b, rank, dims);
    return kvf_trace_binary(ev, fn, a, b);
}

kvf_cells kvf_where(kvf_ev *ev, kvf_cells cond, kvf_cells a, kvf_cells b)
{
    uint32_t rank, rank2;
    int64_t dims[KVF_MAX_RANK], dims2[KVF_MAX_RANK];
    kvf_cells both = {0};
    if (ev->status) return both;
    ev->calls++;
    if (!kvf_broadcast(ev, &a, &b, &both.rank, both.dims) ||
        !kvf_broadcast(ev, &cond, &both, &rank, dims))
        return (kvf_cells){0};
    (void)rank2;
    (void)dims2;
    if (a.form == KVF_SHAPE || b.form == KVF_SHAPE || cond.form == KVF_SHAPE) {
        if (ev->far && cond.form == KVF_KNOWN && a.form != b.form)
            kvf_far_choice(ev, &cond, a.form == KVF_SHAPE, a.form == KVF_SHAPE ? &b : &a, rank,
                           dims);
        return kvf_new(ev, KVF_SHAPE, a.type, rank, dims);
    }
    if (cond.form == KVF_SYMBOL || a.form == KVF_SYMBOL || b.form == KVF_SYMBOL)
        return kvf_trace_where(ev, kvf_expand(ev, cond, rank, dims), kvf_expand(ev, a, rank, dims),
                               kvf_expand(ev, b, rank, dims));
    bool moving = cond.moving || a.moving || b.moving;
    cond = kvf_expand(ev, kvf_load(ev, cond), rank, dims);
    a = kvf_expand(ev, kvf_load(ev, a), rank, dims);
    b = kvf_expand(ev, kvf_load(ev, b), rank, dims);
    kvf_cells out = kvf_new(ev, KVF_KNOWN, a.type, rank, dims);
    if (!ev->status && a.held != b.held) return kvf_ev_fail(ev, "chooses between two types");
    out.moving = moving;
    kvf_walk w = {.rank = rank,
                  .n = 3,
                  .dims = dims,
                  .strides = {cond.strides, a.strides, b.strides}};
    for (uint64_t i = 0; i < out.count && !ev->status; i++, kvf_step(&w))
        kvf_ints(&out)[i] = kvf_ints(&cond)[w.offset[0]] ? ((const int64_t *)a.data)[w.offset[1]]
                                                         : ((const int64_t *)b.data)[w.offset[2]];
    return out;
}

kvf_cells kvf_cast(kvf_ev *ev, kvf_cells a, kvf_type to)
{
    if (ev->status) return (kvf_cells){0};
    bool from_float = kvf_is_float(a.type), to_float = kvf_is_float(to);
    kvf_cells out = a;
    out.type = to;
    if (!kvf_type_bits(to)) return kvf_ev_fail(ev, "to type %d", (int)to);
    if (a.form == KVF_SHAPE || a.type == to) return out;
    /* Between floats a symbol stays what it is: half precision is not imitated. */
    if (a.form == KVF_SYMBOL)
        return from_float == to_float && (to == KVF_BOOL) == (a.type == KVF_BOOL)
                   ? out
                   : kvf_trace_opaque(ev, to, a.rank, a.dims,
                                      "turns an activation into another kind of number");
    bool wider = to == KVF_F32 || to == KVF_F64;
    if (from_float && wider && (!a.store || !ev->round)) return out;
    a = kvf_load(ev, a);
    if (from_float == to_float && from_float && !ev->round) {
        a.type = to;
        return a;
    }
    out = kvf_new(ev, KVF_KNOWN, to, a.rank, a.dims);
    out.moving = a.moving;
    kvf_walk w = {.rank = a.rank, .n = 1, .dims = a.dims, .strides = {a.strides}};
    for (uint64_t i = 0; i < out.count && !ev->status; i++, kvf_step(&w)) {
        if (to_float)
            kvf_floats(&out)[i] = rounded(ev, to, kvf_cell_f(&a, w.offset[0]));
        else if (to == KVF_BOOL)
            kvf_ints(&out)[i] =
                from_float ? kvf_floats(&a)[w.offset[0]] != 0 : kvf_ints(&a)[w.offset[0]] != 0;
        else
            kvf_ints(&out)[i] = cut(to, kvf_cell_i(&a, w.offset[0]));
    }
    return out;
}

/* ---- reductions ------------------------------------------------------------------------------ */

typedef enum reduction { SUM, MEAN, MAXIMUM, MINIMUM, PRODUCT } reduction;

/* Of the last axis of a dense tensor, which stays with size 1. */
static kvf_cells reduce_last(kvf_ev *ev, reduction how, kvf_cells a)
{
    if (a.form == KVF_SYMBOL) {
        int64_t n = a.dims[a.rank - 1];
        if (how == MEAN) return kvf_trace_mean(ev, a);
        if (how == SUM)
            return kvf_binary(ev, KVF_MUL, kvf_trace_mean(ev, a),
                              kvf_number(ev, a.type, (double)n));
    }
    int64_t dims[KVF_MAX_RANK];
    memcpy(dims, a.dims, sizeof dims);
    uint64_t n = (uint64_t)dims[a.rank - 1];
    dims[a.rank - 1] = 1;
    if (a.form == KVF_SYMBOL)
        return kvf_trace_opaque(ev, a.type, a.rank, dims, "takes an extreme of activations");
    a = kvf_dense(ev, a);
    kvf_cells out = kvf_new(ev, a.form, a.type, a.rank, dims);
    if (ev->status || a.form == KVF_SHAPE) return out;
    if (!n && how >= MAXIMUM && how <= MINIMUM && out.count)
        return kvf_ev_fail(ev, "has no elements");
    out.moving = a.moving;
    for (uint64_t i = 0; i < out.count; i++) {
        double f = how == PRODUCT ? 1 : 0;
        int64_t k = how == PRODUCT ? 1 : 0;
        for (uint64_t j = 0; j < n; j++) {
            kvf_fn fn = how == PRODUCT   ? KVF_MUL
                        : how == MAXIMUM ? KVF_MAX
                        : how == MINIMUM ? KVF_MIN
                                         : KVF_ADD;
            bool first = !j && how >= MAXIMUM && how <= MINIMUM;
            if (a.held == KVF_F64) {
                double x = kvf_floats(&a)[i * n + j];
                f = first ? x : binary_f(fn, f, x);
            } else {
                int64_t x = kvf_ints(&a)[i * n + j];
                k = first ? x : binary_i(ev, fn, k, x);
            }
        }
        if (a.held == KVF_F64)
            kvf_floats(&out)[i] = rounded(ev, a.type, how == MEAN ? f / (double)n : f);
        else
            kvf_ints(&out)[i] = cut(a.type, how == MEAN && n ? k / (int64_t)n : k);
    }
    return out;
}

kvf_cells kvf_mean(kvf_ev *ev, kvf_cells a)
{
    ev->calls++;
    return ev->status || !a.rank ? a : reduce_last(ev, MEAN, a);
}

static void reduce(kvf_ev *ev, const kvf_cells *in, kvf_cells *out, reduction how)
{
    int64_t axes[KVF_MAX_RANK], dims[KVF_MAX_RANK];
    uint32_t n, axis, drop = 0, rank = in[0].rank, kept = 0, perm[KVF_MAX_RANK], at = 0;
    if (!kvf_attr_or_input(ev, "axes", &in[1], axes, &n)) return;
    if (!n && kvf_ev_flag(ev, "noop_with_empty_axes", false)) {
        out[0] = in[0];
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!kvf_take_axis(ev, axes[i], rank, &axis)) return;
        drop |= 1u << axis;
    }
    if (!n) drop = (1u << rank) - 1;
    /* kept axes first, reduced ones merged into the last */
    int64_t merged = 1;
    for (uint32_t a = 0; a < rank; a++)
        if (!(drop >> a & 1)) perm[at++] = a;
    kept = at;
    for (uint32_t a = 0; a < rank; a++)
        if (drop >> a & 1) {
            perm[at++] = a;
            merged *= in[0].dims[a];
        }
    kvf_cells x = kvf_transpose(ev, in[0], perm);
    memcpy(dims, x.dims, sizeof dims);
    if (kept >= KVF_MAX_RANK) {
        kvf_ev_fail(ev, "reduces nothing of a tensor of rank 8");
        return;
    }
    dims[kept] = merged;
    x = reduce_last(ev, how, kvf_reshape(ev, x, kept + 1, dims));
    rank = 0;
    bool keep = kvf_ev_flag(ev, "keepdims", true);
    for (uint32_t a = 0; a < in[0].rank; a++)
        if (!(drop >> a & 1))
            dims[rank++] = in[0].dims[a];
        else if (keep)
            dims[rank++] = 1;
    out[0] = kvf_reshape(ev, x, rank, dims);
}

static void op_reduce_sum(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    reduce(ev, in, out, SUM);
}
static void op_reduce_mean(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    reduce(ev, in, out, MEAN);
}
static void op_reduce_max(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    reduce(ev, in, out, MAXIMUM);
}
static void op_reduce_min(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    reduce(ev, in, out, MINIMUM);
}
static void op_reduce_prod(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    reduce(ev, in, out, PRODUCT);
}

/* ---- operators ------------------------------------------------------------------------------- */

static const struct {
    const char *type;
    kvf_fn fn;
} elementwise[] = {{"Add", KVF_ADD},         {"Sub", KVF_SUB},
                   {"Mul", KVF_MUL},         {"Div", KVF_DIV},
                   {"Pow", KVF_POW},         {"Mod", KVF_MOD},
                   {"Max", KVF_MAX},         {"Min", KVF_MIN},
                   {"And", KVF_AND},         {"Or", KVF_OR},
                   {"Xor", KVF_XOR},         {"Equal", KVF_EQUAL},
                   {"Less", KVF_LESS},       {"LessOrEqual", KVF_LESS_EQUAL},
                   {"Greater", KVF_GREATER}, {"GreaterOrEqual", KVF_GREATER_EQUAL},
                   {"Neg", KVF_NEG},         {"Abs", KVF_ABS},
                   {"Sqrt", KVF_SQRT},       {"Reciprocal", KVF_RECIPROCAL},
                   {"Exp", KVF_EXP},         {"Log", KVF_LOG},
                   {"Sin", KVF_SIN},         {"Cos", KVF_COS},
                   {"Tanh", KVF_TANH},       {"Sigmoid", KVF_SIGMOID},
                   {"Erf", KVF_ERF},         {"Relu", KVF_RELU},
                   {"Floor", KVF_FLOOR},     {"Ceil", KVF_CEIL},
                   {"Round", KVF_ROUND},     {"Sign", KVF_SIGN},
                   {"Not", KVF_NOT},         {"IsNaN", KVF_ISNAN},
                   {"IsInf", KVF_ISINF},     {"Softplus", KVF_SOFTPLUS}};

static void op_elementwise(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    kvf_fn fn = KVF_FN_NONE;
    for (size_t i = 0; i < sizeof elementwise / sizeof elementwise[0]; i++)
        if (!strcmp(elementwise[i].type, ev->op->type)) fn = elementwise[i].fn;
    uint32_t n = ev->op->n_inputs, want = fn < KVF_NEG ? 2 : 1;
    bool many = fn == KVF_MAX || fn == KVF_MIN;
    if (many ? !n : n != want) {
        kvf_ev_fail(ev, "has %u inputs", n);
        return;
    }
    /* a power's exponent may be of another kind of number than its base */
    kvf_cells second = in[1];
    if (fn == KVF_POW && kvf_is_float(in[0].type) != kvf_is_float(second.type)) {
        if (!kvf_is_float(in[0].type)) {
            kvf_ev_fail(ev, "raises an integer to a fraction");
            return;
        }
        second = kvf_cast(ev, second, in[0].type);
    }
    out[0] = want == 1 ? kvf_unary(ev, fn, in[0]) : in[0];
    if (want == 2 && !many) out[0] = kvf_binary(ev, fn, in[0], second);
    for (uint32_t i = 1; many && i < n; i++) out[0] = kvf_binary(ev, fn, out[0], in[i]);
}

static void op_clip(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    const kvf_attr *low = kvf_op_attr(ev->op, "min"), *high = kvf_op_attr(ev->op, "max");
    kvf_cells a = in[1], b = in[2];
    if (low) a = kvf_number(ev, in[0].type, low->f);
    if (high) b = kvf_number(ev, in[0].type, high->f);
    out[0] = in[0];
    if (kvf_given(&a)) out[0] = kvf_binary(ev, KVF_MAX, out[0], a);
    if (kvf_given(&b)) out[0] = kvf_binary(ev, KVF_MIN, out[0], b);
}

static void op_where(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = kvf_where(ev, in[0], in[1], in[2]);
}

static void op_cast(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    int64_t to = kvf_op_int(ev->op, "to", 0);
    if (to <= 0 || to > KVF_I4)
        kvf_ev_fail(ev, "to type %lld", (long long)to);
    else
        out[0] = kvf_cast(ev, in[0], (kvf_type)to);
}

static void op_cast_like(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    out[0] = kvf_cast(ev, in[0], in[1].type);
}

static void op_range(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    bool floats = kvf_is_float(in[0].type);
    for (uint32_t i = 0; i < 3; i++)
        if (in[i].form != KVF_KNOWN || in[i].count != 1 || kvf_is_float(in[i].type) != floats) {
            kvf_ev_fail(ev, "needs three known numbers of one kind");
            return;
        }
    double first = kvf_cell_f(&in[0], 0), end = kvf_cell_f(&in[1], 0), step = kvf_cell_f(&in[2], 0);
    double n = ceil((end - first) / step);
    if (step == 0 || !(n < (double)KVF_MAX_CELLS)) {
        kvf_ev_fail(ev, "from %g to %g by %g is not a range that can be evaluated", first, end,
                    step);
        return;
    }
    out[0] = kvf_new(ev, KVF_KNOWN, in[0].type, 1, (int64_t[]){n > 0 ? (int64_t)n : 0});
    for (uint64_t i = 0; i < out[0].count && !ev->status; i++) {
        if (floats)
            kvf_floats(&out[0])[i] = rounded(ev, in[0].type, first + (double)i * step);
        else
            kvf_ints(&out[0])[i] = kvf_cell_i(&in[0], 0) + (int64_t)i * kvf_cell_i(&in[2], 0);
    }
}

static void op_cumsum(kvf_ev *ev, const kvf_cells *in, kvf_cells *out)
{
    uint32_t axis, n;
    int64_t wanted;
    kvf_cells one = in[1];
    one.rank = one.count == 1 ? 0 : one.rank;
    if (!kvf_take_ints(ev, &one, "axis", 1, &wanted, &n) ||
        !kvf_take_axis(ev, wanted, in[0].rank, &axis))
        return;
    if (in[0].form == KVF_SYMBOL || kvf_op_int(ev->op, "exclusive", 0) ||
        kvf_op_int(ev->op, "reverse", 0)) {
        kvf_ev_fail(ev, "is known only for numbers, forward and inclusive");
        return;
    }
    kvf_cells a = kvf_dense(ev, kvf_swap(ev, in[0], axis, in[0].rank - 1));
    kvf_cells sum = kvf_new(ev, a.form, a.type, a.rank, a.dims);
    uint64_t length = ev->status ? 0 : (uint64_t)a.dims[a.rank - 1];
    for (uint64_t i = 0; a.form != KVF_SHAPE && length && i < a.count; i++) {
        bool first = i % length == 0;
        if (a.held == KVF_F64)
            kvf_floats(&sum)[i] = kvf_floats(&a)[i] + (first ? 0 : kvf_floats(&sum)[i - 1]);
        else
            kvf_ints(&sum)[i] =
                binary_i(ev, KVF_ADD, kvf_ints(&a)[i], first ? 0 : kvf_ints(&sum)[i - 1]);
    }
    out[0] = kvf_swap(ev, sum, axis, in[0].rank - 1);
}

const kvf_operator_row kvf_ops_math[] = {
    {"", "Add", op_elementwise},
    {"", "Sub", op_elementwise},
    {"", "Mul", op_elementwise},
    {"", "Div", op_elementwise},
    {"", "Pow", op_elementwise},
    {"", "Mod", op_elementwise},
    {"", "Max", op_elementwise},
    {"", "Min", op_elementwise},
    {"", "And", op_elementwise},
    {"", "Or", op_elementwise},
    {"", "Xor", op_elementwise},
    {"", "Equal", op_elementwise},
    {"", "Less", op_elementwise},
    {"", "LessOrEqual", op_elementwise},
    {"", "Greater", op_elementwise},
    {"", "GreaterOrEqual", op_elementwise},
    {"", "Neg", op_elementwise},
    {"", "Abs", op_elementwise},
    {"", "Sqrt", op_elementwise},
    {"", "Reciprocal", op_elementwise},
    {"", "Exp", op_elementwise},
    {"", "Log", op_elementwise},
    {"", "Sin", op_elementwise},
    {"", "Cos", op_elementwise},
    {"", "Tanh", op_elementwise},
    {"", "Sigmoid", op_elementwise},
    {"", "Erf", op_elementwise},
    {"", "Relu", op_elementwise},
    {"", "Floor", op_elementwise},
    {"", "Ceil", op_elementwise},
    {"", "Round", op_elementwise},
    {"", "Sign", op_elementwise},
    {"", "Not", op_elementwise},
    {"", "IsNaN", op_elementwise},
    {"", "IsInf", op_elementwise},
    {"", "Softplus", op_elementwise},
    {"", "Clip", op_clip},
    {"", "Where", op_where},
    {"", "Cast", op_cast},
    {"", "CastLike", op_cast_like},
    {"", "Range", op_range},
    {"", "CumSum", op_cumsum},
    {"", "ReduceSum", op_reduce_sum},
    {"", "ReduceMean", op_reduce_mean},
    {"", "ReduceMax", op_reduce_max},
    {"", "ReduceMin", op_reduce_min},
    {"", "ReduceProd", op_reduce_prod},
    {0},
};
