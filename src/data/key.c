/*
 * key.c - typed keys of entities ("{w}:d:c"), and ordered keys of map rows.
 *
 * Ordered form: whole numbers as 8 bytes, high byte first, sign bit flipped; texts with 0x00 written as 0x00
 * 0xFF and ended by 0x00 0x00, so that memcmp orders by value part after part and a prefix of parts is a
 * prefix of bytes. Bools are one byte.
 * SPDX-License-Identifier: MIT
 */
#include "data/data_int.h"

/* ---- typed keys ---- */

static bool form_part(struct weir_str part, const struct shape *row, struct key_form *form,
                      const char **why)
{
    bool braced = part.len >= 2 && part.ptr[0] == '{' && part.ptr[part.len - 1] == '}';
    if (braced) part = (struct weir_str){ part.ptr + 1, part.len - 2 };
    *why = "a part of the key names no field of the row";
    for (uint32_t i = 0; i < row->count; i++) {
        if (!str_eq(row->fields[i].name, part)) continue;
        enum weir_kind kind = row->fields[i].kind;
        *why = "a part of a key is an int, a text or an entity";
        if (kind != WEIR_INT && kind != WEIR_TEXT && kind != WEIR_REF) return false;
        form->part[form->count].name = part;
        form->part[form->count].kind = kind;
        form->part[form->count].place = i;
        form->part[form->count].braced = braced;
        form->count++;
        return true;
    }
    return false;
}

bool key_form_parse(struct arena *arena, struct weir_str text, const struct shape *row,
                    struct key_form *form, const char **why)
{
    *form = (struct key_form){ .row = row };
    text = arena_copy(arena, text);
    unsigned braced = 0;
    for (size_t at = 0; at <= text.len;) {
        size_t end = at;
        while (end < text.len && text.ptr[end] != ':') end++;
        if (form->count == WEIR_KEY_PARTS_MAX) {
            *why = "a key has at most 4 parts";
            return false;
        }
        if (!form_part((struct weir_str){ text.ptr + at, end - at }, row, form, why)) return false;
        braced += form->part[form->count - 1].braced;
        at = end + 1;
    }
    *why = "at most one part of a key is in braces";
    return braced <= 1;
}

bool key_build(const struct key_form *form, const struct weir_part *parts, struct buf *out)
{
    for (uint32_t i = 0; i < form->count; i++) {
        if (i > 0) buf_add_byte(out, ':');
        if (form->part[i].kind == WEIR_INT) {
            char digits[INT_TEXT_MAX];
            buf_add(out, digits, int_text(parts[i].n, digits));
            continue;
        }
        struct weir_str text = parts[i].text;
        if (text.ptr == NULL) return false;
        if (i + 1 < form->count && memchr(text.ptr, ':', text.len) != NULL) return false;
        buf_add_str(out, text);
    }
    return true;
}

static bool parse_int(struct weir_str text, int64_t *n)
{
    bool minus = text.len > 0 && text.ptr[0] == '-';
    size_t at = minus;
    if (at == text.len || text.len - at > 16) return false;
    if (text.ptr[at] == '0' && (text.len - at > 1 || minus))
        return false; /* one spelling for each number */
    *n = 0;
    for (; at < text.len; at++) {
        if (text.ptr[at] < '0' || text.ptr[at] > '9') return false;
        *n = *n * 10 + (text.ptr[at] - '0');
    }
    if (minus) *n = -*n;
    return *n <= WEIR_INT_MAX && *n >= -WEIR_INT_MAX;
}

static const struct field *field_named(const struct shape *row, struct weir_str name)
{
    for (uint32_t i = 0; i < row->count; i++) {
        if (str_eq(row->fields[i].name, name)) return &row->fields[i];
    }
    return NULL;
}

/* Up to the next colon, the last part to the end; `at` is left behind the colon. False: there is no colon. */
static bool part_take(const char **at, const char *end, bool last, struct weir_str *part)
{
    const char *from = *at, *to = last ? end : from;
    while (to < end && *to != ':') to++;
    *part = (struct weir_str){ from, (size_t)(to - from) };
    *at = to < end ? to + 1 : end;
    return last || to < end;
}

