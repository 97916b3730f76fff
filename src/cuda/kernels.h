/* kernels.h - what the host tells a kernel, and how numbers lie on the device.
 *
 * Weights of a product are cut into panels of outputs and units of 32 inputs, so that a lane loads
 * 16 bytes and a warp a whole line of them. Missing outputs and inputs are zeros.
 *
 *     bf16  [panel of 16][unit][2][lane][8]   lane 4 g + t, half k: inputs 8t + 4k + 0, 1 of outputs
 *                                             g and g + 8, then inputs 8t + 4k + 2, 3 of both
 *     q8    [panel of 16][unit][lane][16]     bytes, 128 is zero: inputs 8t ... 8t + 7 of output g,
 *                                             then of g + 8; a scale for every output
 *     f32   [panel of 32][unit][8][lane][4]   lane is the output, four inputs at a time
 *
 * Gate and up lie as one: a panel of gate, a panel of up, and so on. Whoever writes rows that a
 * product reads writes zeros behind them, up to a whole unit.
 *
 * The bits of an output depend on its row and its weights alone. Inputs are cut into slices of whole
 * units, at most KVF_SLICES of equal length, which depends on the number of inputs alone; within a
 * slice sums run in order (on tensor cores: in steps of 16 inputs, in an order that is the device's
 * own), and slices are added in order:
 *     y = ((s0 + s1) + s2 ...) * scale + bias
 * x is rounded to bf16 where weights are bf16 or q8.
 *
 * Attention cuts a path into spans of KVF_SPAN positions at fixed depths, and these into chunks.
 * Each chunk gives m = max s, l = sum e^(s-m), a = sum e^(s-m) v; chunks are merged in order into
 * spans, and spans in order into the row:
 *     m' = max(m, mc);  l' = l e^(m-m') + lc e^(mc-m');  a' likewise
 * So neither the rows that share a span nor the blocks that divide the work leave a trace. */
#ifndef KVF_CUDA_KERNELS_H
#define KVF_CUDA_KERNELS_H

#include "engine.h"
#include "matrix.h"

enum {
    KVF_UNIT = 32,         /* inputs that a warp takes at a time */
    KVF_SLICES = 8,        /* into which the inputs of a product are cut at most: a warp for each */
    KVF_MMA_PANEL = 16,    /* outputs of a panel: bf16 and q8 */
    KVF_F32_PANEL = 32,    /* the same: f32 */
    KVF_SPAN = 256,        /* positions of a path that one block takes */
    KVF_CHUNK = 64,        /* of these at a time */
    KVF_BF16_QUERIES = 64, /* most queries of one block, over a cache in bf16 */
    KVF_F32_QUERIES = 8,   /* and in f32 */
    KVF_MAX_HEAD_DIM = 256,
    KVF_OWN_NORM_BYTES = 31 << 10, /* of rows that a product norms itself, at most */
    KVF_CUDA_WARPS = 4,            /* of blocks that are not products */
    KVF_PROBE_THREADS = 256,       /* of blocks that only measure */
};

/* A row of a pass, as kernels need it. */
typedef struct cuda_row {
    int32_t token;
    uint32_t position, slot;
    uint32_t stored; /* its K and V stay as they are */
} cuda_row;

/* One span of one row, or of some rows that all see the whole of it. */
typedef struct cuda_item {
    uint16_t first, n; /* places in the list of active rows; n = 0: nothing to do */
    uint32_t span;
    uint32_t run, used; /* where its first position is: the run, and how far into it */
} cuda_item;

typedef struct cuda_norm { /* as kvf_norm, with its numbers on the device */
    uint32_t kind, width;
    float eps;
    const float *weight, *bias;
} cuda_norm;

typedef struct cuda_weights {
    const void *data; /* NULL: there is no such product */
    const float *scale,
        *bias;             /* [panels][outputs of a panel]; scale NULL unless q8, bias or NULL */
    uint32_t precision;    /* kvf_precision */
    uint32_t in, out;      /* out: of gate and up together those of one */
    uint32_t units, slice; /* of 32 inputs: all, and those of a slice */
    uint32_t panels;       /* with both of gate and up; their outputs fill whole units */
    uint32_t gated;        /* panels of gate and up in turn */
} cuda_weights;

typedef enum cuda_todo {
    CUDA_SET = 0, /* y = act(product) */
    CUDA_ADD,     /* y += product */
} cuda_todo;

