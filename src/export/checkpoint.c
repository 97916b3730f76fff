/* checkpoint.c - which tensors of a checkpoint make up a weight, and how they lie in it. */
#include "export/checkpoint.h"

#include "export/floats.h"

#include <stdio.h>
#include <string.h>

enum { MAX_PARTS = 3, MAX_NAME = 160, TILE = 64 };

/* ---- names ----------------------------------------------------------------------------------- */

/* What a weight is made of. */
typedef struct parts {
    const char *name[MAX_PARTS]; /* side by side; "/" before a name: without the prefix */
    bool transposed;             /* kept as [out][in] */
} parts;

struct kvf_naming {
    const char *const *prefixes; /* that a checkpoint of this family may have; the last is NULL */
    const char *layers;          /* before a layer's number */
    const parts *weight;         /* [KVF_WEIGHTS] */
};

static const char *const gpt2_prefixes[] = {"transformer.", "lm.transformer.", "", NULL};
static const parts gpt2_weights[KVF_WEIGHTS] = {
    [KVF_W_TOKENS] = {{"wte.weight"}, false},
    [KVF_W_POSITIONS] = {{"wpe.weight"}, false},
    [KVF_W_ATTN_NORM] = {{"ln_1.weight"}, false},
    [KVF_W_ATTN_NORM_BIAS] = {{"ln_1.bias"}, false},
    [KVF_W_QKV] = {{"attn.c_attn.weight"}, false},
    [KVF_W_QKV_BIAS] = {{"attn.c_attn.bias"}, false},
    [KVF_W_OUT] = {{"attn.c_proj.weight"}, false},
    [KVF_W_OUT_BIAS] = {{"attn.c_proj.bias"}, false},
    [KVF_W_MLP_NORM] = {{"ln_2.weight"}, false},
    [KVF_W_MLP_NORM_BIAS] = {{"ln_2.bias"}, false},
    [KVF_W_UP] = {{"mlp.c_fc.weight"}, false},
    [KVF_W_UP_BIAS] = {{"mlp.c_fc.bias"}, false},
    [KVF_W_DOWN] = {{"mlp.c_proj.weight"}, false},
    [KVF_W_DOWN_BIAS] = {{"mlp.c_proj.bias"}, false},
    [KVF_W_FINAL_NORM] = {{"ln_f.weight"}, false},
    [KVF_W_FINAL_NORM_BIAS] = {{"ln_f.bias"}, false},
    [KVF_W_HEAD] = {{"/lm_head.weight"}, true},
    [KVF_W_VALUE_1] = {{"/value.fc1.weight"}, true},
    [KVF_W_VALUE_1_BIAS] = {{"/value.fc1.bias"}, false},
    [KVF_W_VALUE_NORM_1] = {{"/value.ln1.weight"}, false},
    [KVF_W_VALUE_NORM_1_BIAS] = {{"/value.ln1.bias"}, false},
    [KVF_W_VALUE_2] = {{"/value.fc2.weight"}, true},
    [KVF_W_VALUE_2_BIAS] = {{"/value.fc2.bias"}, false},
    [KVF_W_VALUE_NORM_2] = {{"/value.ln2.weight"}, false},
    [KVF_W_VALUE_NORM_2_BIAS] = {{"/value.ln2.bias"}, false},
    [KVF_W_VALUE_OUT] = {{"/value.out.weight"}, true},
    [KVF_W_VALUE_OUT_BIAS] = {{"/value.out.bias"}, false},
};
static const struct kvf_naming gpt2 = {gpt2_prefixes, "h.", gpt2_weights};

