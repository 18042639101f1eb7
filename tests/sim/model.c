/*
 * model.c - see model.h.
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>

#define TABLE 4096u
#define STREAMS_MAX 64u
#define KEPT_SYNCED 4u /* frames not folded though synced: what rot may take */

struct entry {
    struct entry *next;
    uint64_t hash;
    char *key, *value;
    size_t key_len, value_len;
    uint8_t slot;
};
struct frame {
    struct frame *next;
    uint64_t epoch;
    int64_t wall_ms, wall_first; /* one that found the disk full is written again, at a later time */
    char *bytes;
    size_t len;
};
struct model {
    struct entry *table[TABLE];
    struct entry *events[TABLE]; /* by their keys without the kind: stream, epoch, n */
    size_t count, records, event_counts[STREAMS_MAX];
    uint64_t epoch; /* folded */
    int64_t wall_ms, wall_first;
    struct frame *frames, **tail;
    uint64_t synced, written, seen;
    int64_t wall_seen, now_seen; /* of the newest frame; of engines that are gone, which had expired by that */
    char wrong[200];
};

static struct model *current;

enum weir_status __real_store_write(struct store *store, const struct store_frame *frame);
enum weir_status __real_store_sync(struct store *store);
enum weir_status __wrap_store_write(struct store *store, const struct store_frame *frame);
enum weir_status __wrap_store_sync(struct store *store);

/* The C library's memory, so that counts of the engine's stay its own. */
static void *copy(const char *bytes, size_t len)
{
    char *to = malloc(len + 1);
    if (to == NULL) abort();
    memcpy(to, bytes, len);
    return to;
}

/* ---- rows ---- */

static uint64_t hash_of(const char *bytes, size_t len)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)bytes[i]) * 0x100000001b3u;
    return h ^ h >> 31;
}

static struct entry **place(struct model *m, const char *key, size_t len)
{
    uint64_t hash = hash_of(key, len);
    struct entry **at = &m->table[hash % TABLE];
    while (*at != NULL && !((*at)->hash == hash && (*at)->key_len == len && memcmp((*at)->key, key, len) == 0))
        at = &(*at)->next;
    return at;
}

static void entry_remove(struct model *m, struct entry **at)
{
    struct entry *e = *at;
    *at = e->next;
    m->count--;
    m->records -= e->key[0] == ROW_RECORD;
    free(e->key);
    free(e->value);
    free(e);
}

#define EVENT_KEY 19u /* kind, stream in 2 bytes, epoch and n in 8 each */
#define EVENT_ID 18u  /* without the kind */

static void event_add(struct model *m, struct weir_str key, struct weir_str value)
{
    struct entry *e = calloc(1, sizeof(*e));
    if (e == NULL || key.len != EVENT_KEY || value.len < 9) abort();
    uint16_t stream = load_be16(key.ptr + 1);
    if (stream >= STREAMS_MAX) abort();
    e->hash = hash_of(key.ptr + 1, EVENT_ID);
    e->key = copy(key.ptr + 1, EVENT_ID);
    e->value = copy(value.ptr, value.len);
    e->value_len = value.len;
    e->next = m->events[e->hash % TABLE];
    m->events[e->hash % TABLE] = e;
    m->event_counts[stream]++;
}

/* The model has every change from the first on: a patch meets the very row it was made for, and names all bytes that are new. */
static void patch(struct model *m, struct entry *e, struct weir_str value)
{
    struct reader r = reader_of(value);
    uint64_t len = reader_varint(&r), named = 0;
    if (e == NULL) {
        if (m->wrong[0] == '\0') snprintf(m->wrong, sizeof(m->wrong), "a patch of a row that is not there");
        return;
    }
    char *now = calloc(1, len + 1);
    if (now == NULL) abort();
    memcpy(now, e->value, len < e->value_len ? len : e->value_len);
    for (uint64_t at = 0; r.at < r.end;) {
        at += reader_varint(&r);
        struct weir_str bytes = reader_bytes(&r, reader_varint(&r));
        memcpy(now + at, bytes.ptr, bytes.len);
        for (uint64_t i = at; i < at + bytes.len; i++) named += i >= e->value_len;
        at += bytes.len;
    }
    if (named + e->value_len < len && m->wrong[0] == '\0')
        snprintf(m->wrong, sizeof(m->wrong), "a patch from %zu to %llu bytes names %llu of the new ones", e->value_len,
                 (unsigned long long)len, (unsigned long long)named);
    free(e->value);
    e->value = now;
    e->value_len = len;
}

