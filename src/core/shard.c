/*
 * shard.c - the loop of a shard, and when it may seal an epoch or park.
 *
 * The order of a turn is the policy of fairness: messages of other shards first, for they end what is open;
 * then seal, for the disk waits for that; then frames that got their lock; then timers, deliveries and new
 * requests while few transactions hold locks; then hand everything out at once.
 *
 * Epochs (ARCHITECTURE.md, invariants 2 to 4). G is the newest open epoch; it is raised once all before it
 * are durable, by the log writer or, to save it the way, by a shard: see writer_call(). A shard works in its local epoch, at most G. Its buffer of epoch e is sealed, given to the writer for
 * good, once (a) its own epoch is above e, so it decides nothing more in e, and (b) every other shard has
 * shown that it will send no effect of e any more: by a mark on the ring at or above e, read before the ring
 * was drained, or by being seen parked before the ring was drained.
 * (A message may raise the local epoch after the peers' states were read; so only epochs below the G loaded
 * before that are sealed.) A shard parks when it has nothing open and nothing out for delivery. It then owes no marks, and no
 * seal: the writer takes what is in its buffer. Unparking stores "running" and then loads G, both sequentially consistent:
 * whoever saw it parked while sealing e had loaded G above e before, so what it does next belongs to a later epoch than e, and
 * to another buffer. So a shard that has answered what it was asked is not woken to seal; with n shards that a few requests
 * each keep awake, n of them would be, for each sync. (That only those may park that have nothing unsealed is not needed,
 * says tests/model.)
 *
 * States: RUNNING -> PARKED in shard_try_park(); PARKED -> RUNNING in shard_unpark().
 * SPDX-License-Identifier: MIT
 */
#include "core/core_int.h"

#define CLOCK_LOOK_NS UINT64_C(1000000000)
#define STANDING_NS UINT64_C(20000000)
#define ROOTS_PER_TURN 128u
#define TURN_NS UINT64_C(2000000)
#define SEAL_NS UINT64_C(300000)
#define GROW_NS UINT64_C(1000000)
#define CLOCK_KEPT_NS UINT64_C(500000)
#define PACE_NS_MAX UINT64_C(100000000)
#define RECORDS_EVERY_NS UINT64_C(60000000000)

/* Reading the wall clock for each transaction is dear, and milliseconds are what it is read for. What another shard told
 * somebody meanwhile is in engine->now_ms. */
int64_t shard_now_ms(struct shard *s)
{
    if (s->clock_ns - s->wall_read_ns < CLOCK_KEPT_NS)
        return atomic_load_explicit(&s->engine->now_ms, memory_order_relaxed);
    s->wall_read_ns = s->clock_ns;
    return engine_now_ms(s->engine);
}

void shard_wake(struct shard *s)
{
    s->env->actor_wake(s->env, &s->worker->actor);
}

static void raise_to(_Atomic uint64_t *at, uint64_t epoch)
{
    uint64_t seen = atomic_load_explicit(at, memory_order_relaxed);
    while (seen < epoch && !atomic_compare_exchange_weak(at, &seen, epoch)) {}
}

void engine_wants(struct engine *engine, uint64_t epoch)
{
    raise_to(&engine->wanted, epoch);
    raise_to(&engine->due, epoch);
    engine->env->actor_wake(engine->env, &engine->writer.actor);
}

void shard_wanted_first(struct shard *s, uint64_t epoch)
{
    s->wanted = epoch;
    s->wanted_ns = s->clock_ns;
    s->wanted_from = s->stats.commits_total;
    s->wakes_writer = true;
    raise_to(&s->engine->wanted, epoch);
}

/* What it wants is due. */
static void epoch_due(struct shard *s)
{
    s->wakes_writer = false;
    raise_to(&s->engine->due, s->wanted);
}

void epoch_raised(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->shard_count; i++) {
        if (atomic_load(&engine->shards[i].state) == SHARD_RUNNING) shard_wake(&engine->shards[i]);
    }
}

/* ---- parking ---- */