static const char *const llama_prefixes[] = {"model.", "", NULL};
static const parts llama_weights[KVF_WEIGHTS] = {
    [KVF_W_TOKENS] = {{"embed_tokens.weight"}, false},
    [KVF_W_ATTN_NORM] = {{"input_layernorm.weight"}, false},
    [KVF_W_QKV] = {{"self_attn.q_proj.weight", "self_attn.k_proj.weight",
                    "self_attn.v_proj.weight"},
                   true},
    [KVF_W_QKV_BIAS] = {{"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias"},
                        false},
    [KVF_W_Q_NORM] = {{"self_attn.q_norm.weight"}, false},
    [KVF_W_K_NORM] = {{"self_attn.k_norm.weight"}, false},
    [KVF_W_OUT] = {{"self_attn.o_proj.weight"}, true},
    [KVF_W_OUT_BIAS] = {{"self_attn.o_proj.bias"}, false},
    [KVF_W_MLP_NORM] = {{"post_attention_layernorm.weight"}, false},
    [KVF_W_GATE] = {{"mlp.gate_proj.weight"}, true},
    [KVF_W_GATE_BIAS] = {{"mlp.gate_proj.bias"}, false},
    [KVF_W_UP] = {{"mlp.up_proj.weight"}, true},
    [KVF_W_UP_BIAS] = {{"mlp.up_proj.bias"}, false},
    [KVF_W_DOWN] = {{"mlp.down_proj.weight"}, true},
    [KVF_W_DOWN_BIAS] = {{"mlp.down_proj.bias"}, false},
    [KVF_W_FINAL_NORM] = {{"norm.weight"}, false},
    [KVF_W_HEAD] = {{"/lm_head.weight"}, true},
};
static const struct kvf_naming llama = {llama_prefixes, "layers.", llama_weights};

/* Ends of names that checkpoints hold beside their weights: masks and tables that older versions of
 * transformers saved, and a copy of the embedding where the head is tied. */
static bool is_harmless(const kvf_decoder *d, const char *name)
{
    static const char *const ends[] = {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq"};
    if (d->tied && !strcmp(name, "lm_head.weight")) return true;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t n = strlen(name), end = strlen(ends[i]);
        if (n > end && !strcmp(name + n - end, ends[i])) return true;
    }
    return false;
}

static void full_name(const kvf_checkpoint *c, kvf_weight weight, uint32_t layer, const char *part,
                      char name[MAX_NAME])
{
    if (*part == '/')
        snprintf(name, MAX_NAME, "%s", part + 1);
    else if (kvf_weight_of_layer(weight))
        snprintf(name, MAX_NAME, "%s%s%u.%s", c->prefix, c->naming->layers, layer, part);
    else
        snprintf(name, MAX_NAME, "%s%s", c->prefix, part);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Columns of a part: q, k and v differ, else one part is all. */
static int64_t part_width(const kvf_decoder *d, const struct kvf_naming *n, kvf_weight weight,
                          int part, int64_t all)
{
    if (!n->weight[weight].name[1]) return all;
    return (int64_t)d->head_dim * (part ? d->kv_heads : d->heads);
}

/* One part of a weight, checked: its shape as the checkpoint keeps it is [in][width], the other
 * way round if transposed, or [width]. */
static kvf_status find_part(const kvf_checkpoint *c, kvf_weight weight, uint32_t layer, int part,
                            const kvf_tensor **out, kvf_error *err)
{
    char name[MAX_NAME];
    int64_t dims[2];
    uint32_t rank = kvf_weight_shape(&c->decoder, weight, dims);
    bool transposed = c->naming->weight[weight].transposed;
    full_name(c, weight, layer, c->naming->weight[weight].name[part], name);
    const kvf_tensor *t = *out = kvf_safetensors_find(c->tensors, name);
    if (!t) return kvf_fail(err, KVF_ERR_MODEL, "the checkpoint has no tensor %s", name);
    int64_t width = part_width(&c->decoder, c->naming, weight, part, dims[rank - 1]);
    int64_t rows = rank == 2 ? dims[0] : 1;
    bool shaped = t->rank == rank && (rank == 1    ? t->dims[0] == width
                                      : transposed ? t->dims[0] == width && t->dims[1] == rows
                                                   : t->dims[0] == rows && t->dims[1] == width);
    if (!shaped)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: its shape is rank %u, [%lld, %lld], but config.json makes it rank %u, "
                        "[%lld, %lld]",
                        name, t->rank, (long long)(t->rank ? t->dims[0] : 1),
                        (long long)(t->rank > 1 ? t->dims[1] : 1), rank,
                        (long long)(rank == 1 || transposed ? width : rows),
                        (long long)(rank == 1    ? 1
                                    : transposed ? rows
                                                 : width));
    if (t->type != KVF_F32 && t->type != KVF_F16 && t->type != KVF_BF16)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: is of type %s, but should be float32, float16 or "
                        "bfloat16",
                        name, kvf_type_name(t->type));
    return KVF_OK;
}

