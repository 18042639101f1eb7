/*
 * app.h - what stands behind weir_add_entity() and its kin: a catalog being filled and the verbs to bind.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_APP_H
#define WEIR_CORE_APP_H

#include "core/catalog.h"

struct weir_app {
    struct catalog *catalog;
    struct weir_verb **verbs; /* bound by app_finish() */
    uint32_t verb_count, verb_cap;
    char why[512]; /* the first mistake, for weir_open's error */
    void *embed;   /* the embedding's, NULL in modules */
};

void app_init(struct weir_app *app, struct catalog *catalog);
/** catalog_finish(), then binds the verbs of weir_use(). False with app->why. */
bool app_finish(struct weir_app *app);
void app_deinit(struct weir_app *app);

#endif
