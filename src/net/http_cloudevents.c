/*
 * http_cloudevents.c - POST /streams/{name} with CloudEvents 1.0: binary, structured and batched (CloudEvents HTTP
 * Protocol Binding 1.0.2, JSON Event Format 1.0.2).
 *
 * The data is an event of the stream. Source and id together are the idempotency key of the request, as the
 * specification says that no other event has both: so one that is sent again, in whatever mode, gets the first
 * answer. `time` and `subject` fill the stream's time and key fields when the data lacks them; other attributes
 * are judged and not kept.
 * A batch is judged whole before anything of it is emitted; then each event is a transaction of its own, several at
 * a time, those of one key in their order. If any fails, the answer is its failure, with what became of each:
 * sending the batch again does the rest.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <strings.h>

#include "net/http_int.h"

#define BATCH_MAX 1000u
#define BATCH_AT_ONCE 64u
#define TYPE_ANY "application/cloudevents" /* what all of theirs begin with */
#define TYPE_STRUCTURED TYPE_ANY "+json"
#define TYPE_BATCH TYPE_ANY "-batch+json"

struct cloudevent {
    struct weir_str version, id, source, type, subject, time, content_type;
    struct weir_str data; /* JSON; nil: none */
    bool base64;
    /* of a batch */
    struct call *branch;
    void *event;
    struct weir_str request_id, order;
    bool begun, over, replayed;
    enum weir_status status;
    struct weir_str answer; /* the id, or the text of the failure */
    struct weir_str code;
};

/* Structured or batched, in whatever format. */
static bool has_envelope(const struct http_state *http)
{
    size_t len = strlen(TYPE_ANY);
    struct weir_str type = http_media_type(http->type);
    return type.len >= len && strncasecmp(type.ptr, TYPE_ANY, len) == 0;
}

bool http_is_cloudevent(const struct http_state *http)
{
    if (has_envelope(http)) return true;
    for (uint32_t i = 0; i < http->event_headers && i < EVENT_HEADERS_MAX; i++)
        if (http_name_is(http->event_names[i], "ce-specversion") ||
            http_name_is(http->event_names[i], "ce-id"))
            return true;
    return false;
}

/* ---- attributes ---- */

static struct weir_str *attribute(struct cloudevent *e, struct weir_str name)
{
    const struct {
        const char *name;
        struct weir_str *at;
    } known[] = { { "specversion", &e->version },
                  { "id", &e->id },
                  { "source", &e->source },
                  { "type", &e->type },
                  { "subject", &e->subject },
                  { "time", &e->time },
                  { "datacontenttype", &e->content_type } };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (str_eq(name, str_of(known[i].name))) return known[i].at;
    return NULL;
}

static bool name_is_good(struct weir_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) return false;
    }
    return name.len > 0;
}

static bool is_json_type(struct weir_str value)
{
    struct weir_str type = http_media_type(value);
    if (type.len == 0 || http_name_is(type, "application/json") || http_name_is(type, "text/json"))
        return true;
    return type.len > 5 && strncasecmp(type.ptr + type.len - 5, "+json", 5) == 0;
}

static bool time_is_good(struct weir_str text)
{
    static const struct field time = { .name = { "time", 4 }, .kind = WEIR_TIME, .size = 8 };
    struct problem problem = { 0 };
    int64_t out;
    return text.len >= 20 && field_read_text(&time, text, NULL, &out, &problem) == WEIR_OK;
}

static bool has_control(struct weir_str text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] < 0x20 || text.ptr[i] == 0x7f) return true;
    return false;
}

/* What is wrong with the attributes, or NULL. */
static const char *attributes_fault(const struct cloudevent *e)
{
    if (has_control(e->id) || has_control(e->source) || has_control(e->type) ||
        has_control(e->subject))
        return "an attribute holds a control character";
    if (e->version.len == 0) return "the attribute specversion is missing";
    if (!str_eq(e->version, STR("1.0"))) return "specversion must be 1.0";
    if (e->id.len == 0) return "the attribute id is missing or empty";
    if (e->source.len == 0) return "the attribute source is missing or empty";
    if (e->type.len == 0) return "the attribute type is missing or empty";
    if (e->subject.ptr && e->subject.len == 0) return "subject may be left out, but not be empty";
    if (e->time.ptr && !time_is_good(e->time))
        return "time is a time as in RFC 3339: 2026-11-22T12:00:00Z";
    if (e->base64) return "data_base64 is not taken: the events of a stream are JSON, as data";
    if (!is_json_type(e->content_type)) return "the data of an event is JSON: application/json";
    return NULL;
}

