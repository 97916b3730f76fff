/* model.c - opening a model: options, file, contract, plan, engine; and what is then known of it.
 *
 * One way through for every engine: the file is read, its contract found, the graph lifted into a
 * plan if that is possible, and the first engine that accepts what came out makes it ready. Each
 * refusal on the way is kept in words, since "why this engine" is the first question of a user. */
#include "facts.h"
#include "model.h"
#include "roles.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 1024, MAX_DEVICE = 63 };

/* ---- options --------------------------------------------------------------------------------- */

static const size_t option_strings[] = {
    offsetof(kvf_model_options, engine),      offsetof(kvf_model_options, device),
    offsetof(kvf_model_options, precision),   offsetof(kvf_model_options, kv),
    offsetof(kvf_model_options, cpu),         offsetof(kvf_model_options, names),
    offsetof(kvf_model_options, policy_head), offsetof(kvf_model_options, value_head),
    offsetof(kvf_model_options, ort_library)};
enum { N_OPTION_STRINGS = sizeof option_strings / sizeof option_strings[0] };

static const char **option_string(kvf_model_options *o, int i)
{
    return (const char **)((char *)o + option_strings[i]);
}

/* Replace the caller's strings by copies; on failure those that are none are NULL. */
static kvf_status copy_strings(kvf_model_options *o, kvf_error *err)
{
    bool ok = true;
    for (int i = 0; i < N_OPTION_STRINGS; i++) {
        const char **s = option_string(o, i), *given = *s;
        *s = ok ? kvf_copy_string(given) : NULL;
        ok = ok && (*s || !given);
    }
    return ok ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "no memory for the options");
}

static kvf_status check_choice(const char *what, const char *value, const char *const *choices,
                               kvf_error *err)
{
    char known[128] = "";
    for (size_t n = 0; value && *choices; choices++) {
        if (!strcmp(value, *choices)) return KVF_OK;
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n ? ", " : "", *choices);
    }
    if (!value) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG, "%s is \"%.60s\", but should be one of %s", what, value,
                    known);
}

/* "cpu" or "cuda:N". */
static kvf_status check_device(const char *device, kvf_error *err)
{
    if (!device || !strcmp(device, "cpu")) return KVF_OK;
    const char *number = !strncmp(device, "cuda:", 5) ? device + 5 : "";
    size_t digits = strlen(number);
    bool ok = digits == 1 || digits == 2;
    for (size_t i = 0; i < digits && ok; i++) ok = isdigit((unsigned char)number[i]);
    if (ok && atoi(number) <= MAX_DEVICE) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG,
                    "device is \"%.60s\", but should be cpu or cuda:N, N from 0 to %d", device,
                    MAX_DEVICE);
}

static const char *built_engines(char *text, size_t size)
{
    size_t n = 0;
    text[0] = 0;
    for (size_t i = 0; kvf_engine_list(i) && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", n ? ", " : "", kvf_engine_list(i)->name);
    return n ? text : "none";
}

static kvf_status check_built(const char *engine, kvf_error *err)
{
    char built[128];
    if (!engine || !strcmp(engine, "auto") || !strcmp(engine, "none")) return KVF_OK;
    if (kvf_engine_find(engine)) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ENGINE, "engine %s is not built into this library; it has: %s",
                    engine, built_engines(built, sizeof built));
}

static kvf_status check_options(const kvf_model_options *o, kvf_error *err)
{
    static const char *const engines[] = {"auto", "native", "ort", "cuda", "none", NULL};
    static const char *const precisions[] = {"f32", "bf16", "q8", "q4", NULL};
    static const char *const caches[] = {"f32", "bf16", NULL};
    static const char *const cpus[] = {"c", "avx2", "avx512", "avx512v", "avx512x", NULL};
    kvf_status status = check_choice("engine", o->engine, engines, err);
    if (!status) status = check_device(o->device, err);
    if (!status) status = check_choice("precision", o->precision, precisions, err);
    if (!status) status = check_choice("kv", o->kv, caches, err);
    if (!status) status = check_choice("cpu", o->cpu, cpus, err);
    if (!status && o->threads > MAX_THREADS)
        status = kvf_fail(err, KVF_ERR_ARG, "threads is %u, but at most %d are possible",
                          o->threads, MAX_THREADS);
    return status ? status : kvf_check_role_map(o->names, err);
}

