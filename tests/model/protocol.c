/*
 * protocol.c - the steps of shards, transactions and the log writer, and what each step must not break.
 *
 * The rules E1 to E5 and H1 to H19 are those of the design pages; the disk is in disk.c.
 * Checks look at the whole state, also at what no shard could know: a step that breaks one names it in
 * m->broken. Ids: transaction * ATTEMPTS_MAX + attempt; an attempt takes the lowest that nothing names any
 * more, which stands for ids that are never used twice.
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "protocol_int.h"

_Static_assert(offsetof(struct state, zero) + ZEROS == sizeof(struct state),
               "no padding: states compare by bytes");

#define RECORD_DOOMED (RECORD_CANCELLED | RECORD_FAILED | RECORD_DIED | RECORD_IN_TURN)

static void run(struct model *m, struct state *st, int t);

void breaks(struct model *m, const char *rule)
{
    if (m->broken == NULL) m->broken = rule;
}

/* ---- what the scenario says ----------------------------------------------------------------------- */

const struct handler *handler_at(const struct model *m, int h)
{
    return &m->scenario->handlers[h];
}
static int handler_shard(const struct model *m, int h)
{
    return m->scenario->entity_shard[handler_at(m, h)->entity];
}
int root_entity(const struct model *m, int t)
{
    return handler_at(m, m->scenario->clients[t].handler)->entity;
}
int root_shard(const struct model *m, int t)
{
    return handler_shard(m, m->scenario->clients[t].handler);
}
static bool is_call(struct op op)
{
    return op.kind == OP_CALL || op.kind == OP_OUT || op.kind == OP_PART;
}
/* Effects that a commit of t must have on shard s, when handler h and all below it ran. */
static uint32_t handler_effects(const struct model *m, int t, int h, int s)
{
    uint32_t effects = 0;
    if (handler_at(m, h)->writes && handler_shard(m, h) == s) effects |= LOG_WROTE(t);
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if (is_call(op)) effects |= handler_effects(m, t, op.arg, s);
        if (op.kind == OP_SEND && handler_shard(m, h) == s) effects |= LOG_PUT(op.arg);
        if (op.kind == OP_SET && handler_shard(m, h) == s) effects |= LOG_SET(t);
    }
    return effects;
}
static bool is_request(const struct model *m, int t)
{
    return !m->scenario->clients[t].sender && !m->scenario->clients[t].fires;
}
static bool is_recorded(const struct model *m, int t)
{
    return m->scenario->records && is_request(m, t);
}
uint32_t txn_effects(const struct model *m, const struct state *st, int t, int s)
{
    if (st->txns[t].noop || (st->txns[t].replayed && !st->txns[t].applied)) return 0;
    uint32_t effects = handler_effects(m, t, m->scenario->clients[t].handler, s);
    if (m->scenario->clients[t].sender && sender_shard(m, t) == s) effects |= LOG_DELETED(t);
    if (is_recorded(m, t) && root_shard(m, t) == s && !IS(H8_not_logged)) effects |= LOG_RECORD(t);
    return effects;
}
bool txn_writes(const struct model *m, const struct state *st, int t)
{
    for (int s = 0; s < m->scenario->shards; s++) {
        if (txn_effects(m, st, t, s)) return true;
    }
    return false;
}
/* The shard whose handler sends the message that t delivers. */
int sender_shard(const struct model *m, int t)
{
    int sender = m->scenario->clients[t].sender - 1;
    for (int s = 0; s < m->scenario->shards; s++) {
        if (handler_effects(m, sender, m->scenario->clients[sender].handler, s) & LOG_PUT(t))
            return s;
    }
    return 0;
}
/* Deliveries from one sending shard to one entity stand for those of one pair. */
static bool same_pair(const struct model *m, int t, int u)
{
    const struct client *c = m->scenario->clients;
    return c[t].sender && c[u].sender && root_entity(m, t) == root_entity(m, u) &&
           sender_shard(m, t) == sender_shard(m, u);
}

/* Does t write entity e, when all of h runs? */
bool handler_writes(const struct model *m, int h, int e)
{
    if (handler_at(m, h)->entity == e && handler_at(m, h)->writes) return true;
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if (is_call(op) && handler_writes(m, op.arg, e)) return true;
    }
    return false;
}

/* ---- small helpers -------------------------------------------------------------------------------- */

static int id_of(const struct state *st, int t)
{
    return t * ATTEMPTS_MAX + st->txns[t].attempt;
}
static struct record *record_of(struct state *st, int t, int s)
{
    return &st->records[id_of(st, t)][s];
}
/* The steps work on that line from now on; which it was before. */
static int line_enter(struct txn *txn, int k)
{
    int before = txn->at;
    for (int i = 0; i < 2 && before != k; i++) {
        int with = i == 0 ? before : k; /* back to the first one, then on */
        if (with == 0) continue;
        struct line line = txn->line;
        txn->line = txn->out[with - 1];
        txn->out[with - 1] = line;
    }
    txn->at = (uint8_t)k;
    return before;
}
static struct line *first_line(struct txn *txn)
{
    return txn->at ? &txn->out[txn->at - 1] : &txn->line;
}
static int outs(const struct txn *txn)
{
    int count = 0;
    for (int k = 0; k < OUTS_MAX; k++) count += txn->out[k].state != FRAME_NONE;
    return count;
}
/* Does the handler that has calls out, or may make more, run on that shard? */
static bool owns_all(const struct model *m, struct txn *txn, int s)
{
    const struct line *first = first_line(txn);
    return first->turn && handler_shard(m, first->frames[txn->base - 1].handler) == s;
}

static bool is_parked(const struct model *m, const struct state *st, int s)
{
    return m->scenario->parks &&
           (st->shards[s].run == SHARD_PARKED || st->shards[s].run == SHARD_LOADED);
}
bool is_decided(const struct txn *txn)
{
    return txn->applied || ((txn->phase == TXN_REPLIES || txn->phase == TXN_DONE) && !txn->failed);
}
static bool is_finished(const struct model *m, const struct state *st, int t)
{
    const struct txn *txn = &st->txns[t];
    if (txn->phase == TXN_DONE || txn->phase == TXN_LOST) return true;
    int sender = m->scenario->clients[t].sender;
    if (m->scenario->clients[t].fires && txn->phase == TXN_NEW) return true;
    return sender && txn->phase == TXN_NEW && !txn->hinted && is_finished(m, st, sender - 1) &&
           !is_decided(&st->txns[sender - 1]);
}

static void epoch_raise(const struct model *m, struct state *st, int s, uint8_t epoch)
{
    if (st->shards[s].epoch >= epoch) return;
    st->shards[s].epoch = epoch;
    if (m->scenario->fine_rings) return;
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p != s) st->rings[s][p].mark = epoch;
    }
}

static void post(struct model *m, struct state *st, int from, int to, struct message msg)
{
    struct ring *ring = &st->rings[from][to];
    if (ring->count == RING_MAX) {
        breaks(m, "model limit: RING_MAX is too small for this scenario");
        return;
    }
    msg.epoch = st->shards[from].epoch;
    ring->slots[ring->count++] = msg;
    if (!m->scenario->fine_rings) ring->published = ring->count;
}

static struct message ring_take(struct state *st, int from, int to, int at)
{
    struct ring *ring = &st->rings[from][to];
    struct message msg = ring->slots[at];
    memmove(&ring->slots[at], &ring->slots[at + 1], sizeof(msg) * (size_t)(ring->count - at - 1));
    ring->count--;
    ring->published--;
    memset(&ring->slots[ring->count], 0, sizeof(msg));
    uint8_t *left = &st->shards[to].tail_read[from];
    if (*left > 1) --*left;
    return msg;
}

/* ---- what comes before a root's handler, under its lock ------------------------------------------- */

/* What the last timer operation of t on entity e is; NULL: none. */
static const struct op *timer_op(const struct model *m, int h, int e)
{
    const struct op *last = NULL;
    for (int i = 0; i < OPS_MAX; i++) {
        const struct op *op = &handler_at(m, h)->ops[i];
        const struct op *below = is_call(*op) ? timer_op(m, op->arg, e) : NULL;
        if (below != NULL) last = below;
        if ((op->kind == OP_SET || op->kind == OP_UNSET) && handler_at(m, h)->entity == e)
            last = op;
    }
    return last;
}

static void fire_check(const struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    struct entity *entity = &st->entities[root_entity(m, t)];
    bool early = entity->timer && TIMER_DUE(entity->timer) > txn->now;
    txn->timer_seen = entity->timer;
    txn->noop = !entity->timer || (early && !IS(H19_due_not_checked));
    if (early && !entity->timer_heap && !IS(H19_early_forgotten))
        entity->timer_heap = (uint8_t)(1 + TIMER_DUE(entity->timer));
}

static int request_of(const struct model *m, int t)
{
    return m->scenario->clients[t].repeats ? m->scenario->clients[t].repeats - 1 : t;
}

static void record_check(const struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    for (int u = 0; u < m->scenario->txns; u++) {
        if (!is_recorded(m, u) || request_of(m, u) != request_of(m, t)) continue;
        if (!(st->entities[root_entity(m, t)].records & 1u << u)) continue;
        txn->replayed = 1;
        txn->read = max_of(txn->read, st->txns[u].commit);
    }
}

/* ---- locks ---------------------------------------------------------------------------------------- */

