/*
 * json.c - JSON out by hand, JSON in through jansson; and single fields from plain text.
 *
 * Limits come before parsing: bytes, then depth by a look at the brackets, so that the parser never sees what
 * could make it recurse without end.
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "data/civil.h"
#include "data/data_int.h"

/* ---- writing ---- */

void json_write_text(struct buf *out, struct weir_str text)
{
    buf_add_byte(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buf_add(out, text.ptr + from, i - from);
        from = i + 1;
        switch (c) {
        case '"': buf_add(out, "\\\"", 2); break;
        case '\\': buf_add(out, "\\\\", 2); break;
        case '\n': buf_add(out, "\\n", 2); break;
        case '\r': buf_add(out, "\\r", 2); break;
        case '\t': buf_add(out, "\\t", 2); break;
        case '\b': buf_add(out, "\\b", 2); break;
        case '\f': buf_add(out, "\\f", 2); break;
        default:
            buf_printf(out, "\\u%04X", c);
            break; /* as jansson, so that equal texts stay equal */
        }
    }
    if (text.len > from) buf_add(out, text.ptr + from, text.len - from);
    buf_add_byte(out, '"');
}

static void write_int(struct buf *out, int64_t n)
{
    char text[INT_TEXT_MAX];
    buf_add(out, text, int_text(n, text));
}

static void write_float(struct buf *out, double n)
{
    char text[40];
    if (!isfinite(n)) {
        buf_add_text(out, "null");
        return;
    }
    snprintf(text, sizeof(text), "%.15g", n);
    if (strtod(text, NULL) < n || strtod(text, NULL) > n) snprintf(text, sizeof(text), "%.17g", n);
    buf_add_text(out, text);
    if (n == 0 && signbit(n)) buf_add_text(out, ".0"); /* -0 would be read as a whole number: 0 */
}

static void write_time(struct buf *out, int64_t ms)
{
    int64_t days = civil_floor(ms, 86400000), rest = ms - days * 86400000;
    struct civil date = civil_of_days(days);
    if (date.year < 0 || date.year > 9999) { /* beyond what RFC 3339 can say */
        write_int(out, ms);
        return;
    }
    buf_printf(out, "\"%04d-%02u-%02uT%02d:%02d:%02d", (int)date.year, date.month, date.day,
               (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60));
    if (rest % 1000 != 0) buf_printf(out, ".%03d", (int)(rest % 1000));
    buf_add_text(out, "Z\"");
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void write_base64(struct buf *out, struct weir_str bytes)
{
    const unsigned char *in = (const unsigned char *)bytes.ptr;
    buf_add_byte(out, '"');
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t n = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                     (left > 2 ? in[i + 2] : 0);
        char four[4] = { base64_digits[n >> 18], base64_digits[n >> 12 & 63],
                         left > 1 ? base64_digits[n >> 6 & 63] : '=',
                         left > 2 ? base64_digits[n & 63] : '=' };
        buf_add(out, four, 4);
    }
    buf_add_byte(out, '"');
}

static bool read_base64(struct weir_str text, struct arena *arena, struct weir_str *out)
{
    if (text.len % 4 != 0) return false;
    char *bytes = arena_alloc(arena, text.len / 4 * 3 + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i += 4) {
        uint32_t n = 0, pad = 0;
        for (size_t k = 0; k < 4; k++) {
            char c = text.ptr[i + k];
            const char *digit = c ? strchr(base64_digits, c) : NULL;
            if (c == '=' && i + 4 == text.len && k >= 2) pad++;
            else if (digit == NULL || pad > 0) return false;
            n = n << 6 | (digit ? (uint32_t)(digit - base64_digits) : 0);
        }
        for (uint32_t k = 0; k < 3 - pad; k++) bytes[len++] = (char)(n >> (16 - 8 * k));
    }
    *out = (struct weir_str){ bytes, len };
    return true;
}

