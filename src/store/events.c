/*
 * events.c - retained events of streams, in blocks: the newest in memory, closed ones in files written behind.
 *
 * A block holds some events of one stream, side by side; it is the unit of memory, of files and of checksums.
 *
 *   open -> closed (block_bytes, or a sync) -> written (its file has it) -> synced (a checkpoint's heads) -> evicted
 *
 * Files are named events-<stream>-<number> and hold blocks one after the other; a new start never appends to an
 * old file. What compaction (compact.c) made of a log's beginning is one such file, with EVENT_FILE_COMPACTED in its
 * number, in front of the others. Heads say for each stream its first and last file, how far the last one counts, and its last id.
 * Only what heads in a manifest say is believed at start; the log of epochs still holds the rest, since it is cut
 * only below an epoch that the heads cover. A file goes once a manifest without it is durable.
 * Bytes: docs/formats/events.md.
 * SPDX-License-Identifier: MIT
 */
#include "store/events_int.h"

#include <errno.h>
#include <stdlib.h>

#define COPY_BYTES (256u << 10)
/* ---- ids ---- */

size_t event_id_write(struct event_id id, char out[EVENT_ID_TEXT_MAX])
{
    return (size_t)snprintf(out, EVENT_ID_TEXT_MAX, "%llu-%llu", (unsigned long long)id.epoch,
                            (unsigned long long)id.n);
}

static bool number_take(struct weir_str *text, uint64_t *n)
{
    size_t i = 0;
    *n = 0;
    for (; i < text->len && text->ptr[i] >= '0' && text->ptr[i] <= '9'; i++) {
        uint64_t digit = (uint64_t)(text->ptr[i] - '0');
        if (*n > (UINT64_MAX - digit) / 10) return false;
        *n = *n * 10 + digit;
    }
    *text = (struct weir_str){ text->ptr + i, text->len - i };
    return i > 0;
}

bool event_id_read(struct weir_str text, uint64_t n_if_none, struct event_id *id)
{
    if (!number_take(&text, &id->epoch)) return false;
    id->n = n_if_none;
    if (text.len == 0) return true;
    if (text.ptr[0] != '-') return false;
    text.ptr++;
    text.len--;
    return number_take(&text, &id->n) && text.len == 0;
}

/* ---- names and headers ---- */

void event_file_name(char *out, uint16_t stream, uint32_t number)
{
    snprintf(out, ENV_NAME_MAX, "events-%04x-%08x", stream, number);
}

static bool file_name_read(const char *name, uint16_t *stream, uint32_t *number)
{
    unsigned a = 0, b = 0;
    int end = 0;
    char again[ENV_NAME_MAX];
    if (strlen(name) != 20 || sscanf(name, "events-%4x-%8x%n", &a, &b, &end) != 2 || end != 20)
        return false;
    *stream = (uint16_t)a;
    *number = b;
    event_file_name(again, *stream, *number);
    return strcmp(again, name) == 0;
}

void event_block_header(const struct event_log *log, const struct block *b, uint64_t number,
                        uint64_t hash, uint64_t chain, uint32_t file, uint64_t offset, char *out)
{
    memset(out, 0, BLOCK_HEADER_BYTES);
    store_le32(out, BLOCK_MAGIC);
    store_le32(out + 4, b->count);
    store_le64(out + 8, b->len);
    store_le64(out + 16, number);
    store_le64(out + 24, b->first.epoch);
    store_le64(out + 32, b->first.n);
    store_le64(out + 40, b->last.epoch);
    store_le64(out + 48, b->last.n);
    store_le64(out + 56, (uint64_t)b->time_first);
    store_le64(out + 64, (uint64_t)b->time_last);
    store_le64(out + 72, hash);
    store_le64(out + 80, chain);
    store_le32(out + 88, b->hidden);
    uint64_t seed = store_seed(log->events->store, event_file_sequence(log->stream, file), offset);
    store_le32(out + 92, crc32c((uint32_t)seed, out, 92));
}

/* ---- logs ---- */

static struct event_log *log_find(const struct events *events, uint16_t stream)
{
    struct event_log *log = events->logs;
    while (log != NULL && log->stream != stream) log = log->next;
    return log;
}

struct event_log *events_log(struct events *events, uint16_t stream, uint64_t file_bytes)
{
    struct event_log *log = log_find(events, stream);
    if (log == NULL) {
        log = mem_alloc(sizeof(*log));
        log->events = events;
        log->stream = stream;
        log->first_block = log->written = log->evictable = log->synced_blocks = 1;
        log->next_file = log->next_compacted = 1;
        log->next = events->logs;
        events->logs = log;
    }
    log->file_bytes = file_bytes != 0 && file_bytes < events->options.file_bytes
                          ? file_bytes
                          : events->options.file_bytes;
    return log;
}

static struct block *block_new(struct event_log *log)
{
    if (log->block_count == log->block_cap) {
        log->block_cap = log->block_cap ? log->block_cap * 2 : 16;
        log->blocks = mem_realloc(log->blocks, log->block_cap * sizeof(struct block));
    }
    struct block *b = &log->blocks[log->block_count++];
    *b = (struct block){ 0 };
    return b;
}

