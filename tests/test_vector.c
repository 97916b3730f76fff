/* test_vector.c - every table of vector.h against the plain C one.
 *
 * Numbers differ by rounding only: the lanes sum in f32 and use polynomials. Behind every array lie
 * NaNs, so that a read past the end spoils the result. */
#include "native/vector.h"

#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_N = 1030, GUARD = 16, SLOTS = 80 };
static const kvf_cpu levels[] = {KVF_CPU_C, KVF_CPU_AVX2, KVF_CPU_AVX512};
static const size_t sizes[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, MAX_N};

static void fill(float *x, size_t n, kvf_rng *rng, float spread)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)kvf_rng_normal(rng) * spread;
    for (size_t i = n; i < n + GUARD; i++) x[i] = NAN;
}

static void close_to(const char *what, const char *table, const float *got, const float *want,
                     size_t n, float tolerance)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(got[i] - want[i]) <= tolerance * (1 + fabsf(want[i]))))
            fail_msg("%s %s, n=%zu, at %zu: %.9g, want %.9g", table, what, n, i, got[i], want[i]);
}

static float x[2 * MAX_N + GUARD], y[MAX_N + GUARD], want[2 * MAX_N];
static float w[MAX_N + GUARD], b[MAX_N + GUARD];

/* Every table of this machine at every size. */
static void each(void (*check)(const kvf_vector *v, size_t n, kvf_rng *rng))
{
    kvf_rng rng;
    kvf_rng_seed(&rng, 1);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
        for (size_t s = 0; kvf_cpu_runs(levels[l]) && s < sizeof sizes / sizeof *sizes; s++)
            check(kvf_vector_of(levels[l]), sizes[s], &rng);
}

static void check_norm(const kvf_vector *v, size_t n, kvf_rng *rng)
{
    for (int kind = KVF_NORM_LAYER; kind <= KVF_NORM_RMS; kind++) {
        fill(x, n, rng, 3);
        fill(w, n, rng, 1);
        fill(b, n, rng, 1);
        kvf_norm norm = {.kind = (kvf_norm_kind)kind,
                         .eps = 1e-5f,
                         .width = (uint32_t)n,
                         .weight = w,
                         .bias = b};
        kvf_vector_c.norm(&norm, x, want, n);
        v->norm(&norm, x, y, n);
        close_to("norm", v->name, y, want, n, 2e-5f);
        norm.weight = norm.bias = NULL;
        kvf_vector_c.norm(&norm, x, want, n);
        v->norm(&norm, x, x, n);
        close_to("plain norm in place", v->name, x, want, n, 2e-5f);
    }
}

static void check_act(const kvf_vector *v, size_t n, kvf_rng *rng)
{
    static const float edges[] = {0,      -0.0f, 1,   -1, 0.25f, -0.25f, 3.99f,
                                  -4.01f, 20,    -20, 88, -88,   1e30f,  -1e30f};
    for (int act = KVF_ACT_NONE; act <= KVF_ACT_SIGMOID; act++) {
        fill(x, n, rng, 3);
        for (size_t i = 0; i < n && i < sizeof edges / sizeof *edges; i++) x[i] = edges[i];
        memcpy(want, x, n * sizeof *x);
        memcpy(w, x, n * sizeof *x);
        kvf_vector_c.act((kvf_act)act, want, n);
        v->act((kvf_act)act, x, n);
        close_to("activation", v->name, x, want, n, 5e-7f);
        fill(x, n, rng, 1);
        memcpy(want, x, n * sizeof *x);
        kvf_vector_c.act_mul((kvf_act)act, w, want, n);
        v->act_mul((kvf_act)act, w, x, n);
        close_to("gated activation", v->name, x, want, n, 1e-6f);
        x[n - 1] = NAN;
        v->act((kvf_act)act, x, n);
        assert_true(isnan(x[n - 1]));
    }
}

static void check_rows(const kvf_vector *v, size_t n, kvf_rng *rng)
{
    static uint16_t h[MAX_N + 1], h_want[MAX_N];
    fill(x, n, rng, 1);
    fill(y, n, rng, 1);
    memcpy(want, x, n * sizeof *x);
    kvf_vector_c.add(want, y, n);
    v->add(x, y, n);
    assert_memory_equal(x, want, n * sizeof *x);
    kvf_vector_c.scale(x, 0.3f, want, n);
    v->scale(x, 0.3f, y, n);
    assert_memory_equal(y, want, n * sizeof *x);
    h[n] = 0xabcd;
    kvf_vector_c.store_bf16(x, h_want, n);
    v->store_bf16(x, h, n);
    assert_memory_equal(h, h_want, n * sizeof *h);
    assert_int_equal(h[n], 0xabcd);
    for (int interleaved = 0; interleaved < 2; interleaved++) {
        fill(x, 2 * n, rng, 1);
        fill(w, n, rng, 1);
        fill(b, n, rng, 1);
        memcpy(want, x, 2 * n * sizeof *x);
        kvf_vector_c.rotate(want, w, b, (uint32_t)n, interleaved);
        v->rotate(x, w, b, (uint32_t)n, interleaved);
        close_to("rotation", v->name, x, want, 2 * n, 1e-6f);
    }
}

