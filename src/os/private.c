/*
 * private.c - files that hold secrets, read with suspicion and replaced whole.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/private.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/secret.h"

#define OTHERS_WRITE (S_IWGRP | S_IWOTH)
#define OTHERS_READ (S_IRWXO | S_IWGRP)

static struct private_stamp stamp_of(const struct stat *found)
{
    return (struct private_stamp){
        .modified_ns = (int64_t)found->st_mtim.tv_sec * 1000000000 + found->st_mtim.tv_nsec,
        .file = (uint64_t)found->st_ino,
        .bytes = (uint64_t)found->st_size,
    };
}

/* What is wrong with it, or NULL. */
static const char *fault_of(const struct stat *found, bool secret)
{
    if (!S_ISREG(found->st_mode)) return "is no plain file";
    if (found->st_uid != geteuid() && found->st_uid != 0)
        return "belongs to another user: chown it to the user that runs weir";
    if (found->st_mode & OTHERS_WRITE) return "may be written by others: chmod go-w it";
    if (secret && found->st_mode & OTHERS_READ) return "may be read by everybody: chmod 0600 it";
    if ((uint64_t)found->st_size > PRIVATE_BYTES_MAX) return "is larger than 1 MiB";
    return NULL;
}

static bool bytes_read(int fd, size_t bytes, struct buf *text)
{
    buf_reset(text);
    buf_reserve(text, bytes + 1); /* at once: growing would leave copies behind */
    while (text->len < bytes) {
        ssize_t got = read(fd, text->ptr + text->len, bytes - text->len);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return false;
        if (got == 0) break;
        text->len += (size_t)got;
    }
    return true;
}

bool private_read(const char *path, bool secret, struct buf *text, struct private_stamp *stamp,
                  char *error, size_t error_bytes)
{
    struct stat found;
    *stamp = (struct private_stamp){ 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &found)) {
        snprintf(error, error_bytes, "cannot read %s: %s", path, strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    const char *fault = fault_of(&found, secret);
    bool good = !fault && bytes_read(fd, (size_t)found.st_size, text);
    if (fault) snprintf(error, error_bytes, "%s %s", path, fault);
    else if (!good) snprintf(error, error_bytes, "cannot read %s: %s", path, strerror(errno));
    close(fd);
    if (good) *stamp = stamp_of(&found);
    return good;
}

void private_look(const char *path, struct private_stamp *stamp)
{
    struct stat found;
    *stamp = (struct private_stamp){ 0 };
    if (stat(path, &found) == 0) *stamp = stamp_of(&found);
}

/* ---- replacing ---- */

/* "PATH.new", to be freed. */
static char *new_name(const char *path)
{
    size_t bytes = strlen(path) + sizeof ".new";
    char *name = mem_alloc(bytes);
    snprintf(name, bytes, "%s.new", path);
    return name;
}

int private_replace_begin(const char *path, char *error, size_t error_bytes)
{
    struct stat found;
    char *name = new_name(path);
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        snprintf(error, error_bytes, "cannot write %s: %s%s", name, strerror(errno),
                 errno == EEXIST ? "; if no other `weir user` runs, remove it" : "");
    } else {
        mode_t mode = stat(path, &found) == 0 ? found.st_mode & 0640 : 0600;
        (void)!fchmod(fd, mode | 0600);
    }
    mem_free(name);
    return fd;
}

static bool directory_sync(const char *path)
{
    struct weir_str whole = str_of(path);
    struct arena arena = { 0 };
    const char *folder = dirname(arena_cstr(&arena, whole));
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = dir >= 0 && fsync(dir) == 0;
    if (dir >= 0) close(dir);
    arena_free(&arena);
    return good;
}

bool private_replace_end(const char *path, int handle, struct weir_str text, char *error,
                         size_t error_bytes)
{
    char *name = new_name(path);
    bool good = true;
    while (good && text.len > 0) {
        ssize_t put = write(handle, text.ptr, text.len);
        if (put < 0 && errno == EINTR) continue;
        good = put > 0;
        if (!good) break;
        text.ptr += put;
        text.len -= (size_t)put;
    }
    good = good && fsync(handle) == 0;
    good = good && rename(name, path) == 0 && directory_sync(path);
    if (!good) snprintf(error, error_bytes, "cannot write %s: %s", path, strerror(errno));
    if (!good) unlink(name);
    close(handle);
    mem_free(name);
    return good;
}

void private_replace_abort(const char *path, int handle)
{
    char *name = new_name(path);
    unlink(name);
    close(handle);
    mem_free(name);
}
