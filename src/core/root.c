/*
 * root.c - roots: requests, messages and timers that start a transaction, decide it and answer for it.
 *
 * The decision is one step of the root's shard: its current epoch becomes the commit epoch, every shard that
 * holds a record gets COMMIT, and the answer goes to its door with the epoch that must be durable before it
 * may be handed out: its own if anything was written, else the newest it read (errors too).
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "core/core_int.h"

/* Deaths of one transaction under no_wait before it waits as under wait_die. */
#define NO_WAIT_DEATHS_MAX 16u
/* How long one sleeps that died: less than so long after its first death, twice that after each further one. */
#define SLEEP_NS_FIRST UINT64_C(4000)
#define SLEEP_DOUBLINGS_MAX 8u

/* Small answers are bounded by their number: no counter that two threads write for each of them. */
#define LARGE_ANSWER_BYTES ((size_t)4 * 1024)

static const char *const id_digits = "0123456789abcdefghjkmnpqrstvwxyz";

/* 26 characters of base 32: 128 bits. */
static void id_write(uint64_t high, uint64_t low, char out[26])
{
    uint64_t middle = low >> 60 | high << 4; /* 60 bits are twelve digits */
    high >>= 56;
    for (int i = 11; i >= 0; i--) {
        out[14 + i] = id_digits[low & 31];
        out[2 + i] = id_digits[middle & 31];
        low >>= 5;
        middle >>= 5;
    }
    out[1] = id_digits[high & 31];
    out[0] = id_digits[high >> 5];
}

void id_make(struct env *env, char out[26])
{
    uint64_t high = env->random(env), low = env->random(env);
    id_write(high, low, out);
}

static uint64_t id_bits(struct env *env, _Atomic uint64_t *at)
{
    uint64_t bits = atomic_load_explicit(at, memory_order_relaxed);
    if (bits != 0) return bits;
    uint64_t own = env->random(env);
    if (own == 0) own = 1;
    return atomic_compare_exchange_strong(at, &bits, own) ? own : bits;
}

/* By any shard that works for the request: the same, whoever is first. */
static void request_id_write(struct env *env, struct request *request, char out[26])
{
    uint64_t high = id_bits(env, &request->id_bits[0]), low = id_bits(env, &request->id_bits[1]);
    id_write(high, low, out);
}

struct weir_str request_name(struct env *env, struct request *request)
{
    if (request->request_id.len == 0) {
        request_id_write(env, request, request->id_text);
        request->request_id = (struct weir_str){ request->id_text, sizeof(request->id_text) };
    }
    return request->request_id;
}

struct weir_str txn_name(struct txn *t)
{
    if (t->request_id.len > 0) return t->request_id;
    struct env *env = t->shard->env;
    if (t->root != NULL && t->request != NULL) return t->request_id = request_name(env, t->request);
    char id[26];
    if (t->request != NULL) request_id_write(env, t->request, id);
    else id_make(env, id);
    return t->request_id = arena_copy(&t->arena, (struct weir_str){ id, sizeof(id) });
}

struct root *root_new(struct shard *s, enum root_kind kind, const struct handler *handler)
{
    struct root *r = s->root_free;
    if (r != NULL) {
        s->root_free = r->next;
        memset((char *)r + offsetof(struct root, deadline), 0,
               sizeof(*r) - offsetof(struct root, deadline));
    } else {
        r = mem_alloc(sizeof(*r));
    }
    r->kind = kind;
    r->handler = handler;
    r->age = (struct age){ s->epoch, s->next_age++ * ENGINE_SHARDS_MAX + s->index };
    s->roots_open++;
    return r;
}

void root_free(struct shard *s, struct root *r)
{
    if (r->deadline.place) heap_remove(&s->deadlines, &r->deadline);
    if (s->fresh == r) s->fresh = NULL;
    arena_reset(&r->arena);
    r->next = s->root_free;
    s->root_free = r;
    s->roots_open--;
}

/* A query only reads, and so does what it calls. One with an id leaves a record at its entity. */
static bool root_may_share(const struct shard *s, const struct root *r)
{
    return r->request->id.len == 0 && s->engine->options.conflict_policy == CONFLICT_WOUND_WAIT;
}

