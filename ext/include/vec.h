/* A register of LANES reals, and the few operations on it that Cython cannot spell.
 *
 * GCC's and Clang's vector types keep their operators (+ - * /), so the formulas and loops
 * stay in Cython, where `vreal` behaves like a number. Without them (MSVC) a register is one
 * real and the same sources compile to scalar code.
 *
 * The including module defines SCHUSS_REAL_IS_DOUBLE as 0 or 1.
 */
#ifndef SCHUSS_VEC_H
#define SCHUSS_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if SCHUSS_REAL_IS_DOUBLE
typedef double real;
typedef int64_t bits;
#define REAL_SIZE 8
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#else
typedef float real;
typedef int32_t bits;
#define REAL_SIZE 4
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#endif

#if defined(__GNUC__) || defined(__clang__)
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif
#define LANES (VECTOR_BYTES / REAL_SIZE)
typedef real vreal __attribute__((vector_size(VECTOR_BYTES)));
typedef bits vbits __attribute__((vector_size(VECTOR_BYTES)));
#define VECTORISED 1
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define INLINED_VOID __attribute__((always_inline)) void
#define prefetch(address) __builtin_prefetch((const void *)(address), 0, 3)
/* To the second cache only, which keeps far more lines in flight. */
#define prefetch_far(address) __builtin_prefetch((const void *)(address), 0, 2)
#if defined(__clang__) || __GNUC__ >= 12
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vbits){__VA_ARGS__})
#endif
#else
#define LANES 1
typedef real vreal;
typedef bits vbits;
#define VECTORISED 0
#define ALWAYS_INLINE static __forceinline
#define INLINED_VOID void
#define prefetch(address) ((void)(address))
#define prefetch_far(address) ((void)(address))
#endif

/* Of a loop with a constant number of turns, at most 32: what it indexes stays in registers. */
#if defined(__GNUC__) && !defined(__clang__)
#define UNROLL _Pragma("GCC unroll 32")
#elif defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL
#endif

/* Loads and stores go through memcpy: no alignment is assumed, none is needed. */
ALWAYS_INLINE vreal v_load(const real *p) { vreal v; memcpy(&v, p, sizeof v); return v; }
ALWAYS_INLINE void v_store(real *p, vreal v) { memcpy(p, &v, sizeof v); }
ALWAYS_INLINE vreal v_set(real x) { return x - (vreal){0}; }
ALWAYS_INLINE vbits v_as_bits(vreal v) { vbits b; memcpy(&b, &v, sizeof b); return b; }
ALWAYS_INLINE vreal v_as_real(vbits b) { vreal v; memcpy(&v, &b, sizeof v); return v; }

#if VECTORISED
ALWAYS_INLINE vreal v_select(vbits mask, vreal a, vreal b) {
    return v_as_real((mask & v_as_bits(a)) | (~mask & v_as_bits(b)));
}
#endif

/* v, which the compiler may not take for a product to fuse with a sum: products are rounded
   where a path must be the one that other code sweeps. */
#if VECTORISED && (defined(__x86_64__) || defined(__aarch64__))
#if defined(__AVX512VL__)
#define ROUND_HERE(v) __asm__("" : "+v"(v))
#elif defined(__x86_64__)
#define ROUND_HERE(v) __asm__("" : "+x"(v))
#else
#define ROUND_HERE(v) __asm__("" : "+w"(v))
#endif
#else
#define ROUND_HERE(v) ((void)0)
#endif
ALWAYS_INLINE vreal v_rounded(vreal v) { ROUND_HERE(v); return v; }
ALWAYS_INLINE double rounded(double x) { ROUND_HERE(x); return x; }

ALWAYS_INLINE vreal v_minus_abs(vreal v) {
    return v_as_real(v_as_bits(v) | ((vbits){0} + (bits)((bits)1 << (REAL_SIZE * 8 - 1))));
}

/* a > b ? a : b, and a < b ? a : b; b where one of them is NaN. One instruction on x86, which
   compilers do not find by themselves: a comparison and a selection take 8 cycles more. */
