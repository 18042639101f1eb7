/*
 * feed.c - the feed: an actor that takes the events of each durable epoch, keeps them (store/events.h), answers
 * readers, sends followers their events, and retires old files.
 *
 * The log writer hands over, epoch by epoch, what the shards emitted; sorted by id that is the one order which
 * everybody sees. So the feed's log is complete up to the durable epoch at any moment, and all readers, groups
 * and followers read the same thing.
 * Followers: the feed has one position for each, walks on from it, and gives events to the shards whose lanes
 * run them (follow.c), at most follow_window unfinished ones on each shard; a slow follower is just a position
 * that lies behind, in memory or in files. At times it sends a mark to all lanes, so that idle ones keep up.
 * Checkpoints: the writer asks for all events below an epoch to be synced (feed_covers()); the feed syncs and
 * leaves the heads for it. Files that retention dropped go once a manifest without them is durable.
 * SPDX-License-Identifier: MIT
 */
#include "core/feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/derive_int.h"

#define EVENTS_PER_TURN 4096u
#define MARK_EVERY 8192u /* events of a follower between two marks */
#define DISK_RETRY_NS UINT64_C(500000000)
#define SPAN_FILES 8u /* a stream kept by size is kept in about so many files */
#define FILE_BYTES_MIN 65536u
#define LATEST_FILE_BYTES                                                                          \
    (4u << 20) /* compaction takes whole files: small ones become old sooner */
#define COMPACT_RETRY_NS UINT64_C(60000000000)

/* What the shards emitted in one epoch: changes side by side. */
struct feed_batch {
    struct feed_batch *next;
    uint64_t epoch;
    uint32_t count;
    struct buf parts[];
};

/* Where a follower is. */
struct follow_state {
    const struct follower *follower;
    struct event_walk walk;
    struct event_id at;   /* the last one given to a shard or skipped */
    struct event_id safe; /* retention may take what lies up to here */
    uint64_t safe_epoch;  /* ... once this epoch is durable */
    struct event_id
        asked; /* a snapshot of `at`, with asked_to for windows and joins: done when all shards have done that much */
    uint64_t *asked_to;
    uint8_t turn; /* of events that are given out; those of the other one were before `asked` */
    _Atomic uint64_t
        left[2]; /* of either turn, that no shard is done with; not for windows and joins */
    bool asking;
    uint64_t sent;       /* in all */
    uint64_t walked;     /* of feed->appended, events that are no control events */
    uint64_t marks_sent; /* of `sent`, those that are no events */
    _Atomic uint64_t marks_done;
    uint64_t *sent_to;      /* by shard */
    _Atomic uint64_t *done; /* by shard; written by it */
    _Atomic uint64_t lag;   /* at the last look, for others */
    uint32_t since_mark;
    uint64_t again_ns; /* a file could not be read: not before */
    bool blocked;      /* a window is full */
    /* of a window or join: its watermark here, in the last mark, and the times it comes from */
    int64_t low, low_marked, top, top_event;
    uint64_t quiet_ns; /* no event since */
    bool beating;      /* a control event is on its way */
    /* What shards have done to the end: their results up to done_low are in the logs. */
    int64_t held_low, done_low;
    uint64_t *held_to, held_epoch;
    bool holding, chained; /* chained: another window or join reads the results */
};

/* Who is the furthest behind of those that hold sources back. */
struct furthest {
    uint32_t by; /* place from 1; 0: nobody */
    uint64_t lag;
};

/* At the last look, for others. */
struct feed_shown {
    _Atomic uint64_t events, bytes;
    _Atomic int64_t oldest_ms;
};

struct feed {
    struct actor actor;
    struct engine *engine;
    struct env *env;
    struct events *events;
    struct event_log **logs;   /* by place of the stream in the catalog */
    struct feed_shown *shown;  /* by the same */
    uint64_t *appended;        /* by the same: events, without control events, since the start */
    struct furthest *furthest; /* by the same: of feed_hold() */
    _Atomic uint32_t
        *held; /* by the same: place of the follower that holds sources back, from 1; 0: none */
    struct follow_state *follows;
    bool started;
    _Atomic(struct feed_batch *) batches; /* from the writer, newest first */
    _Atomic(struct feed_read *) reads;    /* from doors, newest first */
    _Atomic(struct feed_read *) answers[ENGINE_PORTS_MAX];
    struct feed_read *waiting;
    _Atomic uint64_t sync_wanted; /* writer: all below this epoch */
    _Atomic uint64_t covered;     /* feed: all below this epoch is synced, and the heads say so */
    _Atomic(struct event_heads *) heads; /* feed to writer: to be named */
    _Atomic bool name_wanted;            /* ... soon, for the sake of files that go */
    _Atomic uint64_t named;              /* writer: serial in the newest durable manifest */
    uint64_t named_seen;
    uint64_t taken; /* all epochs up to it are in the logs */
    uint64_t retention_ns, retry_ns;
    /* Forced by the simulator, for a whole turn: of a draw for each follower nearly always one would hit. */
    bool hold_late;
    uint64_t compact_ns;   /* not before: the last one failed */
    uint32_t compact_next; /* stream looked at first, so that each has its turn */
    bool pending;          /* events of files known, positions set */
};

/* ---- opening ---- */

static uint32_t stream_place(const struct catalog *catalog, uint16_t id)
{
    uint32_t i = 0;
    while (i < catalog->stream_count && catalog->streams[i]->id != id) i++;
    return i;
}

static uint64_t stream_file_bytes(const struct stream *stream)
{
    uint64_t bytes = stream->keep_bytes / SPAN_FILES;
    if (stream->latest) return LATEST_FILE_BYTES;
    if (stream->keep_bytes == 0) return 0;
    return bytes < FILE_BYTES_MIN ? FILE_BYTES_MIN : bytes;
}

struct raw_event {
    uint16_t stream;
    struct event event;
};

static int raw_order(const void *a, const void *b)
{
    return event_id_cmp(((const struct raw_event *)a)->event.id,
                        ((const struct raw_event *)b)->event.id);
}

static uint64_t load_be64(const char *at)
{
    uint64_t n = 0;
    for (int i = 0; i < 8; i++) n = n << 8 | (uint8_t)at[i];
    return n;
}

struct raw_events {
    struct raw_event *items;
    size_t count, cap;
};

