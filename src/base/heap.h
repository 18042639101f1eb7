/*
 * heap.h - a binary min-heap of timed things, each knowing its place so that it can be taken out.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_HEAP_H
#define WEIR_BASE_HEAP_H

#include <stddef.h>
#include <stdint.h>

/* Embedded in what is queued. `place` is 0 when in no heap, else index + 1. Ties break by `tie`. */
struct heap_item {
    int64_t at;
    uint64_t tie;
    size_t place;
};
struct heap {
    struct heap_item **items;
    size_t count, cap;
};
void heap_add(struct heap *heap, struct heap_item *item);
void heap_remove(struct heap *heap, struct heap_item *item);
/** Smallest, or NULL. */
struct heap_item *heap_min(const struct heap *heap);
void heap_free(struct heap *heap);

#endif
