/* lanes.h: bytes to lanes of 32 bits and back, VL at a time: GCC makes one move an element of its own
 * conversions between vectors. `vec` is a vector of VL int32_t.
 */
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

static inline __attribute__((always_inline)) void bytes_to(uint8_t *to, const int32_t *lanes) {
#ifdef BYTES_TO
    vec whole;
    memcpy(&whole, lanes, sizeof whole);
    BYTES_TO(to, whole);
#else
    for (int j = 0; j < VL; j++) to[j] = (uint8_t)lanes[j];
#endif
}
