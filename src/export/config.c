/* config.c - the keys of config.json, one by one.
 *
 * Every key that is read is taken off a list; what is left at the end must be known to be harmless.
 * A failure is remembered, so that the readers below are plain lists of keys. */
#include "export/config.h"

#include "export/json.h"

#include <math.h>
#include <string.h>

typedef struct config {
    const char *path;
    json_t *json; /* keys are deleted as they are read */
    json_t *kept; /* their values, which live on here */
    const kvf_ignored *ignored;
    kvf_status status; /* of the first failure */
    kvf_error *err;
} config;

/* Keys that change training, generation or storage, but not what the decoder computes. */
static const char *const harmless[] = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "attention_dropout",
    "attn_pdrop",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "cls_token_id",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "length_penalty",
    "mask_token_id",
    "max_length",
    "max_window_layers", /* counts only where use_sliding_window is true */
    "min_length",
    "n_ctx",
    "n_special",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_past",
    "output_scores",
    "predict_special_tokens",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "reorder_and_upcast_attn",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_cache",
};

/* The same for a Trigo set: how its weights were made, and words for people. */
static const char *const trigo_harmless[] = {"gP",   "gs",  "matrix_layout", "opset",
                                             "seed", "set", "tensors",       "value_head"};

bool kvf_is_ignored(const kvf_ignored *ignored, const char *name)
{
    for (size_t i = 0; i < ignored->n; i++)
        if (!strcmp(ignored->names[i], name)) return true;
    return false;
}

/* ---- values ---------------------------------------------------------------------------------- */

static void refuse(config *c, const char *key, const char *should)
{
    if (c->status) return;
    c->status = kvf_fail(c->err, KVF_ERR_MODEL, "%s: %s should be %s; --ignore %s does without it",
                         c->path, key, should, key);
}

/* A key's value, taken off the list; NULL if it is not there, null, or ignored. */
static json_t *take(config *c, json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    if (!value || c->status) return NULL;
    if (json_array_append(c->kept, value)) {
        c->status = kvf_fail(c->err, KVF_ERR_NOMEM, "%s: no memory for its JSON", c->path);
        return NULL;
    }
    json_object_del(object, key);
    return json_is_null(value) || kvf_is_ignored(c->ignored, key) ? NULL : value;
}

enum { REQUIRED = 0 };

static void lack(config *c, const char *key)
{
    if (!c->status)
        c->status = kvf_fail(c->err, KVF_ERR_MODEL, "%s: has no %s, which is needed", c->path, key);
}

static uint32_t take_size(config *c, const char *key, uint32_t missing)
{
    json_t *value = take(c, c->json, key);
    if (!value && missing == REQUIRED) lack(c, key);
    if (!value) return missing == REQUIRED ? 1 : missing;
    json_int_t size = json_integer_value(value);
    if (json_is_integer(value) && size >= 1 && size <= INT32_MAX) return (uint32_t)size;
    refuse(c, key, "a whole number, 1 or more");
    return 1;
}

static double take_real(config *c, json_t *object, const char *key, double missing)
{
    json_t *value = take(c, object, key);
    if (!value && missing == REQUIRED) lack(c, key);
    if (!value) return missing == REQUIRED ? 1 : missing;
    double number = json_number_value(value);
    if (isfinite(number) && number > 0) return number;
    refuse(c, key, "a number above 0");
    return 1;
}

static bool take_bool(config *c, const char *key, bool missing)
{
    json_t *value = take(c, c->json, key);
    if (!value) return missing;
    if (!json_is_boolean(value)) refuse(c, key, "true or false");
    return json_is_true(value);
}

static const char *take_text(config *c, json_t *object, const char *key, const char *missing)
{
    json_t *value = take(c, object, key);
    if (!value) return missing;
    if (!json_is_string(value)) refuse(c, key, "a text");
    return json_is_string(value) ? json_string_value(value) : missing;
}

static void must_be(config *c, const char *key, bool wanted)
{
    if (take_bool(c, key, wanted) != wanted) refuse(c, key, wanted ? "true" : "false");
}

/* ---- what families share --------------------------------------------------------------------- */

