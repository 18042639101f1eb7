/*
 * net.c - the actor of the doors: accepts, reads, hands to the parsers, submits, writes in order.
 *
 * One turn: answers from the engine's port are put into their calls; a poll; the readable connections are
 * read together, and each is parsed; requests are made visible to the shards by one flush; then the connections that
 * moved write together what stands at the head of their orders. A connection is freed at the end of a turn only, so that no
 * event of the same poll meets a freed one. Reading stops, rather than memory growing, while a connection has
 * too much read ahead or too much output waiting; what stays so for too long is closed.
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define EVENTS_MAX 256
#define ACCEPTS_MAX 64
#define READS_MAX 4
/* A first read's; strides that are no power of two do not meet in the same sets of a cache. */
#define FIRST_BYTES ((size_t)16 * 1024)
#define FIRST_STRIDE (FIRST_BYTES + 64)
#define TAKE_BYTES_MAX ((size_t)4 << 20)
#define POOL_MAX 8192u
#define POOL_ARENA_BYTES ((size_t)16 * 1024)
#define OUT_KEEP_BYTES ((size_t)4 * 1024)
#define NS_PER_MS UINT64_C(1000000)
#define LINGER_NS (1000 * NS_PER_MS)
#define SWEEP_NS_MAX (250 * NS_PER_MS)
#define SWEEP_NS_MIN (5 * NS_PER_MS)
#define DISCARD_BYTES_MAX ((size_t)1 << 20)

/* ---- small things ---- */

bool status_is_unknown(enum weir_status status)
{
    return status == WEIR_UNKNOWN;
}

enum weir_status status_public(enum weir_status status)
{
    /* an engine that fails inside cannot say whether the write reached the disk */
    if (status >= WEIR_IO) return WEIR_UNKNOWN;
    return status == WEIR_ABORTED ? WEIR_TIMEOUT : status;
}

struct weir_str request_text(const struct request *request)
{
    if (request->text.len > 0) return request->text;
    return str_of(weir_status_text(status_public(request->status)));
}

struct weir_str request_own_detail(const struct request *request)
{
    enum weir_status status = status_public(request->status);
    if (status == WEIR_FAILED) return request->detail;
    /* with a word of the engine's the sentence is that word's (ctx_fail_json()); the engine's own say what happened */
    bool own = str_eq(request->text, str_of(weir_status_text(status)));
    return own ? request->detail : STR_NIL;
}

bool net_is_draining(const struct net *net)
{
    return atomic_load_explicit(&net->draining, memory_order_relaxed);
}

static bool route_is(const struct route *route, struct weir_str type, struct weir_str handler)
{
    return route->handler && str_eq(route->handler->name, handler) &&
           str_eq(route->type->name, type);
}

struct route *conn_route(struct conn *conn, struct weir_str type, struct weir_str handler)
{
    struct net *net = conn->net;
    if (conn->route && route_is(conn->route, type, handler)) return conn->route;
    uint64_t hash = hash64(hash64(0, type.ptr, type.len), handler.ptr, handler.len);
    struct route *route = conn->route = &net->routes[hash & (ROUTES - 1)];
    if (route_is(route, type, handler)) return route;
    *route = (struct route){ .type = catalog_type(engine_catalog(net->engine), type) };
    if (route->type) route->handler = type_handler(route->type, handler);
    if (route->handler && route->handler->hidden) route->handler = NULL;
    return route;
}

void net_forget_admitted(struct net *net)
{
    for (uint32_t i = 0; i < ROUTES; i++) net->routes[i].admitted = NULL;
}

void conn_trace(struct conn *conn, const char *reason, const char *limit_name, uint64_t limit)
{
    struct net *net = conn->net;
    char members[256];
    net->figures[conn->door].slow_total++;
    if (!net->options.trace) return;
    snprintf(members, sizeof(members),
             "\"event\":\"connection_closed\",\"door\":\"%s\",\"client\":%llu,\"reason\":\"%s\","
             "\"limit\":\"%s\",\"value\":%llu",
             conn->door == DOOR_HTTP ? "http" : "resp", (unsigned long long)conn->id, reason,
             limit_name, (unsigned long long)limit);
    net->options.trace(net->options.trace_arg, members);
}

bool key_is_fit(struct call *call, struct weir_str key)
{
    if (key.len == 0) {
        call_refuse(call, WEIR_ARG, "the key is empty");
        return false;
    }
    if (key.len > KEY_BYTES_MAX) {
        call_refuse(call, WEIR_TOOBIG, "key of %zu bytes > %u", key.len, KEY_BYTES_MAX);
        return false;
    }
    if (!str_is_utf8(key) || memchr(key.ptr, 0, key.len)) {
        call_refuse(call, WEIR_ARG, "the key is not UTF-8 text without NUL");
        return false;
    }
    return true;
}

/* ---- calls ---- */

