/* linear.c - packing of weights into the panels that linear.h shows, single rows out of them, and
 * the choice of a table. Packing reads a tile of numbers after the other, whatever the source
 * is, and writes it in the form of the precision; only 4-bit matrices go to q4 as integers.
 *
 * Sizes and types are checked in kvf_pack_begin; that the data of a matrix is all there is the
 * business of whoever made it. */
#include "native/linear_isa.h"

#include <math.h>
#include <string.h>

const kvf_linear_table *kvf_linear_table_of(kvf_cpu cpu)
{
    static const kvf_linear_table *const tables[KVF_CPU_LEVELS] = {
        [KVF_CPU_C] = &kvf_linear_c,
#if defined(__x86_64__)
        [KVF_CPU_AVX2] = &kvf_linear_avx2,
        [KVF_CPU_AVX512] = &kvf_linear_avx512,
        [KVF_CPU_AVX512V] = &kvf_linear_avx512v,
        [KVF_CPU_AVX512X] = &kvf_linear_avx512x,
#endif
    };
    return tables[cpu];
}

size_t kvf_prepared_bytes(const kvf_packed *w, size_t rows)
{
    return rows * kvf_prepared_stride(w);
}

/* ---- writing panels -------------------------------------------------------------------------- */

/* One output of a panel: where it comes from. */
typedef struct source {
    const kvf_linear *part; /* NULL: there is no such output */
    uint32_t output;
} source;

/* Where output o of a part lies in the part: heads of a bundle are turned. */
static uint32_t before_turning(const kvf_packed *w, uint32_t o)
{
    if (w->side <= 1) return o;
    uint32_t i = o % (w->side * w->head_dim);
    return o - i + i % w->side * w->head_dim + i / w->side;
}

static void find_sources(const kvf_packed *w, const kvf_linear *const *parts, uint32_t panel,
                         source s[KVF_PANEL])
{
    size_t part = 0;
    uint32_t before = 0; /* outputs of earlier parts */
    for (uint32_t i = 0; i < KVF_PANEL; i++) {
        uint32_t o = panel * KVF_PANEL + i;
        s[i] = (source){0};
        if (o >= w->out) continue;
        while (o - before >= parts[part]->w.out) before += parts[part++]->w.out;
        s[i] = (source){parts[part], before_turning(w, o - before)};
    }
}

/* Inputs [first, end) of a panel; outputs that do not exist are left as they are. */
static void read_lines(const source s[KVF_PANEL], uint32_t first, uint32_t end, float *t)
{
    for (uint32_t o = 0, n; o < KVF_PANEL && s[o].part; o += n) {
        for (n = 1;
             o + n < KVF_PANEL && s[o + n].part == s[o].part && s[o + n].output == s[o].output + n;)
            n++;
        kvf_matrix_read(&s[o].part->w, (kvf_area){first, end, s[o].output, s[o].output + n}, t + o,
                        KVF_PANEL);
    }
}

enum { TILE = 128 }; /* inputs read at a time; a multiple of every group */
typedef float tile[TILE][KVF_PANEL];

/* The same from first on, as many as there are; zeros where there is nothing. */
static void read_tile(const kvf_packed *w, const source s[KVF_PANEL], uint32_t first, tile t)
{
    uint32_t end = w->in - first < TILE ? w->in : first + TILE;
    if (end - first < TILE || !s[KVF_PANEL - 1].part) memset(t, 0, sizeof(tile));
    read_lines(s, first, end, &t[0][0]);
}

static void write_f32(const kvf_packed *w, const source *s, float *out)
{
    for (uint32_t k = 0; k < w->in; k += TILE)
        read_lines(s, k, w->in - k < TILE ? w->in : k + TILE, out + (size_t)k * KVF_PANEL);
}

static void write_bf16(const kvf_packed *w, const source *s, uint32_t *out)
{
    tile t;
    for (uint32_t k = 0; k < w->in; k += TILE) {
        read_tile(w, s, k, t);
        for (uint32_t i = 0; i < TILE && k + i < w->in; i += 2, out += KVF_PANEL)
            for (size_t o = 0; o < KVF_PANEL; o++)
                out[o] = (uint32_t)kvf_to_bf16(t[i][o]) << 16 | kvf_to_bf16(t[i + 1][o]);
    }
}

static void q8_scales(const kvf_packed *w, const source *s, float *scale, float *inverse)
{
    tile t;
    int32_t max[KVF_PANEL] = {0};
    for (uint32_t k = 0; k < w->in; k += TILE) {
        read_tile(w, s, k, t);
        for (size_t i = 0; i < TILE; i++)
            for (size_t o = 0; o < KVF_PANEL; o++) {
                int32_t m = kvf_magnitude(t[i][o]);
                max[o] = m > max[o] ? m : max[o];
            }
    }
    for (size_t o = 0; o < KVF_PANEL; o++) scale[o] = kvf_q8_scale((uint32_t)max[o], &inverse[o]);
}

