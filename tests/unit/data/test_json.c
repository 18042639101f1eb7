/*
 * test_json.c - JSON against shapes, arguments, plain texts, times; limits at one below, at and one above.
 * SPDX-License-Identifier: MIT
 */
#include <math.h>

#include "forms.h"

static void value_comes_back_from_its_json(void **state)
{
    struct shape *shape = form(&wide_shape);
    for (int i = 0; i < 2000; i++) {
        struct problem problem = { 0 };
        struct buf text = { 0 };
        struct wide value = some_wide(), out;
        json_write(shape, &value, &text);
        assert_true(json_is_valid(buf_str(&text)));
        if (json_read(shape, buf_str(&text), &forms_arena, &out, &problem) != WEIR_OK) fail_msg("%s: %.*s", problem.text, STR_ARG(buf_str(&text)));
        if (!same_wide(&value, &out)) fail_msg("%.*s", STR_ARG(buf_str(&text)));
        buf_free(&text);
    }
}

static void floats_keep_their_value_and_sign(void **state)
{
    static const double numbers[] = { 0.0, -0.0, 0.1, 1.0 / 3.0, 1e308, 5e-324, -2.5, 9007199254740993.0, 1e15, 123456789.123456789 };
    struct shape *shape = form_of((struct weir_field){ .kind = WEIR_FLOAT });
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct buf text = { 0 };
        struct problem problem = { 0 };
        double out = 7;
        json_write(shape, &numbers[i], &text);
        assert_int_equal(json_read(shape, buf_str(&text), &forms_arena, &out, &problem), WEIR_OK);
        if (memcmp(&out, &numbers[i], sizeof(out)) != 0) fail_msg("%.17g became %.*s", numbers[i], STR_ARG(buf_str(&text)));
        buf_free(&text);
    }
}

static enum weir_status read_one(enum weir_kind kind, const char *json, size_t len)
{
    struct problem problem = { 0 };
    int64_t out[4];
    struct weir_field field = { .kind = kind, .size = kind == WEIR_INT || kind == WEIR_TIME ? 8 : 0 };
    struct shape *shape = form_of(field);
    enum weir_status st = json_read(shape, (struct weir_str){ json, len }, &forms_arena, out, &problem);
    return st == WEIR_OK ? shape_judge(shape, out, false, &problem) : st;
}

