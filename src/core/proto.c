/*
 * proto.c - what shards say to each other; the protocol of ARCHITECTURE.md, "One transaction over shards".
 *
 *   CALL     caller -> callee      run a handler; makes the transaction's record there
 *   ANSWER   callee -> caller      exactly one per CALL, with the shards below that hold a record
 *   COMMITTED callee -> root       in its place, if the CALL left the decision to the callee: decided in that epoch
 *   COMMIT   root -> each          apply in that epoch; there is no prepare: who answered cannot refuse
 *   ABORT    root -> each          drop the record
 *   WOUND    requester -> root     an older transaction waits for yours
 *   CANCEL   root -> down the tree end what waits; the answer comes up as ever
 *   HINT     sender -> receiver    a message row is there to be delivered
 *   DONE     receiver's root -> sender   delivered in that epoch: the row goes
 *
 * Messages of one ring are handled in their order, each to its end, so none can overtake another.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define MESSAGES_KEPT 512u

/* Who receives frees, so from the allocator's they would all be of another thread: a shard keeps what it got for what it
 * sends. The address sanitizer is to see each one's end. */
static struct message *message_kept(struct shard *s)
{
    struct message *m = s->messages_kept;
    if (m == NULL) return NULL;
    s->messages_kept = m->next;
    s->message_kept_count--;
    memset(m, 0, sizeof(*m));
    return m;
}

static bool message_keep(struct shard *s, struct message *m)
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#endif
    if (s->message_kept_count == MESSAGES_KEPT) return false;
    m->next = s->messages_kept;
    s->messages_kept = m;
    s->message_kept_count++;
    return true;
}

struct message *message_new(struct shard *s, enum message_kind kind, uint64_t txn)
{
    struct message *m = message_kept(s);
    if (m == NULL) m = mem_alloc(sizeof(*m));
    m->kind = kind;
    m->from = s->index;
    m->epoch = s->epoch;
    m->clock = s->clock;
    m->txn = txn;
    return m;
}

static void message_end(struct message *m)
{
    if (m->kind < MSG_COMMITTED) return;
    if (m->kind == MSG_DONE) mem_free(m->hint.failure);
    else if (m->committed.result.ptr != m->committed.bytes)
        mem_free((void *)(uintptr_t)m->committed.result.ptr);
}

void message_free(struct message *m)
{
    message_end(m);
    mem_free(m);
}

/* Gives a message away. A full ring never blocks: it waits in a list, and the mark waits behind it. */
void message_post(struct shard *s, uint32_t to, struct message *m)
{
    ASSERT(to != s->index);
    struct ring *ring = &s->engine->shards[to].in[s->index];
    if (s->overflow[to] == NULL && !ENV_CHANCE(s->env, "message.ring_full") && ring_push(ring, m))
        return;
    MARK("shard to shard: ring full");
    m->next = NULL;
    *s->overflow_tail[to] = m;
    s->overflow_tail[to] = &m->next;
}

void call_remote(struct weir_ctx *f, uint32_t to, const struct handler *handler,
                 struct weir_str key, struct key_place place, const void *args, bool read_only,
                 bool tail, uint64_t turn)
{
    struct txn *t = f->txn;
    struct message *m = message_new(t->shard, MSG_CALL, t->id);
    m->call.age = t->age;
    m->call.handler = handler;
    m->call.key = key;
    m->call.place = place;
    m->call.args = args;
    m->call.frame = f;
    m->call.now_ms = t->now_ms;
    m->call.caller = t->caller;
    m->call.roles = t->roles;
    m->call.request_id = t->request != NULL ? t->request_id : txn_name(t);
    m->call.request = t->request;
    m->call.depth = f->depth + 1;
    m->call.read_only = read_only;
    m->call.patient = t->patient;
    m->call.shares = t->shares;
    m->call.in_turn = t->in_turn;
    m->call.turn = turn;
    m->call.tail = tail;
    message_post(t->shard, to, m);
}

void answer_remote(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    if (t->tail == TAIL_GIVEN && tail_decide(f)) return;
    struct message *m = message_new(t->shard, MSG_ANSWER, t->id);
    m->answer.frame = f->remote_caller;
    m->answer.status = f->status;
    m->answer.failure = t->failure;
    m->answer.retry = t->retry;
    m->answer.result = f->result;
    m->answer.ticket = f->ticket;
    m->answer.participants = t->participants | UINT64_C(1) << t->shard->index;
    m->answer.read_epoch = t->read_epoch;
    m->answer.turn = f->turn;
    message_post(t->shard, f->called_from, m);
}

void wound_send(struct shard *s, struct txn *owner)
{
    uint32_t root = owner->id % ENGINE_SHARDS_MAX;
    if (root == s->index) {
        root_wound(owner);
        return;
    }
    message_post(s, root, message_new(s, MSG_WOUND, owner->id));
}

