/* winograd.h: convolution by 3x3 with fewer products, after Lavin and Gray, "Fast Algorithms for
 * Convolutional Neural Networks" (2015), written once in vector extensions; each winograd_*.c names a tile of
 * the matrix products, its ISA gives the flags.
 *
 * A tile of the output is A'((G g G') * (B'd B))A, where * multiplies position by position and adds over the
 * channels: a matrix product of its own for each position. A block of tiles is transformed at a time, and
 * stays in the second cache while all panels of B pass by.
 *
 * The points that polynomials are evaluated at are 0, 1, -1 and infinity for tiles of 2, and for tiles of 4
 * 0, +-sqrt(1/2), +-sqrt(2) and infinity, which lose a fourth of what the usual 0, +-1, +-2 do: the matrices
 * have smaller numbers.
 */
#include "kernels.h"
#include "winograd_tiles.h"

enum { VECTORS = NR / VL, SIDES = 6 };

#include "floats.h"

#define INLINE static inline __attribute__((always_inline))

static const float ROOT_HALF = 0.70710678f, ROOT_TWO = 1.41421356f;

/* B'd. */
INLINE void evaluate(const int tile, const real *d, real *out) {
    if (tile == 2) {
        out[0] = d[0] - d[2], out[1] = d[2] + d[1], out[2] = d[2] - d[1], out[3] = d[3] - d[1];
        return;
    }
    const real even = d[4] - 2 * d[2], odd = ROOT_HALF * (d[3] - 2 * d[1]);
    const real far_even = d[4] - 0.5f * d[2], far_odd = ROOT_TWO * (d[3] - 0.5f * d[1]);
    out[0] = d[0] - 2.5f * d[2] + d[4];
    out[1] = even + odd, out[2] = even - odd;
    out[3] = far_even + far_odd, out[4] = far_even - far_odd;
    out[5] = d[1] - 2.5f * d[3] + d[5];
}

/* A'm. */
INLINE void interpolate(const int tile, const real *m, real *out) {
    const real sum = m[1] + m[2], difference = m[1] - m[2];
    if (tile == 2) {
        out[0] = m[0] + sum, out[1] = difference + m[3];
        return;
    }
    const real far_sum = m[3] + m[4], far_difference = m[3] - m[4];
    out[0] = m[0] + sum + far_sum;
    out[1] = ROOT_HALF * difference + ROOT_TWO * far_difference;
    out[2] = 0.5f * sum + 2 * far_sum;
    out[3] = 0.5f * ROOT_HALF * difference + 2 * ROOT_TWO * far_difference + m[5];
}

INLINE real load(const float *from, int64_t n) {
    if (n >= VL) return *(const real *)from;
    float lanes[VL] = {0};
    memcpy(lanes, from, (size_t)n * 4);
    return *(const real *)lanes;
}

INLINE void store(real x, float *to, int64_t n) {
    if (n >= VL) *(real *)to = x;
    else memcpy(to, &x, (size_t)n * 4);
}

/* A vector of n channels of a tile; from[y * side + x] is a pixel, positions are `step` floats apart. */
INLINE void input_vector(const int tile, const float *const *from, int64_t c, int64_t n, float *to,
                         int64_t step) {
    const int side = tile + 2;
    real half[SIDES][SIDES], line[SIDES], out[SIDES];
    UNROLLED(x, side) {
        UNROLLED(y, side) line[y] = load(from[y * side + x] + c, n);
        evaluate(tile, line, out);
        UNROLLED(y, side) half[y][x] = out[y];
    }
    UNROLLED(y, side) {
        evaluate(tile, half[y], out);
        UNROLLED(x, side) *(real *)(to + (y * side + x) * step) = out[x];
    }
}

/* Where the pixels of a tile are; those outside of the image are `pad`. */
INLINE void pixels_of(const int tile, const ck_winograd *p, const ck_tiles *tiles, int64_t t, const float *in,
                      const float *pad, const float **from) {
    const int side = tile + 2;
    const int32_t *rows = p->rows + t / tiles->across * side;
    const int64_t x0 = t % tiles->across * tile - p->left;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            const int inside = rows[y] >= 0 && x0 + x >= 0 && x0 + x < p->width;
            from[y * side + x] = inside ? in + rows[y] + (x0 + x) * p->in_step : pad;
        }
}

INLINE void input_tiles(const int tile, const ck_winograd *p, const ck_tiles *tiles, int64_t first,
                        int64_t count, char *const *bases, float *to) {
    const float *in = (const float *)ck_at(p->in, bases), *pad = (const float *)ck_at(p->pad, bases);
    for (int64_t t = 0; t < count; t++, to += tiles->row) {
        const float *from[SIDES * SIDES];
        pixels_of(tile, p, tiles, first + t, in, pad, from);
        int64_t c = 0;
        for (; c + VL <= p->channels; c += VL) input_vector(tile, from, c, VL, to + c, tiles->inputs);
        if (c < p->channels) input_vector(tile, from, c, p->channels - c, to + c, tiles->inputs);
    }
}

/* c[i,:] = a[i,0..depth] . panel, for i < rows, in the first `vectors` of the panel. The lines at `ahead`,
 * `apart` bytes from each other, one for each step of the depth, are wanted soon. */
INLINE void product(const int rows, const int vectors, const float *a, int64_t a_step, int64_t depth,
                    const float *panel, const char *ahead, int64_t apart, float *c) {
    real acc[MR][VECTORS];
    const float *row[MR];
    UNROLLED(i, rows) row[i] = a + i * a_step;
    UNROLLED(i, rows)
        UNROLLED(j, vectors) acc[i][j] = (real){0};
    for (int64_t k = 0; k < depth; k++, panel += NR, ahead += apart) {
        real b[VECTORS];
        __builtin_prefetch(ahead);
        UNROLLED(j, vectors) b[j] = ((const real *)panel)[j];
        UNROLLED(i, rows) {
            const real x = row[i][k] - (real){0};
            UNROLLED(j, vectors) acc[i][j] += x * b[j];
        }
    }
    UNROLLED(i, rows)
        UNROLLED(j, vectors) ((real *)(c + i * NR))[j] = acc[i][j];
}

