/*
 * window.c - windows of one shard: which ones an event lies in, what they hold, when they close.
 *
 * An open window of a group is a row: 'W', window, group, from -> to, count of events, states of the aggregates.
 * Of those in use a decoded copy (a cell) is kept in a hash table; what changed goes to the rows at the end of the
 * batch. Windows of `last` are not stored: there the events are rows, as long as an answer needs them.
 *
 * open -> closed -> gone: window_close(), when the watermark has reached its end (sessions: also when an event comes that
 * would touch one that is due). An event is late when all windows it lies in had ended at its own watermark, with
 * `correct` by that much. Such a window stays in its row, with the number of its final results, until then.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/derive_int.h"

#define CELLS_FIRST 1024u
#define CELL_BYTES_MAX ((size_t)128 << 20) /* decoded at a time; the rest are rows only */
#define NUMBERS_BYTES 64u                  /* by which the numbers of a row grow, or about so */
#define CLOSE_BATCH 16u                    /* rows taken out at a time, to be closed in order */

/* ---- cells ---- */

static size_t cell_bytes(const struct derive *d)
{
    return sizeof(struct cell) + d->def->aggregate_count * sizeof(struct aggregate_state);
}

static struct cell *cell_new(const struct derive *d)
{
    return mem_alloc(cell_bytes(d));
}

static void cell_free(const struct derive *d, struct cell *cell)
{
    if (cell == NULL) return;
    aggregates_free(d->def, cell->states);
    mem_free(cell);
}

static void cells_grow(struct derive *d)
{
    size_t cap = d->cell_cap ? d->cell_cap * 2 : CELLS_FIRST;
    struct cell **cells = mem_alloc(cap * sizeof(*cells));
    for (size_t i = 0; i < d->cell_cap; i++) {
        for (struct cell *c = d->cells[i], *next; c != NULL; c = next) {
            next = c->chain;
            c->chain = cells[c->hash & (cap - 1)];
            cells[c->hash & (cap - 1)] = c;
        }
    }
    mem_free(d->cells);
    d->cells = cells;
    d->cell_cap = cap;
}

static struct cell *cell_find(const struct derive *d, struct weir_str key, uint64_t hash)
{
    if (d->cell_cap == 0) return NULL;
    for (struct cell *c = d->cells[hash & (d->cell_cap - 1)]; c != NULL; c = c->chain) {
        if (c->hash == hash && str_eq(c->row->item.key, key)) return c;
    }
    return NULL;
}

static bool cell_read(const struct derive *d, struct cell *cell, const struct row *row)
{
    struct reader reader = reader_of((struct weir_str){ row->value, row->value_len });
    cell->from = derive_time_of(row->item.key.ptr + row->item.key.len - 8);
    cell->to = unzigzag(reader_varint(&reader));
    cell->events = reader_varint(&reader);
    cell->finals = d->def->correct_ms > 0 ? reader_varint(&reader) : 0;
    return aggregates_read(d->def, cell->states, &reader);
}

static struct cell *cell_keep(struct derive *d, struct row *row, uint64_t hash)
{
    struct cell *cell = cell_new(d);
    if (d->cell_count >= d->cell_cap) cells_grow(d);
    cell->row = row;
    cell->hash = hash;
    cell->chain = d->cells[hash & (d->cell_cap - 1)];
    d->cells[hash & (d->cell_cap - 1)] = cell;
    d->cell_count++;
    return cell;
}

static struct cell *cell_of(struct derive *d, struct row *row)
{
    uint64_t hash = hash64(0, row->item.key.ptr, row->item.key.len);
    struct cell *cell = cell_find(d, row->item.key, hash);
    if (cell != NULL) return cell;
    cell = cell_keep(d, row, hash);
    ASSERT(cell_read(d, cell, row));
    return cell;
}

