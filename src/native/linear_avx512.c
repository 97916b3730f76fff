/* linear_avx512.c - products with AVX-512 as the first processors have it, and what later ones do
 * the same way. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"
#include "native/linear_prepare.h"
#include "native/linear_tiles.h"

FLOAT_TILES(MAKE_FLOAT_TILE, F32)
FLOAT_TILES(MAKE_FLOAT_TILE, BF16)
INTEGER_TILES(MAKE_INTEGER_TILE, Q8)
INTEGER_TILES(MAKE_INTEGER_TILE, Q4)
static const tile_set f32_tiles = {.tallest = 14, FLOAT_TILES(TILE_ENTRY, F32)};
static const tile_set bf16_tiles = {.tallest = 14, FLOAT_TILES(TILE_ENTRY, BF16)};
static const tile_set q8_tiles = {.tallest = 7, INTEGER_TILES(TILE_ENTRY, Q8)};
static const tile_set q4_tiles = {.tallest = 7, INTEGER_TILES(TILE_ENTRY, Q4)};

void kvf_run_f32_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, F32, &f32_tiles, first_panel, end_panel);
}

void kvf_prepare_bf16_avx512(const kvf_product *p, size_t first_row, size_t end_row)
{
    prepare_bf16(p, first_row, end_row);
}

void kvf_run_bf16_avx512(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16, &bf16_tiles, first_panel, end_panel);
}

void kvf_prepare_q_avx512(const kvf_product *p, size_t first_row, size_t end_row)
{
    prepare_q(p, first_row, end_row);
}

static void run_q8(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q8, &q8_tiles, first_panel, end_panel);
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, &q4_tiles, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512 = {
    .name = "avx512",
    .prepare = {kvf_prepare_nothing, kvf_prepare_bf16_avx512, kvf_prepare_q_avx512,
                kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, kvf_run_bf16_avx512, run_q8, run_q4},
};
#endif
