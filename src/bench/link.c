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

bool link_flush(struct link *link)
{
    while (link->out_at < link->out.len) {
        ssize_t n = send(link->fd, link->out.ptr + link->out_at, link->out.len - link->out_at,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return link->blocked || watch(link, EPOLL_CTL_MOD, true);
        if (n <= 0) return false;
        link->out_at += (size_t)n;
    }
    link->out_at = 0;
    buf_reset(&link->out);
    return !link->blocked || watch(link, EPOLL_CTL_MOD, false);
}

int link_receive(struct link *link)
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
    ssize_t n = recv(link->fd, link->in.ptr + link->in.len, READ_BYTES, 0);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : -1;
    link->in.len += (size_t)n;
    return n > 0 ? 1 : -1;
}

void link_close(struct link *link)
{
    if (link->fd >= 0) close(link->fd);
    buf_free(&link->in);
    buf_free(&link->out);
}
