/*
 * test_ring.c - the ring alone and between two threads.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/mem.h"
#include "base/ring.h"

#define MESSAGES 200000u
#define PER_EPOCH 7u

static void ring_shows_nothing_before_it_is_published(void **state)
{
    struct ring ring;
    int a, b;
    ring_init(&ring, 2);
    assert_true(ring_push(&ring, &a));
    assert_null(ring_pop(&ring));
    assert_true(ring_is_empty(&ring));
    assert_true(ring_publish(&ring, 0));
    assert_false(ring_is_empty(&ring));
    assert_true(ring_push(&ring, &b));
    assert_false(ring_push(&ring, &b)); /* full */
    assert_ptr_equal(ring_pop(&ring), &a);
    assert_null(ring_pop(&ring));
    assert_true(ring_push(&ring, &a));
    assert_true(ring_publish(&ring, 3));
    assert_int_equal(ring_mark(&ring), 3);
    assert_ptr_equal(ring_pop(&ring), &b);
    assert_ptr_equal(ring_pop(&ring), &a);
    assert_true(ring_is_empty(&ring));
    ring_deinit(&ring);
}

static void ring_publish_says_if_anything_is_new(void **state)
{
    struct ring ring;
    ring_init(&ring, 4);
    assert_false(ring_publish(&ring, 0));
    assert_false(ring_publish(&ring, 5)); /* a mark alone */
    assert_false(ring_publish(&ring, 5));
    assert_true(ring_push(&ring, &ring));
    assert_true(ring_publish(&ring, 5));
    assert_false(ring_publish(&ring, 5));
    ring_deinit(&ring);
}

static void ring_ahead_shows_what_the_last_pop_saw(void **state)
{
    struct ring ring;
    int messages[4];
    ring_init(&ring, 4);
    for (int i = 0; i < 3; i++) assert_true(ring_push(&ring, &messages[i]));
    assert_true(ring_publish(&ring, 0));
    assert_null(ring_ahead(&ring, 0));
    assert_ptr_equal(ring_pop(&ring), &messages[0]);
    assert_true(ring_push(&ring, &messages[3]));
    assert_true(ring_publish(&ring, 0));
    assert_ptr_equal(ring_ahead(&ring, 0), &messages[1]);
    assert_ptr_equal(ring_ahead(&ring, 1), &messages[2]);
    assert_null(ring_ahead(&ring, 2)); /* came later */
    for (int i = 1; i < 4; i++) assert_ptr_equal(ring_pop(&ring), &messages[i]);
    assert_null(ring_ahead(&ring, 0));
    ring_deinit(&ring);
}

static void *produce(void *arg)
{
    struct ring *ring = arg;
    for (uintptr_t n = 1; n <= MESSAGES; n++) {
        while (!ring_push(ring, (void *)n)) {
            ring_publish(ring, (n - 1) / PER_EPOCH);
            sched_yield();
        }
        /* all messages of the epochs below n / PER_EPOCH are in */
        if (n % 3 == 0) ring_publish(ring, n / PER_EPOCH);
    }
    ring_publish(ring, MESSAGES / PER_EPOCH);
    return NULL;
}

/* The mark m promises messages 1 to m * PER_EPOCH. */
static void ring_mark_never_runs_ahead_of_the_messages(void **state)
{
    struct ring *ring = mem_alloc(sizeof(*ring));
    pthread_t producer;
    uintptr_t seen = 0;
    ring_init(ring, 64);
    assert_int_equal(pthread_create(&producer, NULL, produce, ring), 0);
    while (seen < MESSAGES) {
        uint64_t mark = ring_mark(ring);
        void *message;
        while ((message = ring_pop(ring))) {
            if ((uintptr_t)message != seen + 1) fail();
            seen++;
        }
        if (seen < mark * PER_EPOCH) fail();
        if (!ring_is_empty(ring)) continue;
        sched_yield();
    }
    pthread_join(producer, NULL);
    assert_true(ring_is_empty(ring));
    ring_deinit(ring);
    mem_free(ring);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ring_shows_nothing_before_it_is_published),
        cmocka_unit_test(ring_publish_says_if_anything_is_new),
        cmocka_unit_test(ring_ahead_shows_what_the_last_pop_saw),
        cmocka_unit_test(ring_mark_never_runs_ahead_of_the_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