/* Changes as emits_apply() wrote them. */
static void raw_read(struct raw_events *raw, struct weir_str bytes)
{
    struct reader reader = reader_of(bytes);
    while (reader.at < reader.end && !reader.failed) {
        (void)reader_byte(&reader);
        (void)reader_byte(&reader);
        struct weir_str key = reader_bytes(&reader, reader_varint(&reader));
        struct weir_str value = reader_bytes(&reader, reader_varint(&reader));
        if (reader.failed || key.len != 19 || value.len < 9) continue;
        if (raw->count == raw->cap) {
            raw->cap = raw->cap ? raw->cap * 2 : 256;
            raw->items = mem_realloc(raw->items, raw->cap * sizeof(struct raw_event));
        }
        struct raw_event *r = &raw->items[raw->count++];
        struct reader inner = reader_of((struct weir_str){ value.ptr + 8, value.len - 8 });
        r->stream = load_be16(key.ptr + 1);
        r->event.id = (struct event_id){ load_be64(key.ptr + 3), load_be64(key.ptr + 11) };
        r->event.time_ms = (int64_t)load_le64(value.ptr);
        r->event.key = reader_bytes(&inner, reader_varint(&inner));
        r->event.value = (struct weir_str){ inner.at, (size_t)(inner.end - inner.at) };
    }
}

/* In the order of ids; what a file holds already is not taken twice. */
static void raw_append(struct feed *feed, struct raw_events *raw)
{
    if (raw->count > 1) qsort(raw->items, raw->count, sizeof(struct raw_event), raw_order);
    for (size_t i = 0; i < raw->count; i++) {
        const struct catalog *catalog = feed->engine->catalog;
        const struct event *e = &raw->items[i].event;
        uint32_t place = stream_place(catalog, raw->items[i].stream);
        bool known = place < catalog->stream_count;
        struct event_log *log = known ? feed->logs[place]
                                      : events_log(feed->events, raw->items[i].stream, 0);
        if (event_log_append(log, e) && known && !value_is_control(e->value))
            feed->appended[place]++;
    }
    raw->count = 0;
}

/* What says that a stream has ended or is idle is part of its content, whatever keys come and go. */
static bool event_is_control(const struct event *e)
{
    return value_is_control(e->value);
}

enum weir_status feed_open(struct engine *engine, char *error, size_t error_bytes)
{
    const struct catalog *catalog = engine->catalog;
    struct events_options options = { .is_hidden = event_is_control,
                                      .block_bytes = engine->options.event_block_bytes,
                                      .file_bytes = engine->options.event_file_bytes,
                                      .cache_bytes = engine->options.event_cache_bytes };
    struct feed *feed = mem_alloc(sizeof(*feed));
    engine->feed = feed;
    feed->engine = engine;
    feed->env = engine->env;
    enum weir_status st = events_open(engine->store, &options, &feed->events, error, error_bytes);
    if (st != WEIR_OK) return st;
    feed->logs = mem_alloc((catalog->stream_count + 1) * sizeof(struct event_log *));
    feed->shown = mem_alloc((catalog->stream_count + 1) * sizeof(struct feed_shown));
    feed->appended = mem_alloc((catalog->stream_count + 1) * sizeof(uint64_t));
    feed->furthest = mem_alloc((catalog->stream_count + 1) * sizeof(struct furthest));
    feed->held = mem_alloc((catalog->stream_count + 1) * sizeof(_Atomic uint32_t));
    for (uint32_t i = 0; i < catalog->stream_count; i++)
        feed->logs[i] = events_log(feed->events, catalog->streams[i]->id,
                                   stream_file_bytes(catalog->streams[i]));
    struct raw_events raw = { 0 };
    raw_read(&raw, buf_str(&engine->recovered_events));
    raw_append(feed, &raw);
    mem_free(raw.items);
    buf_free(&engine->recovered_events);
    feed->follows = mem_alloc((catalog->follower_count + 1) * sizeof(struct follow_state));
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        struct follow_state *f = &feed->follows[i];
        f->follower = catalog->followers[i];
        f->sent_to = mem_alloc(engine->shard_count * sizeof(uint64_t));
        f->asked_to = mem_alloc(engine->shard_count * sizeof(uint64_t));
        f->held_to = mem_alloc(engine->shard_count * sizeof(uint64_t));
        f->done = mem_alloc(engine->shard_count * sizeof(_Atomic uint64_t));
    }
    atomic_store(&feed->named, store_events_named(engine->store));
    return WEIR_OK;
}

/* The head row of a new follower says "now" or a time: here it gets its place. */
static struct event_id follow_resolve(struct feed *feed, const struct follower *follower,
                                      struct event_id start)
{
    if (start.epoch != UINT64_MAX) return start;
    struct event_log *log = feed->logs[stream_place(feed->engine->catalog, follower->stream->id)];
    struct event_log_info info;
    event_log_info(log, &info);
    struct event_id at = info.last;
    if (start.n > 0) at = event_log_find_time(log, (int64_t)start.n);
    if (start.n > 0 && at.n > 0) at.n--;
    follow_place(feed->engine, follower, at);
    return at;
}

/* True of a stream of results: its watermark comes from what makes them, not from their times. */
static bool is_results(const struct stream *stream)
{
    return stream->from != NULL && stream->from->out == stream;
}

/* Such that the time of a silent stream goes on just until what was found open is closed: how far its last event had
 * it go is not known any more, and each restart would add to it. */
static int64_t top_event_found(const struct feed *feed, const struct follow_state *f)
{
    const struct derived *derived = f->follower->derived;
    int64_t until = INT64_MIN;
    for (uint32_t i = 0; i < feed->engine->shard_count; i++) {
        const struct derive *d = feed->engine->shards[i].derives[derived->place];
        if (d->until > until) until = d->until;
    }
    if (until == INT64_MIN) return until;
    return time_add(time_add(until, derived->late_ms), -derived_extent(derived));
}

static void derive_begin(struct feed *feed, struct follow_state *f)
{
    const struct catalog *catalog = feed->engine->catalog;
    const struct derived *derived = f->follower->derived;
    f->top = f->low == INT64_MIN || f->low == INT64_MAX ? INT64_MIN : f->low + derived->late_ms;
    f->top_event = top_event_found(feed, f);
    f->low_marked = f->done_low = INT64_MIN;
    f->quiet_ns = feed->env->mono_ns(feed->env);
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follower *other = catalog->followers[i];
        if (other->derived != NULL && other->stream == derived->out) f->chained = true;
    }
}

static uint64_t feed_turn(void *self);

void feed_start(struct engine *engine)
{
    struct feed *feed = engine->feed;
    const struct catalog *catalog = engine->catalog;
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        struct follow_state *f = &feed->follows[i];
        f->at = follow_resolve(feed, f->follower, follow_start(engine, f->follower, &f->low));
        if (f->follower->derived != NULL) derive_begin(feed, f);
        f->safe = f->asked = f->at;
        struct event_log *log = feed->logs[f->follower->stream->place];
        f->walked = feed->appended[f->follower->stream->place] - event_log_count_after(log, f->at);
        event_walk_begin(&f->walk, log, f->at, false);
        f->walk.after = true;
        f->since_mark = MARK_EVERY; /* the first mark comes early: "now" stays where it was */
    }
    feed->actor = (struct actor){ .name = "weir-feed", .turn = feed_turn, .self = feed };
    feed->started = true;
    feed->taken = atomic_load(&engine->durable);
    engine->env->actor_start(engine->env, &feed->actor);
    engine->env->actor_wake(engine->env, &feed->actor);
}

