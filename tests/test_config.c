/* test_config.c - config.json: every key is used, known to be harmless, or refused by name. */
#include "export/config.h"

#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];

static int make_file(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/test_config.XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static kvf_status read_bytes(const void *data, size_t n, kvf_decoder *d, kvf_error *err)
{
    static const kvf_ignored nothing = {0};
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return kvf_config_read(d, path, &nothing, err);
}

#define GPT2                                                                                       \
    "\"model_type\":\"gpt2\",\"n_layer\":2,\"n_head\":4,\"n_embd\":64,\"n_positions\":32,"         \
    "\"vocab_size\":100"
#define LLAMA                                                                                      \
    "\"model_type\":\"llama\",\"num_hidden_layers\":2,\"num_attention_heads\":4,"                  \
    "\"hidden_size\":64,\"intermediate_size\":96,\"max_position_embeddings\":128,"                 \
    "\"vocab_size\":100"
#define QWEN(n)                                                                                    \
    "\"model_type\":\"qwen" n "\",\"num_hidden_layers\":2,\"num_attention_heads\":4,"              \
    "\"num_key_value_heads\":2,\"hidden_size\":64,\"intermediate_size\":96,"                       \
    "\"max_position_embeddings\":128,\"vocab_size\":100"
#define MISTRAL                                                                                    \
    "\"model_type\":\"mistral\",\"num_hidden_layers\":2,\"num_attention_heads\":4,"                \
    "\"num_key_value_heads\":2,\"hidden_size\":64,\"intermediate_size\":96,"                       \
    "\"max_position_embeddings\":128,\"vocab_size\":100"

static void accepted_and_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words; /* words of the message; NULL: accepted */
    } rows[] = {
        {"{" GPT2 "}", NULL},
        {"{" LLAMA "}", NULL},
        {"{" MISTRAL "}", NULL},
        {"{" QWEN("2") "}", NULL},
        {"{" QWEN("3") "}", NULL},
        {"", "line 1"},
        {"[]", "object"},
        {"{}", "model_type is ''"},
        {"{\"model_type\":3}", "model_type should be a text"},
        {"{\"model_type\":\"bert\"}", "should be one of gpt2, llama"},
        {"{\"model_type\":\"gpt2\"}", "has no n_layer"},
        {"{" GPT2 ",\"n_layer\":3}", "duplicate"},
        {"{" GPT2 ",\"mystery\":1}", "mystery is not a key that the export knows"},
        {"{" GPT2 ",\"mystery\":null}", NULL},
        {"{" GPT2 ",\"resid_pdrop\":0.5,\"use_cache\":false}", NULL},
        {"{" GPT2 ",\"n_inner\":0}", "n_inner should be a whole number"},
        {"{" GPT2 ",\"n_inner\":-4}", "n_inner should be a whole number"},
        {"{" GPT2 ",\"n_inner\":1.5}", "n_inner should be a whole number"},
        {"{" GPT2 ",\"n_inner\":\"4\"}", "n_inner should be a whole number"},
        {"{" GPT2 ",\"n_inner\":99999999999}", "n_inner should be a whole number"},
        {"{" GPT2 ",\"n_inner\":2000000000}", "inner size is 2000000000"},
        {"{" GPT2 ",\"n_inner\":null}", NULL},
        {"{" GPT2 ",\"layer_norm_epsilon\":0}", "layer_norm_epsilon should be a number above 0"},
        {"{" GPT2 ",\"layer_norm_epsilon\":1e999}", "overflow"},
        {"{" GPT2 ",\"activation_function\":\"quick_gelu\"}", "activation_function should be"},
        {"{" GPT2 ",\"activation_function\":\"relu\"}", NULL},
        {"{" GPT2 ",\"add_cross_attention\":true}", "add_cross_attention should be false"},
        {"{" GPT2 ",\"add_cross_attention\":false}", NULL},
        {"{" GPT2 ",\"tie_word_embeddings\":0}", "tie_word_embeddings should be true or false"},
        {"{\"model_type\":\"gpt2\",\"n_layer\":2,\"n_head\":3,\"n_embd\":64,\"n_positions\":8,"
         "\"vocab_size\":9}",
         "n_head should be a divisor"},
        {"{\"model_type\":\"gpt2\",\"n_layer\":5000,\"n_head\":4,\"n_embd\":64,\"n_positions\":8,"
         "\"vocab_size\":9}",
         "number of layers is 5000"},
        {"{" LLAMA ",\"num_key_value_heads\":3}", "cannot share 3"},
        {"{" LLAMA ",\"head_dim\":15}", "rotary positions need an even one"},
        {"{" LLAMA ",\"head_dim\":2048}", "head_dim is 2048"},
        {"{" LLAMA ",\"attention_bias\":true,\"mlp_bias\":true}", NULL},
        {"{" LLAMA ",\"quantization_config\":{}}", "quantization_config is not a key"},
        {"{" LLAMA ",\"rope_theta\":-1}", "rope_theta should be a number above 0"},
        {"{" LLAMA ",\"rope_scaling\":5}", "rope_scaling should be an object"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2.0}}",
         "rope_scaling should be"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\"}}", "has no factor"},
        {"{" LLAMA ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0,\"beta\":1}}",
         "rope_scaling.beta is not known for type linear"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0}}",
         "has no low_freq_factor"},
        {"{" LLAMA ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
         "\"low_freq_factor\":4.0,\"high_freq_factor\":4.0,"
         "\"original_max_position_embeddings\":32}}",
         "high_freq_factor should be above"},
        {"{" LLAMA ",\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e4}}", NULL},
        {"{" LLAMA ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5e4}}}",
         "rope_parameters.full_attention"},
        {"{" LLAMA ",\"rope_parameters\":{},\"rope_scaling\":{}}", "rope_scaling should be absent"},
        {"{" LLAMA ",\"partial_rotary_factor\":0.5}", "partial_rotary_factor should be 1"},
        {"{" LLAMA ",\"rope_parameters\":{\"partial_rotary_factor\":0.5}}",
         "partial_rotary_factor should be 1"},
        {"{" MISTRAL ",\"sliding_window\":64}", "sliding_window should be"},
        {"{" MISTRAL ",\"sliding_window\":128}", NULL},
        {"{" MISTRAL ",\"sliding_window\":null}", NULL},
        {"{" QWEN("2") ",\"sliding_window\":64}", NULL},
        {"{" QWEN("2") ",\"sliding_window\":64,\"use_sliding_window\":false}", NULL},
        {"{" QWEN("2") ",\"sliding_window\":64,\"use_sliding_window\":true}", "sliding_window"},
        {"{" QWEN("2") ",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
         "layer_types should be"},
        {"{" QWEN("2") ",\"use_mrope\":true}", "use_mrope should be false"},
        {"{" QWEN("2") ",\"attention_bias\":true}", "attention_bias is not a key"},
        {"{" LLAMA ",\"eos_token_id\":[1,2,300],\"pad_token_id\":-1}", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kvf_decoder d;
        kvf_error err;
        kvf_status status = read_bytes(rows[i].text, strlen(rows[i].text), &d, &err);
        if (!rows[i].words) {
            if (status) fail_msg("%s: %s", rows[i].text, err.msg);
        } else if (status != KVF_ERR_MODEL || !strstr(err.msg, rows[i].words)) {
            fail_msg("%s: '%s' should say '%s'", rows[i].text, status ? err.msg : "accepted",
                     rows[i].words);
        }
    }
}

