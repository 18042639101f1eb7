/*
 * store_int.h - what the files of the store share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_STORE_INT_H
#define WEIR_STORE_INT_H

#include "base/assert.h"
#include "base/hash.h"
#include "base/mark.h"
#include "store/store.h"

#define STORE_VERSION 1u
#define FILE_HEADER_BYTES 64u
#define RECORD_HEADER_BYTES 64u
#define SEGMENTS_MAX 4096u
#define EVENT_HEADS_MAX 8192u            /* two of a stream */
#define EVENT_FILE_COMPACTED 0x80000000u /* in the number of an events file: compaction made it */
#define CHECKPOINTS_KEPT 2u
#define SPARES_MAX 4u
#define RESERVE_NAME "reserve"

enum file_kind { FILE_LOG = 1, FILE_CHECKPOINT = 2, FILE_MANIFEST = 3, FILE_EVENTS = 4 };
enum record_kind { RECORD_FRAME = 1 };
enum file_flag {
    FILE_RECYCLED = 1, /* behind its records lie old bytes, not zeros */
    /* a manifest that names compacted events, or logs that may have patches: versions which do not know them refuse it */
    FILE_COMPACTED_HEADS = 2,
    FILE_PATCHES = 4
};

struct segment {
    uint64_t sequence;
    uint64_t bytes;      /* of the file */
    uint64_t last_epoch; /* newest in it; 0: none */
    uint64_t last_chain; /* payload checksum of that record */
};
struct checkpoint {
    uint64_t sequence, begin;
};

/* Of one stream: which files hold it, and up to where. */
struct event_head {
    uint64_t stream, first_file, last_file; /* last_file 0: no file, first_file is the next one's */
    uint64_t size;                          /* of the last file, as far as it counts */
    uint64_t first_block, blocks;           /* numbers: the first kept, one above the last */
    uint64_t chain;                         /* payload checksum of the last block */
    uint64_t epoch, n;                      /* id of the last event in them */
};

struct store {
    struct env *env;
    struct store_options options;
    int dir;
    uint8_t uuid[16];
    char id[17]; /* its first half in hex, for store_id() */
    /* manifest */
    uint64_t generation, next_sequence;
    struct segment *segments; /* in order; the last may be one prepared and empty */
    uint32_t segment_count, segment_cap;
    struct checkpoint checkpoints[CHECKPOINTS_KEPT + 1]; /* oldest first */
    uint32_t checkpoint_count;
    uint64_t cut_epoch,
        cut_chain; /* where the log that was cut from the front ended; 0: nothing was cut */
    uint64_t known_durable; /* as the manifest read at start knows it; less in the log is a loss */
    bool was_clean;         /* that manifest was written by store_close() */
    bool clean_start;       /* and so the log's end was found as it was left */
    struct event_head *heads;
    uint32_t head_count;
    uint64_t heads_serial, heads_named; /* of these; of those in the newest durable manifest */
    /* log */
    int fd, next_fd; /* of segments[current], and of the one behind it; -1: none */
    uint32_t current;
    uint64_t offset; /* tail in the current segment */
    char *tail;      /* on a block: what the tail's block holds, and room for a record behind */
    size_t tail_bytes;
    char *piece;                         /* on a block, see blocks_write() */
    char next_header[FILE_HEADER_BYTES]; /* of next_fd's file, with which its first block begins */
    uint64_t chain;                      /* payload checksum of the last record */
    uint64_t written_epoch;
    int64_t wall_ms, durable_wall_ms;
    bool unsynced;
    bool no_segment, no_room; /* the disk is full: no next segment could be made; a write failed */
    /* the segment being made, a piece at a time; its blocks are there up to making_at */
    int making_fd;     /* -1: none */
    bool making_again; /* of a file that was one before */
    uint64_t making_sequence, making_bytes, making_at;
    struct segment spares[SPARES_MAX]; /* files to be used again, of segments that were cut */
    uint32_t spare_count;
    uint64_t reserve_bytes; /* of the file kept for writing the tail again on a full disk */
    bool reserve_wanted;    /* it could not be made large enough */
    struct buf leftovers;   /* while opening: NUL-ended names that go once the log is judged */
    struct buf torn;        /* likewise names of ends that were cut, oldest first */
    uint32_t torn_count;
    /* checkpoint being written */
    int checkpoint_fd;
    uint64_t checkpoint_sequence, checkpoint_begin, checkpoint_offset, checkpoint_rows,
        checkpoint_blocks, checkpoint_hash;
    struct checkpoint_ending *checkpoint_ending; /* written, and being finished */
    struct store_stats stats;
    char *error;
    size_t error_bytes;
    struct buf scratch;
};