#if VECTORISED && defined(__SSE2__)
#include <immintrin.h>
#if defined(__AVX512F__)
#define X86_OF(op, type) _mm512_##op##_##type
#elif defined(__AVX__)
#define X86_OF(op, type) _mm256_##op##_##type
#else
#define X86_OF(op, type) _mm_##op##_##type
#endif
#if SCHUSS_REAL_IS_DOUBLE
#define X86(op) X86_OF(op, pd)
#else
#define X86(op) X86_OF(op, ps)
#endif
ALWAYS_INLINE vreal v_max(vreal a, vreal b) { return X86(max)(a, b); }
ALWAYS_INLINE vreal v_min(vreal a, vreal b) { return X86(min)(a, b); }
#elif VECTORISED
ALWAYS_INLINE vreal v_max(vreal a, vreal b) { return v_select((vbits)(a > b), a, b); }
ALWAYS_INLINE vreal v_min(vreal a, vreal b) { return v_select((vbits)(a < b), a, b); }
#else
ALWAYS_INLINE vreal v_max(vreal a, vreal b) { return a > b ? a : b; }
ALWAYS_INLINE vreal v_min(vreal a, vreal b) { return a < b ? a : b; }
#endif

/* a where z < 0, else b; a where z == 0, else b */
#if VECTORISED && defined(__AVX512F__)
#if SCHUSS_REAL_IS_DOUBLE
#define WHERE(z, is, a, b) X86(mask_blend)(_mm512_cmp_pd_mask(z, (vreal){0}, is), b, a)
#else
#define WHERE(z, is, a, b) X86(mask_blend)(_mm512_cmp_ps_mask(z, (vreal){0}, is), b, a)
#endif
ALWAYS_INLINE vreal v_where_negative(vreal z, vreal a, vreal b) {
    return WHERE(z, _CMP_LT_OQ, a, b);
}
ALWAYS_INLINE vreal v_where_zero(vreal z, vreal a, vreal b) { return WHERE(z, _CMP_EQ_OQ, a, b); }
#elif VECTORISED
ALWAYS_INLINE vreal v_where_negative(vreal z, vreal a, vreal b) {
    return v_select((vbits)(z < 0), a, b);
}
ALWAYS_INLINE vreal v_where_zero(vreal z, vreal a, vreal b) {
    return v_select((vbits)(z == 0), a, b);
}
#else
ALWAYS_INLINE vreal v_where_negative(vreal z, vreal a, vreal b) { return z < 0 ? a : b; }
ALWAYS_INLINE vreal v_where_zero(vreal z, vreal a, vreal b) { return z == 0 ? a : b; }
#endif

/* The larger of v and the bound; NaN stays NaN. */
ALWAYS_INLINE vreal v_max_scalar(vreal v, real bound) { return v_max(v_set(bound), v); }

/* Whether products need not be rounded before they are added to something. */
#if VECTORISED && (defined(__FMA__) || (defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)))
#define FUSED 1
#else
#define FUSED 0
#endif

/* a - b * c, with FUSED rounded but once, whatever the compiler makes of sums of products. */
ALWAYS_INLINE vreal v_remainder(vreal a, vreal b, vreal c) {
#if FUSED && defined(__FMA__)
    return X86(fnmadd)(b, c, a);
#elif FUSED
    for (int i = 0; i < LANES; i++)
        a[i] = REAL_SIZE == 4 ? (real)__builtin_fmaf(-(float)b[i], (float)c[i], (float)a[i])
                              : (real)__builtin_fma(-(double)b[i], (double)c[i], (double)a[i]);
    return a;
#else
    return a - b * c;
#endif
}

/* 2^n for a vector of whole numbers |n| < EXPONENT_BIAS. Adding 1.5 * 2^MANTISSA_BITS puts
   a whole number into the low bits of its own representation, so no conversion is needed. */
#define ROUNDER ((real)1.5 * (real)((int64_t)1 << MANTISSA_BITS))
ALWAYS_INLINE vreal v_round(vreal v) { return (v + v_set(ROUNDER)) - v_set(ROUNDER); }
ALWAYS_INLINE vreal v_exp2_int(vreal n) {
    vbits shifted = v_as_bits(n + v_set(ROUNDER + (real)EXPONENT_BIAS));
#if VECTORISED
    return v_as_real(shifted << MANTISSA_BITS);
#else
    return v_as_real((bits)((REAL_SIZE == 8 ? (uint64_t)shifted : (uint32_t)shifted)
                            << MANTISSA_BITS));
#endif
}