static bool has_input(struct shard *s)
{
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p != s->index && !ring_is_empty(&s->in[p])) return true;
    }
    for (uint32_t p = 0; p < s->engine->port_count; p++) {
        if (!ring_is_empty(&s->from_port[p])) return true;
    }
    return follow_has_input(s);
}

static uint64_t next_due(struct shard *s)
{
    uint64_t due = root_next_due(s);
    struct heap_item *retry = heap_min(&s->retries), *timer = heap_min(&s->timers);
    struct heap_item *sleeper = heap_min(&s->sleepers);
    if (sleeper != NULL && (uint64_t)sleeper->at < due) due = (uint64_t)sleeper->at;
    if (retry != NULL && (uint64_t)retry->at < due) due = (uint64_t)retry->at;
    uint64_t answer = answer_next_due(s);
    if (answer < due) due = answer;
    if (timer != NULL && timer->at <= s->now_ms) return s->now_ns < due ? s->now_ns : due;
    if (timer != NULL) {
        uint64_t at = s->now_ns + (uint64_t)(timer->at - s->now_ms) * 1000000u;
        /* The wall clock may be set forward while nothing happens. Where it was set back, ours stands still meanwhile. */
        bool stands = s->engine->env->wall_ms(s->engine->env) < s->now_ms;
        if (stands && at < s->now_ns + STANDING_NS) at = s->now_ns + STANDING_NS;
        if (at > s->now_ns + CLOCK_LOOK_NS) at = s->now_ns + CLOCK_LOOK_NS;
        if (at < due) due = at;
    }
    return due;
}

/* This shard is parked, or is so no more: of interest only to a writer that has an epoch sealed. */
static void writer_told(struct shard *s)
{
    struct engine *engine = s->engine;
    uint64_t open = atomic_load(&engine->durable) + 1;
    if (open < atomic_load(&engine->epoch) && epoch_is_sealed(engine, open))
        engine->env->actor_wake(engine->env, &engine->writer.actor);
}

static void shard_unpark(struct shard *s)
{
    atomic_store(&s->state, SHARD_RUNNING);
    uint64_t epoch = atomic_load(&s->engine->epoch);
    epoch_meet(s, epoch, 0);
    ASSERT(s->effect_epoch <= epoch);
    if (epoch - 1 > s->sealed_local) {
        s->sealed_local = epoch - 1;
        atomic_store(&s->sealed, epoch - 1);
    }
    writer_told(s);
}

/* ---- who waits for whom ----
 *
 * To seal an epoch each shard needs a mark of each other, and the writer needs all seals. Were each of them woken by each mark
 * or seal, n shards cost n * n wakes an epoch. So whoever shows the last one wakes: he stores his own, then looks whether
 * all are there; who waits stores that he does, then looks once more before he sleeps. All of these are sequentially
 * consistent, so the last of them sees what the others stored.
 */

static bool marks_are_there(struct shard *s, uint64_t epoch)
{
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p != s->index && atomic_load(&s->engine->shards[p].state) != SHARD_PARKED &&
            atomic_load(&s->in[p].mark) < epoch)
            return false;
    }
    return true;
}

/* At the end of a turn: true if it must not sleep, for it may seal. */
static bool seal_awaits(struct shard *s)
{
    uint64_t epoch = s->sealed_local + 1;
    if (s->epoch <= epoch || s->epoch_seen <= epoch)
        return false; /* G is to be raised first, which wakes */
    atomic_store(&s->awaits, epoch);
    return marks_are_there(s, epoch);
}

/* Its mark has grown, or it has parked and owes none. */
static void marks_shown(struct shard *s)
{
    atomic_thread_fence(memory_order_seq_cst);
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        struct shard *peer = &s->engine->shards[p];
        uint64_t epoch = peer != s ? atomic_load(&peer->awaits) : 0;
        if (epoch != 0 && marks_are_there(peer, epoch)) shard_wake(peer);
    }
}

