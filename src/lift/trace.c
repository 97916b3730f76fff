/* trace.c - arithmetic on names, element by element.
 *
 * Each operation looks at the names of its operands and decides what the results are called. It
 * owns: functions of one, sums and products, choices, what becomes of known numbers. Left to
 * trace_heads.c: whatever takes a whole row of elements at once. */
#include "trace.h"

#include <math.h>
#include <string.h>

void kvf_trace_free(kvf_trace *t)
{
    for (uint32_t i = 0; i < t->n_combos; i++) kvf_free(t->combos[i].combo);
    for (uint32_t i = 0; i < t->n_masks; i++) kvf_free(t->masks[i].hidden);
    for (uint32_t i = 0; i < t->n_turns; i++) kvf_free(t->turns[i].cos);
    for (uint32_t i = 0; i < t->n_shifts; i++) kvf_free(t->shifts[i].value);
    kvf_free(t->combos);
    kvf_free(t->masks);
    kvf_free(t->turns);
    kvf_free(t->shifts);
    kvf_free(t->pasts);
    kvf_free(t->mask_sites);
    *t = (kvf_trace){0};
}

void kvf_trace_next(kvf_trace *t, const kvf_probe *probe)
{
    for (uint32_t i = 0; i < t->n_combos; i++) kvf_free(t->combos[i].combo);
    for (uint32_t i = 0; i < t->n_masks; i++) kvf_free(t->masks[i].hidden);
    t->n_combos = t->n_masks = 0;
    t->probe = probe;
    t->extra = t->layer = 0;
}

uint32_t kvf_trace_rows(const kvf_trace *t)
{
    return t->probe->rows + t->extra;
}

void *kvf_trace_room(kvf_ev *ev, void *array, uint32_t n, size_t size)
{
    if (n & (n - 1)) return array;
    void *more = kvf_resize(array, n ? 2 * (size_t)n : 1, size);
    if (!more) kvf_ev_no_memory(ev);
    return more;
}

/* Memory ran out in the expressions: say so once. */
kvf_cells kvf_trace_checked(kvf_ev *ev, kvf_cells out)
{
    return ev->trace->x->full ? kvf_ev_no_memory(ev) : out;
}

kvf_cells kvf_trace_new(kvf_ev *ev, kvf_type type, uint32_t rank, const int64_t *dims)
{
    ev->trace->x->op = ev->op_index;
    kvf_cells c = kvf_new(ev, KVF_SYMBOL, type, rank, dims);
    if (!ev->status && c.count >= KVF_MAX_COLUMNS) return kvf_ev_fail(ev, "a tensor is too large");
    return c;
}

static kvf_cells fresh(kvf_ev *ev, kvf_expr_kind kind, kvf_type type, uint32_t rank,
                       const int64_t *dims, const char *why)
{
    kvf_cells out = kvf_trace_new(ev, type, rank, dims);
    if (ev->status) return (kvf_cells){0};
    uint32_t what = kvf_x_fresh(ev->trace->x, kind, (uint32_t)out.count, why);
    for (uint64_t i = 0; i < out.count; i++) kvf_ints(&out)[i] = kvf_symbol(what, 0, (uint32_t)i);
    return kvf_trace_checked(ev, out);
}

kvf_cells kvf_trace_opaque(kvf_ev *ev, kvf_type type, uint32_t rank, const int64_t *dims,
                           const char *why)
{
    return fresh(ev, KVF_X_OPAQUE, type, rank, dims, why);
}

kvf_cells kvf_trace_constant(kvf_ev *ev, kvf_cells known)
{
    if (!ev->trace) return kvf_ev_fail(ev, "mixes numbers and shapes");
    return fresh(ev, KVF_X_CONSTANT, known.type, known.rank, known.dims,
                 "puts known numbers among activations");
}

void kvf_trace_table(kvf_ev *ev, kvf_cells table)
{
    kvf_trace *t = ev->trace;
    if (!t || !kvf_is_float(table.type) || table.rank < 2) return;
    for (uint32_t i = 0; i < t->n_tables; i++)
        if (t->tables[i].data == table.data && t->tables[i].count == table.count) return;
    if (t->n_tables < KVF_MAX_TABLES) t->tables[t->n_tables++] = table;
}

