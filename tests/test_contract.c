/* test_contract.c - what inputs and outputs mean: every convention, and every one that is refused.
 *
 * Most graphs are given by their ports alone (graph_of). Where the inside of a graph must speak,
 * the test adds the operators that do. */
#include "model.h"
#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <jansson.h>

#define TRIGO KVF_SOURCE_DIR "/models/trigo/"

/* ---- real files ------------------------------------------------------------------------------ */

static const kvf_contract_port *named(const kvf_onnx *o, const kvf_contract_port *ports, uint32_t n,
                                      const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(o->graph->values[ports[i].value].name, name)) return &ports[i];
    fail_msg("%s: no port %s", o->path, name);
    return NULL;
}

static void same_pairs(const kvf_onnx *o, const kvf_contract *c, json_t *pairs)
{
    size_t i;
    json_t *pair;
    json_array_foreach(pairs, i, pair)
    {
        const kvf_contract_port *past =
            named(o, c->inputs, c->n_inputs, json_string_value(json_array_get(pair, 0)));
        const kvf_contract_port *present =
            named(o, c->outputs, c->n_outputs, json_string_value(json_array_get(pair, 1)));
        assert_int_equal(past->layer, present->layer);
        assert_int_equal(past->role - KVF_ROLE_PAST_KEY, present->role - KVF_ROLE_PRESENT_KEY);
    }
    assert_int_equal(i, c->layers * (c->layout == KVF_LAYOUT_FUSED ? 1 : 2));
}

static uint64_t number(const json_t *object, const char *key)
{
    json_t *v = json_object_get(object, key);
    if (!json_is_integer(v)) fail_msg("expected.json has no number %s", key);
    return (uint64_t)json_integer_value(v);
}

/* Rows of the position table, or of the cos table; llamas that compute theirs have no end. */
static uint64_t context_of(const char *name, const json_t *expected)
{
    const json_t *config = json_object_get(expected, "config");
    if (json_object_get(config, "n_positions")) return number(config, "n_positions");
    if (!strncmp(name, "genai", 5)) return number(config, "max_position_embeddings");
    return strstr(name, "llama") ? 0 : 64;
}

static void corpus_agrees(void **state)
{
    (void)state;
    for (int i = 0; i < N_VALID; i++) {
        char path[512];
        kvf_error err = {0};
        kvf_onnx *o;
        kvf_contract c;
        snprintf(path, sizeof path, CORPUS "/valid/%s/expected.json", valid_models[i]);
        json_t *expected = json_load_file(path, 0, NULL);
        assert_non_null(expected);
        snprintf(path, sizeof path, CORPUS "/valid/%s/model.onnx", valid_models[i]);
        if (kvf_onnx_open(&o, path, &err) || kvf_contract_read(&c, o, NULL, &err))
            fail_msg("%s", err.msg);
        bool grouped = !strncmp(valid_models[i], "genai", 5);
        assert_int_equal(c.layers, number(expected, "layers"));
        assert_int_equal(c.kv_heads, number(expected, "kv_heads"));
        assert_int_equal(c.head_dim, number(expected, "head_dim"));
        assert_int_equal(c.hidden, number(expected, "hidden"));
        assert_int_equal(c.vocab, number(expected, "vocab"));
        assert_int_equal(c.width[KVF_LOGITS], c.vocab);
        assert_int_equal(c.width[KVF_HIDDEN], 0);
        assert_true(!c.heads || c.heads == number(expected, "heads"));
        if (grouped) assert_int_not_equal(c.heads, 0);
        assert_int_equal(c.context, context_of(valid_models[i], expected));
        assert_int_equal(c.cache, grouped ? KVF_CACHE_SHARED : KVF_CACHE_CONCAT);
        assert_int_equal(c.layout,
                         strstr(valid_models[i], "fused") ? KVF_LAYOUT_FUSED : KVF_LAYOUT_HEADS);
        assert_int_equal(c.ids_type,
                         strcmp(valid_models[i], "ort-gpt2-fused-past") ? KVF_I64 : KVF_I32);
        assert_int_equal(c.kv_type, KVF_F32);
        assert_int_equal(c.logits_type, KVF_F32);
        assert_false(c.tree);
        same_pairs(o, &c, json_object_get(expected, "past_to_present"));
        kvf_contract_free(&c);
        kvf_onnx_close(o);
        json_decref(expected);
    }
}

