/*
 * all.c - weir.all: calls of one handler that are out to other shards at the same time, with the effects of calls in turn.
 *
 * The handler's own code runs in turn, call after call. Only a call that is the last act of its part, to another shard, is
 * not waited for: it is out, and the handler goes on with the next part. So what can differ from calls in turn is what the
 * calls that are out find in entities, in which order their effects come, and which of several failures is the first.
 *
 * Every frame beneath, on whatever shard, carries its turn: the number of the weir.all, the place of the call, and whether it
 * is out. By that, each record judges for itself (nobody is asked):
 *
 *   An entity that was locked in one turn and is wanted in another, one of them out, not in order or not known to be: both
 *   may only read. Nor may a call that is out reach an entity of a handler that waits above it, nor wait for a lock that
 *   another of its transaction waits for.
 *   Messages, events and requests outside come in the order of turns, in each record.
 *   A failure counts if those before it have ended well, and it was not for a limit, which the calls share. So all answers
 *   are waited for, whatever fails.
 *
 * Where one of these does not hold, the transaction is undone and run again, with its age, and from then on in turn
 * (RETRY_IN_TURN): once for each root, so that it ends. Once no call is out, those made so far are over: a new number, to
 * which nothing before stands in the way. Only what runs in no turn begins a weir.all at the same time; within one, another
 * is in turn. So one at most is open in a transaction.
 *
 * A frame does not end, nor does the stack of one that is abandoned, while calls of it are out: every CALL is answered before its
 * transaction ends (H5). CANCEL goes to all that are out.
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

/* ---- turns: number << TURN_BITS | place << 1 | out ---- */

#define TURN_BITS 10u
#define TURN_OUT UINT64_C(1)
#define ALL_MAX 256u
/* Several that are out, none of which may write. */
#define TURN_SEVERAL ((UINT64_C(1) << TURN_BITS) - 1)

/* One of the calls. */
struct all_call {
    const struct handler *handler; /* NULL: it was not out */
    uint32_t to;
    bool is_out;
    enum weir_status status;
    void *result;
    struct weir_ticket ticket;
};
struct all {
    struct weir_ctx *owner;
    struct weir_ctx *waiter; /* the frame on the owner's stack that goes on when none is out */
    uint64_t turn;           /* of what the owner does now */
    uint32_t out, went;      /* calls that are; that went out under this number */
    uint32_t count;
    struct all_call calls[];
};

static bool same_all(uint64_t turn, uint64_t other)
{
    return (turn ^ other) >> TURN_BITS == 0;
}

uint64_t turn_slow(const struct weir_ctx *f)
{
    if (f->turn != 0) return f->turn;
    ASSERT(f == f->txn->all->owner);
    return f->txn->all->turn;
}

enum weir_status all_undo(struct txn *t)
{
    MARK("weir.all: undone, to be run in turn");
    t->retry = RETRY_IN_TURN;
    return txn_doom(t, WEIR_ABORTED, STR(""), STR_NIL,
                    STR("undone, to be run again with the calls of weir.all in turn"));
}

/* ---- entities ---- */

/* In `a` was what ran in turn a->turn; may f have it now? */
static bool turns_meet(const struct access *a, const struct weir_ctx *f)
{
    if (f->turn == a->turn || !same_all(f->turn, a->turn)) return false;
    if (f->read_only && !a->turn_wrote) return false;
    if (a->turn & TURN_OUT) return true;
    /* what was not out had ended when this one went out, if its place is not behind */
    return f->turn & TURN_OUT && a->turn > f->turn;
}

static bool is_above(const struct weir_ctx *f)
{
    if (!(f->turn & TURN_OUT)) return false;
    for (const struct weir_ctx *g = f->txn->top; g != NULL; g = g->below) {
        if (g->turn == 0 && g->entity == f->entity && !(g->read_only && f->read_only)) return true;
    }
    return false;
}

static bool is_waited_for(const struct weir_ctx *f)
{
    for (const struct weir_ctx *g = entity_waiter(f->entity); g != NULL; g = g->next_wait) {
        if (g->txn == f->txn) return true;
    }
    return false;
}

