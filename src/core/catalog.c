/*
 * catalog.c - building and judging the catalog of an application. bind.c gives it the numbers that it has in the data.
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <stdio.h>

#include "core/core_int.h"
#include "data/duration.h"

#define KEEP_MAX                                                                                   \
    INT64_C(9000000000000000) /* of milliseconds or bytes: no bound that means anything */

struct catalog *catalog_create(void)
{
    return mem_alloc(sizeof(struct catalog));
}

void catalog_destroy(struct catalog *catalog)
{
    if (catalog == NULL) return;
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        mem_free(catalog->types[i]->handlers);
        mem_free(catalog->types[i]->maps);
    }
    mem_free(catalog->types);
    mem_free(catalog->by_id);
    mem_free(catalog->streams);
    mem_free(catalog->followers);
    mem_free(catalog->deriveds);
    mem_free(catalog->schedules);
    mem_free(catalog->outsides);
    arena_free(&catalog->arena);
    mem_free(catalog);
}

struct type *catalog_type(const struct catalog *catalog, struct weir_str name)
{
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        if (str_eq(catalog->types[i]->name, name)) return catalog->types[i];
    }
    return NULL;
}

struct handler *type_handler(const struct type *type, struct weir_str name)
{
    for (uint32_t i = 0; i < type->handler_count; i++) {
        if (str_eq(type->handlers[i]->name, name)) return type->handlers[i];
    }
    return NULL;
}

bool roles_hold(struct weir_str roles, struct weir_str role)
{
    for (size_t at = 0; at < roles.len;) {
        size_t end = at;
        while (end < roles.len && roles.ptr[end] != ',') end++;
        if (str_eq((struct weir_str){ roles.ptr + at, end - at }, role)) return role.len > 0;
        at = end + 1;
    }
    return false;
}

bool handler_admits(const struct handler *handler, struct weir_str roles)
{
    if (handler->hidden) return false;
    if (str_eq(handler->allow, STR(HANDLER_ANYONE))) return true;
    return roles_hold(roles, STR(ROLE_OPERATOR)) || roles_hold(roles, handler->allow);
}

int type_map(const struct type *type, struct weir_str name)
{
    for (uint32_t i = 0; i < type->map_count; i++) {
        if (str_eq(type->maps[i].name, name)) return (int)i;
    }
    return -1;
}

uint8_t type_slot(const struct type *type, struct weir_str key)
{
    struct weir_str route = key_route(&type->key, key);
    return (uint8_t)(hash64(0, route.ptr, route.len) % SLOTS);
}

struct key_place type_place(const struct type *type, struct weir_str key)
{
    struct key_place place = { .hash = hash64(0, key.ptr, key.len) };
    uint64_t routed = place.hash;
    if (type->key.count > 0 || (key.len > 0 && memchr(key.ptr, '{', key.len) != NULL)) {
        struct weir_str route = key_route(&type->key, key);
        if (route.len != key.len) routed = hash64(0, route.ptr, route.len);
    }
    place.slot = (uint8_t)(routed % SLOTS);
    return place;
}

struct type *catalog_add_type(struct catalog *catalog, struct weir_str name, bool service)
{
    if (catalog_type(catalog, name) != NULL) return NULL;
    struct type *type = arena_alloc(&catalog->arena, sizeof(*type));
    type->name = arena_copy(&catalog->arena, name);
    type->service = service;

    type->row = arena_alloc(&catalog->arena, sizeof(struct shape));
    catalog->types = mem_realloc(catalog->types, (catalog->type_count + 1) * sizeof(struct type *));
    catalog->types[catalog->type_count++] = type;
    return type;
}

/* Fields of arguments and results are known by position in packed form. */
static void shape_number(struct shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        shape->fields[i].id = i + 1;
        if (shape->fields[i].shape != NULL)
            shape_number((struct shape *)(uintptr_t)shape->fields[i].shape);
    }
}

