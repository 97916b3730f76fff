/* cmd_check.c - kvfork check: is what an engine computes with its cache right?
 *
 * The subject runs with its cache: paths cut into calls of random lengths, with branches that leave
 * them at random places. The judge is recorded logits, or an engine that recomputes every path as a
 * whole without cache. Both see the same tokens, and every row is compared. */
#include "compare.h"
#include "cmd.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "rng.h"

typedef struct check_options {
    kvf_model_options model;
    const char *against, *expected, *answers;
    uint32_t paths, length;
    uint64_t seed;
    double tolerance; /* NAN: not given */
    bool json;
} check_options;

/* A trunk and two branches that leave it after `at` tokens. */
typedef struct sample {
    cmd_tokens trunk, branch[2];
    size_t at;
} sample;

static void free_sample(sample *s)
{
    cmd_tokens_free(&s->trunk);
    cmd_tokens_free(&s->branch[0]);
    cmd_tokens_free(&s->branch[1]);
}

static size_t sample_rows(const sample *s)
{
    return s->trunk.n + s->branch[0].n + s->branch[1].n;
}

/* ---- samples --------------------------------------------------------------------------------- */

static kvf_status draw_tokens(cmd_tokens *t, size_t n, uint32_t vocab, kvf_rng *rng, kvf_error *err)
{
    *t = (cmd_tokens){.ids = kvf_array(n, sizeof *t->ids), .n = n};
    if (!t->ids) return kvf_fail(err, KVF_ERR_NOMEM, "%zu tokens", n);
    for (size_t i = 0; i < n; i++) t->ids[i] = (int32_t)kvf_rng_below(rng, vocab);
    return KVF_OK;
}

static kvf_status draw_sample(sample *s, const kvf_model_info *info, uint32_t longest, kvf_rng *rng,
                              kvf_error *err)
{
    if (info->context && longest > info->context) longest = info->context;
    size_t n = 1 + kvf_rng_below(rng, longest);
    s->at = kvf_rng_below(rng, (uint32_t)n + 1);
    kvf_status status = draw_tokens(&s->trunk, n, info->vocab, rng, err);
    for (int b = 0; !status && b < 2; b++) {
        size_t room = longest - s->at;
        status = draw_tokens(&s->branch[b], room ? 1 + kvf_rng_below(rng, (uint32_t)room) : 0,
                             info->vocab, rng, err);
    }
    return status;
}

static kvf_status read_ids(cmd_tokens *out, const json_t *array, const char *path, const char *name,
                           kvf_error *err)
{
    size_t n = json_array_size(array);
    *out = (cmd_tokens){.ids = kvf_array(n, sizeof *out->ids), .n = n};
    if (!out->ids) return kvf_fail(err, KVF_ERR_NOMEM, "%zu tokens", n);
    for (size_t i = 0; i < n; i++) {
        json_t *id = json_array_get(array, i);
        json_int_t value = json_integer_value(id);
        if (!json_is_integer(id) || value < 0 || value > INT32_MAX)
            return kvf_fail(err, KVF_ERR_ARG, "%s: %s[%zu] is not a token id", path, name, i);
        out->ids[i] = (int32_t)value;
    }
    return json_is_array(array)
               ? KVF_OK
               : kvf_fail(err, KVF_ERR_ARG, "%s: \"%s\" is missing or no list", path, name);
}

static kvf_status read_expected(sample *s, const char *folder, uint32_t vocab, kvf_error *err)
{
    char path[4096];
    json_error_t why;
    if ((size_t)snprintf(path, sizeof path, "%s/expected.json", folder) >= sizeof path)
        return kvf_fail(err, KVF_ERR_ARG, "the path of %.64s... is too long", folder);
    json_t *all = json_load_file(path, JSON_REJECT_DUPLICATES, &why);
    if (!all) return kvf_fail(err, KVF_ERR_IO, "%s: line %d: %s", path, why.line, why.text);
    json_int_t width = json_integer_value(json_object_get(all, "vocab"));
    json_t *at = json_object_get(all, "branch_at");
    kvf_status status = KVF_OK;
    if (width != vocab)
        status = kvf_fail(err, KVF_ERR_ARG,
                          "%s: \"vocab\" is %lld, but the model's vocabulary has %u tokens", path,
                          (long long)width, vocab);
    if (!status) status = read_ids(&s->trunk, json_object_get(all, "tokens"), path, "tokens", err);
    if (!status)
        status = read_ids(&s->branch[0], json_object_get(all, "branch_a"), path, "branch_a", err);
    if (!status)
        status = read_ids(&s->branch[1], json_object_get(all, "branch_b"), path, "branch_b", err);
    s->at = (size_t)json_integer_value(at);
    if (!status && (!json_is_integer(at) || json_integer_value(at) < 0 || s->at > s->trunk.n))
        status = kvf_fail(err, KVF_ERR_ARG, "%s: \"branch_at\" is no place in %zu tokens", path,
                          s->trunk.n);
    json_decref(all);
    return status;
}

