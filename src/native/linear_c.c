/* linear_c.c - products of packed weights in plain C: the specification, and what runs where no
 * vector instructions are known. One chain of sums per output, inputs ascending. */
#include "native/linear_prepare.h"

#include <math.h>
#include <string.h>

void kvf_prepare_nothing(const kvf_product *p, size_t first_row, size_t end_row)
{
    (void)p, (void)first_row, (void)end_row;
}

static void store(const kvf_product *p, size_t row, uint32_t panel, const float *a)
{
    memcpy(p->y + row * p->y_stride + (size_t)panel * KVF_PANEL, a,
           kvf_panel_outputs(p->w, panel) * sizeof *a);
}

static void run_f32(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    for (uint32_t panel = first_panel; panel < end_panel; panel++) {
        const float *bias = (const float *)kvf_panel(p->w, panel), *w = bias + KVF_PANEL;
        for (size_t r = 0; r < p->rows; r++) {
            const float *x = p->x + r * p->x_stride;
            float a[KVF_PANEL];
            memcpy(a, bias, sizeof a);
            for (size_t k = 0; k < p->w->in; k++)
                for (size_t o = 0; o < KVF_PANEL; o++)
                    a[o] = fmaf(x[k], w[k * KVF_PANEL + o], a[o]);
            store(p, r, panel, a);
        }
    }
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    for (uint32_t panel = first_panel; panel < end_panel; panel++) {
        const float *bias = (const float *)kvf_panel(p->w, panel);
        const uint16_t *w = (const uint16_t *)(bias + KVF_PANEL);
        for (size_t r = 0; r < p->rows; r++) {
            const float *x = kvf_prepared_row(p, r);
            float a[KVF_PANEL];
            memcpy(a, bias, sizeof a);
            for (size_t k = 0; k < p->w->in; k++)
                for (size_t o = 0; o < KVF_PANEL; o++) /* of a pair, the odd input lies first */
                    a[o] =
                        fmaf(x[k], kvf_from_bf16(w[(k / 2 * KVF_PANEL + o) * 2 + !(k & 1)]), a[o]);
            store(p, r, panel, a);
        }
    }
}

static void run_q8(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    size_t group = p->w->group;
    for (uint32_t panel = first_panel; panel < end_panel; panel++) {
        const float *bias = (const float *)kvf_panel(p->w, panel), *scale = bias + KVF_PANEL;
        const uint8_t *w = (const uint8_t *)(scale + KVF_PANEL);
        for (size_t r = 0; r < p->rows; r++) {
            const uint8_t *row = kvf_prepared_row(p, r);
            const float *x_scale = (const float *)(row + kvf_scales_at(p->w));
            const int8_t *x = (const int8_t *)row;
            float a[KVF_PANEL] = {0};
            for (size_t g = 0; g < p->w->groups; g++) {
                int32_t sum[KVF_PANEL] = {0};
                for (size_t k = g * group; k < (g + 1) * group; k++)
                    for (size_t o = 0; o < KVF_PANEL; o++)
                        sum[o] += x[k] * (w[(k / 4 * KVF_PANEL + o) * 4 + k % 4] - 128);
                for (size_t o = 0; o < KVF_PANEL; o++) a[o] = fmaf((float)sum[o], x_scale[g], a[o]);
            }
            for (size_t o = 0; o < KVF_PANEL; o++) a[o] = fmaf(a[o], scale[o], bias[o]);
            store(p, r, panel, a);
        }
    }
}

/* Add one group of a q4 panel: its scales, then two weights in every byte. */
static void add_group_q4(const kvf_packed *pw, const uint8_t *group, const uint8_t *zero,
                         const int8_t *x, float x_scale, float *a)
{
    const float *scale = (const float *)group;
    const uint8_t *w = group + KVF_PANEL * sizeof *scale;
    for (size_t o = 0; o < KVF_PANEL; o++) {
        int32_t sum = 0;
        for (size_t k = 0; k < pw->group; k++) {
            uint8_t byte = w[(k / 8 * KVF_PANEL + o) * 4 + k % 4];
            sum += x[k] * ((k & 4 ? byte >> 4 : byte & 15) - (pw->zeros ? zero[o] : 8));
        }
        a[o] = fmaf((float)sum, x_scale * scale[o], a[o]);
    }
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    for (uint32_t panel = first_panel; panel < end_panel; panel++) {
        const float *bias = (const float *)kvf_panel(p->w, panel);
        const uint8_t *zero = (const uint8_t *)(bias + KVF_PANEL);
        const uint8_t *w = zero + kvf_q4_zero_bytes(p->w);
        for (size_t r = 0; r < p->rows; r++) {
            const uint8_t *row = kvf_prepared_row(p, r);
            const float *x_scale = (const float *)(row + kvf_scales_at(p->w));
            float a[KVF_PANEL];
            memcpy(a, bias, sizeof a);
            for (size_t g = 0; g < p->w->groups; g++)
                add_group_q4(p->w, w + g * kvf_q4_group_bytes(p->w), zero + g * KVF_PANEL,
                             (const int8_t *)row + g * p->w->group, x_scale[g], a);
            store(p, r, panel, a);
        }
    }
}

const kvf_linear_table kvf_linear_c = {
    .name = "c",
    .prepare = {kvf_prepare_nothing, prepare_bf16, prepare_q, prepare_q},
    .run = {run_f32, run_bf16, run_q8, run_q4},
};