static bool is_reader(const struct entity *entity, int id)
{
    return entity->readers[id / 8] >> id % 8 & 1;
}
static bool has_readers(const struct entity *entity)
{
    uint8_t any = 0;
    for (size_t i = 0; i < sizeof(entity->readers); i++) any |= entity->readers[i];
    return any;
}
static bool holds(const struct entity *entity, int id)
{
    return entity->owner == 1 + id || is_reader(entity, id);
}
static bool shares(const struct model *m, int t)
{
    return m->scenario->clients[t].shares;
}
static void hold(const struct model *m, const struct state *st, struct entity *entity, int t)
{
    int id = id_of(st, t);
    if (shares(m, t)) entity->readers[id / 8] |= (uint8_t)(1u << id % 8);
    else entity->owner = (uint8_t)(1 + id);
}

static void release(struct model *m, struct state *st, int e);

/* Top frame of t's record on shard s: the innermost that has reached it. -1: none. */
static int top_on(const struct model *m, const struct state *st, int t, int s)
{
    const struct txn *txn = &st->txns[t];
    for (int i = txn->line.depth - 1; i >= 0; i--) {
        if (i == txn->line.depth - 1 && txn->line.state == FRAME_CALL_SENT) continue;
        if (handler_shard(m, txn->line.frames[i].handler) == s) return i;
    }
    return -1;
}

static void line_cancel(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    int top = top_on(m, st, t, s);
    if (top < 0 || (txn->at && top < txn->base - 1)) return;
    bool innermost = top == txn->line.depth - 1;
    if (innermost && txn->line.state == FRAME_WAITS_LOCK) {
        int e = handler_at(m, txn->line.frames[top].handler)->entity;
        st->entities[e].waiters &= (uint8_t) ~(1u << t);
        txn->line.state = FRAME_READY;
        if (!st->entities[e].owner) release(m, st, e); /* readers behind it may share what it waited for */
        return;
    }
    if (innermost && txn->line.state != FRAME_ANSWER_SENT) return;
    int to = innermost ? txn->line.answers_from : handler_shard(m, txn->line.frames[top + 1].handler);
    if (IS(H11_no_cancel) && record_of(st, t, s)->flags & RECORD_TAIL) return;
    if (IS(H5_no_cancel) || (IS(H5_cancel_one_level) && s != root_shard(m, t))) return;
    post(m, st, s, to, (struct message){ .kind = MSG_CANCEL, .id = (uint8_t)id_of(st, t) });
}

static void cancel(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    record_of(st, t, s)->flags |= RECORD_CANCELLED;
    line_cancel(m, st, t, s);
    int first = txn->at;
    for (int k = 1; k <= OUTS_MAX; k++) {
        if (k == first || txn->out[k - 1].state == FRAME_NONE) continue;
        if (IS(H12_cancel_one) && k > 1) continue;
        int before = line_enter(txn, k);
        line_cancel(m, st, t, s);
        line_enter(txn, before);
    }
}

static void root_abort_early(struct model *m, struct state *st, int t);

static void root_wound(struct model *m, struct state *st, int id)
{
    int t = id / ATTEMPTS_MAX, s = root_shard(m, t);
    if (st->txns[t].phase != TXN_LIVE || id_of(st, t) != id) return;
    if (record_of(st, t, s)->flags & RECORD_CANCELLED) return;
    bool oldest = true;
    for (int u = 0; u < t; u++) {
        if (st->txns[u].phase == TXN_LIVE) oldest = false;
    }
    if (oldest) breaks(m, "starvation: the oldest live transaction is wounded");
    if (IS(H5_abort_early)) {
        root_abort_early(m, st, t);
        return;
    }
    cancel(m, st, t, s);
}

/* ---- calls at the same time (H12) ---- */

static bool top_writes(const struct model *m, const struct txn *txn)
{
    return handler_at(m, txn->line.frames[txn->line.depth - 1].handler)->writes;
}

/* May this line not have the entity, for what another one of its transaction did, does or waits for? */
static bool meets(const struct model *m, const struct state *st, int t, int e)
{
    const struct txn *txn = &st->txns[t];
    const struct entity *entity = &st->entities[e];
    uint8_t turn = txn->line.turn, other = entity->turn;
    bool reads = !top_writes(m, txn), out = turn & 1;
    if (!turn || shares(m, t)) return false;
    if (!holds(entity, id_of(st, t))) return entity->waiters & 1u << t && !IS(H12_one_lock);
    if (other && other != turn && (!reads || entity->turn_wrote)) {
        bool stands = other & 1 || (out && other > turn);
        if (stands && !(out ? IS(H12_meet) : IS(H12_meet_behind))) return true;
    }
    for (int i = 0; i < txn->base && out && !IS(H12_above); i++) {
        const struct handler *above = handler_at(m, txn->line.frames[i].handler);
        if (above->entity == e && (above->writes || !reads)) return true;
    }
    return false;
}

static void turn_note(const struct model *m, struct entity *entity, const struct txn *txn)
{
    uint8_t turn = txn->line.turn, other = entity->turn;
    bool reads = !top_writes(m, txn);
    bool several = other && other != turn && reads && (other | turn) & 1;
    entity->turn = several ? 0xff : max_of(other, turn);
    entity->turn_wrote |= !reads;
}

/* Is the entity one of a handler of that line that has not returned? From `from` on; which writes, or any. */
static bool is_live(const struct model *m, const struct line *line, int from, int e, bool writes)
{
    for (int i = from; i < line->depth; i++) {
        const struct handler *h = handler_at(m, line->frames[i].handler);
        bool begun = i < line->depth - 1 || (line->state != FRAME_CALL_SENT && line->state != FRAME_WAITS_LOCK);
        if (h->entity == e && (h->writes || writes) && begun) return true;
    }
    return false;
}

/* Is what this line sees or changes now what it would in turn? */
static void order_check(const struct model *m, struct txn *txn, int e)
{
    uint8_t place = txn->line.turn >> 1;
    bool writes = top_writes(m, txn), out = txn->line.turn & 1;
    if (txn->changed_by[e] > place || (writes && txn->seen_by[e] > place)) txn->disorder = 1;
    if (out && is_live(m, first_line(txn), 0, e, writes)) txn->disorder = 1;
    for (int k = 1; k <= OUTS_MAX; k++) {
        const struct line *line = k == txn->at ? &txn->line : &txn->out[k - 1];
        if (k != txn->at && line != first_line(txn) && is_live(m, line, txn->base, e, writes)) txn->disorder = 1;
    }
    txn->seen_by[e] = max_of(txn->seen_by[e], place);
    if (writes) txn->changed_by[e] = max_of(txn->changed_by[e], place);
}

static void touch(struct model *m, struct state *st, int t, int e, int s)
{
    struct txn *txn = &st->txns[t];
    struct entity *entity = &st->entities[e];
    struct record *record = record_of(st, t, s);
    if (txn->line.turn) {
        if (!shares(m, t)) turn_note(m, entity, txn);
        order_check(m, txn, e);
    }
    record->flags |= RECORD_PRESENT;
    if (!IS(H6_no_tombstone)) record->read = max_of(record->read, entity->version_epoch);
    txn->read = max_of(txn->read, entity->version_epoch);
    if (e == root_entity(m, t)) txn->held_root = 1;
    for (int u = 0; u < m->scenario->txns; u++) {
        const struct txn *other = &st->txns[u];
        if (m->scenario->policy != POLICY_WOUND_WAIT && txn->line.depth > 1) continue;
        if (shares(m, t) && shares(m, u)) continue;
        if (u < t && (other->phase == TXN_LIVE || other->phase == TXN_NEW) && other->held_root &&
            root_entity(m, u) == e)
            breaks(m,
                   "order per key: a younger transaction passes one that has held its root entity");
    }
    if (txn->touched & 1u << e) return;
    if (!txn->applied) {
        txn->touched |= (uint8_t)(1u << e);
        txn->seen[e] = entity->version;
    }
    if (txn->line.depth != 1) return;
    if (m->scenario->clients[t].fires && !IS(H19_check_before_lock)) fire_check(m, st, t);
    if (is_recorded(m, t) && !IS(H8_check_before_lock)) record_check(m, st, t);
}

/* Transactions that hold something have called: their innermost frame is not the first. */
static bool stands_before(const struct model *m, const struct state *st, int t, int u)
{
    const struct txn *a = &st->txns[t], *b = &st->txns[u];
    bool older = a->age < b->age;
    if (m->scenario->policy == POLICY_WOUND_WAIT) return IS(wound_queue_unordered) ? !older : older;
    bool holds_a = a->line.depth > 1 || a->base, holds_b = b->line.depth > 1 || b->base;
    if (holds_a != holds_b) return holds_a;
    return holds_a && !IS(die_queue_by_age) ? !older : older;
}

/* The first in an entity's queue; -1: nobody waits. */
static int first_waiter(const struct model *m, const struct state *st, int e)
{
    int first = -1;
    for (int t = 0; t < m->scenario->txns; t++) {
        if (!(st->entities[e].waiters & 1u << t)) continue;
        if (first < 0 || stands_before(m, st, t, first)) first = t;
    }
    return first;
}

static bool must_die(struct model *m, const struct state *st, int t, int owner)
{
    const struct txn *txn = &st->txns[t];
    if (m->scenario->policy == POLICY_WOUND_WAIT || txn->line.depth == 1 || IS(die_not)) return false;
    bool older = (txn->age < st->txns[owner].age) != IS(die_reversed);
    bool waits = older;
    if (m->scenario->policy == POLICY_NO_WAIT)
        waits = txn->patient && !IS(patient_never) && (older || IS(patient_waits_all));
    if (waits) return false;
    /* of one that is decided it may: that is about to let go */
    bool oldest = st->txns[owner].phase == TXN_LIVE &&
                  (m->scenario->policy == POLICY_WAIT_DIE || txn->patient);
    for (int u = 0; u < t; u++) {
        if (st->txns[u].phase == TXN_LIVE) oldest = false;
    }
    if (oldest) breaks(m, "starvation: the oldest live transaction dies");
    return true;
}