/* From the headers; a header's value has its percent escapes. */
static const char *binary_read(struct call *call, const struct http_state *http,
                               struct cloudevent *e)
{
    struct arena *arena = &call->request.arena;
    if (http->event_headers > EVENT_HEADERS_MAX) return "more than 32 attributes";
    for (uint32_t i = 0; i < http->event_headers; i++) {
        struct weir_str name = arena_copy(arena, http->event_names[i]),
                        text = http->event_values[i];
        name.ptr += 3;
        name.len -= 3;
        for (size_t k = 0; k < name.len; k++)
            if (name.ptr[k] >= 'A' && name.ptr[k] <= 'Z')
                ((char *)(uintptr_t)name.ptr)[k] = (char)(name.ptr[k] + 'a' - 'A');
        while (text.len > 0 && (text.ptr[text.len - 1] == ' ' || text.ptr[text.len - 1] == '\t'))
            text.len--;
        if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
            text = (struct weir_str){ text.ptr + 1, text.len - 2 };
        struct weir_str value;
        if (!http_unescape(arena, text, false, &value))
            return "an attribute is not UTF-8 in percent escapes";
        struct weir_str *at = attribute(e, name);
        if (!name_is_good(name)) return "the name of an attribute has letters and digits only";
        if (at == &e->content_type) return "datacontenttype is the header Content-Type here";
        if (at && at->ptr) return "an attribute came twice";
        if (at) *at = value;
    }
    e->content_type = http->type;
    if (http->body.len > 0) e->data = buf_str(&http->body);
    return NULL;
}

static const char *structured_read(struct arena *arena, struct weir_str json, struct cloudevent *e)
{
    struct json_parts parts;
    struct problem problem = { 0 };
    if (json_parts(json, arena, &parts, &problem) != WEIR_OK)
        return arena_cstr(arena, str_of(problem.text));
    if (!parts.is_object) return "a CloudEvent is a JSON object";
    for (uint32_t i = 0; i < parts.count; i++) {
        const struct json_part *part = &parts.items[i];
        struct weir_str *at = attribute(e, part->name);
        if (str_eq(part->name, STR("data"))) {
            e->data = part->json.ptr ? part->json : STR("null");
        } else if (str_eq(part->name, STR("data_base64"))) {
            e->base64 = true;
        } else if (!name_is_good(part->name)) {
            return "the name of an attribute has lower-case letters and digits only";
        } else if (at && part->json.ptr) { /* null is as good as absent */
            if (!part->text.ptr)
                return "specversion, id, source, type, subject, time, and "
                       "datacontenttype are texts";
            *at = part->text;
        }
    }
    return NULL;
}

/* ---- the event ---- */

static void member_add(struct buf *out, const char *field, struct weir_str text)
{
    if (out->len > 1) buf_add_byte(out, ',');
    buf_printf(out, "\"%s\":", field);
    json_write_text(out, text);
}

static bool parts_have(const struct json_parts *parts, struct weir_str name)
{
    for (uint32_t i = 0; i < parts->count; i++)
        if (str_eq(parts->items[i].name, name)) return true;
    return false;
}

/* The data, with subject and time put in where the stream's key and time fields are not. */
static enum weir_status data_fill(struct arena *arena, const struct stream *stream,
                                  struct cloudevent *e, struct problem *problem)
{
    struct json_parts parts;
    enum weir_status status = json_parts(e->data.ptr ? e->data : STR("{}"), arena, &parts, problem);
    if (status != WEIR_OK) return status;
    const struct field *fields = stream->event->fields;
    int key = stream->key_field, time = stream->time_field;
    bool by_subject = parts.is_object && key >= 0 && e->subject.ptr &&
                      !parts_have(&parts, fields[key].name);
    bool by_time = parts.is_object && time >= 0 && e->time.ptr &&
                   !parts_have(&parts, fields[time].name);
    if (!by_subject && !by_time) {
        if (!e->data.ptr) e->data = STR("{}");
        return WEIR_OK;
    }
    struct buf out = { 0 };
    buf_add_byte(&out, '{');
    for (uint32_t i = 0; i < parts.count; i++) {
        struct weir_str json = parts.items[i].json;
        if (i > 0) buf_add_byte(&out, ',');
        json_write_text(&out, parts.items[i].name);
        buf_add_byte(&out, ':');
        buf_add_str(&out, json.ptr ? json : STR("null"));
    }
    if (by_subject) member_add(&out, arena_cstr(arena, fields[key].name), e->subject);
    if (by_time) member_add(&out, arena_cstr(arena, fields[time].name), e->time);
    buf_add_byte(&out, '}');
    e->data = arena_copy(arena, buf_str(&out));
    buf_free(&out);
    return WEIR_OK;
}

