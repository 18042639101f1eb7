/*
 * http_events.c - streams read over HTTP: GET /streams, GET /streams/{name}, GET /streams/{name}/info.
 *
 * A read goes in steps: what `from` and `to` say is turned into ids, then events are read, at once or waiting for a
 * first one (long poll). As server-sent events the answer has no end: read after read, each waiting KEEP_ALIVE_NS at
 * most, is written as it comes; none is begun while the reader has STREAMED_BYTES_MAX to take, so a slow reader costs a
 * position and not memory. It ends when the server shuts down, the reader stops sending, its right is taken away, or
 * `limit` or `to` is reached; a reader that comes back with Last-Event-ID goes on behind that event.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <strings.h>

#include "data/duration.h"
#include "net/http_int.h"

#define NS_PER_MS UINT64_C(1000000)
#define KEEP_ALIVE_NS (15000 * NS_PER_MS)
#define WAIT_MS_MAX 60000
#define COUNT_MAX 10000
#define PAGE_BYTES ((size_t)64 * 1024) /* of one read for server-sent events */
#define ANSWER_BYTES ((size_t)1 << 20) /* of one read for a whole answer */

struct reading {
    const struct stream *stream;
    struct http_bound from, to;
    bool has_from, has_to;
    struct weir_str key; /* ptr NULL: all */
    uint32_t count;      /* 0: not given */
    bool reverse, cloudevents;
    uint64_t wait_ms;
    /* server-sent events */
    bool ended;
    uint64_t until_ns; /* of the read that is out */
    struct arena scratch;
};

/* Figures of all streams, or of one. */
struct listing {
    const struct stream *only;
    uint32_t next;
    bool first;
    struct buf out;
};

/* ---- writing events ---- */

static void add_time(struct buf *out, int64_t ms)
{
    static const struct field time = { .kind = WEIR_TIME, .size = 8 };
    static const struct shape shape = {
        .fields = (struct field *)(uintptr_t)&time, .count = 1, .size = 8, .scalar = true
    };
    json_write(&shape, &ms, out);
}

static void add_id(struct buf *out, struct event_id id)
{
    char text[EVENT_ID_TEXT_MAX];
    size_t len = event_id_write(id, text);
    buf_add_byte(out, '"');
    buf_add(out, text, len);
    buf_add_byte(out, '"');
}

void http_add_event(const struct stream *stream, const struct feed_item *item, bool cloudevent,
                    struct arena *scratch, struct buf *out)
{
    void *event = arena_alloc(scratch, stream->event->size + 8u);
    if (feed_unpack(stream, item->value, scratch, event) != WEIR_OK)
        shape_start(stream->event, event);
    if (cloudevent) {
        buf_add_text(out, "{\"specversion\":\"1.0\",\"id\":");
        add_id(out, item->id);
        buf_printf(out, ",\"source\":\"/streams/%.*s\",\"type\":\"%.*s\"", STR_ARG(stream->name),
                   STR_ARG(stream->name));
        if (item->key.len > 0) {
            buf_add_text(out, ",\"subject\":");
            json_write_text(out, item->key);
        }
        buf_add_text(out, ",\"time\":");
        add_time(out, item->time_ms);
        buf_add_text(out, ",\"datacontenttype\":\"application/json\",\"data\":");
    } else {
        buf_add_text(out, "{\"id\":");
        add_id(out, item->id);
        buf_add_text(out, ",\"time\":");
        add_time(out, item->time_ms);
        buf_add_text(out, ",\"key\":");
        if (item->key.len > 0) json_write_text(out, item->key);
        else buf_add_text(out, "null");
        buf_add_text(out, ",\"event\":");
    }
    json_write(stream->event, event, out);
    buf_add_byte(out, '}');
}

static void add_event(struct reading *r, const struct feed_item *item, struct buf *out)
{
    http_add_event(r->stream, item, r->cloudevents, &r->scratch, out);
    arena_reset(&r->scratch);
}

/* ---- asking ---- */

static void reading_dropped(struct call *call)
{
    struct reading *r = call->state;
    arena_free(&r->scratch);
    mem_free(r);
}

static void reading_go(struct call *call);

/* Gives the question to the feed; false after refusing. */
static bool ask(struct call *call, const struct feed_read *question)
{
    enum weir_status status = call_read(call, question);
    if (status == WEIR_OK) return true;
    call_refuse(call, status, "%s",
                status == WEIR_OVERLOADED ? "too many reads at once: reads_max, reads_conn_max"
                                          : weir_status_text(status));
    return false;
}

