/*
 * frame.c - handlers on fibers: locks, calls on the same shard, and how a transaction's frames end.
 *
 * A frame is a handler called on an entity. It first takes the entity's lock, holding no fiber while it
 * waits; then it runs on a fiber until it returns, calls another shard, or calls an entity whose lock is
 * taken. Whatever it waits for always comes: a lock, or one answer for each call. A wounded or doomed
 * transaction is unwound by resuming its frames, innermost first, with a failure: every later call fails at
 * once, so a C handler returns and a Lua one is abandoned.
 *
 * Locks: wound-wait and wait-die of Rosenkrantz, Stearns and Lewis, "System Level Concurrency Control for
 * Distributed Database Systems", TODS 1978; ages are kept over retries. A root that holds no lock yet waits under
 * every policy and wounds nobody: nobody can wait for it.
 *
 * wound_wait: an older requester wounds a younger owner through its root, then waits; everyone waits in order of
 * age. Waits go from young to old or to a wounded holder.
 *
 * Under wound_wait, transactions that only read (root_may_share() in root.c) share locks among themselves.
 *
 * wait_die: who is younger than the owner dies: it is undone and runs again. All waits of those that hold locks go
 * from old to young. That stays so when a lock is given on, as of those that hold locks the youngest is next. Each owner
 * of that row is older than the last, so the row ends; then roots that hold nothing follow in order of age. The oldest
 * transaction dies for none but those that are decided and about to let go.
 *
 * no_wait: who comes second dies. After NO_WAIT_DEATHS_MAX deaths a transaction is patient, it behaves as under
 * wait_die: still no wait goes from young to old, and the oldest ends. So nobody starves under any policy.
 *
 * Who died sleeps before it runs again (root.c), in its place in the queue of its root entity, so that the order of
 * requests stays, and without the lock, so that nobody waits for a sleeper but roots that hold nothing.
 * SPDX-License-Identifier: MIT
 */
#include <stdarg.h>
#include <stdio.h>

#include "core/core_int.h"

/* ---- locks ---- */

/* Owner of a lock that nobody has, and that the first in its queue, asleep, must not get yet. */
static struct txn sleeping;
/* Owner of a lock that several transactions may have that only read: their accesses hang at the entity. */
static struct txn shared;

/* Kept out of what runs for each lock that nobody else wants. */
#define SLOW __attribute__((noinline, cold))

enum conflict { CONFLICT_WAITS, CONFLICT_WOUNDS, CONFLICT_DIES };

/* A record on another shard than the root's belongs to a transaction that holds its root entity at least. */
static bool holds_locks(const struct txn *t)
{
    return t->root == NULL || t->access_count > 0 || t->participants != 0;
}

static enum conflict_policy policy_of(const struct txn *t)
{
    return t->shard->engine->options.conflict_policy;
}

/* The policy: what becomes of a transaction that wants what `owner` has. */
static enum conflict conflict_judge(const struct txn *t, const struct txn *owner)
{
    if (!holds_locks(t)) return CONFLICT_WAITS;
    bool older = age_older(t->age, owner->age);
    switch (policy_of(t)) {
    case CONFLICT_WOUND_WAIT: return older ? CONFLICT_WOUNDS : CONFLICT_WAITS;
    case CONFLICT_WAIT_DIE:
#ifdef MUTANT_no_death
        return CONFLICT_WAITS;
#endif
        return older ? CONFLICT_WAITS : CONFLICT_DIES;
    case CONFLICT_NO_WAIT: return older && t->patient ? CONFLICT_WAITS : CONFLICT_DIES;
    }
    ASSERT(false);
    return CONFLICT_WAITS;
}

/* Is its place in a queue ahead of the other's? */
static bool waits_before(const struct txn *t, const struct txn *other)
{
    bool older = age_older(t->age, other->age);
    if (policy_of(t) == CONFLICT_WOUND_WAIT) return older;
    bool holds = holds_locks(t);
    if (holds != holds_locks(other)) return holds;
#ifdef MUTANT_die_queue_by_age
    return older;
#endif
    return holds ? !older : older;
}

static void waiters_add(struct entity *e, struct weir_ctx *f)
{
    struct lock *q = e->lock;
    struct weir_ctx *at = q->tail;
    while (at != NULL && waits_before(f->txn, at->txn)) at = at->prev_wait;
    f->prev_wait = at;
    f->next_wait = at ? at->next_wait : q->head;
    if (f->next_wait) f->next_wait->prev_wait = f;
    else q->tail = f;
    if (at) at->next_wait = f;
    else q->head = f;
}

static void waiters_remove(struct entity *e, struct weir_ctx *f)
{
    struct lock *q = e->lock;
    if (f->prev_wait) f->prev_wait->next_wait = f->next_wait;
    else q->head = f->next_wait;
    if (f->next_wait) f->next_wait->prev_wait = f->prev_wait;
    else q->tail = f->prev_wait;
    f->prev_wait = f->next_wait = NULL;
}

static inline void share_take(struct entity *e, struct weir_ctx *f)
{
    ASSERT(e->lock->owner == NULL || e->lock->owner == &shared);
    e->lock->owner = &shared;
    f->access = txn_share(f->txn, e);
}

static void lock_take(struct entity *e, struct weir_ctx *f)
{
    struct lock *lock = entity_lock(f->txn->shard, e);
    if (f->txn->shares) {
        share_take(e, f);
    } else {
        ASSERT(lock->owner == NULL || lock->owner == f->txn);
        lock->owner = f->txn;
        f->access = txn_access(f->txn, e);
    }
    if (f->turn != 0) access_turn(f->access, f);
    struct root *root = f->txn->root;
    if (root != NULL && !root->holding) {
        root->holding = true;
        f->txn->shard->roots_holding++;
    }
}

/* Dooms it: undone and run again, with its age. */
static void txn_die(struct txn *t)
{
    MARK("a transaction dies for a lock");
    t->retry = RETRY_DIED;
    txn_doom(t, WEIR_ABORTED, STR(""), STR_NIL,
             STR("undone since another one had a lock, to be run again"));
}

