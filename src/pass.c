/* pass.c - from nodes to rows: what one call of an engine's forward gets.
 *
 * Rows are collected until the buffers of the pass are full, in rows or in runs; then the pass
 * runs and the next one begins. A row names the slots that it may see by a list of runs. A chain
 * of rows shares one list, which grows with it: an earlier row sees the first so many slots. A
 * branch copies the list up to its parent, from a row that has it; only the first row on a path
 * walks the path.
 *
 * Without cache a path begins at the root in slots which nobody reads after the pass. Several paths
 * run in one pass where they fit, and share their beginnings there, unless the model's graph takes
 * chains only. A path longer than a pass takes several, one behind the other. */
#include "tree.h"

#include <string.h>

/* pass.mark without cache; all COVER_NO between calls. */
enum { COVER_NO = 0, COVERED = 1, WRITTEN = 2 /* and more: in row mark - WRITTEN */ };

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

/* A row of the pass whose list begins with the runs of the path to a node: the node's own, or that
 * of the row before, if it is the node's child; or -1. */
static int32_t row_with_path(const kvf_tree *t, uint32_t node)
{
    const kvf_pass_buffers *p = &t->pass;
    int32_t row = row_of(t, node);
    if (row >= 0 || p->n_rows == 0) return row;
    uint32_t before = p->n_rows - 1;
    return t->nodes[p->row_node[before]].parent == node ? (int32_t)before : -1;
}

/* Begin a list with the runs of the path to a node, which may be the root: how many, or more than
 * fit. The last run may have grown since with another child: it is cut. */
static uint32_t begin_list(const kvf_tree *t, uint32_t node)
{
    const kvf_pass_buffers *p = &t->pass;
    kvf_run *list = p->runs + p->n_runs;
    uint32_t room = t->limits.runs - p->n_runs;
    int32_t row = row_with_path(t, node);
    if (row < 0) return kvf_nodes_runs(t, node, list, room);
    const kvf_row *from = &p->rows[row];
    uint32_t owner = p->row_node[row];
    uint32_t n = from->n_runs - (owner != node && t->nodes[owner].run_head == owner);
    if (n == 0 || n > room) return n;
    memcpy(list, p->runs + from->first_run, n * sizeof *list);
    list[n - 1].count = node - t->nodes[node].run_head + 1;
    return n;
}

/* Give the next row its list, at best its parent's with one more slot. False: no room. */
static bool list_runs(kvf_tree *t, uint32_t node, int32_t parent, kvf_row *row)
{
    kvf_pass_buffers *p = &t->pass;
    const kvf_tree_node *n = &t->nodes[node];
    bool starts = n->run_head == node;
    if (parent >= 0 && !p->extended[parent]) {
        const kvf_row *above = &p->rows[parent];
        bool last = above->first_run + above->n_runs == p->n_runs;
        if (!starts || (last && p->n_runs < t->limits.runs)) {
            row->first_run = above->first_run;
            row->n_runs = above->n_runs + starts;
            if (starts)
                p->runs[p->n_runs++] = (kvf_run){.first = kvf_tree_slot(node), .count = 1};
            else
                p->runs[above->first_run + above->n_runs - 1].count++;
            p->extended[parent] = true;
            return true;
        }
    }
    uint32_t runs = begin_list(t, n->parent), room = t->limits.runs - p->n_runs;
    if (runs > room || runs + starts > room) return false;
    row->first_run = p->n_runs;
    row->n_runs = runs + starts;
    p->n_runs += row->n_runs;
    kvf_run *end = &p->runs[p->n_runs - 1];
    if (starts)
        *end = (kvf_run){.first = kvf_tree_slot(node), .count = 1};
    else
        end->count++;
    return true;
}

kvf_status kvf_pass_add(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    kvf_row lists;
    int32_t parent = row_of(t, t->nodes[node].parent);
    if (p->n_rows == t->limits.rows || !list_runs(t, node, parent, &lists)) {
        kvf_status status = kvf_pass_run(t, true, err);
        if (status) return status;
        parent = -1;
        list_runs(t, node, parent, &lists); /* any one path fits */
    }
    p->mark[node] = p->n_rows;
    p->extended[p->n_rows] = false;
    kvf_row *row = push_row(t, node, out);
    row->slot = kvf_tree_slot(node);
    row->parent = parent;
    row->first_run = lists.first_run;
    row->n_runs = lists.n_runs;
    row->stored = t->nodes[node].used != 0;
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

/* How much of the path of that length the pass being built has already; *row is its last row. */
static uint32_t rows_there(const kvf_tree *t, uint32_t length, uint32_t *row)
{
    const kvf_pass_buffers *p = &t->pass;
    if (!t->model->branches || length > t->limits.rows) return 0;
    for (uint32_t at = length; at > 0; at--) {
        uint32_t node = p->path[at - 1];
        *row = p->mark[node] - WRITTEN; /* huge if it has none */
        if (*row < p->n_rows && p->row_node[*row] == node) return at;
    }
    return 0;
}

/* A list of runs: the first `at` slots that a row sees, and `length` more of its own. */
static void list_path(kvf_pass_buffers *p, const kvf_row *from, uint32_t at, kvf_run own)
{
    for (uint32_t i = 0; at; i++) {
        kvf_run run = p->runs[from->first_run + i];
        if (run.count > at) run.count = at;
        p->runs[p->n_runs++] = run;
        at -= run.count;
    }
    p->runs[p->n_runs++] = own;
}

kvf_status kvf_pass_add_path(kvf_tree *t, uint32_t node, const kvf_outputs *out, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    uint32_t length = t->nodes[node].depth, last = 0;
    for (uint32_t i = node, at = length; at-- > 0; i = t->nodes[i].parent) p->path[at] = i;
    uint32_t there = rows_there(t, length, &last);
    uint32_t runs = p->n_runs + 1 + (there ? p->rows[last].n_runs : 0);
    if (p->n_rows && (length - there > t->limits.rows - p->n_rows || runs > t->limits.runs)) {
        kvf_status status = kvf_pass_run(t, false, err);
        if (status) return status;
        there = 0;
    }
    uint32_t base = p->n_rows, list = p->n_runs;
    for (uint32_t at = there; at < length; at++) {
        if (p->n_rows == t->limits.rows) { /* longer than a pass: the rest reads these rows */
            kvf_status status = kvf_pass_run(t, true, err);
            if (status) return status;
            list = 0;
        }
        bool first = at == there || p->n_rows == 0;
        if (first)
            list_path(p, there ? &p->rows[last] : NULL, there,
                      (kvf_run){.first = base, .count = length - there});
        uint32_t i = p->path[at];
        kvf_row *row = push_row(t, i, p->mark[i] >= WRITTEN ? NULL : out);
        row->slot = base + at - there;
        row->parent = !first ? (int32_t)p->n_rows - 2 : there ? (int32_t)last : -1;
        row->first_run = list;
        row->n_runs = p->n_runs - list;
        p->mark[i] = WRITTEN + p->n_rows - 1;
    }
    /* The slots of a long path are not those of its last rows: nothing may share its last pass. */
    return length > t->limits.rows ? kvf_pass_run(t, false, err) : KVF_OK;
}

/* ---- both ------------------------------------------------------------------------------------ */

kvf_status kvf_pass_run(kvf_tree *t, bool keep, kvf_error *err)
{
    kvf_pass_buffers *p = &t->pass;
    if (p->n_rows == 0) return KVF_OK;
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
