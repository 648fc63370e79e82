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
#define FOURS 1
#define WIDE(operation) _mm512_##operation
#define NONE_ABOVE(lanes, limit) (_mm512_cmpgt_epi32_mask(lanes, _mm512_set1_epi32(limit)) == 0)
#define XOR(a, b) _mm512_xor_si512(a, b)
typedef __m512i wide;
#define LANES_OF(from, is_signed)                                           \
    ((is_signed) ? (vec)_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(from))) \
                 : (vec)_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(from))))
#define BYTES_TO(to, lanes) _mm_storeu_si128((void *)(to), _mm512_cvtepi32_epi8((__m512i)(lanes)))
#elif VL == 8 && defined(__AVX2__)
#include <immintrin.h>
#define FOURS 1
#define WIDE(operation) _mm256_##operation
#define NONE_ABOVE(lanes, limit) (_mm256_movemask_epi8(_mm256_cmpgt_epi32(lanes, _mm256_set1_epi32(limit))) == 0)
#define XOR(a, b) _mm256_xor_si256(a, b)
typedef __m256i wide;
#define LANES_OF(from, is_signed)                                           \
    ((is_signed) ? (vec)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(from))) \
                 : (vec)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(from))))
#elif VL == 4 && defined(__aarch64__)
static inline __attribute__((always_inline)) uint8x8_t four_bytes(const uint8_t *from) {
    uint32_t four;
    memcpy(&four, from, sizeof four);
    return vcreate_u8(four);
}

static inline __attribute__((always_inline)) void put_four(uint8_t *to, int32x4_t lanes) {
    const int16x4_t halves = vmovn_s32(lanes);
    const uint32_t four = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(halves, halves))), 0);
    memcpy(to, &four, sizeof four);
}
#define LANES_OF(from, is_signed)                                                                    \
    ((is_signed) ? (vec)vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u8(four_bytes(from)))))      \
                 : (vec)vmovl_u16(vget_low_u16(vmovl_u8(four_bytes(from)))))
#define BYTES_TO(to, lanes) put_four(to, (int32x4_t)(lanes))
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

/* What the integer epilogue takes of a vector of columns, made ready once for many sums. */
typedef struct {
    vec multiplier, shift;
#ifdef FOURS
    vec half, right; /* of the high halves of products */
    int quick;       /* whether they are enough */
#endif
} rescaling;

static inline __attribute__((always_inline)) rescaling rescaling_of(const int32_t *multiplier,
                                                                    const int32_t *shift) {
    rescaling out;
    memcpy(&out.multiplier, multiplier, sizeof out.multiplier);
    memcpy(&out.shift, shift, sizeof out.shift);
#ifdef FOURS
    out.right = (vec)WIDE(sub_epi32)(WIDE(set1_epi32)(-1), (wide)out.shift);
    out.half = (vec)WIDE(srli_epi32)(WIDE(sllv_epi32)(WIDE(set1_epi32)(1), (wide)out.right), 1);
    out.quick = NONE_ABOVE((wide)out.shift, -2);
#endif
    return out;
}

#if VL == 16 && defined(__AVX512F__)
/* 64-bit products of half of the lanes, rounded for the first shift, by 31; and for the second one too where
 * halves go away from zero: downwards below it. */
static inline __attribute__((always_inline)) __m512i rounded(__m512i x, __m512i multiplier, const int away) {
    const __m512i product = _mm512_mul_epi32(x, multiplier), half = _mm512_set1_epi64(1 << 30);
    if (!away) return _mm512_add_epi64(product, half);
    const __m512i down = _mm512_set1_epi64(-(1ll << 31)), sign = _mm512_srai_epi64(product, 63);
    return _mm512_add_epi64(product, _mm512_ternarylogic_epi64(half, down, sign, 0x78)); /* half ^ (down & sign) */
}

/* The high halves of the even products and of the odd ones, in order. */
static inline __attribute__((always_inline)) __m512i high_halves(__m512i even, __m512i odd) {
    return _mm512_mask_shuffle_epi32(odd, 0x5555, even, _MM_PERM_DDBB);
}

