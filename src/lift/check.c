/* check.c - the last step of a lift: graph and plan give the same numbers.
 *
 * The proof says so already; this is the guard against mistakes in the proof. Both sides are
 * computed in double, so that what remains is the rounding of tables and constants to f32: far
 * below anything that a wrong plan would do. Larger models are compared with thin products
 * (product.h). */
#include "check.h"
#include "lift.h"
#include "plan_run.h"
#include "rng.h"

#include <math.h>
#include <string.h>

enum { THIN_FROM = 2000000 }; /* parameters from which on products are thin */
#define TOLERANCE 1e-4

typedef struct trial {
    const struct kvf_model *model;
    const kvf_plan *plan;
    kvf_probe probe;
    uint32_t thin, n; /* n: new rows, prefix_ids among them */
    int32_t *token;   /* [rows] */
    double *k, *v;    /* [layers][past][kv] */
    kvf_plan_result result;
    double *memory;
    uint8_t *sees;
    double worst;
} trial;

static kvf_status make_trial(trial *t, uint64_t seed, kvf_error *err)
{
    const kvf_plan *p = t->plan;
    const kvf_probe *q = &t->probe;
    size_t kv = (size_t)p->kv_heads * p->head_dim, past = p->layers * q->past * kv,
           now = p->layers * t->n * kv, widths = p->hidden;
    for (int h = 0; h < KVF_HIDDEN; h++) widths += p->head[h].n_stages ? p->head[h].width : 0;
    t->token = kvf_array(q->rows, sizeof *t->token);
    t->sees = kvf_array(t->n, q->rows);
    t->memory = kvf_array(2 * (past + now) + t->n * widths, sizeof *t->memory);
    if (!t->token || !t->sees || !t->memory)
        return kvf_fail(err, KVF_ERR_NOMEM, "numbers of a comparison");
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    for (uint32_t i = 0; i < q->rows; i++) t->token[i] = (int32_t)kvf_rng_below(&rng, p->vocab);
    for (uint32_t i = 0; i < t->n * q->rows; i++)
        t->sees[i] = kvf_probe_sees(q, q->past + i / q->rows, i % q->rows);
    double *m = t->memory;
    t->k = m, m += past;
    t->v = m, m += past;
    for (size_t i = 0; i < 2 * past; i++) t->k[i] = kvf_rng_normal(&rng);
    t->result.k = m, m += now;
    t->result.v = m, m += now;
    t->result.head[KVF_HIDDEN] = m, m += t->n * (size_t)p->hidden;
    for (int h = 0; h < KVF_HIDDEN; h++) {
        if (!p->head[h].n_stages) continue;
        t->result.head[h] = m;
        m += t->n * (size_t)p->head[h].width;
    }
    return KVF_OK;
}

/* Largest difference of n numbers, of the tensor from its element `first` on, from what the plan
 * says. */
static void differ(trial *t, const kvf_cells *c, uint64_t first, const double *want, uint64_t n)
{
    double top = 1e-6, most = 0;
    for (uint64_t i = 0; i < n; i++) {
        double got = kvf_cell_f(c, kvf_cell_offset(c, first + i)), d = fabs(got - want[i]);
        if (!(d <= most)) most = d == d ? d : INFINITY;
        if (fabs(want[i]) > top) top = fabs(want[i]);
    }
    if (most / top > t->worst) t->worst = most / top;
}

static void differ_present(trial *t, kvf_ev *ev, kvf_cells c, bool value, uint32_t layer)
{
    const kvf_contract *k = &t->model->contract;
    if (k->layout == KVF_LAYOUT_FUSED) {
        c = kvf_slice(ev, c, 0, value, 1, 1);
        c = kvf_reshape(ev, c, 4, c.dims + 1);
    }
    /* rows first, each with all its heads, as the plan has them */
    if (k->layout != KVF_LAYOUT_LENGTH) c = kvf_swap(ev, c, 1, 2);
    uint64_t kv = (uint64_t)k->kv_heads * k->head_dim, n = t->n * kv;
    differ(t, &c, t->probe.past * kv, (value ? t->result.v : t->result.k) + layer * n, n);
}

static void differ_port(trial *t, kvf_ev *ev, const kvf_contract_port *port)
{
    const kvf_cells *c = &ev->values[port->value];
    bool fused = port->role == KVF_ROLE_PRESENT_FUSED;
    int head = port->role == KVF_ROLE_LOGITS   ? KVF_LOGITS
               : port->role == KVF_ROLE_POLICY ? KVF_POLICY
               : port->role == KVF_ROLE_VALUE  ? KVF_VALUE
               : port->role == KVF_ROLE_HIDDEN ? KVF_HIDDEN
                                               : -1;
    if (head >= 0) {
        uint64_t width = head == KVF_HIDDEN ? t->plan->hidden : t->plan->head[head].width,
                 n = t->n * width;
        differ(t, c, c->count - n, t->result.head[head], n); /* behind rows of the graph's own */
    }
    if (fused || port->role == KVF_ROLE_PRESENT_KEY) differ_present(t, ev, *c, false, port->layer);
    if (fused || port->role == KVF_ROLE_PRESENT_VALUE) differ_present(t, ev, *c, true, port->layer);
}

