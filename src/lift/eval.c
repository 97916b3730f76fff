/* eval.c - running a graph: what is alive, which operator does it, where values live and die. */
#include "eval.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failures -------------------------------------------------------------------------------- */

kvf_cells kvf_ev_fail(kvf_ev *ev, const char *fmt, ...)
{
    if (ev->status) return (kvf_cells){0};
    char msg[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(msg, sizeof msg, fmt, args);
    va_end(args);
    ev->status = KVF_ERR_MODEL;
    if (ev->op)
        kvf_fail(ev->err, ev->status, "%s%s%s '%.120s': %s", ev->op->domain,
                 ev->op->domain[0] ? "::" : "", ev->op->type, ev->op->name, msg);
    else
        kvf_fail(ev->err, ev->status, "%s", msg);
    return (kvf_cells){0};
}

kvf_cells kvf_ev_no_memory(kvf_ev *ev)
{
    if (!ev->status)
        ev->status = kvf_fail(ev->err, KVF_ERR_NOMEM, "evaluating the graph takes too much memory");
    return (kvf_cells){0};
}

uint32_t kvf_ev_site(const kvf_ev *ev)
{
    return ev->op_index << 8 | (ev->calls & 255);
}

bool kvf_spend(kvf_ev *ev, uint64_t work)
{
    if (ev->status) return false;
    if (work > ev->work) {
        kvf_ev_fail(ev, "evaluating the graph takes too long: its sizes are not a decoder's");
        return false;
    }
    ev->work -= work;
    return true;
}

/* ---- new tensors ----------------------------------------------------------------------------- */

kvf_cells kvf_new(kvf_ev *ev, kvf_form form, kvf_type type, uint32_t rank, const int64_t *dims)
{
    kvf_cells c = {.type = type, .form = form, .rank = rank};
    if (ev->status) return (kvf_cells){0};
    if (rank > KVF_MAX_RANK) return kvf_ev_fail(ev, "rank %u, but at most 8 are known", rank);
    if (rank) memcpy(c.dims, dims, rank * sizeof *dims);
    if (!kvf_cells_count(rank, dims, &c.count) || (form != KVF_SHAPE && c.count > KVF_MAX_CELLS))
        return kvf_ev_fail(ev, "a tensor of that size cannot be evaluated");
    kvf_cells_set_dense(&c);
    if (form == KVF_SHAPE || !kvf_spend(ev, c.count + 16)) return c;
    c.held = form == KVF_SYMBOL || !kvf_is_float(type) ? KVF_I64 : KVF_F64;
    c.data = kvf_pool_take(&ev->pool, (c.count ? c.count : 1) * 8, &c.store);
    if (!c.data) return kvf_ev_no_memory(ev);
    return c;
}

kvf_cells kvf_number(kvf_ev *ev, kvf_type type, double value)
{
    kvf_cells c = kvf_new(ev, KVF_KNOWN, type, 0, NULL);
    if (!kvf_given(&c)) return c;
    if (c.held == KVF_F64)
        kvf_floats(&c)[0] = value;
    else
        kvf_ints(&c)[0] = (int64_t)value;
    return c;
}

kvf_cells kvf_integers(kvf_ev *ev, uint32_t n, const int64_t *values)
{
    kvf_cells c = kvf_new(ev, KVF_KNOWN, KVF_I64, 1, (int64_t[]){n});
    if (kvf_given(&c) && n) memcpy(kvf_ints(&c), values, n * sizeof *values);
    return c;
}

static kvf_cells copy_cells(kvf_ev *ev, kvf_cells c)
{
    if (!kvf_type_bits(c.held) || kvf_type_bits(c.held) % 8)
        return kvf_ev_fail(ev, "elements of type %s are not known", kvf_type_name(c.type));
    kvf_cells d = kvf_new(ev, c.form, c.type, c.rank, c.dims);
    if (!kvf_given(&d)) return d;
    d.moving = c.moving;
    kvf_walk w = {.rank = c.rank, .n = 1, .dims = c.dims, .strides = {c.strides}};
    for (uint64_t i = 0; i < c.count; i++, kvf_step(&w)) {
        if (d.held == KVF_F64)
            kvf_floats(&d)[i] = kvf_cell_f(&c, w.offset[0]);
        else
            kvf_ints(&d)[i] = kvf_cell_i(&c, w.offset[0]);
    }
    return d;
}

kvf_cells kvf_load(kvf_ev *ev, kvf_cells c)
{
    return ev->status || c.form == KVF_SHAPE || c.store ? c : copy_cells(ev, c);
}

kvf_cells kvf_dense(kvf_ev *ev, kvf_cells c)
{
    if (ev->status || c.form == KVF_SHAPE || (c.store && kvf_cells_dense(&c))) return c;
    return copy_cells(ev, c);
}

bool kvf_take_ints(kvf_ev *ev, const kvf_cells *c, const char *what, uint32_t max, int64_t *out,
                   uint32_t *n)
{
    if (ev->status) return false;
    if (!kvf_given(c) || c->form != KVF_KNOWN || kvf_is_float(c->type) || c->rank > 1 ||
        c->count > max) {
        kvf_ev_fail(ev, "%s is not a known list of at most %u integers", what, max);
        return false;
    }
    *n = (uint32_t)c->count;
    for (uint32_t i = 0; i < *n; i++) out[i] = kvf_cell_i(c, kvf_cell_offset(c, i));
    return true;
}

bool kvf_take_axis(kvf_ev *ev, int64_t axis, uint32_t rank, uint32_t *out)
{
    if (ev->status) return false;
    if (axis < -(int64_t)rank || axis >= (int64_t)rank) {
        kvf_ev_fail(ev, "axis %lld of a tensor of rank %u", (long long)axis, rank);
        return false;
    }
    *out = (uint32_t)(axis < 0 ? axis + rank : axis);
    return true;
}

int64_t kvf_ev_opset(const kvf_ev *ev)
{
    return kvf_onnx_opset(ev->onnx, "");
}

bool kvf_ev_flag(kvf_ev *ev, const char *name, bool missing)
{
    int64_t flag = kvf_op_int(ev->op, name, missing);
    if (flag != 0 && flag != 1)
        kvf_ev_fail(ev, "%s is %lld, but should be 0 or 1", name, (long long)flag);
    return flag == 1;
}

bool kvf_attr_or_input(kvf_ev *ev, const char *attr, const kvf_cells *input, int64_t *out,
                       uint32_t *n)
{
    const kvf_attr *a = kvf_op_attr(ev->op, attr);
    *n = 0;
    if (ev->status) return false;
    if (a && a->ints) {
        if (a->n > KVF_MAX_RANK) {
            kvf_ev_fail(ev, "attribute %s has %llu integers", attr, (unsigned long long)a->n);
            return false;
        }
        *n = (uint32_t)a->n;
        memcpy(out, a->ints, a->n * sizeof *out);
        return true;
    }
    return !kvf_given(input) || kvf_take_ints(ev, input, attr, KVF_MAX_RANK, out, n);
}

/* ---- the run --------------------------------------------------------------------------------- */

uint32_t kvf_ev_live(const kvf_graph *graph, const uint32_t *outputs, uint32_t n_outputs,
                     bool *live)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < graph->n_ops; i++) live[i] = false;
    for (uint32_t i = 0; i < n_outputs; i++)
        if (graph->values[outputs[i]].producer >= 0)
            live[graph->values[outputs[i]].producer] = true;
    /* Ops are in an order in which everything is written before it is read. */
    for (uint32_t o = graph->n_ops; o-- > 0;) {
        const kvf_op *op = &graph->ops[o];
        if (!live[o]) continue;
        n++;
        for (uint32_t i = 0; i < op->n_inputs; i++) {
            if (op->inputs[i] == KVF_NO_VALUE) continue;
            int32_t producer = graph->values[op->inputs[i]].producer;
            if (producer >= 0) live[producer] = true;
        }
    }
    return n;
}

