/*
 * events.h - retained events of streams: append-only logs in the order of ids, in files of their own.
 *
 * An event is durable through the log of epochs, as every effect is. Here it is kept for reading: newest blocks
 * in memory, all closed ones in files written behind. A checkpoint syncs them and names them in the manifest
 * (store_event_heads()), so that the log can be cut; what was not named then is thrown away at start and comes
 * again from the log. Files: docs/formats/events.md.
 *
 * Thread: after events_open() one thread owns it, another than the one that owns the store.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_STORE_EVENTS_H
#define WEIR_STORE_EVENTS_H

#include "store/store.h"

/* Order of events: by epoch, then by n. Written "<epoch>-<n>". */
struct event_id {
    uint64_t epoch, n;
};
static inline int event_id_cmp(struct event_id a, struct event_id b)
{
    if (a.epoch != b.epoch) return a.epoch < b.epoch ? -1 : 1;
    return a.n < b.n ? -1 : a.n > b.n;
}
#define EVENT_ID_TEXT_MAX 48u
/** "12-65536" into `out`; its length. */
size_t event_id_write(struct event_id id, char out[EVENT_ID_TEXT_MAX]);
/** "12-65536", or "12" with `n_if_none`; false when it is neither. */
bool event_id_read(struct weir_str text, uint64_t n_if_none, struct event_id *id);

struct event {
    struct event_id id;
    int64_t time_ms;
    struct weir_str key, value; /* borrowed until the next call on the walk or log */
};

struct events;
struct event_log;

struct events_options {
    uint64_t block_bytes; /* a block is closed at that size; 0: 32 KiB */
    uint64_t file_bytes;  /* a file gets no further block at that size; 0: 16 MiB */
    uint64_t cache_bytes; /* of closed blocks kept in memory, all streams; 0: 64 MiB */
    /* True for an event that is not counted, and that compaction keeps whatever its key. NULL: there is none. */
    bool (*is_hidden)(const struct event *event);
};

/** Reads what the manifest names. Errors as store_open(), with `error`. */
enum weir_status events_open(struct store *store, const struct events_options *options,
                             struct events **events, char *error, size_t error_bytes);
void events_close(struct events *events);

/** The log of a stream by its number; made when absent. `file_bytes` 0: the standard. */
struct event_log *events_log(struct events *events, uint16_t stream, uint64_t file_bytes);
/** Appends; one at or below the last is not taken (it was read from a file already): false. */
bool event_log_append(struct event_log *log, const struct event *event);

struct event_log_info {
    uint64_t count, bytes, files;
    struct event_id first, last; /* zero when there is none */
    int64_t time_first;          /* of the oldest block: the oldest event, or about so */
};
void event_log_info(const struct event_log *log, struct event_log_info *info);

/** How many events stand behind this id. Reads at most one block. */
uint64_t event_log_count_after(struct event_log *log, struct event_id id);

/* A walk over a log; survives appending and trimming. */
struct event_walk {
    struct event_log *log;
    bool reverse;
    /* events.c's */
    struct event_id at;
    bool after;     /* `at` itself was handed out */
    uint64_t block; /* its number; 0: to be found */
    size_t offset;  /* in the block's bytes, forward */
    uint32_t compactions;
    uint64_t loaded; /* number of the block whose bytes are in `bytes`; 0: none */
    struct buf bytes;
    uint32_t *starts, start_count, start_at; /* of a block walked backward */
    enum weir_status status;
};
/** From the first event at or above `from`, or, reverse, the last at or below. */
void event_walk_begin(struct event_walk *walk, struct event_log *log, struct event_id from,
                      bool reverse);
/** False at the end (more may be appended later), or on a damaged file: walk->status. */
bool event_walk_next(struct event_walk *walk, struct event *event);
void event_walk_end(struct event_walk *walk);
/** The first event at or after this time, by the times of blocks and events; the id past the last when none. */
struct event_id event_log_find_time(struct event_log *log, int64_t time_ms);

/** Writes one closed block that is not in a file yet; false when there is none, or the disk is full. */
bool events_write(struct events *events);
bool events_disk_full(const struct events *events);
/** Closes and writes all blocks and syncs: from here on the heads say so. WEIR_DISKFULL: try again;
 *  WEIR_POISONED: a sync failed, which is never tried again. */
enum weir_status events_sync(struct events *events);
/** Drops whole files whose events are all older than `before_ms` (0: no bound) or beyond `bytes_max` (0: none), and at
 *  or below `safe`. True if the heads changed; the files go at events_named(). */
bool event_log_trim(struct event_log *log, int64_t before_ms, uint64_t bytes_max,
                    struct event_id safe);
/* Compaction by key: of the events that it may touch, only the newest of each key stays. */
struct event_compaction {
    struct event_id safe;   /* what lies above is not touched */
    int64_t before_ms;      /* nor a file with something as young; INT64_MAX: all are old enough */
    uint64_t bytes_min;     /* worth it from so many bytes on that were never compacted ... */
    uint32_t dirty_percent; /* ... and from this share of what there would be to rewrite */
    uint64_t memory_bytes;  /* about so many for keys at a time; at least one file is taken */
    /* True for the end of a key: as its newest event it stays until it is older than gone_before_ms. NULL: none is. */
    bool (*is_gone)(void *arg, const struct event *event);
    void *arg;
    int64_t gone_before_ms;
};
/** Begins: WEIR_OK; WEIR_NOMORE when it is not worth it or one runs. Syncs the log: WEIR_DISKFULL, WEIR_POISONED. */
enum weir_status event_log_compact(struct event_log *log, const struct event_compaction *how);
bool event_log_compacts(const struct event_log *log);
struct event_compacted {
    uint16_t stream;
    uint64_t events_before, events_after, bytes_before, bytes_after;
};
/**
 * One step, of about one block: WEIR_OK while there is more or nothing to do. With *done the heads changed, and the files go
 * at events_named(). WEIR_DISKFULL, WEIR_CORRUPT, WEIR_IO: given up, all is as it was. WEIR_POISONED: as events_sync().
 */
enum weir_status events_compact(struct events *events, bool *done, struct event_compacted *figures);
bool events_compacting(const struct events *events);
/** What is in files and synced, for the manifest: store_event_heads(). Given; freed by store_event_heads(). */
struct event_heads *events_heads(struct events *events);
/** The manifest that has these heads (their serial) is durable: files that it does not name go. */
void events_named(struct events *events, uint64_t serial);

#endif
