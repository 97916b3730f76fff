/* support_onnx.c - ONNX files out of a few lines; see support_onnx.h. */
#include "support_onnx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

const char *const valid_models[N_VALID] = {"dynamo-gpt-headdim24",
                                           "dynamo-gpt-opset23-attention",
                                           "dynamo-gpt",
                                           "dynamo-hf-gpt2",
                                           "dynamo-hf-llama-opset23-attention",
                                           "genai-llama-fp32",
                                           "genai-llama-int4",
                                           "genai-qwen2-fp32",
                                           "optimum-gpt2",
                                           "optimum-llama-gqa",
                                           "optimum-llama-headdim32",
                                           "ort-gpt2-fused-past-optimized",
                                           "ort-gpt2-fused-past",
                                           "torchscript-gpt"};

/* ---- messages -------------------------------------------------------------------------------- */

void pb_free(pb *p)
{
    free(p->data);
    *p = (pb){0};
}

void pb_raw(pb *p, const void *data, size_t size)
{
    if (p->size + size > p->room) {
        p->room = 2 * (p->size + size) + 64;
        p->data = realloc(p->data, p->room);
        if (!p->data) abort();
    }
    if (size) memcpy(p->data + p->size, data, size);
    p->size += size;
}

void pb_varint(pb *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7) pb_raw(p, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    pb_raw(p, &(uint8_t){(uint8_t)v}, 1);
}

void pb_number(pb *p, uint32_t field, uint64_t v)
{
    pb_varint(p, (uint64_t)field << 3);
    pb_varint(p, v);
}

void pb_float(pb *p, uint32_t field, float f)
{
    pb_varint(p, (uint64_t)field << 3 | 5);
    pb_raw(p, &f, sizeof f);
}

void pb_bytes(pb *p, uint32_t field, const void *data, size_t size)
{
    pb_varint(p, (uint64_t)field << 3 | 2);
    pb_varint(p, size);
    pb_raw(p, data, size);
}

void pb_text(pb *p, uint32_t field, const char *text)
{
    pb_bytes(p, field, text, strlen(text));
}

void pb_message(pb *p, uint32_t field, pb child)
{
    pb_bytes(p, field, child.data, child.size);
    pb_free(&child);
}

/* The next piece of "a,b,c"; false after the last. */
static bool next_piece(const char **list, char *piece, size_t size)
{
    if (!*list) return false;
    size_t n = strcspn(*list, ",");
    snprintf(piece, size, "%.*s", (int)n, *list);
    *list = (*list)[n] ? *list + n + 1 : NULL;
    return true;
}

/* ---- parts of a model ------------------------------------------------------------------------ */

static pb tensor_head(const char *name, kvf_type type, const char *dims)
{
    pb t = {0};
    char piece[64];
    if (dims[0])
        while (next_piece(&dims, piece, sizeof piece))
            pb_number(&t, 1, (uint64_t)strtoll(piece, NULL, 10));
    pb_number(&t, 2, type);
    pb_text(&t, 8, name);
    return t;
}

pb onnx_tensor(const char *name, kvf_type type, const char *dims, const void *raw, size_t size)
{
    pb t = tensor_head(name, type, dims);
    pb_bytes(&t, 9, raw, size);
    return t;
}

static void add_entry(pb *p, uint32_t field, const char *key, const char *value)
{
    pb e = {0};
    if (!value) return;
    pb_text(&e, 1, key);
    pb_text(&e, 2, value);
    pb_message(p, field, e);
}

pb onnx_external(const char *name, kvf_type type, const char *dims, const char *location,
                 const char *offset, const char *length)
{
    pb t = tensor_head(name, type, dims);
    add_entry(&t, 13, "location", location);
    add_entry(&t, 13, "offset", offset);
    add_entry(&t, 13, "length", length);
    pb_number(&t, 14, 1);
    return t;
}

pb onnx_port(const char *name, kvf_type type, const char *dims)
{
    pb port = {0}, outer = {0}, tensor = {0}, shape = {0};
    char piece[64];
    pb_text(&port, 1, name);
    pb_number(&tensor, 1, type);
    const char *rest = dims && dims[0] ? dims : NULL;
    while (next_piece(&rest, piece, sizeof piece)) {
        pb dim = {0};
        char *end;
        long long v = strtoll(piece, &end, 10);
        if (piece[0] && !*end)
            pb_number(&dim, 1, (uint64_t)v);
        else if (piece[0])
            pb_text(&dim, 2, piece);
        pb_message(&shape, 1, dim);
    }
    if (dims) pb_message(&tensor, 2, shape);
    pb_message(&outer, 1, tensor);
    pb_message(&port, 2, outer);
    return port;
}