static void wound_send(struct model *m, struct state *st, int s, int id)
{
    int to = root_shard(m, id / ATTEMPTS_MAX);
    if (to == s) root_wound(m, st, id);
    else post(m, st, s, to, (struct message){ .kind = MSG_WOUND, .id = (uint8_t)id });
}

/* A writer wounds every younger reader, also when it holds nothing: others wait behind it for what they could share. */
static void wound_readers(struct model *m, struct state *st, int t, int e, int s)
{
    for (int id = 0; id < IDS_MAX; id++) {
        if (!is_reader(&st->entities[e], id)) continue;
        if (st->txns[t].age > st->txns[id / ATTEMPTS_MAX].age) continue;
        if (st->txns[t].line.depth == 1 && IS(share_root_wounds_none)) continue;
        wound_send(m, st, s, id);
        if (IS(share_wounds_one)) return;
    }
}

/* Takes the entity of the innermost frame, or waits. True: it may run. */
static bool lock(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int e = handler_at(m, txn->line.frames[txn->line.depth - 1].handler)->entity,
        s = m->scenario->entity_shard[e];
    struct entity *entity = &st->entities[e];
    if (meets(m, st, t, e)) {
        record_of(st, t, s)->flags |= RECORD_IN_TURN;
        txn->line.state = FRAME_READY;
        return true;
    }
    int first = first_waiter(m, st, e);
    bool is_free = entity->owner == 0 && (first < 0 || stands_before(m, st, t, first) || IS(die_passed));
    if (shares(m, t)) is_free |= entity->owner ? IS(share_with_writer) : IS(share_passes_older);
    else is_free &= !has_readers(entity);
    if (is_free || holds(entity, id_of(st, t))) {
        m->shared += shares(m, t) && has_readers(entity);
        hold(m, st, entity, t);
        touch(m, st, t, e, s);
        return true;
    }
    int owner = entity->owner - 1, u = owner / ATTEMPTS_MAX;
    if (entity->owner && must_die(m, st, t, u)) {
        record_of(st, t, s)->flags |= RECORD_DIED;
        txn->line.state = FRAME_READY;
        return true;
    }
    txn->line.state = FRAME_WAITS_LOCK;
    if (!(txn->asleep && IS(die_place_lost))) entity->waiters |= (uint8_t)(1u << t);
    if (!shares(m, t)) wound_readers(m, st, t, e, s);
    if (!entity->owner || m->scenario->policy != POLICY_WOUND_WAIT) return false;
    bool older = txn->age < st->txns[u].age;
    if (IS(wound_wait_reversed)) older = txn->age > st->txns[u].age;
    if (txn->line.depth == 1 || !older || IS(wound_not_sent))
        return false; /* a root without locks wounds nobody */
    wound_send(m, st, s, owner);
    return false;
}

/* Which line of it waits for the entity. */
static int line_waiting(const struct model *m, struct txn *txn, int e)
{
    for (int k = 0; k <= OUTS_MAX && txn->base; k++) {
        int before = line_enter(txn, k);
        bool waits = txn->line.state == FRAME_WAITS_LOCK &&
                     handler_at(m, txn->line.frames[txn->line.depth - 1].handler)->entity == e;
        line_enter(txn, before);
        if (waits) return k;
    }
    return txn->at;
}

static void release(struct model *m, struct state *st, int e)
{
    struct entity *entity = &st->entities[e];
    entity->owner = 0;
    entity->turn = entity->turn_wrote = 0;
    for (;;) {
        int next = first_waiter(m, st, e);
        if (next < 0 || st->txns[next].asleep) return;
        if (!shares(m, next) && has_readers(entity) && !IS(share_released_first)) return;
        entity->waiters &= (uint8_t) ~(1u << next);
        int before = line_enter(&st->txns[next], line_waiting(m, &st->txns[next], e));
        hold(m, st, entity, next);
        touch(m, st, next, e, m->scenario->entity_shard[e]);
        st->txns[next].line.state = FRAME_READY;
        line_enter(&st->txns[next], before);
        if (!shares(m, next)) return;
    }
}

/* Ends the attempt's record on a shard. */
static void record_end(struct model *m, struct state *st, int id, int s, bool releases)
{
    memset(&st->records[id][s], 0, sizeof(st->records[id][s]));
    for (int e = 0; e < m->scenario->entities; e++) {
        if (!holds(&st->entities[e], id) || m->scenario->entity_shard[e] != s || !releases) continue;
        st->entities[e].readers[id / 8] &= (uint8_t) ~(1u << id % 8);
        release(m, st, e);
    }
}

/* ---- effects -------------------------------------------------------------------------------------- */

static void effect(struct model *m, struct state *st, int s, uint8_t epoch, uint32_t effects)
{
    if (effects == 0) return;
    if (st->shards[s].sealed >= epoch)
        breaks(m, "an effect enters an epoch that its shard has sealed");
    if (st->written >= epoch) breaks(m, "an effect enters an epoch that is on disk");
    if (st->writer_done[s] && epoch == st->durable + 1)
        breaks(m, "an effect enters an epoch that the writer has taken");
    for (int i = 1; i < EPOCHS_MAX; i++) {
        if (st->log[s][i] & effects) breaks(m, "an effect is logged twice");
    }
    st->log[s][epoch] |= effects;
    st->shards[s].effect = max_of(st->shards[s].effect, epoch);
}

void hint(struct model *m, struct state *st, int t)
{
    int rank = 1;
    if (st->txns[t].phase != TXN_NEW || st->txns[t].hinted) {
        breaks(m, "a message is delivered twice");
        return;
    }
    for (int u = 0; u < m->scenario->txns; u++) {
        if (u != t && same_pair(m, t, u) && st->txns[u].hinted) rank++;
    }
    st->txns[t].hinted = (uint8_t)rank;
}

static void hint_post(struct model *m, struct state *st, int s, int t)
{
    int to = root_shard(m, t);
    st->shards[s].pending |= (uint8_t)(1u << t);
    if (to == s) hint(m, st, t);
    else post(m, st, s, to, (struct message){ .kind = MSG_HINT, .id = (uint8_t)t });
}

static void done(struct model *m, struct state *st, int s, int t, uint8_t epoch)
{
    if (IS(H7_done_own_epoch)) epoch = st->shards[s].epoch;
    effect(m, st, s, epoch, LOG_DELETED(t));
    st->shards[s].pending &= (uint8_t) ~(1u << t);
}

static void done_post(struct model *m, struct state *st, int from, int t, uint8_t epoch)
{
    int to = sender_shard(m, t);
    if (to == from) done(m, st, to, t, epoch);
    else
        post(m, st, from, to, (struct message){ .kind = MSG_DONE, .id = (uint8_t)t, .arg = epoch });
}

/* The timer of an entity, as the transaction leaves it: fired, then perhaps set anew or cancelled. */
static void apply_timer(struct model *m, struct state *st, int t, int e, int s, uint8_t epoch)
{
    const struct client *client = &m->scenario->clients[t];
    struct txn *txn = &st->txns[t];
    struct entity *entity = &st->entities[e];
    const struct op *op = timer_op(m, client->handler, e);
    bool fires = client->fires && e == root_entity(m, t);
    uint8_t old = entity->timer;
    if (!fires && op == NULL) return;
    if (fires && (!old || old != txn->timer_seen))
        breaks(m, "a timer fires twice, or after it was cancelled");
    if (fires && old && TIMER_DUE(old) > txn->now) breaks(m, "a timer fires before it is due");
    if (old) effect(m, st, s, epoch, LOG_GONE((old >> 4) - 1));
    m->fired += fires;
    m->cancelled += old && !fires && op->kind == OP_UNSET;
    entity->timer = 0;
    if (op != NULL && op->kind == OP_SET) {
        uint8_t due = (uint8_t)(txn->now + op->arg);
        entity->timer = (uint8_t)((1 + t) << 4 | (1 + due));
        effect(m, st, s, epoch, LOG_SET(t));
        /* the engine's bytes are the same then: it must schedule it all the same */
        if (!(IS(H19_same_not_indexed) && old && TIMER_DUE(old) == due))
            entity->timer_heap = (uint8_t)(1 + due);
    } else {
        entity->timer_heap = 0;
    }
    if (!entity->timer && (fires ? IS(H19_delete_not_logged) : IS(H19_cancel_not_logged))) return;
    entity->timer_at[epoch] = entity->timer ? entity->timer : TIMER_GONE;
}

static void apply_record(struct model *m, struct state *st, int t, int s, uint8_t epoch)
{
    struct entity *entity = &st->entities[root_entity(m, t)];
    entity->records |= (uint8_t)(1u << t);
    if (!IS(H8_version_kept)) entity->version_epoch = max_of(entity->version_epoch, epoch);
    if (!IS(H8_not_logged)) effect(m, st, s, epoch, LOG_RECORD(t));
}

