/* html.c - a result as one page: what it says in words, curves, tables. No script, no network; it
 * follows the reader's light or dark setting, a narrow screen and paper. */
#include "bench.h"

#include "output.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{--ink:#1b1f24;--soft:#5a6472;--line:#d8dee6;--page:#fff;--c0:#2166ac;--c1:#c2410c;--c2:#"
    "15803d;"
    "--c3:#7e22ce;--c4:#a16207;--c5:#be185d}\n"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#9aa5b4;--line:#39424e;--page:#"
    "14181d;"
    "--c0:#7cb5f2;--c1:#fb923c;--c2:#4ade80;--c3:#c084fc;--c4:#facc15;--c5:#f472b6}}\n"
    "@media "
    "print{:root{--ink:#000;--soft:#444;--line:#bbb;--page:#fff;--c0:#2166ac;--c1:#c2410c;--c2:#"
    "15803d;"
    "--c3:#7e22ce;--c4:#a16207;--c5:#be185d}figure,tr{break-inside:avoid}}\n"
    "body{margin:0 auto;max-width:64rem;padding:1.5rem 1rem;font:16px/1.5 "
    "system-ui,sans-serif;color:var(--ink);"
    "background:var(--page)}\n"
    "h1{font-size:1.6rem;margin:0 0 .3rem}h2{font-size:1.15rem;margin:2rem 0 .5rem}p{margin:.4rem "
    "0}.soft{color:var(--soft)}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:"
    "1rem}\n"
    "figure{margin:0;border:1px solid "
    "var(--line);border-radius:6px;padding:.8rem}figcaption{font-weight:600}\n"
    "svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:12px "
    "system-ui,sans-serif}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.2rem .9rem;font-size:.85rem}.key "
    "i{display:inline-block;width:.9rem;"
    "height:.25rem;margin-right:.35rem;vertical-align:middle}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:"
    "tabular-nums}\n"
    "th,td{padding:.25rem .6rem;border-bottom:1px solid "
    "var(--line);text-align:right;white-space:nowrap}"
    "th.w,td.w{text-align:left}th{color:var(--soft);font-weight:600}\n"
    "code{font-size:.85em;overflow-wrap:anywhere}\n";

__attribute__((format(printf, 2, 3))) static void put(kvf_output *out, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n > 0) kvf_output_write(out, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}

static void put_text(kvf_output *out, const char *text) /* for HTML */
{
    for (; *text; text++) {
        const char *safe = *text == '<'   ? "&lt;"
                           : *text == '>' ? "&gt;"
                           : *text == '&' ? "&amp;"
                           : *text == '"' ? "&quot;"
                                          : NULL;
        if (safe)
            kvf_output_write(out, safe, strlen(safe));
        else
            kvf_output_write(out, text, 1);
    }
}

/* ---- curves ---------------------------------------------------------------------------------- */

enum { MAX_SERIES = 6, MAX_POINTS = 2048 };

typedef struct series {
    char name[64];
    double x[MAX_POINTS], y[MAX_POINTS];
    size_t n;
} series;

typedef struct plot {
    const char *title, *x_name, *y_name;
    bool log_x, log_y;
    series *s; /* [MAX_SERIES] */
    size_t n;
} plot;

static series *series_of(plot *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->s[i].name, name)) return &p->s[i];
    if (p->n == MAX_SERIES) return NULL;
    series *s = &p->s[p->n++];
    s->n = 0;
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static void add_point(plot *p, const char *name, double x, double y)
{
    series *s = series_of(p, name);
    if (!s || s->n == MAX_POINTS || !isfinite(y) || y <= 0 || x <= 0) return;
    s->x[s->n] = x;
    s->y[s->n++] = y;
}

typedef struct axis {
    double low, high;
    bool log;
} axis;

static double place(const axis *a, double v)
{
    return a->log ? (log(v) - log(a->low)) / (log(a->high) - log(a->low))
                  : (v - a->low) / (a->high - a->low);
}

static axis axis_of(const plot *p, bool vertical)
{
    axis a = {INFINITY, 0, vertical ? p->log_y : p->log_x};
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < p->s[i].n; j++) {
            double v = vertical ? p->s[i].y[j] : p->s[i].x[j];
            a.low = fmin(a.low, v);
            a.high = fmax(a.high, v);
        }
    if (!a.log) {
        a.low = 0;
        a.high *= 1.05;
    } else if (vertical) {
        a.low = pow(10, floor(log10(a.low)));
        a.high = pow(10, ceil(log10(a.high)));
    }
    if (a.high <= a.low) a.high = a.low > 0 ? a.low * 2 : 1;
    return a;
}

