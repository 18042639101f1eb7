/*
 * pack.c - packed rows, keys of entities, ordered keys of maps.
 *
 * The first byte picks which. A planned shape does the same as one without a plan. What can be read packs to a form of its own that reads as the same; what is judged good
 * survives JSON; a key that fits its form is built again from its parts; ordered keys order as their values do.
 * SPDX-License-Identifier: MIT
 */
#include "fuzz.h"
#include "shapes.h"

const char *const fuzz_words[] = { "\x04\x02", "\x08\x03", "\x0e\x03red", "\x30\x05", "\x36\x04\x01\x02\x04\x02", "\x13", "\x11\x01\x02\x03\x04\x05\x06\x07\x08",
    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\x80\x80\x80\x80\x01", "{i}:t", "i:t", "other", "{", "}", ":", "-9007199254740991", "0", "00", "\x01", NULL };

static struct shape *wide, *planned;
static struct arena fixed;

/* The same of a planned shape. */
static void row_planned(struct weir_str bytes, bool copy, struct arena *arena)
{
    struct buf once = { 0 }, twice = { 0 };
    struct problem problem = { 0 }, own = { 0 };
    void *value = arena_alloc(arena, wide->size), *twin = arena_alloc(arena, wide->size);
    enum weir_status st = unpack(wide, bytes, arena, copy, value);
    FUZZ_CHECK(unpack(planned, bytes, arena, copy, twin) == st, "%d", (int)st);
    if (st == WEIR_OK) {
        pack(wide, value, &once);
        shape_keep_texts(planned, copy ? twin : NULL, arena, twin);
        pack(planned, twin, &twice);
        FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)));
        st = shape_judge(wide, value, true, &problem);
        FUZZ_CHECK(shape_judge(planned, twin, true, &own) == st && strcmp(problem.text, own.text) == 0, "%s / %s", problem.text, own.text);
    }
    buf_free(&once);
    buf_free(&twice);
}

static void row(struct weir_str bytes, bool copy, struct arena *arena)
{
    struct buf once = { 0 }, twice = { 0 };
    struct problem problem = { 0 };
    void *value = arena_alloc(arena, wide->size), *again = arena_alloc(arena, wide->size);
    enum weir_status st = unpack(wide, bytes, arena, copy, value);
    FUZZ_CHECK(st == WEIR_OK || st == WEIR_CORRUPT, "%d", (int)st);
    if (st == WEIR_OK) {
        pack(wide, value, &once);
        FUZZ_CHECK(unpack(wide, buf_str(&once), arena, copy, again) == WEIR_OK);
        pack(wide, again, &twice);
        FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)));
        shape_copy(wide, value, arena, again);
        buf_reset(&twice);
        pack(wide, again, &twice);
        FUZZ_CHECK(str_eq(buf_str(&once), buf_str(&twice)));
        st = shape_judge(wide, value, true, &problem);
        buf_reset(&twice);
        json_write(wide, value, &twice); /* also of what no rule would let in */
        FUZZ_CHECK(st != WEIR_OK || !str_is_utf8(buf_str(&twice)) || ((struct wide *)value)->any.ptr || json_is_valid(buf_str(&twice)),
                   "%.*s", STR_ARG(buf_str(&twice)));
    }
    buf_free(&once);
    buf_free(&twice);
}

static void key(uint8_t way, struct weir_str text, struct arena *arena)
{
    static const char *const forms[] = { "{i}:t", "i", "t", "other:{i}:t", "t:other" };
    struct key_form form;
    const char *why;
    struct buf built = { 0 };
    struct weir_part parts[WEIR_KEY_PARTS_MAX] = { 0 };
    struct wide *value = arena_alloc(arena, wide->size);
    FUZZ_CHECK(key_form_parse(arena, str_of(forms[way % 5]), wide, &form, &why), "%s", why);
    struct weir_str route = key_route(&form, text);
    FUZZ_CHECK(route.len <= text.len);
    shape_start(wide, value);
    if (key_apply(&form, wide, text, value)) {
        for (uint32_t i = 0; i < form.count; i++) {
            if (form.part[i].kind == WEIR_INT) parts[i].n = value->i;
            else parts[i].text = form.part[i].kind == WEIR_REF ? value->other.key : value->t;
        }
        FUZZ_CHECK(key_build(&form, parts, &built) && str_eq(buf_str(&built), text), "%.*s / %.*s", STR_ARG(buf_str(&built)), STR_ARG(text));
    }
    (void)key_form_parse(arena, text, wide, &form, &why); /* a declaration of any bytes */
    buf_free(&built);
}

static const enum weir_kind kinds[4][WEIR_KEY_PARTS_MAX] = {
    { WEIR_INT }, { WEIR_TEXT, WEIR_INT }, { WEIR_BOOL, WEIR_TEXT, WEIR_REF }, { WEIR_TIME, WEIR_TEXT, WEIR_TEXT, WEIR_INT }
};

static int order(const struct weir_key *a, const struct weir_key *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const struct weir_part *p = &a->part[i], *q = &b->part[i];
        int c = p->kind == WEIR_TEXT || p->kind == WEIR_REF ? str_cmp(p->text, q->text) : (p->n > q->n) - (p->n < q->n);
        if (c) return c;
    }
    return 0;
}

static void map_key(uint8_t way, struct bytes *in, struct arena *arena)
{
    const enum weir_kind *of = kinds[way % 4];
    struct weir_key keys[2];
    struct buf written[2] = { { 0 }, { 0 } };
    bool good[2];
    for (int i = 0; i < 2; i++) {
        size_t len = i == 0 ? take_byte(in) : SIZE_MAX, left = (size_t)(in->end - in->at);
        struct weir_str bytes = { (const char *)in->at, len < left ? len : left };
        in->at += bytes.len;
        good[i] = map_key_read(of, bytes, arena, &keys[i]);
        if (!good[i]) continue;
        map_key_write(of, keys[i], &written[i]);
        FUZZ_CHECK(str_eq(bytes, buf_str(&written[i])), "%zu bytes", bytes.len);
    }
    if (good[0] && good[1]) {
        int bytes = str_cmp(buf_str(&written[0]), buf_str(&written[1])), values = order(&keys[0], &keys[1]);
        FUZZ_CHECK((bytes > 0) == (values > 0) && (bytes < 0) == (values < 0), "%d %d", bytes, values);
    }
    buf_free(&written[0]);
    buf_free(&written[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct arena arena = { 0 };
    const char *why = "";
    if (wide == NULL) {
        FUZZ_CHECK(shape_of(&fixed, &wide_shape, &wide, &why) && shape_of(&fixed, &wide_shape, &planned, &why), "%s", why);
        shape_plan(&fixed, planned);
    }
    uint8_t way = take_byte(&in);
    if (way < 128) {
        struct weir_str bytes = take_rest(&in);
        row(bytes, way & 1, &arena);
        row_planned(bytes, way & 1, &arena);
    }
    else if (way < 192) key(way, take_rest(&in), &arena);
    else map_key(way, &in, &arena);
    arena_free(&arena);
    return 0;
}
