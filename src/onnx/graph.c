/* graph.c - graphs: values and their names, operators in order, attributes.
 *
 * A graph is read in two rounds. The first collects every name in the order in which the second
 * will meet it, sorts them, and makes each distinct name a value: so names become numbers without
 * a table that a hostile file could fill with collisions. The second reads inputs, initializers and
 * operators, and holds each use of a value against what was written before it. Graphs inside
 * attributes are read on the way, to a bounded depth. */
#include "read.h"

#include <stdlib.h>
#include <string.h>

/* Where the parts of a GraphProto or a FunctionProto are. */
typedef struct body_kind {
    uint32_t node, initializer, input, output, value_info;
    bool bare; /* inputs and outputs are names, not ValueInfoProtos */
} body_kind;
static const body_kind graph_body = {KVF_BYTES(1),  KVF_BYTES(5),  KVF_BYTES(11),
                                     KVF_BYTES(12), KVF_BYTES(13), false};
static const body_kind function_body = {KVF_BYTES(7),  0,   KVF_BYTES(4), KVF_BYTES(5),
                                        KVF_BYTES(12), true};

typedef struct occurrence { /* of a name */
    const uint8_t *name;
    uint32_t size, order;
} occurrence;

typedef struct scope { /* a graph while it is read */
    const struct scope *outer;
    const body_kind *kind;
    kvf_span message;
    uint32_t depth;
    uint32_t n_nodes, n_initializers, n_inputs, n_outputs;
    occurrence *names; /* [n_names] NULL while they are counted */
    uint32_t *ids;     /* [n_names] the value of each occurrence, in order */
    uint32_t n_names, next;
    kvf_value *values;
    uint32_t n_values;
} scope;

enum { UNWRITTEN = -2, GIVEN = -1, MAX_NAME = 65535, MAX_ATTRS = 128 };

static kvf_status read_body(kvf_reader *r, const body_kind *kind, kvf_span message,
                            const scope *outer, kvf_graph *out);

/* ---- names ----------------------------------------------------------------------------------- */

static kvf_status add_name(kvf_reader *r, scope *s, kvf_span name)
{
    if (s->names)
        s->names[s->n_names] = (occurrence){name.data, (uint32_t)name.size, s->n_names};
    else if (name.size > MAX_NAME)
        return kvf_fail(r->err, KVF_ERR_MODEL, "a name is longer than %d bytes", MAX_NAME);
    else if (s->n_names == INT32_MAX)
        return kvf_fail(r->err, KVF_ERR_MODEL, "it has too many names");
    s->n_names++;
    return s->names ? KVF_OK : kvf_check_name(r, name);
}

/* Every field of one kind, with the name that is in its field `key` (0: it is the name). */
static kvf_status add_names(kvf_reader *r, scope *s, uint32_t kind, uint32_t key, const char *what,
                            uint32_t *count)
{
    kvf_span child;
    *count = 0;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, kind, &child);) {
        kvf_span name = {0};
        kvf_wire inner = kvf_wire_of(child);
        if (!key) name = child;
        for (kvf_field f; key && kvf_wire_next(&inner, &f);)
            if (f.key == key) name = f.bytes;
        if (inner.wrong) return kvf_broken(r, &inner, what);
        if (!name.size) return kvf_fail(r->err, KVF_ERR_MODEL, "%s has no name", what);
        kvf_status status = add_name(r, s, name);
        if (status) return status;
        ++*count;
    }
    return KVF_OK;
}

static kvf_status add_names_of_nodes(kvf_reader *r, scope *s)
{
    kvf_span node;
    s->n_nodes = 0;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, s->kind->node, &node);) {
        kvf_wire inner = kvf_wire_of(node);
        for (kvf_field f; kvf_wire_next(&inner, &f);) {
            if (f.key != KVF_BYTES(1) && f.key != KVF_BYTES(2)) continue;
            kvf_status status = f.bytes.size ? add_name(r, s, f.bytes) : KVF_OK;
            if (status) return status;
        }
        if (inner.wrong) return kvf_broken(r, &inner, "a node");
        if (s->n_nodes++ == INT32_MAX - 1)
            return kvf_fail(r->err, KVF_ERR_MODEL, "it has too many nodes");
    }
    return KVF_OK;
}

