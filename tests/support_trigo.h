/* support_trigo.h - an evaluator without a model for tests of the search: answers are a hash of the
 * moves, so that equal positions get equal answers and everything else differs. */
#ifndef SUPPORT_TRIGO_H
#define SUPPORT_TRIGO_H

#include "trigo/evaluator.h"

typedef struct hash_evaluator {
    uint32_t most_plies; /* longer games are out of context; 0: none are */
    uint32_t fail_at;    /* the n-th call from now fails (1: the next); 0: none */
    uint64_t calls, values, priors;
    uint32_t widest; /* questions of the largest call */
} hash_evaluator;

trigo_evaluator hash_evaluator_of(hash_evaluator *h);

/* What it says of a position. moves [n] from the empty board; priors [candidates->n] or NULL. */
double hash_value(const trigo_move *moves, uint32_t n);
void hash_priors(const trigo_move *moves, uint32_t n, const trigo_candidates *c, double *priors);

/* A game of random legal moves, mostly drops, that has not ended. */
trigo_game *random_game(trigo_shape shape, uint32_t plies, uint64_t seed);

#endif
