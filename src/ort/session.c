/* session.c - a model made ready: can it be run, sessions of its graphs, and what the library says
 * when it refuses one, in words that help.
 *
 * Files are opened again by path, not from the mapping: external data is found beside them, and
 * ONNX Runtime maps it itself. They were read and checked before. */
#include "ort/ort.h"

#include <stdio.h>
#include <string.h>

/* ---- whether --------------------------------------------------------------------------------- */

static const kvf_contract_port *input_of(const kvf_contract *c, kvf_role role)
{
    for (uint32_t i = 0; i < c->n_inputs; i++)
        if (c->inputs[i].role == role) return &c->inputs[i];
    return NULL;
}

static const kvf_shape *shape_of(const kvf_model *model, const kvf_contract_port *port)
{
    return model->onnx->graph->values[port->value].shape;
}

static const kvf_contract_port *first_past(const kvf_contract *c)
{
    return input_of(c, c->layout == KVF_LAYOUT_FUSED ? KVF_ROLE_PAST_FUSED : KVF_ROLE_PAST_KEY);
}

static const char *kv_of(kvf_type type)
{
    return type == KVF_F16 ? "f16" : type == KVF_BF16 ? "bf16" : "f32";
}

static kvf_status check_options(const kvf_model *model, kvf_error *err)
{
    const kvf_model_options *o = &model->options;
    const char *own = model->info.precision;
    if (o->device && strcmp(o->device, "cpu"))
        return kvf_fail(err, KVF_ERR_ENGINE, "the ort engine runs on cpu only, not on \"%.40s\"",
                        o->device);
    if (o->precision && strcmp(o->precision, own))
        return kvf_fail(err, KVF_ERR_ARG,
                        "the ort engine runs weights as the file has them (%s), not as %.40s", own,
                        o->precision);
    if (o->cpu)
        return kvf_fail(err, KVF_ERR_ARG,
                        "the ort engine has kernels of its own and chooses among them itself: "
                        "kernels \"%.40s\" are of native",
                        o->cpu);
    if (o->kv && first_past(&model->contract) && strcmp(o->kv, kv_of(model->contract.kv_type)))
        return kvf_fail(err, KVF_ERR_ARG,
                        "the ort engine keeps K and V as the graph gives them (%s), not as %.40s",
                        kv_of(model->contract.kv_type), o->kv);
    return KVF_OK;
}

kvf_status kvf_ort_accepts(const kvf_model *model, kvf_error *err)
{
    const kvf_contract *c = &model->contract;
    kvf_ort_library *lib;
    kvf_status status = check_options(model, err);
    if (status) return status;
    if (c->cache == KVF_CACHE_NONE && first_past(c))
        return kvf_fail(err, KVF_ERR_MODEL,
                        "it evaluates rows over a past, but gives no present, so nothing could go "
                        "on from them; open the model that extends its cache, or the whole one");
    return kvf_ort_library_open(&lib, model->options.ort_library, err);
}

/* ---- refusals in words ----------------------------------------------------------------------- */

/* Operators of ai.onnx that came with the newest sets. */
static const struct {
    const char *name;
    int64_t since;
} newest[] = {{"Attention", 23},
              {"RMSNormalization", 23},
              {"RotaryEmbedding", 23},
              {"Swish", 24},
              {"TensorScatter", 24}};

/* " with A, B": those that are newer than a set. */
static void name_newer(const kvf_onnx *onnx, int64_t set, char *names, size_t size)
{
    size_t used = 0;
    names[0] = '\0';
    for (size_t i = 0; i < sizeof newest / sizeof newest[0]; i++)
        for (uint32_t k = 0; k < onnx->n_operators && used < size; k++)
            if (newest[i].since > set && !strcmp(onnx->operators[k].name, newest[i].name))
                used += (size_t)snprintf(names + used, size - used, "%s%s", used ? ", " : " with ",
                                         newest[i].name);
}

/* "Opset 23 is under development ... support for domain ai.onnx is till opset 22.", or
 * "Unsupported model IR version: 11, max supported IR version: 10": files of later sets have it. */
