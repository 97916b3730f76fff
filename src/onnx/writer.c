/* writer.c - a graph as Protocol Buffers bytes, streamed.
 *
 * A message is preceded by its length, so lengths are known before bytes are: nodes are small and
 * encoded in memory, and a weight's length follows from its shape. Only then is the file written,
 * front to back, with one weight in memory at a time. Field numbers: onnx.proto of the ONNX
 * project. */
#include "onnx/writer.h"

#include "output.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARINT = 0, LENGTH = 2, FIXED32 = 5 };                          /* wire types */
enum { ATTR_FLOAT = 1, ATTR_INT = 2, ATTR_STRING = 3, ATTR_INTS = 7 }; /* AttributeProto.type */
enum { MODEL_GRAPH = 7, MODEL_OPSET = 8, MODEL_PROPERTY = 14 };
enum { GRAPH_NODE = 1, GRAPH_NAME = 2, GRAPH_INITIALIZER = 5, GRAPH_INPUT = 11, GRAPH_OUTPUT = 12 };

enum {
    EXTERNAL_FROM = 1024, /* bytes: smaller tensors stay in the graph, shape inference reads them */
    ALIGNMENT = 4096,     /* of external tensors, so that they can be mapped alone */
    MAX_NAME = 256,
};

typedef struct bytes {
    uint8_t *data;
    size_t used, room;
} bytes;

typedef struct initializer {
    const char *name;
    kvf_type type;
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];
    uint64_t bytes, tag;
    void *data;      /* own copy, or NULL: filled at the end */
    uint64_t offset; /* in the external file; INLINE: in the graph */
} initializer;
#define INLINE UINT64_MAX

struct kvf_writer {
    bytes graph, node, properties; /* node: the one last begun, not yet in graph */
    char **names;
    initializer *initializers;
    size_t n_names, name_room, n_initializers, initializer_room;
    int64_t opset;
    bool no_memory, too_large;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static void put(kvf_writer *w, bytes *b, const void *data, size_t n)
{
    if (w->no_memory || !n) return;
    if (n > b->room - b->used) {
        size_t room = (b->used + n) * 2;
        uint8_t *grown = kvf_resize(b->data, room, 1);
        if (!grown) {
            w->no_memory = true;
            return;
        }
        b->data = grown;
        b->room = room;
    }
    memcpy(b->data + b->used, data, n);
    b->used += n;
}

static void put_varint(kvf_writer *w, bytes *b, uint64_t v)
{
    uint8_t code[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) code[n++] = (uint8_t)(v | 0x80);
    code[n++] = (uint8_t)v;
    put(w, b, code, n);
}

static void put_key(kvf_writer *w, bytes *b, uint32_t field, uint32_t wire)
{
    put_varint(w, b, (uint64_t)field << 3 | wire);
}

static void put_int(kvf_writer *w, bytes *b, uint32_t field, int64_t v)
{
    put_key(w, b, field, VARINT);
    put_varint(w, b, (uint64_t)v);
}

static void put_bytes(kvf_writer *w, bytes *b, uint32_t field, const void *data, size_t n)
{
    put_key(w, b, field, LENGTH);
    put_varint(w, b, n);
    put(w, b, data, n);
}

static void put_string(kvf_writer *w, bytes *b, uint32_t field, const char *s)
{
    put_bytes(w, b, field, s, strlen(s));
}

/* inner becomes a message inside b, and is freed. */
static void put_message(kvf_writer *w, bytes *b, uint32_t field, bytes *inner)
{
    put_bytes(w, b, field, inner->data, inner->used);
    kvf_free(inner->data);
    *inner = (bytes){0};
}

/* A string-to-string pair: metadata and external data are lists of these. */
static void put_pair(kvf_writer *w, bytes *b, uint32_t field, const char *key, const char *value)
{
    bytes pair = {0};
    put_string(w, &pair, 1, key);
    put_string(w, &pair, 2, value);
    put_message(w, b, field, &pair);
}

/* Room for one more element, doubling; NULL leaves the array as it was. */
static void *one_more(void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room) return array;
    size_t wanted = *room ? *room * 2 : 64;
    void *grown = kvf_resize(array, wanted, size);
    if (grown) *room = wanted;
    return grown;
}

/* ---- life ------------------------------------------------------------------------------------ */

kvf_status kvf_writer_create(kvf_writer **out, const char *graph, int64_t opset, kvf_error *err)
{
    kvf_writer *w = *out = kvf_array(1, sizeof *w);
    if (!w) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for a graph");
    w->opset = opset;
    put_string(w, &w->graph, GRAPH_NAME, graph);
    return KVF_OK;
}

