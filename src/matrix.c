/* matrix.c - reading matrices of any type, and the names of precisions. That the data of a matrix is
 * all there is the business of whoever made it. */
#include "matrix.h"

#include <stdio.h>
#include <string.h>

/* ---- numbers --------------------------------------------------------------------------------- */

static inline float load(const void *data, kvf_type type, int64_t i)
{
    if (type == KVF_F32) {
        float f;
        memcpy(&f, (const uint8_t *)data + i * 4, sizeof f);
        return f;
    }
    uint16_t h;
    memcpy(&h, (const uint8_t *)data + i * 2, sizeof h);
    return type == KVF_F16 ? kvf_from_f16(h) : kvf_from_bf16(h);
}

kvf_quants kvf_matrix_quants(const kvf_matrix *m, uint32_t i, uint32_t o)
{
    size_t blocks = (m->in + (size_t)m->block - 1) / m->block, b = i / m->block;
    size_t row = blocks * m->block * m->bits / 8, zero_row = (blocks * m->bits + 7) / 8;
    return (kvf_quants){
        .row = (const uint8_t *)m->data + o * row,
        .zero =
            m->zeros ? (int)kvf_bits_at(m->zeros + o * zero_row, b, m->bits) : 1 << (m->bits - 1),
        .scale = load(m->scales, m->scale_type, (int64_t)(o * blocks + b)),
    };
}

/* In the order of the file, since that is what costs; strides of 1 are constants where inlined. */
static inline void read_plain(const kvf_matrix *m, kvf_type type, kvf_area a, float *t,
                              size_t stride)
{
    if (m->stride_out == 1) {
        for (uint32_t i = a.i; i < a.i_end; i++, t += stride)
            for (uint32_t o = a.o; o < a.o_end; o++)
                t[o - a.o] = load(m->data, type, i * m->stride_in + o);
        return;
    }
    for (uint32_t o = a.o; o < a.o_end; o++, t++) {
        int64_t first = o * m->stride_out;
        if (m->stride_in == 1)
            for (uint32_t i = a.i; i < a.i_end; i++)
                t[(i - a.i) * stride] = load(m->data, type, first + i);
        else
            for (uint32_t i = a.i; i < a.i_end; i++)
                t[(i - a.i) * stride] = load(m->data, type, first + i * m->stride_in);
    }
}

static void read_quantised(const kvf_matrix *m, kvf_area a, float *t, size_t stride)
{
    for (uint32_t o = a.o; o < a.o_end; o++, t++) {
        kvf_quants r = {0};
        for (uint32_t i = a.i; i < a.i_end; i++) {
            if (i == a.i || i % m->block == 0) r = kvf_matrix_quants(m, i, o);
            t[(i - a.i) * stride] = (float)((int)kvf_bits_at(r.row, i, m->bits) - r.zero) * r.scale;
        }
    }
}

void kvf_matrix_read(const kvf_matrix *m, kvf_area a, float *t, size_t stride)
{
    if (m->block)
        read_quantised(m, a, t, stride);
    else if (m->type == KVF_F32)
        read_plain(m, KVF_F32, a, t, stride);
    else if (m->type == KVF_F16)
        read_plain(m, KVF_F16, a, t, stride);
    else
        read_plain(m, KVF_BF16, a, t, stride);
}

void kvf_matrix_row(const kvf_matrix *m, uint32_t input, float *row)
{
    kvf_matrix_read(m, (kvf_area){input, input + 1, 0, m->out}, row, m->out);
}

static bool is_float(kvf_type type)
{
    return type == KVF_F32 || type == KVF_F16 || type == KVF_BF16;
}

kvf_status kvf_matrix_check(const kvf_matrix *m, uint32_t in, kvf_error *err)
{
    if (!m->in || !m->out)
        return kvf_fail(err, KVF_ERR_MODEL, "a weight is %u x %u, but cannot be empty", m->in,
                        m->out);
    if (m->in != in)
        return kvf_fail(err, KVF_ERR_MODEL, "a weight has %u inputs, but its neighbour %u", m->in,
                        in);
    if (!m->block && !is_float(m->type))
        return kvf_fail(err, KVF_ERR_MODEL, "a weight has type %d, but f32, f16 or bf16 is needed",
                        (int)m->type);
    if (!m->block) return KVF_OK;
    if (m->type != KVF_U8 || !is_float(m->scale_type))
        return kvf_fail(err, KVF_ERR_MODEL, "a quantised weight has type %d with scales of type %d",
                        (int)m->type, (int)m->scale_type);
    if ((m->bits != 2 && m->bits != 4 && m->bits != 8) || m->block % 8)
        return kvf_fail(
            err, KVF_ERR_MODEL,
            "a quantised weight has %u bits in blocks of %u, but 2, 4 or 8 in blocks of "
            "a multiple of 8 are known",
            m->bits, m->block);
    return KVF_OK;
}

/* ---- precisions ------------------------------------------------------------------------------ */

const char *const kvf_precision_names[KVF_PRECISIONS] = {"f32", "bf16", "q8", "q4"};

kvf_precision kvf_precision_of(const kvf_matrix *m)
{
    if (m->block && m->bits == 4) return KVF_W_Q4;
    return m->type == KVF_BF16 ? KVF_W_BF16 : KVF_W_F32;
}

kvf_status kvf_precision_read(int *out, const char *name, const char *engine, int known,
                              kvf_error *err)
{
    char list[32] = "";
    *out = -1;
    if (!name) return KVF_OK;
    for (int i = 0, n = 0; i < known; i++) {
        if (!strcmp(name, kvf_precision_names[i])) *out = i;
        n += snprintf(list + n, sizeof list - (size_t)n, "%s%s",
                      !i              ? ""
                      : i + 1 < known ? ", "
                                      : " and ",
                      kvf_precision_names[i]);
    }
    if (*out >= 0) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG, "precision is \"%s\", but the %s engine has %s", name, engine,
                    list);
}

kvf_status kvf_cache_type_read(bool *bf16, const char *name, kvf_type own, const char *engine,
                               kvf_error *err)
{
    *bf16 = own == KVF_BF16;
    if (!name) return KVF_OK;
    *bf16 = !strcmp(name, "bf16");
    if (*bf16 || !strcmp(name, "f32")) return KVF_OK;
    return kvf_fail(err, KVF_ERR_ARG, "kv is \"%s\", but the %s engine's cache has f32 and bf16",
                    name, engine);
}
