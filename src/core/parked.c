/*
 * parked.c - work that failed too often and waits for a person: seen, run again or dropped, shard by shard.
 *
 * A parked message, event or timer is its row, marked failed; nothing is moved. What a person decides is an
 * effect of the shard's open epoch, as DONE is, and the answer waits until that is durable.
 * An id is "<slot>-<hash of the row's key>".
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/core_int.h"

#define LIST_LIMIT 100u

/* LIMIT: found by looking through an array; thousands of parked rows are a lot already. */
void row_park(struct shard *s, struct row *row)
{
    if (row->failed) return;
    row->failed = true;
    if (s->parked_count == s->parked_cap) {
        s->parked_cap = s->parked_cap ? s->parked_cap * 2 : 16;
        s->parked = mem_realloc(s->parked, s->parked_cap * sizeof(struct row *));
    }
    s->parked[s->parked_count++] = row;
    if (row->item.key.ptr[0] == ROW_TIMER) s->stats.timers_failed++;
    else s->stats.messages_failed++;
}

void row_unpark(struct shard *s, struct row *row)
{
    if (!row->failed) return;
    row->failed = false;
    size_t i = 0;
    while (i < s->parked_count && s->parked[i] != row) i++;
    ASSERT(i < s->parked_count);
    memmove(&s->parked[i], &s->parked[i + 1], (s->parked_count - i - 1) * sizeof(struct row *));
    s->parked_count--;
    if (row->item.key.ptr[0] == ROW_TIMER) s->stats.timers_failed--;
    else s->stats.messages_failed--;
}

/* ---- ids ---- */

static int id_write(const struct row *row, char out[32])
{
    return snprintf(out, 32, "%u-%016llx", row->slot,
                    (unsigned long long)hash64(0, row->item.key.ptr, row->item.key.len));
}

bool parked_shard(const struct engine *engine, struct weir_str id, uint32_t *shard)
{
    unsigned slot = 0;
    size_t i = 0;
    for (; i < id.len && i < 3 && id.ptr[i] >= '0' && id.ptr[i] <= '9'; i++)
        slot = slot * 10 + (unsigned)(id.ptr[i] - '0');
    if (i == 0 || slot >= SLOTS || id.len != i + 17 || id.ptr[i] != '-') return false;
    *shard = slot_shard(engine, (uint8_t)slot);
    return true;
}

uint32_t engine_shards(const struct engine *engine)
{
    return engine->shard_count;
}

static struct row *parked_find(struct shard *s, struct weir_str id, size_t *place)
{
    char text[32];
    for (size_t i = 0; i < s->parked_count; i++) {
        size_t len = (size_t)id_write(s->parked[i], text);
        if (!str_eq(id, (struct weir_str){ text, len })) continue;
        *place = i;
        return s->parked[i];
    }
    return NULL;
}

/* ---- listing ---- */

static void add_member(struct buf *out, const char *name, struct weir_str text)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_text(out, text);
}

static void add_address(struct shard *s, struct buf *out, const char *name, uint16_t type_id,
                        struct weir_str key)
{
    struct type *type = type_of(s, type_id);
    struct buf text = { 0 };
    if (type != NULL) buf_printf(&text, "%.*s/%.*s", STR_ARG(type->name), STR_ARG(key));
    else if (type_id == 0) buf_add_str(&text, key);
    else buf_printf(&text, "?%u/%.*s", type_id, STR_ARG(key));
    add_member(out, name, buf_str(&text));
    buf_free(&text);
}

static void add_handler(struct shard *s, struct buf *out, uint16_t type_id, struct weir_str name,
                        struct weir_str packed)
{
    struct type *type = type_of(s, type_id);
    struct handler *h = type ? type_handler(type, name) : NULL;
    struct arena arena = { 0 };
    add_member(out, "handler", name);
    if (h != NULL) {
        void *args = arena_alloc(&arena, h->args->size + 8u);
        if (unpack(h->args, packed, &arena, false, args) == WEIR_OK) {
            buf_add_text(out, ",\"arguments\":");
            json_write(h->args, args, out);
        }
    }
    arena_free(&arena);
}

