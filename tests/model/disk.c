/*
 * disk.c - frames, checkpoints, a crash and the recovery from it.
 *
 * The model keeps the whole history of the log beside what the engine would still have of it: recovery is done
 * as the engine does it, from a checkpoint and the log that was not cut, and compared with the history. Then
 * the history itself is judged: what any crash leaves must be whole, closed, and hold all that was answered.
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "protocol_int.h"

enum { OLDER, NEWER, UNDER_WAY };

/* ---- the log -------------------------------------------------------------------------------------- */

bool may_write(const struct model *m, const struct state *st)
{
    int epoch = st->durable + 1;
    if (st->global <= epoch || st->written >= epoch) return false;
    for (int s = 0; s < m->scenario->shards; s++) {
        bool parked = m->scenario->parks &&
                      (st->shards[s].run == SHARD_PARKED || st->shards[s].run == SHARD_LOADED);
        if (m->scenario->fine_seal) {
            if (!st->writer_done[s]) return false;
        } else if (st->shards[s].sealed < epoch && !parked && !IS(E4_frame_early)) {
            return false;
        }
    }
    return true;
}

/* The frame of an epoch holds all effects of its transactions, and nothing else. */
static void check_frame(struct model *m, const struct state *st, uint8_t epoch)
{
    for (int t = 0; t < m->scenario->txns; t++) {
        bool in = is_decided(&st->txns[t]) && st->txns[t].commit == epoch;
        for (int s = 0; s < m->scenario->shards; s++) {
            uint32_t want = in ? txn_effects(m, st, t, s) : 0;
            uint32_t own = LOG_WROTE(t) | LOG_RECORD(t) | LOG_SET(t);
            if (m->scenario->clients[t].sender) own |= LOG_DELETED(t);
            for (int u = 0; u < m->scenario->txns; u++) {
                if (m->scenario->clients[u].sender == 1 + t) own |= LOG_PUT(u);
            }
            uint32_t have = st->log[s][epoch] & own;
            if (have & ~want)
                breaks(m, "a frame holds an effect of a transaction not committed in its epoch");
            if (want & ~have)
                breaks(m, "a frame lacks an effect of a transaction committed in its epoch");
        }
    }
}

void write_frame(struct model *m, struct state *st)
{
    uint8_t epoch = ++st->written;
    for (int s = 0; s < m->scenario->shards; s++) {
        bool parked = m->scenario->fine_seal ? st->writer_done[s] == 2
                                             : st->shards[s].sealed < epoch;
        if (parked && IS(H1_park_unseen)) st->log[s][epoch] = 0;
        st->writer_state[s] = st->writer_done[s] = 0;
    }
    check_frame(m, st, epoch);
    if (!m->scenario->disk) sync_frame(m, st);
    if (IS(E5_ack_before_sync)) st->durable = st->written;
}

/* Syncs the file: all frames in it. */
void sync_frame(struct model *m, struct state *st)
{
    (void)m;
    st->durable = st->synced = st->written;
}

/* ---- checkpoints (H9) ----------------------------------------------------------------------------- */

bool may_begin_checkpoint(const struct model *m, const struct state *st)
{
    return st->checkpoints < m->scenario->checkpoints && !st->checkpoint_runs &&
           st->durable + 1 == st->global && st->written == st->durable;
}

void begin_checkpoint(struct state *st)
{
    st->checkpoints++;
    st->checkpoint_runs = 1;
    memset(&st->images[UNDER_WAY], 0, sizeof(st->images[UNDER_WAY]));
}

bool walk_is_owed(const struct state *st, int s)
{
    return st->checkpoint_runs && st->walk_at[s] != WALK_OVER;
}

/* The rows that are no entities, in one slice. */
static void walk_rows(struct model *m, struct state *st, int s)
{
    struct image *image = &st->images[UNDER_WAY];
    if (!IS(H9_entities_only)) image->pending[s] = st->shards[s].pending;
    for (int e = 0; e < m->scenario->entities; e++) {
        if (m->scenario->entity_shard[e] != s || IS(H9_entities_only)) continue;
        image->timer[e] = st->entities[e].timer;
        image->records[e] = st->entities[e].records;
    }
    st->walk_at[s] = WALK_OVER;
    st->walk_end[s] = st->shards[s].effect;
}

/* One slice: the shard's next entity, or at the end its other rows. */
void walk(struct model *m, struct state *st, int s)
{
    struct shard *shard = &st->shards[s];
    if (st->walk_at[s] == WALK_NONE)
        st->walk_begin[s] = (uint8_t)(IS(H9_begin_late) ? shard->epoch + 1 : shard->sealed + 1);
    int e = st->walk_at[s];
    while (e < m->scenario->entities && m->scenario->entity_shard[e] != s) e++;
    if (e == m->scenario->entities) {
        walk_rows(m, st, s);
        return;
    }
    const struct entity *entity = &st->entities[e];
    uint8_t version = entity->version;
    int owner = entity->owner ? (entity->owner - 1) / ATTEMPTS_MAX : 0;
    if (IS(H9_walk_uncommitted) && entity->owner &&
        handler_writes(m, m->scenario->clients[owner].handler, e))
        version = (uint8_t)(1 + owner);
    st->images[UNDER_WAY].version[e] = version;
    st->walk_at[s] = (uint8_t)(e + 1);
}

