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

enum weir_status weir_add_stream(struct weir_app *app, struct weir_stream *from)
{
    struct catalog *catalog = app->catalog;
    struct stream stream = { .name = str_of(from->name),
                             .key_field = -1,
                             .time_field = -1,
                             .gone_field = -1,
                             .keep_ms = STREAM_KEEP_MS_DEFAULT,
                             .allow = from->allow ? str_of(from->allow) : STR_NIL };
    char text[512];
    const char *why = NULL;
    bool good = shape_of(&catalog->arena, &from->event, &stream.event, &why);
    for (uint32_t i = 0; good && i < stream.event->count; i++) {
        struct weir_str name = stream.event->fields[i].name;
        if (from->key != NULL && str_eq(name, str_of(from->key))) stream.key_field = (int)i;
        if (from->time != NULL && str_eq(name, str_of(from->time))) stream.time_field = (int)i;
        if (from->tombstone != NULL && str_eq(name, str_of(from->tombstone)))
            stream.gone_field = (int)i;
    }
    if (good && ((from->key != NULL && stream.key_field < 0) ||
                 (from->time != NULL && stream.time_field < 0) ||
                 (from->tombstone != NULL && stream.gone_field < 0)))
        why = "`key`, `time` and `tombstone` name fields of the event";
    else if (good && from->keep != NULL && !stream_keep_parse(str_of(from->keep), &stream))
        why = "`keep` is a duration (90d), a size (512MB), `forever` or `latest`";
    struct stream *made = why == NULL ? catalog_add_stream(catalog, &stream) : NULL;
    if (made == NULL) {
        snprintf(text, sizeof(text), "stream %s: %s", from->name,
                 why ? why : "there are two of that name");
        return keep_first(app, WEIR_CONFIG, text);
    }
    from->place = made;
    return WEIR_OK;
}

enum weir_status weir_add_follow(struct weir_app *app, const struct weir_follow *from)
{
    struct catalog *catalog = app->catalog;
    struct stream *stream = catalog_stream(catalog, str_of(from->stream));
    struct type *type = catalog_type(catalog, str_of(from->type));
    struct handler handler = { .runtime = &native_runtime, .fn = from->fn };
    char text[512];
    const char *why = stream == NULL ? "there is no such stream"
                      : type == NULL ? "there is no such type"
                                     : NULL;
    struct follower *follower = NULL;
    if (why == NULL)
        follower = catalog_add_follower(catalog, stream, type,
                                        from->by ? str_of(from->by) : STR_NIL, &handler, &why);
    if (follower != NULL && from->from != NULL && !follow_from_parse(str_of(from->from), follower))
        why = "`from` is oldest, now, an event id or a time";
    if (why == NULL) return WEIR_OK;
    snprintf(text, sizeof(text), "%s follows %s: %s", from->type, from->stream, why);
    return keep_first(app, WEIR_CONFIG, text);
}

enum weir_status weir_add_outside(struct weir_app *app, struct weir_outside *from)
{
    struct catalog *catalog = app->catalog;
    struct outside_def def = { .name = str_of(from->name),
                               .url = str_of(from->url),
                               .secret = from->secret ? str_of(from->secret) : STR(""),
                               .timeout_ms = from->timeout_ms,
                               .give_up_ms = from->give_up_ms };
    uint32_t count = 0;
    while (from->headers != NULL && from->headers[count] != NULL) count++;
    def.header_names = arena_alloc(&catalog->arena, (count + 1) * sizeof(struct weir_str));
    def.header_values = arena_alloc(&catalog->arena, (count + 1) * sizeof(struct weir_str));
    for (; def.header_count < count; def.header_count++) {
        const char *header = from->headers[def.header_count], *colon = strchr(header, ':');
        if (colon == NULL) return keep_first(app, WEIR_CONFIG, "a header is written `Name: value`");
        const char *value = colon + 1 + strspn(colon + 1, " ");
        def.header_names[def.header_count] = (struct weir_str){ header, (size_t)(colon - header) };
        def.header_values[def.header_count] = str_of(value);
    }
    from->place = catalog_add_outside(catalog, &def);
    return from->place ? WEIR_OK
                       : keep_first(app, WEIR_CONFIG, "there are two outsides of one name");
}

static struct weir_str text_of(const char *text)
{
    return text ? str_of(text) : STR("");
}

enum weir_status weir_every(struct weir_app *app, const struct weir_schedule *from)
{
    struct schedule_def def = { .name = text_of(from->name),
                                .type = text_of(from->type),
                                .key = text_of(from->key),
                                .handler_name = text_of(from->handler),
                                .text = text_of(from->when),
                                .zone_name = text_of(from->zone) };
    const char *why = NULL;
    char text[512];
    if (catalog_add_schedule(app->catalog, NULL, &def, text_of(from->missed), &why)) return WEIR_OK;
    snprintf(text, sizeof(text), "the schedule of %s:%s: %s", from->type, from->handler, why);
    return keep_first(app, WEIR_CONFIG, text);
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
