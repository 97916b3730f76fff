/* model.c - inputs, positions and mask, layers, heads: one straight story. */
#include "export/model.h"

#include "export/graph.h"

#include <stdio.h>

/* What inputs and outputs are called. %u is the layer. */
typedef struct names {
    const char *past_key, *past_value, *present_key, *present_value;
    const char *batch, *fresh, *past, *total; /* dimensions */
} names;

static const names own_names = {
    "past_key_%u", "past_value_%u", "present_key_%u", "present_value_%u",
    "batch",       "new",           "past",           "total",
};
static const names optimum_names = {
    "past_key_values.%u.key",
    "past_key_values.%u.value",
    "present.%u.key",
    "present.%u.value",
    "batch_size",
    "sequence_length",
    "past_sequence_length",
    "past_sequence_length + sequence_length",
};

/* The pattern holds one %u. */
static const char *numbered(kvf_build *b, const char *pattern, uint32_t layer)
{
    char text[64];
    size_t n = 0;
    for (const char *p = pattern; *p && n < sizeof text - 12; p++)
        if (p[0] == '%')
            n += (size_t)snprintf(text + n, sizeof text - n, "%u", layer), p++;
        else
            text[n++] = *p;
    text[n] = 0;
    return kvf_writer_name(b->w, "%s", text);
}

static void add_inputs(kvf_build *b, const names *n, bool optimum)
{
    kvf_writer *w = b->w;
    kvf_writer_input(w, "input_ids", KVF_I64, "%s, %s", n->batch, n->fresh);
    if (optimum) kvf_writer_input(w, "attention_mask", KVF_I64, "%s, %s", n->batch, n->total);
    kvf_writer_input(w, "position_ids", KVF_I64, "%s, %s", n->batch, n->fresh);
    for (uint32_t i = 0; i < b->d->layers; i++)
        for (int value = 0; value < 2; value++)
            kvf_writer_input(w, numbered(b, value ? n->past_value : n->past_key, i), b->type,
                             "%s, %u, %s, %u", n->batch, b->d->kv_heads, n->past, b->d->head_dim);
}

static void add_outputs(kvf_build *b, const names *n)
{
    kvf_writer *w = b->w;
    kvf_writer_output(w, "logits", b->type, "%s, %s, %u", n->batch, n->fresh, b->d->vocab);
    if (b->d->value_inner[0]) kvf_writer_output(w, "values", b->type, "%s, %s", n->batch, n->fresh);
    for (uint32_t i = 0; i < b->d->layers; i++)
        for (int value = 0; value < 2; value++)
            kvf_writer_output(w, numbered(b, value ? n->present_value : n->present_key, i), b->type,
                              "%s, %u, %s, %u", n->batch, b->d->kv_heads, n->total, b->d->head_dim);
}

/* Causal by place in the sequence, not by position id: rows with padding count from elsewhere.
 * Where there is an attention mask, padding is seen by nobody. */
static const char *mask(kvf_build *b, const names *n, bool optimum)
{
    kvf_writer *w = b->w;
    const char *fresh = kvf_build_dim(b, "new", "input_ids", 1);
    const char *past = kvf_build_dim(b, "past", numbered(b, n->past_key, 0), 2);
    const char *visible = kvf_build_causal(b, "causal", fresh, past);
    if (!optimum) return kvf_build_mask(b, visible, false);
    kvf_writer_node(w, "Cast", "is_token", "attention_mask", NULL);
    kvf_writer_int(w, "to", KVF_BOOL);
    kvf_build_i64s(b, "is_token.axis", (const int64_t[]){1}, 1);
    kvf_writer_node(w, "Unsqueeze", "is_token.row", "is_token", "is_token.axis", NULL);
    kvf_writer_node(w, "And", "visible", visible, "is_token.row", NULL);
    return kvf_build_mask(b, "visible", true);
}

static void add_metadata(kvf_writer *w, const kvf_decoder *d)
{
    kvf_writer_property(w, "kvfork.family", d->family);
    kvf_writer_property(w, "kvfork.context", kvf_writer_name(w, "%u", d->context));
    if (d->n_eos) kvf_writer_property(w, "kvfork.eos", kvf_writer_name(w, "%d", d->eos[0]));
}

kvf_status kvf_export_model(kvf_writer **out, const kvf_decoder *d, const kvf_export_format *format,
                            kvf_error *err)
{
    *out = NULL;
    kvf_status status = kvf_decoder_check(d, err);
    if (!status) status = kvf_writer_create(out, "decoder", format->opset, err);
    if (status) return status;
    kvf_build b = {.w = *out, .d = d, .type = format->type, .opset = format->opset};
    const names *n = format->optimum ? &optimum_names : &own_names;

    add_inputs(&b, n, format->optimum);
    add_outputs(&b, n);
    add_metadata(b.w, d);
    kvf_build_shared shared = {.mask = mask(&b, n, format->optimum)};
    kvf_build_rotary(&b, "position_ids", &shared);
    const char *x = kvf_build_embed(&b, "input_ids", "position_ids");
    for (uint32_t i = 0; i < d->layers; i++) {
        kvf_build_kv past = {numbered(&b, n->past_key, i), numbered(&b, n->past_value, i)};
        kvf_build_kv present = {numbered(&b, n->present_key, i), numbered(&b, n->present_value, i)};
        x = kvf_build_layer(&b, i, x, &shared, &past, &present);
    }
    x = kvf_build_final_norm(&b, x, "hidden");
    kvf_build_logits(&b, x, "logits");
    if (d->value_inner[0]) kvf_build_values(&b, x, "values");
    return KVF_OK;
}
