/*
 * describe.c - what an application offers, as text and as JSON.
 *
 * A shape's depth is limited (SHAPE_DEPTH_MAX), so the walks recurse.
 * SPDX-License-Identifier: MIT
 */
#include "server/describe.h"

#include <inttypes.h>

#include "data/duration.h"

/* ---- text ---- */

static void describe_shape(const struct shape *shape, struct buf *out);

static const char *kind_word(enum weir_kind kind)
{
    switch (kind) {
    case WEIR_NONE: return "nothing";
    case WEIR_INT: return "int";
    case WEIR_FLOAT: return "float";
    case WEIR_BOOL: return "bool";
    case WEIR_TEXT: return "text";
    case WEIR_BYTES: return "bytes";
    case WEIR_TIME: return "time";
    case WEIR_ENUM: return "enum";
    case WEIR_REF: return "handle";
    case WEIR_RECORD: return "record";
    case WEIR_LIST: return "list";
    case WEIR_ANY: return "any";
    }
    return "?";
}

/* The name of the type, without field name and bounds. */
static void describe_type(const struct field *field, struct buf *out)
{
    switch (field->kind) {
    case WEIR_REF: buf_add_str(out, field->type); return;
    case WEIR_RECORD: describe_shape(field->shape, out); return;
    case WEIR_LIST:
        buf_add_text(out, "list(");
        if (field->shape && field->shape->scalar) describe_type(&field->shape->fields[0], out);
        else if (field->shape) describe_shape(field->shape, out);
        buf_add_text(out, ")");
        return;
    case WEIR_ENUM:
        for (uint32_t i = 0; i < field->word_count; i++)
            buf_printf(out, "%s%.*s", i ? "|" : "", STR_ARG(field->words[i]));
        return;
    case WEIR_NONE:
    case WEIR_INT:
    case WEIR_FLOAT:
    case WEIR_BOOL:
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_TIME:
    case WEIR_ANY: break;
    }
    buf_add_text(out, kind_word(field->kind));
}

static void describe_field(const struct field *field, struct buf *out)
{
    if (field->name.len) buf_printf(out, "%.*s ", STR_ARG(field->name));
    describe_type(field, out);
    if (field->optional) buf_add_text(out, "?");
    if (field->kind == WEIR_FLOAT) {
        if (field->has_min) buf_printf(out, " >= %g", field->float_min);
        if (field->has_max) buf_printf(out, " <= %g", field->float_max);
    } else {
        if (field->has_min) buf_printf(out, " >= %" PRId64, field->min);
        if (field->has_max) buf_printf(out, " <= %" PRId64, field->max);
    }
}

static void describe_fields(const struct shape *shape, struct buf *out)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        if (i) buf_add_text(out, ", ");
        describe_field(&shape->fields[i], out);
    }
}

static void describe_shape(const struct shape *shape, struct buf *out)
{
    buf_add_text(out, shape->count ? "{ " : "{");
    describe_fields(shape, out);
    buf_add_text(out, shape->count ? " }" : "}");
}

static const char *verb_word(enum weir_verb_kind kind)
{
    switch (kind) {
    case WEIR_ON: return "on";
    case WEIR_QUERY: return "query";
    case WEIR_CREATE: return "create";
    }
    return "?";
}

static void describe_handler(const struct handler *handler, struct buf *out)
{
    buf_printf(out, "  %-6s %.*s(", verb_word(handler->kind), STR_ARG(handler->name));
    describe_fields(handler->args, out);
    buf_add_text(out, ")");
    if (handler->result->scalar && handler->result->fields[0].kind != WEIR_ANY) {
        buf_add_text(out, " -> ");
        describe_field(&handler->result->fields[0], out);
    } else if (!handler->result->scalar && handler->result->count) {
        buf_add_text(out, " -> ");
        describe_shape(handler->result, out);
    }
    if (handler->allow.len) buf_printf(out, "   allow %.*s", STR_ARG(handler->allow));
    buf_add_text(out, "\n");
}

