/*
 * resp_group.c - consumer groups in the shape of Redis: XREADGROUP, XACK, XGROUP, XPENDING, XCLAIM, XAUTOCLAIM, XINFO.
 *
 * XREADGROUP: positions of all streams (and histories), then one read of each, then one take for each that has events;
 * what another consumer took first is left out, and when that was all, it reads again. Each step that changes a group
 * is a transaction of it (core/group.h), answered when durable: an acknowledgement that was answered is not lost.
 * SPDX-License-Identifier: MIT
 */
#include "net/resp_job.h"

#include <stdio.h>
#include <stdlib.h>

#define NOGROUP_READ " in XREADGROUP with GROUP option"

/* ---- small things ---- */

static struct weir_str id_bytes(struct job *job, struct event_id id)
{
    return arena_copy(&job->arena, (struct weir_str){ (const char *)&id, sizeof(id) });
}

static struct event_id id_at(struct weir_str ids, size_t i)
{
    struct event_id id = { 0, 0 };
    if (ids.len >= (i + 1) * sizeof(id)) memcpy(&id, ids.ptr + i * sizeof(id), sizeof(id));
    return id;
}

/* Ids of an answer, kept beyond it. */
static struct event_id *ids_keep(struct job *job, struct weir_str ids, size_t *count)
{
    *count = ids.len / sizeof(struct event_id);
    struct event_id *kept = arena_alloc(&job->arena, ids.len + 1);
    if (ids.len > 0) memcpy(kept, ids.ptr, ids.len);
    return kept;
}

static struct weir_str group_key(struct job *job, const struct stream *stream)
{
    return arena_printf(&job->arena, "%.*s/%.*s", STR_ARG(stream->name), STR_ARG(job->group));
}

/* A job on one group: stream and group are arguments `at` and `at` + 1. NULL after answering. */
static struct job *group_begin(struct call *call, const struct resp_command *command, uint32_t at,
                               const char *nogroup)
{
    const struct stream *stream = stream_for(call, command->args[at]);
    if (!stream || !arg_name(call, command->args[at + 1], "group")) return NULL;
    struct job *job = job_begin(call);
    job->stream = stream;
    job->stream_name = stream->name;
    job->group = arena_copy(&job->arena, command->args[at + 1]);
    job->key = group_key(job, stream);
    job->nogroup = nogroup;
    return job;
}

static bool consumer_read(struct call *call, struct job *job, struct weir_str name)
{
    if (!arg_name(call, name, "consumer")) return false;
    job->consumer = arena_copy(&job->arena, name);
    return true;
}

/* Ids among the arguments; false after answering. */
static bool ids_read(struct call *call, struct job *job, const struct resp_command *command,
                     uint32_t from, uint32_t to, struct weir_str *out)
{
    struct event_id *ids = arena_alloc(&job->arena, (to - from + 1) * sizeof(*ids));
    for (uint32_t i = from; i < to; i++)
        if (!arg_id(call, command->args[i], &ids[i - from])) return false;
    *out = (struct weir_str){ (const char *)ids, (to - from) * sizeof(*ids) };
    return true;
}

static void answer_ids(struct job *job, struct weir_str ids)
{
    size_t count = ids.len / sizeof(struct event_id);
    resp_add_array(&job->out, count);
    for (size_t i = 0; i < count; i++) resp_add_id(&job->out, id_at(ids, i));
}

static void answer_ok(struct call *call)
{
    resp_add_simple(&job_of(call)->out, "OK");
    job_answer(call);
}

static void answer_known(struct call *call)
{
    resp_add_int(&job_of(call)->out, job_result(call)->known);
    job_answer(call);
}

static void answer_count(struct call *call)
{
    resp_add_int(&job_of(call)->out, job_result(call)->count);
    job_answer(call);
}

/* ---- XREADGROUP ---- */

static void position_step(struct call *call);
static void take_step(struct call *call);

static void group_filled(struct call *call)
{
    struct job *job = job_of(call);
    job->at = 0;
    take_step(call);
}