static kvf_decoder read_well(const char *text)
{
    kvf_decoder d;
    kvf_error err;
    if (read_bytes(text, strlen(text), &d, &err)) fail_msg("%s: %s", text, err.msg);
    return d;
}

static void values_of_gpt2(void **state)
{
    (void)state;
    kvf_decoder d = read_well("{" GPT2 ",\"scale_attn_weights\":false,\"eos_token_id\":7}");
    assert_int_equal(d.inner, 256);
    assert_int_equal(d.kv_heads, 4);
    assert_int_equal(d.head_dim, 16);
    assert_true(d.tied && d.qkv_bias && d.out_bias && d.mlp_bias && d.positions && !d.gated);
    assert_int_equal(d.act, KVF_ACT_GELU_TANH);
    assert_true(d.scale == 1 && !d.scale_by_layer);
    assert_int_equal(d.n_eos, 1);
    assert_int_equal(d.eos[0], 7);
    assert_int_equal(d.bos, -1);
    assert_true(read_well("{" GPT2 ",\"scale_attn_by_inverse_layer_idx\":true}").scale_by_layer);
}

static void values_of_llama(void **state)
{
    (void)state;
    kvf_decoder d = read_well("{" LLAMA ",\"eos_token_id\":[1,2,300],\"bos_token_id\":3}");
    assert_int_equal(d.kv_heads, 4);
    assert_int_equal(d.head_dim, 16);
    assert_true(!d.tied && !d.qkv_bias && d.gated && d.norm == KVF_NORM_RMS);
    assert_true(d.frequencies[0] == 1 &&
                fabsf(d.frequencies[7] - powf(10000, -14.0f / 16)) < 1e-8f);
    assert_int_equal(d.n_eos, 2); /* no token has the id 300 */
    assert_int_equal(d.bos, 3);
    d = read_well("{" LLAMA ",\"attention_bias\":true,\"head_dim\":24,\"rope_scaling\":"
                  "{\"type\":\"linear\",\"factor\":4.0}}");
    assert_true(d.qkv_bias && d.out_bias && !d.mlp_bias && d.head_dim == 24);
    assert_true(d.frequencies[0] == 0.25f);
    d = read_well("{" QWEN("3") "}");
    assert_true(d.qk_norm && !d.qkv_bias && d.head_dim == 128);
    assert_true(read_well("{" QWEN("2") "}").qkv_bias);
}

