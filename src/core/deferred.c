/*
 * deferred.c - deferred answers: a handler returned what `send` or `ask` gave it, so its client is answered by a later
 * transaction.
 *
 * The answer is an entity of the built-in type `_answer`, its key the request's id. It is opened by a call in the
 * transaction that defers, whose message or ask carries that id in its row, as do the messages that come of it; the
 * transaction that ends the chain settles it by another call. So a pending answer and the one row that it will come of
 * are made, moved and settled together, and whatever survives a crash survives whole. What a person drops settles it by
 * a message.
 *
 * Who waits is not stored: a list of requests on the answer's shard, answered when the row changes, each durably.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/answer.h"

static const struct handler *answer_handler(const struct shard *s, int place)
{
    return s->engine->catalog->answers->handlers[place];
}

/* ---- tickets ---- */

/* `count` as of now: it is the newest. */
struct weir_ticket ticket_make(struct txn *t, const struct handler *handler, bool ask,
                               uint32_t count)
{
    if (t->root == NULL) (void)txn_name(t); /* for txn_tie(), when the request may be answered */
    return (struct weir_ticket){
        .txn = t->id, .handler = handler, .shard = t->shard->index, .place = count << 1 | ask
    };
}

void txn_tie(struct txn *t, uint32_t place, struct weir_str reply)
{
    uint32_t count = place >> 1;
    if (place & 1) {
        struct asked *asked = t->asks;
        for (uint32_t i = 1; i < count; i++) asked = asked->next;
        asked->reply = reply;
    } else {
        struct send *send = t->sends;
        for (uint32_t i = 1; i < count; i++) send = send->next;
        send->reply = reply;
    }
}

struct weir_ticket weir_ticket(struct weir_ctx *f)
{
    return f->last;
}

/* A handler that declares what it answers is held to it, before anything is done. */
static enum weir_status result_fits(struct weir_ctx *f, const struct handler *later)
{
    const struct handler *own = f->handler;
    const struct shape *result = own->result;
    const char *why = "a webhook has no answer";
    bool any = result->count == 0 || (result->scalar && result->fields[0].kind == WEIR_ANY);
    if (any || (later && shape_fits(later->result, result, &f->txn->arena, &why))) return WEIR_OK;
    return ctx_fail(f, WEIR_HANDLER, "%.*s:%.*s defers to %.*s, whose `returns` is another: %s",
                    STR_ARG(own->type->name), STR_ARG(own->name),
                    STR_ARG(later ? later->name : STR("a request outside")), why);
}

enum weir_status weir_defer(struct weir_ctx *f, struct weir_ticket ticket)
{
    if (weir_failed(f) != WEIR_OK) return weir_failed(f);
    if (ticket.place == 0 || ticket.txn != f->txn->id)
        return ctx_fail(f, WEIR_HANDLER,
                        "%.*s:%.*s defers to nothing that this transaction sent or asked",
                        STR_ARG(f->handler->type->name), STR_ARG(f->handler->name));
    if (result_fits(f, ticket.handler) != WEIR_OK) return weir_failed(f);
    f->ticket = ticket;
    return WEIR_OK;
}

/* ---- opening and settling: calls in the transaction ---- */

static enum weir_status open_call(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    struct answer_opening *in = arena_alloc(&t->arena, sizeof(*in));
    in->caller = t->caller.ptr ? t->caller : STR("");
    in->type = f->handler->type->name;
    in->handler = f->handler->name;
    return ctx_call(f, answer_handler(t->shard, ANSWER_OPEN), txn_name(t), in, NULL);
}

static enum weir_status settle_call(struct weir_ctx *f, struct weir_str id)
{
    struct txn *t = f->txn;
    const struct shape *shape = f->handler->result;
    struct answer_settling *in = arena_alloc(&t->arena, sizeof(*in));
    in->code = in->text = STR("");
    if (shape->count > 0) {
        struct buf json = { 0 };
        json_write(shape, f->result, &json);
        in->result = arena_copy(&t->arena, buf_str(&json));
        buf_free(&json);
    }
    return ctx_call(f, answer_handler(t->shard, ANSWER_SETTLE), id, in, NULL);
}

enum weir_status answer_tie(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    const struct root *r = t->root;
    bool chained = r->kind == ROOT_MESSAGE && r->reply.len > 0;
    if (f->ticket.place == 0) return chained ? settle_call(f, r->reply) : WEIR_OK;
    if (r->kind != ROOT_REQUEST && !chained) return WEIR_OK; /* nobody waits */
    if (!chained && open_call(f) != WEIR_OK) return weir_failed(f);
    t->tied = f->ticket;
    return WEIR_OK;
}

