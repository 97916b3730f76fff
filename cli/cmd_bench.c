/* cmd_bench.c - kvfork bench: what the cache is worth, as a table and a page. */
#include "bench/bench.h"
#include "cmd.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static volatile int interrupted;
/* What is measured now is finished, which may take long: who asks again does not wait for it. */
static void interrupt(int number)
{
    interrupted = 1;
    signal(number, SIG_DFL);
}

/* "1,4,8": whole numbers from low up. */
static bool read_list(bench_list *list, const char *text, uint32_t low)
{
    for (list->n = 0; list->n < BENCH_MAX; text++) {
        char *end;
        unsigned long v = strtoul(text, &end, 10);
        if (*text < '0' || *text > '9' || v < low || v > INT32_MAX) return false;
        list->value[list->n++] = (uint32_t)v;
        if (!*end) return true;
        if (*end != ',') return false;
        text = end;
    }
    return false;
}

/* Cut "a,b" in place into names; returns their number, 0 if there are too many
 * or an empty one. */
static size_t split(char *text, const char **names)
{
    size_t n = 0;
    for (char *save, *word = strtok_r(text, ",", &save); word; word = strtok_r(NULL, ",", &save)) {
        if (n == BENCH_MAX) return 0;
        names[n++] = word;
    }
    return n;
}

static bool read_modes(bool *modes, char *text)
{
    const char *names[BENCH_MAX];
    size_t n = split(text, names);
    for (size_t i = 0; i < n; i++) {
        int m = 0;
        while (m < BENCH_MODES && strcmp(names[i], bench_mode_name((bench_mode)m))) m++;
        if (m == BENCH_MODES) return false;
        modes[m] = true;
    }
    return n;
}

typedef struct texts {
    const char *prompt, *generate, *depth, *parallel, *threads, *modes, *engines, *format, *report;
} texts;

/* What the lists say for each variant. */
static kvf_status check_variants(const bench_options *o, kvf_error *err)
{
    kvf_status status = KVF_OK;
    for (size_t i = 0; !status && i < BENCH_MAX; i++) {
        const kvf_model_options variant = {.struct_size = sizeof variant,
                                           .engine = i < o->n_engines ? o->engines[i] : NULL,
                                           .threads = i < o->threads.n ? o->threads.value[i] : 0};
        status = kvf_model_options_check(&variant, err);
    }
    return status;
}

static int read_options(bench_options *o, const texts *t, const cmd_options *list)
{
    kvf_error err;
    const struct {
        const char *name, *text;
        bench_list *out;
        uint32_t low;
    } lists[] = {{"-p", t->prompt, &o->prompt, 0},
                 {"-n", t->generate, &o->generate, 0},
                 {"-d", t->depth, &o->depth, 0},
                 {"-np", t->parallel, &o->parallel, 1},
                 {"-t", t->threads, &o->threads, 1}};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i].text && !read_list(lists[i].out, lists[i].text, lists[i].low))
            return cmd_usage_error(list,
                                   "%s is \"%s\", but should be whole numbers from "
                                   "%u up, at most %d, with commas between",
                                   lists[i].name, lists[i].text, lists[i].low, BENCH_MAX);
    if (!rows_format_known(t->format))
        return cmd_usage_error(list, "-o is \"%s\", but should be md, csv, json or jsonl",
                               t->format);
    /* argv is ours to cut up */
    if (t->modes && !read_modes(o->modes, (char *)(uintptr_t)t->modes))
        return cmd_usage_error(list, "--modes should be some of nocache,cache,fork");
    if (t->engines && !(o->n_engines = split((char *)(uintptr_t)t->engines, o->engines)))
        return cmd_usage_error(list, "--engines should be names with commas between");
    if (o->suite && !bench_suite_known(o->suite))
        return cmd_usage_error(list,
                               "--suite is \"%s\", but should be headline, grid, scaling, memory, "
                               "fork or all",
                               o->suite);
    return check_variants(o, &err) ? cmd_fail_reading(list, &err) : -1;
}

