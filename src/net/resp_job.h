/*
 * resp_job.h - what the commands on streams share: a call of several steps and what it gathers.
 *
 * A job is made when its command is parsed, asks groups (job_ask()) and reads streams (job_read(), job_fetch()) step by
 * step, and ends with job_answer() or a refusal. What must outlive a step is copied into its arena. An answer, refusals
 * included, may end the job at once: nothing of it is touched after one.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_NET_RESP_JOB_H
#define WEIR_NET_RESP_JOB_H

#include "core/group.h"
#include "net/net_int.h"

#define READ_STREAMS_MAX 32u
#define READ_ANSWER_BYTES ((size_t)256 * 1024) /* of one stream in one answer of XREAD */
#define NAME_BYTES_MAX 255u                    /* of a group, of a consumer */

/* One stream of an XREAD or XREADGROUP. */
struct part {
    const struct stream *stream;
    struct weir_str key;     /* the group's */
    struct event_id from;    /* events after it; of a group: its position */
    bool now, newest, fresh; /* $, +, > */
    struct event_id *ids;    /* of a history */
    size_t id_count;
    struct feed_item *items; /* read, its own */
    uint32_t item_count, shown;
    struct buf out;
};

typedef void step_fn(struct call *call);

struct job {
    struct arena arena;
    struct arena round; /* of one attempt to take */
    struct part *parts;
    uint32_t part_count, at;
    uint32_t home; /* reads still out */
    struct weir_str stream_name, group, consumer, key;
    uint64_t count, until_ns;
    bool blocks, quiet, reverse, found, history;
    enum weir_status failed; /* of a read */
    /* texts for a group that is not there */
    const char *nogroup;
    bool nogroup_is_none; /* ... answers 0 instead */
    /* asking */
    struct group_args args;
    enum group_op op;
    step_fn *then;
    /* gathering */
    struct feed_read question;
    struct buf out;
    uint64_t shown;
    size_t bytes; /* that the parts' events come to, at most */
    struct event_id cursor;
    int64_t sum;
    /* fetching events by their ids */
    const struct stream *stream;
    struct event_id *ids;
    size_t id_count, id_at;
    uint32_t want;
    bool gone_shown; /* as [id, nil] */
    struct buf gone; /* ids of events that are no more */
    step_fn *fetched;
    /* XINFO */
    struct event_log_info info;
    struct feed_item *first, *last;
};

/** The call's job, made; `call` is counted among requests. */
struct job *job_begin(struct call *call);
static inline struct job *job_of(struct call *call)
{
    return call->state;
}
/** What one answer may hold. */
size_t answer_bytes_max(const struct call *call);
/** job->out is the answer. */
void job_answer(struct call *call);
/** Gives a request to a group; `then` runs when it succeeded, else the call is answered. */
void job_ask(struct call *call, enum group_op op, struct weir_str key,
             const struct group_args *args, step_fn *then);
const struct group_answer *job_result(const struct call *call);
/** Reads; false after answering. */
bool job_read(struct call *call, const struct feed_read *question,
              void (*done)(struct call *, struct feed_read *));
/** Shows the events of job->stream with job->ids in job->out, then runs `fetched`; what is no more goes to `gone`. */
void job_fetch(struct call *call, step_fn *fetched);
/** False after answering that a read failed. */
bool job_read_is_good(struct call *call, const struct feed_read *read);

/** The stream of that name, or NULL after answering: there is none, or the caller may not read it. */
const struct stream *stream_for(struct call *call, struct weir_str name);
/** Arguments. False after answering. */
bool arg_id(struct call *call, struct weir_str text, struct event_id *id);
bool arg_number(struct call *call, struct weir_str text, int64_t *n);
bool arg_range(struct call *call, struct weir_str start, struct weir_str end, struct event_id *from,
               struct event_id *to);
struct event_id event_id_next(struct event_id id);
bool arg_name(struct call *call, struct weir_str name, const char *what);
void arg_syntax(struct call *call);
/** The parts of an XREAD or XREADGROUP: words from `at` on are streams, then ids. */
bool parts_read(struct call *call, const struct resp_command *command, uint32_t at, bool group);
/** The options before STREAMS; its place behind it, or 0 after answering. */
uint32_t parts_options(struct call *call, const struct resp_command *command, bool group);
/** Parts that have something to show, in their order, as the whole answer; else null. */
void parts_answer(struct call *call);
/** Reads all parts that are `fresh` or not of a group; `done` when all are home. */
void parts_fill(struct call *call, step_fn *done);
void items_free(struct feed_item **items);

#endif