/* The last block if it may still grow. A closed one has cap 0. */
static struct block *block_open(struct event_log *log)
{
    if (log->block_count == 0) return NULL;
    struct block *b = &log->blocks[log->block_count - 1];
    return b->cap != 0 ? b : NULL;
}

static void block_close(struct event_log *log, struct block *b)
{
    b->data = mem_realloc(b->data, b->len);
    b->cap = 0;
    log->events->cached += b->len;
}

static void block_room(struct block *b, size_t more)
{
    if (b->len + more <= b->cap) return;
    size_t cap = b->cap ? b->cap * 2u : 1024u;
    while (cap < b->len + more) cap *= 2;
    b->data = mem_realloc(b->data, cap);
    b->cap = (uint32_t)cap;
}

void event_encode(const struct block *b, const struct event *e, struct buf *out)
{
    buf_add_varint(out, e->id.epoch - b->first.epoch);
    buf_add_varint(out, e->id.n);
    buf_add_varint(out, zigzag(e->time_ms - b->time_first));
    buf_add_varint(out, e->key.len);
    buf_add_str(out, e->key);
    buf_add_varint(out, e->value.len);
    buf_add_str(out, e->value);
}

bool event_log_append(struct event_log *log, const struct event *e)
{
    if (event_id_cmp(e->id, log->last) <= 0) return false;
    struct events *events = log->events;
    struct block *b = block_open(log);
    if (b == NULL) {
        b = block_new(log);
        b->first = e->id;
        b->time_first = b->time_last = e->time_ms;
    }
    struct buf *out = &events->scratch;
    buf_reset(out);
    event_encode(b, e, out);
    block_room(b, out->len);
    ASSERT(b->data != NULL && out->ptr != NULL);
    memcpy(b->data + b->len, out->ptr, out->len);
    b->len += (uint32_t)out->len;
    b->count++;
    if (event_is_hidden(log, e)) {
        b->hidden++;
        log->hidden++;
    }
    b->last = log->last = e->id;
    if (e->time_ms > b->time_last) b->time_last = e->time_ms;
    log->count++;
    log->bytes += out->len;
    if (b->len >= events->options.block_bytes || ENV_CHANCE(events->env, "events.close_block"))
        block_close(log, b);
    return true;
}

void event_log_info(const struct event_log *log, struct event_log_info *info)
{
    *info = (struct event_log_info){ .count = log->count - log->hidden,
                                     .bytes = log->bytes,
                                     .files = log->file_count,
                                     .last = log->last };
    if (log->block_count == 0) return;
    info->first = log->blocks[0].first;
    info->time_first = log->blocks[0].time_first;
}

/* ---- writing ---- */

bool events_fail(struct events *events, int64_t error)
{
    if (status_of_errno((int)-error) == WEIR_DISKFULL) events->disk_full = true;
    else events->poisoned = true;
    return false;
}

static struct event_file *file_last(struct event_log *log)
{
    return log->file_count > 0 ? &log->files[log->file_count - 1] : NULL;
}

static struct event_file *file_add(struct event_log *log, uint32_t number, uint64_t first_block)
{
    if (log->file_count == log->file_cap) {
        log->file_cap = log->file_cap ? log->file_cap * 2 : 8;
        log->files = mem_realloc(log->files, log->file_cap * sizeof(struct event_file));
    }
    ASSERT(log->files != NULL);
    struct event_file *f = &log->files[log->file_count++];
    *f = (struct event_file){ .number = number, .first_block = first_block, .fd = -1 };
    return f;
}

/* The file that takes the next block; NULL when none can be made. */
static struct event_file *file_for_write(struct event_log *log)
{
    struct events *events = log->events;
    struct env *env = events->env;
    struct event_file *f = file_last(log);
    bool full = f == NULL || f->fd < 0 || f->bytes >= log->file_bytes;
    /* What a failed write left behind the end is written over before another file begins: all of an earlier one counts. */
    if (!full && (f->torn || !ENV_CHANCE(env, "events.new_file"))) return f;
    MARK("a file of events begins");
    char name[ENV_NAME_MAX];
    uint8_t header[FILE_HEADER_BYTES];
    uint32_t number = log->next_file;
    event_file_name(name, log->stream, number);
    int fd = env->open(env, events->store->dir, name, ENV_WRITE | ENV_CREATE);
    int64_t error = fd;
    file_header(events->store, FILE_EVENTS, event_file_sequence(log->stream, number), 0, 0, header);
    if (error >= 0) error = env->write(env, fd, header, sizeof(header), 0);
    if (error < 0) {
        MARK("a file of events cannot be made");
        if (fd >= 0) env->close(env, fd);
        (void)env->unlink(env, events->store->dir, name);
        events_fail(events, error);
        return NULL;
    }
    log->next_file++;
    /* The one before is synced by the next checkpoint: its handle stays open until then. */
    f = file_add(log, number, log->written);
    f->fd = fd;
    f->bytes = FILE_HEADER_BYTES;
    events->new_names = true;
    return f;
}

