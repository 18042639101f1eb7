/*
 * private.h - files that hold secrets, or that give rights: users, passwords.
 *
 * They lie outside the data directory and are read by the main thread at the start and when they change, and
 * written by the command line: never part of a request, so not part of struct env.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_PRIVATE_H
#define WEIR_OS_PRIVATE_H

#include "base/mem.h"

#define PRIVATE_BYTES_MAX ((size_t)1 << 20)

/* What tells that a file has been changed or exchanged. */
struct private_stamp {
    int64_t modified_ns;
    uint64_t file, bytes;
};

/**
 * Reads a whole file. Refused: one that others than its owner may write, that neither root nor the user of this
 * process owns, or with `secret` that others may read. A link is followed, the file behind it judged.
 *
 * @param error  on failure a sentence that names the file and what to do; never what is in it
 *
 * True when read; `text` is to be wiped by the caller if it is secret.
 */
bool private_read(const char *path, bool secret, struct buf *text, struct private_stamp *stamp,
                  char *error, size_t error_bytes);
/** The stamp alone; zeroed when there is no such file. */
void private_look(const char *path, struct private_stamp *stamp);
/**
 * Replaces the file by `text`, whole and durable, with mode 0600 or what it had. While PATH.new exists another
 * process is at it, and this one fails. Begin and end: between them PATH may be read and judged.
 */
int private_replace_begin(const char *path, char *error, size_t error_bytes);
bool private_replace_end(const char *path, int handle, struct weir_str text, char *error,
                         size_t error_bytes);
/** Gives a begun replacement up. */
void private_replace_abort(const char *path, int handle);

#endif
