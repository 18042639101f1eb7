/*
 * door_resp.c - requests over RESP2, as any client would send them: CALL type key handler arg ...
 *
 * One thread, one epoll, connections that each have up to `pipeline` requests under way. Answers of a connection come in
 * the order of its requests, so its shots are a ring. What the replies of one read make room for is filled and sent by one
 * write: a real client with a pipeline does no worse. A control connection of its own reads INFO.
 *
 * Sleeping: in an open loop the thread wakes when a request is due, but not more often than each QUANTUM_NS: on few
 * cores it would otherwise take the server's. The report shows by how much requests left late; that is in their latency.
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "bench/driver.h"
#include "bench/link.h"

#define DEPTH_MAX 8
#define QUANTUM_NS UINT64_C(50000)

struct conn {
    struct link link; /* first */
    uint32_t first, in_flight;
    struct shot *ring; /* of `pipeline` */
};

struct door_resp {
    struct door door;
    const struct workload *workload;
    struct driver *driver;
    int pid;
    int epoll;
    struct batch *batch; /* NULL: there is none to be had */
    uint32_t conn_count, pipeline;
    struct conn *conns, control;
    uint32_t turn; /* the connection that an open loop tries first */
    struct {
        uint32_t words;             /* with the key, without arguments */
        struct weir_str head, tail; /* "$4 CALL $n type", "$n handler" */
    } * verbs;
    uint32_t verb_count;
    struct arena arena;
    int64_t numbers[ANSWER_NUMBERS_MAX];
};

/* ---- writing ---- */

#define DIGITS_ROOM (INT_TEXT_MAX + 3u)

/* Returns what follows. */
static inline char *put_digits(char *at, char kind, size_t n)
{
    *at++ = kind;
    if (n < 10) *at++ = (char)('0' + n);
    else at += int_text((int64_t)n, at);
    *at++ = '\r';
    *at++ = '\n';
    return at;
}

static inline void add_digits(struct buf *out, char kind, size_t n)
{
    buf_reserve(out, DIGITS_ROOM);
    ASSERT_SLOW(out->ptr != NULL);
    out->len = (size_t)(put_digits(out->ptr + out->len, kind, n) - out->ptr);
}

static inline void add_bulk(struct buf *out, const char *bytes, size_t len)
{
    buf_reserve(out, DIGITS_ROOM + len + 2);
    ASSERT_SLOW(out->ptr != NULL);
    char *at = put_digits(out->ptr + out->len, '$', len);
    memcpy(at, bytes, len);
    at[len] = '\r';
    at[len + 1] = '\n';
    out->len = (size_t)(at + len + 2 - out->ptr);
}

static void add_int(struct buf *out, int64_t n)
{
    char digits[INT_TEXT_MAX];
    add_bulk(out, digits, int_text(n, digits));
}

static void add_rows(struct buf *out, const struct shot *shot, const struct shot_arg *arg)
{
    struct buf json = { 0 };
    const int64_t *cell = shot->cell + arg->at;
    buf_add_byte(&json, '[');
    for (int64_t r = 0; r < arg->n; r++) {
        buf_add_text(&json, r ? ",{" : "{");
        for (uint32_t c = 0; c < arg->columns; c++)
            buf_printf(&json, "%s\"%s\":%lld", c ? "," : "", arg->names[c], (long long)*cell++);
        buf_add_byte(&json, '}');
    }
    buf_add_byte(&json, ']');
    add_bulk(out, json.ptr, json.len);
    buf_free(&json);
}

static void shot_write(const struct door_resp *door, const struct shot *shot, struct buf *out)
{
    add_digits(out, '*', door->verbs[shot->verb].words + shot->arg_count);
    buf_add_str(out, door->verbs[shot->verb].head);
    if (shot->key_len > 0) add_bulk(out, shot->key, shot->key_len);
    else add_bulk(out, "-", 1); /* a service */
    buf_add_str(out, door->verbs[shot->verb].tail);
    for (uint32_t i = 0; i < shot->arg_count; i++) {
        const struct shot_arg *arg = &shot->arg[i];
        switch (arg->kind) {
        case SHOT_INT: add_int(out, arg->n); break;
        case SHOT_TEXT: add_bulk(out, shot->text + arg->at, arg->len); break;
        case SHOT_ROWS: add_rows(out, shot, arg); break;
        }
    }
}

/* ---- reading ---- */

struct reply {
    const char *at, *end;
    struct answer *answer;
    int64_t *numbers;
    bool broken;
};

