/*
 * weir.h - the application model in C, and the engine embedded in a program.
 *
 * A service is a set of entity types; an entity is addressed by type and key and holds one row, a struct
 * of the application's own. Handlers are plain functions over that row. Every request runs as one
 * strictly serializable transaction over all the entities it reaches; its effects are durable before
 * its reply is handed out.
 *
 * Two ways in: a shared object that exports weir_module() and is served by `weir run bank.so`, or a
 * program that calls weir_open(), registers the same tables, and calls weir_request().
 *
 * Lifetimes: what the engine hands to a handler is borrowed until that handler returns. A weir_str
 * assigned into a row is copied when the handler returns. Nothing here may be called from another
 * thread than the one that runs the handler.
 *
 * After a failure every call returns that failure's status, map_put, map_append and map_edit give
 * scratch memory, and returning WEIR_OK no longer commits: no step of a handler needs testing.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_H
#define WEIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weir/status.h"

#define WEIR_MUST_USE __attribute__((warn_unused_result))
#define WEIR_EXPORT __attribute__((visibility("default")))

/* Bytes with a length; no terminator. A nil text has ptr == NULL. */
struct weir_str {
    const char *ptr;
    size_t len;
};

/* The address of an entity: its key. The type is the field's or the verb's. Nil: key.ptr == NULL. */
struct weir_ref {
    struct weir_str key;
};

/* `count` values of the element shape, side by side; read `items` as an array of the element struct. */
struct weir_list {
    void *items;
    size_t count;
};

/* An optional whole number, time or enum that is absent. */
#define WEIR_NIL INT64_MIN
/* Largest whole number in a row, argument or result, either way: exact in Lua, JSON and SQL. */
#define WEIR_INT_MAX ((INT64_C(1) << 53) - 1)

enum weir_kind {
    WEIR_NONE = 0,
    WEIR_INT,    /* int8_t, int16_t, int32_t or int64_t: the width is the range */
    WEIR_FLOAT,  /* double, finite */
    WEIR_BOOL,   /* bool */
    WEIR_TEXT,   /* struct weir_str, or char[n] (NUL padded); valid UTF-8 */
    WEIR_BYTES,  /* struct weir_str */
    WEIR_TIME,   /* int64_t: milliseconds since 1970 UTC; starts at WEIR_NIL */
    WEIR_ENUM,   /* int8_t to int64_t: the place of the word, from 0 */
    WEIR_REF,    /* struct weir_ref */
    WEIR_RECORD, /* nested struct */
    WEIR_LIST,   /* struct weir_list */
    WEIR_ANY     /* struct weir_str holding JSON */
};

struct weir_bound {
    int64_t n;
    bool set;
};
#define WEIR_BOUND(value)                                                                          \
    {                                                                                              \
        (value), true                                                                              \
    }

struct weir_shape;

/* One field of a struct. Write it with WEIR_FIELD; end a table with WEIR_END. */
struct weir_field {
    const char *name;
    enum weir_kind kind;
    uint32_t offset;
    uint32_t size;                  /* bytes of the member; picks the width of whole numbers */
    const char *type;               /* WEIR_REF: the entity type it names */
    const char *const *words;       /* WEIR_ENUM: NULL-terminated */
    const struct weir_shape *shape; /* WEIR_RECORD: its fields; WEIR_LIST: the element */
    bool optional;                  /* may be nil */
    struct weir_bound min, max;     /* of the number, of a text's bytes, of a list's length */
    struct weir_bound start;        /* start value of a whole number or bool; 0 otherwise */
};

/* A struct and its field table. A scalar shape has one unnamed field at offset 0. */
struct weir_shape {
    uint32_t size;
    bool scalar;
    struct weir_field one;           /* when scalar */
    const struct weir_field *fields; /* otherwise; ends with WEIR_END */
};

