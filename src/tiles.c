/* tiles.c - see tiles.h. */
#include "tiles.h"

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

uint32_t kvf_tiles_find(kvf_tile *tiles, const kvf_pass *pass, const uint32_t *active, uint32_t n,
                        uint32_t most, uint32_t block)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n;) {
        const kvf_row *head = &pass->rows[active[i]];
        kvf_tile t = {.first = i, .n = 1, .blocks = (head->position + 1) / block};
        /* A row joins as long as the blocks read together, times rows, do not get fewer. */
        for (i++; i < n && t.n < most; i++, t.n++) {
            uint32_t same = common(pass, head, &pass->rows[active[i]]) / block;
            if (same > t.blocks) same = t.blocks;
            if ((uint64_t)same * (t.n + 1) < (uint64_t)t.blocks * t.n) break;
            t.blocks = same;
        }
        tiles[count++] = t;
    }
    return count;
}
