/*
 * catalog.h - what an application consists of: types, services, handlers, maps, each with its shapes.
 *
 * Loaders (native modules, Lua) fill it in before the engine opens; catalog_finish() judges the whole;
 * from then on it is read-only but for the ids that opening the data gives, and read from every thread.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_CORE_CATALOG_H
#define WEIR_CORE_CATALOG_H

#include "data/cron.h"
#include "data/shape.h"
#include "os/env.h"

struct runtime;
struct type;
struct derived;

/* One handler. `args` and `result` are never NULL; one that answers nothing has a result of no fields, one
 * without a declared result the scalar shape of WEIR_ANY. */
struct handler {
    struct weir_str name;
    enum weir_verb_kind kind;
    struct shape *args; /* a struct: one field per parameter, named; native handlers may also
                                      have a scalar */
    struct shape *result;
    struct weir_str allow; /* HANDLER_ANYONE, a role, or nil: the operator only */
    struct type *type;     /* set by catalog_add_handler() */
    const struct runtime *runtime;
    weir_handler_fn *fn;    /* native */
    void *code;             /* the runtime's */
    struct weir_str at;     /* "bank.lua:12", for people */
    bool builtin;           /* the engine's: runs on entities without a row, too */
    bool hidden;            /* not to be called from outside or by name */
    uint32_t result_number; /* of the result's form, in the data; from 1 */
    /* The first argument that refers to an entity, and that one's type: most likely it will be called. NULL: none. */
    const struct field *partner;
    const struct type *partner_type;
};

struct map_def {
    struct weir_str name;
    enum weir_kind key[WEIR_KEY_PARTS_MAX];               /* the rest WEIR_NONE */
    struct weir_str key_type[WEIR_KEY_PARTS_MAX];         /* entity type of a WEIR_REF part */
    const struct weir_str *key_words[WEIR_KEY_PARTS_MAX]; /* words of a WEIR_ENUM part */
    uint32_t key_word_count[WEIR_KEY_PARTS_MAX];
    uint32_t key_count;
    struct shape *value; /* a scalar or a record */
    uint16_t id;         /* on disk; given when the data is opened */
};

/* A rule over the whole row: true, or false with *code set to a word that lives until the handler ends. */
typedef bool type_check_fn(struct weir_ctx *ctx, struct type *type, const void *row,
                           struct weir_str *code);

struct type {
    struct weir_str name;
    bool service;
    struct shape *row;        /* never NULL; of no fields for a service */
    struct weir_str key_text; /* declared typed key, or nil */
    struct key_form key;      /* count 0: plain text */
    struct map_def *maps;
    uint32_t map_count;
    struct handler **handlers;
    uint32_t handler_count;
    bool has_create;
    type_check_fn *check;
    void *check_arg;
    struct weir_str at;
    uint16_t id;  /* on disk; 0 until the data is opened */
    bool builtin; /* the engine's own: not among what an application declares */
};

/* A retained log of events, emitted inside transactions. */
struct stream {
    struct weir_str name;
    struct shape *event; /* a record; its fields numbered by name when the data is opened */
    int key_field;       /* that orders; -1: the emitting entity's key */
    int time_field;      /* event time; -1: the time of the transaction */
    int64_t keep_ms;     /* 0: no bound */
    uint64_t keep_bytes; /* 0: no bound */
    bool latest;         /* what is past keep_ms is compacted: of each key the newest event stays */
    int gone_field;      /* with latest: a bool that ends the key; -1: none */
    struct weir_str allow; /* who may emit from outside: "anyone", a role, or nil */
    struct weir_str at;
    uint16_t id;                  /* on disk; 0 until the data is opened */
    uint32_t place;               /* in catalog->streams */
    struct handler *emit, *batch; /* built in, of the type `streams`: one event; a list of them */
    struct handler *end;          /* likewise: no event will come any more */
    struct derived
        *from;          /* the window or join whose results it holds; NULL: an application's own */
    int64_t time_shift; /* added to the time field: a result of a window is of its last moment */
};

/* What stream->batch answers; ids are nil when count is 0. */
struct emitted {
    int64_t count;
    struct weir_str first, last;
};

enum follow_from { FOLLOW_OLDEST = 0, FOLLOW_NOW, FOLLOW_ID, FOLLOW_TIME };

/* Handler calls fed by a stream: each event once, in order for each entity, as a transaction of its own. */
struct follower {
    struct stream *stream;
    struct type *type;
    int by; /* the event's field that names the entity; -1: a service */
    struct handler
        *handler;          /* hidden, called "@STREAM"; arguments: { event, meta = { id, time } } */
    enum follow_from from; /* where it begins when it is new to the data */
    uint64_t from_epoch, from_n;
    int64_t from_ms;
    uint16_t id;
    uint32_t place; /* in catalog->followers */
    /* of a window or join: type is a name only, handler is NULL */
    struct derived *derived;
    uint32_t side; /* of a join: 1 is the right */
    struct shape
        *route; /* of an event what feed.c looks at: the fields of the group, then its time */
    struct shape
        *group; /* of these the fields of the group, numbered by place: packed they are its key */
    struct shape *read; /* what the operator looks at, numbered as the stream's event */
    int route_time;     /* place of the time in `route`; -1: none */
};

