/*
 * log.c - the durable log: segments of records, one record for each epoch.
 *
 * Group commit of DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984: one
 * write and one sync carry all transactions of an epoch. Segments are written with zeros in advance, so that
 * a sync in them moves no metadata and a full disk shows when a segment is made; files that were cut serve again,
 * as they are. Form: docs/formats/log.md.
 *
 * Files of the log are written past the page cache, in whole blocks: a record's last block is written again, with the same
 * bytes at its front, by the record behind it. A sync of a small record costs the same; what is large, and what is made
 * ahead, neither takes fresh pages nor waits for the kernel to write others (bench/history.md, "Past the page cache").
 *
 * A record is believed if its header's checksum, its payload's checksum (both seeded by engine, file and
 * offset, so stale and misdirected bytes fail) and the chain from the record before it hold. Where that stops
 * is the end, unless a later record knows of an epoch beyond it as durable: then what is missing here had
 * been promised, and the log is corrupt, not torn (Alagappan et al., "Protocol-Aware Recovery", FAST 2018;
 * etcd #6378 for why later valid records alone prove nothing).
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "store/store_int.h"

#define RECORD_MAGIC 0x4d524657u /* "WFRM" */
#define PIECE_BYTES (256u * 1024u)
#define TORN_BYTES_MAX (1u << 20)
#define RESERVE_EXTRA (64u << 10) /* beside the tail: two manifests, blocks of the directory */

struct record {
    enum record_kind kind;
    uint64_t len, epoch, durable, chain, hash;
    int64_t wall_ms;
};

static uint64_t padded(uint64_t len)
{
    return (len + 7u) & ~UINT64_C(7);
}

static uint64_t blocks_up(uint64_t bytes)
{
    return (bytes + ENV_BLOCK_BYTES - 1) & ~(uint64_t)(ENV_BLOCK_BYTES - 1);
}

/* ---- record headers ---- */

static void record_encode(const struct store *store, uint64_t sequence, uint64_t offset,
                          const struct record *r, char *out)
{
    memset(out, 0, RECORD_HEADER_BYTES);
    store_le32(out, RECORD_MAGIC);
    store_le32(out + 4, r->kind);
    store_le64(out + 8, r->len);
    store_le64(out + 16, r->epoch);
    store_le64(out + 24, r->durable);
    store_le64(out + 32, (uint64_t)r->wall_ms);
    store_le64(out + 40, r->chain);
    store_le64(out + 48, r->hash);
    store_le32(out + 60, crc32c((uint32_t)store_seed(store, sequence, offset), out, 60));
}

static bool record_decode(const struct store *store, uint64_t sequence, uint64_t offset,
                          const char *bytes, uint64_t room, struct record *r)
{
    if (room < RECORD_HEADER_BYTES || load_le32(bytes) != RECORD_MAGIC) return false;
    if (load_le32(bytes + 60) != crc32c((uint32_t)store_seed(store, sequence, offset), bytes, 60))
        return false;
    r->kind = load_le32(bytes + 4);
    r->len = load_le64(bytes + 8);
    r->epoch = load_le64(bytes + 16);
    r->durable = load_le64(bytes + 24);
    r->wall_ms = (int64_t)load_le64(bytes + 32);
    r->chain = load_le64(bytes + 40);
    r->hash = load_le64(bytes + 48);
    return r->kind == RECORD_FRAME && load_le32(bytes + 56) == 0 &&
           r->len <= room - RECORD_HEADER_BYTES;
}

/* Of a file that no manifest names. Anything may stand in one that was not synced yet, as after a crash of a first start. */
bool log_begins_with_record(struct weir_str file)
{
    return file.len >= FILE_HEADER_BYTES + RECORD_HEADER_BYTES &&
           load_le32(file.ptr + FILE_HEADER_BYTES) == RECORD_MAGIC;
}

static bool payload_is_good(const struct store *store, uint64_t sequence, uint64_t offset,
                            const char *payload, const struct record *r)
{
#ifdef MUTANT_store_checksum_unchecked
    return true;
#endif
    return hash64(store_seed(store, sequence, offset), payload, r->len) == r->hash;
}

/* ---- segments ---- */

static uint64_t next_segment_bytes(const struct store *store, uint64_t need)
{
    uint64_t bytes = store->options.segment_bytes_first;
    /* One that was cut to fit a full disk is no measure. */
    if (store->segment_count > 0 && store->segments[store->segment_count - 1].bytes * 2 > bytes &&
        !ENV_CHANCE(store->env, "store.small_segment"))
        bytes = store->segments[store->segment_count - 1].bytes * 2;
    if (bytes > store->options.segment_bytes_max) bytes = store->options.segment_bytes_max;
    if (bytes < need + FILE_HEADER_BYTES) bytes = need + FILE_HEADER_BYTES;
    return blocks_up(bytes);
}

static uint64_t piece_bytes(const struct store *store)
{
    return ENV_CHANCE(store->env, "store.zero_pieces") ? ENV_BLOCK_BYTES : PIECE_BYTES;
}

/* The blocks from `from` to `to`: first `bytes`, then zeros. */
static int64_t blocks_write(struct store *store, int fd, struct weir_str bytes, uint64_t from,
                            uint64_t to)
{
    struct env *env = store->env;
    uint64_t most = piece_bytes(store);
    int64_t error = 0;
    if (store->piece == NULL)
        store->piece = memset(mem_aligned(ENV_BLOCK_BYTES, PIECE_BYTES), 0, PIECE_BYTES);
    for (uint64_t at = from; at < to && error >= 0; at += most) {
        uint64_t len = to - at < most ? to - at : most;
        size_t part = bytes.len < len ? bytes.len : len;
        if (part > 0) memcpy(store->piece, bytes.ptr, part);
        error = env->write(env, fd, store->piece, len, at);
        if (part > 0) { /* zeros again */
            memset(store->piece, 0, part);
            bytes = (struct weir_str){ bytes.ptr + part, bytes.len - part };
        }
        if (error >= 0) env->sync_begin(env, fd, at, len);
    }
    return error;
}

