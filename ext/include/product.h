/* Products of small matrices, one tile of registers at a time.
 *
 * A tile of C is TILE_ROWS rows of TILE_REGISTERS registers; its sums run over k in order and
 * never leave the registers. B lies in panels as wide as a tile, so that a panel is read from
 * end to end. On one Zen 4 core, of 124 GFLOP/s in float32, such tiles reached 105 to 116 at
 * the sizes of networks, and NumPy's OpenBLAS 0.3.31 96 to 104; at 32 x 64 x 32 the two reached
 * 109 and 77. On one Zen 5 core, of 285, they reached 260 to 274, and 220 to 260 where a step is
 * taken after each tile; tiles of 12 or 14 rows or three registers were not quicker
 * (`python -m bench networks` compares whole epochs with such products).
 */
#ifndef SCHUSS_PRODUCT_H
#define SCHUSS_PRODUCT_H

#include <stddef.h>

#include "vec.h"

/* As many rows as leave room for a line of B and one number of A in the registers. */
#if defined(__AVX512VL__) || defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
/* Of a tile of one register. */
#define NARROW_ROWS (2 * TILE_ROWS)
#define TILE_REGISTERS 2
#define TILE_WIDTH (TILE_REGISTERS * LANES)

/* C[i, j] = start[j] + sum_k A[i * a_row + k * a_step] * B[k * b_line + j] for i < m and as many
   j as there are in nv registers; m, nv, `asks` and one of the two strides are constants in each
   call. Where it `asks`, a place is fetched with each k: requests at once, more than the core
   can have under way, are dropped. */
ALWAYS_INLINE void tile_product(const int m, const int nv, ptrdiff_t K,
                                const real *A, ptrdiff_t a_row, ptrdiff_t a_step,
                                const real *B, ptrdiff_t b_line, const real *start,
                                real *C, ptrdiff_t c_line, const int prefetches, const char *prefetch_along,
                                ptrdiff_t prefetch_step) {
    vreal sums[NARROW_ROWS][TILE_REGISTERS], b[TILE_REGISTERS];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < nv; j++)
            sums[i][j] = start ? v_load(start + j * LANES) : v_set(0);
    for (ptrdiff_t k = 0; k < K; k++) {
        if (prefetches) {
            prefetch(prefetch_along);
            prefetch_along += prefetch_step;
        }
        UNROLL for (int j = 0; j < nv; j++) b[j] = v_load(B + j * LANES);
        UNROLL for (int i = 0; i < m; i++) {
            vreal a = v_set(A[i * a_row]);
            UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + a * b[j];
        }
        A += a_step;
        B += b_line;
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < nv; j++) v_store(C + i * c_line + j * LANES, sums[i][j]);
}

#define TILE(m, nv, a_row, a_step, prefetches) \
    tile_product(m, nv, K, A, a_row, a_step, B, b_line, start, C, c_line, prefetches, prefetch_along, prefetch_step)
#define NARROW(m, a_row, a_step, prefetches) case m: TILE(m, 1, a_row, a_step, prefetches); break;
#define WIDE(m, a_row, a_step, prefetches) case m: TILE(m, 2, a_row, a_step, prefetches); break;
#if TILE_ROWS == 8
#define WIDE_REST(a_row, a_step, prefetches) WIDE(6, a_row, a_step, prefetches) WIDE(7, a_row, a_step, prefetches)
#define NARROW_REST(a_row, a_step, prefetches)                            \
    NARROW(12, a_row, a_step, prefetches) NARROW(13, a_row, a_step, prefetches) \
    NARROW(14, a_row, a_step, prefetches) NARROW(15, a_row, a_step, prefetches)
#else
#define WIDE_REST(a_row, a_step, prefetches)
#define NARROW_REST(a_row, a_step, prefetches)
#endif

/* All m rows of C, in tiles of as many as keep the units busy, and one of what is left. */
#define TILES(a_row, a_step, prefetches)                                                      \
    const int most = nv == 1 ? NARROW_ROWS : TILE_ROWS;                                 \
    for (; m >= most; m -= most, A += most * (a_row), C += most * c_line)               \
        if (nv == 1)                                                                    \
            TILE(NARROW_ROWS, 1, a_row, a_step, prefetches);                                  \
        else                                                                            \
            TILE(TILE_ROWS, 2, a_row, a_step, prefetches);                                    \
    if (nv == 1)                                                                        \
        switch (m) {                                                                    \
            NARROW(1, a_row, a_step, prefetches) NARROW(2, a_row, a_step, prefetches)               \
            NARROW(3, a_row, a_step, prefetches) NARROW(4, a_row, a_step, prefetches)               \
            NARROW(5, a_row, a_step, prefetches) NARROW(6, a_row, a_step, prefetches)               \
            NARROW(7, a_row, a_step, prefetches) NARROW(8, a_row, a_step, prefetches)               \
            NARROW(9, a_row, a_step, prefetches) NARROW(10, a_row, a_step, prefetches)              \
            NARROW(11, a_row, a_step, prefetches) NARROW_REST(a_row, a_step, prefetches)            \
        }                                                                               \
    else                                                                                \
        switch (m) {                                                                    \
            WIDE(1, a_row, a_step, prefetches) WIDE(2, a_row, a_step, prefetches)                   \
            WIDE(3, a_row, a_step, prefetches) WIDE(4, a_row, a_step, prefetches)                   \
            WIDE(5, a_row, a_step, prefetches) WIDE_REST(a_row, a_step, prefetches)                 \
        }

