/* expr.h - expressions: what an activation is, per row of the sequence, whatever its layout.
 *
 *   MatMul 'q' of LayerNorm 'n' of x       LINEAR(ADD_VECTOR(MUL_VECTOR(NORM(x))), Wq)
 *
 * Each expression is made once: equal ones have the same number, so "is the same" is one
 * comparison, in one run and between runs of different sizes. The constructors bring ways of
 * writing the same thing into one form: a difference is a sum, a quotient by a square root a
 * product with its inverse, x^3 is x * (x * x), scalars are pulled out of products, and columns cut
 * out of a product with a matrix are a product with columns of the matrix. The small formulas that
 * exporters write out (norms, GELU, SiLU) become the function that they are as soon as their last
 * operation is there. */
#ifndef KVF_LIFT_EXPR_H
#define KVF_LIFT_EXPR_H

#include "eval.h"

typedef enum kvf_expr_kind {
    KVF_X_NONE = 0,
    KVF_X_OPAQUE,     /* nothing a decoder has; why says what */
    KVF_X_TOKEN,      /* the token of the row */
    KVF_X_CONSTANT,   /* known numbers among symbols; n: which */
    KVF_X_PAST_KEY,   /* row of the past, layer n */
    KVF_X_PAST_VALUE, /* the same */
    KVF_X_HIDDEN,     /* input of a head in a file of its own */
    KVF_X_EMBED,      /* matrix n [vocab][width], row by token a */
    KVF_X_LINEAR,     /* a times matrix n */
    KVF_X_PART,       /* width columns of a from n on */
    KVF_X_UNARY,      /* fn(a) */
    KVF_X_ADD,        /* a + b; n: 0, or columns of a that share one of b */
    KVF_X_MUL,        /* a * b; the same */
    KVF_X_ADD_SCALAR, /* a + s */
    KVF_X_MUL_SCALAR, /* a * s */
    KVF_X_ADD_VECTOR, /* a + vector n, by column */
    KVF_X_MUL_VECTOR, /* a * vector n */
    KVF_X_ADD_TABLE,  /* a + known numbers that depend on the position; n: site of the sum */
    KVF_X_MEAN,       /* of n columns each */
    KVF_X_NORM,       /* of n columns each; m: kvf_norm_kind, s: eps */
    KVF_X_COMBO,      /* trace.h; n: which */
    KVF_X_ROTARY,     /* heads of n columns; m: 2 * pairs + interleaved */
    KVF_X_SCORE,      /* queries a and keys b, n heads, m kv heads */
    KVF_X_MASK,       /* scores a, some hidden; n: site */
    KVF_X_SOFTMAX,    /* of scores a */
    KVF_X_ATTEND,     /* softmax a times values b; n heads, m kv heads */
} kvf_expr_kind;

typedef struct kvf_expr {
    kvf_expr_kind kind;
    kvf_fn fn;
    uint32_t a, b, n, m;
    uint32_t width; /* columns; 0 of scores */
    double s;
    /* not part of what it is: */
    uint32_t chain; /* expressions by column from here down to the next that is none: a cut's way */
    uint32_t op;    /* that made it first, for messages */
    bool scores;
    const char *why;
} kvf_expr;

typedef struct kvf_vector {
    double *v; /* [n] NaN where no column was seen */
    uint32_t n;
} kvf_vector;

typedef struct kvf_exprs {
    kvf_expr *x;     /* [n], 0 is none */
    uint32_t *table; /* hash, size a power of 2, at most half full */
    kvf_matrix *matrix;
    kvf_vector *vector;
    uint32_t n, size, n_matrices, n_vectors, fresh;
    uint32_t op; /* the op that new ones come from */
    bool full;   /* memory ran out, or there are too many: nothing more is right */
} kvf_exprs;

void kvf_exprs_free(kvf_exprs *xs);
extern const kvf_expr kvf_x_none;
static inline const kvf_expr *kvf_x(const kvf_exprs *xs, uint32_t e)
{
    return xs->n ? &xs->x[e] : &kvf_x_none;
}

/* All give 0 if memory ran out. */
uint32_t kvf_x_leaf(kvf_exprs *xs, kvf_expr_kind kind, uint32_t n, uint32_t width);
uint32_t kvf_x_fresh(kvf_exprs *xs, kvf_expr_kind kind, uint32_t width, const char *why);
uint32_t kvf_x_linear(kvf_exprs *xs, uint32_t a, const kvf_matrix *w);
uint32_t kvf_x_embed(kvf_exprs *xs, uint32_t a, const kvf_matrix *w);
uint32_t kvf_x_part(kvf_exprs *xs, uint32_t a, uint32_t first, uint32_t width);
uint32_t kvf_x_unary(kvf_exprs *xs, kvf_fn fn, uint32_t a);
uint32_t kvf_x_add(kvf_exprs *xs, uint32_t a, uint32_t b, uint32_t group);
uint32_t kvf_x_mul(kvf_exprs *xs, uint32_t a, uint32_t b, uint32_t group);
uint32_t kvf_x_add_scalar(kvf_exprs *xs, uint32_t a, double s);
uint32_t kvf_x_mul_scalar(kvf_exprs *xs, uint32_t a, double s);
uint32_t kvf_x_vector(kvf_exprs *xs, kvf_expr_kind kind, uint32_t a, const double *v, uint32_t n);
uint32_t kvf_x_mean(kvf_exprs *xs, uint32_t a, uint32_t group);
uint32_t kvf_x_norm(kvf_exprs *xs, uint32_t a, uint32_t group, kvf_norm_kind kind, double eps);
/* ADD_TABLE, ROTARY, SCORE, MASK, SOFTMAX, ATTEND: nothing to simplify. */
uint32_t kvf_x_plain(kvf_exprs *xs, kvf_expr_kind kind, uint32_t a, uint32_t b, uint32_t n,
                     uint32_t m, uint32_t width);
#endif
