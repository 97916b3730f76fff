/* elo.h - how much stronger one player is, from games played in pairs.
 *
 * Two games of a pair have one opening and swapped sides, so they are no two independent samples;
 * a pair is one. It has five results, by the points of the first player: 0, 1/2, 1, 3/2, 2
 * ("pentanomial"). With n pairs of mean score s (from 0 to 1) and variance v (of the sample),
 *
 *     Elo difference   400 log10(s / (1 - s))                       Arpad Elo's logistic curve
 *     interval         the same of s -+ 1.96 sqrt(v / (n - 1))      normal approximation, 95 %
 *
 * Whether to go on is asked of the generalised sequential probability ratio test (Michel Van den
 * Bergh, "A practical introduction to the GSPRT"). The log-likelihood ratio compares the
 * distributions over the five results under which what was seen is most likely, among those with
 * the mean score s0, and among those with s1. Its usual normal approximation is not taken: it
 * decides after a few equal pairs. Results that did not occur are counted as 1/1000 of a pair, as in
 * Fishtest, for there may be such. The bounds are Abraham Wald's. */
#ifndef TRIGO_ELO_H
#define TRIGO_ELO_H

#include <stdint.h>

typedef struct trigo_pairs {
    uint32_t n[5]; /* pairs by twice the first player's points */
} trigo_pairs;

/* Elo differences; infinite where all games were won or lost. The interval has no limits as long as
 * all pairs ended alike: nothing is known of the variance then. */
typedef struct trigo_elo {
    double score; /* s */
    double elo, low, high;
} trigo_elo;

trigo_elo trigo_elo_of(const trigo_pairs *pairs); /* of no pairs: score 1/2 */

/* A test of two hypotheses: the difference is elo0, or elo1. */
typedef struct trigo_sprt {
    double elo0, elo1;  /* elo0 < elo1 */
    double alpha, beta; /* chances to accept elo1 though elo0 is true, and the reverse */
} trigo_sprt;

typedef struct trigo_sprt_state {
    double llr, lower, upper; /* elo0 is accepted at or below lower, elo1 at or above upper */
} trigo_sprt_state;

trigo_sprt_state trigo_sprt_of(const trigo_sprt *sprt, const trigo_pairs *pairs);

#endif
