/*
 * bind.c - the names of an application and what the data knows of them.
 *
 * What is stored has numbers for names, and says nothing of what they mean: so each name that comes to the data gets a row, for ever,
 * with its number and what stored values depend on (data/form.c). When the data is opened, the application gets these numbers, and
 * one that would read what is stored as something else is refused. See docs/formats/rows.md and docs/guide/changing.md.
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "core/core_int.h"

#define SCOPE_BYTES_MAX 1024u

struct binding {
    struct engine *engine;
    struct shard *shard; /* of slot 0 */
    struct buf *changes;
    char *why;
    size_t why_bytes;
    bool failed;
};

/* The first thing that is wrong is said. */
__attribute__((format(printf, 2, 3))) static void wrong(struct binding *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!b->failed) vsnprintf(b->why, b->why_bytes, format, args);
    va_end(args);
    b->failed = true;
}

/* ---- rows of names ---- */

/* What the data knows of a name. */
struct name {
    struct buf key;
    uint32_t id; /* 0: nothing yet */
    uint8_t kind;
    struct weir_str form; /* empty: none was kept; points into the row */
};

static void scope_key(struct buf *key, const char *scope)
{
    buf_add_byte(key, ROW_CATALOG);
    buf_add_text(key, scope);
    buf_add_byte(key, '/');
}

static struct name name_find(struct binding *b, const char *scope, struct weir_str text)
{
    struct name name = { 0 };
    scope_key(&name.key, scope);
    buf_add_str(&name.key, text);
    const struct row *row = (struct row *)tree_find(&b->shard->rows, buf_str(&name.key));
    if (row == NULL) return name;
    struct reader reader = reader_of((struct weir_str){ row->value, row->value_len });
    name.id = (uint32_t)reader_varint(&reader);
    name.kind = reader_byte(&reader);
    name.form = (struct weir_str){ reader.at, (size_t)(reader.end - reader.at) };
    return name;
}

static void name_keep(struct binding *b, const struct name *name, uint32_t id, uint8_t kind,
                      struct weir_str form)
{
    struct buf value = { 0 };
    buf_add_varint(&value, id);
    buf_add_byte(&value, kind);
    buf_add_str(&value, form);
    row_set(b->shard, 0, buf_str(&name->key), buf_str(&value));
    store_change(b->changes, 0, buf_str(&name->key), buf_str(&value));
    buf_free(&value);
}

/* A name of a scope, its text in the row's key. */
struct name_row {
    struct weir_str text;
    uint32_t id;
};

/* The names of a scope one after the other; *at begins as NULL. */
static bool scope_next(struct binding *b, const char *scope, struct tree_item **at,
                       struct name_row *name)
{
    struct buf prefix = { 0 };
    scope_key(&prefix, scope);
    struct weir_str from = *at ? (*at)->key : buf_str(&prefix);
    *at = tree_seek(&b->shard->rows, from, *at != NULL);
    bool found = *at != NULL && (*at)->key.len >= prefix.len &&
                 memcmp((*at)->key.ptr, prefix.ptr, prefix.len) == 0;
    if (found) {
        const struct row *row = (struct row *)*at;
        struct reader reader = reader_of((struct weir_str){ row->value, row->value_len });
        name->text = (struct weir_str){ (*at)->key.ptr + prefix.len, (*at)->key.len - prefix.len };
        name->id = (uint32_t)reader_varint(&reader);
    }
    buf_free(&prefix);
    return found;
}

/* The largest number in a scope; 0: it has no names. */
static uint32_t scope_last(struct binding *b, const char *scope)
{
    struct tree_item *at = NULL;
    struct name_row name;
    uint32_t last = 0;
    while (scope_next(b, scope, &at, &name)) {
        if (name.id > last) last = name.id;
    }
    return last;
}

/* The name, whose key is to be freed; a new one gets a number above the scope's largest, and this form. */
static struct name name_bind(struct binding *b, const char *scope, struct weir_str text,
                             uint8_t kind, struct weir_str form)
{
    struct name name = name_find(b, scope, text);
    if (name.id == 0) {
        name.id = scope_last(b, scope) + 1;
        name.kind = kind;
        name.form = form;
        name_keep(b, &name, name.id, kind, form);
    } else if (name.kind != kind) {
        wrong(b, "`%s/%.*s` has another type than in the data; give it a new name", scope,
              STR_ARG(text));
    }
    return name;
}

/* The number of a name of which no more is kept. */
static uint32_t bind_name(struct binding *b, const char *scope, struct weir_str text, uint8_t kind)
{
    struct name name = name_bind(b, scope, text, kind, STR(""));
    buf_free(&name.key);
    return name.id;
}

