/*
 * client.c - many clients at once on the RESP and HTTP doors, and the history of what they saw.
 *
 *   history_client --port N --history FILE [--http N] [--txns N] [--seed N] [--connections N] [--depth N] [--drop N]
 *
 * With --http every third connection speaks HTTP, one request at a time. Each other connection has `depth` clients that pipeline on it; a client has one request at a time. When a
 * connection is lost, requests without an id become `unknown`; those with an id are sent again on the next
 * connection, with the same id, until they are answered, and some are sent once more after that. --drop N closes
 * a connection itself, with requests on the way, about every N transactions. While the server is away the
 * clients try to connect. When all is answered they wait until no message and no timer is pending, and then every
 * entity is read once.
 *
 * Standard output: a line with the number of transactions begun now and then, `final` before the last reads,
 * and a line of JSON with the counts. Exit codes: 0 done; 1 an answer that no client should get; 2 no answer
 * for a long while; 64 usage.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "reply.h"

#define CONNECTIONS_MAX 64
#define DEPTH_MAX 64
#define RETRY_NS UINT64_C(5000000)
#define STUCK_NS UINT64_C(30000000000)
#define CODES_MAX 16
#define PROGRESS 100

enum slot_state { SLOT_FREE, SLOT_SENT, SLOT_AGAIN };

struct slot {
    enum slot_state state;
    struct work work;
    uint64_t start, not_before;
    unsigned echoes; /* times to be sent again though answered */
};

struct connection {
    int fd; /* -1: none */
    bool is_http;
    bool is_greeted; /* INFO was answered: the number of shards is known */
    bool is_asking;  /* INFO is on its way: what is pending? */
    bool is_dropped; /* closed by its own side once its output is out */
    uint64_t retry_at;
    struct slot slots[DEPTH_MAX];
    unsigned queue[DEPTH_MAX], queue_first, queue_len; /* slots in the order of their answers */
    struct text out, in;
    size_t out_at;
};

struct code {
    char word[48];
    uint64_t count;
};

struct load {
    uint16_t port, http;
    unsigned shards; /* as the last INFO said */
    uint64_t txns, seed, drop;
    unsigned connection_count, depth;
    FILE *history;
    struct connection connections[CONNECTIONS_MAX];
    struct text line;
    struct reply reply;
    struct code codes[CODES_MAX];
    uint64_t http_answers;
    uint64_t begun, ok, failed, unknown, resent, echoed, drops, losses, multi, finals, answers;
    uint64_t last_answer;
    bool is_final, is_over, is_quiet;
};

__attribute__((noreturn, format(printf, 2, 3))) static void give_up(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(code);
}

/* ---- lines ---- */

static void write_seen(struct load *load, struct connection *c, struct slot *slot, const char *outcome,
                       const char *code, const struct op_result *results)
{
    struct seen seen = { (unsigned)((unsigned)(c - load->connections) * load->depth + (unsigned)(slot - c->slots)),
                         load->shards, slot->start, work_now(), outcome, code };
    load->line.len = 0;
    work_line(&load->line, &slot->work, &seen, results);
    if (fwrite(load->line.ptr, 1, load->line.len, load->history) != load->line.len)
        give_up(1, "the history cannot be written");
}

static void count_code(struct load *load, const char *word)
{
    for (size_t i = 0; i < CODES_MAX; i++) {
        struct code *code = &load->codes[i];
        if (code->count > 0 && strcmp(code->word, word) != 0) continue;
        snprintf(code->word, sizeof code->word, "%s", word);
        code->count++;
        return;
    }
}

/* ---- connections ---- */

static void connection_lost(struct load *load, struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    if (!c->is_dropped) load->losses++;
    c->is_asking = false;
    if (!c->is_dropped && load->is_final) give_up(1, "a connection was lost during the last reads");
    for (; c->queue_len > 0; c->queue_len--, c->queue_first++) {
        struct slot *slot = &c->slots[c->queue[c->queue_first % DEPTH_MAX]];
        load->unknown++;
        write_seen(load, c, slot, "unknown", NULL, NULL);
        slot->state = slot->work.has_id ? SLOT_AGAIN : SLOT_FREE;
        slot->not_before = 0;
    }
    c->is_greeted = c->is_dropped = false;
    c->out.len = c->out_at = c->in.len = 0;
    c->retry_at = work_now() + RETRY_NS;
}