/* ---- of one ---------------------------------------------------------------------------------- */

/* A name whose expression is replaced by a function of it; most tensors have one expression. */
typedef struct renaming {
    uint32_t from, to;
} renaming;

kvf_cells kvf_trace_unary(kvf_ev *ev, kvf_fn fn, kvf_cells a)
{
    kvf_cells out =
        kvf_trace_new(ev, fn == KVF_ISNAN || fn == KVF_ISINF ? KVF_BOOL : a.type, a.rank, a.dims);
    a = kvf_dense(ev, a);
    renaming last = {0};
    for (uint64_t i = 0; i < out.count && !ev->status; i++) {
        int64_t s = kvf_ints(&a)[i];
        if (kvf_what_of(s) != last.from)
            last = (renaming){kvf_what_of(s), kvf_x_unary(ev->trace->x, fn, kvf_what_of(s))};
        kvf_ints(&out)[i] = kvf_symbol(last.to, kvf_row_of(s), kvf_column_of(s));
    }
    return kvf_trace_checked(ev, out);
}

static kvf_cells times_scalar(kvf_ev *ev, kvf_cells a, double s, bool add)
{
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_exprs *xs = ev->trace->x;
    a = kvf_dense(ev, a);
    renaming last = {0};
    for (uint64_t i = 0; i < out.count && !ev->status; i++) {
        int64_t id = kvf_ints(&a)[i];
        uint32_t w = kvf_what_of(id);
        if (w != last.from)
            last = (renaming){w, add ? kvf_x_add_scalar(xs, w, s) : kvf_x_mul_scalar(xs, w, s)};
        kvf_ints(&out)[i] = kvf_symbol(last.to, kvf_row_of(id), kvf_column_of(id));
    }
    return kvf_trace_checked(ev, out);
}

/* ---- with known numbers ---------------------------------------------------------------------- */

enum { MAX_MIXED = 8 }; /* expressions in one tensor that a vector may be applied to */

/* By column: the same number wherever the column is met, or the operation is none of a decoder. */
static kvf_cells with_vector(kvf_ev *ev, kvf_cells a, kvf_cells v, kvf_expr_kind kind)
{
    kvf_trace *t = ev->trace;
    uint32_t what[MAX_MIXED], to[MAX_MIXED], n = 0, k = 0;
    double *values[MAX_MIXED];
    const char *why = NULL;
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_walk w = {.rank = a.rank, .n = 2, .dims = a.dims, .strides = {a.strides, v.strides}};
    for (uint64_t i = 0; i < out.count && !ev->status && !why; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(&a)[w.offset[0]];
        double number = kvf_floats(&v)[w.offset[1]];
        if (!n || what[k] != kvf_what_of(s))
            for (k = 0; k < n && what[k] != kvf_what_of(s);) k++;
        if (k == n) {
            uint32_t width = kvf_x(t->x, kvf_what_of(s))->width;
            if (n == MAX_MIXED || !width) {
                why = "applies numbers by column to what has no columns";
                break;
            }
            what[n] = kvf_what_of(s);
            values[n] = kvf_array(width, sizeof **values);
            if (!values[n]) {
                kvf_ev_no_memory(ev);
                break;
            }
            for (uint32_t c = 0; c < width; c++) values[n][c] = NAN;
            n++;
        }
        double *at = &values[k][kvf_column_of(s)];
        if (*at == *at && *at != number) why = "applies numbers that differ by row";
        *at = number;
        kvf_ints(&out)[i] = s;
    }
    for (k = 0; k < n; k++) {
        to[k] = kvf_x_vector(t->x, kind, what[k], values[k], kvf_x(t->x, what[k])->width);
        kvf_free(values[k]);
    }
    if (why) return kvf_trace_opaque(ev, a.type, a.rank, a.dims, why);
    for (uint64_t i = 0; i < out.count && !ev->status; i++) {
        int64_t s = kvf_ints(&out)[i];
        for (k = 0; what[k] != kvf_what_of(s);) k++;
        kvf_ints(&out)[i] = kvf_symbol(to[k], kvf_row_of(s), kvf_column_of(s));
    }
    return kvf_trace_checked(ev, out);
}

