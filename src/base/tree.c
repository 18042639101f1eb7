/*
 * tree.c - the B+tree of Comer, "The Ubiquitous B-Tree", 1979, with counts and parts of keys in its nodes.
 *
 * A node's entry i has the item that is smallest below it; in a leaf that is the item itself. So there
 * are no separator keys that could outlive their items, and the successor of a leaf's last item is the
 * next entry of the nearest ancestor: leaves need no links.
 *
 * Neighbours begin alike: rows of one entity's map by all but the last bytes. Beside each item stands the big-endian number of
 * the eight bytes of its key behind the first `skip`, in which all keys of the node agree: so most comparisons touch no item
 * (Graefe and Larson, "B-Tree Indexes and CPU Caches", ICDE 2001). A search compares what they agree in once a node, with the first
 * item. Where heads do not tell keys apart, more is skipped when a node is split, joined or has filled to a quarter or a half;
 * a key that differs makes it less.
 *
 * Invariants: entries ascend; all keys of a node agree in its skip; an inner entry's item and count are those of its child; no
 * node but a root leaf is empty, and an inner node has at least two entries.
 * SPDX-License-Identifier: MIT
 */
#include "base/tree.h"

#include "base/assert.h"
#include "base/hash.h"

#define FANOUT 32
#define FILL_MIN (FANOUT / 4)

struct tree_node {
    uint16_t count;
    uint16_t skip;
    bool leaf;
    uint64_t heads[FANOUT];
    struct tree_item *items[FANOUT];
};

struct inner {
    struct tree_node node;
    struct tree_node *children[FANOUT];
    size_t counts[FANOUT];
};

/* ---- keys ---- */

static uint64_t head_of(struct weir_str key, size_t skip)
{
    uint64_t head = 0;
    size_t more = key.len - skip;
    if (more >= 8) return __builtin_bswap64(load_le64(key.ptr + skip));
    for (size_t i = 0; i < more; i++) head = head << 8 | (uint8_t)key.ptr[skip + i];
    return more > 0 ? head << (64 - 8 * more) : 0;
}

/* In how many bytes both begin alike. */
static size_t common(struct weir_str a, struct weir_str b)
{
    size_t n = 0, max = a.len < b.len ? a.len : b.len;
    while (n < max && a.ptr[n] == b.ptr[n]) n++;
    return n < UINT16_MAX ? n : UINT16_MAX;
}

static void skip_set(struct tree_node *node, size_t skip)
{
    if (node->skip == skip) return;
    node->skip = (uint16_t)skip;
    for (unsigned i = 0; i < node->count; i++) node->heads[i] = head_of(node->items[i]->key, skip);
}

/* Entries ascend: what the first and the last agree in, all do. */
static void skip_more(struct tree_node *node)
{
    unsigned i = 1;
    while (i < node->count && node->heads[i - 1] != node->heads[i]) i++;
    if (i < node->count)
        skip_set(node, common(node->items[0]->key, node->items[node->count - 1]->key));
}

/* Before the key is put among the others. The first of them may just have been taken out below: it is still there. */
static void skip_for(struct tree_node *node, struct weir_str key)
{
    size_t skip = node->skip == 0 ? 0 : common(node->items[0]->key, key);
    if (skip < node->skip) skip_set(node, skip);
}

/* Without branches: none of them could be foretold. */
static unsigned heads_below(const uint64_t *heads, unsigned count, uint64_t head)
{
    unsigned low = 0;
    for (unsigned half; count > 1; count -= half) {
        half = count / 2;
        low += heads[low + half - 1] < head ? half : 0;
    }
    return low + (count > 0 && heads[low] < head);
}

