/* options.h - how every command reads its words.
 *
 *     static bool take(void *options, int code, const char *argument) ... false: it cannot be that
 *     static const trigo_command command = {"view", "ho:", longs, 1, take, usage, NULL};
 *     int status = trigo_options_read(&command, &options, argc, argv);
 *     if (status >= 0) return status;
 *     if (optind == argc) return trigo_usage_error(&command, "which GAME?"); */
#ifndef TRIGO_OPTIONS_H
#define TRIGO_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct trigo_command {
    const char *name;           /* `trigo NAME` */
    const char *letters;        /* of getopt: "h", and those of its own */
    const struct option *longs; /* among them help, with the code 'h' */
    int most;                   /* words that are no options */
    bool (*take)(void *options, int code, const char *argument); /* NULL: there are no others */
    const char *help;                                            /* the text, */
    void (*print_help)(FILE *to);                                /* or who writes it */
} trigo_command;

/* Read argv; optind is the first word that is no option then. Returns -1 to go on, else the exit
 * status, after help on stdout or what is wrong on stderr. */
int trigo_options_read(const trigo_command *command, void *options, int argc, char **argv);

/* What is wrong on stderr, and where help is; returns the exit status that belongs to it. */
int trigo_usage_error(const trigo_command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Parse a whole string as a number from least to most; false if it is none. */
bool trigo_parse_count(const char *text, uint64_t least, uint64_t most, uint64_t *out);
bool trigo_parse_real(const char *text, double least, double most, double *out);

#endif