/* ---- store.c ---- */
/** Removes what no manifest names. Only once the log was found whole: a refused start changes nothing. */
void store_remove_leftovers(struct store *store);
void store_name(char *out, const char *kind, uint64_t sequence);
uint64_t store_seed(const struct store *store, uint64_t sequence, uint64_t offset);
enum weir_status store_fail(struct store *store, enum weir_status st, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
enum weir_status store_poison(struct store *store, const char *what, uint64_t sequence, int error);
/** @param copied  log: records before this offset were taken from another file */
void file_header(const struct store *store, enum file_kind kind, uint64_t sequence, uint32_t flags,
                 uint64_t copied, uint8_t out[FILE_HEADER_BYTES]);
static inline uint64_t file_copied(const char *header)
{
    return load_le64(header + 40);
}
static inline uint32_t file_flags(const char *header)
{
    return load_le32(header + 48);
}
/** WEIR_OK, CORRUPT or NEWER. */
enum weir_status file_header_check(const struct store *store, enum file_kind kind,
                                   uint64_t sequence, const char *bytes);
/** The whole file into `out`. */
enum weir_status file_read(struct store *store, const char *name, struct buf *out);
enum weir_status status_of_errno(int error);

/* ---- log.c ---- */
/** Whether log_prepare() must go on now, or the next segment will be late. */
bool log_prepare_is_due(const struct store *store);
/** Lets go of the one being made, if any. */
void log_making_drop(struct store *store);
enum weir_status log_create_segment(struct store *store, uint64_t bytes, int *fd);
enum weir_status log_recover(struct store *store, uint64_t from_epoch, store_apply_fn *apply,
                             void *arg, struct store_recovery *recovery);
enum weir_status log_append(struct store *store, const struct store_frame *frame);
enum weir_status log_sync(struct store *store);
bool log_prepare(struct store *store);
bool log_begins_with_record(struct weir_str file);
/** Appends go on in a segment without records, the one that was made last. */
void log_begin_segment(struct store *store, int fd);
void log_reserve_found(struct store *store);
/* Segments that leave the log: out of the list, then (once the manifest is durable) out of the directory, or back. */
struct cut {
    struct segment *gone;
    uint32_t count, done;          /* of them gone already */
    uint64_t cut_epoch, cut_chain; /* as they were */
};
void log_cut_plan(struct store *store, uint64_t below_epoch, struct cut *cut);
/** Deletes, or keeps to be used again, the next file of a cut that the manifest knows; false: none was left. */
bool log_cut_one(struct store *store, struct cut *cut);
/** All but `kept` of the files that were to be used again. */
void log_spares_drop(struct store *store, uint32_t kept);
void log_cut_undo(struct store *store, struct cut *cut);
/** Does this log file, that no manifest names, hold epochs that were written after it had been named? */
bool log_file_was_used(struct store *store, const char *name, uint64_t sequence);
bool changes_apply(struct weir_str payload, store_apply_fn *apply, void *arg, uint64_t *count);

/* ---- manifest.c ---- */
/** @param repair  out: a slot is missing, damaged or behind; write both again */
enum weir_status manifest_read(struct store *store, bool *found, bool *repair);
/** Makes the store's lists the content of both slots. Errors: WEIR_DISKFULL, WEIR_IO: nothing changed on disk;
 *  WEIR_POISONED: the names may have changed, so nothing that either content names may go. */
enum weir_status manifest_write(struct store *store, bool clean);
bool manifest_names(const struct store *store, const char *name);
bool manifest_is_temporary(const char *name);

/* ---- checkpoint.c ---- */
void checkpoint_abandon(struct store *store); /* touches no file */
enum weir_status checkpoint_load(struct store *store, store_apply_fn *apply, void *arg,
                                 struct store_recovery *recovery, uint64_t *begin);

#endif
