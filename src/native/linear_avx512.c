/* linear_avx512.c - products with AVX-512 as the first processors have it, and what those with
 * BF16 and VNNI do the same way. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"

/* Bytes to 16 bits, since products of unsigned and signed bytes in pairs would saturate. */
static inline ivec ivec_dot_u8(ivec sum, ivec w, ivec x)
{
    ivec even = _mm512_madd_epi16(_mm512_and_si512(w, _mm512_set1_epi16(255)),
                                  _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8));
    ivec odd = _mm512_madd_epi16(_mm512_srli_epi16(w, 8), _mm512_srai_epi16(x, 8));
    return _mm512_add_epi32(sum, _mm512_add_epi32(even, odd));
}

static inline ivec ivec_dot_u4(ivec sum, ivec w, ivec x)
{
    ivec pairs = _mm512_maddubs_epi16(w, x);
    return _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

#include "native/linear_tiles.h"

void kvf_run_f32_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, F32, first_panel, end_panel);
}

static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        int32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < p->w->in; k += LANES)
            _mm512_store_si512(out + k, bf16_bits(x + k, p->w->in - k));
    }
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16, first_panel, end_panel);
}

/* n of a group of numbers as integers; their scale and offset go to g of the row. */
static void quantise(const kvf_packed *w, const float *x, size_t n, uint8_t *row, size_t g)
{
    int8_t *q = (int8_t *)row + g * w->group;
    ivec magnitude = _mm512_set1_epi32(0x7fffffff), max = ivec_zero(), sum = ivec_zero();
    for (size_t k = 0; k < n; k += LANES) {
        vec v = _mm512_maskz_loadu_ps(first_lanes(n - k), x + k);
        max = _mm512_max_epu32(max, _mm512_and_si512(_mm512_castps_si512(v), magnitude));
    }
    float inverse, scale = kvf_q8_scale(_mm512_reduce_max_epu32(max), &inverse);
    for (size_t k = 0; k < w->group; k += LANES) {
        vec v = k < n ? _mm512_maskz_loadu_ps(first_lanes(n - k), x + k) : vec_zero();
        ivec i = _mm512_cvtps_epi32(vec_mul(v, _mm512_set1_ps(inverse)));
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
    walk(p, Q8, first_panel, end_panel);
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512 = {
    .name = "avx512",
    .prepare = {kvf_prepare_nothing, prepare_bf16, kvf_prepare_q_avx512, kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, run_bf16, run_q8, run_q4},
};
#endif
