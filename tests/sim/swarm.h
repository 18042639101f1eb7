/*
 * swarm.h - what the files of the simulator's program share: the plan of a seed, its clients, its world.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_SWARM_H
#define WEIR_TESTS_SWARM_H

#include <stdio.h>

#include "../harness/box_app.h"
#include "../harness/history_app.h"
#include "connect/asks.h"
#include "core/app.h"
#include "core/feed.h"
#include "core/group.h"
#include "model.h"
#include "os/sim.h"

#define CLIENTS_MAX 24
#define ACCOUNTS 10
#define LISTS 6
#define REGS 6
#define BOXES 8
#define LIST_AGE 150 /* transactions before lists get new names, so that they stay short */
#define RESULTS_MAX 65536
#define SECOND_NS UINT64_C(1000000000)

/* What a seed does, drawn from it before anything runs. */
struct plan {
    /* work */
    bool kinds[8]; /* of history operations, by enum op_kind */
    bool work, direct, box, thing, query, ids, misuse, refused, pauses;
    bool streams, group, asks, schedules, keep_bytes; /* keep_bytes: retention takes events, by size or age */
    bool latest;                                      /* the stream is compacted by key */
    uint32_t windows;                                 /* which windows and joins there are: windows.c */
    const char *windows_keep;                         /* of their sources */
    int64_t windows_pace;                             /* event time from one request to the next */
    struct outside_limits outside;
    uint64_t event_block_bytes, event_file_bytes, event_cache_bytes;
    uint32_t clients, lives;
    uint64_t txns;
    /* faults */
    bool crash, kill, tidy, chances, disk_full, clock, rot, cut;
    struct sim_faults faults, rot_faults;
    bool flip;
    /* limits */
    struct engine_limits limits;
    enum conflict_policy policy;
    struct store_options store;
    uint32_t ring_capacity;
    bool short_window; /* request records expire: they are used only shortly after they were made */
};

/* From C_READ on: of the last phase. */
enum client_kind { C_WORK, C_ACT, C_THING, C_QUERY, C_REPLAY, C_MISUSE, C_EMIT, C_SCHEDULE, C_PARKED, C_FLASH, C_MEDDLE, C_MOVE, C_READ, C_LOOK_BOX, C_LOOK_THING, C_LOOK_CLOCK, C_LOOK_PARKED, C_END };
enum schedule_op { SCHEDULE_RUN, SCHEDULE_PAUSE, SCHEDULE_RESUME };
enum how { HOW_RUN, HOW_LOOK, HOW_TRANSFER };
enum thing_op { THING_MAKE, THING_PUT, THING_DROP, THING_LOOK, THING_UNMAKE };

struct client {
    struct request request;
    bool busy;    /* in the engine */
    bool pending; /* its intention is not settled: it is sent again, under the same id */
    enum client_kind kind;
    uint64_t start, number, again_ns; /* again: not before */
    bool with_id;
    /* history operations */
    enum how how;
    struct ops ops;
    struct op list[8];
    char names[16][24];
    struct {
        struct weir_ref to;
        int64_t amount;
    } move;
    /* boxes */
    struct box_act act;
    /* events from outside: numbers of the client's own */
    struct box_note notes[4];
    struct weir_list batch;
    int64_t emitted;
    enum schedule_op schedule_op;
    struct parked_request parked;
    /* the client's thing, as it must be */
    enum thing_op thing_op;
    struct thing_put put;
    bool exists;
    int64_t generation, values[THING_KEYS];
    char text[64];
};

/* ---- flows.c ---- */

#define CONSUMERS 3
#define TAKE_MAX 16
#define FACTS 16384u
#define PAID 8192u

