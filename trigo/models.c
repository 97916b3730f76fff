/* models.c - see models.h. */
#include "trigo/models.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "trigo/policy.h"

enum { FILES = 3 };

static const struct {
    const char *name;
    const char *file[FILES]; /* the model, its policy head, its value head; NULL: none */
} sets[] = {
    [TRIGO_SET_DECODER] = {"decoder", {"decoder.onnx"}},
    [TRIGO_SET_CACHED] = {"cached",
                          {"base_model_eval_extend.onnx", "policy_head.onnx", "value_head.onnx"}},
    [TRIGO_SET_BASE] = {"base", {"base_model.onnx", "policy_head.onnx", "value_head.onnx"}},
};

const char *trigo_set_name(trigo_set set)
{
    return set ? sets[set].name : "first";
}

bool trigo_set_find(const char *name, trigo_set *set)
{
    for (trigo_set i = TRIGO_SET_DECODER; i <= TRIGO_SET_BASE; i++) {
        if (strcmp(name, sets[i].name)) continue;
        *set = i;
        return true;
    }
    return false;
}

typedef struct paths {
    char file[FILES][PATH_MAX];
} paths;

/* The first file of a set that is not there, or NULL. */
static const char *missing(const char *folder, trigo_set set, paths *p)
{
    for (int i = 0; i < FILES && sets[set].file[i]; i++) {
        int n = snprintf(p->file[i], PATH_MAX, "%s/%s", folder, sets[set].file[i]);
        if (n >= PATH_MAX || access(p->file[i], F_OK)) return sets[set].file[i];
    }
    return NULL;
}

static kvf_status find(const char *folder, trigo_set *set, paths *p, kvf_error *err)
{
    char words[256];
    size_t n = 0;
    trigo_set only = *set;
    for (trigo_set i = TRIGO_SET_DECODER; i <= TRIGO_SET_BASE; i++) {
        if (only && i != only) continue;
        const char *without = missing(folder, i, p);
        if (!without) {
            *set = i;
            return KVF_OK;
        }
        n += (size_t)snprintf(words + n, sizeof words - n, "%sset %s has no %s", n ? "; " : "",
                              sets[i].name, without);
    }
    return kvf_fail(err, KVF_ERR_IO, "%.160s: no complete set of models: %s", folder, words);
}

kvf_status trigo_models_open(kvf_model **out, const char *folder, trigo_set *set,
                             const kvf_model_options *options, kvf_error *err)
{
    *out = NULL;
    paths p;
    kvf_status status = find(folder, set, &p, err);
    if (status) return status;
    kvf_model_options o = {.struct_size = sizeof o};
    if (options) o = *options;
    o.policy_head = sets[*set].file[1] ? p.file[1] : NULL;
    o.value_head = sets[*set].file[2] ? p.file[2] : NULL;
    kvf_model *model;
    status = kvf_model_open(&model, p.file[0], &o, err);
    if (status) return status;
    status = trigo_policy_check(model, err);
    if (status) {
        kvf_model_close(model);
        return kvf_prefix(err, status, "%.200s: ", p.file[0]);
    }
    *out = model;
    return KVF_OK;
}
