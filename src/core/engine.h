/*
 * engine.h - the engine as doors see it: open, start, submit requests through a port, take answers, stop.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_ENGINE_H
#define WEIR_CORE_ENGINE_H

#include "core/function.h"
#include "store/store.h"

struct engine;
struct port;
struct parked_request;

#define ENGINE_SHARDS_MAX 64u
#define ENGINE_PORTS_MAX 8u
#define ENGINE_RUNTIMES_MAX 4u

/* Every limit by its name, with its default. 0 in an option struct means the default. */
#define ENGINE_LIMITS(X)                                                                           \
    X(request_deadline_ms, 5000, "a request's time before it is undone and answered `timeout`")    \
    X(queue_wait_max_ms, 1000, "a request not started by then is answered `overloaded`")           \
    X(requests_max, 65536, "requests in the engine, of both doors")                                \
    X(answer_bytes_max, 33554432,                                                                  \
      "bytes of large answers not taken by their door before requests wait")                       \
    X(roots_max, 64, "transactions with locks begun by one shard at a time")                       \
    X(fibers_max, 4096, "handlers running or suspended per shard")                                 \
    X(call_depth_max, 64, "calls deep in one transaction")                                         \
    X(entities_max, 1000, "entities of one transaction on one shard")                              \
    X(map_rows_max, 10000, "map rows and timers touched by one transaction on one shard")          \
    X(txn_bytes_max, 4194304, "bytes written by one transaction on one shard")                     \
    X(row_bytes_max, 65536, "bytes of one row or map row")                                         \
    X(sends_max, 10000, "messages sent by one transaction on one shard")                           \
    X(events_max, 1000, "events emitted by one transaction on one shard")                          \
    X(event_bytes_max, 65536, "bytes of one event")                                                \
    X(asks_max, 100, "requests outside of one transaction on one shard")                           \
    X(ask_bytes_max, 1048576, "bytes of one request outside")                                      \
    X(retention_check_ms, 1000, "time between two looks for events to retire")                     \
    X(compact_bytes_min, 1048576,                                                                  \
      "bytes of events, never compacted yet, from which on a stream kept as latest is compacted")  \
    X(compact_dirty_percent, 50, "... and from which share of all that would be rewritten")        \
    X(compact_memory_bytes, 33554432, "bytes of keys that one compaction holds, or one file's")    \
    X(tombstone_keep_ms, 86400000, "an event that ends its key stays so long for readers to see")  \
    X(follow_window, 4096, "events of a follower on their way to one shard")                       \
    X(follower_lag_max, 1000000,                                                                   \
      "events that a follower may be behind before those outside are held back from its stream")   \
    X(window_values_max, 10000, "values of one exact distinct of a window")                        \
    X(window_bytes_max, 32768, "bytes that the aggregates of a window hold")                       \
    X(window_events_max, 10000, "events of a group in the span of a window with `last`, twice")    \
    X(join_events_max, 10000, "events of a group that wait for partners in a join, by side")       \
    X(messages_pending_max, 100000, "messages pending per sender")                                 \
    X(message_attempts_max, 16, "attempts before a message or timer stays, marked failed")         \
    X(timers_max, 10000000, "timers per shard")                                                    \
    X(deferred_max, 1000000, "answers per shard that come later, or came and are kept")            \
    X(dedup_rows_max, 2000000, "request records per shard")                                        \
    X(dedup_window_ms, 86400000, "age at which a request record goes")                             \
    X(dedup_window_min_ms, 600000, "a request record younger than this makes no room for others")  \
    X(epoch_bytes_max, 16777216, "bytes of one epoch per shard before new requests wait")          \
    X(checkpoint_bytes_min, 67108864, "log since the last checkpoint before the next")             \
    X(torn_files_max, 4, "unfinished ends of the log that are kept aside for people to look at")   \
    X(memory_max, 0,                                                                               \
      "bytes that rows may take in memory before what adds to them is refused; 0: no limit")

/* What happens when a transaction wants what another one holds: conflict_judge() in frame.c. */
enum conflict_policy {
    CONFLICT_WOUND_WAIT, /* the older undoes the younger and waits; the younger waits */
    CONFLICT_WAIT_DIE,   /* the older waits; the younger is undone and runs again */
    CONFLICT_NO_WAIT /* who comes second is undone and runs again; after some times as wait_die */
};

struct engine_limits {
#define X(name, value, text) uint64_t name;
    ENGINE_LIMITS(X)
#undef X
};

