/* linear_tiles.h - the loops around tiles of sums, written once for all vector instruction sets.
 * A kernel file says what a vector is, then includes this:
 *
 *     LANES, MAX_ROWS              floats of a vector; rows of the largest tile
 *     vec                          a vector of f32, with
 *     vec_load, vec_splat, vec_fma whole vectors; one number in all lanes; a * b + c
 *     vec_keep(v)                  the same in a register, so that it is not loaded again
 *     vec_store(p, n, v)           the first n lanes, all of them if n is larger
 *
 * A tile keeps rows x width sums in registers over all inputs: every sum is one chain, whatever
 * the tile. A few rows take many outputs at once, so that enough chains are under way; many
 * rows take one panel (or half) and read each of its vectors once for all rows. The loops over
 * rows and vectors have constant bounds once a tile is inlined, and vanish. */
#ifndef KVF_NATIVE_LINEAR_TILES_H
#define KVF_NATIVE_LINEAR_TILES_H

#include "native/linear_isa.h"

#define TILE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { PANEL_VECS = KVF_PANEL / LANES, MAX_WIDTH = 16, ROW_BLOCK = 126, VEC_BYTES = LANES * 4 };

/* What a tile multiplies: f32; bf16 widened to f32, or in pairs by BF16 instructions; integers. */
typedef enum product_kind { F32, BF16, BF16_PAIRS, Q8, Q4 } product_kind;

/* Where a tile stands: its first row, and the first vector of its outputs. */
typedef struct place {
    const kvf_product *p;
    size_t row;
    uint32_t panel, vec;
} place;

/* The first byte of its panel that concerns a tile, and the way from there to its vector v. */
TILE const uint8_t *panel_of(const place *at)
{
    return kvf_panel(at->p->w, at->panel) + at->vec * VEC_BYTES;
}

TILE size_t to_vec(const place *at, const int v)
{
    return v / PANEL_VECS * at->p->w->panel_bytes + v % PANEL_VECS * VEC_BYTES;
}

TILE vec bias_of(const place *at, const int v)
{
    return vec_load(panel_of(at) + to_vec(at, v));
}

TILE void finish(const place *at, const int rows, const int width, vec a[TALLEST][MAX_WIDTH])
{
    size_t first = (size_t)at->panel * KVF_PANEL + at->vec * LANES, out = at->p->w->out;
    size_t left = out > first ? out - first : 0;
    float *y = at->p->y + at->row * at->p->y_stride + first;
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < width; v++)
            if (left > (size_t)v * LANES)
                vec_store(y + r * at->p->y_stride + v * LANES, left - v * LANES, a[r][v]);
    }
}

/* ---- f32 and bf16 ---------------------------------------------------------------------------- */

/* Weights of one step: of a pair of bf16, the even input is in the upper half. */
TILE vec weights(const product_kind kind, const int half, const uint8_t *w)
{
    if (kind != BF16) return vec_load(w);
    return half ? vec_lower_half(vec_load(w)) : vec_upper_half(vec_load(w));
}

TILE vec multiply_add(const product_kind kind, vec x, vec w, vec a)
{
#ifdef HAVE_BF16_PAIRS
    if (kind == BF16_PAIRS) return vec_dot_bf16(x, w, a);
#endif
    (void)kind;
    return vec_fma(x, w, a);
}

/* One step: rows numbers of x, stride apart, times width vectors. Weights are loaded once for all
 * rows and numbers once for all vectors; what is fewer stays in registers meanwhile. */
TILE void step(const place *at, const product_kind kind, const int half, const int rows,
               const int width, const float *x, size_t stride, const uint8_t *w,
               vec a[TALLEST][MAX_WIDTH])
{
    vec held[MAX_WIDTH];
    UNROLL
    for (int r = 0; r < rows && rows < width; r++) held[r] = vec_keep(vec_splat(x + r * stride));
    UNROLL
    for (int v = 0; v < width && rows < width; v++) {
        vec wv = weights(kind, half, w + to_vec(at, v));
        if (rows > 1) wv = vec_keep(wv);
        UNROLL
        for (int r = 0; r < rows; r++) a[r][v] = multiply_add(kind, held[r], wv, a[r][v]);
    }
    UNROLL
    for (int v = 0; v < width && rows >= width; v++)
        held[v] = vec_keep(weights(kind, half, w + to_vec(at, v)));
    UNROLL
    for (int r = 0; r < rows && rows >= width; r++) {
        vec xr = vec_splat(x + r * stride);
        UNROLL
        for (int v = 0; v < width; v++) a[r][v] = multiply_add(kind, xr, held[v], a[r][v]);
    }
}

