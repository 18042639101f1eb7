/*
 * history_app.h - the application whose histories the checker judges, in C: accounts, lists, registers, and a
 * service that runs up to eight operations on them in one transaction.
 *
 * The same application in Lua: history.lua. An account keeps `seq`, raised at each change, so that the order of
 * changes of each account can be read from the answers.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_HISTORY_APP_H
#define WEIR_TESTS_HISTORY_APP_H

#include "weir/weir.h"

enum op_kind { OP_APPEND, OP_READ, OP_WRITE, OP_GET, OP_TRANSFER, OP_AUDIT, OP_CYCLE };

/* More of them, which the simulator's own run does not take. */
enum step_kind {
    STEP_COUNT = OP_CYCLE + 1, /* a source counts, and proves what it counted before */
    STEP_TALLY,                /* reads what it counted */
    STEP_SEND,                 /* a message: `to` appends later */
    STEP_LATER,                /* a timer: `key` appends later */
    STEP_BOTH,                 /* weir.all: reads two accounts */
    STEP_TURN,                 /* turns three pointers of a ring */
    STEP_WALK                  /* walks the ring: its length */
};
#define HISTORY_RING 8

struct op {
    int64_t kind;         /* enum op_kind or step_kind */
    struct weir_str key;  /* of the list, register or account */
    struct weir_str to;   /* transfer and cycle: the other account */
    int64_t value;        /* appended, written, or the amount */
};
struct op_result {
    int64_t a, b, c, d;   /* append: new length; write: previous; transfer: from seq, from before, to seq, to before;
                             get: value; audit: seq, balance; count: how many; both: seq, balance twice;
                             turn, walk: length of the ring */
    struct weir_list items; /* read, tally */
};
struct ops {
    struct weir_list ops;
};

#define HISTORY_BALANCE 1000

extern const struct weir_shape history_ops_shape, history_results_shape;
enum weir_status history_app(struct weir_app *app);

#endif
