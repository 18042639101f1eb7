/*
 * test_key.c - keys of typed parts, the part that routes, and ordered keys of maps beside comparing their values.
 * SPDX-License-Identifier: MIT
 */
#include "forms.h"

static struct key_form parsed(const char *text)
{
    struct key_form out;
    const char *why = "";
    if (!key_form_parse(&forms_arena, str_of(text), form(&wide_shape), &out, &why)) fail_msg("%s: %s", text, why);
    return out;
}

static void declarations_that_make_no_sense_are_refused(void **state)
{
    static const char *const wrong[] = { "", "none", "i:", ":i", "{i}:{t}", "{i", "f", "list", "i:t:other:i:t", "{}" };
    struct key_form out;
    const char *why;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (key_form_parse(&forms_arena, str_of(wrong[i]), form(&wide_shape), &out, &why)) fail_msg("`%s` was taken", wrong[i]);
    assert_int_equal(parsed("{i}:t:other").count, 3);
    assert_int_equal(parsed("i:t:other:{i}").count, WEIR_KEY_PARTS_MAX);
}

static void key_is_built_and_taken_apart(void **state)
{
    struct key_form of = parsed("{i}:other:t");
    struct shape *shape = form(&wide_shape);
    for (int i = 0; i < 1000; i++) {
        struct buf key = { 0 };
        struct wide value;
        struct weir_part parts[3] = { { .n = some_int() }, { .text = STR("k") }, { .text = some_text(9) } };
        assert_true(key_build(&of, parts, &key));
        assert_true(key_apply(&of, shape, buf_str(&key), &value));
        assert_true(value.i == parts[0].n && str_eq(value.other.key, STR("k")) && str_eq(value.t, parts[2].text));
        buf_free(&key);
    }
    struct buf key = { 0 };
    struct weir_part colon[3] = { { .n = 1 }, { .text = STR("a:b") }, { .text = STR("c") } };
    assert_false(key_build(&of, colon, &key)); /* it could not be told from two parts */
    colon[1].text = STR("b");
    colon[2].text = STR("c:d");
    assert_true(key_build(&of, colon, &key)); /* the last may */
    buf_free(&key);
}

static void number_has_one_spelling(void **state)
{
    struct key_form of = parsed("i");
    struct shape *shape = form(&wide_shape);
    static const char *const good[] = { "0", "7", "-7", "9007199254740991", "-9007199254740991" };
    static const char *const wrong[] = { "", "-", "-0", "00", "07", "+7", " 7", "7 ", "7x", "9007199254740992", "99999999999999999", "0x7" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) assert_true(key_apply(&of, shape, str_of(good[i]), NULL));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (key_apply(&of, shape, str_of(wrong[i]), NULL)) fail_msg("`%s` was taken", wrong[i]);
}

static void route_is_the_braced_part(void **state)
{
    struct key_form plain = { 0 }, typed = parsed("{i}:t");
    static const struct {
        const char *key, *route;
    } cases[] = { { "ann", "ann" }, { "a{b}c", "b" }, { "a{}c", "a{}c" }, { "a{b", "a{b" }, { "{x}", "x" }, { "a{b}{c}", "b" }, { "}{", "}{" }, { "", "" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_true(str_eq(key_route(&plain, str_of(cases[i].key)), str_of(cases[i].route)));
    assert_true(str_eq(key_route(&typed, STR("12:x:y")), STR("12")));
    assert_true(str_eq(key_route(&typed, STR("12")), STR("12")));
}

static int compared(const enum weir_kind *kinds, const struct weir_key *a, const struct weir_key *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        bool text = kinds[i] == WEIR_TEXT || kinds[i] == WEIR_REF;
        int c = text ? str_cmp(a->part[i].text, b->part[i].text) : (a->part[i].n > b->part[i].n) - (a->part[i].n < b->part[i].n);
        if (c) return c;
    }
    return 0;
}

static struct weir_key some_key(const enum weir_kind *kinds)
{
    struct weir_key key = { 0 };
    for (; key.count < WEIR_KEY_PARTS_MAX && kinds[key.count] != WEIR_NONE; key.count++) {
        struct weir_part *part = &key.part[key.count];
        part->kind = kinds[key.count];
        if (part->kind == WEIR_TEXT || part->kind == WEIR_REF) {
            size_t len = (size_t)draw(4);
            char *text = arena_alloc(&forms_arena, len + 1);
            for (size_t i = 0; i < len; i++) text[i] = "\0\1a\377"[draw(4)];
            part->text = (struct weir_str){ text, len };
        } else {
            part->n = part->kind == WEIR_BOOL ? (int64_t)draw(2) : draw(4) ? (int64_t)draw(5) - 2 : some_int();
        }
    }
    return key;
}

static void bytes_order_as_values_do(void **state)
{
    static const enum weir_kind kinds[][WEIR_KEY_PARTS_MAX] = { { WEIR_INT }, { WEIR_TEXT }, { WEIR_TEXT, WEIR_INT }, { WEIR_BOOL, WEIR_TEXT, WEIR_REF, WEIR_TIME } };
    for (int i = 0; i < 20000; i++) {
        const enum weir_kind *of = kinds[draw(4)];
        struct weir_key a = some_key(of), b = some_key(of), back;
        struct buf x = { 0 }, y = { 0 };
        map_key_write(of, a, &x);
        map_key_write(of, b, &y);
        int bytes = str_cmp(buf_str(&x), buf_str(&y)), values = compared(of, &a, &b);
        assert_true((bytes < 0) == (values < 0) && (bytes > 0) == (values > 0));
        assert_true(map_key_read(of, buf_str(&x), &forms_arena, &back));
        assert_true(back.count == a.count && compared(of, &a, &back) == 0);
        buf_free(&x);
        buf_free(&y);
        if (i % 1000 == 0) arena_reset(&forms_arena);
    }
}

/* What nobody writes is not read: two spellings would be two rows. */
static void ordered_key_has_one_spelling(void **state)
{
    static const enum weir_kind text[WEIR_KEY_PARTS_MAX] = { WEIR_TEXT }, flag[WEIR_KEY_PARTS_MAX] = { WEIR_BOOL }, whole[WEIR_KEY_PARTS_MAX] = { WEIR_INT };
    struct weir_key key;
    assert_true(map_key_read(text, (struct weir_str){ "a\0\xff\0\0", 5 }, &forms_arena, &key));
    assert_false(map_key_read(text, (struct weir_str){ "a\0b\0\0", 5 }, &forms_arena, &key));
    assert_false(map_key_read(text, (struct weir_str){ "a\0", 2 }, &forms_arena, &key));
    assert_false(map_key_read(text, (struct weir_str){ "a", 1 }, &forms_arena, &key));
    assert_false(map_key_read(text, (struct weir_str){ "\0\0x", 3 }, &forms_arena, &key));
    assert_true(map_key_read(flag, (struct weir_str){ "\1", 1 }, &forms_arena, &key));
    assert_false(map_key_read(flag, (struct weir_str){ "\2", 1 }, &forms_arena, &key));
    assert_false(map_key_read(whole, (struct weir_str){ "1234567", 7 }, &forms_arena, &key));
    assert_false(map_key_read(whole, (struct weir_str){ "123456789", 9 }, &forms_arena, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(declarations_that_make_no_sense_are_refused), cmocka_unit_test(key_is_built_and_taken_apart),
        cmocka_unit_test(number_has_one_spelling), cmocka_unit_test(route_is_the_braced_part),
        cmocka_unit_test(bytes_order_as_values_do), cmocka_unit_test(ordered_key_has_one_spelling),
    };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