static bool shard_try_park(struct shard *s)
{
    if (ENV_CHANCE(s->env, "shard.stay_awake")) return false;
    if (s->txn_count > 0 || s->hints_out > 0 || s->ready != NULL || s->pending != NULL ||
        s->walk.active || s->ghost_count > 0 || s->fiber_waiters != NULL ||
        s->lanes_ready != NULL || s->derives_ready > 0)
        return false;
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (s->overflow[p] != NULL) {
            MARK("no parking: overflow");
            return false;
        }
    }
    for (uint32_t p = 0; p < s->engine->port_count; p++) {
        if (s->port_overflow[p] != NULL) return false;
    }
    atomic_store(&s->state, SHARD_PARKED);
    writer_told(s);
    marks_shown(s);
    return true;
}

/* ---- sealing ---- */

static bool may_seal(struct shard *s, uint64_t epoch)
{
    if (s->epoch <= epoch || s->epoch_seen <= epoch) return false;
#ifndef MUTANT_E3
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p != s->index && s->marks[p] < epoch) return false;
    }
#endif
    return true;
}

static bool shard_seal(struct shard *s)
{
    bool sealed = false;
    if (ENV_CHANCE(s->env, "shard.seal_late")) return true;
    while (may_seal(s, s->sealed_local + 1)) {
        s->sealed_local++;
        sealed = true;
    }
    if (sealed) {
        atomic_store(&s->sealed, s->sealed_local);
        if (epoch_is_sealed(s->engine, s->sealed_local))
            s->env->actor_pass(s->env, &s->engine->writer.actor);
    }
    return sealed;
}

static bool shard_may_begin(struct shard *s);

/*
 * A sync costs the same for one commit as for hundreds. While more requests wait to begin than commits wait for the epoch, none of
 * its clients could ask for more without waiting behind those: so it grows, at most for GROW_NS. Then half of what is under way is
 * synced while the other half runs, however much that is; and where nobody waits to begin, there is no delay.
 */
static bool epoch_may_grow(struct shard *s)
{
    if (ENV_CHANCE(s->env, "shard.epoch_due")) return false;
    return s->pending_count > s->stats.commits_total - s->wanted_from &&
           s->clock_ns - s->wanted_ns < GROW_NS && shard_may_begin(s);
}

/*
 * At the end of a turn in which somebody waits for the open epoch. With nothing left to do while the writer is
 * idle, this shard raises G in its place, for the writer would do the same and nothing else: its next turn seals, and the
 * writer is woken once, to write. True when there is to be a next turn: G was raised, or the epoch grows.
 */
static bool writer_call(struct shard *s)
{
    struct engine *engine = s->engine;
    uint64_t open = atomic_load(&engine->epoch);
    if (open > s->wanted) {
        s->wakes_writer = false;
        return false; /* raised meanwhile: the writer waits for seals, and is told of them */
    }
    ASSERT(s->wanted == open);
    if (epoch_may_grow(s)) {
        MARK("an epoch grows while more requests wait to begin");
        return true;
    }
    epoch_due(s);
    bool idle = s->pending == NULL && s->ready == NULL && !has_input(s) &&
                atomic_load(&engine->durable) + 1 == open;
    if (idle && !ENV_CHANCE(s->env, "shard.raise_none") &&
        atomic_compare_exchange_strong(&engine->epoch, &open, open + 1)) {
        MARK("a shard raises the epoch");
        epoch_raised(engine);
        return true;
    }
    s->env->actor_wake(s->env, &engine->writer.actor);
    return false;
}

/* ---- input and output ---- */

/* G, then state and mark of each peer: all before its ring is drained. That order is the proof (H1, H2). */
static void shard_load(struct shard *s)
{
    uint64_t epoch = atomic_load(&s->engine->epoch);
#ifdef MUTANT_E1
    if (!has_input(s))
#endif
        epoch_meet(s, epoch, 0);
    s->epoch_seen = epoch;
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p == s->index) continue;
        uint32_t state = atomic_load(&s->engine->shards[p].state);
        uint64_t mark = ring_mark(&s->in[p]);
        s->marks[p] = state == SHARD_PARKED ? UINT64_MAX : mark;
    }
    s->loaded = true;
}

/* The same as look_ahead() for calls from other shards, so many messages ahead. */
#define AHEAD_MESSAGE 6u
#define AHEAD_CALL_PLACE 4u
#define AHEAD_CALL_ENTITY 2u

