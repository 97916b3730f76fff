/* probe_avx512x.c - the probe's loops with AVX-512 and BF16. */
#if defined(__x86_64__)
#include "native/probe_avx512.h"

static uint32_t peak_bf16(size_t steps, float out[16])
{
    __m512 a[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi16(0x3c00), w = (__m512bh)_mm512_set1_epi16(0x3f80);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_dpbf16_ps(a[i], x, w);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    _mm512_storeu_ps(out, a[0]);
    return CHAINS * 32;
}

const kvf_probe_table kvf_probe_avx512x = {
    .read = read_avx512,
    .peak = {peak_f32, peak_bf16, kvf_probe_vnni, kvf_probe_vnni},
};
#endif
