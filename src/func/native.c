/*
 * native.c - opening shared objects that export weir_module().
 *
 * The object stays loaded for the life of the process: its functions and tables are in use until then.
 * SPDX-License-Identifier: MIT
 */
#include "func/native.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

typedef enum weir_status module_fn(struct weir_app *app);

enum weir_status native_load(struct weir_app *app, const char *path, char *why, size_t why_bytes)
{
    char full[4096];
    /* without a slash dlopen() would search the system's libraries */
    snprintf(full, sizeof(full), "%s%s", strchr(path, '/') ? "" : "./", path);
    void *object = dlopen(full, RTLD_NOW | RTLD_LOCAL);
    if (object == NULL) {
        snprintf(why, why_bytes, "%s", dlerror());
        return WEIR_CONFIG;
    }
    module_fn *module;
    *(void **)&module = dlsym(object, "weir_module");
    if (module == NULL) {
        snprintf(why, why_bytes, "%s exports no weir_module(): is it a service of Weir?", path);
        dlclose(object);
        return WEIR_CONFIG;
    }
    enum weir_status st = module(app);
    if (st != WEIR_OK) {
        snprintf(why, why_bytes, "%s: %s", path,
                 app->why[0] != 0 ? app->why : weir_status_text(st));
        return WEIR_CONFIG;
    }
    return WEIR_OK;
}