static int log_open(struct store *store, const char *name, int flags)
{
    return store->env->open(store->env, store->dir, name, ENV_WRITE | ENV_DIRECT | flags);
}

/* ---- the reserve: room to write the tail again when something else has filled the disk ---- */

void log_reserve_found(struct store *store)
{
    struct env *env = store->env;
    int fd = env->open(env, store->dir, RESERVE_NAME, ENV_READ);
    if (fd < 0) return;
    int64_t size = env->size(env, fd);
    env->close(env, fd);
    store->reserve_bytes = size > 0 ? (uint64_t)size / ENV_BLOCK_BYTES * ENV_BLOCK_BYTES : 0;
}

static void reserve_release(struct store *store)
{
    if (store->reserve_bytes == 0) return;
    (void)store->env->unlink(store->env, store->dir, RESERVE_NAME);
    /* Some file systems give the blocks back with their journal's next commit only. */
    (void)store->env->dir_sync(store->env, store->dir);
    store->reserve_bytes = 0;
}

static uint64_t reserve_for(uint64_t bytes)
{
    return blocks_up(bytes + (bytes < RESERVE_EXTRA ? bytes : RESERVE_EXTRA));
}

/* ---- spares: files of segments that were cut, whose blocks need not be found and filled again ---- */

void log_spares_drop(struct store *store, uint32_t kept)
{
    char name[ENV_NAME_MAX];
    if (store->spare_count <= kept) return;
    MARK("a spare segment is deleted");
    while (store->spare_count > kept) {
        store_name(name, "spare", store->spares[--store->spare_count].sequence);
        (void)store->env->unlink(store->env, store->dir, name);
    }
}

/* Whether the disk has them; the spares give way. One that does not say is believed to. */
static bool room_for(struct store *store, uint64_t bytes)
{
    struct env *env = store->env;
    for (;;) {
        int64_t disk_free = env->dir_free_bytes(env, store->dir);
        store->stats.disk_free_bytes = disk_free;
        if (disk_free < 0 || (uint64_t)disk_free >= bytes) return true;
        if (store->spare_count == 0) return false;
        log_spares_drop(store, 0);
        (void)env->dir_sync(env, store->dir); /* as in reserve_release() */
    }
}

/* By a piece. Nothing depends on its bytes, only on its blocks: it is neither read nor synced. */
static enum weir_status reserve_grow(struct store *store, uint64_t bytes)
{
    struct env *env = store->env;
    uint64_t had = store->reserve_bytes, to = had + piece_bytes(store);
    store->reserve_wanted = false;
    if (had >= bytes) return WEIR_OK;
    if (to > bytes) to = bytes;
    if (!room_for(store, bytes - had)) {
        store->reserve_wanted = true;
        return WEIR_DISKFULL;
    }
    int fd = log_open(store, RESERVE_NAME, ENV_CREATE);
    int64_t error = fd < 0 ? fd : blocks_write(store, fd, STR_NIL, had, to);
    if (fd >= 0 && error < 0) (void)env->truncate(env, fd, had);
    if (fd >= 0) env->close(env, fd);
    if (fd >= 0 && error < 0 && had == 0) (void)env->unlink(env, store->dir, RESERVE_NAME);
    if (error < 0) {
        enum weir_status st = status_of_errno((int)-error);
        store->reserve_wanted = st == WEIR_DISKFULL;
        if (st != WEIR_DISKFULL) MARK("the reserve cannot be made, and not for want of room");
        return st;
    }
    store->reserve_bytes = to;
    return WEIR_OK;
}

/* ---- making a segment: all blocks there, header, synced, its name synced. Its records do not count before the manifest names it ---- */

void log_making_drop(struct store *store)
{
    char name[ENV_NAME_MAX];
    if (store->making_fd < 0) return;
    store_name(name, "log", store->making_sequence);
    store->env->close(store->env, store->making_fd);
    store->making_fd = -1;
    (void)store->env->unlink(store->env, store->dir, name);
}

static enum weir_status making_fail(struct store *store, int64_t error)
{
    MARK("a segment cannot be made");
    log_making_drop(store);
    store->no_segment = status_of_errno((int)-error) == WEIR_DISKFULL;
    return status_of_errno((int)-error);
}

static enum weir_status making_begin(struct store *store, uint64_t bytes)
{
    struct env *env = store->env;
    char name[ENV_NAME_MAX], spare[ENV_NAME_MAX];
    uint64_t reserve = store->options.reserve_bytes   ? store->options.reserve_bytes
                       : store->reserve_bytes < bytes ? bytes
                                                      : 0;
    while (store->spare_count > 0 && store->spares[store->spare_count - 1].bytes < bytes)
        log_spares_drop(store, store->spare_count - 1);
    bool again = store->spare_count > 0;
    if (again) MARK("a segment's file is used again");
    /* Out of the list meanwhile: the others give way, not this one. */
    struct segment used = again ? store->spares[--store->spare_count] : (struct segment){ 0 };
    if (!room_for(store, again ? reserve : bytes + reserve) ||
        (store->segment_count > 0 && ENV_CHANCE(env, "store.no_segment"))) {
        MARK("no room for a segment");
        if (again) store->spares[store->spare_count++] = used;
        store->no_segment = true;
        return WEIR_DISKFULL;
    }
    uint64_t sequence = store->next_sequence++;
    store_name(name, "log", sequence);
    int64_t error = 0;
    if (again) {
        store_name(spare, "spare", used.sequence);
        bytes = used.bytes;
        error = env->rename(env, store->dir, spare, name);
    }
    if (error >= 0) error = log_open(store, name, ENV_CREATE);
    if (error >= 0) store->making_fd = (int)error;
    store->making_again = again;
    store->making_sequence = sequence;
    store->making_bytes = bytes;
    store->making_at = again ? bytes : 0;
    if (error >= 0) return WEIR_OK;
    (void)env->unlink(env, store->dir, name);
    return making_fail(store, error);
}

