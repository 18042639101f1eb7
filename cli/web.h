/*
 * web.h - a small HTTP client for the verbs that use the HTTP door: one connection, one request at a time.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CLI_WEB_H
#define WEIR_CLI_WEB_H

#include "client.h"

struct web {
    int fd; /* -1: not connected now */
    int port;
    char host[256];
    struct buf authorization; /* the header's line, or empty */
    struct buf in;
    bool reached;    /* a server has answered before */
    char error[256]; /* why a request got no answer */
    /* the answer */
    int status;
    bool replayed; /* an idempotency key was known: nothing was done again */
    struct buf body;
    /* Called at each answer that a stream's sources are held back, with what it waits for: "waits for follower card, 1,000
     * behind". NULL: stderr tells, once. */
    void (*held)(void *arg, const char *what);
    void *held_arg;
    bool told_held;
};

#define WEB_WHERE ((struct client_where){ .address = "127.0.0.1:8080" })
#define WEB_OPTIONS(where)                                                                         \
    { "--host", "HOST:PORT", "HTTP door of the server (127.0.0.1:8080)",                           \
      .text_into = &(where).address },                                                             \
        { "--user", "NAME", "as this user (whose token it is)", .text_into = &(where).user },      \
    {                                                                                              \
        "--token-file", "FILE", "the token or password, one line (the variable WEIR_TOKEN)",       \
            .text_into = &(where).token_file                                                       \
    }

/** Reads the options; connects with the first request. 0, or the exit code after a message. */
int web_open(struct web *web, const struct client_where *where);
/** One request: `headers` are lines with their ends, or "". False with web->error when no whole answer came. */
bool web_ask(struct web *web, const char *method, const char *path, const char *headers,
             struct weir_str body);
/** As web_ask(), again and again when the server is too busy or starting, or no answer came from one that answered
 *  before, for at most `patience_s` seconds; while a follower holds sources back, for as long as it does: for requests that
 *  may be repeated. */
bool web_ask_until(struct web *web, const char *method, const char *path, const char *headers,
                   struct weir_str body, unsigned patience_s);
/** Says on stderr why the last request failed; the exit code: 69 when no answer came, else 1. */
int web_complain(const struct web *web, bool json);
/** Says on stderr what is wrong, as JSON in the place where the server's problems have it: {"error":{"detail":"..."}}. */
void web_tell(struct weir_str text, bool json);
void web_close(struct web *web);
/** Adds the text as one part of a path. */
void web_add_part(struct buf *path, const char *text);
/** Nanoseconds of a clock that only goes forward. */
uint64_t web_now_ns(void);

#endif
