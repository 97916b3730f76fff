/* speed_linear.c - how near products come to the machine's limits: all matrices of a model, one
 * after the other, for some rows. Not a test: it prints a table.
 *
 *     speed_linear [MODEL [CPU [PRECISION [THREADS [ROWS]]]]]     "all" or nothing: every one
 *
 * GB/s are packed bytes over seconds, beside those of a plain loop that reads as many; GFLOP/s
 * count a multiply-add as two, beside a loop of nothing else. Threads share outputs and prepare
 * x on their own, so that no waiting is in the figures. */
#include "native/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    uint32_t in, out, copies;
} shape;

typedef struct footprint {
    const char *name;
    shape shapes[6];
} footprint;

static const footprint models[] = {
    {"trigo", {{64, 192, 6}, {64, 64, 6}, {64, 256, 6}, {256, 64, 6}, {64, 128, 1}}},
    {"prototype", {{256, 768, 4}, {256, 256, 4}, {256, 1024, 4}, {1024, 256, 4}, {256, 1000, 1}}},
    {"gpt2", {{768, 2304, 12}, {768, 768, 12}, {768, 3072, 12}, {3072, 768, 12}, {768, 50257, 1}}},
};

enum { MAX_MATRICES = 64, MAX_ROWS = 512, MAX_IN = 3072, MAX_OUT = 50272, MAX_THREADS = 2 };
static const char *const precisions[] = {"f32", "bf16", "q8", "q4"};

typedef struct work {
    const kvf_linear_table *table;
    kvf_packed w[MAX_MATRICES];
    size_t n, rows, bytes;
    double multiply_adds; /* of one row */
    float *x, *y[MAX_THREADS];
    void *prepared[MAX_THREADS];
} work;

static void run(void *context, uint32_t thread, uint32_t threads)
{
    const work *job = context;
    for (size_t i = 0; i < job->n; i++) {
        const kvf_packed *w = &job->w[i];
        kvf_product p = {.w = w,
                         .x = job->x,
                         .y = job->y[thread],
                         .rows = job->rows,
                         .x_stride = w->in + 16,
                         .y_stride = w->out,
                         .prepared = job->prepared[thread]};
        kvf_prepare(job->table, &p, 0, job->rows);
        kvf_multiply(job->table, &p, (uint32_t)((uint64_t)w->panels * thread / threads),
                     (uint32_t)((uint64_t)w->panels * (thread + 1) / threads));
    }
}

static bool pack_model(work *job, const footprint *model, kvf_precision precision)
{
    static float numbers[(size_t)MAX_IN * 4096];
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        numbers[i] = (float)((int)(i * 2654435761u >> 16 & 1023) - 512) / 4096;
    job->n = job->bytes = 0;
    job->multiply_adds = 0;
    for (const shape *s = model->shapes; s->in; s++)
        for (uint32_t copy = 0; copy < s->copies; copy++, job->n++) {
            kvf_linear linear = {.w = {.data = numbers,
                                       .type = KVF_F32,
                                       .in = s->in,
                                       .out = s->out,
                                       .stride_in = 1,
                                       .stride_out = s->out > 4096 ? 7 : s->in}};
            const kvf_linear *part = &linear;
            if (kvf_pack(&job->w[job->n], &part, 1, precision, NULL)) return false;
            job->bytes += job->w[job->n].bytes;
            job->multiply_adds += (double)s->in * s->out;
        }
    return true;
}

static void measure(work *job, const footprint *model, kvf_cpu cpu, kvf_precision precision,
                    uint32_t threads, size_t only_rows)
{
    static const size_t rows[] = {1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 512};
    double bandwidth = kvf_probe_read_bandwidth(cpu, job->bytes, threads) / 1e9;
    double peak = kvf_probe_peak(cpu, precision, threads) / 1e9;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        job->rows = rows[r];
        if (only_rows && rows[r] != only_rows) continue;
        if (rows[r] > 128 && !only_rows) continue;
        double seconds = kvf_probe_time(run, job, threads, 0.25);
        double gbs = (double)job->bytes / seconds / 1e9;
        double gflops = 2 * job->multiply_adds * (double)rows[r] / seconds / 1e9;
        printf("%-9s %-7s %-4s %u %3zu  %9.4f ms  %6.1f GB/s %4.0f %%  %7.1f GFLOP/s %4.0f %%\n",
               model->name, kvf_cpu_name(cpu), precisions[precision], threads, rows[r],
               seconds * 1e3, gbs, 100 * gbs / bandwidth, gflops, 100 * gflops / peak);
        fflush(stdout);
    }
}

static bool wanted(const char *filter, const char *name)
{
    return !filter || !strcmp(filter, "all") || !strcmp(filter, name);
}

int main(int argc, char **argv)
{
    const char *filter[6] = {NULL};
    for (int i = 1; i < argc && i < 6; i++) filter[i] = argv[i];
    static work job;
    job.x = kvf_pages(sizeof(float) * MAX_ROWS * (MAX_IN + 16));
    for (int i = 0; i < MAX_THREADS; i++) {
        job.y[i] = kvf_pages(sizeof(float) * MAX_ROWS * MAX_OUT);
        job.prepared[i] = kvf_pages(sizeof(float) * MAX_ROWS * (MAX_IN + 64));
    }
    for (size_t i = 0; i < MAX_ROWS * (MAX_IN + 16); i++) job.x[i] = (float)(i % 17) - 8;
    size_t only_rows = filter[5] ? strtoul(filter[5], NULL, 10) : 0;
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++)
        for (int precision = 0; precision < KVF_PRECISIONS; precision++) {
            if (!wanted(filter[1], models[m].name) || !wanted(filter[3], precisions[precision]))
                continue;
            if (!pack_model(&job, &models[m], (kvf_precision)precision)) return 1;
            for (int cpu = KVF_CPU_AVX2; cpu < KVF_CPU_LEVELS; cpu++)
                for (uint32_t threads = 1; threads <= MAX_THREADS; threads++) {
                    char name[2] = {(char)('0' + threads), 0};
                    if (!kvf_cpu_runs((kvf_cpu)cpu) || !wanted(filter[4], name) ||
                        !wanted(filter[2], kvf_cpu_name((kvf_cpu)cpu)))
                        continue;
                    job.table = kvf_linear_table_of((kvf_cpu)cpu);
                    measure(&job, &models[m], (kvf_cpu)cpu, (kvf_precision)precision, threads,
                            only_rows);
                }
            for (size_t i = 0; i < job.n; i++) kvf_packed_free(&job.w[i]);
        }
    return 0;
}