/* A lock that is left to one that sleeps: who holds locks takes it all the same, and so does an older root. */
static bool lock_pass(struct weir_ctx *f)
{
    struct entity *e = f->entity;
    if (!waits_before(f->txn, e->lock->head->txn)) {
        f->state = FRAME_WAITS_LOCK;
        waiters_add(e, f);
        return false;
    }
    e->lock->owner = NULL;
    lock_take(e, f);
    return true;
}

/* A reader joins other readers unless an older transaction waits that cannot. A writer waits, and wounds every younger
 * reader, a root that holds nothing yet, too: others wait behind it for what they could share, so it is in their way as
 * if it held something. (Without that four transactions stand for ever: tests/model, share_roots.) */
static bool lock_shared(struct weir_ctx *f)
{
    struct entity *e = f->entity;
    struct txn *t = f->txn;
    const struct weir_ctx *first = e->lock->head;
    bool joins = first == NULL || waits_before(t, first->txn);
    for (const struct share *r = e->lock->readers; r != NULL && !joins; r = r->next)
        joins = r->txn == t;
    if (t->shares && joins) {
        MARK("a lock is shared");
        lock_take(e, f);
        return true;
    }
    if (t->shares) MARK("a reader waits behind an older writer");
    f->state = FRAME_WAITS_LOCK;
    waiters_add(e, f);
    for (struct share *r = e->lock->readers; r != NULL && !t->shares; r = r->next) {
        if (!age_older(t->age, r->txn->age)) continue;
        MARK("a writer wounds a reader");
#ifndef MUTANT_no_reader_wound
        wound_send(t->shard, r->txn);
#endif
    }
    return false;
}

static SLOW bool lock_wait(struct weir_ctx *f)
{
    struct entity *e = f->entity;
    struct txn *t = f->txn;
    struct txn *owner = e->lock->owner;
    if (owner == &sleeping) return lock_pass(f);
    if (owner == &shared) return lock_shared(f);
    enum conflict conflict = conflict_judge(t, owner);
    if (conflict == CONFLICT_DIES) {
        txn_die(t);
        frame_ready(f); /* to end before it begins */
        return false;
    }
    f->state = FRAME_WAITS_LOCK;
    waiters_add(e, f);
    if (!holds_locks(t) && age_older(t->age, owner->age)) {
        MARK("older, holds nothing: wounds nobody");
        if (ENV_CHANCE(t->shard->env, "lock.wound")) conflict = CONFLICT_WOUNDS;
    }
#ifndef MUTANT_no_wound
    if (conflict == CONFLICT_WOUNDS) wound_send(t->shard, owner);
#endif
    return false;
}

static SLOW bool lock_meets(struct weir_ctx *f)
{
    MARK("weir.all: two calls meet at an entity");
    all_undo(f->txn);
    frame_ready(f); /* to end before it begins */
    return false;
}

bool frame_lock(struct weir_ctx *f)
{
    struct entity *e = f->entity;
    if (f->turn != 0 && all_conflicts(f)) return lock_meets(f);
    const struct txn *owner = entity_owner(e);
    if (owner != NULL && owner != f->txn) return lock_wait(f);
    lock_take(e, f);
    return true;
}

/* Readers at the head of the queue share what readers have. */
static void share_more(struct entity *e)
{
    struct weir_ctx *f;
    while ((f = e->lock->head) != NULL && f->txn->shares) {
        MARK("a waiting reader shares the lock");
        waiters_remove(e, f);
        lock_take(e, f);
        frame_ready(f);
    }
}

/* The first waiter gets the lock. Those left are younger than it under wound_wait, older or without locks under the
 * others: the rule holds by order. */
static SLOW void lock_give(struct entity *e)
{
    struct weir_ctx *f = e->lock->head;
    if (f->txn->asleep) {
        MARK("a free lock is left to one that sleeps");
        e->lock->owner = &sleeping;
        return;
    }
    MARK("a lock is given on");
    waiters_remove(e, f);
    lock_take(e, f);
    frame_ready(f);
    if (f->txn->shares) share_more(e);
}

void lock_release(struct shard *s, struct entity *e)
{
    e->lock->owner = NULL;
    e->lock->access = NULL;
    if (e->lock->head != NULL) lock_give(e);
    else entity_settle(s, e);
}

void lock_offer(struct shard *s, struct entity *e)
{
    const struct txn *owner = entity_owner(e);
    if (owner == &shared) share_more(e);
    if (owner == &sleeping) lock_release(s, e);
}

void share_release(struct shard *s, struct access *a)
{
    struct entity *e = a->entity;
    struct share **at = &e->lock->readers;
    ASSERT(e->lock->owner == &shared);
    while (&(*at)->access != a) at = &(*at)->next;
    *at = (*at)->next;
    if (e->lock->readers == NULL) lock_release(s, e);
}

/* ---- frames ---- */

void frame_ready(struct weir_ctx *f)
{
    struct shard *s = f->txn->shard;
    f->state = FRAME_READY;
    f->next_wait = NULL;
    *s->ready_tail = f;
    s->ready_tail = &f->next_wait;
}

struct weir_ctx *frame_push(struct txn *t, const struct handler *handler, struct entity *e,
                            const void *args)
{
    struct shard *s = t->shard;
    struct weir_ctx *f = s->frame_free;
    if (f != NULL) {
        s->frame_free = f->below;
        *f = (struct weir_ctx){ 0 };
    } else {
        f = mem_alloc(sizeof(*f));
    }
    f->txn = t;
    f->below = t->top;
    t->top = f;
    f->handler = handler;
    f->entity = e;
    f->args = args;
    f->bottom = f;
    f->read_only = handler->kind == WEIR_QUERY;
    return f;
}

/* Out of their midst, when calls of a weir.all end in another order than they came. */
static SLOW void frame_unlink(struct txn *t, const struct weir_ctx *f)
{
    struct weir_ctx **at = &t->top;
    while (*at != f) at = &(*at)->below;
    *at = f->below;
}

static void frame_pop(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    if (t->top == f) t->top = f->below;
    else frame_unlink(t, f);
    f->below = t->shard->frame_free;
    t->shard->frame_free = f;
}

/* ---- running ---- */

static uint32_t runtime_index(const struct engine *engine, const struct runtime *runtime)
{
    for (uint32_t i = 0; i < engine->runtime_count; i++) {
        if (engine->runtimes[i] == runtime) return i;
    }
    return 0;
}

