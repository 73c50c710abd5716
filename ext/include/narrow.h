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

#ifdef EVEN_LANES
/* Every other entry to one half of the registers, the rest to the other, then in each half the
   same: after log2(width) rounds a register holds one column, their numbers in reversed bits. */
ALWAYS_INLINE void split_rows(const int width, const real *rows, ptrdiff_t count, ptrdiff_t d,
                              real *columns, ptrdiff_t step) {
    for (ptrdiff_t i = 0; i < count; i += LANES) {
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
            if (column < d) v_store(columns + column * step + i, part[q]);
        }
    }
}

/* columns[j * step + i] = the real j of row i, of rows `stride` bytes apart, which are brought to
   `width` reals apart first if they are not. Only the first `inside` have that many to be read. */
ALWAYS_INLINE void narrow_columns_of(const int width, const char *rows, ptrdiff_t stride,
                                     ptrdiff_t count, ptrdiff_t inside, ptrdiff_t d, real *columns,
                                     ptrdiff_t step, real *wide) {
    if (stride == width * (ptrdiff_t)sizeof(real) && (d == width || count <= inside)) {
        split_rows(width, (const real *)rows, count, d, columns, step);
        return;
    }
    ptrdiff_t i = 0;
    for (; i < count && i < inside; i++)
        memcpy(wide + i * width, rows + i * stride, width * sizeof(real));
    for (; i < count; i++) memcpy(wide + i * width, rows + i * stride, d * sizeof(real));
    split_rows(width, wide, count, d, columns, step);
}
#endif

/* `narrow_columns_of` the least power of two; d is at most LANES / 2, with LANES 4 or more, and
   count in whole registers. */
static inline void narrow_columns(const char *rows, ptrdiff_t stride, ptrdiff_t count,
                                  ptrdiff_t inside, ptrdiff_t d, real *columns, ptrdiff_t step,
                                  real *wide) {
#ifdef EVEN_LANES
#define NARROW(width) \
    narrow_columns_of(width, rows, stride, count, inside, d, columns, step, wide)
    if (d <= 2) NARROW(2);
#if LANES >= 8
    else if (d <= 4) NARROW(4);
#endif
#if LANES >= 16
    else NARROW(8);
#endif
#undef NARROW
#else
    (void)rows, (void)stride, (void)count, (void)inside, (void)d, (void)columns, (void)step;
    (void)wide;
#endif
}

#endif
