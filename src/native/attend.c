/* attend.c - attention along paths of the token tree.
 *
 *     slots   3  4  5  6 | 7  8  9 20 | 21 22        one path: runs {3,7} {20,3}
 *             block 0      block 1      its end       (blocks of 4 here)
 *
 * Blocks are cut at fixed multiples of depth, wherever runs begin or branches leave: so a row's
 * result depends on its path alone. Rows whose paths agree over whole blocks form a tile and take
 * those blocks together, while K and V are in the first cache; then each goes its own way. */
#include "native.h"

#include <string.h>

enum { MANY_ROWS = 8 }; /* of a tile: worth copying what they share */

/* The slots of the next n positions. */
static void take(kvf_cursor *c, uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n;) {
        uint32_t left = c->run->count - c->used, part = left < n - i ? left : n - i;
        for (uint32_t j = 0; j < part; j++) slots[i + j] = c->run->first + c->used + j;
        i += part;
        c->used += part;
        if (c->used == c->run->count) *c = (kvf_cursor){.run = c->run + 1};
    }
}

/* Where query i of a range of bundles begins: bundles of `side` heads, `group` queries for each. */
static size_t head_of(const native_engine *e, uint32_t i, uint32_t group)
{
    return ((size_t)(i / group) * e->side * group + i % group) * e->plan->head_dim;
}

/* One bundle of a block, its rows copied side by side: among other bundles they are far apart, and
 * where they are a power of two apart they would drive each other out of the first cache. */
static void copy_block(const native_engine *e, const kvf_attend *from, const uint32_t *slots,
                       uint32_t bundle, kvf_attend *to, uint8_t *block)
{
    const size_t width = (size_t)e->side * e->plan->head_dim, element = native_element(e),
                 bytes = width * element;
    uint8_t *k = block, *v = block + KVF_BLOCK * bytes;
    for (uint32_t i = 0; i < KVF_BLOCK; i++) {
        size_t at = (slots[i] * from->stride + bundle * width) * element;
        memcpy(k + i * bytes, (const uint8_t *)from->k + at, bytes);
        memcpy(v + i * bytes, (const uint8_t *)from->v + at, bytes);
    }
    to->k = k;
    to->v = v;
    to->stride = width;
    to->bundles = 1;
}

/* The blocks that all rows of a tile see. */
static void attend_together(const native_engine *e, const kvf_attend *a, const kvf_tile *tile,
                            const kvf_run *runs, uint8_t *block)
{
    static const uint32_t in_order[KVF_BLOCK] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10,
                                                 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                                 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    const size_t size = e->vector->state_size(e->side, e->plan->head_dim);
    const bool copies = tile->n >= MANY_ROWS && e->bundles > 1;
    const uint32_t *all[TILE_ROWS];
    uint32_t slots[KVF_BLOCK], whole[TILE_ROWS];
    float *state[TILE_ROWS];
    kvf_cursor c = {.run = runs};
    kvf_attend together = *a;
    together.rows = tile->n;
    together.slots = all;
    together.n = whole;
    for (uint32_t r = 0; r < tile->n; r++) {
        all[r] = copies ? in_order : slots;
        whole[r] = KVF_BLOCK;
    }
    for (uint32_t b = 0; b < tile->blocks; b++) {
        take(&c, slots, KVF_BLOCK);
        for (uint32_t i = 0; i < a->bundles && copies; i++) {
            for (uint32_t r = 0; r < tile->n; r++) state[r] = a->state[r] + i * a->group * size;
            copy_block(e, a, slots, i, &together, block);
            together.state = state;
            e->vector->attend[e->bf16_cache](&together);
        }
        if (!copies) e->vector->attend[e->bf16_cache](&together);
    }
}

/* What rows of a tile see behind that, each along its own path, block by block. */
static void attend_apart(const native_engine *e, const kvf_attend *a, const kvf_tile *tile,
                         const kvf_pass *pass, const uint32_t *rows)
{
    uint32_t slots[TILE_ROWS][KVF_BLOCK], n[TILE_ROWS], depth = tile->blocks * KVF_BLOCK;
    const uint32_t *of_row[TILE_ROWS];
    float *state[TILE_ROWS];
    kvf_cursor at[TILE_ROWS];
    kvf_attend apart = *a;
    for (uint32_t r = 0; r < tile->n; r++) {
        const kvf_row *row = &pass->rows[rows[r]];
        at[r] = (kvf_cursor){.run = pass->runs + row->first_run};
        if (row->position >= depth) kvf_cursor_skip(&at[r], depth);
    }
    apart.slots = of_row;
    apart.n = n;
    apart.state = state;
    for (;; depth += KVF_BLOCK) {
        uint32_t k = 0;
        for (uint32_t r = 0; r < tile->n; r++) {
            uint32_t end = pass->rows[rows[r]].position + 1;
            if (end <= depth) continue;
            n[k] = end - depth < KVF_BLOCK ? end - depth : KVF_BLOCK;
            take(&at[r], slots[k], n[k]);
            for (uint32_t i = n[k]; i < KVF_BLOCK; i++) slots[k][i] = slots[k][n[k] - 1];
            of_row[k] = slots[k];
            state[k++] = a->state[r];
        }
        if (k == 0) return;
        apart.rows = k;
        e->vector->attend[e->bf16_cache](&apart);
    }
}

void kvf_native_attend(const native_state *s, const kvf_pass *pass, const uint32_t *active,
                       const kvf_tile *tile, uint32_t layer, native_bundle_range bundles,
                       const native_own *own)
{
    const native_engine *e = s->engine;
    const kvf_vector *vector = e->vector;
    const uint32_t head_dim = e->plan->head_dim, group = e->plan->heads / e->plan->kv_heads,
                   n = bundles.n * group;
    const size_t size = vector->state_size(e->side, head_dim), step = (size_t)group * head_dim,
                 at = (size_t)bundles.first * e->side * head_dim, at_bytes = at * native_element(e);
    const uint32_t *rows = active + tile->first;
    float *state[TILE_ROWS];
    for (uint32_t r = 0; r < tile->n; r++) {
        const float *q = s->qkv + rows[r] * s->qkv_stride + at * group;
        state[r] = own->attend + r * n * size;
        for (uint32_t i = 0; i < n; i++)
            vector->attend_begin(state[r] + i * size, q + head_of(e, i, group),
                                 e->turned ? 0 : step, e->plan->layer[layer].scale, e->side,
                                 head_dim);
    }
    kvf_attend a = {.k = native_rows(s, layer, 0) + at_bytes,
                    .v = native_rows(s, layer, 1) + at_bytes,
                    .stride = e->kv_dim,
                    .head_dim = head_dim,
                    .side = e->side,
                    .bundles = bundles.n,
                    .group = group,
                    .state = state};
    attend_together(e, &a, tile, pass->runs + pass->rows[rows[0]].first_run, own->block);
    attend_apart(e, &a, tile, pass, rows);
    for (uint32_t r = 0; r < tile->n; r++) {
        float *y = s->a + (tile->first + r) * s->q_stride + at * group;
        for (uint32_t i = 0; i < n; i++)
            vector->attend_end(state[r] + i * size, y + head_of(e, i, group), step, e->side,
                               head_dim);
    }
}
