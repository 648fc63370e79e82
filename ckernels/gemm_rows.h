/* gemm_rows.h: where a GEMM reads A. ELEMENT is its type, MR the rows of a tile. */

/* Tiles share the rows evenly, so that none is nearly empty: the rows of each. */
static int64_t tile_rows(int64_t m) {
    const int64_t tiles = (m + MR - 1) / MR;
    return (m + tiles - 1) / tiles;
}

/* Rows a multiple of CRITICAL bytes apart share their places in the first cache of most cores, in which no more
 * than WAYS of them find room. Copies of rows stand CK_ASIDE bytes further apart. */
enum { CRITICAL = 4096, WAYS = 8, WORTH = 4 }; /* panels that a copy is read for, to be worth it */

/* out[t * MR + i]: where chunk t of row m0 + i of A stands, contiguous; a transposed A is gathered into
 * `gathered`, and so are, where `copy`, rows that would drive each other out of the cache. */
static void rows_of(const ck_gemm *p, const ELEMENT *a, const ELEMENT *pad, int64_t m0, int rows, int copy,
                    ELEMENT *gathered, const ELEMENT **out) {
    const int64_t step_m = p->a_view.strides[1], step_k = p->a_view.strides[2];
    const int crowded = copy && rows > WAYS && step_m && step_m * (int64_t)sizeof(ELEMENT) % CRITICAL == 0;
    for (int i = 0; i < rows; i++) {
        for (int64_t t = 0; p->rows && t < p->taps; t++) {
            const int32_t at = p->rows[(m0 + i) * p->taps + t];
            out[t * MR + i] = at < 0 ? pad : a + at;
        }
        if (p->rows) continue;
        const ELEMENT *from = a + (m0 + i) * step_m;
        ELEMENT *to = gathered + i * (p->k + CK_ASIDE / (int64_t)sizeof(ELEMENT));
        out[i] = step_k == 1 && !crowded ? from : to;
        if (out[i] == from) continue;
        if (step_k == 1) memcpy(to, from, (size_t)p->k * sizeof(ELEMENT));
        else
            for (int64_t k = 0; k < p->k; k++) to[k] = from[k * step_k];
    }
}
