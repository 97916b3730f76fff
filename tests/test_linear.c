/* test_linear.c - packed weights and products: every instruction set against plain C, bit for bit,
 * and plain C against sums in f64.
 *
 * Cases are random but repeatable: widths from 1 to several panels and tiles with odd ends, one to
 * three parts side by side, all types of source, rows up to more than one block. x and y have
 * NaN and sentinels behind every row, and weights have NaN behind the last panel: gcc's ASan does
 * not see masked vector loads. Numbers stay far from denormals, which BF16 instructions flush. */
#include "native/linear.h"
#include "rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { MAX_PARTS = 3, GUARD = 16, PANEL_GUARD = 4096 };

/* ---- sources --------------------------------------------------------------------------------- */

typedef struct weights {
    kvf_linear linear[MAX_PARTS];
    const kvf_linear *parts[MAX_PARTS];
    size_t n;
    uint32_t in, out;
    void *memory[MAX_PARTS * 4];
    size_t n_memory;
} weights;

static void *take(weights *w, size_t n, size_t size)
{
    void *p = kvf_array(n, size);
    assert_non_null(p);
    return w->memory[w->n_memory++] = p;
}

static void free_weights(weights *w)
{
    while (w->n_memory) kvf_free(w->memory[--w->n_memory]);
}

static float number(kvf_rng *rng)
{
    return (float)kvf_rng_normal(rng) * 0.25f;
}

static void put(void *data, kvf_type type, size_t i, float f)
{
    uint16_t h = type == KVF_F16 ? kvf_to_f16(f) : kvf_to_bf16(f);
    if (type == KVF_F32)
        memcpy((uint8_t *)data + i * 4, &f, 4);
    else
        memcpy((uint8_t *)data + i * 2, &h, 2);
}

/* Rows or columns in memory, with a gap between them, and not aligned. */
static void make_plain(weights *w, kvf_matrix *m, kvf_rng *rng)
{
    static const kvf_type types[] = {KVF_F32, KVF_F16, KVF_BF16};
    m->type = types[kvf_rng_below(rng, 3)];
    bool by_output = kvf_rng_below(rng, 2);
    uint32_t gap = kvf_rng_below(rng, 3), inner = by_output ? m->in : m->out;
    m->stride_in = by_output ? 1 : inner + gap;
    m->stride_out = by_output ? inner + gap : 1;
    size_t n = (size_t)(inner + gap) * (by_output ? m->out : m->in);
    uint8_t *data = take(w, n + 1, 4);
    data += kvf_rng_below(rng, 4);
    for (size_t i = 0; i < n; i++) put(data, m->type, i, number(rng));
    m->data = data;
}

static void make_quantised(weights *w, kvf_matrix *m, kvf_rng *rng, uint32_t bits)
{
    static const uint32_t blocks[] = {16, 32, 64, 128};
    m->type = KVF_U8;
    m->bits = bits;
    m->block = blocks[kvf_rng_below(rng, 4)];
    m->scale_type = kvf_rng_below(rng, 2) ? KVF_F32 : KVF_F16;
    size_t n = (m->in + m->block - 1) / m->block, bytes = m->out * n * m->block * bits / 8;
    size_t zero_bytes = m->out * ((n * bits + 7) / 8);
    uint8_t *data = take(w, bytes, 1), *zeros = take(w, zero_bytes, 1);
    void *scales = take(w, m->out * n, 4);
    for (size_t i = 0; i < bytes; i++) data[i] = (uint8_t)kvf_rng_next(rng);
    for (size_t i = 0; i < zero_bytes; i++) zeros[i] = (uint8_t)kvf_rng_next(rng);
    for (size_t i = 0; i < m->out * n; i++)
        put(scales, m->scale_type, i, number(rng) / (float)(1u << bits));
    m->data = data;
    m->scales = scales;
    if (kvf_rng_below(rng, 2)) m->zeros = zeros;
}

