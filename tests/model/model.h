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
#define TXNS_MAX 5
#define ATTEMPTS_MAX                                                                               \
    4 /* ids of one transaction in use at a time: an id that nothing names is used again */
#define IDS_MAX (TXNS_MAX * ATTEMPTS_MAX)
#define ENTITIES_MAX 4
#define DEPTH_MAX 4
#define OUTS_MAX 2
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
    X(E5_ack_before_sync, "disk", "a frame counts as durable when written, not when synced")       \
    X(recovery_serves_early, "disk",                                                               \
      "recovery serves before the unsynced tail it read is made durable")                          \
    X(H1_raise_early, "epochs", "G is raised before all shards sealed G-1")                        \
    X(H1_park_open_txn, "park", "a shard parks with an open transaction")                          \
    X(H1_park_unseen, "park", "what a parked shard has not sealed is left out of the frame")       \
    X(H1_park_message_out, "park_message", "a shard parks with a message out for delivery")        \
    X(H1_unpark_order, "park", "unparking loads G, then stores running")                           \
    X(H1_unpark_no_adopt, "park", "unparking does not adopt G")                                    \
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
    X(recovery_short, "disk", "recovery takes the last synced frame for torn")                     \
    X(recovery_half, "disk", "recovery uses one shard's part of a torn frame")                     \
    X(H8_check_before_lock, "repeat",                                                              \
      "a request record is looked up before the root entity is locked")                            \
    X(H8_not_logged, "repeat", "a request record is kept in memory only")                          \
    X(H8_version_kept, "repeat", "a request record does not count as a change of the root entity") \
    X(H9_begin_late, "checkpoint", "a walk begins with the shard's next epoch, not the unsealed")  \
    X(H9_begin_newest, "checkpoint", "a checkpoint begins with the newest of the shards' begins")  \
    X(H9_named_early, "checkpoint", "a checkpoint is named before its end is durable")             \
    X(H9_walk_uncommitted, "checkpoint_undo",                                                      \
      "the walk writes what the holder of the lock has written")                                   \
    X(H9_cut_newer, "checkpoint", "the log is cut below the newer of the two checkpoints")         \
    X(H9_cut_begin, "checkpoint", "the log is cut up to and with the older checkpoint's begin")    \
    X(H9_entities_only, "checkpoint_message", "the walk leaves messages, timers, records out")     \
    X(H11_abort_on_wound, "tail",                                                                  \
      "a root wounded after CALL(TAIL) runs again though its callee decided")                      \
    X(H11_no_cancel, "tail", "a root wounded after CALL(TAIL) does not cancel")                    \
    X(H11_releases, "tail", "the root releases its locks with CALL(TAIL)")                         \
    X(H11_own_epoch, "tail", "the root logs in its own epoch, not in that of the callee")          \
    X(H11_reply_early, "tail", "the reply waits for the epoch of CALL(TAIL)")                      \
    X(H11_read_lost, "tail_read", "the callee's answer does not carry the newest epoch read")      \
    X(H11_participant, "tail3",                                                                    \
      "a root with another participant gives the decision away, and relays it")                    \
    X(H11_callee_calls, "tail_below",                                                              \
      "a callee that called decides, and the root relays it to those below")                       \
    X(H11_inner_decides, "tail_cycle",                                                             \
      "a handler that the callee's shard called back decides, before the callee is at its end")    \
    X(H11_answer_later, "tail",                                                                    \
      "the callee's shard tells of its decision in a later step, its mark may go before")          \
    X(H11_applied_later, "tail",                                                                   \
      "COMMITTED is taken from the ring, and what the root changed logged in a later step")        \
    X(H11_seals_alone, "tail",                                                                     \
      "a root's shard seals without waiting for the shard that it gave the decision to")           \
    X(H11_message, "tail_message",                                                                 \
      "the root of a message gives the decision away, and sends DONE after it")                    \
    X(H11_check_after, "tail_check", "the root's own check comes after CALL(TAIL)")                \
    X(H12_meet, "all_meet", "two calls that are out may change one entity")                         \
    X(H12_meet_behind, "all_part", "a part that is waited for may change what one that is out did") \
    X(H12_above, "all_back", "a call that is out reaches an entity of a handler above it")         \
    X(H12_one_lock, "all_lock", "two calls of one transaction wait for one lock")                  \
    X(H12_cancel_one, "all_wound", "CANCEL goes to the first call that is out only")               \
    X(H12_abort_early, "all_fail", "a handler goes on when the first call has failed")             \
    X(H12_decides_early, "all_wound", "a handler goes on when the first call has answered")        \
    X(H12_any_failure, "all_fail", "the first failure that is heard of counts")                    \
    X(H12_failure_above, "all_fail_above", "a record above keeps what failed there, a later call's") \
    X(H12_not_in_turn, "all_meet", "who was undone runs again with its calls at the same time")    \
    X(H13_prepared_refuses, "chain", "a participant that answered refuses its COMMIT")             \
    X(H15_undo_missing, "undo", "what an aborted attempt wrote stays")                             \
    X(H19_check_before_lock, "timer", "a timer's row is looked up before its entity is locked")    \
    X(H19_due_not_checked, "timer_move", "a timer fires though its row was moved to later")        \
    X(H19_delete_not_logged, "timer", "that a timer has fired is not logged")                      \
    X(H19_cancel_not_logged, "timer", "that a timer was cancelled is not logged")                  \
    X(H19_not_indexed, "timer", "recovery does not look for timer rows")                           \
    X(H19_same_not_indexed, "timer_again",                                                         \
      "a timer that sets itself anew for the same time is not scheduled again")                    \
    X(H19_early_forgotten, "timer_clock",                                                          \
      "a timer that finds itself early, after the clock was set back, is not scheduled again")     \
    X(lock_early_release, "opposite", "a participant releases its locks when it answers")          \
    X(lock_no_release, "undo", "ABORT does not release")                                           \
    X(wound_not_sent, "opposite", "an older requester only waits")                                 \
    X(wound_wait_reversed, "opposite", "the younger wounds the older")                             \
    X(wound_age_not_kept, "stream", "a retry begins with a new age")                               \
    X(wound_queue_unordered, "stream", "the youngest waiter gets the lock")                        \
    X(wound_release_first, "queue", "a wounded root releases its entity, then queues again")       \
    X(share_passes_older, "share_opposite", "a reader shares a lock past an older writer that waits") \
    X(share_wounds_one, "share_all", "an older writer wounds one reader only")                      \
    X(share_root_wounds_none, "share_roots", "a root that writes and holds nothing wounds no reader") \
    X(share_with_writer, "share_opposite", "a reader shares a lock that a writer holds")            \
    X(share_released_first, "share_all", "the first reader that ends lets a writer in")             \
    X(die_not, "die_opposite", "wait_die: the younger waits for the older, too")                   \
    X(die_reversed, "die_opposite", "wait_die: the older dies, the younger waits")                 \
    X(die_queue_by_age, "die_queue", "wait_die: of those that hold locks the oldest is next")      \
    X(die_place_lost, "die_order", "who died leaves the queue of its entity while it sleeps")      \
    X(die_passed, "die_order", "a root takes a free lock past an older one that sleeps")           \
    X(die_wake_lost, "die_opposite", "who wakes does not look whether its lock is free")           \
    X(die_not_told, "die_far", "an answer does not carry that the callee died")                    \
    X(patient_never, "no_wait_opposite", "no_wait: a transaction dies as often as it comes second") \
    X(patient_waits_all, "no_wait_opposite", "no_wait: who died once waits for older ones, too")