/* The window of d->key and `from`; a new one has a row with nothing in it yet. */
static struct cell *cell_get(struct derive *d, uint8_t slot, int64_t from, int64_t to)
{
    derive_key_time(&d->key, from);
    struct weir_str key = buf_str(&d->key);
    uint64_t hash = hash64(0, key.ptr, key.len);
    struct cell *cell = cell_find(d, key, hash);
    if (cell == NULL) {
        struct row *row = (struct row *)tree_find(&d->shard->rows, key);
        if (row != NULL) {
            cell = cell_of(d, row);
        } else {
            row = row_add(d->shard, slot, key);
            cell = cell_keep(d, row, hash);
            cell->from = from;
            cell->to = to;
            derive_due(&d->due[0], row, to);
        }
    }
    d->key.len -= 8;
    return cell;
}

/* @param bytes  that the change may add to the row */
static void cell_changed(struct derive *d, struct cell *cell, uint64_t bytes)
{
    d->unwritten += bytes;
    if (cell->dirty_place != 0) return;
    if (d->dirty_count == d->dirty_cap) {
        d->dirty_cap = d->dirty_cap ? d->dirty_cap * 2 : 256;
        d->dirty = mem_realloc(d->dirty, d->dirty_cap * sizeof(struct cell *));
    }
    d->dirty[d->dirty_count++] = cell;
    cell->dirty_place = d->dirty_count;
}

/* Out of memory and, with its row, out of the data. */
static void cell_forget(struct derive *d, struct cell *cell)
{
    struct cell **at = &d->cells[cell->hash & (d->cell_cap - 1)];
    while (*at != cell) at = &(*at)->chain;
    *at = cell->chain;
    d->cell_count--;
    if (cell->dirty_place != 0) d->dirty[cell->dirty_place - 1] = NULL;
    derive_row_delete(d, &d->due[0], cell->row);
    cell_free(d, cell);
}

static void cells_clear(struct derive *d)
{
    for (size_t i = 0; i < d->cell_cap; i++) {
        for (struct cell *c = d->cells[i], *next; c != NULL; c = next) {
            next = c->chain;
            cell_free(d, c);
        }
        d->cells[i] = NULL;
    }
    d->cell_count = 0;
}

void window_flush(struct derive *d)
{
    struct shard *s = d->shard;
    for (size_t i = 0; i < d->dirty_count; i++) {
        struct cell *cell = d->dirty[i];
        if (cell == NULL) continue;
        cell->dirty_place = 0;
        buf_reset(&d->packed);
        buf_add_varint(&d->packed, zigzag(cell->to));
        buf_add_varint(&d->packed, cell->events);
        if (d->def->correct_ms > 0) buf_add_varint(&d->packed, cell->finals);
        aggregates_write(d->def, cell->states, &d->packed);
        row_value_set(s, cell->row, buf_str(&d->packed));
        effect_put(s, s->epoch, cell->row->slot, cell->row->item.key, buf_str(&d->packed));
    }
    d->dirty_count = 0;
    d->unwritten = 0;
    if (d->cell_count * cell_bytes(d) > CELL_BYTES_MAX || ENV_CHANCE(s->env, "window.forget"))
        cells_clear(d);
}

void window_free(struct derive *d)
{
    cells_clear(d);
    cell_free(d, d->work);
    mem_free(d->cells);
    mem_free(d->dirty);
}

static struct aggregate_limits limits_of(const struct derive *d)
{
    const struct engine_limits *limits = &d->shard->engine->limits;
    return (struct aggregate_limits){ limits->window_values_max, limits->window_bytes_max };
}

/* ---- results ---- */

static void result_emit(struct derive *d, uint8_t slot, struct weir_str group,
                        const struct cell *cell, bool final)
{
    const struct derived *def = d->def;
    int64_t revision = (int64_t)cell->finals;
    void *result = derive_result(d, group);
    derive_set_time(result, def, def->column_from, cell->from);
    derive_set_time(result, def, def->column_to, cell->to);
    *((bool *)result + def->out->event->fields[def->column_final].offset) = final;
    if (def->column_revision >= 0)
        memcpy((char *)result + def->out->event->fields[def->column_revision].offset, &revision,
               sizeof(revision));
    aggregates_show(def, cell->states, &d->arena, result);
    derive_emit(d, slot, result);
}