/* What the attempt did on this shard becomes true in the commit epoch; its locks go. */
static void apply(struct model *m, struct state *st, int id, int s, uint8_t epoch)
{
    int t = id / ATTEMPTS_MAX;
    const struct client *client = &m->scenario->clients[t];
    bool happens = !st->txns[t].noop && !st->txns[t].replayed;
    for (int e = 0; e < m->scenario->entities; e++) {
        struct entity *entity = &st->entities[e];
        if (!holds(entity, id) || m->scenario->entity_shard[e] != s) continue;
        entity->access_epoch = max_of(entity->access_epoch, epoch);
        if (!happens) continue;
        apply_timer(m, st, t, e, s, epoch);
        if (!handler_writes(m, client->handler, e)) continue;
        entity->version = (uint8_t)(1 + t);
        entity->version_epoch = epoch;
        entity->version_at[epoch] = entity->version;
        effect(m, st, s, epoch, LOG_WROTE(t) & ~st->log[s][epoch]);
    }
    if (happens && is_recorded(m, t) && s == root_shard(m, t)) apply_record(m, st, t, s, epoch);
    uint8_t sends = st->records[id][s].sends;
    for (int u = 0; u < m->scenario->txns; u++) {
        if (!(sends & 1u << u)) continue;
        int rank = 1;
        for (int v = 0; v < m->scenario->txns; v++) {
            if (v != u && same_pair(m, u, v) && st->txns[v].sent) rank++;
        }
        st->txns[u].sent = (uint8_t)rank;
        effect(m, st, s, epoch, LOG_PUT(u));
        if (!IS(H7_hint_early)) hint_post(m, st, s, u);
    }
    record_end(m, st, id, s, true);
}

/* ---- roots ---------------------------------------------------------------------------------------- */

static bool id_is_used(const struct model *m, const struct state *st, int id)
{
    int shards = m->scenario->shards;
    for (int s = 0; s < shards; s++) {
        if (st->records[id][s].flags) return true;
        for (int p = 0; p < shards; p++) {
            const struct ring *ring = &st->rings[s][p];
            for (int i = 0; i < ring->count; i++) {
                uint8_t kind = ring->slots[i].kind;
                if (kind != MSG_HINT && kind != MSG_DONE && ring->slots[i].id == id) return true;
            }
        }
    }
    for (int e = 0; e < m->scenario->entities; e++) {
        if (holds(&st->entities[e], id)) return true;
    }
    return false;
}

static void attempt_begin(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int attempt = 0;
    while (attempt < ATTEMPTS_MAX && id_is_used(m, st, t * ATTEMPTS_MAX + attempt)) attempt++;
    if (attempt == ATTEMPTS_MAX) {
        breaks(m, "model limit: ATTEMPTS_MAX is too small for this scenario");
        return;
    }
    int s = root_shard(m, t);
    txn->phase = TXN_LIVE;
    txn->attempt = (uint8_t)attempt;
    txn->line.depth = 1;
    txn->line.frames[0] = (struct frame){ m->scenario->clients[t].handler, 0 };
    txn->begin_epoch = st->shards[s].epoch;
    txn->touched = txn->read = txn->replayed = 0;
    txn->disorder = 0;
    memset(txn->seen_by, 0, sizeof(txn->seen_by));
    memset(txn->changed_by, 0, sizeof(txn->changed_by));
    txn->now = st->clock;
    memset(txn->seen, 0, sizeof(txn->seen));
    if (is_recorded(m, t) && IS(H8_check_before_lock)) record_check(m, st, t);
    record_of(st, t, s)->flags = RECORD_PRESENT;
    if (lock(m, st, t)) txn->line.state = FRAME_READY;
}

static void send_parts(struct model *m, struct state *st, int t, int s, uint8_t kind, uint8_t arg)
{
    uint8_t parts = record_of(st, t, s)->parts;
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p != s && parts & 1u << p)
            post(m, st, s, p,
                 (struct message){ .kind = kind, .id = (uint8_t)id_of(st, t), .arg = arg });
    }
}

static void txn_clear(struct txn *txn)
{
    memset(&txn->line, 0, sizeof(txn->line));
    memset(txn->out, 0, sizeof(txn->out));
    txn->at = txn->base = 0;
}

static void root_again(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int id = id_of(st, t), s = root_shard(m, t);
    m->retries++;
    if (record_of(st, t, s)->flags & RECORD_IN_TURN) {
        m->in_turn++;
        if (!IS(H12_not_in_turn)) txn->in_turn = 1;
    } else if (record_of(st, t, s)->flags & RECORD_DIED) {
        m->deaths++;
        txn->asleep = txn->patient = 1;
    }
    send_parts(m, st, t, s, MSG_ABORT, 0);
    txn_clear(txn);
    if (IS(wound_age_not_kept)) {
        for (int u = 0; u < m->scenario->txns; u++) {
            if (st->txns[u].age > txn->age) st->txns[u].age--;
        }
        txn->age = (uint8_t)(m->scenario->txns - 1);
    }
    if (IS(wound_release_first)) {
        txn->phase = TXN_NEW;
        record_end(m, st, id, s, true);
        return;
    }
    attempt_begin(m, st, t);
    record_end(m, st, id, s, true);
}

/* The mutant: the tree of the wounded is still at work, and some answer still comes. */
static void root_abort_early(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    if (txn->line.depth > 0 && txn->line.state == FRAME_WAITS_LOCK) {
        int e = handler_at(m, txn->line.frames[txn->line.depth - 1].handler)->entity;
        st->entities[e].waiters &= (uint8_t) ~(1u << t);
    }
    root_again(m, st, t);
}

static bool handler_fails(const struct model *m, int h)
{
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if (op.kind == OP_FAIL || (is_call(op) && handler_fails(m, op.arg))) return true;
    }
    return false;
}

/* The place of the part that fails first in turn; 0: none, or not in one. */
static int first_failure(const struct model *m, int h)
{
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if ((op.kind == OP_OUT || op.kind == OP_PART) && handler_fails(m, op.arg)) return i + 1;
        if (op.kind == OP_CALL && handler_fails(m, op.arg)) return first_failure(m, op.arg);
    }
    return 0;
}

static void root_fail(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int id = id_of(st, t), s = root_shard(m, t);
    uint8_t fail = record_of(st, t, s)->fail;
    m->failures++;
    if (fail > 1 && fail != 1 + first_failure(m, m->scenario->clients[t].handler))
        breaks(m, "a failure is told of that calls in turn would not have met");
    send_parts(m, st, t, s, MSG_ABORT, 0);
    txn->phase = TXN_REPLIES;
    txn->failed = 1;
    txn->wait = IS(H6_error_not_waited) ? 0 : record_of(st, t, s)->read;
    txn_clear(txn);
    record_end(m, st, id, s, true);
}

/* At its decision a transaction holds all it touched, each as it saw it: decisions are a serial order. */
static void check_decision(struct model *m, const struct state *st, int t, uint8_t epoch)
{
    const struct txn *txn = &st->txns[t];
    /* the root may wait for what the callee of its last call decides */
    if (txn->line.depth > 1 || outs(txn))
        breaks(m, "a transaction decides before its handlers have returned");
    if (txn->disorder) breaks(m, "calls at the same time see or leave what calls in turn would not");
    for (int e = 0; e < m->scenario->entities; e++) {
        const struct entity *entity = &st->entities[e];
        if (!(txn->touched & 1u << e)) continue;
        if (!holds(entity, id_of(st, t)))
            breaks(m, "a transaction decides without a lock it needs");
        if (entity->version != txn->seen[e])
            breaks(m, "a transaction decides on a version that is not the newest");
        if (entity->version && !is_decided(&st->txns[entity->version - 1]))
            breaks(m, "a transaction decides on a version that nobody committed");
        if (entity->version_epoch > epoch)
            breaks(m, "a dependency points to a later epoch (ww, wr)");
        /* two that only read do not depend on each other */
        if (entity->access_epoch > epoch && !shares(m, t))
            breaks(m, "a dependency points to a later epoch (rw)");
    }
    int sender = m->scenario->clients[t].sender;
    if (!sender) return;
    if (!is_decided(&st->txns[sender - 1])) breaks(m, "a message is delivered that nobody sent");
    else if (st->txns[sender - 1].commit > epoch)
        breaks(m, "a dependency points to a later epoch (message)");
    for (int u = 0; u < m->scenario->txns; u++) {
        if (u != t && same_pair(m, t, u) && st->txns[u].sent && st->txns[u].sent < txn->sent &&
            !is_decided(&st->txns[u]))
            breaks(m, "messages of one pair are delivered out of order");
    }
}

/* The decision, wherever it is made: from here on it is committed in that epoch. */
static void decide(struct model *m, struct state *st, int t, uint8_t epoch)
{
    struct txn *txn = &st->txns[t];
    check_decision(m, st, t, epoch);
    for (int u = 0; u < m->scenario->txns; u++) {
        if (is_recorded(m, u) && st->txns[u].applied && request_of(m, u) == request_of(m, t))
            breaks(m, "a request that was sent twice takes effect twice");
    }
    txn->commit = epoch;
    txn->applied = txn_writes(m, st, t);
    if (txn->applied) st->wanted = max_of(st->wanted, epoch);
}

static void root_replies(struct model *m, struct state *st, int t, uint8_t epoch, uint8_t read)
{
    struct txn *txn = &st->txns[t];
    bool writes = txn->applied && !txn->replayed;
    txn->phase = TXN_REPLIES;
    txn->wait = writes ? max_of(epoch, IS(H6_read_not_waited) ? 0 : read) : read;
    if (!writes && IS(H6_read_not_waited)) txn->wait = 0;
    if (IS(E5_reply_early)) txn->wait = 0;
    txn_clear(txn);
}

