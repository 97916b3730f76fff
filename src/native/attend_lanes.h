/* attend_lanes.h - one block of attention for one type of cache rows. Included by
 * vector_lanes.h with ELEMENT, LOAD, LOAD_N and NAME set. */

/* Products of queries of some rows with the keys of half as many positions as there are lanes, which
 * the rows have in common: each product in one chain for each lane, and half summed. */
static inline __attribute__((always_inline)) void NAME(products)(const int rows, vf half[TOGETHER],
                                                                 float *const *q, const ELEMENT *k,
                                                                 const size_t at[LANES / 2],
                                                                 uint32_t head_dim)
{
    vf sum[TOGETHER][LANES / 2];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < LANES / 2; j++) sum[r][j] = vf_set(0.0f);
    for (uint32_t d = 0; d < head_dim; d += LANES) {
#pragma GCC unroll 8
        for (int j = 0; j < LANES / 2; j++) {
            vf x = LOAD_N(k + at[j] + d, head_dim - d);
            if (rows > 1) x = vf_once(x);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++) /* q is padded with zeros */
                sum[r][j] = vf_fma(vf_load(q[r] + d), x, sum[r][j]);
        }
    }
    for (int r = 0; r < rows; r++) half[r] = vf_half_sums(sum[r]);
}

/* Positions p and p + 1 of some rows, which have them in common, for `count` vectors. */
static inline __attribute__((always_inline)) void
NAME(add_two)(const int rows, const int count, const uint32_t side, vf (*even)[4], vf (*odd)[4],
              const vf_weights *weights, const ELEMENT *v, const size_t *at, uint32_t p)
{
    vf first[TOGETHER], second[TOGETHER];
    for (int r = 0; r < rows; r++) {
        first[r] = vf_spread(weights[r] + p * side, side);
        second[r] = vf_spread(weights[r] + (p + 1) * side, side);
    }
#pragma GCC unroll 4
    for (int i = 0; i < count; i++) {
        vf x = LOAD(v + at[p] + i * LANES), y = LOAD(v + at[p + 1] + i * LANES);
        if (rows > 1) x = vf_once(x), y = vf_once(y);
#pragma GCC unroll 2
        for (int r = 0; r < rows; r++) {
            even[r][i] = vf_fma(first[r], x, even[r][i]);
            odd[r][i] = vf_fma(second[r], y, odd[r][i]);
        }
    }
}

/* `count` vectors of a = a * before + sum of weight * v, for some rows, which have their first
 * `shared` positions in common, an even number. Each element is two chains, over even and over odd
 * positions of the block, so that enough sums are under way. */
static inline __attribute__((always_inline)) void
NAME(add)(const int rows, const int count, const uint32_t side, float *const *a, size_t to,
          const vf *before, const vf_weights *weights, const ELEMENT *v, const size_t *const *at,
          const uint32_t *n, uint32_t shared)
{
    vf even[TOGETHER][4], odd[TOGETHER][4];
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < count; i++) even[r][i] = odd[r][i] = vf_set(0.0f);
    for (uint32_t p = 0; p < shared; p += 2)
        NAME(add_two)(rows, count, side, even, odd, weights, v, at[0], p);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        uint32_t p = shared;
        for (; p + 1 < n[r]; p += 2)
            NAME(add_two)(1, count, side, even + r, odd + r, weights + r, v, at[r], p);
        for (int i = 0; i < count; i++) {
            if (p < n[r])
                even[r][i] = vf_fma(vf_spread(weights[r] + p * side, side),
                                    LOAD(v + at[r][p] + i * LANES), even[r][i]);
            float *y = a[r] + to + i * LANES;
            vf_store(y, vf_fma(vf_load(y), before[r], vf_add(even[r][i], odd[r][i])));
        }
    }
}

/* The same for one vector of one head of which the first `width` elements count. */
static inline void NAME(add_some)(float *a, vf before, const float *weights, const ELEMENT *v,
                                  const size_t *at, uint32_t n, uint32_t width)
{
    vf even = vf_set(0.0f), odd = even;
    for (uint32_t p = 0; p < n; p++) {
        vf x = LOAD_N(v + at[p], width);
        if (p % 2)
            odd = vf_fma(vf_set(weights[p]), x, odd);
        else
            even = vf_fma(vf_set(weights[p]), x, even);
    }
    vf_store(a, vf_fma(vf_load(a), before, vf_add(even, odd)));
}