pb onnx_node(const char *type, const char *domain, const char *inputs, const char *outputs)
{
    pb node = {0};
    char piece[256];
    if (inputs[0])
        while (next_piece(&inputs, piece, sizeof piece)) pb_text(&node, 1, piece);
    while (next_piece(&outputs, piece, sizeof piece)) pb_text(&node, 2, piece);
    pb_text(&node, 4, type);
    if (domain[0]) pb_text(&node, 7, domain);
    return node;
}

static pb attr_head(const char *name, int type)
{
    pb a = {0};
    pb_text(&a, 1, name);
    pb_number(&a, 20, (uint64_t)type);
    return a;
}

void onnx_attr_int(pb *node, const char *name, int64_t i)
{
    pb a = attr_head(name, 2);
    pb_number(&a, 3, (uint64_t)i);
    pb_message(node, 5, a);
}

void onnx_attr_graph(pb *node, const char *name, pb graph)
{
    pb a = attr_head(name, 5);
    pb_message(&a, 6, graph);
    pb_message(node, 5, a);
}

void graph_node(pb *graph, pb node)
{
    pb_message(graph, 1, node);
}

void graph_initializer(pb *graph, pb tensor)
{
    pb_message(graph, 5, tensor);
}

void graph_input(pb *graph, pb port)
{
    pb_message(graph, 11, port);
}

void graph_output(pb *graph, pb port)
{
    pb_message(graph, 12, port);
}

static kvf_type type_named(const char *name)
{
    static const struct {
        const char *name;
        kvf_type type;
    } types[] = {{"f32", KVF_F32}, {"f16", KVF_F16}, {"bf16", KVF_BF16}, {"i64", KVF_I64},
                 {"i32", KVF_I32}, {"u8", KVF_U8},   {"bool", KVF_BOOL}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (!strcmp(types[i].name, name)) return types[i].type;
    fail_msg("no type %s", name);
    return KVF_NO_TYPE;
}

void add_ports(pb *g, const char *ports, bool output, const char *from)
{
    char piece[256];
    while (*ports) {
        char name[128], type[16], dims[96];
        size_t n = strcspn(ports, ";");
        snprintf(piece, sizeof piece, "%.*s", (int)n, ports);
        ports += n + (ports[n] == ';');
        int fields = sscanf(piece, " %127s %15s %95s", name, type, dims);
        if (fields < 2) fail_msg("\"%s\" is no port", piece);
        pb port = onnx_port(name, type_named(type), fields < 3 ? NULL : dims[0] == '-' ? "" : dims);
        if (output) graph_node(g, onnx_node("Make", "", from, name));
        if (output)
            graph_output(g, port);
        else
            graph_input(g, port);
    }
}

pb graph_of(const char *inputs, const char *outputs)
{
    pb g = {0};
    char from[128] = "";
    sscanf(inputs, " %127s", from);
    add_ports(&g, inputs, false, NULL);
    add_ports(&g, outputs, true, from);
    return g;
}

static void add_opset(pb *model, const char *domain, uint64_t version)
{
    pb opset = {0};
    pb_text(&opset, 1, domain);
    pb_number(&opset, 2, version);
    pb_message(model, 8, opset);
}

pb onnx_model(pb graph)
{
    pb model = {0};
    pb_number(&model, 1, 8);
    pb_text(&model, 2, "kvfork-tests");
    pb_message(&model, 7, graph);
    add_opset(&model, "", 24);
    add_opset(&model, "com.microsoft", 1);
    return model;
}

void model_property(pb *model, const char *key, const char *value)
{
    add_entry(model, 14, key, value);
}

void model_function(pb *model, pb function)
{
    pb_message(model, 25, function);
}

/* ---- files and blocks ------------------------------------------------------------------------ */

void pb_write(const pb *p, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p->data, 1, p->size, f) != p->size || fclose(f))
        fail_msg("cannot write %s", path);
}

uint8_t *read_whole(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("cannot read %s", path);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, f) != *size) fail_msg("cannot read %s", path);
    fclose(f);
    return data;
}

kvf_status parse_exactly(kvf_onnx **out, uint8_t **block, const void *data, size_t size,
                         kvf_error *err)
{
    *block = malloc(size ? size : 1);
    if (!*block) abort();
    if (size) memcpy(*block, data, size);
    return kvf_onnx_parse(out, *block, size, "block", err);
}

/* ---- following every pointer ----------------------------------------------------------------- */

static uint64_t touch_text(const char *text)
{
    return text ? strlen(text) : 0;
}

static uint64_t touch_tensor(const kvf_tensor *t)
{
    const uint8_t *data = t->data;
    uint64_t sum = touch_text(t->name) + t->count;
    if (t->type != KVF_STRING) assert_non_null(data);
    if (t->bytes) sum += (uint64_t)data[0] + data[t->bytes - 1];
    if (t->count && t->bytes) sum += (uint64_t)kvf_tensor_i64(t, t->count - 1);
    if (t->count && t->bytes && kvf_tensor_f32(t, t->count - 1) > 1) sum++;
    return sum;
}

