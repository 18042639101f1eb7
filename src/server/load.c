/*
 * load.c - application files into one catalog.
 * SPDX-License-Identifier: MIT
 */
#include "server/load.h"

#include <stdio.h>

#include "func/native.h"

static bool path_ends(const char *path, const char *end)
{
    size_t len = strlen(path), end_len = strlen(end);
    return len > end_len && strcmp(path + len - end_len, end) == 0;
}

bool load_is_native(const char *path)
{
    return path_ends(path, ".so") || path_ends(path, ".dylib");
}

static enum weir_status load_lua(struct load *load, const char *path)
{
    struct lua_problem problem = { .line = 0 };
    enum weir_status status = lua_app_load(load->lua, path, &problem);
    if (status == WEIR_OK) return status;
    if (problem.line > 0) {
        snprintf(load->error, sizeof load->error, "%s:%d: %s", problem.file, problem.line,
                 problem.text);
    } else {
        snprintf(load->error, sizeof load->error, "%s: %s", problem.file[0] ? problem.file : path,
                 problem.text);
    }
    return status;
}

static enum weir_status load_file(struct load *load, const char *path)
{
    if (load_is_native(path)) return native_load(&load->app, path, load->error, sizeof load->error);
    if (path_ends(path, ".lua")) return load_lua(load, path);
    snprintf(load->error, sizeof load->error, "%s: an application is a .lua file or a native .so",
             path);
    return WEIR_CONFIG;
}

enum weir_status load_open(const struct load_options *options, struct load *load)
{
    memset(load, 0, sizeof *load);
    load->catalog = catalog_create();
    app_init(&load->app, load->catalog);
    bool any_lua = false;
    for (unsigned i = 0; i < options->file_count; i++)
        if (!load_is_native(options->files[i])) any_lua = true;
    if (any_lua) load->lua = lua_app_create(load->catalog, &options->lua);
    for (unsigned i = 0; i < options->file_count; i++) {
        enum weir_status status = load_file(load, options->files[i]);
        if (status != WEIR_OK) return status;
    }
    if (!app_finish(&load->app)) {
        snprintf(load->error, sizeof load->error, "%s", load->app.why);
        return WEIR_CONFIG;
    }
    char name[80];
    if (load->lua && lua_app_setting_unasked(load->lua, name, sizeof name)) {
        snprintf(load->error, sizeof load->error,
                 "--set %s=...: no file asks for a setting or secret of this name", name);
        return WEIR_CONFIG;
    }
    if (load->lua) load->runtimes[load->runtime_count++] = lua_app_runtime(load->lua);
    return WEIR_OK;
}

void load_close(struct load *load)
{
    if (load->lua) lua_app_destroy(load->lua);
    app_deinit(&load->app);
    if (load->catalog) catalog_destroy(load->catalog);
    memset(load, 0, sizeof *load);
}