struct engine_options {
    struct env *env;
    const char *data;                      /* data directory */
    uint32_t shards, threads;              /* 1 to ENGINE_SHARDS_MAX; threads <= shards */
    uint32_t ports;                        /* 1 to ENGINE_PORTS_MAX */
    struct catalog *catalog;               /* finished; kept until engine_close() */
    const struct runtime *const *runtimes; /* beside the native one */
    uint32_t runtime_count;
    struct engine_limits limits;
    enum conflict_policy conflict_policy;
    struct store_options store; /* zeroed: STORE_OPTIONS */
    bool
        looks_only; /* whether the data fits: what the application is the first to name is not written, so it may change yet */
    uint32_t
        ring_capacity; /* messages in a ring between threads, a power of two; 0: RING_CAPACITY */
    uint64_t event_block_bytes, event_file_bytes, event_cache_bytes; /* 0: as store/events.h says */
    /* A line of trace: a JSON object's members without braces, e.g. "\"event\":\"recovered\"". Any thread. May be NULL. */
    void (*trace)(void *arg, const char *members);
    void *trace_arg;
};

/** Opens and recovers the data. On failure `error` says what and what to do. */
/** Fills what is 0: as many shards and threads as processors less one, which is left to doors and log writer; holds both to
 *  their bounds. */
void engine_shards_choose(uint32_t processors, uint32_t *shards, uint32_t *threads);
/** Sets the limit of that name; false when there is none. */
bool engine_limit_set(struct engine_limits *limits, struct weir_str name, uint64_t value);
/** `wound_wait`, `wait_die` or `no_wait`; false for another word. */
bool conflict_policy_read(struct weir_str word, enum conflict_policy *policy);
const char *conflict_policy_word(enum conflict_policy policy);
enum weir_status engine_open(const struct engine_options *options, struct engine **engine,
                             struct store_recovery *recovery, char *error, size_t error_bytes);
/** Starts shards and log writer. */
void engine_start(struct engine *engine);
/** New requests are answered `shutdown`; true once none is left inside, all is durable, and there is a checkpoint where the next start
 *  would read much more log than state. Poll it. */
bool engine_drain(struct engine *engine);
/** Stops the actors: from here on nobody wakes the actors of doors, which may then go. engine_close() does it otherwise. */
void engine_stop(struct engine *engine);
/** Stops the actors and closes the data, clean if drained. Frees. */
void engine_close(struct engine *engine);
/** Frees without touching files: after a simulated crash. */
void engine_abandon(struct engine *engine);

/* One request, owned by the door until port_submit() and again from port_next(). In the order in which a shard looks at it: what
 * it needs to fetch the rest ahead is within two cache lines. */
struct request {
    /* the question; memory lives in `arena` or longer */
    const struct handler *handler;
    struct weir_str key; /* of a service: empty, or the name that orders its requests */
    const void *args;    /* struct of handler->args, judged by the door */
    const struct parked_request *parked; /* feed.h; NULL: an ordinary request */
    struct request *next;                /* the engine's, as all to arrival_ns: */
    struct key_place place, partner;     /* of the key; of who will be called, perhaps */
    struct weir_str partner_key;         /* as it stands in `args`; nil: nobody is known */
    bool waits;                          /* the question, too: see answer_id */
    struct port *port;
    uint64_t arrival_ns;
    uint64_t deadline_ns;   /* mono_ns; 0: request_deadline_ms from now */
    struct weir_str id;     /* idempotency key; empty: none */
    struct weir_str caller; /* who asks; empty: nobody known */
    struct weir_str roles;  /* of the caller, with commas between */
    /* The deferred answer that it waits for. Set by a door (with `waits` and engine_wait_query() as its handler): no
     * handler runs. Set by the engine when a handler deferred: the request goes on as one that waits. */
    struct weir_str answer_id;
    void *user; /* the door's */
    struct arena arena;
    /* the answer */
    enum weir_status status;
    bool replayed;        /* answered from its record */
    struct weir_str code; /* WEIR_FAILED: the application's word */
    struct weir_str
        detail; /* JSON (an object for check and range: field, rule, limit, value) or nil */
    struct weir_str text;        /* one sentence for people */
    void *result;                /* struct of handler->result when WEIR_OK */
    uint64_t epoch;              /* durable when this is handed out: proves the release rule */
    struct weir_str request_id;  /* 26 characters; nil until request_name() made it */
    char id_text[26];            /* the engine's, as the rest */
    _Atomic uint64_t id_bits[2]; /* what it is made of, by whoever asks first; 0: nobody did */
    uint64_t answer_bytes;       /* counted in port->answer_bytes until it is handed out */
};

/** Port `index`; completions wake `actor`, whose turns make all calls below. */
struct port *engine_port(struct engine *engine, uint32_t index, struct actor *actor);
/** Gives a request to the engine. Every one comes back through port_next().
 *  @param now_ns  mono_ns, read by the door once per turn: its time in the engine begins then */
