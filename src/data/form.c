/*
 * form.c - what stored values depend on, in bytes that are kept beside them: so that a changed declaration is seen before it
 * reads them otherwise.
 *
 * A field's form: varint width (of whole numbers and char[n]; else 0), its start (0 blank, 1 nil, 2 and the value), varint
 * length and name of the type it refers to. See docs/formats/rows.md.
 * SPDX-License-Identifier: MIT
 */
#include "data/data_int.h"

enum form_start { FORM_BLANK = 0, FORM_NIL = 1, FORM_VALUE = 2 };

static uint32_t field_width(const struct field *f)
{
    return kind_is_int(f->kind) || f->inline_text ? f->size : 0;
}

static void add_text(struct buf *out, struct weir_str text)
{
    buf_add_varint(out, text.len);
    buf_add_str(out, text);
}

static void start_form(const struct field *f, struct buf *out)
{
    buf_add_byte(out, start_is_nil(f) ? FORM_NIL : f->has_start ? FORM_VALUE : FORM_BLANK);
    if (!f->has_start) return;
    if (f->kind == WEIR_FLOAT) buf_add(out, &f->start_float, sizeof(double));
    else if (kind_is_text(f->kind)) add_text(out, f->start_text);
    else buf_add_varint(out, zigzag(f->start_int));
}

void field_form(const struct field *f, struct buf *out)
{
    buf_add_varint(out, field_width(f));
    start_form(f, out);
    add_text(out, f->type);
}

/* A field of this kind with the start that the form has. */
static struct field form_read(const struct field *f, struct weir_str form, uint64_t *width)
{
    struct field base = *f;
    struct reader reader = reader_of(form);
    *width = reader_varint(&reader);
    enum form_start start = reader_byte(&reader);
    base.base = NULL;
    base.start_int = 0;
    base.start_float = 0;
    base.start_text = STR_NIL;
    base.optional = start == FORM_NIL;
    base.has_start = start == FORM_VALUE;
    if (base.has_start && f->kind == WEIR_FLOAT) {
        struct weir_str bytes = reader_bytes(&reader, sizeof(double));
        if (!reader.failed) memcpy(&base.start_float, bytes.ptr, sizeof(double));
    } else if (base.has_start && kind_is_text(f->kind)) {
        base.start_text = reader_bytes(&reader, reader_varint(&reader));
    } else if (base.has_start) {
        base.start_int = unzigzag(reader_varint(&reader));
    }
    base.type = reader_bytes(&reader, reader_varint(&reader));
    return base;
}

bool field_form_fits(const struct field *f, struct weir_str was, const char **why)
{
    uint64_t width;
    struct field base = form_read(f, was, &width);
    uint64_t now = field_width(f);
    *why = now != 0 && (width == 0 || now < width) ? "is narrower than in the data"
           : str_eq(base.type, f->type)            ? NULL
                                                   : "refers to another type than in the data";
    return *why == NULL;
}

void field_form_grown(const struct field *f, struct weir_str was, struct buf *out)
{
    uint64_t width;
    struct field base = form_read(f, was, &width);
    field_form(&base, out);
}

void field_base(struct field *f, struct weir_str was, struct arena *arena)
{
    uint64_t width;
    struct field base = form_read(f, was, &width);
    struct buf now = { 0 }, then = { 0 };
    start_form(f, &now);
    start_form(&base, &then);
    f->base = NULL;
    if (!str_eq(buf_str(&now), buf_str(&then))) {
        struct field *kept = arena_alloc(arena, sizeof(*kept));
        *kept = base;
        kept->start_text = arena_copy(arena, base.start_text);
        kept->type = f->type;
        f->base = kept;
    }
    buf_free(&now);
    buf_free(&then);
}

/* ---- of arguments and results, which are numbered by their places ---- */

static void fields_form(const struct shape *shape, bool named, struct buf *out);

static void add_field(const struct field *f, bool named, struct buf *out)
{
    struct buf form = { 0 };
    buf_add_byte(&form, (uint8_t)f->kind);
    add_text(&form, named ? f->name : STR(""));
    field_form(f, &form);
    for (uint32_t i = 0; i < f->word_count; i++) add_text(&form, f->words[i]);
    if (f->shape != NULL) fields_form(f->shape, true, &form);
    add_text(out, buf_str(&form));
    buf_free(&form);
}

static void fields_form(const struct shape *shape, bool named, struct buf *out)
{
    for (uint32_t i = 0; i < shape->count; i++) add_field(&shape->fields[i], named, out);
}

void args_form(const struct shape *args, struct buf *out)
{
    fields_form(args, false, out);
}

void result_form(const struct shape *result, struct buf *out)
{
    buf_add_byte(out, result->scalar);
    fields_form(result, true, out);
}

bool args_form_takes(const struct shape *args, struct weir_str was)
{
    struct buf form = { 0 };
    bool same = true;
    for (uint32_t i = 0; i < args->count && same; i++) {
        const struct field *f = &args->fields[i];
        size_t at = form.len;
        add_field(f, false, &form);
        if (at < was.len)
            same = form.len <= was.len && memcmp(form.ptr + at, was.ptr + at, form.len - at) == 0;
        else same = start_is_nil(f) && f->optional;
    }
    same = same && form.len >= was.len;
    buf_free(&form);
    return same;
}