static struct call *call_take(struct net *net)
{
    struct call *call = net->pool;
    if (!call) return mem_alloc(sizeof(*call));
    net->pool = call->next;
    net->pool_count--;
    struct arena arena = call->request.arena;
    *call = (struct call){ 0 };
    call->request.arena = arena;
    return call;
}

static void call_give(struct net *net, struct call *call)
{
    if (net->pool_count >= POOL_MAX) {
        arena_free(&call->request.arena);
        mem_free(call);
        return;
    }
    if (call->request.arena.used > POOL_ARENA_BYTES) arena_free(&call->request.arena);
    else arena_reset(&call->request.arena);
    call->next = net->pool;
    net->pool = call;
    net->pool_count++;
}

struct call *call_begin(struct conn *conn, size_t bytes)
{
    struct call *call = call_take(conn->net);
    call->conn = conn;
    call->begun_ns = conn->net->now_ns;
    call->bytes = bytes;
    call->protocol = conn->resp.protocol;
    *conn->last = call;
    conn->last = &call->next;
    conn->ahead++;
    conn->ahead_bytes += bytes;
    return call;
}

/* All that is its own but its memory. */
static void call_drop_state(struct call *call)
{
    if (call->dropped) call->dropped(call);
    call->dropped = NULL;
    call->state = NULL;
}

void call_release(struct net *net, struct call *call)
{
    if (call->in_engine || call->reads_out > 0 || call->branches_out > 0) return;
    struct call *stem = call->stem;
    call_drop_state(call);
    call_give(net, call);
    if (!stem) return;
    stem->branches_out--;
    if (!stem->conn) call_release(net, stem);
}

/* Its connection is done with it, or gone: a shard may still read what the state holds. */
static void call_leave(struct net *net, struct call *call)
{
    if (call->conn) call_disown_reads(call);
    if (!call->in_engine) call_drop_state(call);
    call->conn = NULL;
    call_release(net, call);
}

struct call *call_branch(struct call *call)
{
    struct call *branch = call_take(call->conn->net);
    branch->conn = call->conn;
    branch->begun_ns = call->begun_ns;
    branch->stem = call;
    call->branches_out++;
    return branch;
}

void call_prune(struct net *net, struct call *branch)
{
    branch->conn = NULL;
    call_release(net, branch);
}

static void conn_write_ready(struct conn *conn)
{
    struct net *net = conn->net;
    while (conn->first && conn->first->answered) {
        struct call *call = conn->first;
        if (conn->door == DOOR_RESP) resp_add_answer(net, &conn->out, call);
        else http_add_answer(net, &conn->out, call);
        if (call->counted) admin_observe(net, call);
        if (call->close) conn->closing = true;
        conn->first = call->next;
        if (!conn->first) conn->last = &conn->first;
        conn->ahead--;
        conn->ahead_bytes -= call->bytes;
        conn->held_bytes -= call->held;
        if (call->reads) call_cancel_reads(call);
        call_leave(net, call);
    }
}

void call_answer(struct call *call)
{
    struct conn *conn = call->conn;
    call->answered = true;
    if (conn->first != call) {
        call->held = call->ready.len;
        conn->held_bytes += call->held;
    }
    conn_touch(conn);
    if (conn->first == call) conn_write_ready(conn);
}

void call_refuse(struct call *call, enum weir_status status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    str_make_utf8(text);
    call->request.status = status;
    call->request.text = arena_copy(&call->request.arena, str_of(text));
    call_answer(call);
}

void call_refuse_problem(struct call *call, enum weir_status status, const struct problem *problem)
{
    struct buf *out = &call->conn->net->scratch;
    buf_reset(out);
    if (status == WEIR_CHECK || status == WEIR_BUDGET)
        status = WEIR_ARG; /* rules of parameters answer `arg` */
    if (problem->field[0]) {
        buf_add_text(out, "{\"field\":");
        json_write_text(out, str_of(problem->field));
        if (problem->rule[0]) {
            buf_add_text(out, ",\"rule\":");
            json_write_text(out, str_of(problem->rule));
        }
        buf_add_text(out, "}");
        call->request.detail = arena_copy(&call->request.arena, buf_str(out));
    }
    call_refuse(call, status, "%s", problem->text[0] ? problem->text : weir_status_text(status));
}

void call_submit(struct call *call)
{
    struct net *net = call->conn->net;
    call->counted = true;
    if (!net->engine) {
        call_refuse(call, WEIR_LOADING, "replaying the log");
        return;
    }
    if (net_is_draining(net)) {
        call_refuse(call, WEIR_SHUTDOWN, "shutting down, connect again later");
        return;
    }
    call->request.user = call;
    request_name_caller(&call->request, call->conn);
    net->in_engine++;
    net->submitted = true;
    call->in_engine = true;
    port_submit(net->port, &call->request, net->now_ns);
}

/* Whether a client emits by it, as against a handler of the application. */
static bool request_emits(const struct request *request)
{
    const struct type *type = request->handler ? request->handler->type : NULL;
    return type && type->builtin && type->service && str_eq(type->name, STR("streams"));
}