/* The shift of one row, made when it is first met. */
static kvf_shift *shift_of(kvf_ev *ev, kvf_shift **rows, uint32_t row, uint32_t site,
                           uint32_t width)
{
    kvf_trace *t = ev->trace;
    if (rows[row]) return rows[row];
    kvf_shift s = {.site = site,
                   .width = width,
                   .position = kvf_probe_position(t->probe, row),
                   .last = row + 1 == t->probe->rows,
                   .value = kvf_array(width, sizeof *s.value)};
    if (!s.value) {
        kvf_ev_no_memory(ev);
        return NULL;
    }
    for (uint32_t c = 0; c < width; c++) s.value[c].value = NAN;
    t->shifts[t->n_shifts] = s;
    return rows[row] = &t->shifts[t->n_shifts++];
}

/* Positions: numbers by row and column, kept with the position of their row to be explained. */
static kvf_cells with_table(kvf_ev *ev, kvf_cells a, kvf_cells v, uint64_t v_count)
{
    kvf_trace *t = ev->trace;
    uint32_t site = kvf_ev_site(ev), what = 0, width = 0, rows = t->probe->rows;
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_shift **seen = kvf_array(rows, sizeof *seen);
    /* room for all rows first: shift_of hands out pointers */
    kvf_shift *more = kvf_resize(t->shifts, (size_t)t->n_shifts + rows, sizeof *more);
    if (more) t->shifts = more;
    if (!seen || !more) kvf_ev_no_memory(ev);
    kvf_walk w = {.rank = a.rank, .n = 2, .dims = a.dims, .strides = {a.strides, v.strides}};
    bool mixed = false;
    uint32_t to = 0, first = t->n_shifts;
    for (uint64_t i = 0; i < out.count && !ev->status && !mixed; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(&a)[w.offset[0]];
        if (!what) {
            what = kvf_what_of(s);
            width = kvf_x(t->x, what)->width;
            to = kvf_x_plain(t->x, KVF_X_ADD_TABLE, what, 0, site, 0, width);
        }
        mixed = kvf_what_of(s) != what || !width;
        kvf_ints(&out)[i] = kvf_symbol(to, kvf_row_of(s), kvf_column_of(s));
        if (mixed || kvf_row_of(s) >= rows) continue;
        kvf_shift *row = shift_of(ev, seen, kvf_row_of(s), site, width);
        kvf_factor f = {.value = kvf_floats(&v)[w.offset[1]],
                        .by = 1,
                        .site = site,
                        .at = (uint32_t)(v_count - 1 - (uint64_t)w.offset[1])};
        if (!row) break;
        kvf_factor *at = &row->value[kvf_column_of(s)];
        mixed = at->value == at->value && at->value != f.value;
        *at = f;
    }
    for (uint32_t i = first; i < t->n_shifts && !mixed; i++)
        for (uint32_t c = 0; c < width; c++)
            mixed |= t->shifts[i].value[c].value != t->shifts[i].value[c].value;
    kvf_free(seen);
    if (mixed)
        return kvf_trace_opaque(ev, a.type, a.rank, a.dims,
                                "adds numbers that depend on the position to a part of a row");
    return kvf_trace_checked(ev, out);
}

static bool has_scores(const kvf_ev *ev, const kvf_cells *a)
{
    return a->count && kvf_x(ev->trace->x, kvf_what_of(kvf_ints(a)[0]))->scores;
}

/* Scores meet known numbers here: far away they must still be a mask. */
static void note_mask(kvf_ev *ev)
{
    kvf_trace *t = ev->trace;
    uint32_t site = kvf_ev_site(ev);
    for (uint32_t i = 0; i < t->n_mask_sites; i++)
        if (t->mask_sites[i] == site) return;
    uint32_t *more = kvf_trace_room(ev, t->mask_sites, t->n_mask_sites, sizeof site);
    if (!more) return;
    t->mask_sites = more;
    t->mask_sites[t->n_mask_sites++] = site;
}

