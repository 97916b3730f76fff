/* onnx.h - ONNX bytes as a graph, without copying a tensor.
 *
 * The reader walks the mapped file once, checks every length, depth, dimension and offset
 * against what is there, and leaves an immutable graph whose tensors point into the mapping
 * (or into the mappings of external data files beside it). Names become numbers: a value is
 * an index, and everything about it is found by index.
 *
 * Facts about the format: onnx.proto of the ONNX project, and the encoding guide of Protocol
 * Buffers. Only what decoders need is kept; every other field is skipped, but well-formed. */
#ifndef KVF_ONNX_H
#define KVF_ONNX_H

#include "base.h"

/* TensorProto.DataType; the numbers are the file's. */
typedef enum kvf_type {
    KVF_NO_TYPE = 0,
    KVF_F32 = 1,
    KVF_U8 = 2,
    KVF_I8 = 3,
    KVF_U16 = 4,
    KVF_I16 = 5,
    KVF_I32 = 6,
    KVF_I64 = 7,
    KVF_STRING = 8,
    KVF_BOOL = 9,
    KVF_F16 = 10,
    KVF_F64 = 11,
    KVF_U32 = 12,
    KVF_U64 = 13,
    KVF_BF16 = 16,
    KVF_U4 = 21,
    KVF_I4 = 22,
} kvf_type;
const char *kvf_type_name(kvf_type type); /* "float32", "int64", ...; "type 99" is "unknown" */
uint32_t kvf_type_bits(kvf_type type);    /* per element; 0 if it has no fixed size */

enum { KVF_MAX_RANK = 8, KVF_MAX_NESTING = 32 };
#define KVF_NO_VALUE UINT32_MAX /* an omitted optional input or output */

typedef struct kvf_tensor {
    const char *name; /* "" in attributes */
    kvf_type type;
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK]; /* each >= 0; the product of all fits and equals count */
    uint64_t count;
    const void *data; /* count elements, little-endian, ANY alignment; NULL only for strings */
    uint64_t bytes;
} kvf_tensor;

typedef struct kvf_shape { /* of a graph input, output or annotated value */
    kvf_type type;         /* KVF_NO_TYPE: not a tensor, or not said */
    bool known;            /* false: not even the rank is said */
    uint32_t rank;
    int64_t dims[KVF_MAX_RANK];      /* -1: dynamic */
    const char *names[KVF_MAX_RANK]; /* of dynamic dimensions, "" if unnamed */
} kvf_shape;

typedef struct kvf_graph kvf_graph;

typedef struct kvf_attr {
    const char *name;
    int type; /* AttributeProto.AttributeType: 1 f, 2 i, 3 s, 4 tensor, 5 graph, 6 floats, 7 ints,
                 8 strings */
    float f;
    int64_t i;
    const char *s;        /* [s_length], terminated too */
    uint64_t s_length, n; /* n: of floats, ints or strings */
    const float *floats;
    const int64_t *ints;
    const char *const *strings;
    const kvf_tensor *tensor;
    const kvf_graph *graph;
} kvf_attr;

typedef struct kvf_op {
    const char *type, *domain, *name; /* domain "" for ai.onnx */
    const uint32_t *inputs, *outputs; /* values, or KVF_NO_VALUE */
    uint32_t n_inputs, n_outputs, n_attrs;
    const kvf_attr *attrs;
} kvf_op;

typedef struct kvf_value {
    const char *name;
    int32_t producer; /* op that writes it, or -1: input, initializer, or of an outer graph */
    const kvf_tensor *initializer; /* or NULL */
    const kvf_shape *shape;        /* as declared, or NULL */
} kvf_value;

/* Ops are in an order in which everything is written before it is read; this is checked. Values of
 * a subgraph that come from around it are values of their own there, found outside by name. */
struct kvf_graph {
    const char *name;
    uint32_t n_ops, n_values, n_inputs, n_outputs, n_initializers;
    const kvf_op *ops;
    const kvf_value *values;
    const uint32_t *inputs; /* without those that are initializers too */
    const uint32_t *outputs;
    const kvf_tensor *initializers;
};

typedef struct kvf_opset {
    const char *domain; /* "" for ai.onnx */
    int64_t version;
} kvf_opset;
typedef struct kvf_property {
    const char *key, *value;
} kvf_property;
typedef struct kvf_onnx_function {
    const char *domain, *name;
} kvf_onnx_function;

typedef struct kvf_onnx { /* a whole file */
    const char *path;
    int64_t ir_version;
    const char *producer, *producer_version;
    const kvf_graph *graph;
    const kvf_opset *opsets;
    const kvf_property *properties;
    const kvf_onnx_function *functions; /* model-local; their bodies were checked, not kept */
    const char *const *files;           /* the graph's, then those of external data, as opened */
    uint32_t n_opsets, n_properties, n_functions, n_files;
    uint64_t file_bytes, parameters; /* of all files; elements of initializers of rank >= 1 and
                                        float or integer weights */
    const kvf_count *operators;      /* [n_operators] over all subgraphs too, sorted by name */
    uint32_t n_operators;
} kvf_onnx;

/* Read a model.
 *
 * out     set on KVF_OK, else NULL; free it with kvf_onnx_close
 * Memory  a small multiple of the graph without its tensors; never more than a few times the
 *         file's size, whatever the file claims
 * Errors  KVF_ERR_IO; KVF_ERR_MODEL with the path and the tensor, node or byte at fault:
 *         truncated or trailing bytes, nesting beyond KVF_MAX_NESTING, dimensions that are
 *         negative, overflow or do not match the bytes, values read before they are written, a function
 *         that calls itself, external data outside the model's folder or beyond its file's end */
kvf_status kvf_onnx_open(kvf_onnx **out, const char *path, kvf_error *err);
/* The same from memory that outlives it; there is no folder for external data then. */
kvf_status kvf_onnx_parse(kvf_onnx **out, const void *data, uint64_t size, const char *name,
                          kvf_error *err);
void kvf_onnx_close(kvf_onnx *onnx); /* NULL is fine */

uint32_t kvf_graph_find(const kvf_graph *graph, const char *name); /* a value, or KVF_NO_VALUE */
const kvf_attr *kvf_op_attr(const kvf_op *op, const char *name);   /* or NULL */
int64_t kvf_op_int(const kvf_op *op, const char *name, int64_t missing);
float kvf_op_float(const kvf_op *op, const char *name, float missing);
bool kvf_op_is(const kvf_op *op, const char *domain, const char *type); /* domain "" is ai.onnx */
int64_t kvf_onnx_opset(const kvf_onnx *onnx, const char *domain);       /* 0 if not imported */
const char *kvf_onnx_property(const kvf_onnx *onnx, const char *key);   /* or NULL */
/* Element i as a float or an integer, for any number type; the caller checked i < count. */
float kvf_tensor_f32(const kvf_tensor *tensor, uint64_t i);
int64_t kvf_tensor_i64(const kvf_tensor *tensor, uint64_t i);
#endif