/* 2^n, subnormal results included, for whole numbers |n| < 2 EXPONENT_BIAS - 1. */
ALWAYS_INLINE vreal v_exp2(vreal n) {
#if VECTORISED && defined(__AVX512F__)
    return X86(scalef)(v_set(1), n);
#else
    /* Two factors, because 2^n itself may be below the smallest normal number. */
    vreal half = v_round(n * v_set((real)0.5));
    return v_exp2_int(half) * v_exp2_int(n - half);
#endif
}

ALWAYS_INLINE vreal v_abs(vreal v) {
    return v_as_real(v_as_bits(v) & ~((vbits){0} + (bits)((bits)1 << (REAL_SIZE * 8 - 1))));
}

ALWAYS_INLINE vreal v_sqrt(vreal v) {
#if VECTORISED && defined(__SSE2__)
    return X86(sqrt)(v);
#elif VECTORISED
    for (int i = 0; i < LANES; i++)
        v[i] = REAL_SIZE == 4 ? (real)sqrtf((float)v[i]) : (real)sqrt((double)v[i]);
    return v;
#else
    return (real)sqrt(v);
#endif
}

/* The lanes in pairs half a register apart, until one is left. */
#if VECTORISED && LANES == 16
#define FOLD4(v, op) \
    v = op(v, SHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13)); \
    v = op(v, SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14))
#define FOLD(v, op) \
    v = op(v, SHUFFLE(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7)); \
    v = op(v, SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11)); \
    FOLD4(v, op)
#elif VECTORISED && LANES == 8
#define FOLD4(v, op) \
    v = op(v, SHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5)); \
    v = op(v, SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6))
#define FOLD(v, op) \
    v = op(v, SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3)); \
    FOLD4(v, op)
#elif VECTORISED && LANES == 4
#define FOLD4(v, op) \
    v = op(v, SHUFFLE(v, v, 2, 3, 0, 1)); \
    v = op(v, SHUFFLE(v, v, 1, 0, 3, 2))
#define FOLD(v, op) FOLD4(v, op)
#elif VECTORISED
#define FOLD(v, op) v = op(v, SHUFFLE(v, v, 1, 0))
#endif
#define V_PLUS(a, b) ((a) + (b))

ALWAYS_INLINE real v_sum(vreal v) {
#if VECTORISED
    FOLD(v, V_PLUS);
    return v[0];
#else
    return v;
#endif
}

/* The sum in all lanes, or that of each four lanes in all four. */
ALWAYS_INLINE vreal v_sum_all(vreal v) {
#if VECTORISED
    FOLD(v, V_PLUS);
#endif
    return v;
}
ALWAYS_INLINE vreal v_sum_fours(vreal v) {
#if VECTORISED && LANES >= 4
    FOLD4(v, V_PLUS);
#endif
    return v;
}
/* The first four lanes in each four. */
ALWAYS_INLINE vreal v_repeat4(vreal v) {
#if LANES == 16
    return SHUFFLE(v, v, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3);
#elif LANES == 8
    return SHUFFLE(v, v, 0, 1, 2, 3, 0, 1, 2, 3);
#else
    return v;
#endif
}
ALWAYS_INLINE real v_first(vreal v) {
#if VECTORISED
    return v[0];
#else
    return v;
#endif
}

ALWAYS_INLINE real v_max_lane(vreal v) {
#if VECTORISED
    FOLD(v, v_max);
    return v[0];
#else
    return v;
#endif
}

/* Sums of the lanes of many registers at once: `v_fold4` brings those of four down to one
   register, `v_join` the LANES / 4 such registers to LANES sums in order. */
