/* test_report.c - pages, tables and figures: hostile text, what is left out, memory that is
 * refused. */
#include "report/page.h"
#include "report/plot.h"
#include "report/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static char path[64];

static char *read_page(void)
{
    kvf_file file;
    assert_int_equal(kvf_file_open(&file, path, NULL), KVF_OK);
    char *text = test_malloc(file.size + 1);
    memcpy(text, file.data, file.size);
    text[file.size] = 0;
    kvf_file_close(&file);
    return text;
}

static void text_is_escaped(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want, *why;
    } rows[] = {
        {"a<b>&\"", "a&lt;b&gt;&amp;&quot;", "tags and quotes"},
        {"gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x99\x82",
         "gr\xc3\xb6\xc3\x9f\x65 \xe2\x82\xac \xf0\x9f\x99\x82", "UTF-8 stays"},
        {"a\x01\x1b[2J\x7f", "a\xef\xbf\xbd\xef\xbf\xbd[2J\xef\xbf\xbd", "control characters"},
        {"\xff<\xc3", "\xef\xbf\xbd&lt;\xef\xbf\xbd", "no UTF-8, and cut off"},
        {"\xc0\xbc", "\xef\xbf\xbd\xef\xbf\xbd", "a long form of <"},
        {"\xe0\x80\xbc", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "a longer one"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "a surrogate"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "beyond Unicode"},
        {"\xc2\x9b", "\xef\xbf\xbd\xef\xbf\xbd", "a control character of two bytes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kvf_output out;
        assert_int_equal(page_open(&out, path, rows[i].text, NULL, NULL), KVF_OK);
        kvf_output_print(&out, "[");
        page_text(&out, rows[i].text);
        kvf_output_print(&out, "]");
        assert_int_equal(page_close(&out, NULL), KVF_OK);
        char *page = read_page(), want[64];
        snprintf(want, sizeof want, "[%s]", rows[i].want);
        if (!strstr(page, want)) fail_msg("%s: %s", rows[i].why, strstr(page, "["));
        snprintf(want, sizeof want, "<title>%s</title>", rows[i].want);
        if (!strstr(page, want)) fail_msg("%s, as a title", rows[i].why);
        test_free(page);
    }
}

static void table_leaves_out(void **state)
{
    (void)state;
    static const table_column columns[] = {{"test", true}, {"nothing", false}, {"ms", false}};
    table t = {.columns = columns, .n_columns = 3};
    for (int i = 0; i < 100; i++) {
        char(*cell)[TABLE_TEXT] = table_row(&t);
        assert_non_null(cell);
        snprintf(cell[0], TABLE_TEXT, "row %d", i);
        if (i % 2) snprintf(cell[2], TABLE_TEXT, "%d.5", i);
    }
    char *text;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    table_print(&t, to);
    fclose(to);
    table_free(&t);
    assert_int_equal(strncmp(text,
                             "| test   |   ms |\n"
                             "|:-------|-----:|\n"
                             "| row 0  |      |\n"
                             "| row 1  |  1.5 |\n",
                             72),
                     0);
    assert_non_null(strstr(text, "| row 99 | 99.5 |\n"));
    free(text);
}

static void rows_for_programs(void **state)
{
    (void)state;
    json_t *rows = json_pack("[{s:s, s:i, s:[i]}, {s:s, s:n, s:[i]}]", "way", "ort, no cache", "ms",
                             3, "samples", 3, "way", "native", "ms", "samples", 1);
    json_t *head = json_pack("{s:s}", "date", "now");
    static const char *const want[][2] = {
        {"csv", "way,ms\n\"ort, no cache\",3\nnative,\n"},
        {"jsonl",
         "{\"way\":\"ort, no cache\",\"ms\":3,\"samples\":[3],\"head\":{\"date\":\"now\"}}\n"
         "{\"way\":\"native\",\"ms\":null,\"samples\":[1],\"head\":{\"date\":\"now\"}}\n"},
    };
    for (size_t i = 0; i < 2; i++) {
        char *text;
        size_t size;
        FILE *to = open_memstream(&text, &size);
        rows_print(want[i][0], head, rows, to);
        fclose(to);
        assert_string_equal(text, want[i][1]);
        free(text);
    }
    assert_true(rows_format_known("md"));
    assert_false(rows_format_known("xml"));
    json_decref(rows);
    json_decref(head);
}

/* A page with one of everything. */
static kvf_status draw(kvf_error *err)
{
    static const char *const groups[] = {"5x5 <b>", "9x9"};
    static const table_column columns[] = {{"test", true}};
    plot curve = {.title = "a & b", .y_name = "ms", .id = "values", .low = -1, .high = 1},
         bars = {.title = "bars", .y_name = "ms", .log_y = true},
         one = {.title = "one point", .y_name = "ms"};
    table t = {.columns = columns, .n_columns = 1};
    kvf_output out;
    kvf_status status = page_open(&out, path, "page", NULL, err);
    if (status) return status;
    for (int i = 0; i < 200; i++) plot_add(&curve, i % 2 ? "odd" : "even", 200 - i, sin(i));
    plot_add(&curve, "odd", 7, NAN);
    for (int i = 0; i < 40; i++) {
        char name[PLOT_NAME];
        snprintf(name, sizeof name, "way %d", i);
        plot_add(&bars, name, i % 2, i); /* of 0 there is no logarithm */
    }
    plot_add(&one, "lonely", 1, 1);
    plot_curves(&curve, &out);
    plot_bars(&bars, groups, 2, &out);
    plot_curves(&one, &out);
    table_row(&t);
    table_put(&t, &out);
    plot_free(&curve);
    plot_free(&bars);
    plot_free(&one);
    table_free(&t);
    return page_close(&out, err);
}

static void figures(void **state)
{
    (void)state;
    assert_int_equal(draw(NULL), KVF_OK);
    char *page = read_page();
    assert_non_null(strstr(page, "a &amp; b"));
    assert_non_null(strstr(page, "5x5 &lt;b&gt;"));
    assert_non_null(strstr(page, "id=\"values\" data-x=\"46 426 1 200\""));
    assert_null(strstr(page, "one point"));
    assert_null(strstr(page, "nan"));
    assert_non_null(strstr(page, "more than 18 are not shown"));
    test_free(page);
}

/* Whichever allocation fails, there is a page or a failure, and never half a page. */
static void memory_refused(void **state)
{
    (void)state;
    kvf_error err;
    for (uint64_t n = 1;; n++) {
        unlink(path);
        kvf_fail_allocations(n);
        kvf_status status = draw(&err);
        kvf_fail_allocations(0);
        if (!status) {
            assert_true(n > 4);
            break;
        }
        assert_int_not_equal(access(path, F_OK), 0);
    }
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/test_report.%ld.html", (long)getpid());
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_escaped),   cmocka_unit_test(table_leaves_out),
        cmocka_unit_test(rows_for_programs), cmocka_unit_test(figures),
        cmocka_unit_test(memory_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
