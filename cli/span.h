/*
 * span.h - JSON read in place: values as pieces of the text they stand in.
 *
 * For what the server answers, which is valid; text that is not ends a walk early and breaks nothing.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CLI_SPAN_H
#define WEIR_CLI_SPAN_H

#include "base/mem.h"

/** The next element of an array, or the next "name":value of an object (name may be NULL for arrays); *at is 0 to
 *  begin. False at the end. */
bool span_next(struct weir_str json, size_t *at, struct weir_str *name, struct weir_str *value);
/** The member of an object; an empty text when there is none. */
struct weir_str span_member(struct weir_str object, const char *name);
/** A string without quotes and escapes, added to `out`; null as nothing; anything else as it stands. */
void span_text(struct weir_str value, struct buf *out);
/** A whole number; 0 when it is none. */
uint64_t span_number(struct weir_str value);

#endif
