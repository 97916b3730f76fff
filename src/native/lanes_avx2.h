/* lanes_avx2.h - eight floats, and the few things vector_lanes.h does with them. */
#include <immintrin.h>
#include <stdint.h>

#define LANES      8
#define TOGETHER   1 /* rows that attend to a block together: as many as have room in registers */
#define TABLE      kvf_vector_avx2
#define TABLE_NAME "avx2"
typedef __m256 vf;

static inline __m256i first(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(n >= 8 ? 8 : n)), lane);
}
static inline vf vf_set(float x)
{
    return _mm256_set1_ps(x);
}
static inline vf vf_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
/* The first n, or all if there are more, which is usual; zeros behind them. */
static inline vf vf_load_n(const float *p, size_t n)
{
    return n >= LANES ? vf_load(p) : _mm256_maskload_ps(p, first(n));
}
/* a, in a register: what is used twice would else be loaded twice. */
static inline vf vf_once(vf a)
{
    __asm__("" : "+x"(a));
    return a;
}
static inline void vf_store(float *p, vf a)
{
    _mm256_storeu_ps(p, a);
}
static inline void vf_store_n(float *p, vf a, size_t n)
{
    if (n >= LANES)
        vf_store(p, a);
    else
        _mm256_maskstore_ps(p, first(n), a);
}
static inline vf vf_add(vf a, vf b)
{
    return _mm256_add_ps(a, b);
}
static inline vf vf_sub(vf a, vf b)
{
    return _mm256_sub_ps(a, b);
}
static inline vf vf_mul(vf a, vf b)
{
    return _mm256_mul_ps(a, b);
}
static inline vf vf_div(vf a, vf b)
{
    return _mm256_div_ps(a, b);
}
/* Where either is NaN, the second operand is the result. */
static inline vf vf_max(vf a, vf b)
{
    return _mm256_max_ps(a, b);
}
static inline vf vf_min(vf a, vf b)
{
    return _mm256_min_ps(a, b);
}
static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
} /* a * b + c */
static inline vf vf_abs(vf a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf vf_copysign(vf a, vf sign)
{
    const vf top = _mm256_set1_ps(-0.0f);
    return _mm256_or_ps(_mm256_andnot_ps(top, a), _mm256_and_ps(top, sign));
}
/* x < limit ? a : b */
static inline vf vf_if_less(vf x, vf limit, vf a, vf b)
{
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, limit, _CMP_LT_OQ));
}
/* x - floor(x), and a * 2^floor(x), 0 below and the largest power above what is in range */
static inline vf in_range(vf x)
{
    return vf_min(vf_set(127.5f), vf_max(vf_set(-126.0f), x));
}
static inline vf vf_fraction(vf x)
{
    x = in_range(x);
    return vf_sub(x, _mm256_floor_ps(x));
}
static inline vf vf_times_2_to(vf a, vf x)
{
    __m256i n = _mm256_cvtps_epi32(_mm256_floor_ps(in_range(x)));
    __m256i e = _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23);
    return vf_if_less(x, vf_set(-126.0f), vf_set(0.0f), _mm256_mul_ps(a, _mm256_castsi256_ps(e)));
}
/* the first n lanes of a, the others of b */
static inline vf vf_first(size_t n, vf a, vf b)
{
    return n >= LANES ? a : _mm256_blendv_ps(b, a, _mm256_castsi256_ps(first(n)));
}
static inline vf vf_load_bf16(const uint16_t *p)
{
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
static inline vf vf_load_bf16_n(const uint16_t *p, size_t n)
{
    uint16_t whole[8] = {0};
    for (size_t i = 0; i < n && i < 8; i++) whole[i] = p[i];
    return vf_load_bf16(whole);
}
static inline float vf_lanes_max(vf a)
{
    __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    b = _mm_max_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_max_ss(b, _mm_movehdup_ps(b)));
}

/* As those of lanes_avx512.h. */
static inline vf vf_half_sums(const vf a[LANES / 2])
{
    return _mm256_hadd_ps(_mm256_hadd_ps(a[0], a[1]), _mm256_hadd_ps(a[2], a[3]));
}
static inline vf vf_whole_sums(vf first_half, vf second_half)
{
    return _mm256_add_ps(_mm256_permute2f128_ps(first_half, second_half, 0x20),
                         _mm256_permute2f128_ps(first_half, second_half, 0x31));
}

/* As those of lanes_avx512.h: parts of 8 or 4 lanes. */
static inline vf vf_fold(const vf *a, uint32_t side)
{
    if (side == 8) return a[0];
    return _mm256_add_ps(_mm256_permute2f128_ps(a[0], a[1], 0x20),
                         _mm256_permute2f128_ps(a[0], a[1], 0x31));
}
static inline vf vf_parts_max(vf a, uint32_t side)
{
    return side == 8 ? a : _mm256_max_ps(a, _mm256_permute2f128_ps(a, a, 0x01));
}
static inline vf vf_parts_sum(vf a, uint32_t side)
{
    return side == 8 ? a : _mm256_add_ps(a, _mm256_permute2f128_ps(a, a, 0x01));
}
static inline vf vf_spread(const float *p, uint32_t side)
{
    if (side == 1) return _mm256_set1_ps(*p);
    return side == 4 ? _mm256_broadcast_ps((const __m128 *)p) : _mm256_loadu_ps(p);
}
static inline float vf_sum(vf a)
{
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
static inline void vf_store_bf16_n(uint16_t *p, vf a, size_t n)
{
    __m256i u = _mm256_castps_si256(a);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    up = _mm256_blendv_epi8(up, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    uint32_t bits[8];
    _mm256_storeu_si256((__m256i *)bits, up);
    for (size_t i = 0; i < n && i < 8; i++) p[i] = (uint16_t)(bits[i] >> 16);
}