#define WEIR_FIELD(structure, member, kind_, ...)                                                  \
    {                                                                                              \
        .name = #member, .kind = kind_, .offset = (uint32_t)offsetof(structure, member),           \
        .size = (uint32_t)sizeof(((structure *)0)->member), __VA_ARGS__                            \
    }
#define WEIR_END                                                                                   \
    {                                                                                              \
        0                                                                                          \
    }
#define WEIR_SHAPE(structure, table)                                                               \
    {                                                                                              \
        .size = (uint32_t)sizeof(structure), .fields = table                                       \
    }
/* A single value: int64_t, double, bool, struct weir_str or struct weir_ref by kind. */
#define WEIR_SCALAR(kind_, ...)                                                                    \
    {                                                                                              \
        .size = 0, .scalar = true, .one = {.name = "", .kind = kind_, __VA_ARGS__ }                \
    }
#define WEIR_NOTHING                                                                               \
    {                                                                                              \
        0                                                                                          \
    }

struct weir_ctx; /* the running handler; valid inside it only */

/* A message or a request outside that this transaction makes: whoever returns it has the client answered by what comes
 * of it. Valid inside the transaction only; place 0: none. */
struct weir_ticket {
    uint64_t txn;
    const void *handler;
    uint32_t shard, place;
};

typedef enum weir_status weir_handler_fn(struct weir_ctx *ctx, void *row, const void *args,
                                         void *result);

enum weir_verb_kind { WEIR_ON = 1, WEIR_QUERY, WEIR_CREATE };

/* One handler of a type: what it takes, what it answers, who may call it ("anyone", a role, or NULL:
 * other handlers and the operator only). A query must leave its row as it is. */
struct weir_handler {
    const char *name;
    enum weir_verb_kind kind;
    weir_handler_fn *fn;
    struct weir_shape args;
    struct weir_shape result;
    const char *allow;
};

#define WEIR_KEY_PARTS_MAX 4

/* A map owned by an entity: rows of `value` ordered by key. */
struct weir_map {
    const char *name;
    enum weir_kind
        key[WEIR_KEY_PARTS_MAX]; /* WEIR_INT, TEXT, TIME, ENUM, BOOL, REF; rest WEIR_NONE */
    struct weir_shape value;
    const char *type; /* the entity type of a WEIR_REF key part */
};

/* A rule over the whole row: true, or false with *code set to a word (static text). */
typedef bool weir_check_fn(const void *row, const char **code);

struct weir_entity {
    const char *name;
    const char *key; /* NULL: plain text; else typed parts as "{w}:d:c", each a field of the row */
    struct weir_shape row;
    const struct weir_map *maps;         /* ends with WEIR_END; may be NULL */
    const struct weir_handler *handlers; /* ends with WEIR_END */
    weir_check_fn *check;                /* may be NULL */
};

/* Handlers without an entity; called with an empty key. */
struct weir_service {
    const char *name;
    const struct weir_handler *handlers;
};

/* A handler of another type that this module calls; weir_use() checks it at load and fills `place`. */
struct weir_verb {
    const char *type;
    const char *handler;
    struct weir_shape args;
    struct weir_shape result;
    const void *place; /* the engine's */
};

/* A retained log of events. Events are emitted inside transactions and become part of them. */
struct weir_stream {
    const char *name;
    struct weir_shape event; /* a record */
    const char *key;         /* the field that orders events; NULL: the emitting entity */
    const char *time;        /* the field (WEIR_TIME) of event time; NULL: the transaction's time */
    /* "90d", "512MB", "forever"; "latest": of each key the newest event stays for ever, "latest, 7d": beside all that
     * are younger; NULL: "7d" */
    const char *keep;
    const char *
        tombstone; /* with "latest": a field (WEIR_BOOL) that, when true, ends its key; NULL: none */
    const char *allow; /* who may emit from outside */
    const void *place; /* the engine's */
};

/* A type (or a service, with `by` NULL) that is called for each event of a stream, once, in order for each
 * entity, in a transaction of its own. `args` of the function is the event's struct; weir_event_meta() tells
 * its id and time. */