struct handler *catalog_add_handler(struct catalog *catalog, struct type *type,
                                    const struct handler *from)
{
    if (type_handler(type, from->name) != NULL) return NULL;
    struct arena *arena = &catalog->arena;
    struct handler *handler = arena_alloc(arena, sizeof(*handler));
    *handler = *from;
    handler->name = arena_copy(arena, from->name);
    handler->allow = from->allow.ptr ? arena_copy(arena, from->allow) : STR_NIL;
    handler->at = from->at.ptr ? arena_copy(arena, from->at) : STR_NIL;
    handler->type = type;
    if (handler->args == NULL) handler->args = arena_alloc(arena, sizeof(struct shape));
    if (handler->result == NULL) handler->result = arena_alloc(arena, sizeof(struct shape));
    shape_number(handler->args);
    shape_number(handler->result);
    if (handler->kind == WEIR_CREATE) type->has_create = true;
    type->handlers = mem_realloc(type->handlers,
                                 (type->handler_count + 1) * sizeof(struct handler *));
    type->handlers[type->handler_count++] = handler;
    return handler;
}

struct map_def *catalog_add_map(struct catalog *catalog, struct type *type,
                                const struct map_def *from)
{
    if (type_map(type, from->name) >= 0) return NULL;
    type->maps = mem_realloc(type->maps, (type->map_count + 1) * sizeof(struct map_def));
    struct map_def *map = &type->maps[type->map_count++];
    *map = *from;
    map->name = arena_copy(&catalog->arena, from->name);
    map->key_count = 0;
    while (map->key_count < WEIR_KEY_PARTS_MAX && map->key[map->key_count] != WEIR_NONE)
        map->key_count++;
    return map;
}

/* ---- native tables ---- */

struct native_check {
    weir_check_fn *check;
};

static bool native_type_check(struct weir_ctx *ctx, struct type *type, const void *row,
                              struct weir_str *code)
{
    const struct native_check *native = type->check_arg;
    const char *word = "check";
    if (native->check(row, &word)) return true;
    *code = str_of(word);
    return false;
}

static bool add_native_handlers(struct catalog *catalog, struct type *type,
                                const struct weir_handler *handlers, char *why, size_t why_bytes)
{
    for (const struct weir_handler *h = handlers; h != NULL && h->name != NULL; h++) {
        struct handler handler = { .name = str_of(h->name),
                                   .kind = h->kind,
                                   .fn = h->fn,
                                   .runtime = &native_runtime,
                                   .allow = h->allow ? str_of(h->allow) : STR_NIL };
        const char *wrong = NULL;
        if (h->fn == NULL || h->kind < WEIR_ON || h->kind > WEIR_CREATE)
            wrong = "it has no function or no kind";
        else if (!shape_of(&catalog->arena, &h->args, &handler.args, &wrong) ||
                 !shape_of(&catalog->arena, &h->result, &handler.result, &wrong)) {
        } else if (catalog_add_handler(catalog, type, &handler) == NULL) {
            wrong = "there are two of that name";
        }
        if (wrong != NULL) {
            snprintf(why, why_bytes, "handler %.*s:%s: %s", STR_ARG(type->name), h->name, wrong);
            return false;
        }
    }
    return true;
}

static bool add_native_maps(struct catalog *catalog, struct type *type, const struct weir_map *maps,
                            char *why, size_t why_bytes)
{
    for (const struct weir_map *m = maps; m != NULL && m->name != NULL; m++) {
        struct map_def map = { .name = str_of(m->name) };
        const char *wrong = NULL;
        for (uint32_t i = 0; i < WEIR_KEY_PARTS_MAX; i++) {
            map.key[i] = m->key[i];
            if (m->key[i] == WEIR_REF) map.key_type[i] = str_of(m->type);
        }
        if (m->key[0] == WEIR_NONE) wrong = "its key has no part";
        else if (!shape_of(&catalog->arena, &m->value, &map.value, &wrong)) {
        } else if (map.value->count == 0) {
            wrong = "its value has no field";
        } else if (catalog_add_map(catalog, type, &map) == NULL) {
            wrong = "there are two of that name";
        }
        if (wrong != NULL) {
            snprintf(why, why_bytes, "map %s of %.*s: %s", m->name, STR_ARG(type->name), wrong);
            return false;
        }
    }
    return true;
}

