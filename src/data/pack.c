/*
 * pack.c - the packed form of structs: the stored rows, messages, timers and request records.
 * The form itself: shape.h and docs/formats/rows.md.
 * SPDX-License-Identifier: MIT
 */
#include "base/hash.h"
#include "data/data_int.h"

enum wire { WIRE_VARINT = 0, WIRE_DOUBLE = 1, WIRE_BYTES = 2, WIRE_NIL = 3 };

static void add_tag(struct buf *out, const struct field *f, enum wire wire)
{
    buf_add_varint(out, (uint64_t)f->id << 2 | wire);
}

/* Puts the length of what was written since `at` before it. */
static void add_length_before(struct buf *out, size_t at)
{
    char bytes[10];
    size_t len = out->len - at, n = 0;
    for (uint64_t rest = len;; rest >>= 7) {
        bytes[n] = (char)(rest & 0x7f);
        if (rest < 0x80) {
            n++;
            break;
        }
        bytes[n++] |= (char)0x80;
    }
    buf_reserve(out, n);
    memmove(out->ptr + at + n, out->ptr + at, len);
    memcpy(out->ptr + at, bytes, n);
    out->len += n;
}

static void pack_list(const struct field *f, const void *at, struct buf *out)
{
    struct weir_list list;
    memcpy(&list, at, sizeof(list));
    if (list.count == 0) return;
    add_tag(out, f, WIRE_BYTES);
    size_t begin = out->len;
    buf_add_varint(out, list.count);
    for (size_t i = 0; i < list.count; i++) {
        size_t element = out->len;
        pack(f->shape, (const char *)list.items + i * f->shape->size, out);
        add_length_before(out, element);
    }
    add_length_before(out, begin);
}

static void pack_text(const struct field *f, const void *at, struct buf *out)
{
    struct weir_str text = text_load(f, at);
    struct weir_str start = f->has_start && f->start_text.ptr ? f->start_text : STR("");
    if (!start_is_nil(f) && str_eq(text, start)) return;
    add_tag(out, f, WIRE_BYTES);
    buf_add_varint(out, text.len);
    buf_add_str(out, text);
}

static inline void pack_int(const struct field *f, int64_t n, struct buf *out)
{
    if (n == 0 && field_is_plain(f)) return;
    bool nil = n == WEIR_NIL && f->size == 8, start_nil = start_is_nil(f);
    if (nil ? start_nil : !start_nil && n == (f->has_start ? f->start_int : 0)) return;
    add_tag(out, f, nil ? WIRE_NIL : WIRE_VARINT);
    if (!nil) buf_add_varint(out, zigzag(n));
}

static void pack_field(const struct field *f, const void *at, struct buf *out)
{
    if (kind_is_int(f->kind)) {
        pack_int(f, int_load(f, at), out);
        return;
    }
    if (value_is_nil(f, at)) {
        if (!start_is_nil(f)) add_tag(out, f, WIRE_NIL);
        return;
    }
    switch (f->kind) {
    case WEIR_BOOL: {
        bool set = *(const bool *)at;
        if (set == (f->has_start && f->start_int != 0)) return;
        add_tag(out, f, WIRE_VARINT);
        buf_add_varint(out, set);
        return;
    }
    case WEIR_FLOAT:
        if (!start_is_nil(f) && load_le64(at) == load_le64((const char *)&f->start_float)) return;
        add_tag(out, f, WIRE_DOUBLE);
        buf_add(out, at, sizeof(double));
        return;
    case WEIR_TEXT:
    case WEIR_BYTES:
    case WEIR_REF:
    case WEIR_ANY: pack_text(f, at, out); return;
    case WEIR_RECORD: {
        size_t tag = out->len;
        add_tag(out, f, WIRE_BYTES);
        size_t begin = out->len;
        pack(f->shape, at, out);
        if (out->len == begin) out->len = tag;
        else add_length_before(out, begin);
        return;
    }
    case WEIR_LIST: pack_list(f, at, out); return;
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: /* above */
    case WEIR_NONE: return;
    }
}

/* Rows give fields ids out of order when names came later; the packed form is in order of declaration, which
 * is the same for equal shapes: equal structs give equal bytes. */