static void call_expect(struct shard *s, const struct message *m, enum expect step)
{
    if (m != NULL && m->kind == MSG_CALL)
        entity_expect(s, m->call.handler->type->id, m->call.place, step);
}

static void messages_expect(struct shard *s, const struct ring *ring)
{
    const struct message *m = ring_ahead(ring, AHEAD_MESSAGE);
    for (size_t at = 0; m != NULL && at < sizeof(*m); at += CACHE_LINE) fetch((const char *)m + at);
    call_expect(s, ring_ahead(ring, AHEAD_CALL_PLACE), EXPECT_PLACE);
    call_expect(s, ring_ahead(ring, AHEAD_CALL_ENTITY), EXPECT_ENTITY);
}

static bool shard_receive(struct shard *s)
{
    bool any = false;
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p == s->index) continue;
        for (struct message *m; (m = ring_pop(&s->in[p])) != NULL; any = true) {
            messages_expect(s, &s->in[p]);
            message_handle(s, m);
        }
    }
    s->loaded = false;
    return any;
}

static bool overflow_flush(struct shard *s, uint32_t to, struct ring *ring)
{
    while (s->overflow[to] != NULL) {
        struct message *next = s->overflow[to]->next;
        if (!ring_push(ring, s->overflow[to])) {
            MARK("shard to shard: overflow waits, and so does the mark");
            return false;
        }
        s->overflow[to] = next;
    }
    s->overflow_tail[to] = &s->overflow[to];
    return true;
}

/* What was sent is seen, and that no more of the epochs before this one will be. */
static void peers_flush(struct shard *s)
{
    bool marked = false;
    for (uint32_t p = 0; p < s->engine->shard_count; p++) {
        if (p == s->index) continue;
        struct shard *peer = &s->engine->shards[p];
        struct ring *ring = &peer->in[s->index];
        bool whole = overflow_flush(s, p, ring);
        uint64_t old = atomic_load_explicit(&ring->mark, memory_order_relaxed);
        uint64_t mark = whole ? s->epoch - 1 : old;
        if (ring_publish(ring, mark)) shard_wake(peer);
        marked |= mark != old;
    }
    if (marked) marks_shown(s);
}

/*
 * A door is woken for answers that may leave; for those that wait for their epoch the writer wakes it. It stores what is durable,
 * or that nothing will be any more, and then wakes; here answers are published before that is read: one of the two sees what
 * the other did.
 */
static void ports_flush(struct shard *s)
{
    struct engine *engine = s->engine;
    bool any = false;
    for (uint32_t p = 0; p < engine->port_count; p++) {
        while (s->port_overflow[p] != NULL) {
            struct request *next = s->port_overflow[p]->next;
            if (!ring_push(&s->to_port[p], s->port_overflow[p])) {
                MARK("shard to port: overflow waits");
                break;
            }
            s->port_overflow[p] = next;
        }
        if (s->port_overflow[p] == NULL) s->port_overflow_tail[p] = &s->port_overflow[p];
        any |= ring_publish(&s->to_port[p], 0);
    }
    if (!any) return;
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t leaves = atomic_load(&engine->durable);
    if (atomic_load(&engine->poisoned) || atomic_load(&engine->disk_full)) leaves = UINT64_MAX - 1;
    for (uint32_t p = 0; p < engine->port_count; p++) {
        struct actor *door = engine->ports[p].actor;
        bool ready = s->port_least[p] <= leaves;
        if (s->port_overflow[p] == NULL) s->port_least[p] = UINT64_MAX;
        if (ready && door != NULL) s->env->actor_wake(s->env, door);
    }
}

static bool run_ready(struct shard *s)
{
    bool any = false, one = ENV_CHANCE(s->env, "shard.ready_one");
    while (s->ready != NULL && !(one && any)) {
        struct weir_ctx *f = s->ready;
        s->ready = f->next_wait;
        if (s->ready == NULL) s->ready_tail = &s->ready;
        f->next_wait = NULL;
        frame_run(f);
        any = true;
    }
    if (s->fiber_waiters != NULL) MARK("frames try again for a fiber");
    struct weir_ctx *waiting = s->fiber_waiters;
    s->fiber_waiters = NULL;
    while (waiting != NULL) {
        struct weir_ctx *next = waiting->next_wait;
        waiting->next_wait = NULL;
        frame_run(waiting);
        waiting = next;
    }
    return any;
}

