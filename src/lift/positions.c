/* positions.c - what positions do: which table or frequencies explain it, and does it hold far off.
 *
 * The traced runs noted the numbers that were added to rows, or turned them, for a few
 * positions. Here they are explained: by a table of the file whose rows they are, or, for
 * rotations, by angles that are a position times a frequency. Then the graph is run far beyond
 * every constant that it computes with (far.h), and what it does there must be what the
 * explanation says. */
#include "far.h"
#include "lift.h"

#include <math.h>
#include <string.h>

enum {
    MAX_OFFSET = 16,       /* rows that a table may have before position 0 */
    MAX_POINTS = 48,       /* far runs */
    FAR_LIMIT = 1 << 18,   /* tokens of a far run: a line of a mask */
    SQUARE_LIMIT = 1024,   /* the same where masks are squares: graphs without a past */
    SENTINEL = 0x7fffffff, /* "to the end" in slices */
};

/* A constant tensor as lines: the last two axes that are not 1. */
typedef struct table {
    const kvf_cells *cells;
    uint32_t rows, columns, offset, step;
} table;

static bool as_table(const kvf_cells *c, table *t)
{
    uint64_t lead = 1;
    for (uint32_t a = 0; a + 2 < c->rank; a++) lead *= (uint64_t)c->dims[a];
    if (c->rank < 2 || lead != 1 || c->dims[c->rank - 2] > INT32_MAX ||
        c->dims[c->rank - 1] > INT32_MAX)
        return false;
    *t = (table){.cells = c,
                 .rows = (uint32_t)c->dims[c->rank - 2],
                 .columns = (uint32_t)c->dims[c->rank - 1],
                 .step = 1};
    return true;
}

static double table_at(const table *t, uint32_t position, uint32_t column)
{
    uint32_t r = t->cells->rank;
    return kvf_cell_f(t->cells, (int64_t)(position + t->offset) * t->cells->strides[r - 2] +
                                    (int64_t)column * t->step * t->cells->strides[r - 1]);
}

static bool table_has(const table *t, uint32_t position, uint32_t columns)
{
    return (uint64_t)position + t->offset < t->rows && columns &&
           (uint64_t)(columns - 1) * t->step < t->columns;
}

static bool line_fits(const table *t, uint32_t position, const kvf_factor *f, uint32_t n)
{
    if (!table_has(t, position, n)) return false;
    for (uint32_t c = 0; c < n; c++)
        if ((float)table_at(t, position, c) != (float)f[c].value) return false;
    return true;
}

/* ---- positions that are added ---------------------------------------------------------------- */

static bool shifts_fit(const kvf_lift *l, const table *t)
{
    const kvf_trace *tr = &l->trace;
    for (uint32_t i = 0; i < tr->n_shifts; i++)
        if (tr->shifts[i].site == l->position_site &&
            !line_fits(t, tr->shifts[i].position, tr->shifts[i].value, tr->shifts[i].width))
            return false;
    return true;
}

static kvf_status explain_shifts(kvf_lift *l, table *found)
{
    kvf_plan *p = l->plan;
    for (uint32_t i = 0; i < l->trace.n_tables; i++) {
        if (!as_table(&l->trace.tables[i], found) || found->columns != p->hidden) continue;
        for (found->offset = 0; found->offset < MAX_OFFSET; found->offset++) {
            if (!shifts_fit(l, found)) continue;
            const kvf_cells *c = found->cells;
            kvf_matrix *w = &p->position_embedding;
            *w = (kvf_matrix){.data = c->data,
                              .type = c->held,
                              .in = found->rows,
                              .out = p->hidden,
                              .stride_in = c->strides[c->rank - 2],
                              .stride_out = c->strides[c->rank - 1]};
            p->position_offset = found->offset;
            p->context = found->rows - found->offset;
            if (!c->store) return KVF_OK;
            float *own = kvf_lift_take(l, (uint64_t)found->rows * p->hidden, sizeof *own);
            if (!own) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its positions", l->onnx->path);
            for (uint64_t k = 0; k < (uint64_t)found->rows * p->hidden; k++)
                own[k] = (float)kvf_cell_f(c, (int64_t)(k / p->hidden) * w->stride_in +
                                                  (int64_t)(k % p->hidden) * w->stride_out);
            *w = (kvf_matrix){.data = own,
                              .type = KVF_F32,
                              .in = found->rows,
                              .out = p->hidden,
                              .stride_in = p->hidden,
                              .stride_out = 1};
            return KVF_OK;
        }
    }
    return kvf_lift_refuse(l, 0, "what is added for positions are not rows of a table of the file");
}