TILE void tile_floats(const place *at, const product_kind kind, const int rows, const int width)
{
    vec a[TALLEST][MAX_WIDTH];
    UNROLL
    for (int v = 0; v < width; v++) {
        UNROLL
        for (int r = 0; r < rows; r++) a[r][v] = bias_of(at, v);
    }
    const float *x =
        kind == F32 ? at->p->x + at->row * at->p->x_stride : kvf_prepared_row(at->p, at->row);
    size_t stride = kind == F32 ? at->p->x_stride : kvf_prepared_stride(at->p->w) / sizeof *x;
    size_t steps = kind == F32 ? at->p->w->in : (at->p->w->in + 1) / 2;
    const uint8_t *w = panel_of(at) + KVF_PANEL * sizeof(float);
    for (size_t s = 0; s < steps; s++, w += KVF_PANEL * sizeof(float)) {
        step(at, kind, 0, rows, width, x, stride, w, a);
        if (kind == BF16) step(at, kind, 1, rows, width, x + 1, stride, w, a);
        x += kind == BF16 ? 2 : 1;
    }
    finish(at, rows, width, a);
}

/* ---- q8 and q4 ------------------------------------------------------------------------------- */

/* A row of x as prepared, from the group at hand on. */
typedef struct quantised_row {
    const uint8_t *q, *scale, *offset;
} quantised_row;

TILE quantised_row prepared_of(const place *at)
{
    const uint8_t *row = kvf_prepared_row(at->p, at->row);
    return (quantised_row){row, row + kvf_scales_at(at->p->w), row + kvf_offsets_at(at->p->w)};
}

/* Four inputs of all rows times unsigned weights that fit into bits. */
TILE void dot_4(const int bits, const int rows, const int v, const uint8_t *x, size_t stride,
                ivec w, ivec sum[TALLEST][MAX_WIDTH])
{
    UNROLL
    for (int r = 0; r < rows; r++)
        sum[r][v] = bits == 8 ? ivec_dot_u8(sum[r][v], w, ivec_splat(x + r * stride))
                              : ivec_dot_u4(sum[r][v], w, ivec_splat(x + r * stride));
}

/* Sums of products of one group of inputs, weights counted from where they should be. */
TILE void group_sums(const place *at, const product_kind kind, const int rows, const int width,
                     quantised_row x, const uint8_t *w, ivec sum[TALLEST][MAX_WIDTH])
{
    size_t stride = kvf_prepared_stride(at->p->w), group = at->p->w->group;
    bool zeros = kind == Q4 && at->p->w->zeros;
    UNROLL
    for (int r = 0; r < rows; r++) {
        ivec offset = zeros ? ivec_zero() : ivec_splat(x.offset + r * stride);
        UNROLL
        for (int v = 0; v < width; v++) sum[r][v] = offset;
    }
    for (size_t k = 0; k < group; k += kind == Q4 ? 8 : 4, w += KVF_PANEL * 4) {
        UNROLL
        for (int v = 0; v < width; v++) {
            ivec wv = ivec_keep(ivec_load(w + to_vec(at, v)));
            if (kind == Q8) {
                dot_4(8, rows, v, x.q + k, stride, wv, sum);
            } else {
                dot_4(4, rows, v, x.q + k, stride, ivec_low_u4(wv), sum);
                dot_4(4, rows, v, x.q + k + 4, stride, ivec_high_u4(wv), sum);
            }
        }
    }
}

TILE void tile_q8(const place *at, const int rows, const int width)
{
    vec a[TALLEST][MAX_WIDTH];
    ivec sum[TALLEST][MAX_WIDTH];
    quantised_row x = prepared_of(at);
    size_t stride = kvf_prepared_stride(at->p->w), groups = kvf_groups(at->p->w);
    const uint8_t *scale = panel_of(at) + KVF_PANEL * sizeof(float);
    const uint8_t *w = scale + KVF_PANEL * sizeof(float);
    UNROLL
    for (int r = 0; r < rows; r++) {
        UNROLL
        for (int v = 0; v < width; v++) a[r][v] = vec_zero();
    }
    for (size_t g = 0; g < groups; g++) {
        group_sums(at, Q8, rows, width, x, w, sum);
        UNROLL
        for (int r = 0; r < rows; r++) {
            vec xs = vec_splat((const float *)(x.scale + r * stride));
            UNROLL
            for (int v = 0; v < width; v++) a[r][v] = vec_fma(vec_from(sum[r][v]), xs, a[r][v]);
        }
        w += at->p->w->group * KVF_PANEL;
        x = (quantised_row){x.q + at->p->w->group, x.scale + 4, x.offset + 4};
    }
    UNROLL
    for (int v = 0; v < width; v++) {
        vec ws = vec_load(scale + to_vec(at, v)), bias = bias_of(at, v);
        UNROLL
        for (int r = 0; r < rows; r++) a[r][v] = vec_fma(a[r][v], ws, bias);
    }
    finish(at, rows, width, a);
}

