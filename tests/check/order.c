/*
 * order.c - the order of each entity's versions, and what one entity alone can give away.
 *
 * Version 0 is the state before the history, version v the state after the v-th change. For each key
 * `slots` says which operation made version v; a slot may stay empty where nobody saw its maker.
 *
 *   list      the longest read is the order, as elements are never removed (Kingsbury and Alvaro,
 *             "Elle: Inferring Isolation Anomalies from Experimental Observations", VLDB 2020)
 *   register  each write gives the value that it replaced; with version numbers the order is whole,
 *             without them runs of known order are cut apart (SLOT_CUT) where it cannot be known
 *   account   each change gives its seq; changes of unknown outcome are found by the tag of the next
 *             observer or, without tags, by the one amount that explains the difference
 *
 * Each transaction then observes one version of a key (its base) and may make later ones. From base
 * and slots follow the edges ww, wr and rw. All edges are sound where slots are empty: the nearest
 * known maker below or above is taken. A failed transaction is a reader: it must have seen a state
 * that existed, and nothing of it may be seen.
 *
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_CUT (NONE - 1)

/* Changes by one amount whose place is not known: how many, and all their numbers by exclusive or. */
struct amount {
    int64_t value;
    uint32_t count, mix;
};

struct scratch {
    int64_t *values; /* list: its order; account: balance after each version */
    bool *is_known;  /* account */
    uint32_t *spare; /* list: who claims a length; account: changes that have no seq */
    uint32_t spare_count;
    struct amount *amounts; /* of the spare changes, sorted */
    uint32_t amount_count;
    size_t amount_capacity;
    int64_t *read; /* elements of one list read */
    size_t value_capacity, spare_capacity, read_capacity;
};

/* A key and one transaction's operations on it: index[first .. first + count). */
struct group {
    struct history *history;
    struct scratch *scratch;
    struct key *key;
    uint32_t key_number;
    uint32_t txn;
    uint32_t first, count;
    uint32_t order_len;  /* list: elements in scratch.values */
    uint32_t own_count;  /* changes so far */
    int64_t own_sum;     /* account: their sum */
    int64_t own_last;    /* register: the last value */
    int64_t base;        /* version seen before the own changes, or -1 */
    uint32_t own_first;  /* version of the first own change, 0 while not known */
    bool is_quiet; /* the second walk over an account: it was all reported in the first */
};

#define NAME(key) (int)(key)->name_len, (key)->name

static uint32_t line_of(const struct history *history, uint32_t op)
{
    return history->txns[history->ops[op].txn].line;
}

static enum outcome outcome_of(const struct op *op)
{
    return (enum outcome)op->outcome;
}

static bool is_change(const struct op *op)
{
    return op->kind == OP_APPEND || op->kind == OP_WRITE || op->kind == OP_CHANGE;
}

static uint32_t *slot_of(struct history *history, const struct key *key, int64_t version)
{
    return &history->slots[key->slot_first + version - 1];
}

/* The transaction that made a version, or NONE if nobody or one that failed. */
static uint32_t owner_of(struct history *history, const struct key *key, int64_t version)
{
    uint32_t op = *slot_of(history, key, version);
    if (op >= SLOT_CUT) return NONE;
    if (outcome_of(&history->ops[op]) == OUTCOME_FAIL) return NONE;
    return history->ops[op].txn;
}

static void place(struct history *history, const struct key *key, int64_t version, uint32_t op)
{
    *slot_of(history, key, version) = op;
    history->ops[op].at = (uint32_t)version;
    if (history->ops[op].outcome >= OUTCOME_UNKNOWN)
        history->txns[history->ops[op].txn].applied = true;
}

static void make_slots(struct history *history, struct key *key, uint32_t count)
{
    key->slot_first = history_add_slots(history, count);
    key->slot_count = count;
}

static void reserve(struct scratch *scratch, size_t values, size_t spare)
{
    if (values > scratch->value_capacity) {
        scratch->value_capacity = values * 2;
        scratch->values = grow(scratch->values, values * 2, sizeof *scratch->values);
        scratch->is_known = grow(scratch->is_known, values * 2, sizeof *scratch->is_known);
    }
    if (spare > scratch->spare_capacity) {
        scratch->spare_capacity = spare * 2;
        scratch->spare = grow(scratch->spare, spare * 2, sizeof *scratch->spare);
    }
}

static uint32_t read_elements(struct history *history, struct scratch *scratch, const struct op *op)
{
    const char *ptr = history->text + op->text, *end = history->text + history->text_len;
    uint32_t count = (uint32_t)op->version;
    if (count > scratch->read_capacity) {
        scratch->read_capacity = (size_t)count * 2;
        scratch->read = grow(scratch->read, (size_t)count * 2, sizeof *scratch->read);
    }
    for (uint32_t i = 0; i < count; i++) {
        parse_int(&ptr, end, &scratch->read[i]);
        while (ptr < end && (*ptr == ' ' || *ptr == '\t')) ptr++;
        ptr++; /* the comma: the line was checked when it was first read */
    }
    return count;
}

/* Lists */

static uint32_t list_longest(struct history *history, const struct key *key)
{
    uint32_t longest = key->final_op;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind != OP_LIST_READ || !(op->flags & OP_RESULT)) continue;
        if (outcome_of(op) != OUTCOME_OK) continue;
        if (longest == NONE || op->version > history->ops[longest].version) longest = number;
    }
    return longest;
}

