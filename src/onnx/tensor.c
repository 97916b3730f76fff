/* tensor.c - tensors and shapes: what a file says about them, held against the bytes it has.
 *
 * A tensor's bytes stay where they are, in the mapped file or in a file beside it. Only numbers
 * that the file spells out one by one (int64_data and the like) are written anew into the arena. */
#include "read.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bits; /* 0: not fixed, or not a number that decoders have */
} types[] = {
    [KVF_NO_TYPE] = {"no type", 0}, [KVF_F32] = {"float32", 32},   [KVF_U8] = {"uint8", 8},
    [KVF_I8] = {"int8", 8},         [KVF_U16] = {"uint16", 16},    [KVF_I16] = {"int16", 16},
    [KVF_I32] = {"int32", 32},      [KVF_I64] = {"int64", 64},     [KVF_STRING] = {"string", 0},
    [KVF_BOOL] = {"bool", 8},       [KVF_F16] = {"float16", 16},   [KVF_F64] = {"float64", 64},
    [KVF_U32] = {"uint32", 32},     [KVF_U64] = {"uint64", 64},    [14] = {"complex64", 0},
    [15] = {"complex128", 0},       [KVF_BF16] = {"bfloat16", 16}, [17] = {"float8e4m3fn", 8},
    [18] = {"float8e4m3fnuz", 8},   [19] = {"float8e5m2", 8},      [20] = {"float8e5m2fnuz", 8},
    [KVF_U4] = {"uint4", 4},        [KVF_I4] = {"int4", 4},        [23] = {"float4e2m1", 4},
    [24] = {"float8e8m0", 8},
};
enum { N_TYPES = sizeof types / sizeof types[0] };

const char *kvf_type_name(kvf_type type)
{
    return (uint32_t)type < N_TYPES ? types[type].name : "unknown";
}

uint32_t kvf_type_bits(kvf_type type)
{
    return (uint32_t)type < N_TYPES ? types[type].bits : 0;
}

/* ---- tensors --------------------------------------------------------------------------------- */

typedef struct said { /* what a TensorProto says beside its dims */
    uint64_t type, location;
    kvf_span raw, name;
    bool has_raw, has_segment;
} said;

static kvf_status walk(const kvf_reader *r, kvf_span message, said *s)
{
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);) switch (f.key) {
        case KVF_VARINT(2): s->type = f.number; break;
        case KVF_BYTES(3): s->has_segment = true; break;
        case KVF_BYTES(8): s->name = f.bytes; break;
        case KVF_BYTES(9):
            s->raw = f.bytes;
            s->has_raw = true;
            break;
        case KVF_VARINT(14): s->location = f.number; break;
        default: break;
        }
    return w.wrong ? kvf_broken(r, &w, "a tensor") : KVF_OK;
}

#define MAX_ELEMENTS (UINT64_C(1) << 56) /* so that their bits are still a number */

/* Dims and count. The product without zeros must fit too: no later sum over dims can wrap. */
static kvf_status read_dims(const kvf_reader *r, kvf_span message, kvf_tensor *t)
{
    uint64_t d, product = 1;
    kvf_scalars dims = kvf_scalars_of(message, 1, 0);
    while (kvf_scalars_next(&dims, &d)) {
        if (t->rank == KVF_MAX_RANK)
            return kvf_fail(r->err, KVF_ERR_MODEL, "it has more than %d dimensions", KVF_MAX_RANK);
        if (d > INT64_MAX)
            return kvf_fail(r->err, KVF_ERR_MODEL, "its dimension %u is negative (%" PRId64 ")",
                            t->rank, (int64_t)d);
        if (d && (!kvf_mul(product, d, &product) || product > MAX_ELEMENTS))
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "its dimensions overflow: they ask for more than 2^56 elements");
        t->dims[t->rank++] = (int64_t)d;
        t->count = d ? t->count : 0;
    }
    if (dims.packed.wrong) return kvf_broken(r, &dims.packed, "dimensions");
    if (t->count) t->count = product;
    return KVF_OK;
}