static inline bool frame_is_root(const struct weir_ctx *f)
{
    return f->txn->root != NULL && f->caller == NULL && !f->from_shard;
}

static enum weir_status invoke(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    const struct handler *h = f->handler;
    struct access *a = f->access;
    bool is_root = frame_is_root(f);
    if (is_root && root_has_before(t->root) && !root_before(f)) return t->failure.status;
    if (!h->type->service && !access_open(f)) return t->failure.status;
    void *row = h->type->service ? NULL : a->row;
    const void *before = NULL;
    if (f->read_only && row != NULL && h->runtime == &native_runtime && !h->builtin)
        before = access_copy(a, &t->arena);
    void *state = t->shard->states[runtime_index(t->shard->engine, h->runtime)];
    enum weir_status st = h->runtime->invoke(state, f, h, row, f->args, f->result);
    if (t->cancelled) return WEIR_ABORTED;
    if (t->failure.status != WEIR_OK) return t->failure.status;
    if (st != WEIR_OK) {
        return txn_doom(t, st == WEIR_ABORTED ? WEIR_HANDLER : st, STR(""), STR_NIL,
                        arena_printf(&t->arena, "%.*s:%.*s returned `%s`", STR_ARG(h->type->name),
                                     STR_ARG(h->name), weir_status_word(st)));
    }
    if (before != NULL && memcmp(before, row, a->type->row->size) != 0) {
        MARK("a query changed its row");
        return txn_doom(
            t, WEIR_HANDLER, STR(""), STR_NIL,
            arena_printf(&t->arena, "the query `%.*s` changed its row", STR_ARG(h->name)));
    }
    if (!h->type->service && (!f->read_only || a->overlay.count > 0)) {
        st = access_judge(f);
        if (st != WEIR_OK) return t->failure.status;
    }
    if (f->last_call != NULL) {
        st = last_call_run(f);
        if (st != WEIR_OK || f->last_call->decided) return st;
    }
    struct problem problem;
    problem_clear(&problem);
    if (f->ticket.place != 0 && h->result->count > 0) {
        shape_start(h->result, f->result); /* what a caller sees that does not ask for the ticket */
    } else if (h->result->count > 0 &&
               shape_judge(h->result, f->result, false, &problem) != WEIR_OK) {
        return txn_doom(t, WEIR_HANDLER, STR(""), STR_NIL,
                        arena_printf(&t->arena,
                                     "the result of %.*s:%.*s is not what it declares: %s",
                                     STR_ARG(h->type->name), STR_ARG(h->name), problem.text));
    }
    bool ties = is_root && (f->ticket.place != 0 || t->root->kind == ROOT_MESSAGE);
    return ties ? answer_tie(f) : WEIR_OK;
}

static void frame_main(void *arg)
{
    struct weir_ctx *f = arg;
    f->status = invoke(f);
}

/* Does any frame of it stand on a stack? The top one may be waiting for a lock, or for a stack itself. */
static bool txn_has_fiber(const struct txn *t)
{
    for (const struct weir_ctx *f = t->top; f != NULL; f = f->below) {
        if (f->fiber != NULL) return true;
    }
    return false;
}

/* Out of stacks: the youngest transaction here makes room, and the frame waits for it. Only a younger
 * one than its own, as with locks: else two shards would take turns in wounding each other's oldest for ever. Waiters
 * stand in order of age. Where the old wait for the young and wound nobody, one of them may wait for this frame's lock:
 * then only those may wait here that have wounded; others die. False: it has. */
static bool fibers_short(struct shard *s, struct weir_ctx *f)
{
    struct txn *youngest = NULL;
    for (size_t i = 0; i < s->txn_cap; i++) {
        for (struct txn *t = s->txns[i]; t != NULL; t = t->chain) {
            if (age_older(f->txn->age, t->age) && !t->cancelled && txn_has_fiber(t) &&
                (youngest == NULL || age_older(youngest->age, t->age)))
                youngest = t;
        }
    }
    if (youngest != NULL) {
        MARK("out of fibers: the youngest is wounded");
        wound_send(s, youngest);
    } else if (policy_of(f->txn) != CONFLICT_WOUND_WAIT) {
        MARK("out of fibers: it dies");
        txn_die(f->txn);
        return false;
    }
    f->state = FRAME_READY;
    struct weir_ctx **at = &s->fiber_waiters;
    while (*at != NULL && !age_older(f->txn->age, (*at)->txn->age)) at = &(*at)->next_wait;
    f->next_wait = *at;
    *at = f;
    return true;
}

/* The loop stands on it, and no handler. */
static inline bool host_is_free(const struct shard *s)
{
    return s->host != NULL && s->running == NULL;
}

/* A new stack: none for a younger transaction while an older one waits, else that would wound for ever. */
static struct fiber *fiber_for(struct shard *s, struct weir_ctx *f)
{
    const struct weir_ctx *first = s->fiber_waiters;
    if (first != NULL && age_older(first->txn->age, f->txn->age)) {
        MARK("a fiber is left to an older transaction");
        return NULL;
    }
    /* Not at will for one that died of it often: of many calls each would have to be lucky in one attempt. */
    if (!f->txn->patient && ENV_CHANCE(s->env, "frame.no_fiber")) return NULL;
    if (host_is_free(s)) return s->host;
    return fiber_take(s->fibers, frame_main, f);
}

/* No other transaction holds a stack here, so none will come free. */
static bool fibers_never(struct shard *s, const struct weir_ctx *f)
{
    if (fiber_pool_in_use(s->fibers) - host_is_free(s) < s->engine->limits.fibers_max) return false;
    for (size_t i = 0; i < s->txn_cap; i++) {
        for (const struct txn *t = s->txns[i]; t != NULL; t = t->chain) {
            if (t != f->txn && txn_has_fiber(t)) return false;
        }
    }
    return true;
}

