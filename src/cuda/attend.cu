/* attend.cu - attention along paths of the token tree: a block takes one span of positions for one
 * head of K and V, and all queries that see the same of it.
 *
 * Over a cache in bf16 scores and sums are products of the tensor cores, queries being the rows. Both
 * K and V go from memory straight into registers: the order of elements within a sum is free as long
 * as both factors agree on it, and so is the order of columns, so each lane takes 16 bytes in a row
 * and calls them what the tensor core wants. Over a cache in f32 a lane takes a position. */
#include "rowwise.h"

enum { BLOCK = KVF_CUDA_WARPS * KVF_WARP, CHUNKS = KVF_SPAN / KVF_CHUNK };

/* ---- a span ---------------------------------------------------------------------------------- */

/* What the block works on. */
struct work {
    cuda_item item;
    uint32_t kv_head, first_head, heads; /* of q: those that this block takes */
    uint32_t queries, end, chunks;       /* end: positions of the span that are seen */
};

KVF_LANE uint32_t position_of(const cuda_attend &p, uint32_t place)
{
    return p.rows[list_row(p.list, place)].position;
}

KVF_LANE bool find_work(const cuda_attend &p, uint32_t most_queries, work &w)
{
    w.item = p.items[blockIdx.x];
    if (!w.item.n) return false;
    const uint32_t group = p.heads / p.kv_heads, part = blockIdx.y % p.parts * most_queries;
    w.kv_head = blockIdx.y / p.parts;
    w.first_head = w.kv_head * group + part;
    w.heads = min(group - part, most_queries);
    w.queries = w.item.n * w.heads;
    /* Rows that share a span see the whole of it. */
    w.end = w.item.n > 1 ? (uint32_t)KVF_SPAN
                         : min(position_of(p, w.item.first) + 1 - w.item.span * KVF_SPAN,
                               (uint32_t)KVF_SPAN);
    w.chunks = (w.end + KVF_CHUNK - 1) / KVF_CHUNK;
    return true;
}

/* The slots of the span; behind its end the last one again, which may be read. */
KVF_LANE void find_slots(const cuda_attend &p, const work &w, uint32_t *slots)
{
    for (uint32_t i = threadIdx.x; i < KVF_SPAN; i += BLOCK) {
        uint32_t at = min(i, w.end - 1) + w.item.used;
        const kvf_run *run = p.runs + w.item.run;
        for (; at >= run->count; run++) at -= run->count;
        slots[i] = run->first + at;
    }
    __syncthreads();
}