enum weir_status catalog_add_native(struct catalog *catalog, const struct weir_entity *entity,
                                    const struct weir_service *service, char *why, size_t why_bytes)
{
    const char *name = entity ? entity->name : service->name;
    struct type *type = catalog_add_type(catalog, str_of(name), entity == NULL);
    if (type == NULL) {
        snprintf(why, why_bytes, "there are two types or services called `%s`", name);
        return WEIR_CONFIG;
    }
    if (entity == NULL)
        return add_native_handlers(catalog, type, service->handlers, why, why_bytes) ? WEIR_OK
                                                                                     : WEIR_CONFIG;
    const char *wrong = NULL;
    if (!shape_of(&catalog->arena, &entity->row, &type->row, &wrong)) {
        snprintf(why, why_bytes, "row of %s: %s", name, wrong);
        return WEIR_CONFIG;
    }
    if (entity->key != NULL) type->key_text = str_of(entity->key);
    if (entity->check != NULL) {
        struct native_check *check = arena_alloc(&catalog->arena, sizeof(*check));
        check->check = entity->check;
        type->check = native_type_check;
        type->check_arg = check;
    }
    bool good = add_native_maps(catalog, type, entity->maps, why, why_bytes) &&
                add_native_handlers(catalog, type, entity->handlers, why, why_bytes);
    return good ? WEIR_OK : WEIR_CONFIG;
}

/* ---- services outside ---- */

struct outside_def *catalog_outside(const struct catalog *catalog, struct weir_str name)
{
    for (uint32_t i = 0; i < catalog->outside_count; i++) {
        if (str_eq(catalog->outsides[i]->name, name)) return catalog->outsides[i];
    }
    return NULL;
}

struct outside_def *catalog_add_outside(struct catalog *catalog, const struct outside_def *from)
{
    if (catalog_outside(catalog, from->name) != NULL) return NULL;
    struct outside_def *def = arena_alloc(&catalog->arena, sizeof(*def));
    *def = *from;
    def->name = arena_copy(&catalog->arena, from->name);
    catalog->outsides = mem_realloc(catalog->outsides,
                                    (catalog->outside_count + 1) * sizeof(struct outside_def *));
    catalog->outsides[catalog->outside_count++] = def;
    return def;
}

/* ---- streams ---- */

struct stream *catalog_stream(const struct catalog *catalog, struct weir_str name)
{
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        if (str_eq(catalog->streams[i]->name, name)) return catalog->streams[i];
    }
    return NULL;
}

struct stream *catalog_add_stream(struct catalog *catalog, const struct stream *from)
{
    if (catalog_stream(catalog, from->name) != NULL) return NULL;
    struct stream *stream = arena_alloc(&catalog->arena, sizeof(*stream));
    *stream = *from;
    stream->name = arena_copy(&catalog->arena, from->name);
    stream->allow = from->allow.ptr ? arena_copy(&catalog->arena, from->allow) : STR_NIL;
    stream->at = from->at.ptr ? arena_copy(&catalog->arena, from->at) : STR_NIL;
    catalog->streams = mem_realloc(catalog->streams,
                                   (catalog->stream_count + 1) * sizeof(struct stream *));
    stream->place = catalog->stream_count;
    catalog->streams[catalog->stream_count++] = stream;
    return stream;
}

/* { event, meta = { id, time } }: the event at the head, so that a C handler reads it as its struct. */
static struct shape *follow_args(struct arena *arena, const struct stream *stream)
{
    struct shape *meta = arena_alloc(arena, sizeof(*meta)),
                 *args = arena_alloc(arena, sizeof(*args));
    meta->count = args->count = 2;
    meta->fields = arena_alloc(arena, 2 * sizeof(struct field));
    args->fields = arena_alloc(arena, 2 * sizeof(struct field));
    meta->fields[0] = (struct field){ .name = STR("id"), .kind = WEIR_TEXT };
    meta->fields[1] = (struct field){ .name = STR("time"), .kind = WEIR_TIME };
    shape_layout(meta);
    args->fields[0] = (struct field){ .name = STR("event"),
                                      .kind = WEIR_RECORD,
                                      .shape = shape_clone(arena, stream->event) };
    args->fields[1] = (struct field){ .name = STR("meta"), .kind = WEIR_RECORD, .shape = meta };
    shape_layout(args);
    ASSERT(args->fields[0].offset == 0);
    return args;
}

