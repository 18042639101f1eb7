/*
 * core_int.h - the engine's own structures: shard, entity, row, transaction, frame, message.
 *
 * A shard is a set of tables owned by one thread: an index of entities by (type, key) and one ordered tree
 * of all other rows (map rows, messages, timers, request records). A transaction has one record (struct txn)
 * on each shard it touches; its id names the root's shard. Calls nest, so at any moment one frame of a
 * transaction runs or waits for something, and it is the top frame of some shard's record; but while calls of a weir.all
 * are out, one beneath each of them does, and one of its caller's.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_INT_H
#define WEIR_CORE_INT_H

#include <stdatomic.h>

#include "base/assert.h"
#include "base/fiber.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/mark.h"
#include "base/ring.h"
#include "base/slab.h"
#include "base/tree.h"
#include "core/ask.h"
#include "core/feed.h"

#define SLOTS STORE_SLOTS
#define EPOCH_BUFFERS 4u /* at most two epochs are open and one is being written */
#define RING_CAPACITY 4096u
#define CHECKPOINT_BATCH_BYTES (1u << 20)
#define CACHE_LINE 64u
/* Its line comes from memory while other work is done. GCC takes a function that does nothing else for one without effect, and
 * drops the calls of it when it sees the whole program: so there is a statement that it cannot look into. */
static inline void fetch(const void *p)
{
    __builtin_prefetch(p);
    __asm__ volatile("");
}
/* The first of these bytes: the processor goes on by itself. */
static inline void fetch_bytes(const char *at, size_t len)
{
    for (size_t i = 0; i < len && i < 8 * CACHE_LINE; i += CACHE_LINE) fetch(at + i);
}
/* In use at most where one more frame begins on a stack. */
#define STACK_SHARED_BYTES ((size_t)16 * 1024)

/* ---- rows ---------------------------------------------------------------------------------------- */

/* Kinds of row keys, the first byte on disk; docs/formats/rows.md. */
enum row_kind {
    ROW_ENTITY = 'E',
    ROW_MAP = 'M',
    ROW_MESSAGE = 'O',
    ROW_RECORD = 'R',
    ROW_TIMER = 'T',
    ROW_CATALOG = 'C',
    ROW_ASK = 'A',
    ROW_EVENT = 'V',  /* in the log only: store/events.h keeps them */
    ROW_CURSOR = 'F', /* how far a follower is in a slot */
    ROW_WINDOW = 'W', /* an open window of a group; of `last`: an event */
    ROW_JOIN = 'J'    /* an event that may find a partner yet */
};

/* What an entity has while its lock is held or waited for, or messages it sent are under way. */
struct lock {
    struct txn *owner; /* NULL: free */
    union {
        struct access *access; /* the owner's */
        struct share *readers; /* of a lock that is shared */
        struct lock *next;     /* of those in store, all zero but for this */
    };
    struct weir_ctx *head, *tail; /* who waits, oldest age first */
    uint32_t pending;             /* messages of this sender not yet delivered */
};

/*
 * The header of an entity. A ghost (WHERE_NONE) carries the lock or the tombstone of one that has no row. Behind the key lies the
 * committed row, packed, or its address: what a block has left there would else be lost.
 */
enum row_where { WHERE_NONE = 0, WHERE_INSIDE, WHERE_OUTSIDE };
struct entity {
    struct lock *lock; /* NULL: nobody has to do with it */
    uint64_t version;  /* epoch of the newest committed change, deletion included */
    uint32_t hash;
    uint32_t row_len;
    uint16_t type_id;
    uint16_t key_len;
    uint8_t slot;
    uint8_t row_where;
    bool listed; /* among the ghosts to reap: not freed elsewhere */
    bool keyed;  /* its key is one of its type, and its row, if it has one, says the same */
    char key[];
};
struct table {
    uint64_t *places; /* 0: free */
    size_t cap;       /* how many */
    unsigned bits;    /* cap is two to the power of bits; 0: none yet */
};
struct index {
    struct table now, old; /* old.bits 0: all are in now */
    size_t origin, moved;  /* of old: so many places from there on have been moved */
    size_t expected;       /* entities of the checkpoint that is about to be read */
};
static inline struct txn *entity_owner(const struct entity *e)
{
    return e->lock != NULL ? e->lock->owner : NULL;
}
/* The first that waits for its lock. */
static inline struct weir_ctx *entity_waiter(const struct entity *e)
{
    return e->lock != NULL ? e->lock->head : NULL;
}
static inline struct weir_str entity_key(const struct entity *e)
{
    return (struct weir_str){ e->key, e->key_len };
}

static inline bool entity_has_row(const struct entity *e)
{
    return e->row_where != WHERE_NONE;
}
/* Where its row lies, if it has one. */
static inline char *entity_row_at(const struct entity *e)
{
    char *at = (char *)(uintptr_t)(e->key + e->key_len);
    if (e->row_where == WHERE_OUTSIDE) memcpy(&at, at, sizeof(char *));
    return at;
}
/* The committed row, packed; nil: there is none. */
static inline struct weir_str entity_row(const struct entity *e)
{
    if (!entity_has_row(e)) return STR_NIL;
    return (struct weir_str){ entity_row_at(e), e->row_len };
}

/* Any other row; the key's first byte is its kind. */
struct row {
    struct tree_item item;
    char *value;
    uint32_t value_len;
    uint8_t slot;
    /* what rows of some kinds need beside */
    struct heap_item heap; /* timer: due */
    struct row *next;      /* record: by age */
    int64_t time_ms;       /* record: made; timer: due */
    uint32_t attempts;     /* timer: failed attempts in this run of the engine */
    bool failed;           /* message, timer: parked; see row_park() */
    bool busy;             /* timer: its root is open; message: hinted */
};

/* ---- transactions -------------------------------------------------------------------------------- */

struct age {
    uint64_t epoch, sequence; /* sequence carries the shard in its low bits */
};
static inline bool age_older(struct age a, struct age b)
{
    return a.epoch != b.epoch ? a.epoch < b.epoch : a.sequence < b.sequence;
}

/* A row as a transaction sees and changes it: key as in the shard's tree. */
struct overlay {
    struct tree_item item;
    struct overlay *next;      /* of its entity, as they were touched */
    const struct map_def *map; /* NULL: a timer, `packed` is its value */
    void *value;               /* map row: struct in the transaction's arena */
    struct weir_str packed;    /* as of the last judgement; ptr NULL before the first */
    struct row *row;           /* map row: as committed, while its entity is locked; NULL: none */
    bool present;
    bool changed;  /* differs from the committed row */
    bool editable; /* handed out for change: judged when the handler returns */
    const struct weir_ctx
        *reader; /* a query in C that was given the row as it was: nobody changes it */
};

