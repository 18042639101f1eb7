/*
 * resp_stream.c - streams in the shape of Redis Streams: XADD, XLEN, XRANGE, XREVRANGE, XREAD, and the steps that
 * resp_group.c builds on.
 *
 * An event's declared fields are its field and value pairs, as text. Ids are the engine's. Reads give whole events of
 * durable epochs. A range is read piece by piece until it is whole, as clients page by counting; an XREAD may give less
 * than there is, since its reader reads on. The words of errors are those of Redis 7 where it has the error.
 * SPDX-License-Identifier: MIT
 */
#include "net/resp_job.h"

#include <stdio.h>

#define RANGE_PIECE 1000u

/* ---- arguments ---- */

void arg_syntax(struct call *call)
{
    resp_answer_error(call, "ERR", "syntax error");
}

static bool invalid_id(struct call *call)
{
    resp_answer_error(call, "ERR", "Invalid stream ID specified as stream command argument");
    return false;
}

bool arg_id(struct call *call, struct weir_str text, struct event_id *id)
{
    return event_id_read(text, 0, id) || invalid_id(call);
}

static bool number_parse(struct weir_str text, int64_t *n)
{
    bool negative = text.len > 0 && text.ptr[0] == '-';
    size_t i = negative;
    int64_t value = 0;
    if (text.len == i || text.len - i > 18) return false;
    for (; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') return false;
        value = value * 10 + (text.ptr[i] - '0');
    }
    *n = negative ? -value : value;
    return true;
}

bool arg_number(struct call *call, struct weir_str text, int64_t *n)
{
    if (number_parse(text, n)) return true;
    resp_answer_error(call, "ERR", "value is not an integer or out of range");
    return false;
}

struct event_id event_id_next(struct event_id id)
{
    if (id.n < UINT64_MAX) return (struct event_id){ id.epoch, id.n + 1 };
    if (id.epoch < UINT64_MAX) return (struct event_id){ id.epoch + 1, 0 };
    return id;
}

static struct event_id id_before(struct event_id id)
{
    if (id.n > 0) return (struct event_id){ id.epoch, id.n - 1 };
    if (id.epoch > 0) return (struct event_id){ id.epoch - 1, UINT64_MAX };
    return id;
}

/* One bound; what a number alone leaves open is filled up to the bound's side. */
static bool read_bound(struct call *call, struct weir_str text, bool end, struct event_id *id)
{
    uint64_t open = end ? UINT64_MAX : 0;
    *id = (struct event_id){ open, open };
    if (str_eq(text, STR("-"))) {
        *id = (struct event_id){ 0, 0 };
        return true;
    }
    if (str_eq(text, STR("+"))) {
        *id = (struct event_id){ UINT64_MAX, UINT64_MAX };
        return true;
    }
    bool beyond = text.len > 0 && text.ptr[0] == '(';
    struct weir_str bare = { text.ptr + beyond, text.len - beyond };
    if (!event_id_read(bare, open, id)) return invalid_id(call);
    if (!beyond) return true;
    struct event_id other = end ? id_before(*id) : event_id_next(*id);
    if (event_id_cmp(other, *id) == 0) {
        resp_answer_error(call, "ERR", "invalid %s ID for the interval", end ? "end" : "start");
        return false;
    }
    *id = other;
    return true;
}

bool arg_range(struct call *call, struct weir_str start, struct weir_str end, struct event_id *from,
               struct event_id *to)
{
    return read_bound(call, start, false, from) && read_bound(call, end, true, to);
}

bool arg_name(struct call *call, struct weir_str name, const char *what)
{
    if (name.len > 0 && name.len <= NAME_BYTES_MAX && str_is_utf8(name) &&
        !memchr(name.ptr, 0, name.len))
        return true;
    call_refuse(call, WEIR_ARG, "the name of a %s is UTF-8 text of 1 to %u bytes without NUL", what,
                NAME_BYTES_MAX);
    return false;
}

