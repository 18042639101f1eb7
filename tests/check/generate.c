/*
 * generate.c - good histories by construction, and bad ones by one change.
 *
 *   check_generate [--seed N] [--txns N] [--plant KIND]               one history, to standard output
 *   check_generate --checker FILE [--seed N] [--count N] [--planted]  many; the checker must be right about each
 *
 * Transactions run one after another on a plain model; their times overlap as those of clients that wait do, each
 * still around the moment at which it ran. Some fail, some are unknown (and ran or did not), some are tried again
 * with the same id, some send effects that happen later. A plant then changes one thing such that no strictly
 * serializable system could have shown what the history shows; where it finds no place it says so, and the next
 * seed is taken. This file shares no code with the checker either.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENTS 8
#define LISTS 4
#define LIST_AGE 120 /* transactions until lists get new names */
#define REGS 3
#define ACCOUNTS 5
#define BALANCE 1000
#define OPS_MAX 6
#define STEP 10
#define TRIES 200

enum kind { APPEND, READ, WRITE, GET, TRANSFER, AUDIT };
enum outcome { OK, FAIL, UNKNOWN, LATE };

struct op {
    enum kind kind;
    uint32_t key, to;
    int64_t value;
    int64_t a, b, c, d; /* answers: length; version, value; seq, balance, seq, balance */
    int64_t *items;     /* a read that shows something else than the first `a` elements of the list */
};

struct txn {
    int64_t start, end, id, by;
    enum outcome outcome;
    bool is_final;
    uint32_t client, op_count;
    struct op *ops;
};

struct list {
    int64_t *items;
    uint32_t count, capacity;
};

struct world {
    uint64_t random;
    struct txn *txns;
    uint32_t txn_count, txn_capacity;
    struct list *lists;
    uint32_t list_count;
    int64_t regs[REGS][2];         /* version, value */
    int64_t accounts[ACCOUNTS][2]; /* seq, balance */
    int64_t value;
    int64_t now;
    bool is_versioned, has_unknown;
    char *text;
    size_t len, capacity;
};


static void *take(void *ptr, size_t count, size_t size)
{
    ptr = realloc(ptr, count * size + 1);
    if (ptr == NULL) abort();
    return ptr;
}

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t choose(struct world *w, uint64_t below)
{
    uint64_t z = w->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* ---- good histories ---- */

static struct list *list_at(struct world *w, uint32_t n)
{
    if (n >= w->list_count) {
        w->lists = take(w->lists, n + 64, sizeof *w->lists);
        memset(w->lists + w->list_count, 0, (n + 64 - w->list_count) * sizeof *w->lists);
        w->list_count = n + 64;
    }
    return &w->lists[n];
}

static int64_t list_append(struct world *w, uint32_t n, int64_t value)
{
    struct list *list = list_at(w, n);
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 8 : list->capacity * 2;
        list->items = take(list->items, list->capacity, sizeof *list->items);
    }
    list->items[list->count++] = value;
    return list->count;
}

static struct txn *txn_add(struct world *w, uint32_t ops)
{
    if (w->txn_count == w->txn_capacity) {
        w->txn_capacity = w->txn_capacity == 0 ? 256 : w->txn_capacity * 2;
        w->txns = take(w->txns, w->txn_capacity, sizeof *w->txns);
    }
    struct txn *txn = &w->txns[w->txn_count++];
    *txn = (struct txn){ .op_count = ops, .ops = take(NULL, ops, sizeof(struct op)) };
    memset(txn->ops, 0, ops * sizeof(struct op));
    return txn;
}

static void change_run(struct world *w, uint32_t account, int64_t amount, int64_t *seq, int64_t *before)
{
    *seq = ++w->accounts[account][0];
    *before = w->accounts[account][1];
    w->accounts[account][1] += amount;
}

/* Runs it on the model, which fills in the answers. */
static void op_run(struct world *w, struct op *op)
{
    switch (op->kind) {
    case APPEND: op->a = list_append(w, op->key, op->value); break;
    case READ: op->a = list_at(w, op->key)->count; break;
    case WRITE:
        op->a = ++w->regs[op->key][0];
        op->b = w->regs[op->key][1];
        w->regs[op->key][1] = op->value;
        break;
    case GET:
        op->a = w->regs[op->key][0];
        op->b = w->regs[op->key][1];
        break;
    case TRANSFER:
        change_run(w, op->key, -op->value, &op->a, &op->b);
        change_run(w, op->to, op->value, &op->c, &op->d);
        break;
    case AUDIT:
        op->a = w->accounts[op->key][0];
        op->b = w->accounts[op->key][1];
        break;
    }
}

