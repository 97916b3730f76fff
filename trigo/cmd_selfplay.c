/* cmd_selfplay.c - trigo selfplay: games of a model against itself, to train the next one. */
#include "trigo/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "trigo/network.h"
#include "trigo/notation.h"
#include "trigo/selfplay.h"

static const char usage[] =
    "usage: trigo selfplay --models DIR --games N --out DIR [options]\n"
    "\n"
    "Plays N games of a model against itself and writes them down. Killed at any moment and\n"
    "started again with the same options, it plays what is missing; finished games stay. Which\n"
    "games they are depends on the model, the seed and the options that are marked with *, which\n"
    "the folder remembers; it does not depend on threads, shards or interruptions.\n"
    "\n"
    "  --models DIR *     as below, or `uniform`: values 0 and equal priors, without any model\n"
    "  --games N *        of the whole generation\n"
    "  --out DIR          what is written, below\n"
    "  --seed S *         (default 0)\n"
    "  --shard I/N        play the I-th of N parts, counted from 0 (default 0/1); the parts may be\n"
    "                     played at once, by any machines, into the same folder\n"
    "  --threads N        games are divided among so many (default: the processors there are)\n"
    "  --at-once N        games that a thread plays at once, their questions answered together\n"
    "                     (default 8; more for a large network)\n"
    "  --games-per-file N *  (default 64)\n"
    "  --json             what was done, as JSON on stdout\n"
    "\n"
    "How games are played:\n"
    "  --shape LIST *     of boards, such as 5x5,9x9,3x3x3; each game takes one of them by\n"
    "                     chance, and one named twice twice as often (default 5x5)\n"
    "  --sims N *         visits of the root for each move, from 2; those that the tree kept from\n"
    "                     the move before count (default 50)\n"
    "  --c-puct C *       how much the search explores (default 1)\n"
    "  --noise-alpha A *  of the Dirichlet noise in the root's priors (default 10 / cells)\n"
    "  --noise-share E *  of the noise in them, 0 for none (default 0.25)\n"
    "  --temperature T *  moves are chosen with probability ~ visits^(1/T) (default 1) ...\n"
    "  --temperature-plies N *  ... for so many plies, then the most visited is played (default:\n"
    "                     a quarter of the cells)\n"
    "  --max-plies N *    where a game ends (default 500)\n"
    "\n"
    "A game ends by two passes; when the search takes it for decided (both colours have stones,\n"
    "more than half of the cells are taken, none is neutral); at --max-plies; or when the next\n"
    "position is too long for the model's context. Its score is that of the area then.\n"
    "\n"
    "The folder:\n"
    "  generation.json    the model's hash and the options; other ones are refused\n"
    "  00000000.jsonl     games 0 to 63, one a line: moves, visits, values, end, score\n"
    "  00000000.npz       the same as arrays for numpy.load; docs/trigo.md lists them\n"
    "  tgn/00000000.tgn   game 0 as text\n"
    "  00000064.playing/  games that are finished before their file is\n"
    "`trigo collect` checks such folders.\n"
    "\n"
    "The model:\n" TRIGO_NETWORK_USAGE_WITH(
        "",
        "  --cache-tokens N   tokens that the cache of a thread stores; if they are too few for\n"
        "                     its games, it plays fewer at once (default: enough)\n") "\n"
                                                                                      "  trigo selfplay --models models/trigo --games 100 --out games --shape 5x5,3x3x3\n"
                                                                                      "  trigo selfplay --models uniform --games 1000 --out random --sims 100\n";

enum {
    GAMES = 256,
    OUT,
    SEED,
    SHARD,
    AT_ONCE,
    PER_FILE,
    JSON,
    SHAPE,
    SIMS,
    C_PUCT,
    NOISE_ALPHA,
    NOISE_SHARE,
    TEMPERATURE,
    TEMPERATURE_PLIES,
    MAX_PLIES,
};

typedef struct options {
    trigo_network_options network;
    trigo_generation generation;
    trigo_selfplay_options selfplay;
    bool json;
} options;

