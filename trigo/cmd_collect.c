/* cmd_collect.c - trigo collect: the games of self-play, checked and brought together. */
#include "trigo/cmd.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trigo/collect.h"
#include "trigo/options.h"

static const char usage[] =
    "usage: trigo collect DIR... [-o OUT] [--json]\n"
    "\n"
    "Checks folders that trigo selfplay has written: that all are of one generation, that each of\n"
    "its games is there once, every move legal and chosen from those the search visited, ends and\n"
    "scores right, and text and arrays the same games. What is wrong is said on stderr, with the\n"
    "game; the exit status is 3 then. On stdout: how many games there are, and how they ended.\n"
    "\n"
    "  -o OUT     write all games into this folder, which is not there yet, as one process would\n"
    "             have written them; if anything is wrong, nothing is written\n"
    "  --json     the counts as JSON\n"
    "\n"
    "  trigo collect part-0 part-1 -o games\n";

static void complain(const char *words)
{
    fprintf(stderr, "trigo collect: %s\n", words);
}

static void print_text(const trigo_collection *c)
{
    printf(
        "games   %llu of %llu\nmoves   %llu\nscore   Black %llu, White %llu, drawn %llu\nended  ",
        (unsigned long long)c->games, (unsigned long long)c->of, (unsigned long long)c->moves,
        (unsigned long long)c->black, (unsigned long long)c->white, (unsigned long long)c->drawn);
    for (int i = 0; i < TRIGO_ENDS; i++)
        printf("%s %s %llu", i ? "," : "", trigo_end_name(i), (unsigned long long)c->ends[i]);
    putchar('\n');
}

static void print_json(const trigo_collection *c)
{
    json_t *ends = json_object();
    for (int i = 0; i < TRIGO_ENDS; i++)
        json_object_set_new(ends, trigo_end_name(i), json_integer((json_int_t)c->ends[i]));
    json_t *object =
        json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "games", (json_int_t)c->games, "of",
                  (json_int_t)c->of, "moves", (json_int_t)c->moves, "black", (json_int_t)c->black,
                  "white", (json_int_t)c->white, "drawn", (json_int_t)c->drawn, "wrong",
                  (json_int_t)c->wrong, "ends", ends);
    if (object) json_dumpf(object, stdout, JSON_INDENT(2));
    json_decref(object);
    putchar('\n');
}

typedef struct options {
    const char *out;
    bool json;
} options;

static bool take(void *options_read, int code, const char *argument)
{
    options *o = options_read;
    if (code == 'o')
        o->out = argument;
    else
        o->json = true;
    return true;
}

int cmd_collect(int argc, char **argv)
{
    static const struct option longs[] = {{"json", no_argument, NULL, 'j'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const trigo_command command = {"collect", "ho:", longs, INT_MAX, take, usage, NULL};
    options o = {0};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (optind == argc) return trigo_usage_error(&command, "which DIR?");
    kvf_error err;
    trigo_collection c;
    kvf_status status = trigo_collect((const char *const *)argv + optind, (size_t)(argc - optind),
                                      o.out, complain, &c, &err);
    if (!status || c.wrong) (o.json ? print_json : print_text)(&c);
    if (status) complain(err.msg);
    if (status) return status == KVF_ERR_ARG ? 3 : 1;
    if (!fflush(stdout) && !ferror(stdout)) return 0;
    fprintf(stderr, "trigo collect: standard output: %s\n", strerror(errno));
    return 1;
}
