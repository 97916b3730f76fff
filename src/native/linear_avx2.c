/* linear_avx2.c - products with AVX2 and FMA. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 8
enum { TALLEST = 6 }; /* 12 sums, 2 vectors of weights, 1 of x: 15 of 16 registers */

typedef __m256 vec;
typedef __m256i ivec;

static inline vec vec_load(const void *p)
{
    return _mm256_load_ps(p);
}

static inline vec vec_splat(const float *p)
{
    return _mm256_broadcast_ss(p);
}

static inline vec vec_zero(void)
{
    return _mm256_setzero_ps();
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}

static inline vec vec_keep(vec v)
{
    __asm__("" : "+x"(v));
    return v;
}

static inline ivec first_lanes(size_t n)
{
    ivec lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), lane);
}

static inline vec vec_load_some(const float *p, size_t n)
{
    return n < LANES ? _mm256_maskload_ps(p, first_lanes(n)) : _mm256_loadu_ps(p);
}

static inline void vec_store(float *p, size_t n, vec v)
{
    if (n < LANES)
        _mm256_maskstore_ps(p, first_lanes(n), v);
    else
        _mm256_storeu_ps(p, v);
}

static inline vec vec_upper_half(vec v)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}

static inline vec vec_lower_half(vec v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}

static inline vec vec_from(ivec v)
{
    return _mm256_cvtepi32_ps(v);
}

static inline vec vec_from_u8(const uint8_t *p)
{
    return vec_from(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline ivec ivec_zero(void)
{
    return _mm256_setzero_si256();
}

static inline ivec ivec_load(const void *p)
{
    return _mm256_load_si256(p);
}

static inline ivec ivec_keep(ivec v)
{
    __asm__("" : "+x"(v));
    return v;
}

static inline ivec ivec_splat(const void *p)
{
    return _mm256_set1_epi32(*(const int32_t *)p);
}

static inline ivec ivec_low_u4(ivec v)
{
    return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

static inline ivec ivec_high_u4(ivec v)
{
    return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}

/* Bytes to 16 bits, since products of unsigned and signed bytes in pairs would saturate. */
static inline ivec ivec_dot_u8(ivec sum, ivec w, ivec x)
{
    ivec even = _mm256_madd_epi16(_mm256_and_si256(w, _mm256_set1_epi16(255)),
                                  _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8));
    ivec odd = _mm256_madd_epi16(_mm256_srli_epi16(w, 8), _mm256_srai_epi16(x, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

static inline ivec ivec_dot_u4(ivec sum, ivec w, ivec x)
{
    ivec pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "native/linear_tiles.h"

static void run_f32(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, F32, first_panel, end_panel);
}

/* x rounded to bf16, in the upper halves, as kvf_to_bf16 does it. */
static ivec bf16_bits(ivec u)
{
    ivec odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    ivec rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    ivec nan = _mm256_cmpgt_epi32(_mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff)),
                                  _mm256_set1_epi32(0x7f800000));
    ivec quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    return _mm256_and_si256(_mm256_blendv_epi8(rounded, quiet, nan),
                            _mm256_set1_epi32((int)0xffff0000));
}

static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        int32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < p->w->in; k += LANES) {
            vec v = vec_load_some(x + k, p->w->in - k);
            _mm256_store_si256((ivec *)(out + k), bf16_bits(_mm256_castps_si256(v)));
        }
    }
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16, first_panel, end_panel);
}

static uint32_t largest(ivec v)
{
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1)));
}

static int32_t total(ivec v)
{
    __m128i m = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    m = _mm_add_epi32(m, _mm_shuffle_epi32(m, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
}

/* n of a group of numbers as integers; their scale and offset go to g of the row. */
static void quantise(const kvf_packed *w, const float *x, size_t n, uint8_t *row, size_t g)
{
    int8_t *q = (int8_t *)row + g * w->group;
    ivec magnitude = _mm256_set1_epi32(0x7fffffff), max = ivec_zero(), sum = ivec_zero();
    for (size_t k = 0; k < n; k += LANES) {
        ivec v = _mm256_castps_si256(vec_load_some(x + k, n - k));
        max = _mm256_max_epu32(max, _mm256_and_si256(v, magnitude));
    }
    float inverse, scale = kvf_q8_scale(largest(max), &inverse);
    for (size_t k = 0; k < w->group; k += LANES) {
        vec v = k < n ? vec_load_some(x + k, n - k) : vec_zero();
        ivec i = _mm256_cvtps_epi32(vec_mul(v, _mm256_set1_ps(inverse)));
        sum = _mm256_add_epi32(sum, i);
        __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
        _mm_storel_epi64((__m128i *)(q + k), _mm_packs_epi16(words, words));
    }
    ((float *)(row + kvf_scales_at(w)))[g] = scale;
    ((int32_t *)(row + kvf_offsets_at(w)))[g] = kvf_q_offset(w, total(sum));
}

static void prepare_q(const kvf_product *p, size_t first_row, size_t end_row)
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

const kvf_linear_table kvf_linear_avx2 = {
    .name = "avx2",
    .prepare = {kvf_prepare_nothing, prepare_bf16, prepare_q, prepare_q},
    .run = {run_f32, run_bf16, run_q8, run_q4},
};
#endif
