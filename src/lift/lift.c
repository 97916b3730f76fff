/* lift.c - from a graph to a plan, by proof.
 *
 *   constants   what depends on no size and no input is computed once
 *   trace       the graph runs at small sizes on names instead of numbers (trace.h); its outputs
 *               are then expressions (expr.h), and must be the same ones at every size
 *   match       the expressions of the outputs are taken apart into a plan, whole (match.c)
 *   positions   rotary and position tables are explained, and the graph is run beyond every
 *               constant it computes with, to see that it stays what it was (positions.c)
 *   check       graph and plan compute the same numbers (check.c)
 *
 * Nothing is recognised by its name or by the form that some exporter writes. What an operator
 * means is in ops_*.c, what a decoder is in match.c; docs/lifting.md tells how to add to each. */
#include "lift.h"

#include <string.h>

/* A plan and the memory behind it. */
typedef struct owned_plan {
    kvf_plan plan;
    kvf_pool pool;
} owned_plan;

void kvf_plan_free(kvf_plan *plan)
{
    if (!plan) return;
    owned_plan *own = plan->memory;
    kvf_pool_free(&own->pool);
    kvf_free(own);
}

/* Runs of (new rows, rows before): a chain behind a past, one token, a prompt; with a tree there
 * is always something before it. */
static kvf_status trace_all(kvf_lift *l)
{
    static const uint32_t plain[][2] = {{3, 5}, {1, 7}, {4, 0}},
                          tree[][2] = {{4, 3}, {1, 7}, {3, 5}};
    const uint32_t(*sizes)[2] = l->contract->tree ? tree : plain;
    kvf_status status = KVF_OK;
    for (int i = 0; i < 3 && !status; i++) status = kvf_lift_trace(l, sizes[i][0], sizes[i][1]);
    return status;
}

static kvf_status lift_heads(kvf_lift *l)
{
    const struct kvf_model *m = l->model;
    bool policy = m->contract.width[KVF_POLICY] && !l->roots.head[KVF_POLICY];
    kvf_status status = KVF_OK;
    if (m->policy_head) status = kvf_lift_head(l, m->policy_head, policy ? KVF_POLICY : KVF_LOGITS);
    if (!status && m->value_head) status = kvf_lift_head(l, m->value_head, KVF_VALUE);
    return status;
}

static kvf_status lift_graph(kvf_lift *l)
{
    const kvf_graph *g = l->onnx->graph;
    l->live = kvf_array(g->n_ops, sizeof *l->live);
    if (!l->live) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its operators", l->onnx->path);
    l->n_live = kvf_ev_live(g, g->outputs, g->n_outputs, l->live);
    kvf_status status = kvf_ev_begin(&l->constants, l->onnx, l->live, l->err);
    if (status) return status;
    l->constants.round = true;
    status = kvf_ev_run(&l->constants, true);
    if (status) return kvf_prefix(l->err, status, "%s: ", l->onnx->path);
    status = trace_all(l);
    if (!status) status = kvf_lift_match(l);
    if (!status) status = kvf_lift_positions(l);
    if (!status) status = kvf_lift_check(l);
    if (!status) status = lift_heads(l);
    l->plan->accounted = g->n_ops;
    return status;
}

kvf_status kvf_plan_lift(kvf_plan **out, const struct kvf_model *model, kvf_error *err)
{
    kvf_error ignored;
    *out = NULL;
    owned_plan *own = kvf_array(1, sizeof *own);
    if (!own) return kvf_fail(err, KVF_ERR_NOMEM, "%s: its plan", model->onnx->path);
    own->plan.memory = own;
    own->pool.limit = (uint64_t)1 << 33;
    kvf_lift l = {.model = model,
                  .contract = &model->contract,
                  .onnx = model->onnx,
                  .err = err ? err : &ignored,
                  .plan = &own->plan,
                  .memory = &own->pool};
    kvf_status status = lift_graph(&l);
    kvf_ev_end(&l.constants);
    kvf_exprs_free(&l.x);
    kvf_trace_free(&l.trace);
    kvf_free(l.roots.key);
    kvf_free(l.roots.value);
    kvf_free(l.live);
    if (status)
        kvf_plan_free(&own->plan);
    else
        *out = &own->plan;
    return status;
}
