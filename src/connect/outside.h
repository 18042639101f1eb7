/*
 * outside.h - calls to services outside, kept up until they are answered or given up.
 *
 * A call is one HTTP request with an id of its own. It is sent again after broken connections, timeouts,
 * 408, 425, 429, 5xx and the statuses its request lists, with exponential backoff and jitter, until a status
 * that counts as an answer comes or its time is up. Each attempt carries the same id, so that a provider that
 * honours it acts once; for others it is at least once. What was pending at a crash is the engine's to submit
 * again, under the same id.
 *
 * All of it is one actor (`outside`): the rules here, the bytes in a transport (transport.h), libcurl's by
 * default. Calls are submitted by any thread and taken back by one, the owner.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CONNECT_OUTSIDE_H
#define WEIR_CONNECT_OUTSIDE_H

#include "os/env.h"
#include "weir/weir.h"

struct outside;
struct outside_transport;

#define OUTSIDE_LIMITS(X)                                                                          \
    X(in_flight_max, 256, "attempts at once")                                                      \
    X(host_in_flight_max, 32, "attempts at once to one host and port")                             \
    X(calls_max, 100000, "calls submitted and not taken back")                                     \
    X(untaken_max, 1024, "ended calls not taken back, before no new attempt begins")               \
    X(request_bytes_max, 1048576, "bytes of a call's body")                                        \
    X(answer_bytes_max, 1048576, "bytes of an answer's body; what is longer is cut")               \
    X(answer_header_bytes_max, 65536, "bytes of an answer's headers; more break the attempt")

struct outside_limits {
#define X(name, value, text) uint64_t name;
    OUTSIDE_LIMITS(X)
#undef X
};

struct outside_options {
    struct env *env;
    struct actor *owner;          /* woken when calls have ended; NULL: it polls outside_next() */
    struct outside_limits limits; /* 0 in a field: its default */
    /* Hosts that may be called, "name" (any port) or "name:port", lower-case; NULL: all. Kept. */
    const char *const *allow;
    struct outside_transport *transport; /* NULL: libcurl's. Kept until outside_destroy() */
    /* of libcurl's transport, kept: */
    const char *ca_file; /* certificates to trust in place of the system's; NULL: the system's */
    const char *proxy;   /* NULL: as the environment says (https_proxy ...); "": none */
};

struct outside_header {
    struct weir_str name, value;
};

#define OUTSIDE_TIMEOUT_MS 30000
#define OUTSIDE_TIMEOUT_MS_MAX 86400000
#define OUTSIDE_BACKOFF_FIRST_MS 500
#define OUTSIDE_BACKOFF_MS_MAX 60000
#define OUTSIDE_HEADERS_MAX 64
#define OUTSIDE_HEADER_BYTES_MAX 16384 /* of all headers of a request */
#define OUTSIDE_URL_BYTES_MAX 8192
#define OUTSIDE_ID_BYTES_MAX 255
#define OUTSIDE_REDIRECTS_MAX 10

/* What is asked. 0 or empty means the default where one is named. */
struct outside_request {
    struct weir_str url;  /* where the service begins: "https://api.bank.example/v2" */
    struct weir_str line; /* "POST /charges", appended to url */
    const struct outside_header *headers;
    size_t header_count;
    struct weir_str body;      /* JSON, unless a Content-Type among the headers says otherwise */
    struct weir_str id;        /* the same with every attempt; empty: none is sent */
    struct weir_str id_header; /* empty: Idempotency-Key */
    struct weir_str secret;    /* not empty: each attempt is signed with it (outside_sign) */
    const uint16_t *retry;     /* statuses to try again, besides 408, 425, 429 and 5xx */
    size_t retry_count;
    bool only_2xx; /* a webhook: every status outside 200 to 299 is tried again */
    /* Followed per attempt, within scheme, host and port; 0: a redirect is the answer. */
    unsigned redirects_max;
    uint64_t timeout_ms;   /* of one attempt, all of it; 0: OUTSIDE_TIMEOUT_MS */
    int64_t give_up_at_ms; /* wall clock; no attempt begins or lasts beyond it. Must be given */
    uint64_t backoff_ms; /* before the second attempt, then doubled; 0: OUTSIDE_BACKOFF_FIRST_MS */
    uint64_t backoff_ms_max; /* 0: OUTSIDE_BACKOFF_MS_MAX */
};

