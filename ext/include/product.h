/* Products of small matrices, one tile of registers at a time: its sums run over k in order and
   never leave the registers. B lies in packed panels as wide as a tile, read from end to end. */
#ifndef SCHUSS_PRODUCT_H
#define SCHUSS_PRODUCT_H

#include <stddef.h>

#include "vec.h"

/* As many rows as leave room for a row of B and one number of A in the registers. */
#if defined(__AVX512VL__) || defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
/* Of a tile of one register. */
#define NARROW_ROWS (2 * TILE_ROWS)
#define TILE_REGISTERS 2
#define TILE_WIDTH (TILE_REGISTERS * LANES)
/* The largest tile of gradients: a row block of 16 of the largest LANES. */
#define MAX_TILE (16 * TILE_WIDTH)

/* C = A B, of m rows of C, K rows of B and as many columns as there are in nv registers; strides
   are in reals. */
typedef struct {
    ptrdiff_t m, K;
    const real *A;
    ptrdiff_t a_stride;
    const real *B;
    ptrdiff_t b_stride;
    const real *start;     /* added to each row, or NULL */
    real *C;
    ptrdiff_t c_stride;
    const char *prefetch;  /* a place for each k: more at once than a core can fetch are dropped */
    ptrdiff_t prefetch_step;
} Product;

/* m rows of C from row i on; m, nv, `by_columns` (A is transposed) and `ahead` (whether something
   is prefetched) are constants. */
ALWAYS_INLINE void tile_product(const int m, const int nv, const int by_columns, const int ahead,
                                ptrdiff_t row, const Product *p) {
    const ptrdiff_t a_row = by_columns ? 1 : p->a_stride, a_step = by_columns ? p->a_stride : 1;
    const ptrdiff_t b_stride = p->b_stride, c_stride = p->c_stride, K = p->K;
    const ptrdiff_t prefetch_step = p->prefetch_step;
    const real *A = p->A + row * a_row, *B = p->B;
    const char *along = p->prefetch;
    real *C = p->C + row * c_stride;
    vreal sums[NARROW_ROWS][TILE_REGISTERS], b[TILE_REGISTERS];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < nv; j++)
            sums[i][j] = !by_columns && p->start ? v_load(p->start + j * LANES) : v_set(0);
    for (ptrdiff_t k = 0; k < K; k++) {
        if (ahead) {
            prefetch(along);
            along += prefetch_step;
        }
        UNROLL for (int j = 0; j < nv; j++) b[j] = v_load(B + j * LANES);
        UNROLL for (int i = 0; i < m; i++) {
            vreal a = v_set(A[i * a_row]);
            UNROLL for (int j = 0; j < nv; j++) sums[i][j] = sums[i][j] + a * b[j];
        }
        A += a_step;
        B += b_stride;
    }
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < nv; j++) v_store(C + i * c_stride + j * LANES, sums[i][j]);
}

#define CASE(rows, nv) case rows: tile_product(rows, nv, by_columns, ahead, row, p); break;
#define CASES_TO_5(nv) CASE(1, nv) CASE(2, nv) CASE(3, nv) CASE(4, nv) CASE(5, nv)
#if TILE_ROWS == 8
#define WIDE_CASES CASES_TO_5(2) CASE(6, 2) CASE(7, 2)
#define NARROW_CASES CASES_TO_5(1) CASE(6, 1) CASE(7, 1) CASE(8, 1) CASE(9, 1) CASE(10, 1) \
    CASE(11, 1) CASE(12, 1) CASE(13, 1) CASE(14, 1) CASE(15, 1)
#else
#define WIDE_CASES CASES_TO_5(2)
#define NARROW_CASES CASES_TO_5(1) CASE(6, 1) CASE(7, 1) CASE(8, 1) CASE(9, 1) CASE(10, 1) \
    CASE(11, 1)
#endif

/* All rows of C, in tiles of as many as keep the units busy, and one of what is left. */
ALWAYS_INLINE void product(const int nv, const int by_columns, const int ahead,
                           const Product *p) {
    const int rows = nv == 1 ? NARROW_ROWS : TILE_ROWS;
    ptrdiff_t row = 0;
    for (; row + rows <= p->m; row += rows)
        tile_product(rows, nv, by_columns, ahead, row, p);
    if (nv == 1)
        switch (p->m - row) { NARROW_CASES }
    else
        switch (p->m - row) { WIDE_CASES }
}

/* m rows of A times K rows of B. */
static void rows_product(int nv, const Product *p) {
    if (nv == 1) product(1, 0, 0, p);
    else product(2, 0, 0, p);
}

/* The same, for one tile of rows at a time. */
static void rows_product_ahead(int nv, const Product *p) {
    if (nv == 1) product(1, 0, 1, p);
    else product(2, 0, 1, p);
}

/* m columns of K rows of A, transposed, times K rows of B. */
static void columns_product(int nv, const Product *p) {
    if (nv == 1) product(1, 1, 1, p);
    else product(2, 1, 1, p);
}

/* The sums of the columns of B, in four chains each. */
static void column_sums(int nv, ptrdiff_t rows, const real *B, ptrdiff_t b_stride, real *out) {
    for (int j = 0; j < nv; j++, B += LANES) {
        vreal a = v_set(0), b = a, c = a, d = a;
        ptrdiff_t r = 0;
        for (; r + 4 <= rows; r += 4) {
            a = a + v_load(B + r * b_stride);
            b = b + v_load(B + (r + 1) * b_stride);
            c = c + v_load(B + (r + 2) * b_stride);
            d = d + v_load(B + (r + 3) * b_stride);
        }
        for (; r < rows; r++) a = a + v_load(B + r * b_stride);
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

/* to[k * to_stride + i] = from[i * stride + k] for i < rows and k < columns, neither more than
   LANES; whole registers are written, with zeros for the rows that are not there. */
static void transpose(const real *from, ptrdiff_t stride, ptrdiff_t rows, real *to,
                      ptrdiff_t to_stride, ptrdiff_t columns) {
    vreal v[LANES];
    if (rows == LANES) {
        UNROLL for (int i = 0; i < LANES; i++) v[i] = v_load(from + i * stride);
    } else {
        UNROLL for (int i = 0; i < LANES; i++) v[i] = i < rows ? v_load(from + i * stride) : v_set(0);
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
        if (k < columns) v_store(to + k * to_stride, v[k]);
}

#endif
