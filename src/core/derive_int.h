/*
 * derive_int.h - what derive.c, window.c and join.c share: a window or join on one shard.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_DERIVE_INT_H
#define WEIR_CORE_DERIVE_INT_H

#include "core/aggregate.h"
#include "core/core_int.h"

/* How far a slot is: as a row, written with what its events changed. */
struct derive_slot {
    struct event_id cursor;
    int64_t low; /* the watermark behind the cursor */
    bool dirty;
};

/* One source of it. */
struct derive_in {
    const struct follower *follower;
    struct feed_event *head, **tail; /* in the order of the stream */
    struct derive_slot slots[SLOTS];
    uint8_t dirty[SLOTS];
    uint32_t dirty_count;
    int64_t low;               /* the watermark as of the last mark that was worked off */
    uint64_t done, marks_done; /* events and marks to credit, and how many marks */
};

/* An open window of a group, decoded; a cache of its row. */
struct cell {
    struct cell *chain;
    struct row *row;
    uint64_t hash;      /* of the row's key */
    size_t dirty_place; /* in derive->dirty, from 1; 0: the row says the same */
    int64_t from, to;
    uint64_t events, finals; /* added; results of it that were final */
    struct aggregate_state states[];
};

struct derive {
    const struct derived *def;
    struct shard *shard;
    struct derive_in in[2];
    bool ready, waiting; /* has something to do; and cannot, for memory is full */
    uint64_t traced_ns;  /* that it waits */
    uint64_t unwritten;  /* bytes that changed cells may add to the rows, at most */
    int64_t until;       /* the watermark that rows found at the start wait for; INT64_MIN: none */
    struct heap
        due[2]; /* rows: of a window by when they close or go; of a join by side, when they go */
    struct cell **cells;
    size_t cell_cap, cell_count;
    struct cell **dirty;
    size_t dirty_count, dirty_cap;
    struct cell *work;  /* a window that no row stands for: `last`, sessions being joined */
    struct arena arena; /* of one event or result */
    struct buf key, at, packed;
    uint64_t clock; /* of the ids that it gives */
    uint32_t place;
};

/* An event as its operator sees it. */
struct derive_event {
    const struct feed_event *event;
    const struct derive_in *in;
    struct weir_str group, value;
    void *fields; /* of follower->read */
    int64_t time, low;
    struct event_id id;
    uint8_t slot;
};

/* Added without overflow. */
static inline int64_t time_add(int64_t a, int64_t b)
{
    int64_t sum;
    if (__builtin_add_overflow(a, b, &sum)) return b < 0 ? INT64_MIN : INT64_MAX;
    return sum;
}
/* The last multiple of `step` at or before the time. */
static inline int64_t time_floor(int64_t time, int64_t step)
{
    int64_t rest = time % step;
    return time - (rest < 0 ? rest + step : rest);
}
static inline struct derive_in *derive_other(struct derive *d, const struct derive_in *in)
{
    return &d->in[in == &d->in[0]];
}

/* derive.c */
/** kind, derived id, [side], group length, group: all rows of the group begin so. `side` -1: none. */
void derive_key(struct buf *out, enum row_kind kind, const struct derived *def, int side,
                struct weir_str group);
void derive_key_time(struct buf *out, int64_t time);
void derive_key_id(struct buf *out, struct event_id id);
int64_t derive_time_of(const char *at);
struct event_id derive_id_of(const char *at);
/** The group within the row's key. */
struct weir_str derive_group_of(struct weir_str key, int side);
/** A new row in memory and in the epoch. */
struct row *derive_row_put(struct derive *d, uint8_t slot, struct weir_str key,
                           struct weir_str value);
void derive_row_delete(struct derive *d, struct heap *heap, struct row *row);
/** A row found at the start waits until then. */
static inline void derive_until(struct derive *d, int64_t at)
{
    if (at > d->until) d->until = at;
}
/** When the row is due; moves it. */
void derive_due(struct heap *heap, struct row *row, int64_t at);
/** A result: a struct of def->out->event. */
void derive_emit(struct derive *d, uint8_t slot, const void *result);
/** A struct for a result, its group filled in. */
void *derive_result(struct derive *d, struct weir_str group);
void derive_set_time(void *result, const struct derived *def, int column, int64_t time);
/** The event that no window takes any more, or that cannot be taken. */
void derive_late(struct derive *d, const struct derive_in *in, uint8_t slot, struct weir_str value,
                 const char *why);

/* window.c */
void window_event(struct derive *d, const struct derive_event *e);
/** Whether it would make rows larger, but for some bytes of numbers in a row that is there. May say yes in doubt. */
bool window_grows(struct derive *d, const struct derive_event *e);
/** What is due at this watermark; false: not all of it yet. */
bool window_close(struct derive *d, int64_t low);
void window_flush(struct derive *d);
void window_recover(struct derive *d, struct row *row);
void window_free(struct derive *d);
/** How long after an event the last result may come that it has part in: for idle streams. */
int64_t derived_extent(const struct derived *def);

/* join.c */
void join_event(struct derive *d, const struct derive_event *e);
bool join_grows(struct derive *d, const struct derive_event *e);
bool join_close(struct derive *d, struct derive_in *in);
void join_recover(struct derive *d, struct row *row);

#endif
