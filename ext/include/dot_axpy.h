/* The two products that touch X, over the rows or the columns of a block:
 *
 *                     rows                           columns
 *     z = X w         row_dots                       column_axpys
 *     X^T g           row_axpys                      column_dots
 *
 * docs/internals/kernels.md shows the registers, the alignment phases and what is prefetched.
 */
#ifndef SCHUSS_DOT_AXPY_H
#define SCHUSS_DOT_AXPY_H

#include <stddef.h>

#include "switches.h"
#include "vec.h"

#define CACHE_LINE 64
#define MAX_PHASES 4
#define MAX_PHASED_ROWS 16 /* in a block */
#define SHORT_REGISTERS 16 /* of a short row, at most */

/* What is read next; each loop over rows prefetches half of its own bytes. */
typedef struct {
    const char *next; /* or NULL */
} Prefetch;

/* Row i is read from heads[i % count] reals on. An operand (weights, or sums) is laid out for each
   phase: a register for the tail, one for the head, then what the other registers meet. */
typedef struct {
    ptrdiff_t count; /* a power of two */
    ptrdiff_t step;  /* reals from phase to phase of an operand */
    ptrdiff_t heads[MAX_PHASES];
} AlignmentPhases;

typedef struct {
    const char *data;
    ptrdiff_t step;   /* bytes from row to row, or from column to column */
    ptrdiff_t count;  /* of rows, or of columns */
    ptrdiff_t length; /* of each; that of columns is whole registers */
    int by_columns;
    ptrdiff_t first; /* row of the phases */
    const AlignmentPhases *phases;
    Prefetch prefetch;
} Block;

/* So many of the bytes that follow; a constant number at each call. */
ALWAYS_INLINE void prefetch_along(Prefetch *ahead, const ptrdiff_t n_bytes) {
    if (!SCHUSS_PREFETCH_ROWS || !ahead->next) return;
    UNROLL for (ptrdiff_t i = 0; i < (n_bytes + CACHE_LINE - 1) / CACHE_LINE; i++)
        prefetch(ahead->next + i * CACHE_LINE);
    ahead->next += n_bytes;
}

ALWAYS_INLINE const real *vector_at(const Block *b, ptrdiff_t i) {
    return (const real *)(b->data + i * b->step);
}

ALWAYS_INLINE ptrdiff_t phase_of(const AlignmentPhases *phases, ptrdiff_t row) {
    return row & (phases->count - 1);
}

/* Where in a phase of an operand the entry of the row's first real lies. */
ALWAYS_INLINE ptrdiff_t operand_start(ptrdiff_t head) {
    return 2 * LANES + (LANES - head) % LANES;
}

/* ------------------------------------------------------------------ long rows */

ALWAYS_INLINE vreal long_dot(const real *row, ptrdiff_t length, ptrdiff_t head,
                             const real *operand, Prefetch *ahead) {
    const real *w = operand + operand_start(head);
    ptrdiff_t whole = length - (length - head) % LANES, j = head;
    vreal a = v_set(0), b = a, c = a, d = a;
    if (head) {
        a = v_load(operand + LANES) * v_load(row);
        prefetch_along(ahead, LANES * REAL_SIZE / 2);
    }
    for (; j + 4 * LANES <= whole; j += 4 * LANES) {
        a = a + v_load(w + j) * v_load(row + j);
        b = b + v_load(w + j + LANES) * v_load(row + j + LANES);
        c = c + v_load(w + j + 2 * LANES) * v_load(row + j + 2 * LANES);
        d = d + v_load(w + j + 3 * LANES) * v_load(row + j + 3 * LANES);
        prefetch_along(ahead, 2 * LANES * REAL_SIZE);
    }
    if (j + 2 * LANES <= length) prefetch_along(ahead, 2 * LANES * REAL_SIZE);
    for (; j < whole; j += LANES) a = a + v_load(w + j) * v_load(row + j);
    if (whole < length) b = b + v_load(operand) * v_load(row + length - LANES);
    return (a + b) + (c + d);
}