static void describe_map(const struct map_def *map, struct buf *out)
{
    buf_printf(out, "  map    %.*s[", STR_ARG(map->name));
    for (uint32_t i = 0; i < map->key_count; i++) {
        if (i) buf_add_text(out, ", ");
        if (map->key[i] == WEIR_REF) buf_add_str(out, map->key_type[i]);
        else buf_add_text(out, kind_word(map->key[i]));
    }
    buf_add_text(out, "] ");
    if (map->value->scalar) describe_field(&map->value->fields[0], out);
    else describe_shape(map->value, out);
    buf_add_text(out, "\n");
}

static void describe_follows(const struct catalog *catalog, const struct type *type,
                             struct buf *out)
{
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follower *follower = catalog->followers[i];
        if (follower->type != type) continue;
        buf_printf(out, "  follows %.*s", STR_ARG(follower->stream->name));
        if (follower->by >= 0)
            buf_printf(out, " by %.*s",
                       STR_ARG(follower->stream->event->fields[follower->by].name));
        buf_add_text(out, "\n");
    }
}

void describe_size(uint64_t bytes, struct buf *out)
{
    static const char *const units[] = { "TB", "GB", "MB", "KB", "B" };
    for (unsigned i = 0; i < 5; i++) {
        uint64_t factor = UINT64_C(1) << (10 * (4 - i));
        if (bytes >= factor) buf_printf(out, "%" PRIu64 "%s", bytes / factor, units[i]);
        bytes %= factor;
    }
}

static void describe_keep(const struct stream *stream, struct buf *out)
{
    buf_add_text(out, "  keep");
    if (stream->latest) buf_add_text(out, " latest");
    else if (stream->keep_ms == 0 && stream->keep_bytes == 0) buf_add_text(out, " forever");
    if (stream->keep_ms > 0) {
        buf_add_text(out, stream->latest ? ", " : " ");
        duration_write(out, stream->keep_ms);
    }
    if (stream->keep_bytes > 0) {
        buf_add_text(out, stream->keep_ms > 0 ? ", " : " ");
        describe_size(stream->keep_bytes, out);
    }
}

void describe_catalog(const struct catalog *catalog, struct buf *out)
{
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        const struct type *type = catalog->types[i];
        if (type->builtin) continue;
        buf_printf(out, "%s %.*s ", type->service ? "service" : "entity", STR_ARG(type->name));
        if (!type->service) describe_shape(type->row, out);
        if (type->key_text.len) buf_printf(out, "  key %.*s", STR_ARG(type->key_text));
        buf_add_text(out, "\n");
        for (uint32_t m = 0; m < type->map_count; m++) describe_map(&type->maps[m], out);
        for (uint32_t h = 0; h < type->handler_count; h++) {
            if (!type->handlers[h]->hidden) describe_handler(type->handlers[h], out);
        }
        describe_follows(catalog, type, out);
    }
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        const struct stream *stream = catalog->streams[i];
        buf_printf(out, "stream %.*s ", STR_ARG(stream->name));
        describe_shape(stream->event, out);
        if (stream->key_field >= 0)
            buf_printf(out, "  key %.*s", STR_ARG(stream->event->fields[stream->key_field].name));
        if (stream->time_field >= 0)
            buf_printf(out, "  time %.*s", STR_ARG(stream->event->fields[stream->time_field].name));
        describe_keep(stream, out);
        if (stream->allow.len) buf_printf(out, "   allow %.*s", STR_ARG(stream->allow));
        buf_add_text(out, "\n");
    }
    for (uint32_t i = 0; i < catalog->schedule_count; i++) {
        const struct schedule_def *def = catalog->schedules[i];
        buf_printf(out, "every %.*s (%.*s): %.*s%s%.*s:%.*s\n", STR_ARG(def->text),
                   STR_ARG(def->zone_name), STR_ARG(def->type), def->key.len ? " " : "",
                   STR_ARG(def->key), STR_ARG(def->handler_name));
    }
}

/* What a request may name: a handler, or a stream, whose `type` is empty. */
struct entrance {
    struct weir_str type, name, allow;
};

struct walk {
    uint32_t type, handler, stream;
};

