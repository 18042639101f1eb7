/*
 * doors.c - see doors.h.
 *
 * One engine and one net for all inputs, as building them costs more than most inputs do. The application keeps no
 * state that a second time could see: its handlers answer their arguments, and one row stands from the start.
 * SPDX-License-Identifier: MIT
 */
#include "doors.h"

#include <errno.h>

#include "core/app.h"
#include "os/sim.h"
#include "shapes.h"

#define LISTEN_FD 100 /* and the next */
#define CONN_FD 7
#define ANSWER_BYTES_MAX (16u << 20)

static struct {
    struct sim *sim;
    struct env *env;
    struct weir_app app;
    struct engine *engine;
    struct net *net;
    uint64_t (*turn)(void *self);
    void *listeners[DOORS];
    /* the one connection */
    enum door door;
    bool arriving, open, reads, writes;
    void *user;
    struct weir_str bytes;
    size_t at;
    struct pieces pieces;
    size_t piece;
    struct buf *answer;
    bool saw_event;
    uint64_t until_ns;
} w;

/* ---- the application ---- */

struct thing {
    int64_t n;
    struct weir_str note;
    struct wide wide;
};
static const struct weir_field thing_fields[] = {
    WEIR_FIELD(struct thing, n, WEIR_INT), WEIR_FIELD(struct thing, note, WEIR_TEXT),
    WEIR_FIELD(struct thing, wide, WEIR_RECORD, .shape = &wide_shape), WEIR_END
};
static const struct weir_map thing_maps[] = { { "log", { WEIR_INT }, WEIR_SCALAR(WEIR_TEXT) }, { "by", { WEIR_TEXT, WEIR_INT }, WEIR_SCALAR(WEIR_INT) }, WEIR_END };

static enum weir_status thing_echo(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    memcpy(result, args, sizeof(struct wide));
    return WEIR_OK;
}

static enum weir_status thing_say(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    memcpy(result, args, sizeof(struct inner));
    return WEIR_OK;
}

static enum weir_status thing_fail(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    const struct weir_str *any = args;
    return weir_fail_json(ctx, "broken", any->ptr ? *any : (struct weir_str){ "null", 4 });
}

static enum weir_status thing_fill(struct weir_ctx *ctx, void *row, const void *args, void *result)
{
    struct thing *self = row;
    self->n = 42;
    self->note = (struct weir_str){ "h\xc3\xa9", 3 };
    return WEIR_OK;
}

static const struct weir_handler thing_handlers[] = {
    { "echo", WEIR_QUERY, thing_echo, WEIR_SHAPE(struct wide, wide_fields), WEIR_SHAPE(struct wide, wide_fields), "anyone" },
    { "say", WEIR_QUERY, thing_say, WEIR_SHAPE(struct inner, inner_fields), WEIR_SHAPE(struct inner, inner_fields), "anyone" },
    { "fail", WEIR_ON, thing_fail, WEIR_SCALAR(WEIR_ANY), WEIR_NOTHING, "anyone" },
    { "fill", WEIR_ON, thing_fill, WEIR_NOTHING, WEIR_NOTHING, "anyone" },
    WEIR_END
};
static const struct weir_entity thing_entity = { .name = "thing", .row = WEIR_SHAPE(struct thing, thing_fields),
                                                 .maps = thing_maps, .handlers = thing_handlers };
static const struct weir_handler desk_handlers[] = {
    { "say", WEIR_ON, thing_say, WEIR_SHAPE(struct inner, inner_fields), WEIR_SHAPE(struct inner, inner_fields), "anyone" }, WEIR_END
};
static const struct weir_service desk = { "desk", desk_handlers };

/* ---- sockets ---- */

static size_t piece_bytes(void)
{
    size_t left = w.bytes.len - w.at;
    if (w.pieces.count == 0) return left;
    size_t cut = w.pieces.cuts[w.piece < w.pieces.count ? w.piece : w.pieces.count - 1];
    return cut == 0 ? 1 : cut < left ? cut : left;
}

