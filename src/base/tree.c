/*
 * tree.c - the B+tree of Comer, "The Ubiquitous B-Tree", 1979, with counts and key prefixes.
 *
 * A node's entry i has the item that is smallest below it; in a leaf that is the item itself. So there
 * are no separator keys that could outlive their items, and the successor of a leaf's last item is the
 * next entry of the nearest ancestor: leaves need no links. Beside each item stands the big-endian
 * number of its key's first eight bytes, which decides most comparisons without touching the item.
 *
 * Invariants: entries ascend; an inner entry's item, prefix and count are those of its child; no node
 * but a root leaf is empty, and an inner node has at least two entries.
 * SPDX-License-Identifier: MIT
 */
#include "base/tree.h"

#include "base/assert.h"

#define FANOUT 32
#define FILL_MIN (FANOUT / 4)

struct tree_node {
    unsigned count;
    bool leaf;
    uint64_t prefixes[FANOUT];
    struct tree_item *items[FANOUT];
};

struct inner {
    struct tree_node node;
    struct tree_node *children[FANOUT];
    size_t counts[FANOUT];
};

/* A key on its way down. */
struct probe {
    struct weir_str key;
    uint64_t prefix;
};

/* ---- keys ---- */

static struct probe probe_of(struct weir_str key)
{
    uint64_t prefix = 0;
    if (key.len) memcpy(&prefix, key.ptr, key.len < 8 ? key.len : 8);
    return (struct probe){ key, __builtin_bswap64(prefix) };
}

static int probe_cmp(const struct probe *probe, const struct tree_node *node, unsigned i)
{
    if (probe->prefix != node->prefixes[i]) return probe->prefix < node->prefixes[i] ? -1 : 1;
    return str_cmp(probe->key, node->items[i]->key);
}