static bool block_write(struct event_log *log, struct block *b)
{
    struct events *events = log->events;
    struct event_file *f = file_for_write(log);
    if (f == NULL) return false;
    uint64_t sequence = event_file_sequence(log->stream, f->number);
    uint64_t hash = hash64(store_seed(events->store, sequence, f->bytes), b->data, b->len);
    char header[BLOCK_HEADER_BYTES];
    event_block_header(log, b, log->written, hash, log->chain, f->number, f->bytes, header);
    struct buf *out = &events->scratch;
    buf_reset(out);
    buf_add(out, header, sizeof(header));
    buf_add(out, b->data, b->len);
    int64_t error = events->env->write(events->env, f->fd, out->ptr, out->len, f->bytes);
    if (error < 0) {
        MARK("a block of events cannot be written");
        f->torn = true;
        return events_fail(events, error);
    }
    b->file = f->number;
    b->offset = f->bytes;
    f->bytes += out->len;
    f->synced = f->torn = false;
    log->written++;
    log->chain = hash;
    events->disk_full = false;
    if (!ENV_CHANCE(events->env, "events.sync_block")) return true;
    f->synced = events->env->sync(events->env, f->fd) >= 0;
    events->poisoned = !f->synced;
    return f->synced;
}

/* Closed blocks in files give up their bytes, oldest first, log after log, until the cache fits. */
static void events_evict(struct events *events, uint64_t most)
{
    for (struct event_log *log = events->logs; log != NULL && events->cached > most;
         log = log->next) {
        if (log->evictable < log->first_block) log->evictable = log->first_block;
        while (log->evictable < log->written && events->cached > most) {
            struct block *b = event_block_at(log, log->evictable++);
            if (b->data == NULL) continue;
            MARK("a block of events is in its file only");
            events->cached -= b->len;
            mem_free(b->data);
            b->data = NULL;
        }
    }
}

bool events_write(struct events *events)
{
    if (events->poisoned) return false;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) {
        struct block *b = event_block_at(log, log->written);
        if (b == NULL || b->cap != 0) continue;
        bool good = block_write(log, b);
        if (ENV_CHANCE(events->env, "events.evict_now")) events_evict(events, 0);
        else events_evict(events, events->options.cache_bytes);
        return good;
    }
    return false;
}

bool events_disk_full(const struct events *events)
{
    return events->disk_full;
}

static bool files_sync(struct event_log *log)
{
    struct events *events = log->events;
    for (uint32_t i = 0; i < log->file_count; i++) {
        struct event_file *f = &log->files[i];
        if (f->fd < 0) continue;
        if (!f->synced) {
            int error = 0;
#ifndef MUTANT_store_events_not_synced
            error = events->env->sync(events->env, f->fd);
#endif
            if (error < 0) {
                events->poisoned = true;
                return false;
            }
            f->synced = true;
        }
        if (i + 1 < log->file_count) {
            events->env->close(events->env, f->fd);
            f->fd = -1;
        }
    }
    return true;
}

/* New names last. */
static bool names_sync(struct events *events)
{
    if (events->new_names && events->env->dir_sync(events->env, events->store->dir) < 0) {
        events->poisoned = true;
        return false;
    }
    events->new_names = false;
    return true;
}

/* All of it is in files and synced, names too. */
static void log_synced(struct event_log *log)
{
    const struct event_file *f = file_last(log);
    bool tail = f != NULL && !(f->number & EVENT_FILE_COMPACTED);
    log->synced_last = log->last;
    log->synced_file = tail ? f->number : 0;
    log->synced_size = tail ? f->bytes : 0;
    log->synced_chain = log->chain;
    log->synced_blocks = log->written;
}

enum weir_status events_sync(struct events *events)
{
    if (events->poisoned) return WEIR_POISONED;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) {
        struct block *open = block_open(log);
        if (open != NULL) block_close(log, open);
    }
    while (events_write(events)) {}
    if (events->poisoned) return WEIR_POISONED;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) {
        if (event_block_at(log, log->written) != NULL) return WEIR_DISKFULL;
        if (!files_sync(log)) return WEIR_POISONED;
    }
    if (!names_sync(events)) return WEIR_POISONED;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) log_synced(log);
    return WEIR_OK;
}

enum weir_status event_log_sync(struct event_log *log)
{
    struct events *events = log->events;
    if (events->poisoned) return WEIR_POISONED;
    struct block *b = block_open(log);
    if (b != NULL) block_close(log, b);
    while ((b = event_block_at(log, log->written)) != NULL) {
        if (!block_write(log, b)) return events->poisoned ? WEIR_POISONED : WEIR_DISKFULL;
    }
    if (!files_sync(log) || !names_sync(events)) return WEIR_POISONED;
    log_synced(log);
    return WEIR_OK;
}

/* ---- heads ---- */

/* What compaction made stands in front of the log, in one file, under a head of its own. */
static uint32_t compacted_files(const struct event_log *log)
{
    return log->file_count > 0 && (log->files[0].number & EVENT_FILE_COMPACTED) ? 1 : 0;
}

static uint64_t tail_first_block(const struct event_log *log)
{
    uint32_t i = compacted_files(log);
    return i < log->file_count ? log->files[i].first_block : log->written;
}

static struct event_head compacted_head(const struct event_log *log)
{
    const struct event_file *f = &log->files[0];
    uint64_t end = tail_first_block(log);
    const struct block *last = event_block_at(log, end - 1);
    ASSERT(last != NULL && f->synced);
    return (struct event_head){ .stream = log->stream,
                                .first_file = f->number,
                                .last_file = f->number,
                                .size = f->bytes,
                                .first_block = f->first_block,
                                .blocks = end,
                                .chain = log->compacted_chain,
                                .epoch = last->last.epoch,
                                .n = last->last.n };
}