/* A line behind the type byte; false when its end is not there yet. Most are of a few bytes, which a call would outlast. */
static inline bool reply_line(struct reply *r, struct weir_str *line)
{
    const char *end = r->at;
    while (end < r->end && *end != '\n') end++;
    if (end == r->end) return false;
    *line = (struct weir_str){ r->at, (size_t)(end - r->at) };
    if (line->len > 0 && line->ptr[line->len - 1] == '\r') line->len--;
    r->at = end + 1;
    return true;
}

static int64_t line_number(struct weir_str line)
{
    int64_t n = 0;
    bool negative = line.len > 0 && line.ptr[0] == '-';
    for (size_t i = negative; i < line.len && line.ptr[i] >= '0' && line.ptr[i] <= '9'; i++)
        n = n * 10 + (line.ptr[i] - '0');
    return negative ? -n : n;
}

static void error_take(struct answer *a, struct weir_str line)
{
    *a = (struct answer){ .kind = ANSWER_ERROR, .text = line };
    const char *space = memchr(line.ptr, ' ', line.len);
    a->word = (struct weir_str){ line.ptr, space ? (size_t)(space - line.ptr) : line.len };
    if (!space || a->word.len != 6 || memcmp(a->word.ptr, "APPERR", 6) != 0) return;
    struct weir_str rest = { space + 1, line.len - 7 };
    space = memchr(rest.ptr, ' ', rest.len);
    a->word = (struct weir_str){ rest.ptr, space ? (size_t)(space - rest.ptr) : rest.len };
}

/* One value. False: more bytes are needed. */
static bool reply_value(struct reply *r, int depth)
{
    struct answer *a = r->answer;
    struct weir_str line;
    if (r->at == r->end) return false;
    char kind = *r->at++;
    if (!reply_line(r, &line)) return false;
    if (depth > 0 && kind != '*') a->items++;
    int64_t n = kind == '+' || kind == '-' ? 0 : line_number(line);
    switch (kind) {
    case '+':
        if (depth == 0) *a = (struct answer){ .kind = ANSWER_TEXT, .text = line };
        return true;
    case '-': error_take(a, line); return true;
    case ':':
        if (depth == 0) *a = (struct answer){ .kind = ANSWER_NUMBER, .number = n };
        else if (a->count < ANSWER_NUMBERS_MAX) r->numbers[a->count++] = n;
        return true;
    case '$': {
        if (n < 0) break;
        if (r->end - r->at < n + 2) return false;
        if (depth == 0) *a = (struct answer){ .kind = ANSWER_TEXT, .text = { r->at, (size_t)n } };
        r->at += n + 2;
        return true;
    }
    case '*':
        if (n < 0) break;
        if (depth == 0)
            *a = (struct answer){ .kind = ANSWER_NUMBERS,
                                  .numbers = r->numbers,
                                  .rows = (uint32_t)n };
        for (int64_t i = 0; i < n && depth < DEPTH_MAX; i++)
            if (!reply_value(r, depth + 1)) return false;
        return true;
    default: r->broken = true; return true;
    }
    if (depth == 0) *a = (struct answer){ .kind = ANSWER_NIL };
    return true;
}

/* The next whole reply of what came; 1: there is one, 0: not yet, -1: no RESP. */
static int conn_reply(struct door_resp *door, struct conn *conn, struct answer *answer)
{
    struct link *link = &conn->link;
    struct reply r = { .at = link->in.ptr + link->in_at,
                       .end = link->in.ptr + link->in.len,
                       .answer = answer,
                       .numbers = door->numbers };
    answer->count = answer->items = 0;
    if (link->in_at == link->in.len || !reply_value(&r, 0)) return 0;
    link->in_at = (size_t)(r.at - link->in.ptr);
    return r.broken ? -1 : 1;
}

/* ---- connections ---- */

static struct shot *conn_room(struct door_resp *door, struct conn *conn)
{
    if (conn->in_flight == door->pipeline || conn->link.blocked) return NULL;
    return &conn->ring[(conn->first + conn->in_flight) % door->pipeline];
}

static bool conn_add(struct door_resp *door, struct conn *conn, uint64_t now)
{
    struct shot *shot = conn_room(door, conn);
    if (!shot || !driver_take(door->driver, now, shot)) return false;
    shot_write(door, shot, &conn->link.out);
    conn->in_flight++;
    return true;
}

static void conn_ready(struct door_resp *door, struct conn *conn)
{
    struct driver *d = door->driver;
    struct answer answer;
    int found;
    uint64_t now = mono_ns();
    while ((found = conn_reply(door, conn, &answer)) > 0 && conn->in_flight > 0) {
        struct shot *shot = &conn->ring[conn->first];
        conn->first = (conn->first + 1) % door->pipeline;
        conn->in_flight--;
        driver_answer(d, shot, &answer, now);
    }
    if (found < 0 || (found > 0 && conn->in_flight == 0)) driver_fail(d, "no server of Weir's");
    if (conn->link.got < 0) driver_fail(d, "the server closed the connection");
}