static struct op op_make(struct world *w)
{
    static const enum kind kinds[] = { APPEND, APPEND, READ, WRITE, GET, TRANSFER, AUDIT };
    struct op op = { .kind = kinds[choose(w, 7)], .value = ++w->value };
    if (op.kind <= READ) {
        op.key = (uint32_t)(w->txn_count / LIST_AGE * LISTS + choose(w, LISTS));
    } else if (op.kind <= GET) {
        op.key = (uint32_t)choose(w, REGS);
    } else {
        op.key = (uint32_t)choose(w, ACCOUNTS);
        op.to = (uint32_t)((op.key + 1 + choose(w, ACCOUNTS - 1)) % ACCOUNTS);
        int64_t most = w->accounts[op.key][1] < 20 ? w->accounts[op.key][1] : 20;
        if (op.kind == TRANSFER) op.value = (int64_t)choose(w, (uint64_t)most + 1);
    }
    return op;
}

/* Clients take turns, and each is done before its next turn. */
static void txn_place(struct world *w, struct txn *txn)
{
    txn->client = (uint32_t)(w->now / STEP % CLIENTS);
    txn->start = w->now - (int64_t)choose(w, STEP * 3);
    txn->end = w->now + 1 + (int64_t)choose(w, STEP * 3);
    w->now += STEP;
}

static void effect_add(struct world *w, int64_t id, enum outcome outcome, int64_t start, bool runs)
{
    struct txn *txn = txn_add(w, 1);
    txn->outcome = outcome;
    txn->by = id;
    txn->id = id + 1000000000;
    txn->client = CLIENTS;
    txn->start = start;
    txn->end = start;
    txn->ops[0] = (struct op){ .kind = APPEND, .value = ++w->value };
    txn->ops[0].key = (uint32_t)(w->txn_count / LIST_AGE * LISTS + choose(w, LISTS));
    if (runs) op_run(w, &txn->ops[0]);
}

static void txn_generate(struct world *w)
{
    uint64_t fate = choose(w, 100);
    int64_t id = (int64_t)w->txn_count + 1;
    struct txn *txn = txn_add(w, 1 + (uint32_t)choose(w, OPS_MAX - 1));
    txn->id = id;
    txn_place(w, txn);
    bool runs = true;
    if (fate < 4) {
        txn->outcome = FAIL;
        runs = false;
    } else if (fate < 12 && w->has_unknown) {
        txn->outcome = UNKNOWN;
        runs = choose(w, 2);
    }
    for (uint32_t i = 0; i < txn->op_count; i++) {
        txn->ops[i] = op_make(w);
        if (runs) op_run(w, &txn->ops[i]);
    }
    enum outcome outcome = txn->outcome;
    int64_t start = txn->start;
    if (outcome != FAIL && choose(w, 10) == 0)
        effect_add(w, id, outcome == OK ? LATE : UNKNOWN, start, runs);
    if (outcome != UNKNOWN || !runs || choose(w, 2)) return;
    /* Asked again with the same id: the first answer, in the same words. */
    struct txn *again = txn_add(w, 1), *first = &w->txns[id - 1];
    struct op *ops = take(again->ops, first->op_count, sizeof *ops);
    *again = *first;
    again->ops = memcpy(ops, first->ops, first->op_count * sizeof *ops);
    again->outcome = OK;
    txn_place(w, again);
}

static void finals_add(struct world *w)
{
    uint32_t lists = w->txn_count / LIST_AGE * LISTS + LISTS * 2;
    list_at(w, lists);
    for (uint32_t i = 0; i < lists + REGS + ACCOUNTS; i++) {
        struct txn *txn = txn_add(w, 1);
        struct op *op = &txn->ops[0];
        op->kind = i < lists ? READ : i < lists + REGS ? GET : AUDIT;
        op->key = i < lists ? i : i < lists + REGS ? i - lists : i - lists - REGS;
        op_run(w, op);
        txn->is_final = true;
    }
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){ .random = seed * 0xd1342543de82ef95u, .now = 100 };
    w->is_versioned = choose(w, 2);
    w->has_unknown = choose(w, 3) > 0;
    for (int i = 0; i < ACCOUNTS; i++) w->accounts[i][1] = BALANCE;
}

