/*
 * last.c - calls that are a handler's last act, and tail-commit: such a call of a root gives the decision away.
 *
 * A lock on a busy entity of another shard would be held from its handler until COMMIT has come from the root: over a
 * journey between shards. When the root has nothing to do after the call, the callee may decide instead
 * (ARCHITECTURE.md, Tail-commit): CALL says so (tail), the callee's shard commits in its own epoch and answers COMMITTED(e), and the root writes into
 * that epoch. The rules, each with its mutant in tests/model (H11_...):
 *
 *   The root's handler has returned and was judged before CALL. It has no other participant, sent, emitted and asked
 *   nothing, delivers no message: whatever else a decision brings about, the decider must do itself (H3).
 *   The callee decides only at the end of the record's first handler, with no record below it, and only well. It then writes,
 *   tells and lets go in one step, so COMMITTED stands in the ring before any mark of that epoch: the root's shard, which
 *   does not park meanwhile, cannot have sealed it (E3) and writes the moment it takes the message from the ring.
 *   From CALL on the root only obeys: wounded or past its deadline it sends CANCEL and waits for the one answer, which may
 *   be COMMITTED. Its answer waits for the epoch of the decision, and for what either read.
 *   Any other end is the plain one: ANSWER, and the root decides.
 *
 * States of a record (enum tail): GIVEN by CALL -> DECIDED in tail_decide(), its end; or NONE, when its first handler
 * answers as ever: the root's COMMIT or ABORT comes.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

/* ---- results are handed on ---- */

/* Fits in the form of Lua's `returns` left out, any JSON: numbers, truths and texts look alike in both runtimes. */
static bool is_plain(const struct shape *shape)
{
    if (!shape->scalar || shape->fields[0].optional) return false;
    enum weir_kind kind = shape->fields[0].kind;
    return kind == WEIR_INT || kind == WEIR_BOOL || kind == WEIR_FLOAT || kind == WEIR_TEXT;
}

static bool is_any(const struct shape *shape)
{
    return shape->scalar && shape->fields[0].kind == WEIR_ANY;
}

/* Whatever the callee answers, the caller may, without a look at it. */
static bool hands_on(const struct shape *own, const struct shape *from)
{
    if (own->count == 0) return true;
    if (is_any(own) && (from->count == 0 || is_plain(from))) return true;
    return shape_takes(own, from);
}

bool last_call_fits(const struct handler *own, const struct handler *callee, struct arena *arena,
                    const char **why)
{
    return hands_on(own->result, callee->result) ||
           shape_fits(callee->result, own->result, arena, why);
}

static enum weir_status hand_on(struct weir_ctx *f, const struct handler *callee,
                                const void *answer)
{
    const struct shape *own = f->handler->result, *from = callee->result;
    struct arena *arena = &f->txn->arena;
    if (own->count == 0) return WEIR_OK;
    shape_start(own, f->result);
    if (answer == NULL || from->count == 0) return WEIR_OK;
    if (shape_same_layout(own, from)) {
        shape_copy(from, answer, arena, f->result);
        return WEIR_OK;
    }
    struct buf bytes = { 0 };
    enum weir_status st = WEIR_OK;
    if (is_any(own)) {
        json_write(from, answer, &bytes);
        *(struct weir_str *)f->result = arena_copy(arena, buf_str(&bytes));
    } else {
        pack(from, answer, &bytes);
        st = unpack(own, arena_copy(arena, buf_str(&bytes)), arena, false, f->result);
    }
    buf_free(&bytes);
    return st;
}

/* ---- last calls ---- */

void last_call_set(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                   struct key_place place, const void *args)
{
    struct last_call *last = arena_alloc(&f->txn->arena, sizeof(*last));
    *last = (struct last_call){ .handler = handler, .key = key, .place = place, .args = args };
    f->last_call = last;
}

enum weir_status last_call_run(struct weir_ctx *f)
{
    const struct last_call *last = f->last_call;
    void *answer;
    enum weir_status st = frame_call(f, last->handler, last->key, last->place, last->args, &answer);
    if (st != WEIR_OK) return st;
    if (f->last.place != 0) return weir_defer(f, f->last);
    return hand_on(f, last->handler, answer);
}

/* ---- who may decide ---- */

static bool is_alone(const struct txn *t)
{
    return t->sends == NULL && t->emits == NULL && t->asks == NULL
#ifndef MUTANT_H11_participant
           && t->participants == 0
#endif
        ;
}

bool ctx_may_end(const struct weir_ctx *f)
{
    const struct txn *t = f->txn;
    return t->shard->engine->shard_count > 1 && t->root != NULL && f->below == NULL &&
           t->root->kind == ROOT_REQUEST && is_alone(t) && f->last_call == NULL;
}