static void question_of(const struct reading *r, struct feed_read *q)
{
    *q = (struct feed_read){ .op = FEED_READ,
                             .stream = r->stream,
                             .from = r->from.id,
                             .to = r->to.id,
                             .reverse = r->reverse,
                             .count = r->count,
                             .bytes_max = ANSWER_BYTES,
                             .key = r->key };
    if (!r->has_to) q->to = (struct event_id){ UINT64_MAX, UINT64_MAX };
}

struct event_id http_id_before(struct event_id id)
{
    if (id.n > 0) return (struct event_id){ id.epoch, id.n - 1 };
    return (struct event_id){ id.epoch > 0 ? id.epoch - 1 : 0, id.epoch > 0 ? UINT64_MAX : 0 };
}

struct event_id http_id_after(struct event_id id)
{
    if (id.n < UINT64_MAX) return (struct event_id){ id.epoch, id.n + 1 };
    return (struct event_id){ id.epoch + 1, 0 };
}

/* ---- one answer ---- */

static void events_answer(struct call *call, const struct feed_read *read)
{
    struct reading *r = call->state;
    struct buf out = { 0 };
    struct event_id next = r->reverse && read->last ? http_id_before(read->last->id) : read->next;
    buf_add_text(&out, "{\"events\":[");
    for (const struct feed_item *item = read->items; item; item = item->next) {
        if (item != read->items) buf_add_text(&out, ",\n");
        add_event(r, item, &out);
    }
    buf_add_text(&out, "],\"next\":");
    if (r->reverse && !read->last) buf_add_text(&out, "null");
    else add_id(&out, next);
    buf_add_text(&out, "}\n");
    call->fresh = true;
    http_answer_body(call, 200, "application/json", &out);
}

/* ---- server-sent events ---- */

static void sse_headed(struct call *call)
{
    struct reading *r = call->state;
    struct conn *conn = call->conn;
    if (!call->streamed) {
        http_begin_streamed(conn->net, call, "text/event-stream");
        http_add_streamed(call, STR("retry: 1000\n\n"));
    }
    if (call->reads_out > 0) return;
    /* nor on for one who was removed since he asked */
    bool may = conn_may_read(conn, r->stream);
    if (r->ended || call->head || !may || net_is_draining(conn->net)) {
        call_answer(call);
        return;
    }
    if (conn_pending(conn) > STREAMED_BYTES_MAX) {
        call->held_back = true;
        return;
    }
    struct feed_read q;
    question_of(r, &q);
    q.bytes_max = PAGE_BYTES;
    r->until_ns = conn->net->env->mono_ns(conn->net->env) + KEEP_ALIVE_NS;
    if (!r->has_to) q.until_ns = r->until_ns;
    if (call_read(call, &q) == WEIR_OK) return;
    http_add_streamed(call, STR(": too many reads at once\n\n"));
    call_answer(call);
}

static void sse_write(struct call *call, const struct feed_read *read)
{
    struct reading *r = call->state;
    struct buf out = { 0 };
    char id[EVENT_ID_TEXT_MAX];
    for (const struct feed_item *item = read->items; item; item = item->next) {
        size_t len = event_id_write(item->id, id);
        buf_printf(&out, "id: %.*s\nevent: %.*s\ndata: ", (int)len, id, STR_ARG(r->stream->name));
        add_event(r, item, &out);
        buf_add_text(&out, "\n\n");
    }
    http_add_streamed(call, buf_str(&out));
    buf_free(&out);
}

static void sse_read_done(struct call *call, struct feed_read *read)
{
    struct reading *r = call->state;
    struct net *net = call->conn->net;
    r->from.id = read->next;
    if (!conn_may_read(call->conn, r->stream)) return; /* ended by sse_headed() */
    if (read->status != WEIR_OK) {
        struct buf out = { 0 };
        buf_printf(&out, ": %s\n\n", weir_status_word(status_public(read->status)));
        http_add_streamed(call, buf_str(&out));
        buf_free(&out);
        r->ended = true;
    } else if (read->item_count > 0) {
        sse_write(call, read);
        if (r->count > 0 && read->item_count >= r->count) r->ended = true;
        if (r->count > 0) r->count -= r->ended ? 0 : read->item_count;
    } else if (r->has_to || net->env->mono_ns(net->env) + NS_PER_MS < r->until_ns) {
        r->ended = true; /* nothing is left; or the wait was taken back: see reads.c */
    } else {
        http_add_streamed(call, STR(": keep-alive\n\n"));
    }
    /* sse_headed() follows in this turn */
}

/* ---- steps ---- */

