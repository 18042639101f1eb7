/*
 * scenarios.c - small configurations; each is explored completely.
 *
 * Entities are A, B, C, D. A handler's line reads: entity, writes, timer role, what it does. The order of
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
#define FAIL                                                                                       \
    {                                                                                              \
        OP_FAIL, 0                                                                                 \
    }

const struct scenario scenarios[] = {
    {
        .name = "opposite", .text = "A calls B against B calls A, on two shards",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2,
    },
    {
        .name = "crossing", .text = "A calls B and C calls D, crosswise over two shards, no conflict",
        .shards = 2, .entities = 4, .txns = 2, .entity_shard = { 0, 1, 1, 0 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { C, true, 0, { CALL(3) } }, { D, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2,
    },
    {
        .name = "undo", .text = "A calls B, against C that calls B, then A; one crash",
        .shards = 2, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { C, true, 0, { CALL(3), CALL(4) } }, { B, true, 0, { { 0 } } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "cycle", .text = "A calls B calls A, against B calls A; then a reader of both",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { CALL(2) } }, { A, true, 0, { { 0 } } },
            { B, true, 0, { CALL(4) } }, { A, true, 0, { { 0 } } },
            { B, false, 0, { CALL(6) } }, { A, false, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 }, { .handler = 5 } },
    },
    {
        .name = "chain", .text = "A calls B calls C over three shards, against C calls B",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { C, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { A, true, 0, { CALL(3) } }, { B, true, 0, { CALL(4) } }, { C, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 1,
    },
    {
        .name = "relay", .text = "A calls B calls C over three shards while epochs are cut",
        .shards = 3, .entities = 3, .txns = 1, .entity_shard = { 0, 1, 2 },
        .handlers = { { A, true, 0, { CALL(1) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 } },
        .cuts = 3,
    },
    {
        .name = "ring3", .text = "A calls B, B calls C, C calls A, each its own transaction and shard",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(5) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "ring3on2", .text = "the same three on two shards",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(5) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "stream", .text = "three transactions after two entities, in turn and against it",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { A, true, 0, { { 0 } } },
            { A, true, 0, { CALL(5) } }, { B, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "queue", .text = "two roots on B, the older wounded by a third: their order stays",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { A, true, 0, { { 0 } } },
            { B, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
    },
    {
        .name = "epochs", .text = "A calls B, with writers of B and A alone, while epochs are cut",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 3,
    },
    {
        .name = "reads", .text = "a writer of A and B; a reader of B through A; a failure seen through B",
        .shards = 2, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { C, false, 0, { CALL(3) } }, { B, false, 0, { { 0 } } },
            { C, true, 0, { CALL(5) } }, { B, true, 0, { FAIL } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "rings", .text = "A calls B with every published word a step of its own",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2, .after = 0 } },
        .cuts = 3, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "park", .text = "A calls B and later B alone, on shards that park; words one by one",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "park_reader", .text = "the same, but A only reads: its shard parks right after COMMIT",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, false, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true, .crashes = 1,
    },
    {
        .name = "words", .text = "A calls B against B alone: shards park, every shared word is a step of its own",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 3, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "words_opposite", .text = "A calls B against B calls A, parking, every word a step",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "words_message", .text = "A sends to B, which calls A; parking, every word a step, one crash",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, 0, { SEND(1) } }, { B, true, 0, { CALL(2) } }, { A, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "park3", .text = "A calls B calls C on three shards that park",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 2, .parks = true, .fine_seal = true,
    },
    {
        .name = "park_message", .text = "A sends to B, on shards that park",
        .shards = 2, .entities = 2, .txns = 2, .entity_shard = { 0, 1 },
        .handlers = { { A, true, 0, { SEND(1) } }, { B, true, 0, { { 0 } } } },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "message", .text = "A sends to B and calls it; the message calls A; B calls A; one crash at any time",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { SEND(1), CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { A, true, 0, { { 0 } } },
            { B, true, 0, { CALL(5) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2, .sender = 1 }, { .handler = 4 } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "message_relay", .text = "A sends to B, whose handler calls C, and calls C itself; three shards",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { SEND(1), CALL(2) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 } },
        .cuts = 3, .crashes = 1,
    },
    {
        .name = "pair", .text = "two transactions on A each send to B, whose handler calls A back",
        .shards = 2, .entities = 3, .txns = 4, .entity_shard = { 0, 1, 0 },
        .handlers = {
            { A, true, 0, { SEND(2) } }, { A, true, 0, { SEND(3) } },
            { B, true, 0, { CALL(3) } }, { C, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1 }, { .handler = 2, .sender = 1 }, { .handler = 2, .sender = 2 } },
        .crashes = 1,
    },
    {
        .name = "timer", .text = "a timer of A comes due twice while a transaction cancels it; one crash",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, TIMER_FIRES, { CALL(2) } }, { A, true, TIMER_CANCELS, { { 0 } } }, { B, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 0 }, { .handler = 1 } },
        .cuts = 1, .crashes = 1,
    },
    {
        .name = "conflicts", .text = "ring3, and a reader of A and B once the first was answered",
        .shards = 3, .entities = 3, .txns = 4, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(5) } }, { A, true, 0, { { 0 } } },
            { A, false, 0, { CALL(7) } }, { B, false, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 }, { .handler = 6, .after = 1 } },
    },
    {
        .name = "epochs3", .text = "A calls B and C calls B, on three shards, while epochs are cut; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { C, true, 0, { CALL(1) } }, { B, false, 0, { FAIL } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "message3", .text = "A sends to B and calls C; B's handler calls C; C calls A; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { SEND(1), CALL(2) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(4) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 3 } },
        .cuts = 2, .crashes = 1,
    },
    {
        .name = "words3", .text = "words with a reader of A",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } }, { A, false, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 2, .parks = true, .fine_seal = true, .fine_rings = true,
    },
    {
        .name = "park4", .text = "park3 with one more cut",
        .shards = 3, .entities = 3, .txns = 2, .entity_shard = { 0, 1, 2 }, .large = true,
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 3 } },
        .cuts = 3, .parks = true, .fine_seal = true,
    },
    {
        .name = "conflicts_cut", .text = "ring3 while epochs are cut and shards park; one crash",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } },
            { B, true, 0, { CALL(3) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(5) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 4 } },
        .cuts = 2, .parks = true, .crashes = 1,
    },
    {
        .name = "words4", .text = "words3 with one more cut and a crash",
        .shards = 2, .entities = 2, .txns = 3, .entity_shard = { 0, 1 }, .large = true,
        .handlers = {
            { A, true, 0, { CALL(1) } }, { B, true, 0, { { 0 } } }, { B, true, 0, { { 0 } } }, { A, false, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 2 }, { .handler = 3 } },
        .cuts = 3, .parks = true, .fine_seal = true, .fine_rings = true, .crashes = 1,
    },
    {
        .name = "message_park", .text = "message3 with one more cut, on shards that park",
        .shards = 3, .entities = 3, .txns = 3, .entity_shard = { 0, 1, 2 },
        .handlers = {
            { A, true, 0, { SEND(1), CALL(2) } }, { B, true, 0, { CALL(2) } }, { C, true, 0, { { 0 } } },
            { C, true, 0, { CALL(4) } }, { A, true, 0, { { 0 } } },
        },
        .clients = { { .handler = 0 }, { .handler = 1, .sender = 1 }, { .handler = 3 } },
        .cuts = 3, .crashes = 1, .parks = true,
    },
};
const size_t scenario_count = sizeof(scenarios) / sizeof(scenarios[0]);