/* A new attempt: a new transaction id, so that nothing meant for the last one can hit it; the same age. */
struct weir_ctx *root_attempt(struct shard *s, struct root *r)
{
    struct txn *t = txn_begin(s, s->next_txn++ * ENGINE_SHARDS_MAX + s->index, r->age);
    t->root = r;
    r->txn = t;
    r->attempts++;
    t->now_ms = shard_now_ms(s);
    t->in_turn = r->in_turn;
    if (r->request != NULL) {
        t->caller = r->request->caller;
        t->roles = r->request->roles;
        t->request_id = r->request->request_id;
        t->request = r->request;
        if (r->handler->kind == WEIR_QUERY) t->shares = root_may_share(s, r);
    } else {
        t->request_id = r->reply; /* it goes on for that request */
    }
    struct weir_str key = r->handler->type->service && r->key.len == 0 ? txn_name(t) : r->key;
    struct key_place place = r->request != NULL ? r->request->place
                                                : type_place(r->handler->type, key);
    t->root_entity = entity_get_at(s, r->handler->type->id, key, place);
    return frame_push(t, r->handler, t->root_entity, r->args);
}

void root_run(struct weir_ctx *f)
{
    if (frame_lock(f)) frame_run(f);
}

/* ---- answers ---- */

void request_answer(struct shard *s, struct request *request)
{
    struct port *port = request->port;
    request->next = NULL;
    if (request->arena.used >= LARGE_ANSWER_BYTES || ENV_CHANCE(s->env, "answer.large")) {
        request->answer_bytes = request->arena.used;
        atomic_fetch_add_explicit(&port->answer_bytes, request->answer_bytes, memory_order_relaxed);
    }
    struct ring *ring = &s->to_port[port->index];
    if (request->epoch < s->port_least[port->index]) s->port_least[port->index] = request->epoch;
    if (s->port_overflow[port->index] != NULL || ENV_CHANCE(s->env, "answer.ring_full") ||
        !ring_push(ring, request)) {
        MARK("shard to port: ring full");
        *s->port_overflow_tail[port->index] = request;
        s->port_overflow_tail[port->index] = &request->next;
    }
}

static void request_fail(struct shard *s, struct request *request, enum weir_status status,
                         const char *text)
{
    request->status = status;
    request->text = str_of(text);
    request_answer(s, request);
}

static void answer_failure(struct request *request, const struct failure *failure)
{
    request->status = failure->status;
    request->code = arena_copy(&request->arena, failure->code);
    request->detail = failure->detail.ptr ? arena_copy(&request->arena, failure->detail) : STR_NIL;
    request->text = arena_copy(&request->arena, failure->text);
}

/* ---- request records: looked up under the root entity's lock ---- */

/* The caller is part of it: another one's repeat must not be answered with what the handler told the first. */
static uint64_t payload_hash(struct shard *s, struct root *r)
{
    buf_reset(&s->scratch);
    buf_add_str(&s->scratch, r->handler->name);
    buf_add_byte(&s->scratch, 0);
    pack(r->handler->args, r->args, &s->scratch);
    if (r->request->caller.len > 0) {
        buf_add_byte(&s->scratch, 0);
        buf_add_str(&s->scratch, r->request->caller);
    }
    uint32_t number = r->handler->result_number; /* a result of another form is none for a repeat */
    return hash64(number > 1 ? number : 0, s->scratch.ptr, s->scratch.len);
}