#if VECTORISED && REAL_SIZE == 4
#if LANES == 16
#define LOW_ONES 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define HIGH_ONES 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define LOW_TWOS 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define HIGH_TWOS 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#define LOW_HALVES 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23
#define HIGH_HALVES 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31
#define EVEN_BLOCKS 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27
#define ODD_BLOCKS 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31
#elif LANES == 8
#define LOW_ONES 0, 8, 1, 9, 4, 12, 5, 13
#define HIGH_ONES 2, 10, 3, 11, 6, 14, 7, 15
#define LOW_TWOS 0, 1, 8, 9, 4, 5, 12, 13
#define HIGH_TWOS 2, 3, 10, 11, 6, 7, 14, 15
#define EVEN_BLOCKS 0, 1, 2, 3, 8, 9, 10, 11
#define ODD_BLOCKS 4, 5, 6, 7, 12, 13, 14, 15
#else
#define LOW_ONES 0, 4, 1, 5
#define HIGH_ONES 2, 6, 3, 7
#define LOW_TWOS 0, 1, 4, 5
#define HIGH_TWOS 2, 3, 6, 7
#endif
#elif VECTORISED
#if LANES == 8
#define LOW_ONES 0, 8, 2, 10, 4, 12, 6, 14
#define HIGH_ONES 1, 9, 3, 11, 5, 13, 7, 15
#define LOW_HALVES 0, 1, 2, 3, 8, 9, 10, 11
#define HIGH_HALVES 4, 5, 6, 7, 12, 13, 14, 15
#define EVEN_BLOCKS 0, 1, 4, 5, 8, 9, 12, 13
#define ODD_BLOCKS 2, 3, 6, 7, 10, 11, 14, 15
#elif LANES == 4
#define LOW_ONES 0, 4, 2, 6
#define HIGH_ONES 1, 5, 3, 7
#define EVEN_BLOCKS 0, 1, 4, 5
#define ODD_BLOCKS 2, 3, 6, 7
#endif
#endif
#define FOLDED(a, b, low, high) (SHUFFLE(a, b, low) + SHUFFLE(a, b, high))

#if VECTORISED && LANES >= 4
ALWAYS_INLINE vreal v_fold4(vreal a, vreal b, vreal c, vreal d) {
    vreal ab = FOLDED(a, b, LOW_ONES, HIGH_ONES), cd = FOLDED(c, d, LOW_ONES, HIGH_ONES);
#if REAL_SIZE == 4
    return FOLDED(ab, cd, LOW_TWOS, HIGH_TWOS);
#elif LANES == 8
    return FOLDED(ab, cd, LOW_HALVES, HIGH_HALVES);
#else
    return FOLDED(ab, cd, EVEN_BLOCKS, ODD_BLOCKS);
#endif
}
ALWAYS_INLINE vreal v_join(const vreal *folded) {
#if LANES == 16
    return FOLDED(FOLDED(folded[0], folded[1], LOW_HALVES, HIGH_HALVES),
                  FOLDED(folded[2], folded[3], LOW_HALVES, HIGH_HALVES), EVEN_BLOCKS, ODD_BLOCKS);
#elif LANES == 8
    return FOLDED(folded[0], folded[1], EVEN_BLOCKS, ODD_BLOCKS);
#else
    return folded[0];
#endif
}
#else
#define v_fold4(a, b, c, d) (a)
#define v_join(folded) (folded)[0]
#endif
/* out[0:4] = the sums that `v_fold4` brought down to one register */
ALWAYS_INLINE void v_store4(real *out, vreal folded) {
    const vreal all[4] = {folded, folded, folded, folded}, sums = v_join(all);
    memcpy(out, &sums, (LANES >= 4 ? 4 : 1) * sizeof *out);
}
/* out[0:4] = sums of the lanes of a, b, c, d */
ALWAYS_INLINE void v_sum4(vreal a, vreal b, vreal c, vreal d, real *out) {
#if VECTORISED && LANES >= 4
    v_store4(out, v_fold4(a, b, c, d));
#else
    out[0] = v_sum(a);
    out[1] = v_sum(b);
    out[2] = v_sum(c);
    out[3] = v_sum(d);
#endif
}

/* Registers that the processor has: what loops may keep in them. */
#if defined(__AVX512VL__) || defined(__aarch64__)
#define REGISTERS 32
#else
#define REGISTERS 16
#endif

#endif
