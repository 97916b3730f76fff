/* contract.c - what the inputs and outputs of a graph mean together: is it a decoder, with which
 * cache, of which sizes.
 *
 * Roles come from roles.c. Here they are held against each other: every layer has its past and its
 * present, all of one shape and type; sizes that shapes do not say are read off the graph
 * (facts.c). What is not supported is refused by name, since nobody can repair what is only called
 * invalid. */
#include "facts.h"
#include "roles.h"

#include <inttypes.h>
#include <string.h>

enum { MAX_PORTS = 4096, MAX_DIM = 1 << 20, MAX_ROW_BYTES = 1 << 30 };

typedef struct reading {
    kvf_contract *c;
    const kvf_onnx *onnx;
    const kvf_graph *graph;
    kvf_error *err;
    uint32_t counts[KVF_ROLE_PRESENT_FUSED + 1]; /* ports of each role */
    char text[256];                              /* for words about a shape */
} reading;

static const char *name_of(const reading *r, const kvf_contract_port *port)
{
    return r->graph->values[port->value].name;
}

static const kvf_shape *shape_of(const reading *r, const kvf_contract_port *port)
{
    return r->graph->values[port->value].shape;
}

/* A port that is not what its role asks for. */
static kvf_status wrong_port(reading *r, const kvf_contract_port *port, const char *should)
{
    return kvf_fail(r->err, KVF_ERR_MODEL, "\"%.100s\" (%s) is %s, but %s", name_of(r, port),
                    kvf_role_name(port->role),
                    kvf_describe(shape_of(r, port), r->text, sizeof r->text), should);
}

static const kvf_contract_port *find_role(const kvf_contract_port *ports, uint32_t n, kvf_role role)
{
    for (uint32_t i = 0; i < n; i++)
        if (ports[i].role == role) return &ports[i];
    return NULL;
}

static const kvf_contract_port *input_of(const reading *r, kvf_role role)
{
    return find_role(r->c->inputs, r->c->n_inputs, role);
}

static const kvf_contract_port *output_of(const reading *r, kvf_role role)
{
    return find_role(r->c->outputs, r->c->n_outputs, role);
}

/* ---- what is there --------------------------------------------------------------------------- */

static bool contains(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Inputs of models that are something else, or that are written in a way that is not supported. */
static const struct {
    const char *part, *what;
} strangers[] = {
    {"token_type_ids", "that is an encoder (as BERT), not a decoder"},
    {"encoder_", "that is the decoder of an encoder-decoder, which is not supported"},
    {".encoder.", "that is the decoder of an encoder-decoder, which is not supported"},
    {"inputs_embeds", "that model takes embeddings instead of token ids, which is not supported"},
    {"pixel_values", "that model takes images, which is not supported"},
    {"key_value", "keys and values are fused in one tensor of rank 3 (as old gpt_bigcode exports "
                  "are), which is not supported"},
};

static kvf_status refuse_strangers(reading *r)
{
    for (uint32_t i = 0; i < r->c->n_inputs; i++) {
        const kvf_contract_port *port = &r->c->inputs[i];
        for (size_t s = 0; s < sizeof strangers / sizeof strangers[0] && !port->role; s++)
            if (contains(name_of(r, port), strangers[s].part))
                return kvf_fail(r->err, KVF_ERR_MODEL, "it has the input \"%.100s\" (%s): %s",
                                name_of(r, port),
                                kvf_describe(shape_of(r, port), r->text, sizeof r->text),
                                strangers[s].what);
    }
    return KVF_OK;
}

static kvf_status refuse_unknown(reading *r)
{
    for (uint32_t i = 0; i < r->c->n_inputs; i++) {
        const kvf_contract_port *port = &r->c->inputs[i];
        if (port->role) continue;
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its input \"%.100s\" is %s, which is no known input of a decoder; if it "
                        "is one under another name, say so with names (ROLE=%.100s)",
                        name_of(r, port), kvf_describe(shape_of(r, port), r->text, sizeof r->text),
                        name_of(r, port));
    }
    return KVF_OK;
}

/* The first half of a tree model gives K and V under names of its own, and nothing else. */
static kvf_status refuse_prefix_model(reading *r)
{
    return kvf_fail(r->err, KVF_ERR_MODEL,
                    "it only turns a prefix into K and V (prefix_ids -> %.60s): the first half of "
                    "a tree model, which cannot run by itself; open the whole model (prefix_ids, "
                    "evaluated_ids, evaluated_mask -> hidden_states)",
                    name_of(r, &r->c->outputs[0]));
}