/* A scope that has one name for ever. False: another one. */
static bool bind_only(struct binding *b, const char *scope, struct weir_str text)
{
    return bind_name(b, scope, text, 0) == 1;
}

/* ---- fields ---- */

static void bind_shape(struct binding *b, const char *scope, struct shape *shape);

/* A word is stored as its place: so those that the data has stay where they are. */
static void bind_words(struct binding *b, const char *scope, const struct weir_str *words,
                       uint32_t count)
{
    struct tree_item *at = NULL;
    struct name_row known;
    while (scope_next(b, scope, &at, &known)) {
        bool stays = known.id <= count && str_eq(words[known.id - 1], known.text);
        if (!stays)
            wrong(b, "`%.*s` is word %u of `%s` in the data and stays so; new words go to the end",
                  STR_ARG(known.text), known.id, scope);
    }
    for (uint32_t i = 0; i < count && !b->failed; i++)
        (void)bind_name(b, scope, words[i], WEIR_ENUM);
}

static void bind_field(struct binding *b, const char *scope, struct weir_str text, struct field *f)
{
    struct buf form = { 0 };
    const char *why;
    field_form(f, &form);
    f->base = NULL;
    struct name name = name_bind(b, scope, text, (uint8_t)f->kind, buf_str(&form));
    bool same = name.kind == (uint8_t)f->kind;
    if (same && name.form.len == 0) { /* an older version kept none */
        name_keep(b, &name, name.id, name.kind, buf_str(&form));
    } else if (same) {
        if (!field_form_fits(f, name.form, &why))
            wrong(b, "`%s/%.*s` %s; give it a new name", scope, STR_ARG(text), why);
        field_base(f, name.form, &b->engine->catalog->arena);
        struct buf grown = { 0 };
        field_form_grown(f, name.form, &grown);
        if (!str_eq(name.form, buf_str(&grown)))
            name_keep(b, &name, name.id, name.kind, buf_str(&grown));
        buf_free(&grown);
    }
    f->id = name.id;
    buf_free(&form);
    buf_free(&name.key);
    char inner[SCOPE_BYTES_MAX];
    snprintf(inner, sizeof(inner), "%s.%.*s", scope, STR_ARG(f->name));
    if (f->kind == WEIR_ENUM) bind_words(b, inner, f->words, f->word_count);
    if (f->shape != NULL) bind_shape(b, inner, (struct shape *)(uintptr_t)f->shape);
}

static void bind_shape(struct binding *b, const char *scope, struct shape *shape)
{
    struct tree_item *at = NULL;
    struct name_row first; /* of a scalar the only one */
    bool is_new = !scope_next(b, scope, &at, &first);
    if (!is_new && str_eq(first.text, STR("=")) != shape->scalar)
        wrong(b, "`%s` has another type than in the data; give it a new name", scope);
    for (uint32_t i = 0; i < shape->count; i++)
        bind_field(b, scope, shape->scalar ? STR("=") : shape->fields[i].name, &shape->fields[i]);
}

/* ---- keys ---- */

static void add_kind(struct buf *out, enum weir_kind kind, bool braced)
{
    static const char *const words[] = { "none", "int",  "float", "bool",   "text", "bytes",
                                         "time", "enum", "ref",   "record", "list", "any" };
    if (out->len > 0) buf_add_byte(out, ',');
    buf_add_text(out, braced ? "{" : "");
    buf_add_text(out, words[kind]);
    buf_add_text(out, braced ? "}" : "");
}

/* Where an entity lies, and what its key says: a plain key is as one of one text. */
static void bind_key(struct binding *b, const struct type *type)
{
    char scope[SCOPE_BYTES_MAX];
    struct buf form = { 0 };
    for (uint32_t i = 0; i < type->key.count; i++)
        add_kind(&form, type->key.part[i].kind, type->key.part[i].braced);
    if (type->key.count == 0) add_kind(&form, WEIR_TEXT, false);
    snprintf(scope, sizeof(scope), "key/%.*s", STR_ARG(type->name));
    if (!bind_only(b, scope, buf_str(&form)))
        wrong(b,
              "the key of `%.*s` has another form than in the data (now: %.*s); give the type a "
              "new name",
              STR_ARG(type->name), (int)form.len, form.ptr);
    buf_free(&form);
}

