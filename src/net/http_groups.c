/*
 * http_groups.c - consumer groups over HTTP: /streams/{name}/groups, .../{group}, .../{group}/read, .../{group}/ack.
 *
 * The groups of core/group.h, the same that RESP's XREADGROUP has. A read asks the group for its position, reads
 * events behind it, waiting if told to, and takes them; when another consumer was faster it begins again. It is a POST,
 * as it moves the group: a page of another site can make a browser GET. Each step that changes the group is
 * durable before the next. Events are delivered at least once: a consumer that comes back after a crash first reads
 * with pending=true what it had taken and not acknowledged.
 * SPDX-License-Identifier: MIT
 */
#include "core/group.h"
#include "net/http_int.h"

#define NAME_BYTES_MAX 255u
#define COUNT_DEFAULT 100u
#define ANSWER_BYTES ((size_t)1 << 20)
#define NS_PER_MS UINT64_C(1000000)

struct member {
    const struct stream *stream;
    struct arena arena, round; /* round: of one attempt to take */
    struct weir_str key, consumer;
    struct http_bound from; /* of a new group */
    uint64_t count, until_ns;
    bool pending;
    struct group_args args;
    void (*then)(struct call *call, const struct group_answer *answer);
    struct feed_item *items; /* read, and not yet taken */
    uint32_t item_count;
    struct event_id position;
    struct event_id *ids; /* pending, to be shown */
    size_t id_count, id_at;
    struct buf out;
    uint32_t shown;
};

static void items_free(struct member *m)
{
    struct feed_read read = { .items = m->items };
    feed_read_free(&read);
    m->items = NULL;
    m->item_count = 0;
}

static void member_dropped(struct call *call)
{
    struct member *m = call->state;
    items_free(m);
    buf_free(&m->out);
    arena_free(&m->arena);
    arena_free(&m->round);
    mem_free(m);
}

static struct event_id id_at(struct weir_str ids, size_t i)
{
    struct event_id id = { 0, 0 };
    if (ids.len >= (i + 1) * sizeof(id)) memcpy(&id, ids.ptr + i * sizeof(id), sizeof(id));
    return id;
}

/* ---- asking the group, and the stream ---- */

static void asked(struct call *call)
{
    struct member *m = call->state;
    struct request *request = &call->request;
    if (request->status == WEIR_OK) {
        m->then(call, request->result);
        return;
    }
    if (request->status == WEIR_FAILED)
        call->http_status = str_eq(request->code, STR("nogroup"))     ? 404
                            : str_eq(request->code, STR("busygroup")) ? 409
                                                                      : 422;
    call_answer(call);
}

static void ask(struct call *call, enum group_op op, const struct group_args *args,
                void (*then)(struct call *, const struct group_answer *))
{
    struct member *m = call->state;
    struct arena arena = call->request.arena;
    arena_reset(&arena);
    m->args = *args;
    m->then = then;
    call->request = (struct request){ .arena = arena,
                                      .handler = group_handler(
                                          engine_catalog(call->conn->net->engine), op),
                                      .key = m->key,
                                      .args = &m->args };
    call->resumed = asked;
    call_submit(call);
}

static bool read_events(struct call *call, const struct feed_read *question,
                        void (*done)(struct call *, struct feed_read *))
{
    call->read_done = done;
    enum weir_status status = call_read(call, question);
    if (status == WEIR_OK) return true;
    call_refuse(call, status, "%s",
                status == WEIR_OVERLOADED ? "too many reads at once: reads_max, reads_conn_max"
                                          : weir_status_text(status));
    return false;
}

static bool read_is_good(struct call *call, const struct feed_read *read)
{
    if (read->status == WEIR_OK) return true;
    call_refuse(call, read->status, "%s", weir_status_text(status_public(read->status)));
    return false;
}

static void member_answer(struct call *call)
{
    struct member *m = call->state;
    struct buf out = m->out;
    m->out = (struct buf){ 0 };
    call->fresh = true;
    http_answer_body(call, 200, "application/json", &out);
}

static void show(struct member *m, const struct feed_item *item)
{
    if (m->shown++ > 0) buf_add_text(&m->out, ",\n");
    http_add_event(m->stream, item, false, &m->round, &m->out);
}

/* ---- reading ---- */

static void position_ask(struct call *call);
static void events_ask(struct call *call);