/* Outputs of each part are a multiple of `unit`. */
static void make_weights(weights *w, kvf_rng *rng, uint32_t in, uint32_t max_out, uint32_t unit)
{
    *w = (weights){.n = 1 + kvf_rng_below(rng, MAX_PARTS), .in = in};
    for (size_t i = 0; i < w->n; i++) {
        kvf_linear *l = &w->linear[i];
        l->w.in = in;
        l->w.out = unit * (1 + kvf_rng_below(rng, (max_out + unit - 1) / unit));
        uint32_t source = kvf_rng_below(rng, 8);
        if (source < 2)
            make_quantised(w, &l->w, rng, 4);
        else if (source < 3)
            make_quantised(w, &l->w, rng, kvf_rng_below(rng, 2) ? 8 : 2);
        else
            make_plain(w, &l->w, rng);
        if (kvf_rng_below(rng, 2)) {
            float *bias = take(w, l->w.out, sizeof *bias);
            for (uint32_t o = 0; o < l->w.out; o++) bias[o] = number(rng);
            l->bias = bias;
        }
        w->parts[i] = l;
        w->out += l->w.out;
    }
}

/* Element (i, o) as the file means it, told apart from the library's own reading. */
static float element(const kvf_matrix *m, uint32_t i, uint32_t o)
{
    if (!m->block) {
        const uint8_t *p = (const uint8_t *)m->data +
                           (i * m->stride_in + o * m->stride_out) * (m->type == KVF_F32 ? 4 : 2);
        float f;
        uint16_t h;
        memcpy(&f, p, m->type == KVF_F32 ? 4 : 2);
        memcpy(&h, p, 2);
        return m->type == KVF_F32 ? f : m->type == KVF_F16 ? kvf_from_f16(h) : kvf_from_bf16(h);
    }
    uint32_t blocks = (m->in + m->block - 1) / m->block, per_byte = 8 / m->bits;
    uint32_t mask = (1u << m->bits) - 1, b = i / m->block;
    const uint8_t *row = (const uint8_t *)m->data + (size_t)o * blocks * m->block / per_byte;
    int q = row[i / per_byte] >> i % per_byte * m->bits & mask, zero = 1 << (m->bits - 1);
    if (m->zeros)
        zero = m->zeros[o * ((blocks + per_byte - 1) / per_byte) + b / per_byte] >>
                   b % per_byte * m->bits &
               mask;
    float scale;
    uint16_t h;
    memcpy(&scale, (const uint8_t *)m->scales + ((size_t)o * blocks + b) * 4, 4);
    memcpy(&h, (const uint8_t *)m->scales + ((size_t)o * blocks + b) * 2, 2);
    return (float)(q - zero) * (m->scale_type == KVF_F32 ? scale : kvf_from_f16(h));
}

static const kvf_linear *part_of(const weights *w, uint32_t *o)
{
    size_t i = 0;
    while (*o >= w->parts[i]->w.out) *o -= w->parts[i++]->w.out;
    return w->parts[i];
}

/* ---- products -------------------------------------------------------------------------------- */

typedef struct problem {
    weights w;
    kvf_packed packed;
    uint8_t *guarded; /* the packed bytes with NaN behind them */
    size_t rows, x_stride, y_stride;
    float *x;
} problem;

static float *make_x(kvf_rng *rng, size_t rows, size_t in, size_t stride)
{
    float *x = kvf_array(rows * stride + GUARD, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < rows * stride + GUARD; i++)
        x[i] = i / stride < rows && i % stride < in ? number(rng) * 8 : NAN;
    return x;
}