static void take_done(struct call *call)
{
    struct job *job = job_of(call);
    struct part *part = &job->parts[job->at];
    const struct group_answer *answer = job_result(call);
    uint32_t skip = part->item_count - (uint32_t)answer->count;
    for (const struct feed_item *item = part->items; item; item = item->next) {
        if (skip > 0) {
            skip--;
            continue;
        }
        resp_add_event(&part->out, call->protocol, part->stream, item, &call->conn->net->judge);
        part->shown++;
    }
    part->from = id_at(answer->from, 0);
    items_free(&part->items);
    job->at++;
    take_step(call);
}

static void take_step(struct call *call)
{
    struct job *job = job_of(call);
    bool shown = false;
    while (job->at < job->part_count && !job->parts[job->at].items) job->at++;
    if (job->at < job->part_count) {
        struct part *part = &job->parts[job->at];
        struct event_id *ids = arena_alloc(&job->round, part->item_count * sizeof(*ids));
        size_t n = 0;
        for (const struct feed_item *item = part->items; item; item = item->next)
            ids[n++] = item->id;
        struct group_args args = { .name = job->consumer,
                                   .from = { (const char *)&part->from, sizeof(part->from) },
                                   .ids = { (const char *)ids, n * sizeof(*ids) },
                                   .quiet = job->quiet };
        job_ask(call, GROUP_TAKE, part->key, &args, take_done);
        return;
    }
    for (uint32_t i = 0; i < job->part_count; i++) shown = shown || job->parts[i].shown > 0;
    arena_reset(&job->round);
    if (shown || job->history || !job->found) parts_answer(call);
    else parts_fill(call, group_filled); /* others were faster */
}

/* Bodies of what this consumer has pending, stream by stream. */
static void history_step(struct call *call);

static void history_fetched(struct call *call)
{
    struct job *job = job_of(call);
    struct part *part = &job->parts[job->at++];
    part->out = job->out;
    part->shown = (uint32_t)job->shown;
    job->out = (struct buf){ 0 };
    job->shown = 0;
    history_step(call);
}

static void history_step(struct call *call)
{
    struct job *job = job_of(call);
    while (job->at < job->part_count && !job->parts[job->at].ids) job->at++;
    if (job->at == job->part_count) {
        bool fresh = false;
        for (uint32_t i = 0; i < job->part_count; i++) fresh = fresh || job->parts[i].fresh;
        if (fresh) parts_fill(call, group_filled);
        else parts_answer(call);
        return;
    }
    struct part *part = &job->parts[job->at];
    job->stream = part->stream;
    job->ids = part->ids;
    job->id_count = part->id_count;
    job->gone_shown = true;
    job_fetch(call, history_fetched);
}

static void consumer_made(struct call *call)
{
    job_of(call)->at++;
    position_step(call);
}

static void position_done(struct call *call)
{
    struct job *job = job_of(call);
    struct part *part = &job->parts[job->at];
    const struct group_answer *answer = job_result(call);
    if (!part->fresh) {
        part->ids = ids_keep(job, answer->ids, &part->id_count);
    } else {
        part->from = id_at(answer->from, 0);
        if (!answer->known) {
            job_ask(call, GROUP_CONSUMER, part->key, &(struct group_args){ .name = job->consumer },
                    consumer_made);
            return;
        }
    }
    job->at++;
    position_step(call);
}

static void position_step(struct call *call)
{
    struct job *job = job_of(call);
    if (job->at == job->part_count) {
        job->at = 0;
        history_step(call);
        return;
    }
    struct part *part = &job->parts[job->at];
    job->stream_name = part->stream->name;
    struct group_args args = { .name = job->consumer,
                               .from = id_bytes(job, part->from),
                               .count = (int64_t)job->count };
    job_ask(call, part->fresh ? GROUP_POSITION : GROUP_AGAIN, part->key, &args, position_done);
}

void resp_xreadgroup(struct call *call, const struct resp_command *command)
{
    struct job *job = job_begin(call);
    uint32_t at = parts_options(call, command, true);
    if (at == 0 || !parts_read(call, command, at, true)) return;
    if (job->count == 0 || job->count > GROUP_BATCH_MAX) job->count = GROUP_BATCH_MAX;
    job->nogroup = NOGROUP_READ;
    for (uint32_t i = 0; i < job->part_count; i++)
        job->parts[i].key = group_key(job, job->parts[i].stream);
    position_step(call);
}

/* ---- XACK ---- */

