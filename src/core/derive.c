/*
 * derive.c - a shard's part of windows and joins: events of a source in, results as events of a stream out.
 *
 * The feed gives each event to the shard of its group's slot, in the order of the stream, with the watermark before
 * it: the largest time of all events before, less `late`. So whether an event is late follows from the stream's
 * content alone; on which shard, when and how often it is worked on changes nothing. Marks carry the watermark to
 * all shards: what is due at it closes there. Time is never looked at: a stream that is idle gets a control event.
 *
 * A batch of events changes windows in memory; at its end their rows, the results and one cursor for each slot are
 * written into the shard's open epoch, together: after a crash all of it is there or none. No transaction is needed,
 * for the rows of a slot are touched here only.
 * Costs: for each event one allocation (the feed's copy), one look into a hash table; for each window and cursor
 * that changed in a batch, one row in the log.
 *
 * At memory_max an event that would make rows larger waits, and all behind it: they are on disk, and the lag shows it.
 * What is due by its watermark closes, which may be what makes room. Elsewhere rows are deleted, or the limit is raised.
 *
 * After a start the feed reads on from the least cursor with the watermark that stands beside it; a slot drops what
 * it has done. Rows are found again by the heap of what is due, filled from the rows.
 * (Akidau et al., "The Dataflow Model", VLDB 2015; Li et al., "Out-of-Order Processing", VLDB 2008: watermarks.
 * Tucker et al., "Exploiting Punctuation Semantics", TKDE 2003: control events.)
 * SPDX-License-Identifier: MIT
 */
#include "core/derive_int.h"

#include <stdio.h>
#include <stdlib.h>

#define EVENTS_PER_RUN 8192u
#define DIRTY_PER_RUN 16384u
#define TRACE_EVERY_NS UINT64_C(60000000000)
#define PLACES 1024u /* of event_n() */

/* ---- control events ---- */

void control_write(struct buf *out, int what, uint16_t derived, int64_t time_ms)
{
    buf_add_byte(out, 0); /* field 0, which no event has */
    buf_add_varint(out, (uint64_t)what);
    buf_add_varint(out, (uint64_t)derived << 2);
    buf_add_varint(out, zigzag(time_ms));
}

int control_read(struct weir_str value, uint16_t *derived, int64_t *time_ms)
{
    struct reader reader = reader_of(value);
    (void)reader_byte(&reader);
    uint64_t what = reader_varint(&reader);
    *derived = (uint16_t)(reader_varint(&reader) >> 2);
    *time_ms = unzigzag(reader_varint(&reader));
    return reader.failed ? 0 : (int)what;
}

int64_t time_clamp(int64_t time_ms)
{
    if (time_ms > WEIR_INT_MAX) return WEIR_INT_MAX;
    return time_ms < -WEIR_INT_MAX ? -WEIR_INT_MAX : time_ms;
}

/* ---- keys ---- */

static void add_be(struct buf *out, uint64_t n, int bytes)
{
    char text[8];
    for (int i = 0; i < bytes; i++) text[i] = (char)(n >> (8 * (bytes - 1 - i)));
    buf_add(out, text, (size_t)bytes);
}

static uint64_t load_be(const char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return __builtin_bswap64(n);
}

void derive_key(struct buf *out, enum row_kind kind, const struct derived *def, int side,
                struct weir_str group)
{
    buf_reset(out);
    buf_add_byte(out, (uint8_t)kind);
    add_be(out, def->id, 2);
    if (side >= 0) buf_add_byte(out, (uint8_t)side);
    add_be(out, group.len, 4);
    buf_add_str(out, group);
}

void derive_key_time(struct buf *out, int64_t time)
{
    add_be(out, (uint64_t)time ^ UINT64_C(1) << 63, 8);
}

void derive_key_id(struct buf *out, struct event_id id)
{
    add_be(out, id.epoch, 8);
    add_be(out, id.n, 8);
}

int64_t derive_time_of(const char *at)
{
    return (int64_t)(load_be(at) ^ UINT64_C(1) << 63);
}

