/* evaluator.h - what a search asks: how good a position is, and which moves look good in it.
 *
 * Whoever answers is an evaluator: a network (policy.h), nobody in particular (trigo_uniform), a
 * table in a test. A search puts questions about several positions at once, and positions of
 * several games may share a call: an evaluator does best with many.
 *
 *     root position of a game ── move ── move ── the position asked about
 *     `open`, moved by `play`    `moves` of the question
 *
 * Equal positions (equal shapes, equal moves from the empty board) get equal answers, whatever
 * else is in the call. */
#ifndef TRIGO_EVALUATOR_H
#define TRIGO_EVALUATOR_H

#include "trigo/candidates.h"
#include "trigo/game.h"

/* One question, and its answer. */
typedef struct trigo_ask {
    /* the position */
    void *root;              /* of its game, from open */
    const trigo_move *moves; /* [n_moves] from there, all legal */
    uint32_t n_moves;
    uint64_t note;        /* what the evaluator noted when it was asked about this position, 0 if it
                             was not; a new one is put here */
    uint64_t note_before; /* what it noted about the position one move before, or 0 */

    /* what is wanted */
    bool want_value;
    /* of the position, n >= 1: their priors are wanted; or NULL */
    const trigo_candidates *candidates;

    /* the answer */
    double value;        /* set if wanted: above 0 if White is better, whoever is to move */
    double *priors;      /* [candidates->n] set if wanted, they sum to 1 */
    double *scores;      /* [candidates->n] set if wanted and not NULL: log-probabilities before the
                            candidates are weighed against each other */
    bool out_of_context; /* set: the position is too long for the evaluator, nothing else is set */
} trigo_ask;

/* An evaluator, as a value. All functions are set; one thread at a time uses it. */
typedef struct trigo_evaluator {
    void *state;

    /* Begin a game at a position. The game is only read. *root is the evaluator's own; it goes with
     * close. Errors: KVF_ERR_NOMEM. */
    kvf_status (*open)(void *state, const trigo_game *game, void **root, kvf_error *err);
    void (*close)(void *state, void *root);

    /* Make the position after a legal move the root: nothing else below the old one will be asked
     * about any more. note is what was noted about it, or 0. Errors: KVF_ERR_NOMEM. */
    kvf_status (*play)(void *state, void *root, trigo_move move, uint64_t note, kvf_error *err);

    /* Answer questions. Each wants something. Errors: KVF_ERR_NAN if an answer is not a number;
     * what else the evaluator may meet. Answers are undefined then. */
    kvf_status (*ask)(void *state, trigo_ask *const *asks, size_t n, kvf_error *err);
} trigo_evaluator;

/* What an evaluator says of the position that a game has come to. */
typedef struct trigo_evaluation {
    trigo_candidates *candidates; /* of the position; n is 0 if it has none */
    trigo_ask ask;                /* answered: value, and priors and scores of the candidates */
} trigo_evaluation;

/* Ask one question, for whoever has no search to ask it.
 *
 * out     set, and zeroed on failure; free it with trigo_evaluation_free. What the evaluator noted
 *         may be handed to a search of the same position (trigo_search_set_root)
 * Errors  KVF_ERR_NOMEM, those of ask; a position out of context is none */
kvf_status trigo_evaluate(trigo_evaluation *out, const trigo_evaluator *evaluator,
                          const trigo_game *game, kvf_error *err);
void trigo_evaluation_free(trigo_evaluation *evaluation); /* zeroed is fine */

/* Knows nothing: value 0, equal priors. For tests, and to measure the search alone. */
trigo_evaluator trigo_uniform(void);

#endif
