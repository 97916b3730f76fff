/* probe_avx2.c - the probe's loops with AVX2. */
#if defined(__x86_64__)
#include "native/probe.h"

#include <immintrin.h>

static uint32_t read_avx2(const void *data, size_t bytes)
{
    __m256i sum[8];
    for (int i = 0; i < 8; i++) sum[i] = _mm256_setzero_si256();
    for (const __m256i *p = data, *end = p + bytes / sizeof *p; p < end; p += 8)
        for (int i = 0; i < 8; i++) sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256(p + i));
    for (int i = 1; i < 8; i++) sum[0] = _mm256_xor_si256(sum[0], sum[i]);
    return (uint32_t)_mm256_extract_epi32(sum[0], 0);
}

static uint32_t peak_f32(size_t steps, float out[16])
{
    __m256 a[12], x = _mm256_set1_ps(0.5f);
    for (int i = 0; i < 12; i++) a[i] = _mm256_set1_ps((float)i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < 12; i++) a[i] = _mm256_fmadd_ps(a[i], x, x);
    for (int i = 1; i < 12; i++) a[0] = _mm256_add_ps(a[0], a[i]);
    _mm256_storeu_ps(out, a[0]);
    return 12 * 8;
}

/* Without dot products of bytes: a multiplication of bytes, and its pairs widened. */
static uint32_t peak_integers(size_t steps, float out[16])
{
    __m256i a[6], w = _mm256_set1_epi8(1), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < 6; i++) a[i] = _mm256_set1_epi32(i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < 6; i++)
            a[i] = _mm256_add_epi32(_mm256_madd_epi16(_mm256_maddubs_epi16(a[i], w), ones), a[i]);
    for (int i = 1; i < 6; i++) a[0] = _mm256_add_epi32(a[0], a[i]);
    _mm256_storeu_ps(out, _mm256_cvtepi32_ps(a[0]));
    return 6 * 32;
}

const kvf_probe_table kvf_probe_avx2 = {
    .read = read_avx2,
    .peak = {peak_f32, peak_f32, peak_integers, peak_integers},
};
#endif
