/* lane.h - what a kernel asks of the device beyond C++: its place, its warp, its memory's rules.
 *
 * All inline PTX is here. A stand-in for tests has the same names and runs kernels on the host. */
#ifndef KVF_CUDA_LANE_H
#define KVF_CUDA_LANE_H

#include <stdint.h>

/* Every kernel takes one struct of arguments; KVF_HANDLE is what the host launches. */
#define KVF_KERNEL(threads) static __global__ void __launch_bounds__(threads)
#define KVF_HANDLE(...)     ((const void *)(__VA_ARGS__))
#define KVF_SHARED          __shared__
#define KVF_DYNAMIC_SHARED(type, name)                                                             \
    extern __shared__ __align__(16) unsigned char kvf_dynamic_shared[];                            \
    type *const name = (type *)kvf_dynamic_shared
#define KVF_UNROLL _Pragma("unroll") /* before a loop whose variable is an index of registers */
#define KVF_LANE   static __device__ __forceinline__

constexpr unsigned KVF_WARP = 32;
#define KVF_ALL 0xffffffffu /* lanes of a warp */

/* Kernels of a pass overlap where the device can do that: one may begin before the one in front of it
 * has ended, and read what no kernel writes: weights and tables, and the lists of the pass, which were
 * there before its first kernel began. Every thread of every kernel calls this before it reads or
 * writes anything else, and before it returns. */
KVF_LANE void kvf_wait_for_kernel_before(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Weights: read once, never written. */
KVF_LANE uint4 kvf_load_weights(const uint4 *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* Partial results of other blocks: not from this processor's own cache. */
KVF_LANE float kvf_load_shared_by_blocks(const float *p)
{
    return __ldcg(p);
}

/* Two numbers rounded to bf16, to nearest even: lo in the low half. */
KVF_LANE uint32_t kvf_pack_bf16(float lo, float hi)
{
#if __CUDA_ARCH__ >= 800
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(hi), "f"(lo));
    return pair;
#else
    uint32_t l = __float_as_uint(lo), h = __float_as_uint(hi);
    l = (l & 0x7fffffff) > 0x7f800000 ? l | 0x400000 : l + 0x7fff + (l >> 16 & 1);
    h = (h & 0x7fffffff) > 0x7f800000 ? h | 0x400000 : h + 0x7fff + (h >> 16 & 1);
    return l >> 16 | (h & 0xffff0000);
#endif
}

/* D += A B on a warp: A 16 x 16 and B 16 x 8 in bf16, D 16 x 8 in f32, shared out among lanes as
 * PTX defines it for mma.m16n8k16. Lane 4 g + t has
 *     a   A[g][2t, 2t+1], A[g+8][2t, 2t+1], A[g][2t+8, 2t+9], A[g+8][2t+8, 2t+9]
 *     b   B[2t, 2t+1][g], B[2t+8, 2t+9][g]
 *     d   D[g][2t], D[g][2t+1], D[g+8][2t], D[g+8][2t+1]
 * A column of D depends on A and on its column of B alone. Devices without it take the products one
 * after the other. */
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
KVF_LANE void kvf_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
#if defined(__CUDA_ARCH__)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}
#else
struct kvf_sums { /* of a lane */
    float d[4];
};
static __device__ __noinline__ kvf_sums kvf_mma_in_turn(kvf_sums d, uint4 a, uint2 b)
{
    const uint32_t lane = threadIdx.x % KVF_WARP, g = lane / 4, t = lane % 4,
                   row[2][2] = {{a.x, a.y}, {a.z, a.w}}, column[2] = {b.x, b.y};
#pragma unroll 2
    for (uint32_t half = 0; half < 2; half++)
#pragma unroll 1
        for (uint32_t i = 0; i < 4; i++) { /* inputs 8 half + 2i and the next */
            uint32_t low = __shfl_sync(KVF_ALL, row[half][0], (int)(4 * g + i)),
                     high = __shfl_sync(KVF_ALL, row[half][1], (int)(4 * g + i)),
                     left = __shfl_sync(KVF_ALL, column[half], (int)(8 * t + i)),
                     right = __shfl_sync(KVF_ALL, column[half], (int)(8 * t + 4 + i));
            for (uint32_t odd = 0; odd < 2; odd++) {
                uint32_t drop = odd ? 0 : 16;
                float x = __uint_as_float((low << drop) & 0xffff0000),
                      y = __uint_as_float((high << drop) & 0xffff0000),
                      l = __uint_as_float((left << drop) & 0xffff0000),
                      r = __uint_as_float((right << drop) & 0xffff0000);
                d.d[0] = fmaf(x, l, d.d[0]);
                d.d[1] = fmaf(x, r, d.d[1]);
                d.d[2] = fmaf(y, l, d.d[2]);
                d.d[3] = fmaf(y, r, d.d[3]);
            }
        }
    return d;
}
KVF_LANE void kvf_mma(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    kvf_sums sum = {{d[0], d[1], d[2], d[3]}};
    sum = kvf_mma_in_turn(sum, make_uint4(a[0], a[1], a[2], a[3]), make_uint2(b[0], b[1]));
    for (int i = 0; i < 4; i++) d[i] = sum.d[i];
}
#endif
#endif
