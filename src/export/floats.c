/* floats.c - conversion of weights, a run at a time. */
#include "export/floats.h"

#include <math.h>
#include <string.h>

void kvf_floats_load(float *dst, kvf_type type, const void *src, size_t n)
{
    if (type == KVF_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)src + 2 * i, sizeof half);
        dst[i] = type == KVF_BF16 ? kvf_from_bf16(half) : kvf_from_f16(half);
    }
}

bool kvf_floats_store(void *dst, kvf_type type, const float *src, size_t n)
{
    if (type == KVF_F32) {
        memcpy(dst, src, n * sizeof *src);
        return true;
    }
    uint16_t *halves = dst;
    bool fits = true;
    for (size_t i = 0; i < n; i++) {
        halves[i] = kvf_to_f16(src[i]);
        fits &= !isfinite(src[i]) || (halves[i] & 0x7c00) != 0x7c00;
    }
    return fits;
}
