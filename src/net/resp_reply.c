/*
 * resp_reply.c - values, rows, JSON and errors as RESP2 and RESP3.
 *
 * One table of mappings (whole numbers :, floats , or bulk, booleans #t or :1, texts bulk, nothing null,
 * lists arrays, records maps or flat arrays, times milliseconds, `any` as the JSON it holds), so that a client
 * need not know in which language a handler is written. Nothing is allocated but the output buffer.
 * SPDX-License-Identifier: MIT
 */
#include "net/net_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ERROR_BYTES_MAX ((size_t)1024)

/* ---- elements ---- */

static void add_head(struct buf *out, char kind, int64_t n)
{
    buf_reserve(out, INT_TEXT_MAX + 3);
    char *at = out->ptr + out->len;
    *at++ = kind;
    at += int_text(n, at);
    *at++ = '\r';
    *at++ = '\n';
    out->len = (size_t)(at - out->ptr);
}

void resp_add_int(struct buf *out, int64_t n)
{
    add_head(out, ':', n);
}

void resp_add_bulk(struct buf *out, struct weir_str text)
{
    add_head(out, '$', (int64_t)text.len);
    buf_add_str(out, text);
    buf_add(out, "\r\n", 2);
}

void resp_add_simple(struct buf *out, const char *text)
{
    buf_add_byte(out, '+');
    buf_add_text(out, text);
    buf_add(out, "\r\n", 2);
}

void resp_add_null(struct buf *out, uint8_t protocol)
{
    if (protocol == 3) buf_add(out, "_\r\n", 3);
    else buf_add(out, "$-1\r\n", 5);
}

void resp_add_null_array(struct buf *out, uint8_t protocol)
{
    if (protocol == 3) buf_add(out, "_\r\n", 3);
    else buf_add(out, "*-1\r\n", 5);
}

void resp_add_id(struct buf *out, struct event_id id)
{
    char text[EVENT_ID_TEXT_MAX];
    resp_add_bulk(out, (struct weir_str){ text, event_id_write(id, text) });
}

void resp_add_array(struct buf *out, uint64_t count)
{
    add_head(out, '*', (int64_t)count);
}

void resp_add_map(struct buf *out, uint8_t protocol, uint64_t count)
{
    if (protocol == 3) add_head(out, '%', (int64_t)count);
    else add_head(out, '*', (int64_t)count * 2);
}

static void add_bool(struct buf *out, uint8_t protocol, bool value)
{
    if (protocol == 3) buf_add(out, value ? "#t\r\n" : "#f\r\n", 4);
    else buf_add(out, value ? ":1\r\n" : ":0\r\n", 4);
}

void resp_add_float(struct buf *out, uint8_t protocol, double n)
{
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, n);
        if (strtod(text, NULL) == n) break; /* the shortest that reads back the same */
    }
    if (protocol == 3) {
        buf_add_byte(out, ',');
        buf_add_text(out, text);
        buf_add(out, "\r\n", 2);
    } else {
        resp_add_bulk(out, str_of(text));
    }
}

/* ---- values by their shape ---- */

static void add_struct(struct buf *out, uint8_t protocol, const struct shape *shape,
                       const void *value);

static void add_text(struct buf *out, uint8_t protocol, struct weir_str text)
{
    if (text.ptr) resp_add_bulk(out, text);
    else resp_add_null(out, protocol);
}

static void add_list(struct buf *out, uint8_t protocol, const struct field *field, const char *at)
{
    const struct weir_list *list = (const struct weir_list *)(const void *)at;
    const char *item = list->items;
    resp_add_array(out, list->count);
    for (size_t i = 0; i < list->count; i++, item += field->shape->size)
        resp_add_value(out, protocol, field->shape, item);
}

static void add_whole(struct buf *out, uint8_t protocol, const struct field *field, int64_t n)
{
    if (n == WEIR_NIL && field->size == 8) resp_add_null(out, protocol);
    else if (field->kind != WEIR_ENUM) resp_add_int(out, n);
    else if (n < 0 || n >= (int64_t)field->word_count) resp_add_null(out, protocol);
    else resp_add_bulk(out, field->words[n]);
}