/* Row and head of a query; its q. */
KVF_LANE uint32_t place_of(const work &w, uint32_t query)
{
    return w.item.first + query / w.heads;
}
KVF_LANE const float *q_of(const cuda_attend &p, const work &w, uint32_t query)
{
    uint32_t row = list_row(p.list, place_of(w, query));
    return p.qkv + (size_t)row * p.qkv_stride +
           (size_t)(w.first_head + query % w.heads) * p.head_dim;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* What e^(m-m') and e^(mc-m') are, to the base 2; and the merged sums. */
struct merge {
    float before, next;
};
KVF_LANE merge merge_tops(float &m, float mc)
{
    float top = fmaxf(m, mc);
    merge f = {exp2f(m - top), exp2f(mc - top)};
    m = top;
    return f;
}
KVF_LANE float merge_sums(merge f, float before, float next)
{
    float a = before * f.before, b = next * f.next;
    return a + b;
}

KVF_LANE uint32_t *arrived_of(const cuda_attend &p, uint32_t place)
{
    return p.arrived + (size_t)(place - p.first_place) * p.kv_heads * p.parts + blockIdx.y;
}

/* Where the result of a query goes: to its row, or, where the path has more spans, to be merged. */
struct target {
    size_t at;      /* in p.a */
    float *partial; /* m, l and a; NULL: there is no other span */
};
KVF_LANE float *partial_of(const cuda_attend &p, uint32_t place, uint32_t span, uint32_t head)
{
    return p.partial +
           (((size_t)(place - p.first_place) * p.spans + span) * p.heads + head) * (p.head_dim + 2);
}
KVF_LANE target target_of(const cuda_attend &p, const work &w, uint32_t query)
{
    uint32_t place = place_of(w, query), head = w.first_head + query % w.heads;
    bool only = position_of(p, place) < KVF_SPAN;
    return {(size_t)place * p.a_stride + (size_t)head * p.head_dim,
            only ? NULL : partial_of(p, place, w.item.span, head)};
}

/* Element d of what a span gives. */
KVF_LANE void put(const cuda_attend &p, const target &to, uint32_t d, float m, float l, float a)
{
    if (d >= p.head_dim) return;
    if (!to.partial) {
        store_element(p.a, to.at + d, a / l, p.a_bf16);
        return;
    }
    to.partial[2 + d] = a;
    if (d == 0) {
        to.partial[0] = m;
        to.partial[1] = l;
    }
}

/* All spans of a row: element d of one head. */
KVF_LANE void merge_row(const cuda_attend &p, uint32_t place, uint32_t spans, uint32_t head,
                        uint32_t d)
{
    enum { AT_A_TIME = 4 }; /* loads that are under way together */
    float m = -INFINITY, l = 0, a = 0;
    for (uint32_t s = 0; s < spans; s += AT_A_TIME) {
        float next[AT_A_TIME][3];
        KVF_UNROLL
        for (uint32_t i = 0; i < AT_A_TIME; i++) {
            const float *from = partial_of(p, place, min(s + i, spans - 1), head);
            next[i][0] = kvf_load_shared_by_blocks(from);
            next[i][1] = kvf_load_shared_by_blocks(from + 1);
            next[i][2] = kvf_load_shared_by_blocks(from + 2 + d);
        }
        KVF_UNROLL
        for (uint32_t i = 0; i < AT_A_TIME; i++) {
            if (s + i >= spans) break;
            merge f = merge_tops(m, next[i][0]);
            l = merge_sums(f, l, next[i][1]);
            a = merge_sums(f, a, next[i][2]);
        }
    }
    store_element(p.a, (size_t)place * p.a_stride + (size_t)head * p.head_dim + d, a / l, p.a_bf16);
}

/* Whoever brings the last span of a row merges them all; unless another kernel does, for many rows. */
KVF_LANE void merge_spans(const cuda_attend &p, const work &w)
{
    KVF_SHARED uint32_t before[BLOCK];
    const uint32_t row = threadIdx.x; /* of those that share the span */
    if (p.merged_apart) return;
    if (row < w.item.n) before[row] = 0;
    __threadfence();
    __syncthreads();
    if (row < w.item.n && position_of(p, w.item.first + row) >= KVF_SPAN)
        before[row] = 1 + atomicAdd(arrived_of(p, w.item.first + row), 1u);
    __syncthreads();
    __threadfence();
    for (uint32_t r = 0; r < w.item.n; r++) {
        uint32_t place = w.item.first + r, spans = position_of(p, place) / KVF_SPAN + 1;
        if (spans == 1 || before[r] != spans) continue;
        if (threadIdx.x == 0) *arrived_of(p, place) = 0;
        for (uint32_t e = threadIdx.x; e < w.heads * p.head_dim; e += BLOCK)
            merge_row(p, place, spans, w.first_head + e / p.head_dim, e % p.head_dim);
    }
}

/* A warp for every head of a row. */
KVF_KERNEL(BLOCK) merge_all(cuda_attend p)
{
    const uint32_t lane = threadIdx.x % KVF_WARP, place = p.first_place + blockIdx.y,
                   head = blockIdx.x * KVF_CUDA_WARPS + threadIdx.x / KVF_WARP;
    const bool here = place < *p.list.n && head < p.heads;
    const uint32_t spans = here ? position_of(p, place) / KVF_SPAN + 1 : 0;
    kvf_wait_for_kernel_before();
    if (spans <= 1) return;
    for (uint32_t d = lane; d < p.head_dim; d += KVF_WARP) merge_row(p, place, spans, head, d);
}

/* Chunks of a query that warps did apart: [chunk] arrays of m, l, a[]. */
KVF_LANE void put_chunks(const cuda_attend &p, const work &w, uint32_t query, const float *chunk,
                         size_t stride, uint32_t d)
{
    float m = chunk[0], l = chunk[1], a = chunk[2 + d];
    for (uint32_t c = 1; c < w.chunks; c++) {
        chunk += stride;
        merge f = merge_tops(m, chunk[0]);
        l = merge_sums(f, l, chunk[1]);
        a = merge_sums(f, a, chunk[2 + d]);
    }
    put(p, target_of(p, w, query), d, m, l, a);
}

/* ---- a cache in bf16 ------------------------------------------------------------------------- */

/* Sixteen queries of a warp over a chunk, as their lanes hold it: rows g and g + 8 of queries. The
 * columns of a: tile i of DIMS / 8 has dimension (i / WIDTH * 8 + column) * WIDTH + i % WIDTH. */
template <int DIMS> struct chunk_of_queries {
    float m[2], l[2], a[DIMS / 8][4];
};
template <int DIMS> constexpr int WIDTH = DIMS >= 64 ? 8 : 4; /* elements of V that a lane takes */

template <int DIMS> KVF_LANE uint32_t dimension_of(int tile, uint32_t column)
{
    return (tile / WIDTH<DIMS> * 8 + column) * WIDTH<DIMS> + tile % WIDTH<DIMS>;
}

/* q of queries first + g and first + g + 8: dimensions 32 u + 8 t ... of both. */
template <int DIMS>
KVF_LANE void load_q(const cuda_attend &p, const work &w, uint32_t first, uint32_t q[DIMS / 32][8])
{
    const uint32_t lane = threadIdx.x % KVF_WARP, g = lane / 4, t = lane % 4;
    for (int row = 0; row < 2; row++) {
        uint32_t query = first + g + 8 * row;
        const float *from = query < w.queries ? q_of(p, w, query) : NULL;
        KVF_UNROLL
        for (int pair = 0; pair < DIMS / 8; pair++) {
            int u = pair / 4, i = pair % 4;
            uint32_t d = 32 * u + 8 * t + 2 * i;
            float lo = from && d < p.head_dim ? from[d] : 0,
                  hi = from && d + 1 < p.head_dim ? from[d + 1] : 0;
            q[u][i / 2 * 4 + i % 2 * 2 + row] = kvf_pack_bf16(lo, hi);
        }
    }
}

/* Scores of a chunk, then their weights: two bf16 in each element of `weight`. */
template <int DIMS>
KVF_LANE void weigh_chunk(const cuda_attend &p, const uint16_t *k, size_t stride,
                          const uint32_t *slots, uint32_t end, const uint32_t q[DIMS / 32][8],
                          uint32_t weight[KVF_CHUNK / 8][2], chunk_of_queries<DIMS> &out)
{
    const uint32_t lane = threadIdx.x % KVF_WARP, g = lane / 4, t = lane % 4;
    float s[KVF_CHUNK / 8][4] = {};
    KVF_UNROLL
    for (int j = 0; j < KVF_CHUNK / 8; j++) {
        const uint16_t *row = k + slots[8 * j + g] * stride;
        KVF_UNROLL
        for (int u = 0; u < DIMS / 32; u++) {
            uint32_t d = 32 * u + 8 * t;
            uint4 v = d < p.head_stride ? *(const uint4 *)(row + d) : make_uint4(0, 0, 0, 0);
            uint32_t b[2][2] = {{v.x, v.y}, {v.z, v.w}};
            kvf_mma(s[j], q[u], b[0]);
            kvf_mma(s[j], q[u] + 4, b[1]);
        }
    }
    for (int row = 0; row < 2; row++) {
        float top = -INFINITY, sum = 0;
        KVF_UNROLL
        for (int j = 0; j < KVF_CHUNK / 8; j++)
            for (int c = 0; c < 2; c++) {
                float &x = s[j][2 * row + c];
                x = 8 * j + 2 * t + c < end ? x * p.scale : -INFINITY;
                top = fmaxf(top, x);
            }
        top = fmaxf(top, __shfl_xor_sync(KVF_ALL, top, 1));
        top = fmaxf(top, __shfl_xor_sync(KVF_ALL, top, 2));
        KVF_UNROLL
        for (int j = 0; j < KVF_CHUNK / 8; j++) {
            uint32_t pair =
                kvf_pack_bf16(exp2f(s[j][2 * row] - top), exp2f(s[j][2 * row + 1] - top));
            weight[j][row] = pair;
            sum += from_bf16(pair & 0xffff); /* what is multiplied is what is summed */
            sum += from_bf16(pair >> 16);
        }
        sum += __shfl_xor_sync(KVF_ALL, sum, 1);
        sum += __shfl_xor_sync(KVF_ALL, sum, 2);
        out.m[row] = top;
        out.l[row] = sum;
    }
}

/* Elements of V of one position: WIDTH of them. */
template <int DIMS> struct piece_of_v {
    uint32_t word[WIDTH<DIMS> / 2];
};
template <int DIMS>
KVF_LANE piece_of_v<DIMS> load_v(const cuda_attend &p, const uint16_t *row, uint32_t d)
{
    piece_of_v<DIMS> v = {};
    if (d >= p.head_stride) return v;
    if constexpr (WIDTH<DIMS> == 8) {
        uint4 x = *(const uint4 *)(row + d);
        v.word[0] = x.x;
        v.word[1] = x.y;
        v.word[2] = x.z;
        v.word[3] = x.w;
    } else {
        uint2 x = *(const uint2 *)(row + d);
        v.word[0] = x.x;
        v.word[1] = x.y;
    }
    return v;
}

/* Element i of two positions, as a pair. */
template <int DIMS>
KVF_LANE uint32_t pair_of(const piece_of_v<DIMS> &a, const piece_of_v<DIMS> &b, int i)
{
    uint32_t x = a.word[i / 2], y = b.word[i / 2];
    return i % 2 ? x >> 16 | (y & 0xffff0000u) : (x & 0xffff) | y << 16;
}

template <int DIMS>
KVF_LANE void attend_chunk(const cuda_attend &p, const work &w, const uint32_t *slots,
                           uint32_t chunk, const uint32_t q[DIMS / 32][8],
                           chunk_of_queries<DIMS> &out)
{
    const uint32_t lane = threadIdx.x % KVF_WARP, g = lane / 4, t = lane % 4;
    const size_t stride = (size_t)p.kv_heads * p.head_stride,
                 at = (size_t)w.kv_head * p.head_stride;
    const uint16_t *v = (const uint16_t *)p.v + at;
    uint32_t weight[KVF_CHUNK / 8][2];
    slots += chunk * KVF_CHUNK;
    weigh_chunk<DIMS>(p, (const uint16_t *)p.k + at, stride, slots, w.end - chunk * KVF_CHUNK, q,
                      weight, out);
    for (int i = 0; i < DIMS / 8; i++)
        for (int c = 0; c < 4; c++) out.a[i][c] = 0;
    KVF_UNROLL
    for (int s = 0; s < KVF_CHUNK / 16; s++) {
        const uint32_t a[4] = {weight[2 * s][0], weight[2 * s][1], weight[2 * s + 1][0],
                               weight[2 * s + 1][1]};
        const uint32_t *at16 = slots + 16 * s + 2 * t;
        const uint16_t *row[4] = {v + at16[0] * stride, v + at16[1] * stride, v + at16[8] * stride,
                                  v + at16[9] * stride};
        KVF_UNROLL
        for (int part = 0; part < DIMS / (8 * WIDTH<DIMS>); part++) {
            piece_of_v<DIMS> x[4];
            for (int i = 0; i < 4; i++)
                x[i] = load_v<DIMS>(p, row[i], (part * 8 + g) * WIDTH<DIMS>);
            KVF_UNROLL
            for (int i = 0; i < WIDTH<DIMS>; i++) {
                uint32_t b[2] = {pair_of<DIMS>(x[0], x[1], i), pair_of<DIMS>(x[2], x[3], i)};
                kvf_mma(out.a[part * WIDTH<DIMS> + i], a, b);
            }
        }
    }
}

/* Up to FEW queries: a warp for every chunk. */
template <int DIMS> constexpr uint32_t FEW = DIMS <= 128 ? 16 : 8; /* what fits in shared memory */

template <int DIMS>
KVF_LANE void attend_few(const cuda_attend &p, const work &w, const uint32_t *slots)
{
    KVF_SHARED float chunks[CHUNKS][FEW<DIMS>][DIMS + 2];
    const uint32_t warp = threadIdx.x / KVF_WARP, lane = threadIdx.x % KVF_WARP, g = lane / 4,
                   t = lane % 4;
    if (warp < w.chunks) {
        uint32_t q[DIMS / 32][8];
        chunk_of_queries<DIMS> c;
        load_q<DIMS>(p, w, 0, q);
        attend_chunk<DIMS>(p, w, slots, warp, q, c);
        KVF_UNROLL
        for (uint32_t row = 0; row < FEW<DIMS> / 8; row++) {
            float *to = chunks[warp][g + 8 * row];
            if (t == 0) {
                to[0] = c.m[row];
                to[1] = c.l[row];
            }
            KVF_UNROLL
            for (int i = 0; i < DIMS / 8; i++) {
                to[2 + dimension_of<DIMS>(i, 2 * t)] = c.a[i][2 * row];
                to[2 + dimension_of<DIMS>(i, 2 * t + 1)] = c.a[i][2 * row + 1];
            }
        }
    }
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < w.queries * p.head_dim; e += BLOCK)
        put_chunks(p, w, e / p.head_dim, chunks[0][e / p.head_dim], FEW<DIMS> * (DIMS + 2),
                   e % p.head_dim);
}

