/*
 * test_plan.c - a planned shape does what one without a plan does: starts, packed bytes, what is read of good and damaged
 * bytes, copies, judgements and their words. And what only comes with a plan: what changed is judged, texts are kept.
 * SPDX-License-Identifier: MIT
 */
#include "forms.h"

/* What most rows are: numbers, times and texts; more fields than have a tag of one byte. */
struct plain {
    int64_t n[40];
    int64_t when, due, few;
    struct weir_str name, word, bytes;
    struct inner in;
};
#define N(i) WEIR_FIELD(struct plain, n[i], WEIR_INT)
#define FOUR(i) N(i), N(i + 1), N(i + 2), N(i + 3)
static struct weir_field plain_fields[] = {
    FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28), FOUR(32), FOUR(36),
    WEIR_FIELD(struct plain, when, WEIR_TIME), WEIR_FIELD(struct plain, due, WEIR_TIME, .optional = true),
    WEIR_FIELD(struct plain, few, WEIR_INT, .max = WEIR_BOUND(9)), WEIR_FIELD(struct plain, name, WEIR_TEXT),
    WEIR_FIELD(struct plain, word, WEIR_TEXT, .max = WEIR_BOUND(5)), WEIR_FIELD(struct plain, bytes, WEIR_BYTES),
    WEIR_FIELD(struct plain, in, WEIR_RECORD, .shape = &inner_shape), WEIR_END
};
static const struct weir_shape plain_shape = WEIR_SHAPE(struct plain, plain_fields);

struct twins {
    struct shape *bare, *planned;
};

/* Numbered as rows are, in any order. */
static struct twins twins_of(const struct weir_shape *from)
{
    struct twins t = { form(from), form(from) };
    for (uint32_t i = 0; i < t.bare->count; i++) {
        uint32_t other = i + (uint32_t)draw(t.bare->count - i), id = t.bare->fields[i].id;
        t.bare->fields[i].id = t.bare->fields[other].id;
        t.bare->fields[other].id = id;
    }
    for (uint32_t i = 0; i < t.bare->count; i++) t.planned->fields[i].id = t.bare->fields[i].id;
    shape_plan(&forms_arena, t.planned);
    assert_null(t.bare->plan);
    return t;
}

static int64_t any_int(void)
{
    static const int64_t wrong[] = { WEIR_NIL, INT64_MAX, -WEIR_INT_MAX - 1, WEIR_INT_MAX + 1 };
    return draw(40) ? (draw(2) ? some_int() : (int64_t)draw(300)) : wrong[draw(4)];
}

static struct weir_str any_text(size_t max)
{
    if (draw(30) == 0) return (struct weir_str){ "\xff\xfe", 2 };
    return draw(20) ? some_text(max) : (struct weir_str){ NULL, 0 };
}

static void plain_fill(struct plain *p)
{
    memset(p, 0, sizeof(*p));
    for (int i = 0; i < 40; i++) p->n[i] = draw(2) ? 0 : any_int();
    p->when = draw(3) ? any_int() : WEIR_NIL;
    p->due = draw(3) ? any_int() : WEIR_NIL;
    p->few = (int64_t)draw(12);
    p->name = any_text(300);
    p->word = any_text(6);
    p->bytes = any_text(20);
    p->in = some_inner();
}

/* Packs by both, and gives what came of it. */
static struct weir_str packed_alike(struct twins t, const void *value)
{
    struct buf a = { 0 }, b = { 0 };
    buf_add_text(&a, "x"); /* appended behind what there is */
    buf_add_text(&b, "x");
    pack(t.bare, value, &a);
    pack(t.planned, value, &b);
    assert_true(str_eq(buf_str(&a), buf_str(&b)));
    struct weir_str copy = arena_copy(&forms_arena, (struct weir_str){ a.ptr + 1, a.len - 1 });
    buf_free(&a);
    buf_free(&b);
    return copy;
}

static void read_alike(struct twins t, struct weir_str bytes)
{
    size_t size = t.bare->size;
    void *a = arena_alloc(&forms_arena, size), *b = arena_alloc(&forms_arena, size);
    char *exact = mem_realloc(NULL, bytes.len + !bytes.len); /* the address sanitizer sees a read beyond */
    if (bytes.len) memcpy(exact, bytes.ptr, bytes.len);
    enum weir_status st = unpack(t.bare, (struct weir_str){ exact, bytes.len }, &forms_arena, true, a);
    assert_int_equal(unpack(t.planned, (struct weir_str){ exact, bytes.len }, &forms_arena, true, b), st);
    mem_free(exact);
    if (st != WEIR_OK) return;
    struct weir_str once = packed_alike(t, a), twice = packed_alike(t, b);
    assert_true(str_eq(once, twice));
    struct problem p, q;
    for (int nil = 0; nil < 2; nil++) {
        problem_clear(&p);
        problem_clear(&q);
        st = shape_judge(t.bare, a, nil, &p);
        assert_int_equal(shape_judge(t.planned, b, nil, &q), st);
        assert_string_equal(p.text, q.text);
        assert_string_equal(p.field, q.field);
        assert_string_equal(p.rule, q.rule);
    }
    shape_copy(t.planned, b, &forms_arena, b);
    assert_true(str_eq(once, packed_alike(t, b)));
}

