/* run.c - running cases by all variants in turn. */
#include "bench.h"

#include "base.h"
#include "model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *bench_mode_name(bench_mode mode)
{
    static const char *const names[BENCH_MODES] = {"nocache", "cache", "fork"};
    return names[mode];
}

/* An engine with a number of threads, and what this machine could do for it. */
typedef struct bench_engine {
    kvf_model *model;
    const kvf_model_info *info;
    kvf_peak peak;
} bench_engine;

typedef struct variant {
    const bench_engine *engine;
    bench_mode mode;
    bool first_engine; /* with any number of threads */
} variant;

typedef struct bench {
    const bench_options *o;
    bench_result *result;
    bench_engine engines[BENCH_MAX * BENCH_MAX];
    size_t n_engines;
    double *steps;          /* [most generated tokens] of the run under way */
    float *logits;          /* [most sequences][vocab] of the last call */
    float *reference[2];    /* the same of the first variant, and of the first in fork mode, whose
                               tokens are its own */
    uint64_t done, planned; /* runs, for progress */
} bench;

static bool stopped(const bench *b)
{
    return b->o->stop && *b->o->stop;
}

/* ---- one run --------------------------------------------------------------------------------- */

typedef struct run {
    kvf_tree *tree;
    const bench_case *c;
    bench_mode mode;
    uint32_t vocab;
    kvf_entry *entries; /* [batch * longest call] */
    kvf_node *nodes;    /* the same */
    kvf_node *ends;     /* [batch] where each sequence is, held */
} run;

/* Sequences differ from their first token on; in fork mode only behind the prefix. */
static int32_t token_of(const run *r, uint32_t sequence, uint32_t position)
{
    bool shared = r->mode == BENCH_FORK && position < r->c->depth;
    uint64_t x =
        (shared ? 0 : sequence + 1) * 0x9e3779b97f4a7c15u + position * 0xd1342543de82ef95u + 1;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return (int32_t)((x >> 32) % r->vocab);
}

/* Append n tokens to `sequences` sequences from a position on, in one call. */
static kvf_status append(run *r, uint32_t sequences, uint32_t position, uint32_t n, float *logits,
                         double *seconds, kvf_error *err)
{
    size_t k = 0;
    for (uint32_t s = 0; s < sequences; s++)
        for (uint32_t i = 0; i < n; i++, k++)
            r->entries[k] = (kvf_entry){.token = token_of(r, s, position + i),
                                        .after = i ? (int32_t)k - 1 : -1,
                                        .parent = r->ends[s],
                                        .want = logits && i + 1 == n ? KVF_WANT(KVF_LOGITS) : 0};
    kvf_outputs out = {{[KVF_LOGITS] = logits}};
    double start = kvf_now();
    kvf_status status = kvf_eval(r->tree, r->entries, k, r->nodes, &out, err);
    if (seconds) *seconds = kvf_now() - start;
    for (uint32_t s = 0; !status && s < sequences; s++) {
        status = kvf_hold(r->tree, r->nodes[(size_t)s * n + n - 1], err);
        if (!status) status = kvf_release(r->tree, r->ends[s], err);
        r->ends[s] = r->nodes[(size_t)s * n + n - 1];
    }
    return status;
}

static kvf_status prefix(run *r, kvf_error *err)
{
    if (!r->c->depth) return KVF_OK;
    bool shared = r->mode == BENCH_FORK;
    kvf_status status = append(r, shared ? 1 : r->c->batch, 0, r->c->depth, NULL, NULL, err);
    for (uint32_t s = 1; !status && shared && s < r->c->batch; s++) {
        r->ends[s] = r->ends[0];
        status = kvf_hold(r->tree, r->ends[0], err);
    }
    return status;
}

/* What one more holder of the prefix costs: that is all of a fork. */
static double time_fork(run *r)
{
    enum { FORKS = 10000 };
    double start = kvf_now();
    for (int i = 0; i < FORKS; i++) {
        kvf_hold(r->tree, r->ends[0], NULL);
        kvf_release(r->tree, r->ends[0], NULL);
    }
    return (kvf_now() - start) / FORKS;
}

typedef struct measured {
    double ttft, total, fork;
    kvf_tree_stats stats;
} measured;