/* Files that are sound ONNX but no decoder that could run; and two of models/. */
static const struct {
    const char *path, *words;
} refused[] = {
    {CORPUS "/broken/wrong-rank-past/model.onnx",
     "\"past_key_0\" (past_key) is float32 [batch, 16]"},
    {CORPUS "/broken/huge-head-dim/model.onnx", "1099511627776], but should be [batch, kv_heads"},
    {CORPUS "/broken/missing-present-outputs/model.onnx", "gives no present"},
    {CORPUS "/broken/encoder-only-no-past/model.onnx", "\"token_type_ids\" (int64"},
    {CORPUS "/broken/add-two-inputs/model.onnx", "none of its 2 inputs is token ids"},
    {TRIGO "base_model_prefix.onnx", "the first half of a tree model, which cannot run by itself"},
    {TRIGO "policy_head.onnx", "none of its 1 inputs is token ids"},
};

static void files_that_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        kvf_onnx *o;
        kvf_contract c;
        kvf_error err = {0};
        assert_int_equal(kvf_onnx_open(&o, refused[i].path, &err), KVF_OK);
        kvf_status status = kvf_contract_read(&c, o, NULL, &err);
        if (status != KVF_ERR_MODEL || !strstr(err.msg, refused[i].words) ||
            !strstr(err.msg, refused[i].path))
            fail_msg("%s: %s %s", refused[i].path, kvf_status_name(status), err.msg);
        assert_null(c.inputs);
        kvf_contract_free(&c);
        kvf_onnx_close(o);
    }
}

static const struct {
    const char *file;
    kvf_cache_kind cache;
    uint32_t layers, kv_heads, head_dim;
} trees[] = {
    {TRIGO "base_model.onnx", KVF_CACHE_NONE, 0, 0, 0},
    {TRIGO "base_model.dynamo.onnx", KVF_CACHE_NONE, 0, 0, 0},
    {TRIGO "base_model_eval_cached.onnx", KVF_CACHE_NONE, 6, 8, 8},
    {TRIGO "base_model_eval_extend.onnx", KVF_CACHE_CONCAT, 6, 8, 8},
};

static void tree_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof trees / sizeof trees[0]; i++) {
        kvf_onnx *o;
        kvf_contract c;
        kvf_error err = {0};
        if (kvf_onnx_open(&o, trees[i].file, &err) || kvf_contract_read(&c, o, NULL, &err))
            fail_msg("%s", err.msg);
        assert_true(c.tree);
        assert_int_equal(c.cache, trees[i].cache);
        assert_int_equal(c.layers, trees[i].layers);
        assert_int_equal(c.kv_heads, trees[i].kv_heads);
        assert_int_equal(c.head_dim, trees[i].head_dim);
        assert_int_equal(c.vocab, 128);
        assert_int_equal(c.hidden, 64);
        assert_int_equal(c.width[KVF_HIDDEN], 64);
        assert_int_equal(c.width[KVF_LOGITS], 0);
        assert_int_equal(c.context, 2048);
        assert_int_equal(named(o, c.inputs, c.n_inputs, "evaluated_mask")->role,
                         KVF_ROLE_EVALUATED_MASK);
        kvf_contract_free(&c);
        kvf_onnx_close(o);
    }
}

/* ---- graphs given by their ports ------------------------------------------------------------- */

typedef struct opened {
    kvf_onnx *onnx;
    uint8_t *block;
    kvf_contract contract;
    kvf_status status;
    kvf_error err;
} opened;

/* Read a model, which is freed. */
static opened read_model(pb model, const char *names)
{
    opened r = {0};
    if (parse_exactly(&r.onnx, &r.block, model.data, model.size, &r.err))
        fail_msg("the test's own model: %s", r.err.msg);
    pb_free(&model);
    r.status = kvf_contract_read(&r.contract, r.onnx, names, &r.err);
    return r;
}

static void done(opened *r)
{
    kvf_contract_free(&r->contract);
    kvf_onnx_close(r->onnx);
    free(r->block);
}

#define IDS     "input_ids i64 b,n"
#define LOGITS  "logits f32 b,n,99"
#define PAST    "past_key_0 f32 b,2,p,8; past_value_0 f32 b,2,p,8"
#define PRESENT "present_key_0 f32 b,2,t,8; present_value_0 f32 b,2,t,8"

