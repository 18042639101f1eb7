/*
 * test_heap.c - the heap beside an array searched in full.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/mem.h"
#include "draw.h"

#define ITEMS 200

static bool before(const struct heap_item *a, const struct heap_item *b)
{
    return a->at != b->at ? a->at < b->at : a->tie < b->tie;
}

static struct heap_item *naive_min(struct heap_item *items)
{
    struct heap_item *min = NULL;
    for (int i = 0; i < ITEMS; i++)
        if (items[i].place && (!min || before(&items[i], min))) min = &items[i];
    return min;
}

static void heap_gives_the_smallest_whatever_was_taken_out(void **state)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        uint64_t random = seed;
        struct heap heap = { 0 };
        struct heap_item items[ITEMS] = { 0 };
        for (int step = 0; step < 1000; step++) {
            struct heap_item *item = &items[draw_below(&random, ITEMS)];
            if (item->place) {
                heap_remove(&heap, item);
            } else {
                item->at = (int64_t)draw_below(&random, 40) - 20;
                item->tie = (uint64_t)(item - items);
                heap_add(&heap, item);
            }
            CHECK(seed, heap_min(&heap) == naive_min(items));
        }
        while (heap.count) {
            CHECK(seed, heap_min(&heap) == naive_min(items));
            heap_remove(&heap, heap_min(&heap));
        }
        assert_null(heap_min(&heap));
        heap_free(&heap);
    }
}

static void heap_breaks_ties_by_tie(void **state)
{
    struct heap heap = { 0 };
    struct heap_item items[3] = { { .at = 5, .tie = 2 },
                                  { .at = 5, .tie = 0 },
                                  { .at = 5, .tie = 1 } };
    for (int i = 0; i < 3; i++) heap_add(&heap, &items[i]);
    for (uint64_t tie = 0; tie < 3; tie++) {
        assert_int_equal(heap_min(&heap)->tie, tie);
        heap_remove(&heap, heap_min(&heap));
    }
    heap_free(&heap);
}

static void heap_free_lets_items_go(void **state)
{
    struct heap heap = { 0 };
    struct heap_item item = { .at = 1 };
    heap_add(&heap, &item);
    heap_free(&heap);
    assert_int_equal(item.place, 0);
    heap_add(&heap, &item);
    heap_free(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_gives_the_smallest_whatever_was_taken_out),
        cmocka_unit_test(heap_breaks_ties_by_tie),
        cmocka_unit_test(heap_free_lets_items_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