static enum weir_status making_fill(struct store *store, uint64_t to)
{
    if (to > store->making_bytes) to = store->making_bytes;
    int64_t error = blocks_write(store, store->making_fd, STR_NIL, store->making_at, to);
    if (error < 0) return making_fail(store, error);
    store->making_at = to;
    return WEIR_OK;
}

static enum weir_status making_finish(struct store *store, int *fd)
{
    struct env *env = store->env;
    uint8_t header[FILE_HEADER_BYTES];
    file_header(store, FILE_LOG, store->making_sequence, store->making_again ? FILE_RECYCLED : 0, 0,
                header);
    int64_t error = blocks_write(store, store->making_fd,
                                 (struct weir_str){ (const char *)header, sizeof(header) }, 0,
                                 ENV_BLOCK_BYTES);
    if (error >= 0) error = env->sync(env, store->making_fd);
#ifndef MUTANT_store_segment_dir_not_synced
    if (error >= 0) error = env->dir_sync(env, store->dir);
#endif
    if (error < 0) return making_fail(store, error);
    if (store->segment_count == store->segment_cap) {
        store->segment_cap = store->segment_cap ? store->segment_cap * 2 : 16;
        store->segments = mem_realloc(store->segments, store->segment_cap * sizeof(struct segment));
    }
    store->segments[store->segment_count++] = (struct segment){ .sequence = store->making_sequence,
                                                                .bytes = store->making_bytes };
    enum weir_status st = manifest_write(store, false);
    store->no_segment = st == WEIR_DISKFULL;
    if (st == WEIR_OK) {
        *fd = store->making_fd;
        store->making_fd = -1;
        memcpy(store->next_header, header, sizeof(header));
        return WEIR_OK;
    }
    MARK("a segment cannot be named");
    store->segment_count--;
    if (st == WEIR_POISONED) { /* a manifest may name it */
        env->close(env, store->making_fd);
        store->making_fd = -1;
    }
    log_making_drop(store);
    return st;
}

enum weir_status log_create_segment(struct store *store, uint64_t bytes, int *fd)
{
    *fd = -1;
    bytes = blocks_up(bytes);
    if (store->making_fd >= 0 && store->making_bytes < bytes) {
        MARK("the segment being made is too small");
        log_making_drop(store);
    }
    if (store->making_fd >= 0) MARK("a segment is wanted before it is made");
    enum weir_status st = store->making_fd < 0 ? making_begin(store, bytes) : WEIR_OK;
    if (st == WEIR_OK) st = making_fill(store, UINT64_MAX);
    return st == WEIR_OK ? making_finish(store, fd) : st;
}

/* ---- appending ---- */

/* The front of the tail's block stays. */
static void tail_reserve(struct store *store, size_t bytes)
{
    if (bytes <= store->tail_bytes) return;
    size_t more = blocks_up(bytes < store->tail_bytes * 2 ? store->tail_bytes * 2 : bytes);
    char *grown = mem_aligned(ENV_BLOCK_BYTES, more);
    if (store->tail != NULL) memcpy(grown, store->tail, store->offset % ENV_BLOCK_BYTES);
    mem_free(store->tail);
    store->tail = grown;
    store->tail_bytes = more;
}

/* Appends go on behind what the file has up to `end`. */
static void tail_set(struct store *store, int fd, const char *file, uint64_t end)
{
    uint64_t front = end % ENV_BLOCK_BYTES;
    store->fd = fd;
    store->offset = end;
    tail_reserve(store, ENV_BLOCK_BYTES);
    memcpy(store->tail, file + (end - front), front);
}

void log_begin_segment(struct store *store, int fd)
{
    tail_set(store, fd, store->next_header, FILE_HEADER_BYTES);
}

static enum weir_status log_switch(struct store *store, uint64_t need)
{
    struct env *env = store->env;
    bool fits = store->next_fd >= 0 && store->segments[store->segment_count - 1].bytes >=
                                           blocks_up(need + FILE_HEADER_BYTES);
    if (!fits) {
        /* A prepared segment that is too small stays behind empty: recovery walks over it. */
        if (store->next_fd >= 0) MARK("the prepared segment is too small");
        if (store->next_fd >= 0) env->close(env, store->next_fd);
        store->next_fd = -1;
        int fd;
        enum weir_status st = log_create_segment(store, next_segment_bytes(store, need), &fd);
        if (st != WEIR_OK) return st;
        store->next_fd = fd;
    }
    if (store->unsynced) {
        enum weir_status st = log_sync(store);
        if (st != WEIR_OK) return st;
    }
    env->close(env, store->fd);
    log_begin_segment(store, store->next_fd);
    store->next_fd = -1;
    store->current = store->segment_count - 1;
    return WEIR_OK;
}

/* Nothing happened: what a part of a write may have left must never be taken for the frame. Where not even zeros
 * can be written, as behind a limit of the file's size, what is there must show that it is no frame. */
