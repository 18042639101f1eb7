/*
 * history.h - what clients saw, as arrays: transactions, their operations, the entities they name.
 *
 * The checker shares no code with the engine: this folder includes libc only, so that one mistake
 * cannot hide itself on both sides. The line format is in README.md.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CHECK_HISTORY_H
#define CHECK_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NONE UINT32_MAX
#define TIME_NEVER INT64_MAX

/* LATE: the effect of a message or timer that an acknowledged transaction asked for: it happens once, later. */
enum outcome { OUTCOME_OK, OUTCOME_FAIL, OUTCOME_UNKNOWN, OUTCOME_LATE };

enum op_kind {
    OP_GONE, /* of an attempt that was merged into another attempt with the same id */
    OP_APPEND,
    OP_LIST_READ,
    OP_WRITE,
    OP_REG_READ,
    OP_CHANGE, /* a deposit, or one half of a transfer */
    OP_ACCOUNT_READ,
    OP_SEND, /* only while reading: it becomes the append of an effect */
};

/* What a line gives about an operation besides its arguments. */
enum op_flag {
    OP_RESULT = 1,  /* the handler's answer is known */
    OP_VERSION = 2, /* `version` was given */
    OP_TAG = 4,     /* `tag` was given */
    OP_SEEN = 8,    /* somebody observed this write */
    OP_DEPOSIT = 16 /* changes the sum of all accounts */
};

struct op {
    int64_t value;   /* appended, written or read value; change or balance of an account */
    int64_t version; /* length after an append or of a read; register's version; account's seq */
    int64_t before;  /* register: value before a write; account: balance before a change */
    uint64_t text;   /* list read: where its elements are in the file */
    uint32_t tag;    /* account: id of the transaction that made the version seen, or NONE */
    uint32_t key;
    uint32_t txn;
    uint32_t at;   /* version that this write made, from 1; 0 while not known */
    uint32_t next; /* register without versions: the write that replaced this one */
    uint8_t kind;
    uint8_t flags;
    uint8_t outcome; /* its transaction's, here because each look at it there would miss the cache */
};

struct txn {
    int64_t start, end; /* end is TIME_NEVER for an unknown outcome */
    uint32_t op_first, op_count;
    uint32_t line;
    uint32_t client;
    uint32_t id;   /* idempotency id, or NONE */
    uint32_t code; /* of a failure, or NONE */
    uint32_t by;   /* of an effect on a line of its own: id of the transaction that asked for it, or NONE */
    uint32_t cause; /* of an effect: that transaction, or NONE; known when all is read */
    bool is_effect;
    uint32_t shard_count;
    uint16_t attempt_count;
    uint8_t outcome;
    bool final;
    bool applied; /* unknown or late, but a write of it was seen */
};

struct key {
    const char *name;
    uint32_t name_len;
    char kind; /* l, r or a: the first letter of its name */
    bool is_versioned;
    bool is_complete; /* every version up to the final read has a known writer */
    bool is_dirty;    /* the order cannot be trusted: no edges from here */
    int64_t initial;
    uint32_t final_op;
    uint32_t index_first, index_count; /* its operations, in history.index */
    uint32_t slot_first, slot_count;   /* version v was made by the op slots[slot_first + v - 1] */
};

/* Interned texts: names of entities, ids, failure codes. */
struct names {
    struct name {
        const char *ptr;
        uint32_t len;
        uint32_t count;
        uint32_t txn; /* ids: the attempt that counts, or NONE */
    } *items;
    uint32_t *table;
    uint32_t count, capacity, table_size;
};

/* A time in which something was broken on purpose. */
struct window {
    int64_t start, end;
};

struct history {
    char *text;
    size_t text_len;
    const char *file; /* what was read, where `text` was made of it */
    struct txn *txns;
    struct op *ops;
    struct key *keys;
    uint32_t txn_count, txn_capacity;
    uint32_t op_count, op_capacity;
    uint32_t key_count, key_capacity;
    struct names key_names, ids, codes;
    uint32_t *index; /* live operations, sorted by key, then as they come */
    uint32_t *slots;
    uint32_t slot_count, slot_capacity;
    uint32_t *writes; /* hash table: (key, value) to the op that appends or writes it */
    uint32_t write_mask;
    uint64_t client_ok, client_fail, client_unknown, multi_shard, with_shards;
    uint64_t quiet_ok, quiet; /* of transactions that met no fault */
    uint64_t effects;
    int64_t first_start, last_end;
    struct window *windows; /* sorted */
    uint32_t window_count;
};

/* Reads windows, a line with start and end each; before history_load(). */
void history_load_windows(struct history *history, const char *path);

/* jepsen.c: JSON lines as Jepsen writes them, as lines of our own at the same line numbers. */
bool jepsen_is(const char *text, size_t len);
void jepsen_convert(char **text, size_t *len);

/* Reads a whole file ("-" is standard input); exits with 2 and a line number where it is malformed. */
void history_load(struct history *history, const char *path);

/* Parses the next integer at *cursor and moves past it; false where there is none. */
bool parse_int(const char **cursor, const char *end, int64_t *value);

/* The op that appends or writes this value, preferring one that did not fail; NONE if there is none. */
uint32_t history_find_write(const struct history *history, uint32_t key, int64_t value);

/* Appends a key that stands for a part of another one, and gives its number. */
uint32_t history_add_key(struct history *history, const struct key *like);

/* Reserves `count` empty slots and gives the first. */
uint32_t history_add_slots(struct history *history, uint32_t count);

/* realloc that ends the program when memory is short. */
void *grow(void *ptr, size_t count, size_t size);

/* The anomalies' names are in README.md: a name is a promise to scripts that read the output. */
__attribute__((format(printf, 2, 3))) void report(const char *kind, const char *format, ...);
uint64_t report_count(void);
void report_summary(void);
void report_set_limit(unsigned limit);

/* order.c: builds each key's versions, checks what one key can show, gives edges to the graph. */
void order_check(struct history *history);

/* graph.c: dependencies between transactions. PROCESS and TIME follow from the times of the transactions. */
enum edge_kind { EDGE_WW, EDGE_WR, EDGE_RW, EDGE_PROCESS, EDGE_TIME };
void graph_add(uint32_t from, uint32_t to, enum edge_kind kind, uint32_t key);
/* Leaves out a kind of edges: a checker with a hole, for the tests of replay.c. */
void graph_forget(enum edge_kind kind);
/* Reports cycles. Without any: a serial order that keeps all edges, given; else NULL. */
uint32_t *graph_check(const struct history *history);
uint64_t graph_edge_count(void);

/* replay.c: runs the transactions in that order on a plain model; every answer must match. */
void replay_check(const struct history *history, const uint32_t *order);
uint32_t replay_key_count(void);

/* A transaction that cannot have taken effect, as far as anybody saw: no part of any order. */
bool txn_is_absent(const struct txn *txn);

#endif