void pack(const struct shape *shape, const void *in, struct buf *out)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        const struct field *f = &shape->fields[i];
        const char *at = (const char *)in + f->offset;
        if (field_is_plain(f)) pack_int(f, int_load(f, at), out);
        else pack_field(f, at, out);
    }
}

/* ---- reading ---- */

static const struct field *field_by_id(const struct shape *shape, uint64_t id, uint32_t *hint)
{
    for (uint32_t n = 0; n < shape->count; n++) {
        uint32_t i = *hint + n < shape->count ? *hint + n : *hint + n - shape->count;
        if (shape->fields[i].id == id) {
            *hint = i + 1;
            return &shape->fields[i];
        }
    }
    return NULL;
}

static enum weir_status unpack_list(const struct field *f, struct weir_str bytes,
                                    struct arena *arena, bool copy, void *at)
{
    struct reader reader = reader_of(bytes);
    uint64_t count = reader_varint(&reader);
    if (reader.failed || count > bytes.len) return WEIR_CORRUPT;
    struct weir_list list = { NULL, count };
    size_t size = f->shape->size;
    list.items = arena_alloc(arena, count * size + 8u);
    for (uint64_t i = 0; i < count; i++) {
        struct weir_str element = reader_bytes(&reader, reader_varint(&reader));
        if (reader.failed ||
            unpack(f->shape, element, arena, copy, (char *)list.items + i * size) != WEIR_OK)
            return WEIR_CORRUPT;
    }
    memcpy(at, &list, sizeof(list));
    return reader.at == reader.end ? WEIR_OK : WEIR_CORRUPT;
}

static enum weir_status unpack_bytes(const struct field *f, struct weir_str bytes,
                                     struct arena *arena, bool copy, void *at)
{
    if (kind_is_text(f->kind)) {
        if (bytes.ptr == NULL) bytes.ptr = "";
        if (f->inline_text && bytes.len > f->size) return WEIR_CORRUPT;
        text_store(f, at, copy && !f->inline_text ? arena_copy(arena, bytes) : bytes);
        return WEIR_OK;
    }
    if (f->kind == WEIR_RECORD) return unpack(f->shape, bytes, arena, copy, at);
    if (f->kind == WEIR_LIST) return unpack_list(f, bytes, arena, copy, at);
    return WEIR_CORRUPT;
}

enum weir_status unpack(const struct shape *shape, struct weir_str bytes, struct arena *arena,
                        bool copy, void *out)
{
    shape_start(shape, out);
    struct reader reader = reader_of(bytes);
    uint32_t hint = 0;
    while (reader.at < reader.end && !reader.failed) {
        uint64_t tag = reader_varint(&reader);
        const struct field *f = hint < shape->count ? &shape->fields[hint] : NULL;
        if (f != NULL && f->id == tag >> 2) hint++;
        else f = field_by_id(shape, tag >> 2, &hint);
        char *at = f ? (char *)out + f->offset : NULL;
        uint64_t n;
        struct weir_str text;
        switch ((enum wire)(tag & 3)) {
        case WIRE_VARINT:
            n = reader_varint(&reader);
            if (f == NULL) break;
            if (kind_is_int(f->kind)) int_store(f, at, unzigzag(n));
            else if (f->kind == WEIR_BOOL) *(bool *)(void *)at = n != 0;
            else return WEIR_CORRUPT;
            break;
        case WIRE_DOUBLE:
            text = reader_bytes(&reader, sizeof(double));
            if (f == NULL || reader.failed) break;
            if (f->kind != WEIR_FLOAT) return WEIR_CORRUPT;
            memcpy(at, text.ptr, sizeof(double));
            break;
        case WIRE_BYTES:
            text = reader_bytes(&reader, reader_varint(&reader));
            if (f == NULL || reader.failed) break;
            if (unpack_bytes(f, text, arena, copy, at) != WEIR_OK) return WEIR_CORRUPT;
            break;
        case WIRE_NIL:
            if (f != NULL) value_set_nil(f, at);
            break;
        }
    }
    return reader.failed ? WEIR_CORRUPT : WEIR_OK;
}
