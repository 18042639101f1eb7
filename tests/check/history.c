/*
 * history.c - reads a history file into arrays.
 *
 * One pass over the mapped text. Elements of list reads are not kept but read again from the text
 * when they are compared: a million transactions with long lists then fit in memory.
 *
 * Attempts with the same idempotency id are one logical transaction: it took effect between the
 * start of its first attempt and the end of its first success, and twice is an anomaly.
 *
 * SPDX-License-Identifier: MIT
 */
#include "history.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct parser {
    struct history *history;
    const char *ptr, *end; /* end of the line */
    const char *ops_ptr, *ops_end;
    uint32_t line;
};

void *grow(void *ptr, size_t count, size_t size)
{
    ptr = realloc(ptr, count * size);
    if (ptr != NULL) return ptr;
    fprintf(stderr, "weir-check-history: out of memory\n");
    exit(2);
}

static uint64_t hash_bytes(const char *ptr, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) hash = (hash ^ (unsigned char)ptr[i]) * 0x100000001b3u;
    return hash ^ (hash >> 29);
}

static uint64_t hash_write(uint32_t key, int64_t value)
{
    uint64_t hash = ((uint64_t)value + key * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
    return (hash * 0xc4ceb9fe1a85ec53u) >> 20;
}

static void names_resize(struct names *names)
{
    names->table_size = names->table_size == 0 ? 1024 : names->table_size * 2;
    names->table = grow(names->table, names->table_size, sizeof *names->table);
    memset(names->table, 0xff, names->table_size * sizeof *names->table);
    for (uint32_t i = 0; i < names->count; i++) {
        uint64_t place = hash_bytes(names->items[i].ptr, names->items[i].len);
        while (names->table[place & (names->table_size - 1)] != NONE) place++;
        names->table[place & (names->table_size - 1)] = i;
    }
}

static uint32_t names_intern(struct names *names, const char *ptr, size_t len)
{
    if (names->count * 2 >= names->table_size) names_resize(names);
    uint64_t place = hash_bytes(ptr, len);
    for (;; place++) {
        uint32_t i = names->table[place & (names->table_size - 1)];
        if (i == NONE) break;
        if (names->items[i].len == len && memcmp(names->items[i].ptr, ptr, len) == 0) return i;
    }
    if (names->count == names->capacity) {
        names->capacity = names->capacity == 0 ? 256 : names->capacity * 2;
        names->items = grow(names->items, names->capacity, sizeof *names->items);
    }
    names->items[names->count] = (struct name){ .ptr = ptr, .len = (uint32_t)len, .txn = NONE };
    names->table[place & (names->table_size - 1)] = names->count;
    return names->count++;
}

__attribute__((noreturn)) static void malformed(const struct parser *parser, const char *what)
{
    fprintf(stderr, "weir-check-history: line %u: %s\n", parser->line, what);
    exit(2);
}

static void skip_spaces(struct parser *parser)
{
    while (parser->ptr < parser->end && (*parser->ptr == ' ' || *parser->ptr == '\t')) parser->ptr++;
}

static bool take(struct parser *parser, char wanted)
{
    skip_spaces(parser);
    if (parser->ptr >= parser->end || *parser->ptr != wanted) return false;
    parser->ptr++;
    return true;
}

static void expect(struct parser *parser, char wanted, const char *what)
{
    if (!take(parser, wanted)) malformed(parser, what);
}

bool parse_int(const char **cursor, const char *end, int64_t *value)
{
    const char *ptr = *cursor;
    while (ptr < end && *ptr == ' ') ptr++;
    bool is_negative = ptr < end && *ptr == '-';
    if (is_negative) ptr++;
    const char *digits = ptr;
    uint64_t number = 0;
    while (ptr < end && *ptr >= '0' && *ptr <= '9') number = number * 10 + (uint64_t)(*ptr++ - '0');
    if (ptr == digits || ptr - digits > 18) return false;
    *value = is_negative ? -(int64_t)number : (int64_t)number;
    *cursor = ptr;
    return true;
}

static int64_t take_int(struct parser *parser)
{
    int64_t value;
    if (!parse_int(&parser->ptr, parser->end, &value)) malformed(parser, "a number was expected");
    return value;
}

static bool take_null(struct parser *parser)
{
    skip_spaces(parser);
    if (parser->end - parser->ptr < 4 || memcmp(parser->ptr, "null", 4) != 0) return false;
    parser->ptr += 4;
    return true;
}

/* A quoted text without escapes: names need none. */
static size_t take_text(struct parser *parser, const char **ptr)
{
    expect(parser, '"', "a quoted text was expected");
    *ptr = parser->ptr;
    while (parser->ptr < parser->end && *parser->ptr != '"') {
        if (*parser->ptr++ == '\\') malformed(parser, "no escapes in names");
    }
    size_t len = (size_t)(parser->ptr - *ptr);
    expect(parser, '"', "a text is not closed");
    return len;
}

bool txn_is_absent(const struct txn *txn)
{
    return txn->outcome == OUTCOME_UNKNOWN && !txn->applied;
}

uint32_t history_add_key(struct history *history, const struct key *like)
{
    if (history->key_count == history->key_capacity) {
        struct key copy = *like; /* `like` may be in the array that moves */
        history->key_capacity = history->key_capacity == 0 ? 256 : history->key_capacity * 2;
        history->keys = grow(history->keys, history->key_capacity, sizeof *history->keys);
        history->keys[history->key_count] = copy;
    } else {
        history->keys[history->key_count] = *like;
    }
    return history->key_count++;
}

uint32_t history_add_slots(struct history *history, uint32_t count)
{
    while (history->slot_count + count > history->slot_capacity) {
        history->slot_capacity = history->slot_capacity == 0 ? 4096 : history->slot_capacity * 2;
        history->slots = grow(history->slots, history->slot_capacity, sizeof *history->slots);
    }
    uint32_t first = history->slot_count;
    if (count > 0) memset(history->slots + first, 0xff, count * sizeof *history->slots);
    history->slot_count += count;
    return first;
}

static uint32_t intern_key(struct parser *parser, const char *ptr, size_t len)
{
    struct history *history = parser->history;
    if (len < 1 || (ptr[0] != 'l' && ptr[0] != 'r' && ptr[0] != 'a'))
        malformed(parser, "a name begins with l (list), r (register) or a (account)");
    uint32_t i = names_intern(&history->key_names, ptr, len);
    if (i < history->key_count) return i;
    struct key key = { .name = ptr, .name_len = (uint32_t)len, .kind = ptr[0], .final_op = NONE };
    return history_add_key(history, &key);
}

static uint32_t take_key(struct parser *parser)
{
    const char *ptr;
    expect(parser, ',', "the name of an entity is missing");
    size_t len = take_text(parser, &ptr);
    return intern_key(parser, ptr, len);
}

static struct op *op_push(struct parser *parser, uint32_t key, enum op_kind kind)
{
    struct history *history = parser->history;
    if (history->op_count == history->op_capacity) {
        history->op_capacity = history->op_capacity == 0 ? 4096 : history->op_capacity * 2;
        history->ops = grow(history->ops, history->op_capacity, sizeof *history->ops);
    }
    struct op *op = &history->ops[history->op_count++];
    *op = (struct op){ .key = key, .kind = kind, .tag = NONE, .next = NONE };
    op->txn = history->txn_count;
    return op;
}

/* Moves to the result of an operation: false where it is absent or null. */
static bool has_result(struct parser *parser)
{
    return take(parser, ',') && !take_null(parser);
}

static void take_list(struct parser *parser, struct op *op)
{
    expect(parser, '[', "a list's elements were expected");
    op->text = (uint64_t)(parser->ptr - parser->history->text);
    op->version = 0;
    if (take(parser, ']')) return;
    do {
        take_int(parser);
        op->version++;
    } while (take(parser, ','));
    expect(parser, ']', "a list is not closed");
}

/* value, or [version, value] */
static void take_reg(struct parser *parser, struct op *op, int64_t *value)
{
    if (!take(parser, '[')) {
        *value = take_int(parser);
        return;
    }
    op->version = take_int(parser);
    op->flags |= OP_VERSION;
    expect(parser, ',', "a register's answer is [version, value]");
    *value = take_int(parser);
    expect(parser, ']', "a register's answer is not closed");
}

/* [seq, balance] or [seq, balance, id of the transaction that made it] */
static void take_account(struct parser *parser, struct op *op, int64_t *balance)
{
    expect(parser, '[', "an account's answer is [seq, balance]");
    op->version = take_int(parser);
    expect(parser, ',', "an account's answer is [seq, balance]");
    *balance = take_int(parser);
    if (take(parser, ',') && !take_null(parser)) {
        const char *ptr;
        skip_spaces(parser);
        if (parser->ptr < parser->end && *parser->ptr == '"') {
            size_t len = take_text(parser, &ptr);
            if (len > 0) op->tag = names_intern(&parser->history->ids, ptr, len);
        } else {
            ptr = parser->ptr;
            int64_t tag = take_int(parser);
            size_t len = (size_t)(parser->ptr - ptr);
            if (tag != 0) op->tag = names_intern(&parser->history->ids, ptr, len);
        }
        op->flags |= OP_TAG;
    }
    expect(parser, ']', "an account's answer is not closed");
    op->flags |= OP_VERSION;
}

static char key_kind(const struct parser *parser, uint32_t key)
{
    return parser->history->keys[key].kind;
}

static void take_change(struct parser *parser, uint32_t key, int64_t amount, uint8_t flags)
{
    if (key_kind(parser, key) != 'a') malformed(parser, "only accounts hold money");
    struct op *op = op_push(parser, key, OP_CHANGE);
    op->value = amount;
    op->flags = flags;
    if (!has_result(parser)) return;
    take_account(parser, op, &op->before);
    op->flags |= OP_RESULT;
}

static void take_read(struct parser *parser, bool must_answer)
{
    uint32_t key = take_key(parser);
    char kind = key_kind(parser, key);
    struct op *op = op_push(
        parser, key, kind == 'l' ? OP_LIST_READ : kind == 'r' ? OP_REG_READ : OP_ACCOUNT_READ);
    if (!has_result(parser)) {
        if (must_answer) malformed(parser, "a read that succeeded shows what it read");
        return;
    }
    op->flags |= OP_RESULT;
    if (kind == 'l') take_list(parser, op);
    if (kind == 'r') take_reg(parser, op, &op->value);
    if (kind == 'a') take_account(parser, op, &op->value);
}

static bool text_is(const char *ptr, size_t len, const char *word)
{
    return len == strlen(word) && memcmp(ptr, word, len) == 0;
}

static void take_op(struct parser *parser, bool must_answer)
{
    const char *name;
    expect(parser, '[', "an operation is a list");
    size_t len = take_text(parser, &name);
    if (text_is(name, len, "read")) {
        take_read(parser, must_answer);
    } else if (text_is(name, len, "send")) {
        uint32_t key = take_key(parser);
        if (key_kind(parser, key) != 'l') malformed(parser, "effects append to lists");
        expect(parser, ',', "a value is missing");
        int64_t value = take_int(parser);
        op_push(parser, key, OP_SEND)->value = value;
    } else if (text_is(name, len, "append") || text_is(name, len, "write")) {
        bool is_append = name[0] == 'a';
        uint32_t key = take_key(parser);
        if (key_kind(parser, key) != (is_append ? 'l' : 'r'))
            malformed(parser, "append is for lists, write for registers");
        struct op *op = op_push(parser, key, is_append ? OP_APPEND : OP_WRITE);
        expect(parser, ',', "a value is missing");
        op->value = take_int(parser);
        if (has_result(parser)) {
            op->flags |= OP_RESULT;
            if (is_append) {
                op->version = take_int(parser);
                op->flags |= OP_VERSION;
            } else {
                take_reg(parser, op, &op->before);
            }
        }
    } else if (text_is(name, len, "deposit")) {
        uint32_t key = take_key(parser);
        expect(parser, ',', "an amount is missing");
        take_change(parser, key, take_int(parser), OP_DEPOSIT);
    } else if (text_is(name, len, "transfer")) {
        uint32_t from = take_key(parser);
        uint32_t to = take_key(parser);
        expect(parser, ',', "an amount is missing");
        int64_t amount = take_int(parser);
        take_change(parser, from, -amount, 0);
        take_change(parser, to, amount, 0);
    } else {
        malformed(parser, "an operation is append, read, write, deposit, transfer or send");
    }
    expect(parser, ']', "an operation is not closed");
}

static void take_ops(struct parser *parser, bool must_answer)
{
    expect(parser, '[', "o= is a list of operations");
    if (take(parser, ']')) return;
    do {
        take_op(parser, must_answer);
    } while (take(parser, ','));
    expect(parser, ']', "the operations are not closed");
}

static size_t take_token(struct parser *parser, const char **ptr)
{
    *ptr = parser->ptr;
    while (parser->ptr < parser->end && *parser->ptr != ' ' && *parser->ptr != '\t') parser->ptr++;
    return (size_t)(parser->ptr - *ptr);
}

static enum outcome take_outcome(struct parser *parser)
{
    const char *ptr;
    size_t len = take_token(parser, &ptr);
    if (text_is(ptr, len, "ok")) return OUTCOME_OK;
    if (text_is(ptr, len, "fail")) return OUTCOME_FAIL;
    if (text_is(ptr, len, "unknown")) return OUTCOME_UNKNOWN;
    if (text_is(ptr, len, "late")) return OUTCOME_LATE;
    malformed(parser, "r= is ok, fail, unknown or late");
}

static void forget_ops(struct history *history, const struct txn *txn)
{
    for (uint32_t i = 0; i < txn->op_count; i++) history->ops[txn->op_first + i].kind = OP_GONE;
}

/* Attempts with one id: keeps the first in `first`, with the answer of whichever has one. */
static void txn_merge(struct history *history, struct txn *first, struct txn *again)
{
    first->attempt_count++;
    if (again->start < first->start) first->start = again->start;
    if (again->outcome == OUTCOME_UNKNOWN) {
        forget_ops(history, again);
        return;
    }
    if (first->outcome != OUTCOME_UNKNOWN) {
        struct op *a = &history->ops[first->op_first], *b = &history->ops[again->op_first];
        bool is_same = first->op_count == again->op_count;
        for (uint32_t i = 0; is_same && i < first->op_count; i++)
            is_same = a[i].kind == b[i].kind && a[i].key == b[i].key && a[i].value == b[i].value &&
                      a[i].version == b[i].version && a[i].before == b[i].before;
        if (!is_same)
            report("exactly-once", "lines %u and %u have one id and both succeeded, with different"
                   " answers", first->line, again->line);
        if (again->end < first->end) first->end = again->end;
        forget_ops(history, again);
        return;
    }
    forget_ops(history, first);
    first->outcome = again->outcome;
    first->end = again->end;
    first->line = again->line;
    first->op_first = again->op_first;
    first->op_count = again->op_count;
    uint32_t number = (uint32_t)(first - history->txns);
    for (uint32_t i = 0; i < again->op_count; i++) history->ops[again->op_first + i].txn = number;
}

static void txn_push(struct history *history, struct txn *txn)
{
    if (txn->outcome != OUTCOME_FAIL && txn->id != NONE) {
        struct name *id = &history->ids.items[txn->id];
        if (id->txn != NONE) {
            txn_merge(history, &history->txns[id->txn], txn);
            return;
        }
        id->txn = history->txn_count;
    }
    if (history->txn_count == history->txn_capacity) {
        history->txn_capacity = history->txn_capacity == 0 ? 1024 : history->txn_capacity * 2;
        history->txns = grow(history->txns, history->txn_capacity, sizeof *history->txns);
    }
    history->txns[history->txn_count++] = *txn;
}

/* Did something break while it ran? */
static bool is_in_window(const struct history *history, const struct txn *txn)
{
    uint32_t low = 0, high = history->window_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (history->windows[middle].end < txn->start) low = middle + 1;
        else high = middle;
    }
    return low < history->window_count && history->windows[low].start <= txn->end;
}

