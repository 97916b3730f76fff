/* linear_avx512.h - vectors of 16 floats, for the kernel files of AVX-512, each built
 * with what its name says. */
#ifndef KVF_NATIVE_LINEAR_AVX512_H
#define KVF_NATIVE_LINEAR_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define LANES 16
enum { TALLEST = 14 }; /* 28 sums, 2 vectors of weights, 1 of x: 31 of 32 registers */

typedef __m512 vec;
typedef __mmask16 lanes;

static inline vec vec_load(const void *p)
{
    return _mm512_load_ps(p);
}

static inline vec vec_splat(const void *p) /* of 4 bytes */
{
    return _mm512_set1_ps(*(const float *)p);
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

static inline lanes first_lanes(size_t n)
{
    return (lanes)((1u << (n < LANES ? n : LANES)) - 1);
}

static inline vec vec_load_some(const float *p, lanes some)
{
    return _mm512_maskz_loadu_ps(some, p);
}

static inline void vec_store_some(float *p, lanes some, vec v)
{
    _mm512_mask_storeu_ps(p, some, v);
}

static inline vec vec_upper_half(vec v)
{
    return (vec)_mm512_and_si512((__m512i)v, _mm512_set1_epi32((int)0xffff0000));
}

static inline vec vec_lower_half(vec v)
{
    return (vec)_mm512_slli_epi32((__m512i)v, 16);
}

static inline vec vec_from_i32(vec v)
{
    return _mm512_cvtepi32_ps((__m512i)v);
}

static inline vec vec_from_u8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

static inline vec vec_lower_u4(vec v)
{
    return (vec)_mm512_and_si512((__m512i)v, _mm512_set1_epi8(15));
}

static inline vec vec_upper_u4(vec v)
{
    return (vec)_mm512_and_si512(_mm512_srli_epi16((__m512i)v, 4), _mm512_set1_epi8(15));
}

#ifdef __AVX512VNNI__
static inline vec vec_dot_u8(vec x, vec w, vec a)
{
    /* Not by its intrinsic: gcc would copy the sums to and fro in every loop. */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(a) : "v"(w), "v"(x));
    return a;
}

static inline vec vec_dot_u4(vec x, vec w, vec a)
{
    return vec_dot_u8(x, w, a);
}
#else
/* Bytes to 16 bits, since products of unsigned and signed bytes in pairs would saturate. */
static inline vec vec_dot_u8(vec x, vec w, vec a)
{
    __m512i even_x = _mm512_srai_epi16(_mm512_slli_epi16((__m512i)x, 8), 8);
    __m512i even = _mm512_madd_epi16(_mm512_and_si512((__m512i)w, _mm512_set1_epi16(255)), even_x);
    __m512i odd =
        _mm512_madd_epi16(_mm512_srli_epi16((__m512i)w, 8), _mm512_srai_epi16((__m512i)x, 8));
    return (vec)_mm512_add_epi32((__m512i)a, _mm512_add_epi32(even, odd));
}

static inline vec vec_dot_u4(vec x, vec w, vec a)
{
    __m512i pairs = _mm512_maddubs_epi16((__m512i)w, (__m512i)x);
    return (vec)_mm512_add_epi32((__m512i)a, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
#endif

#ifdef __AVX512BF16__
static inline vec vec_dot_bf16(vec x, vec w, vec a)
{
    return _mm512_dpbf16_ps(a, (__m512bh)x, (__m512bh)w);
}
#endif

#endif