struct event_id derive_id_of(const char *at)
{
    return (struct event_id){ load_be(at), load_be(at + 8) };
}

struct weir_str derive_group_of(struct weir_str key, int side)
{
    size_t head = side >= 0 ? 4 : 3;
    size_t len = (size_t)load_be16(key.ptr + head) << 16 | load_be16(key.ptr + head + 2);
    return (struct weir_str){ key.ptr + head + 4, len };
}

/* ---- rows ---- */

struct row *derive_row_put(struct derive *d, uint8_t slot, struct weir_str key,
                           struct weir_str value)
{
    struct row *row = row_set(d->shard, slot, key, value);
    effect_put(d->shard, d->shard->epoch, slot, key, value);
    return row;
}

void derive_row_delete(struct derive *d, struct heap *heap, struct row *row)
{
    if (row->heap.place) heap_remove(heap, &row->heap);
    effect_delete(d->shard, d->shard->epoch, row->slot, row->item.key);
    row_delete(d->shard, row);
}

void derive_due(struct heap *heap, struct row *row, int64_t at)
{
    if (row->heap.place) heap_remove(heap, &row->heap);
    row->heap.at = at;
    row->heap.tie = hash64(0, row->item.key.ptr, row->item.key.len);
    heap_add(heap, &row->heap);
}

/* ---- results ---- */

static uint64_t next_n(struct derive *d)
{
    struct shard *s = d->shard;
    if (d->place == PLACES) {
        d->clock = ++s->clock;
        d->place = 0;
    }
    return event_n(d->clock, s->index, s->index, d->place++);
}

static struct weir_str event_name(const struct stream *stream, const void *event)
{
    if (stream->key_field < 0) return STR("");
    const struct field *f = &stream->event->fields[stream->key_field];
    struct weir_str name = text_load(f, (const char *)event + f->offset);
    return name.ptr ? name : STR("");
}

static void put(struct derive *d, const struct stream *stream, uint8_t slot, const void *event)
{
    buf_reset(&d->packed);
    pack(stream->event, event, &d->packed);
    event_put(d->shard, stream, slot, event_name(stream, event), buf_str(&d->packed), next_n(d));
}

void *derive_result(struct derive *d, struct weir_str group)
{
    const struct shape *shape = d->def->out->event;
    void *result = arena_alloc(&d->arena, shape->size + 8u);
    shape_start(shape, result);
    if (d->def->by_count > 0) (void)unpack(d->def->group, group, &d->arena, false, result);
    return result;
}

void derive_set_time(void *result, const struct derived *def, int column, int64_t time)
{
    if (column >= 0)
        memcpy((char *)result + def->out->event->fields[column].offset, &time, sizeof(time));
}

void derive_emit(struct derive *d, uint8_t slot, const void *result)
{
    put(d, d->def->out, slot, result);
}

static void late_window(struct derive *d, uint8_t slot, struct weir_str value, const char *why)
{
    const struct shape *shape = d->def->late->event;
    void *event = arena_alloc(&d->arena, shape->size + 8u);
    if (unpack(d->def->late_read, value, &d->arena, false, event) != WEIR_OK) return;
    struct weir_str text = str_of(why);
    if (shape->count > d->def->late_read->count)
        memcpy((char *)event + shape->fields[shape->count - 1].offset, &text, sizeof(text));
    put(d, d->def->late, slot, event);
}

static void late_join(struct derive *d, const struct derive_in *in, uint8_t slot,
                      struct weir_str value, const char *why)
{
    const struct shape *shape = d->def->late->event, *read = in->follower->read;
    struct buf json = { 0 };
    void *fields = arena_alloc(&d->arena, read->size + 8u);
    if (unpack(read, value, &d->arena, false, fields) != WEIR_OK) return;
    json_write(read, fields, &json);
    struct weir_str texts[3] = { in->follower->side ? STR("right") : STR("left"), buf_str(&json),
                                 str_of(why) };
    char *event = arena_alloc(&d->arena, shape->size + 8u);
    for (uint32_t i = 0; i < 3; i++)
        memcpy(event + shape->fields[i].offset, &texts[i], sizeof(texts[i]));
    put(d, d->def->late, slot, event);
    buf_free(&json);
}

