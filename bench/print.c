/* print.c - rows as a table for people, as CSV, and as JSON. */
#include "bench.h"

#include <math.h>
#include <string.h>

static const char *const formats[] = {"md", "csv", "json", "jsonl"};

bool bench_format_known(const char *format)
{
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(format, formats[i])) return true;
    return false;
}

/* ---- programs -------------------------------------------------------------------------------- */

static json_t *number(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *numbers(const double *x, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, number(x[i]));
    return list;
}

static json_t *row_json(const bench_row *r)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "suite",
                          r->suite, "test", r->test, "engine", r->engine, "engine_version",
                          r->version, "precision", r->precision, "device", r->device, "mode",
                          bench_mode_name(r->mode), "threads", (json_int_t)r->threads, "batch",
                          (json_int_t)r->batch, "prompt", (json_int_t)r->prompt, "generated",
                          (json_int_t)r->generated, "depth", (json_int_t)r->depth);
    const struct {
        const char *name;
        double value;
        bool known;
    } reals[] = {{"ttft_s", r->ttft_s, r->prompt},
                 {"tpot_p50_s", r->tpot_p50_s, r->generated},
                 {"tpot_p90_s", r->tpot_p90_s, r->generated},
                 {"tpot_p99_s", r->tpot_p99_s, r->generated},
                 {"total_s", r->total_s, true},
                 {"tokens_per_s", r->tokens_per_s, true},
                 {"speedup", r->speedup, r->speedup > 0},
                 {"limit_share", r->limit_share, r->limit_share > 0},
                 {"fork_s", r->fork_s, r->mode == BENCH_FORK},
                 {"copied_bytes_per_token", r->copied_per_token, true},
                 {"graph_copied_bytes_per_token_computed", r->graph_copied_per_token, true},
                 {"largest_difference", r->difference, r->difference >= 0},
                 {"scatter", r->scatter, true}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        json_object_set_new(o, reals[i].name,
                            reals[i].known ? number(reals[i].value) : json_null());
    json_object_set_new(o, "cache_bytes", json_integer((json_int_t)r->cache_bytes));
    json_object_set_new(o, "formula_bytes", json_integer((json_int_t)r->formula_bytes));
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)r->peak_bytes));
    json_object_set_new(o, "moved_buffers", json_integer((json_int_t)r->moved_buffers));
    json_object_set_new(o, "samples_s", numbers(r->samples, r->n_samples));
    json_object_set_new(o, "steps_s", numbers(r->steps, r->n_steps));
    return o;
}

static json_t *head_json(const bench_result *r)
{
    json_t *model =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "file", r->file,
                  "sha256", r->sha256, "exporter", r->exporter, "layers", (json_int_t)r->layers,
                  "heads", (json_int_t)r->heads, "kv_heads", (json_int_t)r->kv_heads, "head_dim",
                  (json_int_t)r->head_dim, "hidden", (json_int_t)r->hidden, "vocab",
                  (json_int_t)r->vocab, "context", (json_int_t)r->context, "parameters",
                  (json_int_t)r->parameters, "bytes_per_token", (json_int_t)r->bytes_per_token);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:b}", "date", r->date, "cpu_model",
                     r->cpu_model, "cpu", r->cpu, "model", model, "load", number(r->load),
                     "read_bandwidth", r->bandwidth > 0 ? number(r->bandwidth) : json_null(),
                     "peak_operations", r->peak > 0 ? number(r->peak) : json_null(), "interrupted",
                     r->interrupted);
}

static void print_json(const bench_result *result, FILE *to)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < result->n_rows; i++)
        json_array_append_new(rows, row_json(&result->rows[i]));
    json_t *all = json_pack("{s:o, s:o}", "head", head_json(result), "rows", rows);
    json_dumpf(all, to, JSON_INDENT(1));
    fputc('\n', to);
    json_decref(all);
}

/* One object a line, each whole in itself: the head goes into every row. */
static void print_jsonl(const bench_result *result, FILE *to)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        json_t *row = row_json(&result->rows[i]);
        json_object_set_new(row, "head", head_json(result));
        json_dumpf(row, to, JSON_COMPACT);
        fputc('\n', to);
        json_decref(row);
    }
}

/* The scalar members of a JSON row, in its order; names with commas or quotes do not occur. */
static void print_csv(const bench_result *result, FILE *to)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        json_t *row = row_json(&result->rows[i]), *value;
        const char *key, *comma = "";
        if (i == 0) {
            json_object_foreach(row, key, value) if (!json_is_array(value))
                fprintf(to, "%s%s", comma, key),
                comma = ",";
            fputc('\n', to);
            comma = "";
        }
        json_object_foreach(row, key, value)
        {
            if (json_is_array(value)) continue;
            fputs(comma, to);
            comma = ",";
            if (json_is_string(value))
                fputs(json_string_value(value), to);
            else if (json_is_integer(value))
                fprintf(to, "%lld", (long long)json_integer_value(value));
            else if (json_is_real(value))
                fprintf(to, "%.9g", json_real_value(value));
        }
        fputc('\n', to);
        json_decref(row);
    }
}

/* ---- people ---------------------------------------------------------------------------------- */

typedef enum column {
    SUITE,
    TEST,
    ENGINE,
    MODE,
    THREADS,
    TTFT,
    TPOT,
    P99,
    RATE,
    TOTAL,
    SPEEDUP,
    LIMIT,
    FORKING,
    CACHE,
    TAKEN,
    RSS,
    COPIED,
    GRAPH,
    MOVED,
    DIFFERENCE,
    COLUMNS
} column;

