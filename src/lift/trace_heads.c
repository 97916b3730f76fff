/* trace_heads.c - operations that take many names at once: products, norms, softmax, attention.
 *
 * They first read what a run of elements is: columns in order of one expression and row (a span),
 * or a head that was rotated. Attention keeps scores' names as head * rows + key row, so that
 * a softmax can be checked for seeing exactly the keys that its row should see. */
#include "trace.h"

#include <math.h>
#include <string.h>

/* ---- spans ----------------------------------------------------------------------------------- */

kvf_span kvf_trace_span(const int64_t *ids, int64_t stride, uint32_t n)
{
    if (!n) return (kvf_span){0};
    kvf_span s = {.what = kvf_what_of(ids[0]),
                  .row = kvf_row_of(ids[0]),
                  .first = kvf_column_of(ids[0]),
                  .ok = true};
    /* columns are the lowest bits: names in order are numbers in order */
    for (uint32_t i = 1; i < n && s.ok; i++) s.ok = ids[(int64_t)i * stride] == ids[0] + i;
    s.ok = s.ok && s.first + n <= KVF_MAX_COLUMNS;
    return s;
}

uint32_t kvf_trace_heads(kvf_ev *ev, const kvf_span *spans, uint32_t heads, uint32_t size,
                         uint32_t *kv)
{
    *kv = 1;
    for (uint32_t h = 1; h < heads; h++) *kv += spans[h].first != spans[h - 1].first;
    if (!heads || heads % *kv) return 0;
    uint32_t each = heads / *kv, first = spans[0].first;
    for (uint32_t h = 0; h < heads; h++)
        if (!spans[h].ok || spans[h].what != spans[0].what || spans[h].row != spans[0].row ||
            spans[h].first != first + h / each * size)
            return 0;
    return kvf_x_part(ev->trace->x, spans[0].what, first, *kv * size);
}

static kvf_cells opaque_like(kvf_ev *ev, const kvf_cells *a, const char *why)
{
    return kvf_trace_opaque(ev, a->type, a->rank, a->dims, why);
}

/* Spans of all slices along the last axis of a dense tensor, of one expression; *to is what they
 * are parts of, and firsts count from its start. NULL if they are not. */
static kvf_span *slices(kvf_ev *ev, const kvf_cells *a, uint32_t *to)
{
    uint32_t n = (uint32_t)a->dims[a->rank - 1];
    uint64_t rows = n ? a->count / n : 0;
    kvf_span *s = rows ? kvf_array(rows, sizeof *s) : NULL;
    uint32_t low = UINT32_MAX, high = 0;
    bool ok = s != NULL;
    if (rows && !s) kvf_ev_no_memory(ev);
    for (uint64_t i = 0; i < rows && ok; i++) {
        s[i] = kvf_trace_head(ev, kvf_ints(a) + i * n, 1, n);
        ok = s[i].ok && s[i].what == s[0].what;
        if (s[i].first < low) low = s[i].first;
        if (s[i].first > high) high = s[i].first;
    }
    ok = ok && !kvf_x(ev->trace->x, s[0].what)->scores && (high - low) % n == 0;
    if (!ok) {
        kvf_free(s);
        return NULL;
    }
    *to = kvf_x_part(ev->trace->x, s[0].what, low, high - low + n);
    for (uint64_t i = 0; i < rows; i++) s[i].first -= low;
    return s;
}

kvf_cells kvf_trace_mean(kvf_ev *ev, kvf_cells a)
{
    uint32_t what, n = (uint32_t)a.dims[a.rank - 1];
    int64_t dims[KVF_MAX_RANK];
    a = kvf_dense(ev, a);
    if (ev->status) return (kvf_cells){0};
    memcpy(dims, a.dims, sizeof dims);
    dims[a.rank - 1] = 1;
    kvf_span *s = slices(ev, &a, &what);
    if (!s)
        return kvf_trace_opaque(ev, a.type, a.rank, dims, "averages what is not a row or a head");
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, dims);
    uint32_t to = kvf_x_mean(ev->trace->x, what, n);
    for (uint64_t i = 0; i < out.count && !ev->status; i++) {
        if (s[i].first % n) ev->trace->x->full = true;
        kvf_ints(&out)[i] = kvf_symbol(to, s[i].row, s[i].first / n);
    }
    kvf_free(s);
    return kvf_trace_checked(ev, out);
}