/* What a rule forbids, and yet breaks nothing here: each must hold. */
#define LIBERTIES(X)                                                                               \
    X(H11_wider, "tail_wider",                                                                     \
      "tail-commit though root and callee send, and the callee calls: it sends COMMIT itself")

enum mutant {
    MUTANT_NONE,
#define X(name, scenario, text) MUTANT_##name,
    MUTANTS(X) MUTANT_COUNT,
    LIBERTIES(X)
#undef X
        MUTANT_END
};

/* ---- scenarios ------------------------------------------------------------------------------------ */

/* As the engine's; no_wait: after one death a transaction is patient. */
enum policy { POLICY_WOUND_WAIT, POLICY_WAIT_DIE, POLICY_NO_WAIT };

/* OUT: a call of a weir.all to another shard, not waited for; PART: another part of it, which is. What is neither begins when
 * all are answered. */
enum op_kind { OP_RETURN, OP_CALL, OP_SEND, OP_FAIL, OP_SET, OP_UNSET, OP_OUT, OP_PART };
struct op {
    uint8_t kind;
    /* CALL: handler; SEND: the transaction that delivers it; SET: the entity's timer, so long from now */
    uint8_t arg;
};
struct handler {
    uint8_t entity;
    bool writes;
    struct op ops[OPS_MAX];
};
/* The transaction's place in the table is its age: the first is the oldest. */
struct client {
    uint8_t handler;
    uint8_t after; /* 1 + the transaction whose reply the client waits for; 0: none */
    uint8_t
        sender; /* 1 + the transaction that sends the message that this one delivers; 0: a request */
    bool fires;      /* begins when the timer of its root entity is due */
    uint8_t repeats; /* 1 + the transaction whose request this one is, sent again */
    bool shares;     /* it only reads, and shares its locks with others that do */
};
struct scenario {
    const char *name, *text;
    bool large;
    uint8_t policy;
    uint8_t shards, entities, txns;
    uint8_t entity_shard[ENTITIES_MAX];
    struct handler handlers[HANDLERS_MAX];
    struct client clients[TXNS_MAX];
    uint8_t cuts; /* the writer may raise G to this unasked; above only when something waits */
    uint8_t crashes;
    uint8_t clock;       /* time goes up to this */
    uint8_t clock_backs; /* how often it may be set back by one */
    uint8_t checkpoints; /* how many may begin */
    bool damage;         /* a crash may leave the newest checkpoint unreadable */
    bool disk;           /* a frame is written, then synced; a crash may keep what was not synced */
    bool records;        /* requests have ids: recorded, and sent again after a crash */
    bool tail;           /* a root's last call gives the decision to its callee */
    bool parks;          /* shards may park; they begin parked */
    bool fine_seal;      /* sealing and the writer read one word a step */
    bool fine_rings;     /* tail and mark are published one a step */
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
    uint8_t line, fail; /* CALL, ANSWER: of the transaction; ANSWER: as in its record */
};
struct ring {
    uint8_t mark, count, published;
    struct message slots[RING_MAX];
};

