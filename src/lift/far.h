/* far.h - runs of shapes and known numbers at sizes far beyond the traced ones.
 *
 * Three small runs prove what a graph does at small sizes. A sliding window of 4,096 tokens, a
 * clamped position or a table that ends cannot be seen there. So the graph is run again beyond
 * every constant that it computes sizes, masks and positions with, holding shapes instead of
 * activations: masks must still be causal, softmax must run over all keys, presents must have
 * all rows, and positions must still be what the small runs said. */
#ifndef KVF_LIFT_FAR_H
#define KVF_LIFT_FAR_H

#include "eval.h"
#include "probe.h"

typedef struct kvf_kept { /* a known operand, as it was far away */
    uint32_t site, n;
    double *v; /* [n] */
} kvf_kept;

typedef struct kvf_far {
    const kvf_probe *probe;
    const uint32_t *masks; /* sites where scores are masked */
    uint32_t *wanted;      /* sites of operands to keep; its own */
    uint32_t n_masks, n_wanted;
    uint8_t *hidden; /* [rows][keys] of the scores at hand, NULL: nothing hidden */
    int64_t rows, keys;
    kvf_kept *kept; /* [n_wanted] */
    kvf_kept angles[8];
    uint32_t n_angles;
} kvf_far;

/* What the primitives call: a known operand beside a shape, a choice between scores and numbers,
 * a softmax over a shape, the angles of cosines. */
void kvf_far_operand(kvf_ev *ev, const kvf_cells *known, uint32_t rank, const int64_t *dims);
void kvf_far_choice(kvf_ev *ev, const kvf_cells *cond, bool keep, const kvf_cells *number,
                    uint32_t rank, const int64_t *dims);
void kvf_far_softmax(kvf_ev *ev, const kvf_cells *a);
void kvf_far_angles(kvf_ev *ev, const kvf_cells *a);
void kvf_far_free(kvf_far *far);
#endif
