/*
 * pack.c - the packed form of structs: the stored rows, messages, timers and request records.
 * The form itself: shape.h and docs/formats/rows.md.
 * SPDX-License-Identifier: MIT
 */
#include "base/hash.h"
#include "data/data_int.h"

#define TAG_BYTES_MAX 5u
#define VARINT_BYTES_MAX 10u

static void add_tag(struct buf *out, const struct field *f, enum wire wire)
{
    buf_add_varint(out, (uint64_t)f->id << 2 | wire);
}

/* Puts the length of what was written since `at`, but for the byte there, which is for it. Most are short. */
static void add_length_at(struct buf *out, size_t at)
{
    size_t len = out->len - at - 1, more = 0;
    for (size_t rest = len; rest >= 0x80; rest >>= 7) more++;
    if (more > 0) {
        buf_reserve(out, more);
        memmove(out->ptr + at + 1 + more, out->ptr + at + 1, len);
        out->len += more;
    }
    char *to = out->ptr + at;
    for (size_t rest = len; more > 0; rest >>= 7, more--) *to++ = (char)(rest | 0x80);
    *to = (char)(len >> (7 * (size_t)(to - (out->ptr + at))));
}

static void pack_list(const struct field *f, const void *at, struct buf *out)
{
    struct weir_list list;
    memcpy(&list, at, sizeof(list));
    if (list.count == 0) return;
    add_tag(out, f, WIRE_BYTES);
    size_t begin = out->len;
    buf_add_byte(out, 0);
    buf_add_varint(out, list.count);
    for (size_t i = 0; i < list.count; i++) {
        size_t element = out->len;
        buf_add_byte(out, 0);
        pack(f->shape, (const char *)list.items + i * f->shape->size, out);
        add_length_at(out, element);
    }
    add_length_at(out, begin);
}

static void pack_text(const struct field *f, const void *at, struct buf *out)
{
    struct weir_str text = text_load(f, at);
    const struct field *base = field_packed_against(f);
    struct weir_str start = base->has_start && base->start_text.ptr ? base->start_text : STR("");
    if (!start_is_nil(base) && str_eq(text, start)) return;
    add_tag(out, f, WIRE_BYTES);
    buf_add_varint(out, text.len);
    buf_add_str(out, text);
}

static inline void pack_int(const struct field *f, int64_t n, struct buf *out)
{
    if (n == 0 && field_is_plain(f)) return;
    const struct field *base = field_packed_against(f);
    bool nil = n == WEIR_NIL && f->size == 8 && field_may_be_nil(f);
    bool start_nil = start_is_nil(base);
    if (nil ? start_nil : !start_nil && n == (base->has_start ? base->start_int : 0)) return;
    add_tag(out, f, nil ? WIRE_NIL : WIRE_VARINT);
    if (!nil) buf_add_varint(out, zigzag(n));
}

static void pack_field(const struct field *f, const void *at, struct buf *out)
{
    if (kind_is_int(f->kind)) {
        pack_int(f, int_load(f, at), out);
        return;
    }
    const struct field *base = field_packed_against(f);
    if (field_may_be_nil(f) && value_is_nil(f, at)) {
        if (!start_is_nil(base)) add_tag(out, f, WIRE_NIL);
        return;
    }
    switch (f->kind) {
    case WEIR_BOOL: {
        bool set = *(const bool *)at;
        if (set == (base->has_start && base->start_int != 0)) return;
        add_tag(out, f, WIRE_VARINT);
        buf_add_varint(out, set);
        return;
    }
    case WEIR_FLOAT:
        if (!start_is_nil(base) && load_le64(at) == load_le64((const char *)&base->start_float))
            return;
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
        buf_add_byte(out, 0);
        pack(f->shape, at, out);
        if (out->len == begin + 1) out->len = tag;
        else add_length_at(out, begin);
        return;
    }
    case WEIR_LIST: pack_list(f, at, out); return;
    case WEIR_INT:
    case WEIR_TIME:
    case WEIR_ENUM: /* above */
    case WEIR_NONE: return;
    }
}