/* Round numbers on an axis, some four to six of them. */
static size_t ticks(const axis *a, double *out, size_t most)
{
    size_t n = 0;
    if (a->log) {
        double factor = a->high / a->low > 1000 ? 10 : 2,
               v = factor == 10 ? pow(10, ceil(log10(a->low) - 1e-9)) : a->low;
        while (log(a->high / v) / log(factor) > (double)most) factor *= factor;
        for (; v <= a->high * 1.001 && n < most; v *= factor) out[n++] = v;
        return n;
    }
    double step = pow(10, floor(log10((a->high - a->low) / 4)));
    if ((a->high - a->low) / step > 12)
        step *= 5;
    else if ((a->high - a->low) / step > 6)
        step *= 2;
    for (double v = 0; v <= a->high && n < most; v += step) out[n++] = v;
    return n;
}

static void format_tick(char *out, size_t size, double v)
{
    if (v >= 1e9)
        snprintf(out, size, "%gG", v / 1e9);
    else if (v >= 1e6)
        snprintf(out, size, "%gM", v / 1e6);
    else if (v >= 1e4)
        snprintf(out, size, "%gk", v / 1e3);
    else
        snprintf(out, size, "%.3g", v);
}

enum { W = 480, H = 280, LEFT = 52, RIGHT = 12, TOP = 14, BOTTOM = 40 };
static double px(double share)
{
    return LEFT + share * (W - LEFT - RIGHT);
}
static double py(double share)
{
    return H - BOTTOM - share * (H - TOP - BOTTOM);
}

static void draw_axis(kvf_output *out, const axis *a, bool vertical, const char *name)
{
    double at[10];
    char text[32];
    size_t n = ticks(a, at, 10);
    for (size_t i = 0; i < n; i++) {
        double s = place(a, at[i]);
        format_tick(text, sizeof text, at[i]);
        if (vertical)
            put(out,
                "<path d=\"M%d %.1fH%d\" stroke=\"var(--line)\"/><text x=\"%d\" y=\"%.1f\" "
                "text-anchor=\"end\">%s</text>",
                LEFT, py(s), W - RIGHT, LEFT - 6, py(s) + 4, text);
        else
            put(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", px(s),
                H - BOTTOM + 17, text);
    }
    if (!vertical)
        put(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>", px(0.5), H - 5,
            name);
}

static void draw(kvf_output *out, const plot *p)
{
    size_t points = 0;
    for (size_t i = 0; i < p->n; i++) points += p->s[i].n;
    if (points < 2) return;
    axis x = axis_of(p, false), y = axis_of(p, true);
    put(out,
        "<figure><figcaption>%s</figcaption><div class=\"soft\" "
        "style=\"font-size:.85rem\">%s</div>\n"
        "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">",
        p->title, p->y_name, W, H, p->title);
    draw_axis(out, &y, true, p->y_name);
    draw_axis(out, &x, false, p->x_name);
    for (size_t i = 0; i < p->n; i++) {
        const series *s = &p->s[i];
        put(out,
            "\n<path fill=\"none\" stroke=\"var(--c%zu)\" stroke-width=\"2\" "
            "stroke-linejoin=\"round\" d=\"",
            i);
        for (size_t j = 0; j < s->n; j++)
            put(out, "%c%.1f %.1f", j ? 'L' : 'M', px(place(&x, s->x[j])), py(place(&y, s->y[j])));
        put(out, "\"/>");
        for (size_t j = 0; j < s->n && s->n <= 24; j++)
            put(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"var(--c%zu)\"/>",
                px(place(&x, s->x[j])), py(place(&y, s->y[j])), i);
    }
    put(out, "</svg><div class=\"key\">");
    for (size_t i = 0; i < p->n; i++) {
        put(out, "<span><i style=\"background:var(--c%zu)\"></i>", i);
        put_text(out, p->s[i].name);
        put(out, "</span>");
    }
    put(out, "</div></figure>\n");
}

static void name_of(const bench_row *r, char *out, size_t size, bool mode)
{
    snprintf(out, size, "%s %s%s%s, %u thread%s", r->engine, r->precision, mode ? " " : "",
             mode ? bench_mode_name(r->mode) : "", r->threads, r->threads == 1 ? "" : "s");
}

typedef enum curve { SPEEDUP, LATENCY, MEMORY, THROUGHPUT, STEP, CURVES } curve;

