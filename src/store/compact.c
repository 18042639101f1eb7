/*
 * compact.c - compaction of a log of events by key: of what is old enough only the newest event of each key stays.
 *
 * After Kafka's log cleaner (Kreps, Narkhede, Rao: "Kafka: a Distributed Messaging System for Log Processing",
 * NetDB 2011; KIP-58, KIP-280): events keep their ids and their order, and who reads from the start sees at least
 * the newest event of every key. What differs: the whole compacted part is one file, replaced at once.
 *
 *   compacted file | files that were never compacted ... | newest file
 *   \____________ one run takes these _____/
 *
 *   event_log_compact(): the log is synced; which files are taken is settled -> MAP
 *   MAP   reads the files taken and notes the newest id of each key, as far as memory goes -> COPY
 *   COPY  reads all that is taken and writes what stays into a new file, in blocks -> swap
 *   swap  syncs file and directory; from here on readers see the new file, and the heads name it
 *
 * Each call of events_compact() does about a block, so that readers wait for no more. A crash before the manifest
 * with the new heads is durable finds the old files, which go only after that; one behind it finds the new file, and
 * the rest is removed as leftover. So an event is never counted twice.
 * In memory the new blocks take the last numbers of those they replace: numbers stay without gaps, and all else
 * in events.c needs to know nothing. Walks find their place again by id (event_log.compactions).
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>

#include "store/events_int.h"

#define SYNC_BYTES                                                                                 \
    (UINT64_C(4) << 20) /* of the new file at a time: one long sync would hold up readers */
#define SLOTS_MIN 1024u

struct key_slot {
    struct event_id newest;
    uint64_t hash;
    uint32_t at, len; /* of the key, in `keys`; at 0: free */
};

struct compaction {
    struct event_log *log;
    struct event_compaction how;
    bool copying;
    uint64_t at, end;     /* blocks: the next to be read; the first not taken */
    uint32_t files, file; /* taken, the compacted one not counted; those mapped */
    struct buf keys;
    struct key_slot *slots;
    uint32_t slot_count, slot_used; /* a power of two */
    struct buf loaded;
    /* the new file */
    int fd;
    uint32_t number;
    uint64_t offset, synced, chain, block_bytes, replaced; /* blocks that it may have at most */
    struct block *blocks, open;
    uint32_t block_count, block_cap;
    struct buf bytes, frame; /* of the open block; a block as it is written */
    uint64_t events, payload;
};

static uint32_t log_compacted(const struct event_log *log)
{
    return log->file_count > 0 && (log->files[0].number & EVENT_FILE_COMPACTED) ? 1 : 0;
}

bool event_log_compacts(const struct event_log *log)
{
    return log->events->compaction != NULL && log->events->compaction->log == log;
}

bool events_compacting(const struct events *events)
{
    return events->compaction != NULL;
}

void compaction_free(struct events *events)
{
    struct compaction *c = events->compaction;
    events->compaction = NULL;
    if (c == NULL) return;
    if (c->fd >= 0) events->env->close(events->env, c->fd);
    buf_free(&c->keys);
    buf_free(&c->loaded);
    buf_free(&c->bytes);
    buf_free(&c->frame);
    mem_free(c->slots);
    mem_free(c->blocks);
    mem_free(c);
}

/* ---- what is taken ---- */

/* The block behind the last of a file. */
static uint64_t file_end(const struct event_log *log, uint32_t file)
{
    return file + 1 < log->file_count ? log->files[file + 1].first_block
                                      : log->first_block + log->block_count;
}

static bool blocks_fit(const struct event_log *log, uint64_t begin, uint64_t end,
                       const struct event_compaction *how, uint64_t *bytes)
{
    for (uint64_t n = begin; n < end; n++) {
        const struct block *b = event_block_at(log, n);
        if (b->time_last >= how->before_ms || event_id_cmp(b->last, how->safe) > 0) return false;
        *bytes += b->len;
    }
    return end > begin;
}

/* Files from the front with nothing too young, if they are worth it; else 0. */
static uint32_t files_taken(const struct event_log *log, const struct event_compaction *how)
{
    uint32_t first = log_compacted(log), files = 0;
    uint64_t dirty = 0, sum = 0;
    /* What is in no file yet counts to the newest, or will be the first. */
    if (log->file_count == first &&
        blocks_fit(log, log->written, log->first_block + log->block_count, how, &dirty))
        files = 1;
    for (uint32_t i = first; i < log->file_count; i++) {
        if (!blocks_fit(log, log->files[i].first_block, file_end(log, i), how, &sum)) break;
        dirty = sum;
        files++;
    }
    bool worth = dirty >= how->bytes_min &&
                 dirty * 100 >= how->dirty_percent * (dirty + log->compacted_bytes);
    return worth ? files : 0;
}

