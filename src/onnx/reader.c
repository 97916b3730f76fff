/* reader.c - a model: its versions, operator sets, metadata and graph; open and close.
 *
 * Everything is read in place from the mapped file by walks over messages (wire.h); only names,
 * small lists and the structs of onnx.h are written, into one arena whose budget follows from the
 * file's size. */
#include "read.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUDGET_FACTOR = 16, BUDGET_LEAST = 1 << 20, MAX_OPSETS = 256 };

/* ---- what the other files of the room share -------------------------------------------------- */

bool kvf_next_of(kvf_wire *w, uint32_t key, kvf_span *out)
{
    for (kvf_field f; kvf_wire_next(w, &f);)
        if (f.key == key) {
            *out = f.bytes;
            return true;
        }
    return false;
}

kvf_status kvf_broken(const kvf_reader *r, const kvf_wire *w, const char *message)
{
    return kvf_fail(r->err, KVF_ERR_MODEL,
                    "broken or no ONNX: in %s, at byte %" PRIu64 " of %" PRIu64 ": %s", message,
                    (uint64_t)(w->at - r->file.data), r->file.size, w->wrong);
}

kvf_status kvf_no_room(const kvf_reader *r)
{
    if (r->arena->refused || r->scratch.refused)
        return kvf_fail(r->err, KVF_ERR_MODEL, "its graph would take more than %d times the file",
                        BUDGET_FACTOR);
    return kvf_fail(r->err, KVF_ERR_NOMEM, "no memory for its graph");
}

kvf_status kvf_check_name(const kvf_reader *r, kvf_span name)
{
    for (uint64_t i = 0; i < name.size; i++)
        if (name.data[i] < 0x20 || name.data[i] == 0x7f)
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "a name at byte %" PRIu64 " has a control character (%u)",
                            (uint64_t)(name.data - r->file.data), name.data[i]);
    return KVF_OK;
}

bool kvf_span_is(kvf_span span, const char *text)
{
    return !kvf_compare_names(span.data, span.size, text, strlen(text));
}

kvf_span kvf_short_domain(kvf_span domain)
{
    return kvf_span_is(domain, "ai.onnx") ? (kvf_span){0} : domain;
}

/* ---- the model's own fields ------------------------------------------------------------------ */

typedef struct model_parts {
    kvf_span graph, producer, producer_version;
    int64_t ir_version;
    uint32_t n_graphs, n_opsets, n_properties;
} model_parts;

static kvf_status walk_model(const kvf_reader *r, model_parts *p)
{
    kvf_wire w = kvf_wire_of(r->file);
    for (kvf_field f; kvf_wire_next(&w, &f);) switch (f.key) {
        case KVF_VARINT(1): p->ir_version = (int64_t)f.number; break;
        case KVF_BYTES(2): p->producer = f.bytes; break;
        case KVF_BYTES(3): p->producer_version = f.bytes; break;
        case KVF_BYTES(7):
            p->graph = f.bytes;
            p->n_graphs++;
            break;
        case KVF_BYTES(8): p->n_opsets += p->n_opsets < UINT32_MAX; break;
        case KVF_BYTES(14): p->n_properties += p->n_properties < UINT32_MAX; break;
        default: break;
        }
    if (w.wrong) return kvf_broken(r, &w, "the model");
    if (p->n_graphs != 1)
        return kvf_fail(r->err, KVF_ERR_MODEL, "no ONNX model: it has %s",
                        p->n_graphs ? "more than one graph" : "no graph");
    if (p->ir_version < 1)
        return kvf_fail(r->err, KVF_ERR_MODEL, "no ONNX model: it has no ir_version");
    if (!p->n_opsets || p->n_opsets > MAX_OPSETS)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "it imports %u operator sets (opset_import), but 1 to %d are needed to "
                        "know its operators",
                        p->n_opsets, MAX_OPSETS);
    return KVF_OK;
}