static void write_field(const struct field *f, const void *at, struct buf *out)
{
    if (value_is_nil(f, at)) {
        buf_add(out, "null", 4);
        return;
    }
    double number;
    struct weir_list list;
    int64_t n;
    switch (f->kind) {
    case WEIR_INT: write_int(out, int_load(f, at)); return;
    case WEIR_TIME: write_time(out, int_load(f, at)); return;
    case WEIR_ENUM:
        n = int_load(f, at);
        json_write_text(out, n >= 0 && n < (int64_t)f->word_count ? f->words[n] : STR("?"));
        return;
    case WEIR_FLOAT:
        memcpy(&number, at, sizeof(number));
        write_float(out, number);
        return;
    case WEIR_BOOL: buf_add_text(out, *(const bool *)at ? "true" : "false"); return;
    case WEIR_TEXT:
    case WEIR_REF: json_write_text(out, text_load(f, at)); return;
    case WEIR_BYTES: write_base64(out, text_load(f, at)); return;
    case WEIR_ANY: buf_add_str(out, text_load(f, at)); return;
    case WEIR_RECORD: json_write(f->shape, at, out); return;
    case WEIR_LIST:
        memcpy(&list, at, sizeof(list));
        buf_add_byte(out, '[');
        for (size_t i = 0; i < list.count; i++) {
            if (i > 0) buf_add_byte(out, ',');
            json_write(f->shape, (const char *)list.items + i * f->shape->size, out);
        }
        buf_add_byte(out, ']');
        return;
    case WEIR_NONE: buf_add(out, "null", 4); return;
    }
}

void json_write(const struct shape *shape, const void *in, struct buf *out)
{
    if (shape->scalar) {
        write_field(&shape->fields[0], (const char *)in + shape->fields[0].offset, out);
        return;
    }
    buf_add_byte(out, '{');
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (i > 0) buf_add_byte(out, ',');
        json_write_text(out, f->name);
        buf_add_byte(out, ':');
        write_field(f, (const char *)in + f->offset, out);
    }
    buf_add_byte(out, '}');
}

/* ---- reading ---- */

static enum weir_status problem_json(struct problem *problem, enum weir_status status,
                                     const char *rule, const char *text)
{
    return problem_set(problem, status, STR(""), rule, "%s", text);
}

static enum weir_status out_of_memory(struct problem *problem)
{
    return problem_json(problem, WEIR_OOM, "memory", "no memory to read the JSON text");
}

static bool depth_is_good(struct weir_str text)
{
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted) {
            if (c == '\\') i++;
            else if (c == '"') quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_DEPTH_MAX) return false;
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return true;
}