static void emit_single(struct call *call, const struct stream *stream, struct cloudevent *e)
{
    struct problem problem = { 0 };
    enum weir_status status = data_fill(&call->request.arena, stream, e, &problem);
    if (status != WEIR_OK) {
        call_refuse_problem(call, status, &problem);
        return;
    }
    call->request.id = http_event_request_id(&call->request.arena, stream, e->source, e->id);
    http_emit_one(call, stream, e->data);
}

/* ---- batches ---- */

struct batch {
    const struct stream *stream;
    struct cloudevent *events;
    uint32_t count, next, out, over;
};

static void batch_go(struct call *call);

static void batch_dropped(struct call *call)
{
    struct batch *b = call->state;
    struct net *net = call->conn->net;
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->events[i].branch) call_prune(net, b->events[i].branch);
        b->events[i].branch = NULL;
    }
}

/* What became of each, as members of an object. */
static void batch_tell(const struct batch *b, struct buf *out)
{
    buf_add_text(out, "{\"events\":[");
    for (uint32_t i = 0; i < b->count; i++) {
        const struct cloudevent *e = &b->events[i];
        if (i > 0) buf_add_byte(out, ',');
        if (e->status == WEIR_OK) {
            buf_add_text(out, "{\"id\":");
            json_write_text(out, e->answer);
            if (e->replayed) buf_add_text(out, ",\"replayed\":true");
        } else {
            buf_add_text(out, "{\"code\":");
            json_write_text(out, str_of(weir_status_word(status_public(e->status))));
            buf_add_text(out, ",\"detail\":");
            json_write_text(out, e->answer);
        }
        buf_add_byte(out, '}');
    }
    buf_add_text(out, "]}");
}

static void batch_finish(struct call *call)
{
    struct batch *b = call->state;
    const struct cloudevent *failed = NULL;
    uint32_t fine = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->events[i].status == WEIR_OK) fine++;
        else if (!failed) failed = &b->events[i];
    }
    struct buf out = { 0 };
    batch_tell(b, &out);
    call->fresh = true;
    if (!failed) {
        buf_add_byte(&out, '\n');
        http_answer_body(call, 200, "application/json", &out);
        return;
    }
    call->request.detail = arena_copy(&call->request.arena, buf_str(&out));
    buf_free(&out);
    call->partly = fine > 0;
    call_refuse(call, failed->status, "event %u of %u: %.*s", (unsigned)(failed - b->events) + 1,
                b->count, STR_ARG(failed->answer));
}

static void branch_resumed(struct call *branch)
{
    struct call *call = branch->state;
    struct batch *b = call->state;
    struct request *request = &branch->request;
    struct cloudevent *e = b->events;
    while (e->branch != branch) e++;
    e->status = request->status;
    e->replayed = request->replayed;
    e->answer = arena_copy(&call->request.arena, request->status == WEIR_OK
                                                     ? *(const struct weir_str *)request->result
                                                     : request_text(request));
    admin_observe(call->conn->net, branch);
    e->branch = NULL;
    e->over = true;
    b->out--;
    b->over++;
    call_prune(call->conn->net, branch);
    batch_go(call);
}

/* One whose key is on its way waits, and with it all behind it: so the order of each key is kept. */
static bool batch_must_wait(const struct batch *b, const struct cloudevent *e)
{
    if (b->out >= BATCH_AT_ONCE) return true;
    for (uint32_t i = 0; i < b->next; i++)
        if (b->events[i].branch && str_eq(b->events[i].order, e->order)) return true;
    return false;
}

