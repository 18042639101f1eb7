/*
 * reply.c - see reply.h.
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- commands ---- */

static const char *const op_words[] = { "append", "read", "write", "get", "transfer", "audit", "cycle", "count",
                                       "tally",  "send", "later", "both", "turn", "walk" };
static const char *const types[ENTRY_COUNT] = { "work", "account", "account", "list", "reg", "tally", "work" };
static const char *const handlers[ENTRY_COUNT] = { "run", "transfer", "audit", "read", "get", "read", "look" };

static bool is_service(const struct work *work)
{
    return work->entry == ENTRY_RUN || work->entry == ENTRY_LOOK;
}

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

/* The one argument of the service, as JSON. */
static size_t ops_json(char *json, size_t size, const struct work *work)
{
    size_t len = 0;
    for (size_t i = 0; i < work->count; i++) {
        const struct op *op = &work->ops[i];
        len += (size_t)snprintf(json + len, size - len,
                                "%c{\"kind\":\"%s\",\"key\":\"%s\",\"to\":\"%s\",\"value\":%" PRId64 "}",
                                i == 0 ? '[' : ',', op_words[op->kind], work->names[i][0], work->names[i][1],
                                op->value);
    }
    json[len++] = ']';
    return len;
}

void command_add(struct text *text, const struct work *work)
{
    int args = is_service(work) ? 1 : work->entry == ENTRY_TRANSFER ? 2 : 0;
    char amount[24], json[2048];
    text_print(text, "*%d\r\n", 4 + args + work->has_id);
    word_add(text, work->has_id ? "CALL.ONCE" : "CALL");
    if (work->has_id) word_add(text, work->id);
    word_add(text, types[work->entry]);
    word_add(text, is_service(work) ? "-" : work->names[0][0]);
    word_add(text, handlers[work->entry]);
    if (is_service(work)) bulk_add(text, json, ops_json(json, sizeof json, work));
    if (work->entry == ENTRY_TRANSFER) {
        snprintf(amount, sizeof amount, "%" PRId64, work->ops[0].value);
        word_add(text, work->names[0][1]);
        word_add(text, amount);
    }
}

void http_add(struct text *text, const struct work *work)
{
    char body[2048] = "[";
    size_t len = 1;
    if (is_service(work)) len += ops_json(body + 1, sizeof body - 2, work);
    if (work->entry == ENTRY_TRANSFER)
        len += (size_t)snprintf(body + 1, sizeof body - 2, "\"%s\",%" PRId64, work->names[0][1], work->ops[0].value);
    body[len++] = ']';
    bool is_get = work->entry == ENTRY_AUDIT || work->entry == ENTRY_READ || work->entry == ENTRY_GET ||
                  work->entry == ENTRY_TALLY;
    if (is_service(work)) text_print(text, "POST /work/%s HTTP/1.1\r\nHost: localhost\r\n", handlers[work->entry]);
    else
        text_print(text, "%s /%s/%s/%s HTTP/1.1\r\nHost: localhost\r\n", is_get ? "GET" : "POST", types[work->entry],
                   work->names[0][0], handlers[work->entry]);
    if (work->has_id) text_print(text, "Idempotency-Key: %s\r\n", work->id);
    if (!is_get) text_print(text, "Content-Type: application/json\r\nContent-Length: %zu\r\n", len);
    text_print(text, "\r\n");
    if (!is_get) text_add(text, body, len);
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
    case ENTRY_LOOK:
        if (take_head(&cursor, '*') != (int64_t)work->count) return false;
        for (size_t i = 0; i < work->count; i++) take_record(&cursor, &reply->results[i], room, &used);
        break;
    case ENTRY_TRANSFER:
    case ENTRY_AUDIT: take_record(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_TALLY:
    case ENTRY_READ: take_list(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_GET: reply->results[0].a = take_head(&cursor, ':'); break;
    }
    return !cursor.is_bad && cursor.at == cursor.end;
}

/* ---- answers over HTTP ---- */

static const char *http_body(const char *bytes, size_t len, size_t *body_len)
{
    const char *stop = memmem(bytes, len, "\r\n\r\n", 4);
    if (stop == NULL) return NULL;
    *body_len = 0;
    for (const char *line = bytes; line < stop; line = (const char *)memchr(line, '\n', (size_t)(stop + 2 - line)) + 1)
        if (strncasecmp(line, "content-length:", 15) == 0) *body_len = strtoul(line + 15, NULL, 10);
    return stop + 4;
}

long http_len(const char *bytes, size_t len)
{
    size_t body_len;
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) != 0) return -1;
    const char *body = http_body(bytes, len, &body_len);
    if (body == NULL || (size_t)(bytes + len - body) < body_len) return 0;
    return (long)(body - bytes) + (long)body_len;
}

