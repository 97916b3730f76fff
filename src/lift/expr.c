/* expr.c - making expressions: each once, in one form. */
#include "expr.h"

#include <math.h>
#include <string.h>

/* Symbols have 20 bits for the expression; parts of what ends longer chains are not looked for. */
enum { MAX_EXPRS = 1 << 20, MAX_CHAIN = 200 };

const kvf_expr kvf_x_none = {0};

void kvf_exprs_free(kvf_exprs *xs)
{
    for (uint32_t i = 0; i < xs->n_vectors; i++) kvf_free(xs->vector[i].v);
    kvf_free(xs->vector);
    kvf_free(xs->matrix);
    kvf_free(xs->table);
    kvf_free(xs->x);
    *xs = (kvf_exprs){0};
}

/* ---- one of each ----------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_of(const kvf_expr *e)
{
    uint64_t bits;
    memcpy(&bits, &e->s, sizeof bits);
    uint64_t h = mix((uint64_t)e->kind << 8 | (uint64_t)e->fn, (uint64_t)e->a << 32 | e->b);
    return mix(mix(mix(h, (uint64_t)e->n << 32 | e->m), e->width), bits);
}

static bool same(const kvf_expr *p, const kvf_expr *q)
{
    return p->kind == q->kind && p->fn == q->fn && p->a == q->a && p->b == q->b && p->n == q->n &&
           p->m == q->m && p->width == q->width && !memcmp(&p->s, &q->s, sizeof p->s);
}

static bool grow(kvf_exprs *xs)
{
    uint32_t size = xs->size ? xs->size * 2 : 1024;
    kvf_expr *x = kvf_resize(xs->x, size / 2 + 1, sizeof *x);
    if (x) {
        xs->x = x;
        if (!xs->n) xs->x[0] = kvf_x_none;
    }
    uint32_t *table = kvf_array(size, sizeof *table);
    if (!x || !table || size > 2 * MAX_EXPRS) {
        kvf_free(table);
        xs->full = true;
        return false;
    }
    if (!xs->n) xs->n = 1;
    kvf_free(xs->table);
    xs->table = table;
    xs->size = size;
    for (uint32_t i = 1; i < xs->n; i++) {
        uint32_t at = (uint32_t)hash_of(&xs->x[i]) & (size - 1);
        while (table[at]) at = (at + 1) & (size - 1);
        table[at] = i;
    }
    return true;
}

/* Whether a part of the columns is the same of a part of what it applies to. */
static bool by_column(kvf_expr_kind kind)
{
    return kind == KVF_X_ADD_VECTOR || kind == KVF_X_MUL_VECTOR || kind == KVF_X_ADD_SCALAR ||
           kind == KVF_X_MUL_SCALAR || kind == KVF_X_UNARY || kind == KVF_X_NORM ||
           kind == KVF_X_ROTARY;
}

static uint32_t make(kvf_exprs *xs, kvf_expr e)
{
    if (xs->full || ((!xs->size || xs->n >= xs->size / 2) && !grow(xs))) return 0;
    uint32_t at = (uint32_t)hash_of(&e) & (xs->size - 1);
    for (; xs->table[at]; at = (at + 1) & (xs->size - 1))
        if (same(&xs->x[xs->table[at]], &e)) return xs->table[at];
    const kvf_expr *a = &xs->x[e.a];
    e.chain = by_column(e.kind) ? a->chain + 1 : 0;
    e.op = xs->op;
    e.scores = e.kind == KVF_X_SCORE || (a->scores && e.kind != KVF_X_ATTEND);
    xs->x[xs->n] = e;
    return xs->table[at] = xs->n++;
}

uint32_t kvf_x_leaf(kvf_exprs *xs, kvf_expr_kind kind, uint32_t n, uint32_t width)
{
    return make(xs, (kvf_expr){.kind = kind, .n = n, .width = width});
}

uint32_t kvf_x_fresh(kvf_exprs *xs, kvf_expr_kind kind, uint32_t width, const char *why)
{
    uint32_t e = make(xs, (kvf_expr){.kind = kind, .n = ++xs->fresh, .width = width});
    if (e) xs->x[e].why = why;
    return e;
}

uint32_t kvf_x_plain(kvf_exprs *xs, kvf_expr_kind kind, uint32_t a, uint32_t b, uint32_t n,
                     uint32_t m, uint32_t width)
{
    return make(xs, (kvf_expr){.kind = kind, .a = a, .b = b, .n = n, .m = m, .width = width});
}

