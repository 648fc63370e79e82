/* cpu.c: which instruction sets this CPU has. */
#include "ck.h"

#if (defined(__arm__) || defined(__aarch64__)) && defined(__linux__)
#include <sys/auxv.h>
#endif

int32_t ck_cpu_features(void) {
    int32_t bits = CK_ISA_SCALAR;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) bits |= CK_ISA_AVX2;
    if (bits && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        bits |= CK_ISA_AVX512 | (__builtin_cpu_supports("avx512vnni") ? CK_ISA_VNNI : 0) |
                (__builtin_cpu_supports("avx512vbmi") ? CK_ISA_VBMI : 0);
#elif defined(__aarch64__)
    bits |= CK_ISA_NEON; /* part of the base architecture */
#if defined(__linux__)
    if (getauxval(AT_HWCAP) & (1ul << 20)) bits |= CK_ISA_DOTPROD;
#endif
#elif defined(__arm__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & (1ul << 12)) bits |= CK_ISA_NEON;
#endif
    return bits;
}
