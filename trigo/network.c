/* network.c - see network.h. */
#include "trigo/network.h"

#include "base.h"

bool trigo_network_option(trigo_network_options *options, int code, const char *argument)
{
    uint64_t n = 0;
    switch (code) {
    case TRIGO_OPTION_MODELS: options->models = argument; return true;
    case TRIGO_OPTION_SET: return trigo_set_find(argument, &options->set);
    case TRIGO_OPTION_ENGINE: options->model.engine = argument; break;
    case TRIGO_OPTION_DEVICE: options->model.device = argument; break;
    case TRIGO_OPTION_PRECISION: options->model.precision = argument; break;
    case TRIGO_OPTION_CPU: options->model.cpu = argument; break;
    case TRIGO_OPTION_THREADS:
        if (!trigo_parse_count(argument, 1, UINT32_MAX, &n)) return false;
        options->model.threads = (uint32_t)n;
        break;
    case TRIGO_OPTION_CACHE_TOKENS:
        if (!trigo_parse_count(argument, 1, UINT32_MAX, &n)) return false;
        options->policy.cache_tokens = (uint32_t)n;
        return true;
    case TRIGO_OPTION_NO_CACHE: options->policy.no_cache = true; return true;
    default: return false;
    }
    options->model.struct_size = sizeof options->model;
    return kvf_model_options_check(&options->model, NULL) == KVF_OK;
}

kvf_status trigo_network_open(trigo_network *network, const trigo_network_options *options,
                              kvf_error *err)
{
    *network = (trigo_network){.set = options->set};
    if (!options->models) return kvf_fail(err, KVF_ERR_ARG, "--models DIR is missing");
    kvf_model_options o = options->model;
    o.struct_size = sizeof o;
    kvf_status status = trigo_models_open(&network->model, options->models, &network->set, &o, err);
    if (!status)
        status = trigo_policy_create(&network->policy, network->model, &options->policy, err);
    if (status) trigo_network_close(network);
    return status;
}

void trigo_network_close(trigo_network *network)
{
    trigo_policy_destroy(network->policy);
    kvf_model_close(network->model);
    *network = (trigo_network){0};
}