static void list_place_element(struct history *history, uint32_t key_number, uint32_t i,
                               int64_t value, uint32_t reader)
{
    const struct key *key = &history->keys[key_number];
    uint32_t number = history_find_write(history, key_number, value);
    if (number == NONE) {
        report("garbage-read", "line %u reads %lld in %.*s, which nobody appended",
               line_of(history, reader), (long long)value, NAME(key));
        return;
    }
    const struct op *op = &history->ops[number];
    const struct txn *txn = &history->txns[op->txn];
    if (op->at != 0) {
        report("duplicate", "%lld of line %u is in %.*s twice (read by line %u)",
               (long long)value, txn->line, NAME(key), line_of(history, reader));
        if (txn->attempt_count > 1)
            report("exactly-once", "line %u was tried %u times and applied more than once",
                   txn->line, txn->attempt_count);
        return;
    }
    if (txn->outcome == OUTCOME_FAIL)
        report(history->txns[history->ops[reader].txn].final ? "failed-visible" : "G1a",
               "line %u failed, but %lld is in %.*s (read by line %u)", txn->line,
               (long long)value, NAME(key), line_of(history, reader));
    place(history, key, (int64_t)i + 1, number);
}

/* Appends that succeeded and gave a length stand at that length. */
static void list_place_claims(struct history *history, struct scratch *scratch, struct key *key)
{
    for (uint32_t i = 0; i < key->slot_count; i++) scratch->spare[i] = NONE;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (op->kind != OP_APPEND || !(op->flags & OP_RESULT)) continue;
        if (outcome_of(op) != OUTCOME_OK) continue;
        if (op->version < 1 || op->version > key->slot_count) {
            report("incompatible-order", "line %u says that %.*s has %lld elements",
                   line_of(history, number), NAME(key), (long long)op->version);
            op->flags &= (uint8_t)~OP_RESULT;
            continue;
        }
        uint32_t *claim = &scratch->spare[op->version - 1];
        if (*claim != NONE)
            report("lost-update", "lines %u and %u both made length %lld of %.*s",
                   line_of(history, *claim), line_of(history, number), (long long)op->version,
                   NAME(key));
        *claim = number;
        if (op->at == 0 && *slot_of(history, key, op->version) == NONE)
            place(history, key, op->version, number);
        else if (op->at != 0 && op->at != op->version)
            report("incompatible-order", "line %u appended %lld to %.*s as element %lld, but it is"
                   " element %u", line_of(history, number), (long long)op->value, NAME(key),
                   (long long)op->version, op->at);
    }
}

static void list_check_appends(struct history *history, const struct key *key, uint32_t longest)
{
    const struct op *final = key->final_op == NONE ? NULL : &history->ops[key->final_op];
    int64_t kept = final != NULL ? final->version : longest != NONE ? INT64_MAX : 0;
    int64_t order_len = longest == NONE ? 0 : history->ops[longest].version;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind != OP_APPEND) continue;
        enum outcome outcome = outcome_of(op);
        bool is_gone = op->at == 0 || op->at > kept;
        if (outcome == OUTCOME_OK && is_gone &&
            (final != NULL || (op->at == 0 && (op->flags & OP_RESULT) && op->version <= order_len)))
            report("lost-append", "line %u appended %lld to %.*s and was told so, but it is gone",
                   line_of(history, number), (long long)op->value, NAME(key));
        if (outcome == OUTCOME_LATE && final != NULL && is_gone)
            report("lost-message", "line %u was to append %lld to %.*s later, and it is not there",
                   line_of(history, number), (long long)op->value, NAME(key));
        if (outcome == OUTCOME_UNKNOWN && final != NULL && op->at > kept)
            report("dirty-read", "%lld of line %u was read in %.*s, but is not there at the end",
                   (long long)op->value, line_of(history, number), NAME(key));
    }
}

static uint32_t list_build(struct history *history, struct scratch *scratch, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    uint32_t longest = list_longest(history, key);
    uint32_t order_len = longest == NONE ? 0 : (uint32_t)history->ops[longest].version;
    uint32_t slot_count = order_len;
    for (uint32_t i = 0; i < key->index_count; i++) {
        const struct op *op = &history->ops[history->index[key->index_first + i]];
        if (op->kind == OP_APPEND && (op->flags & OP_RESULT) &&
            outcome_of(op) == OUTCOME_OK && op->version > slot_count &&
            op->version <= (int64_t)order_len + key->index_count)
            slot_count = (uint32_t)op->version;
    }
    make_slots(history, key, slot_count);
    reserve(scratch, (size_t)slot_count + 1, (size_t)slot_count + 1);
    if (longest != NONE) {
        read_elements(history, scratch, &history->ops[longest]);
        if (order_len > 0) memcpy(scratch->values, scratch->read, order_len * sizeof *scratch->values);
        for (uint32_t i = 0; i < order_len; i++)
            list_place_element(history, key_number, i, scratch->values[i], longest);
    }
    list_place_claims(history, scratch, key);
    list_check_appends(history, key, longest);
    key->is_complete = key->final_op != NONE;
    return order_len;
}

/* Says why a read is no prefix of the order. */
static void list_explain(struct group *group, uint32_t number, uint32_t count)
{
    struct history *history = group->history;
    const int64_t *read = group->scratch->read;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t write = history_find_write(history, group->key_number, read[i]);
        const char *kind = NULL;
        if (write == NONE) kind = "garbage-read";
        else if (outcome_of(&history->ops[write]) == OUTCOME_FAIL) kind = "G1a";
        else if (history->ops[write].at == 0 &&
                 outcome_of(&history->ops[write]) == OUTCOME_UNKNOWN) kind = "dirty-read";
        for (uint32_t j = 0; j < i && kind == NULL; j++)
            if (read[j] == read[i]) kind = "duplicate";
        if (kind == NULL) continue;
        report(kind, "line %u reads %lld in %.*s%s%.0u", line_of(history, number),
               (long long)read[i], NAME(group->key),
               write == NONE ? ", which nobody appended" : ", of a write that is not in its order",
               i);
        return;
    }
    report("incompatible-order", "line %u reads another order of %.*s than line %u",
           line_of(history, number), NAME(group->key),
           line_of(history, list_longest(history, group->key)));
}