kvf_status kvf_ev_begin(kvf_ev *ev, const kvf_onnx *onnx, const bool *live, kvf_error *err)
{
    const kvf_graph *g = onnx->graph;
    *ev = (kvf_ev){.onnx = onnx, .graph = g, .live = live, .err = err, .work = 1u << 30};
    ev->pool.limit = (uint64_t)1 << 30;
    ev->values = kvf_array(g->n_values, sizeof *ev->values);
    ev->last_use = kvf_array(g->n_values, sizeof *ev->last_use);
    ev->keep = g->outputs;
    ev->n_keep = g->n_outputs;
    if (!ev->values || !ev->last_use) {
        kvf_ev_end(ev);
        return kvf_fail(err, KVF_ERR_NOMEM, "%s: values of the graph", onnx->path);
    }
    for (uint32_t o = 0; o < g->n_ops; o++)
        for (uint32_t i = 0; live[o] && i < g->ops[o].n_inputs; i++)
            if (g->ops[o].inputs[i] != KVF_NO_VALUE) ev->last_use[g->ops[o].inputs[i]] = o;
    for (uint32_t i = 0; i < g->n_outputs; i++) ev->last_use[g->outputs[i]] = UINT32_MAX;
    for (uint32_t v = 0; v < g->n_values; v++)
        if (g->values[v].initializer) ev->values[v] = kvf_cells_of(g->values[v].initializer);
    return KVF_OK;
}

kvf_status kvf_ev_again(kvf_ev *ev, const kvf_ev *constants, kvf_error *err)
{
    kvf_status status = kvf_ev_begin(ev, constants->onnx, constants->live, err);
    if (!status) memcpy(ev->values, constants->values, ev->graph->n_values * sizeof *ev->values);
    return status;
}