/* All names, in the order in which the second round takes them. */
static kvf_status walk_names(kvf_reader *r, scope *s)
{
    const body_kind *k = s->kind;
    s->n_names = 0;
    kvf_status status =
        add_names(r, s, k->input, k->bare ? 0 : KVF_BYTES(1), "an input", &s->n_inputs);
    if (!status && k->initializer)
        status =
            add_names(r, s, k->initializer, KVF_BYTES(8), "an initializer", &s->n_initializers);
    if (!status) status = add_names_of_nodes(r, s);
    if (!status)
        status = add_names(r, s, k->output, k->bare ? 0 : KVF_BYTES(1), "an output", &s->n_outputs);
    return status;
}

static int compare(const void *a, const void *b)
{
    const occurrence *x = a, *y = b;
    int order = kvf_compare_names(x->name, x->size, y->name, y->size);
    return order ? order : x->order < y->order ? -1 : x->order > y->order;
}

static bool same_name(const occurrence *a, const occurrence *b)
{
    return !kvf_compare_names(a->name, a->size, b->name, b->size);
}

static kvf_status number_names(kvf_reader *r, scope *s)
{
    kvf_status status = walk_names(r, s); /* counts and checks */
    if (status) return status;
    s->names = kvf_arena_take(&r->scratch, s->n_names, sizeof *s->names);
    s->ids = kvf_arena_take(&r->scratch, s->n_names, sizeof *s->ids);
    if (!s->names || !s->ids) return kvf_no_room(r);
    walk_names(r, s); /* collects what was checked */
    qsort(s->names, s->n_names, sizeof *s->names, compare);
    for (uint32_t i = 0; i < s->n_names; i++) {
        s->n_values += !i || !same_name(&s->names[i - 1], &s->names[i]);
        s->ids[s->names[i].order] = s->n_values - 1;
    }
    s->values = kvf_arena_take(r->arena, s->n_values, sizeof *s->values);
    if (!s->values) return kvf_no_room(r);
    for (uint32_t i = 0, v = 0; i < s->n_names; i++) {
        if (i && same_name(&s->names[i - 1], &s->names[i])) continue;
        const kvf_span name = {s->names[i].name, s->names[i].size};
        s->values[v] = (kvf_value){kvf_arena_string(r->arena, name), UNWRITTEN, NULL, NULL};
        if (!s->values[v++].name) return kvf_no_room(r);
    }
    return KVF_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* A value is used: it was written before, here or in a graph around this one. */
static kvf_status use(const kvf_reader *r, const scope *s, uint32_t id)
{
    kvf_value *v = &s->values[id];
    if (v->producer != UNWRITTEN) return KVF_OK;
    const kvf_span name = {(const uint8_t *)v->name, strlen(v->name)};
    for (const scope *o = s->outer; o; o = o->outer) {
        uint32_t there = kvf_find_value(o->values, o->n_values, name);
        if (there == KVF_NO_VALUE || o->values[there].producer == UNWRITTEN) continue;
        v->producer = GIVEN;
        return KVF_OK;
    }
    return kvf_fail(r->err, KVF_ERR_MODEL,
                    "\"%.200s\" is used before any input, initializer or operator gives it",
                    v->name);
}

static kvf_status write(const kvf_reader *r, const scope *s, uint32_t id, int32_t producer)
{
    if (s->values[id].producer != UNWRITTEN)
        return kvf_fail(r->err, KVF_ERR_MODEL, "\"%.200s\" is given twice", s->values[id].name);
    s->values[id].producer = producer;
    return KVF_OK;
}

static kvf_status read_ports(kvf_reader *r, scope *s, uint32_t kind, bool input, uint32_t *ids)
{
    kvf_span child;
    uint32_t n = 0;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, kind, &child);) {
        uint32_t id = ids[n++] = s->ids[s->next++];
        kvf_status status = input ? write(r, s, id, GIVEN) : use(r, s, id);
        if (!status && !s->kind->bare) status = kvf_read_shape(r, child, &s->values[id].shape);
        if (status)
            return kvf_prefix(r->err, status, "%s \"%.200s\": ", input ? "input" : "output",
                              s->values[id].name);
    }
    return KVF_OK;
}