static kvf_status run_in_tree(bench *b, run *r, measured *m, kvf_error *err)
{
    const bench_case *c = r->c;
    kvf_tree_stats before;
    kvf_status status = prefix(r, err);
    if (!status && r->mode == BENCH_FORK) m->fork = time_fork(r);
    kvf_tree_get_stats(r->tree, &before);
    if (!status && c->prompt)
        status = append(r, c->batch, c->depth, c->prompt, b->logits, &m->ttft, err);
    m->total = m->ttft;
    for (uint32_t i = 0; !status && i < c->generate; i++) {
        status = append(r, c->batch, c->depth + c->prompt + i, 1, b->logits, &b->steps[i], err);
        m->total += b->steps[i];
    }
    kvf_tree_get_stats(r->tree, &m->stats);
    m->stats.copied_bytes -= before.copied_bytes;
    m->stats.graph_copied_bytes -= before.graph_copied_bytes;
    return status;
}

static kvf_status run_once(bench *b, const variant *v, const bench_case *c, measured *m,
                           kvf_error *err)
{
    uint32_t own = c->prompt + c->generate, longest = c->depth > c->prompt ? c->depth : c->prompt;
    size_t entries = (size_t)c->batch * (longest ? longest : 1);
    uint64_t tokens = v->mode == BENCH_FORK ? c->depth + (uint64_t)c->batch * own
                                            : (uint64_t)c->batch * (c->depth + own);
    run r = {.c = c, .mode = v->mode, .vocab = v->engine->info->vocab};
    *m = (measured){0};
    if (tokens > INT32_MAX)
        return kvf_fail(err, KVF_ERR_ARG, "%s: %llu tokens are too many", c->test,
                        (unsigned long long)tokens);
    kvf_tree_options o = {.struct_size = sizeof o,
                          .max_tokens = (uint32_t)tokens,
                          .no_cache = v->mode == BENCH_NOCACHE};
    r.entries = kvf_array(entries, sizeof *r.entries);
    r.nodes = kvf_array(entries, sizeof *r.nodes);
    r.ends = kvf_array(c->batch, sizeof *r.ends); /* zeroed: KVF_ROOT */
    kvf_status status = r.entries && r.nodes && r.ends
                            ? KVF_OK
                            : kvf_fail(err, KVF_ERR_NOMEM, "%zu entries", entries);
    if (!status) status = kvf_tree_create(&r.tree, v->engine->model, &o, err);
    if (!status) status = run_in_tree(b, &r, m, err);
    kvf_tree_destroy(r.tree);
    kvf_free(r.entries);
    kvf_free(r.nodes);
    kvf_free(r.ends);
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Bits of a weight in a precision, scales included. */
static double bits_of(const char *precision)
{
    return !strcmp(precision, "bf16") ? 16
           : !strcmp(precision, "q8") ? 8
           : !strcmp(precision, "q4") ? 5
                                      : 32;
}

/* Seconds that a call must take at least on this machine: weights and rows of cache are read once,
 * or every multiplication is done, whichever takes longer. */
static double least_time(const bench_engine *e, const bench_case *c, bench_mode mode, uint32_t rows,
                         uint32_t length)
{
    const kvf_model_info *i = e->info;
    double weights = (double)e->peak.weights * 8 / bits_of(i->precision),
           vocabulary = (double)i->vocab * i->hidden;
    double cached = mode == BENCH_FORK ? c->depth + (double)c->batch * (length - c->depth)
                                       : (double)c->batch * length;
    double read = (double)e->peak.weights + cached * (double)i->bytes_per_token;
    double work = 2 * ((weights - vocabulary) * rows * c->batch + vocabulary * c->batch);
    read /= e->peak.bandwidth;
    work /= e->peak.operations;
    return read > work ? read : work;
}

static double limit_share(const bench_engine *e, const bench_row *r, const bench_case *c)
{
    if (e->peak.bandwidth <= 0 || e->peak.operations <= 0) return 0;
    if (r->mode == BENCH_NOCACHE || r->total_s <= 0) return 0;
    double least = c->prompt ? least_time(e, c, r->mode, c->prompt, c->depth + c->prompt) : 0;
    for (uint32_t i = 0; i < c->generate; i++)
        least += least_time(e, c, r->mode, 1, c->depth + c->prompt + i + 1);
    return least / r->total_s;
}

static bench_row *new_row(bench *b, const variant *v, const bench_case *c, kvf_error *err)
{
    const kvf_model_info *i = v->engine->info;
    bench_result *result = b->result;
    bench_row *rows = kvf_resize(result->rows, result->n_rows + 1, sizeof *rows);
    if (!rows) goto no_memory;
    result->rows = rows;
    bench_row *r = &rows[result->n_rows];
    *r = (bench_row){.mode = v->mode,
                     .threads = i->threads,
                     .batch = c->batch,
                     .prompt = c->prompt,
                     .generated = c->generate,
                     .depth = c->depth,
                     .read_bandwidth = v->engine->peak.bandwidth,
                     .peak_operations = v->engine->peak.operations,
                     .difference = -1};
    memcpy(r->suite, c->suite, sizeof r->suite);
    memcpy(r->test, c->test, sizeof r->test);
    snprintf(r->engine, sizeof r->engine, "%s", i->engine);
    snprintf(r->version, sizeof r->version, "%s", i->engine_version);
    snprintf(r->precision, sizeof r->precision, "%s", i->precision);
    snprintf(r->device, sizeof r->device, "%s", i->device);
    snprintf(r->device_name, sizeof r->device_name, "%s", i->device_name);
    r->formula_bytes =
        (uint64_t)c->batch * (c->depth + c->prompt + c->generate) * i->bytes_per_token;
    r->samples = kvf_array(b->o->repetitions, sizeof *r->samples);
    r->steps = kvf_array((size_t)c->generate * b->o->repetitions, sizeof *r->steps);
    if (!r->samples || !r->steps) {
        kvf_free(r->samples);
        kvf_free(r->steps);
        goto no_memory;
    }
    result->n_rows++;
    return r;

no_memory:
    kvf_fail(err, KVF_ERR_NOMEM, "%u samples", b->o->repetitions);
    return NULL;
}

/* All samples of a case are in: medians. steps is [sample][generated] until here. */
static void finish_row(bench_row *r, const bench_engine *e, const bench_case *c, double *ttft)
{
    size_t n = r->n_samples, g = r->generated;
    double *column = r->steps ? kvf_array(n, sizeof *column) : NULL;
    double *sorted = kvf_array(n, sizeof *sorted);
    r->ttft_s = bench_quantile(ttft, n, 0.5);
    if (sorted) {
        memcpy(sorted, r->samples, n * sizeof *sorted);
        r->total_s = bench_quantile(sorted, n, 0.5);
        r->scatter = (bench_quantile(sorted, n, 0.9) - bench_quantile(sorted, n, 0.1)) / r->total_s;
    }
    for (size_t k = 0; column && k < g; k++) {
        for (size_t s = 0; s < n; s++) column[s] = r->steps[s * g + k];
        r->steps[k] = bench_quantile(column, n, 0.5); /* row 0, column k: read already */
    }
    r->n_steps = column ? g : 0;
    double *steps = kvf_array(g, sizeof *steps);
    if (steps && r->n_steps) {
        memcpy(steps, r->steps, g * sizeof *steps);
        r->tpot_p50_s = bench_quantile(steps, g, 0.5);
        r->tpot_p90_s = bench_quantile(steps, g, 0.9);
        r->tpot_p99_s = bench_quantile(steps, g, 0.99);
    }
    if (r->total_s > 0)
        r->tokens_per_s = (double)r->batch * (r->prompt + r->generated) / r->total_s;
    r->limit_share = limit_share(e, r, c);
    kvf_resident_bytes(&r->peak_bytes);
    kvf_free(column);
    kvf_free(sorted);
    kvf_free(steps);
}

static void note_run(bench *b, bench_row *r, const measured *m, double *ttft)
{
    uint64_t tokens = (uint64_t)r->batch * (r->prompt + r->generated);
    ttft[r->n_samples] = m->ttft;
    memcpy(r->steps + r->n_samples * r->generated, b->steps, r->generated * sizeof *r->steps);
    r->samples[r->n_samples++] = m->total;
    r->fork_s = m->fork;
    r->cache_bytes = m->stats.cache_bytes;
    r->device_bytes = m->stats.device_bytes;
    r->copied_per_token = (double)m->stats.copied_bytes / (double)tokens;
    r->graph_copied_per_token = (double)m->stats.graph_copied_bytes / (double)tokens;
    r->sent_per_token = (double)m->stats.sent_bytes / (double)tokens;
    r->received_per_token = (double)m->stats.received_bytes / (double)tokens;
    r->moved_buffers += m->stats.moved_buffers;
}

static double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= largest)) largest = isfinite(d) ? d : INFINITY;
    }
    return largest;
}