static int fake_listen(struct env *env, const char *host, int port)
{
    return LISTEN_FD + port;
}
static int fake_port(struct env *env, int fd)
{
    return fd;
}
static int fake_accept(struct env *env, int fd)
{
    if (!w.arriving || fd != LISTEN_FD + (int)w.door) return -EAGAIN;
    w.arriving = false;
    w.open = true;
    return CONN_FD;
}
static int64_t fake_recv(struct env *env, int fd, void *bytes, size_t len)
{
    FUZZ_CHECK(fd == CONN_FD && w.open);
    if (w.at == w.bytes.len) return 0;
    size_t part = piece_bytes();
    if (part > len) part = len;
    memcpy(bytes, w.bytes.ptr + w.at, part);
    w.at += part;
    w.piece++;
    return (int64_t)part;
}
static int64_t fake_send(struct env *env, int fd, const void *bytes, size_t len)
{
    FUZZ_CHECK(fd == CONN_FD && w.open && len > 0);
    FUZZ_CHECK(w.answer->len + len < ANSWER_BYTES_MAX, "an answer without end");
    buf_add(w.answer, bytes, len);
    return (int64_t)len;
}
static bool fake_sock_calls(struct env *env, struct actor *actor, struct env_sock_call *calls, int count)
{
    FUZZ_CHECK(count <= ENV_SOCK_CALLS_MAX);
    for (struct env_sock_call *call = calls; call < calls + count; call++)
        call->done = call->sends ? fake_send(env, call->fd, call->bytes, call->len) : fake_recv(env, call->fd, call->bytes, call->len);
    return false;
}
static void fake_close(struct env *env, int fd)
{
    if (fd == CONN_FD) w.open = false;
}
static int fake_poll_add(struct env *env, struct actor *actor, int fd, void *user, bool write)
{
    if (fd >= LISTEN_FD) {
        w.listeners[fd - LISTEN_FD] = user;
        return 0;
    }
    w.user = user;
    w.reads = true;
    w.writes = write;
    return 0;
}
static int fake_poll_change(struct env *env, struct actor *actor, int fd, void *user, bool read, bool write)
{
    if (fd != CONN_FD) return 0;
    w.reads = read;
    w.writes = write;
    return 0;
}
static void fake_poll_remove(struct env *env, struct actor *actor, int fd)
{
}
static int fake_poll_wait(struct env *env, struct actor *actor, struct env_event *events, int max, uint64_t until_ns)
{
    int count = 0;
    w.until_ns = until_ns;
    if (w.arriving) events[count++] = (struct env_event){ .user = w.listeners[w.door], .readable = true };
    if (w.open && (w.reads || w.writes)) events[count++] = (struct env_event){ .user = w.user, .readable = w.reads, .writable = w.writes };
    w.saw_event = count > 0;
    return count;
}
/* The same for ever: the ids of requests, in the answers, must not tell one way of cutting from another. */
static uint64_t fake_random(struct env *env)
{
    return 0x5bd1e9955bd1e995u;
}
static int64_t fake_wall(struct env *env)
{
    return INT64_C(1700000000000);
}

/* The simulator's actors do not wait inside their turns. */
static uint64_t net_turn_once(void *self)
{
    w.turn(self);
    return w.saw_event || w.net->touched ? 0 : w.until_ns;
}

/* ---- the world ---- */

static bool is_closed(void *arg)
{
    return !w.arriving && !w.open && w.net->in_engine == 0 && w.net->reads_out == 0;
}

static void env_take(struct env *env)
{
    env->listen = fake_listen;
    env->local_port = fake_port;
    env->accept = fake_accept;
    env->recv = fake_recv;
    env->send = fake_send;
    env->sock_calls = fake_sock_calls;
    env->sock_close = fake_close;
    env->poll_add = fake_poll_add;
    env->poll_change = fake_poll_change;
    env->poll_remove = fake_poll_remove;
    env->poll_wait = fake_poll_wait;
}

bool doors_open(struct sim *sim, enum weir_status (*build)(struct weir_app *app), struct engine_options options,
                struct net_limits limits, char error[512])
{
    struct store_recovery recovery;
    memset(&w, 0, sizeof w);
    w.sim = sim;
    w.env = sim_env(sim);
    env_take(w.env);
    app_init(&w.app, catalog_create());
    bool good = build(&w.app) == WEIR_OK && app_finish(&w.app);
    FUZZ_CHECK(good, "%s", w.app.why);
    options.env = w.env;
    options.data = "data";
    options.catalog = w.app.catalog;
    options.ports = 1;
    struct net_options net = { .env = w.env, .http_host = "127.0.0.1", .http_port = DOOR_HTTP, .resp_host = "127.0.0.1",
                               .resp_port = DOOR_RESP, .version = "fuzz", .limits = limits };
    enum weir_status st = net_open(&net, &w.net, error, 512);
    FUZZ_CHECK(st == WEIR_OK, "%s", error);
    w.turn = w.net->actor.turn;
    w.net->actor.turn = net_turn_once;
    net_start(w.net);
    st = engine_open(&options, &w.engine, &recovery, error, 512);
    if (st != WEIR_OK) return false;
    engine_start(w.engine);
    net_serve(w.net, w.engine);
    return true;
}