static kvf_status run_trial(trial *t, const kvf_ev *constants, kvf_error *err)
{
    const kvf_probe *q = &t->probe;
    kvf_plan_rows rows = {.n = t->n,
                          .past = q->past,
                          .token = t->token + q->past,
                          .position = q->position + q->past,
                          .sees = t->sees,
                          .k = t->k,
                          .v = t->v,
                          .thin = t->thin};
    kvf_status status = kvf_plan_run(t->plan, &rows, &t->result, err);
    kvf_ev ev;
    if (status) return status;
    status = kvf_ev_again(&ev, constants, err);
    if (status) return status;
    kvf_feed feed = {.contract = &t->model->contract,
                     .probe = q,
                     .form = KVF_KNOWN,
                     .token = t->token,
                     .k = t->k,
                     .v = t->v};
    ev.thin = t->thin;
    kvf_feed_inputs(&ev, &feed);
    status = kvf_ev_run(&ev, false);
    for (uint32_t i = 0; i < t->model->contract.n_outputs && !status; i++)
        differ_port(t, &ev, &t->model->contract.outputs[i]);
    if (ev.status) status = kvf_prefix(err, ev.status, "%s: ", t->model->onnx->path);
    kvf_ev_end(&ev);
    return status;
}

static uint32_t thin_for(const struct kvf_model *m, const kvf_plan *p)
{
    return m->onnx->parameters > THIN_FROM ? p->vocab : 0;
}

static kvf_status compare_with(trial *t, const kvf_ev *constants, uint32_t fresh, uint32_t before,
                               uint64_t seed, kvf_error *err)
{
    kvf_status status = kvf_probe_make(&t->probe, &t->model->contract, fresh, before, seed, err);
    if (status) return status;
    t->n = t->probe.rows - t->probe.past;
    t->thin = thin_for(t->model, t->plan);
    status = make_trial(t, seed, err);
    if (!status) status = run_trial(t, constants, err);
    kvf_free(t->token);
    kvf_free(t->sees);
    kvf_free(t->memory);
    kvf_probe_free(&t->probe);
    return status;
}

kvf_status kvf_plan_compare(const struct kvf_model *model, const kvf_plan *plan,
                            const kvf_ev *constants, uint32_t fresh, uint32_t before, uint64_t seed,
                            double *worst, kvf_error *err)
{
    trial t = {.model = model, .plan = plan};
    const kvf_graph *g = model->onnx->graph;
    kvf_ev own = {0};
    bool *live = NULL;
    kvf_status status = KVF_OK;
    if (!constants) {
        live = kvf_array(g->n_ops, sizeof *live);
        if (!live) return kvf_fail(err, KVF_ERR_NOMEM, "%s: its operators", model->onnx->path);
        kvf_ev_live(g, g->outputs, g->n_outputs, live);
        status = kvf_ev_begin(&own, model->onnx, live, err);
        if (!status) status = kvf_ev_run(&own, true);
        constants = &own;
    }
    if (!status) status = compare_with(&t, constants, fresh, before, seed, err);
    *worst = t.worst;
    kvf_ev_end(&own);
    kvf_free(live);
    return status;
}

/* Without a past and with one, as far as the contract has it. */
kvf_status kvf_lift_check(kvf_lift *l)
{
    static const uint32_t sizes[][2] = {{3, 1}, {2, 3}};
    kvf_status status = KVF_OK;
    for (int i = 0; i < 2 && !status; i++) {
        double worst;
        uint32_t before = i || l->contract->tree ? sizes[i][1] : 0;
        status = kvf_plan_compare(l->model, l->plan, &l->constants, sizes[i][0], before,
                                  17 + (uint64_t)i, &worst, l->err);
        if (!status && !(worst <= TOLERANCE))
            status = kvf_fail(l->err, KVF_ERR_MODEL, "%s: its plan differs from the graph by %.3g",
                              l->onnx->path, worst);
    }
    return status;
}

kvf_status kvf_lift_check_head(kvf_lift *l, const kvf_ev *constants, kvf_head head)
{
    enum { ROWS = 3 };
    const kvf_graph *g = l->onnx->graph;
    const kvf_stack *s = &l->plan->head[head];
    uint32_t hidden = l->plan->hidden;
    kvf_ev ev;
    kvf_status status = kvf_ev_again(&ev, constants, l->err);
    if (status) return status;
    const kvf_shape *shape = g->values[g->inputs[0]].shape;
    bool flat = shape && shape->rank == 2;
    kvf_cells in = kvf_new(&ev, KVF_KNOWN, shape ? shape->type : KVF_F32, flat ? 2 : 3,
                           flat ? (int64_t[]){ROWS, hidden} : (int64_t[]){1, ROWS, hidden});
    double *want = kvf_array((size_t)ROWS * s->width, sizeof *want);
    kvf_rng rng;
    kvf_rng_seed(&rng, 19);
    for (uint64_t i = 0; i < in.count && !ev.status; i++) kvf_floats(&in)[i] = kvf_rng_normal(&rng);
    ev.values[g->inputs[0]] = in;
    status = want ? kvf_ev_run(&ev, false)
                  : kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its numbers", l->onnx->path);
    if (!status) status = kvf_plan_run_stack(s, hidden, ROWS, kvf_floats(&in), want, 0, l->err);
    trial t = {.plan = l->plan};
    if (!status) differ(&t, &ev.values[g->outputs[0]], 0, want, (uint64_t)ROWS * s->width);
    if (!status && !(t.worst <= TOLERANCE))
        status = kvf_fail(l->err, KVF_ERR_MODEL, "%s: its plan differs from the graph by %.3g",
                          l->onnx->path, t.worst);
    kvf_free(want);
    kvf_ev_end(&ev);
    return status;
}
