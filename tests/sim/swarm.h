/*
 * swarm.h - what the files of the simulator's program share: the plan of a seed, its clients, its world.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_SWARM_H
#define WEIR_TESTS_SWARM_H

#include <stdio.h>

#include "../harness/box_app.h"
#include "../harness/history_app.h"
#include "core/app.h"
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
    uint32_t clients, lives;
    uint64_t txns;
    /* faults */
    bool crash, kill, tidy, chances, disk_full, clock, rot;
    struct sim_faults faults, rot_faults;
    bool flip;
    /* limits */
    struct engine_limits limits;
    struct store_options store;
    uint32_t ring_capacity;
    bool short_window; /* request records expire: they are used only shortly after they were made */
};

enum client_kind { C_WORK, C_ACT, C_THING, C_QUERY, C_REPLAY, C_MISUSE, C_READ, C_LOOK_BOX, C_LOOK_THING };
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
    /* the client's thing, as it must be */
    enum thing_op thing_op;
    struct thing_put put;
    bool exists;
    int64_t generation, values[THING_KEYS];
    char text[64];
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
    const struct handler *thing[5];
    FILE *history;
    char *history_text;
    size_t history_len;
    uint64_t begun, acts, target, settled_target;
    uint64_t ok, failed, refused, unknown, replays;
    uint64_t commits, multi, wounds, checkpoints, delivered, fired, opens, open_failures, poisons, rot_found, rot_cut;
    uint32_t shards, busy;
    bool stop, quiet_wanted, final, silent; /* silent: nothing new is asked */
    uint64_t final_next, pause_until_ns;
    int64_t clock_offset_ms;
    uint64_t disk_limit_until_ns;
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
/** Requests that the end of a life left unanswered. */
void clients_lost(struct world *w);
void history_close(struct world *w);

#endif
