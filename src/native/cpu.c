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

static bool runs_avx512v(void)
{
    return runs_avx512() && __builtin_cpu_supports("avx512vnni");
}

static bool runs_avx512x(void)
{
    return runs_avx512v() && __builtin_cpu_supports("avx512bf16");
}

/* Where BF16 instructions pay: Intel's processors take them at a quarter of the rate of fma, so
 * that widened numbers are twice as fast there, and give the same bits. */
static bool likes_avx512x(void)
{
    return runs_avx512x() && !__builtin_cpu_is("intel");
}
#else
static bool never(void)
{
    return false;
}
#endif

static const struct {
    const char *name;
    bool (*runs)(void), (*likes)(void);
} levels[KVF_CPU_LEVELS] = {
    [KVF_CPU_C] = {"c", runs_c, runs_c},
#if defined(__x86_64__)
    [KVF_CPU_AVX2] = {"avx2", runs_avx2, runs_avx2},
    [KVF_CPU_AVX512] = {"avx512", runs_avx512, runs_avx512},
    [KVF_CPU_AVX512V] = {"avx512v", runs_avx512v, runs_avx512v},
    [KVF_CPU_AVX512X] = {"avx512x", runs_avx512x, likes_avx512x},
#else
    [KVF_CPU_AVX2] = {"avx2", never, never},       [KVF_CPU_AVX512] = {"avx512", never, never},
    [KVF_CPU_AVX512V] = {"avx512v", never, never}, [KVF_CPU_AVX512X] = {"avx512x", never, never},
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
        bool named = name && !strcmp(name, levels[i].name);
        if (named && !levels[i].runs())
            return kvf_fail(err, KVF_ERR_ARG, "cpu is %s, which this processor cannot run", name);
        if (named || (!name && levels[i].likes())) {
            *out = (kvf_cpu)i;
            return KVF_OK;
        }
    }
    return kvf_fail(err, KVF_ERR_ARG,
                    "cpu is \"%s\", but should be c, avx2, avx512, avx512v or avx512x", name);
}