/* ---- windows and joins: streams that the engine derives from streams; derived.c ---- */

enum aggregate_kind {
    AGGREGATE_COUNT = 1,
    AGGREGATE_SUM,
    AGGREGATE_MIN,
    AGGREGATE_MAX,
    AGGREGATE_AVG,
    AGGREGATE_FIRST,
    AGGREGATE_LAST,
    AGGREGATE_DISTINCT,
    AGGREGATE_TOP,
    AGGREGATE_FOLD
};
#define AGGREGATE_TOP_MAX 100u
#define DERIVED_BY_MAX 8u
#define DERIVED_AGGREGATES_MAX 64u
#define WINDOW_OVERLAP_MAX 1000 /* windows that one event lies in */

/* Code of the application on one event, outside transactions; any thread. False: it failed, *why tells how. */
typedef bool where_fn(void *arg, const struct shape *shape, const void *event, bool *keep,
                      const char **why);
/** `acc` is JSON; so is what it adds to `out`. */
typedef bool fold_fn(void *arg, struct weir_str acc, const struct shape *shape, const void *event,
                     struct buf *out, const char **why);

struct aggregate {
    struct weir_str name; /* its column */
    enum aggregate_kind kind;
    struct weir_str field; /* of the event, "amount" or "left.amount"; empty: none */
    uint32_t top;          /* how many */
    bool sketch;
    struct weir_str start; /* fold: JSON */
    fold_fn *fold;
    void *fold_arg;
    /* found when it is declared */
    const struct field *in; /* in follower->read */
    uint32_t column;        /* in out->event */
};

enum derived_kind {
    WINDOW_SPAN = 1, /* size, slide: tumbling or hopping */
    WINDOW_SESSION,  /* size is the gap */
    WINDOW_LAST,     /* size is the span before each event */
    JOIN_WITHIN,     /* size is the distance */
    JOIN_SPAN,       /* size, slide */
    JOIN_AS_OF       /* size 0, or how old the right event may be */
};

struct derived {
    struct weir_str name, at;
    enum derived_kind kind;
    struct stream *out, *late;
    struct follower *in[2];
    uint32_t in_count;
    struct weir_str by[2]
                      [DERIVED_BY_MAX]; /* fields on the left, on the right: "shop", "left.shop" */
    struct weir_str
        by_names[DERIVED_BY_MAX]; /* of the columns; empty: the left field's last part */
    uint32_t by_count;
    int64_t size, slide, late_ms, idle_ms; /* idle 0: it waits for events */
    int64_t
        correct_ms; /* how long after its end a window takes late events, by the watermark; 0: not */
    bool early;
    struct aggregate *aggregates;
    uint32_t aggregate_count;
    where_fn *where;
    void *where_arg;
    const struct shape *row,
        *late_row; /* structs of the application; NULL: laid out by the engine */
    struct shape
        *pair[2]; /* of a join's out->event the two records, numbered as the sources' events */
    struct shape
        *group; /* of out->event the columns of `by`, numbered by place: a group's key unpacks so */
    struct shape
        *late_read; /* of a window: the source's fields of late->event, numbered as the source's */
    int column_time, column_from, column_to, column_final, column_revision,
        column_side[2];   /* of out->event; -1: none */
    struct weir_str text; /* what it computes, in one line; may not change while there is data */
    uint16_t id;
    uint32_t place; /* in catalog->deriveds */
};

/* Something that repeats: a message to a handler at each due time. */
struct schedule_def {
    struct weir_str name; /* its key in `_schedule` */
    struct weir_str type, key, handler_name;
    struct weir_str text, zone_name; /* as declared */
    struct schedule schedule;
    const struct zone *zone;
    enum schedule_policy policy;
    struct weir_str at;
    const struct handler *handler; /* set by catalog_finish() */
};

/* A service outside, and how it is called; see connect/outside.h. Texts are the application's, secrets among them. */
struct outside_def {
    struct weir_str name, url, id_header;
    struct weir_str *header_names, *header_values;
    uint32_t header_count;
    struct weir_str secret; /* signs each request; empty: none */
    uint16_t *retry;        /* statuses to try again */
    uint32_t retry_count;
    int64_t timeout_ms, give_up_ms; /* of an attempt; of all, from when it was asked */
    struct weir_str at;
};
#define OUTSIDE_GIVE_UP_MS_DEFAULT                                                                 \
    (INT64_C(12) * 3600 * 1000) /* before providers forget ids: often 24 h */

struct catalog {
    struct arena arena;
    struct type **types;
    uint32_t type_count;
    struct type **by_id; /* by type->id; NULL for a type the application no longer has */
    uint32_t by_id_count;
    struct stream **streams;
    uint32_t stream_count;
    struct follower **followers;
    uint32_t follower_count;
    struct derived **deriveds;
    uint32_t derived_count;
    struct schedule_def **schedules;
    uint32_t schedule_count;
    struct outside_def **outsides;
    uint32_t outside_count;
    struct type *groups;  /* group.h */
    struct type *answers; /* answer.h */
};

