/* options.c - reading argv from the same table that --help is made of. */
#include "cmd.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void cmd_add(cmd_options *o, cmd_option option)
{
    for (size_t i = 0; i < o->n; i++)
        if (!strcmp(o->list[i].name, option.name)) return;
    if (o->n < sizeof o->list / sizeof *o->list) o->list[o->n++] = option;
}

int cmd_usage_error(const cmd_options *o, const char *fmt, ...)
{
    va_list args;
    fprintf(stderr, "kvfork %s: ", o->command);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fprintf(stderr, "\nusage: kvfork %s %s\ntry: kvfork %s --help\n", o->command, o->usage,
            o->command);
    return EXIT_USAGE;
}

int cmd_fail(const cmd_options *o, const kvf_error *err)
{
    fprintf(stderr, "kvfork %s: %s: %s\n", o->command, kvf_status_name(err->status), err->msg);
    return EXIT_FAILED;
}

int cmd_fail_reading(const cmd_options *o, const kvf_error *err)
{
    return err->status == KVF_ERR_ARG ? cmd_usage_error(o, "%s", err->msg) : cmd_fail(o, err);
}

static void print_option(const cmd_option *option)
{
    char left[64], letter[8] = "    ";
    if (option->letter) snprintf(letter, sizeof letter, "-%c, ", option->letter);
    snprintf(left, sizeof left, "%s--%s%s%s", letter, option->name, option->argument ? " " : "",
             option->argument ? option->argument : "");
    printf("  %-26s", left);
    if (strlen(left) > 25) printf("\n%28s", "");
    for (const char *c = option->help; *c; c++) {
        putchar(*c);
        if (*c == '\n') printf("%28s", "");
    }
    putchar('\n');
}

static int print_help(const cmd_options *o)
{
    printf("usage: kvfork %s %s\n\n%s\noptions:\n", o->command, o->usage, o->about);
    for (size_t i = 0; i < o->n; i++) print_option(&o->list[i]);
    printf("  -h, --help                this text\n");
    if (o->examples) printf("\nexamples:\n%s", o->examples);
    return EXIT_DONE;
}

/* The whole text must be a number in range: atoi would take "12x" for 12. */
static bool read_unsigned(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9') return false; /* strtoull takes signs and spaces */
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !errno && !*end && *out >= low && *out <= high;
}

static bool read_real(const char *text, double high, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && *out >= 0 && *out <= high;
}

/* Put text into the option's variable; returns what it should have been, or NULL if it is right. */
static const char *set_value(const cmd_option *option, const char *text)
{
    uint64_t number = 0;
    cmd_texts *texts = option->value;
    switch (option->kind) {
    case CMD_FLAG: *(bool *)option->value = true; return NULL;
    case CMD_TEXT: *(const char **)option->value = text; return NULL;
    case CMD_TEXTS:
        if (texts->n == sizeof texts->text / sizeof *texts->text) return "given at most 64 times";
        texts->text[texts->n++] = text;
        return NULL;
    case CMD_COUNT:
        if (!read_unsigned(text, 1, INT32_MAX, &number)) return "a whole number, 1 or more";
        *(uint32_t *)option->value = (uint32_t)number;
        return NULL;
    case CMD_INDEX:
        if (!read_unsigned(text, 0, INT32_MAX, &number)) return "a whole number, 0 or more";
        *(uint32_t *)option->value = (uint32_t)number;
        return NULL;
    case CMD_SEED:
        return read_unsigned(text, 0, UINT64_MAX, option->value) ? NULL
                                                                 : "a whole number, 0 or more";
    case CMD_REAL: return read_real(text, DBL_MAX, option->value) ? NULL : "a number, 0 or more";
    case CMD_SHARE: return read_real(text, 1, option->value) ? NULL : "a number from 0 to 1";
    }
    return "of a known kind";
}

static const cmd_option *find_option(const cmd_options *o, const char *word, size_t length)
{
    for (size_t i = 0; i < o->n; i++) {
        const cmd_option *c = &o->list[i];
        if (word[1] != '-' && length == 2 && c->letter == word[1]) return c;
        if (word[1] == '-' && strlen(c->name) == length - 2 &&
            !strncmp(c->name, word + 2, length - 2))
            return c;
    }
    return NULL;
}

int cmd_parse(cmd_options *o, int argc, char **argv)
{
    bool options_end = false;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (options_end || word[0] != '-' || !word[1]) {
            if (o->n_given == o->max_given)
                return cmd_usage_error(o, "\"%s\" is one word too many", word);
            o->given[o->n_given++] = word;
            continue;
        }
        if (!strcmp(word, "--")) {
            options_end = true;
            continue;
        }
        if (!strcmp(word, "-h") || !strcmp(word, "--help")) return print_help(o);
        const char *equals = word[1] == '-' ? strchr(word, '=') : NULL;
        size_t length = equals ? (size_t)(equals - word) : strlen(word);
        const cmd_option *option = find_option(o, word, length);
        if (!option) return cmd_usage_error(o, "there is no option %.*s", (int)length, word);
        const char *value = equals ? equals + 1 : NULL;
        if (option->kind == CMD_FLAG && value)
            return cmd_usage_error(o, "--%s takes no value", option->name);
        if (option->kind != CMD_FLAG && !value) {
            if (i + 1 == argc)
                return cmd_usage_error(o, "%s needs a value, %s", word, option->argument);
            value = argv[++i];
        }
        const char *should_be = set_value(option, value);
        if (should_be)
            return cmd_usage_error(o, "--%s is \"%s\", but should be %s", option->name, value,
                                   should_be);
    }
    kvf_error err;
    bool wrong = o->model && kvf_model_options_check(o->model, &err);
    return wrong ? cmd_fail_reading(o, &err) : -1;
}