/* Not while the door has yet to take many bytes of answers: handlers make them faster than it can send or drop them. */
static bool shard_may_begin(struct shard *s)
{
    const struct engine_limits *limits = &s->engine->limits;
    if (ENV_CHANCE(s->env, "shard.begin_none")) return false;
    if (atomic_load_explicit(&s->pending->port->answer_bytes, memory_order_relaxed) >
        limits->answer_bytes_max) {
        MARK("requests wait: answer_bytes_max");
        return false;
    }
    if (s->roots_holding >= limits->roots_max) {
        MARK("requests wait: roots_max");
        return false;
    }
    if (s->buffers[s->epoch % EPOCH_BUFFERS].len < limits->epoch_bytes_max) return true;
    MARK("requests wait: epoch_bytes_max");
    return false;
}

/* ---- admission ----
 *
 * Under overload the newest are refused, and at once: who waits was there before, and a refusal after a long
 * wait costs its client that wait for nothing. So a newcomer is refused when those before it, at the pace measured
 * while requests waited, will not have begun within queue_wait_max_ms less a quarter. The quarter is for what the
 * measure does not see yet; whoever waited the whole limit all the same (a pace that broke down: a full disk's
 * delays, a handler of 100 ms) is refused at the head. The pace is forgotten when nobody waits any more. A turn of
 * dear handlers ends by time: answers and refusals leave at its end.
 */

static bool will_wait_too_long(const struct shard *s, uint64_t patience_ns)
{
    return s->pending_count * s->pace_ns > patience_ns - patience_ns / 4;
}

/* Over an eighth of the limit, at most 100 ms, and mixed with the last: a moment without the processor is no overload. */
static void pace_measure(struct shard *s, uint64_t begun, uint64_t patience_ns)
{
    uint64_t window_ns = patience_ns / 8 < PACE_NS_MAX ? patience_ns / 8 : PACE_NS_MAX;
    if (s->pending == NULL) {
        s->pace_from_ns = s->pace_ns = 0;
        return;
    }
    if (s->pace_from_ns == 0) {
        s->pace_from_ns = s->now_ns;
        s->pace_begun = 0;
        return;
    }
    s->pace_begun += begun;
    uint64_t past_ns = s->now_ns - s->pace_from_ns;
    if (past_ns < window_ns || s->pace_begun == 0) return;
    uint64_t pace_ns = past_ns / s->pace_begun;
    s->pace_ns = s->pace_ns == 0 ? pace_ns : (s->pace_ns + pace_ns) / 2;
    s->pace_from_ns = s->now_ns;
    s->pace_begun = 0;
}

/*
 * What a request will need comes from memory, or from another processor, while those before it run: in steps, each of which
 * looks at what the one before has fetched, so many requests ahead.
 */
#define AHEAD_PLACE 12u
#define AHEAD_ENTITY 4u

static inline void request_expect(struct shard *s, const struct request *r, enum expect step)
{
    entity_expect(s, r->handler->type->id, r->place, step);
    if (r->partner_key.ptr != NULL && slot_shard(s->engine, r->partner.slot) == s->index)
        entity_expect(s, r->handler->partner_type->id, r->partner, step);
}

static void places_expect(struct shard *s, struct request *r)
{
    if (r->next != NULL) {
        fetch(r->next);
        fetch((const char *)r->next + CACHE_LINE);
    }
    fetch(r->args);
    fetch(r->key.ptr);
    request_expect(s, r, EXPECT_PLACE);
}

static void entities_expect(struct shard *s, struct request *r)
{
    if (r->partner_key.ptr != NULL) fetch(r->partner_key.ptr);
    request_expect(s, r, EXPECT_ENTITY);
}