static const struct {
    const char *what, *inputs, *outputs, *names;
    kvf_contract want; /* fields that are not zero are compared, and cache, layout and tree */
} accepted[] = {
    {"this project's",
     IDS "; position_ids i64 b,n; " PAST,
     LOGITS "; " PRESENT,
     NULL,
     {.cache = KVF_CACHE_CONCAT,
      .layers = 1,
      .kv_heads = 2,
      .head_dim = 8,
      .vocab = 99,
      .ids_type = KVF_I64,
      .kv_type = KVF_F32,
      .logits_type = KVF_F32}},
    {"half floats",
     IDS "; past_key_values.0.key f16 b,2,p,8; past_key_values.0.value f16 b,2,p,8",
     "logits f16 b,n,99; present.0.key f16 b,2,t,8; present.0.value f16 b,2,t,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .layers = 1, .kv_type = KVF_F16, .logits_type = KVF_F16}},
    {"bfloat16 caches, float32 logits",
     IDS "; past_key_0 bf16 b,2,p,8; past_value_0 bf16 b,2,p,8",
     LOGITS "; present_key_0 bf16 b,2,t,8; present_value_0 bf16 b,2,t,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .kv_type = KVF_BF16, .logits_type = KVF_F32}},
    {"optimum, merged",
     IDS "; attention_mask i64 b,t; use_cache_branch bool 1; past_key_values.0.key f32 b,2,p,8; "
         "past_key_values.0.value f32 b,2,p,8",
     LOGITS "; present.0.key f32 b,2,t,8; present.0.value f32 b,2,t,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .layers = 1}},
    {"fused, int32",
     "input_ids i32 b,n; position_ids i32 b,n; attention_mask i32 b,t; past_0 f32 2,b,4,p,8; "
     "past_1 f32 2,b,4,p,8",
     LOGITS "; present_0 f32 2,b,4,t,8; present_1 f32 2,b,4,t,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT,
      .layout = KVF_LAYOUT_FUSED,
      .layers = 2,
      .kv_heads = 4,
      .head_dim = 8,
      .ids_type = KVF_I32}},
    {"length before heads",
     IDS "; past_key_0 f32 b,p,2,8; past_value_0 f32 b,p,2,8",
     LOGITS "; present_key_0 f32 b,t,2,8; present_value_0 f32 b,t,2,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .layout = KVF_LAYOUT_LENGTH, .kv_heads = 2, .head_dim = 8}},
    {"a batch of one, presents without shape",
     "input_ids i64 1,n; past_key_0 f32 1,2,p,8; past_value_0 f32 1,2,p,8",
     LOGITS "; present_key_0 f32; present_value_0 f32",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .kv_heads = 2}},
    {"heads that only presents tell",
     IDS "; past_key_0 f32 b,h,p,d; past_value_0 f32 b,h,p,d",
     LOGITS "; " PRESENT,
     NULL,
     {.cache = KVF_CACHE_CONCAT, .kv_heads = 2, .head_dim = 8}},
    {"no past", IDS "; attention_mask i64 b,n", LOGITS, NULL, {.vocab = 99}},
    {"the first half of a split export", IDS, LOGITS "; " PRESENT, NULL, {.vocab = 99}},
    {"values and hidden states too",
     IDS "; " PAST,
     LOGITS "; values f32 b,n; last_hidden_state f32 b,n,16; policy f32 b,n,7; " PRESENT,
     NULL,
     {.cache = KVF_CACHE_CONCAT, .hidden = 16, .width = {99, 7, 1, 16}}},
    {"values of a width",
     IDS "; " PAST,
     LOGITS "; value f32 b,n,3; " PRESENT,
     NULL,
     {.cache = KVF_CACHE_CONCAT, .width = {99, 0, 3, 0}}},
    {"outputs of no use are left alone",
     IDS "; " PAST,
     LOGITS "; attentions.0 f32 b,2,n,t,5; " PRESENT,
     NULL,
     {.cache = KVF_CACHE_CONCAT}},
    {"a tree, whole",
     "prefix_ids i64 b,n; evaluated_ids i64 b,m; evaluated_mask f32 b,m,m",
     LOGITS,
     NULL,
     {.tree = true, .vocab = 99}},
    {"nameless, by shape",
     "onnx::Gather_0 i64 b,n; k f32 b,2,p,8; v f32 b,2,p,8; k.1 f32 b,2,p,8; v.1 f32 b,2,p,8",
     "out f32 b,n,99; 17 f32 b,2,t,8; 18 f32 b,2,t,8; 19 f32 b,2,t,8; 20 f32 b,2,t,8",
     NULL,
     {.cache = KVF_CACHE_CONCAT, .layers = 2, .kv_heads = 2, .head_dim = 8, .vocab = 99}},
    {"by map",
     "a i64 b,n; c f32 b,2,p,8; d f32 b,2,p,8; e i64 b,n",
     "y f32 b,n,99; f f32 b,2,t,8; g f32 b,2,t,8",
     "input_ids=a,position_ids=e,past_key_0=c,past_value_0=d,present_key_0=f,present_value_0=g,"
     "logits=y",
     {.cache = KVF_CACHE_CONCAT, .layers = 1, .vocab = 99}},
    {"by map, against names that mislead",
     "position_ids i64 b,n; input_ids i64 b,n; " PAST,
     LOGITS "; " PRESENT,
     "input_ids=position_ids,position_ids=input_ids",
     {.cache = KVF_CACHE_CONCAT, .layers = 1}},
};

static void same(const char *what, const char *field, uint64_t want, uint64_t got)
{
    if (want && want != got)
        fail_msg("%s: %s is %llu, should be %llu", what, field, (unsigned long long)got,
                 (unsigned long long)want);
}

static void conventions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof accepted[0]; i++) {
        const kvf_contract *want = &accepted[i].want;
        const char *what = accepted[i].what;
        opened r = read_model(onnx_model(graph_of(accepted[i].inputs, accepted[i].outputs)),
                              accepted[i].names);
        const kvf_contract *c = &r.contract;
        if (r.status) fail_msg("%s: %s", what, r.err.msg);
        if (c->cache != want->cache || c->layout != want->layout || c->tree != want->tree)
            fail_msg("%s: cache %d, layout %d, tree %d", what, (int)c->cache, (int)c->layout,
                     c->tree);
        same(what, "layers", want->layers, c->layers);
        same(what, "kv_heads", want->kv_heads, c->kv_heads);
        same(what, "head_dim", want->head_dim, c->head_dim);
        same(what, "hidden", want->hidden, c->hidden);
        same(what, "vocab", want->vocab, c->vocab);
        same(what, "ids_type", want->ids_type, c->ids_type);
        same(what, "kv_type", want->kv_type, c->kv_type);
        same(what, "logits_type", want->logits_type, c->logits_type);
        for (int h = 0; h < KVF_HEADS; h++) same(what, "a width", want->width[h], c->width[h]);
        for (uint32_t p = 0; p < c->n_inputs; p++)
            assert_int_not_equal(c->inputs[p].role, KVF_ROLE_NONE);
        done(&r);
    }
}