static void row_change(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct model *m = arg;
    if (key.ptr[0] == ROW_EVENT) {
        event_add(m, key, value);
        return;
    }
    struct entry **at = place(m, key.ptr, key.len);
    if (op == STORE_DELETE) {
        if (*at != NULL) entry_remove(m, at);
        return;
    }
    if (op == STORE_PATCH) {
        patch(m, *at, value);
        return;
    }
    if (*at == NULL) {
        struct entry *e = calloc(1, sizeof(*e));
        if (e == NULL) abort();
        e->hash = hash_of(key.ptr, key.len);
        e->key = copy(key.ptr, key.len);
        e->key_len = key.len;
        e->slot = slot;
        *at = e;
        m->count++;
        m->records += key.ptr[0] == ROW_RECORD;
    }
    free((*at)->value);
    (*at)->value = copy(value.ptr, value.len);
    (*at)->value_len = value.len;
}

static struct weir_str patch_bytes(struct reader *r)
{
    const char *begin = r->at;
    uint64_t len = reader_varint(r), at = 0;
    while (at < len && !r->failed) {
        at += reader_varint(r);
        at += reader_bytes(r, reader_varint(r)).len;
    }
    return (struct weir_str){ begin, (size_t)(r->at - begin) };
}

/* The form of changes: store.h. Read by a reader of its own. */
static void frame_each(const struct frame *f, store_apply_fn *each, void *arg)
{
    struct reader r = reader_of((struct weir_str){ f->bytes, f->len });
    while (r.at < r.end) {
        uint8_t slot = reader_byte(&r), op = reader_byte(&r);
        struct weir_str key = reader_bytes(&r, reader_varint(&r)), value = STR_NIL;
        if (op == STORE_PUT) value = reader_bytes(&r, reader_varint(&r));
        if (op == STORE_PUT && value.len == 0) value.ptr = "";
        if (op == STORE_PATCH) value = patch_bytes(&r);
        if (r.failed) abort();
        each(arg, slot, (enum store_op)op, key, value);
    }
}

static void fold(struct model *m, const struct frame *f)
{
    frame_each(f, row_change, m);
    m->epoch = f->epoch;
    m->wall_ms = f->wall_ms;
    m->wall_first = f->wall_first;
}

/* ---- frames ---- */

static void frame_free(struct frame *f)
{
    free(f->bytes);
    free(f);
}

static void frames_drop(struct model *m, struct frame **from)
{
    for (struct frame *f = *from, *next; f != NULL; f = next) {
        next = f->next;
        frame_free(f);
    }
    *from = NULL;
    m->tail = from;
}

static void fold_first(struct model *m)
{
    struct frame *f = m->frames;
    fold(m, f);
    m->frames = f->next;
    if (m->frames == NULL) m->tail = &m->frames;
    frame_free(f);
}

static void fold_synced(struct model *m)
{
    unsigned synced = 0;
    for (struct frame *f = m->frames; f != NULL && f->epoch <= m->synced; f = f->next) synced++;
    for (; synced > KEPT_SYNCED; synced--) fold_first(m);
}

static void frame_add(struct model *m, const struct store_frame *frame)
{
    struct frame **at = &m->frames;
    while (*at != NULL && (*at)->epoch < frame->epoch) at = &(*at)->next;
    if (frame->epoch <= m->synced && m->wrong[0] == '\0')
        snprintf(m->wrong, sizeof(m->wrong), "epoch %llu is written again, though synced", (unsigned long long)frame->epoch);
    int64_t wall_first = *at != NULL && (*at)->epoch == frame->epoch ? (*at)->wall_first : frame->wall_ms;
    frames_drop(m, at);
    struct frame *f = calloc(1, sizeof(*f));
    size_t len = 0;
    for (uint32_t i = 0; i < frame->part_count; i++) len += frame->parts[i].len;
    if (f == NULL || (f->bytes = malloc(len + 1)) == NULL) abort();
    for (uint32_t i = 0; i < frame->part_count; i++) {
        memcpy(f->bytes + f->len, frame->parts[i].ptr, frame->parts[i].len);
        f->len += frame->parts[i].len;
    }
    f->epoch = frame->epoch;
    f->wall_ms = frame->wall_ms;
    f->wall_first = wall_first;
    *m->tail = f;
    m->tail = &f->next;
    m->written = frame->epoch;
    m->seen++;
    if (frame->wall_ms < m->wall_seen && m->wrong[0] == '\0')
        snprintf(m->wrong, sizeof(m->wrong), "the time of epoch %llu goes back by %lld ms", (unsigned long long)frame->epoch,
                 (long long)(m->wall_seen - frame->wall_ms));
    m->wall_seen = frame->wall_ms;
}