static void place_found(struct http_bound *bound, const struct feed_read *read, bool upper)
{
    /* "now" is behind the last event; a time stands for the first at or behind it, as the upper bound for the last before */
    if (read->op == FEED_INFO) bound->id = upper ? read->info.last : http_id_after(read->info.last);
    else bound->id = upper ? http_id_before(read->from) : read->from;
    bound->place = PLACE_ID;
}

static void reading_done(struct call *call, struct feed_read *read)
{
    struct reading *r = call->state;
    if (call->headed) {
        sse_read_done(call, read);
        return;
    }
    if (read->status != WEIR_OK) {
        call_refuse(call, read->status, "%s", weir_status_text(status_public(read->status)));
        return;
    }
    if (read->op == FEED_READ) {
        events_answer(call, read);
        return;
    }
    if (r->from.place != PLACE_ID) place_found(&r->from, read, false);
    else place_found(&r->to, read, true);
    reading_go(call);
}

/* Whether the bound is an id by now; else its step is begun, or the call refused. */
static bool bound_is_known(struct call *call, struct http_bound *bound, bool upper)
{
    struct reading *r = call->state;
    struct feed_read q = { .op = FEED_INFO, .stream = r->stream };
    if (bound->place == PLACE_OLDEST) *bound = (struct http_bound){ .place = PLACE_ID };
    if (bound->place == PLACE_ID) return true;
    if (bound->place == PLACE_TIME) {
        q.op = FEED_FIND_TIME;
        q.time_ms = bound->time_ms + (upper ? 1 : 0);
    }
    (void)ask(call, &q);
    return false;
}

static void reading_go(struct call *call)
{
    struct reading *r = call->state;
    struct net *net = call->conn->net;
    if (!bound_is_known(call, &r->from, false) || !bound_is_known(call, &r->to, true)) return;
    if (call->event_stream) {
        call->headed = sse_headed; /* called when all before it is answered */
        conn_touch(call->conn);
        return;
    }
    struct feed_read q;
    question_of(r, &q);
    if (r->wait_ms > 0) q.until_ns = net->env->mono_ns(net->env) + r->wait_ms * NS_PER_MS;
    (void)ask(call, &q);
}

/* ---- parameters ---- */

bool http_count_read(struct weir_str text, uint64_t most, uint64_t *out)
{
    uint64_t n = 0;
    if (text.len == 0 || text.len > 15) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    }
    *out = n;
    return n >= 1 && n <= most;
}

static bool flag_read(struct weir_str text, bool *out)
{
    *out = text.len == 0 || str_eq(text, STR("true")) || str_eq(text, STR("1"));
    return *out || str_eq(text, STR("false")) || str_eq(text, STR("0"));
}

/* "10s", "500ms", "1m". */
bool http_wait_read(struct weir_str text, uint64_t *ms)
{
    int64_t read;
    bool good = duration_read(text, &read);
    *ms = read < WAIT_MS_MAX ? (uint64_t)read : WAIT_MS_MAX;
    return good;
}

bool http_bound_read(struct weir_str text, uint64_t n_if_none, struct http_bound *bound)
{
    static const struct field time = { .name = { "from", 4 }, .kind = WEIR_TIME, .size = 8 };
    struct problem problem = { 0 };
    *bound = (struct http_bound){ 0 };
    if (str_eq(text, STR("oldest"))) bound->place = PLACE_OLDEST;
    else if (str_eq(text, STR("now"))) bound->place = PLACE_NOW;
    else if (field_read_text(&time, text, NULL, &bound->time_ms, &problem) == WEIR_OK)
        bound->place = PLACE_TIME;
    else return event_id_read(text, n_if_none, &bound->id);
    return true;
}

/* NULL, or what is wrong. */
static const char *parameter_read(struct reading *r, struct weir_str name, struct weir_str value)
{
    uint64_t n;
    if (str_eq(name, STR("from"))) {
        r->has_from = true;
        if (!http_bound_read(value, 0, &r->from))
            return "from is an event id, a time (RFC 3339 or milliseconds), oldest or now";
    } else if (str_eq(name, STR("to"))) {
        r->has_to = true;
        if (!http_bound_read(value, UINT64_MAX, &r->to))
            return "to is an event id, a time (RFC 3339 or milliseconds), oldest or now";
    } else if (str_eq(name, STR("limit"))) {
        if (!http_count_read(value, COUNT_MAX, &n)) return "limit is a whole number of 1 to 10000";
        r->count = (uint32_t)n;
    } else if (str_eq(name, STR("reverse"))) {
        if (!flag_read(value, &r->reverse)) return "reverse is true or false";
    } else if (str_eq(name, STR("key"))) {
        r->key = value;
    } else if (str_eq(name, STR("wait"))) {
        if (!http_wait_read(value, &r->wait_ms))
            return "wait is a duration such as 10s or 500ms, at most 60s";
    } else if (str_eq(name, STR("format"))) {
        r->cloudevents = str_eq(value, STR("cloudevents"));
        if (!r->cloudevents && !str_eq(value, STR("json"))) return "format is json or cloudevents";
    } else {
        return "a stream is read with from, to, limit, reverse, key, wait and format";
    }
    return NULL;
}

