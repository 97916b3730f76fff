/* engine.h - what an engine is: a name, a model made ready, and forward passes over slots.
 *
 * The tree decides which slots a row may see; an engine only computes. It never prints,
 * reports through err, and (native, cuda) never allocates after open.
 *
 *     slot   0    1    2    3    4    5    6        one path = runs of neighbouring slots:
 *           the  cat  sat  ran  off  .. down        root..down is {0,3} {6,1} */
#ifndef KVF_ENGINE_H
#define KVF_ENGINE_H

#include "base.h"

typedef struct kvf_run { /* neighbouring slots, in order of depth */
    uint32_t first, count;
} kvf_run;

typedef struct kvf_row {
    int32_t token;
    uint32_t position; /* 0 for a child of the root */
    uint32_t slot;     /* where its K and V lie or go */
    int32_t parent;    /* index of an earlier row of this pass, or -1 */
    /* what it sees: the first position + 1 slots of pass.runs[first_run ...], its own slot the last
     * of them; rows of one path share one list of runs */
    uint32_t first_run, n_runs;
    uint32_t want; /* KVF_WANT of each head */
    bool stored;   /* its K and V are there already and stay as they are: only outputs are wanted */
} kvf_row;

typedef struct kvf_pass {
    const kvf_row *rows; /* [n_rows] a parent before its children */
    const kvf_run *runs; /* [n_runs] */
    uint32_t n_rows, n_runs;
    bool keep; /* false: nobody will read these slots after the pass */
} kvf_pass;

/* Where outputs of a pass go: for each head, an array of [n_rows] pointers to rows of f32 [width],
 * or NULL where the row does not want it. */
typedef struct kvf_pass_outputs {
    float *const *head[KVF_HEADS];
} kvf_pass_outputs;

/* What a tree will ask for at most. */
typedef struct kvf_limits {
    uint32_t slots; /* rows of K and V to store */
    uint32_t rows;  /* of one pass */
    uint32_t runs;  /* of one pass */
    uint32_t depth; /* of one path: position < depth */
} kvf_limits;

typedef struct kvf_engine_stats {
    uint64_t cache_bytes, buffer_bytes, runtime_bytes; /* as in kvf_tree_stats */
    uint64_t copied_bytes, graph_copied_bytes, moved_buffers;
    uint64_t sent_bytes, received_bytes, device_bytes;
} kvf_engine_stats;

/* What a machine could do at most, per second; 0: not known. */
typedef struct kvf_peak {
    double bandwidth;  /* bytes read */
    double operations; /* of kernels if nothing had to be read; a multiply-add is two */
    uint64_t weights;  /* bytes of weights that a pass reads, however few its rows are */
} kvf_peak;

struct kvf_model;
typedef struct kvf_engine_ops {
    const char *name; /* as in --engine NAME */

    /* Say whether this engine could run the model, which has its file, contract and plan (or no
     * plan): KVF_OK, or a status and the reason. Cheap: no weights are touched. */
    kvf_status (*accepts)(const struct kvf_model *model, kvf_error *err);

    /* Make the model ready (weights packed, session created): its state in *engine; fills in what
     * the engine knows of model->info. The model outlives it. */
    kvf_status (*load)(void **engine, struct kvf_model *model, kvf_error *err);
    void (*unload)(void *engine); /* NULL is fine */

    /* A store of K and V for one tree, and the buffers of its passes. */
    kvf_status (*open)(void **state, void *engine, const kvf_limits *limits, kvf_error *err);
    void (*close)(void *state);                                      /* NULL is fine */
    uint64_t (*bytes)(const void *engine, const kvf_limits *limits); /* what open would take */

    /* Run every row: write its K and V to its slot, and what each head was asked for. On
     * failure only the slots of rows that were not stored are undefined. One thread at a time per
     * state; states of one engine run beside each other. */
    kvf_status (*forward)(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                          kvf_error *err);
    void (*stats)(const void *state, kvf_engine_stats *stats);

    /* Measure what there is for a model of that size and precision, for less than a second. NULL if
     * the engine cannot tell. */
    kvf_peak (*peak)(const struct kvf_model *model);
} kvf_engine_ops;

extern const kvf_engine_ops kvf_engine_native, kvf_engine_ort, kvf_engine_cuda;

/* By name; NULL if there is none of that name in this build. */
const kvf_engine_ops *kvf_engine_find(const char *name);
/* Those built in, best first; NULL after the last. */
const kvf_engine_ops *kvf_engine_list(size_t i);
#endif
