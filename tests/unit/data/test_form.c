/*
 * test_form.c - forms of fields: what is packed stays what it was whatever start is declared later; what does not fit is seen.
 * SPDX-License-Identifier: MIT
 */
#include "forms.h"

#define TEXT(literal) ((struct weir_str){ literal, sizeof(literal) - 1 })

struct value {
    int64_t n;
    double x;
    bool on;
    struct weir_str text;
    int64_t place;
};
static const char *const words[] = { "a", "b", "c", NULL };
static struct weir_field value_fields[] = {
    WEIR_FIELD(struct value, n, WEIR_INT),     WEIR_FIELD(struct value, x, WEIR_FLOAT),
    WEIR_FIELD(struct value, on, WEIR_BOOL),   WEIR_FIELD(struct value, text, WEIR_TEXT),
    WEIR_FIELD(struct value, place, WEIR_ENUM, .words = words), WEIR_END
};
static const struct weir_shape value_shape = WEIR_SHAPE(struct value, value_fields);
struct outer {
    struct value in;
    struct weir_list many;
};
static struct weir_field outer_fields[] = { WEIR_FIELD(struct outer, in, WEIR_RECORD, .shape = &value_shape),
                                            WEIR_FIELD(struct outer, many, WEIR_LIST, .shape = &value_shape), WEIR_END };
static const struct weir_shape outer_shape = WEIR_SHAPE(struct outer, outer_fields);

/* One of the ways to declare a field's start: nothing, nil where there is one, a value. */
static void start_draw(struct field *f)
{
    f->optional = f->kind != WEIR_BOOL && draw(3) == 0;
    f->has_start = !f->optional && draw(2) == 0;
    if (!f->has_start) return;
    f->start_int = f->kind == WEIR_BOOL ? 1 : f->kind == WEIR_ENUM ? (int64_t)draw(3) : (int64_t)draw(4) - 1;
    f->start_float = (double)draw(3) / 2;
    f->start_text = draw(2) ? TEXT("some") : TEXT("other");
}

static void starts_draw(struct shape *shape)
{
    for (uint32_t i = 0; i < shape->count; i++) {
        struct field *f = &shape->fields[i];
        if (f->shape != NULL) starts_draw((struct shape *)(uintptr_t)f->shape);
        else start_draw(f);
    }
}

static void base_take(struct shape *to, const struct shape *first)
{
    for (uint32_t i = 0; i < to->count; i++) {
        struct buf form = { 0 };
        const char *why;
        field_form(&first->fields[i], &form);
        assert_true(field_form_fits(&to->fields[i], buf_str(&form), &why));
        field_base(&to->fields[i], arena_copy(&forms_arena, buf_str(&form)), &forms_arena);
        buf_free(&form);
        if (to->fields[i].shape != NULL)
            base_take((struct shape *)(uintptr_t)to->fields[i].shape, first->fields[i].shape);
    }
}

static struct value value_draw(const struct shape *shape)
{
    static const double floats[] = { 0, 0.5, 1, -0.0 };
    struct value v = { .n = (int64_t)draw(4) - 1, .x = floats[draw(4)], .on = draw(2), .place = (int64_t)draw(3) };
    v.text = draw(3) == 0 ? TEXT("some") : draw(2) ? TEXT("other") : TEXT("");
    if (shape->fields[0].optional && draw(2)) v.n = WEIR_NIL;
    if (shape->fields[3].optional && draw(2)) v.text = (struct weir_str){ NULL, 0 };
    return v;
}

/* What may not be nil any more has its start. */
static void value_same(const struct shape *now, const struct value *got, const struct value *was)
{
    struct value start;
    shape_start(now, &start);
    bool n_nil = was->n == WEIR_NIL && !now->fields[0].optional, text_nil = was->text.ptr == NULL && !now->fields[3].optional;
    assert_int_equal(got->n, n_nil ? start.n : was->n);
    assert_memory_equal(&got->x, &was->x, sizeof(double));
    assert_int_equal(got->on, was->on);
    assert_int_equal(got->place, was->place);
    struct weir_str text = text_nil ? start.text : was->text;
    assert_true((text.ptr == NULL) == (got->text.ptr == NULL) && str_eq(got->text, text));
}