/* ---- options --------------------------------------------------------------------------------- */

static bool parse_u32(const char *text, uint64_t least, uint64_t most, uint32_t *out)
{
    uint64_t n;
    if (!trigo_parse_count(text, least, most, &n)) return false;
    *out = (uint32_t)n;
    return true;
}

static bool parse_shapes(const char *text, trigo_generation *g)
{
    for (g->n_shapes = 0; g->n_shapes < TRIGO_MAX_SHAPES;) {
        size_t len = strcspn(text, ",");
        kvf_error err;
        if (trigo_shape_read(text, len, &g->shapes[g->n_shapes++], &err)) {
            fprintf(stderr, "trigo selfplay: --shape: %s\n", err.msg);
            return false;
        }
        if (!text[len]) return true;
        text += len + 1;
    }
    fprintf(stderr, "trigo selfplay: --shape: more than %d shapes\n", TRIGO_MAX_SHAPES);
    return false;
}

static bool parse_shard(const char *text, trigo_selfplay_options *o)
{
    char first[16];
    size_t len = strcspn(text, "/");
    if (len >= sizeof first || !text[len]) return false;
    memcpy(first, text, len);
    first[len] = '\0';
    return parse_u32(first, 0, UINT32_MAX, &o->shard) &&
           parse_u32(text + len + 1, 1, UINT32_MAX, &o->shards) && o->shard < o->shards;
}

static bool take(void *options_read, int c, const char *argument)
{
    options *o = options_read;
    trigo_generation *g = &o->generation;
    uint64_t n;
    switch (c) {
    case GAMES: return trigo_parse_count(argument, 1, TRIGO_MAX_GAMES, &g->games);
    case OUT: o->selfplay.folder = argument; return true;
    case SEED: return trigo_parse_count(argument, 0, INT64_MAX, &g->seed);
    case SHARD: return parse_shard(argument, &o->selfplay);
    case AT_ONCE: return parse_u32(argument, 1, 1 << 16, &o->selfplay.games);
    case PER_FILE: return parse_u32(argument, 1, TRIGO_MAX_GAMES, &g->games_per_file);
    case JSON: return o->json = true;
    case SHAPE: return parse_shapes(argument, g);
    case SIMS: return parse_u32(argument, 2, INT32_MAX, &g->sims);
    case C_PUCT: return trigo_parse_real(argument, 0, 1e300, &g->c_puct);
    case NOISE_ALPHA: return trigo_parse_real(argument, 0, 1e300, &g->noise_alpha);
    case NOISE_SHARE: return trigo_parse_real(argument, 0, 1e300, &g->noise_share);
    case TEMPERATURE: return trigo_parse_real(argument, 0, 1e300, &g->temperature);
    case TEMPERATURE_PLIES:
        if (!trigo_parse_count(argument, 0, TRIGO_MAX_PLIES, &n)) return false;
        g->temperature_plies = (int64_t)n;
        return true;
    case MAX_PLIES: return parse_u32(argument, 1, TRIGO_MAX_PLIES, &g->max_plies);
    default: return trigo_network_option(&o->network, c, argument);
    }
}

/* ---- words ----------------------------------------------------------------------------------- */

static double per_second(uint64_t n, const trigo_selfplay_progress *p)
{
    return p->seconds > 0 ? (double)n / p->seconds : 0;
}

static void print_rates(const char *before, const trigo_selfplay_progress *p, const char *after)
{
    fprintf(
        stderr,
        "%strigo selfplay: %llu of %llu games, %.3g games/s, %.0f moves/s, %.0f simulations/s%s",
        before, (unsigned long long)(p->found + p->games), (unsigned long long)p->of,
        per_second(p->games, p), per_second(p->moves, p), per_second(p->simulations, p), after);
}

static void print_progress(void *user, const trigo_selfplay_progress *p)
{
    (void)user;
    print_rates("\r", p, "\033[K");
    fflush(stderr);
}