static const struct {
    const char *what, *inputs, *outputs, *names;
    kvf_status status;
    const char *words;
} wrong[] = {
    {"no value of layer 1", IDS "; " PAST "; past_key_1 f32 b,2,p,8", LOGITS "; " PRESENT, NULL,
     KVF_ERR_MODEL, "2 layers, but layer 1 has no past_value"},
    {"a gap", IDS "; " PAST "; past_key_2 f32 b,2,p,8; past_value_2 f32 b,2,p,8",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "layer 2, but layers before it are missing"},
    {"a present less", IDS "; " PAST "; past_key_1 f32 b,2,p,8; past_value_1 f32 b,2,p,8",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "layer 1 has no present_key"},
    {"no keys at all", IDS "; past_value_0 f32 b,2,p,8", LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "layer 0 has no past_key"},
    {"fused and apart", IDS "; " PAST "; past_1 f32 2,b,2,p,8", LOGITS "; " PRESENT, NULL,
     KVF_ERR_MODEL, "others apart"},
    {"values of another size", IDS "; past_key_0 f32 b,2,p,8; past_value_0 f32 b,2,p,16",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "the same for keys and values of all layers"},
    {"presents of another size", IDS "; " PAST,
     LOGITS "; present_key_0 f32 b,2,t,9; present_value_0 f32 b,2,t,8", NULL, KVF_ERR_MODEL,
     "\"present_key_0\" is float32 [b, 2, t, 9]"},
    {"keys and values of two types", IDS "; past_key_0 f32 b,2,p,8; past_value_0 f16 b,2,p,8",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "of another type"},
    {"caches of bytes", IDS "; past_key_0 u8 b,2,p,8; past_value_0 u8 b,2,p,8", LOGITS "; " PRESENT,
     NULL, KVF_ERR_MODEL, "caches are float32, float16 or bfloat16"},
    {"no heads", IDS "; past_key_0 f32 b,0,p,8; past_value_0 f32 b,0,p,8", LOGITS "; " PRESENT,
     NULL, KVF_ERR_MODEL, "kv_heads and head_dim from 1"},
    {"absurd rows",
     IDS "; past_key_0 f32 b,1048576,p,1048576; past_value_0 f32 b,1048576,p,1048576",
     LOGITS "; present_key_0 f32; present_value_0 f32", NULL, KVF_ERR_MODEL, "absurd"},
    {"a past of one length", IDS "; past_key_0 f32 b,2,64,8; past_value_0 f32 b,2,64,8",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "length should be dynamic"},
    {"a batch of four", IDS "; past_key_0 f32 4,2,p,8; past_value_0 f32 4,2,p,8",
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "batch should be dynamic, or 1"},
    {"bloom, rank 3", IDS "; past_key_values.0.key f32 bh,8,p; past_key_values.0.value f32 bh,p,8",
     LOGITS "; present.0.key f32 bh,8,t; present.0.value f32 bh,t,8", NULL, KVF_ERR_MODEL,
     "is float32 [bh, 8, p], but should be [batch, kv_heads, length, head_dim]"},
    {"three in one", IDS "; past_0 f32 3,b,4,p,8", LOGITS "; present_0 f32 3,b,4,t,8", NULL,
     KVF_ERR_MODEL, "should be [2, batch, kv_heads, length, head_dim]"},
    {"a layer 00", IDS "; past_key_00 f32 b,2,p,8; past_value_0 f32 b,2,p,8", LOGITS "; " PRESENT,
     NULL, KVF_ERR_MODEL, "\"past_key_00\""},
    {"nameless caches that do not pair up", IDS "; k f32 b,2,p,8; v f32 b,2,p,8",
     LOGITS "; a f32 b,2,t,8; b f32 b,2,t,8; c f32 b,2,t,8", NULL, KVF_ERR_MODEL,
     "input \"k\" is float32 [b, 2, p, 8], which is no known input"},
    {"four sequences at once", "input_ids i64 4,n; " PAST, LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "its batch should be dynamic, or 1"},
    {"gpt_bigcode", IDS "; past_key_values.0.key_value f32 b,p,16",
     LOGITS "; present.0.key_value f32 b,t,16", NULL, KVF_ERR_MODEL, "gpt_bigcode"},
    {"heads that nothing tells", IDS "; past_key_0 f32 b,h,p,d; past_value_0 f32 b,h,p,d",
     LOGITS "; present_key_0 f32 b,h,t,d; present_value_0 f32 b,h,t,d", NULL, KVF_ERR_MODEL,
     "how many heads of which size"},
    {"an encoder-decoder", IDS "; encoder_hidden_states f32 b,s,16; " PAST, LOGITS "; " PRESENT,
     NULL, KVF_ERR_MODEL, "encoder-decoder"},
    {"embeddings", "inputs_embeds f32 b,n,16; " PAST, LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "takes embeddings instead of token ids"},
    {"an input of no known use", IDS "; num_logits_to_keep i64 -; " PAST, LOGITS "; " PRESENT, NULL,
     KVF_ERR_MODEL, "\"num_logits_to_keep\" is int64 []"},
    {"float ids", "input_ids f32 b,n; " PAST, LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "\"input_ids\" (input_ids) is float32 [b, n], but should be int64 or int32"},
    {"ids without shape", "input_ids i64; " PAST, LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "int64 of unknown shape"},
    {"one length of ids", "input_ids i64 b,128; " PAST, LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL,
     "takes one length only"},
    {"a mask of rank 4", IDS "; attention_mask f32 b,1,n,t; " PAST, LOGITS "; " PRESENT, NULL,
     KVF_ERR_MODEL, "\"attention_mask\" (attention_mask) is float32 [b, 1, n, t]"},
    {"logits of the last row", IDS "; " PAST, "logits f32 b,99; " PRESENT, NULL, KVF_ERR_MODEL,
     "a row for every token"},
    {"logits that are integers", IDS "; " PAST, "logits i64 b,n,99; " PRESENT, NULL, KVF_ERR_MODEL,
     "should be float32"},
    {"logits of unknown width", IDS "; " PAST, "logits f32 b,n,v; " PRESENT, NULL, KVF_ERR_MODEL,
     "width is not to be found"},
    {"logits of 2^40", IDS "; " PAST, "logits f32 b,n,1099511627776; " PRESENT, NULL, KVF_ERR_MODEL,
     "or absurd"},
    {"no output of use", IDS "; " PAST, PRESENT, NULL, KVF_ERR_MODEL, "no output that is logits"},
    {"hidden states, but no vocabulary", IDS "; " PAST, "hidden_states f32 b,n,16; " PRESENT, NULL,
     KVF_ERR_MODEL, "vocabulary (0)"},
    {"a tree without mask", "prefix_ids i64 b,n; evaluated_ids i64 b,m", LOGITS, NULL,
     KVF_ERR_MODEL, "takes evaluated_ids and evaluated_mask"},
    {"a tree with a mask of bool",
     "prefix_ids i64 b,n; evaluated_ids i64 b,m; evaluated_mask bool b,m,m", LOGITS, NULL,
     KVF_ERR_MODEL, "should be float32 [batch, evaluated, evaluated]"},
    {"a tree with prefix and past",
     "prefix_ids i64 b,n; evaluated_ids i64 b,m; evaluated_mask f32 b,m,m; " PAST,
     LOGITS "; " PRESENT, NULL, KVF_ERR_MODEL, "either prefix_ids or a past"},
    {"a tree with neither", "evaluated_ids i64 b,m; evaluated_mask f32 b,m,m", LOGITS, NULL,
     KVF_ERR_MODEL, "this one takes neither"},
    {"two nameless inputs that could be ids", "a i64 b,n; c i64 b,n", LOGITS, NULL, KVF_ERR_MODEL,
     "none of its 2 inputs is token ids"},
    {"a map without =", IDS, LOGITS, "input_ids", KVF_ERR_ARG, "is no ROLE=NAME"},
    {"a map with an empty name", IDS, LOGITS, "input_ids=", KVF_ERR_ARG, "is no ROLE=NAME"},
    {"a map with an empty entry", IDS, LOGITS, "logits=logits,", KVF_ERR_ARG, "is no ROLE=NAME"},
    {"a map with a role that is none", IDS, LOGITS, "tokens=input_ids", KVF_ERR_ARG,
     "there is no role \"tokens\""},
    {"a map with a name that is none", IDS, LOGITS, "input_ids=x", KVF_ERR_ARG,
     "the graph has no such input"},
    {"a map of an output to an input", IDS, LOGITS, "logits=input_ids", KVF_ERR_ARG,
     "no such output"},
    {"a map that gives two roles", IDS, LOGITS, "input_ids=input_ids,position_ids=input_ids",
     KVF_ERR_ARG, "has two roles"},
    {"two inputs of one role", IDS "; ids i64 b,n", LOGITS, "input_ids=ids", KVF_ERR_MODEL,
     "2 of its inputs or outputs are input_ids"},
    {"two keys of one layer", IDS "; " PAST "; k f32 b,2,p,8", LOGITS "; " PRESENT, "past_key_0=k",
     KVF_ERR_MODEL, "which another one is too"},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        opened r =
            read_model(onnx_model(graph_of(wrong[i].inputs, wrong[i].outputs)), wrong[i].names);
        if (r.status != wrong[i].status || !strstr(r.err.msg, wrong[i].words))
            fail_msg("%s: %s \"%s\", but \"%s\" should be in it", wrong[i].what,
                     kvf_status_name(r.status), r.err.msg, wrong[i].words);
        assert_null(r.contract.inputs);
        done(&r);
    }
}