static kvf_status count_roles(reading *r)
{
    kvf_contract *c = r->c;
    for (uint32_t i = 0; i < c->n_inputs; i++) r->counts[c->inputs[i].role]++;
    for (uint32_t i = 0; i < c->n_outputs; i++) r->counts[c->outputs[i].role]++;
    for (int role = 1; role <= KVF_ROLE_HIDDEN; role++) {
        bool layered =
            role == KVF_ROLE_PAST_KEY || role == KVF_ROLE_PAST_VALUE || role == KVF_ROLE_PAST_FUSED;
        if (!layered && r->counts[role] > 1)
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "%u of its inputs or outputs are %s, but one is needed",
                            r->counts[role], kvf_role_name((kvf_role)role));
    }
    return KVF_OK;
}

/* Tokens come in as one input of ids, or as the two of the tree contract. */
static kvf_status check_kind(reading *r)
{
    const uint32_t *n = r->counts;
    bool plain = n[KVF_ROLE_INPUT_IDS], evaluated = n[KVF_ROLE_EVALUATED_IDS];
    bool past = n[KVF_ROLE_PAST_KEY] || n[KVF_ROLE_PAST_FUSED];
    r->c->tree = evaluated || n[KVF_ROLE_EVALUATED_MASK];
    if (n[KVF_ROLE_PREFIX_IDS] && !r->c->tree && r->c->n_outputs &&
        contains(name_of(r, &r->c->outputs[0]), "key"))
        return refuse_prefix_model(r);
    if (r->c->tree) {
        if (!evaluated || !n[KVF_ROLE_EVALUATED_MASK] || plain)
            return kvf_fail(
                r->err, KVF_ERR_MODEL,
                "a tree model takes evaluated_ids and evaluated_mask, and no input_ids");
        if (past == (n[KVF_ROLE_PREFIX_IDS] > 0))
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "a tree model takes either prefix_ids or a past, and this one takes %s",
                            past ? "both" : "neither");
    } else if (!plain || n[KVF_ROLE_PREFIX_IDS]) {
        return kvf_fail(
            r->err, KVF_ERR_MODEL,
            "no decoder: none of its %u inputs is token ids (input_ids, int64 [batch, new])",
            r->c->n_inputs);
    }
    return KVF_OK;
}

/* ---- inputs that are not caches -------------------------------------------------------------- */

/* [batch, length] of integers; batch may be fixed at 1, length may not be fixed. */
static kvf_status check_ids(reading *r, kvf_role role)
{
    const kvf_contract_port *port = input_of(r, role);
    if (!port) return KVF_OK;
    const kvf_shape *s = shape_of(r, port);
    if (!s || !s->known || s->rank != 2 || (s->type != KVF_I64 && s->type != KVF_I32))
        return wrong_port(r, port, "should be int64 or int32 of rank 2, [batch, length]");
    if (s->dims[1] >= 0)
        return wrong_port(r, port,
                          "its length should be dynamic: this graph takes one length only");
    if (s->dims[0] >= 0 && s->dims[0] != 1)
        return wrong_port(r, port, "its batch should be dynamic, or 1");
    return KVF_OK;
}

static kvf_status check_type(reading *r, kvf_role role, kvf_type a, kvf_type b, uint32_t rank,
                             const char *should)
{
    const kvf_contract_port *port = input_of(r, role);
    if (!port) return KVF_OK;
    const kvf_shape *s = shape_of(r, port);
    if (s && s->known && s->rank == rank && (s->type == a || s->type == b)) return KVF_OK;
    return wrong_port(r, port, should);
}

static kvf_status check_inputs(reading *r)
{
    static const kvf_role ids[] = {KVF_ROLE_INPUT_IDS, KVF_ROLE_POSITION_IDS,
                                   KVF_ROLE_ATTENTION_MASK, KVF_ROLE_PREFIX_IDS,
                                   KVF_ROLE_EVALUATED_IDS};
    static const char *const lengths = "should be int64 or int32 [batch]";
    kvf_status status = KVF_OK;
    for (size_t i = 0; i < sizeof ids / sizeof ids[0] && !status; i++)
        status = check_ids(r, ids[i]);
    if (!status)
        status = check_type(r, KVF_ROLE_EVALUATED_MASK, KVF_F32, KVF_F32, 3,
                            "should be float32 [batch, evaluated, evaluated]");
    if (!status)
        status =
            check_type(r, KVF_ROLE_USE_CACHE_BRANCH, KVF_BOOL, KVF_BOOL, 1, "should be bool [1]");
    if (!status) status = check_type(r, KVF_ROLE_WRITE_INDICES, KVF_I64, KVF_I32, 1, lengths);
    if (!status) status = check_type(r, KVF_ROLE_SEQUENCE_LENGTHS, KVF_I64, KVF_I32, 1, lengths);
    if (status) return status;
    const kvf_contract_port *tokens =
        input_of(r, r->c->tree ? KVF_ROLE_EVALUATED_IDS : KVF_ROLE_INPUT_IDS);
    r->c->ids_type = shape_of(r, tokens)->type;
    return KVF_OK;
}