/* Which repeated field spells the elements of a type out, and in how many bytes (0: varints). */
static uint32_t typed_field(kvf_type type, uint32_t *size)
{
    *size = type == KVF_F32 ? 4 : type == KVF_F64 ? 8 : 0;
    switch (type) {
    case KVF_F32: return 4;
    case KVF_F64: return 10;
    case KVF_I64: return 7;
    case KVF_U32:
    case KVF_U64: return 11;
    default: return 5;
    }
}

/* Small types are spelled out as int32: signed or not, but never with bits that would be lost. */
static bool fits(uint64_t v, kvf_type type, uint32_t bits)
{
    if (type == KVF_BOOL) return v <= 1;
    if (bits == 64) return true;
    int64_t s = (int64_t)v, end = (int64_t)1 << bits;
    return s >= -end / 2 && s < end;
}

static kvf_status copy_typed(kvf_reader *r, kvf_scalars numbers, kvf_tensor *t, uint32_t unit_bits)
{
    uint8_t *out = kvf_arena_take(r->arena, t->bytes, 1);
    if (!out) return kvf_no_room(r);
    t->data = out;
    uint64_t i = 0;
    for (uint64_t v; kvf_scalars_next(&numbers, &v); i++) {
        if (!fits(v, t->type, unit_bits))
            return kvf_fail(r->err, KVF_ERR_MODEL,
                            "its element %" PRIu64 " is %" PRId64 ", which is no %s", i, (int64_t)v,
                            kvf_type_name(t->type));
        for (uint32_t b = 0; b < unit_bits; b += 8) *out++ = (uint8_t)(v >> b);
    }
    return KVF_OK;
}

/* Elements that are spelled out. Floats in one packed field lie there as they are needed. */
static kvf_status read_typed(kvf_reader *r, kvf_span message, kvf_tensor *t)
{
    uint32_t size, bits = kvf_type_bits(t->type), unit_bits = bits == 4 ? 8 : bits;
    uint32_t number = typed_field(t->type, &size);
    uint64_t n = 0, v, units = bits == 4 ? (t->count + 1) / 2 : t->count;
    kvf_scalars numbers = kvf_scalars_of(message, number, size);
    while (kvf_scalars_next(&numbers, &v)) n++;
    if (numbers.packed.wrong) return kvf_broken(r, &numbers.packed, "elements");
    if (n != units)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "it has %" PRIu64 " elements, but its shape asks for %" PRIu64, n, units);
    kvf_span packed;
    kvf_wire w = kvf_wire_of(message);
    if (size && kvf_next_of(&w, KVF_BYTES(number), &packed) && packed.size == t->bytes) {
        t->data = packed.data;
        return KVF_OK;
    }
    return copy_typed(r, kvf_scalars_of(message, number, size), t, unit_bits);
}

static kvf_status read_strings(const kvf_reader *r, kvf_span message, const kvf_tensor *t)
{
    uint64_t n = 0;
    kvf_span s;
    for (kvf_wire w = kvf_wire_of(message); kvf_next_of(&w, KVF_BYTES(6), &s);) n++;
    if (n == t->count) return KVF_OK;
    return kvf_fail(r->err, KVF_ERR_MODEL,
                    "it has %" PRIu64 " strings, but its shape asks for %" PRIu64, n, t->count);
}

static kvf_status read_data(kvf_reader *r, kvf_span message, const said *s, kvf_tensor *t)
{
    uint32_t bits = kvf_type_bits(t->type);
    t->bytes = t->count * bits / 8 + (t->count * bits % 8 != 0);
    t->data = "";
    if (s->has_segment)
        return kvf_fail(r->err, KVF_ERR_MODEL, "it is stored in segments, which is not supported");
    if (t->type == KVF_STRING) {
        t->data = NULL;
        return read_strings(r, message, t);
    }
    if (!bits)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its elements are of type %" PRIu64 " (%s), which is not supported",
                        s->type, kvf_type_name(t->type));
    if (s->location == 1) return kvf_read_external(r, message, t);
    if (s->location)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "its data location is %" PRIu64
                        ", but only 0 (here) and 1 (external) exist",
                        s->location);
    if (!s->has_raw) return read_typed(r, message, t);
    if (s->raw.size != t->bytes)
        return kvf_fail(r->err, KVF_ERR_MODEL,
                        "it has %" PRIu64 " bytes, but its shape and type ask for %" PRIu64,
                        s->raw.size, t->bytes);
    if (t->bytes) t->data = s->raw.data;
    return KVF_OK;
}

