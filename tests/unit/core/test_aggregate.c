/*
 * test_aggregate.c - what windows compute: each aggregate beside a sum or a sort, stored and read again, joined, limited.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/aggregate.h"

struct seen {
    int64_t n;
    double x;
    struct weir_str who;
};
static struct field seen_fields[] = {
    { .name = STR("n"), .kind = WEIR_INT, .offset = offsetof(struct seen, n), .size = 8, .optional = true },
    { .name = STR("x"), .kind = WEIR_FLOAT, .offset = offsetof(struct seen, x), .size = 8 },
    { .name = STR("who"), .kind = WEIR_TEXT, .offset = offsetof(struct seen, who), .size = sizeof(struct weir_str) },
};
static const struct shape seen_shape = { seen_fields, 3, sizeof(struct seen), false };

struct shown {
    int64_t count, sum, min, max;
    double avg;
    struct weir_str first, last;
    int64_t distinct, about;
    struct weir_list top;
    double real;
};
static struct field element[] = { { .kind = WEIR_INT, .size = 8 } };
static const struct shape element_shape = { element, 1, 8, true };
#define SHOWN(member, kind_) { .name = STR(#member), .kind = kind_, .offset = offsetof(struct shown, member), .size = sizeof(((struct shown *)0)->member), .shape = &element_shape }
static struct field shown_fields[] = { SHOWN(count, WEIR_INT), SHOWN(sum, WEIR_INT), SHOWN(min, WEIR_INT), SHOWN(max, WEIR_INT), SHOWN(avg, WEIR_FLOAT),
                                       SHOWN(first, WEIR_TEXT), SHOWN(last, WEIR_TEXT), SHOWN(distinct, WEIR_INT), SHOWN(about, WEIR_INT),
                                       SHOWN(top, WEIR_LIST), SHOWN(real, WEIR_FLOAT) };
static struct shape shown_shape = { shown_fields, 11, sizeof(struct shown), false };
static struct stream out = { .event = &shown_shape };
#define N &seen_fields[0]
#define WHO &seen_fields[2]
static struct aggregate all[] = {
    { .kind = AGGREGATE_COUNT, .column = 0 }, { .kind = AGGREGATE_SUM, .in = N, .column = 1 }, { .kind = AGGREGATE_MIN, .in = N, .column = 2 },
    { .kind = AGGREGATE_MAX, .in = N, .column = 3 }, { .kind = AGGREGATE_AVG, .in = N, .column = 4 }, { .kind = AGGREGATE_FIRST, .in = WHO, .column = 5 },
    { .kind = AGGREGATE_LAST, .in = WHO, .column = 6 }, { .kind = AGGREGATE_DISTINCT, .in = WHO, .column = 7 },
    { .kind = AGGREGATE_DISTINCT, .in = WHO, .sketch = true, .column = 8 }, { .kind = AGGREGATE_TOP, .in = N, .top = 3, .column = 9 },
    { .kind = AGGREGATE_SUM, .in = &seen_fields[1], .column = 10 },
};
#define ALL (sizeof(all) / sizeof(all[0]))
static const struct derived window = { .out = &out, .aggregates = all, .aggregate_count = ALL };
static const struct aggregate_limits wide = { 100000, 1 << 24 };

static const char *see(struct aggregate_state *states, int64_t n, const char *who, int64_t time, uint64_t id, const struct aggregate_limits *limits)
{
    struct seen seen = { n, 0.5, str_of(who) };
    struct aggregate_event e = { &seen, &seen_shape, time, { 1, id } };
    return aggregates_add(&window, states, &e, limits);
}

static struct shown show(const struct aggregate_state *states, struct arena *arena)
{
    struct shown shown = { .min = WEIR_NIL, .max = WEIR_NIL };
    aggregates_show(&window, states, arena, &shown);
    return shown;
}

/* Written and read again: what a restart finds. */
static void again(struct aggregate_state *states)
{
    struct buf bytes = { 0 };
    aggregates_write(&window, states, &bytes);
    struct reader reader = reader_of(buf_str(&bytes));
    assert_true(aggregates_read(&window, states, &reader));
    assert_true(reader.at == reader.end);
    buf_free(&bytes);
}

static void each_aggregate_is_right_stored_or_not(void **state)
{
    for (int stored = 0; stored < 2; stored++) {
        struct aggregate_state states[ALL] = { 0 };
        struct arena arena = { 0 };
        assert_null(see(states, 5, "b", 20, 1, &wide));
        assert_null(see(states, -3, "a", 10, 2, &wide));
        if (stored) again(states);
        assert_null(see(states, 9, "c", 20, 3, &wide));
        assert_null(see(states, WEIR_NIL, "a", 15, 4, &wide));
        assert_null(see(states, 9, "b", 10, 5, &wide));
        struct shown s = show(states, &arena);
        assert_int_equal(s.count, 5);
        assert_int_equal(s.sum, 20);
        assert_int_equal(s.min, -3);
        assert_int_equal(s.max, 9);
        assert_true(s.avg == 5.0); /* of four: nil is none */
        assert_true(str_eq(s.first, STR("a")) && str_eq(s.last, STR("c")));
        assert_int_equal(s.distinct, 3);
        assert_int_equal(s.about, 3);
        assert_int_equal(s.top.count, 3);
        assert_int_equal(((int64_t *)s.top.items)[0], 9);
        assert_int_equal(((int64_t *)s.top.items)[1], 9);
        assert_int_equal(((int64_t *)s.top.items)[2], 5);
        assert_true(s.real == 2.5);
        arena_free(&arena);
        aggregates_free(&window, states);
    }
}

