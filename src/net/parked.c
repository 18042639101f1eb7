/*
 * parked.c - work that waits for a person, on both doors: GET /parked, POST /parked/{id}/retry, /drop, POST
 * /parked/retry-all; PARKED LIST, RETRY, DROP.
 *
 * Parked work lies with the shard that owns it. A list walks the shards one after the other; where it stopped is "next",
 * which is a shard's number, a dot and an id. For the operator only.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "net/http_int.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 1000u

struct walk {
    struct parked_request ask;
    uint32_t left; /* of a list */
    uint32_t shards;
    uint64_t done;
    bool listing;
    struct buf out;
    char id[64];
};

static void walk_dropped(struct call *call)
{
    struct walk *w = call->state;
    buf_free(&w->out);
    mem_free(w);
}

static void walk_submit(struct call *call)
{
    struct walk *w = call->state;
    arena_reset(&call->request.arena);
    call->request.parked = &w->ask;
    call_submit(call);
}

static void walk_answer(struct call *call)
{
    struct walk *w = call->state;
    struct buf out = w->out;
    w->out = (struct buf){ 0 };
    if (call->conn->door == DOOR_RESP) {
        struct buf *reply = resp_scratch(call);
        if (w->ask.op == PARKED_LIST) resp_add_json(reply, call->protocol, buf_str(&out));
        else resp_add_int(reply, (int64_t)w->done);
        buf_free(&out);
        resp_answer_scratch(call);
        return;
    }
    call->fresh = true;
    http_answer_body(call, 200, "application/json", &out);
}

/* What stands between the brackets of {"parked":[...],"next":...}, and the id to go on after. */
static bool page_read(struct weir_str page, struct arena *arena, struct json_parts *items,
                      struct weir_str *next)
{
    struct json_parts parts;
    struct problem problem;
    if (json_parts(page, arena, &parts, &problem) != WEIR_OK || parts.count != 2) return false;
    *next = parts.items[1].text;
    return json_parts(parts.items[0].json, arena, items, &problem) == WEIR_OK;
}

static void list_end(struct call *call, bool more)
{
    struct walk *w = call->state;
    buf_add_text(&w->out, "],\"next\":");
    if (more) {
        char text[96];
        snprintf(text, sizeof(text), "%u.%s", w->ask.shard, w->id);
        json_write_text(&w->out, str_of(text));
    } else {
        buf_add_text(&w->out, "null");
    }
    buf_add_text(&w->out, "}\n");
    walk_answer(call);
}

static void list_resumed(struct call *call)
{
    struct walk *w = call->state;
    struct request *request = &call->request;
    struct json_parts items;
    struct weir_str next = STR_NIL;
    if (request->status != WEIR_OK) {
        call_answer(call);
        return;
    }
    struct weir_str page = *(const struct weir_str *)request->result;
    if (!page_read(page, &request->arena, &items, &next)) {
        call_refuse(call, WEIR_OOM, "%s", weir_status_text(WEIR_OOM));
        return;
    }
    for (uint32_t i = 0; i < items.count; i++) {
        if (w->out.ptr[w->out.len - 1] != '[') buf_add_text(&w->out, ",\n");
        buf_add_str(&w->out, items.items[i].json);
    }
    w->left -= items.count < w->left ? items.count : w->left;
    snprintf(w->id, sizeof(w->id), "%.*s", STR_ARG(next));
    if (next.len == 0) w->ask.shard++;
    if (w->ask.shard >= w->shards || w->left == 0) {
        list_end(call, w->ask.shard < w->shards);
        return;
    }
    w->ask.id = str_of(w->id);
    w->ask.limit = w->left;
    walk_submit(call);
}

/* Of {"done":n}. */
static uint64_t done_count(struct weir_str text)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] >= '0' && text.ptr[i] <= '9') n = n * 10 + (uint64_t)(text.ptr[i] - '0');
    return n;
}

static void decide_resumed(struct call *call)
{
    struct walk *w = call->state;
    struct request *request = &call->request;
    if (request->status != WEIR_OK) {
        if (w->done > 0) call->partly = true;
        call_answer(call);
        return;
    }
    w->done += done_count(*(const struct weir_str *)request->result);
    if (w->ask.all && ++w->ask.shard < w->shards) {
        walk_submit(call);
        return;
    }
    buf_printf(&w->out, "{\"done\":%llu}\n", (unsigned long long)w->done);
    walk_answer(call);
}

static struct walk *walk_begin(struct call *call, enum parked_op op)
{
    struct walk *w = mem_alloc(sizeof(*w));
    w->ask.op = op;
    w->shards = engine_shards(call->conn->net->engine);
    call->state = w;
    call->dropped = walk_dropped;
    call->resumed = op == PARKED_LIST ? list_resumed : decide_resumed;
    return w;
}

