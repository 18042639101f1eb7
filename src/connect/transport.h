/*
 * transport.h - what carries an attempt to a service: libcurl, or a function that plays the service.
 *
 * Everything that decides (when, how often, whether a status is an answer) is above, in outside.c, so that the
 * simulator and `weir test` run the same rules as the real world; only the bytes differ. The functions of a
 * transport run on the actor of `struct outside` alone.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CONNECT_TRANSPORT_H
#define WEIR_CONNECT_TRANSPORT_H

#include "base/mem.h"
#include "connect/outside.h"

/* One try of a call. */
struct outside_attempt {
    /* the question, borrowed until the attempt ends or is dropped */
    const struct outside_request *request;
    const char *method;
    const char *url; /* whole */
    const char *const
        *header_lines;     /* "Name: value", or "Name;" for an empty one; NULL at the end */
    const char *signature; /* another header line; NULL: none */
    unsigned number;       /* 1 for the first */
    uint64_t answer_bytes_max, answer_header_bytes_max;
    /* the answer, empty before */
    int status;      /* 0: none came; `error` says why */
    struct buf body; /* the transport adds, the call keeps */
    bool body_cut;
    int64_t retry_after_ms; /* as the service asked; 0: it did not */
    char content_type[128];
    /* Of a redirect: an absolute URL and a NUL. Written at the end only, for `url` may be it. */
    struct buf location;
    char *error; /* error_bytes, the call's; written at the end, if status is 0 */
    size_t error_bytes;
    void *own; /* the transport's */
};

struct outside_transport {
    void *self;
    /** `actor` is the one whose turns call turn(). Text in `error`. */
    enum weir_status (*start)(void *self, struct env *env, struct actor *actor, char *error,
                              size_t error_bytes);
    /** Sends. Must not end the attempt before turn(). */
    void (*begin)(void *self, struct outside_attempt *attempt);
    /** Breaks the attempt off; it must not be ended after. */
    void (*drop)(void *self, struct outside_attempt *attempt);
    /**
     * Does what there is to do, calls outside_attempt_end() for what ended, and may wait until `until_ns`
     * (ENV_NEVER: until something happens) or a wake of the actor. Returns when it wants the next turn: as
     * `turn` of struct actor.
     */
    uint64_t (*turn)(void *self, uint64_t until_ns);
    /** Breaks off nothing: all attempts have ended or were dropped. */
    void (*stop)(void *self);
};

/** From turn() only. The attempt is the caller's again at once. */
void outside_attempt_end(struct outside_attempt *attempt);

/* ---- a function in place of the world ---- */

/* What a service answers, as a function fills it in. */
struct outside_reply {
    uint64_t delay_ms;
    int status;             /* 0: the connection breaks after the delay, `error` says why */
    bool silent;            /* nothing ever comes */
    struct weir_str body;   /* copied */
    const char *type;       /* NULL: application/json */
    int64_t retry_after_ms; /* 0: not sent */
    const char *location;   /* of a redirect */
    const char *error;
};
struct outside_fake;

/**
 * `answer` is called once for each attempt, when it arrives at the service, on the actor of `struct outside`.
 * With the simulator's env the delays pass in simulated time, and equal seeds give equal runs.
 */
struct outside_fake *outside_fake_create(void (*answer)(void *arg,
                                                        const struct outside_attempt *attempt,
                                                        struct outside_reply *reply),
                                         void *arg);
/** For struct outside_options; lives as long as the fake. */
struct outside_transport *outside_fake_transport(struct outside_fake *fake);
/** After outside_destroy(). */
void outside_fake_destroy(struct outside_fake *fake);

#endif
