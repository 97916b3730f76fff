/* safetensors.c - headers read and held against the files. */
#include "export/safetensors.h"

#include "export/json.h"

#include <sha256.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct shard {
    char *path;
    const char *name; /* the last part of path */
    kvf_file file;
    json_t *header; /* owns the tensors' names */
} shard;

struct kvf_safetensors {
    shard *shards;
    kvf_tensor *tensors; /* sorted by name once open */
    bool *used;          /* [n_tensors] */
    size_t n_shards, shard_room, n_tensors, tensor_room;
};

static const struct {
    const char *name;
    kvf_type type;
} types[] = {{"F32", KVF_F32},  {"F16", KVF_F16}, {"BF16", KVF_BF16}, {"F64", KVF_F64},
             {"I64", KVF_I64},  {"I32", KVF_I32}, {"I16", KVF_I16},   {"I8", KVF_I8},
             {"U64", KVF_U64},  {"U32", KVF_U32}, {"U16", KVF_U16},   {"U8", KVF_U8},
             {"BOOL", KVF_BOOL}};

/* ---- one tensor ------------------------------------------------------------------------------ */

static kvf_status read_type(kvf_tensor *t, const char *path, const json_t *entry, kvf_error *err)
{
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    for (size_t i = 0; dtype && i < sizeof types / sizeof *types; i++)
        if (!strcmp(dtype, types[i].name)) t->type = types[i].type;
    if (t->type) return KVF_OK;
    return kvf_fail(err, KVF_ERR_MODEL, "%s: %s: its dtype is '%s', but should be one like F32",
                    path, t->name, dtype ? dtype : "not said");
}

static kvf_status read_shape(kvf_tensor *t, const char *path, const json_t *entry, kvf_error *err)
{
    const json_t *shape = json_object_get(entry, "shape");
    if (!json_is_array(shape) || json_array_size(shape) > KVF_MAX_RANK)
        return kvf_fail(err, KVF_ERR_MODEL, "%s: %s: its shape should be a list of up to %d sizes",
                        path, t->name, KVF_MAX_RANK);
    t->rank = (uint32_t)json_array_size(shape);
    t->count = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        const json_t *dim = json_array_get(shape, i);
        t->dims[i] = json_integer_value(dim);
        if (!json_is_integer(dim) || t->dims[i] < 0 ||
            !kvf_mul(t->count, (uint64_t)t->dims[i], &t->count))
            return kvf_fail(err, KVF_ERR_MODEL, "%s: %s: dimension %u of its shape is no size",
                            path, t->name, i);
    }
    return KVF_OK;
}

/* Two integers from 0 to the end of the data. */
static kvf_status read_place(kvf_tensor *t, const char *path, const json_t *entry,
                             const kvf_file *data, kvf_error *err)
{
    const json_t *place = json_object_get(entry, "data_offsets");
    const json_t *first = json_array_get(place, 0), *last = json_array_get(place, 1);
    json_int_t begin = json_integer_value(first), end = json_integer_value(last);
    if (json_array_size(place) != 2 || !json_is_integer(first) || !json_is_integer(last))
        return kvf_fail(err, KVF_ERR_MODEL, "%s: %s: data_offsets should be two integers", path,
                        t->name);
    if (begin < 0 || end < begin || (uint64_t)end > data->size)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: %s: data_offsets are [%lld, %lld], but the file has %llu bytes of "
                        "tensors",
                        path, t->name, (long long)begin, (long long)end,
                        (unsigned long long)data->size);
    t->data = data->data + begin;
    t->bytes = (uint64_t)(end - begin);
    uint64_t needed;
    if (!kvf_mul(t->count, kvf_type_bits(t->type) / 8, &needed) || needed != t->bytes)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: %s: its type and shape need %llu bytes, but data_offsets hold %llu",
                        path, t->name, (unsigned long long)needed, (unsigned long long)t->bytes);
    return KVF_OK;
}

