/*
 * join.c - joins of one shard: events of two streams that belong together by group and time.
 *
 * Each event is a row (side, group, time, id) as long as it may find a partner. Which pairs there are follows from the
 * two streams' contents alone, though nothing orders one stream beside the other: an event is late by the watermark of
 * its own stream only, a pair is found by whichever comes second, and an event goes when the other stream's watermark
 * says that no partner can come any more.
 *   within: |left - right| <= size                       (Flink's interval join)
 *   windows: both lie in a window, and neither was late for it; the watermark of its own stream stands in the row
 *   as of: a left event with the newest right event at or before its time, once the right watermark is past that
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/derive_int.h"

/* A row's value: the watermark of its stream when it came, then the event. */
#define HEAD_BYTES 8u

static int64_t row_time(const struct row *row)
{
    return derive_time_of(row->item.key.ptr + row->item.key.len - 24);
}

static struct weir_str row_event(const struct row *row)
{
    return (struct weir_str){ row->value + HEAD_BYTES, row->value_len - HEAD_BYTES };
}

static int row_side(const struct row *row)
{
    return (uint8_t)row->item.key.ptr[3];
}

static struct row *next_row(const struct derive *d, struct weir_str at, bool after, size_t head)
{
    struct tree_item *item = tree_seek(&d->shard->rows, at, after);
    if (item == NULL || item->key.len != head + 24 || memcmp(item->key.ptr, at.ptr, head) != 0)
        return NULL;
    return (struct row *)item;
}

static struct row *previous_row(const struct derive *d, struct weir_str at, bool before,
                                size_t head)
{
    struct tree_item *item = tree_seek_back(&d->shard->rows, at, before);
    if (item == NULL || item->key.len != head + 24 || memcmp(item->key.ptr, at.ptr, head) != 0)
        return NULL;
    return (struct row *)item;
}

/* ---- pairs ---- */

static void pair_emit(struct derive *d, uint8_t slot, struct weir_str group,
                      const struct weir_str values[2], int64_t time, int64_t from)
{
    const struct derived *def = d->def;
    char *result = derive_result(d, group);
    for (uint32_t side = 0; side < 2; side++) {
        const struct field *f = &def->out->event->fields[def->column_side[side]];
        if (unpack(def->pair[side], values[side], &d->arena, false, result + f->offset) != WEIR_OK)
            return;
    }
    derive_set_time(result, def, def->column_time, time);
    if (def->kind == JOIN_SPAN) {
        derive_set_time(result, def, def->column_from, from);
        derive_set_time(result, def, def->column_to, from + def->size);
    }
    derive_emit(d, slot, result);
}

static void pair_within(struct derive *d, const struct derive_event *e, const struct row *other)
{
    int64_t time = row_time(other);
    struct weir_str values[2];
    values[e->in->follower->side] = e->value;
    values[!e->in->follower->side] = row_event(other);
    pair_emit(d, e->slot, e->group, values, e->time > time ? e->time : time, 0);
}

/* Once for each window that holds both and that neither was late for. */
static void pair_windows(struct derive *d, const struct derive_event *e, const struct row *other)
{
    const struct derived *def = d->def;
    int64_t time = row_time(other), low = (int64_t)load_le64(other->value);
    int64_t least = e->time < time ? e->time : time, most = e->time < time ? time : e->time;
    struct weir_str values[2];
    values[e->in->follower->side] = e->value;
    values[!e->in->follower->side] = row_event(other);
    for (int64_t from = time_floor(least, def->slide); from > most - def->size;
         from -= def->slide) {
        int64_t to = from + def->size;
        if (to <= e->low || to <= low) break;
        pair_emit(d, e->slot, e->group, values, to - 1, from);
    }
}

/* All events of the other side that are not further away than the size. */
static void partners(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    int other = !e->in->follower->side;
    derive_key(&d->at, ROW_JOIN, def, other, e->group);
    size_t head = d->at.len;
    derive_key_time(&d->at, e->time - def->size);
    bool after = false;
    for (struct row *row; (row = next_row(d, buf_str(&d->at), after, head)) != NULL; after = true) {
        if (row_time(row) > e->time + def->size) break;
        if (def->kind == JOIN_WITHIN) pair_within(d, e, row);
        else pair_windows(d, e, row);
        d->at.len = head;
        buf_add(&d->at, row->item.key.ptr + head, 24);
    }
}

/* ---- as of ---- */

/* A right event is of use until the next one of its group stands, for left events from there on. */
static void superseded(struct derive *d, struct row *row, const struct row *next)
{
    if (next != NULL) derive_due(&d->due[1], row, row_time(next));
}

static void as_of_right(struct derive *d, struct row *row, size_t head)
{
    struct row *before = previous_row(d, row->item.key, true, head);
    if (before != NULL) superseded(d, before, row);
    superseded(d, row, next_row(d, row->item.key, true, head));
}