static void parked_write(struct shard *s, const struct row *row, struct buf *out)
{
    char id[32];
    struct message_parts m;
    uint16_t type_id;
    struct weir_str entity, handler, args, value = { row->value, row->value_len };
    id_write(row, id);
    buf_printf(out, "{\"id\":\"%s\"", id);
    if (row->item.key.ptr[0] == ROW_MESSAGE && message_parts(row->item.key, value, &m)) {
        add_member(out, "kind", m.from_type == 0 ? STR("event") : STR("message"));
        add_address(s, out, "from", m.from_type, m.from_key);
        add_address(s, out, "to", m.to_type, m.to_key);
        add_handler(s, out, m.to_type, m.handler, m.args);
        add_member(out, "error", m.failure.text);
        if (m.reply.len > 0) add_member(out, "request", m.reply); /* who waits for its answer */
    } else if (row->item.key.ptr[0] == ROW_ASK) {
        struct weir_str outside, line, error, rest;
        if (key_owned_parse(row->item.key, &type_id, &entity, &rest) &&
            ask_describe(row, &outside, &line, &error)) {
            add_member(out, "kind", STR("outside"));
            add_address(s, out, "from", type_id, entity);
            add_member(out, "to", outside);
            add_member(out, "handler", line);
            add_member(out, "error", error);
        }
    } else if (timer_parts(row->item.key, &type_id, &entity, &handler, &args)) {
        add_member(out, "kind", STR("timer"));
        add_address(s, out, "to", type_id, entity);
        add_handler(s, out, type_id, handler, args);
        buf_printf(out, ",\"due_ms\":%lld", (long long)row->time_ms);
        add_member(out, "error",
                   value.len > 9 ? (struct weir_str){ value.ptr + 9, value.len - 9 } : STR(""));
    }
    buf_add_byte(out, '}');
}

static void parked_list(struct shard *s, const struct parked_request *ask, struct buf *out)
{
    size_t from = 0, limit = ask->limit ? ask->limit : LIST_LIMIT;
    char id[32];
    if (ask->id.len > 0 && parked_find(s, ask->id, &from) != NULL) from++;
    buf_add_text(out, "{\"parked\":[");
    size_t i = from;
    for (; i < s->parked_count && i - from < limit; i++) {
        if (i > from) buf_add_byte(out, ',');
        parked_write(s, s->parked[i], out);
    }
    buf_add_text(out, "],\"next\":");
    if (i < s->parked_count && i > from) {
        id_write(s->parked[i - 1], id);
        json_write_text(out, str_of(id));
    } else {
        buf_add_text(out, "null");
    }
    buf_add_byte(out, '}');
}

/* ---- deciding ---- */

static void timer_decide(struct shard *s, struct row *row, bool drop)
{
    if (drop) {
        effect_delete(s, s->epoch, row->slot, row->item.key);
        s->timer_count--;
        row_delete(s, row);
        return;
    }
    struct buf value = { 0 };
    timer_value(&value, row->time_ms, false, STR(""));
    row = row_set(s, row->slot, row->item.key, buf_str(&value));
    effect_put(s, s->epoch, row->slot, row->item.key, buf_str(&value));
    buf_free(&value);
    timer_index(s, row);
}

static void parked_decide(struct shard *s, struct row *row, bool drop)
{
    if (row->item.key.ptr[0] == ROW_TIMER) timer_decide(s, row, drop);
    else if (row->item.key.ptr[0] == ROW_ASK) ask_decide(s, row, drop);
    else if (drop) outbox_drop(s, row);
    else outbox_retry(s, row);
}

void parked_run(struct shard *s, struct request *request)
{
    const struct parked_request *ask = request->parked;
    struct buf out = { 0 };
    request->status = WEIR_OK;
    if (ask->op == PARKED_LIST) {
        parked_list(s, ask, &out);
        request->epoch = s->effect_epoch; /* what it shows may not be durable yet */
    } else {
        size_t place = 0, count = 0;
        bool drop = ask->op == PARKED_DROP;
        struct row *row = ask->all ? NULL : parked_find(s, ask->id, &place);
        /* Those of a type that is gone park again at once: each is decided once. */
        for (size_t left = ask->all ? s->parked_count : 0; left > 0; left--, count++) {
            MARK("parked work is decided on");
            parked_decide(s, s->parked[0], drop);
        }
        if (row != NULL) {
            parked_decide(s, row, drop);
            count = 1;
        } else if (!ask->all) {
            request->status = WEIR_NOTFOUND;
            request->text = STR("nothing parked has this id");
        }
        if (count > 0) request->epoch = s->epoch;
        buf_printf(&out, "{\"done\":%zu}", count);
    }
    struct weir_str *result = arena_alloc(&request->arena, sizeof(*result));
    *result = arena_copy(&request->arena, buf_str(&out));
    request->result = result;
    buf_free(&out);
    request_answer(s, request);
}