/* The own appends must be the last elements of a read; what stands before them is the base. */
static int64_t list_observe_read(struct group *group, uint32_t number)
{
    struct history *history = group->history;
    struct scratch *scratch = group->scratch;
    uint32_t count = read_elements(history, scratch, &history->ops[number]);
    if (count < group->own_count) goto internal;
    uint32_t base = count - group->own_count, own = 0;
    for (uint32_t i = 0; own < group->own_count; i++) {
        const struct op *op = &history->ops[history->index[group->first + i]];
        if (op->kind == OP_APPEND && scratch->read[base + own++] != op->value) goto internal;
    }
    if (base <= group->order_len &&
        (base == 0 || memcmp(scratch->read, scratch->values, base * sizeof *scratch->read) == 0))
        return base;
    list_explain(group, number, count);
    return -1;
internal:
    report("internal", "line %u does not see its own append to %.*s", line_of(history, number),
           NAME(group->key));
    return -1;
}

/* Registers */

static uint32_t reg_max_version(struct history *history, const struct key *key)
{
    int64_t bound = (int64_t)key->index_count + 16, max = 0;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (!(op->flags & OP_VERSION)) continue;
        if (op->version < 0 || op->version > bound) {
            report("seq-gap", "line %u says version %lld of %.*s, more than were ever written",
                   line_of(history, number), (long long)op->version, NAME(key));
            op->flags &= (uint8_t)~(OP_VERSION | OP_RESULT);
        } else if (op->version > max) {
            max = op->version;
        }
    }
    return (uint32_t)max;
}

/* Somebody saw `value` as version `version`: that may tell where a write of unknown outcome is. */
static void reg_claim(struct history *history, uint32_t key_number, int64_t version, int64_t value,
                      uint32_t witness)
{
    const struct key *key = &history->keys[key_number];
    if (version < 1) return;
    uint32_t number = history_find_write(history, key_number, value);
    if (number == NONE || history->ops[number].at == version) return;
    struct op *op = &history->ops[number];
    uint32_t *slot = slot_of(history, key, version);
    enum outcome outcome = outcome_of(op);
    if (outcome == OUTCOME_FAIL) return; /* the observer is blamed later */
    if (op->at == 0 && *slot == NONE) {
        place(history, key, version, number);
    } else if (outcome == OUTCOME_UNKNOWN && op->at == 0) {
        report("dirty-read", "line %u saw line %u's %lld as version %lld of %.*s, but line %u made"
               " that version", line_of(history, witness), line_of(history, number),
               (long long)value, (long long)version, NAME(key), line_of(history, *slot));
    } else if (*slot != NONE) {
        report("incompatible-order", "line %u saw line %u's %lld as version %lld of %.*s, but line"
               " %u made that version", line_of(history, witness), line_of(history, number),
               (long long)value, (long long)version, NAME(key), line_of(history, *slot));
    } else {
        report("exactly-once", "line %u's %lld is version %u and version %lld of %.*s",
               line_of(history, number), (long long)value, op->at, (long long)version, NAME(key));
    }
}

/* Own changes shift the versions that a failed transaction saw: they are no one else's. */
static bool is_own_view(const struct history *history, const struct key *key, uint32_t i)
{
    const struct op *op = &history->ops[history->index[key->index_first + i]];
    if (outcome_of(op) != OUTCOME_FAIL) return false;
    while (i-- > 0) {
        const struct op *before = &history->ops[history->index[key->index_first + i]];
        if (before->txn != op->txn) return false;
        if (is_change(before)) return true;
    }
    return false;
}

static void reg_build_versioned(struct history *history, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    make_slots(history, key, reg_max_version(history, key));
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (op->kind != OP_WRITE || !(op->flags & OP_VERSION) || op->version < 1) continue;
        if (outcome_of(op) != OUTCOME_OK) continue;
        uint32_t *slot = slot_of(history, key, op->version);
        if (*slot != NONE)
            report("lost-update", "lines %u and %u both made version %lld of %.*s",
                   line_of(history, *slot), line_of(history, number), (long long)op->version,
                   NAME(key));
        else
            place(history, key, op->version, number);
    }
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (!(op->flags & OP_VERSION) || is_own_view(history, key, i)) continue;
        if (op->kind == OP_REG_READ)
            reg_claim(history, key_number, op->version, op->value, number);
        else if (op->before != key->initial)
            reg_claim(history, key_number, op->version - 1, op->before, number);
    }
}

/* The writes of one transaction follow each other: where one of unknown outcome stands tells of those before. */
static void reg_place_own(struct history *history, const struct key *key)
{
    for (uint32_t i = key->index_count; i-- > 1;) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind != OP_WRITE || op->at < 2 || outcome_of(op) != OUTCOME_UNKNOWN) continue;
        for (uint32_t j = i; j-- > 0;) {
            uint32_t other = history->index[key->index_first + j];
            const struct op *before = &history->ops[other];
            if (before->txn != op->txn) break;
            if (before->kind != OP_WRITE) continue;
            uint32_t *slot = slot_of(history, key, (int64_t)op->at - 1);
            if (before->at == 0 && *slot == NONE) place(history, key, (int64_t)op->at - 1, other);
            break;
        }
    }
}