/* Frequencies that turn often in the original context stay, slow ones are divided, and between
 * lies a line: by the published formula, written down once more with wave lengths. */
static void llama3_frequencies(void **state)
{
    (void)state;
    kvf_decoder d =
        read_well("{" LLAMA ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\","
                  "\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"
                  "\"original_max_position_embeddings\":64}}");
    int kinds[3] = {0};
    for (int i = 0; i < 8; i++) {
        double f = pow(500000, -i / 8.0), wave = 2 * acos(-1) / f, want;
        double smooth = (64 / wave - 1) / (4 - 1);
        int kind = wave > 64 ? 0 : wave < 16 ? 1 : 2;
        want = kind == 0 ? f / 8 : kind == 1 ? f : (1 - smooth) * f / 8 + smooth * f;
        kinds[kind]++;
        assert_true(fabs(d.frequencies[i] - want) <= 1e-6 * want);
    }
    assert_true(kinds[0] && kinds[1] && kinds[2]);
}

static void ignored_keys(void **state)
{
    (void)state;
    static const char text[] = "{" MISTRAL ",\"sliding_window\":64,\"mystery\":1,\"rope_scaling\":"
                               "{\"type\":\"yarn\"}}";
    const char *names[] = {"sliding_window", "rope_scaling", "mystery"};
    kvf_decoder d;
    kvf_error err;
    assert_int_equal(read_bytes(text, sizeof text - 1, &d, &err), KVF_ERR_MODEL);
    for (size_t n = 0; n < 3; n++) {
        kvf_ignored ignored = {names, n};
        assert_int_equal(kvf_config_read(&d, path, &ignored, &err), KVF_ERR_MODEL);
        assert_non_null(strstr(err.msg, names[n]));
        assert_non_null(strstr(err.msg, "--ignore"));
    }
    kvf_ignored all = {names, 3};
    assert_int_equal(kvf_config_read(&d, path, &all, &err), KVF_OK);
}

/* Truncated and changed bytes of a real file give an error or a description that holds together. */
static void damaged_files(void **state)
{
    (void)state;
    kvf_file real;
    kvf_error err;
    kvf_decoder d;
    assert_int_equal(kvf_file_open(&real,
                                   KVF_SOURCE_DIR "/tests/data/checkpoints/llama3-rope/config.json",
                                   &err),
                     KVF_OK);
    uint8_t *bytes = malloc((size_t)real.size);
    memcpy(bytes, real.data, (size_t)real.size);
    size_t end = real.size;
    while (end && bytes[end - 1] != '}') end--;
    for (size_t n = 0; n < end; n++)
        assert_int_equal(read_bytes(bytes, n, &d, &err), KVF_ERR_MODEL);
    for (size_t i = 0; i < end; i++)
        for (unsigned flip = 1; flip < 256; flip *= 2) {
            bytes[i] ^= (uint8_t)flip;
            if (!read_bytes(bytes, end, &d, &err)) assert_int_equal(kvf_decoder_check(&d, &err), 0);
            bytes[i] ^= (uint8_t)flip;
        }
    free(bytes);
    kvf_file_close(&real);
}

static void *checked_malloc(size_t n)
{
    return kvf_array(n, 1);
}

static void no_memory(void **state)
{
    (void)state;
    kvf_error err;
    kvf_decoder d;
    kvf_status status = KVF_ERR_NOMEM;
    json_set_alloc_funcs(checked_malloc, kvf_free);
    uint64_t nth = 1;
    for (; status; nth++) {
        assert_true(nth < 1000);
        kvf_fail_allocations(nth);
        status = read_bytes("{" LLAMA "}", sizeof "{" LLAMA "}" - 1, &d, &err);
        kvf_fail_allocations(0);
        /* jansson calls running out of memory a syntax error at some places */
        assert_true(status == KVF_OK || status == KVF_ERR_NOMEM || status == KVF_ERR_MODEL);
    }
    assert_true(nth > 10);
    json_set_alloc_funcs(malloc, free);
}

int main(void)
{
#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, remove_file)
    const struct CMUnitTest tests[] = {
        WITH_FILE(accepted_and_refused),
        WITH_FILE(values_of_gpt2),
        WITH_FILE(values_of_llama),
        WITH_FILE(llama3_frequencies),
        WITH_FILE(ignored_keys),
        WITH_FILE(damaged_files),
        WITH_FILE(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