static void make_problem(problem *p, uint64_t seed, kvf_precision precision, uint32_t unit)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    static const uint32_t ins[] = {1, 2, 3, 31, 32, 33, 64, 127, 256, 700};
    static const uint32_t outs[] = {1, 7, 31, 33, 64, 130, 260, 700};
    uint32_t in =
        kvf_rng_below(&rng, 2) ? ins[kvf_rng_below(&rng, 10)] : 1 + kvf_rng_below(&rng, 300);
    bool deep = seed % 16 >= 12; /* so many inputs that panels of all precisions go in blocks */
    if (deep) in += 1700;
    make_weights(&p->w, &rng, in, deep ? 40 : outs[kvf_rng_below(&rng, 8)], unit);
    kvf_error err;
    if (kvf_pack(&p->packed, p->w.parts, p->w.n, precision, &err)) fail_msg("%s", err.msg);
    p->guarded = kvf_pages(p->packed.bytes + PANEL_GUARD);
    assert_non_null(p->guarded);
    memset(p->guarded, 0xff, p->packed.bytes + PANEL_GUARD);
    memcpy(p->guarded, p->packed.data, p->packed.bytes);
    p->rows = 1 + kvf_rng_below(&rng, deep || kvf_rng_below(&rng, 4) ? 30 : 260);
    p->x_stride = in + kvf_rng_below(&rng, 20);
    p->y_stride = p->w.out + kvf_rng_below(&rng, 20);
    p->x = make_x(&rng, p->rows, in, p->x_stride);
}

static void free_problem(problem *p)
{
    kvf_free_pages(p->guarded, p->packed.bytes + PANEL_GUARD);
    kvf_packed_free(&p->packed);
    kvf_free(p->x);
    free_weights(&p->w);
}

/* y of rows [first, first + rows) with that table, panels in that many parts; y has a sentinel
 * wherever no output belongs, which is checked. Free it. */
static float *multiply(const problem *p, const kvf_linear_table *t, size_t first, size_t rows,
                       uint32_t parts)
{
    const float sentinel = 12345.5f;
    kvf_packed w = p->packed;
    w.data = p->guarded;
    size_t n = rows * p->y_stride + GUARD, bytes = kvf_prepared_bytes(&w, rows);
    float *y = kvf_array(n, sizeof *y);
    void *prepared = kvf_pages(bytes);
    assert_non_null(y);
    assert_non_null(prepared);
    memset(prepared, 0xff, bytes);
    for (size_t i = 0; i < n; i++) y[i] = sentinel;
    kvf_product product = {&w,      p->x + first * p->x_stride, y, rows, p->x_stride, p->y_stride,
                           prepared};
    kvf_prepare(t, &product, 0, rows / 2);
    kvf_prepare(t, &product, rows / 2, rows);
    for (uint32_t i = 0; i < parts; i++)
        kvf_multiply(t, &product, w.panels * i / parts, w.panels * (i + 1) / parts);
    for (size_t i = 0; i < n; i++)
        if ((i / p->y_stride >= rows || i % p->y_stride >= w.out) && y[i] != sentinel)
            fail_msg("%s wrote to %zu, behind an end", t->name, i);
    kvf_free_pages(prepared, bytes);
    return y;
}

static void same_bits(const problem *p, const float *want, const float *got, size_t rows,
                      const char *what, uint64_t seed)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t o = 0; o < p->w.out; o++) {
            size_t i = r * p->y_stride + o;
            if (memcmp(want + i, got + i, sizeof *want))
                fail_msg("%s, seed %llu, %u x %u, %zu rows: y[%zu][%zu] is %.9g, want %.9g", what,
                         (unsigned long long)seed, p->w.in, p->w.out, p->rows, r, o, got[i],
                         want[i]);
        }
}

static const char *const names[] = {"f32", "bf16", "q8", "q4"};

/* Rounding errors allowed, relative to the root of the sum of squares of what is added: one chain
 * of f32, and for integers the rounding of x (weights are taken as packed). */