static inline void look_ahead(struct shard *s, struct ahead *ahead, uint32_t most,
                              void (*step)(struct shard *s, struct request *r))
{
    if (ahead->count == 0) *ahead = (struct ahead){ s->pending, 1 }; /* too late for that one */
    for (struct request *r; ahead->count < most && (r = ahead->last->next) != NULL;
         ahead->count++) {
        if (r->parked == NULL && !r->waits) step(s, r);
        ahead->last = r;
    }
}

static void begin_first(struct shard *s)
{
    look_ahead(s, &s->ahead[0], AHEAD_PLACE, places_expect);
    look_ahead(s, &s->ahead[1], AHEAD_ENTITY, entities_expect);
    for (unsigned i = 0; i < AHEAD_STEPS; i++) s->ahead[i].count--;
    struct request *r = s->pending;
    s->pending = r->next;
    if (s->pending == NULL) s->pending_tail = &s->pending;
    s->pending_count--;
    r->next = NULL;
    root_begin_request(s, r);
}

struct begin {
    struct shard *shard;
    uint64_t begun, most; /* in this turn */
};

static bool begin_ends(struct begin *self)
{
    struct shard *s = self->shard;
    if (self->begun == self->most || s->pending == NULL) return true;
    if (self->begun == 0) return false;
    s->clock_ns = s->env->mono_ns(s->env);
    if (s->clock_ns - s->now_ns > TURN_NS) return true;
    /* The log writer waits for this shard to seal, and with it everyone whose epoch that is; but epochs that are cut too early
     * are many, and each costs a sync. */
    if (s->clock_ns - s->now_ns < SEAL_NS && !ENV_CHANCE(s->env, "shard.turn_cut")) return false;
    return atomic_load_explicit(&s->engine->epoch, memory_order_relaxed) > s->epoch_seen;
}

/* On a stack that may go: see host_run(). */
static void begin_some(void *arg)
{
    struct begin *self = arg;
    struct shard *s = self->shard;
    struct fiber *host = s->host;
    while (!begin_ends(self) && shard_may_begin(s)) {
        self->begun++;
        begin_first(s);
        if (s->host != host) return;
    }
}

/* Requests leave their rings at once, so that a door is never blocked; they wait here in order of arrival. */
static bool begin_requests(struct shard *s)
{
    bool any = false;
    uint64_t patience_ns = s->engine->limits.queue_wait_max_ms * 1000000u;
    for (uint32_t p = 0; p < s->engine->port_count; p++) {
        for (struct request *r; (r = ring_pop(&s->from_port[p])) != NULL; any = true) {
            if (r->parked == NULL && !r->waits &&
                (will_wait_too_long(s, patience_ns) || ENV_CHANCE(s->env, "request.shed_early"))) {
                MARK("request refused: the queue is too long");
                s->stats.requests_total++;
                request_shed(s, r, "too many requests wait already (queue_wait_max_ms)");
                continue;
            }
            r->next = NULL;
            *s->pending_tail = r;
            s->pending_tail = &r->next;
            s->pending_count++;
        }
    }
    struct begin begin = { s, 0, ENV_CHANCE(s->env, "shard.begin_one") ? 1 : ROOTS_PER_TURN };
    if (s->pending != NULL) host_run(s, begin_some, &begin);
    any = any || begin.begun > 0;
    pace_measure(s, begin.begun, patience_ns);
    /* Those at the head that waited too long are refused even while nothing may begin. */
    for (; s->pending != NULL && s->now_ns > s->pending->arrival_ns + patience_ns; any = true) {
        MARK("request waited too long in the queue");
        begin_first(s);
    }
    return any;
}

void shard_publish(struct shard *s)
{
    s->stats.entities = s->entity_count;
    s->stats.rows = s->rows.count;
    s->stats.state_bytes = s->state_bytes;
    s->stats.memory_bytes = s->memory_bytes;
    s->stats.messages_pending = s->message_count;
    s->stats.timers_pending = s->timer_count;
    s->stats.dedup_rows = s->record_count;
    s->stats.open_transactions = s->txn_count;
#define X(name, text)                                                                              \
    atomic_store_explicit(&s->published.name, s->stats.name, memory_order_relaxed);
    ENGINE_COUNTERS(X)
#undef X
}

