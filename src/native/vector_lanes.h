/* vector_lanes.h - the table of vector.h, told once over LANES floats at a time. Included by
 * one file per instruction set, behind its lanes.
 *
 * A tail is always masked and goes through the same operations as full lanes: what an element
 * gets does not depend on where in an array it stands. */
#include "vector.h"

#include <math.h>
#include <string.h>

/* ---- both instruction sets have these -------------------------------------------------------- */

/* y[c][r] = s * x[r][c] of eight by eight */
static inline void turn_8x8(const float *x, size_t x_step, float s, float *y, size_t y_step)
{
    __m256 a[8], b[8];
    for (int i = 0; i < 8; i++)
        a[i] = _mm256_mul_ps(_mm256_loadu_ps(x + i * x_step), _mm256_set1_ps(s));
    for (int i = 0; i < 8; i += 2) { /* pairs of rows: columns 0 1 4 5, 2 3 6 7 */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) /* fours of rows: columns 0 4, 1 5, 2 6, 3 7 */
        for (int j = 0; j < 2; j++) {
            a[i + 2 * j] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0x44);
            a[i + 2 * j + 1] = _mm256_shuffle_ps(b[i + j], b[i + j + 2], 0xee);
        }
    for (int j = 0; j < 4; j++) {
        _mm256_storeu_ps(y + j * y_step, _mm256_permute2f128_ps(a[j], a[j + 4], 0x20));
        _mm256_storeu_ps(y + (j + 4) * y_step, _mm256_permute2f128_ps(a[j], a[j + 4], 0x31));
    }
}

/* ---- functions of one vector ----------------------------------------------------------------- */

/* 2^x = 2^n 2^r, n whole, 0 <= r < 1; 2^r by a polynomial whose relative error is below 3e-9 (fitted
 * by weighted least squares). Below the smallest normal number the result may be 0; NaN stays. */
static inline vf vf_exp2(vf x)
{
    vf r = vf_fraction(x), p = vf_set(2.16129168e-4f);
    p = vf_fma(p, r, vf_set(1.24678458e-3f));
    p = vf_fma(p, r, vf_set(9.67545164e-3f));
    p = vf_fma(p, r, vf_set(5.54852806e-2f));
    p = vf_fma(p, r, vf_set(0.240229306f));
    p = vf_fma(p, r, vf_set(0.693147044f));
    p = vf_fma(p, r, vf_set(1.0f));
    return vf_times_2_to(p, x);
}

/* 1 / (1 + 2^z), which is the sigmoid of -z ln 2 */
static inline vf vf_fall(vf z)
{
    return vf_div(vf_set(1.0f), vf_add(vf_set(1.0f), vf_exp2(z)));
}

static inline vf vf_sigmoid(vf x)
{
    return vf_fall(vf_mul(x, vf_set(-1.44269504f)));
}

static inline vf vf_tanh(vf x)
{
    vf a = vf_abs(x), e = vf_exp2(vf_mul(a, vf_set(-2.88539008f)));
    vf big = vf_div(vf_sub(vf_set(1.0f), e), vf_add(vf_set(1.0f), e));
    /* near 0 the quotient cancels: the series up to x^9 is good to 1e-8 there */
    vf s = vf_mul(x, x), p = vf_set(62.0f / 2835.0f);
    p = vf_fma(p, s, vf_set(-17.0f / 315.0f));
    p = vf_fma(p, s, vf_set(2.0f / 15.0f));
    p = vf_fma(p, s, vf_set(-1.0f / 3.0f));
    p = vf_fma(vf_mul(p, s), a, a);
    return vf_copysign(vf_if_less(a, vf_set(0.25f), p, big), x);
}

/* erf by x P(x^2) below 1, and above by 1 - 2^Q(x), where Q approximates the logarithm of erfc: both
 * fitted by weighted least squares, absolute error below 2e-9 before rounding. */