enum weir_status __wrap_store_write(struct store *store, const struct store_frame *frame)
{
    /* Before: a crash inside may leave it whole. So may one after a full disk, if it comes before the wiping is synced. */
    uint64_t written = current != NULL ? current->written : 0;
    if (current != NULL) frame_add(current, frame);
    enum weir_status st = __real_store_write(store, frame);
    if (st == WEIR_DISKFULL && current != NULL) current->written = written;
    return st;
}

enum weir_status __wrap_store_sync(struct store *store)
{
    enum weir_status st = __real_store_sync(store);
    if (st == WEIR_OK && current != NULL) {
        current->synced = current->written;
        fold_synced(current);
    }
    return st;
}

/* ---- judging ---- */

bool model_recover(struct model *m, const struct store_recovery *recovery, unsigned lost, char *why, size_t why_bytes)
{
    uint64_t least = m->epoch, newest = m->epoch;
    if (lost > 0) m->wrong[0] = '\0';
    if (model_wrong(m, why, why_bytes)) return false;
    unsigned synced = 0;
    for (struct frame *f = m->frames; f != NULL && f->epoch <= m->synced; f = f->next) synced++;
    for (struct frame *f = m->frames; f != NULL; f = f->next) {
        if (synced > lost) least = f->epoch, synced--;
        newest = f->epoch;
    }
    if (lost == 0 && least < m->synced) least = m->synced;
    /* Epochs without effects have no frames: it may be above the newest, if nothing is missing then. */
    if (recovery->durable_epoch < least) {
        snprintf(why, why_bytes, "recovered epoch %llu, not one from %llu (synced) to %llu (written)",
                 (unsigned long long)recovery->durable_epoch, (unsigned long long)least, (unsigned long long)newest);
        return false;
    }
    while (m->frames != NULL && m->frames->epoch <= recovery->durable_epoch) fold_first(m);
    frames_drop(m, &m->frames);
    /* The last frame up to there may lie below: epochs without effects have none, and a checkpoint uses them up. */
    if (recovery->wall_ms < m->wall_first || recovery->wall_ms > m->wall_ms) {
        snprintf(why, why_bytes, "recovered epoch %llu of %lld ms, the last frame up to there is %llu of %lld ms",
                 (unsigned long long)recovery->durable_epoch, (long long)recovery->wall_ms, (unsigned long long)m->epoch,
                 (long long)m->wall_ms);
        return false;
    }
    m->synced = m->written = m->epoch;
    m->wall_ms = m->wall_first = m->wall_seen = recovery->wall_ms;
    return true;
}

static bool row_is_same(struct model *m, uint8_t slot, struct weir_str key, struct weir_str value, char *why, size_t why_bytes)
{
    struct entry *e = *place(m, key.ptr, key.len);
    if (e != NULL && e->slot == slot && e->value_len == value.len && memcmp(e->value, value.ptr, value.len) == 0) return true;
    snprintf(why, why_bytes, "a row of kind %c (`%.*s`) is %s", key.ptr[0], key.len > 5 ? (int)key.len - 5 : 0, key.ptr + 5,
             e ? "not what the log says" : "not in the log");
    return false;
}

