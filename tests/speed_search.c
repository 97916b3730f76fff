/* speed_search.c - what asking in batches costs and saves, on the reference searches; no test.
 *
 * usage: speed_search [ENGINE [THREADS [BATCH ...]]]
 *
 * For each batch size, over the searches of 50 simulations and more: the distance of the root's
 * visit shares from those of the reference (mean L1) and how often the same move is chosen; and for
 * each simulation the calls of the evaluator, the positions whose value or priors were asked for,
 * the tokens computed, and the time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "trigo/json.h"
#include "trigo/network.h"
#include "trigo/notation.h"
#include "trigo/search.h"

#define SEARCHES KVF_SOURCE_DIR "/tests/data/trigo/searches_A.jsonl"

typedef struct sums {
    double distance, agree, seconds, logic;
    uint64_t searches, simulations, calls, values, priors, tokens;
} sums;

static int die(const char *words)
{
    fprintf(stderr, "speed_search: %s\n", words);
    exit(1);
}

static double compare(const json_t *record, const trigo_search *s, trigo_shape shape, bool *agree)
{
    const json_t *want = json_object_get(record, "children");
    size_t n = json_array_size(want);
    trigo_search_child *got = calloc(n + 1, sizeof *got);
    if (!got || trigo_search_get_root(s).moves != n) die("other candidates than the reference");
    trigo_search_children(s, got);
    double a = 0, b = 0, distance = 0;
    for (size_t i = 0; i < n; i++) {
        a += json_number_value(json_object_get(json_array_get(want, i), "N"));
        b += got[i].visits;
    }
    for (size_t i = 0; i < n; i++) {
        double x = json_number_value(json_object_get(json_array_get(want, i), "N"));
        distance += fabs(x / a - got[i].visits / b);
    }
    free(got);
    char name[TRIGO_MOVE_TEXT];
    trigo_move_write(shape, trigo_search_best(s), name);
    *agree = !strcmp(name, json_string_value(json_object_get(record, "chosen")));
    return distance;
}

static void search_line(const kvf_model *model, const json_t *record, uint32_t batch, sums *t)
{
    kvf_error err;
    trigo_game *game;
    trigo_policy *policy;
    trigo_search *s;
    uint32_t sims = (uint32_t)json_integer_value(json_object_get(record, "sims"));
    if (sims < 50) return;
    trigo_search_options o = TRIGO_SEARCH_DEFAULTS;
    o.batch = batch;
    o.c_puct = json_number_value(json_object_get(record, "c_puct"));
    if (trigo_json_game(&game, record, &err)) die(err.msg);
    if (trigo_policy_create(&policy, model, NULL, &err)) die(err.msg);
    trigo_evaluator e = trigo_policy_evaluator(policy);
    if (trigo_search_create(&s, game, &e, &o, &err)) die(err.msg);
    double start = kvf_now();
    if (trigo_search_run(s, sims, 0, &err)) die(err.msg);
    double seconds = kvf_now() - start;
    bool agree;
    t->distance += compare(record, s, game->board->shape, &agree);
    trigo_search_stats stats = trigo_search_get_stats(s);
    kvf_tree_stats tree;
    kvf_tree_get_stats(trigo_policy_tree(policy), &tree);
    t->agree += agree;
    t->seconds += seconds;
    t->logic += seconds - stats.asking_s;
    t->searches++;
    t->simulations += sims;
    t->calls += stats.calls;
    t->values += stats.values;
    t->priors += stats.priors;
    t->tokens += tree.evaluated_tokens;
    trigo_search_destroy(s);
    trigo_policy_destroy(policy);
    trigo_game_destroy(game);
}

static void print_batch(const kvf_model *model, uint32_t batch)
{
    sums t = {0};
    char *line = NULL;
    size_t room = 0;
    kvf_error err;
    FILE *file = fopen(SEARCHES, "r");
    if (!file) die(SEARCHES);
    for (ssize_t len; (len = getline(&line, &room, file)) > 0;) {
        json_t *record;
        if (trigo_json_object(&record, line, (size_t)len, &err)) die(err.msg);
        search_line(model, record, batch, &t);
        json_decref(record);
    }
    free(line);
    fclose(file);
    double n = (double)t.simulations, searches = (double)t.searches;
    printf("| %u | %.4f | %.0f %% | %.3f | %.2f | %.2f | %.1f | %.1f | %.2f |\n", batch,
           t.distance / searches, 100 * t.agree / searches, (double)t.calls / n,
           (double)t.values / n, (double)t.priors / n, (double)t.tokens / n, 1e6 * t.seconds / n,
           1e6 * t.logic / n);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const uint32_t usual[] = {1, 2, 4, 8, 16, 32};
    kvf_error err;
    kvf_model *model;
    trigo_set set = TRIGO_SET_FIRST;
    kvf_model_options o = {.struct_size = sizeof o, .threads = 1};
    if (argc > 1) o.engine = argv[1];
    if (argc > 2) o.threads = (uint32_t)atoi(argv[2]);
    if (trigo_models_open(&model, KVF_SOURCE_DIR "/models/trigo", &set, &o, &err)) die(err.msg);
    const kvf_model_info *info = kvf_model_get_info(model);
    printf("%s, %u threads, set %s\n\n", info->engine, info->threads, trigo_set_name(set));
    puts("| batch | distance | same move | calls | values | priors | tokens | us | us logic |");
    puts("|---|---|---|---|---|---|---|---|---|");
    for (int i = 3; i < argc; i++) print_batch(model, (uint32_t)atoi(argv[i]));
    for (size_t i = 0; argc <= 3 && i < sizeof usual / sizeof usual[0]; i++)
        print_batch(model, usual[i]);
    kvf_model_close(model);
    return 0;
}