kvf_status kvf_model_options_check(const kvf_model_options *opt, kvf_error *err)
{
    kvf_model_options o;
    kvf_status status = kvf_take_options(&o, sizeof o, opt, err);
    return status ? status : check_options(&o, err);
}

/* The processors this process may use; machines with more than a cpu_set_t holds count as full. */
static uint32_t usable_processors(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set)) return errno == EINVAL ? CPU_SETSIZE : 1;
    return (uint32_t)CPU_COUNT(&set);
}

/* ---- further files --------------------------------------------------------------------------- */

/* Rows of the weight that an input is multiplied with, or 0 if that is not what happens to it. */
static uint64_t width_taken(const kvf_graph *g, uint32_t input)
{
    for (uint32_t i = 0; i < g->n_ops; i++) {
        const kvf_op *op = &g->ops[i];
        if (op->n_inputs < 2 || op->inputs[0] != input || op->inputs[1] == KVF_NO_VALUE) continue;
        const kvf_tensor *w = g->values[op->inputs[1]].initializer;
        if (!w || w->rank != 2) continue;
        if (kvf_op_is(op, "", "MatMul")) return (uint64_t)w->dims[0];
        if (kvf_op_is(op, "", "Gemm"))
            return (uint64_t)w->dims[kvf_op_int(op, "transB", 0) ? 1 : 0];
    }
    return 0;
}

static bool is_float(const kvf_shape *s)
{
    return s && (s->type == KVF_F32 || s->type == KVF_F16 || s->type == KVF_BF16);
}

/* A head's file takes hidden states and gives one output. */
static kvf_status check_head(const kvf_contract *c, const kvf_onnx *o, uint32_t *width,
                             kvf_error *err)
{
    const kvf_graph *g = o->graph;
    if (!c->width[KVF_HIDDEN])
        return kvf_fail(
            err, KVF_ERR_MODEL,
            "%s: a head in a file of its own needs hidden states, but the model has no such output",
            o->path);
    if (g->n_inputs != 1 || g->n_outputs != 1)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: a head has one input and one output, but this has %u and %u", o->path,
                        g->n_inputs, g->n_outputs);
    const kvf_shape *in = g->values[g->inputs[0]].shape, *to = g->values[g->outputs[0]].shape;
    if (!is_float(in) || !in->known || in->rank < 2 || in->rank > 3 || !is_float(to))
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: a head takes hidden states, [rows, hidden] or [batch, new, hidden] of "
                        "floats, and gives floats",
                        o->path);
    int64_t declared = in->dims[in->rank - 1];
    uint64_t taken = declared >= 0 ? (uint64_t)declared : width_taken(g, g->inputs[0]);
    if (taken && taken != c->hidden)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: this head takes hidden states of width %" PRIu64
                        ", but the model gives %u",
                        o->path, taken, c->hidden);
    bool flat = to->known && to->rank < in->rank; /* one number per row */
    uint64_t w = flat ? 1 : kvf_width_of(g, g->outputs[0]);
    if (!w || w > INT32_MAX)
        return kvf_fail(
            err, KVF_ERR_MODEL,
            "%s: the width of its output \"%.100s\" is not to be found in the graph, or absurd",
            o->path, g->values[g->outputs[0]].name);
    *width = (uint32_t)w;
    return KVF_OK;
}

static kvf_status open_head(kvf_onnx **out, kvf_contract *c, const char *path, kvf_head head,
                            kvf_error *err)
{
    uint32_t width = 0;
    if (!path) return KVF_OK;
    kvf_status status = kvf_onnx_open(out, path, err);
    if (!status) status = check_head(c, *out, &width, err);
    if (status) return status;
    /* A policy file whose output is called logits gives them, if the model has none itself. */
    const kvf_graph *g = (*out)->graph;
    if (head == KVF_POLICY && !strcmp(g->values[g->outputs[0]].name, "logits") &&
        !c->width[KVF_LOGITS])
        head = KVF_LOGITS;
    if (c->width[head])
        return kvf_fail(err, KVF_ERR_MODEL, "%s: the model has such an output itself", path);
    if (head == KVF_LOGITS && width != c->vocab)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: it gives %u logits, but the model has a vocabulary of %u", path, width,
                        c->vocab);
    c->width[head] = width;
    return KVF_OK;
}

