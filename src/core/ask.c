/*
 * ask.c - asking outside: rows until answered; see ask.h.
 *
 * Row: 'A', its entity, commit epoch, n; value: flags, then texts. A webhook (no handler waits) that was given up is
 * parked like a message: its row is marked, and a person sends it again or drops it.
 * SPDX-License-Identifier: MIT
 */
#include "core/ask.h"

#include <stdio.h>
#include <strings.h>

#include "core/core_int.h"

struct ask_parts {
    bool failed;
    struct weir_str outside, line, body, handler, args, error;
    struct weir_str reply; /* at the end, if there is one */
    int64_t made_ms;
};

static void add_text(struct buf *out, struct weir_str text)
{
    buf_add_varint(out, text.len);
    buf_add_str(out, text);
}

static void ask_value(struct buf *out, const struct ask_parts *p)
{
    char time[8];
    buf_add_byte(out, p->failed);
    store_le64(time, (uint64_t)p->made_ms);
    buf_add(out, time, 8);
    add_text(out, p->outside);
    add_text(out, p->line);
    add_text(out, p->body);
    add_text(out, p->handler);
    add_text(out, p->args);
    add_text(out, p->error);
    if (p->reply.len > 0) add_text(out, p->reply);
}

static bool ask_parts(struct weir_str value, struct ask_parts *p)
{
    struct reader reader = reader_of(value);
    *p = (struct ask_parts){ .failed = reader_byte(&reader) != 0 };
    struct weir_str time = reader_bytes(&reader, 8);
    if (reader.failed) return false;
    p->made_ms = (int64_t)load_le64(time.ptr);
    struct weir_str *const texts[] = { &p->outside, &p->line, &p->body,
                                       &p->handler, &p->args, &p->error };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = reader_bytes(&reader, reader_varint(&reader));
    if (!reader.failed && reader.at < reader.end)
        p->reply = reader_bytes(&reader, reader_varint(&reader));
    return !reader.failed;
}

static struct weir_str row_value(const struct row *row)
{
    return (struct weir_str){ row->value, row->value_len };
}

/* ---- declaring ---- */

bool ask_takes_answer(const struct handler *handler)
{
    if (handler->kind == WEIR_QUERY || handler->args->count == 0) return false;
    const struct field *first = &handler->args->fields[0];
    return first->kind == WEIR_RECORD && first->shape->count == 4 &&
           str_eq(first->shape->fields[0].name, STR("body")) &&
           str_eq(first->shape->fields[2].name, STR("outcome"));
}

/* ---- asking ---- */

/* "." or "..", also as %2e. */
static bool is_dots(const char *at, const char *end)
{
    unsigned dots = 0;
    for (; at < end; dots++) {
        if (*at == '.') at++;
        else if (end - at >= 3 && strncasecmp(at, "%2e", 3) == 0) at += 3;
        else return false;
    }
    return dots == 1 || dots == 2;
}

static bool path_is_good(struct weir_str path)
{
    if (path.len == 0 || path.ptr[0] != '/') return false;
    const char *end = path.ptr + path.len, *query = memchr(path.ptr, '?', path.len);
    for (const char *at = path.ptr; at < end; at++)
        if (*at <= ' ' || *at > '~' || *at == '#' || *at == '\\') return false;
    if (query != NULL) end = query;
    for (const char *at = path.ptr + 1, *slash; at < end; at = slash + 1) {
        slash = memchr(at, '/', (size_t)(end - at));
        if (slash == NULL) slash = end;
        if (is_dots(at, slash)) return false;
    }
    return true;
}

/* What can never be sent is no "unknown" of a service that nobody asked: the transaction hears of it. */
static enum weir_status line_judge(struct weir_ctx *f, const struct outside_def *outside,
                                   struct weir_str line, struct weir_str body)
{
    const char *blank = memchr(line.ptr, ' ', line.len);
    size_t method = blank ? (size_t)(blank - line.ptr) : line.len;
    struct weir_str path = { line.ptr + method + 1, blank ? line.len - method - 1 : 0 };
    if (outside->url.len + path.len > ASK_URL_BYTES_MAX)
        return ctx_fail(f, WEIR_BUDGET,
                        "the address of a request outside has %zu bytes, at most %u",
                        outside->url.len + path.len, ASK_URL_BYTES_MAX);
    if (!path_is_good(path))
        return ctx_fail(f, WEIR_ARG,
                        "the path of a request outside begins with / and is ASCII, without blanks, "
                        "#, \\ and segments . or ..: encode them as %%20");
    if (body.len > 0 && str_eq((struct weir_str){ line.ptr, method }, STR("HEAD")))
        return ctx_fail(f, WEIR_ARG, "a HEAD request has no body");
    return WEIR_OK;
}