static const struct stream *stream_find(struct call *call, struct weir_str name)
{
    struct net *net = call->conn->net;
    call->counted = true;
    if (!net->engine) {
        call_refuse(call, WEIR_LOADING, "replaying the log");
        return NULL;
    }
    const struct stream *stream = catalog_stream(engine_catalog(net->engine), name);
    if (!call_is_in_sight(call, stream ? stream->emit : NULL)) return NULL;
    if (!stream)
        call_refuse(call, WEIR_NOTYPE, "no stream %.*s: the application declares them",
                    (int)(name.len < 64 ? name.len : 64), name.ptr);
    return stream;
}

const struct stream *stream_for(struct call *call, struct weir_str name)
{
    const struct stream *stream = stream_find(call, name);
    return stream && call_may_read(call, stream) ? stream : NULL;
}

/* ---- XADD ---- */

static bool field_read(struct call *call, const struct shape *shape, struct weir_str name,
                       struct weir_str text, void *event, bool *given)
{
    struct problem problem;
    problem_clear(&problem);
    uint32_t i = 0;
    while (i < shape->count && !str_eq(shape->fields[i].name, name)) i++;
    int shown = (int)(name.len < 64 ? name.len : 64);
    if (i == shape->count) {
        call_refuse(call, WEIR_ARG, "an event has no field %.*s", shown, name.ptr);
        return false;
    }
    if (given[i]) {
        call_refuse(call, WEIR_ARG, "the field %.*s is given twice", shown, name.ptr);
        return false;
    }
    given[i] = true;
    struct arena *arena = &call->request.arena;
    enum weir_status st = field_keep_text(&shape->fields[i], arena_copy(arena, text), arena, event,
                                          &problem);
    if (st == WEIR_OK) return true;
    call_refuse_problem(call, st, &problem);
    return false;
}

/* The event of the pairs from `at` on; false after answering. */
static bool event_read(struct call *call, const struct stream *stream,
                       const struct resp_command *command, uint32_t at)
{
    const struct shape *shape = stream->emit->args;
    struct problem problem;
    problem_clear(&problem);
    bool given[SHAPE_FIELDS_MAX] = { false };
    char *event = arena_alloc(&call->request.arena, shape->size + 8u);
    shape_start(shape, event);
    for (; at + 1 < command->count; at += 2)
        if (!field_read(call, shape, command->args[at], command->args[at + 1], event, given))
            return false;
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (given[i] || field_may_be_left_out(f)) continue;
        call_refuse(call, WEIR_ARG, "the field %.*s is missing", STR_ARG(f->name));
        return false;
    }
    enum weir_status st = shape_judge(shape, event, false, &problem);
    if (st != WEIR_OK) {
        call_refuse_problem(call, st, &problem);
        return false;
    }
    call->request.args = event;
    call->request.handler = stream->emit;
    call->request.key = stream->name;
    if (stream->key_field < 0) return true;
    const struct field *key = &shape->fields[stream->key_field];
    call->request.key = text_load(key, event + key->offset);
    if (call->request.key.len <= KEY_BYTES_MAX) return true;
    call_refuse(call, WEIR_TOOBIG, "the event's key of %zu bytes > %u", call->request.key.len,
                KEY_BYTES_MAX);
    return false;
}

void resp_xadd(struct call *call, const struct resp_command *command)
{
    const struct stream *stream = stream_find(call, command->args[1]);
    uint32_t at = 2;
    if (!stream || !call_is_admitted(call, stream->emit)) return;
    if (resp_is(command->args[at], "NOMKSTREAM")) at++;
    struct weir_str id = command->args[at];
    if (resp_is(id, "MAXLEN") || resp_is(id, "MINID")) {
        resp_answer_error(call, "ERR",
                          "%.*s is refused: how long events are kept is declared with the stream "
                          "(keep)",
                          STR_ARG(id));
    } else if (!str_eq(id, STR("*"))) {
        resp_answer_error(call, "ERR", "the ids of events are the engine's: write *");
    } else if (command->count - at < 3 || (command->count - at) % 2 == 0) {
        resp_answer_error(call, "ERR", "wrong number of arguments for 'xadd' command");
    } else if (event_read(call, stream, command, at + 1)) {
        call_submit(call);
    }
}