static void root_commit(struct model *m, struct state *st, int t)
{
    int id = id_of(st, t), s = root_shard(m, t);
    uint8_t epoch = IS(E2_epoch_at_start) ? st->txns[t].begin_epoch : st->shards[s].epoch;
    uint8_t read = record_of(st, t, s)->read;
    bool delivers = m->scenario->clients[t].sender != 0;
    if (!st->txns[t].replayed) decide(m, st, t, epoch);
    else m->replays++;
    uint8_t parts = record_of(st, t, s)->parts;
    if (IS(H3_relay)) {
        /* only to the first called; it tells the others */
        for (int p = 0; p < m->scenario->shards; p++) {
            int first = handler_at(m, m->scenario->clients[t].handler)->ops[0].arg;
            if (p != handler_shard(m, first)) record_of(st, t, s)->parts &= (uint8_t) ~(1u << p);
        }
    }
    send_parts(m, st, t, s, MSG_COMMIT, epoch);
    if (delivers && !IS(H7_done_lost) && !(IS(H3_done_relay) && parts))
        done_post(m, st, s, t, epoch);
    root_replies(m, st, t, epoch, read);
    apply(m, st, id, s, epoch);
}

/* ---- tail-commit (H11): the callee of a root's last call decides ---------------------------------- */

/* May the root give the decision away with this call? */
static bool tail_fits(const struct model *m, const struct state *st, int t, int s)
{
    const struct txn *txn = &st->txns[t];
    const struct frame *f = &txn->line.frames[0];
    const struct record *record = &st->records[id_of(st, t)][s];
    if (!m->scenario->tail || txn->line.depth != 1) return false;
    uint8_t next = f->pc < OPS_MAX ? handler_at(m, f->handler)->ops[f->pc].kind : OP_RETURN;
    if (next != OP_RETURN && !IS(H11_check_after)) return false;
    if (record->parts && !IS(H11_participant)) return false;
    return (!record->sends || IS(H11_wider)) &&
           (!m->scenario->clients[t].sender || IS(H11_message));
}

static void tail_release(struct model *m, struct state *st, int t, int s)
{
    for (int e = 0; e < m->scenario->entities; e++) {
        if (st->entities[e].owner == 1 + id_of(st, t) && m->scenario->entity_shard[e] == s)
            release(m, st, e);
    }
}

/* May the callee, whose handler has just returned on shard s? Not when a shard below it holds a record, nor when it was
 * called by a handler of its own shard's record: that one is not at its end. */
static bool tail_may_decide(const struct model *m, struct state *st, int t, int s)
{
    const struct txn *txn = &st->txns[t];
    const struct record *record = record_of(st, t, s);
    bool wider = IS(H11_wider);
    if (!(record->flags & RECORD_TAIL) || s == root_shard(m, t)) return false;
    if (record->flags & RECORD_DOOMED) return false;
    if (record->parts && !wider && !IS(H11_callee_calls)) return false;
    if (record->sends && !wider) return false;
    for (int i = 0; i < txn->line.depth && !IS(H11_inner_decides); i++) {
        if (handler_shard(m, txn->line.frames[i].handler) == s) return false;
    }
    return true;
}

/* Says so to the root. The epoch is that of the decision, which but for a mutant is the shard's. */
static void tail_tell(struct model *m, struct state *st, int t, int s, struct message msg,
                      uint8_t epoch)
{
    struct txn *txn = &st->txns[t];
    int root = root_shard(m, t);
    txn->line.state = FRAME_ANSWER_SENT;
    txn->line.answers_from = (uint8_t)s;
    post(m, st, s, root, msg);
    st->rings[s][root].slots[st->rings[s][root].count - 1].epoch = epoch;
}

/* The callee's shard decides in its own epoch, applies, lets go, and tells the root. */
static void tail_decide(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    uint8_t epoch = st->shards[s].epoch;
    struct message msg = { .kind = MSG_ANSWER, .id = (uint8_t)id_of(st, t) };
    msg.arg = RECORD_COMMITTED;
    msg.parts = IS(H11_wider) ? 0 : record->parts;
    msg.read = IS(H11_read_lost) ? 0 : record->read;
    m->tails++;
    decide(m, st, t, epoch);
    if (IS(H11_answer_later)) {
        txn->owed = epoch;
        txn->line.answers_from = (uint8_t)s;
        txn->line.state = FRAME_READY;
        record_of(st, t, root_shard(m, t))->read |= msg.read;
    } else {
        tail_tell(m, st, t, s, msg, epoch);
    }
    record->parts &= (uint8_t) ~(1u << root_shard(m, t));
    if (IS(H11_wider)) send_parts(m, st, t, s, MSG_COMMIT, epoch);
    apply(m, st, id_of(st, t), s, epoch);
}

/* The root learns that it is committed, whatever it wished meanwhile. */
static void tail_committed(struct model *m, struct state *st, int t, int s, struct message msg)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    uint8_t epoch = IS(H11_own_epoch) ? st->shards[s].epoch : msg.epoch;
    bool wounded = record->flags & RECORD_CANCELLED;
    m->tails_wounded += wounded;
    txn->line.answers_from = 0;
    txn->line.state = FRAME_READY;
    if (wounded && IS(H11_abort_on_wound)) {
        root_again(m, st, t);
        return;
    }
    if (IS(H11_check_after) && txn->line.frames[0].pc < OPS_MAX &&
        handler_at(m, txn->line.frames[0].handler)->ops[txn->line.frames[0].pc].kind != OP_RETURN) {
        run(m, st, t);
        return;
    }
    record->parts |= (uint8_t)(msg.parts & ~(1u << s)); /* none, but for mutants */
    send_parts(m, st, t, s, MSG_COMMIT, epoch);
    if (m->scenario->clients[t].sender) done_post(m, st, s, t, epoch);
    uint8_t read = max_of(record->read, msg.read);
    root_replies(m, st, t, IS(H11_reply_early) ? txn->begin_epoch : epoch, read);
    apply(m, st, msg.id, s, epoch);
}

static void root_finish(struct model *m, struct state *st, int t)
{
    uint8_t flags = record_of(st, t, root_shard(m, t))->flags;
    if (flags & (RECORD_CANCELLED | RECORD_DIED | RECORD_IN_TURN)) root_again(m, st, t);
    else if (flags & RECORD_FAILED) root_fail(m, st, t);
    else root_commit(m, st, t);
}

/* ---- handlers ------------------------------------------------------------------------------------- */

static void answer(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    if (tail_may_decide(m, st, t, s)) {
        tail_decide(m, st, t, s);
        return;
    }
    struct message msg = { .kind = MSG_ANSWER, .id = (uint8_t)id_of(st, t), .read = record->read };
    msg.arg = record->flags & RECORD_DOOMED;
    if (IS(die_not_told)) msg.arg &= (uint8_t)~RECORD_DIED;
    msg.parts = (uint8_t)((IS(H5_no_participants) ? 0 : record->parts) | 1u << s);
    msg.line = txn->at;
    msg.fail = record->fail;
    txn->line.state = FRAME_ANSWER_SENT;
    txn->line.answers_from = (uint8_t)s;
    if (IS(H5_cancel_not_answered) && msg.arg & RECORD_CANCELLED) return;
    post(m, st, s, handler_shard(m, txn->line.frames[txn->line.depth - 1].handler), msg);
    if (!IS(lock_early_release)) return;
    for (int e = 0; e < m->scenario->entities; e++) {
        if (st->entities[e].owner == 1 + id_of(st, t) && m->scenario->entity_shard[e] == s)
            release(m, st, e);
    }
}

/* A part of a weir.all begins. When nothing is out, those before are over, and stand in nobody's way. */
static void part_begin(const struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    uint8_t place = txn->line.frames[txn->line.depth - 1].pc;
    txn->base = txn->line.depth;
    txn->line.turn = (uint8_t)(place << 1);
    if (outs(txn)) return;
    memset(txn->out, 0, sizeof(txn->out));
    for (int e = 0; e < m->scenario->entities; e++) {
        struct entity *entity = &st->entities[e];
        if (entity->owner == 1 + id_of(st, t)) entity->turn = entity->turn_wrote = 0;
    }
}

static void out_begin(struct model *m, struct state *st, int t, int s, uint8_t handler)
{
    struct txn *txn = &st->txns[t];
    int k = 0;
    while (k < OUTS_MAX && txn->out[k].turn) k++;
    if (k == OUTS_MAX) {
        breaks(m, "model limit: OUTS_MAX is too small for this scenario");
        return;
    }
    struct line *out = &txn->out[k];
    *out = txn->line;
    for (int i = 0; i < txn->base; i++) out->frames[i].pc = 0;
    out->frames[out->depth++] = (struct frame){ handler, 0 };
    out->state = FRAME_CALL_SENT;
    out->turn = txn->line.turn | 1;
    m->outs += outs(txn) > 1;
    post(m, st, s, handler_shard(m, handler),
         (struct message){ .kind = MSG_CALL, .id = (uint8_t)id_of(st, t), .arg = handler, .line = (uint8_t)(1 + k) });
}

/* Does the handler that has calls out wait for them? */
static bool all_waits(const struct model *m, const struct txn *txn)
{
    if (!outs(txn)) return false;
    for (int k = 0; k < OUTS_MAX; k++) {
        if (txn->out[k].ended == 1 && IS(H12_decides_early)) return false;
        if (txn->out[k].ended == 2 && IS(H12_abort_early)) return false;
    }
    return true;
}

/* All are answered: is the failure the first? */
static void all_close(const struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    for (int k = 0; k < OUTS_MAX && record->flags & RECORD_FAILED; k++) {
        if (txn->out[k].ended == 2 && txn->out[k].turn >> 1 < record->fail - 1 && !IS(H12_any_failure))
            record->flags |= RECORD_IN_TURN;
    }
    txn->line.turn = txn->base = 0;
    if (!outs(txn)) memset(txn->out, 0, sizeof(txn->out));
}