static void add_field(struct buf *out, uint8_t protocol, const struct field *field, const char *row)
{
    const char *at = row + field->offset;
    const struct weir_str *text = (const struct weir_str *)(const void *)at;
    switch (field->kind) {
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: add_whole(out, protocol, field, int_load(field, at)); break;
    case WEIR_FLOAT: {
        double n;
        memcpy(&n, at, sizeof(n));
        if (isfinite(n)) resp_add_float(out, protocol, n);
        else resp_add_null(out, protocol);
        break;
    }
    case WEIR_BOOL: add_bool(out, protocol, *(const bool *)at); break;
    case WEIR_TEXT:
        if (field->inline_text)
            resp_add_bulk(out, (struct weir_str){ at, strnlen(at, field->size) });
        else add_text(out, protocol, *text);
        break;
    case WEIR_BYTES: add_text(out, protocol, *text); break;
    case WEIR_REF: add_text(out, protocol, ((const struct weir_ref *)(const void *)at)->key); break;
    case WEIR_RECORD: add_struct(out, protocol, field->shape, at); break;
    case WEIR_LIST: add_list(out, protocol, field, at); break;
    case WEIR_ANY:
        if (text->ptr) resp_add_json(out, protocol, *text);
        else resp_add_null(out, protocol);
        break;
    case WEIR_NONE: resp_add_null(out, protocol); break;
    }
}

static void add_struct(struct buf *out, uint8_t protocol, const struct shape *shape,
                       const void *value)
{
    resp_add_map(out, protocol, shape->count);
    for (uint32_t i = 0; i < shape->count; i++) {
        resp_add_bulk(out, shape->fields[i].name);
        add_field(out, protocol, &shape->fields[i], value);
    }
}

void resp_add_value(struct buf *out, uint8_t protocol, const struct shape *shape, const void *value)
{
    if (shape->scalar && shape->fields[0].kind == WEIR_INT) /* most often */
        add_whole(out, protocol, &shape->fields[0],
                  int_load(&shape->fields[0], (const char *)value + shape->fields[0].offset));
    else if (shape->scalar) add_field(out, protocol, &shape->fields[0], value);
    else if (shape->count == 0) resp_add_null(out, protocol);
    else add_struct(out, protocol, shape, value);
}

/* ---- events: every value is text ---- */

static bool field_is_nil(const struct field *f, const char *at)
{
    double n;
    switch (f->kind) {
    case WEIR_INT:
    case WEIR_TIME: return f->size == 8 && int_load(f, at) == WEIR_NIL;
    case WEIR_ENUM: return int_load(f, at) < 0 || int_load(f, at) >= f->word_count;
    case WEIR_FLOAT: memcpy(&n, at, sizeof(n)); return !isfinite(n);
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_REF:
    case WEIR_ANY: return text_load(f, at).ptr == NULL;
    case WEIR_NONE: return true;
    default: return false;
    }
}

static void add_field_text(struct buf *out, const struct field *f, const char *event)
{
    const char *at = event + f->offset;
    struct buf json = { 0 };
    struct field bare = *f;
    const struct shape one = { .fields = &bare, .count = 1, .size = f->size, .scalar = true };
    switch (f->kind) {
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_REF:
    case WEIR_ANY: resp_add_bulk(out, text_load(f, at)); return;
    case WEIR_ENUM: resp_add_bulk(out, f->words[int_load(f, at)]); return;
    case WEIR_INT:
    case WEIR_TIME: buf_printf(&json, "%lld", (long long)int_load(f, at)); break;
    default: json_write(&one, event, &json); break;
    }
    resp_add_bulk(out, buf_str(&json));
    buf_free(&json);
}

void resp_add_event(struct buf *out, uint8_t protocol, const struct stream *stream,
                    const struct feed_item *item, struct arena *scratch)
{
    const struct shape *shape = stream->event;
    arena_reset(scratch);
    char *event = arena_alloc(scratch, shape->size + 8u);
    uint32_t count = 0;
    resp_add_array(out, 2);
    resp_add_id(out, item->id);
    if (feed_unpack(stream, item->value, scratch, event) != WEIR_OK) {
        resp_add_null_array(out, protocol);
        return;
    }
    for (uint32_t i = 0; i < shape->count; i++)
        count += !field_is_nil(&shape->fields[i], event + shape->fields[i].offset);
    resp_add_array(out, (uint64_t)count * 2);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (field_is_nil(f, event + f->offset)) continue;
        resp_add_bulk(out, f->name);
        add_field_text(out, f, event);
    }
}

/* ---- JSON, already known to be valid ---- */

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) at++;
    return at;
}