static bool same_matrix(const kvf_matrix *p, const kvf_matrix *q)
{
    return p->data == q->data && p->type == q->type && p->in == q->in && p->out == q->out &&
           p->stride_in == q->stride_in && p->stride_out == q->stride_out && p->block == q->block &&
           p->bits == q->bits && p->scales == q->scales && p->scale_type == q->scale_type &&
           p->zeros == q->zeros;
}

/* The array with room for one more; it doubles. NULL if memory ran out. */
static void *room(kvf_exprs *xs, void *array, uint32_t n, size_t size)
{
    if (n & (n - 1)) return array;
    void *more = kvf_resize(array, n ? 2 * (size_t)n : 1, size);
    if (!more) xs->full = true;
    return more;
}

static uint32_t intern_matrix(kvf_exprs *xs, const kvf_matrix *w)
{
    for (uint32_t i = 0; i < xs->n_matrices; i++)
        if (same_matrix(&xs->matrix[i], w)) return i;
    kvf_matrix *more = room(xs, xs->matrix, xs->n_matrices, sizeof *w);
    if (!more) return 0;
    xs->matrix = more;
    xs->matrix[xs->n_matrices] = *w;
    return xs->n_matrices++;
}

static uint32_t intern_vector(kvf_exprs *xs, const double *v, uint32_t n)
{
    for (uint32_t i = 0; i < xs->n_vectors; i++)
        if (xs->vector[i].n == n && !memcmp(xs->vector[i].v, v, n * sizeof *v)) return i;
    kvf_vector *more = room(xs, xs->vector, xs->n_vectors, sizeof *more);
    double *copy = more ? kvf_array(n, sizeof *copy) : NULL;
    if (more) xs->vector = more;
    if (!copy) {
        xs->full = true;
        return 0;
    }
    memcpy(copy, v, n * sizeof *v);
    xs->vector[xs->n_vectors] = (kvf_vector){copy, n};
    return xs->n_vectors++;
}

uint32_t kvf_x_linear(kvf_exprs *xs, uint32_t a, const kvf_matrix *w)
{
    uint32_t n = intern_matrix(xs, w);
    return make(xs, (kvf_expr){.kind = KVF_X_LINEAR, .a = a, .n = n, .width = w->out});
}

uint32_t kvf_x_embed(kvf_exprs *xs, uint32_t a, const kvf_matrix *w)
{
    uint32_t n = intern_matrix(xs, w);
    return make(xs, (kvf_expr){.kind = KVF_X_EMBED, .a = a, .n = n, .width = w->out});
}

/* ---- the one form ---------------------------------------------------------------------------- */

static kvf_expr at(const kvf_exprs *xs, uint32_t e)
{
    return *kvf_x(xs, e);
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-6 * fabs(b);
}

/* A function written out that ends in a product of x and y: 0, or what it is. */
static uint32_t known_product(kvf_exprs *xs, uint32_t x, uint32_t y)
{
    kvf_expr e = at(xs, y);
    if (e.kind == KVF_X_UNARY && e.fn == KVF_SIGMOID && e.a == x)
        return kvf_x_unary(xs, KVF_SILU, x);
    return 0;
}

/* x^3 as the constructors write it. */
static bool is_cube(const kvf_exprs *xs, uint32_t e, uint32_t x)
{
    kvf_expr c = at(xs, e);
    if (c.kind != KVF_X_MUL || c.n) return false;
    uint32_t other = c.a == x ? c.b : c.b == x ? c.a : 0;
    kvf_expr s = at(xs, other);
    return other && s.kind == KVF_X_MUL && !s.n && s.a == x && s.b == x;
}

/* Is e the argument of GELU's tanh: 0.79788 (x + 0.044715 x^3), in its usual forms? */
static bool is_gelu_argument(const kvf_exprs *xs, uint32_t e, uint32_t x)
{
    kvf_expr scaled = at(xs, e);
    if (scaled.kind != KVF_X_MUL_SCALAR || !near(scaled.s, 0.7978845608028654)) return false;
    kvf_expr sum = at(xs, scaled.a);
    if (sum.kind == KVF_X_ADD && !sum.n) {
        uint32_t other = sum.a == x ? sum.b : sum.b == x ? sum.a : 0;
        kvf_expr cubic = at(xs, other);
        return other && cubic.kind == KVF_X_MUL_SCALAR && near(cubic.s, 0.044715) &&
               is_cube(xs, cubic.a, x);
    }
    if (sum.kind != KVF_X_MUL || sum.n) return false; /* x (1 + 0.044715 x^2) */
    uint32_t other = sum.a == x ? sum.b : sum.b == x ? sum.a : 0;
    kvf_expr one = at(xs, other), square = at(xs, one.a);
    if (!other || one.kind != KVF_X_ADD_SCALAR || one.s != 1) return false;
    kvf_expr product = at(xs, square.a);
    return square.kind == KVF_X_MUL_SCALAR && near(square.s, 0.044715) &&
           product.kind == KVF_X_MUL && product.a == x && product.b == x;
}

