/*
 * feed.h - streams as doors see them: reading events, waiting for new ones, figures; and work that was parked.
 *
 * Readers see durable epochs only, in the order of ids. A read is given to the feed's actor and comes back
 * through the port, as requests do. Emitting from outside is an ordinary request: stream->emit (one event, the
 * event's fields as arguments; answers its id) and stream->batch ({ events = list }; answers
 * { count, first, last }), with request->key the name that orders: the event's key, or the stream's name.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_FEED_H
#define WEIR_CORE_FEED_H

#include "core/engine.h"
#include "store/events.h"

#define FEED_COUNT_MAX 10000u

enum feed_op {
    FEED_READ = 1, /* events from..to, at most `count` and about bytes_max */
    FEED_INFO,     /* `info` only */
    FEED_FIND_TIME /* `from` := the first event at or after time_ms */
};

/* Owned by the door until feed_submit() and again from feed_next(). */
struct feed_read {
    /* the question */
    enum feed_op op;
    const struct stream *stream;
    struct event_id from, to; /* both included */
    bool reverse;             /* from the last downward: `from` is still the lower bound */
    uint32_t count;           /* at most; 0: 100, no more than FEED_COUNT_MAX */
    size_t bytes_max;         /* 0: 1 MiB; at least one event is given */
    struct weir_str key;      /* only events of this key; nil: all */
    uint64_t until_ns;        /* waits until then for a first event; 0: does not wait */
    int64_t time_ms;
    void *user; /* the door's */
    /* the answer */
    enum weir_status status; /* WEIR_OK, also with no event; WEIR_CORRUPT; WEIR_SHUTDOWN */
    struct feed_item *items, *last;
    uint32_t item_count;
    struct event_id
        next; /* where to read on: above what was looked at, also when `key` left all out */
    struct event_log_info info;
    struct feed_follower_info *followers; /* FEED_INFO: of this stream, follower_count of them */
    uint32_t follower_count;
    /* the engine's */
    struct feed_read *link;
    struct port *port;
    _Atomic uint32_t cancelled;
};
struct feed_item {
    struct feed_item *next;
    struct event_id id;
    int64_t time_ms;
    struct weir_str key, value; /* value: the packed event, unpack() by stream->event */
};
struct feed_follower_info {
    const struct follower *follower;
    struct event_id done; /* all up to there are done */
    uint64_t in_flight;
    uint64_t lag; /* events not done, those in flight included */
};
/* Figures of a stream as of the feed's last look, every retention_check_ms. */
struct feed_figures {
    uint64_t events, bytes;
    int64_t oldest_ms; /* when the oldest was emitted, or about so; 0: there is none */
};

void feed_submit(struct port *port, struct feed_read *read);
/** A read that is answered; NULL when none. Its items go at feed_read_free(). */
struct feed_read *feed_next(struct port *port);
/** A waiting read comes back as soon as may be. */
void feed_cancel(struct engine *engine, struct feed_read *read);
/** Frees items and follower figures, not the read. */
void feed_read_free(struct feed_read *read);
/** The follower, window or join that is follower_lag_max events behind what is durable, the furthest of them, and how far:
 *  sources outside are held back from the stream. NULL: none. Any thread. */
const struct follower *feed_held_by(const struct engine *engine, const struct stream *stream,
                                    uint64_t *lag);
/** By place in catalog->streams, and in catalog->followers. Any thread. */
void feed_figures(const struct engine *engine, uint32_t stream, struct feed_figures *out);
uint64_t feed_lag(const struct engine *engine, uint32_t follower);
/** The struct of an event: stream->event; texts point into `value`, lists into the arena. */
enum weir_status feed_unpack(const struct stream *stream, struct weir_str value,
                             struct arena *arena, void *event);

/* ---- parked work: messages, events and timers that failed too often; they stay until a person decides ---- */

enum parked_op { PARKED_NONE = 0, PARKED_LIST, PARKED_RETRY, PARKED_DROP };

/**
 * A request about parked work: port_submit() with request->parked set and handler NULL. Shard by shard:
 * LIST answers one page of one shard as JSON, request->result a struct weir_str:
 *   { "parked": [ { "id", "kind": "message" | "event" | "timer", "from", "to", "handler", "arguments",
 *     "error", "attempts", "since" } ], "next": text or null }
 * RETRY and DROP take one id (or, with parked_all, all of the shard) and answer { "done": n }; an id that is
 * not parked is `notfound`.
 * @param shard  0 to engine_shards() - 1; of an id: parked_shard()
 */
struct parked_request {
    enum parked_op op;
    uint32_t shard;
    struct weir_str id; /* RETRY, DROP: which; LIST: after which; empty: from the first */
    bool all;
    uint32_t limit; /* LIST; 0: 100 */
};
uint32_t engine_shards(const struct engine *engine);
/** False when the text is no id of parked work. */
bool parked_shard(const struct engine *engine, struct weir_str id, uint32_t *shard);

#endif