/* What a row adds to a curve. */
static void add_row(plot *p, curve which, const bench_row *r)
{
    char name[64];
    uint32_t length = r->depth + r->prompt + r->generated;
    bool cached = r->mode != BENCH_NOCACHE;
    name_of(r, name, sizeof name, which != SPEEDUP);
    switch (which) {
    case SPEEDUP:
        if (r->mode == BENCH_CACHE && r->speedup > 0 && r->batch == 1)
            add_point(p, name, length, r->speedup);
        break;
    case LATENCY:
        for (size_t i = 0; i < r->n_steps; i++)
            add_point(p, name, r->depth + r->prompt + (double)i + 1, r->steps[i] * 1e3);
        break;
    case MEMORY:
        if (!cached || r->batch != 1) break;
        add_point(p, "by formula", length, (double)r->formula_bytes);
        add_point(p, name, length, (double)r->cache_bytes);
        break;
    case THROUGHPUT:
        if (cached && r->generated && strcmp(r->suite, "fork"))
            add_point(p, name, r->batch, r->batch / r->tpot_p50_s);
        break;
    case STEP:
        if (cached && !strcmp(r->suite, "fork") && r->generated)
            add_point(p, name, r->batch, r->tpot_p50_s * 1e3);
        break;
    case CURVES: break;
    }
}

/* The row that latency over position is read from: the longest chain of each variant. */
static bool longest(const bench_result *result, const bench_row *r)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *o = &result->rows[i];
        bool same = !strcmp(o->engine, r->engine) && o->mode == r->mode &&
                    o->threads == r->threads && o->batch == 1;
        if (same && (o->n_steps > r->n_steps || (o->n_steps == r->n_steps && o < r))) return false;
    }
    return r->batch == 1 && r->n_steps > 4;
}

static int by_x(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

/* In order of x, one point each. */
static void tidy(series *s)
{
    double(*pairs)[2] = malloc((s->n + 1) * sizeof *pairs);
    if (!pairs) return;
    for (size_t i = 0; i < s->n; i++) pairs[i][0] = s->x[i], pairs[i][1] = s->y[i];
    qsort(pairs, s->n, sizeof *pairs, by_x);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        if (n && s->x[n - 1] == pairs[i][0]) continue;
        s->x[n] = pairs[i][0];
        s->y[n++] = pairs[i][1];
    }
    s->n = n;
    free(pairs);
}

static kvf_status draw_all(kvf_output *out, const bench_result *result, kvf_error *err)
{
    static const struct {
        const char *title, *x, *y;
        bool log_x, log_y;
    } text[CURVES] = {{"Speed-up over no cache", "tokens in all",
                       "times faster than the first engine without cache", true, true},
                      {"Latency over position", "position", "milliseconds per token", false, true},
                      {"Cache memory", "tokens", "bytes of K and V", true, true},
                      {"Throughput over batch", "sequences side by side", "tokens per second", true,
                       false},
                      {"Step of many branches", "branches on a prefix of 128",
                       "milliseconds per step", true, true}};
    series *s = calloc(MAX_SERIES, sizeof *s);
    if (!s) return kvf_fail(err, KVF_ERR_NOMEM, "curves of the report");
    put(out, "<div class=\"plots\">\n");
    for (int c = 0; c < CURVES; c++) {
        plot p = {text[c].title, text[c].x, text[c].y, text[c].log_x, text[c].log_y, s, 0};
        for (size_t i = 0; i < result->n_rows; i++)
            if (c != LATENCY || longest(result, &result->rows[i]))
                add_row(&p, (curve)c, &result->rows[i]);
        for (size_t i = 0; i < p.n; i++) tidy(&s[i]);
        draw(out, &p);
    }
    put(out, "</div>\n");
    free(s);
    return KVF_OK;
}

/* ---- words and tables ------------------------------------------------------------------------ */

static void say(kvf_output *out, const bench_result *result)
{
    const bench_row *best = NULL, *fork = NULL;
    double difference = 0;
    uint64_t moved = 0;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (r->mode == BENCH_CACHE && r->speedup > 0 && (!best || r->speedup > best->speedup))
            best = r;
        if (r->mode == BENCH_FORK && (!fork || r->batch > fork->batch)) fork = r;
        if (r->difference > difference) difference = r->difference;
        moved += r->moved_buffers;
    }
    if (best)
        put(out,
            "<p>With its cache, %s %s is up to <b>%.1f times</b> faster than %s without: %.2f "
            "against %.2f ms for %s.</p>\n",
            best->engine, best->precision, best->speedup, result->rows[0].engine,
            best->total_s * 1e3, best->total_s * best->speedup * 1e3, best->test);
    if (fork)
        put(out,
            "<p>A fork takes %.0f ns; one step of %u branches on a shared prefix takes %.3f "
            "ms.</p>\n",
            fork->fork_s * 1e9, fork->batch, fork->tpot_p50_s * 1e3);
    put(out,
        "<p>Logits of all variants agree with the first to %.2g; cache buffers moved %" PRIu64
        " times.</p>\n",
        difference, moved);
    if (result->interrupted)
        put(out, "<p>The run was interrupted; what was not measured is not shown.</p>\n");
}

static void put_cell(kvf_output *out, bool known, const char *fmt, double value)
{
    char text[64] = "";
    if (known) snprintf(text, sizeof text, fmt, value);
    put(out, "<td>%s</td>", text);
}

