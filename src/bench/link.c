/*
 * link.c - see link.h.
 * SPDX-License-Identifier: MIT
 */
#include "bench/link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"

#define READ_BYTES 65536u

int link_dial(const char *host, int port, char *error, size_t error_bytes)
{
    char service[16];
    int one = 1, reason = 0, fd = -1;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    snprintf(service, sizeof(service), "%d", port);
    int failed = getaddrinfo(host, service, &hints, &found);
    for (struct addrinfo *at = failed ? NULL : found; at && fd < 0; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0) break;
        reason = errno;
        if (fd >= 0) close(fd);
        fd = -1;
    }
    if (!failed) freeaddrinfo(found);
    if (fd < 0)
        snprintf(error, error_bytes, "no server at %s:%d (%s)", host, port,
                 failed ? gai_strerror(failed) : strerror(reason));
    else setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static bool watch(struct link *link, int how, bool sending)
{
    struct epoll_event event = { .events = EPOLLIN | (sending ? EPOLLOUT : 0), .data.ptr = link };
    link->blocked = sending;
    return epoll_ctl(link->epoll, how, link->fd, &event) == 0;
}

bool link_begin(struct link *link, int epoll)
{
    link->epoll = epoll;
    fcntl(link->fd, F_SETFL, fcntl(link->fd, F_GETFL) | O_NONBLOCK);
    return watch(link, EPOLL_CTL_ADD, false);
}

static struct env_sock_call sending(const struct link *link)
{
    return (struct env_sock_call){ .fd = link->fd,
                                   .sends = true,
                                   .bytes = link->out.ptr + link->out_at,
                                   .len = link->out.len - link->out_at };
}

/* What came of sending, and of trying again what was left. */
static bool link_sent(struct link *link, struct env_sock_call *call)
{
    for (;;) {
        if (call->done == -EAGAIN) return link->blocked || watch(link, EPOLL_CTL_MOD, true);
        if (call->done <= 0) return false;
        link->out_at += (size_t)call->done;
        if (link->out_at == link->out.len) break;
        *call = sending(link);
        batch_run(NULL, call, 1);
    }
    link->out_at = 0;
    buf_reset(&link->out);
    return !link->blocked || watch(link, EPOLL_CTL_MOD, false);
}

static bool links_send(struct batch *batch, struct link **links, int count)
{
    struct env_sock_call calls[LINKS_MAX];
    bool good = true;
    for (int i = 0; i < count; i++) calls[i] = sending(links[i]);
    batch_run(batch, calls, count);
    for (int i = 0; i < count; i++) good = link_sent(links[i], &calls[i]) && good;
    return good;
}

bool link_flush(struct link *link)
{
    return link->out_at == link->out.len || links_send(NULL, &link, 1);
}

bool links_flush(struct batch *batch, void *conns, size_t size, uint32_t count)
{
    struct link *full[LINKS_MAX];
    bool good = true;
    int found = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct link *link = (struct link *)((char *)conns + i * size);
        if (link->out.len > 0 && !link->blocked) full[found++] = link;
        if (found < LINKS_MAX && i + 1 < count) continue;
        good = links_send(batch, full, found) && good;
        found = 0;
    }
    return good;
}

static struct env_sock_call receiving(struct link *link)
{
    if (link->in_at == link->in.len) {
        link->in_at = 0;
        buf_reset(&link->in);
    } else if (link->in_at > READ_BYTES) {
        memmove(link->in.ptr, link->in.ptr + link->in_at, link->in.len - link->in_at);
        link->in.len -= link->in_at;
        link->in_at = 0;
    }
    buf_reserve(&link->in, READ_BYTES);
    ASSERT_SLOW(link->in.ptr != NULL);
    return (struct env_sock_call){ .fd = link->fd,
                                   .bytes = link->in.ptr + link->in.len,
                                   .len = READ_BYTES };
}

static void links_receive(struct batch *batch, struct link **links, int count)
{
    struct env_sock_call calls[LINKS_MAX];
    for (int i = 0; i < count; i++) calls[i] = receiving(links[i]);
    batch_run(batch, calls, count);
    for (int i = 0; i < count; i++) {
        int64_t n = calls[i].done;
        links[i]->got = n > 0 ? 1 : n == -EAGAIN ? 0 : -1;
        if (n > 0) links[i]->in.len += (size_t)n;
    }
}

int link_receive(struct link *link)
{
    links_receive(NULL, &link, 1);
    return link->got;
}

int links_take(struct batch *batch, const struct epoll_event *events, int count,
               struct link **ready)
{
    int found = 0;
    for (int i = 0; i < count; i++) {
        struct link *link = events[i].data.ptr;
        if (events[i].events & EPOLLOUT && !link_flush(link)) return -1;
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) ready[found++] = link;
    }
    links_receive(batch, ready, found);
    return found;
}

void link_close(struct link *link)
{
    if (link->fd >= 0) close(link->fd);
    buf_free(&link->in);
    buf_free(&link->out);
}