static kvf_status read_initializers(kvf_reader *r, scope *s, kvf_tensor *tensors)
{
    kvf_span child;
    uint32_t n = 0;
    if (!s->kind->initializer) return KVF_OK;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, s->kind->initializer, &child);) {
        kvf_tensor *t = &tensors[n++];
        kvf_value *v = &s->values[s->ids[s->next++]];
        if (v->initializer)
            return kvf_fail(r->err, KVF_ERR_MODEL, "initializer \"%.200s\" is there twice",
                            v->name);
        kvf_status status = kvf_read_tensor(r, child, t);
        if (status) return status;
        t->name = v->name;
        v->initializer = t;
        v->producer = GIVEN;
    }
    return KVF_OK;
}

/* Old files list initializers as inputs too; nobody needs to give those. */
static uint32_t drop_initializers(const scope *s, uint32_t *inputs)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n_inputs; i++)
        if (!s->values[inputs[i]].initializer) inputs[n++] = inputs[i];
    return n;
}

static kvf_status read_value_infos(kvf_reader *r, const scope *s)
{
    kvf_span child;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, s->kind->value_info, &child);) {
        kvf_span name = {0};
        kvf_wire inner = kvf_wire_of(child);
        for (kvf_field f; kvf_wire_next(&inner, &f);)
            if (f.key == KVF_BYTES(1)) name = f.bytes;
        if (inner.wrong) return kvf_broken(r, &inner, "a value's type");
        uint32_t id = kvf_find_value(s->values, s->n_values, name);
        if (id == KVF_NO_VALUE || s->values[id].shape) continue;
        kvf_status status = kvf_read_shape(r, child, &s->values[id].shape);
        if (status) return kvf_prefix(r->err, status, "value \"%.200s\": ", s->values[id].name);
    }
    return KVF_OK;
}

/* ---- attributes ------------------------------------------------------------------------------ */

typedef struct attr_parts {
    kvf_span name, s, tensor, graph;
    bool refers; /* to an attribute of the function around it: it has no value of its own */
    uint32_t strings, guess; /* guess: the type, in files that are too old to say it */
} attr_parts;

static kvf_status walk_attr(const kvf_reader *r, kvf_span message, kvf_attr *a, attr_parts *p)
{
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);) switch (f.key) {
        case KVF_BYTES(1): p->name = f.bytes; break;
        case KVF_FIXED32(2):
            memcpy(&a->f, &(uint32_t){(uint32_t)f.number}, sizeof a->f);
            p->guess = 1;
            break;
        case KVF_VARINT(3):
            a->i = (int64_t)f.number;
            p->guess = 2;
            break;
        case KVF_BYTES(4):
            p->s = f.bytes;
            p->guess = 3;
            break;
        case KVF_BYTES(5):
            p->tensor = f.bytes;
            p->guess = 4;
            break;
        case KVF_BYTES(6):
            p->graph = f.bytes;
            p->guess = 5;
            break;
        case KVF_FIXED32(7):
        case KVF_BYTES(7): p->guess = 6; break;
        case KVF_VARINT(8):
        case KVF_BYTES(8): p->guess = 7; break;
        case KVF_BYTES(9):
            p->strings++;
            p->guess = 8;
            break;
        case KVF_VARINT(20): a->type = f.number <= 14 ? (int)f.number : -1; break;
        case KVF_BYTES(21): p->refers = f.bytes.size > 0; break;
        default: break;
        }
    if (w.wrong) return kvf_broken(r, &w, "an attribute");
    if (!a->type) a->type = (int)p->guess;
    return KVF_OK;
}