__attribute__((noinline)) uint64_t shard_turn(struct shard *s)
{
    struct engine *engine = s->engine;
    s->now_ns = s->clock_ns = s->wall_read_ns = s->env->mono_ns(s->env);
    if (atomic_load_explicit(&s->awaits, memory_order_relaxed) != 0) atomic_store(&s->awaits, 0);
    s->now_ms = engine_now_ms(engine);
    bool walk = atomic_load_explicit(&s->walk.wanted, memory_order_acquire) !=
                atomic_load_explicit(&s->walk.ended, memory_order_relaxed);
    if (atomic_load_explicit(&s->state, memory_order_relaxed) == SHARD_PARKED) {
        bool forced = ENV_CHANCE(s->env, "shard.unpark");
        uint64_t due = next_due(s);
        if (!has_input(s) && due > s->now_ns && !walk && !forced) return due;
        shard_unpark(s);
    }
    bool was_cut = s->loaded;
    if (!s->loaded) {
        shard_load(s);
        if (s->env->cuts_turns && (s->env->random(s->env) & 1)) return 0;
    }
    bool busy = was_cut; /* a wake may have come in the cut: another turn looks what for */
    busy |= shard_receive(s);
    busy |= shard_seal(s);
    busy |= run_ready(s);
    if (!ENV_CHANCE(s->env, "shard.deadlines_late")) root_deadlines(s);
    if (s->answer_deadlines.count > 0 && !ENV_CHANCE(s->env, "shard.answers_late"))
        answer_deadlines(s);
    if (s->sleepers.count > 0) roots_wake(s);
    if (s->timers.count > 0) timers_due(s);
    if (s->retries.count > 0) outbox_retries(s);
    if (s->lanes != NULL) busy |= follow_run(s);
    busy |= begin_requests(s);
    busy |= run_ready(s);
    if (walk || s->walk.active) walk_step(s);
    if (s->now_ns - s->records_checked_ns > RECORDS_EVERY_NS ||
        ENV_CHANCE(s->env, "shard.records_now")) {
        s->records_checked_ns = s->now_ns;
        records_expire(s);
    }
    if (s->ghost_count > 0 && !ENV_CHANCE(s->env, "shard.ghosts_late"))
        ghosts_reap(s, atomic_load_explicit(&engine->durable, memory_order_acquire));
    if (!busy) {
        for (uint32_t i = 0; i < engine->runtime_count; i++) {
            if (engine->runtimes[i]->idle != NULL) engine->runtimes[i]->idle(s->states[i]);
        }
    }
    if (busy) shard_publish(s);
    if (ENV_CHANCE(s->env, "shard.flush_late")) return 0;
    peers_flush(s);
    ports_flush(s);
    if ((!busy || (s->wakes_writer && !has_input(s))) && shard_try_park(s)) {
        if (!busy) shard_publish(s); /* a timer may have done something */
        if (s->wakes_writer) {
            epoch_due(s);
            s->env->actor_pass(s->env, &engine->writer.actor);
        }
        return has_input(s) ? 0 : next_due(s);
    }
    if (s->wakes_writer && writer_call(s)) return 0;
    if (busy || s->ready != NULL) return 0;
    if (seal_awaits(s)) return 0;
    bool stalled = s->fiber_waiters != NULL;
    for (uint32_t p = 0; p < engine->shard_count && !stalled; p++) stalled = s->overflow[p] != NULL;
    for (uint32_t p = 0; p < engine->port_count && !stalled; p++)
        stalled = s->port_overflow[p] != NULL;
    uint64_t due = next_due(s);
    if (s->walk.active && due > s->walk.next_ns) due = s->walk.next_ns;
    bool waiting = s->pending != NULL || s->derives_ready > 0;
    if (waiting && due > s->now_ns + 10000000u) due = s->now_ns + 10000000u;
    if (s->ghost_count > 0 && due > s->now_ns + 100000000u) due = s->now_ns + 100000000u;
    if (stalled && due > s->now_ns + 100000u) due = s->now_ns + 100000u;
    return due;
}