static void as_of_answer(struct derive *d, const struct row *left)
{
    const struct derived *def = d->def;
    struct weir_str group = derive_group_of(left->item.key, 0);
    int64_t time = row_time(left);
    derive_key(&d->at, ROW_JOIN, def, 1, group);
    size_t head = d->at.len;
    derive_key_time(&d->at, time);
    derive_key_id(&d->at, (struct event_id){ UINT64_MAX, UINT64_MAX });
    const struct row *right = previous_row(d, buf_str(&d->at), false, head);
    if (right == NULL || (def->size > 0 && time - row_time(right) > def->size)) return;
    struct weir_str values[2] = { row_event(left), row_event(right) };
    pair_emit(d, left->slot, group, values, time, 0);
}

/* ---- events ---- */

/* When nothing can need it any more, by the other stream's watermark. */
static int64_t gone_at(const struct derived *def, int side, int64_t time)
{
    switch (def->kind) {
    case JOIN_SPAN: return time_floor(time, def->slide) + def->size;
    case JOIN_AS_OF: return side == 0 ? time + 1 : INT64_MAX;
    default: return time + def->size + 1;
    }
}

static bool is_late(const struct derived *def, const struct derive_event *e)
{
    if (def->kind != JOIN_SPAN) return e->time < e->low;
    return time_floor(e->time, def->slide) + def->size <= e->low;
}

static bool is_kept(struct derive *d, const struct derive_event *e)
{
    return d->def->kind == JOIN_AS_OF ||
           gone_at(d->def, (int)e->in->follower->side, e->time) > derive_other(d, e->in)->low;
}

bool join_grows(struct derive *d, const struct derive_event *e)
{
    return !is_late(d->def, e) && is_kept(d, e);
}

void join_event(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    struct shard *s = d->shard;
    int side = (int)e->in->follower->side;
    if (is_late(def, e)) {
        derive_late(d, e->in, e->slot, e->value, "late");
        return;
    }
    derive_key(&d->key, ROW_JOIN, def, side, e->group);
    size_t head = d->key.len;
    derive_key_time(&d->key, INT64_MIN);
    struct weir_str from = arena_copy(&d->arena, buf_str(&d->key));
    d->key.len = head;
    derive_key_time(&d->key, INT64_MAX);
    if (tree_count(&s->rows, from, buf_str(&d->key)) >= s->engine->limits.join_events_max) {
        derive_late(d, e->in, e->slot, e->value,
                    "limit: the group waits with join_events_max events already");
        return;
    }
    if (def->kind != JOIN_AS_OF) partners(d, e);
    if (!is_kept(d, e)) return;
    int64_t gone = gone_at(def, side, e->time);
    d->key.len = head;
    derive_key_time(&d->key, e->time);
    derive_key_id(&d->key, e->id);
    char low[HEAD_BYTES];
    store_le64(low, (uint64_t)e->low);
    buf_reset(&d->packed);
    buf_add(&d->packed, low, sizeof(low));
    buf_add_str(&d->packed, e->value);
    struct row *row = derive_row_put(d, e->slot, buf_str(&d->key), buf_str(&d->packed));
    if (gone != INT64_MAX) derive_due(&d->due[side], row, gone);
    if (def->kind == JOIN_AS_OF && side == 1) as_of_right(d, row, head);
}

/* ---- */

static struct row *due_row(struct heap_item *item)
{
    return (struct row *)(void *)((char *)item - offsetof(struct row, heap));
}

/* Rows of this side that are due; false: not all of them yet. */
static bool rows_close(struct derive *d, int side, int64_t low)
{
    struct shard *s = d->shard;
    struct heap_item *item;
    bool few = ENV_CHANCE(s->env, "join.close_few"), any = false;
    for (; (item = heap_min(&d->due[side])) != NULL && item->at <= low; any = true) {
        if ((few && any) ||
            s->buffers[s->epoch % EPOCH_BUFFERS].len >= s->engine->limits.epoch_bytes_max)
            return false;
        struct row *row = due_row(item);
        arena_reset(&d->arena);
        if (d->def->kind == JOIN_AS_OF && side == 0) as_of_answer(d, row);
        derive_row_delete(d, &d->due[side], row);
    }
    return true;
}

bool join_close(struct derive *d, struct derive_in *in)
{
    if (d->def->kind != JOIN_AS_OF) return rows_close(d, !in->follower->side, in->low);
    /* Left events first: what they look for goes when neither stream can ask for it. */
    int64_t both = d->in[0].low < d->in[1].low ? d->in[0].low : d->in[1].low;
    return rows_close(d, 0, d->in[1].low) && rows_close(d, 1, both);
}

void join_recover(struct derive *d, struct row *row)
{
    int side = row_side(row);
    int64_t gone = gone_at(d->def, side, row_time(row));
    if (gone != INT64_MAX) {
        derive_due(&d->due[side], row, gone);
        derive_until(d, gone);
    }
    if (d->def->kind != JOIN_AS_OF || side == 0) return;
    size_t head = row->item.key.len - 24;
    superseded(d, row, next_row(d, row->item.key, true, head));
}
