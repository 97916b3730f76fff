/* decoder.h - what a decoder is before it is a graph: dimensions, kinds of layers, its weights.
 *
 * Every family is a filled kvf_decoder; one builder (graph.h) turns it into ONNX nodes, and one
 * list of weights says which tensors it has and how they lie in the file. Matrices are
 * [in][out], for y = x W, whatever the checkpoint keeps. */
#ifndef KVF_EXPORT_DECODER_H
#define KVF_EXPORT_DECODER_H

#include "plan.h"

enum { KVF_MAX_PAIRS = 512, KVF_MAX_EOS = 8, KVF_MAX_LAYERS = 4096 };

typedef struct kvf_decoder {
    char family[16]; /* "gpt2", "llama", ... as config.json's model_type */
    uint32_t layers, heads, kv_heads, head_dim, hidden, inner, vocab;
    uint32_t context;   /* longest sequence; rows of the position table if there is one */
    kvf_norm_kind norm; /* of every layer, and the last one */
    float eps;
    kvf_act act;
    bool gated;     /* act(x gate) * (x up) instead of act(x up) */
    bool tied;      /* the token embedding is the head too */
    bool positions; /* learned; else rotary */
    bool qkv_bias, out_bias, mlp_bias;
    bool qk_norm;                       /* RMS norm of every head of q and k */
    bool scale_by_layer;                /* scores of layer i are divided by i + 1 too */
    float scale;                        /* of scores */
    float frequencies[KVF_MAX_PAIRS];   /* [head_dim / 2] rotary: angle = position * frequency */
    uint32_t value_inner[2];            /* widths of a value head's inner layers; 0: no such head */
    int32_t eos[KVF_MAX_EOS], bos, pad; /* token ids; -1: none */
    uint32_t n_eos;
} kvf_decoder;

/* The weights in the order of the file. A layer has those from FIRST_OF_LAYER on. */
typedef enum kvf_weight {
    KVF_W_TOKENS,    /* [vocab][hidden] */
    KVF_W_POSITIONS, /* [context][hidden] */
    KVF_W_ATTN_NORM, /* [hidden], as all norms but those of heads */
    KVF_W_ATTN_NORM_BIAS,
    KVF_W_QKV, /* [hidden][(heads + 2 kv_heads) * head_dim]: q, k, v side by side */
    KVF_W_QKV_BIAS,
    KVF_W_Q_NORM, /* [head_dim] */
    KVF_W_K_NORM,
    KVF_W_OUT, /* [heads * head_dim][hidden] */
    KVF_W_OUT_BIAS,
    KVF_W_MLP_NORM,
    KVF_W_MLP_NORM_BIAS,
    KVF_W_GATE, /* [hidden][inner] */
    KVF_W_GATE_BIAS,
    KVF_W_UP, /* [hidden][inner] */
    KVF_W_UP_BIAS,
    KVF_W_DOWN, /* [inner][hidden] */
    KVF_W_DOWN_BIAS,
    KVF_W_FINAL_NORM,
    KVF_W_FINAL_NORM_BIAS,
    KVF_W_HEAD,    /* [hidden][vocab] */
    KVF_W_VALUE_1, /* [hidden][value_inner[0]] */
    KVF_W_VALUE_1_BIAS,
    KVF_W_VALUE_NORM_1,
    KVF_W_VALUE_NORM_1_BIAS,
    KVF_W_VALUE_2, /* [value_inner[0]][value_inner[1]] */
    KVF_W_VALUE_2_BIAS,
    KVF_W_VALUE_NORM_2,
    KVF_W_VALUE_NORM_2_BIAS,
    KVF_W_VALUE_OUT, /* [value_inner[1]][1] */
    KVF_W_VALUE_OUT_BIAS,
    KVF_WEIGHTS,
} kvf_weight;

static inline bool kvf_weight_of_layer(kvf_weight weight)
{
    return weight >= KVF_W_ATTN_NORM && weight <= KVF_W_DOWN_BIAS;
}

/* A weight and its layer as one number, for kvf_writer_weight and its callback. */
static inline uint64_t kvf_weight_tag(kvf_weight weight, uint32_t layer)
{
    return (uint64_t)weight << 32 | layer;
}

const char *kvf_weight_name(kvf_weight weight); /* "qkv.weight" */

/* Shape of a weight; returns its rank, 0 if this decoder does not have it. */
uint32_t kvf_weight_shape(const kvf_decoder *d, kvf_weight weight, int64_t dims[2]);

/* Check that a description is whole and its sizes are sane: every product of two of them fits
 * 62 bits. Errors  KVF_ERR_MODEL naming the size */
kvf_status kvf_decoder_check(const kvf_decoder *d, kvf_error *err);

/* Rotary frequencies theta^(-2 i / head_dim), before any scaling. */
void kvf_decoder_rotary(kvf_decoder *d, double theta);

/* What every family starts from: the kinds of layers that its name stands for, no sizes yet.
 * False if the family is not known. */
bool kvf_decoder_family(kvf_decoder *d, const char *family);
const char *kvf_decoder_families(void); /* "gpt2, llama, ...", for messages */
#endif