static int record_field(const struct shape *shape, struct weir_str name)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (str_eq(shape->fields[i].name, name)) return (int)i;
    }
    return -1;
}

struct follower *catalog_add_follower(struct catalog *catalog, struct stream *stream,
                                      struct type *type, struct weir_str by,
                                      const struct handler *from, const char **why)
{
    struct follower *follower = arena_alloc(&catalog->arena, sizeof(*follower));
    struct handler handler = *from;
    follower->stream = stream;
    follower->type = type;
    follower->by = by.len > 0 ? record_field(stream->event, by) : -1;
    *why = NULL;
    if (type->service && by.len > 0) *why = "a service follows without `by`: it has no key";
    else if (!type->service && follower->by < 0)
        *why = "`by` names the event's field that holds the entity";
    else if (!type->service) {
        const struct field *f = &stream->event->fields[follower->by];
        bool fits = f->kind == WEIR_TEXT || (f->kind == WEIR_REF && str_eq(f->type, type->name));
        if (!fits) *why = "`by` names a field that is a text or a reference to the following type";
    }
    if (*why != NULL) return NULL;
    handler.name = arena_printf(&catalog->arena, "@%.*s", STR_ARG(stream->name));
    handler.kind = WEIR_ON;
    handler.args = follow_args(&catalog->arena, stream);
    handler.result = NULL;
    handler.allow = STR_NIL;
    handler.hidden = true;
    follower->handler = catalog_add_handler(catalog, type, &handler);
    if (follower->handler == NULL) {
        *why = "the type follows this stream already";
        return NULL;
    }
    catalog->followers = mem_realloc(catalog->followers,
                                     (catalog->follower_count + 1) * sizeof(struct follower *));
    follower->place = catalog->follower_count;
    catalog->followers[catalog->follower_count++] = follower;
    return follower;
}

/* "30d", "10GB", "30d, 10GB", "latest", "latest, 7d" or "forever". */
bool stream_keep_parse(struct weir_str text, struct stream *stream)
{
    stream->keep_ms = 0;
    stream->keep_bytes = 0;
    stream->latest = false;
    if (str_eq(text, STR("forever"))) return true;
    for (size_t at = 0; at < text.len;) {
        size_t end = at;
        int64_t ms = 0, bytes = 0;
        while (end < text.len && text.ptr[end] != ' ' && text.ptr[end] != ',') end++;
        struct weir_str part = { text.ptr + at, end - at };
        if (str_eq(part, STR("latest"))) stream->latest = true;
        else if (!duration_read(part, &ms) && !size_read(part, &bytes)) return false;
        if (ms > KEEP_MAX - stream->keep_ms || bytes > KEEP_MAX - (int64_t)stream->keep_bytes)
            return false;
        stream->keep_ms += ms;
        stream->keep_bytes += (uint64_t)bytes;
        for (at = end; at < text.len && (text.ptr[at] == ' ' || text.ptr[at] == ',');) at++;
        if (at == text.len && end < at) return false; /* something should follow */
    }
    /* Of a key the newest event stays for ever: no size can bound that. */
    if (stream->latest) return stream->keep_bytes == 0;
    return stream->keep_ms > 0 || stream->keep_bytes > 0;
}

bool follow_from_parse(struct weir_str text, struct follower *follower)
{
    struct event_id id;
    follower->from = FOLLOW_OLDEST;
    if (text.len == 0 || str_eq(text, STR("oldest"))) return true;
    if (str_eq(text, STR("now"))) {
        follower->from = FOLLOW_NOW;
        return true;
    }
    if (memchr(text.ptr, '-', text.len) != NULL && event_id_read(text, 0, &id)) {
        follower->from = FOLLOW_ID;
        follower->from_epoch = id.epoch;
        follower->from_n = id.n;
        return true;
    }
    struct field time = { .name = STR("from"), .kind = WEIR_TIME };
    struct problem problem = { 0 };
    struct arena arena = { 0 };
    bool good = field_read_text(&time, text, &arena, &follower->from_ms, &problem) == WEIR_OK;
    arena_free(&arena);
    follower->from = FOLLOW_TIME;
    return good;
}

