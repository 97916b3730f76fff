/* support_plan.c - random decoders. All numbers of a plan lie in one pool that is drawn once. */
#include "support_plan.h"

#include "rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

test_shape test_gpt2(uint32_t layers, uint32_t heads, uint32_t head_dim, uint32_t vocab)
{
    uint32_t hidden = heads * head_dim;
    return (test_shape){.layers = layers,
                        .heads = heads,
                        .kv_heads = heads,
                        .head_dim = head_dim,
                        .hidden = hidden,
                        .inner = 4 * hidden,
                        .vocab = vocab,
                        .context = 4096,
                        .norm = KVF_NORM_LAYER,
                        .act = KVF_ACT_GELU_TANH,
                        .biases = true};
}

test_shape test_llama(uint32_t layers, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                      uint32_t vocab)
{
    uint32_t hidden = heads * head_dim;
    return (test_shape){.layers = layers,
                        .heads = heads,
                        .kv_heads = kv_heads,
                        .head_dim = head_dim,
                        .hidden = hidden,
                        .inner = hidden * 8 / 3,
                        .vocab = vocab,
                        .context = 4096,
                        .norm = KVF_NORM_RMS,
                        .act = KVF_ACT_SILU,
                        .gated = true,
                        .positions = TEST_ROTARY_HALF};
}

test_shape test_shape_of(const test_variant *v, uint32_t layers, uint32_t vocab)
{
    test_shape s = v->llama ? test_llama(layers, v->heads, v->kv_heads, v->head_dim, vocab)
                            : test_gpt2(layers, v->heads, v->head_dim, vocab);
    s.positions = v->positions;
    s.qk_norm = v->qk_norm;
    s.parallel = v->parallel;
    s.pairs = v->pairs;
    s.value_head = true;
    return s;
}

/* Memory of a plan, and the generator behind its numbers. */
typedef struct maker {
    kvf_rng rng;
    void **blocks; /* freed together */
    size_t n;
} maker;

static float *numbers(maker *m, size_t n, float mean, float spread)
{
    float *x = malloc((n ? n : 1) * sizeof *x);
    m->blocks = realloc(m->blocks, (m->n + 1) * sizeof *m->blocks);
    if (!x || !m->blocks) abort();
    m->blocks[m->n++] = x;
    for (size_t i = 0; i < n; i++) { /* uniform of the same spread: drawing it is quick */
        uint64_t bits = kvf_rng_next(&m->rng);
        x[i] = mean + spread * 3.4641016f * ((float)(bits >> 40) * 0x1p-24f - 0.5f);
    }
    return x;
}

static kvf_matrix matrix(maker *m, uint32_t in, uint32_t out, float spread)
{
    return (kvf_matrix){.data = numbers(m, (size_t)in * out, 0, spread),
                        .type = KVF_F32,
                        .in = in,
                        .out = out,
                        .stride_in = out,
                        .stride_out = 1};
}

static kvf_linear linear(maker *m, uint32_t in, uint32_t out, bool bias)
{
    return (kvf_linear){.w = matrix(m, in, out, 1.5f / sqrtf((float)in)),
                        .bias = bias ? numbers(m, out, 0, 0.1f) : NULL};
}

static kvf_norm norm(maker *m, kvf_norm_kind kind, uint32_t width)
{
    return (kvf_norm){.kind = kind,
                      .eps = 1e-5f,
                      .width = width,
                      .weight = numbers(m, width, 1, 0.1f),
                      .bias = kind == KVF_NORM_LAYER ? numbers(m, width, 0, 0.1f) : NULL};
}

static void make_layer(maker *m, const test_shape *s, kvf_layer *l)
{
    uint32_t q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim;
    l->attn_norm = norm(m, s->norm, s->hidden);
    l->mlp_norm = norm(m, s->norm, s->hidden);
    if (s->qk_norm) {
        l->q_norm = norm(m, KVF_NORM_RMS, s->head_dim);
        l->k_norm = norm(m, KVF_NORM_RMS, s->head_dim);
    }
    l->q = linear(m, s->hidden, q, s->biases);
    l->k = linear(m, s->hidden, kv, s->biases);
    l->v = linear(m, s->hidden, kv, s->biases);
    l->o = linear(m, q, s->hidden, s->biases);
    l->scale = 1 / sqrtf((float)s->head_dim);
    l->act = s->act;
    if (s->gated) l->gate = linear(m, s->hidden, s->inner, s->biases);
    l->up = linear(m, s->hidden, s->inner, s->biases);
    l->down = linear(m, s->inner, s->hidden, s->biases);
}

