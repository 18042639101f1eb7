/*
 * box_app.h - the application whose effects must happen exactly once: boxes send numbered messages, set numbered timers,
 * emit numbered events, ask outside; things are made and deleted; clocks are called at times.
 *
 * A receiver keeps each (sender, number) in a map and counts a second one, and each that comes out of order. An event
 * { to, n } gets its number from the box `to`, called in the same transaction on whatever shard: so for each box the
 * numbers say in which order the transactions came, and its follower must be told 1, 2, 3 ... Events from outside
 * carry who emitted them and must come in that one's order. A thing that is made again must find nothing of its earlier
 * life: no map row, no timer.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_BOX_APP_H
#define WEIR_TESTS_BOX_APP_H

#include "weir/weir.h"

/* How the handlers behave; set before the engine starts, the same for all shards. */
struct box_plan {
    uint64_t fail_one_in;  /* deliveries and timers that fail now and then; 0: none */
    int64_t delay_max_ms;  /* of timers */
    int64_t timer_step_ms; /* they are due at multiples of it: many meet */
    bool streams, asks, schedules;
    bool hooks;            /* some asks have no handler for their answer */
    const char *keep;      /* of the stream */
    bool latest;           /* it is kept so: some events end their key */
    bool slow;             /* its follower reaches for another box: it falls behind */
    const char *every;     /* of the schedules */
    int64_t every_ms;      /* the same as a number */
    int64_t timeout_ms, give_up_ms; /* of asks */
    void (*clock_back)(int64_t ms); /* a timer's handler sets the clock back; NULL: none does */
};
extern struct box_plan box_plan;

/* Sums are made of its members: whole numbers all. */
struct box {
    int64_t sent, received, set, fired, done, duplicates, disorder, early, refused, balked;
    int64_t numbered, followed, heard, shunned; /* events: asked for here, followed, from outside, always refused */
    int64_t nudged;                             /* timers that are moved and cancelled: those still set */
    int64_t asked, told, doubtful, hooked;      /* asks, answers, those that may have happened, those without answer */
};
struct box_act {
    struct weir_ref to;
    int64_t messages, timers;
    int64_t refused; /* messages, timers and events whose handlers always fail */
    int64_t events, asks;
};
struct box_note {
    struct weir_ref to;
    int64_t n;
    int64_t by; /* 0: a box; else a client, and n is its own number */
    bool gone;  /* it ends its key, for a stream kept as latest */
};
extern struct weir_stream box_stream;
struct clock_row {
    int64_t count, last, wrong;
};
#define THING_KEYS 6
struct thing_put {
    int64_t key, value;
};
struct thing_scan {
    int64_t generation, count, sum, stale, ticks;
};

enum weir_status box_app(struct weir_app *app);

#endif
