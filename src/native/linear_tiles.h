/* linear_tiles.h - the loops around tiles of sums, written once for all vector instruction sets.
 * A kernel file says what a vector is, then includes this:
 *
 *     LANES, TALLEST      floats of a vector; rows of the largest tile
 *     vec                 a vector: f32, i32, or bytes, as the function that takes it says
 *     vec_keep            the same in a register, so that it is not loaded again
 *     lanes, ..._some     which lanes of a vector are meant: the first n, or all if n is larger
 *     vec_upper_half      of every pair of bf16 the upper as f32; vec_lower_half the lower
 *     vec_dot_bf16        (with BF16) a + upper products, then + lower products, each as one fma
 *     vec_dot_u8          every i32 of a + its four bytes of w times those of x; u4: w is below 16
 *
 * A tile keeps rows x width sums in registers: every sum is one chain over all inputs, whatever
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

enum {
    VEC_BYTES = LANES * 4,
    PANEL_VECS = KVF_PANEL / LANES,
    LINE_BYTES = KVF_PANEL * 4, /* a line of a panel: one vector for each of its outputs */
    WIDEST = 16,                /* vectors of outputs of a tile */
    ROW_BLOCK = 126,
    AHEAD = 3072,           /* bytes of prefetch */
    PANEL_BLOCK = 32 << 10, /* bytes of a panel that many rows take at a time */
};

/* What a tile multiplies: f32; bf16 widened to f32, or in pairs by BF16 instructions; integers. */
typedef enum product_kind { F32, BF16, PAIRS, Q8, Q4 } product_kind;

/* Two kinds have two weights where others have one, in the halves of bits. */
enum { HAS_HALVES = 1 << BF16 | 1 << Q4, HAS_GROUPS = 1 << Q8 | 1 << Q4 };

/* Where a tile stands, and its steps along the inputs: a number, a pair or a group each. Sums wait
 * in y from one block of steps to the next. */
typedef struct place {
    const uint8_t *panel; /* biases of the first vector of outputs; panels lie side by side */
    const uint8_t *w;     /* of its weights those of the first step */
    size_t panel_bytes;
    const uint8_t *x; /* of the first row; prepared where the kind says so */
    size_t x_stride;  /* in bytes */
    float *y;
    size_t y_stride, outputs; /* that y has from the first vector on */
    size_t first, end;
    bool last;                     /* nothing comes after these steps */
    size_t group, scales, offsets; /* of integers: inputs; where in x their scales, offsets are */
    const uint8_t *zeros;          /* of q4: zero points of the first step, or NULL */
} place;

/* The way from vector 0 of a tile to vector v. */
TILE size_t to_vec(const place *at, const int v)
{
    return v / PANEL_VECS * at->panel_bytes + v % PANEL_VECS * VEC_BYTES;
}

/* ---- the life of a sum ----------------------------------------------------------------------- */

TILE lanes lanes_of(const place *at, const int v)
{
    return first_lanes(at->outputs > (size_t)v * LANES ? at->outputs - (size_t)v * LANES : 0);
}

TILE void start(const place *at, const product_kind kind, const int rows, const int width,
                vec a[TALLEST][WIDEST])
{
    UNROLL
    for (int v = 0; v < width; v++) {
        vec bias = kind == Q8 ? vec_zero() : vec_load(at->panel + to_vec(at, v));
        UNROLL
        for (int r = 0; r < rows; r++) a[r][v] = bias;
    }
    if (!at->first) return;
    UNROLL
    for (int v = 0; v < width; v++) {
        lanes some = lanes_of(at, v);
        UNROLL
        for (int r = 0; r < rows; r++)
            a[r][v] = vec_load_some(at->y + r * at->y_stride + v * LANES, some);
    }
}

TILE void finish(const place *at, const product_kind kind, const int rows, const int width,
                 vec a[TALLEST][WIDEST])
{
    UNROLL
    for (int v = 0; v < width; v++) {
        const uint8_t *bias = at->panel + to_vec(at, v), *scale = bias + LINE_BYTES;
        lanes some = lanes_of(at, v);
        UNROLL
        for (int r = 0; r < rows; r++) {
            if (kind == Q8 && at->last) a[r][v] = vec_fma(a[r][v], vec_load(scale), vec_load(bias));
            vec_store_some(at->y + r * at->y_stride + v * LANES, some, a[r][v]);
        }
    }
}

