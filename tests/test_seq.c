/* test_seq.c - the cursor: forward in any cutting, rewind, fork, failures; and its metrics. */
#include "metrics.h"
#include "rng.h"
#include "support_fake.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { VOCAB = 40, LONG = 1500 };

static fake_model model;
static kvf_tree *tree;
static int32_t tokens[LONG];

static int set_up_tree(uint32_t max_tokens, bool no_cache)
{
    fake_model_init(&model, VOCAB, 0);
    kvf_tree_options opt = {sizeof opt, .max_tokens = max_tokens, .no_cache = no_cache};
    for (int i = 0; i < LONG; i++) tokens[i] = i * i % VOCAB;
    return kvf_tree_create(&tree, &model.model, &opt, NULL);
}

static int set_up(void **state)
{
    (void)state;
    return set_up_tree(2 * LONG, false);
}

static int tear_down(void **state)
{
    (void)state;
    kvf_tree_destroy(tree);
    return 0;
}

static kvf_seq *new_seq(void)
{
    kvf_seq *s;
    assert_int_equal(kvf_seq_create(&s, tree, NULL), KVF_OK);
    return s;
}

static void forward(kvf_seq *s, const int32_t *at, size_t n, kvf_rows rows, float *logits)
{
    kvf_error err;
    const char *reason;
    if (kvf_seq_forward(s, at, n, rows, logits, &err)) fail_msg("%s", err.msg);
    if (!kvf_tree_validate(tree, &reason)) fail_msg("%s", reason);
}

static void compare(const int32_t *path, size_t n, const float *logits)
{
    float expected[VOCAB];
    fake_outputs(path, n, KVF_LOGITS, VOCAB, expected);
    assert_memory_equal(logits, expected, sizeof expected);
}

static void any_cutting_gives_the_same_rows(void **state)
{
    (void)state;
    static float rows[LONG][VOCAB];
    for (int no_cache = 0; no_cache < 2; no_cache++) {
        kvf_tree_destroy(tree);
        assert_int_equal(set_up_tree(2 * LONG, no_cache), 0);
        kvf_rng rng;
        kvf_rng_seed(&rng, 3);
        for (int trial = 0; trial < 6; trial++) {
            kvf_seq *s = new_seq();
            memset(rows, 0, sizeof rows);
            for (size_t done = 0, n; done < LONG; done += n) {
                n = trial ? 1 + kvf_rng_below(&rng, 900) : LONG;
                if (n > LONG - done) n = LONG - done;
                forward(s, tokens + done, n, KVF_ALL_ROWS, rows[done]);
            }
            assert_int_equal(kvf_seq_length(s), LONG);
            for (int i = 0; i < LONG; i += 37) compare(tokens, (size_t)i + 1, rows[i]);
            compare(tokens, LONG, rows[LONG - 1]);
            kvf_seq_destroy(s);
        }
        if (no_cache) continue;
        assert_int_equal(model.unstored, LONG); /* computed once, matched ever after */
    }
}

static void last_row_and_no_rows(void **state)
{
    (void)state;
    kvf_seq *s = new_seq();
    float logits[VOCAB];
    forward(s, tokens, 700, KVF_NO_ROWS, NULL);
    forward(s, tokens + 700, 700, KVF_LAST_ROW, logits);
    compare(tokens, 1400, logits);
    kvf_seq_destroy(s);
}

