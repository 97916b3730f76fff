/* attend_lanes.h - one block of attention for one type of cache rows. Included by
 * vector_lanes.h with ELEMENT, LOAD, LOAD_N and NAME set. */

/* Products of one query with the keys of LANES positions, lane by lane, each in one chain. */
static inline void NAME(products)(vf sum[LANES], const float *q, const ELEMENT *const k[LANES],
                                  size_t at, uint32_t head_dim)
{
    uint32_t whole = head_dim / LANES * LANES;
    for (int j = 0; j < LANES; j++) sum[j] = vf_set(0.0f);
    for (uint32_t d = 0; d < whole; d += LANES) {
        vf x = vf_load(q + d);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) sum[j] = vf_fma(x, LOAD(k[j] + at + d), sum[j]);
    }
    if (whole == head_dim) return;
    vf x = vf_load_n(q + whole, head_dim - whole);
#pragma GCC unroll 16
    for (int j = 0; j < LANES; j++)
        sum[j] = vf_fma(x, LOAD_N(k[j] + at + whole, head_dim - whole), sum[j]);
}

/* `count` vectors of a = a * before + sum of weight * v. Each element is two chains, over even and
 * over odd positions of the block, so that the processor has enough to do at a time. */
static inline __attribute__((always_inline)) void
NAME(add)(const int count, const uint32_t side, float *a, vf before, const float *weights,
          const ELEMENT *const *v, size_t at, uint32_t n)
{
    vf even[4], odd[4];
    for (int i = 0; i < count; i++) even[i] = odd[i] = vf_set(0.0f);
    for (uint32_t p = 0; p + 1 < n; p += 2) {
        vf w0 = vf_spread(weights + p * side, side), w1 = vf_spread(weights + (p + 1) * side, side);
#pragma GCC unroll 4
        for (int i = 0; i < count; i++) {
            even[i] = vf_fma(w0, LOAD(v[p] + at + i * LANES), even[i]);
            odd[i] = vf_fma(w1, LOAD(v[p + 1] + at + i * LANES), odd[i]);
        }
    }
    for (int i = 0; i < count; i++) {
        if (n % 2)
            even[i] = vf_fma(vf_spread(weights + (n - 1) * side, side),
                             LOAD(v[n - 1] + at + i * LANES), even[i]);
        vf_store(a + i * LANES, vf_fma(vf_load(a + i * LANES), before, vf_add(even[i], odd[i])));
    }
}

/* The same for one vector of one head of which the first `width` elements count. */
static inline void NAME(add_some)(float *a, vf before, const float *weights,
                                  const ELEMENT *const *v, size_t at, uint32_t n, uint32_t width)
{
    vf even = vf_set(0.0f), odd = even;
    for (uint32_t p = 0; p < n; p++) {
        vf x = LOAD_N(v[p] + at, width);
        if (p % 2)
            odd = vf_fma(vf_set(weights[p]), x, odd);
        else
            even = vf_fma(vf_set(weights[p]), x, even);
    }
    vf_store(a, vf_fma(vf_load(a), before, vf_add(even, odd)));
}

static inline void NAME(head)(const kvf_attend *b, const ELEMENT *const *k, const ELEMENT *const *v,
                              size_t at, float *state)
{
    const float *q = state + state_q(1, b->head_dim);
    vf scores[KVF_BLOCK / LANES], sum[LANES];
    float weights[KVF_BLOCK];
    for (uint32_t p = 0; p < b->n; p += LANES) {
        NAME(products)(sum, q, k + p, at, b->head_dim);
        scores[p / LANES] = vf_first(b->n - p, vf_sums(sum), vf_set(-INFINITY));
    }
    vf before = online_softmax(state, scores, b->n, weights);
    uint32_t d = 0;
    for (; d + 4 * LANES <= b->head_dim; d += 4 * LANES)
        NAME(add)(4, 1, state + STATE_A + d, before, weights, v, at + d, b->n);
    for (; d < b->head_dim; d += LANES)
        NAME(add_some)(state + STATE_A + d, before, weights, v, at + d, b->n, b->head_dim - d);
}