bool may_name_checkpoint(const struct model *m, const struct state *st)
{
    if (!st->checkpoint_runs) return false;
    for (int s = 0; s < m->scenario->shards; s++) {
        if (st->walk_at[s] != WALK_OVER) return false;
        if (st->walk_end[s] > st->durable && !IS(H9_named_early)) return false;
    }
    return true;
}

/* In one step, as the manifest is replaced; then the log goes below the begin of the older of the two kept. */
void name_checkpoint(struct model *m, struct state *st)
{
    struct image *image = &st->images[UNDER_WAY];
    for (int s = 0; s < m->scenario->shards; s++) {
        uint8_t begin = st->walk_begin[s];
        bool first = s == 0 || begin < image->begin;
        if (IS(H9_begin_newest)) first = s == 0 || begin > image->begin;
        if (first) image->begin = begin;
        st->walk_at[s] = st->walk_begin[s] = st->walk_end[s] = 0;
    }
    st->images[OLDER] = st->images[NEWER];
    st->images[NEWER] = *image;
    memset(image, 0, sizeof(*image));
    st->checkpoint_runs = 0;
    if (st->checkpoint_named < 2) st->checkpoint_named++;
    if (st->checkpoint_named == 2) st->log_from = st->images[OLDER].begin;
    if (IS(H9_cut_newer)) st->log_from = st->images[NEWER].begin;
    if (IS(H9_cut_begin) && st->log_from) st->log_from++;
}

/* ---- a crash -------------------------------------------------------------------------------------- */

/* The rows after the log of epochs `from` to `to` was replayed over an image. */
static void replay(const struct model *m, const struct state *old, struct image *rows, int from,
                   int to)
{
    const struct scenario *sc = m->scenario;
    for (int i = from > 1 ? from : 1; i <= to; i++) {
        for (int e = 0; e < sc->entities; e++) {
            const struct entity *entity = &old->entities[e];
            if (entity->version_at[i]) rows->version[e] = entity->version_at[i];
            if (entity->timer_at[i])
                rows->timer[e] = entity->timer_at[i] == TIMER_GONE ? 0 : entity->timer_at[i];
        }
        for (int t = 0; t < sc->txns; t++) {
            uint8_t bit = (uint8_t)(1u << t);
            if (old->log[root_shard(m, t)][i] & LOG_RECORD(t))
                rows->records[root_entity(m, t)] |= bit;
            for (int s = 0; s < sc->shards; s++) {
                if (old->log[s][i] & LOG_PUT(t)) rows->pending[s] |= bit;
                if (old->log[s][i] & LOG_DELETED(t)) rows->pending[s] &= (uint8_t)~bit;
            }
        }
    }
}

/* What was answered is there, frames are whole, and nothing is there without what it depends on. */
static void check_left(struct model *m, const struct state *old, uint8_t last)
{
    for (int t = 0; t < m->scenario->txns; t++) {
        const struct txn *txn = &old->txns[t];
        if (txn->phase == TXN_DONE) {
            if (txn->applied && txn->commit > last) breaks(m, "a crash takes what was answered");
            if (txn->read > last) breaks(m, "a crash takes what an answer told of");
        }
        if (!txn->applied || txn->commit > last) continue;
        for (int e = 0; e < m->scenario->entities; e++) {
            const struct txn *writer = &old->txns[txn->seen[e] ? txn->seen[e] - 1 : 0];
            if (txn->touched & 1u << e && txn->seen[e] &&
                !(writer->applied && writer->commit <= last))
                breaks(m, "a crash leaves a transaction without one that it depends on");
        }
        int sender = m->scenario->clients[t].sender;
        if (sender && !(old->txns[sender - 1].applied && old->txns[sender - 1].commit <= last))
            breaks(m, "a crash leaves a delivery without the message that it delivers");
    }
    for (int i = 1; i <= last; i++) check_frame(m, old, (uint8_t)i);
}

/* From the newest checkpoint that can be read, and the log behind it. */
static void recover_rows(struct model *m, const struct state *old, struct image *rows, uint8_t last,
                         bool damaged)
{
    struct image all = { 0 };
    int at = damaged ? OLDER : NEWER, from = 1;
    memset(rows, 0, sizeof(*rows));
    if (old->checkpoint_named > (damaged ? 1 : 0)) {
        *rows = old->images[at];
        from = rows->begin;
    }
    replay(m, old, rows, from > old->log_from ? from : old->log_from, last);
    replay(m, old, &all, 1, last);
    rows->begin = 0;
    if (memcmp(rows, &all, sizeof(all)) != 0)
        breaks(m, "checkpoint and log do not give what the whole log gives");
}

