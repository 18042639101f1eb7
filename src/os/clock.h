/*
 * clock.h - a clock of the kernel's in nanoseconds, for what is the real world's only; all else asks env.h.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_CLOCK_H
#define WEIR_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

/** Of a clock that there is. */
static inline uint64_t clock_ns(clockid_t clock)
{
    struct timespec now = { 0 };
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

#endif
