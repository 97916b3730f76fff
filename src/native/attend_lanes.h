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

/* a = a * before + sum of weight * v. Each element is two chains, over even and over odd positions
 * of the block, so that the processor has two things to do at a time. */
static inline void NAME(add_four)(float *a, vf before, const float *weights,
                                  const ELEMENT *const *v, size_t at, uint32_t n)
{
    vf even[4], odd[4];
    for (int i = 0; i < 4; i++) even[i] = odd[i] = vf_set(0.0f);
    for (uint32_t p = 0; p + 1 < n; p += 2) {
        vf w0 = vf_set(weights[p]), w1 = vf_set(weights[p + 1]);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) {
            even[i] = vf_fma(w0, LOAD(v[p] + at + i * LANES), even[i]);
            odd[i] = vf_fma(w1, LOAD(v[p + 1] + at + i * LANES), odd[i]);
        }
    }
    for (int i = 0; i < 4; i++) {
        if (n % 2)
            even[i] = vf_fma(vf_set(weights[n - 1]), LOAD(v[n - 1] + at + i * LANES), even[i]);
        vf_store(a + i * LANES, vf_fma(vf_load(a + i * LANES), before, vf_add(even[i], odd[i])));
    }
}

/* The same for one vector of which the first `width` elements count. */
static inline void NAME(add_one)(float *a, vf before, const float *weights, const ELEMENT *const *v,
                                 size_t at, uint32_t n, uint32_t width)
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
                              size_t at, const float *q, float *state)
{
    vf scores[KVF_BLOCK / LANES], sum[LANES];
    float weights[KVF_BLOCK];
    for (uint32_t p = 0; p < b->n; p += LANES) {
        NAME(products)(sum, q, k + p, at, b->head_dim);
        scores[p / LANES] = vf_first(b->n - p, vf_sums(sum), vf_set(-INFINITY));
    }
    vf before = online_softmax(state, scores, b->n, weights);
    uint32_t d = 0;
    for (; d + 4 * LANES <= b->head_dim; d += 4 * LANES)
        NAME(add_four)(state + STATE_A + d, before, weights, v, at + d, b->n);
    for (; d < b->head_dim; d += LANES)
        NAME(add_one)(state + STATE_A + d, before, weights, v, at + d, b->n, b->head_dim - d);
}

#ifdef HALF_LANES
/* Two neighbouring heads of half a vector each, with the same bits as one after the other. */
static inline void NAME(two_heads)(const kvf_attend *b, const ELEMENT *const *k,
                                   const ELEMENT *const *v, size_t at, const float *q, float *state)
{
    enum { SIZE = STATE_A + LANES };
    vf scores[2][KVF_BLOCK / LANES], x = vf_load(q);
    float weights[2][KVF_BLOCK];
    for (uint32_t p = 0; p < b->n; p += LANES) {
        vf product[LANES];
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) product[j] = vf_mul(x, LOAD(k[p + j] + at));
        for (int h = 0; h < 2; h++) scores[h][p / LANES] = vf_set(-INFINITY);
        vf low, high;
        vf_half_sums(product, &low, &high);
        scores[0][p / LANES] = vf_first(b->n - p, low, scores[0][p / LANES]);
        scores[1][p / LANES] = vf_first(b->n - p, high, scores[1][p / LANES]);
    }
    vf before = vf_halves(online_softmax(state, scores[0], b->n, weights[0]),
                          online_softmax(state + SIZE, scores[1], b->n, weights[1]));
    vf even = vf_set(0.0f), odd = even;
    for (uint32_t p = 0; p + 1 < b->n; p += 2) {
        even = vf_fma(vf_set_halves(&weights[0][p], &weights[1][p]), LOAD(v[p] + at), even);
        odd =
            vf_fma(vf_set_halves(&weights[0][p + 1], &weights[1][p + 1]), LOAD(v[p + 1] + at), odd);
    }
    if (b->n % 2) {
        uint32_t p = b->n - 1;
        even = vf_fma(vf_set_halves(&weights[0][p], &weights[1][p]), LOAD(v[p] + at), even);
    }
    vf a = vf_join(state + STATE_A, state + SIZE + STATE_A);
    vf_split(state + STATE_A, state + SIZE + STATE_A, vf_fma(a, before, vf_add(even, odd)));
}
#endif

static void NAME(attend)(const kvf_attend *b)
{
    const ELEMENT *k[KVF_BLOCK], *v[KVF_BLOCK];
    for (uint32_t p = 0; p < (b->n + LANES - 1) / LANES * LANES; p++) {
        /* beyond the end the last one again: its scores are masked */
        size_t at = (size_t)b->slots[p < b->n ? p : b->n - 1] * b->stride;
        k[p] = (const ELEMENT *)b->k + at;
        v[p] = (const ELEMENT *)b->v + at;
    }
    size_t size = state_size_lanes(b->head_dim);
    uint32_t h = 0;
#ifdef HALF_LANES
    for (; b->head_dim == LANES / 2 && b->group == 1 && h + 2 <= b->heads; h += 2)
        for (uint32_t r = 0; r < b->rows; r++) NAME(two_heads)
    (b, k, v, (size_t)h * b->head_dim, b->q[r] + (size_t)h * b->head_dim, b->state[r] + h * size);
#endif
    for (; h < b->heads; h++)
        for (uint32_t r = 0; r < b->rows; r++)
            for (uint32_t g = h * b->group; g < (h + 1) * b->group; g++) NAME(head)
    (b, k, v, (size_t)h * b->head_dim, b->q[r] + (size_t)g * b->head_dim, b->state[r] + g * size);
}