/* "3.117-00ff00ff00ff00ff" */
static bool after_read(struct call *call, struct walk *w, struct weir_str text)
{
    const char *dot = text.len > 0 ? memchr(text.ptr, '.', text.len) : NULL;
    uint64_t shard = 0;
    if (!dot || dot == text.ptr || text.len > sizeof(w->id)) return false;
    for (const char *at = text.ptr; at < dot; at++) {
        if (*at < '0' || *at > '9' || at - text.ptr > 3) return false;
        shard = shard * 10 + (uint64_t)(*at - '0');
    }
    struct weir_str id = { dot + 1, text.len - (size_t)(dot + 1 - text.ptr) };
    uint32_t of;
    if (shard >= w->shards) return false;
    if (id.len > 0 && (!parked_shard(call->conn->net->engine, id, &of) || of != shard))
        return false;
    snprintf(w->id, sizeof(w->id), "%.*s", STR_ARG(id));
    w->ask.id = str_of(w->id);
    w->ask.shard = (uint32_t)shard;
    return true;
}

/* Begins with `limit` and where after_read() said. */
static void list_begin(struct call *call, struct walk *w, uint64_t limit)
{
    w->left = w->ask.limit = (uint32_t)limit;
    buf_add_text(&w->out, "{\"parked\":[");
    walk_submit(call);
}

static void route_list(struct call *call, const struct path *path)
{
    struct weir_str query = path->query, name, value;
    struct walk *w = walk_begin(call, PARKED_LIST);
    uint64_t limit = LIMIT_DEFAULT;
    bool good = true;
    int more = 0;
    while (good && (more = http_parameter(&call->request.arena, &query, &name, &value)) > 0) {
        if (str_eq(name, STR("limit"))) good = http_count_read(value, LIMIT_MAX, &limit);
        else good = str_eq(name, STR("after")) && after_read(call, w, value);
    }
    if (!good || more < 0) {
        call_refuse(call, WEIR_ARG,
                    "parked work is listed with limit, of 1 to 1000, and after, the `next` of the "
                    "list before");
        return;
    }
    list_begin(call, w, limit);
}

static void route_decide(struct call *call, enum parked_op op, struct weir_str id)
{
    uint32_t shard;
    if (!parked_shard(call->conn->net->engine, id, &shard) || id.len >= 64) {
        call_refuse(call, WEIR_NOTFOUND, "`%.*s` is no id of parked work", STR_ARG(id));
        return;
    }
    struct walk *w = walk_begin(call, op);
    snprintf(w->id, sizeof(w->id), "%.*s", STR_ARG(id));
    w->ask.id = str_of(w->id);
    w->ask.shard = shard;
    walk_submit(call);
}

void http_route_parked(struct call *call, const struct http_state *http, const struct path *path)
{
    struct weir_str last = path->segment[path->count - 1];
    bool reads = http_is_read(http);
    call->counted = true;
    if (!call_has_right(call, RIGHT_OPERATOR, "see parked work")) return;
    bool all = path->count == 2 && str_eq(last, STR("retry-all"));
    bool one = path->count == 3 && (str_eq(last, STR("retry")) || str_eq(last, STR("drop")));
    if (path->count != 1 && !all && !one) {
        call_refuse(call, WEIR_NOTFOUND,
                    "no such path: GET /parked, POST /parked/{id}/retry, POST /parked/{id}/drop, "
                    "POST /parked/retry-all");
    } else if (reads != (path->count == 1)) {
        http_refuse_method(call, reads ? "POST" : "GET, HEAD");
    } else if (all) {
        walk_begin(call, PARKED_RETRY)->ask.all = true;
        walk_submit(call);
    } else if (one) {
        route_decide(call, str_eq(last, STR("drop")) ? PARKED_DROP : PARKED_RETRY,
                     path->segment[1]);
    } else {
        route_list(call, path);
    }
}

/* LIST [COUNT n] [AFTER next] */
static void resp_list(struct call *call, const struct resp_command *command)
{
    struct walk *w = walk_begin(call, PARKED_LIST);
    uint64_t limit = LIMIT_DEFAULT;
    bool good = true;
    for (uint32_t i = 2; i < command->count && good; i += 2) {
        struct weir_str value = i + 1 < command->count ? command->args[i + 1] : STR_NIL;
        if (resp_is(command->args[i], "COUNT")) good = http_count_read(value, LIMIT_MAX, &limit);
        else good = resp_is(command->args[i], "AFTER") && after_read(call, w, value);
    }
    if (good) list_begin(call, w, limit);
    else
        call_refuse(call, WEIR_ARG,
                    "PARKED LIST [COUNT 1 to 1000] [AFTER the `next` of the list before]");
}

void resp_parked(struct call *call, const struct resp_command *command)
{
    struct weir_str verb = command->args[1];
    bool retry = resp_is(verb, "RETRY");
    call->counted = true;
    if (!call->conn->net->engine) {
        call_submit(call); /* which refuses */
    } else if (resp_is(verb, "LIST")) {
        resp_list(call, command);
    } else if (command->count == 3 && retry && resp_is(command->args[2], "ALL")) {
        walk_begin(call, PARKED_RETRY)->ask.all = true;
        walk_submit(call);
    } else if (command->count == 3 && (retry || resp_is(verb, "DROP"))) {
        route_decide(call, retry ? PARKED_RETRY : PARKED_DROP, command->args[2]);
    } else {
        call_refuse(call, WEIR_ARG,
                    "PARKED LIST [COUNT n] [AFTER next] | RETRY id | RETRY ALL | DROP id");
    }
}