void resp_xdel(struct call *call, const struct resp_command *command)
{
    resp_answer_error(call, "ERR",
                      "XDEL is refused: events are facts; they go when the stream's keep says so");
}

void resp_xtrim(struct call *call, const struct resp_command *command)
{
    resp_answer_error(call, "ERR",
                      "XTRIM is refused: how long events are kept is declared with the stream "
                      "(keep)");
}

void resp_xsetid(struct call *call, const struct resp_command *command)
{
    resp_answer_error(call, "ERR", "XSETID is refused: the ids of events are the engine's");
}

/* ---- jobs ---- */

void items_free(struct feed_item **items)
{
    struct feed_read read = { .items = *items };
    feed_read_free(&read);
    *items = NULL;
}

static void job_drop(struct call *call)
{
    struct job *job = call->state;
    for (uint32_t i = 0; i < job->part_count; i++) {
        items_free(&job->parts[i].items);
        buf_free(&job->parts[i].out);
    }
    items_free(&job->first);
    items_free(&job->last);
    buf_free(&job->out);
    buf_free(&job->gone);
    arena_free(&job->round);
    arena_free(&job->arena);
    mem_free(job);
}

struct job *job_begin(struct call *call)
{
    struct job *job = mem_alloc(sizeof(*job));
    call->state = job;
    call->dropped = job_drop;
    call->counted = true;
    return job;
}

void job_answer(struct call *call)
{
    struct job *job = job_of(call);
    if (job->blocks) call->counted = false; /* its time is no latency of ours */
    call->request.status = WEIR_OK;
    call->is_ready = true;
    call->ready = arena_copy(&call->request.arena, buf_str(&job->out));
    call_answer(call);
}

static void answer_nogroup(struct call *call)
{
    struct job *job = job_of(call);
    if (job->nogroup_is_none) {
        resp_add_int(resp_scratch(call), 0);
        resp_answer_scratch(call);
    } else if (job->nogroup) {
        resp_answer_error(call, "NOGROUP", "No such key '%.*s' or consumer group '%.*s'%s",
                          STR_ARG(job->stream_name), STR_ARG(job->group), job->nogroup);
    } else {
        resp_answer_error(call, "NOGROUP", "No such consumer group '%.*s' for key name '%.*s'",
                          STR_ARG(job->group), STR_ARG(job->stream_name));
    }
}

/* A taking that cannot go on shows what it took: that is pending, and would not come again. */
static bool parts_are_shown(const struct job *job)
{
    for (uint32_t i = 0; i < job->part_count; i++)
        if (job->parts[i].shown > 0) return true;
    return false;
}

static void job_asked(struct call *call)
{
    struct job *job = job_of(call);
    const struct request *request = &call->request;
    if (request->status == WEIR_OK) {
        job->then(call);
    } else if (job->op == GROUP_TAKE && parts_are_shown(job)) {
        parts_answer(call);
    } else if (request->status != WEIR_FAILED) {
        call_answer(call);
    } else if (str_eq(request->code, STR("nogroup"))) {
        answer_nogroup(call);
    } else if (str_eq(request->code, STR("busygroup"))) {
        resp_answer_error(call, "BUSYGROUP", "Consumer Group name already exists");
    } else {
        resp_answer_error(call, "ERR", "a stream has at most %u groups, a group %u consumers",
                          GROUPS_PER_STREAM_MAX, GROUP_CONSUMERS_MAX);
    }
}

void job_ask(struct call *call, enum group_op op, struct weir_str key,
             const struct group_args *args, step_fn *then)
{
    struct job *job = job_of(call);
    struct arena arena = call->request.arena;
    arena_reset(&arena);
    job->args = *args;
    job->op = op;
    job->then = then;
    call->request = (struct request){ .arena = arena,
                                      .handler = group_handler(
                                          engine_catalog(call->conn->net->engine), op),
                                      .key = key,
                                      .args = &job->args };
    call->resumed = job_asked;
    call_submit(call);
}

