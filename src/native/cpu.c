/* cpu.c - the only place that asks which CPU this is. */
#include "native/cpu.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static bool runs_c(void)
{
    return true;
}

#if defined(__x86_64__)
/* clang 14 does not know this name in __builtin_cpu_supports. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool runs_avx512x(void)
{
    return runs_avx512() && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vnni");
}
#else
static bool never(void)
{
    return false;
}
#endif

static const struct {
    const char *name;
    bool (*runs)(void);
} levels[KVF_CPU_LEVELS] = {
    [KVF_CPU_C] = {"c", runs_c},
#if defined(__x86_64__)
    [KVF_CPU_AVX2] = {"avx2", runs_avx2},
    [KVF_CPU_AVX512] = {"avx512", runs_avx512},
    [KVF_CPU_AVX512X] = {"avx512x", runs_avx512x},
#else
    [KVF_CPU_AVX2] = {"avx2", never},
    [KVF_CPU_AVX512] = {"avx512", never},
    [KVF_CPU_AVX512X] = {"avx512x", never},
#endif
};

const char *kvf_cpu_name(kvf_cpu cpu)
{
    return levels[cpu].name;
}

bool kvf_cpu_runs(kvf_cpu cpu)
{
    return levels[cpu].runs();
}

kvf_status kvf_cpu_pick(kvf_cpu *out, const char *name, kvf_error *err)
{
    for (int i = KVF_CPU_LEVELS - 1; i >= 0; i--) {
        bool named = name && !strcmp(name, levels[i].name), runs = levels[i].runs();
        if (named && !runs)
            return kvf_fail(err, KVF_ERR_ARG, "cpu is %s, which this processor cannot run", name);
        if (named || (!name && runs)) {
            *out = (kvf_cpu)i;
            return KVF_OK;
        }
    }
    return kvf_fail(err, KVF_ERR_ARG, "cpu is \"%s\", but should be c, avx2, avx512 or avx512x",
                    name);
}
