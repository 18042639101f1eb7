/*
 * http_emit.c - POST /streams/{name}: one event, an array of them, lines of them.
 *
 * One event and an array are one transaction each. Lines (newline-delimited JSON) may be as many as the sender likes:
 * they are taken as they come, in chunks of at most LINES_MAX lines or CHUNK_BYTES_MAX bytes, each one transaction, one
 * after the other; the answer comes at the end and counts all. Where a chunk ends depends on the lines alone and not on
 * how they arrived: so with an idempotency key, which each chunk has with its number, the same lines sent again
 * continue where an earlier attempt ended. While a chunk is in the engine the connection is read on until
 * HELD_BYTES wait, no further.
 * CloudEvents: http_cloudevents.c.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "base/secret.h"
#include "net/http_int.h"

#define LINES_MAX 1000u
#define CHUNK_BYTES_MAX ((size_t)256 * 1024)
#define HELD_BYTES ((size_t)512 * 1024)

struct lines {
    const struct stream *stream;
    struct http_state *http; /* from which they come; NULL: all are there */
    struct arena arena;      /* of the chunk */
    struct buf in;
    bool begun;     /* what may stand before the first line is gone */
    size_t scanned; /* of `in`: ends of lines are known up to here */
    uint32_t found; /* lines among them that are not blank */
    uint64_t line;  /* number of the first line of `in` */
    size_t taken;   /* bytes of `in` that are the chunk in the engine */
    uint64_t taken_lines, next_line;
    uint64_t chunk;
    uint64_t applied_lines;
    uint64_t count;
    char first[EVENT_ID_TEXT_MAX], last[EVENT_ID_TEXT_MAX];
    struct weir_str id; /* given, in id_bytes */
    char id_bytes[ID_BYTES_MAX];
    enum weir_status fault; /* of the input, while a chunk was in the engine */
    int fault_http;
    char fault_text[256];
};

/* ---- ids ---- */