/*
 * The walk over a map's rows that took its last step on this entity: what the next step needs. Both trees may change between two
 * steps, by what the transaction does and by others; what lies beyond is then sought anew.
 */
struct map_walk {
    const struct weir_scan *scan; /* whose it is */
    const struct map_def *map;
    struct weir_str at;            /* the row met last; nil: none yet */
    struct weir_str prefix, bound; /* of the map's rows; of this walk */
    struct tree_item *kept, *own;  /* what is beyond `at`: a committed row, an overlay */
    struct tree_place kept_place, own_place;
};

/* What a transaction holds of one entity: the lock, the working row, changed map rows and timers. */
struct access {
    struct access *next;
    struct entity *entity;
    struct type *type;
    void *row;              /* struct, decoded at the first handler; NULL before */
    struct weir_str packed; /* the row as of the last judgement; ptr NULL: no row */
    void *before;           /* the struct as of then; NULL: it cannot be compared */
    bool exists;
    bool changed;       /* `packed` or `exists` differs from what is committed */
    bool changed_again; /* more than once, so that it may be the same after all */
    bool turn_wrote;
    uint64_t turn; /* in which it was locked last, and whether something there may write; all.c */
    struct tree overlay; /* by key */
    struct overlay *overlays, **overlays_tail;
    int64_t *map_delta;    /* per map: rows added less rows removed */
    struct map_walk *walk; /* NULL before the first */
};

/* The same of one that shares the lock. */
struct share {
    struct access access; /* first */
    struct share *next;
    struct txn *txn;
};

struct send {
    struct send *next;
    struct entity *sender;
    const struct handler *handler;
    struct weir_str key;
    struct weir_str args;  /* packed */
    struct weir_str reply; /* the deferred answer that comes of it; empty: none */
};

/* An event of a transaction, until its decision gives it an id. */
struct emit {
    struct emit *next;
    const struct stream *stream;
    uint8_t slot;
    struct weir_str key, packed;
};
/* A request outside, of a transaction that is not decided yet. */
struct asked {
    struct asked *next;
    struct entity *entity;
    struct weir_str value; /* of its row, less `reply` */
    struct weir_str reply; /* the deferred answer that comes of it; empty: none */
};

/* An event on its way to a follower: made by the feed, owned by the shard once it took it. */
struct feed_event {
    struct feed_event *next;
    const struct follower *follower;
    struct event_id id;
    int64_t time_ms;    /* when it was emitted; for windows and joins its own time */
    uint8_t slot, turn; /* turn: see follow_safe() */
    bool mark;          /* no event: all idle lanes of the follower are at least here */
    /* for windows and joins: */
    bool whole;             /* mark: every slot writes its cursor */
    bool beat;              /* the stream is idle: time_ms is to be put into it */
    int64_t low, low_after; /* the watermark before this event and after */
    uint32_t key_len;       /* of the group's key, at the head of `value` */
    uint32_t len;
    char value[]; /* packed */
};
/* The events of one follower for one slot: one at a time. The cursor is a row. */
struct lane {
    struct lane *next_ready;
    const struct follower *follower;
    struct feed_event *head, **tail;
    struct event_id cursor; /* the last one done */
    struct event_id mark;
    uint8_t slot;
    bool busy, ready;
};

enum root_kind { ROOT_REQUEST = 1, ROOT_MESSAGE, ROOT_TIMER, ROOT_EVENT };

/* What started a transaction; lives over its retries. */
struct root {
    _Alignas(CACHE_LINE) struct arena
        arena; /* of message, timer and event roots: their arguments and key */
    /* from here on cleared by root_new() */
    struct heap_item deadline;
    enum root_kind kind;
    uint32_t deaths;
    struct age age;
    const struct handler *handler;
    struct txn *txn;         /* the attempt that runs */
    struct request *request; /* ROOT_REQUEST */
    uint64_t attempts;
    bool timed_out, holding;
    bool in_turn;        /* all.c */
    struct weir_str key; /* of the entity, or the request id for a service */
    const void *args;
    void *result; /* ROOT_REQUEST: of its handler, in the request's arena */
    struct root *next;
    struct heap_item wake;     /* while its attempt sleeps */
    struct delivery *delivery; /* ROOT_MESSAGE */
    struct weir_str reply;     /* ROOT_MESSAGE: the deferred answer that comes of it; empty: none */
    struct weir_str timer_key; /* ROOT_TIMER */
    struct lane *lane;         /* ROOT_EVENT: its head */
};

struct failure {
    enum weir_status status; /* WEIR_OK: none */
    struct weir_str code, detail, text;
    uint64_t turn; /* in which it came; all.c */
};

/* Its failure is the engine's wish to run it again. */
enum retry {
    RETRY_NO,
    RETRY_LOST,   /* what it stood on is gone */
    RETRY_DIED,   /* another one had a lock: it sleeps first */
    RETRY_IN_TURN /* the calls of a weir.all met: the next attempt makes them in turn */
};
/* Whether the root left the decision to this record's first handler. */
enum tail { TAIL_NONE, TAIL_GIVEN, TAIL_DECIDED };

struct txn {
    /* kept from one to the next, empty */
    _Alignas(CACHE_LINE) struct arena arena;
    struct buf trace;
    /* from here on cleared by txn_begin(); first what every one needs, in as few cache lines as it takes */
    uint64_t id; /* sequence << 6 | root's shard */
    struct age age;
    struct shard *shard;
    struct txn *chain;
    struct weir_ctx *top;
    struct access *accesses;
    struct root *root; /* on the root's shard */
    uint32_t access_count;
    enum weir_status status; /* of the root's own handler */
    enum retry retry;
    enum tail tail;
    bool cancelled;      /* wounded (root) or cancelled (participant): ends with nothing applied */
    bool patient;        /* it died often enough: no_wait lets it wait for younger ones */
    bool asleep;         /* a root in the queue of its entity that must not get the lock yet */
    bool shares;         /* it only reads, and shares its locks with others that do */
    bool in_turn;        /* so are the calls of its weir.alls */
    uint64_t read_epoch; /* newest version read, here and in answers */
    uint64_t
        participants; /* other shards that hold a record; complete at the root once all answered */
    struct send *sends;
    struct emit *emits;
    struct asked *asks;
    const struct last_call
        *decided;    /* there: decided by the callee, whatever was wished meanwhile */
    struct all *all; /* where its owner runs: the weir.all that is open */
    void *result;
    int64_t now_ms;
    uint64_t bytes_written;
    struct weir_str request_id; /* nil until txn_name() is asked, where `request` is there */
    struct request
        *request; /* elsewhere than at the root only for handlers that run: it waits for them */
    struct failure failure;
    struct weir_str caller, roles;
    struct entity *root_entity;
    struct send **sends_tail;
    struct emit **emits_tail;
    struct asked **asks_tail;
    uint32_t send_count, emit_count, ask_count, map_row_count;
    int64_t timers_more;     /* set less fired and cancelled */
    uint64_t effect_turn;    /* of the last message, event or request outside of this record */
    struct weir_ticket tied; /* there: what the client's answer comes of; place 0: its own result */
    void *list_items;        /* the list that weir_list_add() grew last, and the room it has */
    size_t list_room;
};

