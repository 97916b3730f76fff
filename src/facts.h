/* facts.h - what the inside of a graph says of widths, when its inputs and outputs do not.
 *
 * Exporters leave dimensions symbolic that are fixed all the same: the head size of a
 * GroupQueryAttention, the width of hidden states behind a Reshape. Weights have real shapes, so
 * they are asked: the tables that tokens and positions are looked up in, projections, norms. These
 * are readings, not proofs; the plan proves, and an engine finds a wrong one out by itself. */
#ifndef KVF_FACTS_H
#define KVF_FACTS_H

#include "onnx/onnx.h"

typedef struct kvf_facts {  /* 0: not said */
    uint64_t vocab, hidden; /* of the table that token ids choose rows of */
    uint64_t context;       /* rows of the shortest table that positions choose rows of */
    uint64_t heads, kv_heads, head_dim; /* of the first attention operator */
} kvf_facts;

/* ids: the graph's inputs of token ids. */
kvf_facts kvf_facts_of(const kvf_graph *graph, const uint32_t *ids, uint32_t n_ids);
/* Size of the last dimension of a value, or 0. */
uint64_t kvf_width_of(const kvf_graph *graph, uint32_t value);
#endif
