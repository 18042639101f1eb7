/*
 * builtin.c - queries that every type has: its row and its maps as JSON, and whether it exists.
 *
 * They run as any query does, under the entity's lock and with the same wait for what they read.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/core_int.h"

#define MAP_LIMIT_DEFAULT 100
#define MAP_LIMIT_MAX 1000

static enum weir_status not_found(struct weir_ctx *f)
{
    return ctx_fail(f, WEIR_NOTFOUND, "%.*s `%.*s` has no row", STR_ARG(f->access->type->name),
                    STR_ARG(entity_key(f->entity)));
}

static enum weir_status query_exists(struct weir_ctx *f, void *row, const void *args, void *result)
{
    *(bool *)result = f->access->exists;
    return WEIR_OK;
}

static enum weir_status query_row(struct weir_ctx *f, void *row, const void *args, void *result)
{
    if (!f->access->exists) return not_found(f);
    struct buf json = { 0 };
    json_write(f->access->type->row, row, &json);
    *(struct weir_str *)result = arena_copy(&f->txn->arena, buf_str(&json));
    buf_free(&json);
    return WEIR_OK;
}

/* ---- maps ---- */

static struct shape *key_shape(struct arena *arena, const struct map_def *map)
{
    struct shape *shape = arena_alloc(arena, sizeof(*shape));
    shape->fields = arena_alloc(arena, WEIR_KEY_PARTS_MAX * sizeof(struct field));
    shape->count = map->key_count;
    static const char *const names[] = { "k1", "k2", "k3", "k4" };
    for (uint32_t i = 0; i < map->key_count; i++) {
        shape->fields[i].name = map->key_count == 1 ? STR("key") : str_of(names[i]);
        shape->fields[i].kind = map->key[i];
        shape->fields[i].type = map->key_type[i];
        shape->fields[i].words = map->key_words[i];
        shape->fields[i].word_count = map->key_word_count[i];
        shape->fields[i].id = i + 1;
    }
    shape_layout(shape);
    return shape;
}

static bool read_bound(struct weir_ctx *f, const struct map_def *map, struct weir_str json,
                       struct weir_key *key)
{
    if (json.ptr == NULL || json.len == 0) return true;
    struct arena *arena = &f->txn->arena;
    struct shape *shape = key_shape(arena, map);
    struct problem problem = { 0 };
    struct weir_str list = json.ptr[0] == '[' ? json : arena_printf(arena, "[%.*s]", STR_ARG(json));
    /* A prefix of the parts may be given: try with as many as the array has. */
    for (uint32_t count = map->key_count; count > 0; count--) {
        shape->count = count;
        void *value = arena_alloc(arena, shape->size + 8u);
        if (json_read_args(shape, list, arena, value, &problem) != WEIR_OK) continue;
        key->count = count;
        for (uint32_t i = 0; i < count; i++) {
            const char *at = (const char *)value + shape->fields[i].offset;
            struct weir_part *part = &key->part[i];
            part->kind = map->key[i];
            if (map->key[i] == WEIR_TEXT || map->key[i] == WEIR_REF)
                part->text = *(const struct weir_str *)(const void *)at;
            else if (map->key[i] == WEIR_BOOL) part->n = *(const bool *)at;
            else part->n = *(const int64_t *)(const void *)at;
        }
        return true;
    }
    ctx_fail(f, WEIR_ARG, "from or to is not a key of the map `%.*s`: %s", STR_ARG(map->name),
             problem.text);
    return false;
}

static void write_key(struct weir_ctx *f, const struct map_def *map, const struct shape *shape,
                      const struct weir_key *key, struct buf *json)
{
    void *value = arena_alloc(&f->txn->arena, shape->size + 8u);
    for (uint32_t i = 0; i < map->key_count; i++) {
        char *at = (char *)value + shape->fields[i].offset;
        if (map->key[i] == WEIR_TEXT || map->key[i] == WEIR_REF)
            *(struct weir_str *)(void *)at = key->part[i].text;
        else if (map->key[i] == WEIR_BOOL) *(bool *)at = key->part[i].n != 0;
        else *(int64_t *)(void *)at = key->part[i].n;
    }
    json_write(shape, value, json);
}