ALWAYS_INLINE vreal long_row_dot(const int phased, const Block *b, ptrdiff_t i,
                                 const real *operand, Prefetch *ahead) {
    const ptrdiff_t phase = phased ? phase_of(b->phases, b->first + i) : 0;
    return long_dot(vector_at(b, i), b->length, phased ? b->phases->heads[phase] : 0,
                    operand + phase * b->phases->step, ahead);
}

ALWAYS_INLINE vreal four_long_dots(const int phased, const Block *b, ptrdiff_t i,
                                   const real *operand, Prefetch *ahead) {
    vreal four[4];
    for (int u = 0; u < 4; u++) four[u] = long_row_dot(phased, b, i + u, operand, ahead);
    return v_fold4(four[0], four[1], four[2], four[3]);
}

/* The sum over a constant number of rows, not to be added one by one to a sum of many, which
   costs more digits. */
ALWAYS_INLINE vreal rows_sum(const int count, const real *const *row, const vreal *factor,
                             ptrdiff_t j) {
    vreal total = factor[0] * v_load(row[0] + j);
    UNROLL for (int i = 1; i < count; i++) total = total + factor[i] * v_load(row[i] + j);
    return v_rounded(total);
}

/* sums += factors[i] * row i for a constant number of rows of one phase. */
ALWAYS_INLINE void few_long_axpys(const int count, const Block *b, ptrdiff_t head,
                                  const real *factors, real *sums, Prefetch *ahead) {
    ptrdiff_t whole = b->length - (b->length - head) % LANES;
    real *out = sums + operand_start(head);
    const real *row[8];
    vreal factor[8];
    UNROLL for (int i = 0; i < count; i++) {
        row[i] = vector_at(b, i);
        factor[i] = v_set(factors[i]);
    }
    if (head) {
        v_store(sums + LANES, v_load(sums + LANES) + rows_sum(count, row, factor, 0));
        prefetch_along(ahead, count * LANES * REAL_SIZE / 2);
    }
    for (ptrdiff_t j = head; j < whole; j += LANES) {
        v_store(out + j, v_load(out + j) + rows_sum(count, row, factor, j));
        prefetch_along(ahead, count * LANES * REAL_SIZE / 2);
    }
    if (whole < b->length)
        v_store(sums, v_load(sums) + rows_sum(count, row, factor, b->length - LANES));
}

/* By eights, and the rest by halves. */
#define AXPYS(axpys, b, count)                             \
    for (; count >= 8; count -= 8, b.data += 8 * b.step) { \
        axpys(8);                                          \
        factors += 8;                                      \
    }                                                      \
    AXPYS_REST(axpys, b, count, 4)                         \
    AXPYS_REST(axpys, b, count, 2)                         \
    AXPYS_REST(axpys, b, count, 1)
#define AXPYS_REST(axpys, b, count, few) \
    if (count & few) {                   \
        axpys(few);                      \
        b.data += few * b.step;          \
        factors += few;                  \
    }

ALWAYS_INLINE void axpys_of_head(Block b, ptrdiff_t head, const real *factors, real *sums,
                                 Prefetch *ahead) {
#define LONG_AXPYS(few) few_long_axpys(few, &b, head, factors, sums, ahead)
    AXPYS(LONG_AXPYS, b, b.count)
}

static void long_axpys(Block b, ptrdiff_t head, const real *factors, real *sums,
                       Prefetch *ahead) {
    if (head)
        axpys_of_head(b, head, factors, sums, ahead);
    else
        axpys_of_head(b, 0, factors, sums, ahead);
}

