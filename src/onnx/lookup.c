/* lookup.c - questions about a graph that has been read: values, attributes, elements. */
#include "read.h"

#include <string.h>

int kvf_compare_names(const void *a, uint64_t a_size, const void *b, uint64_t b_size)
{
    if (a_size != b_size) return a_size < b_size ? -1 : 1;
    return a_size ? memcmp(a, b, a_size) : 0;
}

uint32_t kvf_find_value(const kvf_value *values, uint32_t n, kvf_span name)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const char *there = values[middle].name;
        int order = kvf_compare_names(name.data, name.size, there, strlen(there));
        if (!order) return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return KVF_NO_VALUE;
}

uint32_t kvf_graph_find(const kvf_graph *graph, const char *name)
{
    return kvf_find_value(graph->values, graph->n_values,
                          (kvf_span){(const uint8_t *)name, strlen(name)});
}

const kvf_attr *kvf_op_attr(const kvf_op *op, const char *name)
{
    for (uint32_t i = 0; i < op->n_attrs; i++)
        if (!strcmp(op->attrs[i].name, name)) return &op->attrs[i];
    return NULL;
}

int64_t kvf_op_int(const kvf_op *op, const char *name, int64_t missing)
{
    const kvf_attr *a = kvf_op_attr(op, name);
    return a && a->type == 2 ? a->i : missing;
}

float kvf_op_float(const kvf_op *op, const char *name, float missing)
{
    const kvf_attr *a = kvf_op_attr(op, name);
    return a && a->type == 1 ? a->f : missing;
}

bool kvf_op_is(const kvf_op *op, const char *domain, const char *type)
{
    return !strcmp(op->type, type) && !strcmp(op->domain, domain);
}

int64_t kvf_onnx_opset(const kvf_onnx *onnx, const char *domain)
{
    for (uint32_t i = 0; i < onnx->n_opsets; i++)
        if (!strcmp(onnx->opsets[i].domain, domain)) return onnx->opsets[i].version;
    return 0;
}

const char *kvf_onnx_property(const kvf_onnx *onnx, const char *key)
{
    for (uint32_t i = 0; i < onnx->n_properties; i++)
        if (!strcmp(onnx->properties[i].key, key)) return onnx->properties[i].value;
    return NULL;
}

/* ---- elements -------------------------------------------------------------------------------- */

/* The bytes of element i as an unsigned number; they may lie at any address. */
static uint64_t element(const kvf_tensor *t, uint64_t i)
{
    const uint8_t *data = t->data;
    uint32_t bits = kvf_type_bits(t->type);
    if (bits == 4) return data[i / 2] >> (i % 2 * 4) & 15;
    uint64_t v = 0;
    for (uint32_t b = 0; b < bits / 8; b++) v |= (uint64_t)data[i * (bits / 8) + b] << 8 * b;
    return v;
}

static float as_f32(uint64_t bits)
{
    union {
        uint32_t u;
        float f;
    } v = {.u = (uint32_t)bits};
    return v.f;
}

static double as_f64(uint64_t bits)
{
    union {
        uint64_t u;
        double f;
    } v = {.u = bits};
    return v.f;
}

/* A float of the file toward zero, as Cast does; beyond the range its ends, NaN 0. */
static int64_t to_i64(double f)
{
    if (f >= 0x1p63) return INT64_MAX;
    if (f < -0x1p63) return INT64_MIN;
    return f == f ? (int64_t)f : 0;
}

int64_t kvf_tensor_i64(const kvf_tensor *t, uint64_t i)
{
    uint64_t v = element(t, i);
    switch (t->type) {
    case KVF_F32: return to_i64(as_f32(v));
    case KVF_F64: return to_i64(as_f64(v));
    case KVF_F16: return to_i64(kvf_from_f16((uint16_t)v));
    case KVF_BF16: return to_i64(kvf_from_bf16((uint16_t)v));
    case KVF_I8: return (int8_t)v;
    case KVF_I16: return (int16_t)v;
    case KVF_I32: return (int32_t)v;
    case KVF_I4: return v < 8 ? (int64_t)v : (int64_t)v - 16;
    default: return (int64_t)v;
    }
}

float kvf_tensor_f32(const kvf_tensor *t, uint64_t i)
{
    switch (t->type) {
    case KVF_F32: return as_f32(element(t, i));
    case KVF_F64: return (float)as_f64(element(t, i));
    case KVF_F16: return kvf_from_f16((uint16_t)element(t, i));
    case KVF_BF16: return kvf_from_bf16((uint16_t)element(t, i));
    case KVF_U64: return (float)element(t, i);
    default: return (float)kvf_tensor_i64(t, i);
    }
}