/* Number of entries below the key, or below or equal. */
static unsigned node_rank(const struct tree_node *node, struct weir_str key, bool or_equal)
{
    size_t skip = node->skip;
    if (skip > 0) {
        int order = memcmp(key.ptr, node->items[0]->key.ptr, key.len < skip ? key.len : skip);
        if (order > 0) return node->count;
        if (order < 0 || key.len < skip) return 0;
    }
    uint64_t head = head_of(key, skip);
    unsigned low = heads_below(node->heads, node->count, head), high = low;
    while (high < node->count && node->heads[high] == head) high++;
    while (low < high) { /* what the heads leave open */
        unsigned middle = (low + high) / 2;
        int order = str_cmp(key, node->items[middle]->key);
        if (order > 0 || (order == 0 && or_equal)) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* ---- nodes ---- */

static struct inner *inner_of(const struct tree_node *node)
{
    return (struct inner *)(uintptr_t)node;
}

static struct tree_node *node_create(const struct tree *tree, bool leaf)
{
    size_t bytes = leaf ? sizeof(struct tree_node) : sizeof(struct inner);
    struct tree_node *node = tree->arena ? arena_alloc(tree->arena, bytes) : mem_alloc(bytes);
    node->leaf = leaf;
    return node;
}

static size_t node_total(const struct tree_node *node)
{
    if (node->leaf) return node->count;
    size_t total = 0;
    for (unsigned i = 0; i < node->count; i++) total += inner_of(node)->counts[i];
    return total;
}

/* Moves `count` entries between places that may overlap, within a node or to another of its kind and skip. */
static void entries_move(struct tree_node *to, unsigned to_i, const struct tree_node *from,
                         unsigned from_i, unsigned count)
{
    memmove(to->heads + to_i, from->heads + from_i, count * sizeof(to->heads[0]));
    memmove(to->items + to_i, from->items + from_i, count * sizeof(to->items[0]));
    if (to->leaf) return;
    struct inner *target = inner_of(to), *source = inner_of(from);
    memmove(target->children + to_i, source->children + from_i,
            count * sizeof(target->children[0]));
    memmove(target->counts + to_i, source->counts + from_i, count * sizeof(target->counts[0]));
}

static void item_set(struct tree_node *node, unsigned i, struct tree_item *item)
{
    node->items[i] = item;
    node->heads[i] = head_of(item->key, node->skip);
}

/* Makes entry i agree with its child again. */
static void inner_first(struct tree_node *node, unsigned i)
{
    struct tree_item *first = inner_of(node)->children[i]->items[0];
    skip_for(node, first->key);
    item_set(node, i, first);
}

static void inner_refresh(struct tree_node *node, unsigned i)
{
    inner_first(node, i);
    inner_of(node)->counts[i] = node_total(inner_of(node)->children[i]);
}

static void item_insert(struct tree_node *node, unsigned i, struct tree_item *item)
{
    skip_for(node, item->key);
    entries_move(node, i + 1, node, i, node->count - i);
    node->count++;
    item_set(node, i, item);
    if (node->count == FANOUT / 4 || node->count == FANOUT / 2) skip_more(node);
}

static void inner_insert(struct tree_node *node, unsigned i, struct tree_node *child)
{
    item_insert(node, i, child->items[0]);
    inner_of(node)->children[i] = child;
    inner_of(node)->counts[i] = node_total(child);
}

/*
 * Halves a full node; one that grows at its end keeps nearly all, so that ascending keys fill nodes.
 * An inner node is never left with one entry: inner_mend() needs a neighbour.
 */
static struct tree_node *node_split(const struct tree *tree, struct tree_node *node, unsigned at)
{
    unsigned keep = at < FANOUT ? FANOUT / 2 : node->leaf ? FANOUT - 1 : FANOUT - 2;
    struct tree_node *right = node_create(tree, node->leaf);
    right->count = (uint16_t)(node->count - keep);
    right->skip = node->skip;
    entries_move(right, 0, node, keep, right->count);
    node->count = (uint16_t)keep;
    skip_more(node);
    skip_more(right);
    return right;
}

/* Adds below `node`; returns the new right neighbour if it was split. */
static struct tree_node *node_add(const struct tree *tree, struct tree_node *node,
                                  struct tree_item *item)
{
    struct tree_node *right = NULL;
    unsigned i = node_rank(node, item->key, true);
    if (node->leaf) {
        ASSERT(i == 0 || !str_eq(node->items[i - 1]->key, item->key));
        if (node->count == FANOUT) right = node_split(tree, node, i);
        if (right && i > node->count) item_insert(right, i - node->count, item);
        else item_insert(node, i, item);
        return right;
    }
    /* the child whose first is at or below the key; a key below all becomes the first of the first */
    bool below = i == 0;
    i -= !below;
    struct inner *inner = inner_of(node);
    struct tree_node *made = node_add(tree, inner->children[i], item);
    if (below) inner_first(node, i);
    inner->counts[i] = made ? node_total(inner->children[i]) : inner->counts[i] + 1;
    if (!made) return NULL;
    i++;
    if (node->count == FANOUT) right = node_split(tree, node, i);
    if (right && i > node->count) inner_insert(right, i - node->count, made);
    else inner_insert(node, i, made);
    return right;
}

/* Child i has become small: joins it with a neighbour, or shares evenly with one too full for that. */
static void inner_mend(struct tree_node *node, unsigned i)
{
    struct inner *inner = inner_of(node);
    ASSERT(node->count >= 2);
    unsigned l = i ? i - 1 : 0;
    struct tree_node *left = inner->children[l], *right = inner->children[l + 1];
    unsigned sum = left->count + right->count;
    unsigned keep = sum <= FANOUT ? sum : sum / 2;
    skip_for(left, right->items[0]->key);
    skip_for(right, left->items[0]->key);
    skip_set(left, left->skip < right->skip ? left->skip : right->skip);
    skip_set(right, left->skip);
    if (keep > left->count) {
        unsigned moved = keep - left->count;
        entries_move(left, left->count, right, 0, moved);
        entries_move(right, 0, right, moved, right->count - moved);
    } else {
        unsigned moved = left->count - keep;
        entries_move(right, moved, right, 0, right->count);
        entries_move(right, 0, left, keep, moved);
    }
    left->count = (uint16_t)keep;
    right->count = (uint16_t)(sum - keep);
    skip_more(left);
    skip_more(right);
    if (right->count == 0) {
        mem_free(right);
        entries_move(node, l + 1, node, l + 2, node->count - l - 2);
        node->count--;
    } else {
        inner_refresh(node, l + 1);
    }
    inner_refresh(node, l);
}

static struct tree_item *node_remove(struct tree_node *node, struct weir_str key)
{
    unsigned i = node_rank(node, key, true);
    if (i-- == 0) return NULL;
    struct tree_item *item;
    if (node->leaf) {
        item = node->items[i];
        if (!str_eq(item->key, key)) return NULL;
        entries_move(node, i, node, i + 1, node->count - i - 1);
        if (--node->count == 0) node->skip = 0;
        return item;
    }
    struct tree_node *child = inner_of(node)->children[i];
    item = node_remove(child, key);
    if (!item) return NULL;
    inner_of(node)->counts[i]--;
    if (child->count < FILL_MIN) inner_mend(node, i);
    else if (node->items[i] == item) inner_first(node, i);
    return item;
}

static void node_destroy(struct tree_node *node)
{
    if (!node) return;
    if (!node->leaf)
        for (unsigned i = 0; i < node->count; i++) node_destroy(inner_of(node)->children[i]);
    mem_free(node);
}

#ifdef WEIR_SLOW_CHECKS
static void node_check(const struct tree_node *node, bool root)
{
    ASSERT(node->count > 0 || node->skip == 0);
    ASSERT(node->count <= FANOUT && (node->count > 0 || (root && node->leaf)));
    ASSERT(node->leaf || node->count > 1);
    for (unsigned i = 0; i < node->count; i++) {
        ASSERT(i == 0 || str_cmp(node->items[i - 1]->key, node->items[i]->key) < 0);
        ASSERT(common(node->items[0]->key, node->items[i]->key) >= node->skip);
        ASSERT(node->heads[i] == head_of(node->items[i]->key, node->skip));
        if (node->leaf) continue;
        const struct tree_node *child = inner_of(node)->children[i];
        node_check(child, false);
        ASSERT(node->items[i] == child->items[0]);
        ASSERT(inner_of(node)->counts[i] == node_total(child));
    }
}
#endif

static void tree_check(const struct tree *tree)
{
#ifdef WEIR_SLOW_CHECKS
    if (!tree->root) return;
    node_check(tree->root, true);
    ASSERT(node_total(tree->root) == tree->count);
#else
    (void)tree;
#endif
}

/* Number of items below the key. */
static size_t tree_rank(const struct tree *tree, struct weir_str key)
{
    const struct tree_node *node = tree->root;
    size_t rank = 0;
    if (!node) return 0;
    while (!node->leaf) {
        unsigned i = node_rank(node, key, false);
        if (i == 0) return rank;
        for (unsigned before = 0; before < i - 1; before++) rank += inner_of(node)->counts[before];
        node = inner_of(node)->children[i - 1];
    }
    return rank + node_rank(node, key, false);
}

/* ---- the door ---- */

struct tree_item *tree_find(const struct tree *tree, struct weir_str key)
{
    struct tree_item *item = tree_seek_back(tree, key, false);
    return item && str_eq(item->key, key) ? item : NULL;
}

void tree_add(struct tree *tree, struct tree_item *item)
{
    if (!tree->root) tree->root = node_create(tree, true);
    struct tree_node *left = tree->root;
    struct tree_node *right = node_add(tree, left, item);
    if (right) {
        tree->root = node_create(tree, false);
        inner_insert(tree->root, 0, left);
        inner_insert(tree->root, 1, right);
    }
    tree->count++;
    tree->changes++;
    tree_check(tree);
}

struct tree_item *tree_remove(struct tree *tree, struct weir_str key)
{
    if (!tree->root) return NULL;
    ASSERT(tree->arena == NULL);
    struct tree_item *item = node_remove(tree->root, key);
    if (!item) return NULL;
    while (!tree->root->leaf && tree->root->count == 1) {
        struct tree_node *only = inner_of(tree->root)->children[0];
        mem_free(tree->root);
        tree->root = only;
    }
    tree->count--;
    tree->changes++;
    tree_check(tree);
    return item;
}

struct tree_item *tree_seek(const struct tree *tree, struct weir_str key, bool after)
{
    const struct tree_node *node = tree->root;
    struct tree_item *next = NULL;
    if (!node) return NULL;
    for (;;) {
        unsigned i = node_rank(node, key, node->leaf ? after : true);
        if (i < node->count) next = node->items[i];
        if (node->leaf) return next;
        if (i == 0) return next;
        node = inner_of(node)->children[i - 1];
    }
}

struct tree_item *tree_seek_back(const struct tree *tree, struct weir_str key, bool before)
{
    const struct tree_node *node = tree->root;
    if (!node) return NULL;
    for (;;) {
        unsigned i = node_rank(node, key, !before);
        if (i == 0) return NULL;
        if (node->leaf) return node->items[i - 1];
        node = inner_of(node)->children[i - 1];
    }
}

/* The place of entry i of a leaf; the end of a leaf is the first entry below `beyond`, NULL at the end of the tree. */
static struct tree_item *place_note(const struct tree_node *leaf, unsigned i,
                                    const struct tree_node *beyond, struct tree_place *place)
{
    if (i == leaf->count) {
        if (!beyond) return NULL;
        while (!beyond->leaf) beyond = inner_of(beyond)->children[0];
        leaf = beyond;
        i = 0;
    }
    place->leaf = leaf;
    place->at = i;
    return leaf->items[i];
}

static struct tree_item *place_seek(const struct tree_node *node, struct weir_str key, bool after,
                                    struct tree_place *place)
{
    const struct tree_node *beyond = NULL;
    while (!node->leaf) {
        unsigned i = node_rank(node, key, true);
        if (i < node->count) beyond = inner_of(node)->children[i];
        node = inner_of(node)->children[i ? i - 1 : 0];
    }
    return place_note(node, node_rank(node, key, after), beyond, place);
}

static struct tree_item *place_seek_back(const struct tree_node *node, struct weir_str key,
                                         bool before, struct tree_place *place)
{
    for (;;) {
        unsigned i = node_rank(node, key, !before);
        if (i == 0) return NULL;
        if (node->leaf) return place_note(node, i - 1, NULL, place);
        node = inner_of(node)->children[i - 1];
    }
}

struct tree_item *tree_seek_place(const struct tree *tree, struct weir_str key, bool after,
                                  bool reverse, struct tree_place *place)
{
    *place = (struct tree_place){ .changes = tree->changes };
    if (!tree->root) return NULL;
    return reverse ? place_seek_back(tree->root, key, after, place)
                   : place_seek(tree->root, key, after, place);
}

struct tree_item *tree_step(const struct tree *tree, struct tree_place *place, struct weir_str at,
                            bool reverse)
{
    const struct tree_node *leaf = place->leaf;
    if (leaf && place->changes == tree->changes) {
        if (!reverse && place->at + 1 < leaf->count) return leaf->items[++place->at];
        if (reverse && place->at > 0) return leaf->items[--place->at];
    }
    return tree_seek_place(tree, at, true, reverse, place);
}

struct tree_item *tree_peek(const struct tree_place *place, unsigned ahead)
{
    const struct tree_node *leaf = place->leaf;
    return leaf != NULL && place->at + ahead < leaf->count ? leaf->items[place->at + ahead] : NULL;
}

size_t tree_count(const struct tree *tree, struct weir_str from, struct weir_str to)
{
    size_t high = to.ptr ? tree_rank(tree, to) : tree->count;
    size_t low = tree_rank(tree, from);
    return high > low ? high - low : 0;
}

void tree_free(struct tree *tree)
{
    if (tree->arena == NULL) node_destroy(tree->root);
    *tree = (struct tree){ 0 };
}
