/* decoder.c - families as descriptions, and the shapes of their weights. */
#include "export/decoder.h"

#include <math.h>
#include <string.h>

/* ---- families -------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    kvf_norm_kind norm;
    kvf_act act;
    bool gated, tied, positions, biases, qkv_bias, qk_norm;
} families[] = {
    {"gpt2", KVF_NORM_LAYER, KVF_ACT_GELU_TANH, .tied = true, .positions = true, .biases = true},
    {"llama", KVF_NORM_RMS, KVF_ACT_SILU, .gated = true},
    {"mistral", KVF_NORM_RMS, KVF_ACT_SILU, .gated = true},
    {"qwen2", KVF_NORM_RMS, KVF_ACT_SILU, .gated = true, .qkv_bias = true},
    {"qwen3", KVF_NORM_RMS, KVF_ACT_SILU, .gated = true, .qk_norm = true},
};

const char *kvf_decoder_families(void)
{
    return "gpt2, llama, mistral, qwen2, qwen3";
}

bool kvf_decoder_family(kvf_decoder *d, const char *family)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(family, families[i].name)) continue;
        *d = (kvf_decoder){.norm = families[i].norm,
                           .act = families[i].act,
                           .gated = families[i].gated,
                           .tied = families[i].tied,
                           .positions = families[i].positions,
                           .qkv_bias = families[i].biases || families[i].qkv_bias,
                           .out_bias = families[i].biases,
                           .mlp_bias = families[i].biases,
                           .qk_norm = families[i].qk_norm,
                           .bos = -1,
                           .pad = -1};
        memcpy(d->family, families[i].name, strlen(families[i].name) + 1);
        return true;
    }
    return false;
}

void kvf_decoder_rotary(kvf_decoder *d, double theta)
{
    for (uint32_t i = 0; i < d->head_dim / 2 && i < KVF_MAX_PAIRS; i++)
        d->frequencies[i] = (float)pow(theta, -2.0 * i / d->head_dim);
}

kvf_status kvf_decoder_check(const kvf_decoder *d, kvf_error *err)
{
    const struct {
        const char *what;
        uint32_t value, most;
    } sizes[] = {
        {"the number of layers", d->layers, KVF_MAX_LAYERS},
        {"the number of heads", d->heads, 1 << 16},
        {"the number of key/value heads", d->kv_heads, 1 << 16},
        {"head_dim", d->head_dim, 2 * KVF_MAX_PAIRS},
        {"the hidden size", d->hidden, 1 << 24},
        {"the inner size", d->inner, 1 << 24},
        {"the vocabulary", d->vocab, INT32_MAX},
        {"the context", d->context, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].most)
            return kvf_fail(err, KVF_ERR_MODEL, "%s is %u, but should be 1 to %u", sizes[i].what,
                            sizes[i].value, sizes[i].most);
    if (d->heads % d->kv_heads)
        return kvf_fail(err, KVF_ERR_MODEL, "%u heads cannot share %u key/value heads evenly",
                        d->heads, d->kv_heads);
    if (!d->positions && d->head_dim % 2)
        return kvf_fail(err, KVF_ERR_MODEL, "head_dim is %u, but rotary positions need an even one",
                        d->head_dim);
    return KVF_OK;
}

/* ---- weights --------------------------------------------------------------------------------- */

const char *kvf_weight_name(kvf_weight weight)
{
    static const char *const names[] = {
        [KVF_W_TOKENS] = "token_embedding",
        [KVF_W_POSITIONS] = "position_embedding",
        [KVF_W_ATTN_NORM] = "attn_norm.weight",
        [KVF_W_ATTN_NORM_BIAS] = "attn_norm.bias",
        [KVF_W_QKV] = "qkv.weight",
        [KVF_W_QKV_BIAS] = "qkv.bias",
        [KVF_W_Q_NORM] = "q_norm.weight",
        [KVF_W_K_NORM] = "k_norm.weight",
        [KVF_W_OUT] = "out.weight",
        [KVF_W_OUT_BIAS] = "out.bias",
        [KVF_W_MLP_NORM] = "mlp_norm.weight",
        [KVF_W_MLP_NORM_BIAS] = "mlp_norm.bias",
        [KVF_W_GATE] = "gate.weight",
        [KVF_W_GATE_BIAS] = "gate.bias",
        [KVF_W_UP] = "up.weight",
        [KVF_W_UP_BIAS] = "up.bias",
        [KVF_W_DOWN] = "down.weight",
        [KVF_W_DOWN_BIAS] = "down.bias",
        [KVF_W_FINAL_NORM] = "final_norm.weight",
        [KVF_W_FINAL_NORM_BIAS] = "final_norm.bias",
        [KVF_W_HEAD] = "head.weight",
        [KVF_W_VALUE_1] = "value.1.weight",
        [KVF_W_VALUE_1_BIAS] = "value.1.bias",
        [KVF_W_VALUE_NORM_1] = "value.norm_1.weight",
        [KVF_W_VALUE_NORM_1_BIAS] = "value.norm_1.bias",
        [KVF_W_VALUE_2] = "value.2.weight",
        [KVF_W_VALUE_2_BIAS] = "value.2.bias",
        [KVF_W_VALUE_NORM_2] = "value.norm_2.weight",
        [KVF_W_VALUE_NORM_2_BIAS] = "value.norm_2.bias",
        [KVF_W_VALUE_OUT] = "value.out.weight",
        [KVF_W_VALUE_OUT_BIAS] = "value.out.bias",
    };
    return names[weight];
}