static kvf_status add_tensor(kvf_safetensors *st, const shard *s, const char *name,
                             const json_t *entry, const kvf_file *data, kvf_error *err)
{
    if (st->n_tensors == st->tensor_room) {
        size_t room = st->tensor_room ? st->tensor_room * 2 : 64;
        kvf_tensor *grown = kvf_resize(st->tensors, room, sizeof *grown);
        if (!grown) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory for its tensors", s->path);
        st->tensors = grown;
        st->tensor_room = room;
    }
    kvf_tensor *t = &st->tensors[st->n_tensors++];
    *t = (kvf_tensor){.name = name};
    if (!json_is_object(entry))
        return kvf_fail(err, KVF_ERR_MODEL, "%s: %s: should be an object", s->path, name);
    kvf_status status = read_type(t, s->path, entry, err);
    if (!status) status = read_shape(t, s->path, entry, err);
    if (!status) status = read_place(t, s->path, entry, data, err);
    return status;
}

/* ---- one file -------------------------------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
    const kvf_tensor *x = a, *y = b;
    const uint8_t *p = x->data, *q = y->data;
    if (p != q) return p < q ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The file's tensors must fill its data, each beginning where the one before ends. */
static kvf_status check_places(kvf_tensor *tensors, size_t n, const shard *s, const kvf_file *data,
                               kvf_error *err)
{
    const uint8_t *at = data->data;
    if (n) qsort(tensors, n, sizeof *tensors, by_place);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *begin = tensors[i].data;
        if (begin != at)
            return kvf_fail(err, KVF_ERR_MODEL,
                            "%s: %s begins at byte %llu of the tensors, but what is before it "
                            "ends at %llu",
                            s->path, tensors[i].name, (unsigned long long)(begin - data->data),
                            (unsigned long long)(at - data->data));
        at = begin + tensors[i].bytes;
    }
    if (at == data->data + data->size) return KVF_OK;
    return kvf_fail(err, KVF_ERR_MODEL, "%s: %llu bytes behind the last tensor", s->path,
                    (unsigned long long)(data->data + data->size - at));
}

static kvf_status read_header(shard *s, kvf_file *data, kvf_error *err)
{
    uint64_t length = 0;
    if (s->file.size < 8)
        return kvf_fail(err, KVF_ERR_MODEL, "%s: %llu bytes are too few for safetensors", s->path,
                        (unsigned long long)s->file.size);
    for (unsigned i = 0; i < 8; i++) length |= (uint64_t)s->file.data[i] << (8 * i);
    if (length > s->file.size - 8)
        return kvf_fail(err, KVF_ERR_MODEL,
                        "%s: its header should have %llu bytes, but the file has %llu: it is "
                        "truncated, or no safetensors",
                        s->path, (unsigned long long)length, (unsigned long long)s->file.size);
    *data = (kvf_file){.data = s->file.data + 8 + length, .size = s->file.size - 8 - length};
    return kvf_json_parse(&s->header, s->path, s->file.data + 8, length, err);
}

static kvf_status read_shard(kvf_safetensors *st, shard *s, kvf_error *err)
{
    kvf_file data = {0};
    size_t first = st->n_tensors;
    kvf_status status = kvf_file_open(&s->file, s->path, err);
    if (!status) status = read_header(s, &data, err);
    if (status) return status;
    const char *name;
    json_t *entry;
    json_object_foreach(s->header, name, entry)
    {
        if (!strcmp(name, "__metadata__")) continue;
        status = add_tensor(st, s, name, entry, &data, err);
        if (status) return status;
    }
    if (st->n_tensors == first) return data.size ? check_places(NULL, 0, s, &data, err) : KVF_OK;
    return check_places(st->tensors + first, st->n_tensors - first, s, &data, err);
}

/* Open folder/name (folder NULL: name is the whole path) as one more shard. */
static kvf_status add_shard(kvf_safetensors *st, const char *folder, const char *name,
                            kvf_error *err)
{
    size_t room = (folder ? strlen(folder) + 1 : 0) + strlen(name) + 1;
    if (st->n_shards == st->shard_room) {
        size_t more = st->shard_room ? st->shard_room * 2 : 4;
        shard *grown = kvf_resize(st->shards, more, sizeof *grown);
        if (!grown) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", name);
        st->shards = grown;
        st->shard_room = more;
    }
    shard *s = &st->shards[st->n_shards];
    *s = (shard){.path = kvf_array(room, 1)};
    if (!s->path) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", name);
    st->n_shards++;
    snprintf(s->path, room, "%s%s%s", folder ? folder : "", folder ? "/" : "", name);
    s->name = s->path + room - 1 - strlen(name);
    return read_shard(st, s, err);
}