static void count_txn(struct history *history, const struct txn *txn)
{
    if (txn->final) return;
    if (txn->is_effect) return;
    if (history->first_start == 0 || txn->start < history->first_start)
        history->first_start = txn->start;
    if (txn->end != TIME_NEVER && txn->end > history->last_end) history->last_end = txn->end;
    if (!is_in_window(history, txn)) {
        history->quiet++;
        history->quiet_ok += txn->outcome == OUTCOME_OK;
    }
    if (txn->outcome == OUTCOME_OK) history->client_ok++;
    if (txn->outcome == OUTCOME_UNKNOWN) history->client_unknown++;
    if (txn->outcome == OUTCOME_FAIL) {
        history->client_fail++;
        if (txn->code != NONE) history->codes.items[txn->code].count++;
    }
    if (txn->shard_count > 0) history->with_shards++;
    if (txn->shard_count > 1) history->multi_shard++;
}

static void take_fields(struct parser *parser, struct txn *txn)
{
    const char *ptr, *ops = NULL;
    struct history *history = parser->history;
    for (skip_spaces(parser); parser->ptr < parser->end; skip_spaces(parser)) {
        const char *name = parser->ptr;
        while (parser->ptr < parser->end && *parser->ptr != '=' && *parser->ptr != ' ') parser->ptr++;
        size_t name_len = (size_t)(parser->ptr - name);
        expect(parser, '=', "a field is name=value");
        if (text_is(name, name_len, "s")) txn->start = take_int(parser);
        else if (text_is(name, name_len, "e")) txn->end = take_int(parser);
        else if (text_is(name, name_len, "c")) txn->client = (uint32_t)take_int(parser);
        else if (text_is(name, name_len, "shards")) txn->shard_count = (uint32_t)take_int(parser);
        else if (text_is(name, name_len, "r")) txn->outcome = take_outcome(parser);
        else if (text_is(name, name_len, "o")) {
            /* The operations end the line: what they must hold depends on the fields before. */
            ops = parser->ptr;
            take_ops(parser, txn->outcome == OUTCOME_OK);
        } else {
            size_t len = take_token(parser, &ptr);
            if (text_is(name, name_len, "id")) txn->id = names_intern(&history->ids, ptr, len);
            else if (text_is(name, name_len, "by")) txn->by = names_intern(&history->ids, ptr, len);
            else if (text_is(name, name_len, "x")) txn->code = names_intern(&history->codes, ptr, len);
            else malformed(parser, "a field that is not known");
        }
    }
    if (ops == NULL) malformed(parser, "o= is missing");
}