static kvf_status find_weight(const kvf_checkpoint *c, kvf_weight weight, uint32_t layer,
                              kvf_error *err)
{
    const kvf_tensor *tensor;
    kvf_status status = KVF_OK;
    for (int i = 0; !status && i < MAX_PARTS && c->naming->weight[weight].name[i]; i++)
        status = find_part(c, weight, layer, i, &tensor, err);
    return status;
}

static kvf_status find_all(const kvf_checkpoint *c, kvf_error *err)
{
    kvf_status status = KVF_OK;
    int64_t dims[2];
    for (kvf_weight w = 0; w < KVF_WEIGHTS; w++) {
        if (!kvf_weight_shape(&c->decoder, w, dims)) continue;
        uint32_t layers = kvf_weight_of_layer(w) ? c->decoder.layers : 1;
        for (uint32_t i = 0; !status && i < layers; i++) status = find_weight(c, w, i, err);
    }
    return status;
}

static kvf_status check_rest(const kvf_checkpoint *c, const kvf_ignored *ignored, kvf_error *err)
{
    const kvf_tensor *t;
    for (size_t i = 0; (t = kvf_safetensors_unused(c->tensors, &i));)
        if (!is_harmless(&c->decoder, t->name) && !kvf_is_ignored(ignored, t->name))
            return kvf_fail(err, KVF_ERR_MODEL,
                            "tensor %s is no part of a %s with this config.json; --ignore %s does "
                            "without it",
                            t->name, c->decoder.family, t->name);
    return KVF_OK;
}

/* The first prefix whose token embedding is there. */
static void choose_prefix(kvf_checkpoint *c)
{
    char name[MAX_NAME];
    for (const char *const *p = c->naming->prefixes; *p; p++) {
        c->prefix = *p;
        full_name(c, KVF_W_TOKENS, 0, c->naming->weight[KVF_W_TOKENS].name[0], name);
        if (kvf_safetensors_find(c->tensors, name)) return;
    }
    c->prefix = c->naming->prefixes[0];
}

static kvf_status open_files(kvf_checkpoint *c, char *path, size_t room, const char *folder,
                             kvf_checkpoint_kind kind, const kvf_ignored *ignored, kvf_error *err)
{
    bool trigo = kind == KVF_CHECKPOINT_TRIGO;
    snprintf(path, room, "%s/config.json", folder);
    kvf_status status = trigo ? kvf_config_read_trigo(&c->decoder, path, ignored, err)
                              : kvf_config_read(&c->decoder, path, ignored, err);
    if (status) return status;
    snprintf(path, room, "%s%s", folder, trigo ? "/weights.safetensors" : "");
    return kvf_safetensors_open(&c->tensors, path, err);
}

kvf_status kvf_checkpoint_open(kvf_checkpoint *out, const char *folder, kvf_checkpoint_kind kind,
                               const kvf_ignored *ignored, kvf_error *err)
{
    *out = (kvf_checkpoint){.type = KVF_F32};
    size_t room = strlen(folder) + 32;
    char *path = kvf_array(room, 1);
    if (!path) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", folder);
    kvf_status status = open_files(out, path, room, folder, kind, ignored, err);
    kvf_free(path);
    if (!status) {
        out->naming = out->decoder.positions ? &gpt2 : &llama;
        choose_prefix(out);
        status = find_all(out, err);
        if (!status) status = check_rest(out, ignored, err);
        if (status) kvf_prefix(err, status, "%s: ", folder);
    }
    if (status) kvf_checkpoint_close(out);
    return status;
}

