/* support_walk.h - random calls on a tree; each row is held against its path computed anew. */
#ifndef SUPPORT_WALK_H
#define SUPPORT_WALK_H

#include "kvfork.h"

/* Batches of chains, branches, repeats and going back, on a tree of `cached`; the paths whole on a
 * tree of `twin` without cache. Fails the test if a head of a row differs by more than `most`, or
 * chooses another largest element; returns the largest difference. */
double walk_and_compare(const char *name, const kvf_model *cached, const kvf_model *twin,
                        kvf_head head, double most);
#endif