/* ---- positions that turn --------------------------------------------------------------------- */

typedef struct rotation {
    table cos, sin;
    bool by_table;
    double scale;
} rotation;

static bool turns_fit(const kvf_lift *l, const table *t, bool sine)
{
    for (uint32_t i = 0; i < l->trace.n_turns; i++) {
        const kvf_turn *turn = &l->trace.turns[i];
        if (!line_fits(t, turn->position, sine ? turn->sin : turn->cos, turn->pairs)) return false;
    }
    return true;
}

static bool find_table(const kvf_lift *l, table *found, bool sine)
{
    for (uint32_t i = 0; i < l->trace.n_tables; i++) {
        if (!as_table(&l->trace.tables[i], found)) continue;
        for (found->offset = 0; found->offset < MAX_OFFSET; found->offset++)
            for (found->step = 1; found->step <= 2; found->step++)
                if (turns_fit(l, found, sine)) return true;
    }
    return false;
}

static kvf_status copy_tables(kvf_lift *l, const rotation *r)
{
    kvf_rotary *to = &l->plan->rotary;
    uint32_t a = r->cos.rows - r->cos.offset, b = r->sin.rows - r->sin.offset;
    to->rows = a < b ? a : b;
    float *cos = kvf_lift_take(l, (uint64_t)to->rows * to->pairs, sizeof *cos);
    float *sin = kvf_lift_take(l, (uint64_t)to->rows * to->pairs, sizeof *sin);
    if (!cos || !sin) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its positions", l->onnx->path);
    for (uint32_t p = 0; p < to->rows; p++)
        for (uint32_t j = 0; j < to->pairs; j++) {
            cos[(size_t)p * to->pairs + j] = (float)table_at(&r->cos, p, j);
            sin[(size_t)p * to->pairs + j] = (float)table_at(&r->sin, p, j);
        }
    to->cos = cos;
    to->sin = sin;
    to->scale = 1;
    if (!l->plan->context || to->rows < l->plan->context) l->plan->context = to->rows;
    return KVF_OK;
}

/* The cosine and sine that the plan would turn pair j with. */
static void predicted(const kvf_rotary *r, uint32_t position, uint32_t j, double *cosine,
                      double *sine)
{
    if (r->rows) {
        *cosine = r->cos[(size_t)position * r->pairs + j];
        *sine = r->sin[(size_t)position * r->pairs + j];
    } else {
        float angle = (float)position * r->frequencies[j];
        *cosine = cos((double)angle) * r->scale;
        *sine = sin((double)angle) * r->scale;
    }
}

/* Factors of a turn as a far run computed them; false if it did not come by that place. */
static bool far_factor(const kvf_far *far, const kvf_factor *f, double *out)
{
    for (uint32_t i = 0; i < far->n_wanted; i++) {
        if (far->wanted[i] != f->site || f->at >= far->kept[i].n || !far->kept[i].v) continue;
        *out = f->by * far->kept[i].v[far->kept[i].n - 1 - f->at];
        return true;
    }
    return false;
}

