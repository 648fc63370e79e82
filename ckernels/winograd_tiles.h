/* winograd_tiles.h: the tiles of a Winograd convolution, and how they lie in its scratch. */
#ifndef CK_WINOGRAD_TILES_H
#define CK_WINOGRAD_TILES_H
#include "kernel.h"

/* A tile of the input has `side` x `side` positions; after the transform each is a matrix of its own:
 *   inputs    [positions][block][channels]   rows `row` floats apart, matrices `inputs`
 *   products  [positions][block][nr]         matrices `products` floats apart, behind all inputs
 */
typedef struct {
    int64_t side, positions, down, across; /* tiles below and beside each other */
    int64_t row, inputs, products;
} ck_tiles;

/* Floats of an odd number of lines, no fewer: what stands so far apart shares no places in a cache. */
static inline int64_t ck_odd_lines(int64_t floats) { return ((floats + 15) / 16 | 1) * 16; }

static inline ck_tiles ck_tiles_of(const ck_winograd *p, int32_t nr) {
    const int64_t side = p->tile + 2, row = ck_odd_lines(p->channels);
    return (ck_tiles){
        side, side * side, (p->height + p->tile - 1) / p->tile, (p->columns + p->tile - 1) / p->tile,
        row,  ck_odd_lines(p->block * row), ck_odd_lines(p->block * nr),
    };
}
#endif
