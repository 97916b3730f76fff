/* eval.h - evaluating a graph: one set of operators for numbers, symbols and shapes.
 *
 * An operator is written once, over the primitives below; each primitive looks at the form of its
 * operands. Numbers are computed, symbols go to the trace (trace.h), shapes stay shapes. Larger
 * operators (Gemm, attention, rotary embedding, norms with a skip) are told in terms of smaller
 * ones, so that a fused graph and a plain one become the same expression.
 *
 * A failure sticks: the first one is kept, and everything after it gives an absent tensor, so
 * that formulas can be written as formulas. Only kvf_ev_run's caller looks at the status. */
#ifndef KVF_LIFT_EVAL_H
#define KVF_LIFT_EVAL_H

#include "cells.h"
#include "plan.h"

struct kvf_trace;
struct kvf_far;

typedef struct kvf_ev {
    const kvf_onnx *onnx;
    const kvf_graph *graph;
    const bool *live;     /* [n_ops] which ops have a path to an output */
    kvf_cells *values;    /* [n_values] absent until computed */
    uint32_t *last_use;   /* [n_values] op after which nobody needs it */
    const uint32_t *keep; /* [n_keep] values that stay: the outputs */
    uint32_t n_keep;
    kvf_pool pool;
    uint64_t swept; /* bytes that were there after the last sweep */
    uint64_t work;  /* element operations left: a bound on the time that a hostile file takes */
    kvf_status status;
    kvf_error *err;
    const kvf_op *op; /* being evaluated */
    uint32_t op_index, calls;
    struct kvf_trace *trace; /* takes operations on symbols; NULL if there are none */
    struct kvf_far *far;     /* looks at known operands of shapes; may be NULL */
    bool round;              /* floats are rounded to their type after each operation */
    uint32_t thin;           /* not 0: thin products, see product.h; the vocabulary's size */
} kvf_ev;

/* Which op has which inputs and outputs alive. live [n_ops] is set; returns how many are live. */
uint32_t kvf_ev_live(const kvf_graph *graph, const uint32_t *outputs, uint32_t n_outputs,
                     bool *live);
kvf_status kvf_ev_begin(kvf_ev *ev, const kvf_onnx *onnx, const bool *live, kvf_error *err);
/* The same with what was computed from constants alone, which must outlive it. */
kvf_status kvf_ev_again(kvf_ev *ev, const kvf_ev *constants, kvf_error *err);
void kvf_ev_end(kvf_ev *ev); /* zeroed is fine */
/* Run the live ops whose outputs are not there yet. constant: only those of which all inputs are
 * there and do not move; others are passed over. */
kvf_status kvf_ev_run(kvf_ev *ev, bool constant);

/* Say what is wrong, after the op's type and name; the first failure stays. Gives an absent
 * tensor. */
