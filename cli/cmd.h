/* cmd.h - what all subcommands share: options that explain themselves, strict numbers, an opened
 * model, progress. One file per subcommand; main.c lists them. */
#ifndef KVF_CMD_H
#define KVF_CMD_H

#include "kvfork.h"

#include <stdio.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_VERIFY = 3 };

int cmd_info(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_eval(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_export(int argc, char **argv);

/* ---- options --------------------------------------------------------------------------------- */

typedef enum cmd_kind {
    CMD_FLAG,  /* bool *: true if given */
    CMD_TEXT,  /* const char **: points into argv */
    CMD_TEXTS, /* cmd_texts *: may be given again */
    CMD_COUNT, /* uint32_t *: 1 and up */
    CMD_INDEX, /* uint32_t *: 0 and up */
    CMD_SEED,  /* uint64_t * */
    CMD_REAL,  /* double *: finite, 0 and up */
    CMD_SHARE, /* double *: 0 to 1 */
} cmd_kind;

typedef struct cmd_texts {
    const char *text[64];
    size_t n;
} cmd_texts;

typedef struct cmd_option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    cmd_kind kind;
    void *value;
    const char *argument; /* as --help shows it; NULL for flags */
    const char *help;     /* may have several lines */
} cmd_option;

typedef struct cmd_options {
    const char *command, *usage;
    const char *about, *examples; /* end with a newline, or are NULL */
    cmd_option list[48];
    size_t n;
    const char *given[4]; /* words that are no options */
    size_t n_given, max_given;
    const kvf_model_options *model; /* NULL, or what cmd_add_model gave options for */
} cmd_options;

/* Add an option; where a command has one of that name already, its own stays. */
void cmd_add(cmd_options *o, cmd_option option);

/* Read argv. Returns -1 to go on; else the exit status, after help on stdout or what is wrong on
 * stderr. */
int cmd_parse(cmd_options *o, int argc, char **argv);

/* "kvfork run: " and words on stderr; returns the exit status that belongs to it. */
int cmd_usage_error(const cmd_options *o, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
int cmd_fail(const cmd_options *o, const kvf_error *err);
/* Of words that were read: they are wrong themselves (KVF_ERR_ARG), or what they name cannot be
 * read. */
int cmd_fail_reading(const cmd_options *o, const kvf_error *err);

/* ---- models ---------------------------------------------------------------------------------- */

/* --engine, --device, --threads, --precision, --kv, --cpu, --names, --policy-head, --value-head,
 * --ort-library. Fields of m must be zero or defaults. */
void cmd_add_model(cmd_options *o, kvf_model_options *m);
/* Open with progress on a terminal. */
kvf_status cmd_open(kvf_model **out, const char *path, kvf_model_options *m, kvf_error *err);

/* ---- tokens ---------------------------------------------------------------------------------- */

typedef struct cmd_tokens {
    int32_t *ids; /* [n]; free with cmd_tokens_free */
    size_t n;
} cmd_tokens;
/* "1,2,3" or "@FILE" with ids between commas or white space; what is the option's name in words.
 * KVF_ERR_ARG, KVF_ERR_IO (the file is not there, or does not hold ids), KVF_ERR_NOMEM */
kvf_status cmd_tokens_read(cmd_tokens *out, const char *text, const char *what, kvf_error *err);
void cmd_tokens_free(cmd_tokens *tokens);

/* Whether a tokenizer name is known: only "ascii" is, where a token is a byte below the
 * vocabulary. */
kvf_status cmd_tokenizer_check(const char *name, kvf_error *err);
kvf_status cmd_encode_ascii(cmd_tokens *out, const char *text, uint32_t vocab, kvf_error *err);

/* ---- the terminal ---------------------------------------------------------------------------- */

/* "what 42 %" on one line of a terminal's stderr; nothing elsewhere. */
void cmd_progress(void *user, const char *what, uint64_t done, uint64_t total);
#endif