/* Frequencies: the angles of position 1, if the small runs' factors are their cosines and sines. */
static bool try_angles(kvf_lift *l, const kvf_far *one, const kvf_kept *angles, uint32_t step)
{
    kvf_rotary *r = &l->plan->rotary;
    float *f = (float *)(uintptr_t)r->frequencies;
    if (angles->n < (uint64_t)(r->pairs - 1) * step + 1 || !angles->v) return false;
    /* of the last of the run's rows */
    uint32_t line =
        angles->n % r->pairs == 0 && angles->n / r->pairs > step ? r->pairs * step : angles->n;
    for (uint32_t j = 0; j < r->pairs; j++) f[j] = (float)angles->v[angles->n - line + j * step];
    const kvf_turn *turn = NULL;
    for (uint32_t i = 0; i < l->trace.n_turns && !turn; i++)
        if (l->trace.turns[i].last) turn = &l->trace.turns[i];
    double c, s;
    if (!turn || !far_factor(one, &turn->cos[0], &c) || !far_factor(one, &turn->sin[0], &s))
        return false;
    r->scale = (float)sqrt(c * c + s * s);
    if (fabs(r->scale - 1) < 1e-6) r->scale = 1;
    for (uint32_t i = 0; i < l->trace.n_turns; i++)
        for (uint32_t j = 0; j < r->pairs; j++) {
            predicted(r, l->trace.turns[i].position, j, &c, &s);
            if (fabs(c - l->trace.turns[i].cos[j].value) > 2e-6 ||
                fabs(s - l->trace.turns[i].sin[j].value) > 2e-6)
                return false;
        }
    return true;
}

static kvf_status far_run(kvf_lift *l, uint32_t fresh, uint32_t before, kvf_far *far,
                          kvf_probe *probe);

static kvf_status explain_turns(kvf_lift *l)
{
    kvf_rotary *r = &l->plan->rotary;
    rotation how = {0};
    if (find_table(l, &how.cos, false) && find_table(l, &how.sin, true))
        return copy_tables(l, &how);
    float *f = kvf_lift_take(l, r->pairs, sizeof *f);
    if (!f) return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: its positions", l->onnx->path);
    r->frequencies = f;
    kvf_far one;
    kvf_probe probe;
    kvf_status status = far_run(l, 1, 1, &one, &probe);
    bool found = false;
    for (uint32_t i = 0; i < one.n_angles && !found && !status; i++)
        found = try_angles(l, &one, &one.angles[i], 1) || try_angles(l, &one, &one.angles[i], 2);
    kvf_far_free(&one);
    if (status || found) return status;
    return kvf_lift_refuse(l, 0,
                           "what turns queries and keys is neither a table of the file nor "
                           "positions times frequencies");
}

/* ---- far away -------------------------------------------------------------------------------- */

/* Sites whose known operands say what positions do. */
static uint32_t *wanted_sites(const kvf_lift *l, uint32_t *n)
{
    const kvf_trace *t = &l->trace;
    uint32_t *sites = kvf_array(2 * (size_t)t->n_turns + 1, sizeof *sites);
    *n = 0;
    for (uint32_t i = 0; sites && i < 2 * t->n_turns + 1; i++) {
        const kvf_turn *turn = i / 2 < t->n_turns ? &t->turns[i / 2] : NULL;
        bool end = !turn, known = end ? !l->has_positions : !turn->last;
        uint32_t site = end ? l->position_site : i % 2 ? turn->sin[0].site : turn->cos[0].site;
        for (uint32_t k = 0; k < *n; k++) known |= sites[k] == site;
        if (!known) sites[(*n)++] = site;
    }
    return sites;
}

static bool present_fits(const kvf_lift *l, const kvf_probe *p, const kvf_cells *c)
{
    uint32_t axis = l->contract->layout == KVF_LAYOUT_LENGTH  ? 1
                    : l->contract->layout == KVF_LAYOUT_FUSED ? 3
                                                              : 2;
    return c->rank > axis && c->dims[axis] == p->rows;
}

static kvf_status check_far_outputs(kvf_lift *l, const kvf_ev *ev, const kvf_probe *p)
{
    for (uint32_t i = 0; i < l->contract->n_outputs; i++) {
        const kvf_contract_port *port = &l->contract->outputs[i];
        bool present = port->role >= KVF_ROLE_PRESENT_KEY && port->role <= KVF_ROLE_PRESENT_FUSED;
        if (present && !present_fits(l, p, &ev->values[port->value]))
            return kvf_lift_refuse(
                l, 0, "with %u tokens present keys or values of layer %u do not hold all of them",
                p->rows, port->layer);
    }
    return KVF_OK;
}