enum weir_status event_log_compact(struct event_log *log, const struct event_compaction *how)
{
    struct events *events = log->events;
    if (events->compaction != NULL || files_taken(log, how) == 0) return WEIR_NOMORE;
    enum weir_status st = event_log_sync(log);
    if (st != WEIR_OK) return st;
    uint32_t files = files_taken(log, how), first = log_compacted(log);
    ASSERT(files > 0 && first + files <= log->file_count);
    struct event_file *last = &log->files[first + files - 1];
    /* No more is written into a file that is taken. */
    if (last->fd >= 0) events->env->close(events->env, last->fd);
    last->fd = -1;
    struct compaction *c = mem_alloc(sizeof(*c));
    events->compaction = c;
    c->log = log;
    c->how = *how;
    c->fd = -1;
    c->files = files;
    c->at = log->files[first].first_block;
    c->end = file_end(log, first + files - 1);
    c->slot_count = SLOTS_MIN;
    c->slots = mem_alloc(c->slot_count * sizeof(struct key_slot));
    buf_add_byte(&c->keys, 0); /* place 0 says "free" */
    return WEIR_OK;
}

/* ---- newest ids by key ---- */

static struct key_slot *slot_find(const struct compaction *c, struct weir_str key, uint64_t hash)
{
    for (uint32_t i = (uint32_t)hash & (c->slot_count - 1);; i = (i + 1) & (c->slot_count - 1)) {
        struct key_slot *slot = &c->slots[i];
        if (slot->at == 0) return slot;
        /* Whole keys: two that share a hash are still two. */
        if (slot->hash == hash && slot->len == key.len &&
            memcmp(c->keys.ptr + slot->at, key.len ? key.ptr : "", key.len) == 0)
            return slot;
    }
}

static uint64_t key_hash(const struct compaction *c, struct weir_str key)
{
    return hash64(store_seed(c->log->events->store, c->log->stream, 0), key.ptr ? key.ptr : "",
                  key.len);
}

static void slots_grow(struct compaction *c)
{
    struct key_slot *old = c->slots;
    uint32_t count = c->slot_count;
    c->slot_count *= 2;
    c->slots = mem_alloc((size_t)c->slot_count * sizeof(struct key_slot));
    for (uint32_t k = 0; k < count; k++) {
        if (old[k].at == 0) continue;
        uint32_t i = (uint32_t)old[k].hash & (c->slot_count - 1);
        while (c->slots[i].at != 0) i = (i + 1) & (c->slot_count - 1);
        c->slots[i] = old[k];
    }
    mem_free(old);
}

static void key_note(struct compaction *c, const struct event *e)
{
    if (event_is_hidden(c->log, e)) return;
    uint64_t hash = key_hash(c, e->key);
    struct key_slot *slot = slot_find(c, e->key, hash);
    if (slot->at == 0) {
        *slot = (struct key_slot){ e->id, hash, (uint32_t)c->keys.len, (uint32_t)e->key.len };
        buf_add_str(&c->keys, e->key);
        buf_add_byte(&c->keys, 0);
        if (++c->slot_used * 4 > c->slot_count * 3) slots_grow(c);
        return;
    }
    slot->newest = e->id; /* they come in the order of ids */
}

static uint64_t memory_taken(const struct compaction *c)
{
    return c->keys.len + (uint64_t)c->slot_count * sizeof(struct key_slot);
}

/* ---- the new file ---- */

/* Nobody knows of the new file: without it all is as it was. */
static enum weir_status give_up(struct events *events, enum weir_status why)
{
    struct compaction *c = events->compaction;
    char name[ENV_NAME_MAX];
    event_file_name(name, c->log->stream, c->number);
    bool made = c->number != 0;
    compaction_free(events);
    if (made) (void)events->env->unlink(events->env, events->store->dir, name);
    return why;
}

static int64_t file_begin(struct compaction *c)
{
    struct event_log *log = c->log;
    struct env *env = log->events->env;
    char name[ENV_NAME_MAX];
    uint8_t header[FILE_HEADER_BYTES];
    c->number = log->next_compacted | EVENT_FILE_COMPACTED;
    event_file_name(name, log->stream, c->number);
    c->fd = env->open(env, log->events->store->dir, name, ENV_WRITE | ENV_CREATE);
    if (c->fd < 0) return c->fd;
    int64_t error = env->truncate(env, c->fd, 0);
    file_header(log->events->store, FILE_EVENTS, event_file_sequence(log->stream, c->number), 0, 0,
                header);
    if (error >= 0) error = env->write(env, c->fd, header, sizeof(header), 0);
    c->offset = FILE_HEADER_BYTES;
    return error;
}

