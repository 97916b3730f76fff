/* linear_avx512x.c - products with AVX-512 and BF16. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"
#include "native/linear_tiles.h"

FLOAT_TILES(MAKE_FLOAT_TILE, PAIRS)
static const tile_set pairs_tiles = {FLOAT_TILES(TILE_ENTRY, PAIRS)};

/* Pairs as the instruction adds them: the upper half, which is the even input, first. */
static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        uint32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < p->w->in; k += LANES) {
            __m512i pairs = bf16_bits(x + k, p->w->in - k);
            pairs = _mm512_or_si512(pairs, _mm512_srli_epi64(pairs, 48));
            _mm256_store_si256((__m256i *)(out + k / 2), _mm512_cvtepi64_epi32(pairs));
        }
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
