/* rowwise.h - norms, activations and roundings: device functions that several kernels share, so
 * that a row has the same bits wherever it is computed. */
#ifndef KVF_CUDA_ROWWISE_H
#define KVF_CUDA_ROWWISE_H

#include "cuda/lane.h"

#include "cuda/kernels.h"

/* The sum and the largest of all lanes, the same bits in each. */
KVF_LANE float warp_sum(float x)
{
    for (int mask = 16; mask; mask >>= 1) x += __shfl_xor_sync(KVF_ALL, x, mask);
    return x;
}
KVF_LANE float warp_max(float x)
{
    for (int mask = 16; mask; mask >>= 1) x = fmaxf(x, __shfl_xor_sync(KVF_ALL, x, mask));
    return x;
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

/* A row is summed in parts: part k has elements 32 k ... 32 k + 31 of every 256, each lane its own, and
 * parts are added in order. A warp takes all parts of its row, or each of eight warps takes one: the bits
 * are the same. */
constexpr uint32_t NORM_PARTS = 8;

template <uint32_t PARTS> KVF_LANE float sum_of_parts(const float part[PARTS], uint32_t n)
{
    float total = warp_sum(part[0]);
    if constexpr (PARTS > 1) {
        KVF_UNROLL
        for (uint32_t k = 1; k < PARTS; k++)
            if (k * KVF_WARP < n) total += warp_sum(part[k]);
    } else {
        KVF_SHARED float all[NORM_PARTS];
        if (threadIdx.x % KVF_WARP == 0) all[threadIdx.x / KVF_WARP] = total;
        __syncthreads();
        total = all[0];
        for (uint32_t k = 1; k < NORM_PARTS; k++)
            if (k * KVF_WARP < n) total += all[k];
        __syncthreads();
    }
    return total;
}

/* One row: by a warp (PARTS 8), or by a block of eight (PARTS 1). y may be x. */
template <uint32_t PARTS>
KVF_LANE void norm_row(const cuda_norm &norm, const float *x, void *y, bool bf16)
{
    const uint32_t n = norm.width,
                   first = PARTS > 1 ? threadIdx.x % KVF_WARP : threadIdx.x; /* then every 256th */
    float mean = 0, r = 1;
    if (norm.kind == KVF_NORM_LAYER) {
        float part[PARTS] = {};
        for (uint32_t i = first; i < n; i += NORM_PARTS * KVF_WARP) {
            KVF_UNROLL
            for (uint32_t k = 0; k < PARTS; k++)
                part[k] += i + k * KVF_WARP < n ? x[i + k * KVF_WARP] : 0;
        }
        mean = sum_of_parts<PARTS>(part, n) / (float)n;
    }
    if (norm.kind != KVF_NORM_NONE) {
        float part[PARTS] = {};
        for (uint32_t i = first; i < n; i += NORM_PARTS * KVF_WARP) {
            KVF_UNROLL
            for (uint32_t k = 0; k < PARTS; k++) {
                float d = i + k * KVF_WARP < n ? x[i + k * KVF_WARP] - mean : 0;
                part[k] += d * d;
            }
        }
        r = 1 / sqrtf(sum_of_parts<PARTS>(part, n) / (float)n + norm.eps);
    }
    for (uint32_t i = first; i < n; i += NORM_PARTS * KVF_WARP) {
        float v[PARTS], w[PARTS], b[PARTS]; /* all are asked for before the first is waited for */
        KVF_UNROLL
        for (uint32_t k = 0; k < PARTS; k++) {
            uint32_t at = i + k * KVF_WARP;
            v[k] = at < n ? x[at] : 0;
            w[k] = at < n && norm.weight ? norm.weight[at] : 1;
            b[k] = at < n && norm.bias ? norm.bias[at] : 0;
        }
        KVF_UNROLL
        for (uint32_t k = 0; k < PARTS; k++) {
            float z = (v[k] - mean) * r;
            if (norm.weight) z *= w[k];
            if (norm.bias) z += b[k];
            if (i + k * KVF_WARP < n) store_element(y, i + k * KVF_WARP, z, bf16);
        }
    }
}
#endif
