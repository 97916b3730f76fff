/* roots.c - one traced run, and what its outputs turn out to be.
 *
 * Every output must hold, row after row, whole expressions in the order that the contract says;
 * and each run, whatever its sizes, must give the same expressions. */
#include "lift.h"

#include <string.h>

/* Where rows lie in an output: new ones in order, perhaps behind rows of the graph's own. */
static bool row_fits(const kvf_lift *l, uint32_t i, uint32_t lead, uint32_t row)
{
    const kvf_probe *p = l->trace.probe;
    return i < lead ? row >= p->rows : row == p->past + i - lead;
}

/* An output of one line per row: what it is, or 0 and a refusal. */
static uint32_t read_lines(kvf_lift *l, kvf_ev *ev, kvf_cells c, const char *name)
{
    const kvf_probe *p = l->trace.probe;
    uint32_t fresh = p->rows - p->past, what = 0;
    int64_t lines = c.rank == 1 ? c.dims[0] : c.rank && c.dims[0] == 1 ? c.dims[1] : c.dims[0];
    c = kvf_dense(ev, c);
    if (ev->status) return 0;
    bool ok = c.form == KVF_SYMBOL && c.rank &&
              (lines == fresh || lines == (int64_t)fresh + l->trace.extra);
    uint32_t lead = ok ? (uint32_t)lines - fresh : 0,
             width = ok ? (uint32_t)(c.count / (uint64_t)lines) : 0;
    for (uint32_t i = 0; i < (ok ? lines : 0); i++) {
        kvf_span s = kvf_trace_span(kvf_ints(&c) + (uint64_t)i * width, 1, width);
        uint32_t e = s.ok ? kvf_x_part(&l->x, s.what, s.first, width) : 0;
        ok = e && row_fits(l, i, lead, s.row) && (!what || what == e);
        what = e;
        if (!ok) {
            kvf_lift_refuse(l, kvf_what_of(kvf_ints(&c)[(uint64_t)i * width]),
                            "%s are not one line per token, in order", name);
            return 0;
        }
    }
    if (!ok) kvf_lift_refuse(l, 0, "%s are not one line per token", name);
    return ok ? what : 0;
}

/* Present keys or values of a layer, [heads][rows][size] by the contract's layout: what new rows
 * are; rows of the past must be there unchanged. */
static uint32_t read_present(kvf_lift *l, kvf_ev *ev, kvf_cells c, bool value, uint32_t layer)
{
    const kvf_contract *k = l->contract;
    const kvf_probe *p = l->trace.probe;
    const char *name = value ? "present values" : "present keys";
    kvf_expr_kind old = value ? KVF_X_PAST_VALUE : KVF_X_PAST_KEY;
    bool fused = k->layout == KVF_LAYOUT_FUSED;
    if (fused && c.rank == 5 && c.dims[0] == 2) {
        c = kvf_slice(ev, c, 0, value, 1, 1);
        c = kvf_reshape(ev, c, 4, c.dims + 1);
    }
    if (k->layout == KVF_LAYOUT_LENGTH && c.rank == 4) c = kvf_swap(ev, c, 1, 2);
    c = kvf_dense(ev, c);
    if (ev->status) return 0;
    uint32_t heads = k->kv_heads, size = k->head_dim, what = 0;
    bool fits = c.form == KVF_SYMBOL && c.rank == 4 && c.dims[0] == 1 && c.dims[1] == heads &&
                c.dims[2] == p->rows && c.dims[3] == size && heads && size;
    if (!fits) {
        kvf_lift_refuse(l, 0, "%s of layer %u are not past and new rows of %u heads of %u", name,
                        layer, heads, size);
        return 0;
    }
    kvf_span *spans = kvf_array(heads, sizeof *spans);
    if (!spans) kvf_ev_no_memory(ev);
    for (uint32_t t = 0; t < p->rows && fits && spans; t++) {
        uint32_t kv;
        for (uint32_t h = 0; h < heads; h++)
            spans[h] =
                kvf_trace_head(ev, kvf_ints(&c) + ((uint64_t)h * p->rows + t) * size, 1, size);
        uint32_t e = kvf_trace_heads(ev, spans, heads, size, &kv);
        fits = e && kv == heads && spans[0].row == t;
        if (fits && t < p->past)
            fits = kvf_x(&l->x, e)->kind == old && kvf_x(&l->x, e)->n == layer;
        else if (fits) {
            fits = !what || what == e;
            what = e;
        }
        if (!fits)
            kvf_lift_refuse(l, kvf_what_of(kvf_ints(&c)[(uint64_t)t * size]),
                            "%s of layer %u do not hold token %u as it should be", name, layer, t);
    }
    kvf_free(spans);
    return spans && fits ? what : 0;
}