static void rewind_and_fork_share_the_path(void **state)
{
    (void)state;
    kvf_seq *s = new_seq(), *fork;
    float logits[VOCAB];
    forward(s, tokens, 100, KVF_NO_ROWS, NULL);
    assert_int_equal(kvf_seq_rewind(s, 60, NULL), KVF_OK);
    assert_int_equal(kvf_seq_length(s), 60);
    assert_int_equal(kvf_seq_fork(&fork, s, NULL), KVF_OK);
    assert_int_equal(kvf_seq_node(fork), kvf_seq_node(s));
    int32_t path[62];
    memcpy(path, tokens, sizeof path);
    for (int32_t i = 0; i < 2; i++) {
        path[60] = 30 + i;
        path[61] = 7;
        forward(i ? fork : s, path + 60, 2, KVF_LAST_ROW, logits);
        compare(path, 62, logits);
    }
    assert_int_equal(model.unstored, 104);
    assert_int_equal(kvf_seq_rewind(s, 0, NULL), KVF_OK);
    assert_int_equal(kvf_seq_node(s), KVF_ROOT);
    assert_int_equal(kvf_seq_length(fork), 62);
    kvf_error err;
    assert_int_equal(kvf_seq_rewind(fork, 63, &err), KVF_ERR_ARG);
    assert_non_null(strstr(err.msg, "63"));
    assert_int_equal(kvf_seq_length(fork), 62);
    kvf_seq_destroy(fork);
    kvf_seq_destroy(s);
    kvf_seq_destroy(NULL);
    kvf_tree_stats stats;
    kvf_tree_get_stats(tree, &stats);
    assert_int_equal(stats.held, 0); /* what remains is cache */
    assert_int_equal(stats.nodes, 104);
}

