/* support_fake.h - an engine whose arithmetic is a hash, and a model around it.
 *
 * The K and V of a slot are one number: a hash chain over the tokens of the path. Outputs are
 * made from it, so they depend on every token of the path and its order. Each row's runs are
 * followed from the root on, and a pass that shows a row the wrong slot, leaves one out, writes one
 * twice or breaks any other rule of engine.h fails with words. */
#ifndef SUPPORT_FAKE_H
#define SUPPORT_FAKE_H

#include "tree.h"

typedef struct fake_model {
    struct kvf_model model;
    uint32_t fail_at;  /* the n-th pass from now fails (1: the next); 0: none */
    uint64_t passes;   /* that ran, of all trees */
    uint64_t rows;     /* of these passes */
    uint64_t lists;    /* runs handed over in these passes */
    uint32_t widest;   /* rows of the largest pass */
    uint32_t unstored; /* rows whose K and V were not there before */
} fake_model;

/* A model of this vocabulary and context (0: unlimited), with logits [vocab] and value [1]. */
void fake_model_init(fake_model *m, uint32_t vocab, uint32_t context);

/* What the engine gives for the last of these tokens. */
void fake_outputs(const int32_t *tokens, size_t n, kvf_head head, uint32_t width, float *out);
#endif
