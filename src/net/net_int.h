/*
 * net_int.h - what the files of the net room share: connections, calls, parsers, writers.
 *
 * A call is one place in a connection's order of answers: a request in the engine, or an answer that the
 * door itself made. Answers are written from the head of that order only. All of it belongs to the net
 * actor's thread; other threads reach it through the atomics of struct net alone.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_NET_NET_INT_H
#define WEIR_NET_NET_INT_H

#include <stdatomic.h>

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/hash.h"
#include "core/feed.h"
#include "net/net.h"

#define READ_BYTES ((size_t)64 * 1024)
#define RESP_ARGUMENTS_MAX 1024u /* how far the limit may be raised */
#define ID_BYTES_MAX 255u
#define OUTCOMES 48u /* above the highest status */
#define LATENCY_BUCKETS 16u
#define ROUTES 256u
#define STREAMED_BYTES_MAX ((size_t)64 * 1024) /* unsent, above which a streamed answer waits */

enum door { DOOR_HTTP, DOOR_RESP, DOORS };

/* What an epoll user pointer points at. */
enum peer_kind { PEER_LISTENER, PEER_CONN };

/* A read of a stream on its way for a call; see reads.c. */
struct call_read {
    struct feed_read feed;  /* first: feed_next() gives back its address */
    struct call_read *next; /* of its call, or in the pool */
    struct call *call;
    bool waits; /* for a first event; feed.until_ns is the feed's to change */
};

/*
 * An answer of the door itself, or how the engine's is to be written.
 *
 * A call may take several steps: it asks the engine (call_submit()) or the feed (call_read()) and is called back with
 * what came; in the end it is answered by call_answer(), call_refuse() or, with `resumed` NULL, by its request. It
 * keeps its place in the order of answers meanwhile. When its connection goes, nothing calls it back any more:
 * `dropped` frees its state once no shard reads it any more (then conn is NULL), waiting reads are cancelled, and its
 * memory goes when all it had out has come home, its branches included.
 */
struct call {
    struct request request; /* first: port_next() gives back its address */
    struct call *next;      /* in its connection's order, or in the pool */
    struct conn *conn;      /* NULL: the connection is gone */
    uint64_t begun_ns;
    size_t bytes;          /* counted as read ahead */
    size_t held;           /* bytes of `ready` while it waits */
    struct weir_str ready; /* RESP: the whole answer; HTTP: the body */
    bool is_ready;
    bool answered;
    bool counted; /* belongs in the figures of requests */
    /* steps */
    bool in_engine;     /* its request is */
    uint32_t reads_out; /* reads not yet home, `reads` are these */
    struct call_read *reads;
    struct call *stem; /* of a branch: whose memory it uses */
    uint32_t branches_out;
    void *state;                        /* the door's */
    void (*resumed)(struct call *call); /* its request came back; NULL: that is the answer */
    /** One read came back; items are freed after it unless it takes them (sets items to NULL). */
    void (*read_done)(struct call *call, struct feed_read *read);
    void (*dropped)(
        struct call *call); /* frees `state`: after the answer is written, or without one */
    /* RESP */
    uint8_t protocol;    /* 2 or 3 */
    bool absent_is_null; /* GETROW */
    /* HTTP */
    bool head, close, interim; /* interim: 100 Continue */
    bool partly;               /* refused after a part of it was applied */
    bool fresh;        /* a page that is another at the next look: not to be kept by caches */
    bool streamed;     /* its head is written: what is left is the end */
    bool chunked;      /* ... in chunks */
    bool event_stream; /* asks for server-sent events */
    /** Called in each turn that touches the connection while it stands at the head of the order, unanswered: it may
     *  write to conn->out, and answer. NULL: none */
    void (*headed)(struct call *call);
    bool held_back;  /* waits for output to go: is called again once there is room */
    bool old;        /* HTTP/1.0: is told that the connection stays */
    int http_status; /* 0: by the status */
    const char *content_type;
    const char *allow;
    struct weir_str next_page; /* where it goes on, as a reference; nil: nowhere */
};

#define NAME_BYTES 64u /* of a client, with its NUL */

struct resp_state {
    uint8_t protocol;
    char name[NAME_BYTES];
    char lib_name[NAME_BYTES], lib_version[NAME_BYTES];
};

struct http_state; /* http.c's */

/* Who may have a command or a page. Zero, what is not declared, is the operator's. */
enum right {
    RIGHT_OPERATOR = 0,
    RIGHT_USER,    /* whoever has named himself */
    RIGHT_HANDLER, /* judged by the handler that it names */
    RIGHT_ANYONE
};