/* The call that is a handler's last act, made once it has returned; see last.c. */
struct last_call {
    const struct handler *handler;
    struct weir_str key;
    struct key_place place;
    const void *args;
    bool decided, effects; /* COMMITTED came; something was written there */
    uint64_t epoch, clock; /* of that decision */
};

enum frame_state {
    FRAME_WAITS_LOCK = 1,
    FRAME_READY,
    FRAME_RUNS,
    FRAME_WAITS_LOCAL,
    FRAME_WAITS_REMOTE,
    FRAME_WAITS_ALL, /* until no call of its weir.all is out */
    FRAME_DONE
};

/* One running or suspended handler. */
struct weir_ctx {
    /* what every one needs, in as few cache lines as it takes */
    _Alignas(CACHE_LINE) struct txn *txn;
    struct weir_ctx *below;  /* the frame under it in this shard's record */
    struct weir_ctx *caller; /* local caller; NULL: root or called from another shard */
    struct weir_ctx *bottom; /* the first frame on its stack: itself or a caller above it */
    enum frame_state state;
    enum weir_status status; /* how it ended */
    struct entity *entity;
    struct access *access;
    const struct handler *handler;
    const void *args;
    void *result;
    struct fiber *fiber;
    struct weir_ctx *next_wait; /* in the entity's queue, or the ready list */
    void *answer_result;
    enum weir_status answer; /* of the call it waited for */
    uint32_t waits_for;      /* shard that it called */
    uint32_t depth;
    bool from_shard; /* called from another shard */
    bool read_only;
    bool abandoned, lost;
    uint32_t called_from;             /* shard of the remote caller */
    struct weir_ctx *remote_caller;   /* the waiting frame there: only handed back */
    struct weir_ticket ticket;        /* returned by this one: weir_defer() */
    struct weir_ticket answer_ticket; /* that it returned in place of a result */
    struct weir_ticket last;          /* weir_ticket() */
    struct last_call *last_call;
    uint64_t turn; /* within a weir.all; 0: in none */
    struct weir_ctx *prev_wait;
    void *user;
};

/* Its transaction was wounded, cancelled or failed: nothing of it comes about. */
static inline bool frame_is_doomed(const struct weir_ctx *f)
{
    return f->txn->cancelled || f->txn->failure.status != WEIR_OK;
}
/* What its calls then answer; WEIR_OK: it is not doomed. */
static inline enum weir_status frame_doom(const struct weir_ctx *f)
{
    return f->txn->cancelled ? WEIR_ABORTED : f->txn->failure.status;
}

/* ---- messages between shards --------------------------------------------------------------------- */

enum message_kind {
    MSG_CALL = 1,
    MSG_ANSWER,
    MSG_COMMIT,
    MSG_ABORT,
    MSG_WOUND,
    MSG_CANCEL,
    MSG_HINT,
    MSG_COMMITTED, /* from here on they may own memory */
    MSG_DONE
};

#define RESULT_INLINE 24u

/* Pointers in it stay valid by the protocol: a call's until its answer, an answer's until COMMIT or ABORT,
 * a hint's row until DONE. A tail-committed result travels packed in the message: its record is gone. */
struct message {
    struct message *next; /* overflow list */
    enum message_kind kind;
    uint32_t from;
    uint64_t epoch; /* of the sender: E1; of the decision for COMMITTED, COMMIT and DONE */
    uint64_t clock; /* likewise, within the epoch */
    uint64_t txn;
    union {
        struct {
            const struct handler *handler;
            struct weir_ctx *frame;
            const void *args;
            struct key_place place;
            struct weir_str key;
            struct age age;
            int64_t now_ms;
            uint64_t turn;
            struct weir_str caller, roles, request_id; /* that is nil while nobody asked for it: */
            struct request *request;
            uint32_t depth;
            bool read_only, patient, shares, in_turn;
            bool tail; /* the callee decides, if it can */
        } call;
        struct {
            struct weir_ctx *frame;
            enum weir_status status;
            enum retry retry;
            uint64_t participants, read_epoch, turn;
            void *result;
            struct weir_ticket ticket;
            struct failure failure;
        } answer;
        struct {
            struct weir_ctx *frame;
            uint64_t read_epoch;
            bool effects;
            struct weir_str result; /* packed: in `bytes`, or the message's own */
            char bytes[RESULT_INLINE];
        } committed;
        struct {
            uint32_t tied; /* place of what the answer comes of, when this shard makes it */
        } commit;
        struct {
            struct row *row;
            bool again;
            struct failure *failure; /* DONE: of a last attempt; the message's own */
        } hint;                      /* HINT and DONE */
    };
};

/* A message row on its way, kept by the receiver's shard. */
struct delivery {
    struct delivery *next;
    struct pair *pair;
    struct row *row;
    uint32_t from;
    uint32_t attempts;
};
/* Deliveries of one sender to one receiver: one at a time, in order. */
struct pair {
    struct pair *chain;
    struct delivery *head, **tail;
    struct heap_item retry;
    bool busy, held;
    uint64_t hash;
    uint32_t len;
    char key[];
};

/* ---- shard --------------------------------------------------------------------------------------- */

enum shard_state { SHARD_RUNNING = 0, SHARD_PARKED = 1 };

/* A walk over all rows for a checkpoint; the writer asks, the shard fills batches. */
struct walk {
    _Atomic uint32_t wanted; /* writer: number of the checkpoint to walk for */
    _Atomic uint32_t begun;  /* shard: begin is set */
    _Atomic uint32_t ended;  /* shard: all handed over and `end` is set */
    uint64_t begin, end;
    _Atomic(struct walk_batch *) batch; /* one at a time, shard to writer */
    bool active, in_rows;
    struct walk_batch *filling; /* NULL between batches */
    uint64_t next_ns;           /* when it goes on */
    uint64_t hash;              /* index_walk() goes on from it */
    struct buf row_at;
};
struct walk_batch {
    struct buf bytes;
};

/* How many of those that wait at the head have had a step of look_ahead(), and the last of them. */
struct ahead {
    struct request *last;
    uint32_t count;
};
#define AHEAD_STEPS 2u