static void tables(kvf_output *out, const bench_result *result)
{
    static const char *const names[] = {"TTFT ms",  "TPOT ms",   "p90",       "p99",
                                        "tokens/s", "total ms",  "speed-up",  "of limit",
                                        "fork ns",  "K/V bytes", "taken",     "copied/token",
                                        "by graph", "peak MB",   "difference"};
    const char *suite = NULL;
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        bool cached = r->mode != BENCH_NOCACHE;
        if (!suite || strcmp(suite, r->suite)) {
            if (suite) put(out, "</table></div>\n");
            suite = r->suite;
            put(out,
                "<h2>%s</h2>\n<div class=\"wide\"><table><tr><th class=\"w\">test</th><th "
                "class=\"w\">engine</th><th class=\"w\">mode</th><th>threads</th>",
                *suite ? suite : "tests");
            for (size_t n = 0; n < sizeof names / sizeof *names; n++)
                put(out, "<th>%s</th>", names[n]);
            put(out, "</tr>\n");
        }
        put(out,
            "<tr><td class=\"w\">%s</td><td class=\"w\">%s %s</td><td "
            "class=\"w\">%s</td><td>%u</td>",
            r->test, r->engine, r->precision, bench_mode_name(r->mode), r->threads);
        put_cell(out, r->prompt, "%.3f", r->ttft_s * 1e3);
        put_cell(out, r->generated, "%.3f", r->tpot_p50_s * 1e3);
        put_cell(out, r->generated, "%.3f", r->tpot_p90_s * 1e3);
        put_cell(out, r->generated, "%.3f", r->tpot_p99_s * 1e3);
        put_cell(out, true, "%.0f", r->tokens_per_s);
        put_cell(out, true, "%.2f", r->total_s * 1e3);
        put_cell(out, r->speedup > 0, "%.1fx", r->speedup);
        put_cell(out, r->limit_share > 0, "%.0f %%", r->limit_share * 100);
        put_cell(out, r->mode == BENCH_FORK, "%.0f", r->fork_s * 1e9);
        put_cell(out, cached, "%.0f", (double)r->formula_bytes);
        put_cell(out, cached, "%.0f", (double)r->cache_bytes);
        put_cell(out, cached, "%.0f", r->copied_per_token);
        put_cell(out, cached, "%.0f", r->graph_copied_per_token);
        put_cell(out, true, "%.0f", (double)r->peak_bytes / 1e6);
        put_cell(out, r->difference >= 0, "%.1e", r->difference);
        put(out, "</tr>\n");
    }
    if (suite) put(out, "</table></div>\n");
}

kvf_status bench_report(const bench_result *result, const char *path, kvf_error *err)
{
    kvf_output out;
    kvf_status status = kvf_output_open(&out, path, err);
    if (status) return status;
    put(&out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
              "name=\"viewport\" content=\"width=device-width,"
              "initial-scale=1\"><title>kvfork bench: ");
    put_text(&out, result->file);
    put(&out, "</title><style>\n");
    kvf_output_write(&out, style, sizeof style - 1);
    put(&out, "</style></head><body>\n<h1>");
    put_text(&out, result->file);
    put(&out,
        "</h1>\n<p class=\"soft\">%u layers, %u KV heads of %u, hidden %u, vocabulary "
        "%u, %.1f M parameters; ",
        result->layers, result->kv_heads, result->head_dim, result->hidden, result->vocab,
        (double)result->parameters / 1e6);
    put_text(&out, *result->exporter ? result->exporter : "exporter not named");
    put(&out, "<br>");
    put_text(&out, result->cpu_model);
    if (*result->cpu) put(&out, ", kernels %s", result->cpu);
    if (result->bandwidth > 0)
        put(&out, "; reads these weights at %.0f GB/s and multiplies at %.0f Gop/s at most",
            result->bandwidth / 1e9, result->peak / 1e9);
    put(&out, "<br>%s, load %.2f; kvfork %s<br><code>SHA-256 %s</code></p>\n", result->date,
        result->load, kvf_version(), result->sha256);
    say(&out, result);
    status = draw_all(&out, result, err);
    tables(&out, result);
    put(&out, "<p class=\"soft\">Medians of samples taken in turn, in alternating order. TTFT: the "
              "prompt's call; TPOT: a call of one more "
              "token for every sequence. Copied: bytes of K and V that the engine moved; by graph: "
              "computed, what a graph that "
              "concatenates copies. Of limit: what reading weights and cache, or multiplying, "
              "would take at the machine's best.</p>\n"
              "</body></html>\n");
    if (!status) return kvf_output_commit(&out, err);
    kvf_output_abandon(&out);
    return status;
}
