/*
 * store.h - a data directory: the durable log of epochs, checkpoints, and recovery from both.
 *
 * The store knows rows only as (slot, key, value) bytes and epochs only as numbers that grow. One frame
 * holds one epoch and is valid whole or not at all. Rules: docs/formats/, src/store/README.md.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_STORE_STORE_H
#define WEIR_STORE_STORE_H

#include "base/mem.h"
#include "os/env.h"

#define STORE_SLOTS 256u

/*
 * A batch of row changes in log form, side by side:
 *   u8 slot, u8 op (1 put, 2 delete, 3 patch), varint key length, key; for a put varint value length, value; for a patch
 *   varint value length and, until that is reached, varint bytes that stay, varint bytes that change, those bytes.
 * Changes of a key hold in their order; parts of one frame hold disjoint slots.
 */
enum store_op {
    STORE_EXPECT = 0 /* in no batch */,
    STORE_PUT = 1,
    STORE_DELETE = 2,
    STORE_PATCH = 3
};
/** The head of a change, whose key is in two parts, the first of a few bytes; where it ends. */
static inline char *store_change_head(char *at, uint8_t slot, enum store_op op,
                                      struct weir_str head, struct weir_str key)
{
    *at++ = (char)slot;
    *at++ = (char)op;
    at = varint_put(at, head.len + key.len);
    for (size_t i = 0; i < head.len; i++) *at++ = head.ptr[i];
    if (key.len > 0) memcpy(at, key.ptr, key.len);
    return at + key.len;
}
void store_change(struct buf *batch, uint8_t slot, struct weir_str key, struct weir_str value);
/** The same of a key of two parts. */
static inline void store_change_of(struct buf *batch, uint8_t slot, struct weir_str head,
                                   struct weir_str key, struct weir_str value)
{
    buf_reserve(batch, 22 + head.len + key.len + value.len);
    char *at = store_change_head(batch->ptr + batch->len, slot, STORE_PUT, head, key);
    at = varint_put(at, value.len);
    if (value.len > 0) memcpy(at, value.ptr, value.len);
    batch->len = (size_t)(at + value.len - batch->ptr);
}
void store_change_delete(struct buf *batch, uint8_t slot, struct weir_str key);
/**
 * A patch, where that is at most half as long as the value it gives: else false, and nothing was added.
 * @param before  the row's value by the log up to here
 * A patch may meet any later value of its key in recovery, as a checkpoint has it, or none, and still the last change gives the
 * right value: it moves no bytes. A byte of the last value that no patch names has been in the row all the time, and stays; any
 * other ends as the last patch that names it says, for each that makes a row longer names all bytes behind the end.
 */
bool store_change_patch(struct buf *batch, uint8_t slot, struct weir_str head, struct weir_str key,
                        struct weir_str before, struct weir_str value);
/** What a patch makes of a value. What neither has is zero: later changes take that away, or name it. */
void store_patch(struct weir_str before, struct weir_str patch, struct buf *out);

struct store_options {
    uint64_t segment_bytes_first; /* 1 MiB; doubles to segment_bytes_max */
    uint64_t segment_bytes_max;   /* 64 MiB */
    uint64_t
        reserve_bytes; /* refuse to create a segment when less would stay free; 0: by segments */
    uint32_t torn_files_max; /* ends cut off the log that are kept for people; 0: the default */
    bool existing;           /* where there is no data none is made: that is WEIR_CONFIG */
};
#define STORE_TORN_FILES_MAX 4u
#define STORE_OPTIONS                                                                              \
    {                                                                                              \
        1u << 20, 64u << 20, 0, STORE_TORN_FILES_MAX, false                                        \
    }

struct store;

/* Applies one recovered row in recovery order: checkpoint rows, then log changes by epoch. A deletion has no value, that of
 * STORE_PATCH is for store_patch(). Bytes are borrowed until return. Before all of them each row of the checkpoint is announced
 * by STORE_EXPECT, without its value, as it is read to be verified; also of one that is found bad and not used. */
typedef void store_apply_fn(void *arg, uint8_t slot, enum store_op op, struct weir_str key,
                            struct weir_str value);

