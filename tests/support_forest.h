/* support_forest.h - sequences that share beginnings, and a walk over them that must not leave a
 * trace: whatever the batches, cuts, branches and evictions, a row is what its path alone gives. */
#ifndef SUPPORT_FOREST_H
#define SUPPORT_FOREST_H

#include "kvfork.h"
#include "rng.h"

enum {
    FOREST_VOCAB = 97,
    FOREST_PATHS = 6,
    FOREST_LENGTH = 600, /* at most */
    FOREST_WIDTH = FOREST_VOCAB + 1
};

/* Path i leaves path i - 1 at a random place. */
typedef struct forest {
    uint32_t length; /* of each path; set by the test */
    int32_t token[FOREST_PATHS][FOREST_LENGTH];
    float want[FOREST_PATHS][FOREST_LENGTH][FOREST_WIDTH]; /* logits and value */
} forest;

kvf_tree *forest_tree(const kvf_model *model, uint32_t tokens, bool no_cache);
void forest_draw(forest *f, kvf_rng *rng);
/* What each path gives alone, in one call, in a fresh tree. */
void forest_expect(forest *f, const kvf_model *model);
/* Walk all paths forward in turn, in pieces, several of them in one batch; sometimes go back, which
 * asks for rows that are there already; with a tree too small for all, so that much is evicted. Fails
 * the test at the first row that differs from what forest_expect found. */
void forest_wander(const forest *f, const kvf_model *model, bool no_cache, int rounds, kvf_rng *rng,
                   const char *what);
#endif
