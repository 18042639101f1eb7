/*
 * http_int.h - what the files of the HTTP door share: a request as it came in, its path, its parameters.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_NET_HTTP_INT_H
#define WEIR_NET_HTTP_INT_H

#include <http_parser.h>

#include "net/net_int.h"

#define SEGMENTS_MAX 5u
#define EVENT_HEADERS_MAX 32u

struct http_state {
    http_parser parser;
    struct buf head, body;
    size_t scanned;   /* of an unfinished head: known to hold no end */
    bool in_body;     /* the head is through */
    bool done;        /* on_message_complete() */
    uint64_t head_ns; /* when the head was complete */
    struct chunks chunks;
    size_t raw_bytes; /* of the body, with the frames of chunks */
    /* slices of head */
    struct weir_str url, host, origin, id, expect, authorization, type, accept, last_id;
    struct weir_str field; /* name whose value comes */
    uint32_t headers, hosts, ids, origins, authorizations, encodings;
    bool keep_alive, other_encoding;
    struct weir_str event_names[EVENT_HEADERS_MAX], event_values[EVENT_HEADERS_MAX]; /* ce-* */
    uint32_t event_headers, types; /* may be above EVENT_HEADERS_MAX: then those are left out */
    bool routed;                   /* before its body came, which goes to `lines`, or nowhere */
    struct call *lines;
    bool wrong_secret; /* it names no user */
};

struct path {
    struct weir_str segment[SEGMENTS_MAX];
    uint32_t count;
    bool too_many;
    struct weir_str query; /* behind the question mark */
};

/** Ignoring case. */
bool http_name_is(struct weir_str text, const char *name);
bool http_is_read(const struct http_state *http);
void http_refuse_method(struct call *call, const char *allow);
/** The text, freed here, as the answer. */
void http_answer_body(struct call *call, int status, const char *type, struct buf *text);
/** Takes the next "name=value" off a query; 1: taken, 0: none is left, -1: bad escape. */
int http_parameter(struct arena *arena, struct weir_str *query, struct weir_str *name,
                   struct weir_str *value);
/** Idempotency-Key into request->id; false after refusing. */
bool http_id_read(struct call *call, const struct http_state *http);
/** Whether the bytes begin with a byte order mark, which is no JSON and cannot be seen where an error shows it. */
bool http_begins_with_mark(struct weir_str bytes);
/** False after refusing a body that begins so. */
bool http_json_begins_well(struct call *call, struct weir_str body);

/* ---- http_map.c ---- */

void http_route_map(struct call *call, const struct http_state *http, const struct path *path,
                    const struct type *type, int place);

/* ---- http_emit.c: POST /streams/{name} ---- */

void http_emit(struct call *call, struct http_state *http, const struct stream *stream);
/** POST /streams/{name}/end: no event will come any more, for the windows over it. */
void http_emit_end(struct call *call, struct http_state *http, const struct stream *stream);
/** One event from a JSON object; call->request.id is its key, if it has one. */
void http_emit_one(struct call *call, const struct stream *stream, struct weir_str json);
/** The id of a request that emits: of the stream's own, from one or two parts; hashed when too long. */
struct weir_str http_event_request_id(struct arena *arena, const struct stream *stream,
                                      struct weir_str a, struct weir_str b);
/** The name that orders a request that emits this event. */
struct weir_str http_event_order(const struct stream *stream, const void *event);
struct weir_str http_media_type(struct weir_str value);
/** The body is lines of JSON, and may be taken as it comes. */
bool http_brings_lines(const struct http_state *http);
/** More of a body of lines. */
void http_lines_take(struct call *call, struct weir_str bytes, bool end);
/** No more of it will come: it is refused, at once or when the engine has answered. */
void http_lines_fail(struct call *call, enum weir_status status, int http_status, const char *text);

/* ---- http_cloudevents.c ---- */

bool http_is_cloudevent(const struct http_state *http);
void http_emit_cloudevents(struct call *call, const struct http_state *http,
                           const struct stream *stream);

/* ---- http_events.c: /streams, GET ---- */

void http_route_streams(struct call *call, const struct path *path);

enum http_place { PLACE_ID, PLACE_TIME, PLACE_OLDEST, PLACE_NOW };

struct http_bound {
    enum http_place place;
    struct event_id id;
    int64_t time_ms;
};
/** "oldest", "now", a time, or an id (without a part behind the dash: with `n_if_none`). */
bool http_bound_read(struct weir_str text, uint64_t n_if_none, struct http_bound *bound);
struct event_id http_id_before(struct event_id id);
struct event_id http_id_after(struct event_id id);
/** The event as JSON. */
void http_add_event(const struct stream *stream, const struct feed_item *item, bool cloudevent,
                    struct arena *scratch, struct buf *out);
/** A whole number of 1 to `most`. */
bool http_count_read(struct weir_str text, uint64_t most, uint64_t *out);
/** "10s", "500ms", "1m" into milliseconds, no more than a minute. */
bool http_wait_read(struct weir_str text, uint64_t *ms);

/* ---- http_groups.c ---- */

void http_route_groups(struct call *call, const struct http_state *http, const struct path *path,
                       const struct stream *stream);

/* ---- deferred.c: /requests ---- */

void http_route_requests(struct call *call, const struct http_state *http, const struct path *path);

/* ---- parked.c: /parked ---- */

void http_route_parked(struct call *call, const struct http_state *http, const struct path *path);

#endif
