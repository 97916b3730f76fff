/* elo.c - see elo.h. */
#include "trigo/elo.h"

#include <math.h>

enum { RESULTS = 5 };

/* The score of a result. */
static double score_of(int result)
{
    return result / 4.0;
}

static double elo_of_score(double score)
{
    if (score <= 0) return -INFINITY;
    if (score >= 1) return INFINITY;
    return 400 * log10(score / (1 - score));
}

static double score_of_elo(double elo)
{
    return 1 / (1 + pow(10, -elo / 400));
}

trigo_elo trigo_elo_of(const trigo_pairs *pairs)
{
    double n = 0, mean = 0, squares = 0;
    for (int i = 0; i < RESULTS; i++) {
        n += pairs->n[i];
        mean += pairs->n[i] * score_of(i);
        squares += pairs->n[i] * score_of(i) * score_of(i);
    }
    mean = n > 0 ? mean / n : 0.5;
    trigo_elo e = {.score = mean, .elo = elo_of_score(mean), .low = -INFINITY, .high = INFINITY};
    double variance = n > 0 ? squares / n - mean * mean : 0;
    if (n < 2 || variance < 1e-12) return e;
    double margin = 1.96 * sqrt(variance / (n - 1));
    e.low = elo_of_score(mean - margin);
    e.high = elo_of_score(mean + margin);
    return e;
}

/* How much less likely what was seen is, in the best distribution of mean s, than in the best one
 * of all: minus its logarithm, for one pair. That distribution is seen[i] / (1 + t (score - s)), with
 * the t that gives it this mean; the derivative falls over t, so t is found by halving. */
static double distance(const double seen[RESULTS], double s)
{
    double low = -1 / (1 - s), high = 1 / s, sum = 0;
    for (int k = 0; k < 100; k++) {
        double t = (low + high) / 2, slope = 0;
        for (int i = 0; i < RESULTS; i++)
            slope += seen[i] * (score_of(i) - s) / (1 + t * (score_of(i) - s));
        *(slope > 0 ? &low : &high) = t;
    }
    for (int i = 0; i < RESULTS; i++) sum += seen[i] * log1p((low + high) / 2 * (score_of(i) - s));
    return sum;
}

trigo_sprt_state trigo_sprt_of(const trigo_sprt *sprt, const trigo_pairs *pairs)
{
    trigo_sprt_state s = {.lower = log(sprt->beta / (1 - sprt->alpha)),
                          .upper = log((1 - sprt->beta) / sprt->alpha)};
    double seen[RESULTS], n = 0;
    for (int i = 0; i < RESULTS; i++) n += seen[i] = pairs->n[i] ? pairs->n[i] : 1e-3;
    for (int i = 0; i < RESULTS; i++) seen[i] /= n;
    if (n < 1) return s; /* no pair */
    s.llr =
        n * (distance(seen, score_of_elo(sprt->elo0)) - distance(seen, score_of_elo(sprt->elo1)));
    return s;
}