static void norms(void **unused)
{
    (void)unused, each(check_norm);
}
static void activations(void **unused)
{
    (void)unused, each(check_act);
}
static void rows(void **unused)
{
    (void)unused, each(check_rows);
}

enum { HEADS = 3, GROUP = 2, QUERIES = HEADS * GROUP, ROWS = 3, MAX_D = 130 };

/* A path over shuffled slots, and what rows ask of it. */
static struct {
    float k[SLOTS * HEADS * MAX_D + GUARD], v[SLOTS * HEADS * MAX_D + GUARD],
        q[ROWS][QUERIES * MAX_D + GUARD];
    uint16_t k16[SLOTS * HEADS * MAX_D + GUARD], v16[SLOTS * HEADS * MAX_D + GUARD];
    uint32_t slots[SLOTS];
} path;

static void draw_path(uint32_t head_dim, kvf_rng *rng)
{
    size_t n = (size_t)SLOTS * HEADS * head_dim;
    fill(path.k, n, rng, 1);
    fill(path.v, n, rng, 1);
    kvf_vector_c.store_bf16(path.k, path.k16, n + GUARD);
    kvf_vector_c.store_bf16(path.v, path.v16, n + GUARD);
    for (int r = 0; r < ROWS; r++) fill(path.q[r], (size_t)QUERIES * head_dim, rng, 2);
    for (uint32_t s = 0; s < SLOTS; s++) {
        uint32_t j = kvf_rng_below(rng, s + 1);
        path.slots[s] = path.slots[j];
        path.slots[j] = s;
    }
}

/* y [ROWS][QUERIES][head_dim]: all heads of a kind, `heads` of them in a call. */
static void attend_path(const kvf_vector *v, uint32_t head_dim, uint32_t group, uint32_t length,
                        bool bf16, uint32_t heads, float *result)
{
    static float states[ROWS][QUERIES * 256];
    size_t size = v->state_size(head_dim), element = bf16 ? 2 : 4;
    for (uint32_t first = 0; first < HEADS; first += heads) {
        const float *q[ROWS];
        float *state[ROWS];
        uint32_t n = HEADS - first < heads ? HEADS - first : heads;
        for (int r = 0; r < ROWS; r++) {
            q[r] = path.q[r] + (size_t)first * group * head_dim;
            state[r] = states[r];
            for (uint32_t h = 0; h < n * group; h++) v->attend_begin(state[r] + h * size, head_dim);
        }
        size_t at = (size_t)first * head_dim * element;
        kvf_attend a = {.k = (bf16 ? (uint8_t *)path.k16 : (uint8_t *)path.k) + at,
                        .v = (bf16 ? (uint8_t *)path.v16 : (uint8_t *)path.v) + at,
                        .stride = (size_t)HEADS * head_dim,
                        .head_dim = head_dim,
                        .heads = n,
                        .group = group,
                        .rows = ROWS,
                        .q = q,
                        .state = state};
        for (uint32_t p = 0; p < length; p += KVF_BLOCK) {
            a.slots = path.slots + p;
            a.n = length - p < KVF_BLOCK ? length - p : KVF_BLOCK;
            (bf16 ? v->attend_bf16 : v->attend_f32)(&a);
        }
        for (int r = 0; r < ROWS; r++)
            for (uint32_t h = 0; h < n * group; h++)
                v->attend_end(state[r] + h * size, head_dim,
                              result + ((size_t)r * QUERIES + first * group + h) * head_dim);
    }
}

/* Paths of many lengths and all widths of heads, close to the plain table; and the same bits
 * however many heads one call takes. */
static void attention(void **unused)
{
    (void)unused;
    static const uint32_t dims[] = {1, 4, 8, 16, 20, 24, 32, 64, 80, 96, 128, MAX_D};
    static float plain[ROWS * QUERIES * MAX_D], got[ROWS * QUERIES * MAX_D],
        apart[ROWS * QUERIES * MAX_D];
    kvf_rng rng;
    kvf_rng_seed(&rng, 4);
    for (size_t i = 0; i < sizeof dims / sizeof *dims * 20; i++) {
        uint32_t d = dims[i / 20], length = 1 + kvf_rng_below(&rng, SLOTS),
                 group = 1 + (uint32_t)i % 2;
        bool bf16 = i / 2 % 2;
        draw_path(d, &rng);
        memset(plain, 0, sizeof plain);
        attend_path(&kvf_vector_c, d, group, length, bf16, HEADS, plain);
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
            if (!kvf_cpu_runs(levels[l])) continue;
            const kvf_vector *v = kvf_vector_of(levels[l]);
            char what[80];
            snprintf(what, sizeof what, "attention head_dim=%u length=%u group=%u bf16=%d", d,
                     length, group, bf16);
            memset(got, 0, sizeof got);
            memset(apart, 0, sizeof apart);
            attend_path(v, d, group, length, bf16, HEADS, got);
            attend_path(v, d, group, length, bf16, 1, apart);
            close_to(what, v->name, got, plain, (size_t)ROWS * QUERIES * d, 2e-5f);
            assert_memory_equal(got, apart, sizeof got);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms), cmocka_unit_test(activations),
                                       cmocka_unit_test(rows), cmocka_unit_test(attention)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
