/*
 * forms.h - a shape with every kind of field, and values of it by chance, for the tests of this room.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_TESTS_DATA_FORMS_H
#define WEIR_TESTS_DATA_FORMS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../fuzz/shapes.h"

static struct arena forms_arena;
static uint64_t forms_state = 1;

static inline uint64_t draw(uint64_t below)
{
    uint64_t z = (forms_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

static inline struct shape *form(const struct weir_shape *from)
{
    struct shape *shape = NULL;
    const char *why = "";
    if (!shape_of(&forms_arena, from, &shape, &why)) fail_msg("%s", why);
    return shape;
}

/** A shape of one field. */
static inline struct shape *form_of(struct weir_field field)
{
    struct weir_shape *shape = arena_alloc(&forms_arena, sizeof(*shape));
    field.name = "";
    *shape = (struct weir_shape){ .scalar = true, .one = field };
    return form(shape);
}

static inline struct weir_str some_text(size_t max)
{
    size_t len = (size_t)draw(max + 1);
    char *text = arena_alloc(&forms_arena, len + 1);
    for (size_t i = 0; i < len; i++) text[i] = (char)(draw(8) ? 'a' + (char)draw(26) : "\"\\\n\t\x01 /{"[draw(8)]);
    return (struct weir_str){ text, len };
}

static inline int64_t some_int(void)
{
    static const int64_t edges[] = { 0, 1, -1, 127, -128, WEIR_INT_MAX, -WEIR_INT_MAX, INT32_MAX, 1 << 20 };
    return draw(2) ? edges[draw(9)] : (int64_t)draw(1000000) - 500000;
}

static inline struct weir_list some_ints(size_t max)
{
    size_t count = (size_t)draw(max + 1);
    int64_t *items = arena_alloc(&forms_arena, (count + 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++) items[i] = some_int();
    return (struct weir_list){ items, count };
}

static inline struct inner some_inner(void)
{
    struct inner value = { .n = (int64_t)draw(1006) - 5, .ns = some_ints(4) };
    if (draw(3)) value.t = some_text(9);
    return value;
}

/** A value that is judged good. */
static inline struct wide some_wide(void)
{
    struct wide value = { .i = some_int(), .small = (int8_t)draw(256), .maybe = draw(2) ? WEIR_NIL : some_int(), .f = (double)some_int() / 1e7,
                          .b = draw(2), .t = some_text(60), .bytes = some_text(20), .when = (int64_t)draw(4000000000000), .colour = (int8_t)draw(3),
                          .in = some_inner() };
    size_t len = (size_t)draw(9);
    memcpy(value.code, "abcdefgh", len);
    value.other.key = (struct weir_str){ "key", 1 + (size_t)draw(3) };
    size_t count = (size_t)draw(6);
    struct inner *items = arena_alloc(&forms_arena, (count + 1) * sizeof(*items));
    for (size_t i = 0; i < count; i++) items[i] = some_inner();
    value.list = (struct weir_list){ items, count };
    static const char *const anys[] = { "{\"a\":[1,2]}", "5", "\"x\"", "[]", "true" };
    if (draw(2)) value.any = str_of(anys[draw(5)]);
    return value;
}

/* The naive twin of all forms: field by field. */
static inline bool same_text(struct weir_str a, struct weir_str b)
{
    return (a.ptr == NULL) == (b.ptr == NULL) && str_eq(a, b);
}
static inline bool same_inner(const struct inner *a, const struct inner *b)
{
    return a->n == b->n && same_text(a->t, b->t) && a->ns.count == b->ns.count &&
           (a->ns.count == 0 || memcmp(a->ns.items, b->ns.items, a->ns.count * sizeof(int64_t)) == 0);
}
static inline bool same_wide(const struct wide *a, const struct wide *b)
{
    bool same = a->i == b->i && a->small == b->small && a->maybe == b->maybe && memcmp(&a->f, &b->f, sizeof(double)) == 0 && a->b == b->b &&
                same_text(a->t, b->t) && memcmp(a->code, b->code, sizeof(a->code)) == 0 && same_text(a->bytes, b->bytes) && a->when == b->when &&
                a->colour == b->colour && same_text(a->other.key, b->other.key) && same_inner(&a->in, &b->in) && a->list.count == b->list.count &&
                same_text(a->any, b->any);
    for (size_t i = 0; same && i < a->list.count; i++)
        same = same_inner((struct inner *)a->list.items + i, (struct inner *)b->list.items + i);
    return same;
}

static inline int forms_free(void **state)
{
    arena_free(&forms_arena);
    return 0;
}

#endif