static const char *skip_string(const char *at, const char *end)
{
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\') at++;
    return at < end ? at + 1 : end;
}

const char *json_skip(const char *at, const char *end, uint64_t *count)
{
    uint64_t depth = 0, commas = 0;
    bool empty = true;
    at = skip_space(at, end);
    while (at < end) {
        char c = *at;
        if (depth > 0 && c != ']' && c != '}' && c != ' ' && c != '\n' && c != '\t' && c != '\r')
            empty = false;
        if (c == '"') {
            at = skip_string(at, end);
        } else if (c == '[' || c == '{') {
            depth++;
            at++;
        } else if (c == ']' || c == '}') {
            if (depth == 0) break;
            depth--;
            at++;
        } else if (c == ',' || c == ':') {
            if (depth == 0) break;
            commas += c == ',' && depth == 1;
            at++;
            continue;
        } else {
            while (at < end && !strchr(",]}: \n\t\r", *at)) at++;
            at = depth > 0 ? skip_space(at, end) : at;
        }
        if (depth == 0) break;
        at = skip_space(at, end);
    }
    if (count) *count = empty ? 0 : commas + 1;
    return at;
}

static uint32_t hex4(const char *at)
{
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        n = n * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n;
}

static void add_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_byte(out, (uint8_t)c);
    } else if (c < 0x800) {
        buf_add_byte(out, (uint8_t)(0xc0 | c >> 6));
        buf_add_byte(out, (uint8_t)(0x80 | (c & 63)));
    } else if (c < 0x10000) {
        buf_add_byte(out, (uint8_t)(0xe0 | c >> 12));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        buf_add_byte(out, (uint8_t)(0x80 | (c & 63)));
    } else {
        buf_add_byte(out, (uint8_t)(0xf0 | c >> 18));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 12 & 63)));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 6 & 63)));
        buf_add_byte(out, (uint8_t)(0x80 | (c & 63)));
    }
}

/* The escape behind a backslash at `at`. */
static const char *add_escape(struct buf *out, const char *at, const char *end)
{
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (*at != 'u' || end - at < 5) {
        const char *known = *at ? strchr(from, *at) : NULL;
        buf_add_byte(out, (uint8_t)(known ? to[known - from] : *at));
        return at + 1;
    }
    uint32_t c = hex4(at + 1);
    at += 5;
    if (c >= 0xd800 && c < 0xdc00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(at + 2) - 0xdc00);
        at += 6;
    }
    add_utf8(out, c);
    return at;
}

/* Appends the string's text; behind its closing quote. */
static const char *add_unescaped(struct buf *out, const char *at, const char *end)
{
    for (at++; at < end && *at != '"';) {
        if (*at == '\\' && at + 1 < end) at = add_escape(out, at + 1, end);
        else buf_add_byte(out, (uint8_t)*at++);
    }
    return at < end ? at + 1 : end;
}

/* As a bulk: the text goes behind room for the longest head and is then moved up. */
static const char *add_json_string(struct buf *out, const char *at, const char *end)
{
    char head[24];
    size_t begin = out->len;
    at = add_unescaped(out, at, end);
    size_t len = out->len - begin;
    int head_len = snprintf(head, sizeof(head), "$%zu\r\n", len);
    buf_reserve(out, (size_t)head_len + 2);
    memmove(out->ptr + begin + head_len, out->ptr + begin, len);
    memcpy(out->ptr + begin, head, (size_t)head_len);
    out->len += (size_t)head_len;
    buf_add(out, "\r\n", 2);
    return at;
}

static const char *add_json_number(struct buf *out, uint8_t protocol, const char *at,
                                   const char *end)
{
    char text[64];
    size_t len = 0;
    bool whole = true;
    for (; at < end && !strchr(",]}: \n\t\r", *at); at++) {
        if (*at == '.' || *at == 'e' || *at == 'E') whole = false;
        if (len < sizeof(text) - 1) text[len++] = *at;
    }
    text[len] = 0;
    if (whole && len < 19) resp_add_int(out, strtoll(text, NULL, 10));
    else resp_add_float(out, protocol, strtod(text, NULL));
    return at;
}

