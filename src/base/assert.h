/*
 * assert.h - promises that our own code keeps, checked in release too.
 *
 * A failed ASSERT prints condition, file and line and ends the process with exit code 70 before anything
 * more is written. Never on input.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_ASSERT_H
#define WEIR_BASE_ASSERT_H

__attribute__((noreturn)) void assert_failed(const char *condition, const char *file, int line);

#define ASSERT(condition)                                                                          \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) assert_failed(#condition, __FILE__, __LINE__);      \
    } while (0)

/* Also what the static analyser cannot know. */
#if defined(WEIR_SLOW_CHECKS) || defined(__clang_analyzer__)
#define ASSERT_SLOW(condition) ASSERT(condition)
#else
#define ASSERT_SLOW(condition) ((void)0)
#endif

#endif