void resp_xack(struct call *call, const struct resp_command *command)
{
    struct job *job = group_begin(call, command, 1, "");
    struct group_args args = { 0 };
    if (!job || !ids_read(call, job, command, 3, command->count, &args.ids)) return;
    job->nogroup_is_none = true;
    job_ask(call, GROUP_ACK, job->key, &args, answer_count);
}

/* ---- XGROUP ---- */

static void create_ask(struct call *call);

static void create_done(struct call *call)
{
    struct job *job = job_of(call);
    if (job->op == GROUP_CREATE && job_result(call)->more) create_ask(call);
    else answer_ok(call);
}

static void create_ask(struct call *call)
{
    struct job *job = job_of(call);
    struct group_args args = { .from = { (const char *)&job->cursor, sizeof(job->cursor) },
                               .count = job->sum };
    job_ask(call, job->found ? GROUP_CREATE : GROUP_SETID, job->key, &args, create_done);
}

static void create_placed(struct call *call, struct feed_read *read)
{
    job_of(call)->cursor = read->info.last;
    create_ask(call);
}

/* CREATE stream group id|$ [MKSTREAM] [ENTRIESREAD n], SETID stream group id|$ [ENTRIESREAD n] */
static void group_place(struct call *call, const struct resp_command *command, struct job *job)
{
    struct weir_str id = command->args[4];
    bool create = resp_is(command->args[1], "CREATE"), known = false;
    job->found = create;
    for (uint32_t i = 5; i < command->count; i++) {
        if (create && resp_is(command->args[i], "MKSTREAM")) continue;
        if (!resp_is(command->args[i], "ENTRIESREAD") || i + 1 == command->count) {
            arg_syntax(call);
            return;
        }
        if (!arg_number(call, command->args[++i], &job->sum)) return;
        if (job->sum < -1) {
            resp_answer_error(call, "ERR", "value for ENTRIESREAD must be positive or -1");
            return;
        }
        known = true;
    }
    if (str_eq(id, STR("$"))) {
        if (!known) job->sum = -1;
        (void)job_read(call, &(struct feed_read){ .op = FEED_INFO, .stream = job->stream },
                       create_placed);
        return;
    }
    if (str_eq(id, STR("-"))) job->cursor = (struct event_id){ 0, 0 };
    else if (!arg_id(call, id, &job->cursor)) return;
    if (!known && (job->cursor.epoch != 0 || job->cursor.n != 0)) job->sum = -1;
    create_ask(call);
}

static void destroy_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    if (answer->known) job->sum = 1;
    if (answer->more) {
        job_ask(call, GROUP_DESTROY, job->key, &(struct group_args){ .quiet = true }, destroy_done);
        return;
    }
    resp_add_int(&job->out, job->sum);
    job_answer(call);
}

static void drop_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    job->sum += answer->count;
    if (answer->more) {
        job_ask(call, GROUP_DROP, job->key, &(struct group_args){ .name = job->consumer },
                drop_done);
        return;
    }
    resp_add_int(&job->out, job->sum);
    job_answer(call);
}

static void answer_lines(struct call *call, const char *const *lines, size_t count)
{
    struct buf *out = resp_scratch(call);
    resp_add_array(out, count);
    for (size_t i = 0; i < count; i++) resp_add_simple(out, lines[i]);
    resp_answer_scratch(call);
}

static void unknown_subcommand(struct call *call, const char *name, struct weir_str verb)
{
    resp_answer_error(call, "ERR",
                      "unknown subcommand or wrong number of arguments for '%.*s'. Try %s HELP.",
                      (int)(verb.len < 64 ? verb.len : 64), verb.ptr, name);
}

