/* cpu.h - which instruction sets this processor runs. Each level has its own tables of kernels;
 * cpu.c is the only place that asks the processor. */
#ifndef KVF_NATIVE_CPU_H
#define KVF_NATIVE_CPU_H

#include "base.h"

typedef enum kvf_cpu {
    KVF_CPU_C = 0,   /* any machine: the specification of the others */
    KVF_CPU_AVX2,    /* AVX2, FMA, F16C */
    KVF_CPU_AVX512,  /* AVX-512 F, BW, DQ, VL */
    KVF_CPU_AVX512V, /* and VNNI */
    KVF_CPU_AVX512X, /* and BF16 */
    KVF_CPU_LEVELS,
} kvf_cpu;

/* The level of that name ("c", "avx2", "avx512", "avx512v", "avx512x"), or the fastest one here if
 * name is NULL. KVF_ERR_ARG if there is no such level or this processor cannot run it. */
kvf_status kvf_cpu_pick(kvf_cpu *out, const char *name, kvf_error *err);
const char *kvf_cpu_name(kvf_cpu cpu);
bool kvf_cpu_runs(kvf_cpu cpu);
#endif
