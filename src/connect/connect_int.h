/*
 * connect_int.h - what the files of this room share.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CONNECT_INT_H
#define WEIR_CONNECT_INT_H

#include <stdatomic.h>

#include "base/heap.h"
#include "base/tree.h"
#include "connect/transport.h"

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define URL_HOST_BYTES_MAX 255

/* Where a request goes. */
struct url {
    bool https;
    char host[URL_HOST_BYTES_MAX + 1];    /* lower-case; an IPv6 address in brackets */
    char origin[URL_HOST_BYTES_MAX + 16]; /* host:port */
};

/** Reads an http or https URL as libcurl will; false: text in `error`. */
bool url_parse(const char *text, struct url *url, char *error, size_t error_bytes);

/* What can be in the inbox. */
struct post {
    struct post *next;
    bool cancels; /* struct cancel; else a struct call */
};
struct cancel {
    struct post post;
    struct weir_str id; /* bytes behind the struct */
};

/*
 * NEW (the owner's) -> READY (inbox_take) -> RUNNING (call_begin) -> DONE (call_finish), and from RUNNING to
 * WAITING (call_retry) and back to READY (call_wake). Any of the middle three may end at DONE.
 */
enum call_phase { CALL_NEW, CALL_WAITING, CALL_READY, CALL_RUNNING, CALL_DONE };

struct call {
    struct outside_call open; /* first: what the owner sees */
    size_t bytes;             /* of this struct and the texts behind it */
    struct weir_str secret;
    const char *method;
    const char *url;
    const char **header_lines;
    struct url at;
    /* the actor's, from submission */
    struct outside *outside;
    struct post post;
    enum call_phase phase;
    struct tree_item by_id; /* the id, a NUL and a number: ids may be equal */
    struct heap_item timed; /* in the heap from submission to DONE; what for depends on the phase */
    uint64_t due_ns;        /* WAITING: when to try again */
    struct host *host;
    struct call *previous,
        *next; /* READY: in the host's queue. `next` alone: in a list of ended ones */
    struct outside_attempt attempt;
    unsigned failed;    /* attempts, for the backoff */
    unsigned redirects; /* followed in this attempt */
    char signature[sizeof(OUTSIDE_SIGNATURE_HEADER) + 2 + OUTSIDE_SIGNATURE_BYTES];
};

static inline struct call *call_of(struct outside_call *open)
{
    return container_of(open, struct call, open);
}

/** libcurl's transport. Given. */
struct outside_transport *curl_transport_create(const struct outside_options *options);
void curl_transport_destroy(struct outside_transport *transport);

#endif