static bool entrance_next(const struct catalog *catalog, struct walk *at, struct entrance *found)
{
    while (at->type < catalog->type_count) {
        const struct type *type = catalog->types[at->type];
        if (type->builtin || at->handler == type->handler_count) {
            at->type++;
            at->handler = 0;
            continue;
        }
        const struct handler *handler = type->handlers[at->handler++];
        if (handler->hidden) continue;
        *found = (struct entrance){ type->name, handler->name, handler->allow };
        return true;
    }
    if (at->stream == catalog->stream_count) return false;
    const struct stream *stream = catalog->streams[at->stream++];
    *found = (struct entrance){ STR_NIL, stream->name, stream->allow };
    return true;
}

/* Names of what `allow` opens, of what only the operator has if it is empty, of all that anyone may not if it is NULL.
 * Who reads a stream that anyone may emit into is the operator. As JSON the handlers alone: streams have `allow`. */
static void describe_entrances(const struct catalog *catalog, const struct weir_str *allow,
                               bool json, struct buf *out)
{
    struct entrance found;
    uint32_t count = 0;
    for (struct walk at = { 0 }; entrance_next(catalog, &at, &found);) {
        bool stream = found.type.len == 0, anyone = str_eq(found.allow, STR(HANDLER_ANYONE));
        bool reading = stream && anyone && (!allow || allow->len == 0);
        bool listed = allow ? str_eq(found.allow, *allow) : !anyone;
        if ((!listed && !reading) || (json && stream)) continue;
        buf_add_text(out, !count++ ? "" : json ? "," : ", ");
        if (json) buf_printf(out, "\"%.*s.%.*s\"", STR_ARG(found.type), STR_ARG(found.name));
        else if (!stream) buf_printf(out, "%.*s.%.*s", STR_ARG(found.type), STR_ARG(found.name));
        else
            buf_printf(out, "%s %.*s",
                       reading  ? "reading"
                       : anyone ? "emitting into"
                                : "stream",
                       STR_ARG(found.name));
    }
    if (count == 0 && !json) buf_add_text(out, "nothing");
}

/* Whether an entrance before the place names the role. */
static bool role_is_before(const struct catalog *catalog, struct weir_str role, struct walk place)
{
    struct entrance found;
    for (struct walk at = { 0 }; entrance_next(catalog, &at, &found);) {
        if (memcmp(&at, &place, sizeof at) == 0) return false;
        if (str_eq(found.allow, role)) return true;
    }
    return false;
}

/* The next role that is named, in the order of their first naming; false when there is none more. */
static bool role_next(const struct catalog *catalog, struct walk *at, struct weir_str *role)
{
    struct entrance found;
    while (entrance_next(catalog, at, &found)) {
        if (!found.allow.len || str_eq(found.allow, STR(HANDLER_ANYONE))) continue;
        if (role_is_before(catalog, found.allow, *at)) continue;
        *role = found.allow;
        return true;
    }
    return false;
}

void describe_access(const struct catalog *catalog, bool users, struct buf *out)
{
    struct weir_str role, anyone = STR(HANDLER_ANYONE), none = STR_NIL;
    buf_add_text(out, "open to anyone: ");
    describe_entrances(catalog, &anyone, false, out);
    for (struct walk at = { 0 }; role_next(catalog, &at, &role);) {
        buf_printf(out, "\nopen to the role %.*s: ", STR_ARG(role));
        describe_entrances(catalog, &role, false, out);
    }
    buf_add_text(out, users ? "\nthe operator's, with rows, maps and figures: "
                            : "\ncloses once the server has users: ");
    describe_entrances(catalog, users ? &none : NULL, false, out);
    buf_add_text(out, "\n");
}

/* ---- JSON ---- */

static void describe_signature_json(const struct shape *shape, struct buf *out)
{
    struct buf one = { 0 };
    buf_add_text(out, "[");
    for (uint32_t i = 0; i < shape->count; i++) {
        buf_reset(&one);
        describe_field(&shape->fields[i], &one);
        if (i) buf_add_text(out, ",");
        json_write_text(out, buf_str(&one));
    }
    buf_add_text(out, "]");
    buf_free(&one);
}