/* More: a warp for every 16 of them, one chunk after the other. */
template <int DIMS>
KVF_LANE void attend_many(const cuda_attend &p, const work &w, const uint32_t *slots)
{
    const uint32_t first = threadIdx.x / KVF_WARP * 16, lane = threadIdx.x % KVF_WARP, g = lane / 4,
                   t = lane % 4;
    if (first >= w.queries) return;
    uint32_t q[DIMS / 32][8];
    chunk_of_queries<DIMS> all, c;
    load_q<DIMS>(p, w, first, q);
    attend_chunk<DIMS>(p, w, slots, 0, q, all);
    for (uint32_t chunk = 1; chunk < w.chunks; chunk++) {
        attend_chunk<DIMS>(p, w, slots, chunk, q, c);
        KVF_UNROLL
        for (int row = 0; row < 2; row++) {
            merge f = merge_tops(all.m[row], c.m[row]);
            all.l[row] = merge_sums(f, all.l[row], c.l[row]);
            KVF_UNROLL
            for (int i = 0; i < DIMS / 8; i++) {
                float *sum = all.a[i] + 2 * row;
                const float *next = c.a[i] + 2 * row;
                sum[0] = merge_sums(f, sum[0], next[0]);
                sum[1] = merge_sums(f, sum[1], next[1]);
            }
        }
    }
    KVF_UNROLL
    for (int row = 0; row < 2; row++) {
        uint32_t query = first + g + 8 * row;
        if (query >= w.queries) continue;
        const target to = target_of(p, w, query);
        KVF_UNROLL
        for (int i = 0; i < DIMS / 8; i++) {
            const float *a = all.a[i] + 2 * row;
            put(p, to, dimension_of<DIMS>(i, 2 * t), all.m[row], all.l[row], a[0]);
            put(p, to, dimension_of<DIMS>(i, 2 * t + 1), all.m[row], all.l[row], a[1]);
        }
    }
}

