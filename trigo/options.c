/* options.c - see options.h. */
#include "trigo/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

enum { USAGE = 2 };

static int point_to_help(const trigo_command *c)
{
    fprintf(stderr, "try: trigo %s --help\n", c->name);
    return USAGE;
}

int trigo_usage_error(const trigo_command *command, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "trigo %s: ", command->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return point_to_help(command);
}

static int refuse(const trigo_command *c, int code, const char *argument)
{
    char letter[2] = {(char)code, '\0'};
    const struct option *o = c->longs;
    while (o->name && o->val != code) o++;
    const char *dashes = o->name ? "--" : "-", *name = o->name ? o->name : letter;
    if (!argument) return trigo_usage_error(c, "%s%s does not go with the others", dashes, name);
    return trigo_usage_error(c, "%s%s cannot be '%s'", dashes, name, argument);
}

int trigo_options_read(const trigo_command *command, void *options, int argc, char **argv)
{
    for (int c; (c = getopt_long(argc, argv, command->letters, command->longs, NULL)) != -1;) {
        if (c == '?') return point_to_help(command); /* getopt has said what is wrong */
        if (c != 'h') {
            if (!command->take(options, c, optarg)) return refuse(command, c, optarg);
            continue;
        }
        if (command->help)
            fputs(command->help, stdout);
        else
            command->print_help(stdout);
        return 0;
    }
    if (argc - optind <= command->most) return -1;
    return trigo_usage_error(command, "'%s' is one word too many", argv[optind + command->most]);
}

bool trigo_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno || !isdigit((unsigned char)*text) || *end || v < least || v > most) return false;
    *out = v;
    return true;
}

bool trigo_parse_real(const char *text, double least, double most, double *out)
{
    char *end;
    double v = strtod(text, &end);
    if (end == text || *end || isspace((unsigned char)*text) || !(v >= least && v <= most))
        return false;
    *out = v;
    return true;
}