void port_submit(struct port *port, struct request *request, uint64_t now_ns);
/** Makes submitted requests visible to the shards: once per batch. */
void port_flush(struct port *port);
/** An answered request, durable in all it wrote and read; NULL when none is ready. */
struct request *port_next(struct port *port);
uint32_t port_in_flight(const struct port *port);

/**
 * What a request has for its handler that waits for a deferred answer (answer_id, waits). It comes back with the status
 * of that answer, its result by request->handler (then the one that deferred, if there still is such), request_id its
 * id; WEIR_PENDING at its deadline; WEIR_NOTFOUND when no such answer is awaited or kept; WEIR_NOPERM when another
 * caller asked for it.
 */
const struct handler *engine_wait_query(struct engine *engine);

/** Built-in queries of any type, for GET /{type}/{key}, GETROW, and GET /{type}/{key}/{map}: no arguments
 *  for the row; for a map struct map_query. Both answer WEIR_ANY and `notfound` when the entity has no row. */
const struct handler *engine_row_query(struct engine *engine, const struct type *type);
const struct handler *engine_map_query(struct engine *engine, const struct type *type);
struct map_query {
    int64_t map;              /* its place in type->maps */
    struct weir_str from, to; /* JSON: one part or an array of parts; nil: open */
    int64_t limit;            /* 1 to 1000; 0: 100 */
    bool reverse;
};

/* Figures for INFO and /metrics; sums over shards unless named otherwise. */
// clang-format off
#define ENGINE_COUNTERS(X)                                                   \
    X(requests_total, "requests begun")                                      \
    X(commits_total, "transactions committed")                               \
    X(failures_total, "transactions refused by the application or an error") \
    X(wounds_total, "transactions undone for an older one and run again")    \
    X(deaths_total, "undone since another had the lock, and run again")      \
    X(reruns_in_turn_total, "undone, and run again with weir.all in turn")   \
    X(remote_calls_total, "calls to another shard")                          \
    X(together_calls_total, "of these not waited for at once: weir.all")     \
    X(local_calls_total, "calls on the same shard")                          \
    X(multi_shard_total, "committed transactions over several shards")       \
    X(tail_commits_total, "of these decided by the shard of the last call")  \
    X(messages_sent_total, "messages sent")                                  \
    X(messages_delivered_total, "messages delivered")                        \
    X(messages_failed, "messages that stay, marked failed")                  \
    X(messages_pending, "messages not yet delivered")                        \
    X(events_emitted_total, "events emitted")                                \
    X(emits_held_total, "requests to emit held back: follower_lag_max")      \
    X(events_followed_total, "events that followers are done with")          \
    X(events_deferred_total, "events whose handler failed: now messages")    \
    X(events_late_total, "events that a window or join did not take")        \
    X(windows_waiting, "windows and joins, by shard, that wait: memory_max") \
    X(answers_deferred_total, "answers left to a later transaction")         \
    X(answers_pending, "of these still to come")                             \
    X(answers_kept, "of these come, and kept for who asks again")            \
    X(timers_fired_total, "timers fired")                                    \
    X(timers_pending, "timers set")                                          \
    X(timers_failed, "timers that stay, marked failed")                      \
    X(dedup_hits_total, "requests answered from their record")               \
    X(dedup_rows, "request records")                                         \
    X(entities, "entities in memory")                                        \
    X(rows, "other rows in memory")                                          \
    X(state_bytes, "bytes of rows")                                          \
    X(memory_bytes, "memory that rows take, with keys and what holds them")  \
    X(overloads_total, "requests refused as overloaded")                     \
    X(timeouts_total, "requests past their deadline")                        \
    X(checkpoints_total, "checkpoints finished")                             \
    X(open_transactions, "transactions open")
// clang-format on
struct engine_stats {
#define X(name, text) uint64_t name;
    ENGINE_COUNTERS(X)
#undef X
    uint64_t epoch, durable_epoch, dedup_window_ms;
    uint32_t shards, threads;
    struct store_stats store;
};
void engine_stats(struct engine *engine, struct engine_stats *stats);
/** An id of a request: 26 characters, 128 random bits. */
void id_make(struct env *env, char out[26]);
/** The request's own, made when the first asks for it: most never do. Whoever has the request: its door, or a shard. */
struct weir_str request_name(struct env *env, struct request *request);
struct catalog *engine_catalog(struct engine *engine);
struct env *engine_env(struct engine *engine);
const struct engine_limits *engine_limits(const struct engine *engine);

#endif