static void c_is_right(const problem *p, kvf_precision precision, uint64_t seed)
{
    const double tolerance[] = {1e-5, 1e-5, 0.02, 0.02};
    float *y = multiply(p, kvf_linear_table_of(KVF_CPU_C), 0, p->rows, 1);
    float *row = kvf_array(p->w.in, sizeof *row);
    for (uint32_t o = 0; o < p->w.out; o += 1 + p->w.out / 16) {
        kvf_packed_row(&p->packed, o, row);
        uint32_t local = o;
        const kvf_linear *l = part_of(&p->w, &local);
        for (size_t r = 0; r < p->rows; r += 1 + p->rows / 8) {
            double sum = l->bias ? l->bias[local] : 0, squares = sum * sum, largest = 0;
            for (uint32_t k = 0; k < p->w.in; k++) {
                float x = p->x[r * p->x_stride + k];
                if (precision == KVF_W_BF16) x = kvf_from_bf16(kvf_to_bf16(x));
                sum += (double)x * row[k];
                squares += (double)x * x * row[k] * row[k];
                largest = fmax(largest, fabs(x));
            }
            if (precision >=
                KVF_W_Q8) /* the largest of a group tells how coarse its integers are */
                for (uint32_t k = 0; k < p->w.in; k++)
                    squares += largest * largest * row[k] * row[k];
            double got = y[r * p->y_stride + o];
            if (!(fabs(got - sum) <= tolerance[precision] * sqrt(squares)))
                fail_msg("c %s, seed %llu: y[%zu][%u] is %.9g, want %.9g", names[precision],
                         (unsigned long long)seed, r, o, got, sum);
        }
    }
    kvf_free(row);
    kvf_free(y);
}

static void tables_agree(const problem *p, kvf_precision precision, uint64_t seed)
{
    kvf_rng rng;
    kvf_rng_seed(&rng, seed);
    float *want = multiply(p, kvf_linear_table_of(KVF_CPU_C), 0, p->rows, 1);
    for (int cpu = KVF_CPU_C; cpu < KVF_CPU_LEVELS; cpu++) {
        if (!kvf_cpu_runs((kvf_cpu)cpu)) continue;
        const kvf_linear_table *t = kvf_linear_table_of((kvf_cpu)cpu);
        char what[64];
        snprintf(what, sizeof what, "%s %s", t->name, names[precision]);
        float *got = multiply(p, t, 0, p->rows, 1 + kvf_rng_below(&rng, 5));
        same_bits(p, want, got, p->rows, what, seed);
        kvf_free(got);
        size_t first = kvf_rng_below(&rng, (uint32_t)p->rows);
        size_t rows = 1 + kvf_rng_below(&rng, (uint32_t)(p->rows - first));
        got = multiply(p, t, first, rows, 2);
        same_bits(p, want + first * p->y_stride, got, rows, what, seed);
        kvf_free(got);
    }
    kvf_free(want);
}

static void products_agree(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        kvf_precision precision = (kvf_precision)(seed % KVF_PRECISIONS);
        problem p = {0};
        make_problem(&p, seed, precision, 1);
        c_is_right(&p, precision, seed);
        tables_agree(&p, precision, seed);
        free_problem(&p);
    }
}

/* ---- x that is not a number ------------------------------------------------------------------ */

static void nonsense_stays_nonsense(void **state)
{
    (void)state;
    static const struct {
        float x;
        const char *why;
    } cases[] = {{NAN, "not a number"},
                 {INFINITY, "infinite"},
                 {0, "all zero"},
                 {1e-35f, "too small for a quotient"}};
    for (int precision = 0; precision < KVF_PRECISIONS; precision++)
        for (int cpu = 0; cpu < KVF_CPU_LEVELS; cpu++)
            for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
                if (!kvf_cpu_runs((kvf_cpu)cpu)) continue;
                problem p = {0};
                make_problem(&p, 4242, (kvf_precision)precision, 1);
                for (size_t k = 0; k < p.w.in; k++) p.x[k] = c < 2 && k ? 1 : cases[c].x;
                float *y = multiply(&p, kvf_linear_table_of((kvf_cpu)cpu), 0, 1, 1);
                for (uint32_t o = 0; o < p.w.out; o++)
                    if (isfinite(y[o]) != (c >= 2))
                        fail_msg("%s, %s: x is %s, y[%u] is %g", kvf_cpu_name((kvf_cpu)cpu),
                                 names[precision], cases[c].why, o, y[o]);
                kvf_free(y);
                free_problem(&p);
            }
}

