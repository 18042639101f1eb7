/*
 * work.c - see work.h. The mix is that of the simulator's run (tests/sim/clients.c).
 * SPDX-License-Identifier: MIT
 */
#include "work.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"

/* ---- text ---- */

static void text_reserve(struct text *text, size_t len)
{
    while (text->len + len > text->capacity) {
        text->capacity = text->capacity == 0 ? 1 << 16 : text->capacity * 2;
        text->ptr = realloc(text->ptr, text->capacity);
        if (text->ptr == NULL) abort();
    }
}

void text_add(struct text *text, const void *bytes, size_t len)
{
    text_reserve(text, len);
    memcpy(text->ptr + text->len, bytes, len);
    text->len += len;
}

void text_print(struct text *text, const char *format, ...)
{
    va_list args;
    text_reserve(text, 512);
    va_start(args, format);
    int len = vsnprintf(text->ptr + text->len, 512, format, args);
    va_end(args);
    if (len < 0 || len >= 512) abort();
    text->len += (size_t)len;
}

uint64_t work_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- choices ---- */

/* SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t choose(uint64_t *state, uint64_t below)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static struct weir_str name_set(char *name, char kind, uint64_t n)
{
    int len = snprintf(name, 24, "%c%" PRIu64, kind, n);
    return (struct weir_str){ name, (size_t)len };
}

/* A source's list, by its source and age: its name begins as one of a list does. */
static struct weir_str tally_name(char *name, uint64_t source, uint64_t age)
{
    int len = snprintf(name, 24, "lt%" PRIu64 ".%" PRIu64, source, age);
    return (struct weir_str){ name, (size_t)len };
}

static int64_t kind_choose(uint64_t *state)
{
    static const struct {
        unsigned char share, kind;
    } mix[] = { { 17, OP_APPEND }, { 12, OP_READ },    { 12, OP_WRITE },   { 9, OP_GET },
                { 21, OP_TRANSFER }, { 6, OP_AUDIT },  { 6, OP_CYCLE },    { 4, STEP_COUNT },
                { 4, STEP_SEND },  { 3, STEP_LATER },  { 3, STEP_BOTH },   { 2, STEP_TURN },
                { 1, STEP_WALK } };
    uint64_t n = choose(state, 100);
    size_t i = 0;
    for (; n >= mix[i].share; i++) n -= mix[i].share;
    return mix[i].kind;
}

static bool kind_is_read(int64_t kind)
{
    return kind == OP_READ || kind == OP_GET || kind == OP_AUDIT || kind == STEP_BOTH || kind == STEP_WALK;
}

static void op_accounts(struct work *work, size_t i, bool hot, uint64_t *state)
{
    struct op *op = &work->ops[i];
    uint64_t age = work->number / WORK_ACCOUNT_AGE * WORK_ACCOUNTS;
    uint64_t from = choose(state, WORK_ACCOUNTS), to = choose(state, WORK_ACCOUNTS - 1);
    if (hot && choose(state, 2)) from = 0;
    else if (hot && from > 0) to = 0;
    op->key = name_set(work->names[i][0], 'a', age + from);
    if (op->kind != OP_AUDIT) op->to = name_set(work->names[i][1], 'a', age + (to >= from ? to + 1 : to));
    op->value = op->kind == OP_CYCLE ? 1 : (int64_t)choose(state, 100) + 1;
}

static void op_make(struct work *work, size_t i, int64_t kind, uint64_t *state)
{
    struct op *op = &work->ops[i];
    char *name = work->names[i][0];
    bool hot = choose(state, 3) == 0;
    *op = (struct op){ .kind = kind, .value = (int64_t)(work->number * 16 + i + 1) };
    op->to.ptr = "";
    uint64_t lists = work->number / WORK_LIST_AGE * WORK_LISTS;
    switch (kind) {
    case OP_APPEND:
    case OP_READ:
    case STEP_LATER: op->key = name_set(name, 'l', lists + (hot ? 0 : choose(state, WORK_LISTS))); break;
    case STEP_SEND:
        op->key = name_set(name, 'l', lists + choose(state, WORK_LISTS));
        op->to = name_set(work->names[i][1], 'l', lists + (hot ? 0 : choose(state, WORK_LISTS)));
        break;
    case OP_WRITE:
    case OP_GET:
        op->key = name_set(name, 'r', work->number / WORK_REG_AGE * WORK_REGS + (hot ? 0 : choose(state, WORK_REGS)));
        break;
    case STEP_COUNT:
        op->key = tally_name(name, work->number % WORK_SOURCES, work->number / WORK_TALLY_AGE);
        break;
    case STEP_TURN:
    case STEP_WALK: op->key = name_set(name, 'g', work->number / WORK_RING_AGE); break;
    default: op_accounts(work, i, hot, state);
    }
}

