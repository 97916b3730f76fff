/* analyze.c - see analyze.h.
 *
 *   input   bytes as they come, cut into lines; a line too long is skipped and answered by an error
 *   job     one request: read, evaluate, search step by step, answer
 *   turns   every job does one step in turn; a new line is taken when a job is free
 *
 * A step is one call of the policy. Nothing is held in the policy's tree between two steps, so jobs
 * cannot starve each other; what the cache loses is evaluated again. */
#include "trigo/analyze.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "trigo/json.h"
#include "trigo/notation.h"
#include "trigo/search.h"

enum {
    JOBS = 16,
    MAX_LINE = 1 << 22,
    MAX_SIMS = 10000000,
    SEARCH_BYTES = 1 << 28, /* of one job */
    READ_BYTES = 1 << 16,
};

typedef struct job {
    bool busy;
    json_t *id; /* NULL: there is none */
    trigo_game *game;
    trigo_evaluation root; /* the position's own */
    uint32_t sims;
    trigo_search_options options;
    trigo_search *search;
    uint64_t evaluated, matched; /* tokens */
    double seconds;
} job;

typedef struct input {
    int file;
    char *bytes; /* [room] */
    size_t from, to, room;
    bool ended, skipping; /* skipping: the rest of a line that was too long */
} input;

typedef struct analysis {
    trigo_policy *policy;
    trigo_evaluator evaluator;
    FILE *out;
    input in;
    job jobs[JOBS];
} analysis;

/* ---- input ----------------------------------------------------------------------------------- */

/* Read what is there; wait for it only if told to. */
static kvf_status read_more(input *in, bool wait, kvf_error *err)
{
    struct pollfd p = {.fd = in->file, .events = POLLIN};
    if (in->ended || (!wait && poll(&p, 1, 0) <= 0)) return KVF_OK;
    if (in->from) {
        memmove(in->bytes, in->bytes + in->from, in->to - in->from);
        in->to -= in->from;
        in->from = 0;
    }
    if (in->room - in->to < READ_BYTES) {
        char *bytes = kvf_resize(in->bytes, in->room + READ_BYTES + in->to, 1);
        if (!bytes) return kvf_fail(err, KVF_ERR_NOMEM, "a line of more than %zu bytes", in->to);
        in->bytes = bytes;
        in->room += READ_BYTES + in->to;
    }
    ssize_t n = read(in->file, in->bytes + in->to, READ_BYTES);
    if (n < 0 && errno != EINTR && errno != EAGAIN)
        return kvf_fail(err, KVF_ERR_IO, "standard input: %s", strerror(errno));
    if (n > 0) in->to += (size_t)n;
    in->ended = n == 0;
    return KVF_OK;
}

typedef enum line_kind { NO_LINE, LINE, TOO_LONG } line_kind;

/* The next line that is whole; what follows the last new line is one when the input has ended. */
static line_kind next_line(input *in, const char **line, size_t *len)
{
    for (;;) {
        const char *start = in->bytes + in->from;
        size_t n = in->to - in->from;
        const char *end = n ? memchr(start, '\n', n) : NULL;
        *line = start;
        *len = end ? (size_t)(end - start) : n;
        bool whole = end || (in->ended && n), too_long = *len > MAX_LINE;
        if (!whole && !too_long) return NO_LINE;
        in->from += *len + (end != NULL);
        bool skipped = in->skipping;
        in->skipping = !whole;
        if (skipped) continue;
        if (too_long) return TOO_LONG;
        if (strspn(start, " \t\r\n") < *len) return LINE;
    }
}

/* ---- requests -------------------------------------------------------------------------------- */

static kvf_status read_count(const json_t *object, const char *key, json_int_t most, uint64_t *out,
                             kvf_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (!value) return KVF_OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > most)
        return kvf_fail(err, KVF_ERR_ARG, "'%s' should be an integer from 0 to %lld", key,
                        (long long)most);
    *out = (uint64_t)json_integer_value(value);
    return KVF_OK;
}