static void pack_planned(const struct shape *shape, const void *in, struct buf *out)
{
    /* room for all tags and numbers, asked for once and again behind what takes more */
    size_t room = shape->count * (size_t)(TAG_BYTES_MAX + VARINT_BYTES_MAX);
    buf_reserve(out, room);
    char *at = out->ptr + out->len;
    const struct step *steps = shape->plan->steps, *end = steps + shape->count;
    for (const struct step *step = steps; step < end; step++) {
        const char *from = (const char *)in + step->offset;
        if (step->kind == STEP_INT || step->kind == STEP_TIME) {
            int64_t n;
            memcpy(&n, from, sizeof(n));
            if (n == (step->kind == STEP_TIME ? WEIR_NIL : 0)) continue;
            if (n != WEIR_NIL) {
                at = varint_put(varint_put(at, step->tag), zigzag(n));
                continue;
            }
        }
        struct weir_str text = STR_NIL;
        if (step->kind == STEP_TEXT) memcpy(&text, from, sizeof(text));
        if (text.ptr != NULL) {
            if (text.len == 0) continue;
            at = varint_put(varint_put(at, step->tag), text.len);
            out->len = (size_t)(at - out->ptr);
            buf_add(out, text.ptr, text.len);
        } else {
            out->len = (size_t)(at - out->ptr);
            pack_field(&shape->fields[step - steps], from, out);
        }
        buf_reserve(out, room);
        at = out->ptr + out->len;
    }
    out->len = (size_t)(at - out->ptr);
}

/* Rows give fields ids out of order when names came later; the packed form is in order of declaration, which
 * is the same for equal shapes: equal structs give equal bytes. */
void pack(const struct shape *shape, const void *in, struct buf *out)
{
    if (shape->plan != NULL) {
        pack_planned(shape, in, out);
        return;
    }
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
    ASSERT_SLOW(shape->count == 0 || shape->fields != NULL);
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

/* What follows the first byte of a varint, which says that more does. NULL: of more than nine bytes, as few are, or wrong. */
static inline const char *varint_more(const char *at, const char *end, uint64_t *n)
{
    uint64_t taken = *n & 0x7f;
    for (unsigned shift = 7; at < end && shift < 63; shift += 7) {
        uint64_t byte = (uint8_t)*at++;
        taken |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *n = taken;
            return at;
        }
    }
    return NULL;
}

/* Reads numbers and texts that come in the order of their fields, from the one at `hint` on; leaves the reader before whatever is
 * something else, or wrong. */
static inline uint32_t unpack_planned(const struct shape *shape, uint32_t hint,
                                      struct reader *reader, struct arena *arena, bool copy,
                                      void *out)
{
    const struct step *steps = shape->plan->steps, *last = steps + shape->count;
    const struct step *next = steps + hint;
    const char *at = reader->at, *end = reader->end;
    while (end - at >= 2) {
        const struct step *step = next;
        uint32_t tag = (uint8_t)at[0]; /* of one byte, as those of the first 31 fields are */
        uint64_t n = (uint8_t)at[1];
        while (step < last && step->tag != tag) step++;
        if (step == last || tag >= 0x80) break;
        const char *behind = at + 2;
        if (n >= 0x80 && (behind = varint_more(behind, end, &n)) == NULL) break;
        char *to = (char *)out + step->offset;
        if (step->kind == STEP_TEXT) {
            struct weir_str text = { behind, n };
            if (n > (size_t)(end - behind)) break;
            behind += n;
            if (copy) text = arena_copy(arena, text);
            memcpy(to, &text, sizeof(text));
        } else {
            int64_t number = unzigzag(n);
            memcpy(to, &number, sizeof(number));
        }
        at = behind;
        next = step + 1;
    }
    reader->at = at;
    return (uint32_t)(next - steps);
}

/* What is left in the reader, whatever it is. */
static __attribute__((noinline)) enum weir_status unpack_fields(const struct shape *shape,
                                                                uint32_t hint, struct reader reader,
                                                                struct arena *arena, bool copy,
                                                                void *out)
{
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
            if (f == NULL) break;
            if (field_may_be_nil(f)) value_set_nil(f, at);
            else field_start(f, at); /* it was optional once */
            break;
        }
        if (shape->plan != NULL) hint = unpack_planned(shape, hint, &reader, arena, copy, out);
    }
    return reader.failed ? WEIR_CORRUPT : WEIR_OK;
}

enum weir_status unpack(const struct shape *shape, struct weir_str bytes, struct arena *arena,
                        bool copy, void *out)
{
    shape_base(shape, out);
    struct reader reader = reader_of(bytes);
    uint32_t hint = 0;
    if (shape->plan != NULL) hint = unpack_planned(shape, 0, &reader, arena, copy, out);
    if (reader.at == reader.end) return WEIR_OK;
    return unpack_fields(shape, hint, reader, arena, copy, out);
}