kvf_cells kvf_ev_fail(kvf_ev *ev, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
kvf_cells kvf_ev_no_memory(kvf_ev *ev); /* the same where memory ran out */
/* A number for this call of a primitive, the same in every run. */
uint32_t kvf_ev_site(const kvf_ev *ev);

/* ---- new tensors ----------------------------------------------------------------------------- */

/* Dense cells to be written through kvf_ints or kvf_floats; absent on failure. */
kvf_cells kvf_new(kvf_ev *ev, kvf_form form, kvf_type type, uint32_t rank, const int64_t *dims);
static inline int64_t *kvf_ints(const kvf_cells *c)
{
    return (int64_t *)(uintptr_t)c->data;
}
static inline double *kvf_floats(const kvf_cells *c)
{
    return (double *)(uintptr_t)c->data;
}
kvf_cells kvf_number(kvf_ev *ev, kvf_type type, double value);         /* rank 0 */
kvf_cells kvf_integers(kvf_ev *ev, uint32_t n, const int64_t *values); /* rank 1, int64 */
/* The same elements in cells of ours, for loops over kvf_ints or kvf_floats with strides. */
kvf_cells kvf_load(kvf_ev *ev, kvf_cells c);
kvf_cells kvf_dense(kvf_ev *ev, kvf_cells c); /* and dense */
bool kvf_spend(kvf_ev *ev, uint64_t work);    /* false and a failure if too much was done */

/* Integers of a known tensor, such as a shape. false and a failure if it is something else. */
bool kvf_take_ints(kvf_ev *ev, const kvf_cells *c, const char *what, uint32_t max, int64_t *out,
                   uint32_t *n);
bool kvf_take_axis(kvf_ev *ev, int64_t axis, uint32_t rank, uint32_t *out);

/* ---- moving elements (ops_move.c) ------------------------------------------------------------ */

kvf_cells kvf_transpose(kvf_ev *ev, kvf_cells a, const uint32_t *perm);
kvf_cells kvf_swap(kvf_ev *ev, kvf_cells a, uint32_t i, uint32_t j); /* two axes */
kvf_cells kvf_reshape(kvf_ev *ev, kvf_cells a, uint32_t rank, const int64_t *dims);
kvf_cells kvf_slice(kvf_ev *ev, kvf_cells a, uint32_t axis, int64_t start, int64_t count,
                    int64_t step);
kvf_cells kvf_expand(kvf_ev *ev, kvf_cells a, uint32_t rank, const int64_t *dims);
kvf_cells kvf_concat(kvf_ev *ev, uint32_t n, const kvf_cells *parts, uint32_t axis);
kvf_cells kvf_gather(kvf_ev *ev, kvf_cells data, kvf_cells indices, uint32_t axis);
kvf_cells kvf_cast(kvf_ev *ev, kvf_cells a, kvf_type to);
/* The shape that a and b have together; false and a failure if they do not fit. */
bool kvf_broadcast(kvf_ev *ev, const kvf_cells *a, const kvf_cells *b, uint32_t *rank,
                   int64_t *dims);

/* ---- arithmetic (ops_math.c, ops_linear.c) --------------------------------------------------- */

typedef enum kvf_fn {
    KVF_FN_NONE = 0,
    KVF_ADD,
    KVF_SUB,
    KVF_MUL,
    KVF_DIV,
    KVF_POW,
    KVF_MOD,
    KVF_MAX,
    KVF_MIN,
    KVF_AND,
    KVF_OR,
    KVF_XOR,
    KVF_EQUAL,
    KVF_LESS,
    KVF_LESS_EQUAL,
    KVF_GREATER,
    KVF_GREATER_EQUAL,
    KVF_NEG,
    KVF_ABS,
    KVF_SQRT,
    KVF_RSQRT,
    KVF_RECIPROCAL,
    KVF_EXP,
    KVF_LOG,
    KVF_SIN,
    KVF_COS,
    KVF_TANH,
    KVF_SIGMOID,
    KVF_ERF,
    KVF_RELU,
    KVF_FLOOR,
    KVF_CEIL,
    KVF_ROUND,
    KVF_SIGN,
    KVF_NOT,
    KVF_ISNAN,
    KVF_ISINF,
    KVF_GELU,
    KVF_GELU_TANH,
    KVF_SILU,
    KVF_SOFTPLUS,
} kvf_fn;
const char *kvf_fn_name(kvf_fn fn);

kvf_cells kvf_unary(kvf_ev *ev, kvf_fn fn, kvf_cells a);
kvf_cells kvf_binary(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b);
kvf_cells kvf_where(kvf_ev *ev, kvf_cells cond, kvf_cells a, kvf_cells b);
kvf_cells kvf_mean(kvf_ev *ev, kvf_cells a);    /* of the last axis, which stays with size 1 */
kvf_cells kvf_softmax(kvf_ev *ev, kvf_cells a); /* along the last axis */
kvf_cells kvf_normalise(kvf_ev *ev, kvf_norm_kind kind, kvf_cells a, double eps); /* last axis */
kvf_cells kvf_matmul(kvf_ev *ev, kvf_cells a, kvf_cells b);
kvf_cells kvf_linear_q(kvf_ev *ev, kvf_cells a, const kvf_matrix *w); /* quantised W [in][out] */
/* A known tensor of rank 2 as a matrix; data NULL if it cannot be one. */
kvf_matrix kvf_matrix_of(const kvf_cells *c);
/* softmax(scale * q k^T + bias) v, of [batch, heads, rows, size] and kv heads that may be fewer;
 * cap: soft cap of scores or 0; bias: absent or added. */
kvf_cells kvf_attend(kvf_ev *ev, kvf_cells q, kvf_cells k, kvf_cells v, kvf_cells bias,
                     double scale, double cap);
/* x [batch, heads, rows, size], cos and sin [1 or batch, rows, pairs] */
kvf_cells kvf_rotate(kvf_ev *ev, kvf_cells x, kvf_cells cos, kvf_cells sin, bool interleaved);

/* ---- operators ------------------------------------------------------------------------------- */

enum { KVF_MAX_OUTPUTS = 64 }; /* of one operator */
/* in: at least 16, absent ones too; out: KVF_MAX_OUTPUTS, absent before. */
typedef void kvf_operator(kvf_ev *ev, const kvf_cells *in, kvf_cells *out);
typedef struct kvf_operator_row {
    const char *domain, *type;
    kvf_operator *run;
} kvf_operator_row;
/* Each file of operators has a table, ended by a row of NULL. */
extern const kvf_operator_row kvf_ops_move[], kvf_ops_math[], kvf_ops_linear[], kvf_ops_fused[];

int64_t kvf_ev_opset(const kvf_ev *ev); /* of ai.onnx */
/* An attribute that is 0 or 1; a failure if it is another number, which nobody defines. */
bool kvf_ev_flag(kvf_ev *ev, const char *name, bool missing);
/* Integers of an attribute or, from newer opsets on, of an input. n is 0 if neither is there. */
bool kvf_attr_or_input(kvf_ev *ev, const char *attr, const kvf_cells *input, int64_t *out,
                       uint32_t *n);
#endif