static const char *reading_fault(const struct reading *r, bool sse)
{
    if (sse && r->reverse) return "server-sent events come forward only";
    if (r->reverse && r->wait_ms > 0) return "wait has no meaning with reverse";
    return NULL;
}

static void route_read(struct call *call, const struct http_state *http, const struct path *path,
                       const struct stream *stream)
{
    struct arena *arena = &call->request.arena;
    struct weir_str query = path->query, name, value;
    struct reading *r = mem_alloc(sizeof(*r));
    const char *fault = NULL;
    int more = 0;
    bool sse = call->event_stream;
    r->stream = stream;
    r->from.place = PLACE_OLDEST;
    call->state = r;
    call->dropped = reading_dropped;
    call->read_done = reading_done;
    while (!fault && (more = http_parameter(arena, &query, &name, &value)) > 0)
        fault = parameter_read(r, name, value);
    if (!fault && more < 0) fault = "a parameter is not UTF-8 in percent escapes";
    if (!fault && sse && http->last_id.len > 0) {
        struct event_id id;
        if (event_id_read(http->last_id, UINT64_MAX, &id))
            r->from = (struct http_bound){ .place = PLACE_ID, .id = http_id_after(id) };
        else fault = "Last-Event-ID is the id of an event";
    }
    if (!fault) fault = reading_fault(r, sse);
    if (fault) {
        call_refuse(call, WEIR_ARG, "%s", fault);
        return;
    }
    call->fresh = true;
    call->counted = !sse && r->wait_ms == 0;
    reading_go(call);
}

static bool accepts_event_stream(struct weir_str accept)
{
    static const char name[] = "text/event-stream";
    size_t len = sizeof(name) - 1;
    for (size_t i = 0; i + len <= accept.len; i++)
        if (strncasecmp(accept.ptr + i, name, len) == 0) return true;
    return false;
}

/* ---- figures ---- */

static void listing_dropped(struct call *call)
{
    struct listing *l = call->state;
    buf_free(&l->out);
    mem_free(l);
}

static void add_follower(struct buf *out, const struct feed_follower_info *f)
{
    buf_add_text(out, "{\"type\":");
    json_write_text(out, f->follower->type->name);
    buf_add_text(out, ",\"position\":");
    if (f->done.epoch == 0 && f->done.n == 0) buf_add_text(out, "null");
    else add_id(out, f->done);
    buf_printf(out, ",\"lag\":%llu,\"in_flight\":%llu}", (unsigned long long)f->lag,
               (unsigned long long)f->in_flight);
}

static void add_shape(struct buf *out, const struct shape *shape)
{
    struct buf type = { 0 };
    buf_add_byte(out, '{');
    for (uint32_t i = 0; i < shape->count; i++) {
        if (i > 0) buf_add_byte(out, ',');
        json_write_text(out, shape->fields[i].name);
        buf_add_byte(out, ':');
        buf_reset(&type);
        admin_field_type(&shape->fields[i], &type);
        json_write_text(out, buf_str(&type));
    }
    buf_add_byte(out, '}');
    buf_free(&type);
}

static void add_field_name(struct buf *out, const char *name, const struct stream *stream,
                           int field)
{
    buf_printf(out, ",\"%s\":", name);
    if (field < 0) buf_add_text(out, "null");
    else json_write_text(out, stream->event->fields[field].name);
}

