/*
 * span.c - JSON read in place.
 * SPDX-License-Identifier: MIT
 */
#include "span.h"

static size_t skip_space(struct weir_str json, size_t at)
{
    while (at < json.len && memchr(" \t\r\n", json.ptr[at], 4)) at++;
    return at;
}

static size_t skip_string(struct weir_str json, size_t at)
{
    for (at++; at < json.len && json.ptr[at] != '"'; at++)
        if (json.ptr[at] == '\\') at++;
    return at < json.len ? at + 1 : json.len;
}

/* Behind the value that begins at `at`: brackets are counted, strings skipped. */
static size_t skip_value(struct weir_str json, size_t at)
{
    size_t depth = 0;
    while (at < json.len) {
        char c = json.ptr[at];
        if (c == '"') {
            at = skip_string(json, at);
        } else if (c == '{' || c == '[') {
            depth++;
            at++;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return at; /* of the one around */
            depth--;
            at++;
        } else if (depth == 0 && (c == ',' || c == ':' || memchr(" \t\r\n", c, 4))) {
            return at;
        } else {
            at++;
            continue;
        }
        if (depth == 0) return at;
    }
    return at;
}

bool span_next(struct weir_str json, size_t *at, struct weir_str *name, struct weir_str *value)
{
    size_t i = skip_space(json, *at);
    if (*at == 0) {
        if (i == json.len || (json.ptr[i] != '[' && json.ptr[i] != '{')) return false;
        i = skip_space(json, i + 1);
    } else if (i < json.len && json.ptr[i] == ',') {
        i = skip_space(json, i + 1);
    }
    if (i >= json.len || json.ptr[i] == ']' || json.ptr[i] == '}') return false;
    size_t end = skip_value(json, i), next = skip_space(json, end);
    if (end == i) return false;
    if (name) {
        *name = (struct weir_str){ json.ptr + i, end - i };
        if (next >= json.len || json.ptr[next] != ':') return false;
        i = skip_space(json, next + 1);
        end = skip_value(json, i);
    }
    *value = (struct weir_str){ json.ptr + i, end - i };
    *at = end;
    return true;
}

struct weir_str span_member(struct weir_str object, const char *name)
{
    struct weir_str key, value, wanted = str_of(name);
    size_t i = skip_space(object, 0);
    if (i == object.len || object.ptr[i] != '{') return STR("");
    for (size_t at = 0; span_next(object, &at, &key, &value);)
        if (key.len == wanted.len + 2 && memcmp(key.ptr + 1, wanted.ptr, wanted.len) == 0)
            return value;
    return STR("");
}

static unsigned hex4(const char *at)
{
    unsigned n = 0;
    for (int i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)at[i];
        n = n * 16 + (c <= '9' ? c - 48u : (c | 32u) - 87u) % 16;
    }
    return n;
}

static void add_code_point(struct buf *out, uint32_t c)
{
    if (c < 0x80) {
        buf_add_byte(out, (uint8_t)c);
        return;
    }
    if (c >= 0x10000) {
        buf_add_byte(out, (uint8_t)(0xf0 | (c >> 18 & 7)));
        buf_add_byte(out, (uint8_t)(0x80 | (c >> 12 & 63)));
    } else if (c >= 0x800) {
        buf_add_byte(out, (uint8_t)(0xe0 | (c >> 12)));
    }
    if (c >= 0x800) buf_add_byte(out, (uint8_t)(0x80 | (c >> 6 & 63)));
    else buf_add_byte(out, (uint8_t)(0xc0 | (c >> 6)));
    buf_add_byte(out, (uint8_t)(0x80 | (c & 63)));
}

void span_text(struct weir_str value, struct buf *out)
{
    if (str_eq(value, STR("null"))) return;
    if (value.len < 2 || value.ptr[0] != '"') {
        buf_add_str(out, value);
        return;
    }
    const char *at = value.ptr + 1, *end = value.ptr + value.len - 1;
    while (at < end) {
        char c = *at++;
        if (c != '\\' || at == end) {
            buf_add_byte(out, (uint8_t)c);
            continue;
        }
        c = *at++;
        if (c == 'u' && end - at >= 4) {
            uint32_t point = hex4(at);
            at += 4;
            if (point >= 0xd800 && point < 0xdc00 && end - at >= 6 && at[0] == '\\' &&
                at[1] == 'u') {
                point = 0x10000 + ((point - 0xd800) << 10) + (hex4(at + 2) & 0x3ff);
                at += 6;
            }
            add_code_point(out, point);
        } else {
            static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
            const char *found = memchr(from, c, 5);
            buf_add_byte(out, (uint8_t)(found ? to[found - from] : c));
        }
    }
}

uint64_t span_number(struct weir_str value)
{
    uint64_t n = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9') return 0;
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    return n;
}