/* symbols + known or symbols * known */
static kvf_cells with_known(kvf_ev *ev, kvf_cells a, kvf_cells known, bool add)
{
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    if (!kvf_broadcast(ev, &a, &known, &rank, dims)) return (kvf_cells){0};
    known = kvf_dense(ev, known);
    if (!kvf_is_float(known.type))
        return kvf_trace_opaque(ev, a.type, rank, dims, "computes with the tokens' numbers");
    if (ev->status) return (kvf_cells){0};
    bool equal = known.count > 0, scores = has_scores(ev, &a);
    for (uint64_t i = 1; i < known.count && equal; i++)
        equal = kvf_floats(&known)[i] == kvf_floats(&known)[0];
    double v = equal ? kvf_floats(&known)[0] : 0;
    /* A factor per position may happen to be one number in a short run. */
    bool scalar =
        equal && (known.count == 1 || !known.moving || v == (add ? 0 : 1) || (scores && !add));
    uint64_t count = known.count;
    bool moving = known.moving;
    a = kvf_expand(ev, a, rank, dims);
    if (scores && add) note_mask(ev);
    if (ev->status) return (kvf_cells){0};
    if (scalar && !(scores && add && v != 0)) return times_scalar(ev, a, v, add);
    kvf_cells wide = kvf_expand(ev, known, rank, dims);
    if (ev->status) return (kvf_cells){0};
    if (scores && add) return kvf_trace_hide(ev, a, wide);
    if (scores)
        return kvf_trace_opaque(ev, a.type, rank, dims, "multiplies scores by numbers that differ");
    if (!moving) return with_vector(ev, a, wide, add ? KVF_X_ADD_VECTOR : KVF_X_MUL_VECTOR);
    return add ? with_table(ev, a, wide, count) : kvf_trace_turned(ev, a, wide, count);
}

/* ---- of two ---------------------------------------------------------------------------------- */

/* What all elements of a tensor are columns of, and which: false if they are of several. */
typedef struct extent {
    uint32_t what, low, high;
} extent;

static bool extent_of(const kvf_cells *a, extent *e)
{
    kvf_walk w = {.rank = a->rank, .n = 1, .dims = a->dims, .strides = {a->strides}};
    *e = (extent){.low = UINT32_MAX};
    for (uint64_t i = 0; i < a->count; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(a)[w.offset[0]];
        uint32_t c = kvf_column_of(s);
        if (!i) e->what = kvf_what_of(s);
        if (kvf_what_of(s) != e->what) return false;
        if (c < e->low) e->low = c;
        if (c > e->high) e->high = c;
    }
    return a->count > 0;
}

static kvf_cells combine(kvf_ev *ev, kvf_cells a, kvf_cells b, bool add)
{
    kvf_exprs *xs = ev->trace->x;
    extent x, y;
    const char *why = "combines activations of several kinds";
    if (extent_of(&a, &x) && extent_of(&b, &y) && !kvf_x(xs, x.what)->scores &&
        !kvf_x(xs, y.what)->scores) {
        uint32_t p = kvf_x_part(xs, x.what, x.low, x.high - x.low + 1);
        uint32_t q = kvf_x_part(xs, y.what, y.low, y.high - y.low + 1);
        uint32_t wp = kvf_x(xs, p)->width, wq = kvf_x(xs, q)->width;
        if (wq > wp) {
            kvf_cells c = a;
            extent z = x;
            a = b, b = c;
            x = y, y = z;
            uint32_t t = p;
            p = q, q = t;
            t = wp, wp = wq, wq = t;
        }
        uint32_t group = wp == wq ? 0 : wq && wp % wq == 0 ? wp / wq : UINT32_MAX;
        uint32_t to = group == UINT32_MAX ? 0
                      : add               ? kvf_x_add(xs, p, q, group)
                                          : kvf_x_mul(xs, p, q, group);
        kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
        kvf_walk w = {.rank = a.rank, .n = 2, .dims = a.dims, .strides = {a.strides, b.strides}};
        bool fits = to != 0;
        for (uint64_t i = 0; i < out.count && fits && !ev->status; i++, kvf_step(&w)) {
            int64_t s = kvf_ints(&a)[w.offset[0]], r = kvf_ints(&b)[w.offset[1]];
            uint32_t c = kvf_column_of(s) - x.low;
            fits = kvf_row_of(s) == kvf_row_of(r) &&
                   kvf_column_of(r) - y.low == (group ? c / group : c);
            kvf_ints(&out)[i] = kvf_symbol(to, kvf_row_of(s), c);
        }
        if (fits) return kvf_trace_checked(ev, out);
        why = "combines activations of different tokens or columns";
    }
    return kvf_trace_opaque(ev, a.type, a.rank, a.dims, why);
}

