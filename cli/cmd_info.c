/* cmd_info.c - kvfork info: what a model is, for people or as JSON. */
#include "cmd.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "report/machine.h"

static json_t *port_json(const kvf_port *p)
{
    json_t *dims = json_array();
    for (uint32_t i = 0; i < p->rank; i++)
        json_array_append_new(dims, p->dims[i] >= 0 ? json_integer(p->dims[i])
                                                    : json_string(p->dim_names[i]));
    json_t *port = json_pack("{s:s, s:s, s:s, s:o}", "name", p->name, "role", p->role, "type",
                             p->type, "shape", dims);
    if (strstr(p->role, "past") || strstr(p->role, "present"))
        json_object_set_new(port, "layer", json_integer(p->layer));
    return port;
}

static json_t *info_json(const kvf_model *model, const char *const *hashes)
{
    const kvf_model_info *i = kvf_model_get_info(model);
    static const char *const heads[KVF_HEADS] = {"logits", "policy", "value", "hidden"};
    json_t *inputs = json_array(), *outputs = json_array(), *operators = json_object(),
           *opsets = json_object(), *files = json_array(), *widths = json_object();
    for (uint32_t n = 0; n < i->n_inputs; n++)
        json_array_append_new(inputs, port_json(kvf_model_input(model, n)));
    for (uint32_t n = 0; n < i->n_outputs; n++)
        json_array_append_new(outputs, port_json(kvf_model_output(model, n)));
    for (uint32_t n = 0; n < i->n_operators; n++) {
        const kvf_count *c = kvf_model_operator(model, n);
        json_object_set_new(operators, c->name, json_integer((json_int_t)c->count));
    }
    for (uint32_t n = 0; n < i->n_opsets; n++) {
        const kvf_count *c = kvf_model_opset(model, n);
        json_object_set_new(opsets, *c->name ? c->name : "ai.onnx",
                            json_integer((json_int_t)c->count));
    }
    for (uint32_t n = 0; n < i->n_files; n++)
        json_array_append_new(files, json_pack("{s:s, s:s}", "path", kvf_model_file(model, n),
                                               "sha256", hashes[n]));
    for (int h = 0; h < KVF_HEADS; h++)
        if (i->width[h]) json_object_set_new(widths, heads[h], json_integer(i->width[h]));
    return json_pack("{s:o, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:s, "
                     "s:s, s:s, s:b, s:s, s:i, s:s, "
                     "s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:o}",
                     "files", files, "exporter", i->exporter, "opsets", opsets, "layers",
                     (json_int_t)i->layers, "heads", (json_int_t)i->heads, "kv_heads",
                     (json_int_t)i->kv_heads, "head_dim", (json_int_t)i->head_dim, "hidden",
                     (json_int_t)i->hidden, "vocab", (json_int_t)i->vocab, "context",
                     (json_int_t)i->context, "widths", widths, "parameters",
                     (json_int_t)i->parameters, "file_bytes", (json_int_t)i->file_bytes,
                     "bytes_per_token", (json_int_t)i->bytes_per_token, "kv_type", i->kv_type,
                     "logits_type", i->logits_type, "layout", i->layout, "caches", i->caches,
                     "tokenizer", i->tokenizer, "eos", i->eos, "engine", i->engine,
                     "engine_version", i->engine_version, "why", i->why, "device", i->device,
                     "device_name", i->device_name, "cpu", i->cpu, "precision", i->precision,
                     "weight_bytes", (json_int_t)i->weight_bytes, "inputs", inputs, "outputs",
                     outputs, "operators", operators);
}

static void print_port(const char *kind, const kvf_port *p)
{
    printf("  %-7s %-28s %-8s [", kind, p->name, p->type);
    for (uint32_t i = 0; i < p->rank; i++) {
        printf("%s", i ? ", " : "");
        if (p->dims[i] >= 0)
            printf("%" PRId64, p->dims[i]);
        else
            printf("%s", *p->dim_names[i] ? p->dim_names[i] : "?");
    }
    printf("]  %s", *p->role ? p->role : "not used");
    if (strstr(p->role, "past") || strstr(p->role, "present")) printf(" %u", p->layer);
    putchar('\n');
}

static void print_size(const char *name, uint64_t bytes)
{
    if (bytes >= 1000000)
        printf("%-12s %.1f MB (%" PRIu64 " bytes)\n", name, (double)bytes / 1e6, bytes);
    else
        printf("%-12s %" PRIu64 " bytes\n", name, bytes);
}

