/* lane.h - the stand-in for src/cuda/lane.h: kernels become functions of the host, and device.cpp
 * calls them thread by thread. Threads of a block change only where they meet. */
#ifndef KVF_CUDA_LANE_H
#define KVF_CUDA_LANE_H

#include <bit>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cuda_runtime_api.h"

#define __device__
#define __global__
#define __host__
#define __forceinline__ inline

#define KVF_KERNEL(threads) static void
#define KVF_HANDLE(...)     (kvf_kernel_of<__VA_ARGS__>::handle())
/* Blocks run one after the other. */
#define KVF_SHARED static
/* Exactly what the launch asked for, so that a sanitizer sees what lies outside. */
#define KVF_DYNAMIC_SHARED(type, name) type *name = (type *)kvf_device_dynamic_shared()
#define KVF_UNROLL                     /* nothing to gain here */
#define KVF_LANE                       static inline

constexpr unsigned KVF_WARP = 32;
#define KVF_ALL 0xffffffffu

/* ---- device.cpp ------------------------------------------------------------------------------ */

struct kvf_kernel {
    void (*call)(const void *args);
    size_t size; /* of its arguments */
    const char *name;
};

/* What lanes of a warp brought to a meeting; good until the lane meets again. */
struct kvf_meeting {
    uint32_t who; /* lanes; a thread that has returned does not come any more */
    uint32_t word[KVF_WARP][6];
};
enum kvf_meeting_kind { KVF_MEET_SYNC, KVF_MEET_SHUFFLE, KVF_MEET_XOR, KVF_MEET_MMA };

extern "C" {
void kvf_device_meet_block(void);
/* Lanes that meet for different kinds of things are an error. */
const kvf_meeting *kvf_device_meet_warp(kvf_meeting_kind kind, uint32_t mask, const uint32_t *words,
                                        uint32_t n);
void kvf_device_mma(float d[4], const uint32_t a[4], const uint32_t b[2]);
void *kvf_device_dynamic_shared(void);
}

template <auto F> struct kvf_kernel_of;
template <typename A, void (*F)(A)> struct kvf_kernel_of<F> {
    static_assert(alignof(A) <= 16 && __is_trivially_copyable(A));
    static void call(const void *args) { F(*(const A *)args); }
    static const void *handle()
    {
        static const kvf_kernel kernel = {call, sizeof(A), __PRETTY_FUNCTION__};
        return &kernel;
    }
};

/* ---- CUDA C++ -------------------------------------------------------------------------------- */

struct uint3 {
    uint32_t x, y, z;
};
struct alignas(8) uint2 {
    uint32_t x, y;
};
struct alignas(16) uint4 {
    uint32_t x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
KVF_LANE uint2 make_uint2(uint32_t x, uint32_t y)
{
    return {x, y};
}
KVF_LANE uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
    return {x, y, z, w};
}
KVF_LANE float2 make_float2(float x, float y)
{
    return {x, y};
}
KVF_LANE float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}

extern uint3 threadIdx, blockIdx; /* of whoever runs now */
extern dim3 blockDim, gridDim;

KVF_LANE void __syncthreads(void)
{
    kvf_device_meet_block();
}
KVF_LANE void __syncwarp(uint32_t mask = KVF_ALL)
{
    kvf_device_meet_warp(KVF_MEET_SYNC, mask, NULL, 0);
}

/* A lane that is not there gives ones: NaN as a float. */
template <typename T>
KVF_LANE T kvf_shuffle(kvf_meeting_kind kind, uint32_t mask, T x, uint32_t from)
{
    static_assert(sizeof(T) == sizeof(uint32_t));
    uint32_t word = std::bit_cast<uint32_t>(x);
    const kvf_meeting *m = kvf_device_meet_warp(kind, mask, &word, 1);
    return std::bit_cast<T>(m->who >> from & 1 ? m->word[from][0] : UINT32_MAX);
}
template <typename T> KVF_LANE T __shfl_sync(uint32_t mask, T x, int lane)
{
    return kvf_shuffle(KVF_MEET_SHUFFLE, mask, x, (uint32_t)lane % KVF_WARP);
}
template <typename T> KVF_LANE T __shfl_xor_sync(uint32_t mask, T x, int lane_mask)
{
    return kvf_shuffle(KVF_MEET_XOR, mask, x, (threadIdx.x ^ (uint32_t)lane_mask) % KVF_WARP);
}

KVF_LANE uint32_t atomicAdd(uint32_t *p, uint32_t x)
{
    uint32_t before = *p;
    *p += x;
    return before;
}
KVF_LANE void __threadfence(void) {}

KVF_LANE uint32_t __float_as_uint(float x)
{
    return std::bit_cast<uint32_t>(x);
}
KVF_LANE float __uint_as_float(uint32_t x)
{
    return std::bit_cast<float>(x);
}
KVF_LANE uint32_t min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
KVF_LANE uint32_t max(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

/* ---- as in src/cuda/lane.h ------------------------------------------------------------------- */

KVF_LANE void kvf_wait_for_kernel_before(void) {}

KVF_LANE uint4 kvf_load_weights(const uint4 *p)
{
    return *p;
}
KVF_LANE float kvf_load_shared_by_blocks(const float *p)
{
    return *p;
}

KVF_LANE uint32_t kvf_pack_bf16(float lo, float hi)
{
    uint32_t l = __float_as_uint(lo), h = __float_as_uint(hi);
    l = (l & 0x7fffffff) > 0x7f800000 ? 0x7fff0000 : l + 0x7fff + (l >> 16 & 1);
    h = (h & 0x7fffffff) > 0x7f800000 ? 0x7fff0000 : h + 0x7fff + (h >> 16 & 1);
    return l >> 16 | (h & 0xffff0000); /* NaN is 0x7fff, as the instruction has it */
}

/* Products in the order of inputs, one after the other. */
KVF_LANE void kvf_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    kvf_device_mma(d, a, b);
}
#endif
