/*
 * test_tree.c - the tree beside a sorted array.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/tree.h"
#include "draw.h"

#define KEY_MAX 64

struct twin {
    struct tree tree;
    struct tree_item **items; /* ascending */
    size_t count, cap;
    uint64_t random;
    unsigned peeked; /* items found so */
};

/* Keys that share prefixes, are prefixes of each other, and hold NULs and high bytes. */
static struct weir_str key_draw(uint64_t *random, char *room, unsigned spread)
{
    static const char letters[] = { 0, 'a', 'b', (char)0xff };
    size_t len = 0;
    if (draw_below(random, 3) == 0) {
        memcpy(room, "account/", 8);
        len = 8;
    }
    size_t more = draw_below(random, spread);
    while (more--) room[len++] = letters[draw_below(random, 4)];
    return (struct weir_str){ room, len };
}

/* Keys of groups that begin alike for long, with a number behind; some are cut anywhere, down to the empty key. */
static struct weir_str key_draw_grouped(uint64_t *random, char *room, unsigned groups)
{
    unsigned group = (unsigned)draw_below(random, groups);
    size_t len = (size_t)snprintf(room, KEY_MAX, "%s/%03u/d/%02u%s",
                                  group % 3 ? "\2\1wh" : "entity", group / 6, group % 6,
                                  group % 3 ? "" : "/a/long/name/map");
    uint64_t number = draw_below(random, 8) ? draw_below(random, 40) : draw(random);
    for (unsigned i = 0; i < 8; i++) room[len++] = (char)(number >> (56 - 8 * i));
    if (draw_below(random, 8) == 0) len = draw_below(random, len + 1);
    return (struct weir_str){ room, len };
}

static struct tree_item *item_create(struct weir_str key)
{
    struct tree_item *item = mem_alloc(sizeof(*item) + key.len + 1);
    char *copy = (char *)(item + 1);
    if (key.len) memcpy(copy, key.ptr, key.len);
    item->key = (struct weir_str){ copy, key.len };
    return item;
}