/* Empty versions must be explained by writes of unknown outcome that nobody saw. */
static void reg_check_holes(struct history *history, struct key *key)
{
    uint32_t holes = 0, candidates = 0;
    for (uint32_t v = 1; v <= key->slot_count; v++) holes += *slot_of(history, key, v) == NONE;
    for (uint32_t i = 0; i < key->index_count; i++) {
        const struct op *op = &history->ops[history->index[key->index_first + i]];
        if (op->kind == OP_WRITE && op->at == 0 && outcome_of(op) != OUTCOME_FAIL &&
            !(op->flags & OP_VERSION))
            candidates++;
    }
    if (holes > candidates)
        report("seq-gap", "%u versions of %.*s were made by nobody", holes - candidates, NAME(key));
    key->is_complete = key->final_op != NONE && holes == 0;
}

/* The write that `value` names, if it can be part of the order. */
static uint32_t reg_find(struct history *history, uint32_t key_number, int64_t value)
{
    uint32_t number = history_find_write(history, key_number, value);
    if (number == NONE) return NONE;
    return outcome_of(&history->ops[number]) == OUTCOME_FAIL ? NONE : number;
}

/* Links each write to the one it replaced; gives the write that replaced the initial value. */
static uint32_t reg_link(struct history *history, uint32_t key_number, bool *has_before)
{
    struct key *key = &history->keys[key_number];
    uint32_t first = NONE;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (!(op->flags & OP_RESULT) || is_own_view(history, key, i)) continue;
        int64_t seen = op->kind == OP_WRITE ? op->before : op->value;
        uint32_t before = reg_find(history, key_number, seen);
        if (before != NONE) history->ops[before].flags |= OP_SEEN;
        if (op->kind != OP_WRITE || outcome_of(op) != OUTCOME_OK) continue;
        uint32_t *next = before != NONE ? &history->ops[before].next : &first;
        if (before == NONE && seen != key->initial) continue;
        if (*next != NONE) {
            report("lost-update", "lines %u and %u both replaced %lld in %.*s",
                   line_of(history, *next), line_of(history, number), (long long)seen, NAME(key));
            continue;
        }
        *next = number;
        has_before[i] = true;
    }
    return first;
}

/* Two writes of one transaction follow each other, also where its outcome is unknown. */
static void reg_link_own(struct history *history, const struct key *key, bool *has_before)
{
    uint32_t last = NONE;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind != OP_WRITE || outcome_of(op) != OUTCOME_UNKNOWN) continue;
        if (last != NONE && history->ops[last].txn == op->txn && history->ops[last].next == NONE) {
            history->ops[last].next = number;
            has_before[i] = true;
        }
        last = number;
    }
    /* Whoever saw a later write of a transaction saw that its earlier ones were there. */
    for (uint32_t i = key->index_count; i-- > 0;) {
        struct op *op = &history->ops[history->index[key->index_first + i]];
        if (op->kind != OP_WRITE || op->next == NONE || history->ops[op->next].txn != op->txn) continue;
        if (history->ops[op->next].flags & OP_SEEN) op->flags |= OP_SEEN;
    }
}

static uint32_t reg_place_run(struct history *history, const struct key *key, uint32_t head,
                              uint32_t version)
{
    for (; head != NONE && history->ops[head].at == 0; head = history->ops[head].next)
        place(history, key, version++, head);
    return version;
}

static uint32_t reg_tail(const struct history *history, uint32_t head, uint32_t limit)
{
    while (history->ops[head].next != NONE && limit-- > 0) head = history->ops[head].next;
    return head;
}

/* At the end only the last write of the order may be left. */
static void reg_check_final(struct history *history, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    if (key->final_op == NONE) return;
    const struct op *final = &history->ops[key->final_op];
    uint32_t write = history_find_write(history, key_number, final->value);
    int64_t last = write != NONE ? (int64_t)history->ops[write].at : final->value == key->initial ? 0 : -1;
    if (write != NONE && outcome_of(&history->ops[write]) == OUTCOME_FAIL)
        report("failed-visible", "line %u failed, but its %lld is in %.*s at the end",
               line_of(history, write), (long long)final->value, NAME(key));
    if (last < 0 || (write != NONE && last == 0)) return;
    for (int64_t v = last + 1; v <= key->slot_count; v++) {
        uint32_t number = *slot_of(history, key, v);
        if (number >= SLOT_CUT) continue;
        bool is_ok = outcome_of(&history->ops[number]) == OUTCOME_OK;
        report(is_ok ? "lost-write" : "dirty-read",
               "line %u wrote %lld to %.*s and %s, but at the end it holds the older %lld",
               line_of(history, number), (long long)history->ops[number].value, NAME(key),
               is_ok ? "was told so" : "it was seen", (long long)final->value);
    }
}