/* ---- a pass ---- */

/* Closed loop: whoever has room is filled. */
static void fill_all(struct door_resp *door, uint64_t now)
{
    for (uint32_t i = 0; i < door->conn_count; i++) {
        struct conn *conn = &door->conns[i];
        while (conn_add(door, conn, now)) continue;
    }
}

/* Open loop: one request to each connection in turn, so that they are loaded alike. */
static void fill_due(struct door_resp *door, uint64_t now)
{
    uint32_t full = 0;
    while (full < door->conn_count && driver_next_due(door->driver) <= now) {
        struct conn *conn = &door->conns[door->turn];
        door->turn = (door->turn + 1) % door->conn_count;
        full = conn_add(door, conn, now) ? 0 : full + 1;
    }
}

static void wait_for(struct door_resp *door, uint64_t now)
{
    struct epoll_event events[LINKS_MAX];
    uint64_t due = driver_next_due(door->driver);
    struct driver *d = door->driver;
    uint64_t until = now + 100000000;
    if (d->pass == PASS_MEASURE && d->rate > 0 && due > now && due < until) until = due;
    if (d->pass == PASS_MEASURE && !d->began && d->begin_ns < until) until = d->begin_ns;
    if (d->pass == PASS_MEASURE && !d->ended && d->end_ns < until) until = d->end_ns;
    if (until < now + QUANTUM_NS) until = now + QUANTUM_NS;
    struct timespec timeout = { .tv_sec = (time_t)((until - now) / 1000000000),
                                .tv_nsec = (long)((until - now) % 1000000000) };
    int count = epoll_pwait2(door->epoll, events, LINKS_MAX, &timeout, NULL);
    struct link *ready[LINKS_MAX];
    int found = links_take(door->batch, events, count, ready);
    if (found < 0) driver_fail(d, "the server closed the connection");
    for (int i = 0; i < found; i++) conn_ready(door, (struct conn *)ready[i]);
}

static bool door_run(struct door *base, struct driver *driver)
{
    struct door_resp *door = (struct door_resp *)base;
    door->driver = driver;
    for (;;) {
        uint64_t now = mono_ns();
        driver_turn(driver, now);
        if (driver_done(driver)) break;
        if (driver->pass == PASS_MEASURE && driver->rate > 0) fill_due(door, now);
        else fill_all(door, now);
        if (!links_flush(door->batch, door->conns, sizeof(*door->conns), door->conn_count))
            driver_fail(driver, "the server closed the connection");
        wait_for(door, mono_ns());
    }
    return driver->error[0] == 0;
}

/* ---- INFO ---- */

static bool control_ask(struct door_resp *door, const char *word, struct answer *answer)
{
    struct conn *conn = &door->control;
    int found;
    add_digits(&conn->link.out, '*', 1);
    add_bulk(&conn->link.out, word, strlen(word));
    if (!link_flush(&conn->link)) return false;
    while ((found = conn_reply(door, conn, answer)) == 0)
        if (link_receive(&conn->link) < 0) return false;
    return found > 0 && answer->kind == ANSWER_TEXT;
}

static uint64_t info_number(struct weir_str info, const char *name)
{
    size_t len = strlen(name);
    for (size_t at = 0; at + len < info.len;) {
        const char *line = info.ptr + at;
        const char *end = memchr(line, '\n', info.len - at);
        if (memcmp(line, name, len) == 0 && line[len] == ':')
            return strtoull(line + len + 1, NULL, 10);
        if (!end) break;
        at = (size_t)(end - info.ptr) + 1;
    }
    return 0;
}