/* floats (size 4) or ints (size 0, varints): counted, then copied where they are aligned. */
static kvf_status read_numbers(kvf_reader *r, kvf_span message, uint32_t number, kvf_attr *a)
{
    uint64_t v;
    uint32_t size = number == 7 ? 4 : 0;
    kvf_scalars numbers = kvf_scalars_of(message, number, size);
    while (kvf_scalars_next(&numbers, &v)) a->n++;
    if (numbers.packed.wrong) return kvf_broken(r, &numbers.packed, "numbers");
    float *floats = NULL;
    int64_t *ints = NULL;
    if (size)
        a->floats = floats = kvf_arena_take(r->arena, a->n, sizeof *floats);
    else
        a->ints = ints = kvf_arena_take(r->arena, a->n, sizeof *ints);
    if (!floats && !ints) return kvf_no_room(r);
    numbers = kvf_scalars_of(message, number, size);
    for (uint64_t i = 0; kvf_scalars_next(&numbers, &v); i++) {
        if (ints) ints[i] = (int64_t)v;
        if (floats) memcpy(&floats[i], &(uint32_t){(uint32_t)v}, sizeof *floats);
    }
    return KVF_OK;
}

static kvf_status read_strings(kvf_reader *r, kvf_span message, uint32_t n, kvf_attr *a)
{
    const char **strings = kvf_arena_take(r->arena, n, sizeof *strings);
    if (!strings) return kvf_no_room(r);
    kvf_span s;
    for (kvf_wire w = kvf_wire_of(message); kvf_next_of(&w, KVF_BYTES(9), &s);)
        if (!(strings[a->n++] = kvf_arena_string(r->arena, s))) return kvf_no_room(r);
    a->strings = strings;
    return KVF_OK;
}

static kvf_status read_attr_tensor(kvf_reader *r, const attr_parts *p, kvf_attr *a)
{
    if (!p->tensor.data) return kvf_fail(r->err, KVF_ERR_MODEL, "it has no tensor");
    kvf_tensor *t = kvf_arena_take(r->arena, 1, sizeof *t);
    a->tensor = t;
    return t ? kvf_read_tensor(r, p->tensor, t) : kvf_no_room(r);
}

static kvf_status read_attr_graph(kvf_reader *r, const scope *s, const attr_parts *p, kvf_attr *a)
{
    if (!p->graph.data) return kvf_fail(r->err, KVF_ERR_MODEL, "it has no graph");
    kvf_graph *g = kvf_arena_take(r->arena, 1, sizeof *g);
    a->graph = g;
    return g ? read_body(r, &graph_body, p->graph, s, g) : kvf_no_room(r);
}

static kvf_status read_attr_value(kvf_reader *r, const scope *s, kvf_span message,
                                  const attr_parts *p, kvf_attr *a)
{
    if (p->refers) return KVF_OK;
    switch (a->type) {
    case 3:
        a->s_length = p->s.size;
        a->s = kvf_arena_string(r->arena, p->s);
        return a->s ? KVF_OK : kvf_no_room(r);
    case 4: return read_attr_tensor(r, p, a);
    case 5: return read_attr_graph(r, s, p, a);
    case 6: return read_numbers(r, message, 7, a);
    case 7: return read_numbers(r, message, 8, a);
    case 8: return read_strings(r, message, p->strings, a);
    case 0:
    case -1: return kvf_fail(r->err, KVF_ERR_MODEL, "it has no type that is known");
    default:
        return KVF_OK; /* f and i are there already; lists of tensors and the like: no decoder */
    }
}

static kvf_status read_attr(kvf_reader *r, const scope *s, kvf_span message, kvf_attr *a)
{
    attr_parts p = {0};
    kvf_status status = walk_attr(r, message, a, &p);
    if (!status) status = kvf_check_name(r, p.name);
    if (status) return status;
    if (!p.name.size) return kvf_fail(r->err, KVF_ERR_MODEL, "an attribute has no name");
    a->name = kvf_arena_string(r->arena, p.name);
    if (!a->name) return kvf_no_room(r);
    status = read_attr_value(r, s, message, &p, a);
    if (status && s->depth < 2) kvf_prefix(r->err, status, "attribute %.100s: ", a->name);
    return status;
}

/* ---- operators ------------------------------------------------------------------------------- */

typedef struct op_parts {
    kvf_span type, domain, name, overload;
    uint32_t n_inputs, n_outputs, n_attrs;
} op_parts;

