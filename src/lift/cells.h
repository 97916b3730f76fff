/* cells.h - tensors as the lift sees them: a shape, strides, and what an element is.
 *
 *   known    numbers: constants, sizes, positions, masks; in the interpreter everything
 *   symbol   each element is a name (see trace.h): what it is, not how large it is
 *   shape    only the dimensions: runs at sizes for which nobody wants to hold elements
 *
 * Moving elements about (reshape, transpose, gather ...) is the same work for all three, so it
 * is written once, over cells of eight bytes. Tensors of the file are never copied as a whole:
 * they stay where they are, and transposing or slicing one changes strides only.
 *
 * Memory belongs to a pool. An operator may leave as much behind as it likes: what no value needs
 * any more is swept between operators (eval.c), so nothing here counts references. */
#ifndef KVF_LIFT_CELLS_H
#define KVF_LIFT_CELLS_H

#include "onnx/onnx.h"

typedef enum kvf_form { KVF_KNOWN = 0, KVF_SYMBOL, KVF_SHAPE } kvf_form;

typedef struct kvf_store { /* one block of a pool; its bytes follow */
    struct kvf_store *next;
    uint64_t bytes;
    uint64_t used; /* mark of the sweep; 8 bytes keep what follows aligned */
    uint64_t pad;
} kvf_store;

typedef struct kvf_pool {
    kvf_store *first;
    uint64_t bytes, limit;
} kvf_pool;

typedef struct kvf_cells {
    kvf_type type; /* as the graph sees it; KVF_NO_TYPE: there is no tensor */
    kvf_form form;
    bool moving; /* known, but made from sizes or inputs: another run may have another value */
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    int64_t strides[KVF_MAX_RANK]; /* in elements; 0 repeats, negative goes back */
    uint64_t count;
    kvf_type held;    /* how an element lies there: KVF_I64 (integers, bools, symbols) or KVF_F64 in
                         cells of ours, any type in the file's memory */
    const void *data; /* of element [0, 0, ...]; NULL for shapes */
    kvf_store *store; /* NULL: memory of the file, at any alignment */
} kvf_cells;

/* No tensor may have more elements than this unless it lies in the file: sizes come from the
 * file, and a graph of ten bytes can ask for anything. */
#define KVF_MAX_CELLS ((uint64_t)1 << 23)

void *kvf_pool_take(kvf_pool *pool, uint64_t bytes, kvf_store **store); /* NULL: too much */
void kvf_pool_free(kvf_pool *pool);

static inline bool kvf_is_float(kvf_type t)
{
    return t == KVF_F32 || t == KVF_F16 || t == KVF_BF16 || t == KVF_F64;
}
static inline bool kvf_given(const kvf_cells *c)
{
    return c->type != KVF_NO_TYPE;
}

/* Element at an offset in elements from data. */
double kvf_cell_f(const kvf_cells *c, int64_t offset);
int64_t kvf_cell_i(const kvf_cells *c, int64_t offset);
/* Element i in the tensor's own order. */
int64_t kvf_cell_offset(const kvf_cells *c, uint64_t i);

bool kvf_cells_dense(const kvf_cells *c); /* elements follow each other in order */
void kvf_cells_set_dense(kvf_cells *c);   /* strides of a dense tensor of its dims */
/* The product of dims; false if one is negative or it does not fit. */
bool kvf_cells_count(uint32_t rank, const int64_t *dims, uint64_t *count);
kvf_cells kvf_cells_of(const kvf_tensor *tensor); /* a view of the file */

/* A walk over a shape in order, with an offset per tensor. */
typedef struct kvf_walk {
    uint32_t rank, n;
    const int64_t *dims, *strides[3];
    int64_t at[KVF_MAX_RANK], offset[3];
} kvf_walk;
static inline void kvf_step(kvf_walk *w)
{
    for (uint32_t a = w->rank; a-- > 0;) {
        for (uint32_t i = 0; i < w->n; i++) w->offset[i] += w->strides[i][a];
        if (++w->at[a] < w->dims[a]) return;
        for (uint32_t i = 0; i < w->n; i++) w->offset[i] -= w->strides[i][a] * w->dims[a];
        w->at[a] = 0;
    }
}
#endif