struct weir_follow {
    const char *type, *stream;
    const char *by; /* the event's field that names the entity: WEIR_REF or WEIR_TEXT */
    weir_handler_fn *fn;
    const char *from; /* where a new follower begins: "oldest" (NULL), "now", an event id, a time */
};

/* ---- windows and joins: streams that the engine makes of streams. Meaning, options and limits are those of
 * docs/reference/lua-windows.md; durations are texts ("1h30m"), NULL where there is none. ---- */

enum weir_aggregate_kind {
    WEIR_COUNT = 1, /* events; no field */
    WEIR_SUM,
    WEIR_MIN,
    WEIR_MAX,
    WEIR_AVG,
    WEIR_FIRST,
    WEIR_LAST,
    WEIR_DISTINCT,
    WEIR_TOP
};
/* One column of a window's results. */
struct weir_aggregate {
    const char *name;
    enum weir_aggregate_kind kind;
    const char *field; /* of the event: "amount", over a join "right.amount" */
    uint32_t top;      /* WEIR_TOP: how many, 1 to 100 */
    bool sketch;       /* WEIR_DISTINCT: an estimate, in 2 KiB */
};

/*
 * A window over a stream: one of `size`, `gap` and `last`. Its results are a stream of its name: read, followed
 * (weir_add_follow()), or looked at by another window; what comes too late is in NAME_late.
 *
 * `row` is the struct of a result, its members called as the columns, all of them: the fields of `by`, `from`, `to`
 * (WEIR_TIME), `final` (WEIR_BOOL), with `correct` `revision` (WEIR_INT), and the aggregates: int64_t for WEIR_COUNT and WEIR_DISTINCT, double for WEIR_AVG,
 * struct weir_list for WEIR_TOP, else as the field; texts are struct weir_str. `late_row` is likewise the event's
 * fields and `why` (WEIR_TEXT). Either may be WEIR_NOTHING when no C handler follows that stream.
 */
struct weir_window {
    const char *name, *from;
    const char *const *
        by; /* "shop", or "seller = right.shop": column and field; NULL-terminated; NULL: one group */
    const char *size, *slide, *gap, *last, *late, *correct, *idle, *keep;
    bool early;                              /* a row at each event, too */
    const struct weir_aggregate *aggregates; /* ends with WEIR_END */
    bool (*where)(const void *event);        /* of the event's struct; any thread; NULL: all */
    struct weir_shape row, late_row;
};

/*
 * A join of two streams: one of `within`, `size` and `as_of`. `row`: the fields of `by` by their left names, `left` and
 * `right` (WEIR_RECORD: the two events), `time` (WEIR_TIME), with `size` also `from` and `to`. `late_row`: `side`
 * (WEIR_TEXT), `event` (WEIR_ANY), `why` (WEIR_TEXT).
 */
struct weir_join {
    const char *name, *left, *right;
    const char *const
        *by; /* "user", or "id = seller": the left field and the right one; NULL-terminated */
    const char *within, *size, *slide, *late, *idle, *keep;
    const char *as_of; /* "any", or how old the right event may be */
    struct weir_shape row, late_row;
};

/* Something that repeats: at each due time a message to the handler, which takes nothing or one WEIR_TIME (when it
 * was due). Expressions, zones, missed runs: docs/reference/schedules.md. */
struct weir_schedule {
    const char *when;                 /* "0 3 * * *", "@daily", "90s" */
    const char *type, *key, *handler; /* key NULL: a service */
    const char *zone;                 /* "Europe/Berlin"; NULL: UTC */
    const char *missed;               /* "once" (NULL), "all", "skip" */
    const char *name;                 /* NULL: made of the target */
};

/* A service outside, asked by weir_ask(): after the transaction, at least once under an id that never changes. An
 * embedded engine calls it from a thread of its own, by libcurl, whose curl_global_init() it runs at weir_start(). */