static void reg_build_unversioned(struct history *history, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    bool *has_before = grow(NULL, (size_t)key->index_count + 1, sizeof *has_before);
    memset(has_before, 0, ((size_t)key->index_count + 1) * sizeof *has_before);
    uint32_t first = reg_link(history, key_number, has_before);
    reg_link_own(history, key, has_before);
    make_slots(history, key, key->index_count * 2 + 1);
    uint32_t version = reg_place_run(history, key, first, 1), runs = 0, last_run = NONE;
    uint32_t final = NONE;
    if (key->final_op != NONE)
        final = reg_find(history, key_number, history->ops[key->final_op].value);
    uint32_t *heads = grow(NULL, (size_t)key->index_count + 1, sizeof *heads);
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind != OP_WRITE || op->at != 0 || has_before[i]) continue;
        enum outcome outcome = outcome_of(op);
        if (outcome == OUTCOME_FAIL || (outcome == OUTCOME_UNKNOWN && !(op->flags & OP_SEEN)))
            continue;
        if (final != NONE && reg_tail(history, number, key->index_count) == final)
            last_run = number;
        else
            heads[runs++] = number;
    }
    /* One run between the first and the last has one place; of several the order is not known. */
    for (uint32_t i = 0; i < runs; i++) {
        if (runs > 1) *slot_of(history, key, version++) = SLOT_CUT;
        version = reg_place_run(history, key, heads[i], version);
    }
    if (last_run != NONE) {
        if (runs > 1) *slot_of(history, key, version++) = SLOT_CUT;
        version = reg_place_run(history, key, last_run, version);
    }
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind == OP_WRITE && has_before[i] && op->at == 0 &&
            outcome_of(op) == OUTCOME_OK)
            report("G0", "line %u is in a ring of writes to %.*s, each after the other",
                   line_of(history, number), NAME(key));
    }
    key->slot_count = version - 1;
    /* A gap before the last run may hold writes that nobody saw. */
    key->is_complete = runs == 0 && last_run == NONE && final != NONE;
    free(heads);
    free(has_before);
}

static void reg_build(struct history *history, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    for (uint32_t i = 0; i < key->index_count; i++)
        if (history->ops[history->index[key->index_first + i]].flags & OP_VERSION)
            key->is_versioned = true;
    if (key->is_versioned) {
        reg_build_versioned(history, key_number);
        reg_place_own(history, key);
        reg_check_holes(history, key);
    } else {
        reg_build_unversioned(history, key_number);
    }
    reg_check_final(history, key_number);
}

static int64_t reg_observe(struct group *group, uint32_t number)
{
    struct history *history = group->history;
    const struct op *op = &history->ops[number];
    bool is_write = op->kind == OP_WRITE;
    int64_t seen = is_write ? op->before : op->value, version = 0;
    if (group->own_count > 0) {
        if (seen != group->own_last)
            report("internal", "line %u wrote %lld to %.*s, but then saw %lld",
                   line_of(history, number), (long long)group->own_last, NAME(group->key),
                   (long long)seen);
        return -1;
    }
    uint32_t write = history_find_write(history, group->key_number, seen);
    if (write == NONE && seen != group->key->initial) {
        report("garbage-read", "line %u saw %lld in %.*s, which nobody wrote",
               line_of(history, number), (long long)seen, NAME(group->key));
        return -1;
    }
    if (write != NONE) {
        const struct op *maker = &history->ops[write];
        if (maker->txn == group->txn) {
            report("internal", "line %u saw its own %lld in %.*s before it wrote that",
                   line_of(history, number), (long long)seen, NAME(group->key));
            return -1;
        }
        if (outcome_of(maker) == OUTCOME_FAIL) {
            report(is_write && outcome_of(op) == OUTCOME_OK ? "dirty-update" : "G1a",
                   "line %u saw %lld in %.*s, of line %u that failed", line_of(history, number),
                   (long long)seen, NAME(group->key), line_of(history, write));
            return -1;
        }
        if (maker->at == 0) return -1;
        version = maker->at;
    }
    if ((op->flags & OP_VERSION) && op->version - is_write != version) {
        report("incompatible-order", "line %u saw %lld in %.*s as version %lld, but it is version"
               " %lld", line_of(history, number), (long long)seen, NAME(group->key),
               (long long)op->version - is_write, (long long)version);
        return -1;
    }
    return version;
}

/* Accounts */

static void account_place_seqs(struct history *history, struct key *key)
{
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        struct op *op = &history->ops[number];
        if (op->kind != OP_CHANGE || !(op->flags & OP_VERSION) || op->version < 1) continue;
        if (outcome_of(op) != OUTCOME_OK) continue;
        uint32_t *slot = slot_of(history, key, op->version);
        if (*slot != NONE)
            report("lost-update", "lines %u and %u both made seq %lld of %.*s",
                   line_of(history, *slot), line_of(history, number), (long long)op->version,
                   NAME(key));
        else
            place(history, key, op->version, number);
    }
}

/* Somebody saw that the transaction with id `tag` made this version. */
static void account_claim(struct history *history, uint32_t key_number, int64_t version,
                          uint32_t tag, uint32_t witness)
{
    struct key *key = &history->keys[key_number];
    if (version < 1 || version > key->slot_count) return;
    const struct name *id = tag == NONE ? NULL : &history->ids.items[tag];
    if (id == NULL || id->txn == NONE) {
        bool is_failed = id != NULL && id->count > 0;
        report(is_failed ? "G1a" : "garbage-read", "line %u saw that %.*s was changed by id %.*s,"
               " %s", line_of(history, witness), NAME(key), id != NULL ? (int)id->len : 0,
               id != NULL ? id->ptr : "", is_failed ? "which failed" : "which nobody sent");
        return;
    }
    const struct txn *txn = &history->txns[id->txn];
    bool is_placed = false;
    int64_t next = version;
    for (uint32_t i = txn->op_count; i-- > 0;) {
        const struct op *op = &history->ops[txn->op_first + i];
        if (op->key != key_number || op->kind != OP_CHANGE) continue;
        if (op->at == version) return;
        if (op->at != 0) is_placed = true;
        if (op->at != 0 || is_placed || next < 1) continue;
        if (*slot_of(history, key, next) != NONE) {
            report("dirty-read", "line %u saw line %u's change as seq %lld of %.*s, but line %u"
                   " made that seq", line_of(history, witness), txn->line, (long long)version,
                   NAME(key), line_of(history, *slot_of(history, key, next)));
            return;
        }
        place(history, key, next--, txn->op_first + i);
    }
    if (is_placed)
        report("exactly-once", "line %u changed %.*s more than once: also as seq %lld", txn->line,
               NAME(key), (long long)version);
    else if (next == version)
        report("garbage-read", "line %u saw that line %u changed %.*s, which it never asked for",
               line_of(history, witness), txn->line, NAME(key));
}

