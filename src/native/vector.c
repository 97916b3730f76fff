/* vector.c - which table goes with which processor. */
#include "vector.h"

const kvf_vector *kvf_vector_of(kvf_cpu cpu)
{
#if defined(__x86_64__)
    if (cpu >= KVF_CPU_AVX512) return &kvf_vector_avx512;
    if (cpu == KVF_CPU_AVX2) return &kvf_vector_avx2;
#endif
    (void)cpu;
    return &kvf_vector_c;
}
