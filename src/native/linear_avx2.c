/* linear_avx2.c - products with AVX2 and FMA. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 8
enum { TALLEST = 6 }; /* 12 sums, 2 vectors of weights, 1 of x: 15 of 16 registers */

typedef __m256 vec;
typedef __m256i lanes;

static inline vec vec_load(const void *p)
{
    return _mm256_load_ps(p);
}

static inline vec vec_splat(const void *p) /* of 4 bytes */
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

static inline lanes first_lanes(size_t n)
{
    lanes each = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n < LANES ? (int)n : LANES), each);
}

static inline vec vec_load_some(const float *p, lanes some)
{
    return _mm256_maskload_ps(p, some);
}

static inline void vec_store_some(float *p, lanes some, vec v)
{
    if (_mm256_movemask_ps((vec)some) == 255) /* a masked store is slow on some processors */
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, some, v);
}

static inline vec vec_upper_half(vec v)
{
    return _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000)));
}

static inline vec vec_lower_half(vec v)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}

static inline vec vec_from_i32(vec v)
{
    return _mm256_cvtepi32_ps((__m256i)v);
}

static inline vec vec_from_u8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}

static inline vec vec_lower_u4(vec v)
{
    return (vec)_mm256_and_si256((__m256i)v, _mm256_set1_epi8(15));
}

static inline vec vec_upper_u4(vec v)
{
    return (vec)_mm256_and_si256(_mm256_srli_epi16((__m256i)v, 4), _mm256_set1_epi8(15));
}

/* Bytes to 16 bits, since products of unsigned and signed bytes in pairs would saturate. */
static inline vec vec_dot_u8(vec x, vec w, vec a)
{
    __m256i even_x = _mm256_srai_epi16(_mm256_slli_epi16((__m256i)x, 8), 8);
    __m256i even = _mm256_madd_epi16(_mm256_and_si256((__m256i)w, _mm256_set1_epi16(255)), even_x);
    __m256i odd =
        _mm256_madd_epi16(_mm256_srli_epi16((__m256i)w, 8), _mm256_srai_epi16((__m256i)x, 8));
    return (vec)_mm256_add_epi32((__m256i)a, _mm256_add_epi32(even, odd));
}

static inline vec vec_dot_u4(vec x, vec w, vec a)
{
    __m256i pairs = _mm256_maddubs_epi16((__m256i)w, (__m256i)x);
    return (vec)_mm256_add_epi32((__m256i)a, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

#include "native/linear_prepare.h"
#include "native/linear_tiles.h"

FLOAT_TILES(MAKE_FLOAT_TILE, F32)
FLOAT_TILES(MAKE_FLOAT_TILE, BF16)
INTEGER_TILES(MAKE_INTEGER_TILE, Q8)
INTEGER_TILES(MAKE_INTEGER_TILE, Q4)
static const tile_set f32_tiles = {.tallest = 6, FLOAT_TILES(TILE_ENTRY, F32)};
static const tile_set bf16_tiles = {.tallest = 6, FLOAT_TILES(TILE_ENTRY, BF16)};
static const tile_set q8_tiles = {.tallest = 3, INTEGER_TILES(TILE_ENTRY, Q8)};
static const tile_set q4_tiles = {.tallest = 3, INTEGER_TILES(TILE_ENTRY, Q4)};

static void run_f32(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, F32, &f32_tiles, first_panel, end_panel);
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16, &bf16_tiles, first_panel, end_panel);
}

static void run_q8(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q8, &q8_tiles, first_panel, end_panel);
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, &q4_tiles, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx2 = {
    .name = "avx2",
    .prepare = {kvf_prepare_nothing, prepare_bf16, prepare_q, prepare_q},
    .run = {run_f32, run_bf16, run_q8, run_q4},
};
#endif