static json_t *parse(struct weir_str text, struct problem *problem)
{
    json_error_t error;
    if (text.len > JSON_BYTES_MAX) {
        problem_json(problem, WEIR_TOOBIG, "max", "the JSON text is longer than 1 MiB");
        return NULL;
    }
    if (text.len > 0 && memchr(text.ptr, 0, text.len) != NULL) {
        /* jansson takes one behind the value for the end, whatever follows */
        problem_json(problem, WEIR_ARG, "json", "a NUL byte is no part of JSON");
        return NULL;
    }
    if (!depth_is_good(text)) {
        problem_json(problem, WEIR_ARG, "json", "the JSON nests deeper than 64");
        return NULL;
    }
    json_t *json = json_loadb(text.ptr ? text.ptr : "", text.len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (json != NULL) return json;
    if (json_error_code(&error) == json_error_out_of_memory) {
        (void)out_of_memory(problem);
        return NULL;
    }
    bool overflow = json_error_code(&error) == json_error_numeric_overflow;
    problem_set(problem, overflow ? WEIR_RANGE : WEIR_ARG, STR(""), overflow ? "range" : "json",
                "%s at byte %d: %.120s", overflow ? "a number is out of range" : "not valid JSON",
                error.position, error.text);
    return NULL;
}

static bool read_number(const char **at, unsigned digits, int64_t *n)
{
    *n = 0;
    for (unsigned i = 0; i < digits; i++, (*at)++) {
        if (**at < '0' || **at > '9') return false;
        *n = *n * 10 + (**at - '0');
    }
    return true;
}

/* RFC 3339, with Z or an offset. */
static bool read_time(struct weir_str text, int64_t *ms)
{
    char copy[40];
    if (text.len < 20 || text.len >= sizeof(copy)) return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    const char *at = copy;
    int64_t year, month, day, hour, minute, second, fraction = 0, scale = 100;
    bool date = read_number(&at, 4, &year) && *at++ == '-' && read_number(&at, 2, &month) &&
                *at++ == '-' && read_number(&at, 2, &day) &&
                (*at == 'T' || *at == 't' || *at == ' ');
    if (!date) return false;
    at++;
    bool clock = read_number(&at, 2, &hour) && *at++ == ':' && read_number(&at, 2, &minute) &&
                 *at++ == ':' && read_number(&at, 2, &second);
    if (!clock || month < 1 || month > 12 || day < 1 ||
        day > civil_month_days(year, (unsigned)month) || hour > 23 || minute > 59 || second > 60)
        return false;
    if (*at == '.') {
        at++;
        if (*at < '0' || *at > '9') return false;
        for (; *at >= '0' && *at <= '9'; at++, scale /= 10) fraction += (*at - '0') * scale;
    }
    int64_t offset = 0;
    if (*at == 'Z' || *at == 'z') {
        at++;
    } else if (*at == '+' || *at == '-') {
        int64_t sign = *at++ == '-' ? -1 : 1, hours, minutes;
        if (!read_number(&at, 2, &hours) || *at++ != ':' || !read_number(&at, 2, &minutes) ||
            hours > 23 || minutes > 59)
            return false;
        offset = sign * (hours * 60 + minutes);
    } else {
        return false;
    }
    if (at != copy + text.len) return false;
    *ms = ((civil_days(year, (unsigned)month, (unsigned)day) * 24 + hour) * 60 + minute - offset) *
              60000 +
          second * 1000 + fraction;
    return true;
}

static const char *json_kind(const json_t *json)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "a whole number";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

static enum weir_status wrong_kind(const struct field *f, const json_t *json,
                                   struct problem *problem)
{
    return problem_set(problem, WEIR_ARG, f->name, "type", "%s expected, got %s",
                       kind_name(f->kind), json_kind(json));
}

static struct weir_str json_text(const json_t *json)
{
    return (struct weir_str){ json_string_value(json), json_string_length(json) };
}

static enum weir_status keep_text(const struct field *f, struct weir_str text, void *at,
                                  struct problem *problem)
{
    if (f->inline_text && text.len > f->size)
        return problem_set(problem, WEIR_CHECK, f->name, "max", "%zu bytes are above its most, %u",
                           text.len, f->size);
    text_store(f, at, text);
    return WEIR_OK;
}

static enum weir_status store_text(const struct field *f, struct weir_str text, struct arena *arena,
                                   void *at, struct problem *problem)
{
    return keep_text(f, f->inline_text ? text : arena_copy(arena, text), at, problem);
}

static enum weir_status read_word(const struct field *f, struct weir_str word, void *at,
                                  struct problem *problem)
{
    for (uint32_t i = 0; i < f->word_count; i++) {
        if (!str_eq(f->words[i], word)) continue;
        int_store(f, at, i);
        return WEIR_OK;
    }
    struct buf words = { 0 };
    for (uint32_t i = 0; i < f->word_count && words.len < 120; i++)
        buf_printf(&words, "%s%.*s", i ? ", " : "", STR_ARG(f->words[i]));
    enum weir_status st = problem_set(problem, WEIR_ARG, f->name, "type", "`%.*s` is none of: %.*s",
                                      (int)(word.len < 40 ? word.len : 40), word.ptr,
                                      (int)words.len, words.ptr);
    buf_free(&words);
    return st;
}

static enum weir_status store_int(const struct field *f, int64_t n, void *at,
                                  struct problem *problem)
{
    int64_t most = f->size == 1   ? INT8_MAX
                   : f->size == 2 ? INT16_MAX
                   : f->size == 4 ? INT32_MAX
                                  : WEIR_INT_MAX;
    int64_t least = f->size == 8 ? -WEIR_INT_MAX : -most - 1;
    if (n > most || n < least)
        return problem_set(problem, WEIR_RANGE, f->name, "range", "%" PRId64 " is out of range", n);
    int_store(f, at, n);
    return WEIR_OK;
}

/* JSON has one kind of number: 1.0 and 1e3 are whole. */
static enum weir_status read_int(const struct field *f, const json_t *json, void *at,
                                 struct problem *problem)
{
    if (json_is_integer(json)) return store_int(f, json_integer_value(json), at, problem);
    if (!json_is_real(json)) return wrong_kind(f, json, problem);
    double n = json_real_value(json);
    if (n != trunc(n))
        return problem_set(problem, WEIR_RANGE, f->name, "range",
                           "a whole number expected, got %.15g", n);
    if (fabs(n) <= (double)WEIR_INT_MAX) return store_int(f, (int64_t)n, at, problem);
    return problem_set(problem, WEIR_RANGE, f->name, "range", "%.16g is out of range", n);
}

static enum weir_status read_value(const struct shape *shape, const json_t *json,
                                   struct arena *arena, void *out, struct problem *problem);

static enum weir_status read_list(const struct field *f, const json_t *json, struct arena *arena,
                                  void *at, struct problem *problem)
{
    if (!json_is_array(json)) return wrong_kind(f, json, problem);
    struct weir_list list = { NULL, json_array_size(json) };
    size_t size = f->shape->size;
    list.items = arena_alloc(arena, list.count * size + 8u);
    for (size_t i = 0; i < list.count; i++) {
        enum weir_status st = read_value(f->shape, json_array_get(json, i), arena,
                                         (char *)list.items + i * size, problem);
        if (st == WEIR_OK) continue;
        problem_within(problem, f->name, (int64_t)i + 1);
        return st;
    }
    memcpy(at, &list, sizeof(list));
    return WEIR_OK;
}

static enum weir_status read_any(const json_t *json, struct arena *arena, void *at,
                                 struct problem *problem)
{
    if (json_is_null(json)) {
        memset(at, 0, sizeof(struct weir_str));
        return WEIR_OK;
    }
    size_t len = json_dumpb(json, NULL, 0,
                            JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    if (len == 0) return out_of_memory(problem);
    char *bytes = arena_alloc(arena, len + 1);
    json_dumpb(json, bytes, len, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    struct weir_str text = { bytes, len };
    memcpy(at, &text, sizeof(text));
    return WEIR_OK;
}

static enum weir_status read_field(const struct field *f, const json_t *json, struct arena *arena,
                                   void *at, struct problem *problem)
{
    int64_t ms;
    double number;
    struct weir_str bytes;
    enum weir_status st;
    if (json_is_null(json) && (f->optional || f->kind == WEIR_ANY)) {
        value_set_nil(f, at);
        return WEIR_OK;
    }
    switch (f->kind) {
    case WEIR_INT: return read_int(f, json, at, problem);
    case WEIR_TIME:
        if (json_is_number(json)) return read_int(f, json, at, problem);
        if (!json_is_string(json)) return wrong_kind(f, json, problem);
        if (!read_time(json_text(json), &ms))
            return problem_set(problem, WEIR_ARG, f->name, "type",
                               "`%.40s` is no time such as 2026-11-22T12:00:00Z",
                               json_string_value(json));
        return store_int(f, ms, at, problem);
    case WEIR_ENUM:
        return json_is_string(json) ? read_word(f, json_text(json), at, problem)
                                    : wrong_kind(f, json, problem);
    case WEIR_FLOAT:
        if (!json_is_number(json)) return wrong_kind(f, json, problem);
        number = json_number_value(json);
        memcpy(at, &number, sizeof(number));
        return WEIR_OK;
    case WEIR_BOOL:
        if (!json_is_boolean(json)) return wrong_kind(f, json, problem);
        *(bool *)at = json_is_true(json);
        return WEIR_OK;
    case WEIR_TEXT:
    case WEIR_REF:
        return json_is_string(json) ? store_text(f, json_text(json), arena, at, problem)
                                    : wrong_kind(f, json, problem);
    case WEIR_BYTES:
        if (!json_is_string(json) || !read_base64(json_text(json), arena, &bytes))
            return problem_set(problem, WEIR_ARG, f->name, "type", "bytes come as a base64 string");
        text_store(f, at, bytes);
        return WEIR_OK;
    case WEIR_ANY: return read_any(json, arena, at, problem);
    case WEIR_RECORD:
        st = read_value(f->shape, json, arena, at, problem);
        if (st != WEIR_OK) problem_within(problem, f->name, -1);
        return st;
    case WEIR_LIST: return read_list(f, json, arena, at, problem);
    case WEIR_NONE: break;
    }
    return wrong_kind(f, json, problem);
}

bool field_may_be_left_out(const struct field *f)
{
    return f->optional || f->has_start || f->kind == WEIR_ANY;
}

static enum weir_status read_object(const struct shape *shape, const json_t *json,
                                    struct arena *arena, void *out, struct problem *problem)
{
    size_t known = 0;
    shape_start(shape, out);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        const json_t *member = json_object_getn(json, f->name.ptr, f->name.len);
        if (member == NULL) {
            if (!field_may_be_left_out(f)) return problem_missing(problem, f);
            continue;
        }
        known++;
        enum weir_status st = read_field(f, member, arena, (char *)out + f->offset, problem);
        if (st != WEIR_OK) return st;
    }
    if (known == json_object_size(json)) return WEIR_OK;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)json, name, member)
    {
        bool found = false;
        for (uint32_t i = 0; i < shape->count && !found; i++)
            found = str_eq(shape->fields[i].name, str_of(name));
        if (!found)
            return problem_set(problem, WEIR_ARG, str_of(name), "unknown",
                               "there is no such name here");
    }
    return WEIR_OK;
}

