/*
 * replay.c - the complete check: a serial order, run on a plain model.
 *
 * graph.c finds what is wrong by what it knows of anomalies. This file knows none: it takes the one serial
 * order that the graph came to (it keeps every edge, real time included), runs the transactions one after
 * another on lists, registers and accounts as a child would write them, and compares every answer. If all
 * match, the order itself is the proof that the history is strictly serializable.
 *
 * A key is replayed if the maker of each of its versions is known; then the edges put its readers and
 * writers into one order, and only a wrong answer can fail here. Else any order of the graph would be a
 * guess, and the key is counted as not replayed.
 *
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdlib.h>

static uint32_t replayed;

struct model {
    bool is_replayed;
    int64_t *items; /* list */
    uint32_t count, capacity;
    int64_t version; /* register, account */
    int64_t value;
};

struct replay {
    const struct history *history;
    struct model *models;
};

#define NAME(key) (int)(key)->name_len, (key)->name

static bool key_is_known(const struct history *history, const struct key *key)
{
    for (uint32_t i = 0; i < key->slot_count; i++) {
        uint32_t op = history->slots[key->slot_first + i];
        if (op >= history->op_count) return false;
        if (history->txns[history->ops[op].txn].outcome == OUTCOME_FAIL) return false;
    }
    return true;
}

static void list_push(struct model *model, int64_t value)
{
    if (model->count == model->capacity) {
        model->capacity = model->capacity == 0 ? 8 : model->capacity * 2;
        model->items = grow(model->items, model->capacity, sizeof *model->items);
    }
    model->items[model->count++] = value;
}

static bool list_equals(const struct history *history, const struct model *model, const struct op *op)
{
    const char *ptr = history->text + op->text, *end = history->text + history->text_len;
    if (op->version != model->count) return false;
    for (uint32_t i = 0; i < model->count; i++) {
        int64_t value;
        if (!parse_int(&ptr, end, &value) || value != model->items[i]) return false;
        while (ptr < end && *ptr != ',' && *ptr != ']') ptr++;
        ptr++;
    }
    return true;
}

/* Does the answer fit what the model holds? For a change: before it. */
static bool op_fits(const struct history *history, const struct model *model, const struct op *op)
{
    if (!(op->flags & OP_RESULT)) return true;
    bool is_versioned = op->flags & OP_VERSION;
    switch ((enum op_kind)op->kind) {
    case OP_GONE:
    case OP_SEND: return true;
    case OP_APPEND: return op->version == (int64_t)model->count + 1;
    case OP_LIST_READ: return list_equals(history, model, op);
    case OP_WRITE:
    case OP_CHANGE:
        return op->before == model->value && (!is_versioned || op->version == model->version + 1);
    case OP_REG_READ:
    case OP_ACCOUNT_READ:
        return op->value == model->value && (!is_versioned || op->version == model->version);
    }
    return false;
}

static void op_apply(struct model *model, const struct op *op)
{
    if (op->kind == OP_APPEND) list_push(model, op->value);
    if (op->kind == OP_WRITE) model->value = op->value;
    if (op->kind == OP_CHANGE) model->value += op->value;
    if (op->kind == OP_WRITE || op->kind == OP_CHANGE) model->version++;
}

static bool is_change(const struct op *op)
{
    return op->kind == OP_APPEND || op->kind == OP_WRITE || op->kind == OP_CHANGE;
}

static void txn_replay(struct replay *replay, uint32_t number)
{
    const struct history *history = replay->history;
    const struct txn *txn = &history->txns[number];
    bool is_failed = txn->outcome == OUTCOME_FAIL;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        const struct op *op = &history->ops[txn->op_first + i];
        struct model *model = &replay->models[op->key];
        /* What a failed transaction saw after its own first change, only itself saw. */
        if (is_failed && is_change(op)) return;
        if (op->kind == OP_GONE || op->txn != number || !model->is_replayed) continue;
        if (!op_fits(history, model, op)) {
            report("replay", "in the serial order found, line %u gets another answer from %.*s",
                   txn->line, NAME(&history->keys[op->key]));
            model->is_replayed = false; /* one mismatch brings the next */
            continue;
        }
        /* A write that nobody saw and that gave no answer comes after all that was seen. */
        if (is_change(op) && op->at != 0) op_apply(model, op);
        else if (is_change(op) && txn->outcome == OUTCOME_OK && history->keys[op->key].final_op != NONE)
            report("replay", "line %u changed %.*s and was told so, but is no part of its order",
                   txn->line, NAME(&history->keys[op->key]));
    }
}

/* The order must agree with real time: nothing may stand behind what began after its end. */
static void check_time(const struct history *history, const uint32_t *order)
{
    int64_t latest = INT64_MIN;
    for (uint32_t i = 0; i < history->txn_count; i++) {
        const struct txn *txn = &history->txns[order[i]];
        if (txn_is_absent(txn)) continue;
        if (txn->end < latest)
            report("replay", "the serial order found puts line %u too late", txn->line);
        if (txn->start > latest) latest = txn->start;
    }
}

/* And with causes: an effect stands behind the transaction that asked for it. */
static void check_causes(const struct history *history, const uint32_t *order)
{
    bool *is_done = grow(NULL, (size_t)history->txn_count + 1, sizeof *is_done);
    for (uint32_t i = 0; i < history->txn_count; i++) is_done[i] = false;
    for (uint32_t i = 0; i < history->txn_count; i++) {
        const struct txn *txn = &history->txns[order[i]];
        is_done[order[i]] = true;
        if (!txn->is_effect || !txn->applied) continue;
        if (txn->cause == NONE || !is_done[txn->cause])
            report("replay", "the serial order found puts line %u before what asked for it", txn->line);
    }
    free(is_done);
}

void replay_check(const struct history *history, const uint32_t *order)
{
    struct replay replay = { .history = history };
    replay.models = grow(NULL, (size_t)history->key_count + 1, sizeof *replay.models);
    for (uint32_t i = 0; i < history->key_count; i++) {
        const struct key *key = &history->keys[i];
        replay.models[i] = (struct model){ .value = key->initial,
                                           .is_replayed = key_is_known(history, key) };
        replayed += replay.models[i].is_replayed;
    }
    for (uint32_t i = 0; i < history->txn_count; i++) {
        if (!txn_is_absent(&history->txns[order[i]])) txn_replay(&replay, order[i]);
    }
    check_time(history, order);
    check_causes(history, order);
    for (uint32_t i = 0; i < history->key_count; i++) free(replay.models[i].items);
    free(replay.models);
}

uint32_t replay_key_count(void)
{
    return replayed;
}