static bool is_too_old(const kvf_ort *e, const kvf_onnx *onnx, const char *words, kvf_error *err)
{
    static const char sets[] = "till opset ", versions[] = "max supported IR version: ";
    const char *till = strstr(words, sets), *most = strstr(words, versions);
    long long uses = kvf_onnx_opset(onnx, ""), knows = 0;
    char names[128];
    if (till && sscanf(till + strlen(sets), "%lld", &knows) == 1 && uses > knows) {
        name_newer(onnx, knows, names, sizeof names);
        kvf_fail(err, KVF_ERR_MODEL,
                 "it uses operator set %lld of ai.onnx%s, but ONNX Runtime %s is too old: it knows "
                 "sets up to %lld",
                 uses, names, e->lib->version, knows);
        return true;
    }
    if (!most || sscanf(most + strlen(versions), "%lld", &knows) != 1) return false;
    name_newer(onnx, newest[0].since - 1, names, sizeof names);
    kvf_fail(err, KVF_ERR_MODEL,
             "it is a file of IR version %lld, with operator set %lld of ai.onnx%s, but ONNX "
             "Runtime %s is too old: it knows versions up to %lld",
             (long long)onnx->ir_version, uses, names, e->lib->version, knows);
    return true;
}

/* `In Node, ("name", Operator, "domain", -1) : (all inputs) -> (all outputs) , Error reason`: only
 * the ends of it matter. */
static bool is_bad_node(const kvf_ort *e, const char *words, kvf_error *err)
{
    char name[100], type[100];
    const char *node = strstr(words, "In Node, (\""), *reason = strstr(words, " , Error ");
    if (!reason) reason = strstr(words, ", Error ");
    if (!node || !reason || sscanf(node, "In Node, (\"%99[^\"]\", %99[^,],", name, type) != 2)
        return false;
    kvf_fail(
        err, KVF_ERR_MODEL,
        "ONNX Runtime %s does not run its operator %s (node \"%s\"): %.200s; if the operator is "
        "right, the library is too old for this model",
        e->lib->version, type, name, strstr(reason, "Error ") + 6);
    return true;
}

