/*
 * batch.c - see batch.h.
 *
 * Every call is marked MSG_DONTWAIT: the kernel does it while it takes it, so all have ended when submitting returns, and
 * the memory they name is ours again. Fewer than BATCH_FEW are made one by one: entering the ring costs a call, too.
 * SPDX-License-Identifier: MIT
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os/batch.h"

#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/mem.h"

#define BATCH_FEW 3

struct batch {
    struct io_uring ring;
    bool broken; /* the kernel refused one: not asked again */
};

struct batch *batch_open(void)
{
    struct batch *batch = mem_alloc(sizeof(*batch));
    if (io_uring_queue_init(ENV_SOCK_CALLS_MAX, &batch->ring, 0) == 0) return batch;
    mem_free(batch);
    return NULL;
}

void batch_close(struct batch *batch)
{
    if (!batch) return;
    io_uring_queue_exit(&batch->ring);
    mem_free(batch);
}

int64_t sock_recv(int fd, void *bytes, size_t len)
{
    ssize_t got;
    do got = recv(fd, bytes, len, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

int64_t sock_send(int fd, const void *bytes, size_t len)
{
    ssize_t put;
    do put = send(fd, bytes, len, MSG_NOSIGNAL);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static int64_t call_alone(const struct env_sock_call *call)
{
    return call->sends ? sock_send(call->fd, call->bytes, call->len)
                       : sock_recv(call->fd, call->bytes, call->len);
}

static void calls_submit(struct batch *batch, struct env_sock_call *calls, int count)
{
    for (int i = 0; i < count; i++) {
        struct io_uring_sqe *entry = io_uring_get_sqe(&batch->ring);
        ASSERT(entry); /* as many as there are calls, and none is left from before */
        if (calls[i].sends)
            io_uring_prep_send(entry, calls[i].fd, calls[i].bytes, calls[i].len,
                               MSG_NOSIGNAL | MSG_DONTWAIT);
        else io_uring_prep_recv(entry, calls[i].fd, calls[i].bytes, calls[i].len, MSG_DONTWAIT);
        io_uring_sqe_set_data(entry, &calls[i]);
    }
    for (int left = count; left > 0;) {
        int taken = io_uring_submit_and_wait(&batch->ring, (unsigned)left);
        if (taken == -EINTR) continue;
        if (taken <= 0) {
            batch->broken = true;
            return;
        }
        left -= taken;
    }
}

static int results_take(struct batch *batch)
{
    struct io_uring_cqe *entry;
    unsigned head, found = 0;
    io_uring_for_each_cqe(&batch->ring, head, entry)
    {
        struct env_sock_call *call = io_uring_cqe_get_data(entry);
        call->done = entry->res;
        found++;
    }
    io_uring_cq_advance(&batch->ring, found);
    return (int)found;
}

bool batch_run(struct batch *batch, struct env_sock_call *calls, int count)
{
    while (batch && !batch->broken && count >= BATCH_FEW) {
        int group = count < ENV_SOCK_CALLS_MAX ? count : ENV_SOCK_CALLS_MAX;
        for (int i = 0; i < group; i++) calls[i].done = -EAGAIN;
        calls_submit(batch, calls, group);
        int found = results_take(batch);
        ASSERT(found == group || batch->broken);
        calls += group;
        count -= group;
    }
    for (int i = 0; i < count; i++) calls[i].done = call_alone(&calls[i]);
    return batch && !batch->broken;
}
