/* probe_c.c - the probe's loops in plain C. */
#include "native/probe.h"

#include <math.h>
#include <string.h>

static uint32_t read_c(const void *data, size_t bytes)
{
    enum { CHAINS = 16 };
    uint32_t sum[CHAINS] = {0}, all = 0, words[CHAINS];
    for (size_t at = 0; at < bytes; at += sizeof words) {
        memcpy(words, (const uint8_t *)data + at, sizeof words);
        for (int i = 0; i < CHAINS; i++) sum[i] ^= words[i];
    }
    for (int i = 0; i < CHAINS; i++) all ^= sum[i];
    return all;
}

static uint32_t peak_f32(size_t steps, float out[16])
{
    for (int i = 0; i < 16; i++) out[i] = (float)i;
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < 16; i++) out[i] = fmaf(out[i], 0.5f, 1.0f);
    return 16;
}

static uint32_t peak_integers(size_t steps, float out[16])
{
    int32_t sum[16] = {0};
    for (size_t s = 0; s < steps; s++)
        for (int i = 0; i < 16; i++) sum[i] = sum[i] * 3 + (int8_t)s;
    for (int i = 0; i < 16; i++) out[i] = (float)(sum[i] & 1023);
    return 16;
}

const kvf_probe_table kvf_probe_c = {
    .read = read_c,
    .peak = {peak_f32, peak_f32, peak_integers, peak_integers},
};
