/* e^x of one number, in the code that waits for it: half the latency of the polynomial in
 * formulas.pxi, which has no table, and without a call, around which all registers are saved.
 *
 * e^x = 2^(k / PARTS) e^r: the first factor from a table, e^r by Taylor's series, which r, at most
 * log(2) / 256, leaves after the fifth power. Within 1 ULP.
 */
#ifndef SCHUSS_EXPONENTIAL_H
#define SCHUSS_EXPONENTIAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define PART_BITS 7
#define PARTS (1 << PART_BITS)
static double parts_of_two[PARTS];

/* Once, when the module is loaded. */
static void fill_parts(void) {
    for (int i = 0; i < PARTS; i++) parts_of_two[i] = exp2(i / (double)PARTS);
}

static inline double fast_exp(double x) {
    /* Beyond, results are not normal numbers; NaN, too, goes to the library. */
    if (!(fabs(x) < 700)) return exp(x);
    /* 1.5 * 2^52: the low bits of the sum are the whole number k. */
    const double rounder = 6755399441055744.0;
    double n = x * 184.6649652337873 + rounder, r, r2, tail, power;
    int64_t k;
    memcpy(&k, &n, sizeof k);
    n -= rounder;
    /* log(2) / PARTS in two, the first short enough for n times it to be exact. */
    r = x - n * 0.00541521234663378 - n * 1.4907929134926466e-12;
    r2 = r * r;
    tail = r + r2 * ((0.5 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120)));
    power = parts_of_two[k & (PARTS - 1)];
    int64_t bits;
    memcpy(&bits, &power, sizeof bits);
    bits += (int64_t)((uint64_t)(k >> PART_BITS) << 52);
    memcpy(&power, &bits, sizeof power);
    return power + power * tail;
}

#endif
