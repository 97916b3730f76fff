/* cells.c - reading elements of any type, strides, and the pool that tensors live in. */
#include "cells.h"

#include <string.h>

void *kvf_pool_take(kvf_pool *pool, uint64_t bytes, kvf_store **store)
{
    uint64_t whole;
    if (!kvf_add(bytes, sizeof **store, &whole) || whole > pool->limit - pool->bytes) return NULL;
    kvf_store *s = kvf_array(1, whole);
    if (!s) return NULL;
    *s = (kvf_store){.next = pool->first, .bytes = whole};
    pool->first = s;
    pool->bytes += whole;
    *store = s;
    return s + 1;
}

void kvf_pool_free(kvf_pool *pool)
{
    for (kvf_store *s = pool->first, *next; s; s = next) {
        next = s->next;
        kvf_free(s);
    }
    pool->first = NULL;
    pool->bytes = 0;
}

/* ---- elements -------------------------------------------------------------------------------- */

/* The file's memory has any alignment; memcpy of a few bytes is one load. */

static const uint8_t *place(const kvf_cells *c, int64_t offset)
{
    return (const uint8_t *)c->data + offset * (int64_t)(kvf_type_bits(c->held) / 8);
}

double kvf_cell_f(const kvf_cells *c, int64_t offset)
{
    if (c->held == KVF_F64 && c->store) return ((const double *)c->data)[offset];
    uint16_t h;
    float f;
    double d;
    switch (c->held) {
    case KVF_F32: memcpy(&f, (const uint8_t *)c->data + offset * 4, 4); return f;
    case KVF_F16: memcpy(&h, place(c, offset), 2); return kvf_from_f16(h);
    case KVF_BF16: memcpy(&h, place(c, offset), 2); return kvf_from_bf16(h);
    case KVF_F64: memcpy(&d, place(c, offset), 8); return d;
    default: return (double)kvf_cell_i(c, offset);
    }
}

/* Beyond the range of integers the nearest one: what hardware gives differs, and no model that
 * can be lifted asks. */
static int64_t to_integer(double d)
{
    if (!(d > -0x1p63)) return d == d ? INT64_MIN : 0;
    return d < 0x1p63 ? (int64_t)d : INT64_MAX;
}

int64_t kvf_cell_i(const kvf_cells *c, int64_t offset)
{
    const uint8_t *p = place(c, offset);
    int64_t i;
    int32_t w;
    int16_t s;
    switch (c->held) {
    case KVF_I64:
    case KVF_U64: memcpy(&i, p, 8); return i;
    case KVF_I32: memcpy(&w, p, 4); return w;
    case KVF_U32: memcpy(&w, p, 4); return (uint32_t)w;
    case KVF_I16: memcpy(&s, p, 2); return s;
    case KVF_U16: memcpy(&s, p, 2); return (uint16_t)s;
    case KVF_I8: return *(const int8_t *)p;
    case KVF_U8: return *p;
    case KVF_BOOL: return *p != 0;
    default: return to_integer(kvf_cell_f(c, offset));
    }
}

int64_t kvf_cell_offset(const kvf_cells *c, uint64_t i)
{
    int64_t offset = 0;
    for (uint32_t a = c->rank; a-- > 0;) {
        uint64_t d = (uint64_t)c->dims[a];
        offset += (int64_t)(i % d) * c->strides[a];
        i /= d;
    }
    return offset;
}

/* ---- shapes ---------------------------------------------------------------------------------- */

bool kvf_cells_dense(const kvf_cells *c)
{
    int64_t step = 1;
    for (uint32_t a = c->rank; a-- > 0;) {
        if (c->dims[a] != 1 && c->strides[a] != step) return false;
        step *= c->dims[a];
    }
    return true;
}

void kvf_cells_set_dense(kvf_cells *c)
{
    int64_t step = 1;
    for (uint32_t a = c->rank; a-- > 0;) {
        c->strides[a] = step;
        step *= c->dims[a];
    }
}

bool kvf_cells_count(uint32_t rank, const int64_t *dims, uint64_t *count)
{
    *count = 1;
    /* Strides are products of dims too: bound them with a zero among the dims as well. */
    uint64_t bound = 1;
    for (uint32_t a = 0; a < rank; a++) {
        uint64_t d = (uint64_t)dims[a];
        if (dims[a] < 0 || !kvf_mul(bound, d ? d : 1, &bound) || bound > INT64_MAX / 16)
            return false;
        *count *= d;
    }
    return true;
}

kvf_cells kvf_cells_of(const kvf_tensor *tensor)
{
    kvf_cells c = {.type = tensor->type,
                   .held = tensor->type,
                   .rank = tensor->rank,
                   .count = tensor->count,
                   .data = tensor->data};
    memcpy(c.dims, tensor->dims, sizeof c.dims);
    kvf_cells_set_dense(&c);
    return c;
}