static void add_stream(struct call *call, const struct feed_read *read, struct buf *out)
{
    const struct stream *stream = read->stream;
    const struct event_log_info *info = &read->info;
    buf_add_text(out, "{\"name\":");
    json_write_text(out, stream->name);
    buf_add_text(out, ",\"fields\":");
    add_shape(out, stream->event);
    add_field_name(out, "key", stream, stream->key_field);
    add_field_name(out, "time", stream, stream->time_field);
    add_field_name(out, "tombstone", stream, stream->gone_field);
    buf_add_text(out, ",\"allow\":");
    if (stream->allow.ptr) json_write_text(out, stream->allow);
    else buf_add_text(out, "null");
    buf_printf(out,
               ",\"latest\":%s,\"keep_ms\":%lld,\"keep_bytes\":%llu,\"events\":%llu,"
               "\"bytes\":%llu,\"files\":%llu,\"first\":",
               stream->latest ? "true" : "false", (long long)stream->keep_ms,
               (unsigned long long)stream->keep_bytes, (unsigned long long)info->count,
               (unsigned long long)info->bytes, (unsigned long long)info->files);
    if (info->count > 0) add_id(out, info->first);
    else buf_add_text(out, "null");
    buf_add_text(out, ",\"last\":");
    if (info->last.epoch > 0) add_id(out, info->last);
    else buf_add_text(out, "null");
    struct env *env = call->conn->net->env;
    int64_t age = info->count > 0 ? env->wall_ms(env) - info->time_first : 0;
    uint64_t lag;
    const struct follower *held = feed_held_by(call->conn->net->engine, stream, &lag);
    buf_printf(out, ",\"oldest_age_ms\":%lld,\"held_by\":", (long long)(age > 0 ? age : 0));
    if (held != NULL) json_write_text(out, held->type->name);
    else buf_add_text(out, "null");
    buf_add_text(out, ",\"followers\":[");
    for (uint32_t i = 0; i < read->follower_count; i++) {
        if (i > 0) buf_add_byte(out, ',');
        add_follower(out, &read->followers[i]);
    }
    buf_add_text(out, "]}");
}

/* The next stream's figures are asked for; at the end all are answered. */
static void listing_go(struct call *call)
{
    struct listing *l = call->state;
    const struct catalog *catalog = engine_catalog(call->conn->net->engine);
    while (!l->only && l->next < catalog->stream_count &&
           !conn_may_read(call->conn, catalog->streams[l->next]))
        l->next++;
    if (l->only ? l->next == 0 : l->next < catalog->stream_count) {
        struct feed_read q = { .op = FEED_INFO,
                               .stream = l->only ? l->only : catalog->streams[l->next] };
        l->next++;
        (void)ask(call, &q);
        return;
    }
    buf_add_text(&l->out, l->only ? "\n" : "]}\n");
    struct buf out = l->out;
    l->out = (struct buf){ 0 };
    call->fresh = true;
    http_answer_body(call, 200, "application/json", &out);
}

static void listing_done(struct call *call, struct feed_read *read)
{
    struct listing *l = call->state;
    if (!l->first) buf_add_text(&l->out, ",\n");
    l->first = false;
    add_stream(call, read, &l->out);
    listing_go(call);
}

static void route_listing(struct call *call, const struct stream *only)
{
    struct listing *l = mem_alloc(sizeof(*l));
    l->only = only;
    l->first = true;
    call->state = l;
    call->dropped = listing_dropped;
    call->read_done = listing_done;
    call->counted = true;
    if (!only) buf_add_text(&l->out, "{\"streams\":[");
    listing_go(call);
}

/* ---- routes ---- */

void http_route_streams(struct call *call, const struct path *path)
{
    struct net *net = call->conn->net;
    struct http_state *http = call->conn->http;
    bool reads = http_is_read(http);
    call->counted = true;
    if (path->count == 1) {
        if (!call_has_right(call, RIGHT_USER, "see this page")) return;
        if (reads) route_listing(call, NULL);
        else http_refuse_method(call, "GET, HEAD");
        return;
    }
    const struct stream *stream = catalog_stream(engine_catalog(net->engine), path->segment[1]);
    if (!call_is_in_sight(call, stream && !reads ? stream->emit : NULL)) return;
    if (!stream) {
        call_refuse(call, WEIR_NOTYPE, "no stream %.*s; GET /streams lists what there is",
                    STR_ARG(path->segment[1]));
        return;
    }
    bool info = path->count == 3 && str_eq(path->segment[2], STR("info"));
    if (path->count == 2 && !reads) {
        if (call_is_admitted(call, stream->emit)) http_emit(call, http, stream);
        return;
    }
    if (path->count == 3 && str_eq(path->segment[2], STR("end"))) {
        if (reads) http_refuse_method(call, "POST");
        else if (call_is_admitted(call, stream->end)) http_emit_end(call, http, stream);
        return;
    }
    if (!call_may_read(call, stream)) return;
    call->event_stream = accepts_event_stream(http->accept);
    bool groups = path->count >= 3 && str_eq(path->segment[2], STR("groups"));
    if (path->count == 2) route_read(call, http, path, stream);
    else if (groups) http_route_groups(call, http, path, stream);
    else if (info && reads) route_listing(call, stream);
    else if (info) http_refuse_method(call, "GET, HEAD");
    else
        call_refuse(call, WEIR_NOTFOUND,
                    "no such path: /streams/{name}, /streams/{name}/info, /streams/{name}/groups");
}