/* ---- packing --------------------------------------------------------------------------------- */

/* What a packed number may differ from the file's, relative to its row's or group's largest. */
static double rounding(kvf_precision precision, const kvf_matrix *m)
{
    bool taken = precision == KVF_W_Q4 && m->block && m->bits == 4;
    static const double step[] = {0, 1 / 256.0, 0.5001 / 127, 1.0001 / 8};
    return taken ? 0 : step[precision];
}

static void rows_are_the_files(void **state)
{
    (void)state;
    for (uint64_t seed = 1000; seed < 1200; seed++) {
        kvf_precision precision = (kvf_precision)(seed % KVF_PRECISIONS);
        problem p = {0};
        make_problem(&p, seed, precision, 1);
        float *row = kvf_array(p.w.in, sizeof *row);
        for (uint32_t o = 0; o < p.w.out; o++) {
            uint32_t local = o;
            const kvf_matrix *m = &part_of(&p.w, &local)->w;
            kvf_packed_row(&p.packed, o, row);
            double largest = 0;
            for (uint32_t i = 0; i < m->in; i++)
                largest = fmax(largest, fabs(element(m, i, local)));
            for (uint32_t i = 0; i < m->in; i++) {
                double want = element(m, i, local);
                if (!(fabs(row[i] - want) <= rounding(precision, m) * largest))
                    fail_msg("%s, seed %llu: W[%u][%u] is %.9g, want %.9g", names[precision],
                             (unsigned long long)seed, i, o, row[i], want);
            }
        }
        kvf_free(row);
        free_problem(&p);
    }
}

static void matrix_rows(void **state)
{
    (void)state;
    kvf_rng rng;
    kvf_rng_seed(&rng, 7);
    for (int n = 0; n < 50; n++) {
        weights w;
        make_weights(&w, &rng, 1 + kvf_rng_below(&rng, 100), 100, 1);
        const kvf_matrix *m = &w.linear[0].w;
        float row[100];
        for (uint32_t i = 0; i < m->in; i++) {
            kvf_matrix_row(m, i, row);
            for (uint32_t o = 0; o < m->out; o++) assert_true(row[o] == element(m, i, o));
        }
        free_weights(&w);
    }
}

static void parts_make_the_whole(void **state)
{
    (void)state;
    for (uint64_t seed = 2000; seed < 2040; seed++) {
        problem p = {0};
        make_problem(&p, seed, (kvf_precision)(seed % KVF_PRECISIONS), 1);
        kvf_packed again;
        assert_int_equal(kvf_pack_begin(&again, p.w.parts, p.w.n, p.packed.precision, NULL),
                         KVF_OK);
        uint32_t middle = again.panels / 2;
        kvf_pack_panels(&again, p.w.parts, middle, again.panels);
        kvf_pack_panels(&again, p.w.parts, 0, middle);
        assert_int_equal(again.bytes, p.packed.bytes);
        assert_memory_equal(again.data, p.packed.data, again.bytes);
        kvf_packed_free(&again);
        free_problem(&p);
    }
}