static void handle_call(struct shard *s, struct message *m)
{
    struct txn *t = txn_find(s, m->txn);
    if (t == NULL) {
        t = txn_begin(s, m->txn, m->call.age);
        t->now_ms = m->call.now_ms;
        t->patient = m->call.patient;
        t->shares = m->call.shares;
        t->in_turn = m->call.in_turn;
        t->caller = arena_copy(&t->arena, m->call.caller);
        t->roles = arena_copy(&t->arena, m->call.roles);
        t->request_id = arena_copy(&t->arena, m->call.request_id);
        t->request = m->call.request;
        t->tail = m->call.tail ? TAIL_GIVEN : TAIL_NONE;
    }
    struct weir_ctx *f = frame_push(
        t, m->call.handler, entity_get_at(s, m->call.handler->type->id, m->call.key, m->call.place),
        m->call.args);
    f->from_shard = true;
    f->called_from = m->from;
    f->remote_caller = m->call.frame;
    f->depth = m->call.depth;
    f->turn = m->call.turn;
    f->read_only = f->read_only || m->call.read_only;
    if (t->cancelled || t->failure.status != WEIR_OK) {
        MARK("a call reaches a doomed record");
        entity_maybe_remove(s, f->entity);
        f->state = FRAME_READY;
        frame_run(f);
        return;
    }
    if (!frame_lock(f)) return;
    if (ENV_CHANCE(s->env, "call.ready")) frame_ready(f);
    else frame_run(f);
}

static void failure_take(struct txn *t, const struct weir_ctx *f, const struct failure *failure)
{
    if (failure->status == WEIR_OK) return;
    if (failure_is_earlier(t, f, failure)) t->failure.status = WEIR_OK;
    if (t->failure.status != WEIR_OK) return;
    txn_doom(t, failure->status, failure->code, failure->detail, failure->text);
    t->failure.turn = failure->turn;
}

static void handle_answer(struct shard *s, struct message *m)
{
    struct weir_ctx *f = m->answer.frame;
    struct txn *t = f->txn;
    struct all_call *call = all_answered(f, m->answer.turn);
    ASSERT(t->id == m->txn && (call != NULL || f->state == FRAME_WAITS_REMOTE));
    t->participants |= m->answer.participants & ~(UINT64_C(1) << s->index);
#ifndef MUTANT_H6_read_epoch
    if (m->answer.read_epoch > t->read_epoch) t->read_epoch = m->answer.read_epoch;
#endif
    if (m->answer.retry > t->retry) t->retry = m->answer.retry;
    failure_take(t, f, &m->answer.failure);
    if (call != NULL) {
        all_answer(f, call, m);
        return;
    }
    f->answer = m->answer.status;
    f->answer_result = m->answer.result;
    f->answer_ticket = m->answer.ticket;
    if (ENV_CHANCE(s->env, "answer.ready")) frame_ready(f);
    else frame_run(f);
}

static void handle_commit(struct shard *s, struct message *m)
{
    struct txn *t = txn_find(s, m->txn);
    ASSERT(t != NULL && t->top == NULL);
    uint64_t epoch = m->epoch;
#ifdef MUTANT_E2
    epoch = s->epoch; /* each participant under an epoch of its own */
#endif
#ifdef MUTANT_H3
    if (m->answer.participants != 0) {
        uint32_t to = (uint32_t)__builtin_ctzll(m->answer.participants);
        struct message *relay = message_new(s, MSG_COMMIT, m->txn);
        relay->epoch = m->epoch;
        relay->clock = m->clock;
        relay->answer.participants = m->answer.participants & (m->answer.participants - 1);
        message_post(s, to, relay);
    }
#endif
    if (m->commit.tied != 0) txn_tie(t, m->commit.tied, t->request_id);
    txn_apply(t, epoch, m->clock);
    txn_end(t);
}

void message_handle(struct shard *s, struct message *m)
{
    /* E1: nobody acts on a message before its own epoch has reached the sender's. COMMITTED, COMMIT and DONE carry
     * the epoch of their decision, which is the sender's at that moment. */
#ifndef MUTANT_E1
    epoch_meet(s, m->epoch, m->clock);
#endif
    struct txn *t;
    switch (m->kind) {
    case MSG_CALL: handle_call(s, m); break;
    case MSG_ANSWER: handle_answer(s, m); break;
    case MSG_COMMITTED: tail_committed(s, m); break;
    case MSG_COMMIT: handle_commit(s, m); break;
    case MSG_ABORT: t = txn_find(s, m->txn); ASSERT(t != NULL && t->top == NULL);
#ifdef MUTANT_H3
        if (m->answer.participants != 0) {
            struct message *relay = message_new(s, MSG_ABORT, m->txn);
            relay->answer.participants = m->answer.participants & (m->answer.participants - 1);
            message_post(s, (uint32_t)__builtin_ctzll(m->answer.participants), relay);
        }
#endif
        txn_end(t);
        break;
    case MSG_WOUND:
        t = txn_find(s, m->txn);
        if (t == NULL) MARK("a wound comes too late");
        if (t != NULL) root_wound(t);
        break;
    case MSG_CANCEL:
        t = txn_find(s, m->txn);
        if (t == NULL) MARK("a cancel comes too late");
        if (t != NULL && !t->cancelled) txn_cancel(t);
        break;
    case MSG_HINT: outbox_receive(s, m->from, m->hint.row, m->hint.again); break;
    case MSG_DONE: outbox_done(s, m->hint.row, m->epoch, m->hint.failure); break;
    }
    message_end(m);
    if (!message_keep(s, m)) mem_free(m);
}
