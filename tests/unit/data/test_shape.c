/*
 * test_shape.c - layouts, start values, copies; every limit and rule at one below, at and one above.
 * SPDX-License-Identifier: MIT
 */
#include "forms.h"

static enum weir_status judged(struct shape *shape, const void *value, bool nil_allowed, struct problem *problem)
{
    *problem = (struct problem){ 0 };
    return shape_judge(shape, value, nil_allowed, problem);
}

static void start_values_are_the_declared_ones(void **state)
{
    struct shape *shape = form(&wide_shape);
    struct wide value;
    memset(&value, 0xff, sizeof(value));
    assert_int_equal(shape->size, sizeof(value));
    shape_start(shape, &value);
    assert_true(value.i == 0 && value.small == 0 && value.maybe == WEIR_NIL && value.f <= 0 && value.b && value.t.len == 0 && value.t.ptr != NULL);
    assert_true(value.when == WEIR_NIL && value.colour == 0 && value.other.key.ptr == NULL && value.in.n == 7 && value.in.t.ptr == NULL);
    assert_true(value.list.count == 0 && value.any.ptr == NULL && value.code[0] == 0);
}

static void copy_is_deep_and_equal(void **state)
{
    struct shape *shape = form(&wide_shape);
    for (int i = 0; i < 300; i++) {
        struct arena arena = { 0 };
        struct wide value = some_wide(), copy;
        shape_copy(shape, &value, &arena, &copy);
        assert_true(same_wide(&value, &copy));
        if (value.list.count > 0) assert_ptr_not_equal(copy.list.items, value.list.items);
        if (value.t.len > 0) assert_ptr_not_equal(copy.t.ptr, value.t.ptr);
        arena_free(&arena);
    }
}

static void layout_is_that_of_a_c_struct(void **state)
{
    struct shape *from = form(&wide_shape);
    struct field fields[16];
    struct shape laid = { fields, from->count, 0, false };
    memcpy(fields, from->fields, from->count * sizeof(*fields));
    for (uint32_t i = 0; i < from->count; i++) fields[i].inline_text = false; /* those are laid out in C only */
    shape_layout(&laid);
    uint32_t end = 0;
    for (uint32_t i = 0; i < laid.count; i++) {
        const struct field *f = &fields[i];
        assert_true(f->offset >= end);
        assert_int_equal(f->offset % (f->size < 8 ? f->size : 8), 0);
        end = f->offset + f->size;
    }
    assert_true(laid.size >= end);
}

static void bounds_of_numbers(void **state)
{
    struct problem problem;
    struct shape *shape = form_of((struct weir_field){ .kind = WEIR_INT, .size = 8, .min = WEIR_BOUND(-5), .max = WEIR_BOUND(1000) });
    static const struct {
        int64_t n;
        enum weir_status st;
    } cases[] = { { -6, WEIR_CHECK }, { -5, WEIR_OK }, { -4, WEIR_OK }, { 999, WEIR_OK }, { 1000, WEIR_OK }, { 1001, WEIR_CHECK } };
    for (size_t i = 0; i < 6; i++) assert_int_equal(judged(shape, &cases[i].n, false, &problem), cases[i].st);
    assert_string_equal(problem.rule, "max");
    struct shape *free = form_of((struct weir_field){ .kind = WEIR_INT, .size = 8 });
    static const int64_t wide[] = { WEIR_INT_MAX - 1, WEIR_INT_MAX, WEIR_INT_MAX + 1, -WEIR_INT_MAX, -WEIR_INT_MAX - 1 };
    static const bool good[] = { true, true, false, true, false };
    for (size_t i = 0; i < 5; i++) assert_int_equal(judged(free, &wide[i], false, &problem), good[i] ? WEIR_OK : WEIR_RANGE);
    double number = 1.0 / 0.0;
    struct shape *real = form_of((struct weir_field){ .kind = WEIR_FLOAT, .max = WEIR_BOUND(2) });
    assert_int_equal(judged(real, &number, false, &problem), WEIR_RANGE);
    number = 2.0;
    assert_int_equal(judged(real, &number, false, &problem), WEIR_OK);
    number = 2.0000001;
    assert_int_equal(judged(real, &number, false, &problem), WEIR_CHECK);
}

