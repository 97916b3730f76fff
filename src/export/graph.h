/* graph.h - the blocks that decoder graphs are made of, in the order of the forward pass.
 *
 * Every function adds nodes and returns the name of its result. A model graph and the graphs of
 * a search (trigo.h) differ in inputs, positions and masks; their layers are these. */
#ifndef KVF_EXPORT_GRAPH_H
#define KVF_EXPORT_GRAPH_H

#include "export/decoder.h"
#include "onnx/writer.h"

typedef struct kvf_build {
    kvf_writer *w;
    const kvf_decoder *d;
    kvf_type type; /* of weights, K, V and logits: KVF_F32 or KVF_F16 */
    int64_t opset; /* 17, or 23: Attention, RMSNormalization, RotaryEmbedding, Gelu */
    uint64_t made; /* constants and the token embedding are shared: those that are there already */
} kvf_build;

/* What all layers share. */
typedef struct kvf_build_shared {
    const char *mask;      /* added to scores: 0 where a row may look, else very low;
                              [new, total] or [batch, new, total], see kvf_build_mask */
    const char *cos, *sin; /* [batch, new, ...] of the new rows; NULL: learned positions */
} kvf_build_shared;

/* K and V of one layer, [batch, kv_heads, length, head_dim]. */
typedef struct kvf_build_kv {
    const char *key, *value;
} kvf_build_kv;

const char *kvf_build_i64(kvf_build *b, const char *name, int64_t value); /* scalar */
const char *kvf_build_i64s(kvf_build *b, const char *name, const int64_t *values, int64_t n);
/* The size of one dimension, as a scalar. */
const char *kvf_build_dim(kvf_build *b, const char *name, const char *of, int64_t axis);

/* ids and positions [batch, new] -> x [batch, new, hidden] */
const char *kvf_build_embed(kvf_build *b, const char *ids, const char *positions);
/* positions [batch, new] -> cos and sin, if the decoder has rotary positions */
void kvf_build_rotary(kvf_build *b, const char *positions, kvf_build_shared *shared);
/* A row sees all that is before it, and itself: bool [new, past + new] out of two scalars. */
const char *kvf_build_causal(kvf_build *b, const char *name, const char *fresh, const char *past);
/* visible (bool, [new, total] or [batch, new, total]) -> the mask that layers take */
const char *kvf_build_mask(kvf_build *b, const char *visible, bool batched);

/* One layer: x -> x, and K and V with the past before them: to the outputs named in present, or
 * to names of its own where those are NULL. past NULL: there is none. */
const char *kvf_build_layer(kvf_build *b, uint32_t layer, const char *x,
                            const kvf_build_shared *shared, const kvf_build_kv *past,
                            kvf_build_kv *present);
/* K and V of a layer alone: for graphs that end with them. */
void kvf_build_keys(kvf_build *b, uint32_t layer, const char *x, const kvf_build_shared *shared,
                    kvf_build_kv *present);

/* x [batch, new, hidden] -> hidden states under this name */
const char *kvf_build_final_norm(kvf_build *b, const char *x, const char *output);
/* hidden [batch, new, hidden] -> logits [batch, new, vocab] */
const char *kvf_build_logits(kvf_build *b, const char *hidden, const char *output);
/* hidden [..., hidden] -> values [...] */
const char *kvf_build_values(kvf_build *b, const char *hidden, const char *output);
#endif