/* ---- what is known --------------------------------------------------------------------------- */

static const char *const layouts[] = {
    [KVF_LAYOUT_HEADS] = "[batch, kv_heads, length, head_dim]",
    [KVF_LAYOUT_LENGTH] = "[batch, length, kv_heads, head_dim]",
    [KVF_LAYOUT_FUSED] = "[2, batch, kv_heads, length, head_dim]",
};

static bool is_role_cache(kvf_role role)
{
    return role == KVF_ROLE_PAST_KEY || role == KVF_ROLE_PAST_VALUE || role == KVF_ROLE_PAST_FUSED;
}

/* What the file stores, as engines call it: the bits of quantised products if it has any (the table
 * of tokens mostly is not), else the type that most of the weights' bytes have. */
static const char *own_precision(const kvf_onnx *o)
{
    static const struct {
        kvf_type type;
        const char *name;
    } names[] = {{KVF_F32, "f32"}, {KVF_F16, "f16"}, {KVF_BF16, "bf16"}, {KVF_I8, "q8"},
                 {KVF_U8, "q8"},   {KVF_I4, "q4"},   {KVF_U4, "q4"},     {KVF_F64, "f64"}};
    const kvf_graph *g = o->graph;
    uint64_t most = 0;
    const char *name = "f32";
    for (uint32_t i = 0; i < g->n_ops; i++)
        if (kvf_op_is(&g->ops[i], "com.microsoft", "MatMulNBits"))
            return kvf_op_int(&g->ops[i], "bits", 4) == 8 ? "q8" : "q4";
    for (size_t t = 0; t < sizeof names / sizeof names[0]; t++) {
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < g->n_initializers; i++)
            if (g->initializers[i].type == names[t].type) bytes += g->initializers[i].bytes;
        if (bytes <= most) continue;
        most = bytes;
        name = names[t].name;
    }
    return name;
}

static kvf_status read_eos(kvf_model *m, kvf_error *err)
{
    const char *text = kvf_onnx_property(m->onnx, "kvfork.eos");
    m->info.eos = -1;
    if (!text) return KVF_OK;
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < 0 || (uint64_t)v >= m->contract.vocab)
        return kvf_fail(
            err, KVF_ERR_MODEL,
            "%s: its metadata says kvfork.eos is \"%.40s\", but it should be a token below %u",
            m->onnx->path, text, m->contract.vocab);
    m->info.eos = (int32_t)v;
    return KVF_OK;
}

static kvf_status name_exporter(kvf_model *m, kvf_error *err)
{
    const kvf_onnx *o = m->onnx;
    size_t size = strlen(o->producer) + strlen(o->producer_version) + 2;
    m->exporter = kvf_array(size, 1);
    if (!m->exporter) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to describe it", o->path);
    snprintf(m->exporter, size, "%s%s%s", o->producer, o->producer_version[0] ? " " : "",
             o->producer_version);
    m->info.exporter = m->exporter;
    return KVF_OK;
}

static void fill_port(kvf_port *port, const kvf_graph *g, const kvf_contract_port *from)
{
    static const int64_t no_dims[1] = {0};
    static const char *const no_names[1] = {""};
    const kvf_value *v = &g->values[from->value];
    *port = (kvf_port){.name = v->name,
                       .role = kvf_role_name(from->role),
                       .layer = from->layer,
                       .type = kvf_type_name(v->shape ? v->shape->type : KVF_NO_TYPE),
                       .dims = no_dims,
                       .dim_names = no_names};
    if (!v->shape || !v->shape->known || !v->shape->rank) return;
    port->rank = v->shape->rank;
    port->dims = v->shape->dims;
    port->dim_names = v->shape->names;
}

