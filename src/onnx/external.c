/* external.c - tensors whose bytes lie in files beside the model.
 *
 * A model may come from anybody, so it may name files of its own folder only: the path is judged
 * as it is written, before anything is opened. What the folder itself holds is its owner's affair:
 * links in it are followed, as the caches of model hubs need. Each file is mapped once. */
#include "read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct place { /* what external_data says; offset and length are decimal strings */
    kvf_span location, offset, length;
} place;

static kvf_status read_place(const kvf_reader *r, kvf_span tensor, place *p)
{
    kvf_span entry;
    for (kvf_wire w = kvf_wire_of(tensor); kvf_next_of(&w, KVF_BYTES(13), &entry);) {
        kvf_span key = {0}, value = {0};
        kvf_wire e = kvf_wire_of(entry);
        for (kvf_field f; kvf_wire_next(&e, &f);) {
            if (f.key == KVF_BYTES(1)) key = f.bytes;
            if (f.key == KVF_BYTES(2)) value = f.bytes;
        }
        if (e.wrong) return kvf_broken(r, &e, "an entry of external_data");
        if (kvf_span_is(key, "location")) p->location = value;
        if (kvf_span_is(key, "offset")) p->offset = value;
        if (kvf_span_is(key, "length")) p->length = value;
    }
    return KVF_OK;
}

static kvf_status decimal(const kvf_reader *r, kvf_span text, const char *what, uint64_t *out)
{
    uint64_t v = 0;
    bool ok = text.size > 0;
    for (uint64_t i = 0; ok && i < text.size; i++) {
        uint32_t digit = (uint32_t)text.data[i] - '0';
        ok = digit < 10 && kvf_mul(v, 10, &v) && kvf_add(v, digit, &v);
    }
    *out = v;
    if (ok) return KVF_OK;
    return kvf_fail(r->err, KVF_ERR_MODEL, "the %s of its external data is not a number", what);
}

/* Length of the next component of a path; *skip is set to where the one after it begins. */
static uint64_t component(kvf_span path, uint64_t *skip)
{
    uint64_t n = 0;
    while (n < path.size && path.data[n] != '/') n++;
    *skip = n + (n < path.size);
    return n;
}

enum { MAX_PATH = 4096 };

/* The folder of the model and the location behind it, without empty and "." components, so that
 * one file has one name. */
static kvf_status make_path(const kvf_reader *r, kvf_span location, char path[MAX_PATH])
{
    if (!location.size) return kvf_fail(r->err, KVF_ERR_MODEL, "its external data has no location");
    kvf_status status = kvf_check_name(r, location);
    if (status) return status;
    const char *text = (const char *)location.data;
    int shown = location.size < 200 ? (int)location.size : 200;
    if (!r->path)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its data is in \"%.*s\", but this model has no folder", shown, text);
    const char *slash = strrchr(r->path, '/');
    size_t n = slash ? (size_t)(slash + 1 - r->path) : 0;
    if (n + location.size + 1 > MAX_PATH)
        return kvf_fail(r->err, KVF_ERR_MODEL, "the path of its external data is too long");
    memcpy(path, r->path, n);
    bool leaves = text[0] == '/', names = false;
    for (uint64_t skip; location.size && !leaves; location.data += skip, location.size -= skip) {
        kvf_span c = {location.data, component(location, &skip)};
        leaves = kvf_span_is(c, "..");
        if (!c.size || kvf_span_is(c, ".")) continue;
        if (names) path[n++] = '/';
        memcpy(path + n, c.data, c.size);
        n += c.size;
        names = true;
    }
    path[n] = 0;
    if (leaves || !names)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its external data is in \"%.*s\", but it must be in the model's folder, "
                        "named by a relative path without \"..\"",
                        shown, text);
    return KVF_OK;
}

kvf_status kvf_map_file(kvf_onnx_file *file, const char *path, kvf_error *err)
{
    kvf_onnx *o = &file->onnx;
    kvf_file *maps = kvf_resize(file->maps, o->n_files + 1, sizeof *maps);
    if (maps) file->maps = maps;
    const char **files = kvf_resize(file->files, o->n_files + 1, sizeof *files);
    if (files) o->files = file->files = files;
    char *copy = maps && files ? kvf_copy_string(path) : NULL;
    if (!copy) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory for its path", path);
    kvf_status status = kvf_file_open(&maps[o->n_files], path, err);
    if (status) {
        kvf_free(copy);
        return status;
    }
    o->file_bytes += maps[o->n_files].size;
    files[o->n_files++] = copy;
    return KVF_OK;
}

/* The mapping of a path; most tensors follow one another in the file that was used last. */
static kvf_status find_map(kvf_reader *r, const char *path, const kvf_file **out)
{
    kvf_onnx_file *file = r->out;
    for (uint32_t i = file->onnx.n_files; i-- > 1;)
        if (!strcmp(file->files[i], path)) {
            *out = &file->maps[i];
            return KVF_OK;
        }
    kvf_status status = kvf_map_file(file, path, r->err);
    if (status) return kvf_prefix(r->err, status, "external data: ");
    *out = &file->maps[file->onnx.n_files - 1];
    return KVF_OK;
}

kvf_status kvf_read_external(kvf_reader *r, kvf_span tensor, kvf_tensor *t)
{
    place p = {0};
    char path[MAX_PATH];
    uint64_t offset = 0, length = t->bytes;
    const kvf_file *map = NULL;
    kvf_status status = read_place(r, tensor, &p);
    if (!status && p.offset.data) status = decimal(r, p.offset, "offset", &offset);
    if (!status && p.length.data) status = decimal(r, p.length, "length", &length);
    if (!status) status = make_path(r, p.location, path);
    if (!status && length != t->bytes)
        status = kvf_fail(r->err, KVF_ERR_MODEL,
                          "its external data has %" PRIu64
                          " bytes, but its shape and type ask for %" PRIu64,
                          length, t->bytes);
    if (!status) status = find_map(r, path, &map);
    if (status) return status;
    if (offset > map->size || length > map->size - offset)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its external data is bytes %" PRIu64 " + %" PRIu64
                        " of %s, which has only %" PRIu64,
                        offset, length, path, map->size);
    if (length) t->data = map->data + offset;
    return KVF_OK;
}
