/*
 * app.c - weir_add_entity() and its kin: filling a catalog from C tables.
 * SPDX-License-Identifier: MIT
 */
#include "core/app.h"

#include <stdio.h>

#include "core/core_int.h"

void app_init(struct weir_app *app, struct catalog *catalog)
{
    *app = (struct weir_app){ .catalog = catalog };
}

void app_deinit(struct weir_app *app)
{
    mem_free(app->verbs);
    app->verbs = NULL;
}

static enum weir_status keep_first(struct weir_app *app, enum weir_status st, const char *why)
{
    if (st != WEIR_OK && app->why[0] == '\0') snprintf(app->why, sizeof(app->why), "%s", why);
    return st;
}

enum weir_status weir_add_entity(struct weir_app *app, const struct weir_entity *entity)
{
    char why[512] = "";
    return keep_first(app, catalog_add_native(app->catalog, entity, NULL, why, sizeof(why)), why);
}

enum weir_status weir_add_service(struct weir_app *app, const struct weir_service *service)
{
    char why[512] = "";
    return keep_first(app, catalog_add_native(app->catalog, NULL, service, why, sizeof(why)), why);
}

enum weir_status weir_use(struct weir_app *app, struct weir_verb *verb)
{
    if (app->verb_count == app->verb_cap) {
        app->verb_cap = app->verb_cap ? app->verb_cap * 2 : 16;
        app->verbs = mem_realloc(app->verbs, app->verb_cap * sizeof(struct weir_verb *));
    }
    app->verbs[app->verb_count++] = verb;
    return WEIR_OK;
}

bool app_finish(struct weir_app *app)
{
    if (app->why[0] != '\0') return false;
    if (!catalog_finish(app->catalog, app->why, sizeof(app->why))) return false;
    for (uint32_t i = 0; i < app->verb_count; i++) {
        if (!verb_bind(app->catalog, app->verbs[i], app->why, sizeof(app->why))) return false;
    }
    return true;
}