static void write_q8(const kvf_packed *w, const source *s, float *scale, uint32_t *out)
{
    tile t;
    float inverse[KVF_PANEL];
    q8_scales(w, s, scale, inverse);
    size_t inputs = (size_t)w->groups * w->group;
    for (uint32_t k = 0; k < w->in; k += TILE) {
        read_tile(w, s, k, t);
        for (size_t i = 0; i < TILE && k + i < inputs; i += 4, out += KVF_PANEL)
            for (size_t o = 0; o < KVF_PANEL; o++) {
                uint32_t word = 0;
                for (size_t j = 0; j < 4; j++)
                    word |= (uint32_t)((128 + kvf_nearest(t[i + j][o] * inverse[o])) & 255)
                            << 8 * j;
                out[o] = word;
            }
    }
}

/* One group of a panel in 4 bits. */
typedef struct quarters {
    float scale[KVF_PANEL];
    uint8_t zero[KVF_PANEL], q[32][KVF_PANEL];
} quarters;

/* Of every output the value of largest magnitude becomes -8, so that all 16 integers are used. */
static void round_to_q4(float (*t)[KVF_PANEL], size_t group, quarters *g)
{
    float extreme[KVF_PANEL] = {0}, inverse[KVF_PANEL];
    for (size_t i = 0; i < group; i++)
        for (size_t o = 0; o < KVF_PANEL; o++)
            extreme[o] = kvf_magnitude(t[i][o]) > kvf_magnitude(extreme[o]) ? t[i][o] : extreme[o];
    for (size_t o = 0; o < KVF_PANEL; o++) {
        bool finite = kvf_magnitude(extreme[o]) < 0x7f800000, tiny = fabsf(extreme[o]) < 0x1p-100f;
        g->scale[o] = finite ? extreme[o] / -8 : NAN;
        g->zero[o] = 8;
        inverse[o] = finite && !tiny ? -8 / extreme[o] : 0;
    }
    for (size_t i = 0; i < group; i++)
        for (size_t o = 0; o < KVF_PANEL; o++) {
            int32_t q = kvf_nearest(t[i][o] * inverse[o]);
            g->q[i][o] = (uint8_t)(8 + (q > 7 ? 7 : q));
        }
}

static bool is_q4(const kvf_matrix *m)
{
    return m->block && m->bits == 4 && m->block % 16 == 0;
}

/* Integers, scale and zero point of one output as they are. */
static void take_q4(const kvf_matrix *m, uint32_t first, uint32_t output, size_t group, size_t o,
                    quarters *g)
{
    kvf_quants r = kvf_matrix_quants(m, first, output);
    g->scale[o] = r.scale;
    g->zero[o] = (uint8_t)r.zero;
    for (uint32_t i = 0; i < group; i++)
        g->q[i][o] = first + i < m->in ? (uint8_t)kvf_bits_at(r.row, first + i, 4) : 8;
}

static void write_q4(const kvf_packed *w, const source *s, uint8_t *out)
{
    tile t;
    quarters g = {0};
    uint8_t *zeros = out, *group = out + kvf_q4_zero_bytes(w);
    for (uint32_t k = 0; k < w->in; k += w->group, group += kvf_q4_group_bytes(w)) {
        if (k % TILE == 0) read_tile(w, s, k, t);
        round_to_q4(t + k % TILE, w->group, &g);
        for (size_t o = 0; o < KVF_PANEL && s[o].part; o++)
            if (is_q4(&s[o].part->w)) take_q4(&s[o].part->w, k, s[o].output, w->group, o, &g);
        memcpy(group, g.scale, sizeof g.scale);
        if (w->zeros) memcpy(zeros + k / w->group * KVF_PANEL, g.zero, sizeof g.zero);
        uint32_t *words = (uint32_t *)(group + sizeof g.scale);
        for (size_t i = 0; i < w->group; i += 8, words += KVF_PANEL)
            for (size_t o = 0; o < KVF_PANEL; o++) {
                uint32_t word = 0;
                for (size_t j = 0; j < 4; j++)
                    word |= (uint32_t)(g.q[i + j][o] | g.q[i + j + 4][o] << 4) << 8 * j;
                words[o] = word;
            }
    }
}

void kvf_pack_panels(const kvf_packed *w, const kvf_linear *const *parts, uint32_t first,
                     uint32_t end)
{
    for (uint32_t panel = first; panel < end; panel++) {
        source s[KVF_PANEL];
        find_sources(w, parts, panel, s);
        float *bias = (float *)(w->data + panel * w->panel_bytes), *after = bias + KVF_PANEL;
        for (size_t o = 0; o < KVF_PANEL; o++)
            bias[o] = s[o].part && s[o].part->bias ? s[o].part->bias[s[o].output] : 0;
        switch (w->precision) {
        case KVF_W_F32: write_f32(w, s, after); break;
        case KVF_W_BF16: write_bf16(w, s, (uint32_t *)after); break;
        case KVF_W_Q8: write_q8(w, s, after, (uint32_t *)(after + KVF_PANEL)); break;
        default: write_q4(w, s, (uint8_t *)after);
        }
    }
}

