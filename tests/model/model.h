/*
 * model.h - an executable model of the transaction and epoch protocol, and its explorer.
 *
 * A state is a plain struct of bytes without padding, so that equal states have equal bytes. A step is one
 * atomic action of one shard, the writer, a client or the power switch; protocol.c says which steps a state
 * allows and what each does, explore.c visits every state that any order of steps can reach.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHARDS_MAX 3
#define TXNS_MAX 4
#define ATTEMPTS_MAX                                                                               \
    4 /* ids of one transaction in use at a time: an id that nothing names is used again */
#define IDS_MAX (TXNS_MAX * ATTEMPTS_MAX)
#define ENTITIES_MAX 4
#define DEPTH_MAX 4
#define EPOCHS_MAX 8
#define RING_MAX 8
#define OPS_MAX 4
#define HANDLERS_MAX 12
#define NO_ONE 0xff

/* Each mutant breaks one rule; README.md maps them. Name, then the scenario that must catch it. */
#define MUTANTS(X)                                                                                 \
    X(E1_no_raise, "epochs", "a receiver does not raise its epoch to the sender's")                \
    X(E2_own_epoch, "epochs", "a participant logs under its own epoch, not the decider's")         \
    X(E2_epoch_at_start, "epochs", "the root commits in the epoch it began in")                    \
    X(E3_no_marks, "epochs", "a shard seals without looking at its peers' marks")                  \
    X(E3_no_drain, "epochs", "a shard seals with messages left in a ring")                         \
    X(E3_mark_too_low, "epochs", "a shard seals e when marks are e, not above e")                  \
    X(E4_frame_early, "epochs", "the frame is written before all shards sealed")                   \
    X(E5_reply_early, "epochs", "the reply leaves at the decision")                                \
    X(H1_raise_early, "epochs", "G is raised before all shards sealed G-1")                        \
    X(H1_park_open_txn, "park", "a shard parks with an open transaction")                          \
    X(H1_park_unsealed, "park", "a shard parks with an unsealed effect")                           \
    X(H1_park_message_out, "park_message", "a shard parks with a message out for delivery")        \
    X(H1_unpark_order, "park", "unparking loads G, then stores running")                           \
    X(H1_unpark_no_adopt, "park", "unparking does not adopt G")                                    \
    X(H1_writer_order, "park", "the writer reads sealed before state")                             \
    X(H2_mark_after_tail, "rings", "the mark is read after the tail")                              \
    X(H2_state_after_tail, "park_reader", "a peer's parked state is read after the tail")          \
    X(H2_state_before_raise, "park_reader",                                                        \
      "a peer's parked state counts though read before G went above e")                            \
    X(H2_mark_published_first, "rings", "the mark is stored before the tail")                      \
    X(H2_cancel_overtakes, "opposite", "CANCEL is handled before the CALL ahead of it")            \
    X(H3_relay, "relay", "a participant relays COMMIT to those below it")                          \
    X(H4_full_ring_blocks, "crossing", "a full ring stops the shard that must send")               \
    X(H5_no_participants, "chain", "answers do not carry the participants below")                  \
    X(H5_abort_early, "opposite", "the root aborts before all answers are in")                     \
    X(H5_cancel_not_answered, "opposite", "a cancelled call is not answered")                      \
    X(H5_no_cancel, "opposite", "CANCEL is not sent down")                                         \
    X(H5_cancel_one_level, "chain", "CANCEL is not passed on by the callee")                       \
    X(H6_read_epoch_lost, "reads", "answers do not carry the newest epoch read")                   \
    X(H6_no_tombstone, "reads", "a deleted row leaves no version to read")                         \
    X(H6_read_not_waited, "reads", "a reply waits for its writes only")                            \
    X(H6_error_not_waited, "reads", "an error reply does not wait")                                \
    X(H7_done_lost, "message", "DONE is not sent")                                                 \
    X(H7_done_own_epoch, "message", "DONE is logged under the epoch it arrives in")                \
    X(H3_done_relay, "message_relay", "a participant sends DONE, not the root")                    \
    X(H7_hint_early, "message_relay",                                                              \
      "the hint is posted when the handler sends, before the decision")                            \
    X(H7_no_rehint, "message", "recovery does not hint pending rows again")                        \
    X(H7_recovers_parked, "message_park",                                                          \
      "after recovery a shard with pending rows counts as parked")                                 \
    X(H7_rehint_unordered, "pair",                                                                 \
      "recovery hints pending rows in another order than they were sent")                          \
    X(H7_two_in_delivery, "pair", "two messages of one pair are delivered at a time")              \
    X(H13_prepared_refuses, "chain", "a participant that answered refuses its COMMIT")             \
    X(H15_undo_missing, "undo", "what an aborted attempt wrote stays")                             \
    X(H19_check_before_lock, "timer", "a timer's row is looked up before its entity is locked")    \
    X(lock_early_release, "opposite", "a participant releases its locks when it answers")          \
    X(lock_no_release, "undo", "ABORT does not release")                                           \
    X(wound_not_sent, "opposite", "an older requester only waits")                                 \
    X(wound_wait_reversed, "opposite", "the younger wounds the older")                             \
    X(wound_age_not_kept, "stream", "a retry begins with a new age")                               \
    X(wound_queue_unordered, "stream", "the youngest waiter gets the lock")                        \
    X(wound_release_first, "queue", "a wounded root releases its entity, then queues again")