static kvf_status list_parts(kvf_model *m, kvf_error *err)
{
    const kvf_contract *c = &m->contract;
    const kvf_onnx *o = m->onnx;
    m->ports = kvf_array((size_t)c->n_inputs + c->n_outputs, sizeof *m->ports);
    m->opsets = kvf_array(o->n_opsets, sizeof *m->opsets);
    if (!m->ports || !m->opsets)
        return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to describe it", o->path);
    for (uint32_t i = 0; i < c->n_inputs; i++) fill_port(&m->ports[i], o->graph, &c->inputs[i]);
    for (uint32_t i = 0; i < c->n_outputs; i++)
        fill_port(&m->ports[c->n_inputs + i], o->graph, &c->outputs[i]);
    for (uint32_t i = 0; i < o->n_opsets; i++)
        m->opsets[i] = (kvf_count){o->opsets[i].domain[0] ? o->opsets[i].domain : "ai.onnx",
                                   (uint64_t)o->opsets[i].version};
    return name_exporter(m, err);
}

/* Sizes that the ports leave open are known once the graph is understood. */
static void complete_contract(kvf_contract *c, const kvf_plan *plan)
{
    c->heads = plan->heads;
    c->layers = plan->layers;
    c->kv_heads = plan->kv_heads;
    c->head_dim = plan->head_dim;
    c->hidden = plan->hidden;
    if (plan->context && (!c->context || plan->context < c->context)) c->context = plan->context;
    if (!c->kv_type) c->kv_type = KVF_F32;
}

static bool wants_cuda(const kvf_model *m)
{
    return m->options.engine && !strcmp(m->options.engine, "cuda");
}

static kvf_status describe(kvf_model *m, kvf_error *err)
{
    kvf_model_info *info = &m->info;
    const kvf_contract *c = &m->contract;
    const char *tokenizer = kvf_onnx_property(m->onnx, "kvfork.tokenizer");
    const kvf_onnx *files[] = {m->onnx, m->policy_head, m->value_head};
    bool past = false;
    for (uint32_t i = 0; i < c->n_inputs; i++) past |= is_role_cache(c->inputs[i].role);
    info->layers = c->layers;
    info->heads = c->heads;
    info->kv_heads = c->kv_heads;
    info->head_dim = c->head_dim;
    info->hidden = c->hidden;
    info->vocab = c->vocab;
    info->context = c->context;
    memcpy(info->width, c->width, sizeof info->width);
    for (int i = 0; i < 3; i++) {
        if (!files[i]) continue;
        info->parameters += files[i]->parameters;
        info->file_bytes += files[i]->file_bytes;
        info->n_files += files[i]->n_files;
    }
    info->bytes_per_token =
        (uint64_t)2 * c->layers * c->kv_heads * c->head_dim * (kvf_type_bits(c->kv_type) / 8);
    info->kv_type = c->kv_type ? kvf_type_name(c->kv_type) : "";
    info->logits_type = kvf_type_name(c->logits_type);
    info->layout = past ? layouts[c->layout] : "";
    info->precision = own_precision(m->onnx);
    info->engine = "none";
    info->engine_version = kvf_version();
    info->why = m->why;
    info->device = m->options.device ? m->options.device : wants_cuda(m) ? "cuda:0" : "cpu";
    info->cpu = info->device_name = "";
    info->tokenizer = tokenizer ? tokenizer : "";
    info->threads = m->options.threads ? m->options.threads : usable_processors();
    info->caches =
        c->cache != KVF_CACHE_NONE || m->plan; /* a plan caches whatever the graph does */
    info->n_inputs = c->n_inputs;
    info->n_outputs = c->n_outputs;
    info->n_operators = m->onnx->n_operators;
    info->n_opsets = m->onnx->n_opsets;
    kvf_status status = read_eos(m, err);
    return status ? status : list_parts(m, err);
}

/* ---- engine ---------------------------------------------------------------------------------- */