struct conn {
    enum peer_kind kind; /* first */
    enum door door;
    struct net *net;
    struct conn *next, **link;
    struct conn *touched_next;
    int fd;
    uint64_t id;
    bool touched;
    bool closing; /* no more input; closed once all is answered and sent */
    bool broken;  /* closed at the end of this turn */
    bool linger;  /* after `closing`: reads and drops for a while, so that the answer is seen */
    bool polls_read, polls_write;
    bool blocked; /* the socket took no more */
    struct buf in;
    size_t in_at; /* parsed so far */
    size_t need;  /* bytes from in_at without which parsing is in vain */
    struct buf out;
    size_t out_at; /* sent so far */
    struct call *first, **last;
    uint32_t ahead;
    size_t ahead_bytes, held_bytes;
    uint32_t reads_out; /* reads of streams by its calls */
    uint32_t waits_out; /* of these: those that wait for events */
    uint64_t opened_ns;
    uint64_t begun_ns;  /* the request being received began; 0: none */
    uint64_t moved_ns;  /* bytes last went in or out */
    uint64_t soft_ns;   /* output above the soft limit since; 0: is not */
    uint64_t linger_ns; /* end of lingering; 0: not yet begun */
    const struct user
        *user; /* for whom it speaks: RESP since AUTH, HTTP in this request; NULL: a stranger */
    uint64_t trusted_ns; /* last had or made what a stranger may not wait for */
    uint32_t auth_failures;
    bool secret_in; /* the bytes just parsed hold a secret: to be wiped */
    bool body_held; /* the body that comes waits for the engine to take what was there before */
    struct route *route; /* of its last request: most ask for the same again. NULL: none */
    struct resp_state resp;
    struct http_state *http;
};

struct listener {
    enum peer_kind kind; /* first */
    enum door door;
    int fd; /* -1: none */
    int port;
    bool paused;
};

struct door_figures {
    uint64_t outcomes[OUTCOMES];
    uint64_t buckets[LATENCY_BUCKETS + 1];
    uint64_t last_ns; /* observed last, as many of one turn are; and its bucket */
    uint32_t last_bucket;
    uint64_t latency_ns;
    uint64_t latency_count;
    uint64_t conns_total, conns_refused_total;
    uint64_t bytes_in_total, bytes_out_total;
    uint64_t slow_total; /* closed for slowness or size */
    uint64_t auth_failures_total;
    uint32_t conns;
};

struct route {
    struct type *type;
    struct handler *handler;
    const struct user *admitted; /* who was last; NULL: nobody yet */
};

struct net {
    struct net_options options;
    struct net_limits limits;
    struct env *env;
    struct actor actor;
    bool started;
    struct listener listeners[DOORS];
    _Atomic(struct engine *) engine_given; /* by net_serve() */
    atomic_bool draining;
    atomic_bool drained;
    struct users *users;                 /* the actor's own; NULL: there are none */
    _Atomic(struct users *) users_given; /* by net_replace_users() */
    struct net_limits stranger_limits;
    struct engine *engine; /* the actor's own; NULL while loading */
    struct port *port;
    struct route routes[ROUTES];
    struct conn *conns;
    uint32_t conn_count;
    uint64_t conn_ids;
    struct conn *touched, **touched_last;
    struct call *pool;
    uint32_t pool_count;
    uint32_t in_engine;
    struct call_read *read_pool;
    uint32_t read_pool_count;
    uint32_t reads_out; /* of all connections, also those that are gone */
    bool submitted;     /* something to flush */
    bool answers_left;  /* in the port: the next turn must not wait */
    bool stopped_listening;
    uint64_t now_ns; /* of this turn */
    uint64_t sweep_ns;
    uint64_t sweep_every_ns;
    int64_t date_s;
    char date[32];
    struct door_figures figures[DOORS];
    uint64_t commands_total;
    char *read_bytes, *first_bytes;
    struct buf scratch, body;
    struct arena judge;
};

/* ---- net.c ---- */