int cmd_bench(int argc, char **argv)
{
    bench_options o = {.repetitions = 5,
                       .prompt = {{512}, 1},
                       .generate = {{128}, 1},
                       .depth = {{0}, 1},
                       .parallel = {{1}, 1}};
    texts t = {.format = "md"};
    cmd_options list = {
        .command = "bench",
        .usage = "MODEL [--suite NAME | -p LIST -n LIST -d LIST] [options]",
        .about =
            "Measure a model without and with its cache, over engines, lengths and batches. What is compared\n"
            "runs in turn and in alternating order; figures are medians. Interrupted, it shows what it has.\n",
        .examples =
            "  kvfork bench model.onnx --suite headline --report report.html\n"
            "  kvfork bench model.onnx -p 128 -n 64 -d 0,512 -np 1,8 --engines ort,native -t 2 -o json\n",
        .max_given = 1};
    const cmd_option own[] = {
        {"suite", 0, CMD_TEXT, &o.suite, "NAME",
         "headline: time to generate 10, 50, 100, 200 tokens\n"
         "grid: lengths 128 to 2,048 x 1, 4, 8, 16 sequences\n"
         "scaling: over length and over batch\n"
         "memory: bytes taken and copied, buffers that stay\n"
         "fork: steps of 1, 8, 32, 64 branches on 128 tokens\n"
         "all: these five"},
        {"n-prompt", 'p', CMD_TEXT, &t.prompt, "LIST",
         "prompt lengths, each a test pp (default 512)"},
        {"n-gen", 'n', CMD_TEXT, &t.generate, "LIST",
         "tokens to generate, each a test tg (default 128)"},
        {"n-depth", 'd', CMD_TEXT, &t.depth, "LIST", "tokens that are there before (default 0)"},
        {"parallel", 0, CMD_TEXT, &t.parallel, "LIST",
         "sequences side by side, also -np (default 1)"},
        {"threads", 't', CMD_TEXT, &t.threads, "LIST",
         "threads of a forward pass (default: all processors)"},
        {"repetitions", 'r', CMD_COUNT, &o.repetitions, "N", "samples of everything (default 5)"},
        {"engines", 0, CMD_TEXT, &t.engines, "LIST",
         "engines side by side; the others are compared with the\n"
         "first (default: ort and native, as far as they run it)"},
        {"modes", 0, CMD_TEXT, &t.modes, "LIST",
         "of nocache,cache,fork (default: what a test has)"},
        {"output", 'o', CMD_TEXT, &t.format, "FORMAT",
         "md, csv, json or jsonl on stdout (default md)"},
        {"report", 0, CMD_TEXT, &t.report, "FILE", "also one HTML page with curves"},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) cmd_add(&list, own[i]);
    cmd_add_model(&list, &o.model);
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "-np")) argv[i] = "--parallel"; /* llama-bench's name for it */
    int status = cmd_parse(&list, argc, argv);
    if (status < 0) status = read_options(&o, &t, &list);
    if (status >= 0) return status;
    if (!list.n_given) return cmd_usage_error(&list, "which MODEL?");
    if (o.model.engine) o.engines[o.n_engines++] = o.model.engine;
    o.path = list.given[0];
    o.progress = cmd_progress;
    o.stop = &interrupted;
    signal(SIGINT, interrupt);

    bench_result result;
    kvf_error err;
    kvf_status failed = bench_run(&result, &o, &err);
    if (failed) cmd_fail(&list, &err);
    if (result.n_rows) bench_print(&result, t.format, stdout);
    if (!failed && !result.n_rows && interrupted)
        fputs("kvfork bench: interrupted before anything was measured\n", stderr);
    if (t.report && result.n_rows && bench_report(&result, t.report, &err))
        failed = (kvf_status)cmd_fail(&list, &err);
    else if (t.report && result.n_rows)
        fprintf(stderr, "kvfork bench: the report is %s\n", t.report);
    bench_free(&result);
    return failed || interrupted ? EXIT_FAILED : EXIT_DONE;
}