static void bounds_of_texts_and_lists(void **state)
{
    struct problem problem;
    struct shape *shape = form_of((struct weir_field){ .kind = WEIR_TEXT, .min = WEIR_BOUND(2), .max = WEIR_BOUND(4) });
    static const char text[] = "abcdef";
    for (size_t len = 0; len <= 6; len++) {
        struct weir_str value = { text, len };
        assert_int_equal(judged(shape, &value, false, &problem), len >= 2 && len <= 4 ? WEIR_OK : WEIR_CHECK);
    }
    struct weir_str broken = { "\xc3(", 2 };
    assert_int_equal(judged(shape, &broken, false, &problem), WEIR_ARG);
    struct shape *list = form_of((struct weir_field){ .kind = WEIR_LIST, .shape = &int_shape });
    static int64_t items[SHAPE_LIST_MAX + 1];
    for (size_t count = SHAPE_LIST_MAX - 1; count <= SHAPE_LIST_MAX + 1; count++) {
        struct weir_list value = { items, count };
        assert_int_equal(judged(list, &value, false, &problem), count <= SHAPE_LIST_MAX ? WEIR_OK : WEIR_BUDGET);
    }
    struct shape *key = form_of((struct weir_field){ .kind = WEIR_REF, .type = "x" });
    char bytes[1025];
    memset(bytes, 'k', sizeof(bytes));
    for (size_t len = 1023; len <= 1025; len++) {
        struct weir_ref ref = { { bytes, len } };
        assert_int_equal(judged(key, &ref, false, &problem), len <= 1024 ? WEIR_OK : WEIR_ARG);
    }
}

static void nil_is_allowed_where_declared(void **state)
{
    struct problem problem;
    struct shape *shape = form(&wide_shape);
    struct wide value = some_wide();
    value.other.key = STR_NIL;
    assert_int_equal(judged(shape, &value, true, &problem), WEIR_OK);
    assert_int_equal(judged(shape, &value, false, &problem), WEIR_ARG);
    assert_string_equal(problem.field, "other");
    assert_string_equal(problem.rule, "missing");
}

static void problem_names_the_path(void **state)
{
    struct problem problem;
    struct shape *shape = form(&wide_shape);
    struct inner items[2] = { some_inner(), some_inner() };
    struct wide value = some_wide();
    items[1].n = 1001;
    value.list = (struct weir_list){ items, 2 };
    assert_int_equal(judged(shape, &value, true, &problem), WEIR_CHECK);
    assert_string_equal(problem.field, "list[2].n");
    assert_non_null(strstr(problem.text, "1001"));
    items[1].n = 0;
    value.in.n = -6;
    assert_int_equal(judged(shape, &value, true, &problem), WEIR_CHECK);
    assert_string_equal(problem.field, "in.n");
}

/* A refusal quotes what came: that may be no text, or be cut inside a character. */
static void problem_is_always_text(void **state)
{
    struct problem problem = { 0 };
    char name[200];
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'x', sizeof(name));
        for (size_t i = shift; i + 3 < sizeof(name); i += 3) memcpy(name + i, "\xe2\x82\xac", 3);
        struct shape *shape = form_of((struct weir_field){ .kind = WEIR_ENUM, .size = 8, .words = colours });
        int64_t value;
        (void)field_read_text(&shape->fields[0], (struct weir_str){ name, sizeof(name) }, &forms_arena, &value, &problem);
        assert_true(problem.text[0] != 0 && str_is_utf8(str_of(problem.text)));
    }
}

static enum weir_status added(uint32_t fields)
{
    struct weir_field *table = arena_alloc(&forms_arena, (fields + 1) * sizeof(*table));
    for (uint32_t i = 0; i < fields; i++)
        table[i] = (struct weir_field){ .name = arena_printf(&forms_arena, "f%u%c", i, 0).ptr, .kind = WEIR_INT, .offset = i * 8, .size = 8 };
    struct weir_shape from = { .size = fields * 8, .fields = table };
    struct shape *shape;
    const char *why;
    return shape_of(&forms_arena, &from, &shape, &why) ? WEIR_OK : WEIR_CONFIG;
}

static bool nested(unsigned depth)
{
    const struct weir_shape *below = &int_shape;
    for (unsigned i = 0; i < depth; i++) {
        struct weir_shape *list = arena_alloc(&forms_arena, sizeof(*list));
        *list = (struct weir_shape){ .scalar = true, .one = { .name = "", .kind = WEIR_LIST, .shape = below } };
        below = list;
    }
    struct shape *shape;
    const char *why;
    return shape_of(&forms_arena, below, &shape, &why);
}

