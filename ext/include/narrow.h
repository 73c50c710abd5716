/* Rows of reals that fill half a register or less, brought into columns. */
#ifndef SCHUSS_NARROW_H
#define SCHUSS_NARROW_H

#include <stddef.h>
#include <string.h>

#include "vec.h"

#if VECTORISED && LANES == 16
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif VECTORISED && LANES == 8
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#define ODD_LANES 1, 3, 5, 7, 9, 11, 13, 15
#elif VECTORISED && LANES == 4
#define EVEN_LANES 0, 2, 4, 6
#define ODD_LANES 1, 3, 5, 7
#endif

/* Rows of d reals, `stride` bytes apart, of which only the first `inside` can be read as if they
   had the next power of two; columns[j * step + i] becomes the real j of row i. */
typedef struct {
    const char *rows;
    ptrdiff_t stride, count, inside, d; /* count is whole registers */
    real *columns;
    ptrdiff_t step;
    real *wide; /* room for the rows in that power of two */
} NarrowRows;

#ifdef EVEN_LANES
/* Every other entry to one half of the registers, the rest to the other, then in each half the
   same: after log2(width) rounds a register holds one column, their numbers in reversed bits. */
ALWAYS_INLINE void split_rows(const int width, const real *rows, const NarrowRows *n) {
    for (ptrdiff_t i = 0; i < n->count; i += LANES) {
        vreal part[LANES / 2], next[LANES / 2];
        UNROLL
        for (int q = 0; q < width; q++) part[q] = v_load(rows + i * width + q * LANES);
        UNROLL
        for (int half = width / 2; half; half /= 2) {
            UNROLL
            for (int q = 0; q < width / 2; q++) {
                const int at = q / half * 2 * half + q % half, from = q / half * 2 * half;
                const vreal a = part[from + 2 * (q % half)], b = part[from + 2 * (q % half) + 1];
                next[at] = SHUFFLE(a, b, EVEN_LANES);
                next[at + half] = SHUFFLE(a, b, ODD_LANES);
            }
            UNROLL
            for (int q = 0; q < width; q++) part[q] = next[q];
        }
        UNROLL
        for (int q = 0; q < width; q++) {
            const int column = width == 2 ? q
                             : width == 4 ? (q & 1) << 1 | q >> 1
                                          : (q & 1) << 2 | (q & 2) | q >> 2;
            if (column < n->d) v_store(n->columns + column * n->step + i, part[q]);
        }
    }
}

/* Rows that are not `width` reals apart are brought there first. */
ALWAYS_INLINE void narrow_columns_of(const int width, const NarrowRows *rows) {
    const NarrowRows n = *rows;
    const ptrdiff_t whole = n.count < n.inside ? n.count : n.inside;
    if (n.stride == width * (ptrdiff_t)sizeof(real) && (n.d == width || n.count <= n.inside)) {
        split_rows(width, (const real *)n.rows, &n);
        return;
    }
    ptrdiff_t i = 0;
    for (; i < whole; i++) memcpy(n.wide + i * width, n.rows + i * n.stride, width * sizeof(real));
    for (; i < n.count; i++) memcpy(n.wide + i * width, n.rows + i * n.stride, n.d * sizeof(real));
    split_rows(width, n.wide, &n);
}
#endif

/* d is at most LANES / 2, with LANES 4 or more. */
static inline void narrow_columns(const NarrowRows *n) {
#ifdef EVEN_LANES
    if (n->d <= 2) narrow_columns_of(2, n);
#if LANES >= 8
    else if (n->d <= 4) narrow_columns_of(4, n);
#endif
#if LANES >= 16
    else narrow_columns_of(8, n);
#endif
#else
    (void)n;
#endif
}

#endif