void derive_late(struct derive *d, const struct derive_in *in, uint8_t slot, struct weir_str value,
                 const char *why)
{
    d->shard->stats.events_late_total++;
    if (d->def->in_count == 1) late_window(d, slot, value, why);
    else late_join(d, in, slot, value, why);
}

/* ---- cursors ---- */

static void slot_at(struct derive_in *in, uint8_t slot, struct event_id id, int64_t low)
{
    struct derive_slot *at = &in->slots[slot];
    at->cursor = id;
    at->low = low;
    if (at->dirty) return;
    at->dirty = true;
    in->dirty[in->dirty_count++] = slot;
}

static void cursors_write(struct derive *d, struct derive_in *in)
{
    for (uint32_t i = 0; i < in->dirty_count; i++) {
        uint8_t slot = in->dirty[i];
        struct derive_slot *at = &in->slots[slot];
        char value[24];
        at->dirty = false;
        store_le64(value, at->cursor.epoch);
        store_le64(value + 8, at->cursor.n);
        store_le64(value + 16, (uint64_t)at->low);
        buf_reset(&d->key);
        cursor_key(&d->key, in->follower, slot);
#ifndef MUTANT_derive_no_cursor
        (void)derive_row_put(d, slot, buf_str(&d->key), (struct weir_str){ value, sizeof(value) });
#endif
    }
    in->dirty_count = 0;
}

static void cursor_load(struct shard *s, struct derive_in *in, uint8_t slot, struct buf *key)
{
    buf_reset(key);
    cursor_key(key, in->follower, slot);
    const struct row *row = (const struct row *)tree_find(&s->rows, buf_str(key));
    in->slots[slot].low = INT64_MIN;
    if (row == NULL || row->value_len != 24) return;
    in->slots[slot].cursor = (struct event_id){ load_le64(row->value), load_le64(row->value + 8) };
#ifndef MUTANT_derive_low_lost
    in->slots[slot].low = (int64_t)load_le64(row->value + 16);
#endif
}

struct event_id derive_start(struct engine *engine, const struct follower *follower,
                             struct event_id head, int64_t *low)
{
    struct event_id least = { UINT64_MAX, UINT64_MAX };
    *low = INT64_MIN;
    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        const struct shard *s = &engine->shards[slot_shard(engine, (uint8_t)slot)];
        const struct derive_slot
            *at = &s->derives[follower->derived->place]->in[follower->side].slots[slot];
        if (event_id_cmp(at->cursor, least) > 0) continue;
        /* Of equal cursors any watermark is the one there; the feed's own marks may be ahead of it. */
        if (event_id_cmp(at->cursor, least) < 0 || at->low > *low) *low = at->low;
        least = at->cursor;
    }
    if (event_id_cmp(least, head) < 0) {
        *low = INT64_MIN;
        return head;
    }
    return least;
}

/* ---- starting and ending ---- */

static void rows_recover(struct derive *d)
{
    bool join = d->def->in_count == 2;
    struct buf prefix = { 0 };
    buf_add_byte(&prefix, join ? ROW_JOIN : ROW_WINDOW);
    add_be(&prefix, d->def->id, 2);
    struct tree_item *item = tree_seek(&d->shard->rows, buf_str(&prefix), false);
    while (item != NULL && item->key.len > 3 && memcmp(item->key.ptr, prefix.ptr, 3) == 0) {
        if (join) join_recover(d, (struct row *)item);
        else window_recover(d, (struct row *)item);
        item = tree_seek(&d->shard->rows, item->key, true);
    }
    buf_free(&prefix);
}

