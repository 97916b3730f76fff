/* model.h - an open model: its file, what its inputs and outputs mean, its plan, its engine. */
#ifndef KVF_MODEL_H
#define KVF_MODEL_H

#include "engine.h"
#include "onnx/onnx.h"
#include "plan.h"

/* What an input or output is for. */
typedef enum kvf_role {
    KVF_ROLE_NONE = 0,
    KVF_ROLE_INPUT_IDS,      /* [batch, new] */
    KVF_ROLE_POSITION_IDS,   /* [batch, new] */
    KVF_ROLE_ATTENTION_MASK, /* [batch, past + new], ones where a token is */
    KVF_ROLE_PAST_KEY,       /* see kvf_layout */
    KVF_ROLE_PAST_VALUE,
    KVF_ROLE_PAST_FUSED,       /* [2, batch, kv_heads, past, head_dim]: K and V in one */
    KVF_ROLE_USE_CACHE_BRANCH, /* bool [1] of merged exports */
    KVF_ROLE_WRITE_INDICES,    /* [batch]: where TensorScatter writes the new rows */
    KVF_ROLE_SEQUENCE_LENGTHS, /* [batch]: rows of K and V that count, new ones included */
    KVF_ROLE_PREFIX_IDS,       /* tree contract: [batch, prefix] */
    KVF_ROLE_EVALUATED_IDS,    /* tree contract: [batch, evaluated] */
    KVF_ROLE_EVALUATED_MASK,   /* tree contract: f32 [batch, evaluated, evaluated], 1.0 where a row
                                  may attend */
    KVF_ROLE_LOGITS,           /* [batch, new, vocab] */
    KVF_ROLE_POLICY,           /* [batch, new, moves] */
    KVF_ROLE_VALUE,            /* [batch, new] or [batch, new, width] */
    KVF_ROLE_HIDDEN,           /* [batch, new, hidden] */
    KVF_ROLE_PRESENT_KEY,
    KVF_ROLE_PRESENT_VALUE,
    KVF_ROLE_PRESENT_FUSED,
} kvf_role;
const char *kvf_role_name(kvf_role role); /* "input_ids"; "" for none */

typedef struct kvf_contract_port {
    uint32_t value; /* in the graph */
    kvf_role role;
    uint32_t layer; /* of pasts and presents */
} kvf_contract_port;

/* The axes of one past or present tensor. */
typedef enum kvf_layout {
    KVF_LAYOUT_HEADS = 0, /* [batch, kv_heads, length, head_dim] */
    KVF_LAYOUT_LENGTH,    /* [batch, length, kv_heads, head_dim] */
    KVF_LAYOUT_FUSED,     /* [2, batch, kv_heads, length, head_dim]: K and V in one */
} kvf_layout;

/* How the graph takes its past. */
typedef enum kvf_cache_kind {
    KVF_CACHE_NONE = 0, /* no past: only whole sequences, or the tree contract */
    KVF_CACHE_CONCAT,   /* present = past with the new rows behind it, a fresh tensor */
    KVF_CACHE_SHARED,   /* GroupQueryAttention: in place when both are bound to one buffer */
    KVF_CACHE_SCATTER,  /* TensorScatter: in place, the past has its full length from the start */
} kvf_cache_kind;

typedef struct kvf_contract {
    uint32_t n_inputs, n_outputs;
    kvf_contract_port *inputs, *outputs; /* in the file's order */
    kvf_cache_kind cache;
    kvf_layout layout;
    bool tree; /* evaluated_ids and evaluated_mask, with prefix_ids or a past */
    uint32_t layers, heads, kv_heads, head_dim, hidden, vocab, context;
    uint32_t width[KVF_HEADS];
    kvf_type ids_type, kv_type, logits_type;
} kvf_contract;

/* Find out what the inputs and outputs mean: by the names map ("role=name,...") where it is given,
 * else by name, else by shape.
 * Errors  KVF_ERR_MODEL naming the input or output, what it is and what it should be */
kvf_status kvf_contract_read(kvf_contract *contract, const kvf_onnx *onnx, const char *names,
                             kvf_error *err);
void kvf_contract_free(kvf_contract *contract); /* zeroed is fine */

struct kvf_model {
    kvf_model_info info;
    kvf_onnx *onnx;
    kvf_contract contract;
    kvf_onnx *policy_head, *value_head; /* further files, or NULL */
    kvf_plan *plan;                     /* if it lifted, else NULL */
    const kvf_engine_ops *ops;          /* NULL: engine "none" */
    bool branches; /* a pass may have several rows after one, also where nothing is kept */
    void *engine;  /* the model's state in that engine */
    kvf_model_options options; /* its strings are copies */
    char why[256];
    kvf_port *ports;   /* [n_inputs + n_outputs] what kvf_model_input and _output show */
    kvf_count *opsets; /* [n_opsets] what kvf_model_opset shows */
    char *exporter;
};
#endif