/* Number of items below the key. */
static size_t twin_rank(const struct twin *twin, struct weir_str key)
{
    size_t low = 0, high = twin->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (str_cmp(twin->items[middle]->key, key) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool twin_has(const struct twin *twin, struct weir_str key, size_t rank)
{
    return rank < twin->count && str_eq(twin->items[rank]->key, key);
}

static void twin_add(struct twin *twin, struct weir_str key)
{
    size_t rank = twin_rank(twin, key);
    if (twin_has(twin, key, rank)) return;
    if (twin->count == twin->cap) {
        twin->cap = twin->cap ? 2 * twin->cap : 64;
        twin->items = mem_realloc(twin->items, twin->cap * sizeof(twin->items[0]));
    }
    memmove(twin->items + rank + 1, twin->items + rank,
            (twin->count - rank) * sizeof(twin->items[0]));
    twin->items[rank] = item_create(key);
    twin->count++;
    tree_add(&twin->tree, twin->items[rank]);
}

static void twin_remove(struct twin *twin, struct weir_str key, uint64_t seed)
{
    size_t rank = twin_rank(twin, key);
    struct tree_item *item = twin_has(twin, key, rank) ? twin->items[rank] : NULL;
    CHECK(seed, tree_remove(&twin->tree, key) == item);
    if (!item) return;
    memmove(twin->items + rank, twin->items + rank + 1,
            (twin->count - rank - 1) * sizeof(twin->items[0]));
    twin->count--;
    mem_free(item); /* the tree must not look at it again */
}

static struct tree_item *twin_at(const struct twin *twin, size_t i)
{
    return i < twin->count ? twin->items[i] : NULL;
}

static void twin_compare(struct twin *twin, struct weir_str key, struct weir_str to, uint64_t seed)
{
    size_t rank = twin_rank(twin, key), rank_to = twin_rank(twin, to);
    bool has = twin_has(twin, key, rank);
    CHECK(seed, twin->tree.count == twin->count);
    CHECK(seed, tree_find(&twin->tree, key) == (has ? twin->items[rank] : NULL));
    CHECK(seed, tree_seek(&twin->tree, key, false) == twin_at(twin, rank));
    CHECK(seed, tree_seek(&twin->tree, key, true) == twin_at(twin, rank + has));
    CHECK(seed, tree_seek_back(&twin->tree, key, true) == twin_at(twin, rank - 1));
    CHECK(seed, tree_seek_back(&twin->tree, key, false) == twin_at(twin, rank + has - 1));
    CHECK(seed, tree_count(&twin->tree, key, to) == (rank_to > rank ? rank_to - rank : 0));
    CHECK(seed, tree_count(&twin->tree, key, STR_NIL) == twin->count - rank);
    struct tree_place place;
    struct tree_item *item = tree_seek_place(&twin->tree, key, false, false, &place);
    CHECK(seed, item == twin_at(twin, rank));
    for (unsigned ahead = 1; item != NULL && ahead < 6; ahead++) {
        struct tree_item *peeked = tree_peek(&place, ahead);
        CHECK(seed, peeked == NULL || peeked == twin_at(twin, rank + ahead));
        twin->peeked += peeked != NULL;
    }
    if (item)
        CHECK(seed, tree_step(&twin->tree, &place, item->key, false) == twin_at(twin, rank + 1));
    item = tree_seek_place(&twin->tree, key, false, true, &place);
    CHECK(seed, item == twin_at(twin, rank + has - 1));
    if (item)
        CHECK(seed,
              tree_step(&twin->tree, &place, item->key, true) == twin_at(twin, rank + has - 2));
}

static void twin_free(struct twin *twin)
{
    tree_free(&twin->tree);
    for (size_t i = 0; i < twin->count; i++) mem_free(twin->items[i]);
    mem_free(twin->items);
}

/* By the key's bytes alone: the item's own are freed with it. */
static void twin_remove_at(struct twin *twin, size_t i, uint64_t seed)
{
    char room[KEY_MAX];
    struct weir_str there = twin->items[i]->key;
    if (there.len) memcpy(room, there.ptr, there.len);
    twin_remove(twin, (struct weir_str){ room, there.len }, seed);
}

/* Grows, shrinks, grows and shrinks again, by odds that change with time; then down to nothing, and one key again. */
static void twin_run(uint64_t seed, struct weir_str (*draw_key)(uint64_t *, char *, unsigned),
                     unsigned spread)
{
    struct twin twin = { .random = seed };
    char room[KEY_MAX], room_to[KEY_MAX];
    for (int step = 0; step < 6000; step++) {
        struct weir_str key = draw_key(&twin.random, room, spread);
        struct weir_str to = draw_key(&twin.random, room_to, spread);
        uint64_t odds = step / 1500 % 2 ? 2 : 8;
        if (draw_below(&twin.random, 10) < odds) twin_add(&twin, key);
        else if (twin.count && draw_below(&twin.random, 2))
            twin_remove_at(&twin, draw_below(&twin.random, twin.count), seed);
        else twin_remove(&twin, key, seed);
        twin_compare(&twin, key, to, seed);
    }
    while (twin.count) {
        twin_remove_at(&twin, draw_below(&twin.random, twin.count), seed);
        twin_compare(&twin, draw_key(&twin.random, room, spread), STR("b"), seed);
    }
    struct weir_str key = draw_key(&twin.random, room, spread);
    twin_add(&twin, key);
    twin_compare(&twin, key, STR("b"), seed);
    CHECK(seed, twin.peeked > 100);
    twin_free(&twin);
}

static void tree_agrees_with_a_sorted_array(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++) twin_run(seed, key_draw, seed % 3 == 0 ? 4 : 12);
}

static void tree_agrees_where_keys_begin_alike(void **state)
{
    static const unsigned groups[] = { 1, 3, 12, 150 };
    for (uint64_t seed = 1; seed <= 12; seed++) twin_run(seed, key_draw_grouped, groups[seed % 4]);
}

static struct weir_str key_number(char *room, unsigned n)
{
    for (unsigned i = 0; i < 4; i++) room[i] = (char)(n >> (24 - 8 * i));
    return (struct weir_str){ room, 4 };
}

/* Ascending keys split at the end; taking them from either side empties nodes one after the other. */
static void tree_survives_queues_and_stacks_of_keys(void **state)
{
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct twin twin = { .random = seed };
        char room[4], room_to[4];
        const unsigned n = 5000;
        for (unsigned i = 0; i < n; i++)
            twin_add(&twin, key_number(room, seed % 2 ? i : n - 1 - i));
        for (unsigned i = 0; i < n; i++) {
            unsigned taken = seed <= 2 ? i : n - 1 - i;
            twin_compare(&twin, key_number(room, (unsigned)draw_below(&twin.random, n)),
                         key_number(room_to, (unsigned)draw_below(&twin.random, n)), seed);
            twin_remove(&twin, key_number(room, taken), seed);
        }
        CHECK(seed, twin.tree.count == 0 && !tree_seek(&twin.tree, STR_NIL, false));
        twin_add(&twin, key_number(room, 1));
        CHECK(seed, tree_seek(&twin.tree, STR_NIL, false) == twin.items[0]);
        twin_free(&twin);
    }
}