/* ---- caches ---------------------------------------------------------------------------------- */

/* Every layer from 0 on exactly once. */
static kvf_status check_layers(reading *r, const kvf_contract_port *ports, uint32_t n,
                               kvf_role role, uint32_t layers)
{
    bool seen[MAX_PORTS] = {false};
    for (uint32_t i = 0; i < n; i++) {
        if (ports[i].role != role) continue;
        if (ports[i].layer >= layers || seen[ports[i].layer])
            return kvf_fail(r->err, KVF_ERR_MODEL, "\"%.100s\" is %s of layer %u, %s",
                            name_of(r, &ports[i]), kvf_role_name(role), ports[i].layer,
                            ports[i].layer >= layers ? "but layers before it are missing"
                                                     : "which another one is too");
        seen[ports[i].layer] = true;
    }
    for (uint32_t i = 0; i < layers; i++)
        if (!seen[i])
            return kvf_fail(r->err, KVF_ERR_MODEL, "it has %u layers, but layer %u has no %s",
                            layers, i, kvf_role_name(role));
    return KVF_OK;
}

/* Pasts without presents could not go on; only the tree contract gives such a half. */
static kvf_status check_pairs(reading *r)
{
    kvf_contract *c = r->c;
    const uint32_t *n = r->counts;
    bool fused = n[KVF_ROLE_PAST_FUSED] > 0;
    uint32_t presents =
        n[KVF_ROLE_PRESENT_KEY] + n[KVF_ROLE_PRESENT_VALUE] + n[KVF_ROLE_PRESENT_FUSED];
    if (fused && n[KVF_ROLE_PAST_KEY] + n[KVF_ROLE_PAST_VALUE])
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "some of its pasts hold keys and values in one, others apart");
    c->layers = fused ? n[KVF_ROLE_PAST_FUSED] : n[KVF_ROLE_PAST_KEY];
    if (n[KVF_ROLE_PAST_VALUE] > c->layers) c->layers = n[KVF_ROLE_PAST_VALUE];
    if (!c->layers) return KVF_OK;
    if (!presents && !c->tree)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "it takes a past (\"%.100s\"), but gives no present (such as %s_0): what "
                        "it computes could not be kept",
                        name_of(r, input_of(r, fused ? KVF_ROLE_PAST_FUSED : KVF_ROLE_PAST_KEY)),
                        fused ? "present" : "present_key");
    const kvf_role apart[] = {KVF_ROLE_PAST_KEY, KVF_ROLE_PAST_VALUE, KVF_ROLE_PRESENT_KEY,
                              KVF_ROLE_PRESENT_VALUE};
    const kvf_role in_one[] = {KVF_ROLE_PAST_FUSED, KVF_ROLE_PRESENT_FUSED};
    const kvf_role *needed = fused ? in_one : apart;
    kvf_status status = KVF_OK;
    for (int i = 0; i < (fused ? 2 : 4) && !status; i++) {
        bool past = i < (fused ? 1 : 2);
        if (past || presents)
            status = check_layers(r, past ? c->inputs : c->outputs,
                                  past ? c->n_inputs : c->n_outputs, needed[i], c->layers);
    }
    if (!status && presents) c->cache = KVF_CACHE_CONCAT;
    return status;
}

/* The operator that takes each value first, or NULL. Shape only measures it. */
static const kvf_op **find_takers(const kvf_graph *g)
{
    const kvf_op **takers = kvf_array(g->n_values, sizeof *takers);
    for (uint32_t i = 0; takers && i < g->n_ops; i++)
        for (uint32_t k = 0; k < g->ops[i].n_inputs; k++) {
            uint32_t value = g->ops[i].inputs[k];
            if (value == KVF_NO_VALUE || kvf_op_is(&g->ops[i], "", "Shape")) continue;
            if (!takers[value]) takers[value] = &g->ops[i];
        }
    return takers;
}

