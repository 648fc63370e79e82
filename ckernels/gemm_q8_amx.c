/* gemm_q8_amx.c: the 8-bit GEMM for AMX: an instruction adds the products of 16 rows of A by 16 columns of B,
 * of up to 64 bytes of k, to a tile of sums.
 *
 *      columns of B  |   0 ..  |  16 ..  |    tiles 6 and 7: up to 16 groups of 4 bytes, as in a panel
 *      --------------+---------+---------+
 *      rows 0 .. 15  |  sums 0 |  sums 1 |    tile 4: 16 rows of 64 bytes of A
 *      rows 16 .. 31 |  sums 2 |  sums 3 |    tile 5
 *
 * Where there are no more than 16 rows, sums 2 and 3 are those of a second panel. Tiles take A of either
 * sign: what the zero points add is in the panels' bias but for b_zero times the sum of a row, as in
 * gemm_q8c4.h. The sums begin with the bias, in every row.
 *
 * k goes in steps of 64; the last one ends with k, and has zeros in A for what the one before it had already.
 * A tile load that crosses lines of the cache takes six times as long: rows of A that do are copied.
 */
#include "kernels.h"
#include <immintrin.h>
#define ELEMENT uint8_t
#define MR 32
#define NR 32
#define VL 16
#define A_SIGNED (p->a_dtype == CK_I8)
#include "gemm_q8_finish.h"
#include "gemm_rows.h"

enum { L2_BYTES = 1024 * 1024, HALF = 16, LINE = 64, STEP_BYTES = MR * LINE };

/* What LDTILECFG reads. */
typedef struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16]; /* of a row of each tile */
    uint8_t rows[16];
} shapes;

/* A as the tiles read it: step s of row i stands at from + s * next + i * apart. */
typedef struct {
    const char *from;
    int64_t next, apart;
} left_side;

/* The k of a GEMM in steps of `width`. */
typedef struct {
    int64_t depth, width, count;
} steps;

static steps steps_of(const ck_gemm *p) {
    const int64_t depth = ck_c4_depth(p), width = ck_min(depth, LINE);
    return (steps){depth, width, (depth + width - 1) / width};
}

/* Makes all tiles zero. */
static void shape_tiles(int rows, int64_t width) {
    const uint8_t high = (uint8_t)ck_min(rows, HALF), low = (uint8_t)(rows > HALF ? rows - HALF : high);
    const uint16_t k = (uint16_t)width;
    const shapes all = {.palette = 1,
                        .bytes = {LINE, LINE, LINE, LINE, k, k, LINE, LINE},
                        .rows = {high, high, low, low, high, low, (uint8_t)(k / 4), (uint8_t)(k / 4)}};
    __asm__ volatile("ldtilecfg %0" ::"m"(all));
}

/* The sums of up to 16 rows, or more where `tall`, by the first `vectors` vectors of one panel, or where
 * `wide` by a second one as well. */
static inline __attribute__((always_inline)) void tile(const int is_signed, const int tall, const int wide,
                                                       const int vectors, const steps *k, const left_side *a,
                                                       const char *panel, const char *second, int32_t *sums) {
#define DOT(to, x, y)                          \
    do {                                       \
        if (is_signed) _tile_dpbssd(to, x, y); \
        else _tile_dpbusd(to, x, y);           \
    } while (0)
    const char *other = wide ? second : panel;
    _tile_loadd(0, panel, 0);
    if (vectors > 1) _tile_loadd(1, panel + LINE, 0);
    if (tall || wide) _tile_loadd(2, other, 0);
    if ((tall || wide) && vectors > 1) _tile_loadd(3, other + LINE, 0);
    for (int64_t s = 0; s < k->count; s++) {
        const char *from = a->from + s * a->next;
        const int64_t at = NR * (4 + ck_min(s * LINE, k->depth - k->width));
        _tile_loadd(6, panel + at, NR * 4);
        _tile_loadd(4, from, a->apart);
        DOT(0, 4, 6);
        if (vectors > 1) {
            _tile_loadd(7, panel + at + LINE, NR * 4);
            DOT(1, 4, 7);
        }
        if (tall) {
            _tile_loadd(5, from + HALF * a->apart, a->apart);
            DOT(2, 5, 6);
            if (vectors > 1) DOT(3, 5, 7);
        } else if (wide) {
            _tile_loadd(6, second + at, NR * 4);
            DOT(2, 4, 6);
            _tile_loadd(7, second + at + LINE, NR * 4);
            DOT(3, 4, 7);
        }
    }
#undef DOT
    _tile_stored(0, sums, NR * 4);
    if (vectors > 1) _tile_stored(1, sums + VL, NR * 4);
    if (tall || wide) _tile_stored(2, sums + HALF * NR, NR * 4);
    if ((tall || wide) && vectors > 1) _tile_stored(3, sums + HALF * NR + VL, NR * 4);
}

