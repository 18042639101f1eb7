/*
 * answer.h - the built-in entity type `_answer`: a deferred answer, awaited or kept. What it is for: deferred.c.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_ANSWER_H
#define WEIR_CORE_ANSWER_H

#include "core/core_int.h"

struct answer_row {
    struct weir_str caller;        /* who asked, and may read it; empty: whoever has the id */
    struct weir_str type, handler; /* which was called: its result's shape is the answer's */
    bool done;
    int64_t status; /* once done: an enum weir_status */
    struct weir_str code, detail, text, result;
};
/* Places of its handlers. `open` makes it; `settle` ends it, once, and not if it is gone. */
enum { ANSWER_OPEN, ANSWER_SETTLE };
struct answer_opening {
    struct weir_str caller, type, handler;
};
struct answer_settling {
    int64_t status;
    struct weir_str code, detail, text, result;
};

#endif