static void batch_go(struct call *call)
{
    struct batch *b = call->state;
    struct net *net = call->conn->net;
    while (b->next < b->count && !batch_must_wait(b, &b->events[b->next])) {
        struct cloudevent *e = &b->events[b->next++];
        if (net_is_draining(net)) {
            e->status = WEIR_SHUTDOWN;
            e->answer = STR("shutting down, connect again later");
            b->over++;
            continue;
        }
        e->branch = call_branch(call);
        e->branch->state = call;
        e->branch->resumed = branch_resumed;
        e->branch->request.handler = b->stream->emit;
        e->branch->request.args = e->event;
        e->branch->request.id = e->request_id;
        b->out++;
        call_submit(e->branch);
    }
    if (b->over == b->count) batch_finish(call);
}

static enum weir_status batch_event_read(struct call *call, const struct stream *stream,
                                         struct weir_str json, struct cloudevent *e,
                                         struct problem *problem)
{
    struct arena *arena = &call->request.arena;
    const char *fault = structured_read(arena, json.ptr ? json : STR("null"), e);
    if (!fault) fault = attributes_fault(e);
    if (fault) {
        snprintf(problem->text, sizeof(problem->text), "%s", fault);
        return WEIR_ARG;
    }
    enum weir_status status = data_fill(arena, stream, e, problem);
    if (status != WEIR_OK) return status;
    e->event = arena_alloc(arena, stream->event->size + 8u);
    status = json_read(stream->event, e->data, arena, e->event, problem);
    if (status == WEIR_OK) status = shape_judge(stream->event, e->event, false, problem);
    e->request_id = http_event_request_id(arena, stream, e->source, e->id);
    e->order = http_event_order(stream, e->event);
    return status;
}

static void emit_batch(struct call *call, const struct stream *stream, struct weir_str body)
{
    struct arena *arena = &call->request.arena;
    struct json_parts parts;
    struct problem problem = { 0 };
    enum weir_status status = json_parts(body, arena, &parts, &problem);
    if (status != WEIR_OK) {
        call_refuse_problem(call, status, &problem);
        return;
    }
    if (parts.is_object || parts.count > BATCH_MAX) {
        call_refuse(call, parts.is_object ? WEIR_ARG : WEIR_TOOBIG,
                    "a batch is a JSON array of at most %u CloudEvents", BATCH_MAX);
        return;
    }
    struct batch *b = arena_alloc(arena, sizeof(*b));
    b->stream = stream;
    b->count = parts.count;
    b->events = arena_alloc(arena, (parts.count + 1) * sizeof(*b->events));
    for (uint32_t i = 0; i < parts.count; i++) {
        problem = (struct problem){ 0 };
        status = batch_event_read(call, stream, parts.items[i].json, &b->events[i], &problem);
        if (status == WEIR_OK) continue;
        char text[200];
        snprintf(text, sizeof(text), "event %u of %u: %.160s", i + 1, parts.count, problem.text);
        memcpy(problem.text, text, sizeof(text));
        call_refuse_problem(call, status, &problem);
        return;
    }
    call->state = b;
    call->dropped = batch_dropped;
    batch_go(call);
}

void http_emit_cloudevents(struct call *call, const struct http_state *http,
                           const struct stream *stream)
{
    struct cloudevent e = { 0 };
    struct weir_str body = buf_str(&http->body);
    const char *fault;
    if (http->ids > 0) {
        call_refuse(
            call, WEIR_ARG,
            "a CloudEvent's source and id are its key: Idempotency-Key has no place beside");
        return;
    }
    struct weir_str type = http_media_type(http->type);
    bool structured = http_name_is(type, TYPE_STRUCTURED);
    if (http_name_is(type, TYPE_BATCH)) {
        emit_batch(call, stream, body);
        return;
    }
    if (!structured && has_envelope(http)) {
        call->http_status = 415;
        call_refuse(call, WEIR_BADREQUEST,
                    "of CloudEvents there are binary ones, " TYPE_STRUCTURED " and " TYPE_BATCH);
        return;
    }
    fault = structured ? structured_read(&call->request.arena, body, &e)
                       : binary_read(call, http, &e);
    if (!fault) fault = attributes_fault(&e);
    if (fault) call_refuse(call, WEIR_ARG, "%s", fault);
    else emit_single(call, stream, &e);
}
