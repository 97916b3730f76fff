/* support.c - models, tokens and progress for all subcommands. */
#include "cmd.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

/* ---- models ---------------------------------------------------------------------------------- */

void cmd_add_model(cmd_options *o, kvf_model_options *m)
{
    m->struct_size = sizeof *m;
    o->model = m;
    const cmd_option list[] = {
        {"engine", 'e', CMD_TEXT, &m->engine, "NAME",
         "native, ort, cuda, or auto: native if the graph lifts\n"
         "into a plan, else ort (default auto)"},
        {"device", 0, CMD_TEXT, &m->device, "NAME",
         "cpu or cuda:N (default: the engine's; auto takes cuda\nfor cuda:N)"},
        {"threads", 't', CMD_COUNT, &m->threads, "N",
         "threads of a forward pass (default: all processors)"},
        {"pin", 0, CMD_FLAG, &m->pin, NULL, "keep threads of native on processors of their own"},
        {"precision", 0, CMD_TEXT, &m->precision, "P",
         "weights of native: f32, bf16, q8, q4; of cuda the\nfirst three (default: the file's)"},
        {"kv", 0, CMD_TEXT, &m->kv, "TYPE",
         "cache rows of native and cuda: f32, bf16 (default: the\nfile's)"},
        {"cpu", 0, CMD_TEXT, &m->cpu, "LEVEL",
         "kernels of native: c, avx2, avx512, avx512v, avx512x\n"
         "(default: the best here)"},
        {"names", 0, CMD_TEXT, &m->names, "MAP",
         "roles of inputs and outputs whose names say nothing:\n"
         "role=name,..., for example past_key_0=k0"},
        {"policy-head", 0, CMD_TEXT, &m->policy_head, "FILE",
         "ONNX file from hidden states to the policy"},
        {"value-head", 0, CMD_TEXT, &m->value_head, "FILE",
         "ONNX file from hidden states to values"},
        {"ort-library", 0, CMD_TEXT, &m->ort_library, "FILE",
         "ONNX Runtime's library (default: as built)"},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) cmd_add(o, list[i]);
}

kvf_status cmd_open(kvf_model **out, const char *path, kvf_model_options *m, kvf_error *err)
{
    m->progress = cmd_progress;
    return kvf_model_open(out, path, m, err);
}

void cmd_progress(void *user, const char *what, uint64_t done, uint64_t total)
{
    (void)user;
    if (!isatty(STDERR_FILENO) || !total) return;
    if (done >= total)
        fputs("\r\033[K", stderr);
    else
        fprintf(stderr, "\r\033[K%s %llu %%", what, (unsigned long long)(done * 100 / total));
    fflush(stderr);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

void cmd_tokens_free(cmd_tokens *tokens)
{
    kvf_free(tokens->ids);
    *tokens = (cmd_tokens){0};
}

/* Ids between commas or white space; both at once, but not two commas, or a comma at an end. What is
 * none of that fails with the status wrong. */
static kvf_status parse_ids(cmd_tokens *out, const char *text, size_t length, const char *what,
                            kvf_status wrong, kvf_error *err)
{
    const char *end = text + length;
    size_t room = length / 2 + 1; /* an id and what follows it are two characters at least */
    out->ids = kvf_array(room, sizeof *out->ids);
    if (!out->ids) return kvf_fail(err, KVF_ERR_NOMEM, "%s: %zu token ids", what, room);
    bool after_comma = true;
    for (const char *c = text; c < end;) {
        if (*c == ' ' || *c == '\n' || *c == '\t' || *c == '\r') {
            c++;
            continue;
        }
        if (*c == ',' && !after_comma) {
            after_comma = true;
            c++;
            continue;
        }
        int64_t id = 0;
        const char *digits = c;
        for (; c < end && *c >= '0' && *c <= '9' && id <= INT32_MAX; c++) id = id * 10 + (*c - '0');
        bool ends = c == end || strchr(", \n\t\r", *c);
        if (c == digits || id > INT32_MAX || !ends)
            return kvf_fail(err, wrong,
                            "%s: byte %zu begins no token id (ids are whole numbers, 0 to %d)",
                            what, (size_t)(digits - text) + 1, INT32_MAX);
        out->ids[out->n++] = (int32_t)id;
        after_comma = false;
    }
    if (!out->n || after_comma)
        return kvf_fail(err, wrong, "%s: %s", what,
                        out->n ? "nothing follows the last comma" : "there are no token ids");
    return KVF_OK;
}

kvf_status cmd_tokens_read(cmd_tokens *out, const char *text, const char *what, kvf_error *err)
{
    *out = (cmd_tokens){0};
    kvf_status status;
    if (*text == '@') {
        kvf_file file = {0};
        status = kvf_file_open(&file, text + 1, err);
        if (status) return status;
        status =
            parse_ids(out, (const char *)file.data, (size_t)file.size, text + 1, KVF_ERR_IO, err);
        kvf_file_close(&file);
    } else {
        status = parse_ids(out, text, strlen(text), what, KVF_ERR_ARG, err);
    }
    if (status) cmd_tokens_free(out);
    return status;
}

kvf_status cmd_tokenizer_check(const char *name, kvf_error *err)
{
    if (!strcmp(name, "ascii")) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG,
                    "the tokenizer is \"%s\", but only \"ascii\" (token id = byte) is known; give "
                    "ids with --tokens",
                    name);
}

kvf_status cmd_encode_ascii(cmd_tokens *out, const char *text, uint32_t vocab, kvf_error *err)
{
    size_t n = strlen(text);
    *out = (cmd_tokens){.ids = kvf_array(n, sizeof *out->ids), .n = n};
    if (!out->ids) return kvf_fail(err, KVF_ERR_NOMEM, "%zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        out->ids[i] = (unsigned char)text[i];
        if ((uint32_t)out->ids[i] < vocab) continue;
        kvf_fail(err, KVF_ERR_ARG, "byte %zu of the prompt is %d, but the vocabulary has %u tokens",
                 i + 1, out->ids[i], vocab);
        cmd_tokens_free(out);
        return KVF_ERR_ARG;
    }
    return KVF_OK;
}