/* ---- request records ---- */

/* As a packed field of the number 0, which no result has. */
#define DEFERRED_TAG 2u

void answer_record(struct buf *out, struct weir_str id)
{
    buf_add_varint(out, DEFERRED_TAG);
    buf_add_varint(out, id.len);
    buf_add_str(out, id);
}

struct weir_str answer_of_record(struct weir_str result)
{
    struct reader reader = reader_of(result);
    if (result.len == 0 || reader_varint(&reader) != DEFERRED_TAG) return STR_NIL;
    struct weir_str id = reader_bytes(&reader, reader_varint(&reader));
    return reader.failed ? STR_NIL : id;
}

/* ---- settling by a message ---- */

static void settling_pack(const struct shard *s, const struct failure *failure, struct buf *out)
{
    struct answer_settling in = { .status = (int64_t)failure->status,
                                  .code = failure->code.ptr ? failure->code : STR(""),
                                  .detail = failure->detail,
                                  .text = failure->text.ptr ? failure->text : STR("") };
    pack(answer_handler(s, ANSWER_SETTLE)->args, &in, out);
}

void answer_drop(struct shard *s, struct entity *from, struct weir_str id,
                 const struct failure *failure)
{
    struct buf args = { 0 };
    settling_pack(s, failure, &args);
    struct send send = { .sender = from,
                         .handler = answer_handler(s, ANSWER_SETTLE),
                         .key = id,
                         .args = buf_str(&args) };
    MARK("what an answer would come of is dropped");
    outbox_put(s, from->slot, &send, s->epoch);
    buf_free(&args);
}

enum weir_status answer_send(struct weir_ctx *f, struct weir_str id)
{
    struct answer_settling *in = arena_alloc(&f->txn->arena, sizeof(*in));
    in->code = in->text = STR("");
    return ctx_send(f, answer_handler(f->txn->shard, ANSWER_SETTLE), id, in);
}

/* ---- who waits ---- */

struct answer_wait {
    struct tree_item item; /* the answer's id and a number of its own */
    struct heap_item deadline;
    struct request *request;
    char key[sizeof(((struct request *)0)->id_text) + 8];
};

static struct answer_wait *wait_of_deadline(struct heap_item *item)
{
    return (struct answer_wait *)((char *)item - offsetof(struct answer_wait, deadline));
}

static void wait_add(struct shard *s, struct request *request)
{
    struct answer_wait *wait = mem_alloc(sizeof(*wait));
    size_t len = request->answer_id.len;
    ASSERT(len + 8 <= sizeof(wait->key)); /* ids of rows are the engine's own */
    memcpy(wait->key, request->answer_id.ptr, len);
    store_le64(wait->key + len, s->next_wait++);
    wait->item.key = (struct weir_str){ wait->key, len + 8 };
    wait->request = request;
    wait->deadline.at = (int64_t)request->deadline_ns;
    wait->deadline.tie = s->next_wait;
    tree_add(&s->answer_waits, &wait->item);
    heap_add(&s->answer_deadlines, &wait->deadline);
}

static struct request *wait_end(struct shard *s, struct answer_wait *wait)
{
    struct request *request = wait->request;
    heap_remove(&s->answer_deadlines, &wait->deadline);
    (void)tree_remove(&s->answer_waits, wait->item.key);
    mem_free(wait);
    return request;
}

static struct answer_wait *wait_find(struct shard *s, struct weir_str id)
{
    struct answer_wait *wait = (struct answer_wait *)tree_seek(&s->answer_waits, id, false);
    if (wait == NULL || wait->item.key.len != id.len + 8 || memcmp(wait->key, id.ptr, id.len) != 0)
        return NULL;
    return wait;
}

static bool row_read(const struct shard *s, struct weir_str packed, struct arena *arena,
                     struct answer_row *row)
{
    const struct shape *shape = s->engine->catalog->answers->row;
    ASSERT(shape->size <= sizeof(*row));
    return packed.ptr != NULL && unpack(shape, packed, arena, true, row) == WEIR_OK;
}

static bool is_done(const struct shard *s, struct weir_str packed)
{
    struct answer_row row = { .done = false };
    struct arena arena = { 0 };
    bool done = row_read(s, packed, &arena, &row) && row.done;
    arena_free(&arena);
    return done;
}

/* ---- answering ---- */