enum mutant {
    MUTANT_NONE,
#define X(name, scenario, text) MUTANT_##name,
    MUTANTS(X)
#undef X
        MUTANT_COUNT
};

/* ---- scenarios ------------------------------------------------------------------------------------ */

enum op_kind { OP_RETURN, OP_CALL, OP_SEND, OP_FAIL };
struct op {
    uint8_t kind;
    uint8_t arg; /* CALL: handler; SEND: the transaction that delivers it */
};
enum timer_role { TIMER_NONE, TIMER_FIRES, TIMER_CANCELS };
struct handler {
    uint8_t entity;
    bool writes;
    uint8_t timer;
    struct op ops[OPS_MAX];
};
/* The transaction's place in the table is its age: the first is the oldest. */
struct client {
    uint8_t handler;
    uint8_t after; /* 1 + the transaction whose reply the client waits for; 0: none */
    uint8_t
        sender; /* 1 + the transaction that sends the message that this one delivers; 0: a request */
};
struct scenario {
    const char *name, *text;
    bool large;
    uint8_t shards, entities, txns;
    uint8_t entity_shard[ENTITIES_MAX];
    struct handler handlers[HANDLERS_MAX];
    struct client clients[TXNS_MAX];
    uint8_t cuts; /* the writer may raise G to this unasked; above only when something waits */
    uint8_t crashes;
    bool parks;      /* shards may park; they begin parked */
    bool fine_seal;  /* sealing and the writer read one word a step */
    bool fine_rings; /* tail and mark are published one a step */
};
extern const struct scenario scenarios[];
extern const size_t scenario_count;

/* ---- state ---------------------------------------------------------------------------------------- */

enum message_kind {
    MSG_NONE,
    MSG_CALL,
    MSG_ANSWER,
    MSG_COMMIT,
    MSG_ABORT,
    MSG_WOUND,
    MSG_CANCEL,
    MSG_HINT,
    MSG_DONE
};
struct message {
    uint8_t kind, id;
    uint8_t epoch; /* of the sender when it was sent */
    uint8_t arg;   /* CALL: handler; ANSWER: record flags; COMMIT, DONE: commit epoch */
    uint8_t parts, read;
};
struct ring {
    uint8_t mark, count, published;
    struct message slots[RING_MAX];
};

enum record_flag { RECORD_PRESENT = 1, RECORD_CANCELLED = 2, RECORD_FAILED = 4 };
/* What one shard knows of one attempt. */
struct record {
    uint8_t flags;
    uint8_t parts; /* shards below that hold a record */
    uint8_t read;  /* newest epoch read */
    uint8_t sends; /* messages, by delivering transaction */
};