static bool append_undo(struct store *store, const struct record *r)
{
    struct env *env = store->env;
    uint64_t sequence = store->segments[store->current].sequence;
    uint64_t front = store->offset % ENV_BLOCK_BYTES, from = store->offset - front,
             len = blocks_up(front + RECORD_HEADER_BYTES);
    struct record there;
    /* Synced before a record in another file counts: that goes on from what is wiped out here. */
    store->unsynced = true;
    memset(store->tail + front, 0, len - front);
    if (env->write(env, store->fd, store->tail, len, from) >= 0) return true;
    char *found = mem_aligned(ENV_BLOCK_BYTES, len);
    int64_t got = env->read(env, store->fd, found, len, from);
    uint64_t room = got > (int64_t)front ? (uint64_t)got - front : 0;
    bool gone = got >= 0 &&
                !(record_decode(store, sequence, store->offset, found + front,
                                room < RECORD_HEADER_BYTES ? room : room + r->len, &there) &&
                  there.epoch == r->epoch);
    mem_free(found);
    return gone;
}

enum weir_status log_append(struct store *store, const struct store_frame *frame)
{
    struct env *env = store->env;
    uint64_t len = 0;
    for (uint32_t i = 0; i < frame->part_count; i++) len += frame->parts[i].len;
    uint64_t whole = RECORD_HEADER_BYTES + padded(len);
    if (blocks_up(store->offset + whole) > store->segments[store->current].bytes ||
        ENV_CHANCE(env, "store.switch_now")) {
        enum weir_status st = log_switch(store, whole);
        if (st != WEIR_OK) return st;
        ASSERT(blocks_up(store->offset + whole) <= store->segments[store->current].bytes);
    }
    struct segment *segment = &store->segments[store->current];
    uint64_t front = store->offset % ENV_BLOCK_BYTES, from = store->offset - front,
             to = blocks_up(store->offset + whole);
    tail_reserve(store, to - from);
    char *record = store->tail + front, *end = record + RECORD_HEADER_BYTES;
    for (uint32_t i = 0; i < frame->part_count; i++) {
        if (frame->parts[i].len > 0) memcpy(end, frame->parts[i].ptr, frame->parts[i].len);
        end += frame->parts[i].len;
    }
    memset(end, 0, (size_t)(store->tail + (to - from) - end));
    struct record r = { .kind = RECORD_FRAME,
                        .len = len,
                        .epoch = frame->epoch,
                        .durable = store->stats.durable_epoch,
                        .wall_ms = frame->wall_ms,
                        .chain = store->chain };
    r.hash = hash64(store_seed(store, segment->sequence, store->offset),
                    record + RECORD_HEADER_BYTES, len);
    record_encode(store, segment->sequence, store->offset, &r, record);
#ifdef MUTANT_store_control_split_write
    int64_t error = env->write(env, store->fd, store->tail, ENV_BLOCK_BYTES, from);
    for (uint64_t at = from + ENV_BLOCK_BYTES; at < to && error >= 0; at += ENV_BLOCK_BYTES)
        error = env->write(env, store->fd, store->tail + (at - from), ENV_BLOCK_BYTES, at);
#else
    int64_t error = env->write(env, store->fd, store->tail, to - from, from);
#endif
    if (error < 0) {
        enum weir_status st = status_of_errno((int)-error);
        MARK("a frame cannot be written");
        store->no_room = st == WEIR_DISKFULL;
        if (store->no_room && append_undo(store, &r)) return st;
        MARK("poisoned: what a failed write left cannot be wiped");
        return store_poison(store, "write", segment->sequence, (int)-error);
    }
    store->offset += whole;
    front = store->offset % ENV_BLOCK_BYTES;
    if (store->offset - front > from)
        memcpy(store->tail, store->tail + (store->offset - front - from), front);
    store->chain = r.hash;
    store->written_epoch = segment->last_epoch = frame->epoch;
    segment->last_chain = r.hash;
    store->wall_ms = frame->wall_ms;
    store->unsynced = true;
    store->no_room = false;
    store->stats.frames++;
    store->stats.bytes_written += whole;
    store->stats.log_bytes_since_checkpoint += whole;
    return WEIR_OK;
}

enum weir_status log_sync(struct store *store)
{
    struct env *env = store->env;
    uint64_t begin = env->mono_ns(env);
#ifndef MUTANT_store_ack_before_sync
    int error = env->sync(env, store->fd);
#ifdef MUTANT_store_retry_sync
    if (error < 0) error = env->sync(env, store->fd);
#endif
    if (error < 0)
        return store_poison(store, "sync", store->segments[store->current].sequence, -error);
#endif
    store->unsynced = false;
    store->stats.last_sync_ns = env->mono_ns(env) - begin;
    store->stats.syncs++;
    store->stats.durable_epoch = store->written_epoch;
    store->durable_wall_ms = store->wall_ms;
    return WEIR_OK;
}

/* What log_prepare() has to do, in bytes that are there and bytes that are wanted. */
static bool prepare_wants(const struct store *store, uint64_t *reserve, uint64_t *next)
{
    uint64_t bytes = store->segments[store->segment_count - 1].bytes;
    /* One that could not be made is tried again whatever the need: until then writes are refused. */
    bool wants = store->next_fd < 0 &&
                 (store->offset * 2 >= store->segments[store->current].bytes || store->no_segment ||
                  store->making_fd >= 0 || ENV_CHANCE(store->env, "store.prepare_now"));
    *next = !wants ? 0 : store->making_fd >= 0 ? store->making_bytes : next_segment_bytes(store, 0);
    *reserve = reserve_for(*next > bytes ? *next : bytes);
    return wants;
}

/* Behind: of the third quarter of the segment there is less left than of what is to be made. The fourth is for frames that are
 * larger than was to be expected. */
