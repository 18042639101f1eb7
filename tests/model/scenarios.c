/*
 * scenarios.c - small configurations; each is explored completely.
 *
 * Entities are A, B, C, D. A handler's line reads: entity, writes, what it does. The order of
 * transactions in a scenario is their age, oldest first.
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

enum { A, B, C, D };
#define CALL(h)                                                                                    \
    {                                                                                              \
        OP_CALL, h                                                                                 \
    }
#define SEND(t)                                                                                    \
    {                                                                                              \
        OP_SEND, t                                                                                 \
    }
#define SET(d)                                                                                     \
    {                                                                                              \
        OP_SET, d                                                                                  \
    }
#define UNSET                                                                                      \
    {                                                                                              \
        OP_UNSET, 0                                                                                \
    }
#define OUT(h)                                                                                     \
    {                                                                                              \
        OP_OUT, h                                                                                  \
    }
#define PART(h)                                                                                    \
    {                                                                                              \
        OP_PART, h                                                                                 \
    }
#define FAIL                                                                                       \
    {                                                                                              \
        OP_FAIL, 0                                                                                 \
    }

const struct scenario scenarios[] = {
    {
        .name = "opposite", .text = "A calls B against B calls A, on two shards",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2,
    },
    {
        .name = "crossing", .text = "A calls B and C calls D, crosswise over two shards, no conflict",
        .shards = 2, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { C, true, { CALL(3) } }, { D, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2,
    },
    {
        .name = "undo", .text = "A calls B, against C that calls B, then A; one crash",
        .shards = 2, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { C, true, { CALL(3), CALL(4) } }, { B, true, { { 0 } } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "cycle", .text = "A calls B calls A, against B calls A; then a reader of both",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { A, true, { { 0 } } },
            { B, true, { CALL(4) } }, { A, true, { { 0 } } },
            { B, false, { CALL(6) } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 }, { .handler = 5 } },
    },
    {
        .name = "chain", .text = "A calls B calls C over three shards, against C calls B",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { C, true, { CALL(1) } }, { B, true, { { 0 } } },
            { A, true, { CALL(3) } }, { B, true, { CALL(4) } }, { C, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 1,
    },
    {
        .name = "relay", .text = "A calls B calls C over three shards while epochs are cut",
        .shards = 3, .entities = 3, .txns = 1, .entity_shard = { 0, 1, 2 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } } },
        .clients = { { .handler = 0 } },
        .cuts = 3,
    },
    {
        .name = "ring3", .text = "A calls B, B calls C, C calls A, each its own transaction and shard",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "ring3on2", .text = "the same three on two shards",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "stream", .text = "three transactions after two entities, in turn and against it",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { A, true, { CALL(5) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "queue", .text = "two roots on B, the older wounded by a third: their order stays",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "die_opposite", .text = "A calls B against B calls A; the younger dies; one crash",
        .policy = POLICY_WAIT_DIE, .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "die_ring3", .text = "A calls B, B calls C, C calls A on three shards; the younger dies",
        .policy = POLICY_WAIT_DIE, .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "die_queue", .text = "A calls C, then B; B calls C; C calls D: two that hold locks wait for C",
        .policy = POLICY_WAIT_DIE, .shards = 2, .entities = 4, .txns = 3, .entity_shard = { 0, 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1), CALL(2) } }, { C, true, { { 0 } } }, { B, true, { { 0 } } },
            { B, true, { CALL(1) } },
            { C, true, { CALL(5) } }, { D, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 }, { .handler = 4 } },
    },
    {
        .name = "die_order", .text = "two roots on B, the older dies at A: their order stays while it sleeps",
        .policy = POLICY_WAIT_DIE, .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "die_far", .text = "A calls B calls C over three shards, against C calls B: death below is told",
        .policy = POLICY_WAIT_DIE, .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { C, true, { CALL(1) } }, { B, true, { { 0 } } },
            { A, true, { CALL(3) } }, { B, true, { CALL(4) } }, { C, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 1,
    },
    {
        .name = "die_message", .text = "A sends to B and calls it; the message calls A; B calls A; the younger dies",
        .policy = POLICY_WAIT_DIE, .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { SEND(1), CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2, .sender = 1 }, { .handler = 4 } },
        .cuts = 1,
    },
    {
        .name = "no_wait_opposite", .text = "A calls B against B calls A; who comes second dies, once",
        .policy = POLICY_NO_WAIT, .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2,
    },
    {
        .name = "no_wait_ring3", .text = "A calls B, B calls C, C calls A on two shards; who comes second dies, once",
        .policy = POLICY_NO_WAIT, .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "no_wait_order", .text = "the two roots on B, one of which calls A, under no_wait",
        .policy = POLICY_NO_WAIT, .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "share_opposite", .text = "a reader of A and B; a writer of B and A; a reader of B and A",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, false, { CALL(1) } }, { B, false, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, false, { CALL(5) } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 2 }, { .handler = 0, .shares = true }, { .handler = 4, .shares = true } },
        .cuts = 2,
    },
    {
        .name = "share_younger", .text = "the same, the writer between two readers in age",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, false, { CALL(1) } }, { B, false, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, false, { CALL(5) } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0, .shares = true }, { .handler = 2 }, { .handler = 4, .shares = true } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "share_all", .text = "two readers of A and B; an older writer of C, B and A",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 1 },
        .handlers = {
            { A, false, { CALL(1) } }, { B, false, { { 0 } } },
            { C, true, { CALL(3), CALL(4) } }, { B, true, { { 0 } } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 2 }, { .handler = 0, .shares = true }, { .handler = 0, .shares = true } },
        .cuts = 2,
    },
    {
        .name = "share_roots", .text = "readers of A and B, of B and A; writers of A alone and of B alone, older than both",
        .shards = 2, .entities = 2, .txns = 4, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { { 0 } } }, { B, true, { { 0 } } },
            { A, false, { CALL(3) } }, { B, false, { { 0 } } },
            { B, false, { CALL(5) } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1 }, { .handler = 2, .shares = true }, { .handler = 4, .shares = true } },
    },
    {
        .name = "share_cycle", .text = "a reader of A, B and A again; another; a writer of B alone, between them in age",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, false, { CALL(1) } }, { B, false, { CALL(2) } }, { A, false, { { 0 } } },
            { B, true, { CALL(4) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0, .shares = true }, { .handler = 3 }, { .handler = 0, .shares = true } },
    },
    {
        .name = "epochs", .text = "A calls B, with writers of B and A alone, while epochs are cut",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 3,
    },
    {
        .name = "reads", .text = "a writer of A and B; a reader of B through A; a failure seen through B",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { C, false, { CALL(3) } }, { B, false, { { 0 } } },
            { C, true, { CALL(5) } }, { B, true, { FAIL } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "rings", .text = "A calls B with every published word a step of its own",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2, .after = 0 } },
        .cuts = 3, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "park", .text = "A calls B and later B alone, on shards that park; words one by one",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "park_reader", .text = "the same, but A only reads: its shard parks right after COMMIT",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, false, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true, .crashes = 1,
    },
    {
        .name = "words", .text = "A calls B against B alone: shards park, every shared word is a step of its own",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "words_opposite", .text = "A calls B against B calls A, parking, every word a step",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "words_message", .text = "A sends to B, which calls A; parking, every word a step, one crash",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1) } }, { B, true, { CALL(2) } }, { A, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "park3", .text = "A calls B calls C on three shards that park",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 2, .parks = true, .fine_seal = true,
    },
    {
        .name = "park_message", .text = "A sends to B, on shards that park",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1) } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "message", .text = "A sends to B and calls it; the message calls A; B calls A; one crash at any time",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { SEND(1), CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { B, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2, .sender = 1 }, { .handler = 4 } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "message_relay", .text = "A sends to B, whose handler calls C, and calls C itself; three shards",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { SEND(1), CALL(2) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 3, .crashes = 1,
    },
    {
        .name = "pair", .text = "two transactions on A each send to B, whose handler calls A back",
        .shards = 2, .entities = 3, .txns = 4, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, { SEND(2) } }, { A, true, { SEND(3) } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1 }, { .handler = 2, .sender = 1 }, { .handler = 2, .sender = 2 } },
        .crashes = 1,
    },
    {
        .name = "timer", .text = "A sets its timer and calls B; it fires and calls B; another cancels it; one crash",
        .shards = 2, .entities = 2, .txns = 4, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { SET(0), CALL(3) } }, { A, true, { UNSET } }, { A, true, { CALL(3) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1 }, { .handler = 2, .fires = true }, { .handler = 2, .fires = true } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "timer_move", .text = "a timer that is due is moved to later while it fires; one crash",
        .shards = 2, .entities = 2, .txns = 4, .entity_shard = { 0, 1 },
        .handlers = {
            { A, false, { SET(0) } }, { A, false, { SET(1) } }, { A, true, { CALL(3) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1 }, { .handler = 2, .fires = true }, { .handler = 2, .fires = true } },
        .crashes = 1, .clock = 2,
    },
    {
        .name = "timer_again", .text = "a timer that sets itself anew for the same moment, and another that does not",
        .shards = 2, .entities = 2, .txns = 4, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SET(1) } }, { A, true, { SET(0) } }, { A, true, { { 0 } } }, { B, true, { CALL(4) } }, { A, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 3 }, { .handler = 1, .fires = true }, { .handler = 2, .fires = true } },
        .crashes = 1, .clock = 1,
    },
    {
        .name = "timer_clock", .text = "a timer's root is wounded, and the clock set back before it runs again",
        .shards = 2, .entities = 2, .txns = 4, .entity_shard = { 0, 1 },
        .handlers = {
            { B, true, { CALL(1) } }, { A, true, { { 0 } } }, { A, false, { SET(1) } }, { A, true, { CALL(4) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3, .fires = true }, { .handler = 3, .fires = true } },
        .clock = 1, .clock_backs = 1,
    },
    {
        .name = "disk", .text = "A calls B, a reader of both; frames are written, then synced; two crashes, also in recovery",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, false, { CALL(3) } }, { A, false, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 2, .disk = true, .records = true,
    },
    {
        .name = "disk_message", .text = "A sends to B, whose handler calls A; frames are written, then synced; two crashes",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1) } }, { B, true, { CALL(2) } }, { A, true, { { 0 } } }, { B, true, { CALL(2) } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 3 } },
        .cuts = 1, .crashes = 2, .disk = true, .records = true,
    },
    {
        .name = "repeat", .text = "a reader of A that calls B, sent twice, against B calls A; two crashes",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = { { A, false, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { CALL(3) } }, { A, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 0, .repeats = 1 } },
        .cuts = 1, .crashes = 2, .records = true,
    },
    {
        .name = "checkpoint", .text = "A calls B, then B alone, under two checkpoints; a crash, the newest may be unreadable",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .crashes = 1, .checkpoints = 2, .damage = true,
    },
    {
        .name = "checkpoint_cut", .text = "the same while epochs are cut", .large = true,
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 1, .checkpoints = 2, .damage = true,
    },
    {
        .name = "checkpoint_undo", .text = "A calls B against B calls A under a checkpoint; two crashes",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 1, .crashes = 2, .checkpoints = 1,
    },
    {
        .name = "checkpoint_message", .text = "A sends to B and sets a timer under a checkpoint; requests have ids; two crashes",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1), SET(1) } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .crashes = 2, .checkpoints = 1, .records = true,
    },
    {
        .name = "checkpoint_timer", .text = "A sends to B and sets a timer under a checkpoint; it fires; one crash", .large = true,
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1), SET(0) } }, { B, true, { { 0 } } }, { A, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 2, .fires = true } },
        .crashes = 1, .checkpoints = 1, .records = true,
    },
    {
        .name = "checkpoint_disk", .text = "the same without the timer, on shards that park; frames are written, then synced",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, { SEND(1) } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 1, .crashes = 1, .checkpoints = 1, .records = true, .disk = true, .parks = true,
    },
    {
        .name = "tail", .text = "C calls B beside it; B ends in a call of A, against A ends in a call of B; one crash",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 1 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { CALL(3) } }, { A, true, { { 0 } } },
            { C, true, { CALL(1) } },
        },
        .clients = { { .handler = 4 }, { .handler = 2 }, { .handler = 0 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "tail_read", .text = "readers of A that end in a call of B, with writers and a failure; one crash",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { C, false, { CALL(3) } }, { B, false, { { 0 } } },
            { C, true, { CALL(5) } }, { B, true, { FAIL } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "tail_repeat", .text = "requests with ids that end in a call, one sent twice; two crashes",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 }, .tail = true,
        .handlers = { { A, false, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { CALL(3) } }, { A, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 0, .repeats = 1 } },
        .crashes = 2, .records = true,
    },
    {
        .name = "tail3", .text = "A calls B, then ends in a call of C, against C ends in a call of B; three shards",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1), CALL(2) } }, { B, true, { { 0 } } }, { C, true, { { 0 } } }, { C, true, { CALL(1) } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 2,
    },
    {
        .name = "tail_below", .text = "A ends in a call of B, which calls C, against C ends in a call of A; three shards",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } }, { C, true, { CALL(4) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 2,
    },
    {
        .name = "tail_cycle", .text = "A ends in a call of B, which calls A back, which calls B, against C that calls B beside it",
        .shards = 2, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 1 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { A, true, { CALL(3) } }, { B, true, { { 0 } } },
            { C, true, { CALL(3), CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 4 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "tail_hot", .text = "A and C end in a call of B, which calls D beside it, against D that ends in a call of A; one crash",
        .shards = 2, .entities = 4, .txns = 3, .entity_shard = { 0, 1, 0, 1 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(4) } }, { C, true, { CALL(1) } }, { D, true, { CALL(5) } },
            { D, true, { { 0 } } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 3 }, { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "tail_message", .text = "A sends to B, whose handler ends in a call of C; three shards; one crash",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 }, .tail = true,
        .handlers = { { A, true, { SEND(1) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "tail_wider", .text = "A sends to C and ends in a call of B, which sends to A and calls C",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 }, .tail = true,
        .handlers = {
            { A, true, { SEND(1), CALL(1) } }, { B, true, { SEND(2), CALL(2) } }, { C, true, { { 0 } } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2, .sender = 1 }, { .handler = 3, .sender = 1 } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "tail_wider3", .text = "A sends to C and ends in a call of B, which sends to A and calls C; C calls A; one crash", .large = true,
        .shards = 3, .entities = 3, .txns = 4, .entity_shard = { 0, 1, 2 }, .tail = true,
        .handlers = {
            { A, true, { SEND(1), CALL(1) } }, { B, true, { SEND(2), CALL(2) } }, { C, true, { { 0 } } },
            { C, true, { CALL(4) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2, .sender = 1 }, { .handler = 4, .sender = 1 }, { .handler = 3 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "all_wound", .text = "A calls C and B at the same time, younger than B that calls C; one crash",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { B, true, { CALL(2) } }, { B, true, { { 0 } } }, { C, true, { { 0 } } }, { A, true, { OUT(2), OUT(1) } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "all_opposite", .text = "A calls B and C at the same time, against C that calls A and B so",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { { 0 } } }, { C, true, { { 0 } } },
            { C, true, { OUT(4), OUT(1) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 1,
    },
    {
        .name = "all_die", .text = "the same under wait-die",
        .policy = POLICY_WAIT_DIE, .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { { 0 } } }, { C, true, { { 0 } } },
            { C, true, { OUT(4), OUT(1) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
    },
    {
        .name = "all_meet", .text = "A calls B and C at the same time, both of which call D; a reader of D",
        .shards = 3, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 2, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { CALL(3) } }, { C, true, { CALL(3) } }, { D, true, { { 0 } } },
            { D, false, { { 0 } } },
        },
        .clients = { { .handler = 4 }, { .handler = 0 } },
        .cuts = 1,
    },
    {
        .name = "all_read", .text = "A calls B and C at the same time, both of which read D; a writer of D and B",
        .shards = 3, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 2, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { CALL(3) } }, { C, true, { CALL(3) } }, { D, false, { { 0 } } },
            { D, true, { CALL(5) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 4 }, { .handler = 0 } },
    },
    {
        .name = "all_lock", .text = "A calls B and C at the same time, both of which call D, against D that calls B, older; two that wait for D",
        .shards = 3, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 2, 0 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { CALL(3) } }, { C, true, { CALL(3) } }, { D, true, { { 0 } } },
            { D, true, { CALL(5) } }, { C, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 4 } },
    },
    {
        .name = "all_part", .text = "A calls B, which calls C and D, and meanwhile D, which calls B, on its own shard",
        .shards = 3, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 2, 0 },
        .handlers = {
            { A, true, { OUT(1), PART(3) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } }, { D, true, { CALL(4) } },
            { B, true, { { 0 } } }, { C, true, { { 0 } } },
        },
        .clients = { { .handler = 5 }, { .handler = 0 } },
        .cuts = 1,
    },
    {
        .name = "all_back", .text = "A calls B and C at the same time; C calls A; a writer of C",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { { 0 } } }, { C, true, { CALL(3) } }, { A, true, { { 0 } } },
            { C, true, { { 0 } } },
        },
        .clients = { { .handler = 4 }, { .handler = 0 } },
    },
    {
        .name = "all_fail", .text = "A calls B, which calls C and fails, and D beside B, which fails at once; a reader of A",
        .shards = 3, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 2, 1 },
        .handlers = {
            { A, true, { OUT(1), OUT(3) } }, { B, true, { CALL(2), FAIL } }, { C, true, { { 0 } } }, { D, true, { FAIL } },
            { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 4 } },
        .cuts = 1,
    },
    {
        .name = "all_fail_above", .text = "A calls B, which calls C, which fails, and D beside A, which fails, too",
        .shards = 3, .entities = 4, .txns = 1, .entity_shard = { 0, 1, 2, 0 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { OUT(2), OUT(3) } }, { C, true, { FAIL } }, { D, true, { FAIL } },
        },
        .clients = { { .handler = 0 } },
    },
    {
        .name = "all_share", .text = "readers: A of B and C at the same time, B of A and C; an older writer of C and B",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, false, { OUT(1), OUT(2) } }, { B, false, { { 0 } } }, { C, false, { { 0 } } },
            { B, false, { OUT(4), OUT(2) } }, { A, false, { { 0 } } },
            { C, true, { CALL(6) } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 5 }, { .handler = 0, .shares = true }, { .handler = 3, .shares = true } },
    },
    {
        .name = "all_park", .text = "A calls B and C at the same time on shards that park, while epochs are cut; one crash",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { OUT(1), OUT(2) } }, { B, true, { { 0 } } }, { C, true, { { 0 } } }, { C, true, { CALL(1) } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 2, .parks = true, .crashes = 1,
    },
    {
        .name = "tail_check", .text = "A calls B and then fails; a root whose last call is not its last act",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 }, .tail = true,
        .handlers = { { A, true, { CALL(1), FAIL } }, { B, true, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1 } },
        .cuts = 1,
    },
    {
        .name = "tail_words", .text = "A ends in a call of B against B ends in a call of A; parking, every word a step",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 }, .tail = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, false, { { 0 } } }, { B, true, { CALL(3) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "conflicts", .text = "ring3, and a reader of A and B once the first was answered",
        .shards = 3, .entities = 3, .txns = 4, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
            { A, false, { CALL(7) } }, { B, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 }, { .handler = 6, .after = 1 } },
    },
    {
        .name = "epochs3", .text = "A calls B and C calls B, on three shards, while epochs are cut; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { C, true, { CALL(1) } }, { B, false, { FAIL } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "message3", .text = "A sends to B and calls C; B's handler calls C; C calls A; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { SEND(1), CALL(2) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } },
            { C, true, { CALL(4) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 3 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "words3", .text = "words with a reader of A",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "park4", .text = "park3 with one more cut",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 }, .large = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } }, { B, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "conflicts_cut", .text = "ring3 while epochs are cut and shards park; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } },
            { B, true, { CALL(3) } }, { C, true, { { 0 } } },
            { C, true, { CALL(5) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
        .cuts = 2, .parks = true, .crashes = 1,
    },
    {
        .name = "words4", .text = "words3 with one more cut and a crash",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 }, .large = true,
        .handlers = {
            { A, true, { CALL(1) } }, { B, true, { { 0 } } }, { B, true, { { 0 } } }, { A, false, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 3, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "message_park", .text = "message3 with one more cut, on shards that park",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, { SEND(1), CALL(2) } }, { B, true, { CALL(2) } }, { C, true, { { 0 } } },
            { C, true, { CALL(4) } }, { A, true, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 3 } },
        .cuts = 3, .crashes = 1, .parks = true,
    },
};
const size_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
