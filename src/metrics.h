/* metrics.h - what the calls of a cursor cost: latencies of forward calls, and their quantiles. */
#ifndef KVF_METRICS_H
#define KVF_METRICS_H

#include "base.h"

enum { KVF_METER_SAMPLES = 4096 };

/* Zeroed but for samples it has seen nothing. */
typedef struct kvf_meter {
    uint64_t calls, tokens;
    uint64_t following_tokens;
    double first_s, following_s, speedup;
    double samples[KVF_METER_SAMPLES]; /* of following calls: a ring, the last ones */
} kvf_meter;

void kvf_meter_reset(kvf_meter *meter);
void kvf_meter_add(kvf_meter *meter, double seconds, uint64_t tokens);
/* Fill in what the meter knows; the bytes are the caller's. */
void kvf_meter_read(const kvf_meter *meter, kvf_metrics *metrics);

/* The smallest sample that at least the share q of them does not exceed. Reorders them; n >= 1. */
double kvf_quantile(double *samples, size_t n, double q);
#endif