static void joined_states_are_as_if_all_were_added_to_one(void **state)
{
    for (unsigned seed = 1; seed <= 200; seed++) {
        struct aggregate_state one[ALL] = { 0 }, a[ALL] = { 0 }, b[ALL] = { 0 };
        struct arena arena = { 0 };
        unsigned x = seed;
        for (uint64_t id = 1; id < 2 + seed % 30; id++) {
            char who[8];
            x = x * 1664525u + 1013904223u;
            snprintf(who, sizeof(who), "w%u", x >> 28);
            int64_t n = x >> 24 & 1 ? WEIR_NIL : (int64_t)(x >> 12 & 255) - 100;
            assert_null(see(one, n, who, x >> 20 & 7, id, &wide));
            assert_null(see(x >> 19 & 1 ? a : b, n, who, x >> 20 & 7, id, &wide));
        }
        assert_null(aggregates_join(&window, a, b, &wide));
        struct shown s = show(one, &arena), t = show(a, &arena);
        assert_true(s.count == t.count && s.sum == t.sum && s.min == t.min && s.max == t.max && s.distinct == t.distinct && s.about == t.about);
        assert_true(str_eq(s.first, t.first) && str_eq(s.last, t.last) && s.top.count == t.top.count && s.real == t.real);
        assert_true(s.top.count == 0 || memcmp(s.top.items, t.top.items, s.top.count * 8) == 0);
        arena_free(&arena);
        aggregates_free(&window, one);
        aggregates_free(&window, a);
        aggregates_free(&window, b);
    }
}

static void what_passes_a_limit_is_refused_and_changes_nothing(void **state)
{
    struct aggregate_state states[ALL] = { 0 };
    struct arena arena = { 0 };
    struct aggregate_limits two = { 2, 1 << 20 }, small = { 100, 2100 };
    assert_null(see(states, WEIR_INT_MAX, "a", 1, 1, &two));
    assert_null(see(states, -1, "b", 1, 2, &two));
    assert_non_null(strstr(see(states, 0, "c", 1, 3, &two), "window_values_max = 2"));
    assert_non_null(strstr(see(states, 2, "a", 1, 4, &two), "range: "));
    assert_null(see(states, 1, "a", 1, 5, &two)); /* exactly the largest again */
    char wide_text[200];
    memset(wide_text, 'w', sizeof(wide_text) - 1);
    wide_text[sizeof(wide_text) - 1] = 0;
    assert_non_null(strstr(see(states, 0, wide_text, 1, 6, &small), "window_bytes_max = 2100"));
    struct shown s = show(states, &arena);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.sum, WEIR_INT_MAX);
    assert_int_equal(s.distinct, 2);
    arena_free(&arena);
    aggregates_free(&window, states);
}

static int64_t sketch_of(uint64_t count, unsigned set)
{
    struct aggregate sketch = { .kind = AGGREGATE_DISTINCT, .in = WHO, .sketch = true, .column = 8 };
    struct derived one = { .out = &out, .aggregates = &sketch, .aggregate_count = 1 };
    struct aggregate_state s[1] = { 0 };
    struct arena arena = { 0 };
    for (uint64_t i = 0; i < 2 * count; i++) { /* each value twice */
        char who[32];
        snprintf(who, sizeof(who), "value-%u-%llu", set, (unsigned long long)(i % count));
        struct seen seen = { 0, 0, str_of(who) };
        struct aggregate_event e = { &seen, &seen_shape, 0, { 1, i + 1 } };
        assert_null(aggregates_add(&one, s, &e, &wide));
    }
    struct shown shown = { 0 };
    aggregates_show(&one, s, &arena, &shown);
    arena_free(&arena);
    aggregates_free(&one, s);
    return shown.about;
}

/* The root of the mean square of the relative errors of 60 sets, which are fixed: it passes always or never. */
static void the_sketch_errs_as_little_as_it_says(void **state)
{
    for (uint64_t count = 10; count <= 30000; count *= count < 1000 ? 10 : 3) {
        double squares = 0;
        for (unsigned set = 0; set < 60; set++) {
            double off = (double)(sketch_of(count, set) - (int64_t)count) / (double)count;
            squares += off * off;
        }
        if (squares / 60 >= 1.3 * 1.3 * 0.023 * 0.023)
            fail_msg("%llu values: mean square %g", (unsigned long long)count, squares / 60);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_aggregate_is_right_stored_or_not),
        cmocka_unit_test(joined_states_are_as_if_all_were_added_to_one),
        cmocka_unit_test(what_passes_a_limit_is_refused_and_changes_nothing),
        cmocka_unit_test(the_sketch_errs_as_little_as_it_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