void feed_stop(struct engine *engine)
{
    if (engine->feed != NULL && engine->feed->started)
        engine->env->actor_stop(engine->env, &engine->feed->actor);
}

static void batch_free(struct feed_batch *batch)
{
    for (uint32_t i = 0; i < batch->count; i++) buf_free(&batch->parts[i]);
    mem_free(batch);
}

void feed_close(struct engine *engine)
{
    struct feed *feed = engine->feed;
    if (feed == NULL) return;
    engine->feed = NULL;
    for (struct feed_batch *b = atomic_load(&feed->batches), *next; b != NULL; b = next) {
        next = b->next;
        batch_free(b);
    }
    mem_free(atomic_load(&feed->heads));
    for (uint32_t i = 0; feed->follows != NULL && i < engine->catalog->follower_count; i++) {
        event_walk_end(&feed->follows[i].walk);
        mem_free(feed->follows[i].sent_to);
        mem_free(feed->follows[i].asked_to);
        mem_free(feed->follows[i].held_to);
        mem_free((void *)(uintptr_t)feed->follows[i].done);
    }
    events_close(feed->events);
    mem_free(feed->follows);
    mem_free((void *)(uintptr_t)feed->held);
    mem_free(feed->furthest);
    mem_free(feed->appended);
    mem_free(feed->shown);
    mem_free(feed->logs);
    mem_free(feed);
}

void feed_wake(struct engine *engine)
{
    if (engine->feed != NULL && engine->feed->started)
        engine->env->actor_wake(engine->env, &engine->feed->actor);
}

/* ---- from the writer ---- */

void feed_durable(struct engine *engine, uint64_t epoch)
{
    struct feed *feed = engine->feed;
    uint32_t count = 0;
    for (uint32_t i = 0; i < engine->shard_count; i++)
        if (engine->shards[i].events[epoch % EPOCH_BUFFERS].len > 0) count++;
    if (count == 0) return;
    struct feed_batch *batch = mem_alloc(sizeof(*batch) + count * sizeof(struct buf));
    batch->epoch = epoch;
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        struct buf *bytes = &engine->shards[i].events[epoch % EPOCH_BUFFERS];
        if (bytes->len == 0) continue;
        batch->parts[batch->count++] = *bytes;
        *bytes = (struct buf){ 0 };
    }
    batch->next = atomic_load_explicit(&feed->batches, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&feed->batches, &batch->next, batch)) {}
}

void feed_news(struct engine *engine)
{
    const struct feed *feed = engine->feed;
    bool news = atomic_load_explicit(&feed->batches, memory_order_relaxed) != NULL;
    bool syncs = atomic_load(&feed->covered) < atomic_load(&feed->sync_wanted);
    if (news || syncs || engine->catalog->follower_count > 0) feed_wake(engine);
}

static bool heads_take(struct engine *engine)
{
    struct event_heads *heads = atomic_exchange(&engine->feed->heads, NULL);
    if (heads != NULL) store_event_heads(engine->store, heads);
    return heads != NULL;
}

bool feed_covers(struct engine *engine, uint64_t epoch)
{
    struct feed *feed = engine->feed;
    if (atomic_load(&feed->covered) >= epoch) {
        (void)heads_take(engine);
        return true;
    }
    if (atomic_load(&feed->sync_wanted) < epoch) {
        atomic_store(&feed->sync_wanted, epoch);
        feed_wake(engine);
    }
    return false;
}

/* The manifest that the store wrote last, for whatever reason, may have named new heads. */
static void named_publish(struct engine *engine)
{
    uint64_t serial = store_events_named(engine->store);
    if (serial == atomic_load_explicit(&engine->feed->named, memory_order_relaxed)) return;
    atomic_store(&engine->feed->named, serial);
    feed_wake(engine);
}

bool feed_names(struct engine *engine)
{
    struct feed *feed = engine->feed;
    named_publish(engine);
    bool early = ENV_CHANCE(engine->env, "writer.name_now");
    if (!atomic_exchange(&feed->name_wanted, false) && !early) return false;
    if (!heads_take(engine)) return false;
    /* A full disk: the next checkpoint names them. */
    (void)store_name_events(engine->store);
    named_publish(engine);
    return true;
}

/* ---- taking epochs ---- */

static bool feed_take(struct feed *feed)
{
    uint64_t durable = atomic_load_explicit(&feed->engine->durable, memory_order_acquire);
    struct feed_batch *newest = atomic_exchange(&feed->batches, NULL), *oldest = NULL;
    bool any = newest != NULL;
    while (newest != NULL) {
        struct feed_batch *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    struct raw_events raw = { 0 };
    for (struct feed_batch *b = oldest, *next; b != NULL; b = next) {
        next = b->next;
        for (uint32_t i = 0; i < b->count; i++) raw_read(&raw, buf_str(&b->parts[i]));
        raw_append(feed, &raw);
        if (b->epoch > feed->taken) feed->taken = b->epoch;
        batch_free(b);
    }
    mem_free(raw.items);
    if (durable > feed->taken) feed->taken = durable;
    return any;
}

/* ---- readers ---- */

static void read_answer(struct feed *feed, struct feed_read *read, enum weir_status status)
{
    read->status = status;
    uint32_t port = read->port->index;
    struct actor *actor = read->port->actor; /* the read is the door's once it is pushed */
    read->link = atomic_load_explicit(&feed->answers[port], memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&feed->answers[port], &read->link, read)) {}
    if (actor != NULL) feed->env->actor_wake(feed->env, actor);
}

static void item_add(struct feed_read *read, const struct event *e)
{
    struct feed_item *item = mem_alloc(sizeof(*item) + e->key.len + e->value.len + 1);
    char *bytes = (char *)(item + 1);
    item->id = e->id;
    item->time_ms = e->time_ms;
    if (e->key.len > 0) memcpy(bytes, e->key.ptr, e->key.len);
    if (e->value.len > 0) memcpy(bytes + e->key.len, e->value.ptr, e->value.len);
    item->key = (struct weir_str){ bytes, e->key.len };
    item->value = (struct weir_str){ bytes + e->key.len, e->value.len };
    if (read->last != NULL) read->last->next = item;
    else read->items = item;
    read->last = item;
    read->item_count++;
}

static struct event_log *read_log(struct feed *feed, const struct feed_read *read)
{
    return feed->logs[stream_place(feed->engine->catalog, read->stream->id)];
}

static uint64_t follow_in_flight(const struct feed *feed, const struct follow_state *f)
{
    uint64_t done = 0;
    for (uint32_t i = 0; i < feed->engine->shard_count; i++)
        done += atomic_load_explicit(&f->done[i], memory_order_acquire);
    return f->sent - done;
}