enum weir_status ctx_ask(struct weir_ctx *f, const struct outside_def *outside,
                         struct weir_str line, struct weir_str body, const struct handler *handler,
                         const void *args)
{
    struct txn *t = f->txn;
    const struct engine_limits *limits = &t->shard->engine->limits;
    if (weir_failed(f) != WEIR_OK) return weir_failed(f);
    if (f->read_only || f->handler->type->service)
        return ctx_fail(f, WEIR_HANDLER,
                        "%.*s asks outside: only a handler of an entity that writes may",
                        STR_ARG(f->handler->name));
    if (handler != NULL && !ask_takes_answer(handler))
        return ctx_fail(f, WEIR_HANDLER,
                        "%.*s takes no answer: its first parameter is a weir.answer",
                        STR_ARG(handler->name));
    if (line.len + body.len > limits->ask_bytes_max)
        return ctx_fail(f, WEIR_BUDGET,
                        "a request outside of %zu bytes is above ask_bytes_max = %llu",
                        line.len + body.len, (unsigned long long)limits->ask_bytes_max);
    if (line_judge(f, outside, line, body) != WEIR_OK) return weir_failed(f);
    if (t->ask_count >= limits->asks_max)
        return ctx_fail(f, WEIR_BUDGET,
                        "a transaction asks outside more than asks_max = %llu times",
                        (unsigned long long)limits->asks_max);
    t->bytes_written += line.len + body.len;
    if (t->bytes_written > limits->txn_bytes_max)
        return ctx_fail(f, WEIR_BUDGET, "a transaction writes more than txn_bytes_max = %llu bytes",
                        (unsigned long long)limits->txn_bytes_max);
    if (!effect_in_turn(f)) return weir_failed(f);
    struct ask_parts parts = { .outside = outside->name,
                               .line = line,
                               .body = body,
                               .handler = handler ? handler->name : STR(""),
                               .made_ms = t->now_ms };
    struct buf packed = { 0 }, value = { 0 };
    if (handler != NULL) pack(handler->args, args, &packed);
    parts.args = buf_str(&packed);
    ask_value(&value, &parts);
    struct asked *asked = arena_alloc(&t->arena, sizeof(*asked));
    asked->entity = f->entity;
    asked->value = arena_copy(&t->arena, buf_str(&value));
    buf_free(&packed);
    buf_free(&value);
    *t->asks_tail = asked;
    t->asks_tail = &asked->next;
    t->ask_count++;
    f->last = ticket_make(t, handler, true, t->ask_count);
    return WEIR_OK;
}

enum weir_status weir_ask(struct weir_ctx *f, const struct weir_outside *outside, const char *line,
                          struct weir_str body, const char *name, const void *args)
{
    if (weir_failed(f) != WEIR_OK) return weir_failed(f);
    const struct handler *handler = name ? type_handler(f->handler->type, str_of(name)) : NULL;
    if (outside->place == NULL || (name != NULL && handler == NULL))
        return ctx_fail(f, WEIR_HANDLER, "weir_ask: there is no such outside, or no handler `%s`",
                        name ? name : "");
    if (body.len > 0 && !json_is_valid(body))
        return ctx_fail(f, WEIR_ARG, "weir_ask: the body is no JSON");
    return ctx_ask(f, outside->place, str_of(line), body, handler, args);
}

static void add_be64(struct buf *out, uint64_t n)
{
    for (int i = 7; i >= 0; i--) buf_add_byte(out, (uint8_t)(n >> (8 * i)));
}

void asks_apply(struct txn *t, uint64_t epoch, uint64_t clock)
{
    struct shard *s = t->shard;
    uint32_t place = 0;
    struct buf key = { 0 }, value = { 0 };
    for (struct asked *asked = t->asks; asked != NULL; asked = asked->next) {
        struct entity *e = asked->entity;
        buf_reset(&value);
        buf_add_str(&value, asked->value);
        if (asked->reply.len > 0) add_text(&value, asked->reply);
        buf_reset(&key);
        key_owned(&key, ROW_ASK, e->type_id, entity_key(e));
        add_be64(&key, epoch);
        add_be64(&key, event_n(clock, t->id % ENGINE_SHARDS_MAX, s->index, place++));
        struct row *row = row_set(s, e->slot, buf_str(&key), buf_str(&value));
        effect_put(s, epoch, e->slot, buf_str(&key), buf_str(&value));
        e->version = epoch;
        ask_index(s, row, epoch);
    }
    buf_free(&key);
    buf_free(&value);
}

/* ---- giving out ---- */

