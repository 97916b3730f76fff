/* gtp.c - the protocol's form: lines to words, the frame around an answer (`=`, `?`, the id, the empty
 * line behind). What a command does is in gtp_commands.c. */
#include "trigo/gtp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "trigo/gtp_commands.h"
#include "trigo/lines.h"

enum { LINE_ROOM = 4096 };

/* Cut the id off a command's words. id is set to its digits, or to nothing. */
static bool take_id(char ***words, size_t *n, const char **id)
{
    const char *word = *n ? (*words)[0] : "";
    uint64_t number;
    *id = "";
    if (!*word || strspn(word, "0123456789") != strlen(word)) return true;
    if (!trigo_parse_count(word, 0, INT32_MAX, &number)) return false;
    *id = word;
    ++*words;
    --*n;
    return true;
}

static bool refuse(gtp *g, const char *why)
{
    fputs(why, g->out);
    return false;
}

/* Run a command and write its answer to g->out. */
static bool run(gtp *g, char **words, size_t n)
{
    if (!n) return refuse(g, "unknown command");
    if (n > TRIGO_GTP_WORDS) return refuse(g, "syntax error");
    g->words = words + 1;
    g->n_words = n - 1;
    return trigo_gtp_run(g, words[0]);
}

/* Write an answer in its frame: it ends with an empty line, and has none inside. */
static void write_answer(FILE *out, bool good, const char *id, const char *text)
{
    size_t n = strlen(text);
    while (n && text[n - 1] == '\n') n--;
    fprintf(out, "%c%s %.*s\n\n", good ? '=' : '?', id, (int)n, text);
    fflush(out);
}

/* Answer one line, unless there is no command on it. */
static kvf_status answer(gtp *g, char *line, FILE *out, kvf_error *err)
{
    char *list[TRIGO_GTP_WORDS + 2], **words = list, *text = NULL, *comment = strchr(line, '#');
    size_t length;
    const char *id = "";
    if (comment) *comment = '\0';
    size_t n = trigo_line_words(line, list, TRIGO_GTP_WORDS + 1);
    if (!n) return KVF_OK;
    g->out = open_memstream(&text, &length);
    if (!g->out) return kvf_fail(err, KVF_ERR_NOMEM, "an answer");
    bool good = take_id(&words, &n, &id) ? run(g, words, n)
                                         : refuse(g, "an id should be from 0 to 2147483647");
    bool whole = !ferror(g->out);
    whole &= !fclose(g->out);
    if (whole) write_answer(out, good, id, text);
    free(text);
    return whole ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "an answer");
}

static kvf_status talk(gtp *g, FILE *in, FILE *out, kvf_error *err)
{
    char line[LINE_ROOM];
    trigo_line kind;
    kvf_status status = KVF_OK;
    while (!status && !g->quit &&
           (kind = trigo_line_read(in, line, sizeof line)) != TRIGO_LINE_END) {
        if (kind == TRIGO_LINE)
            status = answer(g, line, out, err);
        else
            write_answer(out, false, "", "the line is too long");
        if (!status && ferror(out))
            status = kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
    }
    return status;
}

kvf_status trigo_gtp(trigo_player *player, uint64_t seed, FILE *in, FILE *out, FILE *log,
                     kvf_error *err)
{
    gtp g = {.player = player, .seed = seed, .log = log};
    kvf_status status = trigo_gtp_begin(&g, (trigo_shape){19, 19, 1}, err);
    if (!status) status = talk(&g, in, out, err);
    trigo_turns_end(&g.record.turns);
    return status;
}
