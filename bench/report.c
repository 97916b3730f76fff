/* report.c - a result as one page: what it says in words; for each suite its engines side by side
 * and its curves; at the end all figures. */
#include "bench.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report/page.h"
#include "report/plot.h"

/* ---- suites ---------------------------------------------------------------------------------- */

typedef struct suite {
    const char *name, *title, *words;
    double (*figure)(const bench_row *r); /* that engines are compared by; 0: none */
    const char *format;
} suite;

static double total_ms(const bench_row *r)
{
    return r->total_s * 1e3;
}

static double step_ms(const bench_row *r)
{
    return r->generated ? r->tpot_p50_s * 1e3 : r->ttft_s * 1e3;
}

static double tokens_per_s(const bench_row *r)
{
    return r->tokens_per_s;
}

static double peak_mb(const bench_row *r)
{
    return (double)r->cache_bytes / 1e6;
}

static const suite suites[] = {
    {"headline", "Time to generate", "Milliseconds for so many tokens, from a prompt of one.",
     total_ms, "%.1f"},
    {"grid", "Lengths and batches",
     "Tokens per second of all sequences together: a prompt (pp) and the tokens behind it (tg), so "
     "many side by side (x).",
     tokens_per_s, "%.0f"},
    {"scaling", "Over length, over batch",
     "Milliseconds for the next token of every sequence, behind so many tokens that are there (d).",
     step_ms, "%.3f"},
    {"memory", "Memory", "Megabytes of K and V that were taken.", peak_mb, "%.2f"},
    {"fork", "Many branches of one prefix",
     "Milliseconds for a step of all branches (x) on a prefix (d): read once and forked, or, in "
     "mode cache, "
     "by sequences that each have their own copy.",
     step_ms, "%.3f"},
    {"", "Tests",
     "Tokens per second: prompts (pp), generated tokens (tg), behind tokens that are there (d), so "
     "many sequences side by side (x).",
     tokens_per_s, "%.0f"},
};
enum { SUITES = sizeof suites / sizeof *suites };

static bool has_rows(const bench_result *result, const char *name)
{
    for (size_t i = 0; i < result->n_rows; i++)
        if (!strcmp(result->rows[i].suite, name)) return true;
    return false;
}

/* Threads of all rows, or 0: they differ. */
static uint32_t same_threads(const bench_result *result)
{
    for (size_t i = 1; i < result->n_rows; i++)
        if (result->rows[i].threads != result->rows[0].threads) return 0;
    return result->n_rows ? result->rows[0].threads : 0;
}

/* Who did a row. */
static void name_of(const bench_result *result, const bench_row *r, char out[TABLE_TEXT])
{
    static const char *const modes[BENCH_MODES] = {"without cache", "with cache", "forked"};
    int n = snprintf(out, TABLE_TEXT, "%s %s %s", r->engine, r->precision, modes[r->mode]);
    if (!same_threads(result))
        snprintf(out + n, TABLE_TEXT - (size_t)n, ", %u thread%s", r->threads,
                 r->threads == 1 ? "" : "s");
}

/* ---- engines side by side -------------------------------------------------------------------- */

enum { MAX_SIDES = TABLE_COLUMNS - 2 };

typedef struct sides {
    char name[MAX_SIDES][TABLE_TEXT];
    size_t n;
} sides;

/* The column of a row's variant; a new one the first time, MAX_SIDES if there is no room. */
static size_t side_of(sides *s, const bench_result *result, const bench_row *r)
{
    char name[TABLE_TEXT];
    name_of(result, r, name);
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->name[i], name)) return i;
    if (s->n < MAX_SIDES) memcpy(s->name[s->n++], name, sizeof name);
    return s->n - 1;
}

/* One line for each test, one column for each variant. */
static void compare(kvf_output *out, const bench_result *result, const suite *what)
{
    sides s = {.n = 0};
    for (size_t i = 0; i < result->n_rows; i++)
        if (!strcmp(result->rows[i].suite, what->name)) side_of(&s, result, &result->rows[i]);
    table_column columns[TABLE_COLUMNS] = {{"test", true}};
    for (size_t i = 0; i < s.n; i++) columns[i + 1] = (table_column){s.name[i], false};
    columns[s.n + 1] = (table_column){"best speed-up", false};
    table t = {.columns = columns, .n_columns = s.n + 2};
    char(*cell)[TABLE_TEXT] = NULL;
    double best = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (strcmp(r->suite, what->name)) continue;
        if (!cell || strcmp(cell[0], r->test)) {
            if (!(cell = table_row(&t))) break;
            snprintf(cell[0], TABLE_TEXT, "%s", r->test);
            best = 0;
        }
        if (what->figure(r) > 0)
            snprintf(cell[side_of(&s, result, r) + 1], TABLE_TEXT, what->format, what->figure(r));
        if (r->speedup <= best) continue;
        best = r->speedup;
        snprintf(cell[s.n + 1], TABLE_TEXT, "%.1fx", best);
    }
    table_put(&t, out);
    table_free(&t);
}