void resp_xgroup(struct call *call, const struct resp_command *command)
{
    static const char *const help[] = {
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <stream> <group> <id|$> [MKSTREAM] [ENTRIESREAD n]",
        "SETID <stream> <group> <id|$> [ENTRIESREAD n]",
        "DESTROY <stream> <group>",
        "CREATECONSUMER <stream> <group> <consumer>",
        "DELCONSUMER <stream> <group> <consumer>",
        "HELP",
    };
    struct weir_str verb = command->args[1];
    uint32_t count = command->count;
    bool place = (resp_is(verb, "CREATE") && count >= 5 && count <= 8) ||
                 (resp_is(verb, "SETID") && (count == 5 || count == 7));
    bool destroy = resp_is(verb, "DESTROY") && count == 4;
    bool make = resp_is(verb, "CREATECONSUMER") && count == 5;
    bool drop = resp_is(verb, "DELCONSUMER") && count == 5;
    if (resp_is(verb, "HELP") && count == 2) {
        answer_lines(call, help, sizeof(help) / sizeof(help[0]));
        return;
    }
    if (!place && !destroy && !make && !drop) {
        unknown_subcommand(call, "XGROUP", verb);
        return;
    }
    struct job *job = group_begin(call, command, 2, NULL);
    if (!job) return;
    if (place) {
        group_place(call, command, job);
    } else if (destroy) {
        job_ask(call, GROUP_DESTROY, job->key, &(struct group_args){ 0 }, destroy_done);
    } else if (consumer_read(call, job, command->args[4])) {
        job_ask(call, make ? GROUP_CONSUMER : GROUP_DROP, job->key,
                &(struct group_args){ .name = job->consumer }, make ? answer_known : drop_done);
    }
}

/* ---- XPENDING ---- */

static void summary_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    const struct group_info *infos = answer->infos.items;
    struct buf *out = &job->out;
    char number[24];
    resp_add_array(out, 4);
    resp_add_int(out, answer->count);
    if (answer->count == 0) {
        resp_add_null(out, call->protocol);
        resp_add_null(out, call->protocol);
        resp_add_null_array(out, call->protocol);
        job_answer(call);
        return;
    }
    resp_add_id(out, id_at(answer->from, 0));
    resp_add_id(out, id_at(answer->to, 0));
    resp_add_array(out, answer->infos.count);
    for (size_t i = 0; i < answer->infos.count; i++) {
        snprintf(number, sizeof(number), "%lld", (long long)infos[i].pending);
        resp_add_array(out, 2);
        resp_add_bulk(out, infos[i].name);
        resp_add_bulk(out, str_of(number)); /* a bulk in Redis, too */
    }
    job_answer(call);
}

static void pending_ask(struct call *call);

static void pending_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    const struct group_entry *entries = answer->entries.items;
    for (size_t i = 0; i < answer->entries.count; i++) {
        resp_add_array(&job->out, 4);
        resp_add_id(&job->out, id_at(entries[i].id, 0));
        resp_add_bulk(&job->out, entries[i].consumer);
        resp_add_int(&job->out, entries[i].idle_ms);
        resp_add_int(&job->out, entries[i].tries);
    }
    job->shown += answer->entries.count;
    job->count -= answer->entries.count;
    job->question.from = event_id_next(id_at(answer->to, 0));
    if (job->out.len > answer_bytes_max(call)) {
        call_refuse(call, WEIR_TOOBIG,
                    "the list is above output_bytes_max / 4 = %zu bytes: give a smaller count",
                    answer_bytes_max(call));
        return;
    }
    if (job->count > 0 && answer->more) {
        pending_ask(call);
        return;
    }
    struct buf whole = { 0 };
    resp_add_array(&whole, job->shown);
    buf_add_str(&whole, buf_str(&job->out));
    buf_free(&job->out);
    job->out = whole;
    job_answer(call);
}

static void pending_ask(struct call *call)
{
    struct job *job = job_of(call);
    struct feed_read *q = &job->question;
    struct group_args args = { .name = job->consumer,
                               .from = { (const char *)&q->from, sizeof(q->from) },
                               .to = { (const char *)&q->to, sizeof(q->to) },
                               .count = job->count < GROUP_BATCH_MAX ? (int64_t)job->count
                                                                     : (int64_t)GROUP_BATCH_MAX,
                               .idle_ms = job->sum };
    job_ask(call, GROUP_PENDING, job->key, &args, pending_done);
}

