/* probe_avx512.c - the probe's loops with AVX-512. */
#if defined(__x86_64__)
#include "native/probe_avx512.h"

/* Without dot products of bytes: a multiplication of bytes, and its pairs widened. */
static uint32_t peak_integers(size_t steps, float out[16])
{
    __m512i a[CHAINS], w = _mm512_set1_epi8(1), ones = _mm512_set1_epi16(1);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm512_add_epi32(_mm512_madd_epi16(_mm512_maddubs_epi16(a[i], w), ones), a[i]);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    _mm512_storeu_ps(out, _mm512_cvtepi32_ps(a[0]));
    return CHAINS * 64;
}

const kvf_probe_table kvf_probe_avx512 = {
    .read = read_avx512,
    .peak = {peak_f32, peak_f32, peak_integers, peak_integers},
};
#endif
