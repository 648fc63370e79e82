/* cpu.c: which instruction sets this CPU has. */
#define _DEFAULT_SOURCE /* syscall */
#include "ck.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if (defined(__arm__) || defined(__aarch64__)) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
/* Whether there are tiles of bytes, and Linux lets this process have their 8 KiB of state per thread: it must
 * be asked, and refuses where a signal stack has been set up that is too small for them. To ask again does
 * nothing. */
static int has_amx(void) {
#if defined(__linux__)
    enum { REQUEST = 0x1023, TILE_DATA = 18 }; /* of arch_prctl */
    enum { TILES = 1 << 24, INT8 = 1 << 25 }; /* of EDX */
    uint32_t a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & TILES) && (d & INT8) &&
           syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
#else
    return 0;
#endif
}
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
#if defined(__x86_64__)
    if ((bits & CK_ISA_VNNI) && has_amx()) bits |= CK_ISA_AMX;
#endif
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