static void sum(const ck_gemm *p, const int tall, const int wide, int64_t n, const steps *k,
                const left_side *a, const char *panel, const char *second, int32_t *sums) {
#define TILE(tall, wide, vectors)                                                         \
    do {                                                                                  \
        if (p->a_dtype == CK_I8) tile(1, tall, wide, vectors, k, a, panel, second, sums); \
        else tile(0, tall, wide, vectors, k, a, panel, second, sums);                     \
    } while (0)
    if (wide) TILE(0, 1, 2);
    else if (tall && n > VL) TILE(1, 0, 2);
    else if (tall) TILE(1, 0, 1);
    else if (n > VL) TILE(0, 0, 2);
    else TILE(0, 0, 1);
#undef TILE
}

/* out[i * taps + t]: where chunk t of row m + i of A stands, contiguous; a transposed A is gathered. */
static void starts_of(const ck_gemm *p, const uint8_t *a, const uint8_t *pad, int64_t m, int rows,
                      uint8_t *gathered, const uint8_t **out) {
    if (!p->rows) {
        rows_of(p, a, pad, m, rows, 0, gathered, out);
        return;
    }
    const int32_t *at = p->rows + m * p->taps;
    for (int64_t x = 0; x < rows * p->taps; x++) out[x] = at[x] < 0 ? pad : a + at[x];
}

/* Copies up to 64 bytes of each row to the tiles of a step, from byte `first` of a chunk that starts at
 * start[i * apart]. */
static void copy_piece(int rows, const uint8_t *const *start, int64_t apart, int64_t first, int64_t bytes,
                       char *to) {
    const __mmask64 mask = ~0ull >> (LINE - bytes);
    if (bytes == LINE)
        for (int i = 0; i < rows; i++)
            _mm512_storeu_si512(to + i * LINE, _mm512_loadu_si512(start[i * apart] + first));
    else
        for (int i = 0; i < rows; i++) {
            const __m512i some = _mm512_maskz_loadu_epi8(mask, start[i * apart] + first);
            _mm512_mask_storeu_epi8(to + i * LINE, mask, some);
        }
}

/* The rows into tiles, for each step MR rows of 64 bytes; chunks fill groups of four, as in the panels. */
static void copy_rows(const ck_gemm *p, int rows, const uint8_t *const *start, const steps *k, char *tiles) {
    const int64_t chunk = p->k / p->taps, aside = k->count * k->width - k->depth;
    char *const last = tiles + (k->count - 1) * STEP_BYTES;
    for (int i = 0; aside && i < rows; i++) _mm512_storeu_si512(last + i * LINE, _mm512_setzero_si512());
    for (int64_t t = 0, at = 0; t < p->taps; t++, at = (at + 3) & ~3)
        for (int64_t first = 0, bytes; first < chunk; first += bytes, at += bytes) {
            char *const step = tiles + at / LINE * STEP_BYTES;
            const int64_t within = at % LINE + (step == last ? aside : 0);
            bytes = ck_min(chunk - first, LINE - within);
            copy_piece(rows, start + t, p->taps, first, bytes, step + within);
        }
    __asm__ volatile("" ::: "memory"); /* the compiler does not know that tiles read memory */
}