/* ---- curves ---------------------------------------------------------------------------------- */

typedef enum curve { SPEEDUP, LATENCY, STEP, THROUGHPUT, MEMORY, LIMIT, CURVES } curve;

/* Whether other rows of the suite differ from this one in their batch alone. */
static bool has_batches(const bench_result *result, const bench_row *r)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *o = &result->rows[i];
        if (!strcmp(o->suite, r->suite) && o->depth == r->depth && o->prompt == r->prompt &&
            o->generated == r->generated && o->batch != r->batch)
            return true;
    }
    return false;
}

/* Whether latency over position is read from this row: the longest chain of its variant. */
static bool longest(const bench_result *result, const bench_row *r)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *o = &result->rows[i];
        bool same = !strcmp(o->suite, r->suite) && !strcmp(o->engine, r->engine) &&
                    o->mode == r->mode && o->threads == r->threads && o->batch == 1;
        if (same && (o->n_steps > r->n_steps || (o->n_steps == r->n_steps && o < r))) return false;
    }
    return r->batch == 1 && r->n_steps >= 32;
}

/* What a row adds to a curve. */
static void add_row(plot *p, curve which, const bench_result *result, const bench_row *r)
{
    char name[TABLE_TEXT];
    uint32_t length = r->depth + r->prompt + r->generated;
    bool cached = r->mode != BENCH_NOCACHE, one = r->batch == 1 && !has_batches(result, r);
    name_of(result, r, name);
    switch (which) {
    case SPEEDUP:
        if (cached && one && r->speedup > 0) plot_add(p, name, length, r->speedup);
        break;
    case LATENCY:
        for (size_t i = 0; i < r->n_steps && longest(result, r); i++)
            plot_add(p, name, r->depth + r->prompt + (double)i + 1, r->steps[i] * 1e3);
        break;
    case STEP:
        if (!strcmp(r->suite, "fork") && r->generated)
            plot_add(p, name, r->batch, r->tpot_p50_s * 1e3);
        if (!strcmp(r->suite, "scaling") && one) plot_add(p, name, length, r->tpot_p50_s * 1e3);
        break;
    case THROUGHPUT:
        if (!r->generated || !has_batches(result, r)) break;
        if (!strcmp(r->suite, "grid"))
            snprintf(name, sizeof name, "%s, %u tokens", r->engine, length);
        plot_add(p, name, r->batch, r->batch / r->tpot_p50_s);
        break;
    case MEMORY:
        if (!cached || !one) break;
        plot_add(p, "by formula", length, (double)r->formula_bytes);
        plot_add(p, name, length, (double)r->cache_bytes);
        break;
    case LIMIT:
        if (one && r->generated && r->limit_share > 0)
            plot_add(p, name, length, r->limit_share * 100);
        break;
    case CURVES: break;
    }
}

/* What is copied to add a token, beside what a graph that concatenates would copy. */
static void draw_copies(kvf_output *out, const bench_result *result)
{
    plot p = {.title = "Copied for each token", .y_name = "bytes of K and V"};
    const char *tests[TABLE_COLUMNS];
    size_t n = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        char name[PLOT_NAME];
        if (strcmp(r->suite, "memory") || r->mode == BENCH_NOCACHE) continue;
        if (!n || strcmp(tests[n - 1], r->test)) {
            if (n == TABLE_COLUMNS) break;
            tests[n++] = r->test;
        }
        snprintf(name, sizeof name, "%s %s", r->engine, r->precision);
        plot_add(&p, name, (double)n - 1, r->copied_per_token);
        snprintf(name, sizeof name, "graph of %s (computed)", r->engine);
        if (r->graph_copied_per_token > 0)
            plot_add(&p, name, (double)n - 1, r->graph_copied_per_token);
    }
    plot_bars(&p, tests, n, out);
    plot_free(&p);
}