/* A row that is to be sent, or parked: after it was made, at recovery, and when a person decided. */
void ask_index(struct shard *s, struct row *row, uint64_t epoch)
{
    struct engine *engine = s->engine;
    struct ask_parts p;
    uint16_t type_id;
    struct weir_str entity, rest;
    if (!ask_parts(row_value(row), &p) ||
        !key_owned_parse(row->item.key, &type_id, &entity, &rest) || rest.len != 16)
        return;
    if (p.failed) {
        MARK("a webhook is parked");
        row_park(s, row);
        return;
    }
    row_unpark(s, row);
    struct ask *ask = mem_alloc(sizeof(*ask));
    ask->epoch = epoch;
    ask->slot = row->slot;
    ask->outside = catalog_outside(engine->catalog, p.outside);
    ask->type = type_of(s, type_id);
    ask->row = arena_copy(&ask->arena, row->item.key);
    ask->entity = arena_copy(&ask->arena, entity);
    ask->line = arena_copy(&ask->arena, p.line);
    ask->body = arena_copy(&ask->arena, p.body);
    ask->answered_to = p.handler.len > 0;
    ask->made_ms = p.made_ms;
    uint64_t numbers[2] = { 0, 0 };
    for (int i = 0; i < 16; i++) numbers[i / 8] = numbers[i / 8] << 8 | (uint8_t)rest.ptr[i];
    ask->id = arena_printf(&ask->arena, "%s-%llu-%llu", store_id(engine->store),
                           (unsigned long long)numbers[0], (unsigned long long)numbers[1]);
    ask->next = atomic_load_explicit(&engine->asks_in, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&engine->asks_in, &ask->next, ask)) {}
    if (engine->ask_actor != NULL) engine->env->actor_wake(engine->env, engine->ask_actor);
}

void ask_sender(struct engine *engine, struct actor *actor)
{
    engine->ask_actor = actor;
}