static void take_txn(struct parser *parser, bool is_final)
{
    struct history *history = parser->history;
    struct txn txn = { .start = INT64_MIN, .end = TIME_NEVER, .line = parser->line, .id = NONE,
                       .code = NONE, .by = NONE, .cause = NONE, .op_first = history->op_count, .attempt_count = 1,
                       .final = is_final };
    take_fields(parser, &txn);
    txn.op_count = history->op_count - txn.op_first;
    txn.is_effect = txn.by != NONE;
    count_txn(history, &txn);
    if (txn.outcome == OUTCOME_UNKNOWN || txn.outcome == OUTCOME_LATE) {
        txn.end = TIME_NEVER;
        for (uint32_t i = 0; i < txn.op_count; i++)
            history->ops[txn.op_first + i].flags &= OP_DEPOSIT;
    }
    if (!is_final && txn.start == INT64_MIN) malformed(parser, "s= is missing");
    if (!is_final && txn.outcome <= OUTCOME_FAIL && txn.end == TIME_NEVER)
        malformed(parser, "e= is missing");
    if (txn.end < txn.start) malformed(parser, "it ends before it starts");
    txn_push(history, &txn);
}

/* i NAME VALUE: what an entity holds before the first transaction */
static void take_initial(struct parser *parser)
{
    const char *ptr;
    skip_spaces(parser);
    size_t len = take_token(parser, &ptr);
    uint32_t key = intern_key(parser, ptr, len);
    parser->history->keys[key].initial = take_int(parser);
}

