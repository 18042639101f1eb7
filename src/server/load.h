/*
 * load.h - application files into one catalog: Lua and native services side by side.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_SERVER_LOAD_H
#define WEIR_SERVER_LOAD_H

#include "core/app.h"
#include "core/engine.h"
#include "func/lua.h"

struct load {
    struct catalog *catalog;
    struct weir_app app;
    struct lua_app *lua;
    const struct runtime *runtimes[ENGINE_RUNTIMES_MAX];
    uint32_t runtime_count;
    char error[1024]; /* what is wrong, with file and line */
};

struct load_options {
    const char *const *files; /* .lua and .so */
    unsigned file_count;
    struct lua_options lua;
};

/** Loads all files and judges the whole. On WEIR_CONFIG load->error says why; load_close() in any case. */
enum weir_status load_open(const struct load_options *options, struct load *load);
void load_close(struct load *load);
/** True if the name ends like a native service's. */
bool load_is_native(const char *path);

#endif