static void world_clear(struct world *w)
{
    for (uint32_t i = 0; i < w->txn_count; i++) {
        for (uint32_t j = 0; j < w->txns[i].op_count; j++) free(w->txns[i].ops[j].items);
        free(w->txns[i].ops);
    }
    for (uint32_t i = 0; i < w->list_count; i++) free(w->lists[i].items);
    free(w->txns);
    free(w->lists);
    free(w->text);
}

/* ---- text ---- */

__attribute__((format(printf, 2, 3))) static void print(struct world *w, const char *format, ...)
{
    if (w->capacity - w->len < 256) {
        w->capacity = w->capacity == 0 ? 1 << 16 : w->capacity * 2;
        w->text = take(w->text, w->capacity, 1);
    }
    va_list args;
    va_start(args, format);
    int len = vsnprintf(w->text + w->len, 256, format, args);
    va_end(args);
    if (len < 0 || len >= 256) abort();
    w->len += (size_t)len;
}

static void reg_print(struct world *w, const struct op *op)
{
    if (w->is_versioned) print(w, ",[%" PRId64 ",%" PRId64 "]", op->a, op->b);
    else print(w, ",%" PRId64, op->b);
}

static void op_print(struct world *w, const struct op *op, bool is_ok)
{
    switch (op->kind) {
    case APPEND:
        print(w, "[\"append\",\"l%u\",%" PRId64, op->key, op->value);
        if (is_ok) print(w, ",%" PRId64, op->a);
        break;
    case READ:
        print(w, "[\"read\",\"l%u\"", op->key);
        for (int64_t i = 0; i < op->a && is_ok; i++)
            print(w, "%s%" PRId64, i > 0 ? "," : ",[",
                  op->items ? op->items[i] : w->lists[op->key].items[i]);
        if (is_ok) print(w, op->a > 0 ? "]" : ",[]");
        break;
    case WRITE:
        print(w, "[\"write\",\"r%u\",%" PRId64, op->key, op->value);
        if (is_ok) reg_print(w, op);
        break;
    case GET:
        print(w, "[\"read\",\"r%u\"", op->key);
        if (is_ok) reg_print(w, op);
        break;
    case TRANSFER:
        print(w, "[\"transfer\",\"a%u\",\"a%u\",%" PRId64, op->key, op->to, op->value);
        if (is_ok)
            print(w, ",[%" PRId64 ",%" PRId64 "],[%" PRId64 ",%" PRId64 "]", op->a, op->b, op->c, op->d);
        break;
    case AUDIT:
        print(w, "[\"read\",\"a%u\"", op->key);
        if (is_ok) print(w, ",[%" PRId64 ",%" PRId64 "]", op->a, op->b);
        break;
    }
    print(w, "]");
}

static void world_print(struct world *w)
{
    static const char *const outcomes[] = { "ok", "fail x=refused", "unknown", "late" };
    for (int i = 0; i < ACCOUNTS; i++) print(w, "i a%d %d\n", i, BALANCE);
    for (uint32_t i = 0; i < w->txn_count; i++) {
        const struct txn *txn = &w->txns[i];
        if (txn->is_final) print(w, "f c=0");
        else print(w, "t c=%u s=%" PRId64 " e=%" PRId64 " id=%" PRId64, txn->client, txn->start, txn->end, txn->id);
        if (txn->by != 0) print(w, " by=%" PRId64, txn->by);
        print(w, " r=%s o=[", outcomes[txn->outcome]);
        for (uint32_t j = 0; j < txn->op_count; j++) {
            if (j > 0) print(w, ",");
            op_print(w, &txn->ops[j], txn->outcome == OK);
        }
        print(w, "]\n");
    }
}

/* ---- plants: false where the history has no place for it ---- */

struct place {
    struct txn *txn;
    struct op *op;
};

