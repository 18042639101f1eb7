/*
 * events_int.h - what events.c and compact.c share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_STORE_EVENTS_INT_H
#define WEIR_STORE_EVENTS_INT_H

#include <stdio.h>

#include "store/events.h"
#include "store/store_int.h"

#define BLOCK_MAGIC 0x56424557u /* "WEBV" */
#define BLOCK_HEADER_BYTES 96u
#define BLOCK_PAYLOAD_MAX (64u << 20)
#define VERIFY_BYTES_MAX (UINT64_C(256) << 20) /* beyond, payloads are judged when they are read */

struct block {
    struct event_id first, last;
    int64_t time_first, time_last;
    uint32_t count, hidden; /* events; of them those that are not counted */
    uint32_t len;           /* of the payload */
    uint32_t file;          /* its number; 0: in memory only */
    uint32_t cap;           /* of data, while it is open */
    uint64_t offset;        /* of its header in the file */
    char *data;             /* NULL: to be read from the file */
};

struct event_file {
    uint32_t number;
    uint64_t bytes;
    uint64_t first_block; /* number of its first block */
    int fd;               /* -1: closed */
    bool synced, named;
    bool torn; /* a write behind `bytes` failed: part of it may be there */
};

struct event_log {
    struct events *events;
    struct event_log *next;
    uint16_t stream;
    uint64_t file_bytes;
    struct block *blocks; /* first_block, first_block + 1, ... */
    uint64_t first_block;
    uint32_t block_count, block_cap;
    uint64_t written;   /* blocks below this number are in files */
    uint64_t evictable; /* blocks below this number have given up their bytes */
    struct event_file *files;
    uint32_t file_count, file_cap;
    uint32_t next_file;
    uint64_t chain; /* payload hash of the last written block */
    uint64_t count, hidden, bytes;
    struct event_id last;
    /* of the compacted file, which is then files[0] */
    uint32_t next_compacted;  /* number of the next, without EVENT_FILE_COMPACTED */
    uint32_t compactions;     /* finished since the start: walks then look for their place again */
    uint64_t compacted_bytes; /* of its blocks; 0: there is none */
    uint64_t compacted_chain; /* checksum of its last block */
    /* as of the last sync */
    struct event_id synced_last;
    uint32_t synced_file;
    uint64_t synced_size, synced_chain, synced_blocks;
};

struct events {
    struct store *store;
    struct env *env;
    struct events_options options;
    struct event_log *logs;
    uint64_t cached; /* bytes of closed blocks in memory */
    uint64_t serial; /* of the heads made last */
    bool disk_full, poisoned, new_names;
    struct compaction *compaction; /* the one that runs */
    struct gone {
        uint64_t serial; /* go once heads of this serial are named */
        uint16_t stream;
        uint32_t file;
    } * gone;
    uint32_t gone_count, gone_cap;
    struct buf scratch;
};

struct event_heads {
    uint64_t serial;
    uint32_t count;
    struct event_head head[];
};

/* ---- events.c ---- */
void event_file_name(char *out, uint16_t stream, uint32_t number);
/** What file headers and checksums take for the sequence of a file. */
static inline uint64_t event_file_sequence(uint16_t stream, uint32_t number)
{
    return (uint64_t)stream << 32 | number;
}
/** @param number  of the block, as the file says it: event_block_number() */
void event_block_header(const struct event_log *log, const struct block *b, uint64_t number,
                        uint64_t hash, uint64_t chain, uint32_t file, uint64_t offset, char *out);
static inline struct block *event_block_at(const struct event_log *log, uint64_t number)
{
    if (number < log->first_block || number >= log->first_block + log->block_count) return NULL;
    return &log->blocks[number - log->first_block];
}
/** The bytes of one event, as they stand in this block. */
void event_encode(const struct block *b, const struct event *e, struct buf *out);
bool event_decode(const struct block *b, const char *bytes, size_t *offset, struct event *e);
/** Reads the payload of a block in a file. */
enum weir_status event_block_load(struct event_log *log, uint64_t number, const struct block *b,
                                  struct buf *out);
/** A full disk or worse: false. */
bool events_fail(struct events *events, int64_t error);
/** Closes the open block, writes and syncs all of this log: its heads then say so. Errors as events_sync(). */
enum weir_status event_log_sync(struct event_log *log);
/** The file goes once a manifest without it is durable. */
void event_file_gone(struct event_log *log, uint32_t number);

/* ---- compact.c ---- */
void compaction_free(struct events *events);

static inline bool event_is_hidden(const struct event_log *log, const struct event *e)
{
    return log->events->options.is_hidden != NULL && log->events->options.is_hidden(e);
}

#endif
