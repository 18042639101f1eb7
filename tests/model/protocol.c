/*
 * protocol.c - the steps of shards, transactions and the log writer, and what each step must not break.
 *
 * The rules E1 to E5 and H1 to H19 are those of the design pages. Every if on a mutant leaves one rule out.
 * Checks look at the whole state, also at what no shard could know: a step that breaks one names it in
 * m->broken. Ids: transaction * ATTEMPTS_MAX + attempt; an attempt takes the lowest that nothing names any
 * more, which stands for ids that are never used twice.
 * SPDX-License-Identifier: MIT
 */
#include "model.h"

#include <stdio.h>
#include <string.h>

#define IS(name) (m->mutant == MUTANT_##name)

_Static_assert(offsetof(struct state, zero) + 2 == sizeof(struct state),
               "no padding: states compare by bytes");

static void run(struct model *m, struct state *st, int t);

static void breaks(struct model *m, const char *rule)
{
    if (m->broken == NULL) m->broken = rule;
}

/* ---- what the scenario says ----------------------------------------------------------------------- */

static const struct handler *handler_at(const struct model *m, int h)
{
    return &m->scenario->handlers[h];
}
static int handler_shard(const struct model *m, int h)
{
    return m->scenario->entity_shard[handler_at(m, h)->entity];
}
static int root_entity(const struct model *m, int t)
{
    return handler_at(m, m->scenario->clients[t].handler)->entity;
}
static int root_shard(const struct model *m, int t)
{
    return handler_shard(m, m->scenario->clients[t].handler);
}
static int sender_shard(const struct model *m, int t);

/* Effects that a commit of t must have on shard s, when handler h and all below it ran. */
static uint16_t handler_effects(const struct model *m, int t, int h, int s)
{
    uint16_t effects = 0;
    if (handler_at(m, h)->writes && handler_shard(m, h) == s) effects |= LOG_WROTE(t);
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if (op.kind == OP_CALL) effects |= handler_effects(m, t, op.arg, s);
        if (op.kind == OP_SEND && handler_shard(m, h) == s) effects |= LOG_PUT(op.arg);
    }
    return effects;
}
static uint16_t txn_effects(const struct model *m, const struct state *st, int t, int s)
{
    if (st->txns[t].noop) return 0;
    uint16_t effects = handler_effects(m, t, m->scenario->clients[t].handler, s);
    if (m->scenario->clients[t].sender && sender_shard(m, t) == s) effects |= LOG_DELETED(t);
    return effects;
}
static bool txn_writes(const struct model *m, const struct state *st, int t)
{
    for (int s = 0; s < m->scenario->shards; s++) {
        if (txn_effects(m, st, t, s)) return true;
    }
    return false;
}
/* The shard whose handler sends the message that t delivers. */
static int sender_shard(const struct model *m, int t)
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
static bool handler_writes(const struct model *m, int h, int e)
{
    if (handler_at(m, h)->entity == e && handler_at(m, h)->writes) return true;
    for (int i = 0; i < OPS_MAX; i++) {
        struct op op = handler_at(m, h)->ops[i];
        if (op.kind == OP_CALL && handler_writes(m, op.arg, e)) return true;
    }
    return false;
}

/* ---- small helpers -------------------------------------------------------------------------------- */