static bool door_figures(struct door *base, struct figures *f)
{
    struct door_resp *door = (struct door_resp *)base;
    struct answer a;
    memset(f, 0, sizeof(*f));
    if (!control_ask(door, "INFO", &a)) return false;
    f->syncs = info_number(a.text, "syncs_total");
    f->log_bytes = info_number(a.text, "log_bytes_total");
    f->commits = info_number(a.text, "commits_total");
    f->failures = info_number(a.text, "failures_total");
    f->wounds = info_number(a.text, "wounds_total");
    f->deaths = info_number(a.text, "deaths_total");
    f->in_turn = info_number(a.text, "reruns_in_turn_total");
    f->together = info_number(a.text, "together_calls_total");
    f->multi_shard = info_number(a.text, "multi_shard_total");
    f->overloads = info_number(a.text, "overloads_total");
    f->timeouts = info_number(a.text, "timeouts_total");
    f->local_calls = info_number(a.text, "local_calls_total");
    f->remote_calls = info_number(a.text, "remote_calls_total");
    f->checkpoints = info_number(a.text, "checkpoints_total");
    f->entities = info_number(a.text, "entities");
    f->memory_bytes = info_number(a.text, "memory_bytes");
    f->pending = info_number(a.text, "messages_pending") +
                 info_number(a.text, "events_emitted_total") -
                 info_number(a.text, "events_followed_total");
    f->server_known = door->pid > 0 && cpu_of_process(door->pid, &f->server);
    if (f->server_known) cpu_of_threads(door->pid, f->thread);
    f->client = cpu_used(RUSAGE_SELF);
    return true;
}

void door_resp_shards(struct door *base, uint32_t *shards, uint32_t *threads)
{
    struct answer a;
    if (!control_ask((struct door_resp *)base, "INFO", &a)) return;
    *shards = (uint32_t)info_number(a.text, "shards");
    *threads = (uint32_t)info_number(a.text, "threads");
}

/* ---- opening and closing ---- */

static void conn_free(struct conn *conn)
{
    link_close(&conn->link);
    mem_free(conn->ring);
}

static void door_close(struct door *base)
{
    struct door_resp *door = (struct door_resp *)base;
    for (uint32_t i = 0; i < door->conn_count; i++) conn_free(&door->conns[i]);
    conn_free(&door->control);
    if (door->epoll >= 0) close(door->epoll);
    batch_close(door->batch);
    mem_free(door->conns);
    mem_free(door->verbs);
    arena_free(&door->arena);
    mem_free(door);
}

/* Words separated by one blank, as bulks; counts them. */
static struct weir_str words_write(struct arena *arena, const char *words, uint32_t *count)
{
    struct buf out = { 0 };
    while (*words) {
        size_t len = strcspn(words, " ");
        add_bulk(&out, words, len);
        words += len + (words[len] == ' ');
        (*count)++;
    }
    struct weir_str text = arena_printf(arena, "%.*s", STR_ARG(buf_str(&out)));
    buf_free(&out);
    return text;
}

static void verbs_write(struct door_resp *door)
{
    const struct verb *verbs = door->workload->verbs;
    while (verbs[door->verb_count].type) door->verb_count++;
    door->verbs = mem_alloc(door->verb_count * sizeof(*door->verbs));
    for (uint32_t i = 0; i < door->verb_count; i++) {
        const char *head = verbs[i].words, *tail = "";
        uint32_t words = 1; /* the key */
        if (!head) {
            head = arena_printf(&door->arena, "CALL %s", verbs[i].type).ptr;
            tail = verbs[i].handler;
        }
        door->verbs[i].head = words_write(&door->arena, head, &words);
        door->verbs[i].tail = words_write(&door->arena, tail, &words);
        door->verbs[i].words = words;
    }
}

static bool conn_open(struct door_resp *door, struct conn *conn, const char *host, int port,
                      char *error, size_t error_bytes)
{
    conn->link.fd = link_dial(host, port, error, error_bytes);
    if (conn->link.fd < 0) return false;
    conn->ring = mem_alloc(door->pipeline * sizeof(*conn->ring));
    return link_begin(&conn->link, door->epoll);
}

struct door *door_resp_open(const struct workload *workload, const char *host, int port, int pid,
                            uint32_t connections, uint32_t pipeline, char *error,
                            size_t error_bytes)
{
    struct door_resp *door = mem_alloc(sizeof(*door));
    door->door = (struct door){ door_run, door_figures, door_close };
    door->workload = workload;
    door->pid = pid;
    door->conn_count = connections;
    door->pipeline = pipeline;
    door->conns = mem_alloc(connections * sizeof(*door->conns));
    for (uint32_t i = 0; i < connections; i++) door->conns[i].link.fd = -1;
    verbs_write(door);
    door->epoll = epoll_create1(EPOLL_CLOEXEC);
    door->batch = batch_open();
    door->control.link.fd = link_dial(host, port, error, error_bytes); /* blocking */
    bool good = door->control.link.fd >= 0;
    for (uint32_t i = 0; i < connections && good; i++)
        good = conn_open(door, &door->conns[i], host, port, error, error_bytes);
    if (good) return &door->door;
    if (!error[0]) snprintf(error, error_bytes, "%s", strerror(errno));
    door_close(&door->door);
    return NULL;
}
