/* lanes_avx512.h - sixteen floats, and the few things vector_lanes.h does with them. */
#include <immintrin.h>
#include <stdint.h>

#define LANES      16
#define TOGETHER   2 /* rows that attend to a block together: as many as have room in registers */
#define TABLE      kvf_vector_avx512
#define TABLE_NAME "avx512"
typedef __m512 vf;

static inline __mmask16 first(size_t n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}
static inline vf vf_set(float x)
{
    return _mm512_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
/* The first n, or all if there are more, which is usual; zeros behind them. */
static inline vf vf_load_n(const float *p, size_t n)
{
    return n >= LANES ? vf_load(p) : _mm512_maskz_loadu_ps(first(n), p);
}
/* a, in a register: what is used twice would else be loaded twice. */
static inline vf vf_once(vf a)
{
    __asm__("" : "+v"(a));
    return a;
}
static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}
static inline void vf_store_n(float *p, vf a, size_t n)
{
    if (n >= LANES)
        vf_store(p, a);
    else
        _mm512_mask_storeu_ps(p, first(n), a);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}
/* Where either is NaN, the second operand is the result. */
static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
} /* a * b + c */
static inline vf vf_abs(vf a)
{
    return _mm512_abs_ps(a);
}
static inline vf vf_copysign(vf a, vf sign)
{
    const __m512i top = _mm512_set1_epi32((int)0x80000000);
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(top, _mm512_castps_si512(sign), _mm512_castps_si512(a), 0xca));
}
/* x - floor(x), and a * 2^floor(x): of -inf 0, and 0; of what is out of range 0 or infinity */
static inline vf vf_fraction(vf x)
{
    return _mm512_reduce_ps(x, 0x09);
}
static inline vf vf_times_2_to(vf a, vf x)
{
    return _mm512_scalef_ps(a, x);
}
/* x < limit ? a : b */
static inline vf vf_if_less(vf x, vf limit, vf a, vf b)
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), b, a);
}
/* the first n lanes of a, the others of b */
static inline vf vf_first(size_t n, vf a, vf b)
{
    return n >= LANES ? a : _mm512_mask_blend_ps(first(n), b, a);
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline vf vf_load_bf16_n(const uint16_t *p, size_t n)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
static inline float vf_lanes_max(vf a)
{
    return _mm512_reduce_max_ps(a);
}

static inline vf add_quarters(vf a, vf b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* The sums of the lanes of LANES vectors, lane by lane, in two steps, so that half of the vectors
 * need be there at a time: pairs, quarters, halves, in that order. */
static inline vf vf_half_sums(const vf a[LANES / 2])
{
    vf b[4], c[2];
    for (int i = 0; i < 4; i++)
        b[i] = _mm512_add_ps(_mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]),
                             _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]));
    for (int i = 0; i < 2; i++) {
        __m512d lo = _mm512_castps_pd(b[2 * i]), hi = _mm512_castps_pd(b[2 * i + 1]);
        c[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(lo, hi)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(lo, hi)));
    }
    return add_quarters(c[0], c[1]);
}
static inline vf vf_whole_sums(vf first_half, vf second_half)
{
    return add_quarters(first_half, second_half);
}

/* Vectors of parts of `side` lanes: 16, 8 or 4. Sums over the parts of as many vectors, one part
 * of the result for each. */
static inline vf vf_fold(const vf *a, uint32_t side)
{
    if (side == 16) return a[0];
    if (side == 8)
        return _mm512_add_ps(_mm512_shuffle_f32x4(a[0], a[1], 0x44),
                             _mm512_shuffle_f32x4(a[0], a[1], 0xee));
    return add_quarters(add_quarters(a[0], a[1]), add_quarters(a[2], a[3]));
}
/* The largest, and the sum, over all parts, in each of them. */
static inline vf vf_parts_max(vf a, uint32_t side)
{
    if (side <= 8) a = _mm512_max_ps(a, _mm512_shuffle_f32x4(a, a, 0x4e));
    if (side <= 4) a = _mm512_max_ps(a, _mm512_shuffle_f32x4(a, a, 0xb1));
    return a;
}
static inline vf vf_parts_sum(vf a, uint32_t side)
{
    if (side <= 8) a = _mm512_add_ps(a, _mm512_shuffle_f32x4(a, a, 0x4e));
    if (side <= 4) a = _mm512_add_ps(a, _mm512_shuffle_f32x4(a, a, 0xb1));
    return a;
}
/* One part [side] in all of them; side 1 too. */
static inline vf vf_spread(const float *p, uint32_t side)
{
    if (side == 1) return _mm512_set1_ps(*p);
    if (side == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(p));
    return side == 8 ? _mm512_broadcast_f32x8(_mm256_loadu_ps(p)) : _mm512_loadu_ps(p);
}
static inline float vf_sum(vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
static inline void vf_store_bf16_n(uint16_t *p, vf a, size_t n)
{
    __m512i u = _mm512_castps_si512(a);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
    _mm256_mask_storeu_epi16(p, first(n), _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16)));
}