/* ---- what the inside of a graph says --------------------------------------------------------- */

static pb weight(const char *name, const char *dims, uint64_t elements)
{
    void *zeros = calloc(elements, 4);
    if (!zeros) abort();
    pb t = onnx_tensor(name, KVF_F32, dims, zeros, elements * 4);
    free(zeros);
    return t;
}

/* A past that is written in place: its length is fixed, and so is the context. */
static void tensor_scatter(void **state)
{
    (void)state;
    for (int axis = -3; axis <= -2; axis++) {
        pb g = {0};
        const char *dims = axis == -2 ? "b,2,64,8" : "b,64,2,8";
        graph_input(&g, onnx_port("input_ids", KVF_I64, "b,n"));
        graph_input(&g, onnx_port("where", KVF_I64, "b"));
        graph_input(&g, onnx_port("rows", KVF_I64, "b"));
        graph_node(&g, onnx_node("Make", "", "input_ids", "new"));
        for (int kv = 0; kv < 2; kv++) {
            const char *past = kv ? "past_value_0" : "past_key_0";
            const char *present = kv ? "present_value_0" : "present_key_0";
            char inputs[64];
            snprintf(inputs, sizeof inputs, "%s,new,where", past);
            graph_input(&g, onnx_port(past, KVF_F32, dims));
            pb node = onnx_node("TensorScatter", "", inputs, present);
            onnx_attr_int(&node, "axis", axis);
            graph_node(&g, node);
            graph_output(&g, onnx_port(present, KVF_F32, dims));
        }
        graph_node(&g, onnx_node("Attention", "", "new,present_key_0,present_value_0,,,,rows",
                                 "attended"));
        graph_node(&g, onnx_node("Make", "", "attended", "logits"));
        graph_output(&g, onnx_port("logits", KVF_F32, "b,n,99"));
        opened r = read_model(onnx_model(g), NULL);
        if (r.status) fail_msg("%s", r.err.msg);
        assert_int_equal(r.contract.cache, KVF_CACHE_SCATTER);
        assert_int_equal(r.contract.layout, axis == -2 ? KVF_LAYOUT_HEADS : KVF_LAYOUT_LENGTH);
        assert_int_equal(r.contract.context, 64);
        assert_int_equal(r.contract.kv_heads, 2);
        assert_int_equal(named(r.onnx, r.contract.inputs, r.contract.n_inputs, "where")->role,
                         KVF_ROLE_WRITE_INDICES);
        assert_int_equal(named(r.onnx, r.contract.inputs, r.contract.n_inputs, "rows")->role,
                         KVF_ROLE_SEQUENCE_LENGTHS);
        done(&r);
    }
}