static kvf_act take_act(config *c, const char *key, kvf_act missing)
{
    static const struct {
        const char *name;
        kvf_act act;
    } acts[] = {
        {"gelu_new", KVF_ACT_GELU_TANH},  {"gelu_pytorch_tanh", KVF_ACT_GELU_TANH},
        {"gelu_fast", KVF_ACT_GELU_TANH}, {"gelu", KVF_ACT_GELU_ERF},
        {"relu", KVF_ACT_RELU},           {"silu", KVF_ACT_SILU},
        {"swish", KVF_ACT_SILU},
    };
    const char *name = take_text(c, c->json, key, NULL);
    if (!name) return missing;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(name, acts[i].name)) return acts[i].act;
    refuse(c, key, "gelu_new, gelu_pytorch_tanh, gelu_fast, gelu, relu, silu or swish");
    return missing;
}

/* A token id that no token has is the same as none: it can never come out. */
static int32_t token_id(const kvf_decoder *d, const json_t *value)
{
    json_int_t id = json_integer_value(value);
    return json_is_integer(value) && id >= 0 && id < d->vocab ? (int32_t)id : -1;
}

static void take_tokens(config *c, kvf_decoder *d)
{
    json_t *eos = take(c, c->json, "eos_token_id");
    size_t n = json_is_array(eos) ? json_array_size(eos) : eos ? 1 : 0;
    for (size_t i = 0; i < n && d->n_eos < KVF_MAX_EOS; i++) {
        int32_t id = token_id(d, json_is_array(eos) ? json_array_get(eos, i) : eos);
        if (id >= 0) d->eos[d->n_eos++] = id;
    }
    d->bos = token_id(d, take(c, c->json, "bos_token_id"));
    d->pad = token_id(d, take(c, c->json, "pad_token_id"));
}

static void read_gpt2(config *c, kvf_decoder *d)
{
    d->layers = take_size(c, "n_layer", REQUIRED);
    d->heads = d->kv_heads = take_size(c, "n_head", REQUIRED);
    d->hidden = take_size(c, "n_embd", REQUIRED);
    d->inner = take_size(c, "n_inner", d->hidden > INT32_MAX / 4 ? INT32_MAX : 4 * d->hidden);
    d->context = take_size(c, "n_positions", REQUIRED);
    d->vocab = take_size(c, "vocab_size", REQUIRED);
    d->eps = (float)take_real(c, c->json, "layer_norm_epsilon", 1e-5);
    d->act = take_act(c, "activation_function", d->act);
    d->head_dim = d->hidden / d->heads;
    d->scale_by_layer = take_bool(c, "scale_attn_by_inverse_layer_idx", false);
    d->scale = take_bool(c, "scale_attn_weights", true) ? 1 / sqrtf((float)d->head_dim) : 1;
    must_be(c, "add_cross_attention", false);
    if (d->hidden % d->heads) refuse(c, "n_head", "a divisor of n_embd");
}

/* Rows see a limited past only where a window is used, and shorter than the context. */
static void check_window(config *c, const kvf_decoder *d)
{
    bool qwen = !strncmp(d->family, "qwen", 4), used = take_bool(c, "use_sliding_window", !qwen);
    uint32_t window = take_size(c, "sliding_window", INT32_MAX);
    if (used && window < d->context)
        refuse(c, "sliding_window", "null or the context: windows are not exported");
    json_t *types = take(c, c->json, "layer_types"), *type;
    size_t i;
    json_array_foreach(types, i, type)
    {
        const char *name = json_string_value(type);
        if (!name || strcmp(name, "full_attention"))
            refuse(c, "layer_types", "full_attention throughout");
    }
}

/* rope_type llama3: slow turns are stretched by factor, fast ones stay, those between are mixed.
 * Formula: Llama 3.1's model code. */