/* The rows of each phase, at most MAX_PHASED_ROWS, together. */
static void phased_axpys(const Block *b, const real *factors, real *sums, Prefetch *ahead) {
    const AlignmentPhases *phases = b->phases;
    if (phases->count == 1) {
        long_axpys(*b, phases->heads[0], factors, sums, ahead);
        return;
    }
    for (ptrdiff_t phase = 0; phase < phases->count; phase++) {
        ptrdiff_t i = phase_of(phases, phase - b->first);
        real own[MAX_PHASED_ROWS];
        Block rows = *b;
        rows.data += i * b->step;
        rows.step *= phases->count;
        for (rows.count = 0; i < b->count; i += phases->count) own[rows.count++] = factors[i];
        long_axpys(rows, phases->heads[phase], own, sums + phase * phases->step, ahead);
    }
}

/* ------------------------------------------------------------------ short rows */

/* The number of registers in a row is a constant of each call: weights and sums stay in registers
   for all rows of a block. The last register of a ragged row ends with the row. */

typedef struct {
    ptrdiff_t row, operand; /* where in each the last register lies */
} Tail;

ALWAYS_INLINE Tail tail_of(const int registers, ptrdiff_t length) {
    Tail tail = {(registers - 1) * LANES, operand_start(0) + (registers - 1) * LANES};
    if (length % LANES) tail = (Tail){length - LANES, 0};
    return tail;
}

ALWAYS_INLINE vreal short_dot(const int registers, const real *row, const vreal *w,
                              ptrdiff_t tail) {
    vreal a = v_set(0), b = w[registers - 1] * v_load(row + tail);
    UNROLL for (int r = 0; r < registers - 1; r++)
        if (r % 2 == 0)
            a = a + w[r] * v_load(row + r * LANES);
        else
            b = b + w[r] * v_load(row + r * LANES);
    return a + b;
}

/* out[i] = ONE(i) for every row; FOUR(i) folds the registers of four. Scores are stored as they
   will be loaded, by registers: a load that spans several stores waits for the cache. */
#define DOTS_BY_REGISTERS(FOUR, ONE)                                           \
    ptrdiff_t i = 0;                                                           \
    for (; LANES >= 4 && i + LANES <= b->count; i += LANES) {                  \
        vreal folded[4];                                                       \
        for (int q = 0; q < LANES / 4; q++) folded[q] = FOUR(i + 4 * q);       \
        v_store(out + i, v_join(folded));                                      \
    }                                                                          \
    for (; LANES >= 4 && i + 4 <= b->count; i += 4) v_store4(out + i, FOUR(i)); \
    for (; i < b->count; i++) out[i] = v_sum(ONE(i));

ALWAYS_INLINE vreal four_short_dots(const int registers, const Block *b, ptrdiff_t i,
                                    const vreal *w, ptrdiff_t tail, Prefetch *ahead) {
    vreal four[4];
    UNROLL for (int u = 0; u < 4; u++) {
        four[u] = short_dot(registers, vector_at(b, i + u), w, tail);
        if (u % 2 == 1) prefetch_along(ahead, registers * LANES * REAL_SIZE);
    }
    return v_fold4(four[0], four[1], four[2], four[3]);
}

ALWAYS_INLINE void short_dots(const int registers, const Block *b, const real *operand, real *out,
                              Prefetch *ahead) {
    const Tail tail = tail_of(registers, b->length);
    vreal w[SHORT_REGISTERS];
    UNROLL for (int r = 0; r < registers - 1; r++)
        w[r] = v_load(operand + operand_start(0) + r * LANES);
    w[registers - 1] = v_load(operand + tail.operand);
#define FOUR_SHORT(i) four_short_dots(registers, b, i, w, tail.row, ahead)
#define ONE_SHORT(i) short_dot(registers, vector_at(b, i), w, tail.row)
    DOTS_BY_REGISTERS(FOUR_SHORT, ONE_SHORT)
}