/* Where tiles find A: in the rows themselves, if none crosses a line of the cache, or in a copy. */
static left_side left_side_of(const ck_gemm *p, int rows, const uint8_t *const *row, const steps *k,
                              char *tiles) {
    const int64_t apart = p->a_view.strides[1];
    const int in_lines = !p->rows && p->a_view.strides[2] == 1 && p->k % k->width == 0 &&
                         (apart | (int64_t)(uintptr_t)row[0]) % k->width == 0;
    if (in_lines && LINE % k->width == 0) return (left_side){(const char *)row[0], LINE, apart};
    copy_rows(p, rows, row, k, tiles);
    return (left_side){tiles, STEP_BYTES, LINE};
}

/* Takes b_zero times the sums of the rows of A off. */
static void lessen(int rows, const int32_t *less, int32_t *sums) {
    for (int i = 0; i < rows; i++)
        UNROLLED(j, VECTORS) ((uvec *)(void *)(sums + i * NR))[j] -= (uint32_t)less[i];
}

/* C of up to MR rows in the panels [first, end). */
static void rows_by_panels(const ck_gemm *p, int rows, const left_side *a, const steps *k,
                           const int32_t *less, const char *panels, int64_t first, int64_t end, char *c,
                           int64_t at) {
    const int64_t size = NR * (4 + k->depth);
    _Alignas(LINE) int32_t sums[MR * NR];
    for (int64_t j = first, count; j < end; j += count) {
        const int wide = rows <= HALF && j + 1 < end;
        count = 1 + wide;
        sum(p, rows > HALF, wide, p->n - j * NR, k, a, panels + j * size, panels + (j + 1) * size, sums);
        for (int64_t q = j; q < j + count; q++) {
            int32_t *of = sums + (q - j) * HALF * NR;
            if (less) lessen(rows, less, of);
            finish(p, rows, of, c, at + q * NR * p->c_view.strides[2], q * NR);
        }
    }
}

ck_status ck_q8_gemm_32x32c4__amx(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_gemm *p = params;
    if (!ck_worth_tiles(p)) return ck_q8_gemm_12x32c4__vnni(p, begin, end, bases);
    const steps k = steps_of(p);
    const int64_t panel = NR * (4 + k.depth), panels = (p->n + NR - 1) / NR, *s = p->c_view.strides;
    const int64_t beside = ck_max(L2_BYTES / panel, 2);
    const int32_t b_zero = p->b_zero - (p->b_dtype == CK_U8 ? 128 : 0);
    const uint8_t *pad = (const uint8_t *)ck_at(p->pad, bases);
    char *tiles = ck_at(p->scratch, bases), *c = ck_at(p->c, bases);
    const uint8_t **rows = (const uint8_t **)(void *)(tiles + k.count * STEP_BYTES);
    uint8_t *gathered = (uint8_t *)(rows + MR * p->taps);
    const ck_range batches = ck_batches(p, begin, end), across = ck_panels_of(p, begin, end);
    int shaped = 0;
    for (int64_t b = batches.begin; b < batches.end; b++) {
        const ck_range of = ck_rows_of(p, b, begin, end);
        const int64_t step = tile_rows(of.end - of.begin);
        const uint8_t *a = (const uint8_t *)ck_at(p->a, bases) + p->a_view.offset + b * p->a_view.strides[0];
        const char *packed = ck_at(p->packed, bases) + b * panels * panel;
        for (int64_t first = across.begin; first < across.end; first += beside)
            for (int64_t m = of.begin; m < of.end; m += step) {
                const int used = (int)ck_min(step, of.end - m);
                int32_t less[MR];
                if (used != shaped) shape_tiles(shaped = used, k.width);
                starts_of(p, a, pad, m, used, gathered, rows);
                sums_of(p, used, rows, 1, p->taps, b_zero, less);
                const left_side left = left_side_of(p, used, rows, &k, tiles);
                rows_by_panels(p, used, &left, &k, b_zero ? less : NULL, packed, first,
                               ck_min(first + beside, across.end), c, p->c_view.offset + b * s[0] + m * s[1]);
            }
    }
    _tile_release();
    return CK_OK;
}