static void draw(kvf_output *out, const bench_result *result, const char *name)
{
    static const struct {
        const char *title, *x, *y;
        bool log_x, log_y;
        double high;
    } text[CURVES] = {
        [SPEEDUP] = {"Speed-up over no cache", "tokens in all",
                     "times faster than the first engine without cache", true, true, 0},
        [LATENCY] = {"Latency over position", "position", "milliseconds per token", false, true, 0},
        [STEP] = {"Next token over length", "tokens in all", "milliseconds per token", true, true,
                  0},
        [THROUGHPUT] = {"Throughput over batch", "sequences side by side", "tokens per second",
                        true, false, 0},
        [MEMORY] = {"Memory over length", "tokens in all", "bytes of K and V", true, true, 0},
        [LIMIT] = {"Share of the machine's limit", "tokens in all",
                   "per cent of what reading and multiplying allow", true, false, 100},
    };
    bool fork = !strcmp(name, "fork");
    kvf_output_print(out, "<div class=\"plots\">\n");
    for (int c = 0; c < CURVES; c++) {
        plot p = {.title = text[c].title,
                  .x_name = text[c].x,
                  .y_name = text[c].y,
                  .log_x = text[c].log_x,
                  .log_y = text[c].log_y,
                  .high = text[c].high};
        if (c == STEP && fork) {
            p.title = "A step of many branches";
            p.x_name = "branches on a prefix of 128";
            p.y_name = "milliseconds per step";
        }
        for (size_t i = 0; i < 2 * result->n_rows; i++) { /* first all names, then all points */
            const bench_row *r = &result->rows[i % result->n_rows];
            char series[TABLE_TEXT];
            if (strcmp(r->suite, name)) continue;
            name_of(result, r, series);
            if (i >= result->n_rows)
                add_row(&p, (curve)c, result, r);
            else if (c != THROUGHPUT || strcmp(name, "grid"))
                plot_name(&p, series);
        }
        plot_curves(&p, out);
        plot_free(&p);
    }
    if (!strcmp(name, "memory")) draw_copies(out, result);
    kvf_output_print(out, "</div>\n");
}

/* ---- words ----------------------------------------------------------------------------------- */

/* Engines with their versions, each once. */
static void put_engines(kvf_output *out, const bench_result *result)
{
    kvf_output_print(out, "<dt>Engines</dt><dd>");
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        bool told = false;
        for (size_t j = 0; j < i; j++) told |= !strcmp(result->rows[j].engine, r->engine);
        if (told) continue;
        kvf_output_print(out, "%s%s %s on %s", i ? "; " : "", r->engine, r->version, r->device);
        if (*r->device_name) {
            kvf_output_print(out, ", ");
            page_text(out, r->device_name);
        }
    }
    kvf_output_print(out, "</dd>\n");
}

/* What each engine's machine could do, each once. */
static void put_limits(kvf_output *out, const bench_result *result)
{
    bool any = false;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        bool told = r->read_bandwidth <= 0;
        for (size_t j = 0; j < i && !told; j++)
            told = result->rows[j].read_bandwidth == r->read_bandwidth &&
                   result->rows[j].peak_operations == r->peak_operations;
        if (told) continue;
        kvf_output_print(out, "%s%s %s on %s", any ? "; " : "<dt>Limits</dt><dd>", r->engine,
                         r->precision, r->device);
        if (!strcmp(r->device, "cpu")) kvf_output_print(out, " with %u threads", r->threads);
        kvf_output_print(out,
                         " reads its weights at %.0f GB/s and multiplies at %.0f Gop/s at most",
                         r->read_bandwidth / 1e9, r->peak_operations / 1e9);
        any = true;
    }
    if (any) kvf_output_print(out, "</dd>\n");
}

static void put_head(kvf_output *out, const bench_result *r)
{
    char text[512];
    kvf_output_print(out, "<h1>kvfork bench: ");
    page_text(out, r->file);
    kvf_output_print(out, "</h1>\n<dl class=\"facts\">\n");
    char model[BENCH_MODEL_TEXT];
    bench_model_text(r, model);
    snprintf(text, sizeof text, "%s; %s%s", model, *r->exporter ? "written by " : "",
             *r->exporter ? r->exporter : "exporter not named");
    page_fact(out, "Model", text);
    kvf_output_print(out, "<dt>SHA-256</dt><dd><code>%s</code></dd>\n", r->sha256);
    snprintf(text, sizeof text, "%s%s%s", r->machine.cpu_model, *r->cpu ? ", kernels " : "",
             r->cpu);
    page_fact(out, "Processor", text);
    put_limits(out, r);
    put_engines(out, r);
    snprintf(text, sizeof text, "%u", same_threads(r));
    page_fact(out, "Threads", same_threads(r) ? text : "as the rows say");
    snprintf(text, sizeof text, "%s, load %.2f; kvfork %s", r->machine.date, r->machine.load,
             kvf_version());
    page_fact(out, "Measured", text);
    kvf_output_print(out, "</dl>\n");
}

