/* ort.h - the inside of the ort engine: a model's sessions, a tree's rows of K and V, batches.
 *
 * ONNX Runtime runs whole graphs: it wants the past of a batch as one tensor [batch, ..., past,
 * ...] per layer, and gives the present as another. A tree has rows in slots. Between the two:
 *
 *     pass of rows ──> units ──> batches ──> past tensors ──> run ──> present tensors
 *                                                ^                       │ new rows only
 *                                                └──────── store <───────┘
 *
 * unit    rows that one row of a batch takes: a chain, each the child of the one before, or, where
 *         the graph has the tree contract, any rows over one past
 * batch   units that run together
 * store   K and V by slot, [layer][2][slot][kv_dim], in the model's own type: the truth
 * side    a buffer for past or present of all layers. A graph that concatenates has two, used in
 *         turn, so that the present of one run is the past of the next without a copy; a graph
 *         that works in place has one, bound as both
 *
 * library.c finds ONNX Runtime, session.c opens graphs, causal.c turns encoders away, cache.c keeps store and sides, plan.c cuts
 * passes into units and batches, run.c feeds a batch and takes its outputs, ort.c is the engine
 * behind engine.h. */
#ifndef KVF_ORT_H
#define KVF_ORT_H

#include "ort/library.h"
#include "model.h"

#include <stdatomic.h>

/* A graph of its own from hidden states to something else. */
typedef struct kvf_ort_head {
    OrtSession *session; /* NULL: the model does not have it */
    const char *input, *output;
    uint32_t rank; /* of the input: [rows, hidden] or [1, rows, hidden] */
    kvf_type type;
    kvf_head head;
} kvf_ort_head;

enum { KVF_ORT_POLICY = 0, KVF_ORT_VALUE = 1, KVF_ORT_HEADS = 2 };

typedef struct kvf_ort { /* a model made ready */
    const kvf_model *model;
    const kvf_contract *contract;
    kvf_ort_library *lib;
    const OrtApi *api;
    OrtEnv *env;
    OrtSession *session;
    kvf_ort_head heads[KVF_ORT_HEADS];
    uint64_t weight_bytes;
    uint32_t fixed_length;  /* of the past of a graph that scatters; 0: any */
    bool batches;           /* the batch dimension is dynamic */
    bool wide_mask;         /* attention_mask has the length of the past tensors */
    _Atomic bool alone;     /* it turned out to refuse batches of several rows */
    _Atomic bool last_only; /* it turned out to give the outputs of the last row only */
} kvf_ort;

static inline bool kvf_ort_in_place(const kvf_ort *e)
{
    return e->contract->cache == KVF_CACHE_SHARED || e->contract->cache == KVF_CACHE_SCATTER;
}

/* The tree contract with a past: evaluated rows over a prefix that lies in the cache. */
static inline bool kvf_ort_extends(const kvf_ort *e)
{
    return e->contract->tree && e->contract->cache != KVF_CACHE_NONE;
}

/* ---- session.c ------------------------------------------------------------------------------- */

kvf_status kvf_ort_accepts(const kvf_model *model, kvf_error *err);
kvf_status kvf_ort_load(void **engine, kvf_model *model, kvf_error *err);
void kvf_ort_unload(void *engine);

/* ---- causal.c -------------------------------------------------------------------------------- */

/* Refuse a graph that lets a token see later ones. Runs two tokens twice. */
kvf_status kvf_ort_check_causal(kvf_ort *e, kvf_error *err);

/* ---- plan.c ---------------------------------------------------------------------------------- */

typedef struct kvf_ort_unit {
    uint32_t first, n; /* rows: order[first ...] */
    uint32_t past;     /* rows of K and V before them */
    uint32_t prefix;   /* of a graph with prefix and tree, but no past: rows that are prefix */
    uint32_t level;    /* 0, or 1 + that of the unit that they go on from */
    uint32_t parent;   /* slot of the last row of the past; only to find units over one past */
    bool done;
} kvf_ort_unit;

/* The units of a pass; sized once. */
typedef struct kvf_ort_plan {
    uint32_t rows, tokens; /* of a pass at most; of a batch at most: units x length */
    uint32_t n_units, levels;
    bool last_only;      /* units were cut where outputs are wanted */
    kvf_ort_unit *units; /* [limits.rows] */
    uint32_t *order;     /* [limits.rows] rows of the pass, unit by unit */
    uint32_t *unit_of;   /* [limits.rows] the unit of a row */
    uint32_t *place;     /* [limits.rows] the place of a row in its unit; of trees only */
} kvf_ort_plan;