/* The stack will not be gone on with: its frames end, the one at its bottom with what ended the transaction. */
static void stack_drop(struct weir_ctx *bottom)
{
    struct txn *t = bottom->txn;
    struct shard *s = t->shard;
    fiber_drop(bottom->fiber);
    for (struct weir_ctx *f = t->top, *below;; f = below) {
        const struct runtime *runtime = f->handler->runtime;
        below = f->below;
        if (f->bottom != bottom) continue; /* of another call of a weir.all */
        if (!f->lost && runtime->dropped != NULL)
            runtime->dropped(s->states[runtime_index(s->engine, runtime)], f->user);
        if (f == bottom) break;
        MARK("a stack with several frames is dropped");
        frame_pop(f);
    }
    bottom->status = frame_doom(bottom);
    if (bottom->status == WEIR_OK) bottom->status = WEIR_ABORTED;
}

/* Runs a frame on the loop's stack. False: that went with it when it waited. It has ended by now, resumed by somebody who will
 * find it so as soon as this stack is left. */
static bool host_invoke(struct shard *s, struct weir_ctx *f)
{
    struct fiber *host = s->host;
    f->state = FRAME_RUNS;
    s->running = f;
    f->status = invoke(f);
    if (s->host != host) return false;
    s->running = NULL;
    f->fiber = NULL;
    f->state = FRAME_DONE;
    return true;
}

/* The handler that took the loop's stack waits, or nothing of it is to run any more. */
static void host_left(struct shard *s)
{
    struct weir_ctx *last = s->running, *bottom = last->bottom;
    s->running = NULL;
    root_stays(s);
    if (!last->abandoned && !last->lost) return;
    if (all_holds_stack(bottom, last)) return;
    stack_drop(bottom);
    bottom->fiber = NULL;
    bottom->state = FRAME_DONE;
    frame_run(bottom);
}

void host_run(struct shard *s, void (*work)(void *arg), void *arg)
{
    for (;;) {
        struct fiber *host = ENV_CHANCE(s->env, "host.none") ? NULL
                                                             : fiber_take(s->fibers, work, arg);
        if (host == NULL) {
            work(arg);
            return;
        }
        s->host = host;
        bool left = fiber_switch_in(host);
        s->host = NULL;
        if (!left) return;
        MARK("a handler that waits takes the loop's stack");
        host_left(s);
    }
}

/* Runs the frame, and those under it on its stack, until one waits (false) or the one at the bottom is done (true). */
static bool frame_switch(struct weir_ctx *f)
{
    struct shard *s = f->txn->shard;
    if (f->fiber == NULL && f->state != FRAME_DONE) {
        if (frame_is_doomed(f)) {
            MARK("a frame ends before it began");
            f->status = frame_doom(f);
            f->state = FRAME_DONE;
            return true;
        }
        f->fiber = fiber_for(s, f);
        if (f->fiber == NULL && fibers_never(s, f) && f->turn != 0) {
            f->status = all_undo(f->txn);
            f->state = FRAME_DONE;
            return true;
        }
        if (f->fiber == NULL && fibers_never(s, f)) {
            MARK("limit: fibers_max in one transaction");
            f->status = txn_doom(f->txn, WEIR_BUDGET, STR(""), STR_NIL,
                                 arena_printf(&f->txn->arena,
                                              "calls nest deeper than fibers_max = %llu",
                                              (unsigned long long)s->engine->limits.fibers_max));
            f->state = FRAME_DONE;
            return true;
        }
        if (f->fiber == NULL) {
            MARK("out of fibers");
            if (fibers_short(s, f)) return false;
            f->status = f->txn->failure.status;
            f->state = FRAME_DONE;
            return true;
        }
        f->result = frame_is_root(f) && f->txn->root->kind == ROOT_REQUEST
                        ? root_result(f->txn->root)
                        : arena_alloc(&f->txn->arena, f->handler->result->size + 8u);
    }
    struct weir_ctx *outer = s->running, *bottom = f->bottom, *last = f;
    bool more = false, lost = f->lost || f->abandoned;
    if (f->fiber != NULL && f->fiber == s->host) return host_invoke(s, f);
    if (f->state != FRAME_DONE && !lost) {
        f->state = FRAME_RUNS;
        s->running = f;
        more = fiber_switch_in(f->fiber);
        last = s->running;
        s->running = outer;
    }
    if (more && !last->abandoned && !last->lost) return false;
    if (bottom->fiber != NULL && (more || lost)) {
        if (all_holds_stack(bottom, last)) return false;
        stack_drop(bottom);
    }
    bottom->fiber = NULL;
    bottom->state = FRAME_DONE;
    return true;
}

#if defined(MUTANT_read_locks_released) || defined(MUTANT_remote_read_locks_released)
/* Gives up at once the lock of an entity that was read only. */
static void read_lock_release(struct weir_ctx *f)
{
    struct txn *t = f->txn;
    struct access *a = f->access;
#ifdef MUTANT_remote_read_locks_released
    if (!f->from_shard) return;
#endif
    if (!f->read_only || a == NULL || a->changed || a->overlay.count > 0 ||
        f->entity == t->root_entity || f->handler->type->service)
        return;
    for (struct weir_ctx *g = t->top; g != NULL; g = g->below) {
        if (g != f && g->entity == f->entity) return;
    }
    struct access **at = &t->accesses;
    while (*at != NULL && *at != a) at = &(*at)->next;
    if (*at == NULL) return;
    *at = a->next;
    f->access = NULL;
    if (t->shares) {
        share_release(t->shard, a);
        return;
    }
    lock_release(t->shard, f->entity);
}
#endif

void frame_run(struct weir_ctx *f)
{
    for (;;) {
        struct weir_ctx *bottom = f->bottom;
        if (!frame_switch(f)) return;
        f = bottom;
        struct txn *t = f->txn;
        struct weir_ctx *caller = f->caller;
#if defined(MUTANT_read_locks_released) || defined(MUTANT_remote_read_locks_released)
        read_lock_release(f);
#endif
        if (caller != NULL) {
            caller->answer = f->status;
            caller->answer_result = f->result;
            caller->answer_ticket = f->ticket;
            frame_pop(f);
            f = caller;
            continue;
        }
        bool from_shard = f->from_shard;
        if (from_shard) answer_remote(f);
        t->status = f->status;
        t->result = f->result;
        frame_pop(f);
        if (!from_shard) root_finish(t);
        else if (t->tail == TAIL_DECIDED) txn_end(t);
        return;
    }
}