static uint8_t max_of(uint8_t a, uint8_t b)
{
    return a > b ? a : b;
}
static int id_of(const struct state *st, int t)
{
    return t * ATTEMPTS_MAX + st->txns[t].attempt;
}
static struct record *record_of(struct state *st, int t, int s)
{
    return &st->records[id_of(st, t)][s];
}
static bool is_parked(const struct model *m, const struct state *st, int s)
{
    return m->scenario->parks &&
           (st->shards[s].run == SHARD_PARKED || st->shards[s].run == SHARD_LOADED);
}
static bool is_decided(const struct txn *t)
{
    return (t->phase == TXN_REPLIES || t->phase == TXN_DONE) && !t->failed;
}
static bool is_finished(const struct model *m, const struct state *st, int t)
{
    const struct txn *txn = &st->txns[t];
    if (txn->phase == TXN_DONE || txn->phase == TXN_LOST) return true;
    int sender = m->scenario->clients[t].sender;
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

/* ---- locks ---------------------------------------------------------------------------------------- */

/* Top frame of t's record on shard s: the innermost that has reached it. -1: none. */
static int top_on(const struct model *m, const struct state *st, int t, int s)
{
    const struct txn *txn = &st->txns[t];
    for (int i = txn->depth - 1; i >= 0; i--) {
        if (i == txn->depth - 1 && txn->state == FRAME_CALL_SENT) continue;
        if (handler_shard(m, txn->frames[i].handler) == s) return i;
    }
    return -1;
}

static void cancel(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    record_of(st, t, s)->flags |= RECORD_CANCELLED;
    int top = top_on(m, st, t, s);
    if (top < 0) return;
    bool innermost = top == txn->depth - 1;
    if (innermost && txn->state == FRAME_WAITS_LOCK) {
        int e = handler_at(m, txn->frames[top].handler)->entity;
        st->entities[e].waiters &= (uint8_t) ~(1u << t);
        txn->state = FRAME_READY;
        return;
    }
    if (innermost && txn->state != FRAME_ANSWER_SENT) return;
    int to = innermost ? txn->answers_from : handler_shard(m, txn->frames[top + 1].handler);
    if (IS(H5_no_cancel) || (IS(H5_cancel_one_level) && s != root_shard(m, t))) return;
    post(m, st, s, to, (struct message){ .kind = MSG_CANCEL, .id = (uint8_t)id_of(st, t) });
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

static void touch(struct model *m, struct state *st, int t, int e, int s)
{
    struct txn *txn = &st->txns[t];
    struct entity *entity = &st->entities[e];
    struct record *record = record_of(st, t, s);
    record->flags |= RECORD_PRESENT;
    if (!IS(H6_no_tombstone)) record->read = max_of(record->read, entity->version_epoch);
    txn->read = max_of(txn->read, entity->version_epoch);
    if (e == root_entity(m, t)) txn->held_root = 1;
    for (int u = 0; u < m->scenario->txns; u++) {
        const struct txn *other = &st->txns[u];
        if (u < t && (other->phase == TXN_LIVE || other->phase == TXN_NEW) && other->held_root &&
            root_entity(m, u) == e)
            breaks(m,
                   "order per key: a younger transaction passes one that has held its root entity");
    }
    if (txn->touched & 1u << e) return;
    txn->touched |= (uint8_t)(1u << e);
    txn->seen[e] = entity->version;
    if (handler_at(m, txn->frames[0].handler)->timer && txn->depth == 1 &&
        !IS(H19_check_before_lock))
        txn->noop = !entity->timer;
}

/* Takes the entity of the innermost frame, or waits. True: it may run. */
static bool lock(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int e = handler_at(m, txn->frames[txn->depth - 1].handler)->entity,
        s = m->scenario->entity_shard[e];
    struct entity *entity = &st->entities[e];
    if (entity->owner == 0 || entity->owner == 1 + id_of(st, t)) {
        entity->owner = (uint8_t)(1 + id_of(st, t));
        touch(m, st, t, e, s);
        return true;
    }
    txn->state = FRAME_WAITS_LOCK;
    entity->waiters |= (uint8_t)(1u << t);
    int owner = entity->owner - 1, u = owner / ATTEMPTS_MAX;
    bool older = txn->age < st->txns[u].age;
    if (IS(wound_wait_reversed)) older = txn->age > st->txns[u].age;
    if (txn->depth == 1 || !older || IS(wound_not_sent))
        return false; /* a root without locks wounds nobody */
    if (root_shard(m, u) == s) root_wound(m, st, owner);
    else
        post(m, st, s, root_shard(m, u),
             (struct message){ .kind = MSG_WOUND, .id = (uint8_t)owner });
    return false;
}

static void release(struct model *m, struct state *st, int e)
{
    struct entity *entity = &st->entities[e];
    int next = -1;
    entity->owner = 0;
    for (int t = 0; t < m->scenario->txns; t++) {
        if (!(entity->waiters & 1u << t)) continue;
        bool first = next < 0 || st->txns[t].age < st->txns[next].age;
        if (IS(wound_queue_unordered)) first = next < 0 || st->txns[t].age > st->txns[next].age;
        if (first) next = t;
    }
    if (next < 0) return;
    entity->waiters &= (uint8_t) ~(1u << next);
    entity->owner = (uint8_t)(1 + id_of(st, next));
    touch(m, st, next, e, m->scenario->entity_shard[e]);
    st->txns[next].state = FRAME_READY;
}

/* Ends the attempt's record on a shard. */
static void record_end(struct model *m, struct state *st, int id, int s, bool releases)
{
    memset(&st->records[id][s], 0, sizeof(st->records[id][s]));
    for (int e = 0; e < m->scenario->entities; e++) {
        if (st->entities[e].owner == 1 + id && m->scenario->entity_shard[e] == s && releases)
            release(m, st, e);
    }
}

/* ---- effects -------------------------------------------------------------------------------------- */

static void effect(struct model *m, struct state *st, int s, uint8_t epoch, uint16_t effects)
{
    if (effects == 0) return;
    if (st->shards[s].sealed >= epoch)
        breaks(m, "an effect enters an epoch that its shard has sealed");
    if (st->durable >= epoch) breaks(m, "an effect enters an epoch that is on disk");
    if (st->log[s][epoch] & effects) breaks(m, "an effect is logged twice");
    st->log[s][epoch] |= effects;
    st->shards[s].effect = max_of(st->shards[s].effect, epoch);
}

static void hint(struct model *m, struct state *st, int t)
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

/* What the attempt did on this shard becomes true in the commit epoch; its locks go. */
static void apply(struct model *m, struct state *st, int id, int s, uint8_t epoch)
{
    int t = id / ATTEMPTS_MAX;
    const struct client *client = &m->scenario->clients[t];
    for (int e = 0; e < m->scenario->entities; e++) {
        struct entity *entity = &st->entities[e];
        if (entity->owner != 1 + id || m->scenario->entity_shard[e] != s) continue;
        entity->access_epoch = max_of(entity->access_epoch, epoch);
        if (st->txns[t].noop || !handler_writes(m, client->handler, e)) continue;
        entity->version = (uint8_t)(1 + t);
        entity->version_epoch = epoch;
        entity->version_at[epoch] = entity->version;
        effect(m, st, s, epoch, (uint16_t)(LOG_WROTE(t) & ~st->log[s][epoch]));
    }
    if (handler_at(m, client->handler)->timer && !st->txns[t].noop && s == root_shard(m, t)) {
        struct entity *entity = &st->entities[root_entity(m, t)];
        if (!entity->timer) breaks(m, "a timer fires twice, or after it was cancelled");
        entity->timer = 0;
    }
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
        if (st->entities[e].owner == 1 + id) return true;
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
    txn->depth = 1;
    txn->frames[0] = (struct frame){ m->scenario->clients[t].handler, 0 };
    txn->begin_epoch = st->shards[s].epoch;
    txn->touched = txn->read = 0;
    memset(txn->seen, 0, sizeof(txn->seen));
    record_of(st, t, s)->flags = RECORD_PRESENT;
    if (lock(m, st, t)) txn->state = FRAME_READY;
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
    txn->depth = 0;
    txn->state = FRAME_NONE;
    txn->answers_from = 0;
    memset(txn->frames, 0, sizeof(txn->frames));
}

static void root_again(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int id = id_of(st, t), s = root_shard(m, t);
    m->retries++;
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
    if (txn->depth > 0 && txn->state == FRAME_WAITS_LOCK) {
        int e = handler_at(m, txn->frames[txn->depth - 1].handler)->entity;
        st->entities[e].waiters &= (uint8_t) ~(1u << t);
    }
    root_again(m, st, t);
}

static void root_fail(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int id = id_of(st, t), s = root_shard(m, t);
    m->failures++;
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
    for (int e = 0; e < m->scenario->entities; e++) {
        const struct entity *entity = &st->entities[e];
        if (!(txn->touched & 1u << e)) continue;
        if (entity->owner != 1 + id_of(st, t))
            breaks(m, "a transaction decides without a lock it needs");
        if (entity->version != txn->seen[e])
            breaks(m, "a transaction decides on a version that is not the newest");
        if (entity->version && !is_decided(&st->txns[entity->version - 1]))
            breaks(m, "a transaction decides on a version that nobody committed");
        if (entity->version_epoch > epoch)
            breaks(m, "a dependency points to a later epoch (ww, wr)");
        if (entity->access_epoch > epoch) breaks(m, "a dependency points to a later epoch (rw)");
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

static void root_commit(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int id = id_of(st, t), s = root_shard(m, t);
    uint8_t epoch = IS(E2_epoch_at_start) ? txn->begin_epoch : st->shards[s].epoch;
    uint8_t read = record_of(st, t, s)->read;
    bool writes = txn_writes(m, st, t), delivers = m->scenario->clients[t].sender != 0;
    check_decision(m, st, t, epoch);
    txn->phase = TXN_REPLIES;
    txn->commit = epoch;
    txn->wait = writes ? max_of(epoch, IS(H6_read_not_waited) ? 0 : read) : read;
    if (!writes && IS(H6_read_not_waited)) txn->wait = 0;
    if (IS(E5_reply_early)) txn->wait = 0;
    if (writes) st->wanted = max_of(st->wanted, epoch);
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
    txn_clear(txn);
    apply(m, st, id, s, epoch);
}

static void root_finish(struct model *m, struct state *st, int t)
{
    uint8_t flags = record_of(st, t, root_shard(m, t))->flags;
    if (flags & RECORD_CANCELLED) root_again(m, st, t);
    else if (flags & RECORD_FAILED) root_fail(m, st, t);
    else root_commit(m, st, t);
}

/* ---- handlers ------------------------------------------------------------------------------------- */

static void answer(struct model *m, struct state *st, int t, int s)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    struct message msg = { .kind = MSG_ANSWER, .id = (uint8_t)id_of(st, t), .read = record->read };
    msg.arg = record->flags & (RECORD_CANCELLED | RECORD_FAILED);
    msg.parts = (uint8_t)((IS(H5_no_participants) ? 0 : record->parts) | 1u << s);
    txn->state = FRAME_ANSWER_SENT;
    txn->answers_from = (uint8_t)s;
    if (IS(H5_cancel_not_answered) && msg.arg & RECORD_CANCELLED) return;
    post(m, st, s, handler_shard(m, txn->frames[txn->depth - 1].handler), msg);
    if (!IS(lock_early_release)) return;
    for (int e = 0; e < m->scenario->entities; e++) {
        if (st->entities[e].owner == 1 + id_of(st, t) && m->scenario->entity_shard[e] == s)
            release(m, st, e);
    }
}

/* One operation of the innermost frame; false: it waits. */
static bool run_op(struct model *m, struct state *st, int t, int s, struct op op)
{
    struct txn *txn = &st->txns[t];
    struct record *record = record_of(st, t, s);
    if (op.kind == OP_FAIL) record->flags |= RECORD_FAILED;
    if (op.kind == OP_SEND) {
        record->sends |= (uint8_t)(1u << op.arg);
        if (IS(H7_hint_early)) hint_post(m, st, s, op.arg);
    }
    if (op.kind != OP_CALL) return true;
    txn->frames[txn->depth++] = (struct frame){ op.arg, 0 };
    int to = handler_shard(m, op.arg);
    if (to == s) return lock(m, st, t);
    txn->state = FRAME_CALL_SENT;
    post(m, st, s, to,
         (struct message){ .kind = MSG_CALL, .id = (uint8_t)id_of(st, t), .arg = op.arg });
    return false;
}

/* Runs the innermost frame until it waits, and what returns into. */
static void run(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    int s = handler_shard(m, txn->frames[txn->depth - 1].handler);
    for (;;) {
        struct frame *f = &txn->frames[txn->depth - 1];
        struct op op = { OP_RETURN, 0 };
        bool doomed = record_of(st, t, s)->flags & (RECORD_CANCELLED | RECORD_FAILED);
        if (!doomed && f->pc < OPS_MAX && !txn->noop) op = handler_at(m, f->handler)->ops[f->pc];
        if (op.kind != OP_RETURN) {
            f->pc++;
            if (!run_op(m, st, t, s, op)) return;
            continue;
        }
        memset(f, 0, sizeof(*f));
        if (--txn->depth == 0) {
            root_finish(m, st, t);
            return;
        }
        if (handler_shard(m, txn->frames[txn->depth - 1].handler) != s) {
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
    if (txn->phase != TXN_LIVE || id_of(st, t) != msg.id || txn->state != FRAME_CALL_SENT) {
        breaks(m, "a CALL arrives for an attempt that has ended");
        return;
    }
    struct record *record = record_of(st, t, s);
    record->flags |= RECORD_PRESENT;
    txn->state = FRAME_READY;
    if (record->flags & (RECORD_CANCELLED | RECORD_FAILED) || lock(m, st, t)) run(m, st, t);
}

static void handle_answer(struct model *m, struct state *st, struct message msg, int s)
{
    int t = msg.id / ATTEMPTS_MAX;
    struct txn *txn = &st->txns[t];
    if (txn->phase != TXN_LIVE || id_of(st, t) != msg.id || txn->state != FRAME_ANSWER_SENT) {
        breaks(m, "an answer arrives for an attempt that has ended");
        return;
    }
    struct record *record = record_of(st, t, s);
    record->parts |= (uint8_t)(msg.parts & ~(1u << s));
    if (!IS(H6_read_epoch_lost)) record->read = max_of(record->read, msg.read);
    record->flags |= msg.arg;
    txn->answers_from = 0;
    txn->state = FRAME_READY;
    run(m, st, t);
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

/* ---- the writer, the disk, a crash ---------------------------------------------------------------- */

/* The frame of an epoch holds all effects of its transactions, and nothing else. */
static void check_frame(struct model *m, const struct state *st, uint8_t epoch)
{
    for (int t = 0; t < m->scenario->txns; t++) {
        bool in = is_decided(&st->txns[t]) && st->txns[t].commit == epoch;
        for (int s = 0; s < m->scenario->shards; s++) {
            uint16_t want = in ? txn_effects(m, st, t, s) : 0;
            uint16_t own = LOG_WROTE(t);
            if (m->scenario->clients[t].sender) own |= LOG_DELETED(t);
            for (int u = 0; u < m->scenario->txns; u++) {
                if (m->scenario->clients[u].sender == 1 + t) own |= LOG_PUT(u);
            }
            uint16_t have = st->log[s][epoch] & own;
            if (have & ~want)
                breaks(m, "a frame holds an effect of a transaction not committed in its epoch");
            if (want & ~have)
                breaks(m, "a frame lacks an effect of a transaction committed in its epoch");
        }
    }
}

static void write_frame(struct model *m, struct state *st)
{
    uint8_t epoch = ++st->durable;
    for (int s = 0; s < m->scenario->shards; s++) {
        bool parked = m->scenario->fine_seal ? st->writer_done[s] == 2
                                             : st->shards[s].sealed < epoch;
        if (parked && !IS(E4_frame_early)) st->log[s][epoch] = 0;
        st->writer_state[s] = st->writer_done[s] = 0;
    }
    check_frame(m, st, epoch);
}

static void reply(struct model *m, struct state *st, int t)
{
    struct txn *txn = &st->txns[t];
    if (txn->read > st->durable) breaks(m, "a reply leaves that tells of an undurable version");
    if (is_decided(txn) && txn_writes(m, st, t) && txn->commit > st->durable)
        breaks(m, "a reply leaves before its own effects are durable");
    txn->phase = TXN_DONE;
    txn->wait = 0;
}

/* All memory goes; the frames up to the durable epoch stay. Clients not answered give up. */
static void crash(struct model *m, struct state *st)
{
    const struct scenario *sc = m->scenario;
    struct state old = *st;
    uint8_t durable = old.durable;
    state_init(m, st);
    st->crashes = (uint8_t)(old.crashes + 1);
    st->durable = durable;
    st->global = (uint8_t)(durable + 1);
    for (int s = 0; s < sc->shards; s++) {
        st->shards[s].epoch = st->global;
        st->shards[s].sealed = st->shards[s].effect = durable;
        for (int p = 0; p < sc->shards; p++) {
            if (p != s) st->rings[s][p].mark = st->global;
        }
        for (int i = 1; i <= durable; i++) st->log[s][i] = old.log[s][i];
    }
    for (int e = 0; e < sc->entities; e++) {
        for (int i = 1; i <= durable; i++) {
            if (!old.entities[e].version_at[i]) continue;
            st->entities[e].version = st->entities[e].version_at[i] = old.entities[e].version_at[i];
            st->entities[e].version_epoch = st->entities[e].access_epoch = (uint8_t)i;
        }
    }
    for (int t = 0; t < sc->txns; t++) {
        const struct txn *was = &old.txns[t];
        struct txn *txn = &st->txns[t];
        if (was->phase == TXN_DONE ||
            (is_decided(was) && was->commit <= durable && txn_writes(m, &old, t))) {
            txn->phase = TXN_DONE;
            txn->failed = was->failed;
            txn->commit = was->commit;
            txn->noop = was->noop;
            txn->sent = was->sent;
            txn->hinted = was->hinted;
        } else if (was->phase != TXN_NEW || sc->clients[t].sender) {
            txn->phase = TXN_LOST;
        }
        if (handler_at(m, sc->clients[t].handler)->timer && txn->phase == TXN_DONE && !txn->noop)
            st->entities[root_entity(m, t)].timer = 0;
    }
    for (int t = 0; t < sc->txns; t++) {
        uint16_t rows = 0;
        if (!sc->clients[t].sender) continue;
        for (int i = 1; i <= durable; i++) rows |= st->log[sender_shard(m, t)][i];
        bool pending = rows & LOG_PUT(t) && !(rows & LOG_DELETED(t));
        if (st->txns[t].phase == TXN_LOST) {
            if (rows & LOG_DELETED(t)) breaks(m, "a message is lost");
            if (!(rows & LOG_PUT(t))) {
                /* its sender may come again, but only if it had not begun */
                if (st->txns[sc->clients[t].sender - 1].phase == TXN_NEW)
                    st->txns[t].phase = TXN_NEW;
                continue;
            }
            st->txns[t].phase = TXN_NEW;
            st->txns[t].sent = old.txns[t].sent;
        }
        if (pending) st->shards[sender_shard(m, t)].pending |= (uint8_t)(1u << t);
    }
    /* a message out keeps its shard from being parked from the first moment */
    for (int s = 0; s < sc->shards; s++) {
        if (st->shards[s].pending && !IS(H7_recovers_parked)) st->shards[s].run = SHARD_RUNNING;
    }
    /* again in the order of their keys: that in which they were sent */
    for (int i = 1; i <= sc->txns && !IS(H7_no_rehint); i++) {
        int rank = IS(H7_rehint_unordered) ? sc->txns + 1 - i : i;
        for (int t = 0; t < sc->txns; t++) {
            bool pending = sc->clients[t].sender &&
                           st->shards[sender_shard(m, t)].pending & 1u << t;
            if (pending && st->txns[t].sent == rank) hint(m, st, t);
        }
    }
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
    for (int t = 0; t < sc->txns; t++) {
        st->txns[t].age = (uint8_t)t;
        if (handler_at(m, sc->clients[t].handler)->timer) st->entities[root_entity(m, t)].timer = 1;
    }
}

static bool may_arrive(const struct model *m, const struct state *st, int t)
{
    const struct client *client = &m->scenario->clients[t];
    const struct txn *txn = &st->txns[t];
    if (txn->phase != TXN_NEW) return false;
    if (client->after && !is_finished(m, st, client->after - 1)) return false;
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
    if (shard->effect > shard->sealed && !IS(H1_park_unsealed)) return false;
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
        if (mark <= epoch && !parked && !IS(E3_no_marks)) return false;
        if (st->rings[p][s].published && !IS(E3_no_drain)) return false;
    }
    return true;
}

static bool may_write(const struct model *m, const struct state *st)
{
    int epoch = st->durable + 1;
    if (st->global <= epoch) return false;
    for (int s = 0; s < m->scenario->shards; s++) {
        if (m->scenario->fine_seal) {
            if (!st->writer_done[s]) return false;
        } else if (st->shards[s].sealed < epoch && !is_parked(m, st, s) && !IS(E4_frame_early)) {
            return false;
        }
    }
    return true;
}

/* The writer asks shard after shard: state, then sealed; writer_state: 1 running, 2 parked (or, for the mutant,
 * 3 not sealed); writer_done: 1 sealed, 2 parked with nothing sealed for the epoch. */
static bool writer_asks(const struct model *m, const struct state *st, int s)
{
    if (!m->scenario->fine_seal || st->global <= st->durable + 1 || st->writer_done[s])
        return false;
    return s == 0 || st->writer_done[s - 1];
}
static bool may_ask_state(const struct model *m, const struct state *st, int s)
{
    if (!writer_asks(m, st, s)) return false;
    if (IS(H1_writer_order)) return st->writer_state[s] == 3 && is_parked(m, st, s);
    return st->writer_state[s] != (is_parked(m, st, s) ? 2 : 1);
}
static bool may_ask_sealed(const struct model *m, const struct state *st, int s)
{
    if (!writer_asks(m, st, s)) return false;
    bool sealed = st->shards[s].sealed > st->durable;
    if (IS(H1_writer_order)) return sealed || st->writer_state[s] == 0;
    return st->writer_state[s] == 2 || (st->writer_state[s] == 1 && sealed);
}

static bool may_raise(const struct model *m, const struct state *st)
{
    if (st->global + 1 >= EPOCHS_MAX) return false;
    if (st->wanted < st->global && st->global >= m->scenario->cuts) return false;
    return st->durable == st->global - 1 || (IS(H1_raise_early) && st->global < 6);
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
    if (may_seal(m, st, s)) steps[n++] = (struct step){ STEP_SEAL, (uint8_t)s, 0 };
    if (may_park(m, st, s)) steps[n++] = (struct step){ STEP_PARK, (uint8_t)s, 0 };
    return n;
}

int state_steps(const struct model *m, const struct state *st, struct step *steps)
{
    int n = 0;
    for (int t = 0; t < m->scenario->txns; t++) {
        const struct txn *txn = &st->txns[t];
        if (may_arrive(m, st, t) && st->shards[root_shard(m, t)].run == SHARD_RUNNING)
            steps[n++] = (struct step){ STEP_ARRIVE, (uint8_t)t, 0 };
        if (txn->state == FRAME_READY &&
            st->shards[handler_shard(m, txn->frames[txn->depth - 1].handler)].run == SHARD_RUNNING)
            steps[n++] = (struct step){ STEP_RUN, (uint8_t)t, 0 };
        if (txn->phase == TXN_REPLIES && st->durable >= txn->wait)
            steps[n++] = (struct step){ STEP_RELEASE, (uint8_t)t, 0 };
    }
    for (int s = 0; s < m->scenario->shards; s++) {
        n += shard_steps(m, st, s, steps + n);
        if (may_ask_state(m, st, s)) steps[n++] = (struct step){ STEP_WRITER_STATE, (uint8_t)s, 0 };
        if (may_ask_sealed(m, st, s))
            steps[n++] = (struct step){ STEP_WRITER_SEALED, (uint8_t)s, 0 };
    }
    if (may_raise(m, st)) steps[n++] = (struct step){ STEP_RAISE, 0, 0 };
    if (may_write(m, st)) steps[n++] = (struct step){ STEP_WRITE, 0, 0 };
    if (st->crashes < m->scenario->crashes) steps[n++] = (struct step){ STEP_CRASH, 0, 0 };
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
        if (IS(H1_writer_order)) st->writer_done[s] = 2;
    } else if (sealed) {
        st->writer_done[s] = 1;
    } else if (IS(H1_writer_order)) {
        st->writer_state[s] = 3;
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
        if (IS(H19_check_before_lock) && handler_at(m, m->scenario->clients[a].handler)->timer)
            st->txns[a].noop = !st->entities[root_entity(m, a)].timer;
        attempt_begin(m, st, a);
        break;
    case STEP_HANDLE: handle(m, st, a, b); break;
    case STEP_RUN: run(m, st, a); break;
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
    case STEP_RELEASE: reply(m, st, a); break;
    case STEP_CRASH: crash(m, st); break;
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
        if (st->entities[e].owner || st->entities[e].waiters) return false;
    }
    return true;
}
