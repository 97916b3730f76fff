/* rng.c - xoshiro256** seeded by splitmix64; see rng.h for the source. */
#include "rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void kvf_rng_seed(kvf_rng *rng, uint64_t seed)
{
    /* splitmix64 is a permutation of its counter, so four words in a row are never all zero. */
    for (int i = 0; i < 4; i++) rng->s[i] = splitmix64(&seed);
}

uint64_t kvf_rng_derive(uint64_t seed, uint64_t n)
{
    uint64_t mixed = splitmix64(&seed) ^ n;
    return splitmix64(&mixed);
}

static uint64_t rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

uint64_t kvf_rng_next(kvf_rng *rng)
{
    uint64_t *s = rng->s, result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double kvf_rng_uniform(kvf_rng *rng)
{
    return (double)(kvf_rng_next(rng) >> 11) * 0x1p-53;
}

/* Daniel Lemire's multiplication (arXiv 1805.10941): the high half of a 32 x 32 bit product is the
 * result; the few low halves that would favour some results are thrown away. */
uint32_t kvf_rng_below(kvf_rng *rng, uint32_t n)
{
    if (n == 0) return 0;
    uint32_t unfair = -n % n;
    uint64_t product;
    do product = (kvf_rng_next(rng) >> 32) * n;
    while ((uint32_t)product < unfair);
    return (uint32_t)(product >> 32);
}

double kvf_rng_normal(kvf_rng *rng)
{
    /* Box and Muller; 1 - u is in (0, 1], so that the logarithm is finite. */
    double radius = sqrt(-2 * log(1 - kvf_rng_uniform(rng)));
    return radius * cos(6.283185307179586 * kvf_rng_uniform(rng));
}
