/*
 * reply.h - requests to the history application over RESP2 and HTTP, and answers read back into results.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_REPLY_H
#define WEIR_TESTS_REPLY_H

#include "work.h"

#define REPLY_ITEMS_MAX 100000

/* What one answer holds. Valid until the next reply_read(). */
struct reply {
    bool is_error;
    char word[48]; /* of an error: the application's own word where it is one */
    char line[256];
    struct op_result results[WORK_OPS_MAX];
};

/* Bytes of the first answer in the buffer; 0 while it is not all there, -1 where it is not RESP. */
long reply_len(const char *bytes, size_t len);
/* False where the answer is not what this transaction's handler answers. */
bool reply_read(struct reply *reply, const struct work *work, const char *bytes, size_t len);
/* Appends the command. */
void command_add(struct text *text, const struct work *work);
/* The same over HTTP. */
long http_len(const char *bytes, size_t len);
bool http_read(struct reply *reply, const struct work *work, const char *bytes, size_t len);
void http_add(struct text *text, const struct work *work);

#endif