/* Any operation of a kind that was answered, from a transaction chosen at random on. */
static bool find(struct world *w, enum kind kind, bool is_final, struct place *place)
{
    uint32_t first = (uint32_t)choose(w, w->txn_count);
    for (uint32_t n = 0; n < w->txn_count; n++) {
        struct txn *txn = &w->txns[(first + n) % w->txn_count];
        if (txn->outcome != OK || txn->is_final != is_final) continue;
        for (uint32_t i = 0; i < txn->op_count; i++) {
            if (txn->ops[i].kind != kind) continue;
            *place = (struct place){ txn, &txn->ops[i] };
            return true;
        }
    }
    return false;
}

/* A read to be changed: its elements become its own. */
static bool find_list(struct world *w, bool is_final, int64_t least, struct place *place)
{
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, READ, is_final, place)) return false;
        if (place->op->a < least) continue;
        place->op->items = take(NULL, (size_t)place->op->a + 4, sizeof(int64_t));
        memcpy(place->op->items, w->lists[place->op->key].items, (size_t)place->op->a * sizeof(int64_t));
        return true;
    }
    return false;
}

/* The one transaction that was told that it appended or wrote this value. */
static struct txn *writer_of(struct world *w, enum kind kind, int64_t value)
{
    for (uint32_t i = 0; i < w->txn_count; i++)
        for (uint32_t j = 0; j < w->txns[i].op_count; j++)
            if (w->txns[i].outcome == OK && w->txns[i].ops[j].kind == kind && w->txns[i].ops[j].value == value)
                return &w->txns[i];
    return NULL;
}

/* Leaves only this operation: nothing else of the transaction hides or doubles what is planted. */
static void only(struct place *place)
{
    struct op op = *place->op;
    for (uint32_t i = 0; i < place->txn->op_count; i++)
        if (place->txn->ops[i].items != op.items) free(place->txn->ops[i].items);
    place->txn->ops[0] = op;
    place->txn->op_count = 1;
}

/* Reads only, so that it may see another time; asked once, as a second attempt may have run when the first began. */
static bool is_reader(const struct world *w, const struct txn *txn)
{
    for (uint32_t i = 0; i < w->txn_count; i++)
        if (w->txns[i].id == txn->id && &w->txns[i] != txn) return false;
    for (uint32_t i = 0; i < txn->op_count; i++)
        if (txn->ops[i].kind == APPEND || txn->ops[i].kind == WRITE || txn->ops[i].kind == TRANSFER) return false;
    return true;
}

static bool plant_swap(struct world *w)
{
    struct place p;
    if (!find_list(w, choose(w, 2), 2, &p)) return false;
    int64_t i = (int64_t)choose(w, (uint64_t)p.op->a - 1), *items = p.op->items, kept = items[i];
    /* Of two appends that nobody was told the length of, either may be the first. */
    if (writer_of(w, APPEND, kept) == NULL && writer_of(w, APPEND, items[i + 1]) == NULL) return false;
    items[i] = items[i + 1];
    items[i + 1] = kept;
    return true;
}

static bool plant_lost_last(struct world *w)
{
    struct place p;
    if (!find_list(w, true, 1, &p)) return false;
    p.op->a--;
    return writer_of(w, APPEND, p.op->items[p.op->a]) != NULL;
}

static bool plant_lost_middle(struct world *w)
{
    struct place p;
    if (!find_list(w, choose(w, 2), 3, &p)) return false;
    int64_t i = (int64_t)choose(w, (uint64_t)p.op->a - 1);
    memmove(p.op->items + i, p.op->items + i + 1, (size_t)(p.op->a - i - 1) * sizeof(int64_t));
    p.op->a--;
    return true;
}

static bool plant_double(struct world *w)
{
    struct place p;
    if (!find_list(w, choose(w, 2), 1, &p)) return false;
    p.op->items[p.op->a] = p.op->items[choose(w, (uint64_t)p.op->a)];
    p.op->a++;
    return true;
}

static bool plant_garbage(struct world *w)
{
    struct place p;
    if (!find_list(w, choose(w, 2), 0, &p)) return false;
    p.op->items[p.op->a++] = 1000000000 + (int64_t)choose(w, 1000);
    return true;
}