/* The same expression in every run. */
static bool agree(kvf_lift *l, uint32_t *root, uint32_t now, const char *name)
{
    if (!l->runs) *root = now;
    if (*root == now) return true;
    kvf_lift_refuse(l, now, "%s are computed in another way when sizes differ", name);
    return false;
}

static kvf_status read_port(kvf_lift *l, kvf_ev *ev, const kvf_contract_port *port)
{
    kvf_cells c = ev->values[port->value];
    kvf_roots *r = &l->roots;
    bool ok = true;
    uint32_t e = 0;
    int head = port->role == KVF_ROLE_LOGITS   ? KVF_LOGITS
               : port->role == KVF_ROLE_POLICY ? KVF_POLICY
               : port->role == KVF_ROLE_VALUE  ? KVF_VALUE
               : port->role == KVF_ROLE_HIDDEN ? KVF_HIDDEN
                                               : -1;
    if (head >= 0) {
        e = read_lines(l, ev, c, kvf_role_name(port->role));
        ok = e && agree(l, &r->head[head], e, kvf_role_name(port->role));
    }
    bool fused = port->role == KVF_ROLE_PRESENT_FUSED;
    if (fused || port->role == KVF_ROLE_PRESENT_KEY) {
        e = read_present(l, ev, c, false, port->layer);
        ok = e && agree(l, &r->key[port->layer], e, "present keys");
    }
    if (ok && (fused || port->role == KVF_ROLE_PRESENT_VALUE)) {
        e = read_present(l, ev, c, true, port->layer);
        ok = e && agree(l, &r->value[port->layer], e, "present values");
    }
    if (ok) return KVF_OK;
    return ev->status ? ev->status : l->x.full ? KVF_ERR_NOMEM : KVF_ERR_MODEL;
}

static bool is_present(kvf_role role)
{
    return role == KVF_ROLE_PRESENT_KEY || role == KVF_ROLE_PRESENT_VALUE ||
           role == KVF_ROLE_PRESENT_FUSED;
}

/* Room for the presents' roots, in the first run. */
static kvf_status make_roots(kvf_lift *l)
{
    bool any = false;
    for (uint32_t i = 0; i < l->contract->n_outputs; i++)
        any |= is_present(l->contract->outputs[i].role);
    if (!any || l->roots.key) return KVF_OK;
    l->roots.key = kvf_array(l->contract->layers, sizeof *l->roots.key);
    l->roots.value = kvf_array(l->contract->layers, sizeof *l->roots.value);
    if (l->roots.key && l->roots.value) return KVF_OK;
    return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: roots of its graph", l->onnx->path);
}

kvf_status kvf_lift_trace(kvf_lift *l, uint32_t fresh, uint32_t before)
{
    kvf_ev ev;
    kvf_probe probe;
    kvf_status status = kvf_probe_make(&probe, l->contract, fresh, before, fresh + before, l->err);
    if (status) return status;
    status = kvf_ev_again(&ev, &l->constants, l->err);
    if (!status) status = make_roots(l);
    if (!status) {
        kvf_trace_next(&l->trace, &probe);
        l->trace.x = &l->x;
        ev.trace = &l->trace;
        ev.round = true;
        kvf_feed feed = {.contract = l->contract, .probe = &probe, .form = KVF_SYMBOL, .x = &l->x};
        kvf_feed_inputs(&ev, &feed);
        status = kvf_ev_run(&ev, false);
        for (uint32_t i = 0; i < l->contract->n_outputs && !status; i++)
            status = read_port(l, &ev, &l->contract->outputs[i]);
        if (ev.status)
            kvf_prefix(l->err, ev.status, "%s: layer %u, ", l->onnx->path, l->trace.layer);
    }
    l->runs++;
    kvf_ev_end(&ev);
    kvf_probe_free(&probe);
    return status;
}