/* Heads of a bundle are turned: where output c of head r of a bundle was, c * side + r is. */
static void bundles_are_turned(void **state)
{
    (void)state;
    static const uint32_t sides[] = {4, 8, 16, 3};
    for (uint64_t seed = 3000; seed < 3100; seed++) {
        uint32_t side = sides[seed / 4 % 4], d = 1 + (uint32_t)seed % 13;
        problem p = {0};
        make_problem(&p, seed, (kvf_precision)(seed % KVF_PRECISIONS), side * d);
        float *plain = multiply(&p, kvf_linear_table_of(KVF_CPU_C), 0, p.rows, 1);
        p.packed.side = side;
        p.packed.head_dim = d;
        kvf_pack_panels(&p.packed, p.w.parts, 0, p.packed.panels);
        memcpy(p.guarded, p.packed.data, p.packed.bytes);
        float *turned = multiply(&p, kvf_linear_table_of(KVF_CPU_C), 0, p.rows, 1);
        for (size_t i = 0; i < p.rows; i++)
            for (uint32_t bundle = 0; bundle < p.w.out; bundle += side * d)
                for (uint32_t r = 0; r < side; r++)
                    for (uint32_t c = 0; c < d; c++)
                        assert_memory_equal(&plain[i * p.y_stride + bundle + r * d + c],
                                            &turned[i * p.y_stride + bundle + c * side + r],
                                            sizeof *plain);
        kvf_free(turned);
        kvf_free(plain);
        free_problem(&p);
    }
}

static void refusals(void **state)
{
    (void)state;
    static const float data[64];
    const kvf_matrix good = {
        .data = data, .type = KVF_F32, .in = 4, .out = 4, .stride_in = 4, .stride_out = 1};
    struct {
        kvf_matrix m;
        const char *says;
    } rows[] = {{good, "cannot be empty"},  {good, "2 inputs, but its neighbour 4"},
                {good, "f32, f16 or bf16"}, {good, "scales of type"},
                {good, "2, 4 or 8"},        {good, "too many"}};
    rows[0].m.out = 0;
    rows[1].m.in = 2;
    rows[2].m.type = KVF_U8;
    rows[3].m.block = 32;
    rows[4].m = (kvf_matrix){.data = data,
                             .type = KVF_U8,
                             .in = 4,
                             .out = 4,
                             .block = 32,
                             .bits = 3,
                             .scales = data,
                             .scale_type = KVF_F32};
    rows[5].m.out = UINT32_MAX;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        kvf_linear a = {.w = good}, b = {.w = rows[i].m};
        const kvf_linear *parts[] = {&a, &b};
        kvf_packed packed;
        kvf_error err = {0};
        assert_int_equal(kvf_pack(&packed, parts, 2, KVF_W_F32, &err), KVF_ERR_MODEL);
        if (!strstr(err.msg, rows[i].says)) fail_msg("\"%s\" lacks \"%s\"", err.msg, rows[i].says);
        assert_null(packed.data);
    }
    kvf_linear a = {.w = good};
    const kvf_linear *part = &a;
    kvf_packed packed;
    kvf_fail_allocations(1);
    assert_int_equal(kvf_pack(&packed, &part, 1, KVF_W_Q8, NULL), KVF_ERR_NOMEM);
    kvf_fail_allocations(0);
    kvf_packed_free(&packed);
}

static void levels_by_name(void **state)
{
    (void)state;
    kvf_cpu best, cpu;
    kvf_error err;
    assert_int_equal(kvf_cpu_pick(&best, NULL, &err), KVF_OK);
    assert_true(kvf_cpu_runs(best));
    for (int i = 0; i < KVF_CPU_LEVELS; i++) {
        kvf_status status = kvf_cpu_pick(&cpu, kvf_cpu_name((kvf_cpu)i), &err);
        assert_int_equal(status, kvf_cpu_runs((kvf_cpu)i) ? KVF_OK : KVF_ERR_ARG);
        if (!status) assert_int_equal(cpu, i);
    }
    assert_int_equal(kvf_cpu_pick(&cpu, "avx3", &err), KVF_ERR_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree),
        cmocka_unit_test(nonsense_stays_nonsense),
        cmocka_unit_test(rows_are_the_files),
        cmocka_unit_test(matrix_rows),
        cmocka_unit_test(parts_make_the_whole),
        cmocka_unit_test(bundles_are_turned),
        cmocka_unit_test(refusals),
        cmocka_unit_test(levels_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