struct event_heads *events_heads(struct events *events)
{
    uint32_t count = 0;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) count += 2;
    struct event_heads *heads = mem_alloc(sizeof(*heads) + count * sizeof(struct event_head));
    heads->serial = ++events->serial;
    for (struct event_log *log = events->logs; log != NULL; log = log->next) {
        uint32_t i = compacted_files(log);
        if (i > 0) heads->head[heads->count++] = compacted_head(log);
        /* Without a synced file: which number comes next, so that none is used twice. */
        heads->head[heads->count++] = (struct event_head){ .stream = log->stream,
                                                           .first_file = i < log->file_count
                                                                             ? log->files[i].number
                                                                             : log->next_file,
                                                           .last_file = log->synced_file,
                                                           .size = log->synced_size,
                                                           .first_block = tail_first_block(log),
                                                           .blocks = log->synced_blocks,
                                                           .chain = log->synced_chain,
                                                           .epoch = log->synced_last.epoch,
                                                           .n = log->synced_last.n };
    }
    return heads;
}

void store_event_heads(struct store *store, struct event_heads *heads)
{
    store->head_count = heads->count;
    store->heads_serial = heads->serial;
    store->heads = mem_realloc(store->heads, (heads->count + 1) * sizeof(struct event_head));
    memcpy(store->heads, heads->head, heads->count * sizeof(struct event_head));
    mem_free(heads);
}

void events_named(struct events *events, uint64_t serial)
{
    struct env *env = events->env;
    char name[ENV_NAME_MAX];
    uint32_t kept = 0;
    for (uint32_t i = 0; i < events->gone_count; i++) {
        struct gone *g = &events->gone[i];
        if (g->serial > serial || ENV_CHANCE(env, "events.unlink_late")) {
            events->gone[kept++] = *g;
            continue;
        }
        MARK("a file of events is deleted");
        event_file_name(name, g->stream, g->file);
        (void)env->unlink(env, events->store->dir, name);
    }
    events->gone_count = kept;
}

/* ---- retention ---- */

void event_file_gone(struct event_log *log, uint32_t number)
{
    struct events *events = log->events;
    if (events->gone_count == events->gone_cap) {
        events->gone_cap = events->gone_cap ? events->gone_cap * 2 : 16;
        events->gone = mem_realloc(events->gone, events->gone_cap * sizeof(struct gone));
    }
    events->gone[events->gone_count++] = (struct gone){ events->serial + 1, log->stream, number };
#ifdef MUTANT_store_events_deleted_early
    events_named(events, UINT64_MAX);
#endif
}

static void file_drop(struct event_log *log)
{
    struct events *events = log->events;
    struct event_file *f = &log->files[0];
    uint64_t end = log->file_count > 1 ? log->files[1].first_block : log->written;
    uint32_t blocks = (uint32_t)(end - log->first_block);
    for (uint32_t i = 0; i < blocks; i++) {
        struct block *b = &log->blocks[i];
        if (b->data != NULL) events->cached -= b->len;
        mem_free(b->data);
        log->count -= b->count;
        log->hidden -= b->hidden;
        log->bytes -= b->len;
    }
    log->block_count -= blocks;
    log->first_block = end;
    memmove(log->blocks, log->blocks + blocks, log->block_count * sizeof(struct block));
    if (f->fd >= 0) events->env->close(events->env, f->fd);
    event_file_gone(log, f->number);
    if (f->number & EVENT_FILE_COMPACTED) log->compacted_bytes = 0;
    log->file_count--;
    memmove(f, f + 1, log->file_count * sizeof(*f));
}

bool event_log_trim(struct event_log *log, int64_t before_ms, uint64_t bytes_max,
                    struct event_id safe)
{
    bool any = false;
    if (event_log_compacts(log)) return false;
    /* The newest file stays, and only what is synced and named may go. */
    while (log->file_count > 1) {
        const struct event_file *f = &log->files[0];
        if (f->fd >= 0 || log->files[1].first_block > log->synced_blocks) break;
        struct block *last = event_block_at(log, log->files[1].first_block - 1);
        ASSERT(last != NULL);
        bool old = before_ms != 0 && last->time_last < before_ms;
        bool large = bytes_max != 0 && log->bytes > bytes_max;
        if ((!old && !large) || event_id_cmp(last->last, safe) > 0) break;
        file_drop(log);
        any = true;
        if (ENV_CHANCE(log->events->env, "events.trim_one")) break;
    }
    return any;
}

/* ---- reading ---- */

