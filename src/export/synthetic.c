/* synthetic.c - a spec in words, and weights out of a seed. */
#include "export/synthetic.h"

#include "export/floats.h"
#include "rng.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SPEC = 512 };

/* ---- the spec -------------------------------------------------------------------------------- */

static const struct { /* 0: follows from others, see complete */
    const char *key;
    size_t offset;
    uint32_t gpt2, rotary; /* defaults: of GPT-2 124M, and of all other families */
} keys[] = {
    {"layers", offsetof(kvf_decoder, layers), 12, 12},
    {"heads", offsetof(kvf_decoder, heads), 12, 12},
    {"kv_heads", offsetof(kvf_decoder, kv_heads), 0, 0},
    {"head_dim", offsetof(kvf_decoder, head_dim), 64, 64},
    {"hidden", offsetof(kvf_decoder, hidden), 0, 0},
    {"intermediate", offsetof(kvf_decoder, inner), 0, 0},
    {"vocab", offsetof(kvf_decoder, vocab), 50257, 32000},
    {"context", offsetof(kvf_decoder, context), 1024, 2048},
};
enum { N_KEYS = sizeof keys / sizeof keys[0] };

static uint32_t *field(kvf_decoder *d, size_t key)
{
    return (uint32_t *)((char *)d + keys[key].offset);
}

static bool read_number(const char *text, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *out <= most;
}

static kvf_status set(kvf_synthetic *s, char *pair, kvf_error *err)
{
    char *value = strchr(pair, '=');
    if (!value) return kvf_fail(err, KVF_ERR_ARG, "synthetic: '%s' should be KEY=NUMBER", pair);
    *value++ = 0;
    uint64_t number, most = UINT32_MAX;
    bool is_seed = !strcmp(pair, "seed"), is_tied = !strcmp(pair, "tied");
    if (is_seed) most = UINT64_MAX;
    if (is_tied) most = 1;
    if (!read_number(value, most, &number))
        return kvf_fail(err, KVF_ERR_ARG, "synthetic: %s is '%s', but should be 0 to %" PRIu64,
                        pair, value, most);
    if (is_seed) s->seed = number;
    if (is_tied) s->decoder.tied = number;
    if (is_seed || is_tied) return KVF_OK;
    for (size_t i = 0; i < N_KEYS; i++)
        if (!strcmp(pair, keys[i].key)) {
            *field(&s->decoder, i) = (uint32_t)number;
            return KVF_OK;
        }
    return kvf_fail(err, KVF_ERR_ARG,
                    "synthetic: no key '%s'; there are layers, heads, kv_heads, head_dim, hidden, "
                    "intermediate, vocab, context, tied and seed",
                    pair);
}

/* What follows from other sizes, where it was not said. */
static void complete(kvf_decoder *d)
{
    if (!d->kv_heads) d->kv_heads = d->heads;
    if (!d->hidden) d->hidden = d->heads * d->head_dim;
    if (!d->inner && d->positions) d->inner = 4 * d->hidden;
    /* Gated: two thirds of that, which three matrices make as large as two of the full size. */
    if (!d->inner) d->inner = (uint32_t)((uint64_t)d->hidden * 8 / 3 + 31) / 32 * 32;
    d->eps = 1e-5f;
    d->scale = 1 / sqrtf((float)d->head_dim);
    if (!d->positions) kvf_decoder_rotary(d, 10000);
}

kvf_status kvf_synthetic_parse(kvf_synthetic *s, const char *spec, kvf_error *err)
{
    char text[MAX_SPEC];
    *s = (kvf_synthetic){.seed = 1, .type = KVF_F32};
    if (strlen(spec) >= sizeof text)
        return kvf_fail(err, KVF_ERR_ARG, "synthetic: the spec is longer than %d bytes", MAX_SPEC);
    memcpy(text, spec, strlen(spec) + 1);
    char *rest = strchr(text, ':');
    if (rest) *rest++ = 0;
    if (!kvf_decoder_family(&s->decoder, text))
        return kvf_fail(err, KVF_ERR_ARG, "synthetic: no family '%s'; there are %s", text,
                        kvf_decoder_families());
    for (size_t i = 0; i < N_KEYS; i++)
        *field(&s->decoder, i) = s->decoder.positions ? keys[i].gpt2 : keys[i].rotary;
    while (rest && *rest) {
        char *pair = rest;
        rest = strchr(rest, ',');
        if (rest) *rest++ = 0;
        kvf_status status = set(s, pair, err);
        if (status) return status;
    }
    complete(&s->decoder);
    kvf_status status = kvf_decoder_check(&s->decoder, err);
    return status ? kvf_prefix(err, KVF_ERR_ARG, "synthetic: ") : KVF_OK;
}

void kvf_synthetic_text(const kvf_synthetic *s, char *text, size_t size)
{
    const kvf_decoder *d = &s->decoder;
    snprintf(text, size,
             "%s:layers=%u,heads=%u,kv_heads=%u,head_dim=%u,hidden=%u,intermediate=%u,vocab=%u,"
             "context=%u,tied=%d,seed=%" PRIu64,
             d->family, d->layers, d->heads, d->kv_heads, d->head_dim, d->hidden, d->inner,
             d->vocab, d->context, d->tied, s->seed);
}

/* ---- the weights ----------------------------------------------------------------------------- */

static bool is_bias(kvf_weight weight)
{
    const char *dot = strrchr(kvf_weight_name(weight), '.');
    return dot && !strcmp(dot, ".bias");
}

/* Such that every part of the model matters: products keep the size of what goes in, so scores and
 * logits spread by about one, and norms and biases differ from 1 and 0. Uniform in
 * middle - width .. middle + width, whose variance is width^2 / 3. */
static void spread(const kvf_decoder *d, kvf_weight weight, float *middle, float *width)
{
    int64_t dims[2];
    uint32_t rank = kvf_weight_shape(d, weight, dims);
    *middle = rank == 1 && !is_bias(weight) ? 1.0f : 0.0f;
    int64_t in = weight == KVF_W_TOKENS || weight == KVF_W_POSITIONS ? d->hidden : dims[0];
    *width = rank == 1 ? 0.1f : sqrtf(3.0f / (float)in);
}

kvf_status kvf_synthetic_fill(void *user, uint64_t tag, void *data, uint64_t bytes, kvf_error *err)
{
    const kvf_synthetic *s = user;
    kvf_rng rng;
    float middle, width, run[1024];
    uint64_t size = kvf_type_bits(s->type) / 8, n = bytes / size, most = sizeof run / sizeof *run;
    kvf_rng_seed(&rng, s->seed);
    kvf_rng_seed(&rng, kvf_rng_next(&rng) + tag);
    spread(&s->decoder, (kvf_weight)(tag >> 32), &middle, &width);
    (void)err;
    for (uint64_t done = 0; done < n;) {
        uint64_t count = n - done < most ? n - done : most;
        for (uint64_t i = 0; i < count; i += 2) { /* two draws of 24 bits from each 64 */
            uint64_t bits = kvf_rng_next(&rng);
            for (uint64_t j = 0; j < 2; j++, bits >>= 32) {
                int32_t draw = (int32_t)(bits & 0xffffff) - 0x800000;
                run[i + j] = middle + width * ((float)draw * 0x1p-23f);
            }
        }
        kvf_floats_store((uint8_t *)data + done * size, s->type, run, (size_t)count);
        done += count;
    }
    return KVF_OK;
}