static const char *add_json(struct buf *out, uint8_t protocol, const char *at, const char *end)
{
    uint64_t count;
    at = skip_space(at, end);
    if (at == end) return at;
    switch (*at) {
    case '"': return add_json_string(out, at, end);
    case 't': add_bool(out, protocol, true); return json_skip(at, end, NULL);
    case 'f': add_bool(out, protocol, false); return json_skip(at, end, NULL);
    case 'n': resp_add_null(out, protocol); return json_skip(at, end, NULL);
    case '[':
    case '{': break;
    default: return add_json_number(out, protocol, at, end);
    }
    bool object = *at == '{';
    json_skip(at, end, &count);
    if (object) resp_add_map(out, protocol, count);
    else resp_add_array(out, count);
    at = skip_space(at + 1, end);
    for (uint64_t i = 0; i < count; i++) {
        if (object) {
            at = skip_space(add_json_string(out, at, end), end);
            at++; /* the colon */
        }
        at = skip_space(add_json(out, protocol, at, end), end);
        at = skip_space(at + 1, end); /* the comma, or what ends the whole */
    }
    return count > 0 ? at : at + 1;
}

void resp_add_json(struct buf *out, uint8_t protocol, struct weir_str json)
{
    if (json.len > 0 && json_is_valid(json)) add_json(out, protocol, json.ptr, json.ptr + json.len);
    else resp_add_bulk(out, json);
}

/* ---- errors and answers ---- */

void resp_add_error(struct buf *out, struct weir_str word, struct weir_str text)
{
    size_t len = text.len < ERROR_BYTES_MAX ? text.len : ERROR_BYTES_MAX;
    while (len < text.len && len > 0 && ((unsigned char)text.ptr[len] & 0xc0) == 0x80)
        len--; /* not within a character */
    buf_add_byte(out, '-');
    buf_add_str(out, word);
    if (len > 0) buf_add_byte(out, ' ');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        buf_add_byte(out, c < 0x20 || c == 0x7f ? ' ' : c);
    }
    buf_add(out, "\r\n", 2);
}

static struct weir_str status_word(enum weir_status status, char word[32])
{
    const char *from = weir_status_word(status);
    size_t n = 0;
    for (; from[n] && n < 31; n++)
        word[n] = from[n] >= 'a' && from[n] <= 'z' ? (char)(from[n] - 32) : from[n];
    return (struct weir_str){ word, n };
}

/* What a request has to say beside its word; a detail that is a JSON string stands bare. */
static void add_detail(struct buf *line, struct weir_str detail)
{
    if (detail.len == 0) return;
    if (line->len > 0) buf_add_byte(line, ' ');
    if (detail.ptr[0] == '"') add_unescaped(line, detail.ptr, detail.ptr + detail.len);
    else buf_add_str(line, detail);
}

static void add_failure(struct net *net, struct buf *out, struct request *request)
{
    char word[32];
    struct buf line = { 0 };
    enum weir_status status = status_public(request->status);
    struct weir_str own = request_own_detail(request);
    switch (status) {
    case WEIR_FAILED:
        buf_add_str(&line, request->code);
        add_detail(&line, own);
        break;
    case WEIR_PENDING:
        buf_printf(&line, "%.*s done, its answer is still to come: CALL.WAIT waits on",
                   STR_ARG(request_name(net->env, request)));
        break;
    case WEIR_OVERLOADED:
        buf_add_text(&line, "retry_after_ms=200");
        add_detail(&line, request->text);
        break;
    case WEIR_UNKNOWN:
        buf_printf(&line, "outcome unknown, request_id=%.*s",
                   STR_ARG(request_name(net->env, request)));
        break;
    case WEIR_OOM:
        buf_add_text(&line, "command not allowed when used memory > 'maxmemory'.");
        break;
    default:
        add_detail(&line, own.len > 0             ? own
                          : request->text.len > 0 ? request->text
                                                  : request->detail);
        if (line.len == 0) buf_add_text(&line, weir_status_text(status));
        break;
    }
    resp_add_error(out, status == WEIR_FAILED ? STR("APPERR") : status_word(status, word),
                   buf_str(&line));
    buf_free(&line);
}

void resp_add_answer(struct net *net, struct buf *out, struct call *call)
{
    struct request *request = &call->request;
    if (call->is_ready) buf_add_str(out, call->ready);
    else if (request->status == WEIR_OK && !request->result) resp_add_null(out, call->protocol);
    else if (request->status == WEIR_OK)
        resp_add_value(out, call->protocol, request->handler->result, request->result);
    else if (request->status == WEIR_NOTFOUND && call->absent_is_null)
        resp_add_null(out, call->protocol);
    else add_failure(net, out, request);
}
