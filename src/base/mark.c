/*
 * mark.c - see mark.h.
 * SPDX-License-Identifier: MIT
 */
#include "base/mark.h"

#ifdef WEIR_MARKS
/* The linker makes these two for a section whose name is an identifier. */
extern struct mark *const __start_weir_marks[]
    __attribute__((weak)); // NOLINT(bugprone-reserved-identifier,cert-dcl*)
extern struct mark *const __stop_weir_marks[]
    __attribute__((weak)); // NOLINT(bugprone-reserved-identifier,cert-dcl*)

struct mark *mark_at(size_t i)
{
    return i < (size_t)(__stop_weir_marks - __start_weir_marks) ? __start_weir_marks[i] : NULL;
}
#else
typedef int mark_is_off; /* a translation unit is not empty */
#endif
