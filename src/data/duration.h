/*
 * duration.h - durations and sizes as people write them: "1h30m", "512MB". The one place where they are read.
 *
 * Whole numbers with a unit each, one after the other, added up: ms, s, m, h, d, w; B, KB, MB, GB, TB (of 1024).
 * Nothing between them. A sum beyond int64_t stays at its end, so that a caller's bound refuses it. Any thread.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_DATA_DURATION_H
#define WEIR_DATA_DURATION_H

#include <stdbool.h>

#include "base/mem.h"

/** False when the text is none; *ms is 0 then. */
bool duration_read(struct weir_str text, int64_t *ms);
bool size_read(struct weir_str text, int64_t *bytes);
/** As duration_read() reads it, largest units first, days at most: "1h30m". `ms` is not negative. */
void duration_write(struct buf *out, int64_t ms);

#endif