/* True when the request is a repeat: it is answered from its record, or refused. */
static bool root_is_repeat(struct txn *t, struct entity *e)
{
    struct shard *s = t->shard;
    struct request *request = t->root->request;
    struct buf key = { 0 };
    record_key(&key, e, request->id);
    struct row *row = (struct row *)tree_find(&s->rows, buf_str(&key));
    buf_free(&key);
    if (row == NULL) {
        const struct engine_limits *limits = &s->engine->limits;
        if (s->record_count < limits->dedup_rows_max) return false;
        MARK("limit: dedup_rows_max");
        records_expire(s);
        if (s->record_count < limits->dedup_rows_max) return false;
        txn_doom(t, WEIR_OVERLOADED, STR(""), STR_NIL,
                 arena_printf(
                     &t->arena,
                     "dedup_rows_max = %llu request records, none older than dedup_window_min_ms",
                     (unsigned long long)limits->dedup_rows_max));
        return true;
    }
    uint64_t hash;
    int64_t made;
    struct weir_str result;
    ASSERT(record_parts((struct weir_str){ row->value, row->value_len }, &hash, &made, &result));
    if (hash != payload_hash(s, t->root)) {
        MARK("an idempotency key with another payload");
        txn_doom(t, WEIR_IDEMPOTENCY, STR(""), STR_NIL,
                 STR("this idempotency key was used with another handler or other arguments, or "
                     "before what the handler returns has changed"));
        return true;
    }
    MARK("answered from its record");
    s->stats.dedup_hits_total++;
    request->replayed = true;
    struct weir_str deferred = answer_of_record(result);
    if (deferred.ptr != NULL) {
        request->answer_id = arena_copy(&request->arena, deferred);
        return true;
    }
    request->result = arena_alloc(&request->arena, t->root->handler->result->size + 8u);
    if (unpack(t->root->handler->result, result, &request->arena, true, request->result) != WEIR_OK)
        shape_start(t->root->handler->result, request->result);
    return true;
}

static void record_make(struct txn *t, struct entity *e, uint64_t epoch)
{
    struct shard *s = t->shard;
    struct root *r = t->root;
    uint64_t hash = payload_hash(s, r);
    struct buf key = { 0 }, value = { 0 }, packed = { 0 };
    if (t->tied.place != 0) answer_record(&packed, txn_name(t));
    else if (r->handler->result->count > 0) pack(r->handler->result, t->result, &packed);
    record_key(&key, e, r->request->id);
    record_value(&value, hash, t->now_ms, buf_str(&packed));
    struct row *row = row_set(s, e->slot, buf_str(&key), buf_str(&value));
    record_index(s, row);
#ifdef MUTANT_dedup_outside_txn
    effect_put(s, epoch + 1, e->slot, buf_str(&key), buf_str(&value));
#else
    effect_put(s, epoch, e->slot, buf_str(&key), buf_str(&value));
#endif
    e->version = epoch;
    buf_free(&key);
    buf_free(&value);
    buf_free(&packed);
}

/* ---- the end of an attempt ---- */

static void send_to_participants(struct txn *t, enum message_kind kind)
{
    struct shard *s = t->shard;
    for (uint64_t left = t->participants; left != 0; left &= left - 1) {
        struct message *m = message_new(s, kind, t->id);
        if (kind == MSG_COMMIT && t->tied.shard == (uint32_t)__builtin_ctzll(left))
            m->commit.tied = t->tied.place;
#ifdef MUTANT_H3
        m->answer.participants = left & (left - 1); /* the first one passes it on */
        message_post(s, (uint32_t)__builtin_ctzll(left), m);
        break;
#else
        message_post(s, (uint32_t)__builtin_ctzll(left), m);
#endif
    }
}

static void root_close(struct txn *t)
{
    struct shard *s = t->shard;
    struct root *r = t->root;
    if (r->holding) s->roots_holding--;
    txn_end(t);
    root_free(s, r);
}

/* Who died at a lock would find it taken again at once, and burn the processor that its owner needs. It sleeps for a
 * random time that doubles: to be woken when the owner ends would need a list at the owner's record, perhaps on another
 * shard, and two more kinds of messages; and it would wake all at once that died of one hot key. */
static void root_sleep(struct shard *s, struct root *r)
{
    uint64_t doublings = r->deaths - 1 < SLEEP_DOUBLINGS_MAX ? r->deaths - 1 : SLEEP_DOUBLINGS_MAX;
    uint64_t most = SLEEP_NS_FIRST << doublings;
    r->txn->asleep = true;
    r->wake.at = (int64_t)(s->now_ns + most / 2 + s->env->random(s->env) % (most / 2));
    r->wake.tie = r->age.sequence;
    heap_add(&s->sleepers, &r->wake);
}

void root_rise(struct txn *t)
{
    heap_remove(&t->shard->sleepers, &t->root->wake);
    t->asleep = false;
}

void roots_wake(struct shard *s)
{
    struct heap_item *first;
    while ((first = heap_min(&s->sleepers)) != NULL && (uint64_t)first->at <= s->now_ns) {
        struct root *r = (struct root *)((char *)first - offsetof(struct root, wake));
        root_rise(r->txn);
#ifndef MUTANT_wake_lost
        lock_offer(s, r->txn->root_entity);
#endif
    }
}

