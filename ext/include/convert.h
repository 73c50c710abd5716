/* Features of any kept type, at any address, as reals. */
#ifndef SCHUSS_CONVERT_H
#define SCHUSS_CONVERT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "switches.h"
#include "vec.h"

#if !SCHUSS_REAL_IS_DOUBLE && (defined(__AVX2__) || defined(__F16C__))
#include <immintrin.h>
#endif

/* A register of narrow features as reals. By hand, because compilers take float16 through halves
   of registers (1.26 times as long an epoch of 100,000 x 100, x86-64-v4). */
#if VECTORISED && !SCHUSS_REAL_IS_DOUBLE && SCHUSS_WIDENING
#if defined(__AVX512F__)
#define WIDENED_B(p) _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)(p))))
#define WIDENED_b(p) _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(p))))
#define WIDENED_e(p) _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(p)))
#else
#if defined(__AVX2__)
#define WIDENED_B(p) _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)(p))))
#define WIDENED_b(p) _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(p))))
#endif
#if defined(__F16C__)
#define WIDENED_e(p) _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p)))
#endif
#endif
#endif

/* By registers, the last over the end of the one before it. */
#define SCHUSS_WIDEN(type, widened)                                                 \
    if (stride == (ptrdiff_t)sizeof(type) && length >= LANES) {                     \
        for (ptrdiff_t i = 0; i + LANES <= length; i += LANES)                      \
            v_store(target + i, (vreal)widened(source + i * stride));               \
        v_store(target + length - LANES,                                            \
                (vreal)widened(source + (length - LANES) * stride));                \
        return;                                                                     \
    }

static inline float half_to_float(uint16_t half) {
    /* Shift the fields into a float; multiplying by 2^112 mends the exponent, subnormals
       included. Infinities and NaN have their exponent filled afterwards. */
    uint32_t word = (uint32_t)(half & 0x7fff) << 13;
    const uint32_t scale_bits = (uint32_t)(127 + 112) << 23;
    float value, scale;
    memcpy(&value, &word, 4);
    memcpy(&scale, &scale_bits, 4);
    value *= scale;
    memcpy(&word, &value, 4);
    if ((half & 0x7c00) == 0x7c00) word |= 0x7f800000u;
    word |= (uint32_t)(half & 0x8000) << 16;
    memcpy(&value, &word, 4);
    return value;
}

/* The cases of `convert`, for a unit stride (vectorised by the compiler) and any other. */
#define SCHUSS_CONVERT(type, expression)                                            \
    do {                                                                            \
        type item;                                                                  \
        if (stride == (ptrdiff_t)sizeof item)                                       \
            for (ptrdiff_t i = 0; i < length; i++) {                                \
                memcpy(&item, source + i * (ptrdiff_t)sizeof item, sizeof item);    \
                target[i] = (real)(expression);                                     \
            }                                                                       \
        else                                                                        \
            for (ptrdiff_t i = 0; i < length; i++) {                                \
                memcpy(&item, source + i * stride, sizeof item);                    \
                target[i] = (real)(expression);                                     \
            }                                                                       \
    } while (0)

/* target[0:length] = reals at source, source + stride, ...; kind is NumPy's letter. */
static inline void convert(real *restrict target, const char *restrict source,
                           ptrdiff_t length, ptrdiff_t stride, char kind) {
    switch (kind) {
    case 'd': SCHUSS_CONVERT(double, item); break;
    case 'f': SCHUSS_CONVERT(float, item); break;
    case 'B':
#ifdef WIDENED_B
        SCHUSS_WIDEN(uint8_t, WIDENED_B)
#endif
        SCHUSS_CONVERT(uint8_t, item);
        break;
    case 'b':
#ifdef WIDENED_b
        SCHUSS_WIDEN(int8_t, WIDENED_b)
#endif
        SCHUSS_CONVERT(int8_t, item);
        break;
    case 'e':
#ifdef WIDENED_e
        SCHUSS_WIDEN(uint16_t, WIDENED_e)
#endif
        SCHUSS_CONVERT(uint16_t, half_to_float(item));
        break;
    }
}

#endif