void work_make(struct work *work, uint64_t seed, uint64_t number)
{
    static const enum op_kind kinds[] = { OP_APPEND, OP_TRANSFER, OP_AUDIT, OP_READ, OP_GET };
    uint64_t state = seed * 0xd1342543de82ef95u ^ number * 0xff51afd7ed558ccdu;
    uint64_t entry = choose(&state, 100);
    *work = (struct work){ .number = number, .count = 1 };
    if (entry < 28) work->entry = ENTRY_TRANSFER;
    else if (entry < 33) work->entry = ENTRY_AUDIT;
    else if (entry < 35) work->entry = ENTRY_READ;
    else if (entry < 37) work->entry = ENTRY_GET;
    else if (entry < 45) work->entry = ENTRY_LOOK;
    if (work->entry != ENTRY_RUN && work->entry != ENTRY_LOOK) {
        op_make(work, 0, (int64_t)kinds[work->entry], &state);
    } else {
        work->count = 1 + choose(&state, WORK_OPS_MAX);
        for (size_t i = 0; i < work->count; i++) {
            int64_t kind = kind_choose(&state);
            while (work->entry == ENTRY_LOOK && !kind_is_read(kind)) kind = kind_choose(&state);
            op_make(work, i, kind, &state);
        }
    }
    work->has_id = work->entry <= ENTRY_TRANSFER && choose(&state, 4) == 0;
    snprintf(work->id, sizeof work->id, "h%" PRIu64 "-%" PRIu64, seed, number);
}

bool work_make_final(struct work *work, uint64_t numbers, uint64_t n)
{
    static const struct {
        uint64_t age, width;
        enum entry entry;
        int64_t op;
        char kind;
    } reads[] = { { WORK_LIST_AGE, WORK_LISTS, ENTRY_READ, OP_READ, 'l' },
                  { WORK_REG_AGE, WORK_REGS, ENTRY_GET, OP_GET, 'r' },
                  { WORK_ACCOUNT_AGE, WORK_ACCOUNTS, ENTRY_AUDIT, OP_AUDIT, 'a' },
                  { WORK_TALLY_AGE, WORK_SOURCES, ENTRY_TALLY, STEP_TALLY, 't' },
                  { WORK_RING_AGE, 1, ENTRY_LOOK, STEP_WALK, 'g' } };
    *work = (struct work){ .number = n, .count = 1, .is_final = true };
    struct op *op = &work->ops[0];
    op->to.ptr = "";
    for (size_t i = 0; i < sizeof reads / sizeof reads[0]; i++) {
        uint64_t count = (numbers / reads[i].age + 1) * reads[i].width;
        if (n >= count) {
            n -= count;
            continue;
        }
        work->entry = reads[i].entry;
        op->kind = reads[i].op;
        op->key = reads[i].kind == 't' ? tally_name(work->names[0][0], n % WORK_SOURCES, n / WORK_SOURCES)
                                       : name_set(work->names[0][0], reads[i].kind, n);
        return true;
    }
    return false;
}

const char *work_judge(const struct work *work, const struct op_result *results)
{
    for (size_t i = 0; i < work->count; i++)
        if ((work->ops[i].kind == STEP_TURN || work->ops[i].kind == STEP_WALK) && results[i].a != HISTORY_RING)
            return "the ring is broken";
    return NULL;
}

unsigned work_spread(const struct work *work, unsigned shards)
{
    uint64_t mask = 0;
    for (size_t i = 0; i < work->count; i++) {
        const struct op *op = &work->ops[i];
        mask |= UINT64_C(1) << (hash64(0, op->key.ptr, op->key.len) % 256 % shards);
        if (op->to.len > 0) mask |= UINT64_C(1) << (hash64(0, op->to.ptr, op->to.len) % 256 % shards);
    }
    return (unsigned)__builtin_popcountll(mask);
}

/* ---- lines ---- */

#define KEY(name) (int)(name).len, (name).ptr

