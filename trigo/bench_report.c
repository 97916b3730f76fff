/* bench_report.c - what moves cost, as a page. */
#include "trigo/bench_search.h"

#include <stdio.h>
#include <string.h>

#include "report/page.h"
#include "report/plot.h"
#include "report/table.h"

enum { MAX_GROUPS = 32, GROUP_TEXT = 48 };

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

/* ---- words ----------------------------------------------------------------------------------- */

static void begin_fact(kvf_output *out, const char *name)
{
    kvf_output_print(out, "<dt>%s</dt><dd>", name);
}

static void put_head(kvf_output *out, const json_t *head)
{
    size_t i;
    json_t *item;
    kvf_output_print(out, "<h1>Trigo: a move, searched with and without a cache</h1>\n"
                          "<dl class=\"facts\">\n");
    json_array_foreach(json_object_get(head, "files"), i, item)
    {
        begin_fact(out, i ? "" : "Models");
        page_text(out, text_of(item, "file"));
        kvf_output_print(out, "<br/><code>%s</code></dd>\n", text_of(item, "sha256"));
    }
    json_array_foreach(json_object_get(head, "ways"), i, item)
    {
        begin_fact(out, i ? "" : "Ways");
        kvf_output_print(out, "<b>%s</b>: %s; %s %s, %s, %.0f thread%s", text_of(item, "way"),
                         text_of(item, "line"), text_of(item, "engine"), text_of(item, "version"),
                         text_of(item, "precision"), number_of(item, "threads"),
                         number_of(item, "threads") == 1 ? "" : "s");
        if (*text_of(item, "kernels"))
            kvf_output_print(out, ", kernels %s", text_of(item, "kernels"));
        kvf_output_print(out, "</dd>\n");
    }
    page_fact(out, "Processor", text_of(head, "cpu_model"));
    begin_fact(out, "Measured");
    kvf_output_print(out,
                     "%s, load %.2f; kvfork %s; medians of %.0f, the ways in turn</dd>\n</dl>\n",
                     text_of(head, "date"), number_of(head, "load"), kvf_version(),
                     number_of(head, "repeats"));
}

/* The row of that board, ply and number of simulations with another way. */
static const json_t *same_place(const json_t *rows, const json_t *row, const char *way)
{
    size_t i;
    json_t *other;
    json_array_foreach(
        rows, i,
        other) if (json_equal(json_object_get(other, "board"), json_object_get(row, "board")) &&
                   json_equal(json_object_get(other, "plies"), json_object_get(row, "plies")) &&
                   json_equal(json_object_get(other, "sims"), json_object_get(row, "sims")) &&
                   !strcmp(text_of(other, "way"), way)) return other;
    return NULL;
}

static void say(kvf_output *out, const json_t *rows)
{
    const char *first = text_of(json_array_get(rows, 0), "way");
    const json_t *best = NULL, *logic = NULL;
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (!best || number_of(row, "times") > number_of(best, "times")) best = row;
        if (!logic || number_of(row, "logic") > number_of(logic, "logic")) logic = row;
    }
    kvf_output_print(out, "<ul>\n");
    const json_t *other = same_place(rows, best, first);
    if (other && other != best)
        kvf_output_print(
            out,
            "<li>On %s, plies %s, a move of %.0f simulations takes %.2f ms with %s: "
            "<b>%.0f times</b> less than the %.1f ms of %s. It computes %.1f tokens for a "
            "simulation, and not %.0f.</li>\n",
            text_of(best, "board"), text_of(best, "plies"), number_of(best, "sims"),
            number_of(best, "ms"), text_of(best, "way"), number_of(best, "times"),
            number_of(other, "ms"), first, number_of(best, "tokens"), number_of(other, "tokens"));
    kvf_output_print(
        out,
        "<li>The game and the search themselves take at most %.1f %% of a move "
        "(%s, %s).</li>\n"
        "<li>A figure is for one of six moves in a row, each searched anew; what the cache "
        "has from the moves before stays.</li>\n</ul>\n",
        number_of(logic, "logic"), text_of(logic, "board"), text_of(logic, "way"));
}

/* ---- figures --------------------------------------------------------------------------------- */

/* The places of the rows with so many simulations. */
typedef struct groups {
    char name[MAX_GROUPS][GROUP_TEXT];
    const char *names[MAX_GROUPS];
    size_t n;
} groups;

