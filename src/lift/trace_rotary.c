/* trace_rotary.c - elements times known numbers of the position, and when they are a rotation.
 *
 * x * cos + rotate_half(x) * sin, four products of halves, pairs side by side: exporters write the
 * same rotation in many ways. All of them make each element a sum of two elements of x with known
 * factors. So the sums are kept as they are (combos), and when somebody takes a head of them its
 * factors are held against the definition:
 *
 *   y[j] = cos[j] x[j] - sin[j] x[partner],  y[partner] = cos[j] x[partner] + sin[j] x[j]
 *
 * The factors of each position are noted (kvf_turn): they must be the same for all heads and
 * layers, and positions.c explains them by a table or by frequencies. */
#include "trace.h"

#include <math.h>

static const kvf_combos *combos_of(const kvf_trace *t, uint32_t what)
{
    for (uint32_t i = t->n_combos; i-- > 0;)
        if (t->combos[i].what == what) return &t->combos[i];
    return NULL;
}

/* The combos behind an expression and the scalar they are multiplied with. */
static const kvf_combos *scaled_combos(const kvf_trace *t, uint32_t what, double *scale)
{
    const kvf_expr *e = kvf_x(t->x, what);
    *scale = 1;
    if (e->kind == KVF_X_MUL_SCALAR) {
        *scale = e->s;
        what = e->a;
    }
    return kvf_x(t->x, what)->kind == KVF_X_COMBO ? combos_of(t, what) : NULL;
}

bool kvf_trace_is_combo(const kvf_trace *t, const kvf_cells *a)
{
    double scale;
    return a->count && scaled_combos(t, kvf_what_of(kvf_ints(a)[0]), &scale);
}

static kvf_combo *new_combos(kvf_ev *ev, uint32_t n, uint32_t *what)
{
    kvf_trace *t = ev->trace;
    kvf_combo *c = kvf_array(n, sizeof *c);
    kvf_combos *more = c ? kvf_trace_room(ev, t->combos, t->n_combos, sizeof *more) : NULL;
    if (!more) {
        kvf_free(c);
        kvf_ev_no_memory(ev);
        return NULL;
    }
    t->combos = more;
    *what = kvf_x_fresh(t->x, KVF_X_COMBO, n, "multiplies by numbers that depend on the position");
    t->combos[t->n_combos++] = (kvf_combos){*what, n, c};
    return c;
}

kvf_cells kvf_trace_turned(kvf_ev *ev, kvf_cells a, kvf_cells known, uint64_t count)
{
    kvf_trace *t = ev->trace;
    uint32_t what, site = kvf_ev_site(ev);
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_combo *combo = ev->status ? NULL : new_combos(ev, (uint32_t)out.count, &what);
    if (!combo) return (kvf_cells){0};
    kvf_walk w = {.rank = a.rank, .n = 2, .dims = a.dims, .strides = {a.strides, known.strides}};
    for (uint64_t i = 0; i < out.count; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(&a)[w.offset[0]];
        kvf_expr e = *kvf_x(t->x, kvf_what_of(s));
        kvf_factor f = {.value = kvf_floats(&known)[w.offset[1]],
                        .by = 1,
                        .site = site,
                        .at = (uint32_t)(count - 1 - (uint64_t)w.offset[1])};
        if (e.kind == KVF_X_MUL_SCALAR && e.s < 0) { /* the minus of rotate_half */
            s = kvf_symbol(kvf_x_mul_scalar(t->x, e.a, -e.s), kvf_row_of(s), kvf_column_of(s));
            f.value = -f.value;
            f.by = -1;
        }
        combo[i] = (kvf_combo){.element = {s}, .factor = {f}};
        kvf_ints(&out)[i] = kvf_symbol(what, kvf_row_of(s), (uint32_t)i);
    }
    return kvf_trace_checked(ev, out);
}

/* The combo of an element; false if it is none, or has two terms already. */
static bool single(const kvf_trace *t, int64_t s, double sign, int64_t *element, kvf_factor *factor)
{
    double scale;
    const kvf_combos *c = scaled_combos(t, kvf_what_of(s), &scale);
    if (!c || c->combo[kvf_column_of(s)].element[1]) return false;
    *element = c->combo[kvf_column_of(s)].element[0];
    *factor = c->combo[kvf_column_of(s)].factor[0];
    factor->value *= scale * sign;
    factor->by *= scale * sign;
    return true;
}

kvf_cells kvf_trace_sum(kvf_ev *ev, kvf_cells a, kvf_cells b, double sign)
{
    uint32_t what;
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_combo *combo = ev->status ? NULL : new_combos(ev, (uint32_t)out.count, &what);
    if (!combo) return (kvf_cells){0};
    kvf_walk w = {.rank = a.rank, .n = 2, .dims = a.dims, .strides = {a.strides, b.strides}};
    for (uint64_t i = 0; i < out.count; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(&a)[w.offset[0]], r = kvf_ints(&b)[w.offset[1]];
        kvf_combo *c = &combo[i];
        if (!single(ev->trace, s, 1, &c->element[0], &c->factor[0]) ||
            !single(ev->trace, r, sign, &c->element[1], &c->factor[1]) ||
            kvf_row_of(s) != kvf_row_of(r))
            return kvf_trace_opaque(ev, a.type, a.rank, a.dims, "adds what is no rotation");
        kvf_ints(&out)[i] = kvf_symbol(what, kvf_row_of(s), (uint32_t)i);
    }
    return kvf_trace_checked(ev, out);
}

/* ---- heads ----------------------------------------------------------------------------------- */