/* GroupQueryAttention with symbolic heads: how its key is made says their size. */
typedef enum grouped_by { BY_PROJECTION, BY_BIAS, BY_QUANTISED, BY_PACKED, BY_COS } grouped_by;

static pb grouped(grouped_by by, int64_t heads)
{
    pb g = graph_of(IDS "; past_key_values.0.key f32 b,h,p,d; past_key_values.0.value f32 b,h,p,d",
                    LOGITS);
    graph_node(&g, onnx_node("Make", "", "input_ids", "x"));
    graph_node(&g, onnx_node("Make", "", "input_ids", "odd"));
    const char *key = "k",
               *inputs = "x,k,k,past_key_values.0.key,past_key_values.0.value,,,cos,cos";
    if (by == BY_PROJECTION || by == BY_PACKED) {
        graph_initializer(&g, by == BY_PACKED ? weight("w", "5,48", 240) : weight("w", "5,12", 60));
        graph_node(&g, onnx_node("MatMul", "", "x,w", key));
    } else if (by == BY_BIAS) {
        graph_initializer(&g, weight("bias", "12", 12));
        graph_node(&g, onnx_node("Add", "", "odd,bias", key));
    } else if (by == BY_QUANTISED) {
        pb node = onnx_node("MatMulNBits", "com.microsoft", "x", key);
        onnx_attr_int(&node, "N", 12);
        graph_node(&g, node);
    } else {
        graph_node(&g, onnx_node("Make", "", "x", key));
    }
    if (by == BY_PACKED) inputs = "k,,,past_key_values.0.key,past_key_values.0.value,,,cos,cos";
    graph_initializer(&g, weight("cos", "40,3", 120));
    pb node = onnx_node("GroupQueryAttention", "com.microsoft", inputs,
                        "a,present.0.key,present.0.value");
    onnx_attr_int(&node, "num_heads", heads);
    onnx_attr_int(&node, "kv_num_heads", 2);
    graph_node(&g, node);
    graph_output(&g, onnx_port("present.0.key", KVF_F32, "b,h,t,d"));
    graph_output(&g, onnx_port("present.0.value", KVF_F32, "b,h,t,d"));
    return g;
}

