/* arena.c - chunks that double in size; see arena.h. */
#include "arena.h"

#include <string.h>

enum { FIRST_CHUNK = 4096, LAST_CHUNK = 1 << 20, ALIGNMENT = 8 };

typedef struct kvf_chunk {
    struct kvf_chunk *older;
    uint64_t size, used; /* of data, which follows */
    uint64_t unused;     /* makes the header a multiple of ALIGNMENT */
} kvf_chunk;

static kvf_chunk *add_chunk(kvf_arena *a, uint64_t need)
{
    uint64_t size = FIRST_CHUNK;
    if (a->chunks) size = a->chunks->size < LAST_CHUNK ? 2 * a->chunks->size : LAST_CHUNK;
    if (size < need) size = need;
    if (size > *a->budget) size = need; /* the last of the budget is enough for this one */
    if (size > *a->budget) {
        a->refused = true;
        return NULL;
    }
    kvf_chunk *c = kvf_array(1, sizeof *c + size);
    if (!c) return NULL;
    *a->budget -= size;
    *c = (kvf_chunk){.older = a->chunks, .size = size};
    return a->chunks = c;
}

void *kvf_arena_take(kvf_arena *a, uint64_t n, uint64_t size)
{
    uint64_t need;
    if (!kvf_mul(n, size, &need) || need > *a->budget + LAST_CHUNK) {
        a->refused = true;
        return NULL;
    }
    need = (need + !need + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
    kvf_chunk *c = a->chunks;
    if (!c || need > c->size - c->used) c = add_chunk(a, need);
    if (!c) return NULL;
    uint8_t *p = (uint8_t *)(c + 1) + c->used;
    c->used += need;
    return p;
}

char *kvf_arena_string(kvf_arena *a, kvf_span text)
{
    char *s = kvf_arena_take(a, text.size + 1, 1);
    if (s && text.size) memcpy(s, text.data, text.size);
    return s;
}

void kvf_arena_free(kvf_arena *a)
{
    while (a->chunks) {
        kvf_chunk *older = a->chunks->older;
        kvf_free(a->chunks);
        a->chunks = older;
    }
}
