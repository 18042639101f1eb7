/*
 * ctx.c - what a running handler asks of the engine, beside calls: failing, time, timers, its own entity.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/status.h"
#include "core/core_int.h"

/* ---- failing ---- */

/* An application that fails with one of the engine's words gets its status. */
static enum weir_status status_of_word(const char *code)
{
    static const enum weir_status words[] = {
#define X(name, number, word, http, text) WEIR_##name,
        WEIR_STATUS_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        bool public = words[i] != WEIR_OK && words[i] < WEIR_ABORTED && words[i] != WEIR_FAILED;
        if (public && strcmp(weir_status_word(words[i]), code) == 0) return words[i];
    }
    return WEIR_FAILED;
}

enum weir_status weir_fail_json(struct weir_ctx *f, const char *code, struct weir_str json)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    if (word_is_engines(code))
        return ctx_fail(
            f, WEIR_HANDLER,
            "weir_fail: `%s` is the engine's own word, which says what only the engine knows",
            code);
    enum weir_status status = status_of_word(code);
    return ctx_fail_json(f, status, status == WEIR_FAILED ? str_of(code) : STR(""), json);
}

enum weir_status weir_fail(struct weir_ctx *f, const char *code, struct weir_str detail)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    if (detail.ptr == NULL) return weir_fail_json(f, code, STR_NIL);
    struct buf json = { 0 };
    json_write_text(&json, detail);
    enum weir_status st = weir_fail_json(f, code, buf_str(&json));
    buf_free(&json);
    return st;
}

enum weir_status weir_failed(struct weir_ctx *f)
{
    return frame_is_doomed(f) ? frame_doom(f) : WEIR_OK;
}

/* ---- small things ---- */

struct weir_str weir_self(struct weir_ctx *f)
{
    return entity_key(f->entity);
}

int64_t weir_now(struct weir_ctx *f)
{
    return f->txn->now_ms;
}

uint64_t weir_random(struct weir_ctx *f)
{
    struct env *env = f->txn->shard->env;
    return env->random(env);
}

struct weir_str weir_id(struct weir_ctx *f)
{
    char *id = arena_alloc(&f->txn->arena, 26);
    id_make(f->txn->shard->env, id);
    return (struct weir_str){ id, 26 };
}

struct weir_str weir_caller(struct weir_ctx *f)
{
    return f->txn->caller;
}

struct weir_str ctx_roles(struct weir_ctx *f)
{
    return f->txn->roles;
}

bool weir_caller_has(struct weir_ctx *f, const char *role)
{
    return roles_hold(ctx_roles(f), str_of(role));
}

void *weir_scratch(struct weir_ctx *f, size_t bytes)
{
    return arena_alloc(&f->txn->arena, bytes);
}

void weir_trace(struct weir_ctx *f, const char *text)
{
    struct buf *trace = &f->txn->trace;
    if (trace->len > 65536) return;
    if (trace->len > 0) buf_add_byte(trace, ',');
    else
        buf_printf(trace, "\"event\":\"app\",\"request\":\"%.*s\",\"handler\":\"%.*s:%.*s\",",
                   STR_ARG(txn_name(f->txn)), STR_ARG(f->handler->type->name),
                   STR_ARG(f->handler->name));
    buf_printf(trace, "\"text\":");
    json_write_text(trace, str_of(text));
}

bool weir_exists(struct weir_ctx *f, const char *type_name, struct weir_ref ref)
{
    struct engine *engine = f->txn->shard->engine;
    struct type *type = catalog_type(engine->catalog, str_of(type_name));
    if (type == NULL || type->service) {
        ctx_fail(f, WEIR_NOTYPE, "weir_exists: there is no type `%s`", type_name);
        return false;
    }
    bool exists = false;
    const struct handler *query = engine->exists_queries[type->id];
    return ctx_call(f, query, ref.key, NULL, &exists) == WEIR_OK && exists;
}

static bool may_write(struct weir_ctx *f, const char *what)
{
    if (frame_is_doomed(f)) return false;
    if (f->read_only) {
        ctx_fail(f, WEIR_HANDLER, "the query `%.*s` %s", STR_ARG(f->handler->name), what);
        return false;
    }
    if (f->handler->type->service) {
        ctx_fail(f, WEIR_HANDLER, "the service handler `%.*s` has no entity: it %s",
                 STR_ARG(f->handler->name), what);
        return false;
    }
    return true;
}

enum weir_status weir_delete(struct weir_ctx *f)
{
    if (!may_write(f, "deletes")) return frame_doom(f);
    access_erase(f);
    return weir_failed(f);
}

