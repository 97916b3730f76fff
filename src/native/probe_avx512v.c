/* probe_avx512v.c - the probe's loops with AVX-512 and VNNI. */
#if defined(__x86_64__)
#include "native/probe_avx512.h"

uint32_t kvf_probe_vnni(size_t steps, float out[16])
{
    __m512i a[CHAINS], x = _mm512_set1_epi8(3), w = _mm512_set1_epi8(-1);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_epi32(i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_dpbusd_epi32(a[i], x, w);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_epi32(a[0], a[i]);
    _mm512_storeu_ps(out, _mm512_cvtepi32_ps(a[0]));
    return CHAINS * 64;
}

const kvf_probe_table kvf_probe_avx512v = {
    .read = read_avx512,
    .peak = {peak_f32, peak_f32, kvf_probe_vnni, kvf_probe_vnni},
};
#endif