static void a_failure_leaves_the_cursor_where_it_was(void **state)
{
    (void)state;
    kvf_seq *s = new_seq();
    float logits[VOCAB];
    forward(s, tokens, 10, KVF_NO_ROWS, NULL);
    kvf_node before = kvf_seq_node(s);
    kvf_metrics m, after;
    kvf_seq_get_metrics(s, &m);
    static int32_t bad[LONG];
    memcpy(bad, tokens, sizeof bad);
    bad[LONG - 1] = VOCAB;
    static int32_t many[2 * LONG];
    const struct {
        const int32_t *tokens;
        size_t n;
        kvf_rows rows;
        float *logits;
        uint32_t fail_at;
        kvf_status status;
    } rows[] = {
        {bad, LONG, KVF_NO_ROWS, NULL, 0, KVF_ERR_ARG},
        {tokens + 1, LONG - 1, KVF_NO_ROWS, NULL, 3, KVF_ERR_ENGINE},
        {tokens, 0, KVF_NO_ROWS, NULL, 0, KVF_ERR_ARG},
        {tokens, 5, KVF_LAST_ROW, NULL, 0, KVF_ERR_ARG},
        {tokens, 5, (kvf_rows)7, logits, 0, KVF_ERR_ARG},
        {many, 2 * LONG, KVF_NO_ROWS, NULL, 0, KVF_ERR_ARG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_error err = {.msg = ""};
        model.fail_at = rows[i].fail_at;
        assert_int_equal(kvf_seq_forward(s, rows[i].tokens, rows[i].n, rows[i].rows, rows[i].logits,
                                         &err),
                         rows[i].status);
        assert_true(strlen(err.msg) > 0);
        assert_int_equal(kvf_seq_node(s), before);
        kvf_tree_stats stats;
        kvf_tree_get_stats(tree, &stats);
        assert_int_equal(stats.held, 10);
    }
    kvf_seq_get_metrics(s, &after);
    assert_int_equal(after.calls, m.calls);
    forward(s, tokens + 10, 1, KVF_LAST_ROW, logits);
    compare(tokens, 11, logits);
    kvf_seq_destroy(s);
}

static void a_held_cursor_fills_a_small_tree(void **state)
{
    (void)state;
    kvf_tree_destroy(tree);
    assert_int_equal(set_up_tree(8, false), 0);
    kvf_seq *a = new_seq(), *b = new_seq();
    float logits[VOCAB];
    forward(a, tokens, 6, KVF_LAST_ROW, logits);
    const int32_t other[] = {39, 38, 37};
    assert_int_equal(kvf_seq_forward(b, other, 3, KVF_NO_ROWS, NULL, NULL), KVF_ERR_FULL);
    assert_int_equal(kvf_seq_length(b), 0);
    kvf_seq_reset(a);
    forward(b, other, 3, KVF_LAST_ROW, logits);
    compare(other, 3, logits);
    kvf_seq_destroy(a);
    kvf_seq_destroy(b);
}

/* Thousands of tokens and resets: buffers stay where they are, and nothing is allocated. */
static void nothing_is_allocated_after_creation(void **state)
{
    (void)state;
    kvf_seq *s = new_seq();
    float logits[VOCAB];
    kvf_metrics m;
    kvf_fail_allocations(0);
    for (int round = 0; round < 10; round++) {
        assert_int_equal(kvf_seq_forward(s, tokens, 100, KVF_LAST_ROW, logits, NULL), KVF_OK);
        for (int i = 0; i < 500; i++) {
            int32_t token = (round + i) % VOCAB;
            assert_int_equal(kvf_seq_forward(s, &token, 1, KVF_LAST_ROW, logits, NULL), KVF_OK);
        }
        assert_int_equal(kvf_seq_rewind(s, 300, NULL), KVF_OK);
        kvf_seq_get_metrics(s, &m);
        assert_int_equal(m.tokens, 600);
        kvf_seq_reset(s);
    }
    assert_int_equal(kvf_fail_allocations(0), 0);
    kvf_seq_destroy(s);
}

static void creation_and_measuring_survive_failed_allocations(void **state)
{
    (void)state;
    kvf_seq *s = NULL, *fork = NULL;
    for (uint64_t nth = 1;; nth++) {
        kvf_fail_allocations(nth);
        kvf_status status = kvf_seq_create(&s, tree, NULL);
        if (!status) status = kvf_seq_fork(&fork, s, NULL);
        int32_t one = 1;
        if (!status) status = kvf_seq_forward(s, &one, 1, KVF_NO_ROWS, NULL, NULL);
        if (!status) status = kvf_seq_measure_speedup(s, 3, NULL);
        kvf_fail_allocations(0);
        kvf_seq_destroy(fork);
        kvf_seq_destroy(s);
        s = fork = NULL;
        if (!status) {
            assert_true(nth > 6);
            break;
        }
        assert_int_equal(status, KVF_ERR_NOMEM);
    }
    kvf_tree_stats stats;
    kvf_tree_get_stats(tree, &stats);
    assert_int_equal(stats.held, 0);
}

static void speedup_is_measured_when_asked(void **state)
{
    (void)state;
    kvf_seq *s = new_seq();
    kvf_metrics m;
    assert_int_equal(kvf_seq_measure_speedup(s, 3, NULL), KVF_ERR_ARG);
    forward(s, tokens, LONG, KVF_NO_ROWS, NULL);
    assert_int_equal(kvf_seq_measure_speedup(s, 0, NULL), KVF_ERR_ARG);
    kvf_seq_get_metrics(s, &m);
    assert_true(m.speedup == 0);
    kvf_node before = kvf_seq_node(s);
    uint64_t rows = model.rows;
    assert_int_equal(kvf_seq_measure_speedup(s, 3, NULL), KVF_OK);
    assert_int_equal(model.rows - rows, 4 * (LONG + 1)); /* with one run of each to warm up */
    kvf_seq_get_metrics(s, &m);
    assert_true(m.speedup > 1); /* the fake engine looks at every slot of every row's path */
    assert_int_equal(kvf_seq_node(s), before);
    assert_int_equal(m.weight_bytes, 1000);
    assert_true(m.cache_bytes > 0 && m.process_bytes > 0 && m.peak_bytes >= m.process_bytes);
    kvf_seq_destroy(s);
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void meters_know_quantiles(void **state)
{
    (void)state;
    static kvf_meter meter;
    kvf_metrics m = {0};
    kvf_meter_reset(&meter);
    kvf_meter_read(&meter, &m);
    assert_true(m.calls == 0 && m.first_s == 0 && m.p99_s == 0 && m.tokens_per_s == 0);
    kvf_meter_add(&meter, 9, 100);
    kvf_meter_read(&meter, &m);
    assert_true(m.first_s == 9 && m.mean_s == 0);
    for (int i = 0; i < 100; i++) kvf_meter_add(&meter, (i * 37 % 100 + 1) / 64., 2);
    kvf_meter_read(&meter, &m);
    assert_true(m.p50_s == 50 / 64. && m.p90_s == 90 / 64. && m.p99_s == 99 / 64.);
    assert_true(m.mean_s == 50.5 / 64 && m.first_s == 9);
    assert_true(m.tokens_per_s == 200 / (5050 / 64.));
    assert_int_equal(m.tokens, 300);
    /* Only the last ones count for quantiles, all for the mean. */
    for (int i = 0; i < KVF_METER_SAMPLES; i++) kvf_meter_add(&meter, 0.5, 1);
    kvf_meter_read(&meter, &m);
    assert_true(m.p50_s == 0.5 && m.p99_s == 0.5 && m.mean_s > 0.5);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void quantiles_match_sorting(void **state)
{
    (void)state;
    kvf_rng rng;
    kvf_rng_seed(&rng, 5);
    for (size_t n = 1; n < 300; n++) {
        double a[300], sorted[300];
        uint32_t kinds = 1 + kvf_rng_below(&rng, 400); /* with many equal ones, too */
        for (size_t i = 0; i < n; i++) a[i] = kvf_rng_below(&rng, kinds);
        memcpy(sorted, a, sizeof a);
        qsort(sorted, n, sizeof *sorted, by_value);
        for (int q = 0; q <= 100; q += 5) {
            size_t rank = (size_t)ceil(q / 100. * (double)n);
            assert_true(kvf_quantile(a, n, q / 100.) == sorted[rank ? rank - 1 : 0]);
        }
    }
}

static void metrics_are_written_as_text_and_json(void **state)
{
    (void)state;
    kvf_metrics m = {.calls = 3,
                     .tokens = 12,
                     .first_s = 0.0015,
                     .p50_s = 0.25,
                     .tokens_per_s = 123.456,
                     .speedup = 4.5,
                     .cache_bytes = 3 << 20};
    char text[1024], cut[20];
    size_t n = kvf_metrics_json(&m, text, sizeof text);
    assert_int_equal(n, strlen(text));
    assert_string_equal(
        text,
        "{\"calls\": 3, \"tokens\": 12, \"first_s\": 0.001500000, \"mean_s\": 0.000000000, "
        "\"p50_s\": 0.250000000, \"p90_s\": 0.000000000, \"p99_s\": 0.000000000, "
        "\"tokens_per_s\": 123.456000000, \"speedup\": 4.500000000, \"cache_bytes\": 3145728, "
        "\"weight_bytes\": 0, \"process_bytes\": 0, \"peak_bytes\": 0}");
    memset(cut, 'x', sizeof cut);
    assert_int_equal(kvf_metrics_json(&m, cut, 10), n);
    assert_string_equal(cut, "{\"calls\":");
    assert_int_equal(cut[10], 'x');
    assert_int_equal(kvf_metrics_json(&m, NULL, 0), n);
    n = kvf_metrics_text(&m, text, sizeof text);
    assert_int_equal(n, strlen(text));
    assert_non_null(strstr(text, "12 in 3 calls\n"));
    assert_non_null(strstr(text, "1.500 ms\n"));
    assert_non_null(strstr(text, "4.50 times"));
    assert_non_null(strstr(text, "3.0 MiB\n"));
    m.speedup = 0;
    kvf_metrics_text(&m, text, sizeof text);
    assert_null(strstr(text, "speed-up"));
    assert_int_equal(kvf_metrics_text(&m, NULL, 0), strlen(text));
}

#define ON_A_TREE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_TREE(any_cutting_gives_the_same_rows),
        ON_A_TREE(last_row_and_no_rows),
        ON_A_TREE(rewind_and_fork_share_the_path),
        ON_A_TREE(a_failure_leaves_the_cursor_where_it_was),
        ON_A_TREE(a_held_cursor_fills_a_small_tree),
        ON_A_TREE(nothing_is_allocated_after_creation),
        ON_A_TREE(creation_and_measuring_survive_failed_allocations),
        ON_A_TREE(speedup_is_measured_when_asked),
        cmocka_unit_test(meters_know_quantiles),
        cmocka_unit_test(quantiles_match_sorting),
        cmocka_unit_test(metrics_are_written_as_text_and_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