static bool shard_is_same(struct model *m, struct shard *s, size_t *rows, size_t *records, char *why, size_t why_bytes)
{
    struct buf key = { 0 };
    bool good = true;
    size_t at = 0;
    for (const struct entity *e; good && (e = index_next(&s->entities, &at)) != NULL;) {
        if (!entity_has_row(e)) continue;
        buf_reset(&key);
        key_entity(&key, e->type_id, entity_key(e));
        good = row_is_same(m, e->slot, buf_str(&key), entity_row(e), why, why_bytes);
        ++*rows;
    }
    buf_free(&key);
    for (struct tree_item *i = tree_seek(&s->rows, STR(""), false); i != NULL && good; i = tree_seek(&s->rows, i->key, true)) {
        const struct row *row = (const struct row *)i;
        good = row_is_same(m, row->slot, i->key, (struct weir_str){ row->value, row->value_len }, why, why_bytes);
        ++*(i->key.ptr[0] == ROW_RECORD ? records : rows);
    }
    return good;
}

static bool engine_has(struct engine *engine, const struct entry *e)
{
    struct weir_str key = { e->key, e->key_len };
    return tree_find(&engine->shards[slot_shard(engine, e->slot)].rows, key) != NULL;
}

/* Records go by age and leave no trace in the log, so that one may come back: those that are gone must have been old
 * enough, by the engine's time, which goes on where nothing is written. */
static bool records_are_old(struct model *m, struct engine *engine, int64_t age_ms, char *why, size_t why_bytes)
{
    int64_t now = atomic_load(&engine->now_ms);
    if (now < m->now_seen) now = m->now_seen;
    for (size_t i = 0; i < TABLE; i++) {
        for (const struct entry *e = m->table[i]; e != NULL; e = e->next) {
            if (e->key[0] != ROW_RECORD || engine_has(engine, e)) continue;
            int64_t age = now - (int64_t)load_le64(e->value + 8);
            if (age > age_ms) continue;
            snprintf(why, why_bytes, "a request record `%.*s` of %lld ms is gone", (int)e->key_len - 5, e->key + 5, (long long)age);
            return false;
        }
    }
    return true;
}

bool model_compare(struct model *m, struct engine *engine, int64_t record_age_ms, char *why, size_t why_bytes)
{
    while (m->frames != NULL) fold_first(m);
    size_t rows = 0, records = 0;
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        if (!shard_is_same(m, &engine->shards[i], &rows, &records, why, why_bytes)) return false;
    }
    if (rows != m->count - m->records) {
        snprintf(why, why_bytes, "%zu rows, the log says %zu", rows, m->count - m->records);
        return false;
    }
    return records == m->records || records_are_old(m, engine, record_age_ms, why, why_bytes);
}

/* ---- events ---- */

struct event_at {
    const char *key; /* EVENT_ID bytes */
    struct weir_str value;
};
struct event_search {
    char key[EVENT_ID];
    struct weir_str found;
    uint16_t stream;
    size_t count;
    struct event_at *into; /* NULL: counted only */
};

static void event_search(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct event_search *s = arg;
    if (key.ptr[0] == ROW_EVENT && memcmp(key.ptr + 1, s->key, EVENT_ID) == 0) s->found = value;
}

static void event_collect(void *arg, uint8_t slot, enum store_op op, struct weir_str key, struct weir_str value)
{
    struct event_search *s = arg;
    if (key.ptr[0] != ROW_EVENT || load_be16(key.ptr + 1) != s->stream) return;
    if (s->into != NULL) s->into[s->count] = (struct event_at){ key.ptr + 1, value };
    s->count++;
}

struct event_parts {
    int64_t time_ms;
    struct weir_str key, value;
};

static struct event_parts event_parts(struct weir_str value)
{
    struct reader r = reader_of((struct weir_str){ value.ptr + 8, value.len - 8 });
    struct event_parts parts = { .time_ms = (int64_t)load_le64(value.ptr) };
    parts.key = reader_bytes(&r, reader_varint(&r));
    parts.value = (struct weir_str){ r.at, (size_t)(r.end - r.at) };
    return parts;
}

