/* cases.c - which shapes of work a suite or the options stand for. */
#include "bench.h"

#include "base.h"

#include <stdarg.h>
#include <string.h>

typedef struct case_list {
    bench_case *cases;
    size_t n, room;
    uint32_t context;
    bool no_memory;
} case_list;

enum { NOCACHE = 1 << BENCH_NOCACHE, CACHE = 1 << BENCH_CACHE, FORK = 1 << BENCH_FORK };

/* Add a case if it fits the context. */
__attribute__((format(printf, 4, 5))) static void add(case_list *l, bench_case c, unsigned modes,
                                                      const char *fmt, ...)
{
    uint64_t length = (uint64_t)c.depth + c.prompt + c.generate;
    if (!c.batch) c.batch = 1;
    if (!length || (l->context && length > l->context)) return;
    if (l->n == l->room) {
        size_t room = l->room ? 2 * l->room : 32;
        bench_case *more = kvf_resize(l->cases, room, sizeof *more);
        if (!more) {
            l->no_memory = true;
            return;
        }
        l->cases = more;
        l->room = room;
    }
    for (int m = 0; m < BENCH_MODES; m++) c.modes[m] = modes >> m & 1;
    va_list args;
    va_start(args, fmt);
    vsnprintf(c.test, sizeof c.test, fmt, args);
    va_end(args);
    l->cases[l->n++] = c;
}

/* The time to generate so many tokens from a prompt of one. */
static void headline(case_list *l)
{
    static const uint32_t tokens[] = {10, 50, 100, 200};
    for (size_t i = 0; i < 4; i++) {
        bench_case c = {.suite = "headline", .prompt = 1, .generate = tokens[i] - 1};
        add(l, c, NOCACHE | CACHE, "%u tokens", tokens[i]);
    }
}

/* First token, next tokens and throughput over lengths and batches. */
static void grid(case_list *l)
{
    static const uint32_t lengths[] = {128, 512, 1024, 2048}, batches[] = {1, 4, 8, 16};
    enum { NEXT = 16 };
    for (size_t i = 0; i < 4; i++)
        for (size_t b = 0; b < 4; b++) {
            bench_case c = {.suite = "grid",
                            .prompt = lengths[i] - NEXT,
                            .generate = NEXT,
                            .batch = batches[b]};
            add(l, c, CACHE, "pp%u+tg%u x%u", c.prompt, c.generate, c.batch);
        }
}

/* What the cache is worth over length, and throughput over batch. */
static void scaling(case_list *l)
{
    for (uint32_t length = 16; length <= 2048; length *= 2) {
        bench_case c = {.suite = "scaling", .depth = length - 2, .generate = 2};
        add(l, c, NOCACHE | CACHE, "tg2 @ d%u", c.depth);
    }
    for (uint32_t batch = 1; batch <= 32; batch *= 2) {
        bench_case c = {.suite = "scaling", .depth = 64, .generate = 16, .batch = batch};
        add(l, c, CACHE, "tg16 x%u @ d64", batch);
    }
}

/* As many tokens as the context takes, up to some thousands: do buffers stay where they are? */
static void memory(case_list *l)
{
    uint32_t most = l->context && l->context < 2048 ? l->context : 2048;
    add(l, (bench_case){.suite = "memory", .prompt = 1, .generate = most - 1}, CACHE, "tg%u",
        most - 1);
    add(l, (bench_case){.suite = "memory", .prompt = 128, .batch = 4}, CACHE, "pp128 x4");
}

static void forks(case_list *l)
{
    static const uint32_t branches[] = {1, 8, 32, 64};
    for (size_t i = 0; i < 4; i++) {
        bench_case c = {.suite = "fork", .depth = 128, .generate = 8, .batch = branches[i]};
        add(l, c, CACHE | FORK, "tg8 x%u @ d128", branches[i]);
    }
    add(l, (bench_case){.suite = "fork", .depth = 128, .prompt = 32}, CACHE, "pp32 @ d128");
}

/* As llama-bench: every prompt length, and every number of generated tokens, at every depth. */
static void add_list(case_list *l, const bench_list *lengths, bool generating, uint32_t depth,
                     uint32_t batch)
{
    char at[16] = "", times[16] = "";
    if (depth) snprintf(at, sizeof at, " @ d%u", depth);
    if (batch > 1) snprintf(times, sizeof times, " x%u", batch);
    for (size_t i = 0; i < lengths->n; i++) {
        uint32_t n = lengths->value[i];
        bench_case c = {.depth = depth, .batch = batch};
        if (generating)
            c.generate = n;
        else
            c.prompt = n;
        if (n)
            add(l, c, NOCACHE | CACHE | (depth ? FORK : 0), "%s%u%s%s", generating ? "tg" : "pp", n,
                times, at);
    }
}

static const struct {
    const char *name;
    void (*make)(case_list *l);
} suites[] = {{"headline", headline},
              {"grid", grid},
              {"scaling", scaling},
              {"memory", memory},
              {"fork", forks}};
enum { SUITES = sizeof suites / sizeof *suites };

bool bench_suite_known(const char *name)
{
    bool known = !strcmp(name, "all");
    for (size_t i = 0; i < SUITES; i++) known |= !strcmp(name, suites[i].name);
    return known;
}

kvf_status bench_cases(bench_case **cases, size_t *n, const bench_options *o, uint32_t context,
                       kvf_error *err)
{
    case_list l = {.context = context};
    for (size_t i = 0; o->suite && i < SUITES; i++)
        if (!strcmp(o->suite, suites[i].name) || !strcmp(o->suite, "all")) suites[i].make(&l);
    for (size_t d = 0; !o->suite && d < o->depth.n; d++)
        for (size_t b = 0; b < o->parallel.n; b++) {
            add_list(&l, &o->prompt, false, o->depth.value[d], o->parallel.value[b]);
            add_list(&l, &o->generate, true, o->depth.value[d], o->parallel.value[b]);
        }
    *cases = l.cases;
    *n = l.n;
    if (l.no_memory) return kvf_fail(err, KVF_ERR_NOMEM, "cases of the benchmark");
    if (!l.n)
        return kvf_fail(err, KVF_ERR_ARG, "no case fits the model's context of %u tokens", context);
    return KVF_OK;
}
