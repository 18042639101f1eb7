/*
 * reads.c - reads of streams for calls of either door: given to the feed, taken back, cancelled, counted.
 *
 * A read belongs to its call and travels alone: the feed has it from call_read() until feed_next(). So a call whose
 * connection went is kept until its reads are home, and is only then freed. A read that waits for events must not outlive
 * those who wait for it: a connection that is closing, or that cannot be read because too much stands behind the wait
 * (then its end would not be seen either), and a server that shuts down, take their waiting reads back. Reads that do
 * not wait come home by themselves: with reads_conn_max out, a connection is not read on until one has; where all of
 * them wait, the next is refused.
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#define READ_POOL_MAX 1024u

static struct call_read *read_take(struct net *net)
{
    struct call_read *read = net->read_pool;
    if (!read) return mem_alloc(sizeof(*read));
    net->read_pool = read->next;
    net->read_pool_count--;
    return read;
}

static void read_give(struct net *net, struct call_read *read)
{
    if (net->read_pool_count >= READ_POOL_MAX) {
        mem_free(read);
        return;
    }
    read->next = net->read_pool;
    net->read_pool = read;
    net->read_pool_count++;
}

enum weir_status call_read(struct call *call, const struct feed_read *question)
{
    struct conn *conn = call->conn;
    struct net *net = conn->net;
    if (!net->engine) return WEIR_LOADING;
    if (net_is_draining(net)) return WEIR_SHUTDOWN;
    if (net->reads_out >= net->limits.reads_max || conn->reads_out >= net->limits.reads_conn_max)
        return WEIR_OVERLOADED;
    struct call_read *read = read_take(net);
    read->feed = *question;
    read->call = call;
    read->waits = question->until_ns != 0 && !conn->closing;
    read->next = call->reads;
    call->reads = read;
    call->reads_out++;
    conn->reads_out++;
    conn->waits_out += read->waits;
    net->reads_out++;
    if (conn->closing) read->feed.until_ns = 0;
    feed_submit(net->port, &read->feed);
    return WEIR_OK;
}

void call_cancel_reads(struct call *call)
{
    struct net *net = call->conn->net;
    for (struct call_read *read = call->reads; read; read = read->next)
        if (read->feed.until_ns && !atomic_load(&read->feed.cancelled))
            feed_cancel(net->engine, &read->feed);
}

void conn_cancel_reads(struct conn *conn)
{
    if (conn->reads_out == 0) return;
    for (struct call *call = conn->first; call; call = call->next) call_cancel_reads(call);
}

static void read_unlink(struct call *call, struct call_read *read)
{
    struct call_read **at = &call->reads;
    while (*at != read) at = &(*at)->next;
    *at = read->next;
    call->reads_out--;
    if (!call->conn) return;
    call->conn->reads_out--;
    call->conn->waits_out -= read->waits;
}

void call_disown_reads(struct call *call)
{
    call->conn->reads_out -= call->reads_out;
    for (const struct call_read *read = call->reads; read; read = read->next)
        call->conn->waits_out -= read->waits;
}

bool conn_reads_hold(const struct conn *conn)
{
    return conn->reads_out >= conn->net->limits.reads_conn_max && conn->waits_out < conn->reads_out;
}

void net_take_reads(struct net *net)
{
    if (!net->port || net->reads_out == 0) return;
    for (struct feed_read *feed; (feed = feed_next(net->port)) != NULL;) {
        struct call_read *read = (struct call_read *)feed;
        struct call *call = read->call;
        net->reads_out--;
        read_unlink(call, read);
        if (call->conn) conn_touch(call->conn);
        if (!call->conn) call_release(net, call);
        else if (!call->answered) call->read_done(call, feed);
        feed_read_free(feed);
        read_give(net, read);
    }
}

void net_free_reads(struct net *net)
{
    while (net->read_pool) {
        struct call_read *read = net->read_pool;
        net->read_pool = read->next;
        mem_free(read);
    }
}