static void product_of(int64_t rows, int64_t n, const float *a, int64_t a_step, int64_t depth,
                       const float *panel, const char *ahead, int64_t apart, float *c) {
#define ROWS(count)                                                                        \
    case count:                                                                            \
        if (n > VL) product(count, VECTORS, a, a_step, depth, panel, ahead, apart, c);     \
        else product(count, 1, a, a_step, depth, panel, ahead, apart, c);                  \
        return;
    switch (rows) {
        ROWS(1) ROWS(2) ROWS(3) ROWS(4)
#if MR > 4
        ROWS(5) ROWS(6)
#endif
#if MR > 6
        ROWS(7) ROWS(8)
#endif
#if MR > 8
        ROWS(9) ROWS(10) ROWS(11) ROWS(12)
#endif
    }
#undef ROWS
}

/* The products of a block of tiles with a panel of B at every position. While the tiles pass by, the panel of
 * the next position is fetched. */
static void products(const ck_winograd *p, const ck_tiles *tiles, int64_t count, const float *panel,
                     int64_t n, const float *inputs, float *out) {
    const int64_t passes = (count + MR - 1) / MR, step = (count + passes - 1) / passes;
    const int64_t size = p->channels * NR;
    const int64_t apart = (NR * 4 + passes - 1) / passes;
    for (int64_t q = 0; q < tiles->positions; q++, panel += size) {
        const char *ahead = (const char *)(panel + size);
        for (int64_t t = 0; t < count; t += step, ahead += p->channels * apart)
            product_of(ck_min(step, count - t), n, inputs + q * tiles->inputs + t * tiles->row, tiles->row,
                       p->channels, panel, ahead, apart, out + q * tiles->products + t * NR);
    }
}

/* A vector of n columns of a tile of the output, of which `down` x `right` pixels are there. */
INLINE void output_vector(const int tile, const ck_winograd *p, const float *from, int64_t step, real bias,
                          int64_t n, int64_t down, int64_t right, float *to) {
    const int side = tile + 2;
    const real low = p->low - (real){0}, high = p->high - (real){0};
    real half[SIDES][SIDES], line[SIDES], out[SIDES];
    UNROLLED(x, side) {
        UNROLLED(y, side) line[y] = *(const real *)(from + (y * side + x) * step);
        interpolate(tile, line, out);
        UNROLLED(y, tile) half[y][x] = out[y];
    }
    UNROLLED(y, tile) {
        if (y >= down) return;
        interpolate(tile, half[y], out);
        UNROLLED(x, tile)
            if (x < right)
                store(clamped(out[x] + bias, low, high), to + (y * p->columns + x) * p->out_step, n);
    }
}

/* The columns of a panel, n of them there, of all pixels of a block of tiles. */
INLINE void output_tiles(const int tile, const ck_winograd *p, const ck_tiles *tiles, int64_t first,
                         int64_t count, const float *from, const float *bias, int64_t n, float *out) {
    for (int64_t t = 0; t < count; t++, from += NR) {
        const int64_t y = (first + t) / tiles->across * tile, x = (first + t) % tiles->across * tile;
        const int64_t down = p->height - y, right = p->columns - x;
        float *to = out + (y * p->columns + x) * p->out_step;
        for (int64_t j = 0; j < n; j += VL) {
            const real b = *(const real *)(bias + j);
            if (j + VL <= n) output_vector(tile, p, from + j, tiles->products, b, VL, down, right, to + j);
            else output_vector(tile, p, from + j, tiles->products, b, n - j, down, right, to + j);
        }
    }
}

/* The columns [begin, end) of all pixels of a block of tiles. */
INLINE void block(const int tile, const ck_winograd *p, const ck_tiles *tiles, int64_t first, int64_t count,
                  int64_t begin, int64_t end, char *const *bases) {
    float *inputs = (float *)ck_at(p->scratch, bases), *sums = inputs + tiles->positions * tiles->inputs;
    float *out = (float *)ck_at(p->out, bases);
    const int64_t size = NR * (1 + tiles->positions * p->channels);
    const float *panel = (const float *)ck_at(p->packed, bases) + begin / NR * size;
    input_tiles(tile, p, tiles, first, count, bases, inputs);
    for (int64_t n0 = begin; n0 < end; n0 += NR, panel += size) {
        const int64_t n = ck_min(NR, p->n - n0);
        products(p, tiles, count, panel + NR, n, inputs, sums);
        output_tiles(tile, p, tiles, first, count, sums, panel, n, out + n0);
    }
}

/* Blocks share the tiles evenly. */
ck_status NAME(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_winograd *p = params;
    const ck_tiles tiles = ck_tiles_of(p, NR);
    const int64_t from = p->by_columns ? begin : 0, until = p->by_columns ? end : p->n;
    const int64_t start = p->by_columns ? 0 : begin, last = (p->by_columns ? tiles.down : end) * tiles.across;
    const int64_t count = last - start * tiles.across;
    const int64_t blocks = (count + p->block - 1) / p->block, step = (count + blocks - 1) / blocks;
    for (int64_t first = start * tiles.across; first < last; first += step) {
        if (p->tile == 2) block(2, p, &tiles, first, ck_min(step, last - first), from, until, bases);
        else block(4, p, &tiles, first, ck_min(step, last - first), from, until, bases);
    }
    return CK_OK;
}