static enum weir_status read_value(const struct shape *shape, const json_t *json,
                                   struct arena *arena, void *out, struct problem *problem)
{
    if (shape->scalar) {
        shape_start(shape, out);
        return read_field(&shape->fields[0], json, arena, (char *)out + shape->fields[0].offset,
                          problem);
    }
    if (!json_is_object(json))
        return problem_set(problem, WEIR_ARG, STR(""), "type", "record expected, got %s",
                           json_kind(json));
    return read_object(shape, json, arena, out, problem);
}

enum weir_status json_read(const struct shape *shape, struct weir_str text, struct arena *arena,
                           void *out, struct problem *problem)
{
    json_t *json = parse(text, problem);
    if (json == NULL) return problem->status;
    enum weir_status st = read_value(shape, json, arena, out, problem);
    json_decref(json);
    return st;
}

static enum weir_status read_array(const struct shape *shape, const json_t *json,
                                   struct arena *arena, void *out, struct problem *problem)
{
    size_t count = json_array_size(json);
    if (count > shape->count)
        return problem_set(problem, WEIR_ARG, STR(""), "count", "at most %u arguments, got %zu",
                           shape->count, count);
    shape_start(shape, out);
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        if (i >= count) {
            if (!field_may_be_left_out(f)) return problem_missing(problem, f);
            continue;
        }
        enum weir_status st = read_field(f, json_array_get(json, i), arena, (char *)out + f->offset,
                                         problem);
        if (st != WEIR_OK) return st;
    }
    return WEIR_OK;
}

