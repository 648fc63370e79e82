/* rng.c: RNG, counter-based random numbers. Philox 4x32-10: Salmon et al., "Parallel random numbers", SC
 * 2011. */
#include <math.h>

#include "kernels.h"

static void philox(uint64_t counter, uint64_t seed, uint32_t word[4]) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    word[0] = (uint32_t)counter, word[1] = (uint32_t)(counter >> 32), word[2] = word[3] = 0;
    for (int round = 0; round < 10; round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        const uint64_t first = (uint64_t)word[0] * 0xD2511F53u, second = (uint64_t)word[2] * 0xCD9E8D57u;
        word[0] = (uint32_t)(second >> 32) ^ word[1] ^ key0;
        word[1] = (uint32_t)second;
        word[2] = (uint32_t)(first >> 32) ^ word[3] ^ key1;
        word[3] = (uint32_t)first;
    }
}

/* The high 24 bits of a word as a number in [0, 1): exact in a float. */
static float unit(uint32_t word) { return (float)(word >> 8) * 0x1p-24f; }

ck_status ck_f32_rng__scalar(const void *params, char *const *bases) {
    const ck_rng *p = params;
    float *out = (float *)ck_at(p->out, bases);
    for (int64_t i = 0; i < p->elements; i++) {
        uint32_t word[4];
        philox(p->counter + (uint64_t)i, p->seed, word);
        out[i] = unit(word[0]);
        if (p->normal) /* Box-Muller */
            out[i] = sqrtf(-2.0f * logf(1.0f - out[i])) *
                     cosf((float)(word[1] >> 8) * (float)(0x1p-23 * 3.14159265358979323846));
    }
    return CK_OK;
}