/* ---- heads in files of their own ------------------------------------------------------------- */

static kvf_status trace_head(kvf_lift *l, kvf_ev *ev, kvf_head head, uint32_t rows)
{
    const kvf_graph *g = ev->graph;
    uint32_t hidden = l->plan->hidden, e = 0;
    kvf_probe probe = {.fresh = rows, .rows = rows};
    const kvf_shape *shape = g->values[g->inputs[0]].shape;
    uint32_t rank = shape && shape->rank == 2 ? 2 : 3,
             given = kvf_x_leaf(&l->x, KVF_X_HIDDEN, 0, hidden);
    kvf_trace_next(&l->trace, &probe);
    kvf_cells in = kvf_new(ev, KVF_SYMBOL, shape ? shape->type : KVF_F32, rank,
                           rank == 2 ? (int64_t[]){rows, hidden} : (int64_t[]){1, rows, hidden});
    for (uint64_t i = 0; i < in.count && !ev->status; i++)
        kvf_ints(&in)[i] = kvf_symbol(given, (uint32_t)(i / hidden), (uint32_t)(i % hidden));
    ev->values[g->inputs[0]] = in;
    kvf_status status = kvf_ev_run(ev, false);
    if (!status) e = read_lines(l, ev, ev->values[g->outputs[0]], g->values[g->outputs[0]].name);
    if (!e) return status ? status : ev->status ? ev->status : KVF_ERR_MODEL;
    if (!l->runs) l->roots.head[head] = e;
    if (l->roots.head[head] != e)
        return kvf_lift_refuse(l, e, "it is computed in another way when sizes differ");
    l->runs++;
    return KVF_OK;
}

static kvf_status trace_head_runs(kvf_lift *l, const kvf_ev *constants, kvf_head head)
{
    static const uint32_t rows[] = {3, 1, 4};
    kvf_status status = KVF_OK;
    l->runs = 0;
    for (int i = 0; i < 3 && !status; i++) {
        kvf_ev ev;
        status = kvf_ev_again(&ev, constants, l->err);
        if (status) break;
        ev.trace = &l->trace;
        ev.round = true;
        status = trace_head(l, &ev, head, rows[i]);
        if (ev.status) kvf_prefix(l->err, ev.status, "%s: ", l->onnx->path);
        kvf_ev_end(&ev);
    }
    return status;
}

kvf_status kvf_lift_head(kvf_lift *l, const kvf_onnx *onnx, kvf_head head)
{
    const kvf_onnx *model = l->onnx;
    const kvf_graph *g = onnx->graph;
    const char *name = g->values[g->outputs[0]].name;
    bool *live = kvf_array(g->n_ops, sizeof *live);
    kvf_ev constants = {0};
    if (!live) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its operators", onnx->path);
    kvf_ev_live(g, g->outputs, g->n_outputs, live);
    l->onnx = onnx;
    kvf_status status = kvf_ev_begin(&constants, onnx, live, l->err);
    constants.round = true;
    if (!status) status = kvf_ev_run(&constants, true);
    if (!status) status = trace_head_runs(l, &constants, head);
    uint32_t given = kvf_x_leaf(&l->x, KVF_X_HIDDEN, 0, l->plan->hidden);
    if (!status) status = kvf_lift_stack(l, l->roots.head[head], given, name, &l->plan->head[head]);
    if (!status) status = kvf_lift_check_head(l, &constants, head);
    l->onnx = model;
    kvf_ev_end(&constants);
    kvf_free(live);
    return status;
}