bool model_event(const struct model *m, uint16_t stream, struct event_id id, int64_t time_ms, struct weir_str key, struct weir_str value)
{
    struct event_search s = { .found = STR_NIL };
    s.key[0] = (char)(stream >> 8);
    s.key[1] = (char)stream;
    for (int i = 0; i < 8; i++) {
        s.key[2 + i] = (char)(id.epoch >> (56 - 8 * i));
        s.key[10 + i] = (char)(id.n >> (56 - 8 * i));
    }
    for (const struct entry *e = m->events[hash_of(s.key, EVENT_ID) % TABLE]; e != NULL; e = e->next)
        if (memcmp(e->key, s.key, EVENT_ID) == 0) s.found = (struct weir_str){ e->value, e->value_len };
    for (const struct frame *f = m->frames; f != NULL && f->epoch <= id.epoch && f->epoch <= m->synced; f = f->next)
        if (f->epoch == id.epoch) frame_each(f, event_search, &s);
    if (s.found.ptr == NULL) return false;
    struct event_parts parts = event_parts(s.found);
    return parts.time_ms == time_ms && str_eq(parts.key, key) && str_eq(parts.value, value);
}

size_t model_events(const struct model *m, uint16_t stream)
{
    struct event_search s = { .stream = stream, .count = stream < STREAMS_MAX ? m->event_counts[stream] : 0 };
    for (const struct frame *f = m->frames; f != NULL && f->epoch <= m->synced; f = f->next) frame_each(f, event_collect, &s);
    return s.count;
}

static int event_order(const void *a, const void *b)
{
    return memcmp(((const struct event_at *)a)->key, ((const struct event_at *)b)->key, EVENT_ID);
}

static uint64_t load_be(const char *at)
{
    uint64_t n;
    memcpy(&n, at, sizeof(n));
    return __builtin_bswap64(n);
}

void model_events_each(const struct model *m, uint16_t stream, model_event_fn *each, void *arg)
{
    struct event_search s = { .stream = stream, .into = malloc((model_events(m, stream) + 1) * sizeof(struct event_at)) };
    if (s.into == NULL) abort();
    for (size_t i = 0; i < TABLE; i++) {
        for (const struct entry *e = m->events[i]; e != NULL; e = e->next) {
            if (load_be16(e->key) == stream) s.into[s.count++] = (struct event_at){ e->key, { e->value, e->value_len } };
        }
    }
    for (const struct frame *f = m->frames; f != NULL && f->epoch <= m->synced; f = f->next) frame_each(f, event_collect, &s);
    if (s.count > 1) qsort(s.into, s.count, sizeof(struct event_at), event_order);
    for (size_t i = 0; i < s.count; i++) {
        struct event_parts parts = event_parts(s.into[i].value);
        each(arg, (struct event_id){ load_be(s.into[i].key + 2), load_be(s.into[i].key + 10) }, parts.time_ms, parts.key, parts.value);
    }
    free(s.into);
}

uint64_t model_hash(const struct model *m)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TABLE; i++) {
        for (const struct entry *e = m->table[i]; e != NULL; e = e->next)
            sum += (e->hash ^ hash_of(e->value, e->value_len) * 31) * 0x9e3779b97f4a7c15u;
    }
    return sum;
}

bool model_acked(const struct model *m, uint64_t epoch)
{
    for (const struct frame *f = m->frames; f != NULL; f = f->next) {
        if (f->epoch <= epoch && f->epoch > m->synced) return false;
    }
    return true;
}

uint64_t model_synced(const struct model *m)
{
    return m->synced;
}

void model_saw(struct model *m, int64_t now_ms)
{
    if (now_ms > m->now_seen) m->now_seen = now_ms;
}

int64_t model_wall(const struct model *m)
{
    return m->wall_seen;
}

uint64_t model_frames(const struct model *m)
{
    return m->seen;
}

bool model_wrong(const struct model *m, char *why, size_t why_bytes)
{
    if (m->wrong[0] == '\0') return false;
    snprintf(why, why_bytes, "%s", m->wrong);
    return true;
}

void model_use(struct model *m)
{
    current = m;
}

struct model *model_create(void)
{
    struct model *m = calloc(1, sizeof(*m));
    if (m == NULL) abort();
    m->tail = &m->frames;
    m->wall_ms = m->wall_first = m->wall_seen = INT64_MIN;
    return m;
}

void model_destroy(struct model *m)
{
    for (size_t i = 0; i < TABLE; i++) {
        while (m->table[i] != NULL) entry_remove(m, &m->table[i]);
        for (struct entry *e = m->events[i], *next; e != NULL; e = next) {
            next = e->next;
            free(e->key);
            free(e->value);
            free(e);
        }
    }
    frames_drop(m, &m->frames);
    free(m);
}