static void limits_of_declarations(void **state)
{
    assert_int_equal(added(SHAPE_FIELDS_MAX - 1), WEIR_OK);
    assert_int_equal(added(SHAPE_FIELDS_MAX), WEIR_OK);
    assert_int_equal(added(SHAPE_FIELDS_MAX + 1), WEIR_CONFIG);
    assert_true(nested(SHAPE_DEPTH_MAX - 1) && nested(SHAPE_DEPTH_MAX) && !nested(SHAPE_DEPTH_MAX + 1));
    static const struct weir_field twice[] = { { .name = "a", .kind = WEIR_INT, .size = 8 }, { .name = "a", .kind = WEIR_INT, .size = 8, .offset = 8 }, WEIR_END };
    static const struct weir_shape from = { .size = 16, .fields = twice };
    struct shape *shape;
    const char *why;
    assert_false(shape_of(&forms_arena, &from, &shape, &why));
}

static void shapes_that_fit_and_that_do_not(void **state)
{
    struct shape *wide = form(&wide_shape), *again = form(&wide_shape), *inner = form(&inner_shape);
    const char *why = NULL;
    assert_true(shape_fits(wide, again, &forms_arena, &why) && shape_same_layout(wide, again));
    assert_false(shape_fits(wide, inner, &forms_arena, &why));
    assert_non_null(why);
    assert_false(shape_same_layout(wide, inner));
    again->fields[3].kind = WEIR_INT;
    assert_false(shape_fits(wide, again, &forms_arena, &why));
    assert_non_null(strstr(why, "`f` is float here and int there"));
}

/* Each rule of the taker at one below, at and above the giver's. */
static void shapes_that_take_what_another_gives(void **state)
{
    (void)state;
    struct shape *wide = form(&wide_shape), *inner = form(&inner_shape);
    assert_true(shape_takes(wide, wide));
    assert_false(shape_takes(wide, inner));
    struct field own = { .kind = WEIR_INT, .size = 8 }, from = own;
    struct shape to = { &own, 1, 8, true }, given = { &from, 1, 8, true };
    assert_true(shape_takes(&to, &given));
    own.has_max = true;
    own.max = 5;
    assert_false(shape_takes(&to, &given));
    from.has_max = true;
    for (from.max = 4; from.max <= 6; from.max++)
        assert_int_equal(shape_takes(&to, &given), from.max <= 5);
    from.max = 5;
    own.has_min = true;
    own.min = 2;
    assert_false(shape_takes(&to, &given));
    from.has_min = true;
    for (from.min = 1; from.min <= 3; from.min++)
        assert_int_equal(shape_takes(&to, &given), from.min >= 2);
    from.optional = true;
    assert_false(shape_takes(&to, &given));
    own.optional = true;
    assert_true(shape_takes(&to, &given));
    own.kind = from.kind = WEIR_FLOAT;
    assert_false(shape_takes(&to, &given)); /* bounds of floats are not compared */
    struct field number = { .kind = WEIR_INT, .size = 8 };
    struct shape numbers = { &number, 1, 8, true };
    own = from = (struct field){ .kind = WEIR_LIST, .size = 16, .shape = &numbers };
    to.size = given.size = 16;
    from.has_max = true;
    for (from.max = SHAPE_LIST_MAX - 1; from.max <= (int64_t)SHAPE_LIST_MAX + 1; from.max++)
        assert_int_equal(shape_takes(&to, &given), from.max <= (int64_t)SHAPE_LIST_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_that_take_what_another_gives),
        cmocka_unit_test(start_values_are_the_declared_ones), cmocka_unit_test(copy_is_deep_and_equal),
        cmocka_unit_test(layout_is_that_of_a_c_struct), cmocka_unit_test(bounds_of_numbers),
        cmocka_unit_test(bounds_of_texts_and_lists), cmocka_unit_test(nil_is_allowed_where_declared),
        cmocka_unit_test(problem_names_the_path), cmocka_unit_test(problem_is_always_text),
        cmocka_unit_test(limits_of_declarations), cmocka_unit_test(shapes_that_fit_and_that_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