typedef struct kvf_ort_batch {
    uint32_t n_units;
    const kvf_ort_unit **units; /* [n_units] */
    uint32_t n;                 /* rows of each */
    uint32_t past;              /* of the longest */
    uint32_t length;            /* of the past tensors */
    bool write;                 /* new rows go to the store */
    bool first;                 /* children of the root of a graph that extends: see run.c */
    uint32_t *slots;            /* [n_units][past] where the past lies in the store */
    uint32_t from, to;          /* sides of past and present */
    uint32_t from_row;          /* of the side, where the batch begins */
} kvf_ort_batch;

/* Cut a pass into units, in an order in which everything comes after what it goes on from. */
void kvf_ort_plan_pass(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass);
/* Gather the next units of a level that can run together into batch->units and mark them done;
 * false if none is left. */
bool kvf_ort_next_batch(kvf_ort_plan *plan, const kvf_ort *e, const kvf_pass *pass, uint32_t level,
                        kvf_ort_batch *batch);

/* ---- cache.c --------------------------------------------------------------------------------- */

typedef struct kvf_ort_side {
    uint8_t *base;
    uint32_t batch, length; /* as it lies now */
    uint64_t *stamp;        /* [tokens] of the stored row that also lies here, or 0 */
} kvf_ort_side;

typedef struct kvf_ort_cache {
    const kvf_contract *contract;
    uint32_t slots, tokens; /* of the store; of one side */
    uint32_t fixed_length;
    bool in_place;
    size_t row_bytes; /* one row of K or V */
    uint8_t *store;   /* [layers][2][slots][kv_dim] */
    uint64_t *stamp;  /* [slots] of the row in each slot: no two writes have the same */
    uint64_t writes;
    kvf_ort_side side[2]; /* [layers][2][tokens][kv_dim] as far as in use; in place: only one */
    uint32_t recent;      /* the side that was written last */
    uint32_t *todo;       /* [tokens] */
    uint64_t store_bytes, side_bytes, copied_bytes;
} kvf_ort_cache;

/* Bytes of the store; those of all else are added to *buffers. */
uint64_t kvf_ort_cache_bytes(const kvf_ort *e, uint32_t slots, uint32_t tokens, uint64_t *buffers);
kvf_status kvf_ort_cache_open(kvf_ort_cache *cache, const kvf_ort *e, uint32_t slots,
                              uint32_t tokens, kvf_error *err);
void kvf_ort_cache_close(kvf_ort_cache *cache); /* zeroed is fine */

/* Have the past of a batch lie in a side, and room for its present: sets length, from, from_row
 * and to. Copies only what does not lie there from an earlier run. */
void kvf_ort_cache_place(kvf_ort_cache *cache, kvf_ort_batch *batch);
/* The tensor of a layer's keys (0) or values (1), or of both (0) in a fused layout. */
void *kvf_ort_cache_past(const kvf_ort_cache *cache, const kvf_ort_batch *batch, uint32_t layer,
                         uint32_t kv);
void *kvf_ort_cache_present(const kvf_ort_cache *cache, const kvf_ort_batch *batch, uint32_t layer,
                            uint32_t kv);
/* After a run: take the new rows over into the store, or only forget what lay in their places. */
void kvf_ort_cache_take(kvf_ort_cache *cache, const kvf_ort_batch *batch, const kvf_pass *pass,
                        const uint32_t *order);

/* ---- run.c ----------------------------------------------------------------------------------- */

typedef struct kvf_ort_state { /* of one tree */
    kvf_ort *engine;
    kvf_limits limits;
    kvf_ort_cache cache;
    kvf_ort_plan plan;
    kvf_ort_batch batch;
    const kvf_ort_unit **chosen; /* [limits.rows] the units of the batch */
    uint8_t *inputs;             /* [n_inputs] blocks of input_bytes; pasts have none */
    uint64_t input_bytes;
    uint32_t *bound; /* [n_outputs] outputs of the graph, in the order of their binding */
    float *hidden;   /* [limits.rows][hidden] what the heads are given; NULL without them */
    OrtIoBinding *binding;
    void *memory; /* all arrays above */
    uint64_t memory_bytes, graph_copied_bytes, moved_buffers;
    bool again; /* something was learned about the graph: plan the pass anew */
} kvf_ort_state;

/* Run a batch: its new rows are in the store afterwards, its outputs where they go. */
kvf_status kvf_ort_run(kvf_ort_state *s, kvf_ort_batch *batch, const kvf_pass *pass,
                       const kvf_pass_outputs *out, kvf_error *err);
#endif
