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

static void check_sums(const kvf_vector *v, size_t n, kvf_rng *rng)
{
    fill(x, n, rng, 20);
    float most = v->most(x, n);
    assert_true(most == kvf_vector_c.most(x, n));
    double sum = v->sum_exp(x, most, n), plain = kvf_vector_c.sum_exp(x, most, n);
    if (!(fabs(log(sum) - log(plain)) < 5e-7))
        fail_msg("%s, n=%zu: sum %.9g, want %.9g", v->name, n, sum, plain);
    assert_true(fabs(kvf_log_sum_exp(x, n) - most - log(plain)) < 1e-6);
    x[n - 1] = -INFINITY; /* a forbidden token */
    assert_false(n > 1 && isnan(kvf_log_sum_exp(x, n)));
    static const float wrong[] = {NAN, INFINITY};
    for (size_t i = 0; i < 2 * n && i < 64; i++) {
        float was = x[i / 2];
        x[i / 2] = wrong[i % 2];
        assert_true(isnan(v->sum_exp(x, v->most(x, n), n)));
        assert_true(isnan(kvf_log_sum_exp(x, n)));
        x[i / 2] = was;
    }
    for (size_t i = 0; i < n; i++) x[i] = -INFINITY;
    assert_true(isnan(kvf_log_sum_exp(x, n)));
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
    kvf_vector_c.store[true](x, h_want, 1, 1, (uint32_t)n);
    v->store[true](x, h, 1, 1, (uint32_t)n);
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

static void sums(void **unused)
{
    (void)unused;
    each(check_sums);
}

/* All but one logit alike: their rounding errors are alike too. Lanes that added 256 of them up were
 * off by 1.5e-5. */
static void sums_of_equals(void **unused)
{
    (void)unused;
    static float row[8192];
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++)
        for (int k = 0; kvf_cpu_runs(levels[l]) && k < 200; k++) {
            for (size_t i = 1; i < 8192; i++) row[i] = -0.083f * (float)k;
            double sum = kvf_vector_of(levels[l])->sum_exp(row, 0, 8192),
                   plain = kvf_vector_c.sum_exp(row, 0, 8192);
            assert_true(fabs(log(sum) - log(plain)) < 2e-6);
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

enum { HEADS = 16, GROUP = 2, QUERIES = HEADS * GROUP, ROWS = 5, MAX_D = 130 };

/* Rows with paths over shuffled slots, and what they ask of them. */
static struct {
    float k[SLOTS * HEADS * MAX_D], v[SLOTS * HEADS * MAX_D], q[ROWS][QUERIES * MAX_D + GUARD];
    uint32_t slots[ROWS][SLOTS + KVF_BLOCK], length[ROWS];
} path;

/* Each row leaves the path of the row before somewhere, at its end too, and ends somewhere. */
static void draw_path(uint32_t heads, uint32_t head_dim, kvf_rng *rng)
{
    size_t n = (size_t)SLOTS * heads * head_dim;
    fill(path.k, n - GUARD, rng, 1);
    fill(path.v, n - GUARD, rng, 1);
    for (size_t i = n - GUARD; i < n; i++) path.k[i] = path.v[i] = 0.5f;
    for (int r = 0; r < ROWS; r++) fill(path.q[r], (size_t)heads * GROUP * head_dim, rng, 2);
    for (int r = 0; r < ROWS; r++) {
        uint32_t same = r ? kvf_rng_below(rng, SLOTS * 3 / 2) : 0;
        path.length[r] = 1 + kvf_rng_below(rng, SLOTS);
        for (uint32_t s = 0; s < SLOTS + KVF_BLOCK; s++)
            path.slots[r][s] = s < same ? path.slots[r - 1][s] : kvf_rng_below(rng, SLOTS);
    }
}

/* A shape of attention, and how much of it one call takes. */
typedef struct shape {
    uint32_t heads, head_dim, group;
    bool bf16, apart; /* apart: a bundle and a row at a time */
} shape;

/* The cache of one table, NaNs behind it. */
static void store_path(const kvf_vector *v, const shape *s, const float *rows, uint8_t *cache)
{
    uint32_t side = v->side(s->heads, s->head_dim), width = s->heads * s->head_dim;
    size_t element = s->bf16 ? 2 : 4;
    memset(cache, 0xff, (SLOTS * width + GUARD) * element);
    for (uint32_t i = 0; i < SLOTS; i++)
        v->store[s->bf16](rows + (size_t)i * width, cache + (size_t)i * width * element,
                          s->heads / side, side, s->head_dim);
}

/* y [ROWS][heads * group][head_dim] */
static void attend_path(const kvf_vector *v, const shape *s, float *result)
{
    static float states[ROWS][QUERIES * 512];
    static uint8_t k[(SLOTS * HEADS * MAX_D + GUARD) * 4], values[sizeof k];
    const uint32_t side = v->side(s->heads, s->head_dim), d = s->head_dim, group = s->group;
    const size_t size = v->state_size(side, d), element = s->bf16 ? 2 : 4, step = group * d;
    assert_int_equal(s->heads % side, 0);
    store_path(v, s, path.k, k);
    store_path(v, s, path.v, values);
    const uint32_t n = s->apart ? 1 : s->heads / side;
    for (uint32_t first = 0; first < s->heads; first += n * side) {
        float *state[ROWS];
        for (int r = 0; r < ROWS; r++) {
            state[r] = states[r];
            for (uint32_t i = 0; i < n * group; i++)
                v->attend_begin(state[r] + i * size,
                                path.q[r] +
                                    ((first + i / group * side) * group + i % group) * (size_t)d,
                                step, 0.7f, side, d);
        }
        kvf_attend a = {.k = k + (size_t)first * d * element,
                        .v = values + (size_t)first * d * element,
                        .stride = (size_t)s->heads * d,
                        .head_dim = d,
                        .side = side,
                        .bundles = n,
                        .group = group};
        for (uint32_t p = 0; p < SLOTS; p += KVF_BLOCK) {
            const uint32_t *slots[ROWS];
            uint32_t ends[ROWS], rows = 0;
            float *of_row[ROWS];
            for (uint32_t r = 0; r < ROWS; r++) {
                if (path.length[r] <= p) continue;
                uint32_t left = path.length[r] - p;
                slots[rows] = r % 2 && !memcmp(path.slots[r], path.slots[r - 1], sizeof *path.slots)
                                  ? path.slots[r - 1] + p
                                  : path.slots[r] + p;
                ends[rows] = left < KVF_BLOCK ? left : KVF_BLOCK;
                of_row[rows++] = state[r];
            }
            a.rows = s->apart ? 1 : rows;
            for (uint32_t r = 0; r < rows; r += a.rows) {
                a.slots = slots + r;
                a.n = ends + r;
                a.state = of_row + r;
                v->attend[s->bf16](&a);
            }
        }
        for (int r = 0; r < ROWS; r++)
            for (uint32_t i = 0; i < n * group; i++)
                v->attend_end(state[r] + i * size,
                              result + ((size_t)r * s->heads * group +
                                        (first + i / group * side) * group + i % group) *
                                           d,
                              step, side, d);
    }
}

/* Paths that share beginnings and end anywhere, all widths of heads and all bundles, close to the plain table; and the
 * same bits however many bundles and rows one call takes. */
static void attention(void **unused)
{
    (void)unused;
    static const uint32_t dims[] = {1, 4, 8, 12, 16, 20, 24, 32, 64, 80, 96, 128, MAX_D},
                          heads[] = {3, 4, 8, 16, 12};
    enum { N = ROWS * QUERIES * MAX_D };
    static float plain[N], got[N], apart[N];
    kvf_rng rng;
    kvf_rng_seed(&rng, 4);
    for (size_t i = 0; i < sizeof dims / sizeof *dims * 40; i++) {
        shape s = {.heads = heads[i % 5],
                   .head_dim = dims[i / 40],
                   .group = 1 + (uint32_t)i % 2,
                   .bf16 = i / 2 % 2};
        draw_path(s.heads, s.head_dim, &rng);
        memset(plain, 0, sizeof plain);
        attend_path(&kvf_vector_c, &s, plain);
        for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
            if (!kvf_cpu_runs(levels[l])) continue;
            const kvf_vector *v = kvf_vector_of(levels[l]);
            char what[96];
            snprintf(what, sizeof what, "attention heads=%u head_dim=%u group=%u bf16=%d", s.heads,
                     s.head_dim, s.group, s.bf16);
            memset(got, 0, sizeof got);
            memset(apart, 0, sizeof apart);
            s.apart = false;
            attend_path(v, &s, got);
            s.apart = true;
            attend_path(v, &s, apart);
            close_to(what, v->name, got, plain, (size_t)ROWS * s.heads * s.group * s.head_dim,
                     2e-5f);
            assert_memory_equal(got, apart, sizeof got);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(norms), cmocka_unit_test(activations),
                                       cmocka_unit_test(sums),  cmocka_unit_test(sums_of_equals),
                                       cmocka_unit_test(rows),  cmocka_unit_test(attention)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
