/*
 * link.h - a connection of the load that never waits: what is still to be sent, and what came and is not read yet.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_LINK_H
#define WEIR_BENCH_LINK_H

#include "base/mem.h"
#include "os/batch.h"

/* The first member of a door's connection, so that epoll's pointer is the connection's. */
struct link {
    int fd;
    int epoll;
    bool blocked; /* waits for room to send */
    int got;      /* by links_receive(), as link_receive() says it */
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
/** The same of many, together. */
bool links_flush(struct batch *batch, struct link **links, int count);
void links_receive(struct batch *batch, struct link **links, int count);
/** Also of one that was never dialled: fd -1. */
void link_close(struct link *link);

#endif