void resp_xpending(struct call *call, const struct resp_command *command)
{
    struct job *job = group_begin(call, command, 1, "");
    uint32_t at = 3;
    int64_t count;
    if (!job) return;
    if (command->count == 3) {
        job_ask(call, GROUP_SUMMARY, job->key, &(struct group_args){ 0 }, summary_done);
        return;
    }
    if (resp_is(command->args[at], "IDLE") && command->count > 4) {
        if (!arg_number(call, command->args[4], &job->sum)) return;
        at = 5;
    }
    if (command->count != at + 3 && command->count != at + 4) {
        arg_syntax(call);
        return;
    }
    if (!arg_range(call, command->args[at], command->args[at + 1], &job->question.from,
                   &job->question.to) ||
        !arg_number(call, command->args[at + 2], &count))
        return;
    if (command->count == at + 4 && !consumer_read(call, job, command->args[at + 3])) return;
    job->count = count < 0 ? 0 : (uint64_t)count;
    if (job->count == 0) {
        resp_add_array(&job->out, 0);
        job_answer(call);
        return;
    }
    pending_ask(call);
}

/* ---- XCLAIM, XAUTOCLAIM ---- */

static void claim_answer(struct call *call)
{
    struct job *job = job_of(call);
    struct buf shown = job->out;
    job->out = (struct buf){ 0 };
    if (job->reverse) { /* XAUTOCLAIM */
        resp_add_array(&job->out, 3);
        resp_add_id(&job->out, job->cursor);
    }
    resp_add_array(&job->out, job->shown);
    buf_add_str(&job->out, buf_str(&shown));
    if (job->reverse) answer_ids(job, buf_str(&job->gone));
    buf_free(&shown);
    job_answer(call);
}

/* What was claimed and is no more is done with. */
static void claim_fetched(struct call *call)
{
    struct job *job = job_of(call);
    if (job->gone.len == 0) {
        claim_answer(call);
        return;
    }
    job_ask(call, GROUP_ACK, job->key, &(struct group_args){ .ids = buf_str(&job->gone) },
            claim_answer);
}

static void claim_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    job->cursor = id_at(answer->to, 0);
    job->ids = ids_keep(job, answer->ids, &job->id_count);
    if (!job->quiet) {
        job_fetch(call, claim_fetched);
        return;
    }
    for (size_t i = 0; i < job->id_count; i++) resp_add_id(&job->out, job->ids[i]);
    job->shown = job->id_count;
    claim_answer(call);
}

static int id_order(const void *a, const void *b)
{
    return event_id_cmp(*(const struct event_id *)a, *(const struct event_id *)b);
}

/* In order, each once: they are fetched so. */
static size_t ids_sort(struct event_id *ids, size_t count)
{
    size_t kept = 0;
    qsort(ids, count, sizeof(*ids), id_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || event_id_cmp(ids[kept - 1], ids[i]) != 0) ids[kept++] = ids[i];
    return kept;
}

/* [IDLE ms] [TIME ms] [RETRYCOUNT n] [JUSTID] [LASTID id]; false after answering. */
static bool claim_options(struct call *call, struct job *job, const struct resp_command *command,
                          uint32_t at, struct group_args *args)
{
    struct event_id last;
    int64_t ms;
    args->time_ms = WEIR_NIL;
    args->tries = -1;
    for (; at < command->count; at++) {
        struct weir_str word = command->args[at];
        bool more = at + 1 < command->count;
        if (resp_is(word, "JUSTID")) {
            job->quiet = args->quiet = true;
        } else if (resp_is(word, "FORCE")) {
            resp_answer_error(call, "ERR",
                              "FORCE is refused: only what the group has delivered can be claimed");
            return false;
        } else if (resp_is(word, "IDLE") && more) {
            if (!arg_number(call, command->args[++at], &ms)) return false;
            struct env *env = call->conn->net->env;
            args->time_ms = env->wall_ms(env) - (ms > 0 ? ms : 0);
        } else if (resp_is(word, "TIME") && more) {
            if (!arg_number(call, command->args[++at], &args->time_ms)) return false;
        } else if (resp_is(word, "RETRYCOUNT") && more) {
            if (!arg_number(call, command->args[++at], &args->tries)) return false;
            if (args->tries < 0) args->tries = 0;
        } else if (resp_is(word, "LASTID") && more) {
            if (!arg_id(call, command->args[++at], &last)) return false;
            args->from = id_bytes(job, last);
        } else {
            resp_answer_error(call, "ERR", "Unrecognized XCLAIM option '%.*s'",
                              (int)(word.len < 64 ? word.len : 64), word.ptr);
            return false;
        }
    }
    return true;
}

