/* trace.h - what symbols mean: running a graph on names instead of numbers.
 *
 * An element of an activation is named by three numbers:
 *
 *   what    an expression (expr.h): "the query projection of layer 3"
 *   row     which token of the sequence it belongs to
 *   column  which of the expression's columns it is; of scores: head * rows + key row
 *
 * Moving elements about moves names, so it vanishes; arithmetic makes a new expression only if
 * rows and columns meet as they do in a decoder. Whatever does not gets an expression of its own
 * kind, "opaque", which no plan contains. After a run, what an output *is* can be read off its
 * elements' names, whatever way they took through the graph.
 *
 * Rotary positions are the one place where numbers stay: an element times a cosine that depends
 * on its row is a "combo" of at most two elements with known factors, until somebody takes a whole
 * head of them; then the factors must form a rotation (trace_rotary.c). */
#ifndef KVF_LIFT_TRACE_H
#define KVF_LIFT_TRACE_H

#include "eval.h"
#include "expr.h"
#include "probe.h"

/* 20 bits what, 20 bits row, 24 bits column. */
enum { KVF_ROW_BITS = 20, KVF_COLUMN_BITS = 24 };
#define KVF_MAX_ROWS    (1u << KVF_ROW_BITS)
#define KVF_MAX_COLUMNS (1u << KVF_COLUMN_BITS)
static inline int64_t kvf_symbol(uint32_t what, uint32_t row, uint32_t column)
{
    return (int64_t)((uint64_t)what << (KVF_ROW_BITS + KVF_COLUMN_BITS) |
                     (uint64_t)row << KVF_COLUMN_BITS | column);
}
static inline uint32_t kvf_what_of(int64_t s)
{
    return (uint32_t)((uint64_t)s >> (KVF_ROW_BITS + KVF_COLUMN_BITS));
}
static inline uint32_t kvf_row_of(int64_t s)
{
    return (uint32_t)((uint64_t)s >> KVF_COLUMN_BITS) & (KVF_MAX_ROWS - 1);
}
static inline uint32_t kvf_column_of(int64_t s)
{
    return (uint32_t)s & (KVF_MAX_COLUMNS - 1);
}

/* A known factor of a combo, and where it came from: factor = by * (element `at` from the end of
 * the known operand of call `site`). Far away the same site gives the factor of another
 * position. */
typedef struct kvf_factor {
    double value, by;
    uint32_t site, at;
} kvf_factor;
typedef struct kvf_combo { /* sum of factor * element; the second element 0: only one */
    int64_t element[2];
    kvf_factor factor[2];
} kvf_combo;
typedef struct kvf_combos {
    uint32_t what, n;
    kvf_combo *combo; /* [n] by column */
} kvf_combos;

/* What the positions did in one run, to be explained by a table or by frequencies afterwards. */
typedef struct kvf_turn { /* one head of one row went through a rotation */
    uint32_t position, pairs, op;
    bool last;             /* it was the last row: the factors can be followed far away */
    kvf_factor *cos, *sin; /* [pairs] */
} kvf_turn;
typedef struct kvf_shift { /* known numbers added to the columns of one row */
    uint32_t site, position, width;
    bool last;
    kvf_factor *value; /* [width] */
} kvf_shift;

typedef struct kvf_mask { /* which keys of a row a mask expression has hidden: [rows][rows] */
    uint32_t what;
    uint8_t *hidden;
} kvf_mask;

/* Expressions that were met as keys or values of the past beside those of new rows: to be the
 * same, once it is known what the graph stores (match.c). */
typedef struct kvf_past {
    uint32_t user, old; /* score or attend expression; expression over the past */
} kvf_past;

enum { KVF_MAX_TABLES = 64 };
typedef struct kvf_trace {
    kvf_exprs *x; /* of all runs */
    const kvf_probe *probe;
    uint32_t extra; /* rows of tokens that the graph itself adds, behind the probe's */
    uint32_t layer; /* attentions so far, for messages */
    kvf_combos *combos;
    kvf_mask *masks;
    kvf_turn *turns;
    kvf_shift *shifts;
    kvf_past *pasts;
    uint32_t *mask_sites; /* calls in which scores met known numbers */
    uint32_t n_combos, n_masks, n_turns, n_shifts, n_pasts, n_mask_sites;
    /* constant tensors that were looked up by position, in any run */
    kvf_cells tables[KVF_MAX_TABLES];
    uint32_t n_tables;
} kvf_trace;