static bool json_take(struct cursor *cursor, char wanted)
{
    if (cursor->is_bad || cursor->at >= cursor->end || *cursor->at != wanted) return false;
    cursor->at++;
    return true;
}

static void json_expect(struct cursor *cursor, char wanted)
{
    if (!json_take(cursor, wanted)) cursor->is_bad = true;
}

static int64_t json_int(struct cursor *cursor)
{
    char *stop = NULL;
    int64_t n = cursor->is_bad ? 0 : strtoll(cursor->at, &stop, 10); /* a bracket or comma ends it */
    if (cursor->is_bad || stop == cursor->at) cursor->is_bad = true;
    else cursor->at = stop;
    return n;
}

static void json_list(struct cursor *cursor, struct op_result *result, int64_t *room, size_t *used)
{
    result->items = (struct weir_list){ room + *used, 0 };
    json_expect(cursor, '[');
    if (json_take(cursor, ']')) return;
    do {
        if (*used == REPLY_ITEMS_MAX) cursor->is_bad = true;
        int64_t n = json_int(cursor);
        if (cursor->is_bad) return;
        room[(*used)++] = n;
        result->items.count++;
    } while (json_take(cursor, ','));
    json_expect(cursor, ']');
}

static void json_record(struct cursor *cursor, struct op_result *result, int64_t *room, size_t *used)
{
    json_expect(cursor, '{');
    do {
        json_expect(cursor, '"');
        char first = cursor->is_bad || cursor->at == cursor->end ? 0 : *cursor->at;
        while (cursor->at < cursor->end && *cursor->at != ':') cursor->at++;
        json_expect(cursor, ':');
        if (first == 'i') {
            json_list(cursor, result, room, used);
            continue;
        }
        int64_t n = json_int(cursor);
        if (first == 'a') result->a = n;
        if (first == 'b') result->b = n;
        if (first == 'c') result->c = n;
        if (first == 'd') result->d = n;
    } while (json_take(cursor, ','));
    json_expect(cursor, '}');
}

/* {"type":...,"status":422,"code":"insufficient",...} */
static bool http_error(struct reply *reply, const char *body, size_t len)
{
    const char *code = memmem(body, len, "\"code\":\"", 8);
    snprintf(reply->line, sizeof reply->line, "%.*s", (int)(len < 250 ? len : 250), body);
    if (code == NULL) return false;
    snprintf(reply->word, sizeof reply->word, "%.*s", (int)strcspn(code + 8, "\""), code + 8);
    return true;
}

bool http_read(struct reply *reply, const struct work *work, const char *bytes, size_t len)
{
    static int64_t room[REPLY_ITEMS_MAX];
    size_t used = 0, body_len;
    const char *body = http_body(bytes, len, &body_len);
    struct cursor cursor = { body, body + body_len, false };
    memset(reply->results, 0, sizeof reply->results);
    reply->is_error = len < 12 || bytes[9] != '2';
    if (reply->is_error) return http_error(reply, body, body_len);
    switch (work->entry) {
    case ENTRY_RUN:
    case ENTRY_LOOK:
        for (size_t i = 0; i < work->count; i++) {
            json_expect(&cursor, i == 0 ? '[' : ',');
            json_record(&cursor, &reply->results[i], room, &used);
        }
        json_expect(&cursor, ']');
        break;
    case ENTRY_TRANSFER:
    case ENTRY_AUDIT: json_record(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_TALLY:
    case ENTRY_READ: json_list(&cursor, &reply->results[0], room, &used); break;
    case ENTRY_GET: reply->results[0].a = json_int(&cursor); break;
    }
    while (cursor.at < cursor.end && (*cursor.at == '\n' || *cursor.at == ' ')) cursor.at++;
    return !cursor.is_bad && cursor.at == cursor.end;
}
