/* vector_c.c - the plain table: what each function of vector.h means. Sums are in double, one
 * after the other. */
#include "vector.h"

#include <math.h>
#include <string.h>

static void norm_c(const kvf_norm *norm, const float *x, float *y, size_t n)
{
    double mean = 0, sum = 0;
    if (norm->kind == KVF_NORM_LAYER) {
        for (size_t i = 0; i < n; i++) mean += x[i];
        mean /= (double)n;
    }
    for (size_t i = 0; i < n; i++) sum += (x[i] - mean) * (x[i] - mean);
    double r = 1 / sqrt(sum / (double)n + norm->eps);
    for (size_t i = 0; i < n; i++) {
        double v = (x[i] - mean) * r;
        if (norm->weight) v *= norm->weight[i];
        if (norm->bias) v += norm->bias[i];
        y[i] = (float)v;
    }
}

static double act_of(kvf_act act, double x)
{
    switch (act) {
    case KVF_ACT_GELU_ERF: return 0.5 * x * (1 + erf(x * 0.70710678118654752));
    case KVF_ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x)));
    case KVF_ACT_RELU: return x > 0 ? x : x != x ? x : 0;
    case KVF_ACT_SILU: return x / (1 + exp(-x));
    case KVF_ACT_TANH: return tanh(x);
    case KVF_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case KVF_ACT_NONE: break;
    }
    return x;
}

static void act_c(kvf_act act, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)act_of(act, x[i]);
}

static void act_mul_c(kvf_act act, const float *gate, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)act_of(act, gate[i]) * x[i];
}

static void add_c(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] += y[i];
}

static void scale_c(const float *x, float s, float *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = s * x[i];
}

static float most_c(const float *x, size_t n)
{
    float most = -INFINITY;
    for (size_t i = 0; i < n; i++) most = x[i] > most ? x[i] : most;
    return most;
}

static double sum_exp_c(const float *x, float most, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - most);
    return sum;
}

static void rotate_c(float *x, const float *cosine, const float *sine, uint32_t pairs,
                     bool interleaved)
{
    for (uint32_t j = 0; j < pairs; j++) {
        float *a = x + (interleaved ? 2 * j : j), *b = x + (interleaved ? 2 * j + 1 : j + pairs);
        float u = *a, w = *b;
        *a = u * cosine[j] - w * sine[j];
        *b = w * cosine[j] + u * sine[j];
    }
}

/* ---- attention: bundles are of one head --------------------------------------------------- */

static uint32_t side_c(uint32_t kv_heads, uint32_t head_dim)
{
    (void)kv_heads;
    (void)head_dim;
    return 1;
}

static void store_f32_c(const float *x, void *row, uint32_t bundles, uint32_t side,
                        uint32_t head_dim)
{
    memcpy(row, x, (size_t)bundles * side * head_dim * sizeof *x);
}

static void store_bf16_c(const float *x, void *row, uint32_t bundles, uint32_t side,
                         uint32_t head_dim)
{
    for (size_t i = 0; i < (size_t)bundles * side * head_dim; i++)
        ((uint16_t *)row)[i] = kvf_to_bf16(x[i]);
}

/* State of a head: m, l, a, q. */
static size_t state_size_c(uint32_t side, uint32_t head_dim)
{
    return 2 + (size_t)side * 2 * head_dim;
}

static void attend_begin_c(float *state, const float *q, size_t step, float scale, uint32_t side,
                           uint32_t head_dim)
{
    (void)step;
    (void)side;
    state[0] = -INFINITY;
    memset(state + 1, 0, (1 + head_dim) * sizeof *state);
    for (uint32_t d = 0; d < head_dim; d++) state[2 + head_dim + d] = scale * q[d];
}

static void attend_end_c(const float *state, float *y, size_t step, uint32_t side,
                         uint32_t head_dim)
{
    (void)step;
    (void)side;
    for (uint32_t d = 0; d < head_dim; d++) y[d] = state[2 + d] / state[1];
}

static float element(const void *rows, size_t i, bool bf16)
{
    return bf16 ? kvf_from_bf16(((const uint16_t *)rows)[i]) : ((const float *)rows)[i];
}

static void attend_head(const kvf_attend *b, uint32_t row, size_t at, float *state, bool bf16)
{
    const uint32_t *slots = b->slots[row], n = b->n[row];
    const float *q = state + 2 + b->head_dim;
    float s[KVF_BLOCK], top = state[0];
    for (uint32_t p = 0; p < n; p++) {
        double sum = 0;
        for (uint32_t d = 0; d < b->head_dim; d++)
            sum += (double)q[d] * element(b->k, slots[p] * b->stride + at + d, bf16);
        s[p] = (float)sum;
        if (!(s[p] <= top)) top = s[p]; /* NaN goes through */
    }
    float before = expf(state[0] - top);
    state[0] = top;
    for (uint32_t i = 1; i < 2 + b->head_dim; i++) state[i] *= before;
    for (uint32_t p = 0; p < n; p++) {
        float w = expf(s[p] - top);
        state[1] += w;
        for (uint32_t d = 0; d < b->head_dim; d++)
            state[2 + d] += w * element(b->v, slots[p] * b->stride + at + d, bf16);
    }
}

static void attend_c(const kvf_attend *b, bool bf16)
{
    for (uint32_t r = 0; r < b->rows; r++)
        for (uint32_t h = 0; h < b->bundles * b->group; h++)
            attend_head(b, r, (size_t)(h / b->group) * b->head_dim,
                        b->state[r] + h * state_size_c(1, b->head_dim), bf16);
}
static void attend_f32_c(const kvf_attend *b)
{
    attend_c(b, false);
}
static void attend_bf16_c(const kvf_attend *b)
{
    attend_c(b, true);
}

const kvf_vector kvf_vector_c = {
    .name = "c",
    .norm = norm_c,
    .act = act_c,
    .act_mul = act_mul_c,
    .add = add_c,
    .scale = scale_c,
    .most = most_c,
    .sum_exp = sum_exp_c,
    .rotate = rotate_c,
    .side = side_c,
    .store = {store_f32_c, store_bf16_c},
    .state_size = state_size_c,
    .attend_begin = attend_begin_c,
    .attend = {attend_f32_c, attend_bf16_c},
    .attend_end = attend_end_c,
};