struct weir_outside {
    const char *name, *url;
    const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
    const char *secret;         /* signs each request (Weir-Signature); may be NULL */
    int64_t timeout_ms;         /* of one attempt; 0: 30 s */
    int64_t give_up_ms;         /* of all, from when it was asked; 0: 12 h */
    const void *place;          /* the engine's */
};
/* The first argument of a handler that takes answers. */
struct weir_answer {
    struct weir_str body; /* JSON; nil: none */
    struct weir_str id;
    int64_t outcome; /* 0 answered, 1 unknown: it may have happened */
    int64_t status;
};
#define WEIR_ANSWER_FIELDS                                                                         \
    {                                                                                              \
        WEIR_FIELD(struct weir_answer, body, WEIR_ANY, .optional = true),                          \
            WEIR_FIELD(struct weir_answer, id, WEIR_TEXT),                                         \
            WEIR_FIELD(struct weir_answer, outcome, WEIR_ENUM,                                     \
                       .words = (const char *const[]){ "answered", "unknown", NULL }),             \
            WEIR_FIELD(struct weir_answer, status, WEIR_INT), WEIR_END                             \
    }

/* ---- loading ---------------------------------------------------------------------------------- */

struct weir_app;

/** Registers a type. `entity` is kept until the application closes. Errors: WEIR_CONFIG. */
WEIR_EXPORT enum weir_status weir_add_entity(struct weir_app *app,
                                             const struct weir_entity *entity);
WEIR_EXPORT enum weir_status weir_add_service(struct weir_app *app,
                                              const struct weir_service *service);
/** Registers a stream, kept until the application closes; fills `place`. */
WEIR_EXPORT enum weir_status weir_add_stream(struct weir_app *app, struct weir_stream *stream);
/** After its type and stream are registered. */
WEIR_EXPORT enum weir_status weir_add_follow(struct weir_app *app,
                                             const struct weir_follow *follow);
/**
 * After the streams that it looks at; before what follows its results. Kept until the application closes.
 *
 * What a window or join computes may not change while there is data: give the new one a new name.
 * Errors: WEIR_CONFIG
 */
WEIR_EXPORT enum weir_status weir_add_window(struct weir_app *app,
                                             const struct weir_window *window);
WEIR_EXPORT enum weir_status weir_add_join(struct weir_app *app, const struct weir_join *join);
WEIR_EXPORT enum weir_status weir_every(struct weir_app *app, const struct weir_schedule *schedule);
WEIR_EXPORT enum weir_status weir_add_outside(struct weir_app *app, struct weir_outside *outside);
/** Declares a verb that handlers will call; checked once everything is loaded. */
WEIR_EXPORT enum weir_status weir_use(struct weir_app *app, struct weir_verb *verb);
/** What a native service exports: registers its types. */
WEIR_EXPORT enum weir_status weir_module(struct weir_app *app);

/* ---- inside a handler ------------------------------------------------------------------------- */

/** Undoes the whole transaction; `code` is a lower-case word, `detail` any text (sent as a JSON string). A word of the engine's that says
 *  what only it knows (handler, budget, timeout, overloaded, unknown, pending, oom, diskfull, loading, shutdown, idempotency) fails with handler. */
WEIR_EXPORT enum weir_status weir_fail(struct weir_ctx *ctx, const char *code,
                                       struct weir_str detail);
/** As weir_fail(), with `detail` already JSON. */
WEIR_EXPORT enum weir_status weir_fail_json(struct weir_ctx *ctx, const char *code,
                                            struct weir_str json);
/** The failure that dooms this transaction; WEIR_OK while there is none. */
WEIR_EXPORT enum weir_status weir_failed(struct weir_ctx *ctx);

/** The key of the entity whose handler runs. */
WEIR_EXPORT struct weir_str weir_self(struct weir_ctx *ctx);
/** Calls a handler in the same transaction, on whatever shard. `result` NULL discards the answer. */
WEIR_EXPORT enum weir_status weir_call(struct weir_ctx *ctx, struct weir_ref to,
                                       const struct weir_verb *verb, const void *args,
                                       void *result);