static void make_rotary(maker *m, const test_shape *s, kvf_rotary *r)
{
    if (s->positions == TEST_LEARNED) return;
    r->pairs = s->pairs ? s->pairs : s->head_dim / 2;
    r->interleaved = s->positions == TEST_ROTARY_INTERLEAVED;
    r->scale = 1;
    float *f = numbers(m, r->pairs, 0, 0);
    for (uint32_t j = 0; j < r->pairs; j++) f[j] = powf(10000, -(float)j / (float)r->pairs);
    if (s->positions == TEST_ROTARY_FREQUENCIES) {
        r->frequencies = f;
        return;
    }
    float *c = numbers(m, (size_t)s->context * r->pairs, 0, 0),
          *sn = numbers(m, (size_t)s->context * r->pairs, 0, 0);
    for (uint32_t p = 0; p < s->context; p++)
        for (uint32_t j = 0; j < r->pairs; j++) {
            c[p * r->pairs + j] = cosf((float)p * f[j]);
            sn[p * r->pairs + j] = sinf((float)p * f[j]);
        }
    r->rows = s->context;
    r->cos = c;
    r->sin = sn;
}

static void make_value_head(maker *m, const test_shape *s, kvf_stack *stack)
{
    kvf_stage stages[] = {{.kind = KVF_STAGE_LINEAR, .linear = linear(m, s->hidden, 40, true)},
                          {.kind = KVF_STAGE_NORM, .norm = norm(m, KVF_NORM_LAYER, 40)},
                          {.kind = KVF_STAGE_ACT, .act = KVF_ACT_RELU},
                          {.kind = KVF_STAGE_LINEAR, .linear = linear(m, 40, 1, true)},
                          {.kind = KVF_STAGE_ACT, .act = KVF_ACT_TANH}};
    stack->n_stages = 5;
    stack->width = 1;
    memcpy(stack->stages, stages, sizeof stages);
}

static kvf_plan *make_plan(maker *m, const test_shape *s)
{
    kvf_plan *p = calloc(1, sizeof *p);
    if (!p || !(p->layer = calloc(s->layers, sizeof *p->layer))) abort();
    p->layers = s->layers;
    p->heads = s->heads;
    p->kv_heads = s->kv_heads;
    p->head_dim = s->head_dim;
    p->hidden = s->hidden;
    p->vocab = s->vocab;
    p->context = s->context;
    p->parallel = s->parallel;
    p->token_embedding = matrix(m, s->vocab, s->hidden, 1);
    p->embedding_scale = 1;
    if (s->positions == TEST_LEARNED)
        p->position_embedding = matrix(m, s->context, s->hidden, 0.3f);
    make_rotary(m, s, &p->rotary);
    for (uint32_t i = 0; i < s->layers; i++) make_layer(m, s, &p->layer[i]);
    p->final_norm = norm(m, s->norm, s->hidden);
    p->head[KVF_LOGITS] = (kvf_stack){.n_stages = 1, .width = s->vocab};
    p->head[KVF_LOGITS].stages[0] =
        (kvf_stage){.kind = KVF_STAGE_LINEAR, .linear = linear(m, s->hidden, s->vocab, false)};
    if (s->value_head) make_value_head(m, s, &p->head[KVF_VALUE]);
    p->head[KVF_HIDDEN].width = s->hidden;
    p->has_hidden = true;
    p->family = "random";
    return p;
}

/* The model with what only the test must free. */
typedef struct test_model {
    kvf_model model;
    maker maker;
} test_model;

kvf_model *test_model_create(const test_shape *shape, uint64_t seed,
                             const kvf_model_options *options, kvf_error *err)
{
    return test_model_create_for(&kvf_engine_native, shape, seed, options, err);
}

kvf_model *test_model_create_for(const kvf_engine_ops *engine, const test_shape *shape,
                                 uint64_t seed, const kvf_model_options *options, kvf_error *err)
{
    test_model *t = calloc(1, sizeof *t);
    if (!t) abort();
    kvf_rng_seed(&t->maker.rng, seed);
    kvf_model *m = &t->model;
    m->plan = make_plan(&t->maker, shape);
    if (options) m->options = *options;
    m->contract.kv_type = m->contract.logits_type = KVF_F32;
    m->info = (kvf_model_info){.layers = shape->layers,
                               .heads = shape->heads,
                               .kv_heads = shape->kv_heads,
                               .head_dim = shape->head_dim,
                               .hidden = shape->hidden,
                               .vocab = shape->vocab,
                               .context = shape->context,
                               .engine = engine->name,
                               .device = m->options.device              ? m->options.device
                                         : engine == &kvf_engine_native ? "cpu"
                                                                        : "cuda:0",
                               .caches = true,
                               .threads = m->options.threads ? m->options.threads : 1};
    for (int h = 0; h < KVF_HEADS; h++) m->info.width[h] = m->plan->head[h].width;
    m->ops = engine;
    m->branches = true;
    if (m->ops->accepts(m, err) || m->ops->load(&m->engine, m, err)) {
        test_model_free(m);
        return NULL;
    }
    return m;
}

void test_model_free(kvf_model *model)
{
    if (!model) return;
    test_model *t = (test_model *)model;
    model->ops->unload(model->engine);
    for (size_t i = 0; i < t->maker.n; i++) free(t->maker.blocks[i]);
    free(t->maker.blocks);
    free(model->plan->layer);
    free(model->plan);
    free(t);
}