static bool idle_read(struct call *call, struct weir_str text, const char *name, int64_t *ms)
{
    struct event_id n;
    bool negative = text.len > 1 && text.ptr[0] == '-';
    struct weir_str digits = { text.ptr + negative, text.len - negative };
    if (digits.len > 15 || memchr(digits.ptr, '-', digits.len) || !event_id_read(digits, 0, &n)) {
        resp_answer_error(call, "ERR", "Invalid min-idle-time argument for %s", name);
        return false;
    }
    *ms = negative ? 0 : (int64_t)n.epoch;
    return true;
}

void resp_xclaim(struct call *call, const struct resp_command *command)
{
    struct job *job = group_begin(call, command, 1, "");
    struct group_args args = { 0 };
    struct event_id id;
    uint32_t end = 5;
    if (!job || !consumer_read(call, job, command->args[3]) ||
        !idle_read(call, command->args[4], "XCLAIM", &args.idle_ms))
        return;
    while (end < command->count && event_id_read(command->args[end], 0, &id)) end++;
    if (end == 5) {
        (void)arg_id(call, command->args[5], &id);
        return;
    }
    if (!ids_read(call, job, command, 5, end, &args.ids) ||
        !claim_options(call, job, command, end, &args))
        return;
    args.ids.len = ids_sort((struct event_id *)(uintptr_t)args.ids.ptr, end - 5) * sizeof(id);
    args.name = job->consumer;
    job_ask(call, GROUP_CLAIM, job->key, &args, claim_done);
}

void resp_xautoclaim(struct call *call, const struct resp_command *command)
{
    struct job *job = group_begin(call, command, 1, "");
    struct group_args args = { .count = 100 };
    struct event_id from, open;
    if (!job || !consumer_read(call, job, command->args[3]) ||
        !idle_read(call, command->args[4], "XAUTOCLAIM", &args.idle_ms) ||
        !arg_range(call, command->args[5], STR("+"), &from, &open))
        return;
    for (uint32_t i = 6; i < command->count; i++) {
        if (resp_is(command->args[i], "JUSTID")) {
            job->quiet = args.quiet = true;
        } else if (resp_is(command->args[i], "COUNT") && i + 1 < command->count) {
            if (!arg_number(call, command->args[++i], &args.count)) return;
            if (args.count < 1) {
                resp_answer_error(call, "ERR", "COUNT must be > 0");
                return;
            }
        } else {
            arg_syntax(call);
            return;
        }
    }
    job->reverse = true; /* the form of its answer */
    args.name = job->consumer;
    args.from = id_bytes(job, from);
    job_ask(call, GROUP_AUTOCLAIM, job->key, &args, claim_done);
}

/* ---- XINFO ---- */

static void add_number(struct buf *out, const char *name, int64_t n)
{
    resp_add_bulk(out, str_of(name));
    resp_add_int(out, n);
}

static void add_text(struct buf *out, const char *name, struct weir_str text)
{
    resp_add_bulk(out, str_of(name));
    resp_add_bulk(out, text);
}

static void consumers_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    const struct group_info *infos = answer->infos.items;
    resp_add_array(&job->out, answer->infos.count);
    for (size_t i = 0; i < answer->infos.count; i++) {
        resp_add_map(&job->out, call->protocol, 4);
        add_text(&job->out, "name", infos[i].name);
        add_number(&job->out, "pending", infos[i].pending);
        add_number(&job->out, "idle", infos[i].idle_ms);
        add_number(&job->out, "inactive", infos[i].inactive_ms);
    }
    job_answer(call);
}

static void add_group(struct buf *out, uint8_t protocol, const struct group_info *info,
                      struct event_id newest)
{
    struct event_id last = { 0, 0 };
    (void)event_id_read(info->last, 0, &last);
    resp_add_map(out, protocol, 6);
    add_text(out, "name", info->name);
    add_number(out, "consumers", info->consumers);
    add_number(out, "pending", info->pending);
    add_text(out, "last-delivered-id", info->last);
    resp_add_bulk(out, STR("entries-read"));
    if (info->read >= 0) resp_add_int(out, info->read);
    else resp_add_null(out, protocol);
    resp_add_bulk(out, STR("lag"));
    if (event_id_cmp(last, newest) >= 0) resp_add_int(out, 0);
    else resp_add_null(out, protocol); /* counting would read all there is */
}