/* A list of rows: places 0 .. *n - 1; the row of place i is index[i], or i where index is NULL. */
typedef struct cuda_list {
    const uint32_t *n, *index;
} cuda_list;

/* y = x W + b for the rows of a list. x and y are rows of floats or, where they say so, of bf16. */
typedef struct cuda_product {
    cuda_weights w;
    cuda_list list;
    const void *x; /* of w's kind (see cuda_reads_bf16); with a norm: f32, the list's rows */
    void *y;
    uint32_t x_stride, y_stride; /* in elements; x's a multiple of 8 */
    uint32_t todo, act;
    uint32_t y_bf16;
    uint32_t x_by_row, y_by_row; /* rows of x or y are the list's rows; else its places */
    cuda_norm norm;              /* kind 0: none */
} cuda_product;

/* Whether a product takes its x in bf16. */
static inline bool cuda_reads_bf16(uint32_t precision)
{
    return precision != KVF_W_F32;
}

typedef struct cuda_embed {
    cuda_list list; /* without index */
    const cuda_row *rows;
    const void *token, *position;               /* tables; position may be NULL */
    uint32_t token_bf16, position_bf16, offset; /* offset: of positions */
    uint32_t hidden, x_stride;
    float scale;
    float *x;
} cuda_embed;

/* y = norm(x), or act(x), for the rows of a list; y by place. */
typedef struct cuda_rowwise {
    cuda_list list;
    const float *x;
    void *y;
    uint32_t x_stride, y_stride, x_by_row, y_bf16, act, width;
    cuda_norm norm;
} cuda_rowwise;

/* q and k normed and turned where the plan does, K and V stored. */
typedef struct cuda_store {
    cuda_list list; /* without index */
    const cuda_row *rows;
    float *qkv;  /* [row][heads + 2 kv_heads][head_dim] */
    void *k, *v; /* of this layer: [slot][kv_heads][head_stride] */
    uint32_t qkv_stride, heads, kv_heads, head_dim, head_stride, bf16;
    uint32_t first_head; /* heads before it need nothing */
    cuda_norm q_norm, k_norm;
    const float *cos, *sin; /* [position][pairs] */
    uint32_t pairs, interleaved;
} cuda_store;

typedef struct cuda_attend {
    cuda_list list;
    const cuda_item *items; /* one for every block of a column */
    const cuda_row *rows;
    const kvf_run *runs;
    const float *qkv;
    const void *k, *v;
    void *a;           /* [place][heads][head_dim] */
    float *partial;    /* [place - first_place][spans][heads][head_dim + 2] m, l and a of spans */
    uint32_t *arrived; /* [place - first_place][blocks of a row] spans that are there; zeros */
    uint32_t merged_apart; /* spans are merged by a kernel of their own */
    uint32_t first_place, spans;
    uint32_t qkv_stride, a_stride, a_bf16;
    uint32_t heads, kv_heads, head_dim, head_stride;
    uint32_t parts; /* blocks that share the queries of one head of K and V */
    float scale;    /* of scores, times log2 e */
} cuda_attend;

/* What a probe reads, or multiplies. */
typedef struct cuda_probe {
    const void *data;
    uint64_t pieces; /* of 16 bytes */
    uint32_t steps;  /* times that all is read, or multiplied */
    uint32_t *sink;  /* where a result goes that hardly ever is: so that none can be left out */
} cuda_probe;

/* What can be launched. NULL: there is no such kernel. */
#ifdef __cplusplus
extern "C" {
#endif
/* rows: the most that the list can have; smaller kernels are for few. The grid is for one product;
 * *tile is how many rows a block takes, *columns how many panels. */
const void *kvf_cuda_product_kernel(const cuda_weights *w, uint32_t rows, uint32_t *tile,
                                    uint32_t *columns, uint32_t *threads);
const void *kvf_cuda_embed_kernel(void);
const void *kvf_cuda_rowwise_kernel(void);
const void *kvf_cuda_store_kernel(void);
const void *kvf_cuda_attend_kernel(bool bf16, uint32_t head_dim);
const void *kvf_cuda_merge_kernel(void);
const void *kvf_cuda_read_kernel(void);
/* *operations: of one thread in one step. */
const void *kvf_cuda_multiply_kernel(uint32_t precision, uint32_t *operations);
#ifdef __cplusplus
}
#endif
#endif
