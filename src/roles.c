/* roles.c - which input or output plays which role; see roles.h.
 *
 * Four sources, the surest first: a map that the user gives, names that exporters are known to
 * write, the operator that uses an input, and shapes. A port that one source has settled is not
 * asked about again. What the roles mean together is contract.c's affair. */
#include "roles.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { INPUT = 1, OUTPUT = 2 };

static const struct role_info {
    const char *name;
    int side;
    bool layered; /* one per layer: past_key_0, past_key_1, ... */
} roles[] = {
    [KVF_ROLE_NONE] = {"", 0, false},
    [KVF_ROLE_INPUT_IDS] = {"input_ids", INPUT, false},
    [KVF_ROLE_POSITION_IDS] = {"position_ids", INPUT, false},
    [KVF_ROLE_ATTENTION_MASK] = {"attention_mask", INPUT, false},
    [KVF_ROLE_PAST_KEY] = {"past_key", INPUT, true},
    [KVF_ROLE_PAST_VALUE] = {"past_value", INPUT, true},
    [KVF_ROLE_PAST_FUSED] = {"past", INPUT, true},
    [KVF_ROLE_USE_CACHE_BRANCH] = {"use_cache_branch", INPUT, false},
    [KVF_ROLE_WRITE_INDICES] = {"write_indices", INPUT, false},
    [KVF_ROLE_SEQUENCE_LENGTHS] = {"sequence_lengths", INPUT, false},
    [KVF_ROLE_PREFIX_IDS] = {"prefix_ids", INPUT, false},
    [KVF_ROLE_EVALUATED_IDS] = {"evaluated_ids", INPUT, false},
    [KVF_ROLE_EVALUATED_MASK] = {"evaluated_mask", INPUT, false},
    [KVF_ROLE_LOGITS] = {"logits", OUTPUT, false},
    [KVF_ROLE_POLICY] = {"policy", OUTPUT, false},
    [KVF_ROLE_VALUE] = {"value", OUTPUT, false},
    [KVF_ROLE_HIDDEN] = {"hidden_states", OUTPUT, false},
    [KVF_ROLE_PRESENT_KEY] = {"present_key", OUTPUT, true},
    [KVF_ROLE_PRESENT_VALUE] = {"present_value", OUTPUT, true},
    [KVF_ROLE_PRESENT_FUSED] = {"present", OUTPUT, true},
};
enum { N_ROLES = sizeof roles / sizeof roles[0] };

const char *kvf_role_name(kvf_role role)
{
    return (uint32_t)role < N_ROLES ? roles[role].name : "";
}

/* What exporters write beside the names of roles; % is the number of the layer. */
static const struct alias {
    const char *pattern;
    kvf_role role;
} aliases[] = {
    {"past_key_%", KVF_ROLE_PAST_KEY},
    {"past_value_%", KVF_ROLE_PAST_VALUE},
    {"past_%", KVF_ROLE_PAST_FUSED},
    {"present_key_%", KVF_ROLE_PRESENT_KEY},
    {"present_value_%", KVF_ROLE_PRESENT_VALUE},
    {"present_%", KVF_ROLE_PRESENT_FUSED},
    {"past_key_values.%.key", KVF_ROLE_PAST_KEY},
    {"past_key_values.%.value", KVF_ROLE_PAST_VALUE},
    {"present.%.key", KVF_ROLE_PRESENT_KEY},
    {"present.%.value", KVF_ROLE_PRESENT_VALUE},
    {"present_key_values.%.key", KVF_ROLE_PRESENT_KEY},
    {"present_key_values.%.value", KVF_ROLE_PRESENT_VALUE},
    {"nonpad_kv_seqlen", KVF_ROLE_SEQUENCE_LENGTHS},
    {"last_hidden_state", KVF_ROLE_HIDDEN},
    {"policy_logits", KVF_ROLE_POLICY},
    {"values", KVF_ROLE_VALUE},
};

const char *kvf_describe(const kvf_shape *shape, char *text, size_t size)
{
    if (!shape || !shape->known) {
        snprintf(text, size, "%s of unknown shape", shape ? kvf_type_name(shape->type) : "no type");
        return text;
    }
    int n = snprintf(text, size, "%s [", kvf_type_name(shape->type));
    for (uint32_t i = 0; i < shape->rank && n > 0 && (size_t)n < size; i++) {
        const char *comma = i ? ", " : "";
        if (shape->dims[i] >= 0)
            n += snprintf(text + n, size - (size_t)n, "%s%lld", comma, (long long)shape->dims[i]);
        else
            n += snprintf(text + n, size - (size_t)n, "%s%.30s", comma,
                          shape->names[i][0] ? shape->names[i] : "?");
    }
    if (n > 0 && (size_t)n < size) snprintf(text + n, size - (size_t)n, "]");
    return text;
}

/* ---- by name --------------------------------------------------------------------------------- */

enum { MAX_LAYER_DIGITS = 6 };