kvf_cells kvf_trace_normalise(kvf_ev *ev, kvf_norm_kind kind, kvf_cells a, double eps)
{
    uint32_t what, n = (uint32_t)a.dims[a.rank - 1];
    a = kvf_dense(ev, a);
    if (ev->status) return (kvf_cells){0};
    kvf_span *s = slices(ev, &a, &what);
    if (!s) return opaque_like(ev, &a, "normalises what is not a row or a head");
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    uint32_t to = kvf_x_norm(ev->trace->x, what, n, kind, eps);
    for (uint64_t i = 0; i < out.count && !ev->status; i++)
        kvf_ints(&out)[i] = kvf_symbol(to, s[i / n].row, s[i / n].first + (uint32_t)(i % n));
    kvf_free(s);
    return kvf_trace_checked(ev, out);
}

kvf_cells kvf_trace_linear(kvf_ev *ev, kvf_cells a, const kvf_matrix *w)
{
    uint32_t what;
    int64_t dims[KVF_MAX_RANK];
    a = kvf_dense(ev, a);
    if (ev->status) return (kvf_cells){0};
    memcpy(dims, a.dims, sizeof dims);
    dims[a.rank - 1] = w->out;
    kvf_span *s = slices(ev, &a, &what);
    bool whole = s != NULL;
    for (uint64_t i = 0; whole && i < a.count / w->in; i++) whole = !s[i].first;
    if (!whole) {
        kvf_free(s);
        return kvf_trace_opaque(ev, a.type, a.rank, dims,
                                "multiplies what is not a row of activations");
    }
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, dims);
    uint32_t to = kvf_x_linear(ev->trace->x, what, w);
    for (uint64_t i = 0; i < out.count && !ev->status; i++)
        kvf_ints(&out)[i] = kvf_symbol(to, s[i / w->out].row, (uint32_t)(i % w->out));
    kvf_free(s);
    return kvf_trace_checked(ev, out);
}

/* A token that the graph adds by itself, as the dummy in front of trigoRL's evaluated tokens, is a
 * row that nobody asked for: it may be there as long as no other row sees it. */
kvf_cells kvf_trace_embed(kvf_ev *ev, kvf_cells table, kvf_cells tokens)
{
    kvf_trace *t = ev->trace;
    int64_t dims[KVF_MAX_RANK];
    kvf_matrix w = kvf_matrix_of(&table);
    if (tokens.rank >= KVF_MAX_RANK || !w.data) return kvf_ev_fail(ev, "its table is no matrix");
    memcpy(dims, tokens.dims, sizeof dims);
    dims[tokens.rank] = w.out;
    tokens = kvf_dense(ev, tokens);
    kvf_cells out = kvf_trace_new(ev, table.type, tokens.rank + 1, dims);
    uint32_t token = kvf_x_leaf(t->x, KVF_X_TOKEN, 0, 1), to = kvf_x_embed(t->x, token, &w);
    for (uint64_t i = 0; i < tokens.count && !ev->status; i++) {
        int64_t s = kvf_ints(&tokens)[i];
        uint32_t row = kvf_row_of(s);
        if (kvf_x(t->x, kvf_what_of(s))->kind == KVF_X_CONSTANT) {
            row = t->probe->rows + kvf_column_of(s);
            if (kvf_column_of(s) >= t->extra) t->extra = kvf_column_of(s) + 1;
        } else if (kvf_what_of(s) != token) {
            return kvf_trace_opaque(ev, table.type, out.rank, dims, "looks up what is not a token");
        }
        if (row >= KVF_MAX_ROWS) return kvf_ev_fail(ev, "has too many rows");
        for (uint32_t c = 0; c < w.out; c++) kvf_ints(&out)[i * w.out + c] = kvf_symbol(to, row, c);
    }
    return kvf_trace_checked(ev, out);
}

/* ---- scores ---------------------------------------------------------------------------------- */

static uint8_t *hidden_by(const kvf_trace *t, uint32_t what)
{
    for (uint32_t i = t->n_masks; i-- > 0;)
        if (t->masks[i].what == what) return t->masks[i].hidden;
    return NULL;
}

/* A mask must add 0, or so low a number that nothing of the key is left: from -10,000 on, which
 * GPT-2 was published with, e^x is 0 in f32 for any scores that differ by less than 9,800. */
enum { SEEN = 1, HIDDEN = 2 };
static int seen_by(double v)
{
    return v == 0 ? SEEN : v <= -9999 ? HIDDEN : 0;
}