/* A final result: the first closes the window, others correct it. It goes, or stays for corrections. */
static void cell_result(struct derive *d, struct cell *cell)
{
    const struct derived *def = d->def;
    struct row *row = cell->row;
    result_emit(d, row->slot, derive_group_of(row->item.key, -1), cell, true);
    if (def->correct_ms == 0) {
        cell_forget(d, cell);
        return;
    }
    if (cell->finals++ == 0) derive_due(&d->due[0], row, cell->to + def->correct_ms);
    cell_changed(d, cell, 0);
}

/* ---- tumbling and hopping ----
 *
 * With `correct` a window that is closed stays so much longer. An event is late for it by its own watermark, so which
 * events a first result has and which correct it follows from the stream alone, whether the mark that closes it was
 * worked off by then or not: if not, it closes here, before the event is added.
 */

static const char *cell_add(struct derive *d, struct cell *cell, const struct derive_event *e)
{
    struct aggregate_limits limits = limits_of(d);
    struct aggregate_event event = { e->fields, e->in->follower->read, e->time, e->id };
    const char *why = aggregates_add(d->def, cell->states, &event, &limits);
    if (why != NULL) return why;
    cell->events++;
    return NULL;
}

static void span_event(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    const char *why = "late";
    derive_key(&d->key, ROW_WINDOW, def, -1, e->group);
    for (int64_t from = time_floor(e->time, def->slide); from > e->time - def->size;
         from -= def->slide) {
        if (from + def->size + def->correct_ms <= e->low) break;
        struct cell *cell = cell_get(d, e->slot, from, from + def->size);
        bool closed = cell->to <= e->low;
        if (closed && cell->events > 0 && cell->finals == 0) cell_result(d, cell);
        const char *refused = cell_add(d, cell, e);
        if (refused != NULL) {
            why = refused;
            if (cell->events == 0) cell_forget(d, cell);
            break;
        }
        why = NULL;
        cell_changed(d, cell, e->value.len + NUMBERS_BYTES);
        if (closed) cell_result(d, cell);
        else if (def->early) result_emit(d, e->slot, e->group, cell, false);
    }
    if (why != NULL) derive_late(d, e->in, e->slot, e->value, why);
}

/* ---- sessions ---- */

/* The open session of d->key that the event touches and that begins last; those that are due close here. */
static struct cell *session_touched(struct derive *d, const struct derive_event *e, int64_t before)
{
    size_t head = d->key.len;
    for (;;) {
        derive_key_time(&d->key, before);
        struct row *row = (struct row *)tree_seek_back(&d->shard->rows, buf_str(&d->key), true);
        d->key.len = head;
        if (row == NULL || row->item.key.len != head + 8 ||
            memcmp(row->item.key.ptr, d->key.ptr, head) != 0)
            return NULL;
        struct cell *cell = cell_of(d, row);
        if (cell->to <= e->time) return NULL;
        if (cell->to > e->low) return cell;
        before = cell->from;
        cell_result(d, cell);
    }
}