enum txn_phase { TXN_NEW, TXN_LIVE, TXN_REPLIES, TXN_DONE, TXN_LOST };
/* Of the innermost frame. */
enum frame_state { FRAME_NONE, FRAME_READY, FRAME_WAITS_LOCK, FRAME_CALL_SENT, FRAME_ANSWER_SENT };
struct frame {
    uint8_t handler, pc;
};
struct txn {
    uint8_t phase, attempt, age, depth, state;
    struct frame frames[DEPTH_MAX];
    uint8_t answers_from; /* FRAME_ANSWER_SENT: the shard it comes from */
    uint8_t begin_epoch;
    uint8_t wait;   /* the reply leaves when this epoch is durable */
    uint8_t hinted; /* message: 1 + how many of its pair were hinted before */
    uint8_t noop;   /* timer: its row was gone, nothing happens */
    uint8_t failed;
    /* what no shard knows; for the checks only */
    uint8_t commit;  /* epoch of the decision */
    uint8_t touched; /* entities, this attempt */
    uint8_t seen[ENTITIES_MAX];
    uint8_t read;      /* newest version epoch seen */
    uint8_t held_root; /* it has once held its root entity */
    uint8_t sent;      /* message: 1 + how many of its pair were committed before */
};

/* SHARD_LOADED is the mutant's: it has loaded G, but peers still see it parked. */
enum shard_run { SHARD_RUNNING, SHARD_PARKED, SHARD_UNPARKING, SHARD_LOADED };
struct shard {
    uint8_t epoch, sealed, run;
    uint8_t effect;  /* newest epoch it has an effect in */
    uint8_t pending; /* message rows, by delivering transaction */
    uint8_t mark_read[SHARDS_MAX];
    uint8_t tail_read[SHARDS_MAX]; /* 1 + messages left to the tail it read; 0: not read */
};
struct entity {
    uint8_t owner;   /* 1 + id */
    uint8_t waiters; /* transactions */
    uint8_t version; /* 1 + the transaction that wrote it */
    uint8_t version_epoch;
    uint8_t access_epoch; /* newest epoch of any transaction that touched it; for the checks */
    uint8_t timer;
    uint8_t version_at[EPOCHS_MAX];
};
struct state {
    uint16_t log[SHARDS_MAX]
                [EPOCHS_MAX]; /* effects: LOG_WROTE, LOG_PUT, LOG_DELETED of each transaction */
    uint8_t global, durable, wanted, crashes;
    uint8_t writer_state[SHARDS_MAX], writer_done[SHARDS_MAX];
    struct shard shards[SHARDS_MAX];
    struct entity entities[ENTITIES_MAX];
    struct txn txns[TXNS_MAX];
    struct record records[IDS_MAX][SHARDS_MAX];
    struct ring rings[SHARDS_MAX][SHARDS_MAX]; /* [from][to] */
    uint8_t zero[2];                           /* keeps the size even */
};
#define LOG_WROTE(t) (uint16_t)(1u << (t))
#define LOG_PUT(t) (uint16_t)(16u << (t))
#define LOG_DELETED(t) (uint16_t)(256u << (t))

enum step_kind {
    STEP_ARRIVE,
    STEP_HANDLE,
    STEP_RUN,
    STEP_ADOPT,
    STEP_READ_MARK,
    STEP_READ_TAIL,
    STEP_SEAL,
    STEP_PARK,
    STEP_UNPARK,
    STEP_UNPARKED,
    STEP_PUBLISH_TAIL,
    STEP_PUBLISH_MARK,
    STEP_RAISE,
    STEP_WRITER_STATE,
    STEP_WRITER_SEALED,
    STEP_WRITE,
    STEP_RELEASE,
    STEP_CRASH
};
struct step {
    uint8_t kind, a, b;
};
#define STEPS_MAX 96

struct model {
    const struct scenario *scenario;
    enum mutant mutant;
    const char *broken;             /* the rule that the last step broke; NULL: none */
    uint64_t handled[MSG_DONE + 1]; /* steps by kind of message */
    uint64_t done[STEP_CRASH + 1];  /* steps by kind */
    uint64_t retries, failures;
};

void state_init(const struct model *m, struct state *st);
/** All steps that may come next. */
int state_steps(const struct model *m, const struct state *st, struct step *steps);
/** Does one; false: it was not possible after all. m->broken says what it broke. */
bool state_step(struct model *m, struct state *st, struct step step);
/** Nothing is left to do. */
bool state_is_final(const struct model *m, const struct state *st);
extern const char *const message_names[];
void step_print(const struct model *m, const struct state *before, const struct state *after,
                struct step step);

struct exploration {
    uint64_t states, steps, bytes;
    uint32_t depth;
    const char *broken; /* NULL: every property holds */
};
/** Visits all; prints the way to the first broken property when `trace`. */
struct exploration explore(struct model *m, uint64_t states_max, bool trace);

#endif