/* Where a row belongs, a new place if the last one is another; MAX_GROUPS: there is no room. */
static size_t group_of(groups *g, const json_t *row)
{
    char name[GROUP_TEXT];
    snprintf(name, sizeof name, "%s, plies %s", text_of(row, "board"), text_of(row, "plies"));
    if (g->n && !strcmp(name, g->name[g->n - 1])) return g->n - 1;
    if (g->n == MAX_GROUPS) return MAX_GROUPS;
    memcpy(g->name[g->n], name, sizeof name);
    g->names[g->n] = g->name[g->n];
    return g->n++;
}

static void draw(kvf_output *out, const json_t *rows, double sims)
{
    static const struct {
        const char *key, *title, *unit;
    } figures[] = {
        {"ms", "Time for a move", "milliseconds, logarithmic"},
        {"times", "Speed-up", "times faster than the first way, logarithmic"},
        {"tokens", "Tokens computed", "for a simulation, logarithmic"},
    };
    kvf_output_print(out, "<div class=\"plots\">\n");
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++) {
        plot p = {.title = figures[f].title, .y_name = figures[f].unit, .log_y = true};
        groups g = {.n = 0};
        size_t i;
        json_t *row;
        json_array_foreach(rows, i, row)
        {
            if (number_of(row, "sims") != sims) continue;
            size_t group = group_of(&g, row);
            if (group < MAX_GROUPS)
                plot_add(&p, text_of(row, "way"), (double)group, number_of(row, figures[f].key));
        }
        plot_bars(&p, g.names, g.n, out);
        plot_free(&p);
    }
    kvf_output_print(out, "</div>\n");
}

/* Milliseconds of each way in a column, and the best speed-up. */
static void compare(kvf_output *out, const json_t *head, const json_t *rows, double sims)
{
    const json_t *ways = json_object_get(head, "ways");
    size_t n = json_array_size(ways), i;
    table_column columns[TABLE_COLUMNS] = {{"position", true}};
    for (i = 0; i < n && i + 2 < TABLE_COLUMNS; i++)
        columns[i + 1] = (table_column){text_of(json_array_get(ways, i), "way"), false};
    columns[i + 1] = (table_column){"best speed-up", false};
    table t = {.columns = columns, .n_columns = i + 2};
    char(*cell)[TABLE_TEXT] = NULL;
    double best = 0;
    groups g = {.n = 0};
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (number_of(row, "sims") != sims) continue;
        size_t before = g.n, group = group_of(&g, row);
        if (g.n > before) {
            best = 0;
            if (!(cell = table_row(&t))) break;
            snprintf(cell[0], TABLE_TEXT, "%s", g.names[group]);
        }
        for (size_t c = 1; cell && c + 1 < t.n_columns; c++)
            if (!strcmp(columns[c].title, text_of(row, "way")))
                snprintf(cell[c], TABLE_TEXT, "%.2f", number_of(row, "ms"));
        if (!cell || number_of(row, "times") <= best) continue;
        best = number_of(row, "times");
        snprintf(cell[t.n_columns - 1], TABLE_TEXT, "%.1fx", best);
    }
    table_put(&t, out);
    table_free(&t);
}

static void put_all(kvf_output *out, json_t *rows)
{
    table_column columns[TABLE_COLUMNS];
    table t = rows_table(rows, columns);
    kvf_output_print(out, "<h2>All figures</h2>\n");
    table_put(&t, out);
    table_free(&t);
    kvf_output_print(
        out,
        "<p class=\"soft\">times: faster than the first way. tokens, matched (found in the cache), "
        "calls of the evaluator: for a simulation. logic: the game's and the search's own share of "
        "the time, in per cent. cache_bytes: of the tokens that are stored in the end.</p>\n");
}

kvf_status trigo_bench_report(json_t *head, json_t *rows, const char *path, kvf_error *err)
{
    kvf_output out;
    kvf_status status = page_open(&out, path, "Trigo: a move, searched", NULL, err);
    if (status) return status;
    put_head(&out, head);
    say(&out, rows);
    double told[MAX_GROUPS];
    size_t n = 0, i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        double sims = number_of(row, "sims");
        bool known = n == MAX_GROUPS;
        for (size_t k = 0; k < n; k++) known |= told[k] == sims;
        if (known) continue;
        told[n++] = sims;
        kvf_output_print(&out,
                         "<h2>%.0f simulations</h2>\n<p>Milliseconds for a move, in each of the "
                         "ways.</p>\n",
                         sims);
        compare(&out, head, rows, sims);
        draw(&out, rows, sims);
    }
    put_all(&out, rows);
    return page_close(&out, err);
}