static void both_do_the_same(void **state)
{
    static const struct weir_shape *const shapes[] = { &plain_shape, &wide_shape, &inner_shape, &int_shape };
    for (int i = 0; i < 8000; i++) {
        arena_reset(&forms_arena);
        struct twins t = twins_of(shapes[i % 4]);
        struct plain plain;
        struct wide wide = some_wide();
        struct inner inner = some_inner();
        int64_t number = any_int();
        const void *values[] = { &plain, &wide, &inner, &number };
        plain_fill(&plain);
        if (draw(8) == 0) wide.t = any_text(300);
        struct weir_str bytes = packed_alike(t, values[i % 4]);
        read_alike(t, bytes);
        char *damaged = arena_cstr(&forms_arena, bytes);
        for (uint64_t n = 1 + draw(3); n > 0 && bytes.len > 0; n--) damaged[draw(bytes.len)] = (char)draw(256);
        read_alike(t, (struct weir_str){ damaged, draw(3) ? bytes.len : (size_t)draw(bytes.len + 1) });
    }
}

static void starts_are_the_same(void **state)
{
    static const struct weir_shape *const shapes[] = { &plain_shape, &wide_shape, &inner_shape, &int_shape };
    for (int i = 0; i < 4; i++) {
        struct twins t = twins_of(shapes[i]);
        void *a = arena_alloc(&forms_arena, t.bare->size), *b = arena_alloc(&forms_arena, t.bare->size);
        shape_start(t.bare, a);
        shape_start(t.planned, b);
        assert_memory_equal(a, b, t.bare->size);
        assert_int_equal(packed_alike(t, b).len, 0);
    }
}

/* A plan follows what is numbered or bounded later, when it is made again. */
static void plan_is_made_again(void **state)
{
    struct shape *shape = form(&plain_shape);
    struct plain value = { .when = WEIR_NIL, .due = WEIR_NIL, .name = STR(""), .word = STR(""), .bytes = STR("") };
    struct buf packed = { 0 };
    value.in.n = 7;
    value.n[3] = 1;
    shape_plan(&forms_arena, shape);
    struct plan *plan = shape->plan;
    shape->fields[3].id = 9;
    shape_plan(&forms_arena, shape);
    assert_ptr_equal(shape->plan, plan);
    pack(shape, &value, &packed);
    assert_true(str_eq(buf_str(&packed), STR("\x24\x02")));
    buf_free(&packed);
}

static void flat_has_no_lists(void **state)
{
    struct weir_field fields[] = { plain_fields[0], plain_fields[43], WEIR_END };
    const struct weir_shape few = { .size = sizeof(struct plain), .fields = fields };
    assert_true(twins_of(&few).planned->flat);
    assert_false(twins_of(&few).bare->flat);
    assert_true(twins_of(&int_shape).planned->flat);
    assert_false(twins_of(&plain_shape).planned->flat); /* its record has one */
    assert_false(twins_of(&wide_shape).planned->flat);
}

/* What was good is judged as if it were new, but for texts that stand where they stood. */
static void changes_are_judged(void **state)
{
    struct shape *shape = twins_of(&plain_shape).planned;
    struct problem p, q;
    unsigned refused = 0;
    for (int i = 0; i < 20000; i++) {
        struct plain before, after;
        arena_reset(&forms_arena);
        shape = twins_of(&plain_shape).planned;
        do {
            plain_fill(&before);
            problem_clear(&p);
        } while (shape_judge(shape, &before, true, &p) != WEIR_OK);
        after = before;
        switch (draw(5)) {
        case 0: after.n[draw(40)] = any_int(); break;
        case 1: after.name = any_text(9); break;
        case 2: after.word = any_text(7); break;
        case 3: after.when = any_int(); break;
        case 4: after.few = (int64_t)draw(12); break;
        }
        problem_clear(&p);
        problem_clear(&q);
        enum weir_status st = shape_judge(shape, &after, true, &p);
        assert_int_equal(shape_judge_change(shape, &after, &before, true, &q), st);
        assert_string_equal(p.text, q.text);
        refused += st != WEIR_OK;
    }
    assert_true(refused > 100 && refused < 10000);
}

static void texts_are_kept(void **state)
{
    struct twins t = twins_of(&wide_shape);
    for (int i = 0; i < 2000; i++) {
        struct wide before = some_wide(), value, kept;
        char own[3][16];
        value = before;
        if (i == 1000) t.planned = t.bare;
        for (int k = 0; k < 3; k++) snprintf(own[k], sizeof(own[k]), "text %d", (int)draw(1000));
        bool changed[3] = { draw(2), draw(2), draw(2) };
        if (changed[0]) value.t = str_of(own[0]);
        if (changed[1]) value.other.key = str_of(own[1]);
        if (changed[2]) value.in.t = str_of(own[2]);
        shape_copy(t.bare, &value, &forms_arena, &kept);
        shape_keep_texts(t.planned, draw(4) ? &before : NULL, &forms_arena, &value);
        memset(own, '#', sizeof(own));
        assert_true(same_wide(&value, &kept));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_do_the_same),  cmocka_unit_test(starts_are_the_same), cmocka_unit_test(plan_is_made_again),
        cmocka_unit_test(flat_has_no_lists), cmocka_unit_test(changes_are_judged),  cmocka_unit_test(texts_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, forms_free);
}
