/*
 * aggregate.h - what windows compute of their events: states that grow by an event, are joined, stored and shown.
 *
 * A state is a function of the events added, in the order of their ids. An event is added to all aggregates of a
 * window or to none: what would leave the exact whole numbers or pass a limit is refused with the reason.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_AGGREGATE_H
#define WEIR_CORE_AGGREGATE_H

#include "core/catalog.h"
#include "store/events.h"

struct aggregate_state {
    int64_t count; /* values that were not nil */
    int64_t whole; /* sum, least or largest of whole numbers */
    double real;   /* of others */
    int64_t time;  /* first, last: of the event */
    struct event_id id;
    struct buf
        bytes; /* first, last: the value; distinct: varint length and value each, or registers; top: 8 bytes
                         each, largest first; fold: JSON */
    uint64_t *hashes; /* distinct: of the values, in their order */
    uint32_t hash_count, hash_cap;
    struct buf next; /* fold: what comes when all others take the event */
    bool known;      /* distinct: the value of the event looked at is there already */
};

struct aggregate_event {
    const void *event; /* struct of follower->read */
    const struct shape *shape;
    int64_t time;
    struct event_id id;
};

struct aggregate_limits {
    uint64_t values_max, bytes_max; /* of one distinct; of all aggregates of a window */
};

/** NULL, or why the event was not added: a text that lives until the next call on this thread. */
const char *aggregates_add(const struct derived *d, struct aggregate_state *states,
                           const struct aggregate_event *e, const struct aggregate_limits *limits);
/** Adds what `from` holds: as aggregates_add() of its events would. */
const char *aggregates_join(const struct derived *d, struct aggregate_state *to,
                            struct aggregate_state *from, const struct aggregate_limits *limits);
/** A state takes the same bytes but for its numbers, whatever is added after the first event. */
bool aggregates_are_fixed(const struct derived *d);
/** About what aggregates_write() writes, without numbers. */
uint64_t aggregates_bytes(const struct derived *d, const struct aggregate_state *states);
void aggregates_write(const struct derived *d, const struct aggregate_state *states,
                      struct buf *out);
bool aggregates_read(const struct derived *d, struct aggregate_state *states,
                     struct reader *reader);
/** Columns of d->out->event; texts point into the states, lists into the arena. */
void aggregates_show(const struct derived *d, const struct aggregate_state *states,
                     struct arena *arena, void *row);
void aggregates_free(const struct derived *d, struct aggregate_state *states);
/** Empties, keeping memory. */
void aggregates_reset(const struct derived *d, struct aggregate_state *states);

#endif
