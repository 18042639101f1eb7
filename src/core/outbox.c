/*
 * outbox.c - rows that make something happen later: messages, timers; and request records, which remember
 * what has happened.
 *
 * A message is a row in its sender's slot. The sender's shard hints at it; the receiver's shard
 * runs it as a root, one at a time for each sender and receiver, and that root's decision tells the sender's
 * shard to delete the row in the same epoch. After a crash every row still there is hinted again.
 * A timer is a row of its entity, known by entity, handler and arguments (H19). A request record is a row in
 * the root entity's slot (H8); it goes by age, without a log record.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/core_int.h"

enum message_flag { MESSAGE_FAILED = 1, MESSAGE_DROPPED = 2, MESSAGE_REPLY = 4 };
/* What is kept of a failure: more of its text is cut, a longer detail left out. */
#define FAILURE_TEXT_MAX 200u
#define FAILURE_DETAIL_MAX 4096u

#define BACKOFF_FIRST_MS 20u
#define BACKOFF_MAX_MS 60000u
/* So few that a request waits less than a millisecond behind timers that are all due at once. */
#define TIMERS_PER_TURN 16u

static uint64_t backoff_ns(uint32_t attempts)
{
    uint64_t ms = BACKOFF_FIRST_MS;
    for (uint32_t i = 1; i < attempts && ms < BACKOFF_MAX_MS; i++) ms *= 2;
    return (ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS) * 1000000u;
}

/* ---- forms of rows: docs/formats/rows.md ---- */

bool message_parts(struct weir_str key, struct weir_str value, struct message_parts *parts)
{
    struct weir_str rest;
    *parts = (struct message_parts){ 0 };
    if (!key_owned_parse(key, &parts->from_type, &parts->from_key, &rest) || rest.len < 4)
        return false;
    size_t len = load_be16(rest.ptr + 2);
    if (rest.len != 4 + len + 12) return false;
    parts->to_type = load_be16(rest.ptr);
    parts->to_key = (struct weir_str){ rest.ptr + 4, len };
    struct reader reader = reader_of(value);
    uint8_t flags = reader_byte(&reader);
    parts->dropped = (flags & MESSAGE_DROPPED) != 0;
    parts->failed = (flags & MESSAGE_FAILED) != 0 && !parts->dropped;
    parts->handler = reader_bytes(&reader, reader_varint(&reader));
    parts->args = reader_bytes(&reader, reader_varint(&reader));
    struct failure *failure = &parts->failure;
    if (flags & MESSAGE_FAILED) failure->text = reader_bytes(&reader, reader_varint(&reader));
    if ((flags & MESSAGE_REPLY) == 0) return !reader.failed;
    parts->reply = reader_bytes(&reader, reader_varint(&reader));
    if ((flags & MESSAGE_FAILED) == 0) return !reader.failed;
    failure->status = (enum weir_status)reader_varint(&reader);
    failure->code = reader_bytes(&reader, reader_varint(&reader));
    failure->detail = reader_bytes(&reader, reader_varint(&reader));
    if (failure->detail.len == 0) failure->detail = STR_NIL;
    return !reader.failed;
}

bool timer_parts(struct weir_str key, uint16_t *type_id, struct weir_str *entity,
                 struct weir_str *handler, struct weir_str *args)
{
    struct weir_str rest;
    if (!key_owned_parse(key, type_id, entity, &rest) || rest.len < 1) return false;
    size_t len = (uint8_t)rest.ptr[0];
    if (rest.len < 1 + len) return false;
    *handler = (struct weir_str){ rest.ptr + 1, len };
    *args = (struct weir_str){ rest.ptr + 1 + len, rest.len - 1 - len };
    return true;
}

static void add_text(struct buf *out, struct weir_str text)
{
    buf_add_varint(out, text.len);
    buf_add_str(out, text);
}

static void message_value(struct buf *out, uint8_t flags, const struct message_parts *parts)
{
    const struct failure *failure = &parts->failure;
    if (parts->reply.len > 0) flags |= MESSAGE_REPLY;
    buf_add_byte(out, flags);
    add_text(out, parts->handler);
    add_text(out, parts->args);
    if (flags & MESSAGE_FAILED) add_text(out, failure->text);
    if ((flags & MESSAGE_REPLY) == 0) return;
    add_text(out, parts->reply);
    if ((flags & MESSAGE_FAILED) == 0) return;
    buf_add_varint(out, (uint64_t)failure->status);
    add_text(out, failure->code);
    add_text(out, failure->detail);
}

