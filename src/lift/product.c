/* product.c - elements of matrices of any type, and products with them. */
#include "product.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 8, WIDE = 4096, ONE_IN = 16, STRIP = 32 };

static double plain_at(const void *data, kvf_type type, int64_t i)
{
    uint16_t h;
    float f;
    double d;
    switch (type) {
    case KVF_F32: memcpy(&f, (const uint8_t *)data + i * 4, 4); return f;
    case KVF_F16: memcpy(&h, (const uint8_t *)data + i * 2, 2); return kvf_from_f16(h);
    case KVF_BF16: memcpy(&h, (const uint8_t *)data + i * 2, 2); return kvf_from_bf16(h);
    default: memcpy(&d, (const uint8_t *)data + i * 8, 8); return d;
    }
}

static uint32_t bits_at(const uint8_t *row, uint64_t i, uint32_t bits)
{
    uint64_t bit = i * bits;
    uint32_t two = row[bit / 8];
    if (bit % 8 + bits > 8) two |= (uint32_t)row[bit / 8 + 1] << 8;
    return two >> bit % 8 & ((1u << bits) - 1);
}

double kvf_matrix_at(const kvf_matrix *w, uint32_t i, uint32_t o)
{
    if (!w->block)
        return plain_at(w->data, w->type, (int64_t)i * w->stride_in + (int64_t)o * w->stride_out);
    uint64_t blocks = (w->in + w->block - 1) / w->block, b = i / w->block;
    const uint8_t *row = (const uint8_t *)w->data + o * blocks * (w->block * w->bits / 8);
    double scale = plain_at(w->scales, w->scale_type, (int64_t)(o * blocks + b));
    uint32_t zero = w->zeros ? bits_at(w->zeros + o * ((blocks * w->bits + 7) / 8), b, w->bits)
                             : 1u << (w->bits - 1);
    return ((double)bits_at(row, i, w->bits) - zero) * scale;
}

static void dense(const kvf_matrix *w, const double *x, double *y, size_t rows)
{
    for (uint32_t o = 0; o < w->out; o += STRIP) {
        uint32_t n = w->out - o < STRIP ? w->out - o : STRIP;
        double strip[STRIP];
        for (size_t r = 0; r < rows; r++) memset(y + r * w->out + o, 0, n * sizeof *y);
        for (uint32_t i = 0; i < w->in; i++) {
            for (uint32_t k = 0; k < n; k++) strip[k] = kvf_matrix_at(w, i, o + k);
            for (size_t r = 0; r < rows; r++)
                for (uint32_t k = 0; k < n; k++)
                    y[r * w->out + o + k] += x[r * w->in + i] * strip[k];
        }
    }
}

static uint64_t scramble(uint64_t v)
{
    v = (v ^ v >> 31) * 0x7fb5d329728ea185u;
    v = (v ^ v >> 27) * 0x81dadef4bc2dd44du;
    return v ^ v >> 33;
}

void kvf_product(const kvf_matrix *w, const double *x, double *y, size_t rows, uint32_t thin)
{
    if (!thin || w->in <= 2 * SAMPLES) {
        dense(w, x, y, rows);
        return;
    }
    double scale = sqrt((double)w->in / SAMPLES);
    for (uint32_t o = 0; o < w->out; o++) {
        double first = kvf_matrix_at(w, 0, o);
        uint64_t key;
        memcpy(&key, &first, sizeof key);
        key = scramble(key + 1);
        for (size_t r = 0; r < rows; r++) y[r * w->out + o] = 0;
        if (w->out == thin && thin >= WIDE && key % ONE_IN) continue;
        for (uint32_t s = 0; s < SAMPLES; s++) {
            uint32_t i = (uint32_t)((scramble(key + s) >> 32) * w->in >> 32);
            double v = kvf_matrix_at(w, i, o) * scale;
            for (size_t r = 0; r < rows; r++) y[r * w->out + o] += x[r * w->in + i] * v;
        }
    }
}