const struct group_answer *job_result(const struct call *call)
{
    return call->request.result;
}

bool job_read(struct call *call, const struct feed_read *question,
              void (*done)(struct call *, struct feed_read *))
{
    call->read_done = done;
    enum weir_status st = call_read(call, question);
    if (st == WEIR_OK) return true;
    call_refuse(call, st, "%s",
                st == WEIR_OVERLOADED ? "too many reads at once: reads_max, reads_conn_max"
                                      : weir_status_text(st));
    return false;
}

bool job_read_is_good(struct call *call, const struct feed_read *read)
{
    if (read->status == WEIR_OK) return true;
    call_refuse(call, read->status, "the events of %.*s cannot be read",
                STR_ARG(read->stream->name));
    return false;
}

/* Well below what closes a connection that does not read. */
size_t answer_bytes_max(const struct call *call)
{
    return (size_t)call->conn->net->limits.output_bytes_max / 4;
}

static void show_event(struct call *call, struct buf *out, const struct stream *stream,
                       const struct feed_item *item)
{
    resp_add_event(out, call->protocol, stream, item, &call->conn->net->judge);
}

/* `head` before what was gathered. */
static void answer_array(struct call *call)
{
    struct job *job = job_of(call);
    struct buf whole = { 0 };
    resp_add_array(&whole, job->shown);
    buf_add_str(&whole, buf_str(&job->out));
    buf_free(&job->out);
    job->out = whole;
    job_answer(call);
}

/* ---- events by their ids ---- */

static void fetch_gone(struct call *call, struct event_id id)
{
    struct job *job = job_of(call);
    buf_add(&job->gone, &id, sizeof(id));
    if (!job->gone_shown) return;
    resp_add_array(&job->out, 2);
    resp_add_id(&job->out, id);
    resp_add_null_array(&job->out, call->protocol);
    job->shown++;
}

static void fetch_step(struct call *call);

static void fetch_done(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    if (!job_read_is_good(call, read)) return;
    size_t before = job->id_at;
    for (struct feed_item *item = read->items; item && job->id_at < job->id_count;
         item = item->next) {
        while (job->id_at < job->id_count && event_id_cmp(job->ids[job->id_at], item->id) < 0)
            fetch_gone(call, job->ids[job->id_at++]);
        if (job->id_at == job->id_count || event_id_cmp(job->ids[job->id_at], item->id) != 0)
            continue;
        show_event(call, &job->out, job->stream, item);
        job->shown++;
        job->id_at++;
    }
    if (job->out.len > answer_bytes_max(call) && job->id_at < job->id_count) {
        if (!job->gone_shown) {
            call_refuse(call, WEIR_TOOBIG,
                        "what was claimed is above output_bytes_max / 4 = %zu bytes: it is the "
                        "consumer's now, to be read with XREADGROUP and an id",
                        answer_bytes_max(call));
            return;
        }
        job->id_count = job->id_at; /* a history is read on from its last id */
    }
    if (read->item_count == 0)
        while (job->id_at < job->id_count) fetch_gone(call, job->ids[job->id_at++]);
    /* wanted ids side by side: read more at a time; strewn ones: one by one */
    job->want = job->id_at - before == job->want ? job->want * 4 : 1;
    fetch_step(call);
}

static void fetch_step(struct call *call)
{
    struct job *job = job_of(call);
    size_t left = job->id_count - job->id_at;
    if (left == 0) {
        job->fetched(call);
        return;
    }
    if (job->want > left) job->want = (uint32_t)left;
    struct feed_read question = { .op = FEED_READ,
                                  .stream = job->stream,
                                  .from = job->ids[job->id_at],
                                  .to = job->ids[job->id_count - 1],
                                  .count = job->want,
                                  .bytes_max = READ_ANSWER_BYTES };
    (void)job_read(call, &question, fetch_done);
}

void job_fetch(struct call *call, step_fn *fetched)
{
    struct job *job = job_of(call);
    job->id_at = 0;
    job->want = 4;
    job->fetched = fetched;
    fetch_step(call);
}

