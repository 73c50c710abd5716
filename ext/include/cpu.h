/* The x86-64 level of this processor and its operating system: 1, 3 or 4 (2 counts as 1).
 *
 * The features named are those that processors gained last within a level. clang-cl counts as MSVC,
 * whose linker lacks the library of clang's builtin.
 */
#ifndef SCHUSS_CPU_H
#define SCHUSS_CPU_H

#if defined(__x86_64__) && !defined(_MSC_VER)
static int x86_64_level(void) {
    __builtin_cpu_init();
    if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
          && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2")))
        return 1;
    if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
          && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
          && __builtin_cpu_supports("avx512vl")))
        return 3;
    return 4;
}
#elif defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
static int x86_64_level(void) {
    int leaf_1[4], leaf_7[4];
    unsigned __int64 saved;
    const int fma_osxsave_avx_f16c = (1 << 12) | (1 << 27) | (1 << 28) | (1 << 29);
    const int bmi_avx2_bmi2 = (1 << 3) | (1 << 5) | (1 << 8);
    const int avx512_f_dq_cd_bw = (1 << 16) | (1 << 17) | (1 << 28) | (1 << 30);
    __cpuid(leaf_1, 0);
    if (leaf_1[0] < 7) return 1;
    __cpuid(leaf_1, 1);
    __cpuidex(leaf_7, 7, 0);
    if ((leaf_1[2] & fma_osxsave_avx_f16c) != fma_osxsave_avx_f16c
        || (leaf_7[1] & bmi_avx2_bmi2) != bmi_avx2_bmi2)
        return 1;
    saved = _xgetbv(0); /* registers that the system saves: bits 1-2 AVX, 5-7 AVX-512 */
    if ((saved & 0x06) != 0x06) return 1;
    if ((leaf_7[1] & avx512_f_dq_cd_bw) != avx512_f_dq_cd_bw || leaf_7[1] >= 0
        || (saved & 0xe6) != 0xe6)
        return 3;
    return 4;
}
#else
static int x86_64_level(void) { return 0; }
#endif

#endif
