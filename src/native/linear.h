/* linear.h - y = x W + b, the product that a decoder is made of: packed weights and its kernels.
 *
 * Weights are packed once, the same way for every instruction set: panels of 32 outputs, each
 * panel whole in memory, inputs in order, so that a product reads its weights as one stream.
 * Several matrices that read the same x (q, k and v; gate and up) lie side by side in one.
 *
 *     panel, f32    bias f32 [32]                      w f32  [in][32]
 *            bf16   bias f32 [32]                      w bf16 [in / 2][32][2]   odd input first
 *            q8     bias f32 [32]  scale f32 [32]      w u8   [in / 4][32][4]   128 is zero
 *            q4     bias f32 [32]  zero u8 [groups][32] (if any zero is not 8), then groups of
 *                       scale f32 [32]  w u4 [group / 8][32][8]   of 8, a byte holds i and i + 4
 *
 * Missing outputs of the last panel and missing inputs of the last pair, four or group are zeros.
 *
 * The bits of y[r][o] depend on row r of x and on the weights of output o alone: not on other
 * rows, their number, strides, panels or threads. What they are, with all sums in f32:
 *     f32   a = b; for k ascending: a = fma(x[k], w[k], a)
 *     bf16  the same over x rounded to bf16 (to nearest even)
 *     q8    x is cut into groups of 32 inputs, xs = max |x| / 127, xq = round(x / xs);
 *           a = 0; for groups ascending: a = fma((float)sum xq wq, xs, a); y = fma(a, ws, b)
 *     q4    the same groups (of 16 where weights have scales for 16);
 *           a = b; for groups ascending: a = fma((float)sum xq (wq - zero), xs * ws, a)
 * where the sums of integers are exact. All tables keep to this and agree bit for bit, but for
 * denormals: BF16 instructions always take and give them as zeros (so do the others under
 * MXCSR.FTZ and DAZ). */
#ifndef KVF_NATIVE_LINEAR_H
#define KVF_NATIVE_LINEAR_H

#include "native/cpu.h"
#include "matrix.h"

enum { KVF_PANEL = 32 }; /* outputs of one panel: the unit of dividing work between threads */

typedef struct kvf_packed {
    kvf_precision precision;
    uint32_t in, out, panels;
    uint32_t group, groups; /* q8, q4: inputs per scale of x; how many of these there are */
    bool zeros;             /* q4: zero points are there */
    /* Narrow heads among the outputs lie in bundles, as attention takes them: what is
     * [side][head_dim] in the parts is [head_dim][side] here. Set behind kvf_pack_begin; 0 or 1:
     * nothing is turned. */
    uint32_t side, head_dim;
    size_t panel_bytes, bytes;
    uint8_t *data; /* [panels][panel_bytes] */
} kvf_packed;

/* Pack linears that share their inputs, side by side. Biases are packed with them.
 *
 * out        freed by kvf_packed_free; zeroed on failure
 * parts      [n] with equal w.in; not needed afterwards
 * precision  q4 takes 4-bit matrices as they are; all else is read as numbers and rounded
 * Errors     KVF_ERR_NOMEM; KVF_ERR_MODEL: widths differ, or a type or a size cannot be packed */
kvf_status kvf_pack(kvf_packed *out, const kvf_linear *const *parts, size_t n,
                    kvf_precision precision, kvf_error *err);
/* The same in two steps: the memory first, then panels [first, end) in any order and from any
 * threads, with the same parts. */
kvf_status kvf_pack_begin(kvf_packed *out, const kvf_linear *const *parts, size_t n,
                          kvf_precision precision, kvf_error *err);
void kvf_pack_panels(const kvf_packed *w, const kvf_linear *const *parts, uint32_t first,
                     uint32_t end);
void kvf_packed_free(kvf_packed *w); /* zeroed is fine */

/* The weights of one output as f32 [in]: an embedding, where the table is also the vocabulary's. */
void kvf_packed_row(const kvf_packed *w, uint32_t output, float *row);

/* One product of many rows. */
typedef struct kvf_product {
    const kvf_packed *w;
    const float *x; /* [rows][x_stride], the first w->in of each row are read */
    float *y;       /* [rows][y_stride], the first w->out of each row are written */
    size_t rows, x_stride, y_stride; /* strides in floats; fastest if no multiple of 1024 */
    void *prepared; /* on 64 bytes, kvf_prepared_bytes(w, rows): x as the kernel reads it */
} kvf_product;

size_t kvf_prepared_bytes(const kvf_packed *w, size_t rows); /* 0 for f32 */

/* One table per level of cpu.h; every table fills every pointer. */
typedef struct kvf_linear_table {
    const char *name;
    void (*prepare[KVF_PRECISIONS])(const kvf_product *p, size_t first_row, size_t end_row);
    void (*run[KVF_PRECISIONS])(const kvf_product *p, uint32_t first_panel, uint32_t end_panel);
} kvf_linear_table;

const kvf_linear_table *kvf_linear_table_of(kvf_cpu cpu);

/* Make rows [first, end) of x ready; before kvf_multiply, once for all panels. */
static inline void kvf_prepare(const kvf_linear_table *t, const kvf_product *p, size_t first_row,
                               size_t end_row)
{
    t->prepare[p->w->precision](p, first_row, end_row);
}

/* Outputs of panels [first, end), for all rows; threads divide panels. */
static inline void kvf_multiply(const kvf_linear_table *t, const kvf_product *p,
                                uint32_t first_panel, uint32_t end_panel)
{
    t->run[p->w->precision](p, first_panel, end_panel);
}
#endif
