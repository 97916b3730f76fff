/* probe_avx512.h - the probe's loops that the files of AVX-512 share in their tables. */
#ifndef KVF_NATIVE_PROBE_AVX512_H
#define KVF_NATIVE_PROBE_AVX512_H

#include "native/probe.h"

#include <immintrin.h>

uint32_t kvf_probe_vnni(size_t steps, float out[16]);

enum { CHAINS = 16 };

static uint32_t read_avx512(const void *data, size_t bytes)
{
    __m512i sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_setzero_si512();
    for (const __m512i *p = data, *end = p + bytes / sizeof *p; p < end; p += CHAINS)
        for (int i = 0; i < CHAINS; i++)
            sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(p + i));
    for (int i = 1; i < CHAINS; i++) sum[0] = _mm512_xor_si512(sum[0], sum[i]);
    return (uint32_t)_mm512_reduce_add_epi32(sum[0]);
}

static uint32_t peak_f32(size_t steps, float out[16])
{
    __m512 a[CHAINS], x = _mm512_set1_ps(0.5f);
    for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps((float)i);
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < CHAINS; i++) a[i] = _mm512_fmadd_ps(a[i], x, x);
    for (int i = 1; i < CHAINS; i++) a[0] = _mm512_add_ps(a[0], a[i]);
    _mm512_storeu_ps(out, a[0]);
    return CHAINS * 16;
}
#endif