/* TAIL: the decision is this record's; COMMITTED, of an answer: it was made. */
enum record_flag {
    RECORD_PRESENT = 1,
    RECORD_CANCELLED = 2,
    RECORD_FAILED = 4,
    RECORD_TAIL = 8,
    RECORD_COMMITTED = 16,
    RECORD_DIED = 32,
    RECORD_IN_TURN = 64 /* calls met: the next attempt makes them in turn */
};
#define CALL_TAIL 0x80u
/* What one shard knows of one attempt. */
struct record {
    uint8_t flags;
    uint8_t parts; /* shards below that hold a record */
    uint8_t read;  /* newest epoch read */
    uint8_t sends; /* messages, by delivering transaction */
    uint8_t fail;  /* FAILED: 1 + the place of the part in which it came; 1: in none */
};

enum txn_phase { TXN_NEW, TXN_LIVE, TXN_REPLIES, TXN_DONE, TXN_LOST };
/* Of the innermost frame. */
enum frame_state {
    FRAME_NONE,
    FRAME_READY,
    FRAME_WAITS_LOCK,
    FRAME_CALL_SENT,
    FRAME_ANSWER_SENT,
    FRAME_WAITS_ALL
};
struct frame {
    uint8_t handler, pc;
};
/* Handlers that wait for each other. Of a call that is out the first frames are copies of those above it. */
struct line {
    uint8_t depth, state;
    struct frame frames[DEPTH_MAX];
    uint8_t answers_from; /* FRAME_ANSWER_SENT: the shard it comes from */
    uint8_t turn;         /* place << 1 | out; of the first line: of what its owner does, 0 outside */
    uint8_t ended;        /* 1: well, 2: not */
};
struct txn {
    uint8_t phase, attempt, age;
    struct line line;           /* the one that the steps work on */
    struct line out[OUTS_MAX];  /* calls that are out */
    uint8_t at;                 /* which it is: 0, or that of out[at - 1], where the first one is then */
    uint8_t base;               /* frames above calls that are out */
    uint8_t in_turn;            /* calls are made in turn */
    uint8_t disorder;           /* for the checks: what was seen or changed is not as in turn */
    uint8_t seen_by[ENTITIES_MAX], changed_by[ENTITIES_MAX]; /* likewise: greatest place */
    uint8_t begin_epoch;
    uint8_t wait;     /* the reply leaves when this epoch is durable */
    uint8_t hinted;   /* message: 1 + how many of its pair were hinted before */
    uint8_t noop;     /* timer: its row was gone or not due, nothing happens */
    uint8_t now;      /* the time at which the attempt began */
    uint8_t replayed; /* its record was there: nothing happens again */
    uint8_t failed;
    uint8_t asleep;  /* it died, and waits for its root entity without being given it */
    uint8_t patient; /* it died before */
    uint8_t owed; /* mutants: the epoch of a tail-commit that is still to be told of */
    /* what no shard knows; for the checks only */
    uint8_t applied; /* decided, with effects, in epoch `commit` */
    uint8_t commit;
    uint8_t timer_seen;
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
    uint8_t readers[(IDS_MAX + 7) / 8]; /* who shares it, by id */
    uint8_t waiters; /* transactions */
    uint8_t version; /* 1 + the transaction that wrote it */
    uint8_t version_epoch;
    uint8_t access_epoch; /* newest epoch of any transaction that touched it; for the checks */
    uint8_t timer;        /* its row: (1 + who set it) << 4 | 1 + when it is due; 0: none */
    uint8_t timer_heap;   /* 1 + when it is due, in the shard's heap */
    uint8_t records;      /* request records, by transaction */
    uint8_t turn, turn_wrote; /* in which its owner locked it last, and whether it may have written */
    /* what the log says, by epoch; timers: TIMER_GONE or the row */
    uint8_t version_at[EPOCHS_MAX], timer_at[EPOCHS_MAX];
};
#define TIMER_GONE 0xff
#define TIMER_DUE(row) (uint8_t)(((row)&15u) - 1u)