static kvf_status read_options(job *j, const json_t *object, kvf_error *err)
{
    uint64_t sims = 0, seed = 0;
    kvf_status status = read_count(object, "sims", MAX_SIMS, &sims, err);
    if (!status) status = read_count(object, "seed", INT64_MAX, &seed, err);
    if (status) return status;
    const json_t *c = json_object_get(object, "c_puct"), *mode = json_object_get(object, "mode");
    if (c && !json_is_number(c)) return kvf_fail(err, KVF_ERR_ARG, "'c_puct' should be a number");
    const char *name = mode ? json_string_value(mode) : "reference";
    bool fast = name && !strcmp(name, "fast");
    if (!fast && (!name || strcmp(name, "reference")))
        return kvf_fail(err, KVF_ERR_ARG, "'mode' should be \"reference\" or \"fast\"");
    j->sims = (uint32_t)sims;
    j->options = TRIGO_SEARCH_DEFAULTS;
    j->options.seed = seed;
    j->options.max_bytes = SEARCH_BYTES;
    if (c) j->options.c_puct = json_number_value(c);
    if (!fast) j->options.batch = 1;
    return KVF_OK;
}

static kvf_status read_request(job *j, const char *line, size_t len, kvf_error *err)
{
    json_t *object;
    kvf_status status = trigo_json_object(&object, line, len, err);
    if (status) return status;
    json_t *id = json_object_get(object, "id");
    if (json_is_string(id) || json_is_integer(id)) j->id = json_incref(id);
    if (!j->id) status = kvf_fail(err, KVF_ERR_ARG, "'id' should be a string or an integer");
    if (!status) status = read_options(j, object, err);
    if (!status) status = trigo_json_game(&j->game, object, err);
    json_decref(object);
    return status;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void end_job(job *j)
{
    json_decref(j->id);
    trigo_search_destroy(j->search);
    trigo_game_destroy(j->game);
    trigo_evaluation_free(&j->root);
    *j = (job){0};
}

/* The position's own evaluation: value and priors, also where the search would not ask. */
static kvf_status evaluate(analysis *a, job *j, kvf_error *err)
{
    kvf_status status = trigo_evaluate(&j->root, &a->evaluator, j->game, err);
    if (!status && j->root.ask.out_of_context)
        return kvf_fail(err, KVF_ERR_ARG,
                        "after %u moves the prompt, its candidates and VALUE exceed the model's "
                        "context of %u tokens",
                        j->game->plies,
                        kvf_model_get_info(kvf_tree_model(trigo_policy_tree(a->policy)))->context);
    return status;
}

/* One call of the policy; *done when there is nothing left to do. */
static kvf_status work(analysis *a, job *j, bool *done, kvf_error *err)
{
    if (!j->root.candidates) {
        kvf_status status = evaluate(a, j, err);
        *done = !j->sims;
        return status;
    }
    if (!j->search) {
        kvf_status status =
            trigo_search_create(&j->search, j->game, &a->evaluator, &j->options, err);
        if (status) return status;
        trigo_search_set_root(j->search, &j->root.ask);
    }
    trigo_ask *const *asks;
    size_t n;
    kvf_status status = trigo_search_next(j->search, j->sims, &asks, &n, err);
    *done = !status && !n;
    return status || !n ? status : a->evaluator.ask(a->evaluator.state, asks, n, err);
}

static kvf_status work_and_count(analysis *a, job *j, bool *done, kvf_error *err)
{
    kvf_tree_stats before, after;
    kvf_tree_get_stats(trigo_policy_tree(a->policy), &before);
    double start = kvf_now();
    kvf_status status = work(a, j, done, err);
    j->seconds += kvf_now() - start;
    kvf_tree_get_stats(trigo_policy_tree(a->policy), &after);
    j->evaluated += after.evaluated_tokens - before.evaluated_tokens;
    j->matched += after.matched_tokens - before.matched_tokens;
    return status;
}

/* ---- answers --------------------------------------------------------------------------------- */

/* Write an object, which may be NULL if memory ran out while it was made, and drop it. */
static kvf_status write_line(analysis *a, json_t *object, kvf_error *err)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(17)) : NULL;
    json_decref(object);
    if (!text) return kvf_fail(err, KVF_ERR_NOMEM, "an answer");
    fputs(text, a->out);
    putc('\n', a->out);
    free(text);
    if (!fflush(a->out) && !ferror(a->out)) return KVF_OK;
    return kvf_fail(err, KVF_ERR_IO, "standard output: %s", strerror(errno));
}

static kvf_status write_failure(analysis *a, const json_t *id, const char *why, kvf_error *err)
{
    json_t *object = json_pack("{s:O?, s:s}", "id", id, "error", why);
    return write_line(a, object, err);
}