static void taken(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    uint64_t skip = m->item_count - (uint64_t)answer->count;
    for (const struct feed_item *item = m->items; item; item = item->next) {
        if (skip > 0) skip--;
        else show(m, item);
    }
    m->position = id_at(answer->from, 0);
    items_free(m);
    arena_reset(&m->round);
    if (m->shown == 0) {
        events_ask(call); /* others were faster */
        return;
    }
    buf_add_text(&m->out, "]}\n");
    member_answer(call);
}

static void events_done(struct call *call, struct feed_read *read)
{
    struct member *m = call->state;
    if (!read_is_good(call, read)) return;
    if (read->item_count == 0) {
        buf_add_text(&m->out, "]}\n");
        member_answer(call);
        return;
    }
    m->items = read->items;
    m->item_count = read->item_count;
    read->items = NULL;
    struct event_id *ids = arena_alloc(&m->round, m->item_count * sizeof(*ids));
    size_t n = 0;
    for (const struct feed_item *item = m->items; item; item = item->next) ids[n++] = item->id;
    struct group_args args = { .name = m->consumer,
                               .from = { (const char *)&m->position, sizeof(m->position) },
                               .ids = { (const char *)ids, n * sizeof(*ids) } };
    ask(call, GROUP_TAKE, &args, taken);
}

static void events_ask(struct call *call)
{
    struct member *m = call->state;
    struct feed_read q = { .op = FEED_READ,
                           .stream = m->stream,
                           .from = http_id_after(m->position),
                           .count = (uint32_t)m->count,
                           .bytes_max = ANSWER_BYTES,
                           .until_ns = m->until_ns };
    (void)read_events(call, &q, events_done);
}

static void consumer_made(struct call *call, const struct group_answer *answer)
{
    (void)answer;
    position_ask(call);
}

static void positioned(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    m->position = id_at(answer->from, 0);
    if (answer->known) events_ask(call);
    else ask(call, GROUP_CONSUMER, &(struct group_args){ .name = m->consumer }, consumer_made);
}

static void position_ask(struct call *call)
{
    struct member *m = call->state;
    ask(call, GROUP_POSITION, &(struct group_args){ .name = m->consumer }, positioned);
}

/* ---- what is pending, once more ---- */

static void pending_next(struct call *call);

static void pending_done(struct call *call, struct feed_read *read)
{
    struct member *m = call->state;
    if (!read_is_good(call, read)) return;
    if (read->items) {
        show(m, read->items);
        arena_reset(&m->round);
    } else { /* retired: it is still to be acknowledged */
        char id[EVENT_ID_TEXT_MAX];
        size_t len = event_id_write(m->ids[m->id_at], id);
        buf_printf(&m->out, "%s{\"id\":\"%.*s\",\"event\":null}", m->shown++ > 0 ? ",\n" : "",
                   (int)len, id);
    }
    m->id_at++;
    pending_next(call);
}

static void pending_next(struct call *call)
{
    struct member *m = call->state;
    if (m->id_at == m->id_count || m->out.len > ANSWER_BYTES) {
        buf_add_text(&m->out, "]}\n");
        member_answer(call);
        return;
    }
    struct event_id id = m->ids[m->id_at];
    struct feed_read q = { .op = FEED_READ, .stream = m->stream, .from = id, .to = id, .count = 1 };
    (void)read_events(call, &q, pending_done);
}

static void pending_found(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    m->id_count = answer->ids.len / sizeof(struct event_id);
    m->ids = arena_alloc(&m->arena, answer->ids.len + 1);
    if (answer->ids.len > 0) memcpy(m->ids, answer->ids.ptr, answer->ids.len);
    pending_next(call);
}

/* ---- making a group, its figures ---- */

static void created(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    if (answer->more) { /* the remains of a former one are cleared step by step */
        struct group_args again = m->args;
        ask(call, GROUP_CREATE, &again, created);
        return;
    }
    buf_add_text(&m->out, "{\"created\":true}\n");
    member_answer(call);
}

static void create_ask(struct call *call, struct event_id before)
{
    struct member *m = call->state;
    m->position = before;
    struct group_args args = { .from = { (const char *)&m->position, sizeof(m->position) },
                               .count = before.epoch == 0 && before.n == 0 ? 0 : -1 };
    ask(call, GROUP_CREATE, &args, created);
}

