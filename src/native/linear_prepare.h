/* linear_prepare.h - x made ready for a product, in plain C: the kernel files include it, so that
 * it becomes the vectors of each. Loops have no branches, and lengths that the compiler knows. */
#ifndef KVF_NATIVE_LINEAR_PREPARE_H
#define KVF_NATIVE_LINEAR_PREPARE_H

#include "native/linear_isa.h"

#include <string.h>

static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    size_t in = p->w->in;
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        float *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < in; k++) out[k] = kvf_round_to_bf16(x[k]);
        if (in % 2) out[in] = 0;
    }
}

static inline uint32_t largest_bits(const float *x, const size_t n)
{
    int32_t max = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits = kvf_magnitude(x[i]);
        max = bits > max ? bits : max;
    }
    return (uint32_t)max;
}

static inline int32_t quantise(const float *x, float inverse, const size_t n, int8_t *q)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t v = kvf_nearest(x[i] * inverse);
        q[i] = (int8_t)v;
        sum += v;
    }
    return sum;
}

/* Groups of a row in three passes: largest magnitudes, scales from them, integers. What is known
 * of a group waits where its scale and offset will be. */
static inline void prepare_groups(const kvf_packed *w, const float *x, size_t groups,
                                  const size_t group, int8_t *q, float *scale, int32_t *offset)
{
    for (size_t g = 0; g < groups; g++) offset[g] = (int32_t)largest_bits(x + g * group, group);
    for (size_t g = 0; g < groups; g++) {
        kvf_bits inverse;
        scale[g] = kvf_q8_scale((uint32_t)offset[g], &inverse.f);
        offset[g] = (int32_t)inverse.u;
    }
    for (size_t g = 0; g < groups; g++) {
        kvf_bits inverse = {.u = (uint32_t)offset[g]};
        offset[g] = kvf_q_offset(w, quantise(x + g * group, inverse.f, group, q + g * group));
    }
}

static void prepare_q(const kvf_product *p, size_t first_row, size_t end_row)
{
    const kvf_packed *w = p->w;
    size_t group = w->group, rest = w->in & (group - 1), whole = w->groups - (rest > 0);
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        int8_t *q = kvf_prepared_row(p, r);
        float *scale = (float *)((uint8_t *)q + kvf_scales_at(w));
        int32_t *offset = (int32_t *)((uint8_t *)q + kvf_offsets_at(w));
        if (group == 32)
            prepare_groups(w, x, whole, 32, q, scale, offset);
        else
            prepare_groups(w, x, whole, 16, q, scale, offset);
        if (rest) {
            float last[32] = {0};
            memcpy(last, x + whole * group, rest * sizeof *last);
            prepare_groups(w, last, 1, group, q + whole * group, scale + whole, offset + whole);
        }
    }
}
#endif