struct shard_counters {
#define X(name, text) uint64_t name;
    ENGINE_COUNTERS(X)
#undef X
};
struct shard_published {
#define X(name, text) _Atomic uint64_t name;
    ENGINE_COUNTERS(X)
#undef X
};

struct shard {
    struct engine *engine;
    struct env *env;
    uint32_t index;
    struct worker *worker;
    struct ring *in;                  /* in[p] from shard p */
    struct ring *from_port, *to_port; /* of struct request, by port */
    /* The first line is read by all, for each request; the second by all, for each epoch; the others by this shard. */
    _Alignas(64) _Atomic uint64_t sealed; /* written by the shard, read by the writer */
    _Atomic uint32_t state;               /* the same, and read by peers */
    _Atomic uint64_t awaits; /* asleep until peers' marks let it seal that epoch; 0: not */
    /* epochs; see shard.c */
    _Alignas(64) uint64_t epoch; /* local; never above the global one */
    uint64_t epoch_seen;         /* G as loaded before this turn's marks */
    uint64_t effect_epoch;       /* of its newest effect */
    uint64_t clock;              /* within the local epoch: orders decisions, see epoch_meet() */
    uint64_t sealed_local;
    uint64_t wanted;                 /* newest epoch that somebody here waits for */
    uint64_t wanted_ns, wanted_from; /* since when, and commits before */
    uint64_t clock_ns, wall_read_ns; /* mono_ns as read last, and when the wall clock was */
    bool wakes_writer;               /* that epoch is not due yet */
    struct buf buffers[EPOCH_BUFFERS];
    struct buf events[EPOCH_BUFFERS];            /* the events among them once more, for the feed */
    struct message **overflow, ***overflow_tail; /* out lists behind full rings */
    uint64_t *marks;                             /* seen this turn; UINT64_MAX when parked */
    bool loaded;                                 /* they are, and the rings are not drained yet */
    struct request **port_overflow, ***port_overflow_tail;
    uint64_t
        port_least[ENGINE_PORTS_MAX]; /* epoch of answers not yet published; UINT64_MAX: none */
    /* tables */
    struct index entities; /* where they are */
    size_t entity_count;
    struct slab slab;       /* entities and small rows of theirs */
    struct lock *lock_free; /* in store */
    struct tree rows;
    struct heap timers;
    struct row *records, **records_tail; /* by age */
    uint64_t record_count, timer_count, message_count, hints_out;
    uint64_t state_bytes, memory_bytes;
    struct row **parked; /* messages and timers that wait for a person */
    size_t parked_count, parked_cap;
    struct tree answer_waits;     /* requests that wait for one, by its id */
    struct heap answer_deadlines; /* the same, by time */
    uint64_t next_wait;
    struct entity **ghosts; /* tombstones to take away once durable */
    size_t ghost_count, ghost_cap;
    /* transactions */
    struct txn **txns;
    size_t txn_cap, txn_count;
    struct txn *txn_free;
    struct weir_ctx *frame_free;
    struct message *messages_kept; /* to be sent again */
    uint32_t message_kept_count;
    struct root *root_free;
    struct fiber_pool *fibers;
    struct weir_ctx *ready, **ready_tail;
    struct weir_ctx *fiber_waiters; /* the oldest transaction's first */
    struct fiber *host;             /* the stack that the loop itself is on; see host_run() */
    struct root *fresh;             /* the newest one, whose deadline nothing watches yet */
    struct heap deadlines;
    struct heap retries;                  /* pairs to try again */
    struct heap sleepers;                 /* roots that died, by when they go on */
    _Atomic(struct feed_event *) feed_in; /* from the feed, newest first */
    struct lane **lanes;                  /* by follower, 256 each */
    struct lane *lanes_ready, **lanes_ready_tail;
    bool follows_done;                       /* tell the feed at the end of the turn */
    struct derive **derives;                 /* by place of the window or join */
    uint32_t derives_ready;                  /* that have something to do */
    struct request *pending, **pending_tail; /* not begun: too many with locks */
    uint64_t pending_count;
    struct ahead ahead[AHEAD_STEPS];
    uint64_t pace_ns; /* between two begun, as last measured while requests waited; 0: not yet */
    uint64_t pace_from_ns, pace_begun; /* the measurement going on; 0: nobody waits */
    uint64_t roots_open, roots_holding;
    uint64_t next_txn, next_age, next_message, next_all;
    struct pair **pairs;
    size_t pair_cap, pair_count;
    void *states[ENGINE_RUNTIMES_MAX];
    struct weir_ctx *running;
    struct walk walk;
    struct buf scratch;
    uint64_t now_ns;
    int64_t now_ms;
    uint64_t records_checked_ns;
    struct shard_counters stats;      /* the shard's own */
    struct shard_published published; /* as of its last busy turn, for other threads */
};

/* A thread: an actor with its shards. */
struct worker {
    struct actor actor;
    struct engine *engine;
    struct shard **shards;
    uint32_t shard_count;
};

enum writer_state { WRITER_IDLE, WRITER_SEALING, WRITER_WRITTEN };

struct writer {
    struct actor actor;
    enum writer_state state;
    uint64_t epoch;      /* being sealed or written */
    bool wrote;          /* its frame is on the file, not synced */
    uint64_t retry_ns;   /* disk full: when to try again */
    uint64_t prepare_ns; /* the same, for the next segment */
    int64_t wall_ms;     /* of the last frame */
    uint32_t checkpoint; /* number of the running one; 0: none */
    bool checkpoint_begun, checkpoint_failed, checkpoint_ending;
    bool checkpoint_last; /* whether there is to be one more, before all stops, was judged */
    uint64_t checkpoint_begin, checkpoint_end;
    uint32_t checkpoint_number;
    uint64_t checkpoint_retry_ns;
    _Atomic uint64_t checkpoints;
    _Atomic uint32_t rested; /* draining waits for no checkpoint (any more) */
};

/* The first line is read by shards for each request, the second too, and written where answers are large. */
struct port {
    _Alignas(64) struct engine *engine;
    uint32_t index;
    struct actor *_Atomic actor; /* the door sets it, at any time; whoever has answers wakes it */
    _Alignas(64) _Atomic uint64_t
        answer_bytes; /* of large answers: shards add, the door takes off; shards wait for it */
    _Alignas(64) _Atomic uint32_t in_flight; /* the door's thread counts; engine_drain() reads */
    uint64_t touched;                        /* shards to publish to and wake at flush */
    struct request *waiting[EPOCH_BUFFERS], **waiting_tail[EPOCH_BUFFERS];
    /* least epoch in the list, UINT64_MAX when empty; and most */
    uint64_t waiting_least[EPOCH_BUFFERS], waiting_most[EPOCH_BUFFERS];
    struct request *ready, **ready_tail;
    struct request **overflow, ***overflow_tail; /* per shard, behind a full ring */
    struct feed_read *answered;                  /* to be handed out by feed_next() */
};