void timer_value(struct buf *out, int64_t due_ms, bool failed, struct weir_str error)
{
    char bytes[8];
    store_le64(bytes, (uint64_t)due_ms);
    buf_add(out, bytes, 8);
    buf_add_byte(out, failed);
    if (failed) buf_add_str(out, error);
}

void record_key(struct buf *out, const struct entity *e, struct weir_str id)
{
    key_owned(out, ROW_RECORD, e->type_id, entity_key(e));
    buf_add_str(out, id);
}

void record_value(struct buf *out, uint64_t hash, int64_t time_ms, struct weir_str result)
{
    char bytes[16];
    store_le64(bytes, hash);
    store_le64(bytes + 8, (uint64_t)time_ms);
    buf_add(out, bytes, 16);
    buf_add_str(out, result);
}

bool record_parts(struct weir_str value, uint64_t *hash, int64_t *time_ms, struct weir_str *result)
{
    if (value.len < 16) return false;
    *hash = load_le64(value.ptr);
    *time_ms = (int64_t)load_le64(value.ptr + 8);
    *result = (struct weir_str){ value.ptr + 16, value.len - 16 };
    return true;
}

/* Sender and receiver: what a pair is named by. A message's key goes on with epoch and number. */
static void message_key(struct buf *out, uint16_t from_type, struct weir_str from,
                        const struct type *to, struct weir_str to_key)
{
    key_owned(out, ROW_MESSAGE, from_type, from);
    buf_add_byte(out, (uint8_t)(to->id >> 8));
    buf_add_byte(out, (uint8_t)to->id);
    buf_add_byte(out, (uint8_t)(to_key.len >> 8));
    buf_add_byte(out, (uint8_t)to_key.len);
    buf_add_str(out, to_key);
}

/* ---- messages: the sender's shard ---- */

static void hint_send(struct shard *s, uint32_t to, struct row *row, bool again)
{
    if (to == s->index) {
        outbox_receive(s, s->index, row, again);
        return;
    }
    struct message *m = message_new(s, MSG_HINT, 0);
    m->hint.row = row;
    m->hint.again = again;
    message_post(s, to, m);
}

void outbox_hint(struct shard *s, struct row *row)
{
    struct message_parts parts;
    if (!message_parts(row->item.key, (struct weir_str){ row->value, row->value_len }, &parts))
        return;
    struct type *type = type_of(s, parts.to_type);
    if (parts.failed) MARK("a failed message is found at start");
    if (parts.failed) row_park(s, row);
    if (type == NULL) return; /* the receiver's type is gone from the application: the row stays */
    uint32_t to = slot_shard(s->engine, type_slot(type, parts.to_key));
    row->busy = true;
    if (!row->failed) s->hints_out++;
    hint_send(s, to, row, false);
}

static struct entity *message_sender(struct shard *s, struct row *row)
{
    uint16_t type_id;
    struct weir_str key, rest;
    if (!key_owned_parse(row->item.key, &type_id, &key, &rest)) return NULL;
    return entity_get(s, type_id, key, row->slot);
}

/* DONE(epoch): from the decider of the delivery; takes no lock, cannot be refused. */
void outbox_done(struct shard *s, struct row *row, uint64_t epoch, const struct failure *failure)
{
    s->hints_out--;
    if (failure != NULL) {
        MARK("message marked failed");
        struct message_parts parts;
        ASSERT(
            message_parts(row->item.key, (struct weir_str){ row->value, row->value_len }, &parts));
        struct buf value = { 0 };
        parts.failure = *failure;
        message_value(&value, MESSAGE_FAILED, &parts);
        row = row_set(s, row->slot, row->item.key, buf_str(&value));
        row_park(s, row);
        effect_put(s, epoch, row->slot, row->item.key, buf_str(&value));
        buf_free(&value);
        return;
    }
    effect_delete(s, epoch, row->slot, row->item.key);
    struct entity *sender = message_sender(s, row);
    row_delete(s, row);
    s->message_count--;
    if (sender != NULL) {
        sender->lock->pending--;
        entity_settle(s, sender);
    }
}