enum weir_status event_block_load(struct event_log *log, uint64_t number, const struct block *b,
                                  struct buf *out)
{
    struct events *events = log->events;
    struct env *env = events->env;
    char name[ENV_NAME_MAX], header[BLOCK_HEADER_BYTES];
    event_file_name(name, log->stream, b->file);
    int fd = env->open(env, events->store->dir, name, ENV_READ);
    if (fd < 0) return fd == -ENOENT ? WEIR_CORRUPT : WEIR_IO;
    buf_reset(out);
    buf_reserve(out, b->len + 1u);
    int64_t got = env->read(env, fd, header, sizeof(header), b->offset);
    /* Blocks of a compacted file count from 1: it is written before their place is known. */
    uint64_t stored = b->file & EVENT_FILE_COMPACTED ? number - log->first_block + 1 : number;
    bool good = got == (int64_t)sizeof(header) && load_le64(header + 16) == stored;
    if (got >= 0 && good) {
        got = env->read(env, fd, out->ptr, b->len, b->offset + BLOCK_HEADER_BYTES);
        uint64_t seed = store_seed(events->store, event_file_sequence(log->stream, b->file),
                                   b->offset);
        good = got == (int64_t)b->len && hash64(seed, out->ptr, b->len) == load_le64(header + 72);
    }
    env->close(env, fd);
    if (got < 0) return WEIR_IO;
    out->len = b->len;
    return good ? WEIR_OK : WEIR_CORRUPT;
}

/* The block that holds the first event at or above `id`; 0 when there is none. */
static uint64_t block_find(const struct event_log *log, struct event_id id)
{
    uint32_t low = 0, high = log->block_count;
    ASSERT(high == 0 || log->blocks != NULL);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (event_id_cmp(log->blocks[middle].last, id) < 0) low = middle + 1;
        else high = middle;
    }
    return low < log->block_count ? log->first_block + low : 0;
}

void event_walk_begin(struct event_walk *walk, struct event_log *log, struct event_id from,
                      bool reverse)
{
    *walk = (struct event_walk){
        .log = log, .reverse = reverse, .at = from, .compactions = log->compactions
    };
}

void event_walk_end(struct event_walk *walk)
{
    buf_free(&walk->bytes);
    mem_free(walk->starts);
    walk->starts = NULL;
}

/* The bytes of the walk's block: in memory, or read once. NULL with walk->status. */
static const char *walk_bytes(struct event_walk *walk, const struct block *b)
{
    if (b->data != NULL) return b->data;
    if (walk->loaded != walk->block) {
        walk->status = event_block_load(walk->log, walk->block, b, &walk->bytes);
        if (walk->status != WEIR_OK) return NULL;
        walk->loaded = walk->block;
    }
    return walk->bytes.ptr;
}

bool event_decode(const struct block *b, const char *bytes, size_t *offset, struct event *e)
{
    struct reader reader = { bytes + *offset, bytes + b->len, false };
    e->id.epoch = b->first.epoch + reader_varint(&reader);
    e->id.n = reader_varint(&reader);
    e->time_ms = b->time_first + unzigzag(reader_varint(&reader));
    e->key = reader_bytes(&reader, reader_varint(&reader));
    e->value = reader_bytes(&reader, reader_varint(&reader));
    *offset = (size_t)(reader.at - bytes);
    return !reader.failed;
}

static bool walk_forward(struct event_walk *walk, struct event *e)
{
    struct event_log *log = walk->log;
    for (;;) {
        struct block *b = event_block_at(log, walk->block);
        if (b == NULL) {
            uint64_t found = block_find(log, walk->at);
            if (found == 0) return false;
            if (found == walk->block) return false;
            walk->block = found;
            walk->offset = 0;
            b = event_block_at(log, found);
        }
        if (walk->offset >= b->len) {
            struct block *next = event_block_at(log, walk->block + 1);
            if (next == NULL) return false; /* the open end: it may grow */
            walk->block++;
            walk->offset = 0;
            continue;
        }
        const char *bytes = walk_bytes(walk, b);
        if (bytes == NULL) return false;
        if (!event_decode(b, bytes, &walk->offset, e)) {
            walk->status = WEIR_CORRUPT;
            return false;
        }
        int order = event_id_cmp(e->id, walk->at);
        if (order < 0 || (order == 0 && walk->after)) continue;
        walk->at = e->id;
        walk->after = true;
        return true;
    }
}

/* Where each event of the block begins, so that it can be walked backward. */
static bool walk_index(struct event_walk *walk, const struct block *b, const char *bytes)
{
    struct event e;
    size_t offset = 0;
    walk->starts = mem_realloc(walk->starts, (b->count + 1u) * sizeof(uint32_t));
    walk->start_count = 0;
    while (offset < b->len && walk->start_count < b->count) {
        walk->starts[walk->start_count++] = (uint32_t)offset;
        if (!event_decode(b, bytes, &offset, &e)) return false;
    }
    walk->start_at = walk->start_count;
    return true;
}

static bool walk_backward(struct event_walk *walk, struct event *e)
{
    struct event_log *log = walk->log;
    if (log->block_count == 0) return false;
    if (walk->block == 0) {
        /* The last block that begins at or below `at`. */
        uint64_t number = block_find(log, walk->at);
        if (number == 0) number = log->first_block + log->block_count - 1;
        while (number > log->first_block &&
               event_id_cmp(event_block_at(log, number)->first, walk->at) > 0)
            number--;
        walk->block = number;
        walk->start_count = 0;
    }
    for (;;) {
        struct block *b = event_block_at(log, walk->block);
        if (b == NULL) return false; /* trimmed away meanwhile */
        const char *bytes = walk_bytes(walk, b);
        if (bytes == NULL) return false;
        if (walk->start_count == 0 && !walk_index(walk, b, bytes)) {
            walk->status = WEIR_CORRUPT;
            return false;
        }
        while (walk->start_at > 0) {
            size_t offset = walk->starts[--walk->start_at];
            (void)event_decode(b, bytes, &offset, e);
            int order = event_id_cmp(e->id, walk->at);
            if (order > 0 || (order == 0 && walk->after)) continue;
            walk->at = e->id;
            walk->after = true;
            return true;
        }
        if (walk->block <= log->first_block) return false;
        walk->block--;
        walk->start_count = 0;
    }
}

