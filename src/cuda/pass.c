/* pass.c - what goes down: the lists of a pass. They lie at fixed places, so that a graph finds them;
 * a copy of what the device has says what differs, and one transfer brings that. */
#include "cuda.h"

#include <string.h>

/* ---- sizes of kernels ------------------------------------------------------------------------ */

/* Passes of about the same size share a graph. */
static uint32_t rounded_rows(uint32_t n)
{
    static const uint32_t steps[] = {0, 1, 4, 8, 16, 32, 64};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (n <= steps[i]) return steps[i];
    return n;
}

static uint32_t rounded_items(uint32_t n)
{
    uint32_t items = n ? 1 : 0;
    while (items < n) items *= 2;
    return items;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void list_rows(cuda_state *s, const kvf_pass *pass)
{
    cuda_row *rows = cuda_list_on_host(s, CUDA_ROWS);
    uint32_t *wanted = cuda_list_on_host(s, CUDA_WANTED);
    cuda_counts *counts = cuda_list_on_host(s, CUDA_COUNTS);
    *counts = (cuda_counts){.rows = pass->n_rows};
    for (uint32_t i = 0; i < pass->n_rows; i++) {
        const kvf_row *row = &pass->rows[i];
        rows[i] = (cuda_row){row->token, row->position, row->slot, row->stored};
        if (row->want) wanted[counts->wanted++] = i;
    }
    memcpy(cuda_list_on_host(s, CUDA_RUNS), pass->runs, pass->n_runs * sizeof *pass->runs);
    s->used[CUDA_COUNTS] = sizeof *counts;
    s->used[CUDA_ROWS] = pass->n_rows * sizeof *rows;
    s->used[CUDA_WANTED] = counts->wanted * sizeof *wanted;
    s->used[CUDA_RUNS] = pass->n_runs * sizeof *pass->runs;
}

/* Rows that want each head, and how many of them are in each piece. */
static void list_outs(cuda_state *s, const kvf_pass *pass, const kvf_pass_outputs *out,
                      cuda_shape *shape)
{
    uint32_t *pieces = cuda_list_on_host(s, CUDA_PIECES), *rows = cuda_list_on_host(s, CUDA_OUTS);
    s->used[CUDA_PIECES] = (uint64_t)KVF_HEADS * s->pieces * sizeof *pieces;
    s->used[CUDA_OUTS] = 0;
    for (uint32_t h = 0; h < KVF_HEADS; h++) {
        uint32_t n = 0, *to = rows + (size_t)h * s->limits.rows;
        for (uint32_t i = 0; i < pass->n_rows && out->head[h]; i++)
            if (out->head[h][i]) to[n++] = i;
        for (uint32_t i = 0, left = n; i < s->pieces; i++) {
            uint32_t some = left < CUDA_OUT_ROWS ? left : CUDA_OUT_ROWS;
            pieces[h * s->pieces + i] = some;
            left -= some;
        }
        shape->outs[h] = n;
        if (n) s->used[CUDA_OUTS] = ((uint64_t)h * s->limits.rows + n) * sizeof *rows;
    }
}

/* Spans of the rows of a tile, those together that all of them see. */
static uint32_t list_tile(const kvf_pass *pass, const uint32_t *active, const kvf_tile *tile,
                          cuda_item *items)
{
    uint32_t n = 0;
    for (uint32_t r = 0; r < tile->n; r++) {
        const kvf_row *row = &pass->rows[active[tile->first + r]];
        kvf_cursor at = {.run = pass->runs + row->first_run};
        uint32_t span = 0, spans = row->position / KVF_SPAN + 1;
        if (r) {
            kvf_cursor_skip(&at, tile->blocks * KVF_SPAN);
            span = tile->blocks;
        }
        for (; span < spans; span++) {
            bool together = span < tile->blocks;
            items[n++] = (cuda_item){.first = (uint16_t)(tile->first + r),
                                     .n = (uint16_t)(together ? tile->n : 1),
                                     .span = span,
                                     .run = (uint32_t)(at.run - pass->runs),
                                     .used = at.used};
            if (span + 1 < spans) kvf_cursor_skip(&at, KVF_SPAN);
        }
    }
    return n;
}

/* Items of the active rows, group by group. */
static uint32_t list_items(cuda_state *s, const kvf_pass *pass, const uint32_t *active, uint32_t n,
                           cuda_list_id list, bool wanted)
{
    const cuda_engine *e = s->engine;
    const uint32_t group = e->plan->heads / e->plan->kv_heads,
                   most = e->bf16_cache ? KVF_BF16_QUERIES : KVF_F32_QUERIES,
                   most_rows = group < most ? most / group : 1;
    cuda_item *items = cuda_list_on_host(s, list);
    uint32_t count = 0, groups = 0, *group_items = s->group_items[wanted];
    for (uint32_t first = 0; first < n; first += s->group_rows) {
        uint32_t rows = n - first < s->group_rows ? n - first : s->group_rows;
        uint32_t tiles = kvf_tiles_find(s->tiles, pass, active + first, rows, most_rows, KVF_SPAN);
        group_items[groups++] = count;
        for (uint32_t t = 0; t < tiles; t++) {
            s->tiles[t].first += first;
            count += list_tile(pass, active, &s->tiles[t], items + count);
        }
    }
    group_items[groups] = count;
    s->n_groups[wanted] = groups;
    return count;
}

/* Items that do nothing, up to the size of the kernel. */
static void fill_items(cuda_state *s, cuda_list_id list, uint32_t n, uint32_t most)
{
    cuda_item *items = cuda_list_on_host(s, list);
    memset(items + n, 0, (most - n) * sizeof *items);
    s->used[list] = most * sizeof *items;
}

/* ---- what differs ---------------------------------------------------------------------------- */

static void send_range(cuda_state *s, uint64_t begin, uint64_t end)
{
    if (end <= begin) return;
    if (cuda_did(s, "sending a pass",
                 cudaMemcpyAsync(s->pass + begin, s->sent + begin, end - begin,
                                 cudaMemcpyHostToDevice, s->stream)))
        s->sent_bytes += end - begin;
}

/* One transfer for lists that lie near each other: what lies between is what the device has. */
static void send_changes(cuda_state *s)
{
    enum { NEAR = 32 << 10 }; /* bytes that take about as long as another transfer */
    uint64_t begin = 0, end = 0;
    for (int i = 0; i < CUDA_LISTS; i++) {
        const uint8_t *next = s->next + s->at[i], *sent = s->sent + s->at[i];
        uint64_t a = 0, b = s->used[i];
        if (!memcmp(next, sent, b)) continue;
        while (next[a] == sent[a]) a++;
        while (next[b - 1] == sent[b - 1]) b--;
        memcpy(s->sent + s->at[i] + a, next + a, b - a);
        if (end == begin || s->at[i] + a > end + NEAR) {
            send_range(s, begin, end);
            begin = s->at[i] + a;
        }
        end = s->at[i] + b;
    }
    if (s->unknown) {
        begin = 0;
        end = s->at[CUDA_LISTS];
        s->unknown = false;
    }
    send_range(s, begin, end);
}

void kvf_cuda_send_pass(cuda_state *s, const kvf_pass *pass, const kvf_pass_outputs *out,
                        cuda_shape *shape)
{
    const cuda_counts *counts = cuda_list_on_host(s, CUDA_COUNTS);
    *shape = (cuda_shape){0};
    list_rows(s, pass);
    list_outs(s, pass, out, shape);
    uint32_t items = list_items(s, pass, s->all, counts->rows, CUDA_ITEMS, false),
             wanted = list_items(s, pass, cuda_list_on_host(s, CUDA_WANTED), counts->wanted,
                                 CUDA_WANTED_ITEMS, true);
    bool small = pass->n_rows <= CUDA_GRAPH_ROWS && pass->n_rows <= s->group_rows;
    shape->small = small;
    shape->rows = small ? rounded_rows(counts->rows) : counts->rows;
    shape->wanted = small ? rounded_rows(counts->wanted) : counts->wanted;
    shape->items = small ? rounded_items(items) : items;
    shape->wanted_items = small ? rounded_items(wanted) : wanted;
    for (int h = 0; h < KVF_HEADS && small; h++) shape->outs[h] = rounded_rows(shape->outs[h]);
    fill_items(s, CUDA_ITEMS, items, shape->items);
    fill_items(s, CUDA_WANTED_ITEMS, wanted, shape->wanted_items);
    send_changes(s);
}
