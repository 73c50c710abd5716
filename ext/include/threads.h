/* What threads.pxi needs of the system: atomic numbers, a clock, sleeps, affinity. */
#ifndef SCHUSS_THREADS_H
#define SCHUSS_THREADS_H

#include <stdint.h>

#if defined(__GNUC__) || defined(__clang__)
#define atomic_read(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define atomic_write(p, value) __atomic_store_n((p), (value), __ATOMIC_RELEASE)
#define atomic_add(p, n) __atomic_fetch_add((p), (n), __ATOMIC_ACQ_REL)
#else
#include <intrin.h>
#define atomic_read(p) ((int64_t)_InterlockedOr64((volatile __int64 *)(p), 0))
#define atomic_write(p, value) ((void)_InterlockedExchange64((volatile __int64 *)(p), (value)))
#define atomic_add(p, n) ((int64_t)_InterlockedExchangeAdd64((volatile __int64 *)(p), (n)))
#endif

#if defined(_WIN32)
#include <windows.h>
#define cpu_relax() YieldProcessor()
/* Sleep's shortest is a tick of the clock, up to 15.6 ms. */
#define short_sleep() SwitchToThread()
#define long_sleep() Sleep(1)
static inline int64_t clock_ns(void) { return (int64_t)GetTickCount64() * 1000000; }
static inline int64_t process_id(void) { return (int64_t)GetCurrentProcessId(); }
#else
#include <sched.h>
#include <time.h>
#include <unistd.h>
static inline int64_t process_id(void) { return (int64_t)getpid(); }
#if defined(__x86_64__) || defined(__i386__)
#define cpu_relax() __builtin_ia32_pause()
#else
#define cpu_relax() ((void)0)
#endif
#define short_sleep() nanosleep(&(const struct timespec){0, 50000}, NULL)
#define long_sleep() nanosleep(&(const struct timespec){0, 1000000}, NULL)
static inline int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
#endif

/* A thread that waits spins, about 20 us on a 3 GHz machine, and then sleeps. It never yields:
   where others have work, that lasts as long as their turn, 3 ms and more. */
#define SPINS 512

/* A moment of a wait, after so many; returns how many there were. */
static inline int spin_wait(int spins) {
    if (spins == SPINS) {
        short_sleep();
        return spins;
    }
    cpu_relax();
    return spins + 1;
}

/* A new thread begins where another processor may be had, and may then run anywhere.
 *
 * Linux queues it behind the thread that starts it where the other processors count as busy,
 * and those of a virtual machine do that are halted (KVM marks them as preempted). It stays
 * there until a tick of the clock, which can take 10 ms: half of all fits of 100,000 x 100 on
 * two such processors were over before the second thread came. */
#if defined(__linux__)
#include <pthread.h>
typedef struct { cpu_set_t set; int known; } CpuSet;
static inline void set_affinity(unsigned long thread, CpuSet *allowed) {
    cpu_set_t others;
    int here = sched_getcpu();
    allowed->known = 0;
    if (here < 0 || here >= CPU_SETSIZE
        || sched_getaffinity(0, sizeof allowed->set, &allowed->set)) return;
    others = allowed->set;
    CPU_CLR(here, &others);
    if (CPU_COUNT(&others)
        && !pthread_setaffinity_np((pthread_t)thread, sizeof others, &others)) allowed->known = 1;
}
static inline void clear_affinity(CpuSet *allowed) {
    if (allowed->known) sched_setaffinity(0, sizeof allowed->set, &allowed->set);
}
#else
typedef struct { int known; } CpuSet;
#define set_affinity(thread, allowed) ((void)(thread), (void)(allowed))
#define clear_affinity(allowed) ((void)(allowed))
#endif

#endif