/* Add the sums of a group. Zero points are taken off as floats, which hold such integers exactly.
 */
TILE void add_q4(const place *at, const int rows, const int width, quantised_row x,
                 const uint8_t *scale, const uint8_t *zero, ivec sum[TALLEST][MAX_WIDTH],
                 vec a[TALLEST][MAX_WIDTH])
{
    size_t stride = kvf_prepared_stride(at->p->w), panel_bytes = at->p->w->panel_bytes;
    UNROLL
    for (int v = 0; v < width; v++) {
        vec ws = vec_load(scale + to_vec(at, v));
        const uint8_t *wz = zero + v / PANEL_VECS * panel_bytes + v % PANEL_VECS * LANES;
        UNROLL
        for (int r = 0; r < rows; r++) {
            vec s = vec_from(sum[r][v]), xs = vec_splat((const float *)(x.scale + r * stride));
            if (at->p->w->zeros)
                s = vec_fma(vec_from_u8(wz), vec_from(ivec_splat(x.offset + r * stride)), s);
            a[r][v] = vec_fma(s, vec_mul(xs, ws), a[r][v]);
        }
    }
}

TILE void tile_q4(const place *at, const int rows, const int width)
{
    vec a[TALLEST][MAX_WIDTH];
    ivec sum[TALLEST][MAX_WIDTH];
    const kvf_packed *pw = at->p->w;
    quantised_row x = prepared_of(at);
    const uint8_t *zero = kvf_panel(pw, at->panel) + KVF_PANEL * sizeof(float) + at->vec * LANES;
    const uint8_t *scale = panel_of(at) + KVF_PANEL * sizeof(float) + kvf_q4_zero_bytes(pw);
    UNROLL
    for (int v = 0; v < width; v++) {
        UNROLL
        for (int r = 0; r < rows; r++) a[r][v] = bias_of(at, v);
    }
    for (size_t groups = kvf_groups(pw); groups; groups--) {
        group_sums(at, Q4, rows, width, x, scale + KVF_PANEL * sizeof(float), sum);
        add_q4(at, rows, width, x, scale, zero, sum, a);
        x = (quantised_row){x.q + pw->group, x.scale + 4, x.offset + 4};
        scale += kvf_q4_group_bytes(pw);
        zero += KVF_PANEL;
    }
    finish(at, rows, width, a);
}

/* ---- which tiles there are ------------------------------------------------------------------- */

TILE void tile(const place *at, const product_kind kind, const int rows, const int width)
{
    if (kind == Q8)
        tile_q8(at, rows, width);
    else if (kind == Q4)
        tile_q4(at, rows, width);
    else
        tile_floats(at, kind, rows, width);
}

/* The widest tile for a number of rows, in vectors. Sums of integers need registers beside the
 * sums of floats, so their tiles are half as large. */
#if LANES == 16
enum { TALLEST_INTEGERS = 7 };
static const uint8_t widest[2][TALLEST + 1] = {{0, 16, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2, 2, 2, 2},
                                               {0, 8, 4, 4, 2, 2, 2, 2}};
#else
enum { TALLEST_INTEGERS = 3 };
static const uint8_t widest[2][TALLEST + 1] = {{0, 8, 4, 4, 2, 2, 2}, {0, 4, 2, 2}};
#endif