static void stretch_llama3(config *c, json_t *rope, kvf_decoder *d)
{
    double factor = take_real(c, rope, "factor", REQUIRED),
           low = take_real(c, rope, "low_freq_factor", REQUIRED);
    double high = take_real(c, rope, "high_freq_factor", REQUIRED);
    double context = take_real(c, rope, "original_max_position_embeddings", REQUIRED);
    if (high <= low) refuse(c, "high_freq_factor", "above low_freq_factor");
    for (uint32_t i = 0; i < d->head_dim / 2 && i < KVF_MAX_PAIRS; i++) {
        double f = d->frequencies[i], turns = context * f / 6.283185307179586;
        double kept = (turns - low) / (high - low); /* 0: stretched, 1: as it was */
        kept = kept < 0 ? 0 : kept > 1 ? 1 : kept;
        d->frequencies[i] = (float)((1 - kept) * f / factor + kept * f);
    }
}

static void scale_rotary(config *c, json_t *rope, const char *where, kvf_decoder *d)
{
    const char *type = take_text(c, rope, "rope_type", NULL);
    const char *older = take_text(c, rope, "type", "default"), *left;
    json_t *value;
    if (!type) type = older;
    if (!strcmp(type, "linear")) {
        float factor = (float)take_real(c, rope, "factor", REQUIRED);
        for (uint32_t i = 0; i < d->head_dim / 2 && i < KVF_MAX_PAIRS; i++)
            d->frequencies[i] /= factor;
    } else if (!strcmp(type, "llama3")) {
        stretch_llama3(c, rope, d);
    } else if (strcmp(type, "default")) {
        refuse(c, where, "of type default, linear or llama3");
    }
    json_object_foreach(rope, left, value)
    {
        if (c->status || kvf_is_ignored(c->ignored, left)) continue;
        c->status = kvf_fail(c->err, KVF_ERR_MODEL,
                             "%s: %s.%s is not known for type %s; --ignore %s does without it",
                             c->path, where, left, type, left);
    }
}

/* transformers 4: rope_theta and rope_scaling; 5: both in rope_parameters. */
static void read_rotary(config *c, kvf_decoder *d)
{
    json_t *both = take(c, c->json, "rope_parameters"), *scaling = take(c, c->json, "rope_scaling");
    const char *where = both ? "rope_parameters" : "rope_scaling";
    json_t *rope = both ? both : scaling;
    if (rope && !json_is_object(rope)) refuse(c, where, "an object or null");
    if (both && scaling) refuse(c, "rope_scaling", "absent where rope_parameters is");
    double theta = take_real(c, c->json, "rope_theta", 10000);
    if (both) theta = take_real(c, both, "rope_theta", theta);
    kvf_decoder_rotary(d, theta);
    double part = take_real(c, c->json, "partial_rotary_factor", 1);
    if (both) part = take_real(c, both, "partial_rotary_factor", part);
    if (part != 1)
        refuse(c, "partial_rotary_factor", "1: heads that turn in part are not exported");
    if (rope && !c->status) scale_rotary(c, rope, where, d);
}

static void read_llama(config *c, kvf_decoder *d)
{
    bool llama = !strcmp(d->family, "llama"), qwen3 = !strcmp(d->family, "qwen3");
    d->layers = take_size(c, "num_hidden_layers", REQUIRED);
    d->heads = take_size(c, "num_attention_heads", REQUIRED);
    d->kv_heads = take_size(c, "num_key_value_heads", llama ? d->heads : REQUIRED);
    d->hidden = take_size(c, "hidden_size", REQUIRED);
    d->inner = take_size(c, "intermediate_size", REQUIRED);
    d->context = take_size(c, "max_position_embeddings", REQUIRED);
    d->vocab = take_size(c, "vocab_size", REQUIRED);
    d->eps = (float)take_real(c, c->json, "rms_norm_eps", 1e-6);
    d->act = take_act(c, "hidden_act", d->act);
    uint32_t even = d->hidden / d->heads;
    d->head_dim = take_size(c, "head_dim", qwen3 ? 128 : even ? even : 1);
    d->scale = 1 / sqrtf((float)d->head_dim);
    if (llama || qwen3) d->qkv_bias = d->out_bias = take_bool(c, "attention_bias", false);
    if (llama) d->mlp_bias = take_bool(c, "mlp_bias", false);
    must_be(c, "use_mrope", false);
    check_window(c, d);
    read_rotary(c, d);
}