/* The type `streams`: handlers that emit for those outside, one and a list of events. */
static void streams_type_add(struct catalog *catalog)
{
    struct arena *arena = &catalog->arena;
    if (catalog->stream_count == 0 || catalog_type(catalog, STR("streams")) != NULL) return;
    struct type *type = catalog_add_type(catalog, STR("streams"), true);
    type->builtin = true;
    static const struct weir_shape id = WEIR_SCALAR(WEIR_TEXT, .optional = true);
    static const struct weir_field batch_fields[] = {
        WEIR_FIELD(struct emitted, count, WEIR_INT),
        WEIR_FIELD(struct emitted, first, WEIR_TEXT, .optional = true),
        WEIR_FIELD(struct emitted, last, WEIR_TEXT, .optional = true), WEIR_END
    };
    static const struct weir_shape batch = WEIR_SHAPE(struct emitted, batch_fields);
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        struct stream *stream = catalog->streams[i];
        const char *why = NULL;
        struct handler one = { .name = stream->name,
                               .kind = WEIR_ON,
                               .args = shape_clone(arena, stream->event),
                               .allow = stream->allow,
                               .runtime = &native_runtime,
                               .fn = stream_emit_one,
                               .code = stream,
                               .at = stream->at,
                               .builtin = true,
                               .hidden = stream->from != NULL };
        ASSERT(shape_of(arena, &id, &one.result, &why));
        stream->emit = catalog_add_handler(catalog, type, &one);
        struct handler many = one;
        many.name = arena_printf(arena, "%.*s@batch", STR_ARG(stream->name));
        many.fn = stream_emit_batch;
        many.args = arena_alloc(arena, sizeof(struct shape));
        many.args->count = 1;
        many.args->fields = arena_alloc(arena, sizeof(struct field));
        many.args->fields[0] = (struct field){ .name = STR("events"),
                                               .kind = WEIR_LIST,
                                               .shape = shape_clone(arena, stream->event) };
        shape_layout(many.args);
        ASSERT(shape_of(arena, &batch, &many.result, &why));
        stream->batch = catalog_add_handler(catalog, type, &many);
        struct handler end = one;
        end.name = arena_printf(arena, "%.*s@end", STR_ARG(stream->name));
        end.fn = stream_end;
        end.args = NULL;
        ASSERT(shape_of(arena, &id, &end.result, &why));
        stream->end = catalog_add_handler(catalog, type, &end);
    }
}

/* ---- judging the whole ---- */

static bool name_is_good(struct weir_str name)
{
    if (name.len == 0 || name.len > CATALOG_NAME_BYTES_MAX) return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (!isalnum(c) && c != '_') return false;
        if (i == 0 && isdigit(c)) return false;
    }
    return true;
}

static bool name_is_servers(struct weir_str name)
{
    static const char *const names[] = { "streams", "requests", "sql",   "metrics", "livez",
                                         "readyz",  "healthz",  "views", "parked" };
    if (name.len > 0 && name.ptr[0] == '_') return true;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_eq(name, str_of(names[i]))) return true;
    }
    return false;
}

static bool refs_are_known(const struct catalog *catalog, const struct shape *shape,
                           struct weir_str *missing)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (f->kind == WEIR_REF && f->type.len > 0) {
            struct type *type = catalog_type(catalog, f->type);
            if (type == NULL || type->service) {
                *missing = f->type;
                return false;
            }
        }
        if (f->shape != NULL && !refs_are_known(catalog, f->shape, missing)) return false;
    }
    return true;
}

static bool finish_fail(const struct type *type, char *why, size_t why_bytes, const char *what,
                        struct weir_str name, const char *text)
{
    snprintf(why, why_bytes, "%.*s%s%s `%.*s`: %s", STR_ARG(type->at), type->at.len ? ": " : "",
             what, STR_ARG(name), text);
    return false;
}

