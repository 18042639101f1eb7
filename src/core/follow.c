/*
 * follow.c - a shard's part of followers: each event once, in order, as a transaction of its own.
 *
 * A follower has a lane for each of the 256 slots: the events whose entity lies in that slot, one at a time,
 * in the order of their ids. How far a lane is is a row (the cursor) in that slot, written in the very
 * transaction that the event caused: so an event takes effect once, whatever crashes. After a start the feed
 * reads on from the least cursor; what a lane has done already it drops.
 * An event whose handler fails becomes a message from its stream to its entity (outbox.c): it is retried with
 * backoff, then parked, and holds back what follows for that entity, while the lane goes on.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/core_int.h"

#define LANES_PER_TURN 512u

/* ---- cursors ---- */

void cursor_key(struct buf *out, const struct follower *follower, int slot)
{
    buf_add_byte(out, ROW_CURSOR);
    buf_add_byte(out, (uint8_t)(follower->id >> 8));
    buf_add_byte(out, (uint8_t)follower->id);
    if (slot >= 0) buf_add_byte(out, (uint8_t)slot);
}

static void cursor_value(char out[16], struct event_id id)
{
    store_le64(out, id.epoch);
    store_le64(out + 8, id.n);
}

static struct event_id cursor_read(const struct row *row)
{
    if (row == NULL || row->value_len != 16) return (struct event_id){ 0, 0 };
    return (struct event_id){ load_le64(row->value), load_le64(row->value + 8) };
}

/* Of a slot; below 0 the head row, which lies in slot 0. */
static void cursor_put(struct shard *s, const struct follower *follower, int slot,
                       struct event_id id, uint64_t epoch)
{
    char value[16];
    struct buf key = { 0 };
    uint8_t lies = slot < 0 ? 0 : (uint8_t)slot;
    cursor_value(value, id);
    cursor_key(&key, follower, slot);
    (void)row_set(s, lies, buf_str(&key), (struct weir_str){ value, 16 });
    effect_put(s, epoch, lies, buf_str(&key), (struct weir_str){ value, 16 });
    buf_free(&key);
}

static void cursor_write(struct shard *s, struct lane *lane, struct event_id id, uint64_t epoch)
{
    if (event_id_cmp(id, lane->cursor) <= 0) return;
    lane->cursor = id;
    cursor_put(s, lane->follower, lane->slot, id, epoch);
}

/* The head row, in slot 0: where the follower began. The feed knows what "now" and times are: follow_place(). */
void follow_begin(struct engine *engine, struct follower *follower, struct buf *changes)
{
    struct shard *s = &engine->shards[slot_shard(engine, 0)];
    char value[16];
    struct buf key = { 0 };
    struct event_id id = { follower->from_epoch, follower->from_n };
    if (follower->from == FOLLOW_NOW) id = (struct event_id){ UINT64_MAX, 0 };
    if (follower->from == FOLLOW_TIME)
        id = (struct event_id){ UINT64_MAX, (uint64_t)follower->from_ms };
    /* Nothing is emitted before 1970; and 0 means "now" here. */
    if (follower->from == FOLLOW_OLDEST ||
        (follower->from == FOLLOW_TIME && follower->from_ms <= 0))
        return;
    cursor_value(value, id);
    cursor_key(&key, follower, -1);
    (void)row_set(s, 0, buf_str(&key), (struct weir_str){ value, 16 });
    store_change(changes, 0, buf_str(&key), (struct weir_str){ value, 16 });
    buf_free(&key);
}

/*
 * "now" was the first start, whatever crashes before the cursors stand: it becomes an id in the first epoch there is, so it
 * is there if an event is. Shards do not run yet.
 */
void follow_place(struct engine *engine, const struct follower *follower, struct event_id id)
{
    struct shard *s = &engine->shards[slot_shard(engine, 0)];
    cursor_put(s, follower, -1, id, s->epoch);
}

struct event_id follow_start(struct engine *engine, const struct follower *follower, int64_t *low)
{
    struct shard *zero = &engine->shards[slot_shard(engine, 0)];
    struct buf key = { 0 };
    cursor_key(&key, follower, -1);
    struct event_id head = cursor_read((struct row *)tree_find(&zero->rows, buf_str(&key)));
    buf_free(&key);
    if (follower->derived != NULL) return derive_start(engine, follower, head, low);
    struct event_id least = { UINT64_MAX, UINT64_MAX };
    bool any = false;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        struct shard *s = &engine->shards[slot_shard(engine, (uint8_t)slot)];
        const struct lane *lane = &s->lanes[follower->place][slot];
        any = any || lane->cursor.epoch != 0;
        if (event_id_cmp(lane->cursor, least) < 0) least = lane->cursor;
    }
    if (!any || event_id_cmp(least, head) < 0) return head;
    return least;
}

