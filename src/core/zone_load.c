/*
 * zone_load.c - finds and reads the file of a time zone.
 * SPDX-License-Identifier: MIT
 */
#include "core/zone_load.h"

#include <errno.h>

/* The file's bytes into the buffer; 0 or -errno. One byte more than allowed shows that it is too long. */
static int file_read(struct env *env, int dir, const char *name, struct buf *bytes)
{
    int fd = env->open(env, dir, name, ENV_READ | ENV_FOLLOW);
    if (fd < 0) return fd;
    buf_reserve(bytes, ZONE_BYTES_MAX + 1);
    int64_t len = env->read(env, fd, bytes->ptr, ZONE_BYTES_MAX + 1, 0);
    env->close(env, fd);
    if (len < 0) return (int)len;
    bytes->len = (size_t)len;
    return 0;
}

/* From the first folder that has it. *folders: how many there are at all. */
static int zone_read(struct env *env, const char *name, struct buf *bytes, unsigned *folders)
{
    static const char *const paths[] = { "/usr/share/zoneinfo", "/usr/lib/zoneinfo" };
    int error = -ENOENT;
    *folders = 0;
    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]) && error == -ENOENT; i++) {
        int dir = env->dir_open(env, paths[i], false);
        if (dir < 0) continue;
        ++*folders;
        error = file_read(env, dir, name, bytes);
        env->dir_close(env, dir);
    }
    return error;
}

enum weir_status zone_load(struct env *env, struct weir_str name, struct arena *arena,
                           const struct zone **zone, const char **why)
{
    struct buf bytes = { 0 };
    unsigned folders;
    *zone = NULL;
    *why = "a time zone is named as in Europe/Berlin: letters, digits, _ + - /";
    if (!zone_name_is_good(name)) return WEIR_ARG;
    if (str_eq(name, STR("UTC")) || str_eq(name, STR("Etc/UTC"))) {
        *zone = zone_utc();
        return WEIR_OK;
    }
    enum weir_status status = WEIR_OK;
    const char *wrong = "";
    int error = zone_read(env, arena_cstr(arena, name), &bytes, &folders);
    if (error == -ENOENT || error == -ENOTDIR) {
        status = WEIR_NOTFOUND;
        wrong = folders ? "there is no such zone"
                        : "this system has no time zones: install the package tzdata";
    } else if (error < 0) {
        status = WEIR_IO;
        wrong = error == -EISDIR ? "this is a folder of zones" : "its file cannot be read";
    } else {
        *zone = zone_parse(arena, buf_str(&bytes), &wrong);
        if (!*zone) status = WEIR_CORRUPT;
    }
    buf_free(&bytes);
    if (status != WEIR_OK)
        *why = arena_printf(arena, "time zone `%.*s`: %s", STR_ARG(name), wrong).ptr;
    return status;
}
