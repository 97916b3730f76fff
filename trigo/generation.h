/* generation.h - what all games of a self-play run have in common: the model and the rules of play.
 *
 * A game is a function of its generation and its index, and of nothing else: not of threads, shards
 * or how many games share a batch, as long as the evaluator gives equal positions equal answers
 * (the native engine does, to the bit). So a generation is written down when its first game
 * begins, in generation.json, and whoever goes on with it must have the same. */
#ifndef TRIGO_GENERATION_H
#define TRIGO_GENERATION_H

#include <jansson.h>

#include "report/machine.h"
#include "trigo/models.h"
#include "trigo/search.h"

enum {
    TRIGO_MAX_SHAPES = 64,
    TRIGO_MAX_GAMES = 100000000, /* eight digits in a file's name */
    TRIGO_MAX_PLIES = 10000,
    TRIGO_BY_BOARD = -1, /* options that then follow from the number of cells */
};

typedef struct trigo_generation {
    char model[MACHINE_HASH]; /* of its files, see trigo_generation_describe; or "uniform" */
    uint32_t context;         /* of the model, in tokens; 0: unlimited */
    uint64_t games, seed;     /* seed up to INT64_MAX */
    uint32_t games_per_file;
    trigo_shape shapes[TRIGO_MAX_SHAPES]; /* [n_shapes] a game takes one by chance */
    uint32_t n_shapes;
    uint32_t sims;             /* visits of the root for a move, at least 2 */
    uint32_t max_plies;        /* a game ends there */
    double c_puct;             /* see trigo_search_options, as all that follow */
    double noise_alpha;        /* TRIGO_BY_BOARD: 10 / cells */
    double noise_share;        /* 0: no noise */
    double temperature;        /* of the first plies */
    int64_t temperature_plies; /* TRIGO_BY_BOARD: cells / 4, rounded up */
    json_t *json;              /* all of this as in generation.json, and what the model is; made by
                     trigo_generation_describe or _read */
} trigo_generation;

#define TRIGO_GENERATION_DEFAULTS                                                                  \
    ((trigo_generation){.model = "uniform",                                                        \
                        .games_per_file = 64,                                                      \
                        .shapes = {{5, 5, 1}},                                                     \
                        .n_shapes = 1,                                                             \
                        .sims = 50,                                                                \
                        .max_plies = 500,                                                          \
                        .c_puct = 1,                                                               \
                        .noise_alpha = TRIGO_BY_BOARD,                                             \
                        .noise_share = 0.25,                                                       \
                        .temperature = 1,                                                          \
                        .temperature_plies = TRIGO_BY_BOARD})

/* Make the generation's json from its fields; model is NULL for the uniform evaluator. Reads the
 * model's files for their hash: SHA-256 of what `sha256sum FILES` prints in their folder.
 * Errors: KVF_ERR_IO, KVF_ERR_NOMEM. */
kvf_status trigo_generation_describe(trigo_generation *g, const kvf_model *model, trigo_set set,
                                     kvf_error *err);

/* Read a generation.json; free it with trigo_generation_free, also after a failure. Errors:
 * KVF_ERR_IO, KVF_ERR_NOMEM, KVF_ERR_ARG with the file and what is wrong in it. */
kvf_status trigo_generation_read(trigo_generation *g, const char *path, kvf_error *err);
void trigo_generation_free(trigo_generation *g); /* zeroed is fine */

/* Whether all values are possible. Errors: KVF_ERR_ARG. */
kvf_status trigo_generation_check(const trigo_generation *g, kvf_error *err);

/* Fail with the first field in which two generations differ. where and here are names for what
 * a and b come from. Errors: KVF_ERR_ARG. */
kvf_status trigo_generation_compare(const trigo_generation *a, const char *where,
                                    const trigo_generation *b, const char *here, kvf_error *err);

/* The shape of a game, and how its moves are searched. */
trigo_shape trigo_generation_shape(const trigo_generation *g, uint64_t index);
trigo_search_options trigo_generation_search(const trigo_generation *g, uint64_t index);

#endif
