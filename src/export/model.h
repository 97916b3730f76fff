/* model.h - the graph of a whole decoder: token ids and a past in, logits and presents out. */
#ifndef KVF_EXPORT_MODEL_H
#define KVF_EXPORT_MODEL_H

#include "export/decoder.h"
#include "onnx/writer.h"

typedef struct kvf_export_format {
    int64_t opset; /* 17 or 23 */
    bool optimum;  /* names of optimum and transformers.js, with attention_mask */
    kvf_type type; /* of weights, K, V and logits: KVF_F32 or KVF_F16 */
} kvf_export_format;

/* Build the graph; every weight's tag is kvf_weight_tag. Batch, new and past length are dynamic,
 * past 0 included. A decoder with a value head has `values` [batch, new] beside the logits.
 * Errors  KVF_ERR_MODEL (sizes), KVF_ERR_NOMEM */
kvf_status kvf_export_model(kvf_writer **out, const kvf_decoder *d, const kvf_export_format *format,
                            kvf_error *err);
#endif