/* As many multiplications and additions a second as there can be: the yardstick of `bench`. */
#define CHAINS 12
static real multiply_add_chains(ptrdiff_t repeats, real factor) {
    vreal sums[CHAINS], sum = v_set(0);
    UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = v_set((real)i);
    for (ptrdiff_t k = 0; k < repeats; k++)
        UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * v_set(factor) + v_set(1);
    UNROLL for (int i = 0; i < CHAINS; i++) sum = sum + sums[i];
    return v_sum(sum);
}

/* A by its rows: m rows of A times K lines of B. */
static void rows_product(ptrdiff_t m, int nv, ptrdiff_t K, const real *A, ptrdiff_t a_line,
                         const real *B, ptrdiff_t b_line, const real *start, real *C,
                         ptrdiff_t c_line) {
    const char *prefetch_along = 0;
    const ptrdiff_t prefetch_step = 0;
    TILES(a_line, 1, 0)
}

/* A by its columns: m columns of K lines of A, transposed, times K lines of B. */
static void columns_product(ptrdiff_t m, int nv, ptrdiff_t K, const real *A, ptrdiff_t a_line,
                            const real *B, ptrdiff_t b_line, real *C, ptrdiff_t c_line,
                            const char *prefetch_along, ptrdiff_t prefetch_step) {
    const real *start = 0;
    TILES(1, a_line, 1)
}

/* The sums of the lines' columns, in four chains each. */
static void line_sums(int nv, ptrdiff_t rows, const real *B, ptrdiff_t b_line, real *out) {
    for (int j = 0; j < nv; j++, B += LANES) {
        vreal a = v_set(0), b = a, c = a, d = a;
        ptrdiff_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            a = a + v_load(B + r * b_line);
            b = b + v_load(B + (r + 1) * b_line);
            c = c + v_load(B + (r + 2) * b_line);
            d = d + v_load(B + (r + 3) * b_line);
        }
        for (; r < rows; r++) a = a + v_load(B + r * b_line);
        v_store(out + j * LANES, (a + b) + (c + d));
    }
}

/* Pairs of registers trade the halves of blocks of 2 * step lanes. */
#if VECTORISED && LANES == 16
#define ONE_LOW 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30
#define ONE_HIGH 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31
#define TWO_LOW 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define TWO_HIGH 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define FOUR_LOW 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27
#define FOUR_HIGH 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31
#define EIGHT_LOW 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define EIGHT_HIGH 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#elif VECTORISED && LANES == 8
#define ONE_LOW 0, 8, 2, 10, 4, 12, 6, 14
#define ONE_HIGH 1, 9, 3, 11, 5, 13, 7, 15
#define TWO_LOW 0, 1, 8, 9, 4, 5, 12, 13
#define TWO_HIGH 2, 3, 10, 11, 6, 7, 14, 15
#define FOUR_LOW 0, 1, 2, 3, 8, 9, 10, 11
#define FOUR_HIGH 4, 5, 6, 7, 12, 13, 14, 15
#elif VECTORISED && LANES == 4
#define ONE_LOW 0, 4, 2, 6
#define ONE_HIGH 1, 5, 3, 7
#define TWO_LOW 0, 1, 4, 5
#define TWO_HIGH 2, 3, 6, 7
#elif VECTORISED
#define ONE_LOW 0, 2
#define ONE_HIGH 1, 3
#endif
#define TRADE(step, low, high)                          \
    UNROLL for (int i = 0; i < LANES; i++)              \
        if (!(i & step)) {                              \
            vreal a = v[i], b = v[i + step];            \
            v[i] = SHUFFLE(a, b, low);                  \
            v[i + step] = SHUFFLE(a, b, high);          \
        }

/* to[k * to_line + i] = from[i * line + k] for i < rows and k < columns, neither more than
   LANES; whole registers are written, with zeros for the rows that are not there. */
static void transpose(const real *from, ptrdiff_t line, ptrdiff_t rows, real *to,
                      ptrdiff_t to_line, ptrdiff_t columns) {
    vreal v[LANES];
    if (rows == LANES) {
        UNROLL for (int i = 0; i < LANES; i++) v[i] = v_load(from + i * line);
    } else {
        UNROLL for (int i = 0; i < LANES; i++) v[i] = i < rows ? v_load(from + i * line) : v_set(0);
    }
#if VECTORISED
    TRADE(1, ONE_LOW, ONE_HIGH)
#if LANES >= 4
    TRADE(2, TWO_LOW, TWO_HIGH)
#endif
#if LANES >= 8
    TRADE(4, FOUR_LOW, FOUR_HIGH)
#endif
#if LANES >= 16
    TRADE(8, EIGHT_LOW, EIGHT_HIGH)
#endif
#endif
    UNROLL for (int k = 0; k < LANES; k++)
        if (k < columns) v_store(to + k * to_line, v[k]);
}

#endif
