/* collect.h - the games of a generation, checked and brought together. */
#ifndef TRIGO_COLLECT_H
#define TRIGO_COLLECT_H

#include "trigo/folder.h"

typedef struct trigo_collection {
    uint64_t games, moves;        /* that are right */
    uint64_t black, white, drawn; /* by area */
    uint64_t ends[TRIGO_ENDS];    /* by trigo_end */
    uint64_t of;                  /* games of the generation */
    uint64_t wrong;               /* complaints */
} trigo_collection;

/* Check folders that self-play has written, all of one generation: that each of its games is in one
 * of them, once; that the lines say what trigo_played_read wants, and text and arrays the same as
 * the lines.
 *
 * out       a folder that is not there yet: gets all games if nothing is wrong, as one process
 *           would have written them, and what an earlier call left beside it that was killed goes;
 *           NULL: only check
 * complain  called with what is wrong, and where
 * c         set, also after a failure
 * Memory    one block of games
 * Errors    KVF_ERR_ARG if anything is wrong (after all complaints), KVF_ERR_IO, KVF_ERR_NOMEM */
kvf_status trigo_collect(const char *const *folders, size_t n, const char *out,
                         void (*complain)(const char *words), trigo_collection *c, kvf_error *err);

#endif
