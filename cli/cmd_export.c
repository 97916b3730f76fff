/* cmd_export.c - kvfork export: a checkpoint or a seed becomes ONNX files. */
#include "cmd.h"

#include "export/export.h"
#include "export/synthetic.h"

#include <string.h>
#include <unistd.h>

static const char about[] =
    "Write a decoder as ONNX, with inputs and outputs for its key/value cache: input_ids,\n"
    "position_ids, past_key_0, past_value_0, ... -> logits, present_key_0, present_value_0, ...\n"
    "Batch, new tokens and past are of any length, past 0 included. Nothing is traced: the graph is\n"
    "built from config.json, so a checkpoint of a known family either exports as it is or is\n"
    "refused by the name of what is not known.\n"
    "\n"
    "DIR is a folder with config.json and model.safetensors, or its shards and their index:\n"
    "gpt2, llama, mistral, qwen2 or qwen3, in float32, float16 or bfloat16. Weights beyond 2 GB go\n"
    "to FILE.onnx.data. A file appears when it is whole; a failure leaves what was there.\n";

static const char examples[] =
    "  kvfork export models/adder/hf --tokenizer ascii -o adder.onnx\n"
    "  kvfork export --synthetic gpt2:layers=4,heads=4,vocab=1000,context=512,tied=0 -o small.onnx\n"
    "  kvfork export --synthetic llama:heads=32,kv_heads=8,hidden=2048 --dtype f16 -o big.onnx\n"
    "  kvfork export --parts trigo models/trigo -o policy\n";

typedef struct arguments {
    const char *output, *synthetic, *parts, *names, *dtype, *opset, *tokenizer;
    cmd_texts ignore;
} arguments;

static void add_options(cmd_options *list, arguments *a)
{
    cmd_add(list, (cmd_option){"output", 'o', CMD_TEXT, &a->output, "FILE",
                               "the ONNX file to write; a folder with --parts"});
    cmd_add(list, (cmd_option){"names", 0, CMD_TEXT, &a->names, "WHOSE",
                               "kvfork (default), or optimum: past_key_values.0.key, ...,\n"
                               "attention_mask for padded batches, and genai_config.json\n"
                               "beside FILE"});
    cmd_add(list, (cmd_option){"opset", 0, CMD_TEXT, &a->opset, "N",
                               "17 (default): plain operators, which every runtime has;\n"
                               "23: Attention, RotaryEmbedding, RMSNormalization"});
    cmd_add(list, (cmd_option){"dtype", 0, CMD_TEXT, &a->dtype, "TYPE",
                               "of weights, cache and logits: f32 (default) or f16"});
    cmd_add(list, (cmd_option){"tokenizer", 0, CMD_TEXT, &a->tokenizer, "NAME",
                               "noted in FILE, so that kvfork run takes and gives text:\n"
                               "ascii (token id = byte)"});
    cmd_add(list, (cmd_option){"ignore", 0, CMD_TEXTS, &a->ignore, "NAME",
                               "go on without a key of config.json, or a tensor, that was\n"
                               "refused; may be given again"});
    cmd_add(list, (cmd_option){"synthetic", 0, CMD_TEXT, &a->synthetic, "SPEC",
                               "random weights instead of DIR: FAMILY:KEY=NUMBER,... with\n"
                               "layers, heads, kv_heads, head_dim, hidden, intermediate,\n"
                               "vocab, context, tied (0 or 1) and seed; equal specs give\n"
                               "equal bytes"});
    cmd_add(list, (cmd_option){"parts", 0, CMD_TEXT, &a->parts, "SET",
                               "trigo: DIR holds config.json and weights.safetensors of a\n"
                               "policy; its search's six graphs and decoder.onnx, which has\n"
                               "the cache and both heads, go to the folder FILE"});
}

/* True if text is one of two words; second says which. */
static bool choice(const char *text, const char *one, const char *two, bool *second)
{
    *second = !strcmp(text, two);
    return *second || !strcmp(text, one);
}

/* The exit status of wrong usage, or -1. */
static int check(const cmd_options *list, const arguments *a, kvf_export_options *o)
{
    bool opset_23, half;
    kvf_error err;
    if (a->synthetic ? list->n_given > 0 : list->n_given < 1)
        return cmd_usage_error(list, "give either DIR or --synthetic SPEC");
    if (!a->output) return cmd_usage_error(list, "which file is to be written? -o FILE");
    if (a->parts && (strcmp(a->parts, "trigo") || a->synthetic))
        return cmd_usage_error(list, "--parts is trigo, and goes with DIR");
    if (!choice(a->names, "kvfork", "optimum", &o->format.optimum))
        return cmd_usage_error(list, "--names is \"%s\", but should be kvfork or optimum",
                               a->names);
    if (!choice(a->opset, "17", "23", &opset_23))
        return cmd_usage_error(list, "--opset is \"%s\", but should be 17 or 23", a->opset);
    if (!choice(a->dtype, "f32", "f16", &half))
        return cmd_usage_error(list, "--dtype is \"%s\", but should be f32 or f16", a->dtype);
    if (a->parts && (o->format.optimum || opset_23 || half))
        return cmd_usage_error(list, "a set has its own names, types and operators");
    if (a->tokenizer && cmd_tokenizer_check(a->tokenizer, &err))
        return cmd_fail_reading(list, &err);
    kvf_synthetic spec;
    if (a->synthetic && kvf_synthetic_parse(&spec, a->synthetic, &err))
        return cmd_fail_reading(list, &err);
    o->format.opset = opset_23 ? 23 : 17;
    o->format.type = half ? KVF_F16 : KVF_F32;
    return -1;
}

int cmd_export(int argc, char **argv)
{
    arguments a = {.names = "kvfork", .dtype = "f32", .opset = "17"};
    cmd_options list = {.command = "export",
                        .usage = "DIR -o FILE.onnx [options]",
                        .about = about,
                        .examples = examples,
                        .max_given = 1};
    add_options(&list, &a);
    int status = cmd_parse(&list, argc, argv);
    if (status >= 0) return status;
    kvf_export_options o = {.progress = cmd_progress, .tokenizer = a.tokenizer};
    status = check(&list, &a, &o);
    if (status >= 0) return status;
    o.ignored = (kvf_ignored){a.ignore.text, a.ignore.n};

    kvf_error err;
    kvf_status failed = a.synthetic ? kvf_export_synthetic(a.synthetic, a.output, &o, &err)
                        : a.parts   ? kvf_export_trigo(list.given[0], a.output, &o, &err)
                                    : kvf_export_checkpoint(list.given[0], a.output, &o, &err);
    if (failed && isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    return failed ? cmd_fail(&list, &err) : EXIT_DONE;
}