struct engine {
    struct engine_options options;
    struct engine_limits limits;
    struct env *env;
    struct catalog *catalog;
    struct store *store;
    struct shard *shards;
    uint32_t shard_count;
    struct worker *workers;
    uint32_t worker_count;
    struct writer writer;
    struct port ports[ENGINE_PORTS_MAX];
    uint32_t port_count;
    const struct runtime *runtimes[ENGINE_RUNTIMES_MAX];
    uint32_t runtime_count;
    struct handler **row_queries, **map_queries, **exists_queries; /* by type id */
    struct handler **ask_reports;                                  /* by type id */
    struct handler *wait_query;
    struct feed *feed;
    _Atomic(struct ask *) asks_in; /* from shards, newest first */
    struct ask *asks;              /* the sender's: waiting to be durable */
    struct actor *_Atomic ask_actor;
    struct buf recovered_events; /* of the log, while opening */
    bool started, stopped;
    _Alignas(64) _Atomic uint64_t epoch;   /* G; raised by the writer, or a shard for it */
    _Alignas(64) _Atomic uint64_t durable; /* D; stored by the writer after a sync */
    _Alignas(64) _Atomic uint64_t wanted;  /* newest epoch that somebody waits for */
    _Atomic uint64_t due; /* newest that is to be raised for that, see epoch_may_grow() */
    _Atomic uint32_t disk_full, poisoned, draining;
    _Atomic int64_t now_ms; /* greatest that engine_now_ms() has said */
    _Atomic uint32_t stats_lock;
    struct store_stats store_stats;
    uint64_t state_bytes_limit;
};

/* ---- index.c: entities by type and key ----------------------------------------------------------- */
struct entity *index_find(const struct index *index, uint16_t type_id, struct weir_str key,
                          uint64_t hash);
/** Its home is fetched; and, some time after that: who may be meant, for the same. */
void index_expect(const struct index *index, uint64_t hash);
const struct entity *index_guess(const struct index *index, uint64_t hash);
void index_add(struct shard *s, struct entity *e, uint64_t hash);
void index_remove(struct shard *s, const struct entity *e);
/** Ends its growth, if it grows, in one piece. */
void index_settle(struct shard *s);
/** All entities, one after the other, while none comes or goes; *at begins at 0. */
struct entity *index_next(const struct index *index, size_t *at);
/** Hands out all whose hash begins like `from`, and returns the hash to go on from, INDEX_WALKED at the end: whoever is there from the first
 *  call to the last is handed out, whatever comes and goes in between. */
typedef void index_take_fn(void *arg, const struct entity *e);
#define INDEX_WALKED (UINT64_C(1) << 32)
uint64_t index_walk(const struct index *index, uint64_t from, index_take_fn *take, void *arg);
void index_free(struct index *index);

/* ---- state.c: tables ----------------------------------------------------------------------------- */
bool type_key_fits(const struct type *type, struct weir_str key);
static inline struct type *type_of(const struct shard *s, uint16_t id)
{
    const struct catalog *catalog = s->engine->catalog;
    return id < catalog->by_id_count ? catalog->by_id[id] : NULL;
}
/** NULL when there is none. */
struct entity *entity_look(struct shard *s, uint16_t type_id, struct weir_str key);
struct entity *entity_get(struct shard *s, uint16_t type_id, struct weir_str key,
                          uint8_t slot); /* or a new ghost */
struct entity *entity_get_at(struct shard *s, uint16_t type_id, struct weir_str key,
                             struct key_place place); /* the same */
struct entity *entity_look_at(struct shard *s, uint16_t type_id, struct weir_str key,
                              struct key_place place); /* NULL when there is none */
/** Its row will be read soon: the first lines of it come while the call is made ready. */
static inline void row_expect(const struct entity *e)
{
    if (e->row_where != WHERE_OUTSIDE) return; /* the key has been read, and it lies behind */
    const char *row = entity_row_at(e);
    fetch(row);
    fetch(row + CACHE_LINE);
}
/* What is looked up soon, in steps that each take a miss of the cache: the place in the index; the entity there; its row. */
enum expect { EXPECT_PLACE, EXPECT_ENTITY, EXPECT_ROW };
void entity_expect(struct shard *s, uint16_t type_id, struct key_place place, enum expect step);
void entity_set(struct shard *s, struct entity *e,
                struct weir_str value); /* value.ptr NULL: no row */
/** Its lock; one that is free is made when it has none. */
struct lock *entity_lock(struct shard *s, struct entity *e);
/** Drops a lock that nobody has to do with any more, and a ghost with it. */
void entity_settle(struct shard *s, struct entity *e);
void entity_maybe_remove(struct shard *s, struct entity *e);
void ghosts_reap(struct shard *s, uint64_t durable);
struct row *row_set(struct shard *s, uint8_t slot, struct weir_str key, struct weir_str value);
void row_delete(struct shard *s, struct row *row);
/** One that is not there, with no value yet. */
struct row *row_add(struct shard *s, uint8_t slot, struct weir_str key);
void row_value_set(struct shard *s, struct row *row, struct weir_str value);
/** Rows of all shards may take so many bytes more by memory_max; what other shards hold is as of their last turn. */
bool memory_takes(struct shard *s, uint64_t more);
static inline bool memory_is_full(struct shard *s)
{
    return !memory_takes(s, 0);
}
#define ENTITY_KEY_HEAD 3u
/** What the key of an entity's row begins with. */
static inline void key_entity_head(char head[ENTITY_KEY_HEAD], uint16_t type_id)
{
    head[0] = ROW_ENTITY;
    head[1] = (char)(type_id >> 8);
    head[2] = (char)type_id;
}
void key_entity(struct buf *out, uint16_t type_id, struct weir_str key);
/** kind, type, key length, key: the head of keys of rows that belong to an entity. */
void key_owned(struct buf *out, enum row_kind kind, uint16_t type_id, struct weir_str key);
bool key_owned_parse(struct weir_str bytes, uint16_t *type_id, struct weir_str *key,
                     struct weir_str *rest);
void state_free(struct shard *s);
static inline uint16_t load_be16(const char *at)
{
    return (uint16_t)((uint8_t)at[0] << 8 | (uint8_t)at[1]);
}

