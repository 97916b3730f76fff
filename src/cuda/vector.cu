/* vector.cu - rows on their own: embeddings, norms and activations, and what happens to q, k and v
 * between their product and attention. */
#include "rowwise.h"

enum { BLOCK = KVF_CUDA_WARPS * KVF_WARP };

KVF_LANE float table_element(const void *table, size_t i, bool bf16)
{
    return bf16 ? from_bf16(((const uint16_t *)table)[i]) : ((const float *)table)[i];
}

KVF_KERNEL(BLOCK) embed(cuda_embed p)
{
    const uint32_t r = blockIdx.x;
    const bool here = r < *p.list.n;
    kvf_wait_for_kernel_before();
    if (!here) return;
    const cuda_row row = p.rows[r];
    for (uint32_t i = threadIdx.x; i < p.hidden; i += BLOCK) {
        float x = table_element(p.token, (size_t)row.token * p.hidden + i, p.token_bf16) * p.scale;
        if (p.position)
            x += table_element(p.position, (size_t)(row.position + p.offset) * p.hidden + i,
                               p.position_bf16);
        p.x[(size_t)r * p.x_stride + i] = x;
    }
}

/* A warp for every row. */
KVF_KERNEL(BLOCK) rowwise(cuda_rowwise p)
{
    const uint32_t place = blockIdx.x * KVF_CUDA_WARPS + threadIdx.x / KVF_WARP;
    const bool here = place < *p.list.n;
    kvf_wait_for_kernel_before();
    if (!here) return;
    const float *x = p.x + (size_t)(p.x_by_row ? list_row(p.list, place) : place) * p.x_stride;
    size_t at = (size_t)place * p.y_stride;
    void *y = p.y_bf16 ? (void *)((uint16_t *)p.y + at) : (void *)((float *)p.y + at);
    const uint32_t lane = threadIdx.x % KVF_WARP, width = p.act ? p.width : p.norm.width,
                   whole = min((width + KVF_UNIT - 1) / KVF_UNIT * KVF_UNIT, p.y_stride);
    if (p.act)
        for (uint32_t i = lane; i < width; i += KVF_WARP)
            store_element(y, i, activate(p.act, x[i]), p.y_bf16);
    else
        norm_row<NORM_PARTS>(p.norm, x, y, p.y_bf16);
    for (uint32_t i = width + lane; i < whole; i += KVF_WARP) store_element(y, i, 0, p.y_bf16);
}

/* Norm and turn a head of up to KVF_MAX_HEAD_DIM elements, in shared memory, by one warp. */
KVF_LANE void norm_and_turn(const cuda_store &p, const cuda_norm &norm, uint32_t position,
                            const float *x, float *head)
{
    uint32_t lane = threadIdx.x % KVF_WARP;
    if (norm.kind)
        norm_row<NORM_PARTS>(norm, x, head, false);
    else
        for (uint32_t i = lane; i < p.head_dim; i += KVF_WARP) head[i] = x[i];
    __syncwarp();
    for (uint32_t j = lane; j < p.pairs; j += KVF_WARP) {
        float *a = head + (p.interleaved ? 2 * j : j),
              *b = head + (p.interleaved ? 2 * j + 1 : j + p.pairs);
        float u = *a, w = *b, c = p.cos[(size_t)position * p.pairs + j],
              s = p.sin[(size_t)position * p.pairs + j];
        *a = u * c - w * s;
        *b = w * c + u * s;
    }
    __syncwarp();
}

/* A warp for every head of q, then for every head of K and V. */
KVF_KERNEL(BLOCK) store(cuda_store p)
{
    KVF_SHARED float heads[KVF_CUDA_WARPS][KVF_MAX_HEAD_DIM];
    const uint32_t warp = threadIdx.x / KVF_WARP, lane = threadIdx.x % KVF_WARP, r = blockIdx.y,
                   h = p.first_head + blockIdx.x * KVF_CUDA_WARPS + warp;
    const bool here = r < *p.list.n && h < p.heads + p.kv_heads;
    const cuda_row row = here ? p.rows[r] : cuda_row{};
    kvf_wait_for_kernel_before();
    if (!here) return;
    float *x = p.qkv + (size_t)r * p.qkv_stride + (size_t)h * p.head_dim, *head = heads[warp];
    if (h < p.heads) {
        norm_and_turn(p, p.q_norm, row.position, x, head);
        for (uint32_t i = lane; i < p.head_dim; i += KVF_WARP) x[i] = head[i];
        return;
    }
    if (row.stored) return;
    const float *v = x + (size_t)p.kv_heads * p.head_dim;
    size_t at = ((size_t)row.slot * p.kv_heads + h - p.heads) * p.head_stride;
    norm_and_turn(p, p.k_norm, row.position, x, head);
    for (uint32_t i = lane; i < p.head_stride; i += KVF_WARP) { /* zeros behind the head */
        store_element(p.k, at + i, i < p.head_dim ? head[i] : 0, p.bf16);
        store_element(p.v, at + i, i < p.head_dim ? v[i] : 0, p.bf16);
    }
}

extern "C" const void *kvf_cuda_embed_kernel(void)
{
    return KVF_HANDLE(embed);
}
extern "C" const void *kvf_cuda_rowwise_kernel(void)
{
    return KVF_HANDLE(rowwise);
}
extern "C" const void *kvf_cuda_store_kernel(void)
{
    return KVF_HANDLE(store);
}
