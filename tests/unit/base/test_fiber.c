/*
 * test_fiber.c - what fiber.h promises.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/fiber.h"
#include "base/mem.h"

struct count {
    struct fiber_pool *pool;
    struct fiber *self;
    struct fiber *inner;
    int steps;
    int turns;
    double sum;
};

static void count_up(void *arg)
{
    struct count *count = arg;
    volatile char mine[512];
    for (int i = 0; i < count->turns; i++) {
        mine[i % 512] = (char)i;
        count->steps++;
        count->sum += 0.5 * i;
        fiber_suspend(count->self);
        assert_int_equal(mine[i % 512], (char)i);
    }
}

static void fiber_resumes_where_it_suspended(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 4);
    struct count count = { .turns = 1000 };
    count.self = fiber_take(pool, count_up, &count);
    assert_non_null(count.self);
    assert_int_equal(count.steps, 0);
    for (int i = 1; i <= 1000; i++) {
        assert_true(fiber_switch_in(count.self));
        assert_int_equal(count.steps, i);
    }
    assert_int_equal(fiber_pool_in_use(pool), 1);
    assert_false(fiber_switch_in(count.self));
    assert_int_equal(fiber_pool_in_use(pool), 0);
    assert_true(count.sum > 249749.9 && count.sum < 249750.1);
    fiber_pool_destroy(pool);
}

static void fibers_interleave(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(64 * 1024, 16);
    struct count counts[16];
    for (int i = 0; i < 16; i++) {
        counts[i] = (struct count){ .turns = 10 + i };
        counts[i].self = fiber_take(pool, count_up, &counts[i]);
    }
    unsigned left = 16;
    while (left) {
        for (int i = 0; i < 16; i++) {
            if (!counts[i].self || fiber_switch_in(counts[i].self)) continue;
            assert_int_equal(counts[i].steps, 10 + i);
            counts[i].self = NULL;
            left--;
        }
    }
    assert_int_equal(fiber_pool_in_use(pool), 0);
    fiber_pool_destroy(pool);
}

/* A fiber that runs another, which suspends to it, before it suspends itself. */
static void outer_main(void *arg)
{
    struct count *outer = arg;
    struct count inner = { .turns = 3 };
    inner.self = fiber_take(outer->pool, count_up, &inner);
    while (fiber_switch_in(inner.self)) {
        outer->steps += inner.steps;
        fiber_suspend(outer->self);
    }
}

static void fiber_suspends_to_the_fiber_that_ran_it(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 2);
    struct count outer = { .pool = pool };
    outer.self = fiber_take(pool, outer_main, &outer);
    for (int i = 0; i < 3; i++) assert_true(fiber_switch_in(outer.self));
    assert_int_equal(outer.steps, 6);
    assert_false(fiber_switch_in(outer.self));
    assert_int_equal(fiber_pool_in_use(pool), 0);
    fiber_pool_destroy(pool);
}

static void deep_main(void *arg);

static int deep(struct count *count, int depth)
{
    char frame[256];
    memset(frame, depth, sizeof(frame));
    if (depth == 0) {
        fiber_suspend(count->self);
        return frame[7];
    }
    return deep(count, depth - 1) + frame[depth];
}

static void deep_main(void *arg)
{
    struct count *count = arg;
    count->steps = deep(count, 40);
}

static void fiber_dropped_midway_leaves_a_clean_stack(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 1);
    struct fiber *first = NULL;
    for (int i = 0; i < 100; i++) {
        struct count count = { 0 };
        count.self = fiber_take(pool, deep_main, &count);
        if (!first) first = count.self;
        assert_ptr_equal(count.self, first);
        assert_true(fiber_switch_in(count.self));
        if (i % 3 == 0) {
            assert_false(fiber_switch_in(count.self));
            assert_int_equal(count.steps, 820);
        } else {
            fiber_drop(count.self);
            assert_int_equal(count.steps, 0);
        }
        assert_int_equal(fiber_pool_in_use(pool), 0);
    }
    fiber_pool_destroy(pool);
}

static void fiber_never_started_can_be_dropped(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 1);
    struct count count = { .turns = 1 };
    fiber_drop(fiber_take(pool, count_up, &count));
    assert_int_equal(count.steps, 0);
    assert_int_equal(fiber_pool_in_use(pool), 0);
    fiber_pool_destroy(pool);
}

static void fiber_take_refuses_beyond_the_limit(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 3);
    struct count count = { .turns = 1 };
    struct fiber *taken[3];
    for (int i = 0; i < 3; i++) {
        taken[i] = fiber_take(pool, count_up, &count);
        assert_non_null(taken[i]);
    }
    assert_null(fiber_take(pool, count_up, &count));
    fiber_drop(taken[1]);
    assert_ptr_equal(fiber_take(pool, count_up, &count), taken[1]);
    assert_null(fiber_take(pool, count_up, &count));
    fiber_pool_destroy(pool); /* with three in use: they are dropped */
}

static void fiber_user_slot_stays_with_the_stack(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 2);
    struct count count = { .turns = 0 };
    struct fiber *fiber = fiber_take(pool, count_up, &count);
    assert_null(*fiber_user(fiber));
    *fiber_user(fiber) = &count;
    assert_false(fiber_switch_in(fiber));
    fiber = fiber_take(pool, count_up, &count);
    assert_ptr_equal(*fiber_user(fiber), &count);
    fiber_drop(fiber);
    fiber_pool_destroy(pool);
}

static void jumper_main(void *arg)
{
    struct count *count = arg;
    jmp_buf back;
    for (volatile int i = 0; i < 10; i++) {
        if (setjmp(back) == 0) {
            fiber_suspend(count->self);
            longjmp(back, 1);
        }
        count->steps++;
    }
}

static void fiber_may_longjmp_within_itself(void **state)
{
    struct fiber_pool *pool = fiber_pool_create(FIBER_STACK_BYTES_DEFAULT, 1);
    struct count count = { 0 };
    count.self = fiber_take(pool, jumper_main, &count);
    while (fiber_switch_in(count.self))
        ;
    assert_int_equal(count.steps, 10);
    fiber_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fiber_resumes_where_it_suspended),
        cmocka_unit_test(fibers_interleave),
        cmocka_unit_test(fiber_suspends_to_the_fiber_that_ran_it),
        cmocka_unit_test(fiber_dropped_midway_leaves_a_clean_stack),
        cmocka_unit_test(fiber_never_started_can_be_dropped),
        cmocka_unit_test(fiber_take_refuses_beyond_the_limit),
        cmocka_unit_test(fiber_user_slot_stays_with_the_stack),
        cmocka_unit_test(fiber_may_longjmp_within_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