static void whole_numbers_at_their_limits(void **state)
{
    static const struct {
        const char *text;
        enum weir_status st;
    } cases[] = { { "9007199254740990", WEIR_OK }, { "9007199254740991", WEIR_OK }, { "9007199254740992", WEIR_RANGE }, { "-9007199254740991", WEIR_OK },
                  { "-9007199254740992", WEIR_RANGE }, { "99999999999999999999", WEIR_RANGE }, { "1.5", WEIR_RANGE }, { "1e2", WEIR_OK }, { "-1.0", WEIR_OK }, { "9007199254740991.0", WEIR_OK }, { "9007199254740992.0", WEIR_RANGE }, { "-1e16", WEIR_RANGE }, { "1e300", WEIR_RANGE }, { "\"1\"", WEIR_ARG },
                  { "null", WEIR_ARG }, { "01", WEIR_ARG }, { "1 1", WEIR_ARG }, { "", WEIR_ARG } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (read_one(WEIR_INT, cases[i].text, strlen(cases[i].text)) != cases[i].st) fail_msg("%s", cases[i].text);
}

static void size_and_depth_at_their_limits(void **state)
{
    struct buf text = { 0 };
    for (unsigned depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
        buf_reset(&text);
        for (unsigned i = 0; i < depth; i++) buf_add_byte(&text, '[');
        for (unsigned i = 0; i < depth; i++) buf_add_byte(&text, ']');
        assert_int_equal(json_is_valid(buf_str(&text)), depth <= JSON_DEPTH_MAX);
    }
    for (size_t len = JSON_BYTES_MAX - 1; len <= JSON_BYTES_MAX + 1; len++) {
        buf_reset(&text);
        buf_add_byte(&text, '"');
        while (text.len < len - 1) buf_add_byte(&text, 'x');
        buf_add_byte(&text, '"');
        assert_int_equal(read_one(WEIR_TEXT, text.ptr, text.len), len <= JSON_BYTES_MAX ? WEIR_OK : WEIR_TOOBIG);
    }
    buf_free(&text);
}

static void what_is_no_json_is_refused(void **state)
{
    static const char *const texts[] = { "{", "[1,]", "{\"a\":1,\"a\":2}", "{a:1}", "'x'", "\"\xff\"", "\"\\ud800\"", "\"\\x\"", "nul", "+1", "1.", ".5", "NaN", "[1]]", "\"\n\"", "//x" };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (json_is_valid(str_of(texts[i]))) fail_msg("%s", texts[i]);
    assert_false(json_is_valid((struct weir_str){ "1\0", 2 }));
    assert_false(json_is_valid(STR_NIL));
    assert_true(json_is_valid(STR("\"\\u0000\"")) && json_is_valid(STR(" [ ] ")));
}

static enum weir_status args(struct shape *shape, struct weir_str text, void *out)
{
    struct problem problem = { 0 };
    enum weir_status st = json_read_args(shape, text, &forms_arena, out, &problem);
    return st == WEIR_OK ? shape_judge(shape, out, false, &problem) : st;
}

static void arguments_by_place_and_by_name(void **state)
{
    struct shape *shape = form(&inner_shape), *one = form(&int_shape);
    struct inner out;
    int64_t n;
    assert_int_equal(args(shape, STR("[3,\"x\",[1]]"), &out), WEIR_OK);
    assert_true(out.n == 3 && out.ns.count == 1);
    assert_int_equal(args(shape, STR("{\"ns\":[],\"n\":4}"), &out), WEIR_OK);
    assert_true(out.n == 4 && out.t.ptr == NULL);
    assert_int_equal(args(shape, STR("[3,\"x\",[1],5]"), &out), WEIR_ARG);
    assert_int_equal(args(shape, STR("[3]"), &out), WEIR_ARG); /* the list is missing */
    assert_int_equal(args(shape, STR("{\"ns\":[],\"m\":4}"), &out), WEIR_ARG);
    assert_int_equal(args(one, STR("[7]"), &n), WEIR_OK);
    assert_int_equal(n, 7);
    assert_int_equal(args(one, STR("7"), &n), WEIR_ARG);
    struct shape none = { NULL, 0, 0, false };
    assert_int_equal(args(&none, STR(""), &n), WEIR_OK);
    assert_int_equal(args(&none, STR(" \r\n\t"), &n), WEIR_OK);
    assert_int_equal(args(&none, (struct weir_str){ "\0\0", 2 }, &n), WEIR_ARG); /* not blanks */
    assert_int_equal(args(&none, (struct weir_str){ " \0", 2 }, &n), WEIR_ARG);
}

static void what_is_missing_is_named(void **state)
{
    static const struct { enum weir_kind kind; const char *text; } cases[] = {
        { WEIR_INT, "an int is missing" }, { WEIR_ENUM, "an enum is missing" }, { WEIR_TEXT, "a text is missing" }, { WEIR_BOOL, "a bool is missing" }
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static const char *const words[] = { "red", "green", NULL };
        struct weir_field field = { .kind = cases[i].kind, .words = cases[i].kind == WEIR_ENUM ? words : NULL };
        struct problem problem = { 0 };
        char out[16];
        assert_int_equal(json_read_args(form_of(field), STR("[]"), &forms_arena, out, &problem), WEIR_ARG);
        assert_string_equal(problem.text, cases[i].text);
        assert_string_equal(problem.rule, "missing");
    }
}

static enum weir_status plain(struct weir_field field, struct weir_str text, void *out)
{
    struct problem problem = { 0 };
    struct shape *shape = form_of(field);
    enum weir_status st = field_read_text(&shape->fields[0], text, &forms_arena, out, &problem);
    return st == WEIR_OK ? shape_judge(shape, out, false, &problem) : st;
}

static void plain_texts_are_read_whole(void **state)
{
    struct weir_field whole = { .kind = WEIR_INT, .size = 8 }, real = { .kind = WEIR_FLOAT };
    int64_t n;
    double f;
    assert_int_equal(plain(whole, STR("-42"), &n), WEIR_OK);
    assert_int_equal(n, -42);
    assert_int_equal(plain(real, STR("1e3"), &f), WEIR_OK);
    static const struct weir_str wrong[] = { { "", 0 }, { "5\0x", 3 }, { "5\0", 2 }, { "\0", 1 }, { " 5", 2 }, { "5 ", 2 }, { "0x10", 4 }, { "nan", 3 }, { "inf", 3 }, { "1e999", 5 }, { "--1", 3 } };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (plain(whole, wrong[i], &n) == WEIR_OK) fail_msg("`%s` as a whole number", wrong[i].ptr);
        if (plain(real, wrong[i], &f) == WEIR_OK) fail_msg("`%s` as a number", wrong[i].ptr);
    }
    struct weir_str any;
    assert_int_equal(plain((struct weir_field){ .kind = WEIR_ANY }, STR("not json"), &any), WEIR_OK);
    assert_true(str_eq(any, STR("\"not json\"")));
    bool b;
    assert_int_equal(plain((struct weir_field){ .kind = WEIR_BOOL }, STR("yes"), &b), WEIR_ARG);
}