/* The transaction was wounded or cancelled: a frame that waits for a lock ends now; if one waits for another shard, that is
 * told. A frame about to run finds the mark itself. */
void txn_cancel(struct txn *t)
{
    t->cancelled = true;
    for (struct weir_ctx *f = t->top; f != NULL; f = f->below) {
        if (f->state == FRAME_WAITS_LOCK) {
            MARK("cancelled while it waits for a lock");
            waiters_remove(f->entity, f);
            f->status = WEIR_ABORTED;
            if (t->asleep) root_rise(t);
            lock_offer(t->shard, f->entity);
            frame_ready(f);
        } else if (f->state == FRAME_WAITS_REMOTE) {
            MARK("cancelled while it waits for another shard");
#ifndef MUTANT_no_cancel
            struct message *m = message_new(t->shard, MSG_CANCEL, t->id);
            message_post(t->shard, f->waits_for, m);
#endif
        }
    }
#ifndef MUTANT_all_no_cancel
    all_cancel(t);
#endif
}

/* ---- what handlers call ---- */

/* Suspends for good a frame whose runtime's state is gone: nothing of it may run. */
static void stop_if_lost(struct weir_ctx *f)
{
    if (!f->lost) return;
    f->abandoned = true;
    for (;;) fiber_suspend(f->fiber);
}

void ctx_abandon(struct weir_ctx *f)
{
    ASSERT(f->handler->runtime->drops);
    f->abandoned = true;
    for (;;) fiber_suspend(f->fiber);
}

enum weir_status ctx_fail(struct weir_ctx *f, enum weir_status status, const char *format, ...)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    char text[600];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return txn_doom(f->txn, status, STR(""), STR_NIL, str_of(text));
}

enum weir_status ctx_fail_json(struct weir_ctx *f, enum weir_status status, struct weir_str code,
                               struct weir_str json)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    struct weir_str text = code;
    if (status != WEIR_FAILED) text = str_of(weir_status_text(status));
    return txn_doom(f->txn, status, code, json, text);
}

void ctx_state_lost(struct weir_ctx *f)
{
    struct shard *s = f->txn->shard;
    const struct runtime *runtime = f->handler->runtime;
    for (size_t i = 0; i < s->txn_cap; i++) {
        for (struct txn *t = s->txns[i], *next; t != NULL; t = next) {
            next = t->chain;
            bool hit = false;
            for (struct weir_ctx *g = t->top; g != NULL; g = g->below) {
                bool returned = g->last_call != NULL; /* nothing of the runtime is on its stack */
                if (g == f || g->handler->runtime != runtime || g->fiber == NULL || returned)
                    continue;
                g->lost = true;
                hit = true;
            }
            if (hit && t != f->txn && !t->cancelled) wound_send(s, t);
        }
    }
}

void **ctx_user(struct weir_ctx *f)
{
    return &f->user;
}

const struct handler *ctx_handler(struct weir_ctx *f)
{
    return f->handler;
}

void *ctx_state(struct weir_ctx *f)
{
    return f->txn->shard->states[runtime_index(f->txn->shard->engine, f->handler->runtime)];
}

bool ctx_read_only(struct weir_ctx *f)
{
    return f->read_only;
}

const struct catalog *ctx_catalog(struct weir_ctx *f)
{
    return f->txn->shard->engine->catalog;
}

struct arena *ctx_arena(struct weir_ctx *f)
{
    return &f->txn->arena;
}

/* `e` is the entity where it is here already. */
bool call_is_allowed(struct weir_ctx *f, const struct handler *handler, struct weir_str *key,
                     const struct entity *e, const void *args)
{
    struct txn *t = f->txn;
    const struct engine_limits *limits = &t->shard->engine->limits;
    if (f->depth + 1 >= limits->call_depth_max) {
        MARK("limit: call_depth_max");
        ctx_fail(f, WEIR_BUDGET, "calls are nested deeper than call_depth_max = %llu",
                 (unsigned long long)limits->call_depth_max);
        return false;
    }
    if (t->access_count >= limits->entities_max) {
        MARK("limit: entities_max");
        ctx_fail(f, WEIR_BUDGET,
                 "a transaction reaches more than entities_max = %llu entities on a shard",
                 (unsigned long long)limits->entities_max);
        return false;
    }
    if (handler->type->service) {
        *key = txn_name(t);
    } else if (key->ptr == NULL || key->len == 0) {
        ctx_fail(f, WEIR_ARG, "a call of %.*s:%.*s on an entity without a key",
                 STR_ARG(handler->type->name), STR_ARG(handler->name));
        return false;
    } else if (key->len > KEY_BYTES_MAX) {
        ctx_fail(f, WEIR_TOOBIG, "a key of %zu bytes is longer than %u", key->len, KEY_BYTES_MAX);
        return false;
    }
    if (!(e != NULL && e->keyed) && !type_key_fits(handler->type, *key)) {
        ctx_fail(f, WEIR_ARG, "`%.*s` is no key of %.*s: it is declared as `%.*s`", STR_ARG(*key),
                 STR_ARG(handler->type->name), STR_ARG(handler->type->key_text));
        return false;
    }
    if (f->read_only && handler->kind != WEIR_QUERY) {
        ctx_fail(f, WEIR_HANDLER, "the query `%.*s` calls %.*s:%.*s, which may write",
                 STR_ARG(f->handler->name), STR_ARG(handler->type->name), STR_ARG(handler->name));
        return false;
    }
    struct problem problem;
    problem_clear(&problem);
    if (handler->args->count > 0 && shape_judge(handler->args, args, false, &problem) != WEIR_OK) {
        ctx_fail(f, WEIR_ARG, "a call of %.*s:%.*s: %s", STR_ARG(handler->type->name),
                 STR_ARG(handler->name), problem.text);
        return false;
    }
    return true;
}

/* May the callee run on its caller's stack? One that may be dropped stands only on others such: one in C must return.
 * Each has as much room as if it were alone, so only so much may be in use. */
static bool stack_is_shared(const struct weir_ctx *f, const struct weir_ctx *callee)
{
    if (callee->handler->runtime->drops && !f->handler->runtime->drops) return false;
    if (ENV_CHANCE(f->txn->shard->env, "call.own_stack")) return false;
    return fiber_stack_used(f->fiber) <= STACK_SHARED_BYTES;
}