static void grouped_heads(void **state)
{
    (void)state;
    for (int by = BY_PROJECTION; by <= BY_COS; by++) {
        opened r = read_model(onnx_model(grouped((grouped_by)by, 4)), NULL);
        if (r.status) fail_msg("%d: %s", by, r.err.msg);
        assert_int_equal(r.contract.cache, KVF_CACHE_SHARED);
        assert_int_equal(r.contract.heads, 4);
        assert_int_equal(r.contract.kv_heads, 2);
        assert_int_equal(r.contract.head_dim, 6);
        assert_int_equal(r.contract.context, 40);
        done(&r);
    }
    opened r = read_model(onnx_model(grouped(BY_PROJECTION, 5)), NULL);
    assert_int_equal(r.status, KVF_ERR_MODEL);
    assert_non_null(strstr(r.err.msg, "5 heads, but 2 of keys and values"));
    done(&r);
    /* One layer in place, the next one not. */
    pb g = grouped(BY_PROJECTION, 4);
    add_ports(&g, "past_key_values.1.key f32 b,2,p,6; past_key_values.1.value f32 b,2,p,6", false,
              NULL);
    add_ports(&g, "present.1.key f32 b,2,t,6; present.1.value f32 b,2,t,6", true, "input_ids");
    r = read_model(onnx_model(g), NULL);
    assert_int_equal(r.status, KVF_ERR_MODEL);
    assert_non_null(strstr(r.err.msg, "different kinds of operators"));
    done(&r);
}

