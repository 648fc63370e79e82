/* gemm_rows.h: where a GEMM reads A. ELEMENT is its type, MR the rows of a tile. */

/* Tiles share the rows evenly, so that none is nearly empty: the rows of each. */
static int64_t tile_rows(int64_t m) {
    const int64_t tiles = (m + MR - 1) / MR;
    return (m + tiles - 1) / tiles;
}

/* out[t * MR + i]: where chunk t of row m0 + i of A stands, contiguous; a transposed A is gathered into
 * `gathered`. */
static void rows_of(const ck_gemm *p, const ELEMENT *a, const ELEMENT *pad, int64_t m0, int rows,
                    ELEMENT *gathered, const ELEMENT **out) {
    const int64_t step_m = p->a_view.strides[1], step_k = p->a_view.strides[2];
    for (int i = 0; i < rows; i++) {
        for (int64_t t = 0; p->rows && t < p->taps; t++) {
            const int32_t at = p->rows[(m0 + i) * p->taps + t];
            out[t * MR + i] = at < 0 ? pad : a + at;
        }
        if (p->rows) continue;
        const ELEMENT *from = a + (m0 + i) * step_m;
        ELEMENT *to = gathered + i * p->k;
        for (int64_t k = 0; step_k != 1 && k < p->k; k++) to[k] = from[k * step_k];
        out[i] = step_k == 1 ? from : to;
    }
}