static bool is_drained(void *arg)
{
    bool doors = net_drain(w.net), inside = engine_drain(w.engine);
    return doors && inside;
}

void doors_close(void)
{
    FUZZ_CHECK(sim_run(w.sim, is_drained, NULL, UINT64_C(60000000000)), "it does not end");
    net_close(w.net);
    engine_close(w.engine);
    app_deinit(&w.app);
    catalog_destroy(w.app.catalog);
    w.net = NULL;
    w.engine = NULL;
}

static bool never(void *arg)
{
    return false;
}

void doors_wait(uint64_t ns)
{
    sim_run(w.sim, never, NULL, ns);
}

static enum weir_status things(struct weir_app *app)
{
    enum weir_status st = weir_add_entity(app, &thing_entity);
    return st == WEIR_OK ? weir_add_service(app, &desk) : st;
}

static void doors_start(void)
{
    char error[512] = "";
    struct engine_options options = { .shards = 2, .threads = 1, .store = { 65536, 65536, 0 } };
    options.limits.checkpoint_bytes_min = 65536;
    options.limits.dedup_rows_max = 64;
    /* small, so that a short input passes each */
    struct net_limits limits = { .request_bytes_max = 2048, .header_bytes_max = 1024, .headers_max = 12, .arguments_max = 24,
                                 .parsed_ahead_max = 8, .parsed_ahead_bytes_max = 2048 };
    struct sim *sim = sim_create(3);
    sim_env(sim)->random = fake_random;
    sim_env(sim)->wall_ms = fake_wall;
    FUZZ_CHECK(doors_open(sim, things, options, limits, error), "%s", error);
    struct buf answer = { 0 };
    doors_talk(DOOR_RESP, STR("CALL thing full fill\r\n"), (struct pieces){ NULL, 0 }, &answer);
    FUZZ_CHECK(answer.len > 0 && answer.ptr[0] != '-', "%.*s", STR_ARG(buf_str(&answer)));
    buf_free(&answer);
}

void doors_talk(enum door door, struct weir_str bytes, struct pieces pieces, struct buf *answer)
{
    if (w.sim == NULL) doors_start();
    buf_reset(answer);
    w.door = door;
    w.arriving = true;
    w.bytes = bytes;
    w.at = w.piece = 0;
    w.pieces = pieces;
    w.answer = answer;
    w.net->conn_ids = 0;
    w.env->actor_wake(w.env, &w.net->actor);
    bool closed = sim_run(w.sim, is_closed, NULL, UINT64_C(60000000000));
    FUZZ_CHECK(closed, "not closed within a minute: %zu of %zu bytes read, %zu bytes answered", w.at, bytes.len, answer->len);
    FUZZ_CHECK(w.net->conn_count == 0 && w.net->conns == NULL);
}

static bool mentions(const struct buf *answer, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= answer->len; i++)
        if (memcmp(answer->ptr + i, word, len) == 0) return true;
    return false;
}

void doors_compare(enum door door, struct weir_str bytes, struct pieces pieces, struct buf *answer)
{
    static const char *const figures[] = { "weir_build_info", "# Server", "# Stats", "# Clients", "# Memory", "# Persistence",
                                           "Idempotency-Replayed", "overloaded", "age=" };
    struct buf other = { 0 };
    doors_talk(door, bytes, pieces, &other);
    doors_talk(door, bytes, (struct pieces){ NULL, 0 }, answer);
    bool compared = true;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0]; i++)
        if (mentions(answer, figures[i]) || mentions(&other, figures[i])) compared = false;
    bool same = !compared || str_eq(buf_str(answer), buf_str(&other));
    if (!same) { /* the first may have made a row that the second saw: once more */
        doors_talk(door, bytes, pieces, &other);
        same = str_eq(buf_str(answer), buf_str(&other));
    }
    FUZZ_CHECK(same, "whole:\n%.*s\nin pieces:\n%.*s", STR_ARG(buf_str(answer)), STR_ARG(buf_str(&other)));
    buf_free(&other);
}