static void account_balance(struct group *group, int64_t version, int64_t balance, uint32_t witness)
{
    struct scratch *scratch = group->scratch;
    if (version < 0 || version > group->key->slot_count) return;
    if (balance < 0)
        report("negative-balance", "line %u saw %lld in %.*s", line_of(group->history, witness),
               (long long)balance, NAME(group->key));
    if (scratch->is_known[version] && scratch->values[version] != balance)
        report("balance", "line %u saw %lld in %.*s at seq %lld, others saw %lld",
               line_of(group->history, witness), (long long)balance, NAME(group->key),
               (long long)version, (long long)scratch->values[version]);
    scratch->is_known[version] = true;
    scratch->values[version] = balance;
}

static int64_t account_observe(struct group *group, uint32_t number)
{
    const struct op *op = &group->history->ops[number];
    bool is_write = op->kind == OP_CHANGE;
    int64_t base = op->version - is_write - group->own_count;
    int64_t balance = (is_write ? op->before : op->value) - group->own_sum;
    if (group->is_quiet) return base <= group->key->slot_count ? base : -1;
    if (base < 0 || base > group->key->slot_count) {
        report("seq-gap", "line %u saw seq %lld of %.*s, which nobody made",
               line_of(group->history, number), (long long)op->version, NAME(group->key));
        return -1;
    }
    account_balance(group, base, balance, number);
    if (is_write && outcome_of(op) == OUTCOME_OK)
        account_balance(group, op->version, op->before + op->value, number);
    return base;
}

static int amount_compare(const void *left, const void *right)
{
    const struct amount *a = left, *b = right;
    return a->value < b->value ? -1 : a->value > b->value;
}

/* Looking through all of them for each hole would take the square of the time. */
static void account_count_spare(struct history *history, struct scratch *scratch)
{
    if (scratch->spare_count > scratch->amount_capacity) {
        scratch->amount_capacity = (size_t)scratch->spare_count * 2;
        scratch->amounts = grow(scratch->amounts, scratch->amount_capacity, sizeof *scratch->amounts);
    }
    for (uint32_t i = 0; i < scratch->spare_count; i++)
        scratch->amounts[i] =
            (struct amount){ history->ops[scratch->spare[i]].value, 1, scratch->spare[i] };
    if (scratch->spare_count > 0)
        qsort(scratch->amounts, scratch->spare_count, sizeof *scratch->amounts, amount_compare);
    scratch->amount_count = 0;
    for (uint32_t i = 0; i < scratch->spare_count; i++) {
        struct amount *end = &scratch->amounts[scratch->amount_count];
        if (i > 0 && end[-1].value == scratch->amounts[i].value) {
            end[-1].count++;
            end[-1].mix ^= scratch->amounts[i].mix;
        } else {
            *end = scratch->amounts[i];
            scratch->amount_count++;
        }
    }
}

/* Which write without a known place explains a step of `delta` at this empty version? */
static void account_fill_hole(struct history *history, struct scratch *scratch, struct key *key,
                              uint32_t version, int64_t delta)
{
    struct amount wanted = { .value = delta };
    struct amount *found = scratch->amount_count == 0 ? NULL
                                                      : bsearch(&wanted, scratch->amounts, scratch->amount_count,
                                                                sizeof wanted, amount_compare);
    if (found != NULL && found->count > 0) {
        if (found->count > 1) return;
        found->count = 0;
        place(history, key, version, found->mix);
        return;
    }
    const char *kind = "seq-gap";
    for (uint32_t i = 0; i < key->index_count; i++) {
        const struct op *op = &history->ops[history->index[key->index_first + i]];
        if (op->kind != OP_CHANGE || op->value != delta) continue;
        if (outcome_of(op) == OUTCOME_FAIL) kind = "failed-visible";
        else if (history->txns[op->txn].attempt_count > 1) kind = "exactly-once";
    }
    report(kind, "seq %u of %.*s changed it by %lld: no request explains that", version, NAME(key),
           (long long)delta);
}

/* After each observer told its balances: the steps between them must be what was asked for. */
static void account_check_steps(struct history *history, struct scratch *scratch, struct key *key)
{
    uint32_t holes = 0, candidates = 0;
    for (uint32_t v = 1; v <= key->slot_count; v++) {
        uint32_t number = *slot_of(history, key, v);
        bool is_step = scratch->is_known[v - 1] && scratch->is_known[v];
        int64_t delta = is_step ? scratch->values[v] - scratch->values[v - 1] : 0;
        if (number == NONE) {
            holes++;
            if (!is_step) continue;
            account_fill_hole(history, scratch, key, v, delta);
            if (*slot_of(history, key, v) != NONE) holes--;
        } else if (is_step && delta != history->ops[number].value) {
            report("balance", "line %u changed %.*s by %lld, but it changed by %lld",
                   line_of(history, number), NAME(key), (long long)history->ops[number].value,
                   (long long)delta);
        } else if (scratch->is_known[v - 1] && !scratch->is_known[v]) {
            scratch->is_known[v] = true;
            scratch->values[v] = scratch->values[v - 1] + history->ops[number].value;
            if (scratch->values[v] < 0)
                report("negative-balance", "line %u left %lld in %.*s", line_of(history, number),
                       (long long)scratch->values[v], NAME(key));
        }
    }
    for (uint32_t i = 0; i < scratch->spare_count; i++)
        candidates += history->ops[scratch->spare[i]].at == 0;
    if (holes > candidates)
        report("seq-gap", "%u changes of %.*s were made by nobody", holes - candidates, NAME(key));
    key->is_complete = key->final_op != NONE && holes == 0;
}