/* ---- replay.c: recovery ------------------------------------------------------------------------- */
#define REPLAY_CHANGES 32u /* a power of two */
#define REPLAY_FROM 32768u /* entities of a shard, with less of which its changes do not wait */
struct replayed {
    struct shard *shard;
    struct key_place place; /* of an entity; else the slot alone */
    enum store_op op;
    bool entity, waits; /* waits: to be applied */
    size_t key_len;
    struct buf bytes; /* key, value */
};
struct replay {
    struct engine *engine;
    size_t count; /* that waited, and do */
    struct replayed changes[REPLAY_CHANGES];
};
/** For store_open(). */
void replay_add(void *replay, uint8_t slot, enum store_op op, struct weir_str key,
                struct weir_str value);
/** The last that wait, behind a store_open() of whatever end; frees what it has. */
void replay_end(struct replay *replay);

/* ---- txn.c: accesses, judgement, applying -------------------------------------------------------- */
struct txn *txn_begin(struct shard *s, uint64_t id, struct age age);
struct txn *txn_find(struct shard *s, uint64_t id);
struct access *txn_access(struct txn *t, struct entity *e);
/** Of one that shares: its access, a new reader's if it has none yet. */
struct access *txn_share(struct txn *t, struct entity *e);
/** Whether its changes would make this shard's rows take more memory. Of other shards' parts it knows nothing, and says so: yes. */
bool txn_grows(const struct txn *t);
void txn_apply(struct txn *t, uint64_t epoch, uint64_t clock);
/** Gives locks on, frees the record. */
void txn_end(struct txn *t);
bool access_open(struct weir_ctx *f);
/** Of the row as it is, to compare it with later. */
const void *access_copy(const struct access *a, struct arena *arena);
enum weir_status access_judge(struct weir_ctx *f);
void access_erase(struct weir_ctx *f);
enum weir_status txn_doom(struct txn *t, enum weir_status status, struct weir_str code,
                          struct weir_str detail, struct weir_str text);
struct overlay *overlay_get(struct txn *t, struct access *a, struct weir_str key);
/** The same of a committed row that has no overlay yet. */
struct overlay *overlay_of_row(struct txn *t, struct access *a, const struct map_def *map,
                               struct row *row);
/** The next row with this prefix beyond `at` as the transaction sees it. */
struct overlay *overlay_next(struct txn *t, struct access *a, struct weir_str prefix,
                             struct weir_str at, bool after);
void effect_put(struct shard *s, uint64_t epoch, uint8_t slot, struct weir_str key,
                struct weir_str value);
void effect_delete(struct shard *s, uint64_t epoch, uint8_t slot, struct weir_str key);

/* ---- frame.c: handlers on fibers ----------------------------------------------------------------- */
struct weir_ctx *frame_push(struct txn *t, const struct handler *handler, struct entity *e,
                            const void *args);
/** Takes the lock, or waits for it. True when it may run now. */
bool frame_lock(struct weir_ctx *f);
/** Runs it from the loop and unwinds through local callers; answers the remote one or ends the root. */
void frame_run(struct weir_ctx *f);
/** Runs a call; *answer is the result in memory of this transaction or of the callee's record, until the end. */
enum weir_status frame_call(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                            struct key_place place, const void *args, void **answer);
void frame_ready(struct weir_ctx *f);
/** False: it is not, and the transaction is doomed. A service's key becomes its own. */
bool call_is_allowed(struct weir_ctx *f, const struct handler *handler, struct weir_str *key,
                     const struct entity *e, const void *args);
/**
 * Runs work(arg), which begins handlers, on a stack that they need not change: a handler that returns without having waited
 * costs no switch. One that waits takes the stack with it, and work(arg) is called again on another one. So work() looks
 * after whatever may have run a handler whether s->host is still what it was, and else returns at once, touching nothing.
 */
void host_run(struct shard *s, void (*work)(void *arg), void *arg);
/** Ends what waits, with ABORTED. */
void txn_cancel(struct txn *t);
void lock_release(struct shard *s, struct entity *e);
/** Gives it on to those that may have it now that its queue is another: a root slept or a writer waited, and does no longer. */
void lock_offer(struct shard *s, struct entity *e);
/** A reader lets go of its share, which is its access. */
void share_release(struct shard *s, struct access *a);

/* ---- proto.c: between shards --------------------------------------------------------------------- */
struct message *message_new(struct shard *s, enum message_kind kind, uint64_t txn);
void message_free(struct message *m);
void message_post(struct shard *s, uint32_t to, struct message *m);
void message_handle(struct shard *s, struct message *m);
void call_remote(struct weir_ctx *f, uint32_t to, const struct handler *handler,
                 struct weir_str key, struct key_place place, const void *args, bool read_only,
                 bool tail, uint64_t turn);
void answer_remote(struct weir_ctx *f);
void wound_send(struct shard *s, struct txn *owner);

/* ---- all.c: calls that are out at the same time ---------------------------------------------------- */
uint64_t turn_slow(const struct weir_ctx *f);
/** Of what f does now, or calls; 0: in no weir.all. */
static inline uint64_t turn_of(const struct weir_ctx *f)
{
    return f->turn == 0 && f->txn->all == NULL ? 0 : turn_slow(f);
}
/** Undone, and run again in turn. Returns the status. */
enum weir_status all_undo(struct txn *t);
/** f is in a turn: would it meet another one at its entity? */
bool all_conflicts(const struct weir_ctx *f);
/** f, in a turn, has the lock. */
void access_turn(struct access *a, const struct weir_ctx *f);
bool effect_turn_slow(struct weir_ctx *f);
/** f is about to send, emit or ask. False: not in its turn, and the transaction is doomed. */
static inline bool effect_in_turn(struct weir_ctx *f)
{
    return (f->turn == 0 && f->txn->all == NULL) || effect_turn_slow(f);
}
/** Does what an answer for f tells of come before the record's own, of calls of one weir.all? */
bool failure_is_earlier(const struct txn *t, const struct weir_ctx *f,
                        const struct failure *failure);
/** The call that an answer for f in that turn is of; NULL: one that f waits for. */
struct all_call *all_answered(struct weir_ctx *f, uint64_t turn);
void all_answer(struct weir_ctx *f, struct all_call *call, const struct message *m);
/** A stack is to be dropped, `last` ran on it: not while calls of a handler there are out. It is run again then. */
bool all_holds_stack(struct weir_ctx *bottom, struct weir_ctx *last);
void all_cancel(struct txn *t);

/* ---- last.c: last calls, and who decides after them ---------------------------------------------- */
/** `own` may answer what `callee` does; else *why says what differs. */
bool last_call_fits(const struct handler *own, const struct handler *callee, struct arena *arena,
                    const char **why);