/* ---- a folder of shards ---------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const kvf_tensor *)a)->name, ((const kvf_tensor *)b)->name);
}

static kvf_tensor *find(const kvf_safetensors *st, const char *name)
{
    kvf_tensor key = {.name = name};
    return st->n_tensors ? bsearch(&key, st->tensors, st->n_tensors, sizeof key, by_name) : NULL;
}

static kvf_status sort_by_name(kvf_safetensors *st, kvf_error *err)
{
    if (st->n_tensors) qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_name);
    for (size_t i = 1; i < st->n_tensors; i++)
        if (!by_name(&st->tensors[i - 1], &st->tensors[i]))
            return kvf_fail(err, KVF_ERR_MODEL, "%s is in two shards", st->tensors[i].name);
    st->used = kvf_array(st->n_tensors, sizeof *st->used);
    return st->used ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "no memory for a checkpoint");
}

static bool shard_is_open(const kvf_safetensors *st, const char *name)
{
    for (size_t i = 0; i < st->n_shards; i++)
        if (!strcmp(st->shards[i].name, name)) return true;
    return false;
}

/* A plain name: a path could leave the folder. */
static bool is_plain(const char *name)
{
    return *name && !strchr(name, '/') && !strchr(name, '\\') && strcmp(name, ".") &&
           strcmp(name, "..");
}

static kvf_status open_shards(kvf_safetensors *st, const char *folder, const char *index,
                              const json_t *map, kvf_error *err)
{
    const char *tensor;
    json_t *value;
    if (!json_is_object(map)) return kvf_fail(err, KVF_ERR_MODEL, "%s: has no weight_map", index);
    json_object_foreach((json_t *)(uintptr_t)map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name || !is_plain(name))
            return kvf_fail(err, KVF_ERR_MODEL,
                            "%s: the shard of %s is '%s', but should be the plain name of a file "
                            "beside it",
                            index, tensor, name ? name : "no text");
        kvf_status status = shard_is_open(st, name) ? KVF_OK : add_shard(st, folder, name, err);
        if (status) return status;
    }
    return KVF_OK;
}

static const shard *shard_of(const kvf_safetensors *st, const kvf_tensor *t)
{
    for (size_t i = 0; i < st->n_shards; i++) {
        const kvf_file *f = &st->shards[i].file;
        if ((const uint8_t *)t->data >= f->data && (const uint8_t *)t->data <= f->data + f->size &&
            json_object_get(st->shards[i].header, t->name))
            return &st->shards[i];
    }
    return NULL;
}

/* The index and the shards must tell the same story. */
static kvf_status check_map(const kvf_safetensors *st, const char *index, const json_t *map,
                            kvf_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)map, name, value)
    {
        const kvf_tensor *t = find(st, name);
        const shard *s = t ? shard_of(st, t) : NULL;
        if (!s || strcmp(s->name, json_string_value(value)))
            return kvf_fail(err, KVF_ERR_MODEL, "%s: %s should be in %s, but is not", index, name,
                            json_string_value(value));
    }
    for (size_t i = 0; i < st->n_tensors; i++)
        if (!json_object_get(map, st->tensors[i].name))
            return kvf_fail(err, KVF_ERR_MODEL, "%s: does not know %s, which a shard holds", index,
                            st->tensors[i].name);
    return KVF_OK;
}

static kvf_status open_index(kvf_safetensors *st, const char *folder, const char *index,
                             kvf_error *err)
{
    json_t *json;
    kvf_status status = kvf_json_read(&json, index, err);
    if (status) return status;
    const json_t *map = json_object_get(json, "weight_map");
    status = open_shards(st, folder, index, map, err);
    if (!status) status = sort_by_name(st, err);
    if (!status) status = check_map(st, index, map, err);
    json_decref(json);
    return status;
}

