/* genai.c - the keys of genai_config.json. Their meaning: onnxruntime-genai's documentation.
 *
 * The type is "decoder" for every family: it stands for keys and values apart, which the package
 * does not expect of a model that calls itself gpt2. */
#include "export/genai.h"

#include <jansson.h>
#include <string.h>

static json_t *end_tokens(const kvf_decoder *d)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < d->n_eos; i++) json_array_append_new(list, json_integer(d->eos[i]));
    return list;
}

static json_t *describe(const kvf_decoder *d, const char *file)
{
    json_t *inputs =
        json_pack("{s:s, s:s, s:s, s:s, s:s}", "input_ids", "input_ids", "attention_mask",
                  "attention_mask", "position_ids", "position_ids", "past_key_names",
                  "past_key_values.%d.key", "past_value_names", "past_key_values.%d.value");
    json_t *outputs = json_pack("{s:s, s:s, s:s}", "logits", "logits", "present_key_names",
                                "present.%d.key", "present_value_names", "present.%d.value");
    json_t *decoder =
        json_pack("{s:{s:s, s:[]}, s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "session_options",
                  "log_id", "onnxruntime-genai", "provider_options", "filename", file, "head_size",
                  (json_int_t)d->head_dim, "hidden_size", (json_int_t)d->hidden,
                  "num_attention_heads", (json_int_t)d->heads, "num_hidden_layers",
                  (json_int_t)d->layers, "num_key_value_heads", (json_int_t)d->kv_heads, "inputs",
                  inputs, "outputs", outputs);
    int32_t eos = d->n_eos ? d->eos[0] : 0;
    json_t *model =
        json_pack("{s:s, s:I, s:I, s:i, s:i, s:o, s:o}", "type", "decoder", "vocab_size",
                  (json_int_t)d->vocab, "context_length", (json_int_t)d->context, "bos_token_id",
                  d->bos >= 0 ? d->bos : eos, "pad_token_id", d->pad >= 0 ? d->pad : eos,
                  "eos_token_id", end_tokens(d), "decoder", decoder);
    return json_pack("{s:o, s:{s:b, s:I, s:b}}", "model", model, "search", "do_sample", 0,
                     "max_length", (json_int_t)d->context, "past_present_share_buffer", 0);
}

static int put(const char *text, size_t size, void *out)
{
    kvf_output_write(out, text, size);
    return 0;
}

kvf_status kvf_genai_write(kvf_output *out, const kvf_decoder *d, const char *path, kvf_error *err)
{
    const char *slash = strrchr(path, '/');
    json_t *config = describe(d, slash ? slash + 1 : path);
    if (!config)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: no memory for genai_config.json, or a name that "
                        "is not UTF-8",
                        path);
    int failed = json_dump_callback(config, put, out, JSON_INDENT(4));
    json_decref(config);
    put("\n", 1, out);
    if (failed) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory for genai_config.json", path);
    return kvf_output_finish(out, err);
}