/* Events not given to shards, and those that are there: less than what is in flight, for marks are no events. */
static uint64_t follow_lag(const struct feed *feed, const struct follow_state *f)
{
    uint64_t in_flight = follow_in_flight(feed, f);
    uint64_t marks = f->marks_sent - atomic_load_explicit(&f->marks_done, memory_order_acquire);
    return feed->appended[f->follower->stream->place] - f->walked + in_flight - marks;
}

static void read_info(struct feed *feed, struct feed_read *read)
{
    const struct catalog *catalog = feed->engine->catalog;
    read->followers = mem_alloc((catalog->follower_count + 1) * sizeof(*read->followers));
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        const struct follow_state *f = &feed->follows[i];
        if (f->follower->stream != read->stream) continue;
        uint64_t left = follow_in_flight(feed, f);
        read->followers[read->follower_count++] = (struct feed_follower_info){
            f->follower, left == 0 ? f->at : f->safe, left, follow_lag(feed, f)
        };
    }
}

/* One pass over what there is; true when it has an answer. */
static bool read_try(struct feed *feed, struct feed_read *read)
{
    struct event_log *log = read_log(feed, read);
    struct event_walk walk;
    struct event e;
    size_t bytes = 0, bytes_max = read->bytes_max ? read->bytes_max : 1u << 20;
    uint32_t count = read->count ? read->count : 100;
    if (count > FEED_COUNT_MAX) count = FEED_COUNT_MAX;
    if (ENV_CHANCE(feed->env, "feed.read_one")) count = 1;
    event_walk_begin(&walk, log, read->reverse ? read->to : read->from, read->reverse);
    while (read->item_count < count && bytes < bytes_max && event_walk_next(&walk, &e)) {
        if (read->reverse ? event_id_cmp(e.id, read->from) < 0 : event_id_cmp(e.id, read->to) > 0)
            break;
        if (!read->reverse) read->from = (struct event_id){ e.id.epoch, e.id.n + 1 };
        if (value_is_control(e.value)) continue;
        if (read->key.ptr != NULL && !str_eq(read->key, e.key)) continue;
        item_add(read, &e);
        bytes += e.key.len + e.value.len + 64;
    }
    enum weir_status st = walk.status;
    event_walk_end(&walk);
    read->next = read->from;
    event_log_info(log, &read->info);
    bool over = read->item_count > 0 || st != WEIR_OK || read->until_ns == 0 ||
                atomic_load(&read->cancelled);
    if (over) read_answer(feed, read, st);
    return over;
}

static void read_begin(struct feed *feed, struct feed_read *read)
{
    if (read->op == FEED_READ) {
        if (read_try(feed, read)) return;
        read->link = feed->waiting;
        feed->waiting = read;
        return;
    }
    event_log_info(read_log(feed, read), &read->info);
    if (read->op == FEED_FIND_TIME)
        read->from = event_log_find_time(read_log(feed, read), read->time_ms);
    else read_info(feed, read);
    read_answer(feed, read, WEIR_OK);
}

/* True: there are more. */
static bool reads_serve(struct feed *feed, bool news, uint64_t now)
{
    struct feed_read **at = &feed->waiting;
    while (*at != NULL) {
        struct feed_read *read = *at;
        bool due = now >= read->until_ns || atomic_load(&read->cancelled);
        struct feed_read *next = read->link;
        if (due) read->until_ns = 0; /* whatever it has */
        if ((news || due) && read_try(feed, read)) {
            *at = next;
            continue;
        }
        at = &read->link;
    }
    if (ENV_CHANCE(feed->env, "feed.read_late")) return true;
    struct feed_read *newest = atomic_exchange(&feed->reads, NULL), *oldest = NULL;
    while (newest != NULL) {
        struct feed_read *next = newest->link;
        newest->link = oldest;
        oldest = newest;
        newest = next;
    }
    for (struct feed_read *next; oldest != NULL; oldest = next) {
        next = oldest->link;
        read_begin(feed, oldest);
    }
    return false;
}

/* ---- followers ---- */

static void shard_push(struct feed *feed, uint32_t to, struct feed_event *e)
{
    struct shard *s = &feed->engine->shards[to];
    e->next = atomic_load_explicit(&s->feed_in, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&s->feed_in, &e->next, e)) {}
}

static void shard_give(struct feed *feed, struct follow_state *f, uint32_t to, struct feed_event *e)
{
    f->sent++;
    f->sent_to[to]++;
    e->turn = f->turn;
    if (e->follower->derived == NULL && !e->mark)
        atomic_fetch_add_explicit(&f->left[f->turn], 1, memory_order_relaxed);
    shard_push(feed, to, e);
}

static void shards_wake(struct feed *feed, uint64_t which)
{
    for (uint32_t i = 0; i < feed->engine->shard_count; i++) {
        if (which & UINT64_C(1) << i) shard_wake(&feed->engine->shards[i]);
    }
}

static void sent_copy(const struct feed *feed, const struct follow_state *f, uint64_t *to)
{
    memcpy(to, f->sent_to, feed->engine->shard_count * sizeof(uint64_t));
}

/* Each shard has done what had been sent to it then: the sum says less, for one may be far ahead of another. For windows and
 * joins only, which take their events in order. */
static bool sent_is_done(const struct feed *feed, const struct follow_state *f, const uint64_t *to)
{
    for (uint32_t i = 0; i < feed->engine->shard_count; i++) {
        if (atomic_load_explicit(&f->done[i], memory_order_acquire) < to[i]) return false;
    }
    return true;
}

static struct feed_event *feed_event_new(const struct follow_state *f, struct event_id id,
                                         struct weir_str value)
{
    struct feed_event *e = mem_alloc(sizeof(*e) + value.len + 1);
    e->follower = f->follower;
    e->id = id;
    e->len = (uint32_t)value.len;
    if (value.len > 0) memcpy(e->value, value.ptr, value.len);
    return e;
}

static void mark_give(struct feed *feed, struct follow_state *f, bool whole)
{
    if (whole) f->since_mark = 0;
    f->low_marked = f->low;
    for (uint32_t i = 0; i < feed->engine->shard_count; i++) {
        struct feed_event *e = feed_event_new(f, f->at, STR(""));
        e->mark = true;
        e->whole = whole;
        e->low = f->low;
        f->marks_sent++;
        shard_give(feed, f, i, e);
    }
}