static kvf_status read_logits(float *rows, size_t n, const char *folder, kvf_error *err)
{
    char path[4096];
    kvf_file file = {0};
    snprintf(path, sizeof path, "%s/logits.f32", folder);
    kvf_status status = kvf_file_open(&file, path, err);
    if (!status && file.size != n * sizeof *rows)
        status =
            kvf_fail(err, KVF_ERR_ARG, "%s: has %llu bytes, but %zu rows of float32 would have %zu",
                     path, (unsigned long long)file.size, n, n * sizeof *rows);
    if (!status) memcpy(rows, file.data, n * sizeof *rows);
    kvf_file_close(&file);
    return status;
}

/* ---- running --------------------------------------------------------------------------------- */

static kvf_status forward_in_pieces(kvf_seq *seq, const cmd_tokens *t, kvf_rng *rng, float *rows,
                                    uint32_t vocab, kvf_error *err)
{
    for (size_t i = 0, n; i < t->n; i += n) {
        n = rng ? 1 + kvf_rng_below(rng, (uint32_t)(t->n - i)) : t->n - i;
        kvf_status status =
            kvf_seq_forward(seq, t->ids + i, n, KVF_ALL_ROWS, rows + i * vocab, err);
        if (status) return status;
    }
    return KVF_OK;
}

/* Rows of the trunk, then of the branches. With rng: through a cache, in pieces; without: whole
 * paths, no cache. */
static kvf_status run_sample(const kvf_model *model, const sample *s, kvf_rng *rng, float *rows,
                             kvf_error *err)
{
    uint32_t vocab = kvf_model_get_info(model)->vocab;
    kvf_tree_options o = {.struct_size = sizeof o,
                          .max_tokens = (uint32_t)sample_rows(s),
                          .no_cache = !rng};
    kvf_tree *tree = NULL;
    kvf_seq *seq = NULL;
    kvf_status status = kvf_tree_create(&tree, model, &o, err);
    if (!status) status = kvf_seq_create(&seq, tree, err);
    if (!status) status = forward_in_pieces(seq, &s->trunk, rng, rows, vocab, err);
    rows += s->trunk.n * vocab;
    for (int b = 0; !status && b < 2; b++) {
        status = kvf_seq_rewind(seq, s->at, err);
        if (!status) status = forward_in_pieces(seq, &s->branch[b], rng, rows, vocab, err);
        rows += s->branch[b].n * vocab;
    }
    kvf_seq_destroy(seq);
    kvf_tree_destroy(tree);
    return status;
}

static kvf_status compare_sample(comparison *c, const kvf_model *subject, const kvf_model *judge,
                                 const char *recorded, const sample *s, kvf_rng *rng,
                                 kvf_error *err)
{
    size_t n = sample_rows(s) * kvf_model_get_info(subject)->vocab;
    float *got = kvf_array(n, sizeof *got), *want = kvf_array(n, sizeof *want);
    kvf_status status =
        got && want ? KVF_OK : kvf_fail(err, KVF_ERR_NOMEM, "logits of %zu rows", sample_rows(s));
    if (!status) status = run_sample(subject, s, rng, got, err);
    if (!status)
        status =
            recorded ? read_logits(want, n, recorded, err) : run_sample(judge, s, NULL, want, err);
    if (!status) compare_rows(c, got, want, sample_rows(s), kvf_model_get_info(subject)->vocab);
    kvf_free(got);
    kvf_free(want);
    return status;
}

/* ---- answers --------------------------------------------------------------------------------- */

typedef struct score {
    uint64_t right, asked;
} score;

/* One line "question=answer": greedy tokens behind "question=" must be the answer and the end of
 * line. */
static kvf_status ask(kvf_seq *seq, const char *line, size_t length, float *logits, uint32_t vocab,
                      score *sc, kvf_error *err)
{
    const char *equals = memchr(line, '=', length);
    if (!equals)
        return kvf_fail(err, KVF_ERR_ARG, "\"%.*s\" should be a question, = and its answer",
                        (int)length, line);
    size_t question = (size_t)(equals - line) + 1;
    bool right = true;
    kvf_seq_reset(seq);
    for (size_t i = 0; i <= length && right;
         i++) { /* the newline behind the line is part of the answer */
        int32_t token = i < length ? (unsigned char)line[i] : '\n';
        if (i >= question) {
            uint32_t best = 0;
            for (uint32_t v = 1; v < vocab; v++)
                if (logits[v] > logits[best]) best = v;
            right = (int32_t)best == token;
        }
        if (i == length || !right) break;
        kvf_status status = kvf_seq_forward(seq, &token, 1, KVF_LAST_ROW, logits, err);
        if (status) return status;
    }
    sc->right += right;
    sc->asked++;
    return KVF_OK;
}