enum weir_status json_read_args(const struct shape *shape, struct weir_str text,
                                struct arena *arena, void *out, struct problem *problem)
{
    size_t blank = 0;
    while (blank < text.len && text.ptr[blank] != '\0' &&
           strchr(" \t\r\n", text.ptr[blank]) != NULL)
        blank++;
    json_t *json = blank == text.len ? json_array() : parse(text, problem);
    if (json == NULL) return blank == text.len ? out_of_memory(problem) : problem->status;
    enum weir_status st;
    if (json_is_array(json)) st = read_array(shape, json, arena, out, problem);
    else if (json_is_object(json) && !shape->scalar)
        st = read_object(shape, json, arena, out, problem);
    else
        st = problem_json(problem, WEIR_ARG, "type",
                          shape->scalar
                              ? "the argument comes in an array, as [1]: it has no name"
                              : "arguments come as an array by position or an object by name");
    json_decref(json);
    return st;
}

static enum weir_status part_read(const json_t *json, struct arena *arena, struct json_parts *out,
                                  struct problem *problem)
{
    struct json_part *part = &out->items[out->count++];
    if (json_is_string(json)) part->text = arena_copy(arena, json_text(json));
    return read_any(json, arena, &part->json, problem);
}

enum weir_status json_parts(struct weir_str text, struct arena *arena, struct json_parts *out,
                            struct problem *problem)
{
    *out = (struct json_parts){ 0 };
    json_t *json = parse(text, problem);
    if (json == NULL) return problem->status;
    enum weir_status st = WEIR_OK;
    out->is_object = json_is_object(json);
    size_t most = out->is_object ? json_object_size(json) : json_array_size(json);
    out->items = arena_alloc(arena, (most + 1) * sizeof(*out->items));
    if (out->is_object) {
        const char *name;
        json_t *member;
        json_object_foreach(json, name, member)
        {
            if (st != WEIR_OK) continue;
            out->items[out->count].name = arena_copy(arena, str_of(name));
            st = part_read(member, arena, out, problem);
        }
    } else if (json_is_array(json)) {
        for (size_t i = 0; i < most && st == WEIR_OK; i++)
            st = part_read(json_array_get(json, i), arena, out, problem);
    } else {
        st = problem_json(problem, WEIR_ARG, "type", "an object or an array is expected");
    }
    json_decref(json);
    return st;
}