/** `key` and `args` must stay until the transaction's end. */
void last_call_set(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                   struct key_place place, const void *args);
/** The handler has returned and its rules were judged: makes its last call and hands on what that answers. */
enum weir_status last_call_run(struct weir_ctx *f);
/** May the root give the decision away with this call to another shard? */
bool tail_fits(const struct weir_ctx *f, const struct handler *handler);
/** The callee's handler has returned: decides, applies, tells the root, if it may. The record is to be ended then. */
bool tail_decide(struct weir_ctx *f);
void tail_committed(struct shard *s, struct message *m);

/* ---- root.c: what starts transactions and ends them ---------------------------------------------- */
void root_begin_request(struct shard *s, struct request *request);
/* Answers `overloaded`. */
void request_shed(struct shard *s, struct request *request, const char *text);
void root_begin_message(struct shard *s, struct pair *pair);
void root_begin_timer(struct shard *s, struct row *row);
struct root *root_new(struct shard *s, enum root_kind kind, const struct handler *handler);
/** The id of the request that this comes of, or one of its own: made when the first asks for it. */
struct weir_str txn_name(struct txn *t);
void root_free(struct shard *s, struct root *r);
struct weir_ctx *root_attempt(struct shard *s, struct root *r);
void root_run(struct weir_ctx *f);
void root_finish(struct txn *t);
bool root_before(struct weir_ctx *f);
/** Has root_before() anything to look at? */
static inline bool root_has_before(const struct root *r)
{
    return r->kind == ROOT_TIMER || (r->kind == ROOT_REQUEST && r->request->id.len > 0);
}
/** Where the result of a request's handler goes. */
void *root_result(struct root *r);
void root_wound(struct txn *t);
/** The newest root did not end at once: its deadline is to be watched. */
void root_stays(struct shard *s);
void root_deadlines(struct shard *s);
/** Those that died and have slept long enough go on. */
void roots_wake(struct shard *s);
/** Out of its sleep; it stays where it is in the queue. */
void root_rise(struct txn *t);
uint64_t root_next_due(struct shard *s);
void request_answer(struct shard *s, struct request *request);

/* ---- outbox.c: messages, timers, request records ------------------------------------------------- */
void outbox_hint(struct shard *s, struct row *row);
/** The row's slot is the sender's; a stream has none of its own, and its messages lie where their receiver does. */
void outbox_put(struct shard *s, uint8_t slot, const struct send *send, uint64_t epoch);
/** @param again  a parked one that is to run again, or to be taken away */
void outbox_receive(struct shard *s, uint32_t from, struct row *row, bool again);
/** @param failure  of the last attempt; NULL: delivered */
void outbox_done(struct shard *s, struct row *row, uint64_t epoch, const struct failure *failure);
void outbox_delivered(struct shard *s, struct delivery *d, uint64_t epoch);
void outbox_dropped(struct shard *s, struct delivery *d, struct type *type, struct weir_str key);
void outbox_failed(struct shard *s, struct delivery *d, const struct failure *failure);
void outbox_retries(struct shard *s);
void outbox_recover(struct shard *s);
struct message_parts {
    uint16_t from_type, to_type;
    struct weir_str from_key, to_key, handler, args, reply;
    bool failed, dropped;
    struct failure failure; /* when failed; when dropped, too, if there is a reply */
};
bool message_parts(struct weir_str key, struct weir_str value, struct message_parts *parts);
void timer_index(struct shard *s, struct row *row);
bool timer_parts(struct weir_str key, uint16_t *type_id, struct weir_str *entity,
                 struct weir_str *handler, struct weir_str *args);
void timer_value(struct buf *out, int64_t due_ms, bool failed, struct weir_str error);
void timers_due(struct shard *s);
void timer_failed(struct shard *s, struct weir_str key, const struct failure *failure);
void record_index(struct shard *s, struct row *row);
void records_expire(struct shard *s);
void record_key(struct buf *out, const struct entity *e, struct weir_str id);
void record_value(struct buf *out, uint64_t hash, int64_t time_ms, struct weir_str result);
bool record_parts(struct weir_str value, uint64_t *hash, int64_t *time_ms, struct weir_str *result);

/* ---- answer.h, deferred.c: deferred answers ------------------------------------------------------------------- */
extern const struct weir_entity answer_entity;
/** The root's handler has returned: what becomes of its answer is made part of the transaction. On its fiber. */
enum weir_status answer_tie(struct weir_ctx *f);
/** What `place` of a ticket of this record names carries the answer. */
void txn_tie(struct txn *t, uint32_t place, struct weir_str reply);
struct weir_ticket ticket_make(struct txn *t, const struct handler *handler, bool ask,
                               uint32_t count);
/** The packed result of a request record that only names a deferred answer; and that name, nil for any other result. */
void answer_record(struct buf *out, struct weir_str id);
struct weir_str answer_of_record(struct weir_str result);
/** It will not come: somebody dropped what it would come of. `from` is of this shard. */
void answer_drop(struct shard *s, struct entity *from, struct weir_str id,
                 const struct failure *failure);
/** Inside the transaction in which it came. */
enum weir_status answer_send(struct weir_ctx *f, struct weir_str id);
/** The row of an answer is about to be `packed` (nil: none) in this epoch: answers who waits. */
void answer_change(struct shard *s, struct entity *e, struct weir_str packed, uint64_t epoch);
/** Answers the request, or lets it wait. */
void answer_wait(struct shard *s, struct request *request);
void answer_deadlines(struct shard *s);
uint64_t answer_next_due(const struct shard *s);
void answer_recover(struct shard *s);
void answer_deinit(struct shard *s);

/* ---- emit.c, follow.c, feed.c, parked.c: streams and what follows them ----------------------------- */
/* ask.c */
void asks_apply(struct txn *t, uint64_t epoch, uint64_t clock);
void ask_index(struct shard *s, struct row *row, uint64_t epoch);
void ask_decide(struct shard *s, struct row *row, bool drop);
void asks_deinit(struct engine *engine);
bool ask_takes_answer(const struct handler *handler);
/** Whom the answer goes to; an empty handler: nobody. */
bool ask_handler(const struct row *row, uint16_t *type_id, struct weir_str *handler);
/** What a parked one shows. */
bool ask_describe(const struct row *row, struct weir_str *outside, struct weir_str *line,
                  struct weir_str *error);
