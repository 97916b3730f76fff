/* pack.c - weights as kernels.h shows them, a tile of 32 inputs after the other. */
#include "cuda.h"

#include <string.h>

uint32_t kvf_cuda_panel_size(uint32_t precision)
{
    return precision == KVF_W_F32 ? KVF_F32_PANEL : KVF_MMA_PANEL;
}

static uint32_t unit_bytes(uint32_t precision)
{
    uint32_t elements = kvf_cuda_panel_size(precision) * KVF_UNIT;
    return precision == KVF_W_F32 ? 4 * elements : precision == KVF_W_Q8 ? elements : 2 * elements;
}

bool kvf_cuda_has_bias(const cuda_packing *p)
{
    bool bias = false;
    for (uint32_t i = 0; i < p->n; i++) bias |= p->parts[i]->bias != NULL;
    return bias;
}

kvf_status kvf_cuda_pack_begin(const cuda_packing *p, kvf_precision precision, uint64_t *bytes,
                               kvf_error *err)
{
    cuda_weights *w = p->out;
    uint64_t outputs = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        kvf_status status = kvf_matrix_check(&p->parts[i]->w, p->parts[0]->w.in, err);
        if (status) return status;
        if (p->gated && p->parts[i]->w.out != p->parts[0]->w.out)
            return kvf_fail(err, KVF_ERR_MODEL, "gate has %u outputs, but up %u",
                            p->parts[0]->w.out, p->parts[1]->w.out);
        outputs += p->parts[i]->w.out;
    }
    if (p->gated) outputs /= 2;
    uint64_t units = ((uint64_t)p->parts[0]->w.in + KVF_UNIT - 1) / KVF_UNIT;
    uint64_t panels =
        (outputs + KVF_UNIT - 1) / KVF_UNIT * KVF_UNIT / kvf_cuda_panel_size(precision);
    if (p->gated) panels *= 2;
    if (outputs > INT32_MAX || !kvf_mul(units * unit_bytes(precision), panels, bytes) ||
        *bytes > SIZE_MAX / 2)
        return kvf_fail(err, KVF_ERR_MODEL, "weights of %u x %llu are too many", p->parts[0]->w.in,
                        (unsigned long long)outputs);
    *w = (cuda_weights){.precision = precision,
                        .in = p->parts[0]->w.in,
                        .out = (uint32_t)outputs,
                        .units = (uint32_t)units,
                        .slice = (uint32_t)((units + KVF_SLICES - 1) / KVF_SLICES),
                        .panels = (uint32_t)panels,
                        .gated = p->gated};
    return KVF_OK;
}

typedef float tile[KVF_UNIT][KVF_F32_PANEL];

/* Where output `o` of a panel comes from: its part and output there; false if there is none. */
static bool find_source(const cuda_packing *p, uint32_t panel, uint32_t o, uint32_t *part,
                        uint32_t *output)
{
    uint32_t size = kvf_cuda_panel_size(p->out->precision);
    *part = p->gated ? panel % 2 : 0;
    *output = (p->gated ? panel / 2 : panel) * size + o;
    while (!p->gated && *part < p->n && *output >= p->parts[*part]->w.out)
        *output -= p->parts[(*part)++]->w.out;
    return *part < p->n && *output < p->parts[*part]->w.out;
}

/* Inputs of one unit, for all outputs of a panel; zeros where there is nothing. */
static void read_tile(const cuda_packing *p, uint32_t panel, uint32_t unit, tile t)
{
    uint32_t size = kvf_cuda_panel_size(p->out->precision), first = unit * KVF_UNIT,
             left = p->out->in - first, end = first + (left < KVF_UNIT ? left : KVF_UNIT);
    memset(t, 0, sizeof(tile));
    for (uint32_t o = 0, n; o < size; o += n) {
        uint32_t part, output;
        n = 1;
        if (!find_source(p, panel, o, &part, &output)) continue;
        const kvf_matrix *m = &p->parts[part]->w;
        n = m->out - output < size - o ? m->out - output : size - o;
        kvf_matrix_read(m, (kvf_area){first, end, output, output + n}, &t[0][o], KVF_F32_PANEL);
    }
}

static void write_f32(tile t, float *to)
{
    for (uint32_t i = 0; i < KVF_UNIT; i++)
        for (uint32_t o = 0; o < KVF_F32_PANEL; o++)
            to[(i / 4 * KVF_F32_PANEL + o) * 4 + i % 4] = t[i][o];
}

static void write_bf16(tile t, uint16_t *to)
{
    for (uint32_t half = 0; half < 2; half++)
        for (uint32_t lane = 0; lane < 32; lane++)
            for (uint32_t e = 0; e < 8; e++) { /* pairs: outputs g, g + 8, g, g + 8 */
                uint32_t i = lane % 4 * 8 + 4 * half + e / 4 * 2 + e % 2,
                         o = lane / 4 + e / 2 % 2 * 8;
                *to++ = kvf_to_bf16(t[i][o]);
            }
}

static void write_q8(tile t, const float *inverse, uint8_t *to)
{
    for (uint32_t lane = 0; lane < 32; lane++)
        for (uint32_t e = 0; e < 16; e++) {
            uint32_t i = lane % 4 * 8 + e % 8, o = lane / 4 + e / 8 * 8;
            *to++ = (uint8_t)(128 + kvf_nearest(t[i][o] * inverse[o]));
        }
}

static void find_scales(const cuda_packing *p, uint32_t panel, float *scale, float *inverse)
{
    int32_t most[KVF_MMA_PANEL] = {0};
    for (uint32_t u = 0; u < p->out->units; u++) {
        tile t;
        read_tile(p, panel, u, t);
        for (uint32_t i = 0; i < KVF_UNIT; i++)
            for (uint32_t o = 0; o < KVF_MMA_PANEL; o++) {
                int32_t m = kvf_magnitude(t[i][o]);
                most[o] = m > most[o] ? m : most[o];
            }
    }
    for (uint32_t o = 0; o < KVF_MMA_PANEL; o++)
        scale[o] = kvf_q8_scale((uint32_t)most[o], &inverse[o]);
}

void kvf_cuda_pack_panels(const cuda_packing *p, uint8_t *data, float *bias, float *scale,
                          uint32_t first, uint32_t end)
{
    const cuda_weights *w = p->out;
    uint32_t size = kvf_cuda_panel_size(w->precision), bytes = unit_bytes(w->precision);
    float inverse[KVF_MMA_PANEL];
    for (uint32_t panel = first; panel < end; panel++) {
        for (uint32_t o = 0; bias && o < size; o++) {
            uint32_t part, output;
            bool there = find_source(p, panel, o, &part, &output) && p->parts[part]->bias;
            bias[panel * size + o] = there ? p->parts[part]->bias[output] : 0;
        }
        if (scale) find_scales(p, panel, scale + panel * size, inverse);
        for (uint32_t u = 0; u < w->units; u++) {
            uint8_t *to = data + ((size_t)panel * w->units + u) * bytes;
            tile t;
            read_tile(p, panel, u, t);
            switch (w->precision) {
            case KVF_W_F32: write_f32(t, (float *)to); break;
            case KVF_W_BF16: write_bf16(t, (uint16_t *)to); break;
            default: write_q8(t, inverse, to);
            }
        }
    }
}