TILE void any_tile(const place *at, const product_kind kind, int rows, int width)
{
    bool floats = kind != Q8 && kind != Q4;
    switch (rows * 32 + width) {
#if LANES == 16
    case 1 * 32 + 16:
        if (floats) tile(at, kind, 1, 16);
        break;
    case 1 * 32 + 8: tile(at, kind, 1, 8); break;
    case 1 * 32 + 4: tile(at, kind, 1, 4); break;
    case 1 * 32 + 2: tile(at, kind, 1, 2); break;
    case 2 * 32 + 8:
        if (floats) tile(at, kind, 2, 8);
        break;
    case 2 * 32 + 4: tile(at, kind, 2, 4); break;
    case 2 * 32 + 2: tile(at, kind, 2, 2); break;
    case 3 * 32 + 8:
        if (floats) tile(at, kind, 3, 8);
        break;
    case 3 * 32 + 4: tile(at, kind, 3, 4); break;
    case 3 * 32 + 2: tile(at, kind, 3, 2); break;
    case 4 * 32 + 4:
        if (floats) tile(at, kind, 4, 4);
        break;
    case 4 * 32 + 2: tile(at, kind, 4, 2); break;
    case 5 * 32 + 4:
        if (floats) tile(at, kind, 5, 4);
        break;
    case 5 * 32 + 2: tile(at, kind, 5, 2); break;
    case 6 * 32 + 4:
        if (floats) tile(at, kind, 6, 4);
        break;
    case 6 * 32 + 2: tile(at, kind, 6, 2); break;
    case 7 * 32 + 4:
        if (floats) tile(at, kind, 7, 4);
        break;
    case 7 * 32 + 2: tile(at, kind, 7, 2); break;
    case 8 * 32 + 2:
        if (floats) tile(at, kind, 8, 2);
        break;
    case 9 * 32 + 2:
        if (floats) tile(at, kind, 9, 2);
        break;
    case 10 * 32 + 2:
        if (floats) tile(at, kind, 10, 2);
        break;
    case 11 * 32 + 2:
        if (floats) tile(at, kind, 11, 2);
        break;
    case 12 * 32 + 2:
        if (floats) tile(at, kind, 12, 2);
        break;
    case 13 * 32 + 2:
        if (floats) tile(at, kind, 13, 2);
        break;
    case 14 * 32 + 2:
        if (floats) tile(at, kind, 14, 2);
        break;
#else
    case 1 * 32 + 8:
        if (floats) tile(at, kind, 1, 8);
        break;
    case 1 * 32 + 4: tile(at, kind, 1, 4); break;
    case 1 * 32 + 2: tile(at, kind, 1, 2); break;
    case 2 * 32 + 4:
        if (floats) tile(at, kind, 2, 4);
        break;
    case 2 * 32 + 2: tile(at, kind, 2, 2); break;
    case 3 * 32 + 4:
        if (floats) tile(at, kind, 3, 4);
        break;
    case 3 * 32 + 2: tile(at, kind, 3, 2); break;
    case 4 * 32 + 2:
        if (floats) tile(at, kind, 4, 2);
        break;
    case 5 * 32 + 2:
        if (floats) tile(at, kind, 5, 2);
        break;
    case 6 * 32 + 2:
        if (floats) tile(at, kind, 6, 2);
        break;
#endif
    default: __builtin_unreachable();
    }
}

/* Rows [row, row + n) against the outputs of a tile: as many tiles as needed, of nearly equal
 * heights, since a low one at the end would run at the latency of its few chains. */
TILE void column(place at, const product_kind kind, size_t n, size_t tiles, int width)
{
    size_t first = at.row;
    for (size_t i = 0; i < tiles; i++) {
        at.row = first + n * i / tiles;
        any_tile(&at, kind, (int)(first + n * (i + 1) / tiles - at.row), width);
    }
}

/* All rows against panels [first, end). Rows go in blocks whose x stays in the second cache
 * while panel after panel passes by; a panel stays in the first or second while its block does. */
TILE void walk(const kvf_product *p, const product_kind kind, uint32_t first, uint32_t end)
{
    bool integers = kind == Q8 || kind == Q4;
    size_t tallest = integers ? TALLEST_INTEGERS : TALLEST;
    for (size_t row = 0; row < p->rows; row += ROW_BLOCK) {
        size_t n = p->rows - row < ROW_BLOCK ? p->rows - row : ROW_BLOCK;
        size_t tiles = (n + tallest - 1) / tallest;
        uint32_t width = widest[integers][(n + tiles - 1) / tiles];
        for (uint32_t v = first * PANEL_VECS; v < end * PANEL_VECS; v += width) {
            while (width > end * PANEL_VECS - v) width /= 2;
            place at = {p, row, v / PANEL_VECS, v % PANEL_VECS};
            column(at, kind, n, tiles, (int)width);
        }
    }
}
#endif