/* A head of n elements at ids: which elements they are made of. */
typedef struct head {
    const kvf_trace *t;
    const int64_t *ids;
    int64_t stride;
    uint32_t n, row;
    double scale;
} head;

static const kvf_combo *combo_at(const head *h, uint32_t j)
{
    double scale;
    int64_t s = h->ids[(int64_t)j * h->stride];
    const kvf_combos *c = scaled_combos(h->t, kvf_what_of(s), &scale);
    return c && scale == h->scale && kvf_row_of(s) == h->row ? &c->combo[kvf_column_of(s)] : NULL;
}

/* Element j must be own * x[base + j] + other * x[base + partner]. */
static bool read_pair(const head *h, uint32_t j, uint32_t partner, int64_t base, kvf_factor *own,
                      kvf_factor *other)
{
    const kvf_combo *c = combo_at(h, j);
    if (!c) return false;
    for (int i = 0; i < 2; i++)
        if (c->element[i] == base + j && c->element[1 - i] == base + partner) {
            *own = c->factor[i];
            *other = c->factor[1 - i];
            return true;
        }
    return false;
}

static bool is_rotation(const head *h, int64_t base, uint32_t pairs, bool interleaved,
                        kvf_turn *turn)
{
    for (uint32_t j = 0; j < pairs; j++) {
        uint32_t a = interleaved ? 2 * j : j, b = interleaved ? 2 * j + 1 : j + pairs;
        kvf_factor cos_b, minus;
        if (!read_pair(h, a, b, base, &turn->cos[j], &minus) ||
            !read_pair(h, b, a, base, &cos_b, &turn->sin[j]) || cos_b.value != turn->cos[j].value ||
            minus.value != -turn->sin[j].value)
            return false;
    }
    return true;
}

/* Keep what a row's position did, or hold it against what that position did before. */
static bool note_turn(kvf_ev *ev, kvf_turn *turn)
{
    kvf_trace *t = ev->trace;
    bool known = false;
    for (uint32_t i = 0; i < t->n_turns; i++) {
        const kvf_turn *old = &t->turns[i];
        if (old->position != turn->position) continue;
        if (old->pairs != turn->pairs) return false;
        for (uint32_t j = 0; j < turn->pairs; j++)
            if (old->cos[j].value != turn->cos[j].value || old->sin[j].value != turn->sin[j].value)
                return false;
        /* the last row's factors are followed far away from every place that uses them */
        known |= !turn->last || (old->last && old->cos[0].site == turn->cos[0].site);
    }
    if (known) return true;
    kvf_turn copy = *turn;
    copy.cos = kvf_array(2 * (size_t)turn->pairs, sizeof *copy.cos);
    copy.sin = copy.cos + turn->pairs;
    kvf_turn *more = copy.cos ? kvf_trace_room(ev, t->turns, t->n_turns, sizeof *more) : NULL;
    if (!more) {
        kvf_free(copy.cos);
        kvf_ev_no_memory(ev);
        return false;
    }
    t->turns = more;
    for (uint32_t j = 0; j < turn->pairs; j++) {
        copy.cos[j] = turn->cos[j];
        copy.sin[j] = turn->sin[j];
    }
    t->turns[t->n_turns++] = copy;
    return true;
}

static kvf_span rotated(kvf_ev *ev, const head *h, uint32_t pairs, kvf_factor *factors)
{
    kvf_trace *t = ev->trace;
    const kvf_combo *first = combo_at(h, 0);
    kvf_turn turn = {.pairs = pairs, .op = ev->op_index, .cos = factors, .sin = factors + pairs};
    if (h->row < t->probe->rows) {
        turn.position = kvf_probe_position(t->probe, h->row);
        turn.last = h->row + 1 == t->probe->rows;
    }
    for (int form = 0; form < 4 && first; form++) { /* which of two is its own, and how they pair */
        int64_t base = first->element[form & 1];
        bool interleaved = form >> 1;
        if (!base || !is_rotation(h, base, pairs, interleaved, &turn)) continue;
        /* what lies behind the pairs is not turned */
        for (uint32_t j = 2 * pairs; j < h->n; j++)
            if (h->ids[(int64_t)j * h->stride] != base + j) return (kvf_span){0};
        if (h->row < t->probe->rows && !note_turn(ev, &turn)) return (kvf_span){0};
        uint32_t x = kvf_what_of(base);
        uint32_t to = kvf_x_plain(t->x, KVF_X_ROTARY, x, 0, h->n, 2 * pairs + interleaved,
                                  kvf_x(t->x, x)->width);
        to = kvf_x_mul_scalar(t->x, to, h->scale);
        return (kvf_span){.what = to, .row = h->row, .first = kvf_column_of(base), .ok = to != 0};
    }
    return (kvf_span){0};
}

kvf_span kvf_trace_head(kvf_ev *ev, const int64_t *ids, int64_t stride, uint32_t n)
{
    head h = {
        .t = ev->trace, .ids = ids, .stride = stride, .n = n, .row = n ? kvf_row_of(ids[0]) : 0};
    if (!n || !scaled_combos(h.t, kvf_what_of(ids[0]), &h.scale))
        return kvf_trace_span(ids, stride, n);
    uint32_t turned = 0;
    while (turned < n && combo_at(&h, turned)) turned++;
    kvf_factor *factors = kvf_array(turned + 1, sizeof *factors);
    if (!factors) kvf_ev_no_memory(ev);
    kvf_span s = factors && turned % 2 == 0 ? rotated(ev, &h, turned / 2, factors) : (kvf_span){0};
    kvf_free(factors);
    return s;
}