static void say_best(kvf_output *out, const bench_result *result)
{
    const bench_row *best = NULL, *fork = NULL, *near = NULL;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (r->mode == BENCH_CACHE && r->speedup > 0 && (!best || r->speedup > best->speedup))
            best = r;
        if (r->mode == BENCH_FORK &&
            (!fork || r->batch > fork->batch ||
             (r->batch == fork->batch && r->tpot_p50_s < fork->tpot_p50_s)))
            fork = r;
        if (r->limit_share > 0 && (!near || r->limit_share > near->limit_share)) near = r;
    }
    if (best)
        kvf_output_print(out,
                         "<li>With its cache, %s %s is up to <b>%.1f times</b> faster than %s "
                         "without: %.2f against %.2f ms for %s.</li>\n",
                         best->engine, best->precision, best->speedup, result->rows[0].engine,
                         best->total_s * 1e3, best->total_s * best->speedup * 1e3, best->test);
    if (fork)
        kvf_output_print(
            out,
            "<li>A fork takes <b>%.0f ns</b>; with %s, one step of %u branches on a shared "
            "prefix takes %.3f ms.</li>\n",
            fork->fork_s * 1e9, fork->engine, fork->batch, fork->tpot_p50_s * 1e3);
    if (near)
        kvf_output_print(out,
                         "<li>%s %s reaches up to <b>%.0f %%</b> of what this machine's memory and "
                         "multipliers allow (%s).</li>\n",
                         near->engine, near->precision, near->limit_share * 100, near->test);
}

static void say(kvf_output *out, const bench_result *result)
{
    double difference = 0;
    uint64_t moved = 0;
    size_t scattered = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (r->difference > difference) difference = r->difference;
        moved += r->moved_buffers;
        scattered += r->scatter > BENCH_SCATTER;
    }
    kvf_output_print(out, "<ul>\n");
    say_best(out, result);
    kvf_output_print(
        out,
        "<li>Logits of all variants agree with the first to %.2g; buffers of the cache "
        "moved %" PRIu64 " times.</li>\n",
        difference, moved);
    if (scattered)
        kvf_output_print(out,
                         "<li>Samples of %zu of %zu figures scatter by more than %.0f %% of their "
                         "median: the machine had other work.</li>\n",
                         scattered, result->n_rows, BENCH_SCATTER * 100);
    if (result->interrupted)
        kvf_output_print(out,
                         "<li>The run was interrupted; what was not measured is not shown.</li>\n");
    kvf_output_print(out, "</ul>\n");
}

static void put_figures(kvf_output *out, const bench_result *result)
{
    kvf_output_print(out, "<h2>All figures</h2>\n");
    for (size_t s = 0; s < SUITES; s++) {
        if (!has_rows(result, suites[s].name)) continue;
        kvf_output_print(out, "<h3>%s</h3>\n", suites[s].title);
        table t = bench_table(result, suites[s].name, true);
        table_put(&t, out);
        table_free(&t);
    }
    kvf_output_print(
        out,
        "<p class=\"soft\">Medians of samples taken in turn, in alternating order; scatter: from "
        "the tenth to the ninetieth of a hundred samples, over their median. TTFT: the prompt's "
        "call; TPOT: a "
        "call of one more token for every sequence. Of limit: what reading weights and cache, or "
        "multiplying, would take at the machine's best. K/V bytes: by formula; copied: bytes of K "
        "and V for each "
        "token that the engine copied. * computed: what a graph that concatenates past and new "
        "rows "
        "copies.</p>\n");
}

kvf_status bench_report(const bench_result *result, const char *path, kvf_error *err)
{
    kvf_output out;
    char title[300];
    snprintf(title, sizeof title, "kvfork bench: %s", result->file);
    kvf_status status = page_open(&out, path, title, NULL, err);
    if (status) return status;
    put_head(&out, result);
    say(&out, result);
    for (size_t s = 0; s < SUITES; s++) {
        if (!has_rows(result, suites[s].name)) continue;
        kvf_output_print(&out, "<h2>%s</h2>\n<p>%s</p>\n", suites[s].title, suites[s].words);
        compare(&out, result, &suites[s]);
        draw(&out, result, suites[s].name);
    }
    put_figures(&out, result);
    return page_close(&out, err);
}