static void create_placed(struct call *call, struct feed_read *read)
{
    if (!read_is_good(call, read)) return;
    create_ask(call, read->op == FEED_INFO ? read->info.last : http_id_before(read->from));
}

static void create(struct call *call)
{
    struct member *m = call->state;
    struct feed_read q = { .op = FEED_INFO, .stream = m->stream };
    switch (m->from.place) {
    case PLACE_OLDEST: create_ask(call, (struct event_id){ 0, 0 }); return;
    case PLACE_ID: create_ask(call, http_id_before(m->from.id)); return;
    case PLACE_TIME:
        q.op = FEED_FIND_TIME;
        q.time_ms = m->from.time_ms;
        break;
    case PLACE_NOW: break;
    }
    (void)read_events(call, &q, create_placed);
}

static void add_infos(struct member *m, const struct weir_list *infos, bool group)
{
    const struct group_info *info = infos->items;
    char id[EVENT_ID_TEXT_MAX];
    for (size_t i = 0; i < infos->count; i++, info++) {
        if (i > 0) buf_add_text(&m->out, ",\n");
        buf_add_text(&m->out, "{\"name\":");
        json_write_text(&m->out, info->name);
        buf_printf(&m->out, ",\"pending\":%lld", (long long)info->pending);
        if (group) {
            size_t len = event_id_write(id_at(info->last, 0), id);
            buf_printf(&m->out, ",\"consumers\":%lld,\"last\":\"%.*s\"", (long long)info->consumers,
                       (int)len, id);
        } else {
            buf_printf(&m->out, ",\"idle_ms\":%lld", (long long)info->idle_ms);
        }
        buf_add_byte(&m->out, '}');
    }
    buf_add_text(&m->out, "]}\n");
}

static void groups_found(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    buf_add_text(&m->out, "{\"groups\":[");
    add_infos(m, &answer->infos, true);
    member_answer(call);
}

static void consumers_found(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    buf_add_text(&m->out, "{\"consumers\":[");
    add_infos(m, &answer->infos, false);
    member_answer(call);
}

/* ---- acknowledging ---- */

static void acknowledged(struct call *call, const struct group_answer *answer)
{
    struct member *m = call->state;
    buf_printf(&m->out, "{\"acknowledged\":%lld}\n", (long long)answer->count);
    member_answer(call);
}

/* ["12-1", ...] or {"ids": [...]}; false after refusing. */
static bool ids_read(struct call *call, struct weir_str body, struct weir_str *out)
{
    struct member *m = call->state;
    struct json_parts parts;
    struct problem problem = { 0 };
    if (!http_json_begins_well(call, body)) return false;
    enum weir_status status = json_parts(body, &m->arena, &parts, &problem);
    if (status == WEIR_OK && parts.is_object) {
        bool named = parts.count == 1 && str_eq(parts.items[0].name, STR("ids"));
        status = json_parts(named ? parts.items[0].json : STR("{}"), &m->arena, &parts, &problem);
    }
    bool good = status == WEIR_OK && !parts.is_object && parts.count <= GROUP_BATCH_MAX;
    struct event_id *ids = arena_alloc(&m->arena, (good ? parts.count + 1 : 1) * sizeof(*ids));
    for (uint32_t i = 0; good && i < parts.count; i++)
        good = parts.items[i].text.ptr && event_id_read(parts.items[i].text, 0, &ids[i]);
    if (!good) {
        call_refuse(call, WEIR_ARG, "{\"ids\":[...]}, or the array alone: at most %u ids of events",
                    GROUP_BATCH_MAX);
        return false;
    }
    *out = (struct weir_str){ (const char *)ids, parts.count * sizeof(*ids) };
    return true;
}

/* ---- routes ---- */

static bool name_is_fit(struct weir_str name)
{
    return name.len > 0 && name.len <= NAME_BYTES_MAX && str_is_utf8(name) &&
           !memchr(name.ptr, 0, name.len);
}