static kvf_status explain(const kvf_ort *e, const kvf_onnx *onnx, OrtStatus *failed, kvf_error *err)
{
    if (!failed) return KVF_OK;
    const char *words = e->api->GetErrorMessage(failed);
    if (is_too_old(e, onnx, words, err) || is_bad_node(e, words, err)) {
        e->api->ReleaseStatus(failed);
        return KVF_ERR_MODEL;
    }
    return kvf_ort_check(e->lib, failed, KVF_ERR_MODEL, err);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void ORT_API_CALL no_log(void *param, OrtLoggingLevel severity, const char *category,
                                const char *id, const char *location, const char *message)
{
    /* A library does not print; failures come back as words anyway. */
    (void)param, (void)severity, (void)category, (void)id, (void)location, (void)message;
}

static OrtStatus *open_env(kvf_ort *e)
{
    OrtStatus *failed =
        e->api->CreateEnvWithCustomLogger(no_log, NULL, ORT_LOGGING_LEVEL_FATAL, "kvfork", &e->env);
    if (failed || !e->lib->counts) return failed;
    /* Refused if the process has registered one already: ours, or that of other code. */
    e->api->ReleaseStatus(e->api->RegisterAllocator(e->env, &e->lib->allocator));
    return NULL;
}

/* Patterns of memory would be kept for every length there ever was; a thread that spins takes a
 * core away from what runs beside. */
static OrtStatus *set_options(const kvf_ort *e, OrtSessionOptions *o, uint32_t threads)
{
    const OrtApi *api = e->api;
    OrtStatus *failed = api->SetIntraOpNumThreads(o, (int)threads);
    if (!failed) failed = api->SetInterOpNumThreads(o, 1);
    if (!failed) failed = api->DisableMemPattern(o);
    if (!failed) failed = api->SetSessionLogSeverityLevel(o, ORT_LOGGING_LEVEL_FATAL);
    if (!failed) failed = api->AddSessionConfigEntry(o, "session.intra_op.allow_spinning", "0");
    if (!failed && e->lib->counts)
        failed = api->AddSessionConfigEntry(o, "session.use_env_allocators", "1");
    return failed;
}

static kvf_status open_session(const kvf_ort *e, const kvf_onnx *onnx, uint32_t threads,
                               OrtSession **session, kvf_error *err)
{
    OrtSessionOptions *options = NULL;
    OrtStatus *failed = e->api->CreateSessionOptions(&options);
    if (!failed) failed = set_options(e, options, threads);
    if (!failed) failed = e->api->CreateSession(e->env, onnx->path, options, session);
    if (options) e->api->ReleaseSessionOptions(options);
    kvf_status status = explain(e, onnx, failed, err);
    return status ? kvf_prefix(err, status, "%.200s: ", onnx->path) : KVF_OK;
}

/* The model looked at its input and output. One thread is enough for a few rows times a small
 * matrix. */
static kvf_status open_head(const kvf_ort *e, const kvf_onnx *onnx, kvf_head gives,
                            kvf_ort_head *head, kvf_error *err)
{
    if (!onnx) return KVF_OK;
    const kvf_graph *g = onnx->graph;
    *head = (kvf_ort_head){.input = g->values[g->inputs[0]].name,
                           .output = g->values[g->outputs[0]].name,
                           .rank = g->values[g->inputs[0]].shape->rank,
                           .type = g->values[g->inputs[0]].shape->type,
                           .head = gives};
    return open_session(e, onnx, 1, &head->session, err);
}

static kvf_status open_all(kvf_ort *e, kvf_error *err)
{
    const kvf_model *m = e->model;
    const kvf_contract *c = e->contract;
    bool own_logits = false;
    for (uint32_t i = 0; i < c->n_outputs; i++) own_logits |= c->outputs[i].role == KVF_ROLE_LOGITS;
    kvf_head policy = c->width[KVF_LOGITS] && !own_logits ? KVF_LOGITS : KVF_POLICY;
    kvf_status status = kvf_ort_check(e->lib, open_env(e), KVF_ERR_ENGINE, err);
    if (!status) status = open_session(e, m->onnx, m->info.threads, &e->session, err);
    if (!status) status = open_head(e, m->policy_head, policy, &e->heads[KVF_ORT_POLICY], err);
    if (!status) status = open_head(e, m->value_head, KVF_VALUE, &e->heads[KVF_ORT_VALUE], err);
    return status;
}

/* ---- what shapes say ------------------------------------------------------------------------- */

static bool batch_is_dynamic(const kvf_model *model)
{
    const kvf_contract *c = &model->contract;
    for (uint32_t i = 0; i < c->n_inputs; i++) {
        const kvf_shape *s = shape_of(model, &c->inputs[i]);
        uint32_t axis = c->inputs[i].role == KVF_ROLE_PAST_FUSED;
        if (c->inputs[i].role != KVF_ROLE_USE_CACHE_BRANCH && s->dims[axis] >= 0) return false;
    }
    return true;
}

static void read_shapes(kvf_ort *e)
{
    e->batches = batch_is_dynamic(e->model);
    if (e->contract->cache != KVF_CACHE_SCATTER) return;
    const kvf_shape *past = shape_of(e->model, first_past(e->contract));
    uint32_t axis = e->contract->layout == KVF_LAYOUT_LENGTH ? 1 : 2;
    if (past->dims[axis] > 0) e->fixed_length = (uint32_t)past->dims[axis];
    const kvf_contract_port *mask = input_of(e->contract, KVF_ROLE_ATTENTION_MASK);
    const char *name = mask ? shape_of(e->model, mask)->names[1] : "";
    e->wide_mask = *name && !strcmp(name, past->names[axis]);
}

/* ---- load and unload ------------------------------------------------------------------------- */

kvf_status kvf_ort_load(void **engine, kvf_model *model, kvf_error *err)
{
    *engine = NULL;
    kvf_ort *e = kvf_array(1, sizeof *e);
    if (!e) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for the ort engine");
    e->model = model;
    e->contract = &model->contract;
    kvf_status status = kvf_ort_library_open(&e->lib, model->options.ort_library, err);
    if (!status) {
        e->api = e->lib->api;
        uint64_t before = e->lib->bytes;
        status = open_all(e, err);
        uint64_t now = e->lib->bytes;
        e->weight_bytes = now > before ? now - before : 0;
        e->lib->weight_bytes += e->weight_bytes;
    }
    if (!status) {
        read_shapes(e);
        status = kvf_ort_check_causal(e, err);
        e->lib->most_bytes = e->lib->bytes; /* what optimising the graph took is over */
    }
    if (status) {
        kvf_ort_unload(e);
        return status;
    }
    model->info.engine_version = e->lib->version;
    model->info.device = "cpu";
    model->info.cpu = "";
    model->info.weight_bytes = e->weight_bytes;
    *engine = e;
    return KVF_OK;
}

void kvf_ort_unload(void *engine)
{
    kvf_ort *e = engine;
    if (!e) return;
    for (int i = 0; i < KVF_ORT_HEADS; i++)
        if (e->heads[i].session) e->api->ReleaseSession(e->heads[i].session);
    if (e->session) e->api->ReleaseSession(e->session);
    if (e->env) e->api->ReleaseEnv(e->env);
    if (e->lib) e->lib->weight_bytes -= e->weight_bytes;
    kvf_free(e);
}