static enum weir_status query_map(struct weir_ctx *f, void *row, const void *args, void *result)
{
    const struct map_query *in = args;
    struct type *type = f->access->type;
    if (in->map < 0 || in->map >= type->map_count) return ctx_fail(f, WEIR_ARG, "no such map");
    if (!f->access->exists) return not_found(f);
    if (in->limit < 0 || in->limit > MAP_LIMIT_MAX)
        return ctx_fail(f, WEIR_ARG, "limit must be 1 to %d", MAP_LIMIT_MAX);
    const struct map_def *map = &type->maps[in->map];
    struct weir_scan scan = { .reverse = in->reverse,
                              .limit = in->limit ? in->limit : MAP_LIMIT_DEFAULT };
    if (!read_bound(f, map, in->from, &scan.from) || !read_bound(f, map, in->to, &scan.to))
        return weir_failed(f);
    struct shape *shape = key_shape(&f->txn->arena, map);
    struct buf json = { 0 };
    struct weir_key key;
    void *value;
    buf_add_byte(&json, '[');
    while (weir_map_next(f, (int)in->map, &scan, &key, &value)) {
        if (json.len > 1) buf_add_byte(&json, ',');
        buf_add_text(&json, "{\"key\":");
        struct buf part = { 0 };
        write_key(f, map, shape, &key, &part);
        /* One part is written bare, several as the object of them. */
        if (map->key_count == 1) buf_add(&json, part.ptr + 7, part.len - 8);
        else buf_add_str(&json, buf_str(&part));
        buf_free(&part);
        buf_add_text(&json, ",\"value\":");
        json_write(map->value, value, &json);
        buf_add_byte(&json, '}');
    }
    buf_add_byte(&json, ']');
    *(struct weir_str *)result = arena_copy(&f->txn->arena, buf_str(&json));
    buf_free(&json);
    return weir_failed(f);
}

/* ---- one handler of each for every type ---- */

static const struct weir_field map_query_fields[] = {
    WEIR_FIELD(struct map_query, map, WEIR_INT),
    WEIR_FIELD(struct map_query, from, WEIR_ANY, .optional = true),
    WEIR_FIELD(struct map_query, to, WEIR_ANY, .optional = true),
    WEIR_FIELD(struct map_query, limit, WEIR_INT),
    WEIR_FIELD(struct map_query, reverse, WEIR_BOOL),
    WEIR_END
};
/* Never run: what a request that waits for a deferred answer has for its handler. */
static enum weir_status query_wait(struct weir_ctx *f, void *row, const void *args, void *result)
{
    return ctx_fail(f, WEIR_NOHANDLER, "no handler");
}

static const struct weir_shape nothing = WEIR_NOTHING,
                               any = WEIR_SCALAR(WEIR_ANY, .optional = true),
                               boolean = WEIR_SCALAR(WEIR_BOOL),
                               map_args = WEIR_SHAPE(struct map_query, map_query_fields);

static struct handler *make(struct engine *engine, struct type *type, const char *name,
                            weir_handler_fn *fn, const struct weir_shape *args,
                            const struct weir_shape *result)
{
    struct arena *arena = &engine->catalog->arena;
    struct handler *h = arena_alloc(arena, sizeof(*h));
    const char *why = NULL;
    h->name = str_of(name);
    h->kind = WEIR_QUERY;
    h->fn = fn;
    h->type = type;
    h->runtime = &native_runtime;
    h->builtin = true;
    ASSERT(shape_of(arena, args, &h->args, &why));
    ASSERT(shape_of(arena, result, &h->result, &why));
    for (uint32_t i = 0; i < h->args->count; i++) h->args->fields[i].id = i + 1;
    for (uint32_t i = 0; i < h->result->count; i++) h->result->fields[i].id = i + 1;
    return h;
}

void builtin_make(struct engine *engine)
{
    size_t count = engine->catalog->by_id_count;
    engine->row_queries = mem_alloc(count * sizeof(struct handler *));
    engine->map_queries = mem_alloc(count * sizeof(struct handler *));
    engine->ask_reports = mem_alloc(count * sizeof(struct handler *));
    engine->exists_queries = mem_alloc(count * sizeof(struct handler *));
    engine->wait_query = make(engine, engine->catalog->answers, "wait", query_wait, &nothing, &any);
    for (uint32_t i = 0; i < count; i++) {
        struct type *type = engine->catalog->by_id[i];
        if (type == NULL || type->service) continue;
        engine->row_queries[i] = make(engine, type, "row", query_row, &nothing, &any);
        engine->map_queries[i] = make(engine, type, "map", query_map, &map_args, &any);
        engine->ask_reports[i] = make(engine, type, "answered", ask_reported, &ask_report_shape,
                                      &nothing);
        engine->ask_reports[i]->kind = WEIR_ON;
        engine->exists_queries[i] = make(engine, type, "exists", query_exists, &nothing, &boolean);
    }
}

const struct handler *engine_wait_query(struct engine *engine)
{
    return engine->wait_query;
}

void builtin_free(struct engine *engine)
{
    mem_free(engine->row_queries);
    mem_free(engine->map_queries);
    mem_free(engine->exists_queries);
    mem_free(engine->ask_reports);
}

const struct handler *engine_row_query(struct engine *engine, const struct type *type)
{
    return engine->row_queries[type->id];
}

const struct handler *engine_map_query(struct engine *engine, const struct type *type)
{
    return engine->map_queries[type->id];
}