static kvf_cache_kind kind_of(const kvf_op *taker)
{
    if (taker && kvf_op_is(taker, "com.microsoft", "GroupQueryAttention")) return KVF_CACHE_SHARED;
    if (taker && kvf_op_is(taker, "", "TensorScatter")) return KVF_CACHE_SCATTER;
    return KVF_CACHE_CONCAT;
}

/* One kind for all layers; *op is what takes the first of them, *past. */
static kvf_status find_cache_kind(reading *r, const kvf_contract_port **past, const kvf_op **op)
{
    kvf_contract *c = r->c;
    const kvf_op **takers = find_takers(r->graph);
    if (!takers) return kvf_fail(r->err, KVF_ERR_NOMEM, "no memory to look at its operators");
    kvf_status status = KVF_OK;
    for (uint32_t i = 0; i < c->n_inputs && !status; i++) {
        const kvf_contract_port *port = &c->inputs[i];
        if (port->role != KVF_ROLE_PAST_KEY) continue;
        kvf_cache_kind kind = kind_of(takers[port->value]);
        if (*past && kind != c->cache)
            status = kvf_fail(r->err, KVF_ERR_MODEL,
                              "\"%.100s\" and \"%.100s\" go into different kinds of operators, "
                              "which is not supported",
                              name_of(r, *past), name_of(r, port));
        if (!*past) {
            *past = port;
            *op = takers[port->value];
            c->cache = kind;
        }
    }
    kvf_free(takers);
    return status;
}

/* How the graph takes its past, and which axis of it is the length. */
static kvf_status find_layout(reading *r)
{
    kvf_contract *c = r->c;
    const kvf_contract_port *past = NULL;
    const kvf_op *op = NULL;
    c->layout = r->counts[KVF_ROLE_PAST_FUSED] ? KVF_LAYOUT_FUSED : KVF_LAYOUT_HEADS;
    kvf_status status = find_cache_kind(r, &past, &op);
    if (status || !past) return status;
    const kvf_shape *s = shape_of(r, past);
    if (!s || !s->known || s->rank != 4) return KVF_OK; /* refused by check_cache_shape */
    int64_t axis = op ? kvf_op_int(op, "axis", -2) : -2;
    if (c->cache == KVF_CACHE_SCATTER
            ? axis == 1 || axis == -3
            : c->cache == KVF_CACHE_CONCAT && s->dims[1] < 0 && s->dims[2] > 0)
        c->layout = KVF_LAYOUT_LENGTH;
    return KVF_OK;
}

static const struct axes { /* of one past or present */
    uint32_t rank, batch, heads, length, head_dim;
    const char *text;
} axes_of[] = {
    [KVF_LAYOUT_HEADS] = {4, 0, 1, 2, 3, "should be [batch, kv_heads, length, head_dim]"},
    [KVF_LAYOUT_LENGTH] = {4, 0, 2, 1, 3, "should be [batch, length, kv_heads, head_dim]"},
    [KVF_LAYOUT_FUSED] = {5, 1, 2, 3, 4, "should be [2, batch, kv_heads, length, head_dim]"},
};

/* A fixed dimension sets what is known so far, or agrees with it. */
static bool agree(uint32_t *known, int64_t dim)
{
    if (dim < 0) return true;
    if (!dim || dim > MAX_DIM || (*known && *known != (uint64_t)dim)) return false;
    *known = (uint32_t)dim;
    return true;
}

static kvf_status check_cache_shape(reading *r, const kvf_contract_port *port, bool past)
{
    kvf_contract *c = r->c;
    const kvf_shape *s = shape_of(r, port);
    const struct axes *a = &axes_of[c->layout];
    if ((!s || !s->known) && !past) return KVF_OK; /* outputs often lose their shape */
    if (!s || !s->known || s->rank != a->rank) return wrong_port(r, port, a->text);
    if (c->layout == KVF_LAYOUT_FUSED && s->dims[0] != 2 && s->dims[0] >= 0)
        return wrong_port(r, port, a->text);
    if (s->type != KVF_F32 && s->type != KVF_F16 && s->type != KVF_BF16)
        return wrong_port(r, port, "caches are float32, float16 or bfloat16");
    if (c->kv_type && c->kv_type != s->type)
        return wrong_port(r, port, "the caches before it are of another type");
    c->kv_type = s->type;
    if (past && s->dims[a->batch] >= 0 && s->dims[a->batch] != 1)
        return wrong_port(r, port, "its batch should be dynamic, or 1");
    if (past && s->dims[a->length] >= 0) {
        if (c->cache != KVF_CACHE_SCATTER)
            return wrong_port(r, port, "its length should be dynamic");
        if (!agree(&c->context, s->dims[a->length]))
            return wrong_port(r, port, "the caches before it have another length");
    }
    if (!agree(&c->kv_heads, s->dims[a->heads]) || !agree(&c->head_dim, s->dims[a->head_dim]))
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "\"%.100s\" is %s, but %s with kv_heads and head_dim from 1 to %d, the "
                        "same for keys and values of all layers",
                        name_of(r, port), kvf_describe(s, r->text, sizeof r->text), a->text,
                        MAX_DIM);
    return KVF_OK;
}