void kvf_writer_destroy(kvf_writer *w)
{
    if (!w) return;
    for (size_t i = 0; i < w->n_names; i++) kvf_free(w->names[i]);
    for (size_t i = 0; i < w->n_initializers; i++) kvf_free(w->initializers[i].data);
    kvf_free(w->initializers);
    kvf_free(w->names);
    kvf_free(w->properties.data);
    kvf_free(w->node.data);
    kvf_free(w->graph.data);
    kvf_free(w);
}

const char *kvf_writer_name(kvf_writer *w, const char *fmt, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char **grown = one_more(w->names, w->n_names, &w->name_room, sizeof *w->names);
    char *name = grown ? kvf_copy_string(text) : NULL;
    if (grown) w->names = grown;
    if (!name) {
        w->no_memory = true;
        return "";
    }
    return w->names[w->n_names++] = name;
}

void kvf_writer_property(kvf_writer *w, const char *key, const char *value)
{
    put_pair(w, &w->properties, MODEL_PROPERTY, key, value);
}

/* ---- inputs, outputs, nodes ------------------------------------------------------------------ */

static void put_dim(kvf_writer *w, bytes *shape, const char *text, size_t n)
{
    bytes dim = {0};
    char *end;
    long long value = strtoll(text, &end, 10);
    if (n && end == text + n)
        put_int(w, &dim, 1, value);
    else
        put_bytes(w, &dim, 2, text, n);
    put_message(w, shape, 1, &dim);
}

static void put_port(kvf_writer *w, uint32_t field, const char *name, kvf_type type,
                     const char *dims)
{
    bytes shape = {0}, tensor = {0}, of = {0}, port = {0};
    for (const char *d = dims; *d;) {
        size_t n = strcspn(d, ",");
        put_dim(w, &shape, d, n);
        d += n;
        d += strspn(d, ", ");
    }
    put_int(w, &tensor, 1, type);
    put_message(w, &tensor, 2, &shape);
    put_message(w, &of, 1, &tensor);
    put_string(w, &port, 1, name);
    put_message(w, &port, 2, &of);
    put_message(w, &w->graph, field, &port);
}

void kvf_writer_input(kvf_writer *w, const char *name, kvf_type type, const char *dims, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, dims);
    vsnprintf(text, sizeof text, dims, args);
    va_end(args);
    put_port(w, GRAPH_INPUT, name, type, text);
}

void kvf_writer_output(kvf_writer *w, const char *name, kvf_type type, const char *dims, ...)
{
    char text[MAX_NAME];
    va_list args;
    va_start(args, dims);
    vsnprintf(text, sizeof text, dims, args);
    va_end(args);
    put_port(w, GRAPH_OUTPUT, name, type, text);
}

static void end_node(kvf_writer *w)
{
    if (w->node.used) put_message(w, &w->graph, GRAPH_NODE, &w->node);
}

const char *kvf_writer_node(kvf_writer *w, const char *op, const char *output, ...)
{
    end_node(w);
    va_list inputs;
    va_start(inputs, output);
    for (const char *input; (input = va_arg(inputs, const char *));)
        put_string(w, &w->node, 1, input);
    va_end(inputs);
    put_string(w, &w->node, 2, output);
    put_string(w, &w->node, 3, output);
    put_string(w, &w->node, 4, op);
    return output;
}

const char *kvf_writer_also(kvf_writer *w, const char *output)
{
    put_string(w, &w->node, 2, output);
    return output;
}

static void put_attribute(kvf_writer *w, const char *name, int type, bytes *value)
{
    put_string(w, value, 1, name);
    put_int(w, value, 20, type);
    put_message(w, &w->node, 5, value);
}

void kvf_writer_int(kvf_writer *w, const char *attribute, int64_t value)
{
    bytes b = {0};
    put_int(w, &b, 3, value);
    put_attribute(w, attribute, ATTR_INT, &b);
}

void kvf_writer_float(kvf_writer *w, const char *attribute, float value)
{
    bytes b = {0};
    put_key(w, &b, 2, FIXED32);
    put(w, &b, &value, sizeof value);
    put_attribute(w, attribute, ATTR_FLOAT, &b);
}

void kvf_writer_string(kvf_writer *w, const char *attribute, const char *value)
{
    bytes b = {0};
    put_string(w, &b, 4, value);
    put_attribute(w, attribute, ATTR_STRING, &b);
}

void kvf_writer_ints(kvf_writer *w, const char *attribute, const int64_t *values, size_t n)
{
    bytes b = {0};
    for (size_t i = 0; i < n; i++) put_int(w, &b, 8, values[i]);
    put_attribute(w, attribute, ATTR_INTS, &b);
}

