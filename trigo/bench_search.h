/* bench_search.h - what a move costs, searched with and without a cache. */
#ifndef TRIGO_BENCH_SEARCH_H
#define TRIGO_BENCH_SEARCH_H

#include <jansson.h>

#include "trigo/network.h"

typedef struct trigo_bench_search_options {
    trigo_network_options network; /* whose models; if its engine is named, only ways of that one */
    const char *board;             /* only rows of this shape, as in a game's text; NULL: all */
    uint32_t sims;                 /* only rows of so many simulations; 0: all */
    uint32_t repeats;              /* of each figure, which is the median; at least 1 */
    void (*progress)(const char *words); /* told what is being measured and what is left out; may be
                                            NULL */
    const volatile int *stop; /* not 0: end soon, with the rows that are whole; may be NULL */
} trigo_bench_search_options;

/* Measure boards of several shapes, at their openings and in mid-game, with 50 and 400 simulations,
 * searched in several ways. One measurement is six moves of one game, each by a search of its own;
 * what the policy's cache has from the moves before it keeps. The ways take turns, so that what
 * disturbs the machine disturbs them all.
 *
 * head     an object that gets `repeats`, `files` (name and SHA-256 of what the models were read from)
 *          and `ways` (way, line, engine, version, precision, kernels, threads)
 * rows     set on KVF_OK to an array of one object per row and way, drop it with json_decref; else
 *          NULL:
 *          board, plies     the six positions, of a random game with a fixed seed
 *          sims, way        simulations for a move; see trigo_bench_ways
 *          ms               for a move
 *          times            how much faster than the first way
 *          sims_per_s
 *          tokens, matched  computed, and found in the cache, for a simulation
 *          calls            of the evaluator, for a simulation
 *          logic            share of the time spent in the game and the search, in per cent
 *          cache_bytes      of the tokens that are stored in the end
 * Errors   KVF_ERR_ARG if it was stopped before a row was whole, those of trigo_network_open but that an engine
 *          is not there, those of the searches */
kvf_status trigo_bench_search(const trigo_bench_search_options *options, json_t *head,
                              json_t **rows, kvf_error *err);

/* Whether there are rows of a board (NULL: any) and a number of simulations (0: any). */
bool trigo_bench_has_rows(const char *board, uint32_t sims);

/* Write such rows as one HTML page: what was measured and how, what came out in words, figures and
 * tables. Errors  KVF_ERR_IO, KVF_ERR_NOMEM */
kvf_status trigo_bench_report(json_t *head, json_t *rows, const char *path, kvf_error *err);

/* The ways and what they are, for a help text: name at index i, NULL after the last. */
const char *trigo_bench_way(size_t i, const char **line);

#endif
