/* plan.c - a pass as units and batches.
 *
 * Rows of a pass come with parents before children, and mostly as chains: row i + 1 is the child
 * of row i. A chain is one unit and one run, in which the graph itself gives each row its place
 * behind the one before. A branch that goes on from the middle of a chain is a unit of the next
 * level: it runs when the rows that it needs are in the store. A graph with the tree contract
 * takes all rows over one past as one unit, whatever their tree; without a past, all below one
 * child of the root, of which the first rows, up to where it branches, are its prefix.
 *
 * Units of one level run together if the graph can take them side by side: equal numbers of new
 * rows over pasts of equal length, or, in place, one new row each over pasts of any length. */
#include "ort/ort.h"

/* ---- units ----------------------------------------------------------------------------------- */

static kvf_ort_unit *add_unit(kvf_ort_plan *plan, uint32_t first, uint32_t past, uint32_t level)
{
    kvf_ort_unit *u = &plan->units[plan->n_units++];
    *u = (kvf_ort_unit){.first = first, .past = past, .level = level};
    if (level >= plan->levels) plan->levels = level + 1;
    return u;
}

/* Where an output is needed and the graph gives only that of the last row, a chain ends. */
static bool ends_chain(const kvf_ort_plan *plan, const kvf_pass *pass, uint32_t row)
{
    return row + 1 == pass->n_rows || pass->rows[row + 1].parent != (int32_t)row ||
           (plan->last_only && pass->rows[row].want);
}

static void plan_chains(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass)
{
    bool recompute = e->contract->cache == KVF_CACHE_NONE;
    uint32_t first = 0;
    for (uint32_t i = 0; i < pass->n_rows; i++) {
        plan->order[i] = i;
        plan->unit_of[i] = plan->n_units;
        if (!ends_chain(plan, pass, i)) continue;
        int32_t parent = pass->rows[first].parent;
        uint32_t level = parent < 0 ? 0 : plan->units[plan->unit_of[parent]].level + 1;
        add_unit(plan, first, pass->rows[first].position, level)->n = i + 1 - first;
        /* What a graph without cache computed for one end is not there for the next: it begins at
         * the root again. */
        if (!recompute || i + 1 == pass->n_rows || pass->rows[i + 1].parent < 0) first = i + 1;
    }
}

static uint32_t slot_at(const kvf_pass *pass, const kvf_row *row, uint32_t position)
{
    const kvf_run *run = &pass->runs[row->first_run];
    for (; position >= run->count; run++) position -= run->count;
    return run->first + position;
}

/* The unit of rows over the past that ends in this slot. */
static uint32_t unit_over(kvf_ort_plan *plan, uint32_t past, uint32_t parent, uint32_t level)
{
    for (uint32_t i = 0; i < plan->n_units; i++) {
        const kvf_ort_unit *u = &plan->units[i];
        if (past && u->past == past && u->parent == parent && u->level == level) return i;
    }
    add_unit(plan, 0, past, level)->parent = parent;
    return plan->n_units - 1;
}

static uint32_t tree_unit_of(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass, uint32_t i)
{
    const kvf_row *row = &pass->rows[i];
    if (!kvf_ort_extends(e) && row->parent >= 0) return plan->unit_of[row->parent];
    if (row->position == 0) return unit_over(plan, 0, 0, 0); /* always one of its own */
    if (row->parent < 0)
        return unit_over(plan, row->position, slot_at(pass, row, row->position - 1), 0);
    const kvf_row *parent = &pass->rows[row->parent];
    if (parent->position == 0) return unit_over(plan, 1, parent->slot, 1);
    return plan->unit_of[row->parent];
}

/* Rows of a unit without a past that are its prefix: a chain from the root that all others go on
 * from. The last row of all is evaluated in any case. */
static uint32_t prefix_of(const kvf_ort_plan *plan, const kvf_pass *pass, const kvf_ort_unit *u)
{
    uint32_t prefix = u->n - 1;
    for (uint32_t i = 1; i < u->n; i++) {
        uint32_t parent = plan->place[pass->rows[plan->order[u->first + i]].parent];
        if (parent + 1 != i && parent + 1 < prefix) prefix = parent + 1;
    }
    return prefix;
}

static void plan_trees(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass)
{
    for (uint32_t i = 0; i < pass->n_rows; i++) {
        plan->unit_of[i] = tree_unit_of(plan, e, pass, i);
        plan->units[plan->unit_of[i]].n++;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i < plan->n_units; i++) {
        plan->units[i].first = at;
        at += plan->units[i].n;
        plan->units[i].n = 0;
    }
    for (uint32_t i = 0; i < pass->n_rows; i++) {
        kvf_ort_unit *u = &plan->units[plan->unit_of[i]];
        plan->place[i] = u->n;
        plan->order[u->first + u->n++] = i;
    }
    for (uint32_t i = 0; i < plan->n_units && !kvf_ort_extends(e); i++)
        plan->units[i].prefix = prefix_of(plan, pass, &plan->units[i]);
}

void kvf_ort_plan_pass(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass)
{
    plan->n_units = plan->levels = 0;
    plan->last_only = e->last_only;
    if (e->contract->tree)
        plan_trees(plan, e, pass);
    else
        plan_chains(plan, e, pass);
}

/* ---- batches --------------------------------------------------------------------------------- */

static bool side_by_side(const kvf_ort *e, const kvf_pass *pass, const kvf_ort_plan *plan,
                         const kvf_ort_unit *a, const kvf_ort_unit *b)
{
    if (a->n != b->n || a->prefix != b->prefix || e->alone || !e->batches) return false;
    bool cached = a->past || b->past;
    if (e->contract->cache == KVF_CACHE_SHARED && cached) return a->n == 1;
    if (kvf_ort_extends(e) && !cached) /* see run.c: those that are stored run once only */
        return pass->rows[plan->order[a->first]].stored == pass->rows[plan->order[b->first]].stored;
    return e->contract->cache == KVF_CACHE_SCATTER || a->past == b->past;
}

/* Past and present fit into a side; masks into room for one unit of a whole pass. */
static bool fits(const kvf_ort_plan *plan, const kvf_ort *e, uint64_t n_units, uint32_t past,
                 uint32_t n)
{
    uint64_t length = e->fixed_length ? e->fixed_length : past + n + (kvf_ort_extends(e) && !past);
    uint64_t mask = e->contract->tree ? (uint64_t)n * n : 1;
    return n_units * length <= plan->tokens && n_units * mask <= (uint64_t)plan->rows * plan->rows;
}

bool kvf_ort_next_batch(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass, uint32_t level,
                        kvf_ort_batch *batch)
{
    const kvf_ort_unit *head = NULL;
    batch->n_units = batch->past = 0;
    for (uint32_t i = 0; i < plan->n_units; i++) {
        kvf_ort_unit *u = &plan->units[i];
        if (u->done || u->level != level) continue;
        uint32_t past = u->past > batch->past ? u->past : batch->past;
        if (head && (!side_by_side(e, pass, plan, head, u) ||
                     !fits(plan, e, batch->n_units + 1, past, u->n)))
            continue;
        if (!head) head = u;
        u->done = true;
        batch->past = past;
        batch->units[batch->n_units++] = u;
    }
    if (!head) return false;
    batch->n = head->n;
    batch->first = kvf_ort_extends(e) && head->past == 0;
    if (batch->first) batch->past = 1;
    return true;
}