/**
 * Calls of `verb` to these entities will follow: those of this shard are fetched from main memory side by side, where else
 * each call would wait for its own. A hint that changes nothing, worth it from some four calls on to rows seldom used.
 */
WEIR_EXPORT void weir_expect(struct weir_ctx *ctx, const struct weir_verb *verb,
                             const struct weir_ref *to, size_t count);
/**
 * Calls a handler once this one has returned, as its last act: `return weir_call_last(ctx, to, &deposit, &amount);`
 *
 * What that handler answers is the answer of this one, whose own result must fit it or be none; how it fails, this one
 * fails. `args` are copied. Else as weir_call(), and faster where the last call of a request goes to another shard: that
 * shard decides, so a busy entity there is held for the time of its handler and no longer.
 * Errors: WEIR_HANDLER  a second one in a handler, or results that do not fit
 */
WEIR_EXPORT enum weir_status weir_call_last(struct weir_ctx *ctx, struct weir_ref to,
                                            const struct weir_verb *verb, const void *args);
/** One of weir_call_all(): as the arguments of weir_call(). */
struct weir_call {
    struct weir_ref to;
    const struct weir_verb *verb;
    const void *args;
    void *result;
};
/**
 * Calls each of them, with the effect of calling one after the other: the first that fails fails the transaction, as if those
 * behind it had not been called. Calls to other shards are made at the same time.
 *
 * Where two of them reach the same entity and one may write, the transaction is run again, and then calls them in turn.
 */
WEIR_EXPORT enum weir_status weir_call_all(struct weir_ctx *ctx, const struct weir_call *calls,
                                           size_t count);
/** Sends a message: delivered after commit, exactly once, in order per sender and receiver. */
WEIR_EXPORT enum weir_status weir_send(struct weir_ctx *ctx, struct weir_ref to,
                                       const struct weir_verb *verb, const void *args);
/** What this handler sent or asked last, or what a handler that it called last returned to it. */
WEIR_EXPORT struct weir_ticket weir_ticket(struct weir_ctx *ctx);
/**
 * Instead of a result: this transaction commits, and the client is answered by the later one, of the handler that gets
 * the message or the answer (which may do the same). `return weir_defer(ctx, weir_ticket(ctx));`
 *
 * A handler that declares a result may defer to one only whose result fits it. To a handler that called this one, the
 * ticket is handed on: its weir_ticket(). Docs: docs/reference/deferred-answers.md.
 *
 * Errors: WEIR_HANDLER  no ticket of this transaction, or results that do not fit
 */
WEIR_EXPORT enum weir_status weir_defer(struct weir_ctx *ctx, struct weir_ticket ticket);
/** Emits an event, part of this transaction: followers and readers see it once that is durable. */
WEIR_EXPORT enum weir_status weir_emit(struct weir_ctx *ctx, const struct weir_stream *stream,
                                       const void *event);
/** In a handler that follows a stream: the event's id ("<epoch>-<n>") and time. */
struct weir_event_meta {
    struct weir_str id;
    int64_t time;
};
WEIR_EXPORT struct weir_event_meta weir_event_meta(struct weir_ctx *ctx);
/** Asks outside: `line` as "POST /charges", `body` JSON or empty. `handler` of this type gets the answer as the first
 *  member of its arguments (a struct weir_answer), the rest as in `args`; NULL: a webhook, sent until 2xx. */
WEIR_EXPORT enum weir_status weir_ask(struct weir_ctx *ctx, const struct weir_outside *outside,
                                      const char *line, struct weir_str body, const char *handler,
                                      const void *args);
/** Sets a timer of this entity `delay_ms` from weir_now(); the same handler and arguments move it. */
WEIR_EXPORT enum weir_status weir_after(struct weir_ctx *ctx, int64_t delay_ms, const char *handler,
                                        const void *args);
