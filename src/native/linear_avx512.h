/* linear_avx512.h - vectors of 16 floats, for the kernel files of AVX-512. */
#ifndef KVF_NATIVE_LINEAR_AVX512_H
#define KVF_NATIVE_LINEAR_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 16
enum { TALLEST = 14 }; /* 28 sums, 2 vectors of weights, 1 of x: 31 of 32 registers */

typedef __m512 vec;
typedef __m512i ivec;

static inline vec vec_load(const void *p)
{
    return _mm512_load_ps(p);
}

static inline vec vec_splat(const float *p)
{
    return _mm512_set1_ps(*p);
}

static inline vec vec_zero(void)
{
    return _mm512_setzero_ps();
}

static inline vec vec_fma(vec a, vec b, vec c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vec vec_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}

static inline vec vec_keep(vec v)
{
    __asm__("" : "+v"(v));
    return v;
}

static inline __mmask16 first_lanes(size_t n)
{
    return (__mmask16)(n >= LANES ? 0xffff : (1u << n) - 1);
}

static inline void vec_store(float *p, size_t n, vec v)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), v);
}

static inline vec vec_upper_half(vec v)
{
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32((int)0xffff0000)));
}

static inline vec vec_lower_half(vec v)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16));
}

static inline vec vec_from(ivec v)
{
    return _mm512_cvtepi32_ps(v);
}

static inline vec vec_from_u8(const uint8_t *p)
{
    return vec_from(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline ivec ivec_zero(void)
{
    return _mm512_setzero_si512();
}

static inline ivec ivec_load(const void *p)
{
    return _mm512_load_si512(p);
}

static inline ivec ivec_keep(ivec v)
{
    __asm__("" : "+v"(v));
    return v;
}

static inline ivec ivec_splat(const void *p)
{
    return _mm512_set1_epi32(*(const int32_t *)p);
}

static inline ivec ivec_low_u4(ivec v)
{
    return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

static inline ivec ivec_high_u4(ivec v)
{
    return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}

/* x rounded to bf16, in the upper halves, as kvf_to_bf16 does it. */
static inline ivec bf16_bits(const float *x, size_t n)
{
    ivec u = _mm512_castps_si512(_mm512_maskz_loadu_ps(first_lanes(n), x));
    ivec odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    ivec rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmpgt_epi32_mask(_mm512_and_si512(u, _mm512_set1_epi32(0x7fffffff)),
                                            _mm512_set1_epi32(0x7f800000));
    rounded = _mm512_mask_or_epi32(rounded, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_and_si512(rounded, _mm512_set1_epi32((int)0xffff0000));
}
#endif