/* Not all at once where they are large: only the end of the turn sends them, or closes who does not read. */
static void net_take_answers(struct net *net)
{
    net->answers_left = false;
    if (!net->port) return;
    size_t bytes = 0;
    for (struct request *request; (request = port_next(net->port)) != NULL;) {
        struct call *call = request->user;
        bytes += request->answer_bytes;
        net->in_engine--;
        call->in_engine = false;
        /* what is above a limit there is nothing but what the client sent */
        if (request->status == WEIR_BUDGET && request_emits(request)) request->status = WEIR_TOOBIG;
        if (!call->conn) {
            call_release(net, call);
            continue;
        }
        if (call->resumed) {
            conn_touch(call->conn);
            call->resumed(call);
            continue;
        }
        call->answered = true;
        if (call->conn->first != call) {
            call->held = request->arena.used;
            call->conn->held_bytes += call->held;
        }
        conn_touch(call->conn);
        if (bytes > TAKE_BYTES_MAX) {
            net->answers_left = true;
            return;
        }
    }
}

/* ---- connections ---- */

void conn_touch(struct conn *conn)
{
    struct net *net = conn->net;
    if (conn->touched) return;
    conn->touched = true;
    conn->touched_next = NULL;
    *net->touched_last = conn;
    net->touched_last = &conn->touched_next;
}

static void conn_break(struct conn *conn)
{
    conn->broken = true;
    conn_touch(conn);
}

size_t conn_pending(const struct conn *conn)
{
    return conn->out.len - conn->out_at + conn->held_bytes;
}

/* Too much read ahead or unread by the other side: nothing more is parsed. */
static bool conn_is_held(const struct conn *conn)
{
    const struct net_limits *limits = &conn->net->limits;
    return conn->ahead >= limits->parsed_ahead_max ||
           conn->ahead_bytes >= limits->parsed_ahead_bytes_max || conn_reads_hold(conn) ||
           conn->body_held || conn_pending(conn) >= limits->output_soft_bytes;
}

static bool conn_takes_input(const struct conn *conn)
{
    return !conn->closing && !conn->broken && !conn_is_held(conn);
}

static size_t conn_feed(struct conn *conn, char *bytes, size_t len)
{
    size_t at = 0;
    while (at < len && conn_takes_input(conn)) {
        if (len - at < conn->need) break;
        size_t used = conn->door == DOOR_RESP ? resp_input(conn, bytes + at, len - at)
                                              : http_input(conn, bytes + at, len - at);
        if (used == 0) break;
        if (conn->secret_in) secret_wipe(bytes + at, used);
        conn->secret_in = false;
        at += used;
        conn->need = 0;
        conn->begun_ns = 0;
    }
    if (at < len && conn->begun_ns == 0 && conn_takes_input(conn))
        conn->begun_ns = conn->net->now_ns;
    return at;
}

/* Parses what earlier reads left. True if anything was used. */
static bool conn_feed_rest(struct conn *conn)
{
    size_t left = conn->in.len - conn->in_at;
    if (left == 0) return false;
    size_t used = conn_feed(conn, conn->in.ptr + conn->in_at, left);
    conn->in_at += used;
    left -= used;
    if (left == 0) {
        if (conn->in.cap > OUT_KEEP_BYTES) buf_free(&conn->in);
        buf_reset(&conn->in);
        conn->in_at = 0;
    } else if (conn->in_at > left) {
        memmove(conn->in.ptr, conn->in.ptr + conn->in_at, left);
        conn->in.len = left;
        conn->in_at = 0;
    }
    return used > 0;
}

static void conn_take_bytes(struct conn *conn, char *bytes, size_t len)
{
    size_t used = 0;
    if (conn->in.len == 0) {
        used = conn_feed(conn, bytes, len);
        if (used < len && !conn->closing) buf_add(&conn->in, bytes + used, len - used);
    } else {
        buf_add(&conn->in, bytes, len);
        conn_feed_rest(conn);
    }
}

/* The other side has ended, or talks on after we stopped listening: takes bytes away so that closing does
 * not reset the connection before our answer is read. False at its end. */
static bool conn_discard(struct conn *conn)
{
    struct net *net = conn->net;
    for (size_t all = 0; all < DISCARD_BYTES_MAX;) {
        int64_t n = net->env->recv(net->env, conn->fd, net->read_bytes, READ_BYTES);
        if (n == 0 || (n < 0 && n != -EAGAIN)) return false;
        if (n < 0) return true;
        all += (size_t)n;
    }
    return true;
}

static void conn_drain(struct conn *conn)
{
    if (!conn_discard(conn)) conn->broken = conn->broken || conn_pending(conn) == 0;
}