/** As weir_after(), at a time in milliseconds since 1970 UTC. */
WEIR_EXPORT enum weir_status weir_at(struct weir_ctx *ctx, int64_t time_ms, const char *handler,
                                     const void *args);
/** Cancels the timer with these arguments; `args` NULL cancels all timers of the handler. */
WEIR_EXPORT enum weir_status weir_cancel(struct weir_ctx *ctx, const char *handler,
                                         const void *args);

/** Milliseconds since 1970 UTC, one value per transaction. */
WEIR_EXPORT int64_t weir_now(struct weir_ctx *ctx);
/** 64 random bits. */
WEIR_EXPORT uint64_t weir_random(struct weir_ctx *ctx);
/** 26 characters, 128 secure bits; borrowed until the handler returns. */
WEIR_EXPORT struct weir_str weir_id(struct weir_ctx *ctx);
/** True if the entity has a row. Part of the transaction: nobody creates or deletes it meanwhile. */
WEIR_EXPORT bool weir_exists(struct weir_ctx *ctx, const char *type, struct weir_ref ref);
/** Removes row, maps and timers of the entity whose handler runs. */
WEIR_EXPORT enum weir_status weir_delete(struct weir_ctx *ctx);
/** A line for the trace, written at commit under the request's id. */
WEIR_EXPORT void weir_trace(struct weir_ctx *ctx, const char *text);
/** Who called: id of the request's caller, empty in messages and timers. */
WEIR_EXPORT struct weir_str weir_caller(struct weir_ctx *ctx);
/** True if the request's caller has the role; false in messages and timers. */
WEIR_EXPORT bool weir_caller_has(struct weir_ctx *ctx, const char *role);
/** Scratch memory until the transaction ends. */
WEIR_EXPORT void *weir_scratch(struct weir_ctx *ctx, size_t bytes);
/** Appends a zeroed (started) element to a list of the row and returns it. */
WEIR_EXPORT void *weir_list_add(struct weir_ctx *ctx, struct weir_list *list,
                                const struct weir_shape *element);

/* ---- maps owned by the entity whose handler runs; `map` is the place in its map table ------------ */

/* One part of a map key. */
struct weir_part {
    enum weir_kind kind;
    int64_t n;
    struct weir_str text;
};
struct weir_key {
    uint32_t count;
    struct weir_part part[WEIR_KEY_PARTS_MAX];
};
static inline struct weir_part weir_number(int64_t n)
{
    return (struct weir_part){ .kind = WEIR_INT, .n = n };
}
static inline struct weir_part weir_text(struct weir_str text)
{
    return (struct weir_part){ .kind = WEIR_TEXT, .text = text };
}
static inline struct weir_part weir_handle(struct weir_ref ref)
{
    return (struct weir_part){ .kind = WEIR_REF, .text = ref.key };
}
#define WEIR_KEY(...)                                                                              \
    weir_key_of((const struct weir_part[]){ __VA_ARGS__ },                                         \
                sizeof((const struct weir_part[]){ __VA_ARGS__ }) / sizeof(struct weir_part))
static inline struct weir_key weir_key_of(const struct weir_part *parts, size_t count)
{
    struct weir_key key = { .count = (uint32_t)count };
    for (size_t i = 0; i < count && i < WEIR_KEY_PARTS_MAX; i++) key.part[i] = parts[i];
    return key;
}

/** The row to read, or NULL when absent. */
WEIR_EXPORT const void *weir_map_get(struct weir_ctx *ctx, int map, struct weir_key key);
/** The row to change in place, or NULL when absent. */
WEIR_EXPORT void *weir_map_edit(struct weir_ctx *ctx, int map, struct weir_key key);
/** The row, made anew with start values if absent; to be filled in. Never NULL. */
WEIR_EXPORT void *weir_map_put(struct weir_ctx *ctx, int map, struct weir_key key);
/** For maps with one whole-number key: a new row one above the last; *n is its key. Never NULL. */
WEIR_EXPORT void *weir_map_append(struct weir_ctx *ctx, int map, int64_t *n);
/** Removes a row; true if there was one. */
WEIR_EXPORT bool weir_map_remove(struct weir_ctx *ctx, int map, struct weir_key key);
/** Number of rows. */
WEIR_EXPORT int64_t weir_map_count(struct weir_ctx *ctx, int map);

