/*
 * doors.h - the net room and the whole engine in the simulated world, with sockets that hand out bytes in chosen pieces.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_FUZZ_DOORS_H
#define WEIR_TESTS_FUZZ_DOORS_H

#include "fuzz.h"
#include "net/net_int.h"

#define PIECES_MAX 4096u

/* How an input is cut: after each of `cuts` bytes in turn, the last for ever. Nothing: one piece. */
struct pieces {
    const uint8_t *cuts;
    size_t count;
};

struct sim;
struct weir_app;

/** Opens an engine with the application that `build` makes, and both doors, in the simulator's world; one at a time. After a
 *  simulated crash it may be opened again. False with *error. */
bool doors_open(struct sim *sim, enum weir_status (*build)(struct weir_app *app), struct engine_options options,
                struct net_limits limits, char error[512]);
/** Answers what was asked, and stops as the program does. */
void doors_close(void);
/** Lets the world run on its own for so long. */
void doors_wait(uint64_t ns);
/** A fresh connection sends the bytes and then its end; `answer` is what it gets until it is closed. */
void doors_talk(enum door door, struct weir_str bytes, struct pieces pieces, struct buf *answer);
/**
 * The same bytes whole and in pieces must be answered the same. Where the answer depends on what else the engine did
 * (figures, records of requests), it is not compared. The answer to the whole is left in `answer`.
 */
void doors_compare(enum door door, struct weir_str bytes, struct pieces pieces, struct buf *answer);

#endif