/* What a read brought: `n` as of recv(). True if there may be more. */
static bool conn_take(struct conn *conn, char *bytes, int64_t n, size_t room)
{
    struct net *net = conn->net;
    if (n == -EAGAIN || n == -EINTR) return false;
    if (n < 0) {
        conn->broken = true;
        return false;
    }
    if (n == 0) {
        conn->closing = true; /* what was asked is still answered */
        if (conn->door == DOOR_HTTP) http_input_ended(conn);
        return false;
    }
    conn->moved_ns = net->now_ns;
    net->figures[conn->door].bytes_in_total += (uint64_t)n;
    conn_take_bytes(conn, bytes, (size_t)n);
    return (size_t)n == room && conn_takes_input(conn);
}

/* Reads first from all of them, then takes what came. */
static void conns_read(struct net *net, struct conn **conns, int count)
{
    struct env_sock_call calls[ENV_SOCK_CALLS_MAX];
    for (int i = 0; i < count; i++)
        calls[i] = (struct env_sock_call){ .fd = conns[i]->fd,
                                           .bytes = net->first_bytes + i * FIRST_STRIDE,
                                           .len = FIRST_BYTES };
    net->env->sock_calls(net->env, &net->actor, calls, count);
    for (int i = 0; i < count; i++) {
        bool more = conn_take(conns[i], calls[i].bytes, calls[i].done, FIRST_BYTES);
        for (int k = 1; more && k < READS_MAX; k++) {
            int64_t n = net->env->recv(net->env, conns[i]->fd, net->read_bytes, READ_BYTES);
            more = conn_take(conns[i], net->read_bytes, n, READ_BYTES);
        }
    }
}

static void conn_open(struct net *net, enum door door, int fd)
{
    struct conn *conn = mem_alloc(sizeof(*conn));
    conn->kind = PEER_CONN;
    conn->door = door;
    conn->net = net;
    conn->fd = fd;
    conn->id = ++net->conn_ids;
    conn->last = &conn->first;
    conn->opened_ns = conn->moved_ns = conn->trusted_ns = net->now_ns;
    conn->user = net_first_user(net);
    conn->resp.protocol = 2;
    conn->polls_read = true;
    if (net->env->poll_add(net->env, &net->actor, fd, conn, false) < 0) {
        net->env->sock_close(net->env, fd);
        mem_free(conn);
        return;
    }
    conn->next = net->conns;
    conn->link = &net->conns;
    if (net->conns) net->conns->link = &conn->next;
    net->conns = conn;
    net->conn_count++;
    net->figures[door].conns++;
    net->figures[door].conns_total++;
    uint64_t due = net->now_ns + net->sweep_every_ns;
    if (net->sweep_ns > due) net->sweep_ns = due;
}

static void conn_close(struct conn *conn)
{
    struct net *net = conn->net;
    net->env->poll_remove(net->env, &net->actor, conn->fd);
    net->env->sock_close(net->env, conn->fd);
    while (conn->first) {
        struct call *call = conn->first;
        conn->first = call->next;
        call_cancel_reads(call);
        call_leave(net, call);
    }
    *conn->link = conn->next;
    if (conn->next) conn->next->link = conn->link;
    http_state_destroy(conn);
    buf_free(&conn->in);
    buf_free(&conn->out);
    net->conn_count--;
    net->figures[conn->door].conns--;
    mem_free(conn);
}

static size_t conn_unsent(const struct conn *conn)
{
    return conn->broken ? 0 : conn->out.len - conn->out_at;
}

/* What came of sending all that there was: `n` as of send(). True if the rest may be tried at once. */
static bool conn_sent(struct conn *conn, int64_t n)
{
    struct net *net = conn->net;
    if (n == -EAGAIN || n == -EINTR) return false;
    if (n < 0) {
        conn->broken = true;
        return false;
    }
    conn->out_at += (size_t)n;
    conn->moved_ns = net->now_ns;
    net->figures[conn->door].bytes_out_total += (uint64_t)n;
    return conn_unsent(conn) > 0;
}

static void conn_settle_output(struct conn *conn)
{
    size_t left = conn_unsent(conn);
    conn->blocked = left > 0;
    if (left == 0) {
        if (conn->out.cap > OUT_KEEP_BYTES) buf_free(&conn->out);
        buf_reset(&conn->out);
        conn->out_at = 0;
    } else if (conn->out_at > left) {
        memmove(conn->out.ptr, conn->out.ptr + conn->out_at, left);
        conn->out.len = left;
        conn->out_at = 0;
    }
}

/* All try once, then each that was not taken whole goes on until its socket is full. */
static void conns_send(struct net *net, struct conn **conns, int count)
{
    struct env_sock_call calls[ENV_SOCK_CALLS_MAX];
    struct conn *sender[ENV_SOCK_CALLS_MAX];
    int senders = 0;
    for (int i = 0; i < count; i++) {
        struct conn *conn = conns[i];
        size_t left = conn_unsent(conn);
        if (left == 0) continue;
        calls[senders] = (struct env_sock_call){
            .fd = conn->fd, .sends = true, .bytes = conn->out.ptr + conn->out_at, .len = left
        };
        sender[senders++] = conn;
    }
    if (senders > 0) net->env->sock_calls(net->env, &net->actor, calls, senders);
    for (int i = 0; i < senders; i++) {
        struct conn *conn = sender[i];
        bool more = conn_sent(conn, calls[i].done);
        while (more)
            more = conn_sent(conn, net->env->send(net->env, conn->fd, conn->out.ptr + conn->out_at,
                                                  conn_unsent(conn)));
    }
    for (int i = 0; i < count; i++) conn_settle_output(conns[i]);
}