/* The heads of a bundle, each in its lanes: a vector is `parts` elements of `side` heads, or what
 * `parts` positions have for them. */
static inline __attribute__((always_inline)) void
NAME(bundle)(const kvf_attend *b, const uint32_t side, const uint32_t vectors,
             const ELEMENT *const *k, const ELEMENT *const *v, size_t at, float *state)
{
    enum { STEP = 4 }; /* positions whose products are under way together */
    const uint32_t parts = LANES / side, n = b->n;
    const float *q = state + state_q(side, b->head_dim);
    float weights[KVF_BLOCK * LANES];
    vf top = vf_set(-INFINITY);
    for (uint32_t p = 0; p < n; p += STEP) {
        vf sum[STEP];
        for (int j = 0; j < STEP; j++) sum[j] = vf_set(0.0f);
        for (uint32_t i = 0; i < vectors; i++) {
            vf x = vf_load(q + i * LANES);
#pragma GCC unroll 4
            for (int j = 0; j < STEP; j++)
                sum[j] = vf_fma(x, LOAD(k[p + j] + at + i * LANES), sum[j]);
        }
        for (uint32_t j = 0; j < STEP; j += parts) {
            vf s = vf_fold(sum + j, side);
            if (n - p < STEP)
                s = vf_first(n > p + j ? (n - p - j) * side : 0, s, vf_set(-INFINITY));
            vf_store(weights + (p + j) * side, s);
            top = vf_max(top, s);
        }
    }
    vf m = vf_load(state + STATE_M), highest = vf_max(m, vf_parts_max(top, side));
    vf before = vf_exp2_below_1(vf_sub(m, highest)), l = vf_mul(vf_load(state + STATE_L), before);
    for (uint32_t i = 0; i < n * side; i += LANES) {
        vf w = vf_exp2_below_1(vf_sub(vf_load(weights + i), highest));
        l = vf_add(l, w);
        vf_store(weights + i, w);
    }
    vf_store(state + STATE_M, highest);
    vf_store(state + STATE_L, l);
    uint32_t i = 0;
    for (float *a = state + STATE_A; i + 4 <= vectors; i += 4)
        NAME(add)(4, side, a + i * LANES, before, weights, v, at + i * LANES, n);
    for (float *a = state + STATE_A; i < vectors; i++)
        NAME(add)(1, side, a + i * LANES, before, weights, v, at + i * LANES, n);
}

static void NAME(attend)(const kvf_attend *b)
{
    const ELEMENT *k[KVF_BLOCK], *v[KVF_BLOCK];
    for (uint32_t p = 0; p < (b->n + LANES - 1) / LANES * LANES; p++) {
        /* beyond the end the last one again: its scores are masked */
        size_t at = (size_t)b->slots[p < b->n ? p : b->n - 1] * b->stride;
        k[p] = (const ELEMENT *)b->k + at;
        v[p] = (const ELEMENT *)b->v + at;
    }
    size_t size = state_size_lanes(b->side, b->head_dim);
    uint32_t vectors = b->side * b->head_dim / LANES;
    for (uint32_t i = 0; i < b->bundles * b->group; i++) {
        size_t at = (size_t)(i / b->group) * b->side * b->head_dim;
        for (uint32_t r = 0; r < b->rows; r++) {
            float *state = b->state[r] + i * size;
            switch (b->side) {
            case 1: NAME(head)(b, k, v, at, state); break;
            case 4: NAME(bundle)(b, 4, vectors, k, v, at, state); break;
            case 8:
                if (vectors == 4)
                    NAME(bundle)(b, 8, 4, k, v, at, state);
                else
                    NAME(bundle)(b, 8, vectors, k, v, at, state);
                break;
            default: NAME(bundle)(b, LANES, vectors, k, v, at, state); break;
            }
        }
    }
}
