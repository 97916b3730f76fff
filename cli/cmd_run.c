/* cmd_run.c - kvfork run: a prompt goes in, tokens come out as they are chosen. */
#include "cmd.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

typedef struct run_options {
    kvf_model_options model;
    const char *path, *prompt, *tokens, *tokenizer;
    cmd_texts stops;
    uint32_t n;
    kvf_sampling how;
    uint64_t seed;
    bool no_cache, json, speedup;
} run_options;

/* Everything that lives as long as a run. */
typedef struct runner {
    const run_options *o;
    kvf_model *model;
    kvf_tree *tree;
    kvf_seq *seq;
    kvf_sampler *sampler;
    float *logits;
    bool text;
    cmd_tokens prompt, stops;
    json_t *ids;
} runner;

static bool stops_at(const runner *r, int32_t token)
{
    if (!r->stops.n) return token == kvf_model_get_info(r->model)->eos;
    for (size_t i = 0; i < r->stops.n; i++)
        if (r->stops.ids[i] == token) return true;
    return false;
}

static void show(const runner *r, int32_t token, bool first)
{
    if (r->o->json)
        json_array_append_new(r->ids, json_integer(token));
    else if (r->text)
        putchar(token < 128 ? token : '?');
    else
        printf("%s%d", first ? "" : ",", token);
    if (!r->o->json) fflush(stdout);
}

static kvf_status read_stops(runner *r, kvf_error *err)
{
    r->stops.ids = kvf_array(r->o->stops.n, sizeof *r->stops.ids);
    if (!r->stops.ids) return kvf_fail(err, KVF_ERR_NOMEM, "stop tokens");
    for (size_t i = 0; i < r->o->stops.n; i++) {
        cmd_tokens one;
        kvf_status status = cmd_tokens_read(&one, r->o->stops.text[i], "--stop", err);
        if (status) return status;
        if (one.n == 1) r->stops.ids[r->stops.n++] = one.ids[0];
        size_t n = one.n;
        cmd_tokens_free(&one);
        if (n != 1)
            return kvf_fail(err, KVF_ERR_ARG, "--stop is \"%s\", but should be one token id",
                            r->o->stops.text[i]);
    }
    return KVF_OK;
}

/* What options say in words of their own. */
static kvf_status read_words(runner *r, kvf_error *err)
{
    const run_options *o = r->o;
    kvf_status status = o->tokenizer ? cmd_tokenizer_check(o->tokenizer, err) : KVF_OK;
    if (!status && o->tokens) status = cmd_tokens_read(&r->prompt, o->tokens, "--tokens", err);
    return status ? status : read_stops(r, err);
}

static kvf_status prepare(runner *r, kvf_error *err)
{
    const run_options *o = r->o;
    kvf_status status = cmd_open(&r->model, o->path, (kvf_model_options *)&o->model, err);
    if (status) return status;
    const kvf_model_info *info = kvf_model_get_info(r->model);
    const char *tokenizer = o->tokenizer ? o->tokenizer : info->tokenizer;
    r->text = *tokenizer && (o->prompt || o->tokenizer);
    if (o->prompt && !*tokenizer)
        return kvf_fail(err, KVF_ERR_ARG,
                        "%s names no tokenizer: give ids with --tokens, or --tokenizer ascii",
                        o->path);
    if (r->text && (status = cmd_tokenizer_check(tokenizer, err))) return status;
    if (o->prompt) status = cmd_encode_ascii(&r->prompt, o->prompt, info->vocab, err);
    if (status) return status;
    kvf_tree_options tree = {.struct_size = sizeof tree, .no_cache = o->no_cache};
    if (!info->context) { /* no end is set by the model: take room for just this run */
        uint64_t length = r->prompt.n + (uint64_t)o->n;
        if (length > INT32_MAX)
            return kvf_fail(err, KVF_ERR_ARG, "%llu tokens are too many for one sequence",
                            (unsigned long long)length);
        tree.max_tokens = (uint32_t)length;
    }
    status = kvf_tree_create(&r->tree, r->model, &tree, err);
    if (!status) status = kvf_seq_create(&r->seq, r->tree, err);
    if (!status) status = kvf_sampler_create(&r->sampler, info->vocab, &o->how, o->seed, err);
    if (status) return status;
    r->logits = kvf_array(info->vocab, sizeof *r->logits);
    r->ids = json_array();
    return r->logits && r->ids ? KVF_OK
                               : kvf_fail(err, KVF_ERR_NOMEM, "logits of %u tokens", info->vocab);
}

static kvf_status generate(runner *r, kvf_error *err)
{
    const kvf_model_info *info = kvf_model_get_info(r->model);
    uint32_t n = r->o->n;
    if (info->context && r->prompt.n + (uint64_t)n > (uint64_t)info->context + 1) {
        if (r->prompt.n > info->context)
            return kvf_fail(err, KVF_ERR_ARG,
                            "the prompt has %zu tokens, but the context of the model is %u",
                            r->prompt.n, info->context);
        n = (uint32_t)(info->context + 1 - r->prompt.n);
        fprintf(stderr,
                "kvfork run: %u tokens are generated, where the model's context of %u ends\n", n,
                info->context);
    }
    const int32_t *next = r->prompt.ids;
    size_t length = r->prompt.n;
    int32_t token;
    for (uint32_t i = 0; i < n; i++) {
        kvf_status status = kvf_seq_forward(r->seq, next, length, KVF_LAST_ROW, r->logits, err);
        if (!status) status = kvf_sample(r->sampler, r->logits, &token, err);
        if (status) return status;
        if (stops_at(r, token)) break;
        show(r, token, i == 0);
        next = &token;
        length = 1;
    }
    if (!r->o->json) putchar('\n');
    return r->o->speedup ? kvf_seq_measure_speedup(r->seq, 5, err) : KVF_OK;
}