static json_t *make_children(const job *j)
{
    uint32_t n = j->root.candidates->n;
    trigo_search_child *found = kvf_array(n + 1, sizeof *found);
    json_t *list = json_array();
    bool searched = j->search && trigo_search_get_root(j->search).moves == n;
    if (found && searched) trigo_search_children(j->search, found);
    for (uint32_t i = 0; found && i < n; i++) {
        char name[TRIGO_MOVE_TEXT];
        trigo_move_write(j->game->board->shape, j->root.candidates->move[i], name);
        json_array_append_new(list,
                              json_pack("{s:s, s:f, s:f, s:I, s:f}", "move", name, "P",
                                        j->root.ask.priors[i], "score", j->root.ask.scores[i], "N",
                                        (json_int_t)found[i].visits, "W", found[i].total));
    }
    bool whole = found && json_array_size(list) == n;
    kvf_free(found);
    if (whole) return list;
    json_decref(list);
    return NULL;
}

static json_t *make_chosen(const job *j)
{
    char name[TRIGO_MOVE_TEXT];
    if (!j->sims || trigo_board_terminal(j->game->board, NULL)) return json_null();
    trigo_move move = trigo_search_best(j->search);
    trigo_move_write(j->game->board->shape, move, name);
    return json_string(name);
}

static kvf_status write_answer(analysis *a, const job *j, kvf_error *err)
{
    trigo_search_root root = {0};
    if (j->search) root = trigo_search_get_root(j->search);
    double terminal;
    bool ends = trigo_board_terminal(j->game->board, &terminal);
    json_t *object =
        json_pack("{s:O, s:{s:I, s:f, s:f}, s:o, s:o, s:o, s:I, s:I, s:f}", "id", j->id, "root",
                  "N", (json_int_t)root.visits, "W", root.total, "value", j->root.ask.value,
                  "children", make_children(j), "chosen", make_chosen(j), "terminal_value",
                  ends ? json_real(terminal) : json_null(), "evaluated_tokens",
                  (json_int_t)j->evaluated, "matched_tokens", (json_int_t)j->matched, "ms",
                  1e3 * j->seconds);
    return write_line(a, object, err);
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* What is wrong with one request is an answer, unless it is the answer that cannot be written. */
static kvf_status begin(analysis *a, job *j, line_kind kind, const char *line, size_t len,
                        kvf_error *err)
{
    kvf_error why;
    kvf_status status =
        kind == TOO_LONG ? kvf_fail(&why, KVF_ERR_ARG, "the line has more than %d bytes", MAX_LINE)
                         : read_request(j, line, len, &why);
    j->busy = !status;
    if (!status) return KVF_OK;
    status = write_failure(a, j->id, why.msg, err);
    end_job(j);
    return status;
}

static kvf_status take_turn(analysis *a, job *j, kvf_error *err)
{
    kvf_error why;
    bool done = false;
    kvf_status status = work_and_count(a, j, &done, &why);
    if (!status && !done) return KVF_OK;
    status = status ? write_failure(a, j->id, why.msg, err) : write_answer(a, j, err);
    end_job(j);
    return status;
}

/* Give every free job a line if there is one. Returns how many jobs there are then. */
static kvf_status fill_jobs(analysis *a, size_t *busy, kvf_error *err)
{
    kvf_status status = read_more(&a->in, false, err);
    *busy = 0;
    for (size_t i = 0; i < JOBS && !status; i++) {
        job *j = &a->jobs[i];
        const char *line;
        size_t len;
        line_kind kind = NO_LINE;
        while (!j->busy && !status && (kind = next_line(&a->in, &line, &len)) != NO_LINE)
            status = begin(a, j, kind, line, len, err);
        *busy += j->busy;
    }
    return status;
}

kvf_status trigo_analyze(trigo_policy *policy, int in, FILE *out, kvf_error *err)
{
    analysis a = {.policy = policy,
                  .evaluator = trigo_policy_evaluator(policy),
                  .out = out,
                  .in = {.file = in}};
    kvf_status status = KVF_OK;
    for (size_t busy = 0; !status;) {
        status = fill_jobs(&a, &busy, err);
        if (!status && !busy && a.in.ended) break;
        if (!status && !busy) status = read_more(&a.in, true, err);
        for (size_t i = 0; i < JOBS && !status; i++)
            if (a.jobs[i].busy) status = take_turn(&a, &a.jobs[i], err);
    }
    for (size_t i = 0; i < JOBS; i++) end_job(&a.jobs[i]);
    kvf_free(a.in.bytes);
    return status;
}