/* ---- XLEN, XRANGE ---- */

static void xlen_done(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    resp_add_int(&job->out, (int64_t)read->info.count);
    job_answer(call);
}

void resp_xlen(struct call *call, const struct resp_command *command)
{
    const struct stream *stream = stream_for(call, command->args[1]);
    if (!stream) return;
    (void)job_begin(call);
    (void)job_read(call, &(struct feed_read){ .op = FEED_INFO, .stream = stream }, xlen_done);
}

static void range_step(struct call *call);

static void range_done(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    struct feed_read *question = &job->question;
    if (!job_read_is_good(call, read)) return;
    for (struct feed_item *item = read->items; item; item = item->next) {
        show_event(call, &job->out, question->stream, item);
        job->shown++;
        if (question->reverse) question->to = id_before(item->id);
        else question->from = event_id_next(item->id);
    }
    if (job->out.len > answer_bytes_max(call)) {
        call_refuse(call, WEIR_TOOBIG,
                    "the range is above output_bytes_max / 4 = %zu bytes: give a smaller COUNT "
                    "and read on from the last id",
                    answer_bytes_max(call));
        return;
    }
    job->count -= read->item_count;
    if (read->item_count == 0) job->count = 0;
    range_step(call);
}

static void range_step(struct call *call)
{
    struct job *job = job_of(call);
    if (job->count == 0 || event_id_cmp(job->question.from, job->question.to) > 0) {
        answer_array(call);
        return;
    }
    job->question.count = job->count < RANGE_PIECE ? (uint32_t)job->count : RANGE_PIECE;
    (void)job_read(call, &job->question, range_done);
}

static void range(struct call *call, const struct resp_command *command, bool reverse)
{
    const struct stream *stream = stream_for(call, command->args[1]);
    struct event_id from, to;
    int64_t count = -1;
    if (!stream) return;
    if (!arg_range(call, command->args[reverse ? 3 : 2], command->args[reverse ? 2 : 3], &from,
                   &to))
        return;
    if (command->count > 4) {
        if (command->count != 6 || !resp_is(command->args[4], "COUNT")) {
            arg_syntax(call);
            return;
        }
        if (!arg_number(call, command->args[5], &count)) return;
    }
    if (count == 0) {
        resp_add_null_array(resp_scratch(call), call->protocol);
        resp_answer_scratch(call);
        return;
    }
    struct job *job = job_begin(call);
    job->count = count < 0 ? UINT64_MAX : (uint64_t)count;
    job->question = (struct feed_read){ .op = FEED_READ,
                                        .stream = stream,
                                        .from = from,
                                        .to = to,
                                        .reverse = reverse,
                                        .bytes_max = READ_ANSWER_BYTES };
    /* feed.h: a zero `to` means no bound; no event has the id 0-0 */
    if (to.epoch == 0 && to.n == 0) job->count = 0;
    range_step(call);
}

void resp_xrange(struct call *call, const struct resp_command *command)
{
    range(call, command, false);
}

void resp_xrevrange(struct call *call, const struct resp_command *command)
{
    range(call, command, true);
}

/* ---- XREAD ---- */

static bool block_read(struct call *call, struct weir_str text, struct job *job)
{
    int64_t ms;
    if (!number_parse(text, &ms) || ms > INT64_C(1) << 40) {
        resp_answer_error(call, "ERR", "timeout is not an integer or out of range");
        return false;
    }
    if (ms < 0) {
        resp_answer_error(call, "ERR", "timeout is negative");
        return false;
    }
    job->blocks = true;
    job->until_ns = ms == 0 ? ENV_NEVER : call->conn->net->now_ns + (uint64_t)ms * 1000000u;
    return true;
}

