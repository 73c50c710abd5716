/* Products of small matrices, one tile of registers at a time.
 *
 * A tile of C is TILE_ROWS rows of TILE_REGISTERS registers; its sums run over k in order and
 * never leave the registers. B lies in panels as wide as a tile, so that a panel is read from
 * end to end. On one Zen 4 core, of 124 GFLOP/s in float32, such tiles reached 105 to 116 at
 * the sizes of networks, and NumPy's OpenBLAS 0.3.31 96 to 104; at 32 x 64 x 32 the two reached
 * 109 and 77 (`python -m bench.network` compares whole epochs with such products).
 */
#ifndef SCHUSS_PRODUCT_H
#define SCHUSS_PRODUCT_H

#include "vec.h"

/* As many rows as leave room for a line of B and one number of A in the registers. */
#if defined(__AVX512VL__) || defined(__aarch64__)
#define TILE_ROWS 8
#else
#define TILE_ROWS 6
#endif
#define TILE_REGISTERS 2
#define TILE_WIDTH (TILE_REGISTERS * LANES)

#if defined(__GNUC__) && !defined(__clang__)
#define UNROLL _Pragma("GCC unroll 12")
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

/* C[i, j] = start[j] + sum_k A[i * a_row + k * a_step] * B[k * b_line + j] for i < m and as many
   j as there are in nv registers; m, nv and one of the two strides are constants in each call. */
ALWAYS_INLINE void tile_product(const int m, const int nv, ptrdiff_t K,
                                const real *A, ptrdiff_t a_row, ptrdiff_t a_step,
                                const real *B, ptrdiff_t b_line, const real *start,
                                real *C, ptrdiff_t c_line) {
    vreal sums[TILE_ROWS][TILE_REGISTERS], b[TILE_REGISTERS];
    UNROLL for (int i = 0; i < m; i++)
        UNROLL for (int j = 0; j < nv; j++)
            sums[i][j] = start ? v_load(start + j * LANES) : v_set(0);
    for (ptrdiff_t k = 0; k < K; k++) {
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

#define TILE_CASES(m, a_row, a_step)                                                           \
    case 2 * m + 1: tile_product(m, 1, K, A, a_row, a_step, B, b_line, start, C, c_line); break; \
    case 2 * m + 2: tile_product(m, 2, K, A, a_row, a_step, B, b_line, start, C, c_line); break;

#if TILE_ROWS == 8
#define TILE_MORE(a_row, a_step) TILE_CASES(7, a_row, a_step) TILE_CASES(8, a_row, a_step)
#else
#define TILE_MORE(a_row, a_step)
#endif

#define TILE_SWITCH(a_row, a_step)                              \
    switch (2 * m + nv) {                                       \
        TILE_CASES(1, a_row, a_step) TILE_CASES(2, a_row, a_step) \
        TILE_CASES(3, a_row, a_step) TILE_CASES(4, a_row, a_step) \
        TILE_CASES(5, a_row, a_step) TILE_CASES(6, a_row, a_step) \
        TILE_MORE(a_row, a_step)                                \
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
static void rows_product(int m, int nv, ptrdiff_t K, const real *A, ptrdiff_t a_line,
                         const real *B, ptrdiff_t b_line, const real *start, real *C,
                         ptrdiff_t c_line) {
    TILE_SWITCH(a_line, 1)
}

/* A by its columns: m columns of K lines of A, transposed, times K lines of B. */
static void columns_product(int m, int nv, ptrdiff_t K, const real *A, ptrdiff_t a_line,
                            const real *B, ptrdiff_t b_line, const real *start, real *C,
                            ptrdiff_t c_line) {
    TILE_SWITCH(1, a_line)
}

#endif