/* Runs the callee to its end on the caller's stack; the caller's fiber may be suspended meanwhile. */
static void frame_run_here(struct weir_ctx *f, struct weir_ctx *callee)
{
    struct shard *s = f->txn->shard;
    callee->fiber = f->fiber;
    callee->bottom = f->bottom;
    callee->result = arena_alloc(&f->txn->arena, callee->handler->result->size + 8u);
    callee->state = FRAME_RUNS;
    s->running = callee;
    callee->status = invoke(callee);
    s->running = f;
}

static enum weir_status call_local(struct weir_ctx *f, const struct handler *handler,
                                   struct entity *e, const void *args)
{
    struct shard *s = f->txn->shard;
    s->stats.local_calls_total++;
    struct weir_ctx *callee = frame_push(f->txn, handler, e, args);
    callee->caller = f;
    callee->depth = f->depth + 1;
    callee->turn = turn_of(f);
    callee->read_only = callee->read_only || f->read_only;
    f->state = FRAME_WAITS_LOCAL;
    bool done = false;
    if (!frame_lock(callee)) {
        /* it waits, on no stack */
    } else if (ENV_CHANCE(s->env, "call.later")) {
        frame_ready(callee);
    } else if (stack_is_shared(f, callee)) {
        frame_run_here(f, callee);
        done = true;
    } else {
        done = frame_switch(callee);
    }
    if (done) {
#ifdef MUTANT_read_locks_released
        read_lock_release(callee);
#endif
        f->answer = callee->status;
        f->answer_result = callee->result;
        f->answer_ticket = callee->ticket;
        frame_pop(callee);
        f->state = FRAME_RUNS;
        stop_if_lost(f);
        return f->answer;
    }
    fiber_suspend(f->fiber);
    return f->answer;
}

enum weir_status frame_call(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                            struct key_place place, const void *args, void **answer)
{
    *answer = NULL;
    f->last = (struct weir_ticket){ 0 };
    if (frame_is_doomed(f)) return frame_doom(f);
    struct shard *s = f->txn->shard;
    uint32_t to = slot_shard(s->engine, place.slot);
    struct entity *e = NULL;
    if (to == s->index && !handler->type->service)
        e = entity_look_at(s, handler->type->id, key, place);
    if (e != NULL) row_expect(e);
    if (!call_is_allowed(f, handler, &key, e, args)) return f->txn->failure.status;
    if (handler->type->service) {
        place = type_place(handler->type, key);
        to = slot_shard(s->engine, place.slot);
    }
    enum weir_status st;
    if (to == s->index) {
        if (e == NULL) e = entity_get_at(s, handler->type->id, key, place);
        st = call_local(f, handler, e, args);
    } else {
        s->stats.remote_calls_total++;
        bool tail = f->last_call != NULL && tail_fits(f, handler);
        call_remote(f, to, handler, key, place, args, f->read_only || handler->kind == WEIR_QUERY,
                    tail, turn_of(f));
        f->state = FRAME_WAITS_REMOTE;
        f->waits_for = to;
        fiber_suspend(f->fiber);
        st = f->answer;
    }
    if (frame_is_doomed(f)) return frame_doom(f);
    if (st != WEIR_OK) {
        /* The callee was cancelled or lost its runtime's state, and what tells us so is still on its way. A handler
         * that does not look at the status must not end this attempt well. */
        if (f->txn->retry == RETRY_NO) f->txn->retry = RETRY_LOST;
        return txn_doom(f->txn, st, STR(""), STR_NIL, STR("undone below, to be run again"));
    }
    *answer = f->answer_result;
    f->last = f->answer_ticket;
    return st;
}

enum weir_status ctx_call(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                          const void *args, void *result)
{
    void *answer;
    enum weir_status st = frame_call(f, handler, key, type_place(handler->type, key), args,
                                     &answer);
    if (result == NULL) return st;
    if (st == WEIR_OK && answer != NULL)
        shape_copy(handler->result, answer, &f->txn->arena, result);
    else shape_start(handler->result, result);
    return st;
}

enum weir_status ctx_call_at(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                             struct key_place place, const void *args, const void **result)
{
    void *answer;
    enum weir_status st = frame_call(f, handler, key, place, args, &answer);
    if (st == WEIR_OK && answer == NULL) {
        answer = arena_alloc(&f->txn->arena, handler->result->size + 8u);
        shape_start(handler->result, answer);
    }
    *result = answer;
    return st;
}

/* What weir_use() leaves in a verb. */
struct bound {
    const struct handler *handler;
    struct shape *args, *result;
    bool same_args, same_result;
};

static bool verb_args_convert(struct weir_ctx *f, const struct bound *bound, const void *args,
                              void **out)
{
    struct buf bytes = { 0 };
    pack(bound->args, args, &bytes);
    struct weir_str packed = arena_copy(&f->txn->arena, buf_str(&bytes));
    buf_free(&bytes);
    *out = arena_alloc(&f->txn->arena, bound->handler->args->size + 8u);
    return unpack(bound->handler->args, packed, &f->txn->arena, false, *out) == WEIR_OK;
}

static inline bool verb_args(struct weir_ctx *f, const struct bound *bound, const void *args,
                             void **out)
{
    *out = (void *)(uintptr_t)args;
    return bound->same_args || bound->handler->args->count == 0 ||
           verb_args_convert(f, bound, args, out);
}

static enum weir_status verb_result(struct weir_ctx *f, const struct bound *bound,
                                    const void *answer, void *result)
{
    const struct shape *from = bound->handler->result;
    if (bound->result->count == 0) return WEIR_OK;
    if (bound->same_result) {
        shape_copy(from, answer, &f->txn->arena, result);
        return WEIR_OK;
    }
    if (from->scalar && from->fields[0].kind == WEIR_ANY) {
        struct problem problem;
        problem_clear(&problem);
        struct weir_str json = *(const struct weir_str *)answer;
        if (json_read(bound->result, json.ptr ? json : STR("null"), &f->txn->arena, result,
                      &problem) == WEIR_OK)
            return WEIR_OK;
        return ctx_fail(f, WEIR_HANDLER, "the answer of %.*s: %s", STR_ARG(bound->handler->name),
                        problem.text);
    }
    struct buf bytes = { 0 };
    pack(from, answer, &bytes);
    struct weir_str packed = arena_copy(&f->txn->arena, buf_str(&bytes));
    buf_free(&bytes);
    return unpack(bound->result, packed, &f->txn->arena, false, result);
}

