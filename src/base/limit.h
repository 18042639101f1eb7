/*
 * limit.h - "name=number", as limits are set from outside.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_LIMIT_H
#define WEIR_BASE_LIMIT_H

#include "base/mem.h"

#define LIMIT_MS_MOST UINT64_C(1000000000000)       /* 31 years; in nanoseconds it fits 64 bits */
#define LIMIT_BYTES_MOST UINT64_C(1000000000000000) /* a petabyte */
#define LIMIT_COUNT_MOST UINT64_C(1000000000)       /* fits 32 bits */

/** The greatest number that a limit takes; its name says the unit: `_ms`, `bytes`, else a count. */
uint64_t limit_most(struct weir_str name);
/** Takes "name=number" apart, the number whole and from 1 to the most; false with *why, at most `why_bytes`. */
bool limit_read(const char *text, struct weir_str *name, uint64_t *value, char *why,
                size_t why_bytes);

#endif
