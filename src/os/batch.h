/*
 * batch.h - many sockets read or written by one call of the kernel.
 *
 * Who answers 64 connections, a few bytes each, spends most of its time on the way into the kernel and back. Linux takes
 * calls in batches through io_uring (5.6 and later, as it is used here); where there is none, or none is allowed, as in many
 * containers, the same is done by one call after the other. Nothing waits, and nothing is under way between two calls: a socket
 * that is not ready answers -EAGAIN, as it does alone.
 *
 * One thread uses a batch; any may close it afterwards.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_OS_BATCH_H
#define WEIR_OS_BATCH_H

#include "os/env.h"

struct batch;

/** NULL: the kernel has none for us. */
struct batch *batch_open(void);
/** Makes the calls in their order, each as recv() or send() of the table of calls, ENV_SOCK_CALLS_MAX at a time. `batch` may be
 *  NULL. False: each is made alone. */
bool batch_run(struct batch *batch, struct env_sock_call *calls, int count);
void batch_close(struct batch *batch);

/** One call; EINTR is tried again. */
int64_t sock_recv(int fd, void *bytes, size_t len);
int64_t sock_send(int fd, const void *bytes, size_t len);

#endif