/* Run again: first back into the queue of the root entity, then give up the locks, so that the order of
 * requests on that entity stays. */
static void root_again(struct txn *t)
{
    struct shard *s = t->shard;
    struct root *r = t->root;
    bool died = t->retry == RETRY_DIED, in_turn = t->retry == RETRY_IN_TURN;
    r->in_turn = r->in_turn || in_turn;
    if (in_turn) s->stats.reruns_in_turn_total++;
    else if (died) s->stats.deaths_total++;
    else s->stats.wounds_total++;
    send_to_participants(t, MSG_ABORT);
    if (r->holding) s->roots_holding--;
    r->holding = false;
    t->root = NULL; /* the next attempt's now */
    struct weir_ctx *f = root_attempt(s, r);
    r->deaths += died;
    f->txn->patient = r->deaths >= NO_WAIT_DEATHS_MAX;
    if (died) root_sleep(s, r);
    if (frame_lock(f)) frame_ready(f);
    txn_end(t);
}

static void root_abort(struct txn *t)
{
    struct shard *s = t->shard;
    struct root *r = t->root;
    send_to_participants(t, MSG_ABORT);
    s->stats.failures_total++;
    if (r->kind == ROOT_REQUEST) {
        answer_failure(r->request, &t->failure);
        r->request->epoch = t->read_epoch;
#ifdef MUTANT_H6_error
        r->request->epoch = 0;
#endif
        request_answer(s, r->request);
    } else if (r->kind == ROOT_MESSAGE) {
        outbox_failed(s, r->delivery, &t->failure);
    } else if (r->kind == ROOT_EVENT) {
        follow_failed(s, r, &t->failure);
    } else {
        timer_failed(s, r->timer_key, &t->failure);
    }
    root_close(t);
}

void *root_result(struct root *r)
{
    size_t bytes = r->handler->result->size + 8u;
    if (r->result != NULL) return memset(r->result, 0, bytes); /* of an attempt that was undone */
    return r->result = arena_alloc(&r->request->arena, bytes);
}

/* Before the rows change: what a handler in C answers may be a text of a row as it lies there. */
static void result_keep(struct txn *t)
{
    struct request *request = t->root->request;
    const struct shape *shape = t->root->handler->result;
    if (request->replayed || t->tied.place != 0 || shape->count == 0) return;
    ASSERT(t->result == t->root->result);
    request->result = t->result;
    if (shape->deep || shape->plan == NULL)
        shape_copy(shape, t->result, &request->arena, t->result);
}

static void root_commit(struct txn *t, struct entity *e)
{
    struct shard *s = t->shard;
    struct root *r = t->root;
    const struct last_call *decided = t->decided;
    uint64_t epoch = decided ? decided->epoch : s->epoch;
    uint64_t clock = decided ? decided->clock : ++s->clock;
#ifdef MUTANT_H11_own_epoch
    epoch = s->epoch;
#endif
    ASSERT(t->read_epoch <= epoch);
    bool record = r->kind == ROOT_REQUEST && r->request->id.len > 0 && !r->request->replayed;
    bool wrote = record || r->kind == ROOT_MESSAGE || r->handler->kind != WEIR_QUERY;
    send_to_participants(t, MSG_COMMIT);
    if (t->tied.place != 0 && t->tied.shard == s->index) txn_tie(t, t->tied.place, txn_name(t));
    uint64_t before = s->buffers[epoch % EPOCH_BUFFERS].len;
    if (r->kind == ROOT_REQUEST) result_keep(t);
    txn_apply(t, epoch, clock);
    if (t->emit_count > 0 && r->handler->type->builtin) {
        emits_answer(t, epoch, clock);
        if (r->kind == ROOT_REQUEST) result_keep(t);
    }
    if (record) record_make(t, e, epoch);
    if (r->kind == ROOT_MESSAGE) outbox_delivered(s, r->delivery, epoch);
    if (r->kind == ROOT_EVENT) follow_done(s, r->lane, epoch);
    bool effects = s->buffers[epoch % EPOCH_BUFFERS].len != before;
    if (t->participants != 0) s->stats.multi_shard_total++;
    if (decided != NULL) {
        effects = effects || decided->effects;
        s->stats.multi_shard_total++;
        s->stats.tail_commits_total++;
    }
    s->stats.commits_total++;
    if (r->kind == ROOT_REQUEST) {
        struct request *request = r->request;
        request->epoch = t->read_epoch;
#ifdef MUTANT_query_ignores_epoch
        if (r->handler->kind == WEIR_QUERY) request->epoch = 0;
#endif
        if (effects || (wrote && t->participants != 0)) {
            request->epoch = epoch;
            shard_wanted(s, epoch);
        }
        request->status = WEIR_OK;
        if (t->tied.place != 0) {
            s->stats.answers_deferred_total++;
            request->answer_id = txn_name(t);
        }
        request_answer(s, request);
    } else if (r->kind == ROOT_TIMER) {
        s->stats.timers_fired_total++;
    }
    root_close(t);
}