/* One operation of the innermost frame; false: it waits. */
static bool run_op(struct model *m, struct state *st, int t, int s, struct op op)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    if (op.kind == OP_FAIL) {
        record->flags |= RECORD_FAILED;
        if (!record->fail) record->fail = (uint8_t)(1 + (txn->line.turn >> 1));
    }
    if (op.kind == OP_SEND) {
        record->sends |= (uint8_t)(1u << op.arg);
        if (IS(H7_hint_early)) hint_post(m, st, s, op.arg);
    }
    if (!is_call(op)) return true;
    bool owner = !txn->at && (!txn->base || txn->base == txn->line.depth) && !txn->in_turn;
    if (op.kind != OP_CALL && owner) part_begin(m, st, t);
    if (op.kind == OP_OUT && owner && handler_shard(m, op.arg) != s) {
        out_begin(m, st, t, s, op.arg);
        return true;
    }
    bool tail = s == root_shard(m, t) && handler_shard(m, op.arg) != s && tail_fits(m, st, t, s);
    if (tail) record->flags |= RECORD_TAIL;
    txn->line.frames[txn->line.depth++] = (struct frame){ op.arg, 0 };
    int to = handler_shard(m, op.arg);
    if (to == s) return lock(m, st, t);
    txn->line.state = FRAME_CALL_SENT;
    uint8_t arg = (uint8_t)(op.arg | (tail ? CALL_TAIL : 0u));
    post(m, st, s, to,
         (struct message){ .kind = MSG_CALL, .id = (uint8_t)id_of(st, t), .arg = arg, .line = txn->at });
    if (tail && IS(H11_releases)) tail_release(m, st, t, s);
    return false;
}

/* What two mutants put off: that the callee tells of its decision, or that the root does what it was told. */
static void run_owed(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    uint8_t epoch = txn->owed;
    int s = root_shard(m, t);
    struct message msg = { .kind = MSG_ANSWER, .id = (uint8_t)id_of(st, t), .epoch = epoch };
    msg.arg = RECORD_COMMITTED;
    txn->owed = 0;
    if (IS(H11_answer_later)) tail_tell(m, st, t, txn->line.answers_from, msg, epoch);
    else tail_committed(m, st, t, s, msg);
}

/* Runs the innermost frame until it waits, and what returns into. */
static void run(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    if (txn->owed) {
        run_owed(m, st, t);
        return;
    }
    int s = handler_shard(m, txn->line.frames[txn->line.depth - 1].handler);
    for (;;) {
        struct frame *f = &txn->line.frames[txn->line.depth - 1];
        struct op op = { OP_RETURN, 0 };
        bool doomed = record_of(st, t, s)->flags & RECORD_DOOMED;
        if (!doomed && f->pc < OPS_MAX && !txn->noop && !txn->replayed)
            op = handler_at(m, f->handler)->ops[f->pc];
        if (!txn->at && txn->base == txn->line.depth && op.kind != OP_OUT && op.kind != OP_PART) {
            if (all_waits(m, txn)) {
                txn->line.state = FRAME_WAITS_ALL;
                return;
            }
            all_close(m, st, t, s);
            continue;
        }
        if (op.kind != OP_RETURN) {
            f->pc++;
            if (!run_op(m, st, t, s, op)) return;
            continue;
        }
        memset(f, 0, sizeof(*f));
        if (--txn->line.depth == 0) {
            root_finish(m, st, t);
            return;
        }
        if (handler_shard(m, txn->line.frames[txn->line.depth - 1].handler) != s) {
            answer(m, st, t, s);
            return;
        }
    }
}

/* ---- messages ------------------------------------------------------------------------------------- */

static void handle_call(struct model *m, struct state *st, struct message msg, int s)
{
    int t = msg.id / ATTEMPTS_MAX;
    struct txn *txn = &st->txns[t];
    line_enter(txn, msg.line);
    if (txn->phase != TXN_LIVE || id_of(st, t) != msg.id || txn->line.state != FRAME_CALL_SENT) {
        breaks(m, "a CALL arrives for an attempt that has ended");
        return;
    }
    struct record *record = record_of(st, t, s);
    record->flags |= RECORD_PRESENT;
    if (msg.arg & CALL_TAIL) record->flags |= RECORD_TAIL;
    txn->line.state = FRAME_READY;
    if (record->flags & RECORD_DOOMED || lock(m, st, t)) run(m, st, t);
    line_enter(txn, 0);
}

/* Of several failures in a record that of the first part counts; what a whole handler tells of has been judged so. */
static void failure_take(const struct model *m, struct txn *txn, struct record *record, int s, uint8_t fail)
{
    bool has = record->flags & RECORD_FAILED;
    bool replaces = owns_all(m, txn, s) ? fail < record->fail
                                        : !txn->line.turn && record->fail > 1 && !IS(H12_failure_above);
    if (!has || replaces) record->fail = fail;
}

/* A call that was out is over. */
static void out_answered(struct model *m, struct state *st, int t, bool well)
{
    struct txn *txn = &st->txns[t];
    uint8_t turn = txn->line.turn;
    memset(&txn->line, 0, sizeof(txn->line));
    txn->line.turn = turn;
    txn->line.ended = well ? 1 : 2;
    line_enter(txn, 0);
    if (txn->line.state != FRAME_WAITS_ALL || all_waits(m, txn)) return;
    txn->line.state = FRAME_READY;
    run(m, st, t);
}

static void handle_answer(struct model *m, struct state *st, struct message msg, int s)
{
    int t = msg.id / ATTEMPTS_MAX;
    struct txn *txn = &st->txns[t];
    line_enter(txn, msg.line);
    if (txn->phase != TXN_LIVE || id_of(st, t) != msg.id || txn->line.state != FRAME_ANSWER_SENT) {
        breaks(m, "an answer arrives for an attempt that has ended");
        return;
    }
    struct record *record = record_of(st, t, s);
    if (msg.arg & RECORD_COMMITTED && IS(H11_applied_later)) {
        record->read = max_of(record->read, msg.read);
        txn->owed = msg.epoch;
        txn->line.state = FRAME_READY;
        return;
    }
    if (msg.arg & RECORD_COMMITTED) {
        tail_committed(m, st, t, s, msg);
        return;
    }
    if (s == root_shard(m, t)) record->flags &= (uint8_t)~RECORD_TAIL;
    record->parts |= (uint8_t)(msg.parts & ~(1u << s));
    if (!IS(H6_read_epoch_lost)) record->read = max_of(record->read, msg.read);
    if (msg.arg & RECORD_FAILED) failure_take(m, txn, record, s, msg.fail);
    record->flags |= msg.arg;
    if (txn->at && txn->line.depth == txn->base) {
        out_answered(m, st, t, !(msg.arg & RECORD_DOOMED));
        return;
    }
    txn->line.answers_from = 0;
    txn->line.state = FRAME_READY;
    run(m, st, t);
    line_enter(txn, 0);
}

static void handle_commit(struct model *m, struct state *st, struct message msg, int s)
{
    int t = msg.id / ATTEMPTS_MAX;
    uint8_t epoch = IS(E2_own_epoch) ? st->shards[s].epoch : msg.arg;
    const struct record record = st->records[msg.id][s];
    if (!record.flags) {
        breaks(m, "COMMIT finds no record");
        return;
    }
    if (IS(H13_prepared_refuses)) {
        record_end(m, st, msg.id, s, true);
        return;
    }
    if (IS(H3_relay)) {
        for (int p = 0; p < m->scenario->shards; p++) {
            if (p != s && p != root_shard(m, t) && record.parts & 1u << p)
                post(m, st, s, p,
                     (struct message){ .kind = MSG_COMMIT, .id = msg.id, .arg = epoch });
        }
    }
    if (IS(H3_done_relay) && m->scenario->clients[t].sender) done_post(m, st, s, t, epoch);
    apply(m, st, msg.id, s, epoch);
}

static void handle_abort(struct model *m, struct state *st, struct message msg, int s)
{
    int t = msg.id / ATTEMPTS_MAX;
    if (!st->records[msg.id][s].flags) breaks(m, "ABORT finds no record");
    if (IS(H15_undo_missing)) {
        for (int e = 0; e < m->scenario->entities; e++) {
            if (st->entities[e].owner == 1 + msg.id && m->scenario->entity_shard[e] == s)
                st->entities[e].version = (uint8_t)(1 + t);
        }
    }
    record_end(m, st, msg.id, s, !IS(lock_no_release));
}

static void handle(struct model *m, struct state *st, int from, int s)
{
    struct ring *ring = &st->rings[from][s];
    int at = 0;
    if (IS(H2_cancel_overtakes)) {
        for (int i = 0; i < ring->published; i++) {
            if (ring->slots[i].kind == MSG_CANCEL) at = i;
        }
    }
    struct message msg = ring_take(st, from, s, at);
    m->handled[msg.kind]++;
    if (!IS(E1_no_raise)) epoch_raise(m, st, s, msg.epoch);
    int t = msg.id / ATTEMPTS_MAX;
    switch (msg.kind) {
    case MSG_CALL: handle_call(m, st, msg, s); break;
    case MSG_ANSWER: handle_answer(m, st, msg, s); break;
    case MSG_COMMIT: handle_commit(m, st, msg, s); break;
    case MSG_ABORT: handle_abort(m, st, msg, s); break;
    case MSG_WOUND: root_wound(m, st, msg.id); break;
    case MSG_CANCEL:
        if (st->records[msg.id][s].flags && id_of(st, t) == msg.id &&
            st->txns[t].phase == TXN_LIVE && !(st->records[msg.id][s].flags & RECORD_CANCELLED))
            cancel(m, st, t, s);
        break;
    case MSG_HINT: hint(m, st, msg.id); break;
    case MSG_DONE: done(m, st, s, msg.id, msg.arg); break;
    }
}

