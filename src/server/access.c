/*
 * access.c - files of users and of the operator's password into one set.
 * SPDX-License-Identifier: MIT
 */
#include "server/access.h"

#include <stdio.h>

bool access_is_closed(const struct access_files *access)
{
    return access->users_file || access->password_file;
}

static void text_free(struct buf *text)
{
    if (text->ptr) secret_wipe(text->ptr, text->cap);
    buf_free(text);
}

static bool file_add(struct users *users, const char *path, bool password,
                     struct private_stamp *stamp, char *error, size_t error_bytes)
{
    struct buf text = { 0 };
    char why[256];
    bool good = private_read(path, password, &text, stamp, error, error_bytes);
    if (good) {
        good = password ? users_add_password(users, buf_str(&text), why, sizeof why)
                        : users_parse(users, buf_str(&text), why, sizeof why);
        if (!good) snprintf(error, error_bytes, "%s: %s", path, why);
    }
    text_free(&text);
    return good;
}

struct users *access_read(struct access_files *access, char *error, size_t error_bytes)
{
    struct users *users = users_create();
    bool good = true;
    if (access->users_file)
        good = file_add(users, access->users_file, false, &access->users_stamp, error, error_bytes);
    if (good && access->password_file)
        good = file_add(users, access->password_file, true, &access->password_stamp, error,
                        error_bytes);
    if (good) return users;
    users_destroy(users);
    return NULL;
}

static bool file_has_changed(const char *path, struct private_stamp *stamp)
{
    struct private_stamp now;
    if (!path) return false;
    private_look(path, &now);
    bool changed = now.modified_ns != stamp->modified_ns || now.file != stamp->file ||
                   now.bytes != stamp->bytes;
    *stamp = now;
    return changed;
}

bool access_has_changed(struct access_files *access)
{
    bool users = file_has_changed(access->users_file, &access->users_stamp);
    return file_has_changed(access->password_file, &access->password_stamp) || users;
}