/* ---- a case by all its variants -------------------------------------------------------------- */

enum { MAX_VARIANTS = BENCH_MAX * BENCH_MAX * BENCH_MODES };

static size_t list_variants(const bench *b, const bench_case *c, variant *out)
{
    size_t n = 0;
    const bool *modes = b->o->modes;
    bool all = !modes[BENCH_NOCACHE] && !modes[BENCH_CACHE] && !modes[BENCH_FORK];
    for (size_t e = 0; e < b->n_engines; e++)
        for (int mode = 0; mode < BENCH_MODES; mode++) {
            if (!c->modes[mode] || (!all && !modes[mode])) continue;
            if (mode != BENCH_NOCACHE && !b->engines[e].info->caches) continue;
            out[n++] = (variant){&b->engines[e], (bench_mode)mode,
                                 !strcmp(b->engines[e].info->engine, b->engines[0].info->engine)};
        }
    return n;
}

/* Keep the first logits of each kind of case, and hold the others against them. */
static void compare_logits(bench *b, bench_row *row, size_t n, bool *kept)
{
    bool fork = row->mode == BENCH_FORK;
    if (kept[fork])
        row->difference = largest_difference(b->logits, b->reference[fork], n);
    else
        memcpy(b->reference[fork], b->logits, n * sizeof *b->logits);
    kept[fork] = true;
}

