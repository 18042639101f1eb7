/*
 * load.c - offers load to the RESP door and measures what comes back.
 *
 *   overload_load --port N [--connections N] [--rate N] [--seconds S] [--warm S] [--type T] [--handler H]
 *                 [--key K | --keys N] [--argument A] [--churn N] [--seed N]
 *
 * With --rate it is open: requests fall due at that rate whatever the answers, each on the next connection, and a
 * latency counts from the moment the request was due, so that a server that stalls cannot hide it. Without, it
 * is closed: each connection has one request at a time. --churn opens so many more connections a second, each for one
 * PING. Figures are of requests due after the warm-up. Standard output: one line of JSON. Exit codes: 0 done;
 * 1 the server closed a connection or answered what is not RESP; 64 usage.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FLIGHT_MAX 1024u
#define OUT_BYTES 65536u
#define EVENTS 256
#define NS UINT64_C(1000000000)

struct connection {
    int fd;
    uint64_t due[FLIGHT_MAX]; /* ring: when each request on the way was due */
    uint32_t first, count;
    uint64_t last_ok;
    char out[OUT_BYTES];
    size_t out_len;
    char in[16384];
    size_t in_len;
};

struct samples {
    uint32_t *us;
    size_t count, cap;
};

struct load {
    uint16_t port;
    unsigned connections, keys;
    double rate, seconds, warm, churn;
    const char *type, *handler, *key, *argument;
    uint64_t random, begun, measured_from, end;
    struct connection *all;
    int poll;
    struct samples ok, refused;
    uint64_t others, unsent, stall_ns, churned, churn_refused;
    char other[128];
};