static kvf_status open_folder(kvf_safetensors *st, const char *folder, kvf_error *err)
{
    static const char whole[] = "model.safetensors", parts[] = "model.safetensors.index.json";
    size_t room = strlen(folder) + sizeof parts + 1;
    char *path = kvf_array(room, 1);
    if (!path) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", folder);
    snprintf(path, room, "%s/%s", folder, whole);
    kvf_status status;
    if (!access(path, F_OK)) {
        status = add_shard(st, folder, whole, err);
        if (!status) status = sort_by_name(st, err);
    } else {
        snprintf(path, room, "%s/%s", folder, parts);
        status = access(path, F_OK) ? kvf_fail(err, KVF_ERR_IO, "%s: holds neither %s nor %s",
                                               folder, whole, parts)
                                    : open_index(st, folder, path, err);
    }
    kvf_free(path);
    return status;
}

/* ---- the checkpoint -------------------------------------------------------------------------- */

static int by_shard_name(const void *a, const void *b)
{
    return strcmp(((const shard *)a)->name, ((const shard *)b)->name);
}

kvf_status kvf_safetensors_open(kvf_safetensors **out, const char *path, kvf_error *err)
{
    struct stat info;
    *out = NULL;
    kvf_safetensors *st = kvf_array(1, sizeof *st);
    if (!st) return kvf_fail(err, KVF_ERR_NOMEM, "%s: no memory", path);
    kvf_status status;
    if (!stat(path, &info) && S_ISDIR(info.st_mode)) {
        status = open_folder(st, path, err);
    } else {
        status = add_shard(st, NULL, path, err);
        if (!status) status = sort_by_name(st, err);
    }
    if (status) {
        kvf_safetensors_close(st);
        return status;
    }
    qsort(st->shards, st->n_shards, sizeof *st->shards, by_shard_name);
    *out = st;
    return KVF_OK;
}

void kvf_safetensors_close(kvf_safetensors *st)
{
    if (!st) return;
    for (size_t i = 0; i < st->n_shards; i++) {
        kvf_free(st->shards[i].path);
        json_decref(st->shards[i].header);
        kvf_file_close(&st->shards[i].file);
    }
    kvf_free(st->shards);
    kvf_free(st->tensors);
    kvf_free(st->used);
    kvf_free(st);
}

const kvf_tensor *kvf_safetensors_find(kvf_safetensors *st, const char *name)
{
    const kvf_tensor *t = find(st, name);
    if (t) st->used[t - st->tensors] = true;
    return t;
}

const kvf_tensor *kvf_safetensors_unused(const kvf_safetensors *st, size_t *i)
{
    while (*i < st->n_tensors)
        if (!st->used[(*i)++]) return &st->tensors[*i - 1];
    return NULL;
}

static void release(const uint8_t *data, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)data;
    uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
    if (first < last) madvise((void *)first, last - first, MADV_DONTNEED);
}

void kvf_safetensors_release(const kvf_tensor *tensor)
{
    release(tensor->data, tensor->bytes);
}

void kvf_safetensors_sha256(const kvf_safetensors *st, char hex[65],
                            void (*progress)(void *user, const char *what, uint64_t done,
                                             uint64_t total),
                            void *user)
{
    enum { STEP = 1 << 24 };
    SHA2_CTX sha;
    uint64_t total = 0, done = 0;
    for (size_t i = 0; i < st->n_shards; i++) total += st->shards[i].file.size;
    SHA256Init(&sha);
    for (size_t i = 0; i < st->n_shards; i++) {
        const kvf_file *f = &st->shards[i].file;
        for (uint64_t at = 0; at < f->size; at += STEP) {
            uint64_t n = f->size - at < STEP ? f->size - at : STEP;
            SHA256Update(&sha, f->data + at, (size_t)n);
            release(f->data + at, n);
            done += n;
            if (progress) progress(user, "reading", done, total);
        }
    }
    SHA256End(&sha, hex);
}
