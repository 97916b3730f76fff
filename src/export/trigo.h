/* trigo.h - the graphs of a Trigo policy: what a search of another project feeds, name by name.
 *
 * base_model              prefix and evaluated tokens with a mask -> hidden states of all
 * base_model_prefix       prefix -> K and V of every layer
 * base_model_eval_cached  evaluated tokens with a mask and a past -> hidden states, a dummy first
 * base_model_eval_extend  the same, and K and V with the evaluated tokens behind the past
 * policy_head             hidden states -> logits
 * value_head              hidden states -> values
 *
 * Evaluated tokens see all of the prefix, and each other where evaluated_mask is exactly 1. A
 * token's position is the prefix's length plus how many evaluated tokens it sees, itself
 * included, minus one. The dummy is token 0 at the prefix's last position: it sees the prefix only
 * and nobody sees it. */
#ifndef KVF_EXPORT_TRIGO_H
#define KVF_EXPORT_TRIGO_H

#include "export/decoder.h"
#include "onnx/writer.h"

enum { KVF_TRIGO_GRAPHS = 6 };
const char *kvf_trigo_name(int graph); /* "base_model", ...; 0 <= graph < KVF_TRIGO_GRAPHS */
/* Build one of them, in float32 and opset 17. Errors  KVF_ERR_NOMEM */
kvf_status kvf_trigo_build(kvf_writer **out, const kvf_decoder *d, int graph, kvf_error *err);
#endif