/* n VALUE: what all registers named so far held */
static void take_initials(struct parser *parser)
{
    int64_t value = take_int(parser);
    for (uint32_t i = 0; i < parser->history->key_count; i++)
        if (parser->history->keys[i].kind == 'r') parser->history->keys[i].initial = value;
}

static void parse_lines(struct history *history)
{
    struct parser parser = { .history = history };
    const char *ptr = history->text, *end = history->text + history->text_len;
    while (ptr < end) {
        const char *stop = memchr(ptr, '\n', (size_t)(end - ptr));
        if (stop == NULL) stop = end;
        parser.line++;
        parser.ptr = ptr + 1;
        parser.end = stop > ptr && stop[-1] == '\r' ? stop - 1 : stop;
        if (ptr < stop && *ptr == 't') take_txn(&parser, false);
        else if (ptr < stop && *ptr == 'f') take_txn(&parser, true);
        else if (ptr < stop && *ptr == 'i') take_initial(&parser);
        else if (ptr < stop && *ptr == 'n') take_initials(&parser);
        else if (ptr < stop && *ptr != '#' && *ptr != '\r')
            malformed(&parser, "a line begins with t, f, i, n or #");
        ptr = stop + 1;
    }
}

/* What transactions sent becomes transactions of its own; what failed ones sent is nothing. */
static void make_effects(struct history *history)
{
    uint32_t txn_count = history->txn_count;
    for (uint32_t i = 0; i < txn_count; i++) {
        struct txn *txn = &history->txns[i];
        if (txn->by != NONE) txn->cause = history->ids.items[txn->by].txn;
        history->effects += txn->is_effect;
    }
    for (uint32_t i = 0; i < history->op_count; i++) {
        struct op *op = &history->ops[i];
        if (op->kind != OP_SEND) continue;
        const struct txn *cause = &history->txns[op->txn];
        op->kind = cause->outcome == OUTCOME_FAIL ? OP_GONE : OP_APPEND;
        if (cause->outcome == OUTCOME_FAIL) continue;
        struct txn effect = { .start = cause->start, .end = TIME_NEVER, .op_first = i, .op_count = 1,
                              .line = cause->line, .client = cause->client, .id = NONE,
                              .code = NONE, .by = NONE, .cause = op->txn, .is_effect = true,
                              .attempt_count = 1,
                              .outcome = cause->outcome == OUTCOME_OK ? OUTCOME_LATE : cause->outcome };
        op->txn = history->txn_count;
        history->effects++;
        txn_push(history, &effect);
    }
}

