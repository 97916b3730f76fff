/* arena.h - memory of one graph: taken in pieces, given back at once, and never beyond a budget.
 *
 * A file of two-byte messages could ask for fifty times its size in structs. Every chunk is paid
 * from a budget that follows from the file's size, so no file can ask for more than that. */
#ifndef KVF_ONNX_ARENA_H
#define KVF_ONNX_ARENA_H

#include "wire.h"

typedef struct kvf_arena {
    struct kvf_chunk *chunks; /* newest first */
    uint64_t *budget;         /* bytes left; arenas may share it */
    bool refused;             /* the budget, not the memory, ran out */
} kvf_arena;

/* n zeroed elements on a boundary of 8 bytes, or NULL. */
void *kvf_arena_take(kvf_arena *arena, uint64_t n, uint64_t size);
/* A terminated copy, or NULL. */
char *kvf_arena_string(kvf_arena *arena, kvf_span text);
void kvf_arena_free(kvf_arena *arena); /* zeroed is fine */
#endif
