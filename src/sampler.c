/* sampler.c - from logits to a token: greedy, temperature, top-k, top-p.
 *
 * Equal seeds, options and logits give equal tokens on every machine. So the exponential is our
 * own: basic operations of IEEE 754 doubles round alike everywhere, a libm's exp does not. Sums run
 * in a fixed order, and ties go to the lower id. Exactly one random number is drawn per token
 * when temperature is not zero. Only as many tokens are sorted as top-k and top-p ask for. */
#include "base.h"
#include "rng.h"

#include <math.h>

typedef struct candidate {
    double weight; /* exp((logit - largest) / temperature) */
    float logit;
    int32_t token;
} candidate;

struct kvf_sampler {
    kvf_sampling how;
    kvf_rng rng;
    uint32_t vocab;
    candidate *candidates; /* [vocab]; NULL if greedy */
};

kvf_status kvf_sampler_create(kvf_sampler **out, uint32_t vocab, const kvf_sampling *how,
                              uint64_t seed, kvf_error *err)
{
    kvf_sampling h = how ? *how : (kvf_sampling){0};
    *out = NULL;
    if (vocab == 0 || vocab > INT32_MAX)
        return kvf_fail(err, KVF_ERR_ARG, "vocab is %u, but should be 1 to %d", vocab, INT32_MAX);
    if (!(h.temperature >= 0) || isinf(h.temperature))
        return kvf_fail(err, KVF_ERR_ARG, "temperature is %g, but should be finite and at least 0",
                        h.temperature);
    if (!(h.top_p >= 0 && h.top_p <= 1))
        return kvf_fail(err, KVF_ERR_ARG, "top_p is %g, but should be 0 to 1", h.top_p);
    kvf_sampler *s = kvf_array(1, sizeof *s);
    if (s && h.temperature > 0) s->candidates = kvf_array(vocab, sizeof *s->candidates);
    if (!s || (h.temperature > 0 && !s->candidates)) {
        kvf_sampler_destroy(s);
        return kvf_fail(err, KVF_ERR_NOMEM, "no memory for a sampler of %u tokens", vocab);
    }
    s->how = h;
    s->vocab = vocab;
    kvf_rng_seed(&s->rng, seed);
    *out = s;
    return KVF_OK;
}

void kvf_sampler_destroy(kvf_sampler *s)
{
    if (!s) return;
    kvf_free(s->candidates);
    kvf_free(s);
}

/* exp(x) for x <= 0, within a few units in the last place: x = k ln 2 + r, and the power series
 * of r, whose first term left out is below 2^-57 for |r| <= ln 2 / 2. */
static double exp_negative(double x)
{
    if (!(x > -745)) return 0;
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    double k = floor(x * 0x1.71547652b82fep0 + 0.5);
    double r = x - k * ln2_high - k * ln2_low, sum = 1;
    for (int i = 13; i >= 1; i--) sum = 1 + sum * r / i;
    return ldexp(sum, (int)k);
}

/* ---- the most likely ones -------------------------------------------------------------------- */

static bool before(const candidate *a, const candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->token < b->token);
}

static void sift_down(candidate *heap, size_t n, size_t i)
{
    candidate c = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child])) child++;
        if (!before(&heap[child], &c)) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

/* Take the first out of a heap of n, and put it behind the rest. */
static const candidate *pop(candidate *heap, size_t n)
{
    candidate first = heap[0];
    heap[0] = heap[n - 1];
    sift_down(heap, n - 1, 0);
    heap[n - 1] = first;
    return &heap[n - 1];
}

/* Keep the most likely tokens that top-k and top-p leave: they lie at the end, the most likely
 * last. Returns how many, and their weight. */
static size_t keep_best(kvf_sampler *s, double *weight)
{
    candidate *heap = s->candidates;
    size_t n = s->vocab, popped = 0, kept = 0;
    double total = 0, enough;
    for (size_t i = n / 2; i-- > 0;) sift_down(heap, n, i);
    size_t most = s->how.top_k && s->how.top_k < n ? s->how.top_k : n;
    if (most < n)
        while (popped < most) total += pop(heap, n - popped++)->weight;
    else
        total = *weight;
    enough = s->how.top_p > 0 && s->how.top_p < 1 ? s->how.top_p * total : INFINITY;
    for (*weight = 0; kept < most && *weight < enough; kept++) {
        if (kept == popped) pop(heap, n - popped++);
        *weight += heap[n - 1 - kept].weight;
    }
    return kept;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static kvf_status check_logits(const float *logits, uint32_t n, uint32_t *largest, kvf_error *err)
{
    bool finite = false;
    *largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (isnan(logits[i])) return kvf_fail(err, KVF_ERR_NAN, "logits[%u] of %u is NaN", i, n);
        finite |= !isinf(logits[i]);
        if (logits[i] > logits[*largest]) *largest = i;
    }
    return finite ? KVF_OK : kvf_fail(err, KVF_ERR_NAN, "none of %u logits is finite", n);
}

kvf_status kvf_sample(kvf_sampler *s, const float *logits, int32_t *token, kvf_error *err)
{
    uint32_t largest;
    kvf_status status = check_logits(logits, s->vocab, &largest, err);
    if (status) return status;
    if (s->how.temperature == 0) {
        *token = (int32_t)largest;
        return KVF_OK;
    }
    double weight = 0;
    for (uint32_t i = 0; i < s->vocab; i++) {
        candidate *c = &s->candidates[i];
        /* Equal ones are told apart from infinity minus infinity. */
        double below = logits[i] == logits[largest] ? 0 : (double)logits[i] - logits[largest];
        *c = (candidate){exp_negative(below / s->how.temperature), logits[i], (int32_t)i};
        weight += c->weight;
    }
    bool best_only =
        (s->how.top_k && s->how.top_k < s->vocab) || (s->how.top_p > 0 && s->how.top_p < 1);
    size_t kept = best_only ? keep_best(s, &weight) : s->vocab;
    const candidate *c = s->candidates + s->vocab - kept;
    double draw = kvf_rng_uniform(&s->rng) * weight;
    for (size_t i = 0; i < kept; i++) {
        if (c[i].weight > 0) *token = c[i].token; /* the last one if rounding passes them all */
        draw -= c[i].weight;
        if (draw < 0) break;
    }
    return KVF_OK;
}
