/* linear_avx512.c - products with AVX-512 as the first processors have it, and what later ones do
 * the same way. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"
#include "native/linear_tiles.h"

FLOAT_TILES(MAKE_FLOAT_TILE, F32)
FLOAT_TILES(MAKE_FLOAT_TILE, BF16)
INTEGER_TILES(MAKE_INTEGER_TILE, Q8)
INTEGER_TILES(MAKE_INTEGER_TILE, Q4)
static const tile_set f32_tiles = {FLOAT_TILES(TILE_ENTRY, F32)};
static const tile_set bf16_tiles = {FLOAT_TILES(TILE_ENTRY, BF16)};
static const tile_set q8_tiles = {INTEGER_TILES(TILE_ENTRY, Q8)};
static const tile_set q4_tiles = {INTEGER_TILES(TILE_ENTRY, Q4)};

void kvf_run_f32_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, F32, &f32_tiles, first_panel, end_panel);
}

void kvf_prepare_bf16_avx512(const kvf_product *p, size_t first_row, size_t end_row)
{
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        int32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < p->w->in; k += LANES)
            _mm512_store_si512(out + k, bf16_bits(x + k, p->w->in - k));
    }
}

void kvf_run_bf16_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16, &bf16_tiles, first_panel, end_panel);
}

/* n of a group of numbers as integers; their scale and offset go to g of the row. */
static void quantise(const kvf_packed *w, const float *x, size_t n, uint8_t *row, size_t g)
{
    int8_t *q = (int8_t *)row + g * w->group;
    __m512i magnitude = _mm512_set1_epi32(0x7fffffff), max = _mm512_setzero_si512(),
            sum = _mm512_setzero_si512();
    for (size_t k = 0; k < n; k += LANES) {
        vec v = vec_load_some(x + k, first_lanes(n - k));
        max = _mm512_max_epu32(max, _mm512_and_si512(_mm512_castps_si512(v), magnitude));
    }
    float inverse, scale = kvf_q8_scale(_mm512_reduce_max_epu32(max), &inverse);
    for (size_t k = 0; k < w->group; k += LANES) {
        vec v = k < n ? vec_load_some(x + k, first_lanes(n - k)) : vec_zero();
        __m512i i = _mm512_cvtps_epi32(vec_mul(v, _mm512_set1_ps(inverse)));
        sum = _mm512_add_epi32(sum, i);
        _mm_storeu_si128((__m128i *)(q + k), _mm512_cvtepi32_epi8(i));
    }
    ((float *)(row + kvf_scales_at(w)))[g] = scale;
    ((int32_t *)(row + kvf_offsets_at(w)))[g] = kvf_q_offset(w, _mm512_reduce_add_epi32(sum));
}

void kvf_prepare_q_avx512(const kvf_product *p, size_t first_row, size_t end_row)
{
    size_t in = p->w->in, group = p->w->group;
    for (size_t r = first_row; r < end_row; r++)
        for (size_t g = 0, k = 0; k < in; g++, k += group)
            quantise(p->w, p->x + r * p->x_stride + k, in - k < group ? in - k : group,
                     kvf_prepared_row(p, r), g);
}

static void run_q8(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q8, &q8_tiles, first_panel, end_panel);
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, &q4_tiles, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512 = {
    .name = "avx512",
    .prepare = {kvf_prepare_nothing, kvf_prepare_bf16_avx512, kvf_prepare_q_avx512,
                kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, kvf_run_bf16_avx512, run_q8, run_q4},
};
#endif