static bool is_cache(kvf_role role)
{
    return role == KVF_ROLE_PAST_KEY || role == KVF_ROLE_PAST_VALUE ||
           role == KVF_ROLE_PAST_FUSED || role == KVF_ROLE_PRESENT_KEY ||
           role == KVF_ROLE_PRESENT_VALUE || role == KVF_ROLE_PRESENT_FUSED;
}

static kvf_status check_caches(reading *r)
{
    kvf_contract *c = r->c;
    kvf_status status = check_pairs(r);
    if (status || !c->layers) return status;
    bool gives = c->cache != KVF_CACHE_NONE;
    status = find_layout(r);
    if (!gives) c->cache = KVF_CACHE_NONE;
    for (uint32_t i = 0; i < c->n_inputs && !status; i++)
        if (is_cache(c->inputs[i].role)) status = check_cache_shape(r, &c->inputs[i], true);
    for (uint32_t i = 0; i < c->n_outputs && !status; i++)
        if (is_cache(c->outputs[i].role)) status = check_cache_shape(r, &c->outputs[i], false);
    return status;
}

/* ---- outputs --------------------------------------------------------------------------------- */

static const struct {
    kvf_role role;
    kvf_head head;
} outputs[] = {{KVF_ROLE_LOGITS, KVF_LOGITS},
               {KVF_ROLE_POLICY, KVF_POLICY},
               {KVF_ROLE_VALUE, KVF_VALUE},
               {KVF_ROLE_HIDDEN, KVF_HIDDEN}};

static kvf_status check_output(reading *r, kvf_role role, uint64_t otherwise, uint32_t *width)
{
    const kvf_contract_port *port = output_of(r, role);
    if (!port) return KVF_OK;
    const kvf_shape *s = shape_of(r, port);
    bool flat = role == KVF_ROLE_VALUE && s && s->known && s->rank == 2; /* one number per row */
    if (s && s->known && s->rank != 3 && !flat)
        return wrong_port(r, port, "should be [batch, new, width]: a row for every token");
    if (s && s->type != KVF_F32 && s->type != KVF_F16 && s->type != KVF_BF16)
        return wrong_port(r, port, "should be float32, float16 or bfloat16");
    uint64_t w = flat ? 1 : kvf_width_of(r->graph, port->value);
    if (!w) w = otherwise;
    if (!w || w > INT32_MAX)
        return wrong_port(r, port, "its width is not to be found in the graph, or absurd");
    *width = (uint32_t)w;
    if (role == KVF_ROLE_LOGITS || !r->c->logits_type) r->c->logits_type = s ? s->type : KVF_F32;
    return KVF_OK;
}

static kvf_status check_outputs(reading *r, const kvf_facts *facts)
{
    kvf_contract *c = r->c;
    kvf_status status = KVF_OK;
    uint64_t otherwise[KVF_HEADS] = {[KVF_LOGITS] = facts->vocab, [KVF_HIDDEN] = facts->hidden};
    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0] && !status; i++)
        status = check_output(r, outputs[i].role, otherwise[outputs[i].head],
                              &c->width[outputs[i].head]);
    if (status) return status;
    if (!c->width[KVF_LOGITS] && !c->width[KVF_HIDDEN])
        return kvf_fail(
            r->err, KVF_ERR_MODEL,
            "it has no output that is logits (float32 [batch, new, vocab]) or hidden_states");
    uint64_t hidden = c->width[KVF_HIDDEN] ? c->width[KVF_HIDDEN] : facts->hidden;
    uint64_t vocab = c->width[KVF_LOGITS] ? c->width[KVF_LOGITS] : facts->vocab;
    if (!vocab || vocab > INT32_MAX || hidden > MAX_DIM)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its vocabulary (%" PRIu64 ") or hidden width (%" PRIu64
                        ") is not to be found in the graph, or absurd",
                        vocab, hidden);
    c->hidden = (uint32_t)hidden;
    c->vocab = (uint32_t)vocab;
    return KVF_OK;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

