/* IEEE arithmetic, whatever mode other code has left this thread's processor in: libraries compiled
 * with -ffast-math flush subnormal numbers to zero, for the whole process that loads them.
 */
#ifndef SCHUSS_FLOAT_MODE_H
#define SCHUSS_FLOAT_MODE_H

#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#define NOT_IEEE 0xE040u /* of MXCSR: flush to zero, rounding other than to nearest, DAZ */
#define read_float_mode() ((uint64_t)_mm_getcsr())
#define write_float_mode(mode) _mm_setcsr((unsigned int)(mode))
#elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
#define NOT_IEEE 0x1C80000u /* of FPCR: FZ, RMode, FZ16 */
static inline uint64_t read_float_mode(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
static inline void write_float_mode(uint64_t mode) {
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
}
#else
#define NOT_IEEE 0u
#define read_float_mode() ((uint64_t)0)
#define write_float_mode(mode) ((void)(mode))
#endif

/* Compute by IEEE; returns the mode before, for `restore_mode`. Writing it takes longer than all
   else, so it is left where it is right. */
static inline uint64_t ieee_mode(void) {
    uint64_t before = read_float_mode();
    if (before & NOT_IEEE) write_float_mode(before & ~(uint64_t)NOT_IEEE);
    return before;
}

static inline void restore_mode(uint64_t before) {
    if (before & NOT_IEEE) write_float_mode(before);
}

#endif
