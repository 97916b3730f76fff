/* cmd_eval.c - kvfork eval: logits of a trunk and its branches, as raw rows in a file. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>

#include "output.h"

typedef struct eval_options {
    kvf_model_options model;
    const char *tokens, *logits;
    cmd_texts branches;
    uint32_t chunk;
    bool no_cache;
} eval_options;

typedef struct branch {
    uint32_t at; /* tokens of the trunk before it */
    cmd_tokens tokens;
} branch;

static kvf_status read_branch(branch *out, const char *text, size_t trunk, kvf_error *err)
{
    char *colon;
    unsigned long at = strtoul(text, &colon, 10);
    if (*text < '0' || *text > '9' || *colon != ':')
        return kvf_fail(err, KVF_ERR_ARG, "--branch is \"%s\", but should be POS:LIST", text);
    if (at > trunk)
        return kvf_fail(err, KVF_ERR_ARG,
                        "--branch %s begins after %lu tokens, but the trunk has %zu", text, at,
                        trunk);
    out->at = (uint32_t)at;
    return cmd_tokens_read(&out->tokens, colon + 1, "--branch", err);
}

/* Evaluate tokens behind seq, `chunk` at a time, and write their rows, which are float32 in this
 * machine's order: little-endian on all that this project is built for. */
static kvf_status write_rows(kvf_seq *seq, const cmd_tokens *tokens, size_t chunk, float *logits,
                             size_t vocab, kvf_output *to, kvf_error *err)
{
    for (size_t i = 0, n; i < tokens->n; i += n) {
        n = tokens->n - i < chunk ? tokens->n - i : chunk;
        kvf_status status = kvf_seq_forward(seq, tokens->ids + i, n, KVF_ALL_ROWS, logits, err);
        if (status) return status;
        kvf_output_write(to, logits, n * vocab * sizeof *logits);
    }
    return KVF_OK;
}

static kvf_status evaluate(const eval_options *o, const kvf_model *model, const cmd_tokens *trunk,
                           const branch *branches, kvf_output *to, kvf_error *err)
{
    size_t vocab = kvf_model_get_info(model)->vocab, total = trunk->n, longest = trunk->n, rows;
    for (size_t i = 0; i < o->branches.n; i++) {
        total += branches[i].tokens.n;
        if (branches[i].tokens.n > longest) longest = branches[i].tokens.n;
    }
    rows = o->chunk && o->chunk < longest ? o->chunk : longest;
    if (total > INT32_MAX) return kvf_fail(err, KVF_ERR_ARG, "%zu tokens are too many", total);
    kvf_tree_options options = {.struct_size = sizeof options,
                                .max_tokens = (uint32_t)total,
                                .no_cache = o->no_cache};
    kvf_tree *tree = NULL;
    kvf_seq *seq = NULL;
    float *logits = kvf_array(rows, vocab * sizeof *logits);
    kvf_status status = logits ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "logits of %zu rows", rows);
    if (!status) status = kvf_tree_create(&tree, model, &options, err);
    if (!status) status = kvf_seq_create(&seq, tree, err);
    if (!status) status = write_rows(seq, trunk, rows, logits, vocab, to, err);
    for (size_t i = 0; !status && i < o->branches.n; i++) {
        kvf_seq *fork = NULL;
        status = kvf_seq_fork(&fork, seq, err);
        if (!status) status = kvf_seq_rewind(fork, branches[i].at, err);
        if (!status) status = write_rows(fork, &branches[i].tokens, rows, logits, vocab, to, err);
        kvf_seq_destroy(fork);
    }
    kvf_seq_destroy(seq);
    kvf_tree_destroy(tree);
    kvf_free(logits);
    return status;
}

static kvf_status read_paths(const eval_options *o, cmd_tokens *trunk, branch *branches,
                             kvf_error *err)
{
    kvf_status status = branches ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "branches");
    if (!status) status = cmd_tokens_read(trunk, o->tokens, "--tokens", err);
    for (size_t i = 0; !status && i < o->branches.n; i++)
        status = read_branch(&branches[i], o->branches.text[i], trunk->n, err);
    return status;
}

static kvf_status eval(const char *path, eval_options *o, const cmd_tokens *trunk,
                       const branch *branches, kvf_error *err)
{
    kvf_output file = {0};
    kvf_model *model = NULL;
    kvf_status status = cmd_open(&model, path, &o->model, err);
    if (!status) status = kvf_output_open(&file, o->logits, err);
    if (!status) status = evaluate(o, model, trunk, branches, &file, err);
    if (!status) status = kvf_output_commit(&file, err);
    kvf_output_abandon(&file);
    kvf_model_close(model);
    return status;
}

int cmd_eval(int argc, char **argv)
{
    eval_options o = {0};
    cmd_options list = {
        .command = "eval",
        .usage = "MODEL --tokens LIST [--branch POS:LIST]... --logits FILE [options]",
        .about =
            "Write the logits of a sequence and of branches of it: raw little-endian float32 rows of the\n"
            "vocabulary's width, one per token of the trunk, then of each branch in turn. A branch\n"
            "continues after the first POS tokens of the trunk.\n",
        .examples =
            "  kvfork eval model.onnx --tokens 5,9,2,7 --branch 2:4,4 --branch 3:8 --logits rows.f32\n",
        .max_given = 1};
    const cmd_option own[] = {
        {"tokens", 0, CMD_TEXT, &o.tokens, "LIST", "the trunk: 1,2,3 or @FILE"},
        {"branch", 0, CMD_TEXTS, &o.branches, "POS:LIST", "a branch; may be given again"},
        {"chunk", 0, CMD_COUNT, &o.chunk, "N", "evaluate N tokens per call (default: all)"},
        {"logits", 'o', CMD_TEXT, &o.logits, "FILE", "where the rows go"},
        {"no-cache", 0, CMD_FLAG, &o.no_cache, NULL, "recompute the whole sequence in every call"},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) cmd_add(&list, own[i]);
    cmd_add_model(&list, &o.model);
    int status = cmd_parse(&list, argc, argv);
    if (status >= 0) return status;
    if (!list.n_given) return cmd_usage_error(&list, "which MODEL?");
    if (!o.tokens) return cmd_usage_error(&list, "--tokens is missing");
    if (!o.logits) return cmd_usage_error(&list, "--logits is missing: where shall the rows go?");

    cmd_tokens trunk = {0};
    branch *branches = kvf_array(o.branches.n, sizeof *branches);
    kvf_error err;
    status = EXIT_DONE;
    if (read_paths(&o, &trunk, branches, &err))
        status = cmd_fail_reading(&list, &err);
    else if (eval(list.given[0], &o, &trunk, branches, &err))
        status = cmd_fail(&list, &err);
    for (size_t i = 0; branches && i < o.branches.n; i++) cmd_tokens_free(&branches[i].tokens);
    kvf_free(branches);
    cmd_tokens_free(&trunk);
    return status;
}