bool log_prepare_is_due(const struct store *store)
{
    const struct segment *segment = &store->segments[store->current];
    uint64_t reserve, next, made = store->making_fd >= 0 ? store->making_at : 0;
    if (store->next_fd >= 0 || store->no_segment || store->offset * 2 < segment->bytes ||
        !prepare_wants(store, &reserve, &next))
        return false;
    double had = (double)(made + (store->reserve_bytes < reserve ? store->reserve_bytes : reserve));
    double room = 3 - 4 * (double)store->offset / (double)segment->bytes;
    return 1 - had / (double)(next + reserve) > room;
}

/* First the reserve, for the segment there is and the one to come; then, in good time, that one; a piece each time, as
 * frames wait meanwhile. What fails here other than for want of room stops nobody: whoever writes meets the disk
 * himself, and is told. */
bool log_prepare(struct store *store)
{
    uint64_t reserve, next, had = store->reserve_bytes;
    bool wants = prepare_wants(store, &reserve, &next);
    if (wants && !store->no_segment && ENV_CHANCE(store->env, "store.prepare_late")) return false;
    int fd = -1;
    enum weir_status st = reserve_grow(store, reserve);
    bool more = store->reserve_bytes > had;
    if (st == WEIR_OK && wants && store->reserve_bytes >= reserve) {
        more = true;
        if (store->making_fd < 0) st = making_begin(store, next);
        else if (store->making_at < store->making_bytes)
            st = making_fill(store, store->making_at + piece_bytes(store));
        else st = making_finish(store, &fd);
    }
    if (fd >= 0) store->next_fd = fd;
    store->stats.prepare_failed = st != WEIR_OK && st != WEIR_DISKFULL;
    return st == WEIR_OK && more;
}

/* Segments all of whose epochs lie below leave the list. The tail stays. */
void log_cut_plan(struct store *store, uint64_t below_epoch, struct cut *cut)
{
    *cut = (struct cut){ .cut_epoch = store->cut_epoch, .cut_chain = store->cut_chain };
    while (cut->count < store->current && store->segments[cut->count].last_epoch < below_epoch)
        cut->count++;
    if (cut->count > 0 && ENV_CHANCE(store->env, "store.cut_less")) cut->count--;
    if (cut->count == 0) return;
    cut->gone = mem_alloc(cut->count * sizeof(*cut->gone));
    memcpy(cut->gone, store->segments, cut->count * sizeof(*cut->gone));
    for (uint32_t i = 0; i < cut->count; i++) {
        if (cut->gone[i].last_epoch == 0) continue;
        store->cut_epoch = cut->gone[i].last_epoch;
        store->cut_chain = cut->gone[i].last_chain;
    }
    store->segment_count -= cut->count;
    store->current -= cut->count;
    memmove(store->segments, store->segments + cut->count,
            store->segment_count * sizeof(struct segment));
#ifdef MUTANT_store_delete_before_manifest
    char name[ENV_NAME_MAX];
    for (uint32_t i = 0; i < cut->count; i++) {
        store_name(name, "log", cut->gone[i].sequence);
        (void)store->env->unlink(store->env, store->dir, name);
    }
    (void)store->env->dir_sync(store->env, store->dir);
#endif
}

void log_cut_undo(struct store *store, struct cut *cut)
{
    MARK("a cut of the log is taken back");
    memmove(store->segments + cut->count, store->segments,
            store->segment_count * sizeof(struct segment));
    if (cut->count > 0) memcpy(store->segments, cut->gone, cut->count * sizeof(*cut->gone));
    store->segment_count += cut->count;
    store->current += cut->count;
    store->cut_epoch = cut->cut_epoch;
    store->cut_chain = cut->cut_chain;
    mem_free(cut->gone);
    *cut = (struct cut){ 0 };
}

/* Of the files that the next segment could have, a few are kept. */
bool log_cut_one(struct store *store, struct cut *cut)
{
    struct env *env = store->env;
    char name[ENV_NAME_MAX], spare[ENV_NAME_MAX];
    if (cut->done == cut->count) return false;
    const struct segment *gone = &cut->gone[cut->done++];
    store_name(name, "log", gone->sequence);
    if (store->spare_count == SPARES_MAX || gone->bytes < next_segment_bytes(store, 0) ||
        ENV_CHANCE(env, "store.no_spare")) {
        MARK("a segment is deleted");
        (void)env->unlink(env, store->dir, name);
        return true;
    }
    store_name(spare, "spare", gone->sequence);
    if (env->rename(env, store->dir, name, spare) < 0) return true;
    store->spares[store->spare_count++] = *gone;
    return true;
}

/* ---- recovery ---- */

/* A patch: its numbers say where it ends. */
static struct weir_str patch_read(struct reader *reader)
{
    const char *begin = reader->at;
    uint64_t len = reader_varint(reader);
    if (len > UINT32_MAX) reader->failed = true;
    for (uint64_t done = 0; done < len && !reader->failed;) {
        uint64_t stays = reader_varint(reader), changes = reader_varint(reader);
        if (stays > len - done || changes > len - done - stays || stays + changes == 0)
            reader->failed = true;
        else (void)reader_bytes(reader, changes);
        done += stays + changes;
    }
    return (struct weir_str){ begin, (size_t)(reader->at - begin) };
}

bool changes_apply(struct weir_str payload, store_apply_fn *apply, void *arg, uint64_t *count)
{
    struct reader reader = reader_of(payload);
    while (reader.at < reader.end && !reader.failed) {
        uint8_t slot = reader_byte(&reader), op = reader_byte(&reader);
        struct weir_str key = reader_bytes(&reader, reader_varint(&reader)), value = STR_NIL;
        if (op == STORE_PUT) {
            value = reader_bytes(&reader, reader_varint(&reader));
            if (value.ptr == NULL) value.ptr = "";
        }
        if (op == STORE_PATCH) value = patch_read(&reader);
        if (reader.failed || op < STORE_PUT || op > STORE_PATCH) return false;
        if (apply != NULL) apply(arg, slot, (enum store_op)op, key, value);
        ++*count;
    }
    return !reader.failed;
}