/* Scores of LANES positions from p on. */
static inline __attribute__((always_inline)) void
NAME(wide_scores)(const int rows, vf (*scores)[KVF_BLOCK / LANES], float *const *q,
                  const ELEMENT *k, const size_t *at, uint32_t p, uint32_t n, uint32_t head_dim)
{
    vf first[TOGETHER], second[TOGETHER];
    NAME(products)(rows, first, q, k, at + p, head_dim);
    NAME(products)(rows, second, q, k, at + p + LANES / 2, head_dim);
    for (int r = 0; r < rows; r++)
        scores[r][p / LANES] =
            vf_first(n - p, vf_whole_sums(first[r], second[r]), vf_set(-INFINITY));
}

/* A wide head of some rows, which have their first `shared` positions in common, a multiple of
 * LANES: those are loaded once. */
static inline __attribute__((always_inline)) void
NAME(head)(const int rows, uint32_t head_dim, const ELEMENT *k, const ELEMENT *v,
           const size_t *const *at, const uint32_t *n, uint32_t shared, float *const *state)
{
    vf scores[TOGETHER][KVF_BLOCK / LANES], before[TOGETHER];
    vf_weights weights[TOGETHER];
    float *q[TOGETHER];
    for (int r = 0; r < rows; r++) q[r] = state[r] + state_q(1, head_dim);
    for (uint32_t p = 0; p < shared; p += LANES)
        NAME(wide_scores)(rows, scores, q, k, at[0], p, shared, head_dim);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        for (uint32_t p = shared; p < n[r]; p += LANES)
            NAME(wide_scores)(1, scores + r, q + r, k, at[r], p, n[r], head_dim);
        before[r] = online_softmax(state[r], scores[r], n[r], weights[r]);
    }
    uint32_t d = 0;
    for (; d + 4 * LANES <= head_dim; d += 4 * LANES)
        NAME(add)(rows, 4, 1, state, STATE_A + d, before, weights, v + d, at, n, shared);
    for (; d < head_dim; d += LANES)
        for (int r = 0; r < rows; r++) {
            float *a = state[r] + STATE_A + d;
            NAME(add_some)(a, before[r], weights[r], v + d, at[r], n[r], head_dim - d);
        }
}

/* Scores of STEP positions from p on for some rows, which have them in common: a vector is `parts`
 * elements of `side` heads, or what `parts` positions have for them. */
static inline __attribute__((always_inline)) void
NAME(scores)(const int rows, const uint32_t side, const uint32_t vectors, const ELEMENT *k,
             const size_t *at, uint32_t p, uint32_t n, float *const *state, vf_weights *weights,
             vf *top)
{
    const uint32_t parts = LANES / side;
    const size_t q = STATE_A + vectors * LANES;
    vf sum[TOGETHER][STEP];
    for (int r = 0; r < rows; r++)
        for (int j = 0; j < STEP; j++) sum[r][j] = vf_set(0.0f);
#pragma GCC unroll 4
    for (uint32_t i = 0; i < vectors; i++)
#pragma GCC unroll 4
        for (int j = 0; j < STEP; j++) {
            vf x = LOAD(k + at[p + j] + i * LANES);
            if (rows > 1) x = vf_once(x);
#pragma GCC unroll 2
            for (int r = 0; r < rows; r++)
                sum[r][j] = vf_fma(vf_load(state[r] + q + i * LANES), x, sum[r][j]);
        }
    for (int r = 0; r < rows; r++)
        for (uint32_t j = 0; j < STEP; j += parts) {
            vf s = vf_fold(sum[r] + j, side);
            if (n < p + STEP)
                s = vf_first(n > p + j ? (n - p - j) * side : 0, s, vf_set(-INFINITY));
            vf_store(weights[r] + (p + j) * side, s);
            top[r] = vf_max(top[r], s);
        }
}

/* The heads of a bundle, each in its lanes, for some rows, which have their first `shared` positions
 * in common, a multiple of STEP: those are loaded once. */