static bool finish_handlers(const struct catalog *catalog, const struct type *type, char *why,
                            size_t why_bytes)
{
    for (uint32_t i = 0; i < type->handler_count; i++) {
        const struct handler *h = type->handlers[i];
        struct weir_str missing;
        char full[160];
        snprintf(full, sizeof(full), "%.*s:%.*s", STR_ARG(type->name), STR_ARG(h->name));
        if (!h->hidden && !name_is_good(h->name))
            return finish_fail(type, why, why_bytes, "handler", str_of(full),
                               "a name has letters, digits and _, at most 64");
        if (str_eq(h->name, STR("key")))
            return finish_fail(type, why, why_bytes, "handler", str_of(full),
                               "`key` is the entity's key");
        if (type->service && h->kind == WEIR_CREATE)
            return finish_fail(type, why, why_bytes, "handler", str_of(full),
                               "a service has nothing to create");
        if (!refs_are_known(catalog, h->args, &missing) ||
            !refs_are_known(catalog, h->result, &missing)) {
            char text[160];
            snprintf(text, sizeof(text), "there is no entity type `%.*s`", STR_ARG(missing));
            return finish_fail(type, why, why_bytes, "handler", str_of(full), text);
        }
    }
    return true;
}

static bool finish_type(struct catalog *catalog, struct type *type, char *why, size_t why_bytes)
{
    const char *kind = type->service ? "service" : "type", *wrong = NULL;
    struct weir_str missing;
    if (!name_is_good(type->name))
        return finish_fail(type, why, why_bytes, kind, type->name,
                           "a name has letters, digits and _, at most 64");
    if (name_is_servers(type->name))
        return finish_fail(type, why, why_bytes, kind, type->name,
                           "the name is the server's: choose another");
    if (type->handler_count > CATALOG_HANDLERS_MAX || type->map_count > CATALOG_MAPS_MAX)
        return finish_fail(type, why, why_bytes, kind, type->name, "too many handlers or maps");
    if (type->key_text.ptr != NULL &&
        !key_form_parse(&catalog->arena, type->key_text, type->row, &type->key, &wrong))
        return finish_fail(type, why, why_bytes, kind, type->name, wrong);
    for (uint32_t i = 0; i < type->row->count; i++) {
        if (str_eq(type->row->fields[i].name, STR("key")))
            return finish_fail(type, why, why_bytes, kind, type->name,
                               "a field called `key`: that is the entity's key");
    }
    bool known = refs_are_known(catalog, type->row, &missing);
    for (uint32_t i = 0; i < type->map_count && known; i++) {
        const struct map_def *map = &type->maps[i];
        known = refs_are_known(catalog, map->value, &missing);
        for (uint32_t k = 0; k < map->key_count && known; k++) {
            if (map->key[k] != WEIR_REF || catalog_type(catalog, map->key_type[k]) != NULL)
                continue;
            missing = map->key_type[k];
            known = false;
        }
    }
    if (!known) {
        char text[160];
        snprintf(text, sizeof(text), "there is no entity type `%.*s`", STR_ARG(missing));
        return finish_fail(type, why, why_bytes, kind, type->name, text);
    }
    return finish_handlers(catalog, type, why, why_bytes);
}

static bool finish_stream(const struct catalog *catalog, const struct stream *stream, char *why,
                          size_t why_bytes)
{
    const char *wrong = NULL;
    struct weir_str missing;
    char text[160];
    if (!name_is_good(stream->name)) wrong = "a name has letters, digits and _, at most 64";
    else if (name_is_servers(stream->name)) wrong = "the name is the server's: choose another";
    else if (stream->event == NULL || stream->event->scalar || stream->event->count == 0)
        wrong = "an event is a record with at least one field";
    else if (!refs_are_known(catalog, stream->event, &missing)) {
        snprintf(text, sizeof(text), "there is no entity type `%.*s`", STR_ARG(missing));
        wrong = text;
    } else if (stream->key_field >= 0) {
        enum weir_kind kind = stream->event->fields[stream->key_field].kind;
        if (kind != WEIR_TEXT && kind != WEIR_REF)
            wrong = "`key` names a field that is a text or a reference";
    }
    if (wrong == NULL && stream->time_field >= 0 &&
        stream->event->fields[stream->time_field].kind != WEIR_TIME)
        wrong = "`time` names a field of type time";
    if (wrong == NULL && stream->latest && stream->key_field < 0)
        wrong = "`keep` = latest needs `key`: the field of whose values the newest event stays";
    if (wrong == NULL && stream->gone_field >= 0 && !stream->latest)
        wrong = "`tombstone` ends a key, which goes with `keep` = latest only";
    if (wrong == NULL && stream->gone_field >= 0 &&
        stream->event->fields[stream->gone_field].kind != WEIR_BOOL)
        wrong = "`tombstone` names a field of type bool";
    if (wrong == NULL) return true;
    snprintf(why, why_bytes, "%.*s%sstream `%.*s`: %s", STR_ARG(stream->at),
             stream->at.len ? ": " : "", STR_ARG(stream->name), wrong);
    return false;
}