uint32_t parts_options(struct call *call, const struct resp_command *command, bool group)
{
    struct job *job = job_of(call);
    for (uint32_t i = 1; i < command->count; i++) {
        struct weir_str word = command->args[i];
        bool more = i + 1 < command->count;
        int64_t n;
        if (resp_is(word, "STREAMS") && more) {
            if (group && !job->group.ptr) {
                resp_answer_error(call, "ERR", "Missing GROUP option for XREADGROUP");
                return 0;
            }
            return i + 1;
        }
        if (resp_is(word, "BLOCK") && more) {
            if (!block_read(call, command->args[++i], job)) return 0;
        } else if (resp_is(word, "COUNT") && more) {
            if (!arg_number(call, command->args[++i], &n)) return 0;
            job->count = n < 0 ? 0 : (uint64_t)n;
        } else if (resp_is(word, "GROUP") && i + 2 < command->count) {
            if (!group) {
                resp_answer_error(call, "ERR",
                                  "The GROUP option is only supported by XREADGROUP. You called "
                                  "XREAD instead.");
                return 0;
            }
            if (!arg_name(call, command->args[i + 1], "group") ||
                !arg_name(call, command->args[i + 2], "consumer"))
                return 0;
            job->group = arena_copy(&job->arena, command->args[i + 1]);
            job->consumer = arena_copy(&job->arena, command->args[i + 2]);
            i += 2;
        } else if (resp_is(word, "NOACK")) {
            if (!group) {
                resp_answer_error(call, "ERR",
                                  "The NOACK option is only supported by XREADGROUP. You called "
                                  "XREAD instead.");
                return 0;
            }
            job->quiet = true;
        } else {
            break;
        }
    }
    arg_syntax(call);
    return 0;
}

static bool part_id_read(struct call *call, struct weir_str text, struct part *part, bool group)
{
    part->fresh = group && str_eq(text, STR(">"));
    part->now = !group && str_eq(text, STR("$"));
    part->newest = !group && str_eq(text, STR("+"));
    if (part->fresh || part->now || part->newest) return true;
    if (str_eq(text, STR(">"))) {
        resp_answer_error(call, "ERR",
                          "The > ID can be specified only when calling XREADGROUP using the GROUP "
                          "<group> <consumer> option.");
        return false;
    }
    if (str_eq(text, STR("$"))) {
        resp_answer_error(call, "ERR",
                          "The $ ID is meaningless in the context of XREADGROUP: you want to read "
                          "the history of this consumer by specifying a proper ID, or use the > ID "
                          "to get new messages. The $ ID would just return an empty result set.");
        return false;
    }
    return arg_id(call, text, &part->from);
}

bool parts_read(struct call *call, const struct resp_command *command, uint32_t at, bool group)
{
    struct job *job = job_of(call);
    uint32_t left = command->count - at, count = left / 2;
    if (left == 0 || left % 2 != 0) {
        resp_answer_error(call, "ERR",
                          "Unbalanced '%s' list of streams: for each stream key an ID or '%s' must "
                          "be specified.",
                          group ? "xreadgroup" : "xread", group ? ">" : "$");
        return false;
    }
    if (count > READ_STREAMS_MAX) {
        call_refuse(call, WEIR_TOOBIG, "%u streams in one command > %u", count, READ_STREAMS_MAX);
        return false;
    }
    job->parts = arena_alloc(&job->arena, count * sizeof(struct part));
    job->part_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct part *part = &job->parts[i];
        const struct stream *stream = stream_for(call, command->args[at + i]);
        if (!stream) return false; /* and the job is gone */
        part->stream = stream;
        if (!part_id_read(call, command->args[at + count + i], part, group)) return false;
        if (!part->fresh && group) job->history = true;
    }
    return true;
}

void parts_answer(struct call *call)
{
    struct job *job = job_of(call);
    uint32_t shown = 0;
    for (uint32_t i = 0; i < job->part_count; i++)
        shown += job->parts[i].shown > 0 || job->parts[i].ids != NULL;
    if (shown == 0) {
        resp_add_null_array(&job->out, call->protocol);
        job_answer(call);
        return;
    }
    if (call->protocol == 3) resp_add_map(&job->out, 3, shown);
    else resp_add_array(&job->out, shown);
    for (uint32_t i = 0; i < job->part_count; i++) {
        const struct part *part = &job->parts[i];
        if (part->shown == 0 && !part->ids) continue;
        if (call->protocol != 3) resp_add_array(&job->out, 2);
        resp_add_bulk(&job->out, part->stream->name);
        resp_add_array(&job->out, part->shown);
        buf_add_str(&job->out, buf_str(&part->out));
    }
    job_answer(call);
}

