/*
 * test_entity.c - entities and their rows beside a plain list: a row is as it was set last, wherever it lies; bytes are counted;
 * keys and rows of each length about the sizes of blocks.
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

#define ENTITIES 64u
#define BYTES 1100u
#define STEPS 60000u

struct known {
    struct entity *entity; /* NULL: none */
    size_t key_len, row_len;
    bool has_row;
    char key[BYTES], row[BYTES];
};

struct world {
    struct shard *shard;
    struct known known[ENTITIES];
    uint64_t random;
    unsigned inside, outside, moved; /* rows seen */
};

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return (w->random >> 11) % below;
}

static size_t draw_len(struct world *w)
{
    switch (draw(w, 4)) {
    case 0: return draw(w, 40);
    case 1: return draw(w, 130);
    case 2: return SLAB_BYTES_MAX - 80 + draw(w, 100);
    default: return draw(w, BYTES + 1);
    }
}

static void fill(struct world *w, char *at, size_t len)
{
    for (size_t i = 0; i < len; i++) at[i] = (char)draw(w, 256);
}

/* As docs/operations/running.md says: 32 bytes beside the key, room for 8, in steps of 16; a row that does not fit, likewise. */
static uint64_t expected_bytes(const struct known *k)
{
    size_t used = 32 + k->key_len, block = (used + 8 + 15) / 16 * 16, bytes = used + 8 > 512 ? used + 8 + 16 : block;
    if (!k->has_row || (used + 8 <= 512 && used + k->row_len <= block)) return bytes;
    size_t row = k->row_len ? k->row_len : 1;
    return bytes + (row > 512 ? row + 16 : (row + 15) / 16 * 16);
}

static struct weir_str key_of(const struct known *k)
{
    return (struct weir_str){ k->key, k->key_len };
}

static void check(struct world *w)
{
    struct shard *s = w->shard;
    uint64_t memory = (s->entities.now.cap + s->entities.old.cap) * sizeof(uint64_t), state = 0;
    for (struct known *k = w->known; k < w->known + ENTITIES; k++) {
        if (k->entity == NULL) continue;
        assert_ptr_equal(entity_look(s, 3, key_of(k)), k->entity);
        assert_int_equal(entity_has_row(k->entity), k->has_row);
        struct weir_str row = entity_row(k->entity);
        assert_int_equal(row.ptr != NULL, k->has_row);
        assert_true(!k->has_row || str_eq(row, (struct weir_str){ k->row, k->row_len }));
        assert_true(str_eq(entity_key(k->entity), key_of(k)));
        memory += expected_bytes(k);
        state += k->has_row ? k->row_len : 0;
    }
    assert_int_equal(s->memory_bytes, memory);
    assert_int_equal(s->state_bytes, state);
}

static void add(struct world *w, struct known *k)
{
    /* the first bytes are its own: no two are alike */
    memcpy(k->key, &k, sizeof(k));
    k->key_len = sizeof(k) + draw_len(w) % (BYTES - sizeof(k));
    fill(w, k->key + sizeof(k), k->key_len - sizeof(k));
    k->has_row = false;
    k->entity = entity_get(w->shard, 3, key_of(k), 0);
    assert_false(entity_has_row(k->entity));
}

static void set(struct world *w, struct known *k)
{
    uint8_t before = k->entity->row_where;
    size_t room = (32 + k->key_len + 8 + 15) / 16 * 16 - 32 - k->key_len;
    k->row_len = draw(w, 2) ? room - 2 + draw(w, 5) : draw_len(w);
    k->has_row = true;
    fill(w, k->row, k->row_len);
    entity_set(w->shard, k->entity, (struct weir_str){ k->row, k->row_len });
    w->inside += k->entity->row_where == WHERE_INSIDE;
    w->outside += k->entity->row_where == WHERE_OUTSIDE;
    w->moved += before != WHERE_NONE && before != k->entity->row_where;
}

static void rows_are_as_they_were_set(void **state)
{
    struct world *w = mem_alloc(sizeof(*w));
    struct engine *engine = mem_alloc(sizeof(*engine));
    struct env env = { .self = w };
    w->random = 88172645463325252u;
    w->shard = mem_alloc(sizeof(*w->shard));
    w->shard->env = &env;
    w->shard->engine = engine;
    for (unsigned step = 0; step < STEPS; step++) {
        struct known *k = w->known + draw(w, ENTITIES);
        if (k->entity == NULL) {
            add(w, k);
        } else if (draw(w, 8) > 0) {
            set(w, k);
        } else {
            entity_set(w->shard, k->entity, STR_NIL);
            k->has_row = false;
            if (draw(w, 2)) {
                entity_maybe_remove(w->shard, k->entity);
                k->entity = NULL;
            }
        }
        if (step % 61 == 0) check(w);
    }
    check(w);
    assert_true(w->inside > 1000 && w->outside > 1000 && w->moved > 1000);
    state_free(w->shard);
    mem_free(w->shard);
    mem_free(engine);
    mem_free(w);
}