static void connection_open(struct load *load, struct connection *c, uint64_t now)
{
    if (c->retry_at > now) return;
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(c->is_http ? load->http : load->port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1;
    c->retry_at = now + RETRY_NS;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) give_up(1, "socket: %s", strerror(errno));
    /* A loopback connection to a port nobody serves may meet itself: that is no server. */
    struct sockaddr_in self;
    socklen_t self_len = sizeof self;
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0 ||
        getsockname(c->fd, (struct sockaddr *)&self, &self_len) != 0 || self.sin_port == to.sin_port) {
        close(c->fd);
        c->fd = -1;
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (!c->is_http) text_print(&c->out, "*1\r\n$4\r\nINFO\r\n");
}

static void connection_send(struct load *load, struct connection *c)
{
    while (c->fd >= 0 && c->out_at < c->out.len) {
        ssize_t n = send(c->fd, c->out.ptr + c->out_at, c->out.len - c->out_at, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n < 0) {
            connection_lost(load, c);
            return;
        }
        c->out_at += (size_t)n;
    }
    c->out.len = c->out_at = 0;
    if (c->fd >= 0 && c->is_dropped) connection_lost(load, c);
}

/* ---- requests ---- */

static void slot_send(struct connection *c, struct slot *slot)
{
    slot->start = work_now();
    slot->state = SLOT_SENT;
    c->queue[(c->queue_first + c->queue_len++) % DEPTH_MAX] = (unsigned)(slot - c->slots);
    if (c->is_http) http_add(&c->out, &slot->work);
    else command_add(&c->out, &slot->work);
}

/* Fills a free slot; false when there is nothing more to ask. */
static bool slot_make(struct load *load, struct connection *c, struct slot *slot)
{
    if (load->is_final) {
        if (!work_make_final(&slot->work, load->begun, load->finals)) return false;
        load->finals++;
        return true;
    }
    if (load->begun == load->txns) return false;
    work_make(&slot->work, load->seed, load->begun++);
    slot->echoes = slot->work.has_id && load->begun % 8 == 0;
    load->multi += work_spread(&slot->work, load->shards) > 1;
    if (load->begun % PROGRESS == 0) printf("%" PRIu64 "\n", load->begun);
    if (load->drop > 0 && load->begun % load->drop == 0) {
        c->is_dropped = true;
        load->drops++;
    }
    return true;
}

static void connection_fill(struct load *load, struct connection *c, uint64_t now)
{
    if (c->is_http) c->is_greeted = load->shards > 0;
    for (unsigned i = 0; i < (c->is_http ? 1 : load->depth) && c->is_greeted && !c->is_dropped; i++) {
        struct slot *slot = &c->slots[i];
        if (slot->state == SLOT_SENT || (slot->state == SLOT_AGAIN && slot->not_before > now)) continue;
        if (slot->state == SLOT_AGAIN) load->resent++;
        else if (!slot_make(load, c, slot)) continue;
        slot_send(c, slot);
    }
}

static bool word_is(const struct reply *reply, const char *const *words)
{
    for (; *words; words++)
        if (strcasecmp(reply->word, *words) == 0) return true;
    return false;
}

static void take_error(struct load *load, struct connection *c, struct slot *slot)
{
    static const char *const refusals[] = { "insufficient", "CHECK", "TIMEOUT", NULL };
    static const char *const busy[] = { "OVERLOADED", "LOADING", "SHUTDOWN", NULL };
    const struct reply *reply = &load->reply;
    bool is_busy = word_is(reply, busy);
    if (strcasecmp(reply->word, "UNKNOWN") == 0) {
        load->unknown++;
        write_seen(load, c, slot, "unknown", NULL, NULL);
        if (slot->work.has_id) slot->state = SLOT_AGAIN;
        return;
    }
    if (load->is_final || (!is_busy && !word_is(reply, refusals)))
        give_up(1, "transaction %" PRIu64 " (id %s) was answered: %s", slot->work.number,
                slot->work.has_id ? slot->work.id : "none", reply->line);
    load->failed++;
    count_code(load, reply->word);
    write_seen(load, c, slot, "fail", reply->word, NULL);
    if (!is_busy || !slot->work.has_id) return;
    slot->state = SLOT_AGAIN;
    slot->not_before = work_now() + 10 * RETRY_NS;
}

