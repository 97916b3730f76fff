/* engine.c - which engines this build has: the only #ifdefs about it. */
#include "engine.h"

#include <string.h>

static const kvf_engine_ops *const built_in[] = {
#ifdef KVF_WITH_NATIVE
    &kvf_engine_native, /* first is the default: it needs nothing but a CPU */
#endif
#ifdef KVF_WITH_CUDA
    &kvf_engine_cuda,
#endif
#ifdef KVF_WITH_ORT
    &kvf_engine_ort,
#endif
    NULL,
};

const kvf_engine_ops *kvf_engine_list(size_t i)
{
    return i < sizeof built_in / sizeof built_in[0] ? built_in[i] : NULL;
}

const kvf_engine_ops *kvf_engine_find(const char *name)
{
    for (size_t i = 0; built_in[i]; i++)
        if (!strcmp(name, built_in[i]->name)) return built_in[i];
    return NULL;
}