static void bind_map(struct binding *b, const struct type *type, struct map_def *map)
{
    char scope[SCOPE_BYTES_MAX];
    struct buf form = { 0 };
    snprintf(scope, sizeof(scope), "map/%.*s", STR_ARG(type->name));
    map->id = (uint16_t)bind_name(b, scope, map->name, 0);
    for (uint32_t i = 0; i < map->key_count; i++) add_kind(&form, map->key[i], false);
    snprintf(scope, sizeof(scope), "mapkey/%.*s/%.*s", STR_ARG(type->name), STR_ARG(map->name));
    if (!bind_only(b, scope, buf_str(&form)))
        wrong(b,
              "the key of the map `%.*s.%.*s` has other parts than in the data (now: %.*s); give "
              "the map a new name",
              STR_ARG(type->name), STR_ARG(map->name), (int)form.len, form.ptr);
    buf_free(&form);
    for (uint32_t i = 0; i < map->key_count; i++) {
        if (map->key[i] != WEIR_ENUM) continue;
        snprintf(scope, sizeof(scope), "mapkey/%.*s/%.*s.%u", STR_ARG(type->name),
                 STR_ARG(map->name), i + 1);
        bind_words(b, scope, map->key_words[i], map->key_word_count[i]);
    }
    snprintf(scope, sizeof(scope), "maprow/%.*s/%.*s", STR_ARG(type->name), STR_ARG(map->name));
    bind_shape(b, scope, map->value);
}

/* ---- handlers ---- */

/* What waits for a handler with arguments that were packed before: NULL, or what that is. */
static const char *waits_for(const struct row *row, uint16_t type_id, struct weir_str handler)
{
    struct weir_str key = row->item.key, value = { row->value, row->value_len };
    struct weir_str entity, name, args;
    uint16_t id;
    struct message_parts message;
    switch (key.ptr[0]) {
    case ROW_MESSAGE:
        if (!message_parts(key, value, &message)) return NULL;
        id = message.to_type;
        name = message.handler;
        break;
    case ROW_TIMER:
        if (!timer_parts(key, &id, &entity, &name, &args)) return NULL;
        break;
    case ROW_ASK:
        if (!ask_handler(row, &id, &name)) return NULL;
        break;
    default: return NULL;
    }
    if (id != type_id || !str_eq(name, handler)) return NULL;
    return key.ptr[0] == ROW_MESSAGE ? "a message"
           : key.ptr[0] == ROW_TIMER ? "a timer"
                                     : "an answer";
}

static const char *anything_waits_for(const struct engine *engine, const struct handler *handler)
{
    static const enum row_kind kinds[] = { ROW_ASK, ROW_MESSAGE, ROW_TIMER };
    const char *what = NULL;
    for (uint32_t n = 0; n < engine->shard_count; n++) {
        const struct tree *rows = &engine->shards[n].rows;
        for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
            char kind = (char)kinds[k];
            for (struct tree_item *i = tree_seek(rows, (struct weir_str){ &kind, 1 }, false);
                 i != NULL && i->key.ptr[0] == kind && what == NULL;
                 i = tree_seek(rows, i->key, true))
                what = waits_for((struct row *)i, handler->type->id, handler->name);
        }
    }
    return what;
}

/* Parameters may change as long as nothing waits that has the old ones. */
static void bind_args(struct binding *b, const struct handler *handler)
{
    char scope[SCOPE_BYTES_MAX];
    snprintf(scope, sizeof(scope), "args/%.*s", STR_ARG(handler->type->name));
    struct buf form = { 0 };
    args_form(handler->args, &form);
    struct name name = name_bind(b, scope, handler->name, 0, buf_str(&form));
    if (!args_form_takes(handler->args, name.form)) {
        const char *what = anything_waits_for(b->engine, handler);
        if (what != NULL)
            wrong(b,
                  "%s waits in the data for `%.*s:%.*s`, which takes other parameters now; keep "
                  "them, and give a handler with the new ones a new name",
                  what, STR_ARG(handler->type->name), STR_ARG(handler->name));
    }
    if (!str_eq(name.form, buf_str(&form))) name_keep(b, &name, name.id, 0, buf_str(&form));
    buf_free(&form);
    buf_free(&name.key);
}

/* A result that is kept for a repeat is known by the number of its form. */
static void bind_result(struct binding *b, struct handler *handler)
{
    char scope[SCOPE_BYTES_MAX], text[24];
    struct buf form = { 0 };
    result_form(handler->result, &form);
    snprintf(scope, sizeof(scope), "result/%.*s/%.*s", STR_ARG(handler->type->name),
             STR_ARG(handler->name));
    snprintf(text, sizeof(text), "%016llx", (unsigned long long)hash64(0, form.ptr, form.len));
    handler->result_number = bind_name(b, scope, str_of(text), 0);
    buf_free(&form);
}