/* The bytes of the first vector, then those of the second, the third, the fourth. */
static inline __attribute__((always_inline)) __m512i in_order(__m512i bytes) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes);
}
#elif VL == 8 && defined(__AVX2__)
/* The same three. A multiplier is not negative: the sign of a product below 0 is that of x. */
static inline __attribute__((always_inline)) __m256i rounded(__m256i x, __m256i multiplier, const int away) {
    const __m256i product = _mm256_mul_epi32(x, multiplier), half = _mm256_set1_epi64x(1 << 30);
    if (!away) return _mm256_add_epi64(product, half);
    const __m256i down = _mm256_and_si256(x, _mm256_set1_epi64x(1ll << 31));
    return _mm256_add_epi64(product, _mm256_sub_epi64(half, down));
}

static inline __attribute__((always_inline)) __m256i high_halves(__m256i even, __m256i odd) {
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
}

static inline __attribute__((always_inline)) __m256i in_order(__m256i bytes) {
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
#endif

#ifdef FOURS
/* For shifts of -2 and below: both roundings are one division by 2^(31 - shift), of which the high halves
 * of the products are enough, because what is added for the second rounding is a multiple of 2^32. */
static inline __attribute__((always_inline)) wide rescaled(vec sums, const rescaling *r, const int away) {
    const wide x = (wide)sums, m = (wide)r->multiplier;
    const wide even = rounded(x, m, away);
    const wide odd = rounded(WIDE(srli_epi64)(x, 32), WIDE(srli_epi64)(m, 32), away);
    return WIDE(srav_epi32)(WIDE(add_epi32)(high_halves(even, odd), (wide)r->half), (wide)r->right);
}

/* What comes after the rescaling, in bytes: those without a sign are turned to such with one. */
typedef struct {
    wide zero, low, high, turn;
} narrowing;

static inline narrowing narrowing_of(int32_t zero, int32_t low, int32_t high, int is_signed) {
    const int32_t turn = is_signed ? 0 : 128;
    return (narrowing){WIDE(set1_epi16)((int16_t)(zero - turn)), WIDE(set1_epi8)((char)(low - turn)),
                       WIDE(set1_epi8)((char)(high - turn)), WIDE(set1_epi8)((char)turn)};
}

/* Four vectors as bytes, with the zero point, clamped; saturation on the way loses nothing, as the bounds lie
 * within it. In every 128 bits lie 4 bytes of the first, of the second, of the third, of the fourth. */
static inline __attribute__((always_inline)) wide bytes_of(const wide lanes[4], const narrowing *last) {
    const wide front = WIDE(adds_epi16)(WIDE(packs_epi32)(lanes[0], lanes[1]), last->zero);
    const wide back = WIDE(adds_epi16)(WIDE(packs_epi32)(lanes[2], lanes[3]), last->zero);
    const wide bytes = WIDE(max_epi8)(WIDE(packs_epi16)(front, back), last->low);
    return XOR(WIDE(min_epi8)(bytes, last->high), last->turn);
}
#endif

#if VL == 4 && defined(__aarch64__)
#define EIGHTS 1
/* Eight bytes less their zero point, which is one of the bytes. */
static inline __attribute__((always_inline)) int16x8_t eight_of(const uint8_t *from, int32_t zero, const int is_signed) {
    const uint8x8_t bytes = vld1_u8(from);
    if (is_signed) return vsubl_s8(vreinterpret_s8_u8(bytes), vdup_n_s8((int8_t)zero));
    return vreinterpretq_s16_u16(vsubl_u8(bytes, vdup_n_u8((uint8_t)zero)));
}

/* What the quick rescaling takes of eight columns: for shifts below 0, whose results are so small that nothing
 * wraps when the zero point is added, so that they may be made narrow before it. */
typedef struct {
    int32x4_t multiplier[2], shift[2];
    int quick; /* whether they are */
} eight_columns;

static inline __attribute__((always_inline)) eight_columns eight_columns_of(const int32_t *multiplier,
                                                                            const int32_t *shift) {
    const int32x4_t low = vld1q_s32(shift), high = vld1q_s32(shift + 4);
    return (eight_columns){{vld1q_s32(multiplier), vld1q_s32(multiplier + 4)}, {low, high},
                           vmaxvq_s32(vmaxq_s32(low, high)) < 0};
}

/* What comes after the rescaling, in bytes: those without a sign are turned to such with one. */
typedef struct {
    int16x8_t zero;
    int8x8_t low, high, turn;
    int32_t away;
} narrowing;

static inline narrowing narrowing_of(int32_t zero, int32_t low, int32_t high, int is_signed, int32_t away) {
    const int32_t turn = is_signed ? 0 : 128;
    return (narrowing){vdupq_n_s16((int16_t)(zero - turn)), vdup_n_s8((int8_t)(low - turn)),
                       vdup_n_s8((int8_t)(high - turn)), vdup_n_s8((int8_t)turn), away};
}

/* No product is the least s32, as no multiplier is: one less does not wrap. */
static inline __attribute__((always_inline)) int32x4_t quickly_rescaled(int32x4_t sums, const eight_columns *by,
                                                                        const int half, int32_t away) {
    int32x4_t high = vqrdmulhq_s32(sums, by->multiplier[half]);
    if (away) high = vsraq_n_s32(high, high, 31);
    return vrshlq_s32(high, by->shift[half]);
}

/* The epilogue of eight sums, where it is quick. Saturation loses nothing, as the bounds lie within it. */
static inline __attribute__((always_inline)) void put_eight(uint8_t *to, vec first, vec second,
                                                            const eight_columns *by, const narrowing *last) {
    const int16x4_t low = vqmovn_s32(quickly_rescaled((int32x4_t)first, by, 0, last->away));
    const int16x8_t both = vqmovn_high_s32(low, quickly_rescaled((int32x4_t)second, by, 1, last->away));
    const int8x8_t bytes = vmax_s8(vqmovn_s16(vqaddq_s16(both, last->zero)), last->low);
    vst1_u8(to, (uint8x8_t)veor_s8(vmin_s8(bytes, last->high), last->turn));
}
#endif

#if VL == 8 && defined(__AVX2__)
/* The integer epilogue by any shift, as ck_epilogue has it. */
static inline __attribute__((always_inline)) vec requantised_by_any(vec sums, const rescaling *r,
                                                                    const epilogue *last) {
    const wide none = _mm256_setzero_si256(), one = _mm256_set1_epi32(1), shift = (wide)r->shift;
    const wide right = _mm256_max_epi32(_mm256_sub_epi32(none, shift), none), m = (wide)r->multiplier;
    const wide x = _mm256_sllv_epi32((wide)sums, _mm256_max_epi32(shift, none));
    const wide even = _mm256_srli_epi64(rounded(x, m, 0), 31);
    const wide odd = _mm256_slli_epi64(rounded(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(m, 32), 0), 1);
    const wide high = _mm256_blend_epi32(even, odd, 0xaa);
    const wide mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, right), one);
    const wide down = _mm256_and_si256(_mm256_srli_epi32(high, 31), _mm256_set1_epi32(last->away));
    const wide half = _mm256_add_epi32(_mm256_srli_epi32(mask, 1), down);
    const wide less = _mm256_cmpgt_epi32(_mm256_and_si256(high, mask), half);
    const wide scaled = _mm256_sub_epi32(_mm256_srav_epi32(high, right), less);
    const wide y = _mm256_max_epi32(_mm256_add_epi32(scaled, (wide)last->zero), (wide)last->low);
    return (vec)_mm256_min_epi32(y, (wide)last->high);
}
#endif

/* The integer epilogue of VL sums. */
static inline __attribute__((always_inline)) vec requantised(vec sums, const rescaling *r, const epilogue *last) {
#ifdef FOURS
    if (r->quick) {
        const wide scaled = last->away ? rescaled(sums, r, 1) : rescaled(sums, r, 0);
        const wide y = WIDE(add_epi32)(scaled, (wide)last->zero);
        return (vec)WIDE(min_epi32)(WIDE(max_epi32)(y, (wide)last->low), (wide)last->high);
    }
#endif
#if VL == 8 && defined(__AVX2__)
    return requantised_by_any(sums, r, last);
#else
    int32_t in[VL], factors[VL], powers[VL], out[VL];
    memcpy(in, &sums, sizeof in), memcpy(factors, &r->multiplier, sizeof in), memcpy(powers, &r->shift, sizeof in);
    ck_epilogue(in, factors, powers, last->away, last->zero[0], last->low[0], last->high[0], out, VL);
    memcpy(&sums, out, sizeof out);
    return sums;
#endif
}