static kvf_status run_variants(bench *b, const bench_case *c, const variant *v, size_t n,
                               size_t first_row, double *ttft, kvf_error *err)
{
    bool kept[2] = {false, false};
    measured m;
    for (uint32_t s = 0; s < b->o->repetitions + 1 && !stopped(b);
         s++) /* the first warms up and is compared */
        for (size_t i = 0; i < n && !stopped(b); i++) {
            size_t k = s % 2 ? n - 1 - i : i;
            bench_row *row = &b->result->rows[first_row + k];
            kvf_status status = run_once(b, &v[k], c, &m, err);
            if (status)
                return kvf_prefix(err, status, "%s, %s %s: ", row->test, row->engine,
                                  bench_mode_name(row->mode));
            if (s)
                note_run(b, row, &m, ttft + k * b->o->repetitions);
            else
                compare_logits(b, row, (size_t)c->batch * v[k].engine->info->vocab, kept);
            if (b->o->progress) b->o->progress(NULL, row->test, b->done, b->planned);
            b->done++;
        }
    return KVF_OK;
}

static void compare_rows(bench_row *rows, const variant *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            if (v[j].first_engine && v[j].mode == BENCH_NOCACHE &&
                rows[j].threads == rows[i].threads && rows[i].total_s > 0)
                rows[i].speedup = rows[j].total_s / rows[i].total_s;
}

static kvf_status run_case(bench *b, const bench_case *c, kvf_error *err)
{
    variant v[MAX_VARIANTS];
    size_t n = list_variants(b, c, v), first_row = b->result->n_rows;
    if (!n) return KVF_OK;
    double *ttft = kvf_array(n * b->o->repetitions, sizeof *ttft);
    if (!ttft) return kvf_fail(err, KVF_ERR_NOMEM, "%s", c->test);
    kvf_status status = KVF_OK;
    for (size_t i = 0; !status && i < n; i++)
        if (!new_row(b, &v[i], c, err)) status = KVF_ERR_NOMEM;
    if (!status) status = run_variants(b, c, v, n, first_row, ttft, err);
    bench_row *rows = b->result->rows + first_row;
    size_t made = b->result->n_rows - first_row;
    for (size_t i = 0; i < made; i++)
        finish_row(&rows[i], v[i].engine, c, ttft + i * b->o->repetitions);
    if (made == n) compare_rows(rows, v, n);
    while (b->result->n_rows > first_row &&
           !b->result->rows[b->result->n_rows - 1].n_samples) { /* never run */
        bench_row *r = &b->result->rows[--b->result->n_rows];
        kvf_free(r->samples);
        kvf_free(r->steps);
    }
    kvf_free(ttft);
    return status;
}

/* ---- the head ---------------------------------------------------------------------------------
 */

/* What an engine knows of the model beyond those before it: native finds in the graph what its ports
 * do not say. */
static void note_figures(bench_result *r, const kvf_model_info *i)
{
    const struct {
        uint32_t *to, value;
    } figures[] = {{&r->layers, i->layers},     {&r->heads, i->heads},
                   {&r->kv_heads, i->kv_heads}, {&r->head_dim, i->head_dim},
                   {&r->hidden, i->hidden},     {&r->vocab, i->vocab}};
    for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
        if (!*figures[f].to) *figures[f].to = figures[f].value;
    if (i->context && (!r->context || i->context < r->context)) r->context = i->context;
    if (!r->bytes_per_token) r->bytes_per_token = i->bytes_per_token;
}

static kvf_status describe(bench_result *r, const bench *b, kvf_error *err)
{
    const kvf_model *model = b->engines[0].model;
    const kvf_model_info *i = b->engines[0].info;
    const char *path = kvf_model_file(model, 0);
    r->machine = machine_now();
    snprintf(r->file, sizeof r->file, "%s", kvf_file_name(path));
    snprintf(r->exporter, sizeof r->exporter, "%s", i->exporter);
    r->parameters = i->parameters;
    for (size_t e = 0; e < b->n_engines; e++) note_figures(r, b->engines[e].info);
    return machine_hash_file(path, r->sha256, err);
}