static void conn_judge_output(struct conn *conn)
{
    const struct net_limits *limits = &conn->net->limits;
    size_t pending = conn_pending(conn);
    if (pending > limits->output_bytes_max) {
        conn_trace(conn, "slow reader", "output_bytes_max", limits->output_bytes_max);
        conn->broken = true;
    } else if (pending < limits->output_soft_bytes) {
        conn->soft_ns = 0;
    } else if (conn->soft_ns == 0) {
        conn->soft_ns = conn->net->now_ns;
    }
}

/* True if the connection is to be freed now. */
static bool conn_is_over(struct conn *conn)
{
    if (conn->broken) return true;
    if (!conn->closing || conn->first || conn_pending(conn) > 0) return false;
    if (!conn->linger) return true;
    if (conn->linger_ns == 0) conn->linger_ns = conn->net->now_ns + LINGER_NS;
    return conn->net->now_ns >= conn->linger_ns;
}

static void conn_poll(struct conn *conn)
{
    struct net *net = conn->net;
    bool read = conn_takes_input(conn) || (conn->linger && conn->linger_ns != 0);
    if (read == conn->polls_read && conn->blocked == conn->polls_write) return;
    conn->polls_read = read;
    conn->polls_write = conn->blocked;
    if (net->env->poll_change(net->env, &net->actor, conn->fd, conn, read, conn->blocked) < 0)
        conn_break(conn);
}

/* First half of a turn's end for one connection: encodes what is answered, parses what was held back. */
static void conn_settle(struct conn *conn)
{
    conn_write_ready(conn);
    while (conn_takes_input(conn) && conn_feed_rest(conn)) {}
    if (conn->first && conn->first->headed && !conn->broken) {
        conn->first->held_back = false;
        conn->first->headed(conn->first);
    }
}

/* The call at the head waited for output to go, and may write more. */
static bool conn_has_room(const struct conn *conn)
{
    return conn->first && conn->first->held_back && conn_pending(conn) <= STREAMED_BYTES_MAX;
}

/* Second half, before sending; true if it was held. */
static bool conn_finish_begin(struct conn *conn)
{
    bool is_held = conn_is_held(conn);
    bool for_long = is_held && !conn->body_held && !conn_reads_hold(conn);
    if (conn->closing || for_long) conn_cancel_reads(conn);
    return is_held;
}

/* ... and after it; true if it stays touched: there is more to parse and nothing that will report it. */
static bool conn_finish(struct conn *conn, bool was_held)
{
    conn_judge_output(conn);
    if (conn_is_over(conn)) {
        if (conn->closing && !conn->broken) conn_discard(conn);
        conn_close(conn);
        return false;
    }
    conn_poll(conn);
    return (was_held && conn_takes_input(conn) && conn->in.len > conn->in_at) ||
           conn_has_room(conn);
}

/* ---- listening ---- */

static void net_refuse(struct net *net, enum door door, int fd)
{
    buf_reset(&net->scratch);
    if (door == DOOR_RESP) buf_add_text(&net->scratch, "-ERR max number of clients reached\r\n");
    else http_add_refusal(net, &net->scratch);
    /* a fresh socket's buffer holds this; if not, the refusal is the closing */
    (void)!net->env->send(net->env, fd, net->scratch.ptr, net->scratch.len);
    /* unread bytes at closing would reset the connection before the refusal is read */
    (void)!net->env->recv(net->env, fd, net->read_bytes, READ_BYTES);
    net->env->sock_close(net->env, fd);
    net->figures[door].conns_refused_total++;
}

static void listener_pause(struct net *net, struct listener *listener, bool pause)
{
    if (listener->fd < 0 || listener->paused == pause) return;
    listener->paused = pause;
    net->env->poll_change(net->env, &net->actor, listener->fd, listener, !pause, false);
}

static void listener_accept(struct net *net, struct listener *listener)
{
    for (int i = 0; i < ACCEPTS_MAX; i++) {
        int fd = net->env->accept(net->env, listener->fd);
        if (fd == -EAGAIN) return;
        if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM || fd == -ENOBUFS) {
            listener_pause(net, listener, true); /* until the next sweep: it would only spin */
            if (net->sweep_ns > net->now_ns + SWEEP_NS_MAX)
                net->sweep_ns = net->now_ns + SWEEP_NS_MAX;
            return;
        }
        if (fd < 0) continue;
        if (net->conn_count >= net->limits.connections_max) net_refuse(net, listener->door, fd);
        else conn_open(net, listener->door, fd);
    }
}