/* Who died and has slept: its lock may have come free meanwhile. */
static void wake(struct model *m, struct state *st, int t)
{
    int e = root_entity(m, t);
    st->txns[t].asleep = 0;
    if (IS(die_place_lost)) st->entities[e].waiters |= (uint8_t)(1u << t);
    if (!st->entities[e].owner && !IS(die_wake_lost)) release(m, st, e);
}

/* ---- replies --------------------------------------------------------------------------------------- */

static void reply(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    if (txn->read > st->synced) breaks(m, "a reply leaves that tells of an undurable version");
    if (is_decided(txn) && txn_writes(m, st, t) && txn->commit > st->synced)
        breaks(m, "a reply leaves before its own effects are durable");
    txn->phase = TXN_DONE;
    txn->wait = 0;
}

/* ---- steps ---------------------------------------------------------------------------------------- */

void state_init(const struct model *m, struct state *st)
{
    const struct scenario *sc = m->scenario;
    memset(st, 0, sizeof(*st));
    st->global = 1;
    for (int s = 0; s < sc->shards; s++) {
        st->shards[s].epoch = 1;
        st->shards[s].run = sc->parks ? SHARD_PARKED : SHARD_RUNNING;
        for (int p = 0; p < sc->shards; p++) {
            if (p != s) st->rings[s][p].mark = 1;
        }
    }
    for (int t = 0; t < sc->txns; t++) st->txns[t].age = (uint8_t)t;
}

/* The timer is due, and this is the first of those that stand ready to fire it. */
static bool may_fire(const struct model *m, const struct state *st, int t)
{
    const struct entity *entity = &st->entities[root_entity(m, t)];
    if (!entity->timer_heap || entity->timer_heap - 1 > st->clock) return false;
    for (int u = 0; u < t; u++) {
        if (m->scenario->clients[u].fires && root_entity(m, u) == root_entity(m, t) &&
            st->txns[u].phase == TXN_NEW)
            return false;
    }
    return true;
}

static bool may_arrive(const struct model *m, const struct state *st, int t)
{
    const struct client *client = &m->scenario->clients[t];
    const struct txn *txn = &st->txns[t];
    if (txn->phase != TXN_NEW) return false;
    if (client->after && !is_finished(m, st, client->after - 1)) return false;
    if (client->fires) return may_fire(m, st, t);
    if (!client->sender) return true;
    if (!txn->hinted) return false;
    for (int u = 0; u < m->scenario->txns; u++) {
        const struct txn *other = &st->txns[u];
        if (u == t || !same_pair(m, t, u) || IS(H7_two_in_delivery)) continue;
        if (other->phase == TXN_LIVE) return false;
        if (other->phase == TXN_NEW && other->hinted && other->hinted < txn->hinted) return false;
    }
    return true;
}

static bool may_park(const struct model *m, const struct state *st, int s)
{
    const struct shard *shard = &st->shards[s];
    if (!m->scenario->parks || shard->run != SHARD_RUNNING) return false;
    if (shard->pending && !IS(H1_park_message_out)) return false;
    if (walk_is_owed(st, s)) return false;
    for (int id = 0; id < m->scenario->txns * ATTEMPTS_MAX; id++) {
        if (st->records[id][s].flags && !IS(H1_park_open_txn)) return false;
    }
    for (int t = 0; t < m->scenario->txns; t++) {
        /* asleep, but something is about to run: it would wake at once */
        if (root_shard(m, t) == s && may_arrive(m, st, t)) return false;
    }
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p == s) continue;
        if (st->rings[p][s].published || st->rings[s][p].published < st->rings[s][p].count)
            return false;
    }
    return true;
}

static bool wants_unpark(const struct model *m, const struct state *st, int s)
{
    if (walk_is_owed(st, s)) return true;
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p != s && st->rings[p][s].published) return true;
    }
    for (int t = 0; t < m->scenario->txns; t++) {
        if (root_shard(m, t) == s && may_arrive(m, st, t)) return true;
    }
    return false;
}

static bool may_read_mark(const struct model *m, const struct state *st, int s, int p)
{
    const struct shard *shard = &st->shards[s];
    if (shard->mark_read[p]) return false;
    if (shard->epoch <= shard->sealed + 1) return IS(H2_state_before_raise) && is_parked(m, st, p);
    return st->rings[p][s].mark > shard->sealed + 1 || is_parked(m, st, p);
}

static void read_mark(const struct model *m, struct state *st, int s, int p)
{
    struct shard *shard = &st->shards[s];
    bool by_mark = st->rings[p][s].mark > shard->sealed + 1;
    if (IS(H2_state_after_tail) && is_parked(m, st, p)) by_mark = false;
    shard->mark_read[p] = 1;
    /* a tail read before, as only mutants do, does not count; unless the mutant holds that it does */
    if (!(by_mark ? IS(H2_mark_after_tail) : IS(H2_state_after_tail))) shard->tail_read[p] = 0;
}

static bool may_read_tail(const struct model *m, const struct state *st, int s, int p)
{
    const struct shard *shard = &st->shards[s];
    if (shard->tail_read[p]) return false;
    if (shard->epoch <= shard->sealed + 1 && !IS(H2_state_before_raise)) return false;
    return shard->mark_read[p] || IS(H2_mark_after_tail) || IS(H2_state_after_tail);
}

/* The mutant: a root here has given its decision to shard p. */
static bool has_given_away(const struct model *m, const struct state *st, int s, int p)
{
    for (int t = 0; t < m->scenario->txns; t++) {
        const struct txn *txn = &st->txns[t];
        if (txn->phase != TXN_LIVE || root_shard(m, t) != s) continue;
        if (st->records[id_of(st, t)][s].flags & RECORD_TAIL && p != s) return true;
    }
    return false;
}

static bool may_seal(const struct model *m, const struct state *st, int s)
{
    const struct shard *shard = &st->shards[s];
    int epoch = shard->sealed + 1;
    if (shard->run != SHARD_RUNNING || shard->epoch <= epoch) return false;
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p == s) continue;
        if (m->scenario->fine_seal) {
            if (!shard->mark_read[p] || shard->tail_read[p] != 1) return false;
            continue;
        }
        bool parked = is_parked(m, st, p);
        int mark = st->rings[p][s].mark + (IS(E3_mark_too_low) ? 1 : 0);
        if (IS(H11_seals_alone) && has_given_away(m, st, s, p)) continue;
        if (mark <= epoch && !parked && !IS(E3_no_marks)) return false;
        if (st->rings[p][s].published && !IS(E3_no_drain)) return false;
    }
    return true;
}

/* The writer asks shard after shard: state, then sealed; writer_state: 1 running, 2 parked; writer_done: 1 sealed, 2 parked: what
 * it has of the epoch is all there will be. */
static bool writer_asks(const struct model *m, const struct state *st, int s)
{
    if (!m->scenario->fine_seal || st->global <= st->durable + 1 || st->writer_done[s] ||
        st->written > st->durable)
        return false;
    return s == 0 || st->writer_done[s - 1];
}
static bool may_ask_state(const struct model *m, const struct state *st, int s)
{
    if (!writer_asks(m, st, s)) return false;
    return st->writer_state[s] != (is_parked(m, st, s) ? 2 : 1);
}
static bool may_ask_sealed(const struct model *m, const struct state *st, int s)
{
    if (!writer_asks(m, st, s)) return false;
    bool sealed = st->shards[s].sealed > st->durable;
    return st->writer_state[s] == 2 || (st->writer_state[s] == 1 && sealed);
}

static bool may_raise(const struct model *m, const struct state *st)
{
    if (st->global + 1 >= EPOCHS_MAX) return false;
    if (st->wanted < st->global && st->global >= m->scenario->cuts) return false;
    return st->durable == st->global - 1 || (IS(H1_raise_early) && st->global < 6);
}

/* Only while an id is left for another attempt: that bounds the ABORTs of earlier ones on their way. */
static bool may_wake(const struct model *m, const struct state *st, int t)
{
    if (!st->txns[t].asleep || st->shards[root_shard(m, t)].run != SHARD_RUNNING) return false;
    for (int a = 0; a < ATTEMPTS_MAX; a++) {
        if (!id_is_used(m, st, t * ATTEMPTS_MAX + a)) return true;
    }
    return false;
}

static int shard_steps(const struct model *m, const struct state *st, int s, struct step *steps)
{
    const struct shard *shard = &st->shards[s];
    int n = 0;
    if (shard->run == SHARD_PARKED && wants_unpark(m, st, s))
        steps[n++] = (struct step){ STEP_UNPARK, (uint8_t)s, 0 };
    if (shard->run == SHARD_UNPARKING || shard->run == SHARD_LOADED)
        steps[n++] = (struct step){ STEP_UNPARKED, (uint8_t)s, 0 };
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p == s || !m->scenario->fine_rings) continue;
        const struct ring *ring = &st->rings[s][p];
        if (ring->published < ring->count)
            steps[n++] = (struct step){ STEP_PUBLISH_TAIL, (uint8_t)s, (uint8_t)p };
        if (ring->mark < shard->epoch &&
            (ring->published == ring->count || IS(H2_mark_published_first)))
            steps[n++] = (struct step){ STEP_PUBLISH_MARK, (uint8_t)s, (uint8_t)p };
    }
    if (shard->run != SHARD_RUNNING) return n;
    if (shard->epoch < st->global) steps[n++] = (struct step){ STEP_ADOPT, (uint8_t)s, 0 };
    for (int p = 0; p < m->scenario->shards; p++) {
        if (p == s) continue;
        if (st->rings[p][s].published)
            steps[n++] = (struct step){ STEP_HANDLE, (uint8_t)p, (uint8_t)s };
        if (!m->scenario->fine_seal) continue;
        if (may_read_mark(m, st, s, p))
            steps[n++] = (struct step){ STEP_READ_MARK, (uint8_t)s, (uint8_t)p };
        if (may_read_tail(m, st, s, p))
            steps[n++] = (struct step){ STEP_READ_TAIL, (uint8_t)s, (uint8_t)p };
    }
    if (walk_is_owed(st, s)) steps[n++] = (struct step){ STEP_WALK, (uint8_t)s, 0 };
    if (may_seal(m, st, s)) steps[n++] = (struct step){ STEP_SEAL, (uint8_t)s, 0 };
    if (may_park(m, st, s)) steps[n++] = (struct step){ STEP_PARK, (uint8_t)s, 0 };
    return n;
}