weir_handler_fn ask_reported;
extern const struct weir_shape ask_report_shape;
/** n of an event or request: clock, root's shard, emitting shard, place among those of the transaction. */
uint64_t event_n(uint64_t clock, uint32_t root, uint32_t shard, uint32_t place);
/* schedule.c */
extern const struct weir_entity schedule_entity;
extern const struct weir_entity group_entity;
/** False with `error`: a zone cannot be loaded. */
bool schedules_begin(struct engine *engine, struct buf *changes, char *error, size_t error_bytes);
weir_handler_fn stream_emit_one, stream_emit_batch;
/** Events of this record of the transaction: ids from the decision, rows of `epoch`. */
void emits_apply(struct txn *t, uint64_t epoch, uint64_t clock);
/** What a built-in emitting handler answers, known at the decision; before its record is made. */
void emits_answer(struct txn *t, uint64_t epoch, uint64_t clock);
/** A new follower: where it begins becomes a row. */
void follow_begin(struct engine *engine, struct follower *follower, struct buf *changes);
/** Where a new follower that began "now" or at a time turned out to begin. */
void follow_place(struct engine *engine, const struct follower *follower, struct event_id id);
/** After recovery: cursors from their rows. */
void follow_recover(struct shard *s);
void follow_deinit(struct shard *s);
/** The least that all slots are done with, after follow_recover(); for a window or join the watermark there. */
struct event_id follow_start(struct engine *engine, const struct follower *follower, int64_t *low);
bool follow_has_input(struct shard *s);
bool follow_run(struct shard *s);
void follow_done(struct shard *s, struct lane *lane, uint64_t epoch);
void follow_failed(struct shard *s, struct root *r, const struct failure *failure);
/** A failed event becomes a message of its stream to its entity, in this shard's open epoch. */
void outbox_defer(struct shard *s, const struct follower *follower, struct weir_str key,
                  struct weir_str args);
bool outbox_pair_waits(struct shard *s, const struct follower *follower, struct weir_str key);

/* derive.c: windows and joins */
/** A control event of a stream, never shown: CONTROL_END, or CONTROL_BEAT of a derived stream with a time. */
enum { CONTROL_END = 1, CONTROL_BEAT };
void control_write(struct buf *out, int what, uint16_t derived, int64_t time_ms);
static inline bool value_is_control(struct weir_str value)
{
    return value.len > 0 && value.ptr[0] == 0;
}
/** What it is, 0 when it cannot be read. */
int control_read(struct weir_str value, uint16_t *derived, int64_t *time_ms);
/** Time of an event by its stream, from the field or from when it was emitted. */
int64_t time_clamp(int64_t time_ms);
void derives_recover(struct shard *s);
void derives_deinit(struct shard *s);
void derive_take(struct shard *s, struct feed_event *e);
bool derives_run(struct shard *s);
/** Least cursor of its input, with the watermark there. */
struct event_id derive_start(struct engine *engine, const struct follower *follower,
                             struct event_id head, int64_t *low);
/** An event that no transaction emits: in this shard's open epoch. */
void event_put(struct shard *s, const struct stream *stream, uint8_t slot, struct weir_str key,
               struct weir_str packed, uint64_t n);
weir_handler_fn stream_end;
void derived_bind(const struct derived *derived);
/** Fields of `to` are numbered, and packed against the starts, as those of the same names. */
void numbers_take(struct shape *to, const struct shape *from);
/** The head of a cursor's key; slot -1: where the follower began. */
void cursor_key(struct buf *out, const struct follower *follower, int slot);

enum weir_status feed_open(struct engine *engine, char *error, size_t error_bytes);
void feed_start(struct engine *engine);
void feed_stop(struct engine *engine);
void feed_close(struct engine *engine);
void feed_wake(struct engine *engine);
/** Writer: the epoch is about to be durable; takes the shards' event buffers. */
void feed_durable(struct engine *engine, uint64_t epoch);
/** Writer: an epoch is durable; wakes the feed if that is news to it. */
void feed_news(struct engine *engine);
/** Writer: are all events below `epoch` in synced files? Asks for it. Hands the heads to the store. */
bool feed_covers(struct engine *engine, uint64_t epoch);
/** Writer, idle: names files for the feed's sake; true if something was done. */
bool feed_names(struct engine *engine);
/** Shard: so many events and marks of the follower are done, `marks` of them marks. */
/** A shard is done with an event of a follower that is no window or join. */
void feed_event_done(struct shard *s, const struct feed_event *e);
void feed_credit(struct engine *engine, const struct follower *follower, uint32_t shard,
                 uint64_t count, uint64_t marks);

/** Runs a request about parked work on its shard and answers it. */
void parked_run(struct shard *s, struct request *request);
void row_park(struct shard *s, struct row *row);
void row_unpark(struct shard *s, struct row *row);
void outbox_retry(struct shard *s, struct row *row);
void outbox_drop(struct shard *s, struct row *row);

/*
 * A Lamport clock of two parts, the epoch and a count within it: every message carries its sender's, and a
 * receiver's is never behind. A decision raises it; so whoever could see a transaction's effects decides at
 * a higher one, and (epoch, clock) orders events as the transactions that emitted them. (Lamport, "Time,
 * Clocks, and the Ordering of Events in a Distributed System", CACM 1978.)
 */
static inline void epoch_meet(struct shard *s, uint64_t epoch, uint64_t clock)
{
    if (epoch > s->epoch) {
        s->epoch = epoch;
        s->clock = clock;
    } else if (epoch == s->epoch && clock > s->clock) {
        s->clock = clock;
    }
}

/* ---- shard.c, writer.c, walk.c, builtin.c ---------------------------------------------------------- */
uint64_t shard_turn(struct shard *s);
void shard_publish(struct shard *s);
void shard_wake(struct shard *s);
void shard_wanted_first(struct shard *s, uint64_t epoch);
/** Somebody waits for this epoch to become durable. On the shard's thread; the writer hears of it at the turn's end. */
static inline void shard_wanted(struct shard *s, uint64_t epoch)
{
    if (epoch > s->wanted) shard_wanted_first(s, epoch);
}
/** The same from any thread. */
void engine_wants(struct engine *engine, uint64_t epoch);
/** Who raised G tells the shards, which then seal. */
void epoch_raised(struct engine *engine);
/** Whether all that are not parked have sealed it. */
bool epoch_is_sealed(struct engine *engine, uint64_t epoch);
uint64_t writer_turn(void *self);
void walk_step(struct shard *s);
bool catalog_bind(struct engine *engine, struct buf *changes, char *why, size_t why_bytes);
void builtin_make(struct engine *engine);
void builtin_free(struct engine *engine);
static inline uint32_t slot_shard(const struct engine *engine, uint8_t slot)
{
    return slot % engine->shard_count;
}
/** Wall clock, never less than anybody was told before, in any frame of the log included: clocks are set back, and what a
 *  transaction took for now must not lie in the future of a later one. Any thread. */
int64_t engine_now_ms(struct engine *engine);
/** The same for a shard's transactions; at most CLOCK_KEPT_NS old. */
int64_t shard_now_ms(struct shard *s);
void engine_trace(struct engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
extern const struct runtime native_runtime;
bool verb_bind(struct catalog *catalog, struct weir_verb *verb, char *why, size_t why_bytes);

#endif