static struct weir_str text_move(char **at, struct weir_str from)
{
    struct weir_str to = { *at, from.len };
    if (from.len > 0) memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return to;
}

/* In one block, its own; the same whether it stays on this shard or not. */
static struct failure *failure_copy(const struct failure *from)
{
    struct weir_str text = from->text, detail = from->detail;
    if (text.len > FAILURE_TEXT_MAX) text.len = FAILURE_TEXT_MAX;
    if (detail.len > FAILURE_DETAIL_MAX) detail = STR_NIL;
    struct failure *to = mem_alloc(sizeof(*to) + text.len + from->code.len + detail.len);
    char *at = (char *)(to + 1);
    to->status = from->status;
    to->text = text_move(&at, text);
    to->code = text_move(&at, from->code);
    to->detail = text_move(&at, detail);
    return to;
}

static void send_done(struct shard *s, struct delivery *d, uint64_t epoch,
                      const struct failure *failure)
{
    struct failure *copy = failure ? failure_copy(failure) : NULL;
    if (d->from == s->index) {
        outbox_done(s, d->row, epoch, copy);
        mem_free(copy);
        return;
    }
    struct message *m = message_new(s, MSG_DONE, 0);
    m->epoch = epoch;
    m->hint.row = d->row;
    m->hint.failure = copy;
    message_post(s, d->from, m);
}

/* A new message of this epoch: its row, and the hint. */
void outbox_put(struct shard *s, uint8_t slot, const struct send *send, uint64_t epoch)
{
    struct entity *sender = send->sender;
    struct buf key = { 0 }, value = { 0 };
    message_key(&key, sender->type_id, entity_key(sender), send->handler->type, send->key);
    for (int i = 7; i >= 0; i--) buf_add_byte(&key, (uint8_t)(epoch >> (8 * i)));
    for (int i = 3; i >= 0; i--) buf_add_byte(&key, (uint8_t)(s->next_message >> (8 * i)));
    s->next_message++;
    struct message_parts parts = { .handler = send->handler->name,
                                   .args = send->args,
                                   .reply = send->reply };
    message_value(&value, 0, &parts);
    struct row *row = row_set(s, slot, buf_str(&key), buf_str(&value));
    effect_put(s, epoch, slot, buf_str(&key), buf_str(&value));
    buf_free(&key);
    buf_free(&value);
    s->message_count++;
    entity_lock(s, sender)->pending++;
    outbox_hint(s, row);
}

/* `row` is dropped, and an answer was to come of it. `from`: an entity of this shard, in whose name that is told. */
static void outbox_tell_dropped(struct shard *s, struct entity *from, const struct row *row)
{
    struct message_parts parts;
    if (from == NULL ||
        !message_parts(row->item.key, (struct weir_str){ row->value, row->value_len }, &parts) ||
        parts.reply.len == 0)
        return;
    answer_drop(s, from, parts.reply, &parts.failure);
}

/* What a person decided about a parked message: it runs again, or is taken out of the way. Durable with this
 * row; the receiver, whose pair it holds back, is told. */
static void outbox_decide(struct shard *s, struct row *row, uint8_t flags)
{
    struct message_parts parts;
    ASSERT(row->failed);
    ASSERT(message_parts(row->item.key, (struct weir_str){ row->value, row->value_len }, &parts));
    struct type *type = type_of(s, parts.to_type);
    struct buf value = { 0 };
    /* Who waits for an answer gets the failure, once it is dropped. */
    bool told = flags == MESSAGE_DROPPED && parts.reply.len > 0;
    message_value(&value, told ? flags | MESSAGE_FAILED : flags, &parts);
    uint16_t to_type = parts.to_type;
    row_unpark(s, row);
    row = row_set(s, row->slot, row->item.key, buf_str(&value));
    effect_put(s, s->epoch, row->slot, row->item.key, buf_str(&value));
    buf_free(&value);
    s->hints_out++;
    if (type == NULL) {
        /* Nobody to deliver to: dropped here, or parked again. */
        struct failure gone = { .status = WEIR_NOTYPE, .text = STR("the receiver's type is gone") };
        if (told) outbox_tell_dropped(s, message_sender(s, row), row);
        outbox_done(s, row, s->epoch, flags == MESSAGE_DROPPED ? NULL : &gone);
        return;
    }
    ASSERT(message_parts(row->item.key, (struct weir_str){ row->value, row->value_len }, &parts));
    hint_send(s, slot_shard(s->engine, type_slot(type_of(s, to_type), parts.to_key)), row, true);
}