static int64_t block_finish(struct compaction *c)
{
    struct event_log *log = c->log;
    struct env *env = log->events->env;
    struct block *b = &c->open;
    char header[BLOCK_HEADER_BYTES];
    if (b->count == 0) return 0;
    b->len = (uint32_t)c->bytes.len;
    b->file = c->number;
    b->offset = c->offset;
    uint64_t seed = store_seed(log->events->store, event_file_sequence(log->stream, c->number),
                               c->offset);
    uint64_t hash = hash64(seed, c->bytes.ptr, c->bytes.len);
    event_block_header(log, b, c->block_count + 1, hash, c->chain, c->number, c->offset, header);
    buf_reset(&c->frame);
    buf_add(&c->frame, header, sizeof(header));
    buf_add(&c->frame, c->bytes.ptr, c->bytes.len);
    int64_t error = env->write(env, c->fd, c->frame.ptr, c->frame.len, c->offset);
    if (error < 0) return error;
    if (c->block_count == c->block_cap) {
        c->block_cap = c->block_cap ? c->block_cap * 2 : 16;
        c->blocks = mem_realloc(c->blocks, c->block_cap * sizeof(struct block));
    }
    c->blocks[c->block_count++] = *b;
    c->offset += c->frame.len;
    c->chain = hash;
    c->payload += b->len;
    *b = (struct block){ 0 };
    buf_reset(&c->bytes);
    return 0;
}

static int64_t event_keep(struct compaction *c, const struct event *e)
{
    struct block *b = &c->open;
    if (b->count == 0) {
        b->first = e->id;
        b->time_first = b->time_last = e->time_ms;
    }
    event_encode(b, e, &c->bytes);
    b->count++;
    b->hidden += event_is_hidden(c->log, e);
    b->last = e->id;
    if (e->time_ms > b->time_last) b->time_last = e->time_ms;
    c->events++;
    /* Never more blocks than are replaced: their numbers must do. */
    return c->bytes.len >= c->block_bytes && c->block_count + 1 < c->replaced ? block_finish(c) : 0;
}

static bool event_stays(const struct compaction *c, const struct event *e)
{
    if (event_is_hidden(c->log, e)) return true;
    const struct key_slot *slot = slot_find(c, e->key, key_hash(c, e->key));
    if (slot->at != 0 && event_id_cmp(e->id, slot->newest) < 0) return false;
    /* The end of a key may go once it is old: all that it ended goes in the same swap. */
    return c->how.is_gone == NULL || e->time_ms >= c->how.gone_before_ms ||
           !c->how.is_gone(c->how.arg, e);
}

/* ---- steps ---- */

/* All keys of the files are noted, or as many as memory takes: those files are enough for this time. */
static bool map_step(struct compaction *c, const struct block *b, const char *bytes)
{
    struct event_log *log = c->log;
    struct event e;
    size_t offset = 0;
    while (offset < b->len && event_decode(b, bytes, &offset, &e)) key_note(c, &e);
    if (offset != b->len) return false;
    c->at++;
    uint32_t first = log_compacted(log);
    if (c->at == file_end(log, first + c->file)) {
        c->file++;
        if (c->file < c->files && (memory_taken(c) >= c->how.memory_bytes ||
                                   ENV_CHANCE(log->events->env, "compact.one_file"))) {
            c->files = c->file;
            c->end = c->at;
        }
    }
    if (c->at < c->end) return true;
    c->copying = true;
    c->at = log->first_block;
    c->replaced = c->end - log->first_block;
    uint64_t total = 0;
    for (uint64_t n = c->at; n < c->end; n++) total += event_block_at(log, n)->len;
    /* Small blocks, closed by syncs, become larger ones. */
    c->block_bytes = total / c->replaced * 4;
    if (c->block_bytes < log->events->options.block_bytes)
        c->block_bytes = log->events->options.block_bytes;
    if (c->block_bytes > BLOCK_PAYLOAD_MAX / 4) c->block_bytes = BLOCK_PAYLOAD_MAX / 4;
    return true;
}

static int64_t copy_step(struct compaction *c, const struct block *b, const char *bytes)
{
    struct env *env = c->log->events->env;
    struct event e;
    size_t offset = 0;
    int64_t error = c->number == 0 ? file_begin(c) : 0;
    if (ENV_CHANCE(env, "compact.small_blocks")) c->block_bytes = 1;
    while (error >= 0 && offset < b->len && event_decode(b, bytes, &offset, &e))
        if (event_stays(c, &e)) error = event_keep(c, &e);
    if (error >= 0 && offset != b->len) error = -EIO;
    c->at++;
    if (error >= 0 && c->at == c->end) error = block_finish(c);
    if (error >= 0 &&
        (c->offset - c->synced >= SYNC_BYTES || ENV_CHANCE(env, "compact.sync_early"))) {
        error = env->sync(env, c->fd);
        c->synced = c->offset;
    }
    return error;
}