void derives_recover(struct shard *s)
{
    const struct catalog *catalog = s->engine->catalog;
    struct buf key = { 0 };
    if (catalog->derived_count == 0) return;
    s->derives = mem_alloc(catalog->derived_count * sizeof(struct derive *));
    for (uint32_t i = 0; i < catalog->derived_count; i++) {
        struct derive *d = mem_alloc(sizeof(*d));
        s->derives[i] = d;
        d->def = catalog->deriveds[i];
        d->shard = s;
        d->until = INT64_MIN;
        for (uint32_t side = 0; side < d->def->in_count; side++) {
            struct derive_in *in = &d->in[side];
            in->follower = d->def->in[side];
            in->tail = &in->head;
            in->low = INT64_MIN;
            for (uint32_t slot = s->index; slot < SLOTS; slot += s->engine->shard_count)
                cursor_load(s, in, (uint8_t)slot, &key);
        }
        rows_recover(d);
    }
    buf_free(&key);
}

static void heap_leave(struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) heap->items[i]->place = 0;
    heap_free(heap);
}

void derives_deinit(struct shard *s)
{
    for (uint32_t i = 0; s->derives != NULL && i < s->engine->catalog->derived_count; i++) {
        struct derive *d = s->derives[i];
        for (uint32_t side = 0; side < d->def->in_count; side++) {
            for (struct feed_event *e = d->in[side].head, *next; e != NULL; e = next) {
                next = e->next;
                mem_free(e);
            }
        }
        window_free(d);
        heap_leave(&d->due[0]);
        heap_leave(&d->due[1]);
        arena_free(&d->arena);
        buf_free(&d->key);
        buf_free(&d->at);
        buf_free(&d->packed);
        mem_free(d);
    }
    mem_free(s->derives);
}

/* ---- working ---- */

/* The stream is idle: its time goes on by an event that says so, for all who read it alike. */
static void beat_put(struct derive *d, const struct feed_event *e)
{
    const struct stream *stream = e->follower->stream;
    struct buf control = { 0 };
    control_write(&control, CONTROL_BEAT, d->def->id, e->time_ms);
    d->place = PLACES;
    event_put(d->shard, stream, (uint8_t)d->shard->index, STR(""), buf_str(&control), next_n(d));
    buf_free(&control);
}

void derive_take(struct shard *s, struct feed_event *e)
{
    struct derive *d = s->derives[e->follower->derived->place];
    struct derive_in *in = &d->in[e->follower->side];
    if (e->beat) {
        beat_put(d, e);
        mem_free(e);
        return;
    }
    *in->tail = e;
    in->tail = &e->next;
    if (d->ready) return;
    d->ready = true;
    s->derives_ready++;
}

/* False: not all that is due could be closed in this turn. */
static bool mark_run(struct derive *d, struct derive_in *in, const struct feed_event *e)
{
    struct shard *s = d->shard;
    if (e->low > in->low) in->low = e->low;
    bool closed = d->def->in_count == 2 ? join_close(d, in) : window_close(d, in->low);
    if (!closed) return false;
    for (uint32_t slot = s->index; e->whole && slot < SLOTS; slot += s->engine->shard_count) {
        if (event_id_cmp(e->id, in->slots[slot].cursor) > 0 || e->low > in->slots[slot].low)
            slot_at(in, (uint8_t)slot, e->id, e->low);
    }
    return true;
}

/* What changed in cells is not in the rows yet: near the limit it is written first. */
static bool memory_has_room(struct derive *d)
{
    struct shard *s = d->shard;
    if (ENV_CHANCE(s->env, "derive.wait")) return false;
    if (s->engine->limits.memory_max == 0) return true;
    /* A batch is long: the other shards see what it takes while it runs. */
    atomic_store_explicit(&s->published.memory_bytes, s->memory_bytes, memory_order_relaxed);
    if (memory_takes(s, d->unwritten)) return true;
    window_flush(d);
    return memory_takes(s, 0);
}