static void net_stop_listening(struct net *net)
{
    for (int i = 0; i < DOORS; i++) {
        struct listener *listener = &net->listeners[i];
        if (listener->fd < 0) continue;
        net->env->poll_remove(net->env, &net->actor, listener->fd);
        net->env->sock_close(net->env, listener->fd);
        listener->fd = -1;
    }
    net->stopped_listening = true;
}

/* ---- time ---- */

static uint64_t at_ms(uint64_t from_ns, uint64_t ms)
{
    return from_ns + ms * NS_PER_MS;
}

/* When an unfinished RESP command must be there: the time of a header, plus what its bytes need. */
static uint64_t resp_deadline(const struct conn *conn)
{
    const struct net_limits *limits = &conn->net->limits;
    uint64_t received = conn->in.len - conn->in_at;
    return at_ms(conn->begun_ns,
                 limits->header_ms_max + received * 1000 / limits->body_bytes_per_s_min);
}

static void conn_sweep_input(struct conn *conn)
{
    struct net *net = conn->net;
    const struct net_limits *limits = &net->limits;
    if (conn->closing) return;
    bool midway = conn->in.len > conn->in_at || (conn->door == DOOR_HTTP && http_is_midway(conn));
    if (conn_is_held(conn)) conn->begun_ns = 0; /* the wait is ours */
    else if (midway && conn->begun_ns == 0) conn->begun_ns = net->now_ns;
    if (midway && !conn_is_held(conn)) {
        const char *reason = "slow sender";
        uint64_t due = conn->door == DOOR_RESP ? resp_deadline(conn) : http_deadline(conn, &reason);
        if (net->now_ns < due) return;
        conn_trace(conn, "slow sender", reason, 0);
        if (conn->door == DOOR_HTTP) http_time_out(conn);
        else resp_time_out(conn);
        conn_touch(conn);
    } else if (conn->door == DOOR_HTTP && !conn->first && conn_pending(conn) == 0) {
        bool fresh = conn->moved_ns == conn->opened_ns;
        if (net->now_ns <
            at_ms(conn->moved_ns, fresh ? limits->header_ms_max : limits->keepalive_ms))
            return;
        conn->closing = true;
        conn_touch(conn);
    }
}

/* A stranger who asks for nothing that strangers may have. */
static void conn_sweep_stranger(struct conn *conn)
{
    struct net *net = conn->net;
    if (conn->user || conn->first || conn->closing) return;
    if (net->now_ns < at_ms(conn->trusted_ns, net->limits.auth_ms_max)) return;
    conn_trace(conn, "no user", "auth_ms_max", net->limits.auth_ms_max);
    conn->closing = true;
    conn_touch(conn);
}

static void conn_sweep(struct conn *conn)
{
    struct net *net = conn->net;
    const struct net_limits *limits = &net->limits;
    if (conn->soft_ns && net->now_ns >= at_ms(conn->soft_ns, limits->output_soft_ms)) {
        conn_trace(conn, "slow reader", "output_soft_ms", limits->output_soft_ms);
        conn_break(conn);
    } else if (conn->blocked && net->now_ns >= at_ms(conn->moved_ns, limits->keepalive_ms)) {
        conn_trace(conn, "slow reader", "keepalive_ms", limits->keepalive_ms);
        conn_break(conn);
    }
    if (conn->linger_ns && net->now_ns >= conn->linger_ns) conn_touch(conn);
    conn_sweep_input(conn);
    conn_sweep_stranger(conn);
}

static void net_sweep(struct net *net)
{
    if (net->now_ns < net->sweep_ns) return;
    for (struct conn *conn = net->conns; conn; conn = conn->next) conn_sweep(conn);
    bool paused = false;
    for (int i = 0; i < DOORS; i++) {
        paused = paused || net->listeners[i].paused;
        listener_pause(net, &net->listeners[i], false);
    }
    net->sweep_ns = net->conns || paused ? net->now_ns + net->sweep_every_ns : ENV_NEVER;
}

/* ---- the actor ---- */

static void net_take_engine(struct net *net)
{
    struct engine *engine = atomic_load_explicit(&net->engine_given, memory_order_acquire);
    if (!engine || net->engine) return;
    net->port = engine_port(engine, 0, &net->actor);
    net->engine = engine;
}

/* A connection that is to be read, or NULL. */
static struct conn *event_take(struct net *net, const struct env_event *event)
{
    enum peer_kind kind = *(enum peer_kind *)event->user;
    if (kind == PEER_LISTENER) {
        struct listener *listener = event->user;
        if (listener->fd >= 0) listener_accept(net, listener);
        return NULL;
    }
    struct conn *conn = event->user;
    if (event->writable) {
        conn->blocked = false;
        conn_touch(conn);
    }
    if (event->readable || event->broken) {
        if (event->broken && !event->readable) conn->broken = true;
        conn_touch(conn);
        return conn->polls_read || conn->broken ? conn : NULL;
    }
    return NULL;
}