static kvf_status read_opsets(kvf_reader *r, uint32_t n)
{
    kvf_onnx *o = &r->out->onnx;
    kvf_opset *opsets = kvf_arena_take(r->arena, n, sizeof *opsets);
    if (!opsets) return kvf_no_room(r);
    o->opsets = opsets;
    kvf_span child;
    for (kvf_wire w = kvf_wire_of(r->file); kvf_next_of(&w, KVF_BYTES(8), &child);) {
        kvf_span domain = {0};
        int64_t version = 0;
        kvf_wire inner = kvf_wire_of(child);
        for (kvf_field f; kvf_wire_next(&inner, &f);) {
            if (f.key == KVF_BYTES(1)) domain = kvf_short_domain(f.bytes);
            if (f.key == KVF_VARINT(2)) version = (int64_t)f.number;
        }
        if (inner.wrong) return kvf_broken(r, &inner, "an operator set");
        kvf_status status = kvf_check_name(r, domain);
        if (status) return status;
        const char *name = domain.size ? kvf_arena_string(r->arena, domain) : "";
        if (!name) return kvf_no_room(r);
        int64_t there = kvf_onnx_opset(o, name);
        if (version < 1 || (there && there != version))
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "operator set \"%.100s\" has version %" PRId64 "%s", name, version,
                            there ? ", and another one too" : "");
        if (!there) opsets[o->n_opsets++] = (kvf_opset){name, version};
    }
    return KVF_OK;
}

static kvf_status read_properties(kvf_reader *r, uint32_t n)
{
    kvf_property *properties = kvf_arena_take(r->arena, n, sizeof *properties);
    if (!properties) return kvf_no_room(r);
    r->out->onnx.properties = properties;
    r->out->onnx.n_properties = n;
    kvf_span child;
    for (kvf_wire w = kvf_wire_of(r->file); kvf_next_of(&w, KVF_BYTES(14), &child); properties++) {
        kvf_span key = {0}, value = {0};
        kvf_wire inner = kvf_wire_of(child);
        for (kvf_field f; kvf_wire_next(&inner, &f);) {
            if (f.key == KVF_BYTES(1)) key = f.bytes;
            if (f.key == KVF_BYTES(2)) value = f.bytes;
        }
        if (inner.wrong) return kvf_broken(r, &inner, "a metadata property");
        properties->key = kvf_arena_string(r->arena, key);
        properties->value = kvf_arena_string(r->arena, value);
        if (!properties->key || !properties->value) return kvf_no_room(r);
    }
    return KVF_OK;
}

/* ---- what the graph consists of -------------------------------------------------------------- */

typedef struct survey {
    const kvf_op **ops;
    uint64_t n, parameters;
} survey;

static bool is_weight(kvf_type type)
{
    switch (type) {
    case KVF_F32:
    case KVF_F16:
    case KVF_BF16:
    case KVF_F64:
    case KVF_I8:
    case KVF_U8:
    case KVF_I4:
    case KVF_U4: return true;
    default: return false; /* wide integers are shapes and indices */
    }
}

static void look_at(survey *s, const kvf_graph *g)
{
    for (uint32_t i = 0; i < g->n_initializers; i++)
        if (g->initializers[i].rank && is_weight(g->initializers[i].type))
            s->parameters += g->initializers[i].count;
    for (uint32_t i = 0; i < g->n_ops; i++) {
        s->ops[s->n++] = &g->ops[i];
        for (uint32_t a = 0; a < g->ops[i].n_attrs; a++)
            if (g->ops[i].attrs[a].graph) look_at(s, g->ops[i].attrs[a].graph);
    }
}

static int compare_ops(const void *a, const void *b)
{
    const kvf_op *x = *(const kvf_op *const *)a, *y = *(const kvf_op *const *)b;
    int order = strcmp(x->domain, y->domain);
    return order ? order : strcmp(x->type, y->type);
}

static int compare_counts(const void *a, const void *b)
{
    return strcmp(((const kvf_count *)a)->name, ((const kvf_count *)b)->name);
}

static const char *full_name(kvf_reader *r, const kvf_op *op)
{
    if (!op->domain[0]) return op->type;
    size_t size = strlen(op->domain) + strlen(op->type) + 3;
    char *name = kvf_arena_take(r->arena, size, 1);
    if (name) snprintf(name, size, "%s::%s", op->domain, op->type);
    return name;
}