/* Match a name against a pattern; *layer is the number that stands for %. */
static bool matches(const char *pattern, const char *name, uint32_t *layer)
{
    for (; *pattern; pattern++) {
        if (*pattern != '%') {
            if (*name++ != *pattern) return false;
            continue;
        }
        uint32_t digits = 0, number = 0;
        while (isdigit((unsigned char)name[digits]) && digits <= MAX_LAYER_DIGITS)
            number = number * 10 + (uint32_t)(name[digits++] - '0');
        if (!digits || digits > MAX_LAYER_DIGITS || (digits > 1 && *name == '0')) return false;
        *layer = number;
        name += digits;
    }
    return !*name;
}

/* The role of a name on one side of a graph; *layer is set for those that have one. */
static kvf_role role_of_name(const char *name, int side, uint32_t *layer)
{
    for (int i = 1; i < N_ROLES; i++)
        if (roles[i].side == side && !roles[i].layered && !strcmp(roles[i].name, name))
            return (kvf_role)i;
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (roles[aliases[i].role].side == side && matches(aliases[i].pattern, name, layer))
            return aliases[i].role;
    return KVF_ROLE_NONE;
}

static void assign_by_name(kvf_contract_port *ports, uint32_t n, const kvf_graph *g, int side)
{
    for (uint32_t i = 0; i < n; i++)
        if (!ports[i].role)
            ports[i].role = role_of_name(g->values[ports[i].value].name, side, &ports[i].layer);
}

/* ---- by map ---------------------------------------------------------------------------------- */

static kvf_contract_port *find_port(kvf_contract_port *ports, uint32_t n, uint32_t value)
{
    for (uint32_t i = 0; i < n; i++)
        if (ports[i].value == value) return &ports[i];
    return NULL;
}

/* One "role=name" of the map, terminated. Without a contract it is only read. */
static kvf_status assign_entry(kvf_contract *c, const kvf_graph *g, char *entry, kvf_error *err)
{
    char *name = strchr(entry, '=');
    if (!name || !name[1])
        return kvf_fail(err, KVF_ERR_ARG, "names: \"%.100s\" is no ROLE=NAME", entry);
    *name++ = 0;
    uint32_t layer = 0;
    int side = INPUT;
    kvf_role role = role_of_name(entry, INPUT, &layer);
    if (!role) role = role_of_name(entry, side = OUTPUT, &layer);
    if (!role) return kvf_fail(err, KVF_ERR_ARG, "names: there is no role \"%.100s\"", entry);
    if (!c) return KVF_OK;
    uint32_t value = kvf_graph_find(g, name);
    kvf_contract_port *port = side == INPUT ? find_port(c->inputs, c->n_inputs, value)
                                            : find_port(c->outputs, c->n_outputs, value);
    if (!port)
        return kvf_fail(err, KVF_ERR_ARG,
                        "names: %.100s is said to be \"%.100s\", but the graph has no such %s",
                        entry, name, side == INPUT ? "input" : "output");
    if (port->role) return kvf_fail(err, KVF_ERR_ARG, "names: \"%.100s\" has two roles", name);
    port->role = role;
    port->layer = layer;
    return KVF_OK;
}

static kvf_status assign_by_map(kvf_contract *c, const kvf_graph *g, const char *names,
                                kvf_error *err)
{
    if (!names || !names[0]) return KVF_OK;
    char *copy = kvf_copy_string(names);
    if (!copy) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for the names");
    kvf_status status = KVF_OK;
    for (char *at = copy; at && !status;) {
        char *entry = at;
        at = strchr(at, ',');
        if (at) *at++ = 0;
        status = assign_entry(c, g, entry, err);
    }
    kvf_free(copy);
    return status;
}

kvf_status kvf_check_role_map(const char *names, kvf_error *err)
{
    return assign_by_map(NULL, NULL, names, err);
}

/* ---- by use ---------------------------------------------------------------------------------- */

/* Operators that tell what an input is by where they take it. */
static const struct use {
    const char *type;
    uint32_t input;
    kvf_role role;
} uses[] = {
    {"TensorScatter", 2, KVF_ROLE_WRITE_INDICES},
    {"Attention", 6, KVF_ROLE_SEQUENCE_LENGTHS},
};

static void assign_by_use(kvf_contract *c, const kvf_graph *g)
{
    for (uint32_t i = 0; i < g->n_ops; i++)
        for (size_t u = 0; u < sizeof uses / sizeof uses[0]; u++) {
            const kvf_op *op = &g->ops[i];
            if (!kvf_op_is(op, "", uses[u].type) || op->n_inputs <= uses[u].input) continue;
            kvf_contract_port *port = find_port(c->inputs, c->n_inputs, op->inputs[uses[u].input]);
            if (port && !port->role) port->role = uses[u].role;
        }
}

/* ---- by shape -------------------------------------------------------------------------------- */

static bool is_integer(kvf_type type)
{
    return type == KVF_I64 || type == KVF_I32;
}