static bool finish_schedule(const struct catalog *catalog, struct schedule_def *def, char *why,
                            size_t why_bytes)
{
    const struct type *type = catalog_type(catalog, def->type);
    const char *wrong = NULL;
    def->handler = type ? type_handler(type, def->handler_name) : NULL;
    if (def->handler == NULL || def->handler->hidden) wrong = "there is no such handler";
    else if (def->handler->kind == WEIR_QUERY)
        wrong = "a query does nothing: name a handler that writes";
    else if (def->handler->args->count > 1 ||
             (def->handler->args->count == 1 && def->handler->args->fields[0].kind != WEIR_TIME))
        wrong = "its handler takes nothing, or one time: when it was due";
    if (wrong == NULL) return true;
    snprintf(why, why_bytes, "%.*s%sthe schedule `%.*s` of %.*s:%.*s: %s", STR_ARG(def->at),
             def->at.len ? ": " : "", STR_ARG(def->text), STR_ARG(def->type),
             STR_ARG(def->handler_name), wrong);
    return false;
}

/* One of the engine's own entity types, its first handlers hidden; it stays when it is there. */
static struct type *builtin_type_add(struct catalog *catalog, const struct weir_entity *entity,
                                     uint32_t hidden, char *why, size_t why_bytes)
{
    struct type *type = catalog_type(catalog, str_of(entity->name));
    if (type != NULL) return type;
    if (catalog_add_native(catalog, entity, NULL, why, why_bytes) != WEIR_OK) return NULL;
    type = catalog_type(catalog, str_of(entity->name));
    type->builtin = true;
    for (uint32_t i = 0; i < type->handler_count && i < hidden; i++)
        type->handlers[i]->hidden = true;
    return type;
}

/* There in every application, so that their rows always find them. */
static bool builtin_types_add(struct catalog *catalog, char *why, size_t why_bytes)
{
    if (builtin_type_add(catalog, &schedule_entity, 1 /* the tick */, why, why_bytes) == NULL)
        return false;
    catalog->groups = builtin_type_add(catalog, &group_entity, UINT32_MAX, why, why_bytes);
    catalog->answers = builtin_type_add(catalog, &answer_entity, UINT32_MAX, why, why_bytes);
    return catalog->groups != NULL && catalog->answers != NULL;
}

bool catalog_finish(struct catalog *catalog, char *why, size_t why_bytes)
{
    bool empty = catalog->type_count == 0 && catalog->stream_count == 0;
    if (empty || catalog->type_count > CATALOG_TYPES_MAX ||
        catalog->stream_count > CATALOG_STREAMS_MAX) {
        snprintf(why, why_bytes,
                 empty ? "the application declares no type, no service and no stream"
                       : "too many types or streams");
        return false;
    }
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        if (!finish_stream(catalog, catalog->streams[i], why, why_bytes)) return false;
    }
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        if (catalog->types[i]->builtin) continue;
        if (!finish_type(catalog, catalog->types[i], why, why_bytes)) return false;
    }
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        if (!finish_schedule(catalog, catalog->schedules[i], why, why_bytes)) return false;
    }
    streams_type_add(catalog);
    return builtin_types_add(catalog, why, why_bytes);
}