/* Messages begin with the path of their file; a reason is better without the model's own. */
static const char *without_path(const kvf_model *m, const char *msg)
{
    size_t n = strlen(m->onnx->path);
    return strncmp(msg, m->onnx->path, n) || strncmp(msg + n, ": ", 2) ? msg : msg + n + 2;
}

static kvf_status accepts(const kvf_model *m, const kvf_engine_ops *ops, kvf_error *err)
{
    if (!strcmp(ops->name, "native") && strcmp(m->info.device, "cpu"))
        return kvf_fail(err, KVF_ERR_ENGINE, "the native engine runs on the cpu, not on %s",
                        m->info.device);
    return ops->accepts(m, err);
}

/* Why this engine: what better ones refused, or what the graph was found to be. */
static void explain(kvf_model *m, const char *engine, const char *refusals)
{
    const kvf_plan *p = m->plan;
    if (refusals || !p)
        snprintf(m->why, sizeof m->why, "%s: %.230s", engine,
                 refusals ? refusals : "the first that can run it");
    else
        snprintf(m->why, sizeof m->why, "%s: %s, %u layers%s; %u operators accounted for", engine,
                 p->family, p->layers, m->contract.tree ? ", tree contract" : "", p->accounted);
}

/* The first engine that takes the model, and in m->why the reason: what the better ones said. */
static kvf_status choose(kvf_model *m, const kvf_engine_ops **out, kvf_error *err)
{
    char refusals[sizeof err->msg] = "";
    size_t n = 0;
    kvf_status worst = KVF_ERR_ENGINE;
    *out = NULL;
    for (size_t i = 0; kvf_engine_list(i); i++) {
        const kvf_engine_ops *ops = kvf_engine_list(i);
        kvf_error refusal = {0};
        kvf_status status = accepts(m, ops, &refusal);
        if (status == KVF_OK) {
            explain(m, ops->name, n ? refusals : NULL);
            *out = ops;
            return KVF_OK;
        }
        if (status == KVF_ERR_NOMEM) return kvf_fail(err, status, "%s", refusal.msg);
        worst = status;
        if (n < sizeof refusals)
            n += (size_t)snprintf(refusals + n, sizeof refusals - n, "%s%s", n ? "; " : "",
                                  refusal.msg);
    }
    return kvf_fail(err, worst, "%s: no engine of this build takes it: %s", m->onnx->path,
                    n ? refusals : "there is none");
}

static kvf_status choose_named(kvf_model *m, const char *name, const kvf_engine_ops **out,
                               kvf_error *err)
{
    const kvf_engine_ops *ops = kvf_engine_find(name);
    kvf_status status = accepts(m, ops, err);
    if (status) return kvf_prefix(err, status, "engine %s does not take it: ", name);
    snprintf(m->why, sizeof m->why, "%s: asked for", name);
    *out = ops;
    return KVF_OK;
}

/* Without an engine: what auto would do. A refusal is then an answer too. */
static void say_choice(kvf_model *m)
{
    const kvf_engine_ops *ops;
    kvf_error refusal;
    char why[sizeof m->why];
    if (choose(m, &ops, &refusal))
        snprintf(why, sizeof why, "%.240s", without_path(m, refusal.msg));
    else
        snprintf(why, sizeof why, "auto would take %.230s", m->why);
    memcpy(m->why, why, sizeof why);
}

static kvf_status start_engine(kvf_model *m, kvf_error *err)
{
    const char *name = m->options.engine ? m->options.engine : "auto";
    const kvf_engine_ops *ops = NULL;
    if (!strcmp(name, "none")) {
        say_choice(m);
        return KVF_OK;
    }
    kvf_status status =
        strcmp(name, "auto") ? choose_named(m, name, &ops, err) : choose(m, &ops, err);
    if (status) return status;
    m->ops = ops;
    m->info.engine = ops->name;
    bool ort = !strcmp(ops->name, "ort");
    if (ort) m->info.caches = m->contract.cache != KVF_CACHE_NONE;
    m->branches = !ort || m->info.caches || m->contract.tree;
    return ops->load(&m->engine, m, err);
}

/* ---- open and close -------------------------------------------------------------------------- */