/* ---- lanes ---- */

void follow_recover(struct shard *s)
{
    const struct catalog *catalog = s->engine->catalog;
    struct buf key = { 0 };
    s->lanes_ready_tail = &s->lanes_ready;
    if (catalog->follower_count == 0) return;
    derives_recover(s);
    s->lanes = mem_alloc(catalog->follower_count * sizeof(struct lane *));
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        if (catalog->followers[i]->derived != NULL) continue; /* derive.c */
        s->lanes[i] = mem_alloc(SLOTS * sizeof(struct lane));
        for (uint32_t slot = 0; slot < SLOTS; slot++) {
            struct lane *lane = &s->lanes[i][slot];
            lane->follower = catalog->followers[i];
            lane->slot = (uint8_t)slot;
            lane->tail = &lane->head;
            if (slot_shard(s->engine, (uint8_t)slot) != s->index) continue;
            buf_reset(&key);
            cursor_key(&key, lane->follower, (int)slot);
            lane->cursor = cursor_read((struct row *)tree_find(&s->rows, buf_str(&key)));
        }
    }
    buf_free(&key);
}

void follow_deinit(struct shard *s)
{
    for (struct feed_event *e = atomic_load(&s->feed_in), *next; e != NULL; e = next) {
        next = e->next;
        mem_free(e);
    }
    derives_deinit(s);
    if (s->lanes == NULL) return;
    for (uint32_t i = 0; i < s->engine->catalog->follower_count; i++) {
        for (uint32_t slot = 0; s->lanes[i] != NULL && slot < SLOTS; slot++) {
            for (struct feed_event *e = s->lanes[i][slot].head, *next; e != NULL; e = next) {
                next = e->next;
                mem_free(e);
            }
        }
        mem_free(s->lanes[i]);
    }
    mem_free(s->lanes);
}

static void lane_ready(struct shard *s, struct lane *lane)
{
    if (lane->ready || lane->busy || lane->head == NULL) return;
    lane->ready = true;
    lane->next_ready = NULL;
    *s->lanes_ready_tail = lane;
    s->lanes_ready_tail = &lane->next_ready;
}

/* The head is done with: its place goes to the next, or the lane is idle and may take the feed's mark. */
static void lane_pop(struct shard *s, struct lane *lane)
{
    struct feed_event *e = lane->head;
    lane->head = e->next;
    if (lane->head == NULL) lane->tail = &lane->head;
    lane->busy = false;
    s->stats.events_followed_total++;
    s->follows_done = true;
    feed_event_done(s, e);
    mem_free(e);
    if (lane->head == NULL) cursor_write(s, lane, lane->mark, s->epoch);
    lane_ready(s, lane);
}

/* All idle lanes of the follower are at the mark: else a lane without events would hold a restart back. */
static void mark_take(struct shard *s, const struct feed_event *e)
{
    for (uint32_t slot = s->index; slot < SLOTS; slot += s->engine->shard_count) {
        struct lane *lane = &s->lanes[e->follower->place][slot];
        lane->mark = e->id;
        if (lane->head == NULL) cursor_write(s, lane, e->id, s->epoch);
    }
    feed_credit(s->engine, e->follower, s->index, 1, 1);
}

bool follow_has_input(struct shard *s)
{
    return atomic_load_explicit(&s->feed_in, memory_order_acquire) != NULL;
}