/* ---- engines --------------------------------------------------------------------------------- */

/* Options that are for another engine are left out: device is cuda's, all but threads its and
 * native's. */
static kvf_status open_engine(bench *b, const char *name, uint32_t threads, kvf_error *err)
{
    kvf_model_options options = b->o->model;
    bench_engine *e = &b->engines[b->n_engines];
    bool native = !strcmp(name, "native"), cuda = !strcmp(name, "cuda");
    options.engine = name;
    options.threads = threads;
    if (!native) options.cpu = NULL;
    if (!native && !cuda) options.precision = options.kv = NULL;
    if (!cuda) options.device = NULL;
    kvf_status status = kvf_model_open(&e->model, b->o->path, &options, err);
    if (status) return status;
    e->info = kvf_model_get_info(e->model);
    b->n_engines++;
    if (e->model->ops->peak) e->peak = e->model->ops->peak(e->model);
    if (*e->info->cpu) snprintf(b->result->cpu, sizeof b->result->cpu, "%s", e->info->cpu);
    return KVF_OK;
}

/* Those named; else those that can run the model, of which one must. */
static kvf_status open_engines(bench *b, kvf_error *err)
{
    static const char *const known[] = {"ort", "native", "cuda"};
    const bench_options *o = b->o;
    bool device = o->model.device && strcmp(o->model.device, "cpu");
    kvf_status status = KVF_OK, last = KVF_OK;
    size_t names = o->n_engines ? o->n_engines : device ? 3 : 2;
    for (size_t i = 0; !status && i < names; i++) {
        const char *name = o->n_engines ? o->engines[i] : known[i];
        size_t times = o->threads.n && strcmp(name, "cuda") ? o->threads.n : 1;
        for (size_t t = 0; !status && t < times; t++) {
            status = open_engine(b, name, o->threads.n ? o->threads.value[t] : 0, err);
            if (!status || o->n_engines || (device && i == 2)) continue;
            last = status;
            status = KVF_OK;
            break;
        }
    }
    return b->n_engines ? status : last ? last : status;
}

static kvf_status take_buffers(bench *b, const bench_case *cases, size_t n, kvf_error *err)
{
    size_t generated = 0, batch = 1, vocab = b->engines[0].info->vocab;
    for (size_t i = 0; i < n; i++) {
        variant v[MAX_VARIANTS];
        if (cases[i].generate > generated) generated = cases[i].generate;
        if (cases[i].batch > batch) batch = cases[i].batch;
        b->planned += list_variants(b, &cases[i], v) * (b->o->repetitions + 1);
    }
    b->steps = kvf_array(generated, sizeof *b->steps);
    b->logits = kvf_array(batch, vocab * sizeof *b->logits);
    b->reference[0] = kvf_array(batch, vocab * sizeof *b->logits);
    b->reference[1] = kvf_array(batch, vocab * sizeof *b->logits);
    return b->steps && b->logits && b->reference[0] && b->reference[1]
               ? KVF_OK
               : kvf_fail(err, KVF_ERR_NOMEM, "logits of %zu sequences", batch);
}

kvf_status bench_run(bench_result *result, const bench_options *o, kvf_error *err)
{
    bench b = {.o = o, .result = result};
    bench_case *cases = NULL;
    size_t n = 0;
    *result = (bench_result){0};
    kvf_status status = open_engines(&b, err);
    if (!status) status = describe(result, &b, err);
    if (!status) status = bench_cases(&cases, &n, o, result->context, err);
    if (!status) status = take_buffers(&b, cases, n, err);
    for (size_t i = 0; !status && i < n && !stopped(&b); i++) status = run_case(&b, &cases[i], err);
    if (o->progress && b.planned) o->progress(NULL, "done", 1, 1);
    result->interrupted = stopped(&b);
    kvf_free(cases);
    kvf_free(b.steps);
    kvf_free(b.logits);
    kvf_free(b.reference[0]);
    kvf_free(b.reference[1]);
    for (size_t i = 0; i < b.n_engines; i++) kvf_model_close(b.engines[i].model);
    return status;
}

void bench_free(bench_result *result)
{
    for (size_t i = 0; i < result->n_rows; i++) {
        kvf_free(result->rows[i].samples);
        kvf_free(result->rows[i].steps);
    }
    kvf_free(result->rows);
    *result = (bench_result){0};
}