struct ask *ask_next(struct engine *engine)
{
    struct ask *newest = atomic_exchange(&engine->asks_in, NULL), *oldest = NULL;
    while (newest != NULL) {
        struct ask *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    struct ask **tail = &engine->asks;
    while (*tail != NULL) tail = &(*tail)->next;
    *tail = oldest;
    uint64_t durable = atomic_load_explicit(&engine->durable, memory_order_acquire);
    for (struct ask **at = &engine->asks; *at != NULL; at = &(*at)->next) {
        struct ask *ask = *at;
#ifndef MUTANT_ask_early
        if (ask->epoch > durable) continue;
#endif
        *at = ask->next;
        ask->next = NULL;
        return ask;
    }
    return NULL;
}

void ask_free(struct ask *ask)
{
    arena_free(&ask->arena);
    mem_free(ask);
}

void asks_deinit(struct engine *engine)
{
    struct ask *lists[] = { atomic_load(&engine->asks_in), engine->asks };
    for (int i = 0; i < 2; i++) {
        for (struct ask *ask = lists[i], *next; ask != NULL; ask = next) {
            next = ask->next;
            ask_free(ask);
        }
    }
}

/* ---- the report ---- */

struct report {
    struct weir_str row;
    int64_t outcome, status;
    struct weir_str body, id, error;
};
static const struct weir_field report_fields[] = { WEIR_FIELD(struct report, row, WEIR_BYTES),
                                                   WEIR_FIELD(struct report, outcome, WEIR_INT),
                                                   WEIR_FIELD(struct report, status, WEIR_INT),
                                                   WEIR_FIELD(struct report, body, WEIR_ANY,
                                                              .optional = true),
                                                   WEIR_FIELD(struct report, id, WEIR_TEXT),
                                                   WEIR_FIELD(struct report, error, WEIR_TEXT),
                                                   WEIR_END };
const struct weir_shape ask_report_shape = WEIR_SHAPE(struct report, report_fields);

void ask_report(struct engine *engine, const struct ask *ask, enum ask_outcome outcome, int status,
                struct weir_str body, struct weir_str error, struct request *request)
{
    struct arena *arena = &request->arena;
    struct report *report = arena_alloc(arena, sizeof(*report));
    struct buf json = { 0 };
    report->row = arena_copy(arena, ask->row);
    report->outcome = outcome;
    report->status = status;
    report->id = arena_copy(arena, ask->id);
    report->error = arena_copy(arena, error);
    if (body.len > 0 && json_is_valid(body)) (void)json_compact(body, &json);
    else if (body.len > 0 && str_is_utf8(body)) json_write_text(&json, body);
    report->body = json.len > 0 ? arena_copy(arena, buf_str(&json)) : STR_NIL;
    buf_free(&json);
    request->handler = engine->ask_reports[ask->type->id];
    request->key = arena_copy(arena, ask->entity);
    request->args = report;
}

/* Built in for every entity type: the row goes, the answer becomes a message to the entity itself. */
enum weir_status ask_reported(struct weir_ctx *f, void *row, const void *args, void *result)
{
    const struct report *in = args;
    struct txn *t = f->txn;
    struct ask_parts p;
    struct overlay *o = overlay_get(t, f->access, in->row);
    if (o == NULL) return weir_failed(f);
    /* Reported before, or dropped by a person meanwhile. */
    if (!o->present) MARK("an answer is reported again");
    if (!o->present || !ask_parts(o->packed, &p)) return WEIR_OK;
    o->changed = true;
    if (p.handler.len == 0 && in->outcome == ASK_UNKNOWN) {
        struct buf value = { 0 };
        p.failed = true;
        p.error = in->error;
        ask_value(&value, &p);
        o->packed = arena_copy(&t->arena, buf_str(&value));
        buf_free(&value);
        return WEIR_OK;
    }
    o->present = false;
    if (p.handler.len == 0) return p.reply.len > 0 ? answer_send(f, p.reply) : WEIR_OK;
    const struct handler *handler = type_handler(f->handler->type, p.handler);
    if (handler == NULL || !ask_takes_answer(handler)) {
        /* The application has changed: a person sees the answer, parked with the row. */
        struct buf value = { 0 };
        o->present = true;
        p.failed = true;
        p.error = STR("the handler for the answer is gone");
        ask_value(&value, &p);
        o->packed = arena_copy(&t->arena, buf_str(&value));
        buf_free(&value);
        return WEIR_OK;
    }
    char *values = arena_alloc(&t->arena, handler->args->size + 8u);
    if (unpack(handler->args, p.args, &t->arena, false, values) != WEIR_OK)
        shape_start(handler->args, values);
    const struct field *first = &handler->args->fields[0];
    struct weir_answer answer = { in->body, in->id, in->outcome, in->status };
    for (uint32_t i = 0; i < first->shape->count; i++) {
        const struct field *to = &first->shape->fields[i];
        char *at = values + first->offset + to->offset;
        if (str_eq(to->name, STR("body"))) memcpy(at, &answer.body, sizeof(answer.body));
        else if (str_eq(to->name, STR("id"))) memcpy(at, &answer.id, sizeof(answer.id));
        else if (str_eq(to->name, STR("outcome"))) memcpy(at, &answer.outcome, 8);
        else if (str_eq(to->name, STR("status"))) memcpy(at, &answer.status, 8);
    }
    if (ctx_send(f, handler, entity_key(f->entity), values) == WEIR_OK && p.reply.len > 0)
        txn_tie(t, f->last.place, arena_copy(&t->arena, p.reply));
    return weir_failed(f);
}

/* ---- parked webhooks ---- */

/* An answer was to come of it: that nobody knows what came of it is one. */
static void ask_tell_dropped(struct shard *s, const struct row *row)
{
    struct ask_parts p;
    uint16_t type_id;
    struct weir_str entity, rest;
    if (!ask_parts(row_value(row), &p) || p.reply.len == 0 ||
        !key_owned_parse(row->item.key, &type_id, &entity, &rest))
        return;
    struct failure failure = { .status = WEIR_UNKNOWN, .text = p.error };
    answer_drop(s, entity_get(s, type_id, entity, row->slot), p.reply, &failure);
}

void ask_decide(struct shard *s, struct row *row, bool drop)
{
    if (drop) {
        ask_tell_dropped(s, row);
        effect_delete(s, s->epoch, row->slot, row->item.key);
        row_delete(s, row);
        return;
    }
    struct ask_parts p;
    struct buf value = { 0 };
    ASSERT(ask_parts(row_value(row), &p));
    p.failed = false;
    p.error = STR("");
    p.made_ms = s->now_ms; /* its time to give up begins anew */
    ask_value(&value, &p);
    row = row_set(s, row->slot, row->item.key, buf_str(&value));
    effect_put(s, s->epoch, row->slot, row->item.key, buf_str(&value));
    buf_free(&value);
    ask_index(s, row, s->epoch);
}

bool ask_handler(const struct row *row, uint16_t *type_id, struct weir_str *handler)
{
    struct ask_parts p;
    struct weir_str key, rest;
    if (!ask_parts(row_value(row), &p) || !key_owned_parse(row->item.key, type_id, &key, &rest))
        return false;
    *handler = p.handler;
    return true;
}

bool ask_describe(const struct row *row, struct weir_str *outside, struct weir_str *line,
                  struct weir_str *error)
{
    struct ask_parts p;
    if (!ask_parts(row_value(row), &p)) return false;
    *outside = p.outside;
    *line = p.line;
    *error = p.error;
    return true;
}
