/* cmd_bench.c - trigo bench: tables of what things cost.
 *
 * A mode measures and returns its rows as an array of flat JSON objects that have the same keys;
 * the table is made from them here. So a new mode is a function and a line in `modes`. */
#include "trigo/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "trigo/bench_rules.h"
#include "trigo/bench_search.h"

typedef struct options {
    double seconds;
    trigo_bench_search_options search;
} options;

static kvf_status run_rules(const options *o, json_t **rows, kvf_error *err)
{
    return trigo_bench_rules(o->seconds, rows, err);
}

static kvf_status run_search(const options *o, json_t **rows, kvf_error *err)
{
    return trigo_bench_search(&o->search, rows, err);
}

static const struct {
    const char *name;
    kvf_status (*run)(const options *o, json_t **rows, kvf_error *err);
    const char *line;
} modes[] = {
    {"search", run_search, "a move searched with and without a cache (default)"},
    {"rules", run_rules, "random play, legal moves, play and undo, copies, area, perft"},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void print_usage(FILE *out)
{
    fputs("usage: trigo bench [MODE] [--json] [options]\n\nmodes:\n", out);
    for (size_t i = 0; i < MODES; i++) fprintf(out, "  --%-10s %s\n", modes[i].name, modes[i].line);
    fputs("\n"
          "  --json             the rows as JSON instead of a table\n"
          "\n"
          "options of --rules:\n"
          "  --seconds S        time for each figure (default 0.2)\n"
          "\n"
          "options of --search:\n"
          "  --board NAME       only rows of this board, such as 5x5 or 5x5x5\n"
          "  --sims N           only rows of 50 or of 400 simulations\n"
          "  --repeat N         measurements of each figure, which is their median (default 5)\n",
          out);
    fputs(TRIGO_NETWORK_USAGE "\nways of the table:\n", out);
    const char *line;
    for (size_t i = 0; trigo_bench_way(i, &line); i++)
        fprintf(out, "  %-15s %s\n", trigo_bench_way(i, &line), line);
    fputs("\n"
          "Each figure of --search is for one of six moves in a row, each searched anew; tokens,\n"
          "matched (found in the cache) and calls are for one simulation, logic is the game's and\n"
          "the search's own share of the time in per cent. With --engine only the ways of that\n"
          "engine are measured.\n"
          "\n"
          "On a machine that others use, compare figures within one run only.\n",
          out);
}

static void print_progress(const char *words)
{
    fprintf(stderr, "trigo bench: %s\n", words);
}

/* ---- the table ------------------------------------------------------------------------------- */

enum { VALUE_TEXT = 48 };

/* Numbers with four digits that count, or all before the point. */
static void format_value(const json_t *value, char text[VALUE_TEXT])
{
    double number = json_number_value(value);
    if (json_is_string(value))
        snprintf(text, VALUE_TEXT, "%s", json_string_value(value));
    else if (json_is_integer(value) || fabs(number) >= 1000)
        snprintf(text, VALUE_TEXT, "%.0f", number);
    else
        snprintf(text, VALUE_TEXT, "%.4g", number);
}

static int column_width(const json_t *rows, const char *key)
{
    size_t width = strlen(key);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        char text[VALUE_TEXT];
        format_value(json_object_get(json_array_get(rows, i), key), text);
        if (strlen(text) > width) width = strlen(text);
    }
    return (int)width;
}

/* One line of the table: the keys, or the values of a row. */
static void print_line(const json_t *rows, json_t *row, bool keys)
{
    const char *key, *gap = "";
    json_t *value;
    json_object_foreach(row, key, value)
    {
        char text[VALUE_TEXT];
        format_value(value, text);
        int width = column_width(rows, key);
        printf(json_is_string(value) ? "%s%-*s" : "%s%*s", gap, width, keys ? key : text);
        gap = "  ";
    }
    putchar('\n');
}

static void print_table(const json_t *rows)
{
    if (json_array_size(rows)) print_line(rows, json_array_get(rows, 0), true);
    for (size_t i = 0; i < json_array_size(rows); i++)
        print_line(rows, json_array_get(rows, i), false);
}

/* ---- the command ----------------------------------------------------------------------------- */

static kvf_status run_mode(size_t mode, const options *o, bool json, kvf_error *err)
{
    json_t *rows;
    kvf_status status = modes[mode].run(o, &rows, err);
    if (status) return status;
    if (json) {
        json_dumpf(rows, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
    } else {
        print_table(rows);
    }
    json_decref(rows);
    if (!fflush(stdout) && !ferror(stdout)) return KVF_OK;
    snprintf(err->msg, sizeof err->msg, "standard output: %s", strerror(errno));
    return err->status = KVF_ERR_IO;
}

/* Take an option; false if it is wrong. */
static bool take_option(options *o, int c, const char *argument)
{
    uint64_t n = 0;
    bool ok;
    switch (c) {
    case 's': return trigo_parse_real(argument, 1e-6, 3600, &o->seconds);
    case 'b': o->search.board = argument; return true;
    case 'n': ok = trigo_parse_count(argument, 1, UINT32_MAX, &n); break;
    case 'r': ok = trigo_parse_count(argument, 1, 1000, &n); break;
    default: return trigo_network_option(&o->search.network, c, argument);
    }
    *(c == 'n' ? &o->search.sims : &o->search.repeats) = (uint32_t)n;
    return ok;
}

int cmd_bench(int argc, char **argv)
{
    enum { MODE = 256 };
    static const struct option fixed[] = {TRIGO_NETWORK_LONGS,
                                          {"json", no_argument, NULL, 'j'},
                                          {"seconds", required_argument, NULL, 's'},
                                          {"board", required_argument, NULL, 'b'},
                                          {"sims", required_argument, NULL, 'n'},
                                          {"repeat", required_argument, NULL, 'r'},
                                          {"help", no_argument, NULL, 'h'}};
    enum { FIXED = sizeof fixed / sizeof fixed[0] };
    struct option longs[FIXED + MODES + 1] = {0};
    memcpy(longs, fixed, sizeof fixed);
    for (size_t i = 0; i < MODES; i++)
        longs[FIXED + i] = (struct option){modes[i].name, no_argument, NULL, MODE + (int)i};
    bool ok = true, json = false;
    options o = {.seconds = 0.2, .search = {.repeats = 5, .progress = print_progress}};
    size_t mode = MODES;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;)
        if (c == 'h') {
            print_usage(stdout);
            return 0;
        } else if (c >= MODE && c < MODE + MODES) {
            ok &= mode == MODES;
            mode = (size_t)(c - MODE);
        } else if (c == 'j') {
            json = true;
        } else {
            ok &= take_option(&o, c, optarg);
        }
    if (mode == MODES) mode = 0;
    if (!ok || optind != argc || (mode == 0 && !o.search.network.models)) {
        print_usage(stderr);
        return 2;
    }
    kvf_error err;
    if (run_mode(mode, &o, json, &err) == KVF_OK) return 0;
    fprintf(stderr, "trigo bench: %s\n", err.msg);
    return 1;
}
