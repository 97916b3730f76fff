/* vector.h - everything of a forward pass that is not a matrix product, one table per ISA.
 *
 * The plain C table is the specification. The two others are one text, vector_lanes.h, over
 * the lanes of either instruction set. For one table, a result depends on its own inputs
 * alone: not on how many rows or positions were handed over in one call.
 *
 * Attention is one pass with an online softmax (Milakov and Gimelshein, 2018): positions are
 * taken in blocks that are cut at fixed multiples of depth, each block ends with
 *     m' = max(m, max s);  l' = l e^(m-m') + sum e^(s-m');  a' = a e^(m-m') + sum e^(s-m') v
 * and the row's result is a / l. A row keeps (m, l, a) between blocks, so that a block of K and V
 * that many rows share is read once for all of them. */
#ifndef KVF_VECTOR_H
#define KVF_VECTOR_H

#include "native/cpu.h"
#include "plan.h"

enum {
    KVF_BLOCK = 32, /* positions of one attention block */
    KVF_ATTEND_ROWS = 32
}; /* most rows of one call */

/* Narrow heads lie side by side, so that a vector is full and its sums need no turning: `side`
 * neighbouring heads of K and V are a bundle, and a bundle of a row is [head_dim][side]. Wide heads
 * are bundles of one. Queries go in the same order: the first of all heads of the bundle, then the
 * second, where `group` of them share a head.
 *
 * One block of positions of some rows, which may have it in common, for neighbouring bundles. */
typedef struct kvf_attend {
    const void *k, *v; /* of this layer and the first bundle: row s begins at element s * stride */
    size_t stride;     /* kv_heads * head_dim */
    uint32_t head_dim, side, bundles, group, rows;
    const uint32_t *const *slots; /* [rows] -> [KVF_BLOCK] its positions, in order of depth */
    const uint32_t *n;   /* [rows] how many count: below KVF_BLOCK only where a path ends, never 0;
                        * behind them stand any slots that may be read */
    float *const *state; /* [rows] -> [bundles][group][state_size] */
} kvf_attend;

typedef struct kvf_vector {
    const char *name;

    /* y = norm(x) * weight + bias over n elements; x and y may be the same. */
    void (*norm)(const kvf_norm *norm, const float *x, float *y, size_t n);
    void (*act)(kvf_act act, float *x, size_t n);                        /* x = act(x) */
    void (*act_mul)(kvf_act act, const float *gate, float *x, size_t n); /* x = act(gate) * x */
    void (*add)(float *x, const float *y, size_t n);                     /* x += y */
    void (*scale)(const float *x, float s, float *y, size_t n);          /* y = s * x */
    float (*most)(const float *x, size_t n); /* of x, n >= 1, but those that are NaN */
    double (*sum_exp)(const float *x, float most, size_t n); /* of e^(x - most) */
    /* Turn one head in place; cos and sin are [pairs], of its position. */
    void (*rotate)(float *x, const float *cos, const float *sin, uint32_t pairs, bool interleaved);

    uint32_t (*side)(uint32_t kv_heads,
                     uint32_t head_dim); /* heads of a bundle; divides kv_heads */
    /* Put bundles of K or V into their row; x is [bundles][side][head_dim]. Indexed by whether the
     * cache is bf16, which rounds to nearest even. */
    void (*store[2])(const float *x, void *row, uint32_t bundles, uint32_t side, uint32_t head_dim);
    /* What the attention of one query of a bundle carries along: m and l of each head, a, and q. */
    size_t (*state_size)(uint32_t side, uint32_t head_dim); /* in floats */
    /* q times scale; the bundle's heads begin `step` floats apart; 0: q is [head_dim][side] */
    void (*attend_begin)(float *state, const float *q, size_t step, float scale, uint32_t side,
                         uint32_t head_dim);
    void (*attend[2])(const kvf_attend *a); /* indexed as store */
    /* y = a / l; heads step apart again */
    void (*attend_end)(const float *state, float *y, size_t step, uint32_t side, uint32_t head_dim);
} kvf_vector;

extern const kvf_vector kvf_vector_c, kvf_vector_avx2, kvf_vector_avx512;
const kvf_vector *kvf_vector_of(kvf_cpu cpu);
#endif
