/* Features of any kept type, at any address, as reals. */
#ifndef SCHUSS_CONVERT_H
#define SCHUSS_CONVERT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

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

/* The cases of `convert_line`, for a unit stride (vectorised by the compiler) and any other. */
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
static inline void convert_line(real *restrict target, const char *restrict source,
                                ptrdiff_t length, ptrdiff_t stride, char kind) {
    switch (kind) {
    case 'd': SCHUSS_CONVERT(double, item); break;
    case 'f': SCHUSS_CONVERT(float, item); break;
    case 'B': SCHUSS_CONVERT(uint8_t, item); break;
    case 'b': SCHUSS_CONVERT(int8_t, item); break;
    case 'e': {
        ptrdiff_t done = 0;
#if defined(__F16C__) && !SCHUSS_REAL_IS_DOUBLE
        if (stride == 2)
            for (; done + 8 <= length; done += 8)
                _mm256_storeu_ps(target + done,
                                 _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(source + 2 * done))));
#endif
        for (; done < length; done++) {
            uint16_t item;
            memcpy(&item, source + done * stride, sizeof item);
            target[done] = (real)half_to_float(item);
        }
        break;
    }
    }
}

#endif