static void print_info(const kvf_model *model, const char *const *hashes)
{
    const kvf_model_info *i = kvf_model_get_info(model);
    for (uint32_t n = 0; n < i->n_files; n++)
        printf("%-12s %s\n%-12s %s\n", "file", kvf_model_file(model, n), "sha256", hashes[n]);
    print_size("size", i->file_bytes);
    printf("%-12s %s\n%-12s", "exporter", *i->exporter ? i->exporter : "not named", "opset");
    for (uint32_t n = 0; n < i->n_opsets; n++) {
        const kvf_count *c = kvf_model_opset(model, n);
        printf("%s %s %" PRIu64, n ? "," : "", *c->name ? c->name : "ai.onnx", c->count);
    }
    printf("\n%-12s %u layers, ", "decoder", i->layers);
    if (i->heads) printf("%u heads, ", i->heads);
    printf("%u KV heads of %u, ", i->kv_heads, i->head_dim);
    if (i->hidden) printf("hidden %u, ", i->hidden);
    printf("vocabulary %u\n%-12s ", i->vocab, "context");
    if (i->context)
        printf("%u tokens\n", i->context);
    else
        printf("unlimited\n");
    printf("%-12s %" PRIu64 "\n", "parameters", i->parameters);
    if (i->caches)
        printf("%-12s %" PRIu64 " bytes per token, %s %s\n", "cache", i->bytes_per_token,
               i->kv_type, i->layout);
    else
        printf("%-12s none: the graph takes no past\n", "cache");
    if (*i->tokenizer) printf("%-12s %s\n", "tokenizer", i->tokenizer);
    if (i->eos >= 0) printf("%-12s %d\n", "eos", i->eos);
    printf("%-12s %s\n", "engine", i->why);
    if (*i->precision)
        printf("%-12s weights %s, %s%s%s%s%s\n", "precision", i->precision, i->device,
               *i->device_name ? ": " : "", i->device_name, *i->cpu ? ", kernels " : "", i->cpu);
    if (i->weight_bytes) print_size("weights", i->weight_bytes);
    printf("\ninputs and outputs\n");
    for (uint32_t n = 0; n < i->n_inputs; n++) print_port("input", kvf_model_input(model, n));
    for (uint32_t n = 0; n < i->n_outputs; n++) print_port("output", kvf_model_output(model, n));
    printf("\noperators\n");
    for (uint32_t n = 0; n < i->n_operators; n++) {
        const kvf_count *c = kvf_model_operator(model, n);
        printf("  %6" PRIu64 "  %s\n", c->count, c->name);
    }
}

static kvf_status show(const kvf_model *model, bool json, kvf_error *err)
{
    uint32_t n = kvf_model_get_info(model)->n_files;
    char(*hex)[MACHINE_HASH] = kvf_array(n, sizeof *hex);
    const char **hashes = kvf_array(n, sizeof *hashes);
    kvf_status status =
        hex && hashes ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "hashes of %u files", n);
    for (uint32_t i = 0; !status && i < n; i++) {
        status = machine_hash_file(kvf_model_file(model, i), hex[i], err);
        hashes[i] = hex[i];
    }
    if (!status && json) {
        json_t *all = info_json(model, hashes);
        if (!all || json_dumpf(all, stdout, JSON_INDENT(2)))
            status = kvf_fail(err, KVF_ERR_IO, "the model's names cannot be written as JSON");
        putchar('\n');
        json_decref(all);
    } else if (!status) {
        print_info(model, hashes);
    }
    kvf_free(hashes);
    kvf_free(hex);
    return status;
}

int cmd_info(int argc, char **argv)
{
    bool json = false;
    kvf_model_options options = {0};
    cmd_options list = {
        .command = "info",
        .usage = "MODEL [--json] [options]",
        .about =
            "Say what a model is: its dimensions, inputs and outputs, operators, cache, and which engine\n"
            "would run it and why.\n",
        .examples = "  kvfork info models/adder/adder.onnx\n",
        .max_given = 1};
    cmd_add(&list, (cmd_option){"json", 0, CMD_FLAG, &json, NULL, "one JSON object on stdout"});
    cmd_add_model(&list, &options);
    int status = cmd_parse(&list, argc, argv);
    if (status >= 0) return status;
    if (!list.n_given) return cmd_usage_error(&list, "which MODEL?");

    kvf_model *model;
    kvf_error err;
    if (cmd_open(&model, list.given[0], &options, &err)) {
        /* A decoder that no engine here runs still has a description; what is none has not. */
        kvf_error why = err;
        if (options.engine && strcmp(options.engine, "auto")) return cmd_fail(&list, &err);
        options.engine = "none";
        if (cmd_open(&model, list.given[0], &options, &err)) return cmd_fail(&list, &err);
        fprintf(stderr, "kvfork info: no engine runs it: %s\n", why.msg);
    }
    bool failed = show(model, json, &err);
    kvf_model_close(model);
    return failed ? cmd_fail(&list, &err) : EXIT_DONE;
}