template <int DIMS> KVF_KERNEL(BLOCK) attend_bf16(cuda_attend p)
{
    KVF_SHARED uint32_t slots[KVF_SPAN];
    work w;
    const bool here = find_work(p, KVF_BF16_QUERIES, w);
    if (here) find_slots(p, w, slots);
    kvf_wait_for_kernel_before();
    if (!here) return;
    if (w.queries <= FEW<DIMS>)
        attend_few<DIMS>(p, w, slots);
    else
        attend_many<DIMS>(p, w, slots);
    merge_spans(p, w);
}

/* ---- a cache in f32 -------------------------------------------------------------------------- */

/* One query over one chunk by one warp: two positions for a lane, then every 32nd dimension. */
template <int DIMS>
KVF_LANE void attend_query(const cuda_attend &p, const work &w, const uint32_t *slots,
                           uint32_t query, uint32_t chunk, float *to)
{
    const uint32_t lane = threadIdx.x % KVF_WARP, first = chunk * KVF_CHUNK;
    const size_t stride = (size_t)p.kv_heads * p.head_stride,
                 at = (size_t)w.kv_head * p.head_stride;
    const float *q = q_of(p, w, query);
    float s[2], a[DIMS / KVF_WARP] = {};
    for (uint32_t i = 0; i < 2; i++) {
        const float *k = (const float *)p.k + slots[first + 32 * i + lane] * stride + at;
        float sum = 0;
        for (uint32_t d = 0; d < p.head_dim; d += 4) { /* rows of K end with zeros */
            float4 next = *(const float4 *)(k + d);
            sum = fmaf(q[d], next.x, sum);
            sum = fmaf(d + 1 < p.head_dim ? q[d + 1] : 0, next.y, sum);
            sum = fmaf(d + 2 < p.head_dim ? q[d + 2] : 0, next.z, sum);
            sum = fmaf(d + 3 < p.head_dim ? q[d + 3] : 0, next.w, sum);
        }
        s[i] = first + 32 * i + lane < w.end ? sum * p.scale : -INFINITY;
    }
    float m = warp_max(fmaxf(s[0], s[1])), e[2] = {exp2f(s[0] - m), exp2f(s[1] - m)},
          l = warp_sum(e[0] + e[1]);
    for (uint32_t j = 0; j < KVF_CHUNK; j++) {
        const float *v = (const float *)p.v + slots[first + j] * stride + at;
        float weight = __shfl_sync(KVF_ALL, e[j / 32], (int)(j % 32));
        KVF_UNROLL
        for (uint32_t i = 0; i < DIMS / KVF_WARP; i++)
            if (lane + 32 * i < p.head_dim) a[i] = fmaf(weight, v[lane + 32 * i], a[i]);
    }
    if (lane == 0) {
        to[0] = m;
        to[1] = l;
    }
    KVF_UNROLL
    for (uint32_t i = 0; i < DIMS / KVF_WARP; i++)
        if (lane + 32 * i < p.head_dim) to[2 + lane + 32 * i] = a[i];
}