/* Tables of tokens and positions; OPT begins its positions at row 2. */
static pb with_tables(bool offset)
{
    pb g = graph_of(IDS "; position_ids i64 b,n; " PAST, PRESENT "; hidden_states f32 b,n,h");
    static const int64_t two = 2;
    graph_initializer(&g, weight("tokens", "31,5", 155));
    graph_initializer(&g, weight("positions", "50,5", 250));
    graph_initializer(&g, onnx_tensor("two", KVF_I64, "", &two, 8));
    graph_node(&g, onnx_node("Cast", "", "input_ids", "ids"));
    graph_node(&g, onnx_node("Gather", "", "tokens,ids", "t"));
    graph_node(&g, onnx_node("Add", "", "position_ids,two", "shifted"));
    graph_node(&g, onnx_node("Gather", "", offset ? "positions,shifted" : "positions,position_ids",
                             "p"));
    return g;
}

static void tables(void **state)
{
    (void)state;
    static const struct {
        bool offset;
        const char *said;
        uint32_t context;
    } rows[] = {{false, NULL, 50},
                {true, NULL, 48},
                {false, "32", 32},
                {false, "1000", 50},
                {false, "0", 50}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        pb m = onnx_model(with_tables(rows[i].offset));
        if (rows[i].said) model_property(&m, "kvfork.context", rows[i].said);
        opened r = read_model(m, NULL);
        if (r.status) fail_msg("%s", r.err.msg);
        assert_int_equal(r.contract.context, rows[i].context);
        assert_int_equal(r.contract.vocab, 31);
        assert_int_equal(r.contract.hidden, 5);
        assert_int_equal(r.contract.width[KVF_HIDDEN], 5);
        done(&r);
    }
    static const char *const nonsense[] = {"many", "-1", "12 ", "99999999999999999999"};
    for (int i = 0; i < 4; i++) {
        pb m = onnx_model(with_tables(false));
        model_property(&m, "kvfork.context", nonsense[i]);
        opened r = read_model(m, NULL);
        assert_int_equal(r.status, KVF_ERR_MODEL);
        assert_non_null(strstr(r.err.msg, "kvfork.context"));
        done(&r);
    }
}

/* A head that is the table of tokens turned round, and one that Gemm turns itself. */
static void tied_and_turned(void **state)
{
    (void)state;
    for (int turned = 0; turned < 2; turned++) {
        pb g = graph_of(IDS, "hidden_states f32 b,n,h");
        graph_initializer(&g, turned ? weight("w", "31,5", 155) : weight("w", "5,31", 155));
        if (!turned) graph_node(&g, onnx_node("Transpose", "", "w", "table"));
        graph_node(&g, onnx_node("Gather", "", turned ? "w,input_ids" : "table,input_ids", "x"));
        pb node = onnx_node(turned ? "Gemm" : "MatMul", "", "x,w", "logits");
        if (turned) onnx_attr_int(&node, "transB", 1);
        graph_node(&g, node);
        graph_output(&g, onnx_port("logits", KVF_F32, "b,n,v"));
        opened r = read_model(onnx_model(g), NULL);
        if (r.status) fail_msg("%s", r.err.msg);
        assert_int_equal(r.contract.width[KVF_LOGITS], 31);
        assert_int_equal(r.contract.width[KVF_HIDDEN], 5);
        done(&r);
    }
}

static void too_many_ports(void **state)
{
    (void)state;
    pb g = graph_of(IDS, LOGITS);
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "past_key_%d", i);
        graph_input(&g, onnx_port(name, KVF_F32, "b,2,p,8"));
    }
    opened r = read_model(onnx_model(g), NULL);
    assert_int_equal(r.status, KVF_ERR_MODEL);
    assert_non_null(strstr(r.err.msg, "more than 4096 inputs"));
    done(&r);
}

static void failing_allocations(void **state)
{
    (void)state;
    opened r = read_model(onnx_model(graph_of(IDS "; " PAST, LOGITS "; " PRESENT)), NULL);
    assert_int_equal(r.status, KVF_OK);
    uint64_t n = 0;
    do {
        kvf_contract_free(&r.contract);
        kvf_fail_allocations(++n);
        r.status = kvf_contract_read(&r.contract, r.onnx, "logits=logits", &r.err);
    } while (r.status == KVF_ERR_NOMEM);
    kvf_fail_allocations(0);
    assert_int_equal(r.status, KVF_OK);
    assert_true(n > 3);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus_agrees),
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(tree_models),
        cmocka_unit_test(conventions),
        cmocka_unit_test(refusals),
        cmocka_unit_test(tensor_scatter),
        cmocka_unit_test(grouped_heads),
        cmocka_unit_test(tables),
        cmocka_unit_test(tied_and_turned),
        cmocka_unit_test(too_many_ports),
        cmocka_unit_test(failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