static void net_handle(struct net *net, const struct env_event *events, int count)
{
    struct conn *readers[ENV_SOCK_CALLS_MAX];
    int found = 0;
    for (int i = 0; i < count; i++) {
        struct conn *conn = event_take(net, &events[i]);
        if (conn && conn->closing) conn_drain(conn);
        else if (conn && conn_takes_input(conn)) readers[found++] = conn;
        if (found == ENV_SOCK_CALLS_MAX || (found > 0 && i + 1 == count)) {
            conns_read(net, readers, found);
            found = 0;
        }
    }
}

/* Settles all that were touched, flushes once, then sends. Those with more to do stay in the list. */
static void net_finish(struct net *net)
{
    for (struct conn *conn = net->touched; conn; conn = conn->touched_next) conn_settle(conn);
    if (net->submitted) {
        net->submitted = false;
        port_flush(net->port);
    }
    struct conn *conn = net->touched;
    net->touched = NULL;
    net->touched_last = &net->touched;
    while (conn) {
        struct conn *group[ENV_SOCK_CALLS_MAX];
        bool was_held[ENV_SOCK_CALLS_MAX];
        int count = 0;
        while (conn && count < ENV_SOCK_CALLS_MAX) {
            struct conn *next = conn->touched_next;
            conn->touched = false;
            was_held[count] = conn_finish_begin(conn);
            group[count++] = conn;
            conn = next;
        }
        conns_send(net, group, count);
        for (int i = 0; i < count; i++)
            if (conn_finish(group[i], was_held[i])) conn_touch(group[i]);
    }
}

static void net_report_drained(struct net *net)
{
    if (!net_is_draining(net)) return;
    if (!net->stopped_listening) net_stop_listening(net);
    bool empty = net->in_engine == 0 && net->reads_out == 0;
    for (struct conn *conn = net->conns; conn; conn = conn->next) {
        conn_cancel_reads(conn);
        if (conn->door == DOOR_HTTP) http_drain(conn);
        empty = empty && conn_pending(conn) == 0 && !conn->first;
    }
    atomic_store_explicit(&net->drained, empty, memory_order_release);
}

static uint64_t net_turn(void *self)
{
    struct net *net = self;
    struct env_event events[EVENTS_MAX];
    net_take_engine(net);
    net_take_users(net);
    /* what came before the poll began must not wait for its end */
    net_take_answers(net);
    net_take_reads(net);
    uint64_t until = net->touched || net->answers_left ? 0 : net->sweep_ns;
    int count = net->env->poll_wait(net->env, &net->actor, events, EVENTS_MAX, until);
    net->now_ns = net->env->mono_ns(net->env);
    net_take_engine(net);
    net_take_users(net);
    net_take_answers(net);
    net_take_reads(net);
    net_handle(net, events, count);
    net_sweep(net);
    net_finish(net);
    net_report_drained(net);
    return 0; /* the waiting is done inside poll_wait() */
}

/* ---- the door ---- */

bool net_host_is_loopback(const char *host)
{
    if (!strcmp(host, "localhost") || !strcmp(host, "::1") || !strcmp(host, "[::1]")) return true;
    if (strncmp(host, "127.", 4) != 0) return false;
    int dots = 0;
    for (const char *at = host; *at; at++) {
        if (*at == '.') dots++;
        else if (*at < '0' || *at > '9') return false;
    }
    return dots == 3 && host[strlen(host) - 1] != '.';
}

static enum weir_status listener_open(struct net *net, enum door door, const char *host, int port,
                                      char *error, size_t error_bytes)
{
    const char *name = door == DOOR_HTTP ? "HTTP" : "RESP";
    struct listener *listener = &net->listeners[door];
    if (!host) return WEIR_OK;
    if (!net_host_is_loopback(host) && !net->users && !net->options.bind_anywhere) {
        snprintf(error, error_bytes,
                 "%s on %s would be open to other machines, and there are no users: every caller "
                 "would be the operator. Bind 127.0.0.1, or give --users FILE (`weir user add` "
                 "makes one) or --password-file FILE; --insecure-bind does it all the same",
                 name, host);
        return WEIR_CONFIG;
    }
    int fd = net->env->listen(net->env, host, port);
    if (fd < 0) {
        snprintf(error, error_bytes, "cannot listen for %s on %s port %d: %s%s", name, host, port,
                 strerror(-fd),
                 fd == -EADDRINUSE ? "; choose another port or stop what uses it" : "");
        return WEIR_CONFIG;
    }
    listener->fd = fd;
    listener->port = net->env->local_port(net->env, fd);
    return WEIR_OK;
}