enum outside_outcome {
    OUTSIDE_PENDING,
    OUTSIDE_ANSWERED,
    OUTSIDE_UNKNOWN,   /* given up: an attempt may have had its effect */
    OUTSIDE_CANCELLED, /* by outside_cancel(); as OUTSIDE_UNKNOWN in what may have happened */
    OUTSIDE_ABANDONED  /* outside_stop() came first: submit it again after the restart */
};

/* A call. All but `user` is read only for its owner. */
struct outside_call {
    void *user;                     /* the owner's */
    struct outside_request request; /* a copy, the defaults filled in; the secret is not in it */
    /* when outside_next() gave it back: */
    enum outside_outcome outcome;
    int status;                   /* of the answer; of UNKNOWN the last one seen, 0: none */
    struct weir_str body;         /* of the answer; lives as long as the call */
    struct weir_str content_type; /* of the answer */
    bool body_cut;                /* the answer was longer than answer_bytes_max */
    unsigned attempts;            /* requests sent by this process, followed redirects included */
    char error[256]; /* for people: why the last attempt was no answer; no headers, no bodies */
};

/**
 * Makes a call from a copy of the request. Given: to outside_submit() or outside_call_free().
 *
 * @param error  out: one sentence about what is wrong
 * Errors: WEIR_ARG     a malformed part: URL not http or https, with credentials, query or fragment; unknown
 *                      method; "." or ".." in the path; a header that is the transport's to send; no give_up
 *         WEIR_TOOBIG  more than a limit named above
 * Thread: any.
 */
WEIR_MUST_USE enum weir_status outside_call_create(const struct outside_request *request,
                                                   struct outside_call **call, char *error,
                                                   size_t error_bytes);
/** Wipes (it holds secrets) and frees. */
void outside_call_free(struct outside_call *call);

/** Never NULL. Nothing runs before outside_start(), but calls may be submitted. */
struct outside *outside_create(const struct outside_options *options);
/** Errors: WEIR_CONFIG, WEIR_IO, text in `error`: the transport or the thread could not be started. */
WEIR_MUST_USE enum weir_status outside_start(struct outside *outside, char *error,
                                             size_t error_bytes);

/**
 * Takes the call; outside_next() gives it back once, whatever happens. Thread: any. Never blocks.
 *
 * Errors: WEIR_DENIED    its host is not on the allow-list
 *         WEIR_TOOBIG    its body is above request_bytes_max
 *         WEIR_FULL      calls_max are here already: later
 *         WEIR_SHUTDOWN  outside_stop() was called
 *         on each the call stays the caller's
 */
WEIR_MUST_USE enum weir_status outside_submit(struct outside *outside, struct outside_call *call);
/** Every pending call with this id comes back as CANCELLED, unless it ends before. Thread: any. */
void outside_cancel(struct outside *outside, struct weir_str id);
/** The next ended call, in the order they ended; NULL: none. Given. Thread: the owner's. */
struct outside_call *outside_next(struct outside *outside);

/** No attempt begins any more. True when none is in flight: poll it before outside_stop(). Thread: any. */
bool outside_drain(struct outside *outside);
/** Ends the thread; attempts in flight are broken off. outside_next() then gives back all that is pending as
 *  ABANDONED. Thread: the owner's. */
void outside_stop(struct outside *outside);
/** Stops, and frees all calls not taken back. */
void outside_destroy(struct outside *outside);

struct outside_stats {
    uint64_t calls;                       /* submitted and not yet taken back */
    uint64_t in_flight;                   /* attempts now */
    uint64_t attempts, answered, unknown; /* since the start */
};
/** Thread: any; the numbers need not fit each other. */
struct outside_stats outside_stats(const struct outside *outside);

/* ---- the signature of webhooks ---- */
#define OUTSIDE_SIGNATURE_HEADER "Weir-Signature"
#define OUTSIDE_SIGNATURE_BYTES 96 /* with the NUL */
/**
 * The value of the header Weir-Signature: "t=<unix seconds>,v1=<hex HMAC-SHA256 of "t.body">". A receiver
 * recomputes it over the bytes as they came and refuses a t that is old.
 */
void outside_sign(struct weir_str secret, int64_t unix_seconds, struct weir_str body,
                  char signature[OUTSIDE_SIGNATURE_BYTES]);

#endif