bool event_walk_next(struct event_walk *walk, struct event *event)
{
    if (walk->status != WEIR_OK) return false;
#ifndef MUTANT_store_compacted_walk_lost
    if (walk->compactions != walk->log->compactions) {
        /* Blocks have other numbers now: on from the last event given. */
        walk->compactions = walk->log->compactions;
        walk->block = walk->loaded = 0;
        walk->start_count = 0;
    }
#endif
    return walk->reverse ? walk_backward(walk, event) : walk_forward(walk, event);
}

struct event_id event_log_find_time(struct event_log *log, int64_t time_ms)
{
    struct event_walk walk;
    struct event e;
    for (uint32_t i = 0; i < log->block_count; i++) {
        if (log->blocks[i].time_last < time_ms) continue;
        event_walk_begin(&walk, log, log->blocks[i].first, false);
        struct event_id found = { 0, 0 };
        while (found.epoch == 0 && event_walk_next(&walk, &e) &&
               event_id_cmp(e.id, log->blocks[i].last) <= 0)
            if (e.time_ms >= time_ms) found = e.id;
        event_walk_end(&walk);
        if (found.epoch != 0) return found;
    }
    return (struct event_id){ log->last.epoch, log->last.n + 1 };
}

uint64_t event_log_count_after(struct event_log *log, struct event_id id)
{
    uint64_t count = 0;
    uint32_t i = log->block_count;
    while (i > 0 && event_id_cmp(log->blocks[i - 1].first, id) > 0) {
        i--;
        count += log->blocks[i].count - log->blocks[i].hidden;
    }
    if (i == 0 || event_id_cmp(log->blocks[i - 1].last, id) <= 0) return count;
    struct event_id end = log->blocks[i - 1].last;
    struct event_walk walk;
    struct event e;
    event_walk_begin(&walk, log, (struct event_id){ id.epoch, id.n + 1 }, false);
    while (event_walk_next(&walk, &e) && event_id_cmp(e.id, end) <= 0)
        count += !event_is_hidden(log, &e);
    event_walk_end(&walk);
    return count;
}

/* ---- opening ---- */

struct leftovers {
    struct events *events;
    struct buf names; /* NUL-ended */
};

static void leftover_note(void *arg, const char *name)
{
    struct leftovers *l = arg;
    uint16_t stream;
    uint32_t number;
    if (!file_name_read(name, &stream, &number)) return;
    const struct store *store = l->events->store;
    for (uint32_t i = 0; i < store->head_count; i++) {
        const struct event_head *h = &store->heads[i];
        if (h->stream == stream && h->last_file != 0 && number >= h->first_file &&
            number <= h->last_file)
            return;
    }
    buf_add(&l->names, name, strlen(name) + 1);
}

struct open_error {
    char *text;
    size_t bytes;
};

static enum weir_status damaged(struct open_error *error, const char *name, uint64_t offset,
                                const struct event_head *head)
{
    snprintf(error->text, error->bytes,
             "%s is damaged at %llu: events up to %llu-%llu were kept in it and are lost; restore "
             "a copy of the directory",
             name, (unsigned long long)offset, (unsigned long long)head->epoch,
             (unsigned long long)head->n);
    return WEIR_CORRUPT;
}