static op_parts walk_op(kvf_span message)
{
    op_parts p = {0};
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);) switch (f.key) {
        case KVF_BYTES(1): p.n_inputs++; break;
        case KVF_BYTES(2): p.n_outputs++; break;
        case KVF_BYTES(3): p.name = f.bytes; break;
        case KVF_BYTES(4): p.type = f.bytes; break;
        case KVF_BYTES(5): p.n_attrs++; break;
        case KVF_BYTES(7): p.domain = kvf_short_domain(f.bytes); break;
        case KVF_BYTES(8): p.overload = f.bytes; break;
        default: break;
        }
    return p;
}

static kvf_status name_op(kvf_reader *r, const op_parts *p, kvf_op *op)
{
    kvf_status status = kvf_check_name(r, p->type);
    if (!status) status = kvf_check_name(r, p->domain);
    if (!status) status = kvf_check_name(r, p->name);
    if (status) return status;
    op->type = kvf_arena_string(r->arena, p->type);
    op->domain = p->domain.size ? kvf_arena_string(r->arena, p->domain) : "";
    op->name = p->name.size ? kvf_arena_string(r->arena, p->name) : "";
    return op->type && op->domain && op->name ? KVF_OK : kvf_no_room(r);
}

/* What the operator is: a call of a function, or one of an operator set that is imported. The body
 * of a function has imports of its own. */
static kvf_status check_domain(kvf_reader *r, const op_parts *p, const kvf_op *op)
{
    uint32_t callee;
    if (!p->type.size) return kvf_fail(r->err, KVF_ERR_MODEL, "it has no operator type");
    if (kvf_is_function(r, p->domain, p->type, p->overload, &callee))
        return kvf_note_call(r, callee);
    if (r->caller < r->n_functions || kvf_onnx_opset(&r->out->onnx, op->domain)) return KVF_OK;
    return kvf_fail(r->err, KVF_ERR_MODEL,
                    "its domain \"%.100s\" is not among the operator sets that the file imports",
                    p->domain.size ? op->domain : "ai.onnx");
}

static void take_ids(scope *s, kvf_span message, uint32_t *inputs, uint32_t *outputs)
{
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);) {
        uint32_t **next = f.key == KVF_BYTES(1) ? &inputs : f.key == KVF_BYTES(2) ? &outputs : NULL;
        if (next) *(*next)++ = f.bytes.size ? s->ids[s->next++] : KVF_NO_VALUE;
    }
}

static kvf_status read_attrs(kvf_reader *r, const scope *s, kvf_span message, uint32_t n,
                             kvf_op *op)
{
    if (n > MAX_ATTRS)
        return kvf_fail(r->err, KVF_ERR_MODEL, "it has more than %d attributes", MAX_ATTRS);
    kvf_attr *attrs = kvf_arena_take(r->arena, n, sizeof *attrs);
    if (!attrs) return kvf_no_room(r);
    op->attrs = attrs;
    kvf_span child;
    for (kvf_wire w = kvf_wire_of(message); kvf_next_of(&w, KVF_BYTES(5), &child);) {
        kvf_attr *a = &attrs[op->n_attrs];
        kvf_status status = read_attr(r, s, child, a);
        if (status) return status;
        if (kvf_op_attr(op, a->name))
            return kvf_fail(r->err, KVF_ERR_MODEL, "attribute %.100s is there twice", a->name);
        op->n_attrs++;
    }
    return KVF_OK;
}

/* Inputs are used and graphs inside read before the outputs are there: nothing can feed itself. */
static kvf_status read_op(kvf_reader *r, scope *s, kvf_span message, uint32_t index, kvf_op *op)
{
    const op_parts p = walk_op(message);
    uint32_t *inputs = kvf_arena_take(r->arena, (uint64_t)p.n_inputs + p.n_outputs, sizeof *inputs);
    if (!inputs) return kvf_no_room(r);
    uint32_t *outputs = inputs + p.n_inputs, written = 0;
    take_ids(s, message, inputs, outputs);
    *op = (kvf_op){.type = "",
                   .domain = "",
                   .name = "",
                   .inputs = inputs,
                   .outputs = outputs,
                   .n_inputs = p.n_inputs,
                   .n_outputs = p.n_outputs};
    kvf_status status = name_op(r, &p, op);
    if (!status) status = check_domain(r, &p, op);
    for (uint32_t i = 0; i < p.n_inputs && !status; i++)
        if (inputs[i] != KVF_NO_VALUE) status = use(r, s, inputs[i]);
    if (!status) status = read_attrs(r, s, message, p.n_attrs, op);
    for (uint32_t i = 0; i < p.n_outputs && !status; i++) {
        if (outputs[i] == KVF_NO_VALUE) continue;
        status = write(r, s, outputs[i], (int32_t)index);
        written++;
    }
    if (!status && !written) status = kvf_fail(r->err, KVF_ERR_MODEL, "it has no output");
    return status;
}