/* NULL, or what is wrong. */
static const char *parameter_read(struct call *call, bool reads, struct weir_str name,
                                  struct weir_str value)
{
    struct member *m = call->state;
    struct env *env = call->conn->net->env;
    uint64_t wait_ms;
    if (!reads) {
        if (str_eq(name, STR("from")) && http_bound_read(value, 0, &m->from)) return NULL;
        return "a group is made with from: an event id, a time, oldest or now";
    }
    if (str_eq(name, STR("consumer"))) {
        m->consumer = arena_copy(&m->arena, value);
    } else if (str_eq(name, STR("limit"))) {
        if (!http_count_read(value, GROUP_BATCH_MAX, &m->count))
            return "limit is a whole number of 1 to 1000";
    } else if (str_eq(name, STR("wait"))) {
        if (!http_wait_read(value, &wait_ms))
            return "wait is a duration such as 10s or 500ms, at most 60s";
        m->until_ns = wait_ms ? env->mono_ns(env) + wait_ms * NS_PER_MS : 0;
    } else if (str_eq(name, STR("pending"))) {
        m->pending = str_eq(value, STR("true")) || str_eq(value, STR("1"));
        if (!m->pending && !str_eq(value, STR("false")) && !str_eq(value, STR("0")))
            return "pending is true or false";
    } else {
        return "a group is read with consumer, limit, wait and pending";
    }
    return NULL;
}

static bool parameters_read(struct call *call, const struct path *path, bool reads)
{
    struct weir_str query = path->query, name, value;
    struct member *m = call->state;
    const char *fault = NULL;
    int more = 0;
    while (!fault && (more = http_parameter(&m->arena, &query, &name, &value)) > 0)
        fault = parameter_read(call, reads, name, value);
    if (!fault && more < 0) fault = "a parameter is not UTF-8 in percent escapes";
    if (!fault && reads && !name_is_fit(m->consumer))
        fault = "consumer names who reads: UTF-8 text of 1 to 255 bytes without NUL";
    if (fault) call_refuse(call, WEIR_ARG, "%s", fault);
    return !fault;
}

static void route_read(struct call *call, const struct path *path)
{
    struct member *m = call->state;
    if (!parameters_read(call, path, true)) return;
    call->counted = m->until_ns == 0;
    buf_add_text(&m->out, "{\"events\":[");
    if (!m->pending) {
        position_ask(call);
        return;
    }
    struct group_args args = { .name = m->consumer,
                               .from = { (const char *)&m->position, sizeof(m->position) },
                               .count = (int64_t)m->count };
    ask(call, GROUP_AGAIN, &args, pending_found);
}

static struct member *member_begin(struct call *call, const struct stream *stream,
                                   struct weir_str group)
{
    struct member *m = mem_alloc(sizeof(*m));
    m->stream = stream;
    m->count = COUNT_DEFAULT;
    m->from.place = PLACE_OLDEST;
    m->key = arena_printf(&m->arena, "%.*s/%.*s", STR_ARG(stream->name), STR_ARG(group));
    call->state = m;
    call->dropped = member_dropped;
    return m;
}

void http_route_groups(struct call *call, const struct http_state *http, const struct path *path,
                       const struct stream *stream)
{
    bool reads = http_is_read(http);
    struct weir_str verb = path->count == 5 ? path->segment[4] : STR_NIL, ids;
    bool read = str_eq(verb, STR("read")), ack = str_eq(verb, STR("ack"));
    if (path->too_many || (path->count == 5 && !read && !ack)) {
        call_refuse(call, WEIR_NOTFOUND,
                    "no such path: GET /streams/{name}/groups, GET and POST .../{group}, POST "
                    ".../{group}/read, POST .../{group}/ack");
        return;
    }
    if (path->count == 3 ? !reads : path->count == 5 && reads) {
        http_refuse_method(call, reads ? "POST" : "GET, HEAD");
        return;
    }
    struct weir_str group = path->count > 3 ? path->segment[3] : STR("");
    if (path->count > 3 && !name_is_fit(group)) {
        call_refuse(call, WEIR_ARG, "the name of a group has 1 to %u bytes", NAME_BYTES_MAX);
        return;
    }
    struct member *m = member_begin(call, stream, group);
    if (path->count == 3) {
        ask(call, GROUP_LIST, &(struct group_args){ 0 }, groups_found);
    } else if (path->count == 4 && reads) {
        ask(call, GROUP_CONSUMERS, &(struct group_args){ 0 }, consumers_found);
    } else if (path->count == 4) {
        if (parameters_read(call, path, false)) create(call);
    } else if (read) {
        route_read(call, path);
    } else if (ids_read(call, buf_str(&http->body), &ids)) {
        ask(call, GROUP_ACK, &(struct group_args){ .ids = ids }, acknowledged);
    }
    (void)m;
}
