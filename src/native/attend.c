/* attend.c - attention along paths of the token tree.
 *
 *     slots   3  4  5  6 | 7  8  9 20 | 21 22        one path: runs {3,7} {20,3}
 *             block 0      block 1      its end       (blocks of 4 here)
 *
 * Blocks are cut at fixed multiples of depth, wherever runs begin or branches leave: so a row's
 * result depends on its path alone. Rows whose paths agree over whole blocks form a tile and take
 * those blocks together, while K and V are in the first cache; then each goes its own way. */
#include "native.h"

/* A place on a path: the run, and how far into it. */
typedef struct cursor {
    const kvf_run *run;
    uint32_t used;
} cursor;

/* The slots of the next n positions. */
static void take(cursor *c, uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t left = c->run->count - c->used, part = left < n - i ? left : n - i;
        for (uint32_t j = 0; j < part; j++) slots[i + j] = c->run->first + c->used + j;
        i += part;
        c->used += part;
        if (c->used == c->run->count) *c = (cursor){.run = c->run + 1};
    }
}

static cursor seek(const kvf_run *runs, uint32_t position)
{
    cursor c = {.run = runs};
    for (; position >= c.run->count; c.run++) position -= c.run->count;
    c.used = position;
    return c;
}

/* Leading positions that two rows have in common. */
static uint32_t common(const kvf_pass *pass, const kvf_row *a, const kvf_row *b)
{
    uint32_t end = (a->position < b->position ? a->position : b->position) + 1, n = 0;
    if (a->first_run == b->first_run) return end;
    const kvf_run *x = pass->runs + a->first_run, *y = pass->runs + b->first_run;
    for (; n < end && x->first == y->first; x++, y++) {
        n += x->count < y->count ? x->count : y->count;
        if (x->count != y->count) break;
    }
    return n < end ? n : end;
}

uint32_t kvf_native_tiles(native_tile *tiles, const kvf_pass *pass, const uint32_t *active,
                          uint32_t n)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n;) {
        const kvf_row *head = &pass->rows[active[i]];
        native_tile t = {.first = i, .n = 1, .blocks = (head->position + 1) / KVF_BLOCK};
        /* A row joins as long as the blocks read together, times rows, do not get fewer. */
        for (i++; i < n && t.n < TILE_ROWS; i++, t.n++) {
            uint32_t same = common(pass, head, &pass->rows[active[i]]) / KVF_BLOCK;
            if (same > t.blocks) same = t.blocks;
            if ((uint64_t)same * (t.n + 1) < (uint64_t)t.blocks * t.n) break;
            t.blocks = same;
        }
        tiles[count++] = t;
    }
    return count;
}

void kvf_native_attend(const native_state *s, const kvf_pass *pass, const uint32_t *active,
                       const native_tile *tile, uint32_t layer, uint32_t kv_head, float *states)
{
    const native_engine *e = s->engine;
    const kvf_plan *plan = e->plan;
    uint32_t head_dim = plan->head_dim, group = plan->heads / plan->kv_heads;
    size_t state_size = e->vector->state_size(head_dim), first_head = (size_t)kv_head * group;
    size_t element = e->bf16_cache ? 2 : 4;
    void (*attend)(const kvf_attend *) =
        e->bf16_cache ? e->vector->attend_bf16 : e->vector->attend_f32;
    uint32_t slots[KVF_BLOCK];
    const float *q[TILE_ROWS];
    float *state[TILE_ROWS];
    for (uint32_t r = 0; r < tile->n; r++) {
        q[r] = s->qkv + active[tile->first + r] * s->qkv_stride + first_head * head_dim;
        state[r] = states + r * group * state_size;
        for (uint32_t h = 0; h < group; h++)
            e->vector->attend_begin(state[r] + h * state_size, head_dim);
    }
    kvf_attend a = {.k = native_rows(s, layer, 0) + (size_t)kv_head * head_dim * element,
                    .v = native_rows(s, layer, 1) + (size_t)kv_head * head_dim * element,
                    .stride = e->kv_dim,
                    .slots = slots,
                    .n = KVF_BLOCK,
                    .head_dim = head_dim,
                    .group = group,
                    .rows = tile->n,
                    .q = q,
                    .state = state};

    cursor together = {.run = pass->runs + pass->rows[active[tile->first]].first_run};
    for (uint32_t b = 0; b < tile->blocks; b++) {
        take(&together, slots, KVF_BLOCK);
        attend(&a);
    }
    a.rows = 1;
    for (uint32_t r = 0; r < tile->n; r++) {
        const kvf_row *row = &pass->rows[active[tile->first + r]];
        uint32_t at = tile->blocks * KVF_BLOCK, end = row->position + 1;
        a.q = q + r;
        a.state = state + r;
        cursor alone = at < end ? seek(pass->runs + row->first_run, at) : together;
        for (; at < end; at += a.n) {
            a.n = end - at < KVF_BLOCK ? end - at : KVF_BLOCK;
            take(&alone, slots, a.n);
            attend(&a);
        }
        float *y = s->a + (tile->first + r) * s->q_stride + first_head * head_dim;
        for (uint32_t h = 0; h < group; h++)
            e->vector->attend_end(state[r] + h * state_size, head_dim, y + (size_t)h * head_dim);
    }
}