/* What a scan of the log has found so far. */
struct scan {
    uint32_t segment; /* with the newest record */
    uint64_t offset;  /* behind it */
    uint64_t chain, epoch, durable;
    int64_t wall_ms;
};

/* Does any record at or behind this place, here or in later segments, know an epoch beyond `epoch` as durable?
 * Valid headers are looked for at every aligned place. */
static bool later_record_knows(struct store *store, uint32_t segment, struct weir_str bytes,
                               uint64_t from, uint64_t epoch, uint64_t *witness)
{
    struct record r;
    for (uint64_t at = from; at + RECORD_HEADER_BYTES <= bytes.len; at += 8) {
        if (!record_decode(store, store->segments[segment].sequence, at, bytes.ptr + at,
                           bytes.len - at, &r))
            continue;
        MARK("a record behind the end");
        if (r.durable > epoch) {
            MARK("damage told from a torn end by a later record");
            *witness = r.durable;
            return true;
        }
    }
    return false;
}

/* @param epoch  the last one found before it, for the text */
static enum weir_status segment_read(struct store *store, uint32_t i, uint64_t epoch,
                                     struct buf *out)
{
    char name[ENV_NAME_MAX];
    char lost[160];
    store_name(name, "log", store->segments[i].sequence);
    snprintf(lost, sizeof(lost),
             "epochs above %llu may be lost (up to %llu were durable); restore a copy of the "
             "directory",
             (unsigned long long)epoch, (unsigned long long)store->known_durable);
    enum weir_status st = file_read(store, name, out);
    if (st == WEIR_NOTFOUND)
        return store_fail(store, WEIR_CORRUPT, "%s is missing: the manifest names it, and %s", name,
                          lost);
    if (st != WEIR_OK) return store_fail(store, st, "cannot read %s", name);
    if (out->len < FILE_HEADER_BYTES ||
        file_header_check(store, FILE_LOG, store->segments[i].sequence, out->ptr) != WEIR_OK)
        return store_fail(store, WEIR_CORRUPT, "%s has a damaged header at 0: %s", name, lost);
    if (out->len != store->segments[i].bytes)
        return store_fail(store, WEIR_CORRUPT, "%s ends at %zu, but was made with %llu bytes: %s",
                          name, out->len, (unsigned long long)store->segments[i].bytes, lost);
    return WEIR_OK;
}

bool log_file_was_used(struct store *store, const char *name, uint64_t sequence)
{
    struct buf bytes = { 0 };
    struct record r;
    bool used = false;
    if (file_read(store, name, &bytes) == WEIR_OK && bytes.len >= FILE_HEADER_BYTES &&
        file_header_check(store, FILE_LOG, sequence, bytes.ptr) == WEIR_OK) {
        uint64_t at = file_copied(bytes.ptr) > FILE_HEADER_BYTES ? file_copied(bytes.ptr)
                                                                 : FILE_HEADER_BYTES;
        for (; at + RECORD_HEADER_BYTES <= bytes.len && !used; at += 8)
            used = record_decode(store, sequence, at, bytes.ptr + at, bytes.len - at, &r);
    }
    buf_free(&bytes);
    return used;
}

/* Takes the valid records of one segment. */
static enum weir_status segment_scan(struct store *store, uint32_t i, struct weir_str bytes,
                                     struct scan *scan, uint64_t from_epoch, store_apply_fn *apply,
                                     void *arg, struct store_recovery *recovery)
{
    uint64_t at = FILE_HEADER_BYTES;
    struct record r;
    while (
        record_decode(store, store->segments[i].sequence, at, bytes.ptr + at, bytes.len - at, &r)) {
        const char *payload = bytes.ptr + at + RECORD_HEADER_BYTES;
#ifndef MUTANT_store_stale_record
        if (r.chain != scan->chain || r.epoch <= scan->epoch) {
            MARK("a sound header, not the next record");
            break;
        }
#endif
        if (!payload_is_good(store, store->segments[i].sequence, at, payload, &r)) {
            MARK("a record with a bad payload");
            break;
        }
        struct weir_str changes = { payload, r.len };
        bool needed = r.epoch >= from_epoch;
        if (!changes_apply(changes, needed ? apply : NULL, arg,
                           needed ? &recovery->changes : &(uint64_t){ 0 })) {
            return store_fail(store, WEIR_CORRUPT,
                              "log-%016llx at %llu: epoch %llu holds changes that cannot be read",
                              (unsigned long long)store->segments[i].sequence,
                              (unsigned long long)at, (unsigned long long)r.epoch);
        }
        if (needed) store->stats.log_bytes_since_checkpoint += RECORD_HEADER_BYTES + padded(r.len);
        scan->epoch = store->segments[i].last_epoch = r.epoch;
        scan->chain = store->segments[i].last_chain = r.hash;
        scan->wall_ms = r.wall_ms;
        at += RECORD_HEADER_BYTES + padded(r.len);
        scan->segment = i;
        scan->offset = at;
    }
    return WEIR_OK;
}

/* What lies behind the last record. In a segment that is used again, old bytes are no torn record unless its header
 * is sound. */
static struct weir_str torn_end(struct store *store, uint64_t sequence, struct weir_str bytes,
                                uint64_t at)
{
    struct record r;
    uint64_t end = bytes.len;
    if (file_flags(bytes.ptr) & FILE_RECYCLED) {
        if (!record_decode(store, sequence, at, bytes.ptr + at, bytes.len - at, &r)) return STR_NIL;
        end = at + RECORD_HEADER_BYTES + r.len;
    }
    while (end > at && bytes.ptr[end - 1] == 0) end--;
    if (end > at) MARK("a torn end is cut");
    return (struct weir_str){ bytes.ptr + at, end - at };
}