bool key_apply(const struct key_form *form, const struct shape *row, struct weir_str key, void *out)
{
    const char *at = key.ptr, *end = key.ptr + key.len;
    for (uint32_t i = 0; i < form->count; i++) {
        struct weir_str part;
        if (!part_take(&at, end, i + 1 == form->count, &part)) return false;
        const struct field *f = row == form->row ? &row->fields[form->part[i].place]
                                                 : field_named(row, form->part[i].name);
        int64_t n = 0;
        if (f == NULL) return false;
        if (f->kind == WEIR_INT) {
            if (!parse_int(part, &n)) return false;
            if (out != NULL) int_store(f, (char *)out + f->offset, n);
        } else {
            if (part.len == 0 && f->kind == WEIR_REF) return false;
            if (out != NULL) text_store(f, (char *)out + f->offset, part);
        }
    }
    return true;
}

struct weir_str key_route(const struct key_form *form, struct weir_str key)
{
    const char *open = key.len ? memchr(key.ptr, '{', key.len) : NULL;
    if (open != NULL) {
        size_t from = (size_t)(open - key.ptr) + 1;
        const char *close = memchr(key.ptr + from, '}', key.len - from);
        if (close != NULL && close > key.ptr + from)
            return (struct weir_str){ key.ptr + from, (size_t)(close - key.ptr) - from };
    }
    size_t at = 0;
    for (uint32_t i = 0; i < form->count; i++) {
        size_t end = at;
        bool last = i + 1 == form->count;
        while (end < key.len && (last || key.ptr[end] != ':')) end++;
        if (form->part[i].braced) return (struct weir_str){ key.ptr + at, end - at };
        at = end < key.len ? end + 1 : end;
    }
    return key;
}

/* ---- ordered keys ---- */

void map_key_write(const enum weir_kind *kinds, struct weir_key key, struct buf *out)
{
    for (uint32_t i = 0; i < key.count && i < WEIR_KEY_PARTS_MAX; i++) {
        const struct weir_part *part = &key.part[i];
        if (kinds[i] == WEIR_TEXT || kinds[i] == WEIR_REF) {
            for (size_t k = 0; k < part->text.len; k++) {
                buf_add_byte(out, (uint8_t)part->text.ptr[k]);
                if (part->text.ptr[k] == '\0') buf_add_byte(out, 0xff);
            }
            buf_add(out, "\0", 2);
        } else if (kinds[i] == WEIR_BOOL) {
            buf_add_byte(out, part->n != 0);
        } else {
            uint64_t n = (uint64_t)part->n ^ (UINT64_C(1) << 63);
            for (int shift = 56; shift >= 0; shift -= 8) buf_add_byte(out, (uint8_t)(n >> shift));
        }
    }
}

static bool read_text(struct reader *reader, struct arena *arena, struct weir_str *text)
{
    size_t room = (size_t)(reader->end - reader->at);
    char *bytes = arena_alloc(arena, room + 1);
    size_t len = 0;
    while (reader->at < reader->end) {
        char c = *reader->at++;
        if (c == '\0') {
            if (reader->at == reader->end) return false;
            uint8_t next = (uint8_t)*reader->at++;
            if (next == 0) {
                *text = (struct weir_str){ bytes, len };
                return true;
            }
            if (next != 0xff) return false;
        }
        bytes[len++] = c;
    }
    return false;
}

bool map_key_read(const enum weir_kind *kinds, struct weir_str bytes, struct arena *arena,
                  struct weir_key *key)
{
    struct reader reader = reader_of(bytes);
    *key = (struct weir_key){ 0 };
    for (uint32_t i = 0; i < WEIR_KEY_PARTS_MAX && kinds[i] != WEIR_NONE; i++) {
        struct weir_part *part = &key->part[i];
        part->kind = kinds[i];
        if (kinds[i] == WEIR_TEXT || kinds[i] == WEIR_REF) {
            if (!read_text(&reader, arena, &part->text)) return false;
        } else if (kinds[i] == WEIR_BOOL) {
            part->n = reader_byte(&reader);
            if (part->n > 1) return false;
        } else {
            uint64_t n = 0;
            for (int k = 0; k < 8; k++) n = n << 8 | reader_byte(&reader);
            part->n = (int64_t)(n ^ (UINT64_C(1) << 63));
        }
        key->count++;
    }
    return !reader.failed && reader.at == reader.end;
}