/* ---- the whole file -------------------------------------------------------------------------- */

static void check_left(config *c, const char *const *known, size_t n)
{
    const char *key;
    json_t *value;
    json_object_foreach(c->json, key, value)
    {
        bool fine = json_is_null(value) || kvf_is_ignored(c->ignored, key);
        for (size_t i = 0; i < n && !fine; i++) fine = !strcmp(key, known[i]);
        if (fine || c->status) continue;
        c->status = kvf_fail(c->err, KVF_ERR_MODEL,
                             "%s: %s is not a key that the export knows, so it may change the "
                             "numbers; --ignore %s does without it",
                             c->path, key, key);
    }
}

static kvf_status open_config(config *c, const char *path, const kvf_ignored *ignored,
                              kvf_error *err)
{
    *c = (config){.path = path, .ignored = ignored, .err = err};
    kvf_status status = kvf_json_read(&c->json, path, err);
    if (status) return status;
    c->kept = json_array();
    if (c->kept) return KVF_OK;
    json_decref(c->json);
    return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory for its JSON", path);
}

static void close_config(config *c)
{
    json_decref(c->kept);
    json_decref(c->json);
}

static kvf_status finish(config *c, const kvf_decoder *d)
{
    if (!c->status && kvf_decoder_check(d, c->err))
        c->status = kvf_prefix(c->err, KVF_ERR_MODEL, "%s: ", c->path);
    close_config(c);
    return c->status;
}

kvf_status kvf_config_read(kvf_decoder *out, const char *path, const kvf_ignored *ignored,
                           kvf_error *err)
{
    config c;
    kvf_status status = open_config(&c, path, ignored, err);
    if (status) return status;
    const char *family = take_text(&c, c.json, "model_type", "");
    if (!c.status && !kvf_decoder_family(out, family))
        c.status = kvf_fail(err, KVF_ERR_MODEL, "%s: model_type is '%s', but should be one of %s",
                            path, family, kvf_decoder_families());
    if (c.status) {
        close_config(&c);
        return c.status;
    }
    if (out->positions)
        read_gpt2(&c, out);
    else
        read_llama(&c, out);
    out->tied = take_bool(&c, "tie_word_embeddings", out->tied);
    must_be(&c, "is_encoder_decoder", false);
    take_tokens(&c, out);
    check_left(&c, harmless, sizeof harmless / sizeof *harmless);
    return finish(&c, out);
}

kvf_status kvf_config_read_trigo(kvf_decoder *out, const char *path, const kvf_ignored *ignored,
                                 kvf_error *err)
{
    config c;
    kvf_status status = open_config(&c, path, ignored, err);
    if (status) return status;
    kvf_decoder_family(out, "gpt2");
    out->layers = take_size(&c, "layers", REQUIRED);
    out->heads = out->kv_heads = take_size(&c, "heads", REQUIRED);
    out->head_dim = take_size(&c, "head_dim", REQUIRED);
    out->hidden = take_size(&c, "hidden", REQUIRED);
    out->inner = take_size(&c, "n_inner", REQUIRED);
    out->context = take_size(&c, "n_positions", REQUIRED);
    out->vocab = take_size(&c, "vocab", REQUIRED);
    out->eps = (float)take_real(&c, c.json, "layer_norm_eps", 1e-5);
    out->scale = 1 / sqrtf((float)out->head_dim);
    must_be(&c, "tied_lm_head", true);
    must_be(&c, "lm_head_bias", false);
    if (strncmp(take_text(&c, c.json, "activation", "gelu_new"), "gelu_new", 8))
        refuse(&c, "activation", "gelu_new");
    json_t *widths = take(&c, c.json, "value_hidden");
    for (size_t i = 0; i < 2; i++) {
        json_int_t width = json_integer_value(json_array_get(widths, i));
        if (json_array_size(widths) != 2 || width < 1 || width > 1 << 24)
            refuse(&c, "value_hidden", "two widths");
        out->value_inner[i] = (uint32_t)width;
    }
    check_left(&c, trigo_harmless, sizeof trigo_harmless / sizeof *trigo_harmless);
    return finish(&c, out);
}