static bool plant_failure_seen(struct world *w)
{
    struct place p;
    if (!find(w, APPEND, false, &p) || p.txn->by != 0) return false;
    for (uint32_t i = 0; i < w->txn_count; i++) /* not what an unknown attempt with this id may have done */
        if (w->txns[i].id == p.txn->id && &w->txns[i] != p.txn) return false;
    p.txn->outcome = FAIL;
    return true;
}

static bool plant_stale_list(struct world *w)
{
    struct place p;
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, READ, false, &p)) return false;
        if (p.op->a == 0 || !is_reader(w, p.txn)) continue;
        int64_t n = (int64_t)choose(w, (uint64_t)p.op->a);
        const struct txn *writer = writer_of(w, APPEND, w->lists[p.op->key].items[n]);
        if (writer == NULL || writer->end >= p.txn->start) continue;
        only(&p);
        p.txn->ops[0].a = n;
        return true;
    }
    return false;
}

static bool plant_stale_reg(struct world *w)
{
    struct place p, q;
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, GET, false, &p) || !find(w, WRITE, false, &q)) return false;
        if (p.op->key != q.op->key || !is_reader(w, p.txn) || q.txn->end >= p.txn->start) continue;
        only(&p);
        p.txn->ops[0].a = q.op->a - 1; /* what q replaced */
        p.txn->ops[0].b = q.op->b;
        return true;
    }
    return false;
}

static bool plant_stale_audit(struct world *w)
{
    struct place p, q;
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, AUDIT, false, &p) || !find(w, TRANSFER, false, &q)) return false;
        if (p.op->key != q.op->key || !is_reader(w, p.txn) || q.txn->end >= p.txn->start) continue;
        only(&p);
        p.txn->ops[0].a = q.op->a - 1;
        p.txn->ops[0].b = q.op->b;
        return true;
    }
    return false;
}

static bool plant_lost_update(struct world *w)
{
    struct place p, q;
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, WRITE, false, &p) || !find(w, WRITE, false, &q)) return false;
        if (p.op->key != q.op->key || p.txn->id == q.txn->id || p.op->b == q.op->b) continue;
        q.op->a = p.op->a;
        q.op->b = p.op->b;
        return true;
    }
    return false;
}

static bool plant_garbage_reg(struct world *w)
{
    struct place p;
    if (!find(w, GET, choose(w, 2), &p)) return false;
    p.op->b = 1000000000;
    return true;
}

static bool plant_final_reg(struct world *w)
{
    struct place p, q;
    for (int i = 0; i < TRIES; i++) {
        if (!find(w, GET, true, &p) || !find(w, WRITE, false, &q)) return false;
        if (p.op->key != q.op->key) continue;
        p.op->a = q.op->a - 1;
        p.op->b = q.op->b;
        return true;
    }
    return false;
}

static bool plant_transfer(struct world *w, int64_t seq, int64_t before, int64_t to_seq, int64_t to_before)
{
    struct place p;
    if (!find(w, TRANSFER, false, &p)) return false;
    p.op->a += seq;
    p.op->b += before;
    p.op->c += to_seq;
    p.op->d += to_before;
    return true;
}

static bool plant_seq_gap(struct world *w) { return plant_transfer(w, 3 + (int64_t)choose(w, 40), 0, 0, 0); }
static bool plant_balance(struct world *w) { return plant_transfer(w, 0, 1, 0, 0); }
static bool plant_receiver(struct world *w) { return plant_transfer(w, 0, 0, 0, -1); }
static bool plant_receiver_seq(struct world *w) { return plant_transfer(w, 0, 0, 1, 0); }

static bool plant_final_balance(struct world *w)
{
    struct place p;
    if (!find(w, AUDIT, true, &p)) return false;
    p.op->b += 7;
    return true;
}

static bool plant_length(struct world *w)
{
    struct place p;
    if (!find(w, APPEND, false, &p)) return false;
    p.op->a++;
    return true;
}

