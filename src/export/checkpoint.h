/* checkpoint.h - a folder with config.json and safetensors, as a decoder and its weights. */
#ifndef KVF_EXPORT_CHECKPOINT_H
#define KVF_EXPORT_CHECKPOINT_H

#include "export/config.h"
#include "export/safetensors.h"

typedef struct kvf_checkpoint {
    kvf_decoder decoder;
    kvf_safetensors *tensors;
    const struct kvf_naming *naming; /* of the family's tensors */
    const char *prefix;              /* before every name but the head's */
    kvf_type type;                   /* of what kvf_checkpoint_fill gives: KVF_F32 or KVF_F16 */
} kvf_checkpoint;

typedef enum kvf_checkpoint_kind {
    KVF_CHECKPOINT_HUGGING_FACE, /* model.safetensors or shards; config.json of transformers */
    KVF_CHECKPOINT_TRIGO,        /* weights.safetensors: lm.* a GPT-2, value.* its value head */
} kvf_checkpoint_kind;

/* Open a folder and find every weight that its decoder needs. A tensor that the decoder has no use
 * for is an error too, unless it is known to be harmless or ignored: it would be missing.
 * Errors  KVF_ERR_IO; KVF_ERR_MODEL naming the key or tensor; KVF_ERR_NOMEM */
kvf_status kvf_checkpoint_open(kvf_checkpoint *out, const char *folder, kvf_checkpoint_kind kind,
                               const kvf_ignored *ignored, kvf_error *err);
void kvf_checkpoint_close(kvf_checkpoint *checkpoint); /* zeroed is fine */

/* A kvf_fill whose user is a kvf_checkpoint. Errors  KVF_ERR_MODEL: numbers beyond float16 */
kvf_status kvf_checkpoint_fill(void *user, uint64_t tag, void *data, uint64_t bytes,
                               kvf_error *err);
#endif