/* True: it is, by a new attempt or by its answer. */
static bool root_is_undone(struct txn *t)
{
    struct root *r = t->root;
    struct shard *s = t->shard;
    if (r->timed_out) {
        ASSERT(t->cancelled); /* by root_deadlines(), and nobody takes that back */
        MARK("undone at its deadline");
        t->failure = (struct failure){
            .status = WEIR_TIMEOUT,
            .text = STR("the deadline passed before a decision; nothing was applied")
        };
        s->stats.timeouts_total++;
        root_abort(t);
        return true;
    }
    if (t->cancelled || t->retry || ENV_CHANCE(s->env, "root.again")) {
        root_again(t);
        return true;
    }
    if (t->failure.status != WEIR_OK) {
        root_abort(t);
        return true;
    }
    /* Judged here and not before the handler runs, so that deletions go on: they are the way out. */
    if (r->kind == ROOT_REQUEST && !r->request->replayed && memory_is_full(s) && txn_grows(t)) {
        MARK("request refused: memory_max");
        t->failure = (struct failure){
            .status = WEIR_OOM,
            .text = STR("rows in memory are above memory_max; reads and deletions continue")
        };
        root_abort(t);
        return true;
    }
    return false;
}

void root_finish(struct txn *t)
{
    if (t->decided != NULL || !root_is_undone(t)) root_commit(t, t->root_entity);
}

void root_wound(struct txn *t)
{
    if (t->root == NULL || t->cancelled) return;
    txn_cancel(t);
}

/* ---- starting ---- */

/* The root's handler wraps what comes before it under the entity's lock: the look at the request record, the
 * timer's row. Called by the fiber in place of the handler. */
bool root_before(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    struct root *r = t->root;
    if (r->kind == ROOT_REQUEST && r->request->id.len > 0) return !root_is_repeat(t, f->entity);
    if (r->kind != ROOT_TIMER) return true;
    struct row *row = (struct row *)tree_find(&t->shard->rows, r->timer_key);
    if (row == NULL) MARK("timer: cancelled before it began");
    if (row == NULL || row->failed) return false;
    if (row->time_ms > t->now_ms) {
        /* It has its place in the heap again, or its new time has come meanwhile and a root of that is open. */
        MARK("timer: moved before it began");
        return false;
    }
    struct overlay *o = overlay_get(t, f->access, r->timer_key);
    if (o == NULL) return false;
    t->timers_more--;
    o->present = false;
    o->changed = true;
    return true;
}

void request_shed(struct shard *s, struct request *request, const char *text)
{
    s->stats.overloads_total++;
    request_fail(s, request, WEIR_OVERLOADED, text);
}

void root_begin_request(struct shard *s, struct request *request)
{
    struct engine *engine = s->engine;
    const struct engine_limits *limits = &engine->limits;
    s->stats.requests_total++;
    if (request->parked != NULL) {
        parked_run(s, request);
        return;
    }
    if (request->waits) {
        answer_wait(s, request);
        return;
    }
    bool writes = request->handler->kind != WEIR_QUERY;
    if (request->deadline_ns == 0)
        request->deadline_ns = request->arrival_ns + limits->request_deadline_ms * 1000000u;
    if (writes && atomic_load_explicit(&engine->disk_full, memory_order_relaxed)) {
        MARK("request refused: disk full");
        request_fail(s, request, WEIR_DISKFULL, "the disk is full; reads continue");
        return;
    }
    if (s->now_ns > request->arrival_ns + limits->queue_wait_max_ms * 1000000u ||
        ENV_CHANCE(s->env, "request.overloaded")) {
        request_shed(s, request, "the request waited longer than queue_wait_max_ms");
        return;
    }
    struct root *r = root_new(s, ROOT_REQUEST, request->handler);
    r->request = request;
    r->key = request->key;
    r->args = request->args;
    r->deadline.at = (int64_t)request->deadline_ns;
    r->deadline.tie = r->age.sequence;
    s->fresh = r;
    struct fiber *host = s->host;
    root_run(root_attempt(s, r));
    if (s->host == host) root_stays(s);
}

