/*
 * box_app.h - the application whose effects must happen exactly once: boxes send numbered messages and set numbered
 * timers, things are made and deleted.
 *
 * A receiver keeps each (sender, number) in a map and counts a second one, and each that comes out of order. A thing
 * that is made again must find nothing of its earlier life: no map row, no timer.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_BOX_APP_H
#define WEIR_TESTS_BOX_APP_H

#include "weir/weir.h"

/* How the handlers behave; set before the engine starts, the same for all shards. */
struct box_plan {
    uint64_t fail_one_in;  /* deliveries and timers that fail now and then; 0: none */
    int64_t delay_max_ms;  /* of timers */
};
extern struct box_plan box_plan;

struct box {
    int64_t sent, received, set, fired, done, duplicates, disorder, early, refused, balked;
};
struct box_act {
    struct weir_ref to;
    int64_t messages, timers;
    int64_t refused; /* messages and timers whose handlers always fail */
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