/* What the keys of a tree shared is forgotten with them. */
static void tree_that_was_emptied_takes_other_keys(void **state)
{
    for (unsigned count = 1; count < 80; count++) {
        struct twin twin = { .random = count };
        for (unsigned round = 0; round < 4; round++) {
            char room[KEY_MAX];
            size_t len = (size_t)snprintf(room, sizeof(room), round == 2 ? "b" : "entity/with/long/name/%u/", round);
            for (unsigned i = 0; i < count; i++) {
                room[len] = (char)(i * 37);
                twin_add(&twin, (struct weir_str){ room, len + 1 });
                twin_compare(&twin, (struct weir_str){ room, len + 1 }, STR("c"), count);
            }
            while (twin.count > 0) twin_remove_at(&twin, draw_below(&twin.random, twin.count), count);
        }
        twin_free(&twin);
    }
}

static void tree_that_is_empty_finds_nothing(void **state)
{
    struct tree tree = { 0 };
    assert_null(tree_find(&tree, STR("a")));
    assert_null(tree_remove(&tree, STR("a")));
    assert_null(tree_seek(&tree, STR_NIL, false));
    assert_null(tree_seek_back(&tree, STR("a"), false));
    assert_int_equal(tree_count(&tree, STR_NIL, STR_NIL), 0);
    tree_free(&tree);
}

static void tree_walk_by_seeking_survives_removals(void **state)
{
    struct twin twin = { .random = 1 };
    char room[4];
    unsigned seen = 0;
    for (unsigned i = 0; i < 1000; i++) twin_add(&twin, key_number(room, i));
    struct tree_item *item = tree_seek(&twin.tree, STR_NIL, false);
    while (item) {
        char at[4];
        memcpy(at, item->key.ptr, 4);
        struct weir_str key = { at, 4 };
        twin_remove(&twin, key, 1);
        seen++;
        item = tree_seek(&twin.tree, key, true);
    }
    assert_int_equal(seen, 1000);
    twin_free(&twin);
}

/* A step is the neighbour of where the walk stood, whatever was added and taken out meanwhile. */
static void tree_steps_are_neighbours_while_the_tree_changes(void **state)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct twin twin = { .random = seed };
        struct tree_place place = { 0 };
        char room[4], at_room[4];
        struct weir_str at = key_number(at_room, (unsigned)draw_below(&twin.random, 3000));
        for (unsigned i = 0; i < 1500; i++)
            twin_add(&twin, key_number(room, (unsigned)draw_below(&twin.random, 3000)));
        uint64_t still = seed % 4 * 16; /* steps between two changes, on the average */
        for (int step = 0; step < 8000; step++) {
            bool reverse = draw_below(&twin.random, 200) < 60, seek = draw_below(&twin.random, 50) == 0;
            bool after = draw_below(&twin.random, 2) == 0;
            if (seek) at = key_number(at_room, (unsigned)draw_below(&twin.random, 3000));
            size_t rank = twin_rank(&twin, at);
            bool has = twin_has(&twin, at, rank), beyond = !seek || after;
            struct tree_item *wanted =
                reverse ? twin_at(&twin, rank - (beyond || !has)) : twin_at(&twin, rank + (beyond && has));
            struct tree_item *item = seek ? tree_seek_place(&twin.tree, at, after, reverse, &place)
                                          : tree_step(&twin.tree, &place, at, reverse);
            CHECK(seed, item == wanted);
            if (item) memcpy(at_room, item->key.ptr, 4);
            else place = (struct tree_place){ 0 }; /* at is no item's key now */
            if (draw_below(&twin.random, still + 1) > 0) continue;
            struct weir_str key = key_number(room, (unsigned)draw_below(&twin.random, 3000));
            if (draw_below(&twin.random, 2)) twin_add(&twin, key);
            else twin_remove(&twin, key, seed);
        }
        twin_free(&twin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_agrees_with_a_sorted_array),
        cmocka_unit_test(tree_agrees_where_keys_begin_alike),
        cmocka_unit_test(tree_survives_queues_and_stacks_of_keys),
        cmocka_unit_test(tree_that_was_emptied_takes_other_keys),
        cmocka_unit_test(tree_that_is_empty_finds_nothing),
        cmocka_unit_test(tree_walk_by_seeking_survives_removals),
        cmocka_unit_test(tree_steps_are_neighbours_while_the_tree_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
