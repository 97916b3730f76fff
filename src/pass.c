/* pass.c - from nodes to rows: what one call of an engine's forward gets.
 *
 * Rows are collected until the buffers of the pass are full, in rows or in runs; then the pass
 * runs and the next one begins. A row names the slots that it may see by a list of runs. A chain
 * of rows shares the list of its last one: an earlier row sees the first so many slots of it.
 * Lists are made only when the pass is complete and it is known which rows are last of a chain;
 * until then their sizes are counted, so that they are sure to fit.
 *
 * Without cache a path is a chain from the root in slots of its own, which nobody reads after the
 * pass. Several paths run in one pass where they fit; they never share a row. A path longer than
 * a pass takes several, one behind the other. */
#include "tree.h"

/* kvf_row.first_run until the lists are made: no index of a run is that large. */
#define LAST      UINT32_MAX
#define HAS_CHILD (UINT32_MAX - 1)

/* pass.mark without cache; all COVER_NO between calls. */
enum { COVER_NO = 0, COVERED = 1, WRITTEN = 2 };

static kvf_row *push_row(kvf_tree *t, uint32_t node, const kvf_outputs *out)
{
    kvf_pass_buffers *p = &t->pass;
    kvf_row *row = &p->rows[p->n_rows];
    p->row_node[p->n_rows] = node;
    *row = (kvf_row){.token = t->nodes[node].token,
                     .position = t->nodes[node].depth - 1,
                     .parent = -1};
    for (int h = 0; h < KVF_HEADS; h++) {
        uint32_t first = out && p->first[h] ? p->first[h][node] : 0;
        size_t width = t->model->info.width[h];
        p->head[h][p->n_rows] = first ? out->head[h] + (first - 1) * width : NULL;
        if (first) row->want |= KVF_WANT(h);
    }
    p->n_rows++;
    return row;
}

/* ---- with cache ------------------------------------------------------------------------------ */

/* The row of a node in the pass being built, or -1. Marks are never cleared: one that is left from
 * another pass names a row of another node, or none. */
static int32_t row_of(const kvf_tree *t, uint32_t node)
{
    uint32_t row = t->pass.mark[node];
    return row < t->pass.n_rows && t->pass.row_node[row] == node ? (int32_t)row : -1;
}

/* Give every chain its list. Backwards, so that the last row of a chain comes first and hands its
 * list up to the rows before it. */
static void list_runs(kvf_tree *t)
{
    kvf_pass_buffers *p = &t->pass;
    uint32_t used = 0;
    for (uint32_t i = p->n_rows; i-- > 0;) {
        kvf_row *row = &p->rows[i];
        if (row->first_run == LAST) {
            row->first_run = used;
            used += kvf_nodes_runs(t, p->row_node[i], p->runs + used);
        }
        if (row->parent >= 0 && p->rows[row->parent].first_run == HAS_CHILD)
            p->rows[row->parent].first_run = row->first_run;
    }
}

kvf_status kvf_pass_add(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    const kvf_tree_node *n = &t->nodes[node];
    int32_t parent = row_of(t, n->parent);
    uint32_t runs =
        parent < 0 ? kvf_nodes_runs(t, node, NULL) : p->rows[parent].n_runs + (n->run_head == node);
    bool goes_on = parent >= 0 && p->rows[parent].first_run == LAST;
    uint32_t more = goes_on ? runs - p->rows[parent].n_runs : runs;
    if (p->n_rows == t->limits.rows || p->n_runs + more > p->max_runs) {
        kvf_status status = kvf_pass_run(t, true, err);
        if (status) return status;
        parent = -1;
        more = runs;
    }
    if (parent >= 0) p->rows[parent].first_run = HAS_CHILD;
    p->mark[node] = p->n_rows;
    p->n_runs += more;
    kvf_row *row = push_row(t, node, out);
    row->slot = kvf_tree_slot(node);
    row->parent = parent;
    row->first_run = LAST;
    row->n_runs = runs;
    row->stored = n->used != 0;
    return KVF_OK;
}

/* ---- without cache --------------------------------------------------------------------------- */

void kvf_pass_cover(kvf_tree *t, uint32_t node)
{
    uint32_t *mark = t->pass.mark;
    for (uint32_t i = t->nodes[node].parent; i && !mark[i]; i = t->nodes[i].parent)
        mark[i] = COVERED;
}

bool kvf_pass_covered(const kvf_tree *t, uint32_t node)
{
    return t->pass.mark[node] != COVER_NO;
}

void kvf_pass_uncover(kvf_tree *t, uint32_t node)
{
    uint32_t *mark = t->pass.mark;
    mark[node] = COVER_NO;
    for (uint32_t i = t->nodes[node].parent; i && mark[i]; i = t->nodes[i].parent)
        mark[i] = COVER_NO;
}

kvf_status kvf_pass_add_path(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    uint32_t length = t->nodes[node].depth;
    for (uint32_t i = node, at = length; at-- > 0; i = t->nodes[i].parent) p->path[at] = i;
    if (p->n_rows && length > t->limits.rows - p->n_rows) {
        kvf_status status = kvf_pass_run(t, false, err);
        if (status) return status;
    }
    uint32_t base = p->n_rows;
    for (uint32_t at = 0; at < length; at++) {
        if (p->n_rows == t->limits.rows) { /* longer than a pass: the rest reads these rows */
            kvf_status status = kvf_pass_run(t, true, err);
            if (status) return status;
        }
        bool first = at == 0 || p->n_rows == 0;
        if (first) p->runs[p->n_runs++] = (kvf_run){.first = base, .count = length};
        uint32_t i = p->path[at];
        kvf_row *row = push_row(t, i, p->mark[i] == WRITTEN ? NULL : out);
        row->slot = base + at;
        row->parent = first ? -1 : (int32_t)p->n_rows - 2;
        row->first_run = p->n_runs - 1;
        row->n_runs = 1;
        p->mark[i] = WRITTEN;
    }
    /* The slots of a long path are not those of its last rows: nothing may share its last pass. */
    return length > t->limits.rows ? kvf_pass_run(t, false, err) : KVF_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

kvf_status kvf_pass_run(kvf_tree *t, bool keep, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    if (p->n_rows == 0) return KVF_OK;
    if (!t->no_cache) list_runs(t);
    kvf_pass pass = {
        .rows = p->rows, .runs = p->runs, .n_rows = p->n_rows, .n_runs = p->n_runs, .keep = keep};
    kvf_pass_outputs out;
    for (int h = 0; h < KVF_HEADS; h++) out.head[h] = p->head[h];
    kvf_status status = t->model->ops->forward(t->engine, &pass, &out, err);
    t->passes++;
    if (!status) t->evaluated += p->n_rows;
    p->n_rows = p->n_runs = 0;
    return status;
}
