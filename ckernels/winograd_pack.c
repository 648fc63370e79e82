/* winograd_pack.c: the weights of a Winograd convolution, transformed, in panels. */
#include "kernels.h"
#include "winograd_tiles.h"

/* The rows of G, for the points and the scales of winograd.h. */
static const double SMALL[4][3] = {{1, 0, 0}, {.5, .5, .5}, {.5, -.5, .5}, {0, 0, 1}};
static const double A = 0.70710678118654752440, B = 1.41421356237309504880;
static const double LARGE[6][3] = {
    {1, 0, 0},
    {-1 / 1.5, -A / 1.5, -.5 / 1.5},
    {-1 / 1.5, A / 1.5, -.5 / 1.5},
    {1. / 6, B / 6, 2. / 6},
    {1. / 6, -B / 6, 2. / 6},
    {0, 0, 1},
};

/* u = G g G', of one channel and column; g[i][j] stands at i * down + j * right. */
static void transform(const double (*g)[3], int64_t side, const float *from, int64_t down, int64_t right,
                      float *to, int64_t step) {
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++) {
            double sum = 0;
            for (int64_t i = 0; i < 3; i++)
                for (int64_t j = 0; j < 3; j++) sum += g[y][i] * (double)from[i * down + j * right] * g[x][j];
            to[(y * side + x) * step] = (float)sum;
        }
}

/* Units are panels. Columns past n stay as they are: zero. */
ck_status ck_f32_winograd_pack(const void *params, int64_t begin, int64_t end, char *const *bases) {
    const ck_winograd *p = params;
    const int64_t nr = p->nr;
    const ck_tiles tiles = ck_tiles_of(p, p->nr);
    const float *b = (const float *)ck_at(p->b, bases) + p->b_view.offset;
    const float *bias = (const float *)ck_at(p->bias, bases);
    const int64_t k = p->b_view.strides[1], column = p->b_view.strides[2], position = p->channels * nr;
    float *out = (float *)ck_at(p->packed, bases) + begin * (nr + tiles.positions * position);
    for (int64_t n0 = begin * nr; n0 < ck_min(end * nr, p->n); n0 += nr, out += nr + tiles.positions * position) {
        const int64_t n = ck_min(nr, p->n - n0);
        for (int64_t j = 0; bias && j < n; j++) out[j] = bias[n0 + j];
        for (int64_t c = 0; c < p->channels; c++)
            for (int64_t j = 0; j < n; j++)
                transform(p->tile == 2 ? SMALL : LARGE, tiles.side, b + c * k + (n0 + j) * column,
                          3 * p->channels * k, p->channels * k, out + nr + c * nr + j, position);
    }
    return CK_OK;
}

void ck_winograd_room(const ck_row *row, const ck_winograd *p, int64_t *packed, int64_t *scratch) {
    const ck_tiles tiles = ck_tiles_of(p, row->nr);
    const int64_t panels = (p->n + row->nr - 1) / row->nr;
    *packed = panels * row->nr * (1 + tiles.positions * p->channels) * 4;
    *scratch = tiles.positions * (tiles.inputs + tiles.products) * 4;
}
