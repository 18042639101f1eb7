/*
 * workload.h - what a workload is: an application, requests to it, and a judge of what they left.
 *
 * A workload is one table of functions in a file of its own; it knows neither doors nor clocks. A run goes through it in
 * four passes: load (requests 0 to load_count-1, each to succeed), the measured requests (`next`, each answer to
 * `judge`), verify (requests 0 to verify_count-1, each answer to `verified`), and `conclude`, which says whether the invariant holds.
 * The last three may repeat. All on one thread at a time, but see `parallel`; requests of a pass run at the same time and are answered in any order.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BENCH_WORKLOAD_H
#define WEIR_BENCH_WORKLOAD_H

#include "base/mem.h"
#include "bench/bench.h"
#include "bench/random.h"

#define SHOT_ARGS_MAX 8u
#define SHOT_KEY_BYTES_MAX 256u
#define SHOT_TEXT_BYTES_MAX 1200u
#define SHOT_CELLS_MAX 48u
#define SHOT_NOTES_MAX 8u
#define WORKLOAD_KINDS_MAX 8u
#define ANSWER_NUMBERS_MAX 1024u

/* A handler that requests go to. */
struct verb {
    const char *type, *handler;
    /* Over RESP, for a server of another kind: these words in front of the key, separated by blanks, and none behind it.
       NULL: CALL type key handler. */
    const char *words;
};

enum shot_arg_kind {
    SHOT_INT,
    SHOT_TEXT, /* also keys of references */
    SHOT_ROWS  /* a list of records of whole numbers */
};
struct shot_arg {
    enum shot_arg_kind kind;
    int64_t n;                /* the number; of rows: how many */
    uint32_t at, len;         /* text: in shot->text; rows: in shot->cell */
    uint32_t columns;         /* of rows */
    const char *const *names; /* of the columns */
};

/* One request, from `next` until its answer was judged. */
struct shot {
    uint32_t verb; /* place in workload->verbs */
    uint32_t kind; /* place in workload->kinds: counted as */
    uint32_t key_len, arg_count, text_len, cell_count;
    uint64_t due_ns;              /* the driver's */
    struct shot *next;            /* the door's */
    int64_t note[SHOT_NOTES_MAX]; /* the workload's own, for its judge */
    char key[SHOT_KEY_BYTES_MAX];
    struct shot_arg arg[SHOT_ARGS_MAX];
    int64_t cell[SHOT_CELLS_MAX];
    char text[SHOT_TEXT_BYTES_MAX];
};