/* A checkpoint: what its walks have seen. */
struct image {
    uint8_t begin;
    uint8_t version[ENTITIES_MAX], timer[ENTITIES_MAX], records[ENTITIES_MAX];
    uint8_t pending[SHARDS_MAX];
};
enum walk_at { WALK_NONE = 0, WALK_OVER = 0xff };
#define ZEROS 1
struct state {
    uint32_t log[SHARDS_MAX][EPOCHS_MAX]; /* effects of each transaction, LOG_... */
    uint8_t global, durable, wanted, crashes;
    uint8_t written,
        synced; /* frames in the file, and those that no crash takes; durable: as believed */
    uint8_t recovering; /* the unsynced tail is being made durable */
    uint8_t clock, clock_backs;
    /* checkpoints: the older, the newer, the one under way */
    uint8_t checkpoints, checkpoint_named, checkpoint_runs, log_from;
    uint8_t walk_at[SHARDS_MAX], walk_begin[SHARDS_MAX], walk_end[SHARDS_MAX];
    struct image images[3];
    uint8_t writer_state[SHARDS_MAX], writer_done[SHARDS_MAX];
    struct shard shards[SHARDS_MAX];
    struct entity entities[ENTITIES_MAX];
    struct txn txns[TXNS_MAX];
    struct record records[IDS_MAX][SHARDS_MAX];
    struct ring rings[SHARDS_MAX][SHARDS_MAX]; /* [from][to] */
    uint8_t zero[ZEROS];                       /* keeps the size a multiple of 4 */
};
#define LOG_WROTE(t) (1u << (t))
#define LOG_PUT(t) (1u << (5 + (t)))      /* the message that t delivers is sent */
#define LOG_DELETED(t) (1u << (10 + (t))) /* it is delivered */
#define LOG_RECORD(t) (1u << (15 + (t)))
#define LOG_SET(t) (1u << (20 + (t)))  /* t sets a timer */
#define LOG_GONE(t) (1u << (25 + (t))) /* the timer that t has set fires, is moved or cancelled */

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
    STEP_SYNC,
    STEP_RELEASE,
    STEP_WAKE,
    STEP_CLOCK,
    STEP_CLOCK_BACK,
    STEP_CHECKPOINT,
    STEP_WALK,
    STEP_NAME,
    STEP_REHOME,
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
    uint64_t retries, failures, replays, fired, cancelled, tails, tails_wounded, deaths, shared;
    uint64_t outs, in_turn; /* states with two calls out; attempts in turn */
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