static void describe_streams_json(const struct catalog *catalog, struct buf *out)
{
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        const struct stream *stream = catalog->streams[i];
        buf_printf(out, "%s{\"name\":\"%.*s\",\"fields\":", i ? "," : "", STR_ARG(stream->name));
        describe_signature_json(stream->event, out);
        buf_add_text(out, ",\"followers\":[");
        uint32_t shown = 0;
        for (uint32_t f = 0; f < catalog->follower_count; f++) {
            if (catalog->followers[f]->stream != stream) continue;
            buf_printf(out, "%s\"%.*s\"", shown++ ? "," : "",
                       STR_ARG(catalog->followers[f]->type->name));
        }
        buf_add_text(out, "],\"allow\":");
        if (stream->allow.len) json_write_text(out, stream->allow);
        else buf_add_text(out, "null");
        buf_add_text(out, "}");
    }
}

void describe_json(const struct catalog *catalog, struct buf *out)
{
    bool first = true;
    buf_add_text(out, "\"types\":[");
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        const struct type *type = catalog->types[i];
        if (type->builtin) continue;
        if (!first) buf_add_text(out, ",");
        first = false;
        buf_add_text(out, "{\"name\":");
        json_write_text(out, type->name);
        buf_printf(out, ",\"service\":%s,\"fields\":", type->service ? "true" : "false");
        describe_signature_json(type->row, out);
        buf_add_text(out, ",\"handlers\":[");
        uint32_t shown = 0;
        for (uint32_t h = 0; h < type->handler_count; h++) {
            const struct handler *handler = type->handlers[h];
            if (handler->hidden) continue;
            if (shown++) buf_add_text(out, ",");
            buf_printf(out,
                       "{\"name\":\"%.*s\",\"kind\":\"%s\",\"parameters\":", STR_ARG(handler->name),
                       verb_word(handler->kind));
            describe_signature_json(handler->args, out);
            buf_add_text(out, ",\"allow\":");
            if (handler->allow.len) json_write_text(out, handler->allow);
            else buf_add_text(out, "null");
            buf_add_text(out, "}");
        }
        buf_add_text(out, "]}");
    }
    buf_add_text(out, "],\"streams\":[");
    describe_streams_json(catalog, out);
    struct weir_str role, anyone = STR(HANDLER_ANYONE);
    buf_add_text(out, "],\"open\":[");
    describe_entrances(catalog, &anyone, true, out);
    buf_add_text(out, "],\"closes\":[");
    describe_entrances(catalog, NULL, true, out);
    buf_add_text(out, "],\"roles\":{");
    first = true;
    for (struct walk at = { 0 }; role_next(catalog, &at, &role); first = false) {
        if (!first) buf_add_text(out, ",");
        json_write_text(out, role);
        buf_add_text(out, ":[");
        describe_entrances(catalog, &role, true, out);
        buf_add_text(out, "]");
    }
    buf_add_text(out, "}");
}

/* ---- an example ---- */

#define EXAMPLE_LETTERS_MAX 64
#define EXAMPLE_ITEMS_MAX 8

static void example_text(const struct field *field, struct buf *out)
{
    static const char word[] = "hello";
    int64_t len = sizeof(word) - 1, n = 0;
    if (field->has_max && len > field->max) len = field->max;
    if (field->has_min && len < field->min) len = field->min;
    buf_add_text(out, "\"");
    for (; n < len && n < EXAMPLE_LETTERS_MAX; n++)
        buf_add_byte(out, (uint8_t)word[(size_t)n % (sizeof(word) - 1)]);
    buf_add_text(out, "\"");
}

static double example_float(const struct field *field)
{
    double n = 1;
    if (field->has_max && n > field->float_max) n = field->float_max;
    if (field->has_min && n < field->float_min) n = field->float_min;
    return n;
}

static void example_value(const struct field *field, struct buf *out);

static void example_list(const struct field *field, struct buf *out)
{
    struct field record = { .kind = WEIR_RECORD, .shape = field->shape };
    const struct field *element = field->shape && field->shape->scalar ? &field->shape->fields[0]
                                                                       : &record;
    int64_t count = field->has_min && field->min > 1 ? field->min : 1;
    if (field->has_max && count > field->max) count = field->max;
    buf_add_text(out, "[");
    for (int64_t i = 0; field->shape && i < count && i < EXAMPLE_ITEMS_MAX; i++) {
        if (i) buf_add_text(out, ",");
        example_value(element, out);
    }
    buf_add_text(out, "]");
}