void outbox_retry(struct shard *s, struct row *row)
{
    outbox_decide(s, row, 0);
}

void outbox_drop(struct shard *s, struct row *row)
{
    outbox_decide(s, row, MESSAGE_DROPPED);
}

/* ---- messages: the receiver's shard ---- */

static void pairs_grow(struct shard *s)
{
    if (s->pair_cap > 0) MARK("table of pairs grows");
    size_t first = ENV_CHANCE(s->env, "outbox.small_table") ? 2 : 256;
    size_t cap = s->pair_cap ? s->pair_cap * 2 : first;
    struct pair **table = mem_alloc(cap * sizeof(struct pair *));
    for (size_t i = 0; i < s->pair_cap; i++) {
        for (struct pair *p = s->pairs[i], *next; p != NULL; p = next) {
            next = p->chain;
            p->chain = table[p->hash & (cap - 1)];
            table[p->hash & (cap - 1)] = p;
        }
    }
    mem_free(s->pairs);
    s->pairs = table;
    s->pair_cap = cap;
}

/* A pair is named by what the message keys begin with: sender and receiver. */
static struct weir_str pair_name(const struct row *row)
{
    return (struct weir_str){ row->item.key.ptr, row->item.key.len - 12 };
}

static struct pair *pair_find(struct shard *s, struct weir_str key)
{
    uint64_t hash = hash64(0, key.ptr, key.len);
    if (s->pair_cap == 0) return NULL;
    struct pair *p = s->pairs[hash & (s->pair_cap - 1)];
    while (p != NULL &&
           !(p->hash == hash && p->len == key.len && memcmp(p->key, key.ptr, key.len) == 0))
        p = p->chain;
    return p;
}

static struct pair *pair_get(struct shard *s, struct weir_str key)
{
    struct pair *p = pair_find(s, key);
    if (p != NULL) return p;
    uint64_t hash = hash64(0, key.ptr, key.len);
    if (s->pair_count >= s->pair_cap) pairs_grow(s);
    p = mem_alloc(sizeof(*p) + key.len);
    p->tail = &p->head;
    p->hash = hash;
    p->len = (uint32_t)key.len;
    memcpy(p->key, key.ptr, key.len);
    p->chain = s->pairs[hash & (s->pair_cap - 1)];
    s->pairs[hash & (s->pair_cap - 1)] = p;
    s->pair_count++;
    return p;
}

static void pair_remove(struct shard *s, struct pair *p)
{
    struct pair **at = &s->pairs[p->hash & (s->pair_cap - 1)];
    while (*at != p) at = &(*at)->chain;
    *at = p->chain;
    if (p->retry.place) heap_remove(&s->retries, &p->retry);
    mem_free(p);
    s->pair_count--;
}

/* Makes the pair due: roots begin from the shard's loop, never inside another's end. */
static void pair_due(struct shard *s, struct pair *p, uint64_t at_ns)
{
    if (p->retry.place) heap_remove(&s->retries, &p->retry);
    p->retry.at = (int64_t)at_ns;
    p->retry.tie = p->hash;
    heap_add(&s->retries, &p->retry);
}

void outbox_receive(struct shard *s, uint32_t from, struct row *row, bool again)
{
    if (again) {
        /* A person has decided on the parked one that holds its pair back. */
        struct pair *held = pair_find(s, pair_name(row));
        if (held != NULL && held->head != NULL && held->head->row == row) {
            held->held = false;
            held->head->attempts = 0;
            pair_due(s, held, 0);
            return;
        }
    }
    struct pair *p = pair_get(s, pair_name(row));
    struct delivery *d = mem_alloc(sizeof(*d));
    d->pair = p;
    d->row = row;
    d->from = from;
    *p->tail = d;
    p->tail = &d->next;
    if (p->held) MARK("a message waits behind a failed one");
    if (row->failed) p->held = true;
    if (p->head == d && !p->held)
        pair_due(s, p, ENV_CHANCE(s->env, "outbox.deliver_later") ? s->now_ns + 1000000u : 0);
}