static uint64_t touch_shape(const kvf_shape *s)
{
    uint64_t sum = touch_text(kvf_type_name(s->type));
    for (uint32_t i = 0; i < s->rank; i++) sum += touch_text(s->names[i]) + (uint64_t)s->dims[i];
    return sum;
}

static uint64_t touch_graph(const kvf_graph *g);

static uint64_t touch_attr(const kvf_attr *a)
{
    uint64_t sum = touch_text(a->name) + touch_text(a->s);
    for (uint64_t i = 0; i < a->n; i++) {
        if (a->ints) sum += (uint64_t)a->ints[i];
        if (a->floats) sum += a->floats[i] > 0;
        if (a->strings) sum += touch_text(a->strings[i]);
    }
    if (a->tensor) sum += touch_tensor(a->tensor);
    return sum + (a->graph ? touch_graph(a->graph) : 0);
}

static uint64_t touch_op(const kvf_graph *g, const kvf_op *op, uint32_t index)
{
    uint64_t sum = touch_text(op->type) + touch_text(op->domain) + touch_text(op->name);
    for (uint32_t i = 0; i < op->n_inputs; i++) {
        if (op->inputs[i] == KVF_NO_VALUE) continue;
        assert_true(op->inputs[i] < g->n_values);
        assert_true(g->values[op->inputs[i]].producer < (int32_t)index);
    }
    for (uint32_t i = 0; i < op->n_outputs; i++)
        if (op->outputs[i] != KVF_NO_VALUE)
            assert_int_equal(g->values[op->outputs[i]].producer, index);
    for (uint32_t i = 0; i < op->n_attrs; i++) sum += touch_attr(&op->attrs[i]);
    return sum;
}

static uint64_t touch_graph(const kvf_graph *g)
{
    uint64_t sum = touch_text(g->name);
    for (uint32_t i = 0; i < g->n_values; i++) {
        assert_int_equal(kvf_graph_find(g, g->values[i].name), i);
        assert_true(g->values[i].producer >= -1);
        if (g->values[i].shape) sum += touch_shape(g->values[i].shape);
    }
    for (uint32_t i = 0; i < g->n_inputs; i++) assert_true(g->inputs[i] < g->n_values);
    for (uint32_t i = 0; i < g->n_outputs; i++) assert_true(g->outputs[i] < g->n_values);
    for (uint32_t i = 0; i < g->n_initializers; i++) sum += touch_tensor(&g->initializers[i]);
    for (uint32_t i = 0; i < g->n_ops; i++) sum += touch_op(g, &g->ops[i], i);
    return sum;
}

uint64_t touch_all(const kvf_onnx *o)
{
    uint64_t sum =
        touch_graph(o->graph) + touch_text(o->producer) + touch_text(o->producer_version);
    for (uint32_t i = 0; i < o->n_properties; i++)
        sum += touch_text(o->properties[i].key) + touch_text(o->properties[i].value);
    for (uint32_t i = 0; i < o->n_opsets; i++) sum += touch_text(o->opsets[i].domain);
    for (uint32_t i = 0; i < o->n_functions; i++) sum += touch_text(o->functions[i].name);
    for (uint32_t i = 0; i < o->n_operators; i++)
        sum += touch_text(o->operators[i].name) + o->operators[i].count;
    return sum;
}

/* ---- expectations ---------------------------------------------------------------------------- */

pb small_graph(void)
{
    pb g = {0};
    graph_input(&g, onnx_port("x", KVF_F32, "n,4"));
    graph_node(&g, onnx_node("Identity", "", "x", "y"));
    graph_output(&g, onnx_port("y", KVF_F32, "n,4"));
    return g;
}

kvf_onnx *expect_model(const char *what, pb model, const char *words, uint8_t **block)
{
    kvf_onnx *o;
    kvf_error err = {0};
    kvf_status status = parse_exactly(&o, block, model.data, model.size, &err);
    if (!words && status) fail_msg("%s: refused: %s", what, err.msg);
    if (words && (status != KVF_ERR_MODEL || !strstr(err.msg, words)))
        fail_msg("%s: %s \"%s\", but \"%s\" should be in it", what, kvf_status_name(status),
                 err.msg, words);
    pb_free(&model);
    return o;
}

void check_model(const char *what, pb model, const char *words)
{
    uint8_t *block;
    kvf_onnx *o = expect_model(what, model, words, &block);
    if (o) touch_all(o);
    kvf_onnx_close(o);
    free(block);
}