uint32_t kvf_trace_rows(const kvf_trace *t); /* the probe's and extra ones */

/* The primitives of eval.h, where an operand is made of symbols. */
kvf_cells kvf_trace_unary(kvf_ev *ev, kvf_fn fn, kvf_cells a);
kvf_cells kvf_trace_binary(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b);
kvf_cells kvf_trace_where(kvf_ev *ev, kvf_cells cond, kvf_cells a, kvf_cells b);
kvf_cells kvf_trace_mean(kvf_ev *ev, kvf_cells a);
kvf_cells kvf_trace_softmax(kvf_ev *ev, kvf_cells a);
kvf_cells kvf_trace_normalise(kvf_ev *ev, kvf_norm_kind kind, kvf_cells a, double eps);
kvf_cells kvf_trace_matmul(kvf_ev *ev, kvf_cells a, kvf_cells b);
kvf_cells kvf_trace_linear(kvf_ev *ev, kvf_cells a, const kvf_matrix *w);
kvf_cells kvf_trace_embed(kvf_ev *ev, kvf_cells table, kvf_cells tokens);
kvf_cells kvf_trace_constant(kvf_ev *ev, kvf_cells known); /* as symbols, to mix with others */
void kvf_trace_table(kvf_ev *ev, kvf_cells table);
/* Something that cannot be a part of a decoder, unless nobody looks at its elements. */
kvf_cells kvf_trace_opaque(kvf_ev *ev, kvf_type type, uint32_t rank, const int64_t *dims,
                           const char *why);

/* Columns of one row that lie together: what a whole run of elements is. */
typedef struct kvf_span {
    uint32_t what, row, first;
    bool ok;
} kvf_span;
/* n elements, stride apart: the same expression and row, columns in order. */
kvf_span kvf_trace_span(const int64_t *ids, int64_t stride, uint32_t n);

/* The heads of a tensor [heads][size]: an expression of all of them in order.
 *
 * spans  [heads] as kvf_trace_head gave them
 * kv     set to how many different heads there are; heads of one group follow each other
 * Gives 0 if they are not in order. */
uint32_t kvf_trace_heads(kvf_ev *ev, const kvf_span *spans, uint32_t heads, uint32_t size,
                         uint32_t *kv);
/* One head: a span, or combos that are a rotation of one. */
kvf_span kvf_trace_head(kvf_ev *ev, const int64_t *ids, int64_t stride, uint32_t n);
bool kvf_trace_is_combo(const kvf_trace *t, const kvf_cells *a);
/* a * known, where known (of `count` elements before it was expanded) goes with the position */
kvf_cells kvf_trace_turned(kvf_ev *ev, kvf_cells a, kvf_cells known, uint64_t count);
kvf_cells kvf_trace_sum(kvf_ev *ev, kvf_cells a, kvf_cells b, double sign); /* of combos */
/* scores + known, which must be a mask: 0 where a key is seen, very low where it is hidden */
kvf_cells kvf_trace_hide(kvf_ev *ev, kvf_cells scores, kvf_cells known);

void kvf_trace_next(kvf_trace *t, const kvf_probe *probe); /* forget what belongs to one run */
void kvf_trace_free(kvf_trace *t);
/* For the trace's own files: an array of n with room for one more, NULL and a failure if memory ran
 * out; out, unless memory ran out in the expressions. */
void *kvf_trace_room(kvf_ev *ev, void *array, uint32_t n, size_t size);
kvf_cells kvf_trace_checked(kvf_ev *ev, kvf_cells out);
kvf_cells kvf_trace_new(kvf_ev *ev, kvf_type type, uint32_t rank, const int64_t *dims);
#endif