kvf_cells kvf_trace_hide(kvf_ev *ev, kvf_cells scores, kvf_cells known)
{
    kvf_trace *t = ev->trace;
    uint32_t rows = kvf_trace_rows(t), what = 0, to = 0;
    uint8_t *seen = kvf_array(rows, rows);
    const char *why = NULL;
    if (!seen) return kvf_ev_no_memory(ev);
    kvf_cells out = kvf_trace_new(ev, scores.type, scores.rank, scores.dims);
    kvf_walk w = {.rank = scores.rank,
                  .n = 2,
                  .dims = scores.dims,
                  .strides = {scores.strides, known.strides}};
    for (uint64_t i = 0; i < out.count && !why && !ev->status; i++, kvf_step(&w)) {
        int64_t s = kvf_ints(&scores)[w.offset[0]];
        if (!what) {
            what = kvf_what_of(s);
            to = kvf_x_plain(t->x, KVF_X_MASK, what, 0, 0, 0, 0);
        }
        int is = seen_by(kvf_floats(&known)[w.offset[1]]);
        uint8_t *at = &seen[(size_t)kvf_row_of(s) * rows + kvf_column_of(s) % rows];
        if (kvf_what_of(s) != what)
            why = "masks scores of several kinds";
        else if (!is)
            why = "adds numbers to scores that are no mask";
        else if (*at && *at != is)
            why = "masks the heads in different ways";
        *at = (uint8_t)is;
        kvf_ints(&out)[i] = kvf_symbol(to, kvf_row_of(s), kvf_column_of(s));
    }
    const uint8_t *before = hidden_by(t, what);
    for (size_t i = 0; i < (size_t)rows * rows; i++)
        seen[i] = seen[i] == HIDDEN || (before && before[i]);
    kvf_mask *more = why ? NULL : kvf_trace_room(ev, t->masks, t->n_masks, sizeof *more);
    if (!more) {
        kvf_free(seen);
        return why ? opaque_like(ev, &scores, why) : (kvf_cells){0};
    }
    t->masks = more;
    t->masks[t->n_masks++] = (kvf_mask){to, seen};
    return kvf_trace_checked(ev, out);
}

/* Does this softmax run over exactly the keys that its row sees? Keys may be in any order; hidden
 * ones may be there or not. */
static const char *check_keys(kvf_ev *ev, const int64_t *ids, uint32_t n, uint8_t *met)
{
    const kvf_trace *t = ev->trace;
    const kvf_probe *p = t->probe;
    uint32_t rows = kvf_trace_rows(t), row = kvf_row_of(ids[0]), what = kvf_what_of(ids[0]);
    const uint8_t *hidden = hidden_by(t, what);
    memset(met, 0, rows);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t key = kvf_column_of(ids[i]) % rows;
        bool same = kvf_what_of(ids[i]) == what && kvf_row_of(ids[i]) == row &&
                    kvf_column_of(ids[i]) / rows == kvf_column_of(ids[0]) / rows && !met[key];
        if (!same) return "takes a softmax over what is not one row of scores";
        met[key] = 1;
        if (row >= p->rows) continue;
        bool off = hidden && hidden[(size_t)row * rows + key],
             sees = key < p->rows && kvf_probe_sees(p, row, key);
        if (!off && !sees)
            return "lets a token see one that is not on its path: its mask is not the causal mask";
        if (off && sees)
            return "hides a token from one that comes after it: a window, or a mask of another "
                   "kind";
    }
    for (uint32_t key = 0; key < p->rows && row < p->rows; key++)
        if (kvf_probe_sees(p, row, key) && !met[key])
            return "leaves out a token that should be seen";
    return NULL;
}

