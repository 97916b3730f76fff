/* rng.h - seeded random numbers: the same sequence on every machine, for every seed.
 *
 * xoshiro256** by David Blackman and Sebastiano Vigna (https://prng.di.unimi.it), its state
 * filled from one 64-bit seed by splitmix64, as its authors advise. Not for secrets. A generator
 * is plain data: copy it to repeat a sequence; one per thread, there is no global one. */
#ifndef KVF_RNG_H
#define KVF_RNG_H

#include <stdint.h>

typedef struct kvf_rng {
    uint64_t s[4]; /* never all zero once seeded */
} kvf_rng;

void kvf_rng_seed(kvf_rng *rng, uint64_t seed);     /* any seed, 0 too */
uint64_t kvf_rng_derive(uint64_t seed, uint64_t n); /* a seed for the n-th of many */
uint64_t kvf_rng_next(kvf_rng *rng);                /* 64 random bits */
double kvf_rng_uniform(kvf_rng *rng);               /* in [0, 1), a multiple of 2^-53 */
uint32_t kvf_rng_below(kvf_rng *rng, uint32_t n);   /* in [0, n), without bias; 0 for n = 0 */
double kvf_rng_normal(kvf_rng *rng);                /* mean 0, variance 1 */

#endif