static uint32_t vector(int64_t dims[2], int64_t n, bool there)
{
    dims[0] = n;
    return there ? 1 : 0;
}

static uint32_t matrix(int64_t dims[2], int64_t in, int64_t out, bool there)
{
    dims[0] = in;
    dims[1] = out;
    return there ? 2 : 0;
}

uint32_t kvf_weight_shape(const kvf_decoder *d, kvf_weight weight, int64_t dims[2])
{
    int64_t hidden = d->hidden, inner = d->inner, rows = (int64_t)d->heads * d->head_dim;
    int64_t qkv = rows + 2 * (int64_t)d->kv_heads * d->head_dim;
    int64_t value_1 = d->value_inner[0], value_2 = d->value_inner[1];
    bool layer_norm = d->norm == KVF_NORM_LAYER, value = value_1 > 0;
    switch (weight) {
    case KVF_W_TOKENS: return matrix(dims, d->vocab, hidden, true);
    case KVF_W_POSITIONS: return matrix(dims, d->context, hidden, d->positions);
    case KVF_W_ATTN_NORM:
    case KVF_W_MLP_NORM:
    case KVF_W_FINAL_NORM: return vector(dims, hidden, true);
    case KVF_W_ATTN_NORM_BIAS:
    case KVF_W_MLP_NORM_BIAS:
    case KVF_W_FINAL_NORM_BIAS: return vector(dims, hidden, layer_norm);
    case KVF_W_QKV: return matrix(dims, hidden, qkv, true);
    case KVF_W_QKV_BIAS: return vector(dims, qkv, d->qkv_bias);
    case KVF_W_Q_NORM:
    case KVF_W_K_NORM: return vector(dims, d->head_dim, d->qk_norm);
    case KVF_W_OUT: return matrix(dims, rows, hidden, true);
    case KVF_W_OUT_BIAS: return vector(dims, hidden, d->out_bias);
    case KVF_W_GATE: return matrix(dims, hidden, inner, d->gated);
    case KVF_W_GATE_BIAS: return vector(dims, inner, d->gated && d->mlp_bias);
    case KVF_W_UP: return matrix(dims, hidden, inner, true);
    case KVF_W_UP_BIAS: return vector(dims, inner, d->mlp_bias);
    case KVF_W_DOWN: return matrix(dims, inner, hidden, true);
    case KVF_W_DOWN_BIAS: return vector(dims, hidden, d->mlp_bias);
    case KVF_W_HEAD: return matrix(dims, hidden, d->vocab, !d->tied);
    case KVF_W_VALUE_1: return matrix(dims, hidden, value_1, value);
    case KVF_W_VALUE_1_BIAS:
    case KVF_W_VALUE_NORM_1:
    case KVF_W_VALUE_NORM_1_BIAS: return vector(dims, value_1, value);
    case KVF_W_VALUE_2: return matrix(dims, value_1, value_2, value);
    case KVF_W_VALUE_2_BIAS:
    case KVF_W_VALUE_NORM_2:
    case KVF_W_VALUE_NORM_2_BIAS: return vector(dims, value_2, value);
    case KVF_W_VALUE_OUT: return matrix(dims, value_2, 1, value);
    case KVF_W_VALUE_OUT_BIAS: return vector(dims, 1, value);
    case KVF_WEIGHTS: break;
    }
    return 0;
}
