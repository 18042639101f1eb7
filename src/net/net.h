/*
 * net.h - the network doors: HTTP/1.1 with JSON and RESP2/RESP3, on one thread (one actor).
 *
 * The net thread parses, checks arguments against the catalog, submits requests to the engine's port and
 * writes the answers in the order of the requests of each connection. Limits instead of memory: a
 * connection that does not read or sends too much is held back, then closed.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_NET_NET_H
#define WEIR_NET_NET_H

#include "core/engine.h"
#include "net/users.h"

struct net;

#define NET_LIMITS(X)                                                                              \
    X(connections_max, 10000, "connections at once")                                               \
    X(request_bytes_max, 1048576, "bytes of one request or argument")                              \
    X(parsed_ahead_max, 1024, "requests read ahead per connection")                                \
    X(parsed_ahead_bytes_max, 1048576, "bytes of requests read ahead per connection")              \
    X(reads_conn_max, 64, "reads of streams at once per connection")                               \
    X(reads_max, 10000, "reads of streams at once, waiting ones included")                         \
    X(output_bytes_max, 8388608, "bytes of answers waiting for a slow reader before it is closed") \
    X(output_soft_bytes, 1048576, "as before, when it lasts output_soft_ms")                       \
    X(output_soft_ms, 10000, "")                                                                   \
    X(header_bytes_max, 16384, "bytes of HTTP headers")                                            \
    X(headers_max, 100, "HTTP headers")                                                            \
    X(header_ms_max, 10000, "time for a request's headers to arrive")                              \
    X(body_bytes_per_s_min, 1024, "slowest body")                                                  \
    X(keepalive_ms, 60000, "idle time of an HTTP connection")                                      \
    X(arguments_max, 256, "arguments of one RESP command")                                         \
    X(auth_failures_max, 10, "wrong secrets on one connection before it is closed")                \
    X(auth_ms_max, 10000, "time of a connection without a user or a request open to anyone")       \
    X(stranger_bytes_max, 16384, "bytes of a request of a caller without a user")                  \
    X(stranger_arguments_max, 10, "arguments of a RESP command of a caller without a user")

struct net_limits {
#define X(name, value, text) uint64_t name;
    NET_LIMITS(X)
#undef X
};

/* A limit in force, as CONFIG GET shows it. */
struct net_setting {
    const char *name; /* NULL: the end of a list */
    uint64_t value;
};

struct net_options {
    struct env *env;
    struct engine *engine; /* NULL while loading: everything but health answers `loading` */
    const char *http_host; /* NULL: no HTTP door */
    int http_port;         /* 0: any free one */
    const char *resp_host;
    int resp_port;
    struct users
        *users; /* taken by net_open(), also when it fails; NULL: every caller is the operator */
    bool bind_anywhere; /* without users, too: not only loopback */
    const char *const
        *host_names; /* further names of this server in Host headers; NULL-terminated or NULL */
    struct net_limits limits; /* 0 in a field: its default */
    const struct net_setting
        *settings; /* limits of others than engine and doors, or NULL; kept by the caller */
    uint64_t started_wall_ms;
    const char *version;
    void (*trace)(void *arg, const char *members);
    void *trace_arg;
};

/** Binds and listens. Errors: WEIR_CONFIG (port taken, bad address, address that is not loopback without users),
 *  text in `error`. */
enum weir_status net_open(const struct net_options *options, struct net **net, char *error,
                          size_t error_bytes);
/** Ports in use, for the start-up lines. */
int net_http_port(const struct net *net);
int net_resp_port(const struct net *net);
/** The engine is open: takes port 0 of it. Before or after net_start(). */
void net_serve(struct net *net, struct engine *engine);
void net_start(struct net *net);
/** Another set of users, taken. Only where there was one at the start. Any thread. */
void net_replace_users(struct net *net, struct users *users);
/** No new connections or requests; /readyz fails. True once every answer has been written. Poll it. */
bool net_drain(struct net *net);
void net_close(struct net *net);
/** True if the host names only this machine. */
bool net_host_is_loopback(const char *host);

#endif