struct weir_str http_event_request_id(struct arena *arena, const struct stream *stream,
                                      struct weir_str a, struct weir_str b)
{
    struct weir_str id = arena_printf(arena, "%.*s\x1f%.*s%s%.*s", STR_ARG(stream->name),
                                      STR_ARG(a), b.ptr ? "\x1f" : "", STR_ARG(b));
    if (id.len <= ID_BYTES_MAX) return id;
    uint8_t digest[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    sha256(id, digest);
    for (uint32_t i = 0; i < SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    return arena_printf(arena, "%.*s\x1fsha256:%s", STR_ARG(stream->name), hex);
}

/* The client's key, made the stream's own: what it is for one stream it is not for another. */
static void id_scope(struct call *call, const struct stream *stream)
{
    struct request *request = &call->request;
    if (request->id.len > 0)
        request->id = http_event_request_id(&request->arena, stream, request->id, STR_NIL);
}

/* What orders the request: the event's key. */
struct weir_str http_event_order(const struct stream *stream, const void *event)
{
    struct weir_str key = STR_NIL;
    if (stream->key_field >= 0) {
        const struct field *field = &stream->event->fields[stream->key_field];
        key = text_load(field, (const char *)event + field->offset);
    }
    return key.len > 0 && key.len <= KEY_BYTES_MAX ? key : stream->name;
}

/* ---- one event, an array ---- */

static void one_resumed(struct call *call)
{
    struct request *request = &call->request;
    if (request->status == WEIR_OK) {
        struct buf out = { 0 };
        buf_add_text(&out, "{\"id\":");
        json_write_text(&out, *(const struct weir_str *)request->result);
        buf_add_text(&out, "}\n");
        call->fresh = true;
        http_answer_body(call, 200, "application/json", &out);
        return;
    }
    call_answer(call);
}

void http_emit_one(struct call *call, const struct stream *stream, struct weir_str json)
{
    struct request *request = &call->request;
    struct problem problem;
    problem_clear(&problem);
    void *event = arena_alloc(&request->arena, stream->event->size + 8u);
    enum weir_status status = json_read(stream->event, json, &request->arena, event, &problem);
    if (status == WEIR_OK) status = shape_judge(stream->event, event, false, &problem);
    if (status != WEIR_OK) {
        call_refuse_problem(call, status, &problem);
        return;
    }
    request->handler = stream->emit;
    request->args = event;
    request->key = http_event_order(stream, event);
    call->resumed = one_resumed;
    call_submit(call);
}

static void emit_array(struct call *call, const struct stream *stream, struct weir_str json)
{
    struct request *request = &call->request;
    struct problem problem;
    problem_clear(&problem);
    const struct shape *args = stream->batch->args;
    /* the list itself is what came, not an argument of a name */
    struct shape list = { .fields = args->fields, .count = 1, .size = args->size, .scalar = true };
    void *events = arena_alloc(&request->arena, args->size + 8u);
    enum weir_status status = json_read(&list, json, &request->arena, events, &problem);
    if (status == WEIR_OK && ((const struct weir_list *)events)->count > LINES_MAX) {
        call_refuse(
            call, WEIR_TOOBIG,
            "an array is one transaction of at most %u events, got %zu; any number comes as "
            "lines, Content-Type: application/x-ndjson",
            LINES_MAX, ((const struct weir_list *)events)->count);
        return;
    }
    if (status == WEIR_OK) status = shape_judge(args, events, false, &problem);
    if (status != WEIR_OK) {
        call_refuse_problem(call, status, &problem);
        return;
    }
    request->handler = stream->batch;
    request->args = events;
    request->key = stream->name;
    call_submit(call);
}

/* ---- lines ---- */

static void lines_dropped(struct call *call)
{
    struct lines *l = call->state;
    if (call->conn) {
        if (l->http && l->http->lines == call) l->http->lines = NULL;
        call->conn->body_held = false;
    }
    arena_free(&l->arena);
    buf_free(&l->in);
    mem_free(l);
}

/* Where it stands, with the members that an answer has already. */
static void lines_tell(struct call *call, uint64_t line)
{
    struct lines *l = call->state;
    struct request *request = &call->request;
    struct weir_str had = request->detail;
    bool more = had.len > 2 && had.ptr[0] == '{';
    request->detail = arena_printf(&request->arena, "{%.*s%s\"line\":%llu,\"lines_applied\":%llu}",
                                   more ? (int)had.len - 2 : 0, more ? had.ptr + 1 : "",
                                   more ? "," : "", (unsigned long long)line,
                                   (unsigned long long)l->applied_lines);
    call->partly = l->applied_lines > 0;
}

/* Refused: what still comes is not read. */
static void lines_stop(struct call *call)
{
    struct lines *l = call->state;
    struct conn *conn = call->conn;
    if (!l->http) return;
    l->http->lines = NULL;
    call->close = conn->closing = conn->linger = true;
    conn->body_held = false;
}

static void lines_refuse(struct call *call, enum weir_status status, uint64_t line,
                         const struct problem *problem)
{
    struct request *request = &call->request;
    lines_stop(call);
    if (status == WEIR_CHECK || status == WEIR_BUDGET) status = WEIR_ARG;
    request->detail = STR_NIL;
    if (problem->field[0]) {
        struct buf out = { 0 };
        buf_add_text(&out, "{\"field\":");
        json_write_text(&out, str_of(problem->field));
        buf_add_text(&out, ",\"rule\":");
        json_write_text(&out, str_of(problem->rule));
        buf_add_text(&out, "}");
        request->detail = arena_copy(&request->arena, buf_str(&out));
        buf_free(&out);
    }
    lines_tell(call, line);
    call_refuse(call, status, "line %llu: %s", (unsigned long long)line,
                problem->text[0] ? problem->text : weir_status_text(status));
}

static bool line_is_blank(struct weir_str line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.ptr[i] != ' ' && line.ptr[i] != '\t' && line.ptr[i] != '\r') return false;
    return true;
}

/*
 * Looks for the end of the next chunk: after LINES_MAX lines, before the line that goes beyond CHUNK_BYTES_MAX
 * (or after it, when it stands alone), or where the input ends. Its bytes, or 0: more must come.
 */
static size_t chunk_end(struct lines *l)
{
    while (l->scanned < l->in.len) {
        const char *from = l->in.ptr + l->scanned;
        const char *end = memchr(from, '\n', l->in.len - l->scanned);
        if (!end && l->http) return 0;
        size_t next = end ? (size_t)(end - l->in.ptr) + 1 : l->in.len;
        struct weir_str line = { from, next - l->scanned - (end ? 1 : 0) };
        if (next > CHUNK_BYTES_MAX && l->scanned > 0) return l->scanned;
        l->scanned = next;
        if (!line_is_blank(line)) l->found++;
        if (l->found == LINES_MAX || next > CHUNK_BYTES_MAX) return next;
    }
    return l->http ? 0 : l->in.len;
}

/* Parses the chunk into arguments; false after refusing. */
static bool chunk_read(struct call *call, size_t bytes, struct weir_list *list)
{
    struct lines *l = call->state;
    const struct shape *event = l->stream->event;
    struct problem problem;
    problem_clear(&problem);
    char *items = arena_alloc(&l->arena, l->found * (size_t)event->size + 8u);
    size_t count = 0;
    l->next_line = l->line;
    for (size_t at = 0; at < bytes; l->next_line++) {
        const char *end = memchr(l->in.ptr + at, '\n', bytes - at);
        size_t next = end ? (size_t)(end - l->in.ptr) + 1 : bytes;
        struct weir_str line = { l->in.ptr + at, next - at - (end ? 1 : 0) };
        at = next;
        if (line_is_blank(line)) continue;
        ASSERT(count < l->found);
        void *item = items + count++ * event->size;
        enum weir_status status = json_read(event, line, &l->arena, item, &problem);
        if (status == WEIR_OK) status = shape_judge(event, item, false, &problem);
        if (status != WEIR_OK) {
            lines_refuse(call, status, l->next_line, &problem);
            return false;
        }
    }
    *list = (struct weir_list){ items, count };
    return true;
}

static void lines_finish(struct call *call)
{
    struct lines *l = call->state;
    struct buf out = { 0 };
    buf_printf(&out, "{\"count\":%llu,\"first\":", (unsigned long long)l->count);
    if (l->count > 0) buf_printf(&out, "\"%s\",\"last\":\"%s\"}\n", l->first, l->last);
    else buf_add_text(&out, "null,\"last\":null}\n");
    call->counted = call->fresh = true;
    http_answer_body(call, 200, "application/json", &out);
}

static void lines_fault(struct call *call)
{
    struct lines *l = call->state;
    call->http_status = l->fault_http;
    lines_stop(call);
    call->request.detail = STR_NIL;
    lines_tell(call, l->line);
    call_refuse(call, l->fault, "%s", l->fault_text);
}

static void chunk_drop(struct lines *l, size_t bytes)
{
    l->line = l->next_line;
    l->in.len -= bytes;
    memmove(l->in.ptr, l->in.ptr + bytes, l->in.len);
    l->taken = l->scanned = 0;
    l->found = 0;
    arena_reset(&l->arena);
}

static void chunk_submit(struct call *call, size_t bytes)
{
    struct lines *l = call->state;
    struct request *request = &call->request;
    struct weir_list list;
    char number[24];
    if (!chunk_read(call, bytes, &list)) return;
    l->taken = bytes;
    l->taken_lines = l->next_line - l->line;
    l->chunk++;
    void *args = arena_alloc(&l->arena, l->stream->batch->args->size + 8u);
    memcpy(args, &list, sizeof(list));
    snprintf(number, sizeof(number), "%llu", (unsigned long long)l->chunk);
    request->handler = l->stream->batch;
    request->args = args;
    request->key = l->stream->name;
    request->id = STR_NIL;
    if (l->id.len > 0)
        request->id = http_event_request_id(&l->arena, l->stream, l->id, str_of(number));
    if (l->http) call->conn->body_held = l->in.len - l->taken > HELD_BYTES;
    call_submit(call);
}

/* Lines that end in what was looked at. */
static uint64_t lines_seen(const struct lines *l)
{
    uint64_t n = 0;
    for (size_t i = 0; i < l->scanned; i++) n += l->in.ptr[i] == '\n';
    return n;
}

/* Files from Windows begin with a byte order mark. It may come in pieces: fewer than three bytes are no chunk yet. */
static void mark_skip(struct lines *l)
{
    if (l->begun || (l->in.len < 3 && l->http)) return;
    l->begun = true;
    if (!http_begins_with_mark(buf_str(&l->in))) return;
    l->in.len -= 3;
    memmove(l->in.ptr, l->in.ptr + 3, l->in.len);
}

static void lines_go(struct call *call)
{
    struct lines *l = call->state;
    if (call->in_engine) {
        if (l->http) call->conn->body_held = l->in.len - l->taken > HELD_BYTES;
        return;
    }
    if (l->fault != WEIR_OK) {
        lines_fault(call);
        return;
    }
    if (net_is_draining(call->conn->net)) {
        l->fault = WEIR_SHUTDOWN;
        snprintf(l->fault_text, sizeof(l->fault_text), "shutting down, connect again later");
        lines_fault(call);
        return;
    }
    mark_skip(l);
    size_t bytes;
    while ((bytes = chunk_end(l)) > 0 && l->found == 0) {
        struct weir_list none;
        (void)chunk_read(call, bytes, &none); /* blank lines only */
        chunk_drop(l, bytes);
    }
    call->conn->body_held = false;
    size_t limit = call->conn->net->limits.request_bytes_max;
    if (bytes == 0 && l->in.len - l->scanned > limit) {
        struct problem problem;
        problem_clear(&problem);
        snprintf(problem.text, sizeof(problem.text), "longer than request_bytes_max = %zu bytes",
                 limit);
        lines_refuse(call, WEIR_TOOBIG, l->line + lines_seen(l), &problem);
        return;
    }
    if (bytes == 0 && l->http) return;
    if (bytes == 0) lines_finish(call);
    else chunk_submit(call, bytes);
}

static void id_keep(char out[EVENT_ID_TEXT_MAX], struct weir_str id)
{
    snprintf(out, EVENT_ID_TEXT_MAX, "%.*s", STR_ARG(id));
}

static void lines_resumed(struct call *call)
{
    struct lines *l = call->state;
    struct request *request = &call->request;
    if (request->status != WEIR_OK) {
        lines_stop(call);
        lines_tell(call, l->line);
        call_answer(call);
        return;
    }
    const struct emitted *answer = request->result;
    if (l->count == 0) id_keep(l->first, answer->first);
    id_keep(l->last, answer->last);
    l->count += (uint64_t)answer->count;
    l->applied_lines += l->taken_lines;
    chunk_drop(l, l->taken);
    arena_reset(&request->arena);
    request->result = NULL;
    lines_go(call);
}

static void lines_begin(struct call *call, struct http_state *http, const struct stream *stream)
{
    struct lines *l = mem_alloc(sizeof(*l));
    l->stream = stream;
    l->line = 1;
    l->id = (struct weir_str){ l->id_bytes, call->request.id.len };
    if (l->id.len > 0) memcpy(l->id_bytes, call->request.id.ptr, l->id.len);
    call->state = l;
    call->dropped = lines_dropped;
    call->resumed = lines_resumed;
    if (!http->done) {
        l->http = http;
        http->lines = call;
        return;
    }
    buf_add_str(&l->in, buf_str(&http->body));
    lines_go(call);
}

void http_lines_take(struct call *call, struct weir_str bytes, bool end)
{
    struct lines *l = call->state;
    buf_add_str(&l->in, bytes);
    if (end) {
        l->http->lines = NULL;
        l->http = NULL;
        call->conn->body_held = false;
    }
    lines_go(call);
}

void http_lines_fail(struct call *call, enum weir_status status, int http_status, const char *text)
{
    struct lines *l = call->state;
    struct conn *conn = call->conn;
    l->fault = status;
    l->fault_http = http_status;
    snprintf(l->fault_text, sizeof(l->fault_text), "%s", text);
    conn->closing = true; /* nothing more is read */
    if (!call->in_engine) lines_fault(call);
}

/* The type and subtype, without parameters. */
struct weir_str http_media_type(struct weir_str value)
{
    const char *end = value.len > 0 ? memchr(value.ptr, ';', value.len) : NULL;
    if (end) value.len = (size_t)(end - value.ptr);
    while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
        value.len--;
    return value;
}

bool http_brings_lines(const struct http_state *http)
{
    static const char *const names[] = { "application/x-ndjson", "application/ndjson",
                                         "application/jsonl", "application/x-jsonlines",
                                         "application/jsonlines" };
    struct weir_str type = http_media_type(http->type);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (http_name_is(type, names[i])) return true;
    return false;
}

/* ---- which of them ---- */

void http_emit_end(struct call *call, struct http_state *http, const struct stream *stream)
{
    struct request *request = &call->request;
    if (!http_id_read(call, http)) return;
    id_scope(call, stream);
    request->handler = stream->end;
    request->args = arena_alloc(&request->arena, 8);
    request->key = stream->name;
    call->resumed = one_resumed;
    call_submit(call);
}

void http_emit(struct call *call, struct http_state *http, const struct stream *stream)
{
    struct weir_str body = buf_str(&http->body);
    if (http->types > 1) {
        call_refuse(call, WEIR_BADREQUEST, "a header that may come once came twice");
        return;
    }
    if (!http_brings_lines(http) && !http_json_begins_well(call, body)) return;
    if (http_is_cloudevent(http)) {
        http_emit_cloudevents(call, http, stream);
        return;
    }
    if (!http_id_read(call, http)) return;
    if (http_brings_lines(http)) {
        lines_begin(call, http, stream);
        return;
    }
    id_scope(call, stream);
    size_t at = 0;
    while (at < body.len && memchr(" \t\r\n", body.ptr[at], 4)) at++;
    if (at == body.len)
        call_refuse(call, WEIR_ARG,
                    "the body is empty: an event is a JSON object, several an array or lines");
    else if (body.ptr[at] == '[') emit_array(call, stream, body);
    else http_emit_one(call, stream, body);
}