/* ---- plain text ---- */

static bool text_int(struct weir_str text, int64_t *n)
{
    size_t at = text.len > 0 && text.ptr[0] == '-';
    uint64_t sum = 0, most = at ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    if (at == text.len) return false;
    bool beyond = false;
    for (size_t i = at; i < text.len; i++) {
        unsigned digit = (unsigned char)text.ptr[i] - (unsigned)'0';
        if (digit > 9) return false;
        beyond = beyond || sum > (most - digit) / 10;
        sum = sum * 10 + digit;
    }
    if (beyond) sum = most; /* as strtoll(): text_int_store() refuses it */
    *n = at ? (int64_t)(0 - sum) : (int64_t)sum;
    return true;
}

static enum weir_status not_text(const struct field *f, struct weir_str text,
                                 struct problem *problem)
{
    return problem_set(problem, WEIR_ARG, f->name, "type", "%s expected, got `%.*s`",
                       kind_name(f->kind), (int)(text.len < 40 ? text.len : 40),
                       text.ptr ? text.ptr : "");
}

/* What text_int() made of the text. */
static enum weir_status text_int_store(const struct field *f, struct weir_str text, int64_t n,
                                       void *at, struct problem *problem)
{
    if (n >= -WEIR_INT_MAX && n <= WEIR_INT_MAX) return store_int(f, n, at, problem);
    return problem_set(problem, WEIR_RANGE, f->name, "range", "%.*s is out of range",
                       (int)(text.len < 40 ? text.len : 40), text.ptr);
}

static enum weir_status text_number(const struct field *f, struct weir_str text, void *at,
                                    struct problem *problem)
{
    int64_t n;
    if (text_int(text, &n)) return text_int_store(f, text, n, at, problem);
    char copy[64], *end;
    if (text.len == 0 || text.len >= sizeof(copy)) return not_text(f, text, problem);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    (void)strtod(copy, &end);
    if (end == copy + text.len && strspn(copy, "-+.0123456789eE") == text.len)
        return problem_set(problem, WEIR_RANGE, f->name, "range", "a whole number expected, got %s",
                           copy);
    return not_text(f, text, problem);
}