static void report(const runner *r)
{
    const kvf_model_info *info = kvf_model_get_info(r->model);
    kvf_metrics metrics;
    char text[1024];
    kvf_seq_get_metrics(r->seq, &metrics);
    if (!r->o->json) {
        kvf_metrics_text(&metrics, text, sizeof text);
        fprintf(stderr, "%s %s on %s, %u threads%s: %s\n%s", info->engine, info->precision,
                info->device, info->threads, r->o->no_cache ? ", without cache" : "", info->why,
                text);
        return;
    }
    kvf_metrics_json(&metrics, text, sizeof text);
    json_t *all =
        json_pack("{s:s, s:s, s:s, s:O, s:o}", "engine", info->engine, "precision", info->precision,
                  "why", info->why, "tokens", r->ids, "metrics", json_loads(text, 0, NULL));
    if (r->text) {
        size_t n = json_array_size(r->ids);
        char *words = kvf_array(n + 1, 1);
        for (size_t i = 0; words && i < n; i++) {
            json_int_t id = json_integer_value(json_array_get(r->ids, i));
            words[i] = (char)(id < 128 ? id : '?');
        }
        if (words) json_object_set_new(all, "text", json_stringn(words, n));
        kvf_free(words);
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static void finish(runner *r)
{
    kvf_free(r->logits);
    json_decref(r->ids);
    cmd_tokens_free(&r->prompt);
    cmd_tokens_free(&r->stops);
    kvf_sampler_destroy(r->sampler);
    kvf_seq_destroy(r->seq);
    kvf_tree_destroy(r->tree);
    kvf_model_close(r->model);
}

int cmd_run(int argc, char **argv)
{
    run_options o = {.n = 64};
    cmd_options list = {
        .command = "run",
        .usage = "MODEL (--prompt TEXT | --tokens LIST) [-n N] [options]",
        .about =
            "Generate tokens behind a prompt. Tokens go to stdout as they are chosen, as text where the\n"
            "model's metadata or --tokenizer names a tokenizer, else as ids; what it cost goes to stderr.\n",
        .examples =
            "  kvfork run models/adder/adder.onnx --prompt \"123+456=\"\n"
            "  kvfork run model.onnx --tokens 1,15,7 -n 100 --temperature 0.8 --top-p 0.95 --seed 7\n",
        .max_given = 1};
    const cmd_option own[] = {
        {"prompt", 'p', CMD_TEXT, &o.prompt, "TEXT", "text to begin with"},
        {"tokens", 0, CMD_TEXT, &o.tokens, "LIST", "token ids to begin with: 1,2,3 or @FILE"},
        {"n", 'n', CMD_COUNT, &o.n, "N", "tokens to generate at most (default 64)"},
        {"stop", 0, CMD_TEXTS, &o.stops, "ID",
         "token that ends the run, not shown; may be given again\n"
         "(default: the model's kvfork.eos)"},
        {"tokenizer", 0, CMD_TEXT, &o.tokenizer, "NAME",
         "ascii: token id = byte (default: the model's metadata)"},
        {"temperature", 0, CMD_REAL, &o.how.temperature, "T",
         "0 takes the most likely token (default 0)"},
        {"top-k", 0, CMD_COUNT, &o.how.top_k, "K", "only the K most likely tokens (default: all)"},
        {"top-p", 0, CMD_SHARE, &o.how.top_p, "P",
         "only the most likely tokens with this much mass (default 1)"},
        {"seed", 0, CMD_SEED, &o.seed, "N", "of the random choice (default 0)"},
        {"no-cache", 0, CMD_FLAG, &o.no_cache, NULL,
         "recompute the whole sequence for every token"},
        {"speedup", 0, CMD_FLAG, &o.speedup, NULL,
         "measure the last token without and with cache too"},
        {"json", 0, CMD_FLAG, &o.json, NULL, "one JSON object on stdout at the end"},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) cmd_add(&list, own[i]);
    cmd_add_model(&list, &o.model);
    int status = cmd_parse(&list, argc, argv);
    if (status >= 0) return status;
    if (!list.n_given) return cmd_usage_error(&list, "which MODEL?");
    if (!o.prompt == !o.tokens) return cmd_usage_error(&list, "give one of --prompt and --tokens");
    if (o.prompt && !*o.prompt) return cmd_usage_error(&list, "the prompt is empty");
    o.path = list.given[0];

    runner r = {.o = &o};
    kvf_error err;
    if (read_words(&r, &err))
        status = cmd_fail_reading(&list, &err);
    else if (prepare(&r, &err) || generate(&r, &err))
        status = cmd_fail(&list, &err);
    else
        report(&r);
    finish(&r);
    return status < 0 ? EXIT_DONE : status;
}
