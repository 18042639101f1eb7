/*
 * test_index.c - the index of entities beside a plain list: who is added is found until removed, also while it grows, and a
 * walk hands out all who were there from its begin to its end.
 * SPDX-License-Identifier: MIT
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/core_int.h"

#define MANY 6000u

struct known {
    struct entity *entity;
    uint64_t hash;
    unsigned since; /* step of its addition */
    bool walked;
};

struct world {
    struct shard *shard;
    struct env env;
    struct known known[MANY];
    unsigned count, made, steps, walk_begun;
    uint64_t at, random, hashes; /* walk; bits of hashes that are drawn */
    unsigned grows, walks;
};

static uint64_t draw(struct world *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

static struct weir_str key_of(const struct entity *e)
{
    return entity_key(e);
}

static void add(struct world *w)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "k%u", w->made++);
    struct entity *e = mem_alloc(sizeof(*e) + (size_t)len);
    e->type_id = 7;
    e->key_len = (uint16_t)len;
    memcpy(e->key, text, (size_t)len);
    /* few homes, at both ends of the table, make clusters that go over its end */
    uint64_t hash = draw(w);
    hash = hash & 1 ? hash & w->hashes : hash | ~w->hashes;
    size_t cap = w->shard->entities.now.cap;
    index_add(w->shard, e, hash);
    w->grows += w->shard->entities.now.cap != cap;
    w->known[w->count++] = (struct known){ e, hash, w->steps, false };
}

static void take_away(struct world *w)
{
    unsigned i = (unsigned)(draw(w) % w->count);
    struct entity *e = w->known[i].entity;
    index_remove(w->shard, e);
    assert_null(index_find(&w->shard->entities, 7, key_of(e), w->known[i].hash));
    w->known[i] = w->known[--w->count];
    mem_free(e);
}

static void walked(void *arg, const struct entity *e)
{
    struct world *w = arg;
    for (unsigned i = 0; i < w->count; i++) {
        if (w->known[i].entity == e) w->known[i].walked = true;
    }
}

static void walk_on(struct world *w)
{
    w->at = index_walk(&w->shard->entities, w->at, walked, w);
    if (w->at < INDEX_WALKED) return;
    for (unsigned i = 0; i < w->count; i++) {
        assert_true(w->known[i].walked || w->known[i].since >= w->walk_begun);
        w->known[i].walked = false;
    }
    w->at = 0;
    w->walk_begun = w->steps + 1;
    w->walks++;
}

static void check(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        struct entity *e = w->known[i].entity;
        assert_ptr_equal(index_find(&w->shard->entities, 7, key_of(e), w->known[i].hash), e);
    }
    size_t at = 0;
    unsigned count = 0;
    while (index_next(&w->shard->entities, &at) != NULL) count++;
    assert_int_equal(count, w->count);
    assert_int_equal(w->shard->entity_count, w->count);
}

static bool now_and_then(struct env *env, const char *name)
{
    struct world *w = env->self;
    return draw(w) % 4 != 0;
}

static void run(uint64_t seed, uint64_t hashes, bool chances)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->random = seed * 0x9e3779b97f4a7c15u + 1;
    w->hashes = hashes;
    w->env = (struct env){ .self = w, .chance = chances ? now_and_then : NULL };
    w->shard = mem_alloc(sizeof(*w->shard));
    w->shard->env = &w->env;
    for (; w->made < MANY; w->steps++) {
        if (w->count > 0 && draw(w) % 5 < 2) take_away(w);
        else add(w);
        for (unsigned n = 0; w->count > 0 && n < draw(w) % 6; n++) walk_on(w);
        if (w->steps % 97 == 0) check(w);
    }
    check(w);
    assert_true(w->grows >= 2 && w->walks > 2);
    uint64_t tables = (w->shard->entities.now.cap + w->shard->entities.old.cap) * sizeof(uint64_t);
    assert_int_equal(w->shard->memory_bytes, tables);
    while (w->count > 0) take_away(w);
    index_free(&w->shard->entities);
    mem_free(w->shard);
    mem_free(w);
}

static void index_is_as_a_list(void **state)
{
    for (uint64_t seed = 1; seed < 4; seed++) run(seed, UINT64_MAX, false);
}

static void index_is_as_a_list_while_it_grows_slowly(void **state)
{
    for (uint64_t seed = 1; seed < 8; seed++) run(seed, UINT64_MAX, true);
}

static void index_is_as_a_list_with_clusters_over_its_end(void **state)
{
    for (uint64_t seed = 1; seed < 4; seed++) run(seed, UINT64_C(0xffffffff00ffffff), true);
    for (uint64_t seed = 1; seed < 4; seed++) run(seed, UINT64_C(0xffff0000000fffff), false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_is_as_a_list),
        cmocka_unit_test(index_is_as_a_list_while_it_grows_slowly),
        cmocka_unit_test(index_is_as_a_list_with_clusters_over_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