static void limits_fill(struct net_limits *limits)
{
#define X(name, value, text)                                                                       \
    if (limits->name == 0) limits->name = (value);
    NET_LIMITS(X)
#undef X
    if (limits->arguments_max > RESP_ARGUMENTS_MAX) limits->arguments_max = RESP_ARGUMENTS_MAX;
    if (limits->stranger_arguments_max > limits->arguments_max)
        limits->stranger_arguments_max = limits->arguments_max;
    if (limits->stranger_bytes_max > limits->request_bytes_max)
        limits->stranger_bytes_max = limits->request_bytes_max;
    if (limits->header_bytes_max > READ_BYTES) limits->header_bytes_max = READ_BYTES;
}

static uint64_t sweep_interval(const struct net_limits *limits)
{
    uint64_t least = limits->output_soft_ms;
    if (least > limits->header_ms_max) least = limits->header_ms_max;
    if (least > limits->keepalive_ms) least = limits->keepalive_ms;
    if (least > limits->auth_ms_max) least = limits->auth_ms_max;
    uint64_t every = least * NS_PER_MS / 4;
    if (every > SWEEP_NS_MAX) return SWEEP_NS_MAX;
    return every < SWEEP_NS_MIN ? SWEEP_NS_MIN : every;
}

enum weir_status net_open(const struct net_options *options, struct net **out, char *error,
                          size_t error_bytes)
{
    struct net *net = mem_alloc(sizeof(*net));
    net->options = *options;
    net->limits = options->limits;
    limits_fill(&net->limits);
    net->stranger_limits = net->limits;
    net->stranger_limits.request_bytes_max = net->limits.stranger_bytes_max;
    net->stranger_limits.arguments_max = net->limits.stranger_arguments_max;
    net->users = options->users;
    net->options.users = NULL;
    net->env = options->env;
    net->actor = (struct actor){
        .name = "net", .turn = net_turn, .self = net, .helps = true, .sockets = true, .prompt = true
    };
    net->touched_last = &net->touched;
    net->sweep_every_ns = sweep_interval(&net->limits);
    net->sweep_ns = ENV_NEVER;
    net->read_bytes = mem_alloc(READ_BYTES);
    net->first_bytes = mem_alloc(ENV_SOCK_CALLS_MAX * FIRST_STRIDE);
    net->now_ns = net->env->mono_ns(net->env);
    net->date_s = INT64_MIN;
    for (int i = 0; i < DOORS; i++)
        net->listeners[i] = (struct listener){ PEER_LISTENER, (enum door)i, -1, 0, false };
    enum weir_status status = listener_open(net, DOOR_HTTP, options->http_host, options->http_port,
                                            error, error_bytes);
    if (status == WEIR_OK)
        status = listener_open(net, DOOR_RESP, options->resp_host, options->resp_port, error,
                               error_bytes);
    if (status != WEIR_OK) {
        net_close(net);
        return status;
    }
    if (options->engine) net_serve(net, options->engine);
    *out = net;
    return WEIR_OK;
}

int net_http_port(const struct net *net)
{
    return net->listeners[DOOR_HTTP].port;
}

int net_resp_port(const struct net *net)
{
    return net->listeners[DOOR_RESP].port;
}

void net_serve(struct net *net, struct engine *engine)
{
    atomic_store_explicit(&net->engine_given, engine, memory_order_release);
    if (net->started) net->env->actor_wake(net->env, &net->actor);
}

void net_replace_users(struct net *net, struct users *users)
{
    users_destroy(atomic_exchange_explicit(&net->users_given, users, memory_order_acq_rel));
    if (net->started) net->env->actor_wake(net->env, &net->actor);
}

void net_start(struct net *net)
{
    for (int i = 0; i < DOORS; i++) {
        struct listener *listener = &net->listeners[i];
        if (listener->fd < 0) continue;
        int rc = net->env->poll_add(net->env, &net->actor, listener->fd, listener, false);
        ASSERT(rc >= 0);
    }
    net->started = true;
    int rc = net->env->actor_start(net->env, &net->actor);
    ASSERT(rc >= 0);
}

bool net_drain(struct net *net)
{
    if (!net->started) return true;
    atomic_store_explicit(&net->draining, true, memory_order_relaxed);
    if (atomic_load_explicit(&net->drained, memory_order_acquire)) return true;
    net->env->actor_wake(net->env, &net->actor);
    return false;
}

void net_close(struct net *net)
{
    if (net->started) net->env->actor_stop(net->env, &net->actor);
    while (net->conns)
        conn_close(
            net->conns); /* requests still in the engine stay its own: it may yet write to them */
    net_stop_listening(net);
    while (net->pool) {
        struct call *call = net->pool;
        net->pool = call->next;
        arena_free(&call->request.arena);
        mem_free(call);
    }
    net_free_reads(net);
    users_destroy(net->users);
    users_destroy(atomic_load_explicit(&net->users_given, memory_order_relaxed));
    arena_free(&net->judge);
    buf_free(&net->scratch);
    buf_free(&net->body);
    mem_free(net->read_bytes);
    mem_free(net->first_bytes);
    mem_free(net);
}
