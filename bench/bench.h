/* bench.h - measuring engines: what is run, what is kept of it, and how it is shown.
 *
 * A case is a shape of work: a prefix that is there already, a prompt evaluated in one call, tokens
 * generated one call each, for one sequence or several side by side. A variant is who does it: an
 * engine with a number of threads, in a mode. Every case is run by every variant, in turn and in
 * alternating order, so that what else the machine does falls on all of them alike. One run is a
 * sample; rows hold medians and all samples.
 *
 * Modes: nocache recomputes the whole path of every row in every call; cache keeps K and V;
 * fork lets all sequences of a case share one prefix and branch from it. */
#ifndef KVF_BENCH_H
#define KVF_BENCH_H

#include "kvfork.h"

#include "report/machine.h"
#include "report/table.h"

typedef enum bench_mode { BENCH_NOCACHE = 0, BENCH_CACHE, BENCH_FORK } bench_mode;
enum { BENCH_MODES = 3, BENCH_MAX = 16 /* values of one list option */ };
#define BENCH_SCATTER 0.3                     /* of samples around their median: more is told */
const char *bench_mode_name(bench_mode mode); /* "nocache", "cache", "fork" */

typedef struct bench_list { /* from an option such as "1,4,8" */
    uint32_t value[BENCH_MAX];
    size_t n;
} bench_list;

typedef struct bench_options {
    const char *path;        /* of the model */
    kvf_model_options model; /* engine and threads are set per variant */
    const char *engines[BENCH_MAX];
    size_t n_engines; /* 0: those that can run the model; others are compared with the first */
    bool modes[BENCH_MODES]; /* none: all that a case has */
    const char *suite;       /* a known one; NULL: the lists below make the cases */
    bench_list prompt, generate, depth, parallel, threads;
    uint32_t repetitions;
    void (*progress)(void *user, const char *what, uint64_t done, uint64_t total);
    const volatile int *stop; /* not 0: end soon, and keep what was measured */
} bench_options;

/* One case done by one variant. Seconds are medians over samples. */
typedef struct bench_row {
    char suite[16], test[40]; /* test as llama-bench writes it: "pp512", "tg128 @ d512" */
    char engine[16], version[24], precision[8], device[16], device_name[64];
    bench_mode mode;
    uint32_t threads, batch, prompt, generated, depth;
    double ttft_s; /* the prompt's call, up to its last row's logits; 0 if there is no prompt */
    /* of generating calls, each one token per sequence */
    double tpot_p50_s, tpot_p90_s, tpot_p99_s;
    double total_s;      /* of all calls after the prefix */
    double tokens_per_s; /* new tokens of all sequences over total_s */
    double speedup;      /* total of the first engine without cache over this one's; 0: not known */
    double read_bandwidth, peak_operations; /* of the engine's machine, per second, probed; 0: not
                                               known */
    double limit_share; /* what reading weights and cache and multiplying would take at these, over
                            what it took; 0: not known */
    double fork_s;      /* fork mode: of one fork of the prefix, without its first token */
    uint64_t cache_bytes;   /* taken */
    uint64_t formula_bytes; /* 2 * layers * batch * KV heads * length * head_dim * element */
    uint64_t peak_bytes;    /* resident size of the process, at most, up to this row */
    uint64_t device_bytes;  /* in use on the device, as its driver says */
    /* bytes; the graph's are computed, not measured */
    double copied_per_token, graph_copied_per_token;
    double sent_per_token, received_per_token; /* to and from a device */
    uint64_t moved_buffers;
    double difference; /* largest of a logit against the first variant of the case; -1: it is the
                          first */
    double scatter;    /* (p90 - p10) / median of the totals */
    double *samples;   /* [n_samples] totals */
    double *steps;     /* [n_steps] median over samples of each generating call */
    size_t n_samples, n_steps;
} bench_row;

typedef struct bench_result {
    bench_row *rows;
    size_t n_rows;
    bool interrupted;
    machine machine; /* when it began */
    char file[256], sha256[MACHINE_HASH], exporter[128], cpu[16];
    /* of the model, from whichever engine knows them; 0: none does, or there is no end of context */
    uint32_t layers, heads, kv_heads, head_dim, hidden, vocab, context;
    uint64_t parameters, bytes_per_token;
} bench_result;

/* Run everything. After a failure the result holds what was measured before; free it always.
 * Errors  those of models and trees; KVF_ERR_ARG if no case fits the model's context */
kvf_status bench_run(bench_result *result, const bench_options *o, kvf_error *err);
void bench_free(bench_result *result);

/* Rows on a stream, as a table for people ("md") or for programs (the others of
 * rows_format_known). */
void bench_print(const bench_result *result, const char *format, FILE *to);
/* One HTML page that needs nothing else. Errors  KVF_ERR_IO, KVF_ERR_NOMEM */
kvf_status bench_report(const bench_result *result, const char *path, kvf_error *err);

/* ---- stats.c --------------------------------------------------------------------------------- */

/* The value below which a share q of x [n] lies, between neighbours linearly; sorts x. 0 if n is
 * 0. */
double bench_quantile(double *x, size_t n, double q);

/* ---- cases.c --------------------------------------------------------------------------------- */

typedef struct bench_case {
    char suite[16], test[40];
    uint32_t prompt, generate, depth, batch;
    bool modes[BENCH_MODES]; /* that make sense for it */
} bench_case;

bool bench_suite_known(const char *name);
/* The cases of the options, for a model of that context (0: unlimited). Free with kvf_free. */
kvf_status bench_cases(bench_case **cases, size_t *n, const bench_options *o, uint32_t context,
                       kvf_error *err);

/* ---- print.c --------------------------------------------------------------------------------- */

enum { BENCH_MODEL_TEXT = 256 };
/* The model in words, as far as it is known: "4 layers, 4 heads, 4 KV heads of 32, ...". */
void bench_model_text(const bench_result *result, char text[BENCH_MODEL_TEXT]);

/* A table of a suite's rows, or of all rows if suite is NULL; with columns about memory, which are
 * many, only if asked for. Free with table_free. */
table bench_table(const bench_result *result, const char *suite, bool memory);
#endif
