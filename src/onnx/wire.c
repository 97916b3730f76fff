/* wire.c - bounded reading of Protocol Buffers' wire format; see wire.h. */
#include "wire.h"

static bool stop(kvf_wire *w, const char *wrong)
{
    w->wrong = wrong;
    return false;
}

bool kvf_wire_varint(kvf_wire *w, uint64_t *out)
{
    uint64_t v = 0;
    const uint8_t *at = w->at;
    for (uint32_t shift = 0; shift < 64; shift += 7) {
        if (at == w->end) return stop(w, "a number is cut off");
        uint8_t byte = *at++;
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            w->at = at;
            *out = v;
            return true;
        }
    }
    return stop(w, "a number has more than 64 bits");
}

static bool fixed(kvf_wire *w, uint32_t size, uint64_t *out)
{
    if ((uint64_t)(w->end - w->at) < size) return stop(w, "a number is cut off");
    uint64_t v = 0;
    for (uint32_t i = 0; i < size; i++) v |= (uint64_t)w->at[i] << 8 * i;
    w->at += size;
    *out = v;
    return true;
}

static bool bytes(kvf_wire *w, kvf_span *out)
{
    uint64_t size;
    if (!kvf_wire_varint(w, &size)) return false;
    if (size > (uint64_t)(w->end - w->at))
        return stop(w, "a field is longer than what is left of its message");
    *out = (kvf_span){w->at, size};
    w->at += size;
    return true;
}

bool kvf_wire_next(kvf_wire *w, kvf_field *f)
{
    if (w->at == w->end || w->wrong) return false;
    uint64_t key;
    if (!kvf_wire_varint(w, &key)) return false;
    if (key > UINT32_MAX || key < 8) return stop(w, "no field has such a number");
    *f = (kvf_field){.key = (uint32_t)key};
    switch (key & 7) {
    case 0: return kvf_wire_varint(w, &f->number);
    case 1: return fixed(w, 8, &f->number);
    case 2: return bytes(w, &f->bytes);
    case 5: return fixed(w, 4, &f->number);
    default: return stop(w, "no field of ONNX has such a wire type");
    }
}

kvf_scalars kvf_scalars_of(kvf_span message, uint32_t number, uint32_t size)
{
    return (kvf_scalars){.fields = kvf_wire_of(message), .number = number, .size = size};
}

bool kvf_scalars_next(kvf_scalars *s, uint64_t *out)
{
    uint32_t single = s->size == 4   ? KVF_FIXED32(s->number)
                      : s->size == 8 ? KVF_FIXED64(s->number)
                                     : KVF_VARINT(s->number);
    for (kvf_field f; s->packed.at == s->packed.end;) {
        if (!kvf_wire_next(&s->fields, &f)) return stop(&s->packed, s->fields.wrong);
        if (f.key == KVF_BYTES(s->number)) s->packed = kvf_wire_of(f.bytes);
        if (f.key == single) {
            *out = f.number;
            return true;
        }
    }
    return s->size ? fixed(&s->packed, s->size, out) : kvf_wire_varint(&s->packed, out);
}