/* In so many chains of sums, 2 or 4, that never leave the registers. */
ALWAYS_INLINE void short_axpys(const int registers, const int chains, const Block *b,
                               const real *factors, real *sums, Prefetch *ahead) {
    const Tail tail = tail_of(registers, b->length);
    vreal chain[4][SHORT_REGISTERS];
    ptrdiff_t i = 0;
    UNROLL for (int c = 0; c < chains; c++)
        UNROLL for (int r = 0; r < registers; r++) chain[c][r] = v_set(0);
    for (; i + chains <= b->count; i += chains)
        UNROLL for (int c = 0; c < chains; c++) {
            const real *row = vector_at(b, i + c);
            const vreal factor = v_set(factors[i + c]);
            UNROLL for (int r = 0; r < registers; r++)
                chain[c][r] = chain[c][r]
                              + factor * v_load(row + (r < registers - 1 ? r * LANES : tail.row));
            if (c % 2 == 1) prefetch_along(ahead, registers * LANES * REAL_SIZE);
        }
    for (; i < b->count; i++) {
        const real *row = vector_at(b, i);
        const vreal factor = v_set(factors[i]);
        UNROLL for (int r = 0; r < registers; r++)
            chain[0][r] = chain[0][r]
                          + factor * v_load(row + (r < registers - 1 ? r * LANES : tail.row));
    }
    UNROLL for (int r = 0; r < registers; r++) {
        vreal total = chain[0][r] + chain[1][r];
        real *out = sums + (r < registers - 1 ? operand_start(0) + r * LANES : tail.operand);
        if (chains == 4) total = total + (chain[2][r] + chain[3][r]);
        v_store(out, v_load(out) + v_rounded(total));
    }
}

/* Rows whose sums leave no room in the registers for anything else are taken as long ones. */
ALWAYS_INLINE void short_axpys_of(const int registers, const Block *b, const real *factors,
                                  real *sums, Prefetch *ahead) {
    if (4 * registers <= REGISTERS / 2)
        short_axpys(registers, 4, b, factors, sums, ahead);
    else if (2 * registers <= 3 * REGISTERS / 4)
        short_axpys(registers, 2, b, factors, sums, ahead);
    else
        long_axpys(*b, 0, factors, sums, ahead);
}

/* ------------------------------------------------------------------ any rows */

/* Registers of a short row, or 0. */
ALWAYS_INLINE int short_registers(const Block *b) {
    const ptrdiff_t registers = (b->length + LANES - 1) / LANES;
    return SCHUSS_SHORT_ROWS && registers <= SHORT_REGISTERS && b->phases->count == 1
           && b->phases->heads[0] == 0 ? (int)registers : 0;
}

#define FOR_SHORT_ROWS(CASE) \
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6) CASE(7) CASE(8) \
    CASE(9) CASE(10) CASE(11) CASE(12) CASE(13) CASE(14) CASE(15) CASE(16)

ALWAYS_INLINE void long_dots(const int phased, const Block *b, const real *operand, real *out,
                             Prefetch *ahead) {
#define FOUR_LONG(i) four_long_dots(phased, b, i, operand, ahead)
#define ONE_LONG(i) long_row_dot(phased, b, i, operand, ahead)
    DOTS_BY_REGISTERS(FOUR_LONG, ONE_LONG)
}

/* out[i] = row i . operand. Here and below a block is a copy, which stores to `out` cannot change
   behind the compiler's back. */
static void row_dots(const Block *block, const real *operand, real *out, Prefetch *ahead) {
    const Block own = *block, *b = &own;
    switch (short_registers(b)) {
#define DOTS(registers) case registers: short_dots(registers, b, operand, out, ahead); return;
        FOR_SHORT_ROWS(DOTS)
    }
    if (b->phases->count == 1 && b->phases->heads[0] == 0)
        long_dots(0, b, operand, out, ahead);
    else
        long_dots(1, b, operand, out, ahead);
}