static kvf_status score_answers(const kvf_model *model, const char *path, score *sc, kvf_error *err)
{
    uint32_t vocab = kvf_model_get_info(model)->vocab;
    kvf_file file = {0};
    kvf_tree *tree = NULL;
    kvf_seq *seq = NULL;
    float *logits = kvf_array(vocab, sizeof *logits);
    kvf_status status =
        logits ? kvf_file_open(&file, path, err) : kvf_fail(err, KVF_ERR_NOMEM, "logits");
    if (!status) status = kvf_tree_create(&tree, model, NULL, err);
    if (!status) status = kvf_seq_create(&seq, tree, err);
    for (uint64_t at = 0, end; !status && at < file.size; at = end + 1) {
        const char *line = (const char *)file.data + at;
        const char *newline = memchr(line, '\n', (size_t)(file.size - at));
        end = newline ? at + (uint64_t)(newline - line) : file.size;
        if (end > at) status = ask(seq, line, (size_t)(end - at), logits, vocab, sc, err);
        cmd_progress(NULL, "asking", end, file.size);
    }
    cmd_progress(NULL, "asking", 1, 1);
    kvf_seq_destroy(seq);
    kvf_tree_destroy(tree);
    kvf_file_close(&file);
    kvf_free(logits);
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

typedef struct checked {
    comparison c;
    score answers;
    char judge[64];
    bool judged, passed;
} checked;

static kvf_status compare_all(const check_options *o, const char *path, const kvf_model *subject,
                              checked *out, kvf_error *err)
{
    const kvf_model_info *info = kvf_model_get_info(subject);
    kvf_model *judge = NULL;
    kvf_rng rng;
    kvf_rng_seed(&rng, o->seed);
    if (o->expected) {
        snprintf(out->judge, sizeof out->judge, "recorded logits");
        sample s = {0};
        kvf_status status = read_expected(&s, o->expected, info->vocab, err);
        if (!status) status = compare_sample(&out->c, subject, NULL, o->expected, &s, &rng, err);
        free_sample(&s);
        return status;
    }
    kvf_model_options options = o->model;
    const char *other = o->against;
    options.precision = options.kv = options.cpu = NULL; /* the judge computes as the file says */
    options.engine = other ? other : strcmp(info->engine, "ort") ? "ort" : info->engine;
    kvf_status status = cmd_open(&judge, path, &options, err);
    if (status == KVF_ERR_ENGINE && !other) { /* none to compare with but itself, without cache */
        options.engine = info->engine;
        status = cmd_open(&judge, path, &options, err);
    }
    if (status) return status;
    snprintf(out->judge, sizeof out->judge, "%s %s without cache", options.engine,
             kvf_model_get_info(judge)->precision);
    for (uint32_t i = 0; !status && i < o->paths; i++) {
        sample s = {0};
        status = draw_sample(&s, info, o->length, &rng, err);
        if (!status) status = compare_sample(&out->c, subject, judge, NULL, &s, &rng, err);
        free_sample(&s);
        cmd_progress(NULL, "comparing", i + 1, o->paths);
    }
    kvf_model_close(judge);
    return status;
}

static void print_text(const check_options *o, const kvf_model_info *info, const checked *r)
{
    const comparison *c = &r->c;
    printf("%s %s with cache, against %s\n", info->engine, info->precision, r->judge);
    if (c->rows) {
        printf("rows         %llu\n", (unsigned long long)c->rows);
        printf("difference   %.3g at most: row %llu, token %zu is %.7g, should be %.7g\n",
               c->largest, (unsigned long long)c->row, c->column, (double)c->got, (double)c->want);
        printf("argmax       %llu of %llu equal, %llu close calls\n",
               (unsigned long long)c->argmax_equal, (unsigned long long)c->rows,
               (unsigned long long)c->close_calls);
        printf("divergence   %.3g nats on average\n", c->kl_sum / (double)c->rows);
    }
    if (r->answers.asked)
        printf("answers      %llu of %llu right (%.4f)\n", (unsigned long long)r->answers.right,
               (unsigned long long)r->answers.asked,
               (double)r->answers.right / (double)r->answers.asked);
    if (r->judged)
        printf("%s: tolerance %.3g\n", r->passed ? "passed" : "FAILED", o->tolerance);
    else
        printf("not judged: weights are %s and cache rows %s; --tolerance sets a limit\n",
               info->precision, info->kv_type);
}

static void print_json(const check_options *o, const kvf_model_info *info, const checked *r)
{
    const comparison *c = &r->c;
    json_t *all = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:b, s:b, s:f}", "engine",
                            info->engine, "precision", info->precision, "against", r->judge, "rows",
                            (json_int_t)c->rows, "argmax_equal", (json_int_t)c->argmax_equal,
                            "close_calls", (json_int_t)c->close_calls, "divergence",
                            c->rows ? c->kl_sum / (double)c->rows : 0.0, "judged", r->judged,
                            "passed", r->passed, "tolerance", o->tolerance);
    json_object_set_new(all, "largest_difference",
                        isfinite(c->largest) ? json_real(c->largest) : json_null());
    if (r->answers.asked) {
        json_object_set_new(all, "answers_right", json_integer((json_int_t)r->answers.right));
        json_object_set_new(all, "answers_asked", json_integer((json_int_t)r->answers.asked));
    }
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static int check(check_options *o, const cmd_options *list, const char *path)
{
    kvf_model *subject = NULL;
    kvf_error err;
    checked r = {0};
    kvf_status status = cmd_open(&subject, path, &o->model, &err);
    if (!status) status = compare_all(o, path, subject, &r, &err);
    if (!status && o->answers) status = score_answers(subject, o->answers, &r.answers, &err);
    if (status) {
        kvf_model_close(subject);
        return cmd_fail(list, &err);
    }
    const kvf_model_info *info = kvf_model_get_info(subject);
    bool exact = !strcmp(info->precision, "f32") && strcmp(info->kv_type, "bfloat16");
    exact |= !strcmp(info->engine, "ort");
    r.judged = !isnan(o->tolerance) || exact;
    if (isnan(o->tolerance)) o->tolerance = 1e-3;
    r.passed = r.c.largest <= o->tolerance && r.c.argmax_equal + r.c.close_calls == r.c.rows;
    if (o->json)
        print_json(o, info, &r);
    else
        print_text(o, info, &r);
    kvf_model_close(subject);
    return r.judged && !r.passed ? EXIT_VERIFY : EXIT_DONE;
}

