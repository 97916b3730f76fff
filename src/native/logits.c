/* logits.c - what callers do with a row of logits, at the speed of the processor. */
#include "native/vector.h"

#include <math.h>
#include <stdatomic.h>

/* Asked once: under a hypervisor the question takes longer than the answer of a small row. */
static const kvf_vector *best_table(void)
{
    static _Atomic(const kvf_vector *) table;
    const kvf_vector *t = atomic_load_explicit(&table, memory_order_acquire);
    kvf_cpu cpu;
    if (t) return t;
    t = kvf_cpu_pick(&cpu, NULL, NULL) ? &kvf_vector_c : kvf_vector_of(cpu);
    atomic_store_explicit(&table, t, memory_order_release);
    return t;
}

double kvf_log_sum_exp(const float *row, size_t n)
{
    const kvf_vector *v = best_table();
    float most = v->most(row, n);
    return most + log(v->sum_exp(row, most, n));
}
