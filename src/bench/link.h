/*
 * link.h - a connection of the load that never waits: what is still to be sent, and what came and is not read yet.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_LINK_H
#define WEIR_BENCH_LINK_H

#include <sys/epoll.h>

#include "base/mem.h"
#include "os/batch.h"

#define LINKS_MAX 64

/* The first member of a door's connection, so that epoll's pointer is the connection's. */
struct link {
    int fd;
    int epoll;
    bool blocked; /* waits for room to send */
    int got;      /* when it was last received from: see links_take() */
    struct buf out, in;
    size_t out_at, in_at;
};

/** A connected socket that still waits, without Nagle's delay; -1 with the reason. */
int link_dial(const char *host, int port, char *error, size_t error_bytes);
/** From now on it does not wait, and epoll tells of it with its address. */
bool link_begin(struct link *link, int epoll);
/** Sends what there is; what the server does not take, epoll goes on with. False: the connection broke. */
bool link_flush(struct link *link);
/** 1: something came, 0: nothing now, -1: it is closed. */
int link_receive(struct link *link);
/** link_flush() of those that have something and are not blocked, together. `conns` are `count` connections of `size` bytes. */
bool links_flush(struct batch *batch, void *conns, size_t size, uint32_t count);
/** What epoll found, up to LINKS_MAX: goes on sending, and receives from all together. Puts those that are to be read into `ready`,
 *  `got` of each as link_receive() says it, and returns how many; -1: a connection broke. */
int links_take(struct batch *batch, const struct epoll_event *events, int count,
               struct link **ready);
/** Also of one that was never dialled: fd -1. */
void link_close(struct link *link);

#endif
