/*
 * mark.h - names for rare branches, counted while the simulator runs, so that a report can say which no test reached.
 *
 * The idea is TigerBeetle's (src/testing/marks.zig). MARK() is nothing unless WEIR_MARKS is defined: only the
 * simulator is built with it (Meson's option `marks`), for the counters belong to one thread.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_MARK_H
#define WEIR_BASE_MARK_H

#ifdef WEIR_MARKS
#include <stddef.h>
#include <stdint.h>

struct mark {
    const char *name, *file;
    uint64_t count;
};
/* A statement. The pointers of all marks stand side by side in a section of their own. */
#define MARK(text)                                                                                 \
    do {                                                                                           \
        static struct mark mark_ = { text, __FILE__, 0 };                                          \
        static struct mark *const mark_at_ __attribute__((section("weir_marks"), used)) = &mark_;  \
        mark_at_->count++;                                                                         \
    } while (0)

/** The i-th mark of the program, NULL behind the last. */
struct mark *mark_at(size_t i);
#else
#define MARK(text) ((void)0)
#endif

#endif