/* The event joins one session, or connects several, or begins one. */
static void session_event(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    struct aggregate_limits limits = limits_of(d);
    int64_t from = e->time, to = e->time + def->size;
    derive_key(&d->key, ROW_WINDOW, def, -1, e->group);
    struct cell *touched[3], *one;
    uint32_t count = 0;
    /* Sessions lie apart by the gap at least, so an event touches two at most. */
    for (int64_t before = to; count < 3 && (one = session_touched(d, e, before)) != NULL;
         before = one->from)
        touched[count++] = one;
    ASSERT(count < 3);
    if (count == 0 && to <= e->low) {
        derive_late(d, e->in, e->slot, e->value, "late");
        return;
    }
    if (d->work == NULL) d->work = cell_new(d);
    struct cell *work = d->work;
    aggregates_reset(def, work->states);
    work->events = 0;
    const char *why = NULL;
    for (uint32_t i = count; i-- > 0 && why == NULL;) {
        if (touched[i]->from < from) from = touched[i]->from;
        if (touched[i]->to > to) to = touched[i]->to;
        why = aggregates_join(def, work->states, touched[i]->states, &limits);
        work->events += touched[i]->events;
    }
    if (why == NULL) why = cell_add(d, work, e);
    if (why != NULL) {
        derive_late(d, e->in, e->slot, e->value, why);
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        if (touched[i]->from != from) cell_forget(d, touched[i]);
    struct cell *cell = cell_get(d, e->slot, from, to);
    for (uint32_t i = 0; i < def->aggregate_count; i++) {
        struct aggregate_state state = cell->states[i];
        cell->states[i] = work->states[i];
        work->states[i] = state;
    }
    cell->events = work->events;
    if (cell->to != to) derive_due(&d->due[0], cell->row, to);
    cell->to = to;
    cell_changed(d, cell, aggregates_bytes(def, cell->states) + NUMBERS_BYTES);
    if (def->early) result_emit(d, e->slot, e->group, cell, false);
}

/* ---- the time before each event ---- */

/* All events of the group in the span that ends with this one, in order of their times. */
static const char *last_collect(struct derive *d, struct weir_str group, int64_t time)
{
    const struct derived *def = d->def;
    const struct shape *read = d->in[0].follower->read;
    if (d->work == NULL) d->work = cell_new(d);
    struct cell *work = d->work;
    struct aggregate_limits limits = limits_of(d);
    aggregates_reset(def, work->states);
    work->from = time_add(time, -def->size);
    work->to = time;
    derive_key(&d->at, ROW_WINDOW, def, -1, group);
    size_t head = d->at.len;
    derive_key_time(&d->at, work->from + 1);
    void *fields = arena_alloc(&d->arena, read->size + 8u);
    for (struct tree_item *item = tree_seek(&d->shard->rows, buf_str(&d->at), false);
         item != NULL && item->key.len == head + 24 && memcmp(item->key.ptr, d->at.ptr, head) == 0;
         item = tree_seek(&d->shard->rows, item->key, true)) {
        const struct row *row = (const struct row *)item;
        struct aggregate_event event = { fields, read, derive_time_of(item->key.ptr + head),
                                         derive_id_of(item->key.ptr + head + 8) };
        if (event.time > time) break;
        struct weir_str value = { row->value + 1, row->value_len - 1 };
        if (unpack(read, value, &d->arena, false, fields) != WEIR_OK) continue;
        const char *why = aggregates_add(def, work->states, &event, &limits);
        if (why != NULL) return why;
    }
    return NULL;
}

static void last_answer(struct derive *d, uint8_t slot, struct weir_str group, int64_t time,
                        struct weir_str value, bool final)
{
    const char *why = last_collect(d, group, time);
    if (why == NULL) result_emit(d, slot, group, d->work, final);
    else if (final) derive_late(d, &d->in[0], slot, value, why);
}

static void last_event(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    struct shard *s = d->shard;
    if (e->time < e->low) {
        derive_late(d, e->in, e->slot, e->value, "late");
        return;
    }
    derive_key(&d->key, ROW_WINDOW, def, -1, e->group);
    size_t head = d->key.len;
    derive_key_time(&d->key, time_add(e->time, -def->size));
    struct weir_str from = arena_copy(&d->arena, buf_str(&d->key));
    d->key.len = head;
    derive_key_time(&d->key, time_add(e->time, def->size));
    if (tree_count(&s->rows, from, buf_str(&d->key)) >= s->engine->limits.window_events_max) {
        derive_late(d, e->in, e->slot, e->value,
                    "limit: the span holds more than window_events_max events");
        return;
    }
    d->key.len = head;
    derive_key_time(&d->key, e->time);
    derive_key_id(&d->key, e->id);
    buf_reset(&d->packed);
    buf_add_byte(&d->packed, 0);
    buf_add_str(&d->packed, e->value);
    struct row *row = derive_row_put(d, e->slot, buf_str(&d->key), buf_str(&d->packed));
    derive_due(&d->due[0], row, e->time + 1);
    if (def->early) last_answer(d, e->slot, e->group, e->time, e->value, false);
}

/* First it is answered; then it stays for the answers of later ones. */
static void last_close(struct derive *d, struct row *row)
{
    if (row->value[0] != 0) {
        derive_row_delete(d, &d->due[0], row);
        return;
    }
    struct weir_str group = derive_group_of(row->item.key, -1);
    int64_t time = derive_time_of(row->item.key.ptr + row->item.key.len - 24);
    struct weir_str value = { row->value + 1, row->value_len - 1 };
    last_answer(d, row->slot, group, time, value, true);
    row->value[0] = 1;
    effect_put(d->shard, d->shard->epoch, row->slot, row->item.key,
               (struct weir_str){ row->value, row->value_len });
    derive_due(&d->due[0], row, time + d->def->size + 1);
}

/* ---- */

void window_event(struct derive *d, const struct derive_event *e)
{
    switch (d->def->kind) {
    case WINDOW_SPAN: span_event(d, e); break;
    case WINDOW_SESSION: session_event(d, e); break;
    case WINDOW_LAST: last_event(d, e); break;
    case JOIN_WITHIN:
    case JOIN_SPAN:
    case JOIN_AS_OF: break;
    }
}

static bool span_grows(struct derive *d, const struct derive_event *e)
{
    const struct derived *def = d->def;
    derive_key(&d->key, ROW_WINDOW, def, -1, e->group);
    size_t head = d->key.len;
    for (int64_t from = time_floor(e->time, def->slide); from > e->time - def->size;
         from -= def->slide) {
        if (from + def->size + def->correct_ms <= e->low) return false;
        derive_key_time(&d->key, from);
        bool is_new = tree_find(&d->shard->rows, buf_str(&d->key)) == NULL;
        d->key.len = head;
        if (is_new || !aggregates_are_fixed(def)) return true;
    }
    return false;
}

bool window_grows(struct derive *d, const struct derive_event *e)
{
    if (d->def->kind == WINDOW_SPAN) return span_grows(d, e);
    return d->def->kind != WINDOW_LAST || e->time >= e->low;
}

static int due_order(const void *a, const void *b)
{
    const struct row *x = *(struct row *const *)a, *y = *(struct row *const *)b;
    if (x->heap.at != y->heap.at) return x->heap.at < y->heap.at ? -1 : 1;
    return str_cmp(x->item.key, y->item.key);
}

static struct row *due_row(struct heap_item *item)
{
    return (struct row *)(void *)((char *)item - offsetof(struct row, heap));
}

bool window_close(struct derive *d, int64_t low)
{
    struct shard *s = d->shard;
    struct heap *heap = &d->due[0];
    struct row *due[CLOSE_BATCH];
    bool few = ENV_CHANCE(s->env, "window.close_few");
    for (;;) {
        size_t count = 0;
        struct heap_item *item;
        while (count < CLOSE_BATCH && (item = heap_min(heap)) != NULL && item->at <= low) {
            heap_remove(heap, item);
            due[count++] = due_row(item);
        }
        if (count == 0) return true;
        qsort(due, count, sizeof(due[0]), due_order);
        for (size_t i = 0; i < count; i++) {
            arena_reset(&d->arena);
            struct cell *cell = d->def->kind == WINDOW_LAST ? NULL : cell_of(d, due[i]);
            if (cell == NULL) last_close(d, due[i]);
            else if (cell->finals > 0) cell_forget(d, cell); /* nothing corrects it any more */
            else cell_result(d, cell);
        }
        if (few || s->buffers[s->epoch % EPOCH_BUFFERS].len >= s->engine->limits.epoch_bytes_max)
            return (item = heap_min(heap)) == NULL || item->at > low;
    }
}

void window_recover(struct derive *d, struct row *row)
{
    struct reader reader = reader_of((struct weir_str){ row->value, row->value_len });
    if (d->def->kind != WINDOW_LAST) {
        int64_t to = unzigzag(reader_varint(&reader));
        (void)reader_varint(&reader);
        bool closed = d->def->correct_ms > 0 && reader_varint(&reader) > 0;
        derive_due(&d->due[0], row, closed ? to + d->def->correct_ms : to);
        derive_until(d, to + d->def->correct_ms);
        return;
    }
    int64_t time = derive_time_of(row->item.key.ptr + row->item.key.len - 24);
    derive_until(d, time + d->def->size + 1);
    derive_due(&d->due[0], row, row->value[0] == 0 ? time + 1 : time + d->def->size + 1);
}

int64_t derived_extent(const struct derived *def)
{
    return time_add(time_add(def->size, def->late_ms), def->correct_ms) + 2;
}
