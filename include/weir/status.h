/*
 * status.h - every outcome Weir can report, as one table.
 *
 * The table gives name, number, the word used on the wire, the HTTP status, and whether the request may
 * have been applied. Numbers reach clients and disk: never reuse one.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

/* X(name, number, word, http, text) */
#define WEIR_STATUS_TABLE(X)                                                                       \
    X(OK, 0, "ok", 200, "done")                                                                    \
    X(FAILED, 1, "failed", 422, "the application refused")                                         \
    X(ARG, 2, "arg", 400, "wrong arguments")                                                       \
    X(NOAUTH, 3, "noauth", 401, "authentication required")                                         \
    X(NOPERM, 4, "noperm", 403, "no right to do this")                                             \
    X(NOTYPE, 5, "notype", 404, "no such type or service")                                         \
    X(NOHANDLER, 6, "nohandler", 404, "no such handler")                                           \
    X(NOTFOUND, 7, "notfound", 404, "no such entity")                                              \
    X(EXISTS, 8, "exists", 409, "the entity exists already")                                       \
    X(CHECK, 9, "check", 422, "a declared rule is broken")                                         \
    X(RANGE, 10, "range", 422, "a number is out of range")                                         \
    X(HANDLER, 11, "handler", 500, "the handler raised an error")                                  \
    X(BUDGET, 12, "budget", 500, "a limit was exceeded")                                           \
    X(OVERLOADED, 13, "overloaded", 429, "too busy, try again")                                    \
    X(TIMEOUT, 14, "timeout", 503, "deadline passed before a decision; nothing was applied")       \
    X(UNKNOWN, 15, "unknown", 504, "the outcome is unknown")                                       \
    X(OOM, 16, "oom", 503, "memory limit reached")                                                 \
    X(DISKFULL, 17, "diskfull", 507, "disk is full; reads continue")                               \
    X(LOADING, 18, "loading", 503, "recovering")                                                   \
    X(IDEMPOTENCY, 19, "idempotency", 422, "idempotency key reused with another request")          \
    X(TOOBIG, 20, "toobig", 413, "too large")                                                      \
    X(SHUTDOWN, 21, "shutdown", 503, "shutting down")                                              \
    X(DENIED, 22, "denied", 403, "connection not allowed")                                         \
    X(BADREQUEST, 23, "badrequest", 400, "malformed request")                                      \
    X(ABORTED, 24, "aborted", 503, "the transaction is being undone; return")                      \
    X(PENDING, 25, "pending", 202, "done; its answer is still to come")                            \
    /* the engine's own; not sent to clients */                                                    \
    X(IO, 40, "io", 500, "input/output error")                                                     \
    X(CORRUPT, 41, "corrupt", 500, "stored data is damaged")                                       \
    X(LOCKED, 42, "locked", 500, "the data directory is in use")                                   \
    X(FULL, 43, "full", 500, "no room; try later")                                                 \
    X(POISONED, 44, "poisoned", 500, "an earlier sync failed; only reopening helps")               \
    X(CONFIG, 45, "config", 500, "bad configuration or application")                               \
    X(NEWER, 46, "newer", 500, "written by a newer version")                                       \
    X(NOMORE, 47, "nomore", 500, "nothing more")

enum weir_status {
#define X(name, number, word, http, text) WEIR_##name = number,
    WEIR_STATUS_TABLE(X)
#undef X
};

/** The word of a status as it stands in errors ("notfound"); never NULL. */
const char *weir_status_word(enum weir_status status);
/** One plain sentence for people; never NULL. */
const char *weir_status_text(enum weir_status status);
/** The HTTP status code that a status answers with. */
int weir_status_http(enum weir_status status);

#endif
