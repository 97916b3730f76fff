/* linear_avx512x.c - products with AVX-512 and BF16. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"
#include "native/linear_tiles.h"

FLOAT_TILES(MAKE_FLOAT_TILE, PAIRS)
static const tile_set pairs_tiles = {.tallest = 14, FLOAT_TILES(TILE_ENTRY, PAIRS)};

/* Pairs as the instruction adds them: the upper half, which is the even input, first. */
static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    size_t in = p->w->in;
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        uint32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k + 1 < in; k += 2)
            out[k / 2] = (uint32_t)kvf_to_bf16(x[k]) << 16 | kvf_to_bf16(x[k + 1]);
        if (in % 2) out[in / 2] = (uint32_t)kvf_to_bf16(x[in - 1]) << 16;
    }
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, PAIRS, &pairs_tiles, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512x = {
    .name = "avx512x",
    .prepare = {kvf_prepare_nothing, prepare_bf16, kvf_prepare_q_avx512, kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, run_bf16, kvf_run_q8_avx512v, kvf_run_q4_avx512v},
};
#endif