/* An effect that never came, or came again: seen at the end. */
static bool find_effect(struct world *w, struct place *p, int64_t *at)
{
    uint32_t first = (uint32_t)choose(w, w->txn_count);
    for (uint32_t n = 0; n < w->txn_count; n++) {
        const struct txn *txn = &w->txns[(first + n) % w->txn_count];
        if (txn->outcome != LATE) continue;
        for (uint32_t i = 0; i < w->txn_count; i++) {
            p->txn = &w->txns[i];
            p->op = &p->txn->ops[0];
            if (!p->txn->is_final || p->op->kind != READ || p->op->key != txn->ops[0].key) continue;
            p->op->items = take(NULL, (size_t)p->op->a + 4, sizeof(int64_t));
            memcpy(p->op->items, w->lists[p->op->key].items, (size_t)p->op->a * sizeof(int64_t));
            *at = txn->ops[0].a - 1;
            return true;
        }
    }
    return false;
}

/* Only the final read may have seen it: another reader would be evidence of its own. */
static bool is_seen(const struct world *w, const struct op *final, int64_t at)
{
    for (uint32_t i = 0; i < w->txn_count; i++)
        for (uint32_t j = 0; j < w->txns[i].op_count; j++) {
            const struct op *op = &w->txns[i].ops[j];
            if (op != final && op->kind == READ && op->key == final->key && op->a > at) return true;
        }
    return false;
}

static bool plant_lost_message(struct world *w)
{
    struct place p;
    int64_t at;
    for (int i = 0; i < TRIES; i++) {
        if (!find_effect(w, &p, &at)) return false;
        if (at + 1 == p.op->a && !is_seen(w, p.op, at)) {
            p.op->a--;
            return true;
        }
        free(p.op->items);
        p.op->items = NULL;
    }
    return false;
}

static bool plant_message_twice(struct world *w)
{
    struct place p;
    int64_t at;
    if (!find_effect(w, &p, &at)) return false;
    p.op->items[p.op->a++] = p.op->items[at];
    return true;
}

/* New transactions at the end, on lists of their own. */
static struct txn *stage(struct world *w, uint32_t client, uint32_t ops, int64_t start, int64_t end)
{
    struct txn *txn = txn_add(w, ops);
    txn->client = CLIENTS + 1 + client;
    txn->id = 1000000 + client;
    txn->start = w->now + start;
    txn->end = w->now + end;
    return txn;
}

static struct op append_op(uint32_t key, int64_t value, int64_t length)
{
    return (struct op){ .kind = APPEND, .key = key, .value = value, .a = length };
}

/* What is read is the first `count` of the list as it is at the end. */
static struct op read_op(uint32_t key, int64_t count)
{
    return (struct op){ .kind = READ, .key = key, .a = count };
}

static uint32_t stage_lists(struct world *w, int64_t a1, int64_t a2, int64_t b1, int64_t b2)
{
    uint32_t key = w->txn_count / LIST_AGE * LISTS + LISTS * 4;
    w->now += 1000;
    list_at(w, key + 1);
    int64_t values[2][2] = { { a1, a2 }, { b1, b2 } };
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t j = 0; j < 2; j++)
            if (values[i][j] != 0) list_append(w, key + i, w->value + values[i][j]);
        struct txn *txn = txn_add(w, 1);
        txn->is_final = true;
        txn->ops[0] = read_op(key + i, list_at(w, key + i)->count);
    }
    return key;
}

static bool plant_write_skew(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 2, 0);
    struct txn *txn = stage(w, 0, 2, 0, 90);
    txn->ops[0] = read_op(key, 0);
    txn->ops[1] = append_op(key + 1, w->value + 2, 1);
    txn = stage(w, 1, 2, 1, 91);
    txn->ops[0] = read_op(key + 1, 0);
    txn->ops[1] = append_op(key, w->value + 1, 1);
    return true;
}

static bool plant_circular_reads(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 2, 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct txn *txn = stage(w, i, 2, i, 90 + i);
        txn->ops[0] = append_op(key + i, w->value + 1 + i, 1);
        txn->ops[1] = read_op(key + 1 - i, 1);
    }
    return true;
}

static bool plant_write_order(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 3, 4, 2);
    struct txn *txn = stage(w, 0, 2, 0, 90);
    txn->ops[0] = append_op(key, w->value + 1, 1);
    txn->ops[1] = append_op(key + 1, w->value + 2, 2);
    txn = stage(w, 1, 2, 1, 91);
    txn->ops[0] = append_op(key, w->value + 3, 2);
    txn->ops[1] = append_op(key + 1, w->value + 4, 1);
    return true;
}