static void bind_type(struct binding *b, struct type *type)
{
    struct catalog *catalog = b->engine->catalog;
    char scope[SCOPE_BYTES_MAX];
    type->id = (uint16_t)bind_name(b, "type", type->name, type->service);
    while (type->id >= catalog->by_id_count) {
        catalog->by_id = mem_realloc(catalog->by_id,
                                     (catalog->by_id_count + 1) * sizeof(struct type *));
        catalog->by_id[catalog->by_id_count++] = NULL;
    }
    catalog->by_id[type->id] = type;
    snprintf(scope, sizeof(scope), "row/%.*s", STR_ARG(type->name));
    bind_shape(b, scope, type->row);
    if (!type->service) bind_key(b, type);
    for (uint32_t m = 0; m < type->map_count; m++) bind_map(b, type, &type->maps[m]);
    for (uint32_t h = 0; h < type->handler_count && !type->builtin; h++) {
        if (type->handlers[h]->hidden || type->handlers[h]->kind == WEIR_QUERY) continue;
        bind_args(b, type->handlers[h]);
        bind_result(b, type->handlers[h]);
    }
}

/* ---- streams and what reads them ---- */

static void bind_follower(struct binding *b, struct follower *follower)
{
    char name[2 * CATALOG_NAME_BYTES_MAX + 10];
    snprintf(name, sizeof(name), "%.*s/%.*s%s", STR_ARG(follower->type->name),
             STR_ARG(follower->stream->name),
             follower->derived == NULL ? ""
             : follower->side          ? "/right"
                                       : "/left");
    size_t before = b->changes->len;
    follower->id = (uint16_t)bind_name(b, "follow", str_of(name), 0);
    if (follower->handler != NULL) /* messages made of the event outlive a change */
        numbers_take((struct shape *)(uintptr_t)follower->handler->args->fields[0].shape,
                     follower->stream->event);
    if (b->changes->len != before) follow_begin(b->engine, follower, b->changes);
}

/* Open windows are rows of what was computed so far: what is computed may not change under them. */
static void bind_derived(struct binding *b, struct derived *derived)
{
    char scope[CATALOG_NAME_BYTES_MAX + 16];
    derived->id = (uint16_t)bind_name(b, "derived", derived->name, 0);
    snprintf(scope, sizeof(scope), "derived/%.*s", STR_ARG(derived->name));
    if (!bind_only(b, scope, derived->text))
        wrong(b, "`%.*s` computes something else than in the data (now: %.*s); give it a new name",
              STR_ARG(derived->name), STR_ARG(derived->text));
    derived_bind(derived);
}

/* ---- all of it ---- */

static void partner_find(const struct catalog *catalog, struct handler *handler)
{
    const struct shape *args = handler->args;
    for (uint32_t i = 0; i < args->count && handler->partner == NULL; i++) {
        if (args->fields[i].kind != WEIR_REF) continue;
        const struct type *type = catalog_type(catalog, args->fields[i].type);
        if (type == NULL || type->service) continue;
        handler->partner = &args->fields[i];
        handler->partner_type = type;
    }
}

/* What rows, calls and events are made of, now that all is numbered. */
static void plan_shapes(struct catalog *catalog)
{
    struct arena *arena = &catalog->arena;
    for (uint32_t i = 0; i < catalog->type_count; i++) {
        struct type *type = catalog->types[i];
        shape_plan(arena, type->row);
        for (uint32_t m = 0; m < type->map_count; m++) shape_plan(arena, type->maps[m].value);
        for (uint32_t h = 0; h < type->handler_count; h++) {
            partner_find(catalog, type->handlers[h]);
            shape_plan(arena, type->handlers[h]->args);
            shape_plan(arena, type->handlers[h]->result);
        }
    }
    for (uint32_t i = 0; i < catalog->stream_count; i++)
        shape_plan(arena, catalog->streams[i]->event);
}

bool catalog_bind(struct engine *engine, struct buf *changes, char *why, size_t why_bytes)
{
    struct binding b = { engine, &engine->shards[slot_shard(engine, 0)], changes, why, why_bytes,
                         false };
    struct catalog *catalog = engine->catalog;
    mem_free(catalog->by_id);
    catalog->by_id = NULL;
    catalog->by_id_count = 0;
    for (uint32_t i = 0; i < catalog->type_count; i++) bind_type(&b, catalog->types[i]);
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        struct stream *stream = catalog->streams[i];
        char scope[256];
        stream->id = (uint16_t)bind_name(&b, "stream", stream->name, 0);
        snprintf(scope, sizeof(scope), "event/%.*s", STR_ARG(stream->name));
        bind_shape(&b, scope, stream->event);
    }
    for (uint32_t i = 0; i < catalog->derived_count; i++) bind_derived(&b, catalog->deriveds[i]);
    for (uint32_t i = 0; i < catalog->follower_count; i++) bind_follower(&b, catalog->followers[i]);
    plan_shapes(catalog);
    return !b.failed;
}
