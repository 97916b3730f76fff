/* linear.cu - y = x W + b: a warp for every slice of the inputs, a block for some panels of outputs.
 *
 * Weights are the rows of the tensor cores' product and rows of x its columns, so that one row costs
 * what eight do: reading the weights. They are asked for before the kernel in front has ended. */
#include "rowwise.h"

enum {
    SLICE_WARPS = KVF_SLICES,
    BLOCK = SLICE_WARPS * KVF_WARP,
    OWN_SHARED = KVF_OWN_NORM_BYTES + NORM_PARTS * sizeof(float),
    MOST_SHARED = 48 << 10, /* of a block that does not ask for more */
};

/* ---- the end of every product ---------------------------------------------------------------- */

/* Output `o` of row `place`; total: of gate and up if there are both. */
KVF_LANE void finish(const cuda_product &p, uint32_t place, uint32_t panel, uint32_t o,
                     uint32_t panel_size, const float *total, bool gated)
{
    uint32_t output = (gated ? panel / 2 : panel) * panel_size + o;
    size_t to = (size_t)(p.y_by_row ? list_row(p.list, place) : place) * p.y_stride + output;
    if (output >= p.w.out) { /* the next product reads whole units */
        if (p.todo == CUDA_SET && output < p.y_stride) store_element(p.y, to, 0, p.y_bf16);
        return;
    }
    float v[2];
    for (int i = 0; i < (gated ? 2 : 1); i++) {
        uint32_t at = (panel + i) * panel_size + o;
        v[i] = total[i];
        if (p.w.scale) v[i] *= p.w.scale[at];
        if (p.w.bias) v[i] += p.w.bias[at];
    }
    float y = activate(p.act, v[0]);
    if (gated) y *= v[1];
    if (p.todo == CUDA_ADD)
        ((float *)p.y)[to] += y;
    else
        store_element(p.y, to, y, p.y_bf16);
}

/* Where the rows of a block's tile begin. Normed ones are made here, in shared memory, by eight
 * warps. */
template <typename T>
KVF_LANE const T *rows_of_x(const cuda_product &p, uint32_t first, uint32_t n, T *own,
                            uint32_t own_stride)
{
    if (!p.norm.kind) return (const T *)p.x;
    const uint32_t warp = threadIdx.x / KVF_WARP, lane = threadIdx.x % KVF_WARP;
    for (uint32_t r = n == 1 ? 0 : warp; r < n; r += SLICE_WARPS) {
        const float *x = (const float *)p.x + (size_t)list_row(p.list, first + r) * p.x_stride;
        if (n == 1) /* all warps together */
            norm_row<1>(p.norm, x, own, sizeof(T) == 2);
        else
            norm_row<NORM_PARTS>(p.norm, x, own + r * own_stride, sizeof(T) == 2);
        for (uint32_t i = p.norm.width + lane; i < p.w.units * KVF_UNIT; i += KVF_WARP)
            own[r * own_stride + i] = 0;
    }
    __syncthreads();
    return own;
}

/* The same, then one row of the tile, or NULL if there is none. */
template <typename T>
KVF_LANE const T *row_of_x(const cuda_product &p, const T *x, uint32_t first, uint32_t r,
                           uint32_t n, uint32_t own_stride)
{
    if (r >= n) return NULL;
    if (p.norm.kind) return x + r * own_stride;
    return x + (size_t)(p.x_by_row ? list_row(p.list, first + r) : first + r) * p.x_stride;
}

/* ---- tensor cores ---------------------------------------------------------------------------- */

/* Two of four bytes, 128 is zero, as bf16: exact. Adding 2^23 puts an integer into the low bits of a
 * float; all that is left of one with 8 bits is in its upper half. */
KVF_LANE uint32_t pair_of_bytes(uint32_t word, uint32_t first)
{
    float lo = __uint_as_float(0x4b000000u | (word >> 8 * first & 255)) - 8388736.0f,
          hi = __uint_as_float(0x4b000000u | (word >> (8 * first + 8) & 255)) - 8388736.0f;
    return __float_as_uint(lo) >> 16 | (__float_as_uint(hi) & 0xffff0000u);
}

/* A unit of one panel, as a lane holds it: Q8 half as much. */
template <bool Q8> struct unit_of_weights {
    uint4 v[Q8 ? 1 : 2];
};