/* ---- initializers ---------------------------------------------------------------------------- */

static initializer *add_initializer(kvf_writer *w, const char *name, kvf_type type, uint32_t rank,
                                    const int64_t *dims)
{
    initializer *grown =
        one_more(w->initializers, w->n_initializers, &w->initializer_room, sizeof *w->initializers);
    if (!grown) {
        w->no_memory = true;
        return NULL;
    }
    w->initializers = grown;
    initializer *t = &grown[w->n_initializers++];
    *t = (initializer){.name = name, .type = type, .rank = rank, .bytes = kvf_type_bits(type) / 8};
    for (uint32_t i = 0; i < rank; i++) {
        t->dims[i] = dims[i];
        w->too_large |= dims[i] < 0 || !kvf_mul(t->bytes, (uint64_t)dims[i], &t->bytes);
    }
    return t;
}

const char *kvf_writer_constant(kvf_writer *w, const char *name, kvf_type type, uint32_t rank,
                                const int64_t *dims, const void *data)
{
    initializer *t = add_initializer(w, name, type, rank, dims);
    if (!t) return name;
    t->data = kvf_array((size_t)t->bytes, 1);
    if (t->data)
        memcpy(t->data, data, (size_t)t->bytes);
    else
        w->no_memory = true;
    return name;
}

const char *kvf_writer_weight(kvf_writer *w, const char *name, kvf_type type, uint32_t rank,
                              const int64_t *dims, uint64_t tag)
{
    initializer *t = add_initializer(w, name, type, rank, dims);
    if (t) t->tag = tag;
    return name;
}

/* A TensorProto up to its raw bytes, which come last. */
static void put_tensor_head(kvf_writer *w, bytes *b, const initializer *t, const char *location)
{
    b->used = 0;
    for (uint32_t i = 0; i < t->rank; i++) put_int(w, b, 1, t->dims[i]);
    put_int(w, b, 2, t->type);
    put_string(w, b, 8, t->name);
    if (t->offset == INLINE) {
        put_key(w, b, 9, LENGTH);
        put_varint(w, b, t->bytes);
        return;
    }
    char number[24];
    put_pair(w, b, 13, "location", location);
    snprintf(number, sizeof number, "%llu", (unsigned long long)t->offset);
    put_pair(w, b, 13, "offset", number);
    snprintf(number, sizeof number, "%llu", (unsigned long long)t->bytes);
    put_pair(w, b, 13, "length", number);
    put_int(w, b, 14, 1);
}

/* ---- the file -------------------------------------------------------------------------------- */

typedef struct saving {
    kvf_writer *w;
    const kvf_writer_options *opt;
    kvf_output model, data;
    const char *location; /* the data file's name, without folders */
    bytes head;           /* scratch */
    void *weight;         /* [largest] */
    uint64_t largest, total, done;
} saving;

/* Bytes of the field that holds one initializer in the graph. */
static uint64_t initializer_size(saving *s, const initializer *t)
{
    put_tensor_head(s->w, &s->head, t, s->location);
    uint64_t inner = s->head.used + (t->offset == INLINE ? t->bytes : 0);
    s->head.used = 0;
    put_key(s->w, &s->head, GRAPH_INITIALIZER, LENGTH);
    put_varint(s->w, &s->head, inner);
    return s->head.used + inner;
}

static bool graph_size(saving *s, uint64_t *size)
{
    *size = s->w->graph.used;
    for (size_t i = 0; i < s->w->n_initializers; i++)
        if (!kvf_add(*size, initializer_size(s, &s->w->initializers[i]), size)) return false;
    return true;
}

