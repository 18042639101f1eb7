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

static enum op_kind kind_choose(uint64_t *state)
{
    uint64_t kind = choose(state, 100);
    if (kind < 20) return OP_APPEND;
    if (kind < 35) return OP_READ;
    if (kind < 50) return OP_WRITE;
    if (kind < 60) return OP_GET;
    if (kind < 85) return OP_TRANSFER;
    return kind < 92 ? OP_AUDIT : OP_CYCLE;
}

static void op_make(struct work *work, size_t i, enum op_kind kind, uint64_t *state)
{
    struct op *op = &work->ops[i];
    bool hot = choose(state, 3) == 0;
    *op = (struct op){ .kind = kind, .value = (int64_t)(work->number * 16 + i + 1) };
    op->to.ptr = "";
    if (kind == OP_APPEND || kind == OP_READ) {
        uint64_t age = work->number / WORK_LIST_AGE;
        op->key = name_set(work->names[i][0], 'l', age * WORK_LISTS + (hot ? 0 : choose(state, WORK_LISTS)));
    } else if (kind == OP_WRITE || kind == OP_GET) {
        op->key = name_set(work->names[i][0], 'r', hot ? 0 : choose(state, WORK_REGS));
    } else {
        uint64_t from = choose(state, WORK_ACCOUNTS), to = choose(state, WORK_ACCOUNTS - 1);
        if (hot && choose(state, 2)) from = 0;
        else if (hot && from > 0) to = 0;
        op->key = name_set(work->names[i][0], 'a', from);
        if (kind != OP_AUDIT) op->to = name_set(work->names[i][1], 'a', to >= from ? to + 1 : to);
        op->value = kind == OP_CYCLE ? 1 : (int64_t)choose(state, 60) + 1;
    }
}

void work_make(struct work *work, uint64_t seed, uint64_t number)
{
    static const enum op_kind kinds[] = { OP_APPEND, OP_TRANSFER, OP_AUDIT, OP_READ, OP_GET };
    uint64_t state = seed * 0xd1342543de82ef95u ^ number * 0xff51afd7ed558ccdu;
    uint64_t entry = choose(&state, 100);
    *work = (struct work){ .number = number, .count = 1 };
    if (entry < 30) work->entry = ENTRY_TRANSFER;
    else if (entry < 36) work->entry = ENTRY_AUDIT;
    else if (entry < 38) work->entry = ENTRY_READ;
    else if (entry < 40) work->entry = ENTRY_GET;
    if (work->entry != ENTRY_RUN) {
        op_make(work, 0, kinds[work->entry], &state);
    } else {
        work->count = 1 + choose(&state, WORK_OPS_MAX);
        for (size_t i = 0; i < work->count; i++) op_make(work, i, kind_choose(&state), &state);
    }
    work->has_id = work->entry <= ENTRY_TRANSFER && choose(&state, 4) == 0;
    snprintf(work->id, sizeof work->id, "h%" PRIu64 "-%" PRIu64, seed, number);
}

bool work_make_final(struct work *work, uint64_t numbers, uint64_t n)
{
    uint64_t lists = (numbers / WORK_LIST_AGE + 1) * WORK_LISTS;
    *work = (struct work){ .number = n, .count = 1, .is_final = true };
    struct op *op = &work->ops[0];
    op->to.ptr = "";
    if (n < lists) {
        work->entry = ENTRY_READ;
        op->kind = OP_READ;
        op->key = name_set(work->names[0][0], 'l', n);
    } else if (n < lists + WORK_REGS) {
        work->entry = ENTRY_GET;
        op->kind = OP_GET;
        op->key = name_set(work->names[0][0], 'r', n - lists);
    } else if (n < lists + WORK_REGS + WORK_ACCOUNTS) {
        work->entry = ENTRY_AUDIT;
        op->kind = OP_AUDIT;
        op->key = name_set(work->names[0][0], 'a', n - lists - WORK_REGS);
    } else {
        return false;
    }
    return true;
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

static void op_print(struct text *text, const struct op *op, const struct op_result *r)
{
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
        if (r) text_print(text, ",[%" PRId64 ",%" PRId64 "]", r->a, r->b);
        break;
    case OP_TRANSFER:
    case OP_CYCLE:
        text_print(text, "[\"transfer\",\"%.*s\",\"%.*s\",%" PRId64, KEY(op->key), KEY(op->to), op->value);
        if (r) text_print(text, ",[%" PRId64 ",%" PRId64 "],[%" PRId64 ",%" PRId64 "]", r->a, r->b, r->c, r->d);
        if (op->kind == OP_TRANSFER) break;
        text_print(text, "],[\"deposit\",\"%.*s\",0", KEY(op->key));
        if (r) text_print(text, ",[%" PRId64 ",%" PRId64 "]", r->a + 1, r->b - op->value);
        break;
    }
    text_print(text, "]");
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
    for (size_t i = 0; i < work->count; i++) {
        if (i > 0) text_print(text, ",");
        op_print(text, &work->ops[i], results ? &results[i] : NULL);
    }
    text_print(text, "]\n");
}

void work_initial(struct text *text)
{
    for (int i = 0; i < WORK_ACCOUNTS; i++) text_print(text, "i a%d %d\n", i, HISTORY_BALANCE);
}