template <bool Q8>
KVF_LANE void load_unit(unit_of_weights<Q8> &w, const cuda_weights &from, uint32_t panel,
                        uint32_t unit)
{
    constexpr uint32_t n = Q8 ? 1 : 2;
    const uint4 *at = (const uint4 *)from.data +
                      ((size_t)panel * from.units + unit) * (n * KVF_WARP) + threadIdx.x % KVF_WARP;
    for (uint32_t i = 0; i < n; i++) w.v[i] = kvf_load_weights(at + i * KVF_WARP);
}

template <bool Q8> KVF_LANE void unpack(const unit_of_weights<Q8> &w, uint32_t half, uint32_t a[4])
{
    if constexpr (Q8) {
        uint32_t g = half ? w.v[0].y : w.v[0].x, g8 = half ? w.v[0].w : w.v[0].z;
        a[0] = pair_of_bytes(g, 0);
        a[1] = pair_of_bytes(g8, 0);
        a[2] = pair_of_bytes(g, 2);
        a[3] = pair_of_bytes(g8, 2);
    } else {
        a[0] = w.v[half].x;
        a[1] = w.v[half].y;
        a[2] = w.v[half].z;
        a[3] = w.v[half].w;
    }
}

/* COLUMNS times eight rows of x, PANELS panels of outputs for a warp, GROUPS of them in a block. */
template <bool Q8, int COLUMNS, int PANELS, int GROUPS>
KVF_KERNEL(BLOCK *GROUPS)
product_mma(cuda_product p)
{
    constexpr int AHEAD = COLUMNS > 4             ? 2
                          : COLUMNS * PANELS == 1 ? 8
                                                  : 4, /* units of weights */
        X_AHEAD = COLUMNS > 2 ? 1
                  : AHEAD < 4 ? AHEAD
                              : 4,                                  /* and of x */
        ROWS = 8 * COLUMNS, SUM_ROWS = ROWS < 16 ? ROWS : ROWS + 8; /* for other banks */
    constexpr bool AT_ONCE = COLUMNS <= 4; /* all slices fit in shared memory */
    KVF_DYNAMIC_SHARED(uint16_t, own);
    KVF_SHARED float sum[AT_ONCE ? SLICE_WARPS : 1][GROUPS * PANELS][KVF_MMA_PANEL][SUM_ROWS];
    static_assert(COLUMNS > 1 || sizeof sum + OWN_SHARED <= MOST_SHARED);
    const uint32_t warp = threadIdx.x / KVF_WARP, lane = threadIdx.x % KVF_WARP, g = lane / 4,
                   t = lane % 4, group = warp / SLICE_WARPS, slice = warp % SLICE_WARPS;
    const uint32_t panel = (blockIdx.x * GROUPS + group) * PANELS, first = blockIdx.y * ROWS;
    const bool here = panel < p.w.panels;
    const uint32_t begin = slice * p.w.slice,
                   end = !here ? begin : min(begin + p.w.slice, p.w.units);
    unit_of_weights<Q8> ahead[AHEAD][PANELS];
    KVF_UNROLL
    for (int i = 0; i < AHEAD; i++)
        for (int k = 0; k < PANELS; k++)
            if (begin + i < end) load_unit<Q8>(ahead[i][k], p.w, panel + k, begin + i);
    uint32_t n = *p.list.n;

    kvf_wait_for_kernel_before();
    if (n <= first) return;
    n = min(n - first, (uint32_t)ROWS);
    const uint32_t own_stride = p.w.units * KVF_UNIT + KVF_UNIT; /* rows fall on different banks */
    const uint16_t *all = rows_of_x<uint16_t>(p, first, n, own, own_stride), *x[COLUMNS];
    KVF_UNROLL
    for (int j = 0; j < COLUMNS; j++) x[j] = row_of_x(p, all, first, 8 * j + g, n, own_stride);

    float acc[PANELS][COLUMNS][4] = {};
    uint4 column[X_AHEAD][COLUMNS];
    for (uint32_t u = begin; u < end; u += AHEAD) {
        KVF_UNROLL
        for (int i = 0; i < AHEAD; i++) {
            if (u + i >= end) break;
            KVF_UNROLL
            for (int m = 0; m < (i % X_AHEAD ? 0 : X_AHEAD * COLUMNS); m++) {
                const uint16_t *from = x[m % COLUMNS];
                uint32_t unit = u + i + m / COLUMNS;
                column[m / COLUMNS][m % COLUMNS] =
                    from && unit < end ? *(const uint4 *)(from + unit * KVF_UNIT + 8 * t)
                                       : make_uint4(0, 0, 0, 0);
            }
            uint32_t a[PANELS][2][4];
            KVF_UNROLL
            for (int k = 0; k < PANELS; k++) {
                unpack<Q8>(ahead[i][k], 0, a[k][0]);
                unpack<Q8>(ahead[i][k], 1, a[k][1]);
            }
            KVF_UNROLL
            for (int j = 0; j < COLUMNS; j++) {
                const uint4 c = column[i % X_AHEAD][j];
                const uint32_t b[2][2] = {{c.x, c.y}, {c.z, c.w}};
                KVF_UNROLL
                for (int k = 0; k < PANELS; k++) {
                    kvf_mma(acc[k][j], a[k][0], b[0]);
                    kvf_mma(acc[k][j], a[k][1], b[1]);
                }
            }
            /* Only now: a register that is filled anew while it is in use is one register more. */
            for (int k = 0; k < PANELS; k++)
                if (u + i + AHEAD < end) load_unit<Q8>(ahead[i][k], p.w, panel + k, u + i + AHEAD);
        }
    }

    /* Slices are added in order: from as many arrays, or one warp after the other. */
    const uint32_t slices = (p.w.units + p.w.slice - 1) / p.w.slice;
    for (uint32_t s = 0; s < (AT_ONCE ? 1u : slices); s++) {
        if (AT_ONCE || s == slice) {
            KVF_UNROLL
            for (int i = 0; i < PANELS * COLUMNS * 4; i++) {
                int k = i / (COLUMNS * 4), j = i / 4 % COLUMNS, c = i % 4;
                float *at = &sum[AT_ONCE ? slice : 0][group * PANELS + k][g + c / 2 * 8]
                                [8 * j + 2 * t + c % 2];
                *at = AT_ONCE || s == 0 ? acc[k][j][c] : *at + acc[k][j][c];
            }
        }
        __syncthreads();
    }
    const bool gated = PANELS == 2 && p.w.gated;
    for (uint32_t e = threadIdx.x; e < KVF_MMA_PANEL * n * GROUPS; e += BLOCK * GROUPS) {
        uint32_t o = e % KVF_MMA_PANEL, k = e / KVF_MMA_PANEL % GROUPS * PANELS,
                 r = e / (KVF_MMA_PANEL * GROUPS), at = blockIdx.x * GROUPS * PANELS + k;
        float total[PANELS];
        for (int i = 0; i < PANELS; i++) {
            total[i] = sum[0][k + i][o][r];
            for (uint32_t s = 1; s < slices && AT_ONCE; s++) total[i] += sum[s][k + i][o][r];
        }
        if (at >= p.w.panels) continue;
        finish(p, first + r, at, o, KVF_MMA_PANEL, total, gated);
        if (PANELS == 2 && !gated) finish(p, first + r, at + 1, o, KVF_MMA_PANEL, total + 1, false);
    }
}