/* Those of the writer, the disk, the clock and the power switch. */
static int world_steps(const struct model *m, const struct state *st, struct step *steps)
{
    const struct scenario *sc = m->scenario;
    int n = 0;
    for (int kept = 0; kept <= st->written - st->synced && st->crashes < sc->crashes; kept++) {
        steps[n++] = (struct step){ STEP_CRASH, (uint8_t)kept, 0 };
        if (sc->damage && st->checkpoint_named)
            steps[n++] = (struct step){ STEP_CRASH, (uint8_t)kept, 1 };
    }
    if (st->recovering) {
        steps[n++] = (struct step){ STEP_REHOME, 0, 0 };
        return n;
    }
    if (may_raise(m, st)) steps[n++] = (struct step){ STEP_RAISE, 0, 0 };
    if (may_write(m, st)) steps[n++] = (struct step){ STEP_WRITE, 0, 0 };
    if (st->written > st->synced && (st->written > st->durable || IS(E5_ack_before_sync)))
        steps[n++] = (struct step){ STEP_SYNC, 0, 0 };
    if (st->clock < sc->clock) steps[n++] = (struct step){ STEP_CLOCK, 0, 0 };
    if (st->clock && st->clock_backs < sc->clock_backs)
        steps[n++] = (struct step){ STEP_CLOCK_BACK, 0, 0 };
    if (may_begin_checkpoint(m, st)) steps[n++] = (struct step){ STEP_CHECKPOINT, 0, 0 };
    if (may_name_checkpoint(m, st)) steps[n++] = (struct step){ STEP_NAME, 0, 0 };
    return n;
}

int state_steps(const struct model *m, const struct state *st, struct step *steps)
{
    int n = world_steps(m, st, steps);
    if (st->recovering) return n;
    for (int t = 0; t < m->scenario->txns; t++) {
        const struct txn *txn = &st->txns[t];
        if (may_arrive(m, st, t) && st->shards[root_shard(m, t)].run == SHARD_RUNNING)
            steps[n++] = (struct step){ STEP_ARRIVE, (uint8_t)t, 0 };
        for (int k = 0; k <= OUTS_MAX; k++) {
            const struct line *line = k ? &txn->out[k - 1] : &txn->line;
            if (line->state == FRAME_READY &&
                st->shards[handler_shard(m, line->frames[line->depth - 1].handler)].run == SHARD_RUNNING)
                steps[n++] = (struct step){ STEP_RUN, (uint8_t)t, (uint8_t)k };
        }
        if (may_wake(m, st, t))
            steps[n++] = (struct step){ STEP_WAKE, (uint8_t)t, 0 };
        if (txn->phase == TXN_REPLIES && st->durable >= txn->wait)
            steps[n++] = (struct step){ STEP_RELEASE, (uint8_t)t, 0 };
    }
    for (int s = 0; s < m->scenario->shards; s++) {
        n += shard_steps(m, st, s, steps + n);
        if (may_ask_state(m, st, s)) steps[n++] = (struct step){ STEP_WRITER_STATE, (uint8_t)s, 0 };
        if (may_ask_sealed(m, st, s))
            steps[n++] = (struct step){ STEP_WRITER_SEALED, (uint8_t)s, 0 };
    }
    return n;
}

static void seal(struct state *st, int s)
{
    st->shards[s].sealed++;
    memset(st->shards[s].mark_read, 0, sizeof(st->shards[s].mark_read));
    memset(st->shards[s].tail_read, 0, sizeof(st->shards[s].tail_read));
}

static void unpark(const struct model *m, struct state *st, int s, bool first)
{
    struct shard *shard = &st->shards[s];
    bool loads = first == IS(H1_unpark_order);
    if (loads && !IS(H1_unpark_no_adopt)) {
        epoch_raise(m, st, s, st->global);
        shard->sealed = (uint8_t)(shard->epoch - 1);
    }
    shard->run = SHARD_RUNNING;
    if (first) shard->run = IS(H1_unpark_order) ? SHARD_LOADED : SHARD_UNPARKING;
}

static void step_writer(struct model *m, struct state *st, struct step step)
{
    int s = step.a;
    bool sealed = st->shards[s].sealed > st->durable;
    if (step.kind == STEP_WRITER_STATE) {
        st->writer_state[s] = is_parked(m, st, s) ? 2 : 1;
    } else if (sealed) {
        st->writer_done[s] = 1;
    } else {
        st->writer_done[s] = 2;
    }
}

/* A shard has at most two epochs open above what it sealed, and so has everybody. */
static void check_skew(struct model *m, const struct state *st)
{
    for (int s = 0; s < m->scenario->shards; s++) {
        const struct shard *shard = &st->shards[s];
        if (shard->run == SHARD_RUNNING && shard->epoch > shard->sealed + 2)
            breaks(m, "a shard has three epochs open");
        for (int p = 0; p < m->scenario->shards; p++) {
            if (shard->run == SHARD_RUNNING && st->shards[p].run == SHARD_RUNNING &&
                shard->epoch > st->shards[p].epoch + 1)
                breaks(m, "two shards are more than one epoch apart");
        }
    }
}

bool state_step(struct model *m, struct state *st, struct step step)
{
    int a = step.a, b = step.b;
    m->broken = NULL;
    m->done[step.kind]++;
    switch (step.kind) {
    case STEP_ARRIVE:
        if (m->scenario->clients[a].fires) {
            st->entities[root_entity(m, a)].timer_heap = 0;
            st->txns[a].now = st->clock;
            if (IS(H19_check_before_lock)) fire_check(m, st, a);
        }
        attempt_begin(m, st, a);
        break;
    case STEP_HANDLE: handle(m, st, a, b); break;
    case STEP_RUN:
        line_enter(&st->txns[a], b);
        run(m, st, a);
        line_enter(&st->txns[a], 0);
        break;
    case STEP_ADOPT: epoch_raise(m, st, a, st->global); break;
    case STEP_READ_MARK: read_mark(m, st, a, b); break;
    case STEP_READ_TAIL:
        st->shards[a].tail_read[b] = (uint8_t)(1 + st->rings[b][a].published);
        break;
    case STEP_SEAL: seal(st, a); break;
    case STEP_PARK:
        st->shards[a].run = SHARD_PARKED;
        memset(st->shards[a].mark_read, 0, sizeof(st->shards[a].mark_read));
        memset(st->shards[a].tail_read, 0, sizeof(st->shards[a].tail_read));
        break;
    case STEP_UNPARK: unpark(m, st, a, true); break;
    case STEP_UNPARKED: unpark(m, st, a, false); break;
    case STEP_PUBLISH_TAIL: st->rings[a][b].published = st->rings[a][b].count; break;
    case STEP_PUBLISH_MARK: st->rings[a][b].mark = st->shards[a].epoch; break;
    case STEP_RAISE: st->global++; break;
    case STEP_WRITER_STATE:
    case STEP_WRITER_SEALED: step_writer(m, st, step); break;
    case STEP_WRITE: write_frame(m, st); break;
    case STEP_SYNC: sync_frame(m, st); break;
    case STEP_RELEASE: reply(m, st, a); break;
    case STEP_WAKE: wake(m, st, a); break;
    case STEP_CLOCK: st->clock++; break;
    case STEP_CLOCK_BACK:
        st->clock--;
        st->clock_backs++;
        break;
    case STEP_CHECKPOINT: begin_checkpoint(st); break;
    case STEP_WALK: walk(m, st, a); break;
    case STEP_NAME: name_checkpoint(m, st); break;
    case STEP_REHOME:
        st->recovering = 0;
        st->synced = st->written;
        break;
    case STEP_CRASH: crash(m, st, a, b); break;
    }
    check_skew(m, st);
    if (!IS(H4_full_ring_blocks) || m->broken != NULL) return true;
    for (int s = 0; s < m->scenario->shards; s++) {
        for (int p = 0; p < m->scenario->shards; p++) {
            if (st->rings[s][p].count > 1) return false;
        }
    }
    return true;
}

bool state_is_final(const struct model *m, const struct state *st)
{
    if (st->recovering || st->checkpoint_runs || st->written > st->synced) return false;
    for (int t = 0; t < m->scenario->txns; t++) {
        if (!is_finished(m, st, t)) return false;
    }
    for (int s = 0; s < m->scenario->shards; s++) {
        if (st->shards[s].effect > st->durable || st->shards[s].pending) return false;
        for (int p = 0; p < m->scenario->shards; p++) {
            if (st->rings[s][p].count) return false;
        }
        for (int id = 0; id < IDS_MAX; id++) {
            if (st->records[id][s].flags) return false;
        }
    }
    for (int e = 0; e < m->scenario->entities; e++) {
        const struct entity *entity = &st->entities[e];
        if (entity->owner || entity->waiters || has_readers(entity)) return false;
        if (entity->timer && TIMER_DUE(entity->timer) <= m->scenario->clock) return false;
    }
    return true;
}
