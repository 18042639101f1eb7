/*
 * reads.c - reads of streams for calls of either door: given to the feed, taken back, cancelled, counted.
 *
 * A read belongs to its call and travels alone: the feed has it from call_read() until feed_next(). So a call whose
 * connection went is kept until its reads are home, and is only then freed. A read that waits for events must not outlive
 * those who wait for it: a connection that is closing, or that cannot be read because too much stands behind the wait
 * (then its end would not be seen either), and a server that shuts down, take their waiting reads back.
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
    read->next = call->reads;
    call->reads = read;
    call->reads_out++;
    conn->reads_out++;
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
    if (call->conn) call->conn->reads_out--;
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