void kvf_checkpoint_close(kvf_checkpoint *checkpoint)
{
    kvf_safetensors_close(checkpoint->tensors);
    *checkpoint = (kvf_checkpoint){0};
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Where a part goes: columns at .. at + width of a matrix [rows][columns]. */
typedef struct target {
    uint8_t *data;
    kvf_type type;
    uint64_t rows, columns, at, width;
} target;

static bool store(const target *to, uint64_t row, uint64_t column, const float *run, uint64_t n)
{
    uint64_t size = kvf_type_bits(to->type) / 8, place = row * to->columns + to->at + column;
    return kvf_floats_store(to->data + place * size, to->type, run, (size_t)n);
}

static void load(const kvf_tensor *t, uint64_t first, float *run, uint64_t n)
{
    uint64_t size = kvf_type_bits(t->type) / 8;
    kvf_floats_load(run, t->type, (const uint8_t *)t->data + first * size, (size_t)n);
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool copy_rows(const target *to, const kvf_tensor *from)
{
    float run[TILE * TILE];
    bool fits = true;
    for (uint64_t row = 0; row < to->rows; row++)
        for (uint64_t at = 0; at < to->width; at += TILE * TILE) {
            uint64_t n = least(to->width - at, TILE * TILE);
            load(from, row * to->width + at, run, n);
            fits &= store(to, row, at, run, n);
        }
    return fits;
}

/* from is [width][rows]. By tiles, so that neither side is walked in strides. */
static bool copy_transposed(const target *to, const kvf_tensor *from)
{
    float tile[TILE][TILE], run[TILE];
    bool fits = true;
    for (uint64_t column = 0; column < to->width; column += TILE)
        for (uint64_t row = 0; row < to->rows; row += TILE) {
            uint64_t columns = least(to->width - column, TILE), rows = least(to->rows - row, TILE);
            for (uint64_t i = 0; i < columns; i++)
                load(from, (column + i) * to->rows + row, tile[i], rows);
            for (uint64_t j = 0; j < rows; j++) {
                for (uint64_t i = 0; i < columns; i++) run[i] = tile[i][j];
                fits &= store(to, row + j, column, run, columns);
            }
        }
    return fits;
}

kvf_status kvf_checkpoint_fill(void *user, uint64_t tag, void *data, uint64_t bytes, kvf_error *err)
{
    const kvf_checkpoint *c = user;
    kvf_weight weight = (kvf_weight)(tag >> 32);
    uint32_t layer = (uint32_t)tag;
    int64_t dims[2];
    uint32_t rank = kvf_weight_shape(&c->decoder, weight, dims);
    target to = {.data = data, .type = c->type, .rows = rank == 2 ? (uint64_t)dims[0] : 1};
    to.columns = (uint64_t)dims[rank - 1];
    (void)bytes;
    for (int i = 0; i < MAX_PARTS && c->naming->weight[weight].name[i]; i++) {
        const kvf_tensor *from;
        kvf_status status = find_part(c, weight, layer, i, &from, err);
        if (status) return status;
        to.width = (uint64_t)part_width(&c->decoder, c->naming, weight, i, dims[rank - 1]);
        bool fits = c->naming->weight[weight].transposed ? copy_transposed(&to, from)
                                                         : copy_rows(&to, from);
        if (!fits)
            return kvf_fail(err, KVF_ERR_MODEL, "%s: has numbers beyond float16; export it as f32",
                            from->name);
        kvf_safetensors_release(from);
        to.at += to.width;
    }
    return KVF_OK;
}
