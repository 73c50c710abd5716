/* Scores and sums of few columns, a register or two of rows at a time.
 *
 * Every column has instructions of its own, because processors predict each load's address from
 * the ones before it: in a loop over the columns they fetch memory that nobody reads.
 */
#ifndef SCHUSS_COLUMNS_H
#define SCHUSS_COLUMNS_H

#include <stddef.h>

#include "switches.h"
#include "vec.h"

#define MAX_REGISTERS 2
/* How far ahead each column is prefetched: what lies between stays in L1. */
#define COLUMNS_AHEAD 512

ALWAYS_INLINE void column_score(const int registers, const real *x, real weight, vreal *scores) {
    vreal w = v_set(weight);
    UNROLL for (int r = 0; r < registers; r++) {
        if (SCHUSS_PREFETCH_COLUMNS) prefetch((const char *)(x + r * LANES) + COLUMNS_AHEAD);
        scores[r] = scores[r] + w * v_load(x + r * LANES);
    }
}

/* scores = start + X w; quads = d / 4 and `registers` are constants in each call. */
ALWAYS_INLINE void columns_scores(const int quads, const int registers, const real **column,
                                  ptrdiff_t row, ptrdiff_t d, const real *w, real start,
                                  vreal *scores) {
    vreal even[MAX_REGISTERS], odd[MAX_REGISTERS];
    UNROLL for (int r = 0; r < registers; r++) {
        even[r] = v_set(start);
        odd[r] = v_set(0);
    }
    UNROLL for (int j = 0; j < 4 * quads; j++)
        column_score(registers, column[j] + row, w[j], j % 2 ? odd : even);
    if (d > 4 * quads)
        column_score(registers, column[4 * quads] + row, w[4 * quads], even);
    if (d > 4 * quads + 1)
        column_score(registers, column[4 * quads + 1] + row, w[4 * quads + 1], odd);
    if (d > 4 * quads + 2)
        column_score(registers, column[4 * quads + 2] + row, w[4 * quads + 2], even);
    UNROLL for (int r = 0; r < registers; r++) scores[r] = even[r] + odd[r];
}

ALWAYS_INLINE void column_sum(const int registers, const real *x, const vreal *g, real *sum) {
    vreal total = v_load(sum);
    UNROLL for (int r = 0; r < registers; r++) total = total + g[r] * v_load(x + r * LANES);
    v_store(sum, total);
}

/* A register of sums for each column += column * g. */
ALWAYS_INLINE void columns_sums(const int quads, const int registers, const real **column,
                                ptrdiff_t row, ptrdiff_t d, const vreal *g, real *sums) {
    UNROLL for (int j = 0; j < 4 * quads; j++)
        column_sum(registers, column[j] + row, g, sums + j * LANES);
    if (d > 4 * quads)
        column_sum(registers, column[4 * quads] + row, g, sums + 4 * quads * LANES);
    if (d > 4 * quads + 1)
        column_sum(registers, column[4 * quads + 1] + row, g, sums + (4 * quads + 1) * LANES);
    if (d > 4 * quads + 2)
        column_sum(registers, column[4 * quads + 2] + row, g, sums + (4 * quads + 2) * LANES);
}

#endif