/* Number of entries below the key, or below or equal. */
static unsigned node_rank(const struct tree_node *node, const struct probe *probe, bool or_equal)
{
    unsigned low = 0, high = node->count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        int order = probe_cmp(probe, node, middle);
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

static struct tree_node *node_create(bool leaf)
{
    struct tree_node *node = mem_alloc(leaf ? sizeof(struct tree_node) : sizeof(struct inner));
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

/* Moves `count` entries between places that may overlap, within a node or to another of its kind. */
static void entries_move(struct tree_node *to, unsigned to_i, const struct tree_node *from,
                         unsigned from_i, unsigned count)
{
    memmove(to->prefixes + to_i, from->prefixes + from_i, count * sizeof(to->prefixes[0]));
    memmove(to->items + to_i, from->items + from_i, count * sizeof(to->items[0]));
    if (to->leaf) return;
    struct inner *target = inner_of(to), *source = inner_of(from);
    memmove(target->children + to_i, source->children + from_i,
            count * sizeof(target->children[0]));
    memmove(target->counts + to_i, source->counts + from_i, count * sizeof(target->counts[0]));
}

/* Makes entry i agree with its child again. */
static void inner_refresh(struct tree_node *node, unsigned i)
{
    struct inner *inner = inner_of(node);
    node->items[i] = inner->children[i]->items[0];
    node->prefixes[i] = inner->children[i]->prefixes[0];
    inner->counts[i] = node_total(inner->children[i]);
}

static void inner_insert(struct tree_node *node, unsigned i, struct tree_node *child)
{
    entries_move(node, i + 1, node, i, node->count - i);
    node->count++;
    inner_of(node)->children[i] = child;
    inner_refresh(node, i);
}

static void leaf_insert(struct tree_node *leaf, unsigned i, const struct probe *probe,
                        struct tree_item *item)
{
    entries_move(leaf, i + 1, leaf, i, leaf->count - i);
    leaf->count++;
    leaf->items[i] = item;
    leaf->prefixes[i] = probe->prefix;
}

/*
 * Halves a full node; one that grows at its end keeps nearly all, so that ascending keys fill nodes.
 * An inner node is never left with one entry: inner_mend() needs a neighbour.
 */
static struct tree_node *node_split(struct tree_node *node, unsigned at)
{
    unsigned keep = at < FANOUT ? FANOUT / 2 : node->leaf ? FANOUT - 1 : FANOUT - 2;
    struct tree_node *right = node_create(node->leaf);
    right->count = node->count - keep;
    entries_move(right, 0, node, keep, right->count);
    node->count = keep;
    return right;
}

/* Adds below `node`; returns the new right neighbour if it was split. */
static struct tree_node *node_add(struct tree_node *node, const struct probe *probe,
                                  struct tree_item *item)
{
    struct tree_node *right = NULL;
    unsigned i = node_rank(node, probe, false);
    if (node->leaf) {
        ASSERT(i == node->count || probe_cmp(probe, node, i) != 0);
        if (node->count == FANOUT) right = node_split(node, i);
        if (right && i > node->count) leaf_insert(right, i - node->count, probe, item);
        else leaf_insert(node, i, probe, item);
        return right;
    }
    /* the child whose first is at or below the key; a key below all becomes the first of the first */
    if (i == node->count || probe_cmp(probe, node, i) != 0) i -= i > 0;
    struct tree_node *made = node_add(inner_of(node)->children[i], probe, item);
    inner_refresh(node, i);
    if (!made) return NULL;
    i++;
    if (node->count == FANOUT) right = node_split(node, i);
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
    if (keep > left->count) {
        unsigned moved = keep - left->count;
        entries_move(left, left->count, right, 0, moved);
        entries_move(right, 0, right, moved, right->count - moved);
    } else {
        unsigned moved = left->count - keep;
        entries_move(right, moved, right, 0, right->count);
        entries_move(right, 0, left, keep, moved);
    }
    left->count = keep;
    right->count = sum - keep;
    if (right->count == 0) {
        mem_free(right);
        entries_move(node, l + 1, node, l + 2, node->count - l - 2);
        node->count--;
    } else {
        inner_refresh(node, l + 1);
    }
    inner_refresh(node, l);
}

static struct tree_item *node_remove(struct tree_node *node, const struct probe *probe)
{
    unsigned i = node_rank(node, probe, true);
    if (i-- == 0) return NULL;
    struct tree_item *item;
    if (node->leaf) {
        item = node->items[i];
        if (probe_cmp(probe, node, i) != 0) return NULL;
        entries_move(node, i, node, i + 1, node->count - i - 1);
        node->count--;
        return item;
    }
    struct tree_node *child = inner_of(node)->children[i];
    item = node_remove(child, probe);
    if (!item) return NULL;
    if (child->count < FILL_MIN) inner_mend(node, i);
    else inner_refresh(node, i);
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
    ASSERT(node->count <= FANOUT && (node->count > 0 || (root && node->leaf)));
    ASSERT(node->leaf || node->count > 1);
    for (unsigned i = 0; i < node->count; i++) {
        ASSERT(i == 0 || str_cmp(node->items[i - 1]->key, node->items[i]->key) < 0);
        ASSERT(node->prefixes[i] == probe_of(node->items[i]->key).prefix);
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
    struct probe probe = probe_of(key);
    const struct tree_node *node = tree->root;
    size_t rank = 0;
    if (!node) return 0;
    while (!node->leaf) {
        unsigned i = node_rank(node, &probe, false);
        if (i == 0) return rank;
        for (unsigned before = 0; before < i - 1; before++) rank += inner_of(node)->counts[before];
        node = inner_of(node)->children[i - 1];
    }
    return rank + node_rank(node, &probe, false);
}

/* ---- the door ---- */

struct tree_item *tree_find(const struct tree *tree, struct weir_str key)
{
    struct tree_item *item = tree_seek_back(tree, key, false);
    return item && str_eq(item->key, key) ? item : NULL;
}

void tree_add(struct tree *tree, struct tree_item *item)
{
    struct probe probe = probe_of(item->key);
    if (!tree->root) tree->root = node_create(true);
    struct tree_node *left = tree->root;
    struct tree_node *right = node_add(left, &probe, item);
    if (right) {
        tree->root = node_create(false);
        inner_insert(tree->root, 0, left);
        inner_insert(tree->root, 1, right);
    }
    tree->count++;
    tree->changes++;
    tree_check(tree);
}

struct tree_item *tree_remove(struct tree *tree, struct weir_str key)
{
    struct probe probe = probe_of(key);
    if (!tree->root) return NULL;
    struct tree_item *item = node_remove(tree->root, &probe);
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
    struct probe probe = probe_of(key);
    const struct tree_node *node = tree->root;
    struct tree_item *next = NULL;
    if (!node) return NULL;
    for (;;) {
        unsigned i = node_rank(node, &probe, node->leaf ? after : true);
        if (i < node->count) next = node->items[i];
        if (node->leaf) return next;
        if (i == 0) return next;
        node = inner_of(node)->children[i - 1];
    }
}

struct tree_item *tree_seek_back(const struct tree *tree, struct weir_str key, bool before)
{
    struct probe probe = probe_of(key);
    const struct tree_node *node = tree->root;
    if (!node) return NULL;
    for (;;) {
        unsigned i = node_rank(node, &probe, !before);
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

static struct tree_item *place_seek(const struct tree_node *node, const struct probe *probe,
                                    bool after, struct tree_place *place)
{
    const struct tree_node *beyond = NULL;
    while (!node->leaf) {
        unsigned i = node_rank(node, probe, true);
        if (i < node->count) beyond = inner_of(node)->children[i];
        node = inner_of(node)->children[i ? i - 1 : 0];
    }
    return place_note(node, node_rank(node, probe, after), beyond, place);
}

static struct tree_item *place_seek_back(const struct tree_node *node, const struct probe *probe,
                                         bool before, struct tree_place *place)
{
    for (;;) {
        unsigned i = node_rank(node, probe, !before);
        if (i == 0) return NULL;
        if (node->leaf) return place_note(node, i - 1, NULL, place);
        node = inner_of(node)->children[i - 1];
    }
}

struct tree_item *tree_seek_place(const struct tree *tree, struct weir_str key, bool after,
                                  bool reverse, struct tree_place *place)
{
    struct probe probe = probe_of(key);
    *place = (struct tree_place){ .changes = tree->changes };
    if (!tree->root) return NULL;
    return reverse ? place_seek_back(tree->root, &probe, after, place)
                   : place_seek(tree->root, &probe, after, place);
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

size_t tree_count(const struct tree *tree, struct weir_str from, struct weir_str to)
{
    size_t high = to.ptr ? tree_rank(tree, to) : tree->count;
    size_t low = tree_rank(tree, from);
    return high > low ? high - low : 0;
}

void tree_free(struct tree *tree)
{
    node_destroy(tree->root);
    *tree = (struct tree){ 0 };
}