/* 0.5 * (x * (1 + f(x))): one of the two GELUs, or 0. */
static uint32_t known_half(kvf_exprs *xs, uint32_t e)
{
    kvf_expr product = at(xs, e);
    if (product.kind != KVF_X_MUL || product.n) return 0;
    for (int i = 0; i < 2; i++) {
        uint32_t x = i ? product.b : product.a;
        kvf_expr one = at(xs, i ? product.a : product.b), f = at(xs, one.a);
        if (one.kind != KVF_X_ADD_SCALAR || one.s != 1 || f.kind != KVF_X_UNARY) continue;
        kvf_expr half = at(xs, f.a);
        if (f.fn == KVF_TANH && is_gelu_argument(xs, f.a, x))
            return kvf_x_unary(xs, KVF_GELU_TANH, x);
        if (f.fn == KVF_ERF && half.kind == KVF_X_MUL_SCALAR && half.a == x &&
            near(half.s, M_SQRT1_2))
            return kvf_x_unary(xs, KVF_GELU, x);
    }
    return 0;
}

/* y / sqrt(mean(y^2) + eps): a norm of y, or of x where y = x - mean(x). */
static uint32_t known_norm(kvf_exprs *xs, uint32_t y, uint32_t r, uint32_t group)
{
    kvf_expr root = at(xs, r), eps = at(xs, root.a), mean = at(xs, eps.a), square = at(xs, mean.a);
    bool is = root.kind == KVF_X_UNARY && root.fn == KVF_RSQRT && eps.kind == KVF_X_ADD_SCALAR &&
              mean.kind == KVF_X_MEAN && mean.n == group && square.kind == KVF_X_MUL && !square.n &&
              square.a == y && square.b == y;
    if (!is) return 0;
    kvf_expr centred = at(xs, y), negative = at(xs, centred.b), average = at(xs, negative.a);
    bool layer = centred.kind == KVF_X_ADD && centred.n == group &&
                 negative.kind == KVF_X_MUL_SCALAR && negative.s == -1 &&
                 average.kind == KVF_X_MEAN && average.n == group && average.a == centred.a;
    return layer ? kvf_x_norm(xs, centred.a, group, KVF_NORM_LAYER, eps.s)
                 : kvf_x_norm(xs, y, group, KVF_NORM_RMS, eps.s);
}

uint32_t kvf_x_norm(kvf_exprs *xs, uint32_t a, uint32_t group, kvf_norm_kind kind, double eps)
{
    return make(xs, (kvf_expr){.kind = KVF_X_NORM,
                               .a = a,
                               .n = group,
                               .m = (uint32_t)kind,
                               .s = eps,
                               .width = at(xs, a).width});
}

uint32_t kvf_x_mean(kvf_exprs *xs, uint32_t a, uint32_t group)
{
    return make(
        xs, (kvf_expr){.kind = KVF_X_MEAN, .a = a, .n = group, .width = at(xs, a).width / group});
}

uint32_t kvf_x_unary(kvf_exprs *xs, kvf_fn fn, uint32_t a)
{
    kvf_expr e = at(xs, a);
    if (fn == KVF_NEG) return kvf_x_mul_scalar(xs, a, -1);
    if (fn == KVF_RECIPROCAL && e.kind == KVF_X_UNARY && e.fn == KVF_SQRT)
        return kvf_x_unary(xs, KVF_RSQRT, e.a);
    return make(xs, (kvf_expr){.kind = KVF_X_UNARY, .fn = fn, .a = a, .width = e.width});
}

uint32_t kvf_x_add_scalar(kvf_exprs *xs, uint32_t a, double s)
{
    if (s == 0) return a;
    return make(xs, (kvf_expr){.kind = KVF_X_ADD_SCALAR, .a = a, .s = s, .width = at(xs, a).width});
}

uint32_t kvf_x_mul_scalar(kvf_exprs *xs, uint32_t a, double s)
{
    kvf_expr e = at(xs, a);
    if (e.kind == KVF_X_MUL_SCALAR) {
        s *= e.s;
        a = e.a;
    }
    if (s == 1) return a;
    uint32_t f = s == 0.5 ? known_half(xs, a) : 0;
    if (f) return f;
    return make(xs, (kvf_expr){.kind = KVF_X_MUL_SCALAR, .a = a, .s = s, .width = at(xs, a).width});
}

