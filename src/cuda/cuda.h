/* cuda.h - the cuda engine: a plan with its weights on a device, trees whose rows of K and V lie
 * there, and their passes.
 *
 * cuda.c makes a model ready, pack.c lays weights out; state.c takes a tree's memory; pass.c says to
 * the device what a pass is, and forward.c runs it in model order; probe.c measures the device.
 * Kernels are in the .cu files, what they are told in kernels.h. */
#ifndef KVF_CUDA_H
#define KVF_CUDA_H

#include "cuda/kernels.h"
#include "engine.h"
#include "native/pool.h"
#include "tiles.h"

#include <cuda_runtime_api.h>

typedef struct cuda_layer {
    cuda_norm attn_norm, q_norm, k_norm, mlp_norm;
    cuda_weights qkv;         /* q, k and v side by side */
    cuda_weights o, up, down; /* up: with gate, where the plan has it */
} cuda_layer;

typedef struct cuda_stage {
    cuda_weights linear;
    cuda_norm norm;
} cuda_stage;

/* A model made ready; shared by all its trees, immutable. */
typedef struct cuda_engine {
    const kvf_plan *plan;
    int device, capability;  /* 90 for 9.0 */
    bool overlap;            /* a kernel may begin before the one in front of it has ended */
    kvf_precision precision; /* of all but stacks, which are f32 */
    bool bf16_cache;
    cuda_layer *layer; /* [plan->layers] */
    cuda_norm final_norm;
    cuda_stage head[KVF_HEADS][KVF_MAX_STAGES];
    const void *token_table, *position_table;
    bool token_bf16, position_bf16;
    const float *cos, *sin;             /* tables of the plan, or NULL */
    uint8_t *memory;                    /* on the device: all of the above */
    uint64_t weight_bytes, table_bytes; /* table_bytes: of embeddings, which are read by row */
    char device_name[256];
    uint32_t q_dim, kv_dim, head_stride; /* head_stride: elements of a head in the cache */
    uint32_t row_bytes;                  /* of K or V of one slot and layer */
    uint32_t inner, widest_stage;
    uint32_t parts; /* blocks that share the queries of one head of K and V */
} cuda_engine;

/* What the device is told of a pass: the counts, then lists. */
typedef struct cuda_counts {
    uint32_t rows, wanted;
} cuda_counts;

enum {
    CUDA_OUT_ROWS = 64,   /* rows of one head that are computed and brought back at a time */
    CUDA_GRAPH_ROWS = 64, /* most rows of a pass that runs as a graph */
    CUDA_GRAPHS = 32,     /* kept by a tree */
};

/* Lists of a pass, each at a place of its own in one block, on the host and on the device: those that
 * differ from step to step side by side. */
typedef enum cuda_list_id {
    CUDA_COUNTS = 0,   /* cuda_counts */
    CUDA_PIECES,       /* [KVF_HEADS][pieces] rows in every piece of CUDA_OUT_ROWS */
    CUDA_WANTED,       /* [rows] rows with outputs */
    CUDA_OUTS,         /* [KVF_HEADS][rows] rows that want a head */
    CUDA_ROWS,         /* [rows] cuda_row */
    CUDA_RUNS,         /* [runs] */
    CUDA_ITEMS,        /* [rows * spans] of all rows */
    CUDA_WANTED_ITEMS, /* [rows * spans] of those with outputs */
    CUDA_LISTS,
} cuda_list_id;

/* Which kernels a pass is: passes that agree in this are one graph. */
typedef struct cuda_shape {
    uint32_t rows, wanted, outs[KVF_HEADS]; /* at most so many */
    uint32_t items, wanted_items;
    uint32_t small; /* few enough rows for a graph */
} cuda_shape;

typedef struct cuda_graph {
    cuda_shape shape;
    cudaGraphExec_t exec; /* NULL: the shape was seen, but not recorded */
    uint64_t used;        /* 0: this place is free */
} cuda_graph;