/* The slot of the entity that the event names; false when it names none. */
static bool event_slot(const struct follower *follower, const struct event *e, struct arena *arena,
                       uint8_t *slot)
{
    const struct stream *stream = follower->stream;
    struct weir_str key = stream->name;
    if (follower->by >= 0 && follower->by == stream->key_field) key = e->key;
    else if (follower->by >= 0) {
        char *event = arena_alloc(arena, stream->event->size + 8u);
        if (unpack(stream->event, e->value, arena, false, event) != WEIR_OK) return false;
        const struct field *by = &stream->event->fields[follower->by];
        memcpy(&key, event + by->offset, sizeof(key));
        if (by->inline_text)
            key = (struct weir_str){ event + by->offset, strnlen(event + by->offset, by->size) };
    }
    if (key.ptr == NULL || key.len == 0 || key.len > KEY_BYTES_MAX) return false;
    if (follower->by >= 0 && !type_key_fits(follower->type, key)) return false;
    *slot = type_slot(follower->type, key);
    return true;
}

/* Looked at before so many events, and one in as many: a mask. */
static unsigned window_look(struct feed *feed)
{
    return ENV_CHANCE(feed->env, "feed.window_each") ? 0 : 63;
}

static bool window_is_full(struct feed *feed, struct follow_state *f)
{
    uint64_t window = feed->engine->limits.follow_window;
    for (uint32_t i = 0; i < feed->engine->shard_count; i++) {
        if (f->sent_to[i] - atomic_load_explicit(&f->done[i], memory_order_acquire) >= window)
            return true;
    }
    return false;
}

/* One entity may be far behind the others of its shard, so a count of what is done says nothing of which. */
static bool asked_is_done(const struct feed *feed, const struct follow_state *f)
{
#ifndef MUTANT_retire_by_count
    if (f->follower->derived == NULL)
        return atomic_load_explicit(&f->left[f->turn ^ 1], memory_order_acquire) == 0;
#endif
    return sent_is_done(feed, f, f->asked_to);
}

/* What is safe to retire: all that was given out at the last look is done, and the epoch open then durable. */
static void follow_safe(struct feed *feed, struct follow_state *f)
{
    if (f->safe_epoch != 0 && atomic_load(&feed->engine->durable) >= f->safe_epoch) {
        f->safe = f->asked;
        f->safe_epoch = 0;
        f->asking = false;
    }
    if (!f->asking && event_id_cmp(f->at, f->safe) > 0) {
        if (f->follower->derived != NULL) {
            /* Every slot must stand there: the watermark of what is gone cannot be found again. */
            mark_give(feed, f, true);
            shards_wake(feed, UINT64_MAX);
        }
        f->asked = f->at;
        sent_copy(feed, f, f->asked_to);
        f->turn ^= 1; /* nothing is left of that turn: the last question has waited for it */
        f->asking = true;
    }
    if (f->asking && f->safe_epoch == 0 && asked_is_done(feed, f))
        f->safe_epoch = atomic_load(&feed->engine->epoch);
    /* Nobody else may want it: with no more work the last events would never be safe. */
    if (f->safe_epoch != 0) engine_wants(feed->engine, f->safe_epoch);
}

/* A read that failed is tried again: the disk may come back, and nobody else would. A damaged block stays what it is. */
static void follow_unread(struct feed *feed, struct follow_state *f, uint64_t now)
{
    MARK("a follower's read fails");
    if (f->walk.status != WEIR_IO) {
        engine_trace(feed->engine,
                     "\"event\":\"follow_damaged\",\"stream\":\"%.*s\",\"type\":\"%.*s\"",
                     STR_ARG(f->follower->stream->name), STR_ARG(f->follower->type->name));
        f->again_ns = ENV_NEVER;
        return;
    }
    f->walk.status = WEIR_OK;
    f->again_ns = now + DISK_RETRY_NS;
}

static bool walk_on(const struct feed *feed, struct follow_state *f, struct event *e)
{
    if (!event_walk_next(&f->walk, e)) {
        /* All are passed; some may have been before the place that it was told to begin at. */
        if (f->walk.status == WEIR_OK) f->walked = feed->appended[f->follower->stream->place];
        return false;
    }
    f->at = e->id;
    f->since_mark++;
    if (!value_is_control(e->value)) f->walked++;
    return true;
}

static bool follow_feed(struct feed *feed, struct follow_state *f, uint64_t now)
{
    struct event e;
    uint64_t touched = 0;
    struct arena arena = { 0 };
    unsigned n = 0;
    f->blocked = false;
    if (f->since_mark > 0 && f->at.epoch != 0 && ENV_CHANCE(feed->env, "feed.mark_now")) {
        MARK("a follower is marked early");
        f->since_mark = MARK_EVERY;
    }
    unsigned most = ENV_CHANCE(feed->env, "feed.few") ? 1 : EVENTS_PER_TURN;
    unsigned look = window_look(feed);
    for (; n < most && now >= f->again_ns; n++) {
        if ((n & look) == 0 && window_is_full(feed, f)) {
            f->blocked = true;
            break;
        }
        if (!walk_on(feed, f, &e)) break;
        uint8_t slot;
        if (!value_is_control(e.value) && event_slot(f->follower, &e, &arena, &slot)) {
            uint32_t to = slot_shard(feed->engine, slot);
            struct feed_event *copy = feed_event_new(f, e.id, e.value);
            copy->time_ms = e.time_ms;
            copy->slot = slot;
            shard_give(feed, f, to, copy);
            touched |= UINT64_C(1) << to;
        }
        if ((n & 255u) == 255u) arena_reset(&arena);
    }
    arena_free(&arena);
    if (f->walk.status != WEIR_OK && now >= f->again_ns) follow_unread(feed, f, now);
    if (f->since_mark >= MARK_EVERY && f->at.epoch != 0) {
        mark_give(feed, f, true);
        touched = UINT64_MAX;
    }
    shards_wake(feed, touched);
    return n == most;
}

void feed_event_done(struct shard *s, const struct feed_event *e)
{
    struct follow_state *f = &s->engine->feed->follows[e->follower->place];
    feed_credit(s->engine, e->follower, s->index, 1, 0);
    atomic_fetch_sub_explicit(&f->left[e->turn], 1, memory_order_release);
}

void feed_credit(struct engine *engine, const struct follower *follower, uint32_t shard,
                 uint64_t count, uint64_t marks)
{
    struct follow_state *f = &engine->feed->follows[follower->place];
    /* Before: who reads both in the other order sees too many events in flight for a moment, never less than none. */
    if (marks > 0) atomic_fetch_add_explicit(&f->marks_done, marks, memory_order_relaxed);
    atomic_fetch_add_explicit(&f->done[shard], count, memory_order_release);
}

/* ---- windows and joins: groups, times, watermarks ---- */

static void time_seen(struct follow_state *f, int64_t time)
{
    if (time > f->top) f->top = time;
    int64_t low = f->top - f->follower->derived->late_ms;
    if (low > f->low) f->low = low;
}

/* The time of an event by its field; without one, when it was emitted, which never goes back. */
static int64_t route_time(const struct follow_state *f, const struct event *e, const char *route)
{
    const struct follower *follower = f->follower;
    int64_t time = WEIR_NIL;
    if (follower->route_time >= 0)
        memcpy(&time, route + follower->route->fields[follower->route_time].offset, sizeof(time));
    if (time != WEIR_NIL) return time_clamp(time + follower->stream->time_shift);
    time = time_clamp(e->time_ms);
    return follower->route_time < 0 && time < f->top ? f->top : time;
}

