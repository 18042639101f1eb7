/*
 * group.h - consumer groups of streams: a group hands each event to one consumer, until it is acknowledged.
 *
 * A group is an entity like any other, of the built-in type `_group` and the key "STREAM/GROUP": its row holds the id
 * delivered last, its maps what is pending and who consumes. Each operation is a request to one of its handlers, so
 * it is durable before it is answered. The entity "STREAM/" lists the groups of the stream.
 *
 * Delivery: read the position (GROUP_POSITION), read events after it from the feed, GROUP_TAKE them. A take
 * names where its events begin; what another consumer took meanwhile is left out of it. What a taker does not acknowledge
 * stays pending: it may be read again (GROUP_AGAIN) or claimed by another. So an event is delivered at least once.
 *
 * Failures of the application's kind: `nogroup`, `busygroup`, `badid`, `toomany`.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_GROUP_H
#define WEIR_CORE_GROUP_H

#include "core/catalog.h"

#define GROUPS_PER_STREAM_MAX 256u
#define GROUP_CONSUMERS_MAX 1000u
#define GROUP_BATCH_MAX 1000u /* events taken, claimed or listed by one request */

enum group_op {
    GROUP_CREATE, /* from: the id before the first to be delivered; count: events read so far, -1 unknown */
    GROUP_SETID,    /* the same for one that is there */
    GROUP_DESTROY,  /* known: there was one; while `more`: again with `quiet` */
    GROUP_CONSUMER, /* name; known: it was made */
    GROUP_DROP, /* a consumer with what it has pending, `count` in this step; while `more`: again */
    GROUP_POSITION, /* query: from: the id delivered last; known: there is such a consumer */
    GROUP_TAKE, /* name, from: where the ids begin, ids, quiet: as if acknowledged. known: they fit; then the
                      * last `count` of them were taken. from: the position now */
    GROUP_AGAIN, /* what `name` has pending after `from`, at most count; delivered once more: ids */
    GROUP_ACK,   /* ids; count: so many were pending */
    GROUP_SUMMARY, /* query: count pending, from, to: least and greatest, infos: consumers that have any */
    GROUP_PENDING, /* query: from..to, count, idle_ms, name (nil: of any): entries; `more`: not all was looked at, go on
                      * after `to` */
    GROUP_CLAIM, /* name, ids, idle_ms, time_ms (WEIR_NIL: now), tries (-1: one more), from: not below this be the
                      * position, quiet: as if not delivered. ids: those claimed */
    GROUP_AUTOCLAIM, /* name, from.., count, idle_ms, quiet. ids: those claimed, to: where to go on; 0: at the end */
    GROUP_INFO,      /* query: infos: of the group, one */
    GROUP_CONSUMERS, /* query: infos */
    GROUP_ENLIST,    /* of "STREAM/": name */
    GROUP_DELIST,
    GROUP_LIST, /* query, of "STREAM/": infos of all groups */
    GROUP_OPS
};

/* One form for all; what an operation does not name stays zero or nil. Ids are struct event_id side by side. */
struct group_args {
    struct weir_str name, ids, from, to;
    int64_t count, idle_ms, time_ms, tries;
    bool quiet;
};
struct group_answer {
    bool known, more;
    int64_t count;
    struct weir_str ids, from, to;
    struct weir_list entries, infos; /* struct group_entry, struct group_info */
};
struct group_entry {
    struct weir_str id, consumer;
    int64_t idle_ms, tries;
};
struct group_info {
    struct weir_str name, last;
    int64_t consumers, pending;
    int64_t read; /* events delivered; -1: not known */
    int64_t idle_ms,
        inactive_ms; /* of a consumer: since it was seen, since it got something; -1: never */
};

const struct handler *group_handler(const struct catalog *catalog, enum group_op op);

#endif
