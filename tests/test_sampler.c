/* test_sampler.c - choosing tokens: limits, ties, frequencies, repeatability, no-numbers. */
#include "base.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

enum { DRAWS = 40000 };

static kvf_sampler *sampler(uint32_t vocab, kvf_sampling how, uint64_t seed)
{
    kvf_sampler *s;
    kvf_error err;
    if (kvf_sampler_create(&s, vocab, &how, seed, &err)) fail_msg("%s", err.msg);
    return s;
}

static int32_t sample(kvf_sampler *s, const float *logits)
{
    int32_t token = -7;
    kvf_error err;
    if (kvf_sample(s, logits, &token, &err)) fail_msg("%s", err.msg);
    return token;
}

static void options_are_checked(void **state)
{
    (void)state;
    const struct {
        uint32_t vocab;
        kvf_sampling how;
    } wrong[] = {
        {0, {.temperature = 0}},
        {UINT32_MAX, {.temperature = 0}},
        {4, {.temperature = -1}},
        {4, {.temperature = NAN}},
        {4, {.temperature = INFINITY}},
        {4, {.temperature = 1, .top_p = -0.1}},
        {4, {.temperature = 1, .top_p = 1.1}},
        {4, {.temperature = 1, .top_p = NAN}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kvf_sampler *s = (kvf_sampler *)&i;
        kvf_error err = {.msg = ""};
        assert_int_equal(kvf_sampler_create(&s, wrong[i].vocab, &wrong[i].how, 1, &err),
                         KVF_ERR_ARG);
        assert_null(s);
        assert_true(strlen(err.msg) > 0);
    }
    kvf_sampling how = {.temperature = 1};
    for (uint64_t nth = 1; nth <= 2; nth++) {
        kvf_sampler *s;
        kvf_fail_allocations(nth);
        assert_int_equal(kvf_sampler_create(&s, 4, &how, 1, NULL), KVF_ERR_NOMEM);
        kvf_fail_allocations(0);
    }
    kvf_sampler_destroy(NULL);
}

static void greedy_takes_the_largest_and_the_lowest_id(void **state)
{
    (void)state;
    kvf_sampler *s;
    assert_int_equal(kvf_sampler_create(&s, 4, NULL, 1, NULL), KVF_OK);
    assert_int_equal(sample(s, (float[]){1, 3, 3, 2}), 1);
    assert_int_equal(sample(s, (float[]){-5, -INFINITY, -6, -5}), 0);
    assert_int_equal(sample(s, (float[]){-5, 0, INFINITY, INFINITY}), 2);
    kvf_sampler_destroy(s);
}

static void numbers_that_are_none_are_reported(void **state)
{
    (void)state;
    const kvf_sampling hows[] = {{.top_k = 3}, {.temperature = 1}, {.temperature = 1, .top_k = 2}};
    for (size_t i = 0; i < 3; i++) {
        kvf_sampler *s = sampler(3, hows[i], 1);
        int32_t token = -7;
        kvf_error err;
        assert_int_equal(kvf_sample(s, (float[]){1, 2, NAN}, &token, &err), KVF_ERR_NAN);
        assert_non_null(strstr(err.msg, "logits[2]"));
        float none[] = {-INFINITY, -INFINITY, INFINITY};
        assert_int_equal(kvf_sample(s, none, &token, &err), KVF_ERR_NAN);
        assert_int_equal(token, -7);
        /* Infinite beside finite ones has a meaning: all of the mass, or none. */
        assert_int_equal(sample(s, (float[]){1, INFINITY, 2}), 1);
        assert_int_equal(sample(s, (float[]){-INFINITY, -3e38f, -INFINITY}), 1);
        kvf_sampler_destroy(s);
    }
}

/* Counts of many draws against the probabilities that the definition gives, within five standard
 * deviations. */
static void compare_counts(kvf_sampling how, const float *logits, const double *expected, size_t n)
{
    uint32_t counts[16] = {0};
    kvf_sampler *s = sampler((uint32_t)n, how, 99);
    for (int i = 0; i < DRAWS; i++) counts[sample(s, logits)]++;
    for (size_t i = 0; i < n; i++) {
        double p = expected[i], deviation = sqrt(p * (1 - p) * DRAWS);
        if (fabs(counts[i] - p * DRAWS) > 5 * deviation)
            fail_msg("token %zu was drawn %u times, not about %g", i, counts[i], p * DRAWS);
    }
    kvf_sampler_destroy(s);
}

static void frequencies_are_the_softmax_of_what_is_left(void **state)
{
    (void)state;
    const double e = exp(1);
    const float logits[] = {0, 1, 2, 1, -INFINITY};
    double all = 1 + 2 * e + e * e;
    double plain[] = {1 / all, e / all, e * e / all, e / all, 0};
    compare_counts((kvf_sampling){.temperature = 1}, logits, plain, 5);
    compare_counts((kvf_sampling){.temperature = 1, .top_k = 5, .top_p = 1}, logits, plain, 5);
    double h = exp(0.5), warm = 1 + 2 * h + h * h;
    double at_two[] = {1 / warm, h / warm, h * h / warm, h / warm, 0};
    compare_counts((kvf_sampling){.temperature = 2}, logits, at_two, 5);
    /* Of the equal 1 and 3 the lower id is left. */
    double two = e + e * e, top_two[] = {0, e / two, e * e / two, 0, 0};
    compare_counts((kvf_sampling){.temperature = 1, .top_k = 2}, logits, top_two, 5);
    /* e^2 / all is 0.53: 0.5 leaves one, 0.6 two, 0.99 all four. */
    double one[] = {0, 0, 1, 0, 0};
    compare_counts((kvf_sampling){.temperature = 1, .top_p = 0.5}, logits, one, 5);
    compare_counts((kvf_sampling){.temperature = 1, .top_p = 0.6}, logits, top_two, 5);
    compare_counts((kvf_sampling){.temperature = 1, .top_p = 0.99}, logits, plain, 5);
    /* Top-p counts within what top-k leaves: there 2 has 0.73 of the mass. */
    compare_counts((kvf_sampling){.temperature = 1, .top_k = 2, .top_p = 0.7}, logits, one, 5);
    compare_counts((kvf_sampling){.temperature = 1, .top_k = 1}, logits, one, 5);
    compare_counts((kvf_sampling){.temperature = 1e-300}, logits, one, 5);
}

/* Sorting all and taking the first ones is the definition; the sampler sorts as few as it can. */
static void what_is_left_matches_sorting(void **state)
{
    (void)state;
    enum { N = 200 };
    kvf_rng rng;
    kvf_rng_seed(&rng, 8);
    for (uint32_t k = 1; k <= N; k += 13) {
        float logits[N];
        for (int i = 0; i < N; i++) logits[i] = (float)kvf_rng_below(&rng, 40) / 8;
        kvf_sampler *s = sampler(N, (kvf_sampling){.temperature = 3, .top_k = k}, k);
        for (int draw = 0; draw < 400; draw++) {
            int32_t token = sample(s, logits);
            uint32_t better = 0;
            for (int i = 0; i < N; i++)
                better += logits[i] > logits[token] || (logits[i] == logits[token] && i < token);
            if (better >= k) fail_msg("token %d is number %u, beyond %u", token, better, k);
        }
        kvf_sampler_destroy(s);
    }
}

/* Fixed for good: what a seed gives must not change with a compiler, a library or a machine. */
static void a_seed_gives_the_same_tokens_everywhere(void **state)
{
    (void)state;
    enum { N = 1000, TOKENS = 12 };
    static const int32_t expected[3][TOKENS] = {
        {53, 785, 66, 153, 772, 251, 391, 264, 554, 53, 719, 930},
        {818, 66, 53, 20, 831, 996, 442, 996, 897, 818, 587, 277},
        {416, 132, 904, 73, 132, 251, 640, 495, 20, 172, 165, 798}};
    const kvf_sampling hows[3] = {{.temperature = 0.8},
                                  {.temperature = 1, .top_k = 40},
                                  {.temperature = 1.2, .top_k = 100, .top_p = 0.9}};
    float logits[N];
    for (int i = 0; i < N; i++) logits[i] = (float)(i * 7919 % 1009) / 128;
    for (int k = 0; k < 3; k++) {
        kvf_sampler *s = sampler(N, hows[k], 2024), *again = sampler(N, hows[k], 2024);
        int32_t got[TOKENS];
        kvf_fail_allocations(0);
        for (int i = 0; i < TOKENS; i++) {
            got[i] = sample(s, logits);
            assert_int_equal(sample(again, logits), got[i]);
        }
        assert_int_equal(kvf_fail_allocations(0), 0);
        assert_memory_equal(got, expected[k], sizeof got);
        kvf_sampler_destroy(s);
        kvf_sampler_destroy(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(greedy_takes_the_largest_and_the_lowest_id),
        cmocka_unit_test(numbers_that_are_none_are_reported),
        cmocka_unit_test(frequencies_are_the_softmax_of_what_is_left),
        cmocka_unit_test(what_is_left_matches_sorting),
        cmocka_unit_test(a_seed_gives_the_same_tokens_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