struct route {
    struct arena arena;
    struct buf bytes;
};

static uint64_t derive_give(struct feed *feed, struct follow_state *f, const struct event *e,
                            struct route *route)
{
    const struct follower *follower = f->follower;
    char *fields = arena_alloc(&route->arena, follower->route->size + 8u);
    if (unpack(follower->route, e->value, &route->arena, false, fields) != WEIR_OK) return 0;
    buf_reset(&route->bytes);
    pack(follower->group, fields, &route->bytes);
    size_t key_len = route->bytes.len;
    uint8_t slot = (uint8_t)(hash64(0, route->bytes.ptr, key_len) % SLOTS);
    if (key_len == 0)
        slot = (uint8_t)(hash64(0, f->follower->derived->name.ptr, f->follower->derived->name.len) %
                         SLOTS);
    buf_add_str(&route->bytes, e->value);
    struct feed_event *copy = feed_event_new(f, e->id, buf_str(&route->bytes));
    copy->key_len = (uint32_t)key_len;
    copy->slot = slot;
    copy->time_ms = route_time(f, e, fields);
    copy->low = f->low;
    if (!is_results(follower->stream)) {
        if (copy->time_ms > f->top_event) f->top_event = copy->time_ms;
        time_seen(f, copy->time_ms);
    }
    copy->low_after = f->low;
    shard_give(feed, f, slot_shard(feed->engine, slot), copy);
    return UINT64_C(1) << slot_shard(feed->engine, slot);
}

static void control_take(struct follow_state *f, struct weir_str value)
{
    uint16_t derived;
    int64_t time;
    int what = control_read(value, &derived, &time);
    if (what == CONTROL_END) f->low = INT64_MAX;
    if (what != CONTROL_BEAT || derived != f->follower->derived->id) return;
    f->beating = false;
    time_seen(f, time);
}

/* The least that all who make the results have done to the end. */
static int64_t results_low(const struct feed *feed, const struct stream *stream)
{
    int64_t low = INT64_MAX;
    for (uint32_t i = 0; i < stream->from->in_count; i++) {
        const struct follow_state *f = &feed->follows[stream->from->in[i]->place];
        if (f->done_low < low) low = f->done_low;
    }
    /* What is corrected comes behind what was closed; none of it is late for who looks at the results. */
    return low == INT64_MAX ? low : time_add(low, -stream->from->correct_ms);
}

/* Marks that all shards have worked off, in an epoch that is in the logs: results up to there are, too. */
static void hold_step(struct feed *feed, struct follow_state *f)
{
    if (!f->chained) return;
    if (f->holding && f->held_epoch == 0 && sent_is_done(feed, f, f->held_to)) {
        f->held_epoch = atomic_load(&feed->engine->epoch);
        engine_wants(feed->engine, f->held_epoch);
    }
    if (f->holding && f->held_epoch != 0 && feed->taken >= f->held_epoch) {
        f->done_low = f->held_low;
        f->holding = false;
    }
    if (f->holding || f->low_marked <= f->done_low) return;
    f->held_low = f->low_marked;
    f->held_epoch = 0;
    f->holding = true;
    sent_copy(feed, f, f->held_to);
}

/* How far the time of an idle stream may go on: then all windows of its last event are closed. */
static bool beat_is_due(const struct follow_state *f, uint64_t now, uint64_t *due)
{
    const struct derived *derived = f->follower->derived;
    if (derived->idle_ms == 0 || f->beating || f->top == INT64_MIN || f->low == INT64_MAX ||
        is_results(f->follower->stream) ||
        f->top >= time_add(f->top_event, derived_extent(derived)))
        return false;
    *due = f->quiet_ns + (uint64_t)derived->idle_ms * 1000000u;
    return now >= *due;
}

static void beat_give(struct feed *feed, struct follow_state *f, uint64_t now)
{
    const struct derived *derived = f->follower->derived;
    struct feed_event *e = feed_event_new(f, f->at, STR(""));
    int64_t most = time_add(f->top_event, derived_extent(derived));
    e->beat = true;
    e->time_ms = f->top + (int64_t)((now - f->quiet_ns) / 1000000u);
    if (e->time_ms > most) e->time_ms = most;
    f->beating = true;
    f->quiet_ns = now;
    shard_push(feed, 0, e);
    shard_wake(&feed->engine->shards[0]);
}

static bool derive_feed(struct feed *feed, struct follow_state *f, uint64_t now)
{
    const struct stream *stream = f->follower->stream;
    /* Before the walk: it passes all results up to there. */
    int64_t ahead = is_results(stream) ? results_low(feed, stream) : INT64_MIN;
    uint64_t touched = 0, due;
    struct route route = { 0 };
    struct event e;
    unsigned n = 0, look = window_look(feed);
    unsigned most = ENV_CHANCE(feed->env, "feed.derive_few") ? 1 : EVENTS_PER_TURN;
    bool ended = false, late = feed->hold_late;
    if (!late) hold_step(feed, f);
    f->blocked = false;
    for (; n < most && now >= f->again_ns; n++) {
        if ((n & look) == 0 && window_is_full(feed, f)) {
            f->blocked = true;
            break;
        }
        bool more = walk_on(feed, f, &e);
        ended = !more && f->walk.status == WEIR_OK; /* what cannot be read is not the end */
        if (!more) break;
        if (value_is_control(e.value)) {
            control_take(f, e.value);
        } else {
            touched |= derive_give(feed, f, &e, &route);
            f->quiet_ns = now; /* beats, its own or another window's, do not end a silence */
        }
        if ((n & 255u) == 255u) arena_reset(&route.arena);
    }
    arena_free(&route.arena);
    buf_free(&route.bytes);
    if (f->walk.status != WEIR_OK && now >= f->again_ns) follow_unread(feed, f, now);
    if (ended && ahead > f->low) f->low = ahead;
    bool early = f->since_mark > 0 && ENV_CHANCE(feed->env, "feed.derive_mark");
    bool whole = (f->since_mark >= MARK_EVERY || early) && f->at.epoch != 0;
    if (whole || (ended && f->low > f->low_marked)) {
        mark_give(feed, f, whole);
        touched = UINT64_MAX;
        if (!late) hold_step(feed, f);
    }
    shards_wake(feed, touched);
    if (ended && beat_is_due(f, now, &due) && !ENV_CHANCE(feed->env, "feed.beat_late"))
        beat_give(feed, f, now);
    return n == most || late;
}

/* ---- files ---- */

