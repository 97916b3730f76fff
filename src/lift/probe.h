/* probe.h - one run of a graph at given sizes: which rows there are, where they stand, what they
 * see, and what goes into each input.
 *
 * Rows are the tokens of one sequence or tree: first those whose K and V are in the past, then the
 * new ones. With the plain contract new rows are a chain behind the past. With the tree contract
 * the first `prefix` rows (given as past or as prefix_ids) are a chain, and the rest is a small
 * tree behind it, whose shape is the evaluated_mask.
 *
 * One sequence is enough: a plan is about one, and a graph may be written for a batch of one. */
#ifndef KVF_LIFT_PROBE_H
#define KVF_LIFT_PROBE_H

#include "eval.h"
#include "model.h"

typedef struct kvf_probe {
    uint32_t past;   /* rows given as K and V */
    uint32_t prefix; /* rows given as prefix_ids */
    uint32_t fresh;  /* further rows: input_ids or evaluated_ids */
    uint32_t rows;   /* of all three */
    bool tree;
    uint32_t *position; /* [rows]; NULL: a chain, far too long to be written down */
    uint8_t *sees;      /* [rows][rows]; NULL as well */
} kvf_probe;

/* Memory is taken for rows * rows; seed chooses the tree.
 * Errors  KVF_ERR_NOMEM */
kvf_status kvf_probe_make(kvf_probe *probe, const kvf_contract *contract, uint32_t fresh,
                          uint32_t before, uint64_t seed, kvf_error *err);
/* The same as a chain of any length, without memory. */
kvf_probe kvf_probe_far(const kvf_contract *contract, uint32_t fresh, uint32_t before);
void kvf_probe_free(kvf_probe *probe); /* zeroed is fine */
static inline bool kvf_probe_sees(const kvf_probe *p, uint32_t row, uint32_t key)
{
    return p->sees ? p->sees[(size_t)row * p->rows + key] : key <= row;
}
static inline uint32_t kvf_probe_position(const kvf_probe *p, uint32_t row)
{
    return p->position ? p->position[row] : row;
}

/* What goes into the inputs. */
typedef struct kvf_feed {
    const kvf_contract *contract;
    const kvf_probe *probe;
    kvf_form form;        /* of tokens and of the past; positions and masks are known */
    const int32_t *token; /* [rows], if known */
    const double *k, *v;  /* [layers][past][kv_heads * head_dim], if known */
    struct kvf_exprs *x;  /* if symbols */
} kvf_feed;
void kvf_feed_inputs(kvf_ev *ev, const kvf_feed *feed);
#endif