/* A value in JSON that the field accepts, as far as its declaration tells. */
static void example_value(const struct field *field, struct buf *out)
{
    switch (field->kind) {
    case WEIR_INT: {
        int64_t n = field->has_min && field->min > 1 ? field->min : 1;
        if (field->has_max && n > field->max) n = field->max;
        buf_printf(out, "%" PRId64, n);
        return;
    }
    case WEIR_FLOAT: buf_printf(out, "%g", example_float(field)); return;
    case WEIR_BOOL: buf_add_text(out, "true"); return;
    case WEIR_TEXT: example_text(field, out); return;
    case WEIR_BYTES: buf_add_text(out, "\"aGVsbG8=\""); return;
    case WEIR_TIME: buf_add_text(out, "\"2026-01-01T00:00:00.000Z\""); return;
    case WEIR_ENUM:
        if (field->word_count) json_write_text(out, field->words[0]);
        else buf_add_text(out, "null");
        return;
    case WEIR_REF: buf_add_text(out, "\"bob\""); return;
    case WEIR_RECORD:
        buf_add_text(out, "{");
        for (uint32_t i = 0; i < field->shape->count; i++) {
            if (i) buf_add_text(out, ",");
            json_write_text(out, field->shape->fields[i].name);
            buf_add_text(out, ":");
            example_value(&field->shape->fields[i], out);
        }
        buf_add_text(out, "}");
        return;
    case WEIR_LIST: example_list(field, out); return;
    case WEIR_NONE:
    case WEIR_ANY: break;
    }
    buf_add_text(out, "null");
}

static void example_key(const struct type *type, struct buf *out)
{
    if (type->key.count == 0) buf_add_text(out, "ann");
    for (uint32_t i = 0; i < type->key.count; i++) {
        if (i) buf_add_text(out, ":");
        buf_add_text(out, type->key.part[i].kind == WEIR_INT ? "1" : "ann");
    }
}

/* The handler to show: one that writes if there is one. */
static const struct handler *example_handler(const struct catalog *catalog)
{
    const struct handler *found = NULL;
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        for (uint32_t h = 0; h < catalog->types[i]->handler_count; h++) {
            const struct handler *handler = catalog->types[i]->handlers[h];
            if (handler->hidden || catalog->types[i]->builtin) continue;
            if (handler->kind != WEIR_QUERY) return handler;
            if (!found) found = handler;
        }
    }
    return found;
}

void describe_address(const char *host, int port, struct buf *out)
{
    buf_printf(out, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
}

static void example_curl(const char *host, int port, struct buf *out)
{
    buf_add_text(out, "curl ");
    describe_address(host, port, out);
    buf_add_text(out, "/");
}

/* Without a handler: an event of the first stream that windows do not fill. */
static bool example_event(const struct catalog *catalog, const char *host, int port,
                          struct buf *out)
{
    uint32_t i = 0;
    while (i < catalog->stream_count && catalog->streams[i]->from) i++;
    if (i == catalog->stream_count) return false;
    struct field event = { .kind = WEIR_RECORD, .shape = catalog->streams[i]->event };
    example_curl(host, port, out);
    buf_printf(out, "streams/%.*s -d '", STR_ARG(catalog->streams[i]->name));
    example_value(&event, out);
    buf_add_text(out, "'");
    return true;
}

bool describe_example(const struct catalog *catalog, const char *host, int port, struct buf *out)
{
    const struct handler *handler = example_handler(catalog);
    if (!handler) return example_event(catalog, host, port, out);
    example_curl(host, port, out);
    buf_printf(out, "%.*s/", STR_ARG(handler->type->name));
    if (!handler->type->service) {
        example_key(handler->type, out);
        buf_add_text(out, "/");
    }
    buf_add_str(out, handler->name);
    if (handler->kind == WEIR_QUERY && handler->args->count == 0) return true;
    buf_add_text(out, " -d '[");
    for (uint32_t i = 0; i < handler->args->count; i++) {
        if (i) buf_add_text(out, ",");
        example_value(&handler->args->fields[i], out);
    }
    buf_add_text(out, "]'");
    return true;
}
