/* print.c - rows as a table for people and as JSON for programs. */
#include "bench.h"

#include <math.h>
#include <string.h>

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
    json_t *o =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "suite",
                  r->suite, "test", r->test, "engine", r->engine, "engine_version", r->version,
                  "precision", r->precision, "device", r->device, "device_name", r->device_name,
                  "mode", bench_mode_name(r->mode), "threads", (json_int_t)r->threads, "batch",
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
                 {"read_bandwidth", r->read_bandwidth, r->read_bandwidth > 0},
                 {"peak_operations", r->peak_operations, r->peak_operations > 0},
                 {"limit_share", r->limit_share, r->limit_share > 0},
                 {"fork_s", r->fork_s, r->mode == BENCH_FORK},
                 {"copied_bytes_per_token", r->copied_per_token, true},
                 {"graph_copied_bytes_per_token_computed", r->graph_copied_per_token, true},
                 {"sent_bytes_per_token", r->sent_per_token, true},
                 {"received_bytes_per_token", r->received_per_token, true},
                 {"largest_difference", r->difference, r->difference >= 0},
                 {"scatter", r->scatter, true}};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        json_object_set_new(o, reals[i].name,
                            reals[i].known ? number(reals[i].value) : json_null());
    json_object_set_new(o, "cache_bytes", json_integer((json_int_t)r->cache_bytes));
    json_object_set_new(o, "formula_bytes", json_integer((json_int_t)r->formula_bytes));
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)r->peak_bytes));
    json_object_set_new(o, "device_bytes", json_integer((json_int_t)r->device_bytes));
    json_object_set_new(o, "moved_buffers", json_integer((json_int_t)r->moved_buffers));
    json_object_set_new(o, "samples_s", numbers(r->samples, r->n_samples));
    json_object_set_new(o, "steps_s", numbers(r->steps, r->n_steps));
    return o;
}

static json_t *head_json(const bench_result *r)
{
    json_t *model =
        json_pack("{s:s, s:s, s:s}", "file", r->file, "sha256", r->sha256, "exporter", r->exporter);
    const struct {
        const char *name;
        uint64_t value;
    } figures[] = {{"layers", r->layers},
                   {"heads", r->heads},
                   {"kv_heads", r->kv_heads},
                   {"head_dim", r->head_dim},
                   {"hidden", r->hidden},
                   {"vocab", r->vocab},
                   {"context", r->context},
                   {"parameters", r->parameters},
                   {"bytes_per_token", r->bytes_per_token}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        if (figures[i].value)
            json_object_set_new(model, figures[i].name, json_integer((json_int_t)figures[i].value));
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:b}", "date", r->machine.date, "cpu_model",
                     r->machine.cpu_model, "cpu", r->cpu, "model", model, "load",
                     number(r->machine.load), "interrupted", r->interrupted);
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
    P90,
    P99,
    RATE,
    TOTAL,
    SCATTER,
    SPEEDUP,
    LIMIT,
    FORKING,
    DIFFERENCE,
    CACHE,
    TAKEN,
    COPIED,
    GRAPH,
    SENT,
    RECEIVED,
    MOVED,
    RSS,
    DEVICE,
    COLUMNS
} column;

static const table_column columns[COLUMNS] = {
    [SUITE] = {"suite", true},
    [TEST] = {"test", true},
    [ENGINE] = {"engine", true},
    [MODE] = {"mode", true},
    [THREADS] = {"threads", false},
    [TTFT] = {"TTFT ms", false},
    [TPOT] = {"TPOT ms", false},
    [P90] = {"p90", false},
    [P99] = {"p99", false},
    [RATE] = {"tokens/s", false},
    [TOTAL] = {"total ms", false},
    [SCATTER] = {"scatter", false},
    [SPEEDUP] = {"speed-up", false},
    [LIMIT] = {"of limit", false},
    [FORKING] = {"fork ns", false},
    [DIFFERENCE] = {"difference", false},
    [CACHE] = {"K/V bytes", false},
    [TAKEN] = {"taken", false},
    [COPIED] = {"copied/token", false},
    [GRAPH] = {"by graph*", false},
    [SENT] = {"sent/token", false},
    [RECEIVED] = {"received/token", false},
    [MOVED] = {"moved", false},
    [RSS] = {"peak MB", false},
    [DEVICE] = {"device MB", false},
};

static void put(char *cell, bool known, const char *fmt, double value)
{
    if (known) snprintf(cell, TABLE_TEXT, fmt, value);
}