static kvf_status far_run(kvf_lift *l, uint32_t fresh, uint32_t before, kvf_far *far,
                          kvf_probe *probe)
{
    kvf_ev ev;
    uint32_t n;
    uint32_t *wanted = wanted_sites(l, &n);
    *probe = kvf_probe_far(l->contract, fresh, before);
    *far = (kvf_far){.probe = probe,
                     .masks = l->trace.mask_sites,
                     .n_masks = l->trace.n_mask_sites,
                     .wanted = wanted,
                     .n_wanted = n,
                     .kept = kvf_array(n, sizeof *far->kept)};
    if (!wanted || !far->kept)
        return kvf_fail(l->err, KVF_ERR_NOMEM, "%s: a far run", l->onnx->path);
    kvf_status status = kvf_ev_again(&ev, &l->constants, l->err);
    if (!status) {
        kvf_feed feed = {.contract = l->contract, .probe = probe, .form = KVF_SHAPE};
        ev.far = far;
        ev.round = true;
        kvf_feed_inputs(&ev, &feed);
        status = kvf_ev_run(&ev, false);
        if (status)
            kvf_prefix(l->err, status, "%s: layer %u, ", l->onnx->path,
                       kvf_lift_layer_of(l, ev.op_index));
        if (!status) status = check_far_outputs(l, &ev, probe);
    }
    kvf_ev_end(&ev);
    return status;
}

static bool turn_holds(const kvf_lift *l, const kvf_far *far, const kvf_turn *turn,
                       uint32_t position)
{
    for (uint32_t j = 0; j < turn->pairs; j++) {
        double c, s, pc, ps;
        if (!far_factor(far, &turn->cos[j], &c) || !far_factor(far, &turn->sin[j], &s))
            return false;
        predicted(&l->plan->rotary, position, j, &pc, &ps);
        /* angles are rounded to f32 before their cosine is taken */
        double slack =
            2e-6 + (l->plan->rotary.rows ? 0 : 2e-7 * position * l->plan->rotary.frequencies[j]);
        if (fabs(c - pc) > slack || fabs(s - ps) > slack) return false;
    }
    return true;
}

static kvf_status check_far(kvf_lift *l, uint32_t before, const table *added)
{
    kvf_far far;
    kvf_probe probe;
    kvf_status status = far_run(l, 2, before, &far, &probe);
    uint32_t position = probe.rows - 1;
    const kvf_trace *t = &l->trace;
    for (uint32_t i = 0; i < t->n_turns && !status; i++)
        if (t->turns[i].last && !turn_holds(l, &far, &t->turns[i], position))
            status = kvf_lift_refuse(l, 0, "rotary positions are another function at position %u",
                                     position);
    for (uint32_t i = 0; i < t->n_shifts && !status && l->has_positions; i++) {
        if (!t->shifts[i].last || t->shifts[i].site != l->position_site) continue;
        for (uint32_t c = 0; c < t->shifts[i].width && !status; c++) {
            double v = 0;
            bool same = far_factor(&far, &t->shifts[i].value[c], &v) &&
                        (float)v == (float)table_at(added, position, c);
            if (!same)
                status =
                    kvf_lift_refuse(l, 0, "position embeddings are another function at position %u",
                                    position);
        }
    }
    kvf_far_free(&far);
    return status;
}

static void add_point(uint32_t *points, uint32_t *n, double v, uint32_t limit)
{
    if (!(v > 4 && v < limit)) return;
    for (uint32_t i = 0; i < *n; i++)
        if (points[i] == (uint32_t)v) return;
    if (*n < MAX_POINTS) points[(*n)++] = (uint32_t)v;
}

/* Just behind every constant that meets sizes, masks or positions: there a window or a limit
 * would show. Constants too large to go behind bound the context instead. */