__attribute__((noreturn, format(printf, 2, 3))) static void give_up(int code, const char *format,
                                                                    ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(code);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static uint64_t draw(struct load *load)
{
    load->random ^= load->random << 13;
    load->random ^= load->random >> 7;
    load->random ^= load->random << 17;
    return load->random;
}

static void sample_add(struct samples *s, uint64_t ns)
{
    if (s->count == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 65536;
        s->us = realloc(s->us, s->cap * sizeof *s->us);
        if (!s->us) give_up(1, "out of memory");
    }
    s->us[s->count++] = ns / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(ns / 1000);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(struct samples *s, double q)
{
    if (s->count == 0) return 0;
    qsort(s->us, s->count, sizeof *s->us, by_size);
    size_t at = (size_t)(q * (double)s->count);
    return s->us[at < s->count ? at : s->count - 1];
}

static int open_socket(uint16_t port)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        give_up(1, "cannot connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* ---- requests ---- */

static void connection_flush(struct connection *c)
{
    size_t at = 0;
    while (at < c->out_len) {
        ssize_t n = send(c->fd, c->out + at, c->out_len - at, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (n < 0) give_up(1, "the server closed a connection: %s", strerror(errno));
        at += (size_t)n;
    }
    memmove(c->out, c->out + at, c->out_len - at);
    c->out_len -= at;
}

static bool connection_ask(struct load *load, struct connection *c, uint64_t due)
{
    if (c->count == FLIGHT_MAX || c->out_len > OUT_BYTES - 512) return false;
    char number[24];
    const char *key = load->key;
    if (!key) {
        snprintf(number, sizeof number, "k%" PRIu64, draw(load) % load->keys);
        key = number;
    }
    int n = snprintf(c->out + c->out_len, OUT_BYTES - c->out_len,
                     "*%d\r\n$4\r\nCALL\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                     load->argument ? 5 : 4, strlen(load->type), load->type, strlen(key), key,
                     strlen(load->handler), load->handler);
    c->out_len += (size_t)n;
    if (load->argument)
        c->out_len += (size_t)snprintf(c->out + c->out_len, OUT_BYTES - c->out_len,
                                       "$%zu\r\n%s\r\n", strlen(load->argument), load->argument);
    c->due[(c->first + c->count++) % FLIGHT_MAX] = due;
    return true;
}

static void connection_answered(struct load *load, struct connection *c, const char *line,
                                size_t len)
{
    if (c->count == 0) give_up(1, "an answer without a request");
    uint64_t due = c->due[c->first], now = now_ns();
    c->first = (c->first + 1) % FLIGHT_MAX;
    c->count--;
    if (line[0] == ':') {
        if (c->last_ok != 0 && due >= load->measured_from && now - c->last_ok > load->stall_ns)
            load->stall_ns = now - c->last_ok;
        c->last_ok = now;
    }
    if (due < load->measured_from || due > load->end) return;
    if (line[0] == ':') {
        sample_add(&load->ok, now - due);
    } else if (len > 11 && memcmp(line, "-OVERLOADED", 11) == 0) {
        sample_add(&load->refused, now - due);
    } else {
        load->others++;
        snprintf(load->other, sizeof load->other, "%.*s", (int)len, line);
    }
}

static void connection_read(struct load *load, struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, sizeof c->in - c->in_len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) give_up(1, "the server closed a connection");
    c->in_len += (size_t)n;
    size_t at = 0;
    for (char *end; (end = memmem(c->in + at, c->in_len - at, "\r\n", 2)) != NULL;) {
        connection_answered(load, c, c->in + at, (size_t)(end - c->in) - at);
        at = (size_t)(end - c->in) + 2;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
    if (c->in_len == sizeof c->in) give_up(1, "not an answer: %.60s", c->in);
}

/* ---- a run ---- */

static void churn_one(struct load *load)
{
    char answer[64];
    int fd = open_socket(load->port);
    (void)!send(fd, "*1\r\n$4\r\nPING\r\n", 14, MSG_NOSIGNAL);
    ssize_t n = recv(fd, answer, sizeof answer, 0);
    if (n > 0 && answer[0] == '+') load->churned++;
    else load->churn_refused++;
    close(fd);
}

static void run_churn(struct load *load)
{
    uint64_t i = 0;
    for (uint64_t now; (now = now_ns()) < load->end; i++) {
        uint64_t due = load->begun + (uint64_t)((double)i * (double)NS / load->churn);
        if (due > now) {
            struct timespec rest = { 0, (long)(due - now < NS ? due - now : NS - 1) };
            clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
        }
        churn_one(load);
    }
}

static void run_load(struct load *load)
{
    struct epoll_event events[EVENTS];
    uint64_t sent = 0;
    unsigned next = 0;
    uint64_t patience = load->end + 10 * NS;
    for (;;) {
        uint64_t now = now_ns();
        bool ended = now >= load->end;
        while (!ended && load->rate > 0) {
            uint64_t due = load->begun + (uint64_t)((double)sent * (double)NS / load->rate);
            if (due > now) break;
            struct connection *c = &load->all[next];
            next = (next + 1) % load->connections;
            if (!connection_ask(load, c, due)) load->unsent += due >= load->measured_from;
            sent++;
        }
        uint64_t flying = 0;
        for (unsigned i = 0; i < load->connections; i++) {
            struct connection *c = &load->all[i];
            if (!ended && load->rate == 0 && c->count == 0) (void)connection_ask(load, c, now);
            if (c->out_len > 0) connection_flush(c);
            flying += c->count;
        }
        if (ended && (flying == 0 || now > patience)) break;
        int n = epoll_wait(load->poll, events, EVENTS, load->rate > 0 && !ended ? 1 : 100);
        for (int i = 0; i < n; i++) connection_read(load, events[i].data.ptr);
    }
    for (unsigned i = 0; i < load->connections; i++) load->others += load->all[i].count;
}

static void read_options(struct load *load, int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--port")) load->port = (uint16_t)atoi(value);
        else if (!strcmp(name, "--connections")) load->connections = (unsigned)atoi(value);
        else if (!strcmp(name, "--rate")) load->rate = atof(value);
        else if (!strcmp(name, "--seconds")) load->seconds = atof(value);
        else if (!strcmp(name, "--warm")) load->warm = atof(value);
        else if (!strcmp(name, "--churn")) load->churn = atof(value);
        else if (!strcmp(name, "--type")) load->type = value;
        else if (!strcmp(name, "--handler")) load->handler = value;
        else if (!strcmp(name, "--key")) load->key = value;
        else if (!strcmp(name, "--keys")) load->keys = (unsigned)atoi(value);
        else if (!strcmp(name, "--argument")) load->argument = value;
        else if (!strcmp(name, "--seed")) load->random = strtoull(value, NULL, 10) * 2 + 1;
        else give_up(64, "unknown option %s", name);
    }
    if (argc % 2 == 0 || load->port == 0 || load->connections == 0 || load->keys == 0)
        give_up(64, "usage: overload_load --port N [options], see load.c");
}

int main(int argc, char **argv)
{
    static struct load load = { .connections = 16,
                                .keys = 1000,
                                .seconds = 1,
                                .type = "item",
                                .handler = "add",
                                .random = 88172645463325253 };
    read_options(&load, argc, argv);
    load.begun = now_ns();
    load.measured_from = load.begun + (uint64_t)(load.warm * (double)NS);
    load.end = load.measured_from + (uint64_t)(load.seconds * (double)NS);
    if (load.churn > 0) {
        run_churn(&load);
        printf("{\"churned\": %" PRIu64 ", \"refused\": %" PRIu64 "}\n", load.churned,
               load.churn_refused);
        return 0;
    }
    load.poll = epoll_create1(0);
    load.all = calloc(load.connections, sizeof *load.all);
    if (load.poll < 0 || !load.all) give_up(1, "out of memory");
    for (unsigned i = 0; i < load.connections; i++) {
        struct connection *c = &load.all[i];
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        c->fd = open_socket(load.port);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        epoll_ctl(load.poll, EPOLL_CTL_ADD, c->fd, &event);
    }
    uint64_t late = now_ns() - load.begun; /* connecting is not part of the run */
    load.begun += late, load.measured_from += late, load.end += late;
    run_load(&load);
    printf("{\"ok\": %zu, \"ok_per_s\": %.1f, \"p50_us\": %u, \"p99_us\": %u, \"refused\": %zu, "
           "\"refused_p50_us\": %u, \"refused_p99_us\": %u, \"others\": %" PRIu64
           ", \"other\": \"%s\", "
           "\"unsent\": %" PRIu64 ", \"stall_ms\": %" PRIu64 "}\n",
           load.ok.count, (double)load.ok.count / load.seconds, quantile(&load.ok, 0.5),
           quantile(&load.ok, 0.99), load.refused.count, quantile(&load.refused, 0.5),
           quantile(&load.refused, 0.99), load.others, load.other, load.unsent,
           load.stall_ns / 1000000);
    return 0;
}
