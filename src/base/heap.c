/*
 * heap.c - a binary min-heap (Williams, "Algorithm 232: Heapsort", 1964) over embedded items.
 *
 * Invariant: items[i]->place == i + 1, and no item is before its parent (i - 1) / 2.
 * SPDX-License-Identifier: MIT
 */
#include "base/heap.h"

#include <stdbool.h>

#include "base/assert.h"
#include "base/mem.h"

static bool item_before(const struct heap_item *a, const struct heap_item *b)
{
    return a->at != b->at ? a->at < b->at : a->tie < b->tie;
}

static void heap_put(struct heap *heap, size_t i, struct heap_item *item)
{
    heap->items[i] = item;
    item->place = i + 1;
}

/* Puts `item` at the hole i or above. */
static void heap_rise(struct heap *heap, size_t i, struct heap_item *item)
{
    while (i > 0 && item_before(item, heap->items[(i - 1) / 2])) {
        heap_put(heap, i, heap->items[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(heap, i, item);
}

/* Puts `item` at the hole i or below. */
static void heap_sink(struct heap *heap, size_t i, struct heap_item *item)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->count) break;
        if (child + 1 < heap->count && item_before(heap->items[child + 1], heap->items[child]))
            child++;
        if (!item_before(heap->items[child], item)) break;
        heap_put(heap, i, heap->items[child]);
        i = child;
    }
    heap_put(heap, i, item);
}

void heap_add(struct heap *heap, struct heap_item *item)
{
    ASSERT(item->place == 0);
    if (heap->count == heap->cap) {
        heap->cap = heap->cap ? heap->cap * 2 : 16;
        heap->items = mem_realloc(heap->items, heap->cap * sizeof(struct heap_item *));
    }
    heap_rise(heap, heap->count++, item);
}

void heap_remove(struct heap *heap, struct heap_item *item)
{
    size_t i = item->place - 1;
    ASSERT(item->place > 0 && i < heap->count && heap->items[i] == item);
    item->place = 0;
    struct heap_item *last = heap->items[--heap->count];
    if (last == item) return;
    if (i > 0 && item_before(last, heap->items[(i - 1) / 2])) heap_rise(heap, i, last);
    else heap_sink(heap, i, last);
}

struct heap_item *heap_min(const struct heap *heap)
{
    return heap->count ? heap->items[0] : NULL;
}

void heap_free(struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) heap->items[i]->place = 0;
    mem_free(heap->items);
    *heap = (struct heap){ 0 };
}