kvf_status kvf_read_tensor(kvf_reader *r, kvf_span message, kvf_tensor *t)
{
    said s = {0};
    kvf_status status = walk(r, message, &s);
    if (!status) status = kvf_check_name(r, s.name);
    if (status) return status;
    *t = (kvf_tensor){.name = "",
                      .type = s.type < N_TYPES ? (kvf_type)s.type : KVF_NO_TYPE,
                      .count = 1};
    status = read_dims(r, message, t);
    if (!status) status = read_data(r, message, &s, t);
    if (status)
        kvf_prefix(r->err, status, "tensor \"%.*s\": ", s.name.size < 120 ? (int)s.name.size : 120,
                   s.name.size ? (const char *)s.name.data : "");
    return status;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

static kvf_status read_dim(kvf_reader *r, kvf_span message, kvf_shape *shape)
{
    int64_t *dim = &shape->dims[shape->rank];
    kvf_span name = {0};
    *dim = -1;
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);) {
        if (f.key == KVF_VARINT(1)) *dim = (int64_t)f.number;
        if (f.key == KVF_BYTES(2)) name = f.bytes;
    }
    if (w.wrong) return kvf_broken(r, &w, "a dimension");
    if (*dim < -1) /* some writers say -1 for what they do not know */
        return kvf_fail(r->err, KVF_ERR_MODEL, "dimension %u is %" PRId64, shape->rank, *dim);
    shape->names[shape->rank] = "";
    if (*dim < 0 && name.size) {
        kvf_status status = kvf_check_name(r, name);
        if (status) return status;
        if (!(shape->names[shape->rank] = kvf_arena_string(r->arena, name))) return kvf_no_room(r);
    }
    shape->rank++;
    return KVF_OK;
}

static kvf_status read_dims_of_shape(kvf_reader *r, kvf_span message, kvf_shape *shape)
{
    shape->known = true;
    kvf_status status = KVF_OK;
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; !status && kvf_wire_next(&w, &f);) {
        if (f.key != KVF_BYTES(1)) continue;
        if (shape->rank == KVF_MAX_RANK) { /* no decoder has such an input: not known to us */
            *shape = (kvf_shape){.type = shape->type};
            return KVF_OK;
        }
        status = read_dim(r, f.bytes, shape);
    }
    return w.wrong ? kvf_broken(r, &w, "a shape") : status;
}

/* The last field of a key, or an empty span without data. */
static kvf_status find(const kvf_reader *r, kvf_span message, uint32_t key, const char *what,
                       kvf_span *out)
{
    *out = (kvf_span){0};
    kvf_wire w = kvf_wire_of(message);
    for (kvf_field f; kvf_wire_next(&w, &f);)
        if (f.key == key) *out = f.bytes;
    return w.wrong ? kvf_broken(r, &w, what) : KVF_OK;
}

kvf_status kvf_read_shape(kvf_reader *r, kvf_span value_info, const kvf_shape **out)
{
    *out = NULL;
    kvf_span type, tensor;
    kvf_status status = find(r, value_info, KVF_BYTES(2), "a value", &type);
    if (status || !type.data) return status;
    status = find(r, type, KVF_BYTES(1), "a type", &tensor);
    if (status || !tensor.data) return status;
    kvf_shape *shape = kvf_arena_take(r->arena, 1, sizeof *shape);
    if (!shape) return kvf_no_room(r);
    *out = shape;
    kvf_span dims = {0};
    kvf_wire w = kvf_wire_of(tensor);
    for (kvf_field f; kvf_wire_next(&w, &f);) {
        if (f.key == KVF_VARINT(1) && f.number < N_TYPES) shape->type = (kvf_type)f.number;
        if (f.key == KVF_BYTES(2)) dims = f.bytes;
    }
    if (w.wrong) return kvf_broken(r, &w, "a tensor's type");
    return dims.data ? read_dims_of_shape(r, dims, shape) : KVF_OK;
}
