/* lanes.h: bytes to lanes of 32 bits, and sums in lanes to bytes, VL at a time, where GCC's own vector code
 * takes an instruction per element. `vec` is a vector of VL int32_t.
 */
#include "quantized.h"

/* What an integer epilogue is, in every lane; quantized.h has its meaning. */
typedef struct {
    vec zero, low, high;
    int32_t away;
} epilogue;
#if VL == 16 && defined(__AVX512F__)
#include <immintrin.h>
#define LANES_OF(from, is_signed)                                           \
    ((is_signed) ? (vec)_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(from))) \
                 : (vec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(from))))
#define BYTES_TO(to, lanes) _mm_storeu_si128((void *)(to), _mm512_cvtepi32_epi8((__m512i)(lanes)))
#elif VL == 8 && defined(__AVX2__)
#include <immintrin.h>
#define LANES_OF(from, is_signed)                                           \
    ((is_signed) ? (vec)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(from))) \
                 : (vec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(from))))
#endif

static inline __attribute__((always_inline)) vec lanes_of(const uint8_t *from, const int is_signed) {
#ifdef LANES_OF
    return LANES_OF(from, is_signed);
#else
    vec out;
    for (int j = 0; j < VL; j++) out[j] = is_signed ? (int8_t)from[j] : from[j];
    return out;
#endif
}

static inline __attribute__((always_inline)) void bytes_to(uint8_t *to, vec lanes) {
#ifdef BYTES_TO
    BYTES_TO(to, lanes);
#else
    for (int j = 0; j < VL; j++) to[j] = (uint8_t)lanes[j];
#endif
}

/* The integer epilogue of VL sums. */
static inline __attribute__((always_inline)) vec requantised(vec sums, vec multiplier, vec shift,
                                                             const epilogue *last) {
#if VL == 16 && defined(__AVX512F__)
    const __m512i none = _mm512_setzero_si512(), m = (__m512i)multiplier, half = _mm512_set1_epi64(1 << 30);
    const __m512i left = _mm512_max_epi32((__m512i)shift, none);
    const __m512i right = _mm512_max_epi32(_mm512_sub_epi32(none, (__m512i)shift), none);
    const __m512i x = _mm512_sllv_epi32((__m512i)sums, left);
    const __m512i even = _mm512_add_epi64(_mm512_mul_epi32(x, m), half);
    const __m512i odd =
        _mm512_add_epi64(_mm512_mul_epi32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(m, 32)), half);
    const __m512i product =
        _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    const __m512i mask = _mm512_sub_epi32(_mm512_sllv_epi32(_mm512_set1_epi32(1), right), _mm512_set1_epi32(1));
    __m512i most = _mm512_srli_epi32(mask, 1);
    if (last->away) most = _mm512_sub_epi32(most, _mm512_srai_epi32(product, 31));
    const __mmask16 up = _mm512_cmpgt_epi32_mask(_mm512_and_si512(product, mask), most);
    __m512i y = _mm512_add_epi32(_mm512_srav_epi32(product, right), (__m512i)last->zero);
    y = _mm512_mask_add_epi32(y, up, y, _mm512_set1_epi32(1));
    return (vec)_mm512_min_epi32(_mm512_max_epi32(y, (__m512i)last->low), (__m512i)last->high);
#else
    int32_t in[VL], factors[VL], powers[VL], out[VL];
    memcpy(in, &sums, sizeof in), memcpy(factors, &multiplier, sizeof in), memcpy(powers, &shift, sizeof in);
    ck_epilogue(in, factors, powers, last->away, last->zero[0], last->low[0], last->high[0], out, VL);
    memcpy(&sums, out, sizeof out);
    return sums;
#endif
}