/* The blocks of one file; the last file counts up to the head's size only. */
static enum weir_status file_load(struct event_log *log, const struct event_head *head,
                                  uint32_t number, bool verify, uint64_t *size,
                                  struct open_error *error)
{
    struct events *events = log->events;
    struct store *store = events->store;
    struct env *env = events->env;
    char name[ENV_NAME_MAX], header[BLOCK_HEADER_BYTES];
    event_file_name(name, log->stream, number);
    int fd = env->open(env, store->dir, name, ENV_READ);
    int64_t bytes = fd >= 0 ? env->size(env, fd) : fd;
    bool is_last = number == head->last_file;
    uint64_t before = number & EVENT_FILE_COMPACTED ? head->first_block - 1 : 0;
    enum weir_status st = WEIR_OK;
    uint64_t end = is_last ? head->size : bytes > 0 ? (uint64_t)bytes : 0;
    int64_t got = bytes < 0 ? bytes : env->read(env, fd, header, FILE_HEADER_BYTES, 0);
    if (got < 0) {
        st = fd == -ENOENT ? damaged(error, name, 0, head) : WEIR_IO;
    } else if ((uint64_t)bytes < end || end < FILE_HEADER_BYTES || got != FILE_HEADER_BYTES ||
               file_header_check(store, FILE_EVENTS, event_file_sequence(log->stream, number),
                                 header) != WEIR_OK) {
        st = damaged(error, name, 0, head);
    }
    uint64_t offset = FILE_HEADER_BYTES;
    if (st == WEIR_OK) file_add(log, number, log->written)->synced = true;
    while (st == WEIR_OK && offset < end) {
        uint64_t seed = store_seed(store, event_file_sequence(log->stream, number), offset);
        got = env->read(env, fd, header, sizeof(header), offset);
        struct block b = { .count = load_le32(header + 4),
                           .hidden = load_le32(header + 88),
                           .len = (uint32_t)load_le64(header + 8),
                           .first = { load_le64(header + 24), load_le64(header + 32) },
                           .last = { load_le64(header + 40), load_le64(header + 48) },
                           .time_first = (int64_t)load_le64(header + 56),
                           .time_last = (int64_t)load_le64(header + 64),
                           .file = number,
                           .offset = offset };
        bool good = got == (int64_t)sizeof(header) && load_le32(header) == BLOCK_MAGIC &&
                    b.hidden <= b.count &&
                    load_le32(header + 92) == crc32c((uint32_t)seed, header, 92) &&
                    load_le64(header + 8) <= BLOCK_PAYLOAD_MAX &&
                    load_le64(header + 16) == log->written - before &&
                    offset + BLOCK_HEADER_BYTES + b.len <= end &&
                    (log->written == head->first_block || load_le64(header + 80) == log->chain);
        if (good && verify) {
            struct buf *payload = &events->scratch;
            buf_reset(payload);
            buf_reserve(payload, b.len + 1u);
            got = env->read(env, fd, payload->ptr, b.len, offset + BLOCK_HEADER_BYTES);
            good = got == (int64_t)b.len &&
                   hash64(seed, payload->ptr, b.len) == load_le64(header + 72);
        }
        if (!good) {
            st = got < 0 ? WEIR_IO : damaged(error, name, offset, head);
            break;
        }
        *block_new(log) = b;
        log->chain = load_le64(header + 72);
        log->written++;
        log->last = b.last;
        log->count += b.count;
        log->hidden += b.hidden;
        log->bytes += b.len;
        offset += BLOCK_HEADER_BYTES + b.len;
    }
    if (fd >= 0) env->close(env, fd);
    if (st == WEIR_IO && error->text[0] == '\0')
        snprintf(error->text, error->bytes, "cannot read %s", name);
    *size = bytes > 0 ? (uint64_t)bytes : 0;
    if (st == WEIR_OK) file_last(log)->bytes = end;
    return st;
}

/* What stands behind the part that counts belongs to no manifest: the log has it still. Synced also where nothing stands
 * there: a start that was killed here may have cut it in the page cache only, and it must not come back once another
 * file begins, for of that one all counts. */
static enum weir_status tail_cut(struct event_log *log, const struct event_head *head,
                                 uint64_t size, struct open_error *error)
{
    struct env *env = log->events->env;
    /* None, or only such that retention has taken since. */
    if (head->last_file == 0 || head->first_file > head->last_file) return WEIR_OK;
    char name[ENV_NAME_MAX];
    event_file_name(name, log->stream, (uint32_t)head->last_file);
    int fd = env->open(env, log->events->store->dir, name, ENV_WRITE);
    int64_t result = fd;
    if (size > head->size) MARK("the end of a file of events is cut");
    if (result >= 0 && size > head->size) result = env->truncate(env, fd, head->size);
    if (result >= 0) result = env->sync(env, fd);
    if (fd >= 0) env->close(env, fd);
    if (result >= 0) return WEIR_OK;
    snprintf(error->text, error->bytes, "cannot cut the end of %s: %s", name,
             strerror((int)-result));
    return status_of_errno((int)-result);
}

/* A log has up to two heads: what compaction made of its beginning, then, from the next block on, the rest. */
static enum weir_status log_load(struct events *events, const struct event_head *head, bool verify,
                                 struct open_error *error)
{
    struct event_log *log = events_log(events, (uint16_t)head->stream, 0);
    enum weir_status st = WEIR_OK;
    uint64_t size = 0;
    bool compacted = head->first_file & EVENT_FILE_COMPACTED;
    bool fits = log->block_count == 0 || (!compacted && log->written == head->first_block);
    if (log->block_count == 0) log->first_block = log->written = log->evictable = head->first_block;
    for (uint64_t n = head->first_file; fits && head->last_file != 0 && n <= head->last_file; n++) {
        st = file_load(log, head, (uint32_t)n, verify, &size, error);
        if (st != WEIR_OK) return st;
    }
    struct event_id last = { head->epoch, head->n };
    bool any = log->written > head->first_block;
    if (!fits || log->written != head->blocks || (any && log->chain != head->chain) ||
        (any && event_id_cmp(log->last, last) != 0)) {
        char name[ENV_NAME_MAX];
        event_file_name(name, log->stream, (uint32_t)head->last_file);
        return damaged(error, name, size, head);
    }
    log->last = log->synced_last = last;
    log->evictable = log->synced_blocks = log->written;
    if (compacted) {
        log->compacted_chain = head->chain;
        log->compacted_bytes = log->bytes;
        log->next_compacted = ((uint32_t)head->last_file & ~EVENT_FILE_COMPACTED) + 1;
        return WEIR_OK;
    }
    log->chain = log->synced_chain = head->chain;
    log->synced_file = (uint32_t)head->last_file;
    log->synced_size = head->size;
    log->next_file = (uint32_t)(head->last_file    ? head->last_file + 1
                                : head->first_file ? head->first_file
                                                   : 1);
    return tail_cut(log, head, size, error);
}

