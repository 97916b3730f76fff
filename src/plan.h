/* plan.h - what a decoder is, once its graph is understood: dimensions, weights, heads.
 *
 *   x = token_embedding[token] * embedding_scale (+ position_embedding[position + position_offset])
 *   for each layer:
 *       h = attn_norm(x)
 *       q, k, v = h Wq + bq, h Wk + bk, h Wv + bv
 *       q, k = q_norm(q), k_norm(k) per head               (if there)
 *       q, k = rotary(q, position), rotary(k, position)    (if there)
 *       store k, v; a = softmax(scale * q K^T, over the path) V
 *       x = x + (a Wo + bo)
 *       h = mlp_norm(x)
 *       x = x + (act(h Wup + bup) Wdown + bdown)                       or, gated,
 *       x = x + ((act(h Wgate + bgate) * (h Wup + bup)) Wdown + bdown)
 *       (a parallel residual: h = mlp_norm of the x that the layer began with)
 *   hidden = final_norm(x); logits = hidden Wvocab + bvocab; further heads are stacks over hidden
 *
 * lift/ makes a plan from a graph; native/ runs it. Weights are views into mapped files
 * wherever the graph allows it. */
#ifndef KVF_PLAN_H
#define KVF_PLAN_H

#include "onnx/onnx.h"

/* A matrix W [in][out] of y = x W, as it lies in the file: element (i, o) of plain types is at
 * data + (i * stride_in + o * stride_out) elements of type. Quantised (block > 0): unsigned
 * integers of `bits`, each output's inputs in order and packed little end first, rows of whole
 * blocks, and W[i][o] = (q[o][i] - zero[o][i / block]) * scale[o][i / block] as
 * com.microsoft.MatMulNBits defines it; zero is 2^(bits-1) where zeros is NULL. */
typedef struct kvf_matrix {
    const void *data; /* any alignment; NULL: there is no matrix */
    kvf_type type;    /* KVF_F32, KVF_F16, KVF_BF16; KVF_U8 if quantised */
    uint32_t in, out;
    int64_t stride_in, stride_out;
    uint32_t block, bits;
    const void *scales;   /* scale_type [out][ceil(in / block)] */
    kvf_type scale_type;  /* KVF_F32, KVF_F16, KVF_BF16 */
    const uint8_t *zeros; /* packed like data, each output's row starting on a byte; or NULL */
} kvf_matrix;

typedef struct kvf_linear {
    kvf_matrix w;
    const float *bias; /* [out] owned by the plan, or NULL */
} kvf_linear;

typedef enum kvf_norm_kind { KVF_NORM_NONE = 0, KVF_NORM_LAYER, KVF_NORM_RMS } kvf_norm_kind;
typedef struct kvf_norm {
    kvf_norm_kind kind;
    float eps;
    uint32_t width;
    const float *weight; /* [width] owned by the plan, or NULL: ones */
    const float *bias;   /* [width] or NULL: zeros */
} kvf_norm;

typedef enum kvf_act {
    KVF_ACT_NONE = 0,
    KVF_ACT_GELU_ERF,
    KVF_ACT_GELU_TANH,
    KVF_ACT_RELU,
    KVF_ACT_SILU,
    KVF_ACT_TANH,
    KVF_ACT_SIGMOID,
} kvf_act;

/* Rotary positions: pairs of a head's first 2 * pairs elements are turned by an angle that
 * depends on the position. Half: element j pairs with j + pairs; interleaved: 2j with 2j + 1.
 *     a' = a cos - b sin;  b' = b cos + a sin
 * Either a table as the graph holds or computes it, or frequencies for graphs without end. */
typedef struct kvf_rotary {
    uint32_t pairs; /* 0: none */
    bool interleaved;
    uint32_t rows;            /* of the tables; 0: use frequencies */
    const float *cos, *sin;   /* [rows][pairs] owned by the plan */
    const float *frequencies; /* [pairs]: angle = position * frequency, in f32 */
    float scale;              /* of cos and sin computed from frequencies; 1 if plain */
} kvf_rotary;

typedef struct kvf_layer {
    kvf_norm attn_norm, q_norm, k_norm, mlp_norm;
    kvf_linear q, k, v, o;
    float scale; /* of scores */
    kvf_act act;
    kvf_linear gate; /* gate.w.data NULL: not gated */
    kvf_linear up, down;
} kvf_layer;

typedef enum kvf_stage_kind { KVF_STAGE_LINEAR = 0, KVF_STAGE_NORM, KVF_STAGE_ACT } kvf_stage_kind;
typedef struct kvf_stage {
    kvf_stage_kind kind;
    kvf_linear linear;
    kvf_norm norm;
    kvf_act act;
} kvf_stage;

enum { KVF_MAX_STAGES = 16 };
typedef struct kvf_stack {    /* a head over hidden states; no stages: the head is not there */
    uint32_t n_stages, width; /* width of its output */
    kvf_stage stages[KVF_MAX_STAGES];
} kvf_stack;

typedef struct kvf_plan {
    uint32_t layers, heads, kv_heads, head_dim, hidden, vocab;
    uint32_t context; /* rows of the position or rotary table, or as the file says; 0: unlimited */
    kvf_matrix token_embedding; /* in = vocab, out = hidden */
    float embedding_scale;
    kvf_matrix position_embedding; /* in = rows, out = hidden; data NULL if none */
    uint32_t position_offset;
    kvf_rotary rotary;
    kvf_layer *layer; /* [layers] */
    bool parallel;    /* attention and MLP both start from a layer's input */
    kvf_norm final_norm;
    kvf_stack head[KVF_HEADS]; /* KVF_HIDDEN has no stages: it is the hidden state itself */
    bool has_hidden;           /* the contract shows hidden states */
    const char *family;        /* what it looks like, for people: "GPT-2", "Llama" */
    uint32_t accounted;        /* operators of the graph that the lift accounts for: all of them */
    void *memory;              /* what the plan owns; freed by kvf_plan_free */
} kvf_plan;

/* Lift a graph into a plan, by proof: see src/lift/lift.c and docs/lifting.md.
 *
 * out     set on KVF_OK, else NULL
 * model   has its file, its further files and its contract
 * Errors  KVF_ERR_MODEL: which layer or operator is not understood, and why; KVF_ERR_NOMEM */
struct kvf_model;
kvf_status kvf_plan_lift(kvf_plan **out, const struct kvf_model *model, kvf_error *err);
void kvf_plan_free(kvf_plan *plan); /* NULL is fine */

/* ---- plan.c ---------------------------------------------------------------------------------- */

/* The widest row between stages of a stack: at least hidden. */
uint32_t kvf_plan_widest_stage(const kvf_plan *plan);
/* cos and sin [depth][pairs] of rotaries that are given as frequencies. */
void kvf_rotary_tabulate(const kvf_rotary *r, uint32_t depth, float *to_cos, float *to_sin);
#endif