/* sums += factors[i] * row i, laid out as an operand */
static void row_axpys(const Block *block, const real *factors, real *sums, Prefetch *ahead) {
    const Block own = *block, *b = &own;
    switch (short_registers(b)) {
#define AXPYS_OF(registers) \
    case registers: short_axpys_of(registers, b, factors, sums, ahead); return;
        FOR_SHORT_ROWS(AXPYS_OF)
    }
    phased_axpys(b, factors, sums, ahead);
}

/* ------------------------------------------------------------------ columns */

ALWAYS_INLINE void few_column_axpys(const int count, const int first, const Block *b,
                                    const real *factors, real *out) {
    const ptrdiff_t length = b->length;
    const real *column[8];
    vreal factor[8];
    UNROLL for (int i = 0; i < count; i++) {
        column[i] = vector_at(b, i);
        factor[i] = v_set(factors[i]);
    }
    for (ptrdiff_t j = 0; j < length; j += LANES) {
        vreal even = first ? v_set(0) : v_load(out + j), odd = v_set(0);
        UNROLL for (int i = 0; i < count; i++)
            if (i % 2 == 0)
                even = even + factor[i] * v_load(column[i] + j);
            else
                odd = odd + factor[i] * v_load(column[i] + j);
        v_store(out + j, even + odd);
    }
}

/* out = sum of factors[i] * column i */
static void column_axpys(Block b, const real *factors, real *out) {
    ptrdiff_t count = b.count;
    if (count < 8) {
        memset(out, 0, (size_t)b.length * sizeof *out);
    } else {
        few_column_axpys(8, 1, &b, factors, out);
        b.data += 8 * b.step;
        factors += 8;
        count -= 8;
    }
#define COLUMN_AXPYS(few) few_column_axpys(few, 0, &b, factors, out)
    AXPYS(COLUMN_AXPYS, b, count)
}

/* out[i] += column i . vector, from the last column, which is still in L1, to the first. Half of
   the columns at `next`, if it is not NULL, are prefetched meanwhile. */
static void column_dots(const Block *block, const real *vector, real *out, const char *next) {
    const Block own = *block, *b = &own;
    ptrdiff_t i = b->count;
    for (; i % 4; i--) {
        const real *column = vector_at(b, i - 1);
        vreal even = v_set(0), odd = v_set(0);
        for (ptrdiff_t j = 0; j < b->length; j += 2 * LANES) {
            even = even + v_load(vector + j) * v_load(column + j);
            if (j + LANES < b->length)
                odd = odd + v_load(vector + j + LANES) * v_load(column + j + LANES);
        }
        out[i - 1] += v_sum(even + odd);
    }
    for (i -= 4; i >= 0; i -= 4) {
        const real *column[4];
        vreal even[4], odd[4];
        real four[4];
        ptrdiff_t j = 0;
        UNROLL for (int u = 0; u < 4; u++) {
            column[u] = vector_at(b, i + u);
            even[u] = odd[u] = v_set(0);
        }
        for (; j + 2 * LANES <= b->length; j += 2 * LANES) {
            const vreal v = v_load(vector + j), w = v_load(vector + j + LANES);
            UNROLL for (int u = 0; u < 4; u++) {
                even[u] = even[u] + v * v_load(column[u] + j);
                odd[u] = odd[u] + w * v_load(column[u] + j + LANES);
            }
            for (int l = 0; next && l < 2 * LANES * REAL_SIZE; l += CACHE_LINE) {
                prefetch_far(next + j * REAL_SIZE + l);
                prefetch_far(next + b->step + j * REAL_SIZE + l);
            }
        }
        if (j < b->length)
            UNROLL for (int u = 0; u < 4; u++)
                even[u] = even[u] + v_load(vector + j) * v_load(column[u] + j);
        v_sum4(even[0] + odd[0], even[1] + odd[1], even[2] + odd[2], even[3] + odd[3], four);
        UNROLL for (int u = 0; u < 4; u++) out[i + u] += four[u];
        if (next) next += 2 * b->step;
    }
}

#endif