static void pair_pop(struct shard *s, struct delivery *d)
{
    struct pair *p = d->pair;
    ASSERT(p->head == d);
    p->head = d->next;
    if (p->head == NULL) p->tail = &p->head;
    p->busy = false;
    mem_free(d);
    if (p->head == NULL) pair_remove(s, p);
    else pair_due(s, p, 0);
}

/* A person has dropped it, and its turn has come. */
void outbox_dropped(struct shard *s, struct delivery *d, struct type *type, struct weir_str key)
{
    outbox_tell_dropped(s, entity_get(s, type->id, key, type_slot(type, key)), d->row);
    outbox_delivered(s, d, s->epoch);
}

/* The root of this delivery has decided in `epoch`. */
void outbox_delivered(struct shard *s, struct delivery *d, uint64_t epoch)
{
    s->stats.messages_delivered_total++;
    send_done(s, d, epoch, NULL);
    pair_pop(s, d);
}

/* An attempt failed: again later, or past the cap the row is marked and holds its pair back (H18). */
void outbox_failed(struct shard *s, struct delivery *d, const struct failure *failure)
{
    struct pair *p = d->pair;
    p->busy = false;
    d->attempts++;
    if (d->attempts < s->engine->limits.message_attempts_max) {
        MARK("message tried again later");
        bool again = ENV_CHANCE(s->env, "outbox.again_now");
        pair_due(s, p, again ? s->now_ns : s->now_ns + backoff_ns(d->attempts));
        return;
    }
    p->held = true;
    engine_trace(s->engine, "\"event\":\"message_failed\",\"attempts\":%u,\"error\":\"%s\"",
                 d->attempts, weir_status_word(failure->status));
    send_done(s, d, s->epoch, failure);
}

/* ---- events that failed (follow.c): messages of their stream, type 0, to their entity ---- */

bool outbox_pair_waits(struct shard *s, const struct follower *follower, struct weir_str key)
{
    if (s->pair_count == 0) return false;
    struct buf name = { 0 };
    message_key(&name, 0, follower->stream->name, follower->type, key);
    bool waits = pair_find(s, buf_str(&name)) != NULL;
    buf_free(&name);
    return waits;
}

void outbox_defer(struct shard *s, const struct follower *follower, struct weir_str to,
                  struct weir_str args)
{
    uint8_t slot = type_slot(follower->type, to);
    struct entity *sender = entity_get(s, 0, follower->stream->name, slot);
    struct send send = { .sender = sender, .handler = follower->handler, .key = to, .args = args };
    outbox_put(s, slot, &send, s->epoch);
}

void outbox_retries(struct shard *s)
{
    struct heap_item *first;
    while ((first = heap_min(&s->retries)) != NULL && (uint64_t)first->at <= s->now_ns &&
           s->roots_holding < s->engine->limits.roots_max && !ENV_CHANCE(s->env, "outbox.late")) {
        struct pair *p = (struct pair *)((char *)first - offsetof(struct pair, retry));
        heap_remove(&s->retries, first);
        if (!p->busy && !p->held && p->head != NULL) root_begin_message(s, p);
    }
}

/* ---- timers ---- */

void timer_index(struct shard *s, struct row *row)
{
    if (row->heap.place) heap_remove(&s->timers, &row->heap);
    row->time_ms = (int64_t)load_le64(row->value);
    if (row->value_len > 8 && row->value[8] != 0) row_park(s, row);
    else row_unpark(s, row);
    row->attempts = 0;
    row->heap.at = row->time_ms;
    row->heap.tie = hash64(0, row->item.key.ptr, row->item.key.len);
    if (!row->failed) heap_add(&s->timers, &row->heap);
}

