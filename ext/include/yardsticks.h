/* What `bench` measures the kernels against. */
#ifndef SCHUSS_YARDSTICKS_H
#define SCHUSS_YARDSTICKS_H

#include <stddef.h>

#include "vec.h"

/* As many multiplications and additions a second as there can be. */
#define CHAINS 12
static real multiply_add_chains(ptrdiff_t repeats, real factor) {
    vreal sums[CHAINS], sum = v_set(0);
    UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = v_set((real)i);
    for (ptrdiff_t k = 0; k < repeats; k++)
        UNROLL for (int i = 0; i < CHAINS; i++) sums[i] = sums[i] * v_set(factor) + v_set(1);
    UNROLL for (int i = 0; i < CHAINS; i++) sum = sum + sums[i];
    return v_sum(sum);
}

#endif