/* ---- the line: what all kinds come down to --------------------------------------------------- */

/* One half of what weights were loaded, where they have halves: the even input of a pair of bf16
 * is the upper one, inputs 0 to 3 of eight integers are the lower ones. */
TILE vec half_of(const product_kind kind, const int half, vec w)
{
    if (kind == BF16) return half ? vec_lower_half(w) : vec_upper_half(w);
    if (kind == Q4) return half ? vec_upper_u4(w) : vec_lower_u4(w);
    return w;
}

TILE vec multiply_add(const product_kind kind, vec x, vec w, vec a)
{
#ifdef __AVX512BF16__
    if (kind == PAIRS) return vec_dot_bf16(x, w, a);
#endif
    if (kind == Q8) return vec_dot_u8(x, w, a);
    return kind == Q4 ? vec_dot_u4(x, w, a) : vec_fma(x, w, a);
}

/* One line of weights: a word of x for every row (or two, for halves) times width vectors. Weights
 * are loaded once for all rows, x once for all vectors; what is fewer stays in registers
 * meanwhile. */
TILE void line(const place *at, const product_kind kind, const int rows, const int width,
               const uint8_t *x, const uint8_t *w, vec a[TALLEST][WIDEST])
{
    const int halves = HAS_HALVES >> kind & 1 ? 2 : 1;
    UNROLL /* one or two rows have enough loads under way */
        for (int v = 0; v < width && rows > 2; v++) __builtin_prefetch(w + to_vec(at, v) + AHEAD);
    vec held[2][WIDEST];
    UNROLL
    for (int h = 0; h < halves && rows < width; h++) {
        UNROLL
        for (int r = 0; r < rows; r++)
            held[h][r] = vec_keep(vec_splat(x + r * at->x_stride + h * 4));
    }
    UNROLL
    for (int v = 0; v < width && rows < width; v++) {
        vec wv = vec_load(w + to_vec(at, v));
        if (rows * halves > 1) wv = vec_keep(wv);
        UNROLL
        for (int h = 0; h < halves; h++) {
            vec wh = half_of(kind, h, wv);
            UNROLL
            for (int r = 0; r < rows; r++) a[r][v] = multiply_add(kind, held[h][r], wh, a[r][v]);
        }
    }
    UNROLL
    for (int h = 0; h < halves && rows >= width; h++) {
        UNROLL
        for (int v = 0; v < width; v++)
            held[h][v] = vec_keep(half_of(kind, h, vec_load(w + to_vec(at, v))));
        UNROLL
        for (int r = 0; r < rows; r++) {
            vec xr = vec_splat(x + r * at->x_stride + h * 4);
            UNROLL
            for (int v = 0; v < width; v++) a[r][v] = multiply_add(kind, xr, held[h][v], a[r][v]);
        }
    }
}

TILE void float_tile(const place *given, const product_kind kind, const int rows, const int width)
{
    const place at = *given;
    vec a[TALLEST][WIDEST];
    start(&at, kind, rows, width, a);
    const uint8_t *x = at.x, *w = at.w;
    for (size_t s = at.first; s < at.end; s++, x += kind == BF16 ? 8 : 4, w += LINE_BYTES)
        line(&at, kind, rows, width, x, w, a);
    finish(&at, kind, rows, width, a);
}

/* Add what the integers of a group sum up to: x is at its number in the row, w at its scales.
 * Zero points are taken off as floats, which hold such integers exactly. */
TILE void add_group(const place *at, const product_kind kind, const int rows, const int width,
                    const uint8_t *x, const uint8_t *w, const uint8_t *zeros,
                    vec sum[TALLEST][WIDEST], vec a[TALLEST][WIDEST])
{
    UNROLL
    for (int v = 0; v < width; v++) {
        vec ws = kind == Q4 ? vec_load(w + to_vec(at, v)) : vec_zero();
        UNROLL
        for (int r = 0; r < rows; r++) {
            const uint8_t *xr = x + r * at->x_stride;
            vec s = vec_from_i32(sum[r][v]), xs = vec_splat(xr + at->scales);
            if (kind == Q4 && zeros)
                s = vec_fma(vec_from_u8(zeros + v / PANEL_VECS * at->panel_bytes +
                                        v % PANEL_VECS * LANES),
                            vec_from_i32(vec_splat(xr + at->offsets)), s);
            a[r][v] = vec_fma(s, kind == Q4 ? vec_mul(xs, ws) : xs, a[r][v]);
        }
    }
}