#define HANDLER_ANYONE "anyone" /* also callers that are not known */
#define ROLE_OPERATOR "operator"

#define CATALOG_TYPES_MAX 1000u
#define CATALOG_HANDLERS_MAX 1000u
#define CATALOG_MAPS_MAX 100u
#define CATALOG_STREAMS_MAX 1000u
#define CATALOG_NAME_BYTES_MAX 64u
#define STREAM_KEEP_MS_DEFAULT (INT64_C(7) * 24 * 3600 * 1000)
#define KEY_BYTES_MAX 1024u

struct catalog *catalog_create(void);
void catalog_destroy(struct catalog *catalog);
/** A new type with zeroed members but its name (copied); NULL when there is one. */
struct type *catalog_add_type(struct catalog *catalog, struct weir_str name, bool service);
/** Adds a handler, copied with its texts; NULL when the type has one of that name. */
struct handler *catalog_add_handler(struct catalog *catalog, struct type *type,
                                    const struct handler *handler);
/** Adds a map definition, copied; NULL when the type has one of that name. */
struct map_def *catalog_add_map(struct catalog *catalog, struct type *type,
                                const struct map_def *map);
/** Registers native tables. WEIR_CONFIG with *why. */
enum weir_status catalog_add_native(struct catalog *catalog, const struct weir_entity *entity,
                                    const struct weir_service *service, char *why,
                                    size_t why_bytes);
/** Judges names, limits, references, keys; false with *why ("bank.lua:3: type `streams`: the name is the
 *  server's"). Parses key forms. */
bool catalog_finish(struct catalog *catalog, char *why, size_t why_bytes);

/** A new stream, members copied; NULL when there is one of that name. `event` is a record, kept. */
struct stream *catalog_add_stream(struct catalog *catalog, const struct stream *from);
/** A type or service follows a stream: `handler` gives runtime, fn, code and at; its name, arguments and result
 *  are set. NULL with *why when the type follows it already, or `by` (empty for a service) is no text or
 *  reference of the event. */
struct follower *catalog_add_follower(struct catalog *catalog, struct stream *stream,
                                      struct type *type, struct weir_str by,
                                      const struct handler *handler, const char **why);
/**
 * A window (right NULL) or join of streams, with the streams of its results and of late events. Set in `from`: name,
 * kind, by, sizes, late_ms, idle_ms, correct_ms, early, aggregates (name to fold_arg), where, row, late_row, at; keep as of `options`.
 * NULL with *why: what is wrong.
 */
struct derived *catalog_add_derived(struct catalog *catalog, const struct derived *from,
                                    struct stream *left, struct stream *right,
                                    const struct stream *options, char *why, size_t why_bytes);
const char *aggregate_word(enum aggregate_kind kind);
/** A schedule; copied: type, key (empty for a service), handler_name, text, zone_name (empty: UTC), name (empty:
 *  made of the target), at. `env` loads the zone; NULL: engine_open() does. `missed`: "once" (also when empty), "all", "skip". False with *why. */
bool catalog_add_schedule(struct catalog *catalog, struct env *env, const struct schedule_def *from,
                          struct weir_str missed, const char **why);
/** Copied; NULL when there is one of that name. */
struct outside_def *catalog_add_outside(struct catalog *catalog, const struct outside_def *from);
struct outside_def *catalog_outside(const struct catalog *catalog, struct weir_str name);
struct stream *catalog_stream(const struct catalog *catalog, struct weir_str name);
/** "90d", "1h30m", "512MB", "forever", "latest", "latest, 7d" into keep_ms, keep_bytes and latest; false when it is
 *  none of these. */
bool stream_keep_parse(struct weir_str text, struct stream *stream);
/** "oldest", "now", an event id, or a time in milliseconds or as text, into from, from_epoch... */
bool follow_from_parse(struct weir_str text, struct follower *follower);

struct type *catalog_type(const struct catalog *catalog, struct weir_str name);
struct handler *type_handler(const struct type *type, struct weir_str name);
int type_map(const struct type *type, struct weir_str name); /* its place, or -1 */
/** True if `role` is among `roles`, words with commas between. */
bool roles_hold(struct weir_str roles, struct weir_str role);
/** Whether a request of a caller with these roles may run the handler: one that is open to anyone, one whose
 *  role the caller has, any for the operator. Calls between handlers are not asked. */
bool handler_admits(const struct handler *handler, struct weir_str roles);
/** Hash slot of an entity: of the part of its key that routes. */
uint8_t type_slot(const struct type *type, struct weir_str key);
/** The slot, and the hash of the whole key, which is the same one when the whole key routes. */
struct key_place {
    uint64_t hash;
    uint8_t slot;
};
struct key_place type_place(const struct type *type, struct weir_str key);

#endif
