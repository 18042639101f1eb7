/*
 * door_iproto.c - Tarantool's binary protocol: CALL of a stored function, answers in any order.
 *
 * A request is a length (0xce and four bytes), a map {0: 10 (CALL), 1: sync} and a map {0x22: function, 0x21: [arguments]};
 * `sync` is the place of the request among those of its connection and comes back in the answer, a map {0: 0 or an error,
 * 1: sync} and a map {0x30: [results]} or {0x31: text}. All numbers are MessagePack's. As in door_resp.c, what the answers
 * of one read make room for leaves with one write. Closed loops only.
 * SPDX-License-Identifier: MIT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/link.h"
#include "doors.h"

#define GREETING_BYTES 128u
#define DEPTH_MAX 16

enum { KEY_TYPE = 0x00, KEY_SYNC = 0x01, KEY_TUPLE = 0x21, KEY_FUNCTION = 0x22 };
enum { KEY_DATA = 0x30, KEY_ERROR = 0x31, TYPE_CALL = 0x0a };

struct conn {
    struct link link;   /* first */
    struct shot *shots; /* of `pipeline` */
    uint32_t *free;     /* places in shots */
    uint32_t free_count;
};

struct door_iproto {
    struct door door;
    const struct workload *workload;
    struct driver *driver;
    int pid, epoll;
    struct batch *batch; /* NULL: there is none to be had */
    uint32_t conn_count, pipeline;
    struct conn *conns;
};

/* ---- writing ---- */