static void recover_shards(const struct model *m, const struct state *old, struct state *st)
{
    const struct scenario *sc = m->scenario;
    for (int s = 0; s < sc->shards; s++) {
        st->shards[s].epoch = st->global;
        st->shards[s].sealed = st->shards[s].effect = st->durable;
        for (int p = 0; p < sc->shards; p++) {
            if (p != s) st->rings[s][p].mark = st->global;
        }
        for (int i = 1; i <= st->durable; i++) st->log[s][i] = old->log[s][i];
    }
}

static void recover_entities(const struct model *m, const struct state *old, struct state *st,
                             const struct image *rows)
{
    for (int e = 0; e < m->scenario->entities; e++) {
        struct entity *entity = &st->entities[e];
        const struct entity *was = &old->entities[e];
        for (int i = 1; i <= st->durable; i++) {
            entity->version_at[i] = was->version_at[i];
            entity->timer_at[i] = was->timer_at[i];
            if (was->version_at[i]) entity->version_epoch = entity->access_epoch = (uint8_t)i;
        }
        entity->version = rows->version[e];
        entity->timer = rows->timer[e];
        entity->records = rows->records[e];
        if (entity->timer && !IS(H19_not_indexed))
            entity->timer_heap = (uint8_t)(1 + TIMER_DUE(entity->timer));
    }
}

/* Who was answered, or lives in the log, stays; clients with request ids come again; the others give up. */
static void recover_txn(const struct model *m, const struct state *old, struct state *st, int t)
{
    const struct client *client = &m->scenario->clients[t];
    const struct txn *was = &old->txns[t];
    struct txn *txn = &st->txns[t];
    bool kept = was->applied && was->commit <= st->durable;
    bool request = !client->sender && !client->fires;
    if (kept) {
        txn->applied = 1;
        txn->commit = was->commit;
        txn->sent = was->sent;
        txn->hinted = was->hinted;
    }
    if (kept && was->commit > st->synced) { /* another crash may take it: what it depends on */
        txn->touched = was->touched;
        memcpy(txn->seen, was->seen, sizeof(txn->seen));
    }
    if (was->phase == TXN_DONE && !(client->fires && !kept)) {
        txn->phase = TXN_DONE;
        txn->failed = was->failed;
        txn->noop = was->noop;
        txn->replayed = was->replayed;
        if (was->read > st->synced) txn->read = was->read;
    } else if (client->fires || (request && m->scenario->records)) {
        txn->phase = kept && client->fires ? TXN_REPLIES : TXN_NEW;
    } else if (kept) {
        txn->phase = TXN_REPLIES;
    } else if (was->phase != TXN_NEW || client->sender) {
        txn->phase = TXN_LOST;
    }
    if (txn->phase != TXN_REPLIES) return;
    if (was->commit <= st->synced) txn->phase = TXN_DONE;
    else txn->wait = was->commit; /* nobody may think it done before the tail is durable */
}

static void recover_messages(struct model *m, const struct state *old, struct state *st,
                             const struct image *rows)
{
    const struct scenario *sc = m->scenario;
    for (int t = 0; t < sc->txns; t++) {
        if (!sc->clients[t].sender) continue;
        struct txn *txn = &st->txns[t];
        bool pending = rows->pending[sender_shard(m, t)] & 1u << t;
        if (txn->phase == TXN_LOST) {
            for (int i = 1; i <= st->durable; i++) {
                if (st->log[sender_shard(m, t)][i] & LOG_DELETED(t)) breaks(m, "a message is lost");
            }
            uint8_t sender = st->txns[sc->clients[t].sender - 1].phase;
            /* without a row its sender may come again, but only if it had not begun, or has an id */
            if (!pending && sender != TXN_NEW) continue;
            txn->phase = TXN_NEW;
            if (pending) txn->sent = old->txns[t].sent;
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

/* All memory goes; the synced frames stay, and the first `kept` of those that are not. */
void crash(struct model *m, struct state *st, int kept, bool damaged)
{
    struct state old = *st;
    struct image rows;
    uint8_t last = (uint8_t)(old.synced + kept);
    if (IS(recovery_short) && last > 1 && !kept) last--;
    if (IS(recovery_half) && kept) old.log[m->scenario->shards - 1][last] = 0;
    check_left(m, &old, last);
    recover_rows(m, &old, &rows, last, damaged);
    state_init(m, st);
    st->crashes = (uint8_t)(old.crashes + 1);
    st->durable = st->written = last;
    st->synced = old.synced;
    if (kept && !IS(recovery_serves_early)) st->recovering = 1;
    st->global = (uint8_t)(last + 1);
    st->clock = old.clock;
    st->clock_backs = old.clock_backs;
    st->checkpoints = old.checkpoints;
    st->checkpoint_named = old.checkpoint_named;
    st->log_from = old.log_from;
    memcpy(st->images, old.images, 2 * sizeof(st->images[0]));
    recover_shards(m, &old, st);
    recover_entities(m, &old, st, &rows);
    for (int t = 0; t < m->scenario->txns; t++) recover_txn(m, &old, st, t);
    recover_messages(m, &old, st, &rows);
}
