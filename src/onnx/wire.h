/* wire.h - Protocol Buffers' wire format, one field at a time, inside known bounds.
 *
 * A message is a span of bytes; a field is a key and a number or a span inside it. Nothing is
 * copied and nothing descends by itself. Groups (wire types 3 and 4) are refused: ONNX has none.
 * Format: the encoding guide of Protocol Buffers. */
#ifndef KVF_ONNX_WIRE_H
#define KVF_ONNX_WIRE_H

#include "base.h"

typedef struct kvf_span {
    const uint8_t *data;
    uint64_t size;
} kvf_span;

/* A field as its number and wire type together, so that a known number with an unexpected type
 * is an unknown field, as it is to every other reader. */
#define KVF_VARINT(number)  ((number) << 3)
#define KVF_FIXED64(number) ((number) << 3 | 1)
#define KVF_BYTES(number)   ((number) << 3 | 2)
#define KVF_FIXED32(number) ((number) << 3 | 5)

typedef struct kvf_field {
    uint32_t key;
    uint64_t number; /* of varint and fixed fields */
    kvf_span bytes;
} kvf_field;

typedef struct kvf_wire {
    const uint8_t *at, *end;
    const char *wrong; /* what is wrong at `at`, once kvf_wire_next has said false; or NULL */
} kvf_wire;

static inline kvf_wire kvf_wire_of(kvf_span message)
{
    /* NULL + 0 is no pointer in C. */
    const uint8_t *end = message.size ? message.data + message.size : message.data;
    return (kvf_wire){.at = message.data, .end = end};
}

bool kvf_wire_next(kvf_wire *wire, kvf_field *field);
bool kvf_wire_varint(kvf_wire *wire, uint64_t *out);

/* The numbers of a repeated scalar field, which may come one by one or packed. */
typedef struct kvf_scalars {
    kvf_wire fields, packed;
    uint32_t number; /* of the field */
    uint32_t size;   /* of one in bytes: 4, 8, or 0 for varints */
} kvf_scalars;
kvf_scalars kvf_scalars_of(kvf_span message, uint32_t number, uint32_t size);
/* False at the end, or when scalars.packed.wrong says why. */
bool kvf_scalars_next(kvf_scalars *scalars, uint64_t *out);
#endif
