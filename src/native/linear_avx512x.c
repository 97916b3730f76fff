/* linear_avx512x.c - products with AVX-512, BF16 and VNNI. */
#if defined(__x86_64__)
#include "native/linear_avx512.h"

#define HAVE_BF16_PAIRS
static inline vec vec_dot_bf16(vec x, vec w, vec a)
{
    return _mm512_dpbf16_ps(a, (__m512bh)x, (__m512bh)w);
}

static inline ivec ivec_dot_u8(ivec sum, ivec w, ivec x)
{
    return _mm512_dpbusd_epi32(sum, w, x);
}

static inline ivec ivec_dot_u4(ivec sum, ivec w, ivec x)
{
    return _mm512_dpbusd_epi32(sum, w, x);
}

#include "native/linear_tiles.h"

/* Pairs as the instruction adds them: the upper half, which is the even input, first. */
static void prepare_bf16(const kvf_product *p, size_t first_row, size_t end_row)
{
    for (size_t r = first_row; r < end_row; r++) {
        const float *x = p->x + r * p->x_stride;
        uint32_t *out = kvf_prepared_row(p, r);
        for (size_t k = 0; k < p->w->in; k += LANES) {
            ivec pairs = bf16_bits(x + k, p->w->in - k);
            pairs = _mm512_or_si512(pairs, _mm512_srli_epi64(pairs, 48));
            _mm256_store_si256((__m256i *)(out + k / 2), _mm512_cvtepi64_epi32(pairs));
        }
    }
}

static void run_bf16(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, BF16_PAIRS, first_panel, end_panel);
}

static void run_q8(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q8, first_panel, end_panel);
}

static void run_q4(const kvf_product *p, uint32_t first_panel, uint32_t end_panel)
{
    walk(p, Q4, first_panel, end_panel);
}

const kvf_linear_table kvf_linear_avx512x = {
    .name = "avx512x",
    .prepare = {kvf_prepare_nothing, prepare_bf16, kvf_prepare_q_avx512, kvf_prepare_q_avx512},
    .run = {kvf_run_f32_avx512, run_bf16, run_q8, run_q4},
};
#endif
