/* probe.c - rows of a run, and what they see. */
#include "probe.h"

#include "rng.h"
#include "trace.h"

/* Most rows a run may have: what each sees is a square of bytes. */
enum { MAX_PROBE_ROWS = 2048 };

static void chain_and_tree(kvf_probe *p, int32_t *parent, kvf_rng *rng)
{
    uint32_t before = p->past + p->prefix;
    for (uint32_t r = 0; r < p->rows; r++) {
        uint32_t back = p->tree && r >= before ? kvf_rng_below(rng, r - before + 1) : 0;
        parent[r] = (int32_t)r - 1 - (int32_t)back;
        p->position[r] = parent[r] < 0 ? 0 : p->position[parent[r]] + 1;
        for (int32_t k = (int32_t)r; k >= 0; k = parent[k])
            p->sees[(size_t)r * p->rows + (size_t)k] = 1;
    }
}

kvf_probe kvf_probe_far(const kvf_contract *contract, uint32_t fresh, uint32_t before)
{
    kvf_probe p = {.tree = contract->tree, .fresh = fresh, .rows = fresh};
    bool has_past = false;
    for (uint32_t i = 0; i < contract->n_inputs; i++)
        has_past |= contract->inputs[i].role == KVF_ROLE_PAST_KEY ||
                    contract->inputs[i].role == KVF_ROLE_PAST_FUSED;
    if (has_past)
        p.past = before;
    else if (contract->tree)
        p.prefix = before;
    else
        p.fresh += before; /* whole sequences only */
    p.rows = p.past + p.prefix + p.fresh;
    return p;
}

kvf_status kvf_probe_make(kvf_probe *probe, const kvf_contract *contract, uint32_t fresh,
                          uint32_t before, uint64_t seed, kvf_error *err)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    *probe = kvf_probe_far(contract, fresh, before);
    if (probe->rows > MAX_PROBE_ROWS)
        return kvf_fail(err, KVF_ERR_MODEL, "a run of %u rows is too long", probe->rows);
    int32_t *parent = kvf_array(probe->rows, sizeof *parent);
    probe->position = kvf_array(probe->rows, sizeof *probe->position);
    probe->sees = kvf_array(probe->rows, probe->rows);
    bool ok = parent && probe->position && probe->sees;
    if (ok)
        chain_and_tree(probe, parent, &rng);
    else
        kvf_probe_free(probe);
    kvf_free(parent);
    return ok ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "rows of a run");
}

void kvf_probe_free(kvf_probe *probe)
{
    kvf_free(probe->position);
    kvf_free(probe->sees);
    *probe = (kvf_probe){0};
}

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Integers or floats of a function of row and column, as the input's type wants them. */
static kvf_cells known_input(kvf_ev *ev, kvf_type type, uint32_t rank, const int64_t *dims)
{
    kvf_cells c = kvf_new(ev, KVF_KNOWN, type, rank, dims);
    c.moving = true;
    return c;
}

static void put(kvf_cells *c, uint64_t i, int64_t v)
{
    if (c->held == KVF_F64)
        kvf_floats(c)[i] = (double)v;
    else
        kvf_ints(c)[i] = v;
}

static kvf_cells tokens(kvf_ev *ev, const kvf_feed *f, kvf_type type, uint32_t first, uint32_t n)
{
    kvf_cells c = kvf_new(ev, f->form, type, 2, (int64_t[]){1, n});
    c.moving = true;
    uint32_t what = f->form == KVF_SYMBOL ? kvf_x_leaf(f->x, KVF_X_TOKEN, 0, 1) : 0;
    for (uint32_t i = 0; i < n && !ev->status && f->form != KVF_SHAPE; i++)
        kvf_ints(&c)[i] =
            f->form == KVF_SYMBOL ? kvf_symbol(what, first + i, 0) : f->token[first + i];
    return c;
}

/* One past tensor. In place of a past that is written into, as large as past and new together:
 * rows that are not there yet are zero, or symbols that nothing may use. */