static kvf_cells of_symbols(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b)
{
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    if (!kvf_broadcast(ev, &a, &b, &rank, dims)) return (kvf_cells){0};
    if (!kvf_is_float(a.type) || (fn != KVF_ADD && fn != KVF_SUB && fn != KVF_MUL && fn != KVF_DIV))
        return kvf_trace_opaque(ev, fn >= KVF_AND ? KVF_BOOL : a.type, rank, dims,
                                "compares or combines activations");
    bool combos = kvf_trace_is_combo(ev->trace, &a) || kvf_trace_is_combo(ev->trace, &b);
    if (!combos && fn == KVF_SUB) b = times_scalar(ev, b, -1, false);
    if (!combos && fn == KVF_DIV) b = kvf_trace_unary(ev, KVF_RECIPROCAL, b);
    a = kvf_expand(ev, a, rank, dims);
    b = kvf_expand(ev, b, rank, dims);
    if (ev->status) return (kvf_cells){0};
    bool add = fn == KVF_ADD || fn == KVF_SUB;
    if (combos && add) return kvf_trace_sum(ev, a, b, fn == KVF_SUB ? -1 : 1);
    return combine(ev, a, b, add);
}

/* a to a known power */
static kvf_cells power(kvf_ev *ev, kvf_cells a, kvf_cells b)
{
    b = kvf_dense(ev, b);
    double e = !ev->status && b.count == 1 && kvf_is_float(b.type) ? kvf_floats(&b)[0] : NAN;
    if (e == 1) return a;
    if (e == 2) return of_symbols(ev, KVF_MUL, a, a);
    if (e == 3) return of_symbols(ev, KVF_MUL, a, of_symbols(ev, KVF_MUL, a, a));
    if (e == -1) return kvf_trace_unary(ev, KVF_RECIPROCAL, a);
    if (e == 0.5) return kvf_trace_unary(ev, KVF_SQRT, a);
    if (e == -0.5) return kvf_trace_unary(ev, KVF_RSQRT, a);
    return kvf_trace_opaque(ev, a.type, a.rank, a.dims, "raises activations to an unusual power");
}

/* Numbers as they are, negated or inverted; in double, since quotients by them are products
 * here. */
static kvf_cells changed(kvf_ev *ev, kvf_cells known, kvf_fn fn)
{
    bool round = ev->round;
    ev->round = false;
    kvf_cells out = kvf_unary(ev, fn, known);
    ev->round = round;
    return out;
}

kvf_cells kvf_trace_binary(kvf_ev *ev, kvf_fn fn, kvf_cells a, kvf_cells b)
{
    if (a.form == KVF_SYMBOL && b.form == KVF_SYMBOL) return of_symbols(ev, fn, a, b);
    bool left = a.form == KVF_SYMBOL; /* symbols on the left */
    kvf_cells s = left ? a : b, k = left ? b : a;
    switch (fn) {
    case KVF_ADD: return with_known(ev, s, k, true);
    case KVF_MUL: return with_known(ev, s, k, false);
    case KVF_SUB:
        return left ? with_known(ev, s, changed(ev, k, KVF_NEG), true)
                    : with_known(ev, times_scalar(ev, s, -1, false), k, true);
    case KVF_DIV:
        return left ? with_known(ev, s, changed(ev, k, KVF_RECIPROCAL), false)
                    : with_known(ev, kvf_trace_unary(ev, KVF_RECIPROCAL, s), k, false);
    case KVF_POW:
        if (left) return power(ev, a, b);
        break;
    case KVF_MAX: {
        kvf_cells zero = kvf_dense(ev, k);
        if (!ev->status && zero.count == 1 && kvf_is_float(zero.type) && kvf_floats(&zero)[0] == 0)
            return kvf_trace_unary(ev, KVF_RELU, s);
        break;
    }
    default: break;
    }
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    if (!kvf_broadcast(ev, &a, &b, &rank, dims)) return (kvf_cells){0};
    return kvf_trace_opaque(ev, fn >= KVF_AND ? KVF_BOOL : s.type, rank, dims,
                            "compares or bounds activations");
}