static const char *const titles[COLUMNS] = {"suite",        "test",      "engine",   "mode",
                                            "threads",      "TTFT ms",   "TPOT ms",  "p99 ms",
                                            "tokens/s",     "total ms",  "speed-up", "of limit",
                                            "fork ns",      "K/V bytes", "taken",    "peak MB",
                                            "copied/token", "by graph*", "moved",    "difference"};

/* A cell, empty if there is nothing to say. */
static void cell(const bench_row *r, column c, char *out, size_t size)
{
    *out = 0;
    switch (c) {
    case SUITE: snprintf(out, size, "%s", r->suite); break;
    case TEST: snprintf(out, size, "%s", r->test); break;
    case ENGINE: snprintf(out, size, "%s %s", r->engine, r->precision); break;
    case MODE: snprintf(out, size, "%s", bench_mode_name(r->mode)); break;
    case THREADS: snprintf(out, size, "%u", r->threads); break;
    case TTFT:
        if (r->prompt) snprintf(out, size, "%.3f", r->ttft_s * 1e3);
        break;
    case TPOT:
        if (r->generated) snprintf(out, size, "%.3f", r->tpot_p50_s * 1e3);
        break;
    case P99:
        if (r->generated > 9) snprintf(out, size, "%.3f", r->tpot_p99_s * 1e3);
        break;
    case RATE: snprintf(out, size, "%.0f", r->tokens_per_s); break;
    case TOTAL: snprintf(out, size, "%.2f", r->total_s * 1e3); break;
    case SPEEDUP:
        if (r->speedup > 0) snprintf(out, size, "%.1fx", r->speedup);
        break;
    case LIMIT:
        if (r->limit_share > 0) snprintf(out, size, "%.0f %%", r->limit_share * 100);
        break;
    case FORKING:
        if (r->mode == BENCH_FORK) snprintf(out, size, "%.0f", r->fork_s * 1e9);
        break;
    case CACHE:
        if (r->mode != BENCH_NOCACHE)
            snprintf(out, size, "%llu", (unsigned long long)r->formula_bytes);
        break;
    case TAKEN:
        if (r->mode != BENCH_NOCACHE)
            snprintf(out, size, "%llu", (unsigned long long)r->cache_bytes);
        break;
    case RSS: snprintf(out, size, "%.0f", (double)r->peak_bytes / 1e6); break;
    case COPIED:
        if (r->mode != BENCH_NOCACHE) snprintf(out, size, "%.0f", r->copied_per_token);
        break;
    case GRAPH:
        if (r->mode != BENCH_NOCACHE) snprintf(out, size, "%.0f", r->graph_copied_per_token);
        break;
    case MOVED: snprintf(out, size, "%llu", (unsigned long long)r->moved_buffers); break;
    case DIFFERENCE:
        if (r->difference >= 0) snprintf(out, size, "%.1e", r->difference);
        break;
    case COLUMNS: break;
    }
}

/* Columns about memory belong to the suite that asks for them. */
static bool shown(const bench_result *result, column c)
{
    char text[64];
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (c >= CACHE && c <= MOVED && strcmp(r->suite, "memory")) continue;
        cell(r, c, text, sizeof text);
        if (*text) return true;
    }
    return false;
}

static void print_md(const bench_result *result, FILE *to)
{
    size_t width[COLUMNS] = {0};
    char text[64];
    for (int c = 0; c < COLUMNS; c++) {
        if (!shown(result, (column)c)) continue;
        width[c] = strlen(titles[c]);
        for (size_t i = 0; i < result->n_rows; i++) {
            cell(&result->rows[i], (column)c, text, sizeof text);
            if (strlen(text) > width[c]) width[c] = strlen(text);
        }
    }
    fprintf(to, "%s, %u layers, hidden %u; %s%s%s; %s; load %.2f\n\n", result->file, result->layers,
            result->hidden, result->cpu_model, *result->cpu ? ", " : "", result->cpu, result->date,
            result->load);
    for (size_t line = 0; line < result->n_rows + 2; line++) {
        for (int c = 0; c < COLUMNS; c++) {
            if (!width[c]) continue;
            bool words = c <= MODE;
            *text = 0;
            if (line == 0)
                snprintf(text, sizeof text, "%s", titles[c]);
            else if (line > 1)
                cell(&result->rows[line - 2], (column)c, text, sizeof text);
            if (line == 1)
                fprintf(to, "|%s%.*s%s", words ? ":" : "-", (int)width[c],
                        "----------------------------------------------------------------",
                        words ? "-" : ":");
            else
                fprintf(to, words ? "| %-*s " : "| %*s ", (int)width[c], text);
        }
        fputs("|\n", to);
    }
    if (width[GRAPH])
        fputs("\n* computed: what a graph that concatenates past and new rows copies.\n", to);
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (r->scatter > 0.3)
            fprintf(to, "warning: samples of %s, %s %s scatter by %.0f %% of their median\n",
                    r->test, r->engine, bench_mode_name(r->mode), r->scatter * 100);
    }
    if (result->interrupted) fputs("interrupted: what was not measured is not shown\n", to);
}

void bench_print(const bench_result *result, const char *format, FILE *to)
{
    static void (*const print[])(const bench_result *, FILE *) = {print_md, print_csv, print_json,
                                                                  print_jsonl};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (!strcmp(format, formats[i])) print[i](result, to);
}