/* The data is begun with one declaration; values packed by a second are read by a third. */
static void test_values_stay(void **state)
{
    for (int round = 0; round < 20000; round++) {
        struct shape *version[3];
        for (int i = 0; i < 3; i++) {
            version[i] = form(&outer_shape);
            starts_draw(version[i]);
            if (i > 0) base_take(version[i], version[0]);
            if (draw(2)) shape_plan(&forms_arena, version[i]);
        }
        const struct shape *from = version[draw(2)], *to = version[2];
        const struct shape *inner = from->fields[0].shape, *element = from->fields[1].shape;
        struct value many[2] = { value_draw(element), value_draw(element) };
        struct outer was = { .in = value_draw(inner), .many = { many, draw(3) } }, got;
        struct buf packed = { 0 }, again = { 0 };
        pack(from, &was, &packed);
        assert_int_equal(unpack(to, buf_str(&packed), &forms_arena, false, &got), WEIR_OK);
        value_same(to->fields[0].shape, &got.in, &was.in);
        assert_int_equal(got.many.count, was.many.count);
        for (size_t i = 0; i < got.many.count; i++)
            value_same(to->fields[1].shape, &((struct value *)got.many.items)[i], &many[i]);
        struct outer back;
        pack(to, &got, &again);
        assert_int_equal(unpack(to, buf_str(&again), &forms_arena, false, &back), WEIR_OK);
        value_same(to->fields[0].shape, &back.in, &got.in);
        buf_free(&packed);
        buf_free(&again);
        if (round % 1000 == 0) arena_reset(&forms_arena);
    }
}

static struct weir_str form_bytes(const struct shape *shape)
{
    struct buf form = { 0 };
    field_form(&shape->fields[0], &form);
    struct weir_str kept = arena_copy(&forms_arena, buf_str(&form));
    buf_free(&form);
    return kept;
}

static void fits(struct weir_field first, struct weir_field then, const char *wanted)
{
    const char *why;
    bool fine = field_form_fits(&form_of(then)->fields[0], form_bytes(form_of(first)), &why);
    assert_true(fine == (wanted == NULL));
    if (wanted != NULL) assert_non_null(strstr(why, wanted));
}

static void test_what_does_not_fit(void **state)
{
#define INT(bytes) ((struct weir_field){ .kind = WEIR_INT, .size = (bytes) })
#define CHARS(bytes) ((struct weir_field){ .kind = WEIR_TEXT, .size = (bytes) })
#define REF(name) ((struct weir_field){ .kind = WEIR_REF, .type = (name) })
    fits(INT(1), INT(8), NULL);
    fits(INT(4), INT(4), NULL);
    fits(INT(8), INT(4), "narrower");
    fits(CHARS(20), CHARS(20), NULL);
    fits(CHARS(20), CHARS(0), NULL);
    fits(CHARS(20), CHARS(19), "narrower");
    fits(CHARS(0), CHARS(200), "narrower");
    fits(REF("user"), REF("user"), NULL);
    fits(REF("user"), REF("shop"), "another type");
}

/* What has been wide once is not narrow again; the start stays the first one. */
static void test_widths_grow(void **state)
{
    const char *why;
    struct shape *narrow = form_of((struct weir_field){ .kind = WEIR_INT, .size = 4, .start = WEIR_BOUND(7) });
    struct shape *wide = form_of((struct weir_field){ .kind = WEIR_INT, .size = 8, .start = WEIR_BOUND(9) });
    struct weir_str first = form_bytes(narrow);
    struct buf grown = { 0 };
    field_form_grown(&narrow->fields[0], first, &grown);
    assert_true(str_eq(first, buf_str(&grown)));
    buf_reset(&grown);
    field_form_grown(&wide->fields[0], first, &grown);
    assert_true(field_form_fits(&narrow->fields[0], first, &why));
    assert_false(field_form_fits(&narrow->fields[0], buf_str(&grown), &why));
    field_base(&wide->fields[0], buf_str(&grown), &forms_arena);
    assert_int_equal(wide->fields[0].base->start_int, 7);
    buf_free(&grown);
}

static struct weir_str args_bytes(const struct shape *args)
{
    struct buf form = { 0 };
    args_form(args, &form);
    struct weir_str kept = arena_copy(&forms_arena, buf_str(&form));
    buf_free(&form);
    return kept;
}

static void test_arguments(void **state)
{
    struct shape *args = form(&value_shape);
    struct weir_str was = args_bytes(args);
    assert_true(args_form_takes(args, was));
    args->fields[0].name = TEXT("called_otherwise");
    assert_true(args_form_takes(args, was));
    args->fields[0].has_start = true;
    args->fields[0].start_int = 4;
    assert_false(args_form_takes(args, was));
    args->fields[0].has_start = false;
    args->count = 4; /* one less */
    assert_false(args_form_takes(args, was));
    struct weir_str four = args_bytes(args);
    args->count = 5; /* one more */
    assert_false(args_form_takes(args, four));
    args->fields[4].optional = true;
    assert_true(args_form_takes(args, four));
    args->fields[2].kind = WEIR_INT;
    assert_false(args_form_takes(args, four));
    /* inside a record names count: fields are numbered in their order */
    struct shape *deep = form(&outer_shape);
    was = args_bytes(deep);
    ((struct shape *)(uintptr_t)deep->fields[0].shape)->fields[1].name = TEXT("y");
    assert_false(args_form_takes(deep, was));
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_values_stay), cmocka_unit_test(test_what_does_not_fit), cmocka_unit_test(test_widths_grow),
                                        cmocka_unit_test(test_arguments) };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