/* Give the larger weights a place in the data file. */
static void place_outside(saving *s)
{
    uint64_t end = 0;
    for (size_t i = 0; i < s->w->n_initializers; i++) {
        initializer *t = &s->w->initializers[i];
        if (t->bytes < EXTERNAL_FROM) continue;
        t->offset = (end + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        end = t->offset + t->bytes;
    }
}

static kvf_status write_initializer(saving *s, const initializer *t, kvf_error *err)
{
    put_tensor_head(s->w, &s->head, t, s->location);
    bytes key = {0};
    put_key(s->w, &key, GRAPH_INITIALIZER, LENGTH);
    put_varint(s->w, &key, s->head.used + (t->offset == INLINE ? t->bytes : 0));
    kvf_output_write(&s->model, key.data, key.used);
    kvf_output_write(&s->model, s->head.data, s->head.used);
    kvf_free(key.data);
    if (s->w->no_memory) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for %s", t->name);

    const void *data = t->data;
    if (!data && t->bytes) {
        kvf_status status = s->opt->fill(s->opt->fill_user, t->tag, s->weight, t->bytes, err);
        if (status) return status;
        data = s->weight;
    }
    kvf_output *out = t->offset == INLINE ? &s->model : &s->data;
    static const uint8_t zeros[ALIGNMENT];
    if (out == &s->data) kvf_output_write(out, zeros, t->offset - out->written);
    kvf_output_write(out, data, t->bytes);
    s->done += t->bytes;
    if (s->opt->progress) s->opt->progress(s->opt->user, "writing", s->done, s->total);
    /* A full disk is told now and not after an hour. */
    return out->error ? kvf_output_finish(out, err) : KVF_OK;
}

static kvf_status write_model(saving *s, uint64_t size, kvf_error *err)
{
    kvf_writer *w = s->w;
    bytes head = {0}, tail = {0}, opset = {0};
    /* IR version: the one that the opset came with, as readers of its time know it. */
    put_int(w, &head, 1, w->opset >= 23 ? 11 : 8);
    put_string(w, &head, 2, "kvfork");
    put_string(w, &head, 3, kvf_version());
    put(w, &head, w->properties.data, w->properties.used);
    put_key(w, &head, MODEL_GRAPH, LENGTH);
    put_varint(w, &head, size);
    put_int(w, &opset, 2, w->opset);
    put_message(w, &tail, MODEL_OPSET, &opset);

    kvf_output_write(&s->model, head.data, head.used);
    kvf_output_write(&s->model, w->graph.data, w->graph.used);
    kvf_status status = w->no_memory ? kvf_fail(err, KVF_ERR_NOMEM, "no memory") : KVF_OK;
    for (size_t i = 0; !status && i < w->n_initializers; i++)
        status = write_initializer(s, &w->initializers[i], err);
    kvf_output_write(&s->model, tail.data, tail.used);
    kvf_free(head.data);
    kvf_free(tail.data);
    return status;
}

/* Open what is needed, write, and give both files their names: the data first, since a model
 * without it would be broken. */
static kvf_status write_files(saving *s, const char *path, kvf_error *err)
{
    uint64_t size, limit = s->opt->largest_graph ? s->opt->largest_graph : INT32_MAX;
    if (!graph_size(s, &size)) return kvf_fail(err, KVF_ERR_ARG, "%s: beyond 64 bits", path);
    bool outside = size > limit;
    char *data_path = NULL;
    kvf_status status = KVF_OK;
    if (outside) {
        size_t room = strlen(path) + sizeof ".data";
        data_path = kvf_array(room, 1);
        if (!data_path) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", path);
        snprintf(data_path, room, "%s.data", path);
        const char *slash = strrchr(data_path, '/');
        s->location = slash ? slash + 1 : data_path;
        place_outside(s);
        graph_size(s, &size);
        status = kvf_output_open(&s->data, data_path, err);
    }
    if (!status) status = kvf_output_open(&s->model, path, err);
    if (!status) status = write_model(s, size, err);
    if (!status) status = kvf_output_finish(&s->model, err);
    if (!status && outside) status = kvf_output_commit(&s->data, err);
    if (!status) status = kvf_output_commit(&s->model, err);
    kvf_output_abandon(&s->data);
    kvf_output_abandon(&s->model);
    kvf_free(data_path);
    return status;
}

kvf_status kvf_writer_save(kvf_writer *w, const char *path, const kvf_writer_options *opt,
                           kvf_error *err)
{
    saving s = {.w = w, .opt = opt, .location = ""};
    end_node(w);
    if (w->too_large) return kvf_fail(err, KVF_ERR_ARG, "%s: a weight beyond 64 bits", path);
    for (size_t i = 0; i < w->n_initializers; i++) {
        initializer *t = &w->initializers[i];
        t->offset = INLINE;
        if (!t->data && t->bytes > s.largest) s.largest = t->bytes;
        if (!kvf_add(s.total, t->bytes, &s.total))
            return kvf_fail(err, KVF_ERR_ARG, "%s: weights beyond 64 bits", path);
    }
    s.weight = w->no_memory ? NULL : kvf_pages((size_t)s.largest);
    kvf_status status = s.weight ? write_files(&s, path, err)
                                 : kvf_fail(err, KVF_ERR_NOMEM,
                                            "%s: no memory for a weight of "
                                            "%llu bytes",
                                            path, (unsigned long long)s.largest);
    kvf_free_pages(s.weight, (size_t)s.largest);
    kvf_free(s.head.data);
    return status;
}