kvf_cells kvf_trace_softmax(kvf_ev *ev, kvf_cells a)
{
    kvf_trace *t = ev->trace;
    a = kvf_dense(ev, a);
    if (ev->status) return (kvf_cells){0};
    uint32_t n = (uint32_t)a.dims[a.rank - 1], rows = kvf_trace_rows(t);
    if (!a.count || !kvf_x(t->x, kvf_what_of(kvf_ints(&a)[0]))->scores)
        return opaque_like(ev, &a, "takes a softmax of what are not scores");
    uint8_t *met = kvf_array(rows, 1);
    const char *why = NULL;
    for (uint64_t i = 0; met && i < a.count / n && !why; i++)
        why = check_keys(ev, kvf_ints(&a) + i * n, n, met);
    kvf_free(met);
    if (!met) return kvf_ev_no_memory(ev);
    if (why) return opaque_like(ev, &a, why);
    kvf_cells out = kvf_trace_new(ev, a.type, a.rank, a.dims);
    uint32_t what = kvf_what_of(kvf_ints(&a)[0]), under = what;
    /* the masks have done what they should: with or without one, it is the softmax of a path */
    while (kvf_x(t->x, under)->kind == KVF_X_MASK) under = kvf_x(t->x, under)->a;
    uint32_t to = kvf_x_plain(t->x, KVF_X_SOFTMAX, under, 0, 0, 0, 0);
    for (uint64_t i = 0; i < out.count && !ev->status; i++) {
        int64_t s = kvf_ints(&a)[i];
        if (kvf_what_of(s) != what)
            return opaque_like(ev, &a, "takes a softmax of several kinds of scores");
        kvf_ints(&out)[i] = kvf_symbol(to, kvf_row_of(s), kvf_column_of(s));
    }
    return kvf_trace_checked(ev, out);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Two tensors of matrices with the same batch, [.., rows, inner] and [.., inner, columns]. */
typedef struct pair {
    kvf_cells a, b;
    uint32_t heads, rows, inner, columns;
    int64_t *at_a, *at_b; /* [heads] offsets of the matrices */
    kvf_span *spans;      /* [heads] */
} pair;

static void free_pair(pair *p)
{
    kvf_free(p->at_a);
    kvf_free(p->spans);
}

static bool make_pair(kvf_ev *ev, pair *p, kvf_cells a, kvf_cells b)
{
    uint32_t r = a.rank - 2;
    *p = (pair){.a = a,
                .b = b,
                .rows = (uint32_t)a.dims[r],
                .inner = (uint32_t)a.dims[r + 1],
                .columns = (uint32_t)b.dims[r + 1],
                .heads = 1};
    for (uint32_t i = 0; i < r; i++) p->heads *= (uint32_t)a.dims[i];
    p->at_a = kvf_array(2 * (size_t)p->heads, sizeof *p->at_a);
    p->spans = kvf_array(p->heads, sizeof *p->spans);
    p->at_b = p->at_a ? p->at_a + p->heads : NULL;
    if (!p->at_a || !p->spans) kvf_ev_no_memory(ev);
    kvf_walk w = {.rank = r, .n = 2, .dims = a.dims, .strides = {a.strides, b.strides}};
    for (uint32_t h = 0; h < p->heads && !ev->status; h++, kvf_step(&w)) {
        p->at_a[h] = w.offset[0];
        p->at_b[h] = w.offset[1];
    }
    return !ev->status && p->heads && p->rows && p->inner && p->columns;
}

static void remember_past(kvf_ev *ev, uint32_t user, uint32_t old)
{
    kvf_trace *t = ev->trace;
    for (uint32_t i = 0; i < t->n_pasts; i++)
        if (t->pasts[i].user == user && t->pasts[i].old == old) return;
    kvf_past *more = kvf_trace_room(ev, t->pasts, t->n_pasts, sizeof *more);
    if (!more) return;
    t->pasts = more;
    t->pasts[t->n_pasts++] = (kvf_past){user, old};
}

/* What keys or values are, over all their rows: new ones and those of the past. */
typedef struct cached {
    uint32_t fresh, old, kv;
} cached;

static bool take_cached(kvf_ev *ev, cached *c, const kvf_span *spans, uint32_t heads, uint32_t size)
{
    uint32_t kv, rows = ev->trace->probe->rows, row = spans[0].row;
    if (row >= rows) return true; /* a row of the graph's own: whatever it is, nobody sees it */
    uint32_t what = kvf_trace_heads(ev, spans, heads, size, &kv);
    uint32_t *at = row < ev->trace->probe->past ? &c->old : &c->fresh;
    if (!what || (*at && *at != what) || (c->kv && c->kv != kv)) return false;
    *at = what;
    c->kv = kv;
    return true;
}

static kvf_cells score(kvf_ev *ev, const pair *p, const int64_t *dims)
{
    kvf_trace *t = ev->trace;
    uint32_t query = 0, rows = kvf_trace_rows(t), kv = 0, r = p->a.rank - 2;
    cached keys = {0};
    kvf_cells out = kvf_trace_new(ev, p->a.type, p->a.rank, dims);
    uint32_t *row = kvf_array((size_t)p->rows + p->columns, sizeof *row),
             *key = row ? row + p->rows : NULL;
    bool ok = row != NULL;
    if (!ok) kvf_ev_no_memory(ev);
    for (uint32_t i = 0; i < p->rows && ok && !ev->status; i++) {
        for (uint32_t h = 0; h < p->heads; h++)
            p->spans[h] = kvf_trace_head(ev, kvf_ints(&p->a) + p->at_a[h] + i * p->a.strides[r],
                                         p->a.strides[r + 1], p->inner);
        uint32_t what = kvf_trace_heads(ev, p->spans, p->heads, p->inner, &kv);
        ok = what && kv == p->heads && (!query || query == what);
        query = what;
        row[i] = p->spans[0].row;
    }
    for (uint32_t j = 0; j < p->columns && ok && !ev->status; j++) {
        for (uint32_t h = 0; h < p->heads; h++)
            p->spans[h] = kvf_trace_head(ev, kvf_ints(&p->b) + p->at_b[h] + j * p->b.strides[r + 1],
                                         p->b.strides[r], p->inner);
        ok = take_cached(ev, &keys, p->spans, p->heads, p->inner);
        key[j] = p->spans[0].row;
    }
    ok = ok && keys.fresh && p->heads < KVF_MAX_COLUMNS / rows;
    uint32_t to = ok ? kvf_x_plain(t->x, KVF_X_SCORE, query, keys.fresh, p->heads, keys.kv, 0) : 0;
    if (keys.old && ok) remember_past(ev, to, keys.old);
    for (uint64_t i = 0; i < out.count && ok && !ev->status; i++) {
        uint32_t j = (uint32_t)(i % p->columns), m = (uint32_t)(i / p->columns % p->rows),
                 h = (uint32_t)(i / p->columns / p->rows);
        kvf_ints(&out)[i] = kvf_symbol(to, row[m], h * rows + key[j]);
    }
    kvf_free(row);
    return ok ? kvf_trace_checked(ev, out)
              : kvf_trace_opaque(ev, p->a.type, p->a.rank, dims,
                                 "multiplies activations that are not queries and keys");
}

static kvf_cells attend(kvf_ev *ev, const pair *p, const int64_t *dims)
{
    kvf_trace *t = ev->trace;
    uint32_t rows = kvf_trace_rows(t), r = p->a.rank - 2, softmax = kvf_what_of(kvf_ints(&p->a)[0]);
    cached values = {0};
    kvf_cells out = kvf_trace_new(ev, p->a.type, p->a.rank, dims);
    bool ok = kvf_x(t->x, softmax)->kind == KVF_X_SOFTMAX;
    /* key k of every row and head of the scores meets the row k of values */
    for (uint32_t k = 0; k < p->inner && ok && !ev->status; k++) {
        for (uint32_t h = 0; h < p->heads; h++)
            p->spans[h] = kvf_trace_head(ev, kvf_ints(&p->b) + p->at_b[h] + k * p->b.strides[r],
                                         p->b.strides[r + 1], p->columns);
        ok = take_cached(ev, &values, p->spans, p->heads, p->columns);
        for (uint32_t h = 0; h < p->heads && ok; h++)
            for (uint32_t i = 0; i < p->rows && ok; i++) {
                const int64_t *line = kvf_ints(&p->a) + p->at_a[h] + i * p->a.strides[r];
                int64_t s = line[k * p->a.strides[r + 1]];
                ok = kvf_what_of(s) == softmax && kvf_row_of(s) == kvf_row_of(line[0]) &&
                     kvf_column_of(s) == h * rows + p->spans[h].row;
            }
    }
    ok = ok && values.fresh;
    uint32_t to = ok ? kvf_x_plain(t->x, KVF_X_ATTEND, softmax, values.fresh, p->heads, values.kv,
                                   p->heads * p->columns)
                     : 0;
    if (values.old && ok) remember_past(ev, to, values.old);
    for (uint64_t i = 0; i < out.count && ok && !ev->status; i++) {
        uint32_t j = (uint32_t)(i % p->columns), m = (uint32_t)(i / p->columns % p->rows),
                 h = (uint32_t)(i / p->columns / p->rows);
        uint32_t row = kvf_row_of(kvf_ints(&p->a)[p->at_a[h] + m * p->a.strides[r]]);
        kvf_ints(&out)[i] = kvf_symbol(to, row, h * p->columns + j);
    }
    if (ok) t->layer++;
    return ok ? kvf_trace_checked(ev, out)
              : kvf_trace_opaque(ev, p->a.type, p->a.rank, dims,
                                 "multiplies scores with what are not values");
}

kvf_cells kvf_trace_matmul(kvf_ev *ev, kvf_cells a, kvf_cells b)
{
    int64_t dims[KVF_MAX_RANK];
    pair p;
    memcpy(dims, a.dims, sizeof dims);
    dims[a.rank - 1] = b.dims[b.rank - 1];
    if (a.form != b.form || !a.count || !b.count)
        return kvf_trace_opaque(ev, a.type, a.rank, dims,
                                "multiplies activations with known numbers in an unusual way");
    kvf_cells out = {0};
    if (make_pair(ev, &p, a, b))
        out = kvf_x(ev->trace->x, kvf_what_of(kvf_ints(&a)[0]))->scores ? attend(ev, &p, dims)
                                                                        : score(ev, &p, dims);
    free_pair(&p);
    return out;
}