/* A final read without times comes after all that has ended. */
static void place_finals(struct history *history)
{
    int64_t last = 0;
    for (uint32_t i = 0; i < history->txn_count; i++) {
        const struct txn *txn = &history->txns[i];
        if (txn->end != TIME_NEVER && txn->end > last) last = txn->end;
        if (txn->start > last) last = txn->start;
    }
    for (uint32_t i = 0; i < history->txn_count; i++) {
        struct txn *txn = &history->txns[i];
        if (!txn->final) continue;
        if (txn->start == INT64_MIN) txn->start = last + 1;
        for (uint32_t j = 0; j < txn->op_count; j++)
            history->keys[history->ops[txn->op_first + j].key].final_op = txn->op_first + j;
    }
}

static void build_index(struct history *history)
{
    for (uint32_t i = 0; i < history->op_count; i++)
        if (history->ops[i].kind != OP_GONE) history->keys[history->ops[i].key].index_count++;
    uint32_t first = 0;
    for (uint32_t i = 0; i < history->key_count; i++) {
        history->keys[i].index_first = first;
        first += history->keys[i].index_count;
        history->keys[i].index_count = 0;
    }
    history->index = grow(NULL, (size_t)first + 1, sizeof *history->index);
    for (uint32_t i = 0; i < history->op_count; i++) {
        if (history->ops[i].kind == OP_GONE) continue;
        history->ops[i].outcome = history->txns[history->ops[i].txn].outcome;
        struct key *key = &history->keys[history->ops[i].key];
        history->index[key->index_first + key->index_count++] = i;
    }
}

