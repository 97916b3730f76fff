/* attend_lanes.h - one block of attention for one type of cache rows. Included by
 * vector_lanes.h with ELEMENT, LOAD, LOAD_N and NAME set. */

/* Scores of LANES positions against one query head: each product runs over its lanes in one
 * chain, and LANES chains are folded into one vector. */
static inline vf NAME(scores)(const float *q, const ELEMENT *const k[LANES], uint32_t head_dim)
{
    vf sum[LANES];
    uint32_t whole = head_dim / LANES * LANES;
    for (int j = 0; j < LANES; j++) sum[j] = vf_set(0.0f);
    for (uint32_t d = 0; d < whole; d += LANES) {
        vf x = vf_load(q + d);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++) sum[j] = vf_fma(x, LOAD(k[j] + d), sum[j]);
    }
    if (whole < head_dim) {
        vf x = vf_load_n(q + whole, head_dim - whole);
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++)
            sum[j] = vf_fma(x, LOAD_N(k[j] + whole, head_dim - whole), sum[j]);
    }
    return vf_sums(sum);
}

/* a = a * before + sum over positions of weight * v, for up to four vectors of one head at a time:
 * each element is one chain in order of depth. */
static inline void NAME(accumulate)(float *a, vf before, const float *weights,
                                    const ELEMENT *const *v, uint32_t n, uint32_t head_dim)
{
    uint32_t d = 0;
    for (; d + 4 * LANES <= head_dim; d += 4 * LANES) {
        vf s0 = vf_mul(vf_load(a + d), before), s1 = vf_mul(vf_load(a + d + LANES), before);
        vf s2 = vf_mul(vf_load(a + d + 2 * LANES), before);
        vf s3 = vf_mul(vf_load(a + d + 3 * LANES), before);
        for (uint32_t p = 0; p < n; p++) {
            vf w = vf_set(weights[p]);
            s0 = vf_fma(w, LOAD(v[p] + d), s0);
            s1 = vf_fma(w, LOAD(v[p] + d + LANES), s1);
            s2 = vf_fma(w, LOAD(v[p] + d + 2 * LANES), s2);
            s3 = vf_fma(w, LOAD(v[p] + d + 3 * LANES), s3);
        }
        vf_store(a + d, s0);
        vf_store(a + d + LANES, s1);
        vf_store(a + d + 2 * LANES, s2);
        vf_store(a + d + 3 * LANES, s3);
    }
    for (; d < head_dim; d += LANES) {
        vf s = vf_mul(vf_load(a + d), before);
        if (d + LANES <= head_dim)
            for (uint32_t p = 0; p < n; p++) s = vf_fma(vf_set(weights[p]), LOAD(v[p] + d), s);
        else
            for (uint32_t p = 0; p < n; p++)
                s = vf_fma(vf_set(weights[p]), LOAD_N(v[p] + d, head_dim - d), s);
        vf_store(a + d, s);
    }
}

static void NAME(attend)(const kvf_attend *b)
{
    enum { N = KVF_BLOCK / LANES };
    const ELEMENT *k[KVF_BLOCK], *v[KVF_BLOCK];
    for (uint32_t p = 0; p < KVF_BLOCK;
         p++) { /* beyond the end: the last one again, masked below */
        size_t at = (size_t)b->slots[p < b->n ? p : b->n - 1] * b->stride;
        k[p] = (const ELEMENT *)b->k + at;
        v[p] = (const ELEMENT *)b->v + at;
    }
    size_t size = state_size_lanes(b->head_dim);
    float weights[KVF_BLOCK];
    for (uint32_t r = 0; r < b->rows; r++)
        for (uint32_t h = 0; h < b->group; h++) {
            const float *q = b->q[r] + (size_t)h * b->head_dim;
            float *state = b->state[r] + h * size;
            vf s[N];
            for (uint32_t i = 0; i < N; i++) {
                uint32_t begin = i * LANES, left = b->n > begin ? b->n - begin : 0;
                s[i] = vf_set(-INFINITY);
                if (left) s[i] = vf_first(left, NAME(scores)(q, k + begin, b->head_dim), s[i]);
            }
            vf before = online_softmax(state, s, weights);
            NAME(accumulate)(state + STATE_A, before, weights, v, b->n, b->head_dim);
        }
}