/* A plan, or in m->why the reason that there is none; only a lack of memory ends the opening. */
static kvf_status lift(kvf_model *m, kvf_error *err)
{
    kvf_error refusal = {0};
    if (m->options.engine && !strcmp(m->options.engine, "ort")) return KVF_OK;
    kvf_status status = kvf_plan_lift(&m->plan, m, &refusal);
    if (status == KVF_ERR_NOMEM) return kvf_fail(err, status, "%s", refusal.msg);
    if (status)
        snprintf(m->why, sizeof m->why, "%.250s", without_path(m, refusal.msg));
    else
        complete_contract(&m->contract, m->plan);
    return KVF_OK;
}

static kvf_status open_model(kvf_model *m, const char *path, kvf_error *err)
{
    kvf_status status = kvf_onnx_open(&m->onnx, path, err);
    if (!status) status = kvf_contract_read(&m->contract, m->onnx, m->options.names, err);
    if (!status)
        status = open_head(&m->policy_head, &m->contract, m->options.policy_head, KVF_POLICY, err);
    if (!status)
        status = open_head(&m->value_head, &m->contract, m->options.value_head, KVF_VALUE, err);
    if (!status) status = lift(m, err);
    if (!status) status = describe(m, err);
    if (!status) status = start_engine(m, err);
    return status;
}

kvf_status kvf_model_open(kvf_model **out, const char *path, const kvf_model_options *opt,
                          kvf_error *err)
{
    kvf_model_options options;
    *out = NULL;
    if (!path) return kvf_fail(err, KVF_ERR_ARG, "there is no path of a model");
    kvf_status status = kvf_take_options(&options, sizeof options, opt, err);
    if (!status) status = check_options(&options, err);
    if (!status) status = check_built(options.engine, err);
    if (status) return status;
    kvf_model *m = kvf_array(1, sizeof *m);
    if (!m) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to open it", path);
    m->options = options;
    status = copy_strings(&m->options, err);
    if (!status) status = open_model(m, path, err);
    if (status)
        kvf_model_close(m);
    else
        *out = m;
    return status;
}

void kvf_model_close(kvf_model *m)
{
    if (!m) return;
    if (m->ops) m->ops->unload(m->engine);
    kvf_plan_free(m->plan);
    kvf_contract_free(&m->contract);
    kvf_onnx_close(m->policy_head);
    kvf_onnx_close(m->value_head);
    kvf_onnx_close(m->onnx);
    for (int i = 0; i < N_OPTION_STRINGS; i++)
        kvf_free((void *)(uintptr_t)*option_string(&m->options, i));
    kvf_free(m->ports);
    kvf_free(m->opsets);
    kvf_free(m->exporter);
    kvf_free(m);
}

/* ---- questions ------------------------------------------------------------------------------- */

const kvf_model_info *kvf_model_get_info(const kvf_model *m)
{
    return &m->info;
}

const kvf_port *kvf_model_input(const kvf_model *m, uint32_t i)
{
    return i < m->info.n_inputs ? &m->ports[i] : NULL;
}

const kvf_port *kvf_model_output(const kvf_model *m, uint32_t i)
{
    return i < m->info.n_outputs ? &m->ports[m->info.n_inputs + i] : NULL;
}

const kvf_count *kvf_model_operator(const kvf_model *m, uint32_t i)
{
    return i < m->info.n_operators ? &m->onnx->operators[i] : NULL;
}

const kvf_count *kvf_model_opset(const kvf_model *m, uint32_t i)
{
    return i < m->info.n_opsets ? &m->opsets[i] : NULL;
}

const char *kvf_model_file(const kvf_model *m, uint32_t i)
{
    const kvf_onnx *files[] = {m->onnx, m->policy_head, m->value_head};
    for (int f = 0; f < 3; f++) {
        if (!files[f]) continue;
        if (i < files[f]->n_files) return files[f]->files[i];
        i -= files[f]->n_files;
    }
    return NULL;
}

const char *kvf_model_metadata(const kvf_model *m, const char *key)
{
    return kvf_onnx_property(m->onnx, key);
}