bool all_conflicts(const struct weir_ctx *f)
{
    const struct txn *t = f->txn;
    struct entity *e = f->entity;
    /* transactions that only read meet nobody; a service has nothing but what it sends */
    if (t->shares || f->handler->type->service) return false;
#ifdef MUTANT_all_waits_for_itself
    if (entity_owner(e) != t) return false;
#endif
    if (entity_owner(e) != t) return entity_owner(e) != NULL && is_waited_for(f);
#ifdef MUTANT_all_no_conflict
    return false;
#endif
    return turns_meet(e->lock->access, f) || is_above(f);
}

void access_turn(struct access *a, const struct weir_ctx *f)
{
    if (!same_all(a->turn, f->turn)) {
        a->turn = f->turn;
        a->turn_wrote = !f->read_only;
        return;
    }
    bool several = a->turn != f->turn && f->read_only && (a->turn | f->turn) & TURN_OUT;
    if (several) a->turn |= TURN_SEVERAL;
    else if (f->turn > a->turn) a->turn = f->turn;
    a->turn_wrote = a->turn_wrote || !f->read_only;
}

/* ---- effects ---- */

bool effect_turn_slow(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    uint64_t turn = turn_of(f);
    if (same_all(turn, t->effect_turn) && turn >> 1 < t->effect_turn >> 1) {
        MARK("weir.all: an effect comes before its turn");
#ifndef MUTANT_all_effects_any_order
        all_undo(t);
        return false;
#endif
    }
    t->effect_turn = turn;
    return true;
}

/* ---- failures ---- */

/* Is it the one that calls in turn would have met? */
static bool failure_is_first(const struct txn *t)
{
    const struct all *all = t->all;
    const struct failure *failure = &t->failure;
    if (all->went == 0) return true;
    if (failure->status == WEIR_BUDGET || failure->status == WEIR_OVERLOADED) return false;
    if (!same_all(failure->turn, all->turn)) return false;
    uint32_t place = (uint32_t)(failure->turn & TURN_SEVERAL) >> 1;
    for (uint32_t i = 0; i < place && i < all->count; i++) {
        /* of an earlier number, it ended well: else no more would have been begun */
        if (all->calls[i].handler != NULL && all->calls[i].status != WEIR_OK) return false;
    }
    return true;
}

bool failure_is_earlier(const struct txn *t, const struct weir_ctx *f,
                        const struct failure *failure)
{
    if (t->all != NULL)
        return same_all(failure->turn, t->failure.turn) && failure->turn < t->failure.turn;
    /* f is in no turn: what it called has judged all that failed beneath, here too */
    return f->turn == 0 && t->failure.turn != 0;
}

/* No call is out any more. What a mere status tells of is still on its way; see frame_call(). */
static void all_close(struct txn *t)
{
    struct all *all = t->all;
    ASSERT(all->out == 0);
    for (uint32_t i = 0; i < all->count; i++) {
        if (all->calls[i].status == WEIR_OK || frame_is_doomed(all->owner)) continue;
        if (t->retry == RETRY_NO) t->retry = RETRY_LOST;
        txn_doom(t, all->calls[i].status, STR(""), STR_NIL, STR("undone below, to be run again"));
    }
    if (ENV_CHANCE(t->shard->env, "all.undone")) all_undo(t);
    if (t->failure.status != WEIR_OK && t->retry == RETRY_NO && !failure_is_first(t)) {
        MARK("weir.all: a failure that may not be the first");
#ifndef MUTANT_all_any_failure
        t->retry = RETRY_IN_TURN;
#endif
    }
    t->all = NULL;
}

/* ---- out and back ---- */

struct all *ctx_all_begin(struct weir_ctx *f, size_t count)
{
    struct txn *t = f->txn;
    struct shard *s = t->shard;
    if (s->engine->shard_count == 1 || count < 2 || count > ALL_MAX || t->in_turn) return NULL;
    if (f->turn != 0 || t->all != NULL || frame_is_doomed(f)) return NULL;
    if (ENV_CHANCE(s->env, "all.in_turn")) return NULL;
    struct all *all = arena_alloc(&t->arena, sizeof(*all) + count * sizeof(all->calls[0]));
    all->owner = f;
    all->count = (uint32_t)count;
    t->all = all;
    return all;
}

