/* rowwise.h - norms, activations and roundings: device functions that several kernels share, so
 * that a row has the same bits wherever it is computed. */
#ifndef KVF_CUDA_ROWWISE_H
#define KVF_CUDA_ROWWISE_H

#include "cuda/lane.h"

#include "cuda/kernels.h"

KVF_LANE uint32_t list_size(const cuda_list &list, uint32_t most)
{
    uint32_t n = *list.n;
    return n < most ? n : most;
}

KVF_LANE uint32_t list_row(const cuda_list &list, uint32_t place)
{
    return list.index ? list.index[place] : place;
}

KVF_LANE float from_bf16(uint32_t bits) /* in the low half */
{
    return __uint_as_float(bits << 16);
}

KVF_LANE void store_element(void *y, size_t i, float v, bool bf16)
{
    if (bf16)
        ((uint16_t *)y)[i] = (uint16_t)kvf_pack_bf16(v, 0);
    else
        ((float *)y)[i] = v;
}

KVF_LANE float activate(uint32_t act, float x)
{
    switch (act) {
    case KVF_ACT_GELU_ERF: return 0.5f * x * (1 + erff(x * 0.70710678f));
    case KVF_ACT_GELU_TANH:
        return 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case KVF_ACT_RELU: return x > 0 ? x : x != x ? x : 0;
    case KVF_ACT_SILU: return x / (1 + expf(-x));
    case KVF_ACT_TANH: return tanhf(x);
    case KVF_ACT_SIGMOID: return 1 / (1 + expf(-x));
    }
    return x;
}

/* One row by one warp: y may be x. */
KVF_LANE void norm_row(const cuda_norm &norm, const float *x, void *y, bool bf16)
{
    uint32_t lane = threadIdx.x % KVF_WARP, n = norm.width;
    float mean = 0, sum = 0, r = 1;
    if (norm.kind == KVF_NORM_LAYER) {
        for (uint32_t i = lane; i < n; i += KVF_WARP) mean += x[i];
        mean = kvf_warp_sum(mean) / (float)n;
    }
    if (norm.kind != KVF_NORM_NONE) {
        for (uint32_t i = lane; i < n; i += KVF_WARP) sum += (x[i] - mean) * (x[i] - mean);
        r = 1 / sqrtf(kvf_warp_sum(sum) / (float)n + norm.eps);
    }
    for (uint32_t i = lane; i < n; i += KVF_WARP) {
        float v = (x[i] - mean) * r;
        if (norm.weight) v *= norm.weight[i];
        if (norm.bias) v += norm.bias[i];
        store_element(y, i, v, bf16);
    }
}
#endif