/* One tree. */
typedef struct cuda_state {
    const cuda_engine *engine;
    kvf_limits limits;
    uint32_t spans, group_rows; /* of the deepest path; rows whose spans are merged at a time */
    uint32_t pieces;
    cudaStream_t stream;
    cudaError_t failed; /* the first error of a pass that is being issued */
    const char *doing;  /* what it was */
    uint8_t *memory;    /* on the device: the cache and all buffers */
    uint64_t memory_bytes, cache_bytes, host_bytes;
    uint8_t *cache; /* [layers][2][slots][kv_heads][head_stride] */
    float *x, *qkv, *cos, *sin;
    void *h, *a, *up; /* rows as products take them */
    float *stack[2];  /* [CUDA_OUT_ROWS][widest stage] */
    float *partial;
    uint32_t *arrived;
    float *out[KVF_HEADS];       /* [CUDA_OUT_ROWS][width] */
    uint8_t *pass;               /* lists on the device */
    uint8_t *sent;               /* what they are, in memory that the device reads */
    float *received[KVF_HEADS];  /* as out, on the host */
    uint64_t at[CUDA_LISTS + 1]; /* where lists begin */
    uint32_t hidden_stride, qkv_stride, h_stride, a_stride, up_stride, stack_stride;
    uint64_t zero_bytes;       /* of memory behind the cache, which must begin as zeros */
    uint8_t *next;             /* lists of the pass that comes */
    uint64_t used[CUDA_LISTS]; /* bytes of each */
    uint32_t *all;             /* [rows] 0, 1, 2 ... */
    kvf_tile *tiles;           /* [rows] */
    uint32_t n_groups[2], *group_items[2]; /* of all rows and those with outputs: groups, and
                                              [groups + 1] where items of each begin */
    bool unknown;                          /* what the device has of the lists */
    cuda_graph graphs[CUDA_GRAPHS];
    uint64_t clock, sent_bytes, received_bytes;
} cuda_state;

/* Use the engine's device, whichever one the caller's thread uses; and go back to that. */
typedef struct cuda_before {
    int device; /* -1: nothing to go back to */
    enum cudaStreamCaptureMode mode;
} cuda_before;
cudaError_t kvf_cuda_enter(const cuda_engine *e, cuda_before *before);
void kvf_cuda_leave(cuda_before before);
/* A failure of the runtime in words: out of memory is KVF_ERR_NOMEM, all else KVF_ERR_ENGINE. */
kvf_status kvf_cuda_fail(kvf_error *err, cudaError_t code, const char *doing);

/* ---- pack.c ---------------------------------------------------------------------------------- */

/* One product to be packed. */
typedef struct cuda_packing {
    cuda_weights *out;
    const kvf_linear *parts[3]; /* side by side; of a gated product: gate, then up */
    uint32_t n;
    bool gated;
} cuda_packing;

/* Say what a product will be (but for its places): sizes and bytes of its weights, in *bytes.
 * Errors  KVF_ERR_MODEL */
kvf_status kvf_cuda_pack_begin(const cuda_packing *p, kvf_precision precision, uint64_t *bytes,
                               kvf_error *err);
uint32_t kvf_cuda_panel_size(uint32_t precision);
bool kvf_cuda_has_bias(const cuda_packing *p);
/* Panels [first, end): weights to data, biases and scales (or NULL) to arrays by panel. */
void kvf_cuda_pack_panels(const cuda_packing *p, uint8_t *data, float *bias, float *scale,
                          uint32_t first, uint32_t end);

/* ---- state.c --------------------------------------------------------------------------------- */

kvf_status kvf_cuda_state_open(void **state, void *engine, const kvf_limits *limits,
                               kvf_error *err);
void kvf_cuda_state_close(void *state);
uint64_t kvf_cuda_state_bytes(const void *engine, const kvf_limits *limits);
void kvf_cuda_state_stats(const void *state, kvf_engine_stats *stats);

/* ---- pass.c ---------------------------------------------------------------------------------- */

/* Lay out the lists of a pass and its shape, and send what differs from those before. */
void kvf_cuda_send_pass(cuda_state *s, const kvf_pass *pass, const kvf_pass_outputs *out,
                        cuda_shape *shape);

/* ---- forward.c ------------------------------------------------------------------------------- */

kvf_status kvf_cuda_forward(void *state, const kvf_pass *pass, const kvf_pass_outputs *out,
                            kvf_error *err);

/* ---- probe.c --------------------------------------------------------------------------------- */

kvf_peak kvf_cuda_peak(const struct kvf_model *model);

/* Keep the first error of a pass: the calls behind it do nothing. */
static inline bool cuda_did(cuda_state *s, const char *doing, cudaError_t code)
{
    if (code && !s->failed) {
        s->failed = code;
        s->doing = doing;
    }
    return !s->failed;
}

static inline uint32_t cuda_up_to(uint32_t n, uint32_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static inline void *cuda_list_on_host(const cuda_state *s, cuda_list_id list)
{
    return s->next + s->at[list];
}
static inline void *cuda_list_on_device(const cuda_state *s, cuda_list_id list)
{
    return s->pass + s->at[list];
}
#endif