int cmd_check(int argc, char **argv)
{
    check_options o = {.paths = 8, .length = 48, .tolerance = NAN};
    cmd_options list = {
        .command = "check",
        .usage = "MODEL [--against ENGINE | --expected DIR] [options]",
        .about =
            "Compare what an engine computes through its cache, in pieces and with branches, with another\n"
            "engine that recomputes every path without cache, or with recorded logits. Exit status 3 if\n"
            "logits differ by more than the tolerance.\n",
        .examples = "  kvfork check model.onnx --against ort\n"
                    "  kvfork check model.onnx --precision q8 --answers heldout.txt\n",
        .max_given = 1};
    const cmd_option own[] = {
        {"against", 0, CMD_TEXT, &o.against, "ENGINE",
         "the judge, in the file's precision (default: ort where it is\n"
         "installed, else the same engine; without cache)"},
        {"expected", 0, CMD_TEXT, &o.expected, "DIR",
         "recorded logits instead: expected.json (vocab, tokens,\n"
         "branch_at, branch_a, branch_b) and logits.f32"},
        {"answers", 0, CMD_TEXT, &o.answers, "FILE",
         "also ask each line's question, up to =, and count exact\n"
         "answers of greedy decoding (token id = byte)"},
        {"paths", 0, CMD_COUNT, &o.paths, "N", "random paths, each with two branches (default 8)"},
        {"length", 0, CMD_COUNT, &o.length, "N", "tokens of a path at most (default 48)"},
        {"seed", 0, CMD_SEED, &o.seed, "N", "of paths, cuts and branches (default 0)"},
        {"tolerance", 0, CMD_REAL, &o.tolerance, "T",
         "largest difference of a logit (default 1e-3; smaller\n"
         "precisions are reported, not judged)"},
        {"json", 0, CMD_FLAG, &o.json, NULL, "one JSON object on stdout"},
    };
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) cmd_add(&list, own[i]);
    cmd_add_model(&list, &o.model);
    int status = cmd_parse(&list, argc, argv);
    if (status >= 0) return status;
    if (!list.n_given) return cmd_usage_error(&list, "which MODEL?");
    if (o.against && o.expected)
        return cmd_usage_error(&list, "give one of --against and --expected");
    kvf_error err;
    const kvf_model_options judge = {.struct_size = sizeof judge, .engine = o.against};
    if (kvf_model_options_check(&judge, &err)) return cmd_fail_reading(&list, &err);
    return check(&o, &list, list.given[0]);
}