static bool plant_long_fork(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 2, 0);
    for (uint32_t i = 0; i < 2; i++) {
        stage(w, i, 1, i, 90 + i)->ops[0] = append_op(key + i, w->value + 1 + i, 1);
        struct txn *txn = stage(w, 2 + i, 2, 2, 92);
        txn->ops[0] = read_op(key, i == 0);
        txn->ops[1] = read_op(key + 1, i);
    }
    return true;
}

static bool plant_fractured(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 2, 0);
    struct txn *txn = stage(w, 0, 2, 0, 90);
    for (uint32_t i = 0; i < 2; i++) txn->ops[i] = append_op(key + i, w->value + 1 + i, 1);
    txn = stage(w, 1, 2, 1, 91);
    for (uint32_t i = 0; i < 2; i++) txn->ops[i] = read_op(key + i, i);
    return true;
}

static bool plant_intermediate(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 2, 0, 0);
    struct txn *txn = stage(w, 0, 2, 0, 90);
    for (uint32_t i = 0; i < 2; i++) txn->ops[i] = append_op(key, w->value + 1 + i, 1 + i);
    stage(w, 1, 1, 1, 91)->ops[0] = read_op(key, 1);
    return true;
}

static bool plant_half(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 0, 0);
    struct txn *txn = stage(w, 0, 2, 0, 90);
    txn->outcome = UNKNOWN;
    for (uint32_t i = 0; i < 2; i++) txn->ops[i] = append_op(key + i, w->value + 1 + i, 1);
    return true;
}

static bool plant_realtime(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 0, 0);
    stage(w, 0, 1, 0, 10)->ops[0] = append_op(key, w->value + 1, 1);
    stage(w, 1, 1, 11 + (int64_t)choose(w, 3), 90)->ops[0] = read_op(key, 0);
    return true;
}

static bool plant_own(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 2, 0, 0);
    stage(w, 0, 1, 0, 10)->ops[0] = append_op(key, w->value + 1, 1);
    struct txn *txn = stage(w, 1, 2, 20, 90);
    txn->ops[0] = append_op(key, w->value + 2, 2);
    txn->ops[1] = read_op(key, 1);
    return true;
}

static bool plant_same_id(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 2, 0, 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct txn *txn = stage(w, 0, 1, 20 * i, 10 + 20 * i);
        txn->ops[0] = append_op(key, w->value + 1 + i, 1 + i);
    }
    return true;
}

static bool plant_effect_first(struct world *w)
{
    uint32_t key = stage_lists(w, 1, 0, 2, 0);
    struct txn *txn = stage(w, 0, 2, 20, 90); /* it saw what only its own message was to do */
    txn->ops[0] = read_op(key + 1, 1);
    txn->ops[1] = append_op(key, w->value + 1, 1);
    int64_t id = txn->id;
    txn = stage(w, 1, 1, 20, 20);
    txn->ops[0] = append_op(key + 1, w->value + 2, 1);
    txn->outcome = LATE;
    txn->by = id;
    return true;
}

#define PLANT(name) { #name, plant_##name }
static const struct plant {
    const char *name;
    bool (*run)(struct world *w);
} plants[] = {
    PLANT(swap),          PLANT(lost_last),    PLANT(lost_middle),   PLANT(double),        PLANT(garbage),
    PLANT(failure_seen),  PLANT(stale_list),   PLANT(stale_reg),     PLANT(stale_audit),   PLANT(lost_update),
    PLANT(garbage_reg),   PLANT(final_reg),    PLANT(seq_gap),       PLANT(balance),       PLANT(receiver),
    PLANT(receiver_seq),  PLANT(final_balance), PLANT(length),       PLANT(lost_message),  PLANT(message_twice),
    PLANT(write_skew),    PLANT(circular_reads), PLANT(write_order), PLANT(long_fork),     PLANT(fractured),
    PLANT(intermediate),  PLANT(half),         PLANT(realtime),      PLANT(own),           PLANT(same_id),
    PLANT(effect_first),
};
#define PLANT_COUNT (sizeof plants / sizeof plants[0])

/* ---- the program ---- */