void root_begin_message(struct shard *s, struct pair *pair)
{
    struct delivery *d = pair->head;
    struct message_parts parts;
    struct failure failure = { .status = WEIR_NOHANDLER,
                               .text = STR("the handler of this message is gone") };
    bool good = message_parts(d->row->item.key,
                              (struct weir_str){ d->row->value, d->row->value_len }, &parts);
    struct type *type = good ? type_of(s, parts.to_type) : NULL;
    struct handler *handler = type ? type_handler(type, parts.handler) : NULL;
    pair->busy = true;
    if (good && parts.dropped) {
        if (type != NULL) outbox_dropped(s, d, type, parts.to_key);
        else outbox_delivered(s, d, s->epoch);
        return;
    }
    if (handler == NULL) {
        outbox_failed(s, d, &failure);
        return;
    }
    struct root *r = root_new(s, ROOT_MESSAGE, handler);
    r->delivery = d;
    r->reply = arena_copy(&r->arena, parts.reply);
    r->key = type->service ? parts.to_key : arena_copy(&r->arena, parts.to_key);
    void *args = arena_alloc(&r->arena, handler->args->size + 8u);
    r->args = args;
    if (unpack(handler->args, parts.args, &r->arena, false, args) != WEIR_OK) {
        failure = (struct failure){ .status = WEIR_ARG,
                                    .text = STR("the message's arguments do not fit the handler") };
        root_free(s, r);
        outbox_failed(s, d, &failure);
        return;
    }
    root_run(root_attempt(s, r));
}

void root_begin_timer(struct shard *s, struct row *row)
{
    uint16_t type_id;
    struct weir_str entity, name, packed;
    bool good = timer_parts(row->item.key, &type_id, &entity, &name, &packed);
    struct type *type = good ? type_of(s, type_id) : NULL;
    struct handler *handler = type ? type_handler(type, name) : NULL;
    row->busy = true;
#ifdef MUTANT_timer_removed_early
    effect_delete(s, s->epoch, row->slot, row->item.key);
#endif
    if (handler == NULL) {
        struct failure failure = { .status = WEIR_NOHANDLER,
                                   .text = STR("the handler of this timer is gone") };
        timer_failed(s, row->item.key, &failure);
        return;
    }
    struct root *r = root_new(s, ROOT_TIMER, handler);
    r->timer_key = arena_copy(&r->arena, row->item.key);
    (void)timer_parts(r->timer_key, &type_id, &entity, &name, &packed);
    r->key = entity;
    void *args = arena_alloc(&r->arena, handler->args->size + 8u);
    r->args = args;
    if (unpack(handler->args, packed, &r->arena, false, args) != WEIR_OK)
        shape_start(handler->args, args);
    root_run(root_attempt(s, r));
}

/* ---- deadlines: most roots end before anybody could look at theirs ---- */

void root_stays(struct shard *s)
{
    if (s->fresh == NULL) return;
    heap_add(&s->deadlines, &s->fresh->deadline);
    s->fresh = NULL;
}

uint64_t root_next_due(struct shard *s)
{
    struct heap_item *first = heap_min(&s->deadlines);
    return first ? (uint64_t)first->at : ENV_NEVER;
}

void root_deadlines(struct shard *s)
{
    struct heap_item *first;
    while ((first = heap_min(&s->deadlines)) != NULL && (uint64_t)first->at <= s->now_ns) {
        struct root *r = (struct root *)((char *)first - offsetof(struct root, deadline));
        heap_remove(&s->deadlines, first);
        MARK("a deadline passes");
        r->timed_out = true;
        if (!r->txn->cancelled) txn_cancel(r->txn);
    }
}
