/* support_plan.h - decoders of any shape with random weights, as models of the native engine,
 * without a file. */
#ifndef SUPPORT_PLAN_H
#define SUPPORT_PLAN_H

#include "model.h"

typedef enum test_positions {
    TEST_LEARNED = 0,
    TEST_ROTARY_HALF,
    TEST_ROTARY_INTERLEAVED,
    TEST_ROTARY_FREQUENCIES,
} test_positions;

typedef struct test_shape {
    uint32_t layers, heads, kv_heads, head_dim, hidden, inner, vocab, context;
    kvf_norm_kind norm;
    kvf_act act;
    bool gated, biases, qk_norm, value_head, parallel;
    uint32_t pairs; /* that rotary positions turn; 0: all */
    test_positions positions;
} test_shape;

/* GPT-2 and Llama manners; zero dimensions take small odd ones. */
test_shape test_gpt2(uint32_t layers, uint32_t heads, uint32_t head_dim, uint32_t vocab);
test_shape test_llama(uint32_t layers, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                      uint32_t vocab);

/* One line of a table of shapes that a test goes through, with a head for values. */
typedef struct test_variant {
    const char *name;
    bool llama; /* else gpt2, whose kv_heads are its heads */
    uint32_t heads, kv_heads, head_dim;
    test_positions positions;
    bool qk_norm, parallel;
    uint32_t pairs;
} test_variant;
test_shape test_shape_of(const test_variant *v, uint32_t layers, uint32_t vocab);

/* A model whose engine is native, loaded with these options (threads, precision, kv, cpu). NULL and
 * a message in err if that fails. Equal seeds and shapes give equal weights. */
kvf_model *test_model_create(const test_shape *shape, uint64_t seed,
                             const kvf_model_options *options, kvf_error *err);
/* The same for another engine. */
kvf_model *test_model_create_for(const kvf_engine_ops *engine, const test_shape *shape,
                                 uint64_t seed, const kvf_model_options *options, kvf_error *err);
void test_model_free(kvf_model *model);
#endif
