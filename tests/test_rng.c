/* test_rng.c - the generator against its published numbers, and the fairness of what is drawn. */
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* State {1, 2, 3, 4}: the first ten outputs of the authors' xoshiro256starstar.c. */
static void published_numbers(void **state)
{
    (void)state;
    static const uint64_t want[] = {11520u,
                                    0u,
                                    1509978240u,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    kvf_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_int_equal(kvf_rng_next(&rng), want[i]);
}

/* Seed 1234567: the first outputs of the authors' splitmix64.c fill the state. */
static void seeding(void **state)
{
    (void)state;
    static const uint64_t want[] = {6457827717110365317u, 3203168211198807973u,
                                    9817491932198370423u, 4593380528125082431u};
    kvf_rng rng;
    kvf_rng_seed(&rng, 1234567);
    for (size_t i = 0; i < 4; i++) assert_int_equal(rng.s[i], want[i]);
}

static void below_is_fair(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 26, 1000, 0x80000001u, UINT32_MAX};
    kvf_rng rng;
    kvf_rng_seed(&rng, 1);
    assert_int_equal(kvf_rng_below(&rng, 0), 0);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        double n = sizes[i], draws = 20000, sum = 0;
        for (int k = 0; k < (int)draws; k++) {
            uint32_t v = kvf_rng_below(&rng, sizes[i]);
            assert_true(v < sizes[i]);
            sum += v;
        }
        /* the mean of draws numbers, five standard deviations wide */
        double want = (n - 1) / 2, wide = 5 * sqrt((n * n - 1) / 12 / draws);
        if (fabs(sum / draws - want) > wide)
            fail_msg("below %u: mean %g, want %g +- %g", sizes[i], sum / draws, want, wide);
    }
}

static void normal_and_uniform(void **state)
{
    (void)state;
    kvf_rng rng;
    kvf_rng_seed(&rng, 2);
    double n = 100000, sum = 0, squares = 0, uniform = 0;
    for (int i = 0; i < (int)n; i++) {
        double u = kvf_rng_uniform(&rng), x = kvf_rng_normal(&rng);
        assert_true(u >= 0 && u < 1);
        assert_true(isfinite(x));
        sum += x, squares += x * x, uniform += u;
    }
    assert_true(fabs(sum / n) < 5 / sqrt(n));
    assert_true(fabs(squares / n - 1) < 5 * sqrt(2 / n));
    assert_true(fabs(uniform / n - 0.5) < 5 * sqrt(1 / 12.0 / n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_numbers),
        cmocka_unit_test(seeding),
        cmocka_unit_test(below_is_fair),
        cmocka_unit_test(normal_and_uniform),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