void shot_begin(struct shot *shot, uint32_t verb, uint32_t kind);
void shot_key(struct shot *shot, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** "<letter><n>", faster than by printf. */
void shot_key_number(struct shot *shot, char letter, uint64_t n);
void shot_int(struct shot *shot, int64_t n);
void shot_text(struct shot *shot, struct weir_str text);
void shot_text_number(struct shot *shot, char letter, uint64_t n);
/** The cells of `rows` records follow in shot->cell; returns them to be filled in. */
int64_t *shot_rows(struct shot *shot, uint32_t rows, const char *const *names, uint32_t columns);

enum answer_kind {
    ANSWER_NIL,
    ANSWER_NUMBER,
    ANSWER_TEXT,
    ANSWER_NUMBERS, /* a list, its lists and texts left out */
    ANSWER_ERROR
};
struct answer {
    enum answer_kind kind;
    int64_t number;
    const int64_t *numbers;
    uint32_t count, items; /* numbers; all elements, of what is nested, too */
    uint32_t rows;         /* elements of the list itself */
    struct weir_str text;  /* of an error "CODE detail": all of it */
    struct weir_str
        word; /* of an error: the application's own word, else the engine's; lower case not guaranteed */
};

enum outcome {
    OUTCOME_DONE,
    OUTCOME_REFUSED, /* by a rule of the workload, which asks for it: nothing happened */
    OUTCOME_FAILED,  /* the server could not: nothing happened */
    OUTCOME_UNKNOWN, /* nobody knows: the invariant cannot be judged any more */
    OUTCOME_WRONG    /* no answer of this handler */
};

/* What a workload is told when it begins. */
struct workload_setup {
    const struct bench_options *options;
    uint32_t shards; /* of the server */
    char why[256];   /* out: what is wrong with the settings */
};

/* Registers types and handlers. */
typedef enum weir_status workload_native_fn(struct weir_app *app);

struct workload {
    const char *name, *about;
    const struct bench_param *const *params; /* that it takes; ends with NULL */
    const struct verb *verbs;                /* ends with a zeroed one */
    const char *const *kinds;                /* of measured requests; ends with NULL */
    const char *lua;                         /* the application */
    bool
        settles; /* verified only when its messages and events, of one follower each, are worked off */
    bool
        parallel; /* `next` and `judge` may be on several threads at once, each with a `random` of its own */
    workload_native_fn *native; /* the same in C; NULL: there is none */
    /** Another workload for some settings; may be NULL. NULL with setup->why. */
    const struct workload *(*choose)(struct workload_setup *setup);
    /** NULL with setup->why. */
    void *(*create)(struct workload_setup *setup);
    void (*destroy)(void *self);
    /** Settings as lines "name value" for the report. */
    uint64_t (*load_count)(void *self);
    void (*load)(void *self, uint64_t place, struct shot *shot);
    void (*next)(void *self, struct random *random, struct shot *shot);
    enum outcome (*judge)(void *self, const struct shot *shot, const struct answer *answer);
    uint64_t (*verify_count)(void *self);
    void (*verify)(void *self, uint64_t place, struct shot *shot);
    /** False: not what this place must answer; conclude() then says so. */
    void (*verified)(void *self, const struct shot *shot, const struct answer *answer);
    /** Whether the invariant holds; what was compared, or what is wrong, as a sentence. */
    bool (*conclude)(void *self, struct buf *what);
};

/** For most answers that are no success: overloaded, timeout and their like are FAILED, `unknown` is UNKNOWN, `rule` (may be
 *  NULL) is REFUSED, all else WRONG. */
enum outcome answer_outcome(const struct answer *answer, const char *rule);
bool answer_is_error(const struct answer *answer, const char *word);

/** The value of a setting, or `standard`. False with setup->why. */
bool setting_number(struct workload_setup *setup, const char *name, uint64_t standard, uint64_t min,
                    uint64_t max, uint64_t *out);
bool setting_share(struct workload_setup *setup, const char *name, double standard, double max,
                   double *out);
/** One of the words; ends with NULL. */
bool setting_word(struct workload_setup *setup, const char *name, const char *const *words,
                  uint32_t *place);
const char *setting_text(const struct workload_setup *setup, const char *name);

/** The shard that an entity with this key lives on (docs/formats/rows.md). */
uint32_t key_shard(struct weir_str key, uint32_t shards);

/** NULL-terminated. */
extern const struct workload *const workloads[];
/** NULL when there is none. */
const struct workload *workload_named(const char *name);
extern const struct workload workload_smallbank, workload_ycsb, workload_ycsb_rows, workload_tpcc,
    workload_travel, workload_voter, workload_fan, workload_market, workload_hot;
workload_native_fn smallbank_native, tpcc_native, ycsb_native, fan_native, hot_native;
/** Adds the entities, then the verbs that their handlers use. */
enum weir_status native_add(struct weir_app *app, const struct weir_entity *entities, size_t count,
                            struct weir_verb *const *used, size_t used_count);
/* An account that holds no less than 0, and two handlers of such: `open` with what it begins with, `balance`. */
struct native_account {
    int64_t balance;
};
extern const struct weir_field native_account_fields[];
#define NATIVE_ACCOUNT WEIR_SHAPE(struct native_account, native_account_fields)
weir_handler_fn native_account_open, native_account_balance;

/* Options that several take. */
extern const struct bench_param param_keys, param_zipf, param_cross, param_hot, param_initial,
    param_mix;

#endif