/* ---- f32 ------------------------------------------------------------------------------------- */

template <int ROWS, int PANELS> KVF_KERNEL(BLOCK) product_f32(cuda_product p)
{
    KVF_DYNAMIC_SHARED(float, own);
    KVF_SHARED float sum[SLICE_WARPS][PANELS][ROWS][KVF_F32_PANEL];
    static_assert(sizeof sum + OWN_SHARED <= MOST_SHARED);
    const uint32_t slice = threadIdx.x / KVF_WARP, lane = threadIdx.x % KVF_WARP;
    const uint32_t panel = blockIdx.x * PANELS, first = blockIdx.y * ROWS;
    const uint32_t begin = slice * p.w.slice, end = min(begin + p.w.slice, p.w.units);
    const float4 *w[PANELS];
    for (int k = 0; k < PANELS; k++)
        w[k] = (const float4 *)p.w.data + (size_t)(panel + k) * p.w.units * (8 * KVF_WARP) + lane;

    uint32_t n = *p.list.n;

    kvf_wait_for_kernel_before();
    if (n <= first) return;
    n = min(n - first, (uint32_t)ROWS);
    const uint32_t own_stride = p.w.units * KVF_UNIT;
    const float *all = rows_of_x<float>(p, first, n, own, own_stride), *x[ROWS];
    KVF_UNROLL
    for (int r = 0; r < ROWS; r++) /* a missing row repeats the last: its sums go nowhere */
        x[r] = row_of_x(p, all, first, min((uint32_t)r, n - 1), n, own_stride);

    float acc[PANELS][ROWS] = {};
    for (uint32_t i = begin * 8; i < end * 8; i++) { /* four inputs */
        float4 v[PANELS];
        for (int k = 0; k < PANELS; k++) v[k] = w[k][(size_t)i * KVF_WARP];
        KVF_UNROLL
        for (int r = 0; r < ROWS; r++) {
            float4 in = *(const float4 *)(x[r] + 4 * i);
            for (int k = 0; k < PANELS; k++) {
                float a = acc[k][r];
                a = fmaf(in.x, v[k].x, a);
                a = fmaf(in.y, v[k].y, a);
                a = fmaf(in.z, v[k].z, a);
                acc[k][r] = fmaf(in.w, v[k].w, a);
            }
        }
    }
    KVF_UNROLL
    for (int i = 0; i < PANELS * ROWS; i++)
        sum[slice][i / ROWS][i % ROWS][lane] = acc[i / ROWS][i % ROWS];
    __syncthreads();
    const uint32_t slices = (p.w.units + p.w.slice - 1) / p.w.slice;
    for (uint32_t e = threadIdx.x; e < KVF_F32_PANEL * n; e += BLOCK) {
        uint32_t o = e % KVF_F32_PANEL, r = e / KVF_F32_PANEL;
        float total[PANELS];
        for (int k = 0; k < PANELS; k++) {
            total[k] = sum[0][k][r][o];
            for (uint32_t s = 1; s < slices; s++) total[k] += sum[s][k][r][o];
        }
        finish(p, first + r, panel, o, KVF_F32_PANEL, total, PANELS == 2);
    }
}