/* What the feed has given, in its order. */
static bool follow_take(struct shard *s)
{
    if (follow_has_input(s) && ENV_CHANCE(s->env, "follow.take_late")) return true;
    struct feed_event *newest = atomic_exchange(&s->feed_in, NULL), *oldest = NULL;
    if (newest == NULL) return false;
    while (newest != NULL) {
        struct feed_event *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    for (struct feed_event *e = oldest, *next; e != NULL; e = next) {
        next = e->next;
        e->next = NULL;
        if (e->follower->derived != NULL) {
            derive_take(s, e);
            continue;
        }
        if (e->mark) {
            mark_take(s, e);
            mem_free(e);
            s->follows_done = true;
            continue;
        }
        struct lane *lane = &s->lanes[e->follower->place][e->slot];
        *lane->tail = e;
        lane->tail = &e->next;
        lane_ready(s, lane);
    }
    return true;
}

/* ---- running ---- */

/* The handler's arguments and the entity's key; false when the event cannot be read or names no entity. */
static bool event_read(const struct feed_event *e, struct arena *arena, void **out,
                       struct weir_str *key)
{
    const struct follower *follower = e->follower;
    const struct stream *stream = follower->stream;
    const struct shape *args = follower->handler->args;
    char *bytes = arena_alloc(arena, args->size + 8u), text[EVENT_ID_TEXT_MAX];
    *out = bytes;
    if (unpack(stream->event, (struct weir_str){ e->value, e->len }, arena, true, bytes) != WEIR_OK)
        return false;
    struct weir_event_meta meta = { .time = e->time_ms };
    int64_t own = WEIR_NIL;
    if (stream->time_field >= 0)
        memcpy(&own, bytes + stream->event->fields[stream->time_field].offset, sizeof(own));
    if (own != WEIR_NIL) meta.time = own + stream->time_shift; /* as windows over it see it */
    meta.id = arena_copy(arena, (struct weir_str){ text, event_id_write(e->id, text) });
    memcpy(bytes + args->fields[1].offset, &meta, sizeof(meta));
    *key = stream->name;
    if (follower->by < 0) return true;
    const struct field *by = &stream->event->fields[follower->by];
    *key = text_load(by, bytes + by->offset);
    return key->len > 0 && key->len <= KEY_BYTES_MAX && type_key_fits(follower->type, *key);
}

static void lane_begin(struct shard *s, struct lane *lane)
{
    struct feed_event *e = lane->head;
    lane->busy = true;
    if (event_id_cmp(e->id, lane->cursor) <= 0) {
        MARK("a lane has done an event already");
        lane_pop(s, lane);
        return;
    }
    struct root *r = root_new(s, ROOT_EVENT, lane->follower->handler);
    void *args = NULL;
    struct weir_str key = STR_NIL;
    if (!event_read(e, &r->arena, &args, &key)) {
        /* It names nobody: there is nothing to do for it, now or after a restart. */
        root_free(s, r);
        cursor_write(s, lane, e->id, s->epoch);
        lane_pop(s, lane);
        return;
    }
    r->lane = lane;
    r->key = key;
    r->args = args;
    if (outbox_pair_waits(s, lane->follower, key) || ENV_CHANCE(s->env, "follow.defer")) {
        MARK("an event goes by way of a message");
        /* Something before it failed for this entity: it waits its turn behind that. */
        follow_failed(s, r, NULL);
        root_free(s, r);
        return;
    }
    root_run(root_attempt(s, r));
}

void follow_done(struct shard *s, struct lane *lane, uint64_t epoch)
{
#ifndef MUTANT_follow_no_cursor
    cursor_write(s, lane, lane->head->id, epoch);
#endif
    lane_pop(s, lane);
}

void follow_failed(struct shard *s, struct root *r, const struct failure *failure)
{
    struct lane *lane = r->lane;
    struct buf args = { 0 };
    pack(r->handler->args, r->args, &args);
    outbox_defer(s, lane->follower, r->key, buf_str(&args));
    buf_free(&args);
    s->stats.events_deferred_total++;
    if (failure != NULL)
        engine_trace(s->engine,
                     "\"event\":\"follow_failed\",\"stream\":\"%.*s\",\"type\":\"%.*s\","
                     "\"error\":\"%s\"",
                     STR_ARG(lane->follower->stream->name), STR_ARG(lane->follower->type->name),
                     weir_status_word(failure->status));
    cursor_write(s, lane, lane->head->id, s->epoch);
    lane_pop(s, lane);
}

bool follow_run(struct shard *s)
{
    const struct engine_limits *limits = &s->engine->limits;
    bool any = follow_take(s);
    uint32_t most = ENV_CHANCE(s->env, "follow.one_lane") ? 1 : LANES_PER_TURN;
    for (uint32_t n = 0; n < most && s->lanes_ready != NULL; n++) {
        if (s->roots_holding >= limits->roots_max ||
            s->buffers[s->epoch % EPOCH_BUFFERS].len >= limits->epoch_bytes_max)
            break;
        struct lane *lane = s->lanes_ready;
        s->lanes_ready = lane->next_ready;
        if (s->lanes_ready == NULL) s->lanes_ready_tail = &s->lanes_ready;
        lane->ready = false;
        lane_begin(s, lane);
        any = true;
    }
    if (s->derives_ready > 0) any |= derives_run(s);
    if (s->follows_done) {
        s->follows_done = false;
        feed_wake(s->engine);
    }
    return any;
}
