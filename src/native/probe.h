/* probe.h - what this machine can do at most: bytes read and multiply-adds per second. Products
 * are measured against it, since a time alone does not say how far there is to go. */
#ifndef KVF_NATIVE_PROBE_H
#define KVF_NATIVE_PROBE_H

#include "native/linear.h"

/* Bytes per second that threads read together from that many bytes, each its own part over and
 * over: of the cache in which they fit, or of memory. 0 if threads or memory cannot be had. */
double kvf_probe_read_bandwidth(kvf_cpu cpu, size_t bytes, uint32_t threads);

/* Floating-point or integer operations per second (a multiply-add is two) that the kernels of a
 * precision could do if nothing had to be read. 0 if threads cannot be had. */
double kvf_probe_peak(kvf_cpu cpu, kvf_precision precision, uint32_t threads);

/* Seconds of the fastest of many calls of run(context, thread, threads), made by all threads at
 * once, each on a processor of its own, for about `budget` seconds in all. 0 on failure. */
typedef void (*kvf_probe_run)(void *context, uint32_t thread, uint32_t threads);
double kvf_probe_time(kvf_probe_run run, void *context, uint32_t threads, double budget);

/* The loops, one table per level of cpu.h. */
typedef struct kvf_probe_table {
    uint32_t (*read)(const void *data, size_t bytes); /* bytes: a multiple of 1024 */
    /* Do steps * 64 multiply-adds or more in independent chains; the sums go to out. Returns how
     * many of them one step does. */
    uint32_t (*peak[KVF_PRECISIONS])(size_t steps, float out[16]);
} kvf_probe_table;
extern const kvf_probe_table kvf_probe_c;
#if defined(__x86_64__)
extern const kvf_probe_table kvf_probe_avx2, kvf_probe_avx512, kvf_probe_avx512v, kvf_probe_avx512x;
#endif
#endif