static kvf_cells past(kvf_ev *ev, const kvf_feed *f, kvf_type type, const kvf_contract_port *port)
{
    const kvf_contract *c = f->contract;
    int64_t rows = f->probe->past,
            length = rows + (c->cache == KVF_CACHE_SCATTER ? f->probe->fresh : 0);
    int64_t g = c->kv_heads, d = c->head_dim, heads[] = {1, g, length, d},
            by_row[] = {1, length, g, d}, both[] = {2, 1, g, length, d};
    bool fused = port->role == KVF_ROLE_PAST_FUSED, rows_first = c->layout == KVF_LAYOUT_LENGTH;
    kvf_cells out = kvf_new(ev, f->form, type, fused ? 5 : 4,
                            fused        ? both
                            : rows_first ? by_row
                                         : heads);
    out.moving = true;
    if (ev->status || f->form == KVF_SHAPE) return out;
    for (int64_t which = 0; which < (fused ? 2 : 1); which++) {
        bool value = fused ? which == 1 : port->role == KVF_ROLE_PAST_VALUE;
        uint32_t what = 0, none = 0;
        if (f->form == KVF_SYMBOL) {
            what = kvf_x_leaf(f->x, value ? KVF_X_PAST_VALUE : KVF_X_PAST_KEY, port->layer,
                              (uint32_t)(g * d));
            if (length > rows)
                none = kvf_x_fresh(f->x, KVF_X_OPAQUE, (uint32_t)(g * d),
                                   "uses rows of the past that are not there");
        }
        const double *from = value ? f->v : f->k;
        for (int64_t t = 0; t < length; t++)
            for (int64_t i = 0; i < g * d; i++) {
                int64_t at = rows_first ? t * g * d + i : (i / d * length + t) * d + i % d;
                at += which * g * length * d;
                if (f->form == KVF_SYMBOL)
                    kvf_ints(&out)[at] =
                        kvf_symbol(t < rows ? what : none, t < rows ? (uint32_t)t : 0, (uint32_t)i);
                else
                    kvf_floats(&out)[at] =
                        t < rows ? from[((int64_t)port->layer * rows + t) * g * d + i] : 0;
            }
    }
    return out;
}

static kvf_cells one_input(kvf_ev *ev, const kvf_feed *f, const kvf_contract_port *port,
                           kvf_type type)
{
    const kvf_probe *p = f->probe;
    uint32_t before = p->past + p->prefix;
    kvf_cells c;
    switch (port->role) {
    case KVF_ROLE_PREFIX_IDS: return tokens(ev, f, type, 0, p->prefix);
    case KVF_ROLE_INPUT_IDS:
    case KVF_ROLE_EVALUATED_IDS: return tokens(ev, f, type, before, p->fresh);
    case KVF_ROLE_PAST_KEY:
    case KVF_ROLE_PAST_VALUE:
    case KVF_ROLE_PAST_FUSED: return past(ev, f, type, port);
    case KVF_ROLE_POSITION_IDS:
        c = known_input(ev, type, 2, (int64_t[]){1, p->fresh});
        for (uint32_t i = 0; i < p->fresh && !ev->status; i++)
            put(&c, i, kvf_probe_position(p, before + i));
        return c;
    case KVF_ROLE_ATTENTION_MASK:
        c = known_input(ev, type, 2, (int64_t[]){1, p->rows});
        for (uint32_t i = 0; i < p->rows && !ev->status; i++) put(&c, i, 1);
        return c;
    case KVF_ROLE_EVALUATED_MASK:
        c = known_input(ev, type, 3, (int64_t[]){1, p->fresh, p->fresh});
        for (uint32_t i = 0; i < p->fresh * p->fresh && !ev->status; i++)
            put(&c, i, kvf_probe_sees(p, before + i / p->fresh, before + i % p->fresh));
        return c;
    case KVF_ROLE_USE_CACHE_BRANCH:
    case KVF_ROLE_WRITE_INDICES:
    case KVF_ROLE_SEQUENCE_LENGTHS:
        c = known_input(ev, type, 1, (int64_t[]){1});
        if (!ev->status)
            put(&c, 0,
                port->role == KVF_ROLE_USE_CACHE_BRANCH ? p->past > 0
                : port->role == KVF_ROLE_WRITE_INDICES  ? p->past
                                                        : p->rows);
        return c;
    default:
        return kvf_ev_fail(ev, "input \"%.100s\" has no role", ev->graph->values[port->value].name);
    }
}

void kvf_feed_inputs(kvf_ev *ev, const kvf_feed *feed)
{
    for (uint32_t i = 0; i < feed->contract->n_inputs; i++) {
        const kvf_contract_port *port = &feed->contract->inputs[i];
        const kvf_shape *shape = ev->graph->values[port->value].shape;
        ev->values[port->value] = one_input(ev, feed, port, shape ? shape->type : KVF_F32);
    }
}