/* The naive twin: days counted one by one. */
static int64_t days_counted(int year, int month, int day)
{
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t days = 0;
    for (int y = 1970; y < year; y++) days += 365 + (y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
    for (int m = 1; m < month; m++) days += lengths[m - 1] + (m == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    return days + day - 1;
}

static void times_are_those_of_the_calendar(void **state)
{
    struct weir_field time = { .kind = WEIR_TIME, .size = 8 };
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t ms;
    char text[64];
    for (int year = 1970; year <= 2400; year += year < 2105 ? 1 : 5) {
        for (int month = 1; month <= 12; month++) {
            int last = lengths[month - 1] + (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
            for (int day = last - 1; day <= last + 1; day++) {
                snprintf(text, sizeof(text), "%04d-%02d-%02dT01:02:03Z", year, month, day);
                enum weir_status st = plain(time, str_of(text), &ms);
                if (st != (day <= last ? WEIR_OK : WEIR_ARG)) fail_msg("%s", text);
                if (st == WEIR_OK) assert_int_equal(ms, (days_counted(year, month, day) * 86400 + 3723) * 1000);
            }
        }
    }
    assert_int_equal(plain(time, STR("2026-01-01T00:30:00.25+01:30"), &ms), WEIR_OK);
    assert_int_equal(ms, (days_counted(2025, 12, 31) * 86400 + 23 * 3600) * 1000 + 250);
    static const char *const wrong[] = { "2026-01-01", "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+24:00", "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00Zx", "x" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (plain(time, str_of(wrong[i]), &ms) == WEIR_OK) fail_msg("%s", wrong[i]);
}

static void base64_both_ways(void **state)
{
    struct shape *shape = form_of((struct weir_field){ .kind = WEIR_BYTES });
    for (size_t len = 0; len < 40; len++) {
        char bytes[40];
        struct weir_str value = { bytes, len }, out;
        struct buf text = { 0 };
        struct problem problem = { 0 };
        for (size_t i = 0; i < len; i++) bytes[i] = (char)draw(256);
        json_write(shape, &value, &text);
        assert_int_equal(text.len, 2 + (len + 2) / 3 * 4);
        assert_int_equal(json_read(shape, buf_str(&text), &forms_arena, &out, &problem), WEIR_OK);
        assert_true(str_eq(value, out));
        buf_free(&text);
    }
    static const char *const wrong[] = { "\"A\"", "\"AA\"", "\"AAA\"", "\"A===\"", "\"AA=A\"", "\"AA==AAAA\"", "\"AA A\"", "\"====\"", "5" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) assert_int_equal(read_one(WEIR_BYTES, wrong[i], strlen(wrong[i])), WEIR_ARG);
}

/* A value by chance: compact, and the same with spaces in it. */
static void some_json(struct buf *compact, struct buf *spaced, unsigned depth)
{
    static const char *const scalars[] = { "null", "true", "false", "0", "-7", "9007199254740991", "1.5", "\"\"", "\"a b\"", "\"\\\"{[\"" };
    static const char *const spaces[] = { "", " ", "\n\t", "  " };
    uint64_t what = draw(depth == 0 ? 2 : 4);
    buf_add_text(spaced, spaces[draw(4)]);
    if (what < 2) {
        const char *scalar = scalars[draw(10)];
        buf_add_text(compact, scalar);
        buf_add_text(spaced, scalar);
    } else {
        uint64_t count = draw(4);
        buf_add_byte(compact, what == 2 ? '[' : '{');
        buf_add_byte(spaced, what == 2 ? '[' : '{');
        for (uint64_t i = 0; i < count; i++) {
            if (i > 0) buf_add_byte(compact, ',');
            if (i > 0) buf_add_byte(spaced, ',');
            if (what == 3) {
                buf_printf(compact, "\"k%u\":", (unsigned)i);
                buf_printf(spaced, "%s\"k%u\"%s:", spaces[draw(4)], (unsigned)i, spaces[draw(4)]);
            }
            some_json(compact, spaced, depth - 1);
        }
        buf_add_byte(compact, what == 2 ? ']' : '}');
        buf_add_byte(spaced, what == 2 ? ']' : '}');
    }
    buf_add_text(spaced, spaces[draw(4)]);
}

static void json_is_rewritten_compactly(void **state)
{
    for (int i = 0; i < 3000; i++) {
        struct buf compact = { 0 }, spaced = { 0 }, out = { 0 };
        some_json(&compact, &spaced, 4);
        assert_int_equal(json_compact(buf_str(&spaced), &out), WEIR_OK);
        if (!str_eq(buf_str(&out), buf_str(&compact))) fail_msg("%.*s became %.*s", STR_ARG(buf_str(&spaced)), STR_ARG(buf_str(&out)));
        buf_free(&compact);
        buf_free(&spaced);
        buf_free(&out);
    }
    struct buf out = { 0 };
    assert_int_not_equal(json_compact(STR("{"), &out), WEIR_OK);
    buf_free(&out);
}

/* An object or an array of pieces that are known comes apart into just those, in their order. */
static void json_comes_apart_into_its_parts(void **state)
{
    for (int i = 0; i < 2000; i++) {
        struct buf whole = { 0 }, pieces[6] = { 0 };
        struct json_parts parts;
        struct problem problem = { 0 };
        bool object = draw(2);
        uint32_t count = (uint32_t)draw(7);
        buf_add_byte(&whole, object ? '{' : '[');
        for (uint32_t k = 0; k < count; k++) {
            struct buf spaced = { 0 };
            some_json(&pieces[k], &spaced, 3);
            if (k > 0) buf_add_byte(&whole, ',');
            if (object) buf_printf(&whole, " \"n%u\" :", k);
            buf_add_str(&whole, buf_str(&spaced));
            buf_free(&spaced);
        }
        buf_add_byte(&whole, object ? '}' : ']');
        assert_int_equal(json_parts(buf_str(&whole), &forms_arena, &parts, &problem), WEIR_OK);
        assert_int_equal(parts.is_object, object);
        assert_int_equal(parts.count, count);
        for (uint32_t k = 0; k < count; k++) {
            const struct json_part *part = &parts.items[k];
            struct weir_str piece = buf_str(&pieces[k]), text;
            char name[8];
            snprintf(name, sizeof(name), "n%u", k);
            assert_true(object ? str_eq(part->name, str_of(name)) : part->name.ptr == NULL);
            if (str_eq(piece, STR("null"))) assert_null(part->json.ptr);
            else if (!str_eq(part->json, piece)) fail_msg("%.*s is %.*s", STR_ARG(piece), STR_ARG(part->json));
            assert_int_equal(part->text.ptr != NULL, piece.ptr[0] == '"');
            if (part->text.ptr == NULL) continue;
            /* The text of a string is what reading it as a text gives. */
            assert_int_equal(json_read(form_of((struct weir_field){ .kind = WEIR_TEXT }), piece, &forms_arena, &text, &problem), WEIR_OK);
            assert_true(str_eq(part->text, text));
        }
        for (uint32_t k = 0; k < count; k++) buf_free(&pieces[k]);
        buf_free(&whole);
    }
    static const char *const wrong[] = { "", "5", "\"text\"", "null", "true", "[1", "{\"a\"}", "{\"a\":1,}", "[1,]", "[1] 2", "{\"a\":1,\"a\":2}", "[01]" };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct json_parts parts;
        struct problem problem = { 0 };
        if (json_parts(str_of(wrong[i]), &forms_arena, &parts, &problem) != WEIR_ARG) fail_msg("%s", wrong[i]);
        assert_true(problem.text[0] != '\0');
    }
}

static void a_text_is_quoted_and_comes_back(void **state)
{
    struct shape *shape = form_of((struct weir_field){ .kind = WEIR_TEXT });
    for (int i = 0; i < 2000; i++) {
        struct weir_str text = some_text(60), back;
        struct buf out = { 0 };
        struct problem problem = { 0 };
        json_write_text(&out, text);
        assert_true(out.len >= text.len + 2 && json_is_valid(buf_str(&out)));
        assert_int_equal(json_read(shape, buf_str(&out), &forms_arena, &back, &problem), WEIR_OK);
        assert_true(str_eq(text, back));
        buf_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(value_comes_back_from_its_json), cmocka_unit_test(floats_keep_their_value_and_sign),
        cmocka_unit_test(whole_numbers_at_their_limits), cmocka_unit_test(size_and_depth_at_their_limits),
        cmocka_unit_test(what_is_no_json_is_refused), cmocka_unit_test(arguments_by_place_and_by_name),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(plain_texts_are_read_whole), cmocka_unit_test(times_are_those_of_the_calendar),
        cmocka_unit_test(base64_both_ways), cmocka_unit_test(json_is_rewritten_compactly),
        cmocka_unit_test(json_comes_apart_into_its_parts), cmocka_unit_test(a_text_is_quoted_and_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