static void feed_poison(struct feed *feed)
{
    atomic_store(&feed->engine->poisoned, 1);
    for (uint32_t p = 0; p < feed->engine->port_count; p++) {
        if (feed->engine->ports[p].actor != NULL)
            feed->env->actor_wake(feed->env, feed->engine->ports[p].actor);
    }
}

static void heads_give(struct feed *feed)
{
    struct event_heads *old = atomic_exchange(&feed->heads, events_heads(feed->events));
    mem_free(old);
}

/* The writer waits for a sync: all below the epoch is here once that many are durable. */
static uint64_t feed_sync(struct feed *feed, uint64_t now)
{
    uint64_t wanted = atomic_load(&feed->sync_wanted);
    bool early = atomic_load(&feed->covered) <= feed->taken &&
                 ENV_CHANCE(feed->env, "feed.sync_now");
    if (!early && (atomic_load(&feed->covered) >= wanted || feed->taken + 1 < wanted))
        return ENV_NEVER;
    if (feed->retry_ns > now) return feed->retry_ns;
    enum weir_status st = ENV_CHANCE(feed->env, "feed.no_room") ? WEIR_DISKFULL
                                                                : events_sync(feed->events);
    if (st == WEIR_POISONED) {
        MARK("poisoned: sync of events");
        feed_poison(feed);
        return ENV_NEVER;
    }
    if (st != WEIR_OK) {
        MARK("events are synced later");
        feed->retry_ns = now + DISK_RETRY_NS;
        return feed->retry_ns;
    }
    heads_give(feed);
    atomic_store(&feed->covered, feed->taken + 1);
    feed->env->actor_wake(feed->env, &feed->engine->writer.actor);
    return ENV_NEVER;
}

static void heads_name(struct feed *feed)
{
    heads_give(feed);
    atomic_store(&feed->name_wanted, true);
    feed->env->actor_wake(feed->env, &feed->engine->writer.actor);
}

static struct event_id stream_safe(const struct feed *feed, const struct stream *stream)
{
    struct event_id safe = { UINT64_MAX, UINT64_MAX };
#ifdef MUTANT_retire_ahead
    return safe;
#endif
    for (uint32_t k = 0; k < feed->engine->catalog->follower_count; k++) {
        const struct follow_state *f = &feed->follows[k];
        if (f->follower->stream == stream && event_id_cmp(f->safe, safe) < 0) safe = f->safe;
    }
    return safe;
}

/* Does the event end its key? */
static bool event_is_gone(void *arg, const struct event *e)
{
    const struct stream *stream = arg;
    struct arena arena = { 0 };
    char *event = arena_alloc(&arena, stream->event->size + 8u);
    const struct field *field = &stream->event->fields[stream->gone_field];
    bool gone = unpack(stream->event, e->value, &arena, false, event) == WEIR_OK &&
                event[field->offset] != 0;
    arena_free(&arena);
    return gone;
}

/* Followers see every event, as with retention: what one has not done yet stays. */
static void feed_compact_begin(struct feed *feed, uint32_t place, int64_t wall)
{
    const struct stream *stream = feed->engine->catalog->streams[place];
    const struct engine_limits *limits = &feed->engine->limits;
    bool now = ENV_CHANCE(feed->env, "compact.now");
    struct event_compaction how = {
        .safe = stream_safe(feed, stream),
        .before_ms = stream->keep_ms ? wall - stream->keep_ms : INT64_MAX,
        .bytes_min = now ? 0 : limits->compact_bytes_min,
        .dirty_percent = now ? 0 : (uint32_t)limits->compact_dirty_percent,
        .memory_bytes = limits->compact_memory_bytes,
        .is_gone = stream->gone_field >= 0 ? event_is_gone : NULL,
        .arg = feed->engine->catalog->streams[place],
        .gone_before_ms = wall - (int64_t)limits->tombstone_keep_ms,
    };
    enum weir_status st = event_log_compact(feed->logs[place], &how);
    if (st == WEIR_OK) feed->compact_next = place + 1;
    if (st == WEIR_POISONED) feed_poison(feed);
}

/* One step of the compaction that runs. */
static void feed_compact(struct feed *feed, uint64_t now)
{
    struct event_compacted figures;
    bool done;
    enum weir_status st = events_compact(feed->events, &done, &figures);
    if (st == WEIR_POISONED) {
        feed_poison(feed);
    } else if (st != WEIR_OK) {
        feed->compact_ns = now + COMPACT_RETRY_NS;
        engine_trace(feed->engine, "\"event\":\"compaction_failed\",\"error\":\"%s\"",
                     weir_status_word(st));
    }
    if (!done) return;
    heads_name(feed);
    const struct catalog *catalog = feed->engine->catalog;
    uint32_t place = stream_place(catalog, figures.stream);
    engine_trace(feed->engine,
                 "\"event\":\"stream_compacted\",\"stream\":\"%.*s\",\"events\":%llu,\"left\":%llu,"
                 "\"bytes\":%llu,"
                 "\"bytes_left\":%llu",
                 STR_ARG(place < catalog->stream_count ? catalog->streams[place]->name : STR("")),
                 (unsigned long long)figures.events_before,
                 (unsigned long long)figures.events_after, (unsigned long long)figures.bytes_before,
                 (unsigned long long)figures.bytes_after);
}

static void feed_retire(struct feed *feed, uint64_t now)
{
    const struct catalog *catalog = feed->engine->catalog;
    int64_t wall = feed->env->wall_ms(feed->env);
    bool any = false;
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        if (!ENV_CHANCE(feed->env, "feed.safe_late")) follow_safe(feed, &feed->follows[i]);
    }
    uint32_t first = feed->compact_next;
    for (uint32_t k = 0; k < catalog->stream_count; k++) {
        uint32_t i = (first + k) % catalog->stream_count;
        const struct stream *stream = catalog->streams[i];
        if (stream->latest) {
            if (now >= feed->compact_ns) feed_compact_begin(feed, i, wall);
            continue;
        }
        int64_t before = stream->keep_ms ? wall - stream->keep_ms : 0;
        any |= event_log_trim(feed->logs[i], before, stream->keep_bytes, stream_safe(feed, stream));
    }
    if (any) MARK("events are retired");
    if (any || ENV_CHANCE(feed->env, "feed.name_early")) heads_name(feed);
}

/* What /metrics and INFO tell, without a read. */
static void feed_show(struct feed *feed)
{
    const struct catalog *catalog = feed->engine->catalog;
    struct event_log_info info;
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        event_log_info(feed->logs[i], &info);
        atomic_store_explicit(&feed->shown[i].events, info.count, memory_order_relaxed);
        atomic_store_explicit(&feed->shown[i].bytes, info.bytes, memory_order_relaxed);
        atomic_store_explicit(&feed->shown[i].oldest_ms, info.count ? info.time_first : 0,
                              memory_order_relaxed);
    }
}

