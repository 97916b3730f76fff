/* plan_run.h - what a plan computes, in double, one row after the other: slow and obvious.
 *
 * The specification of the native engine's forward pass, and one side of the comparison that every
 * lift must pass. */
#ifndef KVF_LIFT_PLAN_RUN_H
#define KVF_LIFT_PLAN_RUN_H

#include "plan.h"

typedef struct kvf_plan_rows {
    uint32_t n, past;         /* new rows; rows whose K and V are given */
    const int32_t *token;     /* [n] */
    const uint32_t *position; /* [n] */
    const uint8_t *sees;      /* [n][past + n] itself too */
    const double *k, *v;      /* [layers][past][kv_heads * head_dim], k as stored: turned */
    uint32_t thin;            /* see product.h; 0: the whole model */
} kvf_plan_rows;

typedef struct kvf_plan_result { /* NULL where it is not wanted */
    double *k, *v;               /* [layers][n][kv_heads * head_dim] */
    double *head[KVF_HEADS];     /* [n][width]; hidden states: [n][hidden] */
} kvf_plan_result;

/* Errors  KVF_ERR_ARG (a token or a position that the plan does not have), KVF_ERR_NOMEM */
kvf_status kvf_plan_run(const kvf_plan *plan, const kvf_plan_rows *rows, const kvf_plan_result *out,
                        kvf_error *err);
/* One head over hidden states [n][in], into out [n][width]. */
kvf_status kvf_plan_run_stack(const kvf_stack *stack, uint32_t in, uint32_t n, const double *hidden,
                              double *out, uint32_t thin, kvf_error *err);
#endif
