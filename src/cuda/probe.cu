/* probe.cu - what the device does at most: reading weights, and the multiply-adds of its kernels. */
#include "rowwise.h"

enum { BLOCK = KVF_PROBE_THREADS, AT_A_TIME = 4, CHAINS = 8 };

KVF_LANE void keep(const cuda_probe &p, uint32_t result)
{
    if (result == 0x7fc0dead) *p.sink = result;
}

KVF_KERNEL(BLOCK) read_all(cuda_probe p)
{
    kvf_wait_for_kernel_before();
    const uint64_t stride = (uint64_t)gridDim.x * BLOCK,
                   own = (uint64_t)blockIdx.x * BLOCK + threadIdx.x;
    const uint4 *data = (const uint4 *)p.data;
    uint32_t sum = 0;
    for (uint32_t s = 0; s < p.steps; s++)
        for (uint64_t i = own; i < p.pieces; i += AT_A_TIME * stride) {
            KVF_UNROLL
            for (uint32_t k = 0; k < AT_A_TIME; k++) {
                if (i + k * stride >= p.pieces) break;
                uint4 v = kvf_load_weights(data + i + k * stride);
                sum ^= v.x ^ v.y ^ v.z ^ v.w;
            }
        }
    keep(p, sum);
}

/* Independent chains of products of tensor cores, of numbers around one; or of multiply-adds. */
KVF_KERNEL(BLOCK) multiply_bf16(cuda_probe p)
{
    kvf_wait_for_kernel_before();
    const uint32_t x = 0x3f803f80u ^ threadIdx.x, y = 0xbf803f80u ^ threadIdx.x * 3,
                   a[4] = {x, y, y, x}, b[2] = {y, x};
    float d[CHAINS][4] = {}, sum = 0;
    for (uint32_t s = 0; s < p.steps; s++) {
        KVF_UNROLL
        for (int c = 0; c < CHAINS; c++) kvf_mma(d[c], a, b);
    }
    KVF_UNROLL
    for (int c = 0; c < CHAINS; c++) sum += d[c][0] + d[c][1] + d[c][2] + d[c][3];
    keep(p, __float_as_uint(sum));
}

KVF_KERNEL(BLOCK) multiply_f32(cuda_probe p)
{
    kvf_wait_for_kernel_before();
    float d[CHAINS] = {}, sum = 0, a = 1 / (1.5f + (float)threadIdx.x), b = (float)threadIdx.x;
    for (uint32_t s = 0; s < p.steps; s++) {
        KVF_UNROLL
        for (int c = 0; c < CHAINS; c++) d[c] = fmaf(d[c], a, b + (float)c);
    }
    KVF_UNROLL
    for (int c = 0; c < CHAINS; c++) sum += d[c];
    keep(p, __float_as_uint(sum));
}

extern "C" const void *kvf_cuda_read_kernel(void)
{
    return KVF_HANDLE(read_all);
}

extern "C" const void *kvf_cuda_multiply_kernel(uint32_t precision, uint32_t *operations)
{
    bool bf16 = cuda_reads_bf16(precision);
    *operations = CHAINS * 2 * (bf16 ? 16 * 8 * 16 / KVF_WARP : 1);
    return bf16 ? KVF_HANDLE(multiply_bf16) : KVF_HANDLE(multiply_f32);
}