static void list_print(struct text *text, const struct weir_list *items)
{
    const int64_t *item = items->items;
    text_print(text, ",[");
    for (size_t i = 0; i < items->count; i++) text_print(text, "%s%" PRId64, i > 0 ? "," : "", item[i]);
    text_print(text, "]");
}

static void pair_print(struct text *text, int64_t a, int64_t b)
{
    text_print(text, ",[%" PRId64 ",%" PRId64 "]", a, b);
}

/* False where the checker has no word for it: a ring proves itself. */
static bool step_print(struct text *text, const struct op *op, const struct op_result *r)
{
    switch ((enum step_kind)op->kind) {
    case STEP_COUNT:
        text_print(text, "[\"append\",\"%.*s\",%" PRId64, KEY(op->key), op->value);
        if (r) text_print(text, ",%" PRId64, r->a);
        break;
    case STEP_TALLY:
        text_print(text, "[\"read\",\"%.*s\"", KEY(op->key));
        if (r) list_print(text, &r->items);
        break;
    case STEP_SEND: text_print(text, "[\"send\",\"%.*s\",%" PRId64, KEY(op->to), op->value); break;
    case STEP_LATER: text_print(text, "[\"send\",\"%.*s\",%" PRId64, KEY(op->key), op->value); break;
    case STEP_BOTH:
        text_print(text, "[\"read\",\"%.*s\"", KEY(op->key));
        if (r) pair_print(text, r->a, r->b);
        text_print(text, "],[\"read\",\"%.*s\"", KEY(op->to));
        if (r) pair_print(text, r->c, r->d);
        break;
    case STEP_TURN:
    case STEP_WALK: return false;
    }
    text_print(text, "]");
    return true;
}

static bool op_print(struct text *text, const struct op *op, const struct op_result *r)
{
    if (op->kind > OP_CYCLE) return step_print(text, op, r);
    switch ((enum op_kind)op->kind) {
    case OP_APPEND:
    case OP_WRITE:
        text_print(text, "[\"%s\",\"%.*s\",%" PRId64, op->kind == OP_APPEND ? "append" : "write", KEY(op->key),
                   op->value);
        if (r) text_print(text, ",%" PRId64, r->a);
        break;
    case OP_READ:
        text_print(text, "[\"read\",\"%.*s\"", KEY(op->key));
        if (r) list_print(text, &r->items);
        break;
    case OP_GET:
        text_print(text, "[\"read\",\"%.*s\"", KEY(op->key));
        if (r) text_print(text, ",%" PRId64, r->a);
        break;
    case OP_AUDIT:
        text_print(text, "[\"read\",\"%.*s\"", KEY(op->key));
        if (r) pair_print(text, r->a, r->b);
        break;
    case OP_TRANSFER:
    case OP_CYCLE:
        text_print(text, "[\"transfer\",\"%.*s\",\"%.*s\",%" PRId64, KEY(op->key), KEY(op->to), op->value);
        if (r) pair_print(text, r->a, r->b);
        if (r) pair_print(text, r->c, r->d);
        if (op->kind == OP_TRANSFER) break;
        text_print(text, "],[\"deposit\",\"%.*s\",0", KEY(op->key));
        if (r) pair_print(text, r->a + 1, r->b - op->value);
        break;
    }
    text_print(text, "]");
    return true;
}

void work_line(struct text *text, const struct work *work, const struct seen *seen,
               const struct op_result *results)
{
    text_print(text, "%c c=%u s=%" PRIu64 " e=%" PRIu64, work->is_final ? 'f' : 't', seen->client, seen->start,
               seen->end);
    if (work->has_id) text_print(text, " id=%s", work->id);
    text_print(text, " shards=%u r=%s", work_spread(work, seen->shards), seen->outcome);
    if (seen->code) text_print(text, " x=%s", seen->code);
    text_print(text, " o=[");
    bool is_first = true;
    for (size_t i = 0; i < work->count; i++) {
        size_t len = text->len;
        if (!is_first) text_print(text, ",");
        if (op_print(text, &work->ops[i], results ? &results[i] : NULL)) is_first = false;
        else text->len = len;
    }
    text_print(text, "]\n");
}

void work_initial(struct text *text, uint64_t numbers)
{
    uint64_t count = (numbers / WORK_ACCOUNT_AGE + 1) * WORK_ACCOUNTS;
    for (uint64_t i = 0; i < count; i++) text_print(text, "i a%" PRIu64 " %d\n", i, HISTORY_BALANCE);
}