static void add_write(struct history *history, uint32_t number)
{
    const struct op *op = &history->ops[number];
    bool is_failed = op->outcome == OUTCOME_FAIL;
    uint64_t place = hash_write(op->key, op->value);
    for (;; place++) {
        uint32_t *slot = &history->writes[place & history->write_mask];
        if (*slot == NONE) {
            *slot = number;
            return;
        }
        const struct op *other = &history->ops[*slot];
        if (other->key != op->key || other->value != op->value) continue;
        const struct txn *owner = &history->txns[other->txn];
        if (other->outcome == OUTCOME_FAIL) {
            *slot = number;
        } else if (!is_failed) {
            fprintf(stderr, "weir-check-history: lines %u and %u write the same value to %.*s\n",
                    owner->line, history->txns[op->txn].line, (int)history->keys[op->key].name_len,
                    history->keys[op->key].name);
            exit(2);
        }
        return;
    }
}

static void build_writes(struct history *history)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < history->op_count; i++)
        count += history->ops[i].kind == OP_APPEND || history->ops[i].kind == OP_WRITE;
    uint64_t size = 1024;
    while (size < count * 2) size *= 2;
    history->writes = grow(NULL, size, sizeof *history->writes);
    memset(history->writes, 0xff, size * sizeof *history->writes);
    history->write_mask = (uint32_t)(size - 1);
    for (uint32_t i = 0; i < history->op_count; i++)
        if (history->ops[i].kind == OP_APPEND || history->ops[i].kind == OP_WRITE)
            add_write(history, i);
}

