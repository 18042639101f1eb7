/*
 * ask.h - requests to services outside, as effects of transactions: what core keeps of them, for whoever sends.
 *
 * A handler asks; the request is a row of its entity, written with the transaction. Once that is durable the
 * sender (connect/asks.c; a test) gets it from ask_next(), calls outside under the id of the row, again and again as
 * it likes, and reports with ask_report(): an ordinary request, in whose transaction the row goes and a message
 * with the answer is made for the handler that was named. So an answer takes effect once; after a crash all rows
 * that are still there are given out again, under the same ids.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_ASK_H
#define WEIR_CORE_ASK_H

#include "core/engine.h"

#define ASK_URL_BYTES_MAX 8192u /* of the address, its path included; what connect takes */

enum ask_outcome { ASK_ANSWERED = 0, ASK_UNKNOWN = 1 };

/* A request to be sent. Given by ask_next(); ask_free(). */
struct ask {
    struct ask *next;
    uint64_t epoch; /* was durable when it was given out */
    uint8_t slot;
    const struct outside_def *outside;
    struct type *type;
    struct weir_str entity; /* whose request it is */
    struct weir_str row;    /* key of its row */
    struct weir_str id;     /* the same for ever, and for nobody else */
    struct weir_str line, body;
    bool answered_to; /* a handler waits for the answer; else it is a webhook */
    int64_t made_ms;  /* when the transaction asked */
    void *user;
    struct arena arena;
};

/** Whom to wake when there may be one. Before engine_start(). */
void ask_sender(struct engine *engine, struct actor *actor);
/** The next that is durable; NULL when there is none now. One thread, the sender's. */
struct ask *ask_next(struct engine *engine);
void ask_free(struct ask *ask);
/** Makes *request the report of an outcome: port_submit() it, on a port of the sender's. WEIR_OK from it: done with.
 *  `body` is JSON or any text (then handed on as a JSON string). `error`: for people, of one given up.
 *  The request holds copies: the ask may go at once. */
void ask_report(struct engine *engine, const struct ask *ask, enum ask_outcome outcome, int status,
                struct weir_str body, struct weir_str error, struct request *request);

#endif