/* In the shape of the handler that deferred; as any JSON if the application has changed since. */
static void result_give(struct shard *s, struct request *request, const struct answer_row *row)
{
    struct engine *engine = s->engine;
    struct weir_str json = row->result.ptr ? row->result : STR("null");
    struct problem problem = { 0 };
    const struct type *type = catalog_type(engine->catalog, row->type);
    const struct handler *handler = type ? type_handler(type, row->handler) : NULL;
    if (handler != NULL && handler->result->count > 0) {
        request->result = arena_alloc(&request->arena, handler->result->size + 8u);
        if (json_read(handler->result, json, &request->arena, request->result, &problem) != WEIR_OK)
            handler = NULL;
    }
    request->handler = handler ? handler : engine->wait_query;
    if (handler != NULL) return;
    struct weir_str *any = arena_alloc(&request->arena, sizeof(*any));
    *any = json;
    request->result = any;
}

static bool may_read(const struct request *request, const struct answer_row *row)
{
    return row->caller.len == 0 || str_eq(row->caller, request->caller) ||
           roles_hold(request->roles, STR(ROLE_OPERATOR));
}

static void give(struct shard *s, struct request *request, const struct answer_row *row)
{
    if (!may_read(request, row)) {
        request->status = WEIR_NOPERM;
        request->text = STR("another caller made this request");
    } else if (!row->done) {
        request->status = WEIR_PENDING;
    } else if (row->status == WEIR_OK) {
        request->status = WEIR_OK;
        result_give(s, request, row);
    } else {
        request->status = (enum weir_status)row->status;
        request->code = row->code;
        request->detail = row->detail;
        request->text = row->text;
    }
    request_answer(s, request);
}

static uint64_t *answer_counter(struct shard *s, bool done)
{
    return done ? &s->stats.answers_kept : &s->stats.answers_pending;
}

void answer_change(struct shard *s, struct entity *e, struct weir_str packed, uint64_t epoch)
{
    struct weir_str before = entity_row(e);
    bool was_done = is_done(s, before), done = is_done(s, packed);
    if (before.ptr != NULL) (*answer_counter(s, was_done))--;
    if (packed.ptr != NULL) (*answer_counter(s, done))++;
    if (!done || was_done) return;
    for (struct answer_wait *wait; (wait = wait_find(s, entity_key(e))) != NULL;) {
        struct request *request = wait_end(s, wait);
        struct answer_row row = { .done = true };
        MARK("a deferred answer meets who waits for it");
        (void)row_read(s, packed, &request->arena, &row);
        request->epoch = epoch;
        give(s, request, &row);
    }
}

void answer_wait(struct shard *s, struct request *request)
{
    const struct engine *engine = s->engine;
    struct entity *e = entity_look(s, engine->catalog->answers->id, request->answer_id);
    struct answer_row row = { .done = false };
    if (request->deadline_ns == 0)
        request->deadline_ns = request->arrival_ns + engine->limits.request_deadline_ms * 1000000u;
    if (e == NULL || !row_read(s, entity_row(e), &request->arena, &row)) {
        request->status = WEIR_NOTFOUND;
        request->text = STR("no answer of a request with this id is awaited or kept");
        request->epoch = s->effect_epoch; /* it may just have gone */
        request_answer(s, request);
        return;
    }
    request->epoch = e->version;
    bool late = request->deadline_ns <= s->now_ns ||
                atomic_load_explicit(&engine->draining, memory_order_relaxed) != 0;
    if (row.done || late || !may_read(request, &row)) give(s, request, &row);
    else wait_add(s, request);
}

uint64_t answer_next_due(const struct shard *s)
{
    const struct heap_item *first = heap_min(&s->answer_deadlines);
    if (first == NULL) return ENV_NEVER;
    bool draining = atomic_load_explicit(&s->engine->draining, memory_order_relaxed) != 0;
    return draining ? s->now_ns : (uint64_t)first->at;
}

/* Who waited long enough is told that the answer is still to come; everybody when the server stops. */
void answer_deadlines(struct shard *s)
{
    while (answer_next_due(s) <= s->now_ns) {
        struct request *request = wait_end(s, wait_of_deadline(heap_min(&s->answer_deadlines)));
        MARK("a deferred answer is still to come");
        request->status = WEIR_PENDING;
        request_answer(s, request);
    }
}

/* ---- recovery ---- */

void answer_recover(struct shard *s)
{
    uint16_t type_id = s->engine->catalog->answers->id;
    size_t at = 0;
    for (const struct entity *e; (e = index_next(&s->entities, &at)) != NULL;) {
        if (e->type_id != type_id || !entity_has_row(e)) continue;
        (*answer_counter(s, is_done(s, entity_row(e))))++;
    }
}

void answer_deinit(struct shard *s)
{
    for (struct heap_item *first; (first = heap_min(&s->answer_deadlines)) != NULL;)
        (void)wait_end(s, wait_of_deadline(first));
    heap_free(&s->answer_deadlines);
    tree_free(&s->answer_waits);
}
