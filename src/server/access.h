/*
 * access.h - the users of a running server: read at the start, read again when their file changes.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_ACCESS_H
#define WEIR_SERVER_ACCESS_H

#include "net/users.h"
#include "os/private.h"

struct access_files {
    const char *users_file, *password_file; /* either may be NULL; both: there are no users */
    struct private_stamp users_stamp, password_stamp;
};

/** True if any file was named: callers must name themselves, even if nobody could. */
bool access_is_closed(const struct access_files *access);
/** Reads the files into a fresh set. NULL with *error when one is missing, unsafe or wrong. */
struct users *access_read(struct access_files *access, char *error, size_t error_bytes);
/** True once after a file changed. */
bool access_has_changed(struct access_files *access);

#endif
