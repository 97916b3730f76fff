/* lift.h - the lift's own state, and its steps in order. */
#ifndef KVF_LIFT_LIFT_H
#define KVF_LIFT_LIFT_H

#include "model.h"
#include "trace.h"

typedef struct kvf_roots { /* what the outputs are; 0: there is no such output */
    uint32_t head[KVF_HEADS];
    uint32_t *key, *value; /* [layers] what presents hold for new rows */
} kvf_roots;

typedef struct kvf_lift {
    const struct kvf_model *model;
    const kvf_contract *contract;
    const kvf_onnx *onnx;
    kvf_error *err;
    bool *live; /* [n_ops] */
    uint32_t n_live;
    kvf_ev constants; /* what does not depend on sizes or inputs, computed once */
    kvf_exprs x;
    kvf_trace trace;
    kvf_roots roots; /* of the first run; the others must agree */
    uint32_t runs;
    kvf_plan *plan;
    kvf_pool *memory;       /* the plan's */
    uint32_t position_site; /* of the sum with position embeddings, if any */
    bool has_positions;
} kvf_lift;

/* Memory of the plan, zeroed, or NULL. */
void *kvf_lift_take(kvf_lift *l, uint64_t n, size_t size);
/* The layer of an operator, from its place: how many attentions came before. */
uint32_t kvf_lift_layer_of(const kvf_lift *l, uint32_t op);
/* A refusal that begins with the layer and operator that an expression comes from. */
kvf_status kvf_lift_refuse(kvf_lift *l, uint32_t expr, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

kvf_status kvf_lift_trace(kvf_lift *l, uint32_t fresh, uint32_t before); /* one run */
kvf_status kvf_lift_match(kvf_lift *l);                                  /* expressions to plan */
kvf_status kvf_lift_positions(kvf_lift *l); /* rotary and position tables, and far away */
/* A head in a file of its own. */
kvf_status kvf_lift_head(kvf_lift *l, const kvf_onnx *onnx, kvf_head head);
/* The stages from the expression base to e. */
kvf_status kvf_lift_stack(kvf_lift *l, uint32_t e, uint32_t base, const char *name, kvf_stack *out);
/* The plan against the graph, and a head against its file, in numbers. */
kvf_status kvf_lift_check(kvf_lift *l);
kvf_status kvf_lift_check_head(kvf_lift *l, const kvf_ev *constants, kvf_head head);
#endif