/* The longest path: what the file says of it, and no more than its shortest table has rows. */
static kvf_status find_context(reading *r, const kvf_facts *facts)
{
    const char *said = kvf_onnx_property(r->onnx, "kvfork.context");
    uint64_t limits[3] = {facts->context, r->c->context, 0}, context = 0;
    for (const char *at = said; at && *at; at++) {
        uint32_t digit = (uint32_t)*at - '0';
        if (digit > 9 || (limits[2] = limits[2] * 10 + digit) > INT32_MAX)
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "its metadata says kvfork.context is \"%.40s\", but it should be a "
                            "number of tokens",
                            said);
    }
    for (int i = 0; i < 3; i++)
        if (limits[i] && (!context || limits[i] < context)) context = limits[i];
    r->c->context = context < INT32_MAX ? (uint32_t)context : 0;
    return KVF_OK;
}

static kvf_status find_heads(reading *r, const kvf_facts *facts)
{
    kvf_contract *c = r->c;
    if (facts->heads <= MAX_DIM) c->heads = (uint32_t)facts->heads;
    if (!c->layers) return KVF_OK;
    if (!c->kv_heads && facts->kv_heads <= MAX_DIM) c->kv_heads = (uint32_t)facts->kv_heads;
    if (!c->head_dim && facts->head_dim <= MAX_DIM) c->head_dim = (uint32_t)facts->head_dim;
    const kvf_contract_port *past =
        input_of(r, c->layout == KVF_LAYOUT_FUSED ? KVF_ROLE_PAST_FUSED : KVF_ROLE_PAST_KEY);
    if (!c->kv_heads || !c->head_dim)
        return wrong_port(r, past,
                          "how many heads of which size that is, is not to be found in the graph");
    if ((uint64_t)c->kv_heads * c->head_dim > MAX_ROW_BYTES / 8)
        return wrong_port(r, past, "such a row is absurd");
    if (c->heads % c->kv_heads)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "it has %u heads, but %u of keys and values, which is not a divisor",
                        c->heads, c->kv_heads);
    return KVF_OK;
}

/* ---- together -------------------------------------------------------------------------------- */

static kvf_status read_contract(reading *r)
{
    kvf_status status = refuse_strangers(r);
    if (!status) status = count_roles(r);
    if (!status) status = check_kind(r);
    if (!status) status = refuse_unknown(r);
    if (!status) status = check_inputs(r);
    if (!status) status = check_caches(r);
    if (status) return status;
    static const kvf_role tokens[] = {KVF_ROLE_INPUT_IDS, KVF_ROLE_PREFIX_IDS,
                                      KVF_ROLE_EVALUATED_IDS};
    uint32_t ids[3], n_ids = 0;
    for (int i = 0; i < 3; i++)
        if (r->counts[tokens[i]]) ids[n_ids++] = input_of(r, tokens[i])->value;
    kvf_facts facts = kvf_facts_of(r->graph, ids, n_ids);
    status = check_outputs(r, &facts);
    if (!status) status = find_context(r, &facts);
    if (!status) status = find_heads(r, &facts);
    return status;
}

kvf_status kvf_contract_read(kvf_contract *contract, const kvf_onnx *onnx, const char *names,
                             kvf_error *err)
{
    *contract = (kvf_contract){0};
    reading r = {.c = contract, .onnx = onnx, .graph = onnx->graph, .err = err};
    kvf_status status;
    if (onnx->graph->n_inputs > MAX_PORTS || onnx->graph->n_outputs > MAX_PORTS)
        status = kvf_fail(err, KVF_ERR_MODEL, "it has more than %d inputs or outputs", MAX_PORTS);
    else
        status = kvf_assign_roles(contract, onnx, names, err);
    if (!status) status = read_contract(&r);
    if (!status) return KVF_OK;
    kvf_contract_free(contract);
    return kvf_prefix(err, status, "%s: ", onnx->path);
}

void kvf_contract_free(kvf_contract *contract)
{
    kvf_free(contract->inputs);
    kvf_free(contract->outputs);
    *contract = (kvf_contract){0};
}