/* The new blocks stand where the old ones stood, as of now also for readers. */
static void log_swap(struct compaction *c, struct event_compacted *figures)
{
    struct event_log *log = c->log;
    struct events *events = log->events;
    uint32_t old = (uint32_t)(c->end - log->first_block), files = log_compacted(log) + c->files;
    ASSERT(c->block_count <= old && files <= log->file_count);
    *figures = (struct event_compacted){ .stream = log->stream,
                                         .events_after = c->events,
                                         .bytes_after = c->payload };
    for (uint32_t i = 0; i < old; i++) {
        struct block *b = &log->blocks[i];
        figures->events_before += b->count;
        figures->bytes_before += b->len;
        if (b->data == NULL) continue;
        events->cached -= b->len;
        mem_free(b->data);
    }
    memmove(log->blocks + c->block_count, log->blocks + old,
            (log->block_count - old) * sizeof(struct block));
    if (c->block_count > 0) memcpy(log->blocks, c->blocks, c->block_count * sizeof(struct block));
    log->block_count -= old - c->block_count;
    log->first_block = c->end - c->block_count;
    if (log->evictable < c->end) log->evictable = c->end;
    log->count -= figures->events_before - figures->events_after;
    log->bytes = log->bytes - figures->bytes_before + figures->bytes_after;
    for (uint32_t i = 0; i < files; i++) {
#ifdef MUTANT_store_compacted_delete_early
        char name[ENV_NAME_MAX];
        event_file_name(name, log->stream, log->files[i].number);
        (void)events->env->unlink(events->env, events->store->dir, name);
#endif
        event_file_gone(log, log->files[i].number);
        if (log->files[i].fd >= 0) events->env->close(events->env, log->files[i].fd);
    }
    uint32_t made = c->block_count > 0 ? 1 : 0;
    log->file_count -= files;
    memmove(log->files + made, log->files + files, log->file_count * sizeof(struct event_file));
    if (made)
        log->files[0] = (struct event_file){ .number = c->number,
                                             .bytes = c->offset,
                                             .first_block = log->first_block,
                                             .fd = -1,
                                             .synced = true };
    log->file_count += made;
    /* What was synced of the rest: nothing, if the file that was the newest is among those that went. */
    if (log->file_count == made || log->synced_file < log->files[made].number) {
        log->synced_file = 0;
        log->synced_size = 0;
    }
    log->compacted_bytes = c->payload;
    log->compacted_chain = c->chain;
    log->next_compacted++;
    log->compactions++;
}

static enum weir_status compaction_finish(struct events *events, struct event_compacted *figures)
{
    struct compaction *c = events->compaction;
    struct env *env = events->env;
    if (c->block_count > 0) {
#ifndef MUTANT_store_compacted_not_synced
        int error = env->sync(env, c->fd);
        if (error < 0) return give_up(events, status_of_errno(-error));
#endif
#ifndef MUTANT_store_compacted_dir_not_synced
        /* Other new names may be lost with this one. */
        if (env->dir_sync(env, events->store->dir) < 0) {
            events->poisoned = true;
            return WEIR_POISONED;
        }
#endif
    }
    bool empty = c->block_count == 0;
    char name[ENV_NAME_MAX];
    event_file_name(name, c->log->stream, c->number);
    log_swap(c, figures);
    compaction_free(events);
    if (empty) (void)env->unlink(env, events->store->dir, name);
    return WEIR_OK;
}

enum weir_status events_compact(struct events *events, bool *done, struct event_compacted *figures)
{
    struct compaction *c = events->compaction;
    *done = false;
    if (c == NULL) return WEIR_OK;
    if (events->poisoned) return WEIR_POISONED;
    if (ENV_CHANCE(events->env, "compact.give_up")) return give_up(events, WEIR_DISKFULL);
    const struct block *b = event_block_at(c->log, c->at);
    ASSERT(b != NULL && b->cap == 0 && b->file != 0);
    const char *bytes = b->data;
    if (bytes == NULL) {
        enum weir_status st = event_block_load(c->log, c->at, b, &c->loaded);
        if (st != WEIR_OK) return give_up(events, st);
        bytes = c->loaded.ptr;
    }
    if (!c->copying) return map_step(c, b, bytes) ? WEIR_OK : give_up(events, WEIR_CORRUPT);
    int64_t error = copy_step(c, b, bytes);
    if (error < 0) return give_up(events, status_of_errno((int)-error));
    if (c->at < c->end) return WEIR_OK;
    enum weir_status st = compaction_finish(events, figures);
    *done = st == WEIR_OK;
    return st;
}