struct store_recovery {
    uint64_t
        durable_epoch; /* newest epoch that was used up on disk, the next is above; 0 for a new directory */
    int64_t wall_ms;        /* time of that frame */
    uint64_t rows, changes; /* applied from checkpoint and log */
    uint64_t torn_bytes;    /* cut from the tail */
    bool clean;             /* the last stop wrote the clean mark */
    uint32_t
        damaged_checkpoints; /* named, found bad, not used: the older one or the whole log served */
};

/**
 * Opens or creates the directory, locks it for life, recovers, and leaves the log ready to append: torn
 * tail cut, tail re-homed into a new segment after an unclean stop.
 * @param path     the data directory
 * @param error    what went wrong, one line for people with file, offset, epoch and what is lost
 * Errors: WEIR_LOCKED (exit 73), WEIR_CORRUPT or WEIR_NEWER (65), WEIR_IO (74), WEIR_DISKFULL.
 */
enum weir_status store_open(struct env *env, const char *path, const struct store_options *options,
                            store_apply_fn *apply, void *arg, struct store **store,
                            struct store_recovery *recovery, char *error, size_t error_bytes);

/* One epoch to append: parts are batches as above. */
struct store_frame {
    uint64_t epoch;  /* greater than every earlier one */
    int64_t wall_ms; /* never less than the last frame's */
    const struct weir_str *parts;
    uint32_t part_count;
};
/** Writes the frame at the tail, changing segment if needed. Not durable yet. The step that writes.
 *  Errors: WEIR_DISKFULL (nothing happened; try again when space returns), WEIR_POISONED. */
enum weir_status store_write(struct store *store, const struct store_frame *frame);
/** Makes all written frames durable. On failure the log is poisoned for good: WEIR_POISONED. */
enum weir_status store_sync(struct store *store);
/** Prepares the next segment ahead of need, a piece each time; called by the writer when idle, or when it is due. True if
 *  work was done: there may be more. */
bool store_prepare(struct store *store);
/** Whether it must go on even between frames: else the segment is full before the next one is made, and a frame waits for that. */
bool store_prepare_is_due(const struct store *store);

/* A checkpoint being written: any number of batches, then finish. One at a time. Same thread as store_write. */
/** @param begin  per slot, the epoch from which the log is needed above this checkpoint's rows */
enum weir_status store_checkpoint_begin(struct store *store, uint64_t begin);
enum weir_status store_checkpoint_add(struct store *store, struct weir_str batch); /* puts only */
/** One piece of the end, so that frames can be written between them: the footer with sync and rename; each block, read back
 *  and verified; its name in the manifest, which cuts the log below the minimum of the two newest checkpoints' begins; each
 *  file that goes. Call first only once the epoch in which the walk ended is durable.
 *  @param more  call again; false after an error, and then the checkpoint is gone */
enum weir_status store_checkpoint_finish(struct store *store, bool *more);
/** At any time; a checkpoint that is named stays. */
void store_checkpoint_abort(struct store *store);

/* Which files of events are whole up to where; made by events_heads(), see events.h. */
struct event_heads;
/** From here on manifests name these; taken. Same thread as store_write(). */
void store_event_heads(struct store *store, struct event_heads *heads);
/** Writes a manifest for the sake of the heads. Errors as store_write(). */
enum weir_status store_name_events(struct store *store);
/** Serial of the heads in the newest durable manifest. */
uint64_t store_events_named(const struct store *store);

/** 16 hex digits that name this data among all others. */
const char *store_id(const struct store *store);

struct store_stats {
    uint64_t durable_epoch, syncs, frames, bytes_written, last_sync_ns;
    uint64_t log_bytes_since_checkpoint, segment_count, checkpoint_count;
    int64_t disk_free_bytes;
    bool poisoned, disk_full;
    bool prepare_failed; /* the last `store_prepare` met an error that was not want of room */
    char poison[256];
};
void store_stats(const struct store *store, struct store_stats *stats);

/** Writes the clean mark if nothing is poisoned, and closes. */
void store_close(struct store *store);
/** Closes handles without writing anything (after a simulated crash, or when poisoned). */
void store_abandon(struct store *store);

#endif