struct key_place ctx_place(struct weir_ctx *f, const struct type *type, struct weir_str key)
{
    const struct root *root = f->txn->root;
    const struct request *request = root != NULL ? root->request : NULL;
    if (request != NULL && request->partner_key.ptr == key.ptr &&
        request->partner_key.len == key.len && request->handler->partner_type == type)
        return request->partner;
    return type_place(type, key);
}

static const struct bound *verb_bound(struct weir_ctx *f, const struct weir_verb *verb)
{
    if (verb->place == NULL)
        ctx_fail(f, WEIR_HANDLER, "the verb %s:%s was not given to weir_use()", verb->type,
                 verb->handler);
    return verb->place;
}

static enum weir_status verb_call(struct weir_ctx *f, struct weir_str key,
                                  const struct weir_verb *verb, const void *args, void *result)
{
    const struct bound *bound = verb_bound(f, verb);
    if (bound == NULL) return f->txn->failure.status;
    void *converted, *answer;
    if (!verb_args(f, bound, args, &converted))
        return ctx_fail(f, WEIR_ARG, "the arguments of %s:%s do not fit", verb->type,
                        verb->handler);
    struct key_place place = ctx_place(f, bound->handler->type, key);
    enum weir_status st = frame_call(f, bound->handler, key, place, converted, &answer);
    if (st != WEIR_OK || result == NULL) return st;
    if (answer != NULL) return verb_result(f, bound, answer, result);
    shape_start(bound->result, result);
    return WEIR_OK;
}

enum weir_status weir_call(struct weir_ctx *f, struct weir_ref to, const struct weir_verb *verb,
                           const void *args, void *result)
{
    enum weir_status st = frame_is_doomed(f) ? frame_doom(f)
                                             : verb_call(f, to.key, verb, args, result);
    const struct bound *bound = verb->place;
    /* who does not look at the status must not compute with what stood there */
    if (st != WEIR_OK && bound != NULL && result != NULL) shape_start(bound->result, result);
    return st;
}

/* One after the other, as far as they go well. */
static enum weir_status calls_in_turn(struct weir_ctx *f, const struct weir_call *calls,
                                      size_t count)
{
    enum weir_status st = weir_failed(f);
    for (size_t i = 0; i < count && st == WEIR_OK; i++)
        st = weir_call(f, calls[i].to, calls[i].verb, calls[i].args, calls[i].result);
    return st;
}

static void call_begin(struct weir_ctx *f, struct all *all, const struct weir_call *call)
{
    const struct bound *bound = verb_bound(f, call->verb);
    void *args;
    if (bound != NULL && verb_args(f, bound, call->args, &args) &&
        ctx_all_call(all, bound->handler, call->to.key,
                     ctx_place(f, bound->handler->type, call->to.key), args))
        return;
    (void)weir_call(f, call->to, call->verb, call->args, call->result);
}

enum weir_status weir_call_all(struct weir_ctx *f, const struct weir_call *calls, size_t count)
{
    struct all *all = ctx_all_begin(f, count);
    if (all == NULL) return calls_in_turn(f, calls, count);
    for (size_t i = 0; i < count; i++) {
        const struct bound *bound = calls[i].verb->place;
        if (bound != NULL && calls[i].result != NULL) shape_start(bound->result, calls[i].result);
        if (ctx_all_next(all, i)) call_begin(f, all, &calls[i]);
    }
    enum weir_status st = ctx_all_end(all);
    for (size_t i = 0; i < count && st == WEIR_OK; i++) {
        void *answer;
        const struct handler *handler = ctx_all_answer(all, i, &answer, &f->last);
        ASSERT_SLOW(handler == NULL || calls[i].verb->place != NULL);
        if (handler != NULL && calls[i].result != NULL && answer != NULL)
            st = verb_result(f, calls[i].verb->place, answer, calls[i].result);
    }
    return st;
}

#define EXPECTED_AT_ONCE 32u /* more than a processor fetches side by side */

void weir_expect(struct weir_ctx *f, const struct weir_verb *verb, const struct weir_ref *to,
                 size_t count)
{
    const struct bound *bound = frame_is_doomed(f) ? NULL : verb_bound(f, verb);
    if (bound == NULL || bound->handler->type->service) return;
    const struct type *type = bound->handler->type;
    struct shard *s = f->txn->shard;
    while (count > 0) {
        struct key_place places[EXPECTED_AT_ONCE];
        size_t n = 0;
        for (; count > 0 && n < EXPECTED_AT_ONCE; to++, count--) {
            places[n] = type_place(type, to->key);
            if (slot_shard(s->engine, places[n].slot) != s->index) continue;
            entity_expect(s, type->id, places[n++], EXPECT_PLACE);
        }
        for (size_t i = 0; i < n; i++) entity_expect(s, type->id, places[i], EXPECT_ENTITY);
        for (size_t i = 0; i < n; i++) entity_expect(s, type->id, places[i], EXPECT_ROW);
    }
}

void ctx_expect(struct weir_ctx *f, const struct type *type, struct key_place place, bool near)
{
    struct shard *s = f->txn->shard;
    if (slot_shard(s->engine, place.slot) == s->index)
        entity_expect(s, type->id, place, near ? EXPECT_ENTITY : EXPECT_PLACE);
}