static int print_json(const options *o, const trigo_selfplay_progress *p)
{
    json_t *object =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "model", o->generation.model,
                  "games", (json_int_t)p->games, "found", (json_int_t)p->found, "of",
                  (json_int_t)p->of, "moves", (json_int_t)p->moves, "simulations",
                  (json_int_t)p->simulations, "questions", (json_int_t)p->questions, "calls",
                  (json_int_t)p->calls, "seconds", p->seconds);
    bool ok = object && !json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    json_decref(object);
    putchar('\n');
    return ok && !fflush(stdout) && !ferror(stdout) ? 0 : 1;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* One thread of the model for each worker: they run beside each other. */
static kvf_status open_model(options *o, kvf_model **model, trigo_set *set, kvf_error *err)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    kvf_model_options m = o->network.model;
    o->selfplay.threads = m.threads ? m.threads : processors > 0 ? (uint32_t)processors : 1;
    m.struct_size = sizeof m;
    m.threads = 1;
    *model = NULL;
    *set = o->network.set;
    if (!strcmp(o->network.models, "uniform")) return KVF_OK;
    return trigo_models_open(model, o->network.models, set, &m, err);
}

static kvf_status run(options *o, trigo_selfplay_progress *done, kvf_error *err)
{
    kvf_model *model;
    trigo_set set;
    kvf_status status = open_model(o, &model, &set, err);
    if (!status) status = trigo_generation_describe(&o->generation, model, set, err);
    if (!status) {
        o->selfplay.generation = &o->generation;
        o->selfplay.model = model;
        o->selfplay.policy = o->network.policy;
        bool terminal = isatty(STDERR_FILENO);
        if (terminal) o->selfplay.progress = print_progress;
        status = trigo_selfplay(&o->selfplay, done, err);
        if (done->of) print_rates(terminal ? "\r" : "", done, terminal ? "\033[K\n" : "\n");
    }
    kvf_model_close(model);
    return status;
}

int cmd_selfplay(int argc, char **argv)
{
    static const struct option longs[] = {TRIGO_NETWORK_LONGS,
                                          {"games", required_argument, NULL, GAMES},
                                          {"out", required_argument, NULL, OUT},
                                          {"seed", required_argument, NULL, SEED},
                                          {"shard", required_argument, NULL, SHARD},
                                          {"at-once", required_argument, NULL, AT_ONCE},
                                          {"games-per-file", required_argument, NULL, PER_FILE},
                                          {"json", no_argument, NULL, JSON},
                                          {"shape", required_argument, NULL, SHAPE},
                                          {"sims", required_argument, NULL, SIMS},
                                          {"c-puct", required_argument, NULL, C_PUCT},
                                          {"noise-alpha", required_argument, NULL, NOISE_ALPHA},
                                          {"noise-share", required_argument, NULL, NOISE_SHARE},
                                          {"temperature", required_argument, NULL, TEMPERATURE},
                                          {"temperature-plies", required_argument, NULL,
                                           TEMPERATURE_PLIES},
                                          {"max-plies", required_argument, NULL, MAX_PLIES},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    options o = {.generation = TRIGO_GENERATION_DEFAULTS, .selfplay = {.games = 8, .shards = 1}};
    static const trigo_command command = {"selfplay", "h", longs, 0, take, usage, NULL};
    int exit_status = trigo_options_read(&command, &o, argc, argv);
    if (exit_status >= 0) return exit_status;
    if (!o.network.models || !o.selfplay.folder || !o.generation.games)
        return trigo_usage_error(&command, "--models DIR, --games N and --out DIR are needed");
    kvf_error err;
    if (trigo_generation_check(&o.generation, &err))
        return trigo_usage_error(&command, "%s", err.msg);
    trigo_selfplay_progress done = {0};
    kvf_status status = run(&o, &done, &err);
    int code = 0;
    if (status) {
        fprintf(stderr, "trigo selfplay: %s: %s\n", kvf_status_name(status), err.msg);
        code = 1;
    } else if (o.json) {
        code = print_json(&o, &done);
    }
    trigo_generation_free(&o.generation);
    return code;
}
