/*
 * access.c - who a connection speaks for, and what that one may do.
 *
 * Without users every caller is the operator: the doors then listen on loopback only, or were opened on purpose.
 * With users a connection speaks for nobody (a stranger) until a secret has named a user: on RESP once for the
 * connection, on HTTP with each request. Strangers may run what is open to anyone; they are held to smaller
 * requests, and are closed after auth_failures_max wrong secrets, or auth_ms_max without a request that was theirs
 * to make. Whatever is not declared otherwise belongs to the operator.
 *
 * A new set of users replaces the old one between two requests: connections of users who are gone, or whose
 * secret changed, are strangers from then on.
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#include <stdarg.h>
#include <stdio.h>

static const struct user local_operator = { .name = { ROLE_OPERATOR, sizeof ROLE_OPERATOR - 1 },
                                            .roles = { ROLE_OPERATOR, sizeof ROLE_OPERATOR - 1 } };

const struct user *net_first_user(const struct net *net)
{
    return net->users ? NULL : &local_operator;
}

struct weir_str conn_roles(const struct conn *conn)
{
    return conn->user ? conn->user->roles : STR_NIL;
}

static bool conn_holds(const struct conn *conn, enum right right)
{
    switch (right) {
    case RIGHT_OPERATOR: return roles_hold(conn_roles(conn), STR(ROLE_OPERATOR));
    case RIGHT_USER: return conn->user != NULL;
    case RIGHT_HANDLER:
    case RIGHT_ANYONE: return true;
    }
    return false;
}

/* ---- refusing ---- */

__attribute__((format(printf, 2, 3))) static void refuse(struct call *call, const char *format, ...)
{
    char what[256];
    const struct user *user = call->conn->user;
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    if (!user) call_refuse(call, WEIR_NOAUTH, "Authentication required.");
    else
        call_refuse(call, WEIR_NOPERM, "User %.*s has no permissions to %s", STR_ARG(user->name),
                    what);
}

bool call_has_right(struct call *call, enum right right, const char *what, ...)
{
    if (conn_holds(call->conn, right)) return true;
    char text[64];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof(text), what, args);
    va_end(args);
    refuse(call, "%s", text);
    return false;
}

bool call_is_admitted(struct call *call, const struct handler *handler)
{
    struct conn *conn = call->conn;
    if (handler_admits(handler, conn_roles(conn))) {
        conn->trusted_ns = conn->net->now_ns;
        return true;
    }
    const struct type *type = handler->type;
    if (type->builtin) refuse(call, "emit into the stream %.*s", STR_ARG(handler->name));
    else if (handler->builtin) refuse(call, "read rows and maps of %.*s", STR_ARG(type->name));
    else refuse(call, "call %.*s.%.*s", STR_ARG(type->name), STR_ARG(handler->name));
    return false;
}

bool roles_may_read(struct weir_str roles, const struct stream *stream)
{
    bool role = roles_hold(roles, stream->allow) && !str_eq(stream->allow, STR(HANDLER_ANYONE));
    return role || roles_hold(roles, STR(ROLE_OPERATOR));
}

bool conn_may_read(const struct conn *conn, const struct stream *stream)
{
    return roles_may_read(conn_roles(conn), stream);
}

bool call_may_read(struct call *call, const struct stream *stream)
{
    struct conn *conn = call->conn;
    if (conn_may_read(conn, stream)) {
        conn->trusted_ns = conn->net->now_ns;
        return true;
    }
    refuse(call, "read the stream %.*s", STR_ARG(stream->name));
    return false;
}

bool call_is_in_sight(struct call *call, const struct handler *handler)
{
    if (call->conn->user || (handler && handler_admits(handler, STR_NIL))) return true;
    refuse(call, "see this"); /* the same for what there is and what there is not */
    return false;
}

/* ---- naming oneself ---- */

void conn_take_user(struct conn *conn, const struct user *user)
{
    conn->user = user;
    conn->trusted_ns = conn->net->now_ns;
    conn->auth_failures = 0;
}

bool conn_count_failure(struct conn *conn)
{
    uint64_t most = conn->net->limits.auth_failures_max;
    conn->net->figures[conn->door].auth_failures_total++;
    if (++conn->auth_failures < most) return false;
    conn_trace(conn, "wrong secrets", "auth_failures_max", most);
    return true;
}

void request_name_caller(struct request *request, const struct conn *conn)
{
    const struct user *user = conn->user;
    if (!user) return;
    request->caller = user->name;
    request->roles = user->roles;
    if (user == &local_operator) return;
    /* the set may be replaced while the request is in the engine */
    request->caller = arena_copy(&request->arena, user->name);
    request->roles = arena_copy(&request->arena, user->roles);
}

/* ---- another set ---- */

static const struct user *user_again(const struct users *users, const struct user *old)
{
    if (!old) return NULL;
    const struct user *user = users_by_name(users, old->name);
    return user && secret_eq(user->digest, old->digest, sizeof user->digest) ? user : NULL;
}

void net_take_users(struct net *net)
{
    struct users *users = atomic_exchange_explicit(&net->users_given, NULL, memory_order_acquire);
    if (!users) return;
    for (struct conn *conn = net->conns; conn; conn = conn->next) {
        if (!conn->user) continue;
        conn->user = user_again(users, conn->user);
        conn->trusted_ns = net->now_ns;
    }
    net_forget_admitted(net);
    users_destroy(net->users);
    net->users = users;
}