bool ctx_all_next(struct all *all, size_t place)
{
    struct shard *s = all->owner->txn->shard;
    if (frame_is_doomed(all->owner)) return false;
    uint64_t number = all->turn >> TURN_BITS;
    if (all->out == 0) {
        number = ++s->next_all * ENGINE_SHARDS_MAX + s->index;
        all->went = 0;
    }
    all->turn = number << TURN_BITS | (uint64_t)place << 1;
    return true;
}

bool ctx_all_call(struct all *all, const struct handler *handler, struct weir_str key,
                  struct key_place place, const void *args)
{
    struct weir_ctx *f = all->owner;
    struct shard *s = f->txn->shard;
    if (frame_is_doomed(f)) return false;
    if (handler->type->service) {
        key = txn_name(f->txn);
        place = type_place(handler->type, key);
    }
    uint32_t to = slot_shard(s->engine, place.slot);
    if (to == s->index || !call_is_allowed(f, handler, &key, NULL, args)) return false;
    struct all_call *call = &all->calls[(all->turn & TURN_SEVERAL) >> 1];
    *call = (struct all_call){ .handler = handler, .to = to, .is_out = true };
    if (all->out > 0) MARK("weir.all: several calls are out");
    all->out++;
    all->went++;
    s->stats.remote_calls_total++;
    s->stats.together_calls_total++;
    f->last = (struct weir_ticket){ 0 };
    call_remote(f, to, handler, key, place, args, f->read_only || handler->kind == WEIR_QUERY,
                false, all->turn | TURN_OUT);
    return true;
}

struct all_call *all_answered(struct weir_ctx *f, uint64_t turn)
{
    struct all *all = f->txn->all;
    if (!(turn & TURN_OUT) || all == NULL || all->owner != f) return NULL;
    return &all->calls[(turn & TURN_SEVERAL) >> 1];
}

void all_answer(struct weir_ctx *f, struct all_call *call, const struct message *m)
{
    struct all *all = f->txn->all;
    struct weir_ctx *waiter = all->waiter;
    ASSERT(call->is_out && all->out > 0);
    call->is_out = false;
    call->status = m->answer.status;
    call->result = m->answer.result;
    call->ticket = m->answer.ticket;
    if (--all->out > 0 || waiter == NULL) return;
    all->waiter = NULL;
    if (ENV_CHANCE(f->txn->shard->env, "answer.ready")) frame_ready(waiter);
    else frame_run(waiter);
}

enum weir_status ctx_all_end(struct all *all)
{
    struct weir_ctx *f = all->owner;
    if (all->out > 0) {
        all->waiter = f;
        f->state = FRAME_WAITS_ALL;
        fiber_suspend(f->fiber);
    }
    all_close(f->txn);
    return weir_failed(f);
}

const struct handler *ctx_all_answer(const struct all *all, size_t place, void **result,
                                     struct weir_ticket *ticket)
{
    const struct all_call *call = &all->calls[place];
    *result = call->result;
    *ticket = call->ticket;
    return call->handler;
}

bool all_holds_stack(struct weir_ctx *bottom, struct weir_ctx *last)
{
    struct txn *t = bottom->txn;
    struct all *all = t->all;
    if (all == NULL || all->owner->bottom != bottom) return false;
    if (all->out == 0) {
        all_close(t);
        return false;
    }
    MARK("weir.all: a stack ends while calls are out");
    last->state = FRAME_WAITS_ALL;
    all->waiter = last;
    return true;
}

void all_cancel(struct txn *t)
{
    struct all *all = t->all;
    if (all == NULL) return;
    if (all->out > 1) MARK("weir.all: cancelled while several calls are out");
    for (uint32_t i = 0; i < all->count; i++) {
        if (!all->calls[i].is_out) continue;
        message_post(t->shard, all->calls[i].to, message_new(t->shard, MSG_CANCEL, t->id));
    }
}
