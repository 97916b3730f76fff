/* speed_native.c - the native engine alone, on random decoders: a tool, not a test.
 * usage: speed_native [THREADS [PRECISION [MODEL]]]; MODEL: trigo, prototype, gpt2-124m */
#include "support_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Time one pass of `branches` chains of `length` rows behind a prefix, medians in microseconds. */
static double time_pass(kvf_model *m, uint32_t prefix, uint32_t branches, uint32_t length, bool all)
{
    uint32_t rows = branches * length, slots = prefix + rows, most = rows > prefix ? rows : prefix;
    kvf_limits limits = {.slots = slots + 1, .rows = most + 1, .depth = prefix + length + 1};
    kvf_error err;
    void *state;
    if (m->ops->open(&state, m->engine, &limits, &err)) return puts(err.msg), -1;
    kvf_row *r = calloc(most + 1, sizeof *r);
    kvf_run *runs = calloc(2 * (branches + 1), sizeof *runs);
    float **y = calloc(most + 1, sizeof *y);
    float *logits = malloc(sizeof *logits * rows * m->info.vocab);
    kvf_pass_outputs out = {{y}};
    runs[0] = (kvf_run){0, prefix};
    for (uint32_t i = 0; i < prefix; i++)
        r[i] = (kvf_row){.token = (int)(i * 7 % m->info.vocab),
                         .position = i,
                         .slot = i,
                         .parent = (int)i - 1,
                         .n_runs = 1};
    kvf_pass fill = {.rows = r, .runs = runs, .n_rows = prefix, .n_runs = 1, .keep = true};
    if (prefix) m->ops->forward(state, &fill, &(kvf_pass_outputs){{0}}, &err);
    for (uint32_t b = 0, i = 0; b < branches; b++) {
        runs[2 * b] = (kvf_run){0, prefix};
        runs[2 * b + 1] = (kvf_run){prefix + b * length, length};
        for (uint32_t j = 0; j < length; j++, i++) {
            bool want = all || j + 1 == length;
            r[i] = (kvf_row){.token = (int)(i * 13 % m->info.vocab),
                             .position = prefix + j,
                             .slot = prefix + i,
                             .parent = j ? (int)i - 1 : -1,
                             .first_run = 2 * b + !prefix,
                             .n_runs = 2 - !prefix,
                             .want = want};
            y[i] = want ? logits + (size_t)i * m->info.vocab : NULL;
        }
    }
    kvf_pass pass = {.rows = r, .runs = runs, .n_rows = rows, .n_runs = 2 * branches, .keep = true};
    double best = 1e9, start = kvf_now();
    for (int i = 0; i < 5 || (kvf_now() - start < 0.4 && i < 3000); i++) {
        double t = kvf_now();
        m->ops->forward(state, &pass, &out, &err);
        t = kvf_now() - t;
        if (t < best) best = t;
    }
    m->ops->close(state);
    free(r), free(runs), free(y), free(logits);
    return best * 1e6;
}

int main(int argc, char **argv)
{
    kvf_model_options o = {
        .threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 1,
        .precision = argc > 2 ? argv[2] : NULL,
    };
    struct {
        const char *name;
        test_shape shape;
    } models[] = {{"trigo", test_gpt2(6, 8, 8, 128)},
                  {"prototype", test_gpt2(4, 4, 64, 1000)},
                  {"gpt2-124m", test_gpt2(12, 12, 64, 50257)}};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (argc > 3 ? strcmp(argv[3], models[i].name) : i > 1) continue;
        kvf_error err;
        double t = kvf_now();
        kvf_model *m = test_model_create(&models[i].shape, 1, &o, &err);
        if (!m) return puts(err.msg), 1;
        printf("%s: made in %.2f s, %.1f MB\n", models[i].name, kvf_now() - t,
               (double)m->info.weight_bytes / 1e6);
        static const struct {
            uint32_t prefix, branches, length;
            bool all; /* rows have outputs, not the last of each branch alone */
        } cases[] = {{10, 1, 1, 0},  {128, 1, 1, 0},  {512, 1, 1, 0},  {2048, 1, 1, 0},
                     {128, 8, 1, 0}, {128, 32, 1, 0}, {128, 1, 32, 0}, {128, 1, 32, 1},
                     {0, 1, 128, 0}, {0, 1, 512, 0}};
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
            printf("  prefix %4u  branches %2u x %3u%s: %9.1f us\n", cases[c].prefix,
                   cases[c].branches, cases[c].length, cases[c].all ? ", all rows" : "          ",
                   time_pass(m, cases[c].prefix, cases[c].branches, cases[c].length, cases[c].all));
        test_model_free(m);
    }
    return 0;
}