uint32_t history_find_write(const struct history *history, uint32_t key, int64_t value)
{
    for (uint64_t place = hash_write(key, value);; place++) {
        uint32_t number = history->writes[place & history->write_mask];
        if (number == NONE) return NONE;
        const struct op *op = &history->ops[number];
        if (op->value == value && op->key == key) return number;
    }
}

static void read_pipe(struct history *history, int fd)
{
    size_t capacity = 1u << 20;
    char *text = grow(NULL, capacity, 1);
    for (ssize_t got = 1; got > 0; history->text_len += (size_t)got) {
        if (history->text_len == capacity) text = grow(text, capacity *= 2, 1);
        got = read(fd, text + history->text_len, capacity - history->text_len);
        if (got < 0) got = 0;
    }
    history->text = text;
}

/* Whether the text is mapped; else it is allocated. */
static bool load_text(struct history *history, const char *path)
{
    struct stat info;
    int fd = strcmp(path, "-") == 0 ? 0 : open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        perror(path);
        exit(2);
    }
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
        read_pipe(history, fd);
        return false;
    }
    history->text_len = (size_t)info.st_size;
    history->text = mmap(NULL, history->text_len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (history->text == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(fd);
    return true;
}

void history_load_windows(struct history *history, const char *path)
{
    struct history file = { 0 };
    bool is_mapped = load_text(&file, path);
    struct parser parser = { .history = &file, .ptr = file.text, .end = file.text + file.text_len };
    uint32_t capacity = 0;
    while (parser.ptr < parser.end) {
        const char *stop = memchr(parser.ptr, '\n', (size_t)(parser.end - parser.ptr));
        const char *end = parser.end;
        parser.line++;
        if (stop != NULL) parser.end = stop;
        if (history->window_count == capacity) {
            capacity = capacity == 0 ? 64 : capacity * 2;
            history->windows = grow(history->windows, capacity, sizeof *history->windows);
        }
        struct window window = { .start = take_int(&parser) };
        window.end = take_int(&parser);
        bool is_sorted = history->window_count == 0 ||
                         history->windows[history->window_count - 1].end <= window.start;
        if (window.end < window.start || !is_sorted) malformed(&parser, "windows in order of time");
        history->windows[history->window_count++] = window;
        parser.end = end;
        parser.ptr = stop != NULL ? stop + 1 : end;
    }
    if (is_mapped) munmap(file.text, file.text_len);
    else free(file.text);
}

void history_load(struct history *history, const char *path)
{
    (void)load_text(history, path);
    history->file = history->text;
    if (jepsen_is(history->text, history->text_len))
        jepsen_convert(&history->text, &history->text_len);
    parse_lines(history);
    make_effects(history);
    place_finals(history);
    build_index(history);
    build_writes(history);
}