/* ---- what a checkpoint hands out ---- */

#define LOADED 60000u
#define SHARDS 3u

struct part { /* of a checkpoint: the keys of one shard, as its walk found them */
    const struct entity *entities[LOADED];
    unsigned count;
};

static struct engine *engine_make(struct env *env)
{
    struct engine *engine = mem_alloc(sizeof(*engine));
    engine->env = env;
    engine->shard_count = SHARDS;
    engine->shards = mem_aligned(64, SHARDS * sizeof(struct shard));
    memset(engine->shards, 0, SHARDS * sizeof(struct shard));
    for (unsigned i = 0; i < SHARDS; i++) {
        engine->shards[i].env = env;
        engine->shards[i].engine = engine;
    }
    return engine;
}

static void engine_end(struct engine *engine)
{
    for (unsigned i = 0; i < SHARDS; i++) state_free(&engine->shards[i]);
    mem_free(engine->shards);
    mem_free(engine);
}

static void hand_out(struct replay *replay, enum store_op op, const struct entity *e)
{
    struct buf key = { 0 };
    key_entity(&key, e->type_id, entity_key(e));
    replay_add(replay, e->slot, op, buf_str(&key), op == STORE_PUT ? STR("row") : STR_NIL);
    buf_free(&key);
}

static void walked(void *arg, const struct entity *e)
{
    struct part *part = arg;
    part->entities[part->count++] = e;
}

/* How many places lie between an entity and its home, where a search for it begins. */
static size_t distance(const struct table *table, const struct entity *e)
{
    size_t home = e->hash >> (32 - table->bits), at = home;
    while ((table->places[at & (table->cap - 1)] & ((UINT64_C(1) << 48) - 1)) != (uintptr_t)e) at++;
    return at - home;
}

/* Those of one shard come in the order of their hashes, and before those of another if that walks faster. */
static void what_a_checkpoint_hands_out_is_found_near_its_home(void **state)
{
    struct env env = { 0 };
    struct engine *before = engine_make(&env), *after = engine_make(&env);
    static struct part parts[SHARDS];
    char text[24];
    for (unsigned i = 0; i < LOADED; i++) {
        int len = snprintf(text, sizeof(text), "account-%u", i);
        /* of another number of shards: most are in the first, which has little of the others' */
        uint8_t slot = (uint8_t)(i % 7 == 0 ? 1 + i % 2 : 3 * (i % 80));
        entity_get(&before->shards[i % 7 == 0 ? 1 + i % 2 : 0], 3, (struct weir_str){ text, (size_t)len }, slot);
    }
    struct replay replay = { .engine = after };
    for (unsigned i = 0; i < SHARDS; i++) {
        for (uint64_t at = 0; at < INDEX_WALKED;) at = index_walk(&before->shards[i].entities, at, walked, &parts[i]);
        for (unsigned n = 0; n < parts[i].count; n++) hand_out(&replay, STORE_EXPECT, parts[i].entities[n]);
    }
    for (unsigned i = SHARDS; i-- > 0;) {
        for (unsigned n = 0; n < parts[i].count; n++) {
            hand_out(&replay, STORE_PUT, parts[i].entities[n]);
            for (unsigned k = 0; k < SHARDS; k++) assert_int_equal(after->shards[k].entities.old.bits, 0); /* no table grows */
        }
    }
    replay_end(&replay);
    size_t most = 0;
    unsigned count = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        for (unsigned n = 0; n < parts[i].count; n++, count++) {
            const struct entity *from = parts[i].entities[n];
            struct shard *s = &after->shards[slot_shard(after, from->slot)];
            const struct entity *e = entity_look(s, 3, entity_key(from));
            assert_true(e != NULL && str_eq(entity_row(e), STR("row")));
            size_t d = distance(&s->entities.now, e);
            if (d > most) most = d;
        }
    }
    assert_int_equal(count, LOADED);
    assert_true(most < 200);
    engine_end(before);
    engine_end(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_as_they_were_set),
        cmocka_unit_test(what_a_checkpoint_hands_out_is_found_near_its_home),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