void timers_due(struct shard *s)
{
    struct heap_item *first;
    unsigned most = ENV_CHANCE(s->env, "timers.few") ? 1 : TIMERS_PER_TURN;
    for (unsigned n = 0; n < most && s->roots_holding < s->engine->limits.roots_max; n++) {
        first = heap_min(&s->timers);
        if (first == NULL || first->at > s->now_ms) return;
        struct row *row = (struct row *)((char *)first - offsetof(struct row, heap));
        heap_remove(&s->timers, first);
        root_begin_timer(s, row);
    }
}

/* The row may be gone or set anew meanwhile: only one still due in its old form is tried again. */
void timer_failed(struct shard *s, struct weir_str key, const struct failure *failure)
{
    struct row *row = (struct row *)tree_find(&s->rows, key);
    if (row == NULL || row->heap.place || row->failed) return;
    row->attempts++;
    if (row->attempts < s->engine->limits.message_attempts_max) {
        MARK("timer tried again later");
        row->heap.at = s->now_ms;
        if (!ENV_CHANCE(s->env, "timers.again_now"))
            row->heap.at += (int64_t)(backoff_ns(row->attempts) / 1000000u);
        heap_add(&s->timers, &row->heap);
        return;
    }
    struct buf value = { 0 };
    timer_value(&value, row->time_ms, true, failure->text);
    row = row_set(s, row->slot, key, buf_str(&value));
    row_park(s, row);
    effect_put(s, s->epoch, row->slot, row->item.key, buf_str(&value));
    buf_free(&value);
    engine_trace(s->engine, "\"event\":\"timer_failed\",\"attempts\":%u,\"error\":\"%s\"",
                 row->attempts, weir_status_word(failure->status));
}

/* ---- request records ---- */

void record_index(struct shard *s, struct row *row)
{
    uint64_t hash;
    struct weir_str result;
    if (!record_parts((struct weir_str){ row->value, row->value_len }, &hash, &row->time_ms,
                      &result))
        return;
    row->next = NULL;
    *s->records_tail = row;
    s->records_tail = &row->next;
    s->record_count++;
}

/* Oldest out: past the window, or past the cap when old enough. */
void records_expire(struct shard *s)
{
    const struct engine_limits *limits = &s->engine->limits;
    while (s->records != NULL) {
        struct row *row = s->records;
        int64_t age = s->now_ms - row->time_ms;
        bool old = age > (int64_t)limits->dedup_window_ms;
        bool crowded = s->record_count >= limits->dedup_rows_max &&
                       age > (int64_t)limits->dedup_window_min_ms;
        if (!old && !crowded) return;
        if (old) MARK("request record past its window");
        else MARK("request record crowded out");
        s->records = row->next;
        if (s->records == NULL) s->records_tail = &s->records;
        s->record_count--;
        row_delete(s, row);
    }
}

/* ---- recovery: rows are in; what lives beside them is made again ---- */

static int record_order(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
    return x->time_ms < y->time_ms ? -1 : x->time_ms > y->time_ms;
}

void outbox_recover(struct shard *s)
{
    answer_recover(s);
    struct row **records = NULL;
    size_t count = 0, cap = 0;
    for (struct tree_item *i = tree_seek(&s->rows, STR(""), false); i != NULL;
         i = tree_seek(&s->rows, i->key, true)) {
        struct row *row = (struct row *)i;
        if (i->key.ptr[0] == ROW_MESSAGE) {
            struct entity *sender = message_sender(s, row);
            if (sender != NULL) entity_lock(s, sender)->pending++;
            s->message_count++;
            outbox_hint(s, row);
        } else if (i->key.ptr[0] == ROW_TIMER && row->value_len >= 8) {
            s->timer_count++;
            timer_index(s, row);
        } else if (i->key.ptr[0] == ROW_ASK) {
            ask_index(s, row, 0);
        } else if (i->key.ptr[0] == ROW_RECORD) {
            uint64_t hash;
            struct weir_str result;
            if (!record_parts((struct weir_str){ row->value, row->value_len }, &hash, &row->time_ms,
                              &result))
                continue;
            if (count == cap) {
                cap = cap ? cap * 2 : 1024;
                records = mem_realloc(records, cap * sizeof(struct row *));
            }
            records[count++] = row;
        }
    }
    if (count > 0) qsort(records, count, sizeof(struct row *), record_order);
    for (size_t i = 0; i < count; i++) record_index(s, records[i]);
    mem_free(records);
}