static void account_check_final(struct history *history, const struct key *key)
{
    if (key->final_op == NONE) return;
    for (int64_t v = history->ops[key->final_op].version + 1; v <= key->slot_count; v++) {
        uint32_t number = *slot_of(history, key, v);
        if (number == NONE) continue;
        bool is_ok = outcome_of(&history->ops[number]) == OUTCOME_OK;
        report(is_ok ? "lost-write" : "dirty-read", "line %u made seq %lld of %.*s and %s, but at"
               " the end it is at seq %lld", line_of(history, number), (long long)v, NAME(key),
               is_ok ? "was told so" : "it was seen",
               (long long)history->ops[key->final_op].version);
    }
}

static void account_build(struct history *history, struct scratch *scratch, uint32_t key_number)
{
    struct key *key = &history->keys[key_number];
    make_slots(history, key, reg_max_version(history, key));
    reserve(scratch, (size_t)key->slot_count + 1, (size_t)key->index_count + 1);
    memset(scratch->is_known, 0, ((size_t)key->slot_count + 1) * sizeof *scratch->is_known);
    scratch->is_known[0] = true;
    scratch->values[0] = key->initial;
    account_place_seqs(history, key);
    scratch->spare_count = 0;
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if ((op->flags & OP_TAG) && !is_own_view(history, key, i)) {
            bool is_write = op->kind == OP_CHANGE;
            /* The second change of a transaction sees its own tag, or the one before: both do. */
            bool is_second = is_write && op->version >= 2 && op->version - 1 <= key->slot_count &&
                             owner_of(history, key, op->version - 1) == op->txn;
            if (!is_second)
                account_claim(history, key_number, op->version - is_write, op->tag, number);
        }
    }
    for (uint32_t i = 0; i < key->index_count; i++) {
        uint32_t number = history->index[key->index_first + i];
        const struct op *op = &history->ops[number];
        if (op->kind == OP_CHANGE && op->at == 0 && !(op->flags & OP_RESULT) &&
            outcome_of(op) != OUTCOME_FAIL)
            scratch->spare[scratch->spare_count++] = number;
    }
    account_count_spare(history, scratch);
}

/* Groups and edges */

static int64_t observe(struct group *group, uint32_t number)
{
    const struct op *op = &group->history->ops[number];
    if (!(op->flags & OP_RESULT)) return -1;
    if (op->kind == OP_LIST_READ) return list_observe_read(group, number);
    if (op->kind == OP_WRITE || op->kind == OP_REG_READ) return reg_observe(group, number);
    if (op->kind == OP_CHANGE || op->kind == OP_ACCOUNT_READ) return account_observe(group, number);
    int64_t base = op->version - 1 - group->own_count;
    return base >= 0 && base <= group->key->slot_count ? base : -1;
}

static void group_observe(struct group *group)
{
    struct history *history = group->history;
    for (uint32_t i = 0; i < group->count; i++) {
        uint32_t number = history->index[group->first + i];
        const struct op *op = &history->ops[number];
        int64_t base = observe(group, number);
        if (base >= 0 && group->base >= 0 && base != group->base && !group->is_quiet)
            report("internal", "line %u saw versions %lld and %lld of %.*s in one transaction",
                   line_of(history, number), (long long)group->base, (long long)base,
                   NAME(group->key));
        if (group->base < 0) group->base = base;
        if (!is_change(op)) continue;
        group->own_count++;
        group->own_sum += op->value;
        group->own_last = op->value;
        if (group->own_first == 0) group->own_first = op->at;
    }
}

static void group_edges(struct group *group)
{
    struct history *history = group->history;
    const struct key *key = group->key;
    int64_t base = group->base;
    bool is_reader = history->ops[history->index[group->first]].outcome == OUTCOME_FAIL || group->own_first == 0;
    if (base < 0 || (!is_reader && group->own_first == base + 1)) return;
    for (int64_t v = base; v >= 1 && *slot_of(history, key, v) != SLOT_CUT; v--) {
        uint32_t owner = owner_of(history, key, v);
        if (owner == NONE) continue;
        if (owner == group->txn) break;
        graph_add(owner, group->txn, EDGE_WR, group->key_number);
        if (v == base && v < key->slot_count && owner_of(history, key, v + 1) == owner)
            report("G1b", "line %u saw version %lld of %.*s, which is inside of line %u",
                   history->txns[group->txn].line, (long long)v, NAME(key),
                   history->txns[owner].line);
        break;
    }
    for (int64_t v = base + 1; v <= key->slot_count && *slot_of(history, key, v) != SLOT_CUT; v++) {
        uint32_t owner = owner_of(history, key, v);
        if (owner == NONE) continue;
        if (owner != group->txn) graph_add(group->txn, owner, EDGE_RW, group->key_number);
        break;
    }
}

static void key_write_edges(struct history *history, uint32_t key_number)
{
    const struct key *key = &history->keys[key_number];
    uint32_t last = NONE;
    for (uint32_t v = 1; v <= key->slot_count; v++) {
        uint32_t owner = owner_of(history, key, v);
        if (*slot_of(history, key, v) == SLOT_CUT) last = NONE;
        if (owner == NONE) continue;
        if (last != NONE && last != owner) graph_add(last, owner, EDGE_WW, key_number);
        last = owner;
    }
}