static enum weir_status text_float(const struct field *f, struct weir_str text, void *at,
                                   struct problem *problem)
{
    char copy[64], *end;
    if (text.len == 0 || text.len >= sizeof(copy)) return not_text(f, text, problem);
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (strspn(copy, "-+.0123456789eE") != text.len) return not_text(f, text, problem);
    double n = strtod(copy, &end);
    if (end != copy + text.len || !isfinite(n)) return not_text(f, text, problem);
    memcpy(at, &n, sizeof(n));
    return WEIR_OK;
}

static enum weir_status text_json(const struct field *f, struct weir_str text, struct arena *arena,
                                  void *at, struct problem *problem)
{
    json_t *json = parse(text, problem);
    if (json == NULL && f->kind == WEIR_ANY && problem->status == WEIR_ARG) {
        struct buf quoted = { 0 };
        json_write_text(&quoted, text);
        struct weir_str copy = arena_copy(arena, buf_str(&quoted));
        buf_free(&quoted);
        memcpy(at, &copy, sizeof(copy));
        *problem = (struct problem){ 0 };
        return str_is_utf8(text) ? WEIR_OK : not_text(f, STR("bytes that are no text"), problem);
    }
    if (json == NULL) {
        problem_within(problem, f->name, -1);
        return problem->status;
    }
    enum weir_status st = read_field(f, json, arena, at, problem);
    json_decref(json);
    return st;
}

enum weir_status field_keep_text(const struct field *f, struct weir_str text, struct arena *arena,
                                 void *out_struct, struct problem *problem)
{
    void *at = (char *)out_struct + f->offset;
    int64_t ms;
    switch (f->kind) {
    case WEIR_INT: return text_number(f, text, at, problem);
    case WEIR_FLOAT: return text_float(f, text, at, problem);
    case WEIR_BOOL:
        if (str_eq(text, STR("true")) || str_eq(text, STR("1"))) *(bool *)at = true;
        else if (str_eq(text, STR("false")) || str_eq(text, STR("0"))) *(bool *)at = false;
        else return not_text(f, text, problem);
        return WEIR_OK;
    case WEIR_TEXT:
    case WEIR_REF:
        if (f->kind == WEIR_TEXT && !str_is_utf8(text))
            return problem_set(problem, WEIR_ARG, f->name, "utf8", "the text is not valid UTF-8");
        return keep_text(f, text.ptr ? text : STR(""), at, problem);
    case WEIR_BYTES: return keep_text(f, text.ptr ? text : STR(""), at, problem);
    case WEIR_TIME:
        if (read_time(text, &ms)) return store_int(f, ms, at, problem);
        return text_int(text, &ms) ? text_int_store(f, text, ms, at, problem)
                                   : not_text(f, text, problem);
    case WEIR_ENUM: return read_word(f, text, at, problem);
    case WEIR_RECORD:
    case WEIR_LIST:
    case WEIR_ANY: return text_json(f, text, arena, at, problem);
    case WEIR_NONE: break;
    }
    return not_text(f, text, problem);
}

enum weir_status field_read_text(const struct field *f, struct weir_str text, struct arena *arena,
                                 void *out_struct, struct problem *problem)
{
    bool points = f->kind == WEIR_TEXT || f->kind == WEIR_REF || f->kind == WEIR_BYTES;
    if (points && !f->inline_text) text = arena_copy(arena, text);
    return field_keep_text(f, text, arena, out_struct, problem);
}

bool json_is_valid(struct weir_str text)
{
    struct problem problem;
    json_t *json = parse(text, &problem);
    json_decref(json);
    return json != NULL;
}

enum weir_status json_compact(struct weir_str text, struct buf *out)
{
    struct problem problem = { 0 };
    json_t *json = parse(text, &problem);
    if (json == NULL) return problem.status;
    char *dump = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (dump == NULL) return WEIR_OOM;
    buf_add_text(out, dump);
    json_free_t release;
    json_get_alloc_funcs(NULL, &release);
    release(dump);
    return WEIR_OK;
}
