/* metrics.c - see metrics.h; and metrics as text and JSON.
 *
 * Nothing is allocated: neither by calls that are being measured, nor to sort samples. Numbers are
 * written from integers, since printf asks the program's locale for its decimal point. */
#include "metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void kvf_meter_reset(kvf_meter *m)
{
    m->calls = m->tokens = m->following_tokens = 0;
    m->first_s = m->following_s = m->speedup = 0;
}

void kvf_meter_add(kvf_meter *m, double seconds, uint64_t tokens)
{
    if (m->calls == 0) {
        m->first_s = seconds;
    } else {
        m->samples[(m->calls - 1) % KVF_METER_SAMPLES] = seconds;
        m->following_s += seconds;
        m->following_tokens += tokens;
    }
    m->calls++;
    m->tokens += tokens;
}

/* Tony Hoare's selection: the part of the array that cannot hold the wanted place drops out. */
static double select_nth(double *a, ptrdiff_t n, ptrdiff_t nth)
{
    for (ptrdiff_t low = 0, high = n - 1; low < high;) {
        double pivot = a[low + (high - low) / 2];
        ptrdiff_t i = low, j = high;
        while (i <= j) {
            while (a[i] < pivot) i++;
            while (a[j] > pivot) j--;
            if (i > j) break;
            double swap = a[i];
            a[i++] = a[j];
            a[j--] = swap;
        }
        if (nth > j) low = i; /* between j and i all are equal to the pivot */
        if (nth < i) high = j;
        if (nth > j && nth < i) break;
    }
    return a[nth];
}

double kvf_quantile(double *samples, size_t n, double q)
{
    size_t rank = (size_t)ceil(q * (double)n);
    return select_nth(samples, (ptrdiff_t)n, rank ? (ptrdiff_t)rank - 1 : 0);
}

void kvf_meter_read(const kvf_meter *m, kvf_metrics *out)
{
    out->calls = m->calls;
    out->tokens = m->tokens;
    out->first_s = m->first_s;
    out->speedup = m->speedup;
    out->mean_s = out->p50_s = out->p90_s = out->p99_s = out->tokens_per_s = 0;
    if (m->calls < 2) return;
    uint64_t following = m->calls - 1;
    size_t n = following < KVF_METER_SAMPLES ? (size_t)following : KVF_METER_SAMPLES;
    double sorted[KVF_METER_SAMPLES];
    memcpy(sorted, m->samples, n * sizeof *sorted);
    out->mean_s = m->following_s / (double)following;
    out->p50_s = kvf_quantile(sorted, n, 0.50);
    out->p90_s = kvf_quantile(sorted, n, 0.90);
    out->p99_s = kvf_quantile(sorted, n, 0.99);
    if (m->following_s > 0) out->tokens_per_s = (double)m->following_tokens / m->following_s;
}

/* ---- text and JSON --------------------------------------------------------------------------- */

typedef struct writer {
    char *text;
    size_t size, length;
} writer;

__attribute__((format(printf, 2, 3))) static void write_text(writer *w, const char *fmt, ...)
{
    bool room = w->length < w->size;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(room ? w->text + w->length : NULL, room ? w->size - w->length : 0, fmt, args);
    va_end(args);
    if (n > 0) w->length += (size_t)n;
}

/* A number >= 0 with so many decimals. */
static void write_number(writer *w, double value, int decimals)
{
    uint64_t scale = 1;
    for (int i = 0; i < decimals; i++) scale *= 10;
    double scaled = value * (double)scale + 0.5;
    uint64_t all = scaled > 0 ? scaled < 1.8e19 ? (uint64_t)scaled : UINT64_MAX : 0;
    write_text(w, "%" PRIu64 ".%0*" PRIu64, all / scale, decimals, all % scale);
}

static void write_line(writer *w, const char *name, double value, int decimals, const char *unit)
{
    write_text(w, "%-18s", name);
    write_number(w, value, decimals);
    write_text(w, " %s\n", unit);
}

size_t kvf_metrics_text(const kvf_metrics *m, char *text, size_t size)
{
    const double ms = 1e3, mb = 1. / (1 << 20);
    writer w = {text, size, 0};
    if (size) text[0] = 0;
    write_text(&w, "%-18s%" PRIu64 " in %" PRIu64 " calls\n", "tokens", m->tokens, m->calls);
    write_line(&w, "first call", m->first_s * ms, 3, "ms");
    write_line(&w, "following, mean", m->mean_s * ms, 3, "ms");
    write_line(&w, "following, p50", m->p50_s * ms, 3, "ms");
    write_line(&w, "following, p90", m->p90_s * ms, 3, "ms");
    write_line(&w, "following, p99", m->p99_s * ms, 3, "ms");
    write_line(&w, "following", m->tokens_per_s, 1, "tokens/s");
    if (m->speedup > 0) write_line(&w, "speed-up", m->speedup, 2, "times, over no cache");
    write_line(&w, "cache", (double)m->cache_bytes * mb, 1, "MiB");
    write_line(&w, "weights", (double)m->weight_bytes * mb, 1, "MiB");
    write_line(&w, "process", (double)m->process_bytes * mb, 1, "MiB");
    write_line(&w, "process, at most", (double)m->peak_bytes * mb, 1, "MiB");
    return w.length;
}

size_t kvf_metrics_json(const kvf_metrics *m, char *text, size_t size)
{
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        {"first_s", m->first_s}, {"mean_s", m->mean_s}, {"p50_s", m->p50_s},
        {"p90_s", m->p90_s},     {"p99_s", m->p99_s},   {"tokens_per_s", m->tokens_per_s},
        {"speedup", m->speedup},
    };
    writer w = {text, size, 0};
    if (size) text[0] = 0;
    write_text(&w, "{\"calls\": %" PRIu64 ", \"tokens\": %" PRIu64, m->calls, m->tokens);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        write_text(&w, ", \"%s\": ", numbers[i].name);
        write_number(&w, numbers[i].value, 9);
    }
    write_text(&w, ", \"cache_bytes\": %" PRIu64 ", \"weight_bytes\": %" PRIu64, m->cache_bytes,
               m->weight_bytes);
    write_text(&w, ", \"process_bytes\": %" PRIu64 ", \"peak_bytes\": %" PRIu64 "}",
               m->process_bytes, m->peak_bytes);
    return w.length;
}