static int64_t bytes_copy(struct env *env, int from, int to, uint64_t end, struct buf *scratch)
{
    int64_t n = 0;
    buf_reset(scratch);
    buf_reserve(scratch, COPY_BYTES);
    for (uint64_t at = 0; at < end && n >= 0; at += (uint64_t)n) {
        n = env->read(env, from, scratch->ptr, end - at < COPY_BYTES ? end - at : COPY_BYTES, at);
        if (n == 0) return -EIO;
        int64_t written = n > 0 ? env->write(env, to, scratch->ptr, (size_t)n, at) : n;
        if (written < 0) return written;
    }
    return n;
}

/*
 * After an unclean stop: a copy of the last file that counts takes its place, for the last sync of the process before
 * may have failed, and then only the page cache has what the manifest names (log.c does the same with the log's end).
 * Files before the last have seen their last sync before that manifest. Never in place: a power cut may garble what is
 * being written. Without room the old one must do.
 */
static enum weir_status tail_rehome(struct event_log *log)
{
    struct events *events = log->events;
    struct env *env = events->env;
    const struct event_file *f = file_last(log);
    char name[ENV_NAME_MAX], copy[ENV_NAME_MAX];
    if (f == NULL) return WEIR_OK;
    MARK("a file of events is written again");
    event_file_name(name, log->stream, f->number);
    event_file_name(copy, log->stream,
                    log->next_file); /* no manifest names it: a leftover, if we end here */
    int from = env->open(env, events->store->dir, name, ENV_READ);
    int to = from >= 0 ? env->open(env, events->store->dir, copy, ENV_WRITE | ENV_CREATE) : from;
    int64_t error = to >= 0 ? bytes_copy(env, from, to, f->bytes, &events->scratch) : to;
    if (error >= 0) error = env->sync(env, to);
    if (to >= 0) env->close(env, to);
    if (from >= 0) env->close(env, from);
    if (error >= 0) error = env->rename(env, events->store->dir, copy, name);
    if (error >= 0) return env->dir_sync(env, events->store->dir) < 0 ? WEIR_IO : WEIR_OK;
    if (to >= 0) (void)env->unlink(env, events->store->dir, copy);
    enum weir_status st = status_of_errno((int)-error);
    return st == WEIR_DISKFULL ? WEIR_OK : st;
}

enum weir_status events_open(struct store *store, const struct events_options *options,
                             struct events **out, char *error, size_t error_bytes)
{
    *out = NULL;
    struct events *events = mem_alloc(sizeof(*events));
    events->store = store;
    events->env = store->env;
    events->options = *options;
    if (events->options.block_bytes == 0) events->options.block_bytes = 32u << 10;
    if (events->options.file_bytes == 0) events->options.file_bytes = 16u << 20;
    if (events->options.cache_bytes == 0) events->options.cache_bytes = 64u << 20;
    events->serial = store->heads_serial;
    struct open_error why = { error, error_bytes };
    if (error_bytes > 0) error[0] = '\0';
    uint64_t total = 0;
    for (uint32_t i = 0; i < store->head_count; i++) total += store->heads[i].size;
    enum weir_status st = WEIR_OK;
    bool verify = total <= VERIFY_BYTES_MAX && !ENV_CHANCE(store->env, "events.not_verified");
    for (uint32_t i = 0; i < store->head_count && st == WEIR_OK; i++)
        st = log_load(events, &store->heads[i], verify, &why);
    struct leftovers leftovers = { .events = events };
    if (st == WEIR_OK) {
        int failed = events->env->dir_list(events->env, store->dir, leftover_note, &leftovers);
        if (failed < 0) {
            snprintf(error, error_bytes, "cannot list the files of events: %s", strerror(-failed));
            st = WEIR_IO;
        }
    }
    for (size_t at = 0; st == WEIR_OK && at < leftovers.names.len;
         at += strlen(leftovers.names.ptr + at) + 1) {
        MARK("a leftover file of events is removed");
        (void)events->env->unlink(events->env, store->dir, leftovers.names.ptr + at);
    }
    buf_free(&leftovers.names);
    bool again = !store->clean_start || ENV_CHANCE(events->env, "events.rehome");
    for (struct event_log *log = events->logs; st == WEIR_OK && again && log != NULL;
         log = log->next) {
        st = tail_rehome(log);
        if (st != WEIR_OK)
            snprintf(error, error_bytes, "cannot write the events of a stream again");
    }
    if (st != WEIR_OK) {
        events_close(events);
        return st;
    }
    *out = events;
    return WEIR_OK;
}

void events_close(struct events *events)
{
    if (events == NULL) return;
    compaction_free(events);
    for (struct event_log *log = events->logs, *next; log != NULL; log = next) {
        next = log->next;
        for (uint32_t i = 0; i < log->block_count; i++) mem_free(log->blocks[i].data);
        for (uint32_t i = 0; i < log->file_count; i++) {
            if (log->files[i].fd >= 0) events->env->close(events->env, log->files[i].fd);
        }
        mem_free(log->blocks);
        mem_free(log->files);
        mem_free(log);
    }
    mem_free(events->gone);
    buf_free(&events->scratch);
    mem_free(events);
}
