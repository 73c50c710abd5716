/* Weighted products of columns: X^T S X of rows that lie in the cache as columns. */
#ifndef SCHUSS_GRAM_H
#define SCHUSS_GRAM_H

#include <stddef.h>

#include "vec.h"

/* Columns of a tile on the left and on the right, whose sums stay in registers. */
#define GRAM_LEFT 4
#if REGISTERS > 16
#define GRAM_RIGHT 4
#else
#define GRAM_RIGHT 2
#endif

/* out[i][j] += sum of s * left column i * right column j; p and q are constants in each call, and
   whether s is NULL, for ones. */
ALWAYS_INLINE void gram_tile(const int p, const int q, const real *left, const real *right,
                             ptrdiff_t step, ptrdiff_t length, const real *s, double *out,
                             ptrdiff_t out_step) {
    vreal sums[GRAM_LEFT][GRAM_RIGHT];
    UNROLL for (int i = 0; i < p; i++)
        UNROLL for (int j = 0; j < q; j++) sums[i][j] = v_set(0);
    for (ptrdiff_t k = 0; k < length; k += LANES) {
        vreal b[GRAM_RIGHT];
        UNROLL for (int j = 0; j < q; j++) b[j] = v_load(right + j * step + k);
        if (s) {
            const vreal weight = v_load(s + k);
            UNROLL for (int j = 0; j < q; j++) b[j] = weight * b[j];
        }
        UNROLL for (int i = 0; i < p; i++) {
            const vreal a = v_load(left + i * step + k);
            UNROLL for (int j = 0; j < q; j++) sums[i][j] = sums[i][j] + a * b[j];
        }
    }
    UNROLL for (int j = 0; j < q; j++) {
        real four[4];
        vreal column[4];
        UNROLL for (int i = 0; i < 4; i++) column[i] = i < p ? sums[i][j] : v_set(0);
        v_sum4(column[0], column[1], column[2], column[3], four);
        UNROLL for (int i = 0; i < p; i++) out[i * out_step + j] += four[i];
    }
}

#define GRAM_CASE(p, q) \
    case p * 8 + q: gram_tile(p, q, left, right, step, length, s, target, out_step); break;
#define GRAM_CASES(p) GRAM_CASE(p, 1) GRAM_CASE(p, 2) GRAM_WIDE_CASES(p)
#if GRAM_RIGHT == 4
#define GRAM_WIDE_CASES(p) GRAM_CASE(p, 3) GRAM_CASE(p, 4)
#else
#define GRAM_WIDE_CASES(p)
#endif

ALWAYS_INLINE void columns_gram(ptrdiff_t r, const real *columns, ptrdiff_t step,
                                ptrdiff_t length, const real *s, double *out,
                                ptrdiff_t out_step) {
    for (ptrdiff_t i = 0; i < r; i += GRAM_LEFT) {
        const ptrdiff_t p = r - i < GRAM_LEFT ? r - i : GRAM_LEFT;
        for (ptrdiff_t j = i; j < r; j += GRAM_RIGHT) {
            const ptrdiff_t q = r - j < GRAM_RIGHT ? r - j : GRAM_RIGHT;
            const real *left = columns + i * step, *right = columns + j * step;
            double *target = out + i * out_step + j;
            switch (p * 8 + q) { GRAM_CASES(1) GRAM_CASES(2) GRAM_CASES(3) GRAM_CASES(4) }
        }
    }
}

/* Upper triangle of out += sum over the rows of s * x x^T, and some of what lies below it.
   `columns` lie `step` reals apart; `length` is whole registers; s is NULL for ones. */
static void add_columns_gram(ptrdiff_t r, const real *columns, ptrdiff_t step, ptrdiff_t length,
                             const real *s, double *out, ptrdiff_t out_step) {
    if (s)
        columns_gram(r, columns, step, length, s, out, out_step);
    else
        columns_gram(r, columns, step, length, NULL, out, out_step);
}

#endif