static void fill_row(char (*cell)[TABLE_TEXT], const bench_row *r)
{
    snprintf(cell[TEST], TABLE_TEXT, "%s", r->test);
    snprintf(cell[ENGINE], TABLE_TEXT, "%s %s", r->engine, r->precision);
    snprintf(cell[MODE], TABLE_TEXT, "%s", bench_mode_name(r->mode));
    put(cell[THREADS], true, "%.0f", r->threads);
    put(cell[TTFT], r->prompt, "%.3f", r->ttft_s * 1e3);
    put(cell[TPOT], r->generated, "%.3f", r->tpot_p50_s * 1e3);
    put(cell[P90], r->generated > 9, "%.3f", r->tpot_p90_s * 1e3);
    put(cell[P99], r->generated > 9, "%.3f", r->tpot_p99_s * 1e3);
    put(cell[RATE], true, "%.0f", r->tokens_per_s);
    put(cell[TOTAL], true, "%.2f", r->total_s * 1e3);
    put(cell[SCATTER], r->n_samples > 1, "%.0f %%", r->scatter * 100);
    put(cell[SPEEDUP], r->speedup > 0, "%.1fx", r->speedup);
    put(cell[LIMIT], r->limit_share > 0, "%.0f %%", r->limit_share * 100);
    put(cell[FORKING], r->mode == BENCH_FORK, "%.0f", r->fork_s * 1e9);
    put(cell[DIFFERENCE], r->difference >= 0, "%.1e", r->difference);
}

static void fill_memory(char (*cell)[TABLE_TEXT], const bench_row *r)
{
    bool cached = r->mode != BENCH_NOCACHE;
    put(cell[CACHE], cached, "%.0f", (double)r->formula_bytes);
    put(cell[TAKEN], cached, "%.0f", (double)r->cache_bytes);
    put(cell[COPIED], cached, "%.0f", r->copied_per_token);
    put(cell[GRAPH], cached, "%.0f", r->graph_copied_per_token);
    put(cell[SENT], strcmp(r->device, "cpu"), "%.0f", r->sent_per_token);
    put(cell[RECEIVED], strcmp(r->device, "cpu"), "%.0f", r->received_per_token);
    put(cell[MOVED], cached, "%.0f", (double)r->moved_buffers);
    put(cell[RSS], true, "%.0f", (double)r->peak_bytes / 1e6);
    put(cell[DEVICE], r->device_bytes, "%.0f", (double)r->device_bytes / 1e6);
}

table bench_table(const bench_result *result, const char *suite, bool memory)
{
    table t = {.columns = columns, .n_columns = COLUMNS};
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (suite && strcmp(r->suite, suite)) continue;
        char(*cell)[TABLE_TEXT] = table_row(&t);
        if (!cell) break;
        if (!suite) snprintf(cell[SUITE], TABLE_TEXT, "%s", r->suite);
        fill_row(cell, r);
        if (memory) fill_memory(cell, r);
    }
    return t;
}

void bench_model_text(const bench_result *r, char text[BENCH_MODEL_TEXT])
{
    const struct {
        const char *format;
        uint32_t value, more;
    } parts[] = {{"%u layers", r->layers, 0},
                 {"%u heads", r->heads, 0},
                 {"%u KV heads of %u", r->head_dim ? r->kv_heads : 0, r->head_dim},
                 {"hidden %u", r->hidden, 0},
                 {"vocabulary %u", r->vocab, 0}};
    const size_t size = BENCH_MODEL_TEXT;
    size_t n = 0; /* never more than half of that */
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!parts[i].value) continue;
        n += (size_t)snprintf(text + n, size - n, "%s", n ? ", " : "");
        n += (size_t)snprintf(text + n, size - n, parts[i].format, parts[i].value, parts[i].more);
    }
    snprintf(text + n, size - n, ", %.1f M parameters", (double)r->parameters / 1e6);
}

static void print_md(const bench_result *result, FILE *to)
{
    const machine *m = &result->machine;
    bool memory = false;
    char model[BENCH_MODEL_TEXT];
    bench_model_text(result, model);
    fprintf(to, "%s: %s; %s%s%s; %s; load %.2f\n\n", result->file, model, m->cpu_model,
            *result->cpu ? ", " : "", result->cpu, m->date, m->load);
    for (size_t i = 0; i < result->n_rows; i++) memory |= !strcmp(result->rows[i].suite, "memory");
    table t = bench_table(result, NULL, memory);
    table_print(&t, to);
    table_free(&t);
    if (memory)
        fputs("\n* computed: what a graph that concatenates past and new rows copies.\n", to);
    for (size_t i = 0; i < result->n_rows; i++) {
        const bench_row *r = &result->rows[i];
        if (r->scatter > BENCH_SCATTER)
            fprintf(to, "warning: samples of %s, %s %s scatter by %.0f %% of their median\n",
                    r->test, r->engine, bench_mode_name(r->mode), r->scatter * 100);
    }
    if (result->interrupted) fputs("interrupted: what was not measured is not shown\n", to);
}

void bench_print(const bench_result *result, const char *format, FILE *to)
{
    if (!strcmp(format, "md")) {
        print_md(result, to);
        return;
    }
    json_t *head = head_json(result), *rows = json_array();
    for (size_t i = 0; i < result->n_rows; i++)
        json_array_append_new(rows, row_json(&result->rows[i]));
    rows_print(format, head, rows, to);
    json_decref(rows);
    json_decref(head);
}