void *weir_list_add(struct weir_ctx *f, struct weir_list *list, const struct weir_shape *element)
{
    struct txn *t = f->txn;
    size_t size = element->size;
    struct shape *shape = NULL;
    const char *why = NULL;
    bool good = shape_of(&t->arena, element, &shape, &why);
    if (good) size = shape->size;
    void *scratch = arena_alloc(&t->arena, size + 8u);
    if (!good || frame_is_doomed(f)) return scratch;
    if (list->count >= SHAPE_LIST_MAX) {
        ctx_fail(f, WEIR_BUDGET, "a list of more than %u elements", SHAPE_LIST_MAX);
        return scratch;
    }
    if (t->list_items == NULL || t->list_items != list->items || list->count >= t->list_room) {
        size_t room = list->count < 8 ? 16 : list->count * 2;
        char *items = arena_alloc(&t->arena, room * size);
        if (list->count > 0) memcpy(items, list->items, list->count * size);
        list->items = items;
        t->list_items = items;
        t->list_room = room;
    }
    void *place = (char *)list->items + list->count++ * size;
    shape_start(shape, place);
    return place;
}

/* ---- timers ---- */

static void timer_key(struct buf *out, struct weir_ctx *f, const struct handler *handler)
{
    key_owned(out, ROW_TIMER, f->entity->type_id, entity_key(f->entity));
    buf_add_byte(out, (uint8_t)handler->name.len);
    buf_add_str(out, handler->name);
}

enum weir_status ctx_timer(struct weir_ctx *f, const struct handler *handler, int64_t time_ms,
                           const void *args)
{
    if (!may_write(f, "sets a timer")) return frame_doom(f);
    struct txn *t = f->txn;
    const struct engine_limits *limits = &t->shard->engine->limits;
    struct problem problem = { 0 };
    if (handler->args->count > 0 &&
        (args == NULL || shape_judge(handler->args, args, false, &problem) != WEIR_OK))
        return ctx_fail(f, WEIR_ARG, "a timer for %.*s: %s", STR_ARG(handler->name),
                        args ? problem.text : "its arguments are missing");
    if (time_ms > WEIR_INT_MAX || time_ms < -WEIR_INT_MAX)
        return ctx_fail(f, WEIR_RANGE, "a timer's time is out of range");
    struct buf key = { 0 }, value = { 0 };
    timer_key(&key, f, handler);
    pack(handler->args, args, &key);
    timer_value(&value, time_ms, false, STR(""));
    struct overlay *o = overlay_get(t, f->access, buf_str(&key));
    uint64_t timers = t->shard->timer_count + (uint64_t)t->timers_more;
    if (o != NULL && !o->present && timers >= limits->timers_max) {
        MARK("limit: timers_max");
        ctx_fail(f, WEIR_OVERLOADED, "more than timers_max = %llu timers on a shard",
                 (unsigned long long)limits->timers_max);
    } else if (o != NULL) {
        t->timers_more += !o->present;
        o->present = true;
        o->changed = true;
        o->packed = arena_copy(&t->arena, buf_str(&value));
        t->bytes_written += key.len + value.len;
    }
    buf_free(&key);
    buf_free(&value);
    return weir_failed(f);
}

enum weir_status ctx_timer_cancel(struct weir_ctx *f, const struct handler *handler,
                                  const void *args)
{
    if (!may_write(f, "cancels a timer")) return frame_doom(f);
    struct buf key = { 0 };
    timer_key(&key, f, handler);
    if (args != NULL) pack(handler->args, args, &key);
    struct weir_str at = buf_str(&key);
    bool after = false;
    for (;;) {
        struct overlay *o = overlay_next(f->txn, f->access, buf_str(&key), at, after);
        if (o == NULL) break;
        if (args == NULL || str_eq(o->item.key, buf_str(&key))) {
            f->txn->timers_more--; /* overlay_next() gives what is present */
            o->present = false;
            o->changed = true;
        }
        at = o->item.key;
        after = true;
    }
    buf_free(&key);
    return weir_failed(f);
}

static const struct handler *own_handler(struct weir_ctx *f, const char *name)
{
    const struct handler *handler = type_handler(f->handler->type, str_of(name));
    if (handler == NULL)
        ctx_fail(f, WEIR_HANDLER, "a timer names no handler of this type: `%s`", name);
    return handler;
}

enum weir_status weir_at(struct weir_ctx *f, int64_t time_ms, const char *name, const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    const struct handler *handler = own_handler(f, name);
    if (handler == NULL) return weir_failed(f);
    if (handler->kind == WEIR_QUERY)
        return ctx_fail(f, WEIR_HANDLER, "a timer to %s does nothing, as that is a query", name);
    return ctx_timer(f, handler, time_ms, args);
}

enum weir_status weir_after(struct weir_ctx *f, int64_t delay_ms, const char *name,
                            const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    if (delay_ms < 0 || delay_ms > WEIR_INT_MAX / 2)
        return ctx_fail(f, WEIR_RANGE, "a timer's delay is out of range");
    return weir_at(f, f->txn->now_ms + delay_ms, name, args);
}

enum weir_status weir_cancel(struct weir_ctx *f, const char *name, const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    const struct handler *handler = own_handler(f, name);
    return handler ? ctx_timer_cancel(f, handler, args) : weir_failed(f);
}