/* A walk: from and to are both included and may be prefixes (count 0: open end). Zero it, set what is
 * wanted, then call weir_map_next() until it returns false. Rows met may be changed or removed. */
struct weir_scan {
    struct weir_key from, to;
    bool reverse;
    int64_t limit; /* 0: none */
    /* the engine's */
    bool started;
    int64_t seen;
    struct weir_str at;
};
/** The next row of a walk: its key and the row to read or change. */
WEIR_EXPORT bool weir_map_next(struct weir_ctx *ctx, int map, struct weir_scan *scan,
                               struct weir_key *key, void **row);

/* ---- embedding -------------------------------------------------------------------------------- */

struct weir_engine;

struct weir_options {
    uint32_t size;    /* sizeof(struct weir_options) */
    const char *data; /* data directory; created if absent */
    uint32_t shards;  /* 0: one per core less one */
    uint32_t threads; /* 0: as shards, at most cores less one */
    /* When transactions meet at a lock: "wound_wait" (NULL), "wait_die", "no_wait"; see the README of core. */
    const char *conflict_policy;
    /* Limits of the engine other than their defaults, as "timers_max=1000", NULL behind the last; NULL: none. Names: docs/reference/limits.md,
     * but those of doors and of Lua. */
    const char *const *limits;
};
#define WEIR_OPTIONS                                                                               \
    {                                                                                              \
        .size = (uint32_t)sizeof(struct weir_options)                                              \
    }

struct weir_error {
    enum weir_status status;
    char code[64]; /* the application's word for WEIR_FAILED, else the status's */
    char detail
        [1024]; /* JSON, cut if longer: a text; of a broken rule an object with text, field, rule; what weir_fail() was given */
    char request[32]; /* WEIR_PENDING: what weir_wait() takes */
};

/** Creates an application to register types with; then weir_start() opens the data and serves it. */
WEIR_EXPORT enum weir_status weir_open(const struct weir_options *options, struct weir_app **app,
                                       struct weir_error *error);
/** Recovers the data and starts the engine. The app belongs to the engine from here on. */
WEIR_EXPORT enum weir_status weir_start(struct weir_app *app, struct weir_engine **engine,
                                        struct weir_error *error);

/**
 * Runs one request as a transaction and waits until its effects and all it read are durable.
 *
 * @param verb    filled with type, handler, args and result shapes
 * @param id      idempotency key: a repeat gets the first answer; zero-length for none
 * @param result  filled as verb->result says; texts are valid until this thread's next request
 *
 * Errors: WEIR_PENDING  done, but its answer is a later transaction's (weir_defer()), which took longer than a
 *                       request's deadline: weir_wait() waits on, as does a repeat with the same id
 * Thread: any but a handler's; calls of several threads run at the same time.
 */
WEIR_EXPORT enum weir_status weir_request(struct weir_engine *engine, struct weir_ref to,
                                          const struct weir_verb *verb, struct weir_str id,
                                          const void *args, void *result, struct weir_error *error);
/**
 * Waits on for an answer that was pending: `request` as in struct weir_error, `verb` the one that was called.
 *
 * Errors: WEIR_PENDING   still, after another deadline
 *         WEIR_NOTFOUND  there is no such request, or its answer is no longer kept
 */
WEIR_EXPORT enum weir_status weir_wait(struct weir_engine *engine, const char *request,
                                       const struct weir_verb *verb, void *result,
                                       struct weir_error *error);
/** Finishes what runs, writes the last epoch and closes. */
WEIR_EXPORT void weir_close(struct weir_engine *engine);

#endif