/* Puts the cut bytes aside for people to look at, and removes the oldest of those. Only after the log is safe again:
 * a start that is cut short does not leave one each time, and on a full disk they do not take the log's room. */
static void torn_save(struct store *store, struct weir_str torn)
{
    struct env *env = store->env;
    char name[ENV_NAME_MAX];
    const char *oldest = store->torn.ptr;
    for (; store->torn_count >= store->options.torn_files_max; store->torn_count--) {
        (void)env->unlink(env, store->dir, oldest);
        oldest += strlen(oldest) + 1;
    }
    store_name(name, "torn", store->next_sequence++);
    int fd = env->open(env, store->dir, name, ENV_WRITE | ENV_CREATE);
    if (fd < 0) return;
    uint64_t len = torn.len < TORN_BYTES_MAX ? torn.len : TORN_BYTES_MAX;
    int64_t error = env->write(env, fd, torn.ptr, len, 0);
    env->close(env, fd);
    if (error < 0) (void)env->unlink(env, store->dir, name);
}

/* Writes the last records again, into a file of their own, before anything trusts them: what a failed sync left
 * in the page cache only is thereby made real ("Can Applications Recover from fsync Failures?", ATC 2020). */
static void rehome_encode(struct store *store, const struct scan *scan, struct weir_str bytes,
                          uint64_t to, struct buf *out, uint64_t *chain)
{
    uint64_t from = store->segments[scan->segment].sequence, at = FILE_HEADER_BYTES;
    struct record r;
    uint8_t header[FILE_HEADER_BYTES] = { 0 };
    buf_add(out, header, sizeof(header));
    *chain = store->segments[scan->segment].last_epoch == 0 ? scan->chain : 0;
    while (at < scan->offset &&
           record_decode(store, from, at, bytes.ptr + at, bytes.len - at, &r)) {
        const char *payload = bytes.ptr + at + RECORD_HEADER_BYTES;
        char head[RECORD_HEADER_BYTES];
        if (at > FILE_HEADER_BYTES)
            r.chain = *chain; /* the first goes on from the segment before */
        r.hash = *chain = hash64(store_seed(store, to, at), payload, r.len);
        record_encode(store, to, at, &r, head);
        buf_add(out, head, sizeof(head));
        buf_add(out, payload, padded(r.len));
        at += RECORD_HEADER_BYTES + padded(r.len);
    }
    ASSERT(at == scan->offset && out->len == at);
    file_header(store, FILE_LOG, to, 0, out->len, header);
    memcpy(out->ptr, header, sizeof(header));
}

static int64_t rehome_write(struct store *store, const char *name, const struct buf *out,
                            uint64_t bytes, int *fd)
{
    struct env *env = store->env;
    int64_t error = *fd = log_open(store, name, ENV_CREATE);
    if (error >= 0) error = blocks_write(store, *fd, buf_str(out), 0, bytes);
    if (error >= 0) error = env->sync(env, *fd);
    if (error >= 0) error = env->dir_sync(env, store->dir);
    if (error >= 0) return 0;
    if (*fd >= 0) env->close(env, *fd);
    *fd = -1;
    (void)env->unlink(env, store->dir, name);
    return error;
}

/* The segments from the tail's on, while they are replaced. */
struct rehoming {
    const struct scan *scan;
    struct weir_str bytes;
    struct segment *gone;
    uint32_t gone_count;
};

/* One try with a file of that size; 0: of what must be kept only. On a failure all is as it was. */
static enum weir_status rehome_into(struct store *store, const struct rehoming *r, uint64_t size)
{
    struct env *env = store->env;
    struct buf out = { 0 };
    char name[ENV_NAME_MAX];
    int fd;
    uint32_t keep = r->scan->segment;
    uint64_t chain, sequence = store->next_sequence++;
    rehome_encode(store, r->scan, r->bytes, sequence, &out, &chain);
    size = blocks_up(size < out.len ? out.len : size);
    store_name(name, "log", sequence);
    int64_t error = rehome_write(store, name, &out, size, &fd);
    if (error >= 0) tail_set(store, fd, out.ptr, out.len);
    buf_free(&out);
    if (error < 0) return status_of_errno((int)-error);
    store->segments[keep] = (struct segment){ sequence, size, r->gone[0].last_epoch,
                                              r->gone[0].last_epoch ? chain : 0 };
    store->segment_count = keep + 1;
    store->current = keep;
    store->chain = chain;
    enum weir_status st = manifest_write(store, false);
    if (st == WEIR_OK || st == WEIR_POISONED) return st;
    env->close(env, fd);
    store->fd = -1;
    (void)env->unlink(env, store->dir, name);
    store->segment_count = keep + r->gone_count;
    memcpy(store->segments + keep, r->gone, r->gone_count * sizeof(*r->gone));
    return st;
}

/* Everything from the tail's segment on is replaced by one new segment. On a full disk the reserve makes room for it,
 * and the file that it replaces becomes the next reserve. */