static uint64_t info_number(const char *bytes, size_t len, const char *name)
{
    const char *at = memmem(bytes, len, name, strlen(name));
    return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

/* The door greets with the number of shards; at the end it says whether anything is still to come. */
static void take_info(struct load *load, struct connection *c, const char *bytes, size_t len)
{
    unsigned shards = (unsigned)info_number(bytes, len, "\nshards:");
    bool was_asking = c->is_asking;
    c->is_asking = false;
    if (shards > 0) {
        c->is_greeted = true;
        load->shards = shards;
    } else {
        text_print(&c->out, "*1\r\n$4\r\nINFO\r\n"); /* still recovering */
    }
    if (!was_asking || shards == 0) return;
    if (info_number(bytes, len, "\nmessages_failed:") + info_number(bytes, len, "\ntimers_failed:") > 0)
        give_up(1, "a message or a timer failed for good");
    load->is_quiet = info_number(bytes, len, "\nmessages_pending:") + info_number(bytes, len, "\ntimers_pending:") == 0;
}

static void take_answer(struct load *load, struct connection *c, const char *bytes, size_t len)
{
    if (!c->is_greeted || c->is_asking) {
        take_info(load, c, bytes, len);
        return;
    }
    if (c->queue_len == 0) give_up(1, "an answer to nothing: %.*s", (int)(len < 200 ? len : 200), bytes);
    struct slot *slot = &c->slots[c->queue[c->queue_first++ % DEPTH_MAX]];
    c->queue_len--;
    slot->state = SLOT_FREE;
    load->answers++;
    load->http_answers += c->is_http;
    if (!(c->is_http ? http_read : reply_read)(&load->reply, &slot->work, bytes, len))
        give_up(1, "transaction %" PRIu64 ": not its handler's answer: %.*s", slot->work.number,
                (int)(len < 1000 ? len : 1000), bytes);
    if (load->reply.is_error) {
        take_error(load, c, slot);
        return;
    }
    const char *wrong = work_judge(&slot->work, load->reply.results);
    if (wrong != NULL) give_up(1, "transaction %" PRIu64 ": %s", slot->work.number, wrong);
    load->ok += !slot->work.is_final;
    write_seen(load, c, slot, "ok", NULL, load->reply.results);
    if (slot->echoes == 0) return;
    slot->echoes--;
    load->echoed++;
    slot->state = SLOT_AGAIN;
    slot->not_before = 0;
}

static void connection_read(struct load *load, struct connection *c, uint64_t now)
{
    static char bytes[1 << 16];
    ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        connection_lost(load, c);
        return;
    }
    load->last_answer = now;
    text_add(&c->in, bytes, (size_t)n);
    size_t at = 0;
    for (long len; (len = (c->is_http ? http_len : reply_len)(c->in.ptr + at, c->in.len - at)) != 0; at += (size_t)len) {
        if (len < 0) give_up(1, "not the protocol: %.*s", 100, c->in.ptr + at);
        take_answer(load, c, c->in.ptr + at, (size_t)len);
    }
    memmove(c->in.ptr, c->in.ptr + at, c->in.len - at);
    c->in.len -= at;
}

/* ---- the loop ---- */

static bool is_idle(const struct load *load)
{
    for (unsigned i = 0; i < load->connection_count; i++)
        for (unsigned j = 0; j < load->depth; j++)
            if (load->connections[i].slots[j].state != SLOT_FREE) return false;
    return true;
}

/* Asks on any connection that is free; true once nothing is pending any more. */
static bool is_quiet(struct load *load)
{
    for (unsigned i = 0; i < load->connection_count && !load->is_quiet; i++) {
        struct connection *c = &load->connections[i];
        if (c->fd < 0 || c->is_http || !c->is_greeted) continue;
        if (!c->is_asking) text_print(&c->out, "*1\r\n$4\r\nINFO\r\n");
        c->is_asking = true;
        return false;
    }
    return load->is_quiet;
}