static uint32_t far_points(kvf_lift *l, uint32_t *points, uint32_t limit, bool *beyond)
{
    const kvf_graph *g = l->onnx->graph;
    uint32_t n = 0;
    for (uint32_t o = 0; o < g->n_ops; o++) {
        const kvf_op *op = &g->ops[o];
        bool moving = false;
        for (uint32_t i = 0; i < op->n_inputs; i++)
            moving |=
                op->inputs[i] != KVF_NO_VALUE && !kvf_given(&l->constants.values[op->inputs[i]]);
        for (uint32_t i = 0; i < op->n_inputs && l->live[o] && moving; i++) {
            if (op->inputs[i] == KVF_NO_VALUE) continue;
            const kvf_cells *c = &l->constants.values[op->inputs[i]];
            if (!kvf_given(c) || c->count > (kvf_is_float(c->type) ? 1 : 64)) continue;
            for (uint64_t k = 0; k < c->count; k++) {
                double v = kvf_cell_f(c, kvf_cell_offset(c, k));
                if (kvf_is_float(c->type) && v <= -9999) continue; /* what a mask adds */
                v = fabs(v);
                if (v != floor(v) || v >= SENTINEL) continue;
                *beyond |= v + 1 >= limit;
                add_point(points, &n, v + 1, limit);
            }
        }
    }
    return n;
}

/* The side of the largest square that the graph has as a constant beside its weights: a mask in a
 * table, of which every row may say something else. 0 if there is none. */
static uint32_t square_table(const kvf_lift *l)
{
    const kvf_graph *g = l->onnx->graph;
    int64_t side = 0;
    for (uint32_t o = 0; o < g->n_ops; o++)
        for (uint32_t i = 0; i < g->ops[o].n_inputs && l->live[o]; i++) {
            if (g->ops[o].inputs[i] == KVF_NO_VALUE) continue;
            const kvf_cells *c = &l->constants.values[g->ops[o].inputs[i]];
            bool square = kvf_given(c) && c->rank > (kvf_is_float(c->type) ? 2 : 1) &&
                          c->dims[c->rank - 1] == c->dims[c->rank - 2];
            if (square && c->dims[c->rank - 1] > side) side = c->dims[c->rank - 1];
        }
    return side < FAR_LIMIT ? (uint32_t)side : FAR_LIMIT;
}

/* Where a mask is a table, look at all of its rows: some at a time behind a past, else at once. */
static kvf_status check_table(kvf_lift *l, uint32_t rows, bool has_past)
{
    enum { SOME = 64 };
    kvf_status status = KVF_OK;
    for (uint32_t at = 0, n; at + 2 < rows && !status; at += n) {
        kvf_far far;
        kvf_probe probe;
        n = !has_past ? rows : rows - at < SOME ? rows - at : SOME;
        status = has_past ? far_run(l, n, at, &far, &probe) : far_run(l, 2, rows - 2, &far, &probe);
        kvf_far_free(&far);
    }
    return status;
}

kvf_status kvf_lift_positions(kvf_lift *l)
{
    kvf_plan *p = l->plan;
    table added = {0};
    uint32_t points[MAX_POINTS];
    kvf_probe probe = kvf_probe_far(l->contract, 2, 1);
    kvf_status status = l->has_positions ? explain_shifts(l, &added) : KVF_OK;
    if (!status && p->rotary.pairs) status = explain_turns(l);
    if (status) return status;
    uint32_t limit = probe.past ? FAR_LIMIT : SQUARE_LIMIT;
    bool beyond = false;
    if (p->context && p->context < limit) limit = p->context > 2 ? p->context - 1 : 0;
    uint32_t n = far_points(l, points, limit, &beyond);
    if (p->context && probe.past) add_point(points, &n, (double)p->context - 2, limit);
    add_point(points, &n, probe.past ? 5000 : 300, limit);
    for (uint32_t i = 0; i < n && !status; i++) status = check_far(l, points[i], &added);
    uint32_t rows = square_table(l);
    if (p->context && p->context < rows) rows = p->context;
    if (!status) status = check_table(l, rows < limit ? rows : limit, probe.past != 0);
    if (beyond && (!p->context || p->context > limit + 1)) p->context = limit + 1;
    return status;
}