static inline vf vf_erf(vf x)
{
    vf a = vf_min(vf_set(4.0f), vf_abs(x)), s = vf_mul(x, x);
    vf p = vf_set(7.889118e-05f);
    p = vf_fma(p, s, vf_set(-0.00080208405f));
    p = vf_fma(p, s, vf_set(0.005189535f));
    p = vf_fma(p, s, vf_set(-0.026854444f));
    p = vf_fma(p, s, vf_set(0.112836f));
    p = vf_fma(p, s, vf_set(-0.37612626f));
    p = vf_fma(p, s, vf_set(1.1283791f));
    vf q = vf_set(0.00026772868f);
    q = vf_fma(q, a, vf_set(-0.00424097592f));
    q = vf_fma(q, a, vf_set(0.0314584992f));
    q = vf_fma(q, a, vf_set(-0.148651647f));
    q = vf_fma(q, a, vf_set(-0.92076485f));
    q = vf_fma(q, a, vf_set(-1.62597516f));
    q = vf_fma(q, a, vf_set(-0.000510285622f));
    vf big = vf_copysign(vf_sub(vf_set(1.0f), vf_exp2(q)), x);
    return vf_if_less(vf_abs(x), vf_set(1.0f), vf_mul(x, p), big);
}

static inline vf vf_act(kvf_act act, vf x)
{
    switch (act) {
    case KVF_ACT_GELU_ERF: {
        vf half = vf_mul(x, vf_set(0.5f));
        return vf_fma(half, vf_erf(vf_mul(x, vf_set(0.70710678f))), half);
    }
    case KVF_ACT_GELU_TANH: {
        /* x (1 + tanh u) / 2 is x sigmoid(2 u), and z = -2 u / ln 2 */
        vf z = vf_mul(x, vf_fma(vf_mul(x, x), vf_set(-0.102943240f), vf_set(-2.30220820f)));
        return vf_mul(x, vf_fall(z));
    }
    case KVF_ACT_RELU: return vf_max(vf_set(0.0f), x);
    case KVF_ACT_SILU: return vf_mul(x, vf_sigmoid(x));
    case KVF_ACT_TANH: return vf_tanh(x);
    case KVF_ACT_SIGMOID: return vf_sigmoid(x);
    case KVF_ACT_NONE: break;
    }
    return x;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void norm_lanes(const kvf_norm *norm, const float *x, float *y, size_t n)
{
    vf mean = vf_set(0.0f), sum = vf_set(0.0f), zero = vf_set(0.0f);
    if (norm->kind == KVF_NORM_LAYER) {
        for (size_t i = 0; i < n; i += LANES) sum = vf_add(sum, vf_load_n(x + i, n - i));
        mean = vf_set(vf_sum(sum) / (float)n);
        sum = zero;
    }
    for (size_t i = 0; i < n; i += LANES) {
        vf d = vf_first(n - i, vf_sub(vf_load_n(x + i, n - i), mean), zero);
        sum = vf_fma(d, d, sum);
    }
    vf r = vf_set(1.0f / sqrtf(vf_sum(sum) / (float)n + norm->eps));
    for (size_t i = 0; i < n; i += LANES) {
        vf v = vf_mul(vf_sub(vf_load_n(x + i, n - i), mean), r);
        if (norm->weight) v = vf_mul(v, vf_load_n(norm->weight + i, n - i));
        if (norm->bias) v = vf_add(v, vf_load_n(norm->bias + i, n - i));
        vf_store_n(y + i, v, n - i);
    }
}

static void act_lanes(kvf_act act, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_n(x + i, vf_act(act, vf_load_n(x + i, n - i)), n - i);
}

static void act_mul_lanes(kvf_act act, const float *gate, float *x, size_t n)
{
    for (size_t i = 0; i < n; i += LANES) {
        vf g = vf_act(act, vf_load_n(gate + i, n - i));
        vf_store_n(x + i, vf_mul(g, vf_load_n(x + i, n - i)), n - i);
    }
}

static void add_lanes(float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_n(x + i, vf_add(vf_load_n(x + i, n - i), vf_load_n(y + i, n - i)), n - i);
}

static void scale_lanes(const float *x, float s, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        vf_store_n(y + i, vf_mul(vf_load_n(x + i, n - i), vf_set(s)), n - i);
}

static float most_lanes(const float *x, size_t n)
{
    vf most = vf_set(-INFINITY);
    for (size_t i = 0; i < n; i += LANES)
        most = vf_max(vf_first(n - i, vf_load_n(x + i, n - i), most), most); /* NaN is left out */
    return vf_lanes_max(most);
}

/* A lane adds 16 numbers up before a double takes over: where many are alike, so are their rounding
 * errors. */
static double sum_exp_lanes(const float *x, float most, size_t n)
{
    enum { PART = 16 * LANES };
    double all = 0;
    for (size_t begin = 0, end; begin < n; begin = end) {
        vf sum = vf_set(0.0f);
        end = n - begin < PART ? n : begin + PART;
        for (size_t i = begin; i < end; i += LANES) {
            vf z = vf_mul(vf_sub(vf_load_n(x + i, end - i), vf_set(most)), vf_set(1.44269504f));
            sum = vf_add(sum, vf_exp2(vf_first(end - i, z, vf_set(-INFINITY))));
        }
        all += vf_sum(sum);
    }
    return all;
}

static void rotate_lanes(float *x, const float *cosine, const float *sine, uint32_t pairs,
                         bool interleaved)
{
    if (interleaved) {
        for (uint32_t j = 0; j < pairs; j++) {
            float a = x[2 * j], b = x[2 * j + 1];
            x[2 * j] = fmaf(a, cosine[j], -(b * sine[j]));
            x[2 * j + 1] = fmaf(b, cosine[j], a * sine[j]);
        }
        return;
    }
    vf zero = vf_set(0.0f);
    for (uint32_t j = 0; j < pairs; j += LANES) {
        size_t n = pairs - j;
        vf a = vf_load_n(x + j, n), b = vf_load_n(x + pairs + j, n);
        vf c = vf_load_n(cosine + j, n), s = vf_load_n(sine + j, n);
        vf_store_n(x + j, vf_fma(a, c, vf_sub(zero, vf_mul(b, s))), n);
        vf_store_n(x + pairs + j, vf_fma(b, c, vf_mul(a, s)), n);
    }
}

/* ---- attention ------------------------------------------------------------------------------- */

/* Narrow heads lie side by side: [LANES / side] elements of `side` heads in a vector. Wide ones do
 * not: a block of them alone leaves room in the first cache. */
enum { WIDEST_BUNDLE = 128, FEWEST = 4 };

static uint32_t side_lanes(uint32_t kv_heads, uint32_t head_dim)
{
    for (uint32_t side = LANES; side >= FEWEST; side /= 2)
        if (kv_heads % side == 0 && head_dim * side % LANES == 0 &&
            head_dim * side <= WIDEST_BUNDLE)
            return side;
    return 1;
}

/* y[c][r] = s * x[r][c], of any size; rows of x and y are x_step and y_step apart. The heads of a
 * bundle are turned so when they are stored, asked and answered. */
static void turn(const float *x, size_t x_step, float s, float *y, size_t y_step, uint32_t rows,
                 uint32_t columns)
{
    for (uint32_t r = 0; r < rows; r += 8)
        for (uint32_t c = 0; c < columns; c += 8) {
            const float *from = x + r * x_step + c;
            float *to = y + c * y_step + r;
            if (rows - r >= 8 && columns - c >= 8) {
                turn_8x8(from, x_step, s, to, y_step);
                continue;
            }
            for (uint32_t i = 0; i < 8 && r + i < rows; i++)
                for (uint32_t j = 0; j < 8 && c + j < columns; j++)
                    to[j * y_step + i] = s * from[i * x_step + j];
        }
}

static void store_f32_lanes(const float *x, void *row, uint32_t bundles, uint32_t side,
                            uint32_t head_dim)
{
    size_t size = (size_t)side * head_dim;
    float *y = row;
    if (side == 1) {
        memcpy(y, x, bundles * size * sizeof *y);
        return;
    }
    for (uint32_t b = 0; b < bundles; b++, x += size, y += size)
        turn(x, head_dim, 1.0f, y, side, side, head_dim);
}

static void store_bf16_lanes(const float *x, void *row, uint32_t bundles, uint32_t side,
                             uint32_t head_dim)
{
    size_t size = (size_t)side * head_dim, n = bundles * size;
    uint16_t *y = row;
    float bundle[WIDEST_BUNDLE];
    for (; side > 1 && n; x += size, y += size, n -= size) {
        store_f32_lanes(x, bundle, 1, side, head_dim);
        for (size_t i = 0; i < size; i += LANES) vf_store_bf16_n(y + i, vf_load(bundle + i), LANES);
    }
    for (size_t i = 0; i < n; i += LANES) vf_store_bf16_n(y + i, vf_load_n(x + i, n - i), n - i);
}

/* State of a bundle: m and l by lanes (of one head, m is a number), a, and q, the last two in order
 * of the cache's rows and padded to full lanes. Scores are powers of 2, not of e: q is scaled so. */
enum { STATE_M = 0, STATE_L = LANES, STATE_A = 2 * LANES };

static size_t state_q(uint32_t side, uint32_t head_dim)
{
    return STATE_A + (side * head_dim + LANES - 1) / LANES * LANES;
}

static size_t state_size_lanes(uint32_t side, uint32_t head_dim)
{
    return 2 * state_q(side, head_dim) - STATE_A;
}

static void attend_begin_lanes(float *state, const float *q, size_t step, float scale,
                               uint32_t side, uint32_t head_dim)
{
    float *to = state + state_q(side, head_dim);
    scale *= 1.44269504f; /* 1 / ln 2 */
    for (uint32_t i = 0; i < LANES; i++) state[STATE_M + i] = -INFINITY;
    memset(state + STATE_L, 0, (size_t)(to - state - STATE_L) * sizeof *state);
    if (side == 1 || !step) {
        scale_lanes(q, scale, to, (size_t)side * head_dim);
        return;
    }
    turn(q, step, scale, to, side, side, head_dim);
}

static void attend_end_lanes(const float *state, float *y, size_t step, uint32_t side,
                             uint32_t head_dim)
{
    vf l = vf_load(state + STATE_L);
    l = side == 1 ? vf_set(vf_sum(l)) : vf_parts_sum(l, side);
    float bundle[WIDEST_BUNDLE];
    for (uint32_t i = 0; i < side * head_dim; i += LANES) {
        vf a = vf_div(vf_load(state + STATE_A + i), l);
        if (side == 1)
            vf_store_n(y + i, a, head_dim - i);
        else
            vf_store(bundle + i, a);
    }
    if (side > 1) turn(bundle, side, 1.0f, y, step, head_dim, side);
}

/* The scores of a block become weights 2^(s - m'), and m and l move on. Returns 2^(m - m'), by
 * which what came before must be scaled: 1 where the maximum stayed, which is usual. */
static inline vf online_softmax(float *state, const vf *scores, uint32_t n, float *weights)
{
    vf top = vf_set(-INFINITY);
    for (uint32_t i = 0; i * LANES < n; i++) top = vf_max(top, scores[i]);
    float m = state[STATE_M], highest = vf_lanes_max(top);
    vf before = vf_set(1.0f), sum = vf_load(state + STATE_L);
    if (!(highest <= m)) { /* NaN too: it must not get lost */
        before = vf_exp2(vf_set(m - highest));
        sum = vf_mul(sum, before);
        state[STATE_M] = m = highest;
    }
    for (uint32_t i = 0; i * LANES < n; i++) {
        vf w = vf_exp2(vf_sub(scores[i], vf_set(m)));
        sum = vf_add(sum, w);
        vf_store(weights + i * LANES, w);
    }
    vf_store(state + STATE_L, sum);
    return before;
}

enum { STEP = 4 }; /* positions whose products with narrow heads are under way together */

/* Scores of a block, then weights: [position][side]. */
typedef float vf_weights[KVF_BLOCK * LANES];

/* Leading positions that two rows have in common. */
static inline uint32_t in_common(const uint32_t *a, const uint32_t *b, uint32_t n_a, uint32_t n_b)
{
    uint32_t n = n_a < n_b ? n_a : n_b, i = 0;
    if (a == b) return n;
    while (i < n && a[i] == b[i]) i++;
    return i;
}

/* The two types of cache rows share the text below; element() is what differs. */
#define ELEMENT float
#define LOAD    vf_load
#define LOAD_N  vf_load_n
#define NAME(f) f##_f32
#include "attend_lanes.h"
#undef ELEMENT
#undef LOAD
#undef LOAD_N
#undef NAME
#define ELEMENT uint16_t
#define LOAD    vf_load_bf16
#define LOAD_N  vf_load_bf16_n
#define NAME(f) f##_bf16
#include "attend_lanes.h"

const kvf_vector TABLE = {
    .name = TABLE_NAME,
    .norm = norm_lanes,
    .act = act_lanes,
    .act_mul = act_mul_lanes,
    .add = add_lanes,
    .scale = scale_lanes,
    .most = most_lanes,
    .sum_exp = sum_exp_lanes,
    .rotate = rotate_lanes,
    .side = side_lanes,
    .store = {store_f32_lanes, store_bf16_lanes},
    .state_size = state_size_lanes,
    .attend_begin = attend_begin_lanes,
    .attend = {attend_f32, attend_bf16},
    .attend_end = attend_end_lanes,
};