/* ---- choices --------------------------------------------------------------------------------- */

/* isnan(x) ? 0 : x is x: a plan's softmax always has a key to see. */
static bool is_guard(kvf_ev *ev, const kvf_cells *cond, const kvf_cells *zero, const kvf_cells *x)
{
    kvf_walk w = {.rank = x->rank,
                  .n = 3,
                  .dims = x->dims,
                  .strides = {cond->strides, zero->strides, x->strides}};
    if (zero->form != KVF_KNOWN || x->form != KVF_SYMBOL || !kvf_is_float(zero->type)) return false;
    for (uint64_t i = 0; i < x->count; i++, kvf_step(&w)) {
        int64_t c = kvf_ints(cond)[w.offset[0]], s = kvf_ints(x)[w.offset[2]];
        const kvf_expr *e = kvf_x(ev->trace->x, kvf_what_of(c));
        if (e->kind != KVF_X_UNARY || e->fn != KVF_ISNAN || e->a != kvf_what_of(s) ||
            kvf_row_of(c) != kvf_row_of(s) || kvf_column_of(c) != kvf_column_of(s) ||
            kvf_floats(zero)[w.offset[1]] != 0)
            return false;
    }
    return true;
}

/* Scores where the condition holds, else a known number: as a sum with 0 or that number. */
static kvf_cells hide_where(kvf_ev *ev, kvf_cells cond, bool keep, kvf_cells scores,
                            kvf_cells number)
{
    kvf_cells add = kvf_new(ev, KVF_KNOWN, number.type, scores.rank, scores.dims);
    kvf_walk w = {.rank = add.rank,
                  .n = 2,
                  .dims = add.dims,
                  .strides = {cond.strides, number.strides}};
    for (uint64_t i = 0; i < add.count && !ev->status; i++, kvf_step(&w)) {
        bool kept = (kvf_ints(&cond)[w.offset[0]] != 0) == keep;
        double v = kvf_floats(&number)[w.offset[1]];
        /* a score replaced by 0 is not a score kept */
        kvf_floats(&add)[i] = kept ? 0 : v == 0 ? NAN : v;
    }
    return ev->status ? (kvf_cells){0} : kvf_trace_hide(ev, scores, add);
}

kvf_cells kvf_trace_where(kvf_ev *ev, kvf_cells cond, kvf_cells a, kvf_cells b)
{
    cond = kvf_load(ev, cond);
    a = kvf_load(ev, a);
    b = kvf_load(ev, b);
    if (ev->status) return (kvf_cells){0};
    if (cond.form == KVF_SYMBOL) {
        if (is_guard(ev, &cond, &a, &b)) return b;
        return kvf_trace_opaque(ev, a.type, a.rank, a.dims, "chooses by what activations are");
    }
    bool known_a = a.form == KVF_KNOWN, known_b = b.form == KVF_KNOWN;
    kvf_cells first = known_a ? b : a;
    first = kvf_dense(ev, first);
    if (known_a != known_b && !ev->status && has_scores(ev, &first) && kvf_is_float(a.type)) {
        note_mask(ev);
        return hide_where(ev, cond, known_b, known_a ? b : a, known_a ? a : b);
    }
    if (known_a) a = kvf_trace_constant(ev, a);
    if (known_b) b = kvf_trace_constant(ev, b);
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    kvf_walk w = {.rank = a.rank,
                  .n = 3,
                  .dims = a.dims,
                  .strides = {cond.strides, a.strides, b.strides}};
    for (uint64_t i = 0; i < out.count && !ev->status; i++, kvf_step(&w))
        kvf_ints(&out)[i] =
            kvf_ints(&cond)[w.offset[0]] ? kvf_ints(&a)[w.offset[1]] : kvf_ints(&b)[w.offset[2]];
    return out;
}
