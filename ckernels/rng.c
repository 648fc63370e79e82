/* rng.c: RNG, the words of a stream of Philox 4x32-10: Salmon et al., "Parallel random numbers", SC 2011. */
#include "kernels.h"

static void philox(uint64_t block, uint64_t seed, uint64_t stream, uint32_t word[4]) {
    uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
    word[0] = (uint32_t)block, word[1] = (uint32_t)(block >> 32);
    word[2] = (uint32_t)stream, word[3] = (uint32_t)(stream >> 32);
    for (int round = 0; round < 10; round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        const uint64_t first = (uint64_t)word[0] * 0xD2511F53u, second = (uint64_t)word[2] * 0xCD9E8D57u;
        word[0] = (uint32_t)(second >> 32) ^ word[1] ^ key0;
        word[1] = (uint32_t)second;
        word[2] = (uint32_t)(first >> 32) ^ word[3] ^ key1;
        word[3] = (uint32_t)first;
    }
}

ck_status ck_i32_rng__scalar(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_rng *p = params;
    (void)begin, (void)end;
    uint32_t *out = (uint32_t *)ck_at(p->out, bases);
    for (int64_t i = 0; i < p->elements; i += 4) {
        uint32_t word[4];
        philox((uint64_t)i / 4, p->seed, p->stream, word);
        memcpy(out + i, word, (size_t)ck_min(4, p->elements - i) * sizeof(uint32_t));
    }
    return CK_OK;
}