static void turn(struct load *load)
{
    struct pollfd polls[CONNECTIONS_MAX];
    uint64_t now = work_now();
    for (unsigned i = 0; i < load->connection_count; i++) {
        struct connection *c = &load->connections[i];
        if (c->fd < 0) connection_open(load, c, now);
        if (c->fd >= 0) connection_fill(load, c, now);
        if (c->fd >= 0) connection_send(load, c);
        polls[i] = (struct pollfd){ c->fd, (short)(POLLIN | (c->out.len > 0 ? POLLOUT : 0)), 0 };
    }
    if (poll(polls, load->connection_count, 5) < 0 && errno != EINTR) give_up(1, "poll: %s", strerror(errno));
    now = work_now();
    for (unsigned i = 0; i < load->connection_count; i++)
        if (load->connections[i].fd >= 0 && (polls[i].revents & (POLLIN | POLLERR | POLLHUP)))
            connection_read(load, &load->connections[i], now);
    if (now - load->last_answer > STUCK_NS) {
        fflush(load->history);
        give_up(2, "stuck: no answer for %d seconds, %" PRIu64 " begun, %" PRIu64 " answered",
                (int)(STUCK_NS / 1000000000), load->begun, load->answers);
    }
    if (load->begun < load->txns || !is_idle(load)) return;
    struct work work;
    if (load->is_final) {
        load->is_over = !work_make_final(&work, load->begun, load->finals);
        return;
    }
    if (!is_quiet(load)) return;
    printf("final\n");
    fflush(load->history);
    load->is_final = true;
}

static void summary(const struct load *load, uint64_t begin)
{
    double seconds = (double)(work_now() - begin) / 1e9;
    printf("{\"begun\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"unknown\":%" PRIu64
           ",\"resent\":%" PRIu64 ",\"echoed\":%" PRIu64 ",\"drops\":%" PRIu64 ",\"losses\":%" PRIu64
           ",\"multi\":%" PRIu64 ",\"http\":%" PRIu64 ",\"seconds\":%.3f,\"codes\":{",
           load->begun, load->ok, load->failed, load->unknown, load->resent, load->echoed, load->drops,
           load->losses, load->multi, load->http_answers, seconds);
    for (size_t i = 0; i < CODES_MAX && load->codes[i].count > 0; i++)
        printf("%s\"%s\":%" PRIu64, i > 0 ? "," : "", load->codes[i].word, load->codes[i].count);
    printf("}}\n");
}

static bool arguments(struct load *load, int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i + 1 < argc; i += 2) {
        uint64_t n = strtoull(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--http") == 0) load->http = (uint16_t)n;
        else if (strcmp(argv[i], "--port") == 0) load->port = (uint16_t)n;
        else if (strcmp(argv[i], "--history") == 0) path = argv[i + 1];
        else if (strcmp(argv[i], "--txns") == 0) load->txns = n;
        else if (strcmp(argv[i], "--seed") == 0) load->seed = n;
        else if (strcmp(argv[i], "--connections") == 0) load->connection_count = (unsigned)n;
        else if (strcmp(argv[i], "--depth") == 0) load->depth = (unsigned)n;
        else if (strcmp(argv[i], "--drop") == 0) load->drop = n;
        else return false;
    }
    if (path == NULL || load->port == 0 || argc % 2 == 0) return false;
    if (load->connection_count - 1 >= CONNECTIONS_MAX || load->depth - 1 >= DEPTH_MAX) return false;
    load->history = fopen(path, "w");
    if (load->history == NULL) give_up(1, "%s: %s", path, strerror(errno));
    return true;
}

int main(int argc, char **argv)
{
    static struct load load = { .txns = 10000, .seed = 1, .connection_count = 12, .depth = 4 };
    if (!arguments(&load, argc, argv)) give_up(64, "usage: history_client --port N --history FILE [--http N] [--txns N] "
                                                   "[--seed N] [--connections N] [--depth N] [--drop N]");
    setvbuf(stdout, NULL, _IOLBF, 0);
    uint64_t begin = load.last_answer = work_now();
    for (unsigned i = 0; i < load.connection_count; i++) {
        load.connections[i].fd = -1;
        load.connections[i].is_http = load.http != 0 && i % 3 == 2;
    }
    while (!load.is_over) turn(&load);
    load.line.len = 0;
    work_initial(&load.line, load.begun);
    fwrite(load.line.ptr, 1, load.line.len, load.history);
    if (fclose(load.history) != 0) give_up(1, "the history cannot be written");
    summary(&load, begin);
    return 0;
}