/* Leaves what makes the answer too large for the next time: all parts share what it may hold. */
static void part_cut(struct call *call, struct part *part)
{
    struct job *job = job_of(call);
    const struct shape *shape = part->stream->event;
    size_t each = 100, most = answer_bytes_max(call);
    for (uint32_t i = 0; i < shape->count; i++) each += shape->fields[i].name.len + 40;
    struct feed_item **at = &part->items;
    part->item_count = 0;
    /* as JSON a value may be longer than it is packed */
    for (; *at; at = &(*at)->next, part->item_count++) {
        size_t bytes = each + (*at)->key.len + (*at)->value.len * 4;
        if (job->bytes > 0 && job->bytes + bytes > most) break;
        job->bytes += bytes;
    }
    items_free(at);
}

static void part_filled(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    struct part *part = read->user;
    if (read->status != WEIR_OK) job->failed = read->status;
    items_free(&part->items);
    part->items = read->items;
    read->items = NULL;
    part_cut(call, part);
    if (part->items || read->status != WEIR_OK) {
        job->found = true;
        call_cancel_reads(call);
    }
    if (--job->home > 0) return;
    if (job->failed == WEIR_OK) job->then(call);
    else call_refuse(call, job->failed, "the events cannot be read");
}

void parts_fill(struct call *call, step_fn *done)
{
    struct job *job = job_of(call);
    job->then = done;
    job->found = false;
    job->bytes = 0;
    job->home = 0;
    for (uint32_t i = 0; i < job->part_count; i++)
        job->home += job->parts[i].fresh || !job->group.ptr;
    for (uint32_t i = 0; i < job->part_count; i++) {
        struct part *part = &job->parts[i];
        if (!part->fresh && job->group.ptr) continue;
        struct feed_read question = { .op = FEED_READ,
                                      .stream = part->stream,
                                      .from = part->newest ? part->from : event_id_next(part->from),
                                      .reverse = part->newest,
                                      .count = part->newest ? 1 : (uint32_t)job->count,
                                      .bytes_max = READ_ANSWER_BYTES,
                                      .until_ns = job->history ? 0 : job->until_ns,
                                      .user = part };
        if (!job_read(call, &question, part_filled)) return;
    }
}

static void xread_filled(struct call *call)
{
    struct job *job = job_of(call);
    for (uint32_t i = 0; i < job->part_count; i++) {
        struct part *part = &job->parts[i];
        for (const struct feed_item *item = part->items; item; item = item->next, part->shown++)
            show_event(call, &part->out, part->stream, item);
    }
    parts_answer(call);
}

static void now_found(struct call *call, struct feed_read *read)
{
    struct job *job = job_of(call);
    struct part *part = read->user;
    part->from = read->info.last;
    if (--job->home == 0) parts_fill(call, xread_filled);
}

void resp_xread(struct call *call, const struct resp_command *command)
{
    struct job *job = job_begin(call);
    uint32_t at = parts_options(call, command, false);
    if (at == 0 || !parts_read(call, command, at, false)) return;
    if (job->count == 0 || job->count > FEED_COUNT_MAX) job->count = FEED_COUNT_MAX;
    for (uint32_t i = 0; i < job->part_count; i++) job->home += job->parts[i].now;
    if (job->home == 0) {
        parts_fill(call, xread_filled);
        return;
    }
    for (uint32_t i = 0; i < job->part_count; i++) {
        struct part *part = &job->parts[i];
        struct feed_read question = { .op = FEED_INFO, .stream = part->stream, .user = part };
        if (part->now && !job_read(call, &question, now_found)) return;
    }
}