/*
 * Throttling. Events lie on the disk, so a slow follower costs no memory; but who emits from outside should not get ahead
 * of it for ever. While one is follower_lag_max behind, such requests are refused (emit.c) and come again. Emits inside
 * transactions go on: refusing them would undo work that has nothing to do with the follower.
 */
static void feed_hold(struct feed *feed)
{
    const struct catalog *catalog = feed->engine->catalog;
    uint64_t limit = feed->engine->limits.follower_lag_max;
    memset(feed->furthest, 0, catalog->stream_count * sizeof(struct furthest));
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        struct follow_state *f = &feed->follows[i];
        struct furthest *most = &feed->furthest[f->follower->stream->place];
        uint64_t lag = follow_lag(feed, f);
        atomic_store_explicit(&f->lag, lag, memory_order_relaxed);
        /* One that met damage waits for a person: sources would for ever. */
        if (lag < limit || f->again_ns == ENV_NEVER || (most->by != 0 && lag <= most->lag))
            continue;
        *most = (struct furthest){ i + 1, lag };
    }
    for (uint32_t i = 0; i < catalog->stream_count; i++) {
        if (feed->furthest[i].by != 0) MARK("sources are held back: follower_lag_max");
        atomic_store_explicit(&feed->held[i], feed->furthest[i].by, memory_order_relaxed);
    }
}

const struct follower *feed_held_by(const struct engine *engine, const struct stream *stream,
                                    uint64_t *lag)
{
    const struct feed *feed = engine->feed;
    uint32_t by = atomic_load_explicit(&feed->held[stream->place], memory_order_relaxed);
    *lag = by == 0 ? 0 : atomic_load_explicit(&feed->follows[by - 1].lag, memory_order_relaxed);
    return by == 0 ? NULL : engine->catalog->followers[by - 1];
}

static uint64_t feed_turn(void *self)
{
    struct feed *feed = self;
    const struct catalog *catalog = feed->engine->catalog;
    uint64_t now = feed->env->mono_ns(feed->env), next = ENV_NEVER;
    if (atomic_load(&feed->engine->poisoned)) {
        for (struct feed_read *r = feed->waiting; r != NULL; r = r->link) r->until_ns = 0;
        return reads_serve(feed, false, now) ? 0 : ENV_NEVER;
    }
    bool more = ENV_CHANCE(feed->env, "feed.take_late"), news = !more && feed_take(feed);
    feed->hold_late = ENV_CHANCE(feed->env, "feed.hold_late");
    more |= reads_serve(feed, news || ENV_CHANCE(feed->env, "feed.news"), now);
    for (uint32_t i = 0; i < catalog->follower_count; i++)
        more |= feed->follows[i].follower->derived != NULL
                    ? derive_feed(feed, &feed->follows[i], now)
                    : follow_feed(feed, &feed->follows[i], now);
    if (catalog->follower_count > 0) feed_hold(feed);
    next = feed_sync(feed, now);
    uint64_t named = atomic_load(&feed->named);
    if (named != feed->named_seen) {
        feed->named_seen = named;
        events_named(feed->events, named);
    }
    if (!ENV_CHANCE(feed->env, "feed.write_late") && events_write(feed->events)) more = true;
    if (catalog->stream_count > 0 &&
        (now >= feed->retention_ns || ENV_CHANCE(feed->env, "feed.retire_now"))) {
        feed->retention_ns = now + feed->engine->limits.retention_check_ms * 1000000u;
        feed_retire(feed, now);
        feed_show(feed);
    }
    if (events_compacting(feed->events)) {
        if (!ENV_CHANCE(feed->env, "feed.compact_late")) feed_compact(feed, now);
        more = true;
    }
    if (more) return 0;
    for (const struct feed_read *r = feed->waiting; r != NULL; r = r->link)
        if (r->until_ns < next) next = r->until_ns;
    for (uint32_t i = 0; i < catalog->follower_count; i++)
        if (feed->follows[i].again_ns > now && feed->follows[i].again_ns < next)
            next = feed->follows[i].again_ns;
    if (catalog->stream_count > 0 && feed->retention_ns < next) next = feed->retention_ns;
    for (uint32_t i = 0; i < catalog->follower_count; i++) {
        uint64_t due = ENV_NEVER;
        const struct follow_state *f = &feed->follows[i];
        /* Held up, it is not at the end of its stream: then nothing is given however late it is. */
        if (f->follower->derived == NULL || f->blocked || f->again_ns > now) continue;
        (void)beat_is_due(f, now, &due);
        if (due < next) next = due;
    }
    return next;
}

/* ---- the door ---- */

void feed_submit(struct port *port, struct feed_read *read)
{
    struct feed *feed = port->engine->feed;
    read->port = port;
    read->items = read->last = NULL;
    read->item_count = read->follower_count = 0;
    read->followers = NULL;
    if (read->op == FEED_READ && read->to.epoch == 0 && read->to.n == 0)
        read->to = (struct event_id){ UINT64_MAX, UINT64_MAX };
    atomic_store(&read->cancelled, 0);
    read->link = atomic_load_explicit(&feed->reads, memory_order_relaxed);
    while (!atomic_compare_exchange_weak(&feed->reads, &read->link, read)) {}
    feed_wake(port->engine);
}

struct feed_read *feed_next(struct port *port)
{
    struct feed *feed = port->engine->feed;
    if (port->answered == NULL) {
        struct feed_read *newest = atomic_exchange(&feed->answers[port->index], NULL);
        while (newest != NULL) {
            struct feed_read *next = newest->link;
            newest->link = port->answered;
            port->answered = newest;
            newest = next;
        }
    }
    struct feed_read *read = port->answered;
    if (read != NULL) port->answered = read->link;
    return read;
}

void feed_cancel(struct engine *engine, struct feed_read *read)
{
    atomic_store(&read->cancelled, 1);
    feed_wake(engine);
}

void feed_read_free(struct feed_read *read)
{
    for (struct feed_item *item = read->items, *next; item != NULL; item = next) {
        next = item->next;
        mem_free(item);
    }
    mem_free(read->followers);
    read->items = read->last = NULL;
    read->followers = NULL;
    read->item_count = read->follower_count = 0;
}

void feed_figures(const struct engine *engine, uint32_t stream, struct feed_figures *out)
{
    const struct feed_shown *shown = &engine->feed->shown[stream];
    *out = (struct feed_figures){
        atomic_load_explicit(&shown->events, memory_order_relaxed),
        atomic_load_explicit(&shown->bytes, memory_order_relaxed),
        atomic_load_explicit(&shown->oldest_ms, memory_order_relaxed),
    };
}

uint64_t feed_lag(const struct engine *engine, uint32_t follower)
{
    return atomic_load_explicit(&engine->feed->follows[follower].lag, memory_order_relaxed);
}

enum weir_status feed_unpack(const struct stream *stream, struct weir_str value,
                             struct arena *arena, void *event)
{
    return unpack(stream->event, value, arena, false, event);
}