static void put_be32(struct buf *out, uint32_t n)
{
    const uint8_t bytes[] = { (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
                              (uint8_t)n };
    buf_add(out, bytes, sizeof(bytes));
}

static void put_uint(struct buf *out, uint32_t n)
{
    if (n < 128) {
        buf_add_byte(out, (uint8_t)n);
        return;
    }
    buf_add_byte(out, 0xce);
    put_be32(out, n);
}

static void put_text(struct buf *out, const char *text, size_t len)
{
    if (len < 32) {
        buf_add_byte(out, (uint8_t)(0xa0 | len));
    } else {
        buf_add_byte(out, 0xdb);
        put_be32(out, (uint32_t)len);
    }
    buf_add(out, text, len);
}

static void put_int(struct buf *out, int64_t n)
{
    buf_add_byte(out, 0xd3);
    put_be32(out, (uint32_t)((uint64_t)n >> 32));
    put_be32(out, (uint32_t)n);
}

static void shot_write(const struct door_iproto *door, const struct shot *shot, uint32_t sync,
                       struct buf *out)
{
    const char *function = door->workload->verbs[shot->verb].handler;
    size_t at = out->len;
    buf_add_byte(out, 0xce);
    put_be32(out, 0); /* the length, below */
    const uint8_t head[] = { 0x82, KEY_TYPE, TYPE_CALL, KEY_SYNC };
    buf_add(out, head, sizeof(head));
    put_uint(out, sync);
    const uint8_t body[] = { 0x82, KEY_FUNCTION };
    buf_add(out, body, sizeof(body));
    put_text(out, function, strlen(function));
    buf_add_byte(out, KEY_TUPLE);
    buf_add_byte(out, (uint8_t)(0x90 | (1 + shot->arg_count)));
    put_text(out, shot->key, shot->key_len);
    for (uint32_t i = 0; i < shot->arg_count; i++) {
        const struct shot_arg *arg = &shot->arg[i];
        if (arg->kind == SHOT_INT) put_int(out, arg->n);
        else put_text(out, shot->text + arg->at, arg->len);
    }
    uint32_t len = htonl((uint32_t)(out->len - at - 5));
    memcpy(out->ptr + at + 1, &len, sizeof(len));
}

/* ---- reading ---- */

/* MessagePack that lies whole between at and end; `broken` once it does not. */
struct pack {
    const uint8_t *at, *end;
    bool broken;
};

static uint64_t take_be(struct pack *r, uint32_t bytes)
{
    uint64_t n = 0;
    if ((size_t)(r->end - r->at) < bytes) {
        r->broken = true;
        r->at = r->end;
        return 0;
    }
    while (bytes-- > 0) n = n << 8 | *r->at++;
    return n;
}

enum item_kind { ITEM_NUMBER, ITEM_TEXT, ITEM_LIST, ITEM_MAP, ITEM_OTHER };
struct item {
    enum item_kind kind;
    int64_t
        n; /* the number, the bytes of a text (which are skipped), the members of a list or map */
    const char *text;
};

static struct item take_head(struct pack *r)
{
    uint8_t b = (uint8_t)take_be(r, 1);
    if (b < 0x80) return (struct item){ ITEM_NUMBER, b, NULL };
    if (b < 0x90) return (struct item){ ITEM_MAP, b & 0x0f, NULL };
    if (b < 0xa0) return (struct item){ ITEM_LIST, b & 0x0f, NULL };
    if (b < 0xc0) return (struct item){ ITEM_TEXT, b & 0x1f, NULL };
    if (b >= 0xe0) return (struct item){ ITEM_NUMBER, (int8_t)b, NULL };
    switch (b) {
    case 0xc4:
    case 0xd9: return (struct item){ ITEM_TEXT, (int64_t)take_be(r, 1), NULL };
    case 0xc5:
    case 0xda: return (struct item){ ITEM_TEXT, (int64_t)take_be(r, 2), NULL };
    case 0xc6:
    case 0xdb: return (struct item){ ITEM_TEXT, (int64_t)take_be(r, 4), NULL };
    case 0xca: return (struct item){ ITEM_OTHER, (int64_t)take_be(r, 4), NULL };
    case 0xcb: return (struct item){ ITEM_OTHER, (int64_t)take_be(r, 8), NULL };
    case 0xcc: return (struct item){ ITEM_NUMBER, (int64_t)take_be(r, 1), NULL };
    case 0xcd: return (struct item){ ITEM_NUMBER, (int64_t)take_be(r, 2), NULL };
    case 0xce: return (struct item){ ITEM_NUMBER, (int64_t)take_be(r, 4), NULL };
    case 0xcf: return (struct item){ ITEM_NUMBER, (int64_t)take_be(r, 8), NULL };
    case 0xd0: return (struct item){ ITEM_NUMBER, (int8_t)take_be(r, 1), NULL };
    case 0xd1: return (struct item){ ITEM_NUMBER, (int16_t)take_be(r, 2), NULL };
    case 0xd2: return (struct item){ ITEM_NUMBER, (int32_t)take_be(r, 4), NULL };
    case 0xd3: return (struct item){ ITEM_NUMBER, (int64_t)take_be(r, 8), NULL };
    case 0xdc: return (struct item){ ITEM_LIST, (int64_t)take_be(r, 2), NULL };
    case 0xdd: return (struct item){ ITEM_LIST, (int64_t)take_be(r, 4), NULL };
    case 0xde: return (struct item){ ITEM_MAP, (int64_t)take_be(r, 2), NULL };
    case 0xdf: return (struct item){ ITEM_MAP, (int64_t)take_be(r, 4), NULL };
    case 0xc0:
    case 0xc2:
    case 0xc3: return (struct item){ ITEM_OTHER, 0, NULL };
    default: r->broken = true; return (struct item){ ITEM_OTHER, 0, NULL };
    }
}

/* A text with its bytes; of lists and maps the head only. */
static struct item take(struct pack *r)
{
    struct item item = take_head(r);
    if (item.kind != ITEM_TEXT) return item;
    if (r->end - r->at < item.n) {
        r->broken = true;
        r->at = r->end;
        return (struct item){ ITEM_OTHER, 0, NULL };
    }
    item.text = (const char *)r->at;
    r->at += item.n;
    return item;
}

static void skip(struct pack *r, int depth)
{
    struct item item = take(r);
    int64_t members = item.kind == ITEM_MAP ? 2 * item.n : item.kind == ITEM_LIST ? item.n : 0;
    if (depth == DEPTH_MAX) r->broken = true;
    for (int64_t i = 0; i < members && !r->broken; i++) skip(r, depth + 1);
}

static void take_results(struct pack *r, struct answer *answer)
{
    struct item list = take(r);
    if (list.kind != ITEM_LIST) r->broken = true;
    for (int64_t i = 0; i < list.n && !r->broken; i++) {
        if (i > 0) {
            skip(r, 0);
            continue;
        }
        struct item first = take(r);
        if (first.kind == ITEM_NUMBER)
            *answer = (struct answer){ .kind = ANSWER_NUMBER, .number = first.n };
        else if (first.kind == ITEM_LIST || first.kind == ITEM_MAP) r->broken = true;
    }
}

static bool answer_read(const uint8_t *at, size_t bytes, uint64_t *sync, struct answer *answer)
{
    struct pack r = { at, at + bytes, false };
    *answer = (struct answer){ .kind = ANSWER_NIL };
    *sync = UINT64_MAX;
    struct item map = take(&r);
    for (int64_t i = 0; i < map.n && !r.broken; i++) {
        int64_t key = take(&r).n, value = take(&r).n;
        if (key == KEY_SYNC) *sync = (uint64_t)value;
    }
    map = r.at < r.end ? take(&r) : (struct item){ ITEM_MAP, 0, NULL };
    for (int64_t i = 0; i < map.n && !r.broken; i++) {
        int64_t key = take(&r).n;
        if (key == KEY_DATA) {
            take_results(&r, answer);
        } else if (key == KEY_ERROR) {
            struct item text = take(&r);
            *answer = (struct answer){ .kind = ANSWER_ERROR,
                                       .text = { text.text, (size_t)text.n } };
            const char *blank = text.text ? memchr(text.text, ' ', (size_t)text.n) : NULL;
            answer->word = answer->text;
            if (blank) answer->word.len = (size_t)(blank - text.text);
        } else {
            skip(&r, 0);
        }
    }
    return !r.broken && map.kind == ITEM_MAP;
}

/* ---- connections ---- */

static void conn_fill(struct door_iproto *door, struct conn *conn, uint64_t now)
{
    while (conn->free_count > 0 && !conn->link.blocked) {
        uint32_t place = conn->free[conn->free_count - 1];
        if (!driver_take(door->driver, now, &conn->shots[place])) return;
        conn->free_count--;
        shot_write(door, &conn->shots[place], place, &conn->link.out);
    }
}

/* What came, whole answers at a time. False: no Tarantool. */
static bool conn_answers(struct door_iproto *door, struct conn *conn, uint64_t now)
{
    for (;;) {
        const uint8_t *at = (const uint8_t *)conn->link.in.ptr + conn->link.in_at;
        struct pack r = { at, (const uint8_t *)conn->link.in.ptr + conn->link.in.len, false };
        struct answer answer;
        uint64_t sync;
        if (r.end - r.at < 5) return true; /* it always sends the length in five bytes */
        struct item len = take(&r);
        if (len.kind != ITEM_NUMBER || len.n < 0) return false;
        if (r.end - r.at < len.n) return true;
        if (!answer_read(r.at, (size_t)len.n, &sync, &answer) || sync >= door->pipeline)
            return false;
        driver_answer(door->driver, &conn->shots[sync], &answer, now);
        conn->free[conn->free_count++] = (uint32_t)sync;
        conn->link.in_at += (size_t)(r.at - at) + (size_t)len.n;
    }
}

static void conn_ready(struct door_iproto *door, struct conn *conn)
{
    if (conn->link.got == 0) return;
    if (conn->link.got < 0) {
        driver_fail(door->driver, "the server closed the connection");
        return;
    }
    if (!conn_answers(door, conn, mono_ns())) driver_fail(door->driver, "no server of Tarantool's");
}

static bool door_run(struct door *base, struct driver *driver)
{
    struct door_iproto *door = (struct door_iproto *)base;
    struct epoll_event events[LINKS_MAX];
    struct link *ready[LINKS_MAX];
    door->driver = driver;
    for (;;) {
        uint64_t now = mono_ns();
        driver_turn(driver, now);
        if (driver_done(driver)) return driver->error[0] == 0;
        for (uint32_t i = 0; i < door->conn_count; i++) conn_fill(door, &door->conns[i], now);
        if (!links_flush(door->batch, door->conns, sizeof(*door->conns), door->conn_count))
            driver_fail(driver, "the server closed the connection");
        /* 10 ms: the ends of warm-up and measurement are seen in time even when nothing is answered. */
        int count = epoll_wait(door->epoll, events, LINKS_MAX, 10);
        int found = links_take(door->batch, events, count, ready);
        if (found < 0) driver_fail(driver, "the server closed the connection");
        for (int i = 0; i < found; i++) conn_ready(door, (struct conn *)ready[i]);
    }
}

static bool door_figures(struct door *base, struct figures *f)
{
    struct door_iproto *door = (struct door_iproto *)base;
    memset(f, 0, sizeof(*f));
    f->server_known = cpu_of_process(door->pid, &f->server);
    f->client = cpu_used(RUSAGE_SELF);
    return true;
}

static void door_close(struct door *base)
{
    struct door_iproto *door = (struct door_iproto *)base;
    for (uint32_t i = 0; i < door->conn_count; i++) {
        struct conn *conn = &door->conns[i];
        link_close(&conn->link);
        mem_free(conn->shots);
        mem_free(conn->free);
    }
    if (door->epoll >= 0) close(door->epoll);
    batch_close(door->batch);
    mem_free(door->conns);
    mem_free(door);
}

static bool conn_open(struct door_iproto *door, struct conn *conn, int port, char *error,
                      size_t error_bytes)
{
    char greeting[GREETING_BYTES];
    conn->link.fd = link_dial("127.0.0.1", port, error, error_bytes);
    if (conn->link.fd < 0) return false;
    if (recv(conn->link.fd, greeting, sizeof(greeting), MSG_WAITALL) != (ssize_t)sizeof(greeting)) {
        snprintf(error, error_bytes, "no server of Tarantool's at 127.0.0.1:%d", port);
        return false;
    }
    conn->shots = mem_alloc(door->pipeline * sizeof(*conn->shots));
    conn->free = mem_alloc(door->pipeline * sizeof(*conn->free));
    while (conn->free_count < door->pipeline) {
        conn->free[conn->free_count] = conn->free_count;
        conn->free_count++;
    }
    return link_begin(&conn->link, door->epoll);
}

struct door *door_iproto_open(const struct workload *workload, int port, int pid,
                              uint32_t connections, uint32_t pipeline, char *error,
                              size_t error_bytes)
{
    struct door_iproto *door = mem_alloc(sizeof(*door));
    door->door = (struct door){ door_run, door_figures, door_close };
    door->workload = workload;
    door->pid = pid;
    door->conn_count = connections;
    door->pipeline = pipeline;
    door->conns = mem_alloc(connections * sizeof(*door->conns));
    for (uint32_t i = 0; i < connections; i++) door->conns[i].link.fd = -1;
    door->epoll = epoll_create1(EPOLL_CLOEXEC);
    door->batch = batch_open();
    bool good = door->epoll >= 0;
    for (uint32_t i = 0; i < connections && good; i++)
        good = conn_open(door, &door->conns[i], port, error, error_bytes);
    if (good) return &door->door;
    if (!error[0]) snprintf(error, error_bytes, "%s", strerror(errno));
    door_close(&door->door);
    return NULL;
}