uint32_t kvf_x_add(kvf_exprs *xs, uint32_t a, uint32_t b, uint32_t group)
{
    if (!group && a > b) {
        uint32_t t = a;
        a = b;
        b = t;
    }
    return make(
        xs, (kvf_expr){.kind = KVF_X_ADD, .a = a, .b = b, .n = group, .width = at(xs, a).width});
}

uint32_t kvf_x_mul(kvf_exprs *xs, uint32_t a, uint32_t b, uint32_t group)
{
    kvf_expr x = at(xs, a), y = at(xs, b);
    uint32_t f = group ? known_norm(xs, a, b, group) : known_product(xs, a, b);
    if (!f && !group) f = known_product(xs, b, a);
    if (f) return f;
    /* a square keeps its scalar inside, where norms look for it */
    if (x.kind == KVF_X_MUL_SCALAR && a != b)
        return kvf_x_mul_scalar(xs, kvf_x_mul(xs, x.a, b, group), x.s);
    if (y.kind == KVF_X_MUL_SCALAR && a != b)
        return kvf_x_mul_scalar(xs, kvf_x_mul(xs, a, y.a, group), y.s);
    if (!group && a > b) {
        uint32_t t = a;
        a = b;
        b = t;
    }
    return make(
        xs, (kvf_expr){.kind = KVF_X_MUL, .a = a, .b = b, .n = group, .width = at(xs, a).width});
}

uint32_t kvf_x_vector(kvf_exprs *xs, kvf_expr_kind kind, uint32_t a, const double *v, uint32_t n)
{
    bool all = true;
    for (uint32_t i = 1; i < n && all; i++) all = v[i] == v[0];
    if (all && n)
        return kind == KVF_X_ADD_VECTOR ? kvf_x_add_scalar(xs, a, v[0])
                                        : kvf_x_mul_scalar(xs, a, v[0]);
    return make(xs, (kvf_expr){.kind = kind,
                               .a = a,
                               .n = intern_vector(xs, v, n),
                               .width = at(xs, a).width});
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Columns of a matrix. Those of quantised ones are rows of whole bytes. */
static kvf_matrix columns(const kvf_matrix *w, uint32_t first, uint32_t width)
{
    kvf_matrix m = *w;
    m.out = width;
    if (!w->block) {
        m.data = (const uint8_t *)w->data +
                 (int64_t)first * w->stride_out * (int64_t)(kvf_type_bits(w->type) / 8);
        return m;
    }
    uint64_t blocks = (w->in + w->block - 1) / w->block;
    m.data = (const uint8_t *)w->data + first * blocks * (w->block * w->bits / 8);
    m.scales = (const uint8_t *)w->scales + first * blocks * (kvf_type_bits(w->scale_type) / 8);
    if (w->zeros) m.zeros = w->zeros + first * ((blocks * w->bits + 7) / 8);
    return m;
}

uint32_t kvf_x_part(kvf_exprs *xs, uint32_t a, uint32_t first, uint32_t width)
{
    kvf_expr e = at(xs, a);
    if (!first && width == e.width) return a;
    bool whole = e.n && first % e.n == 0 && width % e.n == 0, deep = e.chain > MAX_CHAIN;
    if (e.kind == KVF_X_LINEAR) {
        kvf_matrix w = columns(&xs->matrix[e.n], first, width);
        return kvf_x_linear(xs, e.a, &w);
    }
    if (e.kind == KVF_X_PART) return kvf_x_part(xs, e.a, e.n + first, width);
    if (!deep && (e.kind == KVF_X_ADD_VECTOR || e.kind == KVF_X_MUL_VECTOR)) {
        uint32_t of = kvf_x_part(xs, e.a, first, width);
        return xs->full ? 0 : kvf_x_vector(xs, e.kind, of, xs->vector[e.n].v + first, width);
    }
    if (!deep && e.kind == KVF_X_ADD_SCALAR)
        return kvf_x_add_scalar(xs, kvf_x_part(xs, e.a, first, width), e.s);
    if (!deep && e.kind == KVF_X_MUL_SCALAR)
        return kvf_x_mul_scalar(xs, kvf_x_part(xs, e.a, first, width), e.s);
    if (!deep && e.kind == KVF_X_UNARY)
        return kvf_x_unary(xs, e.fn, kvf_x_part(xs, e.a, first, width));
    if (!deep && e.kind == KVF_X_NORM && whole)
        return kvf_x_norm(xs, kvf_x_part(xs, e.a, first, width), e.n, (kvf_norm_kind)e.m, e.s);
    if (!deep && e.kind == KVF_X_ROTARY && whole)
        return kvf_x_plain(xs, e.kind, kvf_x_part(xs, e.a, first, width), 0, e.n, e.m, width);
    return make(xs, (kvf_expr){.kind = KVF_X_PART, .a = a, .n = first, .width = width});
}