static kvf_status count_operators(kvf_reader *r)
{
    kvf_onnx *o = &r->out->onnx;
    survey s = {.ops = kvf_arena_take(&r->scratch, r->n_ops, sizeof *s.ops)};
    if (!s.ops) return kvf_no_room(r);
    look_at(&s, o->graph);
    o->parameters = s.parameters;
    qsort(s.ops, s.n, sizeof *s.ops, compare_ops);
    for (uint64_t i = 0; i < s.n; i++)
        o->n_operators += !i || compare_ops(&s.ops[i - 1], &s.ops[i]);
    kvf_count *counts = kvf_arena_take(r->arena, o->n_operators, sizeof *counts), *last = counts;
    if (!counts) return kvf_no_room(r);
    o->operators = counts;
    for (uint64_t i = 0; i < s.n; i++) {
        if (i && !compare_ops(&s.ops[i - 1], &s.ops[i])) {
            last[-1].count++;
            continue;
        }
        *last = (kvf_count){full_name(r, s.ops[i]), 1};
        if (!last++->name) return kvf_no_room(r);
    }
    qsort(counts, o->n_operators, sizeof *counts, compare_counts);
    return KVF_OK;
}

/* ---- open and close -------------------------------------------------------------------------- */

static kvf_status read_model(kvf_reader *r)
{
    model_parts p = {0};
    kvf_onnx *o = &r->out->onnx;
    if (!r->file.size) return kvf_fail(r->err, KVF_ERR_MODEL, "no ONNX model: it is empty");
    kvf_status status = walk_model(r, &p);
    if (status) return status;
    o->ir_version = p.ir_version;
    o->producer = kvf_arena_string(r->arena, p.producer);
    o->producer_version = kvf_arena_string(r->arena, p.producer_version);
    kvf_graph *graph = kvf_arena_take(r->arena, 1, sizeof *graph);
    if (!o->producer || !o->producer_version || !graph) return kvf_no_room(r);
    o->graph = graph;
    status = read_opsets(r, p.n_opsets);
    if (!status) status = read_properties(r, p.n_properties);
    if (!status) status = kvf_find_functions(r, r->file);
    if (!status) status = kvf_read_graph(r, p.graph, graph);
    if (!status) status = kvf_check_functions(r);
    if (!status) status = count_operators(r);
    return status;
}

/* Read what file->maps[0], or the caller's memory, holds. */
static kvf_status read_file(kvf_onnx_file *file, kvf_span data, const char *path, kvf_error *err)
{
    if (!kvf_mul(data.size, BUDGET_FACTOR, &file->budget)) file->budget = UINT64_MAX / 2;
    file->budget += BUDGET_LEAST;
    file->arena.budget = &file->budget;
    kvf_reader r = {.err = err,
                    .path = path,
                    .file = data,
                    .out = file,
                    .arena = &file->arena,
                    .scratch = {.budget = &file->budget}};
    kvf_status status = read_model(&r);
    kvf_arena_free(&r.scratch);
    return status ? kvf_prefix(err, status, "%s: ", file->onnx.path) : KVF_OK;
}

kvf_status kvf_onnx_open(kvf_onnx **out, const char *path, kvf_error *err)
{
    *out = NULL;
    kvf_onnx_file *file = kvf_array(1, sizeof *file);
    if (!file) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to read it", path);
    kvf_status status = kvf_map_file(file, path, err);
    if (!status) {
        file->onnx.path = file->files[0];
        status = read_file(file, (kvf_span){file->maps[0].data, file->maps[0].size}, path, err);
    }
    if (status)
        kvf_onnx_close(&file->onnx);
    else
        *out = &file->onnx;
    return status;
}

kvf_status kvf_onnx_parse(kvf_onnx **out, const void *data, uint64_t size, const char *name,
                          kvf_error *err)
{
    *out = NULL;
    kvf_onnx_file *file = kvf_array(1, sizeof *file);
    if (!file) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to read it", name);
    file->onnx.path = file->name = kvf_copy_string(name);
    file->onnx.file_bytes = size;
    kvf_status status = file->name ? read_file(file, (kvf_span){data, size}, NULL, err)
                                   : kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory to read it", name);
    if (status)
        kvf_onnx_close(&file->onnx);
    else
        *out = &file->onnx;
    return status;
}

void kvf_onnx_close(kvf_onnx *onnx)
{
    if (!onnx) return;
    kvf_onnx_file *file = (kvf_onnx_file *)onnx;
    for (uint32_t i = 0; i < onnx->n_files; i++) {
        kvf_file_close(&file->maps[i]);
        kvf_free((void *)(uintptr_t)file->files[i]);
    }
    kvf_free(file->maps);
    kvf_free(file->files);
    kvf_free(file->name);
    kvf_arena_free(&file->arena);
    kvf_free(file);
}