static inline __attribute__((always_inline)) void
NAME(bundle)(const int rows, const uint32_t side, const uint32_t vectors, const ELEMENT *k,
             const ELEMENT *v, const size_t *const *at, const uint32_t *n, uint32_t shared,
             float *const *state)
{
    vf_weights weights[TOGETHER];
    vf top[TOGETHER], before[TOGETHER];
    for (int r = 0; r < rows; r++) top[r] = vf_set(-INFINITY);
    for (uint32_t p = 0; p < shared; p += STEP)
        NAME(scores)(rows, side, vectors, k, at[0], p, shared, state, weights, top);
#pragma GCC unroll 2
    for (int r = 0; r < rows; r++) {
        for (uint32_t p = shared; p < n[r]; p += STEP)
            NAME(scores)(1, side, vectors, k, at[r], p, n[r], state + r, weights + r, top + r);
        vf m = vf_load(state[r] + STATE_M), highest = vf_max(m, vf_parts_max(top[r], side));
        before[r] = vf_exp2(vf_sub(m, highest));
        vf l = vf_mul(vf_load(state[r] + STATE_L), before[r]);
        for (uint32_t i = 0; i < n[r] * side; i += LANES) {
            vf w = vf_exp2(vf_sub(vf_load(weights[r] + i), highest));
            l = vf_add(l, w);
            vf_store(weights[r] + i, w);
        }
        vf_store(state[r] + STATE_M, highest);
        vf_store(state[r] + STATE_L, l);
    }
    uint32_t i = 0;
    for (; i + 4 <= vectors; i += 4, v += 4 * LANES)
        NAME(add)(rows, 4, side, state, STATE_A + i * LANES, before, weights, v, at, n, shared);
    for (; i < vectors; i++, v += LANES)
        NAME(add)(rows, 1, side, state, STATE_A + i * LANES, before, weights, v, at, n, shared);
}

/* One bundle, or one head, of some rows. */
static inline __attribute__((always_inline)) void
NAME(rows)(const int rows, uint32_t side, uint32_t head_dim, const ELEMENT *k, const ELEMENT *v,
           const size_t *const *at, const uint32_t *n, uint32_t shared, float *const *state)
{
    const uint32_t vectors = side * head_dim / LANES;
    switch (side) {
    case 1:
        if (head_dim == 4 * LANES)
            NAME(head)(rows, 4 * LANES, k, v, at, n, shared, state);
        else
            NAME(head)(rows, head_dim, k, v, at, n, shared, state);
        break;
    case 4: NAME(bundle)(rows, 4, vectors, k, v, at, n, shared, state); break;
    case 8:
        if (vectors == 4)
            NAME(bundle)(rows, 8, 4, k, v, at, n, shared, state);
        else
            NAME(bundle)(rows, 8, vectors, k, v, at, n, shared, state);
        break;
    default: NAME(bundle)(rows, LANES, vectors, k, v, at, n, shared, state); break;
    }
}

static void NAME(attend)(const kvf_attend *b)
{
    size_t offsets[KVF_ATTEND_ROWS][KVF_BLOCK];
    const size_t *at[KVF_ATTEND_ROWS], size = state_size_lanes(b->side, b->head_dim);
    uint32_t shared[KVF_ATTEND_ROWS]; /* of the second row of a pair, with the first */
    for (uint32_t r = 0; r < b->rows; r++) {
        const uint32_t *slots = b->slots[r], stride = (uint32_t)b->stride;
        bool same = r && slots == b->slots[r - 1];
        at[r] = same ? at[r - 1] : offsets[r];
        for (uint32_t p = 0; !same && p < KVF_BLOCK; p++) offsets[r][p] = (size_t)slots[p] * stride;
        if (TOGETHER == 1 || r % TOGETHER == 0) continue;
        shared[r] = in_common(slots, b->slots[r - 1], b->n[r], b->n[r - 1]);
        shared[r] -= shared[r] % (b->side == 1 ? LANES : STEP);
    }
    for (uint32_t i = 0; i < b->bundles * b->group; i++) {
        size_t first = (size_t)(i / b->group) * b->side * b->head_dim;
        const ELEMENT *k = (const ELEMENT *)b->k + first, *v = (const ELEMENT *)b->v + first;
        for (uint32_t r = 0, some; r < b->rows; r += some) {
            float *state[TOGETHER];
            some = b->rows - r >= TOGETHER ? TOGETHER : 1;
            for (uint32_t j = 0; j < some; j++) state[j] = b->state[r + j] + i * size;
            if (TOGETHER > 1 && some == TOGETHER) {
                uint32_t common = shared[r + TOGETHER - 1];
                NAME(rows)(TOGETHER, b->side, b->head_dim, k, v, at + r, b->n + r, common, state);
            } else {
                NAME(rows)(1, b->side, b->head_dim, k, v, at + r, b->n + r, 0, state);
            }
        }
    }
}
