/* linear_isa.h - what the kernel files share with each other and with packing: where things lie
 * in a panel and in a prepared row. Nobody else includes it.
 *
 *     prepared row, bf16    x rounded to bf16, in the form that the table likes (at most 4 bytes
 *                           each), a zero behind an odd last one
 *                   q8,q4   x as integers i8 [groups][group], zeros behind the last one
 *                           scale f32 [groups]    at kvf_scales_at
 *                           offset i32 [groups]   at kvf_offsets_at: what to add to a sum of
 *                                                 products with unsigned weights, so that they
 *                                                 count from 128 (q8) or 8 (q4 without zero points)
 * Rows lie kvf_prepared_stride apart. */
#ifndef KVF_NATIVE_LINEAR_ISA_H
#define KVF_NATIVE_LINEAR_ISA_H

#include "native/linear.h"

static inline size_t kvf_round_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Bytes of one group of a q4 panel, and of the zero points before the groups. */
static inline size_t kvf_q4_group_bytes(const kvf_packed *w)
{
    return KVF_PANEL * (sizeof(float) + w->group / 2);
}

static inline size_t kvf_q4_zero_bytes(const kvf_packed *w)
{
    return w->zeros ? kvf_round_up((size_t)w->groups * KVF_PANEL, 64) : 0;
}

static inline size_t kvf_scales_at(const kvf_packed *w)
{
    return kvf_round_up((size_t)w->groups * w->group, 64);
}

static inline size_t kvf_offsets_at(const kvf_packed *w)
{
    return kvf_scales_at(w) + kvf_round_up(w->groups * sizeof(float), 64);
}

static inline size_t kvf_prepared_stride(const kvf_packed *w)
{
    size_t bytes = 0;
    if (w->precision == KVF_W_BF16) bytes = kvf_round_up(4 * kvf_round_up(w->in, 2), 64);
    if (w->precision == KVF_W_Q8 || w->precision == KVF_W_Q4)
        bytes = kvf_offsets_at(w) + kvf_round_up(w->groups * sizeof(int32_t), 64);
    /* Rows must not all fall into the same sets of the first cache. */
    return bytes % 1024 ? bytes : bytes + (bytes ? 64 : 0);
}

static inline const uint8_t *kvf_panel(const kvf_packed *w, uint32_t panel)
{
    return w->data + (size_t)panel * w->panel_bytes;
}

static inline void *kvf_prepared_row(const kvf_product *p, size_t row)
{
    return (uint8_t *)p->prepared + row * kvf_prepared_stride(p->w);
}

/* Outputs of this panel that y has: all, or those left for the last panel. */
static inline uint32_t kvf_panel_outputs(const kvf_packed *w, uint32_t panel)
{
    uint32_t left = w->out - panel * KVF_PANEL;
    return left < KVF_PANEL ? left : KVF_PANEL;
}

/* The offset of a group whose integers have this sum; the negative sum itself where zero points
 * are to be multiplied with it. Sums of what was NaN are anything: they wrap, and are not used. */
static inline int32_t kvf_q_offset(const kvf_packed *w, int32_t sum)
{
    uint32_t times = w->precision == KVF_W_Q8 ? 128 : w->zeros ? 1 : 8;
    return (int32_t)(0 - times * (uint32_t)sum);
}

void kvf_prepare_nothing(const kvf_product *p, size_t first_row, size_t end_row); /* f32 */

extern const kvf_linear_table kvf_linear_c;
#if defined(__x86_64__)
extern const kvf_linear_table kvf_linear_avx2, kvf_linear_avx512, kvf_linear_avx512v,
    kvf_linear_avx512x;

/* What a level has in common with a lower one. */
void kvf_prepare_bf16_avx512(const kvf_product *p, size_t first_row, size_t end_row);
void kvf_prepare_q_avx512(const kvf_product *p, size_t first_row, size_t end_row);
void kvf_run_f32_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel);
void kvf_run_bf16_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel);
void kvf_run_q8_avx512v(const kvf_product *p, uint32_t first_panel, uint32_t end_panel);
void kvf_run_q4_avx512v(const kvf_product *p, uint32_t first_panel, uint32_t end_panel);
#endif
#endif