/* ---- which kernel ---------------------------------------------------------------------------- */

template <bool Q8, int PANELS> static const void *few_rows(uint32_t rows, uint32_t *tile)
{
    *tile = rows <= 8 ? 8 : rows <= 16 ? 16 : 32;
    if (rows <= 8) return KVF_HANDLE(product_mma<Q8, 1, PANELS, 1>);
    if (rows <= 16) return KVF_HANDLE(product_mma<Q8, 2, PANELS, 1>);
    return KVF_HANDLE(product_mma<Q8, 4, PANELS, 1>);
}

template <bool Q8>
static const void *mma_kernel(bool gated, uint32_t rows, uint32_t *tile, uint32_t *columns,
                              uint32_t *threads)
{
    if (rows > 32) {
        *tile = 64;
        *columns = 4;
        *threads = 2 * BLOCK;
        return KVF_HANDLE(product_mma<Q8, 8, 2, 2>);
    }
    *columns = gated ? 2 : 1;
    *threads = BLOCK;
    return gated ? few_rows<Q8, 2>(rows, tile) : few_rows<Q8, 1>(rows, tile);
}

template <int PANELS> static const void *f32_kernel(uint32_t rows, uint32_t *tile)
{
    *tile = rows == 1 ? 1 : rows <= 4 ? 4 : 16 / PANELS;
    if (rows == 1) return KVF_HANDLE(product_f32<1, PANELS>);
    if (rows <= 4) return KVF_HANDLE(product_f32<4, PANELS>);
    return KVF_HANDLE(product_f32<16 / PANELS, PANELS>);
}

extern "C" const void *kvf_cuda_product_kernel(const cuda_weights *w, uint32_t rows, uint32_t *tile,
                                               uint32_t *columns, uint32_t *threads)
{
    if (w->precision == KVF_W_BF16)
        return mma_kernel<false>(w->gated, rows, tile, columns, threads);
    if (w->precision == KVF_W_Q8) return mma_kernel<true>(w->gated, rows, tile, columns, threads);
    *columns = w->gated ? 2 : 1;
    *threads = BLOCK;
    return w->gated ? f32_kernel<2>(rows, tile) : f32_kernel<1>(rows, tile);
}
