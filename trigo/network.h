/* network.h - options of every command that plays with a model, and the model they stand for.
 *
 *     trigo_network_options o = {0};
 *     static const struct option longs[] = {TRIGO_NETWORK_LONGS, ...own..., {0}};
 *     ... default: return trigo_network_option(&o, code, argument); in what takes options
 *     status = trigo_network_open(&network, &o, &err); */
#ifndef TRIGO_NETWORK_H
#define TRIGO_NETWORK_H

#include "trigo/models.h"
#include "trigo/options.h"
#include "trigo/policy.h"

typedef struct trigo_network_options {
    const char *models; /* NULL: not given */
    trigo_set set;
    kvf_model_options model;
    trigo_policy_options policy;
} trigo_network_options;

/* Codes of getopt_long, beyond those of characters. */
enum {
    TRIGO_OPTION_MODELS = 0x1000,
    TRIGO_OPTION_SET,
    TRIGO_OPTION_ENGINE,
    TRIGO_OPTION_DEVICE,
    TRIGO_OPTION_PRECISION,
    TRIGO_OPTION_CPU,
    TRIGO_OPTION_THREADS,
    TRIGO_OPTION_CACHE_TOKENS,
    TRIGO_OPTION_NO_CACHE,
};
#define TRIGO_NETWORK_LONGS                                                                        \
    {"models", required_argument, NULL, TRIGO_OPTION_MODELS},                                      \
        {"set", required_argument, NULL, TRIGO_OPTION_SET},                                        \
        {"engine", required_argument, NULL, TRIGO_OPTION_ENGINE},                                  \
        {"device", required_argument, NULL, TRIGO_OPTION_DEVICE},                                  \
        {"precision", required_argument, NULL, TRIGO_OPTION_PRECISION},                            \
        {"cpu", required_argument, NULL, TRIGO_OPTION_CPU},                                        \
        {"threads", required_argument, NULL, TRIGO_OPTION_THREADS},                                \
        {"cache-tokens", required_argument, NULL, TRIGO_OPTION_CACHE_TOKENS},                      \
    {                                                                                              \
        "no-cache", no_argument, NULL, TRIGO_OPTION_NO_CACHE                                       \
    }
enum { TRIGO_NETWORK_N_LONGS = 9 };

/* What two of them mean is a command's own to say, where threads serve several networks. */
#define TRIGO_NETWORK_USAGE_WITH(threads, cache)                                                   \
    "  --models DIR       folder of the model: decoder.onnx, or base_model_eval_extend.onnx or\n"  \
    "                     base_model.onnx with policy_head.onnx and value_head.onnx\n"             \
    "  --set NAME         decoder, cached or base (default: the first that is complete)\n"         \
    "  --engine NAME      auto, native, ort or cuda (default auto)\n"                              \
    "  --device NAME      cpu or cuda:N (default: the engine's)\n"                                 \
    "  --precision NAME   of weights: f32, bf16, q8 or q4 (default: the file's)\n"                 \
    "  --cpu NAME         native kernels: c, avx2 or avx512 (default: the best here)\n" threads    \
        cache "  --no-cache         keep nothing between two evaluations\n"
#define TRIGO_NETWORK_USAGE                                                                        \
    TRIGO_NETWORK_USAGE_WITH(                                                                      \
        "  --threads N        of one forward pass (default: the processors there are)\n",          \
        "  --cache-tokens N   tokens that the cache stores (default 32768)\n")

/* Take an option by its code; false if it is none of these or its argument is wrong. Arguments are
 * not copied. */
bool trigo_network_option(trigo_network_options *options, int code, const char *argument);

typedef struct trigo_network {
    kvf_model *model;
    trigo_policy *policy;
    trigo_set set;
} trigo_network;

/* Open what the options say. Errors: KVF_ERR_ARG if there is no folder, those of trigo_models_open
 * and trigo_policy_create; *network is zero then. */
kvf_status trigo_network_open(trigo_network *network, const trigo_network_options *options,
                              kvf_error *err);
void trigo_network_close(trigo_network *network); /* zeroed is fine */

#endif