static void each_group(struct history *history, struct scratch *scratch, uint32_t key_number,
                       uint32_t order_len, bool is_edges)
{
    struct key *key = &history->keys[key_number];
    for (uint32_t i = 0; i < key->index_count;) {
        struct group group = { .history = history, .scratch = scratch, .key = key,
                               .key_number = key_number, .order_len = order_len, .base = -1,
                               .first = key->index_first + i,
                               .is_quiet = is_edges && key->kind == 'a' };
        group.txn = history->ops[history->index[group.first]].txn;
        while (i < key->index_count &&
               history->ops[history->index[key->index_first + i]].txn == group.txn) {
            i++;
            group.count++;
        }
        group_observe(&group);
        if (is_edges) group_edges(&group);
    }
}

/* An unknown transaction is applied as a whole or not at all. */
static void check_unknown(struct history *history, const struct txn *txn)
{
    uint32_t seen = NONE;
    for (uint32_t i = 0; i < txn->op_count; i++)
        if (history->ops[txn->op_first + i].at != 0) seen = txn->op_first + i;
    if (seen == NONE) return;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        const struct op *op = &history->ops[txn->op_first + i];
        const struct key *key = &history->keys[op->key];
        if (!is_change(op) || op->at != 0 || !key->is_complete) continue;
        report("partial-unknown", "line %u changed %.*s, but not %.*s", txn->line,
               NAME(&history->keys[history->ops[seen].key]), NAME(key));
        return;
    }
}

/* What a transaction asked for (messages, timers) happens if it took effect, and never otherwise. */
static void check_effect(struct history *history, uint32_t number)
{
    const struct txn *effect = &history->txns[number];
    uint32_t maker = effect->cause;
    if (maker == NONE) {
        if (effect->applied)
            report("garbage-read", "line %u took effect, but nobody sent or only a failed transaction"
                   " did", effect->line);
        return;
    }
    struct txn *txn = &history->txns[maker];
    bool is_absent = false, is_lost = false;
    for (uint32_t i = 0; i < txn->op_count; i++) {
        const struct op *op = &history->ops[txn->op_first + i];
        is_absent |= is_change(op) && op->txn == maker && op->at == 0 && history->keys[op->key].is_complete;
    }
    for (uint32_t i = 0; i < effect->op_count; i++) {
        const struct op *op = &history->ops[effect->op_first + i];
        is_lost |= op->at == 0 && history->keys[op->key].is_complete;
    }
    if (txn->outcome == OUTCOME_UNKNOWN && effect->applied && is_absent)
        report("partial-unknown", "line %u did not take effect, but its effect of line %u did",
               txn->line, effect->line);
    if (txn->outcome == OUTCOME_UNKNOWN && txn->applied && is_lost)
        report("lost-message", "line %u took effect, but its effect of line %u did not", txn->line,
               effect->line);
    if (!effect->applied) return;
    if (txn->outcome == OUTCOME_UNKNOWN) txn->applied = true;
    graph_add(maker, number, EDGE_WR, history->ops[effect->op_first].key);
}

/* Transfers keep the sum of all accounts: what is there at the end is what was ever deposited. */
static void check_sum(struct history *history)
{
    int64_t expected = 0, found = 0;
    uint32_t accounts = 0;
    for (uint32_t i = 0; i < history->key_count; i++) {
        const struct key *key = &history->keys[i];
        if (key->kind != 'a') continue;
        if (key->final_op == NONE) return;
        accounts++;
        expected += key->initial;
        found += history->ops[key->final_op].value;
    }
    for (uint32_t i = 0; i < history->op_count; i++) {
        const struct op *op = &history->ops[i];
        if (op->kind != OP_CHANGE || !(op->flags & OP_DEPOSIT)) continue;
        enum outcome outcome = outcome_of(op);
        if (outcome == OUTCOME_OK || (outcome == OUTCOME_UNKNOWN && op->at != 0))
            expected += op->value;
        else if (outcome == OUTCOME_UNKNOWN && !history->keys[op->key].is_complete)
            return;
    }
    if (accounts > 0 && expected != found)
        report("balance", "all accounts together hold %lld at the end, not %lld", (long long)found,
               (long long)expected);
}

void order_check(struct history *history)
{
    struct scratch scratch = { 0 };
    for (uint32_t i = 0; i < history->txn_count; i++)
        if (history->txns[i].id != NONE) history->ids.items[history->txns[i].id].count++;
    for (uint32_t i = 0; i < history->key_count; i++) {
        struct key *key = &history->keys[i];
        uint32_t order_len = 0;
        if (key->kind == 'l') order_len = list_build(history, &scratch, i);
        if (key->kind == 'r') reg_build(history, i);
        if (key->kind == 'a') {
            /* Balances come first: they place the changes that have neither seq nor tag. */
            account_build(history, &scratch, i);
            each_group(history, &scratch, i, 0, false);
            account_check_steps(history, &scratch, key);
            account_check_final(history, key);
            scratch.is_known[0] = true;
        }
        each_group(history, &scratch, i, order_len, true);
        key_write_edges(history, i);
    }
    for (uint32_t i = 0; i < history->txn_count; i++)
        if (history->txns[i].outcome >= OUTCOME_UNKNOWN) check_unknown(history, &history->txns[i]);
    for (uint32_t i = 0; i < history->txn_count; i++)
        if (history->txns[i].is_effect && history->txns[i].op_count > 0) check_effect(history, i);
    check_sum(history);
    free(scratch.values);
    free(scratch.is_known);
    free(scratch.spare);
    free(scratch.amounts);
    free(scratch.read);
}
