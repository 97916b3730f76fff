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
#include <stdlib.h>
#include <string.h>

#include "trigo/bench_rules.h"

static const struct {
    const char *name;
    kvf_status (*run)(double seconds, json_t **rows, kvf_error *err);
    const char *line;
} modes[] = {
    {"rules", trigo_bench_rules, "random play, legal moves, play and undo, copies, area, perft"},
};
enum { MODES = sizeof modes / sizeof modes[0] };

static void print_usage(FILE *out)
{
    fputs("usage: trigo bench MODE [--json] [--seconds S]\n\nmodes:\n", out);
    for (size_t i = 0; i < MODES; i++) fprintf(out, "  --%-10s %s\n", modes[i].name, modes[i].line);
    fputs(
        "\n"
        "  --json       the rows as JSON instead of a table\n"
        "  --seconds S  time for each figure (default 0.2)\n"
        "\n"
        "Figures are those of the fastest of several runs; on a machine that others use, compare\n"
        "them within one run only.\n",
        out);
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

static kvf_status run_mode(size_t mode, double seconds, bool json, kvf_error *err)
{
    json_t *rows;
    kvf_status status = modes[mode].run(seconds, &rows, err);
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

/* The whole string must be a number above 0 and at most an hour. */
static bool parse_seconds(const char *text, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || !(v > 0 && v <= 3600)) return false;
    *out = v;
    return true;
}

int cmd_bench(int argc, char **argv)
{
    enum { MODE = 256 };
    struct option longs[MODES + 4] = {{"json", no_argument, NULL, 'j'},
                                      {"seconds", required_argument, NULL, 's'},
                                      {"help", no_argument, NULL, 'h'}};
    for (size_t i = 0; i < MODES; i++)
        longs[3 + i] = (struct option){modes[i].name, no_argument, NULL, MODE + (int)i};
    bool ok = true, json = false;
    double seconds = 0.2;
    size_t mode = MODES;
    for (int c; (c = getopt_long(argc, argv, "h", longs, NULL)) != -1;) switch (c) {
        case 'j': json = true; break;
        case 's': ok &= parse_seconds(optarg, &seconds); break;
        case 'h': print_usage(stdout); return 0;
        default: ok &= c >= MODE && mode == MODES; mode = (size_t)(c - MODE);
        }
    if (!ok || mode == MODES || optind != argc) {
        print_usage(stderr);
        return 2;
    }
    kvf_error err;
    if (run_mode(mode, seconds, json, &err) == KVF_OK) return 0;
    fprintf(stderr, "trigo bench: %s\n", err.msg);
    return 1;
}