/** A call at the end of the connection's order, counted as `bytes` read ahead. */
struct call *call_begin(struct conn *conn, size_t bytes);
/** Gives it to the engine, or answers at once when there is none or it is stopping. */
void call_submit(struct call *call);
/** The door's own answer is in the call: written as soon as it is its turn. */
void call_answer(struct call *call);
/** Answers with a status and a text for people. */
void call_refuse(struct call *call, enum weir_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Answers with what judging an argument found. */
void call_refuse_problem(struct call *call, enum weir_status status, const struct problem *problem);
/** Finds type and handler by name; either may be NULL after it. */
struct route *conn_route(struct conn *conn, struct weir_str type, struct weir_str handler);
/** Who is admitted where is judged again. */
void net_forget_admitted(struct net *net);
bool net_is_draining(const struct net *net);
void conn_touch(struct conn *conn);
/** A line of trace on why a connection is closed by us. */
void conn_trace(struct conn *conn, const char *reason, const char *limit_name, uint64_t limit);
/** Whether the outcome of a request with this status is in doubt. */
bool status_is_unknown(enum weir_status status);
/** The status that clients see: the engine's own become `unknown`. */
enum weir_status status_public(enum weir_status status);
/** One sentence of an answered request, never empty. */
struct weir_str request_text(const struct request *request);
/** What the application gave as the detail of its failure, as JSON; nil: nothing, or the failure is the engine's own. */
struct weir_str request_own_detail(const struct request *request);
/** Judges the key of a request; false after answering the call. */
bool key_is_fit(struct call *call, struct weir_str key);

/**
 * A request beside that of `call`, for the same connection, in no order of answers: the maker sets `state` and
 * `resumed`, and ends it by call_prune() when it is done with it or when `call` is dropped, whichever comes first.
 */
struct call *call_branch(struct call *call);
void call_prune(struct net *net, struct call *branch);
/** Bytes on their way out. */
size_t conn_pending(const struct conn *conn);

/** Frees a call without a connection once nothing of it is out. */
void call_release(struct net *net, struct call *call);

/* ---- reads.c: streams, read for calls ---- */

/**
 * Gives a copy of the question to the feed; what comes of it goes to call->read_done(). A call may have several out.
 * With until_ns it waits for a first event; it comes back sooner, with nothing, when the connection is closing, has too
 * much read ahead behind it, or the server shuts down.
 *
 * Errors: LOADING, SHUTDOWN; OVERLOADED: reads_max are out, or reads_conn_max
 */
enum weir_status call_read(struct call *call, const struct feed_read *question);
/** Its reads come back as soon as may be. */
void call_cancel_reads(struct call *call);
/** Those of the connection's calls that wait. */
void conn_cancel_reads(struct conn *conn);
/** The connection no longer counts the call's reads. */
void call_disown_reads(struct call *call);
/** As many are out as may be, and one will be home soon. */
bool conn_reads_hold(const struct conn *conn);
/** Hands reads that came home to their calls. */
void net_take_reads(struct net *net);
void net_free_reads(struct net *net);

/* ---- access.c ---- */

/** Whom a fresh connection speaks for. */
const struct user *net_first_user(const struct net *net);
struct weir_str conn_roles(const struct conn *conn);
/** False after refusing the call. `what` ends "has no permissions to ". */
bool call_has_right(struct call *call, enum right right, const char *what, ...)
    __attribute__((format(printf, 3, 4)));
bool call_is_admitted(struct call *call, const struct handler *handler);
/** Whether the caller may read the stream, its figures and its groups: the operator, and the role that may emit; a
 *  stream open to anyone is so for emitting only. False after refusing. */
bool call_may_read(struct call *call, const struct stream *stream);
bool roles_may_read(struct weir_str roles, const struct stream *stream);
bool conn_may_read(const struct conn *conn, const struct stream *stream);
/** False after refusing a stranger who must not learn whether there is such a handler (NULL: there is none). */
bool call_is_in_sight(struct call *call, const struct handler *handler);
void conn_take_user(struct conn *conn, const struct user *user);
/** Counts a wrong secret; true when the connection is to be closed for it. */
bool conn_count_failure(struct conn *conn);
void request_name_caller(struct request *request, const struct conn *conn);
/** Takes what net_replace_users() gave. */
void net_take_users(struct net *net);

/* ---- resp.c ---- */

enum resp_found { RESP_MORE, RESP_COMMAND, RESP_EMPTY, RESP_BROKEN, RESP_FOREIGN };
struct resp_command {
    struct weir_str args[RESP_ARGUMENTS_MAX];
    uint32_t count;
    size_t used;       /* bytes of the command */
    size_t need;       /* RESP_MORE: at least so many bytes in all */
    size_t text_bytes; /* of all arguments */
    char error[96];    /* RESP_BROKEN: what follows "ERR Protocol error: " */
};
/** Parses one command from the start of `bytes`; `unquoted` holds the arguments of inline commands. */
enum resp_found resp_parse(struct weir_str bytes, const struct net_limits *limits,
                           struct buf *unquoted, struct resp_command *command);
/** Takes one command; returns the bytes used, 0 for none. */
size_t resp_input(struct conn *conn, const char *bytes, size_t len);
/** Says that the command came too slowly, and closes. */
void resp_time_out(struct conn *conn);

/** Whether the argument is this word, in whatever case. */
bool resp_is(struct weir_str text, const char *word);
/** An empty buffer, and its content as the call's answer. */
struct buf *resp_scratch(struct call *call);
void resp_answer_scratch(struct call *call);
void resp_answer_error(struct call *call, const char *word, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- resp_stream.c, resp_group.c ---- */

typedef void resp_run_fn(struct call *call, const struct resp_command *command);
resp_run_fn resp_xadd, resp_xlen, resp_xrange, resp_xrevrange, resp_xread, resp_xreadgroup,
    resp_xack, resp_xgroup, resp_xpending, resp_xclaim, resp_xautoclaim, resp_xinfo, resp_xdel,
    resp_xtrim, resp_xsetid;

/* ---- parked.c, deferred.c ---- */

resp_run_fn resp_parked, resp_call_wait;

/* ---- resp_reply.c ---- */

void resp_add_int(struct buf *out, int64_t n);
void resp_add_bulk(struct buf *out, struct weir_str text);
void resp_add_simple(struct buf *out, const char *text);
void resp_add_null(struct buf *out, uint8_t protocol);
void resp_add_null_array(struct buf *out, uint8_t protocol);
void resp_add_array(struct buf *out, uint64_t count);
void resp_add_id(struct buf *out, struct event_id id);
/** [id, [name, value, ...]]: declared fields that are not nil, each as text. `scratch` is reset. */
void resp_add_event(struct buf *out, uint8_t protocol, const struct stream *stream,
                    const struct feed_item *item, struct arena *scratch);
/** `count` pairs follow. */
void resp_add_map(struct buf *out, uint8_t protocol, uint64_t count);
void resp_add_float(struct buf *out, uint8_t protocol, double n);
/** A value by its shape. */
void resp_add_value(struct buf *out, uint8_t protocol, const struct shape *shape,
                    const void *value);
/** Behind the value at `at`, in valid JSON; *count, unless NULL: the elements of an array or object. */
const char *json_skip(const char *at, const char *end, uint64_t *count);
/** Valid JSON as RESP values; anything else as a bulk. */
void resp_add_json(struct buf *out, uint8_t protocol, struct weir_str json);
/** "-WORD text" in one line. */
void resp_add_error(struct buf *out, struct weir_str word, struct weir_str text);
/** The whole answer of an answered call. */
void resp_add_answer(struct net *net, struct buf *out, struct call *call);

/* ---- http.c ---- */

/** Takes what it can of a request; returns the bytes used. */
size_t http_input(struct conn *conn, const char *bytes, size_t len);
void http_state_destroy(struct conn *conn);
/** The other side sends no more: what has come in part is refused. */
void http_input_ended(struct conn *conn);
/** The server shuts down: what waits for more input is answered. */
void http_drain(struct conn *conn);
/** The time by which more must have come; ENV_NEVER for none. *reason says what of. */
uint64_t http_deadline(const struct conn *conn, const char **reason);
/** A request has come in part. */
bool http_is_midway(const struct conn *conn);
/** Answers 408 and closes. */
void http_time_out(struct conn *conn);
bool http_host_is_known(const struct net *net, struct weir_str host);
/** The names of pages as a JSON array's members. */
void http_list_pages(struct buf *out);
bool http_unescape(struct arena *arena, struct weir_str text, bool plus_is_space,
                   struct weir_str *out);

/* ---- chunk.c ---- */

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LINE,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
    CHUNK_DONE
};
/* Zeroed at the body's begin. */
struct chunks {
    enum chunk_state state;
    uint64_t left; /* of the chunk's data */
    uint32_t digits;
};
enum chunks_found { CHUNKS_MORE, CHUNKS_BROKEN, CHUNKS_TOO_MANY };
/** Takes the next bytes of a chunked body, up to its end (state CHUNK_DONE): appends their data to `body`, which may
 *  hold `most`; *used: how many were taken. */
enum chunks_found chunks_take(struct chunks *chunks, const char *bytes, size_t len, size_t most,
                              struct buf *body, size_t *used);

/* ---- http_reply.c ---- */

void http_add_answer(struct net *net, struct buf *out, struct call *call);
/** The head of an answer whose body is written as it comes. */
void http_begin_streamed(struct net *net, struct call *call, const char *type);
/** A part of such a body, as a chunk if need be. */
void http_add_streamed(struct call *call, struct weir_str bytes);
/** The refusal of a connection too many, whole. */
void http_add_refusal(struct net *net, struct buf *out);

/* ---- admin.c ---- */

/** What a caller with these roles may call. */
void admin_index(struct net *net, const struct type *only, struct weir_str roles, struct buf *out);
void admin_metrics(struct net *net, struct buf *out);
/** `section` nil: all. */
void admin_info(struct net *net, struct weir_str section, struct buf *out);
/** True and an empty list of reasons when ready; JSON either way. */
bool admin_ready(struct net *net, struct buf *out);
void admin_observe(struct net *net, const struct call *call);
/** The declared form of a parameter for people, e.g. "int" or "list(text)". */
void admin_field_type(const struct field *field, struct buf *out);
/** "withdraw(amount int, note text?)" */
void admin_signature(const struct handler *handler, struct buf *out);

#endif
