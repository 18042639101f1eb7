/*
 * reply.c - see reply.h.
 * SPDX-License-Identifier: MIT
 */
#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- commands ---- */

static const char *const op_words[] = { "append", "read", "write", "get", "transfer", "audit", "cycle" };

static void bulk_add(struct text *text, const char *bytes, size_t len)
{
    text_print(text, "$%zu\r\n", len);
    text_add(text, bytes, len);
    text_add(text, "\r\n", 2);
}

static void word_add(struct text *text, const char *word)
{
    bulk_add(text, word, strlen(word));
}

static void ops_add(struct text *text, const struct work *work)
{
    char json[2048];
    size_t len = 0;
    for (size_t i = 0; i < work->count; i++) {
        const struct op *op = &work->ops[i];
        len += (size_t)snprintf(json + len, sizeof json - len,
                                "%c{\"kind\":\"%s\",\"key\":\"%s\",\"to\":\"%s\",\"value\":%" PRId64 "}",
                                i == 0 ? '[' : ',', op_words[op->kind], work->names[i][0], work->names[i][1],
                                op->value);
    }
    json[len++] = ']';
    bulk_add(text, json, len);
}

void command_add(struct text *text, const struct work *work)
{
    static const char *const types[] = { "work", "account", "account", "list", "reg" };
    static const char *const handlers[] = { "run", "transfer", "audit", "read", "get" };
    int args = work->entry == ENTRY_RUN ? 1 : work->entry == ENTRY_TRANSFER ? 2 : 0;
    char amount[24];
    text_print(text, "*%d\r\n", 4 + args + work->has_id);
    word_add(text, work->has_id ? "CALL.ONCE" : "CALL");
    if (work->has_id) word_add(text, work->id);
    word_add(text, types[work->entry]);
    word_add(text, work->entry == ENTRY_RUN ? "-" : work->names[0][0]);
    word_add(text, handlers[work->entry]);
    if (work->entry == ENTRY_RUN) ops_add(text, work);
    if (work->entry == ENTRY_TRANSFER) {
        snprintf(amount, sizeof amount, "%" PRId64, work->ops[0].value);
        word_add(text, work->names[0][1]);
        word_add(text, amount);
    }
}

/* ---- answers ---- */

struct cursor {
    const char *at, *end;
    bool is_bad;
};

/* The number of the line at `at`, which begins with `kind`. */
static int64_t take_head(struct cursor *cursor, char kind)
{
    char *stop;
    if (cursor->is_bad || cursor->at >= cursor->end || *cursor->at != kind) {
        cursor->is_bad = true;
        return 0;
    }
    int64_t n = strtoll(cursor->at + 1, &stop, 10); /* the line's end was found before: it stops there */
    if (stop == cursor->at + 1 || *stop != '\r') cursor->is_bad = true;
    cursor->at = stop + 2;
    return n;
}

long reply_len(const char *bytes, size_t len)
{
    uint64_t left = 1;
    size_t at = 0;
    while (left > 0) {
        const char *stop = at < len ? memchr(bytes + at, '\n', len - at) : NULL;
        if (stop == NULL) return 0;
        char kind = bytes[at];
        long n = strtol(bytes + at + 1, NULL, 10);
        at = (size_t)(stop - bytes) + 1;
        left--;
        if (kind == '$' && n >= 0) at += (size_t)n + 2;
        else if (kind == '*' && n > 0) left += (uint64_t)n;
        else if (strchr(":+-$*", kind) == NULL) return -1;
        if (at > len) return 0;
    }
    return (long)at;
}

static void take_list(struct cursor *cursor, struct op_result *result, int64_t *room, size_t *used)
{
    int64_t count = take_head(cursor, '*');
    if (cursor->is_bad || count < 0 || *used + (size_t)count > REPLY_ITEMS_MAX) {
        cursor->is_bad = true;
        return;
    }
    result->items = (struct weir_list){ room + *used, (size_t)count };
    for (int64_t i = 0; i < count; i++) room[(*used)++] = take_head(cursor, ':');
}

/* A record: names and values in turn. */
static void take_record(struct cursor *cursor, struct op_result *result, int64_t *room, size_t *used)
{
    int64_t count = take_head(cursor, '*');
    for (int64_t i = 0; i < count / 2 && !cursor->is_bad; i++) {
        int64_t len = take_head(cursor, '$');
        if (cursor->is_bad) return;
        char first = *cursor->at;
        cursor->at += len + 2;
        if (first == 'i') {
            take_list(cursor, result, room, used);
            continue;
        }
        int64_t n = take_head(cursor, ':');
        if (first == 'a') result->a = n;
        if (first == 'b') result->b = n;
        if (first == 'c') result->c = n;
        if (first == 'd') result->d = n;
    }
}

static void error_read(struct reply *reply, const char *bytes, size_t len)
{
    snprintf(reply->line, sizeof reply->line, "%.*s", (int)(len - 3), bytes + 1);
    const char *word = reply->line;
    if (strncmp(word, "APPERR ", 7) == 0) word += 7;
    snprintf(reply->word, sizeof reply->word, "%.*s", (int)strcspn(word, " "), word);
}

bool reply_read(struct reply *reply, const struct work *work, const char *bytes, size_t len)
{
    static int64_t room[REPLY_ITEMS_MAX];
    size_t used = 0;
    struct cursor cursor = { bytes, bytes + len, false };
    memset(reply->results, 0, sizeof reply->results);
    reply->is_error = bytes[0] == '-';
    if (reply->is_error) {
        error_read(reply, bytes, len);
        return true;
    }
    switch (work->entry) {
    case ENTRY_RUN:
        if (take_head(&cursor, '*') != (int64_t)work->count) return false;
        for (size_t i = 0; i < work->count; i++) take_record(&cursor, &reply->results[i], room, &used);
        break;
    case ENTRY_TRANSFER:
    case ENTRY_AUDIT: take_record(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_READ: take_list(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_GET: reply->results[0].a = take_head(&cursor, ':'); break;
    }
    return !cursor.is_bad && cursor.at == cursor.end;
}
