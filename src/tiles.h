/* tiles.h - which rows of a pass see the same: for engines that read K and V once for many rows. */
#ifndef KVF_TILES_H
#define KVF_TILES_H

#include "engine.h"

/* Rows of a pass that see the same leading blocks: they read those together. */
typedef struct kvf_tile {
    uint32_t first, n; /* of the active rows */
    uint32_t blocks;   /* leading blocks of positions that all of them see whole */
} kvf_tile;

/* Group active rows of a pass into tiles of up to `most` rows, over blocks of that many positions;
 * returns their number, at most n. Cost: one look at the runs of each row. */
uint32_t kvf_tiles_find(kvf_tile *tiles, const kvf_pass *pass, const uint32_t *active, uint32_t n,
                        uint32_t most, uint32_t block);

/* A place on a path: the run, and how far into it. */
typedef struct kvf_cursor {
    const kvf_run *run;
    uint32_t used;
} kvf_cursor;

/* Go on by that many positions: to a run that has the next one, if there is one. */
static inline void kvf_cursor_skip(kvf_cursor *c, uint32_t positions)
{
    for (positions += c->used; positions && positions >= c->run->count; c->run++)
        positions -= c->run->count;
    c->used = positions;
}
#endif