TILE void integer_tile(const place *given, const product_kind kind, const int rows, const int width)
{
    const place at = *given;
    vec a[TALLEST][WIDEST], sum[TALLEST][WIDEST];
    start(&at, kind, rows, width, a);
    const uint8_t *x = at.x + at.first * at.group, *w = at.w, *zeros = at.zeros;
    for (size_t g = at.first; g < at.end; g++) {
        UNROLL
        for (int r = 0; r < rows; r++) {
            vec offset = kind == Q4 && zeros
                             ? vec_zero()
                             : vec_splat(at.x + r * at.x_stride + at.offsets + g * 4);
            UNROLL
            for (int v = 0; v < width; v++) sum[r][v] = offset;
        }
        const uint8_t *scales = w, *end = x + at.group;
        if (kind == Q4) w += LINE_BYTES;
        for (; x < end; x += kind == Q4 ? 8 : 4, w += LINE_BYTES)
            line(&at, kind, rows, width, x, w, sum);
        add_group(&at, kind, rows, width, at.x + g * 4, scales, zeros, sum, a);
        if (kind == Q4 && zeros) zeros += KVF_PANEL;
    }
    finish(&at, kind, rows, width, a);
}

/* ---- which tiles there are ------------------------------------------------------------------- */

/* Every tile is a function of its own, found by rows and the logarithm of its width. Registers
 * hold the sums, the smaller side of a line, and one vector more; integers need sums of both
 * kinds, so that their tiles are half as large. */
#if LANES == 16
#define FLOAT_TILES(make, kind)                                                                    \
    make(kind, 1, 16, 4) make(kind, 1, 8, 3) make(kind, 1, 4, 2) make(kind, 1, 2, 1)               \
        make(kind, 2, 8, 3) make(kind, 2, 4, 2) make(kind, 2, 2, 1) make(kind, 3, 4, 2)            \
            make(kind, 3, 2, 1) make(kind, 4, 4, 2) make(kind, 4, 2, 1) make(kind, 5, 4, 2)        \
                make(kind, 5, 2, 1) make(kind, 6, 4, 2) make(kind, 6, 2, 1) make(kind, 7, 2, 1)    \
                    make(kind, 8, 2, 1) make(kind, 9, 2, 1) make(kind, 10, 2, 1)                   \
                        make(kind, 11, 2, 1) make(kind, 12, 2, 1) make(kind, 13, 2, 1)             \
                            make(kind, 14, 2, 1)
#define INTEGER_TILES(make, kind)                                                                  \
    make(kind, 1, 8, 3) make(kind, 1, 4, 2) make(kind, 1, 2, 1) make(kind, 2, 4, 2)                \
        make(kind, 2, 2, 1) make(kind, 3, 4, 2) make(kind, 3, 2, 1) make(kind, 4, 2, 1)            \
            make(kind, 5, 2, 1) make(kind, 6, 2, 1) make(kind, 7, 2, 1)
#else
#define FLOAT_TILES(make, kind)                                                                    \
    make(kind, 1, 8, 3) make(kind, 1, 4, 2) make(kind, 2, 4, 2) make(kind, 3, 4, 2)                \
        make(kind, 3, 2, 1) make(kind, 4, 2, 1) make(kind, 5, 2, 1) make(kind, 6, 2, 1)
#define INTEGER_TILES(make, kind) make(kind, 1, 4, 2) make(kind, 2, 2, 1) make(kind, 3, 2, 1)
#endif

typedef void (*tile_function)(const place *at);
typedef struct tile_set {
    uint32_t tallest;                 /* rows */
    tile_function of[TALLEST + 1][5]; /* [rows][log2 width]; NULL: no such tile */
} tile_set;

#define MAKE_FLOAT_TILE(kind, rows, width, log)                                                    \
    static void kind##_##rows##x##width(const place *at)                                           \
    {                                                                                              \
        float_tile(at, kind, rows, width);                                                         \
    }
#define MAKE_INTEGER_TILE(kind, rows, width, log)                                                  \
    static void kind##_##rows##x##width(const place *at)                                           \
    {                                                                                              \
        integer_tile(at, kind, rows, width);                                                       \
    }
