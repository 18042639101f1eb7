/*
 * tree.h - an ordered index: a single-threaded B+tree of pointers to items keyed by bytes.
 *
 * The tree keeps the caller's item pointers, never copies or moves an item; the key of an item is read
 * through struct tree_item at its head. Keys order as memcmp, shorter first. Cursors are keys: a walk
 * survives any change by seeking again; a place beside the key spares it the search while nothing changes.
 * SPDX-License-Identifier: MIT
 */
#ifndef WEIR_BASE_TREE_H
#define WEIR_BASE_TREE_H

#include "base/mem.h"

/* The head of every item: its key, owned by the item, unchanged while it is in a tree. */
struct tree_item {
    struct weir_str key;
};

struct tree {
    struct tree_node *root;
    size_t count;
    uint64_t changes; /* items added and taken out so far */
    struct arena
        *arena; /* where nodes are from, and go with it: items are added only; NULL: the heap */
};

/* Where a walk stands. */
struct tree_place {
    const struct tree_node *leaf; /* NULL: nowhere */
    unsigned at;
    uint64_t changes; /* of the tree, at that time */
};

/** `item` may be NULL, which has no prefix. */
static inline bool tree_item_has_prefix(const struct tree_item *item, struct weir_str prefix)
{
    return item != NULL && item->key.len >= prefix.len &&
           memcmp(item->key.ptr, prefix.ptr, prefix.len) == 0;
}

struct tree_item *tree_find(const struct tree *tree, struct weir_str key);
/** Adds; the key must be absent (asserted). */
void tree_add(struct tree *tree, struct tree_item *item);
/** Takes out and returns the item; NULL when absent. */
struct tree_item *tree_remove(struct tree *tree, struct weir_str key);
/** First item with key >= `key` (or > when `after`); NULL at the end. O(log n). */
struct tree_item *tree_seek(const struct tree *tree, struct weir_str key, bool after);
/** Last item with key <= `key` (or < when `before`); NULL when none. */
struct tree_item *tree_seek_back(const struct tree *tree, struct weir_str key, bool before);
/** As tree_seek(), `reverse`: as tree_seek_back(); notes where that is. */
struct tree_item *tree_seek_place(const struct tree *tree, struct weir_str key, bool after,
                                  bool reverse, struct tree_place *place);
/** The item beyond `at`, `reverse`: before it. `at` is the key of the item that the place is at, or was before the tree changed:
 *  without a change this takes a step instead of a search. */
struct tree_item *tree_step(const struct tree *tree, struct tree_place *place, struct weir_str at,
                            bool reverse);
/** The item so many beyond the place, to be fetched ahead; NULL where that takes a search. Without a change since only. */
struct tree_item *tree_peek(const struct tree_place *place, unsigned ahead);
/** Number of items with from <= key < to; O(log n) by counts in inner nodes. `to` nil: to the end. */
size_t tree_count(const struct tree *tree, struct weir_str from, struct weir_str to);
/** Frees the nodes, not the items. */
void tree_free(struct tree *tree);

#endif
