/* cmd_bench.c - trigo bench: tables of what things cost.
 *
 * A mode measures and returns its rows as an array of flat JSON objects that have the same keys, and
 * adds to the head what it knows of how; they are printed here. So a new mode is a function and a
 * line in `modes`. */
#include "trigo/cmd.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "report/machine.h"
#include "report/table.h"
#include "trigo/bench_rules.h"
#include "trigo/bench_search.h"

enum { NO_MODE = -1 };

typedef struct options {
    int mode; /* of `modes` */
    const char *format, *report;
    double seconds;
    trigo_bench_search_options search;
} options;

static volatile int interrupted;
static void interrupt(int number)
{
    (void)number;
    interrupted = 1;
    signal(SIGINT, SIG_DFL); /* a second one does not wait */
}

static kvf_status run_rules(const options *o, json_t *head, json_t **rows, kvf_error *err)
{
    (void)head;
    return trigo_bench_rules(o->seconds, rows, err);
}

static kvf_status run_search(const options *o, json_t *head, json_t **rows, kvf_error *err)
{
    signal(SIGINT, interrupt);
    return trigo_bench_search(&o->search, head, rows, err);
}

static const struct {
    const char *name;
    kvf_status (*run)(const options *o, json_t *head, json_t **rows, kvf_error *err);
    kvf_status (*report)(json_t *head, json_t *rows, const char *path, kvf_error *err);
    const char *line;
} modes[] = {
    {"search", run_search, trigo_bench_report,
     "a move searched with and without a cache (default)"},
    {"rules", run_rules, NULL, "random play, legal moves, play and undo, copies, area, perft"},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void print_usage(FILE *out)
{
    fputs("usage: trigo bench [MODE] [-o FORMAT] [options]\n\nmodes:\n", out);
    for (size_t i = 0; i < MODES; i++) fprintf(out, "  --%-10s %s\n", modes[i].name, modes[i].line);
    fputs("\n"
          "  -o FORMAT          md, csv, json or jsonl on stdout (default md)\n"
          "  --json             the same as -o json\n"
          "\n"
          "options of --rules:\n"
          "  --seconds S        time for each figure (default 0.2)\n"
          "\n"
          "options of --search:\n"
          "  --board NAME       only rows of this board, such as 5x5 or 5x5x5\n"
          "  --sims N           only rows of 50 or of 400 simulations\n"
          "  --repeat N         measurements of each figure, which is their median (default 5)\n"
          "  --report FILE      also one HTML page with figures\n",
          out);
    fputs(TRIGO_NETWORK_USAGE "\nways of the table:\n", out);
    const char *line;
    for (size_t i = 0; trigo_bench_way(i, &line); i++)
        fprintf(out, "  %-15s %s\n", trigo_bench_way(i, &line), line);
    fputs("\n"
          "Each figure of --search is for one of six moves in a row, each searched anew; tokens,\n"
          "matched (found in the cache) and calls are for one simulation, logic is the game's and\n"
          "the search's own share of the time in per cent. With --engine only the ways of that\n"
          "engine are measured. Interrupted, it shows what it has.\n"
          "\n"
          "On a machine that others use, compare figures within one run only.\n",
          out);
}

static void print_progress(const char *words)
{
    fprintf(stderr, "trigo bench: %s\n", words);
}

/* ---- the command ----------------------------------------------------------------------------- */

static void print_rows(const options *o, json_t *head, json_t *rows)
{
    if (strcmp(o->format, "md")) {
        rows_print(o->format, head, rows, stdout);
        return;
    }
    table_column columns[TABLE_COLUMNS];
    table t = rows_table(rows, columns);
    table_print(&t, stdout);
    table_free(&t);
}

static kvf_status run_mode(const options *o, kvf_error *err)
{
    machine m = machine_now();
    json_t *rows = NULL, *head = json_pack("{s:s, s:s, s:f}", "date", m.date, "cpu_model",
                                           m.cpu_model, "load", m.load);
    kvf_status status =
        head ? modes[o->mode].run(o, head, &rows, err) : kvf_fail(err, KVF_ERR_NOMEM, "a head");
    if (!status) print_rows(o, head, rows);
    if (!status && (fflush(stdout) || ferror(stdout)))
        status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    if (!status && o->report) status = modes[o->mode].report(head, rows, o->report, err);
    json_decref(rows);
    json_decref(head);
    return status;
}

enum { MODE = 256 }; /* the code of the first */

static bool take(void *options_read, int c, const char *argument)
{
    options *o = options_read;
    uint64_t n = 0;
    if (c >= MODE && c < MODE + MODES) {
        bool first = o->mode == NO_MODE;
        o->mode = c - MODE;
        return first;
    }
    switch (c) {
    case 's': return trigo_parse_real(argument, 1e-6, 3600, &o->seconds);
    case 'b': o->search.board = argument; return trigo_bench_has_rows(argument, 0);
    case 'o': o->format = argument; return rows_format_known(argument);
    case 'j': o->format = "json"; return true;
    case 'R': o->report = argument; return true;
    case 'n':
        if (!trigo_parse_count(argument, 1, UINT32_MAX, &n)) return false;
        o->search.sims = (uint32_t)n;
        return trigo_bench_has_rows(NULL, o->search.sims);
    case 'r':
        if (!trigo_parse_count(argument, 1, 1000, &n)) return false;
        o->search.repeats = (uint32_t)n;
        return true;
    default: return trigo_network_option(&o->search.network, c, argument);
    }
}

int cmd_bench(int argc, char **argv)
{
    static const struct option fixed[] = {TRIGO_NETWORK_LONGS,
                                          {"json", no_argument, NULL, 'j'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"board", required_argument, NULL, 'b'},
                                          {"sims", required_argument, NULL, 'n'},
                                          {"repeat", required_argument, NULL, 'r'},
                                          {"report", required_argument, NULL, 'R'},
                                          {"help", no_argument, NULL, 'h'}};
    enum { FIXED = sizeof fixed / sizeof fixed[0] };
    struct option longs[FIXED + MODES + 1] = {0};
    memcpy(longs, fixed, sizeof fixed);
    for (size_t i = 0; i < MODES; i++)
        longs[FIXED + i] = (struct option){modes[i].name, no_argument, NULL, MODE + (int)i};
    const trigo_command command = {"bench", "ho:", longs, 0, take, NULL, print_usage};
    options o = {.mode = NO_MODE,
                 .format = "md",
                 .seconds = 0.2,
                 .search = {.repeats = 5, .progress = print_progress, .stop = &interrupted}};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (o.mode == NO_MODE) o.mode = 0;
    if (o.mode == 0 && !o.search.network.models)
        return trigo_usage_error(&command, "--models DIR is missing");
    if (o.report && !modes[o.mode].report)
        return trigo_usage_error(&command, "there is no page of --%s", modes[o.mode].name);
    kvf_error err;
    if (run_mode(&o, &err) == KVF_OK) return interrupted;
    fprintf(stderr, "trigo bench: %s\n", err.msg);
    return 1;
}