#define TILE_ENTRY(kind, rows, width, log) .of[rows][log] = kind##_##rows##x##width,

/* ---- the walk -------------------------------------------------------------------------------- */

TILE size_t steps_of(const product_kind kind, const kvf_packed *w)
{
    return kind == F32 ? w->in : HAS_GROUPS >> kind & 1 ? w->groups : (w->in + 1) / 2;
}

TILE size_t step_bytes(const product_kind kind, const kvf_packed *w)
{
    return kind == Q8 ? w->group * KVF_PANEL : kind == Q4 ? kvf_q4_group_bytes(w) : LINE_BYTES;
}

/* A place at vector v of all outputs, for rows from `row` on. */
TILE place place_at(const kvf_product *p, const product_kind kind, size_t row, uint32_t v)
{
    const kvf_packed *w = p->w;
    const uint8_t *panel = kvf_panel(w, v / PANEL_VECS) + v % PANEL_VECS * VEC_BYTES;
    place at = {.panel = panel,
                .w = panel + LINE_BYTES * (kind == Q8 ? 2 : 1),
                .panel_bytes = w->panel_bytes,
                .x_stride = kind == F32 ? p->x_stride * 4 : kvf_prepared_stride(w),
                .y = p->y + row * p->y_stride + v * LANES,
                .y_stride = p->y_stride,
                .outputs = w->out > v * LANES ? w->out - v * LANES : 0};
    at.x = (const uint8_t *)(kind == F32 ? (const void *)p->x : p->prepared) + row * at.x_stride;
    if (HAS_GROUPS >> kind & 1) {
        at.group = w->group;
        at.scales = kvf_scales_at(w);
        at.offsets = kvf_offsets_at(w);
    }
    if (kind == Q4 && w->zeros) {
        at.zeros = kvf_panel(w, v / PANEL_VECS) + LINE_BYTES + v % PANEL_VECS * LANES;
        at.w += kvf_q4_zero_bytes(w);
    }
    return at;
}

/* Let a place go on by n steps. */
TILE void advance(place *at, const product_kind kind, const kvf_packed *w, size_t n)
{
    at->w += n * step_bytes(kind, w);
    at->first += n;
    if (kind == F32 || kind == PAIRS) at->x += n * 4;
    if (kind == BF16) at->x += n * 8;
    if (kind == Q4 && at->zeros) at->zeros += n * KVF_PANEL;
}

/* Rows [0, n) of a place in `count` tiles of nearly equal heights, since a low one at the end would
 * run at the latency of its few chains. */
TILE void column(const place *top, const tile_function of[][5], int log, size_t n, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t row = n * i / count;
        place at = *top;
        at.x += row * at.x_stride;
        at.y += row * at.y_stride;
        of[n * (i + 1) / count - row][log](&at);
    }
}

/* All rows against panels [first, end). Rows go in blocks whose x stays in the second cache
 * while panel after panel passes by. If they need several tiles, a panel goes in blocks of steps
 * that stay in the first cache. */
TILE void walk(const kvf_product *p, const product_kind kind, const tile_set *tiles, uint32_t first,
               uint32_t end)
{
    const size_t steps = steps_of(kind, p->w);
    const size_t tallest = tiles->tallest;
    for (size_t row = 0; row < p->rows; row += ROW_BLOCK) {
        size_t n = p->rows - row < ROW_BLOCK ? p->rows - row : ROW_BLOCK;
        size_t count = (n + tallest - 1) / tallest, high = (n + count - 1) / count;
        int widest = 4, log;
        while (widest && !tiles->of[high][widest]) widest--;
        bool blocks = count > 1 || 1 << widest < PANEL_VECS;
        size_t block = blocks ? PANEL_BLOCK / step_bytes(kind, p->w) : steps;
        for (uint32_t v = first * PANEL_VECS; v < end * PANEL_VECS; v += 1u << log) {
            for (log = widest; log > 0 && 1u << log > end * PANEL_VECS - v;) log--;
            place at = place_at(p, kind, row, v);
            for (; at.first < steps; advance(&at, kind, p->w, at.end - at.first)) {
                at.end = steps - at.first < block ? steps : at.first + block;
                at.last = at.end == steps;
                column(&at, tiles->of, log, n, count);
            }
        }
    }
}
#endif