struct consumer {
    struct request request;
    struct feed_read read;
    bool busy, reading, idle;
    bool fresh; /* its history is not read yet */
    uint64_t again_ns;
    enum group_op op;
    struct group_args args;
    struct event_id at, ids[TAKE_MAX], had[TAKE_MAX];
    size_t had_count;
};
/* What is known of an event from outside. */
struct fact {
    struct event_id id;
    uint32_t taken, acked;
    bool doubt; /* an acknowledgement was asked for and not answered */
};
struct paid {
    uint64_t what, id; /* hashes */
};
/* The newest event of each key, as read or as the log has it. */
struct newest {
    uint64_t key; /* hash; 0: free */
    struct event_id id;
    bool gone;
};
#define NEWEST 4096u
/* An event of the sources of windows. */
struct move {
    struct weir_str key;
    int64_t n, at;
};
struct flows {
    struct feed_read read, side;
    bool reading, read_over, siding;
    struct event_id read_at, some;
    int64_t seen[BOXES];
    uint64_t read_total, again_ns;
    struct newest newest[NEWEST]; /* of the last pass of the reader */
    unsigned passes;
    uint16_t stream_id;
    char side_key[8];
    bool created, group_over;
    struct consumer consumers[CONSUMERS];
    struct fact facts[FACTS];
    uint32_t fact_count;
    struct outside_fake *bank;
    struct asks *asks;
    struct paid paid[PAID];
    uint64_t attempts;
};

struct world {
    uint64_t seed;
    struct plan plan;
    uint64_t draw; /* of the plan */
    struct sim *sim;
    struct env *env;
    struct model *model;
    struct weir_app app;
    struct engine *engine;
    struct port *port;
    struct actor actor;
    struct client clients[CLIENTS_MAX];
    const struct handler *work[3], *act, *box_look; /* work: by enum how */
    const struct handler *clock_look, *flash, *meddle, *schedule[3]; /* schedule: by enum schedule_op */
    struct flows flows;
    struct windows *windows;
    uint64_t window_rows, window_late;
    uint64_t emitted, pushed, given_up;
    int64_t shunned[BOXES]; /* of each box: what it did that always fails */
    bool napping;
    int64_t parked_seen, hooks_parked, born_ms, opened_ms;
    uint64_t final_boxes, ticks;
    const struct handler *thing[5];
    FILE *history;
    char *history_text;
    size_t history_len;
    uint64_t begun, acts, target, settled_target;
    uint64_t ok, failed, refused, unknown, replays;
    uint64_t commits, multi, tails, wounds, deaths, checkpoints, delivered, fired, opens, open_failures, poisons, rot_found, rot_cut;
    uint32_t shards, busy;
    bool stop, quiet_wanted, final, silent; /* silent: nothing new is asked */
    uint64_t final_next, pause_until_ns;
    int64_t clock_offset_ms;
    uint64_t disk_limit_until_ns;
    uint32_t refused_steps;
    struct box sum;
    int64_t results[RESULTS_MAX];
    bool result_known[RESULTS_MAX];
    bool faults_on; /* in this life */
    bool calm;      /* no faults, long deadlines: nothing may time out */
    char again[200];
};

/* ---- swarm.c ---- */
uint64_t plan_draw(struct world *w, uint64_t n);
__attribute__((noreturn, format(printf, 2, 3))) void wrong(struct world *w, const char *format, ...);

/* ---- clients.c ---- */
uint64_t clients_turn(void *self);
bool not_applied(enum weir_status st);
int64_t held_back(const struct world *w);
#define CLOCKS 5u
extern const char *const clock_names[CLOCKS]; /* of schedules */
/** Requests that the end of a life left unanswered. */
void clients_lost(struct world *w);
void history_close(struct world *w);

/* ---- flows.c ---- */
void flows_begin(struct world *w);
void flows_turn(struct world *w, bool open);
void flows_final(struct world *w);
bool flows_over(const struct world *w);
bool flows_quiet(const struct world *w); /* no read and no request is on its way */
void flows_lost(struct world *w);
void flows_judge(struct world *w);
void consumer_done(struct world *w, struct consumer *c);
void judge_item(struct world *w, const struct stream *stream, const struct feed_item *item);
void bank_open(struct world *w);
void bank_close(struct world *w, bool whole);

/* ---- windows.c ---- */
struct windows *windows_create(void);
void windows_destroy(struct windows *windows);
uint32_t windows_draw(uint64_t draw); /* some of them */
enum weir_status windows_app(struct world *w);
bool windows_intend(struct world *w, struct client *c);
/** Sets the arguments of the client's batch, which follow from its number. */
const struct handler *windows_batch(struct world *w, struct client *c);
void windows_batch_done(struct world *w, const struct client *c);
extern const uint32_t windows_ends; /* streams that end */
const struct handler *windows_end(struct world *w, struct client *c);
void windows_end_done(struct world *w, const struct client *c);
void windows_turn(struct world *w);
bool windows_owns(const struct world *w, const struct feed_read *read);
void windows_take(struct world *w);
bool windows_over(const struct world *w);

#endif