struct options {
    uint64_t seed, txns, count;
    const char *checker;
    const struct plant *plant;
    bool is_planted;
};

/* False where the plant found no place. */
static bool world_make(struct world *w, const struct options *options, uint64_t seed, const struct plant *plant)
{
    world_init(w, seed);
    while (w->txn_count < options->txns) txn_generate(w);
    finals_add(w);
    bool is_made = plant == NULL || plant->run(w);
    if (is_made) world_print(w);
    return is_made;
}

static int run_checker(const char *path, const char *text, size_t len)
{
    char *argv[] = { (char *)(uintptr_t)path, (char *)(uintptr_t) "-", NULL };
    int ends[2], status;
    pid_t child;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (pipe2(ends, 0) != 0) abort();
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", 1, 0);
    if (posix_spawn(&child, path, &actions, NULL, argv, environ) != 0) {
        perror(path);
        exit(2);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(ends[1], text + at, len - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    close(ends[1]);
    if (waitpid(child, &status, 0) != child) abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int run_many(const struct options *options)
{
    uint64_t wrong = 0, done = 0, seed = options->seed;
    uint64_t per_plant[PLANT_COUNT] = { 0 };
    for (; done < options->count; seed++) {
        struct world w;
        size_t kind = (size_t)(seed % PLANT_COUNT);
        const struct plant *plant = options->is_planted ? &plants[kind] : NULL;
        if (world_make(&w, options, seed, plant)) {
            int code = run_checker(options->checker, w.text, w.len);
            done++;
            per_plant[kind]++;
            if (code != (plant != NULL)) {
                wrong++;
                printf("FAIL seed %" PRIu64 "%s%s: exit code %d; again: check_generate --seed %" PRIu64 " --txns %" PRIu64
                       "%s%s | weir-check-history -\n", seed, plant ? " plant " : "", plant ? plant->name : "", code,
                       seed, options->txns, plant ? " --plant " : "", plant ? plant->name : "");
            }
        }
        world_clear(&w);
    }
    uint64_t least = per_plant[0];
    for (size_t i = 0; i < PLANT_COUNT; i++)
        if (per_plant[i] < least) least = per_plant[i];
    if (options->is_planted)
        printf("%" PRIu64 " histories with one of %zu plants, each at least %" PRIu64 " times: %" PRIu64 " missed\n",
               done, PLANT_COUNT, least, wrong);
    else
        printf("%" PRIu64 " good histories of %" PRIu64 " transactions: %" PRIu64 " false alarms\n", done,
               options->txns, wrong);
    return wrong > 0;
}

static bool arguments(struct options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--planted") == 0) {
            options->is_planted = true;
            continue;
        }
        if (value == NULL) return false;
        uint64_t number = strtoull(value, NULL, 10);
        if (strcmp(argv[i], "--seed") == 0) options->seed = number;
        else if (strcmp(argv[i], "--txns") == 0) options->txns = number;
        else if (strcmp(argv[i], "--count") == 0) options->count = number;
        else if (strcmp(argv[i], "--checker") == 0) options->checker = value;
        else if (strcmp(argv[i], "--plant") != 0) return false;
        for (size_t j = 0; j < PLANT_COUNT && strcmp(argv[i], "--plant") == 0; j++)
            if (strcmp(value, plants[j].name) == 0) options->plant = &plants[j];
        if (strcmp(argv[i], "--plant") == 0 && options->plant == NULL) return false;
        i++;
    }
    return true;
}

int main(int argc, char **argv)
{
    struct options options = { .seed = 1, .txns = 120, .count = 1000 };
    struct world w;
    if (!arguments(&options, argc, argv)) {
        fprintf(stderr, "usage: check_generate [--seed N] [--txns N] [--plant KIND]\n"
                        "       check_generate --checker FILE [--seed N] [--count N] [--txns N] [--planted]\n");
        return 64;
    }
    if (options.checker != NULL) return run_many(&options);
    if (!world_make(&w, &options, options.seed, options.plant)) {
        fprintf(stderr, "this history has no place for that plant\n");
        return 3;
    }
    if (fwrite(w.text, 1, w.len, stdout) != w.len || fflush(stdout) != 0) return 1;
    world_clear(&w);
    return 0;
}