enum weir_status weir_call_last(struct weir_ctx *f, struct weir_ref to,
                                const struct weir_verb *verb, const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    struct arena *arena = &f->txn->arena;
    const struct bound *bound = verb_bound(f, verb);
    const char *why = "";
    void *converted;
    if (bound == NULL) return f->txn->failure.status;
    if (f->last_call != NULL)
        return ctx_fail(f, WEIR_HANDLER, "%.*s:%.*s makes a second last call",
                        STR_ARG(f->handler->type->name), STR_ARG(f->handler->name));
    if (!last_call_fits(f->handler, bound->handler, arena, &why))
        return ctx_fail(f, WEIR_HANDLER, "the result of %s:%s is not that of %.*s:%.*s: %s",
                        verb->type, verb->handler, STR_ARG(f->handler->type->name),
                        STR_ARG(f->handler->name), why);
    if (!verb_args(f, bound, args, &converted))
        return ctx_fail(f, WEIR_ARG, "the arguments of %s:%s do not fit", verb->type,
                        verb->handler);
    /* the handler's stack will be gone */
    if (converted == args && bound->handler->args->count > 0) {
        converted = arena_alloc(arena, bound->handler->args->size + 8u);
        shape_copy(bound->handler->args, args, arena, converted);
    }
    struct weir_str key = arena_copy(arena, to.key);
    last_call_set(f, bound->handler, key, ctx_place(f, bound->handler->type, key), converted);
    return WEIR_OK;
}

enum weir_status ctx_send(struct weir_ctx *f, const struct handler *handler, struct weir_str key,
                          const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    struct txn *t = f->txn;
    const struct engine_limits *limits = &t->shard->engine->limits;
    if (f->read_only)
        return ctx_fail(f, WEIR_HANDLER, "the query `%.*s` sends a message",
                        STR_ARG(f->handler->name));
    struct problem problem;
    problem_clear(&problem);
    if (handler->args->count > 0 && shape_judge(handler->args, args, false, &problem) != WEIR_OK)
        return ctx_fail(f, WEIR_ARG, "a message to %.*s:%.*s: %s", STR_ARG(handler->type->name),
                        STR_ARG(handler->name), problem.text);
    if (handler->type->service) key = txn_name(t);
    if (key.len == 0 || key.len > KEY_BYTES_MAX)
        return ctx_fail(f, WEIR_ARG, "a message needs a key of 1 to %u bytes", KEY_BYTES_MAX);
    if (!type_key_fits(handler->type, key))
        return ctx_fail(f, WEIR_ARG, "`%.*s` is no key of %.*s", STR_ARG(key),
                        STR_ARG(handler->type->name));
    if (++t->send_count > limits->sends_max) MARK("limit: sends_max");
    if (t->send_count > limits->sends_max)
        return ctx_fail(f, WEIR_BUDGET, "a transaction sends more than sends_max = %llu messages",
                        (unsigned long long)limits->sends_max);
    /* A delivery ends one message, so it may send one: full senders would wait for each other. */
    bool handed_on = t->root != NULL && t->root->kind == ROOT_MESSAGE && t->send_count == 1;
    uint64_t pending = f->entity->lock->pending + t->send_count;
    bool full = pending > limits->messages_pending_max && !handed_on;
    if (full) MARK("limit: messages_pending_max");
    if (full)
        return ctx_fail(f, WEIR_OVERLOADED,
                        "more than messages_pending_max = %llu messages of this sender wait",
                        (unsigned long long)limits->messages_pending_max);
    if (!effect_in_turn(f)) return frame_doom(f);
    struct send *send = arena_alloc(&t->arena, sizeof(*send));
    struct buf bytes = { 0 };
    pack(handler->args, args, &bytes);
    send->args = arena_copy(&t->arena, buf_str(&bytes));
    buf_free(&bytes);
    t->bytes_written += send->args.len;
    if (t->bytes_written > limits->txn_bytes_max)
        return ctx_fail(f, WEIR_BUDGET, "a transaction writes more than txn_bytes_max = %llu bytes",
                        (unsigned long long)limits->txn_bytes_max);
    send->sender = f->entity;
    send->handler = handler;
    send->key = arena_copy(&t->arena, key);
    *t->sends_tail = send;
    t->sends_tail = &send->next;
    f->last = ticket_make(t, handler, false, t->send_count);
    return WEIR_OK;
}

enum weir_status weir_send(struct weir_ctx *f, struct weir_ref to, const struct weir_verb *verb,
                           const void *args)
{
    if (frame_is_doomed(f)) return frame_doom(f);
    const struct bound *bound = verb_bound(f, verb);
    void *converted;
    if (bound == NULL) return f->txn->failure.status;
    if (!verb_args(f, bound, args, &converted))
        return ctx_fail(f, WEIR_ARG, "the arguments of %s:%s do not fit", verb->type,
                        verb->handler);
    if (bound->handler->kind == WEIR_QUERY)
        return ctx_fail(f, WEIR_HANDLER, "a message to %s:%s does nothing, as that is a query",
                        verb->type, verb->handler);
    return ctx_send(f, bound->handler, to.key, converted);
}

bool verb_bind(struct catalog *catalog, struct weir_verb *verb, char *why, size_t why_bytes)
{
    struct type *type = catalog_type(catalog, str_of(verb->type));
    struct handler *handler = type ? type_handler(type, str_of(verb->handler)) : NULL;
    if (handler == NULL) {
        snprintf(why, why_bytes, "weir_use: there is no handler %s:%s", verb->type, verb->handler);
        return false;
    }
    struct bound *bound = arena_alloc(&catalog->arena, sizeof(*bound));
    const char *wrong = NULL;
    bound->handler = handler;
    if (!shape_of(&catalog->arena, &verb->args, &bound->args, &wrong) ||
        !shape_of(&catalog->arena, &verb->result, &bound->result, &wrong) ||
        !shape_fits(bound->args, handler->args, &catalog->arena, &wrong)) {
        snprintf(why, why_bytes, "weir_use: %s:%s: %s", verb->type, verb->handler,
                 wrong ? wrong : "shapes differ");
        return false;
    }
    bool any = handler->result->scalar && handler->result->fields[0].kind == WEIR_ANY;
    if (bound->result->count > 0 && !any &&
        !shape_fits(handler->result, bound->result, &catalog->arena, &wrong)) {
        snprintf(why, why_bytes, "weir_use: the result of %s:%s: %s", verb->type, verb->handler,
                 wrong);
        return false;
    }
    shape_plan(&catalog->arena, bound->args);
    shape_plan(&catalog->arena, bound->result);
    bound->same_args = shape_same_layout(bound->args, handler->args);
    bound->same_result = shape_same_layout(handler->result, bound->result);
    verb->place = bound;
    return true;
}
