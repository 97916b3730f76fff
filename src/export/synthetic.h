/* synthetic.h - decoders of any size with seeded random weights: what benchmarks and tests run on.
 *
 * Every weight has a generator of its own, seeded by the seed, the weight and its layer, and only
 * additions, products and square roots are used: equal specs give equal bytes on every machine. */
#ifndef KVF_EXPORT_SYNTHETIC_H
#define KVF_EXPORT_SYNTHETIC_H

#include "export/decoder.h"

typedef struct kvf_synthetic {
    kvf_decoder decoder;
    uint64_t seed;
    kvf_type type; /* of the weights that kvf_synthetic_fill gives: KVF_F32 or KVF_F16 */
} kvf_synthetic;

/* Read "FAMILY:key=value,...", such as "gpt2:layers=4,heads=4,head_dim=64,vocab=1000,seed=1". What
 * is not said is GPT-2 124M's, or a small Llama's. Errors  KVF_ERR_ARG naming the key */
kvf_status kvf_synthetic_parse(kvf_synthetic *s, const char *spec, kvf_error *err);
/* The spec with every key said, as it goes into the file's metadata. */
void kvf_synthetic_text(const kvf_synthetic *s, char *text, size_t size);

/* A kvf_fill whose user is a kvf_synthetic. */
kvf_status kvf_synthetic_fill(void *user, uint64_t tag, void *data, uint64_t bytes, kvf_error *err);
#endif