void kvf_ev_end(kvf_ev *ev)
{
    kvf_pool_free(&ev->pool);
    kvf_free(ev->values);
    kvf_free(ev->last_use);
    ev->values = NULL;
    ev->last_use = NULL;
}

/* Free the blocks that no value needs after op. Temporaries of operators go this way too: nobody
 * has to remember them. */
static void sweep(kvf_ev *ev, uint32_t op)
{
    for (uint32_t v = 0; v < ev->graph->n_values; v++) {
        kvf_cells *c = &ev->values[v];
        if (!c->store) continue;
        if (ev->last_use[v] > op)
            c->store->used = 1;
        else
            *c = (kvf_cells){0};
    }
    for (kvf_store **s = &ev->pool.first; *s;) {
        kvf_store *this = *s;
        if (this->used) {
            this->used = 0;
            s = &this->next;
        } else {
            *s = this->next;
            ev->pool.bytes -= this->bytes;
            kvf_free(this);
        }
    }
    ev->swept = ev->pool.bytes;
}

static kvf_operator *find_operator(const kvf_op *op)
{
    static const kvf_operator_row *const tables[] = {kvf_ops_move, kvf_ops_math, kvf_ops_linear,
                                                     kvf_ops_fused};
    for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
        for (const kvf_operator_row *r = tables[t]; r->type; r++)
            if (!strcmp(r->type, op->type) && kvf_op_is(op, r->domain, r->type)) return r->run;
    return NULL;
}

static bool all_constant(const kvf_ev *ev, const kvf_op *op)
{
    for (uint32_t i = 0; i < op->n_inputs; i++) {
        if (op->inputs[i] == KVF_NO_VALUE) continue;
        const kvf_cells *c = &ev->values[op->inputs[i]];
        if (!kvf_given(c) || c->form != KVF_KNOWN || c->moving) return false;
    }
    return true;
}

static void run_op(kvf_ev *ev, const kvf_op *op, kvf_cells *in)
{
    kvf_cells out[KVF_MAX_OUTPUTS] = {{0}};
    kvf_operator *run = find_operator(op);
    if (!run || op->n_outputs > KVF_MAX_OUTPUTS) {
        kvf_ev_fail(ev, run ? "has too many outputs" : "is not known to the native plan");
        return;
    }
    bool shape_known = false, moving = false;
    for (uint32_t i = 0; i < op->n_inputs; i++) {
        if (op->inputs[i] == KVF_NO_VALUE) continue;
        in[i] = ev->values[op->inputs[i]];
        moving |= in[i].moving;
        shape_known |= in[i].form != KVF_KNOWN;
        if (!kvf_given(&in[i])) kvf_ev_fail(ev, "input %u has no value", i);
    }
    if (ev->status) return;
    run(ev, in, out);
    for (uint32_t i = 0; i < op->n_outputs && !ev->status; i++) {
        if (op->outputs[i] == KVF_NO_VALUE) continue;
        bool wanted = ev->last_use[op->outputs[i]] > ev->op_index;
        if (!kvf_given(&out[i]) && wanted) kvf_ev_fail(ev, "output %u is not known", i);
        /* A number made from what moves, or from the shape of what is not a number, moves. */
        if (out[i].form == KVF_KNOWN) out[i].moving |= moving || shape_known;
        ev->values[op->outputs[i]] = out[i];
    }
}

kvf_status kvf_ev_run(kvf_ev *ev, bool constant)
{
    uint32_t widest = 16;
    for (uint32_t o = 0; o < ev->graph->n_ops; o++)
        if (ev->graph->ops[o].n_inputs > widest) widest = ev->graph->ops[o].n_inputs;
    kvf_cells *in = kvf_array(widest, sizeof *in);
    if (!in) return ev->status = kvf_fail(ev->err, KVF_ERR_NOMEM, "inputs of an operator");
    for (uint32_t o = 0; o < ev->graph->n_ops && !ev->status; o++) {
        const kvf_op *op = &ev->graph->ops[o];
        uint32_t first = op->n_outputs ? op->outputs[0] : KVF_NO_VALUE;
        if (!ev->live[o] || (first != KVF_NO_VALUE && kvf_given(&ev->values[first]))) continue;
        if (constant && !all_constant(ev, op)) continue;
        ev->op = op;
        ev->op_index = o;
        ev->calls = 0;
        memset(in, 0, (op->n_inputs < 16 ? 16 : op->n_inputs) * sizeof *in);
        run_op(ev, op, in);
        if (!constant && ev->pool.bytes - ev->swept > (uint64_t)32 << 20) sweep(ev, o);
    }
    ev->op = NULL;
    kvf_free(in);
    return ev->status;
}