template <int DIMS> KVF_KERNEL(BLOCK) attend_f32(cuda_attend p)
{
    KVF_SHARED uint32_t slots[KVF_SPAN];
    KVF_SHARED float chunks[KVF_F32_QUERIES][CHUNKS][DIMS + 2];
    work w;
    const bool here = find_work(p, KVF_F32_QUERIES, w);
    if (here) find_slots(p, w, slots);
    kvf_wait_for_kernel_before();
    if (!here) return;
    for (uint32_t u = threadIdx.x / KVF_WARP; u < w.queries * w.chunks; u += KVF_CUDA_WARPS)
        attend_query<DIMS>(p, w, slots, u / w.chunks, u % w.chunks,
                           chunks[u / w.chunks][u % w.chunks]);
    __syncthreads();
    for (uint32_t e = threadIdx.x; e < w.queries * p.head_dim; e += BLOCK)
        put_chunks(p, w, e / p.head_dim, chunks[e / p.head_dim][0], DIMS + 2, e % p.head_dim);
    merge_spans(p, w);
}

extern "C" const void *kvf_cuda_merge_kernel(void)
{
    return KVF_HANDLE(merge_all);
}

extern "C" const void *kvf_cuda_attend_kernel(bool bf16, uint32_t head_dim)
{
    if (head_dim <= 32) return bf16 ? KVF_HANDLE(attend_bf16<32>) : KVF_HANDLE(attend_f32<32>);
    if (head_dim <= 64) return bf16 ? KVF_HANDLE(attend_bf16<64>) : KVF_HANDLE(attend_f32<64>);
    if (head_dim <= 128) return bf16 ? KVF_HANDLE(attend_bf16<128>) : KVF_HANDLE(attend_f32<128>);
    if (head_dim <= 256) return bf16 ? KVF_HANDLE(attend_bf16<256>) : KVF_HANDLE(attend_f32<256>);
    return NULL;
}