static void groups_done(struct call *call)
{
    struct job *job = job_of(call);
    const struct group_answer *answer = job_result(call);
    const struct group_info *infos = answer->infos.items;
    resp_add_array(&job->out, answer->infos.count);
    for (size_t i = 0; i < answer->infos.count; i++)
        add_group(&job->out, call->protocol, &infos[i], job->info.last);
    job_answer(call);
}

static void stream_done(struct call *call)
{
    struct job *job = job_of(call);
    struct buf *out = &job->out;
    char id[EVENT_ID_TEXT_MAX];
    const struct feed_item *ends[] = { job->first, job->last };
    const struct event_log_info *info = &job->info;
    resp_add_map(out, call->protocol, 10);
    add_number(out, "length", (int64_t)info->count);
    add_number(out, "radix-tree-keys", (int64_t)info->files);
    add_number(out, "radix-tree-nodes", (int64_t)info->files);
    add_text(out, "last-generated-id", (struct weir_str){ id, event_id_write(info->last, id) });
    add_text(out, "max-deleted-entry-id", STR("0-0"));
    add_number(out, "entries-added", (int64_t)info->count);
    add_text(out, "recorded-first-entry-id",
             (struct weir_str){ id, event_id_write(info->first, id) });
    add_number(out, "groups", (int64_t)job_result(call)->infos.count);
    for (int i = 0; i < 2; i++) {
        resp_add_bulk(out, i == 0 ? STR("first-entry") : STR("last-entry"));
        if (ends[i])
            resp_add_event(out, call->protocol, job->stream, ends[i], &call->conn->net->judge);
        else resp_add_null(out, call->protocol);
    }
    job_answer(call);
}

static void info_read(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    if (!job_read_is_good(call, read)) return;
    if (read->op == FEED_INFO) {
        job->info = read->info;
    } else {
        *(read->reverse ? &job->last : &job->first) = read->items;
        read->items = NULL;
    }
    if (--job->home > 0) return;
    struct weir_str index = arena_printf(&job->arena, "%.*s/", STR_ARG(job->stream->name));
    job_ask(call, GROUP_LIST, index, &(struct group_args){ 0 },
            job->found ? groups_done : stream_done);
}

/* The stream's figures and, for STREAM, its ends; then its groups. */
static void info_begin(struct call *call, const struct stream *stream, bool groups)
{
    struct job *job = job_begin(call);
    job->stream = stream;
    job->found = groups;
    job->home = groups ? 1 : 3;
    struct feed_read ends = { .op = FEED_READ, .stream = stream, .count = 1 };
    if (!job_read(call, &(struct feed_read){ .op = FEED_INFO, .stream = stream }, info_read) ||
        groups)
        return;
    if (!job_read(call, &ends, info_read)) return;
    ends.reverse = true;
    (void)job_read(call, &ends, info_read);
}

void resp_xinfo(struct call *call, const struct resp_command *command)
{
    static const char *const help[] = {
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <stream> <group>",
        "GROUPS <stream>",
        "STREAM <stream>",
        "HELP",
    };
    struct weir_str verb = command->args[1];
    bool groups = resp_is(verb, "GROUPS") && command->count == 3;
    bool figures = resp_is(verb, "STREAM") && command->count >= 3;
    if (resp_is(verb, "HELP") && command->count == 2) {
        answer_lines(call, help, sizeof(help) / sizeof(help[0]));
    } else if (figures && command->count > 3) {
        resp_answer_error(
            call, "ERR",
            "XINFO STREAM takes the stream only; FULL is not there: see XINFO GROUPS, "
            "XINFO CONSUMERS, XPENDING");
    } else if (groups || figures) {
        const struct stream *stream = stream_for(call, command->args[2]);
        if (stream) info_begin(call, stream, groups);
    } else if (resp_is(verb, "CONSUMERS") && command->count == 4) {
        struct job *job = group_begin(call, command, 2, NULL);
        if (job)
            job_ask(call, GROUP_CONSUMERS, job->key, &(struct group_args){ 0 }, consumers_done);
    } else {
        unknown_subcommand(call, "XINFO", verb);
    }
}