/* ---- memory ---------------------------------------------------------------------------------- */

/* Bytes of one panel behind its biases. */
static uint64_t body_bytes(const kvf_packed *w)
{
    uint64_t in = w->in, groups = w->groups;
    switch (w->precision) {
    case KVF_W_F32: return in * KVF_PANEL * 4;
    case KVF_W_BF16: return (in + in % 2) * KVF_PANEL * 2;
    case KVF_W_Q8: return KVF_PANEL * 4 + groups * w->group * KVF_PANEL;
    default: return kvf_q4_zero_bytes(w) + groups * kvf_q4_group_bytes(w);
    }
}

kvf_status kvf_pack_begin(kvf_packed *out, const kvf_linear *const *parts, size_t n,
                          kvf_precision precision, kvf_error *err)
{
    *out = (kvf_packed){0};
    bool quantised = precision == KVF_W_Q8 || precision == KVF_W_Q4;
    kvf_packed w = {.precision = precision, .group = quantised ? 32 : 0};
    uint64_t outputs = 0, bytes;
    for (size_t i = 0; i < n; i++) {
        const kvf_matrix *m = &parts[i]->w;
        kvf_status status = kvf_matrix_check(m, parts[0]->w.in, err);
        if (status) return status;
        outputs += m->out;
        if (precision == KVF_W_Q4 && is_q4(m)) {
            if (m->block % 32) w.group = 16;
            w.zeros |= m->zeros != NULL;
        }
    }
    w.in = parts[0]->w.in;
    if (w.group) w.groups = (uint32_t)((w.in + (uint64_t)w.group - 1) / w.group);
    w.out = (uint32_t)outputs;
    w.panels = (uint32_t)((outputs + KVF_PANEL - 1) / KVF_PANEL);
    uint64_t panel_bytes = KVF_PANEL * 4 + body_bytes(&w);
    if (outputs > INT32_MAX || !kvf_mul(panel_bytes, w.panels, &bytes) || bytes > SIZE_MAX / 2)
        return kvf_fail(err, KVF_ERR_MODEL, "weights of %u x %llu are too many", w.in,
                        (unsigned long long)outputs);
    w.panel_bytes = (size_t)panel_bytes;
    w.bytes = (size_t)bytes;
    w.data = kvf_pages(w.bytes);
    if (!w.data) return kvf_fail(err, KVF_ERR_NOMEM, "no memory for %zu bytes of weights", w.bytes);
    *out = w;
    return KVF_OK;
}

kvf_status kvf_pack(kvf_packed *out, const kvf_linear *const *parts, size_t n,
                    kvf_precision precision, kvf_error *err)
{
    kvf_status status = kvf_pack_begin(out, parts, n, precision, err);
    if (!status) kvf_pack_panels(out, parts, 0, out->panels);
    return status;
}

void kvf_packed_free(kvf_packed *w)
{
    kvf_free_pages(w->data, w->bytes);
    *w = (kvf_packed){0};
}

/* ---- single rows ----------------------------------------------------------------------------- */

static float q4_number(const kvf_packed *w, const uint8_t *body, size_t k, size_t o)
{
    size_t g = k / w->group, i = k % w->group;
    const uint8_t *group = body + kvf_q4_zero_bytes(w) + g * kvf_q4_group_bytes(w);
    const uint8_t *q = group + KVF_PANEL * sizeof(float);
    int zero = w->zeros ? body[g * KVF_PANEL + o] : 8;
    int number = (q[(i / 8 * KVF_PANEL + o) * 4 + i % 4] >> (i & 4)) & 15;
    return (float)(number - zero) * ((const float *)group)[o];
}

void kvf_packed_row(const kvf_packed *w, uint32_t output, float *row)
{
    const float *body = (const float *)kvf_panel(w, output / KVF_PANEL) + KVF_PANEL;
    size_t o = output % KVF_PANEL;
    for (size_t k = 0; k < w->in; k++) {
        if (w->precision == KVF_W_F32)
            row[k] = body[k * KVF_PANEL + o];
        else if (w->precision == KVF_W_BF16)
            row[k] =
                kvf_from_bf16(((const uint16_t *)body)[(k / 2 * KVF_PANEL + o) * 2 + !(k & 1)]);
        else if (w->precision == KVF_W_Q8)
            row[k] =
                (float)(((const uint8_t *)(body + KVF_PANEL))[(k / 4 * KVF_PANEL + o) * 4 + k % 4] -
                        128) *
                body[o];
        else
            row[k] = q4_number(w, (const uint8_t *)body, k, o);
    }
}
