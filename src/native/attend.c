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

/* Set rows of a tile to nothing seen yet; q and state are where each has its own. */
static void begin(const native_state *s, const uint32_t *rows, const native_head_range *heads,
                  uint32_t n, float *states, const float **q, float **state)
{
    const native_engine *e = s->engine;
    uint32_t head_dim = e->plan->head_dim, group = e->plan->heads / e->plan->kv_heads;
    size_t size = e->vector->state_size(head_dim), n_heads = (size_t)heads->n * group;
    for (uint32_t r = 0; r < n; r++) {
        q[r] = s->qkv + rows[r] * s->qkv_stride + (size_t)heads->first * group * head_dim;
        state[r] = states + r * n_heads * size;
        for (size_t h = 0; h < n_heads; h++) e->vector->attend_begin(state[r] + h * size, head_dim);
    }
}

void kvf_native_attend(const native_state *s, const kvf_pass *pass, const uint32_t *active,
                       const native_tile *tile, uint32_t layer, native_head_range heads,
                       float *states)
{
    const native_engine *e = s->engine;
    uint32_t head_dim = e->plan->head_dim, group = e->plan->heads / e->plan->kv_heads,
             slots[KVF_BLOCK];
    size_t size = e->vector->state_size(head_dim), element = e->bf16_cache ? 2 : 4;
    size_t at = (size_t)heads.first * head_dim * element;
    void (*attend)(const kvf_attend *) =
        e->bf16_cache ? e->vector->attend_bf16 : e->vector->attend_f32;
    const uint32_t *rows = active + tile->first;
    const float *q[TILE_ROWS];
    float *state[TILE_ROWS];
    begin(s, rows, &heads, tile->n, states, q, state);

    kvf_attend a = {.k = native_rows(s, layer, 0) + at,
                    .v = native_rows(s, layer, 1) + at,
                    .stride = e->kv_dim,
                    .slots = slots,
                    .n = KVF_BLOCK,
                    .head_dim = head_dim,
                    .heads = heads.n,
                    .group = group,
                    .rows = tile->n,
                    .q = q,
                    .state = state};
    cursor together = {.run = pass->runs + pass->rows[rows[0]].first_run};
    for (uint32_t b = 0; b < tile->blocks; b++) {
        take(&together, slots, KVF_BLOCK);
        attend(&a);
    }
    a.rows = 1;
    for (uint32_t r = 0; r < tile->n; r++) {
        const kvf_row *row = &pass->rows[rows[r]];
        uint32_t depth = tile->blocks * KVF_BLOCK, end = row->position + 1;
        cursor alone = depth < end ? seek(pass->runs + row->first_run, depth) : together;
        a.q = q + r;
        a.state = state + r;
        for (; depth < end; depth += a.n) {
            a.n = end - depth < KVF_BLOCK ? end - depth : KVF_BLOCK;
            take(&alone, slots, a.n);
            attend(&a);
        }
        float *y = s->a + (tile->first + r) * s->q_stride + (size_t)heads.first * group * head_dim;
        for (uint32_t h = 0; h < heads.n * group; h++)
            e->vector->attend_end(state[r] + h * size, head_dim, y + (size_t)h * head_dim);
    }
}
