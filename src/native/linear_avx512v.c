/* linear_avx512v.c - products with AVX-512 and VNNI. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"
#include "native/linear_tiles.h"

INTEGER_TILES(MAKE_INTEGER_TILE, Q8)
INTEGER_TILES(MAKE_INTEGER_TILE, Q4)
static const tile_set q8_tiles = {.tallest = 7, INTEGER_TILES(TILE_ENTRY, Q8)};
static const tile_set q4_tiles = {.tallest = 7, INTEGER_TILES(TILE_ENTRY, Q4)};

void kvf_run_q8_avx512v(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q8, &q8_tiles, first_panel, end_panel);
}

void kvf_run_q4_avx512v(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, &q4_tiles, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512v = {
    .name = "avx512v",
    .prepare = {kvf_prepare_nothing, kvf_prepare_bf16_avx512, kvf_prepare_q_avx512,
                kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, kvf_run_bf16_avx512, kvf_run_q8_avx512v, kvf_run_q4_avx512v},
};
#endif