static kvf_status read_ops(kvf_reader *r, scope *s, kvf_op *ops)
{
    kvf_span child;
    uint32_t n = 0;
    for (kvf_wire w = kvf_wire_of(s->message); kvf_next_of(&w, s->kind->node, &child); n++) {
        kvf_status status = read_op(r, s, child, n, &ops[n]);
        if (status && s->depth < 2) /* deeper ones would only push the cause out of the message */
            kvf_prefix(r->err, status, "node %u (%.60s%s%.100s): ", n, ops[n].type,
                       ops[n].name[0] ? " " : "", ops[n].name);
        if (status) return status;
    }
    r->n_ops += n;
    return KVF_OK;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

static kvf_status check_message(const kvf_reader *r, const scope *s)
{
    if (s->depth > KVF_MAX_NESTING)
        return kvf_fail(r->err, KVF_ERR_MODEL, "graphs lie in each other more than %d deep",
                        KVF_MAX_NESTING);
    kvf_wire w = kvf_wire_of(s->message);
    for (kvf_field f; kvf_wire_next(&w, &f);)
        if (!s->kind->bare && f.key == KVF_BYTES(15))
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "it has a sparse initializer, which is not supported");
    return w.wrong ? kvf_broken(r, &w, s->kind->bare ? "a function" : "a graph") : KVF_OK;
}

static kvf_status read_parts(kvf_reader *r, scope *s, kvf_graph *g)
{
    uint32_t *ports = kvf_arena_take(r->arena, (uint64_t)s->n_inputs + s->n_outputs, sizeof *ports);
    kvf_tensor *tensors = kvf_arena_take(r->arena, s->n_initializers, sizeof *tensors);
    kvf_op *ops = kvf_arena_take(r->arena, s->n_nodes, sizeof *ops);
    if (!ports || !tensors || !ops) return kvf_no_room(r);
    kvf_status status = read_ports(r, s, s->kind->input, true, ports);
    if (!status) status = read_initializers(r, s, tensors);
    if (!status) status = read_ops(r, s, ops);
    if (!status) status = read_ports(r, s, s->kind->output, false, ports + s->n_inputs);
    if (!status) status = read_value_infos(r, s);
    *g = (kvf_graph){.name = "",
                     .n_ops = s->n_nodes,
                     .n_values = s->n_values,
                     .n_inputs = drop_initializers(s, ports),
                     .n_outputs = s->n_outputs,
                     .n_initializers = s->n_initializers,
                     .ops = ops,
                     .values = s->values,
                     .inputs = ports,
                     .outputs = ports + s->n_inputs,
                     .initializers = tensors};
    return status;
}

static kvf_status read_body(kvf_reader *r, const body_kind *kind, kvf_span message,
                            const scope *outer, kvf_graph *g)
{
    scope s = {.outer = outer,
               .kind = kind,
               .message = message,
               .depth = outer ? outer->depth + 1 : 0};
    kvf_status status = check_message(r, &s);
    if (!status) status = number_names(r, &s);
    if (!status) status = read_parts(r, &s, g);
    kvf_span name;
    kvf_wire w = kvf_wire_of(message);
    if (status || kind->bare || !kvf_next_of(&w, KVF_BYTES(2), &name)) return status;
    status = kvf_check_name(r, name);
    if (status) return status;
    g->name = kvf_arena_string(r->arena, name);
    return g->name ? KVF_OK : kvf_no_room(r);
}

kvf_status kvf_read_graph(kvf_reader *r, kvf_span message, kvf_graph *out)
{
    return read_body(r, &graph_body, message, NULL, out);
}

kvf_status kvf_read_function_body(kvf_reader *r, kvf_span message, kvf_graph *out)
{
    return read_body(r, &function_body, message, NULL, out);
}
