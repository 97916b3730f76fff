/* matrix.h - numbers of a plan's matrices, whatever their type in the file, and the precisions in
 * which engines hold them. */
#ifndef KVF_MATRIX_H
#define KVF_MATRIX_H

#include "plan.h"

/* Inputs and outputs of a matrix: a rectangle. */
typedef struct kvf_area {
    uint32_t i, i_end, o, o_end;
} kvf_area;

/* t[i][o] = the numbers of an area, rows of t `stride` apart. Cost: one pass, in the order of the
 * file where it can. */
void kvf_matrix_read(const kvf_matrix *m, kvf_area area, float *t, size_t stride);
/* Row `input` as f32 [out]: an embedding. */
void kvf_matrix_row(const kvf_matrix *m, uint32_t input, float *row);

/* Where a quantised matrix keeps its inputs from i on, of output o and all in one block: the
 * number of input i is (kvf_bits_at(row, i, bits) - zero) * scale. */
typedef struct kvf_quants {
    const uint8_t *row; /* of the output */
    int zero;
    float scale;
} kvf_quants;
kvf_quants kvf_matrix_quants(const kvf_matrix *m, uint32_t i, uint32_t o);

static inline unsigned kvf_bits_at(const uint8_t *packed, size_t i, unsigned bits)
{
    return packed[i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
}

/* Whether linears can be packed side by side: widths, types and block sizes.
 * Errors  KVF_ERR_MODEL */
kvf_status kvf_matrix_check(const kvf_matrix *m, uint32_t in, kvf_error *err);

/* The bits of |f|, which are in the order of magnitudes, NaN last. */
static inline int32_t kvf_magnitude(float f)
{
    kvf_bits v = {.f = f};
    return (int32_t)(v.u & 0x7fffffff);
}

/* To the nearest integer, ties to even, for |f| < 2^22: as rintf, but a loop of it is vectors. */
static inline int32_t kvf_nearest(float f)
{
    kvf_bits v = {.f = f + 0x1.8p23f};
    return (int32_t)(v.u - 0x4b400000);
}

/* The scale of integers in [-127, 127] for numbers whose largest magnitude has these bits. Nonsense
 * in gives NaN out; what is too small for a quotient is zero. Integers are nearest(x * inverse). */
static inline float kvf_q8_scale(uint32_t largest, float *inverse)
{
    kvf_bits max = {.u = largest};
    bool finite = largest < 0x7f800000, tiny = max.f < 0x1p-100f;
    float quotient = 127.0f / max.f, scale = max.f / 127.0f;
    *inverse = (finite & !tiny) ? quotient : 0.0f;
    return finite ? tiny ? 0.0f : scale : __builtin_nanf("");
}

/* How an engine holds weights. */
typedef enum kvf_precision {
    KVF_W_F32 = 0,
    KVF_W_BF16,
    KVF_W_Q8,
    KVF_W_Q4,
    KVF_PRECISIONS,
} kvf_precision;
extern const char *const kvf_precision_names[KVF_PRECISIONS]; /* "f32", "bf16", "q8", "q4" */

/* What the file itself stores: 16-bit floats of IEEE are widened, since no kernel multiplies
 * them. */
kvf_precision kvf_precision_of(const kvf_matrix *m);

/* The precision that a user asked for by name: -1 for NULL, the file's own tensor by tensor.
 * Errors  KVF_ERR_ARG: not one of the first `known`, which the engine of that name has */
kvf_status kvf_precision_read(int *out, const char *name, const char *engine, int known,
                              kvf_error *err);
/* The same for rows of the cache: f32 or bf16; NULL takes the file's own.
 * Errors  KVF_ERR_ARG */
kvf_status kvf_cache_type_read(bool *bf16, const char *name, kvf_type own, const char *engine,
                               kvf_error *err);
#endif