static bool is_float(kvf_type type)
{
    return type == KVF_F32 || type == KVF_F16 || type == KVF_BF16;
}

static bool has_role(const kvf_contract_port *ports, uint32_t n, kvf_role role)
{
    for (uint32_t i = 0; i < n; i++)
        if (ports[i].role == role) return true;
    return false;
}

/* A role that nothing has yet, for the only nameless port of this kind and rank. */
static void assign_only(kvf_contract_port *ports, uint32_t n, const kvf_graph *g,
                        bool (*kind)(kvf_type), uint32_t rank, kvf_role role)
{
    kvf_contract_port *found = NULL;
    for (uint32_t i = 0; i < n; i++) {
        const kvf_shape *s = g->values[ports[i].value].shape;
        if (ports[i].role || !s || !s->known || s->rank != rank || !kind(s->type)) continue;
        if (found) return;
        found = &ports[i];
    }
    if (found) found->role = role;
}

/* Nameless caches of one rank, in order: of rank 5 each is a layer; of rank 4 keys and values
 * alternate. A key that is a value serves as well, as long as pasts and presents pair up. */
static uint32_t assign_caches(kvf_contract_port *ports, uint32_t n, const kvf_graph *g,
                              uint32_t rank, kvf_role key, kvf_role value, bool really)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < n; i++) {
        const kvf_shape *s = g->values[ports[i].value].shape;
        if (ports[i].role || !s || !s->known || s->rank != rank || !is_float(s->type)) continue;
        if (really) {
            ports[i].role = found % 2 ? value : key;
            ports[i].layer = key == value ? found : found / 2;
        }
        found++;
    }
    return found;
}

static void assign_by_shape(kvf_contract *c, const kvf_graph *g)
{
    static const struct {
        uint32_t rank;
        kvf_role key, value, new_key, new_value;
    } caches[] = {{4, KVF_ROLE_PAST_KEY, KVF_ROLE_PAST_VALUE, KVF_ROLE_PRESENT_KEY,
                   KVF_ROLE_PRESENT_VALUE},
                  {5, KVF_ROLE_PAST_FUSED, KVF_ROLE_PAST_FUSED, KVF_ROLE_PRESENT_FUSED,
                   KVF_ROLE_PRESENT_FUSED}};
    if (!has_role(c->inputs, c->n_inputs, KVF_ROLE_INPUT_IDS) &&
        !has_role(c->inputs, c->n_inputs, KVF_ROLE_EVALUATED_IDS) &&
        !has_role(c->inputs, c->n_inputs, KVF_ROLE_PREFIX_IDS))
        assign_only(c->inputs, c->n_inputs, g, is_integer, 2, KVF_ROLE_INPUT_IDS);
    if (!has_role(c->outputs, c->n_outputs, KVF_ROLE_LOGITS) &&
        !has_role(c->outputs, c->n_outputs, KVF_ROLE_HIDDEN))
        assign_only(c->outputs, c->n_outputs, g, is_float, 3, KVF_ROLE_LOGITS);
    for (int i = 0; i < 2; i++) {
        if (has_role(c->inputs, c->n_inputs, caches[i].key)) continue;
        uint32_t pasts = assign_caches(c->inputs, c->n_inputs, g, caches[i].rank, caches[i].key,
                                       caches[i].value, false);
        uint32_t presents = assign_caches(c->outputs, c->n_outputs, g, caches[i].rank,
                                          caches[i].new_key, caches[i].new_value, false);
        if (!pasts || pasts != presents) continue;
        assign_caches(c->inputs, c->n_inputs, g, caches[i].rank, caches[i].key, caches[i].value,
                      true);
        assign_caches(c->outputs, c->n_outputs, g, caches[i].rank, caches[i].new_key,
                      caches[i].new_value, true);
    }
}

/* ---- together -------------------------------------------------------------------------------- */

static kvf_contract_port *make_ports(const uint32_t *values, uint32_t n)
{
    kvf_contract_port *ports = kvf_array(n, sizeof *ports);
    for (uint32_t i = 0; ports && i < n; i++) ports[i].value = values[i];
    return ports;
}

kvf_status kvf_assign_roles(kvf_contract *c, const kvf_onnx *onnx, const char *names,
                            kvf_error *err)
{
    const kvf_graph *g = onnx->graph;
    c->inputs = make_ports(g->inputs, g->n_inputs);
    c->outputs = make_ports(g->outputs, g->n_outputs);
    if (!c->inputs || !c->outputs)
        return kvf_fail(err, KVF_ERR_NOMEM, "no memory for its inputs and outputs");
    c->n_inputs = g->n_inputs;
    c->n_outputs = g->n_outputs;
    kvf_status status = assign_by_map(c, g, names, err);
    if (status) return status;
    assign_by_name(c->inputs, c->n_inputs, g, INPUT);
    assign_by_name(c->outputs, c->n_outputs, g, OUTPUT);
    assign_by_use(c, g);
    assign_by_shape(c, g);
    return KVF_OK;
}