static enum weir_status rehome(struct store *store, const struct scan *scan, struct weir_str bytes)
{
    struct env *env = store->env;
    char name[ENV_NAME_MAX];
    struct rehoming r = { .scan = scan,
                          .bytes = bytes,
                          .gone_count = store->segment_count - scan->segment };
    uint64_t size = store->segments[scan->segment].bytes;
    r.gone = mem_alloc(r.gone_count * sizeof(*r.gone));
    memcpy(r.gone, store->segments + scan->segment, r.gone_count * sizeof(*r.gone));
    store_remove_leftovers(store);
    enum weir_status st = ENV_CHANCE(env, "store.rehome_short") ? WEIR_DISKFULL
                                                                : rehome_into(store, &r, size);
    if (st == WEIR_DISKFULL) MARK("the tail is written again without room behind it");
    if (r.gone_count > 1) MARK("recovery drops segments behind the tail");
    if (st == WEIR_DISKFULL) st = rehome_into(store, &r, 0);
    if (st == WEIR_DISKFULL && store->reserve_bytes > 0) {
        reserve_release(store);
        st = rehome_into(store, &r, size);
        if (st == WEIR_DISKFULL) st = rehome_into(store, &r, 0);
    }
    for (uint32_t i = 0; i < r.gone_count && st == WEIR_OK; i++) {
        store_name(name, "log", r.gone[i].sequence);
        if (store->reserve_bytes == 0 && env->rename(env, store->dir, name, RESERVE_NAME) >= 0)
            store->reserve_bytes = r.gone[i].bytes;
        else (void)env->unlink(env, store->dir, name);
    }
    mem_free(r.gone);
    if (st == WEIR_OK) return WEIR_OK;
    return store_fail(store, st, "cannot write the tail of the log again into a new file: %s",
                      weir_status_text(st));
}

/* After a clean stop the tail is as it was left, and so is what was prepared behind it. */
static enum weir_status tail_open(struct store *store, const struct scan *scan,
                                  struct weir_str bytes)
{
    char name[ENV_NAME_MAX];
    store_name(name, "log", store->segments[scan->segment].sequence);
    tail_set(store, log_open(store, name, 0), bytes.ptr, scan->offset);
    store->current = scan->segment;
    store->chain = scan->chain;
    if (store->fd < 0)
        return store_fail(store, WEIR_IO, "cannot open %s for writing: %s", name,
                          strerror(-store->fd));
    if (store->current + 1 < store->segment_count) {
        MARK("a clean start finds a prepared segment");
        store_name(name, "log", store->segments[store->segment_count - 1].sequence);
        store->next_fd = log_open(store, name, 0);
        if (store->next_fd < 0)
            return store_fail(store, WEIR_IO, "cannot open %s for writing: %s", name,
                              strerror(-store->next_fd));
    }
    return WEIR_OK;
}

/* Is the log as long as it must be? */
static enum weir_status scan_judge(struct store *store, const struct scan *scan)
{
    if (scan->epoch >= store->known_durable) return WEIR_OK;
    MARK("the log is shorter than the manifest knows");
    return store_fail(store, WEIR_CORRUPT,
                      "log-%016llx is damaged at %llu: the log ends with epoch %llu, but epochs up "
                      "to %llu were durable and are lost; restore a copy of the directory",
                      (unsigned long long)store->segments[scan->segment].sequence,
                      (unsigned long long)scan->offset, (unsigned long long)scan->epoch,
                      (unsigned long long)store->known_durable);
}

enum weir_status log_recover(struct store *store, uint64_t from_epoch, store_apply_fn *apply,
                             void *arg, struct store_recovery *recovery)
{
    struct scan scan = { .offset = FILE_HEADER_BYTES,
                         .epoch = store->cut_epoch,
                         .chain = store->cut_chain,
                         .wall_ms = store->durable_wall_ms };
    struct buf bytes = { 0 }, tail = { 0 };
    enum weir_status st = WEIR_OK;
    for (uint32_t i = 0; i < store->segment_count && st == WEIR_OK; i++) {
        st = segment_read(store, i, scan.epoch, &bytes);
        if (st != WEIR_OK) break;
        memcpy(store->next_header, bytes.ptr, FILE_HEADER_BYTES); /* the last may be one prepared */
        uint64_t before = scan.epoch;
        st = segment_scan(store, i, buf_str(&bytes), &scan, from_epoch, apply, arg, recovery);
        if (st != WEIR_OK) break;
        bool newest = scan.epoch > before;
        uint64_t end = newest ? scan.offset : FILE_HEADER_BYTES, witness;
        if (later_record_knows(store, i, buf_str(&bytes), end, scan.epoch, &witness)) {
            st = store_fail(store, WEIR_CORRUPT,
                            "log-%016llx is damaged at %llu: epochs above %llu up to %llu were "
                            "durable and are lost; restore a copy of the directory",
                            (unsigned long long)store->segments[i].sequence,
                            (unsigned long long)end, (unsigned long long)scan.epoch,
                            (unsigned long long)witness);
            break;
        }
        if (newest || i == 0) {
            struct buf swap = tail;
            tail = bytes;
            bytes = swap;
        }
    }
    if (st == WEIR_OK) st = scan_judge(store, &scan);
    if (st == WEIR_OK) {
        recovery->durable_epoch = store->written_epoch = store->stats.durable_epoch = scan.epoch;
        recovery->wall_ms = store->wall_ms = store->durable_wall_ms = scan.wall_ms;
        struct weir_str torn = torn_end(store, store->segments[scan.segment].sequence,
                                        buf_str(&tail), scan.offset);
        recovery->torn_bytes = torn.len;
        recovery->clean = store->was_clean && scan.epoch == store->known_durable &&
                          recovery->torn_bytes == 0 && !ENV_CHANCE(store->env, "store.unclean");
        store->clean_start = recovery->clean;
#ifdef MUTANT_store_tail_not_cut
        st = tail_open(store, &scan, buf_str(&tail));
#else
        st = recovery->clean ? tail_open(store, &scan, buf_str(&tail))
                             : rehome(store, &scan, buf_str(&tail));
#endif
        if (st == WEIR_OK && torn.len > 0) torn_save(store, torn);
    }
    buf_free(&bytes);
    buf_free(&tail);
    return st;
}