/* False: it would make rows larger, and there is no room. */
static bool event_run(struct derive *d, struct derive_in *in, const struct feed_event *e)
{
    const struct derive_slot *at = &in->slots[e->slot];
    const struct derived *def = d->def;
    if (event_id_cmp(e->id, at->cursor) <= 0) return true;
    struct derive_event x = { .event = e,
                              .in = in,
                              .group = { e->value, e->key_len },
                              .value = { e->value + e->key_len, e->len - e->key_len },
                              .time = e->time_ms,
                              .low = e->low,
                              .id = e->id,
                              .slot = e->slot };
    const char *why = NULL;
    bool keep = true;
    arena_reset(&d->arena);
    x.fields = arena_alloc(&d->arena, in->follower->read->size + 8u);
    if (unpack(in->follower->read, x.value, &d->arena, false, x.fields) != WEIR_OK) keep = false;
    else if (def->where != NULL &&
             !def->where(def->where_arg, in->follower->read, x.fields, &keep, &why)) {
        char text[240];
        snprintf(text, sizeof(text), "error: where: %.200s", why ? why : "");
        derive_late(d, in, e->slot, x.value, text);
        keep = false;
    }
    if (keep && !memory_has_room(d) &&
        (def->in_count == 2 ? join_grows(d, &x) : window_grows(d, &x)))
        return false;
    if (keep && def->in_count == 2) join_event(d, &x);
    else if (keep) window_event(d, &x);
    slot_at(in, e->slot, e->id, e->low_after);
    return true;
}

static bool buffer_is_full(const struct derive *d)
{
    const struct shard *s = d->shard;
    return s->buffers[s->epoch % EPOCH_BUFFERS].len >= s->engine->limits.epoch_bytes_max ||
           d->dirty_count >= DIRTY_PER_RUN;
}

static bool input_run(struct derive *d, struct derive_in *in, bool *waits)
{
    bool any = false;
    uint32_t most = ENV_CHANCE(d->shard->env, "derive.one") ? 1 : EVENTS_PER_RUN;
    for (uint32_t n = 0; n < most && in->head != NULL && !buffer_is_full(d); n++) {
        struct feed_event *e = in->head;
        if (e->mark) {
            window_flush(d); /* what closes is in the rows */
            if (!mark_run(d, in, e)) return true;
        } else if (event_run(d, in, e)) {
            d->shard->stats.events_followed_total++;
        } else {
            window_flush(d);
            bool closed = mark_run(d, in, e); /* up to the watermark before it */
            if (!closed || memory_has_room(d)) return true;
            *waits = true;
            return any;
        }
        any = true;
        in->head = e->next;
        if (in->head == NULL) in->tail = &in->head;
        in->done++;
        in->marks_done += e->mark;
        mem_free(e);
    }
    return any;
}

static void waiting_set(struct derive *d, bool waits)
{
    struct shard *s = d->shard;
    MARK("a window or join waits: memory_max");
    d->waiting = waits;
    s->stats.windows_waiting += waits ? 1 : UINT64_MAX;
    if (!waits) return;
    /* At the limit it may go to and fro: that is one matter. */
    if (d->traced_ns != 0 && s->now_ns - d->traced_ns < TRACE_EVERY_NS) return;
    d->traced_ns = s->now_ns;
    engine_trace(s->engine,
                 "\"event\":\"window_waits\",\"stream\":\"%.*s\",\"limit\":\"memory_max\","
                 "\"value\":%llu",
                 STR_ARG(d->def->name), (unsigned long long)s->engine->limits.memory_max);
}

static bool derive_run(struct derive *d)
{
    struct shard *s = d->shard;
    bool any = false, more = false, waits = false;
    d->place = PLACES;
    for (uint32_t side = 0; side < d->def->in_count; side++)
        any |= input_run(d, &d->in[side], &waits);
    if (waits != d->waiting) {
        waiting_set(d, waits);
        any = true;
    }
    window_flush(d);
    for (uint32_t side = 0; side < d->def->in_count; side++) {
        struct derive_in *in = &d->in[side];
        cursors_write(d, in);
        more |= in->head != NULL;
        if (in->done == 0) continue;
        feed_credit(s->engine, in->follower, s->index, in->done, in->marks_done);
        s->follows_done = true;
        in->done = in->marks_done = 0;
    }
    if (!more) {
        d->ready = false;
        s->derives_ready--;
    }
    return any;
}

bool derives_run(struct shard *s)
{
    bool any = false;
    for (uint32_t i = 0; i < s->engine->catalog->derived_count; i++)
        if (s->derives[i]->ready) any |= derive_run(s->derives[i]);
    return any;
}
