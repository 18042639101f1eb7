/*
 * json.c - JSON against shapes, and single fields from plain text.
 *
 * The first byte picks the way in. What was read and judged good is written again: reading that gives the same value
 * (the same packed bytes), and writing it the same text.
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"
#include "shapes.h"

const char *const fuzz_words[] = { "null", "true", "false", "-0.0", "1e308", "9007199254740991", "9007199254740992", "-128", "1.5",
    "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\ud800\"", "\"2026-02-29T23:59:60.999-23:59\"", "\"0000-01-01T00:00:00+00:01\"",
    "\"red\"", "\"AAECAw==\"", "[", "]", "{", "}", ",", ":", "\"", "\\", "\xff", "\xc3\xa9", "\"i\":", "\"list\":[{\"n\":1,\"t\":null,\"ns\":[1]}]",
    "\"any\":{\"a\":[1,2.5,\"x\"]}", "\"in\":{\"n\":0,\"t\":\"\",\"ns\":[]}", NULL };

static struct shape *shapes[3]; /* wide, inner, one number */
static struct arena fixed;

static void shapes_make(void)
{
    const char *why = "";
    if (shapes[0] != NULL) return;
    FUZZ_CHECK(shape_of(&fixed, &wide_shape, &shapes[0], &why), "%s", why);
    FUZZ_CHECK(shape_of(&fixed, &inner_shape, &shapes[1], &why), "%s", why);
    FUZZ_CHECK(shape_of(&fixed, &int_shape, &shapes[2], &why), "%s", why);
}

static void problem_check(const struct problem *problem, enum weir_status st)
{
    FUZZ_CHECK(st == WEIR_ARG || st == WEIR_RANGE || st == WEIR_CHECK || st == WEIR_TOOBIG || st == WEIR_BUDGET, "status %d", (int)st);
    FUZZ_CHECK(problem->text[0] != 0 && memchr(problem->text, 0, sizeof problem->text), "a refusal without a reason");
    FUZZ_CHECK(str_is_utf8(str_of(problem->text)), "`%s` is shown to people", problem->text);
    FUZZ_CHECK(str_is_utf8(str_of(problem->field)), "`%s` is shown to people", problem->field);
}

/* A good value: JSON and the packed form both give it back. */
static void round_trip(const struct shape *shape, const void *value, struct arena *arena)
{
    struct buf text = { 0 }, again = { 0 }, packed = { 0 }, repacked = { 0 };
    struct problem problem = { 0 };
    void *copy = arena_alloc(arena, shape->size), *third = arena_alloc(arena, shape->size);
    json_write(shape, value, &text);
    enum weir_status st = json_read(shape, buf_str(&text), arena, copy, &problem);
    FUZZ_CHECK(st == WEIR_OK, "%s: %.*s", problem.text, STR_ARG(buf_str(&text)));
    FUZZ_CHECK(shape_judge(shape, copy, true, &problem) == WEIR_OK, "%s", problem.text);
    json_write(shape, copy, &again);
    FUZZ_CHECK(str_eq(buf_str(&text), buf_str(&again)), "%.*s / %.*s", STR_ARG(buf_str(&text)), STR_ARG(buf_str(&again)));
    pack(shape, value, &packed);
    pack(shape, copy, &repacked);
    FUZZ_CHECK(str_eq(buf_str(&packed), buf_str(&repacked)), "%.*s", STR_ARG(buf_str(&text)));
    FUZZ_CHECK(unpack(shape, buf_str(&packed), arena, true, third) == WEIR_OK);
    buf_reset(&repacked);
    pack(shape, third, &repacked);
    FUZZ_CHECK(str_eq(buf_str(&packed), buf_str(&repacked)), "%.*s", STR_ARG(buf_str(&text)));
    buf_free(&text);
    buf_free(&again);
    buf_free(&packed);
    buf_free(&repacked);
}

static void as_value(const struct shape *shape, struct weir_str text, bool args, struct arena *arena)
{
    struct problem problem = { 0 };
    void *value = arena_alloc(arena, shape->size);
    enum weir_status st = args ? json_read_args(shape, text, arena, value, &problem) : json_read(shape, text, arena, value, &problem);
    FUZZ_CHECK(st != WEIR_OK || text.len == 0 || !memchr(text.ptr, 0, text.len), "a NUL in JSON was taken");
    if (st == WEIR_OK) st = shape_judge(shape, value, false, &problem);
    if (st == WEIR_OK) round_trip(shape, value, arena);
    else problem_check(&problem, st);
}

static void as_field(const struct shape *shape, uint32_t place, struct weir_str text, struct arena *arena)
{
    struct problem problem = { 0 };
    void *value = arena_alloc(arena, shape->size);
    shape_start(shape, value);
    enum weir_status st = field_read_text(&shape->fields[place], text, arena, value, &problem);
    if (st == WEIR_OK) st = shape_judge(shape, value, true, &problem);
    if (st == WEIR_OK) {
        /* what was not given is nil, which the JSON of a whole row may not be */
        struct field one = shape->fields[place];
        struct shape alone = { &one, 1, shape->size, true };
        if (!(one.kind == WEIR_REF || one.kind == WEIR_TIME) || !str_eq(text, STR(""))) round_trip(&alone, value, arena);
    } else {
        problem_check(&problem, st);
    }
}

static void as_text(struct weir_str text)
{
    struct buf once = { 0 }, twice = { 0 };
    bool valid = json_is_valid(text);
    FUZZ_CHECK((json_compact(text, &once) == WEIR_OK) == valid);
    if (valid) {
        FUZZ_CHECK(!memchr(text.ptr, 0, text.len), "a NUL in JSON was taken");
        FUZZ_CHECK(json_compact(buf_str(&once), &twice) == WEIR_OK, "%.*s", STR_ARG(buf_str(&once)));
        FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)), "%.*s / %.*s", STR_ARG(buf_str(&once)), STR_ARG(buf_str(&twice)));
    }
    if (str_is_utf8(text)) {
        buf_reset(&once);
        json_write_text(&once, text);
        FUZZ_CHECK(json_is_valid(buf_str(&once)), "%.*s", STR_ARG(buf_str(&once)));
    }
    buf_free(&once);
    buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct arena arena = { 0 };
    shapes_make();
    uint8_t way = take_byte(&in);
    struct weir_str text = take_rest(&in);
    switch (way % 8) {
    case 0:
    case 1:
    case 2: as_value(shapes[way % 8], text, false, &arena); break;
    case 3:
    case 4:
    case 5: as_value(shapes[way % 8 - 3], text, true, &arena); break;
    case 6: as_field(shapes[0], way / 8 % shapes[0]->count, text, &arena); break;
    default: as_text(text); break;
    }
    arena_free(&arena);
    return 0;
}