bool ctx_call_last(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                   struct key_place place, const void *args)
{
    struct shard *s = f->txn->shard;
    if (handler->type->service || key.len == 0 || !hands_on(f->handler->result, handler->result))
        return false;
    if (slot_shard(s->engine, place.slot) == s->index) return false;
    last_call_set(f, handler, key, place, args);
    return true;
}

/* memory_max is judged at the root's end, where reads and deletions still pass: that must not be given away. */
bool tail_fits(const struct weir_ctx *f, const struct handler *handler)
{
    const struct txn *t = f->txn;
    if (t->root == NULL || f->below != NULL || t->root->kind != ROOT_REQUEST) return false;
    if (!is_alone(t) || t->retry || f->ticket.place != 0) return false;
    if (memory_is_full(t->shard) || ENV_CHANCE(t->shard->env, "tail.not_given")) return false;
    return hands_on(f->handler->result, handler->result);
}

static bool tail_may_decide(const struct weir_ctx *f)
{
    struct txn *t = f->txn;
#ifndef MUTANT_H11_inner
    if (f->below != NULL) {
        MARK("tail-commit: a call within the record does not decide");
        return false;
    }
#endif
    t->tail = TAIL_NONE; /* a later handler of this record is not the last one called */
    if (f->status != WEIR_OK || t->cancelled || t->failure.status != WEIR_OK || t->retry) {
        MARK("tail-commit: undone, so the root hears an answer");
        return false;
    }
    if (!is_alone(t) || f->ticket.place != 0) {
        MARK("tail-commit: the callee called on or sent, so the root decides");
        return false;
    }
    return !ENV_CHANCE(t->shard->env, "tail.not_taken");
}

/* ---- deciding ---- */

static void result_take(struct message *m, const struct shape *shape, const void *result,
                        struct buf *scratch)
{
    m->committed.result = (struct weir_str){ m->committed.bytes, 0 };
    if (shape->count == 0) return;
    buf_reset(scratch);
    pack(shape, result, scratch);
    char *bytes = m->committed.bytes;
    if (scratch->len > RESULT_INLINE) bytes = mem_alloc(scratch->len);
    memcpy(bytes, scratch->ptr, scratch->len);
    m->committed.result = (struct weir_str){ bytes, scratch->len };
}

bool tail_decide(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    struct shard *s = t->shard;
    if (!tail_may_decide(f)) return false;
    t->tail = TAIL_DECIDED;
    s->clock++;
    struct message *m = message_new(s, MSG_COMMITTED, t->id);
    uint64_t epoch = m->epoch, before = s->buffers[epoch % EPOCH_BUFFERS].len;
    ASSERT(t->read_epoch <= epoch);
    m->committed.frame = f->remote_caller;
    m->committed.read_epoch = t->read_epoch;
    result_take(m, f->handler->result, f->result, &s->scratch);
    txn_apply(t, epoch, m->clock);
    m->committed.effects = s->buffers[epoch % EPOCH_BUFFERS].len != before;
    message_post(s, f->called_from, m);
    return true;
}

void tail_committed(struct shard *s, struct message *m)
{
    struct weir_ctx *f = m->committed.frame;
    struct txn *t = f->txn;
    struct last_call *last = f->last_call;
    ASSERT(t->id == m->txn && t->top == f && f->state == FRAME_WAITS_REMOTE && t->root != NULL);
    ASSERT(last != NULL && t->failure.status == WEIR_OK);
    if (t->cancelled) MARK("tail-commit: wounded or late meanwhile, and committed");
    last->decided = true;
    last->effects = m->committed.effects;
    last->epoch = m->epoch;
    last->clock = m->clock;
    t->decided = last;
    if (m->committed.read_epoch > t->read_epoch) t->read_epoch = m->committed.read_epoch;
#ifdef MUTANT_H11_abort
    if (t->cancelled) t->decided = NULL;
#endif
    t->cancelled = false;
    const struct shape *shape = last->handler->result;
    f->answer = WEIR_OK;
    f->answer_ticket = (struct weir_ticket){ 0 };
    f->answer_result = NULL;
    if (shape->count > 0) {
        f->answer_result = arena_alloc(&t->arena, shape->size + 8u);
        ASSERT(unpack(shape, m->committed.result, &t->arena, true, f->answer_result) == WEIR_OK);
    }
#ifdef MUTANT_H11_late
    frame_ready(f);
#else
    frame_run(
        f); /* to its end: what it changed is in that epoch before this message counts as taken */
#endif
}
